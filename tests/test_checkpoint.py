"""Fits that are interrupted and go on: they end with the bits of a fit that nobody interrupted."""

import copy
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from fastnmf import NMF, StratifiedNMF, load
from fastnmf.core.losses import squared
from fastnmf.io import archive, checkpoints

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
RNG = np.random.default_rng(0)
X = sp.random_array((70, 22), density=0.5, rng=RNG, format="csr")
LABELS = np.array(["north", "south", "west"])[RNG.integers(0, 3, 70)]
CERTAINTY = RNG.random(X.shape)
HOLED = np.where(RNG.random(X.shape) < 0.3, np.nan, X.toarray())
KNOWN = np.where(RNG.random((2, 22)) < 0.3, np.nan, 1.0)
MU, KL = {"solver": "mu"}, {"solver": "mu", "beta_loss": 1}
LAST = 25

# name -> parameters, arguments of fit, and what X is if not the sparse one
CASES = {
    "default": ({}, {}, None),
    "mu": (MU, {}, None),
    "dense": ({}, {}, X.toarray()),
    "dense mu": (MU, {}, X.toarray()),
    "float32": ({}, {}, X.astype(np.float32)),
    "float32 mu": (MU, {}, X.astype(np.float32)),
    "kl": (KL, {}, None),
    "kl float32": (KL, {}, X.astype(np.float32)),
    "is": (MU | {"beta_loss": 0}, {}, X.toarray() + 0.1),
    "beta 1.5 penalised": (MU | {"beta_loss": 1.5, "alpha_W": 0.01, "l1_ratio": 0.5}, {}, None),
    "penalties": ({"alpha_W": 1e-3, "l1_ratio": 0.5}, {}, None),
    "mu penalties": (MU | {"alpha_W": 1e-3, "l1_ratio": 0.5}, {}, None),
    "mask": ({"missing_values": "nan"}, {}, HOLED),
    "mask mu": (MU | {"missing_values": "zeros"}, {}, None),
    "entry weights": ({}, {"weight": CERTAINTY}, None),
    "row weights": ({}, {"sample_weight": RNG.random(70)}, None),
    "kl row weights": (KL, {"sample_weight": RNG.random(70)}, None),
    "known": ({"fixed_components": KNOWN}, {}, None),
    "mu known": (MU | {"fixed_components": KNOWN}, {}, None),
    "seeds": ({"seed_features": {0: [1, 2]}}, {}, None),
    "mu seeds": (MU | {"seed_features": {0: [1, 2]}}, {}, None),
    "large": ({}, {}, X * 1e200),
    "nndsvd": ({"init": "nndsvd"}, {}, None),
    "random": ({"init": "random", **MU}, {}, None),
    "settles": ({"tol": 1e-3, "max_iter": 500}, {}, None),
}
OWN = {
    NMF: {
        "hals": ({"solver": "hals"}, {}, None),
        "shuffle": ({"shuffle": True}, {}, None),
        "shuffle mask": ({"shuffle": True, "missing_values": "zeros"}, {}, None),
        "custom": ({"init": "custom"}, {"W": RNG.random((70, 5)), "H": RNG.random((5, 22))}, None),
    },
    StratifiedNMF: {
        "not extrapolated": ({"extrapolate": False}, {}, None),
        "thorough": ({"sweeps": "thorough"}, {}, None),
        "simultaneous": (MU | {"update_order": "simultaneous"}, {}, None),
        "equal strata": ({"strata_weight": "equal"}, {}, None),
        "gauge": ({"gauge": "min_shift"}, {}, None),
        "mu gauge": (MU | {"gauge": "max_shift", "normalize": "l1"}, {}, None),
        "custom": (
            {"init": "custom"},
            {"W": RNG.random((70, 5)), "H": RNG.random((5, 22)), "V": RNG.random((3, 22))},
            None,
        ),
    },
}
EVERY = [(kind, name, case) for kind in OWN for name, case in (CASES | OWN[kind]).items()]
every_case = pytest.mark.parametrize(
    "kind, case", [(kind, case) for kind, _, case in EVERY], ids=[f"{kind.__name__} {name}" for kind, name, _ in EVERY]
)


class Interrupt(Exception):
    pass


def fit(kind, data=X, until=None, state=None, every=0.0, given=None, **options):
    """Fit, with a checkpoint if `state` is a path; interrupt it after iteration `until`. Return the model."""

    def stop(at):
        if at.iteration == until:
            raise Interrupt

    more = {"strata": LABELS} if kind is StratifiedNMF else {}
    more |= {} if state is None else {"checkpoint": state, "checkpoint_every": every}
    options = {"n_components": 5, "random_state": 0, "max_iter": LAST, "tol": 0} | options
    model = kind(**options, **({} if until is None else {"callback": stop}))
    if until is None:
        return model.fit(data, **(given or {}), **more)
    with pytest.raises(Interrupt):
        model.fit(data, **(given or {}), **more)
    return model


