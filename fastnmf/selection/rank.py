"""Choose the rank by the error on held-out data, and by the stability of the components over restarts."""

from __future__ import annotations

import numbers
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment

from fastnmf.core.options import check_choice, check_integer, check_verbose, generator
from fastnmf.core.restarts import has_same_start
from fastnmf.core.warn import warn
from fastnmf.data.annotated import with_layer
from fastnmf.data.sentences import shown
from fastnmf.metrics.ensembles import agreement_of_runs, sample_components
from fastnmf.models.nmf import NMF
from fastnmf.models.stratified import StratifiedNMF
from fastnmf.selection.held_out import COLUMN_PARTS, MAX_MASK, Entries, RowsColumns
from fastnmf.selection.parallel_fits import ParallelFits, is_settled, unit_rows
from fastnmf.typing import Floats, Groups, Integers, Matrix, Seed, SparseOrDense, Vector

SCORINGS = ("loss", "negative-binomial")
METHODS = {"entries": Entries, "rows_columns": RowsColumns}
FEW_COLUMNS = 30  # fewer make the weights of a held-out row noise
SMALL = 1_000_000  # largest number of entries of dense data for which the default method is "entries"


@dataclass(frozen=True, repr=False)
class RankSelection:
    """Result of `select_rank`; it prints as a table.

    Attributes
    ----------
    ranks : ndarray (n_ranks,) of int
        Ascending.
    held_out, held_out_se : ndarray (n_ranks,)
        Mean over the splits of the normalized loss on the held-out data, and its standard error: the standard deviation
        over the splits, divided by ``sqrt(n_folds)``. (Repeats overlap, so they do not count as more folds.)
    held_out_splits : ndarray (n_ranks, n_repeats * n_folds)
        The losses of the single splits; a column is one split, which is the same for all ranks.
    train : ndarray (n_ranks,)
        Mean normalized loss on the data of the fits. It decreases with the rank, so it cannot be used to choose one.
    stability : ndarray (n_ranks,)
        Mean cosine of matched components over all pairs of restarts; NaN if there are fewer than two restarts.
    cophenetic, dispersion : ndarray (n_ranks,)
        How well the restarts agree on the groups of samples (`fastnmf.metrics.cophenetic_correlation`,
        `fastnmf.metrics.dispersion`), from at most 2000 samples, evenly spaced; NaN as for `stability`.
    seconds : ndarray (n_ranks,)
        Mean time of a fit and its evaluation.
    best_rank : int
        Rank with the lowest `held_out`; the smallest if several are equal.
    rank_1se : int
        Smallest rank with `held_out` within one standard error of the least.
    method : str
        ``"entries"`` or ``"rows_columns"``.
    n_folds, n_repeats, n_restarts : int
    stability_quartiles : ndarray (n_ranks, 3)
        Lower quartile, median and upper quartile of the cosines whose mean is `stability`; NaN as there.
    """

    ranks: Integers
    held_out: Floats
    held_out_se: Floats
    held_out_splits: Floats
    train: Floats
    stability: Floats
    cophenetic: Floats
    dispersion: Floats
    seconds: Floats
    best_rank: int
    rank_1se: int
    method: str
    n_folds: int
    n_repeats: int
    n_restarts: int
    stability_quartiles: Floats

    def __repr__(self):
        """Return the table and the two choices."""
        lines = ["rank  held-out loss  std. error  training loss  stability  cophenetic  dispersion  seconds a fit"]
        for rank, error, se, train, *of_runs, seconds in zip(self.ranks, *self.table().values(), strict=True):
            choices = (("least", self.best_rank), ("one standard error", self.rank_1se))
            marks = [name for name, chosen in choices if rank == chosen]
            texts = ("-" if np.isnan(value) else f"{value:.3f}" for value in of_runs)
            agreement = "  ".join(text.rjust(width) for text, width in zip(texts, (9, 10, 10), strict=True))
            line = f"{rank:4d}  {error:13.5f}  {se:10.5f}  {train:13.5f}  {agreement}  {seconds:13.2f}"
            lines.append(line + ("  <- " + ", ".join(marks) if marks else ""))
        folds = f"{self.n_folds} folds" + (f", {self.n_repeats} times" if self.n_repeats > 1 else "")
        lines.append(
            f"Held out: {self.method}, {folds}. Least loss at rank {self.best_rank}; rank {self.rank_1se} is the "
            "smallest within one standard error of it."
        )
        return "\n".join(lines)

    __str__ = __repr__

    def to_frame(self) -> Any:
        """Return the table as a pandas DataFrame, one row per rank; needs pandas."""
        import pandas

        return pandas.DataFrame(self.table(), index=pandas.Index(self.ranks, name="rank"))

    def table(self) -> dict[str, Floats]:
        """Return the columns of the table, by name, each (n_ranks,)."""
        names = ("held_out", "held_out_se", "train", "stability", "cophenetic", "dispersion", "seconds")
        return {name: getattr(self, name) for name in names}


