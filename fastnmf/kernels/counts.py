"""Kernels of counts: logarithms of ratios of gamma functions, and their derivatives.

For a size t > 0 and a count x >= 0 all results are differences between t and ``t + x``: of the log-gamma function,
``log Γ(t + x) - log Γ(t)``, of its first derivative and of its second. They keep their digits where t is large and both
parts of a difference are nearly equal. Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing

SMALL_COUNT = 16  # whole counts up to here are sums of as many terms
RAISED = 8  # Stirling's series begin at this size or above: its last terms are then below 1e-14


@helper
def _few(t, n):
    """Return the differences of `gamma_rise` for a whole number n of at most `SMALL_COUNT`."""
    product, first, second = 1.0, 0.0, 0.0
    for i in range(n):
        inverse = 1.0 / (t + i)
        product *= t + i
        first += inverse
        second -= inverse * inverse
    return np.log(product), first, second


@helper
def _series(t):
    """Return what Stirling's series adds to ``(t - 1/2) log t - t``, and its first and second derivative.

    Without the constant of the first, and of the derivatives without ``log t - 1 / (2 t)`` and its derivative.
    """
    w = 1.0 / (t * t)
    value = 1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w * (1 / 1188 - w * (691 / 360360 - w / 156)))))
    first = 1 / 12 - w * (1 / 120 - w * (1 / 252 - w * (1 / 240 - w * (1 / 132 - w * (691 / 32760 - w / 12)))))
    second = 1 / 6 - w * (1 / 30 - w * (1 / 42 - w * (1 / 30 - w * (5 / 66 - w * (691 / 2730 - w * (7 / 6))))))
    return value / t, -first * w, second * w / t


@helper
def gamma_rise(t, x):
    """Return ``log Γ(t + x) - log Γ(t)`` and the same differences of the digamma and of the trigamma function.

    Absolute or relative errors are about 1e-13, whichever is larger.

    Parameters
    ----------
    t : float
        > 0.
    x : float
        >= 0, whole or not.

    Returns
    -------
    value, first, second : float
    """
    n = int(min(x, SMALL_COUNT))
    if n == x:
        return _few(t, n)
    value = first = second = 0.0
    if t < RAISED:  # Γ(t) = Γ(t + 1) / t, eight times at both ends
        product = 1.0
        for i in range(RAISED):
            low, high = 1.0 / (t + i), 1.0 / (t + x + i)
            product *= 1.0 + x * low
            first += x * low * high
            second -= x * low * high * (low + high)
        value, t = -np.log(product), t + RAISED
    end = t + x
    below, above, share = _series(t), _series(end), np.log1p(x / t)
    value += x * np.log(end) + (t - 0.5) * share - x + above[0] - below[0]
    first += share + 0.5 * x / (t * end) + above[1] - below[1]
    second += -x / (t * end) * (1.0 + 0.5 * (1.0 / t + 1.0 / end)) + above[2] - below[2]
    return value, first, second


@kernel
def csr_gamma_rises(tasks, csr, theta, out):
    """Write the sums of `gamma_rise` over the entries of each row.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr : CSR
        X (p, q).
    theta : ndarray (p,) of float64
        The size of each row.
    out : ndarray (p, 3) of float64
        Written.
    """
    indptr, _, data = csr
    for _, begin, until in work_stealing(tasks):
        for i in range(begin, until):
            value = first = second = 0.0
            for p in range(indptr[i], indptr[i + 1]):
                found = gamma_rise(theta[i], np.float64(data[p]))
                value, first, second = value + found[0], first + found[1], second + found[2]
            out[i, 0], out[i, 1], out[i, 2] = value, first, second
