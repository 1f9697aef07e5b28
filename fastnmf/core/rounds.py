"""The rounds of a fit whose rows lie in chunks: the driver holds H and V, sends orders, and adds up shares.

The losses, updates and penalties of H and V, the loop, its rules and its history are those of all fits. Of W they need
sums only: its Gram matrix, its product with the data, its sums by stratum. `ChunkedFactors` put these where the losses
look for them, so that no loss knows where the rows are.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import math
from functools import partial

import numpy as np

from fastnmf.core import chunks
from fastnmf.core.alternate import AlternatingSolver, rebalance
from fastnmf.core.chunks import State
from fastnmf.core.factors import Factors, row_tasks
from fastnmf.core.iterate import Solver
from fastnmf.core.losses import KullbackLeibler
from fastnmf.core.losses.squared import MAX_RESEEDINGS
from fastnmf.core.shares import Order, Share
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.thresholds import REVIVAL_GAIN, huge, model_floor
from fastnmf.core.updates import MU
from fastnmf.kernels import rows
from fastnmf.kernels.blas import single_threaded_blas


class SharedNet:
    """The elastic net of W, from the sums that its chunks have sent.

    Parameters
    ----------
    net : ElasticNet
    rounds : Rounds
    """

    def __init__(self, net, rounds):
        self.net, self.rounds = net, rounds

    def contribute(self, F, sub, rank):
        """Add nothing: the chunks add the half-gradient of their rows."""

    def value(self, F):
        """Return the penalty."""
        linear, squared = self.rounds.share.columns
        return self.net.unit * float(linear.sum() + squared.sum() / 2)

    def columns(self, F):
        """Return ``(a, b)`` as `ElasticNet.columns`."""
        return tuple(self.rounds.share.columns)


class Rounds:
    """Send orders to the chunks, and keep the sum of their shares.

    Parameters
    ----------
    engine : LocalEngine
    rank : int
    has_shifts : bool

    Attributes
    ----------
    share : Share
        Of the present W.
    is_zero : bool
        Whether W is zero, as in many starts.
    is_ahead : bool
        Whether W has been updated for the next iteration already; the engine's `before` is then the present W.
    """

    def __init__(self, engine, rank, has_shifts):
        self.engine, self.rank, self.has_shifts = engine, rank, has_shifts
        self.is_zero, self.is_ahead, self._scale, self._moved = True, False, None, 0
        width, data = engine.width, engine.data
        sums = np.zeros((data.n_strata, width)) if has_shifts else None
        columns = None if engine.net is None else np.zeros((2, width))
        arrays = np.zeros((data.shape[1], width)), np.zeros((width, width)), sums, np.zeros(width), columns
        self.share = Share(*arrays)

    def run(self, step, *given, reads=True, **content):
        """Run a step on all chunks, and keep and return the sum of their shares."""
        order = Order(self.rank, self.has_shifts, scale=self._scale, **content)
        self._scale = None
        self.share = self.engine.run(step, order, *given, reads=reads)
        self._moved += self.share.transferred
        return self.share

    def columns(self):
        """Return entries of the history, of what has happened since the last call: bytes moved, and the engine's."""
        moved, self._moved = self._moved, 0
        return {"bytes": moved} | self.engine.columns()

    def ask(self, function, *given):
        """Return ``function(part, W, *given)`` of every chunk, W with its present scale."""
        self.flush()
        return self.engine.ask(function, *given)

    def scale(self, scale):
        """Multiply the columns of W by `scale` (K,) in the next step, and its sums at once."""
        share, self._scale = self.share, scale if self._scale is None else self._scale * scale
        share.gram = None if share.gram is None else share.gram * np.outer(scale, scale)
        share.totals = share.totals * scale
        share.columns = None if share.columns is None else share.columns * np.array([scale, scale**2])
        for name in ("product", "sums"):
            if (array := getattr(share, name)) is not None:
                setattr(share, name, array * scale)

    def flush(self):
        """Multiply the columns of W by what has been requested since the last step."""
        if self._scale is not None:
            self.engine.scale(self._scale)
            self._scale = None

    def present(self, method, *given):
        """Return what a method of the engine returns for the present W: `to_state`, `row` or `gathered`."""
        self.flush()
        return method(*given, self.is_ahead)

    def restore(self, weights):
        """Replace the weights of all rows by those that `to_state` of the engine returned."""
        self.engine.from_state(weights)
        self._scale, self.is_zero, self.is_ahead = None, False, False


