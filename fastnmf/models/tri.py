"""Tri-factorisation ``X ~ W S H``: groups of rows, groups of features, and a table that links them.

Scale inside a fit: the data and S are held multiplied by ``4 ** log4_scale``; W and H have no scale.
"""

import numbers

import numpy as np

from fastnmf.core.losses.products import Tri
from fastnmf.core.options import check_bool, check_choice
from fastnmf.core.updates import HALS, MU
from fastnmf.data.strata import Strata
from fastnmf.models.base.factor_model import (
    FactorTransformer,
    clusters,
    divisors,
    finish_weights,
    padded_factors,
    scale_core,
    single_loss_problem,
)

SWEEPS = 2  # of coordinate descent over W, and over H, in one iteration
UPDATES = 3  # of S


class TriNMF(FactorTransformer):
    """Factorise ``X ~ W S H`` with W, S, H >= 0: groups of rows (W), groups of features (H), and their table (S).

    Minimises ``||X - W S H||²``. This is co-clustering in which each group of rows may use every group of features.

    Parameters
    ----------
    n_components : int or (int, int), default=2
        Number of groups of rows (k) and of groups of features (l), each >= 1; one number for both.
    orthogonal : bool, default=False
        Whether W and H are driven towards orthonormal columns and rows, that is, towards one group for each row and
        each feature. This uses multiplicative updates with square roots, which give nearly orthogonal factors; the
        objective may increase in single iterations.
    init : {None, "clusters", "random", "custom"}, default=None
        The start. None is ``"clusters"``: clusters of the rows and of the features, from a few iterations of
        `OrthogonalNMF`. ``"random"``: uniform random numbers. In both cases S is multiplied by the number for which the
        model fits best. ``"custom"``: the W, S and H passed to `fit`.
    solver : {"cd", "mu"}, default="cd"
        ``"cd"``: coordinate descent for H and W, multiplicative updates for S; after the last iteration W is computed
        exactly for the final S and H. ``"mu"``: multiplicative updates for all three. ``orthogonal=True`` always uses
        ``"mu"``.
    max_iter : int, default=200
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        Relative tolerance, >= 0. The fit stops when, at the rate of the last 10 iterations, the next 100 iterations
        would lower the objective by less than ``tol`` times its value. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers that the start uses.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and copies of the factors ``W`` and ``H``, before they are scaled to sums of
        one. The fit stops when it returns True.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.

    Attributes
    ----------
    W_ : ndarray (n_samples, k) of the dtype of X
        Memberships of the rows; every column sums to one.
    S_ : ndarray (k, l) of the dtype of X
        The table that links groups of rows and groups of features; it carries the scale of X.
    H_ : ndarray (l, n_features) of the dtype of X
        Memberships of the features; every row sums to one.
    components_ : ndarray (k, n_features) of the dtype of X
        ``S_ @ H_``, the components for which `transform` computes weights.
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
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error) and ``seconds`` (since the start of the
        fit). Entry 0 belongs to the start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    With k = l the model is no more general than ``X ~ W H``; it is useful for k and l that differ, and with
    ``orthogonal=True``. *Names*: the source's F, S, G are W_, S_ and H_.T.

    References
    ----------
    C. Ding, T. Li, W. Peng, H. Park, "Orthogonal nonnegative matrix tri-factorizations for clustering", KDD 2006,
    doi:10.1145/1150402.1150420.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import TriNMF
    >>> X = np.array([[2.0, 2, 1], [2, 2, 1], [0, 0, 3]])
    >>> model = TriNMF(2, random_state=0, tol=1e-8).fit(X)
    >>> (model.W_ @ model.S_ @ model.H_).round(1)
    array([[2., 2., 1.],
           [2., 2., 1.],
           [0., 0., 3.]])
    """

    _inits = (None, "clusters", "random", "custom")

    def __init__(
        self,
        n_components=2,
        *,
        orthogonal=False,
        init=None,
        solver="cd",
        max_iter=200,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.orthogonal = orthogonal
        self.init = init
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def fit(self, X, y=None, *, W=None, S=None, H=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 is kept; integers and booleans become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W, S, H : ndarray (n_samples, k), (k, l), (l, n_features), default=None
            Start for ``init="custom"``, non-negative; S carries the scale of X.

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
        return self._fit(X, W=W, S=S, H=H)

    def fit_transform(self, X, y=None, *, W=None, S=None, H=None):
        """Fit the model and return `W_`.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite.
        y, W, S, H :
            As for `fit`.

        Returns
        -------
        ndarray (n_samples, k) of the dtype of X
            Every column sums to one.
        """
        return self._fit(X, W=W, S=S, H=H).W_

    def _pair(self):
        k = self.n_components
        return (k, k) if isinstance(k, numbers.Integral) else tuple(k) if isinstance(k, (tuple, list)) else ()

    def _ranks(self):
        pair = self._pair()
        if len(pair) != 2:
            raise ValueError(f"n_components={self.n_components!r} is not valid; expected an integer >= 1, or two.")
        return (
            {"n_components": self.n_components} if pair[0] is self.n_components else dict(zip("kl", pair, strict=True))
        )

    def _check_parameters(self):
        super()._check_parameters()
        check_bool("orthogonal", self.orthogonal)
        check_choice("solver", self.solver, ("cd", "mu"))

    @property
    def _is_descent(self):
        return self.solver == "cd" and not self.orthogonal

    def _problem(self, data, rng, given):
        (n_rows, n_columns), (k, m) = data.shape, self._pair()
        start = self._checked_start({"W": (n_rows, k), "S": (k, m), "H": (m, n_columns)}, given)
        if start is not None:
            W, S, H = start[0], np.ldexp(start[1], 2 * data.log4_scale), start[2].T
        elif self.init == "random":
            W, S, H = rng.random((n_rows, k)), rng.random((k, m)), rng.random((n_columns, m))
        else:
            W, H = clusters(data, k, rng), clusters(Strata.from_array(data.X.T), m, rng)
            S = (W.T @ (data.X @ H)) / np.outer(W.sum(axis=0), H.sum(axis=0))
        factors, tasks = padded_factors(data, W=W, S=S, H=H)
        loss = Tri(data, tasks, self.orthogonal)
        if start is None:
            scale_core(loss, factors)
        update = MU.plain(data.dtype)
        ends = HALS() if self._is_descent else update
        n_sweeps, n_updates = (SWEEPS, UPDATES) if self._is_descent else (1, 1)
        schedule = (("H", n_sweeps), ("W", n_sweeps), ("S", n_updates))
        return single_loss_problem(data, loss, {"W": ends, "H": ends, "S": update}, schedule, tasks), factors

    def _finish(self, data, problem, fit):
        if self._is_descent:
            finish_weights(problem, fit)
        k, m = self._pair()
        W, S, H = (fit.factors[name].astype(np.float64) for name in "WSH")
        W, S, H = W[:, :k], S[:k, :m], H[:, :m].T
        rows, columns = divisors(W.sum(axis=0)), divisors(H.sum(axis=1))
        S = np.ldexp(S * np.outer(rows, columns), -2 * data.log4_scale)
        self.W_, self.S_, self.H_ = (F.astype(data.dtype) for F in (W / rows, S, H / columns[:, None]))
        self.components_ = self.S_ @ self.H_
