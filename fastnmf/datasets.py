"""Load real data that comes in groups, or plant it.

Every loader returns a `sklearn.utils.Bunch` with `data` (one row a sample), `strata` (one label a row) and
`feature_names`. The package carries no data: scikit-learn's fetchers bring what has to be downloaded, and
`load_docstrings` reads what is installed anyway.

TF-IDF matrices are kept for the next call as plain arrays: in a folder `fastnmf` inside the data home, or,
where that is read-only, in the user's cache folder (``$XDG_CACHE_HOME/fastnmf``, else ``~/.cache/fastnmf``).
"""

import ast
import hashlib
import importlib.util
import re
from pathlib import Path

import numpy as np
from scipy import sparse

from fastnmf.fetch import cached, data_home_folder, fetch, user_cache, version_key
from fastnmf.graphs import load_karate_club

__all__ = [
    "load_docstrings",
    "load_housing",
    "load_karate_club",
    "load_newsgroups",
    "make_stratified",
    "simulate_counts",
]

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

_MIN_DOCUMENTS = 20  # a package with fewer docstrings is no stratum

_SKIPPED_FOLDERS = {"test", "tests", "testing", "_testing", "conftest", "_vendor", "vendored"}
_EXAMPLE_LINE = re.compile(r"^\s*(>>>|\.\.\.(\s|$)).*$", re.MULTILINE)
_MARKUP = re.compile(r"^\s*\.\. \S+::.*$|https?://\S+|:[A-Za-z:+-]+:(?=`)|^\s*:\w+", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z]{2,}")


