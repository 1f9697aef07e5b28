"""Factors of zeros and ones, under the sum (`BinaryNMF`) or under OR (`BooleanNMF`).

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from fastnmf.core import discrete
from fastnmf.core.alternate import solve
from fastnmf.core.factors import allocate, pad
from fastnmf.core.inference import infer
from fastnmf.core.objectives import interval_problem, squared_problem
from fastnmf.core.options import generator, one_of
from fastnmf.core.warn import first_was, warn
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.for_checkers import Callback, Iterative
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import Factor, File, Floats, Matrix, Seed, SparseOrDense

# Iterations of the relaxed fit of Boolean factors. On digits (entries above 7) at 5 and at 10 components, for two seeds
# of ten starts each, 40 of them end at 15,345 and 15,396, and at 11,516 and 11,420 mismatches; 200 end at 15,568 and
# 15,554, and at 11,509 and 11,770; 200 that are extrapolated, at 15,971 and 15,623. What later iterations gain does not
# outlast rounding.
RELAXED_ITER = 40
THRESHOLDS = (0.6, 0.4, 0.2, 0.05)  # relative to the largest entry of a component; larger entries are rounded to true


class FlipModel(BaseNMF, Iterative):
    """Base of the models of zeros and ones: round a fit of non-negative factors, then switch entries.

    A subclass defines `_problem`, the relaxed one, `_rounded`, and the solver that switches, `_switching`.

    Parameters
    ----------
    n_components, init, n_init, max_iter, tol, random_state, n_threads, verbose, warm_start, max_time, callback :
        As for `BinaryNMF`.
    """

    init: Literal["random", "custom"]
    n_runs_: int

    _constraints = {"init": one_of("random", "custom")}
    _not_free = ("max_iter", "tol")  # of the relaxed fit
    _relaxed_iter = None  # its most iterations; None: max_iter

    def __init__(
        self,
        n_components: int = 10,
        *,
        init: Literal["random", "custom"] = "random",
        n_init: int = 10,
        max_iter: int = 200,
        tol: float = 1e-4,
        random_state: Seed = None,
        n_threads: int | None = None,
        verbose: int = 0,
        warm_start: bool = False,
        max_time: float | None = None,
        callback: Callback | None = None,
    ):
        self._set(locals())

    def fit_transform(
        self,
        X: Matrix,
        y: Any = None,
        *,
        W: Factor = None,
        H: Factor = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Floats:
        """Fit the model and return what `transform` returns for X, (n_samples, n_components).

        Parameters
        ----------
        X, y, W, H, layer, checkpoint, checkpoint_every :
            As for `fit`.
        """
        return self.fit(X, W=W, H=H, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every).transform(X)

    def _fit(self, X, **arguments):
        super()._fit(X, **arguments)
        self.n_runs_ = len(self.run_objectives_)
        return self

    def _seeds(self, options):
        yield from generator(options.random_state).spawn(self._n_runs(options))

    def _solver(self, data, given, options, random_state):
        return self._switching(data, lambda: self._rounded_start(data, given, options, random_state))

    def _rounded_start(self, data, given, options, random_state):
        """Return W (n, k) and H (m, k) from which switching begins.

        Parameters
        ----------
        data, given, options, random_state :
            As for `_solver`.
        """
        W, H, _, _ = self._start(data, options.n_components, given, options, random_state)
        if options.init != "custom":
            if self._goes_on(options):
                return W, H
            W, H = W + 0.1 * W.mean(), H + 0.1 * H.mean()
        factors, tasks = allocate(data, W, H, None)
        problem = self._problem(data, factors, tasks, options)
        n_iter = min(options.max_iter, self._relaxed_iter or options.max_iter)
        solve(problem, factors, max_iter=n_iter, tol=options.tol, max_time=options.max_time)
        return self._rounded(data, *(factors[name][:, : factors.rank].astype(np.float64) for name in "WH"))

    def _arrays(self, data, solver):
        return solver.W.astype(data.dtype), np.ascontiguousarray(solver.H.T.astype(data.dtype)), None

    def _set_factors(self, data, fit, options):
        self.W_, self.components_, _ = self._arrays(data, fit.solver)
        self.n_components_ = self._n_components = options.n_components

    def _warn(self, fit, options):
        if fit.stopped_by == "max_iter" and not fit.converged:
            warn(
                f"The fit stopped after max_iter={options.max_iter} rounds of switching, the last of which still "
                "lowered the error; raise max_iter.",
                ConvergenceWarning,
            )


class BinaryNMF(FlipModel):
    """Factorise into zeros and ones: ``X ~ W H`` with W and H in {0, 1}, for X of whole numbers, or nearly whole ones.

    Every row is the sum of some of the components, and every component is a set of features. Minimises
    ``||X - W H||²``.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of rows of H.
    init : {"random", "custom"}, default="random"
        Start of the relaxed fit. ``"random"``: uniform draws. ``"custom"``: the W and H passed to `fit`.
    n_init : int, default=10
        Maximum number of random starts; the best result is kept. A result without error ends the search. With
        ``init="custom"`` there is one start.
    max_iter : int, default=200
        Maximum number of iterations of the relaxed fit, and of rounds of switching after it.
    tol : float, default=1e-4
        Stopping tolerance of the relaxed fit; see `NMF`.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.
    warm_start : bool, default=False
        Whether `fit` continues to switch the entries of the previous fit's factors, without a relaxed fit.
    max_time : float, default=None
        Seconds after which no further iteration, round or start begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the rounded factors and after every round of switching with a `FitState`; see
        `NMF`. Returning True stops the fit.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H, of zeros and ones, in the dtype of X.
    W_ : ndarray (n_samples, n_components)
        W, of zeros and ones, in the dtype of X.
    n_components_ : int
        k.
    n_iter_ : int
        Rounds of switching in the best run.
    n_runs_ : int
        Number of starts that were tried.
    run_objectives_ : ndarray (`n_runs_`,)
        Final objective of every start.
    converged_ : bool
        Whether the last round of switching did not lower the error.
    stopped_by_ : str
        Reason for stopping: ``"tol"`` (no switch lowers the error), ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        ``||X - W H||``.
    normalized_loss_ : float
        ``||X - W H|| / ||X||``; 0 for all-zero data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective``, the squared error, and ``seconds``. Entry 0 is that of the
        rounded factors, the others follow each round of switching. The objective does not increase.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The method has four steps. Coordinate descent finds non-negative factors. Both factors of each component are scaled
    to the same largest entry. All entries are rounded at one half. Then single entries are switched as long as that
    lowers the error, each exactly for the given rest of its row. The result is a local minimum: no single switch
    improves it. Sparse data stay sparse, O(nnz k) per round.

    A set lowers the error only where more than half of the entries that it covers are ones. In text that holds for
    single words, so they are what the components of counts or TF-IDF are; that is the model, not its solver. `NMF` and
    `PLSA` find topics.

    References
    ----------
    Z. Zhang, T. Li, C. Ding, X. Zhang, "Binary matrix factorization with applications", ICDM 2007,
    doi:10.1109/ICDM.2007.99 (relaxation and rounding; the switching is plain coordinate descent).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import BinaryNMF
    >>> X = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 2, 1, 1], [0, 0, 0, 0]])
    >>> model = BinaryNMF(2, random_state=0).fit(X)
    >>> order = np.argsort(model.components_.sum(axis=1))  # components come in any order
    >>> model.components_[order]
    array([[1., 1., 0., 0.],
           [0., 1., 1., 1.]])
    >>> model.reconstruction_err_
    0.0
    """

    _switching = discrete.BinarySwitching

    def transform(self, X: Matrix) -> Floats:
        """Return weights of zeros and ones for the rows of X that no single switch improves.

        Each row is solved from two starts, all zeros and the rounded non-negative weights; the better result is
        returned.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        return self._switched(X)[1]

    def score(self, X: Matrix, y: Any = None) -> float:
        """Return the share of the squared norm of X that the model explains, at most 1; larger is better."""
        data, W = self._switched(X)
        if data.sq_norm == 0:
            return 1.0
        H = self.components_.T.astype(np.float64)
        return 1 - discrete.squared_error(data, W.astype(np.float64), H, discrete.times(data, H)) / data.sq_norm

    def _observed(self, X, options, strata=None, weight=None, labels=None):
        data = super()._observed(X, options, strata, weight, labels)
        if data.log4_scale:  # zeros and ones cannot be rescaled
            raise ValueError(
                "The largest entry of X lies outside 1e-48 to 1e48 (in float32: 3e-8 to 1.6e7); sums of zeros and ones "
                "are near 1. Rescale X."
            )
        return data

    def _problem(self, data, factors, tasks, options):
        return squared_problem(data, factors, tasks, (("W", 2), ("H", 2)), is_descent=True)

    def _rounded(self, data, W, H):
        return discrete.rounded(W, H)

    def _switched(self, X):
        """Return X as `Strata`, and W (n, k) of zeros and ones for the fitted components."""
        options = self._options()
        data, H, _ = self._prepared(X, None, options)
        with threads(options.n_threads):
            weights = infer(data, H.shape[1], pad(H, data), None)[0][:, : H.shape[1]]
            H = H.astype(np.float64)
            product = discrete.times(data, H)
            guesses = np.zeros(product.shape), (weights > 0.5).astype(np.float64)
            W = discrete.infer_binary(product, H.T @ H, guesses)
        return data, W.astype(data.dtype)


