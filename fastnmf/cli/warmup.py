"""Compile the kernels ahead of time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from fastnmf.core.progress import compile_notice
from fastnmf.core.squarem import START
from fastnmf.data.sentences import shown
from fastnmf.models.nmf import NMF
from fastnmf.models.stratified import StratifiedNMF


def warmup(
    dtypes: Sequence[str] = ("float64", "float32"), *, kullback_leibler: bool = False, verbose: int = 0
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

    Returns
    -------
    float
        Time in seconds; under one if everything is in the cache.

    Examples
    --------
    >>> import fastnmf
    >>> fastnmf.warmup(["float32"]) > 0  # doctest: +SKIP
    True
    """
    is_list = isinstance(dtypes, (list, tuple, set)) and all(isinstance(each, str) for each in dtypes)
    if not is_list or not set(dtypes) <= {"float32", "float64"}:
        raise ValueError(f"dtypes={shown(dtypes)} is not valid; expected a list of 'float32' and 'float64'.")
    began = time.perf_counter()
    rng = np.random.default_rng(0)
    X = sp.random_array((12_000, 3_000), density=0.004, rng=rng, format="csr")
    strata = rng.integers(0, 20, 12_000)
    dense, tiny = rng.random((3_000, 200)), rng.random((6, 5))
    options = {"random_state": 0, "max_iter": 3, "tol": 0}
    with compile_notice() if verbose else warnings.catch_warnings():
        for dtype in dtypes:
            for solver in ("hals", "mu"):
                for data, labels in ((X, strata), (dense, strata[:3_000]), (tiny, strata[:6])):
                    init = "multilevel" if data is X and solver == "hals" else "features"
                    model = StratifiedNMF(20 if len(labels) > 6 else 2, solver=solver, init=init, **options)
                    model.fit(data.astype(dtype), strata=labels)
            NMF(2, **options).fit(tiny.astype(dtype))
            more = options | {"init": "random"}  # with more components than columns: an active set in place of pivoting
            StratifiedNMF(8, **more).fit(tiny.astype(dtype), strata=strata[:6])
            if kullback_leibler:
                for data, rank in ((X, 20), (tiny, 2)):
                    more = options | {"max_iter": START + 3}
                    init = "multilevel" if data is X else "auto"
                    model = NMF(rank, solver="mu", beta_loss="kullback-leibler", init=init, **more)
                    model.fit(data.astype(dtype)).transform(data.astype(dtype))
    return time.perf_counter() - began
