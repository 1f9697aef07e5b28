"""Models whose rows have several shifts: crossed strata, a design matrix, an exposure, smooth levels.

Everything that a model of strata has passes labels of rows through its methods. With a design, `RowsOfDesign` takes the
place of the labels, from the public methods down to `_observed`, where it becomes data.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone

from fastnmf.core.design_batches import sums_of_rows
from fastnmf.core.effects import least_into_intercept
from fastnmf.core.factors import pad, scaled
from fastnmf.core.options import check_integer, check_number
from fastnmf.core.row_errors import row_divergences, row_errors
from fastnmf.core.warn import warn_of_y
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.annotated import check_index, is_annotated, with_labels, with_layer
from fastnmf.data.design import DesignedStrata, HasDesign, Membership, index_of_rows
from fastnmf.data.design_matrix import check_range, is_one_hot, one_hot
from fastnmf.data.labels import columns_of, is_crossed
from fastnmf.data.levels import Design, RowsOfDesign
from fastnmf.data.matrix import as_matrix
from fastnmf.data.ondisk import DiskCSR
from fastnmf.data.ranking import feature_scores, strongest_of
from fastnmf.data.readings import CARRIED
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.classification import ignores_classes
from fastnmf.models.base.explain_factors import explain_factors
from fastnmf.models.base.explanation import Explanation
from fastnmf.models.base.fitted_state import atomic_fit
from fastnmf.models.base.for_checkers import available_if
from fastnmf.models.base.inspection import unscaled_errors
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.models.base.own_given import place_of_own
from fastnmf.models.base.ratings import RatingsMixin
from fastnmf.models.base.takes_readings import taking_readings
from fastnmf.typing import Groups, Matrix, Names, SparseOrDense, Vector


def check_smoothness(name, value):
    """Raise unless `value` is a number from 0 to `MOST_SMOOTHNESS`, or a dict of factor -> such numbers."""
    each = {f"{name}[{key!r}]": one for key, one in value.items()} if isinstance(value, Mapping) else {name: value}
    for name_of_one, one in each.items():
        check_number(name_of_one, one)
        if one > MOST_SMOOTHNESS:
            raise ValueError(
                f"{name_of_one}={one:g} is not valid; expected a number from 0 to {MOST_SMOOTHNESS:g}, at which all "
                "levels have the same shifts already."
            )


MOST_SMOOTHNESS = 1e10  # beyond it the error of the data, a difference, is rounding of the penalty


class DesignMixin:
    """Mixin that lets a model with strata fit and read designs; precedes all other bases.

    After a fit with a design that is more than one label for each row, ``_design`` holds what `Design` needs beside the
    public attributes ``shift_names_``, ``strata_`` and ``stratum_sizes_``; ``_fitted_sums`` is for `partial_fit`.

    Attributes
    ----------
    _fits_strata : bool
        Whether rows that have a single shift each are fitted as strata, however they were given.
    """

    _private_state = (*RatingsMixin._private_state, "_design", "_fitted_sums")
    _fits_strata = True

    smoothness: float | Mapping[str, float]

    @property
    def _is_designed(self):
        """Whether the fitted model needs a `RowsOfDesign` for rows; after `smoothness` alone, labels are enough."""
        return getattr(self, "_design", None) is not None

    @property
    def _fitted_shapes(self):
        shapes = super()._fitted_shapes
        if self._is_designed:
            shapes = {name: letters for name, letters in shapes.items() if name != "strata_"} | {"shift_names_": "S"}
        return shapes

    def _fitted_design(self):
        """Return the `Design` of the fit."""
        levels = getattr(self, "strata_", [])
        levels = levels if isinstance(levels, list) else [levels]
        kept, sizes = getattr(self, "_design", None), np.asarray(self.stratum_sizes_, dtype=np.float64)
        if kept is None:  # smoothness alone
            found = Design.of_levels("strata", [], levels, False)
            found.sizes = sizes
            return found
        found = Design(kept["kind"], kept["factors"], levels, self.shift_names_, kept["has_exposure"], sizes)
        found.own = kept.get("own")
        return found

    def _uses_of_rows(self, is_fit):
        if is_fit or not self._is_designed:
            return CARRIED if is_fit else ("strata",)
        design = self._fitted_design()
        return ("design" if design.kind == "matrix" else "strata", *("exposure",) * design.has_exposure)

    def _rows_given(self, X, strata, design, exposure, *, is_fit=False):
        """Return X, without columns that `strata` names, and the labels of its rows or a `RowsOfDesign`.

        Parameters
        ----------
        X : any matrix
        strata, design, exposure :
            As for `fit`.
        is_fit : bool, default=False
            Whether the rows are those of a fit.
        """
        X, strata = with_labels(X, strata)
        X, exposure = _column(X, exposure)
        if is_fit:
            check_smoothness("smoothness", self.smoothness)
        is_smooth = is_fit and bool(self.smoothness)
        is_asked = design is not None or exposure is not None or is_crossed(strata) or is_smooth
        if not is_asked and (is_fit or not self._is_designed):
            return X, strata
        rows = X.obs if is_annotated(X) else X
        for name, given in (("exposure", exposure), ("design", design)):
            index, known = getattr(given, "index", None), getattr(rows, "index", None)
            if hasattr(index, "equals") and hasattr(known, "equals") and len(index) == len(known):
                check_index(rows, **{name: _Indexed(index)})
        if not is_fit and not self._is_designed:
            self._check_fitted()
            given = "a design" if design is not None else "an exposure" if exposure is not None else "several factors"
            raise ValueError(f"This model was fitted with one label for each row, not {given}; pass strata= alone.")
        return X, RowsOfDesign(strata, design, exposure)

    # ---------------------------------------------------------------- the data

    def _observed(self, X, options, strata=None, weight=None, labels=None):
        """Return X as `Strata`, or as `DesignedStrata` where the rows have a design.

        Parameters
        ----------
        X, options, weight :
            As for `BaseNMF._observed`.
        strata : array-like (n_rows,), RowsOfDesign, or None
        labels : ndarray (n_strata,), or Design, default=None
            What the fit has learned; None: this is a fit.

        Returns
        -------
        Strata
        """
        if not isinstance(strata, RowsOfDesign):
            return super()._observed(X, options, strata, weight, labels)
        learned, names, rows, laplacian = self._membership(X.shape[0], options, strata, weight, labels)
        if sp.issparse(rows):
            check_range(rows, learned.names, X.dtype, is_fit=labels is None and not strata.is_batch)
            data = DesignedStrata.of_matrix(X, names, rows, laplacian)
            data.own_levels = strata.levels_by(learned, X.shape[0])
        else:
            data = Strata(as_matrix(X), names, rows)
        data.sparse_shifts, data.learned = options.sparse_shifts, learned
        return data

    def _membership(self, n_rows, options, strata, weight=None, learned=None):
        """Return the `Membership` of the rows of a fit, or of new rows.

        Parameters
        ----------
        n_rows : int
        options : Options
        strata : RowsOfDesign
        weight :
            As for `_observed`.
        learned : Design, default=None
            What the fit has learned; None: this is a fit.
        """
        is_fit, laplacian = learned is None, None
        if is_fit:
            self._check_design(options, weight)
            given = strata.strata, strata.design, strata.exposure
            learned, Z = Design.learn(*given, n_rows, is_batch=strata.is_batch)
            laplacian, learned.own = learned.laplacian(self.smoothness), place_of_own(self, learned)
        else:
            Z = strata.encoded_by(learned, n_rows, self._unknown_levels())
        names = learned.levels[0] if learned.is_plain else learned.names  # by which a start is matched
        can_be_strata = is_fit and laplacian is None and not strata.is_batch and self._fits_strata
        can_be_strata = can_be_strata and learned.own is None
        is_plain = can_be_strata and is_one_hot(Z)  # in the time, and with the bits, of strata
        return Membership(learned, names, Z.indices.astype(np.int32) if is_plain else Z, laplacian)

    def _unknown_levels(self):
        """Return how `Design.encode` is to treat labels that were not in the fit."""
        return "mean" if self._policy() == "mean" else "error"

    def _check_design(self, options, weight):
        """Raise where a parameter or an argument of `fit` does not go with a design."""
        remedies = {
            options.loss_given: (
                not (options.is_squared or options.is_kullback_leibler),
                "use 'frobenius' or 'kullback-leibler'",
            ),
            "weight": (weight is not None, "use sample_weight"),
            f"missing_values={options.missing_values!r}": (options.missing_values is not None, "set it to None"),
            f"label_weight={options.label_weight!r}": (bool(options.label_weight), "set it to 0"),
            f"strata_weight={options.strata_weight!r}": (options.strata_weight == "equal", "use sample_weight"),
            "penalties['V']": (bool(options.V.objects), "use alpha_V or smoothness"),
            "unknown_strata='estimate'": (self._policy() == "estimate", "use 'mean' or 'error'"),
        }
        for what, (is_asked, remedy) in remedies.items():
            if is_asked:
                raise ValueError(
                    f"{what} does not go with a design (several factors, design=, exposure= or smoothness=); {remedy}."
                )
        if self.smoothness and options.gauge:
            raise ValueError(
                f"gauge={options.gauge!r} chooses among shifts that fit equally well, but smoothness determines that "
                "choice already; leave one of them out."
            )
        if self.smoothness and not options.is_squared:
            raise ValueError(
                f"smoothness={shown(self.smoothness)} needs the squared error, but {options.loss_given} is "
                "given; set smoothness=0, or use beta_loss='frobenius'."
            )

    # ---------------------------------------------------------------- the start and the end of a fit

    def _alternate(self, data, start, given, options, level=None):
        """Return the solver of a fit, whose multiplicative updates begin at shifts that are not zero.

        Parameters
        ----------
        data, start, given, options, level :
            As for `BaseNMF._alternate`.
        """
        W, H, v, V = start
        if options.is_multiplicative and V is None and v is not None and isinstance(data, HasDesign):
            v = data.positive_shifts(v)
        return super()._alternate(data, (W, H, v, V), given, options, level)

    def _set_factors(self, data, fit, options):
        """Set the attributes, with the least level of each factor in the intercept, if no penalty on V decides that."""
        is_moved = move_least_levels(data, fit, options)
        super()._set_factors(data, fit, options)
        if is_moved and options.gauge == "max_shift":  # which filled the levels of factors
            self.shifts_ = least_levels(data, self.shifts_)
        self._delete_attributes("_fitted_sums")
        has_sums = getattr(data, "learned", None) is not None and options.is_squared and data.row_scale is None
        if has_sums and isinstance(self.W_, np.ndarray):
            Z = data.design if isinstance(data, HasDesign) else one_hot(data.stratum_index, data.n_strata)
            self._fitted_sums = sums_of_rows(Z, self.W_, data.log4_scale)

    def _attributes_of_strata(self, data):
        for name in ("_design", "shift_names_", "strata_", "row_strata_"):
            vars(self).pop(name, None)
        learned = getattr(data, "learned", None)
        if learned is None:
            return super()._attributes_of_strata(data)
        found = {"stratum_sizes_": data.groups.sizes}
        if learned.is_plain:
            return found | {"strata_": learned.levels[0], "row_strata_": index_of_rows(data)}
        return found | attributes_of(learned)

    # ---------------------------------------------------------------- batches

    @available_if(ignores_classes)
    @atomic_fit
    @taking_readings
    def partial_fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
        layer: str | None = None,
    ) -> Self:
        """Add the rows of X to the statistics, and update the shifts and the components once.

        The first call on an unfitted model computes the start from X. `fit` keeps no data: after it, the
        model's approximation replaces the rows of `fit`. `W_` belongs to the rows of `fit` and is removed. Of a sparse
        `shifts_` with more than 2 million entries, shifts that are not stored stay zero until a row uses the feature.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite.
        y : ignored
        strata, design, exposure : default=None
            As in `fit`, for each batch alike. New labels become new strata, or levels of their factor; they are sorted,
            so the rows of `shifts_` may change their positions.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; None: the one of the first call.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            The data or labels cannot be used, the number of features differs, or the loss is not the squared
            error.
        """
        warn_of_y(self, y, strata)
        return self._partial_fit(*self._rows_of_batch(with_layer(X, layer), strata, design, exposure))

    def _rows_of_batch(self, X, strata, design, exposure):
        """Return X, and the labels of its rows or a `RowsOfDesign`, for `partial_fit`.

        Parameters
        ----------
        X : any matrix
        strata, design, exposure :
            As for `fit`.

        Raises
        ------
        ValueError
            The rows before had something else.
        """
        is_first, statistics = not hasattr(self, "components_"), getattr(self, "_statistics", None)
        is_known = hasattr(statistics, "learned") or statistics is None and hasattr(self, "_fitted_sums")
        is_smooth = is_known and not self._is_designed
        X, rows = self._rows_given(X, strata, design, exposure, is_fit=is_first or is_smooth)
        if is_smooth and not isinstance(rows, RowsOfDesign):
            rows = RowsOfDesign(rows)
        if not isinstance(rows, RowsOfDesign):
            return X, rows
        if not is_first:
            known = self._fitted_design()
            known.check_given(rows.strata, rows.design, rows.exposure)
            columns = columns_of(rows.strata) if known.kind == "crossed" else {}
            if columns and columns.keys() == set(known.factors):
                rows = replace(rows, strata={name: columns[name] for name in known.factors})
        return X, replace(rows, is_batch=True)

    def _attributes_of_statistics(self, statistics):
        found, learned = super()._attributes_of_statistics(statistics), getattr(statistics, "learned", None)
        self._delete_attributes("_design", "shift_names_", "strata_")
        if learned is None:
            return found
        if learned.is_plain:
            return found | {"strata_": learned.levels[0]}
        if learned.kind == "crossed":  # whose columns add up to the intercept in every row: none is needed to see that
            no_rows = sp.csr_array((0, len(learned.names)))
            found["shifts_"] = least_into_intercept(found["shifts_"], no_rows, 0, learned.blocks)
        return {name: found[name] for name in ("shifts_", "stratum_sizes_")} | attributes_of(learned)

    # ---------------------------------------------------------------- inspection

    def explain(
        self,
        X: Matrix,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | None = None,
        groups: Mapping[str, Any] | None = None,
        n: int = 10,
        feature_names: Names | None = None,
    ) -> Explanation:
        """Return how much of X the shifts and the components explain, and whether strata, or each factor, are needed.

        After a fit with one label for each row, a table of strata: what shifts and components explain. After a fit with
        several factors, or with an exposure, a table of factors: the shifts of the others are fitted again without the
        factor, for the same components, and the error then left is compared with that of the model. After a fit with a
        design of your own, its columns, or groups of them, are the factors.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            The training data, or new data.
        strata, design, exposure : default=None
            As in `transform`.
        groups : dict of name -> list of str or int, default=None
            Names or numbers of columns of `design` that are left out together, such as ``{"age": ["young", "old"]}``.
            None: one at a time.
        n : int, default=10
            Number of features listed for each stratum or factor.
        feature_names : array-like (n_features,), default=None
            None takes `feature_names_in_`, or else the column numbers.

        Returns
        -------
        Explanation
            A Bunch that prints as a table. For one label a row: ``strata`` (a list of Bunches with ``label``,
            ``n_rows``, ``explained``, ``by_shift``, ``by_shared``, ``features``, ``differences``), ``loss``,
            ``loss_one_shift``, ``loss_no_shift``, ``gain``, ``chance``, ``weight`` and ``verdict``. For factors:
            ``factors``, a list of Bunches with ``name``, ``n_levels``, ``gain`` (share of the error without the factor
            that it removes), ``chance`` (share of the error of pure noise that as many numbers would remove),
            ``weight`` (the removed error divided by all that the model explains), ``answer`` (``"Yes"``,
            ``"A little"`` or ``"No"``) and ``features`` (whose shifts differ most between its levels); ``loss`` and
            ``loss_no_shift``, square roots of errors divided by the squared norm (of divergences divided by that of the
            null model); ``verdict``, one sentence.

        Raises
        ------
        ValueError
            X, strata, design, groups, names or n cannot be used, or the loss is neither the squared error nor
            Kullback-Leibler.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import StratifiedNMF
        >>> rng = np.random.default_rng(0)
        >>> year, region = rng.integers(2000, 2003, 300), rng.integers(0, 2, 300)
        >>> shift = 3 * rng.random((3, 20))[year - 2000]  # regions do not differ
        >>> X = shift + rng.random((300, 2)) @ rng.random((2, 20)) + 0.1 * rng.random((300, 20))
        >>> strata = {"year": year, "region": region}
        >>> model = StratifiedNMF(2, random_state=0).fit(X, strata=strata)
        >>> [(factor.name, factor.answer) for factor in model.explain(X, strata=strata).factors]
        [('year', 'Yes'), ('region', 'No')]
        """
        self._check_fitted()
        X, rows = self._rows_given(X, strata, design, exposure)
        if not self._is_designed:
            if groups is not None:
                raise ValueError("groups are columns of design=, but this model has one label a row; leave groups out.")
            return super().explain(X, strata=rows, n=n, feature_names=feature_names)
        check_integer("n", n)
        return explain_factors(self, X, rows, n, self._feature_names(feature_names), groups)

    def _for_all_rows(self):
        """Return a new estimator of the same model that fits all rows at once."""
        return clone(self)

    def _with_new_strata(self, X, strata):
        return self if self._is_designed else super()._with_new_strata(X, strata)

    # ---------------------------------------------------------------- new rows

    def _prepared(self, X, strata, options):
        if not self._is_designed:
            return super()._prepared(X, strata, options)
        X = self._validated(X, reset=False)
        data = self._observed(X, options, strata, labels=self._fitted_design())
        return data, *self._fitted_factors(data)

    def _given_or_wrapped(self, X, strata):
        """Return X and a `RowsOfDesign`, also for callers that know labels only; those of a matrix on disk encoded."""
        self._check_fitted()
        if not isinstance(strata, RowsOfDesign):
            X, strata = self._rows_given(X, strata, None, None)
        if self._is_in_chunks(X):
            given = self._fitted_design(), X.shape[0], self._unknown_levels()
            strata = RowsOfDesign(encoded=strata.encoded_by(*given), levels=strata.levels_by(*given[:2]))
        return X, strata

    def _transform(self, X, strata=None):
        if not self._is_designed:
            return super()._transform(X, strata)
        X, strata = self._given_or_wrapped(X, strata)
        return super()._transform(X, strata) if self._is_in_chunks(X) else BaseNMF._transform(self, X, strata)

    def _is_in_chunks(self, X):
        """Tell whether X is read chunk by chunk: it is on disk, and the model has methods for that."""
        return isinstance(X, DiskCSR) and hasattr(self, "_blocks")

    def _score(self, X, strata=None, *args, **more):
        """Return the score as `BaseNMF` does.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), or RowsOfDesign, default=None
        *args, **more
            Further arguments of the `_score` of the base.
        """
        if not self._is_designed:
            return super()._score(X, strata, *args, **more)
        X, strata = self._given_or_wrapped(X, strata)
        if self._is_in_chunks(X):
            return super()._score(X, strata, *args, **more)
        return BaseNMF._score(self, X, strata, *args, **more)

    def _inverse_transform(self, W, strata=None):
        if not self._is_designed:
            return super()._inverse_transform(W, strata)
        plain = copy.copy(self)
        vars(plain)["_has_shifts"] = False
        product = BaseNMF._inverse_transform(plain, W)
        if not isinstance(strata, RowsOfDesign):
            strata = RowsOfDesign(with_labels(W, strata)[1])
        Z = strata.encoded_by(self._fitted_design(), product.shape[0], self._unknown_levels())
        shift = Z.astype(self.shifts_.dtype) @ self.shifts_
        return product + shift_arrays.rows_of(shift, slice(None))

    def _errors_of_rows(self, X, rows):
        """Return the squared errors, or divergences, of the rows of X with a design, float64 (n_samples,)."""
        self._check_fitted()
        options = self._options()
        X = self._validated(X, reset=False).astype(np.float64, copy=False)
        with threads(options.n_threads):
            data = self._observed(X, options, rows, labels=self._fitted_design())
            if options.is_kullback_leibler:
                W = self._transform(X, rows)
                return row_divergences(data, W, self.components_, shift_arrays.as_read(self.shifts_))
            H = pad(scaled(self.components_.T.astype(np.float64), data.log4_scale), data)
            V = shift_arrays.as_read(self.shifts_)
            V = shift_arrays.mapped(V, lambda v: scaled(v.astype(np.float64), 2 * data.log4_scale))
            errors = row_errors(data, len(self.components_), H, V)
        return unscaled_errors(errors, data)

    def _features_of_shifts(self, names, n, by):
        """Return the features of each shift by its name, a dict of str -> list of str, in the order of `shift_names_`.

        A level of a factor is compared with the other levels of this factor.

        Parameters
        ----------
        names : sequence of str (n_features,)
        n : int
        by : {"contrast", "weight", "lift"}
        """
        V, design = shift_arrays.as_read(self.shifts_), self._fitted_design()
        blocks = [slice(0, V.shape[0])] if design.kind == "matrix" else design.blocks
        blocks = [slice(0, 1), *blocks] if design.kind == "crossed" else blocks
        found = [scores for block in blocks for scores in feature_scores(V[block], by)]
        each = [[str(names[j]) for j in strongest_of(scores, n)[0]] for scores in found]
        return dict(zip(design.names.tolist(), each, strict=True))


def attributes_of(learned):
    """Return the fitted attributes that say which design a model has."""
    kept = {"kind": learned.kind, "factors": learned.factors, "has_exposure": learned.has_exposure}
    kept |= {} if learned.own is None else {"own": learned.own}
    found = {"shift_names_": learned.names, "_design": kept}
    if learned.kind != "matrix":
        found["strata_"] = learned.levels if learned.kind == "crossed" else learned.levels[0]
    return found


def move_least_levels(data, fit, options):
    """Move the least level of each factor of a crossed design into the intercept; tell whether this was done.

    It is not done where a penalty on V decides what is in the intercept.

    Parameters
    ----------
    data : HasDesign, or other data
    fit : Fit
        Its shifts are changed.
    options : Options
    """
    learned = getattr(data, "learned", None)
    if learned is None or learned.kind != "crossed" or options.V.alpha or options.V.objects:
        return False
    V = least_levels(data, data.pattern.as_read(fit.factors["V"]))
    fit.factors.overwrite({"V": data.pattern.entries(V)})
    return True


def least_levels(data, V):
    """Return shifts (q, n_columns) of a crossed design whose least levels are in the intercept."""
    return least_into_intercept(V, data.design, 0, data.learned.blocks)


def _column(X, exposure):
    """Return X and an exposure, of which a name is a column of obs, or of a DataFrame, which then is not a feature."""
    if not isinstance(exposure, str):
        return X, exposure
    table = X.obs if is_annotated(X) else X
    if exposure not in getattr(table, "columns", ()):
        raise ValueError(f"exposure={exposure!r} is not a column of X, nor of its obs; pass one number for each row.")
    return X if table is not X else X.drop(columns=exposure), table[exposure]


class _Indexed:
    """The index of the rows of something whose columns do not matter."""

    def __init__(self, index):
        self.index = index
