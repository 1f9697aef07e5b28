"""The driver of a fit whose rows lie in chunks: it holds H and V, sends orders, and adds up shares.

The losses, updates and penalties of H and V, the loop, its rules and its history are those of all fits. Of W they need
sums only: its Gram matrix, its product with the data, its sums by stratum. `ChunkedFactors` put these where the losses
look for them, so that no loss knows where the rows are.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import math
import tempfile
from functools import partial

import numpy as np
import scipy.sparse as sp

from fastnmf.core import chunks
from fastnmf.core.alternate import AlternatingSolver, rebalance
from fastnmf.core.chunks import Order, Share, ShareTree, State
from fastnmf.core.factors import Factors, aligned, refill, row_tasks
from fastnmf.core.iterate import Solver
from fastnmf.core.losses import KullbackLeibler
from fastnmf.core.losses.divergences import independence
from fastnmf.core.losses.squared import MAX_RESEEDINGS
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.thresholds import REVIVAL_GAIN, huge, model_floor
from fastnmf.core.updates import MU
from fastnmf.data.layout import Compressed
from fastnmf.data.matrix import as_matrix
from fastnmf.data.shifts import Pattern
from fastnmf.data.strata import Strata, log4_scale_for
from fastnmf.kernels import rows
from fastnmf.kernels.blas import single_threaded_blas

MAPPED_ABOVE = 1 << 30  # bytes of the weights from which on they are held in a file


class DiskSource:
    """The chunks of a matrix on disk, and the strata and the weights of its rows.

    Parameters
    ----------
    X : fastnmf.data.ondisk.DiskCSR
    stratum_index : ndarray (n_rows,) of int32
    weight : ndarray (n_rows,) of float64, or None
    """

    def __init__(self, X, stratum_index, weight=None):
        self.X, self.stratum_index, self.weight = X, stratum_index, weight
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

    def strata(self, chunk, weighing):
        """Return the rows of a chunk as `Strata`."""
        lo, hi = self.bounds(chunk)
        X, columns = self.X.mapped_chunk(chunk) if self._is_plain[chunk] else (as_matrix(self.X.chunk(chunk)), None)
        weight = None if self.weight is None else self.weight[lo:hi]
        return weighing.strata(X, self.stratum_index[lo:hi], weight, columns)


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
    source : DiskSource
    labels : ndarray (n_strata,)
    dtype : numpy.dtype
    power : float
        See `Strata.weigh`.
    has_entropy : bool
        As for `fastnmf.core.chunks.summarized`.
    """
    weighing, largest = chunks.Weighing(dtype, labels, 0, power), []

    def whole(weighing, is_first):
        tree = ShareTree()
        for chunk in range(source.n_chunks):
            if is_first:
                largest.append(source.check(chunk))
            tree.add(chunks.summarized(source.strata(chunk, weighing), has_entropy=has_entropy))
        return tree.result()

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        summary = whole(weighing, True)
    if log4_scale := log4_scale_for(max(largest), dtype):
        weighing = chunks.Weighing(dtype, labels, log4_scale, power)
        summary = whole(weighing, False)
    summary.largest = max(largest)
    return summary, weighing


