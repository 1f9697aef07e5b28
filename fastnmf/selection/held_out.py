"""Hold data out of a factorization in two valid ways, and measure the error on the held-out data.

A third way is not valid: to hold out whole rows and to find their weights from the same entries that are scored. More
components always fit these entries better.
"""

import copy
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import allocate
from fastnmf.core.losses.choice import Counts
from fastnmf.data import shifts
from fastnmf.data.labels import encode_labels
from fastnmf.data.layout import row_index
from fastnmf.data.levels import RowsOfDesign
from fastnmf.kernels.jit import threads
from fastnmf.models.base.counts import fitted_size
from fastnmf.selection.parallel_fits import is_settled, what_rows_have

COLUMN_PARTS = 3  # weights come from two thirds of the columns, the error from the remaining third
REACH = 2.0  # bound on predictions of held-out entries, relative to the largest entry of the column in the fit
MAX_MASK = 1 << 27  # entries of a mask: 1.1 GB while it is drawn
BLOCK = 1 << 21  # entries of a dense block


class Entries:
    """Folds of single entries, including zeros, spread evenly over the entries of every row and so of every stratum.

    Also known as speckled hold-out (Wold 1978, "Cross-validatory estimation of the number of components in factor and
    principal components models"). The fit gives the entries of one fold weight zero.

    If the entries that are not stored are unknown (``missing_values="zeros"``), folds consist of stored entries.

    Parameters
    ----------
    setting : fastnmf.selection.parallel_fits.ParallelFits
    n_folds : int
    rng : numpy.random.Generator
    """

    def __init__(self, setting, n_folds, rng):
        self.X, shape = setting.X, setting.X.shape
        self.is_of_stored = sp.issparse(setting.X) and setting.estimator.missing_values == "zeros"
        if self.is_of_stored:
            row = row_index(self.X)
            order = np.lexsort((rng.random(len(row)), row))
            place = np.empty(len(row), np.int64)
            place[order] = np.arange(len(row)) - self.X.indptr[row]
            self.fold = ((place + rng.integers(n_folds, size=shape[0])[row]) % n_folds).astype(np.int16)
            return
        self.fold = np.empty(shape, np.int16)
        turn = np.arange(shape[1], dtype=np.int16) % n_folds
        step = max(1, BLOCK // shape[1])
        for at in range(0, shape[0], step):
            block = self.fold[at : at + step]
            first = rng.integers(n_folds, size=len(block))
            block[:] = rng.permuted((turn + first[:, None]) % n_folds, axis=1)

    def _mask(self, is_in):
        """Return weights that are 1 where `is_in`, as a sparse matrix if only the stored entries are known."""
        if not self.is_of_stored:
            return is_in
        return sp.csr_array((is_in.astype(np.float64), self.X.indices, self.X.indptr), self.X.shape)

    def measure(self, setting, rank, fold, seed, **more):
        """Fit without one fold and measure the errors.

        Parameters
        ----------
        setting : fastnmf.selection.parallel_fits.ParallelFits
        rank : int
        fold : int
        seed : int
            Of the start.
        **more
            Further parameters of the estimator.

        Returns
        -------
        has_converged : bool
            False if the fit stopped at max_iter.
        errors : tuple of two floats
            Normalized loss on the held-out data, and on the data of the fit.
        """
        unfitted = setting.make(rank, seed, **more)
        model = unfitted.fit(self.X, **setting.labels(), weight=self._mask(self.fold != fold))
        error = self._stored_error if self.is_of_stored else self._error
        return is_settled(model), (error(setting, model, fold), model.normalized_loss_)

    def _error(self, setting, model, fold):
        """Return the normalized loss over the entries of a fold, computed in blocks of rows."""
        lost = total = 0.0
        missing = setting.estimator.missing_values
        limit = REACH * self._largest(fold)
        step = max(1, BLOCK // self.X.shape[1])
        for of_part, part, W, labels in parts_of(model, model.W_, setting.labels()):
            index = _stratum_of_rows(part, len(W), labels)
            for at in range(0, len(W), step):
                rows, here = of_part[at : at + step], slice(at, at + step)
                x = self.X[rows]
                x = x.toarray() if sp.issparse(x) else x  # never-densify-ok: a block of at most 16 MB or one row
                y = W[here] @ part.components_
                y = y + shifts.rows_of(part.shifts_, index[here]) if part._has_shifts else y
                is_out = self.fold[rows] == fold
                is_out &= ~np.isnan(x) if missing == "nan" else (x > 0 if missing == "zeros" else True)
                x = x[is_out].astype(np.float64)
                lost += np.square(x - np.minimum(y, limit)[is_out]).sum()
                total += np.square(x).sum()
        return _ratio(lost, total)

    def _largest(self, fold):
        """Return the largest entry of every column outside the fold."""
        if not sp.issparse(self.X):
            return np.nan_to_num(np.where(self.fold != fold, self.X, 0)).max(axis=0)
        row = row_index(self.X)
        is_in = self.fold[row, self.X.indices] != fold
        largest = np.zeros(self.X.shape[1])
        np.maximum.at(largest, self.X.indices[is_in], np.nan_to_num(self.X.data[is_in]))
        return largest

    def _stored_error(self, setting, model, fold):
        """Return the normalized loss over the stored entries of a fold."""
        row = row_index(self.X)
        is_out = self.fold == fold
        largest = np.zeros(self.X.shape[1])
        np.maximum.at(largest, self.X.indices[~is_out], self.X.data[~is_out])
        row, column, x = row[is_out], self.X.indices[is_out], self.X.data[is_out].astype(np.float64)
        y = np.zeros(len(x))
        for of_part, part, W, labels in parts_of(model, model.W_, setting.labels()):
            place = np.full(self.X.shape[0], -1)
            place[of_part] = np.arange(len(W))
            here = np.flatnonzero(place[row] >= 0)
            place = place[row[here]]
            for w, h in zip(W.T, part.components_, strict=True):
                y[here] += w[place] * h[column[here]]
            if part._has_shifts:
                index = _stratum_of_rows(part, len(W), labels)[place]
                y[here] += shifts.entries_at(shifts.as_read(part.shifts_), index, column[here])
        return _ratio(np.square(x - np.minimum(y, REACH * largest[column])).sum(), np.square(x).sum())


class RowsColumns:
    """Folds of rows, in which each third of the columns is predicted from the other two thirds.

    Components and shifts come from the other rows. The weights of a held-out row come from two thirds of its columns,
    the error from the remaining third; each third in turn. This follows Owen and Perry 2009, "Bi-cross-validation of
    the SVD and the nonnegative matrix factorization", doi:10.1214/08-AOAS227, who also leave the columns out of the
    fit. Folds are drawn within strata; the row of a stratum with a single row is part of every fit. Predictions of the
    squared error are cut off as those of `Entries`: weights from a few columns can be arbitrarily large.

    Parameters
    ----------
    setting : fastnmf.selection.parallel_fits.ParallelFits
    n_folds : int
    rng : numpy.random.Generator
    """

    def __init__(self, setting, n_folds, rng):
        n_rows, n_columns = setting.X.shape
        self.fold = np.full(n_rows, -1)
        for code in range(setting.stratum_index.max() + 1):
            mine = np.flatnonzero(setting.stratum_index == code)
            if len(mine) > 1:
                self.fold[rng.permutation(mine)] = (np.arange(len(mine)) + rng.integers(n_folds)) % n_folds
        counts = np.bincount(self.fold[self.fold >= 0], minlength=n_folds)
        if not counts.all() or n_columns < 2:
            raise ValueError(
                f"{n_rows} rows in {setting.stratum_index.max() + 1} strata and {n_columns} columns are too few for "
                f"method='rows_columns' with n_folds={n_folds}; use fewer folds, or method='entries'."
            )
        n_parts = min(COLUMN_PARTS, n_columns)
        self.part = [rng.permutation(np.arange(n_columns) % n_parts) for _ in range(n_folds)]

    def measure(self, setting, rank, fold, seed, **more):
        """Fit without one fold and measure the errors.

        Parameters
        ----------
        setting, rank, fold, seed, **more :
            As for `Entries.measure`.

        Returns
        -------
        has_converged : bool
            False if the fit stopped at max_iter.
        errors : tuple of two floats
            Normalized loss on the held-out data, and on the rows of the fit.
        """
        is_out, part = self.fold == fold, self.part[fold]
        model = setting.make(rank, seed, **more).fit(setting.X[~is_out], **setting.labels(~is_out))
        X, labels = setting.X[is_out], setting.labels(is_out)
        limit = REACH * _largest_of_columns(setting.X[~is_out]) if _clips(setting.estimator) else None
        size, train = None, model.normalized_loss_
        if setting.scoring == "negative-binomial" and not hasattr(model, "dispersion_"):
            size = _fitted_size(model, setting.X[~is_out], **setting.labels(~is_out))
            train = _ratio(*losses(model, setting.X[~is_out], model.W_, **setting.labels(~is_out), size=size))
        lost = total = whole = 0.0  # the trivial models of strata are not that of all rows, except for squares
        for left in range(part.max() + 1):
            seen, scored = np.flatnonzero(part != left), np.flatnonzero(part == left)
            found = restrict_columns(model, seen)
            W = found.transform(X[:, seen], **labels)
            U = found.transform_own(X[:, seen], **labels) if hasattr(model, "own_W_") else None
            for rows, each, of_rows, given in parts_of(restrict_columns(model, scored), W, labels, U):
                Y = X[rows][:, scored]
                if limit is None:
                    found = losses(each, Y, of_rows, **given, size=None if size is None else size[scored])
                else:
                    found = _clipped_losses(each, Y, of_rows, limit[scored], **given)
                lost, total = lost + found[0], total + found[1]
            is_split = hasattr(model, "models_") or hasattr(model, "_own_stack")
            if is_split and not setting.estimator._options().is_squared:
                whole += trivial_loss(each, X[:, scored])
        return is_settled(model), (_ratio(lost, whole or total), train)


def parts_of(model, W, labels, U=None):
    """Yield the models ``W H``, or ``W H + 1 vᵀ``, of which a fitted model consists, one for each group of rows.

    To the rows of one stratum, a model with own components G(i) is one with the longer dictionary ``[H G(i)]``, or with
    ``H + D(i)``.

    Parameters
    ----------
    model : NMF, StratifiedNMF, or SeparateNMF
        Fitted.
    W : ndarray (n, k)
        Weights of some rows.
    labels : dict
        Their strata, as keyword argument; empty if the model does not use them.
    U : csr_array (n, sum of `n_own_`), default=None
        Weights of the own components of the strata, for a model that has them.

    Yields
    ------
    rows : ndarray of int
        Rows of W that the part describes.
    part : NMF or StratifiedNMF
    weights : ndarray (n_rows, k)
    labels : dict
        Strata of these rows, where the part has several.
    """
    has_own = hasattr(model, "_own_stack")
    if not (has_own or hasattr(model, "models_")):
        yield np.arange(len(W)), model, W, labels
        return
    index, _ = encode_labels(labels["strata"], len(W), model.strata_)
    own_components = list(model.own_components_.values()) if has_own else []
    for code in np.unique(index):
        rows = np.flatnonzero(index == code)
        if not has_own:
            yield rows, model.models_[code], W[rows], {}
            continue
        part, own, of_rows = copy.copy(model), own_components[code], W[rows]
        own = own.toarray() if sp.issparse(own) else own  # never-densify-ok: the components of one stratum
        part.components_ = np.concatenate([model.components_, own]) if U is not None else model.components_ + own
        if U is not None:
            end = int(model.n_own_[: code + 1].sum())
            mine = U[rows][:, end - len(own) : end].toarray()  # never-densify-ok: the weights of one stratum
            of_rows = np.concatenate([of_rows, mine], axis=1)
        part.strata_, part.shifts_ = model.strata_[[code]], model.shifts_[[code]]
        part.n_own, part.own, part.shifts = 0, None, True
        del part._own_stack
        yield rows, part, of_rows, {}


def _stratum_of_rows(model, n_rows, labels):
    """Return the stratum of each row, as its place in `strata_`; zeros for a model without."""
    return encode_labels(labels.get("strata"), n_rows, model.strata_ if model._has_shifts else None)[0]


def _fitted_size(model, X, **given):
    """Return the sizes of negative-binomial counts X, the data of the fit, at the mean of a model, (m,)."""
    options = model._options()
    with threads(options.n_threads):
        data = _read(model, X, options, given)
        V = shifts.as_read(model.shifts_) if model._has_shifts else None
        return fitted_size(data, model.W_, model.components_.T, V, "ml", "feature")


def restrict_columns(model, columns):
    """Return a copy of a fitted model with a subset of its columns."""
    part = copy.copy(model)
    if hasattr(model, "models_"):
        part.models_ = [restrict_columns(each, columns) for each in model.models_]
        return part
    part.components_, part.n_features_in_ = model.components_[:, columns], len(columns)
    if model._has_shifts:
        part.shifts_ = shifts.as_read(model.shifts_)[:, columns]
    if hasattr(model, "_own_stack"):
        part._own_stack = shifts.as_read(model._own_stack)[:, columns]
    if hasattr(model, "dispersion_"):
        part.dispersion_ = model.dispersion_[columns]
    return part


def losses(model, X, W, *, size=None, **given):
    """Return the loss of a model with given weights on X, and that of the trivial model (see `normalized_loss_`).

    Parameters
    ----------
    model : NMF or StratifiedNMF
        Fitted.
    X : csr_array or ndarray (n, m)
    W : ndarray (n, k)
        In the scale of the user.
    size : ndarray (m,), default=None
        Sizes of negative-binomial counts, whose deviance then takes the place of the model's own loss.
    **given
        Strata, design and exposure of the rows, as in the fit.

    Returns
    -------
    loss, trivial : float
        In the units of the user's data.
    """
    options = model._reading_options()
    options = options if size is None else replace(options, loss=Counts(size))
    with threads(options.n_threads):
        data = _read(model, X, options, given)
        e, V = data.log4_scale, None
        W, H = np.ldexp(W, e), np.ldexp(model.components_.T, e)
        if model._has_shifts:
            V = shifts.mapped(shifts.as_read(model.shifts_), lambda v: np.ldexp(v.astype(np.float64), 2 * e))
            V = shifts.among(V, data.groups.sizes > 0)
            if not options.is_squared:  # a shift may be positive where all given rows are zero
                data.pattern = data.pattern.covering(V)
        factors, tasks = allocate(data, W, H, None if V is None else data.pattern.entries(V))
        problem = model._problem(data, factors, tasks, options)
        value = problem.value(factors, **({"V": V} if V is not None and options.is_squared else {}))
    unit = 2.0 ** (-2 * options.beta * e)
    return max(value, 0.0) * unit, problem.scale * unit


def _read(model, X, options, given):
    """Return rows X, and what they have, as the data of a fitted model.

    Parameters
    ----------
    model : NMF or StratifiedNMF
    X : csr_array or ndarray (n, m)
    options : Options
    given : dict
        Strata, design and exposure of the rows, those that the fit had.
    """
    if getattr(model, "_is_designed", False):
        return model._observed(X, options, RowsOfDesign(**given), labels=model._fitted_design())
    labels = model.strata_ if model._has_shifts else None
    return model._observed(X, options, given.get("strata"), labels=labels)


def _shifts_of_rows(model, n_rows, given):
    """Return how much of each shift of a fitted model each row has, a csr_array (n_rows, n_shifts)."""
    if getattr(model, "_is_designed", False):
        rows = RowsOfDesign(**given)
        return model._fitted_design().encode(rows.strata, rows.design, rows.exposure, n_rows)
    index, _ = encode_labels(given.get("strata"), n_rows, model.strata_)
    return sp.csr_array((np.ones(n_rows), index, np.arange(n_rows + 1)), (n_rows, len(model.strata_)))


def trivial_loss(model, X):
    """Return what `losses` gives for the trivial model of rows X, with the loss of a fitted NMF."""
    each = copy.copy(model)
    each.components_, each.n_features_in_ = np.ones((1, X.shape[1])), X.shape[1]
    return losses(each, X, np.ones((X.shape[0], 1)))[1]


def _clips(estimator):
    """Return whether predictions can be cut off: for the squared error of data that are all known."""
    return estimator._options().is_squared and estimator.missing_values is None


def _largest_of_columns(X):
    return X.max(axis=0).toarray().ravel() if sp.issparse(X) else X.max(axis=0)  # never-densify-ok: one row


def _clipped_losses(model, X, W, limit, **given):
    """Return what `losses` does for the squared error, with predictions cut off at `limit`.

    The largest share of a limit that a row can reach is at most the product of its weights with the largest shares of
    the components. Only rows for which that is above 1 are predicted entry by entry, in blocks.

    Parameters
    ----------
    model : NMF or StratifiedNMF
        Fitted.
    X : csr_array or ndarray (n, m)
    W : ndarray (n, k)
    limit : ndarray (m,)
        Largest prediction of each column.
    **given
        Strata, design and exposure of the rows, as in the fit.

    Returns
    -------
    loss, trivial : float
    """
    H, has_limit = model.components_.astype(np.float64), limit > 0
    reached = W @ np.divide(H, limit, where=has_limit, out=np.zeros(H.shape)).max(axis=1, initial=0)
    Z = None
    if model._has_shifts:
        Z, V = _shifts_of_rows(model, len(W), given), shifts.as_read(model.shifts_)
        reached += Z @ np.array([_largest_share(shift, limit) for shift in shifts.each_row(V)])
    is_far = reached > 1
    lost = total = 0.0
    if not is_far.all():
        lost, total = losses(model, X[~is_far], W[~is_far], **what_rows_have(given, ~is_far))
    far = np.flatnonzero(is_far)
    step = max(1, BLOCK // X.shape[1])
    for at in range(0, len(far), step):
        rows = far[at : at + step]
        x = X[rows]
        x = (x.toarray() if sp.issparse(x) else x).astype(np.float64)  # never-densify-ok: a block of at most 16 MB
        y = W[rows] @ H
        y = y if Z is None else y + shifts.rows_of(Z[rows] @ V, slice(None))
        lost += np.square(x - np.minimum(y, limit)).sum()
        total += np.square(x).sum()
    return lost, total


def _largest_share(shift, limit):
    return np.divide(shift, limit, where=limit > 0, out=np.zeros(len(limit))).max(initial=0)


def _ratio(lost, total):
    """Return the square root of a loss over that of the trivial model.

    If the latter is 0, return 0 if the loss is 0, else inf.
    """
    return np.sqrt(lost / total) if total > 0 else (0.0 if lost == 0 else np.inf)
