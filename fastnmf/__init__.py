"""fastnmf: factorise large, sparse, non-negative data that come in groups."""

from importlib import import_module

__version__ = "0.2.0.dev0"

# Public names and the modules they live in; imported on first use, because scikit-learn and Numba take seconds.
_HOMES = {
    "AffineNMF": "fastnmf.models.affine",
    "BilinearNMF": "fastnmf.models.bilinear",
    "BinaryNMF": "fastnmf.models.discrete",
    "BooleanNMF": "fastnmf.models.discrete",
    "ChebyshevNMF": "fastnmf.models.robust",
    "ConvexNMF": "fastnmf.models.convex",
    "ConvolutiveNMF": "fastnmf.models.convolutive",
    "DeepNMF": "fastnmf.models.deep",
    "DictionaryNMF": "fastnmf.models.dictionary",
    "DistributionallyRobustNMF": "fastnmf.models.measures",
    "hierarchical_loss": "fastnmf.layers",
    "GraphNMF": "fastnmf.models.graph",
    "HierarchicalNMF": "fastnmf.models.layered",
    "IntervalNMF": "fastnmf.models.interval",
    "KernelNMF": "fastnmf.models.convex",
    "MetaNMF": "fastnmf.models.meta",
    "MiniBatchNMF": "fastnmf.models.online",
    "MiniBatchStratifiedNMF": "fastnmf.models.online",
    "NMF": "fastnmf.models.nmf",
    "nnls": "fastnmf.layers",
    "OrthogonalNMF": "fastnmf.models.structured",
    "PLSA": "fastnmf.models.topics",
    "ProjectiveNMF": "fastnmf.models.projective",
    "RobustNMF": "fastnmf.models.robust",
    "SemiNMF": "fastnmf.models.structured",
    "SemiSupervisedNMF": "fastnmf.models.semisupervised",
    "SeparableNMF": "fastnmf.models.separable",
    "SmoothNMF": "fastnmf.models.smooth",
    "SparseNMF": "fastnmf.models.sparse",
    "StratifiedNMF": "fastnmf.models.stratified",
    "SymmetricNMF": "fastnmf.models.symmetric",
    "TriNMF": "fastnmf.models.tri",
    "TriSymmetricNMF": "fastnmf.models.symmetric",
    "UnderapproximationNMF": "fastnmf.models.discrete",
    "non_negative_factorization": "fastnmf.models.factorization",
    "select_beta": "fastnmf.models.measures",
    "stratified_nmf": "fastnmf.models.published",
    "consensus": "fastnmf.ensemble",
    "select_rank": "fastnmf.ensemble",
    "cluster": "fastnmf.ensemble",
    "catalogue": "fastnmf.family",
    "Start": "fastnmf.init",
    "Strata": "fastnmf.data",
    "load": "fastnmf.persist",
    "open_csr": "fastnmf.ondisk",
    "save_csr": "fastnmf.ondisk",
    "warmup": "fastnmf.warm",
    "datasets": "fastnmf.datasets",
    "metrics": "fastnmf.metrics",
    "plots": "fastnmf.plots",
    "report": "fastnmf.report",
    "write_report": "fastnmf.report",
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
