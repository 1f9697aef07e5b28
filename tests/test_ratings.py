"""Ratings: simulated ones, predictions of entries, penalties by what is known, implicit feedback."""

import tracemalloc
import warnings

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from masks import KINDS, grouped, weights_of

import fastnmf
from fastnmf import NMF, StratifiedNMF
from fastnmf.core.factors import allocate, pad
from fastnmf.core.inference import infer
from fastnmf.core.losses.choice import Beta
from fastnmf.core.objectives import divergence_problem, squared_problem
from fastnmf.core.options import FactorOptions, Options
from fastnmf.core.penalties import penalties_of
from fastnmf.data.entry_weights import Background, observed
from fastnmf.data.strata import Strata
from fastnmf.datasets import simulate_ratings

EXACT = {"tol": 0, "max_iter": 25, "random_state": 0}


def rmse(ratings, found):
    return float(np.sqrt(np.mean((np.clip(found, 1, 5) - ratings.data) ** 2)))


def entries_of(X):
    """Return rows, columns and values of the stored entries."""
    X = sp.coo_array(X)
    return *X.coords, X


def biases(train):
    """Return the means of users, of items, and of all, those of all where there is none."""
    total = train.data.mean()
    count = [np.bincount(at, minlength=n) for at, n in zip(entries_of(train)[:2], train.shape, strict=True)]
    sums = [np.bincount(at, train.data, n) for at, n in zip(entries_of(train)[:2], train.shape, strict=True)]
    return *(np.where(c > 0, s / np.maximum(c, 1), total) for c, s in zip(count, sums, strict=True)), total


def small(n_strata=1, seed=0, **more):
    return simulate_ratings(60, 40, 3, n_strata, n_ratings=900, random_state=seed, **more)


# ---------------------------------------------------------------- the data


def test_simulated_ratings_are_what_they_say():
    data = simulate_ratings(300, 200, 4, 3, n_ratings=5000, test_share=0.3, random_state=0)
    assert data.data is data.train and data.train.nnz == 3500 and data.test.nnz == 1500
    assert data.train.shape == data.test.shape == (300, 200) and not data.train.multiply(data.test).nnz
    assert set(np.unique(np.append(data.train.data, data.test.data))) == {1, 2, 3, 4, 5}
    assert sorted(set(data.strata.tolist())) == ["country 0", "country 1", "country 2"] == data.stratum_names.tolist()
    assert len(data.feature_names) == 200 and len(data.row_names) == 300 and data.V.any()
    again = simulate_ratings(300, 200, 4, 3, n_ratings=5000, test_share=0.3, random_state=0)
    assert (again.train != data.train).nnz == 0 and (again.strata == data.strata).all()
    plain = simulate_ratings(300, 200, random_state=1)
    assert plain.train.nnz + plain.test.nnz == 0.04 * 300 * 200 and not plain.V.any()
    # every rating of the scale is about as common as its interval of ranks is long, but for the noise
    share = np.bincount(plain.train.data.astype(int), minlength=6)[1:] / plain.train.nnz
    assert share.min() > 0.1 and share.max() < 0.3


def test_all_pairs_may_be_known_and_many_ratings_take_little_memory():
    whole = simulate_ratings(12, 10, 2, n_ratings=120, test_share=0, random_state=0)
    assert whole.train.nnz == 120 and whole.test.nnz == 0
    tracemalloc.start()
    simulate_ratings(4000, 3000, n_ratings=50_000, random_state=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4000 * 3000 * 2  # a quarter of a dense array


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_users": 0}, "n_users must be 1 or more"),
        ({"n_ratings": 10**9}, "n_ratings must be at most"),
        ({"test_share": 1.5}, "test_share must be at most 1"),
        ({"n_users": 3, "n_strata": 4}, "n_strata must be at most 3"),
        ({"noise": -1}, "noise must be 0 or more"),
    ],
)
def test_ratings_that_cannot_be_drawn_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        simulate_ratings(**options)


