"""The kernel decorator where it can go wrong: disk cache, threads of all kinds, forks, folders not to be written."""

import gc
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numba
import numpy as np
import pytest
import scipy.sparse as sp
import threadpoolctl
from joblib import Parallel, delayed
from usual_kernels import recorded

from fastnmf import NMF, StratifiedNMF, warmup
from fastnmf.cli.warmup import FITS
from fastnmf.kernels import jit, products, rows
from fastnmf.kernels.ahead import usual_kernels
from fastnmf.kernels.records import CSR

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled under NUMBA_DISABLE_JIT=1")

COMPILED = """
import sys
import numpy as np
from fastnmf.kernels import jit, products, rows
from fastnmf.kernels.records import CSR
F, parts = np.ones((64, 4)), {1: np.zeros((1, 4, 4)), 4: np.zeros((4, 4, 4))}
twice, out, seen = CSR(np.arange(65), np.arange(64, dtype=np.int32), np.full(64, 2.0)), np.zeros((64, 4)), []
with jit.on_compile(seen.append):
    for n_tasks in map(int, sys.argv[1].split(",")):
        tasks, out[:] = np.linspace(0, 64, n_tasks + 1).astype(np.int64), 0
        rows.rows_gram(tasks, F, parts[n_tasks])
        assert (parts[n_tasks].sum(axis=0) == np.triu(np.full((4, 4), 64))).all()
        products.csr_matmul(tasks, twice, F, out)
        assert (out == 2).all()
names = {name.rpartition("_")[0] for name in seen} & {"rows_gram", "csr_matmul", "_in_every_thread"}
print(",".join(sorted(names)) or "nothing")
"""

ABORT = """
import threading, warnings
import numpy as np, scipy.sparse as sp
from fastnmf import NMF, StratifiedNMF, warmup
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = sp.random_array((2000, 3000), density=0.01, rng=rng, format="csr")
strata = rng.integers(0, 5, 2000)
results = [None] * 4
def fit(i):
    results[i] = StratifiedNMF(20, max_iter=8, tol=0, random_state=0).fit(X, strata=strata).components_
workers = [threading.Thread(target=fit, args=(i,)) for i in range(4)]
for worker in workers: worker.start()
for worker in workers: worker.join()
assert all(result is not None and result.tobytes() == results[0].tobytes() for result in results)
print("survived", __import__("numba").threading_layer())
"""


def run(code, *args, **environment):
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    wanted = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env={name: value for name, value in wanted.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize("order", ["1,4", "4,1"])
def test_a_kernel_is_compiled_once_for_one_thread_and_for_several(tmp_path, order):
    """All kernels share one parallel loop. One takes arrays, the other a record; a second process compiles nothing."""
    place = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"}
    first, second = run(COMPILED, order, **place), run(COMPILED, order[::-1], **place)
    assert first.returncode == 0 == second.returncode, first.stderr + second.stderr
    assert first.stdout.strip() == "_in_every_thread,csr_matmul,rows_gram" and second.stdout.strip() == "nothing"
    assert len(list(tmp_path.rglob("*.rows_gram_*.nbc"))) == 1 == len(list(tmp_path.rglob("*._in_every_thread_*.nbc")))


@pytest.mark.parametrize("n_threads", [1, 2, 3, 7])
def test_every_task_is_claimed_once(n_threads):
    """By threads that come one after the other: the first takes what the others would begin with, too."""
    tasks, counters = np.arange(0, 24, 2), np.zeros(n_threads * jit.COUNTER_STEP, np.int64)
    whole = [(t, 2 * t, 2 * t + 2) for t in range(11)]
    assert sorted(claims(tasks, counters, n_threads - 1)) == whole
    assert all(not claims(tasks, counters, thread) for thread in range(n_threads))
    counters[:] = 0
    counters[:: jit.COUNTER_STEP] = 1  # every thread has taken its first task
    runs = [thread * 11 // n_threads for thread in range(n_threads)]
    assert [t for t, _, _ in sorted(claims(tasks, counters, 0))] == [t for t in range(11) if t not in runs]


def claims(tasks, counters, thread):
    return [tuple(int(x) for x in claim) for claim in take_all((tasks, counters, thread, 0))]


@numba.njit
def take_all(tasks):
    return [claim for claim in jit.work_stealing(tasks)]  # noqa: C416 - Numba makes no list of a generator


@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_four_python_threads_fit_at_once(layer):
    """Two parallel launches at once abort the process under workqueue (exit 134)."""
    done = run(ABORT, NUMBA_THREADING_LAYER=layer)
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"this Numba has no {layer} layer")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["survived", layer]


def planted(n_rows=3000, n_columns=2000):
    rng = np.random.default_rng(1)
    return rng.random((n_rows, 6)) @ rng.random((6, n_columns)), rng.integers(0, 3, n_rows)


def fit_bits(X, strata, **options):
    model = StratifiedNMF(6, max_iter=6, tol=0, random_state=0, **options).fit(X, strata=strata)
    return b"".join(np.ascontiguousarray(a).tobytes() for a in (model.components_, model.shifts_, model.W_))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["hals", "mu"])
