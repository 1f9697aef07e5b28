"""Encode class labels, some of them unknown; add them to a fit; predict classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import ClassifierTags
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.factors import pad, row_tasks
from fastnmf.core.losses.labels import LabelFit
from fastnmf.core.problem import Subproblem
from fastnmf.core.thresholds import MU_FLOOR, unit_of
from fastnmf.core.updates import HALS, MU, WeightedRows
from fastnmf.data.labels import distinct, kind_of, places, plain, read_labels
from fastnmf.models.base.for_checkers import available_if, like_transform
from fastnmf.typing import Array, Floats, Matrix


def encode_classes(y, n_samples, classes=None):
    """Return the sorted classes and the class index of each sample, -1 where the class is unknown.

    Parameters
    ----------
    y : array-like (n_samples,)
        Of one kind, such as numbers or text; -1, NaN, None, NaT, NA and masked entries are unknown.
    n_samples : int
        Expected length of y.
    classes : ndarray (n_classes,), default=None
        The classes of the fit, sorted; a label that is not among them gets the index -2. None: the distinct labels.

    Returns
    -------
    classes : ndarray (n_classes,)
    class_index : ndarray (n_samples,) of int
        Index into `classes`; -1 for unknown, -2 for a label that is not in `classes`.

    Raises
    ------
    ValueError
        y has another shape, has no label at all, or has labels of several kinds.
    """
    y, is_unknown = read_labels(y, "y", n_samples, may_be_column=True)
    if y.dtype.kind in "iuf":
        is_unknown |= y == -1
    elif y.dtype.kind == "O":
        is_unknown |= np.array([kind_of(label) == "numbers" and label == -1 for label in y], bool)
    if is_unknown.all() and classes is None:
        raise ValueError("y has no label: all are -1, NaN, None or masked. Leave y out, or label some samples.")
    found, place = distinct(plain(y[~is_unknown]), "y")
    class_index = np.full(n_samples, -1)
    if classes is not None:
        at = places(found, classes)
        place = np.where(at < 0, -2, at)[place]
    class_index[~is_unknown] = place
    return found if classes is None else classes, class_index


def class_indicators(class_index, n_classes):
    """Return the 0-1 class matrix (n_samples, n_classes) and a mask (n_samples, 1), 1 where the class is known."""
    Y = np.zeros((len(class_index), n_classes))
    known = np.flatnonzero(class_index >= 0)
    Y[known, class_index[known]] = 1
    return Y, (class_index >= 0)[:, None].astype(np.float64)


def _reads_classes(model):
    """Raise AttributeError if a model ignores labels: by scikit-learn's convention it has no `predict` then."""
    if getattr(model, "label_weight", 0) == 0:
        raise AttributeError(f"{type(model).__name__} with label_weight=0 ignores labels; set label_weight > 0.")
    return True


class ClassPredictionMixin:
    """Mixin that predicts classes, for models that are fitted with labels.

    `fit` sets ``classes_`` and ``coef_`` if labels were given.
    """

    label_weight: float
    classes_: Array
    coef_: Floats

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags = ClassifierTags()
        return tags

    @available_if(_reads_classes)
    @like_transform
    def decision_function(self, X: Matrix, **which: Any) -> Floats:
        """Return the score of every class: a linear function of the weights of the sample.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        **which
            Further arguments of `transform`, such as `strata` or `level`. The default of `level` is the last level that
            had labels in fit.

        Returns
        -------
        ndarray (n_samples, n_classes)
        """
        _, coef, which = self._labelled(which)
        return np.asarray(self.transform(X, **which)) @ coef.T

    @available_if(_reads_classes)
    @like_transform
    def predict(self, X: Matrix, **which: Any) -> Array:
        """Return the class with the highest score, (n_samples,); parameters as in `decision_function`."""
        scores = self.decision_function(X, **which)
        return self._labelled(which)[0][scores.argmax(axis=1)]

    @available_if(_reads_classes)
    @like_transform
    def predict_proba(self, X: Matrix, **which: Any) -> Floats:
        """Return the scores, clipped at 0 and divided by their sum, (n_samples, n_classes).

        These are shares, not calibrated probabilities. They are uniform where no score is positive. Parameters as in
        `decision_function`.
        """
        scores = np.maximum(self.decision_function(X, **which), 0)
        total = scores.sum(axis=1, keepdims=True)
        return np.divide(scores, total, out=np.full_like(scores, 1 / scores.shape[1]), where=total > 0)

    def _accuracy(self, X, y, **which):
        classes, _, _ = self._labelled(which)
        class_index = encode_classes(y, X.shape[0] if hasattr(X, "shape") else len(X), classes)[1]
        if (class_index == -1).all():
            raise ValueError("y has no label: all are -1, NaN or None; score needs some.")
        is_known = class_index != -1
        return float(np.mean(self.decision_function(X, **which).argmax(axis=1)[is_known] == class_index[is_known]))

    def _labelled(self, which):
        """Return the classes, the coefficients and the arguments of `transform` that belong to them."""
        check_is_fitted(self)
        if not hasattr(self, "classes_"):
            raise ValueError(f"This {type(self).__name__} was fitted without labels; pass y to fit.")
        return self.classes_, self.coef_, which


def add_labels(data, problem, factors, y, options):
    """Add the loss of class labels, and its coefficients B as a factor, to the problem of a fit.

    Parameters
    ----------
    data : Strata
    problem : Problem
        Changed in place.
    factors : Factors
        The start; gets the factor B (n_classes, K).
    y : array-like (n_rows,)
        Class of each row; -1, NaN or None if it is unknown.
    options : Options
    """
    if data.row_scale is not None:
        raise ValueError("Labels were given with weights of rows (sample_weight, strata_weight); leave one out.")
    classes, class_index = encode_classes(y, data.shape[0])
    Y, known = class_indicators(class_index, len(classes))
    is_squared, is_mu = options.label_loss == "frobenius", options.is_multiplicative
    weight = options.label_weight * (problem.scale or 1.0) / known.sum()
    unit = unit_of(factors["W"])  # B has its inverse as unit
    means = Y.T @ (factors["W"][:, : factors.rank] / unit) / np.maximum(Y.sum(axis=0), 1)[:, None]
    B = pad((means + (0.1 * means.mean() + 1e-3 if is_mu else 0.0)) / unit, data)
    factors.add("B", B)
    tasks, floor = row_tasks(B), MU_FLOOR[data.dtype]
    problem.losses.append(LabelFit(Y, known, weight, is_squared, classes))
    problem.updates["B"] = MU(eps=0.0, floor=floor) if is_mu else HALS()
    if is_squared:
        problem.updates["W"] = WeightedRows.of_squares(data) if is_mu else WeightedRows()
    problem.tasks["B"], problem.subproblems["B"] = tasks, Subproblem(tasks)
    problem.schedule += (("B", 1 if is_mu else 2),)
    problem.equalize_norms = problem.balance_penalties = False
    problem.reseed_dead_component = None


def set_label_attributes(model, data, factors, label_losses):
    """Set `classes_` and `coef_` of a model that was fitted with labels; remove those of an earlier fit otherwise.

    Parameters
    ----------
    model : estimator
    data : Strata
    factors : Factors
        With B where there were labels.
    label_losses : list
        Its last entry is then the `LabelFit`.
    """
    for name in ("classes_", "coef_"):
        vars(model).pop(name, None)
    if "B" in factors.arrays:
        B = factors["B"][:, : factors.rank].astype(np.float64)
        model.classes_ = label_losses[-1].classes
        model.coef_ = np.ldexp(B, data.log4_scale).astype(data.dtype)
