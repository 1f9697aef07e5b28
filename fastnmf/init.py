"""Starting factors. Every start is drawn from things of size k x n_columns, or k x n_rows, outside the kernels.

Each function returns W (n_rows, k), H (n_columns, k) and the entries v (q,) of the shifts on ``strata.pattern``, None
for models without shifts.
"""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import ArpackError, LinearOperator, svds

ROWS_PER_COMPONENT = 30


def random(strata, rank, rng, *, has_shifts=True):
    """Draw all factors from U[0, 1), scaled to the columns of the data.

    The expected model is the column means: with shifts, half from ``v ~ U[0, 1) * stratum mean`` and half from
    ``W ~ U[0, 1)`` and ``h_j ~ U[0, 1) * 2 mean_j / k``; without, h is twice that.
    """
    means = strata.column_means()
    v = rng.random(len(strata.pattern.group)) * _stratum_means(strata) if has_shifts else None
    W = rng.random((strata.shape[0], rank))
    H = rng.random((strata.shape[1], rank)) * ((2 if has_shifts else 4) / rank * means)[:, None]
    return W, H, v


def rows(strata, rank, rng, *, has_shifts=True, needs_positive=False):
    """Take half the stratum means as shifts, and the means of 30 random rows (or fewer) as components, with W = 0.

    The first sweep of HALS solves for W. For multiplicative updates, which never leave a zero, W is drawn from
    U[0, 1) * 2 / k and a thousandth of the column means is added to H.
    """
    n_rows, n_columns = strata.shape
    per = min(ROWS_PER_COMPONENT, max(1, n_rows // (2 * rank)))  # of all rows, all components would start alike
    chosen = np.concatenate([rng.choice(n_rows, per, replace=False) for _ in range(rank)])
    pick = sp.csr_array(
        (np.full(rank * per, 1 / per, strata.dtype), chosen, np.arange(0, rank * per + 1, per)), shape=(rank, n_rows)
    )
    H = pick @ strata.X
    H = (H.toarray() if sp.issparse(H) else H).T  # never-densify-ok: k x n_columns, the size of the factor
    means = strata.column_means()
    # A component that drew only empty rows would be dead from the start; a trace of the means keeps it alive.
    H = H + (1e-3 if needs_positive else 1e-6) * means[:, None]
    W = rng.random((n_rows, rank)) * 2 / rank if needs_positive else np.zeros((n_rows, rank))
    return W, H, 0.5 * _stratum_means(strata) if has_shifts else None


def nndsvd(strata, rank, rng, *, has_shifts=True, fill=False):
    """Split the singular vectors of ``X - 1 v0ᵀ`` into non-negative parts (Boutsidis and Gallopoulos 2008).

    v0 is the column minimum of each stratum for dense data, and half the column mean for sparse data, whose minimum
    is zero. The operator is applied implicitly and nothing dense is formed. The start does not depend on the seed.
    With `fill` (NNDSVDa), zeros become a hundredth of the mean of their column of W or H (not of the data, as in the
    original, which makes the start depend on the scale), and shifts are at least a hundredth of the stratum means, so
    that multiplicative updates can move them.
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
        W, H = (np.where(F == 0, 0.01 * F.mean(axis=0), F) for F in (W, H))
        v = np.maximum(v, 0.01 * _stratum_means(strata)) if has_shifts else None
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
        if array.shape != shape or array.dtype.kind not in "fiub":
            raise ValueError(f"The start {name} has shape {array.shape}, expected numbers of shape {shape}.")
        if not np.isfinite(array).all() or (array < 0).any():
            raise ValueError(f"The start {name} contains negative or non-finite entries; every entry must be >= 0.")
    W, H = (np.ldexp(np.asarray(F, dtype=np.float64), strata.exponent) for F in (W, H))
    return W, H.T, np.ldexp(np.asarray(V, dtype=np.float64), 2 * strata.exponent) if has_shifts else None


def _stratum_means(strata):
    return strata.pattern.sums / strata.groups.sizes[strata.pattern.group]


def _start_shifts(strata):
    if strata.is_sparse:
        return 0.5 * _stratum_means(strata)
    order, start = strata.groups.order, np.concatenate([[0], np.cumsum(strata.groups.sizes)])[:-1]
    return strata.pattern.entries(np.minimum.reduceat(strata.X[order], start, axis=0))


def _shift_rows(strata, v):
    """Return the start's shifts as a CSR array (n_strata, n_columns)."""
    pattern = strata.pattern
    return sp.csr_array((v, pattern.group, pattern.start), shape=(strata.shape[1], strata.n_strata)).T.tocsr()


def _svd(strata, shifts, n_vectors):
    """Return the leading singular triplets (u, s, w) of ``X - shifts[codes]``, largest first; none if it vanishes."""
    codes, X = strata.codes, strata.X
    ones, bounds = np.ones(len(codes)), np.arange(len(codes) + 1)
    indicator = sp.csr_array((ones, codes, bounds), shape=(len(codes), strata.n_strata))
    operator = LinearOperator(
        strata.shape,
        matvec=lambda x: X @ x.ravel() - indicator @ (shifts @ x.ravel()),
        rmatvec=lambda y: X.T @ y.ravel() - shifts.T @ (indicator.T @ y.ravel()),
        dtype=np.float64,
    )
    if n_vectors < 1:
        return []
    first = np.random.default_rng(0).standard_normal(min(strata.shape))  # fixed: the result is that of the data
    try:
        left, values, right = svds(operator, k=n_vectors, v0=first, solver="arpack")
    except ArpackError:  # the operator is zero: the shifts explain everything
        return []
    kept = [c for c in np.argsort(values)[::-1] if values[c] > 1e-10 * values.max()]
    return [(left[:, c], values[c], right[c]) for c in kept]


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
