"""Separable NMF: the components are rows, or features, of the data themselves."""

import numpy as np

from fastnmf.anchors import successive_projections
from fastnmf.data import Strata
from fastnmf.models.base import scaled
from fastnmf.models.options import check_bool, check_choice
from fastnmf.models.presets import Preset
from fastnmf.models.reading import RowErrors
from fastnmf.models.warn import warn
from fastnmf.problem import dense_rows
from fastnmf.progress import progress
from fastnmf.solve import infer, pad, threads


class SeparableNMF(RowErrors, Preset):
    """Explain all rows as mixtures of a few of them: ``X ~ W X[anchors]`` with W >= 0.

    Or all features as mixtures of a few features, ``X ~ X[:, anchors] H``. The anchors are found by the successive
    projection algorithm, the weights by exact non-negative least squares. Right for spectra with pure pixels, for words
    that belong to one topic only; a single outlier, though, is always an anchor.

    Parameters
    ----------
    n_components : int, default=10
        Anchors. Fewer are found, with a warning, where all rows lie in the span of fewer.
    axis : {0, 1}, default=0
        0: anchors are samples (rows of X). 1: anchors are features (columns).
    normalize : bool, default=False
        Divide every sample (axis=1: every feature) by its sum before anchors are looked for. Without it mixtures
        should have weights that sum to at most one; with it, any. For counts and other data of many scales. Noise of
        small rows is blown up, too.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting.
    verbose : int, default=0
        1 shows progress on standard error.

    Attributes
    ----------
    anchors_ : ndarray (n_components_,) of int
        Numbers of the samples, or features, in the order in which they were found.
    components_ : ndarray (n_components_, n_features)
        ``X[anchors_]``; for axis=1 the weights H of every feature.
    W_ : ndarray (n_samples, n_components_)
        The weights; for axis=1 ``X[:, anchors_]``.
    n_components_, n_iter_ : int
        Anchors found.
    reconstruction_err_ : float
        ``||X - W H||``.
    normalized_loss_ : float
        The same divided by the norm of X; 0 for all-zero data.
    history_ : dict of ndarray
        ``iteration``: anchors so far, 0 to n_components_. ``distance``: the largest distance of a sample (feature) from
        the span of these; it falls to the level of the noise when there are enough.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    One pass over the data an anchor, O(r nnz + m r²); sparse data stay sparse. Nothing is random. Every anchor is the
    sample that is farthest from the span of those before, the first one among equals. There is no start to choose.

    *Names*: the source's K are `anchors_`; its columns are our rows for axis=0.

    References
    ----------
    M. C. U. Araujo et al., "The successive projections algorithm for variable selection in spectroscopic multicomponent
    analysis", 2001, doi:10.1016/S0169-7439(01)00119-8.
    N. Gillis, S. A. Vavasis, "Fast and robust recursive algorithms for separable nonnegative matrix factorization",
    IEEE TPAMI 2014, doi:10.1109/TPAMI.2013.226 (Algorithm 1).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import SeparableNMF
    >>> X = np.array([[1.0, 1, 1], [4, 0, 1], [2, 2, 2], [0, 4, 3]])
    >>> model = SeparableNMF(2).fit(X)
    >>> model.anchors_
    array([3, 1])
    >>> model.W_.round(2)
    array([[0.25, 0.25],
           [0.  , 1.  ],
           [0.5 , 0.5 ],
           [1.  , 0.  ]])
    """

    init = None

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | {"anchors_": "k"}

    def __init__(self, n_components=10, *, axis=0, normalize=False, n_threads=None, verbose=0):
        self.n_components = n_components
        self.axis = axis
        self.normalize = normalize
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(self, X, y=None):
        """Find the anchors and the weights.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters or data that cannot be used: what was given, expected, and to be done.
        """
        self._check_parameters()
        X = self._validated(X, reset=True)
        with threads(self.n_threads):
            data = self._observed(X, None)
            points = _points(data, self.axis)
            wanted = min(self.n_components, *data.shape)
            with progress(type(self).__name__, wanted, self.verbose) as show:
                self.anchors_, distances = successive_projections(
                    points, wanted, normalize=self.normalize, callback=show
                )
            if len(self.anchors_) < self.n_components:
                self._warn_of_few(len(self.anchors_))
            picked = dense_rows(points, self.anchors_)
            of_points = data if self.axis == 0 else Strata.from_array(points)
            weights = infer(of_points, len(picked), pad(picked.T, of_points), None)[0][:, : len(picked)]
            W, H = (weights, picked.T) if self.axis == 0 else (picked.T, weights)
            W = scaled(np.ascontiguousarray(W), -2 * data.exponent if self.axis else 0)
            self._set_factors(data, W, H, distances)
        return self

    def _warn_of_few(self, found):
        what = "samples" if self.axis == 0 else "features"
        warn(
            f"n_components={self.n_components} anchors were asked for, but all {what} lie in the span of {found}; the "
            "model has no more. Ask for fewer.",
            UserWarning,
        )

    def _set_factors(self, data, W, H, distances):
        """Set the fitted attributes."""
        # dimensionless weights beside rows of the data, each in the scale of the user
        inner = 2 * data.exponent
        self.W_ = W
        self.components_ = scaled(np.ascontiguousarray(H.T), -inner if self.axis == 0 else 0)
        self.n_components_ = self.n_iter_ = self._n_components = len(self.components_)
        W, H = (scaled(self.W_, inner), H) if self.axis else (self.W_, H)
        self._measure(data, W, H)
        distances = scaled(distances, 0 if self.normalize else -inner)
        self.history_ = {"iteration": np.arange(len(distances)), "distance": distances}

    def fit_transform(self, X, y=None):
        """Find the anchors and return the weights of the rows of X, (n_samples, n_components_); see `fit`."""
        return self.fit(X).W_

    def transform(self, X):
        """Return the weights of the rows of X, (n_samples, n_components_).

        For axis=0 the exact minimiser of ``||x - w X[anchors_]||`` over w >= 0, row by row. For axis=1 the anchor
        features of X themselves.
        """
        if self.axis == 0:
            return self._transform(X)
        data, _, _ = self._prepared(X, None)
        picked = dense_rows(_points(data, self.axis), self.anchors_)
        return scaled(np.ascontiguousarray(picked.T), -2 * data.exponent)

    def _check_parameters(self):
        check_choice("axis", self.axis, (0, 1))
        check_bool("normalize", self.normalize)
        super()._check_parameters()


def _points(data, axis):
    """Return the samples (0) or the features (1) of the data as rows."""
    if axis == 0:
        return data.X
    return data.X.T.tocsr() if data.is_sparse else np.ascontiguousarray(data.X.T)
