"""Starting factors: random draws, features, rows of the data, or the user's own.

Each start is drawn outside the kernels, from arrays of size k x n_columns or k x n_rows. `random`, `features` and
`rows` return W (n_rows, k), H (n_columns, k) and the entries v (q,) of the shifts on ``strata.pattern``, None for
models without shifts.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import aligned
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.design import DesignedStrata
from fastnmf.data.labels import known_labels
from fastnmf.data.matrix import as_csr, check_unmasked
from fastnmf.data.names import check_names, read_names
from fastnmf.data.sentences import shown
from fastnmf.kernels.row_intrinsics import padded
from fastnmf.typing import Array, Dense, Factor, Floats, Labels, Names, SparseOrDense

ROWS_PER_COMPONENT = 30
FEATURES_PER_COMPONENT = 10
MAX_SIZE = 30  # allowed binary logarithm of the largest entry of a component that the user gives


class Start:
    """Components to begin a fit with, as the `init` of an estimator: those of another model, or of arrays.

    ``init=model`` is short for ``init=model.as_start()``. The fit begins at these components, with the weights that fit
    the given data best (in the squared error), and all factors are updated from there. Multiplicative updates leave a
    zero at zero, so for them zeros become a thousandth of the factor's mean. scikit-learn's `clone` copies a Start with
    its arrays.

    Parameters
    ----------
    components : array-like (n_components, n_features)
        Not all zero; non-negative, except for models whose own components may be negative.
    W : array-like (n_samples, n_components), default=None
        Initial weights, where the samples are known; None computes them.
    shifts : array-like or sparse matrix (n_strata, n_features), default=None
        For models with strata: where a label occurs in the data, its shift begins here; others begin at half the means.
    strata : array-like (n_strata,), default=None
        The labels that `shifts` belong to.
    feature_names : array-like of str (n_features,), default=None
        Compared with the names in the data, where both exist.

    Attributes
    ----------
    components, W, shifts : ndarray of float64, or None; shifts that were given as a sparse matrix are a csr_array
    strata, feature_names : ndarray, or None

    Raises
    ------
    ValueError
        Arrays that are not two-dimensional, not finite, or that do not fit together; negative weights or shifts.
        Whether the start fits the data and the estimator is checked by `fit`.

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

    components: Floats
    W: Floats | None
    shifts: Any
    strata: Array | None
    feature_names: Array | None

    def __init__(
        self,
        components: Dense,
        *,
        W: Factor = None,
        shifts: SparseOrDense | None = None,
        strata: Labels | None = None,
        feature_names: Names | None = None,
    ):
        self.components, self.W = _matrix("components", components, is_signed=True), _matrix("W", W)
        self.shifts = _sparse("shifts", shifts) if sp.issparse(shifts) else _matrix("shifts", shifts)
        if strata is not None and (not hasattr(strata, "__len__") or not getattr(strata, "ndim", 1)):
            raise TypeError(f"strata is {shown(strata)}; expected a label for each row of shifts.")
        self.strata = None if strata is None else known_labels(strata, "strata", len(strata))
        if self.components is None or not self.components.any():
            raise ValueError(
                "The start has no components, or all of them are zero, which no update can change; pass non-zero ones."
            )
        rank, n_columns = self.components.shape
        self.feature_names = None
        if feature_names is not None:  # files keep the dtype of an array of names
            names = read_names(feature_names, n_columns)
            self.feature_names = feature_names if isinstance(feature_names, np.ndarray) else np.asarray(names.tolist())
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
        """Return the sizes of the start and the names of its optional arrays."""
        rank, n_columns = self.components.shape
        more = "".join(f", with {name}" for name in ("W", "shifts") if getattr(self, name) is not None)
        return f"<Start: {rank} components of {n_columns} features{more}>"

    def to_state(self) -> dict[str, Array]:
        """Return its arrays by name, from which ``Start(**state)`` makes it again."""
        names = ("components", "W", "shifts", "strata", "feature_names")
        return {name: getattr(self, name) for name in names}

    def check(
        self, shape: tuple[int, int], rank: int | Literal["auto"], names: Array | None, is_signed: bool = False
    ) -> None:
        """Raise a ValueError unless the start fits the data and the model.

        Parameters
        ----------
        shape : tuple of two int
            Shape (n_rows, n_columns) of the data.
        rank : int
            Number of components of the model.
        names : sequence of str, or None
            Feature names of the data.
        is_signed : bool, default=False
            Whether the components of the model may be negative.
        """
        given, (n_rows, n_columns) = self.components.shape, shape
        if given != (rank, n_columns):
            raise ValueError(
                f"init has {given[0]} components of {given[1]} features, but n_components={rank} and X has "
                f"{n_columns} features; set n_components={given[0]}, and give X the features of the start."
            )
        if not is_signed and (self.components < 0).any():
            raise ValueError("init has components with negative entries; this model needs every entry >= 0.")
        check_names(names, self.feature_names, "init")
        if self.W is not None and len(self.W) != n_rows:
            raise ValueError(f"init has W with {len(self.W)} rows for {n_rows} samples; leave W out of the start.")


