"""Encode class labels, some of them unknown; add them to a fit; predict classes.

A fit with labels minimises ``||Y - W Bᵀ||²`` beside the loss of X, and its W has seen the labels. The weights of new
rows have not, so B says little about them. Classes are therefore predicted by coefficients that are refitted, to the
weights that `transform` gives to the labelled rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import ClassifierTags
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.alternate import update_alone
from fastnmf.core.classes import class_coefficients, softmax
from fastnmf.core.factors import pad, row_tasks
from fastnmf.core.losses.labels import LabelFit
from fastnmf.core.problem import Subproblem
from fastnmf.core.thresholds import MU_FLOOR, unit_of
from fastnmf.core.updates import HALS, MU, WeightedRows
from fastnmf.core.warn import warn
from fastnmf.data.labels import distinct, kind_of, places, plain, read_labels
from fastnmf.models.base.for_checkers import available_if, like_transform
from fastnmf.typing import Array, Floats, Matrix

STARTING_UPDATES = 50  # of B, for the weights of an earlier fit; it is as small as the classes are few
LABEL_ATTRIBUTES = ("classes_", "coef_", "intercept_", "B_")


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
        y has a different shape, has no label at all, or has labels of several kinds; the classes of a fit are fractions
        or infinite.
    """
    given = y
    y, is_unknown = read_labels(given, "y", n_samples, may_be_column=True)
    if classes is None and getattr(given, "ndim", 1) == 2:  # the beginning is scikit-learn's, which looks for it
        warn(
            f"A column-vector y was passed when a 1d array was expected: y has shape {given.shape}; pass y.ravel().",
            DataConversionWarning,
        )
    is_minus_one = np.zeros(n_samples, bool)
    if y.dtype.kind in "iuf":
        is_minus_one = ~is_unknown & (y == -1)
    elif y.dtype.kind == "O":
        is_minus_one = np.array([kind_of(label) == "numbers" and label == -1 for label in y], bool)
    is_unknown |= is_minus_one
    if is_unknown.all() and classes is None:
        raise ValueError("y has no label: all are -1, NaN, None or masked. Leave y out, or label some samples.")
    found, place = distinct(plain(y[~is_unknown]), "y")
    if classes is None:
        _check_classes(found, is_minus_one.any())
    class_index = np.full(n_samples, -1)
    if classes is not None:
        at = places(found, classes)
        place = np.where(at < 0, -2, at)[place]
    class_index[~is_unknown] = place
    return found if classes is None else classes, class_index


def _check_classes(found, has_minus_one):
    """Raise ValueError if the distinct labels of a fit are not classes; warn if -1 is likely to be meant as one."""
    if found.dtype.kind == "f":
        if np.isinf(found).any():
            raise ValueError("Input y contains infinity; classes are whole numbers or text.")
        fractions = found[found != np.rint(found)]
        if len(fractions):
            raise ValueError(
                f"Unknown label type: continuous. y has the label {fractions[0]:g}; classes are whole numbers or text."
            )
    if has_minus_one and len(found) == 1 and found[0] == 1:
        warn(
            "y has the labels -1 and 1, but -1 marks rows whose class is unknown, which leaves one class; if -1 is a "
            "class, use 0 instead.",
            UserWarning,
        )


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
    """Mixin that predicts classes, for models that are fitted with labels: classifiers where ``label_weight > 0``.

    `fit` sets ``classes_``, ``coef_`` and ``intercept_`` if labels were given.
    """

    label_weight: float
    classes_: Array
    coef_: Floats
    intercept_: Floats
    B_: Floats

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if getattr(self, "label_weight", 0) != 0:  # y stays optional
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        return tags

    @available_if(_reads_classes)
    @like_transform
    def decision_function(self, X: Matrix, **which: Any) -> Floats:
        """Return the score of every class: a linear function of the weights that `transform` gives to the sample.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        **which
            Further arguments of `transform`, such as `strata` or `level`. The default of `level` is the last level that
            had labels in fit.

        Returns
        -------
        ndarray (n_samples, n_classes), or (n_samples,) for two classes
            ``transform(X) coef_ᵀ + intercept_``. For two classes the score of the second minus that of the first, as
            scikit-learn requires.
        """
        scores = self._class_scores(X, which)[1]
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    @available_if(_reads_classes)
    @like_transform
    def predict(self, X: Matrix, **which: Any) -> Array:
        """Return the class with the highest score, (n_samples,); parameters as in `decision_function`."""
        classes, scores = self._class_scores(X, which)
        return classes[scores.argmax(axis=1)]

    @available_if(_reads_classes)
    @like_transform
    def predict_proba(self, X: Matrix, **which: Any) -> Floats:
        """Return the probability of every class, (n_samples, n_classes); parameters as in `decision_function`.

        The exponentials of the scores, divided by their sum, as in logistic regression. They are overconfident if few
        samples have labels; `sklearn.calibration.CalibratedClassifierCV` calibrates them. A model from a file of
        version 0.1, whose scores have no intercepts, returns its scores clipped at 0 and divided by their sum, as that
        version did.
        """
        scores = self._class_scores(X, which)[1]
        if not hasattr(self, "intercept_"):
            shares = np.maximum(scores, 0)
            total = shares.sum(axis=1, keepdims=True)
            return np.divide(shares, total, out=np.full_like(shares, 1 / shares.shape[1]), where=total > 0)
        return softmax(scores)

    def _class_scores(self, X, which):
        """Return the classes and the scores (n_samples, n_classes)."""
        classes, coef, intercept, which = self._labelled(which)
        return classes, np.asarray(self.transform(X, **which)) @ coef.T + intercept

    def _accuracy(self, X, y, sample_weight=None, **which):
        """Return the share of correct classes among the samples whose class is known."""
        n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
        class_index = encode_classes(y, n_samples, self._labelled(which)[0])[1]
        is_known = class_index != -1
        if not is_known.any():
            raise ValueError("y has no label: all are -1, NaN or None; score needs some.")
        is_right = (self._class_scores(X, which)[1].argmax(axis=1) == class_index)[is_known]
        if sample_weight is None:
            return float(is_right.mean())
        sample_weight = np.asarray(sample_weight, dtype=np.float64)
        if sample_weight.shape != (n_samples,):
            raise ValueError(f"sample_weight has shape {sample_weight.shape}, expected {(n_samples,)}: one per row.")
        if not sample_weight[is_known].sum() > 0:
            raise ValueError("sample_weight has no positive sum over the rows with a label; give one of them a weight.")
        return float(np.average(is_right, weights=sample_weight[is_known]))

    def _labelled(self, which):
        """Return classes, coefficients and intercepts, and the arguments of `transform` that belong to them."""
        check_is_fitted(self)
        if not hasattr(self, "classes_"):
            raise ValueError(f"This {type(self).__name__} was fitted without labels; pass y to fit.")
        return self.classes_, self.coef_, getattr(self, "intercept_", 0), which


