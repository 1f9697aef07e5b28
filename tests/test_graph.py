"""Graphs of samples and features: kernels against plain loops, published numbers, descent, and what it is for."""

import itertools
import warnings
from types import SimpleNamespace

import numpy as np
import oracle_data
import oracles_graph
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls
from sklearn.cluster import KMeans

from fastnmf import NMF, GraphNMF, load
from fastnmf.core.factors import Factors, row_tasks
from fastnmf.core.losses.graph import Graph, Neighbours, colour_classes, compressed
from fastnmf.core.problem import Subproblem
from fastnmf.core.updates import GraphHALS
from fastnmf.data.graphs import neighbour_graph
from fastnmf.kernels import graph as kernels

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CASES = oracle_data.variants()
PUBLISHED = {"solver": "mu", "scale_invariant": False, "init": "custom", "tol": 0, "max_iter": 100}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def drawn():
    """Draw the data and the start of the fixed-seed cases; there, samples are columns."""
    rng = np.random.default_rng(0)
    X, left, right = rng.random((30, 20)), rng.random((30, 4)), rng.random((4, 20))
    return X.T, right.T, left.T


def affinity(rng, n, density=0.3):
    half = np.triu(rng.random((n, n)) * (rng.random((n, n)) < density), 1)
    return half + half.T


def data(rng, n=25, m=12):
    return rng.random((n, 3)) @ rng.random((3, m)) + 0.2 * rng.random((n, m))


@pytest.mark.parametrize("p", [1, 5])
def test_the_neighbour_graph_is_that_of_plain_loops(rng, p):
    X = rng.random((17, 3))
    expected = oracles_graph.union_graph(X, p)
    for given in (X, sp.csr_array(X)):
        assert (neighbour_graph(given, p)[0].toarray() == expected).all()
    heat, width = neighbour_graph(X, p, "heat")
    squares = np.square(X[:, None] - X[None]).sum(axis=2)
    # squares of distances are differences of squares, of the size of one: 1e-15 of rounding
    assert width == pytest.approx(squares[expected > 0].mean(), rel=1e-12)
    assert heat.toarray() == pytest.approx(expected * np.exp(-squares / width), rel=1e-12)
    unit = X / np.linalg.norm(X, axis=1)[:, None]
    assert neighbour_graph(X, p, "cosine")[0].toarray() == pytest.approx(expected * (unit @ unit.T), rel=1e-12)