def select_rank(
    X: Matrix,
    strata: Groups | None = None,
    ranks: Iterable[int] = range(1, 11),
    *,
    estimator: NMF | StratifiedNMF | None = None,
    method: Literal["auto", "entries", "rows_columns"] = "auto",
    scoring: Literal["loss", "negative-binomial"] = "loss",
    n_folds: int = 5,
    n_repeats: int = 1,
    n_restarts: int = 5,
    n_jobs: int | None = None,
    random_state: Seed = None,
    verbose: int = 0,
    layer: str | None = None,
    design: SparseOrDense | None = None,
    exposure: Vector | str | None = None,
) -> RankSelection:
    """Choose the number of components by the error on held-out data.

    For every rank, `n_folds` fits, each without one fold, measure the error. `n_restarts` fits of all data from
    different starts measure whether they find the same components, and the same groups of samples.

    Parameters
    ----------
    X : sparse matrix or array (n_samples, n_features)
        Non-negative. Or an AnnData.
    strata : array-like (n_samples,), str, or a frame or dict of several columns, default=None
        Label of each row, or the name of a column of obs or of a DataFrame; several factors as in `StratifiedNMF.fit`.
        Folds are drawn within strata (combinations of levels), also for an `NMF`, which does not use them: with the
        same `random_state`, two estimators are evaluated on the same folds.
    ranks : iterable of int, default=range(1, 11)
        Numbers of components to try.
    estimator : NMF or StratifiedNMF, default=None
        Not fitted; all fits use its parameters, except `n_components` and `random_state`. With ``n_init`` > 1 each fit
        is the best of several. None: ``StratifiedNMF()`` if there are strata, else ``NMF()``.
    method : {"auto", "entries", "rows_columns"}, default="auto"
        Which data are held out. ``"entries"`` (speckled): single entries, including zeros, evenly from all rows, by a
        mask; squared error only, and the mask takes as much memory as dense data. ``"rows_columns"``: rows, whose
        weights come from two thirds of the columns, and whose error comes from the remaining third, each third in turn;
        any loss, no mask. ``"auto"``: entries for dense data of at most a million entries, and if values are missing;
        else rows_columns.
    scoring : {"loss", "negative-binomial"}, default="loss"
        How held-out data are scored. ``"loss"``: by the loss of the estimator. ``"negative-binomial"``: by the
        likelihood of counts whose dispersion, for each feature, is estimated from the data of the fit, for an estimator
        with ``beta_loss="kullback-leibler"``; one with ``"negative-binomial"`` scores so in any case. Both losses are
        divided by the same trivial one, so that the two estimators can be compared.
    n_folds : int, default=5
        At least 2.
    n_repeats : int, default=1
        Number of times that new folds are drawn.
    n_restarts : int, default=5
        Number of fits for the stability. With 0 or 1, or if the start does not depend on the seed, the stability is not
        measured.
    n_jobs : int, default=None
        Number of fits at a time, as for joblib: None means 1, -1 all cores. If there are several, each runs on one
        thread. They are threads that share X; ``joblib.parallel_config`` sets other workers. Only `seconds` depends on
        it.
    random_state : None, int, Generator or RandomState, default=None
        Seed of folds and starts. The results for a rank do not depend on which other ranks are tried.
    verbose : int, default=0
        1 shows progress on standard error.
    layer : str, default=None
        Name of a layer of the AnnData X that holds the matrix; None: its X.
    design, exposure : default=None
        As in `StratifiedNMF.fit`; they go with the rows, so the method is ``"rows_columns"``. Folds are drawn within
        rows that have the same columns of a design.

    Returns
    -------
    RankSelection
        Prints as a table; `fastnmf.plots.plot_rank_selection` plots it.

    Raises
    ------
    ValueError, TypeError
        For invalid data, ranks or options.

    Notes
    -----
    The loss is `normalized_loss_` over the held-out entries: the square root of their squared error over their squared
    norm, or of their divergence over that of the product of the margins. For the squared error, predictions are cut off
    at twice the largest entry of the column in the fit. Without this bound, a column with few entries in the fit, or a
    row whose weights come from a few columns, could have an arbitrarily large prediction, and a single entry would
    decide the loss.

    A loss above 1 is worse than predicting zero. For short, noisy rows, such as documents under TF-IDF, weights without
    penalty can be that bad, because they fit the noise of the entries from which they are found. The chosen rank is
    valid for this estimator; with a penalty on W a larger rank may be better.

    Leaving out rows and scoring the entries from which their weights were found is not a valid hold-out: that error
    decreases with every further component.

    The stability compares the rows of `components_` at length one. For a pair of restarts they are matched one to one
    such that the sum of the cosines is largest; the stability is the mean cosine over components and pairs. It depends
    neither on the scale of the components nor on the free gauge of the shifts. 1 means equal components. Components
    that overlap have large cosines in any case, so compare ranks, not data sets.

    References
    ----------
    S. Wold, "Cross-validatory estimation of the number of components in factor and principal components models",
    Technometrics 1978, doi:10.1080/00401706.1978.10489693 (entries).
    A. B. Owen, P. O. Perry, "Bi-cross-validation of the SVD and the nonnegative matrix factorization", Annals of
    Applied Statistics 2009, doi:10.1214/08-AOAS227 (rows and columns; they also leave the columns out of the fit).
    T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2009, section 7.10 (one standard
    error).
    J.-P. Brunet, P. Tamayo, T. R. Golub, J. P. Mesirov, "Metagenes and molecular pattern discovery using matrix
    factorization", PNAS 2004, doi:10.1073/pnas.0308531101 (groups of samples over starts).
    S. Wu et al., "Stability-driven nonnegative matrix factorization to interpret spatial gene expression and build
    local gene networks", PNAS 2016, doi:10.1073/pnas.1521171113 (stability over starts; they compare each component
    with its most similar one; here the matching is one to one).

    Examples
    --------
    >>> from fastnmf import select_rank
    >>> from fastnmf.datasets import make_stratified
    >>> planted = make_stratified((30, 30), n_features=20, n_components=2, noise=0.1, random_state=0)
    >>> found = select_rank(planted.data, planted.strata, ranks=range(1, 5), n_restarts=2, random_state=0)
    >>> found.best_rank
    2
    """
    ranks = _checked_ranks(ranks)
    check_choice("method", method, ("auto", *METHODS))
    check_choice("scoring", scoring, SCORINGS)
    check_integer("n_folds", n_folds, 2)
    check_integer("n_repeats", n_repeats)
    check_integer("n_restarts", n_restarts, 0)
    check_verbose("verbose", verbose)
    setting = ParallelFits(with_layer(X, layer), strata, estimator, n_jobs, design=design, exposure=exposure)
    method, setting.scoring = method_for(method, setting), scoring
    options = setting.estimator._options()
    if scoring != "loss" and not (options.is_counts or options.is_kullback_leibler):
        raise ValueError(
            f"scoring={scoring!r} is the likelihood of counts, but the estimator has beta_loss="
            f"{setting.estimator.beta_loss!r}; use 'kullback-leibler' or 'negative-binomial', with solver='mu'."
        )
    if scoring != "loss" and setting.is_designed and setting.estimator._has_shifts:
        raise ValueError(
            f"scoring={scoring!r} takes one label for each row, not several factors, a design or an exposure; use "
            "'loss'."
        )
    if scoring != "loss" and getattr(setting.estimator, "_fits_own", False):
        raise ValueError(
            f"scoring={scoring!r} takes the mean from shifts and shared components, but the estimator has own "
            "components; use scoring='loss', or set n_own=0 and own=None."
        )
    rng = generator(random_state)
    splits = []  # (hold-out, fold, seed of the start): the same for all ranks
    for _ in range(n_repeats):
        held = METHODS[method](setting, n_folds, rng)
        splits += [(held, fold, seed) for fold, seed in enumerate(rng.integers(1 << 32, size=n_folds))]
    if has_same_start(setting.estimator.init) or n_restarts < 2:
        n_restarts = 0
    seeds = rng.integers(1 << 32, size=n_restarts)

    jobs = [(_hold_out, (rank, *split)) for rank in ranks[::-1] for split in splits]  # the longest fits first
    jobs += [(_restart, (rank, seed)) for rank in ranks[::-1] for seed in seeds]
    results = setting.run("select_rank", jobs, verbose)

    n_held = len(ranks) * len(splits)
    measured = np.array(results[:n_held]).reshape(len(ranks), len(splits), 3)[::-1]
    starts = [
        results[n_held + at : n_held + at + n_restarts] for at in range(0, len(ranks) * n_restarts, n_restarts or 1)
    ]
    agreement, quartiles = np.full((2, len(ranks), 3), np.nan)
    for row, quarters, runs in zip(agreement[: len(starts)], quartiles[: len(starts)], starts[::-1], strict=True):
        components, labels = zip(*runs, strict=True)
        cosines = _cosines_of_pairs(components)
        row[:] = cosines.mean(axis=1).mean(), *agreement_of_runs(np.array(labels))
        quarters[:] = np.percentile(cosines, (25, 50, 75))
    held_out = measured[:, :, 0].mean(axis=1)
    se = measured[:, :, 0].std(axis=1, ddof=1) / np.sqrt(n_folds)
    best = int(np.argmin(held_out))
    _warn_of_weak_choice(method, held_out[best], setting.X.shape[1])
    return RankSelection(
        ranks=ranks,
        held_out=held_out,
        held_out_se=se,
        held_out_splits=measured[:, :, 0],
        train=measured[:, :, 1].mean(axis=1),
        stability=agreement[:, 0],
        cophenetic=agreement[:, 1],
        dispersion=agreement[:, 2],
        seconds=measured[:, :, 2].mean(axis=1),
        best_rank=int(ranks[best]),
        rank_1se=int(ranks[np.argmax(held_out <= held_out[best] + se[best])]),
        method=method,
        n_folds=n_folds,
        n_repeats=n_repeats,
        n_restarts=n_restarts,
        stability_quartiles=quartiles,
    )


