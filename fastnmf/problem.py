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


class Factors:
    """The arrays that a fit moves, and what has been computed from them and still holds.

    Parameters
    ----------
    rank : int
        Columns in use. W (n, K) and H (m, K) are as wide as the padded rank K; the rest of the columns is zero.
    **arrays : ndarray
        The factors by name.
    """

    def __init__(self, rank, **arrays):
        self.rank = rank
        self.arrays = arrays
        self._version = dict.fromkeys(arrays, 0)
        self._known = {}

    def __getitem__(self, name):
        return self.arrays[name]

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
    is_quadratic : bool
        Whether the objective is the quadratic that has this gradient; if not, pos and neg hold at this point alone, and
        only moves that need their ratio may use them.
    tasks : ndarray of int64
        Task table of the moves of this factor: equal rows, unless a term sets a table of equal costs.
    """

    def __init__(self, tasks):
        self._equal_rows = tasks
        self.clear()

    def clear(self):
        """Forget all contributions."""
        self.gram = self.pos = self.neg = self.weight = self.group = None
        self.tasks = self._equal_rows
        self.is_quadratic = True

    def add(self, *, gram=None, pos=None, neg=None):
        """Add contributions to the half-gradient."""
        self.gram = gram if self.gram is None else self.gram if gram is None else self.gram + gram
        self.pos = pos if self.pos is None else self.pos if pos is None else full(self.pos) + full(pos)
        self.neg = neg if self.neg is None else self.neg if neg is None else full(self.neg) + full(neg)

    def mixtures(self, width, dtype):
        """Return pos and neg as the row kernels take them; None is a `Mixture` of no rows."""
        return tuple(
            side if isinstance(side, Mixture) else Mixture.of(np.empty((0, width), dtype) if side is None else side)
            for side in (self.pos, self.neg)
        )

    def gradient(self, F):
        """Return the half-gradient at F, an array of F's shape."""
        pull = 0.0 if self.weight is None else F * self.weight[self.group]
        pull = pull if self.gram is None else F @ self.gram
        return pull + (0.0 if self.neg is None else full(self.neg)) - full(self.pos)


class Term(Protocol):
    """What the data are compared with: a part of the objective that sees all factors."""

    def contribute(self, name: str, factors: Factors, sub: Subproblem) -> None:
        """Add this term's part of the half-gradient with respect to factor `name`."""

    def value(self, factors: Factors) -> float:
        """Return this term's part of the objective at `factors`."""


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
    subproblems: dict = field(default_factory=dict)

    def __post_init__(self):
        self.subproblems = {name: Subproblem(tasks) for name, tasks in self.tasks.items()}

    def subproblem(self, name, factors):
        """Return the subproblem of factor `name` at `factors`."""
        sub = self.subproblems[name]
        sub.clear()
        for term in self.terms:
            term.contribute(name, factors, sub)
        return sub

    def release(self):
        """Let go of the terms and their buffers; the problem cannot be used any more."""
        self.terms, self.direct, self.subproblems = [], None, {}

    def value(self, factors, **instead):
        """Return the objective at `factors`, at least 0; `instead` goes to the terms.

        The terms' cheap values subtract numbers of the size of `scale`; below ``digits * scale`` the residual is
        evaluated instead (relative error of the cheap value: about machine epsilon * scale / value).
        """
        value = sum(term.value(factors, **instead) for term in self.terms)
        if self.direct is not None and value < self.digits * self.scale:
            value = self.direct(factors, **instead)
        return max(value, 0.0)
