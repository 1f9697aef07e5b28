"""Judge every model against an independent reference: the objective, what is recovered, and the processor time.

Usage: python bench/family_quality.py [--seeds 5] [--only NAME] [--output TABLE.md]

A reference is a solver outside of this package: scikit-learn, or SciPy's L-BFGS-B on the same objective in plain
NumPy, from ten random starts, of which the best counts. Ours is fitted once (`n_init=1`) and with ten starts
(`n_init=10`). All objectives are computed here, in NumPy, from the public factors. The ratio is ours to the best of
the reference: the median over the seeds must not exceed 1.05 with one start and 1.01 with ten. Where no solver is a
fair judge there is a planted truth, and the share of it that is recovered. Rows with a reference of their own, in
plain NumPy, stand in `family_references.py`. The processor time is that of ten starts on
one thread, ours and the reference's, after the kernels are compiled. A row beyond its margin: exit code 1.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numba
import numpy as np
from family_references import MORE_ROWS
from judged import STARTS, Judged, compared, seconds
from machine import describe
from references import by_lbfgs, digits, half_square, itakura_saito, kullback_leibler, of_scikit_learn
from scipy.optimize import minimize
from sklearn import datasets, decomposition
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from table import markdown
from threadpoolctl import threadpool_limits

import fastnmf

ONE, TEN = 1.05, 1.01  # largest median ratios with one start and with ten


# ------------------------------------------------------------------------------------------------------------ models


def nmf(seed):
    """scikit-learn's coordinate descent."""
    X, _ = digits(seed)
    return compared(
        lambda **options: fastnmf.NMF(10, **options),
        lambda model: half_square(X - model.W_ @ model.components_),
        of_scikit_learn(X, lambda X, Y: half_square(X - Y), max_iter=1000),
        seed,
        fit=lambda model: model.fit(X),
    )


def divergence(beta_loss, value, shift=0.0):
    """Return the row of a divergence, against scikit-learn's multiplicative updates."""

    def judge(seed):
        X = digits(seed)[0] + shift
        return compared(
            lambda **options: fastnmf.NMF(10, solver="mu", beta_loss=beta_loss, **options),
            lambda model: value(X, model.W_ @ model.components_),
            of_scikit_learn(X, value, solver="mu", beta_loss=beta_loss, max_iter=1000),
            seed,
            fit=lambda model: model.fit(X),
        )

    judge.__doc__ = "scikit-learn's multiplicative updates, 1000 of them."
    return judge


def plsa(seed):
    """scikit-learn's multiplicative updates for Kullback-Leibler, the same model."""
    X, _ = digits(seed)
    return compared(
        lambda **options: fastnmf.PLSA(10, **options),
        lambda model: kullback_leibler(X, X.sum() * (model.W_ * model.s_) @ model.components_),
        of_scikit_learn(X, kullback_leibler, solver="mu", beta_loss="kullback-leibler", max_iter=1000),
        seed,
        fit=lambda model: model.fit(X),
    )


def stratified(seed):
    """L-BFGS-B on W, H and the shifts of planted strata."""
    bunch = fastnmf.datasets.make_stratified((60, 60, 60), 40, 5, noise=0.3, random_state=seed)
    X, rows = bunch.data, bunch.strata

    def value(W, H, V):
        R = W @ H + V[rows] - X
        of_V = np.array([R[rows == s].sum(axis=0) for s in range(3)])
        return half_square(R), (R @ H.T, W.T @ R, of_V)

    return compared(
        lambda **options: fastnmf.StratifiedNMF(5, **options),
        lambda model: value(model.W_, model.components_, model.shifts_)[0],
        by_lbfgs(value, [(180, 5), (5, 40), (3, 40)]),
        seed,
        fit=lambda model: model.fit(X, strata=rows),
    )


