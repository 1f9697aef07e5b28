"""Fixed-seed cases of the models; see `test_variant_numbers.py`."""

import numpy as np
import oracles_picks
import oracles_structured
import pytest
import scipy.sparse as sp
from oracle_cases import alternate, case, close, drawn, falls, held, history
from sklearn.metrics import normalized_mutual_info_score

import fastnmf
from fastnmf import NMF
from fastnmf.core import init as starts
from fastnmf.core.alternate import solve
from fastnmf.core.factors import allocate, padded_factors
from fastnmf.core.losses.products import Symmetric
from fastnmf.core.penalties.smoothness import Chain
from fastnmf.core.problem import Problem
from fastnmf.core.updates import HALS, MU, ChainDescent, LeastSquares
from fastnmf.data.strata import Strata
from fastnmf.datasets.karate import load_karate_club
from fastnmf.models.symmetric import symmetric_data

# ---------------------------------------------------------------- symmetric and orthogonal models


def karate():
    return load_karate_club().data.toarray() + np.eye(34)


def misplaced(labels):
    """Return the members, from 1, who are not with their faction, that of member 1 being its own."""
    return (np.flatnonzero((labels == labels[0]) != (load_karate_club().target == 0)) + 1).tolist()


@case("symnmf_karate_cd", "symnmf_karate_zero_diag")
def symmetric_descent(name, expected):
    """`SymmetricNMF(diagonal=1.0)`, and without."""
    for seed, (value, member, wrong, *_) in enumerate(expected["runs"]):
        diagonal = 1.0 if name == "symnmf_karate_cd" else None
        model = fastnmf.SymmetricNMF(2, diagonal=diagonal, tol=1e-7, random_state=seed).fit(load_karate_club().data)
        assert model.history_["objective"][-1] == pytest.approx(value, rel=1e-8)
        np.testing.assert_allclose(np.sort(model.W_[8]), np.sort(member), atol=6e-4 if diagonal is None else 6e-5)
        assert misplaced(model.labels_) == wrong


@case("symnmf_karate_mu_half")
def symmetric_half_steps(name, expected):
    """`SymmetricNMF(solver="mu")`."""
    W = np.random.default_rng(0).random((34, 2))
    options = {"solver": "mu", "extrapolate": False, "init": "custom", "tol": 0}
    model = fastnmf.SymmetricNMF(2, max_iter=3000, **options).fit(karate(), W=W)
    close(model.history_["objective"], expected["obj"])
    falls(model.history_["objective"])
    np.testing.assert_allclose(model.W_[8], expected["W9"], rtol=1e-5)
    assert misplaced(model.labels_) == expected["misclassified_1based"]


@case("symnmf_karate_mu_full_step")
def symmetric_whole_steps(name, expected):
    """The move `MU`, which `SymmetricNMF` halves: whole steps go to and fro."""
    data = symmetric_data(sp.csr_array(karate()))
    factors, tasks = padded_factors(data, W=np.random.default_rng(0).random((34, 2)))
    problem = Problem([Symmetric(data, tasks, True)], {"W": MU(eps=0.0)}, (("W", 1),), tasks, data.sq_norm)
    found = solve(problem, factors, max_iter=200, tol=0).history["objective"]
    close(found, expected["obj"])
    assert np.diff(found).max() > 100


@case("trisymnmf_karate")
def tri_symmetric(name, expected):
    """`TriSymmetricNMF(solver="mu")`."""
    rng = np.random.default_rng(0)
    W, S = rng.random((34, 2)), rng.random((2, 2))
    options = {"solver": "mu", "extrapolate": False, "init": "custom", "tol": 0}
    model = fastnmf.TriSymmetricNMF(2, max_iter=1000, **options).fit(karate(), W=W, S=(S + S.T) / 2)
    close(model.history_["objective"], expected["obj"])
    falls(model.history_["objective"])
    np.testing.assert_allclose(model.S_, expected["S_colsum1"], rtol=1e-6, atol=1e-9)
    assert misplaced(model.labels_) == expected["misclassified_1based"]


