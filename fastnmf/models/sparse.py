"""NMF with a guaranteed sparseness of its factors."""

from functools import partial

import numpy as np

from fastnmf.models.options import check_integer, check_number
from fastnmf.models.own_loss import OwnLoss
from fastnmf.moves import HALS, ProjectedColumns, ProjectedRows, hoyer_cone, largest_in_rows
from fastnmf.solve import solve
from fastnmf.terms import Frobenius

SWEEPS = 2
INFERENCE_STEPS = 200  # gradient steps that find W for fixed H, with few components a row


def _top(f, most):
    return largest_in_rows(np.asarray(f, np.float64)[None], most)[0]


class SparseNMF(OwnLoss):
    """Factorise ``X ~ W H`` with W, H >= 0 of a sparseness that is a promise, not the outcome of a penalty.

    Minimises ``||X - W H||²`` under the constraints that are given::

        sparseness_H     each component (row of H) has at least this sparseness
        max_features     each component has at most so many features
        sparseness_W     each column of W has at least this sparseness
        max_components   each sample (row of W) has at most so many components

    Sparseness is Hoyer's, ``(sqrt(n) - l1 / l2) / (sqrt(n) - 1)``: 0 for a constant vector, 1 for a single entry. The
    usual L1 penalty, of which nobody knows beforehand how many zeros it makes, is ``NMF(alpha_W=..., l1_ratio=1)``.

    Parameters
    ----------
    n_components : int, default=2
        Rows of H.
    sparseness_H : float, default=0.5
        From 0 to 1, None for no constraint. Not used where `max_features` is given.
    max_features : int, default=None
    sparseness_W : float, default=None
        From 0 to 1. Not together with `max_components`.
    max_components : int, default=None
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        As for `NMF`; what it gives is put onto the constraints first.
    max_iter : int, default=200
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
        As for `NMF`; the objective never rises.
    n_components_, n_iter_, converged_, stopped_by_, normalized_loss_, n_features_in_, feature_names_in_ :
        As for `NMF`.

    Notes
    -----
    A column of W or H has the free minimiser of coordinate descent put onto its set, which is its exact best as the
    others are; rows of W take gradient steps and are put onto theirs. Both sets are not convex, so that the result
    depends on the start more than that of plain NMF. Sparse X stays sparse, at the price of plain NMF.

    `transform` keeps to `max_components`; `sparseness_W` is about all samples of a fit together and plays no part.

    References
    ----------
    P. O. Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 2004. R. Peharz, F. Pernkopf,
    "Sparse nonnegative matrix factorization with l0-constraints", Neurocomputing 2012,
    doi:10.1016/j.neucom.2011.09.024.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import SparseNMF
    >>> X = np.random.default_rng(0).random((20, 12))
    >>> model = SparseNMF(3, max_features=4, max_components=1, random_state=0).fit(X)
    >>> int((model.components_ > 0).sum(axis=1).max()), int((model.W_ > 0).sum(axis=1).max())
    (4, 1)
    """

    solver = "cd"

    def __init__(
        self,
        n_components=2,
        *,
        sparseness_H=0.5,
        max_features=None,
        sparseness_W=None,
        max_components=None,
        init=None,
        max_iter=200,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.sparseness_H = sparseness_H
        self.max_features = max_features
        self.sparseness_W = sparseness_W
        self.max_components = max_components
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def _check_parameters(self):
        for name in ("sparseness_H", "sparseness_W"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), "None or a number from 0 to 1", most=1)
        for name in ("max_features", "max_components"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name))
        if self.sparseness_W is not None and self.max_components is not None:
            raise ValueError(
                f"sparseness_W={self.sparseness_W} and max_components={self.max_components} both constrain W; leave "
                "one out."
            )
        super()._check_parameters()

    def _moves(self):
        """Return the move of each factor, and what puts a start onto its set."""
        moves, starts = {"W": HALS(), "H": HALS()}, {}
        for name, sparseness, most in (("H", self.sparseness_H, self.max_features), ("W", self.sparseness_W, None)):
            if most is not None or sparseness is not None:
                project = partial(_top, most=most) if most is not None else partial(hoyer_cone, sparseness=sparseness)
                moves[name], starts[name] = ProjectedColumns(project), partial(np.apply_along_axis, project, 0)
        if self.max_components is not None:
            project = partial(largest_in_rows, most=self.max_components)
            moves["W"], starts["W"] = ProjectedRows(project), project
        return moves, starts

    def _problem(self, data, factors, tasks):
        moves, starts = self._moves()
        for name, project in starts.items():
            factors[name][:, : factors.rank] = project(factors[name][:, : factors.rank])
            factors.moved(name)
        term = Frobenius(data, factors["W"].shape[1], tasks, holds_products=True)
        problem = self._of(term, None, factors, tasks, SWEEPS, scale=data.sq_norm)
        problem.moves = moves
        return problem

    def _move_W(self, data, factors, tasks):
        if self.max_components is None:  # the exact weights are there
            return
        problem = self._problem(data, factors, tasks)
        problem.schedule = (("W", INFERENCE_STEPS),)
        solve(problem, factors, max_iter=1, tol=0)

    def _settle(self, data, problem, fit):
        if self.sparseness_W is None:
            super()._settle(data, problem, fit)
