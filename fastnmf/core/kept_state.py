"""Check the state of a fit that was read from a file, before it reaches compiled code, which does not look.

A state is compared with that of a solver at its start for the same data and parameters: the same names, types, shapes
and dtypes, finite numbers, and factors without negative entries.
"""

import numbers

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import padded
from fastnmf.data.layout import row_index

# names whose arrays are >= 0 in every model, and those that are in all but models of signed data
NOT_NEGATIVE = {
    "W",
    "V",
    "B",
    "S",
    "S1",
    "S2",
    "layers",
    "N",
    "G",
    "gram",
    "numerators",
    "denominators",
    "shift_numerators",
    "shift_denominators",
    "totals",
    "total_W",
    "totals_Z",
    "sizes",
    "sums",
    "v",
    "_below",
}
NOT_NEGATIVE |= {"columns", "weights", "x"}
NOT_NEGATIVE_UNLESS_SIGNED = {"H", "C"}
BEGINS_AS_NONE = {"last", "sum_of_V"}  # None at the start, later a number
STOPPED_BY = ("tol", "patience", "max_iter", "max_time", "callback")
LARGEST_EXPONENT = 1100  # of `log4_scale`: float64 has exponents from -1074 to 1023


def require(is_right, name):
    """Raise ValueError unless a value is right."""
    if not is_right:
        raise ValueError(f"{name} is not the state of a fit.")


def check_count(name, value, least=0):
    """Raise unless `value` is an integer of at least `least`; return it."""
    is_number = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    require(is_number and least <= value < 1 << 62, name)
    return int(value)


def check_exponent(name, value):
    """Raise unless `value` is an integer that may be an exponent of a scale."""
    is_number = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    require(is_number and abs(value) <= LARGEST_EXPONENT, name)


