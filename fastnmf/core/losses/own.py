"""The squared error of a model in which every stratum has a shift and components of its own.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W, H and the parts of own components by
``2 ** log4_scale``, shifts by ``4 ** log4_scale``.
"""

from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fastnmf.core.factors import aligned, dense_rows
from fastnmf.core.losses.squared import Frobenius
from fastnmf.data.layout import row_index
from fastnmf.kernels import divergence, own
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import N_TASKS, split_rows
from fastnmf.kernels.own import EntryProducts
from fastnmf.kernels.records import CSR, LazyRows

SPREAD_ENTRIES = 1 << 22  # limit of the partial sums of moments of entries, over all tasks


class CommonShift(NamedTuple):
    """The shift v (m,) that all rows have in common: it minimises ``weight v² / 2 + v (neg + sum G sums - pos)``.

    Attributes
    ----------
    weight : float
        Sum of the weights of the rows.
    pos, neg : ndarray (m,) of float64
        Sums of the columns of the data, and of the part of the shared components.
    sums : ndarray (S, w) of float64
        Sums of the weights of own components by stratum.
    column, group : ndarray (q,) of int32
    """

    weight: float
    pos: np.ndarray
    neg: np.ndarray
    sums: np.ndarray
    column: np.ndarray
    group: np.ndarray

    def write(self, E):
        """Replace the first column of E (q, 1 + w) by the best v for the others."""
        below = np.bincount(self.column, np.einsum("ea,ea->e", E[:, 1:], self.sums[self.group]), len(self.pos))
        v = np.maximum(self.pos - self.neg - below, 0) / self.weight if self.weight > 0 else 0 * self.pos
        E[:, 0] = v[self.column]


