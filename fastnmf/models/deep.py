"""Chains of factors fitted as one: ``X ~ W A_L ... A_1 A_0``."""

import numpy as np

from fastnmf.data import Strata
from fastnmf.descent import infer_stack
from fastnmf.layers import Bottom
from fastnmf.models.options import check_choice
from fastnmf.models.shapes import (
    ShapedTransformer,
    divisors,
    finish_weights,
    padded_factors,
    scale_core,
    shaped_problem,
)
from fastnmf.models.stacked import STARTS, check_sizes
from fastnmf.moves import HALS, MU
from fastnmf.terms.structured import Chain

SWEEPS = 2  # of coordinate descent over W, and over A_0, in one iteration
UPDATES = 3  # of each of the others
TRACE = 1e-3  # of the mean: what is zero in a start could not grow


class DeepNMF(ShapedTransformer):
    """Factorise into a chain, ``X ~ W A_L ... A_1 A_0`` with all factors >= 0, all fitted to X together.

    Level 0, ``A_0``, holds the most topics, in terms of features; those of each further level are made of those of the
    level below, and W holds the weights of the last level. Minimises ``||X - W A_L ... A_0||²``.

    Parameters
    ----------
    n_components : int or sequence of int, default=(4, 2)
        Topics of each level, none more than the one before.
    init : {None, "sequential", "nested", "random", "custom"}, default=None
        None is ``"sequential"``: an NMF of X, one of its weights, and so on. ``"nested"``: an NMF of X for every level,
        and each level's topics in those of the level below. ``"random"``: exponential draws, times the number that
        fits best. ``"custom"``: the W and the layers passed to `fit`.
    solver : {"cd", "mu"}, default="cd"
        ``"cd"``: coordinate descent for W and A_0, multiplicative updates for the layers between; after the last
        iteration W is solved for exactly. ``"mu"``: multiplicative updates for all.
    max_iter : int, default=500
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, and for the start; True stops the fit. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and copies of ``W`` and of ``H``, which is A_0; not scaled.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.

    Attributes
    ----------
    layer_weights_ : list of ndarray
        A_0 (k_0, n_features), A_1 (k_1, k_0), and so on: what each topic is made of on the level below. Rows of sum
        one.
    W_ : ndarray (n_samples, k_L)
        Weights of the last level; carries all the mass.
    components_ : ndarray (k_L, n_features)
        ``A_L ... A_0``, the topics of the last level in terms of features: what `transform` finds weights for.
    level_components_ : list of ndarray (k_l, n_features)
        The same for every level.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Norm of what the model misses.
    normalized_loss_ : float
        The same, over the norm of X.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``; entry 0 is the start. It
        never rises.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    Only the product counts: the fit is that of an NMF with k_L components, at best, and what the chain adds is how they
    come about. `HierarchicalNMF` is another model, in which every level has weights of its own, the least squares of
    those below, and may be asked to explain X by itself.

    *Names*: the source's X is X.T; its Z_1, Z_2, ... are ``A_0.T``, ``A_1.T``, ..., and its H_m is W_.T.

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

    _inits = (None, "sequential", "nested", "random", "custom")

    def __init__(
        self,
        n_components=(4, 2),
        *,
        init=None,
        solver="cd",
        max_iter=500,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.init = init
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def fit(self, X, y=None, *, W=None, layers=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite; sparse X stays sparse. float32 stays float32.
        y : ignored
        W : ndarray (n_samples, k_L), default=None
        layers : list of ndarray, A_0 (k_0, n_features), A_1 (k_1, k_0), and so on, default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        return self._fit(X, W=W, layers=layers)

    def fit_transform(self, X, y=None, *, W=None, layers=None):
        """Fit the model and return W_, (n_samples, k_L); see `fit`."""
        return self._fit(X, W=W, layers=layers).W_

    def _ranks(self):
        return {f"n_components[{level}]": k for level, k in enumerate(check_sizes(self.n_components))}

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("solver", self.solver, ("cd", "mu"))

    def _problem(self, data, rng, given):
        sizes, (n_rows, n_columns) = check_sizes(self.n_components), data.shape
        shapes = dict(zip((f"layers[{level}]" for level, _ in enumerate(sizes)), self._shapes(n_columns), strict=True))
        layers = [None] * len(sizes) if given["layers"] is None else given["layers"]
        if not isinstance(layers, (list, tuple)) or len(layers) != len(sizes):
            expected = ", ".join(str(shape) for shape in shapes.values())
            raise ValueError(f"layers is not valid; expected a list of {len(sizes)} arrays of shapes {expected}.")
        brought = {"W": given["W"], **dict(zip(shapes, layers, strict=True))}
        start = self._given({"W": (n_rows, sizes[-1])} | shapes, brought)
        if start is not None:
            W, A = start[0], start[1:]
            A[0] = np.ldexp(A[0], 2 * data.exponent)
        else:
            W, A = self._drawn(data, sizes, rng)
        names = [f"S{level}" for level, _ in enumerate(sizes)][:0:-1]
        factors, tasks = padded_factors(data, W=W, H=A[0].T, **dict(zip(names, A[:0:-1], strict=True)))
        term = Chain(data, tasks, names)
        if start is None:
            scale_core(term, factors, names[0] if names else "W")
        update = MU.plain(data.dtype)
        ends = HALS() if self.solver == "cd" else update
        n_sweeps, n_updates = (SWEEPS, UPDATES) if self.solver == "cd" else (1, 1)
        moves = {"W": ends, "H": ends} | dict.fromkeys(names, update)
        schedule = (("W", n_sweeps), *((name, n_updates) for name in names), ("H", n_sweeps))
        return shaped_problem(data, term, moves, schedule, tasks), factors

    def _shapes(self, n_columns):
        sizes = check_sizes(self.n_components)
        return list(zip(sizes, (n_columns, *sizes), strict=False))

    def _drawn(self, data, sizes, rng):
        """Return W and the layers of a start that is drawn, without zeros."""
        double = data if data.dtype == np.float64 else Strata.from_array(data.X.astype(np.float64))
        bottom = Bottom(double)
        A = STARTS[self.init or "sequential"](double, bottom, sizes, rng)
        W = infer_stack(bottom, A)[-1]
        W, *A = (F + TRACE * (F.mean() or 1.0) for F in (W, *A))
        return W, [a.T for a in A]

    def _finish(self, data, problem, fit):
        if self.solver == "cd":
            finish_weights(problem, fit)
        W, H, *S = (fit.factors[name].astype(np.float64) for name in ("W", "H", *problem.terms[0].cores[::-1]))
        sums, A, sizes = 1.0, [], self._shapes(data.shape[1])
        for layer, (rows, columns) in zip((H.T, *S), sizes, strict=True):
            layer = layer[:rows, :columns] * sums
            sums = divisors(layer.sum(axis=1))
            A.append((layer / sums[:, None]).astype(data.dtype))
        self.W_ = np.ldexp(W[:, : len(sums)] * sums, -2 * data.exponent).astype(data.dtype)
        self.layer_weights_, self.level_components_ = A, A[:1]
        for layer in A[1:]:
            self.level_components_ = [*self.level_components_, layer @ self.level_components_[-1]]
        self.components_ = self.level_components_[-1]
