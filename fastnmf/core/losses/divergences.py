"""Divergences other than the squared error, plain and with one vector of shifts for each stratum."""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import aligned
from fastnmf.core.thresholds import TRIVIAL_DIVERGENCE, model_floor
from fastnmf.data.layout import Compressed, nonzero_means, row_index
from fastnmf.kernels import divergence, rows
from fastnmf.kernels.jit import split_rows
from fastnmf.kernels.records import CSR, LazyRows, ShiftedProduct, Shifts

EXPONENTS = ("mm", "fast")


class _Divergence:
    """Base of the divergences: the data by rows and by columns, and the shift entry of every non-zero.

    The model of row i is ``u_i v(g(i)) + W_i Hᵀ``; u is ``strata.row_scale``, or one where that is None. The value is
    the divergence itself, not twice it, and ``neg - pos`` is its gradient.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels, by factor.
    has_shifts : bool, default=False
        Whether there is a factor V, entries (q,) on ``strata.pattern``.

    Attributes
    ----------
    floor : ndarray (1,) or (n_rows,) of float64
        Model values below it count as it; see `fastnmf.core.thresholds.model_floor`.
    """

    def __init__(self, strata, width, tasks, has_shifts=False):
        self.strata, self.tasks, self.has_shifts = strata, tasks, has_shifts
        n_rows, n_columns = strata.shape
        if strata.is_sparse:
            self._sides = {"W": strata.rows, "H": strata.columns}
        else:
            rows_ = sp.csr_array(strata.X)
            turned = rows_.tocsc()
            self._sides = {"W": Compressed(rows_.indptr, rows_.indices, rows_.data)}
            self._sides["H"] = Compressed(turned.indptr, turned.indices, turned.data)
        values = self._sides["W"].data
        self._products = {name: aligned((n, width), strata.dtype) for name, n in (("W", n_rows), ("H", n_columns))}
        self._ratio = np.empty(len(values), strata.dtype)
        self.total = float(values.sum(dtype=np.float64))
        self.floor = model_floor(self.total / max(len(values), 1))
        row_scale = getattr(strata, "row_scale", None)
        self._loading = np.empty(0, strata.dtype) if row_scale is None else np.asarray(row_scale, dtype=strata.dtype)
        self._places = dict.fromkeys("WH", np.empty(0, np.int32))
        self._sums = np.empty(0)
        if has_shifts:
            self._index_shifts()

    def _index_shifts(self):
        """Find the shift entry of every non-zero of the data, in the order of rows and in that of columns."""
        strata, pattern = self.strata, self.strata.pattern
        n_entries, n_columns = len(pattern.group), strata.shape[1]
        each = np.arange(n_entries, dtype=np.int32)
        turned = sp.csr_array((each, pattern.group, pattern.start), (n_columns, strata.n_strata)).tocsc()
        self._entries = {
            "W": CSR(turned.indptr.astype(np.int64), turned.indices.astype(np.int32), turned.data),
            "H": CSR(np.asarray(pattern.start, dtype=np.int64), pattern.group, each),
        }
        by_row, by_column = self._sides["W"], self._sides["H"]
        columns = np.arange(n_columns, dtype=np.int32)
        walks = {
            "W": (
                strata.groups.order,
                strata.stratum_index,
                by_row.indptr,
                by_row.indices,
                self._entries["W"],
                n_columns,
            ),
            "H": (
                columns.astype(np.int64),
                columns,
                by_column.indptr,
                strata.stratum_index[by_column.indices],
                self._entries["H"],
                strata.n_strata,
            ),
        }
        for name, walk in walks.items():
            tasks = split_rows(len(walk[0]), len(self._ratio) // len(walk[0]) + 1)
            self._places[name] = np.empty(len(self._ratio), np.int32)
            divergence.csr_shift_entries(tasks, *walk, self._places[name])
        self._sums = np.zeros(n_entries)
        sizes = np.bincount(strata.stratum_index, self._loading if len(self._loading) else None, strata.n_strata)
        self.sizes = sizes.astype(strata.dtype)
        self._no_weight = np.zeros(strata.n_strata, strata.dtype)

    def floor_by_row(self):
        """Take the floor of each row from its own non-zeros, so that W of a row for given H depends on this row alone.

        After this, sides other than W must not be walked.
        """
        self.floor = model_floor(nonzero_means(self._sides["W"]))

    def share(self, room):
        """Use the workspaces in `room`, a dict, for results of side H, which then hold until another loss has its."""
        self._products["H"] = room.setdefault("product", self._products["H"])

    def contribute(self, name, factors, sub):
        """Add ``pos`` and ``neg`` of factor V, W or H at this point."""
        sub.is_quadratic, sub.beta = False, getattr(self, "beta", 1.0)
        sub.power = self.power
        if name == "V":
            sub.weight, sub.group = self._no_weight, self.strata.pattern.group
            dtype = self.strata.dtype
            sub.add(
                pos=self.ratio_pass("H", factors)[2].astype(dtype),
                neg=self._shift_neg(factors).astype(dtype, copy=False),
            )
        else:
            sub.add(pos=self.ratio_pass(name, factors)[0], neg=self._neg(name, factors))

    def _points(self):
        """Return the names of the factors that the model depends on."""
        return ("W", "H", "V") if self.has_shifts else ("W", "H")

    def _both(self, name, factors):
        """Return factor `name` and the other one of W and H."""
        return factors[name], factors["H" if name == "W" else "W"]

    def _v(self, factors):
        """Return the shift entries (q,); of length 0 where there are none."""
        return factors["V"] if self.has_shifts else np.empty(0, self.strata.dtype)

    def _model(self, name, factors):
        """Return the model of side `name` as the kernels take it."""
        return ShiftedProduct(*self._both(name, factors), self._v(factors), self._places[name], self._loading)

    def ratio_pass(self, name, factors):
        """Return three results of one pass over the non-zeros at this point.

        Parameters
        ----------
        name : {"W", "H"}
            The side whose rows are walked.
        factors : fastnmf.core.factors.Factors

        Returns
        -------
        pos : ndarray (p, K)
            ``pos`` of factor `name`.
        sums : float, or tuple of float
            The sums that the value needs; meaningful for side W only.
        shift_pos : ndarray (q,) of float64
            ``pos`` of V; filled for side H only.
        """

        def compute():
            side, out = self._sides[name], self._products[name]
            tasks = side.tasks(out.shape[1])
            sums = self._sums if name == "H" else self._sums[:0]
            sums[:] = 0
            return out, self._walk(name, factors, side, tasks, out, sums), sums

        return factors.cached(("ratio", name), self._points(), compute)


def entropy_of(x):
    """Return ``sum x log x`` of an array (p,), float64, where 0 counts as 0."""
    x = x.astype(np.float64, copy=False)
    return float(x @ np.log(x, out=np.zeros_like(x), where=x > 0))


def independence(entropy, total, margins):
    """Return the divergence of data from the product of their margins.

    Parameters
    ----------
    entropy, total : float
        Sums of x log x and of x over the entries.
    margins : tuple of float
        Sums of s log s over the sums s of the rows, and of the columns, or the sum of both.
    """
    return _zero_if_rounding((entropy, total * np.log(total), -sum(margins)) if total > 0 else (0.0,))


class KullbackLeibler(_Divergence):
    """``sum x log(x / y) - x + y`` with ``y = u_i v(i) + (W Hᵀ)``, the generalised Kullback-Leibler divergence.

    Ratio parts (Lee and Seung 2001): with ``z = x / y`` on the non-zeros, pos of W is ``Z H`` and neg is ``1 (Hᵀ1)ᵀ``;
    those of H are alike; pos of a shift is ``sum u z`` over the rows of its stratum, and neg is ``sum u``. The
    objective is not quadratic.

    Cost: O(nnz K) per pass. V and H from one point share a pass, so a schedule that updates V with H after W takes two
    passes per iteration. The value uses the pass of W at the same point; a history therefore costs one logarithm for
    each non-zero. Of dense data, too, only the non-zeros are walked.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
        Where it has a `row_scale` u (n_rows,), its rows, and those of W, are held multiplied by it.
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels, by factor.
    has_shifts : bool, default=False
        Whether there is a factor V, entries (q,) on ``strata.pattern``.
    """

    power = 1.0

    def __init__(self, strata, width, tasks, has_shifts=False):
        super().__init__(strata, width, tasks, has_shifts)
        self._groups = {name: np.zeros(n, np.int32) for name, n in zip("WH", strata.shape, strict=True)}
        if has_shifts:
            self._counts = self.sizes[strata.pattern.group]

    def independence(self):
        """Return the divergence of the best model of rank one, the product of the margins: the scale of the losses."""
        side = self._sides["W"]
        of_row = np.add.reduceat(np.append(side.data, 0).astype(np.float64), side.indptr[:-1])
        of_row[np.diff(side.indptr) == 0] = 0
        of_column = np.bincount(side.indices, side.data, minlength=self.strata.shape[1])
        entries = side.data.astype(np.float64)  # some may have become zero beside far larger ones
        entropy = float(side.data @ np.log(entries, out=np.zeros_like(entries), where=entries > 0))
        margins = sum(float(m[m > 0] @ np.log(m[m > 0])) for m in (of_row, of_column))
        return independence(entropy, self.total, (margins,))

    def value(self, factors, V=None):
        """Return the divergence; its pass over the data is the one that the next update of W needs as well.

        `V` (n_strata, n_columns), float64, dense or CSR, gives shifts that may have entries off the pattern, as a
        user's start may have. Entries on the pattern are taken from `factors`.
        """
        model = float(self._totals("W", factors) @ self._totals("H", factors))
        if self.has_shifts:
            model += float(np.einsum("e,e->", self._counts, factors["V"], dtype=np.float64))
        if V is not None:
            pattern = self.strata.pattern
            model += float(self.sizes @ V.sum(axis=1) - self._counts @ pattern.entries(V))
        return self.ratio_pass("W", factors)[1] - self.total + model

    def _neg(self, name, factors):
        """Return ``neg`` of factor W or H: the same row of column sums for every row."""
        sums = self._totals("H" if name == "W" else "W", factors).astype(self.strata.dtype)
        return LazyRows.of(sums[None], self._groups[name])

    def _shift_neg(self, factors):
        """Return ``neg`` of V, an array (q,)."""
        return self._counts

    def _totals(self, name, factors):
        """Return the column sums of factor `name`, float64 (K,)."""

        def compute():
            parts = np.empty((len(self.tasks[name]) - 1, factors[name].shape[1]))
            rows.rows_sum(self.tasks[name], factors[name], parts)
            return parts.sum(axis=0)

        return factors.cached(("sums", name), (name,), compute)

    def _walk(self, name, factors, side, tasks, out, sums):
        """Walk the non-zeros of one side, and write ``pos`` and the sums of the shifts.

        Parameters
        ----------
        name : {"W", "H"}
            The side whose rows are walked.
        factors : fastnmf.core.factors.Factors
        side : fastnmf.data.layout.Compressed
            The data of this side.
        tasks : ndarray of int64
            Task table of `side`.
        out : ndarray (p, K)
            Overwritten with ``pos``.
        sums : ndarray (q,) of float64, or of length 0
            ``sum u z`` is added, entry by entry of the shifts; only for side H.

        Returns
        -------
        total : float
            ``sum x log z`` for side W, 0 for side H.
        """
        parts = np.empty(len(tasks) - 1 if name == "W" else 0)
        if self.has_shifts:
            model = self._model(name, factors)
            divergence.csr_shifted_ratio(tasks, side.csr, model, self.floor, self._ratio, out, parts, sums)
        else:
            both = self._both(name, factors)
            divergence.csr_ratio_matmul(tasks, side.csr, *both, self.floor, self._ratio, out, parts)
        return float(parts.sum())


class BetaDivergence(_Divergence):
    """``sum d(x, y)``, ``d = (x^b + (b - 1) y^b - b x y^(b - 1)) / (b (b - 1))``, with ``y = u_i v(i) + (W Hᵀ)``.

    b = 0 is Itakura-Saito, ``x / y - log(x / y) - 1``; b = 1 is Kullback-Leibler; b = 2 is half the squared error.

    Ratio parts: pos of W is ``(X * Y^(b - 2)) H``, which needs Y on the non-zeros only. neg is ``Y^(b - 1) H``, which
    needs Y everywhere: O(n m K) per pass, computed a tile at a time, so that Y is never stored as a whole. The ratio is
    raised to the power 1 / (2 - b) for b < 1 and 1 / (b - 1) for b > 2, with which the objective is monotone. For b = 1
    and 2, `KullbackLeibler` and the squared errors do the same in O(nnz K) per pass.

    Source: Fevotte and Idier 2011, "Algorithms for nonnegative matrix factorization with the beta-divergence", Neural
    Computation, doi:10.1162/NECO_a_00168.

    Parameters
    ----------
    strata, width, tasks, has_shifts :
        As for `KullbackLeibler`.
    beta : float
        For beta <= 0 the data must have no zeros; see `check_beta`.
    exponent : {"mm", "fast"}, default="mm"
        "fast" leaves the power out. Steps are then longer for b < 1 and b > 2, and the objective may increase; see
        `fastnmf.core.problem.Problem.retry_with_safe_step`.
    """

    def __init__(self, strata, width, tasks, beta, has_shifts=False, exponent="mm"):
        if exponent not in EXPONENTS:
            raise ValueError(f"exponent={exponent!r} is not known; expected one of {EXPONENTS}.")
        super().__init__(strata, width, tasks, has_shifts)
        self.beta = beta = float(beta)
        safe_power = 1 / (2 - beta) if beta < 1 else 1 / max(1.0, beta - 1)
        self.power = 1.0 if exponent == "fast" else safe_power
        self.safe_powers = () if self.power == safe_power else (safe_power,)
        self._below = {name: aligned(product.shape, strata.dtype) for name, product in self._products.items()}
        if not has_shifts:
            nothing, none = np.empty(0, np.int64), np.empty(0, np.int32)
            self._entries = dict.fromkeys("WH", CSR(nothing, none, none))
        self._shift_sums = np.zeros(len(self._sums))
        x = self._sides["W"].data.astype(np.float64)
        if beta == 0:
            self._constant = -float(np.log(x).sum()) - len(x)
        elif beta == 1:
            self._constant = float(x @ np.log(x)) - self.total
        else:
            self._constant = float((x**beta).sum()) / (beta * (beta - 1))

    def share(self, room):
        """As for `KullbackLeibler`; two results of side H are held."""
        super().share(room)
        self._below["H"] = room.setdefault("below", self._below["H"])

    def value(self, factors, V=None):
        """Return the divergence, for beta = 2 half the squared error.

        Its passes over the data are those that the next update of W needs as well. `V` as for `KullbackLeibler`.
        """
        crossed, logs = self.ratio_pass("W", factors)[1]
        if self.beta == 0:
            return self._from_sums(crossed, logs, 0.0)
        powers = self._whole("W", factors)[1] if V is None else self._powers_with(V, factors)
        return self._from_sums(crossed, logs, powers)

    def reference(self):
        """Return the divergence of the best constant model: the scale of the losses.

        With a `row_scale` u the model of row i is ``u_i c``, so that a row of weight w counts like w equal rows.
        """
        beta, (n_rows, n_columns) = self.beta, self.strata.shape
        u = self._loading.astype(np.float64) if len(self._loading) else np.ones(n_rows)
        side = self._sides["W"]
        of_row = np.bincount(row_index(side), side.data, n_rows)[u > 0]
        count, u = np.diff(side.indptr)[u > 0], u[u > 0]
        if not of_row.any():
            return 0.0
        y = u * float(u ** (beta - 1) @ of_row) / (n_columns * float((u**beta).sum()))
        logs = float(np.log(y) @ (count if beta == 0 else of_row))
        sums = float(of_row @ y ** (beta - 1)), logs, n_columns * float((y**beta).sum())
        return _zero_if_rounding((self._constant, self._from_sums(*sums) - self._constant))

    def _from_sums(self, crossed, logs, powers):
        """Return the divergence from the sums of ``x y^(b - 1)``, ``x log y`` or ``log y``, and ``y^b``."""
        if self.beta == 0:
            return self._constant + crossed + logs
        if self.beta == 1:
            return self._constant - logs + powers
        return self._constant - crossed / (self.beta - 1) + powers / self.beta

    def _neg(self, name, factors):
        """Return ``neg`` of factor W or H, an array of its shape."""
        return self._whole(name, factors)[0]

    def _shift_neg(self, factors):
        """Return ``neg`` of V, float64 (q,)."""
        return self._whole("H", factors)[2]

    def _walk(self, name, factors, side, tasks, out, sums):
        """Walk the non-zeros of one side, and write ``pos`` and the sums of the shifts.

        Parameters
        ----------
        name, factors, side, tasks, out :
            As for `KullbackLeibler._walk`.
        sums : ndarray (q,) of float64, or of length 0
            ``sum u x y^(b - 2)`` is added, entry by entry of the shifts; only for side H.

        Returns
        -------
        totals : tuple of two float
            For side W the sums of ``x y^(b - 1)``, and of ``log y`` (b = 0) or ``x log y`` (b = 1); zeros for side H.
        """
        parts = np.empty((len(tasks) - 1 if name == "W" else 0, 2))
        model, least = self._model(name, factors), self.floor if self.beta < 2 else np.zeros(1)
        divergence.csr_power_matmul(tasks, side.csr, model, least, self.beta - 2, self._ratio, out, parts, sums)
        return tuple(parts.sum(axis=0).tolist())

    def _whole(self, name, factors):
        """Return ``neg`` of factor W or H, the sum of ``y^b`` (side W), and ``neg`` of V (side H), at this point."""

        def compute():
            sums = self._shift_sums if name == "H" else self._shift_sums[:0]
            sums[:] = 0
            return self._powers(name, factors, self._v(factors), self._entries[name], self._below[name], sums)

        return factors.cached(("powers", name), self._points(), compute)

    def _powers(self, name, factors, v, entries, out, sums):
        """Compute powers of the whole model, a tile at a time.

        Parameters
        ----------
        name : {"W", "H"}
            The side whose rows are walked.
        factors : fastnmf.core.factors.Factors
        v : ndarray (q,)
            The shift entries.
        entries : fastnmf.kernels.records.CSR
            The index of each entry, by strata and columns (side W) or by columns and strata (side H).
        out : ndarray (p, K)
            Overwritten with ``Y^(b - 1)`` times the other factor.
        sums : ndarray (q,) of float64, or of length 0
            ``sum u y^(b - 1)`` is added, entry by entry of the shifts; only for side H.

        Returns
        -------
        out : ndarray (p, K)
        total : float
            The sum of ``y^b`` for side W, 0 for side H.
        sums : ndarray (q,)
        """
        both = self._both(name, factors)
        tasks = split_rows(len(out), both[1].size)
        parts, least = np.empty(len(tasks) - 1 if name == "W" else 0), self.floor if self.beta < 1 else np.zeros(1)
        stratum_index = self.strata.stratum_index if self.has_shifts else np.empty(0, np.int32)
        shifts = Shifts(v, *entries, stratum_index, self._loading, self.strata.n_strata)
        divergence.rows_powers(tasks, *both, shifts, least, self.beta - 1, out, parts, sums)
        return out, float(parts.sum()), sums

    def _powers_with(self, V, factors):
        """Return the sum of ``y^b`` for given shifts V (n_strata, n_columns), dense or CSR."""
        out = np.empty_like(self._below["W"])  # leaves the cached array unchanged
        return self._powers("W", factors, *whole_entries(V, self.strata.dtype), out, np.empty(0))[1]


def whole_entries(V, dtype):
    """Return all entries of shifts V (n_strata, n_columns), dense or CSR: their values, and the index of each as `CSR`.

    They may lie off the pattern of the data; strata are the rows of the index.
    """
    if sp.issparse(V):
        v, every = V.data, np.arange(V.nnz, dtype=np.int32)
        entries = CSR(V.indptr.astype(np.int64), V.indices.astype(np.int32), every)
    else:
        v, every = V.ravel(), np.arange(V.size + 1, dtype=np.int32)
        entries = CSR(every[:: V.shape[1]].astype(np.int64), np.tile(every[: V.shape[1]], len(V)), every[:-1])
    return v.astype(dtype), entries


def _zero_if_rounding(parts):
    """Return the sum of the parts of a divergence, 0 where it is no more than their rounding."""
    found = sum(parts)
    return found if found > TRIVIAL_DIVERGENCE * sum(abs(part) for part in parts) else 0.0


def check_beta(data, beta, name="beta_loss"):
    """Raise a ValueError where the divergence of any model from these data is infinite.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    beta : float
    name : str, default="beta_loss"
        The user's name of the parameter.

    Raises
    ------
    ValueError
        beta <= 0, and the data have a zero.
    """
    if beta > 0:
        return
    known, weights = data.X.shape[0] * data.X.shape[1], getattr(data, "entry_weights", None)
    if weights is not None:
        known = int(weights.counts(1).sum())  # what is missing is held as zero
    zeros = known - (np.count_nonzero(data.X.data if data.is_sparse else data.X))
    if zeros:
        raise ValueError(
            f"{name}={beta:g} needs data without zeros, but X has {zeros}: the divergence from a zero is infinite. "
            f"Add a small constant to X, drop the zeros, or use {name} > 0."
        )
