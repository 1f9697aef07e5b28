"""Replace dead components of a model with own components of strata by the residuals of rows that it fits worst."""

import numpy as np

from fastnmf.core.losses.own import extended_grams
from fastnmf.core.losses.squared import MAX_RESEEDINGS
from fastnmf.core.thresholds import REVIVAL_GAIN
from fastnmf.kernels.blas import single_threaded_blas


def reseed_dead_components(loss, factors, worst_of=None):
    """Replace a dead shared component, and one dead own component of each stratum; return how many were replaced.

    A shared component becomes the positive part of the residual of the row that the model fits worst, an own component
    that of a row of its stratum. Their weights are zero until the next sweep over W. As for
    `fastnmf.core.losses.Frobenius`, the squared length of that part has to exceed `REVIVAL_GAIN` times that of the
    data, and there are at most `MAX_RESEEDINGS` attempts in a fit. Tied own components may be zero.

    Parameters
    ----------
    loss : fastnmf.core.losses.own.OwnFrobenius
    factors : Factors
        Changed in place.
    worst_of : callable, default=None
        As `worst_rows`, which None takes.

    Returns
    -------
    int
    """
    k, w, offset = factors.rank, loss.n_own, loss.offset
    M, squares = loss.row_moments(factors), loss.entry_squares(factors)
    is_dead = (np.diagonal(loss.gram("W", factors)) == 0) | (np.diagonal(loss.gram("H", factors)) == 0)
    shared, c = np.flatnonzero(is_dead[:k])[:1], np.arange(w)
    own = (M[:, 1 + c, offset + c] == 0) | (squares[:, 1 + c, 1 + c] == 0)
    own &= (c < loss.sizes[:, None]) & (loss.groups.sizes > 0)[:, None]
    if not offset:
        own[:] = False
    if not (len(shared) or own.any()) or loss.reseedings >= MAX_RESEEDINGS:
        return 0
    loss.reseedings += 1
    worst, (H, G), found = (worst_of or worst_rows)(loss, factors), (factors[name] for name in "HG"), 0
    least, keep = REVIVAL_GAIN * loss.strata.sq_norm, np.ones((len(own), factors["H"].shape[1]))
    if len(shared) and worst:
        code = min(worst, key=lambda code: (-worst[code][0][0], worst[code][0][1]))
        missed = _missed(loss, factors, worst[code][0][1], keep)
        if np.square(missed, dtype=np.float64).sum() > least:
            worst[code] = worst[code][1:]  # no own component has to fit this row
            keep[:, shared], H[:, shared[0]], found = 0, missed, 1
    for code in sorted(worst):
        if not own[code].any() or not worst[code] or worst[code][0][0] <= 0:
            continue
        entries = loss.entries_of(code)
        missed, at = _missed(loss, factors, worst[code][0][1], keep), int(np.argmax(own[code]))
        if np.square(missed, dtype=np.float64).sum() > least:
            keep[code, offset + at], G[entries, 1 + at] = 0, missed[loss.pattern.column[entries]]
            found += 1
    if found:
        loss.multiply_weights(factors, keep)
        for name in "HG":
            factors.invalidate(name)
    return found


def worst_rows(loss, factors, first=0):
    """Return the two rows of each stratum that the model fits worst, a dict of stratum -> list of (error, row).

    Parameters
    ----------
    loss : fastnmf.core.losses.own.OwnFrobenius
    factors : Factors
    first : int, default=0
        Number of the first row.
    """
    errors, found = _row_errors(loss, factors), {}
    for code, rows, _ in loss.each_stratum():
        rows = np.arange(len(errors))[rows]
        two = rows[np.argsort(-errors[rows], kind="stable")[:2]]
        found[code] = [(float(errors[row]), first + int(row)) for row in two]
    return found


def _row_errors(loss, factors):
    """Return the squared error of every row, without its weight, float64 (n_rows,); 0 for rows of weight 0."""
    strata, with_H, with_G = loss.strata, loss.entry_moments(factors), loss.entry_squares(factors)[:, :, 1:]
    grams, below = extended_grams(loss.gram("H", factors), with_H, with_G, loss.offset, 0.0)
    errors, product, more = loss.unexplained(factors), loss.row_product(factors), loss.below_rows(factors)
    scale = np.ones(len(errors)) if strata.row_scale is None else strata.row_scale.astype(np.float64)
    for code, rows, _ in loss.each_stratum():
        F = factors["W"][rows].astype(np.float64)
        linear = product[rows] - (scale[rows, None] * below[code] if more is None else more[rows])
        with single_threaded_blas():
            errors[rows] += np.einsum("ij,ij->i", F, F @ grams[code] - 2 * linear)
    return np.divide(errors, scale**2, out=np.zeros(len(errors)), where=scale > 0)


def _missed(loss, factors, row, keep):
    """Return the positive part of the residual of a row, without its weight, (n_columns,).

    Parameters
    ----------
    loss, factors :
        As for `reseed_dead_components`.
    row : int
    keep : ndarray (n_strata, K)
        Its weights are multiplied by the numbers of its stratum.
    """
    code, scale = loss.strata.stratum_index[row], 1 if loss.strata.row_scale is None else loss.strata.row_scale[row]
    x, w = loss.row_of(factors, row)
    w = w * keep[code].astype(w.dtype)
    here, U = loss.pattern.group == code, w[loss.offset : loss.offset + loss.n_own]
    with single_threaded_blas():
        y = loss.shift_of(factors, row) + factors["H"][:, : factors.rank] @ w[: factors.rank]
        y[loss.pattern.column[here]] += factors["G"][here, 1:] @ U
    return np.maximum(x - y, 0) / (scale if scale > 0 else 1)
