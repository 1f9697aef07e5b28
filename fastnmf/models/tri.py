"""Three factors: ``X ~ W S H``, rows and columns in groups of their own, and how these go together."""

import numbers

import numpy as np

from fastnmf.data import Strata
from fastnmf.models.options import check_bool, check_choice
from fastnmf.models.shapes import (
    ShapedTransformer,
    clusters,
    divisors,
    finish_weights,
    padded_factors,
    scale_core,
    shaped_problem,
)
from fastnmf.moves import HALS, MU
from fastnmf.terms.structured import Tri

SWEEPS = 2  # of coordinate descent over W, and over H, in one iteration
UPDATES = 3  # of S


class TriNMF(ShapedTransformer):
    """Factorise ``X ~ W S H`` with W, S, H >= 0: groups of rows (W), groups of features (H), and their table (S).

    Minimises ``||X - W S H||²``: co-clustering where each group of rows may use every group of features.

    Parameters
    ----------
    n_components : int or (int, int), default=2
        Groups of rows and groups of features; one number for both.
    orthogonal : bool, default=False
        Whether W and H go towards orthonormal columns and rows, that is towards each row and each feature being in one
        group. By multiplicative updates with square roots, which come near to that; the objective may rise on the way.
    init : {None, "clusters", "random", "custom"}, default=None
        None is ``"clusters"``: of the rows and of the features, by a few steps of `OrthogonalNMF`. ``"random"``:
        uniform. Both times the number that fits best. ``"custom"``: the W, S and H passed to `fit`.
    solver : {"cd", "mu"}, default="cd"
        ``"cd"``: coordinate descent for H and W, multiplicative updates for S; after the last iteration W is solved for
        exactly. ``"mu"``: multiplicative updates for all three; the only one with ``orthogonal=True``, whatever is set.
    max_iter : int, default=200
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, and for the start; True stops the fit. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and copies of the factors ``W`` and ``H``, not scaled.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.

    Attributes
    ----------
    W_ : ndarray (n_samples, k)
        Columns of sum one.
    S_ : ndarray (k, l)
        The table of the groups, which carries all the mass.
    H_ : ndarray (l, n_features)
        Rows of sum one.
    components_ : ndarray (k, n_features)
        ``S_ @ H_``: what `transform` finds weights for.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Norm of what the model misses.
    normalized_loss_ : float
        The same, over the norm of X.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``; entry 0 is the start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    With k = l the model says no more than ``X ~ W H`` does; it is of use for k and l that differ, and with
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
            Non-negative, finite. float32 stays float32.
        y : ignored
        W, S, H : ndarray (n_samples, k), (k, l), (l, n_features), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        return self._fit(X, W=W, S=S, H=H)

    def fit_transform(self, X, y=None, *, W=None, S=None, H=None):
        """Fit the model and return W_, (n_samples, k); see `fit`."""
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
        start = self._given({"W": (n_rows, k), "S": (k, m), "H": (m, n_columns)}, given)
        if start is not None:
            W, S, H = start[0], np.ldexp(start[1], 2 * data.exponent), start[2].T
        elif self.init == "random":
            W, S, H = rng.random((n_rows, k)), rng.random((k, m)), rng.random((n_columns, m))
        else:
            W, H = clusters(data, k, rng), clusters(Strata.from_array(data.X.T), m, rng)
            S = (W.T @ (data.X @ H)) / np.outer(W.sum(axis=0), H.sum(axis=0))
        factors, tasks = padded_factors(data, W=W, S=S, H=H)
        term = Tri(data, tasks, self.orthogonal)
        if start is None:
            scale_core(term, factors)
        update = MU.plain(data.dtype)
        ends = HALS() if self._is_descent else update
        n_sweeps, n_updates = (SWEEPS, UPDATES) if self._is_descent else (1, 1)
        schedule = (("H", n_sweeps), ("W", n_sweeps), ("S", n_updates))
        return shaped_problem(data, term, {"W": ends, "H": ends, "S": update}, schedule, tasks), factors

    def _finish(self, data, problem, fit):
        if self._is_descent:
            finish_weights(problem, fit)
        k, m = self._pair()
        W, S, H = (fit.factors[name].astype(np.float64) for name in "WSH")
        W, S, H = W[:, :k], S[:k, :m], H[:, :m].T
        rows, columns = divisors(W.sum(axis=0)), divisors(H.sum(axis=1))
        S = np.ldexp(S * np.outer(rows, columns), -2 * data.exponent)
        self.W_, self.S_, self.H_ = (F.astype(data.dtype) for F in (W / rows, S, H / columns[:, None]))
        self.components_ = self.S_ @ self.H_
