"""Losses: the parts of an objective that compare the model with the data and depend on all factors."""

from fastnmf.core.losses.design_divergence import DesignKullbackLeibler
from fastnmf.core.losses.dictionary import Dictionary, SpannedDictionary
from fastnmf.core.losses.divergences import BetaDivergence, KullbackLeibler, check_beta
from fastnmf.core.losses.interval import Interval
from fastnmf.core.losses.negative_binomial import NegativeBinomial
from fastnmf.core.losses.squared import DesignFrobenius, Frobenius, StrataFrobenius

__all__ = [
    "BetaDivergence",
    "DesignFrobenius",
    "DesignKullbackLeibler",
    "Dictionary",
    "Frobenius",
    "Interval",
    "KullbackLeibler",
    "NegativeBinomial",
    "SpannedDictionary",
    "StrataFrobenius",
    "check_beta",
]
