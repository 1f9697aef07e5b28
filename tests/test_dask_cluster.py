"""Fits on worker processes: the same bits on any number of them, where some are killed, and where the driver is."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_chunks import CASES, GROUPS, RANK, X, bits, fitted

import fastnmf
from fastnmf import open_csr, save_csr

distributed = pytest.importorskip("distributed")
import dask  # noqa: E402 (only where it is installed)
from distributed.diagnostics.plugin import SchedulerPlugin  # noqa: E402 (only where it is installed)

import fastnmf.dask as on_dask  # noqa: E402

pytestmark = pytest.mark.skipif("FASTNMF_DASK" not in os.environ, reason="make test-dask runs it")
NAMES = ("strata", "strata, kl")
CYCLES = "strata, kl, cycles, weights"
MOST_SECONDS = 60


@pytest.fixture(scope="module")
def cluster():
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        yield cluster


@pytest.fixture
def two(cluster):
    """Return the cluster with two workers, one thread each."""
    scale(cluster, 2)
    return cluster


def scale(cluster, n_workers):
    client = distributed.default_client()
    cluster.scale(n_workers)
    until = time.monotonic() + MOST_SECONDS
    while len(client.nthreads()) != n_workers and time.monotonic() < until:
        time.sleep(0.05)
    assert len(client.nthreads()) == n_workers


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """Return ``disk(dtype)``, a matrix on disk in six chunks."""
    found = {dtype: save_csr(X.astype(dtype), tmp_path_factory.mktemp("X"), columns=97) for dtype in ("f4", "f8")}
    return found.get


def on_workers(kind):
    return getattr(on_dask, kind.__name__)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ["nmf", "nmf, kl", *NAMES, "strata, multilevel", CYCLES])
@pytest.mark.parametrize("n_workers", [1, 2, 3])  # varies slowest: to start a worker takes seconds
def test_bits_do_not_depend_on_the_workers(n_workers, name, dtype, cluster, disk):
    kind, options, given = CASES[name]
    max_iter = 14 if name == CYCLES else 8  # the first cycle begins after ten iterations
    expected = bits(fitted(kind, options, disk(dtype), given, max_iter=max_iter))
    scale(cluster, n_workers)
    for hold in (True, False):
        found = fitted(on_workers(kind), options, disk(dtype), given, max_iter=max_iter, hold=hold)
        assert bits(found) == expected and not found.history_["replayed"].any()


@pytest.mark.parametrize("n_workers", [1, 2])
def test_the_history_has_the_bytes_that_an_iteration_moved(n_workers, cluster, disk):
    scale(cluster, n_workers)
    kind, options, given = CASES["strata"]
    moved = fitted(on_workers(kind), options, disk("f4"), given, max_iter=6).history_["bytes"][1:-1]
    order, share = (70 + 5) * 8 * 4 + 64 * 8, (70 + 5 + 8 + 1) * 8 * 8  # H, V H and HᵀH; XᵀW, sums, WᵀW and totals
    # Two workers have chunks 0, 1, 2 and 3, 4, 5: sums 01, 2 and 3, 45 add up, so two travel, and that of all.
    assert (moved == n_workers * order + (1 if n_workers == 1 else 3) * share).all()


class Killer(SchedulerPlugin):
    """Kill workers of the tasks under a label, as soon as they begin ("processing") or have ended ("memory").

    Parameters
    ----------
    cluster : LocalCluster
    moments : list of (str, str) or (str, str, int)
        Beginning of the label, when, and the number of the chunk, or of any chunk.
    """

    def __init__(self, cluster, moments):
        self.scheduler, self.left, self.killed = cluster.scheduler, list(moments), set()
        self.scheduler.add_plugin(self, name="killer")

    def transition(self, key, start, finish, *args, **more):
        if not self.left or not isinstance(key, tuple):
            return
        label, moment, *number = self.left[0]
        if finish != moment or not key[0].startswith(label) or number not in ([], [key[1]]):
            return
        task = self.scheduler.tasks[key]
        worker = task.processing_on or next(iter(task.who_has or ()), None)
        pid = None if worker is None else worker.pid
        if pid not in (None, *self.killed):
            del self.left[0]
            self.killed.add(pid)
            os.kill(pid, signal.SIGKILL)

    def end(self):
        self.scheduler.remove_plugin("killer")
        return len(self.killed)


def survives(cluster, moments, name, D, **options):
    """Fit while workers are killed, compare with the same fit on disk, and return the number of steps made again."""
    kind, own, given = CASES[name]
    expected = fitted(kind, own, D, given, max_iter=8)
    killer, began = Killer(cluster, moments), time.monotonic()
    try:
        found = fitted(on_workers(kind), own, D, given, max_iter=8, **options)
        assert bits(found) == bits(expected)
        np.testing.assert_array_equal(found.history_["objective"], expected.history_["objective"])
    finally:
        n_killed = killer.end()
    assert n_killed == len(moments), "no such task"
    assert time.monotonic() - began < MOST_SECONDS
    return found.history_["replayed"].sum()


MOMENTS = {
    "first pass": ("read-1", "processing"),
    "first pass, done": ("look-1", "memory"),
    "sums": ("summary-1", "processing"),
    "parts": ("part-1", "memory"),
    "start": ("start-1", "processing"),
    "first step": ("step-1", "processing"),
    "step": ("step-5", "processing"),
    "step, done": ("step-5", "memory"),
    "weights": ("state-6", "memory"),
    "sums, done": ("merge-4", "memory"),
    "merge": ("merge-8", "processing"),
    "merge, done": ("merge-10", "memory"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_worker_is_killed(name, moment, two, disk):
    survives(two, [MOMENTS[moment]], name, disk("f8"))


def test_a_worker_is_killed_in_the_last_pass(two, disk):
    survives(two, [("last-1", "processing")], "strata", disk("f8"))
    scale(two, 2)
    survives(two, [("finish-1", "processing")], "strata", disk("f8"))


def test_two_workers_are_killed_and_chunks_are_read_anew(two, disk):
    assert survives(two, [("step-3", "memory"), ("step-", "processing")], "strata", disk("f8")) > 0
    scale(two, 2)
    survives(two, [("step-3", "processing")], "strata, kl", disk("f8"), hold=False)


class Recorder(SchedulerPlugin):
    """Note the tasks that have ended, as label and number, in their order."""

    def __init__(self):
        self.ended = []

    def transition(self, key, start, finish, *args, **more):
        if finish == "memory" and isinstance(key, tuple):
            self.ended.append((key[0].rsplit("-", 1)[0] + "-", key[1]))


@pytest.fixture(scope="module")
def tasks_of(cluster, disk):
    """Return the tasks of an undisturbed fit by the name of its case."""
    scale(cluster, 2)
    found = {}
    for name in NAMES:
        recorder = Recorder()
        cluster.scheduler.add_plugin(recorder, name="recorder")
        kind, options, given = CASES[name]
        fitted(on_workers(kind), options, disk("f8"), given, max_iter=8)
        cluster.scheduler.remove_plugin("recorder")
        found[name] = sorted(set(recorder.ended))
    return found


PHASES = ("last-", "start-", "step-", "merge-")  # the first four moments are in these


@pytest.mark.parametrize("number", range(10))
def test_a_worker_is_killed_at_a_random_moment(number, two, disk, tasks_of):
    rng, name = np.random.default_rng([22, number]), NAMES[number % 2]
    phase = PHASES[number] if number < len(PHASES) else ""
    tasks = [task for task in tasks_of[name] if task[0].startswith(phase)]
    (label, chunk), moment = tasks[rng.integers(len(tasks))], rng.choice(["processing", "memory"])
    survives(two, [(label, str(moment), chunk)], name, disk("f8"), hold=bool(rng.random() < 0.7))


def test_all_workers_are_gone(two, disk):
    def leave(state):
        if state.iteration == 2:
            scale(two, 0)

    kind, options, given = CASES["strata"]
    began = time.monotonic()
    with dask.config.set({"fastnmf.no-workers-timeout": "2s"}):
        with pytest.raises(TimeoutError, match="has had no worker for 2 seconds, but the fit needs one; start workers"):
            fitted(on_workers(kind), options, disk("f8"), given, max_iter=8, callback=leave)
    assert time.monotonic() - began < MOST_SECONDS


def test_weights_of_a_fit_survive_their_worker(two, disk):
    kind, options, given = CASES["strata"]
    expected = fitted(kind, options, disk("f8"), given, max_iter=4)
    model, client = fitted(on_workers(kind), options, disk("f8"), given, max_iter=4), distributed.default_client()
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    assert (model.W_.compute() == expected.W_).all()


def test_a_worker_that_comes_late_is_used(cluster, disk):
    scale(cluster, 1)
    client, parts = distributed.default_client(), {}

    def come(state):
        if state.iteration == 2:
            scale(cluster, 2)
        client.amm.run_once()  # Dask lets go of second copies
        parts[state.iteration] = min(client.run(_n_parts).values())

    kind, options, given = CASES["strata"]
    expected = bits(fitted(kind, options, disk("f8"), given, max_iter=10))
    found = fitted(on_workers(kind), options, disk("f8"), given, max_iter=10, callback=come)
    assert bits(found) == expected and not found.history_["replayed"].any()
    # Dask may let a worker that is less busy take a step of the other, so not all iterations are looked at
    assert np.median([parts[iteration] for iteration in range(5, 11)]) >= 3  # of six chunks
    moved = found.history_["bytes"][1:-1]  # two workers need the order, and add up their shares
    assert np.median(moved[4:]) > 2 * moved[0]


@pytest.mark.parametrize("hold", [True, False])
def test_a_late_worker_is_killed_while_chunks_go_to_it(hold, cluster, disk):
    def come(state):
        if state.iteration == 2:
            scale(cluster, 2)

    scale(cluster, 1)
    survives(cluster, [("moved-", "processing")], "strata", disk("f8"), hold=hold, callback=come)


def _n_parts(dask_worker):
    from fastnmf.core.chunks import Part

    return sum(isinstance(each, Part) for each in dask_worker.data.values())


def test_nothing_is_left_behind(two, disk):
    client = distributed.default_client()
    model = on_dask.StratifiedNMF(RANK, random_state=0, max_iter=4).fit(disk("f8"), strata=GROUPS)
    del model
    until = time.monotonic() + 10
    while time.monotonic() < until and client.run_on_scheduler(_n_tasks):
        time.sleep(0.05)
    assert client.run_on_scheduler(_n_tasks) == 0


def _n_tasks(dask_scheduler):
    return len(dask_scheduler.tasks)


DRIVER = """
import sys
import distributed
import fastnmf, fastnmf.dask, numpy as np