def purity(labels):
    return normalized_mutual_info_score(oracles_structured.planted()[1], labels)


@case("onmf_em")
def orthogonal_assignment(name, expected):
    """`OrthogonalNMF`."""
    X, _ = oracles_structured.planted()
    H = X[:, oracles_structured.after_planted().choice(60, 5, replace=False)].T
    model = fastnmf.OrthogonalNMF(5, init="custom", tol=0, max_iter=30).fit(X.T, H=H)
    close(model.history_["objective"], expected["obj"])
    falls(model.history_["objective"])
    assert purity(model.labels_) == expected["nmi"]
    assert np.abs(model.W_.T @ model.W_ - np.eye(5)).max() < 1e-14


@case("onmf_choi_mu")
def orthogonal_ratios(name, expected):
    """`OrthogonalNMF(solver="mu")`."""
    X, _ = oracles_structured.planted()
    rng = np.random.default_rng(7)
    H, W = rng.random((50, 5)).T, rng.random((5, 60)).T
    model = fastnmf.OrthogonalNMF(5, init="custom", solver="mu", tol=0, max_iter=2000).fit(X.T, W=W, H=H)
    close(model.history_["objective"], expected["obj"])
    assert purity(model.W_.argmax(axis=1)) == expected["nmi"]
    assert np.abs(model.W_.T @ model.W_ - np.eye(5)).max() == pytest.approx(expected["offdiag"], rel=1e-4)


@case("projective_gram_mu")
def projective(name, expected):
    """`ProjectiveNMF(solver="mu")`."""
    H = np.random.default_rng(8).random((5, 60))
    model = fastnmf.ProjectiveNMF(5, init="custom", solver="mu", tol=0, max_iter=2000)
    model.fit(oracles_structured.planted()[0], H=H)
    close(model.history_["objective"], expected["obj"])
    falls(model.history_["objective"])
    assert purity(model.components_.argmax(axis=0)) == expected["nmi"]


# ---------------------------------------------------------------- components that are mixtures, samples, or signed


@case("convex_mu")
def convex(name, expected):
    """`ConvexNMF(solver="mu")`."""
    rng = np.random.default_rng(9)
    C, W = rng.random((60, 5)), rng.random((5, 60)).T
    model = fastnmf.ConvexNMF(5, init="custom", solver="mu", tol=0, max_iter=1000)
    model.fit(oracles_structured.planted()[0].T, W=W, C=C)
    close(model.history_["objective"], expected["obj"])
    falls(model.history_["objective"])


@case("kernel_convex_rbf_mu")
def kernel(name, expected):
    """`KernelNMF(kernel="rbf", gamma=0.1, solver="mu")`."""
    rng = np.random.default_rng(9)
    C, W = rng.random((60, 5)), rng.random((5, 60)).T
    model = fastnmf.KernelNMF(5, kernel="rbf", gamma=0.1, init="custom", solver="mu", tol=0, max_iter=1000)
    model.fit(oracles_structured.planted()[0].T, W=W, C=C)
    close(model.history_["objective"], expected["obj"])
    falls(model.history_["objective"])
    # 60 samples of which some are near a draw; how the columns were scaled for the comparison is not said
    labels = (model.W_ / np.linalg.norm(model.W_, axis=0)).argmax(axis=1)
    assert purity(labels) == pytest.approx(expected["nmi"], abs=0.05)


@case("spa_noise0", "spa_noise0.01")
def separable(name, expected):
    """`SeparableNMF`."""
    X, pure = oracles_picks.planted_anchors(float(name.removeprefix("spa_noise")))
    model = fastnmf.SeparableNMF(6).fit(X)
    assert model.anchors_.tolist() == expected["indices"] and pure.tolist() == expected["truth"]
    assert len(set(model.anchors_) & set(pure)) == expected["recovered"]
    share = np.linalg.norm(X - model.W_ @ model.components_) / np.linalg.norm(X)
    assert share <= expected["relerr"] + 1e-14  # with exact weights; those of the numbers are not, 0.02045 to 0.02038


