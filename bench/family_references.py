"""Rows of `family_quality.py` whose objectives no other package minimises: references in plain NumPy and SciPy.

They are written from the formulas in the docstrings of the models, and share no code with fastnmf.
"""

import numpy as np
from judged import Judged, compared, seconds
from references import by_lbfgs, digits, half_square, kullback_leibler, of_scikit_learn
from scipy.optimize import nnls
from sklearn import decomposition
from sklearn.neighbors import kneighbors_graph

import fastnmf

LEAST_OVERSHOOT = 0.02  # how much more than the reference an underapproximation may be above X, as a share of ||X||
SHARPNESS = 100.0  # p of the smooth maximum log(mean(exp(p q))) / p, which is below the maximum by log(2) / p at most


def graph_objective(seed):
    """L-BFGS-B on W and H with the penalty of the graph, a graph of five neighbours by scikit-learn."""
    X = digits(seed, 300)[0] / 16
    A = kneighbors_graph(X, 5).toarray()
    A = np.maximum(A, A.T)
    L = np.diag(A.sum(axis=1)) - A

    def value(W, H):
        R, LW = W @ H - X, L @ W
        rough, sizes = (W * LW).sum(axis=0), (H * H).sum(axis=1)
        of_H = W.T @ R + 0.5 * rough[:, None] * H
        return half_square(R) + 0.25 * float(sizes @ rough), (R @ H.T + 0.5 * LW * sizes, of_H)

    return compared(
        lambda **options: fastnmf.GraphNMF(10, graph_weight=0.5, **options),
        lambda model: value(model.W_, model.components_)[0],
        by_lbfgs(value, [(300, 10), (10, 64)]),
        seed,
        starts=3,
        fit=lambda model: model.fit(X, graph=A),
    )


def bilinear(seed):
    """L-BFGS-B on the weights of components and of their products, and the components."""
    X = digits(seed, 200)[0] / 16
    first, second = np.triu_indices(4, 1)

    def value(W, H):
        R = W @ np.vstack([H, H[first] * H[second]]) - X
        slopes = W.T @ R
        of_H = slopes[:4].copy()
        np.add.at(of_H, first, slopes[4:] * H[second])
        np.add.at(of_H, second, slopes[4:] * H[first])
        return half_square(R), (R @ np.vstack([H, H[first] * H[second]]).T, of_H)

    return compared(
        lambda **options: fastnmf.BilinearNMF(4, **options),
        lambda model: value(model.W_, model.components_)[0],
        by_lbfgs(value, [(200, 10), (4, 64)], scale=0.5, max_iter=500),
        seed,
        starts=3,
        fit=lambda model: model.fit(X),
    )


def robust_to_measures(seed):
    """L-BFGS-B on a smooth maximum of both excesses over scikit-learn's fits of a single divergence."""
    X = digits(seed, 200)[0] + 1
    alone = [
        min(of_scikit_learn(X, loss, max_iter=1000, **options)(np.random.default_rng(seed)) for _ in range(3))
        for loss, options in (
            (kullback_leibler, {"solver": "mu", "beta_loss": "kullback-leibler"}),
            (lambda X, Y: half_square(X - Y), {}),
        )
    ]

    def excesses(Y):
        return np.array([kullback_leibler(X, Y) / alone[0], half_square(X - Y) / alone[1]])

    def value(W, H):
        Y = W @ H + 1e-9
        found = excesses(Y)
        shares = np.exp(SHARPNESS * (found - found.max()))
        smooth = found.max() + np.log(shares.mean()) / SHARPNESS
        shares = shares / shares.sum()
        slope = shares[0] / alone[0] * (1 - X / Y) + shares[1] / alone[1] * (Y - X)
        return float(smooth), (slope @ H.T, W.T @ slope)

    return compared(
        lambda **options: fastnmf.DistributionallyRobustNMF(10, betas=(1, 2), references=alone, **options),
        lambda model: excesses(model.W_ @ model.components_).max(),
        by_lbfgs(value, [(200, 10), (10, 64)]),
        seed,
        starts=3,
        fit=lambda model: model.fit(X),
    )


def levels(seed):
    """L-BFGS-B on all levels at once, then SciPy's nested least squares for the weights."""
    X = digits(seed, 200)[0] / 16

    def value(S, A, T, B):
        lower, upper = S @ A - X, T @ B @ A - X
        of_A = S.T @ lower + (T @ B).T @ upper
        slopes = lower @ A.T, of_A, upper @ (B @ A).T, T.T @ upper @ A.T
        return half_square(lower) + half_square(upper), slopes

    def nested(_, A, __, B):
        lower = np.array([nnls(A.T, x)[0] for x in X])
        upper = np.array([nnls(B.T, s)[0] for s in lower])
        return half_square(X - lower @ A) + half_square(X - upper @ B @ A)

    return compared(
        lambda **options: fastnmf.HierarchicalNMF((12, 6), **options),
        lambda model: nested(None, model.layer_weights_[0], None, model.layer_weights_[1]),
        by_lbfgs(value, [(200, 12), (12, 64), (200, 6), (6, 12)], scale=0.5, judged=nested),
        seed,
        starts=3,
        fit=lambda model: model.fit(X),
    )


def meta(seed):
    """scikit-learn's coordinate descent on the rows of the target, which here are all."""
    X, _ = digits(seed, 400)
    return compared(
        lambda **options: fastnmf.MetaNMF(fastnmf.NMF(10), n_outer=5, disjoint=False, **options),
        lambda model: half_square(X - model.W_ @ model.components_),
        of_scikit_learn(X, lambda X, Y: half_square(X - Y), max_iter=1000),
        seed,
        starts=3,
        fit=lambda model: model.fit(X),
    )


def underapproximation(seed):
    """Multipliers in NumPy, 100 steps a component, one start; recovered: one less the overshoot."""
    X, _ = digits(seed, 300)

    def reference():
        rest, parts = X, []
        for _ in range(10):
            start = decomposition.TruncatedSVD(1, algorithm="arpack", random_state=seed).fit(rest)
            v, multipliers = np.abs(start.components_[0]), np.zeros_like(X)
            u = rest @ v
            for step in range(100):
                u = np.maximum((rest - multipliers) @ v, 0) / (v @ v)
                v = np.maximum((rest - multipliers).T @ u, 0) / (u @ u)
                multipliers = np.maximum(multipliers - (rest - np.outer(u, v)) / (step + 1), 0)
            parts.append((u, v))
            rest = np.maximum(rest - np.outer(u, v), 0)
        return sum(np.outer(u, v) for u, v in parts)

    theirs, of_reference = seconds(reference)
    model, ours = seconds(lambda: fastnmf.UnderapproximationNMF(10).fit(X))
    found = model.W_ @ model.components_
    ratio = half_square(X - found) / half_square(X - theirs)
    over = [np.linalg.norm(np.maximum(Y - X, 0)) / np.linalg.norm(X) for Y in (found, theirs)]
    return Judged(ratio, np.nan, ours, of_reference, 1 - over[0], 1 - over[1] - LEAST_OVERSHOOT)


MORE_ROWS = {
    "GraphNMF, objective": graph_objective,
    "BilinearNMF": bilinear,
    "DistributionallyRobustNMF": robust_to_measures,
    "HierarchicalNMF": levels,
    "MetaNMF": meta,
    "UnderapproximationNMF": underapproximation,
}
