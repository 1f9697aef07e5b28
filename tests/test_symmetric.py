"""Models of symmetric matrices: `SymmetricNMF` and `TriSymmetricNMF`."""

from types import SimpleNamespace

import numpy as np
import oracle_data
import oracles_structured as oracles
import pytest
import scipy.sparse as sp
from sklearn.metrics import normalized_mutual_info_score

from fastnmf import SymmetricNMF, TriSymmetricNMF
from fastnmf.core.losses.products import Operator
from fastnmf.data.graphs import affinity_matrix
from fastnmf.data.strata import Strata
from fastnmf.datasets.karate import load_karate_club
from fastnmf.kernels import symmetric

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def affinities(n=14, seed=0, density=0.5):
    """Draw a symmetric matrix with an empty row and some of the diagonal."""
    rng = np.random.default_rng(seed)
    A = rng.random((n, n)) * (rng.random((n, n)) < density)
    A = A + A.T
    A[3], A[:, 3] = 0, 0
    return A


class Graph:
    """A graph in the manner of networkx: views that can be called."""

    def __init__(self, nodes, edges):
        self._nodes, self._edges = nodes, edges

    def nodes(self):
        return self._nodes

    def edges(self, data=False):
        return self._edges if data else [edge[:2] for edge in self._edges]

    def is_directed(self):
        return False


def test_one_sweep_is_that_of_the_paper():
    A = affinities()
    W = np.random.default_rng(1).random((14, 3))
    W[5] = 0
    want = W
    for n_sweeps in (1, 2, 3):
        want = oracles.quartic_sweep(A, want)
        for form in (np.asarray, sp.csr_array, sp.coo_array):
            model = SymmetricNMF(3, init="custom", max_iter=n_sweeps, tol=0).fit(form(A), W=W)
            # NumPy's roots come from eigenvalues: about 1e-13 each, carried through three sweeps.
            np.testing.assert_allclose(model.W_, want, rtol=1e-9, atol=1e-9)
            assert model.history_["objective"][-1] == pytest.approx(np.sum((A - want @ want.T) ** 2), rel=1e-10)


@pytest.mark.parametrize("scale", [1e-100, 1e-30, 1.0, 1e30, 1e100])
def test_every_sweep_lowers_the_objective(scale):
    A = affinities(20, seed=2) * scale
    model = SymmetricNMF(4, max_iter=60, tol=0, random_state=3).fit(A)
    objective = model.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[:-1]).all() and objective[-1] < 0.7 * objective[0]
    error = np.linalg.norm(A - model.W_ @ model.W_.T)
    assert model.reconstruction_err_ == pytest.approx(error, rel=1e-9)
    assert not model.W_[3].any() and model.labels_[3] == -1


def test_the_karate_club_is_the_club():
    club = load_karate_club()
    degrees = club.data.sum(axis=1)
    assert club.data.shape == (34, 34) and club.data.nnz == 156 and (club.data != club.data.T).nnz == 0
    assert {member: int(degrees[member - 1]) for member in (1, 2, 12, 33, 34)} == {1: 16, 2: 9, 12: 1, 33: 12, 34: 17}
    assert not club.data.diagonal().any() and club.target[[0, 8, 33]].tolist() == [0, 0, 1]


@pytest.mark.parametrize("seed", range(10))
def test_karate_club_from_every_seed(seed):
    club, want = load_karate_club(), oracle_data.variants()["symnmf_karate_cd"]
    model = SymmetricNMF(2, diagonal=1.0, tol=1e-7, random_state=seed).fit(club.data)
    assert model.history_["objective"][-1] == pytest.approx(want["best_obj"], abs=5e-7)
    np.testing.assert_allclose(np.sort(model.W_[8]), want["W9"], atol=5e-5)
    with_teacher = model.labels_ == model.labels_[0]
    assert (np.flatnonzero(with_teacher != (club.target == 0)) + 1).tolist() == want["misclassified_1based"]


def test_karate_club_without_loops():
    club, want = load_karate_club(), oracle_data.variants()["symnmf_karate_zero_diag"]["runs"][0]
    model = SymmetricNMF(2, random_state=0).fit(club.data)
    assert model.history_["objective"][-1] == pytest.approx(want[0], abs=1e-6)
    np.testing.assert_allclose(np.sort(model.W_[8]), want[1], atol=5e-4)


