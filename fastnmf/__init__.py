"""fastnmf: factorise large, sparse, non-negative data that come in groups."""

from importlib import import_module

__version__ = "0.1.0"

# Public names and the modules they live in; imported on first use, because scikit-learn and Numba take seconds.
_HOMES = {
    "ChebyshevNMF": "fastnmf.models.robust",
    "DistributionallyRobustNMF": "fastnmf.models.measures",
    "MiniBatchNMF": "fastnmf.models.online",
    "MiniBatchStratifiedNMF": "fastnmf.models.online",
    "NMF": "fastnmf.models.nmf",
    "RobustNMF": "fastnmf.models.robust",
    "SmoothNMF": "fastnmf.models.smooth",
    "SparseNMF": "fastnmf.models.sparse",
    "StratifiedNMF": "fastnmf.models.stratified",
    "non_negative_factorization": "fastnmf.models.factorization",
    "select_beta": "fastnmf.models.measures",
    "stratified_nmf": "fastnmf.models.stratified",
    "Strata": "fastnmf.data",
    "open_csr": "fastnmf.ondisk",
    "save_csr": "fastnmf.ondisk",
    "warmup": "fastnmf.warm",
    "datasets": "fastnmf.datasets",
    "metrics": "fastnmf.metrics",
    "plots": "fastnmf.plots",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_HOMES[name])
    value = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__():
    return __all__
