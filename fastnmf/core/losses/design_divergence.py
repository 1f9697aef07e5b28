"""The Kullback-Leibler divergence of a model in which a row has a weighted sum of several shifts: ``Z Vᵀ + W Hᵀ``."""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.losses.divergences import KullbackLeibler
from fastnmf.kernels import design_ratios, divergence
from fastnmf.kernels.records import ShiftedProduct


class DesignKullbackLeibler(KullbackLeibler):
    """``sum x log(x / y) - x + y`` with ``y = (Z Vᵀ + W Hᵀ)`` and a fixed sparse design Z (n_rows, q) >= 0.

    Ratio parts: those of W and H are those of `KullbackLeibler`. With ``z = x / y`` on the non-zeros, pos of the entry
    (j, s) of V is ``sum_i Z_is z_ij`` and neg is ``sum_i Z_is``. As for W and H, the update of V multiplies by their
    ratio; it lowers the divergence although the columns of Z overlap (Lee and Seung 2001).

    Cost: O(nnz (K + r)) per pass, with the largest number r of non-zeros of a row of Z; ``2 r`` int32 numbers and a
    number of the data's dtype are held for each non-zero of the data.

    Parameters
    ----------
    strata : fastnmf.data.design.DesignedStrata
        Where it has a `row_scale` (n_rows,), its rows, and those of W and Z, are held multiplied by it.
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels, by factor.
    has_shifts : bool, default=True
        Always True: without V there is no design.
    """

    def _index_shifts(self):
        """Find the entries of V that every non-zero of the data meets, in the order of rows and in that of columns."""
        strata, pattern, n_values = self.strata, self.strata.pattern, len(self._ratio)
        group, self._weight = padded_rows(strata.held_design)
        by_row, by_column = self._sides["W"], self._sides["H"]
        of_columns, of_rows = np.empty((2, n_values, group.shape[1]), np.int32)
        columns = by_column.tasks(group.shape[1])
        known = np.asarray(pattern.start, dtype=np.int64), pattern.group, strata.n_strata
        design_ratios.csr_design_entries(columns, by_column.indptr, by_column.indices, group, *known, of_columns)
        places = sp.csr_array((np.arange(n_values), by_row.indices, by_row.indptr), strata.shape).tocsc().data
        of_rows[places] = of_columns
        self._entries = {"W": of_rows, "H": of_columns}
        self._shift = np.empty(n_values, strata.dtype)
        self._each = np.arange(n_values, dtype=np.uint32).view(np.int32)  # the kernel reads them as unsigned
        self._sums = np.zeros(len(pattern.group))
        Z = strata.held_design
        self.sizes = np.bincount(Z.indices, Z.data, strata.n_strata).astype(strata.dtype)
        self._no_weight = np.zeros(strata.n_strata, strata.dtype)

    def _walk(self, name, factors, side, tasks, out, sums):
        weight, entries, is_left = self._weight, self._entries[name], name == "W"
        rows = side.indptr, side.indices, weight, entries
        design_ratios.csr_design_shifts(tasks, *rows, factors["V"], is_left, self._shift)
        nothing = np.empty(0)
        model = ShiftedProduct(*self._both(name, factors), self._shift, self._each, nothing.astype(self.strata.dtype))
        parts = np.empty(len(tasks) - 1)
        divergence.csr_shifted_ratio(tasks, side.csr, model, self.floor, self._ratio, out, parts, nothing)
        if len(sums):
            design_ratios.csr_design_sums(tasks, *rows, self._ratio, sums)
        return float(parts.sum())


def padded_rows(rows):
    """Return the columns and values of each row of a `Compressed`, (n, r) each: -1 and 0 where it has fewer than r.

    r is the largest number of entries of a row, at least 1. The columns are int32.
    """
    counts = np.diff(rows.indptr)
    shape = len(counts), max(int(counts.max(initial=0)), 1)
    columns, values = np.full(shape, -1, np.int32), np.zeros(shape, rows.data.dtype)
    is_there = np.arange(shape[1]) < counts[:, None]
    columns[is_there], values[is_there] = rows.indices, rows.data
    return columns, values
