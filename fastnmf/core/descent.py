"""Minimise over the layers of a hierarchy: L-BFGS, projected gradients, Adam, and multiplicative updates.

The first three are solvers that minimise ``value(A) -> (objective, gradients)`` over lists of arrays A >= 0. They serve
`NeuralDescent`, which runs them on a `fastnmf.core.stack.Stack`, and any other objective that has a gradient (see
`minimize`). `Layerwise` updates one layer after the other.
"""

import copy

import numpy as np

from fastnmf.core.iterate import Solver, iterate
from fastnmf.core.stack import infer_layers, on_unit_columns, unit_columns, without_short_columns
from fastnmf.core.thresholds import DENOMINATOR_SHARE, LEAST_DIVISOR

CORRECTIONS = (3, 20)  # smallest and largest number of L-BFGS corrections; each takes 16 bytes a variable
CORRECTED = 4_000_000  # number of variables times number of corrections, within these bounds
FLAT = 1e-12  # largest entry of a projected gradient at which L-BFGS ends
EVALUATIONS = 20  # evaluations of L-BFGS in one line search
MAX_HALVINGS = 30
ARMIJO = 1e-4
ADAM_RATE, ADAM_DECAY = 0.05, (0.9, 0.999)
MAX_RESEEDINGS = 10
_NEW_ITERATE, _EVALUATE = 1, 3  # what SciPy's routine asks for


class Descent(Solver):
    """Base of the solvers that minimise ``value(A) -> (objective, gradients)`` over lists of arrays A >= 0.

    Parameters
    ----------
    value : callable
        Its gradients are a list of arrays of the shapes of A.
    A : list of ndarray of float64
        The start, non-negative. It is not changed.
    max_iter : int
        Maximum number of iterations; step lengths of `Adam` and the most evaluations of `LBFGS` depend on it.

    Attributes
    ----------
    best : list of ndarray
        The result.
    """

    _kept = ()  # names of the attributes that later steps depend on

    def __init__(self, value, A, max_iter):
        self.value, self.best, self.max_iter = value, [a.copy() for a in A], max_iter

    def to_state(self):
        """Return everything that later steps depend on."""
        return {name: getattr(self, name) for name in ("max_iter", "ended", *self._kept)}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        for name in ("max_iter", "ended", *self._kept):
            setattr(self, name, copy.deepcopy(state[name]))


