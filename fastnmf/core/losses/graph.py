"""Graph regularisation: rows of a factor that are neighbours in a graph are pulled towards each other.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from fastnmf.core.losses.divergence_mixture import Part
from fastnmf.core.problem import full
from fastnmf.data.layout import Compressed
from fastnmf.kernels import graph as kernels
from fastnmf.kernels import records


class Neighbours(NamedTuple):
    """The coupling of the rows of a factor, as `fastnmf.core.updates.GraphHALS` takes it.

    Attributes
    ----------
    classes : list of ndarray of int64
        Row numbers, in groups without neighbours among themselves.
    graph : fastnmf.kernels.records.Graph
        Without self-loops.
    """

    classes: list
    graph: records.Graph

    def pull(self, F):
        """Return the contribution to the half-gradient at F (p, K), an array of its shape."""
        indptr, indices, weight, degree, scale = self.graph
        return scale * (degree[:, None] * F - sp.csr_array((weight, indices, indptr), (len(F), len(F))) @ F)


class Graph:
    """``unit / 2 weight sum_k s_k f_kᵀ L f_k``: a penalty on differences between neighbouring rows of the factor F.

    L = D - A is the Laplacian of the affinities A, and ``f_kᵀ L f_k = 1/2 sum_ij A_ij (F_ik - F_jk)²``. With scale
    invariance (`is_scale_invariant`), s_k is the squared length of column k of the other factor G; F then counts as if
    the columns of G had length one, and rescaling a component changes nothing. Without it s_k = 1, and the loss
    vanishes as F shrinks and G grows.

    Half-gradients: ``weight L F diag(s)`` of F; with scale invariance also ``G diag(weight f_kᵀ L f_k)`` of G, a ridge
    that differs by column. Cost: O(nnz(A) K). The form in which the half-gradient of F is given depends on the update
    (`way`):

    - ``"descent"``: as `Neighbours`, for exact coordinate descent;
    - ``"ratio"``: pos ``weight A F diag(s)`` and neg ``weight D F diag(s)`` (Cai, He, Han and Huang 2011, eq. 14 and
      15). As L <= 2 D, the step is at most twice the step to the minimum of a parabola above the squared error and the
      penalty, so the objective does not increase. This does not hold for divergences;
    - ``"joint"``: as a `Part` with beta = 2, pos ``weight (D + A) F diag(s)`` and neg ``2 weight D F diag(s)``, which
      is the parabola itself. With `fastnmf.core.updates.JointMU` the sum with a divergence is monotone.

    Parameters
    ----------
    name : {"W", "H"}
        The factor whose rows are the nodes.
    affinity : csr_array (p, p)
        Symmetric, >= 0.
    weight : float
        Weight of the penalty beside the data in their inner scale.
    dtype : numpy.dtype
        Dtype of the factors.
    way : {"descent", "ratio", "joint"}
        Form of the half-gradient of F.
    is_scale_invariant : bool, default=True
        Whether the penalty is invariant to the scale of the components.
    unit : {1, 2}, default=2
        2 beside the squared error, 1 beside a divergence.
    """

    def __init__(self, name, affinity, weight, dtype, *, way, is_scale_invariant=True, unit=2):
        self.name, self.other, self.weight = name, "H" if name == "W" else "W", float(weight)
        self.way, self.is_scale_invariant, self.unit, self.dtype = way, is_scale_invariant, unit, dtype
        self.touches = ("W", "H") if is_scale_invariant else (name,)
        self.affinity = without_loops(affinity) if way == "descent" else affinity

    @cached_property
    def edges(self):
        """Hold the graph as `Compressed`."""
        return compressed(self.affinity, self.dtype)

    @cached_property
    def _edges_once(self):
        """Hold the upper triangle of the graph, each edge once, as `Compressed`."""
        return compressed(sp.triu(self.affinity, 1, format="csr"), self.dtype)

    @cached_property
    def degree(self):
        """Hold the sum of the affinities of each node, an array (p,)."""
        return np.asarray(self.affinity.sum(axis=1), dtype=self.dtype).ravel()

    @cached_property
    def classes(self):
        """Hold the nodes in groups without neighbours among themselves."""
        return colour_classes(self.edges)

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W or H."""
        if name != self.name:
            self._ridge(factors, sub)
            return
        F, scale = factors[name], (self.weight * self.scales(factors)).astype(self.dtype)
        if self.way == "descent":
            sub.neighbours = Neighbours(self.classes, records.Graph(*self.edges.csr, self.degree, scale))
            return
        near, own = self._near(factors) * scale, self.degree[:, None] * F * scale
        if self.way == "ratio":
            sub.add(pos=near, neg=own)
        else:
            _join(sub, near + own, 2 * own)

    def _ridge(self, factors, sub):
        """Add the half-gradient of the other factor G."""
        ridge = self.weight * self.roughness(factors)
        if self.way == "joint":
            F = factors[self.other]
            _join(sub, np.zeros_like(F), F * ridge.astype(F.dtype))
        else:
            sub.add(ridge=ridge)

    def value(self, factors):
        """Return the penalty."""
        return self.unit / 2 * self.weight * float(self.roughness(factors) @ self.scales(factors))

    def scales(self, factors):
        """Return s, float64 (K,)."""
        G = factors[self.other]
        if not self.is_scale_invariant:
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
            kernels.rows_roughness(tasks, edges.csr, F, F, parts)
            return parts.sum(axis=0)

        return factors.cached(("roughness", self.name), (self.name,), compute)

    def _near(self, factors):
        """Return ``A F``, an array (p, K)."""

        def compute():
            near = np.empty_like(factors[self.name])
            self.edges.matmul(factors[self.name], near)
            return near

        return factors.cached(("near", self.name), (self.name,), compute)


