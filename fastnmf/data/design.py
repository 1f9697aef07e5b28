"""Designs: rows that belong to several groups at once, to groups by degrees, or to groups with an exposure.

A design is a sparse matrix Z >= 0 (n_rows, q). The shift of row i is ``z_i V``, a weighted sum of the q rows of V.
Strata are the special case in which each row of Z has a single 1.

Inner scale: as in `fastnmf.data.strata`. The design has no scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
from scipy.sparse import csgraph

from fastnmf.data import shifts
from fastnmf.data.design_matrix import checked_exposure, column_names
from fastnmf.data.labels import (
    columns_of,
    distinct,
    encode_labels,
    is_crossed,
    known_labels,
    places,
    places_of_rows,
    texts_of,
    values_of,
)
from fastnmf.data.layout import TILE, Compressed, WeightedGrouping, row_index, row_squares, row_tiles
from fastnmf.data.matrix import as_matrix
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import Pattern
from fastnmf.data.strata import Strata
from fastnmf.kernels import designs
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.records import LazyRows
from fastnmf.typing import Array, Floats, Integers, Matrix, SparseOrDense, Vector

INTERCEPT = "intercept"
LEAST_SHARE = 1e-3  # of the even share of the data, of a shift at the start of multiplicative updates
MEANS_SWEEPS = 10  # sweeps of coordinate descent for the least-squares shifts of a start

Kind = Literal["strata", "crossed", "matrix"]


@dataclass(frozen=True)
class RowsOfDesign:
    """The arguments that say which shifts the rows of X have, passed on where other models pass labels.

    Attributes
    ----------
    strata : array-like (n_rows,), or a frame, dict or array of several factors, or None
    design : sparse matrix, array or DataFrame (n_rows, q), or None
    exposure : array-like (n_rows,), or None
    encoded : csr_array (n_rows, q) of float64, or None
        Z, where a `Design` has encoded the rows already.
    is_batch : bool
        Whether other rows of the same fit follow: these may lack columns, and are no strata although they look so.
    levels : ndarray (n_rows,) of int32, or None
        What `levels_by` returns, where the rows are encoded already.
    """

    strata: Any = None
    design: Any = None
    exposure: Any = None
    encoded: Any = None
    is_batch: bool = False
    levels: Any = None

    def part(self, rows: slice) -> RowsOfDesign:
        """Return some of the rows, which are encoded already."""
        return RowsOfDesign(encoded=self.encoded[rows], levels=None if self.levels is None else self.levels[rows])

    def levels_by(self, learned: Design, n_rows: int) -> Integers | None:
        """Return the level of each row to which own components belong, as `places_of_rows`; None without them."""
        if learned.own is None or self.levels is not None:
            return self.levels
        labels = columns_of(self.strata)[learned.factors[learned.own]] if learned.factors else self.strata
        return places_of_rows(labels, learned.levels[learned.own], n_rows)

    def encoded_by(self, learned: Design, n_rows: int, unknown: Literal["error", "mean"]) -> sp.csr_array:
        """Return Z, a csr_array (n_rows, q), as `Design.encode`; the arguments are those of `Design.encode`."""
        if self.encoded is not None:
            return self.encoded
        return learned.encode(self.strata, self.design, self.exposure, n_rows, unknown)


class Design:
    """The groups, the columns of the design and the exposure that a fit has found in its rows.

    Use `learn` to make one from the rows of a fit. `encode` then returns Z for new rows.

    Parameters
    ----------
    kind, factors, levels, names, has_exposure, sizes :
        As the attributes.

    Attributes
    ----------
    kind : {"strata", "crossed", "matrix"}
        One label for each row, labels of several factors, or the user's own Z.
    factors : list of str
        Names of the factors of a crossed design; else empty.
    levels : list of ndarray
        The sorted labels of each factor, or of the strata; empty for the user's own Z.
    names : ndarray (q,) of str
        Names of the columns of Z: ``"intercept"`` and then ``"year=1990"`` for crossed factors.
    has_exposure : bool
        Whether the rows of Z are multiplied by an exposure.
    sizes : ndarray (q,) of float64
        Total weight of the rows of the fit that have each column.
    own : int, or None
        Place among `levels` of the factor whose levels have own components; set by a model.

    Examples
    --------
    >>> from fastnmf.data.design import Design
    >>> found, Z = Design.learn({"year": [1990, 1991, 1990], "region": ["a", "a", "b"]}, None, None, 3)
    >>> found.names.tolist()
    ['intercept', 'year=1990', 'year=1991', 'region=a', 'region=b']
    >>> found.encode({"year": [1991], "region": ["b"]}, None, None, 1).toarray()
    array([[1., 0., 1., 0., 1.]])
    """

    def __init__(
        self,
        kind: Kind,
        factors: list[str],
        levels: list[Array],
        names: Array,
        has_exposure: bool,
        sizes: Floats | None = None,
    ):
        self.kind, self.factors, self.levels, self.names = kind, factors, levels, names
        self.has_exposure, self.own = has_exposure, None
        self.sizes = np.ones(len(names)) if sizes is None else sizes

    @classmethod
    def of_levels(cls, kind: Kind, factors: list[str], levels: list[Array], has_exposure: bool) -> Self:
        """Return the design with these levels.

        Parameters
        ----------
        kind : {"strata", "crossed"}
        factors, levels, has_exposure :
            As the attributes.

        Raises
        ------
        ValueError
            Two columns would have the same name.
        """
        if kind == "strata":
            names = texts_of(levels[0])
        else:
            each = zip(factors, levels, strict=True)
            names = [INTERCEPT, *(f"{name}={label}" for name, labels in each for label in texts_of(labels))]
        found, counts = np.unique(names, return_counts=True)
        if (counts > 1).any():  # shifts are looked up by their names
            raise ValueError(
                f"Two shifts would have the name {found[counts.argmax()].item()!r}, which is a factor, '=' and its "
                "label; rename a factor or a label of strata."
            )
        return cls(kind, factors, levels, np.array(names), has_exposure)

    @classmethod
    def learn(
        cls,
        strata: Any,
        design: SparseOrDense | None,
        exposure: Vector | None,
        n_rows: int,
        *,
        is_batch: bool = False,
    ) -> tuple[Self, sp.csr_array]:
        """Learn the columns of Z from the rows of a fit, and encode these; `sizes` are those of rows of weight 1.

        Parameters
        ----------
        strata : array-like (n_rows,), or a frame, dict or array of several factors (n_rows, f), or None
        design : sparse matrix, array or DataFrame (n_rows, q), or None
            Non-negative.
        exposure : array-like (n_rows,), or None
            Non-negative.
        n_rows : int
        is_batch : bool, default=False
            Whether a column of Z may be zero, because other rows follow.

        Returns
        -------
        found : Design
        Z : csr_array (n_rows, q) of float64
            What `encode` returns for these rows.

        Raises
        ------
        ValueError, TypeError
            Labels, design or exposure cannot be used, both strata and a design are given, or a column of Z is zero.
        """
        if design is not None:
            if strata is not None:
                raise ValueError(
                    "Both strata and design were given; pass one of them: strata are encoded as a design by fit, and a "
                    "design of your own holds their columns, too."
                )
            found = cls("matrix", [], [], column_names(design), exposure is not None)
        elif is_crossed(strata):
            columns = columns_of(strata)
            levels = [distinct(known_labels(of, f"strata[{name!r}]", n_rows), name)[0] for name, of in columns.items()]
            found = cls.of_levels("crossed", list(columns), levels, exposure is not None)
        else:
            found = cls.of_levels("strata", [], [encode_labels(strata, n_rows)[1]], exposure is not None)
        Z = found.encode(strata, design, exposure, n_rows)
        found.sizes = np.bincount(Z.indices, minlength=Z.shape[1]).astype(np.float64)
        if not is_batch and not found.sizes.all():
            name = found.names[int(np.argmin(found.sizes))].item()
            what = f"the column {name!r} of the design is zero" if design is not None else f"{name!r} has exposure 0"
            raise ValueError(f"Its shift is undetermined: {what} in every row; leave out the column, or these rows.")
        return found, Z

    @property
    def blocks(self) -> list[slice]:
        """The columns of Z that belong to each of `levels`."""
        bounds = np.cumsum([self.kind == "crossed", *map(len, self.levels)]).tolist()
        return [slice(lo, hi) for lo, hi in zip(bounds[:-1], bounds[1:], strict=True)]

    @property
    def is_plain(self) -> bool:
        """Whether every row has the shift of one stratum, unscaled: what a model with strata reads by itself."""
        return self.kind == "strata" and not self.has_exposure

    def encode(
        self,
        strata: Any,
        design: SparseOrDense | None,
        exposure: Vector | None,
        n_rows: int,
        unknown: Literal["error", "mean"] = "error",
    ) -> sp.csr_array:
        """Return Z, a csr_array (n_rows, q) of float64 without stored zeros.

        Parameters
        ----------
        strata, design, exposure, n_rows :
            As for `learn`, of the rows of the fit or of new rows.
        unknown : {"error", "mean"}, default="error"
            A label that is not in `levels`: an error, or the mean of the levels of its factor, each with its share of
            the rows of the fit.

        Raises
        ------
        ValueError, TypeError
            As `learn`, and where something that the fit had is missing, or something else is given.
        """
        self.check_given(strata, design, exposure)
        if self.kind == "matrix":
            Z = self._checked(design, n_rows)
        elif self.kind == "strata":
            Z = self._one_hot("strata", strata, 0, n_rows, unknown)
        else:
            columns = columns_of(strata)
            missing = [name for name in self.factors if name not in columns]
            if missing:
                raise ValueError(
                    f"strata has no column {missing[0]!r}; this model was fitted with {', '.join(self.factors)}."
                )
            intercept = sp.csr_array(np.ones((n_rows, 1)))
            each = [self._one_hot(name, columns[name], at, n_rows, unknown) for at, name in enumerate(self.factors)]
            Z = sp.csr_array(sp.hstack([intercept, *each], format="csr"))
        if exposure is not None:
            u = checked_exposure(exposure, n_rows)
            Z = sp.csr_array((Z.data * u[row_index(Z)], Z.indices, Z.indptr), shape=Z.shape)
            Z.eliminate_zeros()
        Z.sort_indices()
        return Z

    def check_given(self, strata, design, exposure):
        """Raise where what is given is not what the fit had."""
        if (design is None) != (self.kind != "matrix"):
            had = f"a design of {len(self.names)} columns" if design is None else "strata"
            raise ValueError(f"This model was fitted with {had}; pass {'design=' if design is None else 'strata='}.")
        if self.kind == "crossed" and not is_crossed(strata):
            raise ValueError(
                f"This model was fitted with the factors {', '.join(self.factors)}; pass strata=, a frame with these "
                "columns and one row for each row of X."
            )
        if self.kind == "strata" and (strata is None and len(self.names) > 1 or is_crossed(strata)):
            raise ValueError(f"This model was fitted with {len(self.names)} strata; pass strata=, one label per row.")
        if (exposure is None) == self.has_exposure:
            if self.has_exposure:
                raise ValueError("This model was fitted with an exposure; pass exposure=, one number for each row.")
            raise ValueError("This model was fitted without an exposure; leave exposure= out, or fit with it.")

    def _checked(self, design, n_rows):
        """Return the user's Z as a csr_array of float64."""
        given = getattr(design, "columns", None)
        if given is not None and [str(name) for name in given] != self.names.tolist():
            raise ValueError(
                f"design has the columns {shown([str(name) for name in given])}; the fit had "
                f"{shown(self.names.tolist())}, in this order."
            )
        Z = as_matrix(design, "design: ", is_signed=True)
        if Z.shape != (n_rows, len(self.names)):
            raise ValueError(
                f"design has shape {Z.shape}, expected {(n_rows, len(self.names))}: a row for each row of X."
            )
        Z = sp.csr_array(Z, dtype=np.float64)
        if Z.nnz and Z.data.min() < 0:
            raise ValueError(
                f"design has negative entries (the smallest is {Z.data.min():g}); shifts are non-negative sums, so "
                "give a variable x between 0 and 1 as the two columns x and 1 - x."
            )
        if not Z.has_canonical_format:
            Z = Z.copy()
            Z.sum_duplicates()
        return Z

    def _one_hot(self, name, labels, at, n_rows, unknown):
        """Return the columns of one factor, a csr_array (n_rows, n_levels).

        Parameters
        ----------
        name : str
            Name of the factor, for messages.
        labels : array-like (n_rows,), or None
        at : int
            Its place among `levels`.
        n_rows : int
        unknown : {"error", "mean"}
        """
        levels = self.levels[at]
        if labels is None:
            return sp.csr_array(np.ones((n_rows, 1)))
        what = name if self.kind == "strata" else f"strata[{name!r}]"
        found, index = distinct(known_labels(labels, what, n_rows), what)
        place = places(found, levels)
        is_new = place < 0
        if is_new.any() and unknown != "mean":
            unseen = ", ".join(map(repr, values_of(found[is_new][:3])))
            raise ValueError(
                f"{what} contains the label {unseen}, which was not seen in fit; {len(levels)} labels are known. "
                "unknown_strata='mean' gives such rows the mean shift of the known ones."
            )
        shares = self.sizes[self.blocks[at]]
        rows = sp.csr_array(
            (np.ones(len(found)), (np.arange(len(found)), np.maximum(place, 0))), (len(found), len(levels))
        )
        if is_new.any():
            rows = rows.multiply(~is_new[:, None]) + is_new[:, None] * (shares / shares.sum())[None]
            rows = sp.csr_array(rows)
            rows.eliminate_zeros()
        return rows[index]

    def laplacian(self, smoothness: float | Mapping[str, float]) -> sp.csr_array | None:
        """Return the matrix L (q, q) of the smoothness penalty ``tr(V L Vᵀ)``, None where it is zero.

        A step from one level of a factor to the next one, in sorted order, costs `smoothness` times the squared
        difference of their shifts.

        Parameters
        ----------
        smoothness : float, or dict of factor -> float
            Non-negative.

        Raises
        ------
        ValueError
            A name is not that of a factor, or a number is given for several factors or for the user's own Z.
        """
        each = smoothness if isinstance(smoothness, Mapping) else None
        if each is None and smoothness == 0:
            return None
        if self.kind == "matrix":
            raise ValueError("smoothness needs levels in an order, which a design matrix does not state; pass strata=.")
        if each is None:
            if len(self.levels) > 1:
                raise ValueError(
                    f"smoothness={shown(smoothness)} was given for the factors {', '.join(self.factors)}; name those "
                    f"whose levels are in order: smoothness={{{self.factors[0]!r}: {shown(smoothness)}}}."
                )
            weights = [float(smoothness)]
        else:
            unknown = [name for name in each if name not in self.factors]
            if unknown:
                known = f"one of {', '.join(self.factors)}" if self.factors else "a number: there is a single factor"
                raise ValueError(f"smoothness has the key {unknown[0]!r}; expected {known}.")
            weights = [float(each.get(name, 0.0)) for name in self.factors]
        L = sp.lil_array((len(self.names), len(self.names)))
        for block, weight in zip(self.blocks, weights, strict=True):
            for s in range(block.start, block.stop - 1):
                L[s, s], L[s + 1, s + 1] = L[s, s] + weight, L[s + 1, s + 1] + weight
                L[s, s + 1] = L[s + 1, s] = -weight
        L = sp.csr_array(L)
        L.eliminate_zeros()
        return L if L.nnz else None

    def to_state(self) -> dict[str, Any]:
        """Return arrays and plain values from which `from_state` makes the same design."""
        names = ("kind", "factors", "levels", "names", "has_exposure", "sizes")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Return the design that `to_state` returned."""
        return cls(**state)


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
