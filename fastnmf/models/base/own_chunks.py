"""Fits in chunks of rows with components of single strata: the start and the solver; see `fastnmf.core.own_rounds`.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from functools import partial

import numpy as np

from fastnmf.core import own_chunks, own_rounds, rounds
from fastnmf.core.factors import pad, row_tasks
from fastnmf.core.init.own import OwnWeights, division
from fastnmf.core.remote import ChunkedStrata
from fastnmf.core.squarem import SQUAREM
from fastnmf.kernels.jit import split_rows
from fastnmf.models.base.auto_start import is_free, level_of, level_start
from fastnmf.models.base.chunked import chunked_start


def weights_kind(data):
    """Return the class of the weights of own components for these data: of rows that are here, or in chunks."""
    return own_rounds.ChunkedWeights if isinstance(data, ChunkedStrata) else OwnWeights


def solver(model, data, given, options):
    """Return the solver of a fit of chunks with own components.

    Parameters
    ----------
    model : StratifiedNMF
    data : fastnmf.core.remote.ChunkedStrata
    given : dict
        Arguments of `fit`.
    options : Options

    Returns
    -------
    Solver
    """
    rank, parts, start, V = model._rank(data, given, options), None, None, None
    sizes = model._sizes_of_fit(data, rank)
    if model._starts_jointly(data, given, options):
        joint = model._joint_solver(data, given, options)
        level, whole = joint.level, joint.factors["H"][:, : joint.factors.rank].astype(np.float64)
        own_rounds.go_back(joint.factors)
        squares = sum(joint.factors.rounds.ask(own_chunks.squares_by_stratum, joint.factors.rank))
        parts = division(squares, data.groups.sizes, sizes), joint.factors.rounds.engine, whole
        H, v = whole[:, parts[0] < 0], np.zeros(len(data.pattern.group))
    else:
        plain = model._without_own()
        level = level_of(data, rank, options) if is_free(model, given, options) else None
        begin = partial(level_start, plain, level) if level else partial(chunked_start, plain)
        start, H, v, _ = begin(data, rank, given, options, options.random_state)
        V = data.pattern.as_read(np.asarray(v, dtype=data.dtype))
    H, free_mask, guide = model._fix_components(data, options, H)
    factors, tasks = _factors(model, data, H, model._start_shifts(data, v), sizes, options)
    rounds.set_start(factors, start, options.is_multiplicative, V)
    problem = model._own_problem(data, factors, tasks, sizes, options, kinds=own_rounds.KINDS)
    model._constrain(data, problem, factors, options, free_mask=free_mask, guide=guide)
    extrapolation = [_extrapolation(model, factors, tasks, options) for _ in range(2)]
    if extrapolation[0] is not None or not options.is_squared:
        has_cycles = extrapolation[0] is not None and not options.is_squared
        factors.rounds.engine.keep("before", *(("first", "second") if has_cycles else ()))
    model._start_own(data, own_rounds.ChunkedWeights(problem, factors, extrapolation[0]), options, parts)
    return own_rounds.solver_of(problem, factors, extrapolation[1], level)


def _factors(model, data, H, v, sizes, options):
    """Return the factors of a fit of chunks, whose own components are zero, and their task tables.

    Parameters
    ----------
    model, data, options :
        As for `solver`.
    H : ndarray (n_columns, k)
    v : ndarray (q,)
        Entries of the shifts on the pattern.
    sizes : ndarray (n_strata,) of int
        Number of own components of each stratum.
    """
    rank, is_tied, w = H.shape[1], model.own == "tied", int(sizes.max())
    H = pad(np.concatenate([H, np.zeros((len(H), 0 if is_tied else w))], axis=1), data)
    G = np.zeros((len(v), 1 + w), data.dtype)
    G[:, 0] = v
    terms = own_chunks.OwnTerms(sizes, 0 if is_tied else rank, model._penalty, model.shifts, options.is_squared)
    engine = data.source.engine(data, H.shape[1], is_whole=True)
    factors = own_rounds.OwnFactors(own_rounds.OwnRounds(engine, rank, terms), H=H, G=G)
    tasks = {name: row_tasks(factors[name]) for name in "WH"} | {"G": split_rows(len(G), 1 + w)}
    return factors, tasks


def _extrapolation(model, factors, tasks, options):
    """Return the acceleration of a fit of chunks, or None.

    Parameters
    ----------
    model, options :
        As for `solver`.
    factors : OwnFactors
    tasks : dict, factor name -> ndarray of int64
        Task tables.
    """
    found = model._extrapolation(factors, tasks, options)
    return rounds.ChunkedSQUAREM(tasks, factors, found.limit) if isinstance(found, SQUAREM) else found
