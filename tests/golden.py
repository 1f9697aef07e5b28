"""Golden numbers: what every estimator gave when `tests/data/golden.npz` was written, to the last bit.

A refactoring must not change them. As a command, ``python tests/golden.py`` compares, and ``--write [NAME ...]`` writes
anew all entries, or those whose names begin so. On another processor, or with other libraries (see `stamp`), numbers
are compared instead of bits. The fits are those of `golden_cases.py`.
"""

import argparse
import functools
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import llvmlite
import llvmlite.binding
import numba
import numpy as np
import scipy
import scipy.linalg  # loads its OpenBLAS, which the stamp names
import sklearn
import threadpoolctl
from golden_cases import ENTRIES
from numba.core.registry import cpu_target

from fastnmf.kernels import jit

FILE = Path(__file__).with_name("data") / "golden.npz"
N_ENTRIES = 16
TOLERANCE = {"float64": 1e-8, "float32": 1e-3}  # of the largest entry, on another processor, after so few iterations


def entry_name(case, dtype, form):
    """Return how the names of the records of an entry begin."""
    return f"{case}/{dtype}/{form}"


ALL = tuple(entry_name(*entry) for entry in ENTRIES)


class Record(NamedTuple):
    """What is kept of an array; numbers: sum, norm, largest size, and entries at places spread over it."""

    sha256: str
    dtype: str
    shape: tuple
    numbers: np.ndarray


def record(array):
    """Return the `Record` of an array."""
    array = np.ascontiguousarray(array)
    flat = array.reshape(-1).astype(np.float64)
    places = np.linspace(0, max(flat.size - 1, 0), N_ENTRIES).astype(np.int64)
    entries = flat[places] if flat.size else np.zeros(N_ENTRIES)
    numbers = [flat.sum(), np.linalg.norm(flat), np.abs(flat).max(initial=0), *entries]
    return Record(hashlib.sha256(array.tobytes()).hexdigest(), array.dtype.name, array.shape, np.array(numbers))


def arrays_of(model):
    """Yield the fitted arrays of a model by name, its iterations and its objective; nothing that depends on time."""
    for name, value in sorted(vars(model).items()):
        if name.endswith("_") and not name.startswith("_"):
            is_list = isinstance(value, (list, tuple))
            for i, array in enumerate(value if is_list else [value]):
                if isinstance(array, np.ndarray) and array.dtype.kind in "biuf" or name == "n_iter_":
                    yield f"{name}{i}" if is_list else name, np.asarray(array)
    history = getattr(model, "history_", {})
    if "objective" in history:
        yield "objective", np.asarray(history["objective"])


def records(case, dtype, form, n_threads):
    """Fit with so many threads and return the `Record` of all there is, by name."""
    model, more = case.fit(dtype, form, n_threads)
    found = dict(arrays_of(model) if model is not None else ()) | more
    return {f"{entry_name(case, dtype, form)}/{name}": record(np.asarray(array)) for name, array in found.items()}


@functools.cache
def records_of_one_thread(names=ALL):
    """Return the records of the entries of these names with one thread, from a process that has no other.

    A process of its own, so that nothing parallel has been loaded in it: in version 0.1 the order in which the two
    forms of a kernel were loaded could change the last bit.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, root = Path(folder) / "serial.npz", Path(__file__).resolve().parents[1]
        search = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": search, "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run([sys.executable, __file__, "--serial", str(path), *names], env=environment, check=True)
        return read(path)[1]


@functools.cache
def records_of_two_threads(case, dtype, form):
    """Return the records of an entry with two threads, and the names of the kernels that ran in both."""
    with launches_noted() as launched:
        return records(case, dtype, form, 2), launched


def of_entry(found, case, dtype, form):
    """Return those of the records that belong to an entry."""
    begin = entry_name(case, dtype, form) + "/"
    return {name: one for name, one in found.items() if name.startswith(begin)}


@contextmanager
def launches_noted():
    """Give a set to which the names of the kernels that run in several threads meanwhile are added."""
    call, launched = jit.Kernel.__call__, set()

    def noted(self, tasks, *args):
        if min(jit.thread_count(), len(tasks) - 1) > 1:
            launched.add(self.__name__)
        return call(self, tasks, *args)

    jit.Kernel.__call__ = noted
    try:
        yield launched
    finally:
        jit.Kernel.__call__ = call


def stamp():
    """Return what the bits depend on besides this package, as lines of text."""
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    blas = {f"{pool['prefix']} {pool['version']} {pool['architecture']}" for pool in threadpoolctl.threadpool_info()
            if pool["internal_api"] == "openblas"}  # fmt: skip
    modules = numba, llvmlite, np, scipy, sklearn
    return [
        f"machine: {platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}".rstrip(),
        f"processor: {llvmlite.binding.get_host_cpu_name()}",
        f"compiled for: {name}",
        f"features: {features}",
        *(f"openblas: {line}" for line in sorted(blas)),
        *(f"{module.__name__}: {module.__version__}" for module in modules),
    ]


def mode(held_stamp):
    """Return how to compare: "bits" where the stamp is today's, else "numbers"."""
    return "bits" if list(held_stamp) == stamp() else "numbers"


