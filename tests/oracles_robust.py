"""Plain-loop twins of the robust losses and their moves, written from the formulas; nothing of ours is imported."""

import numpy as np
from scipy.optimize import linprog


def loss(X, Y, name, bend):
    """Sum the losses of the entries ("l1" smoothed, "huber", "linf") or rows ("l21" smoothed) of X - Y."""
    total = 0.0
    for x, y in zip(X, Y, strict=True):
        square = 0.0
        for a, b in zip(x, y, strict=True):
            r = abs(a - b)
            square += r * r
            if name == "l1":
                total += (r * r + bend * bend) ** 0.5
            elif name == "huber":
                total += r * r / 2 if r <= bend else bend * (r - bend / 2)
            elif name == "linf":
                total = max(total, r)
        if name == "l21":
            total += (square + bend * bend) ** 0.5
    return total


def best_entry(x, rest, g):
    """Return the f >= 0 with the least sum_j |x_j - rest_j - f g_j|: a kink of the sum, or 0; all are tried."""
    kinks = [0.0] + [(a - b) / c for a, b, c in zip(x, rest, g, strict=True) if c > 0 and a > b]
    return min(kinks, key=lambda f: sum(abs(a - b - f * c) for a, b, c in zip(x, rest, g, strict=True)))


def median_sweep(X, W, H):
    """Move W by one sweep of exact coordinate descent on sum |X - W H|, row by row, ascending columns."""
    W = np.array(W)
    for i in range(len(W)):
        for c in range(W.shape[1]):
            rest = sum(W[i, b] * H[b] for b in range(W.shape[1]) if b != c) + np.zeros(X.shape[1])
            W[i, c] = best_entry(X[i], rest, H[c])
    return W


def reweighted_mu(X, W, H, eps):
    """Move H, then W, by a multiplicative update of the squared error with the weights of the residual at the start."""
    P = 1 / np.sqrt((X - W @ H) ** 2 + eps**2)
    H = H * (W.T @ (P * X)) / (W.T @ (P * (W @ H)))
    return W * ((P * X) @ H.T) / ((P * (W @ H)) @ H.T), H


def score_matching(x, y, beta):
    """Return the least objective of score matching over phi, of the density x^((beta - 2) / 2) exp(-d(x, y) / phi).

    Hyvarinen 2007: the mean of 2 x s + x² s' + (x s)² / 2 with the slope s of the log density, here by differences.
    """

    def divergence(a, b):
        if beta == 1:
            return a * np.log(a / b) - a + b
        if beta == 0:
            return a / b - np.log(a / b) - 1
        return (a**beta + (beta - 1) * b**beta - beta * a * b ** (beta - 1)) / (beta * (beta - 1))

    def objective(phi):
        total = 0.0
        for a, b in zip(x, y, strict=True):
            h = 1e-4 * a
            low, mid, high = ((beta - 2) / 2 * np.log(t) - divergence(t, b) / phi for t in (a - h, a, a + h))
            slope, curvature = (high - low) / (2 * h), (high - 2 * mid + low) / h**2
            total += 2 * a * slope + a * a * curvature + (a * slope) ** 2 / 2
        return total / len(x)

    return min(objective(phi) for phi in np.exp(np.linspace(-8, 8, 400)))


def weighted_beta(X, Y, O, beta):
    """Sum O d(x, y) of the beta divergence over the entries of positive weight."""
    total = 0.0
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            x, y = X[i, j], Y[i, j]
            if O[i, j] > 0 and beta == 0:
                total += O[i, j] * (x / y - np.log(x / y) - 1)
            elif O[i, j] > 0:
                power = x**beta + (beta - 1) * y**beta - beta * x * y ** (beta - 1)
                total += O[i, j] * power / (beta * (beta - 1))
    return total


def weighted_beta_step(X, W, H, O, beta):
    """Update W, then H, by the ratio of the weighted sums (Fevotte and Idier 2011, each entry times its weight)."""
    power = 1 / (2 - beta) if beta < 1 else 1 / max(1, beta - 1)
    for name in "WH":
        Y = W @ H
        below, above = np.zeros(X.shape), np.zeros(X.shape)
        for i, j in zip(*np.nonzero(O), strict=True):
            below[i, j] = O[i, j] * X[i, j] * Y[i, j] ** (beta - 2)
            above[i, j] = O[i, j] * Y[i, j] ** (beta - 1)
        below, above = (below @ H.T, above @ H.T) if name == "W" else (W.T @ below, W.T @ above)
        ratio = np.divide(below, above, out=np.zeros(below.shape), where=above > 0) ** power  # 0 where nothing is known
        W, H = (W * ratio, H) if name == "W" else (W, H * ratio)
    return W, H


def powers(X, Y, unit, p):
    """Return ``((x - y) / unit)**(p - 1)`` by entry, and by row the sum of the p-th powers and the largest error."""
    of_entries, sums, largest = np.zeros(X.shape), np.zeros(len(X)), np.zeros(len(X))
    for i in range(len(X)):
        for j in range(X.shape[1]):
            r = (X[i, j] - Y[i, j]) / unit
            of_entries[i, j] = r ** (p - 1)
            sums[i] += r**p
            largest[i] = max(largest[i], abs(X[i, j] - Y[i, j]))
    return of_entries, sums, largest


def least_largest_error(a, G):
    """Return ``min_{f >= 0} max_j |a_j - f . g_j|``, by SciPy's linear programs."""
    sides = np.vstack([np.column_stack([G, -np.ones(len(G))]), np.column_stack([-G, -np.ones(len(G))])])
    return linprog([0] * G.shape[1] + [1], sides, np.concatenate([a, -a]), method="highs").fun


def planted_errors(shape=(40, 30), size=0.05, seed=0):
    """Draw data of rank 3 with errors of at most `size` everywhere."""
    rng = np.random.default_rng(seed)
    X = rng.random((shape[0], 3)) @ rng.random((3, shape[1]))
    return np.maximum(X + size * rng.uniform(-1, 1, shape), 0)
