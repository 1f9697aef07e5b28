"""Models that are fitted a batch of rows at a time: streams, and data that do not fit in memory."""

import itertools
import numbers
import time

from sklearn.exceptions import ConvergenceWarning

from fastnmf import online
from fastnmf.data import Strata
from fastnmf.models.base import BaseNMF, scaled
from fastnmf.models.options import check_integer, check_sweeps, generator
from fastnmf.models.problems import DIRECT_BELOW
from fastnmf.models.streams import STARTS, PartialFit, StratifiedPartialFit, has_slowed, unpenalised
from fastnmf.models.transfer import check_init
from fastnmf.models.warn import warn
from fastnmf.progress import progress
from fastnmf.solve import normalized, threads


class _MiniBatch(BaseNMF):
    """What the two models share."""

    _n_sweeps = 2
    solver, beta_loss, alpha_W, l1_ratio = "hals", "frobenius", 0.0, 0.0  # as of models that have the choice
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
        """Fit rows that are in memory, and return their weights."""
        self._check_parameters()
        X = self._validated(X, reset=True)
        with threads(self.n_threads), progress(type(self).__name__, self.max_iter, self.verbose) as callback:
            data = Strata.from_array(X, strata)
            batches = online.split(data, self.batch_size)
            for batch in batches[:2]:
                batch.data.begin_columns()
            first = max(batches, key=lambda batch: batch.data.sq_norm > 0)
            statistics = self._empty(data.shape[1]).start(first.data, *self._draw(first.data))
            digits = DIRECT_BELOW[data.dtype]
            fit = online.passes(
                statistics,
                batches,
                max_iter=self.max_iter,
                tol=self.tol,
                max_no_improvement=self.max_no_improvement,
                digits=digits,
                callback=callback,
            )
            W, fit.history["objective"][-1] = online.weigh(statistics, data, digits)
        self._statistics = statistics
        self._show()
        if self._has_shifts:
            self.row_strata_ = data.codes
        self.W_, self.n_iter_, self.n_steps_ = scaled(W, -data.exponent), fit.n_iter, fit.n_iter * len(batches)
        self.converged_, self.stopped_by_ = fit.converged, fit.stopped_by
        self.history_ = unpenalised(fit.history, data.sq_norm)
        self.normalized_loss_ = float(self.history_["normalized_loss"][-1])
        self.reconstruction_err_ = self._reconstruction_error(fit.history["objective"][-1], -2 * data.exponent)
        if not fit.converged:
            warn(
                f"The fit stopped at max_iter={self.max_iter} passes before the objective settled to tol={self.tol:g}; "
                "raise max_iter, or raise tol.",
                ConvergenceWarning,
            )
        return self.W_

    def fit_blocks(self, blocks, n_passes=1):
        """Fit data that do not fit in memory: blocks of rows, of which one at a time is held.

        One pass learns from each block once, as `partial_fit` does. In later passes, where nothing is forgotten
        (``forget_factor=1``), each block drives out its share of the passes before; and once that gains less than 1 %,
        shifts and components move at the end of a pass only, which never raises the objective. With a `forget_factor`
        rows that come again count as new ones. There is no `W_`; `transform` a block to have its weights.

        Parameters
        ----------
        blocks : iterable of X, or callable that returns one
            Each block as in `partial_fit`; for models with strata also pairs ``(X, strata)``. For more than one pass
            something that can be walked again (a list, `fastnmf.ondisk.DiskCSR.blocks`), or a callable; the blocks must
            be the same each time.
        n_passes : int, default=1

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As `partial_fit`; no block at all; an iterator for more than one pass; passes that differ.
        """
        self._check_parameters()
        check_integer("n_passes", n_passes)
        if not callable(blocks) and iter(blocks) is blocks and n_passes > 1:
            raise ValueError(
                f"blocks can be walked only once, but n_passes={n_passes}; give a list, or a function returning them."
            )
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
        self._let_go("W_", "row_strata_")
        self._statistics, self.n_iter_, self.n_steps_ = statistics, n_passes, n_passes * n_blocks
        self.history_ = unpenalised(history, statistics.sq_norm)
        self._show()
        return self

    def _pass(self, statistics, blocks, holds):
        """Learn from each block; return the statistics and how many blocks there were."""
        n_blocks, again = 0, statistics is not None and self.forget_factor == 1
        if again:
            statistics.begin_again(hold=holds)
        for block in blocks:
            X, strata = block if isinstance(block, tuple) else (block, None)
            if strata is not None and not self._has_shifts:
                raise ValueError("A block came with strata, but this model has none; use MiniBatchStratifiedNMF.")
            known = getattr(statistics, "labels", ()) if self._has_shifts else ()
            data = self._batch(X, strata, known, reset=statistics is None)
            statistics, n_blocks = self._learn(statistics, data, is_new=not again), n_blocks + 1
        if statistics is None:
            raise ValueError("fit_blocks was given no block of rows; give at least one.")
        if again and not statistics.end_again():
            raise ValueError("A later pass had another number of rows than the first; every pass must be the same.")
        return statistics, n_blocks


