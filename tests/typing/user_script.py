"""A program of a user: `correct` is right, and `mistaken` makes a mistake in each marked line.

`tests/test_typing.py` runs mypy over this file, and runs `correct`.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastnmf
from fastnmf import NMF, HierarchicalNMF, MetaNMF, MiniBatchNMF, MiniBatchStratifiedNMF, Start, StratifiedNMF
from fastnmf.compose import ElasticNetPenalty, EntrywiseLoss, Factorization, View
from fastnmf.datasets import load_karate_club, make_stratified, simulate_counts, simulate_ratings
from fastnmf.metrics import ResidualHistory, clustering_scores, coherence, sparseness
from fastnmf.testing import check_loss, check_penalty, check_update

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


def data() -> tuple[NDArray[np.float64], list[str]]:
    """Return positive counts of twelve rows in two strata."""
    rng = np.random.default_rng(0)
    return np.asarray(rng.poisson(3.0, (12, 8)) + 1, dtype=np.float64), ["a", "b"] * 6


def fit_all(X: NDArray[np.float64]) -> list[float]:
    """Fit every model with typical parameters."""
    bits, affinities = (X > 3).astype(float), X @ X.T
    few = 5
    rows: list[list[float]] = X.tolist()
    models = [
        fastnmf.AffineNMF(2, solver="hals", gauge="max_shift", extrapolate=False, max_iter=few).fit(X, checkpoint=None),
        fastnmf.BilinearNMF(2, init="rows", sweeps=2, max_iter=few, random_state=np.random.default_rng(1)).fit(X),
        fastnmf.BinaryNMF(2, n_init=2, warm_start=False).fit(bits),
        fastnmf.BooleanNMF(2, init="random", n_init=2).fit(bits),
        fastnmf.ChebyshevNMF(2, max_iter=1, n_threads=1).fit(X[:6, :5]),
        fastnmf.ConvexNMF(2, init="clusters", solver="mu", max_iter=few).fit(X),
        fastnmf.ConvolutiveNMF(2, n_lags=2, beta_loss=1, init="random", solver="mu", max_iter=few).fit(X),
        fastnmf.DeepNMF((3, 2), init="nested", solver="cd", max_iter=few).fit(X),
        fastnmf.DictionaryNMF(2, dictionary=X[:5], move="hals", max_iter=few).fit(X),
        fastnmf.DistributionallyRobustNMF(2, betas=(1, 2), weights=[0.5, 0.5], max_iter=few).fit(X),
        fastnmf.GraphNMF(2, graph_weight=1.0, n_neighbors=2, edge_weights="heat", alpha_H="same", max_iter=few).fit(X),
        fastnmf.HierarchicalNMF((3, 2), method="neural", loss="levels", solver="adam", max_iter=few).fit(X),
        fastnmf.IntervalNMF(2, move="mu", init="features", max_iter=few).fit(X, upper=X + 1),
        fastnmf.KernelNMF(2, kernel="rbf", gamma="median", components="free", max_iter=few).fit(X),
        fastnmf.MetaNMF(NMF(2), n_tasks=2, task_size=4, n_outer=2, n_inner=2, start="uniform").fit(X),
        fastnmf.MiniBatchNMF(2, batch_size=4, max_no_improvement=5, forget_factor=0.9, max_iter=few).fit(X),
        fastnmf.MiniBatchStratifiedNMF(2, sweeps="thorough", max_iter=few).fit(X, strata=[0, 1] * 6),
        fastnmf.NMF(2, init="nndsvda", solver="mu", beta_loss=1.5, exponent="fast", tol=0, max_iter=few).fit(rows),
        fastnmf.OrthogonalNMF(2, solver="em", max_iter=few).fit(X),
        fastnmf.PLSA(2, init="random", max_iter=few).fit(X, s=[0.5, 0.5]),
        fastnmf.ProjectiveNMF(2, init="clusters", max_iter=few, verbose=0).fit(X),
        fastnmf.RobustNMF(2, loss="huber", threshold=0.5, polish=0, smoothing=None, max_iter=few).fit(X),
        fastnmf.SemiNMF(2, init="svd", max_iter=few, max_time=5.0).fit(X - 3),
        fastnmf.SemiSupervisedNMF(2, label_weight=0.5, label_loss="frobenius", max_iter=few).fit(X, [0, 1, -1] * 4),
        fastnmf.SeparableNMF(2, axis=1, normalize=True).fit(X),
        fastnmf.SmoothNMF(2, smoothness=0.5, penalty="total_variation", max_iter=few).fit(X),
        fastnmf.SparseNMF(2, sparseness_H=None, max_features=3, max_components=1, max_iter=few).fit(X),
        fastnmf.StratifiedNMF(2, unknown_strata="mean", alpha_V=0.1, n_init=2, max_iter=few).fit(X, strata=[0, 1] * 6),
        fastnmf.SymmetricNMF(2, solver="penalised", coupling=0.2, diagonal=None, max_iter=few).fit(affinities),
        fastnmf.TriNMF((2, 3), orthogonal=True, max_iter=few).fit(X),
        fastnmf.TriSymmetricNMF(2, affinity="cooccurrence", anchor_mass=0.6, max_iter=few).fit(X),
        fastnmf.UnderapproximationNMF(2, feasible=True, init="svd", max_iter=few).fit(X),
    ]
    print(len(models))
    return [model.normalized_loss_ for model in models]


def stratified(X: NDArray[np.float64], labels: list[str], folder: Path) -> None:
    """Fit, inspect, save and load a model with strata."""
    seen: list[int] = []
    record = ResidualHistory(X, labels, every=2)
    model = StratifiedNMF(
        n_components=2,
        callback=lambda state: seen.insert(0, state.iteration),
        label_weight=0.5,
        random_state=0,
        missing_values=None,
        seed_features={0: [1, 2]},
    )
    model.max_iter, model.n_components, model.tol = 20, 3, 1e-3
    W: Floats = model.fit(X, y=["x", "y", "y"] * 4, strata=labels).transform(X, strata=labels)
    shifts: Floats = model.shifts_
    n_iter: int = model.n_iter_
    why: str = model.stopped_by_ + str(model.converged_)
    losses: Floats = model.history_["objective"]
    classes: NDArray[Any] = model.predict(X, strata=labels)
    probabilities: Floats = model.predict_proba(X, strata=labels)
    new_labels, new_shifts = model.estimate_shifts(X[:4], ["a", "new"] * 2)
    features = model.top_features(3)
    words: list[str] = features.components[0] + features.strata["a"]
    told = model.explain(X, strata=labels, n=2)
    share: float = told.gain + told.strata[0].explained
    print(W.shape, shifts.mean(), n_iter, why, losses[-1], classes[:2], probabilities.max(), new_labels)
    print(
        new_shifts.max(),
        words,
        share,
        told.verdict,
        model.score(X, strata=labels),
        model.top_samples(2).tolist(),
        seen[:2],
    )
    X_again: Floats = model.inverse_transform(W, strata=labels)
    errors: Floats = model.reconstruction_errors(X, strata=labels)
    print(X_again.sum(), errors.max(), model.predict_stratum(X).tolist(), model.coef_.shape, model.classes_.tolist())
    rated, liked = simulate_ratings(20, 15, random_state=0), model.recommend(0, 3, False)
    entries: Floats = model.predict_entries([0, 1], [2, 3])
    print(rated.test.shape, liked.names[0], liked.scores.max(), entries.sum(), model.similar_features(1, 2).columns)
    model.save(folder / "model.npz", feature_names=list("abcdefgh"))
    again: StratifiedNMF = fastnmf.load(folder / "model.npz")
    path: Path = fastnmf.write_report(again, folder / "report.html", X=X, title="Counts")
    print(again.feature_names_in_[0], path.exists(), again.stratum_sizes_.sum(), again.row_strata_.max())
    start: Start = again.as_start()
    warm = NMF(init=start, warm_start=True, callback=record, max_iter=4).fit_transform(X, sample_weight=np.ones(len(X)))
    print(warm.mean(), record.history_["kkt_residual"].max())


def others(X: NDArray[np.float64], labels: list[str], folder: Path) -> None:
    """Use batches, levels, tasks and functions."""
    matrix = fastnmf.save_csr(X, folder / "matrix")
    rows, columns = matrix.shape
    table = folder / "posts.csv"
    table.write_text("text,group\nlong posts,a\nshort posts,b\n")
    posts = fastnmf.read(table, text="text", strata="group", vectorizer={"min_df": 1})
    of_posts = StratifiedNMF(1).fit(posts)
    new = fastnmf.read(table, source=of_posts.source_)
    print(posts.feature_names, posts.strata, new.data.shape, of_posts.transform(new[:1]).sum(), new.shape[0] + 1)
    batches = MiniBatchNMF(2).fit_blocks(fastnmf.open_csr(folder / "matrix").blocks(4), n_passes=2).partial_fit(X)
    steps: int = batches.n_steps_ + rows + columns
    strata = MiniBatchStratifiedNMF(2).partial_fit(X, strata=labels).set_params(forget_factor=0.5)
    tree = HierarchicalNMF(n_components=[3, 2], max_iter=4, pool=None).fit(X)
    last: Floats = tree.transform(X)
    levels: list[Floats] = tree.transform(X, level=None)
    layers, weights = tree.display_factors()
    topics: list[list[str]] = tree.top_features(2, level=0)
    meta = MetaNMF(NMF(2), n_tasks=2, task_size=4, n_outer=2, n_inner=2, disjoint=False).fit(X)
    print(steps, strata.strata_.tolist(), last.shape, len(levels), len(layers), weights.shape, topics)
    print(tree.export_text(), meta.adapt(X, n_iter=3).n_iter_, meta.n_updates_, meta.transform(X).shape)
    ranks = fastnmf.select_rank(X, labels, range(1, 3), estimator=StratifiedNMF(max_iter=5), n_folds=2, n_restarts=2)
    kinds = fastnmf.select_strata(
        X, labels, 1, n_folds=2, rungs=["none", "strata"], estimator=StratifiedNMF(max_iter=5)
    )
    rung: str = kinds.best_1se.rung
    print(rung, kinds.verdict, kinds.estimator.get_params())
    best: int = ranks.best_rank + ranks.rank_1se
    held_out: Floats = ranks.held_out
    agreed = fastnmf.consensus(X, n_components=2, n_runs=3, density_threshold=2.0, random_state=0)
    stability: float = agreed.stability
    groups = fastnmf.cluster(NMF(2, max_iter=5).fit(X), n_clusters=2, metric="factor", random_state=0)
    scores: dict[str, float] = clustering_scores(labels, groups.labels)
    beta = fastnmf.select_beta(X, 2, betas=(1, 2), n_splits=1, max_iter=5, random_state=0)
    print(best, held_out.min(), stability, agreed.components.shape, groups.inertia, scores["nmi"])
    print(beta.best, beta.scores.shape)
    W, H, n_iter = fastnmf.non_negative_factorization(X, n_components=2, init="random", max_iter=4)
    V, parts, shared, course = fastnmf.stratified_nmf([X[:6], X[6:]], 2, 3, random_state=0)
    print(W @ H, n_iter + 1, V.shape, parts[0].shape, shared.shape, course[-1])
    print(fastnmf.metrics.normalized_loss(X, W, H))
    found = fastnmf.hierarchical_loss(X.T, [np.ones((8, 3)), np.ones((3, 2))], loss="recon")
    exact: Floats = fastnmf.nnls(np.eye(3), np.ones((3, 2)))
    print(found.loss, found.gradients[0].shape, exact.sum(), coherence(H, X).mean(), sparseness(H, axis=1)[0])
    planted, cells, club = make_stratified((6, 6), 5, 2, random_state=0), simulate_counts(20, 30), load_karate_club()
    truth: Floats = planted.V
    print(truth.shape, planted.strata.max(), cells.batch[0], cells.usage.sum(), club.target.sum(), club.data.shape)
    names = fastnmf.SymmetricNMF(2, max_iter=5).fit(club.data, W=None)
    print(names.labels_.tolist(), fastnmf.catalogue("PLSA")[0].formula, fastnmf.NMF.__name__, fastnmf.__version__)
    pipeline_step = NMF(2, max_iter=5).set_output(transform="default")
    print(pipeline_step.get_params(deep=False)["alpha_W"], pipeline_step.fit(X).get_feature_names_out().tolist())


class Separation:
    """Penalty of a user."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def value(self, F: Floats) -> float:
        return float(self.weight * (F.sum(axis=0) @ F.sum(axis=0) - (F * F).sum()))

    def half_gradient(self, F: Floats) -> Floats:
        gradient: Floats = self.weight * (F.sum(axis=0) - F)
        return gradient