class BooleanNMF(FlipModel):
    """Factorise a Boolean matrix: ``X_ij ~ OR_l (W_il AND H_lj)`` with W and H in {0, 1}.

    Every row is the union of some of the components, and every component is a set of features; one plus one is one.
    Every non-zero entry of X counts as 1. Minimises the number of mismatches: entries in which model and data differ.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of rows of H.
    init : {"random", "custom"}, default="random"
        Start of the relaxed fit. ``"random"``: uniform draws. ``"custom"``: the W and H passed to `fit`.
    n_init : int, default=10
        Maximum number of random starts; the best result is kept. A result without mismatches ends the search. With
        ``init="custom"`` there is one start.
    max_iter : int, default=200
        Maximum number of rounds of switching, and of iterations of the relaxed fit, which makes 40 at most: more of
        them do not make the rounded factors better.
    tol : float, default=1e-4
        Stopping tolerance of the relaxed fit; see `NMF`.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.
    warm_start : bool, default=False
        Whether `fit` continues to switch the entries of the previous fit's factors, without a relaxed fit.
    max_time : float, default=None
        Seconds after which no further iteration, round or start begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the rounded factors and after every round of switching with a `FitState`; see
        `NMF`. Returning True stops the fit.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H, of zeros and ones, in the dtype of X.
    W_ : ndarray (n_samples, n_components)
        W, of zeros and ones, in the dtype of X.
    n_mismatches_ : int
        Number of entries of the training data in which the model is wrong.
    n_components_ : int
        k.
    n_iter_ : int
        Rounds of switching in the best run.
    n_runs_ : int
        Number of starts that were tried.
    run_objectives_ : ndarray (`n_runs_`,)
        Final objective of every start.
    converged_ : bool
        Whether the last round of switching did not lower the error.
    stopped_by_ : str
        Reason for stopping: ``"tol"`` (no switch lowers the error), ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Square root of `n_mismatches_`: the norm of the difference.
    normalized_loss_ : float
        Square root of the mismatches over the number of ones in X.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective``, the mismatches, and ``seconds``. Entry 0 is that of the
        rounded factors, the others follow each round of switching. The objective does not increase.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The method begins with a relaxation: coordinate descent finds W, H >= 0 whose product is at least 1 where X is one
    and 0 elsewhere. The factors are then rounded with each pair of four thresholds, relative to the largest entry of a
    component, and the best pair is kept. Then single entries are switched as long as that lowers the number of
    mismatches. The result is a local minimum: no single switch improves it. Sparse data stay sparse; a round of
    switching costs at most O(n_samples) times the number of ones in H.

    References
    ----------
    P. Miettinen, T. Mielikainen, A. Gionis, G. Das, H. Mannila, "The discrete basis problem", IEEE TKDE 2008,
    doi:10.1109/TKDE.2008.53 (the problem; the method is the relaxation above).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import BooleanNMF
    >>> X = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
    >>> model = BooleanNMF(2, random_state=0).fit(X)
    >>> model.n_mismatches_
    0
    >>> model.inverse_transform(model.W_)[2]
    array([1., 1., 1., 1.])
    """

    n_mismatches_: int

    _switching, _relaxed_iter = discrete.BooleanSwitching, RELAXED_ITER

    def transform(self, X: Matrix) -> Floats:
        """Return weights of zeros and ones for the rows of X that no single switch improves.

        Each row is solved from two starts: all zeros, and the components with more than half of their features in the
        row. The better result is returned.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        return self._switched(X)[1]

    @first_was("W")
    def inverse_transform(self, X: SparseOrDense) -> Floats:
        """Return the Boolean product of weights X and H as zeros and ones, dense (n_samples, n_features)."""
        sums = self._inverse_transform(X)
        return (sums > 0).astype(sums.dtype)

    def score(self, X: Matrix, y: Any = None) -> float:
        """Return one minus the mismatches over the number of ones in X, at most 1; larger is better."""
        data, _, wrong = self._switched(X)
        return 1.0 if data.sq_norm == 0 else float(1 - wrong.sum() / data.sq_norm)

    def _observed(self, X, options, strata=None, weight=None, labels=None):
        # CSR whose stored entries are all 1
        X = sp.csr_array(super()._observed(X, options, strata, weight, labels).X)
        return Strata.from_array(sp.csr_array((np.ones_like(X.data), X.indices, X.indptr), shape=X.shape))

    def _problem(self, data, factors, tasks, options):
        return interval_problem(data, factors, tasks, None, is_descent=True)

    def _rounded(self, data, W, H):
        return discrete.best_rounding(data, W, H, THRESHOLDS)

    def _record(self, data, fit, options):
        super()._record(data, fit, options)
        self.n_mismatches_ = int(fit.history["objective"][-1])

    def _switched(self, X):
        """Return X as `Strata`, W (n, k) of zeros and ones, and the mismatches of each row, int64 (n,)."""
        options = self._options()
        data, H, _ = self._prepared(X, None, options)
        with threads(options.n_threads):
            sets, overlap = H > 0, discrete.times(data, H.astype(np.float64))
            guesses = np.zeros(overlap.shape, bool), overlap > 0.5 * sets.sum(axis=0)
            W, wrong = discrete.infer_boolean(data.rows, sets, guesses)
        return data, W.astype(data.dtype), wrong
