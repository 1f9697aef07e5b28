"""Read the shifts of a fitted model, the components of single strata, and which rows have them."""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from fastnmf import metrics
from fastnmf.data.labels import texts_of
from fastnmf.data.shifts import as_read, dense_row

SEVERAL = " · "  # between the labels of a row that has one of each factor
LEAST_ORDERED = 3  # levels from which on their order is drawn
N_DATES = 4  # marks of an axis of dates
MOST_TIED = 3  # components of a stratum that it changes most


@dataclass
class Block:
    """Shifts that are alternatives of each other: the strata, the levels of a factor, or the columns of a design.

    Attributes
    ----------
    name : str
    rows : slice
        Of the shifts.
    levels : list of str
        What they are called within the block.
    positions : ndarray (n_levels,) of float64, or None
        Where they lie on an axis; None: they have no order.
    ticks : list of (float, str), or None
        Marks of the axis; None: numbers.
    """

    name: str
    rows: slice
    levels: list
    positions: np.ndarray = None
    ticks: list = None


@dataclass
class Groups:
    """The shifts of a model, and the rows that have them.

    Attributes
    ----------
    kind : {"strata", "crossed", "matrix"}
        One label a row, an intercept and the levels of several factors, or the columns of the user's design.
    is_designed : bool
        Whether a row may have several shifts, or a scaled one.
    labels : list of str
        One for each shift.
    V : ndarray or csr_array (n_shifts, n_features) of float64
    sizes : ndarray (n_shifts,), or None
        Number of rows that have each shift, or sum of their weights.
    blocks : list of Block
    member : csc_array (n_rows, n_shifts) of bool, or None
        Which row has which shift; None: it is not known.
    stratum_index : ndarray (n_rows,) of int, or None
        The shift of each row, where it has a single one and that is known.
    given : dict
        What the rows have, as arguments of the methods of the model.
    own : list of (int, int, ndarray, float or None)
        Components of single strata: the stratum, the number there, the weights of the features, and the share in the
        sum of all components over the rows of the stratum.
    is_tied : bool
        Whether they are what a stratum adds to the shared components.
    """

    kind: str
    is_designed: bool
    labels: list
    V: np.ndarray
    sizes: np.ndarray
    blocks: list
    member: object = None
    stratum_index: np.ndarray = None
    given: dict = field(default_factory=dict)
    own: list = field(default_factory=list)
    is_tied: bool = False

    def members(self, code):
        """Return the numbers of the rows that have a shift, ascending."""
        return self.member.indices[self.member.indptr[code] : self.member.indptr[code + 1]]

    def usage(self, W, H):
        """Return the share of each component among all, over the rows of each shift, (n_shifts, k); None: not known."""
        if self.stratum_index is not None:
            return metrics.component_usage(W, H, self.stratum_index)
        if self.member is None or self.kind == "matrix":
            return None
        found = np.repeat(metrics.component_usage(W, H), len(self.labels), axis=0)
        for block in self.blocks:
            level = self.member[:, block.rows].argmax(axis=1)
            found[block.rows] = metrics.component_usage(W, H, np.ravel(level))
        return found

    def labels_of_rows(self):
        """Return labels and the index of that of each row, both None where they are not known or there is one only."""
        if self.kind == "matrix" or self.member is None:
            return None, None
        if self.stratum_index is not None:
            return self.labels, self.stratum_index
        each = [np.ravel(self.member[:, block.rows].argmax(axis=1)) for block in self.blocks]
        cells, index = np.unique(np.stack(each), axis=1, return_inverse=True)
        names = (
            SEVERAL.join(block.levels[at] for block, at in zip(self.blocks, cell, strict=True)) for cell in cells.T
        )
        return list(names), np.ravel(index)