class ChunkedFactors(Factors):
    """Factors of which W stays with the chunks: `W` has no rows here, and its sums are in the cache.

    Parameters
    ----------
    rounds : Rounds
    **arrays : ndarray
        H, and V for models with shifts.
    """

    def __init__(self, rounds, **arrays):
        dtype, width = rounds.engine.data.dtype, rounds.engine.width
        super().__init__(rounds.rank, W=np.empty((0, width), dtype), **arrays)
        self.rounds = rounds
        self.invalidate("W")

    def invalidate(self, name):
        """Note that factor `name` has changed; of W, take the sums that the chunks have sent."""
        super().invalidate(name)
        if name != "W":
            return
        share, dtype = self.rounds.share, self.arrays["W"].dtype
        if share.gram is not None:
            self.cache_put(("gram", "W"), ("W",), share.gram)
        if share.product is not None:
            self.cache_put(("product", "H"), ("W",), share.product.astype(dtype, copy=False))
        if share.sums is not None:
            self.cache_put("stratum sums", ("W",), share.sums.astype(dtype))
        self.cache_put(("sums", "W"), ("W",), share.totals)

    def multiply_columns(self, name, scale):
        """As `Factors.multiply_columns`; the chunks follow in their next step."""
        if name != "W":
            return super().multiply_columns(name, scale)
        self.rounds.scale(scale)
        self.invalidate("W")

    def shift_exponents(self, name, powers):
        """As `Factors.shift_exponents`; the chunks follow in their next step."""
        if name != "W":
            return super().shift_exponents(name, powers)
        self.multiply_columns("W", np.ldexp(1.0, powers))

    def go_back(self, name, before):
        """As `Factors.go_back`; the chunks know W before the extrapolation."""
        if name != "W":
            return super().go_back(name, before)
        self.rounds.run(chunks.gone_back, reads=False)
        self.invalidate("W")

    def is_zero(self, name):
        """Tell whether all entries of a factor are zero."""
        return self.rounds.is_zero if name == "W" else super().is_zero(name)

    def to_state(self):
        """Return the arrays by name, with W and all that the engine keeps of it."""
        return super().to_state() | self.rounds.present(self.rounds.engine.to_state)

    def from_state(self, state):
        """Replace the values of the factors, and ask the chunks for their sums again."""
        self.rounds.restore({name: kept for name, kept in state.items() if name in State._fields})
        super().from_state({name: array for name, array in state.items() if name not in State._fields})
        self.rounds.run(chunks.measured)
        self.invalidate("W")

    def gathered(self, name):
        """Return a factor (p, k) without padding; W of all rows, in a file where it is large."""
        rounds = self.rounds
        return rounds.present(rounds.engine.gathered, self.rank) if name == "W" else super().gathered(name)


class ChunkedSolver(AlternatingSolver):
    """Iterate the schedule of a problem of data in chunks, for the squared error."""

    def columns(self):
        """As `AlternatingSolver.columns`, and what the rounds have moved."""
        return super().columns() | self.factors.rounds.columns()