@case("dictionary_mu")
def dictionary(name, expected):
    """`DictionaryNMF(move="mu")`."""
    rng = np.random.default_rng(11)
    D, X, C, H = rng.random((30, 12)), rng.random((30, 20)), rng.random((12, 4)), rng.random((4, 20))
    model = fastnmf.DictionaryNMF(4, dictionary=D.T, move="mu", init="custom", max_iter=1000, tol=0)
    model.fit(X.T, W=H.T, C=C.T)
    close(model.history_["objective"], expected["obj"])
    falls(model.history_["objective"])


@case("semi_anls")
def semi(name, expected):
    """`SemiNMF`."""
    rng = np.random.default_rng(12)
    X = rng.standard_normal((30, 40))
    model = fastnmf.SemiNMF(4, init="custom", max_iter=300, tol=0).fit(X.T, W=rng.random((4, 40)).T)
    close(model.history_["objective"], expected["obj"])
    falls(model.history_["objective"])
    first = fastnmf.SemiNMF(4, max_iter=1).fit(X.T).history_["objective"][-1]
    assert expected["svd_bound_rank4"] < first < expected["svd_bound_rank3"]


@case("semi_ding_mu")
def semi_by_ratios(name, expected):
    """The moves `LeastSquares` and `MU` with the power 1/2, of `SemiNMF` and `TriNMF(orthogonal=True)`."""
    rng = np.random.default_rng(12)
    X, H = rng.standard_normal((30, 40)), rng.random((4, 40))

    class Split:
        """``||X - W Hᵀ||²`` where only H >= 0: its Gram matrix and product in positive and negative parts."""

        def contribute(self, name, factors, sub):
            F, G = (factors[n][:, :4] for n in (name, "H" if name == "W" else "W"))
            gram, pos = np.zeros((factors[name].shape[1],) * 2), np.zeros(factors[name].shape)
            neg, product = np.zeros(factors[name].shape), (X if name == "W" else X.T) @ G
            if name == "W":
                gram[:4, :4], pos[:, :4] = G.T @ G, product
                sub.add(gram=gram, pos=pos)
                return
            below, gram[:4, :4] = np.maximum(-G.T @ G, 0), np.maximum(G.T @ G, 0)
            pos[:, :4], neg[:, :4] = np.maximum(product, 0) + F @ below, np.maximum(-product, 0)
            sub.add(gram=gram, pos=pos, neg=neg)
            sub.power, sub.is_quadratic = 0.5, False

        def value(self, factors):
            return float(np.square(X - factors["W"][:, :4] @ factors["H"][:, :4].T).sum())

    data = Strata.from_array(np.abs(X))  # for sizes and types alone
    factors, tasks = allocate(data, np.zeros((30, 4)), H.T, None)
    problem = Problem([Split()], {"W": LeastSquares(), "H": MU(eps=0.0)}, (("W", 1), ("H", 1)), tasks, 1.0)
    found = solve(problem, factors, max_iter=1000, tol=0).history["objective"]
    close(found, expected["obj"])
    falls(np.array(found))


@case("affine_mu")
def affine(name, expected):
    """`AffineNMF(solver="mu")`."""
    rng = np.random.default_rng(13)
    X, W, H = rng.random((30, 20)), rng.random((30, 5)), rng.random((4, 20))
    model = fastnmf.AffineNMF(4, solver="mu", init="custom", max_iter=1000, tol=0)
    model.fit(X.T, W=H.T, H=W[:, :4].T, v=W[:, 4])
    close(model.history_["objective"], expected["obj"])
    falls(model.history_["objective"], 1e-9)


