"""Deep NMF: a chain of factors fitted together, ``X ~ W A_L ... A_1 A_0``.

Inner scale: the data and A_0 are held multiplied by ``4 ** log4_scale``, all other factors as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np

from fastnmf.core.descent import infer_stack
from fastnmf.core.factors import padded_factors
from fastnmf.core.inference import finish_weights
from fastnmf.core.losses.products import Chain
from fastnmf.core.objectives import scale_core, single_loss_problem
from fastnmf.core.options import one_of
from fastnmf.core.stack import DataLayer
from fastnmf.core.updates import HALS, MU
from fastnmf.models.base.estimator import continued, without_zeros
from fastnmf.models.base.for_checkers import Callback
from fastnmf.models.base.products import BasisModel, divisors
from fastnmf.models.hierarchy.init import STARTS, check_sizes, continued_layers
from fastnmf.typing import Dense, Factor, File, Floats, Matrix, Seed

SWEEPS = 2  # sweeps of coordinate descent over W, and over A_0, in one iteration
UPDATES = 3  # multiplicative updates of each other factor in one iteration
TRACE = 1e-3  # added to a start, relative to the mean: multiplicative updates cannot leave a zero


class DeepNMF(BasisModel):
    """Factorise into a chain of factors, all >= 0, all fitted to X together.

    The model is ``X ~ W A_L ... A_1 A_0``. Level 0, ``A_0``, has the most topics, each a combination of features. The
    topics of each further level are combinations of those of the level below. W holds the weights of the last level.
    Minimises ``||X - W A_L ... A_0||²``.

    Parameters
    ----------
    n_components : int or sequence of int, default=(4, 2)
        Number of topics of each level, >= 1, from level 0 on; no level has more than the level before. An integer
        means one level, as in `NMF`.
    init : {None, "sequential", "nested", "random", "custom"}, default=None
        None means ``"sequential"``: an NMF of X, then an NMF of its weights, and so on. ``"nested"``: an NMF of X for
        every level; then the topics of each level are expressed by those of the level below. ``"random"``: exponential
        draws, multiplied by the number that fits best. ``"custom"``: the W and the layers passed to `fit`.
    solver : {"cd", "mu"}, default="cd"
        ``"cd"``: coordinate descent for W and A_0, multiplicative updates for the layers between; after the last
        iteration W is solved for exactly. ``"mu"``: multiplicative updates for all.
    max_iter : int, default=500
        Maximum number of iterations.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the objective by less than `tol` times its value, where
        a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration; returning True stops the fit. `state` has
        ``iteration``, ``normalized_loss``, ``seconds``, and copies of ``W`` and of ``H``, which is A_0, before the
        layers are normalised.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    layer_weights_ : list of ndarray of the dtype of X
        A_0 (k_0, n_features), A_1 (k_1, k_0), and so on: each topic as a combination of the topics of the level below.
        Each row sums to one, or is zero.
    W_ : ndarray (n_samples, k_L) of the dtype of X
        Weights of the last level, in units of X.
    components_ : ndarray (k_L, n_features) of the dtype of X
        ``A_L ... A_0``, the topics of the last level as combinations of features; their rows sum to one, too.
        `transform` finds weights for them.
    level_components_ : list of ndarray (k_l, n_features)
        ``A_l ... A_0``, the topics of every level l as combinations of features.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if the fit stopped because of `tol`, or, with ``tol=0``, after `max_iter` iterations.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Norm of the residual.
    normalized_loss_ : float
        Norm of the residual over the norm of X.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``; entry 0 is the start. The
        objective is monotone: it does not increase.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The loss depends on the product of the layers only: the fit is at best that of an NMF with k_L components, and the
    chain adds how these are composed. In `HierarchicalNMF` every level has its own weights, the least-squares solution
    for those of the level below, and its own error.

    *Names*: the source's X is X.T; its Z_1, Z_2, ... are ``A_0.T``, ``A_1.T``, ..., and its H_m is ``W_.T``.

    References
    ----------
    G. Trigeorgis, K. Bousmalis, S. Zafeiriou, B. Schuller, "A deep matrix factorization method for learning attribute
    representations", IEEE TPAMI 2017, doi:10.1109/TPAMI.2016.2554555 (the chain and its start, for data of any sign).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import DeepNMF
    >>> fine = np.kron(np.eye(4), np.ones((1, 3)))  # four fine topics of three words each
    >>> coarse = np.kron(np.eye(2), np.ones((1, 2)))  # two coarse ones, each made of two of them
    >>> X = np.random.default_rng(0).random((40, 2)) @ coarse @ fine
    >>> model = DeepNMF((4, 2), random_state=0).fit(X)
    >>> [layer.shape for layer in model.layer_weights_], model.normalized_loss_ < 0.01
    ([(4, 12), (2, 4)], True)
    """

    n_components: int | Sequence[int]
    init: Literal["sequential", "nested", "random", "custom"] | None
    solver: Literal["cd", "mu"]
    layer_weights_: list[Floats]
    level_components_: list[Floats]

    _constraints = {
        "n_components": lambda name, value: check_sizes(value),
        "init": one_of(None, "sequential", "nested", "random", "custom"),
        "solver": one_of("cd", "mu"),
    }
    _continued = {"W": "W_", "layers": "layer_weights_"}

    def __init__(
        self,
        n_components: int | Sequence[int] = (4, 2),
        *,
        init: Literal["sequential", "nested", "random", "custom"] | None = None,
        solver: Literal["cd", "mu"] = "cd",
        max_iter: int = 500,
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
        layers: Sequence[Dense] | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite; sparse X stays sparse. float32 stays float32; all other types become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W : ndarray (n_samples, k_L), default=None
            Start of the weights for ``init="custom"``, >= 0.
        layers : list of ndarray, A_0 (k_0, n_features), A_1 (k_1, k_0), and so on, default=None
            Start of the layers for ``init="custom"``, >= 0.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs, and from which a fit that was killed continues;
            see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters, data or start cannot be used. The message says what was given, what was expected and what to
            do.
        """
        return self._fit(X, W=W, layers=layers, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    def _compose(self, data, given, options, rng):
        start = self._checked_start(shapes_of(options, data.shape), given, options)
        W, *A = self._drawn(data, options, rng) if start is None else start
        if start is not None:
            A[0] = np.ldexp(A[0], 2 * data.log4_scale)
        names = [f"S{level}" for level, _ in enumerate(A)][:0:-1]  # of A_1, A_2, ...; A_0ᵀ is H
        factors, tasks = padded_factors(data, W=W, H=A[0].T, **dict(zip(names, A[:0:-1], strict=True)))
        loss = Chain(data, tasks, names)
        if start is None:
            scale_core(loss, factors, names[0] if names else "W")
        update, is_descent = MU.plain(data.dtype), not options.is_multiplicative
        ends = HALS() if is_descent else update
        n_sweeps, n_updates = (SWEEPS, UPDATES) if is_descent else (1, 1)
        updates = {"W": ends, "H": ends} | dict.fromkeys(names, update)
        schedule = (("W", n_sweeps), *((name, n_updates) for name in names), ("H", n_sweeps))
        return single_loss_problem(data, loss, updates, schedule, tasks), factors

    def _checked_start(self, shapes, given, options):
        """Return W and the layers of a start that the user or the previous fit gives, or None; see the base class."""
        W_shape, *of_layers = shapes.values()
        layers = [None] * len(of_layers) if given["layers"] is None else given["layers"]
        if not isinstance(layers, (list, tuple)) or len(layers) != len(of_layers):
            expected = ", ".join(str(shape) for shape in of_layers)
            raise ValueError(f"layers is not valid; expected a list of {len(of_layers)} arrays of shapes {expected}.")
        brought = dict(zip(shapes, (given["W"], *layers), strict=True))
        start = super()._checked_start(shapes, brought, replace(options, warm_start=False))
        if start is not None or not self._goes_on(options):
            return start
        A = continued_layers(self.layer_weights_, of_layers, options)
        # All layers but A_0 are updated by multiplication, which cannot leave a zero.
        return [continued("W", self.W_, W_shape, options), A[0], *(without_zeros(a) for a in A[1:])]

    def _drawn(self, data, options, rng):
        """Return W (n_rows, k_L) and the layers A_0, A_1, ... of a start from `init`, float64, without zeros."""
        double = data.in_scale(np.float64, data.log4_scale)
        bottom = DataLayer(double)
        A = STARTS[options.init or "sequential"](double, bottom, check_sizes(options.n_components), rng)
        W = infer_stack(bottom, A)[-1]
        W, *A = (F + TRACE * (F.mean() or 1.0) for F in (W, *A))
        return [W, *(a.T for a in A)]

    def _set_factors(self, data, fit, options):
        """Set the fitted arrays; rows of the layers sum to one. After coordinate descent W is solved for exactly."""
        if not options.is_multiplicative:
            finish_weights(fit)
        W, H, *S = (fit.factors[name].astype(np.float64) for name in ("W", "H", *fit.problem.losses[0].cores[::-1]))
        sums, A, sizes = 1.0, [], list(shapes_of(options, data.shape).values())[1:]
        for layer, (rows, columns) in zip((H.T, *S), sizes, strict=True):
            layer = layer[:rows, :columns] * sums
            sums = divisors(layer.sum(axis=1))
            A.append((layer / sums[:, None]).astype(data.dtype))
        self.W_ = np.ldexp(W[:, : len(sums)] * sums, -2 * data.log4_scale).astype(data.dtype)
        self.layer_weights_, self.level_components_ = A, A[:1]
        for layer in A[1:]:
            self.level_components_ = [*self.level_components_, layer @ self.level_components_[-1]]
        self.components_ = self.level_components_[-1]


def shapes_of(options, shape):
    """Return the shapes of W and the layers A_0, A_1, and so on, by name, for data of a shape."""
    sizes = check_sizes(options.n_components)
    layers = zip(sizes, (shape[1], *sizes), strict=False)
    return {"W": (shape[0], sizes[-1])} | {f"layers[{level}]": each for level, each in enumerate(layers)}
