"""Define the shared records and protocols: Subproblem, Problem, Loss, Penalty, Update.

With all factors but one (F) held fixed, every alternating method for NMF needs the half-gradient of the objective

    grad = F gram + neg - pos          gram (K, K);  pos, neg (p, K) >= 0

or, where the objective is separable over the entries of F (the shifts of strata), ``grad = weight F + neg - pos`` for
every entry. A `Subproblem` holds these quantities. Losses and penalties add to it; an update uses it to change F.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import Factors
from fastnmf.data.layout import row_index
from fastnmf.kernels.records import CSR, LazyRows


def full(side):
    """Return a `LazyRows`, or what has a method `full`, as the dense array that it represents; an array unchanged."""
    if hasattr(side, "full"):
        return side.full()
    if not isinstance(side, LazyRows):
        return side
    if len(side.start):
        shape = len(side.start) - 1, len(side.rows)
        return sp.csr_array((side.weight, side.group, side.start), shape) @ side.rows
    return side.rows[side.group] if len(side.group) else side.rows


# What updates need of a subproblem beside its sums: name -> (phrase, remedy).
NEEDS = {
    "quadratic": ("a quadratic subproblem", "use a multiplicative update, such as MU"),
    "rowwise": ("a Gram matrix of each row", "use it with weights of entries (Masked, Reweighted), or use HALS or MU"),
    "residual": ("the data and the other factor", "use it with the loss Residuals"),
    "parts": ("the gradients of several losses", "use it with DivergenceMixture, or use MU"),
    "chain": ("the weights of steps from row to row", "use it with the penalty smoothness.Chain, or use HALS"),
    "lags": ("the curvature of rows that meet those after them", "use it with ConvolutionLoss, or use HALS"),
    "pattern": ("shifts of which a row has several", "use it with DesignFrobenius, or use HALS or MU"),
    "mixture": ("the rows that are mixed", "use it with RowMixture or Dictionary, or use MU"),
}


class MixedRows(NamedTuple):
    """The objective of weights F (p, K) of rows A (p, m): ``trace(gram Fᵀ A Aᵀ F) / 2 - <F, A B>``.

    Attributes
    ----------
    matrix : CSR or ndarray (p, m)
        A; or ``A Aᵀ`` (p, p), float64, where there is no `slope`.
    squares : ndarray (p,) of float64
        Squared lengths of the rows of A.
    gram : ndarray (K, K) of float64
    gradient : ndarray (p, K)
        The half-gradient ``A slope``.
    slope : ndarray (m, K) of float64, or None
        ``Aᵀ F gram - B``.
    """

    matrix: CSR | np.ndarray
    squares: np.ndarray
    gram: np.ndarray
    gradient: np.ndarray
    slope: np.ndarray | None = None


class Subproblem:
    """The data of one update. `add` is additive: losses, penalties and chunks of data may all contribute.

    Attributes
    ----------
    gram : ndarray (K, K) of float64, or None
        None where the objective is separable over the entries, and where it is not quadratic (`is_quadratic`). Of shape
        (G, K, K), one for each group of rows, for `StrataHALS` and `EntryHALS`.
    pos, neg : ndarray of the factor's shape, LazyRows, or None
        The first contribution is held by reference and never written to; a second one makes a copy.
    weight, group : ndarray (G,), ndarray (p,) of int32
        For separable entries: the curvature of entry p is ``weight[group[p]]``. With a gram for each group, `group` is
        that of each row.
    order_of_rows : ndarray (p,) of int64, or None
        The rows sorted by group, where there is a gram for each.
    common : fastnmf.core.losses.own.CommonShift, or None
        The shift that all strata have in common: what `EntryHALS` takes.
    linear, ridge : float
        Half-gradients ``linear + ridge F`` that are the same for all entries; ridge may also be an array (K,), by
        column.
    free_mask : ndarray of bool, the factor's shape or (K,), or None
        Entries, or whole columns, that may be updated; None: all.
    is_of_data : (bool, bool)
        Whether pos and neg are those of the first loss alone. If not, the inner products that an update returns cannot
        be used for the value of this loss.
    is_quadratic : bool
        Whether the objective is the quadratic function with this gradient. If not, pos and neg are valid at the current
        point only, and only updates that use their ratio may be applied.
    power : float
        Exponent of the ratio in a multiplicative update for which the objective is monotone; 1 for quadratic ones.
    tasks : ndarray of int64
        Task table of the updates of this factor: equal numbers of rows, unless a loss sets a table of equal costs.
    rowwise : fastnmf.kernels.records.RowwiseGram, or None
        Where each row has its own gram and neg: what `WeightedRows` takes.
    row_ridge : ndarray (p,) of float64, or None
        The ridge of each row, in addition to `ridge`; only where there is `rowwise`.
    residual : fastnmf.core.losses.robust.Residual, or None
        The data and the other factor: what `WeightedMedianDescent` and `ChebyshevLP` take.
    core : ndarray (K, K) of float64, or None
        The factor between the two occurrences of F in the product: what `LinkedDescent` takes.
    parts : list of fastnmf.core.losses.divergence_mixture.Part, or None
        The gradients of several losses: what `JointMU` takes.
    neighbours : fastnmf.core.losses.graph.Neighbours, or None
        The graph of the rows: what `GraphHALS` takes.
    chain : fastnmf.core.penalties.smoothness.Chain, or None
        The weights of steps from row to row: what `ChainDescent` takes.
    pattern : fastnmf.data.shifts.Pattern, or None
        For shifts whose entries of one column meet: F (q,) holds the entries, and gram is a csr_array (q, q), in place
        of `weight`. What `PatternHALS` and `PatternMU` take.
    roughness : csr_array (q, q) of float64, or None
        The part of gram that belongs to a penalty; only where there is `pattern`.
    lags : fastnmf.core.losses.convolution.Lags, or None
        How rows meet the rows after them: what `LaggedDescent` takes.
    mixture : MixedRows, or None
        The rows that F mixes: what `MixtureDescent` takes.
    tangent : fastnmf.core.penalties.custom.Tangent, or None
        The user's penalties at this point: what `Majorised` takes.
    beta : float
        Where the objective is not quadratic: the beta of the divergence whose parts pos and neg are, for `Majorised`.
    """

    def __init__(self, tasks):
        self._equal_rows = tasks
        self.clear()

    def clear(self):
        """Remove all contributions."""
        self.gram = self.pos = self.neg = self.weight = self.group = None
        self.tasks, self.is_of_data = self._equal_rows, (True, True)
        self.is_quadratic, self.linear, self.ridge, self.free_mask = True, 0.0, 0.0, None
        self.rowwise = self.row_ridge = self.residual = self.core = self.parts = None
        self.neighbours = self.chain = self.tangent = self.lags = self.mixture = None
        self.pattern = self.roughness = self.order_of_rows = self.common = None
        self.power = self.beta = 1.0

    def add(self, *, gram=None, pos=None, neg=None, linear=0.0, ridge=0.0):
        """Add contributions to the half-gradient.

        Parameters
        ----------
        gram : ndarray (K, K) of float64, optional
        pos, neg : ndarray of the factor's shape, or LazyRows, optional
            Non-negative.
        linear : float, default=0.0
        ridge : float or ndarray (K,), default=0.0
        """
        self.linear, self.ridge = self.linear + linear, self.ridge + ridge
        self.gram = gram if self.gram is None else self.gram if gram is None else self.gram + gram
        self.pos = pos if self.pos is None else self.pos if pos is None else full(self.pos) + full(pos)
        self.neg = neg if self.neg is None else self.neg if neg is None else full(self.neg) + full(neg)

    @property
    def provides(self):
        """The kinds of data that are there for an update, a set of the keys of `NEEDS`."""
        names = ("rowwise", "residual", "parts", "chain", "lags", "pattern", "mixture")
        found = {name for name in names if getattr(self, name) is not None}
        if self.is_quadratic:
            found.add("quadratic")
        if self.weight is not None:  # separable entries: each has its own curvature
            found.add("rowwise")
        return found

    def lazy_rows(self, width, dtype):
        """Return pos and neg as the row kernels take them; None becomes a `LazyRows` without rows."""
        return tuple(
            side if isinstance(side, LazyRows) else LazyRows.of(np.empty((0, width), dtype) if side is None else side)
            for side in (self.pos, self.neg)
        )

    def full_gram(self, width, rank):
        """Return gram with `ridge` on its diagonal, (K, K) of float64, or None where there is neither."""
        if not np.any(self.ridge):
            return self.gram
        lifted, at = np.zeros((width, width)) if self.gram is None else self.gram.copy(), np.arange(rank)
        lifted[at, at] += np.broadcast_to(self.ridge, (width,))[:rank]
        return lifted

    def order(self, visits, n_sweeps):
        """Return those columns of `visits` that have entries to update, repeated `n_sweeps` times."""
        if self.free_mask is not None:
            visits = visits[np.atleast_2d(self.free_mask)[:, visits].any(axis=0)]
        return np.concatenate([visits[:0], *[visits] * n_sweeps])  # numpy.tile takes longer than a sweep of small data

    def gradient(self, F):
        """Return the half-gradient at F, an array of F's shape."""
        if self.mixture is not None:
            return self.mixture.gradient
        pull = 0.0 if self.weight is None else F * self.weight[self.group]
        if self.pattern is not None:
            pull = self.pattern.times(F, self.gram if self.roughness is None else self.gram + self.roughness)
        elif np.ndim(self.gram) == 3:
            pull = np.einsum("pc,pcd->pd", F, self.gram[self.group])
        elif self.gram is not None:
            pull = F @ self.gram
        pull = pull + self.linear + self.ridge * F
        pull = pull if self.rowwise is None else pull + _pull_of_rows(self.rowwise, F)
        pull = pull if self.row_ridge is None else pull + self.row_ridge[:, None] * F
        for part in (self.neighbours, self.chain, self.lags):
            pull = pull if part is None else pull + part.pull(F)
        pull = pull if self.tangent is None else pull + self.tangent.gradient
        return pull + (0.0 if self.neg is None else full(self.neg)) - full(self.pos)


