"""NMF whose components are smooth curves.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from fastnmf.core.alternate import scale_start
from fastnmf.core.factors import pad
from fastnmf.core.inference import infer
from fastnmf.core.init.plain import plain_fit
from fastnmf.core.objectives import squared_problem
from fastnmf.core.options import number, one_of
from fastnmf.core.penalties.elastic_net import ElasticNet
from fastnmf.core.penalties.smoothness import Chain
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.updates import ChainDescent
from fastnmf.models.base.for_checkers import Callback, Init, Iterative
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import Seed

SWEEPS = 2
BEND = 1e-3
PLAIN_ITERATIONS = 200  # at most, of plain NMF for the default start
LARGEST_UNIT = 2.0**600  # the penalty holds its power 1.5; beside it the data count for nothing long before
LEAST_SHARE = 1e-3  # weight of H's norm beside W's: bounds constant components, whose steps are zero at any size


class SmoothNMF(BaseNMF, Iterative):
    """Factorise ``X ~ W H`` with W, H >= 0 and components that change little from one feature to the next.

    It suits ordered features: wavelengths, times, positions along a line. Minimises::

        ||X - W H||² + smoothness s (sum_kj (h_kj - h_k,j+1)² + ||W||² + 0.001 ||H||²)

    or, with total variation, which prefers a few jumps to a slope, so that components are constant between jumps::

        ||X - W H||² + smoothness s√s (sum_kj |h_kj - h_k,j+1| + sum(W) + 0.001 sum(H))

    where s is the root mean square of the entries of X, so that `smoothness` has no unit.

    Parameters
    ----------
    n_components : int, default=2
        Number of components (rows of H), >= 1.
    smoothness : float, default=2.0
        Strength of the penalty, >= 0, relative to the size of X; 0 is plain NMF. Up to version 0.1 it had the unit of
        X: there ``smoothness * s`` had this effect, or ``smoothness * s ** 1.5`` for total variation.
    penalty : {"squares", "total_variation"}, default="squares"
        ``"total_variation"`` smooths ``|d|`` near zero: it is ``sqrt(d² + e²) - e``, where e is a thousandth of √s, the
        approximate size of components.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        As for `NMF`. None: the components that plain NMF finds.
    max_iter : int, default=300
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        As for `NMF`; 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers that the start uses.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration, as for `NMF`. The fit stops when it
        returns True.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of the dtype of X
        H.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        W, the weights of the training rows.
    typical_ : float
        s, the root mean square of X, in units of X.
    reconstruction_err_ : float
        ``||X - W H||``.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        As for `NMF`; the objective, which includes the penalties, is monotone.
    n_components_, n_iter_, converged_, stopped_by_, normalized_loss_, n_features_in_, feature_names_in_ :
        As for `NMF`.

    Notes
    -----
    A penalty on H alone has no effect: it vanishes as W grows and H shrinks, while ``W H`` stays the same. The
    objective therefore has penalties on both factors. The scale of each component is chosen such that their sum is
    least; this does not change ``W H``.

    Sparse X stays sparse. A component is updated as a whole: to its exact minimiser, or, for total variation, to that
    of a parabola above the penalty. This runs on one thread and costs O(n_features k²) per iteration.

    References
    ----------
    Z. Chen, A. Cichocki, T. M. Rutkowski, "Constrained non-negative matrix factorization method for EEG analysis in
    early detection of Alzheimer disease", ICASSP 2006 (smoothness). D. Cai, X. He, J.
    Han, T. S. Huang, "Graph regularized nonnegative matrix factorization", IEEE TPAMI 2011 (the Laplacian penalty).
    L. I. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D 1992. M.
    Hintermueller, K. Ito, K. Kunisch, "The primal-dual active set strategy as a semismooth Newton method", SIAM Journal
    on Optimization 2002 (the exact minimiser of a component).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF, SmoothNMF
    >>> rng = np.random.default_rng(0)
    >>> bump = np.exp(-np.square(np.linspace(-3, 3, 60)))
    >>> X = np.maximum(np.outer(rng.random(20), bump) + 0.2 * rng.standard_normal((20, 60)), 0)
    >>> rough, smooth = (model.fit(X).components_[0] for model in (NMF(1), SmoothNMF(1, smoothness=2)))
    >>> bool(np.abs(np.diff(smooth)).sum() / smooth.max() < 0.7 * np.abs(np.diff(rough)).sum() / rough.max())
    True
    """

    smoothness: float
    penalty: Literal["squares", "total_variation"]
    init: Init
    typical_: float

    _constraints = {"smoothness": number(), "penalty": one_of("squares", "total_variation")}
    _has_own_loss = True

    def __init__(
        self,
        n_components: int = 2,
        *,
        smoothness: float = 2.0,
        penalty: Literal["squares", "total_variation"] = "squares",
        init: Init = None,
        max_iter: int = 300,
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

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | {"typical_": ""}

    def _data(self, X, given, options):
        data = super()._data(X, given, options)
        if options is not None:
            mean = data.sq_norm / (data.shape[0] * data.shape[1])
            self.typical_ = float(np.ldexp(np.sqrt(mean), -2 * data.log4_scale)) or 1.0
        return data

    def _penalties(self, data):
        """Return the penalties of W and H for the inner scale of the data.

        The squared error is proportional to the square of X, and W and H to the square root of X; this determines the
        powers of the unit, which is that of the fit.
        """
        with np.errstate(over="ignore"):  # rows of far smaller units than those of the fit
            unit = min(float(np.ldexp(self.typical_, 2 * data.log4_scale)), LARGEST_UNIT)
        if self.penalty == "squares":
            weight = self.smoothness * unit
            return ElasticNet(0, weight), Chain(weight, l2=LEAST_SHARE * weight)
        weight = self.smoothness * unit**1.5
        return ElasticNet(weight / 2, 0), Chain(weight, l1=LEAST_SHARE * weight / 2, bend=BEND * unit**0.5)

    def _improved_start(self, data, start, options, random_state):
        W, H, v, V = start
        if self.smoothness == 0:
            return start
        limits = {"max_iter": PLAIN_ITERATIONS, "tol": 1e-4, "max_time": options.max_time}
        factors = plain_fit(data, W, H, **limits).factors
        return np.zeros_like(W), factors["H"][:, : factors.rank], v, V

    def _problem(self, data, factors, tasks, options):
        schedule = (("W", SWEEPS), ("H", SWEEPS))
        return squared_problem(data, factors, tasks, schedule, is_descent=True, holds_products=self.smoothness > 0)

    def _constrain(self, data, problem, factors, options, *, free_mask=None, guide=None):
        """Add the penalties to the problem, and set the update of H that they need.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
            The data, held in the inner scale.
        problem : fastnmf.core.problem.Problem
            Changed in place.
        factors : fastnmf.core.factors.Factors
            The start, in the inner scale. H is rescaled in place if W is zero.
        options : Options
        free_mask, guide : None
            Not used: this model has no fixed or guided components.
        """
        if self.smoothness == 0:
            return
        of_W, of_H = self._penalties(data)
        problem.penalties, problem.updates["H"] = {"W": [of_W], "H": [of_H]}, ChainDescent()
        problem.equalize_norms, problem.reseed_dead_component, problem.balance_penalties = False, None, True
        if not factors["W"].any():  # H is in units of X; one scaling does not find the best scale of total variation
            size = np.sqrt(np.ldexp(self.typical_, 2 * data.log4_scale))
            factors.overwrite({"H": factors["H"] / factors["H"].dtype.type(size)})
            scale_start(problem, factors, data)

    def _extrapolation(self, factors, tasks, options):
        return SQUAREM(tasks, factors)

    def _infer_own_W(self, data, H, options):
        return infer(data, H.shape[1], pad(H, data), None, penalties=[self._penalties(data)[0]])[0]
