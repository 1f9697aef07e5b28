"""Tools for AnnData in the manner of scanpy: they fit, and write what they find into the AnnData.

Each tool takes an AnnData in memory, one whose X is in a file (``backed``), or one whose X is a Dask array.
"""

from fastnmf.tl.tools import consensus, nmf, stratified_nmf

__all__ = ["consensus", "nmf", "stratified_nmf"]