def _pull_of_rows(rowwise, F):
    """Return the contribution of a `RowwiseGram` to the half-gradient at F (p, K), an array of its shape."""
    of_row, indices = row_index(rowwise), rowwise.indices
    y = np.einsum("ec,ec->e", F[of_row], rowwise.other[indices], dtype=np.float64)
    y = y + rowwise.shift if len(rowwise.shift) else y
    of_D = np.zeros(F.shape)
    np.add.at(of_D, of_row, (rowwise.weight * y)[:, None] * rowwise.other[indices])
    return np.where(rowwise.base[:, None] > 0, F @ rowwise.grams[1], F @ rowwise.grams[0]) + of_D


class Loss(Protocol):
    """A part of the objective that compares the model with the data, and may depend on all factors.

    A loss that depends on some factors only names them in an attribute ``touches``, a tuple of str.
    """

    def contribute(self, name: str, factors: Factors, sub: Subproblem) -> None:
        """Add the half-gradient of this loss with respect to factor `name`."""

    def value(self, factors: Factors) -> float:
        """Return the value of this loss at `factors`."""


class DataLoss(Loss, Protocol):
    """The first loss of a problem: what the core asks it for beside `Loss`, each only where a problem says so.

    Attributes
    ----------
    power : float
        Exponent of its multiplicative updates.
    safe_powers : tuple of float
        Those of shorter steps, in the order in which they are tried; for `retry_with_safe_step`.
    """

    power: float
    safe_powers: tuple

    def value(self, factors: Factors, **instead: np.ndarray) -> float:
        """Return the value at `factors`, with the arrays of `instead` in place of factors of these names."""

    def exact_value(self, factors: Factors, **instead: np.ndarray) -> float:
        """Return the value from the residual itself; for `cheap_value_floor`."""

    def gram(self, name: str, factors: Factors) -> np.ndarray:
        """Return the Gram matrix of factor `name`, (K, K) of float64; for `equalize_norms`."""

    def product(self, name: str, factors: Factors) -> np.ndarray:
        """Return the product of the data with the other factor, (p, K); for the exact W at the end of a fit.

        Where it is cached under ``("product", name)`` between two iterations, a checkpoint notes that.
        """

    def reseed_dead_component(self, factors: Factors) -> bool:
        """Replace a dead component in place and return whether there was one."""

    def columns(self) -> dict:
        """Return further entries of the history for the last value, by name; optional."""

    def to_state(self) -> dict:
        """Return what later iterations depend on beside the factors; optional."""

    def from_state(self, state: dict) -> None:
        """Restore what `to_state` returned."""