def test_no_two_neighbours_have_a_colour(rng):
    for n, density in ((1, 0), (2, 1), (40, 0.2), (12, 1)):
        A = affinity(rng, n, density)
        classes = colour_classes(compressed(sp.csr_array(A), np.float64))
        assert sorted(np.concatenate(classes).tolist()) == list(range(n))
        assert not any(A[np.ix_(members, members)].any() for members in classes)
        assert len(classes) <= 1 + int((A > 0).sum(axis=1).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernels_are_plain_loops(rng, dtype):
    n, k, width = 37, 5, 16
    A, F = affinity(rng, n), np.zeros((n, width), dtype)
    F[:, :k] = rng.random((n, k))
    G, pos = rng.random((9, k)), np.zeros((n, width), dtype)
    pos[:, :k] = rng.random((n, k)) * 4
    scale, gram = rng.random(width).astype(dtype), np.zeros((width, width))
    gram[:k, :k] = G.T @ G
    tolerance = 1e-5 if dtype == np.float32 else 1e-12  # a few hundred terms of the size of one
    edges, parts = compressed(sp.csr_array(A), dtype), np.empty((1, width))
    kernels.rows_roughness(np.array([0, n]), edges.csr, F, F, parts)
    assert parts[0, :k] / 2 == pytest.approx([oracles_graph.roughness(F[:, c], A) for c in range(k)], rel=tolerance)
    term = Graph("W", sp.csr_array(A + np.eye(n)), 1.0, np.dtype(dtype), way="descent", is_scale_invariant=False)
    sub, visits = Subproblem(row_tasks(F)), np.concatenate(term.classes)
    term.contribute("W", Factors(k, W=F, H=np.zeros((3, width), dtype)), sub)
    sub.neighbours = Neighbours(sub.neighbours.classes, sub.neighbours.graph._replace(scale=scale))
    sub.add(gram=gram, pos=pos)
    expected = F[:, :k].astype(np.float64)
    for _ in range(2):
        expected = oracles_graph.descended(expected, gram[:k, :k], pos[:, :k], A, scale, visits, range(k))
    with_pos, _ = GraphHALS()(F, sub, k, 2)
    assert F[:, :k] == pytest.approx(expected, abs=tolerance) and not F[:, k:].any()
    assert with_pos == pytest.approx(float(np.sum(F.astype(float) * pos)), rel=tolerance)


@pytest.mark.parametrize(
    ("way", "is_scale_invariant", "name"), itertools.product(("descent", "ratio", "joint"), (True, False), "WH")
)
def test_value_and_half_gradients(rng, way, is_scale_invariant, name):
    n, m, k = 9, 6, 3
    padded = {"W": np.zeros((n, 16)), "H": np.zeros((m, 16))}  # as wide as the kernels want them
    for F in padded.values():
        F[:, :k] = rng.random((len(F), k))
    factors = Factors(k, **padded)
    A = affinity(rng, len(factors[name]), 0.5)
    unit, other = (1 if way == "joint" else 2), "H" if name == "W" else "W"
    term = Graph(name, sp.csr_array(A), 0.7, np.dtype(float), way=way, is_scale_invariant=is_scale_invariant, unit=unit)
    expected = unit / 2 * oracles_graph.penalty(factors[name], factors[other], A, 0.7, is_scale_invariant)
    assert term.value(factors) == pytest.approx(expected, rel=1e-12)
    assert other in term.touches if is_scale_invariant else term.touches == (name,)
    for of in term.touches:
        sub, F = Subproblem(None), factors[of]
        sub.add(pos=np.zeros_like(F), neg=np.zeros_like(F))
        term.contribute(of, factors, sub)
        if way == "joint":
            gradient = sum(part.neg - part.pos for part in sub.parts)
        else:
            gradient = sub.gradient(F)
        step = 1e-6
        for at in np.ndindex(len(F), k):
            values = []
            for sign in (1, -1):
                F[at] += sign * step
                factors.invalidate(of)
                values.append(term.value(factors))
                F[at] -= sign * step
            factors.invalidate(of)
            # quadratic in one factor: central differences are exact but for rounding / step
            assert gradient[at] == pytest.approx((values[0] - values[1]) / (2 * unit * step), abs=1e-7)


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("gnmf_fro_binary", {"graph_weight": 1}),
        ("gnmf_fro_heat", {"graph_weight": 1, "edge_weights": "heat", "heat_width": 1}),
        ("gnmf_fro_cosine", {"graph_weight": 1, "edge_weights": "cosine"}),
        ("gnmf_fro_binary_lam100", {}),
        ("gnmf_kl_binary_lam0.3", {"graph_weight": 0.3, "beta_loss": "kullback-leibler"}),
        ("gnmf_thesis_rbf_sigma0.5_lam0.3", {"graph_weight": 0.3, "beta_loss": "kullback-leibler"}),
    ],
)
def test_published_updates_give_the_fixed_seed_numbers(case, options):
    X, W, H = drawn()
    graph = None
    if "rbf" in case:  # dense, with ones on the diagonal, which slow the updates down
        graph = np.exp(-np.square(X[:, None] - X[None]).sum(axis=2) / 0.25)
    model = GraphNMF(4, **PUBLISHED | options).fit(X, W=W, H=H, graph=graph)
    for iteration, expected in CASES[case]["HW"].items():
        if int(iteration) <= 100:  # 1e-8: ours adds 1e-9 to denominators, and sums in another order
            assert model.history_["objective"][int(iteration)] == pytest.approx(expected, rel=1e-8)
    if "edges" in CASES[case]:
        assert model.affinity_.nnz == 2 * CASES[case]["edges"]
        assert model.affinity_.sum() == pytest.approx(CASES[case]["degsum"], rel=1e-12)


