"""Choose the rows that the page shows as examples of a topic or a stratum."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from fastnmf.data.sentences import shown
from fastnmf.report.lists import joined

N_ROWS = 5
LONGEST_TITLE, LONGEST_TEXT = 160, 1000
MOST_TEXT = 600_000  # characters of texts on one page


@dataclass
class Row:
    """An example: its number, its stratum, a title, the beginning of its text, and its cosine (None: not known)."""

    number: int
    stratum: str
    title: str
    text: str = ""
    cosine: float = None


class Rows:
    """The rows of the data, with the label and the texts that the page shows for each.

    Parameters
    ----------
    X : csr_array or ndarray (n_rows, n_features), or None
    row_names, row_texts : sequence of str, or None
    names : list of str
        Names of the features.
    labels : list of str, or None
        Labels of the strata.
    stratum_index : ndarray (n_rows,) of int, or None
    n_rows : int
        Number of rows if X is None.
    """

    def __init__(self, X, row_names, row_texts, names, labels, stratum_index, n_rows):
        n_rows = n_rows if X is None else X.shape[0]
        for given, name, kind in ((row_names, "row_names", "names"), (row_texts, "row_texts", "texts")):
            if given is not None and (isinstance(given, str) or not hasattr(given, "__len__")):
                raise TypeError(f"{name} is {shown(given)}; expected a list with one text for each of {n_rows} rows.")
            if given is not None and len(given) != n_rows:
                raise ValueError(f"{name} has {len(given)} {kind} for {n_rows} rows.")
        self.X, self.names, self.labels, self.stratum_index = X, names, labels, stratum_index
        self.row_names, self.row_texts = (
            None if given is None else np.asarray(given, dtype=object) for given in (row_names, row_texts)
        )
        self.longest_text = LONGEST_TEXT
        if X is not None:
            self.counts = np.diff(X.indptr) if sparse.issparse(X) else np.count_nonzero(X, axis=1)
            squares = X.multiply(X).sum(axis=1) if sparse.issparse(X) else np.einsum("ij,ij->i", X, X)
            self.lengths = np.sqrt(np.asarray(squares, dtype=np.float64)).ravel()

    def share_room(self, n_lists):
        """Shorten texts so that those of `n_lists` lists have room on the page."""
        self.longest_text = max(200, min(LONGEST_TEXT, MOST_TEXT // max(1, n_lists * N_ROWS)))

    def example(self, number, cosine=None):
        """Return the `Row` of a number."""
        known = self.stratum_index is not None and len(self.labels) > 1
        label = self.labels[self.stratum_index[number]] if known else ""
        text = "" if self.row_texts is None else " ".join(str(self.row_texts[number]).split())
        cosine = None if cosine is None else float(cosine)
        return Row(int(number), label, self._title(number), _begin(text, self.longest_text), cosine)

    def like(self, weights, members=None):
        """Return the examples with the largest cosines to a vector of weights, among rows of at least median length.

        The length of a row is its number of non-zeros. Rows that are equal in what is shown of them are shown once.

        Parameters
        ----------
        weights : ndarray (n_features,)
        members : ndarray of int, default=None
            Rows that are considered. None: all.

        Returns
        -------
        list of Row
        """
        found, seen = [], set()
        for number, cosine in zip(*self.nearest(weights, members, 20 * N_ROWS), strict=True):
            row = self.example(number, cosine)
            key = (row.title, row.text)
            if key not in seen or key == ("", ""):
                found.append(row)
            seen.add(key)
        return found[:N_ROWS]

    def nearest(self, weights, members, n):
        """Return the numbers and the cosines of the n rows with the largest cosines, as `like` chooses them.

        Parameters
        ----------
        weights : ndarray (n_features,)
        members : ndarray of int, or None
        n : int
        """
        members = np.arange(self.X.shape[0]) if members is None else members
        size, counts = float(np.sqrt(np.square(weights).sum())), self.counts[members]
        used = counts > 0
        if size == 0 or not used.any():
            return members[:0], np.zeros(0)
        part = self.X[members] if len(members) < self.X.shape[0] else self.X
        along, lengths = np.asarray(part @ (weights / size)).ravel(), self.lengths[members]
        cosines = np.divide(along, lengths, out=np.zeros(len(members)), where=lengths > 0)
        cosines[counts < np.median(counts[used])] = 0
        order = np.argsort(-cosines, kind="stable")[:n]
        order = order[cosines[order] > 0]  # NaN is not above zero
        return members[order], np.minimum(cosines[order], 1)

    def strongest(self, weights):
        """Return the examples with the largest weights of a topic, for models whose data are not given."""
        order = np.argsort(-weights, kind="stable")[:N_ROWS]
        return [self.example(number) for number in order if weights[number] > 0]

    def _title(self, number):
        if self.row_names is not None:
            return _begin(" ".join(str(self.row_names[number]).split()), LONGEST_TITLE)
        if self.row_texts is not None or not sparse.issparse(self.X):
            return ""
        part = slice(self.X.indptr[number], self.X.indptr[number + 1])
        order = np.argsort(-self.X.data[part], kind="stable")[:8]
        return joined([self.names[j] for j in self.X.indices[part][order]])


def _begin(text, longest):
    return text if len(text) <= longest else text[: longest - 1] + "…"
