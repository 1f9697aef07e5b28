"""Extrapolated coordinate descent for small dense data: many iterations in one call, on one thread.

An iteration on 100 x 40 numbers takes microseconds, and launching its kernels from Python fifty times as long. Factors
stand here with one row a component, in float64 whatever the data are: all loops go along a row, and one binary serves
both types. The numbers of rows, columns and components are padded with zeros to multiples of `STEP`, so that loops have
no remainders: they would double the time of compiling. Inputs are not checked.
"""

import math

import numpy as np
from numba.core import config

from fastnmf.kernels.jit import helper, kernel, work_stealing
from fastnmf.kernels.row_intrinsics import rows_times

STEP = 4  # rows that are added at a time, those of a tile of `rows_times`, and numbers of a block of float64
LEAST_GRAM = 4.0 * np.finfo(np.float64).tiny  # of a component that is updated, as in `rows_hals`
SLACK = 0.995  # the sum of a forecast is at least this share of the integral that stands for it here


@helper
def _combine_compiled(weights, rows, out):
    for p in range(0, len(weights), STEP):  # `out` is read and written once for four rows
        a, b, c, d = weights[p], weights[p + 1], weights[p + 2], weights[p + 3]
        for i in range(len(out)):
            out[i] += a * rows[p, i] + b * rows[p + 1, i] + c * rows[p + 2, i] + d * rows[p + 3, i]


def _combine_plain(weights, rows, out):
    """Add ``sum_p weights[p] * rows[p]`` to out.

    Parameters
    ----------
    weights : ndarray (q,)
        q is a multiple of `STEP`.
    rows : ndarray (q, n)
    out : ndarray (n,)
        Written.
    """
    out += weights @ rows


@helper
def _dot_compiled(x, y):
    total = 0.0
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


_combine = _combine_plain if config.DISABLE_JIT else _combine_compiled
_dot = np.dot if config.DISABLE_JIT else _dot_compiled


@helper
def _extrapolate(F, last, momentum, rank):
    """Extrapolate F along its last step where this is on.

    Parameters
    ----------
    F : ndarray (K, n)
        Becomes ``max(0, F + beta * (F - last))``.
    last : ndarray (K, n)
        Becomes the old F.
    momentum : Momentum
    rank : int
        Rows in use.
    """
    beta = momentum.state[0] if momentum.state[2] > 0.0 else 0.0
    for c in range(rank):
        for i in range(F.shape[1]):
            now = F[c, i]
            F[c, i] = max(now + beta * (now - last[c, i]), 0.0)
            last[c, i] = now


@helper
def _update(F, G, X, visits, n_sweeps, gram, pos, weights, row):
    """Update F by sweeps of coordinate descent for ``||Xᵀ - FᵀG||²``; see `rows_hals`.

    Parameters
    ----------
    F, G : ndarray (K, n), (K, m)
        F is written.
    X : ndarray (m, n)
    visits : ndarray (k,) of int64
    n_sweeps : int
    gram, pos : ndarray (K, K), (K, n)
        Written: G Gᵀ, zero beyond the first k rows and columns, and G X, of any values beyond the first k rows.
    weights, row : ndarray (K,), (n,)
        Overwritten.
    """
    rank = len(visits)
    for a in range(0, rank, STEP):
        if rank - a > 1:
            rows_times(G, a, min(STEP, rank - a), len(X), X, pos[a : a + STEP])
        else:  # a tile takes as long for one row as for four
            for i in range(F.shape[1]):
                pos[a, i] = 0.0
            _combine(G[a], X, pos[a])
    for a in range(rank):
        for b in range(a + 1):
            gram[a, b] = gram[b, a] = _dot(G[a], G[b])
    for _ in range(n_sweeps):
        for c in visits:
            own = gram[c, c]
            if own > LEAST_GRAM:
                for b in range(len(weights)):
                    weights[b] = -gram[c, b] if b != c else 0.0
                for i in range(F.shape[1]):
                    row[i] = pos[c, i]
                _combine(weights, F, row)
                for i in range(F.shape[1]):
                    F[c, i] = max(row[i] / own, 0.0)


@helper
def _value(X, Xt, W, H, plan, room):
    """Return ``||X - WᵀH||²``, at least 0; from the residual itself where the products have lost their digits.

    Parameters
    ----------
    X, Xt : ndarray (n, m), (m, n)
    W, H : ndarray (K, n), (K, m)
    plan : Plan
    room : Room
        Its gram and pos_H are those of the last update of H.
    """
    value, weights = plan.sq_norm, room.weights
    for a in range(len(plan.visits)):
        value += room.gram[a, a] * _dot(H[a], H[a]) - 2.0 * _dot(H[a], room.pos_H[a])
        for b in range(a):
            value += 2.0 * room.gram[a, b] * _dot(H[a], H[b])
    if value < plan.exact_below:
        value, F, G, Y, row = 0.0, W, H, X, room.row_H
        if len(X) > len(Xt):  # along the longer side
            F, G, Y, row = H, W, Xt, room.row_W
        for i in range(len(Y)):
            for c in range(len(F)):
                weights[c] = -F[c, i]
            for j in range(len(row)):
                row[j] = Y[i, j]
            _combine(weights, G, row)
            value += _dot(row, row)
    return max(value, 0.0)


