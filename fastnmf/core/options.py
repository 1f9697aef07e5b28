"""Check the parameters of estimators by one table, and hold them in the record that the core reads.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import scipy.sparse as sp

from fastnmf.core.dispersion import KINDS, size_of
from fastnmf.core.losses.choice import COUNTS, DIVERGENCES, Beta, Counts, Divergence, as_divergence
from fastnmf.data.entry_weights import MISSING
from fastnmf.data.matrix import as_csr, as_numbers, check_unmasked
from fastnmf.data.sentences import shown


@dataclass(frozen=True)
class FactorOptions:
    """The options of one factor.

    Attributes
    ----------
    alpha, l1_ratio : float
        Strength of its elastic net, and the share of L1 in it.
    fixed : array-like or sparse matrix, or None
        Known entries, NaN elsewhere (H only).
    seeds : dict or list, or None
        Features that components are pulled to (H only).
    guide_weight : float
        Strength of that pull.
    objects : tuple
        Penalties that the user wrote; see `fastnmf.core.penalties.custom.CustomPenalty`.
    update : str, object or None
        Update that the user chose in place of the solver's: "hals", "mu", "exact", or an object with `step`.
    """

    alpha: float = 0.0
    l1_ratio: float = 0.0
    fixed: object = None
    seeds: object = None
    guide_weight: float = 1.0
    objects: tuple = ()
    update: object = None


@dataclass(frozen=True)
class Options:
    """The checked parameters of a fit. A field that an estimator has no parameter for has the value given here.

    Attributes
    ----------
    name : str
        Class of the estimator, for messages.
    n_components : int, tuple of int, "auto" or None
    init : str, Start, estimator, or None
    solver : str
    loss : fastnmf.core.losses.choice.Divergence
    loss_given : str
        The parameter and its value as the user gave it, for messages.
    exponent : {"mm", "fast"}
        Exponent of multiplicative updates for a divergence.
    max_iter, n_init : int
    tol : float
    max_time : float, or None
    callback : callable, or None
    n_threads : int, or None
    verbose : int
    warm_start : bool
    random_state : None, int, Generator or RandomState
    W, H, V : FactorOptions
    missing_values, strata_weight, gauge, normalize, label_weight :
        As the parameters of `StratifiedNMF`.
    label_loss : {"frobenius", "kullback-leibler"}
        As the parameter of `SemiSupervisedNMF`.
    sparse_shifts : bool, or None
        As the parameter of `StratifiedNMF`.
    """

    name: str = ""
    n_components: object = None
    init: object = None
    solver: str = "cd"
    loss: Divergence = DIVERGENCES["frobenius"]
    loss_given: str = ""
    exponent: str = "mm"
    max_iter: int = 1
    n_init: int = 1
    tol: float = 0.0
    max_time: float | None = None
    callback: Callable | None = None
    n_threads: int | None = None
    verbose: int = 0
    warm_start: bool = False
    random_state: object = None
    W: FactorOptions = FactorOptions()
    H: FactorOptions = FactorOptions()
    V: FactorOptions = FactorOptions()
    missing_values: object = None
    strata_weight: str = "rows"
    gauge: str | None = None
    normalize: str | None = None
    label_weight: float = 0.0
    label_loss: str = "frobenius"
    sparse_shifts: bool | None = None

    @property
    def is_squared(self):
        """Whether the loss is the squared error."""
        return self.loss.is_squared

    @property
    def is_kullback_leibler(self):
        """Whether the loss is the Kullback-Leibler divergence, for which W for given components is exact, too."""
        return isinstance(self.loss, Beta) and self.beta == 1

    @property
    def is_counts(self):
        """Whether the loss is the deviance of negative-binomial counts."""
        return isinstance(self.loss, Counts)

    def takes_weights(self, of_divergences, has_shifts):
        """Return whether entries may have weights under the loss, and under which losses they may, for a message.

        Parameters
        ----------
        of_divergences : bool
            Whether the model weighs entries under divergences, too.
        has_shifts : bool
            Whether it has shifts of strata.
        """
        if not of_divergences:
            return self.is_squared, "the squared error"
        if has_shifts:
            return self.is_squared or self.is_kullback_leibler, "the squared error or Kullback-Leibler"
        return isinstance(self.loss, Beta), "a beta divergence"

    @property
    def beta(self):
        """Power with which the loss grows with the units: the beta of a beta divergence."""
        return self.loss.degree

    @property
    def is_multiplicative(self):
        """Whether factors are updated by multiplication, which never changes a zero."""
        return self.solver == "mu"

    @property
    def has_exact_W(self):
        """Whether W for given components is a problem of least squares: it has no penalty or update of the user."""
        is_quadratic = all(hasattr(each, "elastic_net") for each in self.W.objects)
        return is_quadratic and (self.W.update is None or isinstance(self.W.update, str))


def read_options(name, parameters, constraints, loss_parameter="beta_loss"):
    """Check the parameters of an estimator and return them as `Options`.

    Parameters
    ----------
    name : str
        Class of the estimator.
    parameters : dict
        Parameter -> value.
    constraints : dict
        Parameter -> ``check(name, value)``, which raises one sentence; they precede those of `CONSTRAINTS`.
    loss_parameter : str, default="beta_loss"
        The parameter that holds the loss.

    Returns
    -------
    Options
    """
    for parameter, value in parameters.items():
        check = constraints.get(parameter) or CONSTRAINTS.get(parameter)
        if check is not None:
            check(parameter, value)
        check_finite(parameter, value)
    found = {field: parameters[field] for field in _FIELDS if field in parameters}
    if loss_parameter in parameters:
        found["loss"] = _loss_of(parameters[loss_parameter], parameters.get("dispersion"))
        found["loss_given"] = f"{loss_parameter}={parameters[loss_parameter]!r}"
    alphas = {factor: parameters.get(f"alpha_{factor}", 0.0) for factor in "WHV"}
    if alphas["H"] == "same":
        alphas["H"] = alphas["W"]
    l1_ratio = parameters.get("l1_ratio", 0.0)
    found |= {factor: FactorOptions(alpha, l1_ratio) for factor, alpha in alphas.items() if alpha}
    of_H = (alphas["H"], l1_ratio, parameters.get("fixed_components"), parameters.get("seed_features"))
    if of_H[2] is not None or of_H[3]:
        found["H"] = FactorOptions(*of_H, parameters.get("guide_weight", 1.0))
    for factor, objects in (parameters.get("penalties") or {}).items():
        objects = tuple(objects) if isinstance(objects, (list, tuple)) else (objects,)
        found[factor] = replace(found.get(factor, FactorOptions()), objects=objects)
    return Options(name=name, **found)


def _loss_of(given, dispersion):
    """Return the loss as a `Divergence`; `dispersion` is the parameter of this name, for counts."""
    if not (isinstance(given, str) and given == COUNTS):
        return as_divergence(given)
    if isinstance(dispersion, str):
        return Counts(kind=str(dispersion))
    return Counts(size_of(dispersion))


def check_choice(name, value, choices):
    """Raise unless `value` is one of `choices`; a text of NumPy, as a grid of parameters holds it, counts as text."""
    value = str(value) if isinstance(value, np.str_) else value
    if not any(value is choice or (type(value) is type(choice) and value == choice) for choice in choices):
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}={shown(value)} is not known; expected one of {expected}.")


def check_integer(name, value, least=1):
    """Raise unless `value` is an integer of at least `least`."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={shown(value)} is not valid; expected an integer >= {least}.")