def minibatch(seed):
    """scikit-learn's MiniBatchNMF; after the fit both have the exact W."""
    X, _ = digits(seed)

    def reference(rng):
        model = decomposition.MiniBatchNMF(10, init="random", random_state=int(rng.integers(2**31)), batch_size=64)
        return half_square(X - model.fit_transform(X) @ model.components_)

    return compared(
        lambda **options: fastnmf.MiniBatchNMF(10, batch_size=64, **options),
        lambda model: half_square(X - model.transform(X) @ model.components_),
        reference,
        seed,
        fit=lambda model: model.fit(X),
    )


def graph_of_blocks(seed):
    """Return the adjacency matrix of a stochastic block model of five blocks, and the blocks."""
    rng, blocks = np.random.default_rng(seed), np.repeat(np.arange(5), 40)
    chance = np.where(blocks[:, None] == blocks, 0.2, 0.03)
    A = np.triu(rng.random(chance.shape) < chance, 1).astype(float)
    return A + A.T, blocks


def _with_blocks(row, model, blocks):
    found = normalized_mutual_info_score(blocks, model.W_.argmax(axis=1))
    return row._replace(recovered=found, wanted=0.75)


def symmetric(seed):
    """L-BFGS-B on W of a stochastic block model."""
    A, blocks = graph_of_blocks(seed)

    def value(W):
        R = W @ W.T - A
        return half_square(R), (2 * R @ W,)

    def make(**options):
        return fastnmf.SymmetricNMF(5, **options)

    row = compared(make, lambda model: value(model.W_)[0], by_lbfgs(value, [(200, 5)]), seed, fit=lambda m: m.fit(A))
    return _with_blocks(row, make(random_state=seed, n_init=STARTS).fit(A), blocks)


def trisymmetric(seed):
    """L-BFGS-B on W and S of a stochastic block model."""
    A, blocks = graph_of_blocks(seed)

    def value(W, S):
        S = (S + S.T) / 2
        R = W @ S @ W.T - A
        return half_square(R), (2 * R @ W @ S, W.T @ R @ W)

    def make(**options):
        return fastnmf.TriSymmetricNMF(5, **options)

    row = compared(
        make,
        lambda model: value(model.W_, model.S_)[0],
        by_lbfgs(value, [(200, 5), (5, 5)]),
        seed,
        fit=lambda model: model.fit(A),
    )
    return _with_blocks(row, make(random_state=seed, n_init=STARTS).fit(A), blocks)


def orthogonal(seed):
    """Clusters of directions: Lloyd's steps in NumPy, with the best single component of each row."""
    X, _ = digits(seed)

    def reference(rng):
        H = X[rng.choice(len(X), 10, replace=False)]
        for _ in range(300):
            H = H / np.linalg.norm(H, axis=1, keepdims=True)
            along = X @ H.T
            best = along.argmax(axis=1)
            new = np.array([along[best == k, k] @ X[best == k] if (best == k).any() else H[k] for k in range(10)])
            if np.allclose(new / np.linalg.norm(new, axis=1, keepdims=True), H, atol=1e-12):
                break
            H = new
        return half_square(X) - 0.5 * float((along.max(axis=1) ** 2).sum())

    return compared(
        lambda **options: fastnmf.OrthogonalNMF(10, **options),
        lambda model: half_square(X - model.W_ @ model.components_),
        reference,
        seed,
        fit=lambda model: model.fit(X),
    )


def semi(seed):
    """L-BFGS-B on W >= 0 and H of any sign, for centred digits."""
    X = digits(seed, 300)[0]
    X = X - X.mean(axis=0)

    def value(W, H):
        R = W @ H - X
        return half_square(R), (R @ H.T, W.T @ R)

    return compared(
        lambda **options: fastnmf.SemiNMF(10, **options),
        lambda model: value(model.W_, model.components_)[0],
        by_lbfgs(value, [(300, 10), (10, 64)], free=(1,)),
        seed,
        fit=lambda model: model.fit(X),
    )


def mixtures(X, atoms):
    """Return ``value(W, C)`` of ``half ||X - W C A||²`` with the rows A of `atoms`."""

    def value(W, C):
        H = C @ atoms
        R = W @ H - X
        return half_square(R), (R @ H.T, W.T @ R @ atoms.T)

    return value