# ---------------------------------------------------------------- predictions


def fitted(n_strata=3, **more):
    data = small(n_strata)
    options = {"missing_values": "zeros", "alpha_W": 0.1, **EXACT} | more
    if n_strata == 1:
        return data, NMF(3, **options).fit(data.train), None
    model = StratifiedNMF(3, **options).fit(data.train, strata=data.strata)
    return data, model, model.shifts_[model.row_strata_]


@pytest.mark.parametrize("n_strata", [1, 3])
@pytest.mark.parametrize("sparse_shifts", [False, True])
def test_predicted_entries_are_those_of_the_model(n_strata, sparse_shifts):
    more = {"sparse_shifts": sparse_shifts} if n_strata > 1 else {}
    data, model, shifts = fitted(n_strata, **more)
    shifts = 0 if shifts is None else shifts.toarray() if sparse_shifts else shifts
    whole = model.W_ @ model.components_ + shifts
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, 60, 800_000), rng.integers(0, 40, 800_000)  # more than are computed at a time
    np.testing.assert_allclose(model.predict_entries(i, j), whole[i, j], rtol=1e-12)
    np.testing.assert_allclose(model.predict_entries(7, [0, 3]), whole[7, [0, 3]], rtol=1e-12)
    np.testing.assert_allclose(model.predict_entries([5], np.arange(40)), whole[5], rtol=1e-12)
    assert model.predict_entries([], []).shape == (0,)
    known = data.train.toarray() > 0
    for row in (0, 59):
        found = model.recommend(row, 8)
        want = sorted(np.flatnonzero(~known[row]), key=lambda j: -whole[row, j])[:8]
        assert found.columns.tolist() == want and found.names == [str(j) for j in want]
        np.testing.assert_allclose(found.scores, whole[row, want], rtol=1e-12)
        assert model.recommend(row, 40, exclude_known=False).columns.tolist() == np.argsort(-whole[row]).tolist()
    length = np.linalg.norm(whole, axis=0)
    cosine = whole.T @ whole / np.maximum(np.outer(length, length), 1e-300)
    found = model.similar_features(4, 39)
    np.testing.assert_allclose(found.scores, cosine[4, found.columns], rtol=1e-9)
    assert 4 not in found.columns and (np.diff(found.scores) <= 0).all() and len(found.columns) == 39


def test_rows_that_are_new_are_recommended_through_transform():
    for n_strata in (1, 3):
        data, model, _ = fitted(n_strata)
        given = {} if n_strata == 1 else {"strata": data.strata}
        X = data.train.copy()
        of_row, want = model.recommend(5, 6), model.recommend(5, 6, X=X, **given)
        np.testing.assert_allclose(want.scores, of_row.scores, rtol=1e-9)  # W_ is exact, as transform is
        assert want.columns.tolist() == of_row.columns.tolist()
        dense = model.recommend(5, 6, X=X.toarray(), **given)
        assert dense.columns.tolist() == of_row.columns.tolist()
    _, model, _ = fitted(3, unknown_strata="mean")
    found = model.recommend(0, 40, False, X=X, strata=np.full(60, "elsewhere"))
    mean = np.bincount(model.row_strata_) / 60 @ model.shifts_
    w = model.transform(X[[0]], strata=["elsewhere"])[0]
    np.testing.assert_allclose(found.scores, (mean + w @ model.components_)[found.columns], rtol=1e-9)


