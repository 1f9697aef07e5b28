"""Chunks of rows on disk, what a fit knows of all of them together, and the engine that walks them on one machine.

A source has the chunks, and an engine their weights; another source, such as that of Dask, has the same methods. The
fit itself is in `fastnmf.core.rounds`.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import errno
import math
import os
import tempfile

import numpy as np
import scipy.sparse as sp

from fastnmf.core import chunks
from fastnmf.core.chunks import State
from fastnmf.core.factors import aligned, refill
from fastnmf.core.losses.divergences import independence
from fastnmf.core.shares import chunk_pairs, summed
from fastnmf.data.design import DesignedStrata, HasDesign, covered
from fastnmf.data.layout import Compressed, row_index
from fastnmf.data.matrix import as_matrix
from fastnmf.data.shifts import Pattern
from fastnmf.data.strata import Strata, log4_scale_for, square_sum
from fastnmf.kernels.records import LazyRows

MAPPED_ABOVE = 1 << 30  # bytes of the weights from which on they are held in a file


class DiskSource:
    """The chunks of a matrix on disk, and the strata, or the design, and the weights of its rows.

    Parameters
    ----------
    X : fastnmf.data.ondisk.DiskCSR
    membership : ndarray (n_rows,) of int32, or csr_array (n_rows, q) of float64
        The stratum of each row, or its design.
    weight : ndarray (n_rows,) of float64, or None
    """

    def __init__(self, X, membership, weight=None):
        self.X, self.membership, self.weight = X, membership, weight
        self.shape, self.n_chunks, self.bounds, self.chunk_rows = X.shape, X.n_chunks, X.bounds, X.chunk_rows
        self._is_plain = [False] * self.n_chunks

    def check(self, chunk):
        """Check the entries of a chunk and return the largest; raise ValueError where they cannot be used."""
        lo, hi = self.bounds(chunk)
        X = self.X.chunk(chunk)
        checked = as_matrix(X, f"Rows {lo} to {hi}: ")
        is_native = self.X.data.dtype == checked.dtype and self.X.data.dtype.isnative
        self._is_plain[chunk] = is_native and checked.nnz == X.nnz and np.shares_memory(checked.data, X.data)
        if self._is_plain[chunk] and self.X.has_columns:
            _check_columns(checked, self.X.stored_columns(chunk), self.X.folder, lo)
        return float(checked.data.max(initial=0.0))

    def rows(self, chunk):
        """Return the rows of a chunk, csr_array, and its columns, csc_array, or None; `check` has been called."""
        return self.X.mapped_chunk(chunk) if self._is_plain[chunk] else (as_matrix(self.X.chunk(chunk)), None)

    def strata(self, chunk, weighing):
        """Return the rows of a chunk as `Strata`."""
        (X, columns), (lo, hi) = self.rows(chunk), self.bounds(chunk)
        weight = None if self.weight is None else self.weight[lo:hi]
        return weighing.strata(X, self.membership[lo:hi], weight, columns)

    def summary(self, weighing, has_entropy, is_first):
        """Return the `Summary` of all chunks; the first pass checks their entries, and finds the largest."""
        largest = [0.0]

        def summary_of(chunk):
            if is_first:
                largest.append(self.check(chunk))
            return chunks.summarized(self.strata(chunk, weighing), has_entropy=has_entropy)

        summary = summed(chunk_pairs(self.n_chunks), summary_of)
        summary.largest = max(largest)
        return summary

    def each(self, function, weighing, *given, own=None):
        """Return ``function(part, *given)`` of every chunk; with `own` of its chunks, each with its last argument.

        Parameters
        ----------
        function : callable
        weighing : fastnmf.core.chunks.Weighing
        *given :
            For all chunks alike.
        own : dict, default=None
            Chunk -> the last argument; None: all chunks, without such an argument.
        """
        each = ((chunk, (own[chunk],)) for chunk in own) if own is not None else ((i, ()) for i in range(self.n_chunks))
        parts = ((chunks.Part(self.strata(chunk, weighing), self.bounds(chunk)[0]), last) for chunk, last in each)
        return [function(part, *given, *last) for part, last in parts]

    def engine(self, data, width, **options):
        """Return the engine of a fit of these chunks; the arguments are those of `LocalEngine`."""
        return LocalEngine(data, width, **options)


def _check_columns(X, columns, folder, first):
    """Raise ValueError unless the stored columns of a chunk are those of its rows.

    Parameters
    ----------
    X : csr_array (n_rows, n_columns)
        The rows.
    columns : tuple of ndarray
        The values, the rows and the bounds of the columns.
    folder : path
    first : int
        Number of the first row.
    """
    (data, of_rows, indptr), counts = columns, np.bincount(X.indices, minlength=X.shape[1])
    fits = indptr[0] == 0 and (np.diff(indptr) == counts).all()
    if fits and X.nnz:
        fits = of_rows.min() >= 0 and of_rows.max() < X.shape[0]
        found, sums = np.add.reduceat(data, indptr[:-1][counts > 0], dtype=np.float64), np.bincount(X.indices, X.data)
        sums = np.append(sums, np.zeros(X.shape[1] - len(sums)))
        fits = fits and np.allclose(found, sums[counts > 0], rtol=1e-5, atol=0)
    if not fits:
        raise ValueError(
            f"The stored columns of the chunk from row {first} on in {folder} are not those of its rows; write the "
            "matrix again with save_csr."
        )


def summarize(source, labels, dtype, power, *, has_entropy):
    """Return the `Summary` of all chunks, and the `Weighing` of a fit, after one pass; data of extreme scale take two.

    Parameters
    ----------
    source : DiskSource, or another
    labels : ndarray (n_strata,)
    dtype : numpy.dtype
    power : float
        See `Strata.weigh`.
    has_entropy : bool
        As for `fastnmf.core.chunks.summarized`.
    """
    weighing = chunks.Weighing(dtype, labels, 0, power)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        summary = source.summary(weighing, has_entropy, is_first=True)
    largest = summary.largest
    if log4_scale := log4_scale_for(largest, dtype):
        weighing = chunks.Weighing(dtype, labels, log4_scale, power)
        summary = source.summary(weighing, has_entropy, is_first=False)
        summary.largest = largest
    return summary, weighing


class StratumSizes:
    """The rows of each stratum, or of each column of a design, as losses read them of a `Grouping`.

    Attributes
    ----------
    counts, sizes : ndarray (n_strata,)
        Number of rows, and sum of their weights.
    stratum_index : ndarray (0,) of int32
        There are no rows here.
    """

    def __init__(self, counts, sizes):
        self.counts, self.sizes, self.stratum_index = counts, sizes, np.empty(0, np.int32)


class ChunkedStrata:
    """The data of a fit in chunks: all that `Strata` has but the rows, of which it has none.

    Parameters
    ----------
    source : DiskSource
    summary : fastnmf.core.chunks.Summary
    weighing : fastnmf.core.chunks.Weighing
    sparse_shifts : bool, or None
        See `Strata`.

    Attributes
    ----------
    shape, dtype, labels, n_strata, log4_scale, sq_norm, weight, row_scale, total, pattern, groups :
        As of `Strata`; the shape is that of all rows.
    """

    is_sparse, entry_weights = True, None

    def __init__(self, source, summary, weighing, sparse_shifts=None):
        self.source, self.summary, self.weighing, self.sparse_shifts = source, summary, weighing, sparse_shifts
        self.shape, self.dtype, self.labels = source.shape, weighing.dtype, weighing.labels
        self.n_strata, self.log4_scale, self.sq_norm = len(self.labels), weighing.log4_scale, summary.squares
        self.weight, self.row_scale, self.total = source.weight, None, float(self.shape[0])
        if self.weight is not None:
            self.row_scale = (self.weight ** (1 / weighing.power)).astype(self.dtype)
            self.total = float(self.weight.sum())
        self.groups, sums = self._take_membership(source.membership), summary.pattern
        entries = sums.data.astype(self.dtype), sums.indptr.astype(np.int64), sums.indices.astype(np.int32)
        self.pattern = Pattern(entries[1], entries[2], entries[0], self.n_strata, sparse_shifts)
        self.n_entries = summary.n_entries

    def _take_membership(self, stratum_index):
        """Keep the strata of the rows, and return their `StratumSizes`."""
        self.stratum_index = stratum_index
        counts = np.bincount(stratum_index, minlength=self.n_strata)
        return StratumSizes(counts, counts if self.weight is None else self.collect(self.weight))

    @property
    def own(self):
        """The strata to which own components belong: these."""
        return self

    def collect(self, each):
        """Return the sums of a number of each row (n_rows,) by stratum, as `Strata.collect`."""
        return np.bincount(self.stratum_index, each, self.n_strata)

    def shift_totals(self):
        """Return how often each shift is in the sum of the whole model of Kullback-Leibler, (n_strata,)."""
        return self.groups.sizes

    def shift_row(self, v, row):
        """Return the shift of a row, without its row scale, dense (n_columns,), for the entries v (q,) of shifts."""
        return self.pattern.row(v, self.stratum_index[row])

    @property
    def rows(self):
        """`Compressed` rows: none are here."""
        return Compressed(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, self.dtype))

    def matmul(self, F, out):
        """Write ``X F`` into out (0, K): for the rows that are here, none."""

    def column_sums(self):
        """Return the weighted sum of every column, float64 (n_columns,), as `Strata.column_sums`."""
        return self.summary.pattern.sum(axis=1) if self.summary.columns is None else self.summary.columns

    def column_means(self):
        """Return the weighted mean of every column, as `Strata.column_means`."""
        return (self.column_sums() / (self.total or 1.0)).astype(self.dtype)

    def independence(self):
        """Return the Kullback-Leibler divergence of the data from the product of their margins."""
        summary, sums = self.summary, self.column_sums()
        of_columns = float(sums[sums > 0] @ np.log(sums[sums > 0]))
        return independence(summary.entropy, summary.total, (summary.margins, of_columns))

    def stratum_means(self):
        """Return the weighted mean of every column over the rows of each stratum, on the pattern, an array (q,)."""
        sizes = np.where(self.groups.sizes > 0, self.groups.sizes, 1).astype(np.float64)
        return self.pattern.sums / sizes[self.pattern.group]

    def take(self, chosen):
        """Return some rows, csr_array in the inner scale and with their row scale; chunks without one are not read.

        Parameters
        ----------
        chosen : ndarray of int
            In ascending order.
        """
        own = {}
        for chunk in range(self.source.n_chunks):
            lo, hi = self.source.bounds(chunk)
            first, last = np.searchsorted(chosen, (lo, hi))
            if first < last:
                own[chunk] = chosen[first:last] - lo
        return sp.csr_array(sp.vstack(self.source.each(_taken, self.weighing, own=own), format="csr"))

    def part(self, chosen, X):
        """Return some of the rows as `Strata`, with their weights and all strata; as `Strata.part`."""
        data = self._of_rows(X, chosen)
        data.sq_norm, data.sparse_shifts = square_sum(X.data), self.sparse_shifts
        return data if self.weight is None else data.with_row_weights(self.weight[chosen], self.weighing.power)

    def _of_rows(self, X, chosen):
        return Strata(X, self.labels, self.stratum_index[chosen], log4_scale=self.log4_scale)

    def identity(self):
        """Return values by which a checkpoint recognises the data, without another pass over them."""
        summary = self.summary
        sums = summary.pattern.data, summary.pattern.indices, summary.pattern.indptr
        return summary.n_entries, summary.largest, summary.squares, *sums, self.source.chunk_rows


class ChunkedDesign(HasDesign, ChunkedStrata):
    """The data of a fit in chunks whose rows have shifts by a design; as `DesignedStrata` without the rows of X.

    The design of all rows is here: it is sparse, and has a few numbers for each row. Nothing else has as many rows.

    Parameters
    ----------
    source, summary, weighing, sparse_shifts :
        As for `ChunkedStrata`; the membership of the source is a csr_array.
    laplacian : csr_array (q, q) of float64, default=None
        As for `DesignedStrata`.
    """

    def __init__(self, source, summary, weighing, sparse_shifts=None, laplacian=None):
        super().__init__(source, summary, weighing, sparse_shifts)
        self.laplacian = laplacian
        self.pattern = covered(self.pattern, laplacian)

    def _take_membership(self, design):
        self.design = design
        counts = np.bincount(design.indices, minlength=self.n_strata)
        weight = None if self.weight is None else self.weight[row_index(design)]
        return StratumSizes(counts, np.bincount(design.indices, weight, self.n_strata))

    def shift_totals(self):
        """As `ChunkedStrata.shift_totals`: the sums of the columns of Z times the row scale."""
        return self.collect(np.ones(self.shape[0]) if self.row_scale is None else self.row_scale.astype(np.float64))

    def shift_row(self, v, row):
        """As `ChunkedStrata.shift_row`."""
        Z = self.design[[row]]
        each = (z * self.pattern.row(v, s) for s, z in zip(Z.indices, Z.data, strict=True))
        return sum(each, np.zeros(self.shape[1]))

    def lazy_shifts(self, below):
        """Return a ``LazyRows`` whose `rows` are `below` (q, K): the chunks have the rows of Z."""
        return LazyRows.of(below, self.groups.stratum_index)

    def _of_rows(self, X, chosen):
        scale = {"log4_scale": self.log4_scale, "laplacian": self.laplacian}
        return DesignedStrata(X, self.labels, self.design[chosen], **scale)


def chunked_strata(source, summary, weighing, sparse_shifts=None, laplacian=None):
    """Return the `ChunkedStrata` of a fit, or the `ChunkedDesign` where the source has the design of the rows.

    Parameters
    ----------
    source, summary, weighing, sparse_shifts, laplacian :
        As for `ChunkedDesign`.
    """
    if sp.issparse(source.membership):
        return ChunkedDesign(source, summary, weighing, sparse_shifts, laplacian)
    return ChunkedStrata(source, summary, weighing, sparse_shifts)


def _taken(part, rows):
    return part.data.X[rows]


def room(shape, dtype):
    """Return a zeroed array, in a temporary file without a name where it is large."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= MAPPED_ABOVE:
        return aligned(shape, dtype)
    with _temporary(size) as file:  # removed by the system when the last array lets go of it
        return _mapped(file, shape, dtype)


