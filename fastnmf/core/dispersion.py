"""Estimate how much more counts vary than Poisson counts of the same mean: the negative-binomial dispersion.

A count with mean y and size t has the variance ``y + y² / t``. The dispersion is 1 / t; 0 is Poisson.

Inner scale: counts are held as they are, ``log4_scale`` is 0; see `fastnmf.core.losses.negative_binomial.check_counts`.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.thresholds import ROUNDED_RISE
from fastnmf.data.layout import Compressed
from fastnmf.data.shifts import rows_of
from fastnmf.kernels import counts
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_rows

KINDS = ("feature", "global")
METHODS = ("ml", "moments")
LEAST_SIZE, LARGEST_SIZE = 1e-3, 1e6  # beyond the latter, counts of ordinary size are Poisson to six digits
TILE = 1 << 20  # entries of the model that are held at a time: 8 MB
MAX_STEPS = 80  # of the search for a size: bisection alone takes 35
SIZE_CHANGE = 1e-9  # relative change of a size below which it has converged: the next Newton step would be its square


class CountModel:
    """Counts and their means ``y = u v + W Hᵀ``, a tile of columns at a time.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    W, H : ndarray (n_rows, K), (n_columns, K)
    V : ndarray or csr_array (n_strata, n_columns), or None
        The shifts.
    least : float
        Where a count is not zero, means below it are replaced by it.
    columns : fastnmf.data.layout.Compressed, optional
        The counts by columns, if they are there.
    """

    def __init__(self, strata, W, H, V=None, least=0.0, columns=None):
        self.strata, self.least = strata, float(least)
        self.W, self.H = (np.asarray(F, dtype=np.float64) for F in (W, H))
        self.V = V.T.tocsr() if sp.issparse(V) else None if V is None else V.T
        if columns is None:
            turned = strata.columns if strata.is_sparse else sp.csr_array(strata.X).tocsc()
            columns = Compressed(turned.indptr, turned.indices, turned.data)
        self.columns = columns
        step = max(1, TILE // len(self.W))
        self.parts = [slice(lo, min(lo + step, len(self.H))) for lo in range(0, len(self.H), step)]

    def means(self, part):
        """Return the means of some columns, `part` a slice, one column a row: float64 (n, n_rows)."""
        with single_threaded_blas():  # so that the bits do not depend on the number of threads
            Y = self.H[part] @ self.W.T
        if self.V is not None:
            shift = self.strata.spread(rows_of(self.V, part).T).T
            Y += shift if self.strata.row_scale is None else shift * self.strata.row_scale
        return Y

    def sums(self, part, Y, theta, chosen):
        """Return log-likelihood, slope and curvature in the size of some columns, float64 (len(chosen), 3).

        The parts of the log-likelihood that do not depend on the size are left out.

        Parameters
        ----------
        part : slice
        Y : ndarray (n, n_rows)
            Result of `means`.
        theta : ndarray (n,)
        chosen : ndarray of int64
            Rows of Y.
        """
        out, rises, first = np.empty((len(Y), 3)), np.empty((len(chosen), 3)), part.start
        tasks = split_rows(len(chosen), Y.shape[1])
        counts.rows_dispersion(tasks, self.columns.csr, chosen, first, Y, theta, self.least, out)
        indptr, indices, data = self.columns.csr
        lengths = np.diff(indptr)[first + chosen]
        if len(chosen) == len(Y):
            csr = self.columns.csr._replace(indptr=indptr[first : part.stop + 1])
        else:
            starts = np.concatenate([[0], np.cumsum(lengths)])
            at = np.arange(starts[-1]) + np.repeat(indptr[first + chosen] - starts[:-1], lengths)
            csr = self.columns.csr._replace(indptr=starts, data=data[at])
        tasks = split_rows(len(chosen), max(1, int(lengths.sum()) // len(chosen)))
        counts.csr_gamma_rises(tasks, csr, theta[chosen], rises)
        return out[chosen] + rises


def size_by_likelihood(model, kind, start=None):
    """Return the size t of each column that maximises the likelihood at given means, float64 (n_columns,).

    The root of the slope in log t by Newton steps, within a bracket that starts as `LEAST_SIZE` to `LARGEST_SIZE` and
    shrinks with every step; where a Newton step leaves it, it is halved. A cost of O(n m) for each of about six steps;
    columns that have converged are left out. Where counts vary no more than Poisson counts, t is `LARGEST_SIZE`. The
    likelihood never falls below that at the start.

    Parameters
    ----------
    model : CountModel
    kind : {"feature", "global"}
        Whether each column has its own size, or all have the same.
    start : ndarray (n_columns,), default=None
        Where the search starts.
    """
    start = np.ones(len(model.H)) if start is None else np.clip(start, LEAST_SIZE, LARGEST_SIZE)
    if kind == "global":

        def pooled(theta, _):
            total = np.zeros((1, 3))
            for part in model.parts:
                Y = model.means(part)
                total += model.sums(part, Y, np.full(len(Y), theta[0]), np.arange(len(Y))).sum(axis=0)
            return total

        return np.full(len(model.H), _maximise(pooled, start[:1])[0])
    found = np.empty(len(model.H))
    for part in model.parts:
        Y = model.means(part)
        found[part] = _maximise(lambda theta, chosen, part=part, Y=Y: model.sums(part, Y, theta, chosen), start[part])
    return found


def _maximise(sums, start):
    """Return the maximisers of functions of a size t, (p,).

    Parameters
    ----------
    sums : callable
        ``sums(theta, chosen)``: value, slope and curvature of the functions `chosen` at theta (p,), (len(chosen), 3).
    start : ndarray (p,)
    """
    every, high = np.arange(len(start)), np.log(LARGEST_SIZE)
    lower, upper, t = np.full(len(start), np.log(LEAST_SIZE)), np.full(len(start), high), np.log(start)
    at_end, at_start = sums(np.exp(upper), every), sums(start, every)
    is_poisson = at_end[:, 1] >= 0
    t[is_poisson], reached = high, at_end[:, 0].copy()
    open_, found = every[~is_poisson], at_start[~is_poisson]
    for _ in range(MAX_STEPS):
        if len(open_) == 0:
            break
        here, size = t[open_], np.exp(t[open_])
        reached[open_] = found[:, 0]
        slope, curvature = size * found[:, 1], size * (found[:, 1] + size * found[:, 2])  # in log t
        lower[open_] = np.where(slope > 0, here, lower[open_])
        upper[open_] = np.where(slope > 0, upper[open_], here)
        moved = here - np.divide(slope, curvature, out=np.full(len(here), np.inf), where=curvature < 0)
        is_out = ~((moved > lower[open_]) & (moved < upper[open_]))
        moved[is_out] = (lower[open_] + upper[open_])[is_out] / 2
        t[open_] = moved
        open_ = open_[np.abs(moved - here) >= SIZE_CHANGE]
        found = sums(np.exp(t), open_) if len(open_) else None
    fell = at_start[:, 0] - reached > ROUNDED_RISE * np.abs(at_start[:, 0])  # another local maximum
    return np.where(fell, start, np.exp(t))


def size_by_moments(model, kind):
    """Return the size t of each column by the method of moments, float64 (n_columns,).

    ``1 / t = max(0, sum (x - y)² - y) / sum y²``, from sums and Gram matrices: O(nnz K + (n + m) K² + S m K), and
    nothing of the size of the data is formed.

    Parameters
    ----------
    model : CountModel
    kind : {"feature", "global"}
    """
    strata, W, H, V = model.strata, model.W, model.H, model.V
    n_rows, n_columns = strata.shape
    X = strata.X.astype(np.float64)
    squares = np.asarray((X * X).sum(axis=0)).ravel()
    with single_threaded_blas():
        crossed = np.einsum("jc,jc->j", H, X.T @ W)
        means, squared_means = H @ W.sum(axis=0), np.einsum("jc,jc->j", H @ (W.T @ W), H)
        if V is not None:
            Z = strata.as_design()
            crossed += _row_products(V, X.T @ Z)
            means += V @ Z.sum(axis=0)
            squared_means += _row_products(V @ (Z.T @ Z), V) + 2 * _row_products(V, H @ (Z.T @ W).T)
    excess, base = squares - 2 * crossed + squared_means - means, squared_means
    if kind == "global":
        excess, base = (np.full(n_columns, each.sum()) for each in (excess, base))
    size = np.divide(base, excess, out=np.full(n_columns, LARGEST_SIZE), where=excess > 0)
    return np.clip(size, LEAST_SIZE, LARGEST_SIZE)


def _row_products(A, B):
    """Return the inner products of the rows of A and B (p, q), each dense or CSR, float64 (p,)."""
    if sp.issparse(B):
        A, B = B, A
    return np.asarray(A.multiply(B).sum(axis=1)).ravel() if sp.issparse(A) else np.einsum("ij,ij->i", A, B)


def dispersion_of(size):
    """Return 1 / t for sizes t, 0 (Poisson) for `LARGEST_SIZE`, up to rounding, and above."""
    return np.where(size < LARGEST_SIZE * (1 - SIZE_CHANGE), 1 / size, 0.0)


def size_of(dispersion):
    """Return the size t for dispersions >= 0, within `LEAST_SIZE` and `LARGEST_SIZE`."""
    found = np.asarray(dispersion, dtype=np.float64)
    size = np.divide(1, found, out=np.full(found.shape, LARGEST_SIZE), where=found > 0)
    return np.clip(size, LEAST_SIZE, LARGEST_SIZE)
