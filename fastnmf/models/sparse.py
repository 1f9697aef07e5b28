"""NMF with a guaranteed sparseness of its factors."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastnmf.core.inference import sparse_weights
from fastnmf.core.init.clusters import components_of_few
from fastnmf.core.losses import Frobenius
from fastnmf.core.losses.products import AssignedFrobenius
from fastnmf.core.objectives import own_loss_problem
from fastnmf.core.options import generator, integer, number, optional
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.updates import HALS, ProjectedColumns, SparseCoding, hoyer_cone, largest_in_rows
from fastnmf.models.base.for_checkers import Callback, Init, Iterative
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import Seed

SWEEPS = 2


def _top(f, most):
    """Return f (p,) as float64 with all but its `most` largest entries set to zero."""
    return largest_in_rows(np.asarray(f, np.float64)[None], most)[0]


class SparseNMF(BaseNMF, Iterative):
    """Factorise ``X ~ W H`` with W, H >= 0 under constraints that guarantee a sparseness of the factors.

    Minimises ``||X - W H||²`` under those of these constraints that are given::

        sparseness_H     each component (row of H) has at least this sparseness
        max_features     each component has at most so many features
        sparseness_W     each column of W has at least this sparseness
        max_components   each sample (row of W) has at most so many components

    The sparseness is Hoyer's, ``(sqrt(n) - l1 / l2) / (sqrt(n) - 1)``: 0 for a constant vector, 1 for a single entry.
    The usual L1 penalty is ``NMF(alpha_W=..., l1_ratio=1)``; the number of zeros that it gives is not known beforehand.

    Parameters
    ----------
    n_components : int, default=2
        Number of components (rows of H), >= 1.
    sparseness_H : float, default=0.5
        Least sparseness of each component, from 0 to 1; None for no constraint. Not used if `max_features` is given.
    max_features : int, default=None
        Maximum number of non-zero features in each component, >= 1; None for no constraint.
    sparseness_W : float, default=None
        Least sparseness of each column of W, from 0 to 1; None for no constraint. Cannot be combined with
        `max_components`.
    max_components : int, default=None
        Maximum number of components with a non-zero weight in each sample, >= 1; None for no constraint.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        As for `NMF`; the start is first projected onto the constraints. None with `max_components`: see Notes.
    max_iter : int, default=200
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
    reconstruction_err_ : float
        ``||X - W H||``.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        As for `NMF`; the objective is monotone.
    n_components_, n_iter_, converged_, stopped_by_, normalized_loss_, n_features_in_, feature_names_in_ :
        As for `NMF`.

    Notes
    -----
    For a column of W or H, coordinate descent finds the unconstrained minimiser and projects it onto the constraint
    set. This is the exact minimiser while the other columns are fixed.

    With `max_components`, each row of W is recoded for the current H: exactly for one component (the model is then
    `OrthogonalNMF`) and for two, where all pairs are compared. For more, orthogonal matching pursuit and exchanges find
    the support in the fit; at the end, and in `transform`, branch and bound makes it the best one, unless a row takes
    more than 1000 steps or there are more than 64 components. The default start is the better one of two after a few
    iterations: rows in different directions, and that of `NMF`.

    The constraint sets are not convex, so the result depends on the start more than that of plain NMF. Sparse X stays
    sparse, at the cost of plain NMF plus O(n_samples n_components²) for two components per sample.

    `transform` observes `max_components`. `sparseness_W` is a constraint on all samples of a fit together, so
    `transform` ignores it.

    References
    ----------
    P. O. Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 2004. R. Peharz, F. Pernkopf,
    "Sparse nonnegative matrix factorization with l0-constraints", Neurocomputing 80, 38-46, 2012. N. Nadisic, A.
    Vandaele, N. Gillis, J. E. Cohen, "Exact sparse nonnegative least squares", ICASSP 2020 (branch and bound). A. M.
    Bruckstein, M. Elad, M. Zibulevsky, "On the uniqueness of nonnegative sparse solutions to underdetermined systems of
    equations", IEEE Transactions on Information Theory 2008 (matching pursuit).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import SparseNMF
    >>> X = np.random.default_rng(0).random((20, 12))
    >>> model = SparseNMF(3, max_features=4, max_components=1, random_state=0).fit(X)
    >>> int((model.components_ > 0).sum(axis=1).max()), int((model.W_ > 0).sum(axis=1).max())
    (4, 1)
    """

    sparseness_H: float | None
    max_features: int | None
    sparseness_W: float | None
    max_components: int | None
    init: Init

    _constraints = {
        "sparseness_H": optional(number("None or a number from 0 to 1", most=1)),
        "sparseness_W": optional(number("None or a number from 0 to 1", most=1)),
        "max_features": optional(integer()),
        "max_components": optional(integer()),
    }
    _has_own_loss = True

    def __init__(
        self,
        n_components: int = 2,
        *,
        sparseness_H: float | None = 0.5,
        max_features: int | None = None,
        sparseness_W: float | None = None,
        max_components: int | None = None,
        init: Init = None,
        max_iter: int = 200,
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
        if self.sparseness_W is not None and self.max_components is not None:
            raise ValueError(
                f"sparseness_W={self.sparseness_W} and max_components={self.max_components} both constrain W; leave "
                "one out."
            )

    def _updates_and_projections(self):
        """Return two dicts: the update of each factor, and the projection of a start onto the constraints."""
        updates, starts = {"W": HALS(), "H": HALS()}, {}
        for name, sparseness, most in (("H", self.sparseness_H, self.max_features), ("W", self.sparseness_W, None)):
            if most is not None or sparseness is not None:
                project = partial(_top, most=most) if most is not None else partial(hoyer_cone, sparseness=sparseness)
                updates[name], starts[name] = ProjectedColumns(project), partial(np.apply_along_axis, project, 0)
        if self.max_components is not None:
            updates["W"] = SparseCoding(self.max_components)
            starts["W"] = partial(largest_in_rows, most=self.max_components)
        return updates, starts

    def _problem(self, data, factors, tasks, options):
        updates, starts = self._updates_and_projections()
        for name, project in starts.items():
            factors[name][:, : factors.rank] = project(factors[name][:, : factors.rank])
            factors.invalidate(name)
        kind = Frobenius if self.max_components is None else AssignedFrobenius
        loss = kind(data, factors["W"].shape[1], tasks, holds_products=True)
        problem = own_loss_problem(loss, None, factors, tasks, SWEEPS, scale=data.sq_norm)
        problem.updates = updates
        if self.max_components is not None and "H" not in starts:
            problem.reseed_dead_component = loss.reseed_dead_component
        return problem

    def _improved_start(self, data, start, options, random_state):
        if self.max_components is None:
            return start
        W, H, v, V = start
        return np.zeros_like(W), components_of_few(data, H, self.max_components, generator(random_state)), v, V

    def _extrapolation(self, factors, tasks, options):
        return SQUAREM(tasks, factors)

    def _infer_own_W(self, data, H, options):
        if self.max_components is None:
            return super()._infer_own_W(data, H, options)
        return sparse_weights(data, H, self.max_components)

    def _final_exact_W(self, data, fit, options):
        if self.sparseness_W is None:
            super()._final_exact_W(data, fit, options)