def convex(seed):
    """L-BFGS-B on the weights W and the mixtures C."""
    X, _ = digits(seed, 200)
    value = mixtures(X, X)
    return compared(
        lambda **options: fastnmf.ConvexNMF(10, **options),
        lambda model: value(model.W_, np.linalg.lstsq(X.T, model.components_.T, rcond=None)[0].T)[0],
        by_lbfgs(value, [(200, 10), (10, 200)], scale=0.1),
        seed,
        starts=3,
        fit=lambda model: model.fit(X),
    )


def dictionary(seed):
    """L-BFGS-B on the weights W and the mixtures C of 30 atoms."""
    X, _ = digits(seed)
    value = mixtures(X, X[::20])
    return compared(
        lambda **options: fastnmf.DictionaryNMF(10, dictionary=X[::20], **options),
        lambda model: half_square(X - model.W_ @ model.components_),
        by_lbfgs(value, [(600, 10), (10, 30)], scale=0.1),
        seed,
        fit=lambda model: model.fit(X),
    )


def projective(seed):
    """L-BFGS-B on W of ``X P Pᵀ``."""
    X, _ = digits(seed)
    gram = X.T @ X

    def value(P):
        PP, GP = P.T @ P, gram @ P
        found = 0.5 * (np.trace(gram) - 2 * np.einsum("ij,ij->", P, GP) + np.einsum("ij,ji->", PP, P.T @ GP))
        return found, (-2 * GP + GP @ PP + P @ (P.T @ GP),)

    return compared(
        lambda **options: fastnmf.ProjectiveNMF(10, **options),
        lambda model: half_square(X - model.W_ @ model.components_),
        by_lbfgs(value, [(64, 10)], scale=0.1),
        seed,
        fit=lambda model: model.fit(X),
    )


def tri(seed):
    """L-BFGS-B on W, S and H."""
    X, _ = digits(seed, 300)

    def value(W, S, H):
        WS, SH = W @ S, S @ H
        R = WS @ H - X
        return half_square(R), (R @ SH.T, W.T @ R @ H.T, WS.T @ R)

    return compared(
        lambda **options: fastnmf.TriNMF((10, 6), **options),
        lambda model: half_square(X - model.inverse_transform(model.W_)),
        by_lbfgs(value, [(300, 10), (10, 6), (6, 64)]),
        seed,
        starts=3,
        fit=lambda model: model.fit(X),
    )


def affine(seed):
    """L-BFGS-B on W, H and the offset."""
    X, _ = digits(seed, 300)

    def value(W, H, offset):
        R = W @ H + offset - X
        return half_square(R), (R @ H.T, W.T @ R, R.sum(axis=0))

    return compared(
        lambda **options: fastnmf.AffineNMF(10, **options),
        lambda model: half_square(X - model.inverse_transform(model.W_)),
        by_lbfgs(value, [(300, 10), (10, 64), (64,)]),
        seed,
        starts=3,
        fit=lambda model: model.fit(X),
    )


def interval(seed):
    """L-BFGS-B on W and H; the error is the distance from the interval of each entry."""
    X, _ = digits(seed, 300)
    upper = X + 1

    def value(W, H):
        Y = W @ H
        R = np.minimum(Y - X, 0) + np.maximum(Y - upper, 0)
        return half_square(R), (R @ H.T, W.T @ R)

    return compared(
        lambda **options: fastnmf.IntervalNMF(10, **options),
        lambda model: value(model.W_, model.components_)[0],
        by_lbfgs(value, [(300, 10), (10, 64)]),
        seed,
        starts=3,
        fit=lambda model: model.fit(X, upper=upper),
    )


