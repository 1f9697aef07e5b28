"""Components of single strata in the steps of a chunk of rows: what they add to those of `fastnmf.core.chunks`.

The weights of own components are columns of W, and their values travel in an order. A chunk has the labels, and the
pattern, of all data.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W, H and the parts of own components by
``2 ** log4_scale``, shifts by ``4 ** log4_scale``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnmf.core.chunks import State, prepared, product_of, sums_of
from fastnmf.core.factors import Factors, copy_rows, row_tasks
from fastnmf.core.init.own import drawn_weights
from fastnmf.core.losses.own import OwnFrobenius, moments_of_rows
from fastnmf.core.losses.own_divergence import OwnKullbackLeibler, sums_of_columns
from fastnmf.core.own import exact_weights
from fastnmf.core.own_revival import worst_rows
from fastnmf.core.problem import Subproblem
from fastnmf.kernels.jit import split_rows


@dataclass(frozen=True)
class OwnTerms:
    """The numbers of own components, and the terms of the objective that chunks have to know.

    The share of a chunk then has two sums more: for the squared error `moments`, ``[u U(i)]ᵀ [W U](i)`` of every
    stratum, (n_strata, 1 + w, K), and `entries`, ``A(i)ᵀ U(i)`` on the pattern, (q, w); for Kullback-Leibler the sums
    of the columns of U(i), (n_strata, w), and ``z(i)ᵀ [u U(i)]`` on the pattern, (q, 1 + w). See
    `fastnmf.core.losses.own.OwnFrobenius` and `fastnmf.core.losses.own_divergence.OwnKullbackLeibler`.

    Attributes
    ----------
    sizes, offset, penalty, shifts :
        As for `OwnFrobenius`.
    is_squared : bool
        The squared error; else Kullback-Leibler.
    """

    sizes: np.ndarray
    offset: int
    penalty: float
    shifts: Any
    is_squared: bool

    @property
    def n_own(self):
        """The largest number of own components of a stratum."""
        return int(self.sizes.max())

    @property
    def columns(self):
        """The columns of W that hold their weights, a slice."""
        return slice(self.offset, self.offset + self.n_own)

    def loss_of(self, part, W, order):
        """Return the loss of a chunk, which keeps what it has found of its rows, and the factors."""
        if "own" not in part._losses:
            width, kind = W.shape[1], OwnFrobenius if self.is_squared else OwnKullbackLeibler
            tasks = {"W": row_tasks(W), "H": split_rows(part.data.shape[1], width**2)}
            part._losses["own"] = kind(part.data, width, tasks, self.sizes, self.offset, self.penalty, self.shifts)
        part._losses["own"].floor = order.floor
        return part._losses["own"], Factors(order.rank, W=W, H=order.H, G=order.G)

    def subproblem(self, part, W, order):
        """Return the subproblem of the rows of a chunk, for the squared error."""
        loss, factors = self.loss_of(part, W, order)
        factors.cache_put("row grams", ("H", "G"), (order.gram, order.below))
        sub = Subproblem(row_tasks(W))
        loss.contribute("W", factors, sub)
        return sub

    def completed(self, share, part, W, order):
        """Return the `Share` of a chunk with the sums that own components need.

        Parameters
        ----------
        share : Share
            Changed in place; it gets entries only beside a product.
        part : Part
        W : ndarray (n_rows, K)
        order : Order
        """
        data = part.data
        if not self.is_squared:
            share.moments = sums_of_columns(W, self.offset, self.n_own, data.groups)
            return share
        scale = np.empty(0, data.dtype) if data.row_scale is None else data.row_scale
        share.moments = moments_of_rows(W, data.groups, scale, self.offset, self.n_own)
        if share.product is not None:
            loss, factors = self.loss_of(part, W, order)
            share.entries = loss.entry_product(factors)[:, 1:].astype(np.float64)
        return share


# ---------------------------------------------------------------- steps


def divided(part, state, order, places):
    """Take the weights of a fit without strata, whose components are divided; return the state and the `Share`.

    Parameters
    ----------
    part, order :
        As for all steps.
    state : State
        Of that fit.
    places : ndarray (n_strata, K) of int
        For each stratum the column of W before that every column of W becomes; -1: zeros.
    """
    chosen = places[part.data.stratum_index]
    taken = np.take_along_axis(state.W, np.maximum(chosen, 0), axis=1)
    W = np.zeros(chosen.shape, state.W.dtype)
    copy_rows(np.where(chosen >= 0, taken, 0), W)
    state = State(W, *(None if F is None else np.zeros_like(W) for F in state[1:]))
    return state, sums_of(part, order, W, product_of(part.data, W))


def replaced(part, state, order, start):
    """Set the weights of own components of a chunk to rows of an array; return the state and the `Share`.

    Parameters
    ----------
    part, state, order :
        As for all steps.
    start : callable
        ``start(part, order)`` returns these weights (n_rows, w).
    """
    state = prepared(state, order)
    W = state.W.copy()
    W[:, order.own.columns] = start(part, order)
    return state._replace(W=W), sums_of(part, order, W, product_of(part.data, W))


def cleared(part, state, order, keep):
    """Multiply the weights of a chunk by the numbers of their stratum; return the state and a share without a product.

    Parameters
    ----------
    part, state, order :
        As for all steps.
    keep : ndarray (n_strata, K)
    """
    state = prepared(state, order)
    W = state.W * keep[part.data.stratum_index].astype(state.W.dtype)
    return state._replace(W=W), sums_of(part, order, W, None)


def finished(part, state, order, H, V, parts):
    """Replace all weights of a chunk by the exact ones; return the state and the `Share`.

    Parameters
    ----------
    part, state, order :
        As for all steps.
    H, V, parts :
        As for `fastnmf.core.own.weights_of_strata`.
    """
    W = exact_weights(part.data, H, V, parts, order.own.offset, state.W)
    return state._replace(W=W), sums_of(part, order, W, product_of(part.data, W))


def rated_as_is(part, state, order):
    """Return the state and a `Share` with ``pos`` of H and of G for Kullback-Leibler, without an update of W."""
    state = prepared(state, order)
    loss, factors = order.own.loss_of(part, state.W, order)
    product = loss.ratio_pass("H", factors)[0]
    share = sums_of(part, order, state.W, product.astype(np.float64), has_grams=False)
    share.entries = loss.ratio_sums()
    return state, share


class OwnDraws:
    """Random weights of own components, times the row scale or a number: a start.

    Parameters
    ----------
    draw : fastnmf.core.chunks.RandomStart
    size, low : float
        The numbers are ``size (low + r)`` with r from 0 to 1.
    has_scale : bool
        Whether they are multiplied by the row scale.
    """

    def __init__(self, draw, size, low, has_scale):
        self.draw, self.size, self.low, self.has_scale = draw, size, low, has_scale

    def __call__(self, part, order):
        """Return the weights (n_rows, w) of a chunk."""
        data, terms = part.data, order.own
        row_scale = data.row_scale if self.has_scale else None
        return drawn_weights(self.draw.drawn(part, terms.n_own), data, terms.sizes, self.size, self.low, row_scale)


# ---------------------------------------------------------------- questions


def squares_by_stratum(part, W, rank):
    """Return the sums of the squared weights of a chunk by stratum, float64 (n_strata, rank)."""
    return part.data.groups.sum(np.ascontiguousarray(W[:, :rank].astype(np.float64) ** 2))


def worst_of_chunk(part, W, order):
    """Return what `fastnmf.core.own_revival.worst_rows` does, for the rows of a chunk."""
    return worst_rows(*order.own.loss_of(part, W, order), part.first)


def exact_value_of_chunk(part, W, order):
    """Return the squared error of a chunk from the residual itself."""
    loss, factors = order.own.loss_of(part, W, order)
    return loss.exact_value(factors)
