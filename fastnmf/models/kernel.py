"""Kernel NMF: factorise in the feature space of a kernel."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, pairwise_kernels

from fastnmf.core.factors import pad
from fastnmf.core.inference import quadratic_weights
from fastnmf.core.losses.products import DenseOperator
from fastnmf.core.options import check_choice, optional
from fastnmf.core.thresholds import ASYMMETRY
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.estimator import Estimator
from fastnmf.models.base.for_checkers import Callback
from fastnmf.models.base.products import largest
from fastnmf.models.convex import ConvexModel, check_rows
from fastnmf.typing import Floats, Integers, Matrix, Seed

SQUARES_FIT = 500  # exponent of two of data whose squared distances fit into float64
COSINES_FIT = 20  # the same for cosines: scikit-learn takes a row below 2e-15 for zero
LARGEST_GAMMA = 1e300  # times a distance of zero it is still zero
KERNELS = (*sorted(PAIRWISE_KERNEL_FUNCTIONS), "precomputed")


def _check_real(name, value):
    """Raise ValueError unless a value is a finite number."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not np.isfinite(value):
        raise ValueError(f"{name}={shown(value)} is not valid; expected None or a finite number.")


class KernelNMF(ConvexModel):
    """Cluster or factorise in the feature space of a kernel: ``phi(X) ~ W Cᵀ phi(X)`` with W, C >= 0.

    `ConvexNMF` needs only inner products of rows, so these may be those of any kernel. With K the kernel matrix,
    minimises ``trace(K - 2 W CᵀK + W CᵀK C Wᵀ)``, the squared error in the feature space.

    Parameters
    ----------
    n_components : int, default=2
        k, the number of columns of W and C.
    kernel : str or callable, default="rbf"
        As for scikit-learn's ``pairwise_kernels``, or ``"precomputed"``: X is the kernel matrix itself.
    gamma : float, default=None
        Parameter of the kernel, if it has one of this name. None leaves scikit-learn's default, which takes no notice
        of the scale of X: with ``"rbf"``, rows that are much closer than ``sqrt(n_features)`` are all alike.
    degree : float, default=None
        As `gamma`; the degree of a polynomial kernel.
    coef0 : float, default=None
        As `gamma`; the constant term of a polynomial or sigmoid kernel.
    kernel_params : dict, default=None
        Keyword arguments of a callable kernel.
    init : {None, "clusters", "random", "custom"}, default=None
        None is ``"clusters"``: clusters of the rows of the kernel matrix, found by a few steps of `OrthogonalNMF`.
        ``"random"``: uniform. ``"custom"``: the W and C passed to `fit`.
    solver : {"cd", "mu"}, default="cd"
        ``"cd"``: coordinate descent for W, multiplicative updates for C. ``"mu"``: multiplicative updates for both. See
        `ConvexNMF`.
    max_iter : int, default=200
        Largest number of iterations.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the objective by less than `tol` times its value. 0 runs
        exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration; returning True stops the fit. `state` has
        ``iteration``, ``normalized_loss``, ``seconds``, and a copy of the factor ``W``, before C is normalised.
    n_threads : int, default=None
        Threads of the kernels; None takes Numba's setting. The result has the same bits for any number.
    n_init : int, default=1
        Number of starts that are tried; the result with the lowest objective is kept. `max_time` limits the total time
        of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows.
    C_ : ndarray (n_samples, n_components)
        Weights of the rows in each component; each column sums to one. The components are combinations of images of
        rows in the feature space and have no coordinates: there is no ``components_``.
    labels_ : ndarray (n_samples,) of int
        The component with the largest weight in each row; -1 if all weights are zero.
    X_fit_ : sparse matrix or array (n_samples, n_features)
        The rows of the fit, with which `transform` compares new rows.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if the fit stopped because of `tol`, or, with ``tol=0``, after `max_iter` iterations.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Square root of the objective.
    normalized_loss_ : float
        Square root of the objective over that of the trace of K.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective``, ``seconds``; entry 0 is the start.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The kernel matrix is a dense (n_samples, n_samples) array, also for sparse X: at most 10,000 rows. The width of the
    kernel determines the clusters; try several.

    References
    ----------
    C. Ding, T. Li, M. I. Jordan, "Convex and semi-nonnegative matrix factorizations", IEEE TPAMI 2010,
    doi:10.1109/TPAMI.2008.277.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import KernelNMF
    >>> X = np.array([[0.0, 0], [0.1, 0], [5, 5], [5, 5.1]])
    >>> model = KernelNMF(2, gamma=0.5, random_state=0).fit(X)
    >>> model.labels_ == model.labels_[0]
    array([ True,  True, False, False])
    """

    kernel: str | Callable[..., Any]
    gamma: float | None
    degree: float | None
    coef0: float | None
    kernel_params: dict[str, Any] | None
    labels_: Integers
    X_fit_: Any

    _constraints = ConvexModel._constraints | {
        "kernel": lambda name, value: None if callable(value) else check_choice(name, value, KERNELS),
        **{name: optional(_check_real) for name in ("gamma", "degree", "coef0")},
    }
    _private_state = (*Estimator._private_state, "_inner")
    _fitted_shapes = {"C_": "nk", "_inner": "kk", "X_fit_": ""}

    def __init__(
        self,
        n_components: int = 2,
        *,
        kernel: str | Callable[..., Any] = "rbf",
        gamma: float | None = None,
        degree: float | None = None,
        coef0: float | None = None,
        kernel_params: dict[str, Any] | None = None,
        init: Literal["clusters", "random", "custom"] | None = None,
        solver: Literal["cd", "mu"] = "cd",
        max_iter: int = 200,
        tol: float = 1e-4,
        random_state: Seed = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_threads: int | None = None,
        n_init: int = 1,
        warm_start: bool = False,
    ):
        self._set(locals())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def transform(self, X: Matrix) -> Floats:
        """Return the exact non-negative weights of new rows, in the feature space of the kernel.

        Parameters
        ----------
        X : sparse matrix or array (n_new, n_features)
            With ``kernel="precomputed"``, the kernel of the new rows with those of the fit, (n_new, n_samples).

        Returns
        -------
        ndarray (n_new, n_components)
        """
        self._check_fitted()
        X = self._validated(X, reset=False)
        with threads(self.n_threads):  # of BLAS too: its bits depend on its number of threads
            K = X if self.kernel == "precomputed" else self._kernel(_checked(X), self.X_fit_)
            data = Strata.from_array(K, is_signed=True)
            pos = pad(data.X @ self.C_.astype(data.dtype), data)
            gram = np.zeros((pos.shape[1], pos.shape[1]))
            k = self.C_.shape[1]
            gram[:k, :k] = np.ldexp(self._inner, 2 * data.log4_scale)
            return np.ascontiguousarray(quadratic_weights(gram, pos, k)[0][:, :k])

    def _kernel(self, X, Y=None):
        """Return the kernel matrix of the rows of X with those of Y, or of X, dense."""
        if callable(self.kernel):
            return pairwise_kernels(X, Y, metric=self.kernel, **(self.kernel_params or {}))
        options = {"gamma": self.gamma, "degree": self.degree, "coef0": self.coef0}
        options = {name: value for name, value in options.items() if value is not None}
        power = {"rbf": 2, "laplacian": 1, "cosine": 0}.get(self.kernel)
        exponent = int(np.frexp(_largest(X if Y is None else Y))[1])
        if power is not None and (exponent > SQUARES_FIT or power == 0 and abs(exponent) > COSINES_FIT):
            if power:
                gamma = options.get("gamma") or 1 / X.shape[1]
                options["gamma"] = min(gamma * float(np.exp2(power * exponent)), LARGEST_GAMMA)
            X, Y = (None if Z is None else Z * 2.0**-exponent for Z in (X, Y))
        return pairwise_kernels(X, Y, metric=self.kernel, filter_params=True, **options)

    def _data(self, X, given, options):
        """Return the kernel matrix as `Strata`, and keep X as `X_fit_`."""
        check_rows(X.shape[0], "a kernel")
        checked = _checked(X)
        self.X_fit_, K = X, X
        if self.kernel != "precomputed":
            K = self._kernel(checked)
        elif sp.issparse(X):
            K = X.toarray()  # never-densify-ok: a kernel matrix, of limited size
        if not np.isfinite(K).all():
            raise ValueError(f"The kernel {self.kernel!r} of these data is not finite, as they are too large; scale X.")
        if self.kernel != "precomputed" and not K.any() and _largest(checked) > 0:
            raise ValueError(f"The kernel {self.kernel!r} of these data is zero, as they are too small; scale X.")
        if K.shape[0] != K.shape[1] or not np.allclose(K, K.T, atol=ASYMMETRY * np.abs(K).max()):
            raise ValueError(f"The kernel of shape {K.shape} is not a symmetric matrix (n_samples, n_samples).")
        return Strata.from_array(K, is_signed=True)

    def _parts(self, data):
        """Return operator, trace and data to cluster, which are the positive part of the kernel matrix."""
        return DenseOperator(data.X), float(np.trace(data.X)), Strata.from_array(np.maximum(data.X, 0))

    def _set_factors(self, data, fit, options):
        """Set W_, C_, labels_ and ``_inner``, which is ``CᵀK C`` (k, k) in the scale of the user's data."""
        super()._set_factors(data, fit, options)
        self.labels_ = largest(self.W_)
        C = self.C_.astype(np.float64)
        self._inner = np.ldexp(C.T @ (data.X @ C), -2 * data.log4_scale)

    def _reconstruction_error(self, loss, exponent, options):
        """Return the root of an objective that scales with K."""
        return super()._reconstruction_error(loss, exponent // 2, options)


def _largest(X):
    """Return the largest absolute value of X, an array or a sparse matrix of any format."""
    values = sp.csr_array(X).data if sp.issparse(X) else X
    return np.abs(values).max(initial=0.0)


def _checked(X):
    """Return X (n, n_features) checked to be finite and real, in the user's scale: kernels depend on the scale."""
    data = Strata.from_array(X, is_signed=True)
    return data.X if data.log4_scale == 0 else X