class Penalty(Protocol):
    """A part of the objective that depends on one factor and not on the data."""

    def contribute(self, F: np.ndarray, sub: Subproblem, rank: int) -> None:
        """Add the half-gradient of this penalty at F."""

    def value(self, F: np.ndarray) -> float:
        """Return the value of this penalty."""

    def columns(self, F: np.ndarray) -> tuple:
        """Return ``(a, b)``, (K,) each: column c of F, scaled by t, costs at most ``2 a t + b t²`` up to a constant.

        For the first penalties of W and H where `balance_penalties` is set.
        """


class Update(Protocol):
    """An update step of one factor: it reads a subproblem and changes F in place."""

    needs: tuple = ()  # keys of `NEEDS`: what its subproblems have to provide

    def __call__(self, F: np.ndarray, sub: Subproblem, rank: int, n_sweeps: int) -> tuple | None:
        """Change F in place.

        Parameters
        ----------
        F : ndarray (p, K), or (p,), of float32 or float64
            The factor, padded, or the entries of a separable one; overwritten.
        sub : Subproblem
        rank : int
            Columns of F in use.
        n_sweeps : int

        Returns
        -------
        tuple of two floats, or None
            ``<F, pos>`` (see `fastnmf.core.updates` for separable entries) and ``<F, neg>``; None where they would cost
            extra.
        """


