"""Check the parameters that the estimators share, and convert them to the form that the core takes.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numbers

import numpy as np
import scipy.sparse as sp

from fastnmf.core.penalties.elastic_net import ElasticNet
from fastnmf.data.matrix import as_csr


def check_choice(name, value, choices):
    """Raise unless `value` is one of `choices`."""
    if not any(value is choice or (type(value) is type(choice) and value == choice) for choice in choices):
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}={value!r} is not known; expected one of {expected}.")


def check_integer(name, value, least=1):
    """Raise unless `value` is an integer of at least `least`."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} is not valid; expected an integer >= {least}.")


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
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 <= value <= most or np.isinf(value):
        raise ValueError(f"{name}={value!r} is not valid; expected {what}.")


def check_bool(name, value):
    """Raise unless `value` is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r} is not valid; expected True or False.")


def check_callback(max_time, callback, n_threads):
    """Raise unless the time limit, the callback and the number of threads are valid."""
    if max_time is not None:
        check_number("max_time", max_time, "None or a number of seconds >= 0")
    if callback is not None and not callable(callback):
        raise ValueError(f"callback={callback!r} is not valid; expected None or a function of a FitState.")
    if n_threads is not None:
        check_integer("n_threads", n_threads)


def check_sweeps(sweeps, length, example):
    """Raise unless `sweeps` is a tuple or list of `length` positive integers; `example` is for the message."""
    is_right = isinstance(sweeps, (tuple, list)) and len(sweeps) == length
    if not is_right or not all(isinstance(n, numbers.Integral) and not isinstance(n, bool) and n >= 1 for n in sweeps):
        expected = f"{length} integers >= 1, such as {example}" + (", or 'thorough'" if length == 3 else "")
        raise ValueError(f"sweeps={sweeps!r} is not valid; expected {expected}.")


def generator(random_state):
    """Return the NumPy Generator for a `random_state`: None, int, Generator, or RandomState (one draw is the seed)."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
    if random_state is None or isinstance(random_state, numbers.Integral) and random_state >= 0:
        return np.random.default_rng(random_state)
    raise ValueError(
        f"random_state={random_state!r} is not valid; expected None, an integer >= 0, a Generator or a RandomState."
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
    n_rows = data.shape[0]
    weight = np.ones(n_rows)
    if sample_weight is not None:
        weight = np.asarray(sample_weight, dtype=np.float64)
        if weight.ndim == 0:
            weight = np.full(n_rows, float(weight))
        if weight.shape != (n_rows,):
            raise ValueError(f"sample_weight has shape {weight.shape}, expected ({n_rows},): one weight a row.")
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


def elastic_nets(data, alphas, l1_ratio, beta):
    """Return the penalties by factor, as `Problem` takes them.

    They are scaled as in scikit-learn: those of W by the number of columns, those of H and V by the number of rows.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    alphas : dict
        Factor name ("W", "H", "V") -> strength >= 0, in the scale of the user.
    l1_ratio : float
        Share of L1 in the penalties, between 0 and 1.
    beta : float
        Beta of the divergence. The squared error (2) is twice the textbook's ``1/2 ||X - W H||²``, and so are its
        penalties.

    Returns
    -------
    dict
        Factor name -> list of one `ElasticNet`, in the inner scale; factors with strength 0 are absent.
    """
    unit, n_columns = 2 if beta == 2 else 1, data.shape[1]
    times = {"W": n_columns, "H": data.total, "V": data.total}
    # With s = 2 ** log4_scale the loss grows with s ** (2 beta), W and H grow with s, and V grows with s ** 2.
    found = {}
    for name, alpha in alphas.items():
        if alpha == 0:
            continue
        weight = alpha * times[name]
        own = 2 if name == "V" else 1
        l1 = weight * l1_ratio * np.exp2((2 * beta - own) * data.log4_scale)
        l2 = weight * (1 - l1_ratio) * np.exp2((2 * beta - 2 * own) * data.log4_scale)
        found[name] = [ElasticNet(l1, l2, data.row_scale if name == "W" else None, unit, beta)]
    return found


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
    if not isinstance(seeds, (dict, list, tuple)):
        raise ValueError(f"seed_features={seeds!r} is not valid; expected a dict component -> features, or a list.")
    items = seeds.items() if isinstance(seeds, dict) else enumerate(seeds)
    place = None if names is None else {str(name): j for j, name in enumerate(names)}
    found = {}
    for component, features in items:
        if not isinstance(component, numbers.Integral) or not 0 <= component < rank:
            raise ValueError(f"seed_features names component {component!r}; expected 0 to {rank - 1}.")
        if isinstance(features, str) or not np.iterable(features):
            raise ValueError(f"seed_features[{component}] is {features!r}; expected a list of features.")
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
