"""Nonnegative matrix underapproximation: components that stay below the data, found one after another."""

import numpy as np

from fastnmf.core import discrete
from fastnmf.core.options import check_bool, check_choice
from fastnmf.core.progress import progress
from fastnmf.kernels.jit import threads
from fastnmf.models.base.estimator import scaled
from fastnmf.models.base.inspection import RowErrorsMixin
from fastnmf.models.base.presets import Preset
from fastnmf.models.binary import _custom


class UnderapproximationNMF(RowErrorsMixin, Preset):
    """Factorise the data from below, one component after another: ``X ~ W H`` with ``W H <= X``, W, H >= 0.

    Each component is a rank-one matrix that is nowhere larger than the data. The remainder is therefore non-negative,
    and the next component is found in it. Components are parts: they are zero where the data are zero, and do not
    cancel each other.

    Parameters
    ----------
    n_components : int, default=10
        Number of components, >= 1. They are found one after another, so the first k are those of a fit with k
        components.
    feasible : bool, default=False
        Whether ``W H <= X`` must hold exactly. Otherwise Lagrange multipliers push each component down to approximately
        X. This explains more, and `overshoot_` says by how much the model exceeds X.
    init : {"svd", "custom"}, default="svd"
        Start of each component: the leading singular pair of the remainder, or the pair from the W and H passed to
        `fit`.
    max_iter : int, default=100
        Number of steps of the multipliers for each component, >= 1.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of the dtype of X
        H.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        W, the weights of the training rows.
    overshoot_ : float
        ``||max(W H - X, 0)|| / ||X||``; only rounding if `feasible`.
    n_components_, n_iter_ : int
        Both are `n_components`.
    reconstruction_err_ : float
        ``||X - W H||``.
    normalized_loss_ : float
        `reconstruction_err_` divided by the norm of X; 0 for all-zero X.
    history_ : dict of ndarray
        ``iteration``: number of components so far; ``residual``: norm of the positive part of the remainder;
        ``seconds``.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    The Lagrangian method is not a descent method: the error of a single component may increase from step to step, while
    `residual` falls with every component. The remainder is stored on the non-zero entries of X. A step costs O(nnz + (n
    + m) max_iter). The multipliers where X is zero are never formed; they are a sum of max_iter products of vectors.

    `feasible` reduces each component to the largest one below the remainder. Data without zeros and without structure
    leave little below them everywhere: expect a large error.

    *Names*: u, v a column of W and a row of H; R the remainder; the multipliers are the source's Lambda.

    References
    ----------
    N. Gillis, F. Glineur, "Using underapproximations for sparse nonnegative matrix factorization", Pattern Recognition
    2010, doi:10.1016/j.patcog.2009.11.013 (Algorithm 1). `feasible` is ours.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import UnderapproximationNMF
    >>> X = np.array([[1.0, 2, 0], [2, 4, 0], [0, 1, 3], [0, 0, 1]])
    >>> model = UnderapproximationNMF(2, feasible=True).fit(X)
    >>> (model.W_ @ model.components_).round(2)
    array([[1., 2., 0.],
           [2., 4., 0.],
           [0., 1., 3.],
           [0., 0., 0.]])
    """

    def __init__(self, n_components=10, *, feasible=False, init="svd", max_iter=100, n_threads=None, verbose=0):
        self.n_components = n_components
        self.feasible = feasible
        self.init = init
        self.max_iter = max_iter
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(self, X, y=None, *, W=None, H=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 is kept; integers and booleans become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W, H : ndarray (n_samples, n_components), (n_components, n_features), default=None
            Start for ``init="custom"``, non-negative.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If parameters, data or starts cannot be used. The message says what was given, what was expected and what to
            do.
        """
        self._check_parameters()
        X = self._validated(X, reset=True)
        with threads(self.n_threads), progress(type(self).__name__, self.n_components, self.verbose) as show:
            data = self._observed(X, None)
            start = _custom(data, self, W, H)
            W, H, norms, seconds = discrete.underapproximate(
                data.X, self.n_components, n_steps=self.max_iter, is_feasible=self.feasible, start=start, callback=show
            )
            length = float(np.sqrt(data.sq_norm)) or 1.0
            self.overshoot_ = discrete.overshoot(data.X, W, H) / length
            W, H = W.astype(data.dtype), H.astype(data.dtype)
            self._measure(data, W, H.T)
        self.W_, self.components_ = scaled(W, -data.log4_scale), scaled(H, -data.log4_scale)
        self.n_components_ = self.n_iter_ = self._n_components = self.n_components
        norms = scaled(np.array(norms), -2 * data.log4_scale)
        self.history_ = {"iteration": np.arange(len(norms)), "residual": norms, "seconds": np.array(seconds)}
        return self

    def transform(self, X):
        """Return non-negative weights of the rows of X for the fitted components.

        If `feasible`, the weight of each component in turn is the largest one for which it stays below the remainder of
        the row; for the training data this gives `W_`. Otherwise the weights are the exact minimiser of ``||x - w H||``
        over w >= 0, without the bound.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite.

        Returns
        -------
        W : ndarray (n_samples, n_components) of the dtype of X
            Non-negative weights of the rows.
        """
        if not self.feasible:
            return self._transform(X)
        data, H, _ = self._prepared(X, None)
        with threads(self.n_threads):
            W = discrete.peel(data.X, H.T)
        return scaled(W.astype(data.dtype), -data.log4_scale)

    def _check_parameters(self):
        check_choice("init", self.init, ("svd", "custom"))
        check_bool("feasible", self.feasible)
        super()._check_parameters()
