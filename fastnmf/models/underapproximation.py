"""Nonnegative matrix underapproximation: components that stay below the data, found one after another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from fastnmf.core import discrete
from fastnmf.core.alternate import balanced_factors
from fastnmf.core.factors import pad, scaled
from fastnmf.core.inference import infer
from fastnmf.core.objectives import measure_squared_error
from fastnmf.core.options import check_bool, one_of
from fastnmf.kernels.jit import threads
from fastnmf.models.base.for_checkers import Callback, Runs, like_fit
from fastnmf.models.base.inspection import RowErrorsMixin
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import Floats, Matrix


class UnderapproximationNMF(RowErrorsMixin, BaseNMF, Runs):
    """Factorise the data from below, one component after another: ``X ~ W H`` with ``W H <= X``, W, H >= 0.

    Each component is a rank-one matrix that is nowhere larger than the data. The remainder is therefore non-negative,
    and the next component is found in it. Components are parts: they are zero where the data are zero, and do not
    cancel each other.

    Parameters
    ----------
    n_components : int, default=10
        Number of components, >= 1. They are found one after another, so the first k are those of a fit with k
        components.
    feasible : bool, default=False
        Whether ``W H <= X`` must hold exactly. Otherwise Lagrange multipliers push each component down to approximately
        X. This explains more, and `overshoot_` says by how much the model exceeds X.
    init : {"svd", "custom"}, default="svd"
        Start of each component: the leading singular pair of the remainder, or the pair from the W and H passed to
        `fit`.
    max_iter : int, default=30
        Number of steps of the multipliers for each component, >= 1. More steps leave a smaller overshoot.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    n_init : int, default=1
        Without effect, as there is only one start.
    warm_start : bool, default=False
        Whether `fit` takes the start of each component from the factors of the previous fit.
    max_time : float, default=None
        Seconds after which no further component begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every component with a `FitState`; see `NMF`. Returning True
        stops the fit.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of the dtype of X
        H.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        W, the weights of the training rows.
    overshoot_ : float
        ``||max(W H - X, 0)|| / ||X||``; only rounding if `feasible`.
    n_components_ : int
        `n_components`.
    n_iter_ : int
        Number of components found: `n_components`, unless `max_time` or `callback` has stopped the fit; the others are
        zero then.
    converged_ : bool
        Whether all components were found.
    stopped_by_ : str
        Reason for stopping: ``"max_iter"`` (all components were found), ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        ``||X - W H||``.
    normalized_loss_ : float
        `reconstruction_err_` divided by the norm of X; 0 for all-zero X.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``: number of components so far; ``residual``: norm of the positive part of the remainder;
        ``normalized_loss``: `residual` divided by the norm of X; ``objective``: square of `residual`, in the scale of
        the fit; ``seconds``.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    The Lagrangian method is not a descent method: the error of a single component may increase from step to step, while
    `residual` falls with every component. The remainder is stored on the non-zero entries of X. A step costs O(nnz + (n
    + m) max_iter). The multipliers where X is zero are never formed; they are a sum of max_iter products of vectors, of
    the dtype of X.

    `feasible` reduces each component to the largest one below the remainder. Of data without zeros and without
    structure it explains little. A component is zero outside a block in which all entries are positive. Of several
    blocks, the one is taken that explains most without its largest row and column, because a single row or column is
    below the data by itself. In text such blocks are words that occur together in each of some documents, as in
    signatures and repeated passages: use ``feasible=False`` for topics.

    *Names*: u, v a column of W and a row of H; R the remainder; the multipliers are the source's Lambda.

    References
    ----------
    N. Gillis, F. Glineur, "Using underapproximations for sparse nonnegative matrix factorization", Pattern Recognition
    2010, doi:10.1016/j.patcog.2009.11.013 (Algorithm 1). `feasible` is ours.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import UnderapproximationNMF
    >>> X = np.array([[1.0, 2, 0], [2, 4, 0], [0, 1, 3], [0, 0, 1]])
    >>> model = UnderapproximationNMF(2, feasible=True).fit(X)
    >>> (model.W_ @ model.components_).round(2)
    array([[1., 2., 0.],
           [2., 4., 0.],
           [0., 1., 3.],
           [0., 0., 0.]])
    """

    n_components: int
    feasible: bool
    init: Literal["svd", "custom"]
    max_iter: int
    overshoot_: float

    _constraints = {"init": one_of("svd", "custom"), "feasible": check_bool}
    _not_free = ("max_iter",)

    def __init__(
        self,
        n_components: int = 10,
        *,
        feasible: bool = False,
        init: Literal["svd", "custom"] = "svd",
        max_iter: int = 30,
        n_threads: int | None = None,
        verbose: int = 0,
        n_init: int = 1,
        warm_start: bool = False,
        max_time: float | None = None,
        callback: Callback | None = None,
    ):
        self._set(locals())

    @like_fit
    def fit_transform(self, X: Matrix, y: Any = None, **given: Any) -> Floats:
        """Fit the model and return what `transform` returns for X, (n_samples, n_components); arguments as in `fit`."""
        return self.fit(X, y, **given).transform(X)

    def transform(self, X: Matrix) -> Floats:
        """Return non-negative weights of the rows of X for the fitted components.

        If `feasible`, the weight of each component in turn is the largest one for which it stays below the remainder of
        the row; for the training data this gives `W_`. Otherwise the weights are the exact minimiser of ``||x - w H||``
        over w >= 0, without the bound.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite.

        Returns
        -------
        W : ndarray (n_samples, n_components) of the dtype of X
            Non-negative weights of the rows.
        """
        if not self.feasible:
            return self._transform(X)
        options = self._options()
        data, H, _ = self._prepared(X, None, options)
        with threads(options.n_threads):
            W = discrete.peel(data.X, H.T)
        return scaled(W.astype(data.dtype), -data.log4_scale)

    def _options(self):
        """Return the `Options`, in which an iteration is a component; `max_iter` counts the steps of one component."""
        return replace(super()._options(), max_iter=self.n_components)

    def _data(self, X, given, options):
        return self._observed(X, options)

    def _solver(self, data, given, options, random_state):
        start = None
        if options.init == "custom" or self._goes_on(options):
            W, H, _, _ = self._start(data, options.n_components, given, options, random_state)
            if self._goes_on(options) and not W.any():  # the previous fit had other rows
                W = infer(data, H.shape[1], pad(H, data), None)[0][:, : H.shape[1]].astype(np.float64)
            start = W, H.T
        more = {"n_steps": self.max_iter, "is_feasible": self.feasible, "start": start}
        return discrete.Underapproximation(data.X, options.n_components, **more)

    def _arrays(self, data, solver):
        return *(scaled(F.astype(data.dtype), -data.log4_scale) for F in (solver.W, solver.H)), None

    def _finish(self, data, fit, options):
        self._record(data, fit, options)
        solver = fit.solver
        self.history_["residual"] = scaled(self.history_["residual"], -2 * data.log4_scale)
        self.overshoot_ = discrete.overshoot(data.X, solver.W, solver.H) / (float(np.sqrt(data.sq_norm)) or 1.0)
        self.W_, self.components_, _ = balanced_factors(*self._arrays(data, solver)[:2])
        self.n_components_ = self._n_components = options.n_components
        W, H = solver.W.astype(data.dtype), solver.H.astype(data.dtype)
        self.normalized_loss_, self.reconstruction_err_ = measure_squared_error(data, W, H.T)
        self.history_["normalized_loss"][-1] = self.normalized_loss_  # of W H itself, with what lies above the data