def karate():
    return load_karate_club().data.toarray() + np.eye(34)


def test_one_step_of_either_other_solver_is_that_of_plain_loops():
    A = affinities()
    W = np.random.default_rng(1).random((14, 3))
    W[3], W[5, 1] = 0, 0
    weight = 0.3 * np.linalg.norm(A) / np.sqrt(3)
    half = oracles.damped_step(A, oracles.damped_step(A, W))
    left, right = oracles.coupled_sweep(A, *oracles.coupled_sweep(A, W, W, weight), weight)
    for form in (np.asarray, sp.csr_array):
        options = {"init": "custom", "max_iter": 2, "tol": 0}
        model = SymmetricNMF(3, solver="mu", **options).fit(form(A), W=W)
        np.testing.assert_allclose(model.W_, half, rtol=1e-12, atol=1e-14)
        assert model.W_[5, 1] == 0
        model = SymmetricNMF(3, solver="penalised", coupling=0.3, **options).fit(form(A), W=W)
        np.testing.assert_allclose(model.W_, (left + right) / 2, rtol=1e-11, atol=1e-13)
        value = np.sum((A - left @ right.T) ** 2) + weight * np.sum((left - right) ** 2)
        assert model.history_["objective"][-1] == pytest.approx(value, rel=1e-11)
        assert model.asymmetry_ == pytest.approx(np.linalg.norm(left - right) / np.linalg.norm(left + right), rel=1e-9)


@pytest.mark.parametrize("solver", ["mu", "penalised"])
def test_the_other_solvers_find_the_same_communities(solver):
    club = load_karate_club()
    for seed in range(3):
        model = SymmetricNMF(2, solver=solver, diagonal=1.0, random_state=seed, max_iter=500).fit(club.data)
        objective = model.history_["objective"]
        assert (np.diff(objective) <= 1e-12 * objective[:-1]).all()
        assert model.reconstruction_err_**2 == pytest.approx(95.47735, abs=1e-3)
        assert np.linalg.norm(karate() - model.W_ @ model.W_.T) == pytest.approx(model.reconstruction_err_, rel=1e-9)
        same = model.labels_ == model.labels_[0]
        assert (np.flatnonzero(same != (club.target == 0)) + 1).tolist() == [9]
    assert solver == "mu" or model.asymmetry_ < 1e-4


@pytest.mark.parametrize("solver", ["mu", "penalised"])
@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_the_other_solvers_on_rough_data(solver, scale):
    A, options = affinities(20, seed=2), {"solver": solver, "max_iter": 60, "tol": 0, "random_state": 0}
    double = SymmetricNMF(3, **options).fit(A * scale)
    objective = double.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[:-1]).all() and objective[-1] < 0.9 * objective[0]
    assert not double.W_[3].any() and double.labels_[3] == -1
    if scale == 1:
        single = SymmetricNMF(3, **options).fit(A.astype(np.float32))
        assert single.W_.dtype == np.float32
        assert single.reconstruction_err_ == pytest.approx(double.reconstruction_err_, rel=1e-4)
    for data in (np.zeros((3, 3)), np.eye(1), np.diag([1.0, 0, 2])):
        assert np.isfinite(SymmetricNMF(2, solver=solver, max_iter=20).fit(data).W_).all()


def test_a_planted_product_is_found_to_rounding():
    W = np.random.default_rng(4).random((30, 3)) * (np.random.default_rng(5).random((30, 3)) < 0.5)
    model = SymmetricNMF(3, max_iter=2000, tol=1e-12, random_state=0).fit(W @ W.T)
    assert model.normalized_loss_ < 1e-6
    assert oracles.matched(model.W_.T, W.T) > 0.999  # such a W is unique but for the order of its columns


def test_float32_stays_float32_and_is_close():
    A = affinities(20, seed=2)
    start = np.random.default_rng(0).random((20, 3))
    double = SymmetricNMF(3, init="custom", max_iter=100).fit(A, W=start)
    single = SymmetricNMF(3, init="custom", max_iter=100).fit(A.astype(np.float32), W=start)
    assert single.W_.dtype == np.float32
    assert single.reconstruction_err_ == pytest.approx(double.reconstruction_err_, rel=1e-5)


