"""Choose the start of a fit by the size of its data: see `fastnmf.core.init.level` for the rules.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from dataclasses import replace
from functools import partial
from itertools import chain, repeat

import numpy as np

from fastnmf.core.factors import scaled_for
from fastnmf.core.init.level import (
    MIN_ROWS_PER_COMPONENT,
    NO_LEVEL,
    MassStart,
    cut,
    draw_rows,
    even_rows,
    n_wanted,
    plan,
    starts_of_auto,
)
from fastnmf.core.init.start_from import starts_among
from fastnmf.core.iterate import iterate
from fastnmf.core.options import check_components, find_seeds, generator
from fastnmf.data.design import HasDesign
from fastnmf.data.strata import log4_scale_for
from fastnmf.models.base.nmf import STARTS

# Entries of a level from which on it is computed in float32. Below, as on 20 newsgroups (290,000), float32 saves 5 to
# 15 of 100 ms to the loss of 100 published iterations, and nothing that shows in a default fit; but kernels are then
# compiled for both types: the first fit takes 13.8 s in place of 8.6 (`bench/first_fit.py`).
SINGLE_FROM = 500_000
SMOOTHING = 0.1  # share of the column means in H that multiplicative updates begin at: they cannot leave a zero


class AutoStartMixin:
    """Mixin that gives a model ``init="auto"`` and ``init="multilevel"``; precedes `BaseNMF` among the bases."""

    _constraints = {"init": starts_among(*STARTS, "auto", "multilevel")}

    def _runs(self, data, given, options):
        if not is_free(self, given, options) or not _is_auto(options):
            return super()._runs(data, given, options)
        rank = self._rank(data, given, options)
        first, *more = _starts(self, data.X, rank, options)
        n_runs = options.n_init + len(more)
        inits = chain([first], repeat("features" if first == "nndsvda" else first, options.n_init - 1), more)
        return n_runs, zip(self._seeds(replace(options, n_init=n_runs)), inits, strict=True)

    def _solver(self, data, given, options, random_state):
        rank = self._rank(data, given, options)
        level = level_of(data, rank, options) if is_free(self, given, options) else NO_LEVEL
        begin = partial(self._level_start, level) if level else self._start
        return self._alternate(data, begin(data, rank, given, options, random_state), given, options, level)

    def _level_start(self, level, data, rank, given, options, random_state):
        """Return the start of a fit, as `BaseNMF._start` does, from the fit of a part of the rows.

        Parameters
        ----------
        level : Level
        data, rank, given, options, random_state :
            As for `BaseNMF._start`.
        """
        start, *others = level_start(self, level, data, rank, given, options, random_state)
        W = np.zeros((data.shape[0], rank)) if start is None else even_rows(data, start.length, start.of_strata, rank)
        return W, *others

    def _most_runs(self, options):
        return super()._most_runs(options) + _is_auto(options)


def random_start(estimator, X, rank):
    """Return the value of `init` for fits that differ by their seed only: that of the estimator, or what it stands for.

    Parameters
    ----------
    estimator : NMF or StratifiedNMF
    X : csr_array or ndarray (n_rows, n_columns)
    rank : int
    """
    options = estimator._checked_options()
    is_single = _is_auto(options) and _starts(estimator, X, rank, options) != ("auto",)
    return "features" if is_single else estimator.init


def _starts(model, X, rank, options):
    """Return the values of `init` that ``"auto"`` stands for; see `starts_of_auto`.

    Parameters
    ----------
    model : AutoStartMixin
    X : csr_array or ndarray (n_rows, n_columns)
    rank : int
    options : Options
    """
    if options.H.seeds or options.H.fixed is not None or _has_objects(options):  # known topics have their places
        return ("auto",)
    is_exact, is_kullback_leibler = _is_exact(options), _is_kullback_leibler(options) and not model._has_shifts
    return starts_of_auto(X, rank, is_exact=is_exact, is_kullback_leibler=is_kullback_leibler)


def _is_auto(options):
    return options.init is None or isinstance(options.init, str) and options.init == "auto"


def is_free(model, given, options):
    """Return whether the start is for `init` to choose."""
    return not model._goes_on(options) and all(given.get(name) is None for name in "WHV")


def _has_objects(options):
    """Return whether there are penalties of the user; an elastic net is that of alpha."""
    return any(not hasattr(each, "elastic_net") for name in "WHV" for each in getattr(options, name).objects)


def _is_exact(options):
    return options.is_squared and not options.is_multiplicative


def _is_kullback_leibler(options):
    return options.is_multiplicative and options.is_kullback_leibler


def level_of(data, rank, options):
    """Return the `Level` whose fit gives the start; `NO_LEVEL` where `init` or the size of the data asks for none.

    Parameters
    ----------
    data : Strata
    rank : int
    options : Options

    Raises
    ------
    ValueError
        ``init="multilevel"`` is requested, but not available for this loss, solver or penalty.
    """
    is_asked = isinstance(options.init, str) and options.init == "multilevel"
    if not (is_asked or _is_auto(options) and data.is_sparse):
        return NO_LEVEL
    if not (_is_exact(options) or _is_kullback_leibler(options)) or _has_objects(options):
        if is_asked:
            raise ValueError(
                "init='multilevel' needs coordinate descent for the squared error or solver='mu' for Kullback-Leibler, "
                "and no penalties of your own; use init='features'."
            )
        return NO_LEVEL
    kind = {"is_squared": options.is_squared, "has_strata": data.n_strata > 1}
    level = plan(data.n_entries, rank, is_asked=is_asked, **kind)
    n_drawn = int(n_wanted(_pools(data)[2], level.share).sum())
    is_worth = MIN_ROWS_PER_COMPONENT * rank <= n_drawn <= data.shape[0] // 2
    return level if is_worth or is_asked else NO_LEVEL


def level_start(model, level, data, rank, given, options, random_state):
    """Return the start of a fit from the fit of a part of the rows.

    Parameters
    ----------
    model : BaseNMF
    level : Level
    data, rank, given, options, random_state :
        As for `BaseNMF._start`.

    Returns
    -------
    start : MassStart, or None
        Start of W; None: W is zero.
    H, v, V :
        As for `BaseNMF._start`.
    """
    rng = generator(random_state)
    rows = draw_rows(*_pools(data)[:2], level.share, rng)
    of_H, needed = _known_columns(model, data, rank, options)
    X, turned, columns = data.take(rows), None, np.arange(data.shape[1])
    if data.is_sparse:
        X, turned, columns = cut(X, level.min_entries, needed, level_dtype(data, X, options))
    coarse = data.part(rows, X)
    if data.is_sparse and coarse.X is X:  # in the same scale
        coarse.columns = turned
    if data.entry_weights is not None:
        coarse.entry_weights = data.entry_weights.part(rows, columns)
    options = replace(options, init="features", n_components=rank, H=of_H(columns))
    labels = {} if given.get("y") is None else {"y": _taken(given["y"], rows)}
    solver = model._alternate(coarse, model._start(coarse, rank, {}, options, rng), labels, options)
    fit = iterate(solver, max_iter=level.n_iter, tol=0.0)
    found, back, v = fit.factors.arrays, data.log4_scale - coarse.log4_scale, None
    places = data.pattern.places(coarse.pattern, columns) if model._has_shifts else None
    fit.problem.release()
    del X, turned, coarse, solver, fit  # their memory
    H = np.zeros((data.shape[1], rank))
    H[columns] = scaled_for(found["H"][:, :rank], back, H.dtype)
    if model._has_shifts:
        v = np.zeros(len(data.pattern.group))
        v[places] = scaled_for(found["V"], 2 * back, v.dtype)
    if not options.is_multiplicative:
        return None, H, v, None
    return *_positive(data, H, v), None


def _pools(data):
    """Return the pool of each row, the number of pools, and their sizes: a level draws a share of the rows of each."""
    if isinstance(data, HasDesign):
        return np.zeros(data.shape[0], np.int32), 1, np.array(data.shape[:1])
    return data.stratum_index, data.n_strata, data.groups.counts


def level_dtype(data, X, options):
    """Return the dtype of a level: float32 is enough for a start of large data, and is left out where in doubt.

    Parameters
    ----------
    data : Strata
    X : csr_array
        Some rows of them.
    options : Options
    """
    is_plain = _is_exact(options) and data.entry_weights is None and X.nnz >= SINGLE_FROM
    return np.float32 if is_plain and log4_scale_for(X.data.max(), np.float32) == 0 else data.dtype


def _known_columns(model, data, rank, options):
    """Return what makes the options of H for some columns, and the columns that these options need.

    Parameters
    ----------
    model, data, rank, options :
        As for `level_start`.

    Returns
    -------
    of_columns : callable
        ``of_columns(columns)`` returns the options of H for these columns.
    needed : list of int
    """
    known, is_fixed, seeds = None, None, {}
    if options.H.fixed is not None:
        known, is_fixed = check_components(options.H.fixed, rank, data.shape[1])
        known = np.where(is_fixed, known, np.nan)
    if options.H.seeds:
        seeds = find_seeds(options.H.seeds, rank, data.shape[1], getattr(model, "feature_names_in_", None))
    needed = [] if known is None else np.flatnonzero((np.nan_to_num(known) > 0).any(axis=0)).tolist()
    needed += [column for of_one in seeds.values() for column in of_one]

    def of_columns(columns):
        found = {c: np.searchsorted(columns, of_one).tolist() for c, of_one in seeds.items()}
        return replace(options.H, fixed=None if known is None else known[:, columns], seeds=found or options.H.seeds)

    return of_columns, needed


def _taken(labels, rows):
    """Return the labels of some rows, of a list, an array or a Series."""
    return labels.iloc[rows] if hasattr(labels, "iloc") else np.asarray(labels, dtype=object)[rows]


def _positive(data, H, v):
    """Return W, as a `MassStart`, and H and v without zeros, for multiplicative updates."""
    means = data.column_means().astype(np.float64)
    H = H + SMOOTHING * (means / (means.sum() or 1.0))[:, None] * H.sum(axis=0)
    of_strata = None
    if v is not None:
        v = v + SMOOTHING * data.stratum_means()
        of_strata = np.bincount(data.pattern.group, v, minlength=data.n_strata)
    return MassStart(float(H.sum(axis=0).sum()), of_strata), H, v