WAYS = [
    {"solver": "cd"},
    {"solver": "cd", "scale_invariant": False},
    {"solver": "mu"},
    {"solver": "mu", "scale_invariant": False},
    {"solver": "mu", "beta_loss": "kullback-leibler"},
]


@pytest.mark.parametrize("features", [0.0, 2.0])
@pytest.mark.parametrize("has_strata", [False, True])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_the_objective_never_rises(rng, way, has_strata, features):
    X, strata = data(rng), np.arange(25) % 3 if has_strata else None
    start = {"W": 3 * rng.random((25, 4)), "H": rng.random((4, 12)) ** 3}  # far from balanced
    start |= {"V": rng.random((3, 12)) / 10} if has_strata else {}
    for weight in (0.1, 30.0):
        model = GraphNMF(4, graph_weight=weight, feature_weight=features, init="custom", tol=0, max_iter=40, **way)
        objective = model.fit(X, strata=strata, **start).history_["objective"]
        assert objective[-1] < 0.9 * objective[0]
        # what is evaluated are differences of sums of the size of the first objective
        assert np.diff(objective).max() <= 1e-13 * objective[0]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_the_last_objective_is_that_of_the_factors(rng, way):
    X = data(rng)
    model = GraphNMF(3, graph_weight=2, feature_weight=0.5, max_iter=20, tol=0, random_state=0, **way).fit(X)
    W, H, is_scale_invariant = model.W_, model.components_.T, model.scale_invariant
    graphs = model.affinity_.toarray(), model.feature_affinity_.toarray()
    both = oracles_graph.penalty(W, H, graphs[0], 2, is_scale_invariant) + oracles_graph.penalty(
        H, W, graphs[1], 0.5, is_scale_invariant
    )
    Y = W @ H.T
    loss = np.sum((X - Y) ** 2) if model.beta_loss == "frobenius" else np.sum(X * np.log(X / Y) - X + Y)
    share = 1 if model.beta_loss == "frobenius" else 0.5
    assert model.history_["objective"][-1] == pytest.approx(loss + share * both, rel=1e-9)
    if is_scale_invariant:
        assert np.linalg.norm(H, axis=0) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("solver", ["cd", "mu"])
def test_without_weights_it_is_nmf(rng, solver):
    X, start = data(rng), {"W": rng.random((25, 3)), "H": rng.random((3, 12))}
    options = {"solver": solver, "init": "custom", "tol": 0, "max_iter": 15}
    ours = GraphNMF(3, graph_weight=0, **options).fit(X, **start).history_["objective"]
    plain = NMF(3, **options | {"solver": "hals" if solver == "cd" else "mu"}).fit(X, **start).history_["objective"]
    assert ours[:-1] == pytest.approx(plain[:-1], rel=1e-12)  # at last NMF solves for W exactly


@pytest.mark.parametrize("way", [WAYS[0], WAYS[2], WAYS[4]], ids=["cd", "mu", "kl"])
def test_sparse_is_dense_and_float32_is_close(rng, way):
    X = data(rng) * (rng.random((25, 12)) < 0.6)
    fits = [
        GraphNMF(3, feature_weight=1, init="features", random_state=0, tol=0, max_iter=20, **way).fit(given)
        for given in (X, sp.csr_array(X), sp.csc_array(X), X.astype(np.float32))
    ]
    one = fits[0].history_["objective"]
    assert fits[1].history_["objective"] == pytest.approx(one, rel=1e-9)
    assert fits[2].history_["objective"] == pytest.approx(one, rel=1e-9)
    assert fits[3].history_["objective"] == pytest.approx(one, rel=1e-4) and fits[3].W_.dtype == np.float32


