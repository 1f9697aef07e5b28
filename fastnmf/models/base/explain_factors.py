"""How much each factor of crossed strata explains: fits without it, with the same components."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone

from fastnmf.core.losses.divergences import entropy_of, independence
from fastnmf.core.thresholds import tiny
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.labels import columns_of
from fastnmf.data.ranking import strongest_of
from fastnmf.data.strata import square_sum
from fastnmf.models.base.for_checkers import Bunch
from fastnmf.models.base.inspection import ExplainedFactor, Explanation, answer, is_kullback_leibler

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


def explain_factors(model, X, rows, n, names):
    """Return by how much the error of X grows without each factor of a fitted design, a `FactorExplanation`.

    The shifts of the other factors are fitted again without it; the components stay.

    Parameters
    ----------
    model : StratifiedNMF
        Fitted with several factors, or with an exposure.
    X : sparse matrix or array (n_samples, n_features)
    rows : RowsOfDesign
    n : int
        Number of features listed for each factor.
    names : sequence of str (n_features,)
    """
    learned = model._fitted_design()
    if learned.kind == "matrix":
        raise ValueError(
            "explain compares factors, but this model was fitted with design=; fit with strata=, a frame of factors, "
            "or compare the scores of fits with fewer columns."
        )
    is_divergence = is_kullback_leibler(model, "explain")
    columns = columns_of(rows.strata) if learned.kind == "crossed" else {"strata": rows.strata}
    columns = {name: columns[name] for name in learned.factors or columns}
    error, whole = model._errors_of_rows(X, rows).sum(), _null_error(X, is_divergence)
    bare = copy.copy(model)
    bare.shifts_ = shift_arrays.mapped(model.shifts_, np.zeros_like)
    without = bare._errors_of_rows(X, rows).sum()
    factors = []
    for name, block in zip(columns, learned.blocks, strict=True):
        others = {other: labels for other, labels in columns.items() if other != name} or None
        reduced = _without(model, others).fit(X, strata=others, exposure=rows.exposure)
        left = reduced.reconstruction_errors(X, strata=others, exposure=rows.exposure).sum()
        gain, chance = 1 - error / left if left > 0 else 0.0, (block.stop - block.start - 1) / X.shape[0]
        weight = (left - error) / max(whole - error, tiny())
        factors.append(
            ExplainedFactor(
                name=name,
                n_levels=block.stop - block.start,
                gain=float(gain),
                chance=float(chance),
                weight=float(weight),
                answer=answer(gain, chance, weight),
                features=_differing(model.shifts_[block], learned.sizes[block], n, names),
            )
        )
    losses = np.sqrt(np.array([error, without]) / max(whole, tiny()))
    said = "divergence" if is_divergence else "squared error"
    return FactorExplanation(
        factors=factors, loss=float(losses[0]), loss_no_shift=float(losses[1]), verdict=_verdict(factors, said)
    )


def _without(model, others):
    """Return an estimator of the same parameters, with the components of a fitted model, for the factors `others`."""
    smoothness = model.smoothness
    if isinstance(smoothness, Mapping):
        smoothness = {name: each for name, each in smoothness.items() if name in (others or ())} or 0.0
    more = {"fixed_components": model.components_, "smoothness": smoothness if others else 0.0}
    more |= {"n_components": len(model.components_), "init": "features", "n_init": 1, "max_iter": ITERATIONS}
    more |= {"warm_start": False, "callback": None, "verbose": 0, "random_state": 0, "seed_features": None}
    return clone(model).set_params(**more, max_time=None, gauge=None, normalize=None)


def _null_error(X, is_divergence):
    """Return the squared norm of X, or its Kullback-Leibler divergence from independence."""
    values = X.data if sp.issparse(X) else X
    if not is_divergence:
        return square_sum(values)
    margins = tuple(entropy_of(np.asarray(X.sum(axis=axis), dtype=np.float64).ravel()) for axis in (0, 1))
    return independence(entropy_of(values.reshape(-1)), float(values.sum(dtype=np.float64)), margins)


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
    spread = np.asarray(shares @ squares - np.square(np.asarray(shares @ V).ravel())).ravel()
    return [str(names[j]) for j in strongest_of((np.arange(len(spread)), spread), n)[0]]


def _verdict(factors: list[Any], error: str) -> str:
    """Return the sentence that says which factors are needed."""
    each = (
        f"{factor.name}: {factor.answer.lower()}, it removes {100 * factor.gain:.1f} % of the {error} that "
        f"{'the other factors leave' if len(factors) > 1 else 'one shift for all rows leaves'} (noise: "
        f"{100 * factor.chance:.1f} %)"
        for factor in factors
    )
    return "; ".join(each) + "."
