"""Base of all estimators: parameters, validation, the one way a fit goes, fitted attributes, starts, files.

A fit goes through the same steps in every model: parameters become `Options`, X becomes checked data, a solver is made
for each start and iterated, and the best result becomes fitted attributes. A model fills in `_data`, `_solver`,
`_arrays` and `_set_factors`.

Inner scale: the data are held multiplied by ``4 ** log4_scale``. What that means for the factors is said by each model.
"""

from __future__ import annotations

import copy
import functools
import inspect
from dataclasses import replace
from itertools import repeat
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted, validate_data

from fastnmf.core.alternate import AlternatingSolver
from fastnmf.core.init.start_from import check_init, is_model, start_from_init, start_of
from fastnmf.core.init.starts import Start
from fastnmf.core.iterate import as_arrays
from fastnmf.core.options import check_integer, generator, read_options
from fastnmf.core.restarts import Restarts, check_restarts, has_same_start
from fastnmf.core.warn import warn, warn_of_nothing
from fastnmf.data.annotated import Layer, check_index, is_annotated, matrix_of, with_labels, with_layer
from fastnmf.data.matrix import check_kind, check_unmasked, unmasked
from fastnmf.data.names import check_names, names_of
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.io import archive
from fastnmf.io.checkpoints import checkpointing
from fastnmf.io.models import model_state
from fastnmf.kernels.jit import threads
from fastnmf.models.base.callbacks import fit_callbacks
from fastnmf.models.base.fitted_state import check_fitted_arrays, is_fitted_name, make_fits_atomic
from fastnmf.models.base.for_checkers import BaseEstimator, CallbackSupportMixin, with_callbacks
from fastnmf.models.base.representation import RepresentationMixin
from fastnmf.models.base.routing import shorten_request_help
from fastnmf.models.base.takes_readings import take_readings
from fastnmf.models.base.top_features import feature_names_for, names_to_keep
from fastnmf.typing import Array, Factor, File, FilePath, Integers, Matrix, Names


@functools.cache
def _parameter_names(kind):
    """Return the parameters of a class and of its bases, which a user's subclass may set without taking them."""
    bases = (base for base in kind.__mro__ if hasattr(base, "_get_param_names"))
    return tuple(dict.fromkeys(name for base in bases for name in base._get_param_names()))


@functools.cache
def _constraints_of(kind):
    found = {}
    for base in reversed(kind.__mro__):
        found |= vars(base).get("_constraints", {})
    return found


_PLAIN = {type(None), bool, int, float, str}  # types of parameters that no one can change in place


@functools.lru_cache(256)  # reading takes a sixth of the weights of one row
def _read_plain(kind, loss_parameter, names, values, kinds):
    """Return the `Options` of an estimator class; `kinds` tells 1 from 1.0 and True, which are equal.

    Parameters
    ----------
    kind : type
    loss_parameter : str
    names, values, kinds : tuple
        Parameters, their values, and the types of these.
    """
    return read_options(kind.__name__, dict(zip(names, values, strict=True)), _constraints_of(kind), loss_parameter)


@functools.cache
def _default_n_init(kind):
    found = inspect.signature(kind).parameters.get("n_init")
    return 1 if found is None else found.default