def sparse_rows(seed):
    """For each row the best pair of components, and least squares for H, in NumPy."""
    X, _ = digits(seed, 300)

    def best_pairs(H):
        gram, along = H @ H.T, X @ H.T
        gains, weights = np.maximum(along, 0) ** 2 / np.diag(gram), []
        best = gains.max(axis=1)
        W = np.zeros((len(X), len(H)))
        rows = np.arange(len(X))
        W[rows, gains.argmax(axis=1)] = (
            np.maximum(along, 0)[rows, gains.argmax(axis=1)] / np.diag(gram)[gains.argmax(1)]
        )
        for i in range(len(H)):
            for j in range(i):
                pair = gram[np.ix_((i, j), (i, j))]
                if np.linalg.det(pair) > 1e-12:
                    weights = np.linalg.solve(pair, along[:, (i, j)].T).T
                    gain = (weights * along[:, (i, j)]).sum(axis=1)
                    better = (weights.min(axis=1) >= 0) & (gain > best)
                    best[better] = gain[better]
                    W[better] = 0
                    W[np.ix_(better, (i, j))] = weights[better]
        return W

    def reference(rng):
        H = X[rng.choice(len(X), 10, replace=False)] + 0.01
        for _ in range(30):
            W = best_pairs(H)
            for _ in range(5):
                for k in range(10):
                    R = X - W @ H + np.outer(W[:, k], H[k])
                    if (length := W[:, k] @ W[:, k]) > 0:
                        H[k] = np.maximum(W[:, k] @ R / length, 1e-9)
        return half_square(X - best_pairs(H) @ H)

    return compared(
        lambda **options: fastnmf.SparseNMF(10, sparseness_H=None, max_components=2, **options),
        lambda model: half_square(X - model.W_ @ model.components_),
        reference,
        seed,
        starts=3,
        fit=lambda model: model.fit(X),
    )


def robust(seed):
    """A planted low-rank matrix of which one entry in ten is wrong: the share of the truth that is recovered."""
    rng = np.random.default_rng(seed)
    truth = rng.random((80, 4)) @ rng.random((4, 40))
    wrong = rng.random(truth.shape) < 0.1
    X = np.where(wrong, truth + rng.choice([0, 5], truth.shape), truth)
    model, ours = seconds(lambda: fastnmf.RobustNMF(4, n_init=STARTS, random_state=seed).fit(X))
    error = np.linalg.norm(model.W_ @ model.components_ - truth) / np.linalg.norm(truth)
    return Judged(ours=ours, recovered=1 - error, wanted=0.95)


def boolean(seed):
    """Planted Boolean factors with 2 % of the entries flipped: no more mismatches than the truth has."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((150, 5)) < 0.25).astype(int) @ (rng.random((5, 60)) < 0.25) > 0
    X = (truth ^ (rng.random(truth.shape) < 0.02)).astype(float)
    model, ours = seconds(lambda: fastnmf.BooleanNMF(5, random_state=seed).fit(X))
    found = (model.W_ @ model.components_ > 0) != X.astype(bool)
    return Judged(ours=ours, recovered=(truth != X.astype(bool)).sum() / found.sum(), wanted=0.98)


def binary(seed):
    """Disjoint planted blocks: the share of the entries that are right."""
    rng = np.random.default_rng(seed)
    X = np.eye(5)[rng.integers(0, 5, 150)] @ np.kron(np.eye(5), np.ones(10))
    model, ours = seconds(lambda: fastnmf.BinaryNMF(5, random_state=seed, n_init=STARTS).fit(X))
    return Judged(ours=ours, recovered=1 - np.abs(X - model.W_ @ model.components_).mean(), wanted=0.99)


def separable(seed):
    """Mixtures of ten of their rows: the share of these rows that is found."""
    rng = np.random.default_rng(seed)
    H = rng.random((10, 60))
    X = np.vstack([rng.dirichlet(np.full(10, 0.5), 300) @ H, H])
    order = rng.permutation(len(X))
    model, ours = seconds(lambda: fastnmf.SeparableNMF(10, axis=0).fit(X[order]))
    found = len(set(order[model.anchors_].tolist()) & set(range(300, 310))) / 10
    return Judged(ours=ours, recovered=found, wanted=1.0)


def convolutive(seed):
    """Three planted motifs of four rows: one less the relative error."""
    rng = np.random.default_rng(seed)
    motifs = rng.random((3, 4, 20)) * (rng.random((3, 4, 20)) < 0.4)
    X = np.zeros((200, 20))
    for k in range(3):
        for start in rng.choice(196, 20, replace=False):
            X[start : start + 4] += motifs[k]
    model, ours = seconds(lambda: fastnmf.ConvolutiveNMF(3, n_lags=4, random_state=seed).fit(X))
    return Judged(ours=ours, recovered=1 - model.normalized_loss_, wanted=0.9)


def kernel(seed):
    """Two circles: the adjusted Rand index, beside spectral clustering's."""
    X, labels = datasets.make_circles(300, factor=0.4, noise=0.05, random_state=seed)
    options = {"kernel": "nearest_neighbors", "random_state": seed, "n_init": 3}
    model, ours = seconds(lambda: fastnmf.KernelNMF(2, **options).fit(X))
    of_reference = SpectralClustering(2, affinity="nearest_neighbors", n_neighbors=8, random_state=seed).fit(X).labels_
    wanted = adjusted_rand_score(labels, of_reference) - 0.05
    return Judged(ours=ours, recovered=adjusted_rand_score(labels, model.W_.argmax(axis=1)), wanted=wanted)