class MiniBatchNMF(PartialFit, _MiniBatch):
    """Factorise a non-negative matrix, ``X ~ W H``, a batch of rows at a time.

    Minimises ``||X - W H||²`` over W, H >= 0, as `NMF` does, but H moves after each batch. `fit` takes rows that are in
    memory, `fit_blocks` those that are not, `partial_fit` those that come one batch after another.

    Parameters
    ----------
    n_components : int, default=10
        Rows of H.
    batch_size : int, default=None
        Rows that `fit` meets together. None takes 1024, for sparse data at least a quarter of the number of features:
        all of H moves after each batch, and with smaller ones would take most of the time.
    max_iter : int, default=200
        Most passes of `fit` over the data.
    tol : float, default=1e-4
        `fit` stops after `max_no_improvement` passes in a row of which each lowered the objective by less than `tol`
        times itself. 0 makes exactly `max_iter` passes.
    max_no_improvement : int, default=10
    forget_factor : float, default=1.0
        What is remembered is multiplied by this before a batch is added, so a batch fades as newer ones come. 1 forgets
        nothing and suits fixed data: passes of `fit` then never raise the objective. 0.95 suits streams that change.
    init : {"features", "rows", "random", "nndsvd"}, model or Start, default="features"
        Start, drawn from the first batch, as of `NMF`.
    sweeps : (int, int), default=(2, 2)
        Of coordinate descent at a batch: over its W in `fit` (elsewhere W is exact), and over H.
    random_state : None, int, Generator or RandomState, default=None
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.
    verbose : int, default=0

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows; only after `fit`.
    n_components_ : int
    n_iter_, n_steps_ : int
        Passes over the data, and batches met.
    converged_, stopped_by_ :
        As of `NMF`; only after `fit`.
    reconstruction_err_ : float
        ``||X - W H||``; after `partial_fit` and `fit_blocks` that of the rows remembered, at the weights they had when
        they were met.
    normalized_loss_ : float
        The same over the norm of the data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``seconds``, an entry a pass; only after `fit` and `fit_blocks`.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    The statistics that are kept are exact: in the paper's Algorithm 2, A and B are our ``WᵀW`` and ``XᵀW``. Unlike
    there, `fit` takes back what a batch contributed when it meets it again, so it is block coordinate descent.

    References
    ----------
    J. Mairal, F. Bach, J. Ponce, G. Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010,
    Algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.models.online import MiniBatchNMF
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
            Non-negative, finite. float32 stays float32.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters or data that cannot be used: what was given, expected, and to be done.
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
        sample_weight : array-like (n_samples,), default=None
            Weight of each row's squared error and squared norm.
        """
        return self._score(X, None, sample_weight)

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, strongest first, as a list of lists."""
        return self._top_features(n, feature_names)


class MiniBatchStratifiedNMF(StratifiedPartialFit, _MiniBatch):
    """Factorise a non-negative matrix whose rows come in groups, ``A(i) ~ 1 v(i)ᵀ + W(i) H``, a batch at a time.

    Minimises ``sum_i ||A(i) - 1 v(i)ᵀ - W(i) H||²`` over v, W, H >= 0, as `StratifiedNMF` does, but v and H move after
    each batch. `fit` takes rows that are in memory, `fit_blocks` those that are not, `partial_fit` those that come one
    batch after another; strata may appear at any time.

    Parameters
    ----------
    n_components : int, default=10
        Rows of H.
    batch_size : int, default=None
        Rows that `fit` meets together. None takes 1024, for sparse data at least a quarter of the number of features:
        all of H moves after each batch, and with smaller ones would take most of the time.
    max_iter : int, default=200
        Most passes of `fit` over the data.
    tol : float, default=1e-4
        `fit` stops after `max_no_improvement` passes in a row of which each lowered the objective by less than `tol`
        times itself. 0 makes exactly `max_iter` passes.
    max_no_improvement : int, default=10
    forget_factor : float, default=1.0
        What is remembered, of all strata alike, is multiplied by this before a batch is added, so a batch fades as
        newer ones come. 1 forgets nothing and suits fixed data: passes of `fit` then never raise the objective. 0.95
        suits streams that change.
    init : {"features", "rows", "random", "nndsvd"}, model or Start, default="features"
        Start, drawn from the first batch, as of `StratifiedNMF`.
    sweeps : (int, int, int) or "thorough", default=(2, 1, 2)
        Of coordinate descent at a batch: sweeps over its W in `fit` (elsewhere W is exact); alternations of v and H;
        sweeps over H in each of these; then v once more. ``"thorough"`` is (3, 3, 1).
    random_state : None, int, Generator or RandomState, default=None
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.
    verbose : int, default=0

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H, the shared components.
    shifts_ : ndarray (n_strata, n_features)
        v(i), one row a stratum, in the order of `strata_`.
    strata_ : ndarray (n_strata,)
        Labels seen so far, in sorted order.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows; only after `fit`.
    row_strata_ : ndarray (n_samples,) of int
        Stratum of each training row, as a position in `strata_`; only after `fit`.
    n_components_ : int
    n_iter_, n_steps_ : int
        Passes over the data, and batches met.
    converged_, stopped_by_ :
        As of `StratifiedNMF`; only after `fit`.
    reconstruction_err_ : float
        Norm of the residual; after `partial_fit` and `fit_blocks` that of the rows remembered, at the weights they had
        when they were met.
    normalized_loss_ : float
        The same over the norm of the data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``seconds``, an entry a pass; only after `fit` and `fit_blocks`.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    The first rows of a new stratum are weighed with the mean shift of the strata so far; from then on the stratum has a
    shift of its own, the one that fits best to all its rows that are remembered. The gauge is as free as in
    `StratifiedNMF`.

    References
    ----------
    J. Chapman, Y. Yaniv, D. Needell, "Stratified-NMF for Heterogeneous Data", 2023, arXiv:2311.10789 (the model).
    J. Mairal, F. Bach, J. Ponce, G. Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010,
    Algorithms 1 and 2 (the statistics).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.models.online import MiniBatchStratifiedNMF
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
            Non-negative, finite. float32 stays float32.
        y : ignored
        strata : array-like (n_samples,), default=None
            Label of each row, in any order. None is a single stratum.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or labels that cannot be used: what was given, expected, and to be done.
        """
        self._fit(X, strata)
        return self

    def fit_transform(self, X, y=None, *, strata=None):
        """Fit the model and return the weights of the rows of X, (n_samples, n_components); see `fit`."""
        return self._fit(X, strata)

    def transform(self, X, *, strata=None):
        """Return the exact non-negative weights of the rows of X for the shifts and components, (n_samples, k).

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), default=None
            Label of each row, among `strata_`; may be left out for a model of one stratum.
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
        strata : array-like (n_samples,), default=None
        sample_weight : array-like (n_samples,), default=None
            Weight of each row's squared error and squared norm.
        """
        return self._score(X, strata, sample_weight)

    def top_features(self, n=10, feature_names=None):
        """Return the features with the largest weights, descending, as ``strata`` (a dict) and ``components`` (a list).

        Parameters
        ----------
        n : int, default=10
        feature_names : array-like (n_features,), default=None
            None takes `feature_names_in_`, or else the column numbers.
        """
        return self._top_features(n, feature_names)
