"""Choose the rank, the divergence, what strata share; combine runs into a consensus, cluster samples, test features."""

from fastnmf.selection.beta import BetaSelection, select_beta
from fastnmf.selection.clusters import Clustering, cluster
from fastnmf.selection.consensus import Consensus, consensus
from fastnmf.selection.rank import RankSelection, select_rank
from fastnmf.selection.specific import SpecificFeatures, specific_features
from fastnmf.selection.strata import StrataCandidate, StrataSelection, select_strata

__all__ = [
    "BetaSelection",
    "Clustering",
    "Consensus",
    "RankSelection",
    "SpecificFeatures",
    "StrataCandidate",
    "StrataSelection",
    "cluster",
    "consensus",
    "select_beta",
    "select_rank",
    "select_strata",
    "specific_features",
]
