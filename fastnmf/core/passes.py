"""Pass over batches in memory, or over blocks that are read one after the other: the solvers of `Statistics`."""

from itertools import islice

import numpy as np

from fastnmf.core.batches import Batch, residual
from fastnmf.core.factors import aligned, refill
from fastnmf.core.iterate import Solver, lacks_progress
from fastnmf.core.kept_state import check_entries, check_like, check_real, check_statistics, require

MOVING_GAIN = 0.01  # relative decrease of the objective in a pass; below it H is updated only at the end of a pass


class Passes(Solver):
    """Fit statistics to batches that are in memory; a step visits a batch, and an iteration is a pass over all of them.

    With ``forget_factor=1`` a batch that is visited again replaces its previous contributions. After a pass F is then
    the objective of the whole data, and it does not increase from one pass to the next. Otherwise each visit counts as
    new rows, and the objective is F of the decayed sums, rescaled to the squared norm of all data. The objective of the
    start is not known.

    Parameters
    ----------
    statistics : Statistics
        At its start; updated in place.
    batches : list of Batch
        Updated in place.
    scale : float
        Squared norm of the data.
    patience : int
        The fit stops after so many consecutive passes each of which lowered the lowest objective so far by at most
        ``tol`` times itself, and at the objective 0; with ``tol=0`` it does not stop by itself.
    cheap_value_floor : float, default=0.0
        Fraction of the squared norm below which the objective is computed from the residual itself.
    """

    varying = ("statistics", "batches")

    def __init__(self, statistics, batches, *, scale, patience, cheap_value_floor=0.0):
        self.statistics, self.batches, self.scale, self.patience = statistics, batches, scale, patience
        self._floor, self._position = cheap_value_floor, 0

    def step(self):
        """Visit the next batch; return the objective after the last one of a pass."""
        statistics, batch = self.statistics, self.batches[self._position]
        if statistics.forget_factor < 1:  # rows that come again count as new
            batch = self.batches[self._position] = Batch(batch.data)
        elif batch.W is None:  # visited again later: inexact weights suffice
            batch.W = aligned((batch.data.shape[0], statistics.H.shape[1]), batch.data.dtype)
        statistics.visit(batch)
        self._position = (self._position + 1) % len(self.batches)
        if self._position:
            return None
        value, total = statistics.value, sum(batch.data.sq_norm for batch in self.batches)
        self.penalty = statistics.penalty
        if statistics.forget_factor < 1:
            ratio = total / statistics.sq_norm if statistics.sq_norm > 0 else 0.0
            self.penalty *= ratio
            return value * ratio + self.penalty
        return (residual(statistics, self.batches) if value < self._floor * total else value) + self.penalty

    def stop(self, history, tol):
        """Return ``"tol"`` where the last passes made too little progress, or where the objective is 0."""
        is_done = lacks_progress(history, tol, self.patience) or history.best[-1] == 0
        return "tol" if tol and is_done else None

    def weights(self):
        """Return the weights of all rows after their last visits, (n_rows, k), for batches made by `split`."""
        k, count = self.statistics.rank, len(self.batches)
        W = np.empty((sum(len(batch.W) for batch in self.batches), k), self.statistics.dtype)
        for first, batch in enumerate(self.batches):
            W[first::count] = batch.W[:, :k]
        return W

    def to_state(self):
        """Return the statistics, the contributions of every batch, and the position in the pass."""
        batches = [batch.to_state() for batch in self.batches]
        return {"statistics": self.statistics.to_state(), "batches": batches, "position": self._position}

    def from_state(self, state):
        """Restore the state that `to_state` returned for the same batches."""
        for batch, kept in zip(self.batches, state["batches"], strict=True):
            _check_batch(batch, kept, self.statistics)
        require(state["position"] < len(self.batches), "position")
        self.statistics, self._position = _restored(self.statistics, state["statistics"]), state["position"]
        for batch, kept in zip(self.batches, state["batches"], strict=True):
            batch.from_state(kept)


