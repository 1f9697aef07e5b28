"""Plain-loop and dense twins of the models of other shapes, written from the papers; nothing of ours is imported."""

from itertools import combinations

import numpy as np


def quartic_sweep(A, H):
    """Return H after one sweep of Vandaele et al. (2016), with roots from NumPy; A, H dense."""
    H, (n, k) = H.copy(), H.shape
    for i in range(n):
        for c in range(k):
            a, b = -A[i, i], 0.0
            for j in range(n):
                if j != i:
                    s = sum(H[i, e] * H[j, e] for e in range(k) if e != c)
                    a += H[j, c] ** 2
                    b -= H[j, c] * (A[i, j] - s)
            a += sum(H[i, e] ** 2 for e in range(k) if e != c)
            roots = np.roots([1.0, 0.0, a, b])
            real = [0.0, *(r.real for r in roots if abs(r.imag) < 1e-9 and r.real > 0)]
            H[i, c] = min(real, key=lambda x: x**4 / 4 + a * x**2 / 2 + b * x)
    return H


def same_partition(a, b):
    """Tell whether two labellings are the same up to names."""
    pairs = set(zip(a, b, strict=True))
    return len(pairs) == len(set(a)) == len(set(b))


def planted():
    """Draw the planted data of the fixed-seed cases: 60 columns in five clusters, noise of 0.02."""
    rng = np.random.default_rng(6)
    W = rng.random((50, 5))
    z = rng.integers(0, 5, 60)
    H = np.zeros((5, 60))
    H[z, np.arange(60)] = 0.5 + rng.random(60)
    return W @ H + 0.02 * rng.random((50, 60)), z


def matched(A, B):
    """Return the least cosine between the rows of A and those of B that they are matched with, greedily."""
    cosines = (A / np.linalg.norm(A, axis=1)[:, None]) @ (B / np.linalg.norm(B, axis=1)[:, None]).T
    least = 1.0
    for _ in range(len(A)):
        i, j = np.unravel_index(np.argmax(cosines), cosines.shape)
        least = min(least, cosines[i, j])
        cosines[i], cosines[:, j] = -np.inf, -np.inf
    return least


def after_planted():
    """Return the generator as `planted` leaves it."""
    rng = np.random.default_rng(6)
    rng.random((50, 5))
    rng.integers(0, 5, 60)
    rng.random(60)
    rng.random((50, 60))
    return rng


def assign(X, H):
    """Return W and H after one step of Pompili et al. (2014): assign, project, columns of length one, solve for H."""
    W = np.zeros((len(X), len(H)))
    for i, x in enumerate(X):
        gains = [x @ h / np.linalg.norm(h) for h in H]
        c = int(np.argmax(gains))
        W[i, c] = x @ H[c] / (H[c] @ H[c])
    for c in range(len(H)):
        W[:, c] /= np.linalg.norm(W[:, c])
    return W, np.array([sum(w * x for w, x in zip(W[:, c], X, strict=True)) for c in range(len(H))])


def projective_step(X, H):
    """Return H (k, n) after one update with the exponent 1/3 (Yang and Oja 2010)."""
    K = X.T @ X
    ratio = 2 * H @ K / (H @ K @ H.T @ H + H @ H.T @ H @ K + 1e-300)
    return H * np.cbrt(ratio)


def convex_step(K, W, C, *, exact=0, updates=1):
    """Return W and C after one iteration for the kernel K (Ding, Li, Jordan 2010).

    W by `exact` sweeps of coordinate descent, or one multiplicative update; then C by `updates` updates: the ratio
    itself for non-negative K, the square root of the paper's ratio otherwise.
    """
    W, C = W.copy(), C.copy()
    gram, pos = C.T @ K @ C, K @ C
    if exact == 0:
        W = W * pos / (W @ gram)
    for _ in range(exact):
        for c in range(W.shape[1]):
            W[:, c] = np.maximum(0, W[:, c] + (pos[:, c] - W @ gram[:, c]) / gram[c, c])
    plus, minus = np.maximum(K, 0), np.maximum(-K, 0)
    for _ in range(updates):
        if (K >= 0).all():
            C = C * (K @ W) / (K @ C @ W.T @ W)
        else:
            C = C * np.sqrt((plus @ W + minus @ C @ W.T @ W) / (minus @ W + plus @ C @ W.T @ W))
    return W, C


