"""Factorise large, sparse, non-negative data that come in groups."""

from importlib import import_module

__version__ = "0.2.0.dev0"
# Public names and their modules; imported on first use, because importing scikit-learn and Numba takes seconds.
_HOMES = {
    "AffineNMF": "fastnmf.models.affine",
    "BilinearNMF": "fastnmf.models.bilinear",
    "BinaryNMF": "fastnmf.models.binary",
    "BooleanNMF": "fastnmf.models.binary",
    "ChebyshevNMF": "fastnmf.models.chebyshev",
    "ConvexNMF": "fastnmf.models.convex",
    "ConvolutiveNMF": "fastnmf.models.convolutive",
    "DeepNMF": "fastnmf.models.deep",
    "DictionaryNMF": "fastnmf.models.dictionary",
    "DistributionallyRobustNMF": "fastnmf.models.distributionally_robust",
    "hierarchical_loss": "fastnmf.core.stack",
    "Factorization": "fastnmf.compose",
    "GraphNMF": "fastnmf.models.graph",
    "HierarchicalNMF": "fastnmf.models.hierarchy.hierarchical",
    "IntervalNMF": "fastnmf.models.interval",
    "KernelNMF": "fastnmf.models.kernel",
    "MetaNMF": "fastnmf.models.meta.meta",
    "MiniBatchNMF": "fastnmf.models.minibatch",
    "MiniBatchStratifiedNMF": "fastnmf.models.minibatch",
    "NMF": "fastnmf.models.nmf",
    "nnls": "fastnmf.core.stack",
    "OrthogonalNMF": "fastnmf.models.orthogonal",
    "PLSA": "fastnmf.models.plsa",
    "ProjectiveNMF": "fastnmf.models.projective",
    "RobustNMF": "fastnmf.models.robust",
    "SemiNMF": "fastnmf.models.semi",
    "SemiSupervisedNMF": "fastnmf.models.semisupervised",
    "SeparableNMF": "fastnmf.models.separable",
    "SmoothNMF": "fastnmf.models.smooth",
    "SparseNMF": "fastnmf.models.sparse",
    "StratifiedNMF": "fastnmf.models.stratified",
    "SymmetricNMF": "fastnmf.models.symmetric",
    "TriNMF": "fastnmf.models.tri",
    "TriSymmetricNMF": "fastnmf.models.trisymmetric",
    "UnderapproximationNMF": "fastnmf.models.underapproximation",
    "non_negative_factorization": "fastnmf.models.factorization",
    "select_beta": "fastnmf.selection",
    "stratified_nmf": "fastnmf.models.published",
    "consensus": "fastnmf.selection",
    "select_rank": "fastnmf.selection",
    "cluster": "fastnmf.selection",
    "catalogue": "fastnmf.models.catalogue",
    "Start": "fastnmf.core.init",
    "Strata": "fastnmf.data.strata",
    "load": "fastnmf.models.loading",
    "open_csr": "fastnmf.data.ondisk",
    "save_csr": "fastnmf.data.ondisk",
    "warmup": "fastnmf.cli.warmup",
    "compose": "fastnmf.compose",
    "datasets": "fastnmf.datasets",
    "metrics": "fastnmf.metrics",
    "plots": "fastnmf.plots",
    "report": "fastnmf.report",
    "testing": "fastnmf.testing",
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
