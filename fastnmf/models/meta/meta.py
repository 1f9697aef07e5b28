"""Meta-NMF: learn components on many small tasks and transfer them to a target."""

import time
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data

from fastnmf.core.init.starts import Start
from fastnmf.core.options import check_bool, check_choice, check_integer, check_number, generator
from fastnmf.core.progress import progress
from fastnmf.core.shifts import normalize_components
from fastnmf.data.annotated import is_annotated, unpack
from fastnmf.data.matrix import as_csr, check_kind
from fastnmf.kernels.jit import threads
from fastnmf.models.base.fitted_state import check_fitted_arrays
from fastnmf.models.base.saving import SaveMixin
from fastnmf.models.meta.refits import Refit, check_refittable, weights_for
from fastnmf.models.nmf import NMF

STARTS = ("uniform", "estimator")


class MetaNMF(SaveMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
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
    inner_tol : float, default=0.0
        `tol` of these fits; 0 runs all `n_inner` iterations.
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
        A decrease counts if it is larger than `tol` times the least loss so far.
    random_state : None, int, Generator or RandomState, default=None
        Seed of starts and tasks.
    n_jobs : int, default=None
        Number of tasks that are fitted at the same time, in threads; None is one. The result does not depend on it.
    verbose : int, default=0
        1 shows progress on standard error.

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
    stopped_by_ : str
        ``"max_iter"`` after `n_outer` epochs, or ``"patience"``.
    history_ : dict of ndarray
        ``epoch``; ``normalized_loss`` of the target after each epoch; ``task_losses`` (n_epochs, n_tasks), the
        normalized loss of each task after its fit; ``seconds``.
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
    9. ``start="estimator"`` with ``init="nndsvda"`` is Meta-NMF-NNDSVD of the text; in the program this variant is
       NNDSVD without transfer.
    10. The second stage updates the components, too (`adapt`), which makes it transductive; `transform` does not.
    11. Zeros in the components that start a multiplicative fit are replaced by a thousandth of the mean: otherwise a
        feature that occurs in no task would keep weight zero. Without such zeros the iterations are those of the
        program.

    *Budget*. A fit costs ``n_outer * n_inner`` iterations of the target and as many of every task. Compare it with a
    plain fit of as many iterations; the source does not report this comparison.

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

    _private_state = ("_names",)
    _fitted_shapes = {"components_": "km", "estimator_": ""}
    __metadata_request__fit = {"strata": True}
    __metadata_request__transform = {"strata": True}

    def __init__(
        self,
        estimator=None,
        *,
        n_tasks=5,
        task_size=50,
        n_outer=50,
        n_inner=100,
        inner_tol=0.0,
        accumulate=False,
        disjoint=True,
        start="uniform",
        patience=None,
        tol=1e-4,
        random_state=None,
        n_jobs=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_tasks = n_tasks
        self.task_size = task_size
        self.n_outer = n_outer
        self.n_inner = n_inner
        self.inner_tol = inner_tol
        self.accumulate = accumulate
        self.disjoint = disjoint
        self.start = start
        self.patience = patience
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return self.components_.shape[0]

    def fit(self, X, y=None, *, tasks=None, strata=None):
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

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Parameters, data or tasks that cannot be used.
        """
        self._check_parameters()
        self._names = X.var_names if is_annotated(X) else None
        X, strata = unpack(X, strata)
        X = self._validated(X, reset=True)
        strata = None if strata is None else np.asarray(strata)
        with threads(self._base().n_threads):
            target, refits, own = self._prepare_tasks(X, strata, tasks, generator(self.random_state))
            self._learn(target, refits, own)
        return self

    def _prepare_tasks(self, X, strata, tasks, rng):
        """Prepare the target and the tasks, and compute the first components of each task.

        Random numbers are drawn in the order of the published program: first all starts, then the rows of every task.

        Parameters
        ----------
        X : sparse matrix or ndarray (n_samples, n_features)
            Validated.
        strata : ndarray (n_samples,), or None
        tasks : list, or None
            As in `fit`.
        rng : numpy.random.Generator

        Returns
        -------
        target : Refit
        refits : list of Refit
            The tasks.
        own : list of ndarray (k, n_features)
            First components of each task.
        """
        rank = self._base().n_components
        rank = X.shape[1] if isinstance(rank, str) else rank
        n_tasks = self.n_tasks if tasks is None else len(tasks)
        if n_tasks == 0:
            raise ValueError("tasks is an empty list; give at least one matrix, or None to draw tasks from X.")
        own = [rng.random((X.shape[1], rank)).T for _ in range(n_tasks if self.start == "uniform" else 0)]
        self.task_rows_, self.target_rows_ = [], np.arange(X.shape[0])
        if tasks is None:
            self._draw_rows(X.shape[0], rng)
            tasks = [(X[rows], None if strata is None else strata[rows]) for rows in self.task_rows_]
        else:
            tasks = [task if isinstance(task, tuple) else (task, None) for task in tasks]
        if self.disjoint and len(self.task_rows_):
            X, strata = X[self.target_rows_], None if strata is None else strata[self.target_rows_]
        seeds = rng.integers(1 << 32, size=n_tasks + 1).tolist()
        laid_out = [Refit(self._base(), *task, seed) for task, seed in zip([(X, strata), *tasks], seeds, strict=True)]
        for i, refit in enumerate(laid_out):
            if refit.data.shape[1] != X.shape[1]:
                raise ValueError(
                    f"Task {i - 1} has {refit.data.shape[1]} features, and X has {X.shape[1]}; tasks and target share "
                    "components, so bring them to the same features."
                )
        if self.start == "estimator":
            own = [refit.own_start(seed) for refit, seed in zip(laid_out[1:], seeds[1:], strict=True)]
        return laid_out[0], laid_out[1:], own

    def _draw_rows(self, n_rows, rng):
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
            self.task_rows_ = [np.sort(part) for part in np.split(order[:wanted], self.n_tasks)]
            self.target_rows_ = np.sort(order[wanted:])
        else:
            self.task_rows_ = [rng.choice(n_rows, self.task_size, replace=False) for _ in range(self.n_tasks)]

    def _learn(self, target, refits, own):
        """Run the epochs; `own` holds the first components of every task, (k, n_features) each."""
        history = {"epoch": [], "normalized_loss": [], "task_losses": [], "seconds": []}
        shared, total, began, best = np.zeros(own[0].shape), 0.0, time.perf_counter(), (np.inf, 0)
        stopped_by, epoch = None, 0
        with progress(type(self).__name__, self.n_outer, self.verbose) as show, _side_by_side(self.n_jobs) as each:
            while stopped_by is None:
                epoch += 1
                found = each(_refitted, [(refit, shared + H, self) for refit, H in zip(refits, own, strict=True)])
                own = [H for H, _ in found]
                total = sum(own) + (total if self.accumulate else 0.0)
                H, loss, ended = target.run(shared + total / len(own), self.n_inner, self.inner_tol)
                shared, seconds = _unit_max(H), time.perf_counter() - began
                for name, entry in zip(history, (epoch, loss, [loss for _, loss in found], seconds), strict=True):
                    history[name].append(entry)
                if show is not None:
                    show(epoch, loss, seconds)
                best = (loss, epoch) if loss < (1 - self.tol) * best[0] else best
                if self.patience is not None and epoch - best[1] >= self.patience:
                    stopped_by = "patience"
                elif epoch == self.n_outer:
                    stopped_by = "max_iter"
        self.n_iter_, self.stopped_by_ = epoch, stopped_by
        self.n_updates_ = target.n_updates + sum(refit.n_updates for refit in refits)
        self.estimator_ = target.finish(ended)
        self.reconstruction_err_, self.normalized_loss_ = (
            self.estimator_.reconstruction_err_,
            self.estimator_.normalized_loss_,
        )
        self.W_, self.components_ = normalize_components(self.estimator_.W_, self.estimator_.components_, "max")
        self.history_ = {name: np.array(entries) for name, entries in history.items()}

    def transform(self, X, *, strata=None):
        """Return the non-negative weights of the rows of X for the fitted components, (n_samples, n_components).

        They are those of the estimator's own `transform`. See `adapt` for the second stage of the source.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), default=None
            Labels of the rows, for an estimator with strata.
        """
        check_is_fitted(self)
        X, strata = unpack(X, strata)
        X = self._validated(X, reset=False)
        W = self.estimator_.transform(X, **({} if strata is None else {"strata": strata}))
        return W * self.estimator_.components_.max(axis=1)

    def adapt(self, X, *, n_iter=None, strata=None):
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
        X, strata = unpack(X, strata)
        X, H = self._validated(X, reset=False), self.components_.astype(np.float64)
        W = weights_for(X, H) if self.estimator_.solver == "mu" else None
        shifts, labels = getattr(self.estimator_, "shifts_", None), getattr(self.estimator_, "strata_", None)
        model = clone(self._base()).set_params(
            init=Start(H, W=W, shifts=shifts, strata=labels),
            max_iter=self.n_inner if n_iter is None else n_iter,
            tol=self.inner_tol,
        )
        return model.fit(X, **({} if strata is None else {"strata": strata}))

    def _base(self):
        return NMF(10, solver="mu") if self.estimator is None else self.estimator

    def _check_parameters(self):
        check_refittable(self._base())
        for name in ("n_tasks", "task_size", "n_outer", "n_inner"):
            check_integer(name, getattr(self, name))
        check_number("inner_tol", self.inner_tol)
        check_number("tol", self.tol)
        check_bool("accumulate", self.accumulate)
        check_bool("disjoint", self.disjoint)
        check_choice("start", self.start, STARTS)
        if self.start == "estimator" and self._base().init == "custom":
            raise ValueError(
                "start='estimator' needs an init that computes a start; the estimator has init='custom'. Use another."
            )
        if self.patience is not None:
            check_integer("patience", self.patience)

    def _validated(self, X, *, reset):
        check_kind(X)
        X = as_csr(X) if sp.issparse(X) else X
        X = validate_data(
            self,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            ensure_min_samples=1,
        )
        if not reset:
            check_fitted_arrays(self, X.shape[1])
        return X


def _refitted(refit, H, meta):
    """Fit one task from components H; return its components, scaled, and its loss."""
    H, loss, _ = refit.run(H, meta.n_inner, meta.inner_tol)
    return _unit_max(H), loss


def _unit_max(H):
    """Scale components to a largest entry of one; zero components stay zero."""
    largest = H.max(axis=1)
    return H / np.where(largest > 0, largest, 1)[:, None]


@contextmanager
def _side_by_side(n_jobs):
    """Yield ``each(function, jobs)``, which calls the function for every tuple of arguments, `n_jobs` at a time."""
    if n_jobs is None or n_jobs == 1:
        yield lambda function, jobs: [function(*arguments) for arguments in jobs]
        return
    with Parallel(n_jobs, prefer="threads") as parallel:
        yield lambda function, jobs: parallel(delayed(_on_one_thread)(function, *arguments) for arguments in jobs)


def _on_one_thread(function, *arguments):
    """Call a function with one kernel thread, because the tasks already run in parallel."""
    with threads(1):
        return function(*arguments)
