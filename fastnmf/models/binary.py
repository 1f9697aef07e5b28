"""Factors of zeros and ones, under the sum (`BinaryNMF`) or under OR (`BooleanNMF`).

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core import discrete
from fastnmf.core import init as starts
from fastnmf.core.factors import allocate, pad
from fastnmf.core.inference import infer
from fastnmf.core.iterate import solve
from fastnmf.core.objectives import interval_problem, squared_problem
from fastnmf.core.options import check_choice, check_integer, generator
from fastnmf.core.progress import progress
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.presets import Preset

THRESHOLDS = (0.6, 0.4, 0.2, 0.05)  # relative to the largest entry of a component; larger entries are rounded to true


class FlipModel(Preset):
    """Base of the models of zeros and ones: parameters, starts, choice of the best run, fitted attributes.

    Parameters
    ----------
    n_components, init, n_init, max_iter, tol, random_state, n_threads, verbose :
        As for `BinaryNMF`.
    """

    def __init__(
        self,
        n_components=10,
        *,
        init="random",
        n_init=10,
        max_iter=200,
        tol=1e-4,
        random_state=None,
        n_threads=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(self, X, y=None, *, W=None, H=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 stays float32; all other types become float64. `BooleanNMF` takes every
            non-zero entry as 1.
        y : ignored
            Present for compatibility with scikit-learn.
        W : ndarray (n_samples, n_components), default=None
            Start of the weights for ``init="custom"``, >= 0.
        H : ndarray (n_components, n_features), default=None
            Start of the components for ``init="custom"``, >= 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters, data or start cannot be used. The message says what was given, what was expected and what to
            do.
        """
        self._check_parameters()
        X = self._validated(X, reset=True)
        with threads(self.n_threads):
            data = self._observed(X, None)
            self._keep(data, *self._best(data, W, H, self._run))
        return self

    def _runs(self, data, W, H):
        """Yield the starts W (n, k) and Hᵀ (m, k) in the inner scale: the user's start, or n_init random ones."""
        if self.init == "custom":
            yield _custom(data, self, W, H, turned=True)
            return
        for rng in generator(self.random_state).spawn(self.n_init):
            W, H, _ = starts.random(data, self.n_components, rng, has_shifts=False)
            yield W + 0.1 * W.mean(), H + 0.1 * H.mean()

    def _best(self, data, W, H, run):
        """Return the result of the run with the lowest last error; a run with error zero ends the search.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        W, H : ndarray (n_samples, k), (k, n_features), or None
            Start of the user, in the scale of the user's data.
        run : callable
            ``run(data, W, H)`` fits from one start W (n, k), H (m, k) in the inner scale and returns W, H and the
            history.

        Returns
        -------
        W, H : ndarray (n, k), (m, k)
            Factors of zeros and ones.
        values : list of float
            Squared error before the first and after every round of switching.
        """
        best = None
        with progress(type(self).__name__, self.n_init, self.verbose) as show:
            for n, start in enumerate(self._runs(data, W, H), 1):
                found = run(data, *start)
                best = found if best is None or found[2][-1] < best[2][-1] else best
                if show is not None:
                    show(n, np.sqrt(best[2][-1] / (data.sq_norm or 1.0)), 0.0)
                if best[2][-1] == 0:
                    break
        self.n_runs_ = n
        return best

    def _keep(self, data, W, H, values):
        """Set the fitted attributes.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        W, H : ndarray (n, k), (m, k)
            Factors of zeros and ones, of bool or float64.
        values : list of float
            Squared errors by round; entry 0 is that of the rounded factors.
        """
        self.W_, self.components_ = W.astype(data.dtype), np.ascontiguousarray(H.T.astype(data.dtype))
        self.n_components_ = self._n_components = self.n_components
        values = np.asarray(values, dtype=np.float64)
        self.n_iter_ = len(values) - 1
        self.reconstruction_err_ = float(np.sqrt(values[-1]))
        losses = np.sqrt(values / data.sq_norm) if data.sq_norm > 0 else np.zeros(len(values))
        self.normalized_loss_ = float(losses[-1])
        self.history_ = {"iteration": np.arange(len(values)), "normalized_loss": losses, "objective": values}

    def _relaxed(self, problem, factors):
        """Return W (n, k) and H (m, k), float64, of a fit of non-negative factors that starts from `factors`."""
        fit = solve(problem, factors, max_iter=self.max_iter, tol=self.tol)
        return (fit.factors[name][:, : factors.rank].astype(np.float64) for name in "WH")

    def _check_parameters(self):
        check_choice("init", self.init, ("random", "custom"))
        check_integer("n_init", self.n_init)
        super()._check_parameters()


