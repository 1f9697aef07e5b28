"""Read data as people have them: tables of texts, ratings or numbers, counts of cells, matrices.

`read` goes by the ending of a file. Each kind has its own function here; all return `Readings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.data.ondisk import DiskCSR, open_csr, save_csr
from fastnmf.data.readings import Readings
from fastnmf.data.sentences import shown
from fastnmf.io import cells, columns, matrices, texts
from fastnmf.io.columns import as_labels, numbers_of, open_table, present, texts_of
from fastnmf.io.files import ending, input_path
from fastnmf.io.matrices import as_data, read_labels, read_lines, read_matrix
from fastnmf.io.ratings import codes_of, of_known_items, one_of_each, summed
from fastnmf.io.rows import Exposure, Rows, Strata, as_names, order_of
from fastnmf.io.source import DUPLICATES, KINDS, check_given, names_in, record
from fastnmf.typing import File, FilePath

__all__ = ["Readings", "read", "read_labels", "read_lines", "read_matrix"]

_OF_TABLES = ("texts", "triplets", "table")  # kinds that one file may be read as


def read(
    path: FilePath,
    *,
    kind: str | None = None,
    strata: Any = None,
    text: str | None = None,
    title: str | None = None,
    names: str | None = None,
    triplets: str | Sequence[str] | None = None,
    layer: str | None = None,
    use_highly_variable: bool = False,
    raw: bool = False,
    transpose: bool = False,
    vectorizer: Any = None,
    duplicates: str = "sum",
    source: dict[str, Any] | None = None,
    folder: File = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    exposure: Any = None,
) -> Readings:
    """Read a file of texts, ratings, counts of cells, or numbers as a matrix with names and strata.

    Parameters
    ----------
    path : str or path
        A table, ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson``, each also compressed as ``.gz``, or ``.parquet``; cells,
        ``.h5ad``, an ``.h5`` or a folder of 10x Genomics' Cell Ranger; a matrix, ``.npz`` of SciPy, ``.npy``, ``.mtx``,
        ``.mtx.gz`` or a folder of `save_csr`.
    kind : {"texts", "table", "triplets", "cells", "matrix"}, default=None
        None: "texts" if `text` is given, "triplets" if `triplets` is, the kind of `source`, or else by the ending,
        where a table is read as numbers.
    strata : str, path, array-like (n_rows,), or a list or dict of several, default=None
        A column of a table, or of ``obs`` of an ``.h5ad``; or a file with one label per line, or ``.npy``; or labels. A
        list of columns or files, or a dict of labels, gives several factors, which `StratifiedNMF` fits as crossed.
    text, title : str, default=None
        Columns of a table: texts, whose words are counted, and their titles.
    names : str, default=None
        Column of a table with the names of the rows. None: the first column if it has no name, as pandas writes it.
    triplets : str or sequence of str, default=None
        Columns of a table of ratings, ``"user,item,rating"``; a fourth is the stratum of the user; without the third
        each line counts 1. Users are the rows, in the order in which they appear.
    layer : str, default=None
        Layer of an ``.h5ad`` instead of its X.
    use_highly_variable : bool, default=False
        Whether only the features that ``var["highly_variable"]`` marks are read from an ``.h5ad``.
    raw : bool, default=False
        Whether ``raw`` of an ``.h5ad`` is read.
    transpose : bool, default=False
        Whether the columns of a matrix, or of a table of numbers, are the samples. (10x folders are always transposed.)
    vectorizer : dict, TfidfVectorizer or CountVectorizer, default=None
        Options of scikit-learn's TfidfVectorizer, such as ``{"min_df": 5, "stop_words": "english"}``, and
        ``"counts": True`` for counts instead of TF-IDF; or an unfitted vectorizer, of which a copy is used.
        ``"tfidf": "max"`` is the formula of textbooks, ``count / largest count of the text * log2(texts / texts with
        the word)``, instead of scikit-learn's, which scales rows to length one.
    duplicates : {"sum", "mean", "raise"}, default="sum"
        How several ratings of one item by one user are combined.
    source : dict, default=None
        `source` of an earlier result, or ``model.source_``: texts are counted in its vocabulary, with its weights, and
        columns are put into the order of its names. Columns and options that are not given are those of the record.
    folder : str or path, default=None
        Folder to which `save_csr` writes the matrix; `data` is then the DiskCSR of `open_csr`, `texts` is None, and
        only some rows are in memory at a time. (Ratings take 16 bytes each, texts are read twice, an ``.h5ad`` in CSC
        is read whole.)
    encoding : str, default=None
        Encoding of a text file; None means UTF-8.
    delimiter : str, default=None
        Delimiter of a table. None: a tab for ``.tsv``; else a comma, or ``;``, a tab or ``|`` where the header has no
        comma.
    exposure : str, path or array-like (n_rows,), default=None
        Size of each row, as `StratifiedNMF.fit` takes it: a column of a table or of ``obs``, which then is no feature;
        or a file with one number per line, or ``.npy``; or numbers.

    Returns
    -------
    found : Readings
        Pass it on as it is: ``StratifiedNMF(20).fit(found)``. Estimators, reports and selections take it as X, with its
        labels and names, and a fitted model keeps `source` as ``source_``, also in its file. Its attributes are `data`,
        csr_array (n_rows, n_features) of float64, or float32 where the file holds that, or an array where the file
        holds a dense one; `strata` (n_rows,), or a dict of factor -> labels, or None; `exposure` (n_rows,) of float64,
        or None; `feature_names`, `row_names`, `texts` and `titles`, arrays of str, or None; `source`, a dict of plain
        values and arrays.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ModuleNotFoundError
        Parquet needs pyarrow, ``pip install fastnmf[io]``; cells need anndata, ``pip install fastnmf[anndata]``.
    ValueError, TypeError
        The ending is not known, the file is damaged or empty, a column is missing, or a row lacks a requested value.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import fastnmf
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "posts.csv"
    >>> _ = path.write_text("text,group\\nshort posts,a\\nlong posts,b\\n")
    >>> posts = fastnmf.read(path, text="text", strata="group")
    >>> posts.feature_names.tolist(), posts.strata.tolist(), posts.shape
    (['long', 'posts', 'short'], ['a', 'b'], (2, 3))
    >>> model = fastnmf.StratifiedNMF(1, random_state=0).fit(posts)
    >>> model.transform(fastnmf.read(path, source=model.source_)).shape
    (2, 1)
    """
    path = input_path(path)
    given = {
        "strata": strata,
        "text": text,
        "title": title,
        "names": names,
        "triplets": _as_triplets(triplets),
        "layer": layer,
        "use_highly_variable": use_highly_variable,
        "raw": raw,
        "transpose": transpose,
        "vectorizer": vectorizer,
        "duplicates": duplicates,
        "source": None if source is None else check_given(source),
        "folder": folder,
        "encoding": encoding,
        "delimiter": delimiter,
        "exposure": exposure,
    }
    kind = _kind_of(path, kind, given)
    _check_options(path, kind, given)
    given = _with_source(kind, given)
    readers = {"texts": _texts, "table": _table, "triplets": _triplets, "cells": _cells, "matrix": _matrix}
    return readers[kind](path, given)


_OPTIONS = {  # what only some kinds use, so that nothing that is given is ignored
    "text": ("texts",),
    "title": ("texts",),
    "names": ("texts", "table"),
    "triplets": ("triplets",),
    "layer": ("cells",),
    "use_highly_variable": ("cells",),
    "raw": ("cells",),
    "transpose": ("table", "matrix"),
    "vectorizer": ("texts",),
    "encoding": _OF_TABLES,
    "delimiter": _OF_TABLES,
}


def _as_triplets(given):
    if given is None:
        return None
    is_text, is_list = isinstance(given, str), isinstance(given, (list, tuple))
    found = tuple(name.strip() for name in given.split(",")) if is_text else tuple(given) if is_list else ()
    if not 2 <= len(found) <= 4 or not all(isinstance(name, str) for name in found) or len(set(found)) < len(found):
        raise ValueError(
            f"triplets={shown(given)} is not valid; expected names of different columns, 'user,item,rating' or "
            "'user,item,rating,strata'."
        )
    return found


def _kind_of(path, kind, given):
    """Return the kind of a file: the requested one, or by the given columns, the record, the ending."""
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind={shown(kind)} is not valid; expected one of {', '.join(map(repr, KINDS))}.")
    if given["text"] is not None and given["triplets"] is not None:
        raise ValueError("text and triplets are both given; a table holds texts or ratings, so leave one out.")
    of_ending = _kind_of_ending(path)
    if kind is None and of_ending in (None, "table"):
        kind = "texts" if given["text"] is not None else "triplets" if given["triplets"] is not None else of_ending
        if of_ending == kind == "table" and given["source"] is not None and given["source"]["kind"] in _OF_TABLES:
            kind = given["source"]["kind"]
    kind = kind or of_ending
    if kind == "texts" and given["source"] is not None and given["source"]["kind"] != kind:
        raise ValueError(f"source is of {given['source']['kind']}, which has no vocabulary for texts; leave it out.")
    if kind is None or of_ending is None and kind in ("cells", "matrix"):
        endings = ", ".join((*columns.ENDINGS, *cells.ENDINGS, *matrices.ENDINGS))
        raise ValueError(f"{path} ends in {path.suffix!r}; expected a folder of 10x Genomics or one of {endings}.")
    return kind


def _kind_of_ending(path):
    if path.is_dir():
        return "matrix" if (path / "shape.npy").exists() else "cells"
    found = ending(path)
    known = (("table", columns.ENDINGS), ("cells", cells.ENDINGS), ("matrix", matrices.ENDINGS))
    return next((kind for kind, endings in known if found in endings), None)


def _check_options(path, kind, given):
    for name, kinds in _OPTIONS.items():
        if given[name] is not None and given[name] is not False and kind not in kinds:
            raise ValueError(
                f"{name}={shown(given[name])} is for {' or '.join(kinds)}, but {path} is read as {kind}; leave it out."
            )
    needed = {"texts": "text", "triplets": "triplets"}.get(kind)
    if needed is not None and given[needed] is None and (given["source"] or {}).get("kind") != kind:
        raise ValueError(f"kind={kind!r} needs {needed}, which names {needed} of {path}; give {needed}.")
    if given["duplicates"] not in DUPLICATES:
        raise ValueError(f"duplicates={shown(given['duplicates'])} is not valid; expected 'sum', 'mean' or 'raise'.")
    if given["vectorizer"] is not None and (given["source"] or {}).get("kind") == "texts":
        raise ValueError("vectorizer and source are both given; the source has the vectorizer, so leave one out.")


def _with_source(kind, given):
    """Return the arguments, and what is not given as the record has it; columns of the record may be missing."""
    source = given["source"]
    given = given | {"known": None if source is None else names_in(source), "may_lack": set()}
    if source is None or source["kind"] != kind:
        return given
    names = [name for name, kinds in _OPTIONS.items() if kind in kinds and name not in ("vectorizer", "names")]
    kept = {name: source[name] for name in names if given[name] is None or given[name] is False}
    names = ("strata", "exposure", "title", "names")
    optional = {name: source[name] for name in names if given[name] is None and source[name]}
    if isinstance(optional.get("strata"), list):
        optional["strata"] = tuple(optional["strata"])  # columns, whatever the file has
    if kind == "triplets" and given["duplicates"] == "sum":
        kept["duplicates"] = source["duplicates"]
    return given | kept | optional | {"may_lack": set(optional)}


def _result(data, source, **values):
    empty = dict.fromkeys(("strata", "exposure", "feature_names", "row_names", "texts", "titles"))
    found = Readings(**{"data": data} | empty | values | {"source": source})
    if isinstance(data, DiskCSR):
        data.feature_names = found.feature_names  # for fits to the matrix alone
    return found


def _kept(data, folder):
    """Return what save_csr made of blocks of rows in a folder, or the blocks one below the other."""
    if folder is not None:
        return save_csr(data, folder)
    blocks = list(data)
    if all(sp.issparse(block) for block in blocks):
        return blocks[0] if len(blocks) == 1 else sp.csr_array(sp.vstack(blocks, format="csr"))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


# ---------------------------------------------------------------- the kinds


def _texts(path, given):
    table, column, folder = _open(path, given), given["text"], given["folder"]
    table.known(column)
    rows, known = Rows(table, given), given["source"]

    def chunks(rows=None):
        for places, chunk in table.chunks([column, *(rows.wanted if rows else ())]):
            if rows:
                rows.add(places, chunk)
            yield texts_of(table, column, places, chunk[column])
        if rows:
            rows.result()  # raises while nothing is written yet

    options = None if known else texts.parameters_of(given["vectorizer"])
    found = None
    if folder is not None:
        made = known or texts.fit(chunks(), options)
        data = save_csr(map(texts.transformer(made), chunks(rows)), folder)
    else:
        found = [each for part in chunks(rows) for each in part]
        if known:
            data, made = texts.transformer(known)(found), known
        else:
            try:
                data, made = texts.fit_transform(found, options)
            except ValueError as error:
                said = " ".join(str(error).split()).rstrip(".")
                raise ValueError(f"The texts in {column!r} of {path} yield no matrix: {said}.") from None
    state = {name: made[name] for name in ("vectorizer", "vocabulary", "idf")}
    source = _record("texts", given, rows.columns, text=column, **state)
    found = None if found is None else as_names(found)
    return _result(data, source, feature_names=made["vocabulary"], texts=found, **rows.result())


def _table(path, given):
    table = _open(path, given)
    if given["names"] is None:
        given = given | {"names": table.index_column()}
    rows, is_turned = Rows(table, given), given["transpose"]
    names = [name for name in table.names if name not in rows.wanted and name not in table.index]
    if not names:
        raise ValueError(f"{path} has no column of numbers; give a table with one, or name a column by text.")
    order = None if is_turned else order_of(names, given["known"], path)
    names = names if order is None else [names[place] for place in order]

    def blocks():
        for places, chunk in table.chunks([*names, *rows.wanted]):
            rows.add(places, chunk)
            try:
                columns = [numbers_of(table, name, places, chunk[name]) for name in names]
            except ValueError as error:
                raise ValueError(f"{str(error).removesuffix('.')}{_advice(names, chunk)}.") from None
            yield sp.csr_array(np.column_stack(columns))
        if not is_turned:
            rows.result()  # raises while nothing is written yet

    if not is_turned:
        data = _kept(blocks(), given["folder"])
        source = _record("table", given, rows.columns, feature_names=as_names(names))
        return _result(data, source, feature_names=as_names(names), **rows.result())
    for argument, columns_ in (("strata", rows.strata.columns), ("exposure", [rows.exposure.column])):
        if any(column is not None for column in columns_):
            raise ValueError(f"The columns of {path} are the samples; give their {argument} as a file or an array.")
    data = sp.csr_array(_kept(blocks(), None).T)
    found = as_names(rows.found["names"]) if "names" in rows.found else None
    order = None if found is None else order_of(found, given["known"], path)
    data, found = (data, found) if order is None else (data[:, order], found[order])
    data = data if given["folder"] is None else save_csr(data, given["folder"])
    source = _record("table", given, rows.columns, feature_names=found)
    strata, exposure = rows.strata.labels(len(names), None), rows.exposure.numbers(len(names), None)
    return _result(data, source, strata=strata, exposure=exposure, feature_names=found, row_names=as_names(names))


def _advice(names, chunk):
    """Return the end of the sentence that refuses a column of words in a table of numbers.

    Parameters
    ----------
    names : list of str
        The columns that were taken for numbers.
    chunk : dict of str to sequence
        Their values.
    """
    lengths = {
        name: max((len(each) for each in chunk[name][:50] if isinstance(each, str)), default=0) for name in names
    }
    longest = max(lengths, key=lengths.get)
    if not any(" " in each for each in chunk[longest][:50] if isinstance(each, str)):
        return "; name a column of groups by strata='NAME', of row names by names='NAME', of texts by text='NAME'"
    return f"; for texts name their column, such as text={longest!r}, and that of their groups, strata='NAME'"


def _triplets(path, given):
    table, (user, item, *more) = _open(path, given), given["triplets"]
    rating = more[0] if more else None
    places = Strata(given, table.names, f"column of {path}")
    if given["strata"] is None and len(more) > 1:
        places.columns = [more[1]]
    exposure = Exposure(given, table.names, f"column of {path}")
    columns = [column for column in dict.fromkeys((*places.columns, exposure.column)) if column is not None]
    wanted = [name for name in (user, item, rating, *columns) if name is not None]
    table.known(*wanted)
    users, items = {}, {name: place for place, name in enumerate(given["known"] if given["known"] is not None else ())}
    n_known, labels, parts = len(items), {column: {} for column in columns}, []
    names = ((user, users), (item, items))
    for lines, chunk in table.chunks(wanted):
        i, j = (codes_of(list(map(str, present(table, of, lines, chunk[of]))), into) for of, into in names)
        ratings = np.ones(len(i)) if rating is None else numbers_of(table, rating, lines, chunk[rating])
        if (ratings < 0).any():
            at = int(np.argmax(ratings < 0))
            raise table.wrong(lines[at], f"has the rating {ratings[at]:g}; expected numbers >= 0: shift them first")
        codes = (codes_of(present(table, column, lines, chunk[column]), labels[column]) for column in columns)
        parts.append((i, j, ratings, *codes))
    i, j, ratings, *codes = (np.concatenate(part) for part in zip(*parts, strict=True))

    def of_column(column):
        known = list(labels[column])
        what = ("exposures", "exposure") if column == exposure.column else ("strata", "stratum")
        of_users = one_of_each(i, codes[columns.index(column)], path, list(users), known, what)
        return as_labels(known, is_typed=table.is_typed)[of_users]

    strata, exposure_ = places.labels(len(users), of_column), exposure.numbers(len(users), of_column)
    if given["known"] is not None:
        i, j, ratings = of_known_items(path, i, j, ratings, n_known, len(items))
    shape = (len(users), n_known if given["known"] is not None else len(items))
    data = summed(i, j, ratings, shape, path, given["duplicates"], (list(users), list(items)))
    known = as_names(list(items)) if given["known"] is None else given["known"]
    data = data if given["folder"] is None else save_csr(data, given["folder"])
    kept = {"strata": None if len(more) > 1 and places.record == more[1] else places.record}
    kept["exposure"] = exposure.column
    source = _record("triplets", given, kept, triplets=given["triplets"], feature_names=known)
    of_rows = {"strata": strata, "exposure": exposure_, "row_names": as_names(list(users))}
    return _result(data, source, feature_names=known, **of_rows)


def _cells(path, given):
    is_annotated = ending(path) == ".h5ad" and not path.is_dir()
    if is_annotated:
        # the names of a source choose the features, whatever is highly variable in new cells
        chosen = {"use_highly_variable": given["use_highly_variable"] and given["known"] is None}
        found = cells.open_h5ad(path, layer=given["layer"], raw=given["raw"], **chosen)
        of_obs = [*map(str, found.obs.columns)], f"column of obs in {path}"
        places, exposure = Strata(given, *of_obs), Exposure(given, *of_obs)
    else:
        if options := [name for name in ("layer", "raw", "use_highly_variable") if given[name]]:
            raise ValueError(f"{options[0]} is for an .h5ad, but {path} is of 10x Genomics; leave it out.")
        found = cells.read_10x_folder(path) if path.is_dir() else cells.open_10x_h5(path)
        places, exposure = _of_files(given, path), Exposure(given, (), f"column of {path}")
    with closing(found):
        if (order := order_of(found.feature_names, given["known"], path)) is not None:
            found.choose(order)
        n_rows, of_column = found.shape[0], lambda column: cells.column_of_obs(found, path, column)
        of_rows = {"strata": places.labels(n_rows, of_column), "exposure": exposure.numbers(n_rows, of_column)}
        parts = (block if found.columns is None else block[:, found.columns] for block in found.blocks())
        data = _kept((as_data(part, path) for part in parts), given["folder"])
    names = as_names(found.feature_names)
    source = _record("cells", given, {"strata": places.record, "exposure": exposure.column}, feature_names=names)
    of_rows |= {"row_names": as_names(found.row_names)} | ({"annotations": found.obs} if is_annotated else {})
    return _result(data, source, feature_names=names, **of_rows)


def _matrix(path, given):
    if path.is_dir():
        if given["transpose"]:
            raise ValueError(f"{path} is a folder of save_csr, which is read by rows; write its transpose.")
        data = open_csr(path)
    else:
        data = read_matrix(path, transpose=given["transpose"])
    strata = _of_files(given, path).labels(data.shape[0], None)
    exposure = Exposure(given, (), f"column of {path}").numbers(data.shape[0], None)
    data = data if given["folder"] is None else save_csr(data, given["folder"])
    return _result(data, _record("matrix", given, {}), strata=strata, exposure=exposure)


def _of_files(given, path):
    """Return where the labels of rows of a file without columns of them stand: texts are other files."""
    strata = given["strata"]
    if isinstance(strata, str) or isinstance(strata, tuple) and all(isinstance(each, str) for each in strata):
        strata = Path(strata) if isinstance(strata, str) else tuple(map(Path, strata))
    return Strata(given | {"strata": strata}, (), f"column of {path}")


def _open(path, given):
    return open_table(path, encoding=given["encoding"], delimiter=given["delimiter"])


def _record(kind, given, found, **values):
    """Return the record of what was read: the columns that were found, and the options of this kind.

    Parameters
    ----------
    kind : str
    given : dict
        Arguments of `read`.
    found : dict
        Argument -> column, or None.
    **values
        What else the record has.
    """
    of_kind = ("layer", "raw", "use_highly_variable", "transpose", "encoding", "delimiter", "duplicates")
    options = {name: given[name] for name in of_kind if kind in _OPTIONS.get(name, KINDS)}
    return record(kind, **options | found | values)
