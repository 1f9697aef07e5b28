"""Find exact non-negative weights for fixed components.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np

from fastnmf.core.factors import aligned, row_tasks
from fastnmf.core.problem import Subproblem
from fastnmf.core.updates import HALS, ActiveSet
from fastnmf.kernels import rows
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.records import LazyRows

GUESS_SWEEPS = 5  # sweeps of coordinate descent that guess the supports of the exact solutions


def infer(strata, rank, H, V, product=None, penalties=()):
    """Return the exact non-negative weights of every row for fixed H and V: ``min_{w >= 0} ||a - v - H w||``.

    The rows are independent, so a row gets the same weights in fit and in transform.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    rank : int
        Columns of H in use.
    H : ndarray (n_columns, K)
        Padded, in the inner scale of the data.
    V : ndarray (n_strata, n_columns), or None
        Shifts in the inner scale of the data.
    product : ndarray (n_rows, K), optional
        ``X H``, if it has been computed.
    penalties : sequence of Penalty
        Penalties of W.

    Returns
    -------
    W : ndarray (n_rows, K)
    sub : Subproblem
        The quadratic problem that W solves: gram (K, K), pos (n_rows, K), and neg, a row of which is shared by the rows
        of a stratum (times their row scale).
    """
    if product is None:
        product = aligned((strata.shape[0], H.shape[1]), strata.dtype)
        strata.matmul(H, product)
    W = aligned(product.shape, strata.dtype)
    sub = Subproblem(row_tasks(W))
    sub.add(gram=rows.gram(row_tasks(H), H), pos=product)
    if V is not None:
        with single_threaded_blas():
            below = V @ H
        if strata.row_scale is None:
            sub.add(neg=LazyRows.of(below, strata.stratum_index))
        else:
            sub.add(neg=LazyRows(np.arange(len(W) + 1), strata.stratum_index, strata.row_scale, below))
    for penalty in penalties:
        penalty.contribute(W, sub, rank)
    exact(W, sub, rank)
    return W, sub


def exact(F, sub, rank):
    """Replace F (p, K) in place by the exact non-negative minimiser of a quadratic subproblem.

    Parameters
    ----------
    F : ndarray (p, K)
        The start of the search for the supports.
    sub : Subproblem
    rank : int
        Columns of F in use.
    """
    HALS()(F, sub, rank, GUESS_SWEEPS)
    ActiveSet()(F, sub, rank)
