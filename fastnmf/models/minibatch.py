"""Models that are fitted a batch of rows at a time: streams, and data that do not fit in memory.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from sklearn.exceptions import ConvergenceWarning

from fastnmf.core import batches, passes
from fastnmf.core.init.start_from import starts_among
from fastnmf.core.iterate import as_arrays, iterate
from fastnmf.core.options import check_integer, check_number, integer, number, optional, sweeps_of
from fastnmf.core.thresholds import EXACT_VALUE_BELOW
from fastnmf.core.warn import first_was, warn, warn_of_y
from fastnmf.data.strata import Strata
from fastnmf.io.checkpoints import checkpointing
from fastnmf.kernels.jit import threads
from fastnmf.models.base.callbacks import fit_callbacks
from fastnmf.models.base.for_checkers import Callback, Iterative, Model, StrataFeatures, WithStrata, with_callbacks
from fastnmf.models.base.nmf import BaseNMF, scaled
from fastnmf.models.base.partial_fit import STARTS, PartialFitMixin
from fastnmf.typing import File, Floats, Labels, Matrix, Names, Seed, SparseOrDense, Vector


def check_forget_factor(name, value):
    """Raise unless `value` is a number above 0 and at most 1."""
    expected = "a number above 0 and at most 1"
    check_number(name, value, expected, most=1)
    if value == 0:
        raise ValueError(f"{name}={value!r} is not valid; expected {expected}.")


def _one_and(first, rest):
    """Yield the item of the list `first`, without keeping it in memory, and then those of `rest`."""
    yield first.pop()
    yield from rest


class MiniBatchNMF(PartialFitMixin, BaseNMF, Iterative):
    """Factorise a non-negative matrix, ``X ~ W H``, a batch of rows at a time.

    Minimises ``||X - W H||²`` over W, H >= 0, as `NMF` does, but updates H after each batch. Use `fit` for rows in
    memory, `fit_blocks` for rows that do not fit in memory, and `partial_fit` for batches that arrive one after
    another.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of rows of H.
    batch_size : int, default=None
        Number of rows of a batch in `fit`. None takes 1024, for sparse data at least a quarter of the number of
        features: each batch updates all of H, which would take most of the time with smaller batches.
    max_iter : int, default=200
        Largest number of passes of `fit` over the data.
    tol : float, default=1e-4
        `fit` stops after `max_no_improvement` consecutive passes that each lowered the objective by less than `tol`
        times its value. 0 makes exactly `max_iter` passes.
    max_no_improvement : int, default=10
        Number of such passes.
    forget_factor : float, default=1.0
        Above 0 and at most 1. The stored statistics are multiplied by this factor before a batch is added, so that
        older batches count less. 1 forgets nothing and suits fixed data: then no pass of `fit` increases the objective.
        0.95 suits streams that change.
    init : {"features", "rows", "random", "nndsvd"}, model or Start, default="features"
        Start, computed from the first batch; see `NMF`.
    sweeps : (int, int), default=(2, 2)
        Sweeps of coordinate descent for a batch: over its W in `fit` (elsewhere W is solved for exactly), and over H.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None takes Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.
    n_init : int, default=1
        Number of starts that `fit` tries; the result with the lowest objective is kept. `max_time` limits the total
        time of all starts.
    warm_start : bool, default=False
        Whether `fit` and `fit_blocks` start from the components of the previous fit.
    max_time : float, default=None
        Time limit in seconds: after it `fit` begins no further pass, and `fit_blocks` reads no further block. None sets
        no limit.
    callback : callable, default=None
        Called as ``callback(state)`` after every pass, with a `FitState` (``iteration``, ``normalized_loss``,
        ``seconds``, ``W``, ``H``). The fit stops when it returns True.
    alpha_W, alpha_H : float, default=0.0 and "same"
        Strength of the penalties of W and H, as in `NMF`; that of H grows with the number of rows.
    l1_ratio : float, default=0.0
        Share of L1 in these penalties, from 0 (only L2) to 1 (only L1).

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows; only after `fit`.
    n_components_ : int
        k.
    n_iter_ : int
        Number of passes over the data; the time limit may cut the last one of `fit_blocks` short.
    n_steps_ : int
        Number of batches visited.
    converged_ : bool
        True if `fit` stopped because of `tol`; only after `fit`.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"`` (all passes were made), ``"max_time"`` or ``"callback"``; only
        after `fit` and `fit_blocks`.
    run_objectives_ : ndarray (n_runs,) of float64
        Objective after the last pass from each start; only after `fit`. All other attributes belong to the start with
        the lowest objective.
    reconstruction_err_ : float
        ``||X - W H||``; after `partial_fit` and `fit_blocks` that of the remembered rows, with the weights that they
        had when they were visited.
    normalized_loss_ : float
        The same over the norm of the data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``, one entry for each pass;
        only after `fit` and `fit_blocks`.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The statistics of the batches are exact: A and B of the paper's Algorithm 2 are our ``WᵀW`` and ``XᵀW``. Unlike the
    paper, `fit` subtracts the former contribution of a batch when it visits the batch again, which makes it block
    coordinate descent.

    References
    ----------
    J. Mairal, F. Bach, J. Ponce, G. Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010,
    Algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.models.minibatch import MiniBatchNMF
    >>> X = np.outer([1.0, 2, 3, 4], [1.0, 0, 2])
    >>> model = MiniBatchNMF(1, random_state=0).partial_fit(X[:2]).partial_fit(X[2:])
    >>> (model.transform(X) @ model.components_).round(2)
    array([[1., 0., 2.],
           [2., 0., 4.],
           [3., 0., 6.],
           [4., 0., 8.]])
    """

    batch_size: int | None
    max_no_improvement: int
    forget_factor: float
    init: Literal["features", "rows", "random", "nndsvd"] | Model
    sweeps: tuple[int, int] | list[int]
    alpha_W: float
    alpha_H: float | Literal["same"]
    l1_ratio: float

    _constraints = {
        "batch_size": optional(integer()),
        "tol": number(),
        "max_no_improvement": integer(),
        "forget_factor": check_forget_factor,
        "init": starts_among(*STARTS),
        "sweeps": sweeps_of(2, (1, 2)),
    }

    def __init__(
        self,
        n_components: int = 10,
        *,
        batch_size: int | None = None,
        max_iter: int = 200,
        tol: float = 1e-4,
        max_no_improvement: int = 10,
        forget_factor: float = 1.0,
        init: Literal["features", "rows", "random", "nndsvd"] | Model = "features",
        sweeps: tuple[int, int] | list[int] = (2, 2),
        random_state: Seed = None,
        n_threads: int | None = None,
        verbose: int = 0,
        n_init: int = 1,
        warm_start: bool = False,
        max_time: float | None = None,
        callback: Callback | None = None,
        alpha_W: float = 0.0,
        alpha_H: float | Literal["same"] = "same",
        l1_ratio: float = 0.0,
    ):
        self._set(locals())

    def fit(self, X: Matrix, y: Any = None, *, checkpoint: File = None, checkpoint_every: float = 60.0) -> Self:
        """Fit rows that are in memory, batch after batch, in several passes.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 stays float32; all other types become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs, also between two batches, and from which a fit
            that was killed continues; see `NMF.fit`.
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
        return self._fit(X, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    def fit_transform(
        self, X: Matrix, y: Any = None, *, checkpoint: File = None, checkpoint_every: float = 60.0
    ) -> Floats:
        """Fit the model and return the weights of the rows of X, (n_samples, n_components).

        Parameters
        ----------
        X, y, checkpoint, checkpoint_every :
            As in `fit`.
        """
        return self._fit(X, checkpoint=checkpoint, checkpoint_every=checkpoint_every).W_

    @with_callbacks
    def fit_blocks(
        self,
        blocks: Iterable[Any] | Callable[[], Iterable[Any]],
        n_passes: int = 1,
        *,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit data that do not fit in memory: only one block of rows is held at a time.

        One pass learns from each block once, as `partial_fit` does. In later passes with ``forget_factor=1`` each block
        replaces its share of what the pass before has contributed. Once a pass lowers the objective by less than 1 %,
        shifts and components are updated at the end of a pass only, which makes the objective monotone. With a smaller
        `forget_factor` rows that come again count as new rows. The fit sets no `W_`; use `transform` to find the
        weights of a block. `max_iter` and `tol` are not used. No further block is read after `max_time`: the last pass
        is then cut short, and ``n_steps_`` tells how many blocks were learned. `callback` is called after every pass;
        the W of its state is None.

        Parameters
        ----------
        blocks : iterable of X, or callable that returns one
            Each block is an X as in `partial_fit`; for models with strata also a pair ``(X, strata)``. More than one
            pass, or a checkpoint, needs an iterable that can be iterated again (a list, the ``blocks`` of an
            `open_csr`), or a callable. The blocks must be the same each time.
        n_passes : int, default=1
            Number of passes over the blocks.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved between two blocks. A fit that was killed is called again with
            the same blocks and the same file, skips the blocks that its pass has learned already, and ends with the
            same bits. The file is recognised by the parameters and the first block.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As `partial_fit`; also if there is no block, if an iterator is given for more than one pass or with a
            checkpoint, or if the passes differ.
        """
        options = self._options_of_batches("fit_blocks")
        check_integer("n_passes", n_passes)
        if not callable(blocks) and iter(blocks) is blocks and (n_passes > 1 or checkpoint is not None):
            why = f"n_passes={n_passes}" if n_passes > 1 else "a fit that goes on from a checkpoint reads them again"
            raise ValueError(f"blocks can be iterated only once, but {why}; pass a list or a function.")
        options = replace(options, max_iter=n_passes, tol=0.0)
        with (
            threads(options.n_threads),
            checkpointing(self, checkpoint, checkpoint_every) as checkpointer,
            fit_callbacks(self, options, None) as callbacks,
        ):
            solver = self._block_solver(blocks, options, checkpointer)
            callbacks.arrays = lambda: (None, *self._components_of(solver))
            fit = iterate(
                solver,
                max_iter=n_passes,
                tol=0.0,
                callback=callbacks if callbacks.is_needed else None,
                max_time=options.max_time,
                checkpoint=checkpointer,
            )
        self._delete_attributes("W_", "row_strata_", "converged_", "run_objectives_")
        self._statistics, self.n_iter_, self.n_steps_ = solver.statistics, fit.n_iter, solver.n_learned
        self.stopped_by_, self.history_ = fit.stopped_by, as_arrays(fit.history, solver.scale)
        self._show()
        return self

    # ---------------------------------------------------------------- the fit

    def _data(self, X, given, options):
        return Strata.from_array(X, given.get("strata"))

    def _solver(self, data, given, options, random_state):
        parts = batches.split(data, self.batch_size)
        for batch in parts[:2]:
            batch.data.start_transpose()
        first = max(parts, key=lambda batch: batch.data.sq_norm > 0).data
        statistics = self._started(first, replace(options, random_state=random_state))
        rules = {"patience": self.max_no_improvement, "cheap_value_floor": EXACT_VALUE_BELOW[data.dtype]}
        return passes.Passes(statistics, parts, scale=data.sq_norm, **rules)

    def _block_solver(self, blocks, options, checkpointer):
        """Return the solver of `fit_blocks` at its start, which is computed from the first block."""

        def again():
            return blocks() if callable(blocks) else blocks

        def read(block, known, reset):
            X, strata = block if isinstance(block, tuple) else (block, None)
            if strata is not None and not self._has_shifts:
                raise ValueError("A block has strata, but this model has none; use MiniBatchStratifiedNMF.")
            return self._batch(X, strata, known, reset=reset)

        def learn(statistics, block, is_new):
            data = block if isinstance(block, Strata) else read(block, getattr(statistics, "labels", ()), False)
            self._learn(statistics, data, options, is_new=is_new)

        rest = iter(again())
        first = next((read(block, (), True) for block in rest), None)
        if first is None:
            raise ValueError("fit_blocks was given no block of rows; pass at least one block.")
        if checkpointer is not None:
            seed = checkpointer.open(first, {"blocks": "one at a time"}, options, limit="n_passes")
            options = replace(options, random_state=seed)
        statistics = self._started(first, options)
        # Where the first blocks are zero, another start is drawn: the same one also in a fit that was resumed.
        options = replace(options, random_state=copy.deepcopy(options.random_state))
        return passes.BlockPasses(statistics, _one_and([first], rest), again, learn)

    def _components_of(self, solver):
        return solver.statistics.components(), solver.statistics.shifts() if self._has_shifts else None

    def _arrays(self, data, solver):
        return scaled(solver.weights(), -data.log4_scale), *self._components_of(solver)

    def _set_factors(self, data, fit, options):
        solver = fit.solver
        W, value, penalty = batches.weigh(solver.statistics, data, EXACT_VALUE_BELOW[data.dtype])
        fit.history["objective"][-1], fit.history["penalty"][-1] = value + penalty, penalty
        self._statistics, self.W_ = solver.statistics, scaled(W, -data.log4_scale)
        self.n_steps_ = fit.n_iter * len(solver.batches)
        if self._has_shifts:
            vars(self)["row_strata_"] = data.stratum_index
        self._show()

    def _warn(self, fit, options):
        if fit.stopped_by == "max_iter" and not fit.converged:
            warn(
                f"The fit stopped at max_iter={options.max_iter} passes before the objective converged to "
                f"tol={options.tol:g}; raise max_iter, or raise tol.",
                ConvergenceWarning,
            )


class MiniBatchStratifiedNMF(MiniBatchNMF, WithStrata):
    """Factorise a non-negative matrix whose rows come in groups, ``A(i) ~ 1 v(i)ᵀ + W(i) H``, a batch at a time.

    Minimises ``sum_i ||A(i) - 1 v(i)ᵀ - W(i) H||²`` over v, W, H >= 0, as `StratifiedNMF` does, but updates v and H
    after each batch. Use `fit` for rows in memory, `fit_blocks` for rows that do not fit in memory, and `partial_fit`
    for batches that arrive one after another. New strata may appear in any batch.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of rows of H.
    batch_size : int, default=None
        Number of rows of a batch in `fit`. None takes 1024, for sparse data at least a quarter of the number of
        features: each batch updates all of H, which would take most of the time with smaller batches.
    max_iter : int, default=200
        Largest number of passes of `fit` over the data.
    tol : float, default=1e-4
        `fit` stops after `max_no_improvement` consecutive passes that each lowered the objective by less than `tol`
        times its value. 0 makes exactly `max_iter` passes.
    max_no_improvement : int, default=10
        Number of such passes.
    forget_factor : float, default=1.0
        Above 0 and at most 1. The stored statistics of all strata are multiplied by this factor before a batch is
        added, so that older batches count less. 1 forgets nothing and suits fixed data: then no pass of `fit` increases
        the objective. 0.95 suits streams that change.
    init : {"features", "rows", "random", "nndsvd"}, model or Start, default="features"
        Start, computed from the first batch; see `StratifiedNMF`.
    sweeps : (int, int, int) or "thorough", default=(2, 1, 2)
        Coordinate descent for a batch: sweeps over its W in `fit` (elsewhere W is solved for exactly); alternations of
        v and H; sweeps over H in each alternation. A last update of v follows. ``"thorough"`` is (3, 3, 1).
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None takes Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.
    n_init : int, default=1
        Number of starts that `fit` tries; the result with the lowest objective is kept. `max_time` limits the total
        time of all starts.
    warm_start : bool, default=False
        Whether `fit` and `fit_blocks` start from the shifts and components of the previous fit.
    max_time : float, default=None
        Time limit in seconds: after it `fit` begins no further pass, and `fit_blocks` reads no further block. None sets
        no limit.
    callback : callable, default=None
        Called as ``callback(state)`` after every pass, with a `FitState` (``iteration``, ``normalized_loss``,
        ``seconds``, ``W``, ``H``, ``V``). The fit stops when it returns True.
    alpha_W, alpha_H : float, default=0.0 and "same"
        Strength of the penalties of W and H, as in `NMF`; that of H grows with the number of rows.
    l1_ratio : float, default=0.0
        Share of L1 in these penalties, from 0 (only L2) to 1 (only L1).

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H, the shared components.
    shifts_ : ndarray (n_strata, n_features)
        v(i), one row for each stratum, in the order of `strata_`.
    strata_ : ndarray (n_strata,)
        Labels of the strata seen so far, in sorted order.
    stratum_sizes_ : ndarray (n_strata,) of float64
        Number of remembered rows of each stratum, in the order of `strata_`.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows; only after `fit`.
    row_strata_ : ndarray (n_samples,) of int
        Stratum of each training row, as an index into `strata_`; only after `fit`.
    n_components_ : int
        k.
    n_iter_ : int
        Number of passes over the data; the time limit may cut the last one of `fit_blocks` short.
    n_steps_ : int
        Number of batches visited.
    converged_ : bool
        True if `fit` stopped because of `tol`; only after `fit`.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"`` (all passes were made), ``"max_time"`` or ``"callback"``; only
        after `fit` and `fit_blocks`.
    run_objectives_ : ndarray (n_runs,) of float64
        Objective after the last pass from each start; only after `fit`. All other attributes belong to the start with
        the lowest objective.
    reconstruction_err_ : float
        Norm of the residual; after `partial_fit` and `fit_blocks` that of the remembered rows, with the weights that
        they had when they were visited.
    normalized_loss_ : float
        The same over the norm of the data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``, one entry for each pass;
        only after `fit` and `fit_blocks`.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The weights of the first rows of a new stratum are found with the mean shift of the strata so far. From then on the
    stratum has its own shift, the best fit to all its remembered rows. The shifts have the same gauge freedom as in
    `StratifiedNMF`.

    References
    ----------
    J. Chapman, Y. Yaniv, D. Needell, "Stratified-NMF for Heterogeneous Data", 2023, arXiv:2311.10789 (the model).
    J. Mairal, F. Bach, J. Ponce, G. Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010,
    Algorithms 1 and 2 (the statistics).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.models.minibatch import MiniBatchStratifiedNMF
    >>> model = MiniBatchStratifiedNMF(1, random_state=0)
    >>> model = model.partial_fit(np.array([[1.0, 0, 5], [2, 0, 5]]), strata=["a", "a"])
    >>> model = model.partial_fit(np.array([[3.0, 1, 0], [6, 2, 0]]), strata=["b", "b"])
    >>> model.strata_.tolist(), model.shifts_.shape
    (['a', 'b'], (2, 3))
    """

    sweeps: tuple[int, int, int] | list[int] | Literal["thorough"]

    _constraints = MiniBatchNMF._constraints | {"sweeps": sweeps_of(3, (2, 1, 2))}
    _has_shifts = True
    __metadata_request__fit = {"strata": True}
    __metadata_request__fit_transform = {"strata": True}
    __metadata_request__transform = {"strata": True}
    __metadata_request__inverse_transform = {"strata": True}
    __metadata_request__score = {"strata": True}
    __metadata_request__partial_fit = {"strata": True}

    if TYPE_CHECKING:

        def top_features(self, n: int = 10, feature_names: Names | None = None) -> StrataFeatures: ...

    def __init__(
        self,
        n_components: int = 10,
        *,
        batch_size: int | None = None,
        max_iter: int = 200,
        tol: float = 1e-4,
        max_no_improvement: int = 10,
        forget_factor: float = 1.0,
        init: Literal["features", "rows", "random", "nndsvd"] | Model = "features",
        sweeps: tuple[int, int, int] | list[int] | Literal["thorough"] = (2, 1, 2),
        random_state: Seed = None,
        n_threads: int | None = None,
        verbose: int = 0,
        n_init: int = 1,
        warm_start: bool = False,
        max_time: float | None = None,
        callback: Callback | None = None,
        alpha_W: float = 0.0,
        alpha_H: float | Literal["same"] = "same",
        l1_ratio: float = 0.0,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        strata: Labels | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit rows that are in memory, batch after batch, in several passes.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 stays float32; all other types become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        strata : array-like (n_samples,), default=None
            Label of each row, in any order. None is a single stratum.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs, also between two batches, and from which a fit
            that was killed continues; see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters, data or labels cannot be used. The message says what was given, what was expected and what to
            do.
        """
        warn_of_y(self, y, strata)
        return self._fit(X, strata=strata, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    def fit_transform(
        self,
        X: Matrix,
        y: Any = None,
        *,
        strata: Labels | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Floats:
        """Fit the model and return the weights of the rows of X, (n_samples, n_components).

        Parameters
        ----------
        X, y, strata, checkpoint, checkpoint_every :
            As in `fit`.
        """
        warn_of_y(self, y, strata)
        return self._fit(X, strata=strata, checkpoint=checkpoint, checkpoint_every=checkpoint_every).W_

    def partial_fit(self, X: Matrix, y: Any = None, *, strata: Labels | None = None) -> Self:
        """Add the rows of X to the statistics, and update the shifts and the components once.

        The first call on a model that is not fitted computes the start from X. `fit` keeps no data: after it, the
        model's approximation replaces the rows of `fit`. `W_` belongs to the rows of `fit` and is removed.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite.
        y : ignored
        strata : array-like (n_samples,), default=None
            Label of each row. New labels become new strata; `strata_` stays sorted, so the rows of `shifts_` may change
            their positions. May be omitted for a model of one stratum.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            The data or labels cannot be used, the number of features is another one, or the loss is not the squared
            error.
        """
        warn_of_y(self, y, strata)
        return self._partial_fit(X, strata)

    def transform(self, X: Matrix, *, strata: Labels | None = None) -> Floats:
        """Return the exact non-negative weights of the rows of X for the shifts and components.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), default=None
            Label of each row, one of `strata_`. None is allowed for a model with one stratum.

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        return self._transform(X, strata)

    @first_was("W")
    def inverse_transform(self, X: SparseOrDense, *, strata: Labels | None = None) -> Floats:
        """Return the rows ``v + w H``, dense (n_samples, n_features), for weights X (n_samples, n_components)."""
        return self._inverse_transform(X, strata)

    def score(
        self, X: Matrix, y: Any = None, *, strata: Labels | None = None, sample_weight: Vector | None = None
    ) -> float:
        """Return the share of the squared norm of X that the model explains, at most 1; larger is better.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : ignored
            Present for compatibility with scikit-learn.
        strata : array-like (n_samples,), default=None
            Label of each row, one of `strata_`. None is allowed for a model with one stratum.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row's squared error and squared norm.

        Returns
        -------
        float
        """
        return self._score(X, strata, sample_weight)
