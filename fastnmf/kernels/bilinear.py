"""Exact coordinate descent over the rows of a factor some of whose columns are products of two others."""

import numpy as np

from fastnmf.kernels.jit import claimed, kernel


@kernel
def rows_products(tasks, F, gram, pos, pair, n_sweeps):
    """Move the first k entries of each row f of F (p, K) in turn to the minimum of ``f gram f / 2 - f pos``, f >= 0.

    Column ``pair[c, l]`` of F is the product of columns c and l, and ``pair[c, c]`` is c, so that along one entry f is
    a straight line and the objective a parabola. pair (k, k) int64 is symmetric; gram (K, K) float64, pos (p, K). The
    columns of products are written anew. O(k² q) a row and sweep, with q columns in use. Inputs are not checked.
    """
    k = len(pair)
    q = k + k * (k - 1) // 2
    for _, begin, until in claimed(tasks):
        f, slope, along = np.empty(q), np.empty(q), np.empty(q)
        for i in range(begin, until):
            for a in range(k):
                f[a] = F[i, a]
            for a in range(k):
                for b in range(a):
                    f[pair[a, b]] = f[a] * f[b]
            for a in range(q):
                slope[a] = -pos[i, a]
                for b in range(q):
                    slope[a] += gram[a, b] * f[b]
            for _ in range(n_sweeps):
                for c in range(k):
                    # `along` is gram times the direction: 1 at c, f[l] at the product of c and l.
                    pull, bend = 0.0, 0.0
                    for a in range(q):
                        along[a] = 0.0
                        for b in range(k):
                            along[a] += gram[a, pair[c, b]] * (1.0 if b == c else f[b])
                    for b in range(k):
                        share = 1.0 if b == c else f[b]
                        pull += share * slope[pair[c, b]]
                        bend += share * along[pair[c, b]]
                    if bend > 0.0:
                        step = max(-pull / bend, -f[c])
                        for a in range(q):
                            slope[a] += step * along[a]
                        f[c] += step
                        for b in range(k):
                            if b != c:
                                f[pair[c, b]] = f[c] * f[b]
            for a in range(q):
                F[i, a] = f[a]
