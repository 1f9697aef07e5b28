"""Write what a model found as one web page that needs nothing else: for colleagues, in any browser, without network."""

from pathlib import Path

from fastnmf.report.facts import gather
from fastnmf.report.page import render

__all__ = ["write_report"]


def write_report(model, path, *, X=None, feature_names=None, row_names=None, title=None):
    """Write a report about a fitted model as a single HTML file.

    The page shows every stratum with its peculiar features, every topic (component) with its features and the strata
    that use it, rows that represent them, and diagnostics. One box searches all of it, tables can be sorted, and it
    can be read on a telephone, in the dark, by a screen reader and on paper. Style and script are inside; the page
    forbids itself the network.

    Parameters
    ----------
    model : fitted estimator
        `StratifiedNMF`, `NMF`, a mini-batch variant, of any `beta_loss`, or `HierarchicalNMF`, whose tree is shown.
        What it does not know any more, such as `W_` after `partial_fit`, is left out of the page.
    path : str or path
        The file to write; one that is there is replaced.
    X : sparse matrix or array of shape (n_samples, n_features), default=None
        The training data, rows in the order of the fit. With them the page also tells whether strata are needed, how
        much of each stratum is explained, coherence, the KKT residual, and words of the rows it names.
    feature_names : sequence of str of length n_features, default=None
        None takes `feature_names_in_`, or else the column numbers.
    row_names : sequence of str of length n_samples, default=None
        Titles or beginnings of the rows, of which 160 characters are shown. None: the numbers of the rows.
    title : str, default=None
        Heading of the page. None: the name of the model.

    Returns
    -------
    path : pathlib.Path

    Raises
    ------
    ValueError
        If the model is not fitted, or names or X do not fit it.
    OSError
        If the file cannot be written.

    Notes
    -----
    Of more than 250 strata the largest are shown. All text is escaped, so labels may hold anything.

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
    path = Path(path)
    page = render(gather(model, X, feature_names, row_names, title))
    path.write_bytes(page.encode("utf-8", errors="replace"))  # a name may hold half a surrogate pair
    return path