def _matrix(name, values, is_signed=False):
    """Return values as a finite float64 matrix, non-negative unless is_signed; None stays None."""
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


def _sparse(name, values):
    """Return a sparse matrix as a csr_array that is checked as `_matrix` does, sorted and without duplicates."""
    values = as_csr(values, f"The start's {name}")
    _matrix(name, values.data[None])
    values = values.astype(np.float64)  # a copy
    values.sum_duplicates()
    return values


def random(strata, rank, rng, *, has_shifts=True):
    """Draw all factors from U[0, 1), scaled to the columns of the data.

    The expected model is the column means. With shifts, half comes from ``v ~ U[0, 1) * stratum mean`` and half from
    ``W ~ U[0, 1)`` and ``h_j ~ U[0, 1) * 2 mean_j / k``; without shifts, h is twice that.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    rank : int
        Number of components k.
    rng : numpy.random.Generator
    has_shifts : bool, default=True
        Whether the model has shifts.

    Returns
    -------
    W : ndarray (n_rows, k) of float64
    H : ndarray (n_columns, k)
    v : ndarray (q,), or None
        Entries of the shifts on ``strata.pattern``.
    """
    means = strata.column_means()
    v = rng.random(len(strata.pattern.group)) * strata.stratum_means() if has_shifts else None
    W = rng.random((strata.shape[0], rank))
    H = rng.random((strata.shape[1], rank)) * ((2 if has_shifts else 4) / rank * means)[:, None]
    return W, H, v


def features(strata, rank, rng, *, has_shifts=True, needs_positive=False):
    """Take half the stratum means as shifts, and means of the 30 rows richest in 10 random features as components.

    Both numbers are lower where the data are small. The features are drawn in proportion to their sums. Neither the
    order of the rows nor a row that occurs twice, or has weight two, changes the start. W = 0, and the first sweep of
    HALS solves for it. Multiplicative updates leave a zero at zero; for them W is constant and a thousandth of the
    column means is added to H.

    Parameters
    ----------
    strata, rank, rng, has_shifts :
        As for `random`, which returns the same.
    needs_positive : bool, default=False
        Whether W and H must be positive, for multiplicative updates.
    """
    n_rows, weight = strata.shape[0], strata.weight
    means = strata.column_means().astype(np.float64)
    seek = wanted_features(means, rank, rng, strata.dtype)
    rich = aligned((n_rows, seek.shape[1]), strata.dtype)
    strata.matmul(seek, rich)
    if strata.row_scale is not None:
        rich /= np.where(strata.row_scale > 0, strata.row_scale, np.inf)[:, None]
    per = rows_per_component(strata.total, rank)
    found = [_richest(rich[:, c], per, weight) for c in range(rank)]
    W, H, v = _means_of(strata, pick_of(found, n_rows), means, rng, has_shifts, needs_positive)
    return W, distinct(H, per, rng), v


