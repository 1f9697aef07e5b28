"""The registry: every variant of the package is one line here, and thereby passes the contract tests."""

from dataclasses import dataclass, field

from fastnmf import StratifiedNMF


@dataclass(frozen=True)
class Variant:
    """One variant: a class, its parameters, and what may be expected of it."""

    name: str
    estimator: type
    parameters: dict = field(default_factory=dict)
    is_monotone: bool = True

    def make(self, **more):
        return self.estimator(
            **{"n_components": 3, "random_state": 0, "max_iter": 30, "tol": 0, **self.parameters, **more}
        )


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
]