def test_names_and_files_keep_what_recommendations_need(tmp_path):
    pd = pytest.importorskip("pandas")
    data = small()
    table = pd.DataFrame(data.train.toarray(), columns=[f"film {j}" for j in range(40)])
    model = NMF(3, missing_values="zeros", alpha_W=0.1, **EXACT).fit(table)
    found = model.recommend(2, 3)
    assert found.names == [f"film {j}" for j in found.columns]
    assert (model.predict_entries(2, found.names) == model.predict_entries(2, found.columns)).all()
    assert model.similar_features("film 3", 2).names == model.similar_features(3, 2).names
    model.save(tmp_path / "model.npz")
    again = fastnmf.load(tmp_path / "model.npz").recommend(2, 3)
    assert again.names == found.names and (again.scores == found.scores).all()
    with pytest.raises(ValueError, match="not a feature of X"):
        model.predict_entries([0], ["film 99"])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda model: model.predict_entries([0, 1, 2], [0, 1]), ValueError, "rows has 3 entries and columns has 2"),
        (lambda model: model.predict_entries([60], [0]), ValueError, "rows has 60; expected integers from 0 to 59"),
        (lambda model: model.predict_entries([0], [-1]), ValueError, "columns has -1"),
        (lambda model: model.predict_entries([0.5], [0]), TypeError, "expected integers"),
        (lambda model: model.predict_entries([True], [0]), TypeError, "expected integers"),
        (lambda model: model.predict_entries([[0]], [0]), ValueError, "one dimension"),
        (lambda model: model.predict_entries([0], ["film"]), ValueError, "the model has no names"),
        (lambda model: model.recommend(0, 0), ValueError, "n=0 is not valid"),
        (lambda model: model.recommend(99), ValueError, "row has 99"),
        (lambda model: model.similar_features(40), ValueError, "j has 40"),
        (lambda model: model.recommend(0, X=np.ones((2, 40)), strata=["a", "b"]), ValueError, "has no strata"),
        (lambda model: NMF(3).recommend(0), Exception, "not fitted"),
        (lambda model: NMF(3, **EXACT).fit(np.ones((9, 4))).recommend(0), ValueError, "pass X="),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_one_sentence(call, error, message):
    _, model, _ = fitted(1)
    with warnings.catch_warnings(), pytest.raises(error, match=message):
        warnings.simplefilter("ignore")
        call(model)


# ---------------------------------------------------------------- penalties by what is known


def problem_of(
    X, weight, labels=None, missing_values=None, beta=2, alpha=(0.0, 0.0, 0.0), ratio=0.5, solver="hals", start=None
):
    """Return data, factors and Problem of NMF, or of Stratified-NMF, with weights of entries that scale penalties."""
    X, weights = observed(X, weight, missing_values)
    data = Strata.from_array(X, labels)
    data.entry_weights = weights
    weights.scales_penalties = True
    rng = np.random.default_rng(1)
    v = None if labels is None else 0.3 + np.zeros(len(data.pattern.group))
    start = (rng.random((X.shape[0], 3)) + 0.1, rng.random((X.shape[1], 3)) + 0.1) if start is None else start
    factors, tasks = allocate(data, *start, v)
    if beta == 2:
        schedule = ((("V", 1),) if labels is not None else ()) + (("W", 1), ("H", 1))
        problem = squared_problem(data, factors, tasks, schedule, is_descent=solver == "hals")
    else:
        problem = divergence_problem(data, factors, tasks, 1.0)
    options = Options(**{name: FactorOptions(a, ratio) for name, a in zip("WHV", alpha, strict=True)})
    if beta != 2:
        options = Options(loss=Beta(1), W=options.W, H=options.H, V=options.V)
    problem.penalties = penalties_of(data, options, "WH" if labels is None else "WHV")
    return data, factors, problem


def penalty_of(O, factors, alpha, ratio, unit, has_shifts):
    """Evaluate the penalties as documented, row by row, by plain loops."""
    total = 0.0
    for name, sums, a in (("W", O.sum(axis=1), alpha[0]), ("H", O.sum(axis=0), alpha[1])):
        for known, f in zip(sums, factors[name][:, :3].astype(float), strict=True):
            total += unit * a * known * (ratio * f.sum() + (1 - ratio) / 2 * (f**2).sum())
    if has_shifts:
        v = factors["V"].astype(float)
        total += unit * alpha[2] * O.sum(axis=0).mean() * (ratio * v.sum() + (1 - ratio) / 2 * (v**2).sum())
    return total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["hals", "mu", "kl"])
