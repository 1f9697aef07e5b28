"""Updates of shifts whose entries of one column meet, because a row of the data has several of them."""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.updates.multiplicative import MU, limits_of
from fastnmf.kernels import chain, designs


class PatternHALS:
    """Exact coordinate descent over the shifts V (m, q) of a design: ``V_s <- max(0, V_s + slope_s / gram_ss)``.

    The columns s of V follow one another. Rows of V are independent, so the kernel makes all sweeps of a row at once.
    Monotone. Where the Gram matrix is diagonal, as for strata with an exposure, the first sweep is exact.

    Parameters
    ----------
    n_sweeps : int, default=2
        Sweeps in one update: a single one leaves the levels of crossed factors behind the components.
    """

    needs = ("quadratic", "pattern")

    def __init__(self, n_sweeps=2):
        self.n_sweeps = n_sweeps

    def __call__(self, F, sub, rank, n_sweeps):
        """Update the entries of V.

        Parameters
        ----------
        F : ndarray (q,) of float32 or float64
            The entries of V on ``sub.pattern``; overwritten.
        sub : fastnmf.core.problem.Subproblem
            ``pattern``, ``gram`` and perhaps ``roughness``, ``pos`` and ``neg``.
        rank : int
            Not used.
        n_sweeps : int
            Times that the sweeps of an update are made.

        Returns
        -------
        own, crossed : float
            ``<v, V gram - 2 pos>`` without the parts of penalties, and ``<v, neg>``.
        """
        neg = sub.neg + F.dtype.type(sub.linear) if sub.linear else sub.neg
        found = designs.descend(sub.pattern.as_csr(F), whole_gram(sub), sub.pos, neg, self.n_sweeps * n_sweeps)
        return without_penalties(F, sub, *found, has_linear=True)


class PatternMU(MU):
    """The multiplicative update of the shifts of a design: ``V <- V * (pos + V L) / (V G + neg + eps)``.

    The Gram matrix with its roughness is ``G - L`` with G and L >= 0 in all entries (Lee and Seung 2001; Cai, He, Han
    and Huang 2011 for L). All entries of a row of V change at once. Monotone.

    Parameters
    ----------
    eps, floor, norm : float
        As for `MU`.
    """

    needs = ("quadratic", "pattern")

    def __call__(self, F, sub, rank, n_sweeps):
        """Update the entries of V by `n_sweeps` multiplicative updates; F, sub and the result as for `PatternHALS`.

        Parameters
        ----------
        F : ndarray (q,) of float32 or float64
        sub : fastnmf.core.problem.Subproblem
        rank : int
            Not used.
        n_sweeps : int
        """
        gram, V = whole_gram(sub), sub.pattern.as_csr(F)
        eps = self.eps_for(float(gram.trace()) / max(gram.shape[0], 1), len(F), 1)
        limits, tasks = limits_of(F.dtype, eps + sub.linear, self.floor), designs.column_tasks(V, gram)
        parts = np.empty((len(tasks) - 1, 2))
        designs.pattern_mu(tasks, V, designs.as_record(gram), sub.pos, sub.neg, limits, n_sweeps, parts)
        return without_penalties(F, sub, *parts.sum(axis=0).tolist())


class LinkedLevels:
    """Exact minimisation over the linked levels of each factor, which another update of the shifts follows.

    For one column of the data, the levels of a factor that a smoothness penalty links have a tridiagonal system, solved
    over V >= 0 by an active-set method, as the columns of `ChainDescent`. Updates of one entry after another, and
    multiplicative ones, change strongly linked levels by tiny steps, so that a fit would need thousands of iterations.
    Monotone. O(q + nnz(gram)) for each column.

    Parameters
    ----------
    update : PatternHALS or PatternMU
        Takes the entries that are not linked, and returns the inner products.
    """

    needs = ("quadratic", "pattern")

    def __init__(self, update):
        self.update = update

    def __call__(self, F, sub, rank, n_sweeps):
        """Update the entries of V; F, sub and the result as for `PatternHALS`.

        Parameters
        ----------
        F : ndarray (q,) of float32 or float64
        sub : fastnmf.core.problem.Subproblem
            ``roughness`` links successive levels.
        rank : int
            Not used.
        n_sweeps : int
            Sweeps of the update that follows.
        """
        V, gram = sub.pattern.as_csr(F), sub.gram
        link = np.zeros(gram.shape[0])
        link[:-1] = -sub.roughness.diagonal(1)
        neg = sub.neg + F.dtype.type(sub.linear) if sub.linear else sub.neg
        tasks = designs.column_tasks(V, gram)
        chain.levels_step(tasks, V, designs.as_record(gram), float(sub.ridge), link, sub.pos, neg)
        return self.update(F, sub, rank, n_sweeps)


def whole_gram(sub):
    """Return the Gram matrix with its roughness and its ridge, a csr_array (q, q) of float64."""
    gram = sub.gram if sub.roughness is None else sub.gram + sub.roughness
    return sp.csr_array(gram + sub.ridge * sp.eye_array(gram.shape[0])) if sub.ridge else gram


def without_penalties(F, sub, own, crossed, *, has_linear=False):
    """Return ``<v, V gram - 2 pos>`` and ``<v, neg>`` without the parts of penalties.

    Parameters
    ----------
    F : ndarray (q,)
    sub : fastnmf.core.problem.Subproblem
    own, crossed : float
        The same with them.
    has_linear : bool, default=False
        Whether `crossed` holds the linear part of a penalty.
    """
    if sub.roughness is not None:
        own -= designs.quadratic_form(sub.pattern.as_csr(F), sub.roughness)
    if sub.ridge:
        own -= sub.ridge * float(np.einsum("i,i->", F, F, dtype=np.float64))
    if has_linear and sub.linear:
        crossed -= float(F.dtype.type(sub.linear)) * float(F.sum(dtype=np.float64))
    return own, crossed
