"""Hierarchical NMF: topics, topics of topics, and so on.

Inner scale: the data are held multiplied by ``4 ** log4_scale``. The weights S_l carry this factor, the layers A_l do
not.
"""

import time
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted, validate_data

from fastnmf.core.descent import DESCENTS, History, infer_stack, layerwise, reseed_dead_topic
from fastnmf.core.options import check_choice, check_integer, check_number, generator
from fastnmf.core.progress import progress
from fastnmf.core.stack import LOSSES, DataLayer, Labels, MaskedDataLayer, Stack, check_shares, on_unit_columns
from fastnmf.core.warn import warn
from fastnmf.data.entry_weights import observed
from fastnmf.data.matrix import check_kind
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.classification import ClassPredictionMixin, class_indicators, encode_classes
from fastnmf.models.base.saving import SaveMixin
from fastnmf.models.hierarchy.init import STARTS, check_sizes, sequential, unit_columns
from fastnmf.models.hierarchy.topic_tree import TopicTreeMixin
from fastnmf.models.semisupervised import SemiSupervisedNMF

MAX_RESEEDINGS = 10
# A level has collapsed if the next level, which has fewer topics, has nearly the same squared error and explains
# nearly the same share of X.
COLLAPSED_ERROR, COLLAPSED_SHARE = 0.8, 1.1