class OwnFrobenius(Frobenius):
    """``sum_i ||A(i) - u v(i)ᵀ - W(i) Hᵀ - U(i) G(i)ᵀ||²``, the squared error with components of each stratum.

    u is 1, or the row scale. The factor W holds ``[W U]``: U(i) are the w columns from `offset` on, and a stratum with
    fewer than w own components has zeros in the others. The factor H has zeros in these columns, so that the products
    and Gram matrices of `Frobenius` are those of W and H alone. The factor G (q, 1 + w) holds ``[v G]`` on the pattern
    of the strata: elsewhere both are zero in every minimiser. With ``offset = 0``, U is W itself, and the model is
    ``W(i) (H + D(i))ᵀ`` with ``D = G``.

    With the moments ``M(i) = [u U(i)]ᵀ [W U](i)`` and ``[v G(i)]ᵀ [H v G(i)]`` (sums over rows and over the
    pattern) the half-gradients are, without the terms of the data,

    - of [W U] in the rows of stratum i: ``[W U] R + u v(i)ᵀ [H G(i)]``, where R is the Gram matrix of ``[H G(i)]``, its
      block of G(i) times 1 + penalty;
    - of H: ``H WᵀW + sum_i [v G(i)] M(i)``;
    - of [v G(i)]: ``[v G(i)] [u U]ᵀ[u U] + H M(i)ᵀ``, with 1 + penalty for the block of U.

    These hold the half-gradient of `OwnPenalty`, too. Cost: O(nnz (K + w)) for the data,
    O(n (1 + w) K) and O(q (1 + w) K) for the moments.

    Source: CSMF (Zhang and Zhang 2019, Nucleic Acids Research 47:13) for own components beside shared ones; iNMF (Yang
    and Michailidis 2016, Bioinformatics 32:1) for ``offset = 0``.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    width : int
        Padded number of columns of the factor W.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels over W and H.
    sizes : ndarray (n_strata,) of int
        Number of own components of each stratum, at most w.
    offset : int
        Column of the factor W at which U begins: the number of shared components, or 0.
    penalty : float
        The weight of `OwnPenalty`.
    shifts : {True, False, "common"}, default=True
        Whether v is updated, and whether it is the same for all strata. Where it is not updated, it stays what it is at
        the start.
    """

    touches = ("W", "H", "G")

    def __init__(self, strata, width, tasks, sizes, offset, penalty, shifts=True):
        super().__init__(strata, width, tasks)
        self.pattern, self.groups, self.sizes, self.offset = strata.pattern, strata.groups, sizes, offset
        self.penalty, self.n_own = penalty, int(sizes.max())
        self.is_common, self.moves_shifts = shifts == "common", shifts is not False
        self.of_entries = self.pattern.by_group
        self._index_rows()

    def _index_rows(self):
        """Find what depends on the rows of the data."""
        strata = self.strata
        self._scale = np.empty(0, strata.dtype) if strata.row_scale is None else strata.row_scale
        self._entry_pos = np.zeros((len(self.pattern.group), 1 + self.n_own), strata.dtype)
        self._entry_pos[:, 0] = self.pattern.sums
        self._row_pos = aligned((strata.shape[0], self.width), strata.dtype)
        self._by_stratum = split_rows(strata.shape[0], self.width**2)
        self._places = self._find_places() if strata.is_sparse else None

    @cached_property
    def _lists(self):
        """The bounds and the rows of moments of the `LazyRows` of H, and the places of a common shift, or None."""
        size, pattern = 1 + self.n_own, self.pattern
        strata_of = size * pattern.group.astype(np.int32)[:, None] + np.arange(size, dtype=np.int32)
        group, start = strata_of.reshape(-1), size * pattern.start
        if not self.is_common:
            return start, group, None
        # one entry more for each column: the shift, which rows of all strata have
        group = np.insert(group, size * pattern.start[1:], size * self.strata.n_strata)
        start = start + np.arange(len(start))
        return start, group, start[1:] - 1

    def _find_places(self):
        """Return the row of the factor G that every entry of the data meets, int32 (nnz,), by rows and by columns."""
        data, pattern, entries = self.strata, self.pattern, self.of_entries.order
        by_rows, by_columns = data.rows, data.columns
        start = np.concatenate([[0], np.cumsum(self.of_entries.counts)]).astype(np.int64)
        columns = np.arange(data.shape[1], dtype=np.int64)
        each = np.arange(len(pattern.group), dtype=np.int32)
        walks = {
            "W": (
                (self.groups.order, data.stratum_index, by_rows.indptr, by_rows.indices),
                CSR(start, pattern.column[entries], entries.astype(np.int32)),
                data.shape[1],
            ),
            "H": (
                (columns, columns.astype(np.int32), by_columns.indptr, data.stratum_index[by_columns.indices]),
                CSR(pattern.start, pattern.group, each),
                data.n_strata,
            ),
        }
        places = {}
        for name, (walk, held, n_keys) in walks.items():
            places[name] = np.empty(len(by_rows.data), np.int32)
            tasks = split_rows(len(walk[0]), len(by_rows.data) // len(walk[0]) + 1)
            divergence.csr_shift_entries(tasks, *walk, held, n_keys, places[name])
        return places

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W, H or G."""
        dtype = self.strata.dtype
        if name == "W":
            grams, below = self.row_grams(factors)
            neg = LazyRows.of(below.astype(dtype), self.strata.stratum_index, self.strata.row_scale)
            sub.group = self.strata.stratum_index
            sub.order_of_rows, sub.tasks = self.groups.order, self._by_stratum
            sub.add(gram=grams, pos=self.row_product(factors), neg=neg)
        elif name == "H":
            super().contribute(name, factors, sub)
            sub.add(neg=LazyRows(*self._lists[:2], *self._weights_and_sums(factors)))
        else:
            moments = self.row_moments(factors).astype(dtype)
            sub.group, sub.tasks = self.pattern.group, split_rows(len(self.pattern.group), moments[0].size)
            neg = EntryProducts(self.pattern.column, self.pattern.group, factors["H"], moments)
            sub.add(gram=self.entry_grams(factors), pos=self.entry_product(factors), neg=neg)
            if self.is_common and self.moves_shifts:
                sub.common = self._common_shift(factors)

    def _weights_and_sums(self, factors):
        """Return the weights and the rows of `LazyRows` that are ``sum_i [v G(i)] M(i)``."""
        M, E = self.row_moments(factors), factors["G"]
        if not self.is_common:
            return E.reshape(-1), M.astype(E.dtype).reshape(-1, self.width)
        _, group, of_shift = self._lists
        weights, is_own = np.empty(len(group), E.dtype), np.ones(len(group), bool)
        is_own[of_shift] = False
        weights[is_own] = (E * (np.arange(E.shape[1]) > 0)).reshape(-1)
        weights[of_shift] = self.shift(factors)
        rows_ = np.concatenate([M.reshape(-1, self.width), M[:, 0].sum(axis=0)[None]])
        return weights, rows_.astype(E.dtype)

    def _common_shift(self, factors):
        """Return the problem of the shift that all strata have in common."""
        M, pattern, m = self.row_moments(factors), self.pattern, self.strata.shape[1]
        neg = factors["H"].astype(np.float64) @ M[:, 0].sum(axis=0)
        sums = M[:, 0, self.offset : self.offset + self.n_own]
        pos = np.bincount(pattern.column, pattern.sums.astype(np.float64), m)
        return CommonShift(float(self.groups.sizes.sum()), pos, neg, sums, pattern.column, pattern.group)

    def shift(self, factors):
        """Return the shift that all strata have in common, (m,)."""
        v = np.zeros(self.strata.shape[1], self.strata.dtype)
        v[self.pattern.column] = factors["G"][:, 0]
        return v

    def value(self, factors):
        """Return the squared error, without the penalty, from Gram matrices and products of the data."""
        M, squares = self.row_moments(factors), self.entry_squares(factors)
        own_part = slice(self.offset, self.offset + self.n_own)
        of_data, crossed = self._inner_products(factors)
        crossed += np.sum(M[:, 0, own_part] * squares[:, 0, 1:])  # of u v with U G
        own = np.sum(M[:, 1:, own_part] * squares[:, 1:, 1:]) + self.groups.sizes @ squares[:, 0, 0]
        return super().value(factors) + float(own + 2 * (crossed - of_data))

    def _inner_products(self, factors):
        """Return those of [u v] + U G with the data and with W H: what the last update of G has found, if that is new.

        A shift that all strata have in common is changed after that update, and is there off the pattern, too.
        """
        names = () if self.is_common else ("pos", "neg")
        found = [factors.known((name, "G"), tuple(factors.arrays)) for name in names]
        if found and None not in found:
            return found
        k = factors.rank
        of_data = np.einsum("ea,ea->", factors["G"], self.entry_product(factors), dtype=np.float64)
        return of_data, np.sum(self.row_moments(factors)[:, :, :k] * self.entry_moments(factors))

    def exact_value(self, factors):
        """Return the squared error from the residual itself, one stratum after the other."""
        total, k, w = 0.0, factors.rank, self.n_own
        W, H = factors["W"].astype(np.float64), factors["H"][:, :k].astype(np.float64)
        for _, rows_, entries in self.each_stratum():
            own_H = np.zeros((len(H), 1 + w))
            own_H[self.pattern.column[entries]] = factors["G"][entries]
            own_H[:, 0] = self.shift(factors) if self.is_common else own_H[:, 0]
            U = W[rows_, self.offset : self.offset + w]
            scale = self._scale[rows_].astype(np.float64) if len(self._scale) else np.ones(len(U))
            of_rows = np.concatenate([W[rows_, :k], scale[:, None], U], axis=1)
            part = self.strata.part(rows_)
            total += part.residual_square_sum(of_rows, np.concatenate([H, own_H], axis=1), None)
        return total

    @contextmanager
    def unshifted(self):
        """Keep the shifts as they are in the block."""
        held, self.moves_shifts = self.moves_shifts, False
        try:
            yield
        finally:
            self.moves_shifts = held

    def each_stratum(self):
        """Yield the number, the rows and the entries of every stratum that has rows."""
        of_rows = np.split(self.groups.order, np.cumsum(self.groups.counts)[:-1])
        of_entries = np.split(self.of_entries.order, np.cumsum(self.of_entries.counts)[:-1])
        for code, (rows_, entries) in enumerate(zip(of_rows, of_entries, strict=True)):
            if len(rows_):
                yield code, _as_slice(rows_), entries

    def entries_of(self, code):
        """Return the entries of a stratum, ndarray of int64."""
        counts = self.of_entries.counts
        end = int(counts[: code + 1].sum())
        return self.of_entries.order[end - int(counts[code]) : end]

    def row_of(self, factors, row):
        """Return a row of the data, dense (n_columns,), and its weights (K,)."""
        return dense_rows(self.strata.X, [row])[0], factors["W"][row]

    def unexplained(self, factors):
        """Return the squared length of every row less its shift, float64 (n_rows,)."""
        if self.is_common:
            V = np.repeat(self.shift(factors)[None], self.strata.n_strata, axis=0)
        else:
            V = self.pattern.as_read(np.ascontiguousarray(factors["G"][:, 0]))
        return self.strata.row_square_sums(V)

    def below_rows(self, factors):
        """Return neg of [W U], (n_rows, K), or None where it is that of the stratum times the row scale."""

    def shift_of(self, factors, row):
        """Return the shift of a row times its row scale, dense (n_columns,)."""
        code, row_scale = self.strata.stratum_index[row], self.strata.row_scale
        v = self.shift(factors) if self.is_common else self.pattern.row(factors["G"][:, 0], code)
        return (1 if row_scale is None else row_scale[row]) * v

    def multiply_weights(self, factors, keep):
        """Multiply the weights of rows in place by the numbers ``keep`` (n_strata, K) of their stratum."""
        W = factors["W"]
        W *= keep[self.strata.stratum_index].astype(W.dtype)
        factors.invalidate("W")

    def row_moments(self, factors):
        """Return ``[u U(i)]ᵀ [W U](i)`` of every stratum, (n_strata, 1 + w, K) of float64."""

        def compute():
            return moments_of_rows(factors["W"], self.groups, self._scale, self.offset, self.n_own)

        return factors.cached("row moments", ("W",), compute)

    def entry_moments(self, factors):
        """Return ``[v G(i)]ᵀ H`` of every stratum, (n_strata, 1 + w, k) of float64."""

        def compute():
            H, E, k = factors["H"], factors["G"], factors.rank
            tasks = self._tasks_of_entries(E.shape[1] * self.width)
            parts = np.empty((len(tasks) - 1, self.strata.n_strata * E.shape[1], self.width), H.dtype)
            own.entries_tmatmul(tasks, self.pattern.column, self.pattern.group, H, E, parts)
            found = parts.sum(axis=0, dtype=np.float64).reshape(-1, E.shape[1], self.width)[:, :, :k]
            if self.is_common:  # strata that do not use a column have the shift, too
                with single_threaded_blas():
                    found[:, 0] = self.shift(factors).astype(np.float64) @ H[:, :k].astype(np.float64)
            return found

        return factors.cached("entry moments", ("H", "G"), compute)

    def entry_squares(self, factors):
        """Return ``[v G(i)]ᵀ [v G(i)]`` of every stratum, (n_strata, 1 + w, 1 + w) of float64."""

        def compute():
            E, n_strata = factors["G"], self.strata.n_strata
            tasks = self._tasks_of_entries(E.shape[1] ** 2)
            parts = np.empty((len(tasks) - 1, n_strata, E.shape[1], E.shape[1]))
            own.entries_gram(tasks, self.pattern.group, E, parts)
            found = parts.sum(axis=0)
            if self.is_common:
                v = self.shift(factors).astype(np.float64)
                with single_threaded_blas():
                    found[:, 0, 0] = v @ v
            return found

        return factors.cached("entry squares", ("G",), compute)

    def _tasks_of_entries(self, size):
        """Return the task table of sums over entries that are `size` numbers for each stratum."""
        n_tasks = min(N_TASKS, max(2, SPREAD_ENTRIES // (self.strata.n_strata * size)))
        return split_rows(len(self.pattern.group), size, n_tasks)

    def row_grams(self, factors):
        """Return the Gram matrix of ``[H G(i)]`` (n_strata, K, K), and ``v(i)ᵀ [H G(i)]`` (n_strata, K)."""

        def compute():
            with_H, with_G = self.entry_moments(factors), self.entry_squares(factors)[:, :, 1:]
            return extended_grams(self.gram("H", factors), with_H, with_G, self.offset, self.penalty)

        return factors.cached("row grams", ("H", "G"), compute)

    def entry_grams(self, factors):
        """Return the Gram matrix of ``[u U(i)]`` of every stratum, (n_strata, 1 + w, 1 + w) of float64."""
        M, w = self.row_moments(factors), self.n_own
        grams = np.zeros((len(M), 1 + w, 1 + w))
        own_part = slice(self.offset, self.offset + w)
        grams[:, 1:, 1:] = (1 + self.penalty) * M[:, 1:, own_part]
        grams[:, 0, 1:] = grams[:, 1:, 0] = M[:, 0, own_part]
        grams[:, 0, 0] = self.groups.sizes if self.moves_shifts and not self.is_common else 0  # 0: v stays as it is
        return grams

    def row_product(self, factors):
        """Return ``A(i) [H G(i)]``, (n_rows, K); the array is overwritten by the next call that computes."""

        def compute():
            out, G = self._row_pos, factors["G"]
            self.strata.matmul(factors["H"], out)
            if self.strata.is_sparse:
                rows_ = self.strata.rows
                csr = CSR(rows_.indptr, self._places["W"], rows_.data)
                own.strata_matmul(rows_.tasks(4 * self.n_own), csr, G, self.offset, out)
                return out
            with single_threaded_blas():
                for code, rows_, entries in self.each_stratum():
                    if self.sizes[code]:
                        of_stratum = np.zeros((self.strata.shape[1], self.n_own), G.dtype)
                        of_stratum[self.pattern.column[entries]] = G[entries, 1:]
                        out[rows_, self.offset : self.offset + self.n_own] += self.strata.X[rows_] @ of_stratum
            return out

        return factors.cached("row product", ("H", "G"), compute)

    def entry_product(self, factors):
        """Return ``A(i)ᵀ [u U(i)]`` on the pattern, (q, 1 + w); the array is overwritten by the next such call."""

        def compute():
            out, F, w = self._entry_pos, factors["W"], self.n_own
            if self.strata.is_sparse:
                turned, pattern = self.strata.columns, self.pattern
                U = np.ascontiguousarray(F[:, self.offset : self.offset + w])
                own.strata_tmatmul(turned.tasks(4 * w), turned.csr, pattern.start, self._places["H"], U, out)
                return out
            with single_threaded_blas():
                for code, rows_, entries in self.each_stratum():
                    if self.sizes[code]:
                        found = self.strata.X[rows_].T @ F[rows_, self.offset : self.offset + w]
                        out[entries, 1:] = found[self.pattern.column[entries]]
            return out

        return factors.cached("entry product", ("W",), compute)


class OwnPenalty:
    """``penalty sum_i ||U(i) G(i)ᵀ||²``, which does not depend on how the scale is divided between U and G.

    Its half-gradients are in the Gram matrices of `OwnFrobenius`, whose moments it reads. Cost: O(n_strata w²).

    Parameters
    ----------
    of_data : OwnFrobenius
    """

    touches = ()

    def __init__(self, of_data):
        self.of_data = of_data

    def contribute(self, name, factors, sub):
        """Add nothing: the Gram matrices have it."""

    def value(self, factors):
        """Return the penalty."""
        loss = self.of_data
        M, squares = loss.row_moments(factors)[:, 1:], loss.entry_squares(factors)[:, 1:, 1:]
        return loss.penalty * float(np.sum(M[:, :, loss.offset : loss.offset + loss.n_own] * squares))


def extended_grams(of_H, with_H, with_G, offset, penalty):
    """Return the Gram matrices of the components of each stratum, and the inner products of its shift with them.

    Parameters
    ----------
    of_H : ndarray (K, K) of float64
        Gram matrix of H, zero beyond its k components.
    with_H : ndarray (S, 1 + w, k) of float64
        ``[v G]ᵀ H`` of each stratum.
    with_G : ndarray (S, 1 + w, w) of float64
        ``[v G]ᵀ G`` of each stratum.
    offset : int
        Column at which own components begin.
    penalty : float
        Weight of the penalty: the block of G counts 1 + penalty times.

    Returns
    -------
    grams : ndarray (S, K, K) of float64
    below : ndarray (S, K) of float64
    """
    (S, _, k), w = with_H.shape, with_G.shape[2]
    grams, below, own_part = np.repeat(of_H[None], S, axis=0), np.zeros((S, len(of_H))), slice(offset, offset + w)
    grams[:, own_part, :k] += with_H[:, 1:]
    grams[:, :k, own_part] += with_H[:, 1:].transpose(0, 2, 1)
    grams[:, own_part, own_part] += (1 + penalty) * with_G[:, 1:]
    below[:, :k] += with_H[:, 0]
    below[:, own_part] += with_G[:, 0]
    return grams, below


def moments_of_rows(W, groups, scale, offset, n_own):
    """Return ``[u U(i)]ᵀ [W U](i)`` of every stratum, (n_strata, 1 + w, K) of float64.

    Parameters
    ----------
    W : ndarray (n_rows, K)
        ``[W U]``.
    groups : fastnmf.data.layout.Grouping
        Of the rows by stratum.
    scale : ndarray (n_rows,), or of length 0
        u; of length 0 where it is 1.
    offset, n_own : int
        Column at which own components begin, and their largest number w.
    """
    parts = np.empty((groups.first[-1], 1 + n_own, W.shape[1]))
    tasks = split_rows(len(parts), parts[0].size * 1024 if len(parts) else 1)
    own.rows_moments(tasks, groups.bounds, groups.order, W, scale, offset, parts)
    return summed_pieces(parts, groups.first)


def _as_slice(rows_):
    """Return rows as a slice where they follow each other, which takes no copy of the data."""
    first, last = int(rows_[0]), int(rows_[-1])
    is_run = last - first == len(rows_) - 1 and np.array_equal(rows_, np.arange(first, last + 1))
    return slice(first, last + 1) if is_run else rows_


def summed_pieces(parts, first):
    """Return the sums of the parts of each group: group g has the parts first[g]:first[g + 1]."""
    out = np.zeros((len(first) - 1, *parts.shape[1:]))
    np.add.at(out, row_index(first), parts)
    return out
