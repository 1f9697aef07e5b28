"""Start the components of strata from what the shared components and the shifts leave."""

from contextlib import contextmanager

import numpy as np

from fastnmf.core.alternate import solve, sweep
from fastnmf.core.factors import Factors, pad, row_tasks
from fastnmf.core.own import exact_weights, gathered_weights
from fastnmf.core.updates.own import OwnColumns, StrataHALS
from fastnmf.kernels.jit import split_rows

UNSHIFTED_ITERATIONS = 20  # iterations without shifts after the components of a joint fit have been divided
SHARED_ITERATIONS = 5  # iterations of shifts and shared components before the residual is looked at
OWN_ITERATIONS = 5  # alternations of the own components and their weights, on that residual
# Of multiplicative updates, which are slower and cannot leave a zero:
UNSHIFTED_UPDATES = 40  # iterations without shifts; without acceleration 100 are needed (`bench/own.py --counts`)
POSITIVE_ITERATIONS = 20  # the same alternations
POSITIVE_SHARE = 0.1  # share of the stratum means, and of H, that own components and shifts begin at


def own_factors(data, W, H, v, sizes, *, is_tied):
    """Return the factors of a model with own components, which are zero, and their task tables.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    W : ndarray (n_rows, k)
    H : ndarray (n_columns, k)
    v : ndarray (q,)
        Entries of the shifts on ``data.pattern``. All three are in the inner scale.
    sizes : ndarray (n_strata,) of int
        Number of own components of each stratum.
    is_tied : bool
        Whether own components share the weights of the shared ones.

    Returns
    -------
    factors : Factors
        W (n_rows, K), H (n_columns, K) and G (q, 1 + w), see `fastnmf.core.losses.own.OwnFrobenius`; with a design V,
        too, see `fastnmf.core.losses.own_designs.OwnDesignFrobenius`.
    tasks : dict
    """
    k, w = W.shape[1], int(sizes.max())
    wide = [np.concatenate([F, np.zeros((len(F), 0 if is_tied else w))], axis=1) for F in (W, H)]
    W, H = (pad(F, data) for F in wide)
    G = np.zeros((len(data.own.pattern.group), 1 + w), data.dtype)
    tasks = {"W": row_tasks(W), "H": row_tasks(H), "G": split_rows(len(G), 1 + w)}
    if data.own is not data:
        V = np.array(v, dtype=data.dtype)
        return Factors(k, W=W, H=H, G=G, V=V), tasks | {"V": data.pattern.entry_tasks}
    G[:, 0] = v
    return Factors(k, W=W, H=H, G=G), tasks


