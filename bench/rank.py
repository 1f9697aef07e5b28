"""Whether the planted rank is found: both hold-outs, five data sets, defaults. The table in docs/rank.md.

Usage: python bench/rank.py
"""

import warnings

import numpy as np
from table import markdown

from fastnmf import select_rank

SEEDS, SIZES, N_FEATURES, RANK, NOISE = range(5), (40, 40, 40), 30, 4, 0.3
DRAWS = {
    "half-normal": lambda rng, shape: np.abs(rng.standard_normal(shape)),
    "exponential": lambda rng, shape: rng.exponential(1, shape),
    "uniform": lambda rng, shape: rng.random(shape),
}


def planted(draw, seed):
    """Return data with shifts uniform on [i, i + 1), W and H drawn by `draw`, noise of one size; and the strata."""
    rng = np.random.default_rng(seed)
    strata = np.repeat(np.arange(len(SIZES)), SIZES)
    W, H = draw(rng, (len(strata), RANK)), draw(rng, (RANK, N_FEATURES))
    V = rng.random((len(SIZES), N_FEATURES)) + np.arange(len(SIZES))[:, None]
    X = W @ H + V[strata] + NOISE * rng.standard_normal((len(strata), N_FEATURES))
    return np.maximum(X, 0), strata


def main():
    """Print the table."""
    warnings.filterwarnings("ignore", message=".*max_iter.*")
    rows = []
    for name, draw in DRAWS.items():
        for method in ("entries", "rows_columns"):
            data = [planted(draw, seed) for seed in SEEDS]
            options = {"method": method, "n_restarts": 0, "random_state": 0}
            found = [select_rank(*pair, range(1, 9), **options) for pair in data]
            choices = [[getattr(one, which) for one in found] for which in ("best_rank", "rank_1se")]
            rows.append([name, method, *(" ".join(map(str, ranks)) for ranks in choices)])
    print(markdown(["W, H", "held out", "least loss", "one standard error"], rows))


if __name__ == "__main__":
    main()
