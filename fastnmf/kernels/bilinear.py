"""Exact coordinate descent over the rows of a factor in which some columns are products of two other columns.

Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import kernel, work_stealing


@kernel
def rows_products(tasks, F, gram, pos, pair, least, n_sweeps):  # noqa: C901 (split, its loops over one row would be calls)
    """Minimise ``f gram f / 2 - f pos`` over the first k entries of each row f of F, one entry at a time, with f >= 0.

    Column ``pair[c, l]`` of F is the product of columns c and l, and ``pair[c, c]`` is c. The row is therefore a linear
    function of each single entry, and the objective a parabola in it. The columns of products are recomputed. The cost
    is O(k² q) per row and sweep, where q = k (k + 1) / 2 is the number of columns in use.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K)
        Written in its first q columns.
    gram : ndarray (K, K) of float64
    pos : ndarray (p, K)
    pair : ndarray (k, k) of int64
        Symmetric.
    least : float
        Entries stay where the second derivative is not above it.
    n_sweeps : int
        Number of passes over the k entries of a row.
    """
    k = len(pair)
    q = k + k * (k - 1) // 2
    for _, begin, until in work_stealing(tasks):
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
                    # `along` is gram times the search direction, which is 1 at c and f[l] at the product of c and l.
                    pull, bend = 0.0, 0.0
                    for a in range(q):
                        along[a] = 0.0
                        for b in range(k):
                            along[a] += gram[a, pair[c, b]] * (1.0 if b == c else f[b])
                    for b in range(k):
                        share = 1.0 if b == c else f[b]
                        pull += share * slope[pair[c, b]]
                        bend += share * along[pair[c, b]]
                    if bend > least:
                        step = max(-pull / bend, -f[c])
                        for a in range(q):
                            slope[a] += step * along[a]
                        f[c] += step
                        for b in range(k):
                            if b != c:
                                f[pair[c, b]] = f[c] * f[b]
            for a in range(q):
                F[i, a] = f[a]
