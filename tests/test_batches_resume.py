"""Fits of batches and blocks that are interrupted and go on, that a limit or a callback ends, and that begin anew."""

import contextlib
import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf import MiniBatchNMF, MiniBatchStratifiedNMF, Start, open_csr, save_csr
from fastnmf.core import iterate
from fastnmf.core.batches import Statistics
from fastnmf.core.iterate import History, lacks_progress
from fastnmf.core.ratio_batches import RatioStatistics

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
RNG = np.random.default_rng(0)
X = sp.random_array((90, 22), density=0.4, rng=RNG, format="csr")
LABELS = np.array(["north", "south", "west"])[np.sort(RNG.integers(0, 3, 90))]
KINDS = (MiniBatchNMF, MiniBatchStratifiedNMF)
every_kind = pytest.mark.parametrize("kind", KINDS)
NAMES = ("components_", "W_", "shifts_", "strata_", "stratum_sizes_")


class Interrupt(Exception):
    pass


@contextlib.contextmanager
def interrupted(after):
    """Interrupt what runs inside before visit number `after` of a batch; yield a list of the visits made."""
    made = []

    def limit(kind, visit):
        def limited(self, batch):
            if len(made) == after:
                raise Interrupt
            visit(self, batch)
            made.append(batch.data.shape)

        patch.setattr(kind, "visit", limited)

    with pytest.MonkeyPatch.context() as patch:
        limit(Statistics, Statistics.visit)
        limit(RatioStatistics, RatioStatistics.visit)
        with pytest.raises(Interrupt) if after is not None else contextlib.nullcontext():
            yield made


def labelled(kind, strata=LABELS):
    return {"strata": strata} if kind is MiniBatchStratifiedNMF else {}


def blocks_of(kind, data=X, size=20):
    parts = [slice(lo, lo + size) for lo in range(0, data.shape[0], size)]
    return [(data[part], LABELS[part]) if labelled(kind) else data[part] for part in parts]


def make(kind, **more):
    return kind(**{"n_components": 4, "random_state": 0, "batch_size": 25, "max_iter": 4, "tol": 0} | more)


