"""Hold the factors of a fit in padded, aligned arrays, and cache results that are computed from them."""

import math

import numpy as np
import scipy.sparse as sp

from fastnmf.kernels.jit import split_rows
from fastnmf.kernels.row_intrinsics import padded

ALIGNMENT = 64


def aligned(shape, dtype):
    """Return a zeroed C-order array aligned to a cache line: vector loads of gathered rows then cross fewer lines."""
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    raw = np.zeros(n_bytes + ALIGNMENT, dtype=np.uint8)
    offset = -raw.ctypes.data % ALIGNMENT
    return raw[offset : offset + n_bytes].view(dtype).reshape(shape)


def copy_rows(source, target):
    """Copy a tall array into another, 512 rows at a time: a transposed copy then stays in the cache."""
    for lo in range(0, len(source), 512):
        target[lo : lo + 512] = source[lo : lo + 512]


def dense_rows(X, chosen):
    """Return a few rows of a CSR or dense matrix as a dense array (len(chosen), n_columns)."""
    if not sp.issparse(X):
        return X[chosen]
    return X[chosen].toarray()  # never-densify-ok: as many rows as there are components


class Factors:
    """The arrays that a fit updates, with a cache of results that are computed from them.

    Parameters
    ----------
    rank : int
        Columns in use. W (n, K) and H (m, K) are as wide as the padded rank K; the remaining columns are zero.
    **arrays : ndarray
        The factors by name.

    Attributes
    ----------
    widths : dict
        Columns in use by name, for factors that do not all have `rank` of them.
    """

    def __init__(self, rank, **arrays):
        self.rank, self.widths = rank, {}
        self.arrays = arrays
        self._version = dict.fromkeys(arrays, 0)
        self._cache = {}

    def __getitem__(self, name):
        return self.arrays[name]

    def add(self, name, array):
        """Add a factor."""
        self.arrays[name], self._version[name] = array, 0

    def invalidate(self, name):
        """Note that factor `name` has changed in place."""
        self._version[name] += 1

    def overwrite(self, arrays):
        """Replace the values of factors, by name."""
        for name, F in arrays.items():
            self.arrays[name][:] = F
            self.invalidate(name)

    def multiply_columns(self, name, scale):
        """Multiply the columns of factor `name` (p, K) in place by `scale` (K,)."""
        np.multiply(self.arrays[name], scale, out=self.arrays[name], casting="same_kind")
        self.invalidate(name)

    def shift_exponents(self, name, powers):
        """Multiply the columns of factor `name` (p, K) in place by ``2 ** powers``, int (K,)."""
        np.ldexp(self.arrays[name], powers, out=self.arrays[name])
        self.invalidate(name)

    def go_back(self, name, before):
        """Replace factor `name` by its value `before` the extrapolation."""
        self.arrays[name][:] = before
        self.invalidate(name)

    def is_zero(self, name):
        """Tell whether all entries of factor `name` are zero."""
        return not self.arrays[name].any()

    def to_state(self):
        """Return the arrays by name, not copied."""
        return dict(self.arrays)

    def from_state(self, state):
        """Replace the values of the factors by those that `to_state` returned."""
        for name, array in state.items():
            refill(self.arrays[name], array)
            self.invalidate(name)

    def gathered(self, name):
        """Return factor `name` (p, k) without padding, not a copy."""
        return self.arrays[name][:, : self.rank]

    def cached(self, key, names, compute):
        """Return ``compute()``, or its last result if none of the factors `names` has changed since.

        Parameters
        ----------
        key : hashable
            Name of the result.
        names : sequence of str
            Factors that the result depends on.
        compute : callable
        """
        stamp = tuple(self._version[name] for name in names)
        known = self._cache.get(key)
        if known is None or known[0] != stamp:
            known = self._cache[key] = (stamp, compute())
        return known[1]

    def clear_cache(self, kept=None):
        """Remove all cached results but the one of the key `kept`."""
        self._cache = {key: known for key, known in self._cache.items() if key == kept}

    def fork(self):
        """Return the same factors with a separate cache, for one of several losses that use the same keys."""
        other = Factors(self.rank, **self.arrays)
        other._version = self._version
        return other

    def cache_put(self, key, names, value):
        """Cache a result that is valid until one of the factors `names` is updated."""
        self._cache[key] = (tuple(self._version[name] for name in names), value)

    def cache_valid(self, key, names):
        """Return whether ``cached(key, names, ...)`` would return without computing."""
        known = self._cache.get(key)
        return known is not None and known[0] == tuple(self._version[name] for name in names)

    def known(self, key, names):
        """Return what ``cached(key, names, ...)`` would return without computing, or None."""
        return self._cache[key][1] if self.cache_valid(key, names) else None


