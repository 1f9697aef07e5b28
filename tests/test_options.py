"""Penalties, weights and missing values as users meet them, in the plain and in the stratified model."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.decomposition
from masks import grouped
from sklearn.exceptions import ConvergenceWarning

from fastnmf import NMF, StratifiedNMF
from fastnmf.core.alternate import solve
from fastnmf.core.factors import allocate
from fastnmf.core.losses import Frobenius
from fastnmf.core.penalties.elastic_net import ElasticNet
from fastnmf.core.problem import Problem
from fastnmf.core.updates import HALS
from fastnmf.data.strata import Strata

FORMS = {"dense": np.asarray, "sparse": sp.csr_array}
KL = {"solver": "mu", "beta_loss": "kullback-leibler"}
FITS = {
    "cd": (NMF, {"solver": "cd"}),
    "hals": (NMF, {"solver": "hals"}),
    "mu": (NMF, {"solver": "mu"}),
    "kl": (NMF, KL),
    "stratified hals": (StratifiedNMF, {"solver": "hals", "extrapolate": False}),
    "stratified cd": (StratifiedNMF, {"solver": "hals"}),
    "stratified mu": (StratifiedNMF, {"solver": "mu"}),
    "stratified kl": (StratifiedNMF, KL),
}
EXTRAPOLATED = ("cd", "stratified cd")


def make(name, rank=3, **more):
    """Return an estimator of FITS and the arguments that carry the strata of `grouped`."""
    kind, options = FITS[name]
    model = kind(rank, **{"random_state": 0, "max_iter": 40, "tol": 0, **options, **more})
    return model, {"strata": grouped()[1]} if kind is StratifiedNMF else {}


def modelled(model, strata=None):
    """Return what a fitted model says of its training rows."""
    product = model.W_ @ model.components_
    return product if strata is None else product + model.shifts_[np.searchsorted(model.strata_, strata)]


def kullback_leibler(X, Y):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(X > 0, X * np.log(X / Y), 0).sum() - X.sum() + Y.sum()


def documented(model, X, strata=None, alphas=(0.0, 0.0, 0.0), l1_ratio=0.0):
    """Return the objective of the documentation; of the squared error, twice."""
    n, m = X.shape
    factors = [(model.W_, alphas[0] * m), (model.components_, alphas[1] * n)]
    factors += [] if strata is None else [(model.shifts_, alphas[2] * n)]
    penalty = sum(t * (l1_ratio * F.sum() + (1 - l1_ratio) / 2 * (F**2).sum()) for F, t in factors)
    Y = modelled(model, strata)
    return kullback_leibler(X, Y) + penalty if model.beta_loss != "frobenius" else ((X - Y) ** 2).sum() + 2 * penalty


def same_product(one, other, rtol, strata=()):
    np.testing.assert_allclose(modelled(one, *strata), modelled(other, *strata), rtol=rtol, atol=rtol)


# ---------------------------------------------------------------------------------------------------------- penalties


def test_sparse_nmf_is_the_oracle():
    """``0.5 ||X - W H||² + 0.5 sum(H) + 0.05 ||W||²`` by HALS, H first; numbers of an independent program."""
    rng = np.random.default_rng(0)
    X, W, H = rng.random((30, 20)), rng.random((30, 4)), rng.random((4, 20))
    data = Strata.from_array(X)
    factors, tasks = allocate(data, W, H.T, None)
    problem = Problem(
        losses=[Frobenius(data, factors["W"].shape[1], tasks)],
        updates=dict.fromkeys("WH", HALS()),
        schedule=(("H", 1), ("W", 1)),
        tasks=tasks,
        scale=data.sq_norm,
        penalties={"H": [ElasticNet(l1=0.5)], "W": [ElasticNet(l2=0.1)]},
    )
    fit = solve(problem, factors, max_iter=1000, tol=0)
    half = np.array(fit.history["objective"]) / 2
    np.testing.assert_allclose(half[[1, 10, 100]], [34.03757614797621, 26.262099993935145, 25.408552810294854], 1e-8)
    np.testing.assert_allclose(half[1000], 25.218608051272106, 1e-5)
    assert np.count_nonzero(factors["H"][:, :4] == 0) == 33


def test_nndsvd_is_the_oracle():
    X, options = np.random.default_rng(26).random((25, 18)), {"max_iter": 1, "tol": 0, "solver": "hals"}
    seen = []
    NMF(5, init="nndsvd", callback=lambda state: seen.append((state.W, state.H)), **options).fit(X)
    W, H = seen[0]
    assert np.linalg.norm(X - W @ H) == pytest.approx(5.554885266242355, rel=1e-9)
    assert (W.sum(), H.sum()) == pytest.approx((28.379161124766398, 24.01675197923514), rel=1e-9)
    assert (np.count_nonzero(W == 0), np.count_nonzero(H == 0)) == (50, 37)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", FITS)
def test_penalised_objective_is_the_documented_one_and_never_rises(name, l1_ratio, form):
    X, strata = grouped()
    alphas = (0.02, 0.01, 0.015)
    more = {"alpha_V": alphas[2]} if "stratified" in name else {}
    model, labels = make(name, alpha_W=alphas[0], alpha_H=alphas[1], l1_ratio=l1_ratio, **more)
    model.fit(FORMS[form](X), **labels)
    objective = model.history_["objective"]
    assert objective[-1] == pytest.approx(documented(model, X, *labels.values(), alphas=alphas, l1_ratio=l1_ratio))
    if name not in EXTRAPOLATED:
        assert (np.diff(objective) <= 1e-10 * objective[0]).all()
    loss = np.sqrt(documented(model, X, *labels.values()) * (2 if "kl" in name else 1))
    assert model.reconstruction_err_ == pytest.approx(loss)
    W = model.transform(X, **labels)
    if "mu" not in name and "kl" not in name:  # transform has the penalty of fit
        np.testing.assert_allclose(W, model.W_, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["cd", "hals", "mu", "kl"])
def test_penalised_fits_are_not_behind_scikit_learn(name, l1_ratio):
    X, _ = grouped()
    rng = np.random.default_rng(1)
    W, H = rng.random((40, 3)) + 0.1, rng.random((3, 23)) + 0.1
    options = {"init": "custom", "tol": 0, "alpha_W": 0.01, "alpha_H": 0.03, "l1_ratio": l1_ratio}
    # Of a divergence early on: ours balances the scales of W and H, and from there on the paths are not the same.
    options["max_iter"] = 5 if name == "kl" else 30
    ours, _ = make(name, **options)
    ours.fit(X, W=W, H=H)
    theirs = sklearn.decomposition.NMF(
        3, **options, solver="mu" if name in ("mu", "kl") else "cd", beta_loss=ours.beta_loss
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.W_ = theirs.fit_transform(X, W=W.copy(), H=H.copy())
    mine, other = (documented(model, X, alphas=(0.01, 0.03), l1_ratio=l1_ratio) for model in (ours, theirs))
    assert mine <= other * (1 + 1e-6)


@pytest.mark.parametrize("name", FITS)
def test_l1_makes_zeros(name):
    X, _ = grouped()
    X = X + 0.1
    zeros = []
    for alpha in (0.0, 0.3 if name in ("mu", "kl") else 0.1):
        model, labels = make(name, alpha_W=alpha, l1_ratio=1.0, max_iter=400)
        model.fit(X, **labels)
        W, H = (F / F.max() for F in (model.W_, model.components_))
        zeros.append(np.count_nonzero(W < 1e-6) + np.count_nonzero(H < 1e-6))
    assert zeros[1] > zeros[0] + 5


@pytest.mark.parametrize("kind", [NMF, StratifiedNMF])
def test_one_sided_penalties_are_warned_of(kind):
    X, _ = grouped()
    for alphas, one in (({"alpha_W": 0.1, "alpha_H": 0.0}, "W"), ({"alpha_H": 0.1}, "H")):
        with pytest.warns(UserWarning, match=f"Only {one} is penalised"):
            kind(2, **alphas, max_iter=2, tol=0).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind(2, alpha_W=0.1, max_iter=2, tol=0).fit(X)
        kind(2, alpha_H=0.1, fixed_components=np.ones((1, 23)), max_iter=2, tol=0).fit(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FITS)
def test_penalties_survive_zeros_single_precision_and_extreme_scales(name, dtype):
    X, strata = grouped()
    model, labels = make(name, alpha_W=0.1, l1_ratio=0.5)
    nothing = model.fit(np.zeros((40, 23), dtype), **labels)
    assert np.isfinite(nothing.components_).all() and nothing.reconstruction_err_ == 0
    model.fit(X.astype(dtype), **labels)
    assert model.components_.dtype == dtype
    want = documented(model, X, *labels.values(), alphas=(0.1, 0.1, 0.0), l1_ratio=0.5)
    assert model.history_["objective"][-1] == pytest.approx(want, rel=1e-4 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("exponent", [-90, 90])
@pytest.mark.parametrize("name", ["hals", "kl", "stratified hals", "stratified kl"])
def test_penalties_count_in_the_scale_of_the_user(name, exponent):
    """Scaled by c² the data have W and H scaled by c, V by c², where the penalties scale as the loss."""
    X, strata = grouped()
    rng, c = np.random.default_rng(0), 2.0**exponent
    start = {"W": rng.random((40, 3)), "H": rng.random((3, 23)), "V": rng.random((3, 23))}
    has_shifts, beta = "stratified" in name, 1 if "kl" in name else 2
    for l1_ratio in (0.0, 1.0):
        fits = []
        for scale in (1.0, c):
            powers = {"alpha_W": 2 * beta - 2 + l1_ratio, "alpha_V": 2 * beta - 4 + 2 * l1_ratio}
            alphas = {key: 0.01 * scale**power for key, power in powers.items() if has_shifts or key == "alpha_W"}
            model, labels = make(name, **alphas, l1_ratio=l1_ratio, init="custom", max_iter=15)
            started = {"W": start["W"] * scale, "H": start["H"] * scale}
            started |= {"V": start["V"] * scale**2} if has_shifts else {}
            fits.append(model.fit(X * scale**2, **labels, **started))
        np.testing.assert_allclose(fits[1].components_, fits[0].components_ * c, rtol=1e-6, atol=1e-12 * c)
        np.testing.assert_allclose(fits[1].W_, fits[0].W_ * c, rtol=1e-6, atol=1e-12 * c)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha_W": -1}, "alpha_W=-1"),
        ({"alpha_H": "both"}, "alpha_H='both'"),
        ({"alpha_V": np.inf}, "alpha_V=inf"),
        ({"l1_ratio": 1.5}, "l1_ratio=1.5"),
        ({"alpha_W": 0.1, "gauge": "max_shift"}, "gauge and normalize"),
        ({"alpha_H": 0.1, "normalize": "l1"}, "gauge and normalize"),
        ({"fixed_components": np.ones((1, 23)), "normalize": "l1"}, "normalize.*fixed_components"),
        ({"strata_weight": "each"}, "strata_weight='each'"),
        ({"max_time": -1}, "max_time=-1"),
        ({"callback": 3}, "callback=3"),
        ({"warm_start": 1}, "warm_start=1"),
        ({"missing_values": "none"}, "missing_values='none'"),
        ({"missing_values": "nan", "beta_loss": 1.5, "solver": "mu"}, "error or Kullback-Leibler, not beta_loss=1.5"),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_one_sentence(options, message):
    X, strata = grouped()
    if "missing_values" in options:
        X[0, 0] = np.nan
    with pytest.raises(ValueError, match=message), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        StratifiedNMF(2, **options).fit(X, strata=strata)


# ------------------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("alpha", [0.0, 0.01])
@pytest.mark.parametrize("name", FITS)
def test_a_weight_is_as_many_rows(name, alpha, form):
    X, strata = grouped()
    times = np.random.default_rng(2).integers(0, 4, len(X))
    options = {"alpha_W": alpha, "l1_ratio": 0.5, "max_iter": 20}
    weighted, labels = make(name, **options)
    weighted.fit(FORMS[form](X), sample_weight=times, **labels)
    repeated, labels = make(name, **options)
    labels = {key: value.repeat(times) for key, value in labels.items()}
    repeated.fit(FORMS[form](X.repeat(times, axis=0)), **labels)
    np.testing.assert_allclose(weighted.components_, repeated.components_, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(weighted.W_.repeat(times, axis=0), repeated.W_, rtol=1e-5, atol=1e-7)
    assert weighted.reconstruction_err_ == pytest.approx(repeated.reconstruction_err_, rel=1e-6)
    np.testing.assert_allclose(weighted.history_["objective"], repeated.history_["objective"], rtol=1e-6)
    if labels:
        np.testing.assert_allclose(weighted.shifts_, repeated.shifts_, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(weighted.stratum_sizes_, repeated.stratum_sizes_)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["hals", "cd", "stratified hals", "stratified cd"])
def test_singular_vectors_see_weights_as_rows(name, form):
    X, _ = grouped()
    X = X + 0.1
    times = np.random.default_rng(2).integers(0, 4, len(X))
    weighted, labels = make(name, init="nndsvd", max_iter=10)
    weighted.fit(FORMS[form](X), sample_weight=times, **labels)
    labels = {key: value.repeat(times) for key, value in labels.items()}
    repeated = make(name, init="nndsvd", max_iter=10)[0].fit(FORMS[form](X.repeat(times, axis=0)), **labels)
    np.testing.assert_allclose(weighted.components_, repeated.components_, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("init", ["random", "rows", "nndsvda", "nndsvdar"])
@pytest.mark.parametrize("name", FITS)
def test_any_start_goes_with_weights_penalties_and_known_components(name, init):
    X, _ = grouped()
    known = np.random.default_rng(7).random((1, 23))
    model, labels = make(name, init=init, alpha_W=0.01, l1_ratio=0.3, fixed_components=known)
    model.fit(X, sample_weight=np.arange(40), **labels)
    objective = model.history_["objective"]
    assert model.components_[0].tobytes() == known[0].tobytes() and np.isfinite(model.W_).all()
    assert name in EXTRAPOLATED or (np.diff(objective) <= 1e-9 * objective[0]).all()


@pytest.mark.parametrize("beta", [-1, 0.5, 1.5, 3])
def test_weights_scale_every_divergence(beta):
    X, _ = grouped()
    X, times = X + 0.1, np.random.default_rng(2).integers(1, 4, 40)
    options = {"beta_loss": beta, "solver": "mu", "random_state": 0, "max_iter": 20, "tol": 0}
    weighted = NMF(3, **options).fit(X, sample_weight=times)
    repeated = NMF(3, **options).fit(X.repeat(times, axis=0))
    np.testing.assert_allclose(weighted.components_, repeated.components_, rtol=1e-6, atol=1e-9)
    times[:5] = 0
    if beta < 0:
        with pytest.raises(ValueError, match="weight 0"):
            NMF(3, **options).fit(X, sample_weight=times)
    else:
        weighted = NMF(3, **options).fit(X, sample_weight=times)
        repeated = NMF(3, **options).fit(X.repeat(times, axis=0))
        np.testing.assert_allclose(weighted.components_, repeated.components_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["stratified hals", "stratified cd", "stratified mu", "stratified kl"])
def test_equal_strata_do_not_count_their_rows(name):
    X, strata = grouped()
    times = np.where(strata == 1, 10, 1)
    model, _ = make(name, strata_weight="equal", max_iter=20)
    model.fit(X, strata=strata)
    more, _ = make(name, strata_weight="equal", max_iter=20)
    more.fit(X.repeat(times, axis=0), strata=strata.repeat(times))
    same = model.components_ / np.linalg.norm(model.components_), more.components_ / np.linalg.norm(more.components_)
    # the weights of all rows add up to the number of rows, of which the starts see whole ones only
    np.testing.assert_allclose(model.stratum_sizes_, len(X) / 3)
    np.testing.assert_allclose(more.stratum_sizes_, times.sum() / 3)
    start = {"W": model.W_ + 0.1, "H": model.components_ + 0.1, "V": model.shifts_ + 0.1}
    model.set_params(init="custom").fit(X, strata=strata, **start)
    start["W"] = start["W"].repeat(times, axis=0)
    more.set_params(init="custom").fit(X.repeat(times, axis=0), strata=strata.repeat(times), **start)
    two = (fit.components_ / fit.components_.max(axis=1, keepdims=True) for fit in (more, model))  # W has more rows
    np.testing.assert_allclose(*two, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(more.shifts_, model.shifts_, rtol=1e-5, atol=1e-8)
    assert np.isfinite(same).all()


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(3), "sample_weight has shape"),
        (-np.ones(40), "negative"),
        (np.full(40, np.nan), "non-finite"),
        (np.zeros(40), "zero for every row"),
    ],
)
def test_row_weights_that_cannot_be_used_are_refused(weight, message):
    X, strata = grouped()
    for model, labels in ((NMF(2), {}), (StratifiedNMF(2), {"strata": strata})):
        with pytest.raises(ValueError, match=message):
            model.fit(X, sample_weight=weight, **labels)


def test_row_weights_meet_entry_weights_and_itakura_saito():
    X, _ = grouped()
    with pytest.raises(ValueError, match=r"combine them into one: weight=sample_weight\[:, None\] \* mask"):
        NMF(2).fit(X, sample_weight=np.arange(40), weight=X > 1)
    with pytest.raises(ValueError, match="Itakura-Saito"):
        NMF(2, beta_loss=0, solver="mu").fit(X + 1, sample_weight=np.arange(40))
    rows = np.random.default_rng(0).integers(1, 3, 40).astype(float)
    one, other = (NMF(2, solver="hals", init="custom", max_iter=30, tol=0) for _ in range(2))
    start = {"W": np.ones((40, 2)), "H": np.random.default_rng(1).random((2, 23))}
    one.fit(X, weight=np.repeat(rows[:, None], 23, axis=1), **start)
    other.fit(X, sample_weight=rows, **start)
    same_product(one, other, 1e-6)
    assert one.reconstruction_err_ == pytest.approx(other.reconstruction_err_)
