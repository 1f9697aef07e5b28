"""Choose the rank or the divergence, combine many runs into a consensus, cluster the samples, and test features."""

from fastnmf.selection.beta import BetaSelection, select_beta
from fastnmf.selection.clusters import Clustering, cluster
from fastnmf.selection.consensus import Consensus, consensus
from fastnmf.selection.rank import RankSelection, select_rank
from fastnmf.selection.specific import SpecificFeatures, specific_features

__all__ = [
    "BetaSelection",
    "Clustering",
    "Consensus",
    "RankSelection",
    "SpecificFeatures",
    "cluster",
    "consensus",
    "select_beta",
    "select_rank",
    "specific_features",
]
