"""Choose the rank, the divergence, what strata share; combine runs, cluster samples, test features, follow topics."""

from fastnmf.selection.beta import BetaSelection, select_beta
from fastnmf.selection.clusters import Clustering, cluster
from fastnmf.selection.consensus import Consensus, consensus
from fastnmf.selection.over_time import TopicsOverTime, topics_over_time
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
    "TopicsOverTime",
    "cluster",
    "consensus",
    "select_beta",
    "select_rank",
    "select_strata",
    "specific_features",
    "topics_over_time",
]