class RatioPasses(Passes):
    """Fit `RatioStatistics` to batches that are in memory: a batch keeps its weights from pass to pass.

    With ``forget_factor=1`` a batch replaces its share of what the previous pass contributed. Once a pass lowers the
    objective by less than `MOVING_GAIN`, H and shifts are updated at the end of a pass only, which is an iteration of
    the batch algorithm and does not increase the objective. The objective is that of all rows at their last weights.

    Parameters
    ----------
    statistics, batches, scale, patience :
        As for `Passes`.
    """

    def __init__(self, statistics, batches, *, scale, patience):
        super().__init__(statistics, batches, scale=scale, patience=patience)
        self._values, self._holds, room = [], False, {}
        for batch in batches:
            batch.is_kept, batch.room = True, room

    def step(self):
        """Visit the next batch; return the objective after the last one of a pass."""
        statistics, batch = self.statistics, self.batches[self._position]
        if statistics.forget_factor < 1:  # rows that come again count as new
            batch.is_new = True
        elif self._values and self._position == 0:
            self._holds = self._holds or gained_little(self._values)
            statistics.begin_repeated_pass(hold=self._holds)
        statistics.visit(batch)
        self._position = (self._position + 1) % len(self.batches)
        if self._position:
            return None
        if self._values and statistics.forget_factor == 1:
            statistics.end_repeated_pass()
        return self.measure()

    def set_weights(self, W):
        """Replace the weights by those of all rows, (n_rows, at least k), in the order of the data."""
        k, count = self.statistics.rank, len(self.batches)
        for first, batch in enumerate(self.batches):
            _, factors = self.statistics.problem_of(batch)
            factors["W"][:, :k] = W[first::count, :k]
            factors.invalidate("W")

    def measure(self):
        """Return the objective of all batches at the present weights and components, and note it."""
        value, self.penalty = self.statistics.measure(self.batches), self.statistics.penalty
        self._values = [*self._values[-1:], value + self.penalty]
        return self._values[-1]

    def to_state(self):
        """As `Passes.to_state`, with what later passes depend on."""
        own = {"values": self._values, "holds": self._holds, "pass": self.statistics.pass_to_state()}
        return super().to_state() | own

    varying = (*Passes.varying, "values", "pass")

    def from_state(self, state):
        """Restore the state that `to_state` returned for the same batches."""
        _check_values(state)
        super().from_state(state)
        _check_pass(state["pass"], self.statistics)
        self.statistics.pass_from_state(state["pass"])
        self._values, self._holds = state["values"], state["holds"]