def check_real(name, value, *, is_signed=False):
    """Raise unless `value` is a finite number, >= 0 unless `is_signed`."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    require(is_number and abs(value) < np.inf and (is_signed or value >= 0), name)


def check_entries(name, values, *, is_signed=False):
    """Raise unless `values` is an array of float32, float64 or integers, finite, and >= 0 unless `is_signed`."""
    kinds = (np.float32, np.float64, np.bool_)
    require(isinstance(values, np.ndarray) and (values.dtype.type in kinds or values.dtype.kind in "iu"), name)
    if values.size:
        low, high = values.min(), values.max()  # NaN where one entry is
        require(-np.inf < low and high < np.inf and (is_signed or low >= 0), name)


def check_like(found, start, name="state", *, is_signed=False, skip=()):
    """Raise ValueError unless a state has the structure of another one, that of the start.

    Parameters
    ----------
    found, start : dict, list, ndarray, number, str or None
    name : str
        For the message, and the key of NOT_NEGATIVE.
    is_signed : bool, default=False
        Whether the data may be negative.
    skip : iterable of str
        Names that are not compared.
    """
    if isinstance(start, dict):
        if found == {} and name == "losses":  # of version 0.1: as at the start
            return
        require(isinstance(found, dict) and found.keys() >= start.keys() - set(skip), name)
        for key in start.keys() - set(skip):
            check_like(found[key], start[key], key, is_signed=is_signed, skip=skip)
    elif isinstance(start, (list, tuple)):
        require(isinstance(found, (list, tuple)) and len(found) == len(start), name)
        for each, of_start in zip(found, start, strict=True):
            check_like(each, of_start, name, is_signed=is_signed, skip=skip)
    elif isinstance(start, np.ndarray):
        require(isinstance(found, np.ndarray), name)
        if found.shape != start.shape or found.dtype != start.dtype:
            raise ValueError(
                f"{name} has the shape {found.shape} and dtype {found.dtype}; this fit has {start.shape} and "
                f"{start.dtype}. It may come from a processor with other vector registers."
            )
        is_positive = name in NOT_NEGATIVE or (name in NOT_NEGATIVE_UNLESS_SIGNED and not is_signed)
        check_entries(name, found, is_signed=not is_positive)
    elif isinstance(start, (bool, np.bool_)):
        require(isinstance(found, (bool, np.bool_)), name)
    elif isinstance(start, numbers.Integral):
        check_count(name, found)
    elif isinstance(start, numbers.Real) or (start is None and name in BEGINS_AS_NONE and found is not None):
        check_real(name, found, is_signed=True)
    elif name == "ended":
        require(found is None or found in STOPPED_BY, name)
    else:
        require(type(found) is type(start), name)


def check_history(history):
    """Raise unless a history has columns of equal length, with finite numbers, of iterations that increase."""
    names = {"iteration", "objective", "penalty", "seconds"}
    require(isinstance(history, dict) and history.keys() >= names, "history")
    length = len(history["iteration"]) if np.ndim(history["iteration"]) == 1 else -1
    for name, values in history.items():
        require(isinstance(name, str) and isinstance(values, np.ndarray) and values.ndim >= 1, "history")
        require(
            len(values) == length and values.dtype.kind in "iuf" and np.isfinite(values).all(), f"history of {name}"
        )
        require(name not in names or values.ndim == 1, f"history of {name}")
    iterations = history["iteration"]
    require(length == 0 or iterations.dtype.kind in "iu" and iterations[0] >= 0, "history of iteration")
    require((np.diff(iterations) > 0).all(), "history of iteration")


def check_statistics(found, n_columns, rank, labels=None):
    """Raise ValueError unless sums over batches fit together.

    Parameters
    ----------
    found : fastnmf.core.batches.Statistics
        Made from a state.
    n_columns, rank : int
        Of the model.
    labels : ndarray, default=None
        The only labels that they may have.
    """
    say = "statistics"
    require(isinstance(found.dtype, np.dtype) and found.dtype in (np.float32, np.float64), say)
    check_exponent(say, found.log4_scale)
    require(check_count(say, found.rank, 1) == rank, say)
    m, K = n_columns, padded(rank, found.dtype)
    wide = {"gram": (K, K), "N": (m, K), "G": (K, K), "total_W": (1,)}
    if is_ratio := hasattr(found, "numerators"):
        wide = {"numerators": (m, K), "denominators": (m, K), "totals": (3,)}
        check_real(say, found.beta, is_signed=True)
        check_count(say, found.n_updates, 1)
    shapes = {"H": (m, K)}
    if hasattr(found, "labels"):
        own = found.labels
        require(isinstance(own, np.ndarray) and own.ndim == 1 and len(own) > 0 and own.dtype.kind in "biufSUmMO", say)
        if hasattr(found, "learned"):
            _check_design(say, found)
        else:
            require((own[1:] > own[:-1]).all(), say)
        require(labels is None or own.dtype == labels.dtype and np.array_equal(own, labels), say)
        wide["sizes"] = (len(own),)
        if hasattr(found, "totals_Z"):
            wide["totals_Z"] = (len(own),)
        if is_ratio:
            shapes["v"] = wide["shift_numerators"] = wide["shift_denominators"] = (_count_pairs(say, found, m),)
        else:
            wide["sums"] = shapes["_below"] = (len(own), K)
            require(sp.issparse(found.columns) and found.columns.shape == (m, len(own)), say)
            check_entries(say, found.columns.data)
            shapes["v"] = (len(found.columns.data),)
    for name, shape in (shapes | wide).items():
        array = getattr(found, name)
        require(isinstance(array, np.ndarray) and array.shape == shape, say)
        require(array.dtype == (np.float64 if name in wide else found.dtype), say)
        check_entries(say, array)
        require(array.ndim < 2 or array.shape[1] != K or not array[:, rank:].any(), say)
    for value in (found.sq_norm, found.n_rows, found.value, found.forget_factor):
        check_real(say, value)
    require(found.forget_factor <= 1 and isinstance(found.is_fresh, bool), say)
    for values, check in ((found.sweeps, lambda name, value: check_count(name, value, 1)), (found.nets, check_real)):
        require(isinstance(values, (tuple, list)) and len(values) == 3, say)
        for value in values:
            check(say, value)


def _check_design(name, found):
    """Raise unless the design of sums over batches is one, and has the columns that the sums have."""
    learned, q = found.learned, len(found.labels)
    require(learned.kind in ("strata", "crossed", "matrix") and isinstance(learned.has_exposure, bool), name)
    require(isinstance(learned.levels, list) and isinstance(learned.factors, list), name)
    for labels in learned.levels:
        require(isinstance(labels, np.ndarray) and labels.ndim == 1 and len(labels) > 0, name)
        require((labels[1:] > labels[:-1]).all(), name)
    if learned.kind != "matrix":
        require(len(learned.levels) == (1 if learned.kind == "strata" else len(learned.factors)), name)
        whole = type(learned).of_levels(learned.kind, learned.factors, learned.levels, learned.has_exposure)
        require(np.array_equal(whole.names, found.labels), name)
    require(np.array_equal(learned.names, found.labels), name)
    if hasattr(found, "cross"):
        require(sp.issparse(found.cross) and found.cross.shape == (q, q), name)
        check_entries(name, found.cross.data)
        smoothness = found.smoothness
        for value in smoothness.values() if isinstance(smoothness, dict) else [smoothness]:
            check_real(name, value)


def _count_pairs(name, found, n_columns):
    """Return the number of pairs of a column and a stratum; raise unless each column has its strata in order."""
    start, stratum, n_strata = found.pair_start, found.pair_stratum, len(found.labels)
    for array, dtype in ((start, np.int64), (stratum, np.int32)):
        require(isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == 1, name)
    require(len(start) == n_columns + 1 and start[0] == 0 and start[-1] == len(stratum), name)
    require((np.diff(start) >= 0).all() and (stratum >= 0).all() and (stratum < n_strata).all(), name)
    require((np.diff(row_index(start) * n_strata + stratum) > 0).all(), name)
    return len(stratum)