class Neyman(EntrywiseLoss):
    """Loss of a user: (x - y)² / y."""

    degree, zero_slope = 1.0, 1.0

    def value(self, x: Floats, y: Floats) -> Floats:
        return np.asarray((x - y) ** 2 / y)

    def pos(self, x: Floats, y: Floats) -> Floats:
        return np.asarray((x / y) ** 2)

    def neg(self, x: Floats, y: Floats) -> Floats:
        return np.ones_like(y)


class Descent:
    """Update of a user."""

    def step(self, F: Floats, view: View) -> Floats:
        assert view.gram is not None
        return np.asarray(np.maximum(F - view.half_gradient(F) / np.linalg.norm(view.gram, 2), 0))


def composed(X: NDArray[np.float64], labels: list[str], folder: Path) -> None:
    """Compose models of parts of our own."""
    check_penalty(Separation(0.5), degree=2)
    check_loss(Neyman())
    check_update(Descent())
    penalties = {"H": [Separation(0.5)], "W": [ElasticNetPenalty(l2=0.1)]}
    model = Factorization(2, penalties=penalties, updates={"W": "exact", "H": Descent()}, max_iter=9).fit(X)
    by_schedule = Factorization(2, strata=True, schedule=("W", "V", ("H", 2)), extrapolate=False).fit(X, strata=labels)
    shifts: Floats = by_schedule.shifts_
    by_loss = NMF(2, solver="mu", beta_loss=Neyman(), max_iter=9).fit(X)
    stratified = StratifiedNMF(2, penalties={"V": Separation(0.1)}, max_iter=9).fit(X, strata=labels)
    model.save(folder / "composed.npz")
    again: Factorization = fastnmf.load(folder / "composed.npz", penalties=penalties, updates="hals")
    print(again.transform(X).shape, shifts.shape, by_loss.n_iter_, stratified.score(X, strata=labels), model.updates)


