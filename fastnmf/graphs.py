"""Graphs as matrices: what has nodes and edges, and near neighbours; and one small graph to try things on."""

import numpy as np
from scipy import sparse

from fastnmf.matrix import as_csr

# Zachary (1977), fig. 1: who met whom outside the club; member numbers from 1, each friendship once, by lower number.
_FRIENDS = """
1: 2 3 4 5 6 7 8 9 11 12 13 14 18 20 22 32; 2: 3 4 8 14 18 20 22 31; 3: 4 8 9 10 14 28 29 33; 4: 8 13 14;
5: 7 11; 6: 7 11 17; 7: 17; 9: 31 33 34; 10: 34; 14: 34; 15: 33 34; 16: 33 34; 19: 33 34; 20: 34; 21: 33 34;
23: 33 34; 24: 26 28 30 33 34; 25: 26 28 32; 26: 32; 27: 30 34; 28: 34; 29: 32 34; 30: 33 34; 31: 33 34; 32: 33 34;
33: 34
"""
EDGES_AT_ONCE = 4096  # whose rows are held twice
CHUNK_MB = 128  # of distances at a time
CLOSE = 1e-3  # distance, of the length of a row, within which two rows are compared: rounding may leave 1e-4 of none
EQUAL = 1e-6  # difference of distances, of the length of the longest row, that is rounding
SPARE = 8  # neighbours more than are asked for, among which equal ones are ordered
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


EDGE_WEIGHTS = ("binary", "heat", "cosine")


def check_affinity(graph, n_nodes, name="graph", of="samples"):
    """Return the affinities of a graph that a user passed, as a symmetric CSR array of float64.

    Parameters
    ----------
    graph : sparse matrix or array (n_nodes, n_nodes), or object with ``nodes`` and ``edges``
        Symmetric, >= 0; what is on the diagonal stays there.
    n_nodes : int
    name, of : str
        What messages call it, and its nodes.

    Raises
    ------
    TypeError
        No numbers.
    ValueError
        Another shape, entries that are negative or not finite, or not symmetric.
    """
    A = as_affinity(affinity_matrix(graph) if is_graph(graph) else graph, name)
    if A.shape != (n_nodes, n_nodes):
        raise ValueError(
            f"{name} has shape {A.shape}, and X has {n_nodes} {of}; expected ({n_nodes}, {n_nodes}), in their order."
        )
    gap = abs(A - A.T)
    if gap.nnz and gap.max() > 1e-9 * A.data.max():
        raise ValueError(f"{name} is not symmetric; pass (graph + graph.T) / 2, or graph.maximum(graph.T).")
    return A


def as_affinity(graph, name="graph"):
    """Return a matrix of numbers >= 0 as a CSR array of float64 without stored zeros, or raise one sentence."""
    A = graph if sparse.issparse(graph) else np.asarray(graph)
    if A.dtype.kind not in "biuf" or A.ndim != 2:
        raise TypeError(
            f"{name} is {type(graph).__name__} of {A.ndim} dimensions and dtype {A.dtype}; expected a sparse matrix, "
            "an array of affinities or a graph with nodes and edges."
        )
    A = as_csr(sparse.csr_array(A) if not sparse.issparse(A) else A, name, np.float64).copy()
    A.sum_duplicates()
    A.eliminate_zeros()
    if not np.isfinite(A.data).all() or (A.data < 0).any():
        raise ValueError(f"{name} has affinities that are negative or not finite; all must be >= 0.")
    return A