class OwnWeights:
    """The weights of own components of rows that are here, as far as a start changes them.

    Parameters
    ----------
    problem : Problem
        As `fastnmf.core.objectives.own_problem` or `own_divergence_problem` returns it.
    factors : Factors
    extrapolation : SQUAREM, default=None
        Acceleration of multiplicative updates.
    """

    def __init__(self, problem, factors, extrapolation=None):
        self.problem, self.factors, self.extrapolation = problem, factors, extrapolation

    def draw(self, rng, *, size=1.0, low=0.0, has_scale=False):
        """Set them to random numbers, ``size (low + r)`` with r from 0 to 1.

        Parameters
        ----------
        rng : numpy.random.Generator
        size, low : float, default=1.0, 0.0
        has_scale : bool, default=False
            Whether the row scale takes the place of the size, where there is one.
        """
        loss, factors = self.problem.losses[0], self.factors
        drawn, row_scale = rng.random((len(factors["W"]), loss.n_own)), loss.strata.row_scale if has_scale else None
        self.put(drawn_weights(drawn, loss.strata, loss.sizes, size, low, row_scale))

    def take(self, stratum_of, W):
        """Set them to columns of W (n_rows, R): each stratum takes those of its number in `stratum_of` (R,)."""
        loss, factors = self.problem.losses[0], self.factors
        for code, chosen, _ in loss.each_stratum():
            U = W[chosen][:, stratum_of == code]
            factors["W"][chosen, loss.offset : loss.offset + U.shape[1]] = U
        factors.invalidate("W")

    def put(self, U):
        """Set them to an array (n_rows, w)."""
        loss, factors = self.problem.losses[0], self.factors
        factors["W"][:, loss.offset : loss.offset + loss.n_own] = U
        factors.invalidate("W")

    def solve(self, data, H, V, parts):
        """Replace all weights by the exact ones.

        Parameters
        ----------
        data, H, V, parts :
            As for `fastnmf.core.own.weights_of_strata`.
        """
        factors, loss = self.factors, self.problem.losses[0]
        factors.overwrite({"W": exact_weights(data, H, V, parts, loss.offset, factors["W"])})

    def columns(self):
        """Return entries of the history, of what has happened since the last iteration."""
        return {}

    def found(self, data):
        """Return W (n_rows, k), and U, csr_array (n_rows, sum of sizes), None where own components are tied."""
        factors, loss = self.factors, self.problem.losses[0]
        W = np.ascontiguousarray(factors["W"][:, : factors.rank])
        own = factors["W"][:, loss.offset : loss.offset + loss.n_own]
        return W, gathered_weights(own, loss.sizes, data.own.stratum_index) if loss.offset else None

    def updating(self, update):
        """Return the update of all weights by an update of rows."""
        return update

    @contextmanager
    def unshifted(self):
        """Keep the shifts as they are in the block."""
        problem, before = self.problem, self.problem.schedule
        problem.schedule = _without_shifts(before)
        try:
            with problem.losses[0].unshifted():
                yield
        finally:
            problem.schedule = before

    def set_shifts(self, v):
        """Set the shifts to the entries (q,) on their pattern."""
        factors = self.factors
        name, of_shifts = ("V", ...) if "V" in factors.arrays else ("G", (..., 0))
        factors[name][of_shifts] = v
        factors.invalidate(name)

    def iterate(self, max_iter):
        """Iterate the schedule of the problem."""
        solve(self.problem, self.factors, extrapolation=self.extrapolation, max_iter=max_iter, tol=0.0)

    def sweep(self, n_sweeps):
        """Run the schedule of the problem so many times."""
        for _ in range(n_sweeps):
            sweep(self.problem, self.factors)


def _without_shifts(schedule):
    """Return a schedule without the steps of the factor V."""
    found = []
    for step in schedule:
        together = step if isinstance(step[0], tuple) else (step,)
        kept = tuple(each for each in together if each[0] != "V")
        found += [kept[0] if len(together) == 1 else kept] if kept else []
    return tuple(found)


def drawn_weights(drawn, strata, sizes, size, low, row_scale):
    """Return weights of own components (n_rows, w), zero beyond the number that a stratum has.

    Parameters
    ----------
    drawn : ndarray (n_rows, w)
        Random numbers from 0 to 1.
    strata : fastnmf.data.strata.Strata
    sizes : ndarray (n_strata,) of int
        Number of own components of each stratum.
    size, low : float
        The weights are ``size (low + drawn)``.
    row_scale : ndarray (n_rows,), or None
        In place of `size`.
    """
    size = size if row_scale is None else row_scale[:, None]
    return size * (low + drawn) * (np.arange(drawn.shape[1]) < sizes[strata.stratum_index][:, None])


def division(squares, sizes_of_strata, sizes):
    """Return the stratum that each component of a fit without strata goes to, int (R,), -1 for those that stay shared.

    Each goes to the stratum in which it is used most, if that has room for it. The pairs of a component and a stratum
    are visited by the share of the stratum in the mean squared weights, largest first.

    Parameters
    ----------
    squares : ndarray (n_strata, R)
        Sums of the squared weights of the components.
    sizes_of_strata : ndarray (n_strata,)
        Number of rows, or sum of their weights.
    sizes : ndarray (n_strata,) of int
        Number of own components of each stratum.
    """
    means = squares / np.maximum(sizes_of_strata, 1)[:, None]
    total, rank = means.sum(axis=0), means.shape[1]
    share = np.divide(means, total, out=np.zeros_like(means), where=total > 0)
    stratum_of, left = np.full(rank, -1), sizes.copy()
    for place in np.argsort(-share, axis=None, kind="stable"):
        code, component = divmod(int(place), rank)
        if stratum_of[component] < 0 and left[code]:
            stratum_of[component], left[code] = code, left[code] - 1
    return stratum_of


