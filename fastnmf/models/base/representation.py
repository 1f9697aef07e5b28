"""Show a fitted model: as text, as a box in a notebook, and as tables of pandas. Topics are numbered from 0."""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.init.start_from import labels_of_shifts
from fastnmf.core.options import check_integer
from fastnmf.data.labels import texts_of
from fastnmf.data.ranking import feature_scores, strongest_of
from fastnmf.data.sentences import cut, cut_all
from fastnmf.models.base.for_checkers import Bunch
from fastnmf.models.base.top_features import feature_names_for
from fastnmf.typing import Labels, Names

MOST_TOPICS, MOST_STRATA, N_WORDS = 12, 12, 6  # in a box
LONGEST = 28  # characters of a label in a line of text
_WHY = {
    "tol": "the loss has converged",
    "max_iter": "max_iter was reached before the loss converged",
    "max_time": "max_time was reached",
    "callback": "a callback stopped it",
}
# Colours come from the page, so that the box can be read on light and on dark ones.
_BOX = "font:13px/1.45 system-ui,sans-serif;color:inherit;border-left:3px solid #8884;padding-left:10px;margin:6px 0"
_HEAD = "text-align:left;vertical-align:top;font-weight:600;padding:1px 12px 1px 0;white-space:nowrap;background:none"
_CELL = "text-align:left;vertical-align:top;padding:1px 12px 1px 0;background:none"


class Summary(str):
    """Text that prints as it is where Python shows a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the text itself."""
        return str(self)


class Frames(Bunch):
    """Result of `to_frames`: DataFrames by name."""

    topics: Any
    strata: Any
    weights: Any
    history: Any


class RepresentationMixin:
    """Mixin that shows a fitted model."""

    def summary(self: Any, n: int = 8, feature_names: Names | None = None) -> str:
        """Return a summary of the fitted model as text: sizes, loss, reason for stopping, words of topics and strata.

        Parameters
        ----------
        n : int, default=8
            Features listed for each topic and each stratum.
        feature_names : array-like (n_features,), default=None
            Names of the features, or a vocabulary: name -> column. None takes `feature_names_in_`, or else the column
            numbers.

        Returns
        -------
        str
            A few lines, which Python also shows without `print`. Topics are numbered from 0, as in `components_`,
            and listed with their share of the sum of all topics; strata are listed with their numbers of rows and the
            features specific to them, as in `top_features`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import NMF
        >>> X = np.outer([1.0, 2, 3], [1.0, 0, 2])
        >>> NMF(1, random_state=0).fit(X).summary(feature_names=["red", "green", "blue"]).splitlines()[-1]
        '  0  100.0 %  blue red'
        """
        check_is_fitted(self)
        check_integer("n", n)
        lines = [sentence + "." for sentence in _sentences(self)]
        names = None if (weights := topic_weights(self)) is None else feature_names_for(self, feature_names)
        for title, rows in (
            ("Topics, with their share of the sum of all topics:", _topic_rows(self, weights, names, n)),
            ("Strata, with their rows, and what is specific to them:", _strata_rows(self, names, n)),
        ):
            shown = cut_all([_plain(label) for label, _, _ in rows], LONGEST)
            width = max(map(len, shown), default=0)
            amount = max((len(about) for _, about, _ in rows), default=0)
            lines += ["", title] if rows else []
            for label, (_, about, words) in zip(shown, rows, strict=True):
                start = f"  {label:<{width}}  {about:>{amount}}  "
                lines.append((start + _plain(" ".join(words) or "(nothing)")).rstrip())
        return Summary("\n".join(lines))

    def to_frames(self: Any, *, row_names: Labels | None = None, feature_names: Names | None = None) -> Frames:
        """Return the fitted model as pandas DataFrames.

        Parameters
        ----------
        row_names : array-like (n_samples,), default=None
            Names of the training rows, such as the index of a DataFrame or `obs_names` of an AnnData. None: those that
            the model keeps, or else their numbers.
        feature_names : array-like (n_features,), default=None
            As in `summary`.

        Returns
        -------
        Frames
            A Bunch of DataFrames. ``topics`` (n_components, n_features): `components_`. ``strata`` (n_strata,
            n_features): `shifts_`, sparse where these are. ``weights`` (n_samples, n_components): `W_`. ``history``:
            one row per iteration. A table is omitted if the model has no such attribute. Topics have the names that
            `fastnmf.metrics.rename_topics` gave them, or else those of `get_feature_names_out`; of a hierarchy they are
            those of the finest level.

        Raises
        ------
        ImportError
            pandas is not installed.
        ValueError
            The names do not fit the model.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import NMF
        >>> X = np.outer([1.0, 2, 3], [1.0, 0, 2])
        >>> frames = NMF(1, random_state=0).fit(X).to_frames(row_names=["a", "b", "c"])  # doctest: +SKIP
        >>> frames.weights.index.tolist(), list(frames)  # doctest: +SKIP
        (['a', 'b', 'c'], ['topics', 'weights', 'history'])
        """
        check_is_fitted(self)
        try:
            import pandas
        except ImportError as error:
            raise ModuleNotFoundError(
                "to_frames needs pandas, which is not installed; run pip install pandas.", name="pandas"
            ) from error
        frames, weights, W = Frames(), topic_weights(self), _row_weights(self)
        if weights is not None:
            names = feature_names_for(self, feature_names)
            frames.topics = pandas.DataFrame(weights, _topic_names(self, len(weights)), names)
        if (shifts := getattr(self, "shifts_", None)) is not None:
            make = pandas.DataFrame.sparse.from_spmatrix if sp.issparse(shifts) else pandas.DataFrame
            frames.strata = make(shifts, labels_of_shifts(self), names)
        if W is not None:
            row_names = getattr(self, "row_names_", None) if row_names is None else row_names
            index = None if row_names is None else list(row_names)
            if index is not None and len(index) != len(W):
                raise ValueError(f"row_names has {len(index)} names for {len(W)} rows; give one for each.")
            if index is not None and any(np.ndim(name) > 0 for name in index):
                raise ValueError("row_names has a list or an array among its names; give one name for each row.")
            frames.weights = pandas.DataFrame(W, index, _topic_names(self, W.shape[1]))
        if history := getattr(self, "history_", None):
            columns = {
                name if values.ndim == 1 else f"{name}_{j}": column
                for name, values in history.items()
                for j, column in enumerate(values.reshape(len(values), -1).T)
            }
            frames.history = pandas.DataFrame(columns)
        return frames

    def _html_repr(self):
        """Return the box of scikit-learn, and below it one about the fitted model."""
        box = estimator_html_repr(self)
        try:
            check_is_fitted(self)
            return box + _html(self)
        except (NotFittedError, ValueError):  # not fitted, or attributes set manually that contradict each other
            return box


