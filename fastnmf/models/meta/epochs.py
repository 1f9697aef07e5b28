"""The epochs of Meta-NMF as a solver, and fits side by side in threads."""

from contextlib import contextmanager

import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from fastnmf.core.iterate import Solver, has_stalled, normalized
from fastnmf.core.options import check_jobs
from fastnmf.kernels.jit import threads


class Epochs(Solver):
    """Fit every task from the shared components and its own, then the target from the shared ones and the tasks' mean.

    Its objective is the loss of the target.

    Parameters
    ----------
    target : fastnmf.models.meta.refits.Refit
    tasks : list of Refit
    rows : tuple (ndarray of int, list of ndarray of int)
        Rows of the target and of every task.
    shared : ndarray (k, n_features) of float64
        Shared components before the first epoch.
    own : list of ndarray (k, n_features) of float64
        Components of every task before the first epoch.
    each : callable
        What `side_by_side` yields.
    accumulate : bool
        Whether the components of the tasks are summed over all epochs so far.
    patience : int, or None
        Epochs without a decrease after which to stop; None: never.

    Attributes
    ----------
    fit : fastnmf.core.iterate.Fit
        The last fit of the target.
    """

    varying = ("shared", "own", "total", "refits", "fit")

    def __init__(self, target, tasks, rows, shared, own, each, accumulate, patience):
        self.target, self.tasks, self.rows, self.shared, self.own = target, tasks, rows, shared, own
        self.each, self.accumulate, self.patience = each, accumulate, patience
        self.total, self.losses, self.fit = 0.0, None, None

    @property
    def n_updates(self):
        """Iterations of all fits so far."""
        return sum(refit.n_updates for refit in (self.target, *self.tasks))

    def step(self):
        """Run an epoch and return the loss of the target."""
        found = self.each(_refitted, [(task, self.shared + H) for task, H in zip(self.tasks, self.own, strict=True)])
        self.own, self.losses = [H for H, _ in found], [loss for _, loss in found]
        self.total = sum(self.own) + (self.total if self.accumulate else 0.0)
        H, self.fit = self.target.run(self.shared + self.total / len(self.own))
        self.shared, self.scale = _unit_max(H), self.fit.solver.scale
        return self.fit.loss

    def columns(self):
        """Return the normalized loss of every task."""
        return {"task_losses": self.losses}

    def stop(self, history, tol):
        """Return why the epochs end: for too long the normalized loss of the target has not decreased."""
        losses = normalized(np.array(history["objective"]), self.scale)
        return "patience" if self.patience is not None and has_stalled(losses, tol, self.patience) else None

    def to_state(self):
        """Return all components, the state of every `Refit`, and the last fit of the target."""
        return {
            "shared": self.shared,
            "own": self.own,
            "total": self.total,
            "refits": [refit.to_state() for refit in (self.target, *self.tasks)],
            "fit": None if self.fit is None else self.fit.to_state(),
        }

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.shared, self.own, self.total = state["shared"], state["own"], state["total"]
        for refit, kept in zip((self.target, *self.tasks), state["refits"], strict=True):
            refit.from_state(kept)
        if state["fit"] is not None:
            self.fit = self.target.fit_from_state(self.shared, state["fit"])
            self.scale = self.fit.solver.scale


def _refitted(refit, H):
    """Fit one task from components H; return its components, scaled, and its normalized loss."""
    H, fit = refit.run(H)
    return _unit_max(H), float(normalized(fit.loss, fit.solver.scale))


def _unit_max(H):
    """Scale components to a largest entry of one; zero components stay zero."""
    largest = H.max(axis=1)
    return H / np.where(largest > 0, largest, 1)[:, None]


@contextmanager
def side_by_side(n_jobs):
    """Yield ``each(function, jobs)``, which calls the function for every tuple of arguments, `n_jobs` at a time."""
    check_jobs("n_jobs", n_jobs)
    if n_jobs is None or n_jobs == 1:
        yield lambda function, jobs: [function(*arguments) for arguments in jobs]
        return
    with Parallel(n_jobs, prefer="threads") as parallel:
        yield lambda function, jobs: parallel(delayed(_on_one_thread)(function, *arguments) for arguments in jobs)


def _on_one_thread(function, *arguments):
    """Call a function with one kernel thread, because the tasks already run in parallel."""
    with threads(1):
        return function(*arguments)
