"""Penalties: each one adds to the half-gradient of its factor and to the objective."""

from fastnmf.core.penalties.elastic_net import ElasticNet, balanced
from fastnmf.core.penalties.guide import Guide
from fastnmf.core.penalties.smoothness import Chain

__all__ = ["Chain", "ElasticNet", "Guide", "balanced"]
