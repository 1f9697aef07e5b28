"""Meta-NMF: learn components on many small tasks and transfer them to a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.init.starts import Start
from fastnmf.core.options import check_bool, check_integer, generator, integer, number, one_of, optional
from fastnmf.core.shifts import normalize_components
from fastnmf.data.annotated import unpack, with_labels, with_layer
from fastnmf.data.labels import known_labels
from fastnmf.data.matrix import as_csr
from fastnmf.data.readings import Readings
from fastnmf.data.sentences import shown
from fastnmf.models.base.estimator import Estimator, continued
from fastnmf.models.base.for_checkers import Callback, ClassNamePrefixFeaturesOutMixin, Runs, TransformerMixin
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.models.base.row_names import keep_row_names
from fastnmf.models.base.top_features import top_features
from fastnmf.models.meta.epochs import Epochs, side_by_side
from fastnmf.models.meta.refits import Refit, as_argument, check_refittable, weights_for
from fastnmf.models.nmf import NMF
from fastnmf.typing import File, Floats, Integers, Labels, Matrix, Names, Ranking, Seed


@keep_row_names
class MetaNMF(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator, Runs):
    """Learn components on small tasks, transfer them to a larger target, and repeat: Meta-NMF of Khan 2025.

    In every epoch each task is factorised for a few iterations, starting at the sum of the shared components and its
    own. Then the target is factorised, starting at the sum of the shared components and the mean of the components of
    the tasks. The components of the target are the shared components of the next epoch. The factorisations are done by
    any estimator of this package that can start at given components.

    Parameters
    ----------
    estimator : NMF, GraphNMF, StratifiedNMF, SparseNMF, SmoothNMF or RobustNMF, default=None
        Not fitted. All fits use its solver, loss, rank and penalties, but not its `max_iter` and `tol`. The source uses
        ``NMF(r, solver="mu")``; None is that with r = 10.
    n_tasks : int, default=5
        Number of tasks drawn from X; not used if `tasks` are given to `fit`.
    task_size : int, default=50
        Rows of each task.
    n_outer : int, default=50
        Number of epochs.
    n_inner : int, default=100
        Iterations of every fit in an epoch.
    inner_tol : float, default=1e-4
        `tol` of these fits. 0 runs all `n_inner` iterations, as the source does: most of the later ones change nothing,
        since every fit begins where the epoch before has ended.
    accumulate : bool, default=False
        Whether the components of the tasks are summed over all epochs so far, instead of taken from the last epoch.
    disjoint : bool, default=True
        True: no row is in two tasks, and the target consists of the remaining rows. False: every task is drawn from all
        rows, and the target consists of all rows.
    start : {"uniform", "estimator"}, default="uniform"
        Components of a task before the first epoch: uniform on [0, 1), or computed by the estimator's own `init` from
        the data of the task.
    patience : int, default=None
        Stop when the loss of the target has not decreased for this number of epochs; None: never.
    tol : float, default=1e-4
        A decrease counts if it is larger than `tol` times the lowest loss so far.
    random_state : None, int, Generator or RandomState, default=None
        Seed of starts and tasks.
    n_jobs : int, default=None
        Number of tasks that are fitted at the same time, in threads; None is one. The result does not depend on it.
    verbose : int, default=0
        1 shows progress on standard error.
    n_init : int, default=1
        Number of starts to try, each with its own tasks and first components; the result with the lowest
        objective, the loss of the target, is kept. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether the shared components of the first epoch are the `components_` of the previous fit instead of zero.
    max_time : float, default=None
        Time limit in seconds: no further epoch begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` after every epoch, with a `FitState` (``iteration``, ``normalized_loss``,
        ``seconds``, and ``W``, ``H`` of the target). The fit stops when it returns True.
    n_threads : int, default=None
        Number of threads of the kernels; None uses that of the estimator. The result has the same bits for any number
        of threads.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        The shared components; the largest entry of each is one.
    W_ : ndarray (n_target_samples, n_components)
        Weights of the rows of the target.
    estimator_ : estimator
        The estimator fitted to the target in the last epoch.
    reconstruction_err_, normalized_loss_ : float
        As in `estimator_`.
    target_rows_ : ndarray (n_target_samples,) of int
        Rows of X in the target.
    task_rows_ : list of ndarray of int
        Rows of X in each task; empty if the tasks were given.
    n_iter_ : int
        Number of epochs.
    n_updates_ : int
        Iterations of all fits together: the budget, for comparison with a plain fit. The cost of an iteration is
        proportional to the number of rows of the task or target.
    converged_ : bool
        Whether `patience` ended the epochs.
    stopped_by_ : str
        ``"max_iter"`` after `n_outer` epochs, ``"patience"``, ``"max_time"`` or ``"callback"``.
    history_ : dict of ndarray
        ``iteration``, also as ``epoch``; ``normalized_loss`` and ``objective`` (the loss) of the target after each
        epoch; ``task_losses`` (n_epochs, n_tasks), the normalized loss of each task after its fit; ``seconds``.
    run_objectives_ : ndarray of float
        Final objective of every start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    *Names*: the source has samples as columns. Its W_t, W_si are `components_` and the components of task i,
    transposed; its H are weights; X_t, X_s, X_e are target, tasks and the data of `adapt`.

    *Differences from the source.* The printed algorithm cannot be run, and the published program differs from it. This
    class does the following:

    1. W_t is zero before the first epoch, as in the program; the text draws it at random, too.
    2. W_t is added once, before the fit of a task, as in the program; the text adds it again after the fit.
    3. A fit alternates W and H for `n_inner` iterations; the text prints single steps with ``H = Wᵀ X`` in between.
       That product is the start of the weights (for coordinate descent: the exact weights for the components).
    4. After every fit the components are scaled to a largest entry of one, as in the program, and the weights
       inversely; without a common scale the sum of components is meaningless.
    5. The mean is over the tasks of the epoch, as printed, with equal weights; the program does not use the step sizes
       alpha_i. The program does not reset its sum, so that after k epochs the target's own components have weight
       1 / (k + 1) in its start: ``accumulate=True``.
    6. An epoch is steps 2 to 9; line 11 repeats 2 to 7.
    7. Line 13 exchanges W and H, and weights of the target cannot start those of other data: `adapt` uses the
       components only.
    8. Tasks have 50 rows and share none with each other or with the target, as in the text. The program draws 5 times
       100 rows from all rows, which are also the target: ``disjoint=False, task_size=100``.
    9. ``start="estimator"`` with ``init="nndsvd"`` is Meta-NMF-NNDSVD of the text (tables 4.6, 4.9); in the program
       this variant is NNDSVD of the new data without transfer, whose numbers the tables print.
    10. The second stage updates the components, too (`adapt`), which makes it transductive; `transform` does not.
    11. Zeros in the components that start a multiplicative fit are replaced by a thousandth of the mean: otherwise a
        feature that occurs in no task would keep weight zero. Without such zeros the iterations are those of the
        program.

    12. A fit ends before `n_inner` iterations where it has converged; ``inner_tol=0`` is the source's.
    13. In sparse tasks, the fits leave out features that have no entry there. From the first iteration on the
        components are zero there in any case; its weights differ.

    *Budget*. A fit costs at most ``n_outer * n_inner`` iterations of the target and as many of every task. Compare it
    with a plain fit of as many iterations; the source does not report this comparison.

    References
    ----------
    Khan, thesis of 2025 on Meta-NMF, Algorithm 1 with eq. 3.2 and 3.4; its program: github.com/akhan232/meta-nmf.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF, MetaNMF
    >>> rng = np.random.default_rng(0)
    >>> X = rng.random((60, 3)) @ rng.random((3, 20))
    >>> model = MetaNMF(NMF(3, solver="mu"), task_size=8, n_outer=5, n_inner=20, random_state=0).fit(X[:50])
    >>> model.components_.shape, model.W_.shape, model.history_["task_losses"].shape
    ((3, 20), (10, 3), (5, 5))
    >>> model.adapt(X[50:]).W_.shape  # ten rows more, from the shared components on
    (10, 3)
    """

    estimator: BaseNMF | None
    n_tasks: int
    task_size: int
    n_outer: int
    n_inner: int
    inner_tol: float
    accumulate: bool
    disjoint: bool
    start: Literal["uniform", "estimator"]
    patience: int | None
    tol: float
    random_state: Seed
    n_jobs: int | None
    components_: Floats
    W_: Floats
    estimator_: Any
    target_rows_: Integers
    task_rows_: list[Integers]
    n_updates_: int

    _constraints = {
        "estimator": optional(check_refittable),
        "n_tasks": integer(),
        "task_size": integer(),
        "n_outer": integer(),
        "n_inner": integer(),
        "inner_tol": number(),
        "tol": number(),
        "accumulate": check_bool,
        "disjoint": check_bool,
        "start": one_of("uniform", "estimator"),
        "patience": optional(integer()),
    }
    _continued = {"H": "components_"}
    _fitted_shapes = {"components_": "km", "estimator_": ""}
    __metadata_request__fit = {"strata": True}
    __metadata_request__transform = {"strata": True}

    def __init__(
        self,
        estimator: BaseNMF | None = None,
        *,
        n_tasks: int = 5,
        task_size: int = 50,
        n_outer: int = 50,
        n_inner: int = 100,
        inner_tol: float = 1e-4,
        accumulate: bool = False,
        disjoint: bool = True,
        start: Literal["uniform", "estimator"] = "uniform",
        patience: int | None = None,
        tol: float = 1e-4,
        random_state: Seed = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        n_init: int = 1,
        warm_start: bool = False,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_threads: int | None = None,
    ):
        self._set(locals())

    @property
    def _n_features_out(self):
        return self.components_.shape[0]

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        tasks: Sequence[Any] | None = None,
        strata: Labels | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Learn components on the tasks and the target.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored
        tasks : list, default=None
            Tasks from other data: matrices with the features of X, or pairs ``(matrix, strata)``. All rows of X are
            then the target. None: the tasks are drawn from X.
        strata : array-like (n_samples,), default=None
            Labels of the rows, for an estimator with strata. Shifts are not shared between fits.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File of the state of the fit, which is saved between epochs; see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Parameters, data or tasks that cannot be used.
        """
        if tasks is not None:
            if not hasattr(tasks, "__iter__") or isinstance(tasks, (str, bytes)):
                raise TypeError(f"tasks is {shown(tasks)}; expected a list of matrices, or of pairs (X, strata).")
            tasks = [task if isinstance(task, tuple) and len(task) == 2 else (task, None) for task in tasks]
            if not self._uses_of_rows(is_fit=True):  # of labels
                tasks = [(task.named() if isinstance(task, Readings) else task, labels) for task, labels in tasks]
            tasks = [unpack(with_layer(task, layer), labels) for task, labels in tasks]
        with side_by_side(self.n_jobs) as self._each:
            self._fit(
                X, tasks=tasks, strata=strata, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every
            )
        del self._each
        return self

    def _options(self):
        options = super()._options()
        return replace(options, max_iter=self.n_outer, n_threads=self._base().n_threads)

    def _check_options(self, options):
        if self.start == "estimator" and self._base().init == "custom":
            raise ValueError(
                "start='estimator' needs an init that computes a start; the estimator has init='custom'. Use another."
            )

    def _data(self, X, given, options):
        """Return the rows of target and tasks, and their labels or None."""
        strata = given.get("strata")
        strata = None if strata is None else known_labels(strata, "strata", X.shape[0])
        return as_csr(X) if sp.issparse(X) else X, strata

    def _identity(self, data):
        base = self._base()
        return BaseNMF._observed(base, data[0], base._options(), data[1])

    def _solver(self, data, given, options, random_state):
        """Prepare the target and the tasks, and compute the first components of each task.

        Random numbers are drawn in the order of the published program: first all starts, then the rows of every task.

        Parameters
        ----------
        data : (sparse matrix or ndarray (n_samples, n_features), ndarray (n_samples,) or None)
            Rows and labels.
        given : dict
            Arguments of `fit`; its tasks are pairs (matrix, labels or None).
        options : Options
        random_state : None, int, Generator or RandomState
            Seed of this run.

        Returns
        -------
        Epochs
        """
        X, tasks, base, rng = data[0], given.get("tasks"), self._base(), generator(random_state)
        rank = X.shape[1] if isinstance(base.n_components, str) else base.n_components
        n_tasks = self.n_tasks if tasks is None else len(tasks)
        if n_tasks == 0:
            raise ValueError("tasks is an empty list; give at least one matrix, or None to draw tasks from X.")
        own = [rng.random((X.shape[1], rank)).T for _ in range(n_tasks if self.start == "uniform" else 0)]
        rows = np.arange(X.shape[0]), []
        if tasks is None:
            rows = self._draw_rows(X.shape[0], rng)
            tasks = [_part(data, of_task) for of_task in rows[1]]
            data = _part(data, rows[0]) if self.disjoint else data
        seeds = rng.integers(1 << 32, size=n_tasks + 1).tolist()
        more = {"max_iter": self.n_inner, "tol": self.inner_tol}
        target = Refit(base, *data, seeds[0], **more)
        refits = [Refit(base, *task, seed, is_task=True, **more) for task, seed in zip(tasks, seeds[1:], strict=True)]
        for i, refit in enumerate(refits):
            if refit.n_features != X.shape[1]:
                raise ValueError(
                    f"Task {i} has {refit.n_features} features, but X has {X.shape[1]}; tasks and target share "
                    "components, so bring them to the same features."
                )
        if self.start == "estimator":
            own = [refit.own_start(seed) for refit, seed in zip(refits, seeds[1:], strict=True)]
        shared = np.zeros(own[0].shape)
        if self._goes_on(options):
            shared = continued("components_", self.components_, shared.shape, options)
        return Epochs(target, refits, rows, shared, own, self._each, self.accumulate, self.patience)

    def _draw_rows(self, n_rows, rng):
        """Return the rows of the target, and those of every task, drawn with the generator `rng`."""
        wanted = self.n_tasks * self.task_size if self.disjoint else self.task_size
        if wanted + self.disjoint > n_rows:
            what = f"{self.n_tasks} disjoint tasks" if self.disjoint else "Tasks"
            target = ", and the target needs at least one" if self.disjoint else ""
            raise ValueError(
                f"{what} of {self.task_size} rows need {wanted} samples{target}; X has n_samples={n_rows}. Lower "
                "task_size or n_tasks, or set disjoint=False."
            )
        if self.disjoint:
            order = rng.permutation(n_rows)
            return np.sort(order[wanted:]), [np.sort(part) for part in np.split(order[:wanted], self.n_tasks)]
        return np.arange(n_rows), [rng.choice(n_rows, self.task_size, replace=False) for _ in range(self.n_tasks)]

    def _arrays(self, data, solver):
        target = solver.target
        return target.model._arrays(target.data, solver.fit.solver)

    def _set_factors(self, data, fit, options):
        epochs = fit.solver
        (self.target_rows_, self.task_rows_), self.n_updates_ = epochs.rows, epochs.n_updates
        self.estimator_ = epochs.target.finish(epochs.fit)
        self.W_, self.components_ = normalize_components(self.estimator_.W_, self.estimator_.components_, "max")

    def _record(self, data, fit, options):
        super()._record(fit.solver.target.data, fit, options)
        self.history_["epoch"] = self.history_["iteration"]
        for name in ("reconstruction_err_", "normalized_loss_"):
            setattr(self, name, getattr(self.estimator_, name))

    def _warn(self, fit, options):
        """Warn of nothing: without `patience`, `n_outer` epochs are what was requested."""

    def top_features(
        self, n: int = 10, feature_names: Names | None = None, *, by: Ranking | None = None
    ) -> list[list[str]]:
        """Return the names of at most n features of each component, strongest first; see `NMF.top_features`."""
        return top_features(self, n, feature_names, by)

    def transform(self, X: Matrix, *, strata: Labels | None = None) -> Floats:
        """Return the non-negative weights of the rows of X for the fitted components, (n_samples, n_components).

        They are those of the estimator's own `transform`. See `adapt` for the second stage of the source.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), default=None
            Labels of the rows, for an estimator with strata.
        """
        check_is_fitted(self)
        X, strata = with_labels(X, strata)
        X = self._validated(X, reset=False)
        W = self.estimator_.transform(X, **as_argument(strata, self.estimator_))
        return W * self.estimator_.components_.max(axis=1)

    def adapt(self, X: Matrix, *, n_iter: int | None = None, strata: Labels | None = None) -> Any:
        """Factorise new data, starting at the shared components, and update these: the second stage of the source.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        n_iter : int, default=None
            Iterations; None is `n_inner`.
        strata : array-like (n_samples,), default=None
            Labels of the rows, for an estimator with strata.

        Returns
        -------
        estimator
            A fitted copy of the estimator: `W_` are the weights of the rows of X; `components_` started at the shared
            components.
        """
        check_is_fitted(self)
        if n_iter is not None:
            check_integer("n_iter", n_iter)
        X, strata = with_labels(X, strata)
        X, H = self._validated(X, reset=False), self.components_.astype(np.float64)
        base = self._base()
        W = weights_for(X, H) if base._options().is_multiplicative else None
        shifts, labels = getattr(self.estimator_, "shifts_", None), getattr(self.estimator_, "strata_", None)
        model = clone(base).set_params(
            init=Start(H, W=W, shifts=shifts, strata=labels),
            max_iter=self.n_inner if n_iter is None else n_iter,
            tol=self.inner_tol,
        )
        return model.fit(X, **as_argument(strata, model))

    def _uses_of_rows(self, is_fit):
        return ("strata",) if self._base()._has_shifts else ()

    def _base(self):
        """Return the estimator, not fitted, with the number of threads of this fit."""
        base = NMF(10, solver="mu") if self.estimator is None else self.estimator
        return base if self.n_threads is None else clone(base).set_params(n_threads=self.n_threads)


def _part(data, rows):
    """Return rows and labels of some rows, given as indices."""
    X, strata = data
    return X[rows], None if strata is None else strata[rows]