@pytest.mark.parametrize("factor", [1e-60, 3.0, 1e60])
def test_the_weight_has_no_unit(rng, factor):
    X = data(rng)
    one, other = (
        GraphNMF(3, edge_weights="heat", random_state=0, tol=0, max_iter=15).fit(c * X) for c in (1.0, factor)
    )
    assert other.W_ / factor == pytest.approx(one.W_, rel=1e-6, abs=1e-9)  # 15 iterations amplify rounding
    assert other.components_ == pytest.approx(one.components_, rel=1e-6, abs=1e-9)
    assert other.heat_width_ / factor**2 == pytest.approx(one.heat_width_, rel=1e-12)
    assert other.transform(factor * 1.01 * X) / factor == pytest.approx(one.transform(1.01 * X), rel=1e-6, abs=1e-9)


def test_scale_invariance_keeps_the_penalty_from_vanishing(rng):
    X, W, H = drawn()
    penalties = []
    for scale_invariant, c in itertools.product((True, False), (1, 1000)):
        model = GraphNMF(
            4, scale_invariant=scale_invariant, graph_weight=1, init="custom", solver="mu", max_iter=1, tol=0
        )
        history = model.fit(X, W=W / c, H=c * H).history_
        loss = np.square(history["normalized_loss"][0]) * np.square(X).sum()
        penalties.append(history["objective"][0] - loss)
    assert penalties[1] == pytest.approx(penalties[0], rel=1e-9)
    assert penalties[3] == pytest.approx(1e-6 * penalties[2], rel=1e-3)  # beside a loss 1e7 times as large


def test_threads_do_not_change_a_bit(rng):
    X = rng.random((4000, 6)).astype(np.float32)  # enough rows for tasks to be shared
    graph = sp.csr_array(sp.diags_array(np.ones(3999), offsets=1, shape=(4000, 4000)))
    fits = [GraphNMF(3, max_iter=3, tol=0, random_state=0, n_threads=n).fit(X, graph=graph + graph.T) for n in (1, 2)]
    assert fits[0].W_.tobytes() == fits[1].W_.tobytes()


def groups(rng, n=90, m=30):
    """Draw samples that say little about their group, and a graph that says more."""
    which = np.arange(n) % 3
    X = np.maximum(0.2 * (np.arange(m)[None] % 3 == which[:, None]) + rng.random((n, m)), 0)
    joined = rng.random((n, n)) < np.where(which[:, None] == which, 0.3, 0.02)
    A = np.triu(joined, 1)
    return X, which, (A + A.T).astype(float)


@pytest.mark.parametrize("way", [WAYS[0], WAYS[2], WAYS[4]], ids=["cd", "mu", "kl"])
def test_the_graph_finds_groups_that_the_data_hide(rng, way):
    X, which, A = groups(rng)

    def purity(W):
        found = KMeans(3, n_init=3, random_state=0).fit_predict(W)
        return sum(np.bincount(which[found == c]).max() for c in range(3)) / len(which)

    plain = NMF(3, random_state=0, max_iter=100).fit(X)
    with_graph = GraphNMF(3, graph_weight=0.3, random_state=0, max_iter=100, **way).fit(X, graph=A)
    assert purity(plain.W_ * np.linalg.norm(plain.components_, axis=1)) < 0.9
    assert purity(with_graph.W_) > 0.97


def test_a_graph_of_features_makes_them_alike(rng):
    X = data(rng, 30, 20)
    chain = sp.diags_array([np.ones(19), np.ones(19)], offsets=[1, -1], shape=(20, 20))
    rough = [
        np.square(
            np.diff(
                GraphNMF(2, graph_weight=0, feature_weight=w, random_state=0).fit(X, feature_graph=chain).components_
            )
        ).sum()
        for w in (0, 1, 10)
    ]
    assert rough[2] < 0.5 * rough[1] < 0.5 * rough[0]


