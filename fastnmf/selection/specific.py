"""Test which features are specific to a stratum, by the residuals of a model that has not seen the labels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from scipy.special import gammainc, gammaincc, gammainccinv, gammaincinv, gammaln, ndtr, ndtri

from fastnmf.core.options import check_choice, check_integer, check_number, generator
from fastnmf.data.annotated import matrix_of, with_labels
from fastnmf.data.labels import distinct, encode_labels, known_labels, texts_of, values_of
from fastnmf.data.layout import row_index
from fastnmf.data.matrix import as_csr, as_matrix
from fastnmf.data.names import names_of, read_names
from fastnmf.data.readings import carried
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import as_read
from fastnmf.models.base.for_checkers import Bunch
from fastnmf.typing import Array, Floats, Labels, Matrix, Names, Seed

CORRECTIONS = ("fdr_bh", "fdr_by", "bonferroni", None)
SIDES = {"greater": (1,), "less": (-1,), "two-sided": (1, -1)}  # signs of z that speak for an alternative
MOST = 1 << 27  # strata x features: an array of 1 GB, and there are five
CONSTANT = 1e-12  # share of the mean square below which a variance is rounding
SYMMETRIC = 1e-4  # skewness below which the normal distribution is as good as Pearson's
BLOCK = 1 << 20  # numbers of a block
NODES = 1 << 10  # of the interpolation of critical values, which is then exact to 1e-5
ROUNDING = 1e-12  # share of a p-value that is rounding
MARGIN = 1e-3  # below critical values, for the errors of interpolation and of rounding


class SpecificFeatures(Bunch):
    """Result of `specific_features`; it prints as a table.

    Attributes
    ----------
    labels : ndarray (n_strata,)
        Labels of the strata, sorted.
    names : dict of label -> list of str
        The features that are specific to each stratum, smallest p-value first, at most n.
    z : ndarray (n_strata, n_features)
        Standardised difference of the mean residual of the stratum from that of all rows; 0 where it cannot vary.
    difference : ndarray (n_strata, n_features)
        This difference itself, in the units of X.
    pvalue : ndarray (n_strata, n_features)
        Of one test; 1 where nothing can be tested.
    adjusted : ndarray (n_strata, n_features)
        p-values adjusted for the number of tests.
    rejected : ndarray (n_strata, n_features) of bool
        Whether the adjusted p-value is at most `level`.
    n_rejected : ndarray (n_strata,) of int
    level : float
    correction : str or None
    shuffled : ndarray (n_shuffles,) of int
        Number of rejected tests after each shuffle of the labels; about 0 is right.
    """

    labels: Array
    names: dict[Any, list[str]]
    z: Floats
    difference: Floats
    pvalue: Floats
    adjusted: Floats
    rejected: Array
    n_rejected: Array
    level: float
    correction: str | None
    shuffled: Array

    def __repr__(self):
        """Return the number of specific features of each stratum, and their names."""
        labels = texts_of(self.labels)
        width = max(7, *map(len, labels))
        lines = [f"{'stratum':<{width}}  specific  features"]
        for label, count, names in zip(labels, self.n_rejected, self.names.values(), strict=True):
            lines.append(f"{label:<{width}}  {count:>8}  {' '.join(names)}".rstrip())
        adjusted = "" if self.correction is None else ", adjusted for their number"
        lines.append(f"{self.z.size} tests at level {self.level:g}{adjusted}.")
        if len(self.shuffled):
            lines.append(f"With shuffled labels {self.shuffled.mean():g} are rejected, mean of {len(self.shuffled)}.")
        return "\n".join(lines)


def specific_features(
    X: Matrix,
    strata: Labels | None = None,
    model: Any = None,
    *,
    n: int = 10,
    within: Labels | None = None,
    alternative: Literal["greater", "less", "two-sided"] = "greater",
    correction: Literal["fdr_bh", "fdr_by", "bonferroni"] | None = "fdr_bh",
    level: float = 0.05,
    n_shuffles: int = 0,
    feature_names: Names | None = None,
    random_state: Seed = None,
) -> SpecificFeatures:
    """Test which features each stratum has more of than it would have if the labels were random.

    The statistic is the mean residual of the rows of the stratum. The residuals are those of a model that has not seen
    the labels. So, if the labels mean nothing, every assignment of them to the rows is equally likely. The mean, the
    variance and the skewness of the statistic over all these assignments have closed forms; a Pearson III distribution
    with these three moments gives the p-value. Nothing is drawn at random.

    Shifts of a fitted `StratifiedNMF` cannot be tested like that: its W has moved with the labels, so that labels that
    mean nothing look specific, too.

    Parameters
    ----------
    X : sparse matrix or array (n_samples, n_features), DataFrame, AnnData, or Readings
        Non-negative, finite.
    strata : array-like (n_samples,), or str, default=None
        One label per row, at least two different ones; or the name of a column of the DataFrame, or of obs. None: those
        of Readings.
    model : fitted estimator, default=None
        What the shared topics explain is removed first: a model ``X ~ W H``, or ``W H + 1 vᵀ``, fitted without labels,
        such as `NMF` or `AffineNMF`. None: nothing is removed, and the question is which features are more frequent.
        The more components, the more they explain of what is specific to a stratum, and the less is found.
    n : int, default=10
        Maximum number of names for each stratum.
    within : array-like (n_samples,), default=None
        Labels of a second factor. Labels of strata are then exchanged only between rows with the same label here, so
        that what the second factor explains is not taken for the first: ``within=year`` to compare regions.
    alternative : {"greater", "less", "two-sided"}, default="greater"
        Whether the rows of a stratum have more of the feature, less, or either.
    correction : {"fdr_bh", "fdr_by", "bonferroni", None}, default="fdr_bh"
        Adjustment for the number of tests: the false discovery rate of Benjamini and Hochberg (1995) or of Benjamini
        and Yekutieli (2001, valid for any dependence), the probability of a single false rejection, or none.
    level : float, default=0.05
        Between 0 and 1: of the false discovery rate, or of the probability.
    n_shuffles : int, default=0
        How often the labels are shuffled and tested again, which shows on your data that nothing is found where nothing
        is.
    feature_names : array-like (n_features,), default=None
        None takes the names of the columns of X, or else their numbers.
    random_state : None, int, Generator or RandomState, default=None
        Of the shuffles.

    Returns
    -------
    SpecificFeatures

    Raises
    ------
    ValueError
        The data, the labels or an option cannot be used; the model has seen labels; or strata times features are more
        than 2**27.
    TypeError
        The model is not of the form ``W H``, or an option has the wrong type.

    Notes
    -----
    With the residuals r of the n rows of a block (`within`; all rows by default), ``s2`` and ``s3`` the means of the
    second and third powers of r less its mean, m rows of the stratum in the block, the sum of their residuals has

        mean  m mean(r)      variance  m (n - m) s2 / (n - 1)      third moment  m (n - m) (n - 2 m) s3 / ((n-1) (n-2))

    over all assignments of the labels; blocks are independent, so these add up. Counts of rare words are skewed: on
    text the normal distribution calls 1.4 % of the tests significant at the level of 0.1 % (``bench/specific.py``). The
    residuals are never formed: their sums of powers take O(nnz k + (n + m) k³) for k components, O(nnz) without a
    model. Features that occur in one or two rows have few possible values, so their p-values are approximate.

    A feature without a topic of its own can differ between strata, too: the test says "not explained alike". Which
    words of a fit are stable is another question; see `consensus`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import specific_features
    >>> rng = np.random.default_rng(1)
    >>> strata = np.repeat(["a", "b"], 50)
    >>> X = rng.poisson(2.0, (100, 4))
    >>> X[strata == "b", 3] += rng.poisson(2.0, 50)
    >>> found = specific_features(X, strata, feature_names=["one", "two", "three", "four"])
    >>> found.names
    {'a': [], 'b': ['four']}
    """
    check_choice("alternative", alternative, tuple(SIDES))
    check_choice("correction", correction, CORRECTIONS)
    check_integer("n", n)
    check_integer("n_shuffles", n_shuffles, 0)
    check_number("level", level, "a number from 0 to 1", 1.0)
    strata = carried(X, strata=strata)["strata"]
    if strata is None:
        raise ValueError("specific_features was given no strata; pass strata, one label per row.")
    table, strata = with_labels(X, strata)
    X = as_matrix(matrix_of(table))
    names = read_names(feature_names, X.shape[1]) if feature_names is not None else names_of(table)
    names = np.arange(X.shape[1]).astype(str) if names is None else names
    stratum_index, labels = encode_labels(strata, X.shape[0])
    block, blocks = np.zeros(X.shape[0], np.int64), [0]
    if within is not None:
        blocks, block = distinct(known_labels(within, "within", X.shape[0]), "within")
    if len(labels) < 2:
        raise ValueError(f"strata has the single label {labels[0]!r}; a test needs at least two strata.")
    if len(labels) * X.shape[1] > MOST:
        raise ValueError(
            f"{len(labels)} strata times {X.shape[1]} features are more than 2**27 tests; keep the features, or the "
            "strata, that matter."
        )
    residuals = _Residuals(X, model, table)
    shape = (len(labels), X.shape[1])
    expected, deviation, skewness = _null_moments(residuals, stratum_index, block, shape[0], len(blocks))
    excess = np.ascontiguousarray(residuals.sums(stratum_index, shape[0])) - expected
    z, is_tested = excess / deviation, ~np.isnan(skewness)
    z[~is_tested] = 0
    pvalue = _pvalues(z, skewness, alternative)
    adjusted = np.ones(shape)
    adjusted[is_tested] = _adjusted(pvalue[is_tested], correction)
    rejected = adjusted <= level
    shuffled = np.zeros(n_shuffles, np.int64)
    if n_shuffles:
        rng, null = generator(random_state), (expected, deviation, skewness)
        shuffles = _Shuffles(residuals, stratum_index, block, null, (alternative, correction, level))
        shuffled[:] = [shuffles.count(rng) for _ in range(n_shuffles)]
    order = [np.flatnonzero(row)[np.lexsort((-abs(z[s, row]), pvalue[s, row]))][:n] for s, row in enumerate(rejected)]
    return SpecificFeatures(
        labels=labels,
        names={label: [str(names[j]) for j in at] for label, at in zip(values_of(labels), order, strict=True)},
        z=z,
        difference=np.ldexp(excess / np.bincount(stratum_index)[:, None], residuals.exponent),
        pvalue=pvalue,
        adjusted=adjusted,
        rejected=rejected,
        n_rejected=rejected.sum(axis=1),
        level=level,
        correction=correction,
        shuffled=shuffled,
    )


class _Residuals:
    """Sums over rows of powers of ``r = x - (g · h)``, with G = [W, 1] and the shift as the last row of H.

    Values are scaled by a power of two, so that third powers of data of any scale are finite.

    Parameters
    ----------
    X : csr_array or ndarray (n_rows, n_columns)
    model : fitted estimator, or None
    table : object
        X as the user gave it, for `transform`.
    """

    def __init__(self, X, model, table):
        X = as_csr(X if sp.issparse(X) else sp.csr_array(X), dtype=np.float64)
        largest = abs(X.data).max(initial=0.0)
        self.exponent = int(np.frexp(largest)[1]) if largest else 0
        self.X = sp.csr_array((np.ldexp(X.data, -self.exponent), X.indices, X.indptr), X.shape)
        self.row = row_index(self.X)
        turned = self.X.tocsc()  # sums by column and group are written in order, and stay in the cache
        self._by_column = turned.data, turned.indices, row_index(turned)
        self.G = self.H = None
        if model is not None:
            W, H = _factors(model, table, X.shape)
            self.G = np.column_stack([W, np.ones(len(W))]).astype(np.float64)
            self.H = np.ldexp(H, -self.exponent)

    def sums(self, index, n_groups):
        """Return the sums of the residuals by group (n_groups, n_columns), a transposed array."""
        (values, row, column), n_columns = self._by_column, self.X.shape[1]
        at = column * n_groups
        at += index[row]
        total = np.bincount(at, values, minlength=n_columns * n_groups).reshape(n_columns, n_groups).T
        if self.G is not None:
            total -= _matrix_of(index, n_groups).T @ self.G @ self.H
        return total

    def powers(self, rows):
        """Return the means over `rows`, a boolean array, of the first, second and third powers, each (n_columns,)."""
        is_in = rows[self.row]
        x, column, n = self.X.data[is_in], self.X.indices[is_in], max(np.count_nonzero(rows), 1)
        if self.G is None:
            return [self._columns(x**power, column) / n for power in (1, 2, 3)]
        y = self._model_at(self.row[is_in], column)
        G, r = self.G[rows], x - y
        first, second, third = _power_sums(G, self.H)
        return [
            (self._columns(x, column) - first) / n,
            (self._columns(r**2 - y**2, column) + second) / n,
            (self._columns(r**3 + y**3, column) - third) / n,
        ]

    def _model_at(self, row, column):
        """Return the entries of G H at places."""
        found, H = np.empty(len(row)), np.ascontiguousarray(self.H.T)
        step = max(1, BLOCK // H.shape[1])
        for at in range(0, len(row), step):
            part = slice(at, at + step)
            found[part] = np.einsum("pk,pk->p", self.G[row[part]], H[column[part]])
        return found

    def _columns(self, values, column):
        return np.bincount(column, values, minlength=self.X.shape[1])


def _factors(model, X, shape):
    """Return W and the components, with the shift, of a model that has not seen labels."""
    if not hasattr(model, "transform") or not hasattr(model, "get_params"):
        raise TypeError(
            f"model={shown(model)} is not an estimator of fastnmf; pass a fitted NMF or AffineNMF, or None."
        )
    if len(getattr(model, "strata_", ())) > 1 or hasattr(model, "classes_"):
        raise ValueError(
            f"The {type(model).__name__} has seen labels, so its residuals are no test of them; pass an NMF or an "
            "AffineNMF, fitted without labels."
        )
    W = model.transform(X)
    H = getattr(model, "components_", None)
    if H is None or np.ndim(W) != 2 or np.ndim(H) != 2 or (len(W), *np.shape(H)) != (shape[0], W.shape[1], shape[1]):
        raise TypeError(f"The {type(model).__name__} is not of the form W H; pass a fitted NMF or AffineNMF, or None.")
    shift = np.zeros(shape[1])
    if hasattr(model, "shifts_"):
        shift = as_read(model.shifts_)[:1]
        shift = shift.toarray() if sp.issparse(shift) else shift  # never-densify-ok: one shift
    return W, np.vstack([H, shift]).astype(np.float64)


def _matrix_of(index, n_groups):
    """Return the matrix (n_rows, n_groups) with a one at the group of each row."""
    n = len(index)
    return sp.csr_array((np.ones(n), index, np.arange(n + 1)), (n, n_groups))


def _power_sums(G, H):
    """Return the sums over rows of the powers 1, 2, 3 of G H, each (n_columns,), from moments of G.

    The third power of ``g · h`` is a sum over triples of components, so its sum over rows needs a table of k³ numbers
    and O(m k³) operations, instead of O(n m k).
    """
    n, k = G.shape
    cubes = np.zeros((k * k, k))
    step = max(1, BLOCK // (k * k))
    for at in range(0, n, step):
        part = G[at : at + step]
        cubes += np.einsum("na,nb->nab", part, part).reshape(-1, k * k).T @ part
    second, third = np.einsum("kj,kj->j", (G.T @ G) @ H, H), np.empty(H.shape[1])
    for at in range(0, H.shape[1], step):
        part = np.ascontiguousarray(H[:, at : at + step].T)
        pairs = np.einsum("ja,jb->jab", part, part).reshape(-1, k * k)
        third[at : at + step] = np.einsum("jc,jc->j", pairs @ cubes, part)
    return G.sum(axis=0) @ H, second, third


def _null_moments(residuals, index, block, n_strata, n_blocks):
    """Return moments of the sums of residuals by stratum over all assignments of the labels; see `specific_features`.

    They depend on the sizes of the strata in the blocks only, so they are those of shuffled labels, too.

    Parameters
    ----------
    residuals : _Residuals
    index, block : ndarray (n_rows,) of int
        Stratum and block of each row.
    n_strata, n_blocks : int

    Returns
    -------
    mean, deviation, skewness : ndarray (n_strata, n_features)
        The deviation is 1 and the skewness NaN where the sum cannot vary.
    """
    shape = (n_strata, residuals.X.shape[1])
    total, variance, third = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for b in range(n_blocks):
        rows = block == b
        n, m = np.count_nonzero(rows), np.bincount(index[rows], minlength=n_strata)[:, None].astype(np.float64)
        mean, square, cube = residuals.powers(rows)
        s2 = square - mean**2
        s2[s2 <= CONSTANT * square] = 0
        total += m * mean
        variance += m * (n - m) / max(n - 1, 1) * s2
        third += m * (n - m) * (n - 2 * m) / max((n - 1) * (n - 2), 1) * (cube - 3 * mean * square + 2 * mean**3)
    is_varying = variance > 0
    deviation = np.sqrt(variance, where=is_varying, out=np.ones(shape))
    return total, deviation, np.divide(third, deviation**3, where=is_varying, out=np.full(shape, np.nan))


def _pvalues(z, skewness, alternative):
    """Return the p-values of a Pearson III distribution with mean 0, variance 1 and a skewness; 1 where that is NaN.

    On the side that speaks against the alternative they are those of the normal distribution, at least one half.
    """
    if alternative == "less":
        return _pvalues(-z, -skewness, "greater")
    if alternative == "two-sided":
        return np.minimum(2 * np.minimum(_pvalues(z, skewness, "greater"), _pvalues(-z, -skewness, "greater")), 1)
    found = np.where(np.isnan(skewness), 1.0, ndtr(-z))
    for sign, integral in ((1, gammaincc), (-1, gammainc)):
        is_here = (sign * skewness > SYMMETRIC) & (z > 0)
        shape = 4 / skewness[is_here] ** 2
        found[is_here] = integral(shape, np.maximum(shape + sign * z[is_here] * np.sqrt(shape), 0))
    return found


def _adjusted(pvalue, correction, n_tests=None):
    """Return p-values (n,) adjusted for the number of tests; `pvalue` are the smallest of `n_tests`, None: all."""
    n_tests = len(pvalue) if n_tests is None else n_tests
    if correction is None:
        return pvalue
    if correction == "bonferroni":
        return np.minimum(n_tests * pvalue, 1)
    order, rank = np.argsort(pvalue, kind="stable"), np.arange(1, len(pvalue) + 1)
    factor = n_tests if correction == "fdr_bh" else n_tests * np.sum(1 / np.arange(1, n_tests + 1))
    adjusted = np.empty(len(pvalue))
    adjusted[order] = np.minimum.accumulate((factor * pvalue[order] / rank)[::-1])[::-1]
    return np.minimum(adjusted, 1)


class _Shuffles:
    """Count rejected tests under shuffled labels; what all shuffles have in common is computed once.

    Most sums are far from significant. They are found by comparing them with critical values, and only the rest is
    standardised.

    Parameters
    ----------
    residuals : _Residuals
    index, block : ndarray (n_rows,) of int
        Stratum and block of each row.
    null : tuple of ndarray (n_strata, n_features)
        The moments that `_null_moments` returned.
    rule : (str, str or None, float)
        The alternative, the correction and the level.
    """

    def __init__(self, residuals, index, block, null, rule):
        mean, deviation, skewness = (np.ascontiguousarray(each.T).ravel() for each in null)  # as sums are written
        self.residuals, self.n_strata, self.block, self.rule = residuals, len(null[0]), block, rule
        self.in_blocks = index[np.argsort(block, kind="stable")]
        is_tested, (alternative, _, level) = ~np.isnan(skewness), rule
        self.null, self.n_tests, self.sides = (mean, deviation, skewness), np.count_nonzero(is_tested), []
        for sign in SIDES[alternative]:
            least = _critical(sign * skewness, level / 2 if alternative == "two-sided" else level)
            self.sides.append((sign, np.where(is_tested, mean + sign * least * deviation, sign * np.inf)))

    def count(self, rng):
        """Return how many tests are rejected after a shuffle within the blocks."""
        order = np.lexsort((rng.random(len(self.block)), self.block))
        shuffled = np.empty_like(self.in_blocks)
        shuffled[order] = self.in_blocks
        sums = self.residuals.sums(shuffled, self.n_strata).T.ravel()
        found = [np.flatnonzero(sums > each if sign > 0 else sums < each) for sign, each in self.sides]
        at = found[0] if len(found) == 1 else np.union1d(*found)
        mean, deviation, skewness = (each[at] for each in self.null)
        return _count((sums[at] - mean) / deviation, skewness, *self.rule, self.n_tests)


def _critical(skewness, level):
    """Return values of z below which the one-sided p-value of `_pvalues` is greater than the level, array.

    They are at most `MARGIN` too small, and 0 where positive z are significant; minus infinity for a level of one half.

    Parameters
    ----------
    skewness : ndarray (n_tests,)
        NaN where there is no test.
    level : float
    """
    if level >= 0.5:
        return np.full(len(skewness), -np.inf)
    level = max(level, np.finfo(np.float64).tiny)
    size = np.log(np.maximum(abs(skewness) / SYMMETRIC, 1))
    nodes = np.linspace(0, max(np.nanmax(size, initial=0), 1), NODES)[1:]
    shape = 4 / (SYMMETRIC * np.exp(nodes)) ** 2
    above = (gammainccinv(shape, level) - shape) / np.sqrt(shape)
    below = (shape - gammaincinv(shape, level)) / np.sqrt(shape)
    at = np.concatenate([-nodes[::-1], [0.0], nodes])
    found = np.interp(np.sign(skewness) * size, at, np.concatenate([below[::-1], [-ndtri(level)], above]))
    return np.maximum(found - MARGIN, 0)


def _count(z, skewness, alternative, correction, level, n_tests):
    """Return how many tests are rejected; p-values are computed only where a lower bound of them allows it.

    Of k rejected tests, all p-values are at most the level times k over the number of tests. So the number of lower
    bounds that are at most the level bounds k, and the limit of p-values, and so on.

    Parameters
    ----------
    z, skewness : ndarray
        Of the tests whose p-value may be at most the level; others may be among them.
    alternative, correction : str or None
    level : float
    n_tests : int
        How many tests there are in all.
    """
    bounds = np.zeros(len(z))
    for sign in SIDES[alternative]:
        at = np.flatnonzero(sign * z > 0)
        bounds[at] = _lower_bounds(sign * z[at], sign * skewness[at])
    n_left = 0
    while len(z) != n_left:
        n_left = len(z)
        most = {None: n_tests, "bonferroni": 1}.get(correction, n_left)
        is_in = bounds <= (1 + ROUNDING) * level * most / n_tests
        z, skewness, bounds = z[is_in], skewness[is_in], bounds[is_in]
    pvalue = _pvalues(z, skewness, alternative)
    return np.count_nonzero(_adjusted(pvalue, correction, n_tests) <= level)


def _lower_bounds(z, skewness):
    """Return lower bounds of one-sided p-values for z > 0, which take a logarithm each; 0 without positive skewness.

    They are the first convergents of the continued fraction of the incomplete gamma integral (NIST Digital Library of
    Mathematical Functions, 8.9.2), and ``x ** (a - 1) exp(-x)`` from the shape a = 1 on (8.10.1).
    """
    bounds = np.zeros(len(z))
    at = np.flatnonzero(skewness > SYMMETRIC)
    shape = 4 / skewness[at] ** 2
    x = shape + z[at] * np.sqrt(shape)
    logs = (shape - 1) * np.log(x) - x - gammaln(shape)
    bounds[at] = np.exp(logs) * np.where(shape < 1, x / (x + 1 - shape), 1)
    return bounds
