"""Learn from one batch of rows after another: `partial_fit`, and the parts that fits over blocks of rows share.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np

from fastnmf.core import batches
from fastnmf.core import init as starts
from fastnmf.core.init.start_from import start_from_init
from fastnmf.core.iterate import as_arrays, normalized
from fastnmf.core.options import generator
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.estimator import scaled

STARTS = {"features": starts.features, "rows": starts.rows, "random": starts.random, "nndsvd": starts.nndsvd}
_NOT_IN_BATCHES = ("alpha_W", "alpha_H", "alpha_V", "fixed_components", "seed_features", "strata_weight")
_NOT_IN_BATCHES += ("gauge", "normalize", "missing_values")
MOVING_GAIN = 0.01  # relative decrease of the objective in a pass; below it H is updated only at the end of a pass


def has_slowed(objective):
    """Return whether the objective decreased too little in the last pass for updates of H within a pass."""
    return len(objective) > 1 and objective[-1] > (1 - MOVING_GAIN) * objective[-2]


def unpenalised(history, scale):
    """Return the history of passes as arrays, as in `history_`, with penalties of zero."""
    return as_arrays(history | {"penalty": [0.0] * len(history["objective"])}, scale)


class PartialFitMixin:
    """Mixin that adds `partial_fit` to models of the squared error; precedes `BaseNMF` among the bases.

    `_statistics` summarises the batches so far; its size does not depend on the number of rows.
    """

    def partial_fit(self, X, y=None):
        """Add the rows of X to the statistics, and update the components once.

        The first call on a model that is not fitted computes the start from X. `fit` keeps no data: after it, the
        model's approximation replaces the rows of `fit`. `W_` belongs to the rows of `fit` and is removed.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            The data cannot be used or have another number of features, or the loss is not the squared error.
        """
        return self._partial_fit(X, None)

    def _finish(self, data, *rest):
        super()._finish(data, *rest)
        self._fitted_rows = data.stratum_index if data.row_scale is None else None, data.log4_scale
        self._delete_attributes("_statistics", "n_steps_")

    def _check_batches(self):
        """Raise if a parameter has a value that `partial_fit` does not support."""
        self._check_parameters()
        if getattr(self, "solver", "hals") == "mu" or getattr(self, "beta_loss", "frobenius") not in ("frobenius", 2):
            raise ValueError("Batches need the squared error and coordinate descent; leave out solver and beta_loss.")
        unused = {"strata_weight": "rows", "alpha_H": "same"}  # values without effect; those of the others are falsy
        for name in _NOT_IN_BATCHES:
            value = getattr(self, name, None)
            if value is not None and value is not False and value != 0 and value != unused.get(name):
                raise ValueError(f"{name}={value!r} is not supported for batches; leave it out.")
        if self.init is not None and start_from_init(self.init) is None and self.init not in STARTS:
            expected = ", ".join(repr(name) for name in STARTS)
            raise ValueError(f"init={self.init!r} cannot be computed from a first batch; expected one of {expected}.")

    def _partial_fit(self, X, strata):
        self._check_batches()
        is_first, statistics = not hasattr(self, "components_"), getattr(self, "_statistics", None)
        with threads(self.n_threads):
            data = self._batch(X, strata, () if is_first else getattr(self, "strata_", ()), reset=is_first)
            if statistics is None and not is_first:
                statistics = self._statistics_of_fit(data)
            elif statistics is not None and statistics.rank != self._rank(data.shape[1], None):
                raise ValueError(
                    f"n_components={self.n_components!r}, but the model has {statistics.rank} components; call fit to "
                    "begin anew."
                )
            # A batch that is rejected or interrupted leaves the model unchanged.
            self._statistics = self._learn(None if statistics is None else statistics.copy(), data)
        self.n_steps_ = getattr(self, "n_steps_", 0) + 1
        self._delete_attributes("W_", "row_strata_")
        self._show()
        return self

    def _batch(self, X, strata, known, *, reset):
        """Validate a batch.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), or None
            Label of each row.
        known : ndarray (n_strata,), or ()
            Labels of the strata so far.
        reset : bool
            Whether this is the first batch, which sets the number and the names of features.

        Returns
        -------
        Strata
        """
        X = self._validated(X, reset=reset)
        if strata is None and len(known) > 1:
            raise ValueError(f"This model has {len(known)} strata; pass strata=, one label a row.")
        return Strata.from_array(X, strata, labels=known if strata is None and len(known) == 1 else None)

    def _learn(self, statistics, data, *, is_new=True):
        """Add a batch to the statistics and return them; None starts new ones from this batch."""
        if statistics is None:
            statistics = self._empty(data.shape[1]).start(data, *self._draw(data))
        elif statistics.sq_norm == 0 and data.sq_norm > 0:
            statistics.restart(data, *self._draw(data))
        statistics.visit(batches.Batch(data, is_new=is_new))
        return statistics

    def _draw(self, data):
        start = start_from_init(self.init)
        if start is not None:
            return self._start_from(data, self._rank(data.shape[1], None), start)[1:3]
        rng = generator(self.random_state)
        return STARTS[self.init or "features"](data, self._rank(data.shape[1], None), rng, has_shifts=self._has_shifts)[
            1:
        ]

    def _empty(self, n_columns):
        """Return empty statistics."""
        sweeps = (3, 3, 1) if self.sweeps == "thorough" else tuple(self.sweeps)
        sweeps = sweeps if len(sweeps) == 3 else (sweeps[0], 1, sweeps[1])
        kind = batches.StrataStatistics if self._has_shifts else batches.Statistics
        return kind(self._rank(n_columns, None), sweeps, getattr(self, "forget_factor", 1.0))

    def _statistics_of_fit(self, data):
        """Return the statistics of the model's approximation of the rows of `fit`; `data` is the next batch."""
        stratum_index, exponent = getattr(self, "_fitted_rows", (None, 0))
        W = getattr(self, "W_", None)
        if stratum_index is None or W is None or len(stratum_index) != len(W):
            raise ValueError(
                "partial_fit after fit needs W_ of that fit and no weights of rows; call fit without weights first."
            )
        data = data.in_scale(self.components_.dtype, exponent)
        no_shifts = np.zeros(len(data.pattern.group)) if self._has_shifts else None  # until `set_from_model` sets them
        statistics = self._empty(data.shape[1]).start(data, scaled(self.components_.T, exponent), no_shifts)
        error = float(np.ldexp(float(self.reconstruction_err_), 2 * exponent)) ** 2
        shifts = (self.strata_, scaled(self.shifts_, 2 * exponent), stratum_index) if self._has_shifts else None
        return batches.set_from_model(statistics, scaled(W, exponent), error, shifts)

    def _show(self):
        """Set the fitted attributes from the statistics."""
        statistics = self._statistics
        self.components_ = statistics.components()
        self.n_components_ = self._n_components = statistics.rank
        if self._has_shifts:
            self.shifts_, self.strata_ = statistics.shifts(), statistics.labels
            self.stratum_sizes_ = statistics.sizes.copy()
        self.normalized_loss_ = float(normalized(statistics.value, statistics.sq_norm))
        self.reconstruction_err_ = float(np.ldexp(np.sqrt(statistics.value), -2 * statistics.log4_scale))

    def _delete_attributes(self, *names):
        for name in names:
            self.__dict__.pop(name, None)


class StratifiedPartialFitMixin(PartialFitMixin):
    """Mixin that adds `partial_fit` to models with strata."""

    __metadata_request__partial_fit = {"strata": True}

    def partial_fit(self, X, y=None, *, strata=None):
        """Add the rows of X to the statistics, and update the shifts and the components once.

        The first call on a model that is not fitted computes the start from X. `fit` keeps no data: after it, the
        model's approximation replaces the rows of `fit`. `W_` belongs to the rows of `fit` and is removed.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite.
        y : ignored
        strata : array-like (n_samples,), default=None
            Label of each row. New labels become new strata; `strata_` stays sorted, so the rows of `shifts_` may change
            their positions. May be omitted for a model of one stratum.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            The data or labels cannot be used, the number of features is another one, or the loss is not the squared
            error.
        """
        return self._partial_fit(X, strata)
