"""Find the weights of rows, and their errors, for fixed shared components and components of each stratum.

To the rows of one stratum the model is an ordinary one with a longer dictionary, ``[H G(i)]``, or with ``H + D(i)``.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, weights and components by ``2 ** log4_scale``, shifts
by ``4 ** log4_scale``.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import aligned, pad, padded, row_tasks, scaled
from fastnmf.core.inference import infer_kullback_leibler, quadratic_weights
from fastnmf.core.losses.own import extended_grams
from fastnmf.core.row_errors import CHUNK_ENTRIES, expanded_errors
from fastnmf.core.thresholds import EXPANSION_FLOOR, huge
from fastnmf.data import shifts
from fastnmf.data.design import HasDesign
from fastnmf.data.layout import row_index
from fastnmf.data.strata import Strata
from fastnmf.kernels import rows
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.records import LazyRows


class OwnParts(NamedTuple):
    """The own components of all strata.

    Attributes
    ----------
    sizes : ndarray (n_strata,) of int
        Number of components of each stratum; later strata of the data have none.
    stack : ndarray or csr_array (sum of sizes, n_columns)
        The components, stratum by stratum, in the inner scale.
    penalty : float
        Weight of the squared length of the own part of the model; of its sum under Kullback-Leibler.
    is_tied : bool
        Whether they are added to the shared components, whose weights they share.
    is_squared : bool, default=True
        Whether the loss is the squared error; else it is the Kullback-Leibler divergence.
    """

    sizes: np.ndarray
    stack: np.ndarray
    penalty: float
    is_tied: bool
    is_squared: bool = True

    def of(self, code):
        """Return the components of one stratum, dense (k_i, n_columns) of float64."""
        if code >= len(self.sizes):
            return np.zeros((0, self.stack.shape[1]))
        end = int(self.sizes[: code + 1].sum())
        return shifts.rows_of(self.stack, slice(end - int(self.sizes[code]), end)).astype(np.float64)

    def dictionary(self, H, code):
        """Return ``[H G(i)]``, or ``H + D(i)``, (n_columns, k + k_i) of float64, for H (n_columns, k)."""
        G = self.of(code).T
        return H + G if self.is_tied and G.shape[1] else np.concatenate([H, G], axis=1)


class StratumFit(NamedTuple):
    """The weights of the rows of one stratum, and the quadratic problem that they solve, if they do.

    Attributes
    ----------
    code : int
        Number of the stratum.
    rows : ndarray (p,) of int64
    F : ndarray (p, K)
        Weights of the shared components, then of own ones.
    gram : ndarray (K, K) of float64
        Gram matrix of all of these components, without the penalty.
    linear : ndarray (p,) of float64
        Inner products of the rows, less their shifts, with ``F [H G(i)]ᵀ``.
    """

    code: int
    rows: np.ndarray
    F: np.ndarray
    gram: np.ndarray = np.empty((0, 0))
    linear: np.ndarray = np.empty(0)


def divergence_fits_of_strata(data, H, V, own):
    """Yield what `fits_of_strata` does under the Kullback-Leibler divergence, without the quadratic problem.

    A row a minimises ``D(a | v + w H + u G) + penalty sum(u G)`` over w, u >= 0, a convex problem.

    Parameters
    ----------
    data, H, V, own :
        As for `fits_of_strata`.
    """
    groups = data.own.groups
    H, k, bounds = H.astype(np.float64), H.shape[1], np.cumsum([0, *groups.counts])
    for code in np.flatnonzero(groups.counts).tolist():
        chosen = groups.order[bounds[code] : bounds[code + 1]]
        dictionary, of_G = own.dictionary(H, code), own.of(code).sum(axis=1)
        held = np.zeros(dictionary.shape[1])
        offset = 0 if own.is_tied else k
        held[offset : offset + len(of_G)] = own.penalty * of_G
        yield StratumFit(code, chosen, infer_kullback_leibler(data.part(chosen), dictionary, V, (), held))


def fits_of_strata(data, H, V, own):
    """Yield the exact weights of the rows of one stratum after the other, each a `StratumFit`.

    A row a minimises ``||a - v - w H - u G||² + penalty ||u G||²`` over w, u >= 0.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    H : ndarray (n_columns, k)
        In the inner scale of the data.
    V : ndarray or csr_array (n_strata, n_columns)
        Shifts in the inner scale of the data.
    own : OwnParts
    """
    k, inner = H.shape[1], pad(H, data)
    product = aligned((data.shape[0], inner.shape[1]), data.dtype)
    data.matmul(inner, product)
    of_H, wide = rows.gram(row_tasks(inner), inner)[:k, :k], inner[:, :k].astype(np.float64)
    groups, is_designed = data.own.groups, isinstance(data, HasDesign)
    bounds = np.cumsum([0, *groups.counts])
    for code in np.flatnonzero(groups.counts).tolist():
        chosen = groups.order[bounds[code] : bounds[code + 1]]
        G, v = own.of(code), np.zeros(len(H)) if is_designed else shifts.dense_row(V, code).astype(np.float64)
        offset, rank = (0, k) if own.is_tied else (k, k + len(G))
        K = padded(rank, data.dtype)
        pos = aligned((len(chosen), K), data.dtype)
        pos[:, :k] = product[chosen, :k]
        with single_threaded_blas(), np.errstate(over="ignore"):  # shifts of far larger data: these rows have W = 0
            both = np.concatenate([v[None], G])
            with_H, with_G = (both @ wide)[None], (both @ G.T)[None]
            if len(G):
                pos[:, offset : offset + len(G)] += data.X[chosen] @ G.T.astype(data.dtype)
        padded_H = np.zeros((K, K))
        padded_H[:k, :k] = of_H
        grams, below = extended_grams(padded_H, with_H, with_G, offset, own.penalty)
        plain = extended_grams(padded_H, with_H, with_G, offset, 0.0)[0][0]
        scale = None if data.row_scale is None else data.row_scale[chosen]
        if is_designed:
            below, dictionary = np.zeros((len(chosen), K)), own.dictionary(H.astype(np.float64), code)
            with single_threaded_blas(), np.errstate(over="ignore"):
                below[:, : dictionary.shape[1]] = data.design[chosen] @ (V @ dictionary)
        below = np.minimum(below, huge(data.dtype)).astype(data.dtype)
        of_row = np.arange(len(chosen), dtype=np.int32) if is_designed else np.zeros(len(chosen), np.int32)
        F = quadratic_weights(grams[0], pos, rank, LazyRows.of(below, of_row, scale))[0]
        pull = below if is_designed else below[0]
        pull = pull if scale is None else pull * scale[:, None]
        yield StratumFit(code, chosen, F, plain, np.einsum("ij,ij->i", F, pos - pull, dtype=np.float64))


def weights_of_strata(data, H, V, own):
    """Return the exact weights W (n_rows, k) of shared components, and U (n_rows, sum of sizes), CSR, of own ones.

    U is None where own components are tied.

    Parameters
    ----------
    data, H, V, own :
        As for `fits_of_strata`.
    """
    fits = fits_of_strata if own.is_squared else divergence_fits_of_strata
    k, W, begin = H.shape[1], np.zeros((data.shape[0], H.shape[1]), data.dtype), np.cumsum([0, *own.sizes])
    values, of_rows, columns = [np.empty(0, data.dtype)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for found in fits(data, H, V, own):
        W[found.rows] = found.F[:, :k]
        if own.is_tied or found.code >= len(own.sizes):
            continue
        U = found.F[:, k : k + own.sizes[found.code]]
        row, column = np.nonzero(U)
        values.append(U[row, column])
        of_rows.append(found.rows[row])
        columns.append(begin[found.code] + column)
    if own.is_tied:
        return W, None
    triples = (np.concatenate(values), (np.concatenate(of_rows), np.concatenate(columns)))
    return W, sp.csr_array(triples, shape=(data.shape[0], int(begin[-1])))


def exact_weights(data, H, V, own, offset, like):
    """Return the exact weights ``[W U]`` of all rows as a fit holds them, of the shape and dtype of an array.

    Parameters
    ----------
    data, H, V, own :
        As for `fits_of_strata`.
    offset : int
        Column at which those of own components begin.
    like : ndarray (n_rows, K)
    """
    W, U = weights_of_strata(data, H, V, own)
    wide = np.zeros_like(like)
    wide[:, : H.shape[1]] = W
    if U is not None:
        of_own = spread_weights(U, own.sizes, data.own.stratum_index)
        wide[:, offset : offset + of_own.shape[1]] = of_own
    return wide


def spread_weights(U, sizes, stratum_index):
    """Return weights of own components as an array (n_rows, w), those of each row from column 0 on.

    Parameters
    ----------
    U : csr_array (n_rows, sum of sizes)
    sizes : ndarray (n_strata,) of int
    stratum_index : ndarray (n_rows,) of int
    """
    begin, held = np.cumsum([0, *sizes])[:-1][stratum_index], U.tocoo()
    row, column = held.coords
    out = np.zeros((U.shape[0], int(np.max(sizes))), U.dtype)
    out[row, column - begin[row]] = held.data
    return out


def gathered_weights(wide, sizes, stratum_index):
    """Return the weights of own components as `transform_own` does, csr_array (n_rows, sum of sizes).

    Parameters
    ----------
    wide : ndarray (n_rows, w)
        As `spread_weights` returns them.
    sizes : ndarray (n_strata,) of int
    stratum_index : ndarray (n_rows,) of int
    """
    begin, (row, column) = np.cumsum([0, *sizes]), np.nonzero(wide)
    places = row, begin[stratum_index[row]] + column
    return sp.csr_array((wide[row, column], places), shape=(len(wide), int(begin[-1])))


def unscaled_weights(U, row_scale, exponent):
    """Return weights of own components divided by the row scale and times ``2 ** exponent``.

    Parameters
    ----------
    U : csr_array (n_rows, k)
    row_scale : ndarray (n_rows,), or None
    exponent : int
    """
    values = scaled(U.data, exponent)
    if row_scale is not None:  # rows of weight zero have no entries, as their data are zero
        values = values / row_scale[row_index(U)]
    return sp.csr_array((values, U.indices, U.indptr), U.shape)


def columns_times_powers(U, powers):
    """Return a csr_array (n_rows, k) whose columns are multiplied by ``2 ** powers`` (k,)."""
    return sp.csr_array((np.ldexp(U.data, powers[U.indices]), U.indices, U.indptr), U.shape)


def errors_of_strata(data, H, V, own):
    """Return the squared error of every row, without the penalty; as `fastnmf.core.row_errors.row_errors`.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        float64.
    H, V, own :
        As for `fits_of_strata`.
    """
    unexplained, errors = data.row_square_sums(V), np.zeros(data.shape[0])
    squares = unexplained + 2 * data.shift_squares(V)
    step = max(1, CHUNK_ENTRIES // data.shape[1])
    for found in fits_of_strata(data, H, V, own):
        F = found.F.astype(np.float64)
        with single_threaded_blas():
            errors[found.rows] = expanded_errors(unexplained[found.rows], F, found.gram, found.linear)
        lost = np.flatnonzero(errors[found.rows] < EXPANSION_FLOOR * squares[found.rows])
        if len(lost):
            of_stratum = data.part(found.rows)
            dictionary = own.dictionary(H.astype(np.float64), found.code)
        for at in range(0, len(lost), step):
            part = lost[at : at + step]
            with single_threaded_blas():
                residual = of_stratum.residual(part, F[:, : dictionary.shape[1]], dictionary, V)
            errors[found.rows[part]] = np.einsum("ij,ij->i", residual, residual)
    return np.maximum(errors, 0)


def nearest_of_strata(data, H, V, own):
    """Return the stratum in which each row has the smallest squared error, ties to the first, int (n_rows,).

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        float64; the strata of its rows are not used.
    H, V, own :
        As for `fits_of_strata`.
    """
    best, found = np.full(data.shape[0], np.inf), np.zeros(data.shape[0], np.int64)
    for code in range(V.shape[0]):
        here = Strata(data.X, np.arange(V.shape[0]), np.full(data.shape[0], code, np.int32), log4_scale=data.log4_scale)
        here.sq_norm = data.sq_norm
        errors = errors_of_strata(here, H, V, own)
        found[errors < best], best = code, np.minimum(best, errors)
    return found


class OwnEntries:
    """The part of own components in the model, at single entries: what `row_divergences` and `divided_gains` take.

    Parameters
    ----------
    weights : ndarray (n_rows, w)
        Weights of the own components of the stratum of each row, from column 0 on.
    own : OwnParts
        In the scale of the weights.
    stratum_index : ndarray (n_rows,) of int
        Strata beyond `own.sizes` have no components.
    """

    def __init__(self, weights, own, stratum_index):
        known = stratum_index < len(own.sizes)
        self.weights = np.where(known[:, None], weights, 0).astype(np.float64)
        self.stack, begin = own.stack, np.cumsum([0, *own.sizes])[:-1]
        self._first = np.where(known, begin[np.where(known, stratum_index, 0)], 0)
        sums = np.asarray(self.stack.sum(axis=1), dtype=np.float64).ravel()
        self.totals = sum((u * sums[row] for u, row in self._each(slice(None))), np.zeros(len(weights)))

    def _each(self, rows):
        """Yield the weight of one own component after the other, and its row of the stack, for some rows."""
        last = self.stack.shape[0] - 1
        for c, u in enumerate(self.weights[rows].T):
            yield u, np.minimum(self._first[rows] + c, last)

    def at(self, rows, columns):
        """Return the part at ``(rows[p], columns[p])``, float64 (p,)."""
        each = (u * shifts.entries_at(self.stack, row, columns) for u, row in self._each(rows))
        return sum(each, np.zeros(len(rows)))
