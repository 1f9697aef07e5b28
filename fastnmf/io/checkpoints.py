"""Write checkpoints of long fits, and resume fits from them.

A checkpoint stores the `fastnmf.core.iterate.SolverState`, the runs that have finished, and the seed of the random
numbers. It does not store results that follow from the data: a fit that is resumed computes its start, its loss and its
penalties again from the same seed, and then restores the state.
"""

import copy
import inspect
import numbers
import os
import time
from contextlib import contextmanager

import numpy as np

from fastnmf.core.init.start_from import is_model, start_from_init
from fastnmf.core.kept_state import check_count, check_history, require
from fastnmf.core.options import check_number
from fastnmf.core.progress import say
from fastnmf.core.warn import warn
from fastnmf.data.sentences import shown
from fastnmf.data.writing import check_writable
from fastnmf.io import archive
from fastnmf.io.archive import printable
from fastnmf.io.migrate import ADDED_PARAMETERS, CHANGED_DEFAULTS

# Parameters that may differ when a fit is resumed, as they do not change the iterates: stopping, output, threads.
FREE = {
    "max_iter",
    "n_outer",
    "tol",
    "max_no_improvement",
    "max_time",
    "verbose",
    "callback",
    "n_threads",
    "n_jobs",
    "client",
    "hold",
    "sparse_shifts",
    "patience",
}
SHOWN_DIFFERENCES = 3


@contextmanager
def checkpointing(estimator, path, every):
    """Yield the `Checkpoint` of a fit, or None if `path` is None.

    Parameters
    ----------
    estimator : Estimator
    path : str or path, or None
    every : float
        Seconds between two writes, >= 0.

    Raises
    ------
    ValueError, TypeError
        `every` or `path` cannot be used, the file cannot be read, or it belongs to another kind of fit.
    """
    if path is None:
        yield None
        return
    check_number("checkpoint_every", every, "a number of seconds >= 0")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"checkpoint={shown(path)} is not a path; expected a str or a Path, or None for no checkpoint.")
    yield Checkpoint(estimator, path, every)


