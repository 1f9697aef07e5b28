"""Learn from one batch of rows after another: `partial_fit`, and the parts that fits over blocks of rows share.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from __future__ import annotations

import numbers
from dataclasses import replace
from typing import Any, Self

import numpy as np

from fastnmf.core import batches, ratio_batches
from fastnmf.core.design_batches import DesignRatioStatistics, DesignStatistics, set_from_design
from fastnmf.core.factors import scaled
from fastnmf.core.init.start_from import start_from_init
from fastnmf.core.iterate import normalized
from fastnmf.core.warn import warn_of_one_penalty
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.annotated import check_index, with_labels, with_layer
from fastnmf.data.design import HasDesign
from fastnmf.data.sentences import shown
from fastnmf.kernels.jit import threads
from fastnmf.typing import Floats, Matrix

STARTS = (None, "auto", "features", "rows", "random", "nndsvd")  # those that a batch is enough for
_NOT_IN_BATCHES = ("alpha_V", "fixed_components", "seed_features", "strata_weight")
_NOT_IN_BATCHES += ("gauge", "normalize", "missing_values", "penalties")
_WITHOUT_EFFECT = {"strata_weight": "rows"}  # such values of the others are falsy


class PartialFitMixin:
    """Mixin that adds `partial_fit` to models of the squared error; precedes `BaseNMF` among the bases.

    `_statistics` summarises the batches so far; its size does not depend on the number of rows.

    Attributes
    ----------
    _has_ratios : bool
        Whether batches may have divergences and missing values; see `fastnmf.core.ratio_batches`.
    _not_in_batches, _batch_starts : tuple of str
        Parameters that batches do not support, and values of `init` that they do.
    """

    _has_ratios, _not_in_batches, _batch_starts = False, _NOT_IN_BATCHES, STARTS

    components_: Floats
    n_components_: int
    n_steps_: int

    def partial_fit(self, X: Matrix, y: Any = None, *, layer: str | None = None) -> Self:
        """Add the rows of X to the statistics, and update the components once.

        The first call on an unfitted model computes the start from X. `fit` keeps no data: after it, the
        model's approximation replaces the rows of `fit`. `W_` belongs to the rows of `fit` and is removed.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite.
        y : ignored
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; None: the one of the first call.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            The data cannot be used or have a different number of features, or the loss is not the squared error.
        """
        return self._partial_fit(with_layer(X, layer))

    def _set_factors(self, data, fit, options):
        super()._set_factors(data, fit, options)
        index = getattr(data, "stratum_index", None)  # a design has none
        self._fitted_rows = index if data.row_scale is None else None, data.log4_scale
        self._delete_attributes("_statistics", "n_steps_")

    def _options_of_batches(self, method="partial_fit"):
        """Return the `Options` of `method`; raise if a parameter has a value that it does not support."""
        options = self._checked_options()
        if not self._has_ratios and (options.is_multiplicative or not options.is_squared):
            raise ValueError(
                "Batches need the squared error and coordinate descent here; leave out solver and beta_loss, or use "
                "MiniBatchNMF or MiniBatchStratifiedNMF."
            )
        for name in self._not_in_batches:
            value = getattr(self, name, None)
            is_plain = isinstance(value, (str, numbers.Real))
            if value is not None and not (is_plain and (not value or value == _WITHOUT_EFFECT.get(name))):
                raise ValueError(f"{name}={shown(value)} is not supported for batches; leave it out.")
        if start_from_init(options.init) is None and options.init not in self._batch_starts:
            expected = ", ".join(repr(name) for name in self._batch_starts if name)
            raise ValueError(
                f"init={shown(options.init)} cannot be computed from a first batch; expected one of {expected}."
            )
        if options.n_init > 1:
            raise ValueError(
                f"n_init={options.n_init} requests several starts, but {method} has only one: the first batch; set "
                "n_init=1."
            )
        return options

    def _partial_fit(self, X, strata=None, **given):
        options = replace(self._options_of_batches(), warm_start=False)  # it continues without: this is for a start
        is_first, statistics = not hasattr(self, "components_"), getattr(self, "_statistics", None)
        with threads(options.n_threads):
            known = () if is_first else getattr(self, "strata_", ())
            data = self._batch(
                X, strata, known, options, reset=is_first, sample_weight=given.pop("sample_weight", None)
            )
            if statistics is not None:
                statistics = statistics.copy()  # a batch that is rejected or interrupted leaves the model unchanged
            else:
                statistics = self._started(data, options, given) if is_first else self._statistics_of_fit(data)
            if options.n_components not in ("auto", None, statistics.rank):
                raise ValueError(
                    f"n_components={shown(self.n_components)}, but the model has {statistics.rank} components; call "
                    "fit to start over."
                )
            is_ratio = self._has_ratios and options.is_multiplicative
            if hasattr(statistics, "numerators") != is_ratio or statistics.loss.degree != options.beta:
                raise ValueError(
                    f"{options.loss_given} or missing_values need statistics of the earlier rows that the model does "
                    "not have; restore both, or call fit to start over."
                )
            statistics.nets, statistics.forget_factor = self._nets(options), getattr(self, "forget_factor", 1.0)
            statistics.hold_shifts(options.sparse_shifts)
            self._smooth(statistics)
            self._learn(statistics, data, options)
        self._statistics, self.n_steps_ = statistics, getattr(self, "n_steps_", 0) + 1
        self._delete_attributes("W_", "row_strata_", "row_names_", "_fitted_sums")
        self._show(options)
        return self

    def _smooth(self, statistics):
        """Give the statistics the present smoothness of shifts."""
        smoothness = getattr(self, "smoothness", 0.0)
        if hasattr(statistics, "smoothness"):
            statistics.smooth(smoothness)
        elif smoothness:
            raise ValueError(
                f"smoothness={shown(smoothness)} was 0 when the model learned the earlier rows, whose statistics lack "
                "what it needs; restore it, or call fit to start over."
            )

    def _batch(self, X, strata, known, options, *, reset, sample_weight=None):
        """Validate a batch.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), or None
            Label of each row.
        known : ndarray (n_strata,), or ()
            Labels of the strata so far.
        options : Options
        reset : bool
            Whether this is the first batch, which sets the number and the names of features.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        Strata
        """
        check_index(X, sample_weight=sample_weight)
        X, strata = with_labels(X, strata)
        X = self._validated(X, reset=reset, is_fitted=hasattr(self, "components_"))
        if strata is None and len(known) > 1:
            raise ValueError(f"This model has {len(known)} strata; pass strata=, one label per row.")
        labels = known if strata is None and len(known) == 1 else None
        return self._weighed(X, {"strata": strata, "sample_weight": sample_weight}, options, labels)

    def _started(self, data, options, given=None):
        """Return statistics at the start: computed from a first batch, or W, H and V in `given`."""
        warn_of_one_penalty(options)
        given = given or {}
        if options.init == "custom" and given.get("W") is None and given.get("H") is not None:  # W is found for H
            given = given | {"W": np.zeros((data.shape[0], len(given["H"])))}
        rank = self._rank(data, given, options)
        statistics = self._empty(rank, options, isinstance(data, HasDesign))
        return statistics.start(data, *self._draw(data, options, given))

    def _learn(self, statistics, data, options, *, is_new=True):
        """Add a batch to the statistics, in place; if all rows before were zero, start over from this batch.

        Parameters
        ----------
        statistics : Statistics
        data : Strata
            The batch.
        options : Options
        is_new : bool, default=True
            Whether the rows have not been counted yet.
        """
        if isinstance(data, HasDesign) != hasattr(statistics, "learned"):
            kinds = ["one label a row, or none", "a design (several factors, design=, exposure= or smoothness=)"]
            now = isinstance(data, HasDesign)
            raise ValueError(
                f"These rows have {kinds[now]}, but the rows before had {kinds[not now]}; give all batches the same."
            )
        if statistics.n_rows > 0 and statistics.sq_norm == 0 and data.sq_norm > 0:
            statistics.restart(data, *self._draw(data, options))
        statistics.visit(batches.Batch(data, is_new=is_new))

    def _draw(self, data, options, given=None):
        given = given or {}
        return self._start(data, self._rank(data, given, options), given, options, options.random_state)[1:3]

    def _empty(self, rank, options, is_designed=False):
        """Return empty statistics.

        Parameters
        ----------
        rank : int
        options : Options
        is_designed : bool, default=False
            Whether rows have shifts by a design.
        """
        sweeps = (3, 3, 1) if self.sweeps == "thorough" else tuple(self.sweeps)
        sweeps = sweeps if len(sweeps) == 3 else (sweeps[0], 1, sweeps[1])
        more = sweeps, getattr(self, "forget_factor", 1.0), self._nets(options), getattr(self, "fresh_restarts", False)
        if self._has_ratios and options.is_multiplicative:
            kind = ratio_batches.StrataRatioStatistics if self._has_shifts else ratio_batches.RatioStatistics
            kind = DesignRatioStatistics if is_designed else kind
            found = kind(rank, *more, options.beta, self.fresh_restarts_max_iter)
        elif is_designed:
            found = DesignStatistics(rank, *more)
            found.smooth(self.smoothness)
        else:
            found = (batches.StrataStatistics if self._has_shifts else batches.Statistics)(rank, *more)
        found.hold_shifts(options.sparse_shifts)
        return found

    def _nets(self, options):
        return options.W.alpha, options.H.alpha, self.l1_ratio

    def _statistics_of_fit(self, data):
        """Return the statistics of the model's approximation of the rows of `fit`; `data` is the next batch."""
        stratum_index, exponent = getattr(self, "_fitted_rows", (None, 0))
        W, of_rows = getattr(self, "W_", None), getattr(self, "_fitted_sums", None)
        if of_rows is None and (stratum_index is None or W is None or len(stratum_index) != len(W)):
            raise ValueError(
                "partial_fit after fit needs W_ of that fit and no weights of rows; call fit without weights first."
            )
        data = data.in_scale(self.components_.dtype, exponent)
        no_shifts = np.zeros(len(data.pattern.group)) if self._has_shifts else None  # until `set_from_model` sets them
        statistics = self._empty(len(self.components_), self._options(), isinstance(data, HasDesign)).start(
            data, scaled(self.components_.T, exponent), no_shifts
        )
        error = float(np.ldexp(float(self.reconstruction_err_), 2 * exponent)) ** 2
        shifts = None
        if self._has_shifts:
            V = shift_arrays.mapped(shift_arrays.as_read(self.shifts_), lambda v: scaled(v, 2 * exponent))
            if of_rows is not None:
                return set_from_design(statistics, error, self._fitted_design(), V, of_rows)
            shifts = self.strata_, V, stratum_index
        return batches.set_from_model(statistics, scaled(W, exponent), error, shifts)

    def _show(self, options):
        """Set the fitted attributes from the statistics."""
        statistics = self._statistics
        self.components_ = statistics.components()
        self.n_components_ = self._n_components = statistics.rank
        if self._has_shifts:
            vars(self).update(self._attributes_of_statistics(statistics))
        self.normalized_loss_ = float(normalized(statistics.value, statistics.scale))
        exponent = -2 * statistics.log4_scale
        self.reconstruction_err_ = float(self._reconstruction_error(statistics.value, exponent, options))

    def _attributes_of_statistics(self, statistics):
        """Return the attributes of the shifts and the strata."""
        sizes = statistics.sizes.copy()
        return {"shifts_": statistics.shifts(), "strata_": statistics.labels, "stratum_sizes_": sizes}

    def _delete_attributes(self, *names):
        for name in names:
            self.__dict__.pop(name, None)
