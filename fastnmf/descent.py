"""How the layers of a hierarchy move: quasi-Newton, projected gradient, Adam; and layer by layer, multiplicatively.

The first three minimise ``value(A) -> (objective, gradients)`` over lists of arrays A >= 0, for `fastnmf.layers.Stack`
and whatever else has a gradient.
"""

import time

import numpy as np

from fastnmf.layers import solve_rows
from fastnmf.solve import has_settled

EPS = 1e-12  # relative to the largest denominator of a multiplicative update
CORRECTIONS = (3, 20)  # of L-BFGS, at least and at most; each takes 16 bytes a variable
CORRECTED = 4_000_000  # variables of all corrections together, within these bounds
MAX_HALVINGS = 30
ARMIJO = 1e-4
ADAM_RATE, ADAM_DECAY = 0.05, (0.9, 0.999)


class Course:
    """The objectives of a descent so far, and whether it is to stop.

    Parameters
    ----------
    tol : float
        As for `fastnmf.solve.solve`; 0 never stops.
    watch : callable or None
        ``watch(iteration, objective)`` after each iteration; True stops.
    """

    def __init__(self, tol, watch=None):
        self.tol, self.watch, self.curve, self.best, self.has_settled = tol, watch, [], [], False
        self.began, self.seconds = time.perf_counter(), []

    def __call__(self, objective):
        """Note the objective after an iteration (or of the start); tell whether to stop."""
        self.curve.append(float(objective))
        self.seconds.append(time.perf_counter() - self.began)
        self.best.append(min(self.best[-1], self.curve[-1]) if self.best else self.curve[-1])
        stop = self.watch is not None and bool(self.watch(len(self.curve) - 1, self.curve[-1]))
        self.has_settled = self.tol > 0 and has_settled(self.best, self.tol, 0.0)
        return stop or self.has_settled