def test_penalties_count_by_what_is_known_and_no_step_raises_the_objective(kind, solver):
    X, strata = grouped()
    O, alpha = weights_of(kind, X.shape), (0.02, 0.03, 0.01)
    for labels in (None, strata):
        for form in (np.asarray, sp.csr_array):
            beta = 1 if solver == "kl" else 2
            data, factors, problem = problem_of(form(X), O, labels, beta=beta, alpha=alpha, solver=solver)

            def objective(data=data, factors=factors, labels=labels, beta=beta):
                W, H = (factors[name][:, :3].astype(float) for name in "WH")
                Y = W @ H.T + (0 if labels is None else data.pattern.dense(factors["V"])[labels])
                loss = oracles.weighted_loss if beta == 2 else oracles.weighted_kullback_leibler
                return loss(X, Y, O) + penalty_of(O, factors, alpha, 0.5, beta, labels is not None)

            values = [objective()]
            assert problem.value(factors) == pytest.approx(values[0], rel=1e-10)
            for _ in range(6):
                for step in problem.schedule:
                    for name, n in step if isinstance(step[0], tuple) else (step,):
                        problem.updates[name](factors[name], problem.subproblem(name, factors), factors.rank, n)
                        factors.invalidate(name)
                        values.append(objective())
            assert (np.diff(values) <= 1e-12 * values[0]).all() and values[-1] < 0.95 * values[0]
            assert problem.value(factors) == pytest.approx(values[-1], rel=1e-10)


def test_gradients_of_penalised_rows_are_those_of_the_objective():
    X, strata = grouped(shape=(12, 9))
    O = weights_of("weights", X.shape)
    for beta in (2, 1):
        _, factors, problem = problem_of(sp.csr_array(X), O, strata, beta=beta, alpha=(0.2, 0.3, 0.1))
        for name in "WH":
            F, gradient = factors[name], problem.subproblem(name, factors).gradient(factors[name])
            for place in np.ndindex(len(F), 3):
                values, before = [], F[place]
                for step in (1e-5, -1e-5):
                    F[place] = before + step
                    factors.invalidate(name)
                    values.append(problem.value(factors))
                F[place] = before
                factors.invalidate(name)
                assert beta * gradient[place] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-4)


def start_of(X, rank=3, extra=0):
    rng = np.random.default_rng(0)
    W, H = rng.random((X.shape[0], rank)) + 0.1, rng.random((rank, X.shape[1])) + 0.1
    return {"W": W, "H": np.hstack([H, rng.random((rank, extra))])}


