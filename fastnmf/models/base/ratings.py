"""Read entries of a fitted model as predictions: of ratings, of suggestions for a user, of what is liked together."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from fastnmf.core.options import check_integer
from fastnmf.core.row_errors import entries_of_product
from fastnmf.core.warn import warn
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.annotated import is_annotated, matrix_of, with_labels
from fastnmf.data.entry_weights import Background
from fastnmf.data.labels import known_labels, places
from fastnmf.data.sentences import shown
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.models.base.estimator import Estimator
from fastnmf.models.base.for_checkers import Bunch
from fastnmf.models.base.inspection import as_rows, refuse_with_design
from fastnmf.models.base.top_features import feature_names_for
from fastnmf.typing import Floats, Integers, Labels, Matrix, Vector

MANY = 0.1  # share of rows or columns with fewer known entries than components from which on a fit warns


class Features(Bunch):
    """Features in descending order of their scores."""

    columns: Integers
    names: list[str]
    scores: Floats


class RatingsMixin:
    """Mixin that predicts entries; `fit` sets ``W_``, ``components_``, and with strata ``shifts_``, ``row_strata_``."""

    _weighs_divergences = True
    _private_state = (*Estimator._private_state, "_known_entries")

    def predict_entries(self: Any, rows: Vector | int, columns: Labels | int) -> Floats:
        """Return the model at some entries of the training data: ``w_i . h_j``, plus the shift of the row's stratum.

        Only these entries are computed, O(k) each.

        Parameters
        ----------
        rows : array-like (q,) of int, or int
            Rows of the training data.
        columns : array-like (q,) of int or str, or int or str
            Columns, by number, or by name where the model knows `feature_names_in_`. A single row or column goes with
            all of the other.

        Returns
        -------
        ndarray (q,)
            In units of X. It is not limited to the range of the known entries: ``np.clip(found, 1, 5)`` does that for
            ratings from 1 to 5.

        Raises
        ------
        ValueError, TypeError
            `rows` and `columns` have different lengths, or are not rows and columns of the training data; or the model
            has no `W_`, as after `partial_fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import NMF
        >>> X = np.outer([1.0, 2, 3], [1.0, 4, 2])
        >>> NMF(1, random_state=0).fit(X).predict_entries([0, 2], [1, 0]).round(3)
        array([4., 3.])
        """
        W = _weights_of(self, "predict_entries")
        i, j = _places("rows", rows, len(W)), _places("columns", columns, *_features_of(self))
        if len(i) != len(j) and 1 not in (len(i), len(j)):
            raise ValueError(
                f"rows has {len(i)} entries and columns has {len(j)}; give one column for each row, or a single one."
            )
        i, j = np.broadcast_arrays(i, j)
        found = entries_of_product(W, self.components_, i, j)
        if self._has_shifts:
            found += shift_arrays.entries_at(_sorted(self.shifts_), self.row_strata_[i], j)
        return found

    def recommend(
        self: Any,
        row: int,
        n: int = 10,
        exclude_known: bool = True,
        *,
        X: Matrix | None = None,
        strata: Labels | None = None,
    ) -> Features:
        """Return the n columns at which the model of a row is largest: suggestions for a user.

        Parameters
        ----------
        row : int
            Row of the training data; with X, row of X.
        n : int, default=10
            Maximum number of columns.
        exclude_known : bool, default=True
            Whether columns whose entry in this row is known are left out. A model fitted with `missing_values` or
            `weight` remembers them; for others pass X.
        X : sparse matrix or array (n_samples, n_features), default=None
            Rows whose weights `transform` finds, such as those of new users; what a row stores, or where it is not
            missing, is known. None: the training rows.
        strata : array-like (n_samples,), default=None
            Labels of the rows of X, for models with strata.

        Returns
        -------
        Bunch
            ``columns`` (r,), numbers of at most n columns, ``names``, a list of str, and ``scores`` (r,), the model at
            these, descending; ties in the order of the columns.

        Raises
        ------
        ValueError, TypeError
            The row, n, X or strata cannot be used, or the known entries are not remembered.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import NMF
        >>> ratings = np.array([[5.0, 0, 1], [4, 3, 1], [5, 4, 1]])  # 0: not known
        >>> model = NMF(1, missing_values="zeros", alpha_W=0.1, random_state=0).fit(ratings)
        >>> model.recommend(0).columns
        array([1])
        """
        check_integer("n", n)
        if X is None:
            W = _weights_of(self, "recommend")
            row = int(_places("row", row, len(W))[0])
            known = _known_of(self, row) if exclude_known else ()
            score = W[row].astype(np.float64) @ self.components_
            if self._has_shifts:
                score = score + shift_arrays.dense_row(_sorted(self.shifts_), self.row_strata_[row])
        else:
            self._check_fitted()
            refuse_with_design(self, "recommend")
            X, strata = with_labels(X, strata)
            X, n_rows = as_rows(X), _num_samples(X)
            row = int(_places("row", row, n_rows)[0])
            strata = None if strata is None else known_labels(strata, "strata", n_rows)[row : row + 1]
            X = X[[row]] if is_annotated(X) else _safe_indexing(X, [row])
            score = _scores_of_new(self, X, strata)
            known = _known_in(X, getattr(self, "missing_values", None)) if exclude_known else ()
        return _strongest(self, score, n, known)

    def similar_features(self: Any, j: int | str, n: int = 10) -> Features:
        """Return the n columns of the model that are most similar to a column: columns liked by the same users.

        The similarity is the cosine of two columns of the model, ``W h_j`` plus the shifts. It is computed from Gram
        matrices, O(m k), and does not depend on the scale of the components or on the gauge.

        Parameters
        ----------
        j : int or str
            Column, by number or by name.
        n : int, default=10
            Maximum number of columns; column j is not among them.

        Returns
        -------
        Bunch
            As for `recommend`; ``scores`` are cosines, from 0 to 1, 0 for columns that the model leaves empty.

        Raises
        ------
        ValueError, TypeError
            j or n cannot be used, or the model has no `W_`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import NMF
        >>> X = np.array([[1.0, 2, 0], [2, 4, 0], [0, 1, 3]])
        >>> NMF(2, random_state=0).fit(X).similar_features(0, 1).columns
        array([1])
        """
        check_integer("n", n)
        W, H = _weights_of(self, "similar_features").astype(np.float64), self.components_.astype(np.float64)
        j = int(_places("j", j, *_features_of(self))[0])
        with single_threaded_blas():
            gram = W.T @ W
            product, squares = (gram @ H[:, j]) @ H, np.einsum("cj,cj->j", gram @ H, H)
            if self._has_shifts:
                V, sizes = (
                    shift_arrays.as_read(self.shifts_).astype(np.float64),
                    np.bincount(self.row_strata_, minlength=len(self.strata_)),
                )
                sums = np.zeros((len(sizes), W.shape[1]))
                np.add.at(sums, self.row_strata_, W)
                own = V[:, [j]].toarray().ravel() if sp.issparse(V) else V[:, j]  # never-densify-ok: one column
                crossed = V.T @ sums  # (n_columns, k)
                product += crossed @ H[:, j] + (sums @ H).T @ own + V.T @ (sizes * own)
                squares += 2 * np.einsum("jc,cj->j", crossed, H) + (V * V).T @ sizes
        length = np.sqrt(np.maximum(squares, 0))
        cosine = np.divide(product, length * length[j], out=np.zeros_like(product), where=length * length[j] > 0)
        return _strongest(self, np.minimum(cosine, 1.0), n, [j])

    def _fit(self: Any, X, **given):
        super()._fit(X, **given)
        if (background := given.get("background")) is not None:  # by which all weights were divided
            vars(self).update(
                history_=self.history_ | {"objective": background * self.history_["objective"]},
                run_objectives_=background * self.run_objectives_,
                reconstruction_err_=float(np.sqrt(background)) * self.reconstruction_err_,
            )
        return self

    def _observed(self, X, options, strata=None, weight=None, labels=None):
        """Return X as `Strata`; the penalties of its rows and columns count by the sums of their weights.

        Parameters
        ----------
        X, options, strata, weight, labels :
            As for `BaseNMF._observed`.

        Returns
        -------
        Strata
        """
        data = super()._observed(X, options, strata, weight, labels)
        if data.entry_weights is not None:
            data.entry_weights.scales_penalties = True
        return data

    def _data(self, X, given, options):
        if given.get("background") is not None:
            given = given | {"weight": Background(given.get("weight"), given["background"])}
        data = super()._data(X, given, options)
        if data.entry_weights is not None:
            _warn_of_few_entries(data.entry_weights, self._rank(data, given, options), options)
        return data

    def _set_factors(self, data, fit, options):
        super()._set_factors(data, fit, options)
        vars(self).pop("_known_entries", None)
        if data.entry_weights is not None:
            self._known_entries = data.entry_weights.known(data.X)


def _check_no_own(model, what):
    """Raise ValueError for a model with components of single strata, whose part of an entry is not computed here."""
    if getattr(model, "_has_own", False):
        raise ValueError(f"{what} does not know own components of strata; fit with n_own=0 and own=None.")


def _weights_of(model, what):
    """Return `W_` of a fitted model, after a check that it fits the other factors."""
    model._check_fitted()
    refuse_with_design(model, what)
    _check_no_own(model, what)
    W, k = getattr(model, "W_", None), len(model.components_)
    if W is None:
        raise ValueError(f"{what} needs W_, the weights of the rows of fit, but this model has none; call fit.")
    W = np.asarray(W)
    codes = getattr(model, "row_strata_", None) if model._has_shifts else None
    if W.ndim != 2 or W.shape[1] != k or codes is not None and len(codes) != len(W):
        raise ValueError(f"W_ has the shape {W.shape}, which does not fit the {k} components or the rows; fit again.")
    return W


def _features_of(model):
    return model.components_.shape[1], getattr(model, "feature_names_in_", None)


def _places(what, given, size, names=None):
    """Return row or column numbers as int64 (q,), from numbers or names; raise one sentence where they are none.

    Parameters
    ----------
    what : str
        Name of the argument, for messages.
    given : array-like (q,), or one number or name
    size : int
        The numbers are below it.
    names : sequence of str, default=None
        Names of the columns.
    """
    found = np.atleast_1d(np.asarray(given))
    if found.ndim != 1:
        raise ValueError(f"{what} has the shape {found.shape}; expected one dimension.")
    if found.dtype.kind in "OU" and all(isinstance(each, str) for each in found):
        place = {name: j for j, name in enumerate(() if names is None else names)}
        missing = [each for each in found if each not in place]
        if missing:
            known = "is not a feature of X" if names is not None else "is a name, but the model has no names"
            raise ValueError(f"{what} has {shown(str(missing[0]))}, which {known}; give numbers from 0 to {size - 1}.")
        found = np.array([place[each] for each in found], np.int64)
    found = found.astype(np.int64) if found.size == 0 else found
    if found.dtype.kind not in "iu":
        raise TypeError(f"{what} is {shown(given)}; expected integers from 0 to {size - 1}, or names of features.")
    if found.size and not 0 <= int(found.min()) <= int(found.max()) < size:
        worst = int(found.min()) if found.min() < 0 else int(found.max())
        raise ValueError(f"{what} has {worst}; expected integers from 0 to {size - 1}.")
    return found.astype(np.int64)


def _sorted(V):
    """Return shifts, dense, or CSR that is sorted and has no duplicates."""
    return shift_arrays.as_read(V) if sp.issparse(V) else V


def _known_of(model, row):
    """Return the columns that are known in a training row."""
    known = getattr(model, "_known_entries", None)
    if known is None or known.shape[0] != len(model.W_):
        raise ValueError(
            "exclude_known=True needs the known entries, which a fit without missing_values and weight does not keep; "
            "pass X=, the training data, or exclude_known=False."
        )
    return known.indices[known.indptr[row] : known.indptr[row + 1]]


def _known_in(X, missing_values):
    """Return the columns that are known in the only row of X."""
    X = matrix_of(X)
    if sp.issparse(X):
        X = sp.csr_array(X)
        return X.indices[~np.isnan(X.data) & (X.data != 0)]
    x = np.asarray(X, dtype=np.float64).ravel()
    return np.flatnonzero(~np.isnan(x) if missing_values == "nan" else x != 0)


def _scores_of_new(model, X, strata):
    """Return the model of the only row of X, (n_columns,), with the label `strata` (1,), or None."""
    _check_no_own(model, "recommend")
    if not model._has_shifts:
        if strata is not None:
            raise ValueError(f"{type(model).__name__} has no strata; leave strata= out, or use StratifiedNMF.")
        return np.asarray(model.transform(X), dtype=np.float64)[0] @ model.components_
    model = model._with_new_strata(X, strata)
    W = np.asarray(model.transform(X, strata=strata), dtype=np.float64)
    place = 0 if strata is None else int(places(known_labels(strata, "strata", 1), model.strata_)[0])
    return W[0] @ model.components_ + shift_arrays.dense_row(_sorted(model.shifts_), place)


def _strongest(model, score, n, without):
    """Return the features with the largest scores.

    Parameters
    ----------
    model : BaseNMF
    score : ndarray (n_columns,)
    n : int
        Maximum number of features.
    without : sequence of int
        Columns that are left out.

    Returns
    -------
    Features
    """
    is_there = np.ones(len(score), bool)
    is_there[np.asarray(without, np.int64)] = False
    columns = np.flatnonzero(is_there)
    columns = columns[np.argsort(-score[columns], kind="stable")[:n]]
    names = feature_names_for(model, None)[columns]
    return Features(columns=columns, names=[str(name) for name in names], scores=score[columns])


def _warn_of_few_entries(weights, rank, options):
    """Warn where many rows or columns have fewer known entries than components, and no penalty holds their weights."""
    for name, what, axis in (("W", "rows", 1), ("H", "columns", 0)):
        factor = getattr(options, name)
        if factor.alpha or factor.objects or factor.fixed is not None:
            continue
        counts = weights.counts(axis)
        share = np.count_nonzero((counts > 0) & (counts < rank)) / max(np.count_nonzero(counts), 1)
        if share > MANY:
            warn(
                f"{100 * share:.0f} % of the {what} have fewer known entries than the {rank} components, so that other "
                f"entries are predicted badly; set alpha_W=0.1 (alpha_H follows), or a smaller n_components.",
                UserWarning,
            )
            return
