"""Inspect a fitted model: errors of rows, shifts of new strata, the stratum of a row, the need for strata.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import _safe_indexing

from fastnmf.core import shifts as shift_estimation
from fastnmf.core.factors import pad, scaled
from fastnmf.core.options import check_choice, check_integer
from fastnmf.core.row_errors import divided_gains, row_divergences, row_errors
from fastnmf.core.thresholds import ROUNDED_RISE
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.annotated import is_annotated, with_labels
from fastnmf.data.labels import encode_labels, known_labels, places, values_of
from fastnmf.data.matrix import as_csr, check_pointers
from fastnmf.data.ranking import feature_scores, strongest_of
from fastnmf.data.strata import Strata
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import threads
from fastnmf.models.base.explanation import (
    ExplainedStratum,
    Explanation,
    gain_and_weight,
    normalized_losses,
    null_divergence,
    verdict,
)
from fastnmf.models.base.for_checkers import StrataFeatures
from fastnmf.typing import Array, Floats, Labels, Matrix, Names, Ranking

UNKNOWN_STRATA = ("error", "estimate", "mean")


# Methods that need the one stratum of each row -> why, and what to do instead.
REFUSED = {
    "predict_stratum": "a row has several shifts, so there is no single label to predict; compare score for designs",
    "estimate_shifts": "an unseen level alone does not determine its shift; set unknown_strata='mean', or fit again",
    "predict_entries": "the design of the training rows is not kept; use inverse_transform(W_, ...)",
    "recommend": "the design of the training rows is not kept; use inverse_transform(transform(X, ...), ...)",
    "similar_features": "the design of the training rows is not kept; use fastnmf.metrics on components_",
}


def refuse_with_design(model, method):
    """Raise ValueError where the model was fitted with a design and a method cannot use it."""
    if getattr(model, "_is_designed", False):
        raise ValueError(f"{method} is not available after a fit with a design: {REFUSED[method]}.")


def is_kullback_leibler(model, what):
    """Return True for the Kullback-Leibler divergence, False for the squared error; raise for other losses."""
    options = model._options()
    if options.is_squared:
        return False
    if options.is_kullback_leibler:
        return True
    raise ValueError(
        f"{what} supports 'frobenius' and 'kullback-leibler' only, but this model has {options.loss_given}."
    )


def open_data(model, X, strata, *, is_masked=False):
    """Return X as float64 `Strata`, and the model's padded components and shifts, or None, all in the inner scale.

    Parameters
    ----------
    model : BaseNMF
    X : sparse matrix or array (n_samples, n_features)
    strata : array-like (n_samples,), or None
    is_masked : bool, default=False
        Whether X may have missing entries.
    """
    X = model._validated(X, reset=False)
    if model._has_shifts and strata is None and len(model.strata_) > 1:
        raise ValueError(f"This model has {len(model.strata_)} strata; pass strata=, one label per row.")
    labels = model.strata_ if model._has_shifts else None
    data = model._observed(X.astype(np.float64, copy=False), model._options(), strata, labels=labels)
    if data.entry_weights is not None and not is_masked:
        raise ValueError(
            "X has missing entries, but new shifts, predict_stratum and explain need complete rows; fill them, for "
            "example with inverse_transform."
        )
    H = pad(scaled(model.components_.T.astype(np.float64), data.log4_scale), data)
    return data, H, _inner_shifts(model.shifts_, data) if model._has_shifts else None


def _inner_shifts(V, data):
    """Return shifts of a model as readers take them, float64 in the inner scale of the data."""
    V = shift_arrays.as_read(V)
    return shift_arrays.mapped(V, lambda v: scaled(v.astype(np.float64), 2 * data.log4_scale))


def divergences_of_rows(model, X, strata):
    """Return the Kullback-Leibler divergence of every row of X from the model, (n_samples,)."""
    if getattr(model, "_has_own", False):
        data, _, _ = open_data(model, X, strata)
        W, own = model._weights_in_parts(data)
        return row_divergences(data, W, model.components_, shift_arrays.as_read(model.shifts_), own)
    W = np.asarray(model.transform(X, strata=strata) if model._has_shifts else model.transform(X))
    data, _, _ = open_data(model, X, strata)
    V = shift_arrays.as_read(model.shifts_) if model._has_shifts else np.zeros((1, model.components_.shape[1]))
    return row_divergences(data, W, model.components_, V)


def unscaled_errors(errors, data):
    """Return squared errors of rows in the units of the user, infinite where they overflow."""
    with np.errstate(over="ignore"):
        return np.ldexp(errors, -4 * data.log4_scale)


class RowErrorsMixin:
    """Mixin that computes the error of each row."""

    def reconstruction_errors(self: Any, X: Matrix, *, strata: Labels | None = None) -> Floats:
        """Return the squared error (or divergence) of every row.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), default=None
            Label of each row, for models with strata; labels unseen in fit are treated as in `transform`.

        Returns
        -------
        ndarray (n_samples,) of float64
            ``min_{w >= 0} ||a - v - w H||²`` for every row a, over the known entries. If all entries are known, small
            errors, too, are accurate to six digits; it is infinite if a square overflows float64. For the
            Kullback-Leibler loss: the divergence of the row from its model.

        Raises
        ------
        ValueError
            X or strata that `transform` rejects; strata for a model without strata; a loss other than the squared error
            and Kullback-Leibler.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import NMF
        >>> X = np.outer([1.0, 2, 3], [1.0, 0, 2])
        >>> model = NMF(1, random_state=0).fit(X)
        >>> model.reconstruction_errors([[0.0, 1, 0], [2, 0, 4]]).round(6)
        array([1., 0.])
        """
        self._check_fitted()
        X, strata = with_labels(X, strata)
        if strata is not None and not self._has_shifts:
            raise ValueError(f"{type(self).__name__} has no strata; leave strata= out, or use StratifiedNMF.")
        model = self._with_new_strata(X, strata) if self._has_shifts else self
        with threads(self.n_threads):
            if is_kullback_leibler(self, "reconstruction_errors"):
                return divergences_of_rows(model, X, strata)
            data, H, V = open_data(model, X, strata, is_masked=True)
            errors = self._row_errors(data, H, V)
        return unscaled_errors(errors, data)

    def _row_errors(self, data, H, V):
        """Return the squared error of every row, float64 (n_rows,), for what `open_data` returns."""
        return row_errors(data, len(self.components_), H, V)


class InspectionMixin:
    """Mixin of models with strata; `fit` sets ``components_``, ``shifts_``, ``strata_`` and ``stratum_sizes_``."""

    reconstruction_errors, _row_errors = RowErrorsMixin.reconstruction_errors, RowErrorsMixin._row_errors

    _has_own = False  # whether strata have components of their own

    if TYPE_CHECKING:

        def top_features(
            self,
            n: int = 10,
            feature_names: Names | None = None,
            *,
            by: Ranking | None = None,
            specific: Mapping[str, Any] | None = None,
        ) -> StrataFeatures: ...

    def estimate_shifts(self, X: Matrix, strata: Labels | None = None) -> tuple[Array, Floats]:
        """Estimate the shifts of strata that were absent in fit, from their rows.

        Minimises ``||A - 1 vᵀ - W H||² + 5 ||v - v̄||²`` over v, W >= 0 for every new stratum A separately: H is that of
        the fit, v̄ the mean shift of its rows. The second part weighs as much as five rows; without it the shift would
        explain a single row completely. The problem is convex. For the Kullback-Leibler loss both parts are
        divergences.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative. Rows of known strata are ignored.
        strata : array-like (n_samples,)
            Label of each row.

        Returns
        -------
        labels : ndarray (n_new,)
            The labels that are not in `strata_`, sorted.
        shifts : ndarray (n_new, n_features), or csr_array
            As `shifts_`: of its dtype, dense or sparse, and in the gauge of the model if it has one.

        Raises
        ------
        ValueError
            X or strata cannot be used, or the loss is not the squared error or Kullback-Leibler.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import StratifiedNMF
        >>> X = np.array([[1.0, 0, 5], [2, 0, 5], [3, 1, 0], [6, 2, 0]])
        >>> model = StratifiedNMF(1, random_state=0).fit(X, strata=["a", "a", "b", "b"])
        >>> labels, shifts = model.estimate_shifts(X[:2], ["new", "new"])
        >>> labels, shifts.shape
        (array(['new'], dtype='<U3'), (1, 3))
        """
        self._check_fitted()
        refuse_with_design(self, "estimate_shifts")
        if strata is None:
            raise ValueError("estimate_shifts needs strata; pass one label per row.")
        X, strata = with_labels(X, strata)
        X = as_rows(X)
        labels, is_new, of_new = self._find_new_strata(strata, _n_rows(X))
        m, is_sparse = self.components_.shape[1], sp.issparse(self.shifts_)
        if len(labels) == 0:
            nothing = (sp.csr_array if is_sparse else np.zeros)((0, m), dtype=self.shifts_.dtype)
            return labels, nothing
        X, mean = _rows(X, is_new), self._mean_shift()
        if not is_sparse:
            return labels, self._estimated(X, labels, of_new, mean)
        code, found = places(of_new, labels), []
        for part in shift_arrays.few_at_a_time(labels, m):  # the strata are independent of each other
            is_here = (code >= part.start) & (code < part.stop)
            found.append(sp.csr_array(self._estimated(_rows(X, is_here), labels[part], of_new[is_here], mean)))
        return labels, sp.csr_array(sp.vstack(found, format="csr"))

    def _estimated(self, X, labels, strata, mean):
        """Return the shifts of new strata as a dense array, in the dtype of `shifts_`.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Rows of these strata only.
        labels : ndarray (n_new,)
        strata : array-like (n_samples,)
            Label of each row.
        mean : ndarray (n_features,)
            Mean of the fitted shifts.
        """
        is_divergence = is_kullback_leibler(self, "estimate_shifts")
        model = copy.copy(self)
        model.strata_, model.shifts_ = labels, np.repeat(mean[None], len(labels), axis=0)
        with threads(self.n_threads):
            data, H, V = open_data(model, X, strata)
            found = shift_estimation.estimate_divergence if is_divergence else shift_estimation.estimate
            V, W = found(data, len(self.components_), H, V[0])
            W, H = W[:, : len(self.components_)], H[:, : len(self.components_)].T
            _, V = shift_estimation.apply_gauge(W, H, V, data.stratum_index, getattr(self, "gauge", None))
        return scaled(V, -2 * data.log4_scale).astype(self.shifts_.dtype)

    def predict_stratum(self, X: Matrix) -> Array:
        """Return the known stratum that explains each row best.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative.

        Returns
        -------
        ndarray (n_samples,)
            For every row a the label i with the smallest ``min_{w >= 0} ||a - v(i) - w H||²`` (Kullback-Leibler: the
            smallest divergence); ties go to the first in `strata_`. Costs one inference of weights for each stratum.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import StratifiedNMF
        >>> X = np.array([[1.0, 0, 5], [2, 0, 5], [3, 1, 0], [6, 2, 0]])
        >>> model = StratifiedNMF(1, random_state=0).fit(X, strata=["a", "a", "b", "b"])
        >>> model.predict_stratum([[3.0, 0, 5], [3, 1, 0]])
        array(['a', 'b'], dtype='<U1')
        """
        self._check_fitted()
        refuse_with_design(self, "predict_stratum")
        with threads(self.n_threads):
            if not is_kullback_leibler(self, "predict_stratum"):
                data, H, _ = open_data(self._of_stratum(0, self.shifts_[:1]), X, None)
                V = _inner_shifts(self.shifts_, data)
                return self.strata_[self._nearest(data, H, V)]
            each = enumerate(shift_arrays.each_row(shift_arrays.as_read(self.shifts_)))
            errors = [divergences_of_rows(self._of_stratum(code, shift[None]), X, None) for code, shift in each]
        return self.strata_[np.argmin(errors, axis=0)]

    def _of_stratum(self, code, shift):
        """Return a copy of the model that has the stratum of this number alone, with its shift (1, n_features)."""
        model = copy.copy(self)
        model.strata_, model.shifts_ = np.array([0]), shift
        return model

    def _nearest(self, data, H, V):
        """Return the number of the stratum with the smallest squared error, for each row."""
        return shift_estimation.nearest(data, len(self.components_), H, V)

    def explain(
        self, X: Matrix, *, strata: Labels | None = None, n: int = 10, feature_names: Names | None = None
    ) -> Explanation:
        """Return how much of X the shifts and the shared components explain, and whether strata are needed.

        The squared norm of a stratum is the sum of three parts: the part that its shift alone explains,
        ``||A||² - ||A - 1v||²``, the part of the rest that the components explain, and the residual. Under the
        Kullback-Leibler divergence, the divergence of the stratum from the null model takes the place of the squared
        norm (see Notes). The division between the first two depends on the free gauge; ``gauge="max_shift"`` makes it
        unique. Whether strata are needed does not depend on the gauge: it compares the residual with that
        of the same components and one newly fitted shift for all rows. (The components were fitted together with the
        shifts of the strata; a fit without strata would find others and end with a somewhat lower loss.)

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            The training data, or new data.
        strata : array-like (n_samples,), default=None
            As in `transform`.
        n : int, default=10
            Number of features listed for each stratum.
        feature_names : array-like (n_features,), default=None
            None takes `feature_names_in_`, or else the column numbers.

        Returns
        -------
        Explanation
            A Bunch that prints as a table. ``strata``: a list of Bunches with ``label``, ``n_rows``, ``explained``,
            ``by_shift`` and ``by_shared`` (shares of the squared norm, or of the divergence from the null model; the
            last two add up to the first), ``by_own`` (with own components: what these explain of the rest, a third
            summand), ``features`` (those whose shift exceeds the mean shift of the other strata
            most, as in `top_features`) and ``differences`` (by how much, less where others have the feature, too).
            ``loss``, ``loss_one_shift``, ``loss_no_shift``: square root of the squared error divided by the squared
            norm (of the divergence divided by that of the null model), for a shift for each stratum, one shift for all,
            and no shift. ``gain``: share of the error with one shift that the shifts of the strata remove. ``chance``:
            share of the error of pure noise that as many additional parameters would remove. ``weight``: the removed
            error divided by all that the model explains. ``verdict``: one sentence.

        Raises
        ------
        ValueError
            X, strata, names or n cannot be used, or the loss of the model is neither the squared error nor
            Kullback-Leibler.

        Notes
        -----
        The null model of the Kullback-Leibler divergence is independence, ``m = r cᵀ / N``, with the sums r of the rows
        of X, c of its columns, and N of all, as in `normalized_loss_`; twice the divergence is the deviance of Poisson
        counts. An entry x with the model ``y = v + w h`` lowers the divergence from the null by
        ``x log(y / m) - y + m``. It is divided as the expectation step of Lee and Seung 2001 divides x: the shift gets
        ``x (v / y) (1 + log(y / m)) - v``, the components the same with ``w h`` in place of v. The sums over a stratum
        add up to what the model explains of it. A part is negative where it fits worse than the null model.
        """
        self._check_fitted()
        check_integer("n", n)
        X, strata = with_labels(X, strata)
        is_divergence = is_kullback_leibler(self, "explain")
        names = self._feature_names(feature_names)
        model = self._with_new_strata(X, strata)
        with threads(self.n_threads):
            found = _explained_divergence if is_divergence else _explained_squares
            data, sums, left_by = found(self, model, X, strata)
        sizes, (whole, by_shift, by_shared, *by_own) = data.groups.sizes, sums
        scores = feature_scores(model.shifts_, "contrast", len(self.strata_))
        above = [strongest_of(each, n) for each in scores]
        total = np.where(whole > 0, whole, 1)
        strata_ = [
            ExplainedStratum(
                label=label,
                n_rows=int(sizes[code]),
                explained=float((by_shift[code] + by_shared[code] + sum(part[code] for part in by_own)) / total[code]),
                by_shift=float(by_shift[code] / total[code]),
                by_shared=float(by_shared[code] / total[code]),
                **({"by_own": float(by_own[0][code] / total[code])} if by_own else {}),
                features=[str(names[j]) for j in above[code][0]],
                differences=above[code][1],
            )
            for code, label in enumerate(values_of(model.strata_))
        ]
        losses = normalized_losses(left_by, whole.sum())
        gain, weight = gain_and_weight(*left_by[:2], whole.sum())
        chance = (np.count_nonzero(sizes) - 1) / data.shape[0] + self._own_share(data)
        of_strata = {"of_strata": self._of_strata()} if self._has_own else {}
        error = "divergence" if is_divergence else "squared error"
        return Explanation(
            strata=strata_,
            loss=float(losses[0]),
            loss_one_shift=float(losses[1]),
            loss_no_shift=float(losses[2]),
            gain=float(gain),
            chance=float(chance),
            weight=float(weight),
            **of_strata,
            verdict=verdict(np.count_nonzero(sizes), losses, gain, chance, weight, error, **of_strata),
        )

    def _own_share(self, data):
        """Return the share of the error of pure noise that own components of strata would remove."""
        return 0.0

    def _transform(self, X, strata=None):
        """Return the weights; those of rows of known strata do not depend, to the last bit, on rows of new strata."""
        X, strata = with_labels(X, strata)
        X = X if strata is None else as_rows(X)
        labels, is_new, of_new = self._find_new_strata(strata, _n_rows(X))
        if len(labels) == 0 or self._policy() == "error":
            return super()._transform(X, strata)
        part = self._with_new_strata(_rows(X, is_new), of_new)._transform(_rows(X, is_new), of_new)
        if is_new.all():
            return part
        W = np.empty((len(is_new), part.shape[1]), part.dtype)
        W[is_new] = part
        W[~is_new] = super()._transform(_rows(X, ~is_new), known_labels(strata, "strata", len(is_new))[~is_new])
        return W

    def _score(self, X, strata=None, *args, **more):
        """Return the score as `BaseNMF` does, with shifts for new strata as `unknown_strata` says.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), default=None
            Label of each row.
        *args, **more
            Further arguments of the `_score` of the base.

        Returns
        -------
        float
        """
        X, strata = with_labels(X, strata)
        model = self._with_new_strata(X, strata)
        return super()._score(X, strata, *args, **more) if model is self else model._score(X, strata, *args, **more)

    def _inverse_transform(self, W, strata=None):
        self._check_fitted()
        labels, _, _ = self._find_new_strata(strata, _n_rows(W))
        if len(labels) and self._policy() != "error":
            raise ValueError(
                f"inverse_transform received the label {values_of(labels)[0]!r}, which was not seen in fit, and cannot "
                "estimate a shift without data; add the shift from estimate_shifts to W @ components_."
            )
        return super()._inverse_transform(W, strata)

    def _policy(self):
        policy = getattr(self, "unknown_strata", "error")
        check_choice("unknown_strata", policy, UNKNOWN_STRATA)
        return policy

    def _mean_shift(self):
        """Return the mean of the shifts over the training rows, float64 (n_features,)."""
        V = shift_arrays.as_read(self.shifts_)
        sizes = getattr(self, "stratum_sizes_", np.ones(V.shape[0]))
        if len(sizes) != V.shape[0]:
            raise ValueError(
                f"stratum_sizes_ has {len(sizes)} entries, but shifts_ has {V.shape[0]} rows; make both "
                "agree, or fit again."
            )
        weights = sizes / np.sum(sizes)
        with single_threaded_blas():  # the bits would depend on the number of BLAS threads
            return weights @ V.astype(np.float64)

    def _find_new_strata(self, strata, n_rows):
        """Return the labels that were absent in fit, a mask of their rows, and the labels of these rows."""
        self._check_fitted()
        if strata is None:
            return self.strata_[:0], np.zeros(n_rows, bool), self.strata_[:0]
        stratum_index, found = encode_labels(strata, n_rows)
        is_unseen = places(found, self.strata_) < 0
        is_new = is_unseen[stratum_index]
        return found[is_unseen], is_new, found[stratum_index][is_new]

    def _with_new_strata(self, X, strata):
        """Return a model with shifts for all strata of X: this model, or a copy with the shifts of new strata added."""
        X = X if strata is None else as_rows(X)
        labels, is_new, of_new = self._find_new_strata(strata, _n_rows(X))
        policy = self._policy()
        if len(labels) == 0 or policy == "error":
            return self
        if policy == "estimate":
            _, shifts = self.estimate_shifts(_rows(X, is_new), of_new)
        else:
            mean = self._mean_shift()[None].astype(self.shifts_.dtype)
            shifts = sp.csr_array(mean)[[0] * len(labels)] if sp.issparse(self.shifts_) else mean.repeat(len(labels), 0)
        model = copy.copy(self)
        model.strata_ = np.empty(len(self.strata_) + len(labels), object)  # old and new labels may have different types
        model.strata_[:] = [*values_of(self.strata_), *values_of(labels)]
        model.shifts_ = shift_arrays.stacked(self.shifts_, shifts)
        return model


def _explained_squares(fitted, model, X, strata):
    """Return the data, sums of squares by stratum, and the squared errors by which strata are judged.

    Parameters
    ----------
    fitted, model : InspectionMixin
        The model as it was fitted, and with shifts for all strata of X.
    X : sparse matrix or array (n_samples, n_features)
    strata : array-like (n_samples,), or None

    Returns
    -------
    data : Strata
    sums : tuple of three or four ndarray (n_strata,)
        The squared norm, and what the shift, the shared components and the own ones, if there are any, explain of it.
    left_by : list of three float
        Squared errors with a shift for each stratum, with one for all, and with none.
    """
    data, H, V = open_data(model, X, strata)
    rank = len(fitted.components_)
    nothing, residual = sp.csr_array(V.shape), row_errors(data, rank, H, V)
    parts = [data.row_square_sums(nothing), data.row_square_sums(V), residual]
    parts = parts if not fitted._has_own else [*parts, model._row_errors(data, H, V)]
    squares, unshifted, left, *rest = (np.bincount(data.stratum_index, part, data.n_strata) for part in parts)
    whole = Strata(data.X, np.array([0]), np.zeros(data.shape[0], np.int32))
    mean = scaled(fitted._mean_shift(), 2 * data.log4_scale)
    one, _ = shift_estimation.estimate(whole, rank, H, mean, tau=0.0, max_rounds=20)
    by_own = [np.where(np.abs(left - part) > ROUNDED_RISE * squares, left - part, 0.0) for part in rest]
    sums = squares, squares - unshifted, unshifted - left, *by_own
    left_by = [(rest or [left])[0].sum()] + [row_errors(whole, rank, H, shift).sum() for shift in (one, None)]
    return data, sums, left_by


def _explained_divergence(fitted, model, X, strata):
    """Return the same as `_explained_squares` of the Kullback-Leibler divergence: its first sum is that of the null.

    Parameters
    ----------
    fitted, model, X, strata :
        As for `_explained_squares`.
    """
    data, H, V = open_data(model, X, strata)
    W, own = model._weights_in_parts(data) if model._has_own else (np.asarray(model._transform(X, strata)), None)
    factors = W, model.components_, shift_arrays.as_read(model.shifts_), own
    gains, left = divided_gains(data, *factors), row_divergences(data, *factors).sum()
    if null_divergence(data.X) == 0:  # what gains are then is rounding
        gains = tuple(0 * part for part in gains)
    sums = tuple(np.bincount(data.stratum_index, part, data.n_strata) for part in gains)
    whole = Strata(data.X, np.array([0]), np.zeros(data.shape[0], np.int32))
    mean = scaled(fitted._mean_shift(), 2 * data.log4_scale)
    one, _ = shift_estimation.estimate_divergence(whole, len(fitted.components_), H, mean, tau=0.0)
    left_by, pooled = [left], copy.copy(fitted)
    pooled.strata_, pooled.stratum_sizes_ = np.array([0]), np.array([data.shape[0]])
    vars(pooled).pop("_own_stack", None)
    for shift in (scaled(one, -2 * data.log4_scale), np.zeros_like(one)):
        pooled.shifts_ = shift.astype(fitted.components_.dtype)
        left_by.append(divergences_of_rows(pooled, X, None).sum())
    return data, sums, left_by


def as_rows(X):
    """Return X in a format whose rows can be indexed: sparse formats other than CSR become CSR."""
    if not sp.issparse(X):
        return X
    check_pointers(X)
    return X if X.format == "csr" else as_csr(X)


def _rows(X, is_in):
    """Return some rows of X; those of an AnnData on disk in memory, as its views have no views."""
    if not is_annotated(X):
        return _safe_indexing(X, is_in)
    return X[is_in].to_memory() if getattr(X, "isbacked", False) else X[is_in]


def _n_rows(X):
    return X.shape[0] if hasattr(X, "shape") and len(X.shape) else len(X) if isinstance(X, (list, tuple)) else 0
