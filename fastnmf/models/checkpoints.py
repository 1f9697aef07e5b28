"""Checkpoints of long fits: an observer of the loop that writes its state, and finds it again.

A checkpoint keeps the state of the loop and the random numbers' seed, not what follows from the data: a fit that goes
on makes its start, its term and its penalties again, from the same seed, and then takes over the state.
"""

import copy
import os
import time
from contextlib import contextmanager

import numpy as np

from fastnmf import store
from fastnmf.models.options import check_number
from fastnmf.models.runs import n_runs
from fastnmf.models.transfer import brought
from fastnmf.models.warn import warn
from fastnmf.progress import say

# Parameters that do not belong to what is computed: when to stop, what is shown, on how many threads.
FREE = {"max_iter", "tol", "max_time", "verbose", "callback", "n_threads"}
SHOWN_DIFFERENCES = 3


@contextmanager
def checkpointing(estimator, path, every):
    """Yield the `Checkpoint` of a fit, or None where `path` is None."""
    if path is None:
        yield None
        return
    check_number("checkpoint_every", every, "a number of seconds >= 0")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"checkpoint={path!r} is not a path; expected a str or a Path, or None for no checkpoint.")
    if n_runs(estimator) > 1:
        raise ValueError(
            f"A checkpoint is of one start, and n_init={estimator.n_init} asks for several; set n_init=1, or fit each "
            "with a random_state and a path of its own."
        )
    try:
        yield Checkpoint(estimator, path, every)
    finally:
        estimator.__dict__.pop("_seed", None)


class Checkpoint:
    """The file of one fit, written at an interval; `fastnmf.solve.solve` calls it after every iteration.

    Parameters
    ----------
    estimator : BaseNMF
    path : str or path
        A file that is there is read at once, and that one can be written is tried at once.
    every : float
        Seconds between two states that are written.

    Attributes
    ----------
    kept : dict, or None
        The state of the loop to go on from.
    """

    def __init__(self, estimator, path, every):
        self.estimator, self.path, self.every, self.kept = estimator, path, every, None
        store.check_writable(path)
        try:
            self._found = store.read(path, "checkpoint") if os.path.exists(path) else None
        except ValueError as error:
            raise ValueError(f"{error} Give another path as checkpoint, or delete the file.") from error
        self._iteration, self._took = None, 0.0  # of the state in the file, to write it

    def open(self, data, start, y=None):
        """Compare the file with the fit that is about to begin, and choose the seed.

        Parameters
        ----------
        data : fastnmf.data.Strata
        start : tuple of ndarray or None
            The start that the user gave.
        y : array-like, default=None
            Labels of the rows.

        Raises
        ------
        ValueError
            The file belongs to another fit; what is not the same, and what to do.
        """
        given, found = self.estimator.random_state, self._found
        self._fit = fingerprint(self.estimator, data, start, y)
        self._seed = np.random.SeedSequence().entropy if given is None else copy.deepcopy(given)
        if found is not None:
            differences = list(_differences(found["fit"], self._fit))
            if not differences and not isinstance(given, (int, np.integer, type(None))):
                known = [store.digest(found[name]) for name in ("seed", "seed_after")]
                differences = [] if store.digest(given) in known else ["random_state is a generator in another state"]
            if differences:
                shown = "; ".join(differences[:SHOWN_DIFFERENCES])
                raise ValueError(
                    f"{self.path} is the checkpoint of another fit: {shown}. Delete it to begin anew, or give another "
                    "path."
                )
            self._seed, self.kept, self._found = found["seed"], found["state"], None
            self._iteration = int(self.kept["history"]["iteration"][-1])
            if self._iteration > self.estimator.max_iter:
                raise ValueError(
                    f"{self.path} is at iteration {self._iteration}, beyond max_iter={self.estimator.max_iter}; raise "
                    "max_iter, or delete the file to begin anew."
                )
            if self.estimator.verbose:
                say(f"{type(self.estimator).__name__}: going on from iteration {self._iteration} in {self.path}")
        if isinstance(given, np.random.Generator):  # the draws of the start are made again
            given.bit_generator.state = self._seed.bit_generator.state
        elif isinstance(given, np.random.RandomState):
            given.set_state(self._seed.get_state(legacy=False))
        self.estimator._seed = self._seed if given is None else given
        self._seed_after = None

    def __call__(self, loop, is_last):
        """Write the state of the loop where it is time, or the last one, and not in the file yet.

        It is time when the next iteration, and writing it, may end more than the interval after the state in the file.
        """
        now, iteration = time.perf_counter(), loop.iteration
        if self._seed_after is None:  # the loop itself draws nothing
            self._seed_after = copy.deepcopy(self.estimator._seed)
            self._last = self._written = now
        step, self._last = now - self._last, now
        if iteration == self._iteration:
            return
        if self._iteration is None:
            self._write(loop)  # an error now is better than one in an hour
        elif is_last or now - self._written + step + self._took > self.every:
            try:
                self._write(loop)
            except OSError as error:
                warn(
                    f"The checkpoint {self.path} could not be written ({error}); the fit goes on, and the file is of "
                    f"iteration {self._iteration}.",
                    RuntimeWarning,
                )
        else:
            return
        self._written, self._last = now, time.perf_counter()
        self._took = self._last - now

    def _write(self, loop):
        seeds = {"seed": self._seed, "seed_after": self._seed_after}
        store.write(self.path, "checkpoint", {"fit": self._fit, **seeds, "state": loop.state()})
        self._iteration = loop.iteration