def test_new_samples_minimise_what_is_said(rng):
    X, new = data(rng), data(rng, 7)
    options = {"graph_weight": 0.5, "n_neighbors": 4, "edge_weights": "heat", "feature_weight": 0.2}
    model = GraphNMF(3, random_state=0, **options).fit(X)
    found, A = model.transform(new), model.feature_affinity_.toarray()
    ridge = np.diag([np.sqrt(0.2 * oracles_graph.roughness(h, A)) for h in model.components_])
    assert (model.transform(X) == model.W_).all()
    for x, w in zip(new, found, strict=True):
        squares = np.square(X - x).sum(axis=1)
        nearest = np.argsort(squares)[:4]
        shares = np.sqrt(0.5 * np.exp(-squares[nearest] / model.heat_width_))
        left = np.vstack([model.components_.T, ridge] + [share * np.eye(3) for share in shares])
        right = np.concatenate(
            [x, np.zeros(3)] + [share * model.W_[j] for share, j in zip(shares, nearest, strict=True)]
        )
        assert w == pytest.approx(nnls(left, right)[0], abs=1e-9)  # a square of rounding, of numbers of one


def test_new_samples_minimise_the_divergence_too(rng):
    X, new = data(rng), data(rng, 4)
    options = {"graph_weight": 0.5, "n_neighbors": 4, "solver": "mu", "beta_loss": "kullback-leibler", "max_iter": 2000}
    model = GraphNMF(3, random_state=0, **options).fit(X)

    def value(w, x, near):
        y = w @ model.components_
        return np.sum(x * np.log(x / y) - x + y) + 0.25 * np.sum(np.square(w - model.W_[near]))

    for x, w in zip(new, model.transform(new), strict=True):
        near = np.argsort(np.square(X - x).sum(axis=1))[:4]
        least = value(w, x, near)
        for step in itertools.product((-1e-3, 0, 1e-3), repeat=3):
            moved = np.maximum(w + step, 0)
            assert value(moved, x, near) >= least - 1e-10 * least


def test_what_new_samples_are_near_to_may_be_given(rng):
    X, new, A = data(rng), data(rng, 5), affinity(rng, 25)
    model = GraphNMF(3, random_state=0).fit(X, graph=A)
    assert not hasattr(model, "training_data_")
    alone = np.array([nnls(model.components_.T, x)[0] for x in new])
    assert model.transform(new) == pytest.approx(alone, abs=1e-9)
    tied = np.zeros((5, 25))
    tied[np.arange(5), np.arange(5)] = 1e9  # so near that nothing else counts
    assert model.transform(new, graph=tied) == pytest.approx(model.W_[:5], abs=1e-6)


def test_strata_have_shifts_and_a_graph_across_them(rng, tmp_path):
    X, strata = data(rng) + np.outer(np.arange(25) % 2, np.arange(12)), np.array(["a", "b"])[np.arange(25) % 2]
    model = GraphNMF(2, graph_weight=0.1, random_state=0).fit(X, strata=strata, graph=affinity(rng, 25))
    plain = GraphNMF(2, graph_weight=0.1, random_state=0).fit(X, graph=model.affinity_)
    assert model.shifts_.shape == (2, 12) and not hasattr(plain, "shifts_")
    assert model.reconstruction_err_ < 0.8 * plain.reconstruction_err_
    assert model.shifts_[1, -1] - model.shifts_[0, -1] > 5
    built = GraphNMF(2, graph_weight=0.1, random_state=0).fit(X, strata=strata)
    built.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    new = X + 0.01
    assert (again.transform(new, strata=strata) == built.transform(new, strata=strata)).all()
    assert (built.transform(X, strata=strata) == built.W_).all() and built.score(X, strata=strata) > 0.98
    assert built.inverse_transform(built.W_, strata=strata).shape == X.shape
    refitted = built.fit(X)
    assert not hasattr(refitted, "shifts_") and refitted.transform(new).shape == (25, 2)


def test_graphs_of_all_kinds_are_one(rng):
    X, A = data(rng, 5), affinity(rng, 5, 0.6)
    edges = [(i, j, {"weight": A[i, j]}) for i in range(5) for j in range(i) if A[i, j]]
    kinds = (A, A.tolist(), sp.coo_array(A), sp.csc_matrix(A), SimpleNamespace(nodes=range(5), edges=edges))
    found = [GraphNMF(2, random_state=0, max_iter=5).fit(X, graph=graph).W_ for graph in kinds]
    assert all((W == found[0]).all() for W in found)