def add_labels(data, problem, factors, y, options, *, starts_from_fit=False):
    """Add the loss of class labels, and its coefficients B as a factor, to the problem of a fit.

    B starts at the mean weights of each class, whose scale W soon adapts to. Components of an earlier fit would leave
    their place meanwhile, so that B is fitted to their W first.

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
    starts_from_fit : bool, default=False
        Whether the start has the components of an earlier fit.
    """
    if data.row_scale is not None:
        raise ValueError(
            "Labels of classes were given with weights of rows (sample_weight, strata_weight); leave one out."
        )
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
    if starts_from_fit:
        update_alone(problem, factors, "B", STARTING_UPDATES)
    problem.equalize_norms = problem.balance_penalties = False
    problem.reseed_dead_component = None


def set_label_attributes(model, data, factors, label_losses, options):
    """Set the attributes of a model that was fitted with labels; remove those of an earlier fit otherwise.

    They follow from the final attributes of the model, so this comes last: the coefficients from weights that are
    inferred as `transform` infers them, B by the factor by which H has been rescaled since the last iteration.

    Parameters
    ----------
    model : BaseNMF
    data : Strata
    factors : Factors
        With B where there were labels.
    label_losses : list
        Its last entry is then the `LabelFit`.
    options : Options
    """
    for name in LABEL_ATTRIBUTES:
        vars(model).pop(name, None)
    if "B" not in factors.arrays:
        return
    loss, rank, exponent = label_losses[-1], factors.rank, data.log4_scale
    is_known = loss.known[:, 0] > 0
    labelled = data if is_known.all() else data.part(np.flatnonzero(is_known))
    H, V = model._fitted_factors(labelled)
    W = model._infer_W(labelled, H, V, options)[:, :rank]
    coef, intercept = class_coefficients(W, loss.Y[is_known].argmax(axis=1), len(loss.classes))
    before, after = factors["H"][:, :rank].max(axis=0).astype(np.float64), H.max(axis=0)
    scale = np.divide(after, before, out=np.ones(rank), where=(before > 0) & (after > 0))
    B = factors["B"][:, :rank] * scale
    model.classes_, model.intercept_ = loss.classes, intercept.astype(data.dtype)
    model.coef_, model.B_ = (np.ldexp(each, exponent).astype(data.dtype) for each in (coef, B))


def ignores_classes(model):
    """Raise AttributeError if a model fits classes, which take all rows at once."""
    if model.label_weight != 0:
        raise AttributeError(
            f"label_weight={model.label_weight!r} fits classes, which batches do not; call fit, or set label_weight=0."
        )
    return True
