"""Kullback-Leibler passes over the non-zeros of the data."""

import numpy as np
from numba import prange

from fastnmf.kernels.jit import helper, kernel
from fastnmf.kernels.simd import BLOCK_BYTES, MAX_BLOCKS, dot_rows, gather_row, ratio_row


@helper
def _log(x):
    """Return the natural logarithm of a positive normal float64 to about 1e-13, in arithmetic that vectorises.

    ``x = 2^e m`` with m in [0.707, 1.414); ``log m = 2 artanh(s)`` for ``s = (m - 1) / (m + 1)``, by its series. The
    library's logarithm, a call a non-zero, took a third of a whole iteration.
    """
    bits = np.float64(x).view(np.int64)
    shifted = bits - 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
    exponent = shifted >> 52
    m = np.int64(bits - (exponent << 52)).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    series = 1.0 / 13 + q * (1.0 / 15)
    series = 1.0 / 9 + q * (1.0 / 11 + q * series)
    series = 1.0 / 5 + q * (1.0 / 7 + q * series)
    return exponent * 0.6931471805599453 + 2.0 * s * (1.0 + q * (1.0 / 3 + q * series))


@helper
def _log_single(x):
    """Return the natural logarithm of a positive normal float32 to about 2e-7; see `_log`."""
    bits = np.float32(x).view(np.int32)
    exponent = np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23)
    m = np.int32(bits - (exponent << np.int32(23))).view(np.float32)
    s = (m - np.float32(1)) / (m + np.float32(1))
    q = s * s
    series = np.float32(1 / 3) + q * (np.float32(1 / 5) + q * np.float32(1 / 7))
    return np.float32(exponent) * np.float32(0.6931471805599453) + np.float32(2) * s * (np.float32(1) + q * series)


@kernel
def csr_ratio_matmul(tasks, indptr, indices, data, F, G, ratio, out, parts):
    """Write ``out = Z G`` with ``z = x / (F Gᵀ)`` on the non-zeros x of X, and the sums of ``x log z``.

    X (p, q) in CSR, F and out (p, K), G (q, K), ratio (nnz,) all of one dtype; parts (T,) float64, or no entries where
    the sums, a logarithm a non-zero, are not wanted. A model value below 1.2e-7 counts as that, as in scikit-learn.
    """
    least = F.dtype.type(1.1920929e-07)
    widest = MAX_BLOCKS * (BLOCK_BYTES // F.itemsize)
    for t in prange(len(tasks) - 1):
        total = 0.0
        for i in range(tasks[t], tasks[t + 1]):
            lo, hi = indptr[i], indptr[i + 1]
            if F.shape[1] <= widest:
                ratio_row(lo, hi, indices, data, F, i, G, least, ratio, out)
            else:
                dot_rows(lo, hi, indices, F, i, G, ratio)
                for p in range(lo, hi):
                    ratio[p] = data[p] / max(ratio[p], least)
                gather_row(lo, hi, indices, ratio, G, out, i)
            if len(parts) > 0:
                if F.itemsize == 4:
                    for p in range(lo, hi):
                        total += np.float64(data[p]) * np.float64(_log_single(ratio[p]))
                else:
                    for p in range(lo, hi):
                        total += np.float64(data[p]) * _log(ratio[p])
        if len(parts) > 0:
            parts[t] = total