def correct(folder: Path) -> None:
    """Run everything that is right."""
    X, labels = data()
    print(fit_all(X))
    stratified(X, labels, folder)
    others(X, labels, folder)
    composed(X, labels, folder)


def mistaken(X: NDArray[np.float64], labels: list[str]) -> None:
    """Make mistakes; each marked line has one, of the marked code."""
    from fastnmf import NFM  # error: [attr-defined]

    print(NFM)
    model = StratifiedNMF(3).fit(X, strata=labels)
    plain = NMF(4, solver="cd")
    # parameters
    print(NMF(n_component=4))  # error: [call-arg]
    print(NMF(4, slover="cd"))  # error: [call-arg]
    print(NMF("twenty"))  # error: [arg-type]
    print(NMF(4, init="random", solver="newton"))  # error: [arg-type]
    print(NMF(4, random_state="0"))  # error: [arg-type]
    print(NMF(4, fixed_components=3))  # error: [arg-type]
    print(NMF(4, callback=lambda state: state.iterations > 3))  # error: [attr-defined]
    print(StratifiedNMF(4, solver="cd"))  # error: [arg-type]
    print(fastnmf.SmoothNMF(4, alpha_W=0.1))  # error: [call-arg]
    print(fastnmf.SeparableNMF(4, tol=1e-3))  # error: [call-arg]
    print(fastnmf.KernelNMF(4, kernel=3))  # error: [arg-type]
    print(fastnmf.GraphNMF(4, edge_weights="hot"))  # error: [arg-type]
    print(fastnmf.TriNMF((2, 3, 4)))  # error: [arg-type]
    plain.n_components = "four"  # error: [assignment]
    plain.max_itre = 5  # error: [attr-defined]
    plain.alpha_H = "different"  # error: [assignment]
    # methods and their arguments
    print(model.fit(X, stratum=labels))  # error: [call-arg]
    print(model.transfrom(X))  # error: [attr-defined]
    print(model.predict(X, stratum=labels))  # error: [call-arg]
    print(plain.fit(X, strata=labels))  # error: [call-arg]
    print(plain.fit("counts.csv"))  # error: [arg-type]
    print(plain.fit(X).transform(X, 3))  # error: [call-arg]
    print(plain.fit(X).predict(X))  # error: [attr-defined]
    print(fastnmf.SemiNMF(3).fit_transform(X, H=X))  # error: [call-arg]
    print(fastnmf.PLSA(3).fit_transform(X, sample_weight=[1.0]))  # error: [call-arg]
    print(MiniBatchNMF(3).partial_fit(X, strata=labels))  # error: [call-arg]
    print(HierarchicalNMF((4, 2)).fit(X).transform(X, level="last"))  # error: [call-overload]
    print(plain.set_output(transform="panda"))  # error: [arg-type]
    print(plain.get_param())  # error: [attr-defined]
    plain.save()  # error: [call-arg]
    print(fastnmf.read("posts.csv", txt="text"))  # error: [call-arg]
    print(fastnmf.read("posts.csv").stratum)  # error: [attr-defined]
    print(fastnmf.SymmetricNMF(3).fit(X).transform(X))  # error: [attr-defined]
    # fitted attributes
    print(model.shift_)  # error: [attr-defined]
    n: str = model.n_iter_  # error: [assignment]
    print(n, plain.shifts_)  # error: [attr-defined]
    print(fastnmf.KernelNMF(3).fit(X).components_)  # error: [attr-defined]
    print(fastnmf.SeparableNMF(3).fit(X).converged_)  # error: [attr-defined]
    print(model.history_ + 1)  # error: [operator]
    print(HierarchicalNMF((4, 2)).fit(X).components_.shape)  # error: [attr-defined]
    weights: list[int] = model.transform(X, strata=labels)  # error: [assignment]
    print(weights, model.explain(X).verdicts)  # error: [attr-defined]
    print(model.top_features().component)  # error: [attr-defined]
    # compositions
    print(Factorization(3, penalty={"H": [Separation(1.0)]}))  # error: [call-arg]
    print(Factorization(3, updates="cd"))  # error: [arg-type]
    print(Factorization(3, loss="kl"))  # error: [arg-type]
    print(Factorization(3).fit(X, stratum=labels))  # error: [call-arg]
    print(Factorization(3).fit(X).component_)  # error: [attr-defined]
    print(NMF(3, penalties=[Separation(1.0)]))  # error: [arg-type]
    print(ElasticNetPenalty(l3=1.0))  # error: [call-arg]
    check_penalty(Descent())  # error: [arg-type]
    check_loss("frobenius")  # error: [arg-type]
    check_update(Descent(), losses="frobenius")  # error: [call-arg]
    # functions and their results
    best: str = fastnmf.select_rank(X).best_rank  # error: [assignment]
    print(best, fastnmf.select_rank(X, rank=[1, 2]))  # error: [call-arg]
    print(fastnmf.select_rank(X, estimator="nmf"))  # error: [arg-type]
    print(fastnmf.consensus(X, runs=3))  # error: [call-arg]
    print(fastnmf.cluster(plain, metric="cosine"))  # error: [arg-type]
    print(fastnmf.cluster(plain).center)  # error: [attr-defined]
    print(fastnmf.select_beta(X).bets)  # error: [attr-defined]
    print(fastnmf.catalogue()[0].formulas)  # error: [attr-defined]
    print(fastnmf.load(5))  # error: [arg-type]
    print(fastnmf.write_report(model))  # error: [call-arg]
    print(fastnmf.warmup(kl=True))  # error: [call-arg]
    print(fastnmf.open_csr("folder").nonzeros)  # error: [attr-defined]
    print(fastnmf.metrics.coherance)  # error: [attr-defined]
    print(fastnmf.plots.plot_los)  # error: [attr-defined]
    print(coherence(X, X, measure="pmi"))  # error: [arg-type]
    print(make_stratified(size=(3, 4)))  # error: [call-arg]
    print(simulate_counts().batches)  # error: [attr-defined]
    print(Start(X, w=X))  # error: [call-arg]
    print(fastnmf.non_negative_factorization(X)[2] + "iterations")  # error: [operator]


if __name__ == "__main__":
    correct(Path(sys.argv[1]))
