"""Plan the coarse level of a multilevel start, and draw its rows and columns.

A fit of a part of the rows finds components that are almost those of all rows, in a fraction of the time of one
iteration. The plan depends on the size of the data and the rank only, and the drawn rows on the seed and the strata, so
that the start has the same bits for any number of threads.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from fastnmf.data.layout import Compressed, in_order
from fastnmf.kernels import products
from fastnmf.kernels.records import CSR

# Entries that a column needs in the drawn rows: a rarer one says little, and costs as much as any other. 24 fits of
# 18 million entries from 5 % of the rows end as low with 5 as with 3.
MIN_ENTRIES, MIN_ENTRIES_OF_SMALL_SHARES, SMALL_SHARE = 3, 5, 0.1
MIN_ROWS_PER_COMPONENT, MIN_ROWS_PER_STRATUM = 30, 20
# Squared error: 45,000 entries a component never failed, 18,000 failed one seed in three; where all rows have less than
# 56,000, nothing is won. With strata a fit of all rows converges slowly, so that more is left to the level: on 20
# newsgroups, twelve seeds, 7.7 iterations to the same loss became 2.3 after 20 % x 10, and 3.2 after 25 % x 10; with 12
# in place of 10 the slowest of six seeds takes 2 in place of 3.
ENTRIES_PER_COMPONENT, LEAST_ENTRIES_PER_COMPONENT = 45_000, 56_000
SMALLEST_SHARE, LARGEST_SHARE, LARGEST_WITH_STRATA = 0.02, 0.25, 0.2
ITERATIONS, FEWER_ITERATIONS = 12, 6  # the latter for shares above LARGEST_WITH_STRATA
# Kullback-Leibler: multiplicative updates are slow, so that a level is worth more.
KL_SHARE, KL_SMALLER_SHARE, KL_LARGE_DATA, KL_SMALLEST_DATA = 0.25, 0.125, 10_000_000, 200_000
KL_MIN_ENTRIES_PER_COMPONENT, KL_ITERATIONS = 5_000, 25
# Data of up to so many entries, zeros included, and data of so few columns, are worth a second start.
SMALL_DATA, FEW_COLUMNS_PER_COMPONENT = 1 << 22, 4


@dataclass(frozen=True)
class Level:
    """The coarse level of a multilevel start.

    Attributes
    ----------
    share : float
        Share of the rows that are drawn.
    n_iter : int
        Iterations on these rows; 0: there is no level.
    n_more : int
        Further sweeps over W, which is zero, in the first iteration on all rows.
    min_entries : int
        Entries that a column needs in these rows; rarer columns are left to the iterations on all rows.
    """

    share: float = 0.0
    n_iter: int = 0
    n_more: int = 0
    min_entries: int = MIN_ENTRIES

    def __bool__(self):
        return self.n_iter > 0

    @property
    def passes(self):
        """Cost of the level, in passes over all rows."""
        return self.share * self.n_iter


NO_LEVEL = Level()


def plan(n_entries, rank, *, is_squared, is_asked=False, has_strata=False):
    """Return the `Level` for sparse data of `n_entries` non-zeros, `NO_LEVEL` where none would be faster.

    Parameters
    ----------
    n_entries : int
    rank : int
    is_squared : bool
        The squared error; else Kullback-Leibler.
    is_asked : bool, default=False
        Whether the user asks for a level, whatever the size of the data.
    has_strata : bool, default=False
        Whether the rows belong to several strata.

    Returns
    -------
    Level
    """
    if is_squared:
        largest = LARGEST_WITH_STRATA if has_strata else LARGEST_SHARE
        share = float(np.clip(ENTRIES_PER_COMPONENT * rank / max(n_entries, 1), SMALLEST_SHARE, largest))
        is_worth = n_entries >= LEAST_ENTRIES_PER_COMPONENT * rank
        n_iter = FEWER_ITERATIONS if share > LARGEST_WITH_STRATA else ITERATIONS
        level = Level(share, n_iter, 1, MIN_ENTRIES_OF_SMALL_SHARES if share <= SMALL_SHARE else MIN_ENTRIES)
    else:
        level = Level(KL_SHARE if n_entries <= KL_LARGE_DATA else KL_SMALLER_SHARE, KL_ITERATIONS)
        is_worth = n_entries >= KL_SMALLEST_DATA and level.share * n_entries >= KL_MIN_ENTRIES_PER_COMPONENT * rank
    return level if is_worth or is_asked else NO_LEVEL


def starts_of_auto(X, rank, *, is_exact, is_kullback_leibler):
    """Return the starts that ``init="auto"`` stands for, ``"auto"`` itself where that may be a coarse level.

    On small data of few columns a single start may end far from the best: on the housing data ``"features"`` ends at 55
    times the loss of ``"nndsvd"``, on others it is the better one. So both run to their ends; the better one after 10
    or 30 iterations is not always the better one at the end. Multiplicative updates for Kullback-Leibler begin best at
    ``"nndsvda"`` there, unless the model has shifts: those of three strata of counts ended 0.1 % above ``"features"``.

    Parameters
    ----------
    X : csr_array or ndarray (n_rows, n_columns)
    rank : int
    is_exact : bool
        Whether the solver is coordinate descent for the squared error.
    is_kullback_leibler : bool
        Whether it is the multiplicative updates for Kullback-Leibler, in a model without shifts.

    Returns
    -------
    tuple of str
        Values of `init`; several for fits of which the one with the lowest objective is kept.
    """
    is_small = X.shape[0] * X.shape[1] <= SMALL_DATA  # sparse or dense: both have the same start
    if is_exact and (is_small or X.shape[1] <= FEW_COLUMNS_PER_COMPONENT * rank):
        return "features", "nndsvd"
    if is_kullback_leibler and (is_small or not isinstance(X, np.ndarray) and X.nnz < KL_SMALLEST_DATA):
        return ("nndsvda",)
    return ("auto",)


def n_wanted(sizes, share):
    """Return how many rows of each stratum are drawn."""
    return np.maximum(np.ceil(share * sizes), np.minimum(sizes, MIN_ROWS_PER_STRATUM)).astype(np.int64)


def draw_rows(stratum_index, n_strata, share, rng):
    """Draw a share of the rows of each stratum, at least 20 where it has so many; return them in ascending order.

    Parameters
    ----------
    stratum_index : ndarray (n_rows,) of int
    n_strata : int
    share : float
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64
    """
    sizes = np.bincount(stratum_index, minlength=n_strata)
    return np.sort(in_order(stratum_index, n_strata)[draw_places(sizes, share, rng)])


def draw_places(sizes, share, rng):
    """Draw rows as `draw_rows` does, as places in the list of all rows sorted by stratum: from the sizes alone.

    Parameters
    ----------
    sizes : ndarray (n_strata,) of int
        Number of rows of each stratum.
    share : float
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64
    """
    n_rows, stratum_index = int(sizes.sum()), np.repeat(np.arange(len(sizes)), sizes)
    shuffled = rng.permutation(n_rows)
    by_stratum = shuffled[in_order(stratum_index[shuffled], len(sizes))]
    place = np.arange(n_rows) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return by_stratum[place < np.repeat(n_wanted(sizes, share), sizes)]


def cut(X, min_entries, needed=(), dtype=None):
    """Return CSR data with the columns that have at least `min_entries` entries, and those `needed`, renumbered.

    Parameters
    ----------
    X : csr_array (n_rows, n_columns)
    min_entries : int
    needed : sequence of int, default=()
    dtype : dtype, default=None
        Type of the result; None: that of X.

    Returns
    -------
    part : csr_array (n_rows, c)
    turned : fastnmf.data.layout.Compressed
        The same by columns.
    columns : ndarray (c,) of int64
        In ascending order.
    """
    counts = np.bincount(X.indices, minlength=X.shape[1])
    is_kept = counts >= min_entries
    is_kept[list(needed)] = True
    columns, number = np.flatnonzero(is_kept), np.where(is_kept, np.cumsum(is_kept) - 1, -1).astype(np.int32)
    start = np.concatenate([[0], np.cumsum(counts[columns])])
    room = (np.empty(start[-1], kind) for kind in (np.int32, dtype or X.dtype) * 2)
    part, turned = CSR(np.empty(len(X.indptr), np.int64), next(room), next(room)), CSR(start, next(room), next(room))
    tasks, csr = np.array([0, X.shape[0]]), Compressed(X.indptr, X.indices, X.data).csr
    products.csr_cut(tasks, csr, number, part, turned, start[:-1].copy())
    X = sp.csr_array((part.data, part.indices, part.indptr), shape=(X.shape[0], len(columns)))
    return X, Compressed(*turned), columns


def even_rows(data, length, of_strata, rank):
    """Return W (n_rows, rank) with equal columns, with which each row of the model has the mass of its row of data.

    Parameters
    ----------
    data : Strata
    length : float
        Mass of all components together.
    of_strata : ndarray (n_strata,), or None
        Mass of the shift of each stratum.
    rank : int
    """
    mass = np.asarray(data.X.sum(axis=1), dtype=np.float64)
    if of_strata is not None:
        shifts = data.spread(of_strata)
        mass = np.maximum(mass - (shifts if data.row_scale is None else shifts * data.row_scale), 0.1 * mass)
    return np.repeat((mass / (length or 1.0))[:, None], rank, axis=1)


class MassStart:
    """Start at rows that all have the same weight for every component, and the mass of their row of data.

    Parameters
    ----------
    length : float
        Mass of all components together.
    of_strata : ndarray (n_strata,), or None
        Mass of the shift of each stratum.
    """

    def __init__(self, length, of_strata):
        self.length, self.of_strata = length, of_strata

    def __call__(self, part, order):
        """Return the start of W (n_rows, k) of a chunk."""
        return even_rows(part.data, self.length, self.of_strata, order.rank)
