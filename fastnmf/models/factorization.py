"""Plain NMF as a function."""

from __future__ import annotations

from typing import Literal

import numpy as np
from sklearn.utils.validation import check_array

from fastnmf.core.options import check_bool
from fastnmf.core.warn import warn
from fastnmf.models.base.for_checkers import BetaLoss, Init
from fastnmf.models.nmf import NMF
from fastnmf.typing import Factor, Floats, Matrix, Seed

W_IGNORED = "When update_H=False, the provided initial W is not used."


def non_negative_factorization(
    X: Matrix,
    W: Factor = None,
    H: Factor = None,
    n_components: int | Literal["auto"] | None = "auto",
    *,
    init: Init = None,
    update_H: bool = True,
    solver: Literal["cd", "hals", "mu"] = "cd",
    beta_loss: BetaLoss = "frobenius",
    tol: float = 1e-4,
    max_iter: int = 200,
    alpha_W: float = 0.0,
    alpha_H: float | Literal["same"] = "same",
    l1_ratio: float = 0.0,
    random_state: Seed = None,
    verbose: int = 0,
    shuffle: bool = False,
) -> tuple[Floats, Floats, int]:
    """Factorise ``X ~ W H`` with W, H >= 0, with the signature of scikit-learn's function.

    Parameters
    ----------
    X : sparse matrix or array (n_samples, n_features)
        Non-negative and finite. float32 stays float32; all other types become float64.
    W : ndarray (n_samples, k), default=None
        Start for ``init="custom"``. Not used with ``update_H=False``, where W does not depend on a start.
    H : ndarray (k, n_features), default=None
        Start for ``init="custom"``; with ``update_H=False`` the components for which W is found.
    n_components : int, "auto" or None, default="auto"
        k; see `NMF`.
    init : None, str, model or Start, default=None
        Start; see `NMF`.
    update_H : bool, default=True
        False finds W for the given H as `NMF.transform` does.
    solver : {"cd", "hals", "mu"}, default="cd"
        See `NMF`.
    beta_loss : {"frobenius", "kullback-leibler", "itakura-saito"} or float, default="frobenius"
        See `NMF`.
    tol : float, default=1e-4
        Stopping tolerance; see `NMF`.
    max_iter : int, default=200
        Maximum number of iterations.
    alpha_W : float, default=0.0
        Strength of the penalty of W; see `NMF`.
    alpha_H : float or "same", default="same"
        Strength of the penalty of H; ``"same"`` is `alpha_W`.
    l1_ratio : float, default=0.0
        Share of the L1 penalty, from 0 (only L2) to 1 (only L1).
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    verbose : int, default=0
        1 shows progress on standard error.
    shuffle : bool, default=False
        Whether the components are visited in a random order; see `NMF`.

    Returns
    -------
    W : ndarray (n_samples, k)
        Weights of the rows of X.
    H : ndarray (k, n_features)
        Components.
    n_iter : int
        Number of iterations; with ``update_H=False`` it is 1 where W is exact, and else `max_iter`, the largest number
        of updates of a row.

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be used. The message says what was given, what was expected and what to do.

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
        raise ValueError("update_H=False was given without H; pass the components as H, an array (k, n_features).")
    if W is not None:
        warn(W_IGNORED, RuntimeWarning)
    options = model._checked_options()
    H = check_array(H, dtype=[np.float64, np.float32], input_name="H")
    if (H < 0).any():
        raise ValueError("Negative values in data passed to NMF (input H); every entry must be >= 0.")
    if options.is_counts:
        raise ValueError(
            "update_H=False was given with beta_loss='negative-binomial', which needs the dispersion of a fit; use "
            "NMF(...).fit and transform."
        )
    model._validated(X, reset=True)
    rank = model.n_features_in_ if n_components is None else len(H) if n_components == "auto" else n_components
    if H.shape != (rank, model.n_features_in_):
        raise ValueError(
            f"H has shape {H.shape}; expected {rank, model.n_features_in_}, n_components={n_components!r} rows of one "
            "number for each feature of X."
        )
    model.components_, model.n_components_ = H, len(H)
    return model.transform(X), H, 1 if options.is_squared or options.is_kullback_leibler else max_iter
