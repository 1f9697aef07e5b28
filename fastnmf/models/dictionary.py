"""Dictionary NMF: components that are mixtures of known atoms.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
The factor ``"H"`` of the problem is Cᵀ, the transposed mixtures. The atoms are not scaled.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import pad, scaled
from fastnmf.core.objectives import dictionary_problem
from fastnmf.core.options import generator, one_of
from fastnmf.core.thresholds import LEAST_DIVISOR
from fastnmf.data.matrix import as_matrix
from fastnmf.models.base.for_checkers import Callback, Iterative, like_fit
from fastnmf.models.base.inspection import RowErrorsMixin
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import Factor, File, Floats, Matrix, Seed


def check_dictionary(name, value):
    """Raise if no atoms are given."""
    if value is None:
        raise ValueError("dictionary=None; give the known atoms, a non-negative array (n_atoms, n_features).")


class DictionaryNMF(RowErrorsMixin, BaseNMF, Iterative):
    """Factorise with components made of known atoms: ``X ~ W C D`` with W, C >= 0 and D given.

    Minimises ``||X - W C D||²``. For a library of spectra, or for known patterns that occur in the data in fixed
    mixtures.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of mixtures, which are the rows of C.
    dictionary : sparse matrix or array (n_atoms, n_features), default=None
        D, non-negative, one atom a row. Must be given.
    move : {"hals", "mu"}, default="hals"
        Update of W and of C: ``"hals"`` is exact coordinate descent, ``"mu"`` is multiplicative.
    init : {"random", "custom"}, default="random"
        ``"random"``: uniform, multiplied by the number that gives the model the total of X. ``"custom"``: the W and C
        passed to `fit`.
    max_iter : int, default=500
        Largest number of iterations.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the objective by less than `tol` times its value. 0 runs
        exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None takes Numba's setting.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration with a `FitState` whose H are the components
        ``C D``; see `NMF`. Returning True stops the fit.
    n_init : int, default=1
        Number of starts that are tried; the result with the lowest objective is kept. `max_time` limits the total time
        of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    mixtures_ : ndarray (n_components, n_atoms)
        C.
    components_ : ndarray (n_components, n_features)
        ``C D``.
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
    C >= 0 is a stronger condition than ``C D >= 0``; it makes components readable as mixtures of atoms. The data are
    read once, for ``X Dᵀ``, a dense (n_samples, n_atoms) array; each iteration costs O(n_samples n_atoms n_components).

    *Names*: the source has samples in columns, X ~ D C H; its H is our Wᵀ.

    References
    ----------
    D. D. Lee, H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2001 (the update of C has the same
    proof, with a matrix on either side, for ``move="mu"``).

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
            Start of the mixtures for ``init="custom"``, >= 0.
        layer : str, default=None
            Layer of an AnnData that holds the matrix in place of its X; see `NMF.fit`.
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

    def _atoms(self, data):
        """Return Dᵀ (n_features, n_atoms), dense: there are few atoms, as there are few components."""
        D = as_matrix(self.dictionary, "dictionary: ")
        values = D.data if sp.issparse(D) else D
        if D.shape[1] != data.shape[1] or (values < 0).any():
            raise ValueError(
                f"dictionary has shape {D.shape}; expected (n_atoms, {data.shape[1]}), an atom a row, and no negative "
                "entry."
            )
        D = D.toarray() if sp.issparse(D) else D  # never-densify-ok: n_atoms x n_features, as H
        return D.T

    def _start(self, data, rank, given, options, random_state):
        """Return the start of W and of the mixtures, the factor H; a random one has the total of the data.

        Parameters
        ----------
        data, rank, given, options, random_state :
            As in `BaseNMF`; `given` may hold C (k, n_atoms) instead of H.

        Returns
        -------
        W, H, None, None :
            W (n_rows, k) and Cᵀ (n_atoms, k) of float64, in the inner scale.
        """
        D = self._atoms(data)
        start = self._checked_start({"W": (data.shape[0], rank), "C": (rank, D.shape[1])}, given, options)
        if start is not None:
            return np.ldexp(start[0], data.log4_scale), np.ldexp(start[1], data.log4_scale).T, None, None
        rng = generator(random_state)
        W, C = rng.random((data.shape[0], rank)) + 0.1, rng.random((D.shape[1], rank)) + 0.1
        total = float(W.sum(axis=0) @ (C.T @ D.T.sum(axis=1)))
        level = float(data.X.sum(dtype=np.float64)) / max(total, LEAST_DIVISOR) if total else 1.0  # atoms of zeros
        return W * np.sqrt(level), C * np.sqrt(level), None, None

    def _problem(self, data, factors, tasks, options):
        return dictionary_problem(data, factors, tasks, pad(self._atoms(data), data), is_descent=self.move == "hals")

    def _arrays(self, data, solver):
        """Return W (n_samples, k), the components ``C D`` (k, n_features) and None, in the scale of the user's data."""
        W, C = (np.ascontiguousarray(solver.factors[name][:, : solver.factors.rank]) for name in "WH")
        return scaled(W, -data.log4_scale), scaled(C.T @ self._atoms(data).T.astype(C.dtype), -data.log4_scale), None

    def _set_factors(self, data, fit, options):
        super()._set_factors(data, fit, options)
        mixtures = np.ascontiguousarray(fit.factors["H"][:, : fit.factors.rank].T)
        self.mixtures_ = scaled(mixtures, -data.log4_scale)
