"""Load real data that comes in groups, or plant it.

Every loader returns a `sklearn.utils.Bunch` with `data` (one row a sample), `strata` (one label a row) and
`feature_names`. The package carries no data: scikit-learn's fetchers bring what has to be downloaded, and
`load_docstrings` reads what is installed anyway; COIL-20 has to be put there.
"""

from fastnmf.datasets.images import load_fashion_mnist, load_mnist
from fastnmf.datasets.planted import make_stratified, simulate_counts
from fastnmf.datasets.tables import load_housing
from fastnmf.datasets.text import load_docstrings, load_newsgroups
from fastnmf.datasets.toys import make_hierarchical
from fastnmf.datasets.views import load_coil20
from fastnmf.graphs import load_karate_club

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
]
