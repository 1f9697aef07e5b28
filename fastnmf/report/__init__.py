"""Write a report about a fitted model: a single HTML page that works without a network, or a folder of tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastnmf.data.writing import check_writable, replacing
from fastnmf.report.facts import gather
from fastnmf.report.page import render
from fastnmf.report.tables import write_tables
from fastnmf.typing import FilePath, Labels, Matrix, Names

__all__ = ["write_report", "write_tables"]


def write_report(
    model: Any,
    path: FilePath,
    *,
    X: Matrix | None = None,
    feature_names: Names | None = None,
    row_names: Labels | None = None,
    title: str | None = None,
) -> Path:
    """Write a report about a fitted model as a single HTML file.

    The page shows every stratum with its specific features, every topic (component) with its features and the strata
    that use it, typical rows of both, and diagnostics. It has a search box and sortable tables, and supports small
    screens, dark mode, screen readers and printing. Style and script are part of the file; a content security policy
    blocks all access to the network.

    Parameters
    ----------
    model : fitted estimator
        `StratifiedNMF`, `NMF`, a mini-batch variant, of any `beta_loss`, or `HierarchicalNMF`, whose tree is shown.
        The page leaves out what depends on attributes that the model lacks, such as `W_` after `partial_fit`.
    path : str or path
        The file to write; an existing file is replaced when the new one is complete and on the disk.
    X : sparse matrix or array of shape (n_samples, n_features), default=None
        The training data, rows in the order of the fit. With them the page also shows whether strata are needed, how
        much of each stratum is explained, coherence, the KKT residual, and words of the typical rows.
    feature_names : sequence of str of length n_features, default=None
        Or a vocabulary: name -> column. None: `feature_names_in_`, or else the column numbers.
    row_names : sequence of str of length n_samples, default=None
        Titles or beginnings of the rows; 160 characters are shown. None: the numbers of the rows.
    title : str, default=None
        Heading of the page. None: the name of the model.

    Returns
    -------
    path : pathlib.Path

    Raises
    ------
    ValueError
        If the model is not fitted, or names or X do not match it.
    OSError
        If the file cannot be written.

    Notes
    -----
    Of more than 250 strata the 250 largest are shown. All text is escaped, so labels may contain any characters.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import StratifiedNMF
    >>> from fastnmf.report import write_report
    >>> X = np.array([[1.0, 0, 5], [2, 0, 5], [3, 1, 0], [6, 2, 0]])
    >>> model = StratifiedNMF(1, random_state=0).fit(X, strata=["a", "a", "b", "b"])
    >>> write_report(model, "report.html", X=X, title="Four rows")  # doctest: +SKIP
    PosixPath('report.html')
    """
    check_writable(path)
    page = render(gather(model, X, feature_names, row_names, title))
    with replacing(path) as file:
        file.write(page.encode("utf-8", errors="replace"))  # a name may contain half a surrogate pair
    if hasattr(model, "_html_repr"):  # its box in a notebook links to the page
        model._report = str(Path(path).resolve())
    return Path(path)