def neighbour_graph(X, n_neighbors=5, edge_weights="binary", heat_width=None):
    """Join every row with its nearest ones, in Euclidean distance; return the affinities and the width of the heat.

    Two rows are joined where one is among the nearest of the other. All pairs are never held at once: scikit-learn
    finds neighbours a chunk at a time.

    Parameters
    ----------
    X : sparse matrix or array (n, m)
    n_neighbors : int, default=5
    edge_weights : {"binary", "heat", "cosine"}, default="binary"
        1; ``exp(-d² / heat_width)``; the cosine of the two rows, 0 where it is negative.
    heat_width : float, default=None
        None is the mean of d² over the edges.

    Returns
    -------
    affinity : csr_array (n, n) of float64
        Symmetric, zero on the diagonal.
    heat_width : float or None

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.graphs import neighbour_graph
    >>> A, _ = neighbour_graph(np.array([[0.0], [1.0], [3.0]]), n_neighbors=1)
    >>> A.toarray().astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    n, X = X.shape[0], _precise(X)
    if n < 2:
        return sparse.csr_array((n, n), dtype=np.float64), heat_width
    _, nearest = _nearest(None, X, min(n_neighbors, n - 1))
    edges = np.ones(nearest.size), nearest.ravel(), np.arange(0, nearest.size + 1, nearest.shape[1])
    edges = sparse.csr_array(edges, shape=(n, n))
    edges = edges.maximum(edges.T).tocoo()
    values, heat_width = weigh_edges(X, X, *edges.coords, edge_weights, heat_width)
    return sparse.csr_array(sparse.coo_array((values, edges.coords), shape=(n, n))), heat_width


def neighbours_among(X, known, n_neighbors, edge_weights, heat_width):
    """Find the nearest rows of `known`, as `neighbour_graph` weighs them, for every row of X.

    Returns
    -------
    affinity : csr_array (n, len(known)) of float64
    same : ndarray (n,) of int
        Position of a near row that is the very same, -1 where there is none.
    """
    if sparse.issparse(X) != sparse.issparse(known):  # scikit-learn measures no distances between the two kinds
        X, known = sparse.csr_array(X), sparse.csr_array(known)
    X, known = _precise(X), _precise(known)
    distances, nearest = _nearest(X, known, min(n_neighbors, known.shape[0]))
    same, close = np.full(X.shape[0], -1), CLOSE * np.sqrt(_square_sums(X))[:, None]
    for other, is_close in zip(nearest.T[::-1], (distances <= close).T[::-1], strict=True):
        rows = np.flatnonzero(is_close)
        differs = np.asarray((X[rows] != known[other[rows]]).sum(axis=1)).ravel() > 0
        same[rows[~differs]] = other[rows[~differs]]
    of_row, other = np.repeat(np.arange(len(nearest)), nearest.shape[1]), nearest.ravel()
    values, _ = weigh_edges(X, known, of_row, other, edge_weights, heat_width)
    return sparse.csr_array(sparse.coo_array((values, (of_row, other)), shape=(X.shape[0], known.shape[0]))), same


def _nearest(X, known, count):
    """Return the distances and the positions of the nearest rows of `known`, (n, count) each; X None: of itself.

    Of rows that are equally near the first are taken: as scikit-learn finds them they depend on how the data are held.
    """
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    most = known.shape[0] - (X is None)
    with config_context(working_memory=CHUNK_MB):
        found = NearestNeighbors(n_neighbors=min(count + SPARE, most)).fit(known)
        distances, nearest = found.kneighbors(X)
    step = EQUAL * np.sqrt(_square_sums(known).max(initial=0)) or 1.0
    order = np.lexsort((nearest, np.rint(distances / step)))[:, :count]
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(nearest, order, axis=1)


def _precise(X):
    """Return sparse data as float64: scikit-learn finds neighbours in half the time that it takes in float32."""
    return as_csr(X, dtype=np.float64) if sparse.issparse(X) else X


def weigh_edges(X, Y, i, j, edge_weights, heat_width):
    """Return the affinities of rows X[i] and Y[j] (n_edges,), and the width of the heat that was used."""
    if edge_weights == "binary":
        return np.ones(len(i)), heat_width
    values = np.empty(len(i))
    of_X, of_Y = (_square_sums(F) for F in (X, Y))
    for lo in range(0, len(i), EDGES_AT_ONCE):
        part = slice(lo, lo + EDGES_AT_ONCE)
        values[part] = _square_sums(X[i[part]], Y[j[part]])
    if edge_weights == "cosine":
        lengths = np.sqrt(of_X[i] * of_Y[j])
        return np.maximum(np.divide(values, lengths, out=np.zeros(len(i)), where=lengths > 0), 0), heat_width
    squares = np.maximum(of_X[i] + of_Y[j] - 2 * values, 0)
    if heat_width is None:
        heat_width = float(squares.mean()) or 1.0
    return np.exp(-squares / heat_width), heat_width


def _square_sums(F, G=None):
    """Return the inner products of the rows of F and G (F itself), float64."""
    G = F if G is None else G
    if sparse.issparse(F):
        return np.asarray(F.astype(np.float64).multiply(G).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", F, G, dtype=np.float64)


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
