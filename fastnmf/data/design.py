"""Designs: rows that belong to several groups at once, to groups by degrees, or to groups with an exposure.

A design is a sparse matrix Z >= 0 (n_rows, q). The shift of row i is ``z_i V``, a weighted sum of the q rows of V.
Strata are the special case in which each row of Z has a single 1.

Inner scale: as in `fastnmf.data.strata`. The design has no scale.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse import csgraph

from fastnmf.data import shifts
from fastnmf.data.layout import TILE, Compressed, WeightedGrouping, row_index, row_squares, row_tiles
from fastnmf.data.levels import Design
from fastnmf.data.matrix import as_matrix
from fastnmf.data.shifts import Pattern
from fastnmf.data.strata import Strata
from fastnmf.kernels import designs
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.records import LazyRows
from fastnmf.typing import Array, Floats, Integers, Matrix

LEAST_SHARE = 1e-3  # of the even share of the data, of a shift at the start of multiplicative updates
MEANS_SWEEPS = 10  # sweeps of coordinate descent for the least-squares shifts of a start


def index_of_rows(data: Any) -> Integers | None:
    """Return the stratum of each row (n_rows,) of int32 where every row has the whole shift of one, else None."""
    learned = getattr(data, "learned", None)
    if learned is not None and not learned.is_plain:
        return None
    return data.design.indices.astype(np.int32) if isinstance(data, HasDesign) else data.stratum_index


class Membership(NamedTuple):
    """Which shifts the rows of X have.

    Attributes
    ----------
    learned : Design, or None
        None for strata.
    names : ndarray (q,)
        The names of the columns of the design, or the labels of the strata.
    rows : ndarray (n_rows,) of int32, or csr_array (n_rows, q) of float64
        The stratum of each row, where it has a single shift, or its design.
    laplacian : csr_array (q, q) of float64, or None
        L of the smoothness penalty.
    """

    learned: Design | None
    names: Array
    rows: Any
    laplacian: Any = None


class HasDesign:
    """Mixin of data, in memory or in chunks, whose rows have shifts by a design Z: all that depends on Z alone.

    Attributes
    ----------
    design : csr_array (n_rows, q) of float64
        Z, not multiplied by weights of rows.
    laplacian : csr_array (q, q) of float64, or None
        L of a smoothness penalty.
    learned : Design, or None
        What the fit has learned; set by a model for the data of a fit.
    """

    design: sp.csr_array
    laplacian: sp.csr_array | None
    learned: Design | None = None
    weight: Floats | None
    pattern: Pattern
    dtype: np.dtype[Any]

    @cached_property
    def gram(self) -> sp.csr_array:
        """``Zᵀ diag(weight) Z``, a csr_array (q, q) of float64."""
        Z = self.design
        each = Z.data if self.weight is None else Z.data * self.weight[row_index(Z)]
        found = sp.csr_array(Z.T @ sp.csr_array((each, Z.indices, Z.indptr), shape=Z.shape))
        found.sort_indices()
        return found

    @cached_property
    def entries_meet(self) -> bool:
        """Whether the entries of V in one column depend on each other."""
        gram = self.gram if self.laplacian is None else self.gram + self.laplacian
        return bool(gram.count_nonzero() > np.count_nonzero(gram.diagonal()))

    def even_shifts(self) -> Floats:
        """Return the shifts that give every column of Z the same share, ``XᵀZ / (ZᵀZ 1)``, on the pattern, (q,).

        They are positive wherever shifts may be.
        """
        pattern, whole = self.pattern, np.asarray(self.gram.sum(axis=1)).ravel()
        return (pattern.sums / np.where(whole > 0, whole, 1)[pattern.group]).astype(self.dtype)

    def stratum_means(self) -> Floats:
        """Return shifts ``Z V ~ X`` by least squares over V >= 0, nearly, on the pattern, an array (q,).

        For strata without exposure they are the means. Coordinate descent begins at `even_shifts`.
        """
        pattern, v = self.pattern, self.even_shifts()
        designs.descend(pattern.as_csr(v), self.gram, pattern.sums, np.zeros_like(v), MEANS_SWEEPS)
        return v

    def positive_shifts(self, v: Floats) -> Floats:
        """Return entries v (q,) of shifts that are not zero: multiplicative updates keep zeros.

        Least squares, and the canonical form of an earlier fit, leave shifts at zero.
        """
        return np.maximum(v, LEAST_SHARE * self.even_shifts())

    def spread(self, each: Floats) -> Floats:
        """Return ``Z each`` without the row scale, dense (n_rows, ...); each (q, ...)."""
        return self.design @ each

    def collect(self, each: Floats) -> Floats:
        """Return ``Zᵀ each`` without the row scale, float64 (q,); each (n_rows,)."""
        return self.design.T @ each


def covered(pattern: Pattern, laplacian: sp.csr_array | None) -> Pattern:
    """Return a pattern of shifts with all levels of a smoothed factor wherever it has one of them.

    Parameters
    ----------
    pattern : Pattern
    laplacian : csr_array (q, q) of float64, or None
        L of the smoothness penalty, which may make the shift of a level positive that no row with the feature has.
    """
    if laplacian is None:
        return pattern
    start, group = pattern.start, pattern.group
    n_parts, part = csgraph.connected_components(laplacian, directed=False)
    member = sp.csr_array((np.ones(len(part)), (np.arange(len(part)), part)), (len(part), n_parts))
    used = sp.csr_array((np.ones(len(group)), group, start), (pattern.n_columns, pattern.n_groups)) @ member
    return pattern.covering(sp.csr_array(member @ used.T))


class DesignedStrata(HasDesign, Strata):
    """A non-negative matrix whose rows have shifts by a design Z.

    `labels` are the names of the columns of Z, and `n_strata` is their number q. There is no `stratum_index`.

    Parameters
    ----------
    X, labels, is_signed, log4_scale :
        As for `Strata`.
    design : csr_array (n_rows, q) of float64
        Z without stored zeros; not yet multiplied by weights of rows.
    laplacian : csr_array (q, q) of float64, default=None
        L of a smoothness penalty ``tr(V L Vᵀ)``: it decides where shifts may be positive.

    Attributes
    ----------
    design, laplacian :
        As the parameters.
    learned : Design, or None
        What the fit has learned; set by a model for the data of a fit.
    own_levels : ndarray (n_rows,) of int32, or None
        The level of each row that own components belong to, an index into its labels; set by a model.
    """

    def __init__(
        self,
        X: Any,
        labels: Array,
        design: sp.csr_array,
        is_signed: bool = False,
        log4_scale: int | None = None,
        laplacian: sp.csr_array | None = None,
    ):
        super().__init__(X, labels, None, is_signed, log4_scale)
        self.design, self.laplacian, self.own_levels = design, laplacian, None

    @classmethod
    def of_matrix(
        cls, X: Matrix, labels: Array, design: sp.csr_array, laplacian: sp.csr_array | None = None
    ) -> DesignedStrata:
        """Validate a matrix whose design, as `Design.encode` returned it, is known.

        Parameters
        ----------
        X : sparse matrix or array of any format (n_rows, n_columns)
            As for `Strata.from_array`.
        labels, design, laplacian :
            As for the class.
        """
        return cls(as_matrix(X), labels, design, laplacian=laplacian)

    def _of_rows(self, X: Any, chosen: Any = ...) -> DesignedStrata:
        inner = DesignedStrata(X, self.labels, self._rows_of_design(chosen), laplacian=self.laplacian)
        inner.own_levels, inner.learned = None if self.own_levels is None else self.own_levels[chosen], self.learned
        return inner

    @cached_property
    def own(self) -> Strata:
        """The same rows as strata by `own_levels`, the levels of a factor; rows of unknown levels are one more."""
        return self.as_strata(self.own_levels, len(self.learned.levels[self.learned.own]))

    def _rows_of_design(self, chosen):
        return self.design if chosen is ... else self.design[chosen]

    @cached_property
    def held_design(self) -> Compressed:
        """`Compressed` rows of Z times the row scale, in the dtype of the data."""
        values = self.design.data
        values = values if self.row_scale is None else values * self.row_scale[row_index(self.design)]
        return Compressed(self.design.indptr, self.design.indices, values.astype(self.dtype))

    @cached_property
    def groups(self) -> WeightedGrouping:
        """`WeightedGrouping` of the rows by the columns of Z, times the row scale: its `sum` is ``Zᵀ F``."""
        held = self.held_design
        found = WeightedGrouping(sp.csr_array((held.data, held.indices, held.indptr), shape=self.design.shape))
        weight = None if self.weight is None else self.weight[row_index(self.design)]
        found.sizes = np.bincount(self.design.indices, weight, minlength=self.n_strata)
        return found

    @cached_property
    def pattern(self) -> Pattern:
        """`Pattern` of the shifts: where ``Xᵀ Z`` is positive, and at all levels of a smoothed factor if at one."""
        Z = self.design
        if self._sum_scale is not None:
            Z = sp.csr_array((Z.data * self._sum_scale[row_index(Z)], Z.indices, Z.indptr), shape=Z.shape)
        if self.is_sparse:
            turned, shape = self.columns, self.shape[::-1]
            values = turned.data.astype(np.float64, copy=False)
            sums = sp.csr_array(sp.csr_array((values, turned.indices, turned.indptr), shape) @ Z)
            sums.sort_indices()
        else:
            sums = sp.csr_array((Z.T @ self.X.astype(np.float64, copy=False)).T)
        sums = sp.csr_array(sums.astype(self.dtype, copy=False))
        sums.eliminate_zeros()  # of products that are too small for the dtype
        start, group = sums.indptr.astype(np.int64), sums.indices.astype(np.int32)
        return covered(Pattern(start, group, sums.data, self.n_strata, self.sparse_shifts), self.laplacian)

    def lazy_shifts(self, below: Floats) -> LazyRows:
        """Return a ``LazyRows`` (n_rows, K) that holds ``Z below`` times the row scale; below (q, K), as ``V H``."""
        held = self.held_design
        return LazyRows(held.indptr, held.indices, held.data, below)

    def as_design(self) -> sp.csr_array:
        """Return Z (n_rows, q), float64, times the row scale."""
        u = 1.0 if self.row_scale is None else self.row_scale[row_index(self.design)].astype(np.float64)
        return sp.csr_array((self.design.data * u, self.design.indices, self.design.indptr), shape=self.design.shape)

    def shift_rows(self, V: Any, rows: slice | Integers) -> Floats:
        """Return ``Z V`` of some rows times the row scale, dense; V (q, n_columns), dense or CSR."""
        shift = self.design[rows] @ V
        shift = shift.toarray() if sp.issparse(shift) else shift  # never-densify-ok: the caller's rows
        return shift if self.row_scale is None else shift * self.row_scale[rows, None]

    def shift_squares(self, V: Any) -> Floats:
        """Return the squared length of every row of ``Z V``, without the row scale, float64 (n_rows,)."""
        with single_threaded_blas():
            gram = (V @ V.T).astype(np.float64)
        out, step = np.empty(self.shape[0]), max(1, TILE // self.n_strata)
        for lo in range(0, len(out), step):
            Z = self.design[lo : lo + step]
            out[lo : lo + step] = np.asarray((Z * (Z @ gram)).sum(axis=1)).ravel()
        return out

    def shift_entries(self, V: Any, rows: Integers, columns: Integers) -> Floats:
        """Return ``Z V`` at ``(rows[p], columns[p])``, without the row scale, float64 (p,)."""
        out, indptr = np.zeros(len(rows)), self.design.indptr
        first, count = indptr[rows], np.diff(indptr)[rows]
        for slot in range(count.max(initial=0)):
            (here,) = np.nonzero(count > slot)
            at = first[here] + slot
            out[here] += self.design.data[at] * shifts.entries_at(V, self.design.indices[at], columns[here])
        return out

    def row_square_sums(self, V: Any = None) -> Floats:
        """Return ``sum_j (x_ij - u_i (z_i V)_j)²`` for every row, float64 (n_rows,), where u is the row scale.

        V (q, n_columns) are shifts, dense or CSR. V None is zero.
        """
        if V is None:
            return row_squares(self.X)
        if not self.is_sparse:
            out = np.empty(self.shape[0])
            for part, x in row_tiles(self.X):
                out[part] = np.square(x - self.shift_rows(V, part), dtype=np.float64).sum(axis=1)
            return out
        row_scale = np.ones(self.shape[0]) if self.row_scale is None else self.row_scale.astype(np.float64)
        of_row, x = row_index(self.X), self.X.data.astype(np.float64)
        v = self.shift_entries(V, of_row, self.X.indices) * row_scale[of_row]
        return self.shift_squares(V) * row_scale**2 + np.bincount(of_row, x * (x - 2 * v), minlength=self.shape[0])
