"""Plain loops for extrapolated coordinate descent, from Ang and Gillis 2019; they import nothing of the package."""

import numpy as np
import oracles


def extrapolated_hals(X, W, H, n_iter, *, sweeps=(2, 2), order=None, extrapolates=True):
    """Update W (n, k), then H (m, k), `n_iter` times; return both before they are extrapolated, and the objectives.

    beta is 0.5 and at most its bound 1; after a decrease they grow by 1.01 and 1.005, after an increase the bound
    becomes beta, beta is divided by 1.5, and nothing is extrapolated until the objective falls.
    """
    W, H = W.astype(float), H.astype(float)
    order = np.arange(W.shape[1]) if order is None else np.asarray(order)
    beta, bound, is_on, last = 0.5, 1.0, False, {"W": W, "H": H}
    values = [np.sum((X - W @ H.T) ** 2)]

    def ahead(F, name):
        moved = np.maximum(0, F + beta * (F - last[name])) if is_on and extrapolates else F
        last[name] = F
        return moved

    def swept(F, G, data, n_sweeps):
        gram, pos = (G.T @ G)[np.ix_(order, order)], (data @ G)[:, order]
        out = F.copy()
        out[:, order] = oracles.rows_hals(F[:, order], gram, pos, 0 * pos, n_sweeps)
        return out

    for _ in range(n_iter):
        H = ahead(H, "H")
        W = ahead(swept(W, H, X, sweeps[0]), "W")
        H = swept(H, W, X.T, sweeps[1])
        values.append(np.sum((X - W @ H.T) ** 2))
        is_on = values[-1] <= values[-2]
        if is_on:
            bound = min(1.0, 1.005 * bound)
            beta = min(bound, 1.01 * beta)
        else:
            bound, beta, W = beta, beta / 1.5, last["W"]
    return W, H, np.array(values)