def topic_weights(model):
    """Return the topics of a model as an array (k, n_features), or None; of a hierarchy those of the finest level."""
    found = getattr(model, "components_", None)
    found = found[0] if isinstance(found, list) else found
    if found is None and hasattr(model, "top_features"):  # communities of a graph
        return model.W_.T
    return found.sum(axis=0) if np.ndim(found) == 3 else found  # over lags


def _row_weights(model):
    """Return the weights of the training rows, (n_samples, k), or None."""
    of_levels = getattr(model, "S_", None)
    return of_levels[0] if isinstance(of_levels, list) else getattr(model, "W_", None)


def _topic_names(model, n_topics):
    names = getattr(model, "topic_names_", None)
    prefix = type(model).__name__.lower()
    return [f"{prefix}{topic}" for topic in range(n_topics)] if names is None else list(names)


def _sentences(model):
    """Return sentences about a fitted model, without full stops."""
    W, weights = _row_weights(model), topic_weights(model)
    sizes = [f"{len(W):,} rows"] if W is not None else []
    sizes += [f"{model.n_features_in_:,} features"] if hasattr(model, "n_features_in_") else []
    is_designed = getattr(model, "_is_designed", False)
    n_strata = len(model.shift_names_ if is_designed else getattr(model, "strata_", ()))
    found = [type(model).__name__ + (" of " + " x ".join(sizes) if sizes else "")]
    what = f" with {n_strata:,} shifts" if is_designed else f" in {n_strata:,} strata"
    found[0] += what if n_strata > 1 else ""
    found[0] += f": {len(weights):,} topics" if weights is not None else ""
    loss = getattr(model, "normalized_loss_", None)
    if loss is not None:
        is_squared = getattr(model, getattr(model, "_loss_parameter", ""), "frobenius") in ("frobenius", 2)
        share = f", {1 - loss**2:.1%} of the squared norm explained" if is_squared and loss <= 1 else ""
        found.append(f"Normalized loss {loss:.5g}{share.replace('%', ' %')}")
    if hasattr(model, "n_iter_"):
        seconds = getattr(model, "history_", {}).get("seconds")
        took = "" if seconds is None else f" in {seconds[-1]:,.2f} s"
        why = getattr(model, "stopped_by_", None)
        is_whole = why == "max_iter" and getattr(model, "converged_", False)  # tol=0 asks for all of them
        why = "all were run" if is_whole else _WHY.get(why, why)
        found.append(f"{model.n_iter_:,} iterations{took}" + (f"; stopped because {why}" if why else ""))
    return found


