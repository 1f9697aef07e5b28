"""Dictionary NMF: components that are mixtures of known atoms."""

import tempfile

import numpy as np
import oracles_picks as oracles
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls

import fastnmf
from fastnmf import DictionaryNMF
from fastnmf.models.dictionary import nearest_in_cone

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FORMS = (np.asarray, sp.csr_array)


def fixed_seed():
    rng = np.random.default_rng(11)
    D, X = rng.random((30, 12)), rng.random((30, 20))
    C, H = rng.random((12, 4)), rng.random((4, 20))
    return X.T, D.T, H.T, C.T


@pytest.mark.parametrize("form", FORMS)
def test_the_fixed_seed_case(form):
    X, D, W, C = fixed_seed()
    model = DictionaryNMF(4, dictionary=form(D), move="mu", init="custom", max_iter=1000, tol=0)
    objective = model.fit(form(X), W=W, C=C).history_["objective"]
    for step, value in oracles.numbers("dictionary_mu")["obj"].items():
        assert objective[int(step)] == pytest.approx(value, rel=1e-8 if int(step) <= 100 else 1e-5)
    for step in range(3):
        assert objective[step] == pytest.approx(np.square(X - W @ C @ D).sum(), rel=1e-10)
        W, C = oracles.dictionary_mu_step(X, W, C, D)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("move", ["hals", "mu"])
def test_the_objective_is_the_squared_error_and_never_rises(move, form):
    rng = np.random.default_rng(0)
    X, D = (rng.random(shape) * (rng.random(shape) < 0.5) for shape in ((25, 18), (7, 18)))
    X[3], X[:, 5], D[2] = 0, 0, 0
    model = DictionaryNMF(3, dictionary=form(D), move=move, random_state=0, max_iter=40, tol=0).fit(form(X))
    assert (np.diff(model.history_["objective"]) <= 1e-12 * model.history_["objective"][:-1]).all()
    np.testing.assert_allclose(model.components_, model.mixtures_ @ D, rtol=1e-12)
    error = np.linalg.norm(X - model.W_ @ model.mixtures_ @ D)
    assert model.reconstruction_err_ == pytest.approx(error, rel=1e-10)
    assert min(model.W_.min(), model.mixtures_.min()) >= 0
    for x, w in zip(X, model.transform(form(X)), strict=True):
        np.testing.assert_allclose(w, nnls(model.components_.T, x)[0], atol=1e-9)


def test_planted_mixtures_are_found():
    rng = np.random.default_rng(1)
    D = np.kron(np.eye(6), np.ones(5)) + 0.05 * rng.random((6, 30))
    C = np.array([[1.0, 1, 0, 0, 0, 0], [0, 0, 2, 1, 0, 0]])  # two atoms are not in the data
    X = rng.random((50, 2)) * (rng.random((50, 2)) < 0.7) @ C @ D
    model = DictionaryNMF(2, dictionary=D, random_state=0, max_iter=3000, tol=0).fit(X)
    assert model.normalized_loss_ < 1e-3
    assert model.mixtures_[:, 4:].max() < 1e-3 * model.mixtures_.max()


@pytest.mark.parametrize("factor", [1e-120, 1e120])
def test_extreme_scales_are_the_same_problem(factor):
    X, D, *_ = fixed_seed()
    options = {"dictionary": D, "random_state": 0, "max_iter": 20, "tol": 0}
    want, got = (DictionaryNMF(3, **options).fit(Y) for Y in (X, factor * X))
    assert got.normalized_loss_ == pytest.approx(want.normalized_loss_, rel=1e-8)
    np.testing.assert_allclose(got.W_ @ (got.components_ / factor), want.W_ @ want.components_, rtol=1e-8)


def test_float32_stays_and_is_close():
    X, D, *_ = fixed_seed()
    models = [DictionaryNMF(3, dictionary=D, random_state=0, max_iter=20, tol=0).fit(X.astype(t)) for t in ("f4", "f8")]
    assert models[0].W_.dtype == models[0].mixtures_.dtype == models[0].components_.dtype == np.float32
    assert models[0].normalized_loss_ == pytest.approx(models[1].normalized_loss_, rel=1e-4)


def test_what_is_no_dictionary_is_refused():
    X, D, W, C = fixed_seed()
    for options, words in (
        ({}, "dictionary=None; give the known atoms"),
        ({"dictionary": D[:, :5]}, r"expected \(n_atoms, 30\)"),
        (
            {"dictionary": D - 2},
            r"dictionary has negative entries \(the smallest is -1\..*\); expected atoms >= 0, or sig",
        ),
        ({"dictionary": -D, "signed": True, "move": "mu"}, "signed=True needs exact steps"),
        ({"dictionary": D, "signed": "no"}, "signed='no'"),
        ({"dictionary": D, "move": "cd"}, "move='cd' is not known"),
    ):
        with pytest.raises(ValueError, match=words):
            DictionaryNMF(3, **options).fit(X)
    with pytest.raises(ValueError, match="C is missing"):
        DictionaryNMF(4, dictionary=D, init="custom").fit(X, W=W)
    with pytest.raises(ValueError, match="use init='custom'"):
        DictionaryNMF(4, dictionary=D).fit(X, W=W, C=C)
    with pytest.raises(ValueError, match="The start C has components C D with negative entries"):
        DictionaryNMF(4, dictionary=D, signed=True, init="custom").fit(X, W=W, C=-C)