def _warn_of_weak_choice(method, least, n_columns):
    """Warn where the held-out error cannot choose: it is that of predicting zero, or weights come from few columns."""
    if least >= 1:
        warn(
            f"The least held-out loss is {least:.3g}; predicting zero has 1. So no rank that was tried predicts these "
            "data; try smaller ranks, or a penalty (alpha_W).",
            UserWarning,
        )
    elif method == "rows_columns" and n_columns < FEW_COLUMNS:
        warn(
            f"With {n_columns} columns, method='rows_columns' finds the weights of a row from "
            f"{n_columns - -(-n_columns // COLUMN_PARTS)} numbers; use method='entries'.",
            UserWarning,
        )


def match_components(A, B):
    """Match the rows of A one to one with those of B such that the sum of their cosines is largest.

    Parameters
    ----------
    A, B : ndarray (k, n_features)
        Non-negative; the lengths of the rows do not matter. A row of zeros has the cosine 0 with all others.

    Returns
    -------
    order : ndarray (k,) of int
        Row of B for each row of A.
    cosines : ndarray (k,)

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.selection.rank import match_components
    >>> match_components(np.eye(2), 3 * np.eye(2)[::-1])
    (array([1, 0]), array([1., 1.]))
    """
    cosines = np.asarray(unit_rows(A)[0] @ unit_rows(B)[0].T, dtype=np.float64)
    rows, order = linear_sum_assignment(cosines, maximize=True)
    return order, cosines[rows, order]


