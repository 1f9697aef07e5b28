"""Turn what the user brings, a collection of Dask or a list of parts, into chunks of rows."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from fastnmf.dask.tasks import Npz, OnDisk, Recipe
from fastnmf.data.annotated import is_annotated
from fastnmf.data.ondisk import DiskCSR


@dataclass
class Blocks:
    """A matrix in chunks of rows, none of which has been read.

    Attributes
    ----------
    pieces : list
        For each chunk a Delayed, an `OnDisk` or an `Npz`.
    sizes : list of int or None
        Rows of each chunk; None where the number is not known.
    n_columns : int, or None
        None where it is not known.
    on_disk : DiskCSR, or None
        The matrix whose chunks they are.
    """

    pieces: list
    sizes: list
    n_columns: int | None
    on_disk: DiskCSR | None = None


def blocks_of(X):
    """Return a collection, or the X of an AnnData that is one, as `Blocks`; None for anything else.

    Raises
    ------
    ValueError
        A Dask array is chunked by columns, or has other than two dimensions.
    """
    X = X.X if is_annotated(X) else X
    if isinstance(X, DiskCSR):
        stamp = (X.folder / "shape.npy").stat().st_mtime_ns
        of_all = str(X.folder.absolute()), X.chunk_rows, stamp, (*X.shape, X.nnz)
        bounds = map(X.bounds, range(X.n_chunks))
        return Blocks([OnDisk(*of_all, n) for n in range(X.n_chunks)], [hi - lo for lo, hi in bounds], X.shape[1], X)
    if hasattr(X, "__dask_graph__") and hasattr(X, "numblocks"):
        if X.ndim != 2:
            raise ValueError(f"X is a Dask array of {X.ndim} dimensions; expected two, samples x features.")
        if X.numblocks[1] != 1:
            raise ValueError(
                f"X has {X.numblocks[1]} chunks of columns, but chunks must hold whole rows; pass X.rechunk({{1: -1}})."
            )
        n_columns = None if np.isnan(X.shape[1]) else int(X.shape[1])
        return Blocks(list(X.to_delayed().ravel()), [_size_of(chunk) for chunk in X.chunks[0]], n_columns)
    if isinstance(X, (list, tuple)) and X and all(_is_lazy(piece) or _is_path(piece) for piece in X):
        pieces = [Npz(os.fspath(piece)) if _is_path(piece) else piece for piece in X]
        return Blocks(pieces, [None] * len(pieces), None)
    return None


def read_at_once(piece):
    """Return a Delayed as a `Recipe` that one task follows, or as it is where it needs results that workers hold.

    The scheduler knows what a fitted model was computed from as long as the model is there. It must not know the user's
    own names of it: it mixes up tasks of one name where the user computes the same collection otherwise optimised.
    """
    from dask.optimization import cull

    if not _is_lazy(piece):
        return piece
    try:
        graph, _ = cull(dict(piece.__dask_graph__()), [piece.key])
    except KeyError:  # only the workers have it
        return piece
    is_known = all(hasattr(task, "dependencies") for task in graph.values())  # a Future has none
    is_whole = is_known and all(need in graph for task in graph.values() for need in task.dependencies)
    return Recipe(graph, piece.key) if is_whole else piece


def _size_of(chunk):
    return None if np.isnan(chunk) else int(chunk)


def _is_lazy(piece):
    """Tell whether something is a Delayed."""
    return hasattr(piece, "__dask_graph__") and hasattr(piece, "key")


def _is_path(piece):
    return isinstance(piece, os.PathLike) or isinstance(piece, str) and piece.endswith(".npz")


def parts_of(given, name, blocks):
    """Return the labels or weights of rows as one part per chunk, or None where they are not in parts.

    Parameters
    ----------
    given : Dask array or series, list of parts, or anything
    name : str
        What they are, for the message.
    blocks : Blocks

    Raises
    ------
    ValueError
        There are more or fewer chunks than X has.
    """
    n_chunks = len(blocks.pieces)
    if hasattr(given, "__dask_graph__"):
        parts = given.to_delayed()  # of a series a list, of an array an array
        parts = parts.ravel().tolist() if isinstance(parts, np.ndarray) else list(parts)
        if len(parts) != n_chunks:
            raise ValueError(
                f"{name} has {len(parts)} chunks and X has {n_chunks}; give {name} the chunks of the rows of X."
            )
        return parts
    if isinstance(given, (list, tuple)) and len(given) == n_chunks:
        is_parts = all(_is_lazy(part) or not isinstance(part, str) and hasattr(part, "__len__") for part in given)
        return list(given) if is_parts else None
    return None


def concatenated(parts):
    """Return the rows of all parts: arrays as an array, lists as a list, sparse matrices as CSR, frames as a dict."""
    if any(map(sp.issparse, parts)):
        return sp.csr_array(sp.vstack(parts, format="csr"))
    if hasattr(parts[0], "columns"):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0].columns}
    if all(isinstance(part, (list, tuple)) for part in parts):
        return [label for part in parts for label in part]
    return np.concatenate(parts)


def cut_rows(given, name, blocks):
    """Return what belongs to the rows of each chunk, a list with a part for each, some of them perhaps Delayed.

    Parameters
    ----------
    given : dict, Dask array, series or frame, list of parts, array-like, frame or sparse matrix; or None
        Of a dict, each value is cut.
    name : str
        What it is, for messages.
    blocks : Blocks

    Raises
    ------
    ValueError
        It is not in parts and has another number of rows than X, or the chunks of X have unknown sizes.
    """
    if given is None:
        return [None] * len(blocks.pieces)
    if isinstance(given, Mapping):
        each = [cut_rows(values, f"{name}[{key!r}]", blocks) for key, values in given.items()]
        return [dict(zip(given, parts, strict=True)) for parts in zip(*each, strict=True)]
    parts = parts_of(given, name, blocks)
    if parts is not None:
        return parts
    if None in blocks.sizes:
        raise ValueError(
            f"The chunks of X have unknown numbers of rows; give {name} as many chunks, as a Dask array or a list."
        )
    ends = np.cumsum(blocks.sizes)
    n_given = given.shape[0] if hasattr(given, "shape") else len(given)
    if n_given != ends[-1]:
        raise ValueError(f"{name} has {n_given} rows for {ends[-1]} rows of X; give one for each row.")
    rows = given.iloc if hasattr(given, "iloc") else sp.csr_array(given) if sp.issparse(given) else given
    return [rows[end - size : end] for size, end in zip(blocks.sizes, ends.tolist(), strict=True)]