def differences(now, then, mode, is_chaotic=False, slack=1.0):
    """Return a line for every record of `now` that is not as `then`, in bits or in numbers."""
    found = [f"{name}: {'new' if name in now else 'gone'}" for name in sorted(now.keys() ^ then.keys())]
    for name in sorted(now.keys() & then.keys()):
        new, old = now[name], then[name]
        if mode == "numbers" and is_chaotic and not name.endswith("/objective"):
            continue
        if (new.dtype, new.shape) != (old.dtype, old.shape):
            found.append(f"{name}: {new.dtype} {new.shape} instead of {old.dtype} {old.shape}")
        elif (
            mode == "bits"
            and new.sha256 != old.sha256
            or mode == "numbers"
            and not _near(new, old, slack * TOLERANCE[name.split("/")[1]])
        ):
            apart = np.abs(new.numbers - old.numbers).max() / (old.numbers[2] or 1)
            found.append(f"{name}: other {mode}; entries, sums and norms differ by {apart:.1e} of the largest entry")
    return found


def changes(now, held, mode, case, dtype, form):
    """Return `differences` of the records of one entry."""
    entry = case, dtype, form
    return differences(of_entry(now, *entry), of_entry(held, *entry), mode, case.is_chaotic, case.slack)


def _near(new, old, tolerance):
    if new.dtype.startswith(("int", "uint")):
        return np.array_equal(new.numbers, old.numbers)
    total, norm, largest = old.numbers[:3]
    scale = np.full(len(old.numbers), largest)
    scale[0], scale[1] = norm * np.sqrt(np.prod(new.shape)), norm  # what entries may differ by allows the sum as much
    return bool(np.all(np.abs(new.numbers - old.numbers) <= tolerance * scale) or _same(new.numbers, old.numbers))


def _same(a, b):
    return np.array_equal(a, b, equal_nan=True)


def read(file=FILE):
    """Return the stamp and the records of a file."""
    with np.load(file) as held:
        rows = zip(held["names"], held["sha256"], held["dtypes"], held["shapes"], held["numbers"], strict=True)
        found = {
            str(name): Record(bytes(sha).hex(), str(dtype), tuple(int(size) for size in shape if size >= 0), numbers)
            for name, sha, dtype, shape, numbers in rows
        }
        return [str(line) for line in held["stamp"]], found


def write(found, file=FILE):
    """Write records, with today's stamp."""
    names = sorted(found)
    shapes = np.full((len(names), max(len(one.shape) for one in found.values())), -1)
    for row, name in zip(shapes, names, strict=True):
        row[: len(found[name].shape)] = found[name].shape
    np.savez_compressed(
        file,
        stamp=np.array(stamp()),
        names=np.array(names),
        sha256=np.array([list(bytes.fromhex(found[name].sha256)) for name in names], dtype=np.uint8),
        dtypes=np.array([found[name].dtype for name in names]),
        shapes=shapes.astype(np.int32),
        numbers=np.array([found[name].numbers for name in names]),
    )


def main():
    parser = argparse.ArgumentParser(description="Compare golden numbers, or write them.")
    parser.add_argument("--write", nargs="*", metavar="NAME", help="write all, or the entries that begin so")
    parser.add_argument("--serial", nargs="+", help="a file, and the entries of which to write what one thread gives")
    wanted = parser.parse_args()
    if wanted.serial:
        path, *names = wanted.serial
        found = [records(*entry, 1) for entry in ENTRIES if entry_name(*entry) in names]
        write({name: one for some in found for name, one in some.items()}, path)
        return
    held_stamp, held = read() if FILE.exists() else ([], {})
    how, now = mode(held_stamp), records_of_one_thread()
    if wanted.write is None:
        found = [line for entry in ENTRIES for line in changes(now, held, how, *entry)]
        print("\n".join([*found, f"{len(now)} arrays are compared by their {how}: {len(found)} differences"]))
        sys.exit(bool(found))
    if wanted.write and how != "bits":
        sys.exit("Entries of two machines cannot stand in one file; write all of them with --write.")
    begin = tuple(wanted.write) or ""
    kept = {name: one for name, one in held.items() if not name.startswith(begin)}
    new = {name: one for name, one in now.items() if name.startswith(begin)}
    write(kept | new)
    print(f"{len(new)} arrays are written, {len(kept)} are kept")


if __name__ == "__main__":
    main()
