"""Models with an algebra of their own: underapproximation, binary and Boolean factors.

They do not alternate quadratic problems over non-negative factors, see `fastnmf.discrete`; data, starts, the relaxed
fits that binary and Boolean factors are rounded from, and what is reported are those of the other models.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf import discrete
from fastnmf import init as starts
from fastnmf.data import Strata
from fastnmf.models.base import scaled
from fastnmf.models.options import check_bool, check_choice, check_integer, generator
from fastnmf.models.presets import Preset
from fastnmf.models.problems import interval_problem, squared_problem
from fastnmf.models.reading import RowErrors
from fastnmf.progress import progress
from fastnmf.solve import allocate, infer, pad, solve, threads

THRESHOLDS = (0.6, 0.4, 0.2, 0.05)  # of the largest entry of a component, from which it counts as true


class UnderapproximationNMF(RowErrors, Preset):
    """Peel components off the data that stay below them: ``X ~ W H`` with ``W H <= X``, W, H >= 0.

    Every component is what the data have in common that no entry contradicts, and what is left is non-negative again,
    so that the next one is found in it. Components are parts: they have zeros where the data have, and do not cancel.

    Parameters
    ----------
    n_components : int, default=10
        Found one after the other; the first k are those of a fit with k.
    feasible : bool, default=False
        Whether ``W H <= X`` has to hold exactly. Otherwise multipliers press each component down, to about X: it
        explains more, and `overshoot_` tells how far it is above.
    init : {"svd", "custom"}, default="svd"
        Start of each component: the leading singular pair of what is left, or that of the W and H passed to `fit`.
    max_iter : int, default=100
        Steps of multipliers for each component.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
    overshoot_ : float
        ``||max(W H - X, 0)|| / ||X||``; rounding if `feasible`.
    n_components_, n_iter_ : int
        Both are n_components.
    reconstruction_err_ : float
        ``||X - W H||``.
    normalized_loss_ : float
        The same divided by the norm of X; 0 for all-zero data.
    history_ : dict of ndarray
        ``iteration``: components so far, ``residual``: norm of what is left, where above zero, ``seconds``.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    A Lagrangian is not a descent: the error of a single component may rise from step to step, while `residual` falls
    with every component. What is left is held on the non-zeros of X: O(nnz + (n + m) max_iter) a step. The multipliers
    where X is zero are never formed; they are a sum of max_iter products of vectors.

    `feasible` cuts each component down to the largest one below what is left. On data without zeros and structure
    there is little that is below everywhere: expect a large error.

    *Names*: u, v a column of W and a row of H; R what is left; the multipliers are the source's Lambda.

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
            Non-negative, finite. float32 stays float32.
        y : ignored
        W, H : ndarray (n_samples, n_components), (n_components, n_features), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
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
        self.W_, self.components_ = scaled(W, -data.exponent), scaled(H, -data.exponent)
        self.n_components_ = self.n_iter_ = self._n_components = self.n_components
        norms = scaled(np.array(norms), -2 * data.exponent)
        self.history_ = {"iteration": np.arange(len(norms)), "residual": norms, "seconds": np.array(seconds)}
        return self

    def transform(self, X):
        """Return non-negative weights of the rows of X for the fitted components, (n_samples, n_components).

        If `feasible`, for one component after the other the largest weight below what is left of the row: of the
        training data these are `W_`. Otherwise the exact minimiser of ``||x - w H||`` over w >= 0, without the bound.
        """
        if not self.feasible:
            return self._transform(X)
        data, H, _ = self._prepared(X, None)
        with threads(self.n_threads):
            W = discrete.peel(data.X, H.T)
        return scaled(W.astype(data.dtype), -data.exponent)

    def _check_parameters(self):
        check_choice("init", self.init, ("svd", "custom"))
        check_bool("feasible", self.feasible)
        super()._check_parameters()


