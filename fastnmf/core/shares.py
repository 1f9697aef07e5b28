"""Orders to the chunks of a fit, and the shares that come back, which add up in a fixed tree.

The bits of a sum depend on the number of chunks alone, and not on who computes it.
"""

import operator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass
class Order:
    """The arrays and numbers that one step takes from the driver; arrays are copies or never written again.

    Attributes
    ----------
    rank : int
    has_shifts : bool
    H : ndarray (n_columns, K), or None
    gram : ndarray (K, K) of float64, or None
        ``HᵀH``.
    below : ndarray (n_strata, K), or None
        ``V H``; None for models without shifts.
    v : ndarray (q,), or None
        The entries of the shifts on the pattern of all data; for Kullback-Leibler.
    own : fastnmf.core.own_chunks.OwnTerms, or None
        That the model has components of single strata, whose weights are columns of W.
    G : ndarray (q, 1 + w), or None
        The shifts and these components on the pattern of all data; gram and below are then those of each stratum.
    update : Update, or None
        The update of W.
    n_sweeps : int
    beta : float, or None
        Step of the extrapolation; None: there is none in this step.
    scale : ndarray (K,), or None
        The columns of W are multiplied by it first.
    fill : float
        Entries of W that are zero are set to it first.
    floor : ndarray (1,) of float64, or None
        Least model value of Kullback-Leibler, for all chunks alike.
    kept_as : {"first", "second"}, or None
        Where in the state W before the update is kept.
    ahead : float, or None
        W is extrapolated over a cycle by this step before the update.
    """

    rank: int
    has_shifts: bool = False
    H: np.ndarray | None = None
    gram: np.ndarray | None = None
    below: np.ndarray | None = None
    v: np.ndarray | None = None
    own: Any = None
    G: np.ndarray | None = None
    update: Any = None
    n_sweeps: int = 1
    beta: float | None = None
    scale: np.ndarray | None = None
    fill: float = 0.0
    floor: np.ndarray | None = None
    kept_as: str | None = None
    ahead: float | None = None

    @property
    def n_bytes(self):
        """Size of its arrays."""
        each = (getattr(self, name) for name in ("H", "gram", "below", "v", "G", "scale"))
        return sum(array.nbytes for array in each if array is not None)


@dataclass
class Share:
    """Sums over the rows of one chunk or several; all in float64, None where a step has none.

    Attributes
    ----------
    product : ndarray (n_columns, K), or None
        ``Xᵀ W``; for Kullback-Leibler ``pos`` of H.
    gram : ndarray (K, K), or None
        ``WᵀW``.
    sums : ndarray (n_strata, K), or None
        Sums of the rows of W by stratum, each times its row scale; with a design ``Zᵀ W``.
    totals : ndarray (K,), or None
        Sums of the rows of W.
    columns : ndarray (2, K), or None
        What the columns of W cost by its elastic net, as `ElasticNet.columns` returns it.
    of_shifts : ndarray (q,), or None
        ``pos`` of the shifts, for Kullback-Leibler.
    moments, entries : ndarray, or None
        Of weights of own components, see `fastnmf.core.own_chunks.OwnTerms`.
    sizes : ndarray (3,), or None
        See `fastnmf.core.squarem.sizes`.
    value : float
        A part of the objective.
    transferred : int
        Bytes that came to where the sums were computed, from other processes or from files.
    """

    product: np.ndarray | None = None
    gram: np.ndarray | None = None
    sums: np.ndarray | None = None
    totals: np.ndarray | None = None
    columns: np.ndarray | None = None
    of_shifts: np.ndarray | None = None
    moments: np.ndarray | None = None
    entries: np.ndarray | None = None
    sizes: np.ndarray | None = None
    value: float = 0.0
    transferred: int = 0

    _arrays = ("product", "gram", "sums", "totals", "columns", "of_shifts", "moments", "entries", "sizes")

    @property
    def n_bytes(self):
        """Size of its arrays."""
        return sum(array.nbytes for name in self._arrays if (array := getattr(self, name)) is not None)

    def __sizeof__(self):  # by which an engine decides what to move
        return 1000 + self.n_bytes

    def __setstate__(self, state):  # it has come from another process
        vars(self).update(state)
        self.transferred += self.n_bytes

    def add(self, other, plus=operator.iadd):
        """Add the sums of another share, its arrays in place unless ``plus(own, more)`` says else; return this one."""
        for name in self._arrays:
            own, more = getattr(self, name), getattr(other, name)
            if own is None or more is None:
                setattr(self, name, more if own is None else own)
            else:
                setattr(self, name, plus(own, more))
        self.value, self.transferred = self.value + other.value, self.transferred + other.transferred
        return self


def chunk_pairs(n_chunks):
    """Return the fixed tree in which shares add up: the number of a chunk, or a pair of such trees."""
    stack = []  # (height, tree): whole subtrees, from left to right, as few as possible
    for chunk in range(n_chunks):
        tree, height = chunk, 0
        while stack and stack[-1][0] == height:
            tree, height = (stack.pop()[1], tree), height + 1
        stack.append((height, tree))
    tree = stack.pop()[1]
    while stack:
        tree = (stack.pop()[1], tree)
    return tree


def summed(tree, share_of, plus=None, is_backwards=False):
    """Return the sum over a tree of pairs, as few terms at a time as possible.

    Parameters
    ----------
    tree : tuple, or a leaf
    share_of : callable
        ``share_of(leaf)`` returns a share or a summary; it is called for one leaf after the other.
    plus : callable, optional
        ``plus(left, right)`` returns the sum of two. Without it the arrays of the left one are overwritten.
    is_backwards : bool, default=False
        Whether the last leaf comes first; the bits of the sum are the same.
    """
    if not isinstance(tree, tuple):
        return share_of(tree)
    each = [summed(term, share_of, plus, is_backwards) for term in (reversed(tree) if is_backwards else tree)]
    left, right = reversed(each) if is_backwards else each
    return left.add(right) if plus is None else plus(left, right)


def added(left, right):
    """Return the sum of two shares or summaries, neither of which is changed."""
    return replace(left).add(right, operator.add)
