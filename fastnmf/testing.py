"""Check losses, penalties and updates of your own: formulas by finite differences, and short fits.

Each function returns None, or raises AssertionError with one sentence that says what is wrong and by how much.
"""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp

from fastnmf.compose import ElasticNetPenalty, EntrywiseLoss, Factorization
from fastnmf.core.options import shown
from fastnmf.core.updates.custom import View
from fastnmf.models.base.for_checkers import BetaLoss
from fastnmf.typing import Penalty, Step

__all__ = ["check_loss", "check_penalty", "check_update"]

STEP = 1e-5  # of the central differences, whose error is then about 1e-10
TOLERANCE = 1e-6  # of derivatives and of homogeneity, as a share of the largest number that is compared
RISE = 1e-10  # of the objective, as a share of it: more is not rounding
SINGLE = 1e-3  # difference of the objectives of fits in float32 and float64, as a share


def check_penalty(
    penalty: Penalty,
    *,
    degree: float | None = None,
    n_components: int = 4,
    n_features: int = 30,
    random_state: int = 0,
) -> None:
    """Check that a penalty is right and that a fit with it is monotone.

    Checked are: `value` and `half_gradient` agree (central differences); both are finite where F has zeros, and leave F
    unchanged; the degree of homogeneity, where one is given; fits with the penalty of H, and of W, never raise the
    objective, and are the same for sparse and dense data, and nearly the same in float32.

    Parameters
    ----------
    penalty : object
        Has ``value(F)`` and ``half_gradient(F)``; see `fastnmf.compose.Factorization`.
    degree : float, default=None
        ``value(t F) = t ** degree value(F)``. None takes ``penalty.degree``, and checks nothing if that is missing.
    n_components, n_features : int, default=4, 30
        Shape of F.
    random_state : int, default=0
        Seed of the numbers that are tried.

    Raises
    ------
    AssertionError
        Something does not hold.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.testing import check_penalty
    >>> class Square:
    ...     def value(self, F):
    ...         return (F**2).sum()
    ...     def half_gradient(self, F):
    ...         return 2 * F
    >>> check_penalty(Square())
    Traceback (most recent call last):
    ...
    AssertionError: Square.half_gradient is not half the gradient of Square.value: along a random direction it gives ...
    """
    if not callable(getattr(penalty, "half_gradient", None)) or not callable(getattr(penalty, "value", None)):
        raise TypeError(f"{shown(penalty)} is not a penalty; expected an object with value(F) and half_gradient(F).")
    rng, called = np.random.default_rng(random_state), type(penalty).__name__
    F = _read_only(rng.random((n_components, n_features)) + 0.1)
    gradient = _finite(penalty.half_gradient(F), f"{called}.half_gradient")
    _agree_on_shape(gradient, F, f"{called}.half_gradient")
    value = float(_finite(penalty.value(F), f"{called}.value"))
    for D in (rng.standard_normal(F.shape) for _ in range(5)):
        found, expected = 2 * float((gradient * D).sum()), _difference(lambda t, D=D: penalty.value(F + t * D))
        if not np.isclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * max(1.0, abs(value))):
            raise AssertionError(
                f"{called}.half_gradient is not half the gradient of {called}.value: along a random direction it gives "
                f"{found / 2:.6g}, and finite differences of the value give {expected / 2:.6g}."
            )
    holes = _read_only(F * (rng.random(F.shape) < 0.5))
    for G in (holes, _read_only(np.zeros(F.shape))):
        _finite(penalty.half_gradient(G), f"{called}.half_gradient at an F with zeros")
        _finite(penalty.value(G), f"{called}.value at an F with zeros")
    degree = getattr(penalty, "degree", None) if degree is None else degree
    if degree is not None:
        _check_degree(lambda t: penalty.value(t * F), degree, f"{called}.value")
    other = ElasticNetPenalty(l2=0.1)
    for factor, rest in (("H", "W"), ("W", "H")):
        _check_fits(called, penalties={factor: [penalty], rest: [other]})


