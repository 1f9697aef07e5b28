"""Say what a fit will take, in memory and in time, before it begins."""

from __future__ import annotations

import numbers
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.core import chunks
from fastnmf.core.options import check_integer
from fastnmf.core.remote import MAPPED_ABOVE
from fastnmf.core.shares import Order
from fastnmf.core.updates import HALS
from fastnmf.data.ondisk import DiskCSR
from fastnmf.data.readings import Readings
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.kernels.row_intrinsics import padded

_TIMED_ENTRIES = 500_000  # non-zeros of the rows on which a pass is timed
_TIMED_PASSES = 3
_TYPES = (np.dtype(np.float32), np.dtype(np.float64))
_CHUNK_ENTRIES = 10_000_000


@dataclass(frozen=True)
class Estimate:
    """Memory and time of a fit; see `estimate`. Printing it gives a sentence for each way to fit.

    Attributes
    ----------
    data : int
        Bytes of the data in memory, as CSR.
    in_memory : int
        Bytes that a fit in memory takes in addition to the data.
    on_disk : int
        Bytes of memory that a fit of a matrix on disk takes, in chunks of 10 million entries.
    files : int
        Bytes of that matrix on disk, with the columns of its chunks, and of weights of more than 1 GB.
    seconds_per_pass : float
        Seconds of one iteration on this machine. A default fit takes about 15 to 50 iterations.
    """

    data: int
    in_memory: int
    on_disk: int
    files: int
    seconds_per_pass: float

    def __str__(self) -> str:
        """Return two sentences."""
        data, inside, outside, files = (_readable(n) for n in (self.data, self.in_memory, self.on_disk, self.files))
        return (
            f"In memory: {data} of data and {inside} for the fit, about {self.seconds_per_pass:.2g} s per iteration.\n"
            f"From disk: {outside} of memory and {files} of files, about as long where the files stay cached."
        )