class StratumSizes:
    """The rows of each stratum, as losses read them of a `Grouping`.

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
    """What a fit knows of data in chunks: all that `Strata` has but the rows, of which it has none.

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
        self.stratum_index, self.weight, self.row_scale = source.stratum_index, source.weight, None
        self.total, counts = float(self.shape[0]), np.bincount(self.stratum_index, minlength=self.n_strata)
        sizes = counts
        if self.weight is not None:
            self.row_scale = (self.weight ** (1 / weighing.power)).astype(self.dtype)
            self.total = float(self.weight.sum())
            sizes = np.bincount(self.stratum_index, self.weight, self.n_strata)
        self.groups, sums = StratumSizes(counts, sizes), summary.pattern
        self.column_sums = sums.sum(axis=1)
        entries = sums.data.astype(self.dtype), sums.indptr.astype(np.int64), sums.indices.astype(np.int32)
        self.pattern = Pattern(entries[1], entries[2], entries[0], self.n_strata, sparse_shifts)
        self.n_entries = summary.n_entries

    @property
    def rows(self):
        """`Compressed` rows: none are here."""
        return Compressed(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, self.dtype))

    def matmul(self, F, out):
        """Write ``X F`` into out (0, K): for the rows that are here, none."""

    def column_means(self):
        """Return the weighted mean of every column, as `Strata.column_means`."""
        return (self.column_sums / (self.total or 1.0)).astype(self.dtype)

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
        blocks = []
        for chunk in range(self.source.n_chunks):
            lo, hi = self.source.bounds(chunk)
            first, last = np.searchsorted(chosen, (lo, hi))
            if first < last:
                blocks.append(self.source.strata(chunk, self.weighing).X[chosen[first:last] - lo])
        return sp.csr_array(sp.vstack(blocks, format="csr"))

    def part(self, chosen, X):
        """Return some of the rows as `Strata`, with their weights and all strata; as `Strata.part`."""
        data = Strata(X, self.labels, self.stratum_index[chosen], log4_scale=self.log4_scale)
        data.sq_norm, data.sparse_shifts = float(np.square(X.data, dtype=np.float64).sum()), self.sparse_shifts
        return data if self.weight is None else data.with_row_weights(self.weight[chosen], self.weighing.power)

    def identity(self):
        """Return values by which a checkpoint recognises the data, without another pass over them."""
        summary = self.summary
        sums = summary.pattern.data, summary.pattern.indices, summary.pattern.indptr
        return summary.n_entries, summary.largest, summary.squares, *sums, self.source.chunk_rows


def room(shape, dtype):
    """Return a zeroed array, in a temporary file without a name where it is large."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= MAPPED_ABOVE:
        return aligned(shape, dtype)
    with tempfile.TemporaryFile() as file:  # removed by the system when the last array lets go of it
        file.truncate(size)
        return np.asarray(np.memmap(file, dtype, "r+", shape=shape))


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

    Attributes
    ----------
    W, before, first, second : ndarray (n_rows, K), all but the first or None
        The weights of all chunks as in `State`, in files where they are large.
    """

    def __init__(self, data, width, *, net=None, has_places=False):
        self.data, self.net, self.has_places = data, net, has_places
        self.W = room((data.shape[0], width), data.dtype)
        self.before = self.first = self.second = None

    def keep(self, *names):
        """Keep these parts of the states of the chunks, too."""
        for name in names:
            setattr(self, name, room(self.W.shape, self.W.dtype))

    def run(self, step, order, *given, reads=True):
        """Run ``step(part, state, order, *given)`` on every chunk, and return the sum of their shares."""
        tree = ShareTree()
        for chunk, (lo, hi) in self._chunks():
            part = self._part(chunk) if reads else self._without_rows(chunk)
            held = State(*(None if (array := getattr(self, name)) is None else array[lo:hi] for name in State._fields))
            state, share = step(part, held, order, *given)
            for array, found in reversed(list(zip(held, state, strict=True))):  # W last: others may be the old W itself
                if array is not None:
                    array[:] = found
            tree.add(share)
        return tree.result()

    def ask(self, function, *given):
        """Return ``function(part, W, *given)`` of every chunk."""
        return [function(self._part(chunk), self.W[lo:hi], *given) for chunk, (lo, hi) in self._chunks()]

    def scale(self, scale):
        """Multiply the columns of all weights by `scale` (K,)."""
        for array in (self.W, self.before):
            if array is not None:
                np.multiply(array, scale, out=array, casting="same_kind")

    def _chunks(self):
        source = self.data.source
        return ((chunk, source.bounds(chunk)) for chunk in range(source.n_chunks))

    def _part(self, chunk):
        data, lo = self.data.source.strata(chunk, self.data.weighing), self.data.source.bounds(chunk)[0]
        places = None
        if self.has_places:
            places = self.data.pattern.places(data.pattern, np.arange(data.shape[1]))
        return chunks.Part(data, lo, None if self.net is None else self.net.of_rows(data.row_scale), places)

    def _without_rows(self, chunk):
        data, (lo, hi) = self.data, self.data.source.bounds(chunk)
        nothing = sp.csr_array((hi - lo, data.shape[1]), dtype=data.dtype)
        data = data.part(np.arange(lo, hi), nothing)
        return chunks.Part(data, lo, None if self.net is None else self.net.of_rows(data.row_scale))