class BinaryNMF(FlipModel):
    """Factorise into zeros and ones: ``X ~ W H`` with W and H in {0, 1}, for X of whole numbers, or nearly whole ones.

    Every row is the sum of some of the components, and every component is a set of features. Minimises
    ``||X - W H||²``.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of rows of H.
    init : {"random", "custom"}, default="random"
        Start of the relaxed fit. ``"random"``: uniform draws. ``"custom"``: the W and H passed to `fit`.
    n_init : int, default=10
        Largest number of random starts; the best result is kept. A result without error ends the search.
    max_iter : int, default=200
        Largest number of iterations of the relaxed fit, and of rounds of switching after it.
    tol : float, default=1e-4
        Stopping tolerance of the relaxed fit; see `NMF`.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None takes Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H, of zeros and ones, in the dtype of X.
    W_ : ndarray (n_samples, n_components)
        W, of zeros and ones, in the dtype of X.
    n_components_ : int
        k.
    n_iter_ : int
        Rounds of switching in the best run.
    n_runs_ : int
        Number of starts that were tried.
    reconstruction_err_ : float
        ``||X - W H||``.
    normalized_loss_ : float
        ``||X - W H|| / ||X||``; 0 for all-zero data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss`` and ``objective``, the squared error. Entry 0 is that of the rounded factors,
        the others follow each round of switching. The objective does not increase.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The method has four steps. Coordinate descent finds non-negative factors. Both factors of each component are scaled
    to the same largest entry. All entries are rounded at one half. Then single entries are switched as long as that
    lowers the error, each exactly for the given rest of its row. The result is a local minimum: no single switch
    improves it. Sparse data stay sparse, O(nnz k) a round.

    References
    ----------
    Z. Zhang, T. Li, C. Ding, X. Zhang, "Binary matrix factorization with applications", ICDM 2007,
    doi:10.1109/ICDM.2007.99 (relaxation and rounding; the switching is plain coordinate descent).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import BinaryNMF
    >>> X = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 2, 1, 1], [0, 0, 0, 0]])
    >>> model = BinaryNMF(2, random_state=0).fit(X)
    >>> order = np.argsort(model.components_.sum(axis=1))  # components come in any order
    >>> model.components_[order]
    array([[1., 1., 0., 0.],
           [0., 1., 1., 1.]])
    >>> model.reconstruction_err_
    0.0
    """

    def transform(self, X):
        """Return weights of zeros and ones for the rows of X that no single switch improves.

        Each row is solved from two starts, all zeros and the rounded non-negative weights; the better result is
        returned.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        return self._switched(X)[1]

    def score(self, X, y=None):
        """Return the share of the squared norm of X that the model explains, at most 1; larger is better."""
        data, W = self._switched(X)
        if data.sq_norm == 0:
            return 1.0
        fit = discrete.BinaryFit(data, W.astype(np.float64), self.components_.T.astype(np.float64))
        return 1 - fit.value(fit.product("W")) / data.sq_norm

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, in the order of the features.

        Parameters
        ----------
        n : int, default=10
            Largest number of features of one component.
        feature_names : array-like (n_features,), default=None
            Names of the features. None takes `feature_names_in_`, or else the column numbers.

        Returns
        -------
        list of list of str
        """
        return self._top_features(n, feature_names)

    def _observed(self, X, strata, weight=None, labels=None):
        """Return X as data of a fit; raise if the data had to be rescaled, because zeros and ones cannot be.

        Parameters
        ----------
        X, strata, weight, labels :
            As in `BaseNMF`; strata and weight are None here.

        Returns
        -------
        fastnmf.data.strata.Strata
        """
        data = super()._observed(X, strata, weight, labels)
        if data.log4_scale:
            raise ValueError(
                "The largest entry of X lies outside 1e-48 to 1e48 (in float32: 3e-8 to 1.6e7); sums of zeros and ones "
                "are near 1. Rescale X."
            )
        return data

    def _run(self, data, W, H):
        """Return W (n, k) and H (m, k) of zeros and ones, float64, and the squared errors by round, from one start."""
        factors, tasks = allocate(data, W, H, None)
        problem = squared_problem(data, factors, tasks, (("W", 2), ("H", 2)), is_descent=True)
        W, H = (F.astype(np.float64) for F in discrete.rounded(*self._relaxed(problem, factors)))
        return W, H, discrete.BinaryFit(data, W, H).descend(self.max_iter)

    def _switched(self, X):
        """Return X as `Strata`, and W (n, k) of zeros and ones for the fitted components."""
        data, H, _ = self._prepared(X, None)
        with threads(self.n_threads):
            fit = discrete.BinaryFit(data, np.zeros((data.shape[0], H.shape[1])), H.astype(np.float64))
            weights = infer(data, H.shape[1], pad(H, data), None)[0][:, : H.shape[1]]
            guesses = fit.W, (weights > 0.5).astype(np.float64)
            W = discrete.infer_binary(fit.product("W"), fit.H.T @ fit.H, guesses)
        return data, W.astype(data.dtype)


