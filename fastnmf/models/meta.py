"""Components that are learned on many small tasks and passed on: Meta-NMF."""

import time
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data

from fastnmf.init import Start
from fastnmf.matrix import as_csr, check_kind
from fastnmf.models.fitted import check_fitted_arrays
from fastnmf.models.keeping import Keeping
from fastnmf.models.nmf import NMF
from fastnmf.models.options import (
    check_bool,
    check_choice,
    check_integer,
    check_number,
    generator,
    is_annotated,
    unpack,
)
from fastnmf.models.refits import Refit, check_refittable, weights_for
from fastnmf.progress import progress
from fastnmf.shifts import normalize_components
from fastnmf.solve import threads

STARTS = ("uniform", "estimator")


class MetaNMF(Keeping, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Learn components on small tasks, pass them on to a larger one, and repeat: Meta-NMF of Khan 2025.

    In every epoch each task is factorised for a few iterations, from the shared components plus its own; the target is
    then factorised from the shared components plus the mean of the tasks', and what it ends with is shared next. Any
    estimator of this package that can begin at given components may do the factorising.

    Parameters
    ----------
    estimator : NMF, GraphNMF, StratifiedNMF, SparseNMF, SmoothNMF or RobustNMF, default=None
        Not fitted. Its solver, loss, rank and penalties are those of all fits; its `max_iter` and `tol` are not used.
        The source's is ``NMF(r, solver="mu")``; None is that with r = 10.
    n_tasks : int, default=5
        Tasks that are drawn from X; not used where `tasks` are given.
    task_size : int, default=50
        Rows of each.
    n_outer : int, default=50
        Epochs.
    n_inner : int, default=100
        Iterations of every fit in an epoch.
    inner_tol : float, default=0.0
        `tol` of these fits: 0 does all of `n_inner`.
    accumulate : bool, default=False
        Whether the tasks' components of all epochs so far are summed up, and not those of the last alone.
    disjoint : bool, default=True
        Whether no row is in two tasks, and the target is what remains. False draws every task from all rows, and the
        target is all rows.
    start : {"uniform", "estimator"}, default="uniform"
        Components of a task before the first epoch: uniform on [0, 1), or as the estimator's own `init` makes them of
        the task's data.
    patience : int, default=None
        Stop when the target's loss has not fallen for so many epochs; None never does.
    tol : float, default=1e-4
        What counts as falling: by more than this share of the least loss so far.
    random_state : None, int, Generator or RandomState, default=None
        Seed of starts and tasks.
    n_jobs : int, default=None
        Tasks that are fitted at a time, in threads. None is one. The result is the same.
    verbose : int, default=0
        1 shows progress on standard error.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        The shared components; the largest entry of each is one.
    W_ : ndarray (n_target_samples, n_components)
        Weights of the rows of the target.
    estimator_ : estimator
        Fitted to the target, from the last epoch.
    reconstruction_err_, normalized_loss_ : float
        Those of `estimator_`.
    target_rows_ : ndarray (n_target_samples,) of int
        Rows of X that are the target.
    task_rows_ : list of ndarray of int
        Rows of X in each task; empty where the tasks were given.
    n_iter_ : int
        Epochs.
    n_updates_ : int
        Iterations of all fits together: the budget, to compare with that of a plain fit. An iteration of a task costs
        less than one of the target, by its share of the rows.
    stopped_by_ : str
        ``"max_iter"`` after `n_outer` epochs, or ``"patience"``.
    history_ : dict of ndarray
        ``epoch``; ``normalized_loss`` of the target after each; ``task_losses`` (n_epochs, n_tasks), of each task after
        its own fit; ``seconds``.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    *Names*: the source has samples as columns. Its W_t, W_si are `components_` and the components of task i,
    transposed; its H are weights; X_t, X_s, X_e are target, tasks and the data of `adapt`.

    *Against the source.* The algorithm as printed cannot be run, and the published program is another one. What is done
    here:

    1. W_t is zero before the first epoch, as in the program; the text draws it, too.
    2. W_t is added once, before a task's fit, as in the program; the text adds it once more after the fit.
    3. A fit alternates W and H to the end of `n_inner`; the text prints single steps and ``H = Wᵀ X`` in between. That
       product is where weights begin (for coordinate descent: the exact weights for the components).
    4. Components are scaled to a largest entry of one after every fit, as in the program, and weights to match; the sum
       of several is meaningless without.
    5. The mean is over the tasks of the epoch, as printed, all of one weight; the step sizes alpha_i are never used in
       the program. The program's sum is never emptied, so that after k epochs the target's own components weigh
       1 / (k + 1) in its start: ``accumulate=True``.
    6. An epoch is steps 2 to 9; line 11 repeats 2 to 7.
    7. Line 13 exchanges W and H, and weights of the target cannot begin those of other data: `adapt` takes over the
       components alone.
    8. Tasks have 50 rows, and none in common with each other or with the target, as in the text. The program draws 5
       times 100 rows from all, which are the target as well: ``disjoint=False, task_size=100``.
    9. ``start="estimator"`` with ``init="nndsvda"`` is what the text calls Meta-NMF-NNDSVD; the program's comes out as
       NNDSVD without transfer.
    10. The second stage moves the components too (`adapt`), which makes it transductive; `transform` does not.

    11. Zeros in the components that a multiplicative fit begins with become a thousandth of their mean: otherwise a
        feature that no task has could never come back. Where there are none, all is as in the program.

    *Budget*. A fit costs ``n_outer * n_inner`` iterations of the target and as many of every task. Compare with a plain
    fit of as many iterations: in the source's own experiments that comparison is missing.

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
        """Learn components on tasks, and on the target with them.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored
        tasks : list, default=None
            The tasks, where they are other data: matrices with the features of X, or pairs ``(matrix, strata)``. X is
            then the target, whole.
        strata : array-like (n_samples,), default=None
            Labels of the rows, for an estimator with strata. Every fit has shifts of its own.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or tasks that cannot be used: what was given, expected, and to be done.
        """
        self._check_parameters()
        self._names = X.var_names if is_annotated(X) else None
        X, strata = unpack(X, strata)
        X = self._validated(X, reset=True)
        strata = None if strata is None else np.asarray(strata)
        with threads(self._base().n_threads):
            target, refits, own = self._laid_out(X, strata, tasks, generator(self.random_state))
            self._learn(target, refits, own)
        return self

    def _laid_out(self, X, strata, tasks, rng):
        """Return the target and the tasks as `Refit`, and the components that each task begins with.

        The draws are made in the order of the published program: all starts, and then the rows of every task.
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
        """Run the epochs; own are the components of every task."""
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
                shared, seconds = _at_one(H), time.perf_counter() - began
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
        """Return the non-negative weights of the rows of X for the components as they are, (n_samples, n_components).

        As the `transform` of the estimator finds them. See `adapt` for the second stage of the source.

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
        """Factorise other data from the shared components on; they move, too: the second stage of the source.

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
            A fitted copy of the estimator, whose `W_` are the weights of the rows of X, and whose `components_` began
            as the shared ones.
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
            raise ValueError("start='estimator' needs an init that finds a start; the estimator's is 'custom'.")
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
    """Return the components that a task ends with, and its loss."""
    H, loss, _ = refit.run(H, meta.n_inner, meta.inner_tol)
    return _at_one(H), loss


def _at_one(H):
    """Return components whose largest entry is one; those of zeros stay."""
    largest = H.max(axis=1)
    return H / np.where(largest > 0, largest, 1)[:, None]


@contextmanager
def _side_by_side(n_jobs):
    """Yield a function that calls another for each of a list of arguments, as many at a time as `n_jobs` says."""
    if n_jobs is None or n_jobs == 1:
        yield lambda function, jobs: [function(*arguments) for arguments in jobs]
        return
    with Parallel(n_jobs, prefer="threads") as parallel:
        yield lambda function, jobs: parallel(delayed(_on_one_thread)(function, *arguments) for arguments in jobs)


def _on_one_thread(function, *arguments):
    """Call a function whose kernels are not to compete with those of other tasks."""
    with threads(1):
        return function(*arguments)
