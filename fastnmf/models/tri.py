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
from fastnmf.core.init.clusters import clusters
from fastnmf.core.losses.products import Tri
from fastnmf.core.objectives import scale_core, single_loss_problem
from fastnmf.core.options import check_bool, check_integer, one_of
from fastnmf.core.updates import HALS, MU
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.models.base.for_checkers import Callback
from fastnmf.models.base.products import BasisModel, divisors
from fastnmf.typing import Factor, File, Floats, Matrix, Seed

SWEEPS = 2  # of coordinate descent over W, and over H, in one iteration
UPDATES = 3  # of S


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
        Whether W and H are driven towards orthonormal columns and rows, that is, towards one group for each row and
        each feature. This uses multiplicative updates with square roots, which give nearly orthogonal factors; the
        objective may increase in single iterations.
    init : {None, "clusters", "random", "custom"}, default=None
        The start. None is ``"clusters"``: clusters of the rows and of the features, from a few iterations of
        `OrthogonalNMF`. ``"random"``: uniform random numbers. In both cases S is multiplied by the number for which the
        model fits best. ``"custom"``: the W, S and H passed to `fit`.
    solver : {"cd", "mu"}, default="cd"
        ``"cd"``: coordinate descent for H and W, multiplicative updates for S; after the last iteration W is computed
        exactly for the final S and H. ``"mu"``: multiplicative updates for all three. ``orthogonal=True`` always uses
        ``"mu"``.
    max_iter : int, default=200
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        Relative tolerance, >= 0. The fit stops when the next 100 iterations are expected to lower the objective by less
        than ``tol`` times its value. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers that the start uses.
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
    n_init : int, default=1
        Number of starts that are tried; the result with the lowest objective is kept. `max_time` limits the total time
        of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    W_ : ndarray (n_samples, k) of the dtype of X
        Memberships of the rows; every column sums to one.
    S_ : ndarray (k, l) of the dtype of X
        The table that links groups of rows and groups of features; it carries the scale of X.
    H_ : ndarray (l, n_features) of the dtype of X
        Memberships of the features; every row sums to one.
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
    ``orthogonal=True``. *Names*: the source's F, S, G are `W_`, `S_` and ``H_.T``.

    References
    ----------
    C. Ding, T. Li, W. Peng, H. Park, "Orthogonal nonnegative matrix tri-factorizations for clustering", KDD 2006,
    doi:10.1145/1150402.1150420.

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
    solver: Literal["cd", "mu"]
    S_: Floats
    H_: Floats

    _constraints = {
        "n_components": check_pair,
        "orthogonal": check_bool,
        "init": one_of(None, "clusters", "random", "custom"),
        "solver": one_of("cd", "mu"),
    }
    _continued = {"W": "W_", "S": "S_", "H": "H_"}

    def __init__(
        self,
        n_components: int | tuple[int, int] = 2,
        *,
        orthogonal: bool = False,
        init: Literal["clusters", "random", "custom"] | None = None,
        solver: Literal["cd", "mu"] = "cd",
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
            Layer of an AnnData that holds the matrix in place of its X; see `NMF.fit`.
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

    def _options(self):
        options = super()._options()
        return replace(options, solver="mu") if self.orthogonal else options

    def _compose(self, data, given, options, rng):
        (n_rows, n_columns), (k, m) = data.shape, pair_of(options.n_components)
        start = self._checked_start({"W": (n_rows, k), "S": (k, m), "H": (m, n_columns)}, given, options)
        if start is not None:
            W, S, H = start[0], np.ldexp(start[1], 2 * data.log4_scale), start[2].T
        elif options.init == "random":
            W, S, H = rng.random((n_rows, k)), rng.random((k, m)), rng.random((n_columns, m))
        else:
            W, H = clusters(data, k, rng), clusters(Strata.from_array(data.X.T), m, rng)
            S = (W.T @ (data.X @ H)) / np.outer(W.sum(axis=0), H.sum(axis=0))
        factors, tasks = padded_factors(data, W=W, S=S, H=H)
        loss = Tri(data, tasks, self.orthogonal)
        if start is None:
            scale_core(loss, factors)
        update = MU.plain(data.dtype)
        ends, n_sweeps, n_updates = (update, 1, 1) if options.is_multiplicative else (HALS(), SWEEPS, UPDATES)
        schedule = (("H", n_sweeps), ("W", n_sweeps), ("S", n_updates))
        return single_loss_problem(data, loss, {"W": ends, "H": ends, "S": update}, schedule, tasks), factors

    def _set_factors(self, data, fit, options):
        if not options.is_multiplicative:
            finish_weights(fit)
        k, m = pair_of(options.n_components)
        W, S, H = (fit.factors[name].astype(np.float64) for name in "WSH")
        W, S, H = W[:, :k], S[:k, :m], H[:, :m].T
        rows, columns = divisors(W.sum(axis=0)), divisors(H.sum(axis=1))
        S = np.ldexp(S * np.outer(rows, columns), -2 * data.log4_scale)
        self.W_, self.S_, self.H_ = (F.astype(data.dtype) for F in (W / rows, S, H / columns[:, None]))
        self.components_ = self.S_ @ self.H_
