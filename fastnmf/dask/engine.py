"""Run the steps of a fit on the workers of a Dask cluster: the chunks, their weights, and sums in a fixed tree.

All that a worker holds is a result of tasks, so that Dask computes it again, with the same bits, where a worker is
lost: nothing is scattered, and orders travel as tasks. What a result was computed from stays known to the scheduler as
long as the result is needed; so the weights are sent again as tasks without a past when the orders of the past have
become larger than they are.
"""

import functools
import time
import weakref
from collections import Counter

import numpy as np
import scipy.sparse as sp

from fastnmf.core.chunks import GivenStart
from fastnmf.core.shares import chunk_pairs, summed
from fastnmf.dask import placement, tasks
from fastnmf.dask.collections import read_at_once
from fastnmf.dask.graphs import Graphs
from fastnmf.dask.tasks import Call, Context, Setting, Side
from fastnmf.data.labels import distinct, known_labels

NAMES = {"begin": "start", "measured": "measure", "gone_back": "undo", "finished": "last"}  # other steps: "step"
PAST = 1 << 26  # bytes of the past that the scheduler may hold, whatever the size of the weights
OF_TASK = 2000  # bytes that the scheduler holds for a task
DIVIDE_EVERY = 10.0  # seconds after which the driver looks again where the chunks are
_REPEATS = weakref.WeakValueDictionary()  # uid of a fit -> its `Repeats`


class Repeats:
    """Count the steps of a fit that were made again: their results were lost with workers."""

    def __init__(self):
        self.count, self._made = 0, set()

    def note(self, name, number):
        """Note that a step of a chunk has been made."""
        self.count += (name, number) in self._made
        self._made.add((name, number))


def _note_step(event):
    name, numbers = event[1]
    if (repeats := _REPEATS.get(name.rsplit("-", 1)[1])) is not None:
        for number in numbers:
            repeats.note(name, number)


class Sum:
    """A sum of shares: of chunks of one group, which the task of the group finds, or of two others.

    Attributes
    ----------
    groups : frozenset of int
        The groups of its chunks.
    terms : int, or tuple
        As `fastnmf.dask.tasks.stepped` takes them, or, where there are several groups, two `Sum`.
    """

    def __init__(self, groups, terms):
        self.groups, self.terms = groups, terms

    def plus(self, other):
        """Return the sum of this one and another."""
        groups = self.groups | other.groups
        return Sum(groups, (self.terms, other.terms) if len(groups) == 1 else (self, other))

    def of_groups(self):
        """Return the sums of which this is the sum and that a group finds, in their order."""
        return [self] if len(self.groups) == 1 else [each for term in self.terms for each in term.of_groups()]

    def places(self, terms):
        """Return how this is the sum of some others: the place among them, or a pair of such."""
        return terms.index(self) if self in terms else tuple(term.places(terms) for term in self.terms)