def lbfgs(value, A, max_iter, course):
    """Minimise with bounds by L-BFGS-B (Byrd, Lu, Nocedal, Zhu 1995), SciPy's; return the last A."""
    from scipy.optimize import Bounds, minimize

    bounds = np.cumsum([0] + [a.size for a in A])

    def split(x):
        return [x[lo:hi].reshape(a.shape) for lo, hi, a in zip(bounds[:-1], bounds[1:], A, strict=True)]

    def flat(parts):
        return np.concatenate([part.ravel() for part in parts])

    def objective(x):
        found, gradients = value(split(x))
        if not course.curve:
            course(found)
        return found, flat(gradients)

    def after(*, intermediate_result):
        if course(intermediate_result.fun):
            raise StopIteration

    corrections = int(np.clip(CORRECTED // bounds[-1], *CORRECTIONS))
    options = {"maxiter": max_iter, "maxcor": corrections, "ftol": 0.0, "gtol": 1e-12, "maxfun": 20 * max_iter + 20}
    found = minimize(
        objective, flat(A), jac=True, method="L-BFGS-B", bounds=Bounds(0, np.inf), callback=after, options=options
    )
    course.has_settled |= bool(found.success) and found.nit < max_iter  # nothing is left to gain
    return [part.copy() for part in split(found.x)]


def pgd(value, A, max_iter, course):
    """Minimise by projected gradients, a step for each layer (Barzilai and Borwein 1988) that Armijo's rule cuts."""
    A = [a.copy() for a in A]
    now, gradients = value(A)
    steps = [0.1 * np.linalg.norm(a) / max(np.linalg.norm(g), 1e-300) for a, g in zip(A, gradients, strict=True)]
    stop = course(now)
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
        else:  # not even the smallest step goes down: this is a minimum as far as rounding lets one see
            course.has_settled = True
            break
        for level, (a, b, g, h) in enumerate(zip(A, new, gradients, turned, strict=True)):
            moved, bent = b - a, np.vdot(b - a, h - g)
            steps[level] = np.vdot(moved, moved) / bent if bent > 0 else 2 * cut * steps[level]
        A, now, gradients = new, then, turned
        stop = course(now)
    return A


def adam(value, A, max_iter, course):
    """Minimise by Adam (Kingma and Ba 2015) on the size of each layer, with cosine decay; return the best A seen."""
    A = [a.copy() for a in A]
    best, kept = np.inf, A
    first, second = [np.zeros_like(a) for a in A], [np.zeros_like(a) for a in A]
    rates = [ADAM_RATE * np.sqrt(np.mean(a**2)) for a in A]
    forget, fade = ADAM_DECAY
    for i in range(max_iter + 1):
        now, gradients = value(A)
        if now < best:
            best, kept = now, [a.copy() for a in A]
        if course(now) or i == max_iter:
            break
        for a, g, m, v, rate in zip(A, gradients, first, second, rates, strict=True):
            m += (1 - forget) * (g - m)
            v += (1 - fade) * (g * g - v)
            step = rate * 0.5 * (1 + np.cos(np.pi * i / max_iter)) / (1 - forget ** (i + 1))
            a -= step * m / (np.sqrt(v / (1 - fade ** (i + 1))) + 1e-300)
            np.maximum(a, 0, out=a)
    return kept


DESCENTS = {"lbfgs": lbfgs, "pgd": pgd, "adam": adam}


def layerwise(stack, A, max_iter, course, scale=1.0):
    """Minimise the energy by multiplicative updates of one layer after the other, from the last to the first.

    In S_l meet what the layer below gives and what the layer above makes of it::

        S_l <- S_l * (S_{l-1} A_l + S_{l+1} A_{l+1}ᵀ) / (S_l A_lᵀA_l + S_l)
        A_l <- A_l * (S_{l-1}ᵀ S_l) / (A_l S_lᵀS_l)

    S_L meets the labels instead, B >= 0 alike. Each is a majorise-minimise step: the energy of free S_l never rises.

    A and ``stack.S`` are the start, and ``stack.S`` is moved in place; return A. `course` sees the energy over `scale`.
    """
    A, S, bottom, labels, shares = [a.copy() for a in A], stack.S, stack.bottom, stack.labels, stack.shares
    for F in (*A, *S):  # zeros would be locked
        np.maximum(F, 1e-3 * F.mean(), out=F)
    B = [np.maximum(term.coefficients(S[term.level]), 0) for term in labels]
    for b in B:
        np.maximum(b, 1e-3 * b.mean() + 1e-300, out=b)
    stop = course(layerwise_energy(stack, A, B) / scale)
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
            for term, b in zip(labels, B, strict=True):
                if term.level == level:
                    above = above + term.weight * ((term.mask * term.Y) @ b)
                    under = under + term.weight * ((term.mask * (s @ b.T)) @ b)
            _scale(s, above, under)
            if level == 0:
                above, under = bottom.lift(s), bottom.lift_model([(1.0, s, s)])
            else:
                above, under = below.T @ s, a @ (s.T @ s)
            _scale(a, above, under)
        for term, b in zip(labels, B, strict=True):
            s = S[term.level]
            _scale(b, (term.mask * term.Y).T @ s, (term.mask * (s @ b.T)).T @ s)
        stop = course(layerwise_energy(stack, A, B) / scale)
    return A


def _scale(F, above, under):
    """Multiply F by ``above / under`` in place."""
    F *= above / (under + EPS * under.max() + 1e-300)


def layerwise_energy(stack, A, B):
    """Return ``sum_l w_l ||S_{l-1} - S_l A_lᵀ||²`` and the label terms, for S as it stands in `stack`."""
    S, bottom, shares = stack.S, stack.bottom, stack.shares
    F = bottom.product(A[0])
    energy = shares[0] * (bottom.sq_norm - np.einsum("ij,ij->", 2 * F - bottom.pull(S[0]), S[0]))
    for level in range(1, len(A)):
        energy += shares[level] * np.sum(np.square(S[level - 1] - S[level] @ A[level].T))
    for term, b in zip(stack.labels, B, strict=True):
        energy += term.weight * np.sum(np.square(term.mask * (S[term.level] @ b.T - term.Y)))
    return energy


def revive(stack, A):
    """Return A with one dead topic replaced by what the sample that is missed most has left, or None if none is dead.

    A topic is dead where no sample uses it: its gradient is zero for ever.
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
    """Return what is positive of the residual of the sample that the first layer misses most, (n_features,)."""
    F = bottom.product(A)
    errors = bottom.data.row_square_sums() - np.einsum("ij,ij->i", 2 * F - bottom.pull(S), S)
    row = int(errors.argmax())
    pick = np.zeros((len(S), 1))
    pick[row] = 1
    return np.maximum(bottom.data.X.T @ pick[:, 0] - A @ S[row], 0)


def infer_stack(bottom, A, pool=None):
    """Return the exact S_l of all layers; with `pool`, S_l is pooled before the next layer sees it."""
    S = [np.zeros((bottom.data.shape[0], a.shape[1])) for a in A]
    for level, a in enumerate(A):
        if level == 0:
            bottom.solve(bottom.product(a), S[0])
        else:
            solve_rows(a.T @ a, S[level - 1] @ a, S[level])
        if pool is not None and level + 1 < len(A):
            S[level] = pool(S[level])
    return S
