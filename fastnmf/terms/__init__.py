"""What X is compared with: the parts of an objective that see all factors."""

from fastnmf.terms.dictionary import Dictionary
from fastnmf.terms.divergences import BetaDivergence, KullbackLeibler, check_beta
from fastnmf.terms.interval import Interval
from fastnmf.terms.squared import Frobenius, StrataFrobenius

__all__ = ["BetaDivergence", "Dictionary", "Frobenius", "Interval", "KullbackLeibler", "StrataFrobenius", "check_beta"]