class SharedNet:
    """The elastic net of W, from the sums that its chunks have sent.

    Parameters
    ----------
    net : ElasticNet
    rounds : Rounds
    """

    def __init__(self, net, rounds):
        self.net, self.rounds = net, rounds

    def contribute(self, F, sub, rank):
        """Add nothing: the chunks add the half-gradient of their rows."""

    def value(self, F):
        """Return the penalty."""
        linear, squared = self.rounds.share.columns
        return self.net.unit * float(linear.sum() + squared.sum() / 2)

    def columns(self, F):
        """Return ``(a, b)`` as `ElasticNet.columns`."""
        return tuple(self.rounds.share.columns)


class Rounds:
    """Send orders to the chunks, and keep the sum of their shares.

    Parameters
    ----------
    engine : LocalEngine
    rank : int
    has_shifts : bool

    Attributes
    ----------
    share : Share
        Of the present W.
    is_zero : bool
        Whether W is zero, as in many starts.
    is_ahead : bool
        Whether W has been updated for the next iteration already; the engine's `before` is then the present W.
    n_bytes : int
        Size of all orders and shares so far.
    """

    def __init__(self, engine, rank, has_shifts):
        self.engine, self.rank, self.has_shifts = engine, rank, has_shifts
        self.is_zero, self.is_ahead, self.n_bytes, self._scale = True, False, 0, None
        width, data = engine.W.shape[1], engine.data
        sums = np.zeros((data.n_strata, width)) if has_shifts else None
        columns = None if engine.net is None else np.zeros((2, width))
        arrays = np.zeros((data.shape[1], width)), np.zeros((width, width)), sums, np.zeros(width), columns
        self.share = Share(*arrays)

    def run(self, step, *given, reads=True, **content):
        """Run a step on all chunks, and keep and return the sum of their shares."""
        order = Order(self.rank, self.has_shifts, scale=self._scale, **content)
        self._scale = None
        self.share = self.engine.run(step, order, *given, reads=reads)
        self.n_bytes += (order.n_bytes + self.share.n_bytes) * self.engine.data.source.n_chunks
        return self.share

    def ask(self, function, *given):
        """Return ``function(part, W, *given)`` of every chunk, W with its present scale."""
        self.flush()
        return self.engine.ask(function, *given)

    def scale(self, scale):
        """Multiply the columns of W by `scale` (K,) in the next step, and its sums at once."""
        share, self._scale = self.share, scale if self._scale is None else self._scale * scale
        share.gram = None if share.gram is None else share.gram * np.outer(scale, scale)
        share.totals = share.totals * scale
        share.columns = None if share.columns is None else share.columns * np.array([scale, scale**2])
        for name in ("product", "sums"):
            if (array := getattr(share, name)) is not None:
                setattr(share, name, array * scale)

    def flush(self):
        """Multiply the columns of W by what has been asked for since the last step."""
        if self._scale is not None:
            self.engine.scale(self._scale)
            self._scale = None

    def present(self):
        """Return the present W of all rows, (n_rows, K), not a copy."""
        self.flush()
        return self.engine.before if self.is_ahead else self.engine.W

    def restore(self, W, before):
        """Replace the weights of all rows by those of a saved state."""
        refill(self.engine.W, W)
        if before is not None:
            refill(self.engine.before, before)
        self._scale, self.is_zero, self.is_ahead = None, False, False