if __name__ == "__main__":
    rows, labels, folder, name = sys.argv[1:]
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster):
            options = {"solver": "mu", "beta_loss": "kullback-leibler"} if "kl" in name else {}
            options |= {"extrapolate": False} if name.endswith("kl") else {}
            options |= {"n_components": 4, "init": "features", "random_state": 0, "max_iter": 2000, "tol": 0}
            model = fastnmf.dask.StratifiedNMF(**options)
            model.fit(fastnmf.open_csr(rows), strata=np.load(labels), checkpoint=folder, checkpoint_every=0.5)
"""


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", NAMES)
def test_the_driver_is_killed_with_its_workers(name, seed, two, disk, tmp_path):
    np.save(tmp_path / "labels.npy", GROUPS)
    (tmp_path / "driver.py").write_text(DRIVER)
    folder, D = tmp_path / "state", disk("f8")
    arguments = [sys.executable, tmp_path / "driver.py", D.folder, tmp_path / "labels.npy", folder, name]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    driver = subprocess.Popen(arguments, start_new_session=True, **quiet)
    until = time.monotonic() + MOST_SECONDS
    try:
        while not (folder / "fit.npz").exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(np.random.default_rng(seed).uniform(0, 4))  # it may be writing
    finally:
        os.killpg(driver.pid, signal.SIGKILL)  # its workers, too
        driver.wait()
    at = int(fastnmf.io.archive.read(folder / "fit.npz", "checkpoint")["state"]["history"]["iteration"][-1])
    assert at > 0
    kind, options, given = CASES[name]
    more = {"max_iter": at + 4, "callback": None}
    expected = bits(fitted(kind, options, D, given, **more))
    found = fitted(on_workers(kind), options, open_csr(D.folder), given | {"checkpoint": folder}, **more)
    assert bits(found) == expected and found.history_["seconds"][at] < found.history_["seconds"][at + 1]


def test_an_anndata_on_disk(two, tmp_path):
    pd, anndata = pytest.importorskip("pandas"), pytest.importorskip("anndata")
    zarr = pytest.importorskip("zarr")
    import scipy.sparse as sp
    from anndata.experimental import read_elem_lazy

    obs = pd.DataFrame({"batch": GROUPS.astype(str)}, index=[f"cell{i}" for i in range(500)])
    genes = pd.DataFrame(index=[f"gene{j}" for j in range(70)])
    anndata.AnnData(sp.csr_matrix(X), obs=obs, var=genes).write_zarr(tmp_path / "cells.zarr")
    stored = read_elem_lazy(zarr.open(tmp_path / "cells.zarr", mode="r")["X"], chunks=(97, 70))
    cells = anndata.AnnData(stored, obs=obs, var=genes)
    model = on_dask.StratifiedNMF(RANK, random_state=0, max_iter=5).fit(cells, strata="batch")
    expected = fastnmf.StratifiedNMF(RANK, random_state=0, max_iter=5)
    expected.fit(save_csr(X, tmp_path / "rows", columns=97), strata=GROUPS.astype(str))
    assert bits(model) == bits(expected)
    W = model.transform(cells, strata="batch").compute()
    model.to_local().save(tmp_path / "model.npz")
    again = fastnmf.load(tmp_path / "model.npz")
    assert (again.transform(anndata.AnnData(sp.csr_matrix(X), obs=obs, var=genes), strata="batch") == W).all()
