"""Graphs as affinity matrices: conversion of graph objects, checks of user matrices, and nearest-neighbour graphs."""

import numpy as np
from scipy import sparse

from fastnmf.data.layout import Compressed, row_index, row_squares
from fastnmf.data.matrix import as_csr
from fastnmf.kernels.jit import split_costs
from fastnmf.kernels.neighbours import csr_nearest

EDGES_AT_ONCE = 4096  # edges whose rows are copied together
CHUNK_MB = 128  # size of the distances that are held at a time
AT_ONCE = 1 << 30  # multiply-adds of one launch, about a second: Ctrl-C waits for its end
CLOSE = 1e-3  # distance, in lengths of the row, below which rows are compared; rounding may make it 1e-4 for equal rows
EQUAL = 1e-6  # difference of two distances, in lengths of the longest row, that counts as rounding
NODES_OF_TRANSITIVITY = 1000  # evenly spaced; of 2,287 texts they give .141 in place of .143
# Transitivity of a graph of neighbours: up to .05 in noise of 50 to 500 dimensions, as that of blobs whose neighbours
# are of another blob as often as not; .1 and more in texts, digits and faces, where the graph helps.
NOISE, RELIABLE = 0.05, 0.1
SPARE = 8  # additional neighbours that are found in dense data, so that equally near ones can be ordered


def is_graph(X):
    """Tell whether X has the attributes `nodes` and `edges`."""
    return hasattr(X, "nodes") and hasattr(X, "edges")


def affinity_matrix(graph, weight="weight"):
    """Return the affinities of an undirected graph as a symmetric CSR array, in the order of its nodes.

    Parameters
    ----------
    graph : object with ``nodes`` and ``edges``
        Each is an iterable, or a method that returns one, as in networkx. An edge is ``(u, v)``, ``(u, v, number)``
        or ``(u, v, dict)``. The affinities of several edges between two nodes are added.
    weight : str or None, default="weight"
        Key of the affinity in the dict of an edge; an edge without it has affinity 1. None: every edge has affinity 1.

    Returns
    -------
    scipy.sparse.csr_array (n_nodes, n_nodes) of float64

    Raises
    ------
    ValueError
        The graph is directed, or an edge has a node that is not in `nodes`.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from fastnmf.data.graphs import affinity_matrix
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
    except TypeError:  # a method that does not take data=True
        return graph.edges()


EDGE_WEIGHTS = ("binary", "heat", "cosine")


def check_affinity(graph, n_nodes, name="graph", of="samples"):
    """Return the affinities of a graph that a user passed, as a symmetric CSR array of float64.

    Parameters
    ----------
    graph : sparse matrix or array (n_nodes, n_nodes), or object with ``nodes`` and ``edges``
        Symmetric, >= 0. Entries on the diagonal are kept.
    n_nodes : int
    name : str, default="graph"
        Name of the graph in messages.
    of : str, default="samples"
        Name of the nodes in messages.

    Returns
    -------
    scipy.sparse.csr_array (n_nodes, n_nodes) of float64

    Raises
    ------
    TypeError
        The graph is not made of numbers.
    ValueError
        The shape differs, or entries are negative, not finite or not symmetric.
    """
    A = as_affinity(affinity_matrix(graph) if is_graph(graph) else graph, name)
    if A.shape != (n_nodes, n_nodes):
        raise ValueError(
            f"{name} has shape {A.shape}, but X has {n_nodes} {of}; expected ({n_nodes}, {n_nodes}), in their order."
        )
    gap = abs(A - A.T)
    if gap.nnz and gap.max() > 1e-9 * A.data.max():
        raise ValueError(f"{name} is not symmetric; pass (graph + graph.T) / 2, or graph.maximum(graph.T).")
    return A


def as_affinity(graph, name="graph"):
    """Return a matrix of numbers >= 0 as a CSR array of float64 without stored zeros, or raise an error."""
    A = graph if sparse.issparse(graph) else np.asarray(graph)
    if A.dtype.kind not in "biuf" or A.ndim != 2:
        raise TypeError(
            f"{name} is {type(graph).__name__} with {A.ndim} dimensions and dtype {A.dtype}; expected a sparse matrix, "
            "an array of affinities or a graph with nodes and edges."
        )
    A = as_csr(sparse.csr_array(A) if not sparse.issparse(A) else A, name, np.float64).copy()
    A.sum_duplicates()
    A.eliminate_zeros()
    if not np.isfinite(A.data).all() or (A.data < 0).any():
        raise ValueError(f"{name} has affinities that are negative or not finite; all must be >= 0.")
    return A


def neighbour_graph(X, n_neighbors=5, edge_weights="binary", heat_width=None, *, joins_zeros=False):
    """Join every row with its nearest rows, in Euclidean distance d; return the affinities and the `heat_width` used.

    Two rows are joined where one is among the nearest rows of the other. Rows of zeros are joined with none: two unit
    rows without a common entry are at distance 1.41, and a row of zeros would be at distance 1 from both. The distances
    of all pairs are never held at once.

    Parameters
    ----------
    X : sparse matrix or array (n, m)
    n_neighbors : int, default=5
    edge_weights : {"binary", "heat", "cosine"}, default="binary"
        Affinity of two joined rows. ``"binary"``: 1. ``"heat"``: ``exp(-d² / heat_width)``. ``"cosine"``: the cosine of
        the two rows, 0 where it is negative.
    heat_width : float, default=None
        In the units of d². None means the mean of d² over the edges.
    joins_zeros : bool, default=False
        Whether rows of zeros are joined with near rows, too: for coordinates, of which none is empty.

    Returns
    -------
    affinity : csr_array (n, n) of float64
        Symmetric, zero on the diagonal.
    heat_width : float or None
        None where it was None and is not used.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.data.graphs import neighbour_graph
    >>> A, _ = neighbour_graph(np.array([[1.0], [2.0], [4.0]]), n_neighbors=1)
    >>> A.toarray().astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    n, X = X.shape[0], as_csr(X) if sparse.issparse(X) else X
    kept = np.arange(n) if joins_zeros else rows_with_entries(X)
    if len(kept) < 2:
        return sparse.csr_array((n, n), dtype=np.float64), heat_width
    X = X if len(kept) == n else X[kept]
    nearest = nearest_rows(None, X, min(n_neighbors, len(kept) - 1))[1]
    edges = np.ones(nearest.size), nearest.ravel(), np.arange(0, nearest.size + 1, nearest.shape[1])
    edges = sparse.csr_array(edges, shape=(len(kept), len(kept)))
    edges = edges.maximum(edges.T).tocoo()
    values, heat_width = weigh_edges(X, X, *edges.coords, edge_weights, heat_width)
    i, j = (kept[each] for each in edges.coords)
    return sparse.csr_array(sparse.coo_array((values, (i, j)), shape=(n, n))), heat_width