def graph(seed):
    """k-means of digits: the mutual information with the classes, beside that of scikit-learn's NMF."""
    X, y = digits(seed)
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    model, ours = seconds(lambda: fastnmf.GraphNMF(10, random_state=seed).fit(X))
    W = decomposition.NMF(10, init="nndsvda", max_iter=1000).fit_transform(X)
    plain = normalized_mutual_info_score(y, KMeans(10, n_init=4, random_state=seed).fit_predict(W))
    return Judged(ours=ours, recovered=normalized_mutual_info_score(y, model.labels_), wanted=plain - 0.02)


def semisupervised(seed):
    """Digits, one in five labelled: the accuracy on the others, beside logistic regression on the pixels."""
    X, y = digits(seed, 1000)
    known = np.arange(len(X)) % 5 == 0
    model, ours = seconds(lambda: fastnmf.SemiSupervisedNMF(20, random_state=seed).fit(X, np.where(known, y, -1)))
    other = LogisticRegression(max_iter=2000).fit(X[known] / 16, y[known]).score(X[~known] / 16, y[~known])
    return Judged(ours=ours, recovered=(model.predict(X)[~known] == y[~known]).mean(), wanted=other - 0.05)


def smooth(seed):
    """Planted bumps in noise: the mean cosine with the truth, beside that of scikit-learn's NMF."""
    rng, at = np.random.default_rng(seed), np.arange(100)
    H = np.exp(-0.5 * ((at - np.array([20, 50, 75])[:, None]) / 6) ** 2)
    X = np.maximum(rng.random((60, 3)) @ H + 0.3 * rng.standard_normal((60, 100)), 0)
    model, ours = seconds(lambda: fastnmf.SmoothNMF(3, random_state=seed).fit(X))
    other = decomposition.NMF(3, max_iter=1000).fit(X).components_
    return Judged(ours=ours, recovered=_cosine(model.components_, H), wanted=_cosine(other, H))


def _cosine(found, truth):
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (found, truth)]
    return (unit[0] @ unit[1].T).max(axis=0).mean()


def deep(seed):
    """Two layers against one: scikit-learn's NMF with as many components as the last layer."""
    X, _ = digits(seed)
    return compared(
        lambda **options: fastnmf.DeepNMF((20, 10), **options),
        lambda model: half_square(X - model.inverse_transform(model.W_)),
        of_scikit_learn(X, lambda X, Y: half_square(X - Y), max_iter=1000),
        seed,
        starts=3,
        fit=lambda model: model.fit(X),
    )