@pytest.mark.parametrize("is_sparse", [True, False])
def test_the_bits_do_not_depend_on_the_number_of_threads(solver, dtype, is_sparse):
    X, strata = planted()
    if is_sparse:
        X = sp.csr_array(np.where(X > np.quantile(X, 0.9), X, 0))
    X = X.astype(dtype)
    one, two, again = (fit_bits(X, strata, solver=solver, n_threads=n) for n in (1, 2, 2))
    assert one == two == again


def test_joblib_threads_and_processes_agree_with_a_plain_loop():
    X, strata = planted(600, 700)
    want = fit_bits(X, strata)
    with_threads = Parallel(n_jobs=3, backend="threading")(delayed(fit_bits)(X, strata) for _ in range(3))
    assert all(bits == want for bits in with_threads)


def _child(queue):
    queue.put(fit_bits(*planted(600, 700)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_after_a_parallel_call_works():
    """GNU OpenMP ends a forked child that launches; the child runs kernels in one thread."""
    want = fit_bits(*planted(600, 700))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=120) == want
    child.join()
    assert child.exitcode == 0


def test_the_number_of_threads_is_restored():
    before = numba.get_num_threads()
    with jit.threads(1):
        assert jit.thread_count() == 1
        with jit.threads(None):
            assert jit.thread_count() == 1
    assert numba.get_num_threads() == before == jit.thread_count()
    with pytest.raises(RuntimeError, match="inner"), jit.threads(1):
        raise RuntimeError("inner")
    assert numba.get_num_threads() == before


OVERRUN = """
from fastnmf.kernels.jit import kernel, work_stealing

@kernel
def read_beyond(tasks, x, out):
    for _, begin, until in work_stealing(tasks):
        for i in range(begin, until):
            out[i] = x[i + 1]
"""
SEE = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from overrun import read_beyond
for n_tasks in (1, 4):
    try:
        read_beyond(np.linspace(0, 64, n_tasks + 1).astype(np.int64), np.ones(64), np.zeros(64))
        print("returned", end=" ")
    except IndexError as error:
        print("IndexError", end=" ")
print(sum(read_beyond.compiled.stats.cache_hits.values()))
"""


def test_an_index_beyond_an_array_is_seen_where_a_cache_has_the_kernel_without_checks(tmp_path):
    """Numba's cache key ignores NUMBA_BOUNDSCHECK, too; and threads of a launch lose what they raise."""
    (tmp_path / "overrun.py").write_text(OVERRUN)
    place = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_NUM_THREADS": "2"}
    said = [run(SEE, str(tmp_path), NUMBA_BOUNDSCHECK=flag, **place) for flag in (None, "1", None)]
    said = [done.stdout.strip() or done.stderr for done in said]
    assert said == ["returned returned 0", "IndexError IndexError 0", "returned returned 1"]


SPIN = """
import os, numpy as np
from fastnmf.kernels import jit, rows
rows.rows_sum(np.array([0, 2, 4]), np.ones((4, 4)), np.zeros((2, 4)))
print(jit.environment()["threading_layer"], os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "77"}, {"OMP_WAIT_POLICY": "passive"}])
def test_waiting_threads_let_go_of_their_cores(own):
    """Two fits side by side wait for each other's idle threads otherwise; what the user has set stays."""
    unset = {"GOMP_SPINCOUNT": None, "OMP_WAIT_POLICY": None}
    done = run(SPIN, OMP_DISPLAY_ENV="VERBOSE", NUMBA_NUM_THREADS="2", **(unset | own))
    assert done.returncode == 0, done.stderr
    layer, left = done.stdout.split()
    if layer != "omp" or "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("Numba does not use GNU OpenMP here")
    want = {"GOMP_SPINCOUNT": "77", "OMP_WAIT_POLICY": "0"}[next(iter(own))] if own else str(jit.SPINS)
    seen = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)
    assert want in seen and left == own.get("GOMP_SPINCOUNT", "None")