def wanted_features(means, rank, rng, dtype):
    """Return the weights of random features, one column per component: one for each time that a feature was drawn.

    Parameters
    ----------
    means : ndarray (n_columns,) of float64
        Column means; the features are drawn in proportion to them.
    rank : int
    rng : numpy.random.Generator
    dtype : numpy.dtype
    """
    n_columns = len(means)
    n_features = min(FEATURES_PER_COMPONENT, max(1, n_columns // (4 * rank)))
    share = np.cumsum(means) / (means.sum() or 1.0)
    drawn = np.minimum(np.searchsorted(share, rng.random((rank, n_features))), n_columns - 1)
    seek = aligned((n_columns, padded(rank, dtype)), dtype)
    seek[:, :rank] = 1e-3 * rng.random((n_columns, rank), dtype=np.float32)  # breaks ties between equally rich rows
    np.add.at(seek, (drawn, np.arange(rank)[:, None]), 1)
    return seek


def rows_per_component(total, rank):
    """Return how many rows the mean of a component is taken of, for rows of this total weight."""
    return min(ROWS_PER_COMPONENT, max(1, int(total) // (2 * rank)))


def distinct(H, per, rng):
    """Return H, whose components are means of `per` rows, changed at random where two of them may be the same."""
    return H * rng.uniform(0.5, 1.5, H.shape) if per < ROWS_PER_COMPONENT else H


def pick_of(found, n_rows):
    """Return the coefficients of the rows, csr_array (k, n_rows), for rows and shares of each component."""
    start = np.cumsum([0] + [len(rows) for rows, _ in found])
    chosen, share = (np.concatenate([part[i] for part in found]) for i in (0, 1))
    return sp.csr_array((share, chosen, start), shape=(len(found), n_rows))


def merged_richest(parts, per, weight=None):
    """Return the rows of the highest score, and their shares, of the lists that `chunks.richest` has made of chunks.

    Parameters
    ----------
    parts : list of (ndarray, ndarray)
        Scores and numbers of rows.
    per : int
        As for `_richest`.
    weight : ndarray (n_rows,), default=None
        Of all rows.
    """
    scores, rows_ = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    order = np.lexsort((rows_, -scores))
    if weight is None:
        return rows_[order[:per]], np.full(per, 1 / per)
    taken = np.diff(np.minimum(np.cumsum(weight[rows_[order]]), per), prepend=0.0)
    return rows_[order[taken > 0]], taken[taken > 0] / per


def _richest(score, per, weight):
    """Return the rows of the highest score, of total weight `per`, and their shares of it."""
    if weight is None:
        return np.argpartition(-score, per - 1)[:per], np.full(per, 1 / per)
    order = np.argsort(-score, kind="stable")
    taken = np.diff(np.minimum(np.cumsum(weight[order]), per), prepend=0.0)
    return order[taken > 0], taken[taken > 0] / per


def _means_of(strata, pick, means, rng, has_shifts, needs_positive):
    """Return a start whose components are weighted sums of rows.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    pick : csr_array (k, n_rows)
        Coefficients of the rows, each row divided by its row scale.
    means : ndarray (n_columns,)
        Column means of the data.
    rng : numpy.random.Generator
        Not used.
    has_shifts : bool
        Whether the model has shifts.
    needs_positive : bool
        Whether W and H must be positive, for multiplicative updates.

    Returns
    -------
    W : ndarray (n_rows, k) of float64
    H : ndarray (n_columns, k)
    v : ndarray (q,), or None
        Entries of the shifts on ``strata.pattern``.
    """
    H = components_of(strata, pick, means, needs_positive)
    W = np.full((strata.shape[0], pick.shape[0]), 1 / pick.shape[0] if needs_positive else 0.0)
    if needs_positive and strata.row_scale is not None:
        W = W * strata.row_scale[:, None]
    return W, H, 0.5 * strata.stratum_means() if has_shifts else None


def components_of(strata, pick, means, needs_positive):
    """Return components that are weighted sums of rows, (n_columns, k).

    Parameters
    ----------
    strata, pick, means, needs_positive :
        As for `_means_of`.
    """
    if strata.row_scale is not None:
        pick = sp.csr_array(pick.multiply(1 / np.where(strata.row_scale > 0, strata.row_scale, np.inf)[None, :]))
    H = pick.astype(strata.dtype, copy=False) @ strata.X
    if sp.issparse(H):
        H = H.tocsc().T.toarray()  # never-densify-ok: n_columns x k, the size of the factor
    else:
        H = np.ascontiguousarray(H.T)
    # A component that drew only empty rows would be dead from the start; a small multiple of the means prevents this.
    H += ((1e-3 if needs_positive else 1e-6) * means).astype(strata.dtype)[:, None]
    return H


def rows(strata, rank, rng, *, has_shifts=True, needs_positive=False):
    """Take half the stratum means as shifts, and means of 30 random rows (or fewer) as components; W as in `features`.

    Parameters
    ----------
    strata, rank, rng, has_shifts, needs_positive :
        As for `features`, which returns the same.
    """
    pick = drawn_rows(strata.shape[0], rank, rng)
    return _means_of(strata, pick, strata.column_means(), rng, has_shifts, needs_positive)


def drawn_rows(n_rows, rank, rng):
    """Return coefficients of random rows, csr_array (rank, n_rows): the means of 30 rows for each component, or fewer.

    Parameters
    ----------
    n_rows, rank : int
    rng : numpy.random.Generator
    """
    per = min(ROWS_PER_COMPONENT, max(1, n_rows // (2 * rank)))  # with all rows, all components would be equal
    chosen = np.concatenate([rng.choice(n_rows, per, replace=False) for _ in range(rank)])
    return sp.csr_array((np.full(rank * per, 1 / per), chosen, np.arange(0, rank * per + 1, per)), (rank, n_rows))


def custom(strata, rank, W, H, V=None, *, has_shifts=True):
    """Check a user's start in scikit-learn's orientation and convert it to the inner scale.

    W and H are multiplied by ``2 ** log4_scale`` each and V by ``4 ** log4_scale``, so that not even the products of
    factors overflow.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    rank : int
        Number of components k.
    W : array-like (n_rows, k)
    H : array-like (k, n_columns)
    V : array-like or sparse matrix (n_strata, n_columns), default=None
        Shifts; needed where `has_shifts`.
    has_shifts : bool, default=True
        Whether the model has shifts.

    Returns
    -------
    W : ndarray (n_rows, k) of float64
    H : ndarray (n_columns, k) of float64
    V : ndarray or csr_array (n_strata, n_columns) of float64, or None
        All three are in the data's inner scale.

    Raises
    ------
    ValueError
        An array is missing, has a different shape, or has negative or non-finite entries; or H is zero.
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
    if sp.issparse(given.get("V")):
        given["V"] = V = shift_arrays.as_read(_sparse("V", V))
    for name, shape in expected.items():
        check_unmasked(given[name], f"The start {name}")
        array = given[name] if sp.issparse(given[name]) and name == "V" else np.asarray(given[name])
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise ValueError(f"The start {name} is an array of {array.dtype} with {array.ndim} dimensions; expected 2.")
        for axis, place in enumerate(("first", "second")):
            if array.shape[axis] != shape[axis]:
                raise ValueError(
                    f"Array with wrong {place} dimension passed to NMF (input {name}): the start {name} has shape "
                    f"{array.shape}, expected {shape}."
                )
        values = array.data if sp.issparse(array) else array
        if not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(
                f"Negative values in data passed to NMF (input {name}): the start {name} contains negative or "
                "non-finite entries; every entry must be >= 0."
            )
        if name == "H" and not array.any():
            raise ValueError(
                "Array passed to NMF (input H) is full of zeros, which no update can change; pass non-zero components."
            )
    W, H = (np.ldexp(np.asarray(F, dtype=np.float64), strata.log4_scale) for F in (W, H))
    if not has_shifts:
        return W, H.T, None
    V = V if sp.issparse(V) else np.asarray(V, dtype=np.float64)
    return W, H.T, shift_arrays.mapped(V, lambda v: np.ldexp(v, 2 * strata.log4_scale))


def _start_shifts(strata):
    """Return the initial shifts on the pattern, (q,).

    They are the stratum minima of dense data, and half the stratum means of sparse data and of designs.
    """
    if strata.is_sparse or isinstance(strata, DesignedStrata):
        return 0.5 * strata.stratum_means()
    order, n_rows = strata.groups.order, np.bincount(strata.stratum_index, minlength=strata.n_strata)
    X = strata.X
    if strata.row_scale is not None:
        row_scale = strata.row_scale[:, None]
        X = np.divide(X, row_scale, out=np.full_like(X, np.inf), where=row_scale > 0)
    begins = np.minimum(np.cumsum(n_rows) - n_rows, len(order) - 1)  # a first batch may lack the last strata
    least = np.minimum.reduceat(X[order], begins, axis=0)
    return strata.pattern.entries(np.where(np.isfinite(least), least, 0))


def _shift_rows(strata, v):
    """Return the start's shifts as a CSR array (n_strata, n_columns)."""
    pattern = strata.pattern
    return sp.csr_array((v, pattern.group, pattern.start), shape=(strata.shape[1], strata.n_strata)).T.tocsr()


def in_range(H):
    """Return H (m, k) with the components that are far from one scaled to it, by a power of two each.

    A start may be in different units from the data. The squares of its lengths, or of those of W, would then leave
    float32.
    """
    powers = np.frexp(H.max(axis=0))[1]
    return np.ldexp(H, np.where(np.abs(powers) > MAX_SIZE, -powers, 0))
