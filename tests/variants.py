"""The registry: every variant of the package is one line here, and thereby passes the contract tests."""

from dataclasses import dataclass, field

from fastnmf import NMF, StratifiedNMF


@dataclass(frozen=True)
class Variant:
    """One variant: a class, its parameters, and what may be expected of it.

    `beta` names the loss as that of a beta divergence, 2 for the squared error.
    """

    name: str
    estimator: type
    parameters: dict = field(default_factory=dict)
    is_monotone: bool = True
    has_strata: bool = True
    beta: float = 2

    @property
    def is_squared(self):
        return self.beta == 2

    @property
    def is_masked(self):
        """Whether zeros are missing values and not data."""
        return self.parameters.get("missing_values") == "zeros"

    @property
    def is_penalised(self):
        return any(self.parameters.get(f"alpha_{name}", 0) > 0 for name in "WHV")

    @property
    def has_gauge(self):
        return self.parameters.get("gauge") is not None

    def penalty(self, name, size):
        """Return L1 and L2 beside ``1/2 ||X - W H||²`` of factor `name`, of which `size` is what alpha counts by."""
        alpha, share = self.parameters.get(f"alpha_{name}", 0), self.parameters.get("l1_ratio", 0)
        return alpha * size * share, alpha * size * (1 - share)

    def scalings(self, factor):
        """Return pairs of parameters that do the same to data and to `factor` times the data.

        A penalty has units: with data as X, W and H go as sqrt(X), the loss as X²; so L1 on W and H goes as X^1.5 and
        L2 as X, L1 on shifts as X and L2 not at all.
        """
        if not self.is_penalised:
            return [({}, {})]
        pairs = []
        for share, powers in ((1, {"W": 1.5, "H": 1.5, "V": 1}), (0, {"W": 1, "H": 1, "V": 0})):
            alphas = {f"alpha_{name}": power for name, power in powers.items() if f"alpha_{name}" in self.parameters}
            scaled = {name: self.parameters[name] * factor**power for name, power in alphas.items()}
            pairs.append(({"l1_ratio": share}, {"l1_ratio": share, **scaled}))
        return pairs

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


def _divergences(beta_loss, beta):
    """Return the plain and the stratified variant of one divergence."""
    options = {"solver": "mu", "beta_loss": beta_loss}
    name = "kl" if beta == 1 else f"beta-{beta}"
    return [
        Variant(f"nmf-{name}", NMF, options, has_strata=False, beta=beta),
        Variant(f"stratified-{name}", StratifiedNMF, options, beta=beta),
    ]


SPARSE = {"alpha_W": 0.02, "alpha_H": 0.03, "l1_ratio": 0.5}

VARIANTS = [
    Variant("stratified", StratifiedNMF, is_monotone=False),
    Variant("stratified-thorough", StratifiedNMF, {"sweeps": "thorough"}, is_monotone=False),
    Variant("stratified-hals", StratifiedNMF, {"extrapolate": False}),
    Variant("stratified-hals-random", StratifiedNMF, {"init": "random", "extrapolate": False}),
    Variant("stratified-hals-nndsvd", StratifiedNMF, {"init": "nndsvd", "extrapolate": False}),
    Variant("stratified-hals-penalised", StratifiedNMF, {"alpha_V": 0.05, "extrapolate": False, **SPARSE}),
    Variant("stratified-hals-missing", StratifiedNMF, {"missing_values": "zeros", "extrapolate": False}),
    Variant("stratified-max-shift", StratifiedNMF, {"gauge": "max_shift"}, is_monotone=False),
    Variant("stratified-mu", StratifiedNMF, {"solver": "mu"}),
    Variant("stratified-mu-nndsvda", StratifiedNMF, {"solver": "mu", "init": "nndsvda"}),
    Variant(
        "stratified-mu-simultaneous", StratifiedNMF, {"solver": "mu", "update_order": "simultaneous"}, is_monotone=False
    ),
    Variant("nmf", NMF, is_monotone=False, has_strata=False),
    Variant("nmf-hals", NMF, {"solver": "hals", "init": "nndsvd"}, has_strata=False),
    Variant("nmf-hals-penalised", NMF, {"solver": "hals", **SPARSE}, has_strata=False),
    Variant("nmf-hals-missing", NMF, {"solver": "hals", "missing_values": "zeros"}, has_strata=False),
    Variant("nmf-mu", NMF, {"solver": "mu", "init": "random"}, has_strata=False),
    *_divergences("kullback-leibler", 1),
    *_divergences(0.5, 0.5),
    *_divergences(1.5, 1.5),
    Variant("nmf-fast", NMF, {"solver": "mu", "beta_loss": 0.5, "exponent": "fast"}, has_strata=False, beta=0.5),
]

# Hierarchies have several layers and no single W and H: `test_hierarchy.py` has their contract. Name -> parameters.
LAYERED = {
    "neural": {},
    "neural-recon": {"loss": "recon"},
    "neural-energy": {"loss": "energy"},
    "neural-pgd": {"solver": "pgd"},
    "neural-adam": {"solver": "adam"},
    "neural-random": {"init": "random"},
    "neural-nndsvd": {"init": "nndsvd"},
    "neural-sequential-start": {"init": "sequential"},
    "deep": {"method": "deep"},
    "sequential": {"method": "sequential"},
}
