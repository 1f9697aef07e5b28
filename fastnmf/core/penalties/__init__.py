"""Penalties: each one adds to the half-gradient of its factor and to the objective."""

from fastnmf.core.penalties.custom import CustomPenalty, ElasticNetPenalty
from fastnmf.core.penalties.elastic_net import ElasticNet, balanced
from fastnmf.core.penalties.groups import AngularPenalty, GroupPenalty, HoyerPenalty
from fastnmf.core.penalties.guide import Guide
from fastnmf.core.penalties.smoothness import Chain, SmoothShifts

# Penalties that options ask for. A new one is a class with `of_options`, its parameters in `FactorOptions`, and a line
# here; every model that takes penalties then has it.
PENALTIES = (ElasticNet, Guide, SmoothShifts, CustomPenalty)


def penalties_of(data, options, names="WHV", **context):
    """Return the penalties by factor, as `Problem` takes them.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    options : fastnmf.core.options.Options
    names : sequence of str
        The factors.
    **context
        Results of the start that a penalty needs; see `Guide.of_options`. `rank` is needed for objects of the user.

    Returns
    -------
    dict
        Factor name -> list of penalties in the inner scale, in the order of `PENALTIES`; no factor without any.
    """
    found = {}
    for name in names:
        made = (kind.of_options(data, options, name, **context) for kind in PENALTIES)
        if each := [penalty for penalty in made if penalty is not None]:
            found[name] = each
    return found


# Penalties for a user to pass, by the name under which files hold their arguments.
OBJECTS = {
    "elastic_net": ElasticNetPenalty,
    "group": GroupPenalty,
    "angular": AngularPenalty,
    "hoyer": HoyerPenalty,
}

__all__ = [
    "AngularPenalty",
    "Chain",
    "CustomPenalty",
    "ElasticNet",
    "ElasticNetPenalty",
    "GroupPenalty",
    "Guide",
    "HoyerPenalty",
    "OBJECTS",
    "SmoothShifts",
    "balanced",
    "penalties_of",
]
