"""Starts: the initial factors of a fit."""

from fastnmf.core.init.nndsvd import nndsvd, singular
from fastnmf.core.init.starts import Start, custom, features, in_range, random, rows
from fastnmf.core.init.successive_projection import anchors, successive_projections

__all__ = [
    "Start",
    "anchors",
    "custom",
    "features",
    "in_range",
    "nndsvd",
    "random",
    "rows",
    "singular",
    "successive_projections",
]
