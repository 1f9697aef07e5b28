"""Choose the rank or the divergence, combine many runs into a consensus, and cluster the samples."""

from fastnmf.selection.beta import BetaSelection, select_beta
from fastnmf.selection.clusters import Clustering, cluster
from fastnmf.selection.consensus import Consensus, consensus
from fastnmf.selection.rank import RankSelection, select_rank

__all__ = [
    "BetaSelection",
    "Clustering",
    "Consensus",
    "RankSelection",
    "cluster",
    "consensus",
    "select_beta",
    "select_rank",
]
