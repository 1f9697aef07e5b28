"""Algebra of its own: peeling from below, factors of zeros and ones, and the product of OR and AND.

None of these is an alternation of block-quadratic problems, so none of them is terms and moves. Underapproximation
peels off one rank after another, each under a bound that every entry of the data puts on it. Binary factors have no
gradient to follow: an entry is switched or it is not. And with OR in place of the sum, a component adds nothing where
another one is already, so that no Gram matrix knows the error.
"""

import time

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import ArpackError, svds

from fastnmf.blas import single_threaded_blas
from fastnmf.kernels import discrete
from fastnmf.kernels.jit import split_rows
from fastnmf.layout import Compressed
from fastnmf.solve import pad

DENSE_SVD = 1 << 16  # entries of a matrix small enough for all its singular vectors
SHARES = (0.0, 0.05, 0.2, 0.5)
FLIP_SWEEPS = 50  # over the components of a row; two or three are usual


class Peeling:
    """What is left of a matrix from which products ``u vᵀ`` are taken, on the pattern of its non-zeros.

    Parameters
    ----------
    X : csr_array or ndarray (n, m)
        Without explicit zeros.
    """

    def __init__(self, X):
        X = sp.csr_array(X).astype(np.float64)
        self.shape = X.shape
        self.side = Compressed(X.indptr, X.indices, X.data.copy())
        self.residual = self.side.data
        turned = sp.csr_array((np.arange(X.nnz), X.indices, X.indptr), shape=X.shape).tocsc()
        self.columns, self._turn = Compressed(turned.indptr, turned.indices, np.empty(0)), turned.data

    def norm(self):
        """Return the Frobenius norm of what is left."""
        return float(np.linalg.norm(self.residual))

    def inner(self, u, v):
        """Return ``u R v``."""
        return float(u @ (sp.csr_array((self.residual, self.side.indices, self.side.indptr), shape=self.shape) @ v))

    def longest_row(self):
        """Return the row of the largest norm, dense (m,)."""
        of_row = np.repeat(np.arange(self.shape[0]), np.diff(self.side.indptr))
        row = int(np.argmax(np.bincount(of_row, self.residual**2, minlength=self.shape[0])))
        part, out = slice(self.side.indptr[row], self.side.indptr[row + 1]), np.zeros(self.shape[1])
        out[self.side.indices[part]] = self.residual[part]
        return out

    def take(self, u, v):
        """Take the positive vectors' product away, where there is something; what would go below zero is zero."""
        of_row = np.repeat(np.arange(self.shape[0]), np.diff(self.side.indptr))
        np.maximum(self.residual - u[of_row] * v[self.side.indices], 0, out=self.residual)

    def leading(self):
        """Return the leading singular pair, each vector times the root of the singular value; non-negative."""
        R = sp.csr_array((self.residual, self.side.indices, self.side.indptr), shape=self.shape)
        with single_threaded_blas():
            if R.shape[0] * R.shape[1] <= DENSE_SVD or min(R.shape) == 1:
                dense = R.toarray()  # never-densify-ok: at most 2**16 entries, or one row or column
                left, values, right = np.linalg.svd(dense, full_matrices=False)
            else:
                first = np.random.default_rng(0).random(min(R.shape))
                try:
                    left, values, right = svds(R, k=1, v0=first, solver="arpack")
                except ArpackError:  # nothing is left
                    return np.zeros(R.shape[0]), np.zeros(R.shape[1])
        root = np.sqrt(values[0])
        return np.abs(left[:, 0]) * root, np.abs(right[0]) * root

    def pressed(self, u, v, n_steps):
        """Return u, v that fit what is left, pressed below it by Lagrange multipliers of ``u vᵀ <= R``.

        Multipliers rise by ``(u vᵀ - R) / j`` in step j and are at least zero (Gillis and Glineur 2010). Where R is
        zero they only rise, and are the sum of the products so far over j: n_steps vectors on each side instead of a
        dense matrix, of which a copy on the pattern is taken off again.
        """
        side = self.side
        multiplier, carried = np.zeros(len(self.residual)), np.zeros(len(self.residual))
        before = np.empty((n_steps, len(u))), np.empty((n_steps, len(v)))
        D = sp.csr_array((multiplier, side.indices, side.indptr), shape=self.shape)
        on_rows = np.empty(len(u))
        with single_threaded_blas():
            for n in range(n_steps):
                step = 1 / (n + 1)
                discrete.csr_press(
                    side.tasks(1), side.indptr, side.indices, self.residual, multiplier, carried, (u, v), step, on_rows
                )
                before[0][n], before[1][n] = step * u, v
                earlier = before[0][: n + 1], before[1][: n + 1]
                new_u = np.maximum(on_rows - (earlier[1] @ v) @ earlier[0], 0) / (v @ v)
                if not new_u.any():
                    break
                D.data = self.residual - multiplier + carried
                new_v = np.maximum(D.T @ new_u - (earlier[0] @ new_u) @ earlier[1], 0) / (new_u @ new_u)
                if not new_v.any():
                    break
                u, v = new_u, new_v
        return u, v

    def fits_below(self, v):
        """Return the largest u with ``u vᵀ <= R``, entry by entry."""
        return self._fits_below(self.side, self.residual, v)

    def fits_beside(self, u):
        """Return the largest v with ``u vᵀ <= R``."""
        return self._fits_below(self.columns, self.residual[self._turn], u)

    def _fits_below(self, side, residual, v):
        out = np.empty(len(side.indptr) - 1)
        discrete.csr_fits_below(
            side.tasks(1), side.indptr, side.indices, residual, v, int(np.count_nonzero(v > 0)), out
        )
        return out


