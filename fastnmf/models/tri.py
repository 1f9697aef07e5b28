"""Tri-factorisation ``X ~ W S H``: groups of rows, groups of features, and a table that links them.

Scale inside a fit: the data and S are held multiplied by ``4 ** log4_scale``; W and H have no scale.
"""

from __future__ import annotations

import numbers
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np

from fastnmf.core.factors import padded_factors
from fastnmf.core.inference import finish_weights
from fastnmf.core.init.clusters import block_problem, clusters, drawn_blocks
from fastnmf.core.losses.products import Tri
from fastnmf.core.objectives import scale_core, single_loss_problem
from fastnmf.core.options import check_bool, check_integer, integer, one_of, optional
from fastnmf.core.restarts import has_same_start
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.updates import HALS, MU
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.models.base.for_checkers import Callback
from fastnmf.models.base.products import BasisModel, divisors, single_weights
from fastnmf.typing import Factor, File, Floats, Matrix, Seed

SWEEPS = 2  # of coordinate descent over W, and over H, in one iteration
UPDATES = 3  # of S
RESTARTS = 10  # starts of "em"


def pair_of(value):
    """Return the numbers of groups of rows and of features, for one number or two."""
    return (value, value) if isinstance(value, numbers.Integral) else value


def check_pair(name, value):
    """Raise unless `value` is an integer >= 1, or two."""
    pair = pair_of(value)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"{name}={shown(value)} is not valid; expected an integer >= 1, or two.")
    for part, size in zip((name,) if pair[0] is value else "kl", pair, strict=False):
        check_integer(part, size)