def blas_threads():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("is_sparse", [True, False])
def test_blas_has_one_thread_while_a_fit_runs(is_sparse):
    """Others would spin beside our kernels for a tenth of a second after every product of the preparation."""
    X, strata = planted(300, 200)
    X, seen = sp.csr_array(X) if is_sparse else X, []
    model = StratifiedNMF(6, max_iter=2, tol=0, callback=lambda _: seen.append(blas_threads()))
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        model.fit(X, strata=strata)
        assert blas_threads() == before
    assert seen and all(set(counts) == {1} for counts in seen)


class Watched(np.ndarray):
    """An array that notes how many threads BLAS has during its products."""

    seen = []

    def __array_ufunc__(self, ufunc, method, *inputs, **more):
        if ufunc is np.matmul:
            self.seen.append(blas_threads())
        return getattr(ufunc, method)(*(np.asarray(value) for value in inputs), **more)


def test_blas_has_one_thread_for_the_mean_shift():
    """`transform` forms it outside of the loop of a fit; in two threads older versions of OpenBLAS give other bits."""
    X, strata = planted(300, 200)
    model = StratifiedNMF(6, max_iter=2, tol=0, unknown_strata="mean").fit(X, strata=strata)
    model.shifts_ = model.shifts_.view(Watched)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        model.transform(X[:4], strata=["new"] * 4)
    assert Watched.seen and all(set(counts) == {1} for counts in Watched.seen)


def test_while_a_launch_is_under_way_others_run_serially(monkeypatch):
    launched = []
    gram = rows.rows_gram
    monkeypatch.setattr(gram, "_launch", lambda *args: launched.append("parallel"))
    tasks, F, parts = np.arange(5), np.ones((4, 4)), np.zeros((4, 4, 4))
    with jit._LAUNCH:
        worker = threading.Thread(target=gram, args=(tasks, F, parts))
        worker.start()
        worker.join()
    assert not launched and (parts == np.triu(np.ones((4, 4)))).all()
    gram(tasks, F, parts)
    assert launched == (["parallel"] if jit.thread_count() > 1 else [])


