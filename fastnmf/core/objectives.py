"""Build the problems of the plain and the stratified model: squared error, weighted or not, and divergences.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from functools import partial

import numpy as np

from fastnmf.core.factors import Factors, allocate
from fastnmf.core.iterate import normalized
from fastnmf.core.losses import DesignFrobenius, Dictionary, Frobenius, Interval, SpannedDictionary, StrataFrobenius
from fastnmf.core.losses.choice import as_divergence
from fastnmf.core.losses.interval import Coverage
from fastnmf.core.losses.masked import Masked
from fastnmf.core.losses.own import OwnFrobenius, OwnPenalty
from fastnmf.core.losses.own_blocks import TiedFrobenius
from fastnmf.core.losses.own_divergence import OwnKullbackLeibler, OwnTotal
from fastnmf.core.own_revival import reseed_dead_components
from fastnmf.core.problem import Problem
from fastnmf.core.thresholds import EXACT_VALUE_BELOW, rounding
from fastnmf.core.updates import (
    HALS,
    MU,
    ConeColumns,
    LinkedLevels,
    MixtureDescent,
    PatternHALS,
    PatternMU,
    WeightedRows,
)
from fastnmf.core.updates.own import BlockHALS, EntryHALS, EntryMU, StrataHALS, StrataMU
from fastnmf.data.design import HasDesign

# Sweeps for each that is requested where Gram matrices of rows take longer than they do: from so many entries of D
# for each row and column on. Fits of 100,000 and 1,000,000 ratings took .5 to .8 of the time with one for each, to
# objectives equal within 1e-4. Of 50 rows with half of 18 columns missing, fits ended .8 % higher (median of 24).
SWEEPS_FOR_EACH, MANY_ENTRIES = 3, 30


def squared_problem(data, factors, tasks, schedule, *, is_descent, visits=None, holds_products=False):
    """Return the `Problem` of NMF, or of Stratified-NMF where `factors` hold shifts, for the squared error.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    factors : fastnmf.core.factors.Factors
        W and H, padded, in the inner scale; V, the shifts on their pattern, for strata.
    tasks : dict
        Task tables of the row kernels, by factor.
    schedule : tuple
        As of `Problem`.
    is_descent : bool
        True: factors are updated by coordinate descent. False: by multiplicative updates (MU).
    visits : ndarray of int, optional
        Order of the components in coordinate descent.
    holds_products : bool, default=False
        See `fastnmf.core.losses.Frobenius`. It is set where the schedule needs it.

    Returns
    -------
    Problem
    """
    moved = [step[0] for step in schedule]
    holds_products |= moved.count("H") > 1 or any(isinstance(name, tuple) for name in moved)
    width, has_shifts, of_V = factors["W"].shape[1], "V" in factors.arrays, {}
    if data.entry_weights is not None:
        loss = Masked(data, width, tasks, data.entry_weights, has_shifts, holds_products)
        has_many = len(data.entry_weights.rows.extra.data) >= MANY_ENTRIES * sum(data.shape)
        times = SWEEPS_FOR_EACH if has_many else 1
        update = WeightedRows(times=times) if is_descent else WeightedRows.of_squares(data)
        scale = loss.sq_norm
    else:
        is_designed = has_shifts and isinstance(data, HasDesign)
        kind = DesignFrobenius if is_designed else StrataFrobenius if has_shifts else Frobenius
        loss = kind(data, width, tasks, holds_products)
        update, scale = HALS(visits) if is_descent else MU.of_squares(data), data.sq_norm
        if is_designed and data.entries_meet:
            of_shifts = PatternHALS() if is_descent else PatternMU.of_squares(data)
            of_V = {"V": of_shifts if data.laplacian is None else LinkedLevels(of_shifts)}
    return Problem(
        losses=[loss],
        updates=dict.fromkeys(factors.arrays, update) | of_V,
        schedule=schedule,
        tasks=tasks,
        scale=scale,
        cheap_value_floor=EXACT_VALUE_BELOW[data.dtype],
        exact_value=loss.exact_value,
        rounding=scale * rounding(data.dtype) ** 2,
        equalize_norms=is_descent,
        reseed_dead_component=loss.reseed_dead_component if is_descent and data.entry_weights is None else None,
    )


OWN_KINDS = OwnFrobenius, TiedFrobenius, OwnKullbackLeibler


def own_problem(
    data, factors, tasks, schedule, sizes, *, penalty, is_tied=False, shifts=True, is_descent=True, kinds=OWN_KINDS
):
    """Return the `Problem` of Stratified-NMF with components of each stratum, for the squared error.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    factors : fastnmf.core.factors.Factors
        W, H and G as `OwnFrobenius` has them, in the inner scale.
    tasks : dict
        Task tables of the row kernels, by factor.
    schedule : tuple
        As of `Problem`.
    sizes : ndarray (n_strata,) of int
        Number of own components of each stratum.
    penalty : float
        Weight of the squared length of the own part of the model.
    is_tied : bool, default=False
        Whether own components share the weights of the shared ones.
    shifts : {True, False, "common"}, default=True
        As for `OwnFrobenius`.
    is_descent : bool, default=True
        True: factors are updated by coordinate descent. False: by multiplicative updates.
    kinds : tuple of three classes
        The losses: for components with weights of their own, for tied ones, and for Kullback-Leibler.

    Returns
    -------
    Problem
    """
    rank, n_own = factors.rank, int(sizes.max())
    offset = 0 if is_tied else rank
    kind, of_G = (kinds[1], BlockHALS()) if is_tied and is_descent else (kinds[0], EntryHALS())
    loss = kind(data, factors["W"].shape[1], tasks, sizes, offset, penalty, shifts)
    updates = {"W": StrataHALS(np.arange(max(rank, offset + n_own))), "H": HALS(), "G": of_G}
    if "V" in factors.arrays:  # of a design
        updates |= {"G": EntryHALS(), "V": PatternHALS() if data.entries_meet else HALS()}
    return Problem(
        losses=[loss, OwnPenalty(loss)],
        updates=updates if is_descent else own_ratios(data),
        schedule=schedule,
        tasks=tasks,
        scale=data.sq_norm,
        cheap_value_floor=EXACT_VALUE_BELOW[data.dtype],
        exact_value=loss.exact_value,
        rounding=data.sq_norm * rounding(data.dtype) ** 2,
        equalize_norms=is_descent and not is_tied,
        reseed_dead_component=partial(reseed_dead_components, loss) if is_descent else None,
    )


def own_ratios(data):
    """Return the multiplicative updates of a model with components of each stratum, by factor."""
    plain = MU.plain(data.dtype)
    return {"W": StrataMU.plain(data.dtype), "H": plain, "V": plain, "G": EntryMU.plain(data.dtype)}


def own_divergence_problem(data, factors, tasks, sizes, *, penalty, is_tied=False, shifts=True, kinds=OWN_KINDS):
    """Return the `Problem` of Stratified-NMF with components of each stratum, under Kullback-Leibler.

    Parameters
    ----------
    data, factors, tasks, sizes, is_tied, shifts, kinds :
        As for `own_problem`.
    penalty : float
        Weight of the sum of the own part of the model.

    Returns
    -------
    Problem
    """
    offset = 0 if is_tied else factors.rank
    loss = kinds[2](data, factors["W"].shape[1], tasks, sizes, offset, penalty, shifts)
    return Problem(
        losses=[loss, OwnTotal(loss)],
        updates=own_ratios(data),
        schedule=(("W", 1), (("G", 1), *((("V", 1),) if "V" in factors.arrays else ()), ("H", 1))),
        tasks=tasks,
        scale=loss.independence(),
    )


def divergence_problem(data, factors, tasks, divergence, exponent="mm"):
    """Return the `Problem` of NMF, or of Stratified-NMF where `factors` hold shifts, under a divergence.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    factors : fastnmf.core.factors.Factors
        W and H, padded, in the inner scale; V, the shifts on their pattern, for strata.
    tasks : dict
        Task tables of the row kernels, by factor.
    divergence : Divergence, str or float
        Not the squared error.
    exponent : {"mm", "fast"}, default="mm"
        As for `fastnmf.core.losses.BetaDivergence`. With "fast", iterations that raise the objective are repeated with
        "mm".

    Returns
    -------
    Problem
    """
    width, has_shifts = factors["W"].shape[1], "V" in factors.arrays
    loss, scale = as_divergence(divergence).build(data, width, tasks, has_shifts=has_shifts, exponent=exponent)
    columns = (("V", 1), ("H", 1)) if has_shifts else ("H", 1)
    return Problem(
        losses=[loss],
        updates=dict.fromkeys(factors.arrays, MU.plain(data.dtype)),
        schedule=(("W", 1), columns),
        tasks=tasks,
        scale=scale,
        retry_with_safe_step=bool(getattr(loss, "safe_powers", ())),
    )


def interval_problem(data, factors, tasks, bounds, *, is_descent):
    """Return the `Problem` of the squared distance to intervals on the pattern of sparse data.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    factors : fastnmf.core.factors.Factors
        W and H, padded, in the inner scale.
    tasks : dict
        Task tables of the row kernels, by factor.
    bounds : tuple of two ndarray (nnz,), or None
        Lower and upper ends of the intervals, in the inner scale. None: 1 and infinity.
    is_descent : bool
        True: factors are updated by coordinate descent. False: by multiplicative updates.

    Returns
    -------
    Problem
    """
    width = factors["W"].shape[1]
    loss = Coverage(data, width, tasks) if bounds is None else Interval(data, width, tasks, *bounds)
    update = HALS() if is_descent else MU.plain(data.dtype)
    return Problem(
        losses=[loss],
        updates=dict.fromkeys(factors.arrays, update),
        schedule=(("W", 1), ("H", 1)),
        tasks=tasks,
        scale=loss.scale,
        cheap_value_floor=EXACT_VALUE_BELOW[data.dtype],
        exact_value=loss.exact_value,
    )


def measure_squared_error(data, W, H):
    """Return ``||X - W Hᵀ||`` divided by ``||X||``, and the norm itself in the units of the user.

    Parameters
    ----------
    data : Strata
    W, H : ndarray (n_rows, k), (n_columns, k)
        In the inner scale.
    """
    factors, tasks = allocate(data, W, H, None)
    loss = squared_problem(data, factors, tasks, (("W", 1), ("H", 1)), is_descent=True).value(factors)
    return float(normalized(loss, data.sq_norm)), float(np.ldexp(np.sqrt(loss), -2 * data.log4_scale))


def dictionary_problem(data, factors, tasks, atoms, *, is_descent, is_signed=False):
    """Return the `Problem` of components that are combinations of given atoms.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    factors : fastnmf.core.factors.Factors
        W (n_rows, K) and H (P, K), the weights of the atoms, padded, in the inner scale.
    tasks : dict
        Task tables of the row kernels, by factor.
    atoms : ndarray (n_columns, P)
        Padded.
    is_descent : bool
        True: W and H are updated by coordinate descent. False: by multiplicative updates.
    is_signed : bool, default=False
        False: the weights of the atoms are non-negative. True: they have any sign, and the components are non-negative;
        the atoms are orthonormal.

    Returns
    -------
    Problem
    """
    kind, width, ratio = SpannedDictionary if is_signed else Dictionary, factors["W"].shape[1], MU.plain(data.dtype)
    loss, of_atoms = kind(data, width, tasks, atoms, is_descent), MixtureDescent()
    if is_signed:
        of_atoms = ConeColumns(atoms[:, : len(factors["H"])])
    return Problem(
        losses=[loss],
        updates={"W": HALS(), "H": of_atoms} if is_descent else {"W": ratio, "H": ratio},
        schedule=(("W", 1), ("H", 1)),
        tasks=tasks,
        scale=data.sq_norm,
        cheap_value_floor=EXACT_VALUE_BELOW[data.dtype],
        exact_value=loss.exact_value,
        rounding=data.sq_norm * rounding(data.dtype) ** 2,
    )


def single_loss_problem(data, loss, updates, schedule, tasks, scale=None, is_direct=True):
    """Return the `Problem` of one loss.

    Parameters
    ----------
    data : Strata
    loss : Loss
        Has `exact_value` if `is_direct`.
    updates : dict, factor name -> Update
    schedule : tuple of (str, int)
        One iteration: names of factors with their numbers of sweeps.
    tasks : dict, factor name -> ndarray of int64
        Task tables.
    scale : float, default=None
        Loss of the zero model; None: the squared norm of the data, in the inner scale.
    is_direct : bool, default=True
        Whether small values of the objective are computed from the residual itself (``loss.exact_value``).

    Returns
    -------
    Problem
    """
    scale = data.sq_norm if scale is None else scale
    return Problem(
        losses=[loss],
        updates=updates,
        schedule=schedule,
        tasks=tasks,
        scale=scale,
        cheap_value_floor=EXACT_VALUE_BELOW[data.dtype] if is_direct else 0.0,
        exact_value=loss.exact_value if is_direct else None,
        rounding=scale * rounding(data.dtype) ** (2 if is_direct else 1),
    )


def own_loss_problem(loss, update, factors, tasks, n_sweeps=1, scale=None):
    """Return the `Problem` of a loss that is neither a squared error nor one divergence.

    Parameters
    ----------
    loss : Loss
    update : Update
        Of both W and H.
    factors : Factors
        W (n_rows, K) and H (n_columns, K).
    tasks : dict, factor name -> ndarray of int64
        Task tables.
    n_sweeps : int, default=1
        Sweeps over each factor in an iteration.
    scale : float, default=None
        Loss of the zero model; None computes it.

    Returns
    -------
    Problem
    """
    if scale is None:
        scale = loss.value(Factors(factors.rank, **{name: np.zeros_like(factors[name]) for name in "WH"}))
    schedule = (("W", n_sweeps), ("H", n_sweeps))
    return Problem(losses=[loss], updates=dict.fromkeys("WH", update), schedule=schedule, tasks=tasks, scale=scale)


def scale_core(loss, factors, name="S"):
    """Multiply a core factor in place by the scalar that minimises the squared error of the whole model."""
    crossed = float(np.sum(loss.middle(factors) * loss.core(factors)))
    fitted = loss.value(factors) - loss.sq_norm + 2 * crossed
    factors[name][:] *= factors[name].dtype.type(best_scale(fitted, crossed))
    factors.invalidate(name)


def best_scale(fitted, crossed):
    """Return the optimal scalar multiple of a model, from its squared norm and its inner product with the data."""
    return crossed / fitted if fitted > 0 and crossed > 0 else 1.0
