"""Write checkpoints of long fits, and resume fits from them.

A checkpoint stores the `fastnmf.core.iterate.SolverState` and the seed of the random numbers. It does not store
results that follow from the data: a fit that is resumed computes its start, its loss and its penalties again from the
same seed, and then restores the solver state.
"""

import copy
import inspect
import os
import time
from contextlib import contextmanager

import numpy as np

from fastnmf.core.init.start_from import start_from_init
from fastnmf.core.options import check_number
from fastnmf.core.progress import say
from fastnmf.core.restarts import n_runs
from fastnmf.core.warn import warn
from fastnmf.io import archive
from fastnmf.io.migrate import ADDED_PARAMETERS, CHANGED_DEFAULTS

# Parameters that may differ when a fit is resumed, as they do not change the iterates: stopping, output, threads.
FREE = {"max_iter", "tol", "max_time", "verbose", "callback", "n_threads"}
SHOWN_DIFFERENCES = 3


@contextmanager
def checkpointing(estimator, path, every):
    """Yield the `Checkpoint` of a fit, or None if `path` is None.

    Parameters
    ----------
    estimator : BaseNMF
    path : str or path, or None
    every : float
        Seconds between two writes, >= 0.

    Raises
    ------
    ValueError, TypeError
        `every` or `path` cannot be used, the file cannot be read, or the estimator tries several starts.
    """
    if path is None:
        yield None
        return
    check_number("checkpoint_every", every, "a number of seconds >= 0")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"checkpoint={path!r} is not a path; expected a str or a Path, or None for no checkpoint.")
    if n_runs(estimator) > 1:
        raise ValueError(
            f"A checkpoint holds one start, but n_init={estimator.n_init} asks for several; set n_init=1, or fit each "
            "start separately, with its own random_state and path."
        )
    try:
        yield Checkpoint(estimator, path, every)
    finally:
        estimator.__dict__.pop("_seed", None)


class Checkpoint:
    """Checkpoint file of one fit, written at intervals; `fastnmf.core.iterate.solve` calls it after every iteration.

    Parameters
    ----------
    estimator : BaseNMF
    path : str or path
        An existing file is read at once; a path that cannot be written raises OSError at once.
    every : float
        Seconds between two writes.

    Attributes
    ----------
    kept : dict, or None
        The solver state from which to resume; set by `open`.
    """

    def __init__(self, estimator, path, every):
        self.estimator, self.path, self.every, self.kept = estimator, path, every, None
        archive.check_writable(path)
        try:
            self._found = archive.read(path, "checkpoint") if os.path.exists(path) else None
        except ValueError as error:
            raise ValueError(f"{error} Give another path as checkpoint, or delete the file.") from error
        self._iteration, self._took = None, 0.0  # iteration of the state in the file, and seconds that writing it took

    def open(self, data, start, y=None):
        """Compare the file with the fit that begins, and choose the seed.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        start : tuple of ndarray or None
            W, H and V that the user gave.
        y : array-like (n_rows,), default=None
            Class labels of the rows.

        Raises
        ------
        ValueError
            The file belongs to another fit, or has passed `max_iter`. The message names the differences.
        """
        given, found = self.estimator.random_state, self._found
        if found is not None:
            _take_old_defaults(self.estimator, found["fit"])
        self._fit = fingerprint(self.estimator, data, start, y)
        self._seed = np.random.SeedSequence().entropy if given is None else copy.deepcopy(given)
        if found is not None:
            differences = list(_differences(found["fit"], self._fit))
            if not differences and not isinstance(given, (int, np.integer, type(None))):
                known = [archive.digest(found[name]) for name in ("seed", "seed_after")]
                differences = [] if archive.digest(given) in known else ["random_state is a generator in another state"]
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
        if isinstance(given, np.random.Generator):  # the start is drawn again
            given.bit_generator.state = self._seed.bit_generator.state
        elif isinstance(given, np.random.RandomState):
            given.set_state(self._seed.get_state(legacy=False))
        self.estimator._seed = self._seed if given is None else given
        self._seed_after = None

    def __call__(self, state, is_last):
        """Write the solver state if a write is due or the fit ends, unless the file holds this iteration already.

        A write is due if the next iteration together with its write could end later than `every` seconds after the last
        write. The durations are estimated from the last iteration and the last write.

        Parameters
        ----------
        state : SolverState
        is_last : bool
            Whether the fit ends here.

        Warns
        -----
        RuntimeWarning
            A later write failed; the fit continues. A failure of the first write raises OSError.
        """
        now, iteration = time.perf_counter(), state.iteration
        if self._seed_after is None:  # the iterations draw no random numbers
            self._seed_after = copy.deepcopy(self.estimator._seed)
            self._last = self._written = now
        step, self._last = now - self._last, now
        if iteration == self._iteration:
            return
        if self._iteration is None:
            self._write(state)  # an error here is raised at once, not after an hour
        elif is_last or now - self._written + step + self._took > self.every:
            try:
                self._write(state)
            except OSError as error:
                warn(
                    f"The checkpoint {self.path} could not be written ({error}); the fit goes on, and the file holds "
                    f"the state of iteration {self._iteration}.",
                    RuntimeWarning,
                )
        else:
            return
        self._written, self._last = now, time.perf_counter()
        self._took = self._last - now

    def _write(self, state):
        seeds = {"seed": self._seed, "seed_after": self._seed_after}
        archive.write(self.path, "checkpoint", {"fit": self._fit, **seeds, "state": state.to_state()})
        self._iteration = state.iteration