def check_number(name, value, what="a number >= 0", most=np.inf):
    """Raise unless `value` is a finite number between 0 and `most`.

    Parameters
    ----------
    name : str
        Name of the parameter, for the message.
    value : object
    what : str, default="a number >= 0"
        Description of the expected value, for the message.
    most : float, default=inf
        Largest valid value.
    """
    is_number = type(value) in (int, float) or isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= most or value == np.inf:
        raise ValueError(f"{name}={shown(value)} is not valid; expected {what}.")


def check_finite(name, value):
    """Raise where a parameter is a number that is not finite, or a list or tuple that holds one."""
    if value is None or type(value) in (str, bool, int) or type(value) is float and math.isfinite(value):
        return  # most are, and abstract classes take time
    held = value if isinstance(value, (list, tuple)) else [value]
    if not all(math.isfinite(each) for each in held if isinstance(each, numbers.Real)):
        raise ValueError(f"{name}={value!r} is not finite; give finite numbers.")


def check_bool(name, value):
    """Raise unless `value` is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={shown(value)} is not valid; expected True or False.")


def check_verbose(name, value):
    """Raise unless `value` is True, False or an integer >= 0."""
    if not isinstance(value, (numbers.Integral, np.bool_)) or value < 0:
        raise ValueError(f"{name}={shown(value)} is not valid; expected 0 (silent) or 1 (shows progress).")


def integer(least=1):
    """Return the constraint of an integer of at least `least`."""
    return lambda name, value: check_integer(name, value, least)


def number(what="a number >= 0", most=np.inf):
    """Return the constraint of a finite number from 0 to `most`; `what` describes it in the message."""
    return lambda name, value: check_number(name, value, what, most)


def positive(name, value):
    """Raise unless `value` is None or a finite number above 0."""
    if value is not None:
        check_number(name, value, "None or a number > 0")
        if value == 0:
            raise ValueError(f"{name}=0 is not valid; expected None or a number > 0.")


def one_of(*choices):
    """Return the constraint of a value among `choices`."""
    return lambda name, value: check_choice(name, value, choices)


def optional(check):
    """Return the constraint of None or a value that meets the constraint `check`."""
    return lambda name, value: None if value is None else check(name, value)


def check_beta_loss(name, value):
    """Raise unless `value` is the name of a loss, a number, or a `Divergence`."""
    if isinstance(value, Divergence) and type(value).build is Divergence.build:
        raise ValueError(
            f"{name} is a {type(value).__name__}, which has no method build; define it, or extend EntrywiseLoss."
        )
    if isinstance(value, Divergence) and not math.isfinite(value.degree):
        raise ValueError(f"{name}={value!r} has the degree {value.degree}; pass a finite degree, or 0 for none.")
    if not isinstance(value, (Divergence, numbers.Real)):
        check_choice(name, value, tuple(DIVERGENCES))


def check_count_loss(name, value):
    """Raise unless `value` is a loss as for `check_beta_loss`, or the negative binomial."""
    if isinstance(value, str):
        check_choice(name, value, (*DIVERGENCES, COUNTS))
    else:
        check_beta_loss(name, value)


def check_dispersion(name, value):
    """Raise unless `value` is "feature", "global", a number >= 0, or a list or vector of such numbers."""
    if isinstance(value, str):
        check_choice(name, value, KINDS)
        return
    found = np.asarray(value)
    is_numbers = found.dtype.kind in "fiu" and found.ndim <= 1 and found.size > 0
    if not is_numbers or not np.isfinite(found).all() or (found < 0).any():
        raise ValueError(
            f"{name}={shown(value)} is not valid; expected 'feature', 'global', a number >= 0, or one such number for "
            "each feature."
        )


def check_penalties(name, value):
    """Raise unless `value` is None or maps W, H or V to penalties: objects with `value` and `half_gradient`."""
    expected = "expected None or a dict such as {'H': [penalty]} with the keys 'W', 'H' or 'V'"
    if value is not None and (not isinstance(value, dict) or not value.keys() <= {"W", "H", "V"}):
        raise ValueError(f"{name}={shown(value)} is not valid; {expected}.")
    for factor, objects in (value or {}).items():
        for each in objects if isinstance(objects, (list, tuple)) else (objects,):
            if isinstance(each, type):
                raise ValueError(f"{name}[{factor!r}] has the class {each.__name__}; pass an instance of it.")
            if not all(callable(getattr(each, method, None)) for method in ("value", "half_gradient")):
                raise ValueError(
                    f"{name}[{factor!r}] has {shown(each)}; expected an object with the methods value(F) and "
                    "half_gradient(F), where F has one row for each component."
                )


def check_seeds(name, value):
    """Raise ValueError unless `value` is a dict or a list; `find_seeds` checks what is in it."""
    if not isinstance(value, (dict, list, tuple)):
        raise ValueError(f"{name}={shown(value)} is not valid; expected a dict component -> features, or a list.")


def check_function(name, value):
    """Raise unless `value` is None or callable."""
    if value is not None and not callable(value):
        raise ValueError(f"{name}={shown(value)} is not valid; expected None or a function of a FitState.")


def check_jobs(name, value):
    """Raise unless `value` is None or an integer other than 0, as joblib takes it."""
    if value is not None and (not isinstance(value, numbers.Integral) or isinstance(value, bool) or value == 0):
        raise ValueError(f"{name}={shown(value)} is not valid; expected None, an integer >= 1, or -1 for all cores.")


def sweeps_of(length, example):
    """Return the constraint of `length` numbers of sweeps, or with three of them also "thorough"."""

    def check(name, value):
        if not (isinstance(value, str) and value == "thorough" and length == 3):
            check_sweeps(value, length, example)

    return check


def check_sweeps(sweeps, length, example):
    """Raise unless `sweeps` is a tuple or list of `length` positive integers; `example` is for the message."""
    is_right = isinstance(sweeps, (tuple, list)) and len(sweeps) == length
    if not is_right or not all(isinstance(n, numbers.Integral) and not isinstance(n, bool) and n >= 1 for n in sweeps):
        expected = f"{length} integers >= 1, such as {example}" + (", or 'thorough'" if length == 3 else "")
        raise ValueError(f"sweeps={shown(sweeps)} is not valid; expected {expected}.")


# parameter -> constraint, for all estimators; a class adds those whose valid values are its own
CONSTRAINTS = {
    "n_components": integer(),
    "max_iter": integer(),
    "n_init": integer(),
    "tol": number("a number >= 0 (0 runs exactly max_iter iterations)"),
    "max_time": optional(number("None or a number of seconds >= 0")),
    "callback": check_function,
    "n_threads": optional(integer()),
    "n_jobs": check_jobs,
    "verbose": check_verbose,
    "warm_start": check_bool,
    "signed": check_bool,
    "beta_loss": check_beta_loss,
    "dispersion": check_dispersion,
    "penalties": check_penalties,
    "exponent": one_of("mm", "fast"),
    "missing_values": one_of(*MISSING),
    "alpha_W": number(),
    "alpha_H": lambda name, value: None if isinstance(value, str) and value == "same" else check_number(name, value),
    "alpha_V": number(),
    "l1_ratio": number("a number from 0 (only L2) to 1 (only L1)", most=1),
    "guide_weight": number(),
    "label_weight": number(),
    "shuffle": check_bool,
    "extrapolate": check_bool,
    "strata_weight": one_of("rows", "equal"),
    "seed_features": optional(check_seeds),
    "sparse_shifts": optional(check_bool),
    "gauge": one_of(None, "max_shift", "min_shift"),
    "normalize": one_of(None, "l1", "l2", "max"),
}
_FIELDS = [field.name for field in fields(Options) if field.name not in ("name", "loss", "loss_given", "W", "H", "V")]


def generator(random_state):
    """Return the NumPy Generator for a `random_state`: None, int, Generator, or RandomState (one draw is the seed)."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
    if random_state is None or isinstance(random_state, numbers.Integral) and random_state >= 0:
        return np.random.default_rng(random_state)
    raise ValueError(
        f"random_state={shown(random_state)} is not valid; expected None, an integer >= 0, a Generator or a "
        "RandomState."
    )


