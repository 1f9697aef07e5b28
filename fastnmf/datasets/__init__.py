"""Load real data that come in groups, or generate planted data.

Every loader returns `fastnmf.Readings` with `data` (one row for each sample); most have `feature_names` and `strata`
(one label for each row), too, which ``StratifiedNMF(20).fit(load_docstrings())`` uses. The package contains no large
data: scikit-learn's fetchers download them, `load_docstrings` reads the installed packages, and the user has to provide
the files of COIL-20.
"""

from fastnmf.datasets.images import load_fashion_mnist, load_mnist
from fastnmf.datasets.karate import load_karate_club
from fastnmf.datasets.planted import make_stratified, simulate_counts
from fastnmf.datasets.ratings import simulate_ratings
from fastnmf.datasets.tables import load_housing
from fastnmf.datasets.text import load_docstrings, load_newsgroups
from fastnmf.datasets.toys import make_hierarchical
from fastnmf.datasets.views import load_coil20

__all__ = [
    "load_coil20",
    "load_docstrings",
    "load_fashion_mnist",
    "load_housing",
    "load_karate_club",
    "load_mnist",
    "load_newsgroups",
    "make_hierarchical",
    "make_stratified",
    "simulate_counts",
    "simulate_ratings",
]
