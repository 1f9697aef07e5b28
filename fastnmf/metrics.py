"""Measure a factorization, independently of the solvers that made it.

NumPy and SciPy only, float64 throughout. Shapes follow the public attributes: X (n, m) samples by features,
W (n, k) weights, H (k, m) shared components, V (S, m) shifts, one row a stratum.
"""

import numpy as np
from scipy import sparse

__all__ = ["normalized_loss", "sparseness", "topic_overlap"]

# The expansion loses the digits that cancel: below this share of its largest term the residual is formed.
_CANCELLATION = 1e-6
_CHUNK_ENTRIES = 2**21  # entries of a dense row chunk: 16 MB


def normalized_loss(X, W, H, V=None, strata=None):
    """Return sqrt( sum_i ||A(i) - 1 v(i)' - W(i) H||_F^2 / sum_i ||A(i)||_F^2 ).

    Parameters
    ----------
    X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
        The data A, all strata stacked, rows in any order. A sparse X stays sparse but for a chunk of rows.
    W : array-like of shape (n_samples, n_components)
        Weights, in the row order of X.
    H : array-like of shape (n_components, n_features)
        Shared components.
    V : array-like of shape (n_strata, n_features), default=None
        Shifts, rows in the sorted order of the labels, as `numpy.unique` gives them. One row may come as a
        vector. None: no shift, the loss of plain NMF.
    strata : array-like of shape (n_samples,), default=None
        Labels of any sortable kind. None: all rows are one stratum. Ignored where V is None.

    Returns
    -------
    loss : float
        0.0 for an all-zero X that is met exactly, inf for an all-zero X that is not.

    Raises
    ------
    ValueError
        If the shapes do not fit together or V does not have one row for each label.

    Notes
    -----
    Sparse X: the expanded form with one product X H', O(nnz k + (n + m) k^2 + S m k). Where its terms cancel,
    and for dense X, the residual itself in row chunks, O(n m k). Values may be of any scale: all is divided
    by powers of two first.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.metrics import normalized_loss
    >>> normalized_loss([[3.0, 4.0]], W=[[1.0]], H=[[3.0, 0.0]])
    0.8
    """
    W = _matrix(W, "W")
    H = _matrix(H, "H")
    if sparse.issparse(X):
        X = sparse.csr_array(X)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        values = X.data
    else:
        X = values = _matrix(X, "X", dtype=None)
    n, m = X.shape
    if W.shape[0] != n or H.shape[1] != m or W.shape[1] != H.shape[0]:
        raise ValueError(f"X {X.shape}, W {W.shape} and H {H.shape} do not fit together as X ~ W H.")
    V, stratum = _shifts(V, strata, n, m)

    # Powers of two are exact, and keep squares of 1e-200 or 1e200 within range.
    scale = _exponent(max(abs(float(values.max())), abs(float(values.min()))) if values.size else 0.0)
    largest = abs(W).max(axis=0, initial=0.0)
    scale_W = np.where(largest > 0, _exponent(largest), scale)
    W = np.ldexp(W, -scale_W)
    H = np.ldexp(H, (scale_W - scale)[:, None])
    V = np.ldexp(V, -scale)
    if sparse.issparse(X):
        scaled = np.ldexp(X.data.astype(np.float64), -scale)
        X = sparse.csr_array((scaled, X.indices, X.indptr), shape=X.shape)
        total = float(np.vdot(X.data, X.data))
        squared = _squared_gram(X, total, W, H, V, stratum)
    else:
        total, squared = 0.0, None
    if squared is None:
        total, squared = _squared_direct(X, scale, W, H, V, stratum)
    if total == 0:
        return 0.0 if squared == 0 else float("inf")
    return float(np.sqrt(squared / total))


def sparseness(F, *, axis=1):
    """Return how concentrated each component is: 0 for equal entries, 1 for a single non-zero entry.

    Parameters
    ----------
    F : array-like of shape (n_vectors, length)
        A factor. Components and shifts have one vector a row.
    axis : {0, 1}, default=1
        The axis along which the entries of one vector lie: 1 for `components_` and `shifts_`, 0 for W.

    Returns
    -------
    values : ndarray of shape (n_vectors,), float64
        In [0, 1]. A vector of zeros and a vector of length one count as 1.

    Raises
    ------
    ValueError
        If F is not a dense matrix or axis is neither 0 nor 1.

    Notes
    -----
    Hoyer 2004, Non-negative Matrix Factorization with Sparseness Constraints, JMLR 5, section 3.1:
    (sqrt(d) - |x|_1 / |x|_2) / (sqrt(d) - 1) for a vector x of length d. Independent of its scale.

    Examples
    --------
    >>> from fastnmf.metrics import sparseness
    >>> sparseness([[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 0.0]])
    array([0., 1.])
    """
    F = _matrix(F, "F")
    if axis not in (0, 1):
        raise ValueError(f"axis must be 0 or 1; got {axis!r}.")
    F = np.abs(F if axis == 1 else F.T)
    largest = F.max(axis=1, initial=0.0)
    used = largest > 0
    values = np.ones(F.shape[0])
    root = np.sqrt(F.shape[1])
    if root > 1:
        scaled = F[used] / largest[used, None]
        ratio = scaled.sum(axis=1) / np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
        values[used] = np.clip((root - ratio) / (root - 1), 0.0, 1.0)
    return values


