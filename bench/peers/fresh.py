"""Time the first fit of this process and a later one; print JSON. Run by the section "import"."""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import data

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", choices=("newsgroups", "small"), default="newsgroups")
parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
options = parser.parse_args()
warnings.filterwarnings("ignore", message=".*max_iter.*")

from fastnmf import StratifiedNMF  # noqa: E402 (after the parser: --help need not load Numba)

X, labels, _ = data.newsgroups() if options.data == "newsgroups" else data.zipf_text(400, 1000, 4000, 4)
X = X.astype(options.dtype)
seconds = []
for _ in range(4):
    model = StratifiedNMF(20 if options.data == "newsgroups" else 10, max_iter=12, random_state=0)
    begin = time.perf_counter()
    model.fit(X, strata=labels)
    seconds.append(time.perf_counter() - begin)
print(json.dumps({"first": seconds[0], "later": sorted(seconds[1:])[1], "nnz": int(X.nnz)}))