def assert_same_fit(ours, theirs):
    for name in ("components_", "W_", "shifts_"):
        assert hasattr(ours, name) == hasattr(theirs, name)
        assert not hasattr(ours, name) or getattr(ours, name).tobytes() == getattr(theirs, name).tobytes(), name
    for name in ("iteration", "normalized_loss", "objective"):
        assert ours.history_[name].tobytes() == theirs.history_[name].tobytes()
    assert (np.diff(ours.history_["seconds"]) >= 0).all() and len(ours.history_["seconds"]) == ours.n_iter_ + 1
    for name in ("n_iter_", "converged_", "stopped_by_", "n_revived_", "reconstruction_err_", "normalized_loss_"):
        assert getattr(ours, name) == getattr(theirs, name), name


@every_case
def test_an_interrupted_fit_ends_as_one_that_was_not(kind, case, tmp_path):
    """One interruption comes before the fit that goes on has written anything, one shortly before the end."""
    options, given, data = case
    data, state = X if data is None else data, tmp_path / "state.npz"
    whole = fit(kind, data, given=given, **options)
    for until in (1, 6, 6, 7, whole.n_iter_ - 2):
        fit(kind, data, until, state, given=given, **options)
    again = fit(kind, data, state=state, given=given, **options)
    assert whole.n_iter_ > 12
    assert_same_fit(again, whole)
    assert list(tmp_path.iterdir()) == [state]


@pytest.mark.parametrize("name", ["default", "mu", "mu known", "kl", "mask"])
@pytest.mark.parametrize("kind", [NMF, StratifiedNMF])
def test_the_loop_goes_on_from_the_state_that_it_was_in(kind, name, tmp_path, monkeypatch):
    """Also of what matters much later only, as the bound of the extrapolation; it is set apart from its start here."""
    options, given, data = CASES[name]
    data, states, real = X if data is None else data, [], checkpoints.Checkpoint.__call__

    def watch(self, loop, is_last):
        if loop.iteration == 3 and loop.solver.extrapolation is not None:
            loop.solver.extrapolation.bound = loop.solver.extrapolation.beta = 0.3
        states.append(copy.deepcopy({name: part for name, part in loop.to_state().items() if name != "seconds"}))
        real(self, loop, is_last)

    monkeypatch.setattr(checkpoints.Checkpoint, "__call__", watch)
    fit(kind, data, 9, tmp_path / "state.npz", given=given, **options)
    before, states[:] = states[-1], []
    fit(kind, data, state=tmp_path / "state.npz", given=given, **options)
    assert before["history"]["iteration"][-1] == 8 and archive.digest(states[0]) == archive.digest(before)
    assert before["cached_products"] == ["W"] or name != "mu known"


@pytest.mark.parametrize("kind", [NMF, StratifiedNMF])
def test_components_that_died_are_counted_on(kind, tmp_path, monkeypatch):
    """Three components are dead from the start, and two attempts allowed: a count that began anew would allow more."""
    monkeypatch.setattr(squared, "MAX_RESEEDINGS", 2)
    start = {"W": np.ones((70, 5)), "H": RNG.random((5, 22))} | (
        {"V": np.zeros((3, 22))} if kind is StratifiedNMF else {}
    )
    start["W"][:, 2:] = start["H"][2:] = 0
    whole = fit(kind, init="custom", given=start)
    assert whole.n_revived_ == 2
    for until in range(1, 5):
        fit(kind, until=until, state=tmp_path / "state.npz", init="custom", given=start)
    assert_same_fit(fit(kind, state=tmp_path / "state.npz", init="custom", given=start), whole)


def test_a_checkpoint_changes_nothing_of_a_fit(tmp_path):
    assert_same_fit(fit(NMF, state=tmp_path / "state.npz"), fit(NMF))