def transitivity(A):
    """Return how much more often than two of all nodes two neighbours of a node are joined; 1 if they always are.

    With T the share of the pairs of neighbours that are joined and p that of all pairs of nodes, it is ``(T - p) /
    (1 - p)``, and 1 where no node has two neighbours or all nodes are joined. Of a large graph it is that of 1000
    nodes.

    Parameters
    ----------
    A : csr_array (n, n)
        Affinities of a symmetric graph without loops; entries that are stored are edges.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from fastnmf.data.graphs import transitivity
    >>> path = np.diag(np.ones(3), 1)
    >>> triangles = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
    >>> [round(transitivity(csr_array(A)), 2) for A in (path + path.T, triangles)]
    [-1.0, 1.0]
    """
    n = A.shape[0]
    some = np.linspace(0, n - 1, min(n, NODES_OF_TRANSITIVITY)).astype(int)
    A = sparse.csr_array((np.ones(A.nnz), A.indices, A.indptr), A.shape)
    degrees, near = np.diff(A.indptr)[some].astype(np.float64), A[some]
    pairs, chance = float((degrees * (degrees - 1)).sum()), A.nnz / max(n * (n - 1), 1)
    if pairs == 0 or chance >= 1:
        return 1.0
    return (float((near @ A).multiply(near).sum()) / pairs - chance) / (1 - chance)


def rows_with_entries(X):
    """Return the numbers of the rows that have an entry other than zero, int64, for X (n, m) sparse or dense."""
    if not sparse.issparse(X):
        return np.flatnonzero(X.any(axis=1))
    X = sparse.csr_array(X)
    return np.flatnonzero(np.bincount(row_index(X)[X.data != 0], minlength=X.shape[0]))


def neighbours_among(X, known, n_neighbors, edge_weights, heat_width, *, joins_zeros=False):
    """Find the nearest rows of `known` for every row of X, with affinities as in `neighbour_graph`.

    Parameters
    ----------
    X : sparse matrix or array (n, m)
    known : sparse matrix or array (q, m)
    n_neighbors : int
    edge_weights : {"binary", "heat", "cosine"}
    heat_width : float or None
    joins_zeros : bool, default=False
        As for `neighbour_graph`.

    Returns
    -------
    affinity : csr_array (n, q) of float64
    same : ndarray (n,) of int
        Position of a near row of `known` that equals the row of X, -1 where there is none. A row of zeros has no
        neighbours, and equals the first row of zeros of `known`.
    """
    if sparse.issparse(X) != sparse.issparse(known):
        X, known = sparse.csr_array(X), sparse.csr_array(known)
    X, known = (as_csr(F) if sparse.issparse(F) else F for F in (X, known))
    (n, q) = X.shape[0], known.shape[0]
    rows, others = (np.arange(F.shape[0]) if joins_zeros else rows_with_entries(F) for F in (X, known))
    empty = np.setdiff1d(np.arange(q), others, assume_unique=True)
    same = np.full(n, empty[0] if len(empty) else -1)
    same[rows] = -1
    if not len(rows) or not len(others):
        return sparse.csr_array((n, q), dtype=np.float64), same
    X, known = X[rows], known[others]
    distances, nearest = nearest_rows(X, known, min(n_neighbors, len(others)))
    close = CLOSE * np.sqrt(row_squares(X))[:, None]
    for other, is_close in zip(nearest.T[::-1], (distances <= close).T[::-1], strict=True):
        at = np.flatnonzero(is_close)
        at = at[np.asarray((X[at] != known[other[at]]).sum(axis=1)).ravel() == 0]
        same[rows[at]] = others[other[at]]
    of_row, other = np.repeat(np.arange(len(nearest)), nearest.shape[1]), nearest.ravel()
    values, _ = weigh_edges(X, known, of_row, other, edge_weights, heat_width)
    return sparse.csr_array(sparse.coo_array((values, (rows[of_row], others[other])), shape=(n, q))), same