def row_weights(data, sample_weight, strata_weight):
    """Return the weight of each row, float64 (n_rows,), or None where all weights are one.

    ``strata_weight="equal"`` gives every stratum the same total weight; these totals add up to the sum of the weights.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    sample_weight : array-like (n_rows,), float, or None
        Non-negative; None: 1 for every row.
    strata_weight : {None, "equal"}
    """
    if sample_weight is None and strata_weight != "equal":
        return None
    n_rows = data.shape[0]
    weight = np.ones(n_rows)
    if sample_weight is not None:
        check_unmasked(sample_weight, "sample_weight")
        weight = as_numbers(sample_weight, "sample_weight").astype(np.float64)
        if weight.ndim == 0:
            weight = np.full(n_rows, float(weight))
        if weight.shape != (n_rows,):
            raise ValueError(f"sample_weight has shape {weight.shape}, expected ({n_rows},): one weight per row.")
        if not np.isfinite(weight).all() or (weight < 0).any():
            raise ValueError("sample_weight contains negative or non-finite weights; every weight must be >= 0.")
        if not weight.any():
            raise ValueError("sample_weight is zero for every row; at least one row must count.")
    if strata_weight == "equal":
        of_stratum = np.bincount(data.stratum_index, weight, minlength=data.n_strata)
        used = of_stratum > 0
        factor = np.divide(weight.sum() / used.sum(), of_stratum, out=np.zeros(data.n_strata), where=used)
        weight = weight * factor[data.stratum_index]
    return None if (weight == 1).all() else weight


