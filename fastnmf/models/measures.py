"""Which measure of the error: a model that is good in several of them, and the choice of one by held-out entries."""

import numbers

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch
from sklearn.utils.parallel import Parallel, delayed

from fastnmf.data import Strata
from fastnmf.models.options import check_integer, generator
from fastnmf.models.own_loss import OwnLoss
from fastnmf.models.problems import divergence_problem, squared_problem
from fastnmf.moves import MU, MU_FLOOR, JointMU
from fastnmf.problem import Factors, Problem
from fastnmf.solve import allocate, solve, threads
from fastnmf.terms import check_beta
from fastnmf.terms.several import LEAST, HeldOut, Several, divergences

NAMES = {"frobenius": 2.0, "kullback-leibler": 1.0, "itakura-saito": 0.0}
LEAST_REFERENCE = 1e-10  # of the trivial model's divergence: of data that a model fits exactly, excesses mean nothing
MOST_HELD = 1_000_000  # entries that are held out in one split


def check_betas(betas):
    """Return `betas`, numbers or the names that `NMF` knows, as a list of float; raise one sentence if unfit."""
    given = list(betas) if np.iterable(betas) and not isinstance(betas, str) else [betas]
    found = [NAMES.get(beta, beta) if isinstance(beta, str) else beta for beta in given]
    is_right = all(isinstance(b, numbers.Real) and not isinstance(b, bool) and np.isfinite(b) for b in found)
    if not found or not is_right or len({float(b) for b in found}) < len(found):
        raise ValueError(
            f"betas={betas!r} is not valid; expected different numbers, or names among {', '.join(map(repr, NAMES))}."
        )
    return [float(b) for b in found]