def _hold_out(setting, rank, held, fold, seed):
    """Fit without one fold, and measure errors and time.

    Parameters
    ----------
    setting : fastnmf.selection.parallel_fits.Setting
    rank : int
    held : Entries or RowsColumns
    fold : int
    seed : int
        Of the start.

    Returns
    -------
    has_converged : bool
        False if the fit stopped at max_iter.
    measured : tuple of three floats
        Held-out loss, training loss and seconds.
    """
    began = time.perf_counter()
    settled, errors = held.measure(setting, rank, fold, seed)
    return settled, (*errors, time.perf_counter() - began)


def _restart(setting, rank, seed):
    """Return whether a fit of all data converged, its components, and the component of each sample."""
    model = setting.make(rank, seed).fit(setting.X, **setting.labels())
    return is_settled(model), (model.components_, sample_components(model.W_, model.components_).astype(np.int32))


def _cosines_of_pairs(runs):
    """Return the cosines of matched components of all pairs of runs, (n_pairs, k)."""
    return np.array([match_components(a, b)[1] for i, a in enumerate(runs) for b in runs[:i]])


def _checked_ranks(ranks):
    """Return the ranks in ascending order, each once."""
    found = list(ranks) if np.iterable(ranks) and not isinstance(ranks, (str, dict)) else []
    is_right = all(isinstance(rank, numbers.Integral) and not isinstance(rank, bool) and rank >= 1 for rank in found)
    if not found or not is_right:
        raise ValueError(f"ranks={shown(ranks)} is not valid; expected integers >= 1, such as range(2, 11).")
    return np.unique(np.array(found, dtype=np.int64))


def method_for(method, setting):
    """Return the method that "auto" stands for, or the given one; raise if it cannot be used."""
    X, estimator = setting.X, setting.estimator
    is_small = X.shape[0] * X.shape[1] <= (MAX_MASK if method == "entries" else SMALL)
    has_missing, stored = estimator.missing_values is not None, sp.issparse(X) and estimator.missing_values == "zeros"
    if setting.is_designed:
        if method == "entries":
            raise ValueError(
                "method='entries' takes one label for each row, not several factors, a design or an exposure; use "
                "'rows_columns'."
            )
        return "rows_columns"
    if method == "auto":
        wants = stored or (is_small and (has_missing or not sp.issparse(X)))
        return "entries" if wants and estimator._options().is_squared else "rows_columns"
    if method == "entries" and not estimator._options().is_squared:
        raise ValueError(
            f"method='entries' needs beta_loss='frobenius'; the estimator has {estimator.beta_loss!r}. "
            "Use method='rows_columns'."
        )
    if method == "entries" and not is_small and not stored:
        raise ValueError(
            f"method='entries' needs a mask of {X.shape[0]} x {X.shape[1]} entries, more than {MAX_MASK}; use "
            "method='rows_columns'."
        )
    return method
