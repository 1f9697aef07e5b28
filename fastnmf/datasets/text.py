"""Load text as TF-IDF matrices: 20 newsgroups, and the docstrings of installed packages.

The matrices are cached as plain arrays. The newsgroups are cached in a folder `fastnmf` inside the data home, or, if
that is read-only, in the user's cache folder (``$XDG_CACHE_HOME/fastnmf``, else ``~/.cache/fastnmf``); the docstrings
always in the latter.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from fastnmf.datasets.contents import TableData
from fastnmf.datasets.fetch import cached, data_home_folder, fetch, user_cache, version_key
from fastnmf.typing import File

DOCSTRING_PACKAGES = (
    "numpy",
    "scipy",
    "sklearn",
    "numba",
    "llvmlite",
    "joblib",
    "matplotlib",
    "pandas",
    "rich",
    "PIL",
    "networkx",
    "skimage",
    "statsmodels",
    "sympy",
    "xarray",
)
_MIN_DOCUMENTS = 20  # packages with fewer docstrings are skipped
_SKIPPED_FOLDERS = {"test", "tests", "testing", "_testing", "conftest", "_vendor", "vendored"}
_EXAMPLE_LINE = re.compile(r"^\s*(>>>|\.\.\.(\s|$)).*$", re.MULTILINE)
_MARKUP = re.compile(r"^\s*\.\. \S+::.*$|https?://\S+|:[A-Za-z:+-]+:(?=`)|^\s*:\w+", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z]{2,}")


def load_newsgroups(*, data_home: File = None, download_if_missing: bool = True, cache: bool = True) -> TableData:
    """Load the 20 newsgroups as a TF-IDF matrix, one stratum for each group.

    Contains all 18,846 articles of the bydate version, without headers, footers and quotes. English stop words, words
    in more than 95 % of the articles and words in a single article are left out. 554 rows are empty.

    Parameters
    ----------
    data_home : str or path, default=None
        scikit-learn's data home. None: ``$SCIKIT_LEARN_DATA``, else ``~/scikit_learn_data``.
    download_if_missing : bool, default=True
        Download the corpus (14 MB) if the data home does not have it.
    cache : bool, default=True
        Read and write the cached matrix; building it takes about 10 seconds.

    Returns
    -------
    bunch : fastnmf.Readings
        `data`, CSR float64 of shape (18846, 51840); `strata`, group names as strings, shape (18846,);
        `feature_names`, object array of shape (51840,); `stratum_names`, sorted; `DESCR`.

    Raises
    ------
    OSError
        The corpus is missing and cannot be downloaded; raised within 6 seconds if the host does not answer.

    Notes
    -----
    The matrix of Chapman, Yaniv, Needell 2023, Stratified-NMF for Heterogeneous Data,
    DOI 10.48550/arXiv.2311.10789: Frobenius norm 135.2479205015737.

    Examples
    --------
    >>> from fastnmf.datasets import load_newsgroups
    >>> bunch = load_newsgroups()  # doctest: +SKIP
    >>> bunch.data.shape  # doctest: +SKIP
    (18846, 51840)
    """
    from sklearn.datasets import fetch_20newsgroups

    def build():
        corpus = fetch(
            fetch_20newsgroups,
            "20 newsgroups",
            data_home,
            download_if_missing,
            subset="all",
            shuffle=False,
            remove=("headers", "footers", "quotes"),
        )
        strata = np.asarray(corpus.target_names)[corpus.target]
        return _tfidf(corpus.data, strata, max_df=0.95, min_df=2)

    home = data_home_folder(data_home)
    # The user's cache folder serves several data homes; the label distinguishes them.
    label = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    places = [home / "fastnmf" / "newsgroups.npz", user_cache() / f"newsgroups-{label}.npz"]
    data, strata, names = cached(build, places, version_key(), cache)
    return TableData(
        data=data,
        strata=strata,
        feature_names=names,
        stratum_names=np.unique(strata),
        DESCR="20 newsgroups (bydate), TF-IDF; strata are the groups.",
    )


def load_docstrings(
    *,
    packages: Sequence[str] | None = None,
    min_df: float = 2,
    max_df: float = 0.15,
    min_words: int = 30,
    cache: bool = True,
) -> TableData:
    """Load the docstrings of installed packages as a TF-IDF matrix, one stratum for each package.

    A real corpus that needs no download. The sources are parsed, not imported. Test folders are skipped, doctest lines
    and markup are removed, and duplicates within a package are kept once. Words have three letters or more.

    Parameters
    ----------
    packages : sequence of str, default=None
        Import names. None: the packages in `DOCSTRING_PACKAGES`. Packages that are not installed or have fewer than 20
        documents are skipped.
    min_df : int or float, default=2
        Least document frequency of a word, as in scikit-learn's `TfidfVectorizer`.
    max_df : int or float, default=0.15
        Largest document frequency. The default drops words of most docstrings: parameters, returns, array.
    min_words : int, default=30
        Docstrings with fewer words are skipped.
    cache : bool, default=True
        Read and write the cached matrix. It is rebuilt if a source file has changed.

    Returns
    -------
    bunch : fastnmf.Readings
        `data`, CSR float64 of shape (n_documents, n_words); `strata`, import names, shape (n_documents,);
        `feature_names`, object array; `stratum_names`, sorted; `DESCR`.

    Raises
    ------
    ValueError
        None of the packages has enough docstrings.

    Examples
    --------
    >>> from fastnmf.datasets import load_docstrings
    >>> bunch = load_docstrings(packages=["joblib"], cache=False)
    >>> bunch.data.shape[0] == bunch.strata.shape[0]
    True
    """
    wanted = DOCSTRING_PACKAGES if packages is None else tuple(packages)
    files = {package: _source_files(package) for package in dict.fromkeys(wanted)}

    def build():
        texts, strata = [], []
        for package, paths in files.items():
            found = _docstrings(paths, min_words)
            if len(found) >= _MIN_DOCUMENTS:
                texts += found
                strata += [package] * len(found)
        if not texts:
            raise ValueError(
                f"None of the packages {', '.join(wanted)} is installed here with at least {_MIN_DOCUMENTS} "
                f"docstrings of {min_words} words."
            )
        return _tfidf(texts, np.asarray(strata), max_df=max_df, min_df=min_df, token_pattern=r"\b[a-z]{3,}\b")

    key = hashlib.sha256(repr((version_key(), min_df, max_df, min_words)).encode())
    for package, paths in files.items():
        key.update(package.encode())
        for path in paths:
            status = path.stat()
            key.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
    data, strata, names = cached(build, [user_cache() / "docstrings.npz"], key.hexdigest(), cache)
    return TableData(
        data=data,
        strata=strata,
        feature_names=names,
        stratum_names=np.unique(strata),
        DESCR="Docstrings of installed packages, TF-IDF; strata are the packages.",
    )


def _tfidf(texts, strata, **options):
    """Return the TF-IDF matrix of the texts, their strata and the words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(stop_words="english", **options)
    data = sparse.csr_array(vectorizer.fit_transform(texts))
    data.sort_indices()
    return data, strata, vectorizer.get_feature_names_out()


def _source_files(package):
    """Return the Python files of an installed package in a fixed order, without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    folders = sorted(map(Path, (spec.submodule_search_locations or []) if spec else []))
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if not any(part in _SKIPPED_FOLDERS or part.startswith("test_") for part in parts):
                found.append(path)
    return found


def _docstrings(paths, min_words):
    """Return the distinct docstrings of at least `min_words` words, markup removed, in file order."""
    found = {}
    for path in paths:
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue  # a template, or a file for another Python version
        for text in _texts(tree):
            clean = _MARKUP.sub(" ", _EXAMPLE_LINE.sub(" ", text))
            words = _WORD.findall(clean)
            if len(words) >= min_words:
                found.setdefault(" ".join(words), clean)
    return list(found.values())


def _texts(tree):
    """Yield the docstrings of a module, and those that NumPy and SciPy attach to compiled functions."""
    # Only statements are visited: expressions are nine tenths of a tree and contain neither.
    statements = [tree]
    while statements:
        node = statements.pop()
        for block in ("body", "orelse", "finalbody", "handlers"):
            statements += getattr(node, block, ())
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            if "add_newdoc" in getattr(called, "id", getattr(called, "attr", "")):
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value