def _topic_rows(model, weights, names, n, most=None):
    """Return the label, the share and the first n words of each topic.

    Parameters
    ----------
    model : estimator
    weights : ndarray (k, n_features), or None
    names : ndarray (n_features,)
    n : int
    most : int, default=None
        Number of topics; None: all.

    Returns
    -------
    list of (str, str, list of str)
    """
    if weights is None:
        return []
    W, shares = _row_weights(model), None
    if W is not None and W.shape[1] == len(weights) and min(W.min(initial=0), weights.min(initial=0)) >= 0:
        with np.errstate(all="ignore"):  # numbers of 1e200 have no such sums
            amounts = W.sum(axis=0, dtype=np.float64) * weights.sum(axis=1, dtype=np.float64)
            shares = amounts / amounts.sum()
    labels = getattr(model, "topic_names_", range(len(weights)))
    return [
        (
            str(labels[topic]),
            "" if shares is None or not np.isfinite(shares[topic]) else f"{100 * shares[topic]:.1f} %",
            [str(names[j]) for j in strongest_of(scores, n)[0]],
        )
        for topic, scores in enumerate(feature_scores(weights[:most], "weight"))
    ]


def _strata_rows(model, names, n, most=None):
    """Return the label, the number of rows and the first n words of each stratum; arguments as in `_topic_rows`.

    Parameters
    ----------
    model : estimator
    names : ndarray (n_features,)
    n : int
    most : int, default=None
        Number of strata, the largest; None: all.

    Returns
    -------
    list of (str, str, list of str)
    """
    if getattr(model, "shifts_", None) is None:
        return []
    sizes, labels = getattr(model, "stratum_sizes_", None), texts_of(labels_of_shifts(model))
    order = np.arange(len(labels)) if sizes is None else np.argsort(-sizes, kind="stable")
    shown = set(order[:most].tolist())
    if getattr(model, "_is_designed", False):
        words = list(model._features_of_shifts(names, n, "contrast").values())
    else:
        scores = feature_scores(model.shifts_, "contrast")
        words = ([str(names[j]) for j in strongest_of(each, n)[0]] for each in scores)
    return [
        (str(label), "" if sizes is None else f"{sizes[row]:,.0f}", of_label)
        for row, (label, of_label) in enumerate(zip(labels, words, strict=True))
        if row in shown
    ]


def _html(model):
    """Return the box about a fitted model; every text of the user is escaped."""
    weights = topic_weights(model)
    names = None if weights is None else feature_names_for(model, None)
    parts = [f"<div>{'. '.join(map(_escaped, _sentences(model)))}.</div>"]
    n_topics, n_strata = (0 if array is None else len(array) for array in (weights, labels_of_shifts(model)))
    topics = _topic_rows(model, weights, names, N_WORDS, MOST_TOPICS)
    strata = _strata_rows(model, names, N_WORDS, MOST_STRATA)
    for title, rows, total in (("Topics", topics, n_topics), ("Strata", strata, n_strata)):
        lines = "".join(
            f'<tr><th scope="row" style="{_HEAD}"><bdi>{_escaped(label)}</bdi></th>'
            f'<td style="{_CELL};opacity:.7;white-space:nowrap">{_escaped(about)}</td>'
            f'<td style="{_CELL}"><bdi>{_escaped(" ".join(cut(word, LONGEST) for word in words))}</bdi></td></tr>'
            for label, (_, about, words) in zip(cut_all([each[0] for each in rows], LONGEST), rows, strict=True)
        )
        more = f'<div style="opacity:.7">and {total - len(rows):,} more</div>' if total > len(rows) else ""
        if rows:
            table = f'<table style="border-collapse:collapse;color:inherit">{lines}</table>'
            parts.append(f'<details open><summary style="cursor:pointer">{title}</summary>{table}{more}</details>')
    parts.append(f"<div>{_report_link(model)}</div>" if weights is not None else "")
    return f'<div class="fastnmf-model" style="{_BOX}">{"".join(parts)}</div>'


def _report_link(model):
    """Return a link to the report that was written last, relative where it lies below the working folder."""
    written = vars(model).get("_report")
    if written is None or not os.path.exists(written):
        return '<span style="opacity:.7">For a page about this model: fastnmf.write_report(model, "report.html")</span>'
    path, here = Path(written), Path.cwd()
    address = quote(path.relative_to(here).as_posix()) if path.is_relative_to(here) else path.as_uri()
    return f'<a style="color:inherit" href="{_escaped(address)}">Report</a>'


def _plain(text):
    """Return text without line breaks, escapes of terminals and marks that turn the direction of what follows."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _escaped(text):
    return html.escape(_plain(text), quote=True)
