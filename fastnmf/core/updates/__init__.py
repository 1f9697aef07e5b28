"""Updates of a factor: each one reads a `Subproblem` and changes the factor in place.

An update returns two numbers that belong to the objective at the new point and would otherwise cost passes over the
data: ``<F, pos>`` and ``<F, neg>``; for separable entries ``sum v (weight v - 2 pos)`` and ``<v, neg>``. Each is None
where the update does not compute it anyway.
"""

from fastnmf.core.updates.active_set import ActiveSet, ClusterAssignment, LeastSquares, ProductCore, SparseCoding
from fastnmf.core.updates.coordinate_descent import (
    HALS,
    ChainDescent,
    CoreDescent,
    GraphHALS,
    LaggedDescent,
    LinkedDescent,
    MixtureDescent,
    ProductDescent,
    QuarticDescent,
    WeightedRows,
)
from fastnmf.core.updates.custom import CustomUpdate, Majorised
from fastnmf.core.updates.designs import LinkedLevels, PatternHALS, PatternMU
from fastnmf.core.updates.multiplicative import MU, DampedMU, JointMU, UnitColumns
from fastnmf.core.updates.projections import ConeColumns, ProjectedColumns, hoyer_cone, largest_in_rows
from fastnmf.core.updates.robust import ChebyshevLP, WeightedMedianDescent

__all__ = [
    "ActiveSet",
    "ChainDescent",
    "ChebyshevLP",
    "ClusterAssignment",
    "ConeColumns",
    "CoreDescent",
    "CustomUpdate",
    "DampedMU",
    "GraphHALS",
    "HALS",
    "JointMU",
    "LaggedDescent",
    "LeastSquares",
    "LinkedDescent",
    "MU",
    "MixtureDescent",
    "Majorised",
    "LinkedLevels",
    "PatternHALS",
    "PatternMU",
    "ProductCore",
    "ProductDescent",
    "ProjectedColumns",
    "QuarticDescent",
    "SparseCoding",
    "UnitColumns",
    "WeightedMedianDescent",
    "WeightedRows",
    "hoyer_cone",
    "largest_in_rows",
]
