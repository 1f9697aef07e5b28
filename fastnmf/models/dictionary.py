"""Dictionary NMF: components that are mixtures of known atoms."""

from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp

from fastnmf import init as starts
from fastnmf.data import as_matrix
from fastnmf.models.base import scaled
from fastnmf.models.options import check_choice
from fastnmf.models.presets import Preset
from fastnmf.models.problems import dictionary_problem
from fastnmf.models.reading import RowErrors
from fastnmf.solve import pad


class DictionaryNMF(RowErrors, Preset):
    """Factorise with components made of known atoms: ``X ~ W C D`` with W, C >= 0 and D given.

    Minimises ``||X - W C D||²``. For a library of spectra, or known patterns of which the data show mixtures that
    always come together.

    Parameters
    ----------
    n_components : int, default=10
        Mixtures, rows of C.
    dictionary : sparse matrix or array (n_atoms, n_features), default=None
        D, non-negative, an atom a row; has to be given.
    move : {"hals", "mu"}, default="hals"
        How W moves: coordinate descent, or multiplicative updates. C moves by the latter.
    init : {"random", "custom"}, default="random"
        ``"custom"``: the W and C passed to `fit`.
    max_iter : int, default=200
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration; see `NMF`. The state's H are the components.

    Attributes
    ----------
    mixtures_ : ndarray (n_components, n_atoms)
        C.
    components_ : ndarray (n_components, n_features)
        ``C D``.
    W_ : ndarray (n_samples, n_components)
    n_components_, n_iter_ : int
    converged_ : bool
    stopped_by_ : str
    reconstruction_err_ : float
        ``||X - W C D||``.
    normalized_loss_ : float
        The same divided by the norm of X; 0 for all-zero data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective``, ``seconds``; entry 0 is the start. The objective never rises.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    C >= 0 is more than ``C D >= 0`` asks for, but what makes components readable as mixtures. The data are walked once,
    for ``X Dᵀ``, a dense (n_samples, n_atoms); each iteration costs O(n_samples n_atoms n_components).

    *Names*: the source has samples in columns, X ~ D C H; its H is our W, turned.

    References
    ----------
    D. D. Lee, H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2001 (the update of C has the same
    proof, with a matrix on either side).

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

    solver = "mu"  # a start without zeros, and no exact solve at the end

    def __init__(
        self,
        n_components=10,
        *,
        dictionary=None,
        move="hals",
        init="random",
        max_iter=200,
        tol=1e-4,
        random_state=None,
        n_threads=None,
        verbose=0,
        max_time=None,
        callback=None,
    ):
        self.n_components = n_components
        self.dictionary = dictionary
        self.move = move
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback

    def fit(self, X, y=None, *, W=None, C=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored
        W, C : ndarray (n_samples, n_components), (n_components, n_atoms), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, dictionaries, data or starts that cannot be used: what was given, expected, to be done.
        """
        self._fit(X, None, W, C)
        return self

    def transform(self, X):
        """Return the exact minimiser of ``||x - w C D||`` over w >= 0 for the rows x of X, (n_samples, n_components).

        `fit_transform` gives the same for the training rows; `W_` is the last iterate.
        """
        return self._transform(X)

    def _check_parameters(self):
        check_choice("move", self.move, ("hals", "mu"))
        check_choice("init", self.init, ("random", "custom"))
        if self.dictionary is None:
            raise ValueError("dictionary=None; give the known atoms, a non-negative array (n_atoms, n_features).")
        super()._check_parameters()

    def _atoms(self, data):
        """Return Dᵀ (n_features, n_atoms), dense: atoms are few, as components are."""
        D = as_matrix(self.dictionary, "dictionary: ")
        values = D.data if sp.issparse(D) else D
        if D.shape[1] != data.shape[1] or (values < 0).any():
            raise ValueError(
                f"dictionary has shape {D.shape}; expected (n_atoms, {data.shape[1]}), an atom a row, and no negative "
                "entry."
            )
        D = D.toarray() if sp.issparse(D) else D  # never-densify-ok: n_atoms x n_features, as H
        return D.T

    def _start(self, data, rank, W, H, V, random_state):
        """Return W and the mixtures (n_atoms, k), such that the model has the best scale."""
        D = self._atoms(data)
        if self.init == "custom":
            if W is None or H is None:
                missing = "W" if W is None else "C"
                raise ValueError(f"init='custom' needs a start: pass W and C to fit ({missing} missing).")
            shape = SimpleNamespace(shape=(data.shape[0], D.shape[1]), exponent=data.exponent, n_strata=1)
            return *starts.custom(shape, rank, W, H, has_shifts=False), None
        if W is not None or H is not None:
            raise ValueError(f"A start was given with init={self.init!r}; use init='custom'.")
        rng = self._generator(random_state)
        W, C = rng.random((data.shape[0], rank)) + 0.1, rng.random((D.shape[1], rank)) + 0.1
        level = float(data.X.sum(dtype=np.float64)) / max(float(W.sum(axis=0) @ (C.T @ D.T.sum(axis=1))), 1e-300)
        return W * np.sqrt(level), C * np.sqrt(level), None, None

    def _problem(self, data, factors, tasks):
        atoms = pad(self._atoms(data), data)
        return dictionary_problem(data, factors, tasks, atoms, is_descent=self.move == "hals")

    def _arrays(self, data, factors):
        W, C = (np.ascontiguousarray(factors[name][:, : factors.rank]) for name in "WH")
        return scaled(W, -data.exponent), scaled(C.T @ self._atoms(data).T.astype(C.dtype), -data.exponent), None

    def _finish(self, data, problem, fit):
        mixtures = np.ascontiguousarray(fit.factors["H"][:, : fit.factors.rank].T)
        self.mixtures_ = scaled(mixtures, -data.exponent)
        super()._finish(data, problem, fit)
