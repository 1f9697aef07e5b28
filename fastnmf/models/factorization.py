"""Plain NMF as a function."""

import numpy as np
from sklearn.utils.validation import check_array

from fastnmf.models.nmf import NMF
from fastnmf.models.options import check_bool
from fastnmf.models.warn import warn

W_IGNORED = "When update_H=False, the provided initial W is not used."


def non_negative_factorization(
    X,
    W=None,
    H=None,
    n_components="auto",
    *,
    init=None,
    update_H=True,
    solver="cd",
    beta_loss="frobenius",
    tol=1e-4,
    max_iter=200,
    alpha_W=0.0,
    alpha_H="same",
    l1_ratio=0.0,
    random_state=None,
    verbose=0,
    shuffle=False,
):
    """Factorise ``X ~ W H``, with the signature of scikit-learn's function; see `NMF` for the parameters.

    Parameters
    ----------
    X : sparse matrix or array (n_samples, n_features)
    W : ndarray (n_samples, k), default=None
        Start for ``init="custom"``; not used with ``update_H=False``, where W does not depend on a start.
    H : ndarray (k, n_features), default=None
        Start for ``init="custom"``; with ``update_H=False`` the components for which W is found.
    n_components : int or "auto", default="auto"
    update_H : bool, default=True
        False finds W for the given H, exactly for the squared error.
    init, solver, beta_loss, tol, max_iter, alpha_W, alpha_H, l1_ratio, random_state, verbose, shuffle :
        As in `NMF`.

    Returns
    -------
    W : ndarray (n_samples, k)
    H : ndarray (k, n_features)
    n_iter : int
        Iterations; with ``update_H=False`` 1 for the squared error, or else `max_iter`.

    Raises
    ------
    ValueError, TypeError
        For what cannot be used: what was given, expected, and to be done.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import non_negative_factorization
    >>> W, H, _ = non_negative_factorization(np.outer([1.0, 2, 3], [1.0, 0, 2]), n_components=1, random_state=0)
    >>> (W @ H).round(2)
    array([[1., 0., 2.],
           [2., 0., 4.],
           [3., 0., 6.]])
    """
    check_bool("update_H", update_H)
    model = NMF(
        n_components,
        init=init,
        solver=solver,
        beta_loss=beta_loss,
        tol=tol,
        max_iter=max_iter,
        alpha_W=alpha_W,
        alpha_H=alpha_H,
        l1_ratio=l1_ratio,
        random_state=random_state,
        verbose=verbose,
        shuffle=shuffle,
    )
    if update_H:
        W = model.fit_transform(X, W=W, H=H)
        return W, model.components_, model.n_iter_
    if H is None:
        raise ValueError("update_H=False needs the components; pass H.")
    if W is not None:
        warn(W_IGNORED, RuntimeWarning)
    model._check_parameters()
    H = check_array(H, dtype=[np.float64, np.float32], input_name="H")
    if (H < 0).any():
        raise ValueError("Negative values in data passed to NMF (input H); every entry must be >= 0.")
    model._validated(X, reset=True)
    model.components_, model.n_components_ = H, len(H)
    if H.shape[1] != model.n_features_in_:
        raise ValueError(f"H has {H.shape[1]} columns for the {model.n_features_in_} features of X.")
    return model.transform(X), H, 1 if model._is_squared else max_iter