@pytest.mark.parametrize("beta_loss", ["frobenius", "kullback-leibler"])
def test_columns_of_which_nothing_is_known_change_nothing(beta_loss):
    data, solver = small(), "mu" if beta_loss != "frobenius" else "hals"
    more = {"missing_values": "zeros", "init": "custom", "alpha_W": 0.1, "alpha_H": 0.2, "l1_ratio": 0.3}
    options = EXACT | {"solver": solver, "beta_loss": beta_loss} | more
    plain = NMF(3, **options).fit(data.train, **start_of(data.train))
    wide = sp.csr_array(sp.hstack([data.train, sp.csr_array((60, 500))]))
    found = NMF(3, **options).fit(wide, **start_of(data.train, extra=500))
    np.testing.assert_allclose(found.W_, plain.W_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.components_[:, :40], plain.components_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("beta_loss", ["frobenius", "kullback-leibler"])
def test_weights_of_a_row_are_exact_and_depend_on_this_row_alone(beta_loss):
    data, solver = small(3), "mu" if beta_loss != "frobenius" else "hals"
    options = {"solver": solver, "beta_loss": beta_loss, "missing_values": "zeros", "alpha_W": 0.1, "l1_ratio": 0.3}
    model = StratifiedNMF(3, **options, **EXACT).fit(data.train, strata=data.strata)
    W = model.transform(data.train, strata=data.strata)
    alone = model.transform(data.train[[7]], strata=data.strata[[7]])
    np.testing.assert_allclose(alone[0], W[7], rtol=1e-6, atol=1e-9)
    if beta_loss == "frobenius":
        np.testing.assert_allclose(model.W_, W, rtol=1e-6, atol=1e-9)
    x, j = data.train[[7]].data, data.train[[7]].indices
    H, v = model.components_[:, j], model.shifts_[model.row_strata_[7], j]

    def cost(w):
        y = v + w @ H
        penalty = 0.1 * len(j) * (0.3 * w.sum() + 0.7 / 2 * (w**2).sum())
        fit = ((x - y) ** 2).sum() / 2 if beta_loss == "frobenius" else (x * np.log(x / y) - x + y).sum()
        return fit + penalty

    for step in np.vstack([np.eye(3), -np.eye(3)]) * 1e-3:
        assert cost(np.maximum(W[7] + step, 0)) >= cost(W[7]) - 1e-9


def test_one_strength_serves_any_density():
    errors = {}
    for n_ratings in (6000, 24_000):
        data = simulate_ratings(300, 200, 3, n_ratings=n_ratings, noise=0.5, random_state=0)
        i, j, test = entries_of(data.test)
        for alpha in (0.0, 0.1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = NMF(10, missing_values="zeros", alpha_W=alpha, random_state=0, max_iter=100).fit(data.train)
            errors[n_ratings, alpha] = rmse(test, model.predict_entries(i, j))
        user, item, total = biases(data.train)
        assert errors[n_ratings, 0.1] <= 1.05 * rmse(test, user[i] + item[j] - total)
        assert errors[n_ratings, 0.1] < errors[n_ratings, 0.0]


def test_a_fit_warns_where_rows_have_fewer_known_entries_than_components():
    data = small()
    with pytest.warns(UserWarning, match=r"\d+ % of the rows have fewer known entries than the 20 components"):
        NMF(20, missing_values="zeros", max_iter=2, tol=0).fit(data.train)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        NMF(20, missing_values="zeros", alpha_W=0.1, max_iter=2, tol=0, random_state=0).fit(data.train)
        NMF(3, missing_values="zeros", max_iter=2, tol=0, random_state=0).fit(data.train)


def test_no_row_sets_a_weight_from_entries_that_are_next_to_nothing():
    # Row 0 is known in one column only, where component 0 is 1e-9: x / 1e-9 fits it, and predicts that elsewhere.
    rng = np.random.default_rng(0)
    H = rng.random((30, 2)) + 0.1
    H[0] = 1e-9, 0
    X = sp.csr_array(rng.random((8, 2)) @ H.T)
    X.data[:30] = np.where(X.indices[:30] == 0, 3.0, 0)
    X.eliminate_zeros()
    for solver in ("hals", "exact"):
        data, factors, problem = problem_of(X, None, missing_values="zeros", start=(np.full((8, 2), 0.7), H))
        if solver == "hals":
            problem.updates["W"](factors["W"], problem.subproblem("W", factors), 2, 3)
            assert factors["W"][0, 0] <= 0.7
        else:
            assert infer(data, 2, pad(H, data))[0][0, 0] == 0
    options = {"missing_values": "zeros", "init": "custom", "max_iter": 1, "tol": 0}
    model = NMF(2, **options, alpha_W=1e-6).fit(X, W=np.full((8, 2), 0.7), H=H.T)
    assert model.predict_entries(0, np.arange(30)).max() < 1e3


@pytest.mark.parametrize("solver", ["hals", "mu"])
def test_predictions_stay_finite_where_a_fit_has_no_penalty(solver):
    data = simulate_ratings(400, 300, 3, 12, n_ratings=6000, random_state=0)
    options = {"missing_values": "zeros", "tol": 0, "max_iter": 150, "random_state": 0, "solver": solver}
    model = StratifiedNMF(20, **options).fit(data.train, strata=data.strata)
    whole = model.W_ @ model.components_ + model.shifts_[model.row_strata_]
    assert whole.max() < 1e7  # 1e5 times the largest rating for each component that a row just sees


# ---------------------------------------------------------------- implicit feedback


def implicit(seed=0):
    """Return counts of plays, CSR, and confidences on their pattern and beyond it, one of them zero."""
    rng = np.random.default_rng(seed)
    X = sp.csr_array((rng.random((30, 22)) < 0.2).astype(float))
    C = 0.5 + 4 * rng.random((30, 22))
    C *= (X.toarray() > 0) | (rng.random((30, 22)) < 0.05)
    C = sp.csr_array(C)
    C.data[3] = 0.0
    return X, C


def whole_weights(C, background):
    out = np.full(C.shape, float(background))
    i, j, _ = entries_of(C)
    out[i, j] = C.data
    return out


@pytest.mark.parametrize("background", [0.4, 1, 3.0])
@pytest.mark.parametrize("solver", ["hals", "mu", "kl"])
def test_a_background_is_that_weight_of_all_other_entries(background, solver):
    X, C = implicit()
    O = whole_weights(C, background)
    strata, options = np.arange(30) % 3, {"alpha_W": 0.02, "alpha_H": 0.01, "init": "custom", **EXACT}
    options |= {"solver": "mu", "beta_loss": "kullback-leibler"} if solver == "kl" else {"solver": solver}
    V = np.full((3, 22), 0.1)
    for kind, given in ((NMF, {}), (StratifiedNMF, {"strata": strata, "V": V})):
        model = kind(3, **options).fit(X, weight=C, background=background, **start_of(X), **given)
        dense = kind(3, **options).fit(X, weight=O, **start_of(X), **given)
        Y = model.W_ @ model.components_ + (model.shifts_[strata] if given else 0)
        np.testing.assert_allclose(Y, dense.W_ @ dense.components_ + (dense.shifts_[strata] if given else 0), atol=1e-6)
        loss = oracles.weighted_kullback_leibler if solver == "kl" else oracles.weighted_loss
        found = model.reconstruction_err_**2 / (2 if solver == "kl" else 1)
        assert found == pytest.approx(loss(X.toarray(), Y, O), rel=1e-6)
        np.testing.assert_allclose(model.history_["objective"], dense.history_["objective"], rtol=1e-6)
        assert model.run_objectives_[0] == pytest.approx(dense.run_objectives_[0], rel=1e-6)
        assert model.recommend(0, 22).columns.tolist() == [
            j for j in model.recommend(0, 22, False).columns if X[0, j] == 0
        ]


def test_rows_of_implicit_feedback_are_those_of_the_published_equations():
    X, C = implicit()
    H = np.random.default_rng(3).random((22, 3))
    clean, weights = observed(X, Background(C, 0.4))
    data = Strata.from_array(clean)
    data.entry_weights = weights
    W = infer(data, 3, pad(H, data))[0][:, :3]
    rows = [list(zip(C[[i]].indices, X[[i]].toarray()[0, C[[i]].indices], C[[i]].data, strict=True)) for i in range(30)]
    for w, gram, right in zip(W, *oracles.implicit_row_parts(rows, 0.4, H), strict=True):
        np.testing.assert_allclose(w, oracles.nnls_by_supports(gram, right), rtol=1e-9, atol=1e-12)


def test_nothing_of_the_size_of_the_data_is_formed():
    rng = np.random.default_rng(0)
    X = sp.random_array((3000, 2000), density=0.002, random_state=0, format="csr")
    C = X.copy()
    C.data = 1 + 5 * rng.random(C.nnz)
    for options in ({}, {"solver": "mu", "beta_loss": "kullback-leibler"}):
        tracemalloc.start()
        NMF(4, max_iter=2, tol=0, random_state=0, init="random", **options).fit(X, weight=C, background=0.5)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3000 * 2000 * 2  # a quarter of one dense array; so is each block of an exact residual


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": 1.0}, "no weight was given"),
        ({"background": 1.0, "weight": np.ones((30, 22))}, "a dense weight"),
        ({"background": -1.0, "weight": implicit()[1]}, "background=-1.0 is not valid"),
        ({"background": "many", "weight": implicit()[1]}, "background='many' is not valid"),
    ],
)
def test_a_background_that_cannot_be_used_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        NMF(2, max_iter=2).fit(implicit()[0], **options)
    with pytest.raises(ValueError, match="leave one of them out"):
        NMF(2, max_iter=2, missing_values="zeros").fit(implicit()[0], weight=implicit()[1], background=1.0)


