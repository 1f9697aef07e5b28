"""Held-out error and ranking of ratings and plays, against alternating least squares (ALS): tables of docs/ratings.md.

Both sides have the same rank. ALS is what the field publishes (Zhou et al. 2008; Hu, Koren and Volinsky 2008), without
a sign constraint: `N_ROUNDS` loops over rows, each solved by LAPACK. Ratings are simulated: activity of users and
popularity of items have heavy tails, tastes have either sign. Seconds are those of one thread's processor time.

Usage: python bench/recommenders.py [--size 100k|1m|10m] [--rank 20] [--plays]
"""

import argparse
import time
import warnings

import numpy as np
import scipy.sparse as sp
from table import markdown
from threadpoolctl import threadpool_limits

from fastnmf import NMF, StratifiedNMF

SIZES = {"100k": (943, 1682, 100_000), "1m": (6040, 3706, 1_000_000), "10m": (69_878, 10_677, 10_000_000)}
N_TASTES, N_ROUNDS, TOP, PLAYED, RELATIVE = 12, 15, 10, 4, 20.0


def planted(n_users, n_items, n_ratings, rng, *, of_taste=False):
    """Return training and test ratings, csr_array each; a tenth is held out.

    Parameters
    ----------
    n_users, n_items, n_ratings : int
    rng : numpy.random.Generator
    of_taste : bool, default=False
        Whether users rate what suits their taste: which items they rate, not only how, then tells their taste.
    """
    activity, popularity = np.exp(rng.normal(size=n_users)), rng.permutation(1 / (np.arange(n_items) + 30.0))
    chance = [np.cumsum(each / each.sum()) for each in (activity, popularity)]
    pairs, n_drawn = np.empty(0, np.int64), 3 * n_ratings if of_taste else n_ratings
    while len(pairs) < n_drawn:
        more = rng.random((2, n_drawn - len(pairs) + 1000))
        row, column = (np.minimum(np.searchsorted(*pair), len(pair[0]) - 1) for pair in zip(chance, more, strict=True))
        pairs = np.unique(np.append(pairs, row * n_items + column))
    row, column = np.divmod(np.sort(rng.permutation(pairs)[:n_drawn]), n_items)
    of_user = rng.normal(size=(n_users, N_TASTES)) / np.sqrt(1 + np.arange(N_TASTES))
    taste = entries(of_user, rng.normal(size=(n_items, N_TASTES)), row, column)
    taste /= taste.std()
    if of_taste:
        kept = np.sort(np.argsort(-taste - rng.gumbel(size=n_drawn))[:n_ratings])
        row, column, taste = row[kept], column[kept], taste[kept]
    level = 3.6 + rng.normal(0, 0.42, n_users)[row] + rng.normal(0, 0.5, n_items)[column]
    level += 0.15 * np.log(popularity / popularity.mean())[column] + 0.45 * taste
    rating = np.clip(np.rint(level + 0.78 * rng.normal(size=n_ratings)), 1, 5)
    is_test = rng.random(n_ratings) < 0.1
    parts = ((rating[part], (row[part], column[part])) for part in (~is_test, is_test))
    return tuple(sp.csr_array(part, shape=(n_users, n_items)) for part in parts)


def entries(W, H, row, column):
    """Return ``w_i . h_j`` of the rows of W (n, k) and H (m, k), some at a time."""
    out = np.empty(len(row))
    for lo in range(0, len(row), 1 << 18):
        part = slice(lo, lo + (1 << 18))
        out[part] = np.einsum("ec,ec->e", W[row[part]], H[column[part]])
    return out


def als(train, rank, ridge, rng, *, is_implicit=False):
    """Return factors (n, rank), (m, rank) after `N_ROUNDS` of exact least squares, row by row.

    Parameters
    ----------
    train : csr_array (n, m)
    rank : int
    ridge : float
        Times the number of known entries of a row; as it is where `is_implicit`.
    rng : numpy.random.Generator
    is_implicit : bool, default=False
        Whether entries that are not stored are zeros of weight 1, and the others have weight 1 + `RELATIVE`.
    """
    sides, eye = (train, sp.csr_array(train.T)), np.eye(rank)
    W, H = (0.1 * rng.normal(size=(n, rank)) for n in train.shape)
    H[:, 0] = np.maximum(sides[1].sum(axis=1) / np.maximum(np.diff(sides[1].indptr), 1), 0.1)
    for _ in range(N_ROUNDS):
        for A, F, G in ((sides[0], W, H), (sides[1], H, W)):
            shared = G.T @ G + ridge * eye if is_implicit else None
            for i in range(len(F)):
                part = slice(A.indptr[i], A.indptr[i + 1])
                g, x = G[A.indices[part]], A.data[part]
                gram = shared + RELATIVE * (g.T @ g) if is_implicit else g.T @ g + ridge * max(len(x), 1) * eye
                F[i] = np.linalg.solve(gram, (1 + RELATIVE) * (x @ g) if is_implicit else x @ g)
    return W, H


def means(train, test):
    """Return predictions by an offset of each user and of each item, shrunk as if five more ratings had none."""
    (row, column), x = train.tocoo().coords, train.data
    total, of_user, of_item = x.mean(), np.zeros(train.shape[0]), np.zeros(train.shape[1])
    n_user, n_item = (np.bincount(at, minlength=n) + 5.0 for at, n in zip((row, column), train.shape, strict=True))
    for _ in range(8):
        of_item = np.bincount(column, x - total - of_user[row], len(of_item)) / n_item
        of_user = np.bincount(row, x - total - of_item[column], len(of_user)) / n_user
    row, column = test.tocoo().coords
    return total + of_user[row] + of_item[column]