def test_graphs_are_read_whatever_their_manner():
    club = load_karate_club()
    nodes = [f"m{i}" for i in range(34)]
    i, j = sp.triu(club.data).tocoo().coords
    plain = SimpleNamespace(nodes=nodes, edges=[(nodes[a], nodes[b]) for a, b in zip(i, j, strict=True)])
    called = Graph(nodes, [(u, v, {"weight": 1}) for u, v in plain.edges])
    bare = SimpleNamespace(nodes=lambda: nodes, edges=lambda: plain.edges)
    for graph in (plain, called, bare):
        assert (affinity_matrix(graph) != club.data).nnz == 0
        model = SymmetricNMF(2, diagonal=1.0, random_state=0).fit(graph)
        assert model.reconstruction_err_**2 == pytest.approx(95.47735, abs=1e-4)


def test_loops_weights_and_parallel_edges():
    edges = [("a", "b", {"weight": 2.0}), ("a", "b", {"colour": "red"}), ("b", "b", {"weight": 5.0})]
    want = [[0, 3, 0], [3, 5, 0], [0, 0, 0]]
    np.testing.assert_array_equal(affinity_matrix(Graph("abc", edges)).toarray(), want)
    np.testing.assert_array_equal(affinity_matrix(Graph("abc", edges), None).toarray(), [[0, 2, 0], [2, 1, 0], [0] * 3])
    assert affinity_matrix(Graph("ab", [])).nnz == 0


def test_directed_graphs_and_unknown_nodes_are_refused():
    directed = SimpleNamespace(nodes="ab", edges=[("a", "b")], is_directed=lambda: True)
    with pytest.raises(ValueError, match="to_undirected"):
        SymmetricNMF(2).fit(directed)
    with pytest.raises(ValueError, match="not both of these nodes"):
        affinity_matrix(SimpleNamespace(nodes="a", edges=[("a", "b")]))


@pytest.mark.parametrize(
    ("X", "more", "match"),
    [
        (np.ones((3, 4)), {}, "square matrix"),
        (np.triu(np.ones((3, 3))), {}, "not symmetric"),
        (sp.csr_array(np.triu(np.ones((3, 3)))), {}, "not symmetric"),
        (-np.eye(3), {}, "Negative values"),
        (np.eye(3), {"diagonal": -1}, "diagonal"),
        (np.eye(3), {"init": "custom"}, "pass W"),
        (np.eye(3), {"n_components": 0}, "n_components"),
        (np.eye(3), {"solver": "newton"}, "solver='newton' is not known"),
        (np.eye(3), {"coupling": -1}, "coupling=-1"),
    ],
)
def test_what_cannot_be_used_is_refused(X, more, match):
    with pytest.raises(ValueError, match=match):
        SymmetricNMF(**more).fit(X)


def test_small_and_empty_matrices():
    assert not SymmetricNMF(2).fit(np.zeros((3, 3))).W_.any()
    assert SymmetricNMF(1, random_state=0).fit(np.array([[4.0]])).W_[0, 0] == pytest.approx(2)
    model = SymmetricNMF(5, random_state=0, tol=0, max_iter=30).fit(sp.csr_array(np.eye(3)))
    assert model.W_.shape == (3, 5) and np.isfinite(model.W_).all()


def three_karate():
    rng = np.random.default_rng(0)
    W, S = rng.random((34, 2)), rng.random((2, 2))
    return load_karate_club().data + np.eye(34), W, (S + S.T) / 2


def test_tri_symmetric_numbers():
    A, W, S = three_karate()
    want = oracle_data.variants()["trisymnmf_karate"]
    options = {"solver": "mu", "extrapolate": False, "init": "custom", "tol": 0}
    model = TriSymmetricNMF(2, max_iter=1000, **options).fit(A, W=W, S=S)
    objective = model.history_["objective"]
    for i, value in want["obj"].items():
        assert objective[int(i)] == pytest.approx(value, rel=1e-8 if int(i) <= 100 else 1e-5)
    assert (np.diff(objective) <= 1e-12 * objective[:-1]).all()
    np.testing.assert_allclose(model.S_, want["S_colsum1"], rtol=1e-6, atol=1e-9)
    same = model.labels_ == model.labels_[0]
    assert (np.flatnonzero(same != (load_karate_club().target == 0)) + 1).tolist() == want["misclassified_1based"]