@case("nmu_recursive_lagrangian")
def underapproximation(name, expected):
    """`UnderapproximationNMF`; with `feasible=True` it cuts in another way and leaves less."""
    X = np.random.default_rng(14).random((30, 20))
    model = fastnmf.UnderapproximationNMF(4, max_iter=100).fit(X)
    share = model.history_["residual"][1:] / np.linalg.norm(X)
    np.testing.assert_allclose(share, expected["rel_residual_pos_part"], rtol=1e-8)
    assert model.overshoot_ == pytest.approx(expected["rel_violation"], rel=1e-8)
    assert (model.W_ @ model.components_ - X).max() == pytest.approx(expected["max_violation"], rel=1e-8)
    below = fastnmf.UnderapproximationNMF(4, feasible=True, max_iter=100).fit(X)
    assert (below.history_["residual"][1:] / np.linalg.norm(X) < expected["feasible_variant_relerr"]).all()
    assert (below.W_ @ below.components_ - X).max() <= expected["feasible_max_violation"] + 1e-15


@case("trinmf_mu", "triONMF_ding_mu")
def three_factors(name, expected):
    """`TriNMF(solver="mu")`, and with `orthogonal=True`."""
    rng = np.random.default_rng(17)
    X, start = rng.random((30, 20)), {"W": rng.random((30, 4)), "S": rng.random((4, 3)), "H": rng.random((3, 20))}
    is_orthogonal = name != "trinmf_mu"
    options = {"solver": "mu", "extrapolate": False, "init": "custom", "tol": 0}
    model = fastnmf.TriNMF((4, 3), orthogonal=is_orthogonal, max_iter=1000, **options).fit(X, **start)
    close(model.history_["objective"], expected["obj"])
    falls(model.history_["objective"])


# ---------------------------------------------------------------- bounds, zeros and ones


@case("interval_mm")
def interval(name, expected):
    """`IntervalNMF(move="mu")`."""
    low, high, W, H = oracles_picks.interval_case()
    model = fastnmf.IntervalNMF(3, move="mu", init="custom", max_iter=5000, tol=0, extrapolate=False).fit(
        low, upper=high, W=W, H=H
    )
    found = model.history_["objective"]
    close(found, expected["obj"])
    falls(found)
    Y = model.W_ @ model.components_
    assert ((low - 1e-6 <= Y) & (Y <= high + 1e-6)).mean() == pytest.approx(expected["frac_inside"])


@case("boolean_via_interval")
def relaxed_sets(name, expected):
    """`IntervalNMF(move="mu")` with ones that are at least one and zeros that are zero, rounded by `BooleanNMF`."""
    W, H = oracles_picks.planted_sets()
    X = oracles_picks.boolean_product(W, H).astype(float)
    assert X.sum() == expected["ones"]
    rng = np.random.default_rng(20)
    rng.random((40, 4)), rng.random((4, 60))
    W, H = 0.1 + rng.random((40, 4)), 0.1 + rng.random((4, 60))
    model = fastnmf.IntervalNMF(4, move="mu", init="custom", max_iter=2000, tol=0, extrapolate=False)
    model.fit(X.T, upper=np.where(X.T > 0, np.inf, 0), W=H.T, H=W.T)
    assert model.history_["objective"][-1] == pytest.approx(expected["relaxed_obj"], rel=1e-5)
    A, B, at = model.components_.T, model.W_.T, expected["thresholds"]
    rounded = oracles_picks.boolean_product(A / A.max(axis=0) > at[0], B / B.max(axis=1)[:, None] > at[1])
    assert (rounded != X).sum() == expected["mismatches"]
    assert fastnmf.BooleanNMF(4, random_state=0).fit(X).n_mismatches_ == expected["mismatches"]