# ---------------------------------------------------------------- Kullback-Leibler with weights


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weighted_ratios_are_those_of_the_plain_loops(kind, dtype):
    X, strata = grouped()
    O, loose = weights_of(kind, X.shape), {"rtol": 1e-9} if dtype == np.float64 else {"rtol": 2e-3}
    for form in (np.asarray, sp.csr_array):
        data, factors, problem = problem_of(form(X.astype(dtype)), O.astype(dtype), strata, beta=1)
        for name in ("W", "V", "H"):
            W, H = (factors[each][:, :3].astype(float) for each in "WH")
            V = data.pattern.dense(factors["V"]).astype(float)
            pos, neg = oracles.weighted_kullback_leibler_parts(X, strata, V, W, H.T, O)[name]
            if name == "V":
                pos, neg = (data.pattern.entries(side) for side in (pos, neg))
            pos, neg = (side.T if name == "H" else side for side in (pos, neg))
            F = factors[name].T[:3].T if name != "V" else factors[name]
            want = np.where(neg > 0, F * pos / np.where(neg > 0, neg, 1), 0)
            problem.updates[name](factors[name], problem.subproblem(name, factors), factors.rank, 1)
            factors.invalidate(name)
            found = factors[name] if name == "V" else factors[name][:, :3]
            np.testing.assert_allclose(found, want, **loose, atol=1e-6)