def test_one_step_of_the_tri_symmetric_model_is_that_of_plain_formulas():
    X, rng = np.random.default_rng(1).random((9, 7)), np.random.default_rng(2)
    W, S = rng.random((7, 3)), np.eye(3) + 0.3
    options = {"solver": "mu", "init": "custom", "tol": 0, "max_iter": 1}
    for affinity, given in (("precomputed", X.T @ X), ("cooccurrence", X), ("cooccurrence", sp.csr_array(X))):
        model = TriSymmetricNMF(3, affinity=affinity, **options).fit(given, W=W, S=S)
        want, core = oracles.tri_symmetric_step(X.T @ X, W, S)
        np.testing.assert_allclose(model.W_, want / want.sum(axis=0), rtol=1e-10)
        np.testing.assert_allclose(model.S_, core * np.outer(want.sum(axis=0), want.sum(axis=0)), rtol=1e-10)
        error = np.linalg.norm(X.T @ X - model.W_ @ model.S_ @ model.W_.T)
        assert model.reconstruction_err_ == pytest.approx(error, rel=1e-9)


def test_one_step_of_descent_over_both_factors_is_that_of_plain_loops():
    A, rng = affinities(9, seed=1), np.random.default_rng(2)
    W, S = rng.random((9, 3)), np.array([[1, 0.5, 0], [0.5, 2, 0.3], [0, 0.3, 0]])
    W[5], W[6, 1] = 0, 0
    want, core = W, S
    for n_sweeps in (1, 2, 3):
        want = oracles.linked_sweep(A, want, core)
        core = oracles.core_sweeps(A, want, core, 4)
        for form in (np.asarray, sp.csr_array):
            model = TriSymmetricNMF(3, init="custom", max_iter=n_sweeps, tol=0).fit(form(A), W=W, S=S)
            sums = want.sum(axis=0)
            # NumPy's roots come from eigenvalues of a fitted quartic, carried through three sweeps.
            np.testing.assert_allclose(model.W_, want / sums, rtol=1e-7, atol=1e-7)
            np.testing.assert_allclose(model.S_, core * np.outer(sums, sums), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("link", [0.0, 1e-14, 1e-6, 1.0, 1e3])
def test_the_best_entry_beside_any_link_is_that_of_a_grid(link):
    rng = np.random.default_rng(0)
    for _ in range(200):
        before, (a, b) = rng.random() * (rng.random() < 0.7), rng.standard_normal(2)
        a = abs(a) if link < 1e-3 else a  # without a link the parabola opens upwards
        x = symmetric._least_linked(link, before, a, b, 0.5)
        value = [x * (b + x * (a / 2 + link * x * (before + link * x / 4))) for x in (x, *np.linspace(0, 4, 401))]
        assert value[0] <= min(value[1:]) + 1e-12


def blocks(draw, linked=0.0):
    """Draw a graph of five blocks of 60 nodes, with links .15 within, .02 between and more to the next block."""
    rng, block = np.random.default_rng(draw), np.repeat(np.arange(5), 60)
    P = np.where(block[:, None] == block, 0.15, 0.02) + linked * (abs(block[:, None] - block) == 1)
    A = np.triu(rng.random((300, 300)) < P, 1).astype(float)
    return A + A.T, block


@pytest.mark.parametrize(("draw", "linked"), [(0, 0.0), (2, 0.05)])
def test_the_tri_symmetric_model_is_never_above_the_symmetric_one(draw, linked):
    A, block = blocks(draw, linked)
    for seed in range(2):
        inner, outer = (kind(5, random_state=seed).fit(A) for kind in (SymmetricNMF, TriSymmetricNMF))
        assert outer.reconstruction_err_ <= inner.reconstruction_err_ * (1 + 1e-9)
        assert len(outer.run_objectives_) == 2 and len(outer.anchors_) == 5
        start = TriSymmetricNMF(5, init="symmetric", random_state=seed).fit(A)
        assert start.history_["objective"][0] == pytest.approx(inner.reconstruction_err_**2, rel=1e-9)
        if not linked:
            assert normalized_mutual_info_score(block, outer.labels_) > 0.85  # .65 from anchors alone
    assert len(TriSymmetricNMF(5, n_init=3, max_iter=1, random_state=0).fit(A).run_objectives_) == 4


def test_the_seeds_of_several_starts_are_those_of_the_symmetric_model():
    A, _ = blocks(1)
    inner, outer = (kind(5, n_init=2, max_iter=1000, random_state=3).fit(A) for kind in (SymmetricNMF, TriSymmetricNMF))
    assert (outer.run_objectives_[:2] <= inner.run_objectives_ * (1 + 1e-9)).all()


def test_norms_of_a_product_are_those_of_the_product_as_a_whole():
    X = sp.random_array((70, 40), density=0.2, rng=np.random.default_rng(0), format="csr")
    X.data[3] = 0
    unsorted = X.copy()
    unsorted.indices[: X.indptr[1]], unsorted.data[: X.indptr[1]] = (
        part[: X.indptr[1]][::-1].copy() for part in (X.indices, X.data)
    )
    unsorted.has_sorted_indices = False
    wide = sp.random_array((3, 2000), density=0.5, rng=np.random.default_rng(1), format="csr")
    for data, of in ((X, "columns"), (X, "rows"), (wide, "columns"), (wide, "rows"), (sp.csr_array((4, 3)), "columns")):
        whole = (data.T @ data if of == "columns" else data @ data.T).toarray()
        for given in (data, data.toarray(), *([unsorted] if data is X else [])):
            found = Operator(Strata.from_array(given), of).row_square_sums()
            np.testing.assert_allclose(found, np.sum(whole**2, axis=1), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-60, 1.0, 1e60])
