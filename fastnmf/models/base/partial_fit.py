"""Learn from one batch of rows after another: `partial_fit`, and the parts that fits over blocks of rows share.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from __future__ import annotations

import numbers
from dataclasses import replace
from typing import Any, Self

import numpy as np

from fastnmf.core import batches
from fastnmf.core.init.start_from import start_from_init
from fastnmf.core.iterate import normalized
from fastnmf.data.annotated import with_labels
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.nmf import scaled, warn_of_one_penalty
from fastnmf.typing import Floats, Matrix

STARTS = ("features", "rows", "random", "nndsvd")  # those that a batch is enough for
_NOT_IN_BATCHES = ("alpha_V", "fixed_components", "seed_features", "strata_weight")
_NOT_IN_BATCHES += ("gauge", "normalize", "missing_values", "penalties")
_WITHOUT_EFFECT = {"strata_weight": "rows"}  # such values of the others are falsy


class PartialFitMixin:
    """Mixin that adds `partial_fit` to models of the squared error; precedes `BaseNMF` among the bases.

    `_statistics` summarises the batches so far; its size does not depend on the number of rows.
    """

    components_: Floats
    n_components_: int
    n_steps_: int

    def partial_fit(self, X: Matrix, y: Any = None) -> Self:
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

    def _set_factors(self, data, fit, options):
        super()._set_factors(data, fit, options)
        self._fitted_rows = data.stratum_index if data.row_scale is None else None, data.log4_scale
        self._delete_attributes("_statistics", "n_steps_")

    def _options_of_batches(self, method="partial_fit"):
        """Return the `Options` of `method`; raise if a parameter has a value that it does not support."""
        options, parameters = self._checked_options(), self.get_params(deep=False)
        if options.is_multiplicative or not options.is_squared:
            raise ValueError("Batches need the squared error and coordinate descent; leave out solver and beta_loss.")
        for name in _NOT_IN_BATCHES:
            value = parameters.get(name)
            is_plain = isinstance(value, (str, numbers.Real))
            if value is not None and not (is_plain and (not value or value == _WITHOUT_EFFECT.get(name))):
                raise ValueError(f"{name}={value!r} is not supported for batches; leave it out.")
        if options.init is not None and start_from_init(options.init) is None and options.init not in STARTS:
            expected = ", ".join(repr(name) for name in STARTS)
            raise ValueError(
                f"init={options.init!r} cannot be computed from a first batch; expected one of {expected}."
            )
        if options.n_init > 1:
            raise ValueError(
                f"n_init={options.n_init} asks for several starts, and {method} has one: the first batch; set n_init=1."
            )
        return options

    def _partial_fit(self, X, strata):
        options = replace(self._options_of_batches(), warm_start=False)  # it goes on without: this is for a start
        is_first, statistics = not hasattr(self, "components_"), getattr(self, "_statistics", None)
        with threads(options.n_threads):
            data = self._batch(X, strata, () if is_first else getattr(self, "strata_", ()), reset=is_first)
            if statistics is not None:
                statistics = statistics.copy()  # a batch that is rejected or interrupted leaves the model unchanged
            else:
                statistics = self._started(data, options) if is_first else self._statistics_of_fit(data)
            if options.n_components not in ("auto", None, statistics.rank):
                raise ValueError(
                    f"n_components={self.n_components!r}, but the model has {statistics.rank} components; call fit to "
                    "begin anew."
                )
            statistics.nets = self._nets(options)
            self._learn(statistics, data, options)
        self._statistics, self.n_steps_ = statistics, getattr(self, "n_steps_", 0) + 1
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
        X, strata = with_labels(X, strata)
        X = self._validated(X, reset=reset, is_fitted=hasattr(self, "components_"))
        if strata is None and len(known) > 1:
            raise ValueError(f"This model has {len(known)} strata; pass strata=, one label a row.")
        return Strata.from_array(X, strata, labels=known if strata is None and len(known) == 1 else None)

    def _started(self, data, options):
        """Return statistics at the start that is computed from a first batch."""
        warn_of_one_penalty(options)
        return self._empty(self._rank(data, {}, options)).start(data, *self._draw(data, options))

    def _learn(self, statistics, data, options, *, is_new=True):
        """Add a batch to the statistics, in place; if all rows before were zero, start anew from this batch.

        Parameters
        ----------
        statistics : Statistics
        data : Strata
            The batch.
        options : Options
        is_new : bool, default=True
            Whether the rows have not been counted yet.
        """
        if statistics.n_rows > 0 and statistics.sq_norm == 0 and data.sq_norm > 0:
            statistics.restart(data, *self._draw(data, options))
        statistics.visit(batches.Batch(data, is_new=is_new))

    def _draw(self, data, options):
        return self._start(data, self._rank(data, {}, options), {}, options, options.random_state)[1:3]

    def _empty(self, rank):
        """Return empty statistics."""
        sweeps = (3, 3, 1) if self.sweeps == "thorough" else tuple(self.sweeps)
        sweeps = sweeps if len(sweeps) == 3 else (sweeps[0], 1, sweeps[1])
        kind = batches.StrataStatistics if self._has_shifts else batches.Statistics
        return kind(rank, sweeps, getattr(self, "forget_factor", 1.0), self._nets(self._options()))

    def _nets(self, options):
        return options.W.alpha, options.H.alpha, self.l1_ratio

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
        statistics = self._empty(len(self.components_)).start(data, scaled(self.components_.T, exponent), no_shifts)
        error = float(np.ldexp(float(self.reconstruction_err_), 2 * exponent)) ** 2
        shifts = (self.strata_, scaled(self.shifts_, 2 * exponent), stratum_index) if self._has_shifts else None
        return batches.set_from_model(statistics, scaled(W, exponent), error, shifts)

    def _show(self):
        """Set the fitted attributes from the statistics."""
        statistics = self._statistics
        self.components_ = statistics.components()
        self.n_components_ = self._n_components = statistics.rank
        if self._has_shifts:
            sizes = statistics.sizes.copy()
            vars(self).update(shifts_=statistics.shifts(), strata_=statistics.labels, stratum_sizes_=sizes)
        self.normalized_loss_ = float(normalized(statistics.value, statistics.sq_norm))
        self.reconstruction_err_ = float(np.ldexp(np.sqrt(statistics.value), -2 * statistics.log4_scale))

    def _delete_attributes(self, *names):
        for name in names:
            self.__dict__.pop(name, None)
