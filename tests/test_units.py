"""Nothing depends on the unit of the data, and nothing that is not finite gets in."""

import inspect

import estimators
import numpy as np
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf import (
    NMF,
    BilinearNMF,
    DistributionallyRobustNMF,
    GraphNMF,
    HierarchicalNMF,
    KernelNMF,
    RobustNMF,
    SemiSupervisedNMF,
    StratifiedNMF,
    TriSymmetricNMF,
    stratified_nmf,
)
from fastnmf.compose import Factorization
from fastnmf.core.losses.choice import Beta

pytestmark = pytest.mark.filterwarnings("ignore")

SCALES = (1e-150, 1e-10, 1e10, 1e150)
WITH_UNIT = ("BinaryNMF", "BooleanNMF")  # zeros and ones have none
FREE = estimators.of_those(lambda case: case.kind not in WITH_UNIT)


def arrays(model):
    """Return all fitted numbers, as arrays, by name."""
    found = {}
    for name, value in vars(model).items():
        if name.endswith("_") and not name.startswith("_"):
            each = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
            found[name] = [np.asarray(part) for part in each if not sp.issparse(part)]
    return {name: [part for part in parts if part.dtype.kind == "f"] for name, parts in found.items()}


@FREE
def test_every_model_finds_the_same_at_any_scale(case):
    X = case.draw()
    short = {"max_iter": 3, "init": "random"} if case.kind == "ConvolutiveNMF" else {"max_iter": 3}  # no search
    near = case.fit(X, **short) if "max_iter" in case.make().get_params() else case.fit(X)
    for scale in SCALES:
        model = near.__class__(**near.get_params(deep=False)).fit(scale * X, **case.given(scale * X))
        assert near.normalized_loss_ / 1.25 < model.normalized_loss_ < 1.25 * near.normalized_loss_ + 1e-12, scale
        wrong = [name for name, parts in arrays(model).items() if not all(np.isfinite(part).all() for part in parts)]
        assert not wrong, scale
        if hasattr(model, "transform"):
            assert np.isfinite(model.transform(scale * X, **estimators.again(case, scale * X))).all()


FAR = {"DistributionallyRobustNMF": {"betas": (-1, 0.5, 2)}, "SmoothNMF": {"penalty": "total_variation"}}
FAR |= {
    "TriSymmetricNMF": {"affinity": "cooccurrence"},
    "RobustNMF": {"loss": "huber"},
    "BilinearNMF": {},
    "NMF": {"alpha_W": 0.1},
}


@pytest.mark.parametrize("kind", FAR)
@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_factors_and_history_are_finite_beyond_squares(kind, scale, tmp_path):
    X = scale * (estimators.counts() + 1)
    model = getattr(fastnmf, kind)(2, random_state=0, max_iter=3, **FAR[kind]).fit(X)
    for part in (model.W_, getattr(model, "components_", model.W_), *model.history_.values()):
        assert np.isfinite(part).all()
    model.save(tmp_path / "model.npz")
    again = fastnmf.load(tmp_path / "model.npz")
    if hasattr(model, "transform"):
        W = model.transform(X)
        assert np.isfinite(W).all()
        np.testing.assert_array_equal(again.transform(X), W)


def test_the_graph_of_a_divergence_has_no_unit():
    X = estimators.counts(30, 12)
    losses = [
        GraphNMF(3, solver="mu", beta_loss="kullback-leibler", random_state=0, max_iter=20).fit(c * X).normalized_loss_
        for c in (1, 1e-40, 1e-10, 1e10, 1e40, 1e150)
    ]
    assert max(losses) < 1.25 * losses[0] and min(losses) > losses[0] / 1.25


def test_a_cooccurrence_fits_into_single_precision():
    X = estimators.counts().astype(np.float32)
    near, *far = (
        TriSymmetricNMF(3, affinity="cooccurrence", random_state=0, max_iter=5).fit(np.float32(c) * X)
        for c in (1, 1e-6, 1e5, 1e15)
    )
    for model in far:
        assert model.normalized_loss_ == pytest.approx(near.normalized_loss_, rel=1e-3)