def groups_of(model, W, H, **given):
    """Return the `Groups` of a fitted model; None for a model without shifts.

    Parameters
    ----------
    model : fitted estimator
    W : ndarray (n_rows, k), or None
    H : ndarray (k, n_features)
    **given
        ``strata``, ``design`` and ``exposure`` of the rows of the fit, or None.

    Raises
    ------
    ValueError
        What is given is not what the fit had.
    """
    given = {name: value for name, value in given.items() if value is not None}
    V = getattr(model, "shifts_", None)
    if V is None:
        _refuse(given, type(model).__name__, "has no shifts")
        return None
    sizes, V = getattr(model, "stratum_sizes_", None), (as_read(V) if sparse.issparse(V) else np.asarray(V))
    sizes, V = None if sizes is None else np.asarray(sizes), V.astype(np.float64, copy=False)
    if getattr(model, "_is_designed", False):
        return _of_design(model, V, sizes, given, None if W is None else len(W))
    _refuse(given, type(model).__name__, "keeps the labels of its rows")
    labels, levels = texts_of(np.asarray(model.strata_)), np.asarray(model.strata_)
    index = getattr(model, "row_strata_", None)
    if index is None and V.shape[0] == 1 and W is not None:
        index = np.zeros(len(W), np.intp)
    is_smooth = bool(getattr(model, "smoothness", 0))
    blocks = [Block("", slice(0, len(labels)), labels, *(_positions(levels) if is_smooth else ()))]
    found = Groups("strata", False, labels, V, sizes, blocks, stratum_index=index)
    if index is not None:
        found.sizes = np.bincount(index, minlength=V.shape[0])
        n_rows = len(index)
        one_hot = sparse.csr_array((np.ones(n_rows, bool), index, np.arange(n_rows + 1)), (n_rows, V.shape[0]))
        found.member, found.given = one_hot.tocsc(), {"strata": levels[index]}
    if getattr(model, "_has_own", False):
        found.own, found.is_tied = _own_of(model, W, H, index)
    return found


def _refuse(given, name, why):
    if given:
        raise ValueError(f"{next(iter(given))} was given, but this {name} {why}; leave it out.")


def _of_design(model, V, sizes, given, n_rows):
    """Return the `Groups` of a model that was fitted with a design.

    Parameters
    ----------
    model : fitted estimator
    V : ndarray or csr_array (n_shifts, n_features)
    sizes : ndarray (n_shifts,)
    given : dict
        As for `groups_of`, without None.
    n_rows : int, or None
    """
    learned = model._fitted_design()
    labels = [str(name) for name in learned.names.tolist()]
    if learned.kind == "matrix":
        blocks = [Block("design", slice(0, len(labels)), labels)]
    else:
        names = learned.factors if learned.kind == "crossed" else ["group"]
        is_course = learned.kind == "crossed" or bool(model.smoothness)  # numbers of a single factor may be mere codes
        blocks = [
            Block(name, rows, texts_of(levels), *(_positions(levels) if is_course else ()))
            for name, rows, levels in zip(names, learned.blocks, learned.levels, strict=True)
        ]
    found = Groups(learned.kind, True, labels, V, sizes, blocks)
    if given and n_rows is not None:
        given = {"strata": None, "design": None, "exposure": None} | given
        Z = learned.encode(given["strata"], given["design"], given["exposure"], n_rows)
        found.given = {name: value for name, value in given.items() if value is not None}
        if learned.kind != "matrix":  # an exposure of zero hides which level a row has
            Z = learned.encode(given["strata"], None, np.ones(n_rows) if learned.has_exposure else None, n_rows)
        found.member = sparse.csc_array(Z.astype(bool))
        found.member.sort_indices()
    return found


def _positions(levels):
    """Return where levels lie on an axis, float64, and its marks; None twice where they are no numbers, or few.

    Dates lie at their day. The marks of numbers are None.
    """
    if len(levels) < LEAST_ORDERED or levels.dtype.kind not in "iufM":
        return None, None
    if levels.dtype.kind != "M":
        return levels.astype(np.float64), None
    days = (levels.astype("datetime64[s]") - np.datetime64(0, "s")).astype(np.float64) / 86400
    some = np.unique(np.linspace(0, len(levels) - 1, N_DATES).round().astype(int))
    return days, [(float(days[at]), str(levels[at].astype("datetime64[D]"))) for at in some]


def _own_of(model, W, H, index):
    """Return `Groups.own` of a model with own components, and whether they are tied.

    Parameters
    ----------
    model : fitted estimator
    W : ndarray (n_rows, k)
    H : ndarray (k, n_features)
    index : ndarray (n_rows,) of int
    """
    is_tied, found, first = model._is_tied, [], 0
    for code, stack in enumerate(model.own_components_.values()):
        G = np.array([dense_row(stack, row) for row in range(stack.shape[0])], dtype=np.float64).reshape(stack.shape)
        shared = W[index == code].sum(axis=0, dtype=np.float64)
        weights = shared
        if not is_tied:
            weights = np.ravel(model.own_W_[index == code][:, first : first + len(G)].sum(axis=0))
        amounts = weights * G.sum(axis=1)
        whole = float(amounts.sum() + shared @ H.sum(axis=1))
        shares = amounts / whole if whole > 0 else np.zeros(len(G))
        order = np.argsort(-shares, kind="stable")[:MOST_TIED] if is_tied else np.arange(len(G))
        found += [(code, int(at), G[at], float(shares[at])) for at in order if G[at].any()]
        first += len(G)
    return found, is_tied
