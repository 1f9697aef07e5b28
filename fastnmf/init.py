"""Starting factors. Every start is drawn from things of size k x n_columns, or k x n_rows, outside the kernels.

Each function returns W (n_rows, k), H (n_columns, k) and the entries v (q,) of the shifts on ``strata.pattern``, None
for models without shifts.
"""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from fastnmf.blas import single_threaded_blas
from fastnmf.kernels.simd import padded
from fastnmf.problem import aligned

ROWS_PER_COMPONENT = 30
FEATURES_PER_COMPONENT = 10
DENSE_SVD = 1 << 18  # entries of a matrix small enough for all its singular vectors
_EIGEN_TOLERANCE = 1e-6  # of an eigenvalue; triplets within 1e-7, where 0 takes a third more products
_GRAM_CUT = 1e-7  # singular values below this share of the largest are rounding: their squares are lost in its square


class Start:
    """Components to begin a fit with, as the `init` of an estimator: those of another model, or of arrays.

    ``init=model`` is short for ``init=model.as_start()``. The fit begins at these components, with the weights that fit
    the data at hand best (in the squared error), and everything moves from there. Multiplicative updates cannot leave a
    zero, so for them zeros become a thousandth of the factor's mean. scikit-learn's `clone` copies a Start with its
    arrays.

    Parameters
    ----------
    components : array-like (n_components, n_features)
        Not all zero; non-negative for all models but those whose own may be negative.
    W : array-like (n_samples, n_components), default=None
        Weights to begin with, where the samples are known; None finds them.
    shifts : array-like (n_strata, n_features), default=None
        For models with strata: where a label occurs in the data, its shift begins here; others at half the means.
    strata : array-like (n_strata,), default=None
        The labels that `shifts` belong to.
    feature_names : array-like of str (n_features,), default=None
        Compared with the names in the data, where both are there.

    Attributes
    ----------
    components, W, shifts : ndarray of float64, or None
    strata, feature_names : ndarray, or None

    Raises
    ------
    ValueError
        Arrays that are not two-dimensional, not finite, or that do not fit together; negative weights or shifts. What
        does not fit the data or the estimator is said by its `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF, Start
    >>> X = np.outer([1.0, 2, 3], [1.0, 0, 2])
    >>> NMF(1, init=Start([[1.0, 0, 2]]), max_iter=1, tol=0).fit(X).W_
    array([[1.],
           [2.],
           [3.]])
    """

    def __init__(self, components, *, W=None, shifts=None, strata=None, feature_names=None):
        self.components, self.W = _matrix("components", components, is_signed=True), _matrix("W", W)
        self.shifts = _matrix("shifts", shifts)
        self.strata = None if strata is None else np.asarray(strata)
        self.feature_names = None if feature_names is None else np.asarray(feature_names)
        if self.components is None or not self.components.any():
            raise ValueError("The start has no components, or they are all zero and cannot move; give some.")
        rank, n_columns = self.components.shape
        if self.W is not None and self.W.shape[1] != rank:
            raise ValueError(f"The start W has {self.W.shape[1]} columns for {rank} components.")
        if (self.shifts is None) != (self.strata is None):
            raise ValueError("shifts and strata belong together: give both, a label for each shift, or none.")
        if self.shifts is not None and self.shifts.shape != (len(self.strata), n_columns):
            raise ValueError(
                f"The start's shifts have shape {self.shifts.shape}, expected {(len(self.strata), n_columns)}: a row "
                "for each label."
            )

    def __repr__(self):
        """Return what is in it."""
        rank, n_columns = self.components.shape
        more = "".join(f", with {name}" for name in ("W", "shifts") if getattr(self, name) is not None)
        return f"<Start: {rank} components of {n_columns} features{more}>"

    def state(self):
        """Return its arrays by name, from which ``Start(**state)`` makes it again."""
        return dict(vars(self))

    def check(self, shape, rank, names, is_signed=False):
        """Raise unless the start fits data of this shape (and feature names, if any) and a model of this rank."""
        given, (n_rows, n_columns) = self.components.shape, shape
        if given != (rank, n_columns):
            raise ValueError(
                f"init brings {given[0]} components of {given[1]} features, but n_components={rank} and X has "
                f"{n_columns} features; set n_components={given[0]}, and bring X to the features of the start."
            )
        if not is_signed and (self.components < 0).any():
            raise ValueError("init brings components with negative entries; this model needs every entry >= 0.")
        if names is not None and self.feature_names is not None and list(names) != list(self.feature_names):
            raise ValueError("init brings components of other feature names than X has; bring the columns into order.")
        if self.W is not None and len(self.W) != n_rows:
            raise ValueError(f"init brings W of {len(self.W)} rows for {n_rows} samples; leave W out of the start.")


