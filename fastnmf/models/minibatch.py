"""Models that are fitted a batch of rows at a time: streams, and data that do not fit in memory.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import itertools
import numbers
import time

from sklearn.exceptions import ConvergenceWarning

from fastnmf.core import batches
from fastnmf.core.init.start_from import check_init
from fastnmf.core.iterate import normalized
from fastnmf.core.options import check_integer, check_sweeps, generator
from fastnmf.core.progress import progress
from fastnmf.core.thresholds import EXACT_VALUE_BELOW
from fastnmf.core.warn import warn
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.estimator import BaseNMF, scaled
from fastnmf.models.base.partial_fit import STARTS, PartialFitMixin, StratifiedPartialFitMixin, has_slowed, unpenalised


class MiniBatchBase(BaseNMF):
    """Base of the two mini-batch models: checks of the parameters, `fit` in passes, and `fit_blocks`."""

    _n_sweeps = 2
    solver, beta_loss, alpha_W, l1_ratio = "hals", "frobenius", 0.0, 0.0  # fixed; parameters elsewhere
    missing_values = None

    def _check_parameters(self):
        check_integer("n_components", self.n_components)
        if self.batch_size is not None:
            check_integer("batch_size", self.batch_size)
        check_integer("max_iter", self.max_iter)
        check_integer("max_no_improvement", self.max_no_improvement)
        check_init(self.init, tuple(STARTS))
        if self.sweeps != "thorough" or self._n_sweeps != 3:
            check_sweeps(self.sweeps, self._n_sweeps, (2, 1, 2)[-self._n_sweeps :])
        for name, least, is_right in (
            ("tol", ">= 0", lambda x: x >= 0),
            ("forget_factor", "above 0 and at most 1", lambda x: 0 < x <= 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or isinstance(value, bool) or not is_right(value):
                raise ValueError(f"{name}={value!r} is not valid; expected a number {least}.")
        generator(self.random_state)
        if self.n_threads is not None:
            check_integer("n_threads", self.n_threads)

    def _fit(self, X, strata):
        """Fit rows that are in memory, with strata (n_samples,) or None, and return their weights, (n_samples, k)."""
        self._check_parameters()
        X = self._validated(X, reset=True)
        with threads(self.n_threads), progress(type(self).__name__, self.max_iter, self.verbose) as callback:
            data = Strata.from_array(X, strata)
            parts = batches.split(data, self.batch_size)
            for batch in parts[:2]:
                batch.data.start_transpose()
            first = max(parts, key=lambda batch: batch.data.sq_norm > 0)
            statistics = self._empty(data.shape[1]).start(first.data, *self._draw(first.data))
            cheap_value_floor = EXACT_VALUE_BELOW[data.dtype]
            fit = batches.passes(
                statistics,
                parts,
                max_iter=self.max_iter,
                tol=self.tol,
                max_no_improvement=self.max_no_improvement,
                cheap_value_floor=cheap_value_floor,
                callback=callback,
            )
            W, fit.history["objective"][-1] = batches.weigh(statistics, data, cheap_value_floor)
        self._statistics = statistics
        self._show()
        if self._has_shifts:
            self.row_strata_ = data.stratum_index
        self.W_, self.n_iter_, self.n_steps_ = scaled(W, -data.log4_scale), fit.n_iter, fit.n_iter * len(parts)
        self.converged_, self.stopped_by_ = fit.converged, fit.stopped_by
        self.history_ = unpenalised(fit.history, data.sq_norm)
        self.normalized_loss_ = float(self.history_["normalized_loss"][-1])
        self.reconstruction_err_ = self._reconstruction_error(fit.history["objective"][-1], -2 * data.log4_scale)
        if not fit.converged:
            warn(
                f"The fit stopped at max_iter={self.max_iter} passes before the objective converged to "
                f"tol={self.tol:g}; raise max_iter, or raise tol.",
                ConvergenceWarning,
            )
        return self.W_

    def fit_blocks(self, blocks, n_passes=1):
        """Fit data that do not fit in memory: only one block of rows is held at a time.

        One pass learns from each block once, as `partial_fit` does. In later passes with ``forget_factor=1`` each block
        replaces its share of what the pass before has contributed. Once a pass lowers the objective by less than 1 %,
        shifts and components are updated at the end of a pass only, which makes the objective monotone. With a smaller
        `forget_factor` rows that come again count as new rows. The fit sets no `W_`; use `transform` to find the
        weights of a block.

        Parameters
        ----------
        blocks : iterable of X, or callable that returns one
            Each block is an X as in `partial_fit`; for models with strata also a pair ``(X, strata)``. More than one
            pass needs an iterable that can be iterated again (a list, the ``blocks`` of an `open_csr`), or a callable.
            The blocks must be the same each time.
        n_passes : int, default=1
            Number of passes over the blocks.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As `partial_fit`; also if there is no block, if an iterator is given for more than one pass, or if the
            passes differ.
        """
        self._check_parameters()
        check_integer("n_passes", n_passes)
        if not callable(blocks) and iter(blocks) is blocks and n_passes > 1:
            raise ValueError(f"blocks can be iterated only once, but n_passes={n_passes}; pass a list or a function.")
        history, began = {"iteration": [], "objective": [], "seconds": []}, time.perf_counter()
        statistics, holds = None, False
        with threads(self.n_threads), progress(type(self).__name__, n_passes, self.verbose) as callback:
            for walk in itertools.repeat(blocks, n_passes):
                holds = holds or has_slowed(history["objective"])
                statistics, n_blocks = self._pass(statistics, walk() if callable(walk) else walk, holds)
                entry = len(history["iteration"]) + 1, statistics.value, time.perf_counter() - began
                for name, number in zip(history, entry, strict=True):
                    history[name].append(number)
                if callback is not None:
                    callback(entry[0], normalized(statistics.value, statistics.sq_norm), entry[2])
        self._delete_attributes("W_", "row_strata_")
        self._statistics, self.n_iter_, self.n_steps_ = statistics, n_passes, n_passes * n_blocks
        self.history_ = unpenalised(history, statistics.sq_norm)
        self._show()
        return self

    def _pass(self, statistics, blocks, holds):
        """Learn from each block; return the statistics and the number of blocks.

        `statistics` is None before the first pass. With `holds`, shifts and components are updated only at the end of
        the pass.
        """
        n_blocks, again = 0, statistics is not None and self.forget_factor == 1
        if again:
            statistics.begin_repeated_pass(hold=holds)
        for block in blocks:
            X, strata = block if isinstance(block, tuple) else (block, None)
            if strata is not None and not self._has_shifts:
                raise ValueError("A block has strata, but this model has none; use MiniBatchStratifiedNMF.")
            known = getattr(statistics, "labels", ()) if self._has_shifts else ()
            data = self._batch(X, strata, known, reset=statistics is None)
            statistics, n_blocks = self._learn(statistics, data, is_new=not again), n_blocks + 1
        if statistics is None:
            raise ValueError("fit_blocks was given no block of rows; pass at least one block.")
        if again and not statistics.end_repeated_pass():
            raise ValueError("A later pass had another number of rows than the first; pass the same blocks each time.")
        return statistics, n_blocks


class MiniBatchNMF(PartialFitMixin, MiniBatchBase):
    """Factorise a non-negative matrix, ``X ~ W H``, a batch of rows at a time.

    Minimises ``||X - W H||²`` over W, H >= 0, as `NMF` does, but updates H after each batch. Use `fit` for rows in
    memory, `fit_blocks` for rows that do not fit in memory, and `partial_fit` for batches that arrive one after
    another.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of rows of H.
    batch_size : int, default=None
        Number of rows of a batch in `fit`. None takes 1024, for sparse data at least a quarter of the number of
        features: each batch updates all of H, which would take most of the time with smaller batches.
    max_iter : int, default=200
        Largest number of passes of `fit` over the data.
    tol : float, default=1e-4
        `fit` stops after `max_no_improvement` consecutive passes that each lowered the objective by less than `tol`
        times its value. 0 makes exactly `max_iter` passes.
    max_no_improvement : int, default=10
        Number of such passes.
    forget_factor : float, default=1.0
        Above 0 and at most 1. The stored statistics are multiplied by this factor before a batch is added, so that
        older batches count less. 1 forgets nothing and suits fixed data: then no pass of `fit` increases the objective.
        0.95 suits streams that change.
    init : {"features", "rows", "random", "nndsvd"}, model or Start, default="features"
        Start, computed from the first batch; see `NMF`.
    sweeps : (int, int), default=(2, 2)
        Sweeps of coordinate descent for a batch: over its W in `fit` (elsewhere W is solved for exactly), and over H.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None takes Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows; only after `fit`.
    n_components_ : int
        k.
    n_iter_ : int
        Number of passes over the data.
    n_steps_ : int
        Number of batches visited.
    converged_ : bool
        True if `fit` stopped because of `tol`; only after `fit`.
    stopped_by_ : str
        Reason for stopping, ``"tol"`` or ``"max_iter"``; only after `fit`.
    reconstruction_err_ : float
        ``||X - W H||``; after `partial_fit` and `fit_blocks` that of the remembered rows, with the weights that they
        had when they were visited.
    normalized_loss_ : float
        The same over the norm of the data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``, one entry for each pass;
        only after `fit` and `fit_blocks`.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The statistics of the batches are exact: A and B of the paper's Algorithm 2 are our ``WᵀW`` and ``XᵀW``. Unlike the
    paper, `fit` subtracts the former contribution of a batch when it visits the batch again, which makes it block
    coordinate descent.

    References
    ----------
    J. Mairal, F. Bach, J. Ponce, G. Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010,
    Algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.models.minibatch import MiniBatchNMF
    >>> X = np.outer([1.0, 2, 3, 4], [1.0, 0, 2])
    >>> model = MiniBatchNMF(1, random_state=0).partial_fit(X[:2]).partial_fit(X[2:])
    >>> (model.transform(X) @ model.components_).round(2)
    array([[1., 0., 2.],
           [2., 0., 4.],
           [3., 0., 6.],
           [4., 0., 8.]])
    """

    def __init__(
        self,
        n_components=10,
        *,
        batch_size=None,
        max_iter=200,
        tol=1e-4,
        max_no_improvement=10,
        forget_factor=1.0,
        init="features",
        sweeps=(2, 2),
        random_state=None,
        n_threads=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.forget_factor = forget_factor
        self.init = init
        self.sweeps = sweeps
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(self, X, y=None):
        """Fit rows that are in memory, batch after batch, in several passes.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 stays float32; all other types become float64.
        y : ignored
            Present for compatibility with scikit-learn.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters, data or start cannot be used. The message says what was given, what was expected and what to
            do.
        """
        self._fit(X, None)
        return self

    def fit_transform(self, X, y=None):
        """Fit the model and return the weights of the rows of X, (n_samples, n_components); see `fit`."""
        return self._fit(X, None)

    def transform(self, X):
        """Return the exact non-negative weights of the rows of X for the components, (n_samples, n_components)."""
        return self._transform(X)

    def inverse_transform(self, W):
        """Return ``W H``, dense (n_samples, n_features), for W (n_samples, n_components)."""
        return self._inverse_transform(W)

    def score(self, X, y=None, sample_weight=None):
        """Return the share of the squared norm of X that the model explains, at most 1; larger is better.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : ignored
            Present for compatibility with scikit-learn.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row's squared error and squared norm.

        Returns
        -------
        float
        """
        return self._score(X, None, sample_weight)

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, strongest first.

        Parameters
        ----------
        n : int, default=10
            Largest number of features of one component.
        feature_names : array-like (n_features,), default=None
            Names of the features. None takes `feature_names_in_`, or else the column numbers.

        Returns
        -------
        list of list of str
        """
        return self._top_features(n, feature_names)