class ChunkUpdate:
    """The update of W for the squared error: a round over all chunks, each of which extrapolates its rows, too.

    Parameters
    ----------
    factors : ChunkedFactors
    update : Update
        Of the rows of a chunk.
    extrapolation : Extrapolation, or None
    """

    def __init__(self, factors, update, extrapolation):
        self.factors, self.update, self.extrapolation = factors, update, extrapolation

    def __call__(self, F, sub, rank, n_sweeps):
        """Update W.

        Parameters
        ----------
        F : ndarray (0, K)
        sub : Subproblem
            It gives the Gram matrix of H and the shifts.
        rank, n_sweeps : int
        """
        factors, update, extrapolation = self.factors, self.update, self.extrapolation
        rounds = factors.rounds
        if isinstance(update, MU):  # its eps depends on the number of rows
            update = MU(update.eps_for(float(sub.gram.trace()), rounds.engine.data.shape[0], rank), update.floor)
        rounds.run(
            chunks.descended,
            H=factors["H"],
            gram=sub.gram,
            below=None if sub.neg is None else sub.neg.rows,
            update=update,
            n_sweeps=n_sweeps,
            beta=extrapolation.beta if extrapolation is not None and extrapolation.is_on else None,
        )
        rounds.is_zero = False


class ChunkedKullbackLeibler(KullbackLeibler):
    """The Kullback-Leibler divergence of data in chunks, from the sums that they have sent.

    Parameters
    ----------
    data : ChunkedStrata
    tasks : dict of str to ndarray of int64
        Task tables of H.
    factors : ChunkedFactors
    """

    def __init__(self, data, tasks, factors):
        self.strata, self.tasks, self.has_shifts = data, tasks, "V" in factors.arrays
        self.total, self._rounds = data.summary.total, factors.rounds
        self.floor = model_floor(self.total / max(data.n_entries, 1))
        self._groups = {"H": np.zeros(data.shape[1], np.int32)}
        if self.has_shifts:
            self.sizes = data.shift_totals().astype(data.dtype)
            self._no_weight = np.zeros(data.n_strata, data.dtype)
            self._counts = self.sizes[data.pattern.group]

    def independence(self):
        """As `KullbackLeibler.independence`."""
        return self.strata.independence()

    def ratio_pass(self, name, factors):
        """Return ``pos`` of H, the sum of the logarithms at the W before, and ``pos`` of V, of the last round."""
        share = self._rounds.share
        product = None if share.product is None else share.product.astype(self.strata.dtype, copy=False)
        return product, share.value, share.of_shifts


class ChunkedSQUAREM(SQUAREM):
    """Cycles of extrapolation of H and V, and of W by the sizes of its steps that the chunks have sent."""

    def __init__(self, tasks, factors, limit):
        super().__init__(tasks, factors, limit=limit)
        self.rounds = factors.rounds

    def _sizes(self, name, of_factor):
        return self.rounds.share.sizes if name == "W" else super()._sizes(name, of_factor)