def mixture_sweeps(A, F, gram, B, *, sweeps, steps):
    """Return weights F (p, k) of the rows of A after exact steps over single entries, row by row.

    The objective is ``trace(gram Fᵀ A Aᵀ F) / 2 - <F, A B>``. Visited are the rows that have a weight or gain by one.
    """
    F, visited = F.copy(), []
    for i, a in enumerate(A):
        if F[i].any() or (a @ (A.T @ F @ gram - B) < 0).any():
            visited.append(i)
    for i in visited * sweeps:
        for _ in range(steps):
            for c in range(F.shape[1]):
                if A[i] @ A[i] * gram[c, c] > 0:
                    slope = A[i] @ (A.T @ F @ gram[:, c] - B[:, c])
                    F[i, c] = max(0, F[i, c] - slope / (A[i] @ A[i] * gram[c, c]))
    return F


def convex_descent_step(X, W, C, *, sweeps):
    """Return W and C after one iteration of coordinate descent for ``||X - W Cᵀ X||²``."""
    W = _sweeps(W, C.T @ X @ X.T @ C, X @ X.T @ C, sweeps)
    return W, mixture_sweeps(X, C, W.T @ W, X.T @ W, sweeps=sweeps, steps=sweeps)


def projective_value(X, H):
    """Return ``||X - X Hᵀ H||²`` and its gradient with respect to H (k, m), from the residual."""
    off = X - X @ H.T @ H
    return np.sum(off**2), -2 * (H @ (X.T @ off + off.T @ X))


def _sweeps(F, gram, pos, n_sweeps):
    """Return F after sweeps of coordinate descent over its columns."""
    F = F.copy()
    for _ in range(n_sweeps):
        for c in range(F.shape[1]):
            F[:, c] = np.maximum(0, F[:, c] + (pos[:, c] - F @ gram[:, c]) / gram[c, c])
    return F


def tri_step(X, W, S, H, *, sweeps, power):
    """Return W, S, H after one iteration in the order H, W, S (Ding et al. 2006).

    H and W by `sweeps` of coordinate descent and S by three updates; or all by one update, with denominators that keep
    W and H orthogonal where `power` is 1/2.
    """
    is_orthogonal = power == 0.5

    def ends(F, left):
        pos, gram = X.T @ left if F.shape[0] == X.shape[1] else X @ left, left.T @ left
        if sweeps:
            return _sweeps(F, gram, pos, sweeps)
        return F * (pos / (F @ (F.T @ pos) if is_orthogonal else F @ gram)) ** power

    H = ends(H.T, W @ S).T
    W = ends(W, H.T @ S.T)
    for _ in range(3 if sweeps else 1):
        S = S * ((W.T @ X @ H.T) / (W.T @ W @ S @ H @ H.T)) ** power
    return W, S, H


def tri_symmetric_step(A, W, S):
    """Return W and S after one update: the fourth root for W, the ratio for S (Ding et al. 2006)."""
    W = W * ((A @ W @ S) / (W @ S @ W.T @ W @ S)) ** 0.25
    S = S * (W.T @ A @ W) / (W.T @ W @ S @ W.T @ W)
    return W, S


def linked_sweep(A, W, S):
    """Return W after one sweep over its entries for ``||A - W S Wᵀ||²``, each set to the best root from NumPy."""
    W = W.copy()

    def error(i, c, x):
        W[i, c] = x
        return np.sum((A - W @ S @ W.T) ** 2)

    for i in range(W.shape[0]):
        for c in range(W.shape[1]):
            quartic = np.polyfit(np.arange(-2.0, 3.0), [error(i, c, x) for x in range(-2, 3)], 4)
            roots = np.roots(np.polyder(quartic))
            real = [0.0, *(r.real for r in roots if abs(r.imag) < 1e-9 and r.real > 0)]
            W[i, c] = min(real, key=lambda x: error(i, c, x))
    return W