def check_components(components, rank, n_columns):
    """Check the given components, and return them in full size.

    Parameters
    ----------
    components : array-like or sparse matrix (j, n_columns), j <= rank
        NaN where an entry is to be found.
    rank, n_columns : int

    Returns
    -------
    values : ndarray (rank, n_columns) of float64
        Zero where an entry is not given.
    is_fixed : ndarray (rank, n_columns) of bool
        Whether an entry is given.
    """
    if sp.issparse(components):
        components = as_csr(components, "fixed_components").toarray()  # never-densify-ok: k x n
    known = np.asarray(components)
    if known.dtype.kind not in "fiu" or known.ndim != 2 or known.shape[1] != n_columns or len(known) > rank:
        raise ValueError(
            f"fixed_components has shape {known.shape}; expected at most {rank} rows (n_components) of {n_columns} "
            "numbers, NaN where an entry is to be found."
        )
    is_fixed = np.zeros((rank, n_columns), bool)
    is_fixed[: len(known)] = ~np.isnan(known.astype(np.float64))
    values = np.zeros((rank, n_columns))
    values[: len(known)] = np.where(is_fixed[: len(known)], known, 0.0)
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("fixed_components contains negative or infinite entries; every known entry must be >= 0.")
    return values, is_fixed


def find_seeds(seeds, rank, n_columns, names):
    """Return the columns of the seed features of each component.

    Parameters
    ----------
    seeds : dict component -> features, or list
        Features are column numbers or names.
    rank, n_columns : int
    names : sequence of str, or None
        Names of the columns.

    Returns
    -------
    dict
        Component -> ndarray of int, ascending; components without features are absent.
    """
    items = seeds.items() if isinstance(seeds, dict) else enumerate(seeds)
    place = None if names is None else {str(name): j for j, name in enumerate(names)}
    found = {}
    for component, features in items:
        if not isinstance(component, numbers.Integral) or not 0 <= component < rank:
            raise ValueError(f"seed_features names component {shown(component)}; expected 0 to {rank - 1}.")
        if isinstance(features, str) or not np.iterable(features):
            raise ValueError(f"seed_features[{component}] is {shown(features)}; expected a list of features.")
        columns = []
        for feature in features:
            if isinstance(feature, str):
                if place is None:
                    raise ValueError(
                        f"seed_features names the feature {feature!r}, but X has no feature names; pass a DataFrame, "
                        "or column numbers."
                    )
                if feature not in place:
                    raise ValueError(f"seed_features names {feature!r}, which is not a feature of X.")
                feature = place[feature]
            if not isinstance(feature, numbers.Integral) or not 0 <= feature < n_columns:
                raise ValueError(f"seed_features names column {feature}; X has the columns 0 to {n_columns - 1}.")
            columns.append(int(feature))
        if columns:
            found[int(component)] = np.unique(columns)
    return found