@pytest.mark.parametrize("missing", ["zeros", "nan"])
def test_missing_counts_have_no_influence_and_the_objective_never_rises(missing):
    rng = np.random.default_rng(0)
    X = 1.0 + rng.poisson(3.0 * rng.random((30, 2)) @ rng.random((2, 20)))
    seen, strata = rng.random(X.shape) < 0.6, np.arange(30) % 2
    given = np.where(seen, X, np.nan if missing == "nan" else 0)
    options = {"solver": "mu", "beta_loss": "kullback-leibler", "max_iter": 60, "tol": 0, "random_state": 0}
    for extrapolate in (True, False):
        model = StratifiedNMF(2, missing_values=missing, extrapolate=extrapolate, **options).fit(given, strata=strata)
        objective = model.history_["objective"]
        assert (np.diff(objective) <= 1e-9 * objective[0]).all()
        Y = model.W_ @ model.components_ + model.shifts_[strata]
        want = oracles.weighted_kullback_leibler(X, Y, seen)
        assert model.reconstruction_err_**2 / 2 == pytest.approx(want, rel=1e-8)
        held = StratifiedNMF(2, extrapolate=extrapolate, **options).fit(
            np.where(seen, X, 7e3), strata=strata, weight=seen
        )
        np.testing.assert_allclose(held.W_, model.W_, rtol=1e-6, atol=1e-8)
        assert 0 < model.score(given, strata=strata) < 1


def test_shifts_under_other_divergences_take_no_weights():
    with pytest.raises(ValueError, match="the squared error or Kullback-Leibler"):
        model = StratifiedNMF(2, solver="mu", beta_loss=1.5, missing_values="zeros")
        model.fit(small().train, strata=np.arange(small().train.shape[0]) % 2)