def test_a_place_that_cannot_be_written_falls_back_to_no_cache(monkeypatch):
    def refuse(self, function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(numba.core.caching.FunctionCache, "__init__", refuse)
    monkeypatch.setattr(jit, "_HAS_WARNED", False)

    def walk(tasks, out):
        for t, _, _ in jit.work_stealing(tasks):
            out[t] = t

    out = np.zeros(3)
    with pytest.warns(RuntimeWarning, match="cannot be used .*no locator available.*compiled anew") as found:
        for _ in range(2):
            jit.Kernel(walk)(np.arange(4), out)
    assert out.tolist() == [0, 1, 2] and len(found) == 1 and found[0].filename == __file__


def test_a_damaged_cache_is_compiled_anew_with_one_warning(tmp_path):
    """Half of an index, and code in which one bit is another; then the cache is whole again.

    One kernel is loaded before the other one is compiled, for which Numba needs what loading leaves out.
    """
    place = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"}
    assert run(COMPILED, "4", **place).stdout.strip() == "_in_every_thread,csr_matmul,rows_gram"
    index = next(tmp_path.rglob("*csr_matmul*.nbi"))
    index.write_bytes(index.read_bytes()[:-40])
    code = next(tmp_path.rglob("*_in_every_thread*.nbc"))
    content = code.read_bytes()
    code.write_bytes(content[:999] + bytes([content[999] ^ 4]) + content[1000:])
    again = run(COMPILED, "4", **place)
    assert again.returncode == 0 and again.stdout.strip() == "_in_every_thread,csr_matmul", again.stderr
    assert again.stderr.count("RuntimeWarning") == 1 and str(tmp_path) in again.stderr
    healed = run(COMPILED, "4", **place)
    assert healed.stdout.strip() == "nothing" and "RuntimeWarning" not in healed.stderr


@pytest.mark.parametrize(
    ("place", "name", "value", "is_refreshed"),
    [
        (jit.llvm, "address_of_symbol", jit.llvm.address_of_symbol, False),
        (jit.llvm, "address_of_symbol", lambda name: None, True),  # its address may come with a registry
        (jit, "rtsys", None, True),  # a Numba with other internals
    ],
)
def test_a_kernel_is_loaded_without_what_only_compiling_needs(monkeypatch, place, name, value, is_refreshed):
    """Numba's registries of types and lowering take .2 s of the first fit of a process."""
    tasks, F, want = np.arange(0, 9, 4), np.arange(32.0).reshape(8, 4), np.zeros((2, 2))
    rows.rows_dot(tasks, F, F, want[0])  # is in the disk cache from here on
    context, refreshed = type(rows.rows_dot.compiled.targetctx), []
    refresh = context.refresh
    monkeypatch.setattr(context, "refresh", lambda self: (refreshed.append(self), refresh(self)))
    monkeypatch.setattr(place, name, value)
    kernel = jit.Kernel(rows.rows_dot.__wrapped__)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(jit, "_HAS_WARNED", False)
        kernel(tasks, F, F, want[1])
    assert sum(kernel.compiled.stats.cache_hits.values()) == 1 and bool(refreshed) == is_refreshed
    assert want[0].tobytes() == want[1].tobytes()


def test_code_of_a_numba_with_other_internals_is_loaded_with_its_registries(monkeypatch):
    """What such a Numba compiles is still kept on the disk."""
    form, loaded = numba.core.caching.CompileResultCacheImpl, []
    monkeypatch.setattr(form, "reduce", lambda self, compiled: "state")
    monkeypatch.setattr(form, "rebuild", lambda self, context, state: state)
    code, context = jit._NamedCode(rows.rows_dot.__wrapped__), SimpleNamespace(refresh=lambda: loaded.append(True))
    assert code.rebuild(context, code.reduce(object())) == "state" and loaded


@pytest.mark.parametrize("is_enabled", [True, False])
def test_garbage_is_not_looked_for_while_a_kernel_is_compiled(is_enabled):
    """And the setting is restored, also where compiling fails."""
    seen, before = [], gc.isenabled()

    def compile_once(kinds):
        seen.append(gc.isenabled())
        assert len(seen) == 1, "twice"

    function = SimpleNamespace(compile=compile_once, overloads={(): "code"})
    try:
        (gc.enable if is_enabled else gc.disable)()
        assert jit.compiled_for(function, ()) == "code" and gc.isenabled() == is_enabled
        with pytest.raises(AssertionError, match="twice"):
            jit.compiled_for(function, ())
        assert gc.isenabled() == is_enabled and seen == [False, False]
    finally:
        (gc.enable if before else gc.disable)()


def test_a_full_disk_does_not_end_a_fit(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
    done = run(limit + COMPILED, "1", NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0 and done.stdout.strip() == "csr_matmul,rows_gram", done.stderr
    assert done.stderr.count("RuntimeWarning") == 1 and "File too large" in done.stderr


def test_compiling_is_noticed_once(monkeypatch):
    monkeypatch.setenv("FASTNMF_NUMBA_CACHE", "0")  # or the next run of this test would load it from the disk

    def walk(tasks, out):
        for t, _, _ in jit.work_stealing(tasks):
            out[t] = t

    walk.__module__ = "fastnmf.kernels.made_up"
    kernel, seen = jit.Kernel(walk), []
    with jit.on_compile(seen.append):
        kernel(np.array([0, 1]), np.zeros(1))
        kernel(np.array([0, 1]), np.zeros(1))
    assert len(seen) == 1 and seen[0].startswith("walk_")


def test_after_a_warmup_nothing_is_compiled():
    with recorded() as lines:
        assert warmup(["float64"], kullback_leibler=True) > 0
    usual = usual_kernels(FITS, ["float64"])
    assert set(lines) <= set(usual), "python tests/usual_kernels.py --write"
    assert len(set(usual) - set(lines) - {"jit._launcher"}) <= 1, "python tests/usual_kernels.py --write"
    rng, seen = np.random.default_rng(0), []
    X = sp.random_array((15_000, 4_000), density=0.004, rng=rng, format="csr")
    strata = rng.integers(0, 20, 15_000)
    with jit.on_compile(seen.append):
        for rank in (5, 31):
            for solver in ("hals", "mu"):
                model = StratifiedNMF(rank, solver=solver, max_iter=2, tol=0).fit(X, strata=strata)
                model.transform(X[:100], strata=strata[:100])
                StratifiedNMF(rank, solver=solver, max_iter=2, tol=0).fit(X[:9].toarray(), strata=strata[:9])
        NMF(7, solver="mu", beta_loss="kullback-leibler", max_iter=13, tol=0).fit(X).transform(X)
        NMF(3, max_iter=2, tol=0).fit(X[:9].toarray()).transform(X[:2].toarray())
    assert not seen


def test_environment_names_what_the_kernels_run_on():
    found = jit.environment()
    assert found["threading_layer"] in ("omp", "tbb", "workqueue") and found["n_threads"] >= 1
    assert found["numba"] == numba.__version__ and found["cache_dir"]


def test_records_have_fingerprints():
    def found(kind, dtype):
        return jit.compute_fingerprint(kind(np.arange(3), np.arange(2, dtype=np.int32), np.ones(2, dtype)))

    Other = NamedTuple("Other", [(name, np.ndarray) for name in CSR._fields])
    assert found(CSR, float) == found(CSR, float)
    assert len({found(CSR, float), found(CSR, np.float32), found(Other, float)}) == 3


PLAIN = """
import numpy as np
from fastnmf.kernels import jit, products, rows
from fastnmf.kernels.records import CSR, LazyRows, Limits
assert not isinstance(products.csr_matmul, jit.Kernel)
F, out = np.ones((3, 8)), np.zeros((3, 8))
twice = CSR(np.arange(4), np.arange(3, dtype=np.int32), np.full(3, 2.0))
products.csr_matmul(np.array([0, 2, 3]), twice, F, out)
assert (out == 2).all()
sides = LazyRows(*twice, F), LazyRows.of(F[:0])
rows.rows_mu(np.array([0, 2, 3]), F, np.eye(8), *sides, Limits(0.0, 0.0), np.zeros((2, 2)))
assert (F == 2).all()
print("done")
"""


def test_without_the_jit_kernels_take_records_too():
    done = run(PLAIN, NUMBA_DISABLE_JIT="1")
    assert done.stdout.strip() == "done", done.stderr


def test_records_reach_every_thread_whole():
    csr, F = CSR(np.arange(65), np.arange(64, dtype=np.int32)[::-1].copy(), np.arange(64.0)), np.ones((64, 4))
    alone, shared = np.zeros((2, 64, 4))
    products.csr_matmul(np.array([0, 64]), csr, F, alone)
    products.csr_matmul(np.arange(65), csr, F, shared)
    assert alone.tobytes() == shared.tobytes() and (alone[:, 0] == np.arange(64)).all()


def test_arguments_of_every_kind_reach_every_thread_and_are_released():
    """They go through a block of memory, as the compiled kernel takes them; no array may be held or freed there."""

    def walk(tasks, csr, is_large, single, number, out):
        for t, begin, until in jit.work_stealing(tasks):
            for i in range(begin, until):
                out[i] = (csr.data[i] + single) * number if is_large else t

    kernel, csr = jit.Kernel(walk), CSR(np.arange(65), np.arange(64, dtype=np.int32), np.arange(64.0))
    tasks, out = np.arange(0, 65, 4), np.zeros((2, 64), np.float32)
    before = [sys.getrefcount(each) for each in (tasks, *csr, out)]
    kernel(np.array([0, 64]), csr, True, np.float32(0.5), 3, out[0])
    kernel(tasks, csr, True, np.float32(0.5), 3, out[1])
    assert (out == np.float32(3) * (np.arange(64) + np.float32(0.5))).all()
    kernel(tasks, csr, False, np.float32(0.5), 3, out[0])
    assert (out[0] == np.arange(64) // 4).all()
    assert [sys.getrefcount(each) for each in (tasks, *csr, out)] == before


def test_keys_are_told_apart_by_the_types_of_the_arguments(monkeypatch):
    """Also where Numba has no fingerprints any more."""
    kernel, tasks = jit.Kernel(rows.rows_gram.__wrapped__), np.linspace(0, 64, 5).astype(np.int64)
    for tell in (jit.compute_fingerprint, numba.typeof):
        monkeypatch.setattr(jit, "compute_fingerprint", tell)
        kernel._entries.clear()
        for dtype in (np.float64, np.float32, np.float64):
            kernel(tasks, np.ones((64, 8), dtype), np.zeros((4, 8, 8)))  # 8: whole vectors of both types
        assert len(kernel._entries) == 2