class Checkpoint:
    """Checkpoint file of one fit, written at intervals; `fastnmf.core.iterate.iterate` calls it after every step.

    Parameters
    ----------
    estimator : Estimator
    path : str or path
        An existing file is read at once; a path that cannot be written raises OSError at once.
    every : float
        Seconds between two writes.

    Attributes
    ----------
    kept : dict, or None
        The state from which to resume; set by `open`.
    is_signed : bool
        Whether the data, and the factor H, may be negative.
    runs : dict
        The runs that have finished, as `fastnmf.core.restarts.Restarts.to_state` returns them.
    """

    def __init__(self, estimator, path, every):
        self.estimator, self.path, self.every, self.kept = estimator, path, every, None
        self.is_signed = estimator._has_signed_factors
        check_writable(path)
        try:
            self._found = archive.read(path, "checkpoint") if os.path.exists(path) else None
        except ValueError as error:
            raise ValueError(f"{error} Give another path as checkpoint, or delete the file.") from error
        # run and step of the state in the file, and seconds that writing it took
        self.runs, self._step, self._took = {"objectives": [], "best_run": 0, "best": None}, None, 0.0

    def open(self, data, given, options, limit="max_iter"):
        """Compare the file with the fit that begins, and choose the seed.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        given : dict
            The arguments of `fit` that the user gave beside X.
        options : Options
        limit : str, default="max_iter"
            What the user calls the largest number of iterations, for the message.

        Returns
        -------
        seed : int, Generator or RandomState
            The `random_state` of the fit.

        Raises
        ------
        ValueError
            The file belongs to another fit, or has passed `max_iter`. The message names the differences.
        """
        random_state, found = options.random_state, self._found
        is_number = isinstance(random_state, (int, np.integer, type(None)))
        if options.n_init > 1 and not is_number:
            raise ValueError(
                f"A checkpoint with n_init={options.n_init} needs reproducible seeds; set random_state "
                "to an integer or None."
            )
        if found is not None:
            with self.reading():
                _check_parts(found)
            _take_old_defaults(self.estimator, found["fit"])
        self._fit = fingerprint(self.estimator, data, given)
        self._seed = np.random.SeedSequence().entropy if random_state is None else copy.deepcopy(random_state)
        if found is not None:
            differences = list(_differences(found["fit"], self._fit))
            if not differences and not is_number:
                known = [archive.digest(found[name]) for name in ("seed", "seed_after")]
                is_known = archive.digest(random_state) in known
                differences = [] if is_known else ["random_state is a generator in another state"]
            if differences:
                shown = "; ".join(differences[:SHOWN_DIFFERENCES])
                raise ValueError(
                    f"{self.path} is the checkpoint of another fit: {shown}. Delete it to start over, or give another "
                    "path."
                )
            with self.reading():
                _check_seeds(found, random_state)
                check_history(found["state"]["history"])
                require(isinstance(found["state"]["is_within"], bool), "is_within")
                check_count("n_steps", found["state"]["n_steps"])
                require(isinstance(found["state"]["runs"]["objectives"], list), "objectives")
            self._resume(found, options.max_iter, limit)
        if isinstance(random_state, np.random.Generator):  # the start is drawn again
            random_state.bit_generator.state = self._seed.bit_generator.state
        elif isinstance(random_state, np.random.RandomState):
            random_state.set_state(self._seed.get_state(legacy=False))
        self._drawn, self._seed_after = self._seed if random_state is None else random_state, None
        return self._drawn

    @contextmanager
    def reading(self):
        """Turn any error in the block, in which contents of the file are read, into a sentence that names the file."""
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:  # a file with a valid checksum can hold anything
            said = f"it has no {error}" if isinstance(error, KeyError) else printable(error)
            raise ValueError(
                f"The fit cannot continue from {self.path}: {said.rstrip('.')}. Delete it to start over, or give "
                "another path."
            ) from error

    def _resume(self, found, max_iter, limit):
        self._seed, self.kept, self._found = found["seed"], found["state"], None
        self._step = len(self.kept["runs"]["objectives"]), self.kept["n_steps"]
        iterations = self.kept["history"]["iteration"]
        iteration = self._iteration = int(iterations[-1] if len(iterations) else 0) + self.kept["is_within"]
        if iteration > max_iter:
            raise ValueError(
                f"{self.path} is at iteration {iteration}, beyond {limit}={max_iter}; raise {limit}, or delete the "
                "file to start over."
            )
        if self.estimator.verbose:
            say(f"{type(self.estimator).__name__}: continuing from iteration {iteration} in {self.path}")

    def __call__(self, state, is_last):
        """Write the state if a write is due or the run ends, unless the file holds this step already.

        A write is due if the next step together with its write could end later than `every` seconds after the last
        write. The durations are estimated from the last step and the last write.

        Parameters
        ----------
        state : SolverState
        is_last : bool
            Whether the run ends here.

        Warns
        -----
        RuntimeWarning
            A later write failed; the fit continues. A failure of the first write raises OSError.
        """
        now, at = time.perf_counter(), (len(self.runs["objectives"]), state.n_steps)
        if self._seed_after is None:  # the iterations draw no random numbers
            self._seed_after = copy.deepcopy(self._drawn)
            self._last = self._written = now
        step, self._last = now - self._last, now
        if at == self._step:
            return
        if self._step is None:
            self._write(state, at)  # an error here is raised at once, not after an hour
        elif is_last or now - self._written + step + self._took > self.every:
            try:
                self._write(state, at)
            except OSError as error:
                warn(
                    f"The checkpoint {self.path} could not be written ({error}); the fit continues, and the file holds "
                    f"the state of iteration {self._iteration}.",
                    RuntimeWarning,
                )
        else:
            return
        self._written, self._last = now, time.perf_counter()
        self._took = self._last - now

    def _write(self, state, at):
        seeds = {"seed": self._seed, "seed_after": self._seed_after}
        kept = {"runs": self.runs, **state.to_state()}
        archive.write(self.path, "checkpoint", {"fit": self._fit, **seeds, "state": kept})
        self._step, self._iteration = at, state.iteration


def _check_parts(found):
    """Raise unless a checkpoint has its parts."""
    for name in ("fit", "state"):
        require(isinstance(found[name], dict) and all(isinstance(key, str) for key in found[name]), name)
    require(found.keys() >= {"seed", "seed_after"}, "seed")


