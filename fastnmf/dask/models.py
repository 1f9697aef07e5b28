"""`NMF` and `StratifiedNMF` for collections of Dask: the plain classes with another source of chunks."""

from __future__ import annotations

import copy
import inspect
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import numpy as np
import scipy.sparse as sp

from fastnmf.core import remote
from fastnmf.core.alternate import balancing_powers, times_powers
from fastnmf.core.factors import scaled
from fastnmf.core.options import one_of
from fastnmf.core.shifts import apply_gauge, normalize_components
from fastnmf.dask import tasks
from fastnmf.dask.collections import Blocks, blocks_of, concatenated, cut_rows, parts_of
from fastnmf.dask.engine import DaskSource
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.annotated import Layer, is_annotated, with_labels, with_layer
from fastnmf.data.design import Membership
from fastnmf.data.labels import known_labels
from fastnmf.data.levels import RowsOfDesign
from fastnmf.data.names import check_names, names_of
from fastnmf.data.ondisk import DiskCSR
from fastnmf.data.sentences import shown
from fastnmf.models import nmf, stratified
from fastnmf.models.base.chunked import membership_of, refuse, summarized, weight_of_rows
from fastnmf.models.base.designs import move_least_levels
from fastnmf.models.base.own_arrays import powers_of_own, rows_times_powers
from fastnmf.models.base.own_given import check_rows
from fastnmf.typing import FilePath, Names


def current_client(client):
    """Return a client of Dask: the given one, or the current one.

    Raises
    ------
    TypeError, ValueError
        It is not a client, or there is none.
    """
    from distributed import default_client

    try:
        client = default_client() if client is None else client
    except ValueError:
        raise ValueError(
            "fastnmf.dask needs a Dask client, but there is none; create one, client = dask.distributed.Client(), or "
            "pass client=."
        ) from None
    if not is_connected(client):
        raise ValueError("The Dask client is closed; connect another one, client = dask.distributed.Client(), to fit.")
    if getattr(client, "asynchronous", False):
        raise ValueError("The Dask client is asynchronous, but a fit waits for results; pass one that is not.")
    return client


def is_connected(client):
    """Tell whether a client of Dask has its scheduler."""
    return getattr(client, "status", "running") == "running"


