"""Models that are fitted a batch of rows at a time: streams, and data that do not fit in memory.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal, Self

from fastnmf.core import batches, passes
from fastnmf.core.alternate import balanced_factors
from fastnmf.core.factors import pad, scaled
from fastnmf.core.init.start_from import starts_among
from fastnmf.core.iterate import as_arrays, iterate
from fastnmf.core.losses.choice import Beta, as_divergence
from fastnmf.core.options import check_bool, check_integer, integer, number, one_of, optional, sweeps_of
from fastnmf.core.thresholds import EXACT_VALUE_BELOW
from fastnmf.core.warn import warn_of_one_penalty, warn_once
from fastnmf.data.annotated import with_layer
from fastnmf.data.design import HasDesign, index_of_rows
from fastnmf.data.readings import Readings
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.io.checkpoints import checkpointing
from fastnmf.kernels.jit import threads
from fastnmf.models.base.callbacks import fit_callbacks
from fastnmf.models.base.for_checkers import BetaLoss, Callback, Init, Iterative, like_fit, with_callbacks
from fastnmf.models.base.nmf import NNDSVD, BaseNMF
from fastnmf.models.base.partial_fit import STARTS, PartialFitMixin
from fastnmf.models.base.takes_readings import keep_source
from fastnmf.typing import Factor, File, Floats, Matrix, Seed, Vector

OTHER_DEFAULTS = {"forget_factor": (1.0, 0.7), "n_components": (10, "auto"), "init": ("features", None)}
BATCH_STARTS = (*dict.fromkeys((*STARTS, *NNDSVD)), "custom")


def _comes_from_scikit_learn(model):
    """Return whether a model has values of parameters that are scikit-learn's and not usual here."""
    of_init = isinstance(model.init, str) and model.init in ("nndsvda", "nndsvdar", "custom") or model.init is None
    return of_init or model.fresh_restarts or model.transform_max_iter is not None or model.max_no_improvement is None


def _one_and(first, rest):
    """Yield the item of the list `first`, without keeping it in memory, and then those of `rest`."""
    yield first.pop()
    yield from rest


