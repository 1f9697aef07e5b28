"""Find coefficients that score the classes of rows by their weights."""

import numpy as np

from fastnmf.kernels.blas import single_threaded_blas

# Of the coefficients of classes. Fewer steps are closer to least squares, which mask classes; with 20 or 80 steps, or
# with ridges of .01 or .5, mean accuracies on digits, wine and breast cancer are within .03 of those with these.
CLASS_RIDGE, CLASS_STEPS = 0.1, 40


def class_coefficients(W, class_index, n_classes):
    """Return coefficients and intercepts that score the classes of weights: a multinomial logistic regression.

    With p the exponentials of the scores ``w coefᵀ + intercept``, divided by their sum, it minimises the sum of
    ``-log p[class]`` over the rows plus ``CLASS_RIDGE / 2 ||coef||²``, for components of mean square one: the result
    does not depend on their units. Each step is a least squares of ``Y - p`` on the weights, with the same Gram matrix
    (the bound of Böhning), and is extrapolated. The first step predicts as the least squares of Y does, which masks
    classes that lie between others: digits, a tenth labelled, k=10, mean of five splits: .79 of the rest are right, and
    .86 after all steps. Cost: O(n k² + CLASS_STEPS n k c).

    Source: D. Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of Statistical Mathematics
    1992, doi:10.1007/BF00048682; extrapolated as in Y. Nesterov, "A method for solving the convex programming problem
    with convergence rate O(1/k²)", 1983.

    Parameters
    ----------
    W : ndarray (n, k)
        Weights of labelled rows, n >= 1.
    class_index : ndarray (n,) of int
    n_classes : int

    Returns
    -------
    coef : ndarray (n_classes, k) of float64
    intercept : ndarray (n_classes,) of float64
    """
    largest = W.max(axis=0).astype(np.float64)
    unit = np.where(largest > 0, largest, 1.0)
    unit *= np.sqrt(np.mean(np.square(W / unit), axis=0)) + (largest == 0)  # without squares of W, which may underflow
    A, Y = np.hstack([W / unit, np.ones((len(W), 1))]), np.eye(n_classes)[class_index]
    ridge = np.append(np.full(len(unit), CLASS_RIDGE), 0.0)[:, None]
    B = ahead = np.zeros((len(ridge), n_classes))
    t = 1.0
    with single_threaded_blas():
        inverse = np.linalg.inv(A.T @ A / 2 + np.diag(ridge[:, 0]))
        for _ in range(CLASS_STEPS):
            before, B = B, ahead + inverse @ (A.T @ (Y - softmax(A @ ahead)) - ridge * ahead)
            t, last = (1 + np.sqrt(1 + 4 * t * t)) / 2, t
            ahead = B + (last - 1) / t * (B - before)
    return (B[:-1] / unit[:, None]).T, B[-1]


def softmax(scores):
    """Return the exponentials of scores (n, c), each row divided by its sum."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)
