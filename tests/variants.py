"""The registry: every variant of the package is one line here, and thereby passes the contract tests."""

from dataclasses import dataclass, field

from fastnmf import NMF, StratifiedNMF


@dataclass(frozen=True)
class Variant:
    """One variant: a class, its parameters, and what may be expected of it."""

    name: str
    estimator: type
    parameters: dict = field(default_factory=dict)
    is_monotone: bool = True
    has_strata: bool = True
    loss: str = "frobenius"

    def make(self, **more):
        return self.estimator(
            **{"n_components": 3, "random_state": 0, "max_iter": 30, "tol": 0, **self.parameters, **more}
        )

    def labels(self, strata):
        """Return the keyword arguments that carry the strata, none for models without."""
        return {"strata": strata} if self.has_strata else {}

    def start(self, model, shift=0.1):
        """Return the factors of a fitted model, moved off zero, as a start."""
        start = {"W": model.W_ + shift, "H": model.components_ + shift}
        return start | ({"V": model.shifts_ + shift} if self.has_strata else {})


VARIANTS = [
    Variant("stratified", StratifiedNMF, is_monotone=False),
    Variant("stratified-thorough", StratifiedNMF, {"sweeps": "thorough"}, is_monotone=False),
    Variant("stratified-hals", StratifiedNMF, {"extrapolate": False}),
    Variant("stratified-hals-random", StratifiedNMF, {"init": "random", "extrapolate": False}),
    Variant("stratified-hals-nndsvd", StratifiedNMF, {"init": "nndsvd", "extrapolate": False}),
    Variant("stratified-mu", StratifiedNMF, {"solver": "mu"}),
    Variant("stratified-mu-nndsvda", StratifiedNMF, {"solver": "mu", "init": "nndsvda"}),
    Variant(
        "stratified-mu-simultaneous", StratifiedNMF, {"solver": "mu", "update_order": "simultaneous"}, is_monotone=False
    ),
    Variant("nmf", NMF, is_monotone=False, has_strata=False),
    Variant("nmf-hals", NMF, {"extrapolate": False, "init": "nndsvd"}, has_strata=False),
    Variant("nmf-mu", NMF, {"solver": "mu", "init": "random"}, has_strata=False),
    Variant(
        "nmf-kl",
        NMF,
        {"solver": "mu", "beta_loss": "kullback-leibler"},
        has_strata=False,
        loss="kullback-leibler",
    ),
]