class Estimator(RepresentationMixin, CallbackSupportMixin, BaseEstimator):
    """Base of all estimators. A class says what is its own in the attributes below and in the methods of the fit.

    Attributes
    ----------
    _constraints : dict
        Parameter -> ``check(name, value)``, beside those of its bases and of `fastnmf.core.options.CONSTRAINTS`.
    _fixed : dict
        Options that the class has no parameter for, where they differ from the defaults of `Options`.
    _not_free : tuple of str
        Parameters of stopping on which the iterates depend: a fit is not resumed from a checkpoint with other values.
    _continued : dict
        Argument of `fit` that gives a part of the start -> fitted attribute that ``warm_start`` takes it from.
    _private_state : tuple of str
        Fitted attributes whose names begin with "_".
    _fitted_shapes : dict
        See `check_fitted_arrays`.
    _unit : str
        What `max_iter` counts, where these are not iterations: " passes".
    _loss_parameter : str
        The parameter that holds a name, a number, or a `Divergence`.
    _has_shifts, _is_signed : bool
        Whether the fitted model has shifts, and whether X may have negative entries.
    """

    n_threads: int | None
    verbose: int
    n_iter_: int
    reconstruction_err_: float
    normalized_loss_: float
    history_: dict[str, Array]
    n_features_in_: int
    feature_names_in_: Array
    source_: dict[str, Any]  # how X was read, of a fit to what fastnmf.read returned; files keep it
    row_names_: Array  # of the rows of the fit, where that had them

    _constraints, _fixed, _not_free, _continued, _fitted_shapes = {}, {}, (), {}, {}
    _private_state = ("_n_components", "_fitted_rows", "_names", "_statistics", "_layer")
    _has_shifts = _is_signed = False
    _loss_parameter, _unit = "beta_loss", ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        take_readings(cls)
        make_fits_atomic(cls)
        shorten_request_help(cls)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse, tags.input_tags.positive_only = True, not self._is_signed
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _has_signed_factors(self):
        """Whether the factor H of a fit may have negative entries."""
        return self._is_signed

    # ---------------------------------------------------------------- parameters and data

    def _uses_of_rows(self, is_fit):
        """Return what a fit, or the fitted model for new rows, uses of what `Readings` have: names of arguments."""
        return (*("strata",) * self._has_shifts, *("sample_weight",) * is_fit)

    def _set(self, parameters):
        """Set the parameters of ``__init__`` as attributes, unchanged, as scikit-learn requires, from a dict."""
        for name in parameters.keys() - {"self", "__class__"}:
            setattr(self, name, parameters[name])

    def _checked_options(self):
        """Check all parameters, each for itself and together, and return them as `Options`: for methods that fit."""
        options = self._options()
        self._check_options(options)
        if options.n_init != _default_n_init(type(self)):
            check_restarts(options.n_init, options.init)
        return options

    def _options(self):
        """Check each parameter for itself and return them as `Options`."""
        names = _parameter_names(type(self))
        parameters = self._fixed | {name: getattr(self, name) for name in names if hasattr(self, name)}
        kinds = tuple(tuple(map(type, v)) if type(v) is tuple else type(v) for v in parameters.values())
        is_plain = all(_PLAIN.issuperset(kind if type(kind) is tuple else (kind,)) for kind in kinds)
        read = _read_plain if is_plain else _read_plain.__wrapped__
        return read(type(self), self._loss_parameter, tuple(parameters), tuple(parameters.values()), kinds)

    def _reading_options(self):
        """Return the options with which new rows are read: those of the fit."""
        return self._options()

    def _check_options(self, options):
        """Raise where parameters that are valid each for itself do not go together."""

    def _validated(self, X, *, reset, is_fitted=True):
        """Check feature names, feature counts and tags; `Strata` checks finiteness, sign and layout."""
        if reset:
            vars(self).pop("_layer", None)
            vars(self).update({"_layer": X.layer} if isinstance(X, Layer) else {})
        elif is_annotated(X):
            X = with_layer(X, getattr(self, "_layer", None))
        names = names_of(X) if is_annotated(X) else None  # scikit-learn looks after those of data frames
        is_plain = not hasattr(X, "columns")
        X = unmasked(matrix_of(X), getattr(self, "missing_values", None), type(self).__name__)
        check_kind(X)  # scikit-learn rejects these, too, but prints the whole matrix
        model = self
        if reset:
            self.__dict__.pop("_names", None)
        else:
            check_names(names, getattr(self, "feature_names_in_", None))
            if names is not None or getattr(self, "_names", None) is not None and is_plain:
                model = copy.copy(self)  # drop the names: scikit-learn would expect them in X
                model.__dict__.pop("feature_names_in_", None)
        n_known = None if reset else getattr(model, "n_features_in_", None)  # None: or components set manually
        if is_ready(X) and not hasattr(model, "feature_names_in_") and n_known in (None, X.shape[1]):
            vars(self).update({"n_features_in_": X.shape[1]} if reset else {})
        else:
            options = {"accept_sparse": True, "dtype": [np.float64, np.float32], "ensure_all_finite": False}
            X = validate_data(model, X, reset=reset, ensure_min_samples=1, **options)
        if reset and names is not None:
            self._names = self.feature_names_in_ = names
        if not reset and is_fitted:
            self._check_fitted(X.shape[1])
        return X

    def _check_fitted(self, n_features=None):
        """Raise unless the model is fitted, and its arrays agree with each other and with the number of features."""
        shapes = self._fitted_shapes
        if not (shapes and all(hasattr(self, name) for name in shapes)):
            check_is_fitted(self)  # takes as long as the other checks of small arrays together
        check_fitted_arrays(self, n_features)

    def _new_data(self, X):
        """Return new data X as the data of a fit."""
        self._check_fitted()
        return self._data(self._validated(X, reset=False), {}, None)

    # ---------------------------------------------------------------- the fit

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        W: Factor = None,
        H: Factor = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Finite, and non-negative unless the class says otherwise. float32 stays float32; all other types become
            float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W, H : ndarray (n_samples, n_components), (n_components, n_features), default=None
            Start for ``init="custom"``, non-negative.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs, and from which a fit that was killed continues;
            see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters, data or the start cannot be used. The message says what was given, what was expected and what
            to do.
        """
        return self._fit(X, W=W, H=H, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    @with_callbacks
    def _fit(self, X, *, checkpoint=None, checkpoint_every=60.0, **given):
        """Fit and return self; `given` are the arguments of `fit` beside X, by name, None where they were not given."""
        options = self._checked_options()
        check_index(X, **{name: given.get(name) for name in ("y", "sample_weight", "weight")})
        X, strata = with_labels(with_layer(X, given.pop("layer", None)), given.get("strata"))
        given |= {} if strata is None else {"strata": strata}
        if self._goes_on(options):
            check_names(names_of(X), getattr(self, "feature_names_in_", None), "the fit that warm_start continues from")
        for name in ("source_", "row_names_"):  # with warm_start those of the data before
            vars(self).pop(name, None)
        X = self._validated(X, reset=True)
        with (
            threads(options.n_threads),
            checkpointing(self, checkpoint, checkpoint_every) as checkpointer,
            fit_callbacks(self, options, X) as callbacks,
        ):
            data = self._data(X, given, options)
            if checkpointer is not None:
                seed = checkpointer.open(self._identity(data), given, options)
                options = replace(options, random_state=seed, init=getattr(self, "init", None))  # a default may be old

            def make(start):
                seed, init = start
                solver = self._solver(data, given, replace(options, init=init, max_time=runs.clock.left), seed)
                callbacks.arrays = lambda: _apart(self._arrays(data, solver), solver)
                return solver

            runs = Restarts(options, *self._runs(data, given, options), callbacks, checkpointer)
            fit = runs.run(make)
            self._finish(data, fit, options)
            vars(self)["run_objectives_"] = np.array(runs.objectives)
        self._warn(fit, options)
        warn_of_nothing(data, fit, self.history_["normalized_loss"])
        return self

    def _data(self, X, given, options):
        """Return the data of a fit, or with no options new data, for validated X."""
        return Strata.from_array(X, is_signed=self._is_signed)

    def _identity(self, data):
        """Return the `Strata` by which a checkpoint recognises the data."""
        return data

    def _solver(self, data, given, options, random_state):
        """Return the solver of one run at its start.

        Parameters
        ----------
        data : Strata
            What `_data` returned.
        given : dict
            Arguments of `fit`.
        options : Options
        random_state : None, int, Generator or RandomState
            Seed of this run.

        Returns
        -------
        Solver
        """
        problem, factors = self._compose(data, given, options, generator(random_state))
        return AlternatingSolver(problem, factors, self._extrapolation(factors, problem.tasks, options))

    def _improved_start(self, data, start, options, random_state):
        """Return the default start of a fit, or a better one that a model makes from it.

        Parameters
        ----------
        data : Strata
        start : tuple (W, H, v, V)
            As `BaseNMF._start` returns it.
        options : Options
        random_state : None, int, Generator or RandomState
        """
        return start

    def _extrapolation(self, factors, tasks, options):
        """Return the `Extrapolation` or `SQUAREM` of a fit, or None."""

    def _n_runs(self, options):
        """Return how many starts a fit tries: one where all starts would be the same."""
        return 1 if self._goes_on(options) or has_same_start(options.init) else options.n_init

    def _most_runs(self, options):
        """Return how many starts a fit tries at most."""
        return options.n_init

    def _runs(self, data, given, options):
        """Return how many starts a fit tries, and an iterator of the seed and the value of `init` of each."""
        return self._n_runs(options), zip(self._seeds(options), repeat(options.init), strict=False)

    def _seeds(self, options):
        """Yield the seed of each run. The first is `random_state` itself: its run is the fit with ``n_init=1``."""
        yield options.random_state
        if (count := self._n_runs(options)) > 1:
            yield from generator(options.random_state).spawn(count - 1)

    def _arrays(self, data, solver):
        """Return copies of W, H and V in the scale of the user's data, None for what the model lacks, for callbacks."""
        factors = solver.factors
        W, H = (factors.arrays.get(name) for name in "WH")
        W = None if W is None else W[:, : factors.widths.get("W", factors.rank)].copy()
        H = None if H is None else np.ldexp(H[:, : factors.widths.get("H", factors.rank)].T, -2 * data.log4_scale)
        return W, H, None

    def _finish(self, data, fit, options):
        """Set the fitted attributes."""
        if isinstance(fit.solver, AlternatingSolver):
            fit.solver.extrapolation = fit.solver.squarem = None  # two factors
        self._set_factors(data, fit, options)
        self._record(data, fit, options)
        self._release(fit)

    def _release(self, fit):
        if isinstance(fit.solver, AlternatingSolver):
            fit.problem.release()

    def _record(self, data, fit, options):
        """Set the attributes that report how the fit went.

        Here and elsewhere `vars(self)` sets attributes that not all models have: an assignment would show them to type
        checkers in every class.
        """
        vars(self).update(n_iter_=fit.n_iter, converged_=fit.converged, stopped_by_=fit.stopped_by)
        self.history_ = as_arrays(fit.history, fit.solver.scale)
        self.normalized_loss_ = float(self.history_["normalized_loss"][-1])
        with np.errstate(over="ignore"):
            self.reconstruction_err_ = self._reconstruction_error(fit.loss, -2 * data.log4_scale, options)
        if np.isinf(self.reconstruction_err_):
            warn(
                "reconstruction_err_ grows with the square of X and overflows float64 for these data; read "
                "normalized_loss_, or scale X.",
                UserWarning,
            )

    def _reconstruction_error(self, loss, exponent, options):
        """Return the reconstruction error for a loss of data that are ``2 ** -exponent`` times the user's."""
        if options.is_squared:
            return float(np.ldexp(np.sqrt(loss), exponent))
        # a divergence scales with the beta-th power of the data
        return float(np.sqrt(2 * loss) * np.exp2(exponent * options.beta / 2))

    def _warn(self, fit, options):
        """Warn if the fit has not converged."""
        if fit.stopped_by == "max_iter" and not fit.converged:
            warn(
                f"The fit stopped at max_iter={options.max_iter}{self._unit} before the objective converged to "
                f"tol={options.tol:g}; raise max_iter, or raise tol.",
                ConvergenceWarning,
            )

    # ---------------------------------------------------------------- starts

    def _goes_on(self, options):
        """Tell whether this fit continues the previous one."""
        names = self._continued.values()
        return options.warm_start and bool(names) and all(hasattr(self, name) for name in names)

    def _checked_start(self, shapes, given, options, is_signed=False):
        """Return the arrays of a start that the user or the previous fit gives, or None.

        Parameters
        ----------
        shapes : dict
            Names of the factors -> shapes.
        given : dict
            Arguments of `fit`.
        options : Options
        is_signed : bool, default=False
            Whether negative entries are allowed.

        Returns
        -------
        list of ndarray of float64, or None
        """
        brought = [name for name in shapes if given.get(name) is not None]
        if options.init == "custom":
            missing = [name for name in shapes if name not in brought]
            if missing:
                names = ", ".join(shapes)
                raise ValueError(f"init='custom' needs a start: pass {names} to fit ({missing[0]} is missing).")
            return [check_start(name, given[name], shape, is_signed) for name, shape in shapes.items()]
        if brought:
            raise ValueError(
                f"A start was given ({', '.join(brought)}) with init={shown(options.init)}; use init='custom'."
            )
        if not self._goes_on(options):
            return None
        return [continued(name, getattr(self, self._continued[name]), shape, options) for name, shape in shapes.items()]

    def _components_from_init(self, data, options):
        """Return the components of a model or `Start` given as `init`, (k, n_columns) in the inner scale, or None."""
        start = start_from_init(options.init)
        if start is None:
            return None
        names = getattr(self, "feature_names_in_", None)
        start.check(data.shape, options.n_components, names, self._is_signed)
        return np.ldexp(start.components, 2 * data.log4_scale)

    def as_start(self) -> Start:
        """Return the fitted components as a `Start`, for use as `init` of another estimator.

        ``init=model`` does the same, and works with `sklearn.base.clone`, pipelines and searches. Only the parameter
        grid of a search requires a `Start`: scikit-learn clones estimators there, without their fitted state.

        Returns
        -------
        Start

        Raises
        ------
        ValueError
            The estimator is not fitted.
        """
        check_init(self, ())
        return start_of(self)

    def __sklearn_clone__(self):
        init = getattr(self, "init", None)
        if not is_model(init):
            return super().__sklearn_clone__()
        plain = copy.copy(self)  # clone would copy the model in init without its fitted state
        plain.init = None
        cloned = super(Estimator, plain).__sklearn_clone__()
        cloned.init = init
        return cloned

    # ---------------------------------------------------------------- files, features

    @classmethod
    def _is_saved(cls, name):
        return is_fitted_name(cls, name) or name == "_sklearn_output_config"

    def _saved_attributes(self):
        return {name: value for name, value in vars(self).items() if self._is_saved(name)}

    def save(self, path: FilePath, feature_names: Names | None = None) -> None:
        """Write the fitted model to one file. `fastnmf.load` reads it without the training data.

        The file is an ``.npz`` without pickles: reading it cannot run code, and ``numpy.load(path)["components_"]``
        works, too. It holds the class, all parameters, all fitted attributes, the statistics from which `partial_fit`
        continues, of a fit to what `fastnmf.read` returned how that was read and its names, and the version. An
        existing file is replaced only when the new one is complete and on disk.

        Parameters
        ----------
        path : str or path
            Used unchanged; no suffix is added.
        feature_names : sequence of str (n_features,), default=None
            Names for a model fitted to data without names, or a vocabulary: name -> column; the loaded model
            has them as `feature_names_in_`.

        Raises
        ------
        TypeError
            Labels of strata, or a parameter, are neither numbers nor strings nor arrays of these, or the vectorizer in
            `source_` has a function.
        ValueError
            The model is not fitted (NotFittedError), `feature_names` has a different length, or the model has other
            names.
        OSError
            The file cannot be written.

        Warns
        -----
        UserWarning
            `callback` is a function and is not saved; the loaded model has ``callback=None``. Callbacks of scikit-learn
            are not saved either.

        Notes
        -----
        If `random_state` is a generator, its current state is saved. A parameter that is a DataFrame is loaded as an
        array; a model given as `init` is loaded as the `fastnmf.Start` with its factors. Metadata requests
        (``set_fit_request``) are not saved.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> import fastnmf
        >>> X = np.outer([1.0, 2, 3], [1.0, 0, 2])
        >>> model = fastnmf.NMF(1, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.npz", feature_names=["red", "green", "blue"])
        ...     again = fastnmf.load(f"{folder}/model.npz")
        >>> bool((again.transform(X) == model.transform(X)).all()), again.top_features(2)
        (True, [['blue', 'red']])
        """
        check_is_fitted(self)
        archive.write(path, "model", model_state(self, names_to_keep(self, feature_names)))

    def _feature_names(self, feature_names):
        return feature_names_for(self, feature_names)

    def top_samples(self, n: int = 5) -> Integers:
        """Return the training rows that use each component most, strongest first.

        Parameters
        ----------
        n : int, default=5
            Rows listed for each component.

        Returns
        -------
        ndarray (n_components, min(n, n_samples)) of int
            Row numbers; ties go to the earlier row.
        """
        check_is_fitted(self)
        check_integer("n", n)
        if not hasattr(self, "W_"):
            raise NotFittedError(
                f"This {type(self).__name__} has no W_, the weights of the training rows; fit sets them. "
                "For other rows, sort the columns of transform(X)."
            )
        return np.argsort(-self.W_.T, axis=1, kind="stable")[:, :n]


