"""The currency of the house: Factors, Subproblem, Problem, and what a Term and a Move must be able to do.

With all factors but one (F) held fixed, every alternating method for NMF needs the half-gradient of the objective

    grad = F gram + neg - pos          gram (K, K);  pos, neg (p, K) >= 0

or, where the entries of F do not meet (the shifts of strata), ``grad = weight F + neg - pos`` entry by entry. That
record is a `Subproblem`. Terms and penalties add to it, a move consumes it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp

ALIGNMENT = 64


def aligned(shape, dtype):
    """Return a zeroed C-order array that starts on a cache line: the vector loads of the gathers split fewer lines."""
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(n_bytes + ALIGNMENT, dtype=np.uint8)
    offset = -raw.ctypes.data % ALIGNMENT
    return raw[offset : offset + n_bytes].view(dtype).reshape(shape)


def copy_rows(source, target):
    """Copy a tall array into another, a few hundred rows at a time: a transposition then stays in the cache."""
    for lo in range(0, len(source), 512):
        target[lo : lo + 512] = source[lo : lo + 512]


def dense_rows(X, chosen):
    """Return a few rows of a CSR or dense matrix as a dense array (len(chosen), n_columns)."""
    if not sp.issparse(X):
        return X[chosen]
    return X[chosen].toarray()  # never-densify-ok: as many rows as there are components


class Factors:
    """The arrays that a fit moves, and what has been computed from them and still holds.

    Parameters
    ----------
    rank : int
        Columns in use. W (n, K) and H (m, K) are as wide as the padded rank K; the rest of the columns is zero.
    **arrays : ndarray
        The factors by name.

    Attributes
    ----------
    widths : dict
        Columns in use, by name, of factors of which each has its own number of them.
    """

    def __init__(self, rank, **arrays):
        self.rank, self.widths = rank, {}
        self.arrays = arrays
        self._version = dict.fromkeys(arrays, 0)
        self._known = {}

    def __getitem__(self, name):
        return self.arrays[name]

    def add(self, name, array):
        """Add a factor."""
        self.arrays[name], self._version[name] = array, 0

    def moved(self, name):
        """Note that factor `name` has changed in place."""
        self._version[name] += 1

    def cached(self, key, names, compute):
        """Return ``compute()``, or what it returned last if none of the factors `names` has moved since."""
        stamp = tuple(self._version[name] for name in names)
        known = self._known.get(key)
        if known is None or known[0] != stamp:
            known = self._known[key] = (stamp, compute())
        return known[1]

    def forget(self):
        """Let go of all that was computed from the factors."""
        self._known.clear()

    def apart(self):
        """Return the same factors with a memory of their own, for one of several terms that use the same keys."""
        other = Factors(self.rank, **self.arrays)
        other._version = self._version
        return other

    def remember(self, key, names, value):
        """Keep a value that was computed on the way, for as long as none of the factors `names` moves."""
        self._known[key] = (tuple(self._version[name] for name in names), value)

    def has(self, key, names):
        """Tell whether ``cached(key, names, ...)`` would return without computing."""
        known = self._known.get(key)
        return known is not None and known[0] == tuple(self._version[name] for name in names)


_NONE = np.empty(0, np.int64)
_NO_GROUP = np.empty(0, np.int32)


class Mixture(NamedTuple):
    """An array (p, K) whose rows are weighted sums of a few others; kernels put a row together when they meet it.

    Attributes
    ----------
    start : ndarray (p + 1,) of int64, or of length 0
        Row i is the sum of ``weight[e] * rows[group[e]]`` over e in start[i]:start[i + 1].
    group : ndarray of int32
        Where `start` is empty, row i is ``rows[group[i]]``; where both are, it is ``rows[i]``.
    weight : ndarray
    rows : ndarray (G, K)
        No rows: all is zero.
    """

    start: np.ndarray
    group: np.ndarray
    weight: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, rows, group=_NO_GROUP):
        """Return the mixture whose row i is ``rows[group[i]]``, or ``rows[i]`` without `group`."""
        return cls(_NONE, group, np.empty(0, rows.dtype), rows)


def full(side):
    """Return a `Mixture` as the array that it stands for; an array as it is."""
    if not isinstance(side, Mixture):
        return side
    if len(side.start):
        shape = len(side.start) - 1, len(side.rows)
        return sp.csr_array((side.weight, side.group, side.start), shape) @ side.rows
    return side.rows[side.group] if len(side.group) else side.rows


class Subproblem:
    """What one move needs to know. `add` is additive: terms, penalties and chunks of data may all contribute.

    Attributes
    ----------
    gram : ndarray (K, K) of float64, or None
        None where the entries do not meet, and where the objective is not quadratic (`is_quadratic`).
    pos, neg : ndarray of the factor's shape, Mixture, or None
        The first contribution is held by reference and never written to; a second one makes a copy.
    weight, group : ndarray (G,), ndarray (p,) of int32
        For entries that do not meet: the curvature of entry p is ``weight[group[p]]``.
    flat, lift : float
        Half-gradients ``flat + lift F`` that are the same for all entries (lift: or an array (K,), by column).
    free : ndarray of bool, the factor's shape or (K,), or None
        Entries, or whole columns, that may move.
    is_of_data : (bool, bool)
        Whether pos and neg are those of the terms alone; if not, a move's inner products are of no use for the value.
    is_quadratic : bool
        Whether the objective is the quadratic that has this gradient; if not, pos and neg hold at this point alone, and
        only moves that need their ratio may use them.
    power : float
        Exponent of the multiplicative ratio that never raises the objective; 1 for quadratic ones.
    tasks : ndarray of int64
        Task table of the moves of this factor: equal rows, unless a term sets a table of equal costs.
    local : object, or None
        What only one kind of move takes: `fastnmf.terms.masked.Local` where each row has a gram and a neg of its own
        (`moves.WeightedRows`), a `fastnmf.terms.entrywise.Residual` (`Medians`, `Minimax`), a list of
        `fastnmf.terms.several.Part` (`JointMU`), the `fastnmf.terms.graph.Neighbours` of its rows (`GraphHALS`).
    """

    def __init__(self, tasks):
        self._equal_rows = tasks
        self.clear()

    def clear(self):
        """Forget all contributions."""
        self.gram = self.pos = self.neg = self.weight = self.group = None
        self.tasks, self.is_of_data = self._equal_rows, (True, True)
        self.is_quadratic, self.flat, self.lift, self.free = True, 0.0, 0.0, None
        self.local = None
        self.power = 1.0

    def add(self, *, gram=None, pos=None, neg=None, flat=0.0, lift=0.0):
        """Add contributions to the half-gradient."""
        self.flat, self.lift = self.flat + flat, self.lift + lift
        self.gram = gram if self.gram is None else self.gram if gram is None else self.gram + gram
        self.pos = pos if self.pos is None else self.pos if pos is None else full(self.pos) + full(pos)
        self.neg = neg if self.neg is None else self.neg if neg is None else full(self.neg) + full(neg)

    def mixtures(self, width, dtype):
        """Return pos and neg as the row kernels take them; None is a `Mixture` of no rows."""
        return tuple(
            side if isinstance(side, Mixture) else Mixture.of(np.empty((0, width), dtype) if side is None else side)
            for side in (self.pos, self.neg)
        )

    def full_gram(self, width, rank):
        """Return gram with `lift` on its diagonal, (K, K) of float64, or None where both are nothing."""
        if not np.any(self.lift):
            return self.gram
        lifted, at = np.zeros((width, width)) if self.gram is None else self.gram.copy(), np.arange(rank)
        lifted[at, at] += np.broadcast_to(self.lift, (width,))[:rank]
        return lifted

    def order(self, visits, n_sweeps):
        """Return those of the columns `visits` that may move at all, `n_sweeps` times."""
        if self.free is not None:
            visits = visits[np.atleast_2d(self.free)[:, visits].any(axis=0)]
        return np.tile(visits, n_sweeps)

    def gradient(self, F):
        """Return the half-gradient at F, an array of F's shape."""
        pull = 0.0 if self.weight is None else F * self.weight[self.group]
        pull = pull if self.gram is None else F @ self.gram
        pull = pull + self.flat + self.lift * F
        pull = pull if self.local is None else pull + self.local.pull(F)
        return pull + (0.0 if self.neg is None else full(self.neg)) - full(self.pos)