class RatioSolver(Solver):
    """Iterate multiplicative updates for Kullback-Leibler, with one reading of every chunk per iteration.

    The value of a point needs the pass over the data with which the next iteration begins. So a round updates W for the
    next iteration already when it returns the value of this one, and the chunks keep the W before, which is the result
    where the fit ends.

    Parameters
    ----------
    problem : Problem
        Its first loss is a `ChunkedKullbackLeibler`.
    factors : ChunkedFactors
    level : Level, optional
        As for `AlternatingSolver`.
    squarem : ChunkedSQUAREM, optional
        Without penalties of both W and H.
    """

    def __init__(self, problem, factors, level=None, squarem=None):
        self.problem, self.factors, self.level, self._n_done, self.squarem = problem, factors, level, 0, squarem
        self._last = None
        self.scale, self.rounding = problem.scale, problem.rounding

    @property
    def penalty(self):
        """The part of the last objective that comes from penalties."""
        return self.problem.penalty

    def begin(self):
        """Return the objective of the start."""
        return self._next()

    def step(self):
        """Take the updated W, update V and H, and return the objective."""
        problem, factors, squarem, last = self.problem, self.factors, self.squarem, self._last
        is_tried = squarem is not None and squarem.before_update(self._n_done, factors)
        if is_tried:
            self._rate(ahead=squarem.step)
        factors.rounds.is_ahead = False
        factors.invalidate("W")
        names = [name for name in ("V", "G", "H") if name in factors.arrays]
        for name, sub in [(name, problem.subproblem(name, factors)) for name in names]:
            problem.updates[name](factors[name], sub, factors.rank, 1)
        for name in names:
            factors.invalidate(name)
        self._n_done += 1
        value = self._next()
        if is_tried:
            squarem.after_update(value < last, factors)
            if not value < last:
                factors.rounds.run(chunks.returned, reads=False)
                factors.rounds.is_ahead = False
                factors.invalidate("W")
                value = self._next()
        return value

    def _next(self):
        """Return the objective at the present point, and let the chunks begin the next iteration."""
        problem, factors = self.problem, self.factors
        each = ((name, penalty) for name, penalties in problem.penalties.items() for penalty in penalties)
        problem.penalty = sum(penalty.value(factors[name]) for name, penalty in each)
        problem.penalty += sum(loss.value(factors) for loss in problem.losses[1:])
        if problem.balance_penalties:
            rebalance(problem, factors)
        place = None if self.squarem is None else self.squarem.place(self._n_done)
        if place == 2:
            value = self._round(chunks.valued)
        else:
            value = self._rate(kept_as=None if place is None else ("first", "second")[place])
        self._last = problem.penalty + value
        return self._last

    def _rate(self, **content):
        """Return the divergence at the present point, and let the chunks update W."""
        value = self._round(chunks.rated, update=self.problem.updates["W"], **content)
        self.factors.rounds.is_ahead, self.factors.rounds.is_zero = True, False
        return value

    def _round(self, step, **content):
        """Return the divergence at the present point, which a step over all chunks has found."""
        factors, loss = self.factors, self.problem.losses[0]
        v = factors["V"].copy() if "V" in factors.arrays else None
        factors.rounds.run(step, H=factors["H"].copy(), v=v, floor=loss.floor, **content)
        return max(loss.value(factors), 0.0)

    def columns(self):
        """Return what the rounds have moved, and the passes over the data where the start has a level."""
        passes = {} if self.level is None else {"passes": self.level.passes + self._n_done}
        return passes | self.factors.rounds.columns()

    def to_state(self):
        """Return the factors, and the points of a cycle; the step that the chunks are ahead is repeated."""
        factors = {name: F for name, F in self.factors.to_state().items() if name != "before"}
        return {"factors": factors} | ({} if self.squarem is None else {"cycle": self.squarem.to_state()})

    def from_state(self, state):
        """Restore the state that `to_state` returned for the same problem."""
        self.factors.from_state(state["factors"])
        self._n_done = ([0, *state.get("history", {}).get("iteration", ())])[-1]
        if self.squarem is not None:
            self.squarem.from_state(state["cycle"])
        self._next()


def chunked_solver(problem, factors, extrapolation=None, start_value=None, level=None):
    """Return the solver of a problem of data in chunks, whose updates and penalties of W become rounds.

    Parameters
    ----------
    problem, factors, extrapolation, start_value, level :
        As for `AlternatingSolver`.
    """
    rounds = factors.rounds
    if "W" in problem.penalties:
        (net,) = problem.penalties["W"]
        problem.penalties["W"] = [SharedNet(net, rounds)]
    if isinstance(problem.losses[0], KullbackLeibler):
        return RatioSolver(problem, factors, level, extrapolation)
    problem.updates["W"] = ChunkUpdate(factors, problem.updates["W"], extrapolation)
    problem.exact_value = partial(_exact_value, rounds)
    if problem.reseed_dead_component is not None:
        problem.reseed_dead_component = partial(_reseed, problem.losses[0], rounds)
    return ChunkedSolver(problem, factors, extrapolation, start_value, level)


def _exact_value(rounds, factors, V=None):
    """Return the squared error from the residual itself; V (n_strata, n_columns), None: the present shifts."""
    V = data_shifts(rounds.engine.data, factors) if V is None else V
    parts = rounds.ask(_residual, factors["H"][:, : factors.rank], V)
    return math.fsum(parts)


def _residual(part, W, H, V):
    return part.data.residual_square_sum(W[:, : H.shape[1]], H, V)