def load_newsgroups(*, data_home=None, download_if_missing=True, cache=True):
    """Load the 20 newsgroups as a TF-IDF matrix, one stratum a group.

    All 18,846 articles of the bydate version without headers, footers and quotes; words in more than 95 % of
    the articles, in one article only, and English stop words are left out. 554 rows are empty.

    Parameters
    ----------
    data_home : str or path, default=None
        scikit-learn's data home. None: ``$SCIKIT_LEARN_DATA``, else ``~/scikit_learn_data``.
    download_if_missing : bool, default=True
        Download the corpus (14 MB) where the data home does not have it.
    cache : bool, default=True
        Use and keep the finished matrix; building it takes about 10 seconds.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        `data`, CSR float64 of shape (18846, 51840); `strata`, group names as strings, shape (18846,);
        `feature_names`, object array of shape (51840,); `stratum_names`, sorted; `DESCR`.

    Raises
    ------
    OSError
        If the corpus is not there and cannot be had; within a few seconds where no host answers.

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
    from sklearn.utils import Bunch

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
    # The cache folder of the user serves several data homes, so it tells them apart.
    label = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    places = [home / "fastnmf" / "newsgroups.npz", user_cache() / f"newsgroups-{label}.npz"]
    data, strata, names = cached(build, places, version_key(), cache)
    return Bunch(
        data=data,
        strata=strata,
        feature_names=names,
        stratum_names=np.unique(strata),
        DESCR="20 newsgroups (bydate), TF-IDF; strata are the groups.",
    )


def load_housing(*, data_home=None, download_if_missing=True):
    """Load California housing, three strata by median income.

    Parameters
    ----------
    data_home : str or path, default=None
        scikit-learn's data home. None: ``$SCIKIT_LEARN_DATA``, else ``~/scikit_learn_data``.
    download_if_missing : bool, default=True
        Download the data (0.4 MB) where the data home does not have it.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        `data`, float64 of shape (2615, 6), in this order: low (MedInc < 1.5, 815 rows), medium
        (4.5 < MedInc < 5, 1492 rows), high (MedInc > 10, 308 rows); `strata`, shape (2615,); `feature_names`;
        `stratum_names`, poorest first; `DESCR`.

    Raises
    ------
    OSError
        If the data are not there and cannot be had.

    Notes
    -----
    As in Chapman, Yaniv, Needell 2023, DOI 10.48550/arXiv.2311.10789: latitude and
    longitude are dropped, nothing is scaled. Frobenius norm 87260.12357119468.

    Examples
    --------
    >>> from fastnmf.datasets import load_housing
    >>> load_housing().data.shape  # doctest: +SKIP
    (2615, 6)
    """
    from sklearn.datasets import fetch_california_housing
    from sklearn.utils import Bunch

    housing = fetch(fetch_california_housing, "California housing", data_home, download_if_missing)
    table = np.asarray(housing.data, dtype=np.float64)[:, :-2]
    income = table[:, 0]
    rows = {
        "low": np.flatnonzero(income < 1.5),
        "medium": np.flatnonzero((income > 4.5) & (income < 5)),
        "high": np.flatnonzero(income > 10),
    }
    return Bunch(
        data=table[np.concatenate(list(rows.values()))],
        strata=np.repeat(list(rows), [len(r) for r in rows.values()]),
        feature_names=np.asarray(housing.feature_names[:-2], dtype=object),
        stratum_names=np.asarray(list(rows)),
        DESCR="California housing; strata are low, medium and high median income.",
    )


def load_docstrings(*, packages=None, min_df=2, max_df=0.15, min_words=30, cache=True):
    """Load the docstrings of installed packages as a TF-IDF matrix, one stratum a package.

    A real corpus that is always there. The sources are parsed, never imported; test folders are skipped,
    doctest lines and markup removed, duplicates within a package kept once. Words have three letters or more.

    Parameters
    ----------
    packages : sequence of str, default=None
        Import names. None: well-known scientific packages. What is not installed is skipped, and so is a
        package with fewer than 20 documents.
    min_df : int or float, default=2
        Least document frequency of a word, as in scikit-learn's `TfidfVectorizer`.
    max_df : int or float, default=0.15
        Largest document frequency. The default drops what every docstring says: parameters, returns, array.
    min_words : int, default=30
        Shorter docstrings are skipped.
    cache : bool, default=True
        Use and keep the finished matrix. It is rebuilt when a source file changes.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        `data`, CSR float64 of shape (n_documents, n_words); `strata`, import names, shape (n_documents,);
        `feature_names`, object array; `stratum_names`, sorted; `DESCR`.

    Raises
    ------
    ValueError
        If none of the packages has enough docstrings.

    Examples
    --------
    >>> from fastnmf.datasets import load_docstrings
    >>> bunch = load_docstrings(packages=["joblib"], cache=False)
    >>> bunch.data.shape[0] == bunch.strata.shape[0]
    True
    """
    from sklearn.utils import Bunch

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
    return Bunch(
        data=data,
        strata=strata,
        feature_names=names,
        stratum_names=np.unique(strata),
        DESCR="Docstrings of installed packages, TF-IDF; strata are the packages.",
    )


def make_stratified(
    sizes=(100, 100, 100, 100), n_features=100, n_components=5, *, noise=0.0, density=None, random_state=None
):
    """Plant data of the form 1 v(i)' + W(i) H.

    Parameters
    ----------
    sizes : sequence of int, default=(100, 100, 100, 100)
        Rows of each stratum, one number a stratum, each at least 1.
    n_features, n_components : int, default=100, 5
        Columns of the data and rows of H.
    noise : float, default=0.0
        Standard deviation of Gaussian noise, as a multiple of the root mean square of the clean entries it is
        added to. What falls below zero is set to zero.
    density : float, default=None
        None: dense data. A number in (0, 1): sparse factors, drawn so that this is the expected share of
        non-zeros of their CSR product; noise is then added to the non-zeros only.
    random_state : None, int or numpy.random.Generator, default=None
        Seed.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        `data`, float64 of shape (sum(sizes), n_features), C-ordered array or CSR; `strata`, integers from 0,
        sorted; `feature_names`; the truth `W` (sum(sizes), n_components), `H` (n_components, n_features) and
        `V` (len(sizes), n_features); `DESCR`.

    Raises
    ------
    ValueError
        If a size is not positive, noise is negative or density is not in (0, 1).

    Notes
    -----
    Dense factors follow Chapman, Yaniv, Needell 2023, DOI 10.48550/arXiv.2311.10789: W and H uniform on
    [0, 1), v(i) uniform on [i, i + 1) with i from 0. The truth is not identifiable (free gauge).

    Examples
    --------
    >>> from fastnmf.datasets import make_stratified
    >>> bunch = make_stratified(sizes=(3, 4), n_features=5, n_components=2, random_state=0)
    >>> bunch.data.shape, bunch.V.shape
    ((7, 5), (2, 5))
    """
    from sklearn.utils import Bunch

    sizes = np.asarray(sizes)
    if sizes.ndim != 1 or sizes.size == 0 or sizes.dtype.kind not in "iu" or sizes.min() < 1:
        raise ValueError(f"sizes must be a non-empty sequence of positive integers; got {sizes.tolist()}.")
    if n_features < 1 or n_components < 1:
        raise ValueError(f"n_features, n_components must be positive; got {n_features}, {n_components}.")
    if not noise >= 0:
        raise ValueError(f"noise must be 0 or more; got {noise}.")
    if density is not None and not 0 < density < 1:
        raise ValueError(f"density must be None or between 0 and 1, both excluded; got {density}.")

    rng = np.random.default_rng(random_state)
    strata = np.repeat(np.arange(sizes.size), sizes)
    W = rng.random((strata.size, n_components))
    H = rng.random((n_components, n_features))
    V = rng.random((sizes.size, n_features)) + np.arange(sizes.size)[:, None]
    if density is None:
        data = W @ H + V[strata]
        clean = data
    else:
        # An entry is zero if the shift and all k products are: (1 - p)(1 - q^2)^k = 1 - density.
        blank = np.sqrt(1 - density)
        share = np.sqrt(1 - blank ** (1 / n_components))
        W *= rng.random(W.shape) < share
        H *= rng.random(H.shape) < share
        V *= rng.random(V.shape) < 1 - blank
        membership = sparse.csr_array((np.ones(strata.size), (np.arange(strata.size), strata)))
        data = (sparse.csr_array(W) @ sparse.csr_array(H) + membership @ sparse.csr_array(V)).tocsr()
        data.sort_indices()
        clean = data.data
    if noise > 0 and clean.size:
        clean += noise * np.sqrt(np.mean(clean**2)) * rng.standard_normal(clean.shape)
        np.maximum(clean, 0, out=clean)
        if density is not None:
            data.eliminate_zeros()
    return Bunch(
        data=data,
        strata=strata,
        W=W,
        H=H,
        V=V,
        feature_names=np.array([f"feature {j}" for j in range(n_features)], dtype=object),
        stratum_names=np.arange(sizes.size),
        DESCR="Planted data of the form 1 v(i)' + W(i) H.",
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
            continue  # a template or a file for another Python
        for text in _texts(tree):
            clean = _MARKUP.sub(" ", _EXAMPLE_LINE.sub(" ", text))
            words = _WORD.findall(clean)
            if len(words) >= min_words:
                found.setdefault(" ".join(words), clean)
    return list(found.values())


def _texts(tree):
    """Yield the docstrings of a module, and those that NumPy and SciPy attach to compiled functions."""
    # Only statements are visited: expressions are nine tenths of a tree and hold neither.
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


def simulate_counts(
    n_cells=600,
    n_genes=400,
    n_programs=4,
    n_batches=3,
    *,
    batch_effect=1.0,
    dispersion=0.5,
    depth=150.0,
    random_state=None,
):
    """Simulate single-cell counts: expression programmes that all batches share, over a background of each batch.

    Parameters
    ----------
    n_cells, n_genes, n_programs, n_batches : int, default=600, 400, 4, 3
        Cells fall into batches at random, with the programmes unevenly spread over the batches.
    batch_effect : float, default=1.0
        Expected background counts of a cell, as a multiple of `depth`; 0 leaves no background.
    dispersion : float, default=0.5
        Of the negative binomial: the variance is ``mean + dispersion * mean²``; 0 is Poisson.
    depth : float, default=150.0
        Expected counts of a cell from the programmes. A cell's own depth varies by a factor, log-normal, sigma 0.3.
    random_state : None, int or numpy.random.Generator, default=None
        Seed.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        `data`, CSR of float64 counts (n_cells, n_genes); `batch`, text (n_cells,); the truth: `programs`
        (n_programs, n_genes), rows of sum one, each on a fifth of the genes; `usage` (n_cells, n_programs), expected
        counts of each programme; `program_of_cell`, the programme used most, also as `target`; `background`
        (n_batches, n_genes), expected counts, on 30 % of the genes in each batch; `feature_names`; `DESCR`.

    Raises
    ------
    ValueError
        If a size is below 1, or one of the other numbers negative.

    Notes
    -----
    ``mean = background[batch] + usage @ programs``: background (ambient RNA) does not grow with the depth of a cell, so
    one shift a batch is the right model. Counts are a Poisson draw of a gamma draw of the mean.

    Examples
    --------
    >>> from fastnmf.datasets import simulate_counts
    >>> bunch = simulate_counts(n_cells=20, n_genes=30, random_state=0)
    >>> bunch.data.shape, bunch.programs.shape, sorted(set(bunch.batch.tolist()))
    ((20, 30), (4, 30), ['batch 0', 'batch 1', 'batch 2'])
    """
    from sklearn.utils import Bunch

    sizes = {"n_cells": n_cells, "n_genes": n_genes, "n_programs": n_programs, "n_batches": n_batches}
    for name, value in (sizes | {"batch_effect": batch_effect, "dispersion": dispersion, "depth": depth}).items():
        least = 1 if name in sizes else 0
        if not value >= least:
            raise ValueError(f"{name} must be {least} or more; got {value}.")
    rng = np.random.default_rng(random_state)

    def profiles(n_profiles, share):
        weights = rng.gamma(0.7, size=(n_profiles, n_genes)) * (rng.random((n_profiles, n_genes)) < share)
        weights[np.arange(n_profiles), rng.integers(0, n_genes, n_profiles)] += 0.1  # at least one gene each
        return weights / weights.sum(axis=1, keepdims=True)

    programs, background = profiles(n_programs, 0.2), batch_effect * depth * profiles(n_batches, 0.3)
    batch = rng.integers(0, n_batches, n_cells)
    spread = rng.dirichlet(np.full(n_programs, 2.0), n_batches)
    main = (rng.random(n_cells)[:, None] > np.cumsum(spread, axis=1)[batch, :-1]).sum(axis=1)
    shares = 0.3 * rng.dirichlet(np.ones(n_programs), n_cells)
    shares[np.arange(n_cells), main] += 0.7
    usage = depth * rng.lognormal(-0.045, 0.3, n_cells)[:, None] * shares
    mean = background[batch] + usage @ programs
    if dispersion > 0:
        mean = mean * rng.gamma(1 / dispersion, dispersion, mean.shape)
    return Bunch(
        data=sparse.csr_array(rng.poisson(mean).astype(np.float64)),
        batch=np.array([f"batch {b}" for b in range(n_batches)])[batch],
        programs=programs,
        usage=usage,
        program_of_cell=main,
        target=main,
        background=background,
        feature_names=np.array([f"gene {j}" for j in range(n_genes)], dtype=object),
        DESCR="Simulated negative-binomial counts of cells: shared programmes over a background of each batch.",
    )