def guide_components(H, seeds, strength):
    """Return target and weights of a penalty that pulls components towards their seed features, and a start.

    The target of a component has equal entries on its seed features, and the Euclidean length of the component in the
    start. The caller multiplies the weights by the loss of the trivial model. With strength 1, the penalty of a
    component is then comparable to the share of an average component in that loss.

    Parameters
    ----------
    H : ndarray (n_columns, k)
        The start. It is not changed.
    seeds : dict
        Component -> columns.
    strength : float

    Returns
    -------
    target : ndarray (n_columns, k)
    weight : ndarray (k,)
        Zero for components without seeds.
    H : ndarray (n_columns, k)
        A start whose guided components are the target plus small equal entries.
    """
    H, k = np.array(H), H.shape[1]
    target, weight = np.zeros(H.shape), np.zeros(k)
    typical = np.sqrt(np.square(H).sum() / k)
    # Equal for all components: unequal small entries could outweigh the seeds in the ratios of a divergence.
    even = 1e-3 * H.mean(axis=1)
    for component, columns in seeds.items():
        length = np.linalg.norm(H[:, component]) or typical or 1.0
        target[columns, component] = length / np.sqrt(len(columns))
        weight[component] = strength / (k * length**2)
        H[:, component] = target[:, component] + even
    return target, weight, H
