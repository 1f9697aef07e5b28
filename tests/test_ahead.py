"""Kernels that several processes compile beforehand: each once, into the disk cache; failures are told and mended."""

import subprocess

import numba
import numpy as np
import pytest
from test_jit import run
from usual_kernels import line_of, word_of

from fastnmf import warmup
from fastnmf.cli.commands import main
from fastnmf.kernels import ahead, rows
from fastnmf.kernels.records import CSR, Limits

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled under NUMBA_DISABLE_JIT=1")
CHEAP = ["rows.rows_dot int64:1C float64:2C float64:2C float64:1C", "rows.rows_sum int64:1C float64:2C float64:2C"]

TWO = f"""
import warnings
warnings.simplefilter("error")
import fastnmf.cli.commands
from fastnmf.kernels import ahead, jit
seen, lines = [], {CHEAP} + ["products.csr_matmul int64:1C CSR(int64:1C,int32:1C,float64:1C) float64:2C float64:2C"]
with jit.on_compile(seen.append), ahead.Compilers(lines, 2) as compilers:
    for thread in compilers._threads:
        thread.join()  # so that the other process compiles everything
    compilers.finish()
print(len(compilers.processes), len(seen), *(each.returncode is not None for each in compilers.processes))
"""


def test_two_processes_compile_each_kernel_once(tmp_path):
    """And where all is in the cache, no process is started. The main module of the caller does not run again."""
    place = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"}
    first, second = run(TWO, **place), run(TWO, **place)
    assert first.returncode == 0, first.stderr
    assert first.stdout.split() == ["1", "0", "True"]
    assert len(list(tmp_path.rglob("*.nbc"))) == 3
    assert second.stdout.split() == ["0", "0"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "ended with code 3"),
        ("import json; input(); print(json.dumps('TypeError: none'))", "TypeError: none"),
    ],
)
def test_a_process_that_fails_is_told_and_made_up_for(monkeypatch, code, reason):
    done = []
    monkeypatch.setattr(ahead, "_CODE", code)
    monkeypatch.setattr(ahead, "is_cached", lambda line: False)
    monkeypatch.setattr(ahead, "compile_line", done.append)
    compilers = ahead.Compilers(CHEAP, 2)
    with compilers:
        for thread in compilers._threads:
            thread.join()  # so that the process takes a line before this one does
        with pytest.warns(RuntimeWarning, match=f"process that compiles kernels failed .*{reason}.*jobs=1"):
            compilers.finish()
    assert sorted(done) == sorted(CHEAP)


def test_without_a_disk_cache_no_process_is_started(monkeypatch):
    monkeypatch.setattr(rows.rows_dot.compiled, "_cache", numba.core.caching.NullCache())
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.warns(RuntimeWarning, match="2 processes cannot share the compiled kernels.*set NUMBA_CACHE_DIR"):
        compilers = ahead.Compilers(CHEAP[:1], 2)
    with compilers:
        compilers.finish()


def test_an_interrupt_ends_the_processes(monkeypatch):
    monkeypatch.setattr(ahead, "_CODE", "import time; time.sleep(60)")
    monkeypatch.setattr(ahead, "is_cached", lambda line: False)
    with pytest.raises(KeyboardInterrupt), ahead.Compilers(CHEAP, 2) as compilers:
        raise KeyboardInterrupt
    assert [process.poll() is not None for process in compilers.processes] == [True]


def test_a_fit_and_one_job_start_no_process(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    for jobs in (1, -100):
        with ahead.Compilers(CHEAP, jobs) as compilers:
            compilers.finish()
    assert not compilers.processes


def test_types_of_the_list_are_those_of_arguments():
    frozen = np.ones((2, 3), order="F")
    frozen.flags.writeable = False
    csr = CSR(np.arange(3), np.arange(2, dtype=np.int32), np.ones(2, np.float32))
    arrays = np.arange(2), frozen, np.ones((2, 2, 2))[:, ::2], np.ones(2, bool)
    for value in (*arrays, csr, Limits(0.0, 1.0), 1, 0.5, True):
        kind = numba.typeof(value)
        assert ahead.type_of(word_of(kind)) == kind
    line = line_of(rows.rows_dot, np.arange(2), (frozen, np.ones((2, 3)), np.ones(2)))
    assert line == "rows.rows_dot int64:1C float64:2Fr float64:2C float64:1C"


def test_lists_of_groups_and_types():
    lines = ahead.usual_kernels(("sparse",), ("float32", "float64"))
    assert len(lines) == len(set(lines)) > 20 and not any("X" in line for line in lines)
    assert not set(ahead.usual_kernels(("other",), ("float64",))) & set(lines)


def test_warmup_takes_jobs(monkeypatch, capsys):
    monkeypatch.setattr("fastnmf.cli.warmup.FITS", {"sparse": lambda dtype: None})
    assert warmup(["float64"], jobs=2) < 60
    assert main(["warmup", "--jobs", "1", "--dtypes", "float32"]) == 0
    assert capsys.readouterr().out.startswith("The kernels are compiled, after ")
    assert main(["warmup", "--jobs", "0"]) == 2 and "jobs=0 is not valid" in capsys.readouterr().err