def fingerprint(estimator, data, start, y=None):
    """Return what tells one fit from another, as a dict of plain values; long ones as a checksum."""
    X = data.X
    parts = (X.data, X.indices, X.indptr) if data.is_sparse else X
    entries = data.entry_weights
    found = {
        "estimator": type(estimator).__name__,
        "the shape of X": tuple(int(n) for n in X.shape),
        "the dtype of X": X.dtype.name,
        "the layout of X": "sparse" if data.is_sparse else "dense",
        "the number of stored entries of X": int(X.nnz if data.is_sparse else X.size),
        "the values of X": _short((parts, data.exponent)),
        "strata": _short((data.codes, data.labels.astype(str))) if estimator._has_shifts else None,
        "the weights of rows": _short(data.weight),
        "the weights of entries": None if entries is None else _short((entries.base, entries.difference)),
        "the start (W, H, V)": _short(start),
        "the labels y": None if y is None else _short(np.asarray(y).astype(str)),
    }
    if estimator.warm_start:
        before = [getattr(estimator, name, None) for name in ("components_", "W_", "shifts_")]
        found["the model that warm_start goes on from"] = _short(before)
    for name, value in estimator.get_params(deep=False).items():
        if name == "init" and (start := brought(value)) is not None:
            value = start.state()
        if name not in FREE:
            found[name] = _short(value)
    return found


def _short(value):
    """Return `value` where it is short and plain, or else a checksum of it that says so."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.random.Generator, np.random.RandomState)):
        return type(value).__name__
    if isinstance(value, (tuple, list)) and all(isinstance(item, (bool, int, float, str)) for item in value):
        return list(value)
    if isinstance(value, (tuple, list)) and all(item is None for item in value):
        return None
    return {"checksum": store.digest(value)}


def _differences(kept, given):
    """Yield a phrase for each thing in which two fingerprints differ."""
    for name in [*given, *(name for name in kept if name not in given)]:
        old, new = kept.get(name), given.get(name)
        if old == new:
            continue
        if name == "the values of X" and kept.get("the shape of X") != given.get("the shape of X"):
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield f"{name} {'are' if name.startswith(('the values', 'the weights')) else 'is'} not the same"
        else:
            yield f"{name} was {_told(old)} and is {_told(new)}"


def _told(value):
    return "something else" if isinstance(value, dict) else repr(value)
