"""Parts of the models whose approximation is another product of factors than W H.

Inner scale: the data are held multiplied by ``4 ** log4_scale``. Here H carries the same factor, and W none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_array, check_is_fitted

from fastnmf.core.factors import pad
from fastnmf.core.inference import infer
from fastnmf.core.warn import first_was
from fastnmf.data.matrix import as_numbers
from fastnmf.kernels.jit import threads
from fastnmf.models.base.estimator import Estimator
from fastnmf.models.base.fitted_state import check_fitted_arrays
from fastnmf.models.base.for_checkers import ClassNamePrefixFeaturesOutMixin, Iterative, TransformerMixin, like_fit
from fastnmf.models.base.row_names import keep_row_names
from fastnmf.models.base.top_features import top_features
from fastnmf.typing import Floats, Matrix, Names, Ranking, SparseOrDense


@keep_row_names
class WeightModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator, Iterative):
    """Base of models that find weights of rows.

    A subclass defines `_compose`, which returns the problem and the factors of a start, `_set_factors` and `transform`.
    """

    W_: Floats

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        keep_row_names(cls)

    @property
    def _n_features_out(self):
        return self.W_.shape[1]

    @like_fit
    def fit_transform(self, X: Matrix, y: Any = None, **given: Any) -> Floats:
        """Fit the model and return `W_`, the weights of the rows of X; arguments as in `fit`."""
        return self.fit(X, y, **given).W_


class BasisModel(WeightModel):
    """Base of models that approximate new rows by non-negative combinations of a basis, the components."""

    components_: Floats

    _fitted_shapes = {"components_": "km"}

    def transform(self, X: Matrix) -> Floats:
        """Return the weights of the rows of X for the fitted components: exact non-negative least squares, row by row.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        data, basis = self._new_data(X), self._basis()
        exponent = int(
            np.frexp(np.abs(basis).max(initial=0.0))[1]
        )  # the scale of the data is in W or in the components
        is_near = abs(exponent + 2 * data.log4_scale) < np.finfo(data.dtype).maxexp // 4  # its squares fit
        shift = 2 * data.log4_scale if is_near else -exponent
        with threads(self.n_threads):
            W = infer(data, len(basis), pad(np.ldexp(basis.T, shift), data), None)[0]
        return np.ldexp(np.ascontiguousarray(W[:, : len(basis)]), shift - 2 * data.log4_scale)

    @first_was("W")
    def inverse_transform(self, X: SparseOrDense) -> Floats:
        """Return ``X components_``, dense (n_samples, n_features), for weights X (n_samples, n_components)."""
        self._check_fitted()
        return checked_weights(self, X, len(self._basis())) @ self._basis()

    def _basis(self):
        """Return the basis that approximates new rows, (k, n_features)."""
        return self.components_

    def top_features(
        self, n: int = 10, feature_names: Names | None = None, *, by: Ranking | None = None
    ) -> list[list[str]]:
        """Return the names of at most n features of each component, strongest first; see `NMF.top_features`."""
        return top_features(self, n, feature_names, by)


def checked_weights(model, W, rank):
    """Return the user's weights W (n, rank), checked."""
    check_is_fitted(model)
    check_fitted_arrays(model)
    W = check_array(W if sp.issparse(W) else as_numbers(W, "W"), accept_sparse="csr", dtype=[np.float64, np.float32])
    if W.shape[1] != rank:
        raise ValueError(f"W has {W.shape[1]} columns; expected {rank}, as transform returns.")
    return W


def largest(W):
    """Return the column of the largest entry of each row, int (n,), -1 for rows of zeros."""
    return np.where(W.any(axis=1), W.argmax(axis=1), -1)


def divisors(sizes):
    """Return sizes with zeros replaced by ones, for use as divisors."""
    return np.where(sizes > 0, sizes, 1)


def single_weights(model, X):
    """Return the weight of each row of X for the component that explains most of it, zeros for the others, (n, k)."""
    data, rank = model._new_data(X), len(model.components_)
    H = pad(np.ldexp(model.components_.T, 2 * data.log4_scale), data)
    product = np.empty((data.shape[0], H.shape[1]), data.dtype)
    with threads(model.n_threads):
        data.matmul(H, product)
    product = product[:, :rank]
    length = np.sqrt(np.square(H[:, :rank], dtype=np.float64).sum(axis=0))
    gain = np.divide(product, length, out=np.zeros(product.shape), where=length > 0)
    out, each, best = np.zeros_like(product), np.arange(len(product)), np.argmax(gain, axis=1)
    gain = np.maximum(gain[each, best], 0)
    out[each, best] = np.divide(gain, length[best], out=np.zeros(len(product)), where=length[best] > 0)
    return out
