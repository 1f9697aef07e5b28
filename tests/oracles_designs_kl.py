"""Plain reference versions of the Kullback-Leibler divergence with a design, importing nothing of ours.

X (n, m), Z (n, q), V (q, m), W (n, k), H (k, m), all dense. The model is ``Y = Z V + W H``.
"""

import numpy as np


def model(Z, V, W, H):
    """Form the model entry by entry."""
    Y = np.zeros((len(Z), V.shape[1]))
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            Y[i, j] = sum(Z[i, s] * V[s, j] for s in range(len(V))) + sum(W[i, c] * H[c, j] for c in range(len(H)))
    return Y


def divergence(X, Y):
    """Sum x log(x / y) - x + y over all entries, with 0 log 0 = 0."""
    total = 0.0
    for x, y in zip(X.ravel().tolist(), Y.ravel().tolist(), strict=True):
        total += y - x + (x * np.log(x / y) if x > 0 else 0.0)
    return total


def parts(X, Z, V, W, H):
    """Return the positive and the negative part of minus the gradient by V, W and H, a dict of pairs (pos, neg)."""
    Y = model(Z, V, W, H)
    found = {name: (np.zeros(F.shape), np.zeros(F.shape)) for name, F in (("V", V), ("W", W), ("H", H))}
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            for side, a in ((0, X[i, j] / Y[i, j] if X[i, j] > 0 else 0.0), (1, 1.0)):
                found["V"][side][:, j] += Z[i] * a
                found["W"][side][i] += H[:, j] * a
                found["H"][side][:, j] += W[i] * a
    return found


def step(X, Z, V, W, H, names):
    """Take one multiplicative step of the factors `names` from the same point (Lee and Seung 2001)."""
    factors, of_all = {"V": V, "W": W, "H": H}, parts(X, Z, V, W, H)
    for name in names:
        pos, neg = of_all[name]
        factors[name] = factors[name] * np.divide(pos, neg, out=np.zeros(pos.shape), where=pos > 0)
    return factors["V"], factors["W"], factors["H"]