def _temporary(size):
    """Return a temporary file without a name that has room for some bytes, which are zero; OSError: there is none."""
    try:
        file = tempfile.TemporaryFile()
        try:
            _allocate(file, size)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise OSError(
            f"No temporary file of {size:,} bytes for the weights of the rows can be made in {tempfile.gettempdir()} "
            f"({error.strerror}); free some space, or set the variable TMPDIR to a folder that has it."
        ) from error
    return file


def _allocate(file, size):
    """Give a file its size and its place on the disk: a write to a mapped page without one would end the process."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except AttributeError:  # of other systems
        file.truncate(size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # of some file systems
            raise
        file.truncate(size)


def _mapped(file, shape, dtype):
    return np.asarray(np.memmap(file, dtype, "r+", shape=shape))


class RowStore:
    """An array (n_rows, K) that is replaced chunk by chunk, in a temporary file where it is large.

    Parts of the file are written by calls: the first write to each page of a mapped file interrupts the process, which
    took a fifth of the processor time of an iteration over 10⁹ non-zeros.

    Parameters
    ----------
    shape : (int, int)
    dtype : numpy.dtype
    """

    def __init__(self, shape, dtype):
        is_large = math.prod(shape) * np.dtype(dtype).itemsize > MAPPED_ABOVE and hasattr(os, "pwrite")
        self.file = _temporary(math.prod(shape) * np.dtype(dtype).itemsize) if is_large else None
        self.array = _mapped(self.file, shape, dtype) if is_large else room(shape, dtype)

    def put(self, lo, rows):
        """Replace the rows from `lo` on."""
        if self.file is None:
            self.array[lo : lo + len(rows)] = rows
            return
        left, at = memoryview(np.ascontiguousarray(rows)).cast("B"), lo * self.array.strides[0]
        while len(left):
            n_written = os.pwrite(self.file.fileno(), left, at)
            left, at = left[n_written:], at + n_written


class LocalEngine:
    """Run the steps of a fit on one machine, one chunk after the other, each on the threads of the kernels.

    Parameters
    ----------
    data : ChunkedStrata
    width : int
        Padded rank K.
    net : ElasticNet, or None
        The penalty of W, for rows without weights.
    has_places : bool
        Whether the steps need the places of the shifts of a chunk.
    is_whole : bool, default=False
        Whether a chunk takes the pattern of all data for its own.

    Attributes
    ----------
    W, before, first, second : ndarray (n_rows, K), all but W or None
        The weights of all chunks as in `State`, in files where they are large.
    """

    def __init__(self, data, width, *, net=None, has_places=False, is_whole=False):
        self.data, self.width, self.net, self.has_places, self.is_whole = data, width, net, has_places, is_whole
        self._adopted, self._rooms, self.before, self.first, self.second, self._is_backwards = (
            None,
            {},
            None,
            None,
            None,
            False,
        )
        self.keep("W")

    def keep(self, *names):
        """Keep these parts of the states of the chunks, too."""
        for name in names:
            self._rooms[name] = RowStore((self.data.shape[0], self.width), self.data.dtype)
            setattr(self, name, self._rooms[name].array)

    def adopt(self, other):
        """Take the weights of another engine of the same chunks, of any width, as those before the next step."""
        self._adopted = other.W

    def run(self, step, order, *given, reads=True):
        """Run ``step(part, state, order, *given)`` on every chunk, and return the sum of their shares."""
        adopted, self._adopted = self._adopted, None
        source, is_backwards = self.data.source, reads and self._is_backwards
        self._is_backwards ^= reads  # a pass begins with the chunks that were read last: they are still in memory

        def share_of(chunk):
            lo, hi = source.bounds(chunk)
            if reads:
                source.X.will_need(chunk - 1 if is_backwards else chunk + 1)
            part = self._part(chunk) if reads else self._without_rows(chunk)
            held = State(*(None if (array := getattr(self, name)) is None else array[lo:hi] for name in State._fields))
            held = held if adopted is None else held._replace(W=adopted[lo:hi])
            state, share = step(part, held, order, *given)
            for name in reversed(State._fields):  # W last: others may be the old W itself
                old, new = getattr(held, name), getattr(state, name)
                if old is not None and new is not old:
                    self._rooms[name].put(lo, new)
            share.transferred = source.X.n_bytes(chunk) if reads else 0
            return share

        share = summed(chunk_pairs(source.n_chunks), share_of, is_backwards=is_backwards)
        if reads:
            source.X.check_unchanged()  # the last chunk may have changed while it was read
        return share

    def columns(self):
        """Return further entries of the history: none."""
        return {}

    def ask(self, function, *given):
        """Return ``function(part, W, *given)`` of every chunk."""
        return [function(self._part(chunk), self.W[lo:hi], *given) for chunk, (lo, hi) in self._chunks()]

    def scale(self, scale):
        """Multiply the columns of all weights by `scale` (K,)."""
        for array in (self.W, self.before):
            if array is not None:
                np.multiply(array, scale, out=array, casting="same_kind")

    def to_state(self, is_ahead):
        """Return all that is kept, by name, not copied; if `is_ahead`, W is the one before the last step."""
        found = {name: array for name in State._fields if (array := getattr(self, name)) is not None}
        if is_ahead:
            found["W"] = found.pop("before")
        return found

    def from_state(self, state):
        """Replace what is kept by what `to_state` returned."""
        for name, kept in state.items():
            refill(getattr(self, name), kept)

    def row(self, number, is_ahead):
        """Return the present weights (K,) of one row."""
        return self._present(is_ahead)[number]

    def gathered(self, rank, is_ahead):
        """Return the present weights of all rows (n_rows, rank), a copy; in a file where it is large."""
        W = self._present(is_ahead)
        out = room((len(W), rank), W.dtype)
        out[:] = W[:, :rank]
        return out

    def _present(self, is_ahead):
        return self.before if is_ahead else self.W

    def _chunks(self):
        source = self.data.source
        return ((chunk, source.bounds(chunk)) for chunk in range(source.n_chunks))

    def _part(self, chunk):
        data, lo = self.data.source.strata(chunk, self.data.weighing), self.data.source.bounds(chunk)[0]
        pattern = self.data.pattern if self.has_places or self.is_whole else None
        return part_of(data, lo, self.net, pattern, self.is_whole)

    def _without_rows(self, chunk):
        data, (lo, hi) = self.data, self.data.source.bounds(chunk)
        nothing = sp.csr_array((hi - lo, data.shape[1]), dtype=data.dtype)
        return part_of(data.part(np.arange(lo, hi), nothing), lo, self.net)


def part_of(data, first, net=None, pattern=None, is_whole=False):
    """Return the `Part` of the rows of a chunk.

    Parameters
    ----------
    data : Strata
    first : int
        Number of the first row among all.
    net : ElasticNet, or None
        The penalty of W, for rows without weights.
    pattern : Pattern, or None
        That of all data, where the steps need the places of the shifts of a chunk.
    is_whole : bool, default=False
        Whether the chunk takes it for its own; with a design it always does.
    """
    places = None
    if pattern is not None and (is_whole or isinstance(data, HasDesign)):
        data.pattern, places = pattern, slice(None)  # its own, found in each pass, took a third of an iteration
    elif pattern is not None:
        places = pattern.places(data.pattern, np.arange(data.shape[1]))
    return chunks.Part(data, first, None if net is None else net.of_rows(data.row_scale), places)