def core_sweeps(A, W, S, n_sweeps):
    """Return S after sweeps over its pairs for ``||A - W S Wᵀ||²``, each set to the minimum of a parabola."""
    S = S.copy()
    for _ in range(n_sweeps):
        for a in range(len(S)):
            for b in range(a, len(S)):
                along = np.outer(W[:, a], W[:, b])
                along = along if a == b else along + along.T
                left = A - W @ S @ W.T
                S[a, b] = S[b, a] = max(0, S[a, b] + np.sum(along * left) / np.sum(along * along))
    return S


def block_step(X, W, H):
    """Return W, S, H after one step of k-means of columns, then of rows.

    W (n, k) and H (l, m) have columns and rows of length one. Each column of X is compared with every column of
    ``W S``, each row with every row of ``S H``.
    """

    def assigned(rows, basis):
        F = np.zeros((len(rows), len(basis)))
        for i, x in enumerate(rows):
            c = int(np.argmax([x @ b / np.linalg.norm(b) for b in basis]))
            F[i, c] = x @ basis[c] / (basis[c] @ basis[c])
        return F / np.linalg.norm(F, axis=0)

    H = assigned(X.T, (W @ (W.T @ X @ H.T)).T).T
    W = assigned(X, (W.T @ X @ H.T) @ H)
    return W, W.T @ X @ H.T, H


def anchors(A, k):
    """Return the rows picked by successive projection from the rows of A scaled to sum one."""
    R = A / A.sum(axis=1, keepdims=True)
    found = []
    for _ in range(k):
        i = int(np.argmax([r @ r for r in R]))
        found.append(i)
        u = R[i] / np.linalg.norm(R[i])
        R = np.array([r - (r @ u) * u for r in R])
    return found


def damped_step(A, W):
    """Return W after half a multiplicative step for ``||A - W Wᵀ||²``, all entries from the same point."""
    out = np.zeros_like(W)
    for i in range(len(W)):
        for c in range(W.shape[1]):
            above = sum(A[i, j] * W[j, c] for j in range(len(W)))
            below = sum(W[i, d] * sum(W[j, d] * W[j, c] for j in range(len(W))) for d in range(W.shape[1]))
            out[i, c] = W[i, c] * (0.5 + 0.5 * above / below) if below > 0 else 0
    return out


def coupled_sweep(A, W, H, weight):
    """Return W and H after one sweep of each for ``||A - W Hᵀ||² + weight ||W - H||²``, column after column."""
    W, H = W.copy(), H.copy()
    for F, G in ((W, H), (H, W)):
        for c in range(F.shape[1]):
            rest = A - np.delete(F, c, 1) @ np.delete(G, c, 1).T
            F[:, c] = np.maximum(0, (rest @ G[:, c] + weight * G[:, c]) / (G[:, c] @ G[:, c] + weight))
    return W, H


def convolve(W, C):
    """Return ``y_i = sum_l W[i - l] C_l`` for W (n, k), C (p, k, m), in plain loops."""
    n_lags, k, m = C.shape
    Y = np.zeros((len(W), m))
    for i in range(len(W)):
        for lag in range(min(n_lags, i + 1)):
            for c in range(k):
                Y[i] += W[i - lag, c] * C[lag, c]
    return Y


def lagged_sweep(X, W, C):
    """Return W after each entry in turn, row by row, was set to its minimum; one without effect stays as it is."""
    W = W.copy()
    for i in range(len(W)):
        for c in range(W.shape[1]):
            before, W[i, c] = W[i, c], 0
            left, above, below = X - convolve(W, C), 0.0, 0.0
            for lag in range(min(len(C), len(W) - i)):
                above += left[i + lag] @ C[lag, c]
                below += C[lag, c] @ C[lag, c]
            W[i, c] = max(above / below, 0) if below > 0 else before
    return W


def lagged_components(X, W, C):
    """Return C after each row of it in turn, lag by lag, was set to its minimum; one without effect stays as it is."""
    C = C.copy()
    for lag in range(len(C)):
        for c in range(W.shape[1]):
            before, C[lag, c] = C[lag, c].copy(), 0
            left, above, below = X - convolve(W, C), np.zeros(X.shape[1]), 0.0
            for i in range(len(W) - lag):
                above += W[i, c] * left[i + lag]
                below += W[i, c] ** 2
            C[lag, c] = np.maximum(above / below, 0) if below > 0 else before
    return C


