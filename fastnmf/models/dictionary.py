"""Dictionary NMF: components that are mixtures of known atoms.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
The factor ``"H"`` of the problem is Cᵀ, the transposed mixtures; with ``signed=True`` it holds the coordinates of the
components in an orthonormal basis of the span of the atoms. The atoms are not scaled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import pad, scaled
from fastnmf.core.objectives import dictionary_problem
from fastnmf.core.options import generator, one_of
from fastnmf.core.problem import Subproblem
from fastnmf.core.thresholds import LEAST_DIVISOR, RANK_CUT, rounding, unit_of
from fastnmf.core.updates import ConeColumns
from fastnmf.data.matrix import as_matrix
from fastnmf.models.base.for_checkers import Callback, Iterative, like_fit
from fastnmf.models.base.inspection import RowErrorsMixin
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import Factor, File, Floats, Matrix, Seed


def check_dictionary(name, value):
    """Raise if no atoms are given."""
    if value is None:
        raise ValueError("dictionary=None; give the known atoms, an array (n_atoms, n_features).")


class DictionaryNMF(RowErrorsMixin, BaseNMF, Iterative):
    """Factorise with components made of known atoms: ``X ~ W C D`` with W, C >= 0 and D given.

    Minimises ``||X - W C D||²``. It suits a library of spectra, and known patterns that occur in the data in fixed
    mixtures. With ``signed=True`` D and C have any sign, and the components are non-negative: ``C D >= 0``.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of mixtures, which are the rows of C.
    dictionary : sparse matrix or array (n_atoms, n_features), default=None
        D, one atom per row, non-negative unless ``signed=True``. Must be given.
    signed : bool, default=False
        False: D and C are non-negative. True: both may have any sign, and ``C D >= 0``; needs ``move="hals"``.
    move : {"hals", "mu"}, default="hals"
        Update of W and of C: ``"hals"`` is exact coordinate descent, ``"mu"`` is multiplicative.
    init : {"random", "custom"}, default="random"
        ``"random"``: uniform, multiplied by the number that gives the model the total of X. ``"custom"``: the W and C
        passed to `fit`.
    max_iter : int, default=500
        Maximum number of iterations.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the objective by less than `tol` times its value, where
        a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration with a `FitState` whose H are the components
        ``C D``; see `NMF`. Returning True stops the fit.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    mixtures_ : ndarray (n_components, n_atoms)
        C; with ``signed=True``, if atoms are dependent, the one of least norm.
    components_ : ndarray (n_components, n_features)
        ``C D``, non-negative; with ``signed=True`` entries that rounding leaves below zero are zero.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows: the last iterate.
    n_components_ : int
        k.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if the fit stopped because of `tol`, or, with ``tol=0``, after `max_iter` iterations.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        ``||X - W C D||``.
    normalized_loss_ : float
        ``||X - W C D|| / ||X||``; 0 for all-zero data.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective``, ``seconds``; entry 0 is the start. The objective is monotone:
        it does not increase.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    C >= 0 is a stronger condition than ``C D >= 0`` where D >= 0; it makes components readable as mixtures of atoms.
    The data are read once, for ``X Dᵀ``, a dense (n_samples, n_atoms) array; each iteration costs
    O(n_samples n_atoms n_components).

    With ``signed=True`` a component is updated to the point of the cone ``{c D: c D >= 0}`` that is best while the
    others are fixed. That is a problem of least distance, whose dual is one of non-negative least squares, solved
    exactly. With as many independent atoms as features, this is NMF itself.

    *Names*: the source has samples in columns, X ~ D C H; its H is our Wᵀ.

    References
    ----------
    D. D. Lee, H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2001 (the update of C has the same
    proof, with a matrix on either side, for ``move="mu"``).

    C. L. Lawson, R. J. Hanson, "Solving Least Squares Problems", 1974, chapter 23 (least distance, ``signed=True``).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import DictionaryNMF
    >>> atoms = np.array([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    >>> X = np.outer([1.0, 2, 3], [2, 1, 1, 0])
    >>> model = DictionaryNMF(1, dictionary=atoms, random_state=0, tol=0).fit(X)
    >>> (model.mixtures_ / model.mixtures_.max()).round(3)
    array([[1. , 0.5, 0. ]])
    """

    dictionary: Matrix | None
    signed: bool
    move: Literal["hals", "mu"]
    init: Literal["random", "custom"]
    mixtures_: Floats

    _constraints = {
        "move": one_of("hals", "mu"),
        "init": one_of("random", "custom"),
        "dictionary": check_dictionary,
    }
    _fixed = {"solver": "mu"}  # a start without zeros, and no exact solve at the end
    _continued = {"W": "W_", "C": "mixtures_"}
    _reads_factors = True

    def __init__(
        self,
        n_components: int = 10,
        *,
        dictionary: Matrix | None = None,
        signed: bool = False,
        move: Literal["hals", "mu"] = "hals",
        init: Literal["random", "custom"] = "random",
        max_iter: int = 500,
        tol: float = 1e-4,
        random_state: Seed = None,
        n_threads: int | None = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_init: int = 1,
        warm_start: bool = False,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        W: Factor = None,
        C: Factor = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 stays float32; all other types become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W : ndarray (n_samples, n_components), default=None
            Start of the weights for ``init="custom"``, >= 0.
        C : ndarray (n_components, n_atoms), default=None
            Start of the mixtures for ``init="custom"``, >= 0; with ``signed=True`` of any sign, with ``C D >= 0``.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File of the state of the fit; see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters, dictionary, data or start cannot be used. The message says what was given, what was expected
            and what to do.
        """
        return self._fit(X, W=W, C=C, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    @like_fit
    def fit_transform(self, X: Matrix, y: Any = None, **given: Any) -> Floats:
        """Fit the model and return the result of `transform` for X; arguments as in `fit`."""
        return self.fit(X, **given).transform(X)

    def transform(self, X: Matrix) -> Floats:
        """Return the exact minimiser of ``||x - w C D||`` over w >= 0 for each row x of X.

        `fit_transform` returns the same for the training rows; `W_` is the last iterate.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        return self._transform(X)

    @property
    def _has_signed_factors(self):
        return self.signed

    def _check_options(self, options):
        super()._check_options(options)
        if self.signed and self.move == "mu":
            raise ValueError("signed=True needs exact steps, but move='mu' gives ratios of positive parts; use 'hals'.")

    def _atoms(self, data):
        """Return the `Span` of the atoms, dense: there are few atoms, as there are few components."""
        if (known := vars(data).get("atoms")) is not None:
            return known
        D = as_matrix(self.dictionary, "dictionary: ", is_signed=True)
        if D.shape[1] != data.shape[1]:
            raise ValueError(f"dictionary has shape {D.shape}; expected (n_atoms, {data.shape[1]}), one atom per row.")
        least = (D.data if sp.issparse(D) else D).min(initial=0)
        if least < 0 and not self.signed:
            raise ValueError(
                f"dictionary has negative entries (the smallest is {least:g}); expected atoms >= 0, or signed=True, "
                "which requires only the components to be non-negative."
            )
        D = D.toarray() if sp.issparse(D) else D  # never-densify-ok: n_atoms x n_features, as H
        data.atoms = Span.of(D) if self.signed else Span(D.T, None, None)
        return data.atoms

    def _start(self, data, rank, given, options, random_state):
        """Return the start of W and of the mixtures, the factor H; a random one has the total of the data.

        Parameters
        ----------
        data, rank, given, options, random_state :
            As in `BaseNMF`; `given` may hold C (k, n_atoms) instead of H.

        Returns
        -------
        W, H, None, None :
            W (n_rows, k) and Cᵀ (n_atoms, k) of float64, or the coordinates of the components, in the inner scale.
        """
        span, n_rows = self._atoms(data), data.shape[0]
        basis, n_atoms = span.basis, span.basis.shape[1] if span.weights is None else span.weights.shape[1]
        options = options if self.move == "mu" else replace(options, solver="cd")  # which can leave a zero
        W = self._checked_start({"W": (n_rows, rank)}, {"W": given["W"]}, options)
        C = self._checked_start({"C": (rank, n_atoms)}, {"C": given["C"]}, options, is_signed=self.signed)
        if C is not None:
            C = C[0].T if span.weights is None else self._coordinates(span, C[0])
            return np.ldexp(W[0], data.log4_scale), np.ldexp(C, data.log4_scale), None, None
        rng = generator(random_state)
        W = rng.random((n_rows, rank)) + 0.1
        C = rng.random((basis.shape[1] if span.weights is None else len(basis), rank)) + 0.1
        C = C if span.weights is None else nearest_in_cone(basis, basis.T @ C)
        total = float(W.sum(axis=0) @ (C.T @ basis.sum(axis=0)))
        level = float(data.X.sum(dtype=np.float64)) / max(total, LEAST_DIVISOR) if total else 1.0  # atoms of zeros
        return W * np.sqrt(level), C * np.sqrt(level), None, None

    def _coordinates(self, span, C):
        """Return the coordinates (r, k) of the components ``C D`` of a start; raise where these are negative."""
        F = span.weights @ C.T
        least, most = (span.basis @ F).min(initial=0), np.abs(span.basis @ F).max(initial=0)
        if least < -rounding(np.float32) * most:
            raise ValueError(
                f"The start C has components C D with negative entries (the smallest is {least:g}); expected "
                "C D >= 0, as mixtures_ of a fitted model have."
            )
        return nearest_in_cone(span.basis, F)

    def _problem(self, data, factors, tasks, options):
        atoms, options = pad(self._atoms(data).basis, data), {"is_descent": self.move == "hals"}
        return dictionary_problem(data, factors, tasks, atoms, is_signed=self.signed, **options)

    def _arrays(self, data, solver):
        """Return W (n_samples, k), the components ``C D`` (k, n_features) and None, in the scale of the user's data."""
        W, C = (np.ascontiguousarray(solver.factors[name][:, : solver.factors.rank]) for name in "WH")
        H = C.T @ self._atoms(data).basis.T.astype(C.dtype)
        return scaled(W, -data.log4_scale), scaled(np.maximum(H, 0, out=H), -data.log4_scale), None

    def _set_factors(self, data, fit, options):
        super()._set_factors(data, fit, options)
        mixtures, span = np.ascontiguousarray(fit.factors["H"][:, : fit.factors.rank].T), self._atoms(data)
        if span.weights is not None:
            mixtures = (mixtures @ span.inverse).astype(mixtures.dtype)
        self.mixtures_ = scaled(mixtures, -data.log4_scale)


class Span(NamedTuple):
    """The atoms as the core takes them.

    Attributes
    ----------
    basis : ndarray (n_features, p)
        The atoms Dᵀ, p = n_atoms; or an orthonormal basis of their span, of p = r dimensions.
    weights : ndarray (r, n_atoms), or None
        ``weights Cᵀ`` are the coordinates of the components ``C D`` in the basis; None without one.
    inverse : ndarray (r, n_atoms), or None
        ``Fᵀ inverse`` is the C of least norm whose components have the coordinates F.
    """

    basis: np.ndarray
    weights: np.ndarray | None
    inverse: np.ndarray | None

    @classmethod
    def of(cls, D):
        """Return the span of atoms D (n_atoms, n_features) with an orthonormal basis."""
        unit = unit_of(D)
        U, sizes, V = np.linalg.svd(D.astype(np.float64) / unit, full_matrices=False)
        used = max(np.count_nonzero(sizes > RANK_CUT * sizes[0]), 1)
        U, sizes, V = U[:, :used].T, sizes[:used, None], V[:used]
        inverse = U * np.divide(1 / unit, sizes, out=np.zeros_like(sizes), where=sizes > 0)
        return cls((V * (sizes > 0)).T, U * (sizes * unit), inverse)


def nearest_in_cone(basis, F):
    """Return the points of the cone ``{g: basis g >= 0}`` nearest to the columns of F (r, k), float64."""
    found, sub = np.zeros(F.shape), Subproblem(np.array([0, len(F)]))
    sub.add(gram=np.eye(F.shape[1]), pos=F)
    ConeColumns(basis)(found, sub, F.shape[1])
    return found