def nearest_rows(X, known, count):
    """Return the distances and the positions of the nearest rows of `known`, (n, count) each, for every row of X.

    Of rows that are equally near, up to rounding, those with the smallest positions are taken. Sparse rows are compared
    by `fastnmf.kernels.neighbours.csr_nearest`, in the memory of their transpose and the result; dense ones by
    scikit-learn, whose trees and matrix products are faster there.

    Parameters
    ----------
    X : csr_array or ndarray (n, m), or None
        None: the rows of `known`, each of which is not its own neighbour.
    known : csr_array or ndarray (q, m)
        Of the kind of X.
    count : int
        At most q, or q - 1 without X.
    """
    square_sums = row_squares(known)
    step = EQUAL * np.sqrt(square_sums.max(initial=0)) or 1.0
    if sparse.issparse(known):
        return _nearest_sparse(X, known, count, square_sums, step)
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    most = known.shape[0] - (X is None)
    with config_context(working_memory=CHUNK_MB):
        found = NearestNeighbors(n_neighbors=min(count + SPARE, most)).fit(known)
        distances, nearest = found.kneighbors(X)
    order = np.lexsort((nearest, np.rint(distances / step)))[:, :count]
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(nearest, order, axis=1)


def _nearest_sparse(X, known, count, square_sums, step):
    """Return what `nearest_rows` returns, for sparse rows.

    Parameters
    ----------
    X, known, count :
        As for `nearest_rows`.
    square_sums : ndarray (q,) of float64
        Squared lengths of the rows of `known`.
    step : float
        Smaller differences of distances are rounding.
    """
    is_own, X = X is None, known if X is None else X
    dtype = np.result_type(X.dtype, known.dtype)
    turned = known.T.tocsr()
    rows, columns = (Compressed(F.indptr, F.indices, F.data.astype(dtype, copy=False)) for F in (X, turned))
    squares = np.concatenate([square_sums if is_own else row_squares(X), square_sums])
    distances, nearest = np.empty((X.shape[0], count)), np.empty((X.shape[0], count), np.int64)
    ends = np.cumsum(np.append(0, np.diff(columns.indptr)[rows.indices]))[rows.indptr]
    cost = ends + known.shape[0] * np.arange(X.shape[0] + 1)
    begin = 0
    while begin < X.shape[0]:
        until = max(int(np.searchsorted(cost, cost[begin] + AT_ONCE, side="right")) - 1, begin + 1)
        tasks = begin + split_costs(cost[begin : until + 1] - cost[begin], 1)
        csr_nearest(tasks, rows.csr, columns.csr, squares, step, is_own, distances, nearest)
        begin = until
    return distances, nearest


def weigh_edges(X, Y, i, j, edge_weights, heat_width):
    """Return the affinities of the pairs of rows X[i] and Y[j], and the `heat_width` that was used.

    Parameters
    ----------
    X, Y : sparse matrix or array (n, m), (q, m)
    i, j : ndarray (n_edges,) of int
    edge_weights : {"binary", "heat", "cosine"}
    heat_width : float or None
        As for `neighbour_graph`.

    Returns
    -------
    affinity : ndarray (n_edges,) of float64
    heat_width : float or None
    """
    if edge_weights == "binary":
        return np.ones(len(i)), heat_width
    values = np.empty(len(i))
    of_X, of_Y = row_squares(X), row_squares(Y)
    for lo in range(0, len(i), EDGES_AT_ONCE):
        part = slice(lo, lo + EDGES_AT_ONCE)
        values[part] = _inner_products(X[i[part]], Y[j[part]])
    if edge_weights == "cosine":
        lengths = np.sqrt(of_X[i] * of_Y[j])
        return np.maximum(np.divide(values, lengths, out=np.zeros(len(i)), where=lengths > 0), 0), heat_width
    squares = np.maximum(of_X[i] + of_Y[j] - 2 * values, 0)
    if heat_width is None:
        heat_width = float(squares.mean()) or 1.0
    return np.exp(-squares / heat_width), heat_width


def _inner_products(F, G):
    """Return the inner products of corresponding rows of F and G, float64 (n,)."""
    if sparse.issparse(F):
        return np.asarray(F.astype(np.float64).multiply(G).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", F, G, dtype=np.float64)