class BlockPasses(Solver):
    """Fit statistics to blocks that are read one after the other; a step learns a block, an iteration is a pass.

    In later passes with ``forget_factor=1`` each block replaces its share of what the previous pass contributed. Once
    a pass lowers the objective by less than `MOVING_GAIN`, the next ones update v and H at their end only. The
    objective is F of the sums at the end of a pass.

    Parameters
    ----------
    statistics : Statistics
        At its start; updated in place.
    blocks : iterator
        The blocks of the first pass that is made here.
    again : callable
        ``again()`` returns the same blocks once more, for each later pass.
    learn : callable
        ``learn(statistics, block, is_new)`` makes a `Batch` of a block, and `statistics` visit it.

    Attributes
    ----------
    n_learned : int
        Number of blocks visited, in all passes.
    """

    can_cut, varying = True, ("statistics", "pass", "values")

    def __init__(self, statistics, blocks, again, learn):
        self.statistics, self._blocks, self._again, self._learn = statistics, blocks, again, learn
        self.n_learned, self._position, self._values, self._holds = 0, 0, [], False

    @property
    def scale(self):
        """Objective of the trivial model for the rows that the statistics remember."""
        return self.statistics.scale

    def step(self):
        """Learn the next block; if there is none, end the pass and return the objective."""
        is_new = self.statistics.forget_factor < 1 or not self._values
        if self._blocks is None:
            self._blocks = iter(self._again())
        if self._position == 0 and not is_new:
            self._holds = self._holds or gained_little(self._values)
            self.statistics.begin_repeated_pass(hold=self._holds)
        for block in self._blocks:
            self._learn(self.statistics, block, is_new)
            self._position, self.n_learned = self._position + 1, self.n_learned + 1
            return None
        if not is_new and not self.statistics.end_repeated_pass():
            raise ValueError(
                "A later pass had a different number of rows from the first; pass the same blocks each time."
            )
        return self._end()

    def cut(self):
        """End the pass; blocks that it has not reached keep what they contributed in the pass before."""
        if self._values and self.statistics.forget_factor == 1:
            self.statistics.end_repeated_pass()
        return self._end()

    def _end(self):
        self._blocks, self._position = None, 0
        self.penalty = self.statistics.penalty
        self._values = [*self._values[-1:], self.statistics.value + self.penalty]
        return self._values[-1]

    def to_state(self):
        """Return the statistics, the position in the pass, and what later passes depend on."""
        own = {"position": self._position, "n_learned": self.n_learned, "values": self._values, "holds": self._holds}
        return own | {"statistics": self.statistics.to_state(), "pass": self.statistics.pass_to_state()}

    def from_state(self, state):
        """Restore the state that `to_state` returned, and skip the blocks that the pass has learned already."""
        _check_values(state)
        self.statistics = _restored(self.statistics, state["statistics"], may_grow=True)
        _check_pass(state["pass"], self.statistics)
        self.statistics.pass_from_state(state["pass"])
        self._position, self.n_learned = state["position"], state["n_learned"]
        self._values, self._holds = state["values"], state["holds"]
        if sum(1 for _ in islice(self._blocks, self._position)) < self._position:
            raise ValueError(
                f"The checkpoint is of a pass that has learned {self._position} blocks, but there are fewer now; pass "
                "the same blocks, or delete the file to start over."
            )


def _restored(statistics, state, may_grow=False):
    """Return the statistics of a state; raise where those of a new fit are others, but for more strata if these may."""
    refill(statistics.H, state["H"])
    found, labels = statistics.from_state(state), None if may_grow else getattr(statistics, "labels", None)
    check_statistics(found, len(statistics.H), statistics.rank, labels)
    require(found.dtype == statistics.dtype, "dtype")
    found.hold_shifts(getattr(statistics, "_sparse_shifts", None))
    return found


def _check_batch(batch, kept, statistics):
    """Raise unless `kept` is a state of a batch."""
    K = statistics.H.shape[1]
    require(isinstance(kept["is_new"], bool), "is_new")
    shapes = {"W": (batch.data.shape[0], K), "gram": (K, K), "sums": (batch.data.n_strata, K)}
    for name, shape in shapes.items():
        require(name == "W" or kept[name] is not None, name)
        if kept[name] is not None and not isinstance(kept[name], float):
            require(np.shape(kept[name]) == shape, name)
            check_entries(name, kept[name])
    require(kept["W"] is None or kept["W"].dtype == batch.data.dtype, "W")
    require(not any(kept[name] for name in ("gram", "sums") if isinstance(kept[name], float)), "gram")


def _check_values(state):
    """Raise unless the objectives of the last passes in a state are at most two numbers."""
    require(isinstance(state["values"], list) and len(state["values"]) <= 2, "values")
    for value in state["values"]:
        check_real("values", value)


def _check_pass(kept, statistics):
    """Raise unless `kept` is what `Statistics.pass_to_state` returns."""
    check_real("rows_again", kept["rows_again"])
    require(isinstance(kept["holds"], bool), "holds")
    if kept["last_pass"] is not None:
        check_like(kept["last_pass"], statistics._copied(), "last_pass")


def gained_little(objective):
    """Return whether the objective decreased too little in the last pass for updates of H within a pass."""
    return len(objective) > 1 and objective[-1] > (1 - MOVING_GAIN) * objective[-2]
