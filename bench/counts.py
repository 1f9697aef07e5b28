"""Which models find the planted programmes in counts of cells from several batches: the table in docs/counts.md.

Usage: python bench/counts.py
"""

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.preprocessing import normalize
from table import markdown

from fastnmf import NMF, StratifiedNMF
from fastnmf.datasets.planted import simulate_counts

SEEDS = 3
KULLBACK_LEIBLER = {"solver": "mu", "beta_loss": "kullback-leibler"}
CONTESTANTS = {
    "Kullback-Leibler with strata, 4 components": (StratifiedNMF, 4, KULLBACK_LEIBLER),
    "squared error with strata, 4 components": (StratifiedNMF, 4, {}),
    "Kullback-Leibler without strata, 4 components": (NMF, 4, KULLBACK_LEIBLER),
    "Kullback-Leibler without strata, 7 components": (NMF, 7, KULLBACK_LEIBLER),
}


def scores(cells, cls, rank, options):
    """Return ARI and NMI of the programme that a cell uses most, and the mean cosine of matched components."""
    model = cls(rank, max_iter=300, random_state=0, **options)
    model.fit(cells.data, **({"strata": cells.batch} if cls is StratifiedNMF else {}))
    used = np.argmax(model.W_ * model.components_.sum(axis=1), axis=1)
    cosines = normalize(cells.programs) @ normalize(model.components_).T
    matched = cosines[linear_sum_assignment(-cosines)].mean()
    return adjusted_rand_score(cells.target, used), normalized_mutual_info_score(cells.target, used), matched


def main():
    """Print the table."""
    warnings.filterwarnings("ignore", message=".*max_iter.*")
    data = [simulate_counts(random_state=seed) for seed in range(SEEDS)]
    rows = []
    for name, contestant in CONTESTANTS.items():
        found = np.array([scores(cells, *contestant) for cells in data]).T
        rows.append([name, *(" ".join(f"{score:.2f}" for score in kind) for kind in found)])
    print(markdown(["", "ARI", "NMI", "cosine"], rows))


if __name__ == "__main__":
    main()