def check_loss(loss: EntrywiseLoss, *, positive_data: bool = False, random_state: int = 0) -> None:
    """Check that a loss is right, and that a fit with it is monotone.

    Checked are: ``neg - pos`` is the derivative of `value` with respect to y (central differences); `pos` and `neg` are
    not negative; no y is better for an x than x itself; `zero_slope` and `degree`; fits never raise the objective, with
    strata and without, are the same for sparse and dense data, and nearly the same in float32.

    Parameters
    ----------
    loss : EntrywiseLoss
    positive_data : bool, default=False
        Whether the loss is for data without zeros.
    random_state : int, default=0
        Seed of the numbers that are tried.

    Raises
    ------
    AssertionError
        Something does not hold.
    TypeError
        `loss` is not an `EntrywiseLoss`.
    """
    if not isinstance(loss, EntrywiseLoss):
        raise TypeError(
            f"{shown(loss)} is not a loss; expected an object of a subclass of fastnmf.compose.EntrywiseLoss."
        )
    rng, called = np.random.default_rng(random_state), type(loss).__name__
    y = rng.random(200) * 3 + 0.05
    x = np.where(rng.random(200) < (0.0 if positive_data else 0.3), 0.0, rng.random(200) * 3 + 0.05)
    sides = {}
    for name in ("value", "pos", "neg"):
        sides[name] = _finite(getattr(loss, name)(x, y), f"{called}.{name}")
        _agree_on_shape(sides[name], y, f"{called}.{name}")
    for name in ("pos", "neg"):
        if sides[name].min() < 0:
            raise AssertionError(f"{called}.{name} is negative ({sides[name].min():.6g}); both parts must be >= 0.")
    slope, expected = sides["neg"] - sides["pos"], _difference(lambda t: loss.value(x, y + t * y)) / y
    worst = np.argmax(np.abs(slope - expected) / (1 + np.abs(expected)))
    if not np.isclose(slope[worst], expected[worst], rtol=TOLERANCE, atol=TOLERANCE):
        raise AssertionError(
            f"{called}.neg - {called}.pos is not the derivative of {called}.value: at x = {x[worst]:.4g}, "
            f"y = {y[worst]:.4g} it is {slope[worst]:.6g}, and finite differences give {expected[worst]:.6g}."
        )
    some = x > 0
    gap = np.min(sides["value"][some] - _finite(loss.value(x[some], x[some]), f"{called}.value"))
    if gap < -TOLERANCE:
        raise AssertionError(f"{called}.value is lower at some y than at y = x, by {-gap:.6g}; x has to be the best y.")
    if loss.zero_slope is not None:
        off = np.abs(_finite(loss.value(np.zeros_like(y), y), f"{called}.value at x = 0") - loss.zero_slope * y).max()
        if off > TOLERANCE or loss.zero_slope < 0:
            raise AssertionError(
                f"{called}.value(0, y) is not zero_slope y with zero_slope = {loss.zero_slope!r} (they differ by "
                f"{off:.6g}); set zero_slope to None, or to a number >= 0 for which they are equal."
            )
    if loss.degree:
        _check_degree(lambda t: float(np.sum(loss.value(t * x, t * y))), loss.degree, f"{called}.value")
    for strata in (False, True):
        _check_fits(called, positive_data, loss=loss, strata=strata)


