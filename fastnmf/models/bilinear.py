"""Bilinear mixing: components contribute alone and in pairs, ``X ~ W [H; products of two rows of H]``."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np

from fastnmf.core.factors import allocate
from fastnmf.core.inference import finish_weights
from fastnmf.core.init.clusters import diverse_rows
from fastnmf.core.losses import Frobenius
from fastnmf.core.objectives import single_loss_problem
from fastnmf.core.options import integer, one_of
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.updates import HALS, ProductDescent
from fastnmf.models.base.for_checkers import Callback
from fastnmf.models.base.products import BasisModel, divisors
from fastnmf.typing import Factor, File, Integers, Matrix, Seed


def with_products(H):
    """Return H (k, m) with the products of all pairs of its rows appended below, in the order of `np.triu_indices`."""
    first, second = np.triu_indices(len(H), 1)
    return np.vstack([H, H[first] * H[second]])


class BilinearNMF(BasisModel):
    """Unmix rows to which components contribute alone and in pairs: ``x ~ sum_c w_c h_c + sum_{c<d} b_cd h_c * h_d``.

    All of w, b and h are non-negative, and ``h_c * h_d`` is the product feature by feature. Minimises the squared
    error. This models light that was reflected by two materials before it reaches the sensor: rows are pixels, features
    are bands, components are the spectra of the materials.

    Parameters
    ----------
    n_components : int, default=2
        k; with the products each row has ``k (k + 1) / 2`` weights.
    init : {None, "rows", "random", "custom"}, default=None
        None means ``"rows"``: rows of X that point in different directions, chosen by k-means++. ``"random"``: uniform.
        ``"custom"``: the W and H passed to `fit`.
    sweeps : int, default=3
        Sweeps of coordinate descent over the weights, and as many over the components, in one iteration.
    max_iter : int, default=1000
        Maximum number of iterations.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the objective by less than `tol` times its value, where
        a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter` iterations.
    extrapolate : bool, default=True
        Whether W and H are extrapolated in cycles of three iterations (SQUAREM). The objective stays monotone.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration; returning True stops the fit. `state` has
        ``iteration``, ``normalized_loss``, ``seconds``, and copies of ``W`` and of ``H`` with its products, before the
        components are normalised.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H. The largest entry of each component is one, so that products of two are not larger; the scale is in `W_`.
    W_ : ndarray (n_samples, k (k + 1) / 2)
        Weights: first those of the components, then those of their products.
    pairs_ : ndarray (k (k - 1) / 2, 2) of int
        The two components of each product, in the order of the columns of `W_` from k on.
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
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``; entry 0 is the start. The
        objective is monotone: it does not increase.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The subproblem of the weights is that of NMF, with the products as further components. The squared error is a
    parabola in each single entry of a component, because the products are linear in it, and each update sets the entry
    to the minimum. The data enter only through ``X Hᵀ`` and ``Wᵀ X``, so sparse X stays sparse; O(n_features k^4) per
    iteration in addition to these products. Squares of components are not in the model: with them the error would not
    be a parabola.

    The more weights a row has, the less they are unique: k components with products need many more than
    ``k (k + 1) / 2`` features.

    *Names*: the source's columns are rows here; its M is ``components_.T``, its abundances and interactions are
    ``W_.T``.

    References
    ----------
    R. Heylen, M. Parente, P. Gader, "A review of nonlinear hyperspectral unmixing methods", IEEE Journal of Selected
    Topics in Applied Earth Observations and Remote Sensing 2014, doi:10.1109/JSTARS.2014.2320576 (the models).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF, BilinearNMF
    >>> rng = np.random.default_rng(0)
    >>> H = rng.random((3, 30))  # three spectra; neighbouring ones interact
    >>> W = rng.dirichlet(np.ones(3), 80)
    >>> X = W @ H + (W[:, :2] * W[:, 1:]) @ (H[:2] * H[1:])
    >>> [model.fit(X).normalized_loss_ < 0.005 for model in (NMF(3, tol=1e-6), BilinearNMF(3, random_state=0))]
    [False, True]
    """

    init: Literal["rows", "random", "custom"] | None
    sweeps: int
    extrapolate: bool
    pairs_: Integers

    _constraints = {"init": one_of(None, "rows", "random", "custom"), "sweeps": integer()}
    _continued = {"W": "W_", "H": "components_"}

    def __init__(
        self,
        n_components: int = 2,
        *,
        init: Literal["rows", "random", "custom"] | None = None,
        sweeps: int = 3,
        max_iter: int = 1000,
        tol: float = 1e-4,
        extrapolate: bool = True,
        random_state: Seed = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_threads: int | None = None,
        n_init: int = 1,
        warm_start: bool = False,
    ):
        self._set(locals())

    def _extrapolation(self, factors, tasks, options):
        return SQUAREM(tasks, factors) if self.extrapolate else None

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        W: Factor = None,
        H: Factor = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 stays float32; all other types become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W : ndarray (n_samples, k (k + 1) / 2), default=None
            Start of the weights for ``init="custom"``, >= 0.
        H : ndarray (k, n_features), default=None
            Start of the components for ``init="custom"``, >= 0.
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
        return self._fit(X, W=W, H=H, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    def _basis(self):
        """Return the components with their products below, (k (k + 1) / 2, n_features)."""
        return with_products(self.components_)

    def _compose(self, data, given, options, rng):
        # The factors are W (n_rows, k (k + 1) / 2) and H with its products, as columns.
        k, (n_rows, n_columns) = options.n_components, data.shape
        pairs = np.transpose(np.triu_indices(k, 1))
        n_weights = k + len(pairs)
        start = self._checked_start({"W": (n_rows, n_weights), "H": (k, n_columns)}, given, options)
        if start is not None:
            W, H = np.ldexp(start[0], 2 * data.log4_scale), start[1]
        else:
            W = np.zeros((n_rows, n_weights))  # the weights are updated first
            H = rng.random((k, n_columns)) if options.init == "random" else diverse_rows(data, k, rng)
            top = H.max(axis=1, keepdims=True)
            H = np.where(top > 0, H / divisors(top), rng.random(H.shape))
        pair = np.diag(np.arange(k))
        pair[tuple(pairs.T)] = pair.T[tuple(pairs.T)] = np.arange(k, n_weights)
        factors, tasks = allocate(data, W, with_products(H).T, None)
        loss = Frobenius(data, factors["W"].shape[1], tasks, holds_products=True)
        updates = {"W": HALS(), "H": ProductDescent(pair)}
        return single_loss_problem(data, loss, updates, (("W", self.sweeps), ("H", self.sweeps)), tasks), factors

    def _arrays(self, data, solver):
        """Return copies of W, which holds the scale of the data, and H in the scale of the user, and None for V."""
        factors = solver.factors
        W, H = factors["W"][:, : factors.rank], factors["H"][:, : self.n_components]
        return np.ldexp(W, -2 * data.log4_scale), H.T.copy(), None

    def _set_factors(self, data, fit, options):
        """Solve for W exactly, scale the largest entry of each component to one, and set the fitted arrays."""
        finish_weights(fit)
        k, rank = options.n_components, fit.factors.rank
        W, H = (fit.factors[name][:, :n].astype(np.float64) for name, n in (("W", rank), ("H", k)))
        top = divisors(H.max(axis=0))
        first, second = np.triu_indices(k, 1)
        self.pairs_ = np.column_stack([first, second])
        self.components_ = (H / top).T.astype(data.dtype)
        self.W_ = np.ldexp(W * np.concatenate([top, top[first] * top[second]]), -2 * data.log4_scale).astype(data.dtype)