class _Flipped(Preset):
    """What models of zeros and ones have in common: parameters, starts, the best of several, its history."""

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
            Non-negative, finite; float32 stays float32. For `BooleanNMF` everything that is not zero is a yes.
        y : ignored
        W, H : ndarray (n_samples, n_components), (n_components, n_features), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        self._check_parameters()
        X = self._validated(X, reset=True)
        with threads(self.n_threads):
            data = self._observed(X, None)
            self._keep(data, *self._best(data, W, H, self._run))
        return self

    def _runs(self, data, W, H):
        """Yield the starts (W, Hᵀ) in the data's scale: the user's, or n_init random ones."""
        if self.init == "custom":
            yield _custom(data, self, W, H, turned=True)
            return
        for rng in generator(self.random_state).spawn(self.n_init):
            W, H, _ = starts.random(data, self.n_components, rng, has_shifts=False)
            yield W + 0.1 * W.mean(), H + 0.1 * H.mean()

    def _best(self, data, W, H, run):
        """Return the W, H and history of the best run; the first that is perfect ends the search."""
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
        """Set the fitted attributes; values are squared errors."""
        self.W_, self.components_ = W.astype(data.dtype), np.ascontiguousarray(H.T.astype(data.dtype))
        self.n_components_ = self._n_components = self.n_components
        values = np.asarray(values, dtype=np.float64)
        self.n_iter_ = len(values) - 1
        self.reconstruction_err_ = float(np.sqrt(values[-1]))
        losses = np.sqrt(values / data.sq_norm) if data.sq_norm > 0 else np.zeros(len(values))
        self.normalized_loss_ = float(losses[-1])
        self.history_ = {"iteration": np.arange(len(values)), "normalized_loss": losses, "objective": values}

    def _relaxed(self, problem, factors):
        """Return non-negative W and H, float64, of a fit from `factors`."""
        fit = solve(problem, factors, max_iter=self.max_iter, tol=self.tol)
        return (fit.factors[name][:, : factors.rank].astype(np.float64) for name in "WH")

    def _check_parameters(self):
        check_choice("init", self.init, ("random", "custom"))
        check_integer("n_init", self.n_init)
        super()._check_parameters()


class BinaryNMF(_Flipped):
    """Factorise into zeros and ones: ``X ~ W H`` with W and H in {0, 1}; X has whole numbers, or nearly so.

    Every row is a sum of some of the components, each a set of features. Minimises ``||X - W H||²``.

    Parameters
    ----------
    n_components : int, default=10
    init : {"random", "custom"}, default="random"
        Start of the relaxed fit; ``"custom"``: the W and H passed to `fit`.
    n_init : int, default=10
        Random starts at most, of which the best result is kept; a perfect one ends the search.
    max_iter : int, default=200
        Iterations of the relaxed fit at most, and then rounds of switching.
    tol : float, default=1e-4
        Of the relaxed fit; see `NMF`.
    random_state : None, int, Generator or RandomState, default=None
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of zeros and ones
    W_ : ndarray (n_samples, n_components) of zeros and ones
    n_components_, n_iter_, n_runs_ : int
        The latter: rounds of switching in the best run, and starts that were tried.
    reconstruction_err_ : float
        ``||X - W H||``.
    normalized_loss_ : float
        The same divided by the norm of X; 0 for all-zero data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss`` and ``objective``, the squared error: of the rounded factors, then after each
        round of switching. It never rises.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    Non-negative factors by coordinate descent; both factors of a component scaled to the same largest entry; rounded at
    one half; then single entries are switched while that helps, each exactly given the rest of its row. The result is
    a local minimum: no single switch improves it. Sparse data stay sparse, O(nnz k) a round.

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
        """Return zeros and ones for the rows of X, (n_samples, n_components): where no single switch fits better.

        From two starts a row, nothing and the rounded non-negative weights; the better one counts.
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
        """Return the names of at most n features of each component, in their order, as a list of lists."""
        return self._top_features(n, feature_names)

    def _observed(self, X, strata, weight=None, labels=None):
        data = super()._observed(X, strata, weight, labels)
        if data.exponent:
            raise ValueError("X has entries beyond 1e48 or below 1e-48; sums of zeros and ones are near 1. Rescale X.")
        return data

    def _run(self, data, W, H):
        factors, tasks = allocate(data, W, H, None)
        problem = squared_problem(data, factors, tasks, (("W", 2), ("H", 2)), is_descent=True)
        W, H = (F.astype(np.float64) for F in discrete.rounded(*self._relaxed(problem, factors)))
        return W, H, discrete.BinaryFit(data, W, H).descend(self.max_iter)

    def _switched(self, X):
        data, H, _ = self._prepared(X, None)
        with threads(self.n_threads):
            fit = discrete.BinaryFit(data, np.zeros((data.shape[0], H.shape[1])), H.astype(np.float64))
            weights = infer(data, H.shape[1], pad(H, data), None)[0][:, : H.shape[1]]
            guesses = fit.W, (weights > 0.5).astype(np.float64)
            W = discrete.infer_binary(fit.product("W"), fit.H.T @ fit.H, guesses)
        return data, W.astype(data.dtype)


