"""Factorise with other algebra: underapproximation, factors of zeros and ones, and Boolean products.

None of these methods alternates between block-quadratic problems, so none of them is built from losses and updates.
Underapproximation subtracts one rank-one product after another, under one constraint for every entry of the data.
Binary factors have no gradient: an entry is switched or it is not. In the Boolean product, OR takes the place of the
sum: a component adds nothing where another one is already present, so Gram matrices do not determine the error.
"""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import ArpackError, svds

from fastnmf.core.factors import pad
from fastnmf.core.iterate import Solver, lacks_progress
from fastnmf.core.thresholds import ROUNDED_OVERSHOOT
from fastnmf.data.layout import Compressed, row_index
from fastnmf.kernels import discrete
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_rows
from fastnmf.kernels.records import CSR

DENSE_SVD = 1 << 16  # largest number of entries for which all singular vectors are computed
SHARES = (0.0, 0.05, 0.2, 0.5)  # thresholds of `largest_below`, relative to the largest entry
FLIP_SWEEPS = 50  # over the components of a row; two or three are usual


class Peeling:
    """The residual of a matrix after subtracting non-negative products ``u vᵀ``, on the pattern of its non-zeros.

    Below, R is the residual.

    Parameters
    ----------
    X : csr_array or ndarray (n, m)
        Without explicit zeros.
    """

    def __init__(self, X):
        X = sp.csr_array(X)
        self.shape = X.shape
        self.side = Compressed(X.indptr, X.indices, X.data.copy())
        self.residual = self.side.data
        turned = sp.csr_array((np.arange(X.nnz), X.indices, X.indptr), shape=X.shape).tocsc()
        self.columns, self._turn = Compressed(turned.indptr, turned.indices, np.empty(0)), turned.data

    def norm(self):
        """Return the Frobenius norm of the residual."""
        return float(np.linalg.norm(self.residual))

    def gain(self, u, v):
        """Return by how much ``u vᵀ`` lowers the squared error, without its largest row or column, and with all.

        The first is 0 where it is only rounding.
        """
        R = sp.csr_array((self.residual, self.side.indices, self.side.indptr), shape=self.shape)
        with single_threaded_blas():
            of_rows, of_columns = u * (2 * (R @ v) - u * (v @ v)), v * (2 * (R.T @ u) - v * (u @ u))
        whole = float(of_rows.sum())
        part = whole - float(max(of_rows.max(), of_columns.max()))
        return (part if part > ROUNDED_OVERSHOOT * whole else 0.0), whole

    def block(self):
        """Return the v of the product below R that explains most beside its largest row and column; see `csr_blocks`.

        One product is tried from each column, and one from each row.
        """
        rows, columns = self.side, Compressed(self.columns.indptr, self.columns.indices, self.residual[self._turn])
        of_columns, of_rows = np.empty(self.shape[1]), np.empty(self.shape[0])
        discrete.csr_blocks(columns.tasks(1), columns.csr, rows.csr, of_columns)
        discrete.csr_blocks(rows.tasks(1), rows.csr, columns.csr, of_rows)
        if of_columns.max() >= of_rows.max():
            return self.fits_beside(columns.row(int(of_columns.argmax()), self.shape[0]))
        return rows.row(int(of_rows.argmax()), self.shape[1])

    def longest_row(self):
        """Return the row of R with the largest norm, dense (m,)."""
        squares = np.bincount(row_index(self.side), np.square(self.residual, dtype=np.float64), minlength=self.shape[0])
        return self.side.row(int(np.argmax(squares)), self.shape[1])

    def take(self, u, v):
        """Subtract ``u vᵀ``, both non-negative, on the pattern of R; negative results become zero."""
        np.maximum(self.residual - u[row_index(self.side)] * v[self.side.indices], 0, out=self.residual)

    def leading(self):
        """Return the leading singular pair of R, non-negative, each vector times the root of the singular value."""
        R = sp.csr_array((self.residual, self.side.indices, self.side.indptr), shape=self.shape)
        with single_threaded_blas():
            if R.shape[0] * R.shape[1] <= DENSE_SVD or min(R.shape) == 1:
                dense = R.toarray()  # never-densify-ok: at most 2**16 entries, or one row or column
                left, values, right = np.linalg.svd(dense, full_matrices=False)
            else:
                first = np.random.default_rng(0).random(min(R.shape))
                try:
                    left, values, right = svds(R, k=1, v0=first, solver="arpack")
                except ArpackError:  # R is zero
                    return np.zeros(R.shape[0]), np.zeros(R.shape[1])
        root = np.sqrt(values[0])
        return np.abs(left[:, 0]) * root, np.abs(right[0]) * root

    def pressed(self, u, v, n_steps):
        """Return u, v that fit R, with Lagrange multipliers for the constraints ``u vᵀ <= R``.

        In step n the multipliers grow by ``(u vᵀ - R) / n`` and are cut off at zero (Gillis and Glineur 2010). Where R
        is zero they only grow, and equal the sum of the products so far, each over its n. They are therefore held as
        n_steps vectors on each side instead of a dense matrix; the part of these products on the pattern of R is
        subtracted again.

        Parameters
        ----------
        u, v : ndarray (n,), (m,)
            The start.
        n_steps : int
        """
        u, v, (n_rows, n_columns), dtype = u.copy(), v.copy(), self.shape, self.residual.dtype
        on_rows, on_columns = self.side.tasks(1), split_rows(n_columns, n_steps)
        on_rows = on_rows if len(on_rows) == 2 else on_rows[::4]  # each task has n_columns sums of its own
        held, U, V = (
            np.zeros(shape, dtype) for shape in ((len(self.residual), 2), (n_rows, n_steps), (n_columns, n_steps))
        )
        pulled, out = (
            np.empty((len(t) - 1, w)) for t, w in ((on_rows, n_columns + n_steps), (on_columns, n_steps + 1))
        )
        V[:, 0], products = v, np.array([v @ v])
        for n in range(1, n_steps + 1):
            before = u.copy(), v.copy()
            discrete.csr_press(on_rows, self.side.csr, held, u, v, products, U, pulled)
            if not u.any():
                return before
            with single_threaded_blas():
                square = u @ u
            of_u = pulled[:, n_columns : n_columns + n].sum(axis=0)
            discrete.rows_press(on_columns, pulled, of_u, square, v, V, out)
            if not v.any():
                return before
            products = out[:, : n + 1].sum(axis=0)
        return u, v

    def fits_below(self, v):
        """Return the largest u with ``u vᵀ <= R`` in every entry."""
        return self._fits_below(self.side, self.residual, v)

    def fits_beside(self, u):
        """Return the largest v with ``u vᵀ <= R`` in every entry."""
        return self._fits_below(self.columns, self.residual[self._turn], u)

    def _fits_below(self, side, residual, v):
        out = np.empty(len(side.indptr) - 1)
        csr, n_used = side.csr._replace(data=residual), int(np.count_nonzero(v > 0))
        discrete.csr_largest_below(side.tasks(1), csr, v, n_used, out)
        return out


