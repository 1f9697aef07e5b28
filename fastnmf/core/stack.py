"""Infer exactly through stacks of layers, and compute their objective and its gradient.

A stack approximates ``X ~ A_0 A_1 ... A_L S_L``, with ``S_l = argmin_{S >= 0} ||S_{l-1} - A_l S||`` and S_{-1} = X:
only the A_l are free. Inside this module all arrays lie as in the rest of the package, one row per sample: X (n, m),
A_0 (m, k_0), A_l (k_{l-1}, k_l), S_l (n, k_l). Only `nnls` and `hierarchical_loss` use the orientation of the paper,
one column per sample.

This is not a `Loss` because the objective is not quadratic in any factor: the S_l depend on the A_l. It is smooth
almost everywhere, and its gradient is one sweep back through the layers (`Stack`).

Source: Gao, Haddock, Molitor, Needell, Sadovnik, Will, Zhang, "Neural nonnegative matrix factorization for hierarchical
multilayer topic modeling". The gradient here is that of the paper with its pseudo-inverse in U transposed, and with the
sum over layers taken from l to L inclusive; checked against finite differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import aligned, copy_rows
from fastnmf.core.inference import is_nearly_singular, solve_rows, solve_rows_each
from fastnmf.core.losses.masked import normal_equations
from fastnmf.core.options import check_number
from fastnmf.core.thresholds import LABEL_RIDGE, SHORT_COLUMN
from fastnmf.data.layout import row_index
from fastnmf.data.matrix import as_csr, as_matrix, as_numbers
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.kernels import nnls as kernels
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_rows
from fastnmf.kernels.records import RowwiseGram
from fastnmf.kernels.row_intrinsics import padded
from fastnmf.typing import Dense, Factor, Floats, Matrix, Vector

LOSSES = ("levels", "recon", "energy")
_SAMPLED = 1 << 21  # entries of each of two gathered factors at a time: 16 MB each
_HELD_BYTES = 1 << 18  # size of the factorisations that a task of `pullback` holds; they should stay in the cache
_MOST_HELD = 61  # largest number of them; a prime, which spreads the keys evenly


class HierarchicalLoss(NamedTuple):
    """Result of `hierarchical_loss`.

    Attributes
    ----------
    loss : float
    gradients : list of ndarray
        With respect to A_0, ..., A_L, each of the shape of its factor.
    gradient_B : ndarray (n_classes, k_L), or None
    S : list of ndarray (k_l, n_samples)
    """

    loss: float
    gradients: list[Floats]
    gradient_B: Floats | None
    S: list[Floats]


class Labels(NamedTuple):
    """Labels that the weights of one level should predict: ``weight ||mask * (Y - S Bᵀ)||²``.

    Attributes
    ----------
    level : int
    Y : ndarray (n_samples, n_classes)
    mask : ndarray (n_samples, n_classes) or (n_samples, 1)
        0 where Y is not known.
    weight : float
    classes : ndarray (n_classes,), or None
        The labels themselves.
    """

    level: int
    Y: np.ndarray
    mask: np.ndarray
    weight: float
    classes: np.ndarray | None = None

    def coefficients(self, S):
        """Return the unconstrained least-squares B (n_classes, k) over the known labels."""
        known = self.mask * S
        gram = known.T @ S
        gram[np.diag_indices_from(gram)] += LABEL_RIDGE * (np.trace(gram) or 1.0)
        return np.linalg.solve(gram, known.T @ self.Y).T


class DataLayer:
    """The lowest layer over data without missing entries. It forms no array of the size of X.

    An evaluation of the objective and its gradient takes two passes over X.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        float64.
    """

    def __init__(self, data):
        self.data, self.sq_norm, self._rooms = data, data.sq_norm, {}

    def _room(self, name, n_rows, width):
        key = name, width
        if key not in self._rooms:
            self._rooms[key] = aligned((n_rows, padded(width, np.float64)), np.float64)
        return self._rooms[key]

    def product(self, A):
        """Return ``X A`` (n, k), and store A for the methods below."""
        self.A, self.gram = A, A.T @ A
        return self._pass("down", A, self.data.matmul)

    def _pass(self, name, F, multiply):
        n_out = self.data.shape[name == "up"]
        given, out = self._room(f"{name} in", len(F), F.shape[1]), self._room(f"{name} out", n_out, F.shape[1])
        copy_rows(F, given[:, : F.shape[1]])
        multiply(given, out)
        return out[:, : F.shape[1]].copy()

    def solve(self, F, S):
        """Replace the guess S (n, k) by the exact weights, given the product F = ``X A``."""
        solve_rows(self.gram, F, S)

    def pull(self, Q):
        """Return ``(Q Aᵀ) A``."""
        return Q @ self.gram

    def pullback(self, S, G):
        """Return the gradient with respect to the product, for G with respect to S."""
        return pullback(self.gram, S, G)

    def transposed_product(self, R):
        """Return ``Xᵀ R``."""
        return self._pass("up", R, self.data.tmatmul)

    def transposed_model_product(self, pairs):
        """Return ``sum_c c (P Aᵀ)ᵀ Q`` over the pairs (c, P, Q)."""
        return self.A @ sum(c * (P.T @ Q) for c, P, Q in pairs)


class MaskedDataLayer(DataLayer):
    """The lowest layer over data with missing entries.

    Every sample has its own Gram matrix, so this takes O(n k²) memory.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        float64, zero where an entry is missing.
    weights : fastnmf.data.entry_weights.Weights
        A mask O, held as ``base + D`` with base (n,) and D sparse.
    """

    def __init__(self, data, weights):
        super().__init__(data)
        side = weights.rows
        self.base, self.D = side.base.astype(np.float64)[:, None], side.matrix(data.shape[1])
        self._side, self._of_row, self._roots = side, row_index(side.extra), np.empty(self.D.nnz)

    def _model(self, Q):
        """Return ``D * (Q Aᵀ)`` as a sparse array."""
        value = np.empty(self.D.nnz)
        step = max(1, _SAMPLED // Q.shape[1])
        for lo in range(0, len(value), step):
            e = slice(lo, lo + step)
            value[e] = np.einsum("ec,ec->e", Q[self._of_row[e]], self.A[self.D.indices[e]])
        return sp.csr_array((self.D.data * value, self.D.indices, self.D.indptr), self.D.shape)

    def solve(self, F, S):
        """Replace S (n, k) by the exact weights, given the product F = ``X A``."""
        (n, k), A = S.shape, self._room("down in", *self.A.shape)
        grams, pos, none = np.zeros((2, A.shape[1], A.shape[1])), aligned((n, A.shape[1]), np.float64), np.empty(0)
        grams[1, :k, :k], pos[:, :k] = self.gram, F
        rowwise = RowwiseGram(*self._side.extra.csr, none, self._side.base, grams, A, self._roots)
        # All of them: `pullback` needs them again.
        self._grams, right = normal_equations(rowwise, 0, n, k, pos)
        solve_rows_each(S, k, lambda first, n: (self._grams[first : first + n], right[first : first + n]))

    def pull(self, Q):
        """Return ``(O * (Q Aᵀ)) A``."""
        return self.base * (Q @ self.gram) + self._model(Q) @ self.A

    def pullback(self, S, G):
        """Return the gradient with respect to the product, for G with respect to S."""
        W = np.empty_like(S)
        kernels.rows_nnls_weighted_pullback(split_rows(len(S), S.shape[1] ** 3), S, 0, self._grams, G, W)
        return W

    def transposed_model_product(self, pairs):
        """Return ``sum_c c (O * (P Aᵀ))ᵀ Q`` over the pairs (c, P, Q)."""
        return sum(c * (self.A @ ((self.base * P).T @ Q) + self._model(P).T @ Q) for c, P, Q in pairs)


def pullback(gram, S, G):
    """Return the gradient with respect to the argument `right` of `solve_rows`.

    Parameters
    ----------
    gram : ndarray (k, k) of float64
    S : ndarray (n, k) of float64
        Result of `solve_rows`.
    G : ndarray (n, k) of float64
        Gradient with respect to S.
    """
    W = np.empty_like(S)
    n_held = max(1, min(_MOST_HELD, _HELD_BYTES // (8 * len(gram) ** 2 + 1)))
    kernels.rows_nnls_pullback(split_rows(*S.shape), S, gram, n_held, np.ascontiguousarray(G), W)
    return W


def infer_layers(bottom, A, product, S, pool=None):
    """Replace the guesses S_l of all layers by the exact weights, lowest first.

    Parameters
    ----------
    bottom : DataLayer
    A : list of ndarray (k_{l-1}, k_l)
    product : ndarray (n, k_0)
        ``bottom.product(A[0])``.
    S : list of ndarray (n, k_l) of float64
        Changed in place; `pool` replaces the arrays of all but the last layer.
    pool : callable, optional
        Applied to S_l before the next layer uses it.
    """
    bottom.solve(product, S[0])
    for level in range(1, len(A)):
        if pool is not None:
            S[level - 1] = pool(S[level - 1])
        solve_rows(A[level].T @ A[level], S[level - 1] @ A[level], S[level])


class Stack:
    """The objective of a hierarchy, and its gradient.

    Parameters
    ----------
    bottom : DataLayer
    loss : {"levels", "recon", "energy"}
    shares : sequence of float
        Weight of each level; with ``"recon"`` only the last is used.
    labels : sequence of Labels

    Attributes
    ----------
    S : list of ndarray (n, k_l)
        Weights of the last evaluation; their supports are the guess for the next one.
    B : list of ndarray (n_classes, k)
        Coefficients of the last evaluation, in the order of `labels`.
    gradients_B : list of ndarray (n_classes, k)
        Gradients with respect to `B`.
    """

    def __init__(self, bottom, loss, shares, labels=()):
        self.bottom, self.is_energy, self.labels = bottom, loss == "energy", labels
        self.shares = np.array(shares, dtype=np.float64)
        if loss == "recon":
            self.shares[:-1] = 0
        self.S, self.B, self.gradients_B = None, [], []

    def forward(self, A):
        """Infer and return all S_l, lowest first."""
        n = self.bottom.data.shape[0]
        if self.S is None:
            self.S = [np.zeros((n, a.shape[1])) for a in A]
        self._product = self.bottom.product(A[0])
        for a, guess in zip(A, self.S, strict=True):
            if is_nearly_singular(a.T @ a):  # several S fit equally well: take that which inference from no guess finds
                guess[:] = 0
        infer_layers(self.bottom, A, self._product, self.S)
        return self.S

    def __call__(self, A, B=None):
        """Return the objective at A and its gradients with respect to all A_l.

        Parameters
        ----------
        A : list of ndarray (k_{l-1}, k_l) of float64
        B : list of ndarray (n_classes, k), default=None
            Coefficients of each of the labels. None: the minimiser; its dependence on A does not change the gradients.
        """
        S = self.forward(A)
        value, partial, pull, R, pairs = (self._energy if self.is_energy else self._depths)(A)
        value += self._add_labels(S, pull, B)
        gradients, gamma = [None] * len(A), pull[-1]
        for level in range(len(A) - 1, 0, -1):
            W = pullback(A[level].T @ A[level], S[level], gamma)
            K = S[level].T @ W
            gradients[level] = partial[level] + S[level - 1].T @ W - A[level] @ (K + K.T)
            gamma = pull[level - 1] + W @ A[level].T
        W = self.bottom.pullback(S[0], gamma)
        gradients[0] = self.bottom.transposed_product(R + W)
        gradients[0] -= self.bottom.transposed_model_product([*pairs, (1.0, S[0], W), (1.0, W, S[0])])
        return value, gradients

    def errors(self, A, S):
        """Return ``||X - A_0 ... A_t S_t||²`` for every t, at least 0, for the given S."""
        self.S, self._product = S, self.bottom.product(A[0])
        return np.maximum([self._depth(A, t)[0] for t in range(len(A))], 0.0)

    def _depth(self, A, t):
        """Return the squared error of depth t and the arrays from which its gradients are computed.

        Returns
        -------
        error : float
            ``||X - A_0 ... A_t S_t||²``.
        V : ndarray (n, k_0)
            The residual times A_0.
        Q : list of ndarray (n, k_l)
            ``S_t A_tᵀ ... A_{l+1}ᵀ`` for l = 0, ..., t: the part of the model that layer l multiplies.
        """
        Q = [self.S[t]]
        for level in range(t, 0, -1):
            Q.insert(0, Q[0] @ A[level].T)
        V = self._product - self.bottom.pull(Q[0])
        return self.bottom.sq_norm - np.einsum("ij,ij->", self._product + V, Q[0]), V, Q

    def _depths(self, A):
        value, partial, pull, R, pairs = 0.0, [0.0] * len(A), [0.0] * len(A), 0.0, []
        for t, share in enumerate(self.shares):
            if share == 0:
                continue
            lost, U, Q = self._depth(A, t)
            value += share * lost
            R = R - 2 * share * Q[0]
            pairs.append((-2 * share, Q[0], Q[0]))
            for level in range(1, t + 1):
                partial[level] = partial[level] - 2 * share * (U.T @ Q[level])
                U = U @ A[level]
            pull[t] = pull[t] - 2 * share * U
        return value, partial, pull, R, pairs

    def _energy(self, A):
        S, shares = self.S, self.shares
        lost, _, _ = self._depth(A, 0)
        value, partial, pull = shares[0] * lost, [0.0] * len(A), [0.0] * len(A)
        for level in range(1, len(A)):
            residual = S[level - 1] - S[level] @ A[level].T
            value += shares[level] * np.einsum("ij,ij->", residual, residual)
            partial[level] = -2 * shares[level] * (residual.T @ S[level])
            pull[level - 1] = 2 * shares[level] * residual
        pull[-1] = np.zeros_like(S[-1])  # its gradient is zero on the support
        return value, partial, pull, -2 * shares[0] * S[0], [(-2 * shares[0], S[0], S[0])]

    def _add_labels(self, S, pull, B):
        self.B = [label_loss.coefficients(S[label_loss.level]) for label_loss in self.labels] if B is None else B
        self.gradients_B, value = [], 0.0
        for label_loss, b in zip(self.labels, self.B, strict=True):
            off = label_loss.mask * (S[label_loss.level] @ b.T - label_loss.Y)
            value += label_loss.weight * np.einsum("ij,ij->", off, off)
            off = label_loss.mask * off
            pull[label_loss.level] = pull[label_loss.level] + 2 * label_loss.weight * (off @ b)
            self.gradients_B.append(2 * label_loss.weight * (off.T @ S[label_loss.level]))
        return value


def without_short_columns(A):
    """Return layers A in which columns are zero that are shorter than `SHORT_COLUMN` of the longest of their layer.

    Such a column is left of data of lower rank. It would do for a long one, with a weight that is as much larger, and
    the next layer would describe that weight in place of those that matter.
    """
    lengths = [np.linalg.norm(a, axis=0) for a in A]
    return [
        a * (size >= SHORT_COLUMN * size.max()) if size.min() < SHORT_COLUMN * size.max() else a
        for a, size in zip(A, lengths, strict=True)
    ]


def unit_columns(F):
    """Return F with columns of length one; columns of zeros stay zero."""
    return F / _lengths(F)


def _lengths(F):
    """Return the lengths of the columns of F, 1 for columns of zeros."""
    lengths = np.linalg.norm(F, axis=0)
    return np.where(lengths > 0, lengths, 1.0)


def on_unit_columns(value, A):
    """Return ``value`` at A with columns scaled to length one, and its gradients with respect to the unscaled A."""
    lengths = [_lengths(a) for a in A]
    unit = [a / length for a, length in zip(A, lengths, strict=True)]
    found, gradients = value(unit)
    zipped = zip(gradients, unit, lengths, strict=True)
    return found, [(g - u * np.einsum("ij,ij->j", u, g)) / length for g, u, length in zipped]


def nnls(A: Dense, B: Matrix) -> Floats:
    """Solve ``min_{x >= 0} ||A x - b||`` exactly for every column b of B.

    Parameters
    ----------
    A : array-like (n, k)
        Dense, of any sign.
    B : array-like or sparse matrix (n, p), or (n,)
        Of any sign. A sparse B stays sparse.

    Returns
    -------
    X : ndarray (k, p), or (k,), of float64
        Exactly zero off the support.

    Raises
    ------
    ValueError, TypeError
        If A or B is not finite or not numeric, has a wrong number of dimensions, or if their numbers of rows differ.

    Notes
    -----
    Block principal pivoting in the normal equations ``AᵀA``, ``AᵀB`` (Kim and Park 2011, "Fast nonnegative matrix
    factorization: an active-set-like method and comparisons", doi:10.1137/110821172), active sets where that cycles
    (Lawson and Hanson 1974); columns with equal supports share a factorisation. For dense B one step of refinement
    recovers the digits that the squared condition number loses. Equal to `scipy.optimize.nnls` to 1e-10 where the
    solution is unique. Where columns of A are linearly dependent (to 1e-5 of their length) some of them get zero; the
    fit ``A X`` is equally good.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import nnls
    >>> nnls([[1.0, 0], [1, 1], [0, 1]], [2.0, 1, -1])
    array([1.5, 0. ])
    """
    A = _numbers(A, "A", 2)
    is_vector = not sp.issparse(B) and np.ndim(B) == 1
    B = _numbers(B, "B", 1 if is_vector else 2)
    if A.shape[0] != B.shape[0]:
        raise ValueError(f"A has {A.shape[0]} rows and B has {B.shape[0]}; expected equal numbers of rows.")
    B = B[:, None] if is_vector else B
    exponent = np.frexp(np.abs(A).max(axis=0))[1]
    A = np.ldexp(A, -exponent)  # with largest entries around one, products of columns neither under- nor overflow
    with single_threaded_blas():
        gram, right = A.T @ A, np.ascontiguousarray(B.T @ A)
        X = np.zeros(right.shape)
        solve_rows(gram, right, X)
        if not sp.issparse(B):
            X = np.maximum(X + pullback(gram, X, (B - A @ X.T).T @ A), 0)
    X = np.ascontiguousarray(np.ldexp(X, -exponent).T)
    return X[:, 0] if is_vector else X


def _numbers(array, name, n_dimensions):
    """Return an array or a sparse array as finite float64; raise where it is none."""
    if sp.issparse(array):
        array = as_csr(array, name)
        values = array.data
    else:
        array = as_numbers(array, name)
        values = array
    if array.ndim != n_dimensions or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {n_dimensions} dimensions, none of them empty.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} contains NaN or infinity; every entry must be a finite number.")
    return array.astype(np.float64)


def hierarchical_loss(
    X: Matrix,
    A: Sequence[Dense],
    *,
    loss: Literal["levels", "recon", "energy"],
    Y: Factor = None,
    label_mask: Dense | Vector | None = None,
    B: Factor = None,
    label_weight: float = 0.0,
    level_weights: Vector | None = None,
) -> HierarchicalLoss:
    """Return the objective of a hierarchy of topics and its gradients, in the paper's orientation.

    With ``S_l = argmin_{S >= 0} ||S_{l-1} - A_l S||``, S_{-1} = X, and sums of squares throughout::

        levels   sum_l w_l ||X - A_0 ... A_l S_l||²
        recon    ||X - A_0 ... A_L S_L||²
        energy   sum_l w_l ||S_{l-1} - A_l S_l||²
        labels   + label_weight ||label_mask * (Y - B S_L)||²

    Parameters
    ----------
    X : sparse matrix or array (n_features, n_samples)
        Non-negative: one column per sample.
    A : sequence of ndarray
        A_0 (n_features, k_0), A_1 (k_0, k_1), ..., A_L (k_{L-1}, k_L), with k_0 >= k_1 >= ... >= k_L.
    loss : {"levels", "recon", "energy"}
    Y : array-like (n_classes, n_samples), default=None
        Usually one 1 a column, at its class.
    label_mask : array-like (n_classes, n_samples) or (n_samples,), default=None
        0 where Y is not known; None: known everywhere.
    B : array-like (n_classes, k_L), default=None
        Classes by topics; needed with Y.
    label_weight : float, default=0.0
        Absolute, not relative to the size of the loss.
    level_weights : sequence of float, default=None
        w_l >= 0, one per level, for ``"levels"`` and ``"energy"``; None: all 1.

    Returns
    -------
    HierarchicalLoss
        A named tuple ``(loss, gradients, gradient_B, S)``: gradients with respect to A_0, ..., A_L and B (None without
        Y), and the S_l (k_l, n_samples).

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a layer after the first has more columns than rows, or entries are negative or not
        finite.

    Notes
    -----
    Each S_l is exact, with exact zeros. The gradient is valid wherever the supports of the S_l do not change in a
    neighbourhood, which is almost everywhere. Only the products ``A_0ᵀX`` and ``X Wᵀ`` use X, so X may be sparse. The
    loss loses digits where it is far below the squared norm of X (at 1e-7 of it: half of them).

    Source: Gao et al., "Neural nonnegative matrix factorization for hierarchical multilayer topic modeling", eq. 7 and
    8; ``"levels"`` is ours. The gradients are the paper's with two corrections (see `fastnmf.core.stack`).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import hierarchical_loss
    >>> found = hierarchical_loss(np.eye(3), [np.eye(3)[:, :2], np.ones((2, 1))], loss="levels")
    >>> found.loss, [g.shape for g in found.gradients], found.S[1]
    (3.0, [(3, 2), (2, 1)], array([[0.5, 0.5, 0. ]]))
    """
    check_number("label_weight", label_weight)
    if loss not in LOSSES:
        raise ValueError(f"loss={shown(loss)} is not known; expected one of {', '.join(map(repr, LOSSES))}.")
    X = as_matrix(X.T if hasattr(X, "T") else as_numbers(X, "X").T)
    if not isinstance(A, (list, tuple)) and np.ndim(A) != 3:
        raise TypeError(f"A is {shown(A)}; expected a list of matrices, one for each level.")
    if any(map(sp.issparse, A)):
        raise TypeError("A holds a sparse matrix; layers are dense, so pass its toarray().")
    A = [_numbers(a, f"A[{level}]", 2) for level, a in enumerate(A)]
    check_chain(A, X.shape[1])
    shares = check_shares(level_weights, len(A), loss)
    data = Strata(X.astype(np.float64, copy=False), np.array([0]), np.zeros(X.shape[0], np.int32))
    if data.log4_scale != 0:
        raise ValueError("The largest entry of X is outside 1e-48 to 1e48: squares would be inexact. Scale X first.")
    labels, coefficients = [], []
    if Y is not None:
        if B is None:
            raise ValueError("Y was given without B; pass B (n_classes, k_L), too.")
        Y, B = _numbers(Y, "Y", 2).T, _numbers(B, "B", 2)
        mask = np.ones((X.shape[0], 1)) if label_mask is None else np.asarray(label_mask, dtype=np.float64).T
        mask = mask[:, None] if mask.ndim == 1 else mask
        if len(Y) != X.shape[0] or B.shape != (Y.shape[1], A[-1].shape[1]) or mask.shape not in (Y.shape, (len(Y), 1)):
            raise ValueError(
                f"Y {Y.T.shape}, label_mask {mask.T.shape} and B {B.shape} do not fit X with {X.shape[0]} samples and "
                f"{A[-1].shape[1]} last topics; expected (c, {X.shape[0]}) twice and (c, {A[-1].shape[1]})."
            )
        labels, coefficients = [Labels(len(A) - 1, Y, mask, label_weight)], [B]
    stack = Stack(DataLayer(data), loss, shares, labels)
    with single_threaded_blas():
        value, gradients = stack(A, coefficients)
    found = stack.gradients_B[0] if labels else None
    return HierarchicalLoss(float(value), gradients, found, [np.ascontiguousarray(s.T) for s in stack.S])


def check_chain(A, n_features):
    """Raise where the shapes of the layers do not match, or a layer after the first has more columns than rows."""
    if not A:
        raise ValueError("A is empty; give at least one layer.")
    above = n_features
    for level, a in enumerate(A):
        if a.shape[0] != above:
            raise ValueError(f"A[{level}] has {a.shape[0]} rows; expected {above}, the columns of the layer below it.")
        if level > 0 and a.shape[1] > above:
            raise ValueError(f"A[{level}] has more columns ({a.shape[1]}) than rows ({above}): layers must not widen.")
        above = a.shape[1]


def check_shares(level_weights, n_levels, loss):
    """Return the weights of the levels as an array; raise where they are not valid."""
    if level_weights is None:
        return np.ones(n_levels)
    try:
        shares = np.asarray(level_weights, dtype=np.float64)
    except (TypeError, ValueError):  # objects, lists of lists of other lengths
        shares = np.empty(0)
    if loss == "recon":
        raise ValueError("level_weights were given with loss='recon', which has one term; use loss='levels'.")
    if shares.shape != (n_levels,) or not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise ValueError(
            f"level_weights={shown(level_weights)} is not valid; expected {n_levels} numbers >= 0, not all 0."
        )
    return shares
