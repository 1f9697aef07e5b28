"""Around a fit: which rank, what many runs agree on, and clusters of the samples."""

from fastnmf.ensemble.agreement import Consensus, consensus
from fastnmf.ensemble.clusters import Clustering, cluster
from fastnmf.ensemble.rank import RankSelection, select_rank

__all__ = ["Clustering", "Consensus", "RankSelection", "cluster", "consensus", "select_rank"]