def underapproximate(X, rank, *, n_steps, is_feasible, start=None, callback=None):
    """Peel `rank` products ``u vᵀ`` off X, one after the other, each below what is left.

    Parameters
    ----------
    X : csr_array or ndarray (n, m)
    rank, n_steps : int
        Components, and steps of multipliers for each.
    is_feasible : bool
        Whether every product is cut down until it is below what is left exactly.
    start : tuple of ndarray (n, rank) and (rank, m), default=None
        None: the leading singular pair of what is left.
    callback : callable, default=None
        ``callback(n_peeled, share, seconds)``; returning True stops.

    Returns
    -------
    W : ndarray (n, rank)
    H : ndarray (rank, m)
    norms : list of float
        Norm of what is left, before and after every component.
    seconds : list of float
    """
    began, left = time.perf_counter(), Peeling(X)
    W, H = np.zeros((X.shape[0], rank)), np.zeros((rank, X.shape[1]))
    norms, seconds = [left.norm()], [0.0]
    for c in range(rank):
        u, v = left.leading() if start is None else (start[0][:, c], start[1][c])
        if u.any() and v.any():
            u, v = left.pressed(u, v, n_steps)
            if is_feasible:
                u, v = largest_below(left, v)
        W[:, c], H[c] = u, v
        left.take(u, v)
        norms.append(left.norm())
        seconds.append(time.perf_counter() - began)
        if callback is not None:
            callback(c + 1, norms[-1] / (norms[0] or 1.0), seconds[-1])
    return W, H, norms, seconds


def peel(X, H):
    """Return the largest weights W (n, k) with ``W H <= X``, for one row of H (k, m) after the other."""
    left, W = Peeling(X), np.zeros((X.shape[0], len(H)))
    for c, v in enumerate(H.astype(np.float64)):
        W[:, c] = left.fits_below(v)
        left.take(W[:, c], v)
    return W


def largest_below(left, v):
    """Return u, v with ``u vᵀ`` below what is left, neither of which can grow, that take much away.

    A row that lacks one column of v gets nothing, so also parts of v are tried, its entries above some share of the
    largest, and the longest row, below which there is always something.
    """
    best, taken = None, -1.0
    for start in [np.where(v > share * v.max(), v, 0) for share in SHARES] + [left.longest_row()]:
        u = left.fits_below(start)
        beside = left.fits_beside(u)
        u = left.fits_below(beside)
        amount = 2 * left.inner(u, beside) - (u @ u) * (beside @ beside)
        if amount > taken:
            best, taken = (u, beside), amount
    return best


def overshoot(X, W, H):
    """Return ``||max(W H - X, 0)||``: what a model is above the data, from Gram matrices off the non-zeros of X."""
    X = sp.csr_array(X)
    on = np.zeros(X.nnz)
    of_row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    for u, v in zip(W.T, H, strict=True):
        on += u[of_row] * v[X.indices]
    whole = float(np.sum((W.T @ W) * (H @ H.T)))
    off = max(whole - float(on @ on), 0.0)
    off = off if off > 1e-12 * whole else 0.0  # the rounding of the difference
    return float(np.sqrt(off + np.square(np.maximum(on - X.data, 0)).sum()))


def flip_binary(B, product, gram):
    """Switch entries of B (p, k), zeros and ones, while that lowers ``||X - B Fᵀ||²``; exact, in place.

    The best entry beside all others of its row is a one if ``(X F - B FᵀF + b f.f) > f.f / 2``.

    Parameters
    ----------
    product : ndarray (p, k)
        X F.
    gram : ndarray (k, k)
        FᵀF.
    """
    for _ in range(FLIP_SWEEPS):
        before = B.copy()
        for c in range(B.shape[1]):
            pull = product[:, c] - B @ gram[:, c] + B[:, c] * gram[c, c]
            # an equal one stays as it is, so that the sweeps come to an end
            B[:, c] = np.where(pull == gram[c, c] / 2, B[:, c], pull > gram[c, c] / 2)
        if (B == before).all():
            return


