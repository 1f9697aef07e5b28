"""Fits, transforms and scores of a matrix on disk, one chunk of rows at a time.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from functools import partial
from itertools import repeat
from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp

from fastnmf.core import chunks, remote, rounds
from fastnmf.core.factors import pad, row_tasks
from fastnmf.core.init import starts
from fastnmf.core.init.start_from import start_from_init
from fastnmf.core.options import generator, row_weights
from fastnmf.core.penalties import penalties_of
from fastnmf.core.problem import Problem
from fastnmf.core.progress import say
from fastnmf.core.row_errors import explained_share
from fastnmf.core.updates import MU
from fastnmf.data.design import HasDesign, Membership
from fastnmf.data.design_matrix import check_range
from fastnmf.data.labels import encode_labels, known_labels
from fastnmf.data.levels import RowsOfDesign
from fastnmf.data.names import check_names, names_of
from fastnmf.data.ondisk import DiskCSR
from fastnmf.data.sentences import shown
from fastnmf.kernels.jit import threads
from fastnmf.kernels.row_intrinsics import padded
from fastnmf.models.base.auto_start import AutoStartMixin, is_free, level_of, level_start
from fastnmf.models.base.estimator import check_brought, without_zeros

INITS = (None, "auto", "multilevel", "features", "rows", "random", "custom")


class ChunkedFitMixin(AutoStartMixin):
    """Mixin that lets a model fit, transform and score a `DiskCSR`; precedes `BaseNMF` among the bases."""

    def _validated(self, X, *, reset, is_fitted=True):
        if not (isinstance(X, DiskCSR) and reset):
            return super()._validated(X, reset=reset, is_fitted=is_fitted)
        if 0 in X.shape:
            raise ValueError(f"X of shape {X.shape} is empty; at least one row and one column are required.")
        for name in ("_layer", "_names", "feature_names_in_"):
            vars(self).pop(name, None)
        if (names := names_of(X)) is not None:
            vars(self).update(_names=names, feature_names_in_=names)
        self.n_features_in_ = X.shape[1]
        return X

    def _data(self, X, given, options):
        return chunked_data(self, X, given, options) if isinstance(X, DiskCSR) else super()._data(X, given, options)

    def _runs(self, data, given, options):
        if not isinstance(data, remote.ChunkedStrata):
            return super()._runs(data, given, options)
        return 1, zip(self._seeds(options), repeat(options.init), strict=False)

    def _solver(self, data, given, options, random_state):
        if not isinstance(data, remote.ChunkedStrata):
            return super()._solver(data, given, options, random_state)
        return chunked_solver(self, data, given, options, random_state)

    def _final_exact_W(self, data, fit, options):
        if not isinstance(data, remote.ChunkedStrata):
            super()._final_exact_W(data, fit, options)
        elif not options.is_multiplicative:
            rounds.finish_exactly(fit)

    def _unscaled_W(self, data, W):
        if not isinstance(data, remote.ChunkedStrata) or data.row_scale is None:
            return super()._unscaled_W(data, W)
        row_scale = data.row_scale[:, None]  # W is a copy, and may be in a file
        np.divide(W, row_scale, out=W, where=row_scale > 0)
        W[data.row_scale == 0] = 0
        return W

    def _transform(self, X, strata=None):
        if not isinstance(X, DiskCSR):
            return super()._transform(X, strata)
        out = None
        for part, block, rows in self._blocks(X, strata):
            W = self._transform(block, rows)
            out = remote.room((X.shape[0], W.shape[1]), W.dtype) if out is None else out
            out[part] = W
        return out

    def _score(self, X, strata=None, sample_weight=None):
        """Return the score as `BaseNMF` does; of a matrix on disk chunk by chunk.

        Parameters
        ----------
        X : DiskCSR, sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), or RowsOfDesign, default=None
            Of X on disk, the latter is encoded.
        sample_weight : array-like (n_samples,), default=None
        """
        options = self._reading_options()
        is_known = (options.is_squared or options.is_kullback_leibler) and options.missing_values is None
        if not isinstance(X, DiskCSR) or self._has_own_loss or not is_known:
            return super()._score(X, strata, sample_weight)
        self._check_weights_of_score(sample_weight, options)
        n_rows, value = X.shape[0], 0.0
        (errors, norms), scales = np.empty((2, n_rows)), np.empty(n_rows, int)
        with threads(options.n_threads):
            for part, block, rows in self._blocks(X, strata):
                model = self._with_new_strata(block, rows) if self._has_shifts else self
                data, H, V = model._prepared(block, rows, options)
                if options.is_squared:
                    errors[part], norms[part] = model._errors_and_norms(data, H, V, options)
                    scales[part] = 4 * data.log4_scale
                else:
                    of_chunk, _ = model._infer_by_divergence(data, H, V, options)[1]()
                    value += float(np.ldexp(of_chunk, -2 * data.log4_scale))
            if options.is_squared:  # chunks may be held in different scales
                scales = scales.min() - scales
                return explained_share(np.ldexp(errors, scales), np.ldexp(norms, scales), sample_weight)
            scale = _independence(X)
        return 1.0 if scale == 0 else float(1 - value / scale)

    def _blocks(self, X, strata):
        """Yield the chunks of X on disk: which rows they are, a slice; these, csr_array; and their strata.

        Parameters
        ----------
        X : DiskCSR
        strata : array-like (n_samples,), or RowsOfDesign whose rows are encoded, or None
        """
        check_names(names_of(X), getattr(self, "feature_names_in_", None))
        self._check_fitted(X.shape[1])
        is_design = isinstance(strata, RowsOfDesign)
        if not is_design:
            self._check_strata_given(strata)
            strata = None if strata is None else known_labels(strata, "strata", X.shape[0])
        part = slice(0, 0)
        for block in X.blocks(X.chunk_rows):
            part = slice(part.stop, part.stop + block.shape[0])
            rows = None if strata is None else strata.part(part) if is_design else strata[part]
            yield part, block, rows


def refuse(model, given, options, what_X="X is a matrix on disk", instead="fit X[:]"):
    """Raise ValueError if a fit of chunks does not support what is requested.

    Parameters
    ----------
    model : BaseNMF
    given : dict
        Arguments of `fit`.
    options : Options
    what_X, instead : str
        For the message: what X is, and what to do instead.
    """
    init = options.init
    is_known = start_from_init(init) is not None if not isinstance(init, (str, type(None))) else init in INITS
    asked = {
        f"n_init={options.n_init}": (options.n_init > 1, "set n_init=1"),
        f"init={shown(init)}": (not is_known, "use 'auto', 'multilevel', 'features', 'rows', 'random' or a model"),
        f"missing_values={options.missing_values!r}": (options.missing_values is not None, "set it to None"),
        "weight": (given.get("weight") is not None, "use sample_weight, or leave it out"),
        "background": (given.get("background") is not None, "leave it out"),
        "label_weight": (given.get("y") is not None, "set it to 0"),
        "gauge='min_shift'": (options.gauge == "min_shift", "use 'max_shift' or None"),
        "penalties": (any(getattr(options, name).objects for name in "WHV"), "use alpha_W, alpha_H and l1_ratio"),
        "update_order='simultaneous'": (
            getattr(model, "update_order", "sequential") == "simultaneous",
            "use 'sequential'",
        ),
        options.loss_given: (
            not (options.is_squared or options.is_kullback_leibler),
            "use 'frobenius' or 'kullback-leibler'",
        ),
    }
    for what, (is_asked, remedy) in asked.items():
        if is_asked:
            raise ValueError(f"{what} needs all rows at once, but {what_X}; {remedy}, or {instead}.")


def chunked_data(model, X, given, options):
    """Return the data of a fit of a `DiskCSR`, after a first pass over its chunks.

    Parameters
    ----------
    model : BaseNMF
    X : DiskCSR
    given : dict
        Arguments of `fit`.
    options : Options

    Returns
    -------
    fastnmf.core.remote.ChunkedStrata
    """
    refuse(model, given, options)
    membership = membership_of(model, given.get("strata"), X.shape[0], options)
    weight = weight_of_rows(membership, X.shape, given.get("sample_weight"), options)
    source = remote.DiskSource(X, membership.rows, weight)
    if options.verbose:
        say(f"{options.name}: the first pass over {X.n_chunks} chunks of {X.chunk_rows} rows")
    return summarized(source, membership, _dtype_of(X), options)


def _dtype_of(X):
    """Return the dtype in which a fit holds a matrix on disk."""
    return np.dtype(X.dtype.newbyteorder("=") if X.dtype in (np.float32, np.float64) else np.float64)


def membership_of(model, strata, n_rows, options):
    """Return the `Membership` of the rows of a fit in chunks.

    Parameters
    ----------
    model : BaseNMF
    strata : array-like (n_rows,), RowsOfDesign, or None
    n_rows : int
    options : Options
    """
    if isinstance(strata, RowsOfDesign):
        return model._membership(n_rows, options, strata)
    stratum_index, labels = encode_labels(strata, n_rows, None)
    return Membership(None, labels, stratum_index)


def weight_of_rows(membership, shape, sample_weight, options):
    """Return the weights of the rows of a fit in chunks, float64 (n_rows,), or None where all are one.

    Parameters
    ----------
    membership : Membership
    shape : (int, int)
        Of all rows.
    sample_weight : array-like (n_rows,), or None
    options : Options
    """
    rows = SimpleNamespace(shape=shape, stratum_index=membership.rows, n_strata=len(membership.names))
    return row_weights(rows, sample_weight, options.strata_weight)


def summarized(source, membership, dtype, options):
    """Return the data of a fit in chunks, after a first pass over them.

    Parameters
    ----------
    source : DiskSource, or another
        With the rows of `membership`.
    membership : Membership
    dtype : numpy.dtype
    options : Options

    Returns
    -------
    fastnmf.core.remote.ChunkedStrata
    """
    if sp.issparse(membership.rows):
        check_range(membership.rows, membership.learned.names, dtype, is_fit=True)
    more = {"has_entropy": options.is_kullback_leibler}
    summary, weighing = remote.summarize(source, membership.names, dtype, options.beta, **more)
    data = remote.chunked_strata(source, summary, weighing, options.sparse_shifts, membership.laplacian)
    data.learned = membership.learned
    return data


def _independence(X):
    """Return the Kullback-Leibler divergence of a matrix on disk from the product of its margins, in one pass."""
    source = remote.DiskSource(X, np.zeros(X.shape[0], np.int32))
    summary, weighing = remote.summarize(source, np.zeros(1), _dtype_of(X), 1.0, has_entropy=True)
    data = remote.ChunkedStrata(source, summary, weighing)
    return float(np.ldexp(data.independence(), -2 * data.log4_scale))


def chunked_solver(model, data, given, options, random_state):
    """Return the solver of a fit of chunks.

    Parameters
    ----------
    model : BaseNMF
    data : fastnmf.core.remote.ChunkedStrata
    given : dict
        Arguments of `fit`.
    options : Options
    random_state : None, int, Generator or RandomState

    Returns
    -------
    Solver
    """
    rank = model._rank(data, given, options)
    level = level_of(data, rank, options) if is_free(model, given, options) else None
    begin = partial(level_start, model, level) if level else partial(chunked_start, model)
    start, H, v, V = begin(data, rank, given, options, random_state)
    H, free_mask, guide = model._fix_components(data, options, H)
    has_shifts, is_ratio = model._has_shifts, not options.is_squared
    net = penalties_of(data, options, "W", rank=rank).get("W", [None])[0]
    net = None if net is None else net.of_rows(None)
    width = padded(rank, data.dtype)
    engine = data.source.engine(data, width, net=net, has_places=is_ratio and has_shifts)
    arrays = {"H": pad(H, data)} | ({"V": np.array(v, dtype=data.dtype)} if has_shifts else {})
    factors = rounds.ChunkedFactors(rounds.Rounds(engine, rank, has_shifts), **arrays)
    tasks = {name: row_tasks(factors[name]) for name in "WH"}
    tasks |= {"V": data.pattern.entry_tasks} if has_shifts else {}
    rounds.set_start(factors, start, options.is_multiplicative)
    if options.is_multiplicative and V is None and isinstance(data, HasDesign):  # after W is exact for the shifts given
        factors.overwrite({"V": data.positive_shifts(factors["V"])})
    problem = ratio_problem(data, factors, tasks) if is_ratio else model._problem(data, factors, tasks, options)
    model._constrain(data, problem, factors, options, free_mask=free_mask, guide=guide)
    extrapolation = model._extrapolation(factors, tasks, options)
    if is_ratio and extrapolation is not None:  # the scale of penalties would have to be balanced within a cycle
        more = tasks, factors, extrapolation.limit
        extrapolation = None if problem.balance_penalties else rounds.ChunkedSQUAREM(*more)
    if is_ratio or extrapolation is not None:
        engine.keep("before", *(("first", "second") if is_ratio and extrapolation is not None else ()))
    start_value = None if V is None or is_ratio else problem.value(factors, **({"V": V} if has_shifts else {}))
    return rounds.chunked_solver(problem, factors, extrapolation, start_value, level)


def ratio_problem(data, factors, tasks):
    """Return the `Problem` of Kullback-Leibler for data in chunks.

    Parameters
    ----------
    data : fastnmf.core.remote.ChunkedStrata
    factors : fastnmf.core.rounds.ChunkedFactors
    tasks : dict, factor name -> ndarray of int64
        Task tables.
    """
    loss = rounds.ChunkedKullbackLeibler(data, tasks, factors)
    together = (("V", 1), ("H", 1)) if "V" in factors.arrays else ("H", 1)
    return Problem(
        losses=[loss],
        updates=dict.fromkeys(factors.arrays, MU.plain(data.dtype)),
        schedule=(("W", 1), together),
        tasks=tasks,
        scale=loss.independence(),
    )


def chunked_start(model, data, rank, given, options, random_state):
    """Return the start of a fit of chunks.

    Parameters
    ----------
    model, data, given, options, random_state :
        As for `chunked_solver`.
    rank : int

    Returns
    -------
    start : callable, or None
        Start of W, see `fastnmf.core.chunks`; None: W is zero.
    H : ndarray (n_columns, k)
    v : ndarray (q,), or None
        Entries of the shifts on the pattern.
    V : ndarray or csr_array (n_strata, n_columns), or None
        The whole shifts of the user's start.
    """
    init, is_positive = options.init, options.is_multiplicative
    if model._goes_on(options) or not (isinstance(init, str) or init is None) or init == "custom":
        return _given_start(model, data, rank, given, options)
    check_brought([name for name in "WHV" if given.get(name) is not None], init, model._has_shifts)
    rng, means = generator(random_state), data.column_means().astype(np.float64)
    v = 0.5 * data.stratum_means() if model._has_shifts else None
    if init == "random":
        v = rng.random(len(data.pattern.group)) * data.stratum_means() if model._has_shifts else None
        start = chunks.RandomStart(rng)
        rng.bit_generator.advance(int(data.shape[0]) * int(rank))
        H = rng.random((data.shape[1], rank)) * ((2 if model._has_shifts else 4) / rank * data.column_means())[:, None]
        return start, H, v, None
    if init == "rows":
        pick, per = starts.drawn_rows(data.shape[0], rank, rng), None
    else:
        pick, per = _rich_rows(data, means, rank, rng)
    chosen, place = np.unique(pick.indices, return_inverse=True)
    few = data.part(chosen, data.take(chosen))
    pick = type(pick)((pick.data, place, pick.indptr), (rank, len(chosen)))
    H = starts.components_of(few, pick, means, is_positive)
    H = H if per is None else starts.distinct(H, per, rng)
    return chunks.ConstantStart(1 / rank) if is_positive else None, H, v, None


def _rich_rows(data, means, rank, rng):
    """Return the rows that are richest in random features, as their coefficients, and how many a component has.

    Parameters
    ----------
    data : ChunkedStrata
    means : ndarray (n_columns,)
    rank : int
    rng : numpy.random.Generator
    """
    seek = starts.wanted_features(means, rank, rng, data.dtype)
    per = starts.rows_per_component(data.total, rank)
    found = data.source.each(chunks.richest, data.weighing, seek, per, rank)
    merged = [starts.merged_richest(list(parts), per, data.weight) for parts in zip(*found, strict=True)]
    return starts.pick_of(merged, data.shape[0]), per


def _given_start(model, data, rank, given, options):
    """Return a start that the user or a model gives, as `chunked_start` does.

    Parameters
    ----------
    model, data, rank, given, options :
        As for `chunked_start`.
    """
    start = None if model._goes_on(options) else start_from_init(options.init)
    if start is None or start.W is not None:
        W, H, v, V = model._start(data, rank, given, options, None)
        return chunks.GivenStart(W), H, v, V
    start.check(data.shape, rank, getattr(model, "feature_names_in_", None))
    H = starts.in_range(np.ldexp(start.components.T, data.log4_scale))
    v = None
    if model._has_shifts:
        v = data.pattern.entries(model._start_shifts_of(data, start.shifts, start.strata))
    return chunks.ExactStart(), without_zeros(H) if options.is_multiplicative else H, v, None
