"""Divide the chunks of a fit among the workers, and bring some to a worker that has few.

A chunk goes to another worker as the result of a task, under a new name: the old copy is then no longer needed, and
Dask drops it. Of two copies under one name, as `Client.replicate` makes them, its Active Memory Manager keeps either;
a worker that dies while it receives one leaves the scheduler in an endless loop (distributed 2026.8).
"""

import time
from collections import Counter

from fastnmf.dask import tasks

LOOK_EVERY, ASK_EVERY = 0.01, 0.5  # seconds from look to look at futures, and at the workers
ATTEMPTS = 3  # to divide chunks: another worker that is idle may take tasks that are meant for a new one


def moves(owner, workers):
    """Return which chunks go where, so that no worker has fewer than its share: a dict of chunk -> address.

    Parameters
    ----------
    owner : list of str
        The address of the worker that has each chunk.
    workers : list of str
        The addresses of all.
    """
    owner, counts, found = list(owner), Counter(owner), {}
    for address in workers:
        for _ in range(counts[address], len(owner) // len(workers)):
            fullest = counts.most_common(1)[0][0]
            chunk = owner.index(fullest)
            found[chunk] = owner[chunk] = address
            counts.update({fullest: -1, address: 1})
    return found


def divided(source, held, *more):
    """Return the chunks of each worker, after those that have few have got some of others.

    Parameters
    ----------
    source : DaskSource
    held : list of Future
        What tells for each chunk where it lies. Changed in place.
    *more : list of Future
        What goes with it. Changed in place.

    Returns
    -------
    list of list of int, or None
        None: some chunks are being computed again after a loss.
    """
    for attempt in range(ATTEMPTS + 1):
        workers, known = set(source.client.nthreads()), source.client.who_has(held)
        owner = [min(workers.intersection(known.get(each.key, ())), default=None) for each in held]
        if None in owner:
            return None
        wanted = moves(owner, sorted(source.client.nthreads()))
        if not wanted or attempt == ATTEMPTS or not _move(source, wanted, held, *more):
            break
    return [[chunk for chunk in range(len(owner)) if owner[chunk] == each] for each in dict.fromkeys(owner)]


def _move(source, wanted, *lists):
    """Move futures of some chunks to other workers; tell whether they were, and change nothing where they were not.

    Parameters
    ----------
    source : DaskSource
    wanted : dict
        Chunk -> address.
    *lists : list of Future
        Each with one for each chunk. Changed in place.
    """
    chosen, found = [(each, chunk) for each in lists for chunk in wanted], []
    for address in dict.fromkeys(wanted.values()):
        own = [(each, chunk) for each, chunk in chosen if wanted[chunk] == address]
        graph = {}
        named = source.add(graph, "moved", tasks.identity, [each[chunk] for each, chunk in own])
        found += zip(own, source.futures(graph, named, workers=[address], allow_other_workers=True), strict=True)
    futures = [future for _, future in found]
    if not (_are_there(source, futures, wanted.values()) and _are_free(source, futures)):
        return False
    for (each, chunk), future in found:
        each[chunk] = future
    return True


def _are_there(source, futures, addresses):
    """Wait for futures, and tell whether all are there; they are not where one of their workers has gone."""
    asked = time.monotonic()
    while not all(future.done() for future in futures):
        time.sleep(LOOK_EVERY)
        if time.monotonic() - asked > ASK_EVERY:
            if not set(addresses) <= set(source.client.nthreads()):
                return False
            asked = time.monotonic()
    return all(future.status == "finished" for future in futures)


def _are_free(source, futures):
    """Let Dask compute futures on any worker again, and tell whether it has agreed.

    A task that names a worker, even if it allows others, would wait for this one where all workers are lost at a time.
    """
    try:
        source.awaited(source.client.scheduler.set_restrictions(worker={future.key: None for future in futures}))
    except Exception:  # of the scheduler: the chunks then stay where they are
        return False
    return True
