"""Rows of a factor that are the nodes of a graph: neighbours are to be alike."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from fastnmf.kernels import graph as kernels
from fastnmf.kernels import nnls
from fastnmf.kernels.jit import split_rows
from fastnmf.layout import Compressed
from fastnmf.problem import full
from fastnmf.terms.several import Part

BLOCK = 1 << 21  # entries of Gram matrices at a time: 16 MB
GUESS_SWEEPS = 8  # of coordinate descent, to guess the supports of exact solutions


class Neighbours(NamedTuple):
    """What couples the rows of a factor, for `fastnmf.moves.GraphHALS`.

    Attributes
    ----------
    classes : list of ndarray of int64
        The rows, in groups without neighbours among themselves.
    indptr, indices, weight : ndarray
        The graph as CSR, without loops.
    degree : ndarray (p,)
        Sums of the weights of the rows.
    scale : ndarray (K,)
        What a difference in each column counts.
    """

    classes: list
    indptr: np.ndarray
    indices: np.ndarray
    weight: np.ndarray
    degree: np.ndarray
    scale: np.ndarray

    def pull(self, F):
        """Return what this adds to the half-gradient at F (p, K), an array of its shape."""
        A = sp.csr_array((self.weight, self.indices, self.indptr), (len(F), len(F)))
        return self.scale * (self.degree[:, None] * F - A @ F)


class Graph:
    """``unit / 2 weight sum_k s_k f_kᵀ L f_k``: rows of the factor F that are neighbours are alike.

    L = D - A is the Laplacian of the affinities A, ``f_kᵀ L f_k = 1/2 sum_ij A_ij (F_ik - F_jk)²``. With the anchor s_k
    is the squared length of column k of the other factor G, so that F counts as if the columns of G had length one, and
    rescaling a component changes nothing; without it s_k = 1, and the term vanishes as F shrinks and G grows.

    Half-gradients: ``weight L F diag(s)`` of F, and with the anchor ``G diag(weight f_kᵀ L f_k)`` of G, a ridge that
    differs by column. O(nnz(A) K). How that of F is handed over depends on the move:

    - ``"descent"``: as `Neighbours`, for exact coordinate descent;
    - ``"ratio"``: pos ``weight A F diag(s)`` and neg ``weight D F diag(s)`` (Cai, He, Han and Huang 2011, eq. 14 and
      15). As L <= 2 D, the step is at most twice the one to the least point of a parabola above the squared error and
      the penalty: the objective does not rise. For divergences that is not so;
    - ``"joint"``: as a `Part` with beta = 2, pos ``weight (D + A) F diag(s)`` and neg ``2 weight D F diag(s)``, which
      is the parabola itself. With `fastnmf.moves.JointMU` the sum with a divergence never rises.

    Parameters
    ----------
    name : {"W", "H"}
        Which factor's rows are the nodes.
    affinity : csr_array (p, p)
        Symmetric, >= 0.
    weight : float
        In the inner scale of the data.
    dtype : numpy.dtype
        Of the factors.
    way : {"descent", "ratio", "joint"}
    is_anchored : bool
    unit : {1, 2}
        2 beside the squared error, 1 beside a divergence.
    """

    def __init__(self, name, affinity, weight, dtype, *, way, is_anchored=True, unit=2):
        self.name, self.other, self.weight = name, "H" if name == "W" else "W", float(weight)
        self.way, self.is_anchored, self.unit, self.dtype = way, is_anchored, unit, dtype
        self.touches = ("W", "H") if is_anchored else (name,)
        self.affinity = without_loops(affinity) if way == "descent" else affinity

    @cached_property
    def edges(self):
        """The graph as `Compressed`."""
        return compressed(self.affinity, self.dtype)

    @cached_property
    def _edges_once(self):
        return compressed(sp.triu(self.affinity, 1, format="csr"), self.dtype)

    @cached_property
    def degree(self):
        """Sums of the affinities of each node (p,)."""
        return np.asarray(self.affinity.sum(axis=1), dtype=self.dtype).ravel()

    @cached_property
    def classes(self):
        """The nodes, in groups without neighbours among themselves."""
        return colour_classes(self.edges)

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W or H."""
        if name != self.name:
            self._ridge(factors, sub)
            return
        F, scale = factors[name], (self.weight * self.scales(factors)).astype(self.dtype)
        if self.way == "descent":
            edges = self.edges
            sub.local = Neighbours(self.classes, edges.indptr, edges.indices, edges.data, self.degree, scale)
            return
        near, own = self._near(factors) * scale, self.degree[:, None] * F * scale
        if self.way == "ratio":
            sub.add(pos=near, neg=own)
        else:
            _join(sub, near + own, 2 * own)

    def _ridge(self, factors, sub):
        ridge = self.weight * self.roughness(factors)
        if self.way == "joint":
            F = factors[self.other]
            _join(sub, np.zeros_like(F), F * ridge.astype(F.dtype))
        else:
            sub.add(lift=ridge)

    def value(self, factors):
        """Return this term's part of the objective."""
        return self.unit / 2 * self.weight * float(self.roughness(factors) @ self.scales(factors))

    def scales(self, factors):
        """Return s, float64 (K,)."""
        G = factors[self.other]
        if not self.is_anchored:
            return np.ones(G.shape[1])

        def compute():
            return np.einsum("ij,ij->j", G, G, dtype=np.float64)

        return factors.cached(("squares", self.other), (self.other,), compute)

    def roughness(self, factors):
        """Return ``f_kᵀ L f_k`` of every column, float64 (K,)."""

        def compute():
            F, edges = factors[self.name], self._edges_once
            tasks = edges.tasks(F.shape[1])
            parts = np.empty((len(tasks) - 1, F.shape[1]))
            kernels.rows_roughness(tasks, edges.indptr, edges.indices, edges.data, F, F, parts)
            return parts.sum(axis=0)

        return factors.cached(("roughness", self.name), (self.name,), compute)

    def _near(self, factors):
        def compute():
            near = np.empty_like(factors[self.name])
            self.edges.matmul(factors[self.name], near)
            return near

        return factors.cached(("near", self.name), (self.name,), compute)


