"""Exact coordinate descent for symmetric factorisation, whose objective is a quartic. Inputs are not checked."""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing


@helper
def _largest_root(a, b):
    """Return the largest real root of ``x³ + a x + b``, polished by two Newton steps."""
    third, half = a / 3.0, -0.5 * b
    inside = half * half + third * third * third
    if inside >= 0.0:
        # Cardano's formula has two cube roots. Take the one without cancellation; the other is -third divided by it.
        root = np.sqrt(inside)
        big = np.cbrt(half + root if half >= 0.0 else half - root)
        x = big - third / big if big != 0.0 else 0.0
        if third < 0.0 and big < 0.0:  # a double root may lie above the single one
            x = max(x, -0.5 * x)
    else:
        length = np.sqrt(-third)
        x = 2.0 * length * np.cos(np.arccos(min(1.0, max(-1.0, half / (length * length * length)))) / 3.0)
    for _ in range(2):
        slope = 3.0 * x * x + a
        if slope > 0.0:
            x -= (x * x * x + a * x + b) / slope
    return x


@helper
def _least(a, b):
    """Return the minimiser of ``x⁴/4 + a x²/2 + b x`` over x >= 0."""
    if a >= 0.0 and b >= 0.0:
        return 0.0
    x = max(_largest_root(a, b), 0.0)
    return x if x * (0.25 * x * x * x + 0.5 * a * x + b) < 0.0 else 0.0


@kernel
def quartic_sweep(tasks, csr, F, gram, rank):
    """Minimise ``||A - F Fᵀ||²`` over each entry of F >= 0 in turn, for symmetric A (p, p).

    The cost is O(nnz k + p k²).

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        Task table with one task, because each entry needs the entries before it.
    csr : fastnmf.kernels.records.CSR
        A.
    F : ndarray (p, K)
        Written in the first `rank` columns.
    gram : ndarray (K, K) of float64
        ``FᵀF``; updated with F.
    rank : int
    """
    indptr, indices, data = csr
    for _, begin, until in work_stealing(tasks):
        f, near = np.empty(rank), np.empty(rank)
        for i in range(begin, until):
            own, length = 0.0, 0.0
            near[:] = 0.0
            for p in range(indptr[i], indptr[i + 1]):
                if indices[p] == i:
                    own += data[p]
                else:
                    for c in range(rank):
                        near[c] += np.float64(data[p]) * F[indices[p], c]
            for c in range(rank):
                f[c] = F[i, c]
                length += f[c] * f[c]
            for c in range(rank):
                others = length - f[c] * f[c]
                a = gram[c, c] - f[c] * f[c] + others - own
                b = -near[c] - f[c] * others
                for d in range(rank):
                    if d != c:
                        b += f[d] * gram[c, d]
                x = F.dtype.type(_least(a, b))
                step = np.float64(x) - f[c]
                if step != 0.0:
                    for d in range(rank):
                        if d != c:
                            gram[c, d] += step * f[d]
                            gram[d, c] = gram[c, d]
                    gram[c, c] += step * (f[c] + x)
                    length += step * (f[c] + x)
                    f[c] = x
            for c in range(rank):
                F[i, c] = f[c]
