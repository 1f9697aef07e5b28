"""Find the start of a fit by a fit of a part of the rows: see `fastnmf.core.init.level` for when and how much.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from dataclasses import replace

import numpy as np

from fastnmf.core.init.level import (
    MIN_ROWS_PER_COMPONENT,
    NO_LEVEL,
    draw_rows,
    frequent_columns,
    n_wanted,
    plan,
    with_columns,
)
from fastnmf.core.iterate import iterate
from fastnmf.core.losses.choice import Beta
from fastnmf.core.options import check_components, find_seeds, generator

SMOOTHING = 0.1  # share of the column means in H that multiplicative updates begin at: they cannot leave a zero


def level_of(model, data, rank, given, options):
    """Return the `Level` whose fit gives the start; `NO_LEVEL` where `init` or the size of the data asks for none.

    None stands for models that never have one.

    Parameters
    ----------
    model : BaseNMF
    data, rank, given, options :
        As for `BaseNMF._start`.

    Raises
    ------
    ValueError
        ``init="multilevel"`` is asked for, and there is none for this loss, solver or penalty.
    """
    if not model._has_levels:
        return None
    if model._goes_on(options) or any(given.get(name) is not None for name in "WHV"):
        return NO_LEVEL
    is_asked = isinstance(options.init, str) and options.init == "multilevel"
    if not (is_asked or options.init is None or isinstance(options.init, str) and options.init == "auto"):
        return NO_LEVEL
    if not is_asked and not data.is_sparse:
        return NO_LEVEL
    is_known = options.is_squared != options.is_multiplicative
    is_known = is_known and (options.is_squared or isinstance(options.loss, Beta) and options.beta == 1)
    if not is_known or any(getattr(options, name).objects for name in "WHV"):
        if is_asked:
            raise ValueError(
                "init='multilevel' needs coordinate descent for the squared error or solver='mu' for Kullback-Leibler, "
                "and no penalties of your own; use init='features'."
            )
        return NO_LEVEL
    n_entries = data.X.nnz if data.is_sparse else data.X.size
    level = plan(n_entries, rank, is_squared=options.is_squared, is_asked=is_asked)
    n_drawn = int(n_wanted(data.groups.counts, level.share).sum())
    is_worth = data.is_sparse and MIN_ROWS_PER_COMPONENT * rank <= n_drawn <= data.shape[0] // 2
    return level if is_worth or is_asked else NO_LEVEL


def level_start(model, level, data, rank, given, options, random_state):
    """Return the start of a fit, as `BaseNMF._start` does, from the fit of a part of the rows.

    Parameters
    ----------
    model : BaseNMF
    level : Level
    data, rank, given, options, random_state :
        As for `BaseNMF._start`.
    """
    rng = generator(random_state)
    rows = draw_rows(data.stratum_index, data.n_strata, level.share, rng)
    X, columns = data.X[rows], np.arange(data.shape[1])
    of_H, needed = _known_columns(model, data, rank, options)
    if data.is_sparse:
        columns = frequent_columns(X, needed)
        X = with_columns(X, columns)
    coarse = data.part(rows, X)
    if data.entry_weights is not None:
        coarse.entry_weights = data.entry_weights.part(rows, columns)
    options = replace(options, init="features", n_components=rank, H=of_H(columns))
    labels = {} if given.get("y") is None else {"y": _taken(given["y"], rows)}
    solver = model._alternate(coarse, model._start(coarse, rank, {}, options, rng), labels, options)
    fit = iterate(solver, max_iter=level.n_iter, tol=0.0)
    factors, back = fit.factors, data.log4_scale - coarse.log4_scale
    H = np.zeros((data.shape[1], rank))
    H[columns] = np.ldexp(factors["H"][:, :rank].astype(np.float64), back)
    v = None
    if model._has_shifts:
        v = _spread(data, coarse, columns, np.ldexp(factors["V"].astype(np.float64), 2 * back))
    if options.is_multiplicative:
        W, H, v = _positive(data, H, v)
    else:
        W = np.zeros((data.shape[0], rank))
    fit.problem.release()
    return W, H, v, None


def _known_columns(model, data, rank, options):
    """Return what makes the options of H for some columns, and the columns that these options need."""
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


def _spread(data, coarse, columns, v):
    """Return entries of the shifts of the coarse data on the pattern of all data, zero elsewhere."""
    full, part = data.pattern, coarse.pattern
    keys = full.column.astype(np.int64) * full.n_groups + full.group
    mine = columns[part.column] * full.n_groups + part.group
    out = np.zeros(len(keys))
    out[np.searchsorted(keys, mine)] = v
    return out


def _positive(data, H, v):
    """Return W, H and v without zeros, for multiplicative updates: each row of W with the mass of its row of data."""
    means = data.column_means().astype(np.float64)
    H = H + SMOOTHING * (means / (means.sum() or 1.0))[:, None] * H.sum(axis=0)
    mass = np.asarray(data.X.sum(axis=1), dtype=np.float64)
    if v is not None:
        v = v + SMOOTHING * data.stratum_means()
        of_strata = np.bincount(data.pattern.group, v, minlength=data.n_strata)[data.stratum_index]
        mass = np.maximum(mass - (of_strata if data.row_scale is None else of_strata * data.row_scale), 0.1 * mass)
    lengths = H.sum(axis=0)
    return np.repeat((mass / (lengths.sum() or 1.0))[:, None], H.shape[1], axis=1), H, v
