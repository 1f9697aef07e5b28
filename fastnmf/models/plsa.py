"""Topic models: probabilistic latent semantic analysis.

Scale inside a fit: the counts and ``H = total diag(s) B`` are held multiplied by ``4 ** log4_scale``; ``W = A`` holds
probabilities and has no scale.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np

from fastnmf.core.init.start_from import starts_among
from fastnmf.core.losses.choice import Beta
from fastnmf.core.objectives import divergence_problem
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.thresholds import MODEL_FLOOR
from fastnmf.core.updates import UnitColumns
from fastnmf.data.layout import row_index
from fastnmf.kernels.jit import threads
from fastnmf.models.base.for_checkers import Callback, Iterative, Model, like_fit
from fastnmf.models.base.nmf import STARTS, BaseNMF
from fastnmf.typing import Factor, File, Floats, Matrix, Seed, Vector

# Model values below MODEL_FLOOR are replaced by it. Counts are held multiplied by a power of four such that their total
# is about 2**60; probabilities of a word in a document are then right down to 1e-25.
TOTAL_BITS = 60


class Likelihood(Beta):
    """The Kullback-Leibler divergence of counts, with a floor of the model that is far below theirs."""

    def build(self, data, width, tasks, **options):
        loss, scale = super().build(data, width, tasks, **options)
        loss.floor_by_row = lambda: None
        loss.floor = np.array([MODEL_FLOOR])
        return loss, scale


class PLSA(BaseNMF, Iterative):
    """Estimate topics as word probabilities: probabilistic latent semantic analysis, by expectation-maximisation.

    The model generates each word of the corpus as follows: draw a topic z with P(z), then a document with P(d|z) and a
    word with P(w|z). The fit maximises the log-likelihood ``sum x_dw log(sum_z P(z) P(d|z) P(w|z))`` of the counts X.
    This is NMF with the Kullback-Leibler divergence, ``X ~ total * A diag(s) B``, in which the factors are kept as
    probabilities.

    Parameters
    ----------
    n_components : int, default=10
        Number of topics, >= 1.
    init : {"features", "rows", "random", "nndsvda", "nndsvdar", "custom"}, model or Start, default="features"
        The start, normalised to probabilities; see `NMF`. ``"custom"``: the W, H and s passed to `fit`.
    max_iter : int, default=2000
        Maximum number of iterations of `fit`, and of `transform`, >= 1.
    tol : float, default=1e-4
        Relative tolerance, >= 0. The fit stops when the next 100 iterations are expected to lower the objective by less
        than ``tol`` times its value, where a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter`
        iterations.
    extrapolate : bool, default=True
        Whether, after ten iterations, every third one begins at a point that is extrapolated along the last two
        (SQUAREM); it is undone unless it raises the likelihood. False: plain expectation-maximisation.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers that the start uses.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration, with a `FitState` whose W, H and V are
        P(d|z), P(w|z) and P(z). The fit stops when it returns True.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    s_ : ndarray (n_components,) of float64
        P(z); its sum is one.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        A, P(d|z): every column sums to one.
    components_ : ndarray (n_components, n_features) of the dtype of X
        B, P(w|z): every row sums to one.
    log_likelihood_ : float
        Log-likelihood of the counts at the end of the fit.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``log_likelihood``, ``objective`` (the divergence of X from the model), ``normalized_loss`` and
        ``seconds`` (since the start of the fit). Entry 0 belongs to the start. The log-likelihood does not decrease.
    n_components_, n_iter_ : int
        Number of topics, and number of iterations.
    converged_ : bool
        True if `tol` ended the fit, or if ``tol=0`` and all `max_iter` iterations were run; False if the fit was
        stopped earlier.
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_, normalized_loss_ : float
        As in `NMF` with the Kullback-Leibler loss.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    One iteration is one step of expectation-maximisation: the multiplicative updates of W = A and H = total diag(s) B,
    both computed from the same point. The columns of W are then divided by their sums. These sums are dropped;
    multiplying H by them, as NMF does, would be another method. An iteration needs two passes over the non-zero
    entries, O(nnz k), and never forms an array of nnz x k entries.

    A topic to which no word belongs any more has P(z) = 0, and keeps it.

    *Names*: rows are documents, columns words. The source's X ~ l A diag(s) B: A `W_`, s `s_`, B `components_`.

    References
    ----------
    T. Hofmann, "Probabilistic latent semantic indexing", SIGIR 1999, doi:10.1145/312624.312649.
    R. Varadhan, C. Roland, "Simple and globally convergent methods for accelerating the convergence of any EM
    algorithm", Scandinavian Journal of Statistics 2008, doi:10.1111/j.1467-9469.2007.00585.x.
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

    init: Literal["features", "rows", "random", "nndsvda", "nndsvdar", "custom"] | Model
    extrapolate: bool
    s_: Floats
    log_likelihood_: float

    _constraints = {"init": starts_among(*(name for name in STARTS if name not in (None, "nndsvd")))}
    _fixed = {"solver": "mu", "beta_loss": Likelihood(1)}

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | {"s_": "k"}

    def __init__(
        self,
        n_components: int = 10,
        *,
        init: Literal["features", "rows", "random", "nndsvda", "nndsvdar", "custom"] | Model = "features",
        max_iter: int = 2000,
        tol: float = 1e-4,
        extrapolate: bool = True,
        random_state: Seed = None,
        n_threads: int | None = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_init: int = 1,
        warm_start: bool = False,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        W: Factor = None,
        H: Factor = None,
        s: Vector | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Counts of words in documents, or other non-negative finite weights. float32 is kept; integers and booleans
            become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W, H : ndarray (n_samples, k), (k, n_features), default=None
            Start for ``init="custom"``: P(d|z) and P(w|z), non-negative. Columns of W and rows of H are divided by
            their sums.
        s : array-like (k,), default=None
            Start of P(z), >= 0; it is divided by its sum. None uses the products of the sums by which W and H were
            divided, which are all equal if W and H are probabilities.
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
            If parameters, data or starts cannot be used. The message says what was given, what was expected and what to
            do.
        """
        return self._fit(X, W=W, H=H, s=s, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    @like_fit
    def fit_transform(self, X: Matrix, y: Any = None, **given: Any) -> Floats:
        """Fit the model and return the result of `transform` for X; arguments as in `fit`."""
        return self.fit(X, **given).transform(X)

    def transform(self, X: Matrix) -> Floats:
        """Return P(z|d) for the documents of X by folding in.

        P(z|d) is the most likely one for fixed P(w|z), which steps of expectation-maximisation would end at. A document
        without a known word gets P(z). `fit_transform` returns the same for the training documents.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Counts, non-negative and finite.

        Returns
        -------
        ndarray (n_samples, n_components)
            Rows sum to one.
        """
        weights = self._transform(X)
        sums = weights.sum(axis=1, keepdims=True)
        return np.where(sums > 0, weights / np.where(sums > 0, sums, 1), self.s_.astype(weights.dtype))

    def score(self, X: Matrix, y: Any = None) -> float:
        """Return the share of X that the model explains, at most 1; larger is better.

        It is one minus the ratio of two divergences of X: from the model after folding in, and from the product of the
        margins.
        """
        return self._score(X)

    def perplexity(self, X: Matrix) -> float:
        """Return the perplexity of the documents of X after folding in: ``exp(-sum x_dw log P(w|d) / sum x_dw)``.

        The perplexity is the number of equally likely words that would be as hard to predict; smaller is better, 1 is
        perfect. It is infinite if X has a word with probability zero in all topics. Folding in uses the same words that
        are then scored: to choose the number of topics, compare on documents that were not used in `fit`.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Counts, non-negative, finite and not all zero.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If all counts are zero.
        """
        options = self._options()
        with threads(options.n_threads):
            data, H, _ = self._prepared(X, None, options)
            divergence, _ = self._infer_by_divergence(data, H, None, options)[1]()
        used = np.asarray(data.X.sum(axis=0)).ravel() > 0
        if (used & ~(self.components_ > 0).any(axis=0)).any():
            return np.inf
        rows = np.asarray(data.X.sum(axis=1), dtype=np.float64).ravel()
        if not rows.any():
            raise ValueError(
                "X has no words (every count is zero), so its perplexity is undefined; pass documents with counts."
            )
        return float(np.exp((divergence - _entropy(data.X, rows)) / rows.sum()))

    def _observed(self, X, options, strata=None, weight=None, labels=None):
        """Return X as `Strata`, scaled such that the total of the counts is about ``2 ** TOTAL_BITS``.

        Parameters
        ----------
        X, options, strata, weight, labels :
            As in `BaseNMF`.

        Returns
        -------
        Strata
        """
        data = super()._observed(X, options, strata, weight, labels)
        total = float(data.X.sum(dtype=np.float64))
        if total == 0:
            return data
        return data.in_scale(data.dtype, data.log4_scale + (TOTAL_BITS - int(np.frexp(total)[1])) // 2)

    def _start(self, data, rank, given, options, random_state):
        """Return the start W = A, with columns that sum to one, and H = total diag(s) B, in the inner scale.

        Parameters
        ----------
        data, rank, given, options, random_state :
            As in `BaseNMF`; `given` may also hold s (k,).

        Returns
        -------
        W, H, None, None :
            As in `BaseNMF`.
        """
        total = float(data.X.sum(dtype=np.float64))
        if total == 0:
            raise ValueError(
                "X has no words: every count is zero, so no topics can be found. Pass data with positive counts."
            )
        W, H, _, _ = super()._start(data, rank, given, options, random_state)
        W, H = np.asarray(W, dtype=np.float64), np.asarray(H, dtype=np.float64)
        masses = W.sum(axis=0), H.sum(axis=0)
        for name, mass in zip(("column of W", "row of H"), masses, strict=True):
            if not mass.all():
                raise ValueError(
                    f"A {name} in the start is zero and cannot be normalised to probabilities; give it a positive sum."
                )
        s = self.s_ if self._goes_on(options) else given.get("s")
        s = masses[0] * masses[1] if s is None else np.asarray(s, dtype=np.float64)
        if s.shape != (rank,) or not np.isfinite(s).all() or (s < 0).any() or not s.any():
            raise ValueError(
                f"The start s has shape {s.shape}; expected ({rank},), numbers >= 0 that are not all zero."
            )
        return W / masses[0], H / masses[1] * (total * s / s.sum()), None, None

    def _problem(self, data, factors, tasks, options):
        problem = divergence_problem(data, factors, tasks, options.loss)
        problem.updates["W"] = UnitColumns(0.0, problem.updates["W"].floor)
        problem.schedule = ((("W", 1), ("H", 1)),)
        return problem

    def _extrapolation(self, factors, tasks, options):
        return SQUAREM(tasks, factors, units=("W",)) if self.extrapolate else None

    def _arrays(self, data, solver):
        """Return P(d|z) (n_samples, k), P(w|z) (k, n_features) and P(z) (k,)."""
        W, H, _ = super()._arrays(data, solver)
        columns, rows = W.sum(axis=0, dtype=np.float64), H.sum(axis=1, dtype=np.float64)
        s = columns * rows
        columns, rows = np.where(columns > 0, columns, 1), np.where(rows > 0, rows, 1)
        return (W / columns).astype(W.dtype), (H / rows[:, None]).astype(H.dtype), s / s.sum()

    def _has_free_scale(self, problem, options):
        return False  # columns and rows are probabilities

    def _set_factors(self, data, fit, options):
        self.s_ = self._arrays(data, fit.solver)[2]
        super()._set_factors(data, fit, options)

    def _record(self, data, fit, options):
        super()._record(data, fit, options)
        values = data.X.data if data.is_sparse else data.X
        entropy = _entropy(data.X, np.full(data.shape[0], values.sum(dtype=np.float64)))
        likelihood = entropy - self.history_["objective"]
        for name, value in (("log_likelihood", likelihood), ("objective", self.history_["objective"])):
            self.history_[name] = np.ldexp(value, -2 * data.log4_scale)
        self.log_likelihood_ = float(self.history_["log_likelihood"][-1])


def _entropy(X, rows):
    """Return ``sum x_ij log(x_ij / rows_i)`` over the non-zero entries of X, CSR or dense; rows (n_rows,), float64."""
    is_dense = isinstance(X, np.ndarray)
    of_row = np.nonzero(X)[0] if is_dense else row_index(X)
    values = (X[X != 0] if is_dense else X.data).astype(np.float64)
    return float(values @ np.log(values / rows[of_row]))
