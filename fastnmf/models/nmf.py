"""Plain NMF on the same kernels."""

from fastnmf.models.base import NNDSVD, BaseNMF
from fastnmf.models.options import check_bool, check_choice, check_integer, check_sweeps
from fastnmf.models.problems import divergence_problem, squared_problem
from fastnmf.models.reading import RowErrors
from fastnmf.models.streams import PartialFit
from fastnmf.models.transfer import check_init
from fastnmf.solve import Extrapolation


class NMF(PartialFit, RowErrors, BaseNMF):
    """Factorise a non-negative matrix, ``X ~ W H`` with W, H >= 0, sparse or dense; scikit-learn's `NMF`, faster.

    Minimises, with D half the squared error or another divergence and every row counted `sample_weight` times::

        D(X, W H) + alpha_W n_features (l1_ratio ||W||_1 + (1 - l1_ratio) / 2 ||W||²)
                  + alpha_H n_samples  (l1_ratio ||H||_1 + (1 - l1_ratio) / 2 ||H||²)

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Rows of H. ``"auto"``: those of the H passed to `fit`, or else as many as X has features.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        None is ``"features"``: means of the 30 rows that are richest in 10 random features. ``"rows"``: means of 30
        random rows. ``"random"``: uniform, scaled to the columns. ``"nndsvd"``, ``"nndsvda"``, ``"nndsvdar"``: from the
        singular vectors (deterministic), with zeros, without, with small random numbers instead; the latter two for
        ``"mu"``. ``"custom"``: the W and H passed to `fit`. Another fitted model, or a `Start`: its components, and
        the weights for them that fit X best.
    solver : {"cd", "hals", "mu"}, default="cd"
        ``"cd"``: exact coordinate descent, extrapolated; the objective may rise now and again. ``"hals"``: the same
        without extrapolation; it never rises. After the last sweep of both, W is solved for exactly, once, and
        `transform` repeats that. ``"mu"``: multiplicative updates, for any loss; `fit_transform` returns the iterate.
    beta_loss : {"frobenius", "kullback-leibler", "itakura-saito"} or float, default="frobenius"
        All but ``"frobenius"`` (2) need ``solver="mu"``. ``"kullback-leibler"`` (1) walks the non-zeros only.
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    max_iter : int, default=200
    n_init : int, default=1
        Starts that are tried; the one with the lowest objective is kept. Starts that do not depend on the seed
        (``"nndsvd"``, ``"nndsvda"``, ``"custom"``, a warm start that goes on) are tried once. `max_time` is the limit
        of all together; a callback that returns True stops them all.
    random_state : None, int, Generator or RandomState, default=None
    alpha_W, alpha_H : float, default=0.0 and "same"
        Strength of the penalties; ``"same"`` is `alpha_W`. The scale of each component is chosen such that both
        penalties together are least, which does not change ``W H``.
    l1_ratio : float, default=0.0
        1 is all L1, 0 all L2.
    verbose : int, default=0
        1 shows progress on standard error.
    shuffle : bool, default=False
        Visit the components in a random order, drawn once a fit, instead of ascending (not for ``"mu"``).
    sweeps : (int, int), default=(2, 2)
        Of coordinate descent in one iteration: sweeps over W, sweeps over H.
    missing_values : {None, "nan", "zeros"}, default=None
        Entries that are not known: NaN (dense X), or zero and unstored ones. They play no part.
    fixed_components : array-like or sparse (j, n_features), default=None
        Known components: the first j rows of H. NaN marks entries that are to be found.
    seed_features : dict or list, default=None
        Component -> features (names, if X has them, or column numbers) that it is to be about: a penalty pulls it
        towards them.
    guide_weight : float, default=1.0
        Strength of that; 1 weighs as much as the data that an average component explains.
    warm_start : bool, default=False
        Go on from the factors of the fit before.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, and for the start, with a `FitState` (``iteration``,
        ``normalized_loss``, ``seconds``, ``W``, ``H``); returning True stops the fit.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows.
    n_components_, n_iter_, n_revived_ : int
        The last: how often a component had died and was given the row that the model missed most.
    converged_ : bool
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    run_objectives_ : ndarray (n_runs,)
        Objective at the end of the iterations from every start that was tried; all other attributes are those of the
        lowest.
    reconstruction_err_ : float
        ``||X - W H||``, or the square root of twice the divergence, as in scikit-learn; of weighted rows if so.
    normalized_loss_ : float
        Square root of the loss over that of a trivial model: nothing (Frobenius, so the norm of the data), or the
        product of the margins (other losses).
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error or the divergence, with penalties; the
        squared error counts twice the formula above), ``seconds``; entry 0 is the start, the last that of the returned
        factors.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    *Names*: the source's V, W, H are X, W_ and components_.

    *Unlike scikit-learn*: the start, `tol` and the order of updates; `transform` is exact for the squared error;
    `shuffle` draws once a fit; zeros in the data are refused where the loss is infinite.

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
        n_components="auto",
        *,
        init=None,
        solver="cd",
        beta_loss="frobenius",
        tol=1e-4,
        max_iter=200,
        n_init=1,
        random_state=None,
        alpha_W=0.0,
        alpha_H="same",
        l1_ratio=0.0,
        verbose=0,
        shuffle=False,
        sweeps=(2, 2),
        missing_values=None,
        fixed_components=None,
        seed_features=None,
        guide_weight=1.0,
        warm_start=False,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.init = init
        self.solver = solver
        self.beta_loss = beta_loss
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.random_state = random_state
        self.alpha_W = alpha_W
        self.alpha_H = alpha_H
        self.l1_ratio = l1_ratio
        self.verbose = verbose
        self.shuffle = shuffle
        self.sweeps = sweeps
        self.missing_values = missing_values
        self.fixed_components = fixed_components
        self.seed_features = seed_features
        self.guide_weight = guide_weight
        self.warm_start = warm_start
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def fit(
        self,
        X,
        y=None,
        sample_weight=None,
        *,
        W=None,
        H=None,
        weight=None,
        checkpoint=None,
        checkpoint_every=60.0,
    ):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite. float32 stays float32. Or an AnnData.
        y : ignored
        sample_weight : array-like (n_samples,), default=None
            How often each row counts: weight 2 is the same as having the row twice.
        W, H : ndarray (n_samples, k), (k, n_features), default=None
            Start for ``init="custom"``.
        weight : sparse matrix or array (n_samples, n_features), default=None
            Weight of the squared error of each entry, >= 0; of a sparse one, what is not stored is zero.
        checkpoint : str or path, default=None
            File that the state of the fit is kept in while it runs. Where it holds a state of this fit, the fit goes on
            from there and ends with the same bits, `n_iter_` and history as without the interruption.
        checkpoint_every : float, default=60.0
            Seconds of work that are lost at most when the process is killed (or one iteration, if that takes longer).

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
            Also for a checkpoint that is damaged or belongs to another fit.
        OSError
            The checkpoint cannot be written.

        Notes
        -----
        A checkpoint belongs to one fit: other data, weights, starts or parameters raise an error, which says what is
        not the same. ``max_iter``, ``tol``, ``max_time``, ``verbose``, ``callback`` and ``n_threads`` may change, as
        when a fit is to go on for longer. After the fit the file stays, with the last state: the same call then
        returns at once. With ``random_state=None`` the file keeps the seed; delete it for another draw.
        """
        self._fit(X, None, W, H, None, sample_weight, weight, (checkpoint, checkpoint_every))
        return self

    def fit_transform(
        self,
        X,
        y=None,
        sample_weight=None,
        *,
        W=None,
        H=None,
        weight=None,
        checkpoint=None,
        checkpoint_every=60.0,
    ):
        """Fit the model and return the weights of the rows of X, (n_samples, n_components); see `fit`."""
        return self._fit(X, None, W, H, None, sample_weight, weight, (checkpoint, checkpoint_every))

    def transform(self, X):
        """Return the non-negative weights of the rows of X for the fitted components, (n_samples, n_components).

        Exact for the squared error, row by row; for other losses at most `max_iter` multiplicative updates of W from a
        start that depends on the row alone.
        """
        return self._transform(X)

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
            Squared error only.

        Returns
        -------
        float
            One minus the squared error, or divergence, over that of the trivial model (see `normalized_loss_`).
        """
        return self._score(X, None, sample_weight)

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, strongest first, as a list of lists."""
        return self._top_features(n, feature_names)

    def _check_parameters(self):
        if not isinstance(self.n_components, str):
            check_integer("n_components", self.n_components)
        else:
            check_choice("n_components", self.n_components, ("auto",))
        check_choice("solver", self.solver, ("cd", "hals", "mu"))
        check_init(self.init, (None, "features", "rows", "random", *NNDSVD, "custom"))
        super()._check_parameters()
        check_bool("shuffle", self.shuffle)
        check_sweeps(self.sweeps, 2, (2, 2))

    def _problem(self, data, factors, tasks):
        is_descent = self.solver != "mu"
        schedule = (("W", self.sweeps[0]), ("H", self.sweeps[1])) if is_descent else (("W", 1), ("H", 1))
        if not self._is_squared:
            return divergence_problem(data, factors, tasks, self._beta())
        visits = self._generator().permutation(factors.rank) if self.shuffle else None
        options = {"is_descent": is_descent, "visits": visits, "holds_products": self.seed_features is not None}
        return squared_problem(data, factors, tasks, schedule, **options)

    def _extrapolation(self, factors, tasks):
        return Extrapolation(tasks, factors) if self.solver == "cd" else None