def _apart(arrays, solver):
    """Return W, H and V for callbacks, W as a copy where it is the factor that the fit will change."""
    W, *others = arrays
    factors = getattr(solver, "factors", None)
    is_shared = W is not None and factors is not None and np.may_share_memory(W, factors.arrays.get("W"))
    return W.copy() if is_shared else W, *others


def is_ready(X):
    """Tell whether X is a plain array that scikit-learn would return as it is, after looking for data frames."""
    return type(X) is np.ndarray and X.ndim == 2 and X.size > 0 and X.dtype in (np.float64, np.float32)


def check_brought(brought, init, has_shifts):
    """Warn, or for models with shifts raise, if this `init` ignores the factors `brought` to `fit` by name."""
    if brought and has_shifts:
        raise ValueError(f"A start was given ({', '.join(brought)}) with init={shown(init)}; use init='custom'.")
    if brought:  # as in scikit-learn
        warn(
            "When init!='custom', provided W or H are ignored. Set init='custom' to use them as initialization.",
            RuntimeWarning,
        )


def check_start(name, array, shape, is_signed=False):
    """Return the array of a user's start as float64.

    Parameters
    ----------
    name : str
        Name of the factor, for the messages.
    array : array-like
    shape : tuple of int
        Expected shape.
    is_signed : bool, default=False
        Whether negative entries are allowed.

    Returns
    -------
    ndarray of float64, of that shape

    Raises
    ------
    ValueError
        Another shape, no numbers, or negative or non-finite entries.
    """
    check_unmasked(array, f"The start {name}")
    array = np.asarray(array)
    if array.shape != shape or array.dtype.kind not in "fiub":
        raise ValueError(
            f"The start {name} has shape {array.shape} and dtype {array.dtype}; expected {shape}, numbers."
        )
    if not np.isfinite(array).all() or (array < 0).any() and not is_signed:
        raise ValueError(f"The start {name} contains negative or non-finite entries; every entry must be >= 0.")
    return array.astype(np.float64)


def continued(name, array, shape, options):
    """Return a factor of the previous fit as a start, float64, for ``warm_start``.

    Parameters
    ----------
    name : str
        Name of the factor.
    array : ndarray
        The factor of the previous fit.
    shape : tuple of int
        Required shape.
    options : Options

    Returns
    -------
    ndarray of float64, of that shape
    """
    if array.shape != shape:
        raise ValueError(
            f"warm_start continues from {name} of shape {array.shape}, but {shape} is required; set warm_start=False, "
            "or keep n_components, the samples and the features."
        )
    array = array.astype(np.float64)
    return without_zeros(array) if options.is_multiplicative else array


def without_zeros(F):
    """Replace the zeros of a factor by a thousandth of its mean: multiplicative updates cannot leave a zero."""
    return F + 1e-3 * (F.mean() or 1 / F.shape[1]) * (F == 0)