class BooleanNMF(_Flipped):
    """Factorise a matrix of yes and no: ``X_ij ~ OR_l (W_il AND H_lj)`` with W and H in {0, 1}.

    Every row is the union of some of the components, each a set of features; one plus one is one. Minimises the number
    of entries that are wrong.

    Parameters
    ----------
    n_components, init, n_init, max_iter, tol, random_state, n_threads, verbose :
        As for `BinaryNMF`.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of zeros and ones
    W_ : ndarray (n_samples, n_components) of zeros and ones
    n_mismatches_ : int
        Entries of the training data that the model gets wrong.
    n_components_, n_iter_, n_runs_ : int
        The latter: rounds of switching in the best run, and starts that were tried.
    reconstruction_err_ : float
        Square root of `n_mismatches_`: the norm of the difference.
    normalized_loss_ : float
        Square root of the mismatches over the number of ones.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss`` and ``objective``, the mismatches: of the rounded factors, then after each
        round of switching. It never rises.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    First a relaxation: W, H >= 0 whose product is at least 1 on the ones and 0 elsewhere, by coordinate descent. Then
    all pairs of four thresholds, relative to the largest entry of a component, of which the best is kept, and single
    entries switched while that helps. A local minimum: no single switch improves it. Sparse data stay sparse; a round
    of switching costs O(n_samples * sizes of the sets in use).

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
        """Return zeros and ones for the rows of X, (n_samples, n_components): where no single switch fits better.

        From two starts a row, nothing and the components of which the row has more than half; the better one counts.
        """
        return self._switched(X)[1]

    def inverse_transform(self, W):
        """Return the Boolean product of W and H as zeros and ones, dense (n_samples, n_features)."""
        sums = self._inverse_transform(W)
        return (sums > 0).astype(sums.dtype)

    def score(self, X, y=None):
        """Return one minus the mismatches over the number of ones, at most 1; larger is better."""
        data, _, wrong = self._switched(X)
        return 1.0 if data.sq_norm == 0 else float(1 - wrong.sum() / data.sq_norm)

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, in their order, as a list of lists."""
        return self._top_features(n, feature_names)

    def _observed(self, X, strata, weight=None, labels=None):
        X = super()._observed(X, strata, weight, labels).X
        X = sp.csr_array(X)
        return Strata.from_array(sp.csr_array((np.ones_like(X.data), X.indices, X.indptr), shape=X.shape))

    def _run(self, data, W, H):
        factors, tasks = allocate(data, W, H, None)
        ones = data.X.data
        problem = interval_problem(data, factors, tasks, (ones, np.full_like(ones, np.inf)), is_descent=True)
        W, H = discrete.best_rounding(data, *self._relaxed(problem, factors), THRESHOLDS)
        return W, H, discrete.descend_boolean(data, W, H, self.max_iter)

    def _keep(self, data, W, H, values):
        super()._keep(data, W, H, values)
        self.n_mismatches_ = int(values[-1])

    def _switched(self, X):
        data, H, _ = self._prepared(X, None)
        with threads(self.n_threads):
            sets = H > 0
            overlap = discrete.BinaryFit(data, np.zeros((data.shape[0], H.shape[1])), H.astype(np.float64)).product("W")
            guesses = np.zeros(overlap.shape, bool), overlap > 0.5 * sets.sum(axis=0)
            W, wrong = discrete.infer_boolean(data.rows, sets, guesses)
        return data, W.astype(data.dtype), wrong


def _custom(data, model, W, H, turned=False):
    """Return the user's start in the inner scale, H (k, n_features) or turned, or None where there is none."""
    if model.init != "custom":
        return None
    W, H, _ = starts.custom(data, model.n_components, W, H, has_shifts=False)
    return (W, H) if turned else (W, H.T)
