"""Held-out error, time and memory of fits of simulated ratings, by their penalty. The table in docs/ratings.md.

Seconds are those of one thread's processor time.

Usage: python bench/ratings.py [--large]
"""

import argparse
import resource
import time
import warnings

import numpy as np
from table import markdown

from fastnmf import NMF, StratifiedNMF
from fastnmf.datasets import simulate_ratings

FITS = [(NMF, {}, alpha) for alpha in (0.0, 0.03, 0.1, 0.2, 0.3, 1.0)]
LARGE = [(NMF, {}, 0.1), (NMF, {}, 0.2), (StratifiedNMF, {}, 0.1), (StratifiedNMF, {"tol": 1e-3}, 0.1)]


def means(at, values, size):
    """Return the means of the values by user or item, that of all where there is none."""
    count = np.bincount(at, minlength=size)
    return np.where(count > 0, np.bincount(at, values, size) / np.maximum(count, 1), values.mean())


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="1,000,000 ratings of 12 countries")
    is_large = parser.parse_args().large
    warnings.filterwarnings("ignore")  # of fits without a penalty, and of max_iter
    few = simulate_ratings(100, 80, n_strata=2, n_ratings=2000, random_state=0)
    for kind, given in ((NMF, {}), (StratifiedNMF, {"strata": few.strata})):  # compiles kernels
        kind(20, missing_values="zeros", alpha_W=0.1, max_iter=2).fit(few.train, **given)
    size = {"n_users": 20_000, "n_items": 5_000, "n_strata": 12, "n_ratings": 1_000_000} if is_large else {}
    data = simulate_ratings(**size, random_state=0)
    train, test = data.train.tocoo(), data.test.tocoo()

    def error(found):
        return float(np.sqrt(np.mean((np.clip(found, 1, 5) - test.data) ** 2)))

    user, item = (means(at, train.data, n) for at, n in zip(train.coords, train.shape, strict=True))
    total = train.data.mean()
    base = error(user[test.coords[0]] + item[test.coords[1]] - total)
    rows = [["mean of all", "", f"{error(np.full(test.nnz, total)):.3f}", "", ""]]
    rows.append(["means of user and item", "", f"{base:.3f}", "1.00", ""])
    for kind, options, alpha in LARGE if is_large else FITS:
        model = kind(20, missing_values="zeros", alpha_W=alpha, random_state=0, n_threads=1, **options)
        began = time.process_time()
        model.fit(data.train, **({"strata": data.strata} if kind is StratifiedNMF else {})).recommend(0)
        seconds, found = time.process_time() - began, error(model.predict_entries(*test.coords))
        name = f"{kind.__name__}(20{', tol=1e-3' if options else ''})"
        rows.append([name, f"{alpha:g}", f"{found:.3f}", f"{found / base:.2f}", f"{seconds:.1f}"])
    print(markdown(["model", "alpha_W", "error", "relative", "seconds"], rows))
    print(f"Peak of memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB.")


if __name__ == "__main__":
    main()
