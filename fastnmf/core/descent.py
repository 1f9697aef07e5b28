"""Minimise the objective of a hierarchy over its layers: L-BFGS, projected gradient, Adam, and multiplicative updates.

The first three minimise ``value(A) -> (objective, gradients)`` over lists of arrays A >= 0. They serve
`fastnmf.core.stack.Stack` and any other objective that has a gradient. `layerwise` updates one layer after the other.
"""

import time

import numpy as np

from fastnmf.core.iterate import has_converged
from fastnmf.core.stack import infer_layers
from fastnmf.core.thresholds import DENOMINATOR_SHARE, LEAST_DIVISOR

CORRECTIONS = (3, 20)  # smallest and largest number of L-BFGS corrections; each takes 16 bytes a variable
CORRECTED = 4_000_000  # number of variables times number of corrections, within these bounds
MAX_HALVINGS = 30
ARMIJO = 1e-4
ADAM_RATE, ADAM_DECAY = 0.05, (0.9, 0.999)


class History:
    """Record the objectives of a descent and decide when to stop.

    Parameters
    ----------
    tol : float
        As for `fastnmf.core.iterate.solve`; 0 disables this criterion.
    callback : callable or None
        Called as ``callback(iteration, objective)`` after each iteration; a true return value stops the descent.

    Attributes
    ----------
    curve : list of float
        Objective at the start and after each iteration.
    best : list of float
        Least objective up to each entry of `curve`.
    seconds : list of float
        Seconds since the object was made, for each entry of `curve`.
    has_converged : bool
    """

    def __init__(self, tol, callback=None):
        self.tol, self.callback, self.curve, self.best, self.has_converged = tol, callback, [], [], False
        self.began, self.seconds = time.perf_counter(), []

    def __call__(self, objective):
        """Record the objective at the start or after an iteration; return whether to stop."""
        self.curve.append(float(objective))
        self.seconds.append(time.perf_counter() - self.began)
        self.best.append(min(self.best[-1], self.curve[-1]) if self.best else self.curve[-1])
        stop = self.callback is not None and bool(self.callback(len(self.curve) - 1, self.curve[-1]))
        self.has_converged = self.tol > 0 and has_converged(self.best, self.tol, 0.0)
        return stop or self.has_converged