@pytest.mark.parametrize("n", [1, 2])
def test_few_samples(n):
    X = np.arange(1.0, 4 * n + 1).reshape(n, 4)
    model = GraphNMF(2, random_state=0, feature_weight=1).fit(X)
    assert np.isfinite(model.W_).all() and model.transform(X).shape == (n, 2)


def test_samples_without_entries_or_neighbours(rng):
    X = data(rng)
    X[3], X[:, 2] = 0, 0
    A = affinity(rng, 25)
    A[5] = A[:, 5] = 0
    for way in WAYS:
        model = GraphNMF(3, random_state=0, max_iter=30, **way).fit(X, graph=A)
        assert np.isfinite(model.W_).all() and np.isfinite(model.components_).all()
        assert model.components_[:, 2] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"graph_weight": -1}, {}, "graph_weight=-1 is not valid"),
        ({"edge_weights": "soft"}, {}, "edge_weights='soft' is not known"),
        ({"heat_width": 0}, {}, "heat_width=0 is not valid"),
        ({"n_neighbors": 0}, {}, "n_neighbors=0 is not valid"),
        ({"anchor": "W"}, {}, "anchor='W' is not known"),
        ({"scale_invariant": 1}, {}, "scale_invariant=1 is not valid"),
        ({"beta_loss": "kullback-leibler"}, {}, "use solver='mu'"),
        ({"beta_loss": "itakura-saito", "solver": "mu"}, {}, "beta_loss='itakura-saito' is not known"),
        ({}, {"graph": np.ones((3, 3))}, r"graph has shape \(3, 3\), but X has 25 samples"),
        ({}, {"graph": -np.ones((25, 25))}, "negative"),
        ({}, {"graph": np.triu(np.ones((25, 25)))}, "not symmetric"),
        ({"feature_weight": 1}, {"feature_graph": np.ones((25, 25))}, "X has 12 features"),
        ({}, {"V": np.ones((1, 12)), "W": np.ones((25, 2)), "H": np.ones((2, 12))}, "strata"),
    ],
)
def test_bad_input_gets_one_sentence(rng, options, arguments, message):
    options = options | ({"init": "custom"} if "W" in arguments else {})
    with pytest.raises(ValueError, match=message):
        GraphNMF(2, **options).fit(data(rng), **arguments)


def test_graphs_that_are_none_are_refused(rng):
    X = data(rng)
    for graph in ("friends", 1j * np.ones((25, 25)), np.ones(25), [["a"] * 25] * 25):
        with pytest.raises(TypeError, match="graph is .* expected a sparse matrix"):
            GraphNMF(2).fit(X, graph=graph)
    model = GraphNMF(2, max_iter=5).fit(X)
    with pytest.raises(ValueError, match=r"graph has shape \(3, 3\); expected \(25, 25\)"):
        model.transform(X, graph=np.ones((3, 3)))
    with pytest.raises(ValueError, match="fitted without"):
        model.transform(X, strata=np.zeros(25))


def test_of_equally_near_rows_the_first_are_neighbours(rng):
    """Counts have many equal distances; the graph is the same for sparse and dense rows, and in float32."""
    X = rng.integers(0, 6, (60, 4)).astype(float)
    want, _ = neighbour_graph(X)
    for same in (sp.csr_array(X), X.astype(np.float32)):
        assert (neighbour_graph(same)[0] != want).nnz == 0
    squares = np.square(X[:, None] - X[None]).sum(axis=2) + np.where(np.eye(60), np.inf, 0)
    nearest = np.argsort(squares, axis=1, kind="stable")[:, :5]
    drawn = np.zeros((60, 60))
    np.put_along_axis(drawn, nearest, 1.0, axis=1)
    least = np.sort(squares, axis=1)
    assert (least[:, 4] == least[:, 5]).any() and (least[:, 4] < least[:, 13]).all()  # the spare ones reach beyond ties
    np.testing.assert_array_equal(want.toarray(), np.maximum(drawn, drawn.T))


