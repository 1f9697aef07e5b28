"""Divergences other than the squared error, plain and with one shift a stratum."""

import numpy as np
import scipy.sparse as sp

from fastnmf.kernels import divergence, rows
from fastnmf.kernels.jit import split_rows
from fastnmf.layout import Compressed
from fastnmf.problem import Mixture, aligned

LEAST = 1.1920929e-07  # model values below it count as that where a negative power of them is taken, as in scikit-learn
ROUNDING = 1e-14  # of the sums that a trivial divergence is the difference of
EXPONENTS = ("mm", "fast")


class _Divergence:
    """What both have in common: the data by rows and by columns, and where their non-zeros meet the shifts.

    The model of row i is ``u_i v(g(i)) + W_i Hᵀ``; u is ``strata.loading``, one where there is none. The value is the
    divergence itself, not twice it, and ``neg - pos`` its gradient.
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
        loading = getattr(strata, "loading", None)
        self._loading = np.empty(0, strata.dtype) if loading is None else np.asarray(loading, dtype=strata.dtype)
        self._places = dict.fromkeys("WH", np.empty(0, np.int32))
        self._sums = np.empty(0)
        if has_shifts:
            self._meet_shifts()

    def _meet_shifts(self):
        strata, pattern = self.strata, self.strata.pattern
        n_entries, n_columns = len(pattern.group), strata.shape[1]
        each = np.arange(n_entries, dtype=np.int32)
        turned = sp.csr_array((each, pattern.group, pattern.start), (n_columns, strata.n_strata)).tocsc()
        self._entries = {
            "W": (turned.indptr.astype(np.int64), turned.indices.astype(np.int32), turned.data),
            "H": (np.asarray(pattern.start, dtype=np.int64), pattern.group, each),
        }
        by_row, by_column = self._sides["W"], self._sides["H"]
        columns = np.arange(n_columns, dtype=np.int32)
        walks = {
            "W": (strata.groups.order, strata.codes, by_row.indptr, by_row.indices, self._entries["W"], n_columns),
            "H": (
                columns.astype(np.int64),
                columns,
                by_column.indptr,
                strata.codes[by_column.indices],
                self._entries["H"],
                strata.n_strata,
            ),
        }
        for name, walk in walks.items():
            tasks = split_rows(len(walk[0]), len(self._ratio) // len(walk[0]) + 1)
            self._places[name] = np.empty(len(self._ratio), np.int32)
            divergence.csr_places(tasks, *walk, self._places[name])
        self._sums = np.zeros(n_entries)
        sizes = np.bincount(strata.codes, self._loading if len(self._loading) else None, strata.n_strata)
        self.sizes = sizes.astype(strata.dtype)
        self._no_weight = np.zeros(strata.n_strata, strata.dtype)

    def contribute(self, name, factors, sub):
        """Add pos and neg of factor V, W or H at this point."""
        sub.is_quadratic = False
        sub.power = self.power
        if name == "V":
            sub.weight, sub.group = self._no_weight, self.strata.pattern.group
            dtype = self.strata.dtype
            sub.add(
                pos=self._pass("H", factors)[2].astype(dtype), neg=self._shift_neg(factors).astype(dtype, copy=False)
            )
        else:
            sub.add(pos=self._pass(name, factors)[0], neg=self._neg(name, factors))

    def _points(self):
        return ("W", "H", "V") if self.has_shifts else ("W", "H")

    def _both(self, name, factors):
        return factors[name], factors["H" if name == "W" else "W"]

    def _shifts(self, name, factors):
        v = factors["V"] if self.has_shifts else np.empty(0, self.strata.dtype)
        return v, self._places[name], self._loading

    def _pass(self, name, factors):
        """Return the pos of factor W or H, what the value needs (side W), and the pos of V (side H), at this point."""

        def compute():
            side, out = self._sides[name], self._products[name]
            tasks = side.tasks(out.shape[1])
            sums = self._sums if name == "H" else self._sums[:0]
            sums[:] = 0
            return out, self._walk(name, factors, side, tasks, out, sums), sums

        return factors.cached(("ratio", name), self._points(), compute)


class KullbackLeibler(_Divergence):
    """``sum x log(x / y) - x + y`` with ``y = u_i v(i) + (W Hᵀ)``, the generalised Kullback-Leibler divergence.

    Ratio parts (Lee and Seung 2001): pos of W is ``Z H`` with ``z = x / y`` on the non-zeros, neg ``1 (Hᵀ1)ᵀ``; of H
    alike; of a shift ``sum u z`` over the rows of its stratum, and ``sum u``. The objective is not quadratic. O(nnz K)
    a pass; V and H from one point share theirs, so that V with H after W takes two an iteration. The value comes with
    the pass of W at the same point, so that a history costs a logarithm a non-zero. Dense data are walked by their
    non-zeros, too.

    Parameters
    ----------
    strata : fastnmf.data.Strata
        Where it has `loading` u (n_rows,), its rows, and those of W, are held multiplied by it.
    width : int
        Padded rank K.
    tasks : dict
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
        entropy = float(side.data @ np.log(side.data.astype(np.float64)))
        margins = sum(float(m[m > 0] @ np.log(m[m > 0])) for m in (of_row, of_column))
        parts = (entropy, self.total * np.log(self.total), -margins) if self.total > 0 else (0.0,)
        return _unless_rounding(parts)

    def value(self, factors, V=None):
        """Return the divergence, at the price of the pass that the next move of W needs anyhow.

        V (n_strata, n_columns), float64, gives shifts off the pattern, which a user's start may have, beside those in
        `factors`.
        """
        model = float(self._totals("W", factors) @ self._totals("H", factors))
        if self.has_shifts:
            model += float(np.einsum("e,e->", self._counts, factors["V"], dtype=np.float64))
        if V is not None:
            pattern = self.strata.pattern
            model += float(self.sizes @ V.sum(axis=1) - self._counts @ pattern.entries(V))
        return self._pass("W", factors)[1] - self.total + model

    def _neg(self, name, factors):
        sums = self._totals("H" if name == "W" else "W", factors).astype(self.strata.dtype)
        return Mixture.of(sums[None], self._groups[name])

    def _shift_neg(self, factors):
        return self._counts

    def _totals(self, name, factors):
        def compute():
            parts = np.empty((len(self.tasks[name]) - 1, factors[name].shape[1]))
            rows.rows_sum(self.tasks[name], factors[name], parts)
            return parts.sum(axis=0)

        return factors.cached(("sums", name), (name,), compute)

    def _walk(self, name, factors, side, tasks, out, sums):
        parts = np.empty(len(tasks) - 1 if name == "W" else 0)
        csr, both = (side.indptr, side.indices, side.data), self._both(name, factors)
        if self.has_shifts:
            shifts = self._shifts(name, factors)
            divergence.csr_shifted_ratio(tasks, csr, both, shifts, self._ratio, out, parts, sums)
        else:
            divergence.csr_ratio_matmul(tasks, *csr, *both, self._ratio, out, parts)
        return float(parts.sum())


