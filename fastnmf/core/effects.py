"""Choose a canonical form of a fit with a design: the model ``Z V + W H`` does not determine its effects V.

Two moves change no entry of the model. A row c of weights moves from the rows to a column of Z: ``V[s] + cᵀH`` and
``W - Z[:, s] cᵀ``. And where the columns of a block of Z add up to another column, a number b moves from the shifts of
the block to the shift of that column: ``V[0] + b`` and ``V[s] - b`` for each s of the block. `design_gauge` makes the
first move, `least_into_intercept` the second. There W is (n, k), H (k, m) and V (q, m), as in the public attributes.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.shifts import apply_gauge, take_components
from fastnmf.core.thresholds import rounding
from fastnmf.data.design import HasDesign
from fastnmf.data.layout import row_index
from fastnmf.data.sentences import shown
from fastnmf.kernels.blas import single_threaded_blas

GAUGES = ("max_shift", "min_shift", None)


def gauged(data, W, H, V, gauge):
    """Return equivalent W and V in a canonical form, of strata or of a design.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        The data of the fit.
    W, H, V, gauge :
        As for `design_gauge`.
    """
    if isinstance(data, HasDesign):
        return design_gauge(W, H, V, data.design, gauge)
    return apply_gauge(W, H, V, data.stratum_index, gauge)


def design_gauge(W, H, V, Z, gauge):
    """Return equivalent W and V in a canonical form, for shifts that rows have in the proportions Z.

    Parameters
    ----------
    W : ndarray (n, k)
        Weights of the rows.
    H : ndarray (k, m)
        Components.
    V : ndarray or csr_array (q, m)
        Shifts.
    Z : csr_array (n, q)
        Non-negative design.
    gauge : {"max_shift", "min_shift", None}
        ``"max_shift"``: one column of Z after the other gets of each component as much as all its rows have in common:
        ``c`` is the least of ``w / z`` over the rows with z > 0. ``"min_shift"``: one component after the other takes
        from each shift as much as leaves it non-negative. None: no change.

    Returns
    -------
    W, V : ndarray, or csr_array for V
        New arrays of the same dtypes. ``Z V + W H`` is the same up to rounding; all are non-negative. A shift without
        rows is kept.

    Raises
    ------
    ValueError
        For a gauge that is not known.

    Notes
    -----
    Where each row has one shift, this is `fastnmf.core.shifts.apply_gauge`, and ``"max_shift"`` is unique. Where shifts
    overlap, what a column takes is no longer there for those after it: the result depends on the order of the columns.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> from fastnmf.core.effects import design_gauge
    >>> Z = sp.csr_array([[1.0, 0.0], [1.0, 1.0]])
    >>> W, V = design_gauge(np.array([[2.0], [5.0]]), np.array([[1.0, 3.0]]), np.zeros((2, 2)), Z, "max_shift")
    >>> W.ravel(), V
    (array([0., 0.]), array([[2., 6.],
           [3., 9.]]))
    """
    if gauge not in GAUGES:
        raise ValueError(f"gauge={shown(gauge)} is not known; expected one of 'max_shift', 'min_shift', None.")
    if gauge is None:
        return W.copy(), V.copy()
    by_column = sp.csc_array(Z, dtype=np.float64)
    if gauge == "max_shift":
        return _towards_shifts(W, H, V, by_column)
    shifts, taken = take_components(V, H, np.asarray(by_column.sum(axis=0)) > 0)
    return (W + Z @ taken).astype(W.dtype), shifts.astype(V.dtype)


def _towards_shifts(W, H, V, Z):
    """Return W and V after each column of Z, in turn, has taken what its rows have in common.

    Parameters
    ----------
    W, H, V : as for `design_gauge`
    Z : csc_array (n, q) of float64
    """
    left, taken = W.astype(np.float64), np.zeros((V.shape[0], W.shape[1]))
    for s in range(Z.shape[1]):
        part = slice(Z.indptr[s], Z.indptr[s + 1])
        rows, z = Z.indices[part][Z.data[part] > 0], Z.data[part][Z.data[part] > 0]
        if len(rows) == 0:
            continue
        taken[s] = (left[rows] / z[:, None]).min(axis=0)
        # A tiny remainder is rounding: set to zero, so that a second call changes nothing.
        after = left[rows] - z[:, None] * taken[s]
        left[rows] = np.where(after > rounding(W.dtype) * left[rows], after, 0)
    H = H.astype(np.float64)
    with single_threaded_blas():
        shifts = V + (sp.csr_array(taken) @ sp.csr_array(H) if sp.issparse(V) else taken @ H)
    if sp.issparse(shifts):
        shifts.sum_duplicates()
    return left.astype(W.dtype), shifts.astype(V.dtype)


def least_into_intercept(V, Z, intercept, blocks):
    """Return shifts whose least level of each block is zero in every feature; the intercept has got the difference.

    Of each feature the least of the shifts of a block is subtracted from all of them, and added to the shift of the
    intercept. Effects of fits that differ by this choice alone are then the same.

    Parameters
    ----------
    V : ndarray or csr_array (q, m)
        Shifts.
    Z : csr_array (n, q)
        Non-negative design.
    intercept : int
        The shift that all rows have, a column of Z.
    blocks : sequence of slice
        The columns of Z of each factor. A block whose columns do not add up to the intercept is left as it is: there,
        the move would change the model.

    Returns
    -------
    ndarray or csr_array (q, m)
        A new array of the dtype of V; ``Z V`` is the same up to rounding.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> from fastnmf.core.effects import least_into_intercept
    >>> Z = sp.csr_array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    >>> least_into_intercept(np.array([[1.0, 0.0], [2.0, 5.0], [4.0, 3.0]]), Z, 0, [slice(1, 3)])
    array([[3., 3.],
           [0., 2.],
           [2., 0.]])
    """
    shifts, base = V.astype(np.float64), np.zeros(V.shape[1])
    by_column = sp.csc_array(Z, dtype=np.float64)
    whole = by_column[:, [intercept]].toarray().ravel()  # never-densify-ok: one column
    for block in blocks:
        total = np.asarray(by_column[:, block].sum(axis=1)).ravel()
        if np.abs(total - whole).max(initial=0) <= rounding(np.float64) * whole.max(initial=0):
            base += _take_least(shifts, block)
    if not sp.issparse(V):
        shifts[intercept] += base
        return shifts.astype(V.dtype)
    more = sp.csr_array((base, (np.full(len(base), intercept), np.arange(len(base)))), V.shape)
    shifts = sp.csr_array(shifts + more)
    shifts.eliminate_zeros()
    return shifts.astype(V.dtype)


def _take_least(V, block):
    """Subtract the least of the rows V[block] of float64 from these rows, in place, and return it, (m,)."""
    if not sp.issparse(V):
        least = V[block].min(axis=0)
        V[block] -= least
        return least
    is_here = np.zeros(V.shape[0], bool)
    is_here[block] = True
    (entry,) = np.nonzero(is_here[row_index(V)])
    column, least = V.indices[entry], np.full(V.shape[1], np.inf)
    np.minimum.at(least, column, V.data[entry])
    least[np.bincount(column, minlength=V.shape[1]) < is_here.sum()] = 0  # a level without an entry is zero
    V.data[entry] -= least[column]
    return least
