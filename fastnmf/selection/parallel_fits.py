"""Run many fits of one estimator in parallel: the input is checked once, and each fit has its own seed."""

import threading
import warnings

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastnmf.core.options import check_jobs
from fastnmf.core.progress import counting
from fastnmf.core.warn import warn
from fastnmf.data.annotated import matrix_of, with_labels
from fastnmf.data.labels import columns_of, encode_labels, is_crossed
from fastnmf.data.levels import Design
from fastnmf.data.matrix import as_csr, as_numbers, check_kind, unmasked
from fastnmf.data.names import names_of, numbered
from fastnmf.data.readings import Readings, carried
from fastnmf.data.sentences import shown
from fastnmf.models.base.auto_start import random_start
from fastnmf.models.nmf import NMF
from fastnmf.models.stratified import StratifiedNMF


class ParallelFits:
    """Data, strata and estimator of many fits, checked.

    Parameters
    ----------
    X : sparse matrix or array (n_samples, n_features)
        Or an AnnData.
    strata : array-like (n_samples,), str, a frame or dict of several factors, or None
    estimator : NMF, StratifiedNMF, or None
        All as in `fastnmf.select_rank`.
    n_jobs : int, or None
        As for joblib.
    **of_design
        `design` and `exposure` as in `fastnmf.select_rank`, where these are possible.

    Attributes
    ----------
    X : csr_array or ndarray (n_samples, n_features)
        As the estimators read it, without feature names, so that columns can be left out.
    names : ndarray (n_features,) of str, or None
        The feature names.
    strata : ndarray (n_samples,), dict of them for several factors, or None
    design : csr_array or DataFrame (n_samples, q), or None
    exposure : ndarray (n_samples,) of float64, or None
    stratum_index : ndarray (n_samples,) of int32
        Stratum of each row; zeros if there are none. Of several factors, and of a design, the cell of each row; see
        `cells_of` and `cells_of_design`.
    estimator : NMF or StratifiedNMF
        Not fitted; not verbose, and with one thread if several fits run at once.
    scoring : {"loss", "negative-binomial"}
        How held-out data are scored, as in `fastnmf.select_rank`.
    """

    scoring = "loss"

    def __init__(self, X, strata, estimator, n_jobs, **of_design):
        if isinstance(X, Readings) and isinstance(strata, (int, range)):
            raise TypeError(
                f"strata={shown(strata)} is second, but X has its own labels; pass a number of components by name: "
                "ranks= of select_rank, n_components= of the others."
            )
        rows = carried(X, strata=strata, **of_design)
        strata, design, exposure = (rows.get(name) for name in ("strata", "design", "exposure"))
        X, strata = with_labels(X, strata)
        if isinstance(exposure, str):
            X, exposure = with_labels(X, exposure)
        self.names = names_of(X)
        X = unmasked(matrix_of(X), getattr(estimator, "missing_values", None), type(estimator).__name__)
        check_kind(X)
        if not sp.issparse(X):
            X = np.asarray(X)
            check_kind(X)
        self.X = _canonical(X) if sp.issparse(X) else X
        if is_crossed(strata):
            each = {name: encode_labels(of, X.shape[0]) for name, of in columns_of(strata).items()}
            self.strata = {name: labels[index] for name, (index, labels) in each.items()}
            self.stratum_index = cells_of([index for index, _ in each.values()])
        else:
            self.stratum_index, labels = encode_labels(strata, X.shape[0])
            self.strata = None if strata is None else labels[self.stratum_index]
        self._set_design(design, exposure)
        if estimator is None:
            estimator = StratifiedNMF() if self.is_designed or strata is not None else NMF()
        if not isinstance(estimator, (NMF, StratifiedNMF)):
            raise TypeError(f"estimator={shown(estimator)} is not supported here; expected an NMF or a StratifiedNMF.")
        if estimator.init == "custom":
            raise ValueError(
                "The estimator has init='custom', but many fits need many starts; choose a different init."
            )
        check_jobs("n_jobs", n_jobs)
        self.n_jobs = n_jobs
        options = {"verbose": 0, "warm_start": False}
        if effective_n_jobs(n_jobs) > 1:
            options["n_threads"] = 1
        self.estimator = clone(estimator).set_params(**options)
        if self.names is not None and getattr(estimator, "seed_features", None) is not None:
            self.estimator.set_params(seed_features=numbered(estimator.seed_features, self.names))

    @property
    def is_designed(self):
        """Whether rows have several factors, a design or an exposure."""
        return isinstance(self.strata, dict) or self.design is not None or self.exposure is not None

    def _set_design(self, design, exposure):
        """Store a design and an exposure, checked, and divide the rows into cells by them."""
        self.design, self.exposure = design, None
        if design is None and exposure is None:
            return
        n_rows = self.X.shape[0]
        learned, Z = Design.learn(self.strata, design, exposure, n_rows)
        if exposure is not None:
            self.exposure = as_numbers(exposure, "exposure").astype(np.float64)
            ones = np.ones(n_rows)
            Z = learned.encode(self.strata, design, ones, n_rows)
        if design is not None:
            self.design = design if hasattr(design, "iloc") else Z
            self.stratum_index = cells_of_design(Z)
        if exposure is not None:  # rows without a shift say nothing about it, so they are divided by themselves
            cell = 2 * self.stratum_index.astype(np.int64) + (self.exposure == 0)
            self.stratum_index = np.unique(cell, return_inverse=True)[1].astype(np.int32)

    def make(self, rank, seed, **more):
        """Return an unfitted estimator whose start is of the same kind for all seeds and depends on them."""
        more = {"init": random_start(self.estimator, self.X, rank)} | more
        return clone(self.estimator).set_params(n_components=int(rank), random_state=int(seed), **more)

    def labels(self, rows=slice(None)):
        """Return what `rows` have as keyword arguments of `fit`; an empty dict for models without strata."""
        given = {"strata": self.strata, "design": self.design, "exposure": self.exposure}
        return what_rows_have(given, rows) if self.estimator._has_shifts else {}

    def run(self, name, jobs, verbose):
        """Return the results of ``[(function, arguments), ...]`` in their order; warn once if fits stopped at max_iter.

        Each function is called with this object before its arguments. It returns whether its fit stopped before
        max_iter, and its result. The calls run in threads that share X; the kernels release the interpreter lock.

        Parameters
        ----------
        name : str
            Name of the task, for the display of progress.
        jobs : list of (callable, tuple)
        verbose : int
        """
        calls = (delayed(_quietly)(function, self, *arguments) for function, arguments in jobs)
        results, n_short = [], 0
        with warnings.catch_warnings(), counting(name, len(jobs), verbose) as count:
            warnings.simplefilter("ignore", ConvergenceWarning)
            for is_settled, result in Parallel(n_jobs=self.n_jobs, prefer="threads", return_as="generator")(calls):
                results.append(result)
                n_short += not is_settled
                count()
        if n_short:
            warn(
                f"{n_short} of {len(jobs)} fits stopped at max_iter={self.estimator.max_iter} before they converged; "
                "pass an estimator with a larger max_iter, or a larger tol.",
                ConvergenceWarning,
            )
        return results