def topic_overlap(a, b, n=10):
    """Return the mean share of top features that two lists of topics have in common, row by row.

    Parameters
    ----------
    a, b : list of lists of str, or array-like of shape (n_topics, n_features)
        Either words, strongest first, or weights, whose largest n a row count (ties: the lower index first).
        Both of the same kind. Row i of a is compared with row i of b: match the rows first.
    n : int, default=10
        How many features of each row are compared.

    Returns
    -------
    overlap : float
        Mean over rows of |top_n(a) and top_n(b)| / n, in [0, 1].

    Raises
    ------
    ValueError
        If the numbers of rows differ or are zero, a row has fewer than n entries, or words are compared with
        weights.

    Examples
    --------
    >>> from fastnmf.metrics import topic_overlap
    >>> topic_overlap([["gun", "law", "state"]], [["law", "gun", "court"]], n=2)
    1.0
    """
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}.")
    (rows_a, words_a), (rows_b, words_b) = _top_rows(a, n), _top_rows(b, n)
    if words_a != words_b:
        raise ValueError("a and b must be of one kind: both words or both weights.")
    if len(rows_a) != len(rows_b) or not rows_a:
        raise ValueError(f"a and b must have equally many rows, at least 1; got {len(rows_a)}, {len(rows_b)}.")
    return float(np.mean([len(x & y) / n for x, y in zip(rows_a, rows_b, strict=True)]))


def _matrix(values, name, dtype=np.float64):
    """Return a dense matrix as a 2-D float array."""
    if sparse.issparse(values):
        raise ValueError(f"{name} must be a dense array; got a sparse one.")
    values = np.asarray(values, dtype=dtype)
    if values.ndim != 2:
        raise ValueError(f"{name} must be two-dimensional; got shape {values.shape}.")
    return values


def _shifts(V, strata, n, m):
    """Return V as (S, m), and the stratum of each row."""
    if V is None:
        return np.zeros((1, m)), np.zeros(n, dtype=np.intp)
    V = _matrix(np.atleast_2d(V) if not sparse.issparse(V) else V, "V")
    if strata is None:
        labels, stratum = np.zeros(1), np.zeros(n, dtype=np.intp)
    else:
        strata = np.asarray(strata)
        if strata.shape != (n,):
            raise ValueError(f"strata must have one label for each of {n} rows; got shape {strata.shape}.")
        labels, stratum = np.unique(strata, return_inverse=True)
    if V.shape != (labels.size, m):
        raise ValueError(f"V must have shape {(labels.size, m)}, one row a label; got {V.shape}.")
    return V, stratum


def _exponent(values):
    """Return the exponent of two that each value is below, and not below half of; 0 for zero."""
    return np.frexp(np.asarray(values, dtype=np.float64))[1]


def _squared_gram(X, total, W, H, V, stratum):
    """Return the squared residual of a sparse X by its expansion, or None where too many digits cancel."""
    n, S = X.shape[0], V.shape[0]
    rows = sparse.csr_array((np.ones(n), (stratum, np.arange(n))), shape=(S, n))
    sizes = np.bincount(stratum, minlength=S)
    cross = float((rows @ X).multiply(V).sum()) + float(np.vdot(W, X @ H.T))
    weight_sums = rows @ W
    model = (
        float(np.vdot(W.T @ W, H @ H.T))
        + 2 * float(np.vdot(weight_sums @ H, V))
        + float(sizes @ np.einsum("ij,ij->i", V, V))
    )
    squared = total - 2 * cross + model
    largest = max(total, abs(2 * cross), abs(model))
    return squared if squared > _CANCELLATION * largest else None


def _squared_direct(X, scale, W, H, V, stratum):
    """Return the squared norm and the squared residual of X, formed in chunks of rows."""
    n, m = X.shape
    step = max(1, _CHUNK_ENTRIES // max(1, m))
    total = squared = 0.0
    for first in range(0, n, step):
        part = slice(first, first + step)
        if sparse.issparse(X):
            chunk = X[part].toarray()  # never-densify-ok: a chunk of at most 16 MB or one row
        else:
            chunk = np.ldexp(np.asarray(X[part], dtype=np.float64), -scale)
        total += float(np.vdot(chunk, chunk))
        chunk -= W[part] @ H
        chunk -= V[stratum[part]]
        squared += float(np.vdot(chunk, chunk))
    return total, squared


def _top_rows(topics, n):
    """Return the top n of each row as sets, and whether they are words."""
    if not sparse.issparse(topics) and len(topics) and isinstance(next(iter(topics[0]), None), str):
        rows = [list(row)[:n] for row in topics]
        is_words = True
    else:
        weights = _matrix(topics, "weights")
        rows = np.argsort(-weights, axis=1, kind="stable")[:, :n].tolist()
        is_words = False
    if any(len(row) < n for row in rows):
        raise ValueError(f"Every row must have at least n = {n} entries.")
    return [set(row) for row in rows], is_words