def fingerprint(estimator, data, start, y=None):
    """Return the properties that identify a fit as a dict of plain values; long values become checksums.

    Parameters
    ----------
    estimator : BaseNMF
        All its parameters but those in `FREE` are included.
    data : fastnmf.data.strata.Strata
    start : tuple of ndarray or None
        W, H and V that the user gave.
    y : array-like (n_rows,), default=None
        Class labels of the rows.

    Returns
    -------
    dict
        The keys are phrases that error messages show.
    """
    X = data.X
    parts = (X.data, X.indices, X.indptr) if data.is_sparse else X
    entries = data.entry_weights
    found = {
        "estimator": type(estimator).__name__,
        "the shape of X": tuple(int(n) for n in X.shape),
        "the dtype of X": X.dtype.name,
        "the layout of X": "sparse" if data.is_sparse else "dense",
        "the number of stored entries of X": int(X.nnz if data.is_sparse else X.size),
        "the values of X": _plain_or_checksum((parts, data.log4_scale)),
        "strata": _plain_or_checksum((data.stratum_index, data.labels.astype(str))) if estimator._has_shifts else None,
        "the weights of rows": _plain_or_checksum(data.weight),
        "the weights of entries": None if entries is None else _plain_or_checksum((entries.base, entries.difference)),
        "the start (W, H, V)": _plain_or_checksum(start),
        "the labels y": None if y is None else _plain_or_checksum(np.asarray(y).astype(str)),
    }
    if estimator.warm_start:
        before = [getattr(estimator, name, None) for name in ("components_", "W_", "shifts_")]
        found["the model that warm_start goes on from"] = _plain_or_checksum(before)
    for name, value in estimator.get_params(deep=False).items():
        if name == "init" and (start := start_from_init(value)) is not None:
            value = start.to_state()
        if name not in FREE:
            found[name] = _plain_or_checksum(value)
    return found


def _take_old_defaults(estimator, kept):
    """Set parameters whose default has changed since the checkpoint was written to their old default.

    This applies where the estimator has the new default and the checkpoint the old one: the user may not have chosen
    the new default, and the fit of the older version is resumed as it began.
    """
    kind = type(estimator)
    defaults = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    for (class_name, name), old in CHANGED_DEFAULTS.items():
        is_new_default = class_name == kind.__name__ and getattr(estimator, name) == defaults[name]
        if is_new_default and kept.get(name) == _plain_or_checksum(old):
            setattr(estimator, name, old)


def _plain_or_checksum(value):
    """Return `value` if it is short and plain, and otherwise a dict with its checksum."""
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
    return {"checksum": archive.digest(value)}


def _differences(kept, given):
    """Yield a phrase for each difference between two fingerprints."""
    for name in [*given, *(name for name in kept if name not in given)]:
        old, new = kept.get(name, _plain_or_checksum(ADDED_PARAMETERS.get(name))), given.get(name)
        if old == new:
            continue
        if name == "the values of X" and kept.get("the shape of X") != given.get("the shape of X"):
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield f"{name} {'are' if name.startswith(('the values', 'the weights')) else 'is'} not the same"
        else:
            yield f"{name} was {_describe(old)} and is {_describe(new)}"


def _describe(value):
    return "something else" if isinstance(value, dict) else repr(value)