def chebyshev(seed):
    """L-BFGS-B on the 128-norm of the error, from that of the squared error; the largest error counts."""
    rng = np.random.default_rng(seed)
    X = np.maximum(rng.random((40, 3)) @ rng.random((3, 30)) + 0.05 * rng.uniform(-1, 1, (40, 30)), 0)

    def reference(rng):
        W, H = rng.random((40, 3)), rng.random((3, 30))
        for p in (2, 8, 32, 128):
            unit = np.abs(X - W @ H).max()

            def value(x, p=p, unit=unit):
                W, H = x[:120].reshape(40, 3), x[120:].reshape(3, 30)
                R = (W @ H - X) / unit
                total = (np.abs(R) ** p).sum()
                slope = total ** (1 / p - 1) * np.sign(R) * np.abs(R) ** (p - 1)
                return unit * total ** (1 / p), np.concatenate([(slope @ H.T).ravel(), (W.T @ slope).ravel()])

            x = np.concatenate([W.ravel(), H.ravel()])
            x = minimize(value, x, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(x), options={"maxiter": 500}).x
            W, H = x[:120].reshape(40, 3), x[120:].reshape(3, 30)
        return np.abs(X - W @ H).max()

    return compared(
        lambda **options: fastnmf.ChebyshevNMF(3, **options),
        lambda model: np.abs(X - model.W_ @ model.components_).max(),
        reference,
        seed,
        starts=3,
        fit=lambda model: model.fit(X),
    )


ROWS = {
    "NMF": nmf,
    "NMF, Kullback-Leibler": divergence("kullback-leibler", kullback_leibler),
    "NMF, Itakura-Saito": divergence("itakura-saito", itakura_saito, 0.1),
    "PLSA": plsa,
    "StratifiedNMF": stratified,
    "MiniBatchNMF": minibatch,
    "SymmetricNMF": symmetric,
    "TriSymmetricNMF": trisymmetric,
    "OrthogonalNMF": orthogonal,
    "SemiNMF": semi,
    "ConvexNMF": convex,
    "DictionaryNMF": dictionary,
    "ProjectiveNMF": projective,
    "TriNMF": tri,
    "AffineNMF": affine,
    "IntervalNMF": interval,
    "SparseNMF, two a row": sparse_rows,
    "DeepNMF": deep,
    "ChebyshevNMF": chebyshev,
    "RobustNMF": robust,
    "BooleanNMF": boolean,
    "BinaryNMF": binary,
    "SeparableNMF": separable,
    "ConvolutiveNMF": convolutive,
    "KernelNMF": kernel,
    "GraphNMF": graph,
    "SemiSupervisedNMF": semisupervised,
    "SmoothNMF": smooth,
    **MORE_ROWS,
}
HEADER = ("", "reference", "one start", "ten starts", "CPU s", "reference CPU s", "recovered", "wanted", "within")


def judge(name, n_seeds):
    """Return the line of a row, as texts, and whether it is within its margins."""
    row = ROWS[name]
    row(n_seeds)  # compiles the kernels
    found = np.median(np.array([row(seed) for seed in range(n_seeds)]), axis=0)
    one, ten, ours, reference, recovered, wanted = found
    is_within = not (one > ONE or ten > TEN or recovered < wanted)
    numbers = [
        "" if np.isnan(value) else f"{value:.{places}f}"
        for value, places in zip(found, (4, 4, 2, 2, 3, 3), strict=True)
    ]
    return [name, row.__doc__.splitlines()[0].rstrip("."), *numbers, "yes" if is_within else "NO"], is_within


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--only", metavar="NAME", help="rows whose name begins so")
    parser.add_argument("--output", type=Path, metavar="TABLE.md", help="write the table, too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(describe(), flush=True)
    numba.set_num_threads(1)  # processor time of threads that wait is no work
    threadpool_limits(1)
    lines, is_good = [], True
    for name in ROWS:
        if options.only is not None and not name.startswith(options.only):
            continue
        line, is_within = judge(name, options.seeds)
        lines.append(line)
        is_good &= is_within
        print(*line, sep="  ", flush=True)
    table = markdown(HEADER, lines)
    print(table)
    if options.output is not None:
        options.output.write_text(f"{table}\n", encoding="utf-8")
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
