"""Around a fit: which rank, and what many runs agree on."""

from fastnmf.ensemble.agreement import Consensus, consensus
from fastnmf.ensemble.rank import RankSelection, select_rank

__all__ = ["Consensus", "RankSelection", "consensus", "select_rank"]
