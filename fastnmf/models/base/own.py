"""Components that belong to one stratum: parameters, the fit, the weights of new rows, what is refused.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, weights and components by ``2 ** log4_scale``, shifts
by ``4 ** log4_scale``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.core import own
from fastnmf.core.alternate import AlternatingSolver, balancing_powers, times_powers
from fastnmf.core.factors import scaled, scaled_for
from fastnmf.core.init.own import (
    POSITIVE_SHARE,
    OwnWeights,
    division,
    own_factors,
    start_divided,
    start_own,
    start_own_positive,
)
from fastnmf.core.init.start_from import start_from_init
from fastnmf.core.iterate import iterate
from fastnmf.core.losses.own_designs import DESIGN_KINDS
from fastnmf.core.objectives import own_divergence_problem, own_problem
from fastnmf.core.options import generator, number, one_of, optional
from fastnmf.core.remote import ChunkedStrata
from fastnmf.core.row_errors import explained_share, row_divergences
from fastnmf.core.shifts import apply_gauge
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.annotated import check_index, with_labels
from fastnmf.data.design import HasDesign
from fastnmf.data.labels import encode_labels, places, values_of
from fastnmf.data.levels import RowsOfDesign
from fastnmf.data.ondisk import DiskCSR
from fastnmf.data.sentences import shown
from fastnmf.kernels.jit import threads
from fastnmf.models.base import own_chunks
from fastnmf.models.base.auto_start import is_free
from fastnmf.models.base.designs import move_least_levels
from fastnmf.models.base.estimator import without_zeros
from fastnmf.models.base.for_checkers import StrataFeatures
from fastnmf.models.base.inspection import divergences_of_rows, open_data
from fastnmf.models.base.own_arrays import balanced_own, held_shifts, pooled, rows_times_powers, stacked
from fastnmf.models.base.own_given import FREE_ONLY, TAKEN, check_n_own, check_rows, numbers_of, own_sizes
from fastnmf.models.base.top_features import strongest
from fastnmf.typing import Groups, Matrix, Names, Ranking, Vector

MOST_JOINT, JOINT_ITERATIONS = 2, 20
PENALTY, TIED_PENALTY = 0.1, 5.0  # of own components beside the shared ones, and of LIGER
COUNTS_PENALTY = 0.05  # under Kullback-Leibler: of 0, 0.05, 0.1 and 0.3 it found most (`bench/own.py --counts`)


class OwnComponentsMixin:
    """Mixin that gives a model of strata components of single strata; precedes all others among the bases.

    Without them (``n_own=0``, ``own=None``) every method is that of the next class.
    """

    _constraints = {
        "n_own": check_n_own,
        "own_penalty": optional(number("None or a number >= 0")),
        "own": one_of(None, "tied"),
        "shifts": one_of(True, False, "common"),
    }

    # ---------------------------------------------------------------- parameters

    @property
    def _fits_own(self):
        """Whether a fit with the present parameters has own components."""
        return self.own is not None or any(numbers_of(self.n_own))

    @property
    def _has_own(self):
        """Whether the fitted model has own components."""
        return "_own_stack" in vars(self)

    def _check_options(self, options):
        super()._check_options(options)
        if not self._fits_own:
            if self.shifts is not True:
                raise ValueError(
                    f"shifts={self.shifts!r} needs own components (n_own, own); without them use NMF, which has no "
                    "shifts, or AffineNMF, which has one for all rows."
                )
            return
        is_free = self.own is None and self.shifts is True
        for name, taken in (TAKEN if is_free else TAKEN | FREE_ONLY).items():
            value = getattr(self, name)
            if not any(value is one or (type(value) is not bool and value == one) for one in taken):
                raise ValueError(
                    f"{name}={shown(value)} is not supported with own components (n_own={shown(self.n_own)}, "
                    f"own={self.own!r}, shifts={self.shifts!r}); leave it out, or set n_own=0 and own=None."
                )
        if self.own == "tied" and self.n_own != 0:
            raise ValueError(
                f"n_own={shown(self.n_own)} was given with own='tied', where each stratum has as many own components "
                "as there are shared ones; leave n_own out, or set own=None."
            )

    @property
    def _penalty(self):
        default = TIED_PENALTY if self.own == "tied" else PENALTY
        default = default if self._options().is_squared else COUNTS_PENALTY
        return default if self.own_penalty is None else float(self.own_penalty)

    # ---------------------------------------------------------------- the fit

    def _data(self, X, given, options):
        check_rows(self, given, not isinstance(X, DiskCSR))
        data = super()._data(X, given, options)
        if self._fits_own and getattr(data, "entry_weights", None) is not None:
            raise ValueError(
                "Own components (n_own, own) need all entries, but weights of entries were given; leave weight out, or "
                "set n_own=0 and own=None."
            )
        return data

    def _solver(self, data, given, options, random_state):
        if not self._fits_own:
            return super()._solver(data, given, options, random_state)
        options = replace(options, random_state=random_state)  # the start of own components draws, too
        if isinstance(data, ChunkedStrata):
            return own_chunks.solver(self, data, given, options)
        if not self._starts_jointly(data, given, options):
            return super()._solver(data, given, options, random_state)
        joint = self._joint_solver(data, given, options)
        W, H = (joint.factors[name][:, : joint.factors.rank].astype(np.float64) for name in "WH")
        sizes = own_sizes(self, data, self._rank(data, given, options))
        groups = data.own.groups
        stratum_of = division(groups.sum(np.ascontiguousarray(W**2)), groups.sizes, sizes)
        start = W[:, stratum_of < 0], H[:, stratum_of < 0], np.zeros(len(data.pattern.group)), None
        return self._alternate(data, start, given, options, joint.level, (stratum_of, W, H))

    def _start_shifts(self, data, v):
        """Return shifts (q,) at which a fit starts as `shifts` says: all, one for all strata, or none."""
        return v if self.shifts is True else 0 * v if self.shifts is False else pooled(data, v)

    def _starts_jointly(self, data, given, options):
        """Tell whether the start is a short fit of all components as shared ones, which are then divided."""
        rank = self._rank(data, given, options)
        n_own = int(own_sizes(self, data, rank).sum())
        is_given = not is_free(self, given, options) or start_from_init(options.init) is not None
        is_hard = n_own > MOST_JOINT * rank or rank + n_own > min(data.shape)
        return not (self.own == "tied" or is_given or options.H.fixed is not None or is_hard)

    def _joint_solver(self, data, given, options):
        """Return the solver of a model without strata that has as many components as this one in all, after its fit."""
        rank, plain = self._rank(data, given, options), self._without_own()
        plain._has_shifts, plain.n_components = False, int(rank + own_sizes(self, data, rank).sum())
        options = replace(options, n_components=plain.n_components)
        solver = super(OwnComponentsMixin, plain)._solver(data, given, options, options.random_state)
        iterate(solver, max_iter=JOINT_ITERATIONS, tol=0.0)
        return solver

    def _without_own(self):
        """Return a copy that fits shared components and shifts only."""
        plain = copy.copy(self)
        plain.n_own, plain.own, plain.shifts = 0, None, True
        return plain

    def _level_start(self, level, data, rank, given, options, random_state):
        next_in_line = super(OwnComponentsMixin, self._without_own() if self._fits_own else self)
        return next_in_line._level_start(level, data, rank, given, options, random_state)

    def _alternate(self, data, start, given, options, level=None, parts=None):
        if not self._fits_own:
            return super()._alternate(data, start, given, options, level)
        W, H, v, _ = start
        H, free_mask, guide = self._fix_components(data, options, H)
        sizes = self._sizes_of_fit(data, W.shape[1])
        if options.is_multiplicative and isinstance(data, HasDesign) and parts is None:
            v = data.positive_shifts(v)
        factors, tasks = own_factors(data, W, H, self._start_shifts(data, v), sizes, is_tied=self.own == "tied")
        problem = self._own_problem(data, factors, tasks, sizes, options)
        self._constrain(data, problem, factors, options, free_mask=free_mask, guide=guide)
        weights = OwnWeights(problem, factors, self._extrapolation(factors, tasks, options))
        self._start_own(data, weights, options, parts)
        return AlternatingSolver(problem, factors, self._extrapolation(factors, tasks, options), None, level)

    def _sizes_of_fit(self, data, rank):
        """Return the number of own components of each stratum, and raise where there are none."""
        sizes = own_sizes(self, data, rank)
        if not sizes.any():
            raise ValueError(f"n_own={shown(self.n_own)} gives no stratum of these data a component; set n_own=0.")
        return sizes

    def _start_own(self, data, weights, options, parts=None):
        """Write the start of own components into the factors of their weights, in place.

        Parameters
        ----------
        data : Strata
        weights : OwnWeights
        options : Options
        parts : tuple, default=None
            The division, W and H of a joint fit, as `start_divided` takes them.
        """
        is_positive = options.is_multiplicative
        if parts is not None:
            later = self._start_shifts(data, POSITIVE_SHARE * data.stratum_means()) if is_positive else None
            start_divided(weights, *parts, later)
        elif not (self._goes_on(options) and self._continue_own(data, weights, is_positive)):
            (start_own_positive if is_positive else start_own)(weights, generator(options.random_state))

    def _own_problem(self, data, factors, tasks, sizes, options, **kinds):
        """Return the problem of a fit with own components.

        Parameters
        ----------
        data : Strata
        factors, tasks :
            As `fastnmf.core.init.own.own_factors` returns them.
        sizes : ndarray (n_strata,) of int
            Number of own components of each stratum.
        options : Options
        **kinds :
            Other classes of losses than those of rows that are here.
        """
        is_designed = isinstance(data, HasDesign)
        kinds |= {"kinds": DESIGN_KINDS} if is_designed else {}
        kind = {"penalty": self._penalty, "is_tied": self.own == "tied", "shifts": self.shifts} | kinds
        if not options.is_squared:
            return own_divergence_problem(data, factors, tasks, sizes, **kind)
        if options.is_multiplicative:
            schedule = (("G", self.n_shift_updates), ("W", 1), ("H", 1))
            return own_problem(data, factors, tasks, schedule, sizes, is_descent=False, **kind)
        of_W, alternations, of_H = (3, 3, 1) if self.sweeps == "thorough" else self.sweeps
        of_G = (("G", 2), ("V", 1)) if is_designed else (("G", 2),)
        schedule = (("W", of_W),) + (*of_G, ("H", of_H)) * alternations + (("G", 1),)
        return own_problem(data, factors, tasks, schedule, sizes, **kind)

    def _continue_own(self, data, weights, is_positive):
        """Write the own components of the last fit, and their weights, into the factors; tell whether there are any.

        Parameters
        ----------
        data : Strata
        weights : OwnWeights
            Its factors are changed in place.
        is_positive : bool
            Whether the updates cannot leave a zero.
        """
        factors, loss = weights.factors, weights.problem.losses[0]
        if not self._has_own or self._is_tied != (self.own == "tied"):
            return False
        before, U = self._own_parts(data), None
        known = places(data.labels, self.strata_)
        if not self._is_tied and len(getattr(self, "W_", ())) == data.shape[0]:
            U = scaled(own.spread_weights(self.own_W_, self.n_own_, self.row_strata_), data.log4_scale)
            U = U if data.row_scale is None else U * data.row_scale[:, None]
        found = np.zeros((data.shape[0], loss.n_own), data.dtype) if U is not None else None
        for code, last in enumerate(known.tolist()):
            G, entries = before.of(last)[: loss.sizes[code]] if last >= 0 else (), loss.entries_of(code)
            if len(G):
                G = without_zeros(G) if is_positive else G
                factors["G"][entries, 1 : 1 + len(G)] = G.T[loss.pattern.column[entries]]
                if U is not None:
                    chosen = data.stratum_index == code
                    of_rows = without_zeros(U[chosen, : len(G)]) if is_positive else U[chosen, : len(G)]
                    found[chosen, : len(G)] = of_rows
        factors.invalidate("G")
        if found is not None:
            weights.put(found)
        return True

    def _arrays(self, data, solver):
        if not self._fits_own or "G" not in solver.factors.arrays:
            return super()._arrays(data, solver)
        factors, half = solver.factors, -data.log4_scale
        W = self._unscaled_W(data, scaled(np.ascontiguousarray(factors.gathered("W")), half))
        H = scaled(np.ascontiguousarray(factors["H"][:, : factors.rank].T), half)
        V = held_shifts(solver.problem.losses[0], factors)
        return W, H, shift_arrays.mapped(V, lambda v: scaled(v, 2 * half))

    def _set_factors(self, data, fit, options):
        if not self._fits_own:
            super()._set_factors(data, fit, options)
            return
        factors, loss, half = fit.factors, fit.problem.losses[0], -data.log4_scale
        rank, is_tied = factors.rank, self.own == "tied"
        H = np.ascontiguousarray(factors["H"][:, :rank].T)
        V, stack = self._final_own(data, fit, H, options)
        W, U = own_chunks.weights_kind(data)(fit.problem, factors).found(data)
        is_free = not fit.problem.free_mask
        fit.problem.release()
        if not is_tied:  # in the inner scale, where no square overflows
            U, stack = balanced_own(own.unscaled_weights(U, data.row_scale, 0), stack)
        W, H = self._unscaled_W(data, scaled(W, half)), scaled(H, half)
        V, stack = (shift_arrays.mapped(F, lambda f, e=e: scaled(f, e)) for F, e in ((V, 2 * half), (stack, half)))
        if options.gauge and (options.gauge != "min_shift" or options.is_multiplicative):
            W, V = apply_gauge(W, H, V, data.stratum_index, options.gauge)
        if is_free:
            powers = balancing_powers(W, H, data.weight)
            W, H = times_powers(W, powers), times_powers(H, -powers[:, None])
            stack = rows_times_powers(stack, -np.tile(powers, len(loss.sizes))) if is_tied else stack
        found = {"n_components_": rank, "_n_components": rank, "W_": W, "components_": H}
        found["n_revived_"] = fit.solver.n_reseeded
        vars(self).update(found | self._attributes_of_strata(data), shifts_=V, n_own_=loss.sizes, _own_stack=stack)
        self._delete_attributes("own_W_", "_statistics", "n_steps_", "_fitted_rows", "_fitted_sums")
        vars(self).update({} if is_tied else {"own_W_": shift_arrays.mapped(U, lambda u: scaled(u, half))})

    def _final_own(self, data, fit, H, options):
        """Return the shifts and the own components of a fit, after all weights have been solved for exactly.

        That is done after coordinate descent, as `transform` does it.

        Parameters
        ----------
        data : Strata
        fit : Fit
            Its factors and the last entry of its history are changed.
        H : ndarray (k, n_columns)
        options : Options

        Returns
        -------
        V, stack : ndarray or csr_array (n_strata, n_columns), (sum of sizes, n_columns)
            In the inner scale.
        """
        factors, loss, problem = fit.factors, fit.problem.losses[0], fit.problem
        move_least_levels(data, fit, options)
        V = held_shifts(loss, factors)
        if options.is_multiplicative:
            return V, stacked(factors["G"][:, 1:], loss.pattern, loss.sizes)
        if options.gauge == "min_shift":  # a smaller shift leaves more of the data to W
            V = apply_gauge(np.zeros((data.shape[0], len(H))), H, V, data.stratum_index, options.gauge)[1]
            factors["G"][:, 0] = data.pattern.entries(V)
            factors.invalidate("G")
        stack = stacked(factors["G"][:, 1:], loss.pattern, loss.sizes)
        parts = own.OwnParts(loss.sizes, shift_arrays.as_read(stack), loss.penalty, self.own == "tied")
        weights = own_chunks.weights_kind(data)(problem, factors)
        weights.solve(data, H.T, shift_arrays.as_read(V), parts)
        fit.history["objective"][-1] = problem.value(factors)
        fit.history["penalty"][-1] = problem.penalty
        for name, more in weights.columns().items():
            fit.history[name][-1] = fit.history[name][-1] + more
        return V, stack

    # ---------------------------------------------------------------- the fitted model

    @property
    def _is_tied(self):
        return self._has_own and "own_W_" not in vars(self)

    def _own_parts(self, data):
        """Return the own components as the core takes them, in the inner scale of the data."""
        stack = shift_arrays.as_read(self._own_stack)
        stack = shift_arrays.mapped(stack, lambda G: scaled_for(G, data.log4_scale, data.dtype))
        return own.OwnParts(self.n_own_, stack, self._penalty, self._is_tied, self._options().is_squared)

    @property
    def own_components_(self) -> dict[Any, Any]:
        """The components of each stratum: label -> array (k_i, n_features), a csr_array where `shifts_` would be one.

        With ``own="tied"`` they are what a stratum adds to the shared components.
        """
        if not self._has_own:
            raise AttributeError(
                f"This {type(self).__name__} has no own_components_; set n_own or own='tied', and call fit."
            )
        ends, labels = np.cumsum(self.n_own_).tolist(), self.strata_
        if self._is_designed:
            design = self._fitted_design()
            labels = design.levels[design.own]
        each = zip(values_of(labels), [0, *ends[:-1]], ends, strict=True)
        return {label: self._own_stack[first:end] for label, first, end in each}

    def _infer_W(self, data, H, V, options):
        if not self._has_own:
            return super()._infer_W(data, H, V, options)
        return own.weights_of_strata(data, H, V, self._own_parts(data))[0]

    def transform_own(
        self, X: Matrix, *, strata: Groups | None = None, exposure: Vector | str | None = None
    ) -> sp.csr_array:
        """Return the weights of the own components of the strata, which `transform` finds together with those of H.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite.
        strata : array-like (n_samples,), default=None
            Stratum label of each row, as for `transform`. A stratum that is new has no own components.
        exposure : default=None
            As for `transform`.

        Returns
        -------
        csr_array (n_samples, sum of `n_own_`)
            As `own_W_`: the columns belong to the rows of `own_components_`, stratum by stratum; a row has entries in
            those of its stratum only.

        Raises
        ------
        ValueError
            X or strata that `transform` refuses; the model has no own components, or tied ones, which have no weights
            of their own.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import StratifiedNMF
        >>> X = np.random.default_rng(0).random((12, 5))
        >>> model = StratifiedNMF(2, n_own={"b": 1}, random_state=0).fit(X, strata=["a", "b"] * 6)
        >>> model.transform(X[:4], strata=["a", "b"] * 2).shape, model.transform_own(X[:4], strata=["a", "b"] * 2).shape
        ((4, 2), (4, 1))
        """
        self._check_fitted()
        if not self._has_own or self._is_tied:
            raise ValueError(
                "transform_own needs own components with weights of their own; fit with n_own, or use transform: tied "
                "components have the weights of the shared ones."
            )
        return self._transform_own(*self._rows_given(X, strata, None, exposure))

    def _transform_own(self, X, strata):
        """Return the weights of own components as `transform_own`; of a matrix on disk chunk by chunk."""
        if self._is_designed:
            X, strata = self._given_or_wrapped(X, strata)
        if isinstance(X, DiskCSR):
            parts = [self._transform_own(block, rows) for _, block, rows in self._blocks(X, strata)]
            return sp.csr_array(sp.vstack(parts, format="csr"))
        model, options = self._with_new_strata(X, strata), self._options()
        with threads(options.n_threads):
            data, H, V = model._prepared(X, strata, options)
            U = own.weights_of_strata(data, H, V, self._own_parts(data))[1]
        return shift_arrays.mapped(U, lambda u: scaled(u, -data.log4_scale))

    def top_features(
        self,
        n: int = 10,
        feature_names: Names | None = None,
        *,
        by: Ranking | None = None,
        specific: Mapping[str, Any] | None = None,
    ) -> StrataFeatures:
        found = super().top_features(n, feature_names, by=by, specific=specific)
        if self._has_own:
            names, by = self._feature_names(feature_names), "weight" if by is None else by
            found.own = {label: strongest(G, names, n, by) for label, G in self.own_components_.items()}
        return found

    def _inverse_transform(self, W, strata=None, own_W=None):
        rows = super()._inverse_transform(W, strata)
        if not self._has_own:
            if own_W is not None:
                raise ValueError("own_W was given, but this model has no own components; leave it out.")
            return rows
        if own_W is False:
            return rows
        if not self._is_tied and own_W is None:
            raise ValueError(
                "This model has own components: pass own_W=model.transform_own(X, strata=...), or own_W=False for the "
                "part that all strata share and the shifts."
            )
        if not self._is_tied:
            expected = rows.shape[0], self._own_stack.shape[0]
            if np.shape(own_W) != expected:
                raise ValueError(
                    f"own_W has the shape {np.shape(own_W)}; expected {expected}: a row for each row of weights, a "
                    "column for each own component."
                )
            return rows + _dense(sp.csr_array(own_W) @ self._own_stack)
        if self._is_designed:
            design, rows_of = self._fitted_design(), strata
            if not isinstance(rows_of, RowsOfDesign):
                rows_of = RowsOfDesign(with_labels(W, strata)[1])
            stratum_index = rows_of.levels_by(design, rows.shape[0])
        else:
            stratum_index, _ = encode_labels(strata, rows.shape[0], self.strata_)
        for code, D in enumerate(self.own_components_.values()):
            rows[stratum_index == code] += _dense(W[stratum_index == code] @ D)
        return rows

    def _row_errors(self, data, H, V):
        if not self._has_own:
            return super()._row_errors(data, H, V)
        return own.errors_of_strata(data, H[:, : len(self.components_)], V, self._own_parts(data))

    def _of_strata(self):
        """Return what each stratum has of its own, for a sentence."""
        return "own components" if self.shifts is False else "a shift and own components"

    def _own_share(self, data):
        if not self._has_own:
            return 0.0
        (n, m), rows_of = data.shape, data.groups.counts[: len(self.n_own_)]
        weights = 0 if self._is_tied else float(rows_of @ self.n_own_[: len(rows_of)])
        return (self.n_own_.sum() * m + weights) / (n * m)

    def _nearest(self, data, H, V):
        if not self._has_own:
            return super()._nearest(data, H, V)
        return own.nearest_of_strata(data, H[:, : len(self.components_)], V, self._own_parts(data))

    def _errors_of_rows(self, X, rows):
        if not self._has_own:
            return super()._errors_of_rows(X, rows)
        self._check_fitted()
        options = self._options()
        with threads(options.n_threads):
            data, H, V = self._prepared(X, rows, options)
            if not options.is_squared:
                data = data.in_scale(np.dtype(np.float64), data.log4_scale)
                W, of_own = self._weights_in_parts(data)
                return row_divergences(data, W, self.components_, shift_arrays.as_read(self.shifts_), of_own)
            errors = self._errors_and_norms(data, H, V, options)[0]
        return np.ldexp(errors, -4 * data.log4_scale)

    def _errors_and_norms(self, data, H, V, options):
        if not self._has_own:
            return super()._errors_and_norms(data, H, V, options)
        data = data.in_scale(np.dtype(np.float64), data.log4_scale)
        return self._row_errors(data, *self._fitted_factors(data)), data.row_square_sums(None)

    def _infer_by_divergence(self, data, H, V, options):
        if not self._has_own:
            return super()._infer_by_divergence(data, H, V, options)
        data = data.in_scale(np.dtype(np.float64), data.log4_scale)
        W, of_own = self._weights_in_parts(data)

        def measure():
            errors = row_divergences(data, W, self.components_, shift_arrays.as_read(self.shifts_), of_own)
            scale = options.loss.build(data, len(self.components_), {})[1] if self._is_designed else None
            return float(np.ldexp(errors.sum(), 2 * data.log4_scale)), scale

        return scaled(W, data.log4_scale), measure

    def _score(self, X, strata=None, sample_weight=None):
        if not self._has_own or self._is_designed or isinstance(X, DiskCSR):
            return super()._score(X, strata, sample_weight)
        check_index(X, sample_weight=sample_weight)
        X, strata = with_labels(X, strata)
        model, options = self._with_new_strata(X, strata), self._options()
        if sample_weight is not None and not options.is_squared:
            raise ValueError(
                f"sample_weight in score needs the squared error, but {options.loss_given} is given; leave it out."
            )
        with threads(self.n_threads):
            data, H, V = open_data(model, X, strata)
            if not options.is_squared:
                _, scale = options.loss.build(data, H.shape[1], {})
                lost = float(np.ldexp(divergences_of_rows(model, X, strata).sum(), 2 * data.log4_scale))
                return 1.0 if scale == 0 else 1 - lost / scale
            errors = self._row_errors(data, H, V)
            norms = data.row_square_sums(None)
        return explained_share(errors, norms, sample_weight)

    def _weights_in_parts(self, data):
        """Return the weights (n_rows, k) of new rows, and the part of own components at entries, `OwnEntries`.

        Parameters
        ----------
        data : Strata
            As `open_data` returns them.
        """
        parts, e = self._own_parts(data), -data.log4_scale
        W, U = own.weights_of_strata(data, *self._fitted_factors(data), parts)
        rows = data.own
        sizes = np.concatenate([self.n_own_, np.zeros(rows.n_strata - len(self.n_own_), self.n_own_.dtype)])
        weights = W if U is None else own.spread_weights(U, sizes, rows.stratum_index)
        parts = parts._replace(stack=shift_arrays.as_read(self._own_stack))  # in the user's scale
        return scaled(W, e), own.OwnEntries(scaled(weights, e), parts, rows.stratum_index)

    def _of_stratum(self, code, shift):
        model = super()._of_stratum(code, shift)
        if self._has_own:
            end = int(self.n_own_[: code + 1].sum())
            model.n_own_ = self.n_own_[code : code + 1]
            model._own_stack = self._own_stack[end - int(model.n_own_[0]) : end]
        return model

    def _policy(self):
        policy = super()._policy()
        return "mean" if policy == "estimate" and self._has_own and self.shifts is not True else policy

    def _partial_fit(self, X, strata=None, **given):
        if self._fits_own or self._has_own:
            raise ValueError(
                "partial_fit fits no own components, which need all rows at once; call fit, or set n_own=0 and "
                "own=None in a new model."
            )
        return super()._partial_fit(X, strata, **given)

    @property
    def _fitted_shapes(self):
        shapes = super()._fitted_shapes
        return shapes | {"_own_stack": "om"} if self._has_own else shapes


def _dense(rows):
    """Return rows of a product as a dense array."""
    return rows.toarray() if sp.issparse(rows) else rows  # never-densify-ok: inverse_transform returns dense rows