class BooleanNMF(FlipModel):
    """Factorise a Boolean matrix: ``X_ij ~ OR_l (W_il AND H_lj)`` with W and H in {0, 1}.

    Every row is the union of some of the components, and every component is a set of features; one plus one is one.
    Minimises the number of mismatches: entries in which model and data differ.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of rows of H.
    init : {"random", "custom"}, default="random"
        Start of the relaxed fit. ``"random"``: uniform draws. ``"custom"``: the W and H passed to `fit`.
    n_init : int, default=10
        Largest number of random starts; the best result is kept. A result without mismatches ends the search.
    max_iter : int, default=200
        Largest number of iterations of the relaxed fit, and of rounds of switching after it.
    tol : float, default=1e-4
        Stopping tolerance of the relaxed fit; see `NMF`.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None takes Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H, of zeros and ones, in the dtype of X.
    W_ : ndarray (n_samples, n_components)
        W, of zeros and ones, in the dtype of X.
    n_mismatches_ : int
        Number of entries of the training data in which the model is wrong.
    n_components_ : int
        k.
    n_iter_ : int
        Rounds of switching in the best run.
    n_runs_ : int
        Number of starts that were tried.
    reconstruction_err_ : float
        Square root of `n_mismatches_`: the norm of the difference.
    normalized_loss_ : float
        Square root of the mismatches over the number of ones in X.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss`` and ``objective``, the mismatches. Entry 0 is that of the rounded factors,
        the others follow each round of switching. The objective does not increase.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The method begins with a relaxation: coordinate descent finds W, H >= 0 whose product is at least 1 where X is one
    and 0 elsewhere. The factors are then rounded with each pair of four thresholds, relative to the largest entry of a
    component, and the best pair is kept. Then single entries are switched as long as that lowers the number of
    mismatches. The result is a local minimum: no single switch improves it. Sparse data stay sparse; a round of
    switching costs O(n_samples * sizes of the sets in use).

    References
    ----------
    P. Miettinen, T. Mielikainen, A. Gionis, G. Das, H. Mannila, "The discrete basis problem", IEEE TKDE 2008,
    doi:10.1109/TKDE.2008.53 (the problem; the method is the relaxation above).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import BooleanNMF
    >>> X = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
    >>> model = BooleanNMF(2, random_state=0).fit(X)
    >>> model.n_mismatches_
    0
    >>> model.inverse_transform(model.W_)[2]
    array([1., 1., 1., 1.])
    """

    def transform(self, X):
        """Return weights of zeros and ones for the rows of X that no single switch improves.

        Each row is solved from two starts: all zeros, and the components with more than half of their features in the
        row. The better result is returned.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        return self._switched(X)[1]

    def inverse_transform(self, W):
        """Return the Boolean product of W and H as zeros and ones, dense (n_samples, n_features)."""
        sums = self._inverse_transform(W)
        return (sums > 0).astype(sums.dtype)

    def score(self, X, y=None):
        """Return one minus the mismatches over the number of ones in X, at most 1; larger is better."""
        data, _, wrong = self._switched(X)
        return 1.0 if data.sq_norm == 0 else float(1 - wrong.sum() / data.sq_norm)

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, in the order of the features.

        Parameters
        ----------
        n : int, default=10
            Largest number of features of one component.
        feature_names : array-like (n_features,), default=None
            Names of the features. None takes `feature_names_in_`, or else the column numbers.

        Returns
        -------
        list of list of str
        """
        return self._top_features(n, feature_names)

    def _observed(self, X, strata, weight=None, labels=None):
        """Return X as data of a fit: CSR whose stored entries are all 1.

        Parameters
        ----------
        X, strata, weight, labels :
            As in `BaseNMF`; strata and weight are None here.

        Returns
        -------
        fastnmf.data.strata.Strata
        """
        X = super()._observed(X, strata, weight, labels).X
        X = sp.csr_array(X)
        return Strata.from_array(sp.csr_array((np.ones_like(X.data), X.indices, X.indptr), shape=X.shape))

    def _run(self, data, W, H):
        """Return W (n, k) and H (m, k) as bools, and the mismatches by round, from one start."""
        factors, tasks = allocate(data, W, H, None)
        ones = data.X.data
        problem = interval_problem(data, factors, tasks, (ones, np.full_like(ones, np.inf)), is_descent=True)
        W, H = discrete.best_rounding(data, *self._relaxed(problem, factors), THRESHOLDS)
        return W, H, discrete.descend_boolean(data, W, H, self.max_iter)

    def _keep(self, data, W, H, values):
        """Set the fitted attributes, `n_mismatches_` among them.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        W, H : ndarray (n, k), (m, k) of bool
            Factors of zeros and ones.
        values : list of int
            Mismatches by round; entry 0 is that of the rounded factors.
        """
        super()._keep(data, W, H, values)
        self.n_mismatches_ = int(values[-1])

    def _switched(self, X):
        """Return X as `Strata`, W (n, k) of zeros and ones, and the mismatches of each row, int64 (n,)."""
        data, H, _ = self._prepared(X, None)
        with threads(self.n_threads):
            sets = H > 0
            overlap = discrete.BinaryFit(data, np.zeros((data.shape[0], H.shape[1])), H.astype(np.float64)).product("W")
            guesses = np.zeros(overlap.shape, bool), overlap > 0.5 * sets.sum(axis=0)
            W, wrong = discrete.infer_boolean(data.rows, sets, guesses)
        return data, W.astype(data.dtype), wrong


def _custom(data, model, W, H, turned=False):
    """Return the user's start in the inner scale, or None if there is none.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    model : estimator
        Its `init` and `n_components` are read.
    W, H : ndarray (n_samples, k), (k, n_features), or None
        Start in the scale of the user's data.
    turned : bool, default=False
        Whether H is returned transposed, (n_features, k), instead of (k, n_features).

    Returns
    -------
    tuple of ndarray (W, H) of float64, or None
    """
    if model.init != "custom":
        return None
    W, H, _ = starts.custom(data, model.n_components, W, H, has_shifts=False)
    return (W, H) if turned else (W, H.T)
