"""The matrix of an AnnData that a tool factorises: of X, a layer or raw; of all genes or the highly variable ones."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.data.annotated import is_annotated, marks_of
from fastnmf.data.labels import known_labels
from fastnmf.data.sentences import nearest, shown

_ENTRIES, _ENTRIES_READ = 1 << 25, 1 << 23  # of a block, zeros included: in memory already, and in a file or dense


def unknown_name(what, value, where, known):
    """Return the sentence that refuses a name, with the nearest known one.

    Parameters
    ----------
    what : str
        Parameter that has the name.
    value : object
        The name.
    where : str
        What it should have been: "a column of adata.obs".
    known : sequence of str
    """
    known = [str(name) for name in known]
    if near := nearest(value, known):
        return f"{what}={shown(value)} is not {where}; did you mean {near!r}?"
    listed = ", ".join(map(repr, known[:8])) + (", ..." if len(known) > 8 else "")
    return f"{what}={shown(value)} is not {where}; there are: {listed or 'none'}."


def check_annotated(adata, *, copy):
    """Raise an error where results cannot be written into `adata`, before anything is computed."""
    if not is_annotated(adata) or not all(hasattr(adata, name) for name in ("obsm", "varm", "uns")):
        raise TypeError(f"adata is a {type(adata).__name__}; expected an AnnData, such as anndata.read_h5ad returns.")
    if getattr(adata, "isbacked", False) and (copy or adata.is_view):
        what = "copy=True" if copy else "adata is a view of an AnnData in a file, which"
        raise ValueError(
            f"{what} needs a copy of the file; make one by adata.copy(filename), or pass adata.to_memory()."
        )


def labels_of(adata, batch_key, what="batch_key"):
    """Return the column of obs that `batch_key` names, or a frame of several columns for a list of names.

    Parameters
    ----------
    adata : AnnData
    batch_key : str or list of str
    what : str, default="batch_key"
        The parameter that has the name.

    Raises
    ------
    ValueError
        A column is not there, or lacks labels.
    """
    if isinstance(batch_key, (list, tuple)) and len(batch_key) > 0:
        columns = [labels_of(adata, name) for name in batch_key]
        return columns[0] if len(columns) == 1 else adata.obs[list(batch_key)]
    if not isinstance(batch_key, str) or batch_key not in adata.obs.columns:
        raise ValueError(unknown_name(what, batch_key, "a column of adata.obs", adata.obs.columns))
    known_labels(adata.obs[batch_key], f"adata.obs[{batch_key!r}]", adata.shape[0])
    return adata.obs[batch_key]


@dataclass(frozen=True)
class Source:
    """Matrix that is factorised. It has the attributes by which estimators know an AnnData.

    Attributes
    ----------
    whole : sparse matrix, array, sparse matrix or array in a file, or Dask array, (n_obs, n_genes)
        All genes.
    genes : Index (n_genes,)
        Their names.
    is_used : ndarray (n_genes,) of bool, or None
        The genes that are fitted; None: all.
    obs : DataFrame
    is_raw : bool
    most_rows : int, default=None
        Maximum number of rows of a block.
    """

    whole: Any
    genes: Any
    is_used: Any
    obs: Any
    is_raw: bool
    most_rows: int | None = None

    @cached_property
    def X(self):
        """Return the matrix of the fitted genes, once; of a matrix in a file this would read all."""
        return self.whole if self.is_used is None else self.whole[:, np.flatnonzero(self.is_used)]

    @property
    def obs_names(self):
        """Return the names of the rows."""
        return self.obs.index

    @property
    def var_names(self):
        """Return the names of the fitted genes."""
        return self.genes if self.is_used is None else self.genes[self.is_used]

    @property
    def is_in_file(self):
        """Tell whether the matrix is in a file, of which rows are read as ``whole[lo:hi]``."""
        return hasattr(self.whole, "to_memory") or type(self.whole).__module__.startswith("h5py")

    @property
    def is_lazy(self):
        """Tell whether the matrix is a Dask array."""
        return hasattr(self.whole, "__dask_graph__")

    def in_memory(self):
        """Return the same with a matrix that is in memory."""
        whole = self.whole
        if self.is_in_file:
            whole = whole.to_memory() if hasattr(whole, "to_memory") else whole[()]
        return Source(whole, self.genes, self.is_used, self.obs, self.is_raw)

    def blocks(self, *, fitted=False):
        """Yield the rows as blocks of CSR, in their order, of all genes or of the `fitted` ones."""
        columns = np.flatnonzero(self.is_used) if fitted and self.is_used is not None else slice(None)
        for block in self._parts():
            block = sp.csr_array(block)[:, columns]
            if not block.has_canonical_format:
                block = block.copy()  # it may share its arrays with the user's
                block.sum_duplicates()
            yield block

    def _parts(self):
        X = self.whole
        if self.is_lazy:
            yield from (part.compute() for part in X.to_delayed().ravel())
            return
        X = X.tocsr() if sp.issparse(X) else X
        step = max(1, (_ENTRIES if sp.issparse(X) else _ENTRIES_READ) // max(X.shape[1], 1))
        step = min(step, self.most_rows or step)
        yield from (X[lo : lo + step] for lo in range(0, X.shape[0], step))


def source_of(adata, layer, use_raw, use_highly_variable, most_rows=None):
    """Return what is factorised.

    Parameters
    ----------
    adata : AnnData
    layer : str, or None
    use_raw, use_highly_variable : bool, or None
        As for `fastnmf.tl.nmf`.
    most_rows : int, or None
        Rows that are read of a file at a time, at most.

    Returns
    -------
    Source

    Raises
    ------
    ValueError
        There is no such layer, no raw, no column of highly variable genes, or the matrix cannot be factorised.
    """
    raw, where, X = getattr(adata, "raw", None), "adata.X", None
    if layer is not None:
        if use_raw:
            raise ValueError(f"layer={shown(layer)} and use_raw=True name two matrices; leave one of them out.")
        if not isinstance(layer, str) or layer not in adata.layers:
            raise ValueError(unknown_name("layer", layer, "a layer of adata", adata.layers))
        X, where = adata.layers[layer], f"adata.layers[{layer!r}]"
    elif not use_raw:
        X = adata.X
        if X is None:
            raise ValueError("adata.X is None, so there is nothing to factorise; pass layer=, or use_raw=True.")
        use_raw = use_raw is None and raw is not None and _least(X) < 0
    elif raw is None:
        raise ValueError("use_raw=True, but adata.raw is None; set adata.raw, pass layer=, or leave use_raw out.")
    X, holder = (raw.X, raw) if use_raw else (X, adata)
    if use_raw and not (raw.var_names.is_unique or raw.var_names.equals(adata.var_names)):
        raise ValueError(
            "adata.raw has several genes of one name, which adata lacks; make its var_names unique before raw is set."
        )
    if not use_raw and (least := _least(X)) < 0:
        raise ValueError(
            f"{where} has negative entries, the smallest is {least:g}, as scaled data do; pass layer= or use_raw=True, "
            "for counts or their logarithms."
        )
    if getattr(X, "format", "") == "csc" and hasattr(X, "to_memory"):
        raise ValueError(
            f"{where} is stored by columns (CSC), but rows are read; pass adata.to_memory(), or write it as CSR."
        )
    return Source(
        X, holder.var_names, _used_genes(holder.var, use_highly_variable), adata.obs, bool(use_raw), most_rows
    )


def _least(X):
    """Return the smallest entry of a matrix in memory, 0 of one that would have to be read or computed."""
    values = X.data if sp.issparse(X) else X
    return values.min() if isinstance(values, np.ndarray) and values.size else 0


def _used_genes(var, use_highly_variable):
    """Return a mask of the genes that are fitted, or None where all are."""
    is_there = "highly_variable" in var.columns
    if use_highly_variable and not is_there:
        raise ValueError(
            "use_highly_variable=True, but var has no column 'highly_variable'; run scanpy.pp.highly_variable_genes "
            "first, or leave use_highly_variable out."
        )
    if not is_there or use_highly_variable is False:
        return None
    is_used = marks_of(var["highly_variable"], "var['highly_variable']")
    if not is_used.any():
        raise ValueError("No gene is highly variable by var['highly_variable']; pass use_highly_variable=False.")
    return None if is_used.all() else is_used
