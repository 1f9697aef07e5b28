"""Plain-loop and dense twins of the models of other shapes, written from the papers; nothing of ours is imported."""

import numpy as np


def quartic_sweep(A, H):
    """Return H after one sweep of Vandaele et al. (2016), algorithm 4, with roots from NumPy; A, H dense."""
    H, (n, k) = H.copy(), H.shape
    for i in range(n):
        for c in range(k):
            a, b = -A[i, i], 0.0
            for j in range(n):
                if j != i:
                    s = sum(H[i, e] * H[j, e] for e in range(k) if e != c)
                    a += H[j, c] ** 2
                    b -= H[j, c] * (A[i, j] - s)
            a += sum(H[i, e] ** 2 for e in range(k) if e != c)
            roots = np.roots([1.0, 0.0, a, b])
            real = [0.0, *(r.real for r in roots if abs(r.imag) < 1e-9 and r.real > 0)]
            H[i, c] = min(real, key=lambda x: x**4 / 4 + a * x**2 / 2 + b * x)
    return H


def same_partition(a, b):
    """Tell whether two labellings are the same up to names."""
    pairs = set(zip(a, b, strict=True))
    return len(pairs) == len(set(a)) == len(set(b))


def planted():
    """Draw the planted data of the fixed-seed cases: 60 columns in five clusters, noise of 0.02."""
    rng = np.random.default_rng(6)
    W = rng.random((50, 5))
    z = rng.integers(0, 5, 60)
    H = np.zeros((5, 60))
    H[z, np.arange(60)] = 0.5 + rng.random(60)
    return W @ H + 0.02 * rng.random((50, 60)), z


def matched(A, B):
    """Return the least cosine between the rows of A and those of B that they are matched with, greedily."""
    cosines = (A / np.linalg.norm(A, axis=1)[:, None]) @ (B / np.linalg.norm(B, axis=1)[:, None]).T
    least = 1.0
    for _ in range(len(A)):
        i, j = np.unravel_index(np.argmax(cosines), cosines.shape)
        least = min(least, cosines[i, j])
        cosines[i], cosines[:, j] = -np.inf, -np.inf
    return least