def test_a_finished_fit_returns_at_once_and_goes_on_where_more_is_asked_for(tmp_path):
    state, seen = tmp_path / "state.npz", []
    first = fit(StratifiedNMF, state=state)
    before = state.read_bytes()
    again = fit(StratifiedNMF, state=state, callback=lambda at: seen.append(at.iteration))
    assert_same_fit(again, first)
    assert seen == [LAST] and state.read_bytes() == before
    assert again.history_["seconds"].tolist() == first.history_["seconds"].tolist()
    longer = fit(StratifiedNMF, state=state, max_iter=40, n_threads=1, verbose=0)
    assert_same_fit(longer, fit(StratifiedNMF, max_iter=40))
    with pytest.raises(ValueError, match="is at iteration 40, beyond max_iter=30; raise max_iter, or delete the file"):
        fit(StratifiedNMF, state=state, max_iter=30)
    settled = fit(StratifiedNMF, state=tmp_path / "other.npz", tol=1e-2, max_iter=500)
    assert settled.converged_ and settled.n_iter_ < 500
    assert_same_fit(fit(StratifiedNMF, state=tmp_path / "other.npz", tol=1e-2, max_iter=500), settled)


def test_a_fit_that_a_callback_stopped_stays_stopped(tmp_path):
    def stop(at):
        return at.iteration == 4

    first = fit(NMF, state=tmp_path / "state.npz", callback=stop)
    assert_same_fit(fit(NMF, state=tmp_path / "state.npz", callback=stop), first)
    assert first.stopped_by_ == "callback" and first.n_iter_ == 4


SEEDS = {"Generator": np.random.default_rng, "RandomState": np.random.RandomState}


@pytest.mark.parametrize("make", SEEDS.values(), ids=SEEDS)
def test_a_generator_goes_on_as_if_nothing_had_happened(make, tmp_path):
    """Whether the caller brings a fresh generator, or the one that the interrupted fit has drawn from."""
    options = {"shuffle": True, "seed_features": {0: [1]}}
    seed = make(7)
    whole, then = fit(NMF, random_state=seed, **options), seed.normal(size=3)
    for name, is_fresh in (("a", True), ("b", False)):
        seed = make(7)
        fit(NMF, until=5, state=tmp_path / name, random_state=seed, **options)
        seed = make(7) if is_fresh else seed
        assert_same_fit(fit(NMF, state=tmp_path / name, random_state=seed, **options), whole)
        assert seed.normal(size=3).tolist() == then.tolist()
    with pytest.raises(ValueError, match="random_state is a generator in another state. Delete it"):
        fit(NMF, state=tmp_path / "a", random_state=make(8), **options)


def test_without_a_seed_the_checkpoint_chooses_one_and_keeps_it(tmp_path):
    options = {"random_state": None, "shuffle": True, "seed_features": {0: [1]}}
    for name in "ab":
        fit(NMF, until=5, state=tmp_path / name, **options)
    kept = archive.read(tmp_path / "a", "checkpoint")
    assert kept["seed"] != archive.read(tmp_path / "b", "checkpoint")["seed"]
    again = fit(NMF, state=tmp_path / "a", **options)
    assert_same_fit(again, fit(NMF, **options | {"random_state": kept["seed"]}))
    assert "_seed" not in vars(again) and again.random_state is None


def test_a_warm_start_belongs_to_the_fit(tmp_path):
    def warm(rounds, **options):
        model = fit(NMF, max_iter=rounds, warm_start=True)
        return model.set_params(max_iter=LAST).fit(X, **options)

    warm(3, checkpoint=tmp_path / "state.npz")
    assert_same_fit(warm(3, checkpoint=tmp_path / "state.npz"), warm(3))
    with pytest.raises(ValueError, match="the model that warm_start goes on from is not the same"):
        warm(4, checkpoint=tmp_path / "state.npz")


DIFFERENT = [
    ({"n_components": 4}, "n_components was 5 and is 4"),
    ({"solver": "mu"}, "solver was 'hals' and is 'mu'"),
    ({"random_state": 1}, "random_state was 0 and is 1"),
    ({"random_state": np.random.default_rng(0)}, "random_state was 0 and is 'Generator'"),
    ({"sweeps": (1, 1, 1)}, r"sweeps was \[2, 1, 2\] and is \[1, 1, 1\]"),
    ({"fixed_components": KNOWN}, "fixed_components was None and is something else"),
    ({"data": X.toarray()}, "the layout of X was 'sparse' and is 'dense'"),
    ({"data": X.astype(np.float32)}, "the dtype of X was 'float64' and is 'float32'"),
    ({"data": X * (1 + 1e-15 * (np.arange(22) == 5))}, "the values of X are not the same"),
    ({"data": X[:, :21]}, r"the shape of X was \(70, 22\) and is \(70, 21\); the number of stored"),
    ({"given": {"strata": LABELS[::-1]}}, "strata is not the same"),
    ({"given": {"strata": pd.Categorical(LABELS).codes}}, "strata is not the same"),
    ({"given": {"sample_weight": np.arange(70)}}, "the weights of rows was None and is something else"),
    ({"given": {"weight": CERTAINTY}}, "the weights of entries was None and is something else"),
]