class MiniBatchNMF(PartialFitMixin, BaseNMF, Iterative):
    """Factorise a non-negative matrix, ``X ~ W H``, a batch of rows at a time.

    Minimises ``||X - W H||²`` or a divergence over W, H >= 0, as `NMF` does, but updates H after each batch. Use `fit`
    for rows in memory, `fit_blocks` for rows that do not fit in memory, and `partial_fit` for batches that arrive one
    after another.

    Parameters
    ----------
    n_components : int, "auto" or None, default=10
        k, the number of rows of H. ``"auto"`` takes that of the start that is passed or of `init`, or else, as None
        does, the number of features.
    batch_size : int, default=None
        Number of rows of a batch in `fit`. None takes 1024, for sparse data at least a quarter of the number of
        features: each batch updates all of H, which would take most of the time with smaller batches.
    max_iter : int, default=200
        Maximum number of passes of `fit` over the data.
    tol : float, default=1e-4
        `fit` stops after `max_no_improvement` consecutive passes that each lowered the objective by less than `tol`
        times its value. 0 runs exactly `max_iter` passes.
    max_no_improvement : int or None, default=10
        Number of such passes. None: `fit` does not stop because of `tol`.
    forget_factor : float, default=1.0
        From 0 to 1. The stored statistics are multiplied by this factor in a pass of `fit`, a part of it before each
        batch, and before each batch of `partial_fit` and block of `fit_blocks`, so that older rows count less. 1
        forgets nothing and suits fixed data: then no pass of `fit` increases the squared error. 0.95 suits streams that
        change.
    init : {"features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom", None}, model or Start, \
            default="features"
        Start, computed from the first batch; None means ``"features"``, ``"custom"`` the start passed to `fit` or
        to the first `partial_fit`. See `NMF`.
    sweeps : (int, int), default=(2, 2)
        Sweeps of coordinate descent for a batch: over its W in `fit` (elsewhere W is solved for exactly), and over H.
        With missing values they count as in `NMF`.
        With another `beta_loss` both have one multiplicative update.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.
    n_init : int, default=1
        Number of starts that `fit` tries; the result with the lowest objective is kept. No start follows one whose
        normalized loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` and `fit_blocks` start from the components of the previous fit.
    max_time : float, default=None
        Time limit in seconds: after it `fit` begins no further pass, and `fit_blocks` reads no further block. None sets
        no limit.
    callback : callable, default=None
        Called as ``callback(state)`` after every pass, with a `FitState` (``iteration``, ``normalized_loss``,
        ``seconds``, ``W``, ``H``). The fit stops when it returns True.
    alpha_W, alpha_H : float, default=0.0 and "same"
        Strength of the penalties of W and H, as in `NMF`; that of H grows with the number of rows. They count all rows
        and features, even where entries are missing.
    l1_ratio : float, default=0.0
        Share of L1 in these penalties, from 0 (only L2) to 1 (only L1).
    beta_loss : {"frobenius", "kullback-leibler", "itakura-saito"} or float, default="frobenius"
        Beta divergence; see `NMF`. All but ``"frobenius"`` (2) use multiplicative updates, and the statistics are
        numerators and denominators; the objective may then increase in single passes.
    missing_values : {None, "nan", "zeros"}, default=None
        Which entries are unknown, for the squared error; see `NMF`. H then has multiplicative updates as well.
    fresh_restarts : bool, default=False
        Whether `fit` solves for the weights of a batch again whenever it visits it, and at the end for those of all
        rows as `transform` does, instead of continuing from the last visit.
    fresh_restarts_max_iter : int, default=30
        Number of updates in which weights are solved for again with another `beta_loss`, also in `partial_fit` and
        `fit_blocks`; number of sweeps with missing values. Those of the squared error are exact.
    transform_max_iter : int, default=None
        The same in `transform`; None takes `max_iter`.

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
        ``||X - W H||``, or the square root of twice the divergence; after `partial_fit` and `fit_blocks` that of the
        remembered rows, with the weights that they had when they were visited (and, for a divergence, the components
        before that visit).
    normalized_loss_ : float
        The same, divided by that of a trivial model: the norm of the data for the squared error; see `NMF`.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error or the divergence, with penalties),
        ``seconds``, one entry for each pass; only after `fit` and `fit_blocks`.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The statistics of the batches are exact: A and B of the paper's Algorithm 2 are our ``WᵀW`` and ``XᵀW``. Unlike the
    paper, `fit` subtracts the previous contribution of a batch when it visits the batch again, which makes it block
    coordinate descent. For other divergences, a function above the divergence of each batch is kept, and H minimises
    the sum of these functions (Lefevre et al., Algorithm 2, there for Itakura-Saito and without their rescaling of H).

    *Differences from scikit-learn's MiniBatchNMF* are listed in docs/scikit-learn.md.

    References
    ----------
    J. Mairal, F. Bach, J. Ponce, G. Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010,
    Algorithms 1 and 2.
    A. Lefevre, F. Bach, C. Fevotte, "Online algorithms for nonnegative matrix factorization with the Itakura-Saito
    divergence", WASPAA 2011, doi:10.1109/ASPAA.2011.6082314, Algorithm 2.

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

    n_components: int | Literal["auto"] | None
    batch_size: int | None
    max_no_improvement: int | None
    forget_factor: float
    init: Init
    sweeps: tuple[int, int] | list[int]
    alpha_W: float
    alpha_H: float | Literal["same"]
    l1_ratio: float
    beta_loss: BetaLoss
    missing_values: Literal["nan", "zeros"] | None
    fresh_restarts: bool
    fresh_restarts_max_iter: int
    transform_max_iter: int | None

    _constraints = {
        "n_components": optional(
            lambda name, value: (one_of("auto") if isinstance(value, str) else integer())(name, value)
        ),
        "batch_size": optional(integer()),
        "tol": number(),
        "max_no_improvement": optional(integer()),
        "forget_factor": number("a number from 0 to 1", most=1),
        "init": starts_among(*BATCH_STARTS),
        "sweeps": sweeps_of(2, (1, 2)),
        "fresh_restarts": check_bool,
        "fresh_restarts_max_iter": integer(),
        "transform_max_iter": optional(integer()),
    }
    _has_ratios, _not_in_batches, _batch_starts, _unit = True, (), BATCH_STARTS, " passes"

    def __init__(
        self,
        n_components: int | Literal["auto"] | None = 10,
        *,
        batch_size: int | None = None,
        max_iter: int = 200,
        tol: float = 1e-4,
        max_no_improvement: int | None = 10,
        forget_factor: float = 1.0,
        init: Init = "features",
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
        beta_loss: BetaLoss = "frobenius",
        missing_values: Literal["nan", "zeros"] | None = None,
        fresh_restarts: bool = False,
        fresh_restarts_max_iter: int = 30,
        transform_max_iter: int | None = None,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        W: Factor = None,
        H: Factor = None,
        *,
        sample_weight: Vector | None = None,
        layer: str | None = None,
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
        W, H : ndarray (n_samples, k), (k, n_features), default=None
            Start for ``init="custom"``, non-negative.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row, >= 0: weight 2 is the same as repeating the row.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
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
        given = {"W": W, "H": H, "sample_weight": sample_weight}
        return self._fit(X, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every, **given)

    @like_fit
    def fit_transform(self, X: Matrix, y: Any = None, W: Factor = None, H: Factor = None, **given: Any) -> Floats:
        """Fit the model and return the weights of the rows of X, (n_samples, n_components).

        Parameters
        ----------
        X, y, W, H, **given :
            As in `fit`.
        """
        return self.fit(X, y, W, H, **given).W_

    def partial_fit(
        self,
        X: Matrix,
        y: Any = None,
        W: Factor = None,
        H: Factor = None,
        *,
        sample_weight: Vector | None = None,
        layer: str | None = None,
    ) -> Self:
        """Add the rows of X to the statistics, and update the components once.

        The first call on an unfitted model computes the start from X. `W_` belongs to the rows of `fit` and is
        removed.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite.
        y : ignored
        W, H : ndarray (n_samples, k), (k, n_features), default=None
            Start of the first call for ``init="custom"``, non-negative; the weights are solved for, so W may be
            omitted.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row, >= 0.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; None: the one of the first call.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            The data or the start cannot be used, or the data have a different number of features.
        """
        return self._partial_fit(with_layer(X, layer), W=W, H=H, sample_weight=sample_weight)

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
        replaces its share of what the previous pass contributed. Once a pass lowers the objective by less than 1 %,
        shifts and components are updated at the end of a pass only, which makes the squared error monotone. With a
        smaller `forget_factor` rows that come again count as new rows. The fit sets no `W_`; use `transform` to find
        the weights of a block. The objective of a divergence is that of each block when it was visited, before the
        components were updated. `max_iter` and `tol` are not used. No further block is read after `max_time`: the last
        pass is then cut short, and ``n_steps_`` is the number of blocks that were learned. `callback` is called after
        every pass; the W of its state is None.

        Parameters
        ----------
        blocks : iterable of X, or callable that returns one
            Each block is an X as in `partial_fit`; for models with strata, also a pair ``(X, strata)``, or a dict of
            arguments of `partial_fit`, such as ``{"X": X, "strata": labels, "exposure": depth}``. More than one pass,
            or a checkpoint, needs an iterable that can be iterated again (a list, the ``blocks`` of an `open_csr`), or
            a callable. The blocks must be the same each time.
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
        if not callable(blocks) and not hasattr(blocks, "__iter__"):
            raise TypeError(f"blocks is {shown(blocks)}; expected an iterable of blocks of rows, or a function.")
        if not callable(blocks) and iter(blocks) is blocks and (n_passes > 1 or checkpoint is not None):
            why = f"n_passes={n_passes}" if n_passes > 1 else "a fit that continues from a checkpoint reads them again"
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
        self._show(options)
        return self

    # ---------------------------------------------------------------- the fit

    def _options(self):
        options = super()._options()
        has_ratios = not options.is_squared or options.missing_values is not None
        return replace(options, solver="mu") if has_ratios else options

    def _check_options(self, options):
        super()._check_options(options)
        if not isinstance(options.loss, Beta):
            raise ValueError(
                f"{options.loss_given} is a divergence of your own, but batches accept only a name or a number; use "
                "NMF or StratifiedNMF."
            )
        if not self._has_shifts and self.forget_factor == 1 and _comes_from_scikit_learn(self):
            values = {name: getattr(self, name) for name in OTHER_DEFAULTS}
            others = [
                f"{name}={value!r} ({OTHER_DEFAULTS[name][1]!r} there)"
                for name, value in values.items()
                if isinstance(value, (int, float, str)) and value == OTHER_DEFAULTS[name][0]
            ]
            warn_once(
                "MiniBatchNMF",
                f"scikit-learn's MiniBatchNMF has different defaults: {', '.join(others)}; pass what you want.",
            )

    def _rank(self, data, given, options):
        return data.shape[1] if options.n_components is None else super()._rank(data, given, options)

    def _infer_by_divergence(self, data, H, V, options):
        n_updates = options.max_iter if self.transform_max_iter is None else self.transform_max_iter
        return super()._infer_by_divergence(data, H, V, replace(options, max_iter=n_updates))

    def _data(self, X, given, options):
        return self._weighed(X, given, options)

    def _solver(self, data, given, options, random_state):
        warn_of_one_penalty(options)
        parts = batches.split(data, self.batch_size)
        for batch in parts[:2]:
            batch.data.start_transpose()
        first = max(parts, key=lambda batch: batch.data.sq_norm > 0)
        is_custom = isinstance(options.init, str) and options.init == "custom"
        has_all = is_custom or options.is_multiplicative  # their W has to begin somewhere, too
        start, options = data if has_all else first.data, replace(options, random_state=random_state)
        rank = self._rank(data, given, options)
        W, H, v, _ = self._start(start, rank, given, options, random_state)
        statistics = self._empty(rank, options, isinstance(data, HasDesign)).start(start, H, v)
        statistics.forget_factor **= 1 / len(parts)
        if has_all:
            for number, batch in enumerate(parts):
                batch.W = pad(W[number :: len(parts)], data)
        patience = float("inf") if self.max_no_improvement is None else self.max_no_improvement
        if not options.is_multiplicative:
            floor = EXACT_VALUE_BELOW[data.dtype]
            return passes.Passes(statistics, parts, scale=data.sq_norm, patience=patience, cheap_value_floor=floor)
        scale = data.sq_norm
        if not options.is_squared:  # of a copy: that what it holds is freed
            scale = as_divergence(options.loss).build(copy.copy(data), 1, {})[1]
        return passes.RatioPasses(statistics, parts, scale=scale, patience=patience)

    def _block_solver(self, blocks, options, checkpointer):
        """Return the solver of `fit_blocks` at its start, which is computed from the first block."""

        def again():
            return blocks() if callable(blocks) else blocks

        def read(block, known, reset):
            return self._batch(*self._rows_of_block(block), known, options, reset=reset)

        def learn(statistics, block, is_new):
            data = block if isinstance(block, Strata) else read(block, getattr(statistics, "labels", ()), False)
            self._learn(statistics, data, options, is_new=is_new)

        rest = iter(again())
        first = next((read(block, (), True) for block in rest), None)
        if first is None:
            raise ValueError("fit_blocks received no blocks of rows; pass at least one.")
        if checkpointer is not None:
            seed = checkpointer.open(first, {"blocks": "one at a time"}, options, limit="n_passes")
            options = replace(options, random_state=seed)
        statistics = self._started(first, options)
        # Where the first blocks are zero, another start is drawn: the same one also in a fit that was resumed.
        options = replace(options, random_state=copy.deepcopy(options.random_state))
        return passes.BlockPasses(statistics, _one_and([first], rest), again, learn)

    def _rows_of_block(self, block):
        """Return X and the labels of its rows, or None, of a block."""
        if isinstance(block, Readings):
            keep_source(self, block, has_rows=False)
            block = block.named()
        X, strata = block if isinstance(block, tuple) else (block, None)
        if strata is not None:
            raise ValueError("A block has strata, but this model has none; use MiniBatchStratifiedNMF.")
        return X, strata

    def _components_of(self, solver):
        return solver.statistics.components(), solver.statistics.shifts() if self._has_shifts else None

    def _arrays(self, data, solver):
        return self._unscaled_W(data, scaled(solver.weights(), -data.log4_scale)), *self._components_of(solver)

    def _set_factors(self, data, fit, options):
        solver = fit.solver
        self._statistics, self.n_steps_ = solver.statistics, fit.n_iter * len(solver.batches)
        self._show(options)
        if not options.is_multiplicative:
            W, value, penalty = batches.weigh(solver.statistics, data, EXACT_VALUE_BELOW[data.dtype])
            fit.history["objective"][-1], fit.history["penalty"][-1] = value + penalty, penalty
        else:
            if self.fresh_restarts or options.is_squared:
                V = solver.statistics.pattern.dense(solver.statistics.v) if self._has_shifts else None
                solver.set_weights(self._infer_W(data, self._prepared_H(data), V, options))
                fit.history["objective"][-1], fit.history["penalty"][-1] = solver.measure(), solver.penalty
            W = solver.weights()
        self.W_ = self._unscaled_W(data, scaled(W, -data.log4_scale))
        if not (options.W.alpha or options.H.alpha):  # the statistics keep their scale, for `partial_fit`
            self.W_, self.components_, _ = balanced_factors(self.W_, self.components_, data.weight)
        if (index := index_of_rows(data) if self._has_shifts else None) is not None:
            vars(self)["row_strata_"] = index
