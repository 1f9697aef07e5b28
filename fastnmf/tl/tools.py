"""Fit a model to an AnnData and write its factors, their names, parameters and diagnostics into it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.core.init.start_from import labels_of_shifts
from fastnmf.core.options import check_integer
from fastnmf.data.ondisk import open_csr, save_csr
from fastnmf.data.sentences import shown
from fastnmf.models.base.chunked import refuse
from fastnmf.models.nmf import NMF
from fastnmf.models.stratified import StratifiedNMF
from fastnmf.selection.consensus import consensus as find_consensus
from fastnmf.tl.markers import marker_scores, shares, usage_of
from fastnmf.tl.source import check_annotated, labels_of, source_of, unknown_name
from fastnmf.typing import Annotated, Seed, Vector

_CHUNK_ENTRIES = 10_000_000  # stored entries of a chunk of a file, as of `open_csr`


def nmf(
    adata: Annotated,
    n_components: int = 10,
    *,
    layer: str | None = None,
    use_raw: bool | None = None,
    use_highly_variable: bool | None = None,
    key_added: str = "nmf",
    copy: bool = False,
    chunk_rows: int | None = None,
    **parameters: Any,
) -> Any:
    """Find the gene programmes of cells by `fastnmf.NMF`, and write them into the AnnData.

    Parameters
    ----------
    adata : AnnData (n_obs, n_vars)
        Cells and genes: counts, or their logarithms, non-negative. X may be in a file (``backed``) or a Dask array.
    n_components : int, default=10
        Number k of programmes, >= 1.
    layer : str, default=None
        Layer to factorise instead of X.
    use_raw : bool, default=None
        Whether to factorise ``adata.raw`` instead. None: only if X has negative entries, as scaled data do.
    use_highly_variable : bool, default=None
        Whether to use only the genes marked in ``var["highly_variable"]``. None: if there is such a column, as in
        ``scanpy.pp.pca``.
    key_added : str, default="nmf"
        Prefix of the keys that are written; see Notes.
    copy : bool, default=False
        Whether to write the results into a copy of `adata`.
    chunk_rows : int, default=None
        Rows of a file that are in memory at a time; None: those with about 10 million stored entries.
    **parameters
        Parameters of `fastnmf.NMF`, such as ``beta_loss="kullback-leibler"``, which for these tools implies
        ``solver="mu"``, and ``random_state``.

    Returns
    -------
    AnnData or None
        The copy, with ``copy=True``.

    Raises
    ------
    ValueError, TypeError
        For a layer, a column, labels, a parameter or data that cannot be used. Nothing is written in that case.

    Notes
    -----
    With ``key_added="nmf"``:

    - ``obsm["X_nmf"]`` (n_obs, k): the weights W, bit for bit those of
      ``NMF(n_components, **parameters).fit(adata, layer=layer)``, if all genes are fitted, in memory.
    - ``obsm["X_nmf_usage"]`` (n_obs, k): the share of each programme in what the programmes explain of the cell. Rows
      sum to one, or to zero in a cell that uses none.
    - ``varm["nmf_components"]`` (n_vars, k): the programmes, Hᵀ. Genes that were not fitted have zeros, as in
      ``varm["PCs"]`` of scanpy.
    - ``varm["nmf_markers"]`` (n_vars, k): scores of all genes, the coefficients of the least-squares regression of the
      z-scores of a gene on the usages, as in cNMF: by how many standard deviations the gene is higher for one count
      more of the programme. Counts are divided by the sum of their cell first.
    - ``uns["nmf"]``: ``params``, ``genes`` (names of the fitted genes), ``usage`` (mean of the shares), ``n_iter``,
      ``converged``, ``stopped_by``, ``reconstruction_err``, ``normalized_loss``, ``history``.

    All of it is written by ``adata.write_h5ad``. If ``adata.raw`` with different genes is factorised,
    ``adata.raw.varm`` has the rows of all its genes, and ``adata.varm`` those of the genes of ``adata``.

    *A file*: an X in a file is read in blocks of rows, and copied to a temporary folder (in TMPDIR; up to 24
    bytes per stored entry), from which the fit reads one chunk at a time. Memory holds a chunk, and what is written.
    From the same start the result is that in memory up to rounding; what needs all rows at once, such as ``n_init``
    above 1, is refused.
    *Dask*: ``fastnmf.dask`` fits X on the workers of the current client.

    References
    ----------
    D. Kotliar et al., "Identifying gene expression programs of cell-type identity and cellular activity with
    single-cell RNA-Seq", eLife 2019, doi:10.7554/eLife.43803 (cNMF).

    Examples
    --------
    >>> from fastnmf import tl
    >>> tl.nmf(adata, n_components=12, layer="counts", random_state=0)  # doctest: +SKIP
    >>> scanpy.pp.neighbors(adata, use_rep="X_nmf")  # doctest: +SKIP
    """
    given = {"layer": layer, "use_raw": use_raw, "use_highly_variable": use_highly_variable}
    return _run(NMF, adata, None, n_components, given, parameters, key_added, copy, chunk_rows=chunk_rows)


def stratified_nmf(
    adata: Annotated,
    batch_key: str | Sequence[str],
    n_components: int = 10,
    *,
    exposure: str | Vector | None = None,
    layer: str | None = None,
    use_raw: bool | None = None,
    use_highly_variable: bool | None = None,
    key_added: str = "nmf",
    copy: bool = False,
    chunk_rows: int | None = None,
    **parameters: Any,
) -> Any:
    """Find the gene programmes that all batches share, and the shift of each batch, by `fastnmf.StratifiedNMF`.

    Parameters
    ----------
    adata : AnnData (n_obs, n_vars)
        As for `nmf`.
    batch_key : str, or list of str
        Column of obs with the batch, the donor or another group of each cell. A list of several columns crosses them,
        as in `StratifiedNMF.fit`: a shift for each batch and one for each donor.
    n_components, layer, use_raw, use_highly_variable, key_added, copy, chunk_rows :
        As for `nmf`.
    exposure : str or array-like (n_obs,), default=None
        Column of obs with the depth of each cell, such as ``"total_counts"``, or numbers >= 0: the shift of a cell is
        multiplied by it, as in `StratifiedNMF.fit`. None: 1 for all cells.
    **parameters
        Parameters of `fastnmf.StratifiedNMF`, such as ``gauge="max_shift"``.

    Returns
    -------
    AnnData or None
        The copy, with ``copy=True``.

    Raises
    ------
    ValueError, TypeError
        As for `nmf`.

    Notes
    -----
    What `nmf` writes, and in ``uns["nmf"]``: ``strata``, the sorted labels (the `shift_names_` of several columns),
    ``stratum_sizes``, and ``shifts`` (n_strata, n_genes), in the order of ``strata`` and ``genes``. Usages and scores
    leave the shifts out: a usage is a share of what the programmes explain. With `n_own` or `own` also
    ``own_components``, a dict of batch -> array (k_i, n_genes) for the batches that have some, and ``own_weights``
    (n_obs, sum of k_i), sparse, the attribute `own_W_` of `StratifiedNMF`.

    Examples
    --------
    >>> from fastnmf import tl
    >>> tl.stratified_nmf(adata, batch_key="batch", n_components=12, layer="counts")  # doctest: +SKIP
    >>> found = adata.uns["nmf"]  # doctest: +SKIP
    >>> pandas.DataFrame(found["shifts"], found["strata"], found["genes"])  # doctest: +SKIP
    """
    given = {"layer": layer, "use_raw": use_raw, "use_highly_variable": use_highly_variable}
    more = {"chunk_rows": chunk_rows, "exposure": exposure}
    return _run(StratifiedNMF, adata, batch_key, n_components, given, parameters, key_added, copy, **more)


def consensus(
    adata: Annotated,
    batch_key: str | None = None,
    n_components: int = 10,
    *,
    n_runs: int = 30,
    density_threshold: float = 0.5,
    neighbors: float = 0.3,
    n_jobs: int | None = None,
    random_state: Seed = None,
    verbose: int = 0,
    layer: str | None = None,
    use_raw: bool | None = None,
    use_highly_variable: bool | None = None,
    key_added: str = "nmf",
    copy: bool = False,
    **parameters: Any,
) -> Any:
    """Find the gene programmes on which many fits agree, by `fastnmf.consensus`, and write them into the AnnData.

    Parameters
    ----------
    adata : AnnData (n_obs, n_vars)
        As for `nmf`. An X in a file is read into memory, and a Dask array is rejected.
    batch_key : str, default=None
        Column of obs with the batch of each cell, for `fastnmf.StratifiedNMF`; None: `fastnmf.NMF` without batches.
    n_components : int, default=10
        Programmes of every fit, and of the consensus.
    n_runs, density_threshold, neighbors, n_jobs, random_state, verbose :
        As for `fastnmf.consensus`.
    layer, use_raw, use_highly_variable, key_added, copy :
        As for `nmf`.
    **parameters
        Parameters of the estimator.

    Returns
    -------
    AnnData or None
        The copy, with ``copy=True``.

    Raises
    ------
    ValueError, TypeError
        As for `nmf` and `fastnmf.consensus`.

    Notes
    -----
    What `nmf` writes, or with batches `stratified_nmf`, and ``uns["nmf"]["consensus"]``: ``agreement``,
    ``silhouette``, ``usage`` and ``n_members`` of each programme, ``stability``, ``losses`` of the runs, and the number
    of components that were dropped, ``n_dropped``.

    Examples
    --------
    >>> from fastnmf import tl
    >>> tl.consensus(adata, "batch", 12, n_runs=100, layer="counts", random_state=0)  # doctest: +SKIP
    """
    given = {"layer": layer, "use_raw": use_raw, "use_highly_variable": use_highly_variable}
    options = {"n_runs": n_runs, "density_threshold": density_threshold, "neighbors": neighbors}
    options |= {"n_jobs": n_jobs, "random_state": random_state, "verbose": verbose}
    kind = NMF if batch_key is None else StratifiedNMF
    return _run(kind, adata, batch_key, n_components, given, parameters, key_added, copy, options=options)


def _run(
    kind,
    adata,
    batch_key,
    n_components,
    given,
    parameters,
    key_added,
    copy,
    *,
    options=None,
    chunk_rows=None,
    exposure=None,
):
    """Check what was given, fit, and write the results.

    Parameters
    ----------
    kind : type
        `NMF` or `StratifiedNMF`.
    adata, n_components, key_added, copy, chunk_rows :
        As for `nmf`.
    batch_key : str, or None
    given : dict
        ``layer``, ``use_raw``, ``use_highly_variable``.
    parameters : dict
        Of the estimator.
    options : dict, or None
        Those of a consensus.
    exposure : str, array-like (n_obs,), or None

    Returns
    -------
    AnnData or None
    """
    check_annotated(adata, copy=copy)
    if not isinstance(key_added, str) or not key_added or "/" in key_added:
        raise ValueError(f"key_added={shown(key_added)} is not a key; expected a text without '/', such as 'nmf'.")
    if chunk_rows is not None:
        check_integer("chunk_rows", chunk_rows)
    labels = None if kind is NMF else labels_of(adata, batch_key)
    rows = {} if labels is None else {"strata": labels}
    if exposure is not None:
        rows["exposure"] = labels_of(adata, exposure, "exposure").to_numpy() if isinstance(exposure, str) else exposure
    model = _model(kind, n_components, parameters)
    params = {
        "method": kind.__name__,
        "batch_key": batch_key,
        "exposure": exposure if isinstance(exposure, str) else None if exposure is None else np.asarray(exposure),
        **given,
        **model.get_params(deep=False),
        **(options or {}),
    }
    source = source_of(adata, *given.values(), chunk_rows)
    if options is not None:
        model, found = _consensus(model, source, labels, options)
    elif source.is_lazy:
        model, found = _fitted_on_dask(kind, model, source, rows), {}
    elif source.is_in_file:
        model, found = _fitted_from_file(model, source, rows, chunk_rows), {}
    else:
        model, found = model.fit(source, **rows), {}
    usage = usage_of(model.W_, model.components_)
    markers = marker_scores(source, usage)
    params |= {"use_raw": source.is_raw, "use_highly_variable": source.is_used is not None}
    result = adata.copy() if copy else adata
    _write(result, source, model, usage, markers, key_added)
    result.uns[key_added] = _storable({"params": params, **_diagnostics(model, source, shares(usage)), **found})
    return result if copy else None


def _model(kind, n_components, parameters):
    """Return the estimator; raise TypeError for a parameter that it has not."""
    known = kind().get_params(deep=False)
    for name in parameters:
        if name not in known:
            raise TypeError(unknown_name("The parameter name", name, f"one of {kind.__name__} or of this tool", known))
    if parameters.get("beta_loss", "frobenius") not in ("frobenius", 2):
        parameters = {"solver": "mu"} | parameters  # the only solver of other losses
    return kind(n_components, **parameters)


def _fitted_from_file(model, source, rows, chunk_rows):
    """Return the model, fitted to a temporary copy of the fitted genes, chunk by chunk.

    A file of an AnnData is often compressed, and an iteration reads each chunk: so it is read once, and copied.

    Parameters
    ----------
    model : NMF or StratifiedNMF
    source : Source
    rows : dict
        ``strata`` and ``exposure``, as far as given.
    chunk_rows : int, or None
    """
    refuse(model, rows, model._checked_options(), "adata is in a file", "pass adata.to_memory()")
    blocks = source.blocks(fitted=True)
    first = next(blocks)
    usual = int(_CHUNK_ENTRIES * first.shape[0] / max(first.nnz, 1))
    with tempfile.TemporaryDirectory(prefix="fastnmf-", ignore_cleanup_errors=True) as folder:
        save_csr(chain([first], blocks), folder, columns=min(chunk_rows or max(usual, 1), len(source.obs)))
        X = open_csr(folder)
        X.feature_names = source.var_names
        model.fit(X, **rows)
        model.W_ = np.array(model.W_)  # it may be in a temporary file
    return model


def _fitted_on_dask(kind, model, source, rows):
    """Return the model of the plain class, fitted by `fastnmf.dask`, with its weights in memory.

    Parameters
    ----------
    kind : type
        NMF or StratifiedNMF.
    model : NMF or StratifiedNMF
        Not fitted; its parameters count.
    source : Source
    rows : dict
        ``strata`` and ``exposure``, as far as given.
    """
    from fastnmf import dask

    return getattr(dask, kind.__name__)(**model.get_params(deep=False)).fit(source, **rows).to_local(weights=True)


def _consensus(model, source, labels, options):
    """Return the model of a consensus, and a dict of what it reports.

    Parameters
    ----------
    model : NMF or StratifiedNMF
        Not fitted; its parameters count.
    source : Source
    labels : Series (n_obs,), or None
    options : dict
        Those of `fastnmf.consensus`.
    """
    if source.is_lazy:
        raise TypeError("adata.X is a Dask array, but many fits need it in memory; pass adata.to_memory().")
    found = find_consensus(source.in_memory(), labels, model.n_components, estimator=model, **options)
    names = ("agreement", "silhouette", "usage", "n_members", "stability", "losses")
    about = {name: getattr(found, name) for name in names}
    return found.model, {"consensus": about | {"n_dropped": int((~found.kept).sum())}}


def _write(adata, source, model, usage, markers, key):
    """Write the arrays of the fit into obsm and varm.

    Parameters
    ----------
    adata : AnnData
    source : Source
    model : NMF or StratifiedNMF
    usage : ndarray (n_obs, k)
    markers : ndarray (n_genes, k)
    key : str
    """
    adata.obsm[f"X_{key}"], adata.obsm[f"X_{key}_usage"] = model.W_, shares(usage)
    components = np.zeros(markers.shape, model.components_.dtype)
    components[slice(None) if source.is_used is None else source.is_used] = model.components_.T
    has_own_genes = source.is_raw and not source.genes.equals(adata.var_names)
    place = source.genes.get_indexer(adata.var_names) if has_own_genes else None
    for name, array in (("components", components), ("markers", markers)):
        if has_own_genes:
            adata.raw.varm[f"{key}_{name}"] = array
            array = np.where(place[:, None] >= 0, array[place], 0)
        adata.varm[f"{key}_{name}"] = array


def _diagnostics(model, source, usage):
    found = {"genes": np.asarray(source.var_names, dtype=object), "usage": usage.mean(axis=0)}
    if model._has_shifts:
        shifts = model.shifts_
        shifts = sp.csr_matrix(shifts) if sp.issparse(shifts) else shifts
        found |= {"strata": labels_of_shifts(model), "stratum_sizes": model.stratum_sizes_, "shifts": shifts}
    if hasattr(model, "own_components_"):
        each = model.own_components_.items()
        found["own_components"] = {label: sp.csr_matrix(G) if sp.issparse(G) else G for label, G in each if G.shape[0]}
        if hasattr(model, "own_W_"):
            found["own_weights"] = sp.csr_matrix(model.own_W_)
    names = ("n_iter", "converged", "stopped_by", "reconstruction_err", "normalized_loss", "history")
    return found | {name: getattr(model, f"{name}_") for name in names}


def _storable(value):
    """Return a value as one that ``write_h5ad`` writes: None is left out, and what is not data becomes its text."""
    if isinstance(value, Mapping):
        return {str(name): _storable(each) for name, each in value.items() if each is not None}
    if isinstance(value, (bool, int, float, str, np.generic)) or sp.issparse(value):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(each, (int, float)) for each in value):
        return np.array(value)
    if not isinstance(value, np.ndarray):
        return shown(value)
    return value if value.dtype.kind in "biufU" else value.astype(str).astype(object)
