"""Factors whose rows are linked in a chain: exact minimisers of whole columns, and of one entry after another."""

import numpy as np

from fastnmf.kernels.jit import claimed, helper, kernel

PASSES = 60  # over the rows that are zero; a handful is usual


@helper
def _link(f, weight, bend, links):
    """Fill links (p - 1,) with the curvatures of the steps of f: all the same, or those of parabolas above ``|step|``.

    bend > 0: ``weight sqrt(d² + bend²)`` lies below a parabola in d that meets it at the present d and has half its
    second derivative there: ``weight / (2 sqrt(d² + bend²))``. bend = 0: the penalty is ``weight d²`` itself.
    """
    for j in range(len(links)):
        d = f[j + 1] - f[j]
        links[j] = weight if bend == 0.0 else 0.5 * weight / np.sqrt(d * d + bend * bend)


@helper
def _solve(g, links, b, inside, f, share):
    """Write to f the solution of ``(g I + L) f = b`` in the rows that are inside, zero in the others.

    L is the Laplacian of the chain with these links. Elimination from the left; share[j] is what row j has of its own
    and not from the next one, from sums of positive numbers only, so that strong links lose no digits.
    """
    p = len(f)
    for j in range(p):
        f[j], share[j] = 0.0, 1.0
        if inside[j]:
            own, right = g, b[j]
            if j > 0:
                own += links[j - 1] * share[j - 1]
                right += links[j - 1] * f[j - 1]
            whole = own + (links[j] if j < p - 1 else 0.0)
            f[j], share[j] = right / whole, own / whole
    for j in range(p - 2, -1, -1):
        if inside[j]:
            f[j] += (1.0 - share[j]) * f[j + 1]


@helper
def _excess(g, links, b, f, j):
    """Return the half-gradient of entry j."""
    found = g * f[j] - b[j]
    if j > 0:
        found += links[j - 1] * (f[j] - f[j - 1])
    if j < len(f) - 1:
        found += links[j] * (f[j] - f[j + 1])
    return found


@helper
def _best_column(g, links, b, f, inside, share):
    """Write to f the exact minimiser over f >= 0; return whether it was found.

    Rows join where the gradient is negative and leave where the solution is (a primal-dual active set): with a matrix
    that has no positive entries off its diagonal, as here, that ends at the minimiser.
    """
    for j in range(len(f)):
        inside[j] = f[j] > 0.0 or b[j] > 0.0
    for _ in range(PASSES):
        _solve(g, links, b, inside, f, share)
        is_done = True
        for j in range(len(f)):
            if inside[j] and f[j] < 0.0:
                inside[j], is_done = False, False
            elif not inside[j] and _excess(g, links, b, f, j) < 0.0:
                inside[j], is_done = True, False
        if is_done:
            return True
    return False


@kernel
def chain_sweep(tasks, F, gram, pos, flat, chain, order, by_columns):
    """Move the columns ``c = order[0], order[1], ...`` of F (p, K), whose rows are linked in a chain.

    Minimises the quadratic plus the penalty of the chain, ``(weight, bend)``, over the column c >= 0, all
    others fixed: exactly where `by_columns` (with a parabola above the penalty where bend > 0), else one entry after
    another, each exactly. pos (p, K), flat as for `rows_hals`. One task: a column needs those before it. Inputs are
    not checked.
    """
    p = len(F)
    for _, begin, until in claimed(tasks):
        f, b, links, share = np.empty(p), np.empty(p), np.empty(max(p - 1, 0)), np.empty(p)
        inside = np.empty(p, np.bool_)
        for c in order:
            g = gram[c, c]
            if not g > 0.0:
                continue
            for j in range(p):
                f[j] = F[j, c]
                b[j] = np.float64(pos[j, c]) - flat + g * f[j]
                for d in range(len(gram)):
                    b[j] -= F[j, d] * gram[d, c]
            _link(f, chain[0], chain[1], links)
            if not by_columns or not _best_column(g, links, b, f, inside, share):
                for j in range(p):
                    if by_columns:  # not found: back to where it was
                        f[j] = F[j, c]
                for j in range(p):
                    around = (links[j - 1] if j > 0 else 0.0) + (links[j] if j < p - 1 else 0.0)
                    f[j] = max(0.0, f[j] - _excess(g, links, b, f, j) / (g + around))
            for j in range(begin, until):
                F[j, c] = f[j]
