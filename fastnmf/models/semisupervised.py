"""Semi-supervised NMF: labels of some of the rows, known entries of the data."""

from fastnmf.models.base import NNDSVD, BaseNMF
from fastnmf.models.labels import LabelledFit
from fastnmf.models.options import check_choice, check_integer, check_number
from fastnmf.models.problems import squared_problem
from fastnmf.models.reading import RowErrors
from fastnmf.models.transfer import check_init


class SemiSupervisedNMF(LabelledFit, RowErrors, BaseNMF):
    """Factorise X and let the weights tell the class, where it is known: ``X ~ W H``, ``Y ~ W Bᵀ``, all >= 0.

    Minimises ``||O * (X - W H)||² + lam ||L * (Y - W Bᵀ)||²``, or the Kullback-Leibler divergence of the labels instead
    of their squared error: O marks the entries of X that are known, L the rows whose class is, Y is the 0-1 matrix of
    the classes, and lam is ``label_weight ||X||²/||L * Y||²``.

    Parameters
    ----------
    n_components : int, default=10
    label_weight : float, default=1.0
        1 makes the labels as heavy as X.
    label_loss : {"frobenius", "kullback-leibler"}, default="frobenius"
        The latter needs ``solver="mu"``.
    solver : {"hals", "mu"}, default="hals"
        ``"hals"``: exact coordinate descent. ``"mu"``: the multiplicative updates of the source. Neither raises the
        objective.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        As for `NMF`.
    missing_values : {None, "nan", "zeros"}, default=None
        Entries of X that are not known, see `NMF`.
    max_iter : int, default=200
    tol : float, default=1e-4
        As for `NMF`.
    random_state : None, int, Generator or RandomState, default=None
    max_time, callback, verbose, n_threads :
        As for `NMF`.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows, their labels taken into account: `transform` knows X only.
    classes_ : ndarray (n_classes,)
    coef_ : ndarray (n_classes, n_components)
        B: what each component says about each class.
    history_ : dict of ndarray
        As for `NMF`; ``objective`` has the term of the labels.
    n_components_, n_iter_, converged_, stopped_by_, reconstruction_err_, normalized_loss_ :
        As for `NMF`: of X alone.

    References
    ----------
    H. Lee, J. Yoo, S. Choi, "Semi-supervised nonnegative matrix factorization", IEEE Signal Processing Letters 2010,
    doi:10.1109/LSP.2009.2027163.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import SemiSupervisedNMF
    >>> X = np.array([[4.0, 0, 1], [2, 0, 1], [0, 3, 1], [0, 5, 1]])
    >>> model = SemiSupervisedNMF(2, random_state=0).fit(X, ["a", None, "b", None])
    >>> model.predict(X)
    array(['a', 'a', 'b', 'b'], dtype='<U1')
    """

    beta_loss, l1_ratio, alpha_W, alpha_H, guide_weight = "frobenius", 0.0, 0.0, 0.0, 0.0
    fixed_components, seed_features, warm_start = None, None, False

    def __init__(
        self,
        n_components=10,
        *,
        label_weight=1.0,
        label_loss="frobenius",
        solver="hals",
        init=None,
        missing_values=None,
        max_iter=200,
        tol=1e-4,
        random_state=None,
        max_time=None,
        callback=None,
        verbose=0,
        n_threads=None,
    ):
        self.n_components = n_components
        self.label_weight = label_weight
        self.label_loss = label_loss
        self.solver = solver
        self.init = init
        self.missing_values = missing_values
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.max_time = max_time
        self.callback = callback
        self.verbose = verbose
        self.n_threads = n_threads

    def fit(self, X, y=None, *, W=None, H=None, weight=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite where it is known.
        y : array-like (n_samples,), default=None
            Class of each row: numbers or strings; -1, NaN or None where it is not known. Without y, a plain NMF.
        W, H : ndarray (n_samples, k), (k, n_features), default=None
            Start for ``init="custom"``.
        weight : sparse matrix or array (n_samples, n_features), default=None
            O: False or 0 where an entry is not known, or weights >= 0; of a sparse one, what is not stored is zero.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or labels that cannot be used: what was given, expected, and to be done.
        """
        self._fit(X, None, W, H, None, None, weight, y=y)
        return self

    def fit_transform(self, X, y=None, *, W=None, H=None, weight=None):
        """Fit the model and return what `transform` makes of X, without its labels; `W_` where `weight` is given."""
        W = self._fit(X, None, W, H, None, None, weight, y=y)
        return W if y is None or weight is not None else self.transform(X)

    def transform(self, X):
        """Return the exact non-negative weights of the rows of X for the fitted components, (n_samples, k)."""
        return self._transform(X)

    def inverse_transform(self, W):
        """Return ``W H``, dense (n_samples, n_features), for W (n_samples, n_components)."""
        return self._inverse_transform(W)

    def score(self, X, y=None):
        """Return the accuracy on rows whose label is known; without y, or labels in fit, the share of X explained."""
        if y is not None and hasattr(self, "classes_"):
            return self._accuracy(X, y)
        return self._score(X)

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, strongest first, as a list of lists."""
        return self._top_features(n, feature_names)

    def _check_parameters(self):
        check_integer("n_components", self.n_components)
        check_number("label_weight", self.label_weight)
        check_choice("label_loss", self.label_loss, ("frobenius", "kullback-leibler"))
        check_choice("solver", self.solver, ("hals", "mu"))
        check_init(self.init, (None, "features", "rows", "random", *NNDSVD, "custom"))
        super()._check_parameters()
        if self.label_loss != "frobenius" and self.solver != "mu":
            raise ValueError(
                f"label_loss={self.label_loss!r} is not quadratic, and solver='hals' needs that; use 'mu'."
            )

    @property
    def _label_loss(self):
        return self.label_loss

    def _problem(self, data, factors, tasks):
        is_descent = self.solver == "hals"
        schedule = (("W", 2), ("H", 2)) if is_descent else (("W", 1), ("H", 1))
        return squared_problem(data, factors, tasks, schedule, is_descent=is_descent)

    def _extrapolation(self, factors, tasks):
        return None