@helper
def _adapt(W, H, momentum, has_fallen, plan):
    """Adapt beta to the objective; after an increase, W becomes what it was before its extrapolation.

    Parameters
    ----------
    W, H : ndarray (K, n), (K, m)
        W is written.
    momentum : Momentum
        Its state is written.
    has_fallen : bool
    plan : Plan
    """
    state, beta = momentum.state, momentum.state[0]
    state[2], state[4] = 1.0 if has_fallen else 0.0, 0.0
    if has_fallen:
        state[1] = min(1.0, momentum.bound_growth * state[1])
        state[0] = min(state[1], momentum.growth * beta)
    else:
        state[1], state[0] = beta, beta / momentum.shrink
    for c in plan.visits:
        for i in range(0 if has_fallen else W.shape[1]):
            W[c, i] = momentum.W[c, i]
        of_W, of_H = _dot(W[c], W[c]), _dot(H[c], H[c])
        if of_W == 0.0 or of_H == 0.0:
            state[4] = max(state[4], 1.0 if plan.reseeds else 0.0)
        elif max(of_W / of_H, of_H / of_W) > plan.most_uneven:
            state[4] = 1.0


@helper
def _may_have_converged(best, i, plan):
    """Tell whether the rule of `has_converged` may hold after iteration i; where this says no, it does not.

    The sum of its forecast is replaced by an integral, and this by a little less.

    Parameters
    ----------
    best : ndarray of float64
        Least objective up to each iteration.
    i : int
    plan : Plan
    """
    if plan.tol == 0.0 or best[i] <= plan.rounding or i < plan.at_least:
        return plan.tol > 0.0 and best[i] <= plan.rounding
    window, least = min(plan.look_back, i // 3), plan.tol * max(best[i], plan.tol * plan.tol * plan.sq_norm)
    for j in range(i - window + 1, i + 1):
        if best[j] == best[j - 1]:
            gain = (best[max(i - plan.look_back, 0)] - best[i]) * plan.look_ahead / plan.look_back
            return i >= plan.look_back and SLACK * gain <= least
    earlier, later, middle = best[i - 2 * window] - best[i - window], best[i - window] - best[i], i - 0.5 * window
    power = 1.0
    if earlier > later and later > 0.0:
        power -= min(math.log(earlier / later) / math.log(middle / (middle - window)), plan.largest_exponent)
    low, high = math.log((i + 0.5) / middle), math.log((i + 0.5 + plan.look_ahead) / middle)
    ahead = high - low
    if abs(power) > 1e-6:
        ahead = (math.exp(power * high) - math.exp(power * low)) / power
    return SLACK * later / window * middle * ahead <= least


@kernel
def dense_hals(tasks, X, Xt, W, H, momentum, plan, room, values):
    """Update W, then H, by extrapolated coordinate descent for ``||X - WᵀH||²``, iteration after iteration.

    The rules are those of `fastnmf.core.alternate.Extrapolation`. The run ends early where the objective may have
    converged, and where a component has to be reseeded or rescaled.

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        One task: the number of the first iteration, at least 1, and that after the last.
    X, Xt : ndarray (n, m), (m, n)
        The data, and transposed, in C order; n and m are multiples of `STEP`.
    W, H : ndarray (K, n), (K, m)
        Written. K is a multiple of `STEP`.
    momentum : Momentum
        Its arrays are written.
    plan : Plan
    room : Room
    values : ndarray of float64
        The objective of the start, and after each iteration so far; those of the new ones are written.
    """
    state, best, gram, weights = momentum.state, room.best, room.gram, room.weights
    for _, first, until in work_stealing(tasks):
        best[0] = values[0]
        for i in range(1, until):
            if i >= first:
                for side in range(2):
                    F, G, last, Y, n_sweeps, pos, row = W, H, momentum.H, Xt, plan.sweeps_W, room.pos_W, room.row_W
                    if side == 1:
                        F, G, last, Y, n_sweeps, pos, row = H, W, momentum.W, X, plan.sweeps_H, room.pos_H, room.row_H
                    _extrapolate(G, last, momentum, len(plan.visits))
                    _update(F, G, Y, plan.visits, n_sweeps, gram, pos, weights, row)
                values[i] = _value(X, Xt, W, H, plan, room)
                _adapt(W, H, momentum, values[i] <= values[i - 1], plan)
                state[3] = i + 1
            best[i] = min(best[i - 1], values[i])
            if i >= first and (state[4] > 0.0 or _may_have_converged(best, i, plan)):
                break
