"""NMF with orthonormal columns of W, which assigns each row to one cluster.

Scale inside a fit: the data and H are held multiplied by ``4 ** log4_scale``; W has no scale.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from fastnmf.core.factors import allocate
from fastnmf.core.init.clusters import diverse_rows, orthogonal_problem
from fastnmf.core.init.start_from import check_init
from fastnmf.core.losses.products import OrthogonalFrobenius
from fastnmf.core.objectives import squared_problem
from fastnmf.core.options import one_of
from fastnmf.core.updates import MU
from fastnmf.models.base.for_checkers import Callback, Model
from fastnmf.models.base.products import BasisModel, largest, single_weights
from fastnmf.typing import Floats, Integers, Matrix, Seed


class OrthogonalNMF(BasisModel):
    """Cluster the rows of a non-negative matrix: ``X ~ W H`` with W, H >= 0 and orthonormal columns of W.

    A non-negative W with orthogonal columns has one non-zero entry in each row: row i of X is approximated by a
    multiple of the component of its cluster. This is k-means by direction in which long rows weigh more. Minimises
    ``||X - W H||²``. To cluster features, fit ``X.T``.

    Parameters
    ----------
    n_components : int, default=2
        Number of clusters (rows of H), >= 1.
    init : {None, "random", "custom"}, model or Start, default=None
        The start. None takes rows that point in different directions, by the rule of k-means++. ``"random"``: uniform
        random numbers. ``"custom"``: the H passed to `fit`, and also W if the solver is ``"mu"``. A fitted model or a
        `Start`: its components.
    solver : {"em", "mu"}, default="em"
        ``"em"``: each row is assigned to the component that explains most of it, then H is computed. Both steps are
        exact, so the objective is monotone. A cluster that has lost all its rows restarts from the row with the largest
        residual. ``"mu"``: multiplicative updates, which make W only nearly orthogonal; the objective may increase.
    max_iter : int, default=200
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        Relative tolerance, >= 0. The fit stops when the next 100 iterations are expected to lower the objective by less
        than ``tol`` times its value, where a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter`
        iterations.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and copies of the factors ``W`` and ``H``, before the columns of W are scaled
        to length one. The fit stops when it returns True.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    W_ : ndarray (n_samples, n_components) of the dtype of X
        Columns of length one, or zero for clusters without rows. With ``"em"`` each row has at most one entry that is
        not zero, and ``W_.T @ W_`` is the identity for the clusters that have rows.
    components_ : ndarray (n_components, n_features) of the dtype of X
        H, in units of X.
    labels_ : ndarray (n_samples,) of int64
        Cluster of each row, -1 for rows of zeros.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if `tol` ended the fit, or if ``tol=0`` and all `max_iter` iterations were run; False if the fit was
        stopped earlier.
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Norm of the residual, in units of X.
    normalized_loss_ : float
        `reconstruction_err_` divided by the norm of X; 0 for all-zero X.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error) and ``seconds`` (since the start of the
        fit). Entry 0 belongs to the start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    *Names*: the source's X is X.T; its W is ``components_.T`` and its H, with orthonormal rows, is ``W_.T``.

    The fit ends in a local minimum that depends on the start: `n_init` tries several.

    References
    ----------
    F. Pompili, N. Gillis, P.-A. Absil, F. Glineur, "Two algorithms for orthogonal nonnegative matrix factorization with
    application to clustering", Neurocomputing 141, 15-25, 2014 (``"em"``).
    S. Choi, "Algorithms for orthogonal nonnegative matrix factorization", IJCNN 2008 (``"mu"``),
    doi:10.1109/IJCNN.2008.4634046.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import OrthogonalNMF
    >>> X = np.array([[1.0, 2, 0], [2, 4, 0], [0, 0, 3], [0, 1, 6]])
    >>> model = OrthogonalNMF(2, random_state=0).fit(X)
    >>> model.labels_ == model.labels_[0]
    array([ True,  True, False, False])
    """

    init: Literal["random", "custom"] | Model | None
    solver: Literal["em", "mu"]
    labels_: Integers

    _constraints = {
        "init": lambda name, value: check_init(value, (None, "random", "custom")),
        "solver": one_of("em", "mu"),
    }
    _continued = {"W": "W_", "H": "components_"}

    def __init__(
        self,
        n_components: int = 2,
        *,
        init: Literal["random", "custom"] | Model | None = None,
        solver: Literal["em", "mu"] = "em",
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

    def transform(self, X: Matrix) -> Floats:
        """Return the weight of each row of X for the component that explains most of it, zeros for the others.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite.

        Returns
        -------
        ndarray (n_samples, n_components) of the dtype of X
        """
        return single_weights(self, X)

    def predict(self, X: Matrix) -> Integers:
        """Return the cluster of each row of X, ndarray (n_samples,) of int64, -1 for rows of zeros."""
        return largest(np.asarray(self.transform(X)))  # a DataFrame, if `set_output` says so

    def _compose(self, data, given, options, rng):
        rank, (n_rows, n_columns), is_assigned = options.n_components, data.shape, options.solver == "em"
        shapes = {"W": (n_rows, rank), "H": (rank, n_columns)}
        if is_assigned and given.get("W") is not None:
            raise ValueError("solver='em' computes W from H first, so a start of W has no effect; pass H alone.")
        if is_assigned and options.init == "custom":
            shapes = {"H": shapes["H"]}
        start = self._checked_start(shapes, given, options)
        if start is not None:
            *W, H = start
            H = np.ldexp(H, 2 * data.log4_scale)
        else:
            W, H = [] if is_assigned else [rng.random(shapes["W"])], self._components_from_init(data, options)
            if H is None and options.init == "random":
                H = rng.random(shapes["H"])
            elif H is None:
                H = diverse_rows(data, rank, rng) * (1 if is_assigned else 0.9)
            if not is_assigned:
                H = H + 0.1 * data.column_means()  # multiplicative updates cannot change a zero
        if is_assigned:
            return orthogonal_problem(data, H, *W)
        factors, tasks = allocate(data, *W, H.T, None)
        # W first: its update inverts the scale of W, and the following update of H corrects it.
        problem = squared_problem(data, factors, tasks, (("W", 1), ("H", 1)), is_descent=False, holds_products=True)
        problem.losses = [OrthogonalFrobenius(data, factors["W"].shape[1], tasks, holds_products=True)]
        problem.updates = dict.fromkeys("WH", MU.plain(data.dtype))
        return problem, factors

    def _solver(self, data, given, options, random_state):
        solver = super()._solver(data, given, options, random_state)
        solver.counts_start = options.solver == "em"  # the start of "mu" is not orthogonal
        return solver

    def _set_factors(self, data, fit, options):
        W, H = (np.ascontiguousarray(fit.factors[name][:, : options.n_components]) for name in "WH")
        lengths = np.linalg.norm(W, axis=0)  # 1 with "em", except for rounding and clusters without rows
        lengths = np.where((lengths > 0) & (options.solver == "mu"), lengths, 1).astype(W.dtype)
        self.W_, self.components_ = W / lengths, np.ldexp(np.ascontiguousarray((H * lengths).T), -2 * data.log4_scale)
        self.labels_ = largest(W)
