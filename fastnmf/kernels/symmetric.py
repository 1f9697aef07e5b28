"""Exact coordinate descent for symmetric factorisation, whose objective is a quartic. Inputs are not checked."""

import numpy as np

from fastnmf.kernels.jit import helper, inlined, kernel, work_stealing


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


@helper
def _least_linked(link, before, a, b, x):
    """Return the minimiser of ``link² x⁴/4 + link before x³ + a x²/2 + b x`` over x >= 0, x itself where all are zero.

    With ``y = link x + before`` the derivative is a cubic without a square.

    Parameters
    ----------
    link, before : float
        At least 0.
    a, b : float
    x : float
        The present entry.
    """
    if link > 0.0:
        x = (_largest_root(a - 3.0 * before * before, link * b - before * (a - 2.0 * before * before)) - before) / link
        for _ in range(3):  # y - before has lost digits where link is small
            slope = a + 3.0 * link * x * (2.0 * before + link * x)
            if slope > 0.0:
                x -= (b + x * (a + link * x * (3.0 * before + link * x))) / slope
        x = max(x, 0.0)
    elif a > 0.0:
        x = max(-b / a, 0.0)
    elif b == 0.0:
        return x
    return x if x * (b + x * (0.5 * a + link * x * (before + 0.25 * link * x))) < 0.0 else 0.0


@inlined
def _gathered(indptr, indices, data, i, F, near):
    """Write ``sum A_ij f_j`` over the rows f_j of F other than i into near, and return A_ii.

    Parameters
    ----------
    indptr, indices, data : ndarray
        A (p, p) by compressed rows.
    i : int
    F : ndarray (p, K)
    near : ndarray (k,) of float64
        Written.
    """
    own = 0.0
    near[:] = 0.0
    for p in range(indptr[i], indptr[i + 1]):
        if indices[p] == i:
            own += data[p]
        else:
            for c in range(len(near)):
                near[c] += np.float64(data[p]) * F[indices[p], c]
    return own


@inlined
def _add_outer(inner, sign, f):
    """Add ``sign f fᵀ`` to the first rows and columns of a matrix."""
    for c in range(len(f)):
        for d in range(len(f)):
            inner[c, d] += sign * f[c] * f[d]


@kernel
def linked_sweep(tasks, csr, F, core, inner, rank):
    """Minimise ``||A - F S Fᵀ||²`` over each entry of F >= 0 in turn, for symmetric A (p, p) and S >= 0.

    With all other entries fixed the objective is a quartic, as for `quartic_sweep`, here with a cubic term. The cost is
    O(nnz k + p K²).

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        Task table with one task, because each entry needs the entries before it.
    csr : fastnmf.kernels.records.CSR
        A.
    F : ndarray (p, K)
        Written in the first `rank` columns.
    core : ndarray (K, K) of float64
        S.
    inner : ndarray (K, K) of float64
        ``S FᵀF S``; updated with F.
    rank : int
    """
    indptr, indices, data = csr
    for _, begin, until in work_stealing(tasks):
        f, near, linked, pull = np.empty(rank), np.empty(rank), np.empty(rank), np.empty(rank)
        for i in range(begin, until):
            own, whole = _gathered(indptr, indices, data, i, F, near), 0.0
            f[:] = F[i, :rank]
            for c in range(rank):
                linked[c] = pull[c] = 0.0
                for d in range(rank):
                    linked[c] += core[c, d] * f[d]
                    pull[c] += core[c, d] * near[d]
                whole += f[c] * linked[c]  # f S fᵀ
            _add_outer(inner, -1.0, linked)  # the part of all other rows is left
            for c in range(rank):
                link = core[c, c]
                before = max(linked[c] - link * f[c], 0.0)
                curvature, slope = max(inner[c, c], 0.0), -pull[c]
                for d in range(rank):
                    if d != c:
                        slope += inner[c, d] * f[d]
                left = own - (whole - f[c] * (2.0 * linked[c] - link * f[c]))
                a = curvature - left * link + 2.0 * before * before
                b = slope - left * before
                x = F.dtype.type(_least_linked(link, before, a, b, f[c]))
                step = np.float64(x) - f[c]
                if step != 0.0:
                    whole += step * (2.0 * linked[c] + link * step)
                    for d in range(rank):
                        linked[d] += step * core[d, c]
                    f[c] = x
            F[i, :rank] = f
            _add_outer(inner, 1.0, linked)


@kernel
def core_sweeps(tasks, S, gram, right, product, n_sweeps):
    """Minimise ``tr(S G S G) - 2 tr(S R)`` over each pair of entries of a symmetric S >= 0 in turn.

    That is ``||A - F S Fᵀ||²`` up to a constant, with ``G = FᵀF`` and ``R = Fᵀ A F``. A pair whose curvature is zero
    stays as it is. Cost: O(k³) a sweep.

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        Task table with one task over the rows of S, because each entry needs the entries before it.
    S : ndarray (k, k) of float64
        Written.
    gram, right : ndarray (k, k) of float64
        G and R, symmetric.
    product : ndarray (k, k) of float64
        ``S G``; updated with S.
    n_sweeps : int
    """
    k = len(S)
    for _, begin, until in work_stealing(tasks):
        for _ in range(n_sweeps):
            for a in range(begin, until):
                for b in range(a, k):
                    slope, bend = -right[a, b], gram[a, a] * gram[b, b]
                    if a != b:
                        bend += gram[a, b] * gram[a, b]
                    for c in range(k):
                        slope += gram[a, c] * product[c, b]
                    if bend > 0.0:
                        x = max(S[a, b] - slope / bend, 0.0)
                        step = x - S[a, b]
                        S[a, b] = S[b, a] = x
                        for c in range(k):
                            product[a, c] += step * gram[b, c]
                            if a != b:
                                product[b, c] += step * gram[a, c]