def assert_same(ours, theirs):
    for name in NAMES:
        one, two = getattr(ours, name, None), getattr(theirs, name, None)
        assert (one is None) == (two is None) and (one is None or one.tobytes() == two.tobytes()), name
    for name in ("iteration", "normalized_loss", "objective"):
        assert ours.history_[name].tobytes() == theirs.history_[name].tobytes(), name
    assert (np.diff(ours.history_["seconds"]) >= 0).all()
    for name in ("n_iter_", "n_steps_", "stopped_by_", "reconstruction_err_", "normalized_loss_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    one, two = ours._statistics.to_state(), theirs._statistics.to_state()
    names = (
        "H",
        "n_rows",
        "sq_norm",
        *("numerators denominators totals" if "totals" in one else "gram N G value").split(),
    )
    assert all(np.array_equal(one[name], two[name]) for name in names)


CASES = {
    "sparse": ({}, X),
    "dense": ({}, X.toarray()),
    "float32": ({}, X.astype(np.float32)),
    "large": ({}, X * 1e200),
    "forgetting": ({"forget_factor": 0.8}, X),
    "forgetting dense": ({"forget_factor": 0.8}, X.toarray()),
    "settles": ({"tol": 0.02, "max_no_improvement": 2, "max_iter": 50}, X),
    "several starts": ({"n_init": 3, "init": "random"}, X),
}
every_case = pytest.mark.parametrize(("options", "data"), CASES.values(), ids=CASES)


@every_kind
@every_case
def test_an_interrupted_fit_ends_as_one_that_was_not(kind, options, data, tmp_path, times=(1, 3, 4, 6, 15)):
    given = labelled(kind)
    whole = make(kind, **options).fit(data, **given)
    for after in times:
        state = tmp_path / f"{after}"
        with interrupted(after):
            make(kind, **options).fit(data, **given, checkpoint=state, checkpoint_every=0)
        with interrupted(None) as made:
            again = make(kind, **options).fit(data, **given, checkpoint=state)
        assert_same(again, whole)
        assert again.run_objectives_.tobytes() == whole.run_objectives_.tobytes()
        assert len(made) + after == whole.n_steps_ * len(whole.run_objectives_) or len(whole.run_objectives_) > 1


@every_kind
@pytest.mark.parametrize(
    "options",
    [{"beta_loss": "kullback-leibler", "alpha_W": 0.01}, {"missing_values": "zeros", "fresh_restarts": True}],
    ids=["KL", "missing"],
)
def test_ratios_go_on_too(kind, options, tmp_path):
    test_an_interrupted_fit_ends_as_one_that_was_not(kind, options, X, tmp_path, (3, 6, 15))
    long = options | {"max_iter": 16}  # the last passes update the components at their end only
    test_an_interrupted_fit_ends_as_one_that_was_not(kind, long, X, tmp_path, (54,))
    options = options | {"fresh_restarts_max_iter": 3}
    test_interrupted_blocks_end_as_those_that_were_not(kind, options, X, tmp_path, (4, 17))


@every_kind
@pytest.mark.parametrize("forget_factor", [1.0, 0.8])
def test_a_fit_of_one_batch_a_call(kind, forget_factor, tmp_path):
    model, given = make(kind, forget_factor=forget_factor), labelled(kind)
    whole = make(kind, forget_factor=forget_factor).fit(X, **given)
    for _ in range(whole.n_steps_):
        with interrupted(1):
            model.fit(X, **given, checkpoint=tmp_path / "state", checkpoint_every=0)
    assert_same(model.fit(X, **given, checkpoint=tmp_path / "state"), whole)


@every_kind
@every_case
def test_interrupted_blocks_end_as_those_that_were_not(kind, options, data, tmp_path, times=(1, 4, 5, 7, 29)):
    options, blocks, n_passes = options | {"n_init": 1}, blocks_of(kind, data), 6
    whole = make(kind, **options).fit_blocks(blocks, n_passes)
    for after in times:
        state = tmp_path / f"blocks {after}"
        with interrupted(after):
            make(kind, **options).fit_blocks(blocks, n_passes, checkpoint=state, checkpoint_every=0)
        with interrupted(None) as made:
            again = make(kind, **options).fit_blocks(blocks, n_passes, checkpoint=state)
        assert_same(again, whole)
        assert len(made) + after == whole.n_steps_ == 30


@every_kind
def test_blocks_of_one_block_a_call_also_in_passes_that_hold(kind, tmp_path):
    whole = make(kind).fit_blocks(blocks_of(kind), 14)
    values = whole.history_["objective"]
    assert (values[1:-1] > 0.99 * values[:-2]).any()  # passes after such a one update the components at their end only
    model = make(kind)
    for _ in range(whole.n_steps_):
        with interrupted(1):
            model.fit_blocks(blocks_of(kind), 14, checkpoint=tmp_path / "state", checkpoint_every=0)
    assert_same(model.fit_blocks(blocks_of(kind), 14, checkpoint=tmp_path / "state"), whole)


@every_kind
@pytest.mark.parametrize("seed", [0, np.random.default_rng, np.random.RandomState])
def test_a_second_start_after_blocks_of_zeros(kind, seed, tmp_path):
    """The first start is drawn from zeros, the second from the first block that has entries."""
    blocks = blocks_of(kind, sp.vstack([0 * X[:40], X[40:]], format="csr"))
    whole, model = (make(kind, random_state=seed(5) if callable(seed) else seed) for _ in range(2))
    whole.fit_blocks(blocks, 2)
    for _ in range(4):
        with interrupted(1):
            model.fit_blocks(blocks, 2, checkpoint=tmp_path / "state", checkpoint_every=0)
    assert_same(model.fit_blocks(blocks, 2, checkpoint=tmp_path / "state"), whole)


def test_blocks_on_disk_and_from_a_function_go_on(tmp_path):
    save_csr(X, tmp_path / "matrix")
    whole = make(MiniBatchNMF).fit_blocks(blocks_of(MiniBatchNMF), 2)
    for number, blocks in enumerate((open_csr(tmp_path / "matrix").blocks(20), lambda: iter(blocks_of(MiniBatchNMF)))):
        with interrupted(7):
            make(MiniBatchNMF).fit_blocks(blocks, 2, checkpoint=tmp_path / f"{number}", checkpoint_every=0)
        assert_same(make(MiniBatchNMF).fit_blocks(blocks, 2, checkpoint=tmp_path / f"{number}"), whole)


@every_kind
def test_a_fit_that_has_ended_goes_on_with_more_passes(kind, tmp_path):
    given, state = labelled(kind), {"checkpoint": tmp_path / "fit"}
    make(kind, max_iter=2).fit(X, **given, **state)
    assert_same(make(kind).fit(X, **given, **state), make(kind).fit(X, **given))
    state = {"checkpoint": tmp_path / "blocks"}
    make(kind).fit_blocks(blocks_of(kind), 2, **state)
    assert_same(make(kind).fit_blocks(blocks_of(kind), 5, **state), make(kind).fit_blocks(blocks_of(kind), 5))


def test_the_checkpoint_of_other_blocks_is_refused(tmp_path):
    def fit(blocks, n_passes=2, **options):
        return make(MiniBatchNMF, **options).fit_blocks(blocks, n_passes, checkpoint=tmp_path / "state")

    blocks = blocks_of(MiniBatchNMF)
    with interrupted(8):
        make(MiniBatchNMF).fit_blocks(blocks, 2, checkpoint=tmp_path / "state", checkpoint_every=0)
    refused = [
        (lambda: fit(iter(blocks), 1), "iterated only once, but a fit that continues from a checkpoint .* pass a list"),
        (lambda: fit(blocks[1:]), "the values of X are not the same"),
        (lambda: fit(blocks, sweeps=(3, 3)), r"sweeps was \[2, 2\] and is \[3, 3\]"),
        (lambda: fit(blocks, 1), "is at iteration 2, beyond n_passes=1; raise n_passes"),
        (lambda: fit(blocks[:2]), "has learned 3 blocks, but there are fewer now"),
        (lambda: make(MiniBatchNMF).fit(X[:20], checkpoint=tmp_path / "state"), "the argument blocks was 'one at a"),
        (lambda: make(MiniBatchNMF).fit_blocks(iter([]), checkpoint=tmp_path / "new"), "iterated only once"),
        (lambda: make(MiniBatchNMF).fit_blocks([], checkpoint=tmp_path / "new"), "no block"),
    ]
    for call, message in refused:
        with pytest.raises(ValueError, match=message):
            call()
    fit(blocks)  # none of these has changed the file


def test_a_pass_that_max_iter_excludes_is_refused_in_its_middle(tmp_path):
    with interrupted(5):
        make(MiniBatchNMF).fit(X, checkpoint=tmp_path / "state", checkpoint_every=0)
    with pytest.raises(ValueError, match="at iteration 2, beyond max_iter=1"):
        make(MiniBatchNMF, max_iter=1).fit(X, checkpoint=tmp_path / "state")
    ended = make(MiniBatchNMF, max_time=0).fit(X, checkpoint=tmp_path / "state")
    assert ended.n_iter_ == 2 and ended.stopped_by_ == "max_time"  # the pass that had begun is made


@every_kind
def test_no_further_pass_begins_after_the_time_limit(kind):
    model = make(kind, max_time=0, tol=1e-4).fit(X, **labelled(kind))
    assert model.n_iter_ == 1 and model.stopped_by_ == "max_time" and not model.converged_
    assert_same(make(kind, max_time=1e6).fit(X, **labelled(kind)), make(kind).fit(X, **labelled(kind)))


@every_kind
def test_no_further_block_is_read_after_the_time_limit(kind, tmp_path, monkeypatch):
    blocks, read, state = blocks_of(kind), [], {"checkpoint": tmp_path / "state"}
    whole = make(kind).fit_blocks(blocks, 3)

    def reading():
        return (read.append(block) or block for block in blocks)

    model = make(kind, max_time=0).fit_blocks(reading, 3, **state)
    assert len(read) == model.n_steps_ == model.n_iter_ == 1 and model.stopped_by_ == "max_time"
    first = make(kind).fit_blocks(blocks[:1])
    assert model.components_.tobytes() == first.components_.tobytes() and model.normalized_loss_ < 1
    for n_steps in (2, 3, 4, 5, 5):  # each call learns one more block of the pass, and none of another pass
        model = make(kind, max_time=0).fit_blocks(reading, 3, **state)
        assert model.n_steps_ == n_steps and model.n_iter_ == 1
    assert_same(make(kind).fit_blocks(reading, 3, **state), whole)

    monkeypatch.setattr(iterate.time, "perf_counter", lambda: float(len(read)))  # a block takes a second to read
    read.clear()
    state = {"checkpoint": tmp_path / "other"}
    model = make(kind, max_time=7).fit_blocks(reading, 3, **state)
    assert model.n_iter_ == 2 and model.n_steps_ == len(read) == 8 and model.stopped_by_ == "max_time"
    learned = model.history_["objective"]
    assert learned[0] == whole.history_["objective"][0] and learned[1] < learned[0]
    assert model._statistics.pass_to_state()["last_pass"] is None
    assert model.partial_fit(X, **labelled(kind)).n_steps_ == 9
    assert_same(make(kind).fit_blocks(reading, 3, **state), whole)


@every_kind
@pytest.mark.parametrize("forget_factor", [1.0, 0.9])
def test_a_callback_sees_the_rows_in_their_order(kind, forget_factor):
    seen = []

    def look(state):
        modelled = state.W @ state.H + (0 if state.V is None else state.V[np.unique(LABELS, return_inverse=True)[1]])
        seen.append(np.linalg.norm(X - modelled) / np.linalg.norm(X.toarray()) - state.normalized_loss)
        return state.iteration == 3

    model = make(kind, callback=look, forget_factor=forget_factor).fit(X, **labelled(kind))
    assert len(seen) == model.n_iter_ == 3 and model.stopped_by_ == "callback" and not model.converged_
    np.testing.assert_allclose(seen, 0, atol=1e-9 if forget_factor == 1 else 0.1)


@every_kind
def test_a_callback_of_blocks_sees_what_there_is(kind):
    states = []
    model = make(kind, callback=lambda state: states.append(state) or state.iteration == 2)
    model.fit_blocks(blocks_of(kind), 5)
    last = states[-1]
    assert len(states) == model.n_iter_ == 2 and model.stopped_by_ == "callback" and model.n_steps_ == 10
    assert last.W is None and last.H.tobytes() == model.components_.tobytes()
    assert last.V is None if kind is MiniBatchNMF else last.V.tobytes() == model.shifts_.tobytes()
    assert last.normalized_loss == model.normalized_loss_


@every_kind
def test_the_best_of_several_starts(kind):
    runs = [make(kind, init="random", random_state=seed) for seed in np.random.default_rng(3).spawn(2)]
    model = make(kind, init="random", n_init=3, random_state=np.random.default_rng(3)).fit(X, **labelled(kind))
    first = make(kind, init="random", random_state=np.random.default_rng(3)).fit(X, **labelled(kind))
    fits = [first, *(run.fit(X, **labelled(kind)) for run in runs)]
    best = min(fits, key=lambda fit: fit.run_objectives_[0])
    assert len(model.run_objectives_) == 3 and model.run_objectives_.min() == best.run_objectives_[0]
    assert_same(model, best)
    for name in ("partial_fit", "fit_blocks"):
        data = X if name == "partial_fit" else [X]
        with pytest.raises(
            ValueError, match=f"n_init=3 requests several starts, but {name} has only one: the first batch"
        ):
            getattr(make(kind, n_init=3), name)(data)


@every_kind
def test_a_warm_start_begins_at_the_components(kind):
    model = make(kind, warm_start=True).fit(X, **labelled(kind))
    shifts = {"shifts": model.shifts_, "strata": model.strata_} if kind is MiniBatchStratifiedNMF else {}
    start = Start(model.components_, **shifts)
    assert_same(model.fit(X, **labelled(kind)), make(kind, init=start).fit(X, **labelled(kind)))
    blocks, start = blocks_of(kind), model.as_start()
    model.fit_blocks(blocks, 2)
    assert_same(model, make(kind, init=start).fit_blocks(blocks, 2))
    with pytest.raises(ValueError, match=r"warm_start continues from components of shape \(4, 22\)"):
        model.set_params(n_components=3).fit(X, **labelled(kind))
    zeros = make(kind, warm_start=True).partial_fit(0 * X[:30])  # it goes on from no zeros
    assert zeros.partial_fit(X).components_.any()


def test_progress_is_counted_as_a_plain_loop_counts_it():
    for seed, patience in itertools.product(range(300), (1, 2, 5)):
        values = np.random.default_rng(seed).choice([3, 2.99, 2.9, 2, 1.999, 1.5], 8).tolist()
        least, in_vain, history = np.inf, 0, History()
        for number, value in enumerate(values, 1):
            in_vain = in_vain + 1 if value >= 0.99 * least else 0
            least = min(least, value)
            history.note(iteration=number, objective=value, penalty=0.0, seconds=0.0)
            assert lacks_progress(history, 0.01, patience) == (in_vain >= patience)
