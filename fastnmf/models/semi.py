"""Semi-NMF: non-negative weights and components of any sign.

Scale inside a fit: the data and H are held multiplied by ``4 ** log4_scale``; W has no scale.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np

from fastnmf.core import init as starts
from fastnmf.core.alternate import balanced_factors
from fastnmf.core.factors import allocate, pad
from fastnmf.core.inference import infer
from fastnmf.core.init.start_from import check_init
from fastnmf.core.losses import Frobenius
from fastnmf.core.objectives import single_loss_problem
from fastnmf.core.updates import ActiveSet, LeastSquares
from fastnmf.models.base.for_checkers import Callback, Model
from fastnmf.models.base.products import BasisModel
from fastnmf.typing import Factor, File, Matrix, Seed


class SemiNMF(BasisModel):
    """Factorise data of any sign, ``X ~ W H`` with W >= 0 and H of any sign.

    The weights add up, while the components may have negative entries. Minimises ``||X - W H||²`` by computing H and W
    in turn, both exactly, so the objective is monotone.

    Parameters
    ----------
    n_components : int, default=2
        Number of components (rows of H), >= 1.
    init : {None, "svd", "random", "custom"}, model or Start, default=None
        The start. None means ``"svd"``: a column of ones, and the left singular vectors, to each of which the constant
        is added that makes it non-negative. With this start the result is at least as good as the best approximation of
        rank ``n_components - 1`` of any sign. ``"random"``: uniform random numbers. ``"custom"``: the W passed to
        `fit`. A fitted model or a `Start`: its components, with the weights that fit X best for them.
    max_iter : int, default=200
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        Relative tolerance, >= 0. The fit stops when the next 100 iterations are expected to lower the objective by less
        than ``tol`` times its value, where a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter`
        iterations.
    random_state : None, int, Generator or RandomState, default=None
        Source of random numbers for ``"random"``, and for components beyond the number of singular vectors of X.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and copies of the factors ``W`` and ``H``. The fit stops when it returns True.
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
        W, non-negative and dimensionless.
    components_ : ndarray (n_components, n_features) of the dtype of X
        H, of any sign, in units of X.
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
    *Names*: the source's X is X.T; its W, of any sign, is ``components_.T`` and its H is ``W_.T``.

    If columns of W are linearly dependent, H is the solution of least norm (by a pseudo-inverse), so components with
    the same weights share their part evenly. For non-negative data use `NMF`.

    References
    ----------
    C. Ding, T. Li, M. I. Jordan, "Convex and semi-nonnegative matrix factorizations", IEEE TPAMI 2010,
    doi:10.1109/TPAMI.2008.277 (the model; its multiplicative update takes five to ten times as many iterations).
    N. Gillis, A. Kumar, "Exact and heuristic algorithms for semi-nonnegative matrix factorization", SIAM Journal on
    Matrix Analysis and Applications 36(4), 1404-1424, 2015 (the start).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import SemiNMF
    >>> X = np.array([[1.0, -1], [2, -2], [-1, 3], [0, 2]])
    >>> model = SemiNMF(2).fit(X)
    >>> np.allclose(model.W_ @ model.components_, X), bool((model.W_ >= 0).all())
    (True, True)
    """

    init: Literal["svd", "random", "custom"] | Model | None

    _constraints = {"init": lambda name, value: check_init(value, (None, "svd", "random", "custom"))}
    _continued = {"W": "W_", "H": "components_"}
    _is_signed = True

    def __init__(
        self,
        n_components: int = 2,
        *,
        init: Literal["svd", "random", "custom"] | Model | None = None,
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
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Finite, of any sign; a sparse X is not made dense. float32 is kept; integers and booleans become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W : ndarray (n_samples, k), default=None
            Start for ``init="custom"``, non-negative and dimensionless.
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
        return self._fit(X, W=W, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    def _n_runs(self, options):
        return 1 if options.init is None else super()._n_runs(options)  # None is "svd"

    def _compose(self, data, given, options, rng):
        rank, (n_rows, n_columns) = options.n_components, data.shape
        shapes = {"W": (n_rows, rank)} if options.init == "custom" else {"W": (n_rows, rank), "H": (rank, n_columns)}
        start, H = self._checked_start(shapes, given, options), np.zeros((n_columns, rank))  # H is computed first
        if start is not None:
            W, H = start[0], np.ldexp(start[1].T, 2 * data.log4_scale) if len(start) > 1 else H
        else:
            W, passed_on = rng.random((n_rows, rank)), self._components_from_init(data, options)
            if passed_on is not None:
                W = infer(data, rank, pad(passed_on.T, data), None)[0][:, :rank]
            elif options.init in (None, "svd"):
                n_triplets = min(max(rank - 1, 1), n_rows - 1, n_columns - 1)
                W = _shifted_singular_start(starts.singular(data, n_triplets), W)
        factors, tasks = allocate(data, W, H, None)
        loss = Frobenius(data, factors["W"].shape[1], tasks, holds_products=True)
        updates = {"H": LeastSquares(), "W": ActiveSet()}
        return single_loss_problem(data, loss, updates, (("H", 1), ("W", 1)), tasks), factors

    def _set_factors(self, data, fit, options):
        W, H = (np.ascontiguousarray(fit.factors[name][:, : options.n_components]) for name in "WH")
        self.W_, self.components_, _ = balanced_factors(W, np.ldexp(np.ascontiguousarray(H.T), -2 * data.log4_scale))


def _shifted_singular_start(triplets, W):
    """Return a copy of W (n, k) whose first columns are ones and shifted singular vectors; others are unchanged.

    `triplets` yields (u, s, w) of the singular value decomposition. Each u gets the sign with the larger positive
    entry, is shifted by a constant to be non-negative and divided by its largest absolute value. With k = 1 the only
    column is the non-negative part of the first u.
    """
    W = W.copy()
    if W.shape[1] == 1:
        for u, _, _ in triplets:
            W[:, 0] = np.maximum(u if u.sum() >= 0 else -u, 0)
        return W
    W[:, 0] = 1.0
    for c, (u, _, _) in enumerate(triplets):
        u = u if u.max() >= -u.min() else -u
        W[:, c + 1] = (u - min(u.min(), 0)) / np.abs(u).max()
    return W
