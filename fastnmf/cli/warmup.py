"""Compile the kernels ahead of time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from fastnmf.core.options import check_jobs
from fastnmf.core.progress import compile_notice
from fastnmf.core.squarem import START
from fastnmf.data.sentences import shown
from fastnmf.kernels.ahead import Compilers, usual_kernels
from fastnmf.models.nmf import NMF
from fastnmf.models.stratified import StratifiedNMF

OPTIONS = {"random_state": 0, "max_iter": 3, "tol": 0}


def warmup(
    dtypes: Sequence[str] = ("float64", "float32"),
    *,
    kullback_leibler: bool = False,
    verbose: int = 0,
    jobs: int | None = None,
) -> float:
    """Compile the kernels of the usual fits, or load them from the disk cache, before they are needed.

    Fits one sparse and one dense data set that are large enough for the parallel kernels, and a tiny one for the serial
    kernels. The rank of later fits does not matter: the same binary is used for all ranks.

    Parameters
    ----------
    dtypes : sequence of str, default=("float64", "float32")
        Types of the data of later fits.
    kullback_leibler : bool, default=False
        Whether to compile NMF with the Kullback-Leibler loss, too.
    verbose : int, default=0
        1 prints a notice if something is compiled.
    jobs : int, default=None
        Number of processes that compile, this one included; -1: one for each core. None or 1 starts none. The others
        run nothing of your script, write what they compile to the disk cache, and end before the call does, also where
        it is interrupted. Without a disk cache that can be written they are of no use: a warning says so, and this
        process compiles everything.

    Returns
    -------
    float
        Time in seconds; a few where everything is in the cache.

    Raises
    ------
    ValueError
        `dtypes` or `jobs` is not one of the above.

    Examples
    --------
    >>> import fastnmf
    >>> fastnmf.warmup(["float32"]) > 0  # doctest: +SKIP
    True
    """
    is_list = isinstance(dtypes, (list, tuple, set)) and all(isinstance(each, str) for each in dtypes)
    if not is_list or not set(dtypes) <= {"float32", "float64"}:
        raise ValueError(f"dtypes={shown(dtypes)} is not valid; expected a list of 'float32' and 'float64'.")
    check_jobs("jobs", jobs)
    began = time.perf_counter()
    fits = FITS if kullback_leibler else {name: fit for name, fit in FITS.items() if name != "kullback-leibler"}
    with compile_notice() if verbose else warnings.catch_warnings():
        with Compilers(usual_kernels(fits, dtypes), 1 if jobs is None else jobs) as compilers:
            compilers.finish()
        for dtype in dtypes:
            for fit in fits.values():
                fit(dtype)
    return time.perf_counter() - began


def _text(dtype):
    """Return sparse data that are large enough for several threads, and strata of their rows."""
    rng = np.random.default_rng(0)
    X = sp.random_array((12_000, 3_000), density=0.004, rng=rng, format="csr")
    return X.astype(dtype), rng.integers(0, 20, 12_000)


def _tiny(dtype):
    return np.random.default_rng(0).random((6, 5)).astype(dtype)


def _fit_sparse(dtype):
    """Do what the demo does: fit sparse data by coordinate descent, explain and transform them."""
    X, strata = _text(dtype)
    model = StratifiedNMF(20, init="multilevel", **OPTIONS).fit(X, strata=strata)
    model.explain(X[:600], strata=strata[:600])
    model.transform(X[:100], strata=strata[:100])


def _fit_others(dtype):
    """Fit sparse data by multiplicative updates, and dense and tiny ones by both methods."""
    (X, strata), tiny = _text(dtype), _tiny(dtype)
    dense = np.random.default_rng(0).random((3_000, 200)).astype(dtype)
    for data, solvers in ((X, ("mu",)), (dense, ("hals", "mu")), (tiny, ("hals", "mu"))):
        for solver in solvers:
            model = StratifiedNMF(2 if data is tiny else 20, solver=solver, init="features", **OPTIONS)
            model.fit(data, strata=strata[: data.shape[0]])
    NMF(2, **OPTIONS).fit(tiny)
    more = OPTIONS | {"init": "random"}  # with more components than columns: an active set in place of pivoting
    StratifiedNMF(8, **more).fit(tiny, strata=strata[:6])


def _fit_divergence(dtype):
    """Fit sparse and tiny data under the Kullback-Leibler loss."""
    for data, rank, init in ((_text(dtype)[0], 20, "multilevel"), (_tiny(dtype), 2, "auto")):
        options = OPTIONS | {"max_iter": START + 3, "init": init}
        NMF(rank, solver="mu", beta_loss="kullback-leibler", **options).fit(data).transform(data)


# Groups of `usual.txt` and the fits, of data of a type, that need their kernels.
FITS = {"sparse": _fit_sparse, "other": _fit_others, "kullback-leibler": _fit_divergence}
