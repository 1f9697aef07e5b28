"""Entry weights of every sort that is stored in another way, and data to go with them."""

import numpy as np

KINDS = ("few missing", "most missing", "mixed rows", "weights", "weights, dense", "none of a row")


def weights_of(kind, shape, seed=5):
    """Return entry weights (n, m), dense, of each sort that is stored in another way."""
    rng = np.random.default_rng(seed)
    share = {"few missing": 0.8, "most missing": 0.3, "none of a row": 0.7}.get(kind, 0.6)
    P = (rng.random(shape) < share).astype(float)
    if kind == "mixed rows":
        P[::2] = rng.random(P[::2].shape) < 0.15
        P[1::2] = rng.random(P[1::2].shape) < 0.95
    if kind == "weights":
        P *= rng.choice([0.25, 1, 1, 1, 3], shape)
    if kind == "weights, dense":
        P = rng.random(shape) + 0.1
    if kind == "none of a row":
        P[3], P[:, 2] = 0, 0
    return P


def grouped(seed=0, shape=(40, 23), density=0.5):
    """Non-negative data with zeros, and three strata in mixed order."""
    rng = np.random.default_rng(seed)
    X = 5 * rng.random(shape) * (rng.random(shape) < density)
    return X, rng.integers(0, 3, shape[0])