@pytest.mark.parametrize("init", [None, "symmetric", "random"])
@pytest.mark.parametrize("affinity", ["precomputed", "cooccurrence"])
def test_every_update_of_the_tri_symmetric_model_lowers_the_objective(affinity, init, scale):
    if affinity == "cooccurrence" and init == "symmetric":
        pytest.skip("needs A itself")
    A = affinities(20, seed=2) * scale
    for form in (np.asarray, sp.csr_array):
        model = TriSymmetricNMF(3, affinity=affinity, init=init, max_iter=60, tol=0, random_state=3).fit(form(A))
        objective = model.history_["objective"]
        assert (np.diff(objective) <= 1e-12 * objective[0]).all()
        if init == "random" or affinity == "cooccurrence":  # the other starts may be minima
            assert objective[-1] < 0.999 * objective[0]
        A_seen = A if affinity == "precomputed" else A.T @ A
        error = np.linalg.norm((A_seen - model.W_ @ model.S_ @ model.W_.T) / A_seen.max()) * A_seen.max()
        assert model.reconstruction_err_ == pytest.approx(error, rel=1e-6)
        np.testing.assert_array_equal(model.S_, model.S_.T)


def topics(seed=0, n_documents=300):
    """Draw documents of three topics with two words each that occur in no other."""
    rng = np.random.default_rng(seed)
    words = rng.random((3, 20)) * (rng.random((3, 20)) < 0.8)
    words[:, 6:] += 0.01
    words[:, :6] = np.repeat(np.eye(3), 2, axis=1) * 2
    words /= words.sum(axis=1, keepdims=True)
    return rng.dirichlet(np.full(3, 0.3), n_documents) @ words, words


