"""One cell of the tables of the thesis: a data set, a level of noise, a method, a rank and a seed give one row.

The protocol is that of the published program. Every feature is scaled to [0, 1] on all samples, noise is added and its
sign dropped, half of the samples (seed 42) are for learning, and the other half is factorised and clustered. A method
gets both halves without labels and returns factors of the second one. Matrices have one row a sample: W and H here are
the transposed H and W of the thesis.
"""

import sys
import time
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.cluster import KMeans
from sklearn.datasets import fetch_olivetti_faces, load_digits, make_blobs
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import minmax_scale, normalize

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from fastnmf import NMF, GraphNMF, MetaNMF, cluster, datasets
from fastnmf.core import init
from fastnmf.data.strata import Strata
from fastnmf.datasets.fetch import fetch
from fastnmf.metrics.clusters import clustering_scores

SPLIT = 42
N_TASKS = 5
PROGRAM = {"accumulate": True, "task_size": 100, "disjoint": False}  # the published program
TEXT = {"accumulate": False, "task_size": 50, "disjoint": True}  # Algorithm 1 of the text, its misprints resolved
WIDTH, WEIGHT = 0.25, 0.3  # of the affinities exp(-d² / WIDTH) of the program, and of their penalty
NEIGHBOURS, GRAPH_WEIGHT, GRAPH_ITERATIONS = 5, 100.0, 500  # Cai et al. 2011
TINY = np.finfo(np.float32).eps
BLOCK = 1 << 16  # entries; half the time of whole matrices


# ---------------------------------------------------------------- data


def _blobs(settings):
    return make_blobs(settings["blobs"], 500, centers=5, cluster_std=25, random_state=0)


def _digits(settings):
    return load_digits(return_X_y=True)


def _clothing(settings):
    bunch = datasets.load_fashion_mnist()
    return bunch.data[: settings["images"]], bunch.target[: settings["images"]]


def _faces(settings):
    bunch = fetch(fetch_olivetti_faces, "Olivetti faces", None, True)
    return bunch.images.reshape(-1, 32, 2, 32, 2).mean(axis=(2, 4)).reshape(-1, 1024), bunch.target


def _objects(settings):
    bunch = datasets.load_coil20()
    return bunch.data, bunch.target


SETS = {"Blobs": _blobs, "Digits": _digits, "COIL-20": _objects, "Olivetti faces": _faces, "Fashion-MNIST": _clothing}


@lru_cache(maxsize=2)
def _scaled(name, items):
    """Return the samples with every feature in [0, 1], and their classes from 0."""
    X, y = SETS[name](dict(items))
    return np.abs(minmax_scale(X)), np.unique(y, return_inverse=True)[1]


def halves(name, sigma, seed, settings):
    """Return the samples to learn from, those to cluster, and the classes of the latter."""
    X, y = _scaled(name, tuple(sorted(settings.items())))
    if sigma:
        X = np.abs(X + np.random.default_rng((7, seed)).normal(0, sigma, X.shape))
    learn, evaluate, _, classes = train_test_split(X.astype(np.float32), y, test_size=0.5, random_state=SPLIT)
    return np.ascontiguousarray(learn), np.ascontiguousarray(evaluate), classes


# ---------------------------------------------------------------- what a method works with


@dataclass
class Task:
    """Both halves of the samples, the rank, and how long is iterated: `inner` times, by Meta-NMF in `outer` rounds."""

    learn: np.ndarray
    evaluate: np.ndarray
    rank: int
    seed: int
    outer: int
    inner: int
    rng: np.random.Generator = field(init=False)

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)

    def uniform(self, n):
        """Draw a factor with n rows from U[0, 1)."""
        return self.rng.random((n, self.rank), dtype=np.float32)

    def start(self, X):
        """Draw W and H."""
        return self.uniform(len(X)), self.uniform(X.shape[1]).T


@dataclass
class Factors:
    """W (n, k), H (k, m), iterations on matrices of that size, and the metric of the clusters, as `cluster` has it."""

    W: np.ndarray
    H: np.ndarray
    iterations: int
    metric: str = "max"


