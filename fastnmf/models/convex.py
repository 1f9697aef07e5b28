"""Convex NMF: components that are weighted means of the rows of X, ``X ~ W Cᵀ X``, also in the space of a kernel."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import padded_factors
from fastnmf.core.inference import finish_weights
from fastnmf.core.init.clusters import clusters
from fastnmf.core.losses.products import Convex, DenseOperator, GramMixture, Operator, RowMixture
from fastnmf.core.objectives import best_scale, single_loss_problem
from fastnmf.core.options import one_of
from fastnmf.core.updates import HALS, MU, MixtureDescent
from fastnmf.data.strata import Strata
from fastnmf.models.base.for_checkers import Callback
from fastnmf.models.base.products import BasisModel, WeightModel, divisors
from fastnmf.typing import Factor, File, Floats, Matrix, Seed

MAX_ROWS = 10_000  # of a dense float64 matrix (n_rows, n_rows): 800 MB
SWEEPS = 2  # sweeps of coordinate descent over W in one iteration
UPDATES = 3  # multiplicative updates of C in one iteration
DESCENT_SWEEPS = 4  # sweeps over W and over C where C is updated by coordinate descent, too: fewer products with X


def check_rows(n_rows, why):
    """Raise if a dense matrix (n_rows, n_rows) would be too large; `why` names the method that needs it."""
    if n_rows > MAX_ROWS:
        raise ValueError(
            f"X has {n_rows} rows; {why} needs a dense (n_samples, n_samples) matrix, which is limited to {MAX_ROWS} "
            "rows. Fit on a sample of the rows and transform the others."
        )


class ConvexModel(WeightModel):
    """Base of `ConvexNMF` and `KernelNMF`: the start, the problem, and C with columns of sum one.

    A subclass defines ``_parts(data)``, which returns an `Operator` or `DenseOperator` that multiplies by ``K = X Xᵀ``
    (n, n) or by a kernel matrix, the trace of K, and non-negative `Strata` with n rows, which are clustered for the
    start.
    """

    init: Literal["clusters", "random", "custom"] | None
    solver: Literal["cd", "mu"]
    C_: Floats

    _constraints = {"init": one_of(None, "clusters", "random", "custom"), "solver": one_of("cd", "mu")}
    _continued = {"W": "W_", "C": "C_"}
    _is_signed = True

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        W: Factor = None,
        C: Factor = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Finite, of any sign. `ConvexNMF` with ``solver="mu"``: X with negative entries must be dense and have at
            most 10,000 rows. `KernelNMF`: at most 10,000 rows; with ``kernel="precomputed"`` the symmetric kernel
            matrix (n_samples, n_samples). float32 stays float32; all other types become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W : ndarray (n_samples, n_components), default=None
            Start of the weights for ``init="custom"``, >= 0.
        C : ndarray (n_samples, n_components), default=None
            Start of the weights of the rows in the components for ``init="custom"``, >= 0.
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
            If parameters, data or start cannot be used. The message says what was given, what was expected and what to
            do.
        """
        return self._fit(X, W=W, C=C, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    def _compose(self, data, given, options, rng):
        operator, trace, groups = self._parts(data)
        shape = data.shape[0], options.n_components
        start = self._checked_start({"W": shape, "C": shape}, given, options)
        if start is not None:
            W, C = start
        elif options.init == "random":
            W, C = rng.random(shape), rng.random(shape)
        else:
            W = clusters(groups, shape[1], rng)
            C = W / W.sum(axis=0)
        factors, tasks = padded_factors(data, W=W, C=C)
        loss = self._loss(data, operator, tasks, trace)
        if start is None:
            fitted, crossed = np.sum(loss.inner(factors) * loss.gram(factors)), loss.crossed(factors)
            factors["W"][:] *= data.dtype.type(best_scale(fitted, crossed))
            factors.invalidate("W")
        update = MU.plain(data.dtype)
        updates, schedule = {"W": update, "C": update}, (("W", 1), ("C", 1))
        if isinstance(loss, RowMixture | GramMixture):
            updates = {"W": HALS(), "C": MixtureDescent(DESCENT_SWEEPS, DESCENT_SWEEPS)}
            schedule = (("W", DESCENT_SWEEPS), ("C", 1))
        elif not options.is_multiplicative:
            updates, schedule = {"W": HALS(), "C": update}, (("W", SWEEPS), ("C", UPDATES))
        return single_loss_problem(data, loss, updates, schedule, tasks, trace, is_direct=False), factors

    def _loss(self, data, operator, tasks, trace):
        return Convex(operator, tasks, trace)

    def _set_factors(self, data, fit, options):
        """Set W_ and C_, with columns of C_ of sum one; after coordinate descent W is solved for exactly."""
        if not options.is_multiplicative:
            finish_weights(fit)
        W, C = (np.ascontiguousarray(fit.factors[name][:, : options.n_components]) for name in "WC")
        sums = C.sum(axis=0, dtype=np.float64)
        sums = divisors(sums).astype(C.dtype)
        self.W_, self.C_ = W * sums, C / sums


class ConvexNMF(ConvexModel, BasisModel):
    """Factorise ``X ~ W Cᵀ X`` with W, C >= 0: components are weighted means of rows of X, so that they look like rows.

    Minimises ``||X - W (Cᵀ X)||²``. The data may have negative entries. C becomes sparse: few rows make a component.

    Parameters
    ----------
    n_components : int, default=2
        k, the number of columns of W and C.
    init : {None, "clusters", "random", "custom"}, default=None
        None means ``"clusters"``: clusters of the rows, found by a few steps of `OrthogonalNMF`; C starts with their
        means. ``"random"``: uniform, which needs many more iterations. ``"custom"``: the W and C passed to `fit`.
    solver : {"cd", "mu"}, default="cd"
        ``"cd"``: exact coordinate descent for W and C; after the last iteration W is solved for exactly. ``"mu"``:
        multiplicative updates for both. With both solvers the objective is monotone: it does not increase.
    max_iter : int, default=500
        Maximum number of iterations.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the objective by less than `tol` times its value, where
        a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration; returning True stops the fit. `state` has
        ``iteration``, ``normalized_loss``, ``seconds``, and a copy of the factor ``W``, before C is normalised.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows.
    C_ : ndarray (n_samples, n_components)
        Weights of the rows in each component; each column sums to one.
    components_ : ndarray (n_components, n_features)
        ``C_.T @ X``.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if the fit stopped because of `tol`, or, with ``tol=0``, after `max_iter` iterations.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Norm of the residual.
    normalized_loss_ : float
        Norm of the residual over the norm of X.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``; entry 0 is the start.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    With ``solver="cd"`` only products with X are computed: sparse data stay sparse, and ``X Xᵀ`` is not formed. The
    weights of one row of X in all components are a small problem, whose data are this row and an array (n_features, k);
    the rows are visited one after another, those that no component uses only where they would lower the objective. The
    multiplicative update of the source needs the positive and the negative part of ``X Xᵀ`` where X has negative
    entries, which is then formed, dense.

    *Names*: the source's X is X.T; its W is `C_` and its G is `W_`.

    References
    ----------
    C. Ding, T. Li, M. I. Jordan, "Convex and semi-nonnegative matrix factorizations", IEEE TPAMI 2010,
    doi:10.1109/TPAMI.2008.277 (the model and the multiplicative updates).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import ConvexNMF
    >>> X = np.array([[1.0, 2, 0], [1, 2, 0], [0, 0, 3], [0, 0, 3]])
    >>> model = ConvexNMF(2, random_state=0).fit(X)
    >>> model.components_[model.components_[:, 2].argsort()].round(2)
    array([[1., 2., 0.],
           [0., 0., 3.]])
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        init: Literal["clusters", "random", "custom"] | None = None,
        solver: Literal["cd", "mu"] = "cd",
        max_iter: int = 500,
        tol: float = 1e-4,
        random_state: Seed = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_threads: int | None = None,
        n_init: int = 1,
        warm_start: bool = False,
    ):
        self._set(locals())

    def _parts(self, data):
        """Return operator, trace and data to cluster; multiplicative updates need ``X Xᵀ`` of data of any sign."""
        least = (data.X.data if data.is_sparse else data.X).min(initial=0)
        if least >= 0:
            return Operator(data, "rows"), data.sq_norm, data
        if self.solver == "cd":
            size, stack = abs(data.X), sp.hstack if data.is_sparse else np.hstack
            return None, data.sq_norm, Strata.from_array(stack([size + data.X, size - data.X]))  # twice both parts
        if data.is_sparse:
            raise ValueError(
                f"X is sparse and has negative entries (the smallest is {least:g}): solver='mu' would need a dense "
                "(n_samples, n_samples) matrix; use solver='cd'."
            )
        check_rows(data.shape[0], "ConvexNMF(solver='mu') of data with negative entries")
        K = data.X @ data.X.T
        return DenseOperator(K), data.sq_norm, Strata.from_array(np.maximum(K, 0))

    def _loss(self, data, operator, tasks, trace):
        return RowMixture(data, tasks) if self.solver == "cd" else super()._loss(data, operator, tasks, trace)

    def _set_factors(self, data, fit, options):
        super()._set_factors(data, fit, options)
        self.components_ = np.ldexp(np.asarray(self.C_.T @ data.X), -2 * data.log4_scale)
