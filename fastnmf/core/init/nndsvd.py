"""Starts from singular vectors: NNDSVD and the singular value decomposition that it needs.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from fastnmf.core.init.starts import _shift_rows, _start_shifts, rows
from fastnmf.core.thresholds import GRAM_CUT, NOISE_CUT, RANK_CUT, span_floor
from fastnmf.kernels.blas import single_threaded_blas

DENSE_SVD = 1 << 18  # entries up to which a matrix gets a full dense decomposition
SIMILAR = 0.01  # least ratio of singular values that are found from the Gram matrix of such a matrix
_EIGEN_TOLERANCE = 1e-6  # relative, of an eigenvalue: triplets within 1e-7; 0 takes a third more products


def nndsvd(strata, rank, rng, *, has_shifts=True, fill=None):
    """Split the singular vectors of ``X - 1 v0ᵀ`` into non-negative parts (Boutsidis and Gallopoulos 2008).

    v0 is the column minimum of each stratum for dense data, and half the column mean for sparse data, whose minimum is
    zero. The operator is applied implicitly and nothing dense is formed. The start depends on the seed only where
    `rng` is used. A row of weight 2 counts as two rows.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    rank : int
        Number of components k.
    rng : numpy.random.Generator
        Used for ``fill="random"``, and for components beyond the number of singular vectors.
    has_shifts : bool, default=True
        Whether the model has shifts; if not, v0 = 0.
    fill : {None, "mean", "random"}, default=None
        With "mean" (NNDSVDa), zeros become a hundredth of the mean of their column of W or H, with "random" (NNDSVDar)
        a uniform fraction of that. The original uses the mean of the data, which makes the start depend on their scale.
        With either, shifts are at least a hundredth of the stratum means, so that multiplicative updates can change
        them.

    Returns
    -------
    W : ndarray (n_rows, k) of float64
    H : ndarray (n_columns, k) of float64
    v : ndarray (q,), or None
        Entries of the shifts on ``strata.pattern``. All three are in the data's inner scale.
    """
    n_rows, n_columns = strata.shape
    v = _start_shifts(strata) if has_shifts else None
    by_stratum = _shift_rows(strata, v) if has_shifts else None
    W, H = np.zeros((n_rows, rank)), np.zeros((n_columns, rank))
    triplets = _svd(strata, by_stratum, min(rank, n_rows - 1, n_columns - 1))
    step = max(1, DENSE_SVD // (n_rows + n_columns))  # all triplets of small data at a time
    for c in range(0, len(triplets), step):
        some = [np.array(part) for part in zip(*triplets[c : c + step], strict=True)]
        W[:, c : c + len(some[0])], H[:, c : c + len(some[0])] = _non_negative_pairs(*some)
    if (root := _root_scale(strata)) is not None:
        W /= root[:, None]
    if len(triplets) < rank:  # more components than singular vectors: the others are means of random rows
        spare_W, spare_H, _ = rows(strata, rank, rng, has_shifts=False, needs_positive=True)
        W[:, len(triplets) :], H[:, len(triplets) :] = spare_W[:, len(triplets) :], spare_H[:, len(triplets) :]
    if fill:
        level, mean, scale = {"mean": np.ones, "random": rng.random}[fill], W.mean(axis=0), 1.0
        if strata.row_scale is not None:  # the mean of the rows as often as their weights say
            scale = strata.row_scale[:, None].astype(np.float64)
            rows_of_user = np.divide(W, scale, out=np.zeros_like(W), where=scale > 0)
            mean = strata.weight @ rows_of_user / strata.total
        W = np.where(W == 0, 0.01 * mean * scale * level(W.shape), W)
        H = np.where(H == 0, 0.01 * H.mean(axis=0) * level(H.shape), H)
        v = np.maximum(v, 0.01 * strata.stratum_means()) if has_shifts else None
    return W, H, v


def singular(strata, n_vectors):
    """Return the leading singular triplets (u, s, w) of the data, largest first; fewer where the rank is lower."""
    return _svd(strata, None, n_vectors)


def _root_scale(strata):
    """Return by what rows of the data are multiplied so that a row of weight 2 counts as two; None: they do already."""
    if strata.row_scale is None:
        return None
    root, scale = np.sqrt(strata.weight), strata.row_scale.astype(np.float64)
    found = np.divide(root, scale, out=np.ones_like(root), where=(scale > 0) & (root > 0))
    return None if np.allclose(found, 1, rtol=span_floor(strata.dtype), atol=0) else found


def _svd(strata, shifts, n_vectors):
    """Return the leading singular triplets (u, s, w) of X less the shifts of its rows, largest first.

    Without shifts (None) they are those of X. The list is empty where that matrix is zero. Where rows have weights, X
    and the shifts are multiplied by the row scale.
    """
    if n_vectors < 1:
        return []
    X, row_scale = strata.X, strata.row_scale
    row_scale = np.ones(strata.shape[0]) if row_scale is None else row_scale.astype(np.float64)
    if (root := _root_scale(strata)) is not None:
        X, row_scale = sp.diags_array(root) @ X, row_scale * root
    with single_threaded_blas():  # so that the bits do not depend on the number of threads
        if max(strata.shape[0], strata.n_strata) * strata.shape[1] > DENSE_SVD:
            shifts = sp.csr_array((strata.n_strata, strata.shape[1])) if shifts is None else shifts
            return _svd_of_large(X.astype(np.float64, copy=False), shifts, strata, row_scale, n_vectors)
        # ARPACK restarts at random where it has found all singular vectors. Small data may well have few of them, so
        # they get a full decomposition.
        dense = X.toarray() if strata.is_sparse else np.asarray(X)  # never-densify-ok: at most 2**18 entries
        if shifts is not None:
            rows = shifts.toarray()  # never-densify-ok: n_strata x n_columns, not larger than X here
            dense = dense - row_scale[:, None] * strata.spread(rows)
        dense = dense.astype(np.float64, copy=False)
        left, values, right = _svd_by_gram(dense, n_vectors) or np.linalg.svd(dense, full_matrices=False)
    kept = [c for c in range(n_vectors) if values[c] > RANK_CUT * values[0]]
    return [(left[:, c], values[c], right[c]) for c in kept]


def _svd_by_gram(X, n_vectors):
    """Return the leading singular triplets as `numpy.linalg.svd` does, in less than half the time, or None.

    They are eigenvectors of the smaller Gram matrix. Its rounding is that of the squares of the singular values, so
    that this is for values of similar size only: then the triplets are those of a full decomposition up to 1e-12.

    Parameters
    ----------
    X : ndarray (n_rows, n_columns) of float64
    n_vectors : int
        At least 1.
    """
    is_tall = X.shape[0] >= X.shape[1]
    squares, vectors = np.linalg.eigh(X.T @ X if is_tall else X @ X.T)  # ascending; some of them take as long as all
    values, vectors = np.sqrt(np.maximum(squares, 0))[: -n_vectors - 1 : -1], vectors[:, : -n_vectors - 1 : -1]
    if not values[-1] > SIMILAR * values[0]:
        return None
    if is_tall:
        return X @ vectors / values, values, vectors.T
    return vectors, values, (X.T @ vectors / values).T


def _svd_of_large(X, shifts, strata, row_scale, n_vectors):
    """Return the triplets of `_svd` through the eigenvectors of the smaller Gram operator, which is never formed.

    On 20 newsgroups, 20 triplets take a hundred products with X and with its transpose. The transpose is stored once as
    CSR, so that both products gather; a product with the transposed view would scatter.

    Parameters
    ----------
    X : csr_array or ndarray (n_rows, n_columns) of float64
    shifts : csr_array (n_strata, n_columns)
    strata : Strata
        Says which shifts a row has.
    row_scale : ndarray (n_rows,) of float64
    n_vectors : int
        Number of triplets, at least 1.

    Returns
    -------
    triplets : list of (ndarray (n_rows,), float, ndarray (n_columns,))
        Left vector, singular value, right vector; largest first.
    """
    turned, shifts_turned = (sp.csr_array(X.T), sp.csr_array(shifts.T)) if sp.issparse(X) else (X.T, shifts.T)

    def over_columns(x):
        return X @ x - row_scale * strata.spread(shifts @ x)

    def over_rows(y):
        return turned @ y - shifts_turned @ strata.collect(row_scale * y)

    inner, outer = (over_rows, over_columns) if X.shape[0] <= X.shape[1] else (over_columns, over_rows)
    size = min(X.shape)
    gram = LinearOperator((size, size), matvec=lambda x: outer(inner(x.ravel())), dtype=np.float64)
    first = np.random.default_rng(0).standard_normal(size)  # fixed, so that the result depends on the data only
    try:
        squares, vectors = eigsh(gram, n_vectors, v0=first, tol=_EIGEN_TOLERANCE)
    except ArpackError:  # the operator is zero: the shifts explain everything
        return []
    values, triplets = np.sqrt(np.maximum(squares, 0)), []
    for c in np.argsort(values)[::-1]:
        if values[c] > GRAM_CUT * values.max():
            pair = vectors[:, c], inner(vectors[:, c]) / values[c]
            u, w = pair if X.shape[0] <= X.shape[1] else pair[::-1]
            triplets.append((u, values[c], w))
    return triplets


def _non_negative_pairs(left, values, right):
    """Return the larger of the positive and the negative parts of each ``s u wᵀ``, as balanced non-negative vectors.

    Parameters
    ----------
    left, right : ndarray (r, n_rows), (r, n_columns)
        The singular vectors u and w of the triplets.
    values : ndarray (r,)
        Their singular values s.

    Returns
    -------
    W, H : ndarray (n_rows, r), (n_columns, r)
    """
    parts = [np.maximum([vectors, -vectors], 0) for vectors in (left, right)]
    lengths = [np.sqrt(np.einsum("src,src->sr", part, part)) for part in parts]
    sizes, each = lengths[0] * lengths[1], np.arange(len(values))
    sign = (sizes[1] > sizes[0]).astype(int)
    scale, found = np.sqrt(values * sizes[sign, each]), []
    for part, length in zip(parts, lengths, strict=True):
        factor = np.divide(scale, length[sign, each], out=np.ones(len(scale)), where=scale > 0)
        F = part[sign, each] * factor[:, None]
        # Signs of near-zero entries are noise: cut them relative to the largest, whatever the scale of the data.
        found.append(np.where(F > NOISE_CUT * F.max(axis=1, keepdims=True), F, 0).T)
    return found
