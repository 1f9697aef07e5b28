"""Fit small dense data by coordinate descent in few calls: one kernel makes iteration after iteration by itself."""

import numpy as np

from fastnmf.core import iterate
from fastnmf.core.alternate import MAX_DRIFT, AlternatingSolver, drift_powers
from fastnmf.core.factors import refill
from fastnmf.core.kept_state import require
from fastnmf.core.losses import squared
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.updates import HALS
from fastnmf.kernels import small
from fastnmf.kernels.records import Momentum, Plan, Room

# Entries of the data times rank up to which one kernel on one thread is faster: an iteration of 240,000 takes 0.08 ms,
# with launched kernels 0.43, of 1,000,000 0.35 and 0.90, both in time of all threads (`python bench/small.py --bound`).
SMALL_WORK = 1 << 19


def alternating_solver(problem, factors, extrapolation=None, start_value=None, level=None):
    """Return the solver of an alternating schedule: for the squared error of small dense data a `SmallSolver`.

    Parameters
    ----------
    problem, factors, extrapolation, start_value, level :
        As for `AlternatingSolver`. Penalties, fixed entries and shifts take that one, too.
    """
    is_small = type(problem.losses[0]) is squared.Frobenius and len(problem.losses) == 1 and start_value is None
    is_small = is_small and not (problem.penalties or problem.free_mask or problem.losses[0].strata.is_sparse)
    is_small = is_small and all(type(update) is HALS for update in problem.updates.values())
    is_small = is_small and not isinstance(extrapolation, SQUAREM)
    is_small = is_small and [step[0] for step in problem.schedule] == ["W", "H"]
    is_small = is_small and problem.losses[0].strata.X.size * factors.rank <= SMALL_WORK
    return (SmallSolver if is_small else AlternatingSolver)(problem, factors, extrapolation, start_value, level)


