"""What X is compared with: the parts of an objective that see all factors."""

from fastnmf.terms.divergences import BetaDivergence, KullbackLeibler, check_beta
from fastnmf.terms.squared import Frobenius, StrataFrobenius

__all__ = ["BetaDivergence", "Frobenius", "KullbackLeibler", "StrataFrobenius", "check_beta"]
