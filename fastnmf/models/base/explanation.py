"""Results of `explain`: the parts of an explanation, the shares in it, and the verdict on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.core.losses.divergences import entropy_of, independence
from fastnmf.core.thresholds import rounding
from fastnmf.models.base.for_checkers import Bunch
from fastnmf.typing import Floats


def null_divergence(X):
    """Return the Kullback-Leibler divergence of a csr_array or array from independence, 0 where that is rounding."""
    values = X.data if sp.issparse(X) else X
    margins = tuple(entropy_of(np.asarray(X.sum(axis=axis), dtype=np.float64).ravel()) for axis in (0, 1))
    return independence(entropy_of(values.reshape(-1)), float(values.sum(dtype=np.float64)), margins)


def normalized_losses(errors, whole):
    """Return the square roots of errors divided by a whole, an array; 0 where there is nothing to explain."""
    return np.sqrt(np.maximum(errors, 0) / whole) if whole > 0 else np.zeros(len(errors))


def gain_and_weight(error, without, whole):
    """Return the share of the error `without` that is removed, and this divided by what is explained of the whole.

    Both are 0 where there is nothing to explain, and the second one where nothing is explained.
    """
    if whole <= 0:
        return 0.0, 0.0
    gain, explained = 1 - error / without if without > 0 else 0.0, whole - error
    return gain, (without - error) / explained if explained > rounding(np.float64) * whole else 0.0


class ExplainedStratum(Bunch):
    """Part of an `Explanation`: one stratum."""

    label: Any
    n_rows: int
    explained: float
    by_shift: float
    by_shared: float
    by_own: float  # with own components
    features: list[str]
    differences: Floats


class ExplainedFactor(Bunch):
    """Part of an `Explanation` of factors: one of them."""

    name: str
    n_levels: int
    gain: float
    chance: float
    weight: float
    answer: str
    features: list[str]


class Explanation(Bunch):
    """Result of `explain`; prints as a table."""

    strata: list[ExplainedStratum]
    factors: list[ExplainedFactor]  # only after a fit with several factors or an exposure
    loss: float
    loss_one_shift: float
    loss_no_shift: float
    gain: float
    chance: float
    weight: float
    verdict: str

    def __str__(self):
        """Return the table, the three losses and the verdict."""
        width = max([len(str(stratum.label)) for stratum in self.strata] + [7])
        own = "  by own part" if any("by_own" in part for part in self.strata) else ""
        head = f"{'stratum':<{width}}    rows  explained  by shift  by shared part{own}  features above the mean shift"
        lines = [head]
        for part in self.strata:
            of_own = f"  {part.by_own:>11.4f}" if own else ""
            lines.append(
                f"{part.label!s:<{width}}  {part.n_rows:>6}  {part.explained:>9.4f}  {part.by_shift:>8.4f}  "
                f"{part.by_shared:>14.4f}{of_own}  {' '.join(part.features)}".rstrip()
            )
        of_strata = self.get("of_strata", "a shift")
        lines.append(
            f"loss {self.loss:.6f} with {of_strata} for each stratum, {self.loss_one_shift:.6f} with one shift for "
            f"all, {self.loss_no_shift:.6f} without"
        )
        return "\n".join([*lines, f"Do I need strata? {self.verdict}"])

    __repr__ = __str__


def answer(gain, chance, weight):
    """Return "Yes", "A little" or "No": whether shifts are needed, by the shares that `verdict` takes."""
    return "Yes" if gain > 3 * chance and weight > 0.02 else "A little" if gain > 2 * chance else "No"


def verdict(n_strata, losses, gain, chance, weight, error="squared error", of_strata="a shift"):
    """Return the sentence that says whether strata are needed.

    Parameters
    ----------
    n_strata : int
        Strata that have rows.
    losses : ndarray (3,)
        Normalized losses with a shift for each stratum, with one shift for all, and without.
    gain, chance, weight : float
        Shares from 0 to 1, as in `InspectionMixin.explain`.
    error : {"squared error", "divergence"}
    of_strata : str, default="a shift"
        What each stratum has of its own.

    Returns
    -------
    str
    """
    if n_strata == 1:
        return "These rows are of one stratum; fit with strata= and compare."
    removes = "removes" if of_strata == "a shift" else "remove"
    return (
        f"{answer(gain, chance, weight)}: {of_strata} for each of the {n_strata} strata {removes} {100 * gain:.1f} % "
        f"of the {error} that one shift for all leaves (loss {losses[0]:.4f} against {losses[1]:.4f}), which is "
        f"{100 * weight:.1f} % of what the model explains; as many numbers fitted to noise would remove about "
        f"{100 * chance:.1f} %."
    )