@pytest.mark.parametrize("changes, message", DIFFERENT, ids=[message[:40] for _, message in DIFFERENT])
def test_a_checkpoint_of_another_fit_is_refused(changes, message, tmp_path):
    state = tmp_path / "state.npz"
    fit(StratifiedNMF, until=2, state=state)
    before, changes = state.read_bytes(), dict(changes)
    data, given = changes.pop("data", X), {"strata": LABELS} | changes.pop("given", {})
    model = StratifiedNMF(**{"n_components": 5, "random_state": 0, "max_iter": LAST, "tol": 0} | changes)
    with pytest.raises(ValueError, match=f"state.npz is the checkpoint of another fit.*{message}") as caught:
        model.fit(data, checkpoint=state, **given)
    assert str(caught.value).endswith("Delete it to start over, or give another path.")
    assert state.read_bytes() == before and not hasattr(model, "_seed")


def test_another_model_is_named(tmp_path):
    fit(NMF, until=2, state=tmp_path / "state.npz")
    with pytest.raises(ValueError, match="estimator was 'NMF' and is 'StratifiedNMF'"):
        fit(StratifiedNMF, state=tmp_path / "state.npz")


def test_labels_that_no_file_holds_may_be_those_of_a_fit_with_a_checkpoint(tmp_path):
    days = pd.to_datetime(["2024-01-01", "2024-01-02"]).astype(object).to_numpy()[np.arange(70) % 2]
    model = StratifiedNMF(2, random_state=0, max_iter=3).fit(X, strata=days, checkpoint=tmp_path / "state.npz")
    assert model.shifts_.shape == (2, 22)


# ---------------------------------------------------------------- the file


def test_files_that_are_no_checkpoints_are_refused_and_stay(tmp_path):
    fit(NMF).save(tmp_path / "model")
    fit(NMF, until=3, state=tmp_path / "good")
    sp.save_npz(tmp_path / "data.npz", X)
    (tmp_path / "cut").write_bytes((tmp_path / "good").read_bytes()[:-1])
    damaged = bytearray((tmp_path / "good").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    for name, message in (
        ("model", "holds a model, not a checkpoint"),
        ("data.npz", "not a checkpoint file of fastnmf, or its end is missing"),
        ("cut", "its end is missing"),
        ("damaged", "damaged: its contents do not match its checksum"),
    ):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=f"{name} .*{message}.* Give another path as checkpoint, or delete"):
            fit(NMF, state=tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(ValueError, match="good holds a checkpoint, not a model"):
        load(tmp_path / "good")


def test_a_path_that_cannot_be_written_is_refused_before_the_fit_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(NMF, "_start", None)
    with pytest.raises(OSError, match="folder .*nowhere does not exist"):
        fit(NMF, state=tmp_path / "nowhere" / "state.npz")
    with pytest.raises(OSError, match="is a folder; give the path of a file"):
        fit(NMF, state=tmp_path)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "folder")

    with monkeypatch.context() as context:  # as root no folder is read-only
        context.setattr(os, "open", refuse)
        with pytest.raises(OSError, match="Permission denied"):
            fit(NMF, state=tmp_path / "state.npz")
    with pytest.raises(TypeError, match="checkpoint=3 is not a path"):
        fit(NMF, state=3)
    with pytest.raises(ValueError, match="checkpoint_every=-1 is not valid; expected a number of seconds >= 0"):
        fit(NMF, state=tmp_path / "state.npz", every=-1)


