"""Project rows on the convex hull of a few points, by an active-set method on Gram matrices.

Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing


@helper
def _affine(gram, product, used, n, block, y):
    """Write the weights of the point of an affine hull that is nearest to x; return whether the points are independent.

    With weights that sum to one, the differences from the first point have free weights: a positive definite system of
    n - 1 equations, solved by Cholesky's method.

    Parameters
    ----------
    gram : ndarray (K, K) of float64
        Inner products of the points.
    product : ndarray (K,) of float64
        Inner products of the points with x.
    used : ndarray (K,) of int64
        The n points that span the hull come first.
    n : int
    block : ndarray (K, K) of float64
        Overwritten.
    y : ndarray (K,) of float64
        Written: the weight of each of the n points.

    Returns
    -------
    bool
    """
    o = used[0]
    for i in range(1, n):
        a = used[i]
        y[i] = product[a] - product[o] - gram[a, o] + gram[o, o]
        for j in range(1, i + 1):
            b = used[j]
            block[i, j] = gram[a, b] - gram[a, o] - gram[o, b] + gram[o, o]
        diagonal = block[i, i]
        for j in range(1, i + 1):
            for l in range(1, j):
                block[i, j] -= block[i, l] * block[j, l]
            if j < i:
                block[i, j] /= block[j, j]
        if block[i, i] <= 1e-13 * diagonal:
            return False
        block[i, i] = np.sqrt(block[i, i])
        for l in range(1, i):
            y[i] -= block[i, l] * y[l]
        y[i] /= block[i, i]
    y[0] = 1.0
    for i in range(n - 1, 0, -1):
        for l in range(i + 1, n):
            y[i] -= block[l, i] * y[l]
        y[i] /= block[i, i]
        y[0] -= y[i]
    return True


@helper
def _enters(gram, product, h):
    """Return the point that lies farthest in the direction of the descent at the weights h, or -1 at the minimum."""
    along, least, which, size = 0.0, np.inf, -1, 0.0
    for a in range(len(h)):
        slope = -product[a]
        for b in range(len(h)):
            if h[b] > 0.0:
                slope += gram[a, b] * h[b]
        along += h[a] * slope
        size = max(size, abs(gram[a, a]))
        if slope < least:
            least, which = slope, a
    return which if h[which] == 0.0 and along - least > 1e-12 * size else -1


@helper
def _descend(gram, product, used, n, h, block, y):
    """Move the weights h to the minimum over the affine hull of the n points that are used, without negative ones.

    Parameters
    ----------
    gram, product, used, n, block, y :
        As for `_affine`; `used` is overwritten, too.
    h : ndarray (K,) of float64
        Written.
    """
    while _affine(gram, product, used, n, block, y):
        step = 1.0
        for l in range(n):
            if y[l] <= 0.0:
                step = min(step, h[used[l]] / (h[used[l]] - y[l]) if h[used[l]] > y[l] else 0.0)
        left = 0
        for l in range(n):
            b = used[l]
            h[b] += step * (y[l] - h[b])
            if y[l] > 0.0 or h[b] > 1e-15:
                used[left] = b
                left += 1
            else:
                h[b] = 0.0
        if left == n:
            break
        n = left


@kernel
def rows_hull(tasks, gram, products, squares, H, out):
    """Write the weights of the point of a convex hull that is nearest to each row, and its squared distance.

    They minimise ``||x - sum_a h_a p_a||²`` over h >= 0 with the sum one (Wolfe 1976): the point with the steepest
    descent enters, and points leave where the minimum over the affine hull has a negative weight. A row begins with its
    present weights, which have to be such a minimum.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    gram : ndarray (K, K) of float64
        Inner products of the points.
    products : ndarray (p, K) of float64
        Inner products of the rows with the points.
    squares : ndarray (p,) of float64
        Squared lengths of the rows.
    H : ndarray (p, K) of float64
        Written.
    out : ndarray (p,) of float64
        Written: squared distances, at least 0, with the rounding of `squares`.
    """
    K = len(gram)
    for _, begin, until in work_stealing(tasks):
        block, y, used = np.empty((K, K)), np.empty(K), np.empty(K, np.int64)
        for i in range(begin, until):
            h, product = H[i], products[i]
            for _ in range(10 * K):
                a = _enters(gram, product, h)
                if a < 0:
                    break
                n = 0
                for b in range(K):
                    if h[b] > 0.0:
                        used[n] = b
                        n += 1
                used[n] = a
                n += 1
                _descend(gram, product, used, n, h, block, y)
                if h[a] == 0.0:  # rounding: the point does not help
                    break
            out[i] = squares[i]
            for a in range(K):
                out[i] -= 2.0 * h[a] * product[a]
                for b in range(K):
                    out[i] += h[a] * h[b] * gram[a, b]
            out[i] = max(out[i], 0.0)
