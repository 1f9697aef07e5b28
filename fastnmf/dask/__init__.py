"""Fit `NMF` and `StratifiedNMF` to data that lie in chunks of rows on the workers of a Dask cluster.

The classes have the names and the parameters of those of `fastnmf`, and `client` and `hold`. Objective, loop and
stopping rules are the same; the bits of a fit depend on the chunks alone, and not on the workers.
"""

from importlib.util import find_spec

if find_spec("distributed") is None:
    raise ImportError("fastnmf.dask needs Dask, which is not installed: pip install fastnmf[dask]")

from fastnmf.dask.models import NMF, StratifiedNMF

__all__ = ["NMF", "StratifiedNMF"]
