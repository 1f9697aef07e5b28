"""Plain NMF on the same kernels."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastnmf.data import Strata
from fastnmf.models.base import DIRECT_BELOW, BaseNMF, check_choice, check_integer, check_sweeps, strongest
from fastnmf.moves import HALS, MU, MU_FLOOR
from fastnmf.problem import Problem
from fastnmf.solve import Extrapolation, allocate, sweep, threads
from fastnmf.terms import Frobenius, KullbackLeibler


class NMF(BaseNMF):
    """Factorise a non-negative matrix, ``X ~ W H`` with W, H >= 0, sparse or dense.

    Minimises ``||X - W H||²``, or the generalised Kullback-Leibler divergence, which suits counts.

    Parameters
    ----------
    n_components : int, default=10
        Rows of H.
    solver : {"hals", "mu"}, default="hals"
        ``"hals"``: exact coordinate descent; after the last sweep W is solved for exactly, once, and `transform`
        repeats that. ``"mu"``: multiplicative updates; `fit_transform` returns the iterate itself.
    beta_loss : {"frobenius", "kullback-leibler"}, default="frobenius"
        ``"kullback-leibler"`` needs ``solver="mu"`` and walks the non-zeros only.
    init : {"rows", "random", "nndsvd", "nndsvda", "custom"}, default="rows"
        ``"rows"``: means of 30 random rows. ``"random"``: uniform, scaled to the columns. ``"nndsvd"``, ``"nndsvda"``:
        from the singular vectors, the latter without zeros (for ``"mu"``). ``"custom"``: the W and H passed to `fit`.
    extrapolate : bool, default=True
        Whether ``"hals"`` carries W and H on along their last steps, which takes about half the iterations. The
        objective may then rise now and again; with False it never does.
    sweeps : (int, int), default=(2, 2)
        Of ``"hals"`` in one iteration: sweeps over W, sweeps over H.
    max_iter : int, default=200
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.
    verbose : int, default=0

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows.
    n_components_, n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"``, ``"max_iter"`` or ``"callback"``.
    reconstruction_err_ : float
        ``||X - W H||``, or the square root of twice the divergence, as in scikit-learn.
    normalized_loss_ : float
        Square root of the objective over that of a trivial model: nothing (Frobenius, so the norm of the data), or the
        product of the margins (Kullback-Leibler).
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``seconds``; entry 0 is the start, the last that of the returned factors.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    *Names*: the source's V, W, H are X, W_ and components_.

    References
    ----------
    D. D. Lee, H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2001 (multiplicative updates).
    A. M. S. Ang, N. Gillis, "Accelerating nonnegative matrix factorization algorithms using extrapolation", Neural
    Computation 2019, doi:10.1162/neco_a_01157.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF
    >>> X = np.outer([1.0, 2, 3], [1.0, 0, 2])
    >>> model = NMF(1, random_state=0).fit(X)
    >>> (model.W_ @ model.components_).round(2)
    array([[1., 0., 2.],
           [2., 0., 4.],
           [3., 0., 6.]])
    """

    def __init__(
        self,
        n_components=10,
        *,
        solver="hals",
        beta_loss="frobenius",
        init="rows",
        extrapolate=True,
        sweeps=(2, 2),
        max_iter=200,
        tol=1e-4,
        random_state=None,
        n_threads=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.solver = solver
        self.beta_loss = beta_loss
        self.init = init
        self.extrapolate = extrapolate
        self.sweeps = sweeps
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(self, X, y=None, *, W=None, H=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored
        W, H : ndarray (n_samples, k), (k, n_features), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        self._fit(X, None, W, H, None)
        return self

    def fit_transform(self, X, y=None, *, W=None, H=None):
        """Fit the model and return the weights of the rows of X, (n_samples, n_components); see `fit`."""
        return self._fit(X, None, W, H, None)

    def transform(self, X):
        """Return the non-negative weights of the rows of X for the fitted components, (n_samples, n_components).

        Exact for the Frobenius loss, row by row; for Kullback-Leibler `max_iter` multiplicative updates of W from a
        start that depends on the row alone.
        """
        return self._transform(X) if self.beta_loss == "frobenius" else self._divergence(X)[0]

    def inverse_transform(self, W):
        """Return ``W H``, dense (n_samples, n_features), for W (n_samples, n_components)."""
        return self._inverse_transform(W)

    def score(self, X, y=None, sample_weight=None):
        """Return how much of X the model explains, at most 1; larger is better.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : ignored
        sample_weight : array-like (n_samples,), default=None
            Frobenius loss only.

        Returns
        -------
        float
            One minus the squared error, or divergence, over that of the trivial model (see `normalized_loss_`).
        """
        if self.beta_loss == "frobenius":
            return self._score(X, None, sample_weight)
        if sample_weight is not None:
            raise ValueError("sample_weight needs beta_loss='frobenius'; leave it out.")
        _, value, scale = self._divergence(X)
        return 1.0 if scale == 0 else 1 - value / scale

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, strongest first, as a list of lists."""
        check_is_fitted(self)
        check_integer("n", n)
        return strongest(self.components_, self._feature_names(feature_names), n)

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("beta_loss", self.beta_loss, ("frobenius", "kullback-leibler"))
        check_sweeps(self.extrapolate, self.sweeps, 2, (2, 2))
        if self.beta_loss != "frobenius" and self.solver == "hals":
            raise ValueError(
                "HALS needs a quadratic subproblem; Kullback-Leibler gives none. Use solver='mu' with "
                "beta_loss='kullback-leibler'."
            )

    def _problem(self, data, factors, tasks):
        width, is_hals = factors["W"].shape[1], self.solver == "hals"
        move = HALS() if is_hals else MU(floor=MU_FLOOR[data.dtype])
        of_W, of_H = self.sweeps if is_hals else (1, 1)
        schedule = (("W", of_W), ("H", of_H))
        moves = {"W": move, "H": move}
        if self.beta_loss == "kullback-leibler":
            term = KullbackLeibler(data, width, tasks)
            moves = dict.fromkeys("WH", MU(eps=0.0, floor=MU_FLOOR[data.dtype]))
            return Problem([term], moves, schedule, tasks, scale=term.independence())
        term = Frobenius(data, width, tasks)
        return Problem(
            terms=[term],
            moves=moves,
            schedule=schedule,
            tasks=tasks,
            scale=data.sq_norm,
            digits=DIRECT_BELOW[data.dtype],
            direct=term.direct,
            rounding=data.sq_norm * (8 * np.finfo(data.dtype).eps) ** 2,
            anchors_scale=is_hals,
        )

    def _extrapolation(self, factors, tasks):
        return Extrapolation(tasks, factors) if self.solver == "hals" and self.extrapolate else None

    def _reconstruction_error(self, objective, exponent):
        if self.beta_loss == "frobenius":
            return super()._reconstruction_error(objective, exponent)
        return float(np.sqrt(2 * np.ldexp(objective, exponent)))  # a divergence scales as the data, not their squares

    def _divergence(self, X):
        """Return W for fixed H by multiplicative updates, the divergence, and that of the product of the margins."""
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        with threads(self.n_threads):
            data = Strata.from_array(X)
            H = np.ldexp(self.components_.T.astype(np.float64), data.exponent)
            mass = np.asarray(data.X.sum(axis=1), dtype=np.float64).ravel()
            share = mass / max(float(H.sum()), np.finfo(np.float64).tiny)  # one update makes the total of a row right
            W = np.repeat(share[:, None], H.shape[1], axis=1)
            factors, tasks = allocate(data, W, H, None)
            problem = self._problem(data, factors, tasks)
            problem.schedule = (("W", self.max_iter),)
            sweep(problem, factors)
            value = problem.value(factors)
        W = np.ldexp(np.ascontiguousarray(factors["W"][:, : self.n_components_]), -data.exponent)
        return W, value, problem.scale
