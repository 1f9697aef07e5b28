"""Run callbacks between iterations: the progress display, the user's `callback` and scikit-learn's callbacks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from fastnmf.core.progress import progress
from fastnmf.typing import Floats


class FitState:
    """State of a fit between two iterations, passed to `callback`. W, H and V are copies, made on access.

    Parameters
    ----------
    iteration : int
        Number of finished iterations; 0 is the start.
    normalized_loss : float
        Current normalized loss.
    seconds : float
        Time since the fit began.
    arrays : callable
        ``arrays()`` returns W, H and V (or None) in the scale of the user's data.
    run : int, default=0
        Index of the current start, from 0 to ``n_init - 1``.

    Attributes
    ----------
    iteration, run : int
    normalized_loss, seconds : float
    W : ndarray (n_samples, k), or None
        With `sample_weight`, W belongs to the unweighted rows. Models other than W H give the current W, before the
        final scaling; None where the model has no such factor.
    H : ndarray (k, n_features), or None
        As W.
    V : ndarray or csr_array (n_strata, n_features), or None
        As the `shifts_` of the model; None for models without shifts.
    """

    iteration: int
    normalized_loss: float
    seconds: float
    run: int

    def __init__(self, iteration: int, normalized_loss: float, seconds: float, arrays: Callable[[], Any], run: int = 0):
        self.iteration, self.normalized_loss, self.seconds, self._arrays = iteration, normalized_loss, seconds, arrays
        self.run = run

    @property
    def W(self) -> Floats | None:
        """Weights of the training rows, (n_samples, k)."""
        return self._arrays()[0]

    @property
    def H(self) -> Floats | None:
        """Components, (k, n_features)."""
        return self._arrays()[1]

    @property
    def V(self) -> Any:
        """Shifts, (n_strata, n_features), dense or CSR as `shifts_`; None for models without shifts."""
        return self._arrays()[2]


Callback: TypeAlias = Callable[[FitState], object]


class FitCallbacks:
    """Run the display and all callbacks of a fit after each iteration; stop the fit when a callback returns True.

    Parameters
    ----------
    show : callable, or None
        Progress display, ``show(iteration, normalized_loss, seconds, distance)``.
    callback : callable, or None
        The user's ``callback(state)``; `state` is a `FitState`.
    context : scikit-learn callback context, or None
    estimator : BaseEstimator
        The estimator that is being fitted.
    X : sparse matrix or ndarray (n_samples, n_features)
        The validated data, passed on to scikit-learn's callbacks.
    max_iter : int
        Maximum number of iterations.

    Attributes
    ----------
    arrays : callable
        ``arrays()`` returns copies of W, H and V (or None); set by the fit before the first iteration.
    is_needed : bool
        Whether there is a display or a callback to run.
    """

    def __init__(self, show, callback, context, estimator, X, max_iter):
        self.show, self.callback, self.context, self.estimator, self.X = show, callback, context, estimator, X
        self.max_iter = max_iter
        self.arrays = self.task = None
        self.run, self.before = 0, 0.0

    def begin_run(self, run, n_runs, seconds):
        """Announce start number `run` of `n_runs`; it begins `seconds` after the begin of the fit."""
        self.run, self.before = run, seconds
        if self.show is not None:
            self.show.begin(f"{type(self.estimator).__name__}, run {run + 1} of {n_runs}")

    def __call__(self, iteration, normalized_loss, seconds, distance=None):
        seconds += self.before
        if self.show is not None:
            self.show(iteration, normalized_loss, seconds, distance)
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
        if not stop and iteration < self.max_iter:
            self.task = self.context.subcontext(task_name="iteration")
            self.task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, reconstruction_attributes=fitted)
        return stop

    def _more(self):
        shifts = {"shifts_": lambda: self.arrays()[2]} if self.estimator._has_shifts else {}
        return shifts | {"n_components_": lambda: np.int64(self.arrays()[1].shape[0])}

    @property
    def is_needed(self):
        """Whether there is a display or a callback to run."""
        return not (self.show is None and self.callback is None and self.context is None)


@contextmanager
def fit_callbacks(estimator, options, X):
    """Yield the `FitCallbacks` of a fit."""
    context = None
    if getattr(estimator, "_skl_callbacks", None) or hasattr(estimator, "_parent_callback_ctx"):
        context = estimator._init_callback_context(max_subtasks=options.max_iter * estimator._most_runs(options))
        context.call_on_fit_task_begin(estimator=estimator, X=X)
    with progress(options.name, options.max_iter, options.verbose) as show:
        callbacks = FitCallbacks(show, options.callback, context, estimator, X, options.max_iter)
        yield callbacks
    if context is not None:  # after an exception, scikit-learn cleans up by itself
        if callbacks.task is not None:  # the next iteration was announced, but the fit stopped
            callbacks.task.call_on_fit_task_end(estimator=estimator, X=X)
        context.call_on_fit_task_end(estimator=estimator, X=X)
