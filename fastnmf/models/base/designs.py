"""Models whose rows have several shifts: crossed strata, a design matrix, an exposure, smooth levels.

Everything that a model of strata has passes labels of rows through its methods. With a design, `RowsOfDesign` takes the
place of the labels, from the public methods down to `_observed`, where it becomes data.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from fastnmf.core.effects import least_into_intercept
from fastnmf.core.factors import pad, scaled
from fastnmf.core.options import check_integer, check_number
from fastnmf.core.row_errors import row_divergences, row_errors
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.annotated import check_index, is_annotated, with_labels
from fastnmf.data.design import Design, DesignedStrata, RowsOfDesign, is_one_hot
from fastnmf.data.labels import is_crossed
from fastnmf.data.matrix import as_matrix
from fastnmf.data.ranking import feature_scores, strongest_of
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.explain_factors import explain_factors
from fastnmf.models.base.inspection import Explanation
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.models.base.ratings import RatingsMixin
from fastnmf.typing import Groups, Matrix, Names, SparseOrDense, Vector

LEAST_SHARE = 1e-3  # of the even share of the data, of a shift at the start of multiplicative updates


def check_smoothness(name, value):
    """Raise unless `value` is a number >= 0, or a dict of factor -> number >= 0."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            check_number(f"{name}[{key!r}]", each)
    else:
        check_number(name, value)


class DesignMixin:
    """Mixin that lets a model with strata fit and read designs; precedes all other bases.

    After a fit with a design that is more than one label for each row, ``_design`` holds what `Design` needs beside the
    public attributes ``shift_names_``, ``strata_`` and ``stratum_sizes_``.
    """

    _private_state = (*RatingsMixin._private_state, "_design")

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
        names, sizes = self.shift_names_, np.asarray(self.stratum_sizes_, dtype=np.float64)
        return Design(self._design["kind"], self._design["factors"], levels, names, self._design["has_exposure"], sizes)

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
        is_smooth = bool(self.smoothness) if is_fit else False
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
        learned, n_rows, laplacian = labels, X.shape[0], None
        given = strata.strata, strata.design, strata.exposure
        if learned is None:
            self._check_design(options, weight)
            learned, Z = Design.learn(*given, n_rows)
            laplacian = learned.laplacian(self.smoothness)
        else:
            Z = learned.encode(*given, n_rows, "mean" if self._policy() == "mean" else "error")
        names = learned.levels[0] if learned.is_plain else learned.names  # by which a start is matched
        if labels is None and laplacian is None and is_one_hot(Z):  # in the time, and with the bits, of strata
            data = Strata(as_matrix(X), names, Z.indices)
        else:
            data = DesignedStrata.of_matrix(X, names, Z, laplacian)
        data.sparse_shifts, data.learned = options.sparse_shifts, learned
        return data

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

        Least squares, and the canonical form of an earlier fit, leave shifts at zero, where such updates keep them.

        Parameters
        ----------
        data, start, given, options, level :
            As for `BaseNMF._alternate`.
        """
        W, H, v, V = start
        if options.is_multiplicative and V is None and isinstance(data, DesignedStrata):
            v = np.maximum(v, LEAST_SHARE * data.even_shifts())
        return super()._alternate(data, (W, H, v, V), given, options, level)

    def _set_factors(self, data, fit, options):
        """Set the attributes, with the least level of each factor in the intercept, if no penalty on V decides that."""
        is_free = is_crossed_design(data) and not (options.V.alpha or options.V.objects)
        if is_free:
            V = least_levels(data, data.pattern.as_read(fit.factors["V"]))
            fit.factors.overwrite({"V": data.pattern.entries(V)})
        super()._set_factors(data, fit, options)
        if is_free and options.gauge == "max_shift":  # which filled the levels of factors
            self.shifts_ = least_levels(data, self.shifts_)

    def _attributes_of_strata(self, data):
        for name in ("_design", "shift_names_", "strata_", "row_strata_"):
            vars(self).pop(name, None)
        learned = getattr(data, "learned", None)
        if learned is None:
            return super()._attributes_of_strata(data)
        found = {"stratum_sizes_": data.groups.sizes}
        if learned.kind != "matrix":
            found["strata_"] = learned.levels if learned.kind == "crossed" else learned.levels[0]
        if learned.is_plain:
            index = data.design.indices.astype(np.int32) if isinstance(data, DesignedStrata) else data.stratum_index
            return found | {"row_strata_": index}
        kept = {"kind": learned.kind, "factors": learned.factors, "has_exposure": learned.has_exposure}
        return found | {"shift_names_": learned.names, "_design": kept}

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

    def estimate_dispersion(
        self,
        X: Matrix,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | None = None,
        method: Literal["ml", "moments"] = "ml",
        kind: Literal["feature", "global"] = "feature",
    ) -> Any:
        """Return by how much the counts of each feature vary more than Poisson counts with the mean of the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Counts, the training data or new ones.
        strata, design, exposure : default=None
            As in `transform`.
        method, kind :
            As for `NMF.estimate_dispersion`, which says more.

        Returns
        -------
        ndarray (n_features,) of float64, or float if `kind` is ``"global"``

        Raises
        ------
        ValueError
            Rows that `transform` refuses, missing values, own components, or entries too large or too small for counts.
        """
        X, rows = self._rows_given(X, strata, design, exposure)
        return super().estimate_dispersion(X, strata=rows, method=method, kind=kind)

    def _with_new_strata(self, X, strata):
        return self if self._is_designed else super()._with_new_strata(X, strata)

    def _counts_of(self, model, X, strata):
        if not self._is_designed:
            return super()._counts_of(model, X, strata)
        X = self._validated(X, reset=False).astype(np.float64, copy=False)
        return self._observed(X, self._options(), strata, labels=self._fitted_design()), self.shifts_

    # ---------------------------------------------------------------- new rows

    def _prepared(self, X, strata, options):
        if not self._is_designed:
            return super()._prepared(X, strata, options)
        X = self._validated(X, reset=False)
        data = self._observed(X, options, strata, labels=self._fitted_design())
        return data, *self._fitted_factors(data)

    def _given_or_wrapped(self, X, strata):
        """Return X and a `RowsOfDesign`, also for callers that know labels only."""
        if isinstance(strata, RowsOfDesign):
            return X, strata
        return self._rows_given(X, strata, None, None)

    def _transform(self, X, strata=None):
        if not self._is_designed:
            return super()._transform(X, strata)
        self._check_fitted()
        return BaseNMF._transform(self, *self._given_or_wrapped(X, strata))

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
        self._check_fitted()
        return BaseNMF._score(self, *self._given_or_wrapped(X, strata), *args, **more)

    def _inverse_transform(self, W, strata=None):
        if not self._is_designed:
            return super()._inverse_transform(W, strata)
        plain = copy.copy(self)
        vars(plain)["_has_shifts"] = False
        product = BaseNMF._inverse_transform(plain, W)
        if not isinstance(strata, RowsOfDesign):
            strata = RowsOfDesign(with_labels(W, strata)[1])
        n_rows, policy = product.shape[0], "mean" if self._policy() == "mean" else "error"
        Z = self._fitted_design().encode(strata.strata, strata.design, strata.exposure, n_rows, policy)
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
        return np.ldexp(errors, -4 * data.log4_scale)

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


def is_crossed_design(data):
    """Tell whether the data of a fit have an intercept and the levels of several factors."""
    learned = getattr(data, "learned", None)
    return learned is not None and learned.kind == "crossed"


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
