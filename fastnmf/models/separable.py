"""Separable NMF: the components are rows, or features, of the data themselves.

Scale inside a fit: the data and their anchors are held multiplied by ``4 ** log4_scale``; the weights for anchors have
no scale.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np

from fastnmf.core.factors import dense_rows, pad, scaled
from fastnmf.core.inference import infer
from fastnmf.core.init.successive_projection import successive_projections
from fastnmf.core.objectives import measure_squared_error
from fastnmf.core.options import check_bool, number, one_of
from fastnmf.core.progress import progress
from fastnmf.core.warn import warn
from fastnmf.data.annotated import with_layer
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.inspection import RowErrorsMixin
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import File, Floats, Integers, Matrix


class SeparableNMF(RowErrorsMixin, BaseNMF):
    """Explain all rows as non-negative combinations of a few of them, the anchors: ``X ~ W X[anchors]`` with W >= 0.

    With ``axis=1``, explain all features as combinations of a few features: ``X ~ X[:, anchors] H``. The successive
    projection algorithm finds the anchors; exact non-negative least squares finds the weights. The model suits spectra
    with pure pixels, and texts with words that belong to one topic only. A single outlier is always chosen as an
    anchor, unless `anchor_mass` rules it out.

    Parameters
    ----------
    n_components : int, default=10
        Number of anchors, >= 1. If all rows lie in the span of fewer rows, fewer anchors are found, with a warning.
    axis : {0, 1}, default=0
        0: anchors are samples (rows of X). 1: anchors are features (columns).
    normalize : bool, default=False
        Whether every sample (axis=1: every feature) is divided by its sum before the anchors are chosen. Without it the
        weights of a row should sum to at most one; with it they may have any sum. Use it for counts and other data
        whose rows differ in scale. It also amplifies the noise of small rows.
    solver : {"spa", "snpa"}, default="spa"
        ``"spa"``: the successive projection algorithm. The next anchor is the row with the largest distance from the
        span of those before. ``"snpa"``: the successive nonnegative projection algorithm, which takes the distance from
        their convex hull with the origin. It is more robust to noise where the anchors are nearly dependent, and finds
        more anchors than X has rank.
    anchor_mass : float, default=1.0
        Share of the total of X, from 0 to 1. Anchors are chosen only among the samples (features) with the largest
        sums, those that together hold this share. Lower it for TF-IDF and other data in which short or rare rows are
        far from all others. 1 admits every row.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.

    Attributes
    ----------
    anchors_ : ndarray (`n_components_`,) of int64
        Indices of the samples, or features, in the order in which they were chosen.
    components_ : ndarray (`n_components_`, n_features) of the dtype of X
        ``X[anchors_]``, in units of X; for axis=1 the dimensionless weights H of every feature.
    W_ : ndarray (n_samples, `n_components_`) of the dtype of X
        The dimensionless weights; for axis=1 ``X[:, anchors_]``, in units of X.
    n_components_, n_iter_ : int
        Number of anchors found.
    reconstruction_err_ : float
        ``||X - W H||``.
    normalized_loss_ : float
        `reconstruction_err_` divided by the norm of X; 0 for all-zero X.
    history_ : dict of ndarray
        ``iteration``: number of anchors, from 0 to `n_components_`. ``distance``: largest distance of a sample
        (feature) from the span, or hull, of these anchors, among those that `anchor_mass` admits; with enough anchors
        it falls to the level of the noise.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    Each anchor needs one pass over the data: O(r nnz + m r²) in all, and for ``"snpa"`` a small quadratic program for
    every row, O(n r³) more at most. Sparse data stay sparse. The algorithms are deterministic and need no start; the
    first row among equals is taken.

    *Names*: the source's K are `anchors_`; its columns are our rows for axis=0.

    References
    ----------
    M. C. U. Araujo et al., "The successive projections algorithm for variable selection in spectroscopic multicomponent
    analysis", 2001, doi:10.1016/S0169-7439(01)00119-8.
    N. Gillis, S. A. Vavasis, "Fast and robust recursive algorithms for separable nonnegative matrix factorization",
    IEEE TPAMI 2014, doi:10.1109/TPAMI.2013.226 (Algorithm 1).
    N. Gillis, "Successive nonnegative projection algorithm for robust nonnegative blind source separation", SIAM
    Journal on Imaging Sciences 2014, doi:10.1137/130946782 (Algorithm 1: ``"snpa"``).
    S. Arora et al., "A practical algorithm for topic modeling with provable guarantees", ICML 2013 (anchors among
    frequent words only).

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

    n_components: int
    axis: Literal[0, 1]
    normalize: bool
    solver: Literal["spa", "snpa"]
    anchor_mass: float
    anchors_: Integers

    _constraints = {
        "axis": one_of(0, 1),
        "normalize": check_bool,
        "solver": one_of("spa", "snpa"),
        "anchor_mass": number("a number from 0 to 1", most=1),
    }

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | {"anchors_": "k"}

    def __init__(
        self,
        n_components: int = 10,
        *,
        axis: Literal[0, 1] = 0,
        normalize: bool = False,
        solver: Literal["spa", "snpa"] = "spa",
        anchor_mass: float = 1.0,
        n_threads: int | None = None,
        verbose: int = 0,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Find the anchors and the weights.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 is kept; integers and booleans become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint, checkpoint_every :
            Refused: there are no iterations between which a state could be saved.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If parameters or data cannot be used. The message says what was given, what was expected and what to do.
        """
        if checkpoint is not None:
            raise ValueError(
                "SeparableNMF picks its anchors one after another and does not iterate, so it takes no checkpoint; "
                "leave it out."
            )
        options = self._checked_options()
        X = self._validated(with_layer(X, layer), reset=True)
        with threads(options.n_threads):
            data = self._observed(X, options)
            points = _points(data, self.axis)
            onto = "span" if self.solver == "spa" else "hull"
            wanted = min(self.n_components, *(data.shape if onto == "span" else points.shape[:1]))
            with progress(type(self).__name__, wanted, self.verbose) as show:
                self.anchors_, distances = successive_projections(
                    points, wanted, normalize=self.normalize, mass=self.anchor_mass, onto=onto, callback=show
                )
            if len(self.anchors_) < self.n_components:
                self._warn_too_few_anchors(len(self.anchors_))
            picked = dense_rows(points, self.anchors_)
            points_data = data if self.axis == 0 else Strata.from_array(points)
            weights = infer(points_data, len(picked), pad(picked.T, points_data), None)[0][:, : len(picked)]
            W, H = (weights, picked.T) if self.axis == 0 else (picked.T, weights)
            W = scaled(np.ascontiguousarray(W), -2 * data.log4_scale if self.axis else 0)
            self._keep(data, W, H, distances)
        return self

    def _warn_too_few_anchors(self, found):
        """Warn that only `found` anchors exist."""
        what = "samples" if self.axis == 0 else "features"
        what += " that anchor_mass admits" if self.anchor_mass < 1 else ""
        where = "span" if self.solver == "spa" else "convex hull with the origin"
        warn(
            f"n_components={self.n_components} anchors were requested, but all {what} lie in the {where} of {found}; "
            "the model has no more. Request fewer.",
            UserWarning,
        )

    def _keep(self, data, W, H, distances):
        """Set the fitted attributes.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
            The data, held multiplied by ``4 ** log4_scale``.
        W : ndarray (n_samples, k)
            Weights, or the anchor features (axis=1) in units of X.
        H : ndarray (n_features, k)
            The anchor samples in the scale of `data`, or dimensionless weights (axis=1).
        distances : ndarray (k + 1,) of float64
            Largest distances in the scale of `data`; without scale if `normalize`.
        """
        # Weights are dimensionless; rows of the data are returned in the units of X.
        inner = 2 * data.log4_scale
        self.W_ = W
        self.components_ = scaled(np.ascontiguousarray(H.T), -inner if self.axis == 0 else 0)
        self.n_components_ = self.n_iter_ = self._n_components = len(self.components_)
        W, H = (scaled(self.W_, inner), H) if self.axis else (self.W_, H)
        self.normalized_loss_, self.reconstruction_err_ = measure_squared_error(data, W, H)
        distances = scaled(distances, 0 if self.normalize else -inner)
        self.history_ = {"iteration": np.arange(len(distances)), "distance": distances}

    def transform(self, X: Matrix) -> Floats:
        """Return the weights of the rows of X.

        For axis=0 these are the exact minimisers of ``||x - w X[anchors_]||`` over w >= 0, row by row. For axis=1 they
        are the anchor features of X.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite.

        Returns
        -------
        ndarray (n_samples, `n_components_`) of the dtype of X
        """
        options = self._options()  # checks axis, too
        if self.axis == 0:
            return self._transform(X)
        data, _, _ = self._prepared(X, None, options)
        picked = dense_rows(_points(data, self.axis), self.anchors_)
        return scaled(np.ascontiguousarray(picked.T), -2 * data.log4_scale)


def _points(data, axis):
    """Return the samples (axis 0) or the features (axis 1) of the data as rows, CSR or dense."""
    if axis == 0:
        return data.X
    return data.X.T.tocsr() if data.is_sparse else np.ascontiguousarray(data.X.T)
