"""Plain NMF with the interface of scikit-learn's `NMF`, on the kernels of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from fastnmf.core.alternate import acceleration
from fastnmf.core.objectives import divergence_problem, squared_problem
from fastnmf.core.options import check_count_loss, generator, integer, one_of, optional, sweeps_of
from fastnmf.models.base.chunked import ChunkedFitMixin
from fastnmf.models.base.counts import CountsMixin
from fastnmf.models.base.for_checkers import Callback, CountLoss, Dispersion, Init, Iterative
from fastnmf.models.base.inspection import RowErrorsMixin
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.models.base.partial_fit import PartialFitMixin
from fastnmf.models.base.ratings import RatingsMixin
from fastnmf.typing import Factor, File, Floats, Matrix, Penalties, Seed, Vector


class NMF(CountsMixin, PartialFitMixin, ChunkedFitMixin, RatingsMixin, RowErrorsMixin, BaseNMF, Iterative):
    """Factorise a non-negative matrix, sparse or dense: ``X ~ W H`` with W, H >= 0.

    The interface is that of scikit-learn's `NMF`. With D half the squared error, or another divergence, and with every
    row counted `sample_weight` times, the objective is::

        D(X, W H) + alpha_W n_features (l1_ratio ||W||_1 + (1 - l1_ratio) / 2 ||W||²)
                  + alpha_H n_samples  (l1_ratio ||H||_1 + (1 - l1_ratio) / 2 ||H||²)

    Parameters
    ----------
    n_components : int, "auto" or None, default="auto"
        Number of components (rows of H), >= 1. ``"auto"`` takes the number of rows of the H passed to `fit`, or the
        number of features of X if no H is passed. None takes the number of features.
    init : None, str, model or Start, default=None
        The start. None and ``"auto"`` choose by the size of the data. Large sparse data (from about 60,000 non-zeros a
        component on, for Kullback-Leibler 20,000): ``"multilevel"``. Data of up to 2**22 entries, zeros included, and
        of at most four columns per component: a fit from ``"features"`` and one from ``"nndsvd"``, the better of which
        is kept; for Kullback-Leibler, also of fewer than 200,000 non-zeros, ``"nndsvda"``. Others: ``"features"``.

        ``"multilevel"``: a short fit of 2 to 25 % of the rows, whose components are the start of the fit to all rows.
        ``"features"``: each component is the mean of the 30 rows with the largest sums over 10 random features.
        ``"rows"``: means of 30 random rows. ``"random"``: uniform random numbers, scaled to the column means.
        ``"nndsvd"``: from the singular vectors (deterministic), with zeros.
        ``"nndsvda"`` and ``"nndsvdar"``: the same without zeros, and with small random numbers in place of zeros; use
        these two with ``"mu"``. ``"custom"``: the W and H passed to `fit`. A fitted model or a `Start`: its components,
        with the weights that fit X best for these components.
    solver : {"cd", "hals", "mu"}, default="cd"
        ``"cd"``: exact coordinate descent with extrapolation; the objective may increase in single iterations.
        ``"hals"``: the same without extrapolation; the objective is monotone. After the last sweep of both solvers, W
        is computed exactly for the final H; `transform` repeats this computation. ``"mu"``: multiplicative updates, for
        any loss; `fit_transform` returns the last iterate. `extrapolate` says what both ``"cd"`` and ``"mu"`` add.
    beta_loss : {"frobenius", "kullback-leibler", "itakura-saito", "negative-binomial"} or float, default="frobenius"
        The beta divergence D. All but ``"frobenius"`` (2) need ``solver="mu"``. ``"kullback-leibler"`` (1) visits the
        non-zero entries only. ``"negative-binomial"``: half the deviance of counts that vary more than Poisson counts,
        see `dispersion` and the page "Counts"; every iteration visits all entries.
    dispersion : {"feature", "global"}, float or array-like (n_features,), default="feature"
        Of ``beta_loss="negative-binomial"``: a count with mean y has the variance ``y + dispersion * y²``; 0 is
        Poisson. It is estimated by maximum likelihood, for each feature or one for all, or given. Weights of rows and
        entries, missing values, classes, `partial_fit`, matrices on disk and Dask are not available for this loss, nor
        are `reconstruction_errors`, `explain`, `estimate_shifts` and `predict_stratum`.
    exponent : {"mm", "fast"}, default="mm"
        Exponent of the multiplicative ratios, for `beta_loss` below 1 and above 2. ``"mm"``: 1 / (2 - beta) or 1 /
        (beta - 1), for which the objective provably does not increase. ``"fast"``: 1, with which the objective falls
        about twice as fast at first. An iteration that increases the objective is undone and repeated with the exponent
        of ``"mm"``. `transform` always uses ``"mm"``.
    tol : float, default=1e-4
        Relative tolerance, >= 0. The fit stops when the next 100 iterations are expected to lower the objective by less
        than ``tol`` times its value, where a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter`
        iterations.
    max_iter : int, default=2000
        Maximum number of iterations, >= 1.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. Starts that do not depend on the seed (``"nndsvd"``, ``"nndsvda"``, ``"custom"``, a
        continued warm start) are tried once; ``init="auto"`` may add one to small data. `max_time` limits the total
        time of all starts. A callback that returns True stops all of them.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers that the start uses.
    alpha_W, alpha_H : float, default=0.0 and "same"
        Strength of the penalties, >= 0; ``"same"`` takes the value of `alpha_W`. The scale of each component is chosen
        such that the sum of both penalties is smallest; this does not change ``W H``. With `missing_values` or weights
        of entries n_features and n_samples are, for each row of W and each column of H, the number of its known
        entries, or the sum of their weights (Zhou et al. 2008), so that one strength suits any density: begin with
        0.1 for ratings, and compare held-out errors.
    l1_ratio : float, default=0.0
        Share of the L1 penalty, from 0 (only L2) to 1 (only L1).
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    shuffle : bool, default=False
        Whether coordinate descent visits the components in a random order, drawn once for each fit, instead of in
        ascending order. Not used by ``"mu"``.
    extrapolate : bool, default=True
        Whether fits are extrapolated along their last steps. ``"cd"`` without it is ``"hals"``. ``"mu"`` does so for
        ``"kullback-leibler"`` only: after ten iterations, every third one begins at an extrapolated point (SQUAREM),
        and is undone unless it lowers the objective, which stays monotone. False: the plain updates.
    sweeps : (int, int), default=(2, 2)
        Number of sweeps of coordinate descent in one iteration: over W, and over H. With missing values or weights of
        entries three times as many are made, unless there are fewer than 30 known entries, or fewer than 30 missing
        ones, for each row and column.
    missing_values : {None, "nan", "zeros"}, default=None
        Which entries are unknown: NaN (dense X), or zero and unstored entries; masked entries are unknown, too. Unknown
        entries have no influence on the fit. A row without known entries has the weights 0. Without a penalty, a row
        with fewer known entries than components is predicted badly; see "Ratings". For all values of `beta_loss`.
    fixed_components : array-like or sparse (j, n_features), default=None
        Known components: the first j rows of H, j <= n_components, in units of H. NaN marks entries to estimate.
    seed_features : dict or list, default=None
        Maps components to features (names, if X has names, or column numbers). A penalty pulls each of these components
        towards its features.
    guide_weight : float, default=1.0
        Strength of this penalty, >= 0. With 1 it weighs as much as the data that an average component explains.
    penalties : dict, default=None
        Penalties of your own: a dict factor -> list of objects with ``value(F)`` and ``half_gradient(F)``, half of its
        gradient; see `fastnmf.compose.Factorization`. Their values are added to the squared error (without the
        1/2 above), or to the divergence.
    normalize : {None, "l1", "l2", "max"}, default=None
        Norm to which the rows of `components_` are scaled; the weights are scaled inversely. With None, and without
        penalties, a column of `W_` is half to twice as long as the row of `components_` that belongs to it.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration, with a `FitState` (``iteration``,
        ``normalized_loss``, ``seconds``, ``W``, ``H``). The fit stops when it returns True.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of the dtype of X
        H.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        W, the weights of the training rows.
    dispersion_ : ndarray (n_features,) of float64
        Dispersion of each feature, for ``beta_loss="negative-binomial"`` only; 0 where counts vary no more than Poisson
        counts.
    n_components_, n_iter_ : int
        Number of components, and number of iterations.
    n_revived_ : int
        How often a component whose W or H had become zero was replaced by the positive part of the residual of the row
        that the model fits worst.
    converged_ : bool
        True if `tol` ended the fit, or if ``tol=0`` and all `max_iter` iterations were run; False if the fit was
        stopped earlier.
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    run_objectives_ : ndarray (n_runs,) of float64
        Objective after the last iteration from each start. All other attributes belong to the start with the lowest
        objective.
    reconstruction_err_ : float
        ``||X - W H||``, or the square root of twice the divergence, as in scikit-learn; with row weights, of the
        weighted rows.
    normalized_loss_ : float
        Square root of the ratio of two losses: that of the model and that of a trivial model. The trivial model is zero
        for the squared error (so the denominator is the norm of X), and the product of the margins for other losses.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error or the divergence, with penalties; the
        squared error is twice D of the formula above), ``passes`` over the data (a multilevel start counts by its share
        of the rows) and ``seconds`` (since the start of the fit; for small dense data, spread evenly). Entry 0 belongs
        to the start, the last entry to the returned factors. For a matrix on disk, also the ``bytes`` that each
        iteration read.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    *Names*: the source's V, W, H are X, `W_` and `components_`.

    *Differences from scikit-learn*: the start, `tol` and the order of the updates. `transform` is exact for the squared
    error and for Kullback-Leibler; for other losses it updates each row until it converges, at most `max_iter` times.
    `shuffle` draws one order for each fit. Zeros in the data are rejected if they make the loss infinite.

    References
    ----------
    D. D. Lee, H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2001 (multiplicative updates).
    A. M. S. Ang, N. Gillis, "Accelerating nonnegative matrix factorization algorithms using extrapolation", Neural
    Computation 2019, doi:10.1162/neco_a_01157.
    C. Fevotte, J. Idier, "Algorithms for nonnegative matrix factorization with the beta-divergence", Neural Computation
    2011, doi:10.1162/NECO_a_00168 (both exponents).
    R. Varadhan, C. Roland, "Simple and globally convergent methods for accelerating the convergence of any EM
    algorithm", Scandinavian Journal of Statistics 2008, doi:10.1111/j.1467-9469.2007.00585.x (SQUAREM).
    Y. Zhou, D. Wilkinson, R. Schreiber, R. Pan, "Large-scale parallel collaborative filtering for the Netflix Prize",
    AAIM 2008, doi:10.1007/978-3-540-68880-8_32 (penalties by the number of known entries).
    Y. Hu, Y. Koren, C. Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008,
    doi:10.1109/ICDM.2008.22 (`background`).
    O. Gouvert, T. Oberlin, C. Fevotte, "Negative binomial matrix factorization", IEEE Signal Processing Letters 2020,
    doi:10.1109/LSP.2020.2991613 (updates for one given dispersion).

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

    n_components: int | Literal["auto"] | None
    init: Init
    solver: Literal["cd", "hals", "mu"]
    beta_loss: CountLoss
    dispersion: Dispersion
    exponent: Literal["mm", "fast"]
    alpha_W: float
    alpha_H: float | Literal["same"]
    l1_ratio: float
    shuffle: bool
    extrapolate: bool
    sweeps: tuple[int, int] | list[int]
    missing_values: Literal["nan", "zeros"] | None
    fixed_components: Matrix | None
    seed_features: Mapping[int, Sequence[Any]] | Sequence[Any] | None
    guide_weight: float
    penalties: Penalties | None
    normalize: Literal["l1", "l2", "max"] | None

    _constraints = {
        "n_components": lambda name, value: (one_of("auto") if isinstance(value, str) else optional(integer()))(
            name, value
        ),
        "solver": one_of("cd", "hals", "mu"),
        "beta_loss": check_count_loss,
        "sweeps": sweeps_of(2, (2, 2)),
    }

    def __init__(
        self,
        n_components: int | Literal["auto"] | None = "auto",
        *,
        init: Init = None,
        solver: Literal["cd", "hals", "mu"] = "cd",
        beta_loss: CountLoss = "frobenius",
        dispersion: Dispersion = "feature",
        exponent: Literal["mm", "fast"] = "mm",
        tol: float = 1e-4,
        max_iter: int = 2000,
        n_init: int = 1,
        random_state: Seed = None,
        alpha_W: float = 0.0,
        alpha_H: float | Literal["same"] = "same",
        l1_ratio: float = 0.0,
        verbose: int = 0,
        shuffle: bool = False,
        extrapolate: bool = True,
        sweeps: tuple[int, int] | list[int] = (2, 2),
        missing_values: Literal["nan", "zeros"] | None = None,
        fixed_components: Matrix | None = None,
        seed_features: Mapping[int, Sequence[Any]] | Sequence[Any] | None = None,
        guide_weight: float = 1.0,
        penalties: Penalties | None = None,
        normalize: Literal["l1", "l2", "max"] | None = None,
        warm_start: bool = False,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_threads: int | None = None,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        sample_weight: Vector | None = None,
        *,
        W: Factor = None,
        H: Factor = None,
        weight: Matrix | None = None,
        background: float | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features), AnnData, or what `fastnmf.read` returns
            Non-negative and finite. float32 is kept; integers and booleans become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row, >= 0: weight 2 is the same as repeating the row.
        W : ndarray (n_samples, k), default=None
            Start of W for ``init="custom"``, non-negative, in units such that ``W @ H`` is in units of X.
        H : ndarray (k, n_features), default=None
            Start of H for ``init="custom"``, non-negative.
        weight : sparse matrix or array (n_samples, n_features), default=None
            Weight of the error of each entry, >= 0, for all values of `beta_loss`. Entries that a sparse `weight` does
            not store have weight zero, or `background`.
        background : float, default=None
            Weight > 0 of all entries that a sparse `weight` does not store, as for implicit feedback; no array of
            the size of X is formed.
        layer : str, default=None
            Name of a layer of the AnnData X that holds the matrix, such as "counts"; None: its X. Later calls of the
            fitted model with an AnnData (`transform`, `score`, ...) read the same layer.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs. If the file already holds a state of this fit,
            the fit continues from that state. It then ends with the same bits, `n_iter_` and history as without the
            interruption.
        checkpoint_every : float, default=60.0
            Interval between two saves in seconds: the most work that can be lost if the process is killed (or one
            iteration, if an iteration takes longer).

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If parameters, data or starts cannot be used. The message says what was given, what was expected and what to
            do. Also if a checkpoint is damaged or belongs to another fit.
        OSError
            If the checkpoint cannot be written.

        Notes
        -----
        A checkpoint belongs to one fit. With other data, weights, starts or parameters an error is raised that names
        the difference. ``max_iter``, ``tol``, ``max_time``, ``verbose``, ``callback`` and ``n_threads`` may change, for
        instance to continue a fit for longer. After the fit the file remains and holds the last state, so the same call
        then returns at once. With ``random_state=None`` the file stores the seed; delete the file to draw another one.
        """
        given = {"sample_weight": sample_weight, "W": W, "H": H, "weight": weight, "background": background}
        return self._fit(X, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every, **given)

    def fit_transform(
        self,
        X: Matrix,
        y: Any = None,
        W: Factor = None,
        H: Factor = None,
        *,
        sample_weight: Vector | None = None,
        weight: Matrix | None = None,
        background: float | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Floats:
        """Fit the model and return the weights of the rows of X.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features), AnnData, or what `fastnmf.read` returns
            Non-negative and finite.
        y, W, H, sample_weight, weight, background, layer, checkpoint, checkpoint_every :
            As for `fit`, in the order of scikit-learn.

        Returns
        -------
        W : ndarray (n_samples, n_components) of the dtype of X
            Non-negative weights of the rows.
        """
        if W is not None and np.ndim(W) == 1:
            raise ValueError(
                f"The start W has shape {np.shape(W)}; expected (n_samples, k). Weights of rows are passed by name: "
                "sample_weight=."
            )
        given = {"sample_weight": sample_weight, "W": W, "H": H, "weight": weight, "background": background}
        return self._fit(X, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every, **given).W_

    def _problem(self, data, factors, tasks, options):
        is_descent = not options.is_multiplicative
        schedule = (("W", self.sweeps[0]), ("H", self.sweeps[1])) if is_descent else (("W", 1), ("H", 1))
        if not options.is_squared:
            return divergence_problem(data, factors, tasks, options.loss, options.exponent)
        visits = generator(options.random_state).permutation(factors.rank) if self.shuffle else None
        more = {"is_descent": is_descent, "visits": visits, "holds_products": options.H.seeds is not None}
        return squared_problem(data, factors, tasks, schedule, **more)

    def _extrapolation(self, factors, tasks, options):
        return acceleration(tasks, factors, options) if self.extrapolate and options.solver != "hals" else None
