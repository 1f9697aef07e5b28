"""Compute what the page says about a model and its data together: what is explained, and what to look at."""

import warnings

import numpy as np
from scipy import sparse

from fastnmf import metrics
from fastnmf.data.design import DesignedStrata
from fastnmf.data.shifts import dense_row
from fastnmf.metrics.topics import LEAST, MEASURES, flags_of

COHERENCE_WORDS = 10
CHUNK = 1 << 17  # entries of the model at a time
N_LIKE = 20  # rows of a stratum that are compared with each other
ALONE = {"strata": "the groups alone", "crossed": "the factors alone", "matrix": "the design alone"}
AS_PENALTIES = ("alpha_W", "alpha_V", "fixed_components", "seed_features", "penalties")


def add_measures(facts, model, X, H, W, groups, rows):
    """Add the quantities that need the data: coherence, flags, KKT residual, explained shares and their alternatives.

    Parameters
    ----------
    facts : Facts
        Its topics, strata, alternatives and notes are changed.
    model : fitted estimator
    X : csr_array or ndarray (n_rows, n_features)
    H : ndarray (k, n_features)
    W : ndarray (n_rows, k), or None
    groups : Groups, or None
    rows : Rows
    """
    for name in MEASURES:
        values = metrics.coherence(H, X, measure=name, n_top=COHERENCE_WORDS)
        for topic, value in zip(facts.topics, values, strict=True):
            setattr(topic, name, None if np.isnan(value) else float(value))
    facts.diversity = metrics.diversity(H, n_top=COHERENCE_WORDS)
    values = X.data if sparse.issparse(X) else X
    if not np.isfinite(values).all():
        facts.notes.append("The data have missing entries, so the explained shares are not compared.")
        return
    if values.size and values.min() < 0:
        return
    facts.per_row = float(np.median(rows.counts)) if len(rows.counts) else None
    if W is not None:
        _add_flags(facts, model, X, groups, rows)
        if facts.is_designed:
            _add_explained_factors(facts, model, X, groups)
        else:
            V, index = (None, None) if groups is None else (groups.V, groups.stratum_index)
            _add_explained(facts, model, X, H, W, V, index)


def _add_explained(facts, model, X, H, W, V, stratum_index):
    """Add the shares that the model and simpler ones explain, and the KKT residual, where the loss is known.

    Parameters
    ----------
    facts, model, X, H, W, V :
        As for `add_measures`.
    stratum_index : ndarray (n_rows,) of int, or None
    """
    is_divergence = facts.loss_name == "kullback-leibler"
    if not (facts.is_squared or is_divergence):
        return
    groups = stratum_index if V is not None and V.shape[0] > 1 else None
    if (missing := facts.parameters.get("missing_values")) is not None:
        if missing == "zeros" and facts.is_squared and sparse.issparse(X):
            facts.alternatives = _alternatives(facts, X, groups)
        facts.notes.append(
            "Entries that are not known have no influence. Whether the model predicts them is not checked here: hold "
            "some known entries out of the fit, and compare."
        )
        return
    if V is not None and (stratum_index is None or len(np.unique(stratum_index)) < V.shape[0]):
        return  # a stratum may have no rows
    own, found, explained = facts.numbers["normalized_loss_"], None, None
    is_stratified = hasattr(model, "explain") and V is not None
    has_own = hasattr(model, "own_components_")  # a part of the model beside W, H and V
    if facts.is_squared and not has_own:
        found = metrics.normalized_loss(X, W, H, V, stratum_index)
    elif is_stratified:
        explained = _explained(model, X, stratum_index)
        found = explained.loss
    elif V is None:
        found = _loss_of_divergence(X, W, H)
    # Kullback-Leibler: W of the fit is its last iterate, and `explain` finds the exact one, which is better.
    least, most = (1 - 1e-4, 1 + 1e-4) if facts.is_squared else (0.8, 1 + 1e-3)
    if _is_of_other_data(facts, own, found, least, most):
        return
    if facts.is_squared and not has_own and not any(facts.parameters.get(name) for name in AS_PENALTIES):
        facts.kkt = metrics.kkt_residual(X, W, H, V, stratum_index)
    if is_stratified and len(facts.strata):
        explained = _explained(model, X, stratum_index) if explained is None else explained
        facts.verdict = explained.verdict if V.shape[0] > 1 else None
        for stratum in facts.strata:
            part = explained.strata[stratum.code]
            stratum.explained, stratum.by_shift, stratum.by_shared = part.explained, part.by_shift, part.by_shared
            stratum.by_own = part.get("by_own")
    facts.alternatives = _alternatives(facts, X, groups, explained)