class ChunkedFactors(Factors):
    """Factors of which W stays with the chunks: `W` has no rows here, and its sums are in the cache.

    Parameters
    ----------
    rounds : Rounds
    **arrays : ndarray
        H, and V for models with shifts.
    """

    def __init__(self, rounds, **arrays):
        dtype, width = rounds.engine.data.dtype, rounds.engine.W.shape[1]
        super().__init__(rounds.rank, W=np.empty((0, width), dtype), **arrays)
        self.rounds, self.inner = rounds, None
        self.invalidate("W")

    def invalidate(self, name):
        """Note that factor `name` has changed; of W, take the sums that the chunks have sent."""
        super().invalidate(name)
        if name != "W":
            return
        share, dtype = self.rounds.share, self.arrays["W"].dtype
        if share.gram is not None:
            self.cache_put(("gram", "W"), ("W",), share.gram)
        if share.product is not None:
            self.cache_put(("product", "H"), ("W",), share.product.astype(dtype, copy=False))
        if share.sums is not None:
            self.cache_put("stratum sums", ("W",), share.sums.astype(dtype))
        self.cache_put(("sums", "W"), ("W",), share.totals)

    def multiply_columns(self, name, scale):
        """As `Factors.multiply_columns`; the chunks follow in their next step."""
        if name != "W":
            return super().multiply_columns(name, scale)
        self.rounds.scale(scale)
        self.invalidate("W")

    def shift_exponents(self, name, powers):
        """As `Factors.shift_exponents`; the chunks follow in their next step."""
        if name != "W":
            return super().shift_exponents(name, powers)
        self.multiply_columns("W", np.ldexp(1.0, powers))

    def go_back(self, name, before):
        """As `Factors.go_back`; the chunks know W before the extrapolation."""
        if name != "W":
            return super().go_back(name, before)
        self.rounds.run(chunks.gone_back, reads=False)
        self.invalidate("W")

    def is_zero(self, name):
        """Tell whether all entries of a factor are zero."""
        return self.rounds.is_zero if name == "W" else super().is_zero(name)

    def to_state(self):
        """Return the arrays by name, with the W of all rows, and W before its extrapolation."""
        W, before = self.rounds.present(), self.rounds.engine.before
        return super().to_state() | {"W": W} | ({} if before is None else {"before": before})

    def from_state(self, state):
        """Replace the values of the factors, and ask the chunks for their sums again."""
        self.rounds.restore(state["W"], state.get("before"))
        super().from_state({name: array for name, array in state.items() if name not in ("W", "before")})
        self.rounds.run(chunks.measured)
        self.invalidate("W")

    def gathered(self, name):
        """Return a factor (p, k) without padding; W of all rows, in a file where it is large."""
        if name != "W":
            return super().gathered(name)
        W = self.rounds.present()
        out = room((len(W), self.rank), W.dtype)
        out[:] = W[:, : self.rank]
        return out


class ChunkUpdate:
    """The update of W for the squared error: a round over all chunks, each of which extrapolates its rows, too.

    Parameters
    ----------
    factors : ChunkedFactors
    update : Update
        Of the rows of a chunk.
    extrapolation : Extrapolation, or None
    """

    def __init__(self, factors, update, extrapolation):
        self.factors, self.update, self.extrapolation = factors, update, extrapolation

    def __call__(self, F, sub, rank, n_sweeps):
        """Update W; `F` has no rows, and `sub` gives the Gram matrix of H and the shifts."""
        factors, update, extrapolation = self.factors, self.update, self.extrapolation
        rounds = factors.rounds
        if isinstance(update, MU):  # its eps depends on the number of rows
            update = MU(update.eps_for(float(sub.gram.trace()), rounds.engine.data.shape[0], rank), update.floor)
        rounds.run(
            chunks.descended,
            H=factors["H"],
            gram=sub.gram,
            below=None if sub.neg is None else sub.neg.rows,
            update=update,
            n_sweeps=n_sweeps,
            beta=extrapolation.beta if extrapolation is not None and extrapolation.is_on else None,
        )
        rounds.is_zero = False


