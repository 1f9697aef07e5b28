"""How much each factor of crossed strata explains: fits without it, with the same components."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import scaled
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.labels import columns_of
from fastnmf.data.matrix import as_matrix
from fastnmf.data.ranking import feature_scores, strongest_of
from fastnmf.data.sentences import shown
from fastnmf.data.strata import log4_scale_for, square_sum
from fastnmf.models.base.explanation import (
    ExplainedFactor,
    Explanation,
    answer,
    gain_and_weight,
    normalized_losses,
    null_divergence,
)
from fastnmf.models.base.for_checkers import Bunch
from fastnmf.models.base.inspection import is_kullback_leibler

ITERATIONS = 200  # most iterations of a fit without a factor; components are fixed, so it converges fast


class FactorExplanation(Explanation):
    """Result of `explain` after a fit with several factors or an exposure; prints as a table.

    It has `factors` in place of `strata` and of what compares all strata with one shift.
    """

    def __str__(self):
        """Return the table, the losses and the verdict."""
        width = max(len(factor.name) for factor in [*self.factors, Bunch(name="factor")])
        lines = [f"{'factor':<{width}}  levels  removes  noise would  features that differ most between its levels"]
        lines += [
            f"{each.name:<{width}}  {each.n_levels:>6}  {each.gain:>7.4f}  {each.chance:>11.4f}  "
            f"{' '.join(each.features)}".rstrip()
            for each in self.factors
        ]
        lines.append(f"loss {self.loss:.6f} with all factors, {self.loss_no_shift:.6f} without shifts")
        return "\n".join([*lines, f"Which factors do I need? {self.verdict}"])

    __repr__ = __str__


def explain_factors(model, X, rows, n, names, groups=None):
    """Return by how much the error of X grows without each factor of a fitted design, a `FactorExplanation`.

    The shifts of the other factors are fitted again without it; the components stay. The factors of a user's design are
    its columns, or groups of them.

    Parameters
    ----------
    model : StratifiedNMF
        Fitted with several factors, or with an exposure.
    X : sparse matrix or array (n_samples, n_features)
    rows : RowsOfDesign
    n : int
        Number of features listed for each factor.
    names : sequence of str (n_features,)
    groups : Mapping of str to sequence of str or int, default=None
        Columns of a user's design by name or number, that are left out together; None: each by itself.
    """
    if getattr(model, "_has_own", False):
        raise ValueError(
            "explain does not know own components (n_own) of several factors, or with an exposure; use score, and "
            "reconstruction_errors, with and without them."
        )
    learned = model._fitted_design()
    is_divergence = is_kullback_leibler(model, "explain")
    if groups is not None and learned.kind != "matrix":
        raise ValueError("groups are columns of design=, but this model was fitted with strata=; leave groups out.")
    model, X = _within_range(model, as_matrix(model._validated(X, reset=False)))
    error = model._errors_of_rows(X, rows).sum()
    whole = null_divergence(X) if is_divergence else square_sum(X.data if sp.issparse(X) else X)
    bare = copy.copy(model)
    bare.shifts_ = shift_arrays.mapped(model.shifts_, np.zeros_like)
    without = bare._errors_of_rows(X, rows).sum()
    parts, factors, n_rows = _parts_of_design if learned.kind == "matrix" else _parts_of_strata, [], X.shape[0]
    for name, block, others, n_numbers in parts(learned, rows, n_rows, groups):
        left = without
        if others is not None:
            given = {"exposure": rows.exposure} | others
            left = _without(model, others).fit(X, **given).reconstruction_errors(X, **given).sum()
        (gain, weight), chance = gain_and_weight(error, left, whole), n_numbers / n_rows
        factors.append(
            ExplainedFactor(
                name=name,
                n_levels=len(learned.names[block]),
                gain=float(gain),
                chance=float(chance),
                weight=float(weight),
                answer=answer(gain, chance, weight),
                features=_differing(model.shifts_[block], learned.sizes[block], n, names),
            )
        )
    losses = normalized_losses([error, without], whole)
    said = "divergence" if is_divergence else "squared error"
    return FactorExplanation(
        factors=factors,
        loss=float(losses[0]),
        loss_no_shift=float(losses[1]),
        verdict=_verdict(factors, said, learned.kind),
    )


def _within_range(model, X):
    """Return a fitted model and X, both multiplied by a power of four where the squares of X would overflow or vanish.

    Shares of the error, which are all that is told, do not depend on the scale. The model has no feature names: X is
    an array or a csr_array.
    """
    model, values = copy.copy(model), X.data if sp.issparse(X) else X
    vars(model).pop("feature_names_in_", None)
    scale = log4_scale_for(values.max(initial=0), X.dtype)
    if scale == 0:
        return model, X
    model.components_ = scaled(model.components_, scale)
    model.shifts_ = shift_arrays.mapped(model.shifts_, lambda v: scaled(v, 2 * scale))
    return model, shift_arrays.mapped(X, lambda x: scaled(x, 2 * scale))


def _parts_of_strata(learned, rows, n_rows, groups):
    """Yield the name of each factor, its shifts, what the rows have without it, and its free numbers for a feature.

    Parameters
    ----------
    learned : Design
    rows : RowsOfDesign
    n_rows : int
    groups : None
    """
    columns = columns_of(rows.strata) if learned.kind == "crossed" else {"strata": rows.strata}
    columns = {name: columns[name] for name in learned.factors or columns}
    for name, block in zip(columns, learned.blocks, strict=True):
        others = {other: labels for other, labels in columns.items() if other != name} or None
        yield name, block, {"strata": others}, block.stop - block.start - 1


def _parts_of_design(learned, rows, n_rows, groups):
    """Yield the same of each column of a user's design, or of each of the `groups`; None in place of no columns at all.

    The free numbers of a group are the rank of the design less the rank without the group.

    Parameters
    ----------
    learned, rows, n_rows, groups :
        As for `_parts_of_strata`.
    """
    names = learned.names.tolist()
    groups = {name: [name] for name in names} if groups is None else _places_of(groups, names)
    Z = learned.encode(None, rows.design, np.ones(n_rows) if learned.has_exposure else None, n_rows)
    scale = np.sqrt(np.asarray(Z.multiply(Z).sum(axis=0)).ravel())
    scale[scale == 0] = 1  # a column that new rows do not have
    gram = (Z.T @ Z).toarray() / np.outer(scale, scale)  # never-densify-ok: columns by columns of the design
    rank = np.linalg.matrix_rank(gram, hermitian=True)
    for name, chosen in groups.items():
        block = np.array([names.index(column) for column in chosen])
        kept = np.setdiff1d(np.arange(len(names)), block)
        if not len(kept):
            yield name, block, None, int(rank)
            continue
        left = np.linalg.matrix_rank(gram[np.ix_(kept, kept)], hermitian=True)
        yield name, block, {"design": Z[:, kept]}, int(rank - left)


def _places_of(groups, names):
    """Return groups of columns as lists of their names."""
    if not isinstance(groups, Mapping) or not groups:
        raise TypeError(f"groups={shown(groups)} is not valid; expected a dict of name -> list of columns of design=.")
    found = {}
    for name, columns in groups.items():
        columns = [columns] if isinstance(columns, (str, numbers.Integral)) else list(columns)
        columns = [
            names[each] if isinstance(each, numbers.Integral) and 0 <= each < len(names) else each for each in columns
        ]
        unknown = [each for each in columns if each not in names]
        if unknown or not columns:
            what = f"{unknown[0]!r}, which is not a column" if unknown else "no columns"
            raise ValueError(f"groups[{name!r}] has {what} of the design; its columns are {shown(names)}.")
        found[str(name)] = list(dict.fromkeys(columns))
    return found


def _without(model, others):
    """Return an estimator of the same parameters, with the components of a fitted model, for rows without a factor.

    Parameters
    ----------
    model : StratifiedNMF
    others : dict
        ``strata``, a dict of the other factors, or None; or ``design``.
    """
    smoothness, others = model.smoothness, others.get("strata")
    if isinstance(smoothness, Mapping):
        smoothness = {name: each for name, each in smoothness.items() if name in (others or ())} or 0.0
        if smoothness and len(others) == 1:  # a single factor is strata, which need no name
            (smoothness,) = smoothness.values()
    more = {"fixed_components": model.components_, "smoothness": smoothness if others else 0.0}
    more |= {"n_components": len(model.components_), "init": "features", "n_init": 1, "max_iter": ITERATIONS}
    more |= {"warm_start": False, "callback": None, "verbose": 0, "random_state": 0, "seed_features": None}
    return model._for_all_rows().set_params(**more, max_time=None, gauge=None, normalize=None)


def _differing(V, sizes, n, names):
    """Return the names of the features whose shifts differ most between the levels of a factor.

    Parameters
    ----------
    V : ndarray or csr_array (n_levels, n_features)
    sizes : ndarray (n_levels,)
        Rows of each level.
    n : int
    names : sequence of str (n_features,)
    """
    shares = sizes / sizes.sum()
    squares = shift_arrays.mapped(V, np.square)
    if V.shape[0] == 1:  # nothing to differ from: the largest
        return [str(names[j]) for j in strongest_of(next(iter(feature_scores(V, "weight"))), n)[0]]
    spread = np.asarray(shares @ squares - np.square(np.asarray(shares @ V).ravel())).ravel()
    return [str(names[j]) for j in strongest_of((np.arange(len(spread)), spread), n)[0]]


def _verdict(factors: list[Any], error: str, kind: str) -> str:
    """Return the sentence that says which factors are needed."""
    others = "the other factors leave"
    if kind == "matrix":
        others = "the other columns leave" if len(factors) > 1 else "the model leaves without it"
    elif len(factors) == 1:
        others = "one shift for all rows leaves"
    each = (
        f"{factor.name}: {factor.answer.lower()}, it removes {100 * factor.gain:.1f} % of the {error} that {others} "
        f"(noise: {100 * factor.chance:.1f} %)"
        for factor in factors
    )
    return "; ".join(each) + "."
