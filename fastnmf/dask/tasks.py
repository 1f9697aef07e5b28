"""Run on the workers of a fit: pure functions of what they are given, but for what a chunk remembers of itself."""

import functools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastnmf.core import chunks, own
from fastnmf.core.alternate import times_powers
from fastnmf.core.chunks import GivenStart, Part, State
from fastnmf.core.factors import scaled
from fastnmf.core.remote import DiskSource, part_of
from fastnmf.core.shares import Order, Share, added
from fastnmf.core.shares import summed as summed_tree
from fastnmf.data.labels import distinct, known_labels
from fastnmf.data.matrix import as_matrix, as_numbers
from fastnmf.data.ondisk import open_csr
from fastnmf.data.sentences import shown
from fastnmf.data.writing import replacing
from fastnmf.io.matrices import read_matrix
from fastnmf.kernels.jit import threads

STEPS = "fastnmf-steps"  # the topic under which workers tell the driver which steps they have made


def host_of(address):
    """Return the host in the address of a worker, such as ``tcp://10.0.0.1:4000``."""
    rest = address.split("://")[-1]
    return rest.split("/")[0] if "/" in rest else rest.rsplit(":", 1)[0]


@dataclass
class Context:
    """How many threads the kernels of a task use.

    Attributes
    ----------
    threads_of_host : dict
        Host -> threads of all workers on it.
    n_threads : int, or None
        What the user asks for.
    """

    threads_of_host: dict
    n_threads: int | None = None

    @contextmanager
    def threads(self):
        """Use as many threads in the block."""
        n_threads = self.n_threads
        if n_threads is None:
            from distributed import get_worker

            worker = get_worker()
            n_own, n_tasks = worker.state.nthreads, max(1, worker.state.executing_count)
            n_all = self.threads_of_host.get(host_of(worker.address), n_own)
            n_threads = max(1, _n_cores() * n_own // (n_all * n_tasks))  # the share of a task of that of the worker
        with threads(n_threads):
            yield


def _n_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def task(function):
    """Return a function that takes a `Context`, too, and runs in it."""

    @functools.wraps(function)
    def run(*given, context):
        with context.threads():
            return function(*given)

    return run


# ---------------------------------------------------------------- reading


@dataclass
class Loaded:
    """Checked rows of a chunk, csr_array, and its columns where they are stored, csc_array or None."""

    X: Any
    columns: Any = None

    def __sizeof__(self):  # by which the scheduler decides what to move
        return self.X.data.nbytes + self.X.indices.nbytes + self.X.indptr.nbytes


@dataclass(frozen=True)
class Npz:
    """A chunk in a file that `scipy.sparse.save_npz` wrote."""

    path: str


@dataclass(frozen=True)
class Recipe:
    """A chunk as the result of a small graph of Dask."""

    graph: dict
    key: Any

    def loaded(self):
        """Return the result."""
        import dask

        return dask.get(self.graph, self.key)


@dataclass(frozen=True)
class OnDisk:
    """A chunk of a matrix on disk; `stamp` tells matrices in the same folder apart, `sizes` are shape and entries."""

    folder: str
    chunk_rows: int
    stamp: int
    sizes: tuple
    number: int

    def loaded(self):
        """Return the rows; their entries are checked when a process reads them for the first time."""
        source, checked = _disk(self.folder, self.chunk_rows, self.stamp)
        if (found := (*source.X.shape, source.X.nnz)) != self.sizes:
            raise ValueError(
                f"{self.folder} has a matrix of (rows, columns, entries) {found} on a worker, but {self.sizes} on the "
                "driver; let all see the same folder, and leave it as it is while a fit reads it."
            )
        if self.number not in checked:
            source.check(self.number)
            checked.add(self.number)
        return Loaded(*source.rows(self.number))


@functools.lru_cache(maxsize=8)
def _disk(folder, chunk_rows, stamp):
    return DiskSource(open_csr(folder, chunk_rows=chunk_rows), None), set()


def loaded_piece(piece, number):
    """Return a chunk, which a Dask task has computed or which lies in a file, as `Loaded`."""
    if isinstance(piece, Loaded):
        return piece
    if isinstance(piece, OnDisk):
        return piece.loaded()
    X = read_matrix(piece.path) if isinstance(piece, Npz) else piece
    X = X.loaded() if isinstance(X, Recipe) else X
    if len(getattr(X, "shape", ())) == 2 and X.shape[0] == 0 and X.shape[1] > 0:  # chunks may be empty
        dtype = X.dtype if X.dtype in (np.float32, np.float64) else np.float64
        return Loaded(sp.csr_array(X.shape, dtype=dtype))
    X = as_matrix(X, f"Chunk {number} of X: ")
    X = X if sp.issparse(X) else sp.csr_array(X)
    arrays = (array if array.flags.writeable else array.copy() for array in (X.data, X.indices, X.indptr))
    own = sp.csr_array(tuple(arrays), X.shape)  # arrays that may not be written are another type to kernels
    own.has_canonical_format = X.has_canonical_format
    return Loaded(own)


@task
def in_memory(piece, number):
    """Return a chunk as `loaded_piece` does, in memory: a change of its files does not reach it."""
    found = loaded_piece(piece, number)
    if not isinstance(piece, OnDisk):
        return found
    return Loaded(*(None if each is None else each.copy() for each in (found.X, found.columns)))


def check_rows(number, n_rows, given, name):
    """Raise an error unless a part of what belongs to the rows of X has as many rows as the chunk.

    Parameters
    ----------
    number : int
        Of the chunk.
    n_rows : int
        Its rows.
    given : array-like
        The part.
    name : str
        What it has for each row, for the message.
    """
    shape = getattr(given, "shape", None)
    if shape == () or shape is None and (isinstance(given, str) or not hasattr(given, "__len__")):
        raise TypeError(f"Chunk {number} of X has {n_rows} rows, but its {name} are {shown(given)}; give one for each.")
    n_given = len(given) if shape is None else shape[0]
    if n_given != n_rows:
        raise ValueError(f"Chunk {number} of X has {n_rows} rows and {n_given} {name}; give both the same chunks.")


class Facts(NamedTuple):
    """The driver's knowledge of a chunk before anything else; `stratum_index` belongs to its own `labels`."""

    n_rows: int
    n_columns: int
    dtype: Any
    largest: float
    labels: Any
    stratum_index: Any
    weight: Any
    identity: tuple


@task
def facts(piece, number, strata, weight):
    """Return the `Facts` of a chunk.

    Parameters
    ----------
    piece :
        As for `loaded_piece`.
    number : int
    strata, weight : array-like (n_rows,), or None
        None where they do not come in parts.
    """
    X, labels, index = loaded_piece(piece, number).X, None, None
    for name, given in (("labels in strata", strata), ("weights in sample_weight", weight)):
        if given is not None:
            check_rows(number, X.shape[0], given, name)
    if strata is not None and X.shape[0]:
        labels, index = distinct(known_labels(strata, f"strata of chunk {number}", X.shape[0]), "strata")
        index = index.astype(np.int32)
    weight = None if weight is None else as_numbers(weight, "sample_weight").astype(np.float64)
    return Facts(*X.shape, X.dtype, float(X.data.max(initial=0.0)), labels, index, weight, identity_of(X))


def identity_of(X):
    """Return by what a chunk is known again that is read a second time: its shape, and number and sum of entries."""
    return *X.shape, int(X.nnz), float(X.data.sum(dtype=np.float64))


# ---------------------------------------------------------------- parts and steps


@dataclass
class Side:
    """The data of a chunk beside its rows.

    Attributes
    ----------
    first : int
        Number of the first row.
    membership : ndarray (n_rows,) of int32, or csr_array (n_rows, q)
        The strata of the rows, or their design.
    weight : ndarray (n_rows,), or None
    identity : tuple
        What `identity_of` returned in the first pass.
    """

    first: int
    membership: Any
    weight: np.ndarray | None
    identity: tuple


@dataclass
class Setting:
    """The options by which a chunk becomes a `Part`.

    Attributes
    ----------
    weighing : fastnmf.core.chunks.Weighing
    n_columns : int
    net : ElasticNet, or None
    pattern : Pattern, or None
    is_whole : bool
        As `fastnmf.core.remote.part_of` takes them.
    """

    weighing: chunks.Weighing
    n_columns: int
    net: Any = None
    pattern: Any = None
    is_whole: bool = False


@dataclass
class Call:
    """A function and its last arguments, the same for all chunks.

    Attributes
    ----------
    function : callable
    given : tuple
    kept : tuple of str
        Parts that the state of a chunk has beside W.
    is_backwards : bool
        Whether the chunks of a group take their turns backwards.
    """

    function: Any
    given: tuple = ()
    kept: tuple = ()
    is_backwards: bool = False

    def __sizeof__(self):
        return 1000 + self.n_bytes

    def __setstate__(self, state):  # it has come from another process
        vars(self).update(state)
        self._moved = self.n_bytes

    @property
    def n_bytes(self):
        """Size of its arrays."""
        return sum(getattr(each, "n_bytes", getattr(each, "nbytes", 0)) for each in self.given)

    def take_moved(self):
        """Return the bytes that have come to this process, once."""
        return vars(self).pop("_moved", 0)


def as_part(piece, side, setting, number):
    """Return a `Part`: the one that the worker holds, or a new one.

    Parameters
    ----------
    piece : Part, or what `loaded_piece` takes, or None
        None: the entries are not needed.
    side : Side
    setting : Setting
    number : int
        Of the chunk of the user, for messages.
    """
    if isinstance(piece, Part):
        return piece
    membership = owned(side.membership)
    X, columns = sp.csr_array((membership.shape[0], setting.n_columns), dtype=setting.weighing.dtype), None
    if piece is not None:
        found = loaded_piece(piece, number)
        X, columns = found.X, found.columns
        *sizes, total = identity_of(X)
        if (*sizes,) != side.identity[:3] or not math.isclose(total, side.identity[3], rel_tol=1e-9):
            raise ValueError(
                f"Chunk {number} of X is not what it was in the first pass, with {side.identity[0]} rows and "
                f"{side.identity[2]} entries; give files that do not change, and tasks that return the same each time."
            )
    data = setting.weighing.strata(X, membership, side.weight, columns)
    return part_of(data, side.first, setting.net, None if piece is None else setting.pattern, setting.is_whole)


part = task(as_part)


@task
def completed(held, setting):
    """Return a `Part` with the penalty and the places of a setting."""
    return part_of(held.data, held.first, setting.net, setting.pattern, setting.is_whole)


@task
def applied(piece, side, setting, number, call, own):
    """Return ``call.function(part, *call.given, *own)``.

    Parameters
    ----------
    piece, side, setting, number :
        As for `as_part`.
    call : Call
    own : tuple
        Last arguments, of this chunk alone.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # data of extreme scale, in the first pass
        return call.function(as_part(piece, side, setting, number), *map(owned, call.given), *own)


def summary_of(held, has_entropy):
    """Return the `Summary` of a chunk."""
    return chunks.summarized(held.data, has_entropy=has_entropy)


def zeros(near, n_rows, width, dtype):
    """Return the `State` of a chunk before its start, where `near` is.

    Parameters
    ----------
    near :
        Not used: a worker that has it is chosen.
    n_rows, width : int
        Its shape.
    dtype : numpy.dtype
    """
    return State(np.zeros((n_rows, width), dtype))


@task
def stepped(each, sums, setting, call):
    """Run a step of `fastnmf.core.chunks` on the chunks of a group, one after the other.

    Parameters
    ----------
    each : list of list
        For each chunk what `as_part` takes, piece, side and number; its `State`; and the rows (n_rows, k) for a step
        that begins at rows that the user gives, or None.
    sums : list
        The sums of shares that are wanted: each the place of a chunk in `each`, or a pair of such sums.
    setting : Setting
    call : Call
        Of an `Order`, and what else the step takes.

    Returns
    -------
    states : list of State
        The new ones.
    shares : list of Share
        One for each of `sums`.
    """
    given, states = list(map(owned, call.given)), [None] * len(each)

    def share_of(chosen):
        piece, side, number, state, start = each[chosen]
        held, state = as_part(piece, side, setting, number), State(*map(owned, state))
        state = state._replace(**{name: np.zeros_like(state.W) for name in call.kept if getattr(state, name) is None})
        own = given if start is None else [*given, GivenStart(start, held.first)]
        states[chosen], share = call.function(held, state, *own)
        return share

    turns = reversed(sums) if call.is_backwards else sums
    shares = [summed_tree(tree, share_of, is_backwards=call.is_backwards) for tree in turns]
    shares = shares[::-1] if call.is_backwards else shares
    shares[0].transferred += call.take_moved()
    _tell([number for _, _, number, *_ in each])
    return states, shares


def _tell(numbers):
    """Tell the driver that a step of some chunks has been made."""
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(STEPS, [worker.get_current_task()[0], numbers])


def owned(value):
    """Return an array, dense or CSR, or an order or share with arrays, that may be written; anything else as it is.

    Arrays from another worker may not be written, which is another type to kernels: each would be compiled again.
    """
    if isinstance(value, np.ndarray):
        return value if value.flags.writeable else value.copy()
    if sp.issparse(value):
        return value if all(F.flags.writeable for F in (value.data, value.indices, value.indptr)) else value.copy()
    if not isinstance(value, (Order, Share)):
        return value
    copies = {name: owned(array) for name, array in vars(value).items() if isinstance(array, np.ndarray)}
    return replace(value, **copies)


def picked(found, kind, place):
    """Return one of the states (kind 0) or of the shares (kind 1) that `stepped` returned."""
    return found[kind][place]


def summed(shares, places):
    """Return a sum of shares, none of which is changed: of the pairs of a tree, whose leaves are places among them."""
    return summed_tree(places, shares.__getitem__, added)


@task
def asked(piece, side, setting, number, state, call):
    """Return ``call.function(part, W, *call.given)``.

    Parameters
    ----------
    piece, side, setting, number :
        As for `as_part`.
    state : State
    call : Call
    """
    return call.function(as_part(piece, side, setting, number), owned(state.W), *map(owned, call.given))


def rescaled(state, scale):
    """Return a `State` whose columns are multiplied by `scale` (K,)."""
    each = (None if F is None else np.multiply(F, scale, out=np.empty_like(F), casting="same_kind") for F in state)
    return State(*each)


def saved(state, path):
    """Write the `State` of a chunk to a file, whole or not at all."""
    with replacing(path) as file:
        np.save(file, np.stack([F for F in state if F is not None]))


def restored(near, path, is_ahead, shape, dtype):
    """Return the `State` of a chunk that `saved` wrote, where `near` is; if `is_ahead`, W is that before the last step.

    Parameters
    ----------
    near :
        Not used: a worker that has it is chosen.
    path : Path
    is_ahead : bool
    shape : (int, int, int)
        The most parts that the state has, rows of the chunk, and K.
    dtype : numpy.dtype

    Raises
    ------
    ValueError
        The file is damaged, or holds other weights: compiled code would read beyond them.
    """
    try:
        found = np.load(path)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged, or not an .npy file") from error
    most, *of_part = shape
    fits = isinstance(found, np.ndarray) and found.shape[1:] == (*of_part,) and found.dtype == dtype
    fits = fits and 1 + is_ahead <= len(found) <= most
    if not fits or not np.isfinite(found).all() or found.min() < 0:
        raise ValueError(f"{path} does not hold the weights of its chunk")
    state = State(*found)
    return state._replace(W=state.before, before=None) if is_ahead else state


def row_of(state, place, is_ahead):
    """Return one row (K,) of the weights of a chunk."""
    return np.array((state.before if is_ahead else state.W)[place])


def together(function, each, context=None):
    """Return ``[function(*given) for given in each]``; several at a time where the worker has several threads.

    Parameters
    ----------
    function : callable
        One that `task` has returned, if there is a context.
    each : list of list
    context : Context, default=None
    """
    from distributed import get_worker

    n_threads = min(len(each), get_worker().state.nthreads)
    if context is None or n_threads == 1:
        more = {} if context is None else {"context": context}
        return [function(*given, **more) for given in each]
    alone = replace(context, n_threads=1)
    with ThreadPoolExecutor(n_threads) as pool:
        futures = [pool.submit(copy_context().run, function, *given, context=alone) for given in each]
        return [future.result() for future in futures]


def identity(value):
    """Return a value, on the worker that it was sent to: what is sent as a task is sent again where it is lost."""
    return value


def beside(near, value):
    """Return a value, on a worker that has `near`."""
    return value


# ---------------------------------------------------------------- the weights of the user


@dataclass
class Finish:
    """The changes that make the weights of a chunk those of the user, in this order.

    Attributes
    ----------
    rank : int
    is_ahead : bool
        Whether they are those before the last step.
    exponent : int
        They are multiplied by ``2 ** exponent``.
    power : float
        The row scale, by which they are divided, is the weight of the row to the power of ``1 / power``.
    scale : ndarray (k,), or None
        Their columns are multiplied by it.
    least : ndarray (n_strata, k), or None
        The part of a stratum that is subtracted.
    powers : ndarray (k,) of int, or None
        Their columns are multiplied by ``2 ** powers``.
    """

    rank: int
    is_ahead: bool
    exponent: int
    power: float
    scale: np.ndarray | None = None
    least: np.ndarray | None = None
    powers: np.ndarray | None = field(default=None)


def finished(state, side, finish):
    """Return the weights (n_rows, k) of the rows of a chunk in the units of the user."""
    W = scaled(np.array((state.before if finish.is_ahead else state.W)[:, : finish.rank]), finish.exponent)
    if side.weight is not None:
        row_scale = (side.weight ** (1 / finish.power)).astype(W.dtype)[:, None]
        W = np.divide(W, row_scale, out=np.zeros_like(W), where=row_scale > 0)
    if finish.scale is not None:
        W = (W * finish.scale).astype(W.dtype)
    if finish.least is not None:
        W = W - finish.least[side.membership]
    return W if finish.powers is None else times_powers(W, finish.powers)


def least_of(state, side, finish):
    """Return the numbers of the strata that a chunk has, and the smallest weight of each component in them."""
    used, index = np.unique(side.membership, return_inverse=True)
    W = finished(state, side, finish)
    least = np.full((len(used), W.shape[1]), np.inf, W.dtype)
    np.minimum.at(least, index, W)
    return used, least


def lengths_of(state, side, finish):
    """Return the lengths (k,) of the columns of the weights of a chunk, each row counted as often as it weighs."""
    W = finished(state, side, finish).astype(np.float64)
    W = W if side.weight is None else W * np.sqrt(side.weight)[:, None]
    largest = np.frexp(W.max(axis=0, initial=0.0))[1]
    return np.ldexp(np.sqrt(np.square(np.ldexp(W, -largest)).sum(axis=0)), largest)


@dataclass
class OwnFinish:
    """The changes that make the weights of own components of a chunk those of the user.

    Attributes
    ----------
    rank : int
        Number of own components of all strata.
    is_ahead, exponent, power, powers :
        As of `Finish`.
    terms : fastnmf.core.own_chunks.OwnTerms
    """

    rank: int
    is_ahead: bool
    exponent: int
    power: float
    terms: Any
    powers: np.ndarray | None = None


def own_finished(state, side, finish):
    """Return the weights of own components of the rows of a chunk, csr_array (n_rows, k), in the units of the user."""
    wide = (state.before if finish.is_ahead else state.W)[:, finish.terms.columns]
    U = own.gathered_weights(wide, finish.terms.sizes, side.membership)
    row_scale = None if side.weight is None else (side.weight ** (1 / finish.power)).astype(wide.dtype)
    U = own.unscaled_weights(U, row_scale, finish.exponent)
    return U if finish.powers is None else own.columns_times_powers(U, finish.powers)


def own_squares_of(state, side, finish):
    """Return the squared lengths (k,) of the columns of `own_finished`, float64."""
    U = own_finished(state, side, finish)
    return np.bincount(U.indices, np.square(U.data, dtype=np.float64), U.shape[1])


def transformed(model, piece, given, number, method="transform"):
    """Return the weights of the rows of a chunk.

    Parameters
    ----------
    model : NMF or StratifiedNMF
        Fitted, without Dask.
    piece :
        As for `loaded_piece`.
    given : dict
        The arguments of `transform` beside X: the strata, the design, the exposure of these rows.
    number : int
    method : {"transform", "transform_own"}, default="transform"
    """
    X, strata = loaded_piece(piece, number).X, given.get("strata")
    if strata is not None and not isinstance(strata, dict):
        check_rows(number, X.shape[0], strata, "labels in strata")
    if X.shape[0] == 0:
        is_own = method == "transform_own"
        return (
            sp.csr_array((0, model.n_own_.sum()), dtype=X.dtype)
            if is_own
            else np.zeros((0, len(model.components_)), X.dtype)
        )
    with threads(1):
        return getattr(model, method)(X, **given)