def _is_of_other_data(facts, own, found, least, most):
    """Tell whether the loss on the given data differs from that of the fit, and note that.

    Parameters
    ----------
    facts : Facts
    own, found : float, or None
        Loss of the fit, and on the data.
    least, most : float
        Factors between which they may differ.
    """
    if own is None or found is None or least * own - 1e-9 <= found <= most * own + 1e-9:
        return False
    facts.notes.append(
        f"On the given data the loss of the model is {found:.4g}; in its fit it was {own:.4g}. X holds other data, "
        "or the fit had weights or missing entries. The explained shares are not compared."
    )
    return True


def _add_explained_factors(facts, model, X, groups):
    """Add what the factors of a design and simpler models explain, where the rows of the factors are given.

    Parameters
    ----------
    facts : Facts
    model : fitted estimator
    X : csr_array or ndarray (n_rows, n_features)
    groups : Groups
    """
    own = facts.numbers["normalized_loss_"]
    if not groups.given or not (facts.is_squared or facts.loss_name == "kullback-leibler"):
        return
    if hasattr(model, "own_components_"):
        facts.notes.append("What each factor explains is not shown of models with own components.")
        return
    with warnings.catch_warnings():  # X is an array here, without feature names
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        found = model.explain(X, **groups.given)
    # The weights of a fit are its last iterate, and `explain` finds the exact ones.
    if _is_of_other_data(facts, own, found.loss, 0.8, 1 + 1e-3):
        return
    words, without, tiny = facts.wording, [], np.finfo(float).tiny
    for factor, part in zip(facts.factors, found.factors, strict=True) if groups.kind != "matrix" else ():
        factor.gain, factor.chance, factor.answer = part.gain, part.chance, part.answer
    for part in found.factors:  # the error without a factor is that of the model, divided by what the factor leaves
        without.append((f"without {part.name}", 1 - found.loss**2 / max(1 - part.gain, tiny)))
    every = np.zeros(X.shape[0], np.intp)
    shares = [(f"one mean {words.row} for all", _share_of_means(X, every))] if facts.is_squared else []
    if facts.is_squared:
        shares.append((ALONE[groups.kind], _share_of_shifts(model, X, groups)))
    shares.append((f"these {words.topics} without shifts", 1 - found.loss_no_shift**2))
    facts.removed = [(part.name, part.answer, part.gain, part.chance) for part in found.factors]
    facts.alternatives = [*shares, *(without if len(without) > 1 else ()), ("this model", 1 - own**2)]


def _share_of_shifts(model, X, groups):
    """Return the share of the squared norm of X that shifts explain which are fitted without components."""
    given = {"strata": None, "design": None, "exposure": None} | groups.given
    Z = model._fitted_design().encode(given["strata"], given["design"], given["exposure"], X.shape[0])
    data = DesignedStrata.of_matrix(X.astype(np.float64, copy=False), groups.labels, Z)
    left = data.row_square_sums(data.pattern.as_read(data.stratum_means())).sum()
    return float(1 - left / data.row_square_sums().sum())


def _explained(model, X, stratum_index):
    with warnings.catch_warnings():  # X is an array here, without feature names
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        return model.explain(X, strata=model.strata_[stratum_index])


def _alternatives(facts, X, stratum_index, explained=None):
    """Return pairs of a simpler model and the share that it explains of what the model is measured by, and the model's.

    Parameters
    ----------
    facts : Facts
    X : csr_array or ndarray (n_rows, n_features)
    stratum_index : ndarray (n_rows,) of int, or None
        None: one stratum.
    explained : fastnmf.models.Explanation, default=None
    """
    words, loss = facts.wording, facts.numbers["normalized_loss_"]
    if loss is None or not np.any(X.data if sparse.issparse(X) else X):
        return []
    share = _share_of_means if facts.is_squared else _share_of_profiles
    every = np.zeros(X.shape[0], np.intp)
    if facts.parameters.get("missing_values") is not None:
        found = [(f"the mean of each {words.feature}", _share_of_known_means(X, every))]
        if stratum_index is not None:
            found.append((f"the mean of each {words.feature} in each group", _share_of_known_means(X, stratum_index)))
        return [*found, ("this model", 1 - loss**2)]
    found = [(f"one mean {words.row} for all", share(X, every))] if facts.is_squared else []
    if stratum_index is not None:
        mean = f"one mean {words.row}" if facts.is_squared else "one profile"
        found.append((f"{mean} for each group", share(X, stratum_index)))
        if explained is not None:
            found.append((f"these {words.topics} and one shift for all", 1 - explained.loss_one_shift**2))
            found.append((f"these {words.topics} without shifts", 1 - explained.loss_no_shift**2))
    return [*found, ("this model", 1 - loss**2)]