def convolutive_step(X, W, C, beta):
    """Return W and C after one update each, W first, with all lags in numerator and denominator."""

    def ratio(Y, of):  # where X is zero for good Y becomes zero, and 0/0 is 0
        Y = np.where(Y > 0, Y, 1e-300) if beta < 2 else Y
        above, below = of(np.where(X > 0, X * Y ** (beta - 2.0), 0)), of(Y ** (beta - 1.0))
        return np.where(above > 0, above / np.where(below > 0, below, 1), 0)

    def of_W(G):
        out = np.zeros(W.shape)
        for i in range(len(W)):
            for lag in range(min(len(C), len(W) - i)):
                out[i] += C[lag] @ G[i + lag]
        return out

    def of_C(G):
        out = np.zeros(C.shape)
        for lag in range(len(C)):
            for i in range(len(W) - lag):
                out[lag] += np.outer(W[i], G[i + lag])
        return out

    W = W * ratio(convolve(W, C), of_W)
    C = C * ratio(convolve(W, C), of_C)
    return W, C


def products(H):
    """Return H (k, m) with the products of all pairs of its rows below it: 0 and 1, 0 and 2, ..., 1 and 2, ..."""
    return np.array([*H, *(H[c] * H[d] for c in range(len(H)) for d in range(c + 1, len(H)))])


def bilinear_step(X, W, H, sweeps):
    """Return W and H after one iteration: columns of W, then entries of H, each to the minimum beside all others."""
    E, H = products(H), H.copy()
    W = _sweeps(W, E @ E.T, X @ E.T, sweeps)
    for _ in range(sweeps):
        for j in range(H.shape[1]):
            for c in range(len(H)):
                values = []
                for x in (0.0, 1.0):  # the model of column j is a line in the entry
                    H[c, j] = x
                    values.append(W @ products(H[:, j : j + 1])[:, 0])
                along = values[1] - values[0]
                bend = along @ along
                H[c, j] = max(0, along @ (X[:, j] - values[0]) / bend) if bend > 0 else H[c, j]
    return W, H


def chain(factors):
    """Return the product of a list of factors."""
    Y = factors[0]
    for F in factors[1:]:
        Y = Y @ F
    return Y


def chain_step(X, factors, sweeps):
    """Return the factors of ``X ~ F_0 F_1 ... F_t`` after one iteration, from the first to the last.

    The ends by `sweeps` of coordinate descent and the others by three multiplicative updates; or all by one update.
    """
    factors = list(factors)
    for at in range(len(factors)):
        for _ in range(3 if sweeps and 0 < at < len(factors) - 1 else 1):
            L, R = chain([np.eye(len(X)), *factors[:at]]), chain([*factors[at + 1 :], np.eye(X.shape[1])])
            F = factors[at]
            if sweeps and at == 0:
                factors[at] = _sweeps(F, R @ R.T, X @ R.T, sweeps)
            elif sweeps and at == len(factors) - 1:
                factors[at] = _sweeps(F.T, L.T @ L, X.T @ L, sweeps).T
            else:
                factors[at] = F * (L.T @ X @ R.T) / (L.T @ L @ F @ R @ R.T)
    return factors


def best_weights_of_few(x, H, most):
    """Return the weights w >= 0 of a row, at most `most` non-zero, with the least ``||x - w H||²``: all supports.

    On a support the weights without the sign constraint count if all are positive; otherwise a smaller one is better.
    """
    best, found = x @ x, np.zeros(len(H))
    for size in range(1, most + 1):
        for support in combinations(range(len(H)), size):
            part = H[list(support)]
            if np.linalg.matrix_rank(part) < size:
                continue
            weights = np.linalg.lstsq(part.T, x, rcond=None)[0]
            error = np.square(x - weights @ part).sum()
            if (weights > 0).all() and error < best:
                best, found = error, np.zeros(len(H))
                found[list(support)] = weights
    return found