def test_what_a_killed_writer_left_is_removed(tmp_path):
    others = {".state.npzz.0123abcd.tmp", ".state.npz.b.0123abcd.tmp", "state.npz.tmp"}
    for name in (".state.npz.0123abcd.tmp", *others):
        (tmp_path / name).touch()
    fit(NMF, state=tmp_path / "state.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"state.npz", *others}


def test_a_disk_that_is_full_for_a_while_does_not_end_the_fit(tmp_path, monkeypatch):
    state, real, calls = tmp_path / "state.npz", archive.write, []

    def write(*args):
        calls.append(args)
        if 3 <= len(calls) < 7:
            raise OSError("No space left on device")
        real(*args)

    monkeypatch.setattr(checkpoints.archive, "write", write)
    with pytest.warns(RuntimeWarning, match="could not be written .No space left .*the fit continues.* of iteration 1"):
        model = fit(NMF, state=state)
    assert_same_fit(model, fit(NMF))
    assert archive.read(state, "checkpoint")["state"]["history"]["iteration"][-1] == LAST


@pytest.mark.parametrize("every", [0.0, 1.0, 2.5, 10.0, 1e9])
def test_no_state_in_the_file_is_older_than_the_interval(every, tmp_path, monkeypatch):
    """On a clock that makes an iteration take 0.7 and writing 0.1 seconds: killed at any moment, less is lost.

    Or one iteration and its writing, where the interval is shorter than that.
    """
    clock, written, real = [0.0], [], archive.write

    def write(path, kind, values):
        clock[0] += 0.1
        written.append((clock[0], clock[0] - 0.1))  # when a state was in the file, and from when it is
        real(path, kind, values)

    def work(at):
        clock[0] += 0.7

    monkeypatch.setattr(checkpoints.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(checkpoints.archive, "write", write)
    fit(NMF, state=tmp_path / "state.npz", every=every, init="features", callback=work)
    lost = [there - since for (_, since), (there, _) in zip(written[:-1], written[1:], strict=True)]
    assert max(lost) <= max(every, 0.9) + 1e-9
    expected = {0.0: LAST + 1, 1.0: LAST + 1, 1e9: 2}
    assert len(written) == expected.get(every, len(written)) and 2 <= len(written) <= LAST + 1
    assert len(written) <= 2 + (LAST * 0.8) / max(every - 0.9, 0.1)


MAKE = """
import numpy as np
import scipy.sparse as sp
from fastnmf import StratifiedNMF
rng = np.random.default_rng(0)
data, labels = sp.random_array((300, 90), density=0.2, rng=rng, format="csr"), rng.integers(0, 4, 300)
model = StratifiedNMF(4, solver="mu", max_iter=60, tol=0, random_state=0)
"""
CHILD = f"""{MAKE}
import sys
model.set_params(callback=lambda at: print(at.iteration, flush=True))
model.fit(data, strata=labels, checkpoint=sys.argv[1], checkpoint_every=0)
"""


def run_child(state, kill_at=None):
    """Fit in a process of its own, kill it when it says that iteration; return the iterations that it said."""
    done = []
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", CHILD, state], stdout=subprocess.PIPE) as child:
        for line in child.stdout:
            done.append(int(line))
            if done[-1] == kill_at:
                child.kill()
                break
    return done


def test_a_killed_process_goes_on(tmp_path):
    """It writes after every iteration, so that the kill is likely to come in the midst of writing."""
    state = str(tmp_path / "state.npz")
    first, second = run_child(state, 20), run_child(state, 45)
    assert first == list(range(21)) and 19 <= second[0] and second[-1] == 45
    made = {}
    exec(MAKE, made)
    again = made["model"].fit(made["data"], strata=made["labels"], checkpoint=state)
    assert archive.read(state, "checkpoint")["state"]["history"]["iteration"][-1] == 60
    assert_same_fit(again, clone(again).fit(made["data"], strata=made["labels"]))
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_several_starts_go_on_where_they_were(tmp_path):
    """Killed in every iteration of every run: the finished runs are kept, the best of them with its factors."""
    options = {"n_init": 3, "init": "random", "max_iter": 4, "random_state": 5, "tol": 0}
    for kind in (NMF, StratifiedNMF):
        whole, state = kind(2, **options).fit(X), tmp_path / f"{kind.__name__}.npz"
        assert len(set(whole.run_objectives_)) == 3
        for run in range(3):
            for iteration in range(5):

                def stop(now, run=run, iteration=iteration):
                    if (now.run, now.iteration) == (run, iteration):
                        raise KeyboardInterrupt

                with pytest.raises(KeyboardInterrupt):
                    kind(2, **options, callback=stop).fit(X, checkpoint=state, checkpoint_every=0)
        again = kind(2, **options).fit(X, checkpoint=state, checkpoint_every=0)
        assert_same_fit(again, whole)
        np.testing.assert_array_equal(again.run_objectives_, whole.run_objectives_)


def test_several_starts_need_seeds_that_can_be_drawn_again(tmp_path):
    model = NMF(2, n_init=3, random_state=np.random.default_rng(0))
    with pytest.raises(ValueError, match="n_init=3 needs reproducible seeds; set random_state to an"):
        model.fit(np.ones((4, 3)), checkpoint=tmp_path / "state.npz")


def test_starts_that_are_the_same_are_one(tmp_path):
    model = NMF(2, n_init=3, init="nndsvd", max_iter=2, tol=0)  # of which there is one start only
    model.fit(np.eye(4), checkpoint=tmp_path / "state.npz")
    assert (tmp_path / "state.npz").exists()