@case("boolean_flip_polish")
def boolean(name, expected):
    """`BooleanNMF`."""
    W, H = oracles_picks.planted_sets()
    model = fastnmf.BooleanNMF(4, random_state=0).fit(oracles_picks.boolean_product(W, H).astype(float))
    assert model.n_mismatches_ == expected["mismatches"]
    order = [int(np.flatnonzero((model.components_ == h).all(axis=1))[0]) for h in H]
    assert expected["planted_exact"] and (model.W_[:, order] == W).all()


@case("binary_cd")
def binary(name, expected):
    """`BinaryNMF`."""
    W, H = oracles_picks.planted_sets()
    assert fastnmf.BinaryNMF(4, random_state=0).fit(W @ H).reconstruction_err_ == expected["best_obj"]


# ---------------------------------------------------------------- topics, smooth components, starts


@case("plsa_em")
def plsa(name, expected):
    """`PLSA`."""
    X, A, s, B = oracles_picks.counts()
    model = fastnmf.PLSA(3, init="custom", max_iter=200, tol=0, extrapolate=False).fit(X, W=A, H=B, s=s)
    close(model.history_["log_likelihood"], expected["loglik"])
    assert (np.diff(model.history_["log_likelihood"]) >= -1e-9).all()
    assert model.history_["objective"][-1] == pytest.approx(expected["final_KL"], rel=1e-8)


@case("plsa_vs_klmu_gs")
def plsa_beside_kullback_leibler(name, expected):
    """`NMF(solver="mu", beta_loss="kullback-leibler")` from the start of `PLSA`."""
    X, A, _, B = oracles_picks.counts()
    found = history(X, A, B, "HW", 2000, solver="mu", beta_loss="kullback-leibler", extrapolate=False)
    close(found, expected["klmu_gaussseidel"])


@case("smooth_cd_lam1")
def smooth(name, expected):
    """The move `ChainDescent("entries")` with the penalty `Chain`; `SmoothNMF` moves whole columns, and gets lower."""
    found = alternate(*drawn(), held, {"W": HALS(), "H": ChainDescent("entries")}, 200, {"H": [Chain(1.0)]})[0]
    close(found, expected["HW"])
    falls(found)


@case("nndsvd")
def singular_vectors(name, expected):
    """`fastnmf.core.init.nndsvd.nndsvd`, of `NMF(init="nndsvd")` and `"nndsvda"`."""
    X = np.random.default_rng(26).random((25, 18))
    data = Strata.from_array(X)
    W, H, *_ = starts.nndsvd(data, 5, np.random.default_rng(0), has_shifts=False)
    found = {"fro": np.linalg.norm(X - W @ H.T), "sumW": W.sum(), "sumH": H.sum()}
    for which, value in found.items():
        assert value == pytest.approx(expected[which], rel=1e-10), which
    assert ((W == 0).sum(), (H == 0).sum()) == (expected["zerosW"], expected["zerosH"])
    # "a_fro" fills zeros by the mean of X; here they become a hundredth of the mean of their column, in any unit
    A, B, *_ = starts.nndsvd(data, 5, np.random.default_rng(0), fill="mean", has_shifts=False)
    assert np.linalg.norm(X - A @ B.T) < 1.01 * expected["fro"] < expected["a_fro"] and (A > 0).all() and (B > 0).all()


@case("sklearn_crosscheck_beta_mu_WH_100")
def beside_scikit_learn(name, expected):
    """`NMF(solver="mu")` beside scikit-learn's, 100 iterations."""
    from sklearn.decomposition import NMF as Other

    X, W, H = drawn()
    for beta in expected["diff"]:
        options = {"solver": "mu", "beta_loss": float(beta), "init": "custom", "max_iter": 100, "tol": 0}
        theirs = Other(4, **options)
        A = theirs.fit_transform(X, W=W.copy(), H=H.copy())
        mine = NMF(4, extrapolate=False, **options).fit(X, W=W, H=H)
        print(beta, np.abs(mine.W_ @ mine.components_ - A @ theirs.components_).max(), np.abs(mine.W_ - A).max())