class TriNMF(BasisModel):
    """Factorise ``X ~ W S H`` with W, S, H >= 0: groups of rows (W), groups of features (H), and their table (S).

    Minimises ``||X - W S H||²``. This is co-clustering in which each group of rows may use every group of features.

    Parameters
    ----------
    n_components : int or (int, int), default=2
        Number of groups of rows (k) and of groups of features (l), each >= 1; one number for both.
    orthogonal : bool, default=False
        Whether W and H have orthogonal columns and rows, that is, one group for each row and each feature: exactly with
        ``solver="em"``, and only nearly with the others.
    init : {None, "clusters", "random", "custom"}, default=None
        The start. ``"clusters"``: clusters of the rows and of the features, from a few iterations of `OrthogonalNMF`.
        ``"random"``: uniform random numbers. In both cases S is multiplied by the number for which the model fits best.
        ``"custom"``: the W, S and H passed to `fit`. None means ``"clusters"``, and with ``"em"`` the best of six
        random starts after four iterations. Of a start of ``"em"`` only the largest entry of each row of W and of each
        column of H is kept, and S is computed for them.
    solver : {"cd", "mu", "em"}, default="cd"
        ``"cd"``: coordinate descent for H and W, multiplicative updates for S; after the last iteration W is computed
        exactly for the final S and H. ``"mu"``: multiplicative updates for all three. With ``orthogonal=True`` both are
        multiplicative updates with square roots, which leave W and H only nearly orthogonal (on images of digits the
        largest cosine of two of ten rows of H is 0.3); the objective may increase in single iterations. ``"em"``, for
        ``orthogonal=True`` only: k-means of rows and of features in turn. Each feature, then each row, is assigned to
        the group that explains most of it, with its best weight, and S is computed after each; all steps are exact, so
        the objective is monotone. A group that has lost all its members gets the one that is fitted worst.
    extrapolate : bool, default=True
        Whether W, S and H are extrapolated in cycles of three iterations (SQUAREM); not with ``"em"``.
    max_iter : int, default=1000
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
        ``normalized_loss``, ``seconds``, and copies of the factors ``W`` and ``H``, before they are scaled to sums of
        one. The fit stops when it returns True.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.
    n_init : int, default=None
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. None: 10 with ``"em"``, which ends in a minimum near its start after few iterations, and
        otherwise 1. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    W_ : ndarray (n_samples, k) of the dtype of X
        Memberships of the rows; every column sums to one. With ``"em"`` one entry of a row is not zero.
    S_ : ndarray (k, l) of the dtype of X
        The table that links groups of rows and groups of features; it carries the scale of X.
    H_ : ndarray (l, n_features) of the dtype of X
        Memberships of the features; every row sums to one. With ``"em"`` one entry of a column is not zero.
    components_ : ndarray (k, n_features) of the dtype of X
        ``S_ @ H_``, the components for which `transform` computes weights.
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
    With k = l the model is no more general than ``X ~ W H``; it is useful for k and l that differ, and with
    ``orthogonal=True``. With ``"em"`` `transform` assigns each row to one group, too. *Names*: the source's F, S, G are
    `W_`, `S_` and ``H_.T``.

    References
    ----------
    C. Ding, T. Li, W. Peng, H. Park, "Orthogonal nonnegative matrix tri-factorizations for clustering", KDD 2006,
    doi:10.1145/1150402.1150420 (the model, and ``"mu"``).
    H. Cho, I. S. Dhillon, Y. Guan, S. Sra, "Minimum sum-squared residue co-clustering of gene expression data", SDM
    2004 (k-means of rows and of columns in turn, there with equal weights in a group).

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

    n_components: int | tuple[int, int]
    orthogonal: bool
    init: Literal["clusters", "random", "custom"] | None
    solver: Literal["cd", "mu", "em"]
    extrapolate: bool
    n_init: int | None
    S_: Floats
    H_: Floats

    _constraints = {
        "n_components": check_pair,
        "orthogonal": check_bool,
        "init": one_of(None, "clusters", "random", "custom"),
        "solver": one_of("cd", "mu", "em"),
        "n_init": optional(integer()),
    }
    _continued = {"W": "W_", "S": "S_", "H": "H_"}

    def __init__(
        self,
        n_components: int | tuple[int, int] = 2,
        *,
        orthogonal: bool = False,
        init: Literal["clusters", "random", "custom"] | None = None,
        solver: Literal["cd", "mu", "em"] = "cd",
        extrapolate: bool = True,
        max_iter: int = 1000,
        tol: float = 1e-4,
        random_state: Seed = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_threads: int | None = None,
        n_init: int | None = None,
        warm_start: bool = False,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        W: Factor = None,
        S: Factor = None,
        H: Factor = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 is kept; integers and booleans become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W, S, H : ndarray (n_samples, k), (k, l), (l, n_features), default=None
            Start for ``init="custom"``, non-negative; S carries the scale of X.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs, and from which a fit that was killed continues;
            see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If parameters, data or starts cannot be used. The message says what was given, what was expected and what to
            do.
        """
        return self._fit(X, W=W, S=S, H=H, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    def transform(self, X: Matrix) -> Floats:
        """Return the weights of the rows of X for the fitted components: exact non-negative least squares, row by row.

        With ``solver="em"`` each row has one weight, for the component that explains most of it.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, k)
        """
        return single_weights(self, X) if self.solver == "em" else super().transform(X)

    def _options(self):
        options = super()._options()
        solver = "mu" if self.orthogonal and options.solver == "cd" else options.solver
        has_one = options.solver != "em" or has_same_start(options.init)
        return replace(options, solver=solver, n_init=options.n_init or (1 if has_one else RESTARTS))

    def _check_options(self, options):
        if options.solver == "em" and not self.orthogonal:
            raise ValueError(
                "solver='em' gives each row and each feature one group, but orthogonal=False requests shares; set "
                "orthogonal=True, or use solver='cd'."
            )

    def _compose(self, data, given, options, rng):
        (n_rows, n_columns), (k, m) = data.shape, pair_of(options.n_components)
        start = self._checked_start({"W": (n_rows, k), "S": (k, m), "H": (m, n_columns)}, given, options)
        if start is not None:
            W, S, H = start[0], np.ldexp(start[1], 2 * data.log4_scale), start[2].T
        elif options.init is None and options.solver == "em":
            return drawn_blocks(data, k, m, rng)
        elif options.init == "random":
            W, S, H = rng.random((n_rows, k)), rng.random((k, m)), rng.random((n_columns, m))
        else:
            W, H = clusters(data, k, rng), clusters(Strata.from_array(data.X.T), m, rng)
            S = (W.T @ (data.X @ H)) / np.outer(W.sum(axis=0), H.sum(axis=0))
        if options.solver == "em":
            return block_problem(data, W, H)
        factors, tasks = padded_factors(data, W=W, S=S, H=H)
        loss = Tri(data, tasks, self.orthogonal)
        if start is None:
            scale_core(loss, factors)
        update = MU.plain(data.dtype)
        ends, n_sweeps, n_updates = (update, 1, 1) if options.is_multiplicative else (HALS(), SWEEPS, UPDATES)
        schedule = (("H", n_sweeps), ("W", n_sweeps), ("S", n_updates))
        return single_loss_problem(data, loss, {"W": ends, "H": ends, "S": update}, schedule, tasks), factors

    def _solver(self, data, given, options, random_state):
        solver = super()._solver(data, given, options, random_state)
        solver.counts_start = not self.orthogonal or options.solver == "em"  # the start of "mu" is not orthogonal
        return solver

    def _extrapolation(self, factors, tasks, options):
        return SQUAREM(tasks, factors) if self.extrapolate and options.solver != "em" else None

    def _set_factors(self, data, fit, options):
        if options.solver == "cd":
            finish_weights(fit)
        elif options.solver == "em":  # a group may have been filled after the last iteration
            fit.history["objective"][-1] = fit.problem.value(fit.factors)
        k, m = pair_of(options.n_components)
        W, S, H = (fit.factors[name].astype(np.float64) for name in "WSH")
        W, S, H = W[:, :k], S[:k, :m], H[:, :m].T
        rows, columns = divisors(W.sum(axis=0)), divisors(H.sum(axis=1))
        S = np.ldexp(S * np.outer(rows, columns), -2 * data.log4_scale)
        self.W_, self.S_, self.H_ = (F.astype(data.dtype) for F in (W / rows, S, H / columns[:, None]))
        self.components_ = self.S_ @ self.H_