class DaskSource(Graphs):
    """The chunks of rows of a fit, on the workers or where they can be read.

    Parameters
    ----------
    client : distributed.Client
    blocks : fastnmf.dask.collections.Blocks
    holds : bool
        Whether the workers keep the chunks.
    n_threads : int, or None
        Threads of the kernels in a task.
    folder : Path, or None
        Folder that all workers see, for the weights of a checkpoint.

    Attributes
    ----------
    shape : (int, int)
    sizes : list of int
        Rows of each chunk of the user.
    chunks : list of int
        The chunks of the user that have rows; the others are left out, and numbers of chunks are places in this list.
    groups : list of list of int
        The chunks of each group: those that lie on one worker. One task runs the step of a group, and adds up its
        shares, so that one sum travels for all of them. (A task for each chunk would be taken by another worker that
        is idle; tasks that name a worker would not begin again where all workers are lost at a time, even if they
        allow others: Dask forgets them.)
    membership : ndarray (n_rows,) of int32, or csr_array (n_rows, q) of float64
        The stratum of each row, or its design.
    weight : ndarray (n_rows,) of float64, or None
    """

    def __init__(self, client, blocks, holds, n_threads=None, folder=None):
        super().__init__(client)
        self.blocks, self.holds, self.folder = blocks, holds, folder
        self._recipes = list(map(read_at_once, blocks.pieces))
        self._rows = self._parts = self.setting = None
        hosts = Counter()
        for address, count in client.nthreads().items():
            hosts[tasks.host_of(address)] += count
        self.context = Context(dict(hosts), n_threads)
        self.repeats = _REPEATS[self.uid] = Repeats()
        client.subscribe_topic(tasks.STEPS, _note_step)

    def release(self):
        """Let go of all that the workers hold for the fit, but for what its result needs."""
        self._rows = self._parts = self.sides = self.setting = None

    def _pieces(self, which):
        """Return what tasks take for some chunks of the user: files as they are, and futures of what Dask computes."""
        return self.sent([self._recipes[chunk] for chunk in which])

    # ---------------------------------------------------------------- the first pass

    def look(self, strata, weight):
        """Count rows, check entries, and collect labels and weights that come in one part per chunk.

        Parameters
        ----------
        strata, weight : list, or None
            As `fastnmf.dask.collections.parts_of` returns them.

        Returns
        -------
        labels : ndarray (n_strata,), or None
        stratum_index : ndarray (n_rows,) of int32, or None
        weight : ndarray (n_rows,), or None
        """
        n_chunks, context = len(self.blocks.pieces), {"context": self.context}
        numbers, pieces = list(range(n_chunks)), self._pieces(range(n_chunks))
        if any(isinstance(piece, self._future) for piece in pieces):  # they are on workers
            run = self.map
        else:
            run = functools.partial(self.map_together, groups=self.even_groups(n_chunks))
        pieces = run("read", tasks.in_memory, pieces, numbers, **context) if self.holds else pieces
        none = [None] * n_chunks
        given = [none if parts is None else self.sent(parts) for parts in (strata, weight)]
        run = self.map if self.holds else run  # where the chunks are
        found = self.gather(run("look", tasks.facts, pieces, numbers, *given, **context))
        width = found[0].n_columns
        for number, fact in enumerate(found):
            if fact.n_columns != width:
                raise ValueError(
                    f"Chunk {number} of X has {fact.n_columns} columns and chunk 0 has {width}; give all chunks the "
                    "same columns."
                )
        self.sizes = [fact.n_rows for fact in found]
        self.chunks = [number for number in numbers if self.sizes[number]]
        self._rows = [pieces[chunk] for chunk in self.chunks] if self.holds else None
        self.n_chunks, self.shape = len(self.chunks), (sum(self.sizes), width)
        if not self.n_chunks:
            raise ValueError(f"X of shape {self.shape} is empty; at least one row and one column are required.")
        used = [found[chunk] for chunk in self.chunks]
        self.dtype = np.result_type(*(fact.dtype for fact in used))
        self.largest, self.chunk_rows = max(fact.largest for fact in used), np.array(self.sizes)
        self.groups = self.even_groups(self.n_chunks)
        if self.holds:
            self.divide(self._rows)
        ends = np.cumsum([fact.n_rows for fact in used])
        self._bounds = list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))
        self._identities = [fact.identity for fact in used]
        weight = None if weight is None else np.concatenate([fact.weight for fact in found])
        return (*(_union(used) if strata is not None else (None, None)), weight)

    def assign(self, membership, weight):
        """Send the strata, or the design, and the weights of their rows to the chunks."""
        self.membership, self.weight = membership, weight
        cut = zip([slice(*bounds) for bounds in self._bounds], self._identities, strict=True)
        each = [Side(at.start, membership[at], None if weight is None else weight[at], known) for at, known in cut]
        self.sides = self.map_together("side", tasks.identity, each, groups=self.groups)

    def bounds(self, chunk):
        """Return the first row of a chunk, and the first one after it."""
        return self._bounds[chunk]

    def summary(self, weighing, has_entropy, is_first):
        """Return the `Summary` of all chunks."""
        found, graph = self._applied("summary", tasks.summary_of, weighing, (has_entropy,)), {}
        (future,) = self.futures(graph, [self.add_total(graph, "merge", found)]) if len(found) > 1 else found
        summary = self.result(future)
        summary.largest = self.largest
        return summary

    def each(self, function, weighing, *given, own=None):
        """Return what `DiskSource.each` returns; the arguments are the same."""
        return self.gather(self._applied("start", function, weighing, given, own))

    def _applied(self, name, function, weighing, given, own=None):
        """Return futures of a function of the chunks.

        Parameters
        ----------
        name : str
            Of the tasks.
        function, weighing, given, own :
            As for `each`.
        """
        which = range(self.n_chunks) if own is None else list(own)
        last = [()] * self.n_chunks if own is None else [(own[chunk],) for chunk in which]
        self.set(Setting(weighing, self.shape[1]))
        call = self.send("order", Call(function, given))
        return self.map(name, tasks.applied, *self.ready(which), [call] * len(which), last, context=self.context)

    def set(self, setting):
        """Tell the chunks how they become parts."""
        known, n_chunks = None if self.setting is None else self.setting[0], self.n_chunks
        names = ("weighing", "net", "pattern")
        if known is not None and all(getattr(known, name) is getattr(setting, name) for name in names):
            return
        self.setting = setting, self.send("setting", setting)
        if not self.holds:
            return
        futures = [self.setting[1]] * n_chunks
        if known is None or known.weighing is not setting.weighing:
            lists = self._rows, self.sides, futures, self.chunks
            self._parts = self.map_together("part", tasks.part, *lists, groups=self.groups, context=self.context)
        else:
            self._parts = self.map("part", tasks.completed, self._parts, futures, context=self.context)

    def ready(self, which=None, reads=True):
        """Return the first arguments of tasks over some chunks: pieces, sides, the setting, numbers.

        Parameters
        ----------
        which : sequence of int, default=None
            None: all.
        reads : bool, default=True
            Whether the tasks need the rows.
        """
        which = range(self.n_chunks) if which is None else which
        numbers, setting = [self.chunks[chunk] for chunk in which], [self.setting[1]] * len(which)
        if self.holds:  # a part has its side
            return [self._parts[chunk] for chunk in which], [None] * len(numbers), setting, numbers
        pieces = self._pieces(numbers) if reads else [None] * len(numbers)
        return pieces, [self.sides[chunk] for chunk in which], setting, numbers

    @property
    def anchors(self):
        """Futures of what stays on the worker of each chunk during the fit."""
        return self._parts if self.holds else self.sides

    def engine(self, data, width, *, net=None, has_places=False, is_whole=False):
        """Return the engine of a fit of these chunks.

        Parameters
        ----------
        data, width, net, has_places, is_whole :
            As for `LocalEngine`.
        """
        pattern = data.pattern if has_places or is_whole else None
        self.set(Setting(data.weighing, self.shape[1], net, pattern, is_whole))
        self._rows = None
        return DaskEngine(data, width, net)

    def divide(self, held, *more):
        """Put the chunks that lie on one worker into one group; a worker that has few gets some of others.

        Parameters
        ----------
        held : list of Future
            What tells for each chunk where it lies. Changed in place.
        *more : list of Future
            What goes with it. Changed in place.

        Returns
        -------
        bool
            False: some chunks are being recomputed after a loss, and the groups are as before.
        """
        groups = placement.divided(self, held, *more)
        self.groups = self.groups if groups is None else groups
        return groups is not None


