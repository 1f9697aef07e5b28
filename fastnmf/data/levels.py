"""Levels of factors: what `fit` learns of factors, an exposure or a design, and the design of new rows.

The design is that of `fastnmf.data.design`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp

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
from fastnmf.data.layout import row_index
from fastnmf.data.matrix import as_matrix
from fastnmf.data.sentences import shown
from fastnmf.typing import Array, Floats, Integers, SparseOrDense, Vector

INTERCEPT = "intercept"


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
    >>> from fastnmf.data.levels import Design
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