def signed_case():
    """Return data of two spectra that are sums and differences of the atoms, which have negative entries."""
    rng = np.random.default_rng(2)
    spectra = rng.random((3, 15)) * (rng.random((3, 15)) < 0.6)
    mixed = np.array([[1.0, -1, 0.5], [1, 1, -1], [0.5, 0, 1]])  # its inverse has entries of both signs
    X = (rng.random((40, 2)) * (rng.random((40, 2)) < 0.8)) @ spectra[:2]
    return X, mixed @ spectra, spectra


@pytest.mark.parametrize("seed", range(6))
def test_a_point_of_a_cone_is_the_nearest_one(seed):
    rng = np.random.default_rng(seed)
    m, r = (7, 3) if seed else (6, 6)
    Q = np.linalg.qr(rng.standard_normal((m, r)))[0]
    Q = Q if seed < 4 else np.linalg.qr(np.repeat(Q[:4], 2, axis=0)[:m])[0]  # equal rows
    F = rng.standard_normal((Q.shape[1], 5))
    F[:, 4] = 0
    found = nearest_in_cone(Q, F)
    for f, g in zip(F.T, found.T, strict=True):
        np.testing.assert_allclose(g, oracles.nearest_in_cone(Q, f), atol=1e-12)
        assert (Q @ g).min() > -1e-13


def test_a_sweep_over_signed_mixtures_is_that_of_the_plain_loops():
    X, D, _ = signed_case()
    model = DictionaryNMF(2, dictionary=D, signed=True, random_state=0, max_iter=3, tol=0).fit(X)
    options = {"dictionary": D, "signed": True, "init": "custom", "max_iter": 1, "tol": 0}
    after = DictionaryNMF(2, **options).fit(X, W=model.W_, C=model.mixtures_)
    W, H = oracles.signed_dictionary_step(X, model.W_, model.components_, D)
    np.testing.assert_allclose(after.W_ @ after.components_, W @ H, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_atoms_and_mixtures_of_any_sign_give_components_without_one(form):
    X, D, spectra = signed_case()
    model = DictionaryNMF(2, dictionary=form(D), signed=True, random_state=0, max_iter=2000, tol=0).fit(form(X))
    assert (D < 0).any() and (model.mixtures_ < 0).any() and (model.components_ >= 0).all()
    np.testing.assert_allclose(model.mixtures_ @ D, model.components_, atol=1e-12)
    assert model.normalized_loss_ < 1e-6  # the spectra of the data are sums and differences of the atoms
    for h in model.components_:
        cosines = spectra @ h / np.linalg.norm(h) / np.linalg.norm(spectra, axis=1)
        assert cosines.max() > 0.999
    objective = model.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[0]).all()
    assert fastnmf_loaded(model).mixtures_.tobytes() == model.mixtures_.tobytes()


def fastnmf_loaded(model):
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.npz")
        return fastnmf.load(f"{folder}/model.npz")


@pytest.mark.parametrize("factor", [1e-120, 1e-3, 1e3, 1e120])
def test_signed_models_have_the_units_of_the_data(factor):
    X, D, _ = signed_case()
    options = {"signed": True, "random_state": 0, "max_iter": 20, "tol": 0}
    want = DictionaryNMF(2, dictionary=D, **options).fit(X + 0.1)
    for got in (
        DictionaryNMF(2, dictionary=D, **options).fit(factor * (X + 0.1)),
        DictionaryNMF(2, dictionary=factor * D, **options).fit(X + 0.1),
    ):
        assert got.normalized_loss_ == pytest.approx(want.normalized_loss_, rel=1e-7)


def test_degenerate_signed_dictionaries_give_a_result():
    X, D, _ = signed_case()
    plain = DictionaryNMF(2, dictionary=np.eye(15), random_state=0, max_iter=500, tol=0).fit(X + 0.1)
    free = DictionaryNMF(2, dictionary=np.vstack([np.eye(15), D]), signed=True, random_state=0, max_iter=500, tol=0)
    assert free.fit(X + 0.1).normalized_loss_ == pytest.approx(plain.normalized_loss_, rel=1e-3)  # both are NMF
    for atoms in (0 * D, -np.ones((1, 15)), np.eye(2, 15) - np.eye(2, 15)[::-1], D[:1]):
        for data in (X, X[:1], 0 * X):
            model = DictionaryNMF(3, dictionary=atoms, signed=True, random_state=0, max_iter=5, tol=0).fit(data)
            assert (model.components_ >= 0).all() and np.isfinite(model.mixtures_).all()
            np.testing.assert_allclose(model.mixtures_ @ atoms, model.components_, atol=1e-12)
