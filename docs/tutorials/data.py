"""Write the files of the tutorials into the present folder: python data.py posts | cells | ratings."""

import gzip
import inspect
import io
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

from fastnmf.datasets import simulate_counts, simulate_ratings

MODULES = (
    *("numpy", "numpy.linalg", "numpy.fft", "numpy.random", "numpy.polynomial"),
    *("scipy.optimize", "scipy.sparse", "scipy.stats", "scipy.signal", "scipy.linalg", "scipy.spatial"),
    *("sklearn.linear_model", "sklearn.cluster", "sklearn.metrics", "sklearn.decomposition", "sklearn.ensemble"),
)


def posts():
    """Write posts.csv, the docstrings of three installed packages, and new.csv, some of them again."""
    found = {}
    for module in MODULES:
        for name, value in inspect.getmembers(import_module(module)):
            text = inspect.getdoc(value) or ""
            if not name.startswith("_") and len(text) > 200:
                found.setdefault(text, (module.split(".")[0], f"{module}.{name}"))
    table = pd.DataFrame([(*of, text) for text, of in found.items()], columns=["group", "title", "text"])
    table.to_csv("posts.csv", index=False)
    table[::25].to_csv("new.csv", index=False)


def cells():
    """Write the simulated counts of 600 cells in three batches: cells.h5ad, and as Cell Ranger does, tenx/."""
    counts = simulate_counts(600, 300, n_programs=4, n_batches=3, random_state=0)
    X, names = sp.csr_matrix(counts.data), counts.feature_names
    barcodes = [f"cell{i}" for i in range(600)]
    folder = Path("tenx")
    folder.mkdir(exist_ok=True)
    written = io.BytesIO()
    scipy.io.mmwrite(written, X.T.astype(np.int64))
    lines = {"barcodes.tsv.gz": barcodes, "features.tsv.gz": [f"ENS{name}\t{name}\tGene Expression" for name in names]}
    texts = {"matrix.mtx.gz": written.getvalue()} | {k: ("\n".join(v) + "\n").encode() for k, v in lines.items()}
    for name, content in texts.items():
        (folder / name).write_bytes(gzip.compress(content))
    try:
        import anndata
    except ImportError:
        return  # the folder of 10x needs no package
    obs, var = pd.DataFrame({"batch": counts.batch}, index=barcodes), pd.DataFrame(index=names)
    anndata.AnnData(X, obs, var, layers={"counts": X}).write_h5ad("cells.h5ad")


def ratings():
    """Write simulated ratings: ratings.csv, and where pyarrow is installed, ratings.parquet; held.csv to check with."""
    drawn = simulate_ratings(800, 300, n_strata=3, n_ratings=20_000, random_state=0)
    for name, part in (("ratings", drawn.data), ("held", drawn.test)):
        found = sp.coo_array(part)
        users, items = drawn.row_names[found.row], drawn.feature_names[found.col]
        table = pd.DataFrame({"user": users, "item": items, "rating": found.data, "country": drawn.strata[found.row]})
        table.to_csv(f"{name}.csv", index=False)
        if name == "ratings":
            try:
                table.to_parquet("ratings.parquet", index=False)
            except ImportError:
                pass


if __name__ == "__main__":
    {"posts": posts, "cells": cells, "ratings": ratings}[sys.argv[1]]()
