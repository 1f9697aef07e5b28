"""Parameters that the estimators share: their checks, and what they become for the core."""

import numbers

import numpy as np
import scipy.sparse as sp

from fastnmf.matrix import as_csr
from fastnmf.penalties import ElasticNet


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
    """Raise unless `value` is a finite number between 0 and `most`."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 <= value <= most or np.isinf(value):
        raise ValueError(f"{name}={value!r} is not valid; expected {what}.")


def check_bool(name, value):
    """Raise unless `value` is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r} is not valid; expected True or False.")


def check_watch(max_time, callback, n_threads):
    """Raise unless the limit of time, the function that watches, and the number of threads can be used."""
    if max_time is not None:
        check_number("max_time", max_time, "None or a number of seconds >= 0")
    if callback is not None and not callable(callback):
        raise ValueError(f"callback={callback!r} is not valid; expected None or a function of a FitState.")
    if n_threads is not None:
        check_integer("n_threads", n_threads)


def check_sweeps(sweeps, length, example):
    """Raise unless `sweeps` are `length` positive integers."""
    is_right = isinstance(sweeps, (tuple, list)) and len(sweeps) == length
    if not is_right or not all(isinstance(n, numbers.Integral) and not isinstance(n, bool) and n >= 1 for n in sweeps):
        expected = f"{length} integers >= 1, such as {example}" + (", or 'thorough'" if length == 3 else "")
        raise ValueError(f"sweeps={sweeps!r} is not valid; expected {expected}.")


def generator(random_state):
    """Return the NumPy Generator of a `random_state`: None, int, Generator, or RandomState (one draw is the seed)."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
    if random_state is None or isinstance(random_state, numbers.Integral) and random_state >= 0:
        return np.random.default_rng(random_state)
    raise ValueError(
        f"random_state={random_state!r} is not valid; expected None, an integer >= 0, a Generator or a RandomState."
    )


def is_annotated(X):
    """Tell whether X is an AnnData, or like one."""
    return all(hasattr(X, name) for name in ("X", "obs", "var_names"))


def unpack(X, strata):
    """Return X and the labels of its rows; an AnnData gives its matrix, and its obs column if `strata` is a name."""
    if is_annotated(X):
        if isinstance(strata, str):
            if strata not in X.obs:
                known = ", ".join(repr(name) for name in list(X.obs)[:8])
                raise ValueError(f"strata={strata!r} is not a column of obs; its columns are {known}.")
            strata = np.asarray(X.obs[strata])
        return X.X, strata
    if isinstance(strata, str):
        raise ValueError(
            f"strata={strata!r} is one name; it stands for an obs column of an AnnData only. Pass one label a row."
        )
    return X, strata


def row_weights(data, sample_weight, strata_weight):
    """Return the weight of each row, float64 (n_rows,), or None where every row counts once.

    ``strata_weight="equal"`` gives every stratum the same total, and all of them together the number of rows.
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
        of_stratum = np.bincount(data.codes, weight, minlength=data.n_strata)
        used = of_stratum > 0
        factor = np.divide(weight.sum() / used.sum(), of_stratum, out=np.zeros(data.n_strata), where=used)
        weight = weight * factor[data.codes]
    return None if (weight == 1).all() else weight


def elastic_nets(data, alphas, l1_ratio, beta):
    """Return the penalties by factor, as `Problem` takes them, for ``alphas`` by factor.

    Scaled as in scikit-learn: those of W by the number of columns, those of H and V by that of rows.

    Parameters
    ----------
    beta : float
        Of the divergence; the squared error (2) counts twice the textbook's ``1/2 ||X - W H||²``.
    """
    unit, n_columns = 2 if beta == 2 else 1, data.shape[1]
    times = {"W": n_columns, "H": data.total, "V": data.total}
    # The loss grows with the power 2 beta of the inner scale; W and H with its first, V with its second.
    found = {}
    for name, alpha in alphas.items():
        if alpha == 0:
            continue
        weight = alpha * times[name]
        own = 2 if name == "V" else 1
        l1 = weight * l1_ratio * np.exp2((2 * beta - own) * data.exponent)
        l2 = weight * (1 - l1_ratio) * np.exp2((2 * beta - 2 * own) * data.exponent)
        found[name] = [ElasticNet(l1, l2, data.loading if name == "W" else None, unit, beta)]
    return found


def check_components(components, rank, n_columns):
    """Return known components (j, n_columns), NaN where an entry is free, as ``(values, is_fixed)`` of (rank, ...)."""
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
    """Return the columns of the seed features of each component, as a dict component -> ndarray of int."""
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
    """Return target and weight of what pulls components towards their seed features, and a start H that has them.

    The target of a component is even on its seed features, as long as the start of the component. The weight is to be
    multiplied by the loss of the trivial model: with strength 1 it is then the share of an average component.

    Parameters
    ----------
    H : ndarray (n_columns, k)
    seeds : dict
        Component -> columns.
    strength : float
    """
    H, k = np.array(H), H.shape[1]
    target, weight = np.zeros(H.shape), np.zeros(k)
    typical = np.sqrt(np.square(H).sum() / k)
    even = 1e-3 * H.mean(axis=1)  # alike for all, lest small entries outweigh the seeds in a ratio of the divergence
    for component, columns in seeds.items():
        length = np.linalg.norm(H[:, component]) or typical or 1.0
        target[columns, component] = length / np.sqrt(len(columns))
        weight[component] = strength / (k * length**2)
        H[:, component] = target[:, component] + even
    return target, weight, H


def strongest(weights, names, n):
    """Return the names of the n largest positive weights in each row, descending, ties by position: a list of lists."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :n]
    return [[str(names[j]) for j in row if weight[j] > 0] for row, weight in zip(order, weights, strict=True)]