def rating_scores(test, found):
    """Return the error of predictions clipped to 1 to 5, and the mean NDCG of users over their held-out ratings."""
    error = np.sqrt(np.mean((np.clip(found, 1, 5) - test.data) ** 2))
    gain, discount, each = 2.0**test.data - 1, 1 / np.log2(np.arange(TOP) + 2), []
    for lo, hi in zip(test.indptr, test.indptr[1:], strict=False):
        if hi - lo > 1:
            own, n = gain[lo:hi], min(TOP, hi - lo)
            order = np.argsort(-found[lo:hi], kind="stable")[:n]
            each.append(own[order] @ discount[:n] / (-np.sort(-own)[:n] @ discount[:n]))
    return f"{error:.4f}", f"{np.mean(each):.4f}"


def play_scores(train, test, W, H):
    """Return the share of held-out plays among the `TOP` items that are not in train, and the NDCG, means of users."""
    users, discount, recall, ndcg = np.flatnonzero(np.diff(test.indptr)), 1 / np.log2(np.arange(TOP) + 2), [], []
    for i in users[:5000]:
        score = W[i] @ H.T
        score[train.indices[train.indptr[i] : train.indptr[i + 1]]] = -np.inf
        own = test.indices[test.indptr[i] : test.indptr[i + 1]]
        best = np.argpartition(-score, TOP)[:TOP]
        hits = np.isin(best[np.argsort(-score[best])], own)
        recall.append(hits.sum() / min(TOP, len(own)))
        ndcg.append(hits @ discount / discount[: min(TOP, len(own))].sum())
    return f"{np.mean(recall):.4f}", f"{np.mean(ndcg):.4f}"


def table_of_ratings(train, test, rank):
    """Print held-out error, NDCG and seconds of fits of ratings."""
    at, rows = test.tocoo().coords, [["means of user and item", "", *rating_scores(test, means(train, test)), ""]]
    for ridge in (0.03, 0.05, 0.1, 0.15):
        began = time.process_time()
        W, H = als(train, rank, ridge, np.random.default_rng(0))
        seconds = time.process_time() - began
        rows.append([f"ALS({rank})", f"{ridge:g}", *rating_scores(test, entries(W, H, *at)), f"{seconds:.1f}"])
    given = {"missing_values": "zeros", "random_state": 0, "n_threads": 1}
    one = {"strata": np.zeros(train.shape[0], int)}
    for kind, alpha, more in (
        *((NMF, alpha, {}) for alpha in (0.03, 0.05, 0.1, 0.15, 0.2)),
        *((NMF, alpha, {"tol": 1e-3}) for alpha in (0.05, 0.1)),
        *((StratifiedNMF, alpha, {"tol": 1e-3}) for alpha in (0.03, 0.05, 0.1)),
    ):
        began = time.process_time()
        model = kind(rank, alpha_W=alpha, **given, **more).fit(train, **(one if kind is StratifiedNMF else {}))
        seconds = time.process_time() - began
        name = f"{kind.__name__}({rank}{', tol=1e-3' if more else ''})"
        rows.append([name, f"{alpha:g}", *rating_scores(test, model.predict_entries(*at)), f"{seconds:.1f}"])
    print(markdown(["model", "penalty", "error", f"NDCG@{TOP}", "seconds"], rows))


def table_of_plays(train, test, rank):
    """Print recall, NDCG and seconds of fits of plays: of ratings of `PLAYED` or more."""
    train, test = (sp.csr_array((A >= PLAYED).astype(float)) for A in (train, test))
    popular = np.bincount(train.indices, minlength=train.shape[1])[:, None]
    rows = [["most played items", "", *play_scores(train, test, np.ones((train.shape[0], 1)), popular), ""]]
    for ridge in (10.0, 100.0, 300.0, 1000.0):
        began = time.process_time()
        W, H = als(train, rank, ridge, np.random.default_rng(0), is_implicit=True)
        seconds = time.process_time() - began
        rows.append([f"ALS({rank})", f"{ridge:g}", *play_scores(train, test, W, H), f"{seconds:.1f}"])
    for alpha, tol in ((0.02, 1e-4), (0.05, 1e-4), (0.1, 1e-4), (0.2, 1e-4), (0.05, 1e-3), (0.1, 1e-3)):
        began = time.process_time()
        model = NMF(rank, alpha_W=alpha, random_state=0, tol=tol, n_threads=1)
        model.fit(train, weight=(1 + RELATIVE) * train, background=1.0)
        seconds = time.process_time() - began
        name = f"NMF({rank}{', tol=1e-3' if tol > 1e-4 else ''})"
        scores = play_scores(train, test, model.W_, model.components_.T)
        rows.append([name, f"{alpha:g}", *scores, f"{seconds:.1f}"])
    print(markdown(["model", "penalty", f"recall@{TOP}", f"NDCG@{TOP}", "seconds"], rows))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="100k")
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--plays", action="store_true", help="plays in place of ratings")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    few = planted(200, 100, 4000, np.random.default_rng(1))[0]
    NMF(given.rank, missing_values="zeros", max_iter=3).fit(few)  # compiles kernels
    train, test = planted(*SIZES[given.size], np.random.default_rng(0), of_taste=given.plays)
    with threadpool_limits(1):
        (table_of_plays if given.plays else table_of_ratings)(train, test, given.rank)


if __name__ == "__main__":
    main()