def multiplicative(rank, iterations=100, init="custom"):
    """Return plain NMF with so many multiplicative updates of the squared error."""
    return NMF(rank, solver="mu", init=init, max_iter=iterations, tol=0, n_threads=1)


def squared(X, W, H, iterations):
    """Iterate from a given start."""
    model = multiplicative(len(H), iterations).fit(X, W=W, H=H)
    return model.W_, model.components_


class Damped:
    """What the program calls GNMF: updates of Kullback-Leibler with affinities exp(-d² / 0.25) of all pairs.

    Few pairs of samples are so near that this is not zero. What stays is the diagonal, which a Laplacian does not have:
    it holds W back. Affinities below 1e-8 are left out.
    """

    def __init__(self):
        self.last = None, None

    def affinity(self, X):
        """Return the affinities, those of a matrix that comes again at once kept."""
        if self.last[0] is not X:
            A = np.exp(euclidean_distances(X, squared=True) / -WIDTH)
            np.fill_diagonal(A, 1)
            self.last = X, sp.csr_array(np.where(A > 1e-8, A, 0).astype(X.dtype))
        return self.last[1]

    def __call__(self, X, W, H, iterations):
        A, W, H = self.affinity(X), W.copy(), H.copy()
        degree = np.asarray(A.sum(axis=1)).reshape(-1, 1)
        for _ in range(iterations):
            up = WEIGHT * (A @ W)
            for rows, ratio in ratios(X, W, H):
                up[rows] += ratio @ H.T
            W *= up / np.maximum(H.sum(axis=1) + WEIGHT * degree * W, TINY)
            up = sum(W[rows].T @ ratio for rows, ratio in ratios(X, W, H))
            H *= up / np.maximum(W.sum(axis=0)[:, None], TINY)
        return W, H