class NeighbourPull:
    """``sum own F² / 2 - pull F``: a penalty that pulls rows towards fixed other rows, beside a divergence.

    It is a `Part` with beta = 2 for `JointMU`: pos `pull`, neg ``own F``. Cost: O(p k).

    Parameters
    ----------
    pull, own : ndarray (p, k)
        ``s_k sum_j a_ij g_jk`` over the fixed rows g_j, and ``s_k sum_j a_ij``.
    """

    def __init__(self, pull, own):
        self.pull, self.own = pull, own

    def contribute(self, F, sub, rank):
        """Add the half-gradient at F (p, K)."""
        pos, neg = np.zeros_like(F), np.zeros_like(F)
        pos[:, :rank], neg[:, :rank] = self.pull, self.own * F[:, :rank]
        _join(sub, pos, neg)

    def value(self, F):
        """Return the penalty."""
        F = F[:, : self.own.shape[1]].astype(np.float64)
        return float(np.sum(self.own * F * F / 2 - self.pull * F))


def _join(sub, pos, neg):
    """Add pos and neg (p, K) to the part with beta = 2 in ``sub.parts``, for `JointMU`."""
    sub.is_quadratic = False
    if sub.parts is None:
        sub.parts = [Part(1.0, full(sub.pos), full(sub.neg)), Part(2.0, pos, neg)]
    else:
        first, second = sub.parts
        sub.parts = [first, Part(2.0, second.pos + pos, second.neg + neg)]


def without_loops(affinity):
    """Return a CSR array without its diagonal: a self-loop adds nothing to the penalty."""
    rest = affinity - sp.diags_array(affinity.diagonal()) if affinity.diagonal().any() else affinity
    rest.eliminate_zeros()
    return sp.csr_array(rest)


def compressed(affinity, dtype):
    """Return a CSR array as `Compressed` in the dtype of the factors."""
    return Compressed(affinity.indptr, affinity.indices, affinity.data.astype(dtype))


def colour_classes(edges):
    """Return the nodes of a graph in groups without neighbours among themselves, as a list of int64 arrays.

    Greedy colouring, nodes of many neighbours first (Welsh and Powell 1967): a handful of groups for graphs of nearest
    neighbours.
    """
    n = len(edges.indptr) - 1
    visits, colours = np.argsort(-np.diff(edges.indptr), kind="stable"), np.full(n, -1, np.int32)
    kernels.nodes_colour(np.array([0, n]), edges.indptr, edges.indices, visits, colours)
    order = np.argsort(colours, kind="stable")
    return np.split(order, np.cumsum(np.bincount(colours))[:-1]) if n else []
