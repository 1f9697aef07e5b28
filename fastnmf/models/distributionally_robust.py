"""Distributionally robust NMF: one model that fits well under several beta divergences.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``; a beta divergence is
then multiplied by ``4 ** (beta * log4_scale)``.
"""

from __future__ import annotations

import numbers

import numpy as np

from fastnmf.core.alternate import AlternatingSolver, solve
from fastnmf.core.factors import Factors, allocate, pad
from fastnmf.core.init.plain import plain_fit
from fastnmf.core.iterate import iterate
from fastnmf.core.losses import check_beta
from fastnmf.core.losses.divergence_mixture import DivergenceMixture
from fastnmf.core.objectives import divergence_problem, own_loss_problem
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.thresholds import LEAST_REFERENCE, MOST_BITS, MU_FLOOR, tiny
from fastnmf.core.updates import JointMU
from fastnmf.data.sentences import shown
from fastnmf.models.base.estimator import without_zeros
from fastnmf.models.base.for_checkers import Betas, Callback, Init, Iterative
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import Floats, Seed, Vector

NAMES = {"frobenius": 2.0, "kullback-leibler": 1.0, "itakura-saito": 0.0}


def check_betas(betas):
    """Return `betas` as a list of float; raise if it cannot be used.

    `betas` is a number, or one of the names that `NMF` knows, or a sequence of these without repetition.
    """
    given = list(betas) if np.iterable(betas) and not isinstance(betas, str) else [betas]
    found = [NAMES.get(beta, beta) if isinstance(beta, str) else beta for beta in given]
    is_right = all(isinstance(b, numbers.Real) and not isinstance(b, bool) and np.isfinite(b) for b in found)
    if not found or not is_right or len({float(b) for b in found}) < len(found):
        raise ValueError(
            f"betas={shown(betas)} is not valid; expected different numbers, or names among "
            f"{', '.join(map(repr, NAMES))}."
        )
    return [float(b) for b in found]


