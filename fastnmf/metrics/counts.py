"""Measure how well a factorization explains counts: the negative-binomial likelihood."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.special import betaln, gammaln

from fastnmf.data.sentences import shown
from fastnmf.data.shifts import rows_of
from fastnmf.metrics.checks import fitting
from fastnmf.typing import Dense, Labels, Matrix, SparseOrDense, Vector

_CHUNK_ENTRIES = 2**20  # entries of a dense row chunk: 8 MB


def negative_binomial_nll(
    X: Matrix,
    W: Dense,
    H: Dense,
    V: SparseOrDense | Vector | None = None,
    strata: Labels | None = None,
    *,
    dispersion: float | Vector = 0.0,
) -> float:
    """Return the negative log-likelihood of counts X with the means ``v(i) + W(i) H``.

    Parameters
    ----------
    X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
        Counts >= 0, rows in any order. If X is sparse, only one chunk of rows at a time becomes dense.
    W : array-like of shape (n_samples, n_components)
        Weights, in the row order of X.
    H : array-like of shape (n_components, n_features)
        Components.
    V : array-like or sparse matrix of shape (n_strata, n_features), default=None
        Shifts, rows in the sorted order of the labels. None: no shifts.
    strata : array-like of shape (n_samples,), default=None
        Label of each row. None: all rows are one stratum. Ignored where V is None.
    dispersion : float or array-like of shape (n_features,), default=0.0
        The variance of a count with mean y is ``y + dispersion * y²``: the negative binomial distribution, for 0 the
        Poisson distribution.

    Returns
    -------
    nll : float
        The sum over all entries, with all constants, in nats; inf where a count is positive and its mean zero. Smaller
        is better; values of different models and dispersions can be compared for the same X.

    Raises
    ------
    ValueError
        If the shapes do not fit together, V does not have one row for each label, or X, a mean or the dispersion is
        negative.

    Notes
    -----
    With the size t, 1 over the dispersion, the probability of a count x is
    ``Γ(x + t) / (Γ(t) x!) (t / (t + y))^t (y / (t + y))^x``. The cost is O(n m k).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.metrics import negative_binomial_nll
    >>> X, W, H = np.array([[0.0, 2], [9, 4]]), np.array([[1.0], [4]]), np.array([[1.0, 1]])
    >>> [round(negative_binomial_nll(X, W, H, dispersion=d), 2) for d in (0, 0.5)]
    [8.65, 8.47]
    """
    X, W, H, V, stratum = fitting(X, W, H, V, strata)
    n, m = X.shape
    d = np.asarray(dispersion, dtype=np.float64)
    if d.ndim > 1 or d.ndim == 1 and d.shape != (m,) or not np.isfinite(d).all() or (d < 0).any():
        raise ValueError(f"dispersion={shown(dispersion)} is not valid; expected a number >= 0, or {m}, one a feature.")
    d = np.broadcast_to(d, (m,))
    values = X.data if sparse.issparse(X) else X
    V_values = V.data if sparse.issparse(V) else V
    if any(part.size and not part.min() >= 0 for part in (values, W, H, V_values)):
        raise ValueError("X, W, H or V has negative entries or NaN; counts and their means are >= 0.")
    step, total = max(1, _CHUNK_ENTRIES // m), 0.0
    is_poisson = d == 0
    t = np.divide(1.0, d, out=np.ones(m), where=~is_poisson)
    for first in range(0, n, step):
        part = slice(first, first + step)
        y = W[part] @ H + rows_of(V, stratum[part])
        total += float(np.where(is_poisson, y, t * np.log1p(y * d)).sum())
        if sparse.issparse(X):
            rows = X[part].tocoo()
            (i, j), x = rows.coords, rows.data.astype(np.float64)
            i, j, x = i[x > 0], j[x > 0], x[x > 0]
        else:
            i, j = np.nonzero(X[part])
            x = np.asarray(X[part][i, j], dtype=np.float64)
        y, size, plain = y[i, j], t[j], is_poisson[j]
        with np.errstate(divide="ignore"):
            of_poisson = gammaln(x + 1) - x * np.log(y)
            total += float(np.where(plain, of_poisson, np.log(x) + betaln(size, x) + x * np.log1p(size / y)).sum())
    return total
