"""Steps of a fit whose rows lie in chunks: pure functions of a chunk, its weights and an order; no engine runs here.

The driver of such a fit holds H, the shifts V and the loop. It sends an `Order` to every chunk, and each chunk answers
with its new weights, which stay where the chunk is, and a `Share`: sums over its rows. Shares add up in a fixed tree
over the numbers of the chunks. The bits of a fit therefore depend on the chunks alone, and not on who computes them.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import Factors, aligned, copy_rows, row_tasks
from fastnmf.core.inference import quadratic_weights
from fastnmf.core.losses import DesignKullbackLeibler, KullbackLeibler
from fastnmf.core.penalties import ElasticNet
from fastnmf.core.problem import Subproblem
from fastnmf.core.row_errors import expanded_errors
from fastnmf.core.shares import Share
from fastnmf.core.squarem import sizes
from fastnmf.data.design import DesignedStrata
from fastnmf.data.layout import Compressed, row_index
from fastnmf.data.strata import Strata, square_sum
from fastnmf.kernels import rows
from fastnmf.kernels.records import LazyRows


class State(NamedTuple):
    """The weights of the rows of a chunk.

    Attributes
    ----------
    W : ndarray (n_rows, K)
    before : ndarray (n_rows, K), or None
        W before its extrapolation, or before its last update, where a fit may go back to it.
    first, second : ndarray (n_rows, K), or None
        W at two points of a cycle of extrapolation, as of `fastnmf.core.squarem.SQUAREM`.
    """

    W: np.ndarray
    before: np.ndarray | None = None
    first: np.ndarray | None = None
    second: np.ndarray | None = None


@dataclass
class Part:
    """A chunk as the steps take it.

    Attributes
    ----------
    data : Strata
        Its rows, in the inner scale of the fit and with the labels of all strata.
    first : int
        Number of its first row among all rows.
    net : ElasticNet, or None
        The penalty of its weights.
    places : ndarray (q,) of int64, slice, or None
        Position of each entry of its own pattern in that of all data; for Kullback-Leibler with shifts. A slice of all
        for a design: a chunk then has the pattern of all data.
    """

    data: Strata
    first: int = 0
    net: ElasticNet | None = None
    places: np.ndarray | None = None
    _losses: dict = field(default_factory=dict)

    def __sizeof__(self):  # by which an engine decides what to move
        X = self.data.X
        return 1000 + 2 * (X.data.nbytes + X.indices.nbytes) + X.indptr.nbytes  # and the columns

    def __getstate__(self):
        return vars(self) | {"_losses": {}}  # what a process has found is as large as the data

    @property
    def n_rows(self):
        """Number of rows."""
        return self.data.shape[0]


@dataclass
class Weighing:
    """Turns checked rows into the data of a fit.

    Attributes
    ----------
    dtype : numpy.dtype
    labels : ndarray (n_strata,)
        Of a design, the names of its columns.
    log4_scale : int
    power : float
        See `Strata.weigh`.
    """

    dtype: np.dtype
    labels: np.ndarray
    log4_scale: int = 0
    power: float = 2.0

    def strata(self, X, membership, weight=None, columns=None):
        """Return rows as `Strata`, or with a design as `DesignedStrata`.

        Parameters
        ----------
        X : csr_array (n_rows, n_columns)
            Checked, without duplicates and explicit zeros, in the scale of the user.
        membership : ndarray (n_rows,) of int32, or csr_array (n_rows, q) of float64
            The stratum of each row, or its design.
        weight : ndarray (n_rows,) of float64, default=None
        columns : csc_array (n_rows, n_columns), default=None
            The same matrix; None: it is transposed when it is needed.
        """
        X, columns = (_scaled(side, self.dtype, self.log4_scale) for side in (X, columns))
        kind = DesignedStrata if sp.issparse(membership) else Strata
        data = kind(X, self.labels, membership, log4_scale=self.log4_scale)
        if weight is not None:
            data.weigh(weight, self.power)
            if columns is not None and data.row_scale.all():
                values = columns.data * data.row_scale[columns.indices]
                columns = sp.csc_array((values, columns.indices, columns.indptr), columns.shape)
            else:
                columns = None
        if columns is not None:
            data.columns = Compressed(columns.indptr, columns.indices, columns.data)
        return data


def _scaled(side, dtype, log4_scale):
    """Return a sparse matrix of a dtype, times ``4 ** log4_scale``; the arrays of the user are not changed."""
    if side is None or (side.dtype == dtype and log4_scale == 0):
        return side
    values = np.ldexp(side.data, 2 * log4_scale).astype(dtype)
    return type(side)((values, side.indices, side.indptr), side.shape)


# ---------------------------------------------------------------- the first pass


@dataclass
class Summary:
    """The sums over its data that a fit needs before it starts; summaries of chunks add up.

    Attributes
    ----------
    n_entries : int
    largest : float
        Largest entry, in the scale of the user; found where the entries are checked.
    squares, total, entropy, margins : float
        Sums of x², x, x log x over the entries, and of r log r over the sums r of the rows; in the inner scale.
    pattern : csr_array (n_columns, n_strata) of float64
        Sum of each column over the rows of each stratum; with a design ``Xᵀ Z``.
    columns : ndarray (n_columns,) of float64, or None
        With a design, the sum of each column; else those of `pattern` add up to it.
    """

    n_entries: int = 0
    largest: float = 0.0
    squares: float = 0.0
    total: float = 0.0
    entropy: float = 0.0
    margins: float = 0.0
    pattern: Any = None
    columns: Any = None

    def add(self, other, plus=None):
        """Add another summary in place, and return this one; no array is changed."""
        for name in ("n_entries", "squares", "total", "entropy", "margins"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.pattern = self.pattern + other.pattern
        self.columns = None if self.columns is None else self.columns + other.columns
        return self


def summarized(data, *, has_entropy):
    """Return the `Summary` of the rows of a chunk but for `largest`; x log x is summed only if `has_entropy`."""
    values, (n_rows, n_columns) = data.X.data, data.shape
    found = Summary(len(values), squares=square_sum(values), total=float(values.sum(dtype=np.float64)))
    if has_entropy:
        entries = values.astype(np.float64)
        logs = np.log(entries, out=np.zeros_like(entries), where=entries > 0)
        of_rows = np.bincount(row_index(data.X), entries, n_rows)
        found.entropy, found.margins = float(entries @ logs), float(of_rows[of_rows > 0] @ np.log(of_rows[of_rows > 0]))
    pattern = data.pattern
    sums = pattern.sums.astype(np.float64)
    found.pattern = sp.csr_array((sums, pattern.group.astype(np.int64), pattern.start), (n_columns, data.n_strata))
    if isinstance(data, DesignedStrata):
        found.columns = data.column_sums()
    return found


def richest(part, seek, n_wanted, n_kept):
    """Return the rows of a chunk with the largest sums over wanted features, for each component.

    Parameters
    ----------
    part : Part
    seek : ndarray (n_columns, K)
        Weights of the features, one column per component.
    n_wanted : int
        Rows of a component, or the sum of their weights.
    n_kept : int
        Components for which the rows are returned.

    Returns
    -------
    list of (ndarray, ndarray)
        For each component the scores, descending, and the numbers of the rows among all; equal scores by number.
    """
    data = part.data
    scores = aligned((part.n_rows, seek.shape[1]), data.dtype)
    data.matmul(seek, scores)
    if data.row_scale is not None:
        scores /= np.where(data.row_scale > 0, data.row_scale, np.inf)[:, None]
    found, weight = [], data.weight
    for score in scores.T[:n_kept]:
        order = np.argsort(-score, kind="stable")
        if weight is None:
            order = order[:n_wanted]
        else:
            order = order[np.diff(np.minimum(np.cumsum(weight[order]), n_wanted), prepend=0.0) > 0]
        found.append((score[order], order + part.first))
    return found


# ---------------------------------------------------------------- starts of W


class GivenStart:
    """Start at the rows of an array, in the inner scale and with the row scale.

    Parameters
    ----------
    W : ndarray (n_rows of all, k), or some of its rows
    first : int, default=0
        Number of its first row among all rows.
    """

    def __init__(self, W, first=0):
        self.W, self.first = W, first

    def __call__(self, part, order):
        """Return the start of W (n_rows, k) of a chunk."""
        return self.W[part.first - self.first : part.first - self.first + part.n_rows]


class ConstantStart:
    """Start at a constant, times the row scale."""

    def __init__(self, value):
        self.value = value

    def __call__(self, part, order):
        """Return the start of W (n_rows, k) of a chunk."""
        W = np.full((part.n_rows, order.rank), self.value)
        return W if part.data.row_scale is None else W * part.data.row_scale[:, None]


class RandomStart:
    """Start at uniform random numbers: those rows of ``rng.random((n_rows of all, k))`` that a chunk has.

    Parameters
    ----------
    rng : numpy.random.Generator
        In the state before the draw; a bit generator that can advance.
    """

    def __init__(self, rng):
        self.kind, self.state = type(rng.bit_generator), rng.bit_generator.state

    def __call__(self, part, order):
        """Return the start of W (n_rows, k) of a chunk."""
        return self.drawn(part, order.rank)

    def drawn(self, part, width):
        """Return those rows of ``rng.random((n_rows of all, width))`` that a chunk has."""
        bits = self.kind()
        bits.state = self.state
        bits.advance(int(part.first) * int(width))
        return np.random.Generator(bits).random((part.n_rows, width))


class ExactStart:
    """Start at the exact weights for the given components and shifts."""

    def __call__(self, part, order):
        """Return the start of W (n_rows, k) of a chunk."""
        return _exact(part.data, order, None)[:, : order.rank]


# ---------------------------------------------------------------- steps


def begin(part, state, order, start):
    """Set W of a chunk to its start; return what `measured` returns.

    Parameters
    ----------
    part, state, order :
        As for all steps.
    start : callable
        ``start(part, order)`` returns W (n_rows, k).
    """
    W = np.zeros_like(state.W)
    copy_rows(start(part, order), W[:, : order.rank])
    return measured(part, state._replace(W=W), order)


def measured(part, state, order):
    """Return the state and the `Share` of a chunk for its present W."""
    state = prepared(state, order)
    return state, sums_of(part, order, state.W, product_of(part.data, state.W))


def descended(part, state, order):
    """Update W of a chunk for the squared error, extrapolate it, and return the state and the `Share`."""
    state, data = prepared(state, order), part.data
    W, before = state.W.copy(), state.before
    if order.own is not None:
        sub = order.own.subproblem(part, W, order)
    else:
        sub = Subproblem(row_tasks(W))
        sub.add(gram=order.gram, pos=LazyRows(*data.rows.csr, order.H), neg=_of_shifts(data, order.below))
        sub.tasks = data.rows.tasks(W.shape[1])
    if part.net is not None:
        part.net.contribute(W, sub, order.rank)
    order.update(W, sub, order.rank, order.n_sweeps)
    if before is not None and order.beta is not None:
        before = before.copy()
        rows.rows_extrapolate(row_tasks(W), W, before, W.dtype.type(order.beta))
    elif before is not None:
        before = W.copy()
    return state._replace(W=W, before=before), sums_of(part, order, W, product_of(data, W))


def gone_back(part, state, order):
    """Set W to what it was before its extrapolation; return the state and a `Share` without a product."""
    W = state.before.copy()
    return state._replace(W=W), sums_of(part, order, W, None)


def rated(part, state, order):
    """Update W of a chunk for Kullback-Leibler; return the state and the `Share`.

    The value of the share belongs to W before the update, which the state keeps; its sums belong to W after it.
    """
    state = prepared(state, order)
    if order.kept_as is not None:
        state = state._replace(**{order.kept_as: state.W})
    if order.ahead is not None:
        W, second = state.W.copy(), state.second.copy()
        rows.rows_squarem(row_tasks(W), W, second, state.first, W.dtype.type(order.ahead))
        state = state._replace(W=W, second=second)
    W = state.W.copy()
    loss, factors = _divergence(part, W, order)
    sub = Subproblem(loss.tasks["W"])
    loss.contribute("W", factors, sub)
    value = loss.ratio_pass("W", factors)[1]
    if part.net is not None:
        part.net.contribute(W, sub, order.rank)
    order.update(W, sub, order.rank, 1)
    factors.invalidate("W")
    product, _, of_part = loss.ratio_pass("H", factors)
    share = sums_of(part, order, W, product.astype(np.float64), has_grams=False)
    share.value = value
    if order.v is not None:
        share.of_shifts = np.zeros(len(order.v))
        share.of_shifts[part.places] = of_part
    elif order.own is not None:
        share.entries = loss.ratio_sums()
    return state._replace(W=W, before=state.W), share


def valued(part, state, order):
    """Return the state, and a `Share` with the value of `rated`, and the sizes of the steps of a cycle."""
    state = prepared(state, order)
    loss, factors = _divergence(part, state.W, order)
    share = sums_of(part, order, state.W, None, has_grams=False)
    share.value = loss.ratio_pass("W", factors)[1]
    share.sizes = sizes(row_tasks(state.W), state.W, state.second, state.first)
    return state, share


def returned(part, state, order):
    """Set W to that of the second point of a cycle; return the state and a `Share` of sums."""
    state = state._replace(W=state.second.copy())
    return state, sums_of(part, order, state.W, None, has_grams=False)


def finished(part, state, order):
    """Replace W by the exact weights; return the state and a `Share` whose value is ``<W, X H>``."""
    product = aligned(state.W.shape, part.data.dtype)
    part.data.matmul(order.H, product)
    W = _exact(part.data, order, product, part.net)
    share = sums_of(part, order, W, None)
    inner = np.empty(len(tasks := row_tasks(W)) - 1)
    rows.rows_dot(tasks, W, product, inner)
    share.value = float(inner.sum())
    return state._replace(W=W), share


def worst_row(part, W, order):
    """Return the largest squared error of a row, not counting its weight, its number, and its row scale.

    Parameters
    ----------
    part : Part
    W : ndarray (n_rows, K)
    order : Order
        Its H, gram and below; `v` gives the shifts, dense or CSR (n_strata, n_columns), or None.
    """
    data, W = part.data, W.astype(np.float64)
    product = aligned(W.shape, data.dtype)
    data.matmul(order.H, product)
    linear = product.astype(np.float64)
    if order.below is not None:
        neg = data.spread(order.below).astype(np.float64)
        linear -= neg if data.row_scale is None else neg * data.row_scale[:, None]
    errors = expanded_errors(data.row_square_sums(order.v), W, order.gram, np.einsum("ij,ij->i", W, linear))
    scale = np.ones(part.n_rows) if data.row_scale is None else data.row_scale.astype(np.float64)
    errors = np.divide(errors, scale**2, out=np.full(len(errors), -1.0), where=scale > 0)
    row = int(np.argmax(errors))
    return float(errors[row]), part.first + row, float(scale[row])


def prepared(state, order):
    """Return the state with the scale and the fill of an order."""
    W, before = state.W, state.before
    if order.scale is not None:
        scale = order.scale.astype(W.dtype)
        W, before = W * scale, None if before is None else before * scale
    if order.fill:
        W = W.copy()
        W[:, : order.rank] += W.dtype.type(order.fill) * (W[:, : order.rank] == 0)
    return state._replace(W=W, before=before)


def _of_shifts(data, below):
    """Return ``neg`` of W as `LazyRows` for ``V H`` (n_strata, K), or None."""
    return None if below is None else data.lazy_shifts(below)


def _exact(data, order, product, net=None):
    """Return the exact weights of rows, (n_rows, K).

    Parameters
    ----------
    data : Strata
    order : Order
    product : ndarray (n_rows, K), or None
        ``X H``; None: it is computed.
    net : ElasticNet, default=None
    """
    if product is None:
        product = aligned((data.shape[0], order.H.shape[1]), data.dtype)
        data.matmul(order.H, product)
    nets = () if net is None else (net,)
    return quadratic_weights(order.gram, product, order.rank, _of_shifts(data, order.below), nets)[0]


def product_of(data, W):
    """Return ``Xᵀ W``, float64 (n_columns, K)."""
    out = aligned((data.shape[1], W.shape[1]), data.dtype)
    data.tmatmul(W, out)
    return out.astype(np.float64, copy=False)


def sums_of(part, order, W, product, has_grams=True):
    """Return the `Share` of W with a product.

    Parameters
    ----------
    part : Part
    order : Order
    W : ndarray (n_rows, K)
    product : ndarray (n_columns, K), or None
    has_grams : bool, default=True
        Whether it has the Gram matrix and the sums by stratum.
    """
    tasks, net = row_tasks(W), part.net
    parts = np.empty((len(tasks) - 1, W.shape[1]))
    rows.rows_sum(tasks, W, parts)
    share = Share(
        product=product,
        gram=rows.gram(tasks, W) if has_grams else None,
        sums=part.data.groups.sum(W).astype(np.float64) if has_grams and order.has_shifts else None,
        totals=parts.sum(axis=0),
        columns=None if net is None else np.array(net.columns(W)),
    )
    return share if order.own is None else order.own.completed(share, part, W, order)


def _divergence(part, W, order):
    """Return the Kullback-Leibler divergence of a chunk and the factors; a chunk that is held keeps what it has found.

    Parameters
    ----------
    part : Part
    W : ndarray (n_rows, K)
    order : Order
    """
    if order.own is not None:
        return order.own.loss_of(part, W, order)
    width, has_shifts = W.shape[1], order.v is not None
    if width not in part._losses:
        tasks = {"W": row_tasks(W), "H": row_tasks(order.H)}
        kind = DesignKullbackLeibler if isinstance(part.data, DesignedStrata) else KullbackLeibler
        part._losses[width] = kind(part.data, width, tasks, has_shifts)
    loss = part._losses[width]
    loss.floor = order.floor
    arrays = {"W": W, "H": order.H} | ({"V": order.v[part.places]} if has_shifts else {})
    return loss, Factors(order.rank, **arrays)
