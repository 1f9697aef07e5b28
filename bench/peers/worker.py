"""Fit when told to, in a process of its own: so two checkouts, scikit-learn and the paper loop take turns.

Usage::

    python bench/peers/worker.py FOLDER fastnmf|sklearn

FOLDER holds the data, as `contest.Contest` writes them. Every line of standard input is a request in JSON, a
`contest.Request`, and is answered by a line: the seconds of the call, and what came out where that is asked for. Which
checkout is measured depends on PYTHONPATH alone; whatever is computed outside the clock is code of this folder.
"""

import hashlib
import importlib
import json
import statistics
import sys
import time
import warnings
from functools import cache
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import numpy as np
from checks import divergence, relative_error
from data import blocks_of, paper_start
from paper_loop import paper_loop
from scipy import sparse
from threadpoolctl import threadpool_limits


@cache
def read(folder, name, dtype):
    """Return the data of that name as (X, labels or None)."""
    kept = np.load(folder / f"{name}.npz")
    arrays = {key: kept[key] for key in kept.files}
    if "dense" in arrays:
        X = arrays["dense"].astype(dtype)
    else:
        parts = arrays["data"].astype(dtype), arrays["indices"], arrays["indptr"]
        X = sparse.csr_array(parts, shape=tuple(arrays["shape"]))
    return X, arrays.get("labels")


def call_of(request, library, X, labels):
    """Return the estimator (None for the paper loop), and the function to be timed, which returns W."""
    options = dict(request["options"])
    if request["model"] == "paper loop":
        start = np.concatenate([[0], np.cumsum(np.bincount(labels))])
        V, W, H = (F.astype(X.dtype) for F in paper_start(start, X.shape[1], options["n_components"]))
        given = blocks_of(X, start), V, np.split(W, start[1:-1]), H, options["max_iter"]
        return None, lambda: paper_loop(*given)
    if library == "fastnmf":
        options["n_threads"] = request["threads"]
    module = importlib.import_module({"sklearn": "sklearn.decomposition"}.get(library, library))
    model, rows = getattr(module, request["model"])(**options), X[: request["rows"]]
    arguments = {"strata": labels} if "Stratified" in request["model"] else {}
    if request["do"] == "transform":
        model.fit(X, **arguments)
        return model, lambda: model.transform(rows)
    if request["do"] == "partial_fit":
        model.partial_fit(rows)
        return model, lambda: model.partial_fit(rows)
    if library == "fastnmf":
        return model, lambda: model.fit(X, **arguments).W_
    return model, lambda: model.fit_transform(X)  # `fit` does not keep W


def facts_of(request, model, W, folder):
    """Return what a fit came to, computed from its factors in float64 against the data in float64."""
    X, labels = read(folder, request["data"], "float64")
    H, V = model.components_, getattr(model, "shifts_", None)
    found = {"iterations": int(model.n_iter_), "bits": bits_of(W, H, V)}
    if request["options"].get("beta_loss") == "kullback-leibler":
        found["loss"] = None if V is not None else divergence(sparse.csr_array(X), W, H)
    else:
        found["loss"] = relative_error(X, W, H, V, labels)
    history = getattr(model, "history_", {})
    for name in ("passes", "objective"):
        if name in history:
            found[name] = np.asarray(history[name], dtype=float).tolist()
    return found


def bits_of(*factors):
    """Return a hash of arrays; None and sparse ones may be among them."""
    seen = hashlib.sha256()
    for F in factors:
        if F is not None:
            seen.update(np.ascontiguousarray(F.data if sparse.issparse(F) else F).tobytes())
    return seen.hexdigest()[:16]


def answer(request, library, folder):
    """Run a request as often as it says; return the median seconds, and the facts of the last run if asked for."""
    X, labels = read(folder, request["data"], request["dtype"])
    limit = None if library == "fastnmf" else request["threads"]  # ours limits the BLAS itself, and is left alone
    seconds, W, model = [], None, None
    for _ in range(request["calls"]):
        if model is None or request["do"] == "fit":
            model, call = call_of(request, library, X, labels)
        with threadpool_limits(limit, user_api="blas"):
            began = time.perf_counter()
            W = call()
            seconds.append(time.perf_counter() - began)
    found = {"seconds": statistics.median(seconds)}
    return found | (facts_of(request, model, W, folder) if request["facts"] else {})


def main():
    """Answer every line of standard input."""
    warnings.simplefilter("ignore")
    folder, library = Path(sys.argv[1]), sys.argv[2]
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), library, folder)), flush=True)


if __name__ == "__main__":
    main()
