"""Write tables as CSV, TSV, JSON Lines or Parquet, and a fitted model as a folder of them."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from fastnmf import __version__, metrics
from fastnmf.data.labels import texts_of
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import dense_row
from fastnmf.data.writing import as_path, check_writable, replacing
from fastnmf.report.facts import feature_names_of
from fastnmf.report.groups import groups_of
from fastnmf.typing import FilePath, Labels, Names

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
MOST_CELLS = 10_000_000  # of the wide table of shifts; more are listed, without the zeros
SUMMARY = "summary.json"


def write_tables(
    model: Any,
    folder: FilePath,
    *,
    feature_names: Names | None = None,
    row_names: Labels | None = None,
    format: str = "csv",
    n: int = 10,
    inputs: Iterable[FilePath | None] = (),
) -> list[Path]:
    """Write a fitted model as a folder of tables, and its summary as JSON.

    ``topics`` (name, share and strongest features of each component), ``components`` (one row a feature, one column a
    component), ``weights`` (one row a training row), ``history``, for models with strata also ``strata`` and ``shifts``
    (one row a feature, one column a stratum or level; above ten million cells one row a non-zero entry) and, where
    strata have components of their own, ``own_components``; and ``summary.json``.
    What the model lacks is left out.

    Parameters
    ----------
    model : fitted estimator
    folder : str or path
        Is made if it does not exist; files of the same names in it are replaced, when all are complete.
    feature_names, row_names : sequence of str, default=None
        As for `write_report`; a model that the command line has fitted knows its own.
    format : {"csv", "tsv", "jsonl", "parquet"}, default="csv"
        Parquet needs pyarrow.
    n : int, default=10
        Features listed for each component and stratum.
    inputs : iterable of path or None, default=()
        Files that must not be replaced.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    ValueError
        The model is not fitted, names do not match it, or the format is not known.
    OSError
        The folder cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF
    >>> from fastnmf.report import write_tables
    >>> model = NMF(1, random_state=0).fit(np.outer([1.0, 2, 3], [1.0, 0, 2]))
    >>> files = write_tables(model, "folder", row_names=["a", "b", "c"])  # doctest: +SKIP
    """
    folder = check_folder(folder, format, inputs)
    tables = model_tables(model, feature_names, row_names, n)
    is_new = not folder.exists()
    with tempfile.TemporaryDirectory(dir=folder.parent if is_new else folder, prefix=f".{folder.name}.") as aside:
        names = [f"{name}.{format}" for name in tables]
        for name, table in zip(names, tables.values(), strict=True):
            write_table(table, Path(aside, name))
        Path(aside, SUMMARY).write_text(as_json(model_summary(model), indent=2) + "\n", encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for name in (*names, SUMMARY):
            os.replace(Path(aside, name), folder / name)
    return [folder / name for name in (*names, SUMMARY)]


def check_folder(folder, format="csv", inputs=()):
    """Raise where `write_tables` could not write, and return the folder as a path.

    Parameters
    ----------
    folder : str or path
    format : str, default="csv"
    inputs : iterable of path or None, default=()
        Files that must not be replaced.
    """
    folder = as_path(folder)
    if f".{format}" not in ENDINGS:
        known = ", ".join(ending[1:] for ending in ENDINGS)
        raise ValueError(f"format={shown(format)} is not known; expected one of {known}.")
    _check_packages(f".{format}")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, and the tables need a folder; give another path.")
    if not folder.exists():
        check_writable(folder)
        return folder
    for name in ("topics", "components", "weights", "history", "strata", "shifts", "own_components", "summary"):
        check_writable(folder / (SUMMARY if name == "summary" else f"{name}.{format}"), inputs)
    return folder


def model_tables(model, feature_names=None, row_names=None, n=10):
    """Return the tables of a fitted model: name -> dict of columns.

    Parameters
    ----------
    model : fitted estimator
    feature_names, row_names : sequence of str, or None
    n : int, default=10
        Features listed for each component and stratum.
    """
    if not hasattr(model, "n_features_in_") and not hasattr(model, "components_"):
        raise ValueError(f"Tables need a fitted model; this {type(model).__name__} is not: call fit.")
    has_levels = isinstance(getattr(model, "components_", None), list)  # a hierarchy: its finest level
    H = model.components_[0] if has_levels else getattr(model, "components_", None)
    H = H.sum(axis=0) if np.ndim(H) == 3 else H  # over lags
    W = model.S_[0] if has_levels else getattr(model, "W_", None)
    tables = {}
    if H is not None:
        names = np.array(feature_names_of(model, feature_names, H.shape[1]), dtype=object)
        usage = None if W is None or W.shape[1] != len(H) or H.min() < 0 else metrics.component_usage(W, H)[0]
        own = getattr(model, "topic_names_", None)
        own = metrics.topic_names(H, feature_names=names.astype(str)) if own is None else own
        tables["topics"] = {"topic": _topics(len(H)), "name": own, "share": usage}
        tables["topics"]["features"] = metrics.topic_names(H, n, by="weight", feature_names=names.astype(str))
        tables["components"] = {"feature": names} | _columns(H)
    groups = None if H is None else groups_of(model, W, H)
    if groups is not None:
        found = model.top_features(n, names.tolist())
        top = getattr(found, "strata", None)
        words = None if top is None else [" ".join(features) for features in top.values()]
        tables["strata"] = {"stratum": groups.labels, "rows": groups.sizes, "features": words}
        tables["shifts"] = _shifts(groups.V, groups.labels, names)
        if hasattr(found, "own"):
            own = model.own_components_.items()
            each = ((f"{label} own_{at}", dense_row(G, at)) for label, G in own for at in range(G.shape[0]))
            tables["own_components"] = {"feature": names} | dict(each)
    if W is not None:
        row_names = getattr(model, "row_names_", None) if row_names is None else row_names
        is_known = groups is not None and groups.stratum_index is not None
        strata = np.take(groups.labels, groups.stratum_index) if is_known else None
        tables["weights"] = weights_table(W, row_names, strata)
    if history := getattr(model, "history_", None):
        tables["history"] = {
            name if np.ndim(values) == 1 else f"{name}_{j}": column
            for name, values in history.items()
            for j, column in enumerate(np.reshape(values, (len(values), -1)).T)
        }
    return {
        name: {key: column for key, column in table.items() if column is not None} for name, table in tables.items()
    }


def weights_table(W, row_names=None, strata=None):
    """Return weights as columns: the name, or number, of each row, its stratum, and topics.

    Parameters
    ----------
    W : ndarray (n_rows, k)
    row_names : sequence of str, or None
    strata : ndarray (n_rows,), dict of them, or None
        Several factors have a column each.
    """
    if row_names is not None and np.ndim(row_names) != 1:
        raise ValueError(f"row_names is {shown(row_names)}; give a list with one name for each of the {len(W)} rows.")
    if row_names is not None and len(row_names) != len(W):
        raise ValueError(f"row_names has {len(row_names)} names for {len(W)} rows; give one for each.")
    columns = {"row": np.arange(len(W)) if row_names is None else row_names}
    topics = _columns(np.asarray(W).T)
    if isinstance(strata, Mapping):
        taken = {*columns, *topics}
        columns |= {f"stratum {name}" if name in taken else name: labels for name, labels in strata.items()}
    elif strata is not None:
        columns["stratum"] = strata
    return columns | topics


def _topics(k):
    return [f"topic_{c}" for c in range(k)]


def _columns(rows):
    return dict(zip(_topics(len(rows)), rows, strict=True))


def _shifts(V, labels, names):
    if V.shape[0] * V.shape[1] <= MOST_CELLS and "feature" not in labels:
        rows = V.toarray() if sparse.issparse(V) else V  # never-densify-ok: at most MOST_CELLS entries
        return {"feature": names} | dict(zip(labels, rows, strict=True))
    V = sparse.coo_array(V)
    return {"stratum": np.take(labels, V.coords[0]), "feature": names[V.coords[1]], "shift": V.data}


def model_summary(model):
    """Return what is to be said of a fitted model as a dict of plain values."""
    found = {
        "model": type(model).__name__,
        "fastnmf": __version__,
        "n_features": getattr(model, "n_features_in_", None),
        "n_rows": len(model.W_) if getattr(model, "W_", None) is not None else None,
        "n_components": getattr(model, "n_components_", getattr(model, "n_components", None)),
    }
    for name in ("normalized_loss", "reconstruction_err", "n_iter", "converged", "stopped_by"):
        found[name] = getattr(model, f"{name}_", None)
    history = getattr(model, "history_", {})
    found["seconds"] = float(history["seconds"][-1]) if len(history.get("seconds", ())) else None
    labels = getattr(model, "shift_names_", getattr(model, "strata_", None))
    if labels is not None:
        sizes = getattr(model, "stratum_sizes_", np.full(len(labels), np.nan))
        found["strata"] = dict(zip(texts_of(np.asarray(labels)), sizes, strict=True))
    source = getattr(model, "source_", None)
    if isinstance(source, Mapping):  # what is long, such as a vocabulary, is in the file of the model
        found["source"] = {name: value for name, value in source.items() if np.size(value) < 20 and value is not None}
    found["parameters"] = {name: value for name, value in model.get_params(deep=False).items() if value is not None}
    return {name: value for name, value in found.items() if value is not None}


def as_json(value, indent=None):
    """Return a value with NumPy's arrays and numbers as JSON; numbers that are not finite become null."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False)