def _reseed(loss, rounds, factors):
    """Replace a dead component as `Frobenius.reseed_dead_component` does; tell whether there was one."""
    is_dead = (np.diagonal(loss.gram("W", factors)) == 0) | (np.diagonal(loss.gram("H", factors)) == 0)
    dead = np.flatnonzero(is_dead[: factors.rank])
    if len(dead) == 0 or loss.reseedings >= MAX_RESEEDINGS:
        return False
    loss.reseedings += 1
    data, V = rounds.engine.data, data_shifts(rounds.engine.data, factors)
    below = None if V is None else loss.pattern.tmatmul(factors["V"], factors["H"])
    order = Order(factors.rank, H=factors["H"], gram=loss.gram("H", factors), below=below, v=V)
    error, row, scale = max(rounds.ask(chunks.worst_row, order), key=lambda found: (found[0], -found[1]))
    if error < 0:  # no row counts
        return False
    missed = _missed(rounds, data, factors, row, scale)
    if not np.square(missed, dtype=np.float64).sum() > REVIVAL_GAIN * data.sq_norm:
        return False
    keep = np.ones(factors["H"].shape[1])
    keep[dead[0]] = 0
    factors["H"][:, dead[0]] = missed
    factors.invalidate("H")
    factors.multiply_columns("W", keep)
    return True


def data_shifts(data, factors):
    """Return the present shifts as readers take them, or None for a model without shifts."""
    return data.pattern.as_read(factors["V"]) if "V" in factors.arrays else None


def _missed(rounds, data, factors, row, scale):
    """Return the positive part of the residual of a row, without its row scale, dense (n_columns,).

    Parameters
    ----------
    rounds, data, factors :
        Of the fit.
    row : int
    scale : float
        Its row scale.
    """
    taken = data.take(np.array([row]))
    missed = np.zeros(data.shape[1], data.dtype)
    missed[taken.indices] = taken.data
    if "V" in factors.arrays:
        missed -= data.dtype.type(scale) * data.shift_row(factors["V"], row).astype(data.dtype, copy=False)
    return np.maximum(missed - factors["H"] @ rounds.present(rounds.engine.row, row), 0) / data.dtype.type(scale)


def set_start(factors, start, is_multiplicative, V=None):
    """Set W of all rows to a start of `fastnmf.core.chunks`; None leaves it zero.

    Parameters
    ----------
    factors : ChunkedFactors
    start : callable, or None
    is_multiplicative : bool
        Whether zeros of exact weights become a thousandth of the mean, as multiplicative updates need it.
    V : ndarray or csr_array (n_strata, n_columns), default=None
        The shifts for a start at exact weights; None: those of the factors, if there are any.
    """
    rounds = factors.rounds
    if start is None:
        return
    is_exact = isinstance(start, chunks.ExactStart)
    rounds.run(chunks.begin, start, **(solving(factors, V) if is_exact else {}))
    rounds.is_zero = False
    if is_exact and is_multiplicative:
        n_rows = rounds.engine.data.shape[0]
        mean = float(rounds.share.totals.sum()) / (n_rows * factors.rank)
        rounds.run(chunks.measured, fill=1e-3 * (mean or 1 / factors.rank))
    factors.invalidate("W")


def solving(factors, V=None):
    """Return what an order to solve for W exactly contains: H, its Gram matrix, and ``V H``; V as for `set_start`."""
    H, below, data = factors["H"], None, factors.rounds.engine.data
    V = data_shifts(data, factors) if V is None else V
    if V is not None:
        with single_threaded_blas(), np.errstate(over="ignore"):
            below = np.minimum(V @ H, huge(data.dtype))
    return {"H": H, "gram": rows.gram(row_tasks(H), H), "below": below}


def finish_exactly(fit):
    """Solve for W exactly after the last iteration of the squared error, and write its objective to the history."""
    factors, problem, rounds = fit.factors, fit.problem, fit.factors.rounds
    inner = rounds.run(chunks.finished, **solving(factors)).value
    factors.invalidate("W")
    factors.cache_put(("pos", "H"), ("W", "H"), inner)
    fit.history["objective"][-1] = problem.value(factors)
    fit.history["penalty"][-1] = problem.penalty
    for name, more in rounds.columns().items():
        fit.history[name][-1] = fit.history[name][-1] + more
