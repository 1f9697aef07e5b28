"""Classes of samples, some of them not known: what estimators make of `y`, and prediction."""

import numpy as np
from sklearn.utils import ClassifierTags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastnmf.moves import HALS, MU, MU_FLOOR, WeightedRows
from fastnmf.problem import Subproblem
from fastnmf.solve import pad, row_tasks
from fastnmf.terms.labels import LabelFit


def encode_classes(y, n_samples, classes=None):
    """Return the sorted classes and the class of each sample as an int array, -1 where it is not known.

    Parameters
    ----------
    y : array-like (n_samples,)
        Numbers or strings; -1, NaN and None are unknown.
    n_samples : int
    classes : ndarray, default=None
        Classes that are known already: others get the code -2.

    Raises
    ------
    ValueError
        Another shape, no label at all, or labels that cannot be sorted.
    """
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (n_samples,):
        raise ValueError(f"y has shape {y.shape}; expected ({n_samples},): one label a sample.")
    if y.dtype.kind in "iuf":
        is_unknown = (y == -1) | (np.isnan(y) if y.dtype.kind == "f" else False)
    elif y.dtype.kind == "O":
        is_unknown = np.array([_is_unknown(label) for label in y.tolist()])
    else:
        is_unknown = np.zeros(n_samples, bool)
    if is_unknown.all() and classes is None:
        raise ValueError("y has no label: all are -1, NaN or None. Leave y out, or label some samples.")
    known = y[~is_unknown]
    try:
        found = np.unique(known if y.dtype.kind != "O" else np.array(known.tolist()))
    except TypeError as error:
        raise ValueError("y mixes labels that cannot be sorted, such as numbers and text; use one kind.") from error
    if classes is None and y.dtype.kind == "O" and len({type(label) is str for label in known.tolist()}) > 1:
        raise ValueError("y mixes labels that cannot be sorted, such as numbers and text; use one kind.")
    place = {label: code for code, label in enumerate((found if classes is None else classes).tolist())}
    codes = np.full(n_samples, -1)
    codes[~is_unknown] = [place.get(label, -2) for label in known.tolist()]
    return found if classes is None else classes, codes


def _is_unknown(label):
    is_number = isinstance(label, (int, float)) and not isinstance(label, bool)
    return (
        label is None or type(label).__name__ in ("NAType", "NaTType") or is_number and (label != label or label == -1)
    )


def class_indicators(codes, n_classes):
    """Return the 0-1 matrix of the classes (n_samples, n_classes), and (n_samples, 1) with 1 where they are known."""
    Y = np.zeros((len(codes), n_classes))
    known = np.flatnonzero(codes >= 0)
    Y[known, codes[known]] = 1
    return Y, (codes >= 0)[:, None].astype(np.float64)


def _reads_classes(model):
    """Raise AttributeError where a model ignores labels: it has no `predict` then, as scikit-learn wants it."""
    if getattr(model, "label_weight", 0) == 0:
        raise AttributeError(f"{type(model).__name__} with label_weight=0 ignores labels; set label_weight > 0.")
    return True


class ClassReading:
    """Mixin of models that are fitted with labels: what they say about the class of a sample.

    `fit` leaves ``classes_`` and ``coef_`` where there were labels.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags = ClassifierTags()
        return tags

    @available_if(_reads_classes)
    def decision_function(self, X, **which):
        """Return the score of every class, linear in the weights of the sample, (n_samples, n_classes).

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        **which
            What `transform` takes besides X: the strata, or the level, where there are any. The level is the last one
            that had labels, if it is not named.
        """
        _, coef, which = self._labelled(which)
        return np.asarray(self.transform(X, **which)) @ coef.T

    @available_if(_reads_classes)
    def predict(self, X, **which):
        """Return the class with the highest score of each sample, (n_samples,); parameters as `decision_function`."""
        scores = self.decision_function(X, **which)
        return self._labelled(which)[0][scores.argmax(axis=1)]

    @available_if(_reads_classes)
    def predict_proba(self, X, **which):
        """Return the scores, cut at 0 and divided by their sum, (n_samples, n_classes).

        Shares, not calibrated probabilities; even where no score is positive. Parameters as `decision_function`.
        """
        scores = np.maximum(self.decision_function(X, **which), 0)
        total = scores.sum(axis=1, keepdims=True)
        return np.divide(scores, total, out=np.full_like(scores, 1 / scores.shape[1]), where=total > 0)

    def _accuracy(self, X, y, **which):
        classes, _, _ = self._labelled(which)
        codes = encode_classes(y, X.shape[0] if hasattr(X, "shape") else len(X), classes)[1]
        if (codes == -1).all():
            raise ValueError("y has no label: all are -1, NaN or None; score needs some.")
        is_known = codes != -1
        return float(np.mean(self.decision_function(X, **which).argmax(axis=1)[is_known] == codes[is_known]))

    def _labelled(self, which):
        """Return the classes, the coefficients, and what to tell `transform` about where they belong."""
        check_is_fitted(self)
        if not hasattr(self, "classes_"):
            raise ValueError(f"This {type(self).__name__} was fitted without labels; pass y to fit.")
        return self.classes_, self.coef_, which


class LabelledFit(ClassReading):
    """Mixin of models with one layer, before `BaseNMF` among the bases: labels join the fit as a term."""

    _label_loss = "frobenius"

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | ({"coef_": "ck"} if hasattr(self, "coef_") else {})

    def _supervise(self, data, problem, factors, y):
        """Add the term of the labels, and the factor B (n_classes, k) that it brings."""
        if data.loading is not None:
            raise ValueError("Labels were given with weights of rows (sample_weight, strata_weight); leave one out.")
        self._classes, codes = encode_classes(y, data.shape[0])
        Y, known = class_indicators(codes, len(self._classes))
        is_squared, is_mu = self._label_loss == "frobenius", self.solver == "mu"
        weight = self.label_weight * (problem.scale or 1.0) / known.sum()
        means = Y.T @ factors["W"][:, : factors.rank] / np.maximum(Y.sum(axis=0), 1)[:, None]
        B = pad(means + (0.1 * means.mean() + 1e-3 if is_mu else 0.0), data)
        factors.add("B", B)
        tasks, floor = row_tasks(B), MU_FLOOR[data.dtype]
        problem.terms.append(LabelFit(Y, known, weight, is_squared))
        problem.moves["B"] = MU(eps=0.0, floor=floor) if is_mu else HALS()
        if is_squared:
            problem.moves["W"] = WeightedRows("mu" if is_mu else "hals", floor=floor)
        problem.tasks["B"], problem.subproblems["B"] = tasks, Subproblem(tasks)
        problem.schedule += (("B", 1 if is_mu else 2),)
        problem.anchors_scale = problem.balances = False  # they know of W and H only
        problem.revive = None

    def _finish(self, data, problem, fit):
        for name in ("classes_", "coef_"):
            vars(self).pop(name, None)
        super()._finish(data, problem, fit)
        if "B" in fit.factors.arrays:
            B = fit.factors["B"][:, : fit.factors.rank].astype(np.float64)
            self.classes_, self.coef_ = self._classes, np.ldexp(B, data.exponent).astype(data.dtype)