def _plain(value):
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def check_table(path, inputs=()):
    """Raise where `write_table` could not write to `path`; ``-`` is standard output."""
    if str(path) == "-":
        return
    _check_packages(_ending(path))
    check_writable(path, inputs)


def _ending(path):
    ending = as_path(path).suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"{path} ends in {ending!r}; a table is {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.")
    return ending


def _check_packages(ending):
    if ending == ".parquet" and find_spec("pyarrow") is None:
        raise ValueError("Parquet needs pyarrow, which is not installed: pip install pyarrow, or write CSV.")


def write_table(table, path):
    """Write a table, a dict of columns, completely or not at all, in the format of the ending; ``-`` prints CSV."""
    if str(path) == "-":
        _write_csv(table, sys.stdout, ",")
        return
    ending = _ending(path)
    with replacing(path) as file:
        if ending == ".parquet":
            import pyarrow
            import pyarrow.parquet

            arrays = {name: pyarrow.array(_typed(column)) for name, column in table.items()}
            pyarrow.parquet.write_table(pyarrow.table(arrays), file)
            return
        text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="", write_through=True)
        if ending == ".jsonl":
            for row in zip(*(_plain(np.asarray(column)) for column in table.values()), strict=True):
                text.write(json.dumps(dict(zip(table, row, strict=True)), ensure_ascii=False) + "\n")
        else:
            _write_csv(table, text, "\t" if ending == ".tsv" else ",")
        text.detach()


def _write_csv(table, file, delimiter):
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*map(_texts, table.values()), strict=True))


def _typed(column):
    column = np.asarray(column)
    return column if column.dtype.kind in "fiub" else [str(each) for each in column.tolist()]


def _texts(column):
    """Return the shortest texts of numbers that are read as the same numbers, and all else as it is."""
    column = np.asarray(column)
    return np.where(np.isnan(column), "", column.astype(str)).tolist() if column.dtype.kind == "f" else column.tolist()