@dataclass
class Problem:
    """An objective and the method that minimises it.

    Attributes
    ----------
    losses : list of Loss
        The first is the loss of the data; the values of the others are reported as penalties.
    updates : dict, factor name -> Update
    schedule : tuple
        One iteration: pairs ``(name, n_sweeps)``. A tuple of pairs in place of a pair updates its factors
        simultaneously, all from the old point.
    tasks : dict, factor name -> task table
    scale : float
        Objective of the trivial model, by which the loss is normalized: for the squared error, the squared norm of the
        data.
    cheap_value_floor : float
        Fraction of `scale` below which `exact_value` is used.
    exact_value : callable or None
        Returns the loss of the data from the residual; used where the value from Gram matrices has lost too many
        digits.
    rounding : float
        An objective below this is rounding error only.
    equalize_norms : bool
        Whether columns of W and H may be rescaled against each other; not for updates with an absolute eps.
    penalties : dict, factor name -> list of Penalty
    free_mask : dict, factor name -> ndarray of bool
        Entries (of the factor's shape) or columns (K,) that may be updated; all entries of a factor that is absent.
    balance_penalties : bool
        Whether the first penalties of W and H are `ElasticNet` and decide the scale of the components.
    reseed_dead_component : callable or None
        ``reseed_dead_component(factors)`` replaces a dead component and returns whether there was one, or how many.
    retry_with_safe_step : bool
        Whether the `power` of the first loss may raise the objective. An iteration that raised it is undone and
        repeated with the `safe_powers` of that loss.
    later : tuple
        ``(n_iter, schedule)``: the schedule after so many iterations of a fit; empty where it stays the same.
    penalty : float
        The part of the last evaluated objective that comes from penalties and from losses after the first.
    subproblems : dict, factor name -> Subproblem
        Buffers, made from `tasks`.
    """

    losses: list
    updates: dict
    schedule: tuple
    tasks: dict
    scale: float
    cheap_value_floor: float = 0.0
    exact_value: Callable | None = None
    rounding: float = 0.0
    equalize_norms: bool = False
    penalties: dict = field(default_factory=dict)
    free_mask: dict = field(default_factory=dict)
    balance_penalties: bool = False
    reseed_dead_component: Callable | None = None
    retry_with_safe_step: bool = False
    later: tuple = ()
    penalty: float = 0.0
    subproblems: dict = field(default_factory=dict)

    def __post_init__(self):
        self.subproblems = {name: Subproblem(tasks) for name, tasks in self.tasks.items()}

    def subproblem(self, name, factors):
        """Return the subproblem of factor `name` at `factors`."""
        sub = self.subproblems[name]
        sub.clear()
        for position, loss in enumerate(self.losses):
            if name in getattr(loss, "touches", (name,)):
                loss.contribute(name, factors, sub)
            if position == 0:
                of_data = sub.pos, sub.neg
        for penalty in self.penalties.get(name, ()):
            penalty.contribute(factors[name], sub, factors.rank)
        sub.is_of_data = sub.pos is of_data[0], sub.neg is of_data[1]
        sub.free_mask = self.free_mask.get(name)
        if needs := getattr(self.updates.get(name), "needs", ()):
            self._check_pair(name, needs, sub)
        return sub

    def _check_pair(self, name, needs, sub):
        """Raise one sentence where the update of a factor needs data that the losses and penalties do not provide."""
        missing = [need for need in needs if need not in sub.provides]
        if missing:
            what, remedy = NEEDS[missing[0]]
            update, loss = self.updates[name], type(self.losses[0]).__name__
            update = getattr(update, "name", type(update).__name__)
            raise ValueError(f"{update} needs {what}, but {loss} gives none for {name}; {remedy}.")

    def release(self):
        """Drop the references to losses and buffers; the problem cannot be used afterwards."""
        self.losses, self.exact_value, self.subproblems = [], None, {}

    def value(self, factors, **instead):
        """Return the objective at `factors`, at least 0, and store the part of the penalties in `penalty`.

        Values from Gram matrices subtract numbers of the size of `scale`: their relative error is about machine epsilon
        times scale / value. Below ``cheap_value_floor * scale`` the value is computed from the residual instead.

        Parameters
        ----------
        factors : Factors
        **instead : ndarray
            Arrays that replace factors, such as V (n_strata, n_columns) with shifts off their pattern.
        """
        data_loss, *others = self.losses
        value = data_loss.value(factors, **instead)
        if self.exact_value is not None and value < self.cheap_value_floor * self.scale:
            value = self.exact_value(factors, **instead)
        value = max(value, 0.0)
        self.penalty = sum(loss.value(factors) for loss in others)
        for name, penalties in self.penalties.items():
            self.penalty += sum(penalty.value(instead.get(name, factors[name])) for penalty in penalties)
        return value + self.penalty