@pytest.mark.parametrize(("old", "new"), [("components", True), (None, False)])
def test_the_old_name_of_scale_invariant_works_and_warns(old, new):
    X = drawn()[0]
    options = {"graph_weight": 1, "solver": "mu", "random_state": 0, "max_iter": 3, "tol": 0}
    with pytest.warns(FutureWarning, match=f"use scale_invariant={new}"):
        found = GraphNMF(4, anchor=old, scale_invariant=not new, **options).fit(X)
    wanted = GraphNMF(4, scale_invariant=new, **options).fit(X)
    assert (found.W_ == wanted.W_).all() and (found.transform(X) == wanted.transform(X)).all()


def test_a_model_without_the_old_name_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        GraphNMF(2, random_state=0, max_iter=2, tol=0).fit(drawn()[0])


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("solver", ["cd", "mu"])
def test_elastic_nets_join_the_penalties_of_graphs(solver, l1_ratio):
    """The objective is that of its formula in dense loops, never rises, and its gradient vanishes at the end."""
    rng = np.random.default_rng(3)
    X, alpha, weight = rng.random((14, 4)) @ rng.random((4, 9)), 0.01, 0.3
    A = np.triu(rng.random((14, 14)) < 0.2, 1).astype(float)
    A = A + A.T
    options = {"scale_invariant": False, "graph_weight": weight, "solver": solver, "random_state": 0}
    more = {
        "alpha_W": alpha,
        "alpha_H": alpha,
        "l1_ratio": l1_ratio,
        "max_iter": {"cd": 1500, "mu": 4000}[solver],
        "tol": 0,
    }
    model = GraphNMF(3, **options, **more).fit(X, graph=A)
    W, H, L = model.W_, model.components_, np.diag(A.sum(axis=1)) - A

    def net(F, n):
        return 2 * alpha * n * (l1_ratio * F.sum() + (1 - l1_ratio) / 2 * np.square(F).sum())

    value = np.square(X - W @ H).sum() + weight * np.trace(W.T @ L @ W) + net(W, 9) + net(H, 14)
    assert model.history_["objective"][-1] == pytest.approx(value, rel=1e-10)
    assert (np.diff(model.history_["objective"]) <= 1e-11 * value).all()
    slopes = {
        "W": (W, (W @ H - X) @ H.T + weight * L @ W + 9 * alpha * (l1_ratio + (1 - l1_ratio) * W)),
        "H": (H, W.T @ (W @ H - X) + 14 * alpha * (l1_ratio + (1 - l1_ratio) * H)),
    }
    for F, slope in slopes.values():
        assert np.abs(F * slope).max() < 1e-4 and slope[F == 0].min(initial=0) > -1e-4
    plain = GraphNMF(3, **options, max_iter=300, tol=0).fit(X, graph=A)
    assert np.square(W).sum() + np.square(H).sum() < np.square(plain.W_).sum() + np.square(plain.components_).sum()
    w = model.transform(X[:2], graph=A[:2])  # the neighbours' weights are fixed: the best w of each row alone
    for i in range(2):
        near = A[i] @ W
        slope = (w[i] @ H - X[i]) @ H.T + weight * (A[i].sum() * w[i] - near)
        slope = slope + 9 * alpha * (l1_ratio + (1 - l1_ratio) * w[i])
        assert np.abs(w[i] * slope).max() < 1e-8 and slope.min() > -1e-8


def test_elastic_nets_of_a_divergence_with_graphs_are_refused():
    model = GraphNMF(2, beta_loss="kullback-leibler", solver="mu", alpha_W=0.1)
    with pytest.raises(ValueError, match="alpha_W and alpha_H of a GraphNMF need beta_loss='frobenius'"):
        model.fit(np.ones((5, 4)))
