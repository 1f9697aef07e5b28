"""Check what a fit with own components is given: parameters, and what says to which strata the rows belong."""

import numbers
from collections.abc import Mapping

import numpy as np

from fastnmf.data.labels import place_of, values_of
from fastnmf.data.levels import RowsOfDesign
from fastnmf.data.sentences import shown

# What a fit with own components refuses: parameter -> the values that it takes.
TAKEN = {
    "beta_loss": ("frobenius", 2, "kullback-leibler", 1),
    "update_order": ("sequential",),
    "alpha_V": (0,),
    "alpha_W": (0,),
    "alpha_H": (0, "same"),
    "missing_values": (None,),
    "seed_features": (None,),
    "penalties": (None,),
    "label_weight": (0,),
    "normalize": (None,),
}
FREE_ONLY = {"gauge": (None,)}  # where own components are tied to the shared ones, or shifts are not free


def check_n_own(name, value):
    """Raise unless `value` is an integer >= 0, a dict of label -> such an integer, or of factor -> either."""
    for each in numbers_of(value):
        if not isinstance(each, numbers.Integral) or isinstance(each, bool) or each < 0:
            raise ValueError(
                f"{name}={shown(value)} is not valid; expected an integer >= 0, or a dict from labels of strata to "
                "such integers; of several factors, a dict from the name of one of them to either."
            )


def numbers_of(value):
    """Return the numbers in a value of `n_own`, a list."""
    return [n for each in value.values() for n in numbers_of(each)] if isinstance(value, Mapping) else [value]


def own_sizes(model, data, rank):
    """Return the number of own components of each stratum, or level of a factor, (n_strata,) of int.

    Parameters
    ----------
    model : StratifiedNMF
    data : Strata, DesignedStrata, or ChunkedStrata
    rank : int
        Number of shared components.
    """
    learned, labels, n_own, what = getattr(data, "learned", None), data.labels, model.n_own, "strata"
    if learned is not None and learned.own is not None:
        labels = learned.levels[learned.own]
        if learned.kind == "crossed":
            what = f"labels of {learned.factors[learned.own]!r}"
            n_own = n_own[learned.factors[learned.own]]
    if model.own == "tied":
        return np.full(len(labels), rank)
    if not isinstance(n_own, Mapping):
        return np.full(len(labels), int(n_own))
    sizes = np.zeros(len(labels), np.int64)
    for label, size in n_own.items():
        place = place_of(label, labels)
        if place < 0 or isinstance(size, Mapping):
            raise ValueError(
                f"n_own has the label {label!r}, but the {what} are {shown(values_of(labels))}; use these labels."
            )
        sizes[place] = size
    return sizes


def place_of_own(model, learned):
    """Return the place of the factor whose levels have own components in a fit with this design, or None.

    Parameters
    ----------
    model : StratifiedNMF
    learned : Design

    Raises
    ------
    ValueError
        There are several factors, and `n_own` does not name one of them; or the design is the user's.
    """
    if not getattr(model, "_fits_own", False):
        return None
    if learned.kind == "strata":
        return 0
    if learned.kind == "matrix":
        raise ValueError(
            "Own components (n_own, own) belong to strata, or to the levels of a factor, but design= says nothing "
            "of either; pass strata=, or set n_own=0 and own=None."
        )
    factors = ", ".join(learned.factors)
    if model.own == "tied":
        raise ValueError(f"own='tied' needs one label for each row, but the factors {factors} were given; use n_own.")
    if isinstance(model.n_own, Mapping) and len(model.n_own) == 1 and next(iter(model.n_own)) in learned.factors:
        return learned.factors.index(next(iter(model.n_own)))
    raise ValueError(
        f"n_own={shown(model.n_own)} was given with the factors {factors}; name the one whose levels have own "
        f"components, such as n_own={{{learned.factors[0]!r}: 1}}."
    )


def check_rows(model, given, is_here=True):
    """Raise where own components do not go with what says to which strata the rows of a fit belong.

    Parameters
    ----------
    model : StratifiedNMF
    given : dict
        Arguments of `fit`.
    is_here : bool, default=True
        Whether the rows are in memory.
    """
    if not (model._fits_own and isinstance(given.get("strata"), RowsOfDesign)):
        return
    if not is_here:
        raise ValueError(
            "Own components (n_own, own) of several factors, or with an exposure, need all rows in memory; pass "
            "one label for each row, set n_own=0 and own=None, or fit X[:]."
        )
    is_mu = model.solver == "mu" and model._options().is_squared
    asked = {
        "smoothness": bool(model.smoothness),
        f"gauge={model.gauge!r}": model.gauge is not None,
        f"shifts={model.shifts!r}": model.shifts is not True,
        "warm_start=True": model._goes_on(model._options()),
        "solver='mu' with the squared error": is_mu,
    }
    for what, is_asked in asked.items():
        if is_asked:
            raise ValueError(
                f"{what} does not go with own components (n_own, own) of several factors, or with an exposure; "
                "leave it out, or pass one label for each row."
            )