class LBFGS(Descent):
    """Minimise with bounds by SciPy's L-BFGS-B (Byrd, Lu, Nocedal, Zhu 1995).

    The iterates are those of ``scipy.optimize.minimize``, to the bit. That function owns its loop and its state; the
    routine below it is driven by reverse communication: it returns whenever it needs a value, and what it remembers
    lies in arrays, which a checkpoint can store. The solver ends where the gradient is zero, or where no step along it
    lowers the objective: a minimum up to rounding.
    """

    _kept = ("x", "objective", "gradient", "memory", "n_evaluations")

    def __init__(self, value, A, max_iter):
        # Private, in this form since SciPy 1.15, where the routine was translated from Fortran: hence the floor in
        # pyproject.toml. tests/test_descent.py compares the iterates with those of the public function.
        from scipy.optimize import _lbfgsb

        self.value, self.max_iter, self._run = value, max_iter, _lbfgsb.setulb
        self._shapes, self._cuts = [a.shape for a in A], np.cumsum([a.size for a in A])[:-1]
        self.x, self.n_evaluations = np.concatenate([a.ravel() for a in A]), 0
        n = len(self.x)
        self._n_corrections = m = int(np.clip(CORRECTED // n, *CORRECTIONS))
        self._bounds = np.zeros(n), np.zeros(n), np.ones(n, np.int32)  # 1: a lower bound only
        sizes = {"wa": 2 * m * n + 5 * n + 11 * m * m + 8 * m, "iwa": 3 * n, "task": 2, "lsave": 4, "isave": 44}
        sizes |= {"dsave": 29, "ln_task": 2}
        floats = ("wa", "dsave")
        self.memory = {name: np.zeros(size, float if name in floats else np.int32) for name, size in sizes.items()}

    @property
    def best(self):
        """The last iterate."""
        return self._split(self.x.copy())

    @property
    def _most_evaluations(self):
        return EVALUATIONS * (self.max_iter + 1)

    def begin(self):
        """Return the objective of the start."""
        return self._evaluate()

    def step(self):
        """Run the routine to its next iterate and return the objective; None if there is none."""
        *memory, ln_task = self.memory.values()
        task, before = self.memory["task"], (self.x.copy(), self.objective)
        if self.n_evaluations > self._most_evaluations:
            self.ended = "max_iter"
        while self.ended is None:  # a line search: ends after EVALUATIONS
            now = self.objective, self.gradient
            self._run(self._n_corrections, self.x, *self._bounds, *now, 0.0, FLAT, *memory, EVALUATIONS, ln_task)
            if task[0] == _NEW_ITERATE and self.objective > before[1]:  # rounding: its search ended without a descent
                self.x[:], self.objective, self.ended = *before, "tol"
                return None
            if task[0] == _NEW_ITERATE:
                return self.objective
            if task[0] != _EVALUATE:
                self.ended = "tol"
            elif not np.array_equal(self.x, self._at):
                self._evaluate()
        return None

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        super().from_state(state)
        self._at = self.x.copy()

    def _split(self, x):
        return [part.reshape(shape) for part, shape in zip(np.split(x, self._cuts), self._shapes, strict=True)]

    def _evaluate(self):
        self._at = self.x.copy()  # the routine changes x in place
        self.objective, gradients = self.value(self._split(self._at))
        self.gradient = np.concatenate([g.ravel() for g in gradients])
        self.n_evaluations += 1
        return self.objective


class ProjectedGradient(Descent):
    """Minimise by projected gradients with one step length for each layer.

    The step lengths are those of Barzilai and Borwein 1988; Armijo's rule shortens them. The solver ends where not even
    the shortest step lowers the objective: a minimum up to rounding.
    """

    _kept = ("best", "objective", "gradients", "lengths")

    def begin(self):
        """Return the objective of the start."""
        self.objective, self.gradients = self.value(self.best)
        pairs = zip(self.best, self.gradients, strict=True)
        self.lengths = [0.1 * np.linalg.norm(a) / max(np.linalg.norm(g), LEAST_DIVISOR) for a, g in pairs]
        return self.objective

    def step(self):
        """Make a step that lowers the objective and return it; None if there is none."""
        A, gradients, lengths, cut = self.best, self.gradients, self.lengths, 1.0
        for _ in range(MAX_HALVINGS):
            new = [np.maximum(a - cut * t * g, 0) for a, t, g in zip(A, lengths, gradients, strict=True)]
            slope = sum(np.vdot(g, b - a) for g, a, b in zip(gradients, A, new, strict=True))
            objective, turned = self.value(new)
            if objective <= self.objective + ARMIJO * slope:
                break
            cut /= 2
        else:
            self.ended = "tol"
            return None
        for level, (a, b, g, h) in enumerate(zip(A, new, gradients, turned, strict=True)):
            moved, bent = b - a, np.vdot(b - a, h - g)
            lengths[level] = np.vdot(moved, moved) / bent if bent > 0 else 2 * cut * lengths[level]
        self.best, self.objective, self.gradients = new, objective, turned
        return objective


class Adam(Descent):
    """Minimise by Adam (Kingma and Ba 2015) with cosine decay; the result is the iterate with the least objective.

    The step of a layer is relative to the root mean square of its entries at the start.
    """

    keeps_best = True
    _kept = ("A", "gradients", "moments", "rates", "best", "least", "n_updates")

    def begin(self):
        """Return the objective of the start."""
        self.A, self.least, self.n_updates = [a.copy() for a in self.best], np.inf, 0
        self.moments = [(np.zeros_like(a), np.zeros_like(a)) for a in self.A]
        self.rates = [ADAM_RATE * np.sqrt(np.mean(a**2)) for a in self.A]
        return self._evaluate()

    def step(self):
        """Make a step and return the objective."""
        forget, fade = ADAM_DECAY
        i, self.n_updates = self.n_updates, self.n_updates + 1
        for a, g, (m, v), rate in zip(self.A, self.gradients, self.moments, self.rates, strict=True):
            m += (1 - forget) * (g - m)
            v += (1 - fade) * (g * g - v)
            length = rate * 0.5 * (1 + np.cos(np.pi * i / self.max_iter)) / (1 - forget ** (i + 1))
            a -= length * m / (np.sqrt(v / (1 - fade ** (i + 1))) + LEAST_DIVISOR)
            np.maximum(a, 0, out=a)
        return self._evaluate()

    def _evaluate(self):
        objective, self.gradients = self.value(self.A)
        if objective < self.least:
            self.least, self.best = objective, [a.copy() for a in self.A]
        return objective


DESCENTS = {"lbfgs": LBFGS, "pgd": ProjectedGradient, "adam": Adam}


def minimize(value, A, *, method="lbfgs", max_iter, tol):
    """Minimise ``value(A) -> (objective, gradients)`` over lists of arrays A >= 0.

    Parameters
    ----------
    value, A, max_iter
        As for `Descent`.
    method : {"lbfgs", "pgd", "adam"}, default="lbfgs"
    tol : float
        As for `fastnmf.core.iterate.iterate`.

    Returns
    -------
    list of ndarray
    """
    return iterate(DESCENTS[method](value, A, max_iter), max_iter=max_iter, tol=tol).solver.best


class NeuralDescent(Solver):
    """Minimise the objective of a stack over all layers together, by a `Descent`.

    Where a descent ends, a topic that no sample uses is reseeded (see `reseed_dead_topic`); if this lowers the
    objective, another descent begins there, in the same history.

    Parameters
    ----------
    stack : fastnmf.core.stack.Stack
    A : list of ndarray (k_{l-1}, k_l) of float64
        The start. It is not changed.
    method : {"lbfgs", "pgd", "adam"}
    max_iter : int
    total : float
        Squared norm of the data, by which the objective is divided.

    Attributes
    ----------
    layers : list of ndarray
        The result.
    """

    def __init__(self, stack, A, method, max_iter, total):
        self.stack, self.max_iter, self.total, self._kind = stack, max_iter, total, DESCENTS[method]
        self.scale, self.keeps_best = float(stack.shares.sum()), self._kind.keeps_best
        self.descent, self.n_iter = self._kind(self._value, A, max_iter), 0

    @property
    def layers(self):
        """The layers, with columns of length one if the loss is the energy."""
        A = without_short_columns(self.descent.best)
        return [unit_columns(a) for a in A] if self.stack.is_energy else A

    def begin(self):
        """Return the objective of the start."""
        return self.descent.begin()

    def step(self):
        """Make a step of the descent and return the objective; where it has ended, begin another one."""
        if self.descent.ended is None:
            value = self.descent.step()
            self.n_iter += value is not None
            return value
        if not self._reseed():
            self.ended = self.descent.ended
        return None

    def stop(self, history, tol):
        """End the descent by the rule of all solvers; return why the solver ends if no other descent can follow."""
        self.descent.ended = super().stop(history, tol)
        return self.descent.ended if self.n_iter >= self.max_iter else None

    def to_state(self):
        """Return the descent, the rounds, and the weights S, whose supports are the guess for the next evaluation."""
        counts = {"n_iter": self.n_iter, "reseeded": self.n_reseeded, "ended": self.ended}
        return counts | {"S": self.stack.S, "descent": self.descent.to_state()}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.n_iter, self.n_reseeded, self.ended = (state[name] for name in ("n_iter", "reseeded", "ended"))
        self.stack.S = copy.deepcopy(state["S"])
        self.descent.from_state(state["descent"])

    def _value(self, A):
        A = without_short_columns(A)
        found, gradients = on_unit_columns(self.stack, A) if self.stack.is_energy else self.stack(A)
        return found / self.total, [np.divide(g, self.total, out=g) for g in gradients]

    def _reseed(self):
        """Reseed a dead topic and begin a descent there, if this lowers the objective; return whether it did."""
        if self.n_reseeded >= MAX_RESEEDINGS:
            return False
        A = without_short_columns(self.descent.best)
        before, _ = self._value(A)
        alive = reseed_dead_topic(self.stack, A)
        if alive is None or self._value(alive)[0] >= before:
            return False
        self.n_reseeded += 1
        self.descent = self._kind(self._value, alive, self.max_iter - self.n_iter)
        self.descent.begin()
        return True


class Layerwise(Solver):
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
    total : float
        Squared norm of the data, by which the energy is divided.

    Attributes
    ----------
    layers : list of ndarray
        The result.
    """

    def __init__(self, stack, A, total):
        self.stack, self.layers, self.total = stack, [a.copy() for a in A], total
        self.scale = float(stack.shares.sum())
        for F in (*self.layers, *stack.S):  # a multiplicative update never changes a zero
            np.maximum(F, 1e-3 * F.mean(), out=F)
        self.B = [np.maximum(loss.coefficients(stack.S[loss.level]), 0) for loss in stack.labels]
        for b in self.B:
            np.maximum(b, 1e-3 * b.mean() + LEAST_DIVISOR, out=b)

    def begin(self):
        """Return the energy of the start."""
        return layerwise_energy(self.stack, self.layers, self.B) / self.total

    def step(self):
        """Update every layer and return the energy."""
        A, S, bottom = self.layers, self.stack.S, self.stack.bottom
        for level in range(len(A) - 1, -1, -1):
            self._update_weights(level)
            a, s = A[level], S[level]
            if level == 0:
                above, under = bottom.transposed_product(s), bottom.transposed_model_product([(1.0, s, s)])
            else:
                above, under = S[level - 1].T @ s, a @ (s.T @ s)
            _scale(a, above, under)
        for loss, b in zip(self.stack.labels, self.B, strict=True):
            s = S[loss.level]
            _scale(b, (loss.mask * loss.Y).T @ s, (loss.mask * (s @ b.T)).T @ s)
        return self.begin()

    def _update_weights(self, level):
        """Update S_l."""
        A, S, bottom, shares = self.layers, self.stack.S, self.stack.bottom, self.stack.shares
        a, s = A[level], S[level]
        above = bottom.product(a) if level == 0 else S[level - 1] @ a
        under = bottom.pull(s) if level == 0 else s @ (a.T @ a)
        above, under = shares[level] * above, shares[level] * under
        if level + 1 < len(A):
            above, under = above + shares[level + 1] * (S[level + 1] @ A[level + 1].T), under + shares[level + 1] * s
        for loss, b in zip(self.stack.labels, self.B, strict=True):
            if loss.level == level:
                above = above + loss.weight * ((loss.mask * loss.Y) @ b)
                under = under + loss.weight * ((loss.mask * (s @ b.T)) @ b)
        _scale(s, above, under)

    def to_state(self):
        """Return the layers, the weights and the coefficients of the labels."""
        return {"layers": self.layers, "S": self.stack.S, "B": self.B}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.layers, self.stack.S, self.B = (copy.deepcopy(state[name]) for name in ("layers", "S", "B"))


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
    bottom : fastnmf.core.stack.DataLayer
    A : list of ndarray (k_{l-1}, k_l)
    pool : callable, optional
        Applied to S_l before the next layer uses it.
    """
    S = [np.zeros((bottom.data.shape[0], a.shape[1])) for a in A]
    infer_layers(bottom, A, bottom.product(A[0]), S, pool)
    return S