def _readable(n_bytes):
    """Return a number of bytes as MB or GB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def estimate(
    X_or_shape: Any,
    n_components: int = 10,
    *,
    n_entries: int | None = None,
    n_strata: int = 1,
    dtype: Any = None,
    n_threads: int | None = None,
) -> Estimate:
    """Return the memory and the time that a fit of `NMF` or `StratifiedNMF` to sparse data will take.

    The time is measured on this machine: three iterations on some rows of X, or on random rows of its shape, whose
    entries hit the cache less often than those of texts.

    Parameters
    ----------
    X_or_shape : sparse matrix, DiskCSR, Readings of one, or tuple of two int
        The data, or their shape (n_samples, n_features).
    n_components : int, default=10
    n_entries : int, default=None
        Number of non-zeros; needed with a shape.
    n_strata : int, default=1
        Number of strata, or of shifts with several factors.
    dtype : float32 or float64, default=None
        None: that of X; float64 for a shape.
    n_threads : int, default=None
        None: all cores.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError, TypeError
        X is dense, the shape has no `n_entries`, or a number is not a positive integer.

    Examples
    --------
    >>> from fastnmf import estimate
    >>> found = estimate((1_000_000, 30_000), 20, n_entries=2_000_000_000, n_strata=50)
    >>> found.data > 20e9, found.on_disk < 3e9
    (True, True)
    """
    for name, value in (("n_components", n_components), ("n_strata", n_strata)):
        check_integer(name, value)
    if n_threads is not None:
        check_integer("n_threads", n_threads)
    if isinstance(X_or_shape, Readings):
        X_or_shape = X_or_shape.data
    if isinstance(X_or_shape, tuple):
        if n_entries is None:
            raise ValueError(f"estimate was given the shape {X_or_shape} and no n_entries, the number of non-zeros.")
        if len(X_or_shape) != 2 or not all(isinstance(n, numbers.Integral) and n > 0 for n in X_or_shape):
            raise ValueError(f"The shape {shown(X_or_shape)} is not valid; expected (n_samples, n_features).")
        check_integer("n_entries", n_entries)
        if n_entries > X_or_shape[0] * X_or_shape[1]:
            raise ValueError(f"n_entries={n_entries} is more than a matrix of shape {X_or_shape} has; pass fewer.")
        shape, X = X_or_shape, None
    elif sp.issparse(X_or_shape) or isinstance(X_or_shape, DiskCSR):
        shape, X, n_entries = X_or_shape.shape, X_or_shape, int(X_or_shape.nnz)
    else:
        raise TypeError(
            f"estimate was given a {type(X_or_shape).__name__}; give a sparse matrix, open_csr(folder), or a shape."
        )
    dtype = _checked_type(getattr(X, "dtype", np.float64), dtype)
    return Estimate(
        data=n_entries * (dtype.itemsize + 4) + 8 * shape[0],
        in_memory=_in_memory(shape, n_entries, n_components, n_strata, dtype),
        on_disk=_on_disk(shape, n_entries, n_components, n_strata, dtype),
        files=_files(shape, n_entries, n_components, dtype),
        seconds_per_pass=_timed(shape, n_entries, n_components, dtype, X, n_threads),
    )


def _checked_type(of_X, given):
    """Return the type of the numbers of a fit: the one that is given, or that of X."""
    if given is not None and not (
        isinstance(given, (str, type, np.dtype)) and given in (*_TYPES, "float32", "float64")
    ):
        raise ValueError(f"dtype={shown(given)} is not known; expected numpy.float32, numpy.float64, or None.")
    found = np.dtype(of_X if given is None else given)
    return found if found in _TYPES else np.dtype(np.float64)


def _of_shifts(shape, n_entries, n_strata, dtype):
    """Return the bytes of shifts on their pattern, and of `shifts_`.

    Parameters
    ----------
    shape : tuple of two int
    n_entries, n_strata : int
    dtype : numpy.dtype
    """
    n_pairs = min(n_entries, shape[1] * n_strata)
    return n_pairs * (8 + 3 * dtype.itemsize + 12) + (shape[1] * n_strata * dtype.itemsize if n_strata > 1 else 0)


def _in_memory(shape, n_entries, n_components, n_strata, dtype):
    """Return the bytes of a fit in memory beside its data: the transposed data, and five arrays of each factor.

    Parameters
    ----------
    shape : tuple of two int
    n_entries, n_components, n_strata : int
    dtype : numpy.dtype
    """
    width = padded(n_components, dtype)
    factors = 5 * (shape[0] + shape[1]) * width * dtype.itemsize
    return n_entries * (dtype.itemsize + 4) + factors + _of_shifts(shape, n_entries, n_strata, dtype)


def _on_disk(shape, n_entries, n_components, n_strata, dtype):
    """Return the bytes of memory of a fit of chunks: one chunk, weights that are not in files, and sums in float64.

    Parameters
    ----------
    shape : tuple of two int
    n_entries, n_components, n_strata : int
    dtype : numpy.dtype
    """
    width, share = padded(n_components, dtype), min(1.0, _CHUNK_ENTRIES / max(n_entries, 1))
    chunk = share * (2 * n_entries * (dtype.itemsize + 4) + 4 * shape[0] * width * dtype.itemsize)
    of_rows = shape[0] * (4 + 8)  # strata, and bounds of rows
    weights = shape[0] * width * dtype.itemsize
    held = 3 * weights if weights <= MAPPED_ABOVE else 0
    sums = shape[1] * width * (6 * 8 + 4 * dtype.itemsize)
    return int(chunk + of_rows + held + sums + _of_shifts(shape, n_entries, n_strata, dtype))


def _files(shape, n_entries, n_components, dtype):
    """Return the bytes of the files of a fit of chunks: the data with their columns, and large weights.

    Parameters
    ----------
    shape : tuple of two int
    n_entries, n_components : int
    dtype : numpy.dtype
    """
    weights = shape[0] * padded(n_components, dtype) * dtype.itemsize
    stored = 2 * n_entries * (dtype.itemsize + 4) + 8 * shape[0]
    return stored + (3 * weights if weights > MAPPED_ABOVE else 0)


def _timed(shape, n_entries, n_components, dtype, X, n_threads):
    """Return the seconds of one iteration, from those on a part of the rows.

    Parameters
    ----------
    shape : tuple of two int
    n_entries, n_components : int
    dtype : numpy.dtype
    X : sparse matrix, DiskCSR, or None
    n_threads : int, or None
    """
    n_rows = max(1, min(shape[0], round(_TIMED_ENTRIES * shape[0] / max(n_entries, 1))))
    rng = np.random.default_rng(0)
    if X is None:
        n_drawn = max(1, round(n_entries * n_rows / shape[0]))
        entries = rng.random(n_drawn), (rng.integers(0, n_rows, n_drawn), rng.integers(0, shape[1], n_drawn))
        sample = sp.coo_array(entries, shape=(n_rows, shape[1])).tocsr()
    else:
        sample = X[:n_rows] if isinstance(X, DiskCSR) else X.tocsr()[:n_rows]
    data = Strata.from_array(abs(sp.csr_array(sample)).astype(dtype))
    width = padded(n_components, dtype)
    H, W = np.zeros((shape[1], width), dtype), np.zeros((n_rows, width), dtype)
    H[:, :n_components] = rng.random((shape[1], n_components))
    part, state = chunks.Part(data), chunks.State(W, W.copy())
    order = Order(n_components, H=H, gram=H.T.astype(np.float64) @ H, update=HALS(), beta=0.5)
    seconds = []
    with threads(n_threads):
        for _ in range(_TIMED_PASSES + 1):  # the first one compiles, and transposes
            began = time.perf_counter()
            state, _ = chunks.descended(part, state, order)
            seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[1:]) * max(1.0, n_entries / max(data.n_entries, 1)))
