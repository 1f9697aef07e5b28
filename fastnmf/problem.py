"""The currency of the house: Factors, Subproblem, Problem, and what a Term and a Move must be able to do.

With all factors but one (F) held fixed, every alternating method for NMF needs the half-gradient of the objective

    grad = F gram + neg - pos          gram (K, K);  pos, neg (p, K) >= 0

or, where the entries of F do not meet (the shifts of strata), ``grad = weight F + neg - pos`` entry by entry. That
record is a `Subproblem`. Terms and penalties add to it, a move consumes it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

ALIGNMENT = 64


def aligned(shape, dtype):
    """Return a zeroed C-order array that starts on a cache line: the vector loads of the gathers split fewer lines."""
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(n_bytes + ALIGNMENT, dtype=np.uint8)
    offset = -raw.ctypes.data % ALIGNMENT
    return raw[offset : offset + n_bytes].view(dtype).reshape(shape)


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

    def has(self, key, names):
        """Tell whether ``cached(key, names, ...)`` would return without computing."""
        known = self._known.get(key)
        return known is not None and known[0] == tuple(self._version[name] for name in names)


class Subproblem:
    """What one move needs to know. `add` is additive: terms, penalties and chunks of data may all contribute.

    Attributes
    ----------
    gram : ndarray (K, K) of float64, or None where the entries do not meet
    pos, neg : ndarray of the factor's shape, or None
        The first contribution is held by reference and never written to; a second one makes a copy.
    weight, group : ndarray (G,), ndarray of the factor's length
        For entries that do not meet: the curvature of entry p is ``weight[group[p]]``.
    tasks : ndarray of int64
        Task table of the row kernels over this factor.
    """

    def __init__(self, tasks):
        self.tasks = tasks
        self.clear()

    def clear(self):
        """Forget all contributions."""
        self.gram = self.pos = self.neg = self.weight = self.group = None

    def add(self, *, gram=None, pos=None, neg=None):
        """Add contributions to the half-gradient."""
        for name, part in (("gram", gram), ("pos", pos), ("neg", neg)):
            if part is not None:
                mine = getattr(self, name)
                setattr(self, name, part if mine is None else mine + part)

    def gradient(self, F):
        """Return the half-gradient at F, an array of F's shape."""
        pull = F * self.weight[self.group] if self.gram is None else F @ self.gram
        return pull + (0 if self.neg is None else self.neg) - self.pos


class Term(Protocol):
    """What the data are compared with: a part of the objective that sees all factors."""

    def contribute(self, name: str, factors: Factors, sub: Subproblem) -> None:
        """Add this term's part of the half-gradient with respect to factor `name`."""

    def value(self, factors: Factors) -> float:
        """Return this term's part of the objective at `factors`."""


class Move(Protocol):
    """How a factor moves: consumes a subproblem, changes F in place."""

    def __call__(self, F: np.ndarray, sub: Subproblem, rank: int, n_sweeps: int) -> None: ...


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
    """

    terms: list
    moves: dict
    schedule: tuple
    tasks: dict
    scale: float
    digits: float = 0.0
    direct: Callable | None = None
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

    def value(self, factors, **instead):
        """Return the objective at `factors`, at least 0; `instead` goes to the terms.

        The terms' cheap values subtract numbers of the size of `scale`; below ``digits * scale`` the residual is
        evaluated instead (relative error of the cheap value: about machine epsilon * scale / value).
        """
        value = sum(term.value(factors, **instead) for term in self.terms)
        if self.direct is not None and value < self.digits * self.scale:
            value = self.direct(factors, **instead)
        return max(value, 0.0)
