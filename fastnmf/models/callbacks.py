"""What happens between iterations: progress on the screen, the user's `callback`, scikit-learn's callbacks."""

from contextlib import contextmanager

import numpy as np

from fastnmf.progress import progress

try:  # scikit-learn 1.9 and later
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:
        """Stand in for scikit-learn's class where the installed version has none."""

    def with_callbacks(method):
        """Return the method itself: this scikit-learn knows no callbacks."""
        return method


class FitState:
    """A fit between two iterations, as a `callback` sees it. The arrays are copies, made when they are asked for.

    Attributes
    ----------
    iteration : int
        0 is the start.
    run : int
        Which of the `n_init` starts this is, from 0.
    normalized_loss, seconds : float
        The loss now, and the time since the fit began.
    W : ndarray (n_samples, k);  H : ndarray (k, n_features);  V : ndarray (n_strata, n_features), or None
        Of rows with a `sample_weight`, W is that of the row itself. Of models of another shape, W and H as they move,
        before they get their scale; None where the model has no such factor.
    """

    def __init__(self, iteration, normalized_loss, seconds, arrays, run=0):
        self.iteration, self.normalized_loss, self.seconds, self._arrays = iteration, normalized_loss, seconds, arrays
        self.run = run

    @property
    def W(self):
        """Weights of the training rows."""
        return self._arrays()[0]

    @property
    def H(self):
        """Components."""
        return self._arrays()[1]

    @property
    def V(self):
        """Shifts, None for models without."""
        return self._arrays()[2]


class Watch:
    """Calls all who watch a fit after every iteration; the fit stops when one of them asks for it."""

    def __init__(self, show, callback, context, estimator, X):
        self.show, self.callback, self.context, self.estimator, self.X = show, callback, context, estimator, X
        self.arrays = self.task = None
        self.run, self.before = 0, 0.0

    def begin_run(self, run, n_runs, seconds):
        """Tell that the next start begins, `seconds` after the fit."""
        self.run, self.before = run, seconds
        if self.show is not None:
            self.show.begin(f"{type(self.estimator).__name__}, run {run + 1} of {n_runs}")

    def __call__(self, iteration, normalized_loss, seconds):
        seconds += self.before
        if self.show is not None:
            self.show(iteration, normalized_loss, seconds)
        stop = False
        if self.callback is not None:
            stop = bool(self.callback(FitState(iteration, normalized_loss, seconds, self.arrays, self.run)))
        if self.context is None:
            return stop
        fitted = {"components_": lambda: self.arrays()[1], "W_": lambda: self.arrays()[0], **self._more()}
        if self.task is not None:
            asked = self.task.call_on_fit_task_end(estimator=self.estimator, X=self.X, reconstruction_attributes=fitted)
            stop = stop or bool(asked)
        self.task = None
        if not stop and iteration < self.estimator.max_iter:
            self.task = self.context.subcontext(task_name="iteration")
            self.task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, reconstruction_attributes=fitted)
        return stop

    def _more(self):
        shifts = {"shifts_": lambda: self.arrays()[2]} if self.estimator._has_shifts else {}
        return shifts | {"n_components_": lambda: np.int64(self.arrays()[1].shape[0])}

    @property
    def is_needed(self):
        """Whether anyone watches."""
        return not (self.show is None and self.callback is None and self.context is None)


@contextmanager
def watching(estimator, X):
    """Yield the `Watch` of a fit."""
    context = None
    if getattr(estimator, "_skl_callbacks", None) or hasattr(estimator, "_parent_callback_ctx"):
        most = estimator.max_iter * getattr(estimator, "n_init", 1)
        context = estimator._init_callback_context(max_subtasks=most)
        context.call_on_fit_task_begin(estimator=estimator, X=X)
    with progress(type(estimator).__name__, estimator.max_iter, estimator.verbose) as show:
        watch = Watch(show, estimator.callback, context, estimator, X)
        yield watch
    if context is not None:  # what scikit-learn has to tear down after an exception it does by itself
        if watch.task is not None:  # the fit stopped by its own rule while the next iteration was announced
            watch.task.call_on_fit_task_end(estimator=estimator, X=X)
        context.call_on_fit_task_end(estimator=estimator, X=X)
