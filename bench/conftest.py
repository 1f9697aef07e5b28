"""Fixtures shared by the benchmarks: the texts, the thread counts, and the description of the machine."""

import data
import pytest
from machine import describe, versions

RANK = 20


@pytest.fixture(scope="session", params=["newsgroups", "zipf"])
def text(request):
    """Give (name, X CSR float64, labels, start), rows sorted by stratum."""
    if request.param == "newsgroups":
        built = data.newsgroups()
        if built is None:
            pytest.skip("newsgroups is not in the scikit-learn data home (SCIKIT_LEARN_DATA)")
    else:
        built = data.zipf_text(18_846, 51_840, 1_280_000, 20)
    return request.param, *built


@pytest.fixture(params=[1, 2], ids="threads={}".format)
def n_threads(request):
    """Give the number of threads that kernels may use."""
    return request.param


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    """Give the precision of data and factors."""
    return request.param


@pytest.fixture
def start_factors(text):
    """Give the paper's start V (S, n), W (m, r), H (r, n) for the text."""
    _, X, _, start = text
    return data.paper_start(start, X.shape[1], RANK)


@pytest.fixture(autouse=True)
def record_shape(request):
    """Note shape and density of the text with every benchmark that uses one."""
    if {"text", "benchmark"} <= set(request.fixturenames):
        name, X, _, start = request.getfixturevalue("text")
        info = request.getfixturevalue("benchmark").extra_info
        info.update(text=name, shape=list(X.shape), nnz=int(X.nnz), strata=len(start) - 1, rank=RANK)


def pytest_benchmark_update_machine_info(config, machine_info):
    """Add versions and a line for the table to the report."""
    machine_info.update(description=describe(), packages=versions())


def pytest_report_header(config):
    """Say what the figures are measured on."""
    return describe()
