"""Build the data sets behind the fixed-seed numbers, independently of `fastnmf.datasets`.

Every builder returns a list of blocks A(i), one a stratum, float64. The three real ones return None where the
data is not at hand: nothing is ever downloaded from here. scikit-learn's data home (`SCIKIT_LEARN_DATA`) is
where they look; MNIST is expected there as `mnist/t10k-*-ubyte.gz`, the IDX files as published.
"""

import gzip
import json
import os
from functools import cache
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ABSENT = (
    "{name} is not on this machine: set SCIKIT_LEARN_DATA to a scikit-learn data home that has it "
    "(tests never download)"
)


@cache
def expected():
    """Read the fixed-seed numbers of `tests/data/stratified.json`."""
    return json.loads((HERE / "data" / "stratified.json").read_text())


@cache
def variants():
    """Read the fixed-seed numbers of `tests/data/variants.json`."""
    return json.loads((HERE / "data" / "variants.json").read_text())


@cache
def published_top_words():
    """Read the authors' top words, turned to descending order: 20 lists of 30 words, the strongest first.

    The published file runs from rank 30 (its first column) to rank 1 (its last).
    """
    lines = (HERE.parent / "bench" / "papers" / "chapman2023_top_words.csv").read_text().splitlines()[1:]
    return [line.split(",")[:0:-1] for line in lines]


def tiny():
    """Draw three dense blocks of 5, 9 and 4 rows and 7 columns, uniform in [0, 1)."""
    rng = np.random.default_rng(7)
    return [rng.random((m, 7)) for m in (5, 9, 4)]


def synthetic(seed=0):
    """Draw the paper's synthetic data: four strata of 100 x 100 with rank 5 and shifts in [i, i + 1)."""
    rng = np.random.default_rng(seed)
    w = rng.random((4, 100, 5))
    h = rng.random((5, 100))
    v = rng.random((4, 100)) + np.arange(4)[:, None]
    return [w[i] @ h + v[i] for i in range(4)]


@cache
def housing():
    """Cut California housing into low, medium and high income: 815, 1492 and 308 rows of 6 raw columns."""
    from sklearn.datasets import fetch_california_housing

    try:
        data = fetch_california_housing(download_if_missing=False).data[:, :-2]
    except OSError:
        return None
    income = data[:, 0]
    return [data[income < 1.5], data[(income > 4.5) & (income < 5)], data[income > 10]]


def read_idx(path):
    """Read one gzipped IDX file of unsigned bytes."""
    raw = gzip.decompress(path.read_bytes())
    n_axes = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * a : 8 + 4 * a], "big") for a in range(n_axes)]
    return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * n_axes).reshape(shape)


@cache
def mnist_t10k():
    """Take two strata of 200 from the MNIST test set, 0 to 255: ones and twos, then other twos and threes."""
    home = Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser() / "mnist"
    images, labels = home / "t10k-images-idx3-ubyte.gz", home / "t10k-labels-idx1-ubyte.gz"
    if not (images.exists() and labels.exists()):
        return None
    rows = read_idx(images).reshape(10_000, 784).astype(float)
    one, two, three = (np.flatnonzero(read_idx(labels) == digit) for digit in (1, 2, 3))
    return [
        np.vstack([rows[one[:100]], rows[two[:100]]]),
        np.vstack([rows[two[100:200]], rows[three[100:200]]]),
    ]


@cache
def newsgroups_words():
    """Build TF-IDF of 20 newsgroups as the paper does; return (blocks, words) or None."""
    from sklearn.datasets import fetch_20newsgroups
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        bunch = fetch_20newsgroups(
            subset="all", shuffle=False, remove=("headers", "footers", "quotes"), download_if_missing=False
        )
    except OSError:
        return None
    vectorizer = TfidfVectorizer(max_df=0.95, min_df=2, stop_words="english")
    matrix = vectorizer.fit_transform(bunch.data).tocsr()
    blocks = [matrix[np.flatnonzero(bunch.target == group)] for group in range(20)]
    return blocks, vectorizer.get_feature_names_out()


def newsgroups():
    """Give the 20 sparse blocks of `newsgroups_words`, or None."""
    built = newsgroups_words()
    return None if built is None else built[0]


BUILDERS = {
    "tiny": tiny,
    "synthetic": synthetic,
    "housing": housing,
    "mnist_t10k": mnist_t10k,
    "newsgroups": newsgroups,
    "synthetic_10000": synthetic,
}