def pad(F, strata, dtype=None):
    """Return F (p, k) in an aligned array (p, K) of a dtype, None: the data's, zero from column k on."""
    dtype = np.dtype(strata.dtype if dtype is None else dtype)
    out = aligned((len(F), padded(F.shape[1], dtype)), dtype)
    copy_rows(F, out[:, : F.shape[1]])
    return out


def row_tasks(F):
    """Return the task table of the row kernels over a padded factor."""
    return split_rows(len(F), F.shape[1] ** 2)


def padded_factors(data, **arrays):
    """Return `Factors` that all have the padded width of the widest, and the task tables of their row kernels.

    The core factors S, or S1, S2, ..., which stand between two others, are padded on both sides.
    """
    rank, held = max(F.shape[1] for F in arrays.values()), {}
    for name, F in arrays.items():
        wide = np.zeros((len(F), rank))
        wide[:, : F.shape[1]] = F
        held[name] = pad(wide, data)
        if name.startswith("S"):
            core = aligned((held[name].shape[1],) * 2, data.dtype)
            core[: len(F)] = held[name]
            held[name] = core
    factors = Factors(rank, **held)
    factors.widths = {name: F.shape[1] for name, F in arrays.items()}
    return factors, {name: row_tasks(F) for name, F in held.items()}


def allocate(strata, W, H, v):
    """Copy a start, in the inner scale of the data, into padded factors.

    Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
    ``4 ** log4_scale``.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    W : ndarray (n_rows, k)
    H : ndarray (n_columns, k)
    v : ndarray (q,), or None
        Entries of the shifts on ``strata.pattern``.

    Returns
    -------
    factors : Factors
        Of the dtype of the data.
    tasks : dict
        Task tables of the row kernels, by factor.
    """
    rank = W.shape[1]
    W, H = pad(W, strata), pad(H, strata)
    tasks = {"W": row_tasks(W), "H": row_tasks(H)}
    if v is None:
        return Factors(rank, W=W, H=H), tasks
    return Factors(rank, W=W, H=H, V=np.array(v, dtype=strata.dtype)), tasks | {"V": strata.pattern.entry_tasks}


def refill(array, kept):
    """Overwrite a factor with the array of a saved state; raise where shape or dtype differ."""
    if array.shape != kept.shape or array.dtype != kept.dtype:
        raise ValueError(
            f"The saved state has factors of shape {kept.shape} and dtype {kept.dtype}; this fit has {array.shape} and "
            f"{array.dtype}. It may come from a processor with other vector registers. Start a new fit."
        )
    array[:] = kept


def scaled(F, exponent):
    """Return F times ``2 ** exponent``; F itself if the exponent is 0, the usual case: ldexp takes 5 ns per entry."""
    return F if exponent == 0 else np.ldexp(F, exponent)


def scaled_for(F, exponent, dtype):
    """Return F times ``2 ** exponent``, for data of `dtype`, in the wider of the two types."""
    return F if exponent == 0 else np.ldexp(F.astype(np.result_type(F, dtype), copy=False), exponent)
