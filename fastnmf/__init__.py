"""Factorise large, sparse, non-negative data that come in groups.

Which model (rows of X are samples, columns are features):

    rows in groups      StratifiedNMF(20).fit(X, strata=labels)
    no groups           NMF(20).fit(X)
    counts              PLSA(20), or NMF(20, solver="mu", beta_loss=1)
    larger than memory  MiniBatchNMF, MiniBatchStratifiedNMF, fastnmf.dask
    topics of topics    HierarchicalNMF((12, 4)), DeepNMF
    known classes       SemiSupervisedNMF(12).fit(X, y)
    outliers            RobustNMF
    negative entries    SemiNMF
    graphs              SymmetricNMF (a graph), GraphNMF (neighbouring samples)
    all models          fastnmf.catalogue(), or python -m fastnmf models

Other models, one line each:

    AffineNMF                    a background that all rows share
    BilinearNMF                  mixtures whose components interact
    BinaryNMF, BooleanNMF        factors of zeros and ones
    ChebyshevNMF                 the smallest largest error
    ConvexNMF                    components that are means of rows
    ConvolutiveNMF               patterns in time that span several rows
    DictionaryNMF                components made of known atoms
    DistributionallyRobustNMF    a good fit under several divergences
    Factorization                losses, penalties and updates of your own
    IntervalNMF                  data known only by lower and upper bounds
    KernelNMF                    clusters of any shape
    MetaNMF                      components learned on small tasks first
    OrthogonalNMF                each row in one cluster
    ProjectiveNMF                a non-negative PCA
    SeparableNMF                 components that are rows, or features, of X
    SmoothNMF                    components that are curves
    SparseNMF                    sparse components or weights
    TriNMF                       groups of rows and of features, and their table
    TriSymmetricNMF              communities and the links between them
    UnderapproximationNMF        components that stay below the data

Functions and classes around a fit:

    select_rank, select_beta     choose the number of components, the divergence
    select_strata                choose what groups share: shifts, components
    specific_features            test which features are specific to a group
    topics_over_time             how the components of a fit drift over years
    consensus, cluster           recurrent components of many runs; clusters
    estimate, warmup             memory and time of a fit; compile beforehand
    read, load                   read a data file; read a saved model
    Readings                     X with its labels and names, as read returns it
    save_csr, open_csr, Strata   matrices on disk; a matrix with its groups
    Start, catalogue             components to start from; list of all models
    write_report, write_tables   a fitted model as an HTML page, as tables
    functions that fit           non_negative_factorization, stratified_nmf
    building blocks              nnls, hierarchical_loss

Modules: compose, datasets, metrics, plots, report, testing, tl (AnnData).

``help(fastnmf.NMF)`` describes a class.
``python -m fastnmf --help`` lists the commands of the shell.
"""

import sys
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
    "MiniBatchStratifiedNMF": "fastnmf.models.minibatch_stratified",
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
    "consensus": "fastnmf.selection.consensus",
    "estimate": "fastnmf.selection.size",
    "select_rank": "fastnmf.selection",
    "select_strata": "fastnmf.selection",
    "specific_features": "fastnmf.selection",
    "topics_over_time": "fastnmf.selection",
    "cluster": "fastnmf.selection",
    "catalogue": "fastnmf.models.catalogue",
    "Start": "fastnmf.core.init",
    "Strata": "fastnmf.data.strata",
    "load": "fastnmf.models.loading",
    "read": "fastnmf.io.tables",
    "Readings": "fastnmf.data.readings",
    "open_csr": "fastnmf.data.ondisk",
    "save_csr": "fastnmf.data.ondisk",
    "warmup": "fastnmf.cli.warmup",
    "compose": "fastnmf.compose",
    "datasets": "fastnmf.datasets",
    "metrics": "fastnmf.metrics",
    "plots": "fastnmf.plots",
    "report": "fastnmf.report",
    "testing": "fastnmf.testing",
    "tl": "fastnmf.tl",
    "write_report": "fastnmf.report",
    "write_tables": "fastnmf.report",
}
__all__ = [*_HOMES, "__version__"]
_OPTIONAL = {"dask": "fastnmf.dask"}  # needs packages that may not be there