class ChunkedKullbackLeibler(KullbackLeibler):
    """The Kullback-Leibler divergence of data in chunks, from the sums that they have sent.

    Parameters
    ----------
    data : ChunkedStrata
    tasks : dict of str to ndarray of int64
        Task tables of H.
    factors : ChunkedFactors
    """

    def __init__(self, data, tasks, factors):
        self.strata, self.tasks, self.has_shifts = data, tasks, "V" in factors.arrays
        self.total, self._rounds = data.summary.total, factors.rounds
        self.floor = model_floor(self.total / max(data.n_entries, 1))
        self._groups = {"H": np.zeros(data.shape[1], np.int32)}
        if self.has_shifts:
            self.sizes = data.groups.sizes.astype(data.dtype)
            self._no_weight = np.zeros(data.n_strata, data.dtype)
            self._counts = self.sizes[data.pattern.group]

    def independence(self):
        """As `KullbackLeibler.independence`."""
        summary, sums = self.strata.summary, self.strata.column_sums
        of_columns = float(sums[sums > 0] @ np.log(sums[sums > 0]))
        return independence(summary.entropy, self.total, (summary.margins, of_columns))

    def ratio_pass(self, name, factors):
        """Return ``pos`` of H, the sum of the logarithms at the W before, and ``pos`` of V, of the last round."""
        share = self._rounds.share
        product = None if share.product is None else share.product.astype(self.strata.dtype, copy=False)
        return product, share.value, share.of_shifts


class ChunkedSQUAREM(SQUAREM):
    """Cycles of extrapolation of H and V, and of W by the sizes of its steps that the chunks have sent."""

    def _sizes(self, name, of_factor):
        return self.rounds.share.sizes if name == "W" else super()._sizes(name, of_factor)

    def __init__(self, tasks, factors):
        super().__init__(tasks, factors)
        self.rounds = factors.rounds


