"""Measure how time and memory of a fit of `StratifiedNMF` grow with rows, non-zeros a row, and rank.

Usage::

    python bench/scaling.py [--lines 9]

Texts of the long-tailed kind are drawn in memory, 20,000 words, ten strata, float32. One of rows, non-zeros a row and
rank changes at a time, from 30,000 rows of 50 non-zeros at rank 20. Times are processor time of one thread, which other
programs on the machine change little: of an iteration (median of the fastest of three fits), and of a default fit with
its start. The memory is what the default fit took at its peak beyond the data (Linux; measured as by
`bench/memory.py`). Data of more rows: `bench/scale.py`.
"""

import argparse
import time
import warnings

import data
import numpy as np
from machine import describe
from memory import MIB, peak_of
from table import markdown

N_WORDS, N_STRATA = 20_000, 10
ROWS, PER_ROW, RANK = 30_000, 50, 20  # where the others stay
LINES = (  # rows, non-zeros a row, rank
    *((rows, PER_ROW, RANK) for rows in (10_000, ROWS, 100_000, 300_000)),
    *((ROWS, per_row, RANK) for per_row in (10, 200)),
    *((ROWS, PER_ROW, rank) for rank in (5, 50, 100)),
)
N_ITERATIONS, N_FITS = 12, 3


def measure(rows, per_row, rank):
    """Return the non-zeros, seconds an iteration, those of a default fit, its iterations and its bytes.

    Parameters
    ----------
    rows, per_row, rank : int
        Rows of the data, non-zeros aimed at in each, and components.
    """
    from fastnmf import StratifiedNMF

    X, strata, _ = data.zipf_text(rows, N_WORDS, rows * per_row, N_STRATA)
    X = X.astype(np.float32)
    few = np.arange(0, rows, 10)
    StratifiedNMF(rank, random_state=0, max_iter=2, n_threads=1).fit(X[few], strata=strata[few])  # loads the kernels
    an_iteration = min(_an_iteration(X, strata, rank) for _ in range(N_FITS))
    model, begun = StratifiedNMF(rank, random_state=0, n_threads=1), time.process_time()
    taken, _ = peak_of(lambda: model.fit(X, strata=strata))
    return X.nnz, an_iteration, time.process_time() - begun, model.n_iter_, taken


def _an_iteration(X, strata, rank):
    """Return the median processor time of an iteration, in seconds; the first one loads what it needs."""
    from fastnmf import StratifiedNMF

    stamps = []
    options = {"init": "features", "max_iter": N_ITERATIONS, "tol": 0, "random_state": 0, "n_threads": 1}
    StratifiedNMF(rank, **options, callback=lambda _: stamps.append(time.process_time())).fit(X, strata=strata)
    return np.median(np.diff(stamps)[1:])


def main(argv=None):
    """Measure each line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=len(LINES), help="only so many lines of the table")
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore", message=".*(max_iter|Maximum number of iterations).*")
    rows = []
    for n, per_row, rank in LINES[: options.lines]:
        nnz, an_iteration, seconds, n_iter, taken = measure(n, per_row, rank)
        times = (f"{an_iteration * 1e3:.1f}", f"{an_iteration * 1e9 / nnz / rank:.2f}", f"{seconds:.2f}", n_iter)
        rows.append([f"{n:,}", f"{nnz / 1e6:.1f}", rank, *times, f"{taken / MIB:.0f}"])
    print(describe())
    header = ["rows", "million non-zeros", "rank", "ms an iteration", "ns a non-zero and component"]
    print(markdown([*header, "s a default fit", "its iterations", "its MiB"], rows))


if __name__ == "__main__":
    main()
