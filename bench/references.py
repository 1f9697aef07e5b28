"""Data, objectives and solvers in plain NumPy, SciPy and scikit-learn, by which `family_quality.py` judges models."""

import numpy as np
from scipy.optimize import minimize
from sklearn import datasets, decomposition


def digits(seed, n=600):
    """Return n images of digits, others for each seed, and their classes."""
    X, y = datasets.load_digits(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(X))[:n]
    return X[rows], y[rows]


def half_square(A):
    """Return half the sum of squares."""
    return 0.5 * float(np.einsum("ij,ij->", A, A))


def kullback_leibler(X, Y):
    """Return the sum of ``x log(x / y) - x + y``."""
    some = X > 0
    return float((X[some] * np.log(X[some] / Y[some])).sum() - X.sum() + Y.sum())


def itakura_saito(X, Y):
    """Return the sum of ``x / y - log(x / y) - 1``."""
    return float((X / Y - np.log(X / Y) - 1).sum())


def by_lbfgs(objective, shapes, free=(), scale=1.0, max_iter=2000, judged=None):
    """Return a reference: L-BFGS-B from a random start.

    Parameters
    ----------
    objective : callable
        ``objective(*factors)`` returns the value and the gradient of each factor.
    shapes : list of tuple
        Shapes of the factors.
    free : tuple of int, default=()
        Factors of any sign; all others are >= 0.
    scale : float, default=1.0
        Size of the entries of a start.
    max_iter : int, default=2000
    judged : callable, default=None
        ``judged(*factors)``, what counts of the factors that are found; None: the objective.

    Returns
    -------
    callable
        ``reference(rng)`` returns the objective.
    """
    sizes = [int(np.prod(shape)) for shape in shapes]
    cuts = np.cumsum(sizes)[:-1]
    bounds = [(None if i in free else 0, None) for i, size in enumerate(sizes) for _ in range(size)]

    def split(x):
        return [part.reshape(shape) for part, shape in zip(np.split(x, cuts), shapes, strict=True)]

    def value(x):
        found, slopes = objective(*split(x))
        return found, np.concatenate([slope.ravel() for slope in slopes])

    def reference(rng):
        start = np.concatenate([scale * rng.random(size) for size in sizes])
        options = {"maxiter": max_iter, "maxfun": 4 * max_iter, "ftol": 1e-9}
        found = minimize(value, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return found.fun if judged is None else judged(*split(found.x))

    return reference


def of_scikit_learn(X, loss, **options):
    """Return a reference: scikit-learn's NMF from a random start."""

    def reference(rng):
        model = decomposition.NMF(10, init="random", random_state=int(rng.integers(2**31)), **options)
        W = model.fit_transform(X)
        return loss(X, W @ model.components_)

    return reference
