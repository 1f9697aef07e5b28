"""Records: named tuples of arrays and numbers, each of which a kernel takes as one argument.

A record holds no other record, because `jit` passes the fields of all records of a call as one flat list. In compiled
code a field is as fast as a local variable. With the JIT disabled a record is what it looks like, a named tuple.
"""

from typing import NamedTuple

import numpy as np

_NONE = np.empty(0, np.int64)
_NO_GROUP = np.empty(0, np.int32)


class CSR(NamedTuple):
    """A sparse matrix (p, q) by compressed rows.

    Attributes
    ----------
    indptr : ndarray (p + 1,) of int64
        Row i has the entries indptr[i]:indptr[i + 1].
    indices : ndarray (nnz,) of int32
        The column of each entry.
    data : ndarray (nnz,), or of length 0
        The values; of length 0 where only the pattern matters.
    """

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray = np.empty(0)


class LazyRows(NamedTuple):
    """An array (p, K) whose rows are weighted sums of a few given rows; kernels compute a row when they need it.

    Attributes
    ----------
    start : ndarray (p + 1,) of int64, or of length 0
        Row i is the sum of ``weight[e] * rows[group[e]]`` over e in start[i]:start[i + 1].
    group : ndarray of int32
        If `start` is empty, row i is ``rows[group[i]]``; if both are empty, it is ``rows[i]``.
    weight : ndarray
        Of the length of `group`, or empty if `start` is.
    rows : ndarray (G, K)
        G = 0 means that all entries are zero.
    """

    start: np.ndarray
    group: np.ndarray
    weight: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, rows, group=_NO_GROUP, scale=None):
        """Return the `LazyRows` whose row i is ``rows[group[i]]``, or ``rows[i]`` without `group`.

        Parameters
        ----------
        rows : ndarray (G, K)
        group : ndarray (p,) of int32, optional
        scale : ndarray (p,), optional
            Row i is multiplied by ``scale[i]``; only with `group`.
        """
        if scale is not None:
            return cls(np.arange(len(scale) + 1), group, scale, rows)
        return cls(_NONE, group, np.empty(0, rows.dtype), rows)


class Limits(NamedTuple):
    """The bounds of a multiplicative update, both in the dtype of the factor.

    Attributes
    ----------
    eps : scalar
        Added to each denominator.
    floor : scalar
        Least positive value after the update.
    """

    eps: float
    floor: float


class Graph(NamedTuple):
    """The graph of a penalty on differences between neighbouring rows of a factor (p, K).

    Attributes
    ----------
    indptr, indices, weight : ndarray (p + 1,) of int64, (nnz,) of int32, (nnz,)
        The symmetric weights of the edges by compressed rows; indptr has length 0 where there is no graph.
    degree : ndarray (p,)
        Sum of the weights of each row.
    scale : ndarray (K,), or of length 0
        Weight of the penalty of each component; of length 0 where it is the squared length of this component in the
        other factor, so that the penalty is scale-invariant.
    """

    indptr: np.ndarray
    indices: np.ndarray
    weight: np.ndarray
    degree: np.ndarray
    scale: np.ndarray


class RowwiseGram(NamedTuple):
    """The parts of a subproblem that differ from row to row; row i meets the data with the weights ``base[i] + D[i]``.

    The half-gradient is that of the subproblem plus ``f grams[base[i]] + sum_j D_ij (shift_ij + f . g_j) g_j``.

    Attributes
    ----------
    indptr, indices, weight : ndarray (p + 1,) of int64, (nnz,) of int32, (nnz,)
        D (p, q) by compressed rows.
    shift : ndarray (nnz,), or of length 0
        The part of the model at D's entries that does not come from the factors; of length 0 where it is zero.
    base : ndarray (p,) of int8
        0 or 1.
    grams : ndarray (2, K, K)
        Gram matrices of the rows with base 0 and with base 1: zero and ``GᵀG``, plus all that rows have in common.
    other : ndarray (q, K)
        The other factor G, which stays fixed.
    room : ndarray (nnz,)
        Workspace; overwritten by kernels.
    ridge : ndarray (p,) of float64, or of length 0
        ``ridge[i] f`` is added to the half-gradient of row i; of length 0 where it is zero.
    """

    indptr: np.ndarray
    indices: np.ndarray
    weight: np.ndarray
    shift: np.ndarray
    base: np.ndarray
    grams: np.ndarray
    other: np.ndarray
    room: np.ndarray
    ridge: np.ndarray = np.empty(0)


