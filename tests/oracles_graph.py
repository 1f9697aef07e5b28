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
