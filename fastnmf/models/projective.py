"""Projective NMF: components onto which the data are projected, ``X ~ (X Hᵀ) H``.

Scale inside a fit: the data and W are held multiplied by ``4 ** log4_scale``; H has no scale.
"""

from __future__ import annotations

from itertools import chain, cycle
from typing import Any, Literal, Self

import numpy as np

from fastnmf.core import init as starts
from fastnmf.core.alternate import AlternatingSolver
from fastnmf.core.factors import pad, padded_factors
from fastnmf.core.init.clusters import clusters
from fastnmf.core.init.start_from import check_init
from fastnmf.core.losses.products import Projective
from fastnmf.core.objectives import best_scale, single_loss_problem
from fastnmf.core.options import generator, one_of
from fastnmf.core.quasi_newton import QuasiNewton
from fastnmf.core.updates import MU
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.estimator import without_zeros
from fastnmf.models.base.for_checkers import Callback, Model
from fastnmf.models.base.products import BasisModel
from fastnmf.models.hierarchy.init import unit_columns
from fastnmf.typing import Factor, File, Floats, Matrix, Seed


class ProjectiveNMF(BasisModel):
    """Project non-negative data onto non-negative components: ``X ~ (X Hᵀ) H`` with H >= 0, a non-negative PCA.

    Minimises ``||X - X Hᵀ H||²``. The rows of H become nearly orthogonal, so each feature belongs mainly to one
    component.

    Parameters
    ----------
    n_components : int, default=2
        Number of components (rows of H), >= 1.
    init : {None, "clusters", "nndsvda", "random", "custom"}, model or Start, default=None
        The start. None means ``"nndsvda"``: from the singular vectors; further starts of `n_init` are ``"clusters"``
        and ``"random"`` in turn. ``"clusters"``: clusters of the features, from a few iterations of `OrthogonalNMF`;
        better if the features form clear clusters. ``"random"``: uniform random numbers. Each of these is multiplied by
        the number for which the model fits best. ``"custom"``: the H passed to `fit`. A fitted model or a `Start`: its
        components.
    solver : {"lbfgs", "mu"}, default="lbfgs"
        ``"lbfgs"``: L-BFGS with bounds, a quasi-Newton method. ``"mu"``: the multiplicative updates of the source,
        which need thousands of iterations. With both the objective is monotone: it does not increase.
    max_iter : int, default=1000
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        Relative tolerance, >= 0. The fit stops when the next 100 iterations are expected to lower the objective by less
        than ``tol`` times its value, where a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter`
        iterations.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers that the start uses.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and a copy of the factor ``H``. The fit stops when it returns True.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of the dtype of X
        H, dimensionless.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        ``X @ components_.T``, in units of X; `transform` returns the same.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if `tol` ended the fit, or if ``tol=0`` and all `max_iter` iterations were run; False if the fit was
        stopped earlier.
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Norm of the residual, in units of X.
    normalized_loss_ : float
        `reconstruction_err_` divided by the norm of X; 0 for all-zero X.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error) and ``seconds`` (since the start of the
        fit). Entry 0 belongs to the start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    Only products with X are computed, and ``XᵀX`` is never formed. The multiplicative updates use the exponent 1/3, for
    which the objective is monotone; with the exponent 1 it can increase. They cannot leave a zero, and converge slowly:
    after 500 iterations on digits they were 8 % above the minimum that L-BFGS reaches in 150. The objective has many
    minima; ``n_init=10`` often finds a lower one by a few per cent.

    *Names*: the source's X is X.T, and its W is ``components_.T``.

    References
    ----------
    Z. Yang, E. Oja, "Linear and nonlinear projective nonnegative matrix factorization", IEEE Transactions on Neural
    Networks 2010, doi:10.1109/TNN.2010.2041361 (the updates).

    R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, "A limited memory algorithm for bound constrained optimization", SIAM Journal
    on Scientific Computing 1995, doi:10.1137/0916069.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import ProjectiveNMF
    >>> X = np.array([[1.0, 1, 0, 0], [2, 2, 0, 0], [0, 0, 3, 3], [1, 1, 1, 1]])
    >>> model = ProjectiveNMF(2).fit(X)
    >>> (model.transform(X) @ model.components_).round(2)
    array([[1., 1., 0., 0.],
           [2., 2., 0., 0.],
           [0., 0., 3., 3.],
           [1., 1., 1., 1.]])
    """

    init: Literal["clusters", "nndsvda", "random", "custom"] | Model | None
    solver: Literal["lbfgs", "mu"]

    _constraints = {
        "init": lambda name, value: check_init(value, (None, "clusters", "nndsvda", "random", "custom")),
        "solver": one_of("lbfgs", "mu"),
    }
    _continued = {"H": "components_"}

    def __init__(
        self,
        n_components: int = 2,
        *,
        init: Literal["clusters", "nndsvda", "random", "custom"] | Model | None = None,
        solver: Literal["lbfgs", "mu"] = "lbfgs",
        max_iter: int = 1000,
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

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        H: Factor = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 is kept; integers and booleans become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        H : ndarray (k, n_features), default=None
            Start for ``init="custom"``, non-negative and dimensionless.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs, and from which a fit that was killed continues;
            see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If parameters, data or starts cannot be used. The message says what was given, what was expected and what to
            do.
        """
        return self._fit(X, H=H, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    def transform(self, X: Matrix) -> Floats:
        """Return ``X @ components_.T``.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite.

        Returns
        -------
        ndarray (n_samples, n_components) of the dtype of X
            In units of X.
        """
        data = self._new_data(X)
        H = pad(self.components_.T, data)
        W = np.empty((data.shape[0], H.shape[1]), data.dtype)
        with threads(self.n_threads):
            data.matmul(H, W)
        return np.ldexp(np.ascontiguousarray(W[:, : len(self.components_)]), -2 * data.log4_scale)

    def _runs(self, data, given, options):
        """Return how many starts a fit tries, and the seed and the `init` of each: several of None are of all kinds."""
        n_runs, runs = super()._runs(data, given, options)
        if options.init is not None:
            return n_runs, runs
        inits = chain(["nndsvda"], cycle(["clusters", "random"]))
        return n_runs, ((seed, init) for (seed, _), init in zip(runs, inits, strict=False))

    def _solver(self, data, given, options, random_state):
        problem, factors = self._compose(data, given, options, generator(random_state))
        if options.is_multiplicative:
            return AlternatingSolver(problem, factors)
        return QuasiNewton(problem, factors, ("H",), options.max_iter)

    def _compose(self, data, given, options, rng):
        shape = options.n_components, data.shape[1]
        start = self._checked_start({"H": shape}, given, options)
        passed_on = self._components_from_init(data, options)
        if start is not None:
            H = start[0].T
        elif passed_on is not None:
            H = passed_on.T / passed_on.max()
            H = without_zeros(H) if options.is_multiplicative else H
        elif options.init == "random":
            H = rng.random(shape).T
        else:
            if options.init != "clusters":
                H = starts.nndsvd(data, shape[0], rng, has_shifts=False, fill="mean")[1]
            else:
                H = clusters(Strata.from_array(data.X.T), shape[0], rng, weighted=True)
            H = unit_columns(H)
        factors, tasks = padded_factors(data, H=H)
        loss = Projective(data, tasks)
        if start is None:
            inner = loss.inner(factors)
            factors["H"][:] *= data.dtype.type(np.sqrt(best_scale(np.sum(inner * loss.gram(factors)), np.trace(inner))))
            factors.invalidate("H")
        return single_loss_problem(data, loss, {"H": MU.plain(data.dtype)}, (("H", 1),), tasks), factors

    def _set_factors(self, data, fit, options):
        H = fit.factors["H"][:, : options.n_components]
        W = fit.problem.losses[0].weights(fit.factors)[:, : options.n_components]
        self.components_ = np.ascontiguousarray(H.T)
        self.W_ = np.ldexp(np.ascontiguousarray(W), -2 * data.log4_scale)