class BinaryFit:
    """Alternate exact switches of W and H, zeros and ones, for ``||X - W Hᵀ||²``; no switch raises it.

    Parameters
    ----------
    data : fastnmf.data.Strata
    W, H : ndarray (n, k), (m, k)
        Of zeros and ones, float64; moved in place.
    """

    def __init__(self, data, W, H):
        self.data, self.W, self.H = data, W, H

    def product(self, name):
        """Return ``X H`` or ``Xᵀ W``, float64."""
        other = self.H if name == "W" else self.W
        out = pad(np.zeros((len(self.W if name == "W" else self.H), other.shape[1])), self.data)
        (self.data.matmul if name == "W" else self.data.tmatmul)(pad(other, self.data), out)
        return out[:, : other.shape[1]].astype(np.float64)

    def value(self, product):
        """Return the squared error; product is ``X H``. Exact for whole numbers."""
        with single_threaded_blas():
            both = float(np.sum((self.W.T @ self.W) * (self.H.T @ self.H)))
        return self.data.sq_norm + both - 2 * float(np.sum(self.W * product))

    def descend(self, max_rounds):
        """Switch until nothing helps; return the squared errors before and after every round."""
        product = self.product("W")
        values = [self.value(product)]
        for _ in range(max_rounds):
            with single_threaded_blas():
                flip_binary(self.W, product, self.H.T @ self.H)
                flip_binary(self.H, self.product("H"), self.W.T @ self.W)
            product = self.product("W")
            values.append(self.value(product))
            if values[-1] >= values[-2]:
                break
        return values


def infer_binary(product, gram, starts):
    """Return the better of the rows that switching leads to from each of `starts`; see `flip_binary`."""
    best, least = None, None
    for B in starts:
        flip_binary(B, product, gram)
        errors = np.einsum("ij,ij->i", B, B @ gram - 2 * product)
        best = B if best is None else np.where((errors < least)[:, None], B, best)
        least = errors if least is None else np.minimum(least, errors)
    return best


def rounded(W, H, at=(0.5, 0.5)):
    """Return W and H as bools: what is above a share of the largest entry of its column, after both have the same."""
    tops = [np.where(F.max(axis=0) > 0, F.max(axis=0), 1) for F in (W, H)]
    root = np.sqrt(tops[0] * tops[1])
    return W / tops[0] * root > at[0], H / tops[1] * root > at[1]


def flip_boolean(B, X, sets):
    """Switch entries of the rows of B (p, k), bool, while that lowers the mismatches of ``B or-and sets``; in place.

    Parameters
    ----------
    X : fastnmf.layout.Compressed
        Its entries are the ones.
    sets : ndarray (m, k) of bool

    Returns
    -------
    ndarray (p,) of int64
        Mismatches of every row.
    """
    return _cover(B, X, sets, FLIP_SWEEPS)


def mismatches(B, X, sets):
    """Return how many entries of each row of X the Boolean product gets wrong, int64 (p,); see `flip_boolean`."""
    return _cover(B, X, sets, 0)


def _cover(B, X, sets, n_sweeps):
    component, columns = np.nonzero(sets.T)
    first = np.concatenate([[0], np.cumsum(np.bincount(component, minlength=sets.shape[1]))]).astype(np.int64)
    errors = np.empty(len(B), np.int64)
    tasks = split_rows(len(B), (len(X.indices) + len(columns)) // len(B) + 1)
    columns = columns.astype(np.int32)
    discrete.rows_cover(tasks, (X.indptr, X.indices), (first, columns), len(sets), B, n_sweeps, errors)
    return errors


def descend_boolean(data, W, H, max_rounds):
    """Switch entries of W (n, k) and H (m, k), bool, in turn until nothing helps; return the mismatches by round."""
    values = [int(mismatches(W, data.rows, H).sum())]
    for _ in range(max_rounds):
        flip_boolean(W, data.rows, H)
        values.append(int(flip_boolean(H, data.columns, W).sum()))
        if values[-1] >= values[-2]:
            break
    return values


def best_rounding(data, W, H, shares):
    """Return W and H as bools, cut at those two of the `shares` of their columns' largest entries that err least.

    A row covers at least the largest set that it picks: pairs that err too much by that alone are not counted out.
    """
    best, least, of_row = None, np.inf, np.diff(data.rows.indptr)
    tops = [np.where(F.max(axis=0) > 0, F.max(axis=0), 1) for F in (W, H)]
    for of_W in shares:
        for of_H in shares:
            pair = W / tops[0] > of_W, H / tops[1] > of_H
            if np.maximum((pair[0] * pair[1].sum(axis=0)).max(axis=1) - of_row, 0).sum() >= least:
                continue
            wrong = int(mismatches(pair[0], data.rows, pair[1]).sum())
            if wrong < least:
                best, least = pair, wrong
    return best


def infer_boolean(X, sets, starts):
    """Return for every row the better of what switching leads to from each of `starts`, and its mismatches."""
    best, least = None, None
    for B in starts:
        errors = flip_boolean(B, X, sets)
        best = B if best is None else np.where((errors < least)[:, None], B, best)
        least = errors if least is None else np.minimum(least, errors)
    return best, least