def test_anchors_are_the_words_of_one_topic_and_the_start_is_the_truth():
    X, words = topics()
    options = {"anchor_mass": 1, "max_iter": 1, "solver": "mu", "init": "anchors"}
    model = TriSymmetricNMF(3, affinity="cooccurrence", **options).fit(sp.csr_array(X))
    assert sorted(model.anchors_ // 2) == [0, 1, 2]
    dense = TriSymmetricNMF(3, **options).fit(X.T @ X)
    assert dense.anchors_.tolist() == model.anchors_.tolist() == oracles.anchors(X.T @ X, 3)
    assert oracles.matched(model.W_.T, words) > 0.999
    model = TriSymmetricNMF(3, affinity="cooccurrence").fit(sp.csr_array(X))
    assert oracles.matched(model.W_.T, words) > 0.99 and model.normalized_loss_ < 0.01


@pytest.mark.parametrize("seed", [4000, 4001])
def test_anchors_are_found_under_a_background_that_half_of_all_words_belong_to(seed):
    rng = np.random.default_rng(seed)
    often = 1 / (np.arange(200) + 3.0)
    own = np.array([rng.dirichlet(10 * often[rng.permutation(200)]) for _ in range(4)])
    words = 0.5 * often / often.sum() + 0.5 * own
    X = sp.csr_array(rng.poisson(60 * rng.dirichlet(np.full(4, 0.2), 400) @ words).astype(float))
    model = TriSymmetricNMF(4, affinity="cooccurrence").fit(X)
    assert oracles.matched(model.W_.T, words) > 0.97  # 0.98; with a mass of 0.2 0.4 and 0.9


def test_rare_rows_are_no_anchors():
    X, _ = topics()
    X = np.column_stack([X, np.eye(300)[0] * 1e-6])
    options = {"affinity": "cooccurrence", "max_iter": 1}
    assert 20 not in TriSymmetricNMF(3, **options).fit(X).anchors_
    assert 20 in TriSymmetricNMF(3, anchor_mass=1, **options).fit(X).anchors_


def test_a_small_product_is_formed_and_a_large_one_is_not():
    X, options = np.random.default_rng(0).random((30, 5)), {"init": "anchors", "max_iter": 30, "tol": 0}
    formed = TriSymmetricNMF(2, affinity="cooccurrence", **options).fit(X)
    given = TriSymmetricNMF(2, **options).fit(X.T @ X)
    np.testing.assert_allclose(formed.W_, given.W_, rtol=1e-9)
    assert formed.reconstruction_err_ == pytest.approx(given.reconstruction_err_, rel=1e-9)
    with pytest.raises(ValueError, match="its 900 entries are more than the 150 of X"):
        TriSymmetricNMF(2, affinity="cooccurrence", solver="cd").fit(X.T)


def test_fewer_anchors_than_components_and_data_of_zeros():
    model = TriSymmetricNMF(4, max_iter=20, tol=0).fit(np.ones((5, 5)))
    assert len(model.anchors_) == 1 and model.W_.shape == (5, 4) and model.normalized_loss_ < 1e-3
    for affinity in ("precomputed", "cooccurrence"):
        model = TriSymmetricNMF(2, affinity=affinity).fit(np.zeros((4, 4)))
        assert np.isfinite(model.W_).all() and not model.S_.any()


@pytest.mark.parametrize("affinity", ["precomputed", "cooccurrence"])
def test_tri_symmetric_float32_stays_float32(affinity):
    A = affinities(20, seed=2)
    single, double = (TriSymmetricNMF(3, affinity=affinity, max_iter=50, tol=0).fit(A.astype(t)) for t in "fd")
    assert single.W_.dtype == single.S_.dtype == np.float32
    assert single.reconstruction_err_ == pytest.approx(double.reconstruction_err_, rel=1e-3)


def test_the_tri_symmetric_model_takes_graphs_and_refuses_what_it_cannot_use():
    graph = SimpleNamespace(nodes=range(4), edges=[(0, 1), (2, 3)])
    model, same = (TriSymmetricNMF(2, random_state=0).fit(given) for given in (graph, affinity_matrix(graph)))
    np.testing.assert_array_equal(model.W_, same.W_)
    assert model.n_features_in_ == 4
    for more, start, match in (
        ({"affinity": "rbf"}, {}, "affinity='rbf' is not known"),
        ({"anchor_mass": -1}, {}, "anchor_mass"),
        ({"affinity": "cooccurrence", "init": "symmetric"}, {}, "init='symmetric' needs A itself"),
        ({"init": "custom"}, {"W": np.ones((4, 2)), "S": [[1, 2], [0, 1]]}, "not symmetric"),
    ):
        with pytest.raises(ValueError, match=match):
            TriSymmetricNMF(2, **more).fit(graph, **start)