class BetaDivergence(_Divergence):
    """``sum d(x, y)``, ``d = (x^b + (b - 1) y^b - b x y^(b - 1)) / (b (b - 1))``, with ``y = u_i v(i) + (W Hᵀ)``.

    b = 0 is Itakura-Saito, ``x / y - log(x / y) - 1``, b = 1 Kullback-Leibler, b = 2 half the squared error. Ratio
    parts (Fevotte and Idier 2011, "Algorithms for nonnegative matrix factorization with the beta-divergence", Neural
    Computation, doi:10.1162/NECO_a_00168): pos of W is ``(X * Y^(b - 2)) H``, which needs Y on the non-zeros only, neg
    is ``Y^(b - 1) H``, which needs it everywhere: O(n m K) a pass, a tile at a time, so that Y is never there as a
    whole. The ratio is raised to 1 / (2 - b) for b < 1 and to 1 / (b - 1) for b > 2, with which the objective never
    rises. For b = 1 and 2 `KullbackLeibler` and the squared errors do the same in a fraction of the time.

    Parameters
    ----------
    strata, width, tasks, has_shifts :
        As for `KullbackLeibler`.
    beta : float
        For beta <= 0 data must not have zeros; see `check_beta`.
    exponent : {"mm", "fast"}, default="mm"
        "fast" leaves the exponent out: longer steps for b < 1 and b > 2, and no promise that the objective falls; see
        `fastnmf.problem.Problem.falls_back`.
    """

    def __init__(self, strata, width, tasks, beta, has_shifts=False, exponent="mm"):
        if exponent not in EXPONENTS:
            raise ValueError(f"exponent={exponent!r} is not known; expected one of {EXPONENTS}.")
        super().__init__(strata, width, tasks, has_shifts)
        self.beta = beta = float(beta)
        self.safe_power = 1 / (2 - beta) if beta < 1 else 1 / max(1.0, beta - 1)
        self.power = 1.0 if exponent == "fast" else self.safe_power
        self._below = {name: aligned(product.shape, strata.dtype) for name, product in self._products.items()}
        self._every = {name: np.arange(n, dtype=np.int32) for name, n in zip("WH", strata.shape[::-1], strict=True)}
        if not has_shifts:
            nothing, none = np.empty(0, np.int64), np.empty(0, np.int32)
            self._entries = dict.fromkeys("WH", (nothing, none, none))
        self._shift_sums = np.zeros(len(self._sums))
        x = self._sides["W"].data.astype(np.float64)
        if beta == 0:
            self._constant = -float(np.log(x).sum()) - len(x)
        elif beta == 1:
            self._constant = float(x @ np.log(x)) - self.total
        else:
            self._constant = float((x**beta).sum()) / (beta * (beta - 1))

    def value(self, factors, V=None):
        """Return the divergence, for beta = 2 half the squared error, from what the next move of W needs anyhow.

        V as for `KullbackLeibler`.
        """
        crossed, logs = self._pass("W", factors)[1]
        if self.beta == 0:
            return self._from_sums(crossed, logs, 0.0)
        powers = self._whole("W", factors)[1] if V is None else self._powers_with(V, factors)
        return self._from_sums(crossed, logs, powers)

    def reference(self):
        """Return the divergence of the best constant model: the scale of the losses.

        With loading u the model of row i is ``u_i c``, so that a row that counts often is so many rows.
        """
        beta, (n_rows, n_columns) = self.beta, self.strata.shape
        u = self._loading.astype(np.float64) if len(self._loading) else np.ones(n_rows)
        side = self._sides["W"]
        of_row = np.bincount(np.repeat(np.arange(n_rows), np.diff(side.indptr)), side.data, n_rows)[u > 0]
        count, u = np.diff(side.indptr)[u > 0], u[u > 0]
        if not of_row.any():
            return 0.0
        y = u * float(u ** (beta - 1) @ of_row) / (n_columns * float((u**beta).sum()))
        logs = float(np.log(y) @ (count if beta == 0 else of_row))
        sums = float(of_row @ y ** (beta - 1)), logs, n_columns * float((y**beta).sum())
        return _unless_rounding((self._constant, self._from_sums(*sums) - self._constant))

    def _from_sums(self, crossed, logs, powers):
        """Return the divergence from the sums of ``x y^(b - 1)``, ``x log y`` or ``log y``, and ``y^b``."""
        if self.beta == 0:
            return self._constant + crossed + logs
        if self.beta == 1:
            return self._constant - logs + powers
        return self._constant - crossed / (self.beta - 1) + powers / self.beta

    def _neg(self, name, factors):
        return self._whole(name, factors)[0]

    def _shift_neg(self, factors):
        return self._whole("H", factors)[2]

    def _walk(self, name, factors, side, tasks, out, sums):
        parts = np.empty((len(tasks) - 1 if name == "W" else 0, 2))
        csr, limits = (side.indptr, side.indices, side.data), (LEAST if self.beta < 2 else 0.0, self.beta - 2)
        shifts, both = self._shifts(name, factors), self._both(name, factors)
        divergence.csr_power_matmul(tasks, csr, both, limits, shifts, self._ratio, out, parts, sums)
        return tuple(parts.sum(axis=0).tolist())

    def _whole(self, name, factors):
        """Return neg of factor W or H, the sum of ``y^b`` (side W), and neg of V (side H), at this point."""

        def compute():
            sums = self._shift_sums if name == "H" else self._shift_sums[:0]
            sums[:] = 0
            shifts = self._shifts(name, factors)[0], *self._entries[name]
            return self._powers(name, factors, shifts, self._below[name], sums)

        return factors.cached(("powers", name), self._points(), compute)

    def _powers(self, name, factors, shifts, out, sums):
        both, every = self._both(name, factors), self._every[name]
        tasks = split_rows(len(out), len(every) * out.shape[1])
        parts = np.empty(len(tasks) - 1 if name == "W" else 0)
        limits = LEAST if self.beta < 1 else 0.0, self.beta - 1, self.strata.n_strata
        codes = self.strata.codes if self.has_shifts else np.empty(0, np.int32)
        divergence.rows_powers(tasks, both, every, limits, (*shifts, codes, self._loading), out, parts, sums)
        return out, float(parts.sum()), sums

    def _powers_with(self, V, factors):
        """Return the sum of ``y^b`` for dense shifts V (n_strata, n_columns)."""
        every = np.arange(V.size + 1, dtype=np.int32)
        entries = every[:: V.shape[1]].astype(np.int64), np.tile(self._every["W"], len(V)), every[:-1]
        out = np.empty_like(self._below["W"])  # the cached one stays
        return self._powers("W", factors, (V.astype(self.strata.dtype).ravel(), *entries), out, np.empty(0))[1]


def _unless_rounding(parts):
    """Return the sum of the parts of a divergence, 0 where it is no more than their rounding."""
    found = sum(parts)
    return found if found > ROUNDING * sum(abs(part) for part in parts) else 0.0


def check_beta(data, beta, name="beta_loss"):
    """Raise one sentence where the divergence of any model from these data is infinite.

    Parameters
    ----------
    data : fastnmf.data.Strata
    beta : float
    name : str, default="beta_loss"
        What the user calls it.

    Raises
    ------
    ValueError
        beta <= 0 and a zero in the data.
    """
    if beta > 0:
        return
    zeros = data.X.shape[0] * data.X.shape[1] - (np.count_nonzero(data.X.data if data.is_sparse else data.X))
    if zeros:
        raise ValueError(
            f"{name}={beta:g} needs data without zeros, and X has {zeros}: the divergence from a zero is infinite. "
            f"Add a small constant to X, drop the zeros, or use {name} > 0."
        )