class Underapproximation(Solver):
    """Subtract products ``u vᵀ`` from X, one in each step, each below the residual; minimise its squared norm.

    Parameters
    ----------
    X : csr_array or ndarray (n, m)
    rank : int
        Maximum number of products.
    n_steps : int
        Steps of the multipliers for each product.
    is_feasible : bool
        Whether every product is reduced until no entry exceeds the residual.
    start : tuple of ndarray (n, rank) and (rank, m), default=None
        None: the leading singular pair of the residual.

    Attributes
    ----------
    W, H : ndarray (n, rank), (rank, m)
        The products so far, followed by zeros.
    """

    def __init__(self, X, rank, *, n_steps, is_feasible, start=None):
        self.left, self.n_steps, self.is_feasible, self.start = Peeling(X), n_steps, is_feasible, start
        self.W, self.H, self.n_peeled = np.zeros((X.shape[0], rank)), np.zeros((rank, X.shape[1])), 0
        self.scale = self.begin()

    def begin(self):
        """Return the squared norm of the residual."""
        return self.left.norm() ** 2

    def step(self):
        """Subtract one product."""
        left, c = self.left, self.n_peeled
        u, v = left.leading() if self.start is None else (self.start[0][:, c], self.start[1][c])
        if u.any() and v.any():
            u, v = left.pressed(u, v, self.n_steps)
            if self.is_feasible:
                u, v = largest_below(left, v)
        self.W[:, c], self.H[c] = u, v
        left.take(u, v)
        self.n_peeled += 1
        return self.begin()

    def columns(self):
        """Return the norm of the residual."""
        return {"residual": self.left.norm()}

    def to_state(self):
        """Return the products and the residual."""
        return {"W": self.W, "H": self.H, "residual": self.left.residual, "n_peeled": self.n_peeled}

    def from_state(self, state):
        """Restore what `to_state` returned."""
        self.W, self.H, self.n_peeled = state["W"], state["H"], state["n_peeled"]
        self.left.residual[:] = state["residual"]