def start_divided(weights, stratum_of, W, H, v=None):
    """Write the own components of a divided fit into the factors, in place, and iterate without shifts for a while.

    Shifts that are there from the beginning take what own components have to find: of 48 fits to planted data, two weak
    components in 100 of 250 rows, 8 then ended in a worse minimum, and with this start none (`bench/own.py`).

    Parameters
    ----------
    weights : OwnWeights
        Its factors have the shared components of that fit.
    stratum_of : ndarray (R,) of int
        As `division` returns it.
    W, H : ndarray (n_rows, R), (n_columns, R)
        Of that fit; of rows that are elsewhere, W is what `weights` takes.
    v : ndarray (q,), default=None
        Shifts that are set afterwards, for multiplicative updates, which would keep those of the factors at zero.
    """
    factors, loss = weights.factors, weights.problem.losses[0]
    for code in np.unique(stratum_of[stratum_of >= 0]).tolist():
        entries = loss.entries_of(code)
        G = H[loss.pattern.column[entries]][:, stratum_of == code]
        factors["G"][entries, 1 : 1 + G.shape[1]] = G
    factors.invalidate("G")
    weights.take(stratum_of, W)
    with weights.unshifted():
        if v is not None:
            weights.iterate(UNSHIFTED_UPDATES)
        else:
            weights.sweep(UNSHIFTED_ITERATIONS)
    if v is not None:
        weights.set_shifts(v)


def start_own(weights, rng):
    """Write a start of the own components into the factors, in place, from the residual of the other parts.

    A few iterations fit the shifts and the shared components. Then own components and their weights are fitted to the
    rest, with all else fixed, from random weights: a non-negative factorisation of the residual of each stratum.

    Parameters
    ----------
    weights : OwnWeights
    rng : numpy.random.Generator
    """
    problem, factors = weights.problem, weights.factors
    loss = problem.losses[0]
    weights.sweep(SHARED_ITERATIONS)
    steps = [("G", problem.updates["G"])]
    if loss.offset:  # else the weights are those of the shared components
        typical = np.sqrt(loss.strata.sq_norm / max(loss.strata.n_entries, 1))
        weights.draw(rng, size=typical)
        of_own = weights.updating(StrataHALS(loss.offset + np.arange(loss.n_own)))
        steps = [*steps, ("W", of_own)] * OWN_ITERATIONS
    with weights.unshifted():
        for name, update in steps:
            update(factors[name], problem.subproblem(name, factors), factors.rank, 2 if name == "G" else 1)
            factors.invalidate(name)


def start_own_positive(weights, rng):
    """Write a positive start of the own components into the factors, in place, for multiplicative updates.

    A few iterations fit the shifts and the shared components. Then own components begin at random multiples of the
    stratum means, tied ones of the shared components, and are fitted with all else fixed.

    Parameters
    ----------
    weights : OwnWeights
        Of a problem with multiplicative updates.
    rng : numpy.random.Generator
    """
    problem, factors = weights.problem, weights.factors
    loss, pattern, n_own = problem.losses[0], problem.losses[0].pattern, problem.losses[0].n_own
    weights.sweep(SHARED_ITERATIONS)
    is_there = np.arange(n_own) < loss.sizes[:, None]
    begin = factors["H"][pattern.column, :n_own]
    if loss.offset:
        begin = 2 * loss.strata.stratum_means()[:, None] * rng.random((len(pattern.group), n_own)) / n_own
    factors["G"][:, 1:] = POSITIVE_SHARE * begin * is_there[pattern.group]
    factors.invalidate("G")
    if loss.offset:
        weights.draw(rng, low=0.5, has_scale=True)
    of_own = weights.updating(OwnColumns(problem.updates["W"], factors.rank))
    with weights.unshifted():
        for _ in range(POSITIVE_ITERATIONS):
            for name, update in (("G", problem.updates["G"]), ("W", of_own))[: 2 if loss.offset else 1]:
                update(factors[name], problem.subproblem(name, factors), factors.rank, 1)
                factors.invalidate(name)