class DistributionallyRobustNMF(BaseNMF, Iterative):
    """Factorise ``X ~ W H`` with W, H >= 0 such that the model fits well under several divergences, not only one.

    With D_b the beta divergence and e_b its value for a fit of D_b alone, minimises the largest excess::

        max_b  D_b(X, W H) / e_b

    Parameters
    ----------
    n_components : int, default=2
        k, the number of rows of H.
    betas : sequence of float or str, default=(1, 2)
        The divergences. ``"frobenius"``, ``"kullback-leibler"`` and ``"itakura-saito"`` are other names for 2, 1 and 0.
        Values <= 0 need data without zeros.
    weights : array-like (n_betas,), default=None
        Fixed weights >= 0 of the ``D_b / e_b``; then their weighted sum is minimised. None: the weights are found such
        that the largest excess is minimised.
    references : array-like (n_betas,), default=None
        The e_b > 0, if they are known. None: one fit for each divergence, with the same `max_iter` and `tol`, from the
        same start; with ``init=None`` each from the end of that of the next larger beta.
    extrapolate : bool, default=True
        Whether, after ten iterations, every third one begins at a point that is extrapolated along the last two, if
        this lowers the objective (SQUAREM).
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        Start, as for `NMF`. None: the end of that fit for the references whose largest excess is smallest; if the
        references are given, as for `NMF`.
    max_iter : int, default=1000
        Maximum number of iterations.
    tol : float, default=1e-4
        Stopping tolerance, as for `NMF`; 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins; None sets no limit. The fits for the references are not
        counted.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration with a `FitState`; see `NMF`. Returning True
        stops the fit.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows.
    betas_ : ndarray (n_betas,)
        The divergences as numbers.
    references_ : ndarray (n_betas,)
        The e_b, of the data as given; 0 or infinite where they overflow or underflow float64, as for data of 1e200 and
        beta = 2.
    weights_ : ndarray (n_betas,)
        Weights of the divergences at the end of the fit; they sum to one.
    excesses_ : ndarray (n_betas,)
        ``D_b / e_b`` of the model: 1.03 is 3 % worse than a fit of D_b alone.
    reconstruction_err_ : float
        The largest excess; with fixed `weights` the weighted sum.
    normalized_loss_ : float
        As for `NMF`.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``objective`` (the largest excess, or the weighted sum), ``excesses`` (`n_iter_` + 1, n_betas),
        ``normalized_loss``, ``seconds``. With fixed `weights` the objective does not increase. Otherwise the weights
        change during the fit, and the objective may increase temporarily.
    n_components_ : int
        k.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if the fit stopped because of `tol`, or, with ``tol=0``, after `max_iter` iterations.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    Each update minimises the sum of curves that lie above each weighted divergence. For betas 0 and 1 this is a
    quadratic equation for each entry of W or H, otherwise a root found by Newton's method. The update does not increase
    the weighted sum. Then the weight of the divergence with the largest excess is increased by ``1 / (iteration + 1)``
    of its distance to 1.

    X may be sparse. beta = 1 and 2 visit the non-zeros only; all others cost O(n m K) per iteration, a tile at a time.

    *Names*: the source's Omega is betas, lambda `weights_`.

    References
    ----------
    N. Gillis, L. T. K. Hien, V. Leplat, V. Y. F. Tan, "Distributionally robust and multi-objective nonnegative matrix
    factorization", IEEE TPAMI 44(8), 4052-4064, 2022, arXiv:1901.10757.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import DistributionallyRobustNMF
    >>> X = np.random.default_rng(0).gamma(2.0, size=(30, 20))
    >>> model = DistributionallyRobustNMF(3, betas=(0, 1, 2), tol=1e-2, random_state=0).fit(X)
    >>> bool(model.excesses_.max() < 1.2)
    True
    """

    betas: Betas
    weights: Vector | None
    references: Vector | None
    extrapolate: bool
    init: Init
    betas_: Floats
    references_: Floats
    weights_: Floats
    excesses_: Floats

    _fixed = {"solver": "mu"}
    _not_free = ("max_iter", "tol")  # of the fits that find the references
    _has_own_loss = True
    _private_state = (*BaseNMF._private_state, "_log2_references")

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | {"betas_": "", "references_": "", "weights_": ""}

    def __init__(
        self,
        n_components: int = 2,
        *,
        betas: Betas = (1, 2),
        weights: Vector | None = None,
        references: Vector | None = None,
        extrapolate: bool = True,
        init: Init = None,
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

    def _check_options(self, options):
        betas = check_betas(self.betas)
        for name, least in (("weights", 0), ("references", tiny())):
            given = getattr(self, name)
            if given is None:
                continue
            given = np.asarray(given)
            is_right = given.shape == (len(betas),) and given.dtype.kind in "fiu" and np.isfinite(given).all()
            if not is_right or (given < least).any() or not given.any():
                sign = ">= 0, not all 0" if name == "weights" else "> 0"
                raise ValueError(
                    f"{name}={shown(getattr(self, name))} is not valid; expected {len(betas)} numbers {sign}."
                )

    def _data(self, X, given, options):
        for name in ("references_", "_log2_references", "weights_"):  # those of a fit that warm_start continues from
            self.__dict__.pop(name, None)
        self.betas_ = np.array(check_betas(self.betas))
        return super()._data(X, given, options)

    def _improved_start(self, data, start, options, random_state):
        if self.references is not None:
            return start
        rank = start[1].shape[1]
        self._check_data(data)
        fits, factors = self._fits(data, *allocate(data, *start[:3]), options, is_chained=True), None
        if not hasattr(self, "references_"):
            self._set_references(data, fits)
        inner, least = self._inner_references(data, None, None, options), np.inf
        for _, found in fits:
            own, tasks = allocate(data, *(without_zeros(found[name][:, :rank]) for name in "WH"), None)
            largest = DivergenceMixture(data, own["W"].shape[1], tasks, self.betas_, inner).value(own)
            if factors is None or largest < least:
                factors, least = own, largest
        return factors["W"][:, :rank], factors["H"][:, :rank], None, None

    def _check_data(self, data):
        """Raise if a divergence cannot take the zeros of the data."""
        for beta in self.betas_:
            check_beta(data, beta, "beta")

    def _problem(self, data, factors, tasks, options):
        self._check_data(data)
        references = self._inner_references(data, factors, tasks, options)
        weights = getattr(self, "weights_", None)
        if weights is None and self.weights is not None:
            weights = np.asarray(self.weights, dtype=np.float64) / np.sum(self.weights)
        data_loss = DivergenceMixture(data, factors["W"].shape[1], tasks, self.betas_, references, weights)
        update = JointMU(floor=MU_FLOOR[data.dtype])
        return own_loss_problem(data_loss, update, factors, tasks, scale=data_loss.reference())

    def _extrapolation(self, factors, tasks, options):
        return SQUAREM(tasks, factors) if self.extrapolate else None

    def _inner_references(self, data, factors, tasks, options):
        """Return the e_b in the inner scale of the data, (n_betas,); the first start of a fit finds them.

        The e_b of data of extreme scale leave float64, their logarithms do not: these are kept beside them.

        Parameters
        ----------
        data, factors, tasks, options :
            As for `_fits`.
        """
        if not hasattr(self, "references_"):
            if self.references is None:
                self._set_references(data, self._fits(data, factors, tasks, options))
            else:
                self.references_ = np.asarray(self.references, dtype=np.float64)
        if not hasattr(self, "_log2_references"):
            self._log2_references = np.log2(self.references_)
        units = self._units(data)
        if np.abs(np.append(units, self._log2_references)).max() < MOST_BITS:
            return self.references_ / np.exp2(units)
        return np.exp2(self._log2_references - units)

    def _units(self, data):
        """Return the binary logarithms of the divergences in the user's scale over those in the inner one."""
        return -2.0 * data.log4_scale * self.betas_

    def _set_references(self, data, fits):
        """Set the e_b in the user's scale, and their logarithms."""
        inner, units = np.array([value for value, _ in fits]), self._units(data)
        self._log2_references = np.log2(inner) + units
        with np.errstate(over="ignore"):
            self.references_ = inner * np.exp2(units)

    def _fits(self, data, factors, tasks, options, *, is_chained=False):
        """Return the value that a fit of each divergence alone reaches from these factors, and its factors, as pairs.

        Parameters
        ----------
        data : Strata
        factors : Factors
            Not changed.
        tasks : dict, factor name -> ndarray of int64
        options : Options
        is_chained : bool, default=False
            Whether a fit starts where that of the next larger beta ended: their minima are then near each other.
        """
        found, at = [None] * len(self.betas_), factors
        for b in np.argsort(-self.betas_):  # the largest beta first: coordinate descent is fast for beta = 2
            beta, own = self.betas_[b], Factors(factors.rank, **{name: at[name].copy() for name in "WH"})
            if beta == 2:  # D_2 is half the squared error, O(nnz K)
                W, H = (own[name][:, : own.rank] for name in "WH")
                fit, unit = plain_fit(data, W, H, max_iter=options.max_iter, tol=options.tol), 0.5
            else:
                problem, unit = divergence_problem(data, own, tasks, beta), 1.0
                solver = AlternatingSolver(problem, own, SQUAREM(tasks, own) if beta == 1 else None)
                fit = iterate(solver, max_iter=options.max_iter, tol=options.tol)
            value, solver = fit.history["objective"][-1], fit.solver
            found[b] = unit * max(value, LEAST_REFERENCE * solver.scale) or 1.0, fit.factors
            if is_chained:
                at = {name: pad(without_zeros(fit.factors[name][:, : own.rank]), data) for name in "WH"}
        return found

    def _final_exact_W(self, data, fit, options):
        """Set the weights and excesses; keep the factors, because the excesses are those of W and H together."""
        data_loss = fit.problem.losses[0]
        self.weights_, self.excesses_ = data_loss.weights, data_loss.ratios(fit.factors)

    def _update_W(self, data, factors, tasks, options):
        problem = self._problem(data, factors, tasks, options)
        problem.losses[0].floor_by_row()
        problem.schedule = problem.schedule[:1]
        solve(problem, factors, max_iter=options.max_iter, tol=0)

    def _reconstruction_error(self, loss, exponent, options):
        return float(loss)
