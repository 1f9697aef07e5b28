"""Graphs as matrices: whatever has nodes and edges becomes a symmetric CSR; and one small graph to try things on."""

import numpy as np
from scipy import sparse

# Zachary (1977), fig. 1: who met whom outside the club; member numbers from 1, each friendship once, by lower number.
_FRIENDS = """
1: 2 3 4 5 6 7 8 9 11 12 13 14 18 20 22 32; 2: 3 4 8 14 18 20 22 31; 3: 4 8 9 10 14 28 29 33; 4: 8 13 14;
5: 7 11; 6: 7 11 17; 7: 17; 9: 31 33 34; 10: 34; 14: 34; 15: 33 34; 16: 33 34; 19: 33 34; 20: 34; 21: 33 34;
23: 33 34; 24: 26 28 30 33 34; 25: 26 28 32; 26: 32; 27: 30 34; 28: 34; 29: 32 34; 30: 33 34; 31: 33 34; 32: 33 34;
33: 34
"""
_WITH_THE_TEACHER = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 17, 18, 20, 22)


def is_graph(X):
    """Tell whether X has nodes and edges."""
    return hasattr(X, "nodes") and hasattr(X, "edges")


def affinity_matrix(graph, weight="weight"):
    """Return the affinities of an undirected graph as a symmetric CSR array, in the order of its nodes.

    Parameters
    ----------
    graph : object with ``nodes`` and ``edges``
        Each an iterable, or a method that returns one, as those of networkx. An edge is ``(u, v)``, ``(u, v, number)``
        or ``(u, v, dict)``. Several edges between two nodes add up.
    weight : str or None, default="weight"
        Key of the dict of an edge; an edge without it counts one. None: every edge counts one.

    Returns
    -------
    scipy.sparse.csr_array (n_nodes, n_nodes) of float64

    Raises
    ------
    ValueError
        For a directed graph, and for an edge of nodes that are not there.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from fastnmf.graphs import affinity_matrix
    >>> triangle = SimpleNamespace(nodes="abc", edges=[("a", "b"), ("b", "c", 2.0), ("a", "c")])
    >>> A = affinity_matrix(triangle)
    >>> A.shape, A.sum(axis=0).tolist(), float(A[1, 2])
    ((3, 3), [2.0, 3.0, 3.0], 2.0)
    """
    if callable(getattr(graph, "is_directed", None)) and graph.is_directed():
        raise ValueError(
            "The graph is directed; a symmetric model needs an undirected one: pass graph.to_undirected()."
        )
    nodes = list(graph.nodes() if callable(graph.nodes) else graph.nodes)
    place = {node: i for i, node in enumerate(nodes)}
    first, second, values = [], [], []
    for u, v, *more in _edges(graph):
        if u not in place or v not in place:
            raise ValueError(f"The graph has an edge {(u, v)!r}, but not both of these nodes; add them to nodes.")
        value = more[-1] if more and weight is not None else 1.0
        value = value.get(weight, 1.0) if hasattr(value, "get") else value
        first.append(place[u])
        second.append(place[v])
        values.append(1.0 if value is None else float(value))
    rows, columns, values = np.array(first, np.int64), np.array(second, np.int64), np.array(values)
    loops = rows == columns
    rows, columns = np.concatenate([rows, columns[~loops]]), np.concatenate([columns, rows[~loops]])
    values = np.concatenate([values, values[~loops]])
    return sparse.csr_array(sparse.coo_array((values, (rows, columns)), shape=(len(nodes), len(nodes))))


def _edges(graph):
    if not callable(graph.edges):
        return graph.edges
    try:
        return graph.edges(data=True)
    except TypeError:  # a method of its own kind, without attributes
        return graph.edges()


def load_karate_club():
    """Load Zachary's karate club: 34 members, 78 friendships, and the two clubs that it split into.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        `data`, CSR of zeros and ones (34, 34), symmetric, zero on the diagonal; `target`, int (34,), 0 for those who
        stayed with the teacher, 1 for those who went with the officers; `target_names`; `feature_names`, the members'
        numbers in the source, from 1, as text; `DESCR`.

    References
    ----------
    W. W. Zachary, "An information flow model for conflict and fission in small groups", Journal of Anthropological
    Research 33, 1977, doi:10.1086/jar.33.4.3629752.

    Examples
    --------
    >>> from fastnmf.datasets import load_karate_club
    >>> club = load_karate_club()
    >>> club.data.shape, int(club.data.sum()), club.target.tolist().count(0)
    ((34, 34), 156, 17)
    """
    from sklearn.utils import Bunch

    members, pairs = range(1, 35), []
    for line in _FRIENDS.split(";"):
        one, others = line.split(":")
        pairs += [(int(one), int(other)) for other in others.split()]
    i, j = np.array(pairs).T - 1
    half = sparse.coo_array((np.ones(len(pairs)), (i, j)), shape=(34, 34))
    return Bunch(
        data=sparse.csr_array(half + half.T),
        target=np.array([int(member not in _WITH_THE_TEACHER) for member in members]),
        target_names=np.array(["teacher", "officers"], dtype=object),
        feature_names=np.array([str(member) for member in members], dtype=object),
        DESCR="Zachary's karate club: friendships of 34 members, and the clubs that it split into.",
    )