def test_an_error_that_leaves_float64_is_said():
    with pytest.warns(UserWarning, match="overflows float64"):
        RobustNMF(2, loss="huber", random_state=0, max_iter=3).fit(1e200 * estimators.counts())


LOSSES = ("frobenius", "kullback-leibler", "itakura-saito", -1.0, 0.5, 1.5, 3.0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", [NMF, StratifiedNMF, Factorization])
def test_multiplicative_updates_have_no_unit(kind, loss):
    X = estimators.DATA["positive"](estimators.counts())
    more = {"strata": np.arange(len(X)) % 2} if kind is StratifiedNMF else {}
    of_kind = (
        {"loss": loss, "updates": {"W": "mu", "H": "mu"}}
        if kind is Factorization
        else {"beta_loss": loss, "solver": "mu"}
    )

    def fit(scale):
        return kind(3, random_state=0, max_iter=20, tol=0, **of_kind).fit(scale * X, **more)

    near = fit(1.0)
    for scale in (1e-40, 1e-9, 1e-5, 1e-3, 1e3, 1e9, 1e40):
        model = fit(scale)
        assert model.normalized_loss_ == pytest.approx(near.normalized_loss_, rel=1e-6), scale
        new = model.transform(scale * X[:5], **{name: value[:5] for name, value in more.items()})
        want = near.transform(X[:5], **{name: value[:5] for name, value in more.items()})
        np.testing.assert_allclose(new @ (model.components_ / scale), want @ near.components_, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [NMF, StratifiedNMF, SemiSupervisedNMF])
def test_missing_entries_and_labels_have_no_unit_either(kind):
    X = estimators.counts()
    options = {} if kind is SemiSupervisedNMF else {"missing_values": "zeros"}
    given = estimators.classes(X) if kind is SemiSupervisedNMF else {}
    near, far = (
        kind(3, solver="mu", random_state=0, max_iter=20, tol=0, **options).fit(c * X, **given) for c in (1, 1e-30)
    )
    assert far.normalized_loss_ == pytest.approx(near.normalized_loss_, rel=1e-4)


def test_rows_of_small_numbers_get_weights_of_their_own():
    X = estimators.counts()
    model = NMF(3, solver="mu", beta_loss="kullback-leibler", random_state=0, max_iter=200).fit(X)
    mixed = np.vstack([X[:3], 1e-12 * X[:3]])
    W = model.transform(mixed)
    np.testing.assert_allclose(W[3:], 1e-12 * W[:3], rtol=1e-6)
    np.testing.assert_array_equal(model.transform(mixed[3:]), W[3:])


@pytest.mark.parametrize("loss", ["l1", "huber", "l21"])
def test_robust_weights_of_new_rows_have_no_unit(loss):
    X = estimators.counts()
    models = [RobustNMF(3, loss=loss, solver="mu", random_state=0, max_iter=20).fit(c * X) for c in (1, 1e10)]
    scores = [model.score(c * X) for model, c in zip(models, (1, 1e10), strict=True)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-2)


def test_the_published_algorithm_keeps_its_constant():
    blocks = [np.array([[1.0, 0, 5], [2, 0, 5]]), np.array([[3.0, 1, 0], [6, 2, 0]])]
    near, far = (stratified_nmf([c * block for block in blocks], 1, 200, random_state=0) for c in (1.0, 1e-9))
    assert near[3][-1] < 0.05 and far[3][-1] > 0.2 and far[1][0].max() < 1e-100  # 1e-9 in the denominators erases W


def test_references_are_those_of_the_user():
    X, given = estimators.counts(), (30.0, 10.0)
    near = DistributionallyRobustNMF(2, references=given, random_state=0, max_iter=5).fit(X)
    unit = 2.0**400
    far = DistributionallyRobustNMF(2, references=(30.0 * unit, 10.0 * unit**2), random_state=0, max_iter=5).fit(
        unit * X
    )
    np.testing.assert_allclose(far.excesses_, near.excesses_, rtol=1e-9)


@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_the_kernel_of_far_rows_is_the_identity(kernel):
    X = 1e200 * estimators.counts()
    model = KernelNMF(2, kernel=kernel, gamma=1.0, random_state=0, max_iter=3).fit(X)
    np.testing.assert_array_equal(model._kernel(X), np.eye(len(X)))
    for kernel, scale in (("poly", 1.0), ("linear", 1.0), ("linear", 1e-300)):
        with pytest.raises(ValueError, match="scale X"):
            KernelNMF(2, kernel=kernel, gamma=1.0).fit(X * scale * (1e-100 if scale < 1 else 1))


def test_cosines_have_no_unit():
    X = estimators.counts()
    losses = [
        KernelNMF(2, kernel="cosine", random_state=0, max_iter=5).fit(c * X).normalized_loss_
        for c in (1, 1e-200, 1e-150, 1e-20, 1e20, 1e200)
    ]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


# ---------------------------------------------------------------- what is not finite


@pytest.mark.parametrize("kind", estimators.KINDS)
def test_parameters_that_are_not_finite_are_refused(kind):
    made, X = getattr(fastnmf, kind), estimators.counts()
    needed = {"dictionary": estimators.atoms()} if kind == "DictionaryNMF" else {}
    numbers = [
        name
        for name, each in inspect.signature(made).parameters.items()
        if "float" in each.annotation or "Loss" in each.annotation
    ]
    numbers += [name for name in ("weights", "references", "betas", "level_weights") if name in made().get_params()]
    for name in numbers:
        for value in (np.nan, np.inf, -np.inf, (np.nan, 1.0)):
            with pytest.raises(ValueError) as caught:
                made(**needed, **{name: value}).fit(X)
            assert estimators.one_sentence(caught.value) and name.split("_")[0] in str(caught.value)


def test_functions_and_objects_with_weights_refuse_them_too():
    A, X = [np.eye(3)[:, :2]], np.eye(3)
    with pytest.raises(ValueError, match="label_weight=nan"):
        fastnmf.hierarchical_loss(X, A, loss="levels", Y=X, B=np.ones((3, 2)), label_weight=np.nan)
    for made in (NMF(2, solver="mu", beta_loss=Beta(np.inf)), Factorization(2, loss=Beta(np.nan))):
        with pytest.raises(ValueError, match="degree"):
            made.fit(X)


# ---------------------------------------------------------------- data of lower rank than asked for


def test_the_last_weights_of_dependent_components_do_not_raise_the_objective():
    X = np.repeat([[2.0, 2, 3, 1, 3, 0, 1]], 3, axis=0)
    for seed in range(5):
        objective = BilinearNMF(3, random_state=seed, max_iter=5, tol=0).fit(X).history_["objective"]
        assert np.diff(objective).max() <= 1e-9 * objective[0]


DEEP = ({}, {"loss": "energy"}, {"loss": "recon"}, {"solver": "pgd"}, {"method": "deep"}, {"method": "sequential"})


@pytest.mark.parametrize("options", DEEP, ids=str)
def test_hierarchies_of_data_of_lower_rank(options):
    rng = np.random.default_rng(0)
    for X in (np.repeat([[1.0, 3, 3, 4, 1, 2, 0]], 3, axis=0), sp.csr_array(np.outer(rng.random(50), rng.random(20)))):
        for seed, sizes in ((4, (4, 2)), (7, (4, 2)), (10, (4, 2)), (11, (4, 2)), (0, (5, 4, 3)), (1, (5, 4, 3))):
            model = HierarchicalNMF(sizes, random_state=seed, max_iter=25, **options).fit(X)
            assert max(model.level_errors_) < 1.001 and max(s.max() for s in model.S_) < 1e6
            assert np.diff(model.history_["objective"]).max(initial=0) <= 1e-6
            np.testing.assert_allclose(model.transform(X), model.S_[-1], atol=1e-6 * model.S_[-1].max())
