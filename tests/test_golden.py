"""The golden numbers of `tests/golden.py`: every estimator gives what it gave, whatever the number of threads."""

import importlib
import pkgutil
import warnings

import golden
import golden_cases
import numba
import numpy as np
import pytest

import fastnmf
from fastnmf.kernels import jit

pytestmark = pytest.mark.skipif(
    numba.config.DISABLE_JIT, reason="under NUMBA_DISABLE_JIT=1 fits of this size take hours"
)

HELD_STAMP, HELD = golden.read()
MODE = golden.mode(HELD_STAMP)
PLAIN_IDS = [f"{case}-{dtype}-{form}" for case, dtype, form in golden_cases.ENTRIES]
IDS = [f"{name}-{MODE}" for name in PLAIN_IDS]

# Kernels that are always called with a task table of a single task: each step sees what the one before has written.
SEQUENTIAL = {"chain_sweep", "quartic_sweep", "nodes_colour", "linked_sweep", "core_sweeps", "lagged_sweeps"}
SEQUENTIAL |= {"cone_sweep", "csr_mixtures", "dense_mixtures", "gram_mixtures"}
# So are these, whose whole work is small: one pass over few entries, and short fits of dense data one after the other.
SHORT = {"entries_value", "dense_mu", "dense_hals", "pattern_places", "csr_cut", "rows_press"}
SHORT |= {"powers_of_residual", "rows_minimax"}  # of the tiny data of ChebyshevNMF
SHORT |= {"integers_range"}  # exact, and of data of millions of entries only
# Of 18 shifts; tests/test_designs.py runs them in two threads.
SHORT |= {"pattern_hals", "pattern_hals_dense", "pattern_mu", "levels_step"}


@pytest.fixture(scope="session")
def one_thread(request):
    """Give the records with one thread of the entries whose tests run, which `make quick` or ``-k`` makes few."""
    own = [item.callspec.params for item in request.session.items if "one_thread" in item.fixturenames]
    running = {golden.entry_name(*(params[part] for part in ("case", "dtype", "form"))) for params in own}
    return golden.records_of_one_thread(tuple(sorted(running)))


@pytest.mark.parametrize("mode", [MODE])
def test_how_numbers_are_compared(mode):
    """By their bits where all that bits depend on is as it was; the other way is told as a warning."""
    if mode == "numbers":
        other = sorted(set(golden.stamp()) ^ set(HELD_STAMP))
        warnings.warn(f"golden numbers are compared to a tolerance and not by their bits: {other}", stacklevel=1)


@pytest.mark.parametrize(("case", "dtype", "form"), golden_cases.ENTRIES, ids=IDS)
def test_numbers(one_thread, case, dtype, form):
    assert not golden.changes(one_thread, HELD, MODE, case, dtype, form)


@pytest.mark.parametrize(("case", "dtype", "form"), golden_cases.ENTRIES, ids=PLAIN_IDS)
def test_two_threads_give_what_one_gives(one_thread, case, dtype, form):
    one = golden.of_entry(one_thread, case, dtype, form)
    two, _ = golden.records_of_two_threads(case, dtype, form)
    assert not golden.differences(two, one, "bits")


def test_every_model_has_a_case():
    assert {entry.name for entry in fastnmf.catalogue()} <= {case.kind for case in golden_cases.CASES}
    names = [str(case) for case in golden_cases.CASES]
    assert len(set(names)) == len(names)
    held = {name.rsplit("/", 1)[0] for name in HELD}
    assert held == {f"{case}/{dtype}/{form}" for case, dtype, form in golden_cases.ENTRIES}


def example(dtype=np.float64):
    return 1 + np.arange(600, dtype=dtype).reshape(30, 20) % 37


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_ulp_is_noticed_where_bits_are_compared(dtype):
    array, name = example(dtype), f"NMF/{np.dtype(dtype)}/dense/W_"
    then = {name: golden.record(array)}
    assert not golden.differences({name: golden.record(array)}, then, "bits")
    array[7, 3] = np.nextafter(array[7, 3], np.inf, dtype=dtype)
    now = {name: golden.record(array)}
    assert len(golden.differences(now, then, "bits")) == 1
    assert not golden.differences(now, then, "numbers")


def test_a_millionth_is_noticed_where_numbers_are_compared():
    array, name = example(), "NMF/float64/dense/W_"
    then = {name: golden.record(array)}
    for factor, count in ((1 + 1e-6, 1), (1 + 1e-12, 0)):
        assert len(golden.differences({name: golden.record(factor * array)}, then, "numbers")) == count
    assert golden.differences({}, then, "numbers") and golden.differences(then, {}, "bits")
    assert golden.differences({name: golden.record(array.T)}, then, "numbers")
    assert golden.differences({name: golden.record(array.astype(np.float32))}, then, "numbers")


def test_of_a_chaotic_model_the_objective_counts_elsewhere():
    array, names = example(), ("BooleanNMF/float64/dense/W_", "BooleanNMF/float64/dense/objective")
    then = {name: golden.record(array) for name in names}
    now = {name: golden.record(2 * array) for name in names}
    assert len(golden.differences(now, then, "numbers", is_chaotic=True)) == 1
    assert len(golden.differences(now, then, "bits", is_chaotic=True)) == 2


def test_what_is_written_is_what_is_read(tmp_path):
    found = {"a/float64/dense/W_": golden.record(example()), "a/float64/dense/n_iter_": golden.record(np.array(3))}
    golden.write(found, tmp_path / "some.npz")
    held_stamp, held = golden.read(tmp_path / "some.npz")
    assert golden.mode(held_stamp) == "bits" and not golden.differences(held, found, "bits")


def kernels():
    """Return the names of all kernels of the package."""
    folder = importlib.import_module("fastnmf.kernels")
    modules = [
        importlib.import_module(f"fastnmf.kernels.{found.name}") for found in pkgutil.iter_modules(folder.__path__)
    ]
    return {value.__name__ for module in modules for value in vars(module).values() if isinstance(value, jit.Kernel)}


def test_every_kernel_runs_in_parallel():
    launched = set().union(*(golden.records_of_two_threads(*entry)[1] for entry in golden_cases.ENTRIES))
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("Numba has one thread here, so nothing is launched in parallel")
    assert kernels() - launched == SEQUENTIAL | SHORT
