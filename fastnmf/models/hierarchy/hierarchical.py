"""Hierarchical NMF: topics, topics of topics, and so on.

Inner scale: the data are held multiplied by ``4 ** log4_scale``. The weights S_l carry this factor, the layers A_l do
not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self, overload

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.classes import class_coefficients
from fastnmf.core.descent import DESCENTS, Layerwise, NeuralDescent, infer_stack
from fastnmf.core.iterate import Solver
from fastnmf.core.options import generator, one_of
from fastnmf.core.stack import LOSSES, DataLayer, Labels, MaskedDataLayer, Stack, check_shares, unit_columns
from fastnmf.core.warn import first_was, warn
from fastnmf.data.entry_weights import observed
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.classification import (
    LABEL_ATTRIBUTES,
    ClassPredictionMixin,
    class_indicators,
    encode_classes,
)
from fastnmf.models.base.estimator import Estimator
from fastnmf.models.base.for_checkers import (
    Callback,
    ClassNamePrefixFeaturesOutMixin,
    Iterative,
    TransformerMixin,
    like_fit,
)
from fastnmf.models.base.row_names import keep_row_names
from fastnmf.models.hierarchy.init import STARTS, check_sizes, continued_layers, sequential
from fastnmf.models.hierarchy.topic_tree import TopicTreeMixin
from fastnmf.models.semisupervised import SemiSupervisedNMF
from fastnmf.typing import File, Floats, Matrix, Seed, SparseOrDense, Vector

# A level has collapsed if the next level, which has fewer topics, has nearly the same squared error and explains
# nearly the same share of X.
BOUND = 1 + 1e-6  # squared error of a level, as a share of that of the zero model
COLLAPSED_ERROR, COLLAPSED_SHARE = 0.8, 1.1


class Sequential(Solver):
    """The solver of ``method="sequential"``, which has its result at the start.

    Parameters
    ----------
    stack : fastnmf.core.stack.Stack
    find : callable
        ``find()`` returns the layers.
    total : float
        Squared norm of the data, by which the objective is divided.

    Attributes
    ----------
    layers : list of ndarray (k_{l-1}, k_l)
        The result.
    """

    def __init__(self, stack, find, total):
        self.stack, self.scale, self._find, self._total = stack, float(stack.shares.sum()), find, total

    def begin(self):
        """Find the layers, and return their objective."""
        self.layers = self._find()
        return self.stack(self.layers)[0] / self._total

    def step(self):
        """Return None: there is nothing left to do."""
        self.ended = "tol"

    def to_state(self):
        """Return the layers."""
        return {"layers": self.layers, "ended": self.ended}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.layers, self.ended = state["layers"], state["ended"]


@keep_row_names
class HierarchicalNMF(
    TopicTreeMixin, ClassPredictionMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator, Iterative
):
    """Find topics, topics of topics, and so on.

    The model is ``X ~ S_l A_lᵀ ... A_0ᵀ`` for every level l, all >= 0. Level 0 has the most topics. Each sample's
    weights S_l are the exact non-negative least squares of those below, ``S_l = argmin ||S_{l-1} - S A_lᵀ||`` with
    S_{-1} = X, in the fit and in `transform` alike. With labels, the weights of the last level (or of any) are also
    fitted to the classes; samples without a label contribute to the other losses only.

    Parameters
    ----------
    n_components : int or sequence of int, default=(9, 4, 2)
        Topics of each level, in non-increasing order.
    method : {"neural", "deep", "sequential"}, default="neural"
        ``"neural"``: all layers together, by the gradient through the least squares (Neural NMF). ``"deep"``: layerwise
        multiplicative backpropagation, reconstructed after Flenner and Hunter, whose program is not readable; it
        minimises the energy with the S_l as independent variables. ``"sequential"``: an NMF of X, then one of its
        weights, and so on (hNMF).
    loss : {"levels", "recon", "energy"}, default="levels"
        Loss of ``method="neural"``. ``"levels"``: the sum of the squared errors of all levels. ``"recon"``: the squared
        error of the last level only, as in the paper; the levels below may then collapse. ``"energy"``:
        ``sum_l ||S_{l-1} - S_l A_lᵀ||²`` with topics of length one, since small weights would make the errors of the
        upper layers vanish.
    level_weights : sequence of float, default=None
        Weight of each level in ``"levels"`` and ``"energy"``; None: all are 1.
    label_weight : float, default=1.0
        Weight of the squared error of the labels. It is multiplied by ``||X||²/||Y||²``, with Y the 0-1 matrix of the
        known labels, so that 1 gives labels and X the same weight. The model is a classifier to scikit-learn, although
        labels are optional; with 0 it has no `predict`, and is a transformer only.
    init : {"nested", "sequential", "random", "nndsvd"}, default="nested"
        ``"nested"``: an NMF of X for every level; the topics of each level are then expressed in those of the level
        below. ``"sequential"``: as the method of that name. ``"nndsvd"``: sequential, from singular vectors.
        ``"random"``: exponentially distributed. With ``method="sequential"`` it is the start of each NMF: ``"nndsvd"``,
        ``"random"``, or the best of both (other values).
    n_init : int, default=1
        Number of starts; the fit with the lowest loss is kept.
    solver : {"lbfgs", "pgd", "adam"}, default="lbfgs"
        Solver of ``method="neural"``. With L-BFGS-B and projected gradients the loss does not increase; with Adam it
        may. Where the first level has as many topics as X has features, or more, its weights are not unique and the
        loss has kinks, at which the former two may end early: compare the loss with that of Adam.
    pool : callable, default=None
        For ``method="deep"``: maps weights (n_samples, k) to an array of the same shape, >= 0, which is the input of
        the next layer.
    max_iter : int, default=300
        Maximum number of iterations.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the loss by less than `tol` times its value, where a
        normalized loss below `tol` counts as `tol`. 0 runs `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number of threads.
    warm_start : bool, default=False
        Whether `fit` starts from the layers of the previous fit. With ``method="sequential"`` it has no effect.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` after every iteration, with a `FitState` (``iteration``, ``normalized_loss``,
        ``seconds``, ``W``, ``H``). The fit stops when it returns True.

    Attributes
    ----------
    components_ : list of ndarray (k_l, n_features)
        Topics of each level in terms of features, ``A_lᵀ ... A_0ᵀ``: ``S_l components_[l]`` approximates X.
    layer_weights_ : list of ndarray (k_l, k_{l-1})
        ``A_lᵀ``: each topic in terms of the topics of the level below (level 0: of features).
    S_ : list of ndarray (n_samples, k_l)
        Weights of the training samples.
    classes_ : ndarray (n_classes,), or list
        Known labels, sorted; a list with one entry for each level if `y` was a list.
    coef_, intercept_ : ndarray (n_classes, k), (n_classes,), or lists
        Coefficients of either sign by which `predict` scores the classes, ``S coef_ᵀ + intercept_``: a logistic
        regression on the weights S of the labelled samples on the level.
    B_ : ndarray (n_classes, k), or list
        B of the objective: the least-squares coefficients of the labels on the same weights. Version 0.1 predicted by
        it, and called it ``coef_``; its files still do.
    level_errors_ : ndarray (n_levels,)
        ``||X - S_l components_[l]|| / ||X||``, over the known entries.
    loss_curve_ : ndarray (`n_iter_` + 1,)
        The loss with labels, divided by ``||X||²``; entry 0 is the start. With ``method="deep"`` the S_l in it are
        independent variables.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss`` (the square root of the objective over the sum of the level weights),
        ``objective`` (`loss_curve_`), ``seconds``; with ``method="sequential"`` the end only.
    normalized_loss_ : float
        Entry of `level_errors_` for the last level.
    reconstruction_err_ : float
        The same times ``||X||``.
    n_iter_ : int
        Iterations.
    n_revived_ : int
        Topics that no sample used and that were reseeded with the residual of the sample with the largest error.
    converged_ : bool
        True if the fit stopped because of `tol`, or because no step lowers the loss, or, with ``tol=0``, after
        `max_iter` iterations.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    run_objectives_ : ndarray (n_init,)
        Final loss of each start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Warns
    -----
    UserWarning
        A level has collapsed: it explains hardly more than the next level, which has fewer topics. Or no sample uses
        some topic.
    ConvergenceWarning
        `max_iter` was reached before convergence.

    Notes
    -----
    Fitted factors are not rescaled: the least squares of the upper layers depend on the scale of the layers below.
    `display_factors` returns normalised copies.

    *Names*: the paper has samples as columns: its X, A_l, S_l are ``X.T``, ``layer_weights_[l].T``, ``S_[l].T``; its B
    is ``B_``.

    References
    ----------
    M. Gao, J. Haddock, D. Molitor, D. Needell, E. Sadovnik, T. Will, R. Zhang, "Neural nonnegative matrix factorization
    for hierarchical multilayer topic modeling", CAMSAP 2019.
    J. Flenner, B. Hunter, "A deep non-negative matrix factorization neural network", 2018, unpublished.

    Examples
    --------
    >>> from fastnmf import HierarchicalNMF
    >>> from fastnmf.datasets import make_hierarchical
    >>> toy = make_hierarchical(random_state=0)
    >>> model = HierarchicalNMF((9, 4, 2), random_state=0).fit(toy.data)
    >>> model.level_errors_.round(3)
    array([0.024, 0.282, 0.468])
    >>> [topics.shape for topics in model.components_]
    [(9, 87), (4, 87), (2, 87)]
    """

    n_components: int | Sequence[int]
    method: Literal["neural", "deep", "sequential"]
    loss: Literal["levels", "recon", "energy"]
    level_weights: Vector | None
    init: Literal["nested", "sequential", "random", "nndsvd"]
    solver: Literal["lbfgs", "pgd", "adam"]
    pool: Callable[[Floats], Floats] | None
    components_: list[Floats]
    layer_weights_: list[Floats]
    S_: list[Floats]
    classes_: Any
    coef_: Any
    intercept_: Any
    B_: Any
    level_errors_: Floats
    loss_curve_: Floats
    n_revived_: int

    _constraints = {
        "n_components": lambda name, value: check_sizes(value),
        "method": one_of("neural", "deep", "sequential"),
        "loss": one_of(*LOSSES),
        "init": one_of(*STARTS),
        "solver": one_of(*DESCENTS),
    }
    _not_free = ("max_iter",)  # the step lengths of Adam and the most evaluations of L-BFGS depend on it
    _continued = {"layers": "layer_weights_"}
    _private_state = (*Estimator._private_state, "_factors")

    def __init__(
        self,
        n_components: int | Sequence[int] = (9, 4, 2),
        *,
        method: Literal["neural", "deep", "sequential"] = "neural",
        loss: Literal["levels", "recon", "energy"] = "levels",
        level_weights: Vector | None = None,
        label_weight: float = 1.0,
        init: Literal["nested", "sequential", "random", "nndsvd"] = "nested",
        n_init: int = 1,
        solver: Literal["lbfgs", "pgd", "adam"] = "lbfgs",
        pool: Callable[[Floats], Floats] | None = None,
        max_iter: int = 300,
        tol: float = 1e-4,
        random_state: Seed = None,
        verbose: int = 0,
        n_threads: int | None = None,
        warm_start: bool = False,
        max_time: float | None = None,
        callback: Callback | None = None,
    ):
        self._set(locals())

    @property
    def _n_features_out(self):
        return len(self.components_[-1])

    def fit(
        self,
        X: Matrix,
        y: Labels | None = None,
        mask: Matrix | None = None,
        *,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative; finite where it is known. Sparse X stays sparse.
        y : array-like (n_samples,), or list of such, default=None
            Class of each sample: whole numbers or strings; -1, NaN or None where it is unknown. A list has one entry
            for each level, None for levels without labels; a single y belongs to the last level.
        mask : sparse matrix or array (n_samples, n_features), default=None
            True where the entry of X is known, False where it is missing; the values of missing entries are ignored.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs, and from which a fit that was killed continues;
            see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Parameters, data or labels that cannot be used.
        """
        return self._fit(X, y=y, mask=mask, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    @like_fit
    def fit_transform(self, X: Matrix, y: Any = None, mask: Matrix | None = None, **given: Any) -> Floats:
        """Fit the model and return the weights of the samples on the last level, (n_samples, k_L); see `fit`."""
        return self.fit(X, y, mask, **given).S_[-1]

    @overload
    def transform(self, X: Matrix, level: int = -1, mask: Matrix | None = None) -> Floats: ...
    @overload
    def transform(self, X: Matrix, level: None, mask: Matrix | None = None) -> list[Floats]: ...
    def transform(self, X: Matrix, level: int | None = -1, mask: Matrix | None = None) -> Floats | list[Floats]:
        """Return the exact weights of samples on a level.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        level : int or None, default=-1
            0 is the finest level, -1 the last. None: a list of the weights on all levels.
        mask : sparse matrix or array (n_samples, n_features), default=None
            As for `fit`.

        Returns
        -------
        ndarray (n_samples, k_level), or list of ndarray
        """
        check_is_fitted(self)
        if level is not None:
            level = self._level(level)
        data = self._data(self._validated(X, reset=False), {"mask": mask}, None)
        with threads(self.n_threads):
            S = self._weights(data, lowest_layer(data), self._factors)
        return S if level is None else S[level]

    @first_was("S")
    def inverse_transform(self, X: SparseOrDense, level: int = -1) -> Floats:
        """Return the approximation of data by weights X (n_samples, k_level) on a level: (n_samples, n_features)."""
        check_is_fitted(self)
        S, topics = X if sp.issparse(X) else np.asarray(X), self.components_[self._level(level)]
        if S.ndim != 2 or S.shape[1] != len(topics):
            raise ValueError(f"S has shape {S.shape}; expected (n_samples, {len(topics)}): the topics of that level.")
        return S @ topics

    def score(self, X: Matrix, y: Labels | None = None, sample_weight: Vector | None = None) -> float:
        """Return the accuracy of `predict` on samples with known labels, or, without y, the explained share of X.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : array-like (n_samples,), default=None
            Labels. None, or for a model that was fitted without labels: the score is
            ``1 - ||X - S_L components_[-1]||² / ||X||²``.
        sample_weight : array-like (n_samples,), default=None
            Weight of each sample in the accuracy.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        if y is not None and hasattr(self, "classes_"):
            return self._accuracy(X, y, sample_weight)
        if sample_weight is not None:
            raise ValueError("sample_weight was given without y; the explained share does not use it, so leave it out.")
        bottom = lowest_layer(self._new_data(X))
        with threads(self.n_threads):
            lost = level_losses(bottom, self._factors, infer_stack(bottom, self._factors, self.pool))[-1]
        return 1.0 if bottom.sq_norm == 0 else float(1 - lost / bottom.sq_norm)

    def _check_fitted(self, n_features=None):
        """Raise if the shapes of `components_` contradict those of the layers, which determine the weights."""
        kind = type(self).__name__
        if not hasattr(self, "_factors"):
            raise NotFittedError(f"This {kind} has no layers, which fit sets; call fit first.")
        shapes = [np.shape(topics) for topics in self.components_]
        wanted = [(factor.shape[1], len(self._factors[0])) for factor in self._factors]
        if shapes != wanted:
            raise ValueError(
                f"components_ of this {kind} has the shapes {shapes}, but the layers of its fit have {wanted}; "
                "the layers determine the weights, so fit again instead of editing topics."
            )

    def _check_options(self, options):
        check_shares(self.level_weights, len(check_sizes(options.n_components)), self.loss)
        if self.pool is not None and (not isinstance(self.pool, Callable) or self.method != "deep"):
            raise ValueError(
                f"pool={shown(self.pool)} is not valid; expected None, or with method='deep' a function of S."
            )

    def _data(self, X, given, options):
        weights = None
        if given.get("mask") is not None:
            X, weights = observed(X, given["mask"], may_be_empty=options is None)
            if weights is not None and not weights.is_mask:
                raise ValueError(
                    "mask has entries other than 0 and 1; expected True where X is known, False elsewhere."
                )
        data = Strata.from_array(X)
        data.entry_weights = weights
        return data

    def _labels(self, y, total, n_samples, options):
        """Return the `Labels` of the levels that have some, and note whether `y` is a list.

        Parameters
        ----------
        y : array-like (n_samples,), list of such, or None
        total : float
            Squared norm of the data.
        n_samples : int
        options : Options
        """
        if y is None:
            return []
        sizes, is_list = check_sizes(options.n_components), isinstance(y, (list, tuple))
        self._has_list = is_list and any(np.ndim(part) == 1 for part in y if not isinstance(part, str))
        if self._has_list and len(y) != len(sizes):
            raise ValueError(
                f"y is a list of {len(y)} label arrays; expected {len(sizes)}, one per level (None for none)."
            )
        found, of_level = [], y if self._has_list else [*[None] * (len(sizes) - 1), y]
        for level, part in enumerate(of_level):
            if part is not None:
                classes, class_index = encode_classes(part, n_samples)
                Y, known = class_indicators(class_index, len(classes))
                found.append(Labels(level, Y, known, options.label_weight * total / known.sum(), classes))
        return found

    def _goes_on(self, options):
        return self.method != "sequential" and super()._goes_on(options)

    def _n_runs(self, options):
        return 1 if self._goes_on(options) else options.n_init

    def _seeds(self, options):
        for seed in generator(options.random_state).integers(1 << 62, size=options.n_init)[: self._n_runs(options)]:
            yield generator(int(seed))

    def _solver(self, data, given, options, random_state):
        sizes, bottom, rng = check_sizes(options.n_components), lowest_layer(data), generator(random_state)
        bottom.data.start_transpose()
        total = bottom.sq_norm or 1.0
        labels = self._labels(given.get("y"), total, data.shape[0], options)
        if self.method == "sequential":
            stack = Stack(bottom, "levels", np.ones(len(sizes)), labels)
            return Sequential(stack, lambda: self._sequential(stack, sizes, rng, options), total)
        if self._goes_on(options):
            shapes = zip(sizes, (data.shape[1], *sizes), strict=False)
            A = [a.T.copy() for a in continued_layers(self.layer_weights_, list(shapes), options)]
        else:
            A = STARTS[options.init](bottom.data, bottom, sizes, rng)
        shares = check_shares(self.level_weights, len(sizes), self.loss)
        if self.method == "neural":
            stack = Stack(bottom, self.loss, shares, labels)
            return NeuralDescent(stack, A, options.solver, options.max_iter, total)
        stack = Stack(bottom, "energy", shares, labels)
        stack.S = infer_stack(bottom, A, self.pool)
        return Layerwise(stack, A, total)

    def _sequential(self, stack, sizes, rng, options):
        """Return the factors of ``method="sequential"``.

        Parameters
        ----------
        stack : Stack
            Its labels are allowed on the last level only, whose factor is then found by `SemiSupervisedNMF`.
        sizes : tuple of int
            Topics of each level.
        rng : numpy.random.Generator
        options : Options

        Returns
        -------
        list of ndarray (k_{l-1}, k_l)
        """
        start = options.init if options.init in ("nndsvd", "random") else None
        last = None
        if stack.labels:
            of_last = stack.labels[-1]
            if len(stack.labels) > 1 or of_last.level != len(sizes) - 1:
                raise ValueError("method='sequential' takes labels of the last level only; leave those of others out.")

            def last(S):
                known = {"label_weight": options.label_weight, "max_iter": options.max_iter, "tol": 1e-5}
                model = SemiSupervisedNMF(sizes[-1], random_state=int(rng.integers(1 << 31)), init="random", **known)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model.fit(S, np.where(of_last.mask[:, 0] > 0, of_last.Y.argmax(axis=1), -1))
                return unit_columns(model.components_.T)

        return sequential(stack.bottom.data, stack.bottom, sizes, rng, start=start, noise=0.0, last=last)

    def _weights(self, data, bottom, A):
        """Return the weights of all levels, in the scale and dtype of the user's data, for layers A."""
        S = infer_stack(bottom, A, self.pool)
        return [np.ldexp(s, -2 * data.log4_scale).astype(data.dtype) for s in S]

    def _arrays(self, data, solver):
        A = solver.layers
        return self._weights(data, solver.stack.bottom, A)[-1], topics_of(A, data.dtype)[-1], None

    def _set_factors(self, data, fit, options):
        A, bottom, exponent = fit.solver.layers, fit.solver.stack.bottom, 2 * data.log4_scale
        S = infer_stack(bottom, A, self.pool)
        A, S, losses = (A, S, level_losses(bottom, A, S)) if self.pool is not None else _bounded(bottom, A, S)
        self.level_errors_ = np.sqrt(losses / (bottom.sq_norm or 1.0))
        self._factors, self.components_ = A, topics_of(A, data.dtype)
        self.layer_weights_ = [np.ascontiguousarray(a.T).astype(data.dtype) for a in A]
        self.S_ = [np.ldexp(s, -exponent).astype(data.dtype) for s in S]
        self.n_revived_ = fit.solver.n_reseeded
        found, nothing = {}, dict.fromkeys(LABEL_ATTRIBUTES)
        for known in fit.solver.stack.labels:
            of_level, is_known = S[known.level], known.mask[:, 0] > 0
            coef, intercept = class_coefficients(
                of_level[is_known], known.Y[is_known].argmax(axis=1), len(known.classes)
            )
            coef, B = (np.ldexp(each, exponent).astype(data.dtype) for each in (coef, known.coefficients(of_level)))
            values = known.classes, coef, intercept.astype(data.dtype), B
            found[known.level] = dict(zip(LABEL_ATTRIBUTES, values, strict=True))
        for name in LABEL_ATTRIBUTES:
            vars(self).pop(name, None)  # of an earlier fit
            if found and self._has_list:
                vars(self)[name] = [found.get(level, nothing)[name] for level, _ in enumerate(A)]
            elif found:
                vars(self)[name] = found[len(A) - 1][name]

    def _record(self, data, fit, options):
        super()._record(data, fit, options)
        self.n_iter_, self.loss_curve_ = max(fit.n_iter, 1), self.history_["objective"]
        self.normalized_loss_ = float(self.level_errors_[-1])
        norm = np.sqrt(fit.solver.stack.bottom.sq_norm)
        self.reconstruction_err_ = float(np.ldexp(self.level_errors_[-1] * norm, -2 * data.log4_scale))

    def _labelled(self, which):
        classes, coef, intercept, _ = super()._labelled(which)
        known = {len(self.components_) - 1: (classes, coef, intercept)}
        if isinstance(classes, list):
            intercept = intercept if isinstance(intercept, list) else [0] * len(classes)
            each = enumerate(zip(classes, coef, intercept, strict=True))
            known = {level: values for level, values in each if values[0] is not None}
        level = which.get("level")
        level = max(known) if level is None else self._level(level)
        if level not in known:
            raise ValueError(f"Level {level} had no labels in fit; there are labels of the levels {sorted(known)}.")
        return *known[level], {**which, "level": level}

    def _warn(self, fit, options):
        dead = [level for level, s in enumerate(self.S_) if not s.max(axis=0, initial=0).all()]
        explained, squared = 1 - self.level_errors_**2, self.level_errors_**2
        for level, (fine, coarse) in enumerate(zip(self.S_, self.S_[1:], strict=False)):
            is_same = squared[level] > COLLAPSED_ERROR * squared[level + 1]
            if (
                fine.shape[1] > coarse.shape[1]
                and is_same
                and explained[level] < COLLAPSED_SHARE * explained[level + 1]
            ):
                warn(
                    f"Level {level} has collapsed: its {fine.shape[1]} topics explain {explained[level]:.1%} of X, the "
                    f"{coarse.shape[1]} of level {level + 1} explain {explained[level + 1]:.1%}. Use loss='levels'.",
                    UserWarning,
                )
        if dead:
            warn(
                f"No sample uses some of the topics of level {', '.join(map(str, dead))}; use fewer there.",
                UserWarning,
            )
        super()._warn(fit, options)


def lowest_layer(data):
    """Return the lowest layer over the data, which are converted to float64."""
    double = data.in_scale(np.float64, data.log4_scale)
    double.entry_weights = data.entry_weights
    return DataLayer(double) if data.entry_weights is None else MaskedDataLayer(double, data.entry_weights)


def level_losses(bottom, A, S):
    """Return the squared error of every level for layers A and weights S, in the inner scale."""
    return Stack(bottom, "levels", np.ones(len(A))).errors(A, S)


def _bounded(bottom, A, S):
    """Return layers A, their weights S and squared errors, such that no level is worse than the zero model.

    Where columns are dependent and of different lengths, the weights of a layer may be large where those of the next
    one are inexact. Columns of length one change that. A level that stays worse gets none.

    Parameters
    ----------
    bottom : DataLayer
    A : list of ndarray (k_{l-1}, k_l)
    S : list of ndarray (n, k_l)
    """
    losses, worst = level_losses(bottom, A, S), BOUND * bottom.sq_norm
    if (losses > worst).any():
        A = [unit_columns(a) for a in A]
        S = infer_stack(bottom, A)
        for level in np.flatnonzero(level_losses(bottom, A, S) > worst):
            A = [a if at < level else 0 * a for at, a in enumerate(A)]
            S = infer_stack(bottom, A)
        losses = level_losses(bottom, A, S)
    return A, S, losses


def topics_of(A, dtype):
    """Return the topics of every level in terms of features, (k_l, n_features), for layers A."""
    topics = [A[0].T]
    for a in A[1:]:
        topics.append(a.T @ topics[-1])
    return [np.ascontiguousarray(t).astype(dtype) for t in topics]