class RatioSolver(Solver):
    """Iterate multiplicative updates for Kullback-Leibler, with one reading of every chunk an iteration.

    The value of a point needs the pass over the data with which the next iteration begins. So a round updates W for the
    next iteration already when it returns the value of this one, and the chunks keep the W before, which is the result
    where the fit ends.

    Parameters
    ----------
    problem : Problem
        Its first loss is a `ChunkedKullbackLeibler`.
    factors : ChunkedFactors
    level : Level, optional
        As for `AlternatingSolver`.
    squarem : ChunkedSQUAREM, optional
        Without penalties of both W and H.
    """

    def __init__(self, problem, factors, level=None, squarem=None):
        self.problem, self.factors, self.level, self._n_done, self.squarem = problem, factors, level, 0, squarem
        self._last = None
        self.scale, self.rounding, self.extrapolation, self.guess = problem.scale, problem.rounding, None, None

    @property
    def penalty(self):
        """The part of the last objective that comes from penalties."""
        return self.problem.penalty

    def begin(self):
        """Return the objective of the start."""
        return self._next()

    def step(self):
        """Take the updated W, update V and H, and return the objective."""
        problem, factors, squarem, last = self.problem, self.factors, self.squarem, self._last
        is_tried = squarem is not None and squarem.before_update(self._n_done, factors)
        if is_tried:
            self._rate(ahead=squarem.step)
        factors.rounds.is_ahead = False
        factors.invalidate("W")
        names = [name for name in ("V", "H") if name in factors.arrays]
        for name, sub in [(name, problem.subproblem(name, factors)) for name in names]:
            problem.updates[name](factors[name], sub, factors.rank, 1)
        for name in names:
            factors.invalidate(name)
        self._n_done += 1
        value = self._next()
        if is_tried:
            squarem.after_update(value < last, factors)
            if not value < last:
                factors.rounds.run(chunks.returned, reads=False)
                factors.rounds.is_ahead = False
                factors.invalidate("W")
                value = self._next()
        return value

    def _next(self):
        """Return the objective at the present point, and let the chunks begin the next iteration."""
        problem, factors = self.problem, self.factors
        each = ((name, penalty) for name, penalties in problem.penalties.items() for penalty in penalties)
        problem.penalty = sum(penalty.value(factors[name]) for name, penalty in each)
        if problem.balance_penalties:
            rebalance(problem, factors)
        place = None if self.squarem is None else self.squarem.place(self._n_done)
        if place == 2:
            value = self._round(chunks.valued)
        else:
            value = self._rate(kept_as=None if place is None else ("first", "second")[place])
        self._last = problem.penalty + value
        return self._last

    def _rate(self, **content):
        """Return the divergence at the present point, and let the chunks update W."""
        value = self._round(chunks.rated, update=self.problem.updates["W"], **content)
        self.factors.rounds.is_ahead, self.factors.rounds.is_zero = True, False
        return value

    def _round(self, step, **content):
        """Return the divergence at the present point, which a step over all chunks has found."""
        factors, loss = self.factors, self.problem.losses[0]
        v = factors["V"].copy() if "V" in factors.arrays else None
        factors.rounds.run(step, H=factors["H"].copy(), v=v, floor=loss.floor, **content)
        return max(loss.value(factors), 0.0)

    def columns(self):
        """Return the passes over the data where the start has a level."""
        return {} if self.level is None else {"passes": self.level.passes + self._n_done}

    def to_state(self):
        """Return the factors, and the points of a cycle; the step that the chunks are ahead is repeated."""
        factors = {name: F for name, F in self.factors.to_state().items() if name != "before"}
        if self.squarem is None:
            return {"factors": factors}
        cycle, engine = self.squarem.to_state(), self.factors.rounds.engine
        for name in ("first", "second"):
            cycle[name]["W"] = getattr(engine, name)
        return {"factors": factors, "cycle": cycle}

    def from_state(self, state):
        """Restore the state that `to_state` returned for the same problem."""
        self.factors.from_state(state["factors"])
        self._n_done = ([0, *state.get("history", {}).get("iteration", ())])[-1]
        if self.squarem is not None:
            cycle, engine = state["cycle"], self.factors.rounds.engine
            for name in ("first", "second"):
                refill(getattr(engine, name), cycle[name]["W"])
            parts = {name: cycle[name] | {"W": self.factors["W"]} for name in ("first", "second")}
            self.squarem.from_state(cycle | parts)
        self._next()


def chunked_solver(problem, factors, extrapolation=None, start_value=None, level=None):
    """Return the solver of a problem of data in chunks, whose updates and penalties of W become rounds.

    Parameters
    ----------
    problem, factors, extrapolation, start_value, level :
        As for `AlternatingSolver`.
    """
    rounds, data = factors.rounds, factors.rounds.engine.data
    if "W" in problem.penalties:
        (net,) = problem.penalties["W"]
        problem.penalties["W"] = [SharedNet(net, rounds)]
    if isinstance(problem.losses[0], KullbackLeibler):
        return RatioSolver(problem, factors, level, extrapolation)
    problem.updates["W"] = ChunkUpdate(factors, problem.updates["W"], extrapolation)
    problem.exact_value = partial(_exact_value, rounds, data, factors)
    if problem.reseed_dead_component is not None:
        problem.reseed_dead_component = partial(_reseed, problem.losses[0], rounds)
    return AlternatingSolver(problem, factors, extrapolation, start_value, level)


def _exact_value(rounds, data, factors, _, V=None):
    """Return the squared error from the residual itself."""
    if "V" in factors.arrays and V is None:
        V = data.pattern.as_read(factors["V"])
    parts = rounds.ask(_residual, factors["H"][:, : factors.rank], V)
    return math.fsum(parts)