class SmallSolver(AlternatingSolver):
    """Iterate coordinate descent for the squared error of small dense data, many iterations in a call of one kernel.

    The iterations are those of `AlternatingSolver` to rounding. Between them the factors stand in float64, with one row
    a component; `factors` returns them as those of other solvers. One iteration at a time, for callbacks, checkpoints
    and time limits, gives the bits of many in a call. A checkpoint of an `AlternatingSolver` continues as one.

    Parameters
    ----------
    problem, factors, extrapolation, start_value, level :
        As for `AlternatingSolver`, of which `alternating_solver` has looked at all that the kernel does not know.
    """

    varying = ()

    def __init__(self, problem, factors, extrapolation=None, start_value=None, level=None):
        self._is_behind = self._is_plain = False
        super().__init__(problem, factors, extrapolation, start_value, level)
        loss, update, rank = problem.losses[0], problem.updates["W"], factors.rank
        loss.value = loss.exact_value  # in less time than from Gram matrices, each of which is a launch
        self._X = padded(loss.strata.X)
        self._Xt = np.ascontiguousarray(self._X.T)
        self._F = {name: padded(factors[name][:, :rank].T) for name in "WH"}
        state = np.array([0.0 if extrapolation is None else extrapolation.beta, 1.0, 0.0, 0.0, 0.0])
        growth = (1.0, 1.0, 1.0)
        if extrapolation is not None:
            growth = extrapolation.growth, extrapolation.bound_growth, extrapolation.shrink
        self._momentum = Momentum(*(np.zeros_like(F) for F in self._F.values()), state, *growth)
        visits = np.arange(rank) if update.visits is None else np.asarray(update.visits, dtype=np.int64)
        of_rule = iterate.LOOK_BACK, iterate.LOOK_AHEAD, iterate.MIN_ITERATIONS, iterate.LARGEST_EXPONENT
        sweeps, exact_below = (step[1] for step in problem.schedule), problem.cheap_value_floor * problem.scale
        limits = False, 2.0**MAX_DRIFT, loss.strata.sq_norm, exact_below
        self._plan = Plan(visits, *sweeps, 0.0, self.rounding, *of_rule, *limits)
        (K, n), m = self._F["W"].shape, self._F["H"].shape[1]
        shapes = (K, K), (K, n), (K, m), (K,), (n,), (m,), (0,)
        self._room = Room(*(np.zeros(shape) for shape in shapes))

    @property
    def factors(self):
        """The factors in the form that all solvers have, in the dtype of the data."""
        if self._is_behind:
            self._is_behind, factors = False, self._factors
            for name, F in self._F.items():
                factors[name][:, : factors.rank] = F[: factors.rank, : len(factors[name])].T
                factors.invalidate(name)
        return self._factors

    @factors.setter
    def factors(self, factors):
        self._factors = factors

    @property
    def guess(self):
        """W, a guess of the supports of the exact one; None where a checkpoint of another solver continues.

        In single precision another guess may end at another support of the same value, and `transform` in other bits.
        """
        return None if self._is_plain or self._factors["W"].dtype != np.float64 else self.factors["W"]

    def begin(self):
        """Return the objective of the start."""
        self._last = float(self._plan.sq_norm if not self._factors["W"].any() else super().begin())
        return self._last

    def step(self):
        """Make one iteration and return the objective."""
        if self._is_plain:
            return super().step()
        return float(self._run(np.array([self._last, 0.0]), 1, 0.0)[0])

    def leap(self, history, n_iter, tol):
        """Make iterations up to one after which the fit may have converged, and return their entries of the history."""
        if self._is_plain:
            return super().leap(history, n_iter, tol)
        n_known, before = len(history["objective"]), self._n_done
        values = np.concatenate([history["objective"], np.zeros(n_iter)])
        found = {"objective": self._run(values, n_known, tol).tolist()}
        if self.level is not None:
            found["passes"] = (self.level.passes + np.arange(before + 1, self._n_done + 1)).tolist()
        return found

    def _run(self, values, n_known, tol):
        """Make iterations, and return their objectives.

        Parameters
        ----------
        values : ndarray of float64
            The objectives known, and place for one of each new iteration.
        n_known : int
        tol : float
        """
        loss, state = self.problem.losses[0], self._momentum.state
        plan = self._plan._replace(tol=float(tol), reseeds=loss.reseedings < squared.MAX_RESEEDINGS)
        room = self._room._replace(best=np.empty(len(values)))
        tasks = np.array([n_known, len(values)])
        small.dense_hals(tasks, self._X, self._Xt, *self._F.values(), self._momentum, plan, room, values)
        until, self._is_behind = int(state[3]), True
        self._last, self._n_done = float(values[until - 1]), self._n_done + until - n_known
        if state[4]:
            self._mend()
        return values[n_known:until]

    def _mend(self):
        """Rescale components whose lengths in W and H have drifted apart, and reseed one that is zero."""
        powers = drift_powers(*(np.einsum("ci,ci->c", F, F) for F in self._F.values()))
        if powers is not None:
            for F, last, sign in zip(self._F.values(), self._momentum[:2], (1, -1), strict=True):
                for array in (F, last):
                    np.ldexp(array, sign * powers[:, None], out=array)
        reseed = self.problem.reseed_dead_component
        if reseed is not None and reseed(self.factors):
            self.n_reseeded += 1
            self._momentum.state[2] = 0.0
            for name, F in self._F.items():
                now = self._factors[name][:, : self._factors.rank].T
                F[: len(now), : now.shape[1]] = now

    def to_state(self):
        """Return the factors, the extrapolation and the state of the loss."""
        if self._is_plain:
            return super().to_state()
        momentum = {"W": self._momentum.W, "H": self._momentum.H, "pace": self._momentum.state[:3]}
        state = {"factors": dict(self._F), "momentum": momentum, "losses": [self.problem.losses[0].to_state()]}
        return state | {"reseeded": self.n_reseeded, "last": self._last}

    def check_state(self, state, *, is_signed=False):
        """Raise ValueError where a state, read from a file, is not one of this solver."""
        self._is_plain = "cached_products" in state
        super().check_state(state, is_signed=is_signed)

    def from_state(self, state):
        """Restore the state that `to_state` returned for the same problem."""
        self._is_plain = "cached_products" in state
        if self._is_plain:
            del self.problem.losses[0].value
            super().from_state(state)
            return
        require(state["last"] is not None or not len(state.get("history", {}).get("iteration", ())), "last")
        for name, F in self._F.items():
            refill(F, state["factors"][name])
            refill(getattr(self._momentum, name), state["momentum"][name])
        self._momentum.state[:3] = state["momentum"]["pace"]
        self.problem.losses[0].from_state(state["losses"][0])
        self.n_reseeded, self._last, self._is_behind = state["reseeded"], state["last"], True
        self._n_done = ([0, *state.get("history", {}).get("iteration", ())])[-1]


def padded(array):
    """Return an array (a, b) in float64, C order, with zeros up to multiples of `small.STEP`; itself if it is that."""
    shape = tuple(-(-size // small.STEP) * small.STEP for size in array.shape)
    if array.shape == shape:
        return np.ascontiguousarray(array, dtype=np.float64)
    out = np.zeros(shape)
    out[: len(array), : array.shape[1]] = array
    return out