def checkpoint_folder(path):
    """Return the folder of a checkpoint, which is made where there is none.

    Raises
    ------
    TypeError, ValueError
        It is not a path, or it is a file.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"checkpoint={shown(path)} is not a path; expected a folder that all workers can see.")
    folder = Path(path).absolute()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"checkpoint={shown(path)} is a file; on Dask, pass a folder that all workers can see.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_client(name, value):
    """Raise TypeError unless a value is None or looks like a client of Dask."""
    if value is not None and not all(hasattr(value, method) for method in ("submit", "gather", "nthreads")):
        raise TypeError(f"{name}={shown(value)} is not a Dask client; pass a dask.distributed.Client, or None.")


Kind = TypeVar("Kind", bound=type)
_OWN = {"client": None, "hold": "auto"}


def plain_of(kind: type) -> Any:
    """Return the class of `fastnmf` that a class of `fastnmf.dask`, or of the user, extends."""
    return kind.__mro__[kind.__mro__.index(DaskFitMixin) + 1]


def with_client(kind: Kind) -> Kind:
    """Give a class a signature with the parameters of its plain base, and `client` and `hold`; return the class."""

    def __init__(self: Any, *given: Any, **parameters: Any) -> None:
        super(kind, self).__init__(*given, **parameters)

    own = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in _OWN.items()]
    plain = inspect.signature(plain_of(kind).__init__)
    __init__.__signature__ = plain.replace(parameters=[*plain.parameters.values(), *own])
    kind.__init__ = __init__
    return kind


class DaskFitMixin:
    """Mixin that fits and transforms collections of Dask; precedes the plain class among the bases."""

    client: Any
    hold: bool | Literal["auto"]

    _constraints = {"client": check_client, "hold": one_of("auto", True, False)}

    def __init__(
        self, *given: Any, client: Any = None, hold: bool | Literal["auto"] = "auto", **parameters: Any
    ) -> None:
        super().__init__(*given, **parameters)
        self.client, self.hold = client, hold

    def __sklearn_clone__(self):
        plain = copy.copy(self)  # a client cannot be copied
        plain.client = None
        cloned = super(DaskFitMixin, plain).__sklearn_clone__()
        cloned.client = self.client
        return cloned

    def save(self, path: FilePath, feature_names: Names | None = None) -> NoReturn:
        """Refuse: a model whose weights lie on workers is saved as the plain model that `to_local` returns."""
        raise TypeError(
            "A model of fastnmf.dask cannot be saved because its W_ is on the workers; use to_local().save."
        )

    def to_local(self, *, weights: bool = False) -> Any:
        """Return the fitted model as one of the plain class of `fastnmf`, which saves and needs no Dask.

        Parameters
        ----------
        weights : bool, default=False
            Whether it has `W_`, which is then computed and held in memory.

        Returns
        -------
        NMF or StratifiedNMF
        """
        self._check_fitted()
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name not in _OWN}
        local = plain_of(type(self))(**parameters)
        fitted = self._saved_attributes()
        of_rows = {name: fitted.pop(name) for name in ("W_", "row_strata_", "own_W_") if name in fitted}
        vars(local).update(fitted)
        if weights:
            computed = {name: getattr(values, "compute", values.copy)() for name, values in of_rows.items()}
            vars(local).update(computed)
        elif "own_W_" in of_rows:  # says that own components have weights of their own: those of no rows
            nothing = sp.csr_array((0, of_rows["own_W_"].shape[1]), dtype=self.components_.dtype)
            vars(local).update(own_W_=nothing, row_strata_=np.empty(0, np.int32))
        return local

    # ---------------------------------------------------------------- the fit

    def _fit(self, X, *, checkpoint=None, checkpoint_every=60.0, **given):
        self._folder = None if checkpoint is None else checkpoint_folder(checkpoint)
        if checkpoint is not None:
            if self.warm_start:
                raise ValueError("checkpoint and warm_start=True cannot be combined on Dask; leave one of them out.")
            given |= {"checkpoint": self._folder / "fit.npz", "checkpoint_every": checkpoint_every}
        try:
            return super()._fit(X, **given)
        except BaseException as error:
            source = vars(self).get("_source")
            if source is not None:
                source.abandon()
                if not is_connected(source.client) and not isinstance(error, KeyboardInterrupt):
                    raise ConnectionError(
                        "The Dask client has lost its scheduler during the fit, or was closed; connect again, and fit "
                        "again (with checkpoint=folder a fit continues where the last one ended)."
                    ) from error
            raise
        finally:
            del self._folder
            if "_source" in vars(self):
                vars(self).pop("_source").release()

    def _validated(self, X, *, reset, is_fitted=True):
        blocks = blocks_of(X)
        if blocks is None and not reset:
            return super()._validated(X, reset=reset, is_fitted=is_fitted)
        if blocks is None:
            raise TypeError(
                f"X is a {type(getattr(X, 'X', X)).__name__}, but fastnmf.dask fits a Dask array, an AnnData of one, "
                "open_csr(folder), or a list of delayed matrices or of paths of .npz files; of a Dask frame pass "
                "X.to_dask_array(), and use the class of fastnmf for others."
            )
        names = names_of(X) if is_annotated(X) or blocks.on_disk is not None else None
        for name in ("_layer", "_names", "feature_names_in_"):
            vars(self).pop(name, None)
        vars(self).update({"_layer": X.layer} if isinstance(X, Layer) else {})
        if names is not None:
            self._names = self.feature_names_in_ = names
        return blocks

    def _data(self, X, given, options):
        if not isinstance(X, Blocks):
            return super()._data(X, given, options)
        refuse(self, given, options, "X is a Dask collection", "fit the matrix in memory by the class of fastnmf")
        if getattr(self, "_fits_own", False):
            check_rows(self, given, is_here=False)
            if self._goes_on(options):
                raise ValueError(
                    "warm_start=True does not go with own components (n_own, own) on Dask; set warm_start=False, or "
                    "pass init=model, which continues from the shared components and the shifts."
                )
        holds = self.hold in ("auto", True)
        source = DaskSource(current_client(self.client), X, holds, options.n_threads, self._folder)
        vars(self)["_source"] = source
        strata, weight = (given.get(name) for name in ("strata", "sample_weight"))
        parts = parts_of(strata, "strata", X), parts_of(weight, "sample_weight", X)
        labels, stratum_index, of_rows = source.look(*parts)
        if isinstance(strata, RowsOfDesign):
            each = {name: getattr(strata, name) for name in ("strata", "design", "exposure")}
            strata = RowsOfDesign(**{name: _computed(source, rows, name) for name, rows in each.items()})
            if isinstance(strata.design, dict):
                raise TypeError("design comes in frames; give a Dask array, a list of sparse matrices, or one frame.")
        if labels is None:
            membership = membership_of(self, strata, source.shape[0], options)
        else:
            membership = Membership(None, labels, stratum_index)
        if options.gauge and sp.issparse(membership.rows):
            raise ValueError(
                f"gauge={options.gauge!r} of a design needs all rows at once, but X is a Dask collection; set "
                "gauge=None, or fit the matrix in memory by the class of fastnmf."
            )
        given["sample_weight"] = weight = weight if of_rows is None else of_rows
        self.n_features_in_ = source.shape[1]
        source.assign(membership.rows, weight_of_rows(membership, source.shape, weight, options))
        return summarized(source, membership, source.dtype, options)

    def _unscaled_W(self, data, W):
        return W if isinstance(data, remote.ChunkedStrata) else super()._unscaled_W(data, W)

    def _arrays(self, data, solver):
        arrays = super()._arrays(data, solver)
        return (None, *arrays[1:]) if isinstance(data, remote.ChunkedStrata) else arrays

    def _set_factors(self, data, fit, options):
        if getattr(self, "_fits_own", False) and isinstance(data, remote.ChunkedStrata):
            self._set_own_factors(data, fit, options)
            return
        factors, of_rounds = fit.factors, fit.factors.rounds
        self.n_components_ = self._n_components = factors.rank
        if self._has_shifts:
            move_least_levels(data, fit, options)
        self._final_exact_W(data, fit, options)
        factors.clear_cache(kept="held V")
        _, H, shifts = self._arrays(data, fit.solver)
        engine, power = of_rounds.engine, data.weighing.power
        finish = tasks.Finish(factors.rank, of_rounds.is_ahead, -data.log4_scale, power)
        if options.normalize in ("l1", "l2", "max"):
            ones, H = normalize_components(np.ones((1, factors.rank)), H, options.normalize)
            finish.scale = ones[0]
        if options.gauge:  # "max_shift"; the rows of a stratum need their smallest weights only
            finish.least, shifts = _gauged(engine.each_state(tasks.least_of, finish), H, shifts, options.gauge)
        if not options.normalize and self._has_free_scale(fit.problem, options):
            lengths = np.hypot.reduce(engine.each_state(tasks.lengths_of, finish), axis=0)
            finish.powers = balancing_powers(lengths[None], H)
            H = times_powers(H, -finish.powers[:, None])
        self.components_ = H
        vars(self)["W_"] = engine.collection(finish)
        if self._has_shifts:
            vars(self).update(self._attributes_of_strata(data), shifts_=shifts)
        self.n_revived_ = fit.solver.n_reseeded
        engine.states = None

    def _set_own_factors(self, data, fit, options):
        """Set the attributes of a fit with own components; as in memory, with the weights on the workers."""
        factors, of_rounds, half = fit.factors, fit.factors.rounds, -data.log4_scale
        rank, is_tied, engine = factors.rank, self.own == "tied", of_rounds.engine
        H = np.ascontiguousarray(factors["H"][:, :rank].T)
        V, stack = self._final_own(data, fit, H, options)
        H, V = scaled(H, half), shift_arrays.mapped(V, lambda v: scaled(v, 2 * half))
        stack = shift_arrays.mapped(stack, lambda G: scaled(G, half))
        of_rounds.flush()
        finish = tasks.Finish(rank, of_rounds.is_ahead, half, data.weighing.power)
        if options.gauge:
            finish.least, V = _gauged(engine.each_state(tasks.least_of, finish), H, V, options.gauge)
        if not fit.problem.free_mask:
            lengths = np.hypot.reduce(engine.each_state(tasks.lengths_of, finish), axis=0)
            finish.powers = balancing_powers(lengths[None], H)
            H = times_powers(H, -finish.powers[:, None])
            stack = rows_times_powers(stack, -np.tile(finish.powers, data.n_strata)) if is_tied else stack
        found = {"n_components_": rank, "_n_components": rank, "components_": H, "W_": engine.collection(finish)}
        if not is_tied:
            given = finish.is_ahead, half, data.weighing.power, of_rounds.terms
            of_own = tasks.OwnFinish(int(of_rounds.terms.sizes.sum()), *given)
            of_own.powers = powers_of_own(sum(engine.each_state(tasks.own_squares_of, of_own)), stack)
            stack = rows_times_powers(stack, -of_own.powers)
            found["own_W_"] = engine.collection(of_own, tasks.own_finished)
        vars(self).update(found | self._attributes_of_strata(data), shifts_=V, n_own_=of_rounds.terms.sizes)
        vars(self).update(_own_stack=stack, n_revived_=fit.solver.n_reseeded)
        engine.states = None

    # ---------------------------------------------------------------- new rows

    def _transform_own(self, X, strata):
        blocks = None if isinstance(X, DiskCSR) else blocks_of(X)
        if blocks is None:
            return self.to_local()._transform_own(X, strata)
        self._check_fitted(blocks.n_columns)
        self._check_strata_given(strata)
        return _lazily(self.to_local(), blocks, {"strata": strata}, "transform_own")

    def _transform(self, X, strata=None):
        X = with_layer(X, getattr(self, "_layer", None)) if is_annotated(X) else X
        blocks = None if isinstance(X, DiskCSR) else blocks_of(X)
        if blocks is None:
            return super()._transform(X, strata)
        self._check_fitted(blocks.n_columns)
        if is_annotated(X):
            check_names(names_of(X), getattr(self, "feature_names_in_", None))
        if isinstance(strata, RowsOfDesign):
            given = {name: getattr(strata, name) for name in ("strata", "design", "exposure")}
            self._fitted_design().check_given(**given)
        else:
            strata = with_labels(X, strata)[1]
            self._check_strata_given(strata)
            is_whole = strata is not None and None not in blocks.sizes and parts_of(strata, "strata", blocks) is None
            given = {"strata": known_labels(strata, "strata", sum(blocks.sizes)) if is_whole else strata}
        return _lazily(self.to_local(), blocks, given)


def _computed(source, given, name):
    """Return what belongs to the rows of a fit in memory, also where Dask has it, or where it comes in parts.

    Parameters
    ----------
    source : DaskSource
    given : dict, Dask array, series or frame, list of parts, or anything else
        Of a dict, each value; what comes in parts has a part for each chunk of X.
    name : str
        What it is, for the message.
    """
    if isinstance(given, Mapping):
        return {key: _computed(source, each, f"{name}[{key!r}]") for key, each in given.items()}
    parts = parts_of(given, name, source.blocks)
    if parts is None:
        return given
    parts = source.gather(source.sent(parts))
    for number, (part, size) in enumerate(zip(parts, source.sizes, strict=True)):
        tasks.check_rows(number, size, part, f"values in {name}")
    widths = [part.shape[1] if np.ndim(part) == 2 else 1 for part in parts]
    if len(set(widths)) > 1:
        number = next(number for number, width in enumerate(widths) if width != widths[0])
        raise ValueError(
            f"{name} has {widths[0]} columns in chunk 0 and {widths[number]} in chunk {number}; give all chunks the "
            "same columns."
        )
    return concatenated(parts)


def _gauged(found, H, shifts, gauge):
    """Return the smallest weights (n_strata, k) of the strata, and the shifts that have taken their part.

    Parameters
    ----------
    found : list
        What `fastnmf.dask.tasks.least_of` returned for the chunks.
    H : ndarray (k, n_columns)
    shifts : ndarray or csr_array (n_strata, n_columns)
    gauge : str
    """
    least = np.full((shifts.shape[0], len(H)), np.inf, found[0][1].dtype)
    for used, of_chunk in found:
        least[used] = np.minimum(least[used], of_chunk)
    used = np.flatnonzero(np.isfinite(least).all(axis=1))
    least[~np.isfinite(least)] = 0
    return least, apply_gauge(least[used], H, shifts, used, gauge)[1]


def _lazily(model, blocks, given, method="transform"):
    """Return the weights of new rows as a Dask array.

    Parameters
    ----------
    model : NMF or StratifiedNMF
        Without Dask.
    blocks : Blocks
    given : dict
        The arguments of `transform` beside X, as `fastnmf.dask.collections.cut_rows` takes them.
    method : {"transform", "transform_own"}, default="transform"
    """
    import dask
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph
    from dask.task_spec import Alias

    n_chunks, names = len(blocks.pieces), [name for name, rows in given.items() if rows is not None]
    cut = [cut_rows(given[name], name, blocks) for name in names]
    of_chunks = [dict(zip(names, (each[chunk] for each in cut), strict=True)) for chunk in range(n_chunks)]
    shared, run = dask.delayed(model, traverse=False), dask.delayed(tasks.transformed, pure=False)
    each = zip(blocks.pieces, of_chunks, range(n_chunks), strict=True)
    parts = [run(shared, piece, of_rows, number, method) for piece, of_rows, number in each]
    name, sizes = f"transform-{uuid.uuid4().hex}", tuple(np.nan if size is None else size for size in blocks.sizes)
    own = {(name, number, 0): Alias((name, number, 0), part.key) for number, part in enumerate(parts)}
    graph = HighLevelGraph.from_collections(name, own, dependencies=parts)
    is_own, nothing = method == "transform_own", np.empty((0, 0), model.components_.dtype)
    width, meta = (int(model.n_own_.sum()), sp.csr_array(nothing)) if is_own else (len(model.components_), nothing)
    return da.Array(graph, name, (sizes, (width,)), meta=meta)


@with_client
class NMF(DaskFitMixin, nmf.NMF):
    """Factorise a matrix in chunks of rows on a Dask cluster: `fastnmf.NMF` for more rows than fit in memory.

    `fit` computes at once and takes a Dask array of CSR or NumPy blocks, an AnnData whose X is one,
    ``fastnmf.open_csr(folder)``, or a list of delayed matrices or of paths of ``.npz`` files that SciPy wrote.
    `sample_weight` may be a Dask array or a list with as many chunks. Blocks hold whole rows and may be empty; their
    sizes may be unknown. The bits of a fit depend on the chunks alone. Losing a worker delays a fit but changes
    nothing. `checkpoint` is a folder that all workers can see; a fit whose driver was killed continues from it.

    Parameters
    ----------
    n_components, init, solver, beta_loss, exponent, tol, max_iter, random_state, alpha_W, alpha_H, l1_ratio, verbose,
    shuffle, extrapolate, sweeps, fixed_components, seed_features, guide_weight, normalize, warm_start, max_time,
    callback, n_threads :
        As for `fastnmf.NMF`. `callback` sees W as None. With ``n_threads=None`` a worker uses the share of its
        machine's cores that corresponds to its threads.
    n_init, missing_values, penalties :
        Only their defaults are supported.
    client : distributed.Client, default=None
        The cluster; None uses the current client.
    hold : {"auto", True, False}, default="auto"
        Whether the workers keep the chunks in memory during the fit; False: they are read again in every pass. "auto"
        is True.

    Attributes
    ----------
    W_ : dask.array.Array (n_samples, n_components)
        The weights of the rows, with the chunks of X; computed on access.
    components_, history_ and all others :
        As for `fastnmf.NMF`, in NumPy. ``history_["bytes"]`` are those of orders and sums that went from process to
        process in an iteration, ``history_["replayed"]`` the steps of chunks that were made again after workers were
        lost.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from distributed import Client
    >>> from fastnmf.dask import NMF
    >>> client = Client(processes=False, n_workers=1, dashboard_address=None)
    >>> X = da.from_array(np.outer([1.0, 2, 3], [1.0, 0, 2]), chunks=(2, 3))
    >>> model = NMF(1, random_state=0).fit(X)
    >>> (model.W_ @ model.components_).compute().round(2)
    array([[1., 0., 2.],
           [2., 0., 4.],
           [3., 0., 6.]])
    >>> client.close()
    """


@with_client
class StratifiedNMF(DaskFitMixin, stratified.StratifiedNMF):
    """Factorise strata in chunks of rows on a Dask cluster: `fastnmf.StratifiedNMF` for more rows than fit in memory.

    `fit` takes what `fastnmf.dask.NMF` takes. `strata`, and `sample_weight` likewise, is a Dask array or series or a
    list with as many chunks as X, a NumPy array, or the name of an obs column of an AnnData. Strata may span chunks.
    Of several factors each column may be such a collection; `design` and `exposure` may be, too. The design of all rows
    is held by the driver.

    Parameters
    ----------
    n_components, solver, init, beta_loss, exponent, alpha_V, alpha_W, alpha_H, l1_ratio, strata_weight,
    fixed_components, seed_features, guide_weight, unknown_strata, normalize, n_shift_updates, extrapolate, sweeps,
    max_iter, tol, random_state, n_threads, verbose, warm_start, max_time, callback, sparse_shifts :
        As for `fastnmf.StratifiedNMF`; `callback` and `n_threads` as for `fastnmf.dask.NMF`.
    smoothness :
        As for `fastnmf.StratifiedNMF`.
    gauge : {None, "max_shift"}, default=None
        Only None with several factors, a design or an exposure.
    n_own, own_penalty, own, shifts :
        As for `fastnmf.StratifiedNMF`, without `warm_start`.
    n_init, missing_values, penalties, label_weight, update_order :
        Only their defaults are supported.
    client, hold :
        As for `fastnmf.dask.NMF`.

    Attributes
    ----------
    W_ : dask.array.Array (n_samples, n_components)
        The weights of the rows, with the chunks of X; computed on access.
    own_W_ : dask.array.Array (n_samples, sum of `n_own_`)
        The weights of own components likewise, in blocks that are csr_array.
    components_, shifts_, history_ and all others :
        As for `fastnmf.StratifiedNMF`, in NumPy; ``history_`` as for `fastnmf.dask.NMF`.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from distributed import Client
    >>> from fastnmf.dask import StratifiedNMF
    >>> client = Client(processes=False, n_workers=1, dashboard_address=None)
    >>> X = da.from_array(np.array([[1.0, 0, 5], [2, 0, 5], [3, 1, 0], [6, 2, 0]]), chunks=(2, 3))
    >>> model = StratifiedNMF(1, gauge="max_shift", random_state=0).fit(X, strata=["a", "a", "b", "b"])
    >>> model.shifts_.round(1)
    array([[1.1, 0. , 5. ],
           [3. , 1.1, 0. ]])
    >>> client.close()
    """