def peel(X, H):
    """Return the largest weights W (n, k) with ``W H <= X``, found for one row of H (k, m) after the other."""
    left, W = Peeling(X), np.zeros((X.shape[0], len(H)))
    for c, v in enumerate(H.astype(np.float64)):
        W[:, c] = left.fits_below(v)
        left.take(W[:, c], v)
    return W


def largest_below(left, v):
    """Return u, v with ``u vᵀ`` below the residual, such that neither can grow, and with a large decrease of the error.

    A row that has a zero in one column of v gets the weight zero. Therefore several candidates for v are tried: v with
    its entries below several shares of the largest one set to zero, the longest row of the residual, below which there
    is always a non-zero product, and the best product from a single column or row. A single row or column is below
    itself and says nothing of the others; so the largest row, or column, of a product does not count in the choice,
    unless all candidates are such.
    """
    starts = [np.where(v > share * v.max(), v, 0) for share in SHARES] + [left.longest_row(), left.block()]
    best, most = None, (-1.0, -1.0)
    for start in starts:
        beside = left.fits_beside(left.fits_below(start))
        u = left.fits_below(beside)
        gain = left.gain(u, beside)
        if gain > most:
            best, most = (u, beside), gain
    return best


def overshoot(X, W, H):
    """Return ``||max(W H - X, 0)||``, the part of a model above the data.

    Off the non-zeros of X the squared norm of ``W H`` comes from Gram matrices.
    """
    X = sp.csr_array(X)
    on = np.zeros(X.nnz)
    of_row = row_index(X)
    for u, v in zip(W.T, H, strict=True):
        on += u[of_row] * v[X.indices]
    whole = float(np.sum((W.T @ W) * (H @ H.T)))
    off = max(whole - float(on @ on), 0.0)
    off = off if off > ROUNDED_OVERSHOOT * whole else 0.0
    return float(np.sqrt(off + np.square(np.maximum(on - X.data, 0)).sum()))


def flip_binary(B, product, gram):
    """Switch entries of B (p, k), zeros and ones, while that lowers ``||X - B Fᵀ||²``; exact, in place.

    Given all others of its row, the best entry is one if ``(X F - B FᵀF + b f.f) > f.f / 2``, else zero.

    Parameters
    ----------
    B : ndarray (p, k) of float64
    product : ndarray (p, k)
        X F.
    gram : ndarray (k, k)
        FᵀF.
    """
    for _ in range(FLIP_SWEEPS):
        before = B.copy()
        for c in range(B.shape[1]):
            pull = product[:, c] - B @ gram[:, c] + B[:, c] * gram[c, c]
            # on a tie the entry keeps its value, so that the sweeps end
            B[:, c] = np.where(pull == gram[c, c] / 2, B[:, c], pull > gram[c, c] / 2)
        if (B == before).all():
            return


class Switching(Solver):
    """Switch entries of W and H, zeros and ones, in turn, until a round does not lower the error; never raises it.

    A subclass defines `step` and `error`.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    start : callable
        ``start()`` returns W (n, k) and H (m, k) of zeros and ones; it is called unless a saved state is restored.
    """

    dtype = np.float64

    def __init__(self, data, start):
        self.data, self.scale, self._start = data, data.sq_norm, start

    def begin(self):
        """Make the start and return its error."""
        self.W, self.H = (np.ascontiguousarray(F, self.dtype) for F in self._start())
        return self.error()

    def stop(self, history, tol):
        """Return "tol" after a round that has not lowered the error."""
        return "tol" if lacks_progress(history, 0, 1) else None

    def to_state(self):
        """Return the factors."""
        return {"W": self.W, "H": self.H}

    def from_state(self, state):
        """Restore what `to_state` returned."""
        self.W, self.H = state["W"], state["H"]
        self.error()


class BinarySwitching(Switching):
    """Alternate exact switches of W and H for ``||X - W Hᵀ||²``."""

    def step(self):
        """Switch entries of W, then of H."""
        with single_threaded_blas():
            flip_binary(self.W, self._product, self.H.T @ self.H)
            flip_binary(self.H, times(self.data, self.W, is_turned=True), self.W.T @ self.W)
        return self.error()

    def error(self):
        """Return the squared error, and keep ``X H`` for the next step."""
        self._product = times(self.data, self.H)
        return squared_error(self.data, self.W, self.H, self._product)


class BooleanSwitching(Switching):
    """Switch entries of W and H for the mismatches of their Boolean product; the stored entries of X are the ones."""

    dtype = bool

    def step(self):
        """Switch entries of W, then of H."""
        flip_boolean(self.W, self.data.rows, self.H)
        return int(flip_boolean(self.H, self.data.columns, self.W).sum())

    def error(self):
        """Return the number of mismatches."""
        return int(mismatches(self.W, self.data.rows, self.H).sum())