def _quietly(function, *arguments):
    """Call a function without its ConvergenceWarning, also in a process of joblib."""
    if threading.current_thread() is not threading.main_thread():
        return function(*arguments)  # warning filters belong to the process; `Setting.run` has set them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*arguments)


def what_rows_have(given, rows):
    """Return what some rows have of strata, a design and an exposure, without those that are None."""
    given = {name: value for name, value in given.items() if value is not None}
    return {name: some_labels(value, rows) if name == "strata" else _some(value, rows) for name, value in given.items()}


def _some(values, rows):
    return values.iloc[rows] if hasattr(values, "iloc") else values[rows]


def some_labels(strata, rows):
    """Return the labels of some rows: an array, or a dict of arrays for several factors."""
    if isinstance(strata, dict):
        return {name: labels[rows] for name, labels in strata.items()}
    return np.asarray(strata)[rows]


def cells_of(factors):
    """Return the cell of each row, a combination of levels, as numbers (n_rows,) of int32.

    Folds are drawn within cells, so that a fit without a fold has seen all levels. A row that is alone in its cell may
    be held out, too, if other cells have its levels: all such rows are one more cell.

    Parameters
    ----------
    factors : list of ndarray (n_rows,) of int
        The level of each row, for each factor.
    """
    _, cell, counts = np.unique(np.stack(factors), axis=1, return_inverse=True, return_counts=True)
    cell = cell.ravel()
    is_alone = counts[cell] == 1
    is_known = [np.isin(levels, levels[~is_alone]) for levels in factors]
    return np.where(is_alone & np.all(is_known, axis=0), len(counts), cell).astype(np.int32)


def cells_of_design(Z):
    """Return the cell of each row of a design (n_rows, q), the columns that it has, as numbers (n_rows,) of int32.

    Folds are drawn within cells. Rows that are alone in their cell are one more cell together, except for as many as it
    takes that all columns occur outside it: they are part of every fit.

    Parameters
    ----------
    Z : csr_array (n_rows, q)
    """
    has = Z.astype(bool)
    key = has @ np.random.default_rng(0).random(Z.shape[1])  # equal for equal columns, and else different
    _, cell, counts = np.unique(key, return_inverse=True, return_counts=True)
    is_joint = counts[cell] == 1
    is_covered = np.asarray(has[~is_joint].sum(axis=0)).ravel() > 0
    for row in np.flatnonzero(is_joint):
        columns = has.indices[has.indptr[row] : has.indptr[row + 1]]
        if not is_covered[columns].all():
            is_covered[columns], is_joint[row] = True, False
    return np.where(is_joint, len(counts), cell).astype(np.int32)


def _canonical(X):
    """Return sparse X as CSR that stores every entry once and stores no zeros.

    The folds of stored entries depend on this.
    """
    X = as_csr(X)
    if not X.has_canonical_format or not X.data.all():
        X = X.copy()
        X.sum_duplicates()
        X.eliminate_zeros()
    return X


def is_settled(model):
    """Return whether a fit ended for a reason other than max_iter."""
    return model.converged_ or model.stopped_by_ != "max_iter"


def unit_rows(components):
    """Return the rows scaled to length 1, and their lengths; a row of zeros is not changed."""
    largest = components.max(axis=1, initial=0)
    scaled = components / np.where(largest > 0, largest, 1)[:, None]  # squares of tiny entries would underflow
    lengths = np.sqrt(np.einsum("lj,lj->l", scaled, scaled, dtype=np.float64))
    unit = (scaled / np.where(lengths > 0, lengths, 1)[:, None]).astype(components.dtype)
    return unit, lengths * largest