def check_update(
    update: Step, *, loss: BetaLoss = "frobenius", n_components: int = 4, n_rows: int = 30, random_state: int = 0
) -> None:
    """Check that an update is valid, and that it never raises the objective of its subproblem or of a fit.

    Parameters
    ----------
    update : object
        Has ``step(F, view)``; see `fastnmf.compose.Factorization`.
    loss : str, float or EntrywiseLoss, default="frobenius"
        Loss of the fits. The subproblem that is checked by itself is that of the squared error.
    n_components, n_rows : int, default=4, 30
        Shape of F (n_components, n_rows).
    random_state : int, default=0
        Seed of the numbers that are tried.

    Raises
    ------
    AssertionError
        Something does not hold.
    """
    if not callable(getattr(update, "step", None)):
        raise TypeError(f"{shown(update)} is not an update; expected an object with the method step(F, view).")
    rng, called = np.random.default_rng(random_state), type(update).__name__
    if loss in ("frobenius", 2):
        for _ in range(5):
            other = rng.random((n_components, 20))
            data = rng.random((20, n_rows)) * (rng.random((20, n_rows)) < 0.5)
            view = View(other @ other.T, other @ data, np.zeros((n_components, n_rows)))
            F = _read_only(rng.random((n_components, n_rows)))
            new = _finite(update.step(F, view), f"{called}.step")
            _agree_on_shape(new, F, f"{called}.step")
            if new.min() < 0:
                raise AssertionError(f"{called}.step returned a negative entry ({new.min():.6g}); F must stay >= 0.")
            before, after = view.value(F), view.value(new)
            if after > before + RISE * abs(before):
                raise AssertionError(
                    f"{called}.step raised the objective of its subproblem from {before:.10g} to {after:.10g}."
                )
    _check_fits(called, loss=loss, updates=update)


def _check_fits(called, positive_data=False, **options):
    """Raise unless short fits of one composition are monotone, and alike for sparse, dense and float32 data.

    Parameters
    ----------
    called : str
        Name of what is checked, for messages.
    positive_data : bool, default=False
        Whether the data may have no zeros.
    **options
        Parameters of `Factorization`.
    """
    rng = np.random.default_rng(0)
    X = rng.random((40, 3)) @ rng.random((3, 25)) * (1.0 if positive_data else rng.random((40, 25)) < 0.6)
    X, given = X + 0.1 * positive_data, {"W": rng.random((40, 3)), "H": rng.random((3, 25))}
    if options.get("strata"):
        given |= {"strata": np.arange(40) % 3, "V": 0.1 * rng.random((3, 25))}
    ends = {}
    for name, data in (("dense", X), ("sparse", sp.csr_array(X)), ("float32", X.astype(np.float32))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = Factorization(3, init="custom", max_iter=30, tol=0, **options).fit(data, **given)
        objective = model.history_["objective"]
        rise = np.diff(objective) / np.maximum(np.abs(objective[:-1]), np.abs(objective).max() * 1e-12)
        if rise.max() > (RISE if name != "float32" else SINGLE):
            worst = int(np.argmax(rise))
            raise AssertionError(
                f"A fit with {called} on {name} data raised the objective in iteration {worst + 1}, from "
                f"{objective[worst]:.10g} to {objective[worst + 1]:.10g}."
            )
        ends[name] = objective[-1]
    for name, tolerance in (("sparse", 1e-6), ("float32", SINGLE)):
        if not np.isclose(ends[name], ends["dense"], rtol=tolerance, atol=0):
            raise AssertionError(
                f"A fit with {called} ends at the objective {ends['dense']:.10g} on dense float64 data and at "
                f"{ends[name]:.10g} on {name} data."
            )


def _check_degree(value, degree, name):
    for t in (0.5, 3.0):
        found, expected = float(value(t)), float(t**degree * value(1.0))
        if not np.isclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * abs(value(1.0))):
            raise AssertionError(
                f"{name} is not homogeneous of degree {degree:g}: {t:g} times the argument gives {found:.6g}, and "
                f"{t:g}^{degree:g} times the value is {expected:.6g}."
            )


def _difference(function):
    return (np.asarray(function(STEP)) - np.asarray(function(-STEP))) / (2 * STEP)


def _read_only(F):
    F.flags.writeable = False
    return F


def _finite(found, name):
    found = np.asarray(found, dtype=np.float64)
    if not np.isfinite(found).all():
        raise AssertionError(f"{name} is not finite.")
    return found


def _agree_on_shape(found, like, name):
    if found.shape != like.shape:
        raise AssertionError(f"{name} returned the shape {found.shape} for an argument of shape {like.shape}.")
