"""Negative-binomial counts in plain loops: the divergence, the likelihood, their derivatives, one sweep of updates."""

import math

import numpy as np


def means(codes, u, V, W, H):
    """Return the model ``u_i V[codes_i] + W Hᵀ``, V (S, m), H (m, k)."""
    n, m, k = len(W), len(H), W.shape[1]
    Y = np.zeros((n, m))
    for i in range(n):
        for j in range(m):
            Y[i, j] = u[i] * V[codes[i], j] + sum(W[i, c] * H[j, c] for c in range(k))
    return Y


def log_likelihood(x, y, t):
    """Return the logarithm of the probability of a count x with mean y > 0 and size t."""
    gammas = math.lgamma(x + t) - math.lgamma(t) - math.lgamma(x + 1)
    return gammas + t * math.log(t / (t + y)) + x * math.log(y / (t + y))


def nll(X, Y, theta):
    """Return the negative log-likelihood of counts X with means Y and sizes theta (m,)."""
    return -sum(log_likelihood(X[i, j], Y[i, j], theta[j]) for i in range(len(X)) for j in range(X.shape[1]))


def poisson_at_best(X):
    """Return the negative log-likelihood of Poisson counts whose means are the counts themselves."""
    return sum(math.lgamma(x + 1) + x - (x * math.log(x) if x else 0.0) for x in X.ravel().tolist())


def divergence(X, Y, theta):
    """Return ``sum x log(x / y) - (x + t) log((x + t) / (y + t))``."""
    total = 0.0
    for i in range(len(X)):
        for j in range(X.shape[1]):
            x, y, t = X[i, j], Y[i, j], theta[j]
            total += (x * math.log(x / y) if x else 0.0) - (x + t) * math.log((x + t) / (y + t))
    return total


def parts(X, codes, u, V, W, H, theta):
    """Return pos and neg of W, H and V, by name."""
    Y = means(codes, u, V, W, H)
    pos, neg = ({name: np.zeros_like(F) for name, F in (("W", W), ("H", H), ("V", V))} for _ in range(2))
    for i in range(len(X)):
        for j in range(X.shape[1]):
            sides = (pos, X[i, j] / Y[i, j]), (neg, (X[i, j] + theta[j]) / (Y[i, j] + theta[j]))
            for out, value in sides:
                out["W"][i] += value * H[j]
                out["H"][j] += value * W[i]
                out["V"][codes[i], j] += value * u[i]
    return pos, neg


def sweep(X, codes, u, V, W, H, theta):
    """Return W, H and V after one multiplicative update each, in this order."""
    F = {"W": W, "H": H, "V": V}
    for name in ("W", "H", "V"):
        pos, neg = parts(X, codes, u, F["V"], F["W"], F["H"], theta)
        F[name] = F[name] * pos[name] / neg[name]
    return F["W"], F["H"], F["V"]


def slope_of_size(x, y, t, step=1e-5):
    """Return the derivative of the log-likelihood of counts x with means y in ``log t``, by central differences."""
    ends = [sum(log_likelihood(a, b, t * math.exp(s)) for a, b in zip(x, y, strict=True)) for s in (step, -step)]
    return (ends[0] - ends[1]) / (2 * step)