class ShiftedProduct(NamedTuple):
    """The model ``F Gᵀ + u v`` at the non-zeros of the data, with the shifts v and the row scale u.

    Attributes
    ----------
    F, G : ndarray (p, K), (q, K)
        F has the rows that are walked.
    v : ndarray (S,)
        The entries of the shifts.
    places : ndarray (nnz,) of int32, or of length 0
        The entry of v that each non-zero meets; of length 0 where there are no shifts.
    row_scale : ndarray, or of length 0
        u, one number for each row of the data; of length 0 where all are 1.
    """

    F: np.ndarray
    G: np.ndarray
    v: np.ndarray
    places: np.ndarray
    row_scale: np.ndarray


class Shifts(NamedTuple):
    """The shifts of a whole model, grouped as its rows are walked: by strata, or by columns.

    Attributes
    ----------
    v : ndarray (S,)
        The entries of the shifts.
    start : ndarray of int64
        Group g, a stratum where the rows walked are those of the data or else a column, has the entries
        ``v[entries[e]]`` for e in start[g]:start[g + 1].
    keys : ndarray (S,) of int32
        The column of such an entry (ascending), or else its stratum.
    entries : ndarray (S,) of int32
    stratum_index : ndarray of int32, or of length 0
        The stratum of each row of the data; of length 0 where there are no shifts.
    row_scale : ndarray, or of length 0
        One number for each row of the data; of length 0 where all are 1.
    n_strata : int
    """

    v: np.ndarray
    start: np.ndarray
    keys: np.ndarray
    entries: np.ndarray
    stratum_index: np.ndarray
    row_scale: np.ndarray
    n_strata: int


class Momentum(NamedTuple):
    """The extrapolation of W and H in `dense_hals`.

    Attributes
    ----------
    W, H : ndarray (K, n), (K, m) of float64
        The factors after their last updates, before they were extrapolated.
    state : ndarray (5,) of float64
        beta; its bound; 1 where the next iteration extrapolates, else 0; the number of iterations, with the start; 1
        where a component has to be reseeded or rescaled, else 0.
    growth, bound_growth, shrink : float
        Factors of beta and of its bound after a decrease of the objective, and divisor of beta after an increase.
    """

    W: np.ndarray
    H: np.ndarray
    state: np.ndarray
    growth: float
    bound_growth: float
    shrink: float


class Plan(NamedTuple):
    """The sweeps of an iteration of `dense_hals`, and when a run of it returns before its last iteration.

    Attributes
    ----------
    visits : ndarray (k,) of int64
        Order of the components in a sweep.
    sweeps_W, sweeps_H : int
    tol, rounding : float
        Those of `fastnmf.core.iterate.has_converged`; with ``tol=0`` a run does not end by it.
    look_back, look_ahead, at_least : int
        Its windows, and the iterations before the first forecast.
    largest_exponent : float
        Of its power law.
    reseeds : bool
        Whether a component that is zero in W or in H ends the run.
    most_uneven : float
        Ratio of the squared lengths of a component in W and in H above which the run ends.
    sq_norm, exact_below : float
        The squared norm of the data, and the objective below which it is computed from the residual itself.
    """

    visits: np.ndarray
    sweeps_W: int
    sweeps_H: int
    tol: float
    rounding: float
    look_back: int
    look_ahead: int
    at_least: int
    largest_exponent: float
    reseeds: bool
    most_uneven: float
    sq_norm: float
    exact_below: float


class Room(NamedTuple):
    """Workspace of `dense_hals`, float64, zeros at first; overwritten.

    Attributes
    ----------
    gram : ndarray (K, K)
    pos_W, pos_H : ndarray (K, n), (K, m)
    weights, row_W, row_H : ndarray (K,), (n,), (m,)
    best : ndarray, as long as the values
    """

    gram: np.ndarray
    pos_W: np.ndarray
    pos_H: np.ndarray
    weights: np.ndarray
    row_W: np.ndarray
    row_H: np.ndarray
    best: np.ndarray