def ratios(X, W, H):
    """Give X / (W H) by blocks of rows, each in the same memory, small enough for the cache."""
    step = min(len(X), 1 + BLOCK // X.shape[1])
    space = np.empty((step, X.shape[1]), X.dtype)
    for begin in range(0, len(X), step):
        rows = slice(begin, begin + step)
        ratio = np.matmul(W[rows], H, out=space[: len(X[rows])])
        np.maximum(ratio, TINY, out=ratio)
        yield rows, np.divide(X[rows], ratio, out=ratio)


def nndsvd(X, rank, fill=None):
    """Return the start from singular vectors, with exact zeros, or with a hundredth of the mean instead ("mean")."""
    W, H, _ = init.nndsvd(Strata.from_array(X), rank, np.random.default_rng(0), has_shifts=False, fill=fill)
    return W.astype(X.dtype), H.T.astype(X.dtype)


def unit_rows(H):
    """Return the rows with a largest entry of 1."""
    return H / np.maximum(H.max(axis=1, keepdims=True), 1e-30)


def against(X, H):
    """Return the W that the program starts from where it has an H only: X Hᵀ."""
    return X @ H.T


# ---------------------------------------------------------------- the methods


def plain(task, engine):
    """Iterate from uniform random factors."""
    return Factors(*engine(task.evaluate, *task.start(task.evaluate), task.inner), task.inner)


def from_singular(task, engine, fill=None):
    """Iterate from NNDSVD."""
    return Factors(*engine(task.evaluate, *nndsvd(task.evaluate, task.rank, fill), task.inner), task.inner)


def meta(task, estimator, *, task_size, disjoint, **options):
    """Learn H on small tasks in turn with a large one, then iterate on the other half from there."""
    n = len(task.learn)
    size = min(task_size, n // (2 * N_TASKS) if disjoint else n)  # of 200 faces, five times 50 would leave none
    model = MetaNMF(
        estimator,
        n_tasks=N_TASKS,
        task_size=size,
        disjoint=disjoint,
        n_outer=task.outer,
        n_inner=task.inner,
        inner_tol=0,
        random_state=task.seed,
        **options,
    )
    found = model.fit(task.learn).adapt(task.evaluate)
    metric = "product" if isinstance(estimator, GraphNMF) else "max"
    return Factors(found.W_, found.components_, (task.outer + 1) * task.inner, metric)


def meta_damped(task, singular=False):
    """Do the same with what the program calls GNMF, every small task with affinities of its own.

    With `singular` the small tasks start from NNDSVD in every second round, as the program does by a slip of a
    comparison where this is not asked for.
    """
    size, large = min(PROGRAM["task_size"], len(task.learn)), task.learn
    small = [large[task.rng.choice(len(large), size, replace=False)] for _ in range(N_TASKS)]
    engines = [Damped() for _ in range(N_TASKS + 1)]  # each keeps the affinities of its matrix
    H = np.zeros((task.rank, large.shape[1]), np.float32)
    own, total = [task.uniform(large.shape[1]).T for _ in small], 0
    for round_ in range(task.outer):
        for i, X in enumerate(small):
            begin = nndsvd(X, task.rank) if singular and round_ % 2 == 0 else (against(X, H + own[i]), H + own[i])
            own[i] = unit_rows(engines[i](X, *begin, task.inner)[1])
        total = total + sum(own)
        begin = H + total / N_TASKS
        H = unit_rows(engines[-1](large, against(large, begin), begin, task.inner)[1])
    W, H = engines[-1](task.evaluate, against(task.evaluate, H), H, task.inner)
    return Factors(W, H, (task.outer + 1) * task.inner)


def same_budget(task, engine):
    """Iterate as often as Meta-NMF does on its large task and on the samples to cluster together."""
    total = (task.outer + 1) * task.inner
    return Factors(*engine(task.evaluate, *task.start(task.evaluate), total), total)


def pre_trained(task):
    """Learn H by plain NMF on the whole learning half, then iterate from there."""
    W, H = task.start(task.learn)
    learned = multiplicative(task.rank, task.outer * task.inner).fit(task.learn, W=W, H=H)
    model = multiplicative(task.rank, task.inner, init=learned).fit(task.evaluate)
    return Factors(model.W_, model.components_, (task.outer + 1) * task.inner)


def hals(task):
    """Run coordinate descent until it stops by itself; cluster by the distances of W H."""
    model = NMF(task.rank, solver="hals", init="random", random_state=task.seed, tol=1e-4, max_iter=2000, n_threads=1)
    W = model.fit_transform(task.evaluate)
    return Factors(W, model.components_, model.n_iter_, "product")


def graph(task):
    """Fit the graph-regularised NMF of Cai et al. to samples of length one, with their weight of the graph."""
    model = GraphNMF(
        task.rank,
        graph_weight=GRAPH_WEIGHT,
        n_neighbors=NEIGHBOURS,
        solver="mu",
        init="random",
        max_iter=GRAPH_ITERATIONS,
        tol=0,
        random_state=task.seed,
        n_threads=1,
    ).fit(normalize(task.evaluate))
    return Factors(model.W_, model.components_, model.n_iter_, "product")


def graph_default(task):
    """Fit GraphNMF as it comes."""
    model = GraphNMF(task.rank, random_state=task.seed, n_threads=1).fit(task.evaluate)
    return Factors(model.W_, model.components_, model.n_iter_, "product")


def samples(task):
    """Cluster the samples themselves: no factorisation."""
    return Factors(task.evaluate, None, 0)


METHODS = {
    "NMF": lambda task: plain(task, squared),
    "NMF-NNDSVD": lambda task: from_singular(task, squared),
    "GNMF": lambda task: plain(task, Damped()),
    "GNMF-NNDSVD": lambda task: from_singular(task, Damped()),
    "Meta-NMF": lambda task: meta(task, multiplicative(task.rank), **PROGRAM),
    "Meta-NMF-NNDSVD": lambda task: meta(task, multiplicative(task.rank, init="nndsvd"), start="estimator", **TEXT),
    "Meta-GNMF": lambda task: meta_damped(task, singular=True),
    "Meta-GNMF-NNDSVD": meta_damped,
    "Meta-NMF, as in the text": lambda task: meta(task, multiplicative(task.rank), **TEXT),
    "NMF-NNDSVDa": lambda task: from_singular(task, squared, "mean"),
    "NMF, same budget": lambda task: same_budget(task, squared),
    "NMF, pre-trained": pre_trained,
    "GNMF, same budget": lambda task: same_budget(task, Damped()),
    "NMF, HALS": hals,
    "GraphNMF": graph_default,
    "GraphNMF, Meta": lambda task: meta(task, GraphNMF(task.rank, solver="mu", n_threads=1), **TEXT),
    "GraphNMF, weight 100": graph,
    "k-means": samples,
}
RANKLESS = {"k-means"}


# ---------------------------------------------------------------- clusters, and a cell


def scores(found, classes, seed, metric):
    """Cluster into as many clusters as there are classes, and compare."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct points than clusters: dead components
        if found.H is not None:
            return cluster(found.W, found.H, metric=metric, labels=classes, random_state=seed).scores
        clusters = KMeans(int(classes.max()) + 1, n_init=10, random_state=seed).fit_predict(found.W)
        return clustering_scores(classes, clusters)


@lru_cache(maxsize=1)
def warm():
    """Compile what the fits need, so that no cell is charged with it."""
    rng = np.random.default_rng(0)
    task = Task(*rng.random((2, 60, 40), dtype=np.float32), rank=2, seed=0, outer=1, inner=1)
    for name in ("NMF", "NMF-NNDSVD", "Meta-NMF", "NMF, HALS", "GraphNMF", "GraphNMF, Meta"):
        METHODS[name](task)


def affinity_facts(X):
    """Return what the graph of the program is like: the largest affinity of a sample, and whether it has one at all."""
    A = Damped().affinity(X)
    A = A - sp.diags_array(A.diagonal())
    row_sums = np.asarray(A.sum(axis=1)).ravel()
    return {
        "median_affinity": float(np.median(A.max(axis=1).toarray())),
        "share_with_neighbours": float(np.mean(row_sums > 0.1)),
    }


def run_cell(cell, settings, folder=None):
    """Run one cell; return its row.

    Parameters
    ----------
    cell : dict
        ``data``, ``sigma``, ``method``, ``rank``, ``seed``.
    settings : dict
        ``outer``, ``inner``, ``images``, ``blobs``: what all cells share.
    folder : Path, optional
        Where components are kept that are to be drawn: of faces, rank 10, seed 0, no noise.
    """
    warm()
    learn, evaluate, classes = halves(cell["data"], cell["sigma"], cell["seed"], settings)
    row = dict(cell) | settings
    if cell["method"] == "affinity":
        return row | affinity_facts(evaluate)
    task = Task(learn, evaluate, cell["rank"], cell["seed"], settings["outer"], settings["inner"])
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fixed number of iterations is no failure to converge
        found = METHODS[cell["method"]](task)
    row["cpu_seconds"] = time.process_time() - began
    row["iterations"] = int(found.iterations)
    row |= scores(found, classes, cell["seed"], found.metric)
    if found.H is not None:
        for metric in ("max", "product"):  # k-means sees the scale of components, or it does not
            is_own = metric == found.metric
            row[f"nmi_{metric}"] = row["nmi"] if is_own else scores(found, classes, cell["seed"], metric)["nmi"]
        X = normalize(evaluate) if cell["method"] == "GraphNMF, weight 100" else evaluate
        row["error"] = float(np.linalg.norm(X - found.W @ found.H) / np.linalg.norm(X))
    is_drawn = cell["data"] == "Olivetti faces" and (cell["rank"], cell["seed"], cell["sigma"]) == (10, 0, 0)
    if folder is not None and is_drawn and found.H is not None:
        (folder / "components").mkdir(exist_ok=True)
        np.save(folder / "components" / f"{slug(cell['method'])}.npy", found.H.astype(np.float32))
    return row


def slug(method):
    """Return the name of a method as part of a file name."""
    return method.replace(",", "").replace(" ", "_")
