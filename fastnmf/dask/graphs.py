"""Tasks on a Dask cluster: named, sent to the scheduler as graphs, and awaited."""

import asyncio
import concurrent.futures
import itertools
import operator
import time
import uuid
import weakref
from collections import Counter

from fastnmf.core.shares import added, chunk_pairs, summed
from fastnmf.dask import tasks

MOST_WITHOUT = 60  # seconds without any worker; Dask's configuration may say else, as fastnmf.no-workers-timeout
LOOK_EVERY = 1.0  # seconds after which a result that is waited for lets the driver look for workers


class Graphs:
    """Makes the tasks of one fit, and gets their results.

    Parameters
    ----------
    client : distributed.Client

    Attributes
    ----------
    uid : str
        Part of the names of its tasks.
    """

    def __init__(self, client):
        from distributed import Future

        self.client, self.uid = client, uuid.uuid4().hex[:12]
        self._counts, self._future, self._futures = Counter(), Future, weakref.WeakSet()

    def abandon(self):
        """Let go of all futures of a fit that has failed: the traceback of its exception may keep them."""
        for future in list(self._futures):
            future.release()

    def map(self, name, function, *lists, **more):
        """Return futures of a function of the elements of lists; the dashboard shows the tasks under a name.

        Parameters
        ----------
        name : str
        function : callable
        *lists :
            Of futures and values.
        **more :
            Arguments by name.
        """
        graph = {}
        return self.futures(graph, self.add(graph, name, function, *lists, **more))

    def map_together(self, name, function, *lists, groups, **more):
        """Return what `map` returns, with the elements of a group on one worker: one task makes them.

        Parameters
        ----------
        name, function, *lists, **more :
            As for `map`; the only argument by name is `context`.
        groups : list of list of int
        """
        from dask.task_spec import Task

        graph, wanted, each = {}, {}, list(zip(*lists, strict=True))
        for group in groups:
            (key,) = self._keys(name, 1)
            whole = graph[key] = Task(key, tasks.together, function, self.nested([each[n] for n in group]), **more)
            found = self.add_apart(graph, name, operator.getitem, [whole.ref()] * len(group), range(len(group)))
            wanted |= dict(zip(group, found, strict=True))
        return self.futures(graph, [wanted[number] for number in range(len(each))])

    def even_groups(self, count):
        """Return that many numbers in groups of neighbours, one per worker."""
        n_groups = max(1, len(self.client.nthreads()))
        each = itertools.groupby(range(count), key=lambda number: number * n_groups // count)
        return [list(group) for _, group in each]

    def nested(self, rows):
        """Return lists of futures and values as the argument of a task."""
        from dask.task_spec import List

        return List(*(List(*map(self._reference, row)) for row in rows))

    def send(self, name, value):
        """Return the future of a value that the workers fetch from each other."""
        return self.map(name, tasks.identity, [value])[0]

    def _reference(self, value):
        from dask.task_spec import TaskRef

        return TaskRef(value.key) if isinstance(value, self._future) else value

    def _keys(self, name, count, are_apart=False):
        self._counts[name] += 1
        stem = f"{name}-{self._counts[name]}"
        return [(f"{stem}-{n}-{self.uid}" if are_apart else f"{stem}-{self.uid}", n) for n in range(count)]

    def add(self, graph, name, function, *lists, **more):
        """Add tasks to a graph, which go to the scheduler together, and return what stands for them in others.

        Parameters
        ----------
        graph : dict
            Changed in place.
        name, function, *lists, **more :
            As for `map`; what `add` has returned may be in the lists, too.
        """
        return self._add(graph, self._keys(name, len(lists[0])), function, lists, more)

    def add_apart(self, graph, name, function, *lists):
        """Add tasks that stay with what they need; the arguments are those of `add`.

        Many tasks of a name that need few others are spread over all workers; so each has a name of its own.
        """
        return self._add(graph, self._keys(name, len(lists[0]), are_apart=True), function, lists, {})

    def _add(self, graph, keys, function, lists, more):
        from dask.task_spec import Task, TaskRef

        for key, given in zip(keys, zip(*lists, strict=True), strict=True):
            graph[key] = Task(key, function, *map(self._reference, given), **more)
        return list(map(TaskRef, keys))

    def add_total(self, graph, name, terms):
        """Add the tasks that sum shares or summaries in their fixed tree; return what stands for the sum."""

        def plus(left, right):
            return self.add(graph, name, added, [left], [right])[0]

        return summed(chunk_pairs(len(terms)), terms.__getitem__, plus)

    def futures(self, graph, wanted, **options):
        """Send a graph and return futures of the tasks that are wanted; the options are those of ``Client.get``."""
        import dask

        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            futures = self.client.get(graph, [each.key for each in wanted], sync=False, **options)
        self._futures.update(futures)
        return futures

    def gather(self, futures):
        """Return the results of futures; raise TimeoutError where the cluster has no worker for long."""
        return self.awaited(self.client.gather(futures, asynchronous=True))

    def awaited(self, coroutine):
        """Return the result of a coroutine of the client; raise TimeoutError where no worker is there for long."""
        import dask
        from dask.utils import parse_timedelta

        most, seen = dask.config.get("fastnmf.no-workers-timeout", MOST_WITHOUT), time.monotonic()
        coming, most = asyncio.run_coroutine_threadsafe(coroutine, self.client.loop.asyncio_loop), parse_timedelta(most)
        try:
            while True:
                try:
                    return coming.result(LOOK_EVERY)
                except (concurrent.futures.TimeoutError, TimeoutError):
                    if coming.done():  # by now, or the error is that of a task
                        return coming.result()
                if self.client.nthreads():
                    seen = time.monotonic()
                elif time.monotonic() - seen > most:
                    raise TimeoutError(
                        f"The cluster has had no worker for {most:g} seconds, but the fit needs one; start workers "
                        "and fit again (with checkpoint=folder a fit continues where the last one ended)."
                    )
        finally:
            coming.cancel()

    def result(self, future):
        """Return the result of a future, as `gather`."""
        return self.gather([future])[0]

    def sent(self, parts):
        """Return a list in which futures stand for what Dask is to compute."""
        lazy = [place for place, part in enumerate(parts) if hasattr(part, "__dask_graph__")]
        if not lazy:
            return list(parts)
        futures, found = self.client.compute([parts[place] for place in lazy]), list(parts)
        self._futures.update(futures)
        for place, future in zip(lazy, futures, strict=True):
            found[place] = future
        return found