TYPE_CHECKING = False  # True to checkers by its name; importing `typing` for it takes 8 ms
if TYPE_CHECKING:  # the names of `_HOMES`, and no others
    from fastnmf import compose as compose
    from fastnmf import datasets as datasets
    from fastnmf import metrics as metrics
    from fastnmf import plots as plots
    from fastnmf import report as report
    from fastnmf import testing as testing
    from fastnmf import tl as tl
    from fastnmf.cli.warmup import warmup as warmup
    from fastnmf.compose import Factorization as Factorization
    from fastnmf.core.init import Start as Start
    from fastnmf.core.stack import hierarchical_loss as hierarchical_loss
    from fastnmf.core.stack import nnls as nnls
    from fastnmf.data.ondisk import open_csr as open_csr
    from fastnmf.data.ondisk import save_csr as save_csr
    from fastnmf.data.readings import Readings as Readings
    from fastnmf.data.strata import Strata as Strata
    from fastnmf.io.tables import read as read
    from fastnmf.models.affine import AffineNMF as AffineNMF
    from fastnmf.models.bilinear import BilinearNMF as BilinearNMF
    from fastnmf.models.binary import BinaryNMF as BinaryNMF
    from fastnmf.models.binary import BooleanNMF as BooleanNMF
    from fastnmf.models.catalogue import catalogue as catalogue
    from fastnmf.models.chebyshev import ChebyshevNMF as ChebyshevNMF
    from fastnmf.models.convex import ConvexNMF as ConvexNMF
    from fastnmf.models.convolutive import ConvolutiveNMF as ConvolutiveNMF
    from fastnmf.models.deep import DeepNMF as DeepNMF
    from fastnmf.models.dictionary import DictionaryNMF as DictionaryNMF
    from fastnmf.models.distributionally_robust import DistributionallyRobustNMF as DistributionallyRobustNMF
    from fastnmf.models.factorization import non_negative_factorization as non_negative_factorization
    from fastnmf.models.graph import GraphNMF as GraphNMF
    from fastnmf.models.hierarchy.hierarchical import HierarchicalNMF as HierarchicalNMF
    from fastnmf.models.interval import IntervalNMF as IntervalNMF
    from fastnmf.models.kernel import KernelNMF as KernelNMF
    from fastnmf.models.loading import load as load
    from fastnmf.models.meta.meta import MetaNMF as MetaNMF
    from fastnmf.models.minibatch import MiniBatchNMF as MiniBatchNMF
    from fastnmf.models.minibatch_stratified import MiniBatchStratifiedNMF as MiniBatchStratifiedNMF
    from fastnmf.models.nmf import NMF as NMF
    from fastnmf.models.orthogonal import OrthogonalNMF as OrthogonalNMF
    from fastnmf.models.plsa import PLSA as PLSA
    from fastnmf.models.projective import ProjectiveNMF as ProjectiveNMF
    from fastnmf.models.published import stratified_nmf as stratified_nmf
    from fastnmf.models.robust import RobustNMF as RobustNMF
    from fastnmf.models.semi import SemiNMF as SemiNMF
    from fastnmf.models.semisupervised import SemiSupervisedNMF as SemiSupervisedNMF
    from fastnmf.models.separable import SeparableNMF as SeparableNMF
    from fastnmf.models.smooth import SmoothNMF as SmoothNMF
    from fastnmf.models.sparse import SparseNMF as SparseNMF
    from fastnmf.models.stratified import StratifiedNMF as StratifiedNMF
    from fastnmf.models.symmetric import SymmetricNMF as SymmetricNMF
    from fastnmf.models.tri import TriNMF as TriNMF
    from fastnmf.models.trisymmetric import TriSymmetricNMF as TriSymmetricNMF
    from fastnmf.models.underapproximation import UnderapproximationNMF as UnderapproximationNMF
    from fastnmf.report import write_report as write_report
    from fastnmf.report import write_tables as write_tables
    from fastnmf.selection import cluster as cluster
    from fastnmf.selection import select_beta as select_beta
    from fastnmf.selection import select_rank as select_rank
    from fastnmf.selection import select_strata as select_strata
    from fastnmf.selection import specific_features as specific_features
    from fastnmf.selection import topics_over_time as topics_over_time
    from fastnmf.selection.consensus import consensus as consensus
    from fastnmf.selection.size import estimate as estimate
else:

    def __getattr__(name):
        home = _HOMES.get(name) or _OPTIONAL.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        module = import_module(home)
        value = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
        globals()[name] = value
        return value


def __dir__():
    return __all__