class Drawn:
    """``sum own F² / 2 - pull F``: rows are drawn to others that stay, beside a divergence.

    A `Part` with beta = 2 for `JointMU`: pos `pull`, neg ``own F``; O(p k).

    Parameters
    ----------
    pull, own : ndarray (p, k)
        ``s_k sum_j a_ij g_jk`` of the others' rows g_j and ``s_k sum_j a_ij``.
    """

    def __init__(self, pull, own):
        self.pull, self.own = pull, own

    def contribute(self, F, sub, rank):
        """Add the part of the half-gradient."""
        pos, neg = np.zeros_like(F), np.zeros_like(F)
        pos[:, :rank], neg[:, :rank] = self.pull, self.own * F[:, :rank]
        _join(sub, pos, neg)

    def value(self, F):
        """Return the penalty."""
        F = F[:, : self.own.shape[1]].astype(np.float64)
        return float(np.sum(self.own * F * F / 2 - self.pull * F))


def _join(sub, pos, neg):
    """Add a part of beta = 2 to the divergence's own, for `JointMU`."""
    sub.is_quadratic = False
    if sub.local is None:
        sub.local = [Part(1.0, full(sub.pos), full(sub.neg)), Part(2.0, pos, neg)]
    else:
        first, second = sub.local
        sub.local = [first, Part(2.0, second.pos + pos, second.neg + neg)]


def without_loops(affinity):
    """Return a CSR array without its diagonal, which says nothing about neighbours."""
    rest = affinity - sp.diags_array(affinity.diagonal()) if affinity.diagonal().any() else affinity
    rest.eliminate_zeros()
    return sp.csr_array(rest)


def compressed(affinity, dtype):
    """Return a CSR array as `Compressed` in the dtype of the factors."""
    return Compressed(affinity.indptr, affinity.indices, affinity.data.astype(dtype))


def colour_classes(edges):
    """Return the nodes of a graph in groups without neighbours among themselves, as a list of int64 arrays.

    Greedy, nodes of many neighbours first (Welsh and Powell 1967): a handful of groups for graphs of near neighbours.
    """
    n = len(edges.indptr) - 1
    visits, colours = np.argsort(-np.diff(edges.indptr), kind="stable"), np.full(n, -1, np.int32)
    kernels.nodes_colour(np.array([0, n]), edges.indptr, edges.indices, visits, colours)
    order = np.argsort(colours, kind="stable")
    return np.split(order, np.cumsum(np.bincount(colours))[:-1]) if n else []


def infer_near(pos, gram, rank, pull, own, dtype):
    """Return the exact weights of rows that are drawn to others, (n, K).

    Row i minimises ``w gram wᵀ - 2 pos_i w + sum_k (own_ik w_k² - 2 pull_ik w_k)`` over w >= 0.

    Parameters
    ----------
    pos : ndarray (n, K)
    gram : ndarray (K, K)
    rank : int
        Columns in use.
    pull, own : ndarray (n, k)
        As for `Drawn`.
    dtype : numpy.dtype
    """
    W, at, step = np.zeros(pos.shape, dtype), np.arange(rank), max(1, BLOCK // rank**2)
    for first in range(0, len(W), step):
        part = slice(first, min(first + step, len(W)))
        n = part.stop - first
        grams = np.repeat(gram[None, :rank, :rank], n, axis=0)
        grams[:, at, at] += own[part]
        right = np.ascontiguousarray(pos[part, :rank] + pull[part], dtype=np.float64)
        nnls.rows_nnls_weighted(split_rows(n, pos.shape[1] ** 2), W, first, grams, right, GUESS_SWEEPS)
    return W
