"""How a factor moves: each move consumes a `Subproblem` and changes the factor in place.

A move returns two numbers that belong to the objective at the point that it has moved to, and would cost passes of
their own: ``<F, pos>`` and ``<F, neg>``; for separate entries ``sum v (weight v - 2 pos)`` and ``<v, neg>``. None where
it does not come for free.
"""

from fastnmf.moves.descents import (
    HALS,
    ActiveSet,
    Assign,
    ChainDescent,
    GraphHALS,
    LeastSquares,
    Medians,
    Minimax,
    ProductDescent,
    QuarticDescent,
    WeightedRows,
)
from fastnmf.moves.projections import ProjectedColumns, ProjectedRows, hoyer_cone, largest_in_rows
from fastnmf.moves.ratios import MU, MU_FLOOR, DampedMU, JointMU, UnitColumns

__all__ = [
    "ActiveSet",
    "Assign",
    "ChainDescent",
    "DampedMU",
    "GraphHALS",
    "HALS",
    "JointMU",
    "LeastSquares",
    "MU",
    "MU_FLOOR",
    "Medians",
    "Minimax",
    "ProductDescent",
    "ProjectedColumns",
    "ProjectedRows",
    "QuarticDescent",
    "UnitColumns",
    "WeightedRows",
    "hoyer_cone",
    "largest_in_rows",
]
