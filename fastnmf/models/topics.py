"""Topic models: probabilistic latent semantic analysis."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastnmf.models.base import NNDSVD
from fastnmf.models.presets import Preset
from fastnmf.models.problems import divergence_problem
from fastnmf.models.transfer import check_init
from fastnmf.moves import UnitColumns
from fastnmf.solve import threads

# The kernel takes model values below 1.2e-7 for that. Counts are held multiplied such that their total is about 2**60:
# probabilities of a word in a document then are right down to 1e-25.
TOTAL_BITS = 60


class PLSA(Preset):
    """Probabilistic latent semantic analysis: topics as probabilities of words, by expectation-maximisation.

    A word of the corpus comes about so: a topic z is drawn with P(z), then a document with P(d|z) and a word with
    P(w|z). Maximises the log-likelihood ``sum x_dw log(sum_z P(z) P(d|z) P(w|z))`` of the counts X. It is NMF with the
    Kullback-Leibler divergence, ``X ~ total * A diag(s) B``, where the factors are kept as probabilities.

    Parameters
    ----------
    n_components : int, default=10
        Topics.
    init : {"features", "rows", "random", "nndsvda", "nndsvdar", "custom"}, model or Start, default="features"
        Start, made into probabilities; see `NMF`. ``"custom"``: the W, H and s passed to `fit`.
    max_iter : int, default=200
        Steps; also of `transform`.
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 steps, the next 100 would lower the divergence by less than `tol` times
        itself. 0 runs exactly `max_iter` steps.
    random_state : None, int, Generator or RandomState, default=None
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other step begins.
    callback : callable, default=None
        ``callback(state)`` after every step, and for the start, with a `FitState` whose W, H and V are P(d|z), P(w|z)
        and P(z); returning True stops the fit.

    Attributes
    ----------
    s_ : ndarray (n_components,)
        P(z); sums to one.
    W_ : ndarray (n_samples, n_components)
        A, P(d|z): every column sums to one.
    components_ : ndarray (n_components, n_features)
        B, P(w|z): every row sums to one.
    log_likelihood_ : float
        Of the counts, at the end.
    history_ : dict of ndarray
        ``iteration``, ``log_likelihood``, ``objective`` (the divergence of X from the model), ``normalized_loss``,
        ``seconds``; entry 0 is the start. The log-likelihood never falls.
    n_components_, n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_, normalized_loss_ : float
        As in `NMF` with the Kullback-Leibler loss.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    A step is that of expectation-maximisation: the multiplicative updates of W = A and H = total diag(s) B, both from
    the same point, after which the columns of W are divided by their sums. That scale is dropped; handed over to H, as
    one does in NMF, it would be another method. Two passes over the non-zeros a step, O(nnz k), and never an array of
    nnz x k.

    A topic that no word belongs to any more has P(z) = 0, and stays so.

    *Names*: rows are documents, columns words. The source's X ~ l A diag(s) B: A `W_`, s `s_`, B `components_`.

    References
    ----------
    T. Hofmann, "Probabilistic latent semantic indexing", SIGIR 1999, doi:10.1145/312624.312649.
    C. Ding, T. Li, W. Peng, "On the equivalence between non-negative matrix factorization and probabilistic latent
    semantic indexing", Computational Statistics & Data Analysis 52(8), 3913-3927, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import PLSA
    >>> X = np.array([[4, 2, 0, 0], [2, 1, 0, 0], [0, 0, 3, 1], [0, 0, 3, 1]])
    >>> model = PLSA(2, random_state=0).fit(X)
    >>> order = np.argsort(model.s_)  # topics come in any order
    >>> model.s_[order].round(2)
    array([0.47, 0.53])
    >>> model.components_[order].round(2)
    array([[0.  , 0.  , 0.75, 0.25],
           [0.67, 0.33, 0.  , 0.  ]])
    >>> round(model.perplexity(X), 3)
    1.825
    """

    solver, beta_loss = "mu", "kullback-leibler"

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | {"s_": "k"}

    def __init__(
        self,
        n_components=10,
        *,
        init="features",
        max_iter=200,
        tol=1e-4,
        random_state=None,
        n_threads=None,
        verbose=0,
        max_time=None,
        callback=None,
    ):
        self.n_components = n_components
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback

    def fit(self, X, y=None, *, W=None, H=None, s=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Counts of words in documents, or other non-negative finite weights. float32 stays float32.
        y : ignored
        W, H : ndarray (n_samples, k), (k, n_features), default=None
            Start for ``init="custom"``: P(d|z) and P(w|z). Columns of W and rows of H are divided by their sums.
        s : array-like (k,), default=None
            P(z), divided by its sum. None: all the same if W and H are probabilities, or else in proportion to what
            they were divided by.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        self._fit(X, None, W, H, s)
        return self

    def transform(self, X):
        """Return P(z|d) of the documents of X, (n_samples, n_components), by folding them in.

        At most `max_iter` steps of expectation-maximisation for P(z|d) with P(w|z) as it is, from a start that depends
        on the document alone. A document without a known word has P(z). `fit_transform` gives the same for the training
        documents.
        """
        weights = self._transform(X)
        sums = weights.sum(axis=1, keepdims=True)
        return np.where(sums > 0, weights / np.where(sums > 0, sums, 1), self.s_.astype(weights.dtype))

    def inverse_transform(self, W):
        """Return P(w|d), dense (n_samples, n_features), for P(z|d) (n_samples, n_components)."""
        return self._inverse_transform(W)

    def perplexity(self, X):
        """Return the perplexity of the documents of X, folded in: ``exp(-sum x_dw log P(w|d) / sum x_dw)``.

        Number of equally likely words among which the model would have to guess; less is better, 1 is perfect. Infinite
        where X has a word that no topic has. Folding in has seen these words already: to judge how many topics are
        needed, compare on documents that were not in fit.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Counts, not all zero.
        """
        check_is_fitted(self)
        with threads(self.n_threads):
            data, _, divergence, _ = self._diverged(X, None)
        used = np.asarray(data.X.sum(axis=0)).ravel() > 0
        if (used & ~(self.components_ > 0).any(axis=0)).any():
            return np.inf
        rows = np.asarray(data.X.sum(axis=1), dtype=np.float64).ravel()
        if not rows.any():
            raise ValueError("X has no words, and no perplexity; give documents with counts.")
        return float(np.exp((divergence - _entropy(data.X, rows)) / rows.sum()))

    def score(self, X, y=None):
        """Return how much of X the model explains, at most 1; larger is better.

        One minus the divergence of X from its model, folded in, over that from the product of its margins.
        """
        return self._score(X)

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n words of each topic, strongest first, as a list of lists."""
        return self._top_features(n, feature_names)

    def _check_parameters(self):
        starts = ("features", "rows", "random", *(name for name in NNDSVD if name != "nndsvd"), "custom")
        check_init(self.init, starts)
        super()._check_parameters()

    def _observed(self, X, strata, weight=None, labels=None):
        data = super()._observed(X, strata, weight, labels)
        total = float(data.X.sum(dtype=np.float64))
        if total == 0:
            return data
        return data.in_scale(data.dtype, data.exponent + (TOTAL_BITS - int(np.frexp(total)[1])) // 2)

    def _start(self, data, rank, W, H, V, random_state):
        """Return A and total diag(s) B; V is the user's s."""
        total = float(data.X.sum(dtype=np.float64))
        if total == 0:
            raise ValueError("X has no words: every count is zero, and there are no topics in that. Give other data.")
        W, H, _, _ = super()._start(data, rank, W, H, V, random_state)
        W, H = np.asarray(W, dtype=np.float64), np.asarray(H, dtype=np.float64)
        masses = W.sum(axis=0), H.sum(axis=0)
        for name, mass in zip(("column of W", "row of H"), masses, strict=True):
            if not mass.all():
                raise ValueError(
                    f"A {name} in the start is zero, and cannot be made into probabilities; give it a sum."
                )
        s = masses[0] * masses[1] if V is None else np.asarray(V, dtype=np.float64)
        if s.shape != (rank,) or not np.isfinite(s).all() or (s < 0).any() or not s.any():
            raise ValueError(f"The start s has shape {s.shape}; expected ({rank},), numbers >= 0, and not all zero.")
        return W / masses[0], H / masses[1] * (total * s / s.sum()), None, None

    def _problem(self, data, factors, tasks):
        problem = divergence_problem(data, factors, tasks, 1)
        problem.moves["W"] = UnitColumns(0.0, problem.moves["W"].floor)
        problem.schedule = ((("W", 1), ("H", 1)),)
        return problem

    def _arrays(self, data, factors):
        """Return P(d|z), P(w|z) and P(z)."""
        W, H, _ = super()._arrays(data, factors)
        columns, rows = W.sum(axis=0, dtype=np.float64), H.sum(axis=1, dtype=np.float64)
        s = columns * rows
        columns, rows = np.where(columns > 0, columns, 1), np.where(rows > 0, rows, 1)
        return (W / columns).astype(W.dtype), (H / rows[:, None]).astype(H.dtype), s / s.sum()

    def _finish(self, data, problem, fit):
        self.s_ = self._arrays(data, fit.factors)[2]
        super()._finish(data, problem, fit)
        values = data.X.data if data.is_sparse else data.X
        entropy = _entropy(data.X, np.full(data.shape[0], values.sum(dtype=np.float64)))
        likelihood = entropy - self.history_["objective"]
        for name, value in (("log_likelihood", likelihood), ("objective", self.history_["objective"])):
            self.history_[name] = np.ldexp(value, -2 * data.exponent)
        self.log_likelihood_ = float(self.history_["log_likelihood"][-1])


def _entropy(X, rows):
    """Return ``sum x_ij log(x_ij / rows_i)`` over the non-zeros of X, CSR or dense."""
    is_dense = isinstance(X, np.ndarray)
    of_row = np.nonzero(X)[0] if is_dense else np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    values = (X[X != 0] if is_dense else X.data).astype(np.float64)
    return float(values @ np.log(values / rows[of_row]))
