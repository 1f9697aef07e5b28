"""Algorithm 1 of Stratified-NMF as a careful NumPy user writes it: the second opponent in the benchmarks.

The strata are one CSR with row pointers instead of a list; everything that does not change is formed before
the loop and every product once an iteration, into arrays that are kept. Factors are tall inside, so that
SciPy's sparse products read contiguous rows. V stays dense (S, n), as in the paper. The results are those of
`paper_loop`.
"""

import numpy as np
from scipy import sparse


def stacked_loop(X, start, V, W, H, iterations, order="sequential", eps=1e-9):
    """Run the multiplicative updates on stacked strata.

    Parameters
    ----------
    X : (m, n) array or CSR, the rows of stratum i being start[i] to start[i + 1]
    start : (S + 1,) integers, 0 first, m last, no empty stratum
    V : (S, n), W : (m, r), H : (r, n)
    iterations : int
    order : "sequential" (H sees the new W) or "simultaneous" (the old one)
    eps : float, added to every denominator

    Returns
    -------
    V, W, H : new arrays of the shapes that came in
    """
    Xt = X.T.tocsr() if sparse.issparse(X) else np.ascontiguousarray(X.T)
    sizes = np.diff(start)
    stratum = np.repeat(np.arange(len(sizes)), sizes)
    sizes = sizes[:, None].astype(X.dtype)
    if sparse.issparse(X):
        member = sparse.csr_array((np.ones(len(stratum), X.dtype), (stratum, np.arange(len(stratum)))))
        column_sums = (member @ X).toarray()
    else:
        column_sums = np.add.reduceat(X, start[:-1], axis=0)

    V, W, tall = V.copy(), W.copy(), np.ascontiguousarray(H.T)
    below_v, buffer = np.empty_like(V), np.empty_like(V)
    for _ in range(iterations):
        weights = np.add.reduceat(W, start[:-1], axis=0)
        np.matmul(weights, tall.T, out=below_v)
        below_v += eps
        for _ in range(2):
            np.multiply(sizes, V, out=buffer)
            buffer += below_v
            np.divide(column_sums, buffer, out=buffer)
            V *= buffer

        new = X @ tall
        below = W @ (tall.T @ tall)
        below += (V @ tall)[stratum]
        below += eps
        new /= below
        new *= W

        used = W if order == "simultaneous" else new
        if used is new:
            weights = np.add.reduceat(new, start[:-1], axis=0)
        above = Xt @ used
        below = tall @ (used.T @ used)
        below += V.T @ weights
        below += eps
        above /= below
        tall *= above
        W = new
    return V, W, np.ascontiguousarray(tall.T)