def _union(found):
    """Return the sorted labels of all chunks, and the index of the stratum of each row."""
    each = [fact.labels for fact in found]
    if len({labels.dtype.kind for labels in each}) == 1 and each[0].dtype.kind != "O":
        whole = np.concatenate(each)
    else:
        given = [label for labels in each for label in labels.tolist()]
        whole = known_labels(given, "strata", len(given))
    labels, place = distinct(whole, "strata")
    starts = np.cumsum([0, *map(len, each)])
    parts = [place[lo : lo + len(fact.labels)][fact.stratum_index] for lo, fact in zip(starts, found, strict=False)]
    return labels, np.concatenate(parts).astype(np.int32)


class DaskEngine:
    """Run the steps of a fit as tasks, one a group of chunks; another task adds up two of their shares.

    Parameters
    ----------
    data : fastnmf.core.remote.ChunkedStrata
        Its source is a `DaskSource`.
    width : int
        Padded rank K.
    net : ElasticNet, or None
        The penalty of W, for rows without weights.
    """

    def __init__(self, data, width, net):
        self.data, self.source, self.width, self.net, self._kept = data, data.source, width, net, ()
        n_chunks = self.source.n_chunks
        n_rows = [hi - lo for lo, hi in map(self.source.bounds, range(n_chunks))]
        more = n_rows, [width] * n_chunks, [data.dtype] * n_chunks
        self.states = self.source.map("state", tasks.zeros, self.source.anchors, *more)
        self.workers, self._past, self._generations = frozenset(self.source.client.nthreads()), 0, []
        self._n_repeats, self._are_divided, self._is_backwards = 0, True, False
        self._divided = time.monotonic()

    def keep(self, *names):
        """Keep these parts of the states of the chunks, too."""
        self._kept = names

    def adopt(self, other):
        """Take the weights of another engine of the same chunks, of any width, as those before the next step."""
        self.states, other.states = other.states, None

    def run(self, step, order, *given, reads=True):
        """Run ``step(part, state, order, *given)`` on every chunk, and return the sum of their shares."""
        self._welcome()
        source, starts = self.source, [None] * self.source.n_chunks
        if given and isinstance(given[0], GivenStart):
            starts, given = source.sent(self._cut(given[0].W)), ()
        is_backwards = self._is_backwards
        self._is_backwards ^= reads and not source.holds  # the chunks that were read last are still in memory
        graph, groups, states = {}, source.groups, [None] * source.n_chunks
        (call,) = source.add(graph, "order", tasks.identity, [Call(step, (order, *given), self._kept, is_backwards)])
        pieces, sides, (setting, *_), numbers = source.ready(reads=reads)
        each = list(zip(pieces, sides, numbers, self.states, starts, strict=True))
        total, sums = self._planned()
        lists = [source.nested([each[chunk] for chunk in group]) for group in groups], sums
        more = [setting] * len(groups), [call] * len(groups)
        name, context = NAMES.get(step.__name__, "step"), {"context": source.context}
        found = source.add(graph, name, tasks.stepped, *lists, *more, **context)
        for made, group in zip(found, groups, strict=True):
            own = [made] * len(group), [0] * len(group), range(len(group))
            for chunk, state in zip(group, source.add_apart(graph, "state", tasks.picked, *own), strict=True):
                states[chunk] = state
        *self.states, share = source.futures(graph, [*states, self._added(graph, total, found)])
        del graph, lists, each
        share = tasks.owned(source.result(share))
        if source.blocks.on_disk is not None:
            source.blocks.on_disk.check_unchanged()
        self._past += order.n_bytes + 2 * OF_TASK * source.n_chunks
        if self._past > max(PAST, self.data.shape[0] * self.width * self.data.dtype.itemsize):
            self._forget()
        return share

    def _planned(self):
        """Return the `Sum` of all shares, and for each group what `fastnmf.dask.tasks.stepped` is to sum up."""
        groups = self.source.groups
        places = {group[place]: (n, place) for n, group in enumerate(groups) for place in range(len(group))}

        def of_chunk(chunk):
            number, place = places[chunk]
            return Sum(frozenset([number]), place)

        total, sums = summed(chunk_pairs(len(places)), of_chunk, Sum.plus), [[] for _ in groups]
        for each in total.of_groups():
            (number,) = each.groups
            sums[number].append(each.terms)
            each.terms = len(sums[number]) - 1
        return total, sums

    def _added(self, graph, total, found):
        """Add the tasks that sum up shares of groups; return what stands for the `Sum` of all.

        Parameters
        ----------
        graph : dict
            Changed in place.
        total : Sum
        found : list
            What stands for the results of the groups.
        """
        from dask.task_spec import List

        source = self.source
        if len(total.groups) == 1:
            (number,) = total.groups
            return source.add_apart(graph, "share", tasks.picked, [found[number]], [1], [total.terms])[0]
        # one task for all sums of two groups: it runs where most of them are, and the others travel once
        terms = total.of_groups() if len(total.groups) == 2 else total.terms
        each = List(*(self._added(graph, term, found) for term in terms))
        return source.add(graph, "merge", tasks.summed, [each], [total.places(terms)])[0]

    def columns(self):
        """Return the number of steps that were made again since the last call."""
        before, self._n_repeats = self._n_repeats, self.source.repeats.count
        return {"replayed": self._n_repeats - before}

    def _cut(self, W):
        """Return the rows of each chunk of a start, NumPy or Dask."""
        each = [W[slice(*self.source.bounds(chunk))] for chunk in range(self.source.n_chunks)]
        if hasattr(W, "__dask_graph__"):
            return [rows.rechunk(rows.shape).to_delayed().item() for rows in each]
        return each

    def _welcome(self):
        """Divide the chunks again where workers have come or gone since the last step, or after some time.

        Dask lets another worker run a step where its own is busy, and may then keep the copy of the chunks there.
        """
        workers, source, now = frozenset(self.source.client.nthreads()), self.source, time.monotonic()
        if workers != self.workers or not self._are_divided or now - self._divided > DIVIDE_EVERY:
            self._divided = now
            held = (source.anchors, self.states) if source.holds else (self.states, source.anchors)
            self._are_divided = source.divide(*held)
        self.workers = workers

    def _forget(self):
        """Send the weights again as tasks that do not know their past, chunk by chunk: it is then forgotten."""
        source = self.source
        for chunk, state in enumerate(self.states):
            self.states[chunk] = source.map("state", tasks.beside, [source.anchors[chunk]], [source.result(state)])[0]
        self._past = 0

    def ask(self, function, *given):
        """Return ``function(part, W, *given)`` of every chunk."""
        source = self.source
        call = source.send("order", Call(function, given))
        lists = *source.ready(), self.states, [call] * source.n_chunks
        return source.gather(source.map("ask", tasks.asked, *lists, context=source.context))

    def scale(self, scale):
        """Multiply the columns of all weights by `scale` (K,)."""
        self.states = self.source.map("state", tasks.rescaled, self.states, [scale] * len(self.states))

    def to_state(self, is_ahead):
        """Write the weights of all chunks to the folder, and return what `from_state` needs to find them."""
        self._generations.append(time.time_ns())
        paths = self._paths(self._generations[-1])
        self.source.gather(self.source.map("save", tasks.saved, self.states, paths))
        self._read(paths, False)
        self.source.gather(self.source.map("state", len, self.states))  # the files may then go
        for generation in self._generations[:-2]:  # the last but one is that of the file of the driver until it is new
            for path in self._paths(generation):
                path.unlink(missing_ok=True)
        self._generations = self._generations[-2:]
        return {"W": np.array([self._generations[-1], is_ahead])}

    def from_state(self, state):
        """Read the weights of all chunks from where `to_state` wrote them."""
        generation, is_ahead = state["W"].tolist()
        self._read(self._paths(generation), bool(is_ahead))
        kept = set(self._paths(generation))
        for path in self.source.folder.glob("weights-*-*.npy"):
            if path not in kept:
                path.unlink(missing_ok=True)
        self._generations = [generation]

    def _paths(self, generation):
        return [self.source.folder / f"weights-{generation}-{chunk}.npy" for chunk in self.source.chunks]

    def _read(self, paths, is_ahead):
        """Take the weights from files, by tasks that do not know their past: it is then forgotten."""
        source, self._past = self.source, 0
        shapes = [(1 + len(self._kept), hi - lo, self.width) for lo, hi in map(source.bounds, range(source.n_chunks))]
        more = [is_ahead] * len(paths), shapes, [self.data.dtype] * len(paths)
        self.states = source.map("state", tasks.restored, source.anchors, paths, *more)

    def row(self, number, is_ahead):
        """Return the present weights (K,) of one row."""
        ends = [hi for _, hi in map(self.source.bounds, range(self.source.n_chunks))]
        chunk = int(np.searchsorted(ends, number, side="right"))
        place = number - self.source.bounds(chunk)[0]
        row = self.source.map("row", tasks.row_of, [self.states[chunk]], [place], [is_ahead])[0]
        return self.source.result(row)

    def gathered(self, rank, is_ahead):
        """Return an array (0, rank): the weights stay with the chunks."""
        return np.empty((0, rank), self.data.dtype)

    def each_state(self, function, finish):
        """Return ``function(state, side, finish)`` of every chunk."""
        source = self.source
        found = source.map("finish", function, self.states, source.sides, [finish] * len(self.states))
        return source.gather(found)

    def collection(self, finish, function=tasks.finished):
        """Return the weights of the user as a Dask array (n_rows, k), in the chunks of X, of which none is computed.

        Parameters
        ----------
        finish : Finish, or OwnFinish
        function : callable
            ``function(state, side, finish)`` returns those of a chunk.
        """
        import dask.array as da
        from dask.task_spec import DataNode, Task, TaskRef

        source, rank, dtype = self.source, finish.rank, self.data.dtype
        is_sparse = function is not tasks.finished
        stem, nothing = ("own-" if is_sparse else ""), np.empty((0, rank), dtype)
        nothing = sp.csr_array(nothing) if is_sparse else nothing
        name, place = f"{stem}weights-{source.uid}", {chunk: number for number, chunk in enumerate(source.chunks)}
        last = DataNode(f"{stem}finish-{source.uid}", finish)
        graph = {last.key: last}
        for chunk in range(len(source.sizes)):
            key = (name, chunk, 0)
            if chunk not in place:
                graph[key] = DataNode(key, nothing)
                continue
            state, side = self.states[place[chunk]], source.sides[place[chunk]]
            graph |= {state.key: state, side.key: side}
            graph[key] = Task(key, function, TaskRef(state.key), TaskRef(side.key), TaskRef(last.key))
        return da.Array(graph, name, (tuple(source.sizes), (rank,)), meta=nothing[:, :0])