class DistributionallyRobustNMF(OwnLoss):
    """Factorise ``X ~ W H`` with W, H >= 0 such that it fits well under several divergences, not under one alone.

    With D_b the beta divergence and e_b what a fit of D_b alone reaches, minimises the largest excess::

        max_b  D_b(X, W H) / e_b

    Parameters
    ----------
    n_components : int, default=2
        Rows of H.
    betas : sequence of float or str, default=(1, 2)
        The divergences; 2, 1 and 0 are also ``"frobenius"``, ``"kullback-leibler"``, ``"itakura-saito"``. Those <= 0
        need data without zeros.
    weights : array-like (n_betas,), default=None
        Fixed weights of the ``D_b / e_b``, of which then the weighted sum is minimised. None: found.
    references : array-like (n_betas,), default=None
        The e_b, if they are known. None: one fit each, from the same start, with the same `max_iter` and `tol`.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        As for `NMF`.
    max_iter : int, default=500
    tol : float, default=1e-4
        As for `NMF`; 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins; the fits for the references are not counted.
    callback : callable, default=None
        ``callback(state)`` after every iteration, as for `NMF`.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
    betas_, references_, weights_, excesses_ : ndarray (n_betas,)
        The divergences; their e_b; the weights that the fit ended with; ``D_b / e_b`` of the model: 1.03 is 3 % worse
        than a fit of D_b alone.
    reconstruction_err_ : float
        The largest excess; with fixed `weights` the weighted sum.
    history_ : dict of ndarray
        ``iteration``, ``objective`` (the largest excess, or the weighted sum), ``excesses`` (n_iter_ + 1, n_betas),
        ``normalized_loss``, ``seconds``. With fixed `weights` the objective never rises; otherwise the weights move,
        and it may for a moment.
    n_components_, n_iter_, converged_, stopped_by_, normalized_loss_, n_features_in_, feature_names_in_ :
        As for `NMF`.

    Notes
    -----
    Each update minimises the sum of the curves that lie above each weighted divergence: for betas 0 and 1 a quadratic
    equation for each entry of W or H, otherwise a root found by Newton's method; it never raises the sum. Then the
    weight of the divergence with the largest excess grows by ``1 / (iteration + 1)`` of what it lacks to 1.

    Sparse data may be passed. beta = 1 and 2 walk the non-zeros, all others O(n m K) an iteration, a tile at a time.

    *Names*: the source's Omega is betas, lambda weights_.

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

    solver = "mu"

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | {"betas_": "", "references_": "", "weights_": ""}

    def __init__(
        self,
        n_components=2,
        *,
        betas=(1, 2),
        weights=None,
        references=None,
        init=None,
        max_iter=500,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.betas = betas
        self.weights = weights
        self.references = references
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def _check_parameters(self):
        betas = check_betas(self.betas)
        for name, least in (("weights", 0), ("references", np.finfo(float).tiny)):
            given = getattr(self, name)
            if given is None:
                continue
            given = np.asarray(given)
            is_right = given.shape == (len(betas),) and given.dtype.kind in "fiu" and np.isfinite(given).all()
            if not is_right or (given < least).any() or not given.any():
                sign = ">= 0, not all 0" if name == "weights" else "> 0"
                raise ValueError(f"{name}={getattr(self, name)!r} is not valid; expected {len(betas)} numbers {sign}.")
        super()._check_parameters()
        self.betas_ = np.array(betas)

    def _problem(self, data, factors, tasks):
        for beta in self.betas_:
            check_beta(data, beta, "beta")
        units = 2.0 ** (-2 * data.exponent * self.betas_)  # of a divergence of the user's data
        if not hasattr(self, "references_"):
            self.references_ = self._references(data, factors, tasks) * units
        weights = getattr(self, "weights_", None)
        if weights is None and self.weights is not None:
            weights = np.asarray(self.weights, dtype=np.float64) / np.sum(self.weights)
        term = Several(data, factors["W"].shape[1], tasks, self.betas_, self.references_ / units, weights)
        move = JointMU(floor=MU_FLOOR[data.dtype])
        return self._of(term, move, factors, tasks, scale=term.reference())

    def _references(self, data, factors, tasks):
        """Return what a fit of each divergence alone reaches from these factors, which stay as they are."""
        if self.references is not None:
            return np.asarray(self.references, dtype=np.float64)
        found = []
        for beta in self.betas_:
            own = Factors(factors.rank, **{name: factors[name].copy() for name in "WH"})
            schedule = (("W", 1), ("H", 1))
            if beta == 2:  # half the squared error, O(nnz K)
                problem, unit = squared_problem(data, own, tasks, schedule, is_descent=False), 0.5
            else:
                problem, unit = divergence_problem(data, own, tasks, beta), 1.0
            best = solve(problem, own, max_iter=self.max_iter, tol=self.tol).history["objective"][-1]
            found.append(unit * max(best, LEAST_REFERENCE * problem.scale) or 1.0)
        return np.array(found)

    def _settle(self, data, problem, fit):
        """Keep the factors as they are: it is the pair that has the excesses."""
        term = problem.terms[0]
        self.weights_, self.excesses_ = term.weights, term.ratios(fit.factors)
        self._trace = np.array(term.trace)

    def _finish(self, data, problem, fit):
        super()._finish(data, problem, fit)
        self.history_["excesses"] = self.__dict__.pop("_trace")

    def _move_W(self, data, factors, tasks):
        problem = self._problem(data, factors, tasks)
        problem.schedule = problem.schedule[:1]
        solve(problem, factors, max_iter=self.max_iter, tol=0)

    def _reconstruction_error(self, loss, exponent):
        return float(loss)


class BetaSelection(Bunch):
    """What `select_beta` found; printed, it is a table.

    Attributes
    ----------
    best : float
        The beta of the least mean score.
    betas : ndarray (n_betas,)
    scores, deviances : ndarray (n_betas, n_splits)
        See `select_beta`; `deviances` are means over held-out entries, of one unit for each beta.
    table : list of dict
        One a beta: ``beta``, ``score``, ``deviation`` (the standard deviation over the splits), ``deviance``.
    """

    def __repr__(self):
        """Return the table."""
        lines = [f"{'beta':>6} {'score':>10} {'+-':>8} {'held-out deviance':>18}"]
        for row in self.table:
            mark = "  <- best" if row["beta"] == self.best else ""
            lines.append(
                f"{row['beta']:>6g} {row['score']:>10.4f} {row['deviation']:>8.4f} {row['deviance']:>18.6g}{mark}"
            )
        return "\n".join(lines)


def select_beta(
    X,
    n_components=2,
    betas=(0.5, 1, 1.5, 2),
    *,
    n_splits=3,
    held_out=0.1,
    max_iter=1000,
    tol=1e-4,
    n_jobs=None,
    random_state=None,
):
    """Choose the beta divergence for the data by how well it foretells entries that the fit has not seen.

    In each split some entries are held out, a model is fitted to the others with each beta, and the mean divergence d
    of the held-out entries x from the model y is measured. Divergences of different betas have different units, so they
    are compared as what they are: the beta divergence belongs to noise of variance ``phi y ** (2 - beta)`` (beta = 2
    normal, 1 Poisson, 0 gamma), and the quasi-likelihood, with the best phi, makes them one scale::

        score = 1/2 log(2 mean d) + (2 - beta) / 2 mean log y          smaller is better

    Parameters
    ----------
    X : sparse matrix or array (n_samples, n_features)
        Non-negative, finite.
    n_components : int, default=2
    betas : sequence of float or str, default=(0.5, 1, 1.5, 2)
        As for `DistributionallyRobustNMF`; those <= 0 need data without zeros.
    n_splits : int, default=3
    held_out : float, default=0.1
        Share of the entries that a split holds out, zeros among them; at most a million entries.
    max_iter : int, default=1000
        Multiplicative updates, at most, from a random start that all betas of a split share. Too few of them favour
        the betas that converge soon.
    tol : float, default=1e-4
        As for `NMF`.
    n_jobs : int, default=None
        Fits at a time, as joblib takes it. The result does not depend on it.
    random_state : None, int, Generator or RandomState, default=None

    Returns
    -------
    BetaSelection
        ``best``, ``betas``, ``scores``, ``deviances``, ``table``; prints as a table.

    Raises
    ------
    ValueError, TypeError
        For data or parameters that cannot be used: what was given, expected, and to be done.

    Notes
    -----
    Every fit meets all entries, O(n m k) an iteration, a tile at a time, whatever the beta: an entry that is held out
    may be a zero, and a sparse matrix does not say which of its zeros are. Differences that are not larger than the
    deviation over the splits mean little. Of 18 planted data sets with gamma, Poisson and normal noise 17 gave the
    right one of 0, 1 and 2; betas half a step apart are told apart less well, and counts of 2 to 4 on average gave 1.5
    where 1 was planted. Where no fit explains the data, the score speaks of its errors, not of noise.

    References
    ----------
    J. A. Nelder, D. Pregibon, "An extended quasi-likelihood function", Biometrika 1987, doi:10.1093/biomet/74.2.221
    (there with the variance at x instead of y, which a zero would make infinite). C. Fevotte, N. Bertin, J.-L. Durrieu,
    Neural Computation 2009, doi:10.1162/neco.2008.04-08-771 (noise models).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import select_beta
    >>> rng = np.random.default_rng(0)
    >>> X = rng.poisson(20 * rng.random((60, 2)) @ rng.random((2, 40)))
    >>> select_beta(X, 2, random_state=0).best
    1.0
    """
    betas = check_betas(betas)
    for name, value in (("n_components", n_components), ("n_splits", n_splits), ("max_iter", max_iter)):
        check_integer(name, value)
    if not isinstance(held_out, numbers.Real) or not 0 < held_out < 1:
        raise ValueError(f"held_out={held_out!r} is not valid; expected a share of the entries, 0 < held_out < 1.")
    data = Strata.from_array(X)
    for beta in betas:
        check_beta(data, beta, "beta")
    size = data.shape[0] * data.shape[1]
    n_held = int(min(max(1, round(held_out * size)), MOST_HELD, size - 1))
    if n_held < 1:
        raise ValueError(f"X has shape {data.shape}; holding entries out needs at least two.")
    seeds = generator(random_state).integers(2**32, size=(n_splits, 2)).tolist()
    tasks = [(beta, split) for split in seeds for beta in betas]
    found = Parallel(n_jobs=n_jobs)(
        delayed(_measure)(data.X, n_components, beta, split, n_held, max_iter, tol) for beta, split in tasks
    )
    found = np.array(found).reshape(n_splits, len(betas), 2)
    scores, deviances = found[..., 0].T, found[..., 1].T
    units = 2.0 ** (-2 * data.exponent * np.array(betas))
    deviances = deviances * units[:, None]
    table = [
        {"beta": b, "score": float(s.mean()), "deviation": float(s.std()), "deviance": float(d.mean())}
        for b, s, d in zip(betas, scores, deviances, strict=True)
    ]
    best = betas[int(np.argmin(scores.mean(axis=1)))]
    return BetaSelection(best=best, betas=np.array(betas), scores=scores, deviances=deviances, table=table)


def _measure(X, rank, beta, seeds, n_held, max_iter, tol):
    """Return the score and the mean divergence of the held-out entries, for one beta and one split."""
    data = Strata.from_array(X)
    place = np.random.default_rng(seeds[0]).choice(X.shape[0] * X.shape[1], n_held, replace=False, shuffle=False)
    row, column = np.divmod(place, X.shape[1])
    held = sp.csr_array((np.ones(n_held, data.dtype), (row, column)), data.shape)
    x = np.asarray(data.X[row, column], dtype=np.float64).ravel()
    mean = (float(data.X.sum(dtype=np.float64)) - x.sum()) / (data.shape[0] * data.shape[1] - n_held)
    rng = np.random.default_rng(seeds[1])  # no start of `init`: those have seen all entries
    W, H = rng.random((data.shape[0], rank)), 4 / rank * max(mean, LEAST) * rng.random((data.shape[1], rank))
    with threads(1):  # fits run side by side, and the same bits come from any number of them
        factors, tasks = allocate(data, W, H, None)
        move = MU(eps=float(np.finfo(data.dtype).tiny), floor=MU_FLOOR[data.dtype])
        term = HeldOut(data, factors["W"].shape[1], tasks, beta, held)
        problem = Problem([term], dict.fromkeys("WH", move), (("W", 1), ("H", 1)), tasks, scale=1.0)
        solve(problem, factors, max_iter=max_iter, tol=tol)
    y = np.einsum("ec,ec->e", factors["W"][row], factors["H"][column], dtype=np.float64)
    y = np.maximum(y, LEAST)
    mean = max(float(divergences(x, y, beta).mean()), np.finfo(np.float64).tiny)
    return 0.5 * np.log(2 * mean) + (2 - beta) / 2 * float(np.log(y).mean()), mean