class HierarchicalNMF(
    TopicTreeMixin, ClassPredictionMixin, SaveMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Find topics, topics of topics, and so on: ``X ~ S_l A_lᵀ ... A_0ᵀ`` for every level l, all >= 0.

    Level 0 has the most topics. Each sample's weights S_l are the exact non-negative least squares of those below,
    ``S_l = argmin ||S_{l-1} - S A_lᵀ||`` with S_{-1} = X, in the fit and in `transform` alike. With labels, the weights
    of the last level (or of any) are also fitted to the classes; samples without a label contribute to the other
    losses only.

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
        known labels, so that 1 gives labels and X the same weight.
    init : {"nested", "sequential", "random", "nndsvd"}, default="nested"
        ``"nested"``: an NMF of X for every level; the topics of each level are then expressed in those of the level
        below. ``"sequential"``: as the method of that name. ``"nndsvd"``: sequential, from singular vectors.
        ``"random"``: exponentially distributed. With ``method="sequential"`` it is the start of each NMF: ``"nndsvd"``,
        ``"random"``, or the best of both (other values).
    n_init : int, default=1
        Number of starts; the fit with the least loss is kept.
    solver : {"lbfgs", "pgd", "adam"}, default="lbfgs"
        Solver of ``method="neural"``. With L-BFGS-B and projected gradients the loss does not increase; with Adam it
        may.
    pool : callable, default=None
        For ``method="deep"``: maps weights (n_samples, k) to an array of the same shape, >= 0, which is the input of
        the next layer.
    max_iter : int, default=300
        Largest number of iterations.
    tol : float, default=1e-4
        Stop when, at the rate of the last 10 iterations, the next 100 would lower the loss by less than `tol` times
        its value. 0 runs `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    n_threads : int, default=None
        Threads of the kernels; None: Numba's setting. The result has the same bits for any number of threads.

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
    coef_ : ndarray (n_classes, k), or list
        Least-squares coefficients of the labels on the weights of their level: ``S coef_ᵀ`` is `decision_function`.
    level_errors_ : ndarray (n_levels,)
        ``||X - S_l components_[l]|| / ||X||``, over the known entries.
    loss_curve_ : ndarray (n_iter_ + 1,)
        The loss with labels, divided by ``||X||²``; entry 0 is the start. With ``method="deep"`` the S_l in it are
        independent variables.
    history_ : dict of ndarray
        ``iteration``, ``objective`` (`loss_curve_`), ``seconds``; with ``method="sequential"`` the end only.
    normalized_loss_ : float
        Entry of `level_errors_` for the last level.
    reconstruction_err_ : float
        The same times ``||X||``.
    n_iter_ : int
        Iterations.
    n_revived_ : int
        Topics that no sample used and that were reseeded with the residual of the sample with the largest error.
    converged_ : bool
        Whether the fit stopped by `tol`.
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
    is ``coef_``.

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

    _private_state = ("_factors",)

    def __init__(
        self,
        n_components=(9, 4, 2),
        *,
        method="neural",
        loss="levels",
        level_weights=None,
        label_weight=1.0,
        init="nested",
        n_init=1,
        solver="lbfgs",
        pool=None,
        max_iter=300,
        tol=1e-4,
        random_state=None,
        verbose=0,
        n_threads=None,
    ):
        self.n_components = n_components
        self.method = method
        self.loss = loss
        self.level_weights = level_weights
        self.label_weight = label_weight
        self.init = init
        self.n_init = n_init
        self.solver = solver
        self.pool = pool
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.n_threads = n_threads

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return len(self.components_[-1])

    def fit(self, X, y=None, mask=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative; finite where it is known. Sparse X stays sparse.
        y : array-like (n_samples,), or list of such, default=None
            Class of each sample: numbers or strings; -1, NaN or None where it is unknown. A list has one entry for each
            level, None for levels without labels; a single y belongs to the last level.
        mask : sparse matrix or array (n_samples, n_features), default=None
            True where the entry of X is known, False where it is missing; the values of missing entries are ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Parameters, data or labels that cannot be used.
        """
        self._fit(X, y, mask)
        return self

    def fit_transform(self, X, y=None, mask=None):
        """Fit the model and return the weights of the samples on the last level, (n_samples, k_L); see `fit`."""
        self._fit(X, y, mask)
        return self.S_[-1]

    def transform(self, X, level=-1, mask=None):
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
        _, bottom, dtype, exponent = self._prepared(X, mask, reset=False)
        with threads(self.n_threads):
            S = infer_stack(bottom, self._factors, self.pool)
        S = [np.ldexp(s, -2 * exponent).astype(dtype) for s in S]
        return S if level is None else S[level]

    def inverse_transform(self, S, level=-1):
        """Return the approximation of X by weights S (n_samples, k_level) on a level, dense (n_samples, n_features)."""
        check_is_fitted(self)
        S, topics = np.asarray(S), self.components_[self._level(level)]
        if S.ndim != 2 or S.shape[1] != len(topics):
            raise ValueError(f"S has shape {S.shape}; expected (n_samples, {len(topics)}): the topics of that level.")
        return S @ topics

    def score(self, X, y=None):
        """Return the accuracy of `predict` on samples with known labels, or, without y, the explained share of X.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : array-like (n_samples,), default=None
            Labels. None, or for a model that was fitted without labels: the score is
            ``1 - ||X - S_L components_[-1]||² / ||X||²``.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        if y is not None and hasattr(self, "classes_"):
            return self._accuracy(X, y)
        data, bottom, _, _ = self._prepared(X, None, reset=False)
        A = self._factors
        with threads(self.n_threads):
            lost = Stack(bottom, "levels", np.ones(len(A))).errors(A, infer_stack(bottom, A, self.pool))[-1]
        return 1.0 if data.sq_norm == 0 else float(1 - lost / data.sq_norm)

    def _check_fitted(self):
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

    def _check_parameters(self):
        sizes = check_sizes(self.n_components)
        check_choice("method", self.method, ("neural", "deep", "sequential"))
        check_choice("loss", self.loss, LOSSES)
        check_choice("init", self.init, tuple(STARTS))
        check_choice("solver", self.solver, tuple(DESCENTS))
        check_integer("n_init", self.n_init)
        check_integer("max_iter", self.max_iter)
        check_number("tol", self.tol, "a number >= 0 (0 runs exactly max_iter iterations)")
        check_number("label_weight", self.label_weight)
        check_shares(self.level_weights, len(sizes), self.loss)
        if self.pool is not None and (not isinstance(self.pool, Callable) or self.method != "deep"):
            raise ValueError(f"pool={self.pool!r} is not valid; expected None, or with method='deep' a function of S.")
        if self.n_threads is not None:
            check_integer("n_threads", self.n_threads)
        return sizes

    def _prepared(self, X, mask, *, reset):
        """Return X as float64 `Strata`, its lowest layer (`DataLayer`), the dtype of results, and `log4_scale`."""
        check_kind(X)
        if not reset:
            self._check_fitted()
        options = {"accept_sparse": True, "dtype": [np.float64, np.float32], "ensure_all_finite": False}
        X = validate_data(self, X, reset=reset, ensure_min_samples=1, **options)
        dtype, weights = X.dtype, None
        if mask is not None:
            X, weights = observed(X, mask)
            if weights is not None and not weights.is_mask:
                raise ValueError(
                    "mask has entries other than 0 and 1; expected True where X is known, False elsewhere."
                )
        data = Strata.from_array(X.astype(np.float64, copy=False))
        data.entry_weights = weights
        return data, DataLayer(data) if weights is None else MaskedDataLayer(data, weights), dtype, data.log4_scale

    def _labels(self, y, n_samples, sizes):
        """Return a list of (level, classes, class_index) for the levels that have labels."""
        if y is None:
            return []
        is_list = isinstance(y, (list, tuple)) and any(np.ndim(part) == 1 for part in y if not isinstance(part, str))
        self._has_list = is_list
        if is_list and len(y) != len(sizes):
            raise ValueError(
                f"y is a list of {len(y)} label arrays; expected {len(sizes)}, one a level (None for none)."
            )
        found = enumerate(y) if is_list else [(len(sizes) - 1, y)]
        return [(level, *encode_classes(part, n_samples)) for level, part in found if part is not None]

    def _fit(self, X, y, mask):
        sizes = self._check_parameters()
        data, bottom, dtype, exponent = self._prepared(X, mask, reset=True)
        if data.is_sparse:
            data.start_transpose()
        labels, rng = self._labels(y, data.shape[0], sizes), generator(self.random_state)
        scale, label_losses = data.sq_norm or 1.0, []
        for level, classes, class_index in labels:
            Y, known = class_indicators(class_index, len(classes))
            label_losses.append(Labels(level, Y, known, self.label_weight * scale / known.sum()))
        shares = check_shares(self.level_weights, len(sizes), self.loss)
        best = None
        with threads(self.n_threads), progress(*self._progress_options()) as show:
            for seed in rng.integers(1 << 62, size=self.n_init):
                found = self._run(data, bottom, sizes, generator(int(seed)), shares, label_losses, scale, labels, show)
                best = found if best is None or found[1].best[-1] < best[1].best[-1] else best
            A, history, self.n_revived_ = best
            self._finish(A, history, data, bottom, label_losses, dtype, exponent, labels)
        self._warn()

    def _progress_options(self):
        return type(self).__name__, self.max_iter, self.verbose

    def _run(self, data, bottom, sizes, rng, shares, label_losses, scale, labels, show):
        """Fit from one start.

        Parameters
        ----------
        data : Strata
            float64, in the inner scale.
        bottom : Bottom
            The lowest layer over these data.
        sizes : tuple of int
            Topics of each level.
        rng : numpy.random.Generator
        shares : ndarray (n_levels,)
            Weight of each level in the loss.
        label_losses : list of Labels
            Losses of the labels.
        scale : float
            Squared norm of the data, by which the loss is divided.
        labels : list of (int, ndarray, ndarray)
            Level, classes and class index, as `_labels` returns them.
        show : callable, or None
            Progress display.

        Returns
        -------
        A : list of ndarray (k_{l-1}, k_l)
            Factors.
        history : History
        n_revived : int
            Number of reseeded topics.
        """

        began, total = time.perf_counter(), 1.0 if self.loss == "recon" else shares.sum()

        def callback(iteration, objective):
            if show is not None:
                show(iteration, np.sqrt(max(objective, 0.0) / total), time.perf_counter() - began)

        history = History(self.tol, callback)
        if self.method == "sequential":
            A = self._sequential(data, bottom, sizes, rng, labels)
            stack = Stack(bottom, "levels", np.ones(len(A)), label_losses)
            history(stack(A)[0] / scale)
            history.has_converged = True
            return A, history, 0
        A = STARTS[self.init](data, bottom, sizes, rng)
        if self.method == "deep":
            stack = Stack(bottom, "energy", shares, label_losses)
            stack.S = infer_stack(bottom, A, self.pool)
            return layerwise(stack, A, self.max_iter, history, scale), history, 0
        stack = Stack(bottom, self.loss, shares, label_losses)

        def value(A):
            found, gradients = on_unit_columns(stack, A) if self.loss == "energy" else stack(A)
            return found / scale, [np.divide(g, scale, out=g) for g in gradients]

        descend, n_revived = DESCENTS[self.solver], 0
        while True:  # ends: at most MAX_REVIVALS rounds, each with iterations left
            A = descend(value, A, self.max_iter - max(len(history.curve) - 1, 0), history)
            now, _ = value(A)
            alive = (
                reseed_dead_topic(stack, A)
                if n_revived < MAX_RESEEDINGS and len(history.curve) <= self.max_iter
                else None
            )
            if alive is None or value(alive)[0] >= now:
                return [unit_columns(a) for a in A] if self.loss == "energy" else A, history, n_revived
            A, n_revived, history.has_converged = alive, n_revived + 1, False

    def _sequential(self, data, bottom, sizes, rng, labels):
        """Return the factors of ``method="sequential"``.

        Parameters
        ----------
        data, bottom, sizes, rng, labels
            As in `_run`; labels are allowed on the last level only, whose factor is then found by `SemiSupervisedNMF`.

        Returns
        -------
        list of ndarray (k_{l-1}, k_l)
        """
        start = self.init if self.init in ("nndsvd", "random") else None
        last = None
        if labels:
            level, _, class_index = labels[-1]
            if len(labels) > 1 or level != len(sizes) - 1:
                raise ValueError("method='sequential' takes labels of the last level only; leave those of others out.")

            def last(S):
                options = {"label_weight": self.label_weight, "max_iter": self.max_iter, "tol": 1e-5}
                seed = int(rng.integers(1 << 31))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model = SemiSupervisedNMF(sizes[-1], random_state=seed, init="random", **options).fit(
                        S, class_index
                    )
                return unit_columns(model.components_.T)

        return sequential(data, bottom, sizes, rng, start=start, noise=0.0, last=last)

    def _finish(self, A, history, data, bottom, label_losses, dtype, exponent, labels):
        """Set the fitted attributes.

        Parameters
        ----------
        A : list of ndarray (k_{l-1}, k_l)
            Factors.
        history : History
        data, bottom, label_losses, labels
            As in `_run`.
        dtype : dtype
            Of the fitted arrays.
        exponent : int
            ``log4_scale`` of the data.
        """
        stack, S = Stack(bottom, "levels", np.ones(len(A))), infer_stack(bottom, A, self.pool)
        self.level_errors_ = np.sqrt(stack.errors(A, S) / (data.sq_norm or 1.0))
        self._factors, topics = A, [A[0].T]
        for a in A[1:]:
            topics.append(a.T @ topics[-1])
        self.components_ = [np.ascontiguousarray(t).astype(dtype) for t in topics]
        self.layer_weights_ = [np.ascontiguousarray(a.T).astype(dtype) for a in A]
        self.S_ = [np.ldexp(s, -2 * exponent).astype(dtype) for s in S]
        coefs = [
            np.ldexp(label_loss.coefficients(S[label_loss.level]), 2 * exponent).astype(dtype)
            for label_loss in label_losses
        ]
        self._set_classes(labels, coefs)
        self.normalized_loss_ = float(self.level_errors_[-1])
        self.reconstruction_err_ = float(np.ldexp(self.level_errors_[-1] * np.sqrt(data.sq_norm), -2 * exponent))
        curve = np.array(history.curve)
        self.history_ = {"iteration": np.arange(len(curve)), "objective": curve, "seconds": np.array(history.seconds)}
        self.loss_curve_, self.converged_ = curve, history.has_converged
        self.n_iter_ = max(len(history.curve) - 1, 1)

    def _set_classes(self, labels, coefs):
        """Set `classes_` and `coef_`."""
        found = {level: (c, b) for (level, c, _), b in zip(labels, coefs, strict=True)}
        if labels and self._has_list:
            each = [found.get(level, (None, None)) for level, _ in enumerate(self.components_)]
            self.classes_, self.coef_ = [c for c, _ in each], [b for _, b in each]
        elif labels:
            self.classes_, self.coef_ = found[len(self.components_) - 1]

    def _labelled(self, which):
        classes, coefs, _ = super()._labelled(which)
        last = len(self.components_) - 1
        known = {last: (classes, coefs)}
        if isinstance(classes, list):
            known = {level: both for level, both in enumerate(zip(classes, coefs, strict=True)) if both[0] is not None}
        level = which.get("level")
        level = max(known) if level is None else self._level(level)
        if level not in known:
            raise ValueError(f"Level {level} had no labels in fit; there are labels of the levels {sorted(known)}.")
        return *known[level], {**which, "level": level}

    def _warn(self):
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
                f"No sample uses some of the topics of level {', '.join(map(str, dead))}; ask for fewer there.",
                UserWarning,
            )
        if not self.converged_ and self.tol > 0:
            warn(
                f"The fit stopped at max_iter={self.max_iter} before the loss converged to tol={self.tol:g}; raise "
                "max_iter, or raise tol.",
                ConvergenceWarning,
            )
