"""What models need to learn from one batch after another: `partial_fit`, and fits that walk over blocks of rows."""

import numpy as np

from fastnmf import init as starts
from fastnmf import online
from fastnmf.data import Strata
from fastnmf.models.base import scaled
from fastnmf.models.options import generator
from fastnmf.models.transfer import brought
from fastnmf.solve import as_arrays, normalized, threads

STARTS = {"features": starts.features, "rows": starts.rows, "random": starts.random, "nndsvd": starts.nndsvd}

_NOT_IN_BATCHES = ("alpha_W", "alpha_H", "alpha_V", "fixed_components", "seed_features", "strata_weight")
_NOT_IN_BATCHES += ("gauge", "normalize", "missing_values")

MOVING_GAIN = 0.01  # of the objective in a pass over blocks, below which components wait for the end of a pass


def has_slowed(objective):
    """Tell whether the last pass of a list of objectives gained too little for components to move within a pass."""
    return len(objective) > 1 and objective[-1] > (1 - MOVING_GAIN) * objective[-2]


def unpenalised(history, scale):
    """Return a history of passes as the arrays that all models show."""
    return as_arrays(history | {"penalty": [0.0] * len(history["objective"])}, scale)


class PartialFit:
    """`partial_fit` for models of the squared error; stands before `BaseNMF` among the bases.

    What is remembered of the batches is in `_statistics`, whose size does not depend on the number of rows.
    """

    def partial_fit(self, X, y=None):
        """Add the rows of X to what was seen so far, and move the components once.

        The first call on a fresh model draws the start from X. After `fit`, which keeps no data, the rows that it saw
        count as what the model says of them. `W_` belongs to the rows of `fit` and is removed.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Data that cannot be used, or of another number of features; a loss other than the squared error.
        """
        return self._partial_fit(X, None)

    def _finish(self, data, *rest):
        super()._finish(data, *rest)
        self._fitted_rows = data.codes if data.loading is None else None, data.exponent
        self._let_go("_statistics", "n_steps_")

    def _check_batches(self):
        """Raise for parameters with which batches cannot be learned one by one."""
        self._check_parameters()
        if getattr(self, "solver", "hals") == "mu" or getattr(self, "beta_loss", "frobenius") not in ("frobenius", 2):
            raise ValueError("Batches need the squared error and coordinate descent; leave out solver and beta_loss.")
        unused = {"strata_weight": "rows", "alpha_H": "same"}  # what they are where they do nothing; others are falsy
        for name in _NOT_IN_BATCHES:
            value = getattr(self, name, None)
            if value is not None and value is not False and value != 0 and value != unused.get(name):
                raise ValueError(f"{name}={value!r} is not supported for batches; leave it out.")
        if self.init is not None and brought(self.init) is None and self.init not in STARTS:
            expected = ", ".join(repr(name) for name in STARTS)
            raise ValueError(f"init={self.init!r} cannot be drawn from a first batch; expected one of {expected}.")

    def _partial_fit(self, X, strata):
        self._check_batches()
        is_first, statistics = not hasattr(self, "components_"), getattr(self, "_statistics", None)
        with threads(self.n_threads):
            data = self._batch(X, strata, () if is_first else getattr(self, "strata_", ()), reset=is_first)
            if statistics is None and not is_first:
                statistics = self._recalled(data)
            elif statistics is not None and statistics.rank != self._rank(data.shape[1], None):
                raise ValueError(
                    f"n_components={self.n_components!r}, but the model has {statistics.rank} components; call fit to "
                    "begin anew."
                )
            # A batch that is refused or interrupted leaves the model as it was.
            self._statistics = self._learn(None if statistics is None else statistics.copy(), data)
        self.n_steps_ = getattr(self, "n_steps_", 0) + 1
        self._let_go("W_", "row_strata_")
        self._show()
        return self

    def _batch(self, X, strata, known, *, reset):
        """Validate a batch; `known` are the strata so far."""
        X = self._validated(X, reset=reset)
        if strata is None and len(known) > 1:
            raise ValueError(f"This model has {len(known)} strata; pass strata=, one label a row.")
        return Strata.from_array(X, strata, labels=known if strata is None and len(known) == 1 else None)

    def _learn(self, statistics, data, *, is_new=True):
        """Visit a batch, and return the statistics, which begin there where there are none yet."""
        if statistics is None:
            statistics = self._empty(data.shape[1]).start(data, *self._draw(data))
        elif statistics.sq_norm == 0 and data.sq_norm > 0:
            statistics.restart(data, *self._draw(data))
        statistics.visit(online.Batch(data, is_new=is_new))
        return statistics

    def _draw(self, data):
        start = brought(self.init)
        if start is not None:
            return self._brought(data, self._rank(data.shape[1], None), start)[1:3]
        rng = generator(self.random_state)
        return STARTS[self.init or "features"](data, self._rank(data.shape[1], None), rng, has_shifts=self._has_shifts)[
            1:
        ]

    def _empty(self, n_columns):
        """Return statistics of nothing."""
        sweeps = (3, 3, 1) if self.sweeps == "thorough" else tuple(self.sweeps)
        sweeps = sweeps if len(sweeps) == 3 else (sweeps[0], 1, sweeps[1])
        kind = online.StrataStatistics if self._has_shifts else online.Statistics
        return kind(self._rank(n_columns, None), sweeps, getattr(self, "forget_factor", 1.0))

    def _recalled(self, data):
        """Return the statistics of the rows of `fit`, as the model describes them; `data` is the batch to come."""
        codes, exponent = getattr(self, "_fitted_rows", (None, 0))
        W = getattr(self, "W_", None)
        if codes is None or W is None or len(codes) != len(W):
            raise ValueError(
                "This model does not know its rows any more, or they were weighted; call fit without weights before."
            )
        data = data.in_scale(self.components_.dtype, exponent)
        no_shifts = np.zeros(len(data.pattern.group)) if self._has_shifts else None  # until `remember` knows them
        statistics = self._empty(data.shape[1]).start(data, scaled(self.components_.T, exponent), no_shifts)
        error = float(np.ldexp(float(self.reconstruction_err_), 2 * exponent)) ** 2
        shifts = (self.strata_, scaled(self.shifts_, 2 * exponent), codes) if self._has_shifts else None
        return online.remember(statistics, scaled(W, exponent), error, shifts)

    def _show(self):
        """Set the fitted attributes that follow from the statistics."""
        statistics = self._statistics
        self.components_ = statistics.components()
        self.n_components_ = self._n_components = statistics.rank
        if self._has_shifts:
            self.shifts_, self.strata_ = statistics.shifts(), statistics.labels
            self.stratum_sizes_ = statistics.sizes.copy()
        self.normalized_loss_ = float(normalized(statistics.value, statistics.sq_norm))
        self.reconstruction_err_ = float(np.ldexp(np.sqrt(statistics.value), -2 * statistics.exponent))

    def _let_go(self, *names):
        for name in names:
            self.__dict__.pop(name, None)


class StratifiedPartialFit(PartialFit):
    """`partial_fit` for models with strata."""

    __metadata_request__partial_fit = {"strata": True}

    def partial_fit(self, X, y=None, *, strata=None):
        """Add the rows of X to what was seen so far, and move the shifts and the components once.

        The first call on a fresh model draws the start from X. After `fit`, which keeps no data, the rows that it saw
        count as what the model says of them. `W_` belongs to the rows of `fit` and is removed.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : ignored
        strata : array-like (n_samples,), default=None
            Label of each row. Labels that were not there before become strata of their own; `strata_` stays sorted, so
            rows of `shifts_` may move down. May be left out for a model of one stratum.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Data or labels that cannot be used; another number of features; a loss other than the squared error.
        """
        return self._partial_fit(X, strata)