def _matrix(name, values, is_signed=False):
    """Return values as a finite float64 matrix, non-negative unless is_signed; None as it is."""
    if values is None:
        return None
    values = np.asarray(values)
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise ValueError(f"The start's {name} is an array of {values.dtype}, shape {values.shape}; expected a matrix.")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"The start's {name} has entries that are not finite; every entry must be a number.")
    if not is_signed and (values < 0).any():
        raise ValueError(f"The start's {name} has negative entries; every entry must be >= 0.")
    return values


def random(strata, rank, rng, *, has_shifts=True):
    """Draw all factors from U[0, 1), scaled to the columns of the data.

    The expected model is the column means: with shifts, half from ``v ~ U[0, 1) * stratum mean`` and half from
    ``W ~ U[0, 1)`` and ``h_j ~ U[0, 1) * 2 mean_j / k``; without, h is twice that.
    """
    means = strata.column_means()
    v = rng.random(len(strata.pattern.group)) * strata.stratum_means() if has_shifts else None
    W = rng.random((strata.shape[0], rank))
    H = rng.random((strata.shape[1], rank)) * ((2 if has_shifts else 4) / rank * means)[:, None]
    return W, H, v


def features(strata, rank, rng, *, has_shifts=True, needs_positive=False):
    """Take half the stratum means as shifts, and as components means of the 30 rows richest in 10 random features.

    (Or fewer, of both, where the data are small.)

    What is drawn are features, in proportion to their sums: neither the order of the rows nor a row that is there
    twice, or has weight two, changes the start. W = 0, which the first sweep of HALS solves for; for multiplicative
    updates, which never leave a zero, W is constant and a thousandth of the column means is added to H.
    """
    n_rows, n_columns = strata.shape
    means, weight = strata.column_means().astype(np.float64), strata.weight
    n_features = min(FEATURES_PER_COMPONENT, max(1, n_columns // (4 * rank)))
    share = np.cumsum(means) / (means.sum() or 1.0)
    drawn = np.minimum(np.searchsorted(share, rng.random((rank, n_features))), n_columns - 1)
    seek = aligned((n_columns, padded(rank, strata.dtype)), strata.dtype)
    seek[:, :rank] = 1e-3 * rng.random((n_columns, rank), dtype=np.float32)  # decides between rows that are as rich
    for c in range(rank):
        np.add.at(seek[:, c], drawn[c], 1)
    rich = aligned((n_rows, seek.shape[1]), strata.dtype)
    strata.matmul(seek, rich)
    if strata.loading is not None:
        rich /= np.where(strata.loading > 0, strata.loading, np.inf)[:, None]
    per = min(ROWS_PER_COMPONENT, max(1, int(strata.total) // (2 * rank)))
    found = [_richest(rich[:, c], per, weight) for c in range(rank)]
    start = np.cumsum([0] + [len(rows) for rows, _ in found])
    chosen, share = (np.concatenate([part[i] for part in found]) for i in (0, 1))
    pick = sp.csr_array((share, chosen, start), shape=(rank, n_rows))
    W, H, v = _means_of(strata, pick, means, rng, has_shifts, needs_positive)
    if per < ROWS_PER_COMPONENT:  # few rows: two components may well be the same one
        H = H * rng.uniform(0.5, 1.5, H.shape)
    return W, H, v


def _richest(score, per, weight):
    """Return the rows of the highest score, `per` by weight, and their shares."""
    if weight is None:
        return np.argpartition(-score, per - 1)[:per], np.full(per, 1 / per)
    order = np.argsort(-score, kind="stable")
    taken = np.diff(np.minimum(np.cumsum(weight[order]), per), prepend=0.0)
    return order[taken > 0], taken[taken > 0] / per


def _means_of(strata, pick, means, rng, has_shifts, needs_positive):
    """Return a start whose components are the mixtures `pick` (k, n_rows), sparse, of the unloaded rows."""
    rank, n_rows = pick.shape
    if strata.loading is not None:
        pick = pick.multiply(1 / np.where(strata.loading > 0, strata.loading, np.inf)[None, :])
    H = sp.csr_array(pick.astype(strata.dtype)) @ strata.X
    if sp.issparse(H):
        H = H.tocsc().T.toarray()  # never-densify-ok: n_columns x k, the size of the factor
    else:
        H = np.ascontiguousarray(H.T)
    # A component that drew only empty rows would be dead from the start; a trace of the means keeps it alive.
    H += ((1e-3 if needs_positive else 1e-6) * means).astype(strata.dtype)[:, None]
    W = np.full((n_rows, rank), 1 / rank if needs_positive else 0.0)
    if needs_positive and strata.loading is not None:
        W = W * strata.loading[:, None]
    return W, H, 0.5 * strata.stratum_means() if has_shifts else None


def rows(strata, rank, rng, *, has_shifts=True, needs_positive=False):
    """Take half the stratum means as shifts, means of 30 random rows (or fewer) as components, and W as `features`."""
    n_rows = strata.shape[0]
    per = min(ROWS_PER_COMPONENT, max(1, n_rows // (2 * rank)))  # of all rows, all components would start alike
    chosen = np.concatenate([rng.choice(n_rows, per, replace=False) for _ in range(rank)])
    pick = sp.csr_array((np.full(rank * per, 1 / per), chosen, np.arange(0, rank * per + 1, per)), (rank, n_rows))
    return _means_of(strata, pick, strata.column_means(), rng, has_shifts, needs_positive)


def nndsvd(strata, rank, rng, *, has_shifts=True, fill=None):
    """Split the singular vectors of ``X - 1 v0ᵀ`` into non-negative parts (Boutsidis and Gallopoulos 2008).

    v0 is the column minimum of each stratum for dense data, and half the column mean for sparse data, whose minimum
    is zero. The operator is applied implicitly and nothing dense is formed. The start does not depend on the seed.
    With ``fill="mean"`` (NNDSVDa), zeros become a hundredth of the mean of their column of W or H (not of the data, as
    in the original, which makes the start depend on the scale), with ``"random"`` (NNDSVDar) up to that; shifts are
    then at least a hundredth of the stratum means, so that multiplicative updates can move them.
    """
    n_rows, n_columns = strata.shape
    v = _start_shifts(strata) if has_shifts else None
    by_stratum = _shift_rows(strata, v) if has_shifts else sp.csr_array((strata.n_strata, n_columns))
    W, H = np.zeros((n_rows, rank)), np.zeros((n_columns, rank))
    triplets = _svd(strata, by_stratum, min(rank, n_rows - 1, n_columns - 1))
    for c, (u, s, w) in enumerate(triplets):
        W[:, c], H[:, c] = _non_negative_pair(u, s, w)
    if len(triplets) < rank:  # more components than singular vectors: the rest is means of random rows
        spare_W, spare_H, _ = rows(strata, rank, rng, has_shifts=False, needs_positive=True)
        W[:, len(triplets) :], H[:, len(triplets) :] = spare_W[:, len(triplets) :], spare_H[:, len(triplets) :]
    if fill:
        level = {"mean": np.ones, "random": rng.random}[fill]
        W, H = (np.where(F == 0, 0.01 * F.mean(axis=0) * level(F.shape), F) for F in (W, H))
        v = np.maximum(v, 0.01 * strata.stratum_means()) if has_shifts else None
    return W, H, v


def custom(strata, rank, W, H, V=None, *, has_shifts=True):
    """Check a start in scikit-learn's orientation: W (n_rows, k), H (k, n_columns), V (n_strata, n_columns).

    Returns W, H (n_columns, k) and the dense V, float64, in the data's inner scale: its exponent goes to V whole, and
    half to each of W and H, so that not even the products of factors overflow.
    """
    n_rows, n_columns = strata.shape
    expected = {"W": (n_rows, rank), "H": (rank, n_columns), "V": (strata.n_strata, n_columns)}
    given = {"W": W, "H": H, "V": V}
    if not has_shifts:
        del expected["V"], given["V"]
    missing = [name for name, array in given.items() if array is None]
    if missing:
        names = ", ".join(given)
        raise ValueError(f"init='custom' needs a start: pass {names} to fit ({', '.join(missing)} missing).")
    for name, shape in expected.items():
        array = np.asarray(given[name])
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise ValueError(f"The start {name} is an array of {array.dtype} with {array.ndim} dimensions; expected 2.")
        for axis, place in enumerate(("first", "second")):
            if array.shape[axis] != shape[axis]:
                raise ValueError(
                    f"Array with wrong {place} dimension passed to NMF (input {name}): the start {name} has shape "
                    f"{array.shape}, expected {shape}."
                )
        if not np.isfinite(array).all() or (array < 0).any():
            raise ValueError(
                f"Negative values in data passed to NMF (input {name}): the start {name} contains negative or "
                "non-finite entries; every entry must be >= 0."
            )
        if name == "H" and not array.any():
            raise ValueError("Array passed to NMF (input H) is full of zeros: components of zero cannot move.")
    W, H = (np.ldexp(np.asarray(F, dtype=np.float64), strata.exponent) for F in (W, H))
    return W, H.T, np.ldexp(np.asarray(V, dtype=np.float64), 2 * strata.exponent) if has_shifts else None


def _start_shifts(strata):
    if strata.is_sparse:
        return 0.5 * strata.stratum_means()
    order, n_rows = strata.groups.order, np.bincount(strata.codes, minlength=strata.n_strata)
    X = strata.X
    if strata.loading is not None:
        loading = strata.loading[:, None]
        X = np.divide(X, loading, out=np.full_like(X, np.inf), where=loading > 0)
    least = np.minimum.reduceat(X[order], np.cumsum(n_rows) - n_rows, axis=0)
    return strata.pattern.entries(np.where(np.isfinite(least), least, 0))


def _shift_rows(strata, v):
    """Return the start's shifts as a CSR array (n_strata, n_columns)."""
    pattern = strata.pattern
    return sp.csr_array((v, pattern.group, pattern.start), shape=(strata.shape[1], strata.n_strata)).T.tocsr()


def singular(strata, n_vectors):
    """Return the leading singular triplets (u, s, w) of the data, largest first; fewer where the rank is lower."""
    return _svd(strata, sp.csr_array((strata.n_strata, strata.shape[1])), n_vectors)


def anchors(operator, row_square_sums, rank, mass):
    """Return rows of a symmetric matrix that others are mixtures of, by successive projection (Arora et al. 2013).

    Rows are scaled to sum one; each step takes the one that is farthest from the span of those before. Costs two
    products with a vector a step.

    Parameters
    ----------
    operator : fastnmf.terms.structured.Operator
        Symmetric, non-negative, (p, p).
    row_square_sums : ndarray (p,)
    rank : int
    mass : float
        Only the rows with the largest sums are taken: those that together hold this share of the total.

    Returns
    -------
    found : ndarray (k,) of int
        At most `rank`: fewer where the rows span less.
    rows : ndarray (p, k)
        The scaled rows, as columns.
    sums : ndarray (p,)
        Sums of all rows, 1 for rows of zeros.
    """
    dtype, size = operator.strata.dtype, operator.size
    held = aligned((size, padded(1, dtype)), dtype)

    def product(vector):
        held[:, 0] = vector
        return operator.matmul(held)[:, 0].astype(np.float64)

    sums = product(np.ones(size))
    order = np.argsort(-sums, kind="stable")
    n_heavy = np.searchsorted(np.cumsum(sums[order]), mass * sums.sum()) + 1
    may = np.zeros(size, bool)
    may[order[: max(n_heavy, rank)]] = True
    may, sums = may & (sums > 0), np.where(sums > 0, sums, 1.0)
    far = np.where(may, row_square_sums / sums**2, 0.0)
    least, found, basis, rows = 1e-10 * far.max(), [], np.zeros((size, 0)), np.zeros((size, 0))
    while len(found) < rank and far.max() > least:
        i = int(np.argmax(far))
        row = product(np.arange(size) == i) / sums[i]
        rest = row - basis @ (basis.T @ row)
        rest = rest - basis @ (basis.T @ rest)  # once more: what is left of a close row is mostly rounding
        length = np.linalg.norm(rest)
        far[i] = 0.0
        if length**2 <= least:
            continue
        found.append(i)
        basis, rows = np.column_stack([basis, rest / length]), np.column_stack([rows, row])
        far = np.where(far > 0, np.maximum(far - (product(rest / length) / sums) ** 2, 0), 0)
    return np.array(found, dtype=np.int64), rows, sums


def _svd(strata, shifts, n_vectors):
    """Return the leading singular triplets (u, s, w) of ``X - shifts[codes]``, largest first; none if it vanishes.

    Where rows have weights, X and the shifts are multiplied by the loading.
    """
    if n_vectors < 1:
        return []
    codes, X, loading = strata.codes, strata.X, strata.loading
    loading = np.ones(len(codes)) if loading is None else loading.astype(np.float64)
    with single_threaded_blas():  # other numbers of threads would give other bits
        if max(strata.shape[0], strata.n_strata) * strata.shape[1] > DENSE_SVD:
            return _svd_of_large(X.astype(np.float64, copy=False), shifts, codes, loading, n_vectors)
        # ARPACK restarts at random where it has found all there is; so small data, which may well have few singular
        # vectors, take all of them
        dense = X.toarray() if strata.is_sparse else np.asarray(X)  # never-densify-ok: at most 2**18 entries
        rows = shifts.toarray()  # never-densify-ok: n_strata x n_columns, not larger than X here
        left, values, right = np.linalg.svd(dense - loading[:, None] * rows[codes], full_matrices=False)
    kept = [c for c in range(n_vectors) if values[c] > 1e-10 * values[0]]
    return [(left[:, c], values[c], right[c]) for c in kept]


def _svd_of_large(X, shifts, codes, loading, n_vectors):
    """Return the triplets of `_svd` through the eigenvectors of the smaller Gram operator, which is never formed.

    On 20 newsgroups, 20 triplets take a hundred products with X and with its transpose, which is turned once: as it
    comes it would scatter.
    """
    turned, shifts_turned = (sp.csr_array(X.T), sp.csr_array(shifts.T)) if sp.issparse(X) else (X.T, shifts.T)
    n_strata = shifts.shape[0]

    def over_columns(x):
        return X @ x - loading * (shifts @ x)[codes]

    def over_rows(y):
        return turned @ y - shifts_turned @ np.bincount(codes, loading * y, minlength=n_strata)

    inner, outer = (over_rows, over_columns) if X.shape[0] <= X.shape[1] else (over_columns, over_rows)
    size = min(X.shape)
    gram = LinearOperator((size, size), matvec=lambda x: outer(inner(x.ravel())), dtype=np.float64)
    first = np.random.default_rng(0).standard_normal(size)  # fixed: the result is that of the data
    try:
        squares, vectors = eigsh(gram, n_vectors, v0=first, tol=_EIGEN_TOLERANCE)
    except ArpackError:  # the operator is zero: the shifts explain everything
        return []
    values, triplets = np.sqrt(np.maximum(squares, 0)), []
    for c in np.argsort(values)[::-1]:
        if values[c] > _GRAM_CUT * values.max():
            pair = vectors[:, c], inner(vectors[:, c]) / values[c]
            u, w = pair if X.shape[0] <= X.shape[1] else pair[::-1]
            triplets.append((u, values[c], w))
    return triplets


def _non_negative_pair(u, s, w):
    """Return the larger of the positive and the negative part of ``s u wᵀ``, as two balanced non-negative vectors."""
    parts = [(np.maximum(sign * u, 0), np.maximum(sign * w, 0)) for sign in (1, -1)]
    lengths = [(np.linalg.norm(a), np.linalg.norm(b)) for a, b in parts]
    best = int(lengths[1][0] * lengths[1][1] > lengths[0][0] * lengths[0][1])
    (a, b), (length_a, length_b) = parts[best], lengths[best]
    if length_a * length_b == 0:
        return a, b
    scale = np.sqrt(s * length_a * length_b)
    a, b = a / length_a * scale, b / length_b * scale
    # Signs of near-zero entries are noise: cut them relative to the largest, so that the cut does not see the scale.
    return np.where(a > 1e-6 * a.max(), a, 0), np.where(b > 1e-6 * b.max(), b, 0)