def _sums(X, stratum_index):
    """Return the sums of the rows of each group, csr_array or ndarray, and the numbers of rows."""
    sizes = np.bincount(stratum_index)
    n = len(stratum_index)
    member = sparse.csr_array((np.ones(n), (stratum_index, np.arange(n))), (len(sizes), n))
    return member @ X, sizes


def _share_of_means(X, stratum_index):
    """Return the share of the squared norm of X that the means of groups of rows explain."""
    sums, sizes = _sums(X, stratum_index)
    squares = sums.multiply(sums).sum(axis=1) if sparse.issparse(sums) else np.einsum("ij,ij->i", sums, sums)
    whole = float(np.vdot(X.data, X.data)) if sparse.issparse(X) else float(np.vdot(X, X))
    return float((np.ravel(squares) / np.maximum(sizes, 1)).sum() / whole)


def _share_of_known_means(X, stratum_index):
    """Return the same of the entries of a csr_array that are not zero, which alone are known."""
    known = sparse.csr_array((X.data != 0, X.indices, X.indptr), X.shape)
    sums, known = _sums(X, stratum_index)[0], _sums(known, stratum_index)[0]
    sums, known = sparse.coo_array(sums), sparse.csr_array(known)
    counts = np.asarray(known[sums.coords[0], sums.coords[1]]).ravel()
    return float((sums.data**2 / np.maximum(counts, 1)).sum() / np.vdot(X.data, X.data))


def _share_of_profiles(X, stratum_index):
    """Return the share of the divergence of X from independence that independence within groups of rows explains.

    With the sums of groups g, columns c and both this is ``sum s_gc log(s_gc N / (s_g s_c))`` over
    ``sum x log(x N / (x_row x_column))``.
    """
    sums, _ = _sums(X, stratum_index)
    whole = _divergence(X)
    return _divergence(sums) / whole if whole > 0 else 0.0


def _loss_of_divergence(X, W, H):
    """Return the root of the Kullback-Leibler divergence of X from W H, divided by that from independence."""
    X = sparse.coo_array(X)
    total, left, tall = X.sum(), float(W.sum(axis=0, dtype=np.float64) @ H.sum(axis=1)), np.ascontiguousarray(H.T)
    for first in range(0, X.nnz, CHUNK):
        part = slice(first, first + CHUNK)
        x, i, j = X.data[part], X.coords[0][part], X.coords[1][part]
        y = np.einsum("ij,ij->i", W[i], tall[j], dtype=np.float64)[x > 0]
        x = x[x > 0]
        left += float(x @ np.log(x / np.maximum(y, np.finfo(float).tiny)))
    whole = _divergence(X)
    return float(np.sqrt(max(left - total, 0) / whole)) if whole > 0 else None


def _divergence(X):
    """Return ``sum x log(x N / (row sum · column sum))`` over the positive entries."""
    X = sparse.coo_array(X)
    i, j = X.coords
    x, rows, columns = X.data, np.ravel(X.sum(axis=1)), np.ravel(X.sum(axis=0))
    i, j, x = i[x > 0], j[x > 0], x[x > 0]
    return float(x @ np.log(x / rows[i] * (x.sum() / columns[j]))) if len(x) else 0.0


def _add_flags(facts, model, X, groups, rows):
    """Mark the topics and strata that may be no subject: those of repeated text and of function words.

    Parameters
    ----------
    facts : Facts
    model : fitted estimator
    X : csr_array or ndarray (n_rows, n_features)
    groups : Groups, or None
    rows : Rows
    """
    for flag in metrics.flag_topics(model, X, n=COHERENCE_WORDS, feature_names=facts.names):
        facts.topics[flag.topic].flags.append((flag.kind, flag.rows))
    strata = [stratum for stratum in facts.strata if stratum is not facts.intercept]
    if groups is None or groups.member is None or groups.kind == "matrix" or len(strata) < 2:
        return
    near = []
    for stratum in strata:
        numbers, cosines = rows.nearest(dense_row(groups.V, stratum.code), groups.members(stratum.code), N_LIKE)
        near.append(numbers[cosines > LEAST * cosines.max(initial=0)])
    for flag in flags_of(groups.V[[stratum.code for stratum in strata]], near, X, facts.names, COHERENCE_WORDS):
        strata[flag.topic].flags.append((flag.kind, flag.rows))
