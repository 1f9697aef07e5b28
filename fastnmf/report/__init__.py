"""Write a report about a fitted model: a single HTML page that works without a network, or a folder of tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fastnmf.data.writing import check_writable, replacing
from fastnmf.report.facts import gather
from fastnmf.report.page import render
from fastnmf.report.tables import write_tables
from fastnmf.typing import FilePath, Groups, Labels, Matrix, Names, SparseOrDense, Vector

__all__ = ["write_report", "write_tables"]


def write_report(
    model: Any,
    path: FilePath,
    *,
    X: Matrix | None = None,
    feature_names: Names | None = None,
    row_names: Labels | None = None,
    row_texts: Labels | None = None,
    title: str | None = None,
    kind: Literal["text", "cells", "ratings", "rows"] | None = None,
    specific: Mapping[str, Any] | None = None,
    strata: Groups | None = None,
    design: SparseOrDense | None = None,
    exposure: Vector | None = None,
) -> Path:
    """Write a report about a fitted model as a single HTML file.

    The first screen tells what the data are, what was found, and what speaks against it. Below are a map of the topics
    (components), every topic and every stratum with its features and example rows, two strata compared, and
    diagnostics. The shifts of several factors are an intercept and a block for each factor, whose levels are in order;
    where these are numbers or dates, lines show the features that change most over them. Components of a single stratum
    are listed with it. Features are ordered by relevance, with a slider from specific to frequent. The reader can
    search, sort tables, rename topics, and save tables as CSV, figures as SVG or PNG, and the page with the new names.
    It supports small screens, light and dark, keyboards, screen readers and printing, and can be read without its
    script. Style and script are part of the file; a content security policy blocks all access to the network.

    Parameters
    ----------
    model : fitted estimator
        `StratifiedNMF`, `NMF`, a mini-batch variant, of any `beta_loss`, or `HierarchicalNMF`, whose tree is shown.
        The page leaves out what depends on attributes that the model lacks, such as `W_` after `partial_fit`.
    path : str or path
        The file to write; an existing file is replaced when the new one is complete and on the disk.
    X : sparse matrix or array of shape (n_samples, n_features), AnnData or Readings, default=None
        The training data, rows in the order of the fit; of Readings also the names, texts and labels of the rows. With
        them the page also shows whether strata are needed, how much of each stratum is explained and what simpler
        models explain, topics of repeated text and of function words, coherence, the KKT residual, and features of the
        example rows.
    feature_names : sequence of str of length n_features, default=None
        Or a vocabulary: name -> column. None: `feature_names_in_`, or else the column numbers.
    row_names : sequence of str of length n_samples, default=None
        Titles or beginnings of the rows; 160 characters are shown. None: those of X or of the model, or else numbers.
    row_texts : sequence of str of length n_samples, default=None
        Texts of the rows. The page has the first 1,000 characters of each example, or fewer where it has many examples.
    title : str, default=None
        Heading of the page. None: the name of the model.
    kind : {"text", "cells", "ratings", "rows"}, default=None
        Words of the field: words, topics and documents; genes, programmes and cells; items, factors and users; or
        features, components and rows. None: as the model's `source_` tells, which `fastnmf.read` gives; ``"cells"`` for
        an AnnData; else ``"rows"``.
    specific : SpecificFeatures, default=None
        Result of `fastnmf.specific_features` for the strata of the fit: the features that the test rejected have a star
        in the list of their stratum, which a legend explains.
    strata, design, exposure : default=None
        What the training rows have, as in `fit`, after a fit with several factors, a design or an exposure: the model
        does not keep it. With it the page also shows which topics the rows of each level use, examples of each level
        and, with X, how much each factor explains, for which `explain` makes a short fit without each. After a fit with
        one label for each row it is not needed, and refused.

    Returns
    -------
    path : pathlib.Path

    Raises
    ------
    ValueError
        If the model is not fitted, names, texts, X, strata, design or exposure do not match it, or the kind is not
        known.
    OSError
        If the file cannot be written.

    Notes
    -----
    Of more than 250 strata the 250 largest are shown. All text is escaped, so labels may contain any characters.

    The relevance is that of `fastnmf.metrics.relevance`, first with the weight 0.6, against the sums of the features in
    X, or in the model's reconstruction without X. Examples are the rows with the largest cosine to a topic or shift,
    among those with at least the median number of non-zeros. A stratum is marked by a topic if its share there is at
    least 5 %, and 1.5 times that in all rows.

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
    rows_have = {"strata": strata, "design": design, "exposure": exposure}
    page = render(gather(model, X, feature_names, row_names, title, kind, row_texts, specific, **rows_have))
    with replacing(path) as file:
        file.write(page.encode("utf-8", errors="replace"))  # a name may contain half a surrogate pair
    if hasattr(model, "_html_repr"):  # its box in a notebook links to the page
        model._report = str(Path(path).resolve())
    return Path(path)