def lbfgs(value, A, max_iter, history):
    """Minimise with bounds by SciPy's L-BFGS-B (Byrd, Lu, Nocedal, Zhu 1995).

    Parameters
    ----------
    value : callable
        ``value(A) -> (objective, gradients)``, with gradients a list of arrays of the shapes of A.
    A : list of ndarray of float64
        The start, non-negative. It is not changed.
    max_iter : int
    history : History
        Receives every objective and decides when to stop.

    Returns
    -------
    list of ndarray
        The last A.
    """
    from scipy.optimize import Bounds, minimize

    bounds = np.cumsum([0] + [a.size for a in A])

    def split(x):
        return [x[lo:hi].reshape(a.shape) for lo, hi, a in zip(bounds[:-1], bounds[1:], A, strict=True)]

    def flattened(parts):
        return np.concatenate([part.ravel() for part in parts])

    def objective(x):
        found, gradients = value(split(x))
        if not history.curve:
            history(found)
        return found, flattened(gradients)

    def after(*, intermediate_result):
        if history(intermediate_result.fun):
            raise StopIteration

    corrections = int(np.clip(CORRECTED // bounds[-1], *CORRECTIONS))
    options = {"maxiter": max_iter, "maxcor": corrections, "ftol": 0.0, "gtol": 1e-12, "maxfun": 20 * max_iter + 20}
    found = minimize(
        objective, flattened(A), jac=True, method="L-BFGS-B", bounds=Bounds(0, np.inf), callback=after, options=options
    )
    history.has_converged |= bool(found.success) and found.nit < max_iter  # no further decrease is possible
    return [part.copy() for part in split(found.x)]


def pgd(value, A, max_iter, history):
    """Minimise by projected gradients with one step length for each layer.

    The step lengths are those of Barzilai and Borwein 1988; Armijo's rule shortens them.

    Parameters
    ----------
    value : callable
        ``value(A) -> (objective, gradients)``, with gradients a list of arrays of the shapes of A.
    A : list of ndarray of float64
        The start, non-negative. It is not changed.
    max_iter : int
    history : History
        Receives every objective and decides when to stop.

    Returns
    -------
    list of ndarray
        The last A.
    """
    A = [a.copy() for a in A]
    now, gradients = value(A)
    steps = [0.1 * np.linalg.norm(a) / max(np.linalg.norm(g), LEAST_DIVISOR) for a, g in zip(A, gradients, strict=True)]
    stop = history(now)
    for _ in range(max_iter):
        if stop:
            break
        cut = 1.0
        for _ in range(MAX_HALVINGS):
            new = [np.maximum(a - cut * t * g, 0) for a, t, g in zip(A, steps, gradients, strict=True)]
            slope = sum(np.vdot(g, b - a) for g, a, b in zip(gradients, A, new, strict=True))
            then, turned = value(new)
            if then <= now + ARMIJO * slope:
                break
            cut /= 2
        else:  # not even the shortest step lowers the objective: a minimum up to rounding
            history.has_converged = True
            break
        for level, (a, b, g, h) in enumerate(zip(A, new, gradients, turned, strict=True)):
            moved, bent = b - a, np.vdot(b - a, h - g)
            steps[level] = np.vdot(moved, moved) / bent if bent > 0 else 2 * cut * steps[level]
        A, now, gradients = new, then, turned
        stop = history(now)
    return A


def adam(value, A, max_iter, history):
    """Minimise by Adam (Kingma and Ba 2015) with cosine decay.

    The step of a layer is relative to the root mean square of its entries at the start.

    Parameters
    ----------
    value : callable
        ``value(A) -> (objective, gradients)``, with gradients a list of arrays of the shapes of A.
    A : list of ndarray of float64
        The start, non-negative. It is not changed.
    max_iter : int
    history : History
        Receives every objective and decides when to stop.

    Returns
    -------
    list of ndarray
        The A with the least objective.
    """
    A = [a.copy() for a in A]
    best, kept = np.inf, A
    first, second = [np.zeros_like(a) for a in A], [np.zeros_like(a) for a in A]
    rates = [ADAM_RATE * np.sqrt(np.mean(a**2)) for a in A]
    forget, fade = ADAM_DECAY
    for i in range(max_iter + 1):
        now, gradients = value(A)
        if now < best:
            best, kept = now, [a.copy() for a in A]
        if history(now) or i == max_iter:
            break
        for a, g, m, v, rate in zip(A, gradients, first, second, rates, strict=True):
            m += (1 - forget) * (g - m)
            v += (1 - fade) * (g * g - v)
            step = rate * 0.5 * (1 + np.cos(np.pi * i / max_iter)) / (1 - forget ** (i + 1))
            a -= step * m / (np.sqrt(v / (1 - fade ** (i + 1))) + LEAST_DIVISOR)
            np.maximum(a, 0, out=a)
    return kept


DESCENTS = {"lbfgs": lbfgs, "pgd": pgd, "adam": adam}


def layerwise(stack, A, max_iter, history, scale=1.0):
    """Minimise the energy by multiplicative updates of one layer after the other, from the last to the first.

    S_l enters two residuals, that of the layer below and that of the layer above::

        S_l <- S_l * (S_{l-1} A_l + S_{l+1} A_{l+1}ᵀ) / (S_l A_lᵀA_l + S_l)
        A_l <- A_l * (S_{l-1}ᵀ S_l) / (A_l S_lᵀS_l)

    For S_L the labels take the place of the layer above; B >= 0 is updated likewise. Each update is a
    majorise-minimise step, so the energy with free S_l is monotone.

    Parameters
    ----------
    stack : fastnmf.core.stack.Stack
        Its ``S``, arrays (n, k_l), is part of the start and is updated in place.
    A : list of ndarray (k_{l-1}, k_l) of float64
        The start. It is not changed.
    max_iter : int
    history : History
        Receives the energy over `scale`.
    scale : float, default=1.0

    Returns
    -------
    list of ndarray
        The last A.
    """
    A, S, bottom, labels, shares = [a.copy() for a in A], stack.S, stack.bottom, stack.labels, stack.shares
    for F in (*A, *S):  # a multiplicative update never changes a zero
        np.maximum(F, 1e-3 * F.mean(), out=F)
    B = [np.maximum(label_loss.coefficients(S[label_loss.level]), 0) for label_loss in labels]
    for b in B:
        np.maximum(b, 1e-3 * b.mean() + LEAST_DIVISOR, out=b)
    stop = history(layerwise_energy(stack, A, B) / scale)
    for _ in range(max_iter):
        if stop:
            break
        for level in range(len(A) - 1, -1, -1):
            below, a, s, share = S[level - 1] if level else None, A[level], S[level], shares[level]
            above = bottom.product(a) if level == 0 else below @ a
            under = bottom.pull(s) if level == 0 else s @ (a.T @ a)
            above, under = share * above, share * under
            if level + 1 < len(A):
                above, under = (
                    above + shares[level + 1] * (S[level + 1] @ A[level + 1].T),
                    under + shares[level + 1] * s,
                )
            for label_loss, b in zip(labels, B, strict=True):
                if label_loss.level == level:
                    above = above + label_loss.weight * ((label_loss.mask * label_loss.Y) @ b)
                    under = under + label_loss.weight * ((label_loss.mask * (s @ b.T)) @ b)
            _scale(s, above, under)
            if level == 0:
                above, under = bottom.transposed_product(s), bottom.transposed_model_product([(1.0, s, s)])
            else:
                above, under = below.T @ s, a @ (s.T @ s)
            _scale(a, above, under)
        for label_loss, b in zip(labels, B, strict=True):
            s = S[label_loss.level]
            _scale(b, (label_loss.mask * label_loss.Y).T @ s, (label_loss.mask * (s @ b.T)).T @ s)
        stop = history(layerwise_energy(stack, A, B) / scale)
    return A


def _scale(F, above, under):
    """Multiply F by ``above / under`` in place."""
    F *= above / (under + DENOMINATOR_SHARE * under.max() + LEAST_DIVISOR)


def layerwise_energy(stack, A, B):
    """Return ``sum_l w_l ||S_{l-1} - S_l A_lᵀ||²`` plus the label losses, for the current ``stack.S``."""
    S, bottom, shares = stack.S, stack.bottom, stack.shares
    F = bottom.product(A[0])
    energy = shares[0] * (bottom.sq_norm - np.einsum("ij,ij->", 2 * F - bottom.pull(S[0]), S[0]))
    for level in range(1, len(A)):
        energy += shares[level] * np.sum(np.square(S[level - 1] - S[level] @ A[level].T))
    for label_loss, b in zip(stack.labels, B, strict=True):
        energy += label_loss.weight * np.sum(np.square(label_loss.mask * (S[label_loss.level] @ b.T - label_loss.Y)))
    return energy


def reseed_dead_topic(stack, A):
    """Return A with one dead topic replaced, or None if no topic is dead.

    A topic is dead where no sample uses it, because its gradient is then always zero. Its replacement is the positive
    part of the residual of the sample with the largest error.
    """
    for level, (a, s) in enumerate(zip(A, stack.S, strict=True)):
        dead = np.flatnonzero((s.max(axis=0) <= 0) | (a.max(axis=0) <= 0))
        if len(dead) == 0:
            continue
        if level == 0:
            missed = _missed(stack.bottom, a, s)
        else:
            residual = stack.S[level - 1] - s @ a.T
            missed = np.maximum(residual[np.einsum("ij,ij->i", residual, residual).argmax()], 0)
        if not missed.any():
            continue
        alive = np.linalg.norm(a, axis=0)
        A = [part.copy() for part in A]
        A[level][:, dead[0]] = missed / np.linalg.norm(missed) * (alive[alive > 0].mean() if alive.any() else 1.0)
        return A
    return None


def _missed(bottom, A, S):
    """Return the positive part of the first layer's residual for the sample with the largest error, (n_features,)."""
    F = bottom.product(A)
    errors = bottom.data.row_square_sums() - np.einsum("ij,ij->i", 2 * F - bottom.pull(S), S)
    row = int(errors.argmax())
    pick = np.zeros((len(S), 1))
    pick[row] = 1
    return np.maximum(bottom.data.X.T @ pick[:, 0] - A @ S[row], 0)


def infer_stack(bottom, A, pool=None):
    """Return the exact S_l of all layers, lowest first.

    Parameters
    ----------
    bottom : fastnmf.core.stack.Bottom
    A : list of ndarray (k_{l-1}, k_l)
    pool : callable, optional
        Applied to S_l before the next layer uses it.
    """
    S = [np.zeros((bottom.data.shape[0], a.shape[1])) for a in A]
    infer_layers(bottom, A, bottom.product(A[0]), S, pool)
    return S