class Term(Protocol):
    """What the data are compared with: a part of the objective that sees all factors."""

    def contribute(self, name: str, factors: Factors, sub: Subproblem) -> None:
        """Add this term's part of the half-gradient with respect to factor `name`."""

    def value(self, factors: Factors) -> float:
        """Return this term's part of the objective at `factors`."""


class Penalty(Protocol):
    """What one factor prefers: a part of the objective that sees this factor, and never the data."""

    def contribute(self, F: np.ndarray, sub: Subproblem, rank: int) -> None:
        """Add this penalty's part of the half-gradient at F."""

    def value(self, F: np.ndarray) -> float:
        """Return this penalty's part of the objective."""


class Move(Protocol):
    """How a factor moves: consumes a subproblem, changes F in place."""

    def __call__(self, F: np.ndarray, sub: Subproblem, rank: int, n_sweeps: int) -> tuple | None:
        """Change F (p, K) or (p,) in place; return ``<F, pos>`` (see `moves` for entries) and ``<F, neg>``, or None."""


@dataclass
class Problem:
    """What is solved, and how.

    Attributes
    ----------
    terms : list of Term
        The first is that of the data; what others say about the factors counts as a penalty.
    moves : dict, factor name -> Move
    schedule : tuple
        One iteration: pairs ``(name, n_sweeps)``; a tuple of pairs inside moves its factors all from the old point.
    tasks : dict, factor name -> task table
    direct : callable or None
        Returns the objective from the residual itself; asked where the cheap value has lost its digits.
    scale : float
        Objective of the zero model, that is the squared norm of the data.
    digits : float
        Fraction of `scale` below which `direct` is asked.
    rounding : float
        Objective below which nothing is left but rounding.
    anchors_scale : bool
        Whether columns of W and H may be rescaled against each other: not for moves with an absolute eps.
    penalties : dict, factor name -> list of Penalty
    free : dict, factor name -> ndarray of bool
        Entries (of the factor's shape) or columns (K,) that may move; all of a factor that is not named.
    balances : bool
        Whether the first penalties of W and H are `ElasticNet` and decide the scale of the components.
    revive : callable or None
        ``revive(factors)`` replaces a component that has died and tells whether there was one.
    falls_back : bool
        Whether the first term's `power` makes steps that may raise the objective; an iteration that did is undone and
        done again with its `safe_power`.
    penalty : float
        The penalties' part of the objective that was evaluated last.
    """

    terms: list
    moves: dict
    schedule: tuple
    tasks: dict
    scale: float
    digits: float = 0.0
    direct: Callable | None = None
    rounding: float = 0.0
    anchors_scale: bool = False
    penalties: dict = field(default_factory=dict)
    free: dict = field(default_factory=dict)
    balances: bool = False
    revive: Callable | None = None
    falls_back: bool = False
    penalty: float = 0.0
    subproblems: dict = field(default_factory=dict)

    def __post_init__(self):
        self.subproblems = {name: Subproblem(tasks) for name, tasks in self.tasks.items()}

    def subproblem(self, name, factors):
        """Return the subproblem of factor `name` at `factors`."""
        sub = self.subproblems[name]
        sub.clear()
        for position, term in enumerate(self.terms):
            if name in getattr(term, "touches", (name,)):
                term.contribute(name, factors, sub)
            if position == 0:
                of_data = sub.pos, sub.neg
        for penalty in self.penalties.get(name, ()):
            penalty.contribute(factors[name], sub, factors.rank)
        sub.is_of_data = sub.pos is of_data[0], sub.neg is of_data[1]
        sub.free = self.free.get(name)
        return sub

    def release(self):
        """Let go of the terms and their buffers; the problem cannot be used any more."""
        self.terms, self.direct, self.subproblems = [], None, {}

    def value(self, factors, **instead):
        """Return the objective at `factors`, at least 0, and note the penalties' part.

        `instead` are arrays instead of factors, as V (n_strata, n_columns) with shifts off their pattern.

        The terms' cheap values subtract numbers of the size of `scale`; below ``digits * scale`` the residual is
        evaluated instead (relative error of the cheap value: about machine epsilon * scale / value).
        """
        data_term, *others = self.terms
        value = data_term.value(factors, **instead)
        if self.direct is not None and value < self.digits * self.scale:
            value = self.direct(factors, **instead)
        value = max(value, 0.0)
        self.penalty = sum(term.value(factors) for term in others)
        for name, penalties in self.penalties.items():
            self.penalty += sum(penalty.value(instead.get(name, factors[name])) for penalty in penalties)
        return value + self.penalty