def _residual(part, W, H, V):
    return chunks.squared_residual(part, W[:, : H.shape[1]], H, V)


def _reseed(loss, rounds, factors):
    """Replace a dead component as `Frobenius.reseed_dead_component` does; tell whether there was one."""
    is_dead = (np.diagonal(loss.gram("W", factors)) == 0) | (np.diagonal(loss.gram("H", factors)) == 0)
    dead = np.flatnonzero(is_dead[: factors.rank])
    if len(dead) == 0 or loss.reseedings >= MAX_RESEEDINGS:
        return False
    loss.reseedings += 1
    data, V = rounds.engine.data, data_shifts(rounds.engine.data, factors)
    below = None if V is None else loss.pattern.tmatmul(factors["V"], factors["H"])
    order = Order(factors.rank, H=factors["H"], gram=loss.gram("H", factors), below=below, v=V)
    error, row, scale = max(rounds.ask(chunks.worst_row, order), key=lambda found: (found[0], -found[1]))
    if error < 0:  # no row counts
        return False
    missed = _missed(rounds, data, factors, row, scale)
    if not np.square(missed, dtype=np.float64).sum() > REVIVAL_GAIN * data.sq_norm:
        return False
    keep = np.ones(factors["H"].shape[1])
    keep[dead[0]] = 0
    factors["H"][:, dead[0]] = missed
    factors.invalidate("H")
    factors.multiply_columns("W", keep)
    return True


def data_shifts(data, factors):
    """Return the present shifts as readers take them, or None for a model without shifts."""
    return data.pattern.as_read(factors["V"]) if "V" in factors.arrays else None


def _missed(rounds, data, factors, row, scale):
    """Return the positive part of the residual of a row, without its row scale, dense (n_columns,)."""
    taken = data.take(np.array([row]))
    missed = np.zeros(data.shape[1], data.dtype)
    missed[taken.indices] = taken.data
    if "V" in factors.arrays:
        missed -= data.dtype.type(scale) * data.pattern.row(factors["V"], data.stratum_index[row])
    return np.maximum(missed - factors["H"] @ rounds.present()[row], 0) / data.dtype.type(scale)


def set_start(factors, start, is_positive=False):
    """Set W of all rows to a start of `fastnmf.core.chunks`; None leaves it zero.

    Parameters
    ----------
    factors : ChunkedFactors
    start : callable, or None
    is_positive : bool, default=False
        Whether zeros become a thousandth of the mean, as multiplicative updates need it.
    """
    rounds = factors.rounds
    if start is None:
        return
    content = {}
    if isinstance(start, chunks.ExactStart):
        content = solving(factors)
    rounds.run(chunks.begin, start, **content)
    rounds.is_zero = False
    if is_positive:
        n_rows = rounds.engine.data.shape[0]
        mean = float(rounds.share.totals.sum()) / (n_rows * factors.rank)
        rounds.run(chunks.measured, fill=1e-3 * (mean or 1 / factors.rank))
    factors.invalidate("W")


def solving(factors):
    """Return what an order to solve for W exactly contains: H, its Gram matrix, and ``V H``."""
    H, below, data = factors["H"], None, factors.rounds.engine.data
    if "V" in factors.arrays:
        with single_threaded_blas(), np.errstate(over="ignore"):
            below = np.minimum(data_shifts(data, factors) @ H, huge(data.dtype))
    return {"H": H, "gram": rows.gram(row_tasks(H), H), "below": below}


def finish_exactly(fit):
    """Solve for W exactly after the last iteration of the squared error, and write its objective to the history."""
    factors, problem, rounds = fit.factors, fit.problem, fit.factors.rounds
    inner = rounds.run(chunks.finished, **solving(factors)).value
    factors.invalidate("W")
    factors.cache_put(("pos", "H"), ("W", "H"), inner)
    fit.history["objective"][-1] = problem.value(factors)
    fit.history["penalty"][-1] = problem.penalty
