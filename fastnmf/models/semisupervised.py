"""Semi-supervised NMF: class labels of some rows, and data with unknown entries."""

from __future__ import annotations

from typing import Any, Literal, Self

from fastnmf.core.objectives import squared_problem
from fastnmf.core.options import one_of
from fastnmf.models.base.classification import ClassPredictionMixin
from fastnmf.models.base.for_checkers import Callback, Init, Iterative, like_fit
from fastnmf.models.base.inspection import RowErrorsMixin
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import Factor, File, Floats, Labels, Matrix, Seed, Vector


class SemiSupervisedNMF(ClassPredictionMixin, RowErrorsMixin, BaseNMF, Iterative):
    """Factorise X such that the weights also predict the known classes: ``X ~ W H``, ``Y ~ W Bᵀ``, all >= 0.

    Minimises ``||O * (X - W H)||² + lam ||L * (Y - W Bᵀ)||²``, or the Kullback-Leibler divergence of the labels instead
    of their squared error. O marks the known entries of X, L marks the rows with a known class, Y is the 0-1 matrix of
    the classes, and lam is ``label_weight ||X||²/||L * Y||²``.

    Parameters
    ----------
    n_components : int, default=10
        Number of components (rows of H), >= 1.
    label_weight : float, default=1.0
        Weight of the labels, >= 0. With 1 the labels weigh as much as X. The model is a classifier to scikit-learn;
        with 0 it has no `predict`, and is a transformer only.
    label_loss : {"frobenius", "kullback-leibler"}, default="frobenius"
        Loss of the labels. ``"kullback-leibler"`` needs ``solver="mu"``.
    solver : {"hals", "mu"}, default="hals"
        ``"hals"``: exact coordinate descent. ``"mu"``: the multiplicative updates of the source. The objective is
        monotone for both.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        As for `NMF`.
    missing_values : {None, "nan", "zeros"}, default=None
        Which entries of X are unknown; see `NMF`.
    max_iter : int, default=200
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        As for `NMF`.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers that the start uses.
    max_time, callback, verbose, n_threads :
        As for `NMF`.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of the dtype of X
        H.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        Weights of the training rows, computed from X and the labels; `transform` uses X only.
    classes_ : ndarray (n_classes,)
        The classes in sorted order.
    coef_, intercept_ : ndarray (n_classes, n_components), (n_classes,) of the dtype of X
        Coefficients of either sign by which `predict` scores the classes, ``transform(X) coef_ᵀ + intercept_``: a
        logistic regression on the weights that `transform` gives to the labelled rows.
    B_ : ndarray (n_classes, n_components) of the dtype of X
        B of the objective, >= 0, which belongs to `W_`: the weight of each component for each class. Version 0.1
        predicted by it, and called it ``coef_``; its files still do.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        As for `NMF`; ``objective`` includes the loss of the labels.
    n_components_, n_iter_, converged_, stopped_by_, reconstruction_err_, normalized_loss_ :
        As for `NMF`; the last two are for X alone.

    References
    ----------
    H. Lee, J. Yoo, S. Choi, "Semi-supervised nonnegative matrix factorization", IEEE Signal Processing Letters 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import SemiSupervisedNMF
    >>> X = np.array([[4.0, 0, 1], [2, 0, 1], [0, 3, 1], [0, 5, 1]])
    >>> model = SemiSupervisedNMF(2, random_state=0).fit(X, ["a", None, "b", None])
    >>> model.predict(X)
    array(['a', 'a', 'b', 'b'], dtype='<U1')
    """

    label_loss: Literal["frobenius", "kullback-leibler"]
    solver: Literal["hals", "mu"]
    init: Init
    missing_values: Literal["nan", "zeros"] | None

    _constraints = {"label_loss": one_of("frobenius", "kullback-leibler"), "solver": one_of("hals", "mu")}

    def __init__(
        self,
        n_components: int = 10,
        *,
        label_weight: float = 1.0,
        label_loss: Literal["frobenius", "kullback-leibler"] = "frobenius",
        solver: Literal["hals", "mu"] = "hals",
        init: Init = None,
        missing_values: Literal["nan", "zeros"] | None = None,
        max_iter: int = 200,
        tol: float = 1e-4,
        random_state: Seed = None,
        max_time: float | None = None,
        callback: Callback | None = None,
        verbose: int = 0,
        n_threads: int | None = None,
        n_init: int = 1,
        warm_start: bool = False,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Labels | None = None,
        *,
        W: Factor = None,
        H: Factor = None,
        weight: Matrix | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Known entries are non-negative and finite. float32 is kept; integers and booleans become float64.
        y : array-like (n_samples,), default=None
            Class of each row: whole numbers or strings; -1, NaN or None if it is unknown. Without y the model is a
            plain NMF. scikit-learn's stratified folds accept only -1 (for NaN and None use ``cv=KFold(5)``), and
            its scorers count -1 as a class, which `score` does not.
        W, H : ndarray (n_samples, k), (k, n_features), default=None
            Start for ``init="custom"``, non-negative.
        weight : sparse matrix or array (n_samples, n_features), default=None
            O: False or 0 where an entry is unknown, or weights >= 0. Entries that a sparse `weight` does not store have
            weight zero.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File of the state of the fit; see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If parameters, data or labels cannot be used. The message says what was given, what was expected and what to
            do.
        """
        given = {"y": y, "W": W, "H": H, "weight": weight}
        return self._fit(X, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every, **given)

    @like_fit
    def fit_transform(self, X: Matrix, y: Labels | None = None, **given: Any) -> Floats:
        """Fit the model and return the weights of the rows of X, computed without their labels; arguments as in `fit`.

        They are the result of `transform` for X; `W_` if `weight` is given, or if there are no labels.
        """
        self.fit(X, y, **given)
        return self.W_ if y is None or given.get("weight") is not None else self.transform(X)

    def score(self, X: Matrix, y: Labels | None = None, sample_weight: Vector | None = None) -> float:
        """Return the accuracy on the rows with a known label, or the share of X that the model explains.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : array-like (n_samples,), default=None
            Labels. None, or for a model that was fitted without labels: the explained share.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row in either.

        Returns
        -------
        float
        """
        if y is not None and hasattr(self, "classes_"):
            return self._accuracy(X, y, sample_weight)
        return self._score(X, None, sample_weight)

    def _check_options(self, options):
        if options.label_loss != "frobenius" and options.solver != "mu":
            raise ValueError(
                f"label_loss={options.label_loss!r} is not quadratic, but solver='hals' needs that; use 'mu'."
            )

    def _problem(self, data, factors, tasks, options):
        is_descent = not options.is_multiplicative
        schedule = (("W", 2), ("H", 2)) if is_descent else (("W", 1), ("H", 1))
        return squared_problem(data, factors, tasks, schedule, is_descent=is_descent)
