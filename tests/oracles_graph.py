"""Plain-loop and dense twins of what belongs to graphs, written from the papers; nothing of ours is imported."""

import numpy as np


def union_graph(X, p):
    """Join every row with its p nearest ones (Euclidean), and those with it; affinities 0 and 1, dense."""
    n, A = len(X), np.zeros((len(X), len(X)))
    for i in range(n):
        distances = [(np.sum((X[i] - X[j]) ** 2), j) for j in range(n) if j != i]
        for _, j in sorted(distances)[:p]:
            A[i, j] = A[j, i] = 1
    return A


def roughness(f, A):
    """Return ``fᵀ (D - A) f`` of a vector, as half the sum of all squared differences."""
    return sum(A[i, j] * (f[i] - f[j]) ** 2 for i in range(len(f)) for j in range(len(f))) / 2


def penalty(F, G, A, weight, is_anchored):
    """Return the penalty of F (p, k), whose rows are the nodes of A, beside G (q, k)."""
    return weight * sum(roughness(F[:, k], A) * (G[:, k] @ G[:, k] if is_anchored else 1) for k in range(F.shape[1]))


def descended(F, gram, pos, A, scale, visits, order):
    """Return F after coordinate descent on ``tr(F gram Fᵀ) / 2 - <F, pos> + sum_k scale_k f_kᵀ (D - A) f_k / 2``.

    Node after node as in `visits`, and of each its entries as in `order`; a node sees the new entries of the others.
    """
    F = F.copy()
    for i in visits:
        near = A[i] @ F - A[i, i] * F[i]
        degree = A[i].sum() - A[i, i]
        for c in order:
            curve = gram[c, c] + scale[c] * degree
            slope = gram[c] @ F[i] - pos[i, c] + scale[c] * (degree * F[i, c] - near[c])
            if curve > 0:
                F[i, c] = max(F[i, c] - slope / curve, 0)
    return F


def nearest(X, Y, count, is_own):
    """Return the positions of the `count` nearest rows of Y for each row of X, the first of equally near ones first.

    Distances are whole numbers of millionths of the length of the longest row of Y.
    """
    found, step = [], 1e-6 * max(np.sqrt(np.sum(y**2)) for y in Y)
    for i, x in enumerate(X):
        distances = [(round(float(np.sqrt(np.sum((x - y) ** 2)) / step)), j) for j, y in enumerate(Y)]
        found.append([j for _, j in sorted(distances) if not (is_own and j == i)][:count])
    return np.array(found)


def kernel_of_neighbours(X, p, Y=None):
    """Return ``A A + I`` with A the graph of `union_graph` over the roots of both degrees, or its rows for new rows Y.

    A new row is joined with its p nearest rows of X. One that equals a row of X has the kernel of that row.
    """
    U = union_graph(X, p)
    degree = [sum(row) for row in U]
    A = np.array([[U[i, j] / np.sqrt(degree[i] * degree[j]) for j in range(len(X))] for i in range(len(X))])
    K = A @ A + np.eye(len(X))
    if Y is None:
        return K
    rows = []
    for y, near in zip(Y, nearest(Y, X, p, False), strict=True):
        equal = [i for i in range(len(X)) if (X[i] == y).all()]
        joined = np.array([1 / np.sqrt(p * degree[j]) if j in near else 0.0 for j in range(len(X))])
        rows.append(K[equal[0]] if equal else joined @ A)
    return np.array(rows)


def transitivity(A):
    """Return how much more often two neighbours of a node are joined than two of all nodes, of 1 at most."""
    n, pairs, closed = len(A), 0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                if j != q and A[i, j] > 0 and A[i, q] > 0:
                    pairs += 1
                    closed += A[j, q] > 0
    chance = sum(A[i, j] > 0 for i in range(n) for j in range(n)) / (n * (n - 1))
    return (closed / pairs - chance) / (1 - chance)