def _check_seeds(found, random_state):
    """Raise unless the seeds are of the kind of `random_state`, which the fit has in common with the file."""
    if isinstance(random_state, (np.random.Generator, np.random.RandomState)):
        require(type(found["seed"]) is type(random_state) is type(found["seed_after"]), "seed")
    else:
        seed = found["seed"]  # an integer of any size
        require(isinstance(seed, numbers.Integral) and not isinstance(seed, bool) and seed >= 0, "seed")


def fingerprint(estimator, data, given):
    """Return the properties that identify a fit as a dict of plain values; long values become checksums.

    Parameters
    ----------
    estimator : Estimator
        All its parameters but those in `FREE` are included, and those that it names in ``_not_free``.
    data : fastnmf.data.strata.Strata
    given : dict
        The arguments of `fit` that the user gave beside X.

    Returns
    -------
    dict
        The keys are phrases that error messages show.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if hasattr(data, "identity"):  # in chunks
        parts = data.identity()
    else:
        parts = (data.X.data, data.X.indices, data.X.indptr) if data.is_sparse else data.X
    entries, y = data.entry_weights, given.get("y")
    has_labels = data.n_strata > 1 or "strata" in given or estimator._has_shifts
    found = {
        "estimator": type(estimator).__name__,
        "the shape of X": tuple(int(n) for n in data.shape),
        "the dtype of X": data.dtype.name,
        "the layout of X": "sparse" if data.is_sparse else "dense",
        "the number of stored entries of X": int(data.n_entries),
        "the values of X": _plain_or_checksum((parts, data.log4_scale)),
        "strata": _plain_or_checksum(_rows_of_shifts(data)) if has_labels else None,
        "the weights of rows": _plain_or_checksum(data.weight),
        "the weights of entries": None if entries is None else _plain_or_checksum((entries.base, entries.difference)),
        "the start (W, H, V)": _plain_or_checksum(tuple(given.get(name) for name in "WHV")),
        "the labels y": None if y is None else _plain_or_checksum(_as_text(y)),
    }
    for name in given.keys() - {"strata", "W", "H", "V", "y", "sample_weight", "weight"}:
        found[f"the argument {name}"] = _plain_or_checksum(given[name])
    if estimator.warm_start:
        names = dict.fromkeys(("components_", "W_", "shifts_", *estimator._continued.values()))
        before = [getattr(estimator, name, None) for name in names]
        found["the model that warm_start goes on from"] = _plain_or_checksum(before)
    for name, value in estimator.get_params(deep=False).items():
        if name not in FREE or name in estimator._not_free:
            found[name] = _plain_or_checksum(value)
    return found


def _rows_of_shifts(data):
    """Return the arrays that say which shifts each row has."""
    labels = data.labels.astype(str)
    if hasattr(data, "stratum_index"):
        return data.stratum_index, labels
    return data.design.data, data.design.indices, data.design.indptr, labels


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


def _as_text(y):
    """Return labels as an array of str, and a list of labels of several levels as a list of such arrays or None."""
    if isinstance(y, (list, tuple)) and any(np.ndim(part) > 0 for part in y):
        return [None if part is None else np.asarray(part).astype(str) for part in y]
    return np.asarray(y).astype(str)


def _plain_or_checksum(value):
    """Return `value` if it is short and plain, and otherwise a dict with its checksum."""
    if hasattr(value, "components_" if is_model(value) else "W") and (start := start_from_init(value)) is not None:
        value = start.to_state()
    elif is_model(value):
        parameters = {name: _plain_or_checksum(inner) for name, inner in value.get_params(deep=False).items()}
        value = [type(value).__name__, parameters]
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
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
    try:
        return {"checksum": archive.digest(value)}
    except TypeError:  # it is, or holds, an object of a class that the user wrote
        return {"objects": _parts_of(value)}


def _parts_of(value):
    if isinstance(value, dict):
        return {str(name): _plain_or_checksum(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain_or_checksum(each) for each in value]
    if isinstance(value, np.ndarray) or not hasattr(value, "__dict__"):
        archive.digest(value)  # raises
    return [type(value).__qualname__, {name: _plain_or_checksum(each) for name, each in vars(value).items()}]


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
