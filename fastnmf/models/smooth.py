"""NMF whose components are smooth curves."""

import numpy as np

from fastnmf.models.options import check_number
from fastnmf.models.own_loss import OwnLoss
from fastnmf.models.problems import squared_problem
from fastnmf.penalties import ElasticNet, Smooth
from fastnmf.solve import infer, pad, scale_start

SWEEPS = 2
LEAST_SHARE = 1e-3  # of the penalty of W, on H: constant components, which are smooth at any size, stay bounded


class SmoothNMF(OwnLoss):
    """Factorise ``X ~ W H`` with W, H >= 0 and components that change little from one feature to the next.

    For features in an order: wavelengths, times, places along a line. Minimises::

        ||X - W H||² + smoothness (sum_kj (h_kj - h_k,j+1)² + ||W||² + 0.001 ||H||²)

    Parameters
    ----------
    n_components : int, default=2
        Rows of H.
    smoothness : float, default=1.0
        0 is plain NMF. Doubling the data asks for twice as much.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        As for `NMF`.
    max_iter : int, default=300
    tol : float, default=1e-4
        As for `NMF`; 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, as for `NMF`.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
    reconstruction_err_ : float
        ``||X - W H||``.
    history_ : dict of ndarray
        As for `NMF`; the objective, penalties included, never rises.
    n_components_, n_iter_, converged_, stopped_by_, normalized_loss_, n_features_in_, feature_names_in_ :
        As for `NMF`.

    Notes
    -----
    A penalty of H alone says nothing: W grows, H shrinks, and it vanishes. W has its share for that reason, and the
    scale of each component is chosen such that both cost least together, which does not change ``W H``.

    Sparse X stays sparse. The penalty is met by a parabola above it, at the price of a pass over H.

    References
    ----------
    Z. Chen, A. Cichocki, T. M. Rutkowski, "Constrained non-negative matrix factorization method for EEG analysis in
    early detection of Alzheimer disease", ICASSP 2006, doi:10.1109/ICASSP.2006.1661420 (smoothness). D. Cai, X. He, J.
    Han, T. S. Huang, "Graph regularized nonnegative matrix factorization", IEEE TPAMI 2011 (the Laplacian penalty).

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

    solver = "cd"

    def __init__(
        self,
        n_components=2,
        *,
        smoothness=1.0,
        init=None,
        max_iter=300,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.smoothness = smoothness
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def _check_parameters(self):
        check_number("smoothness", self.smoothness)
        super()._check_parameters()

    def _weight(self, data):
        return float(np.ldexp(self.smoothness, 2 * data.exponent))  # the error goes with the square of X, W and H as X

    def _problem(self, data, factors, tasks):
        return squared_problem(data, factors, tasks, (("W", SWEEPS), ("H", SWEEPS)), is_descent=True)

    def _constrain(self, data, problem, factors, free, guide):
        weight = self._weight(data)
        if weight == 0:
            return
        problem.penalties = {"W": [ElasticNet(0, weight)], "H": [Smooth(weight, LEAST_SHARE * weight)]}
        problem.anchors_scale, problem.revive, problem.balances = False, None, True
        if not factors["W"].any():
            scale_start(problem, factors, data)

    def _inferred_W(self, data, H):
        return infer(data, H.shape[1], pad(H, data), None, penalties=[ElasticNet(0, self._weight(data))])[0]