def times(data, F, *, is_turned=False):
    """Return ``X F``, or ``Xᵀ F`` if `is_turned`, float64."""
    out = pad(np.zeros((data.shape[is_turned], F.shape[1])), data)
    (data.tmatmul if is_turned else data.matmul)(pad(F, data), out)
    return out[:, : F.shape[1]].astype(np.float64)


def squared_error(data, W, H, product):
    """Return ``||X - W Hᵀ||²``, exact for integers.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    W, H : ndarray (n, k), (m, k) of float64
    product : ndarray (n, k)
        X H.
    """
    with single_threaded_blas():
        both = float(np.sum((W.T @ W) * (H.T @ H)))
    return data.sq_norm + both - 2 * float(np.sum(W * product))


def infer_binary(product, gram, starts):
    """Return for every row the best of the results of `flip_binary` from each of `starts`.

    Parameters
    ----------
    product : ndarray (p, k)
        X F.
    gram : ndarray (k, k)
        FᵀF.
    starts : iterable of ndarray (p, k) of float64
        Zeros and ones; changed in place.
    """
    best, least = None, None
    for B in starts:
        flip_binary(B, product, gram)
        errors = np.einsum("ij,ij->i", B, B @ gram - 2 * product)
        best = B if best is None else np.where((errors < least)[:, None], B, best)
        least = errors if least is None else np.minimum(least, errors)
    return best


def rounded(W, H):
    """Return W (n, k) >= 0 and H (m, k) >= 0 as bools: entries above a half, after rescaling.

    Before that, each column of W and of H is scaled such that both have the same largest entry.
    """
    tops = [np.where(F.max(axis=0) > 0, F.max(axis=0), 1) for F in (W, H)]
    root = np.sqrt(tops[0] * tops[1])
    return W / tops[0] * root > 0.5, H / tops[1] * root > 0.5


def flip_boolean(B, X, sets):
    """Switch entries of B while that lowers the mismatches of the Boolean product of B and `sets`; in place.

    Parameters
    ----------
    B : ndarray (p, k) of bool
    X : fastnmf.data.layout.Compressed
        Its stored entries are the ones.
    sets : ndarray (m, k) of bool

    Returns
    -------
    ndarray (p,) of int64
        Mismatches of every row.
    """
    return _cover(B, X, sets, FLIP_SWEEPS)


def mismatches(B, X, sets):
    """Return the number of entries of each row of X that the Boolean product misses, int64 (p,); see `flip_boolean`."""
    return _cover(B, X, sets, 0)


def _cover(B, X, sets, n_sweeps):
    """Run at most `n_sweeps` sweeps of switches over B; return the mismatches of every row.

    Parameters
    ----------
    B : ndarray (p, k) of bool
        Changed in place unless n_sweeps is 0.
    X : fastnmf.data.layout.Compressed
        Its stored entries are the ones.
    sets : ndarray (m, k) of bool
    n_sweeps : int

    Returns
    -------
    ndarray (p,) of int64
    """
    component, columns = np.nonzero(sets.T)
    first = np.concatenate([[0], np.cumsum(np.bincount(component, minlength=sets.shape[1]))]).astype(np.int64)
    errors = np.empty(len(B), np.int64)
    tasks = split_rows(len(B), (len(X.indices) + len(columns)) // len(B) + 1)
    parts_of = CSR(first, columns.astype(np.int32))
    discrete.rows_cover(tasks, X.csr, parts_of, len(sets), B, n_sweeps, errors)
    return errors


def best_rounding(data, W, H, shares):
    """Return W and H as bools, thresholded at the pair of `shares` with the fewest mismatches.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        Sparse; its stored entries are the ones.
    W, H : ndarray (n, k), (m, k)
        Non-negative.
    shares : sequence of float
        Thresholds to try, relative to the largest entry of each column.

    Returns
    -------
    tuple of ndarray (n, k) and (m, k) of bool

    Notes
    -----
    A row of the Boolean product has at least as many ones as the largest set that it uses. Pairs whose mismatches
    exceed the best result by this bound alone are not evaluated.
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
    """Return for every row the best of the results of `flip_boolean` from each of `starts`, and its mismatches.

    Parameters
    ----------
    X : fastnmf.data.layout.Compressed
    sets : ndarray (m, k) of bool
    starts : iterable of ndarray (p, k) of bool
        Changed in place.
    """
    best, least = None, None
    for B in starts:
        errors = flip_boolean(B, X, sets)
        best = B if best is None else np.where((errors < least)[:, None], B, best)
        least = errors if least is None else np.minimum(least, errors)
    return best, least