class MiniBatchStratifiedNMF(StratifiedPartialFitMixin, MiniBatchBase):
    """Factorise a non-negative matrix whose rows come in groups, ``A(i) ~ 1 v(i)ᵀ + W(i) H``, a batch at a time.

    Minimises ``sum_i ||A(i) - 1 v(i)ᵀ - W(i) H||²`` over v, W, H >= 0, as `StratifiedNMF` does, but updates v and H
    after each batch. Use `fit` for rows in memory, `fit_blocks` for rows that do not fit in memory, and `partial_fit`
    for batches that arrive one after another. New strata may appear in any batch.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of rows of H.
    batch_size : int, default=None
        Number of rows of a batch in `fit`. None takes 1024, for sparse data at least a quarter of the number of
        features: each batch updates all of H, which would take most of the time with smaller batches.
    max_iter : int, default=200
        Largest number of passes of `fit` over the data.
    tol : float, default=1e-4
        `fit` stops after `max_no_improvement` consecutive passes that each lowered the objective by less than `tol`
        times its value. 0 makes exactly `max_iter` passes.
    max_no_improvement : int, default=10
        Number of such passes.
    forget_factor : float, default=1.0
        Above 0 and at most 1. The stored statistics of all strata are multiplied by this factor before a batch is
        added, so that older batches count less. 1 forgets nothing and suits fixed data: then no pass of `fit` increases
        the objective. 0.95 suits streams that change.
    init : {"features", "rows", "random", "nndsvd"}, model or Start, default="features"
        Start, computed from the first batch; see `StratifiedNMF`.
    sweeps : (int, int, int) or "thorough", default=(2, 1, 2)
        Coordinate descent for a batch: sweeps over its W in `fit` (elsewhere W is solved for exactly); alternations of
        v and H; sweeps over H in each alternation. A last update of v follows. ``"thorough"`` is (3, 3, 1).
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None takes Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H, the shared components.
    shifts_ : ndarray (n_strata, n_features)
        v(i), one row for each stratum, in the order of `strata_`.
    strata_ : ndarray (n_strata,)
        Labels of the strata seen so far, in sorted order.
    stratum_sizes_ : ndarray (n_strata,) of float64
        Number of remembered rows of each stratum, in the order of `strata_`.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows; only after `fit`.
    row_strata_ : ndarray (n_samples,) of int
        Stratum of each training row, as an index into `strata_`; only after `fit`.
    n_components_ : int
        k.
    n_iter_ : int
        Number of passes over the data.
    n_steps_ : int
        Number of batches visited.
    converged_ : bool
        True if `fit` stopped because of `tol`; only after `fit`.
    stopped_by_ : str
        Reason for stopping, ``"tol"`` or ``"max_iter"``; only after `fit`.
    reconstruction_err_ : float
        Norm of the residual; after `partial_fit` and `fit_blocks` that of the remembered rows, with the weights that
        they had when they were visited.
    normalized_loss_ : float
        The same over the norm of the data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``, one entry for each pass;
        only after `fit` and `fit_blocks`.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The weights of the first rows of a new stratum are found with the mean shift of the strata so far. From then on the
    stratum has its own shift, the best fit to all its remembered rows. The shifts have the same gauge freedom as in
    `StratifiedNMF`.

    References
    ----------
    J. Chapman, Y. Yaniv, D. Needell, "Stratified-NMF for Heterogeneous Data", 2023, arXiv:2311.10789 (the model).
    J. Mairal, F. Bach, J. Ponce, G. Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010,
    Algorithms 1 and 2 (the statistics).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.models.minibatch import MiniBatchStratifiedNMF
    >>> model = MiniBatchStratifiedNMF(1, random_state=0)
    >>> model = model.partial_fit(np.array([[1.0, 0, 5], [2, 0, 5]]), strata=["a", "a"])
    >>> model = model.partial_fit(np.array([[3.0, 1, 0], [6, 2, 0]]), strata=["b", "b"])
    >>> model.strata_.tolist(), model.shifts_.shape
    (['a', 'b'], (2, 3))
    """

    _has_shifts = True
    _n_sweeps = 3
    __metadata_request__fit = {"strata": True}
    __metadata_request__fit_transform = {"strata": True}
    __metadata_request__transform = {"strata": True}
    __metadata_request__inverse_transform = {"strata": True}
    __metadata_request__score = {"strata": True}

    def __init__(
        self,
        n_components=10,
        *,
        batch_size=None,
        max_iter=200,
        tol=1e-4,
        max_no_improvement=10,
        forget_factor=1.0,
        init="features",
        sweeps=(2, 1, 2),
        random_state=None,
        n_threads=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.forget_factor = forget_factor
        self.init = init
        self.sweeps = sweeps
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(self, X, y=None, *, strata=None):
        """Fit rows that are in memory, batch after batch, in several passes.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 stays float32; all other types become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        strata : array-like (n_samples,), default=None
            Label of each row, in any order. None is a single stratum.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters, data or labels cannot be used. The message says what was given, what was expected and what to
            do.
        """
        self._fit(X, strata)
        return self

    def fit_transform(self, X, y=None, *, strata=None):
        """Fit the model and return the weights of the rows of X, (n_samples, n_components); see `fit`."""
        return self._fit(X, strata)

    def transform(self, X, *, strata=None):
        """Return the exact non-negative weights of the rows of X for the shifts and components.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), default=None
            Label of each row, one of `strata_`. None is allowed for a model with one stratum.

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        return self._transform(X, strata)

    def inverse_transform(self, W, *, strata=None):
        """Return the model's rows ``v + w H``, dense (n_samples, n_features), for W (n_samples, n_components)."""
        return self._inverse_transform(W, strata)

    def score(self, X, y=None, *, strata=None, sample_weight=None):
        """Return the share of the squared norm of X that the model explains, at most 1; larger is better.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : ignored
            Present for compatibility with scikit-learn.
        strata : array-like (n_samples,), default=None
            Label of each row, one of `strata_`. None is allowed for a model with one stratum.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row's squared error and squared norm.

        Returns
        -------
        float
        """
        return self._score(X, strata, sample_weight)

    def top_features(self, n=10, feature_names=None):
        """Return the strongest features of each component and of each stratum, strongest first.

        Parameters
        ----------
        n : int, default=10
            Largest number of features of one component or stratum.
        feature_names : array-like (n_features,), default=None
            Names of the features. None takes `feature_names_in_`, or else the column numbers.

        Returns
        -------
        Bunch
            ``strata``, a dict of label -> list of str, and ``components``, a list of list of str.
        """
        return self._top_features(n, feature_names)
