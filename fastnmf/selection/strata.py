"""Choose what a model shares between strata by the error on held-out data: nothing, shifts, components, or all."""

from __future__ import annotations

import numbers
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from sklearn.base import clone

from fastnmf.core.options import check_choice, check_integer, check_number, check_verbose, generator
from fastnmf.core.warn import warn
from fastnmf.data.annotated import with_layer
from fastnmf.data.labels import values_of
from fastnmf.data.readings import carried
from fastnmf.data.sentences import shown
from fastnmf.models.affine import AffineNMF
from fastnmf.models.base.for_checkers import Bunch
from fastnmf.models.nmf import NMF
from fastnmf.models.stratified import StratifiedNMF
from fastnmf.selection.parallel_fits import ParallelFits
from fastnmf.selection.rank import FEW_COLUMNS, METHODS, method_for
from fastnmf.selection.separate import SeparateFits
from fastnmf.typing import Floats, Labels, Matrix, Seed

RUNGS = ("none", "common", "strata", "low_rank", "factors", "own")  # from the simplest to the richest
OF_ONE_START, WITH_OWN = ("none", "common", "strata"), ("low_rank", "factors")
MOST_MORE = 20  # components that `none` tries at most in place of shifts
# parameters that NMF and AffineNMF have under the same name as StratifiedNMF
OF_NMF = ("beta_loss", "exponent", "alpha_W", "alpha_H", "l1_ratio", "missing_values", "normalize", "init")
OF_NMF += ("extrapolate", "max_iter", "tol", "max_time", "n_threads")
OF_AFFINE = ("solver", "extrapolate", "gauge", "max_iter", "tol", "max_time", "n_threads")
# of the default estimator: half the time of ``tol=1e-3``, which changes no loss of bench/ladder.py by more than 0.4 %
SELECTING = {"max_iter": 100, "tol": 2e-3}


class StrataCandidate(Bunch):
    """A line of the table of a `StrataSelection`.

    Attributes
    ----------
    rung : str
        Kind of the model; see `select_strata`.
    n_components : int
        Number of components; for ``"own"`` that of each stratum.
    n_own : int
        Number of components of each stratum in addition; 0 for rungs without.
    own_penalty : float
        NaN for rungs without.
    parameters : int
        Numbers that a fit of all data finds: weights, components and shifts.
    held_out, se : float
        Mean over the splits of the normalized loss on the held-out data, and its standard error.
    excess, excess_se : float
        Mean over the splits of this loss less that of the best candidate on the same split, and its standard error.
    train : float
        Mean normalized loss on the data of the fits.
    seconds : float
        Mean time of a fit and its evaluation.
    """

    rung: str
    n_components: int
    n_own: int
    own_penalty: float
    parameters: int
    held_out: float
    se: float
    excess: float
    excess_se: float
    train: float
    seconds: float


class StrataSelection(Bunch):
    """Result of `select_strata`; it prints as a table with the best candidate of each rung, and the choice.

    Attributes
    ----------
    table : list of StrataCandidate
        All candidates, from the simplest rung to the richest.
    best : StrataCandidate
        That with the least held-out loss.
    best_1se : StrataCandidate
        The choice: of the simplest rung whose best candidate is within one standard error of `best`, the candidate with
        the fewest parameters that is, too; of several with as many, that with the least loss. The standard error is
        that of the paired difference, `excess_se`.
    estimator : NMF, AffineNMF or StratifiedNMF
        Of `best_1se`, not fitted. For ``"none"`` and ``"common"`` call ``fit(X)``; for ``"own"`` it is the NMF to fit
        to the rows of each stratum; else ``fit(X, strata=strata)``.
    verdict : str
        What the data ask for, and what they cannot tell, in one sentence.
    notes : list of str
        Which rungs were left out and why; why entries were held out.
    held_out_splits : ndarray (n_candidates, n_repeats * n_folds)
        Losses of the single splits; a column is one split, which is the same for all candidates.
    method : str
        ``"entries"`` or ``"rows_columns"``.
    n_strata, n_folds, n_repeats, n_init : int
    """

    table: list[StrataCandidate]
    best: StrataCandidate
    best_1se: StrataCandidate
    estimator: NMF | AffineNMF | StratifiedNMF
    verdict: str
    notes: list[str]
    held_out_splits: Floats
    method: str
    n_strata: int
    n_folds: int
    n_repeats: int
    n_init: int

    def __repr__(self):
        """Return the best candidate of each rung, and the verdict."""
        lines = [
            f"{'rung':<8}  components  own  penalty  parameters  held-out loss  more than the least  training loss  "
            "seconds a fit"
        ]
        chosen, rows = self.best_1se, []
        for row in self.best_of_rungs():
            rows += [row] if row is chosen or row.rung != chosen.rung else [row, chosen]
        for row in rows:
            marks = [("least", row is self.best), ("one standard error", row is chosen)]
            own = f"{row.n_own or '-':>3}  {'-' if np.isnan(row.own_penalty) else format(row.own_penalty, 'g'):>7}"
            more = "-" if row is self.best else f"{row.excess:.5f} ± {row.excess_se:.5f}"
            line = (
                f"{row.rung:<8}  {row.n_components:>10}  {own}  {row.parameters:>10}  {row.held_out:>13.5f}  {more:>19}"
                f"  {row.train:>13.5f}  {row.seconds:>13.2f}"
            )
            marks = ", ".join(name for name, is_here in marks if is_here)
            lines.append(line + (f"  <- {marks}" if marks else ""))
        folds = f"{self.n_folds} folds" + (f", {self.n_repeats} times" if self.n_repeats > 1 else "")
        held = f"Held out: {self.method}, {folds}. The best of {len(self.table)} candidates in each rung."
        return "\n".join([*lines, " ".join([held, *self.notes]), f"Which model? {self.verdict}"])

    __str__ = __repr__

    def best_of_rungs(self) -> list[StrataCandidate]:
        """Return the candidate with the least held-out loss of each rung, from the simplest to the richest."""
        found: dict[str, StrataCandidate] = {}
        for row in self.table:
            if row.rung not in found or row.held_out < found[row.rung].held_out:
                found[row.rung] = row
        return list(found.values())

    def to_frame(self) -> Any:
        """Return the table as a pandas DataFrame, one row per candidate; needs pandas."""
        import pandas

        return pandas.DataFrame([dict(row) for row in self.table])


def select_strata(
    X: Matrix,
    strata: Labels | None = None,
    n_components: int | Iterable[int] = (5, 10),
    *,
    n_own: int | Iterable[int] = (1, 2),
    own_penalty: float | Iterable[float] = (0.0, 0.1),
    rungs: Sequence[str] | None = None,
    estimator: StratifiedNMF | None = None,
    beta_loss: Literal["frobenius", "kullback-leibler"] | None = None,
    method: Literal["auto", "entries", "rows_columns"] = "auto",
    n_folds: int = 5,
    n_repeats: int = 1,
    n_init: int = 3,
    n_jobs: int | None = None,
    random_state: Seed = None,
    verbose: int = 0,
    layer: str | None = None,
) -> StrataSelection:
    """Choose which kind of model the groups of rows need, by the error on held-out data.

    The kinds form a ladder. ``A(i)`` are the rows of stratum i:

    ==========  ===========================================  ==========================================
    rung        model                                        class
    ==========  ===========================================  ==========================================
    none        ``W(i) H``                                   `NMF`
    common      ``1 vᵀ + W(i) H``                            `AffineNMF`
    strata      ``1 v(i)ᵀ + W(i) H``                         `StratifiedNMF`
    low_rank    ``1 v(i)ᵀ + U(i) G(i) + W(i) H``             ``StratifiedNMF(n_own=...)``
    factors     ``W(i) (H + D(i))``                          ``StratifiedNMF(own="tied", shifts=False)``
    own         ``U(i) G(i)``                                one `NMF` for each stratum
    ==========  ===========================================  ==========================================

    Each rung is compared at its own best size, because a model without shifts imitates them by more components.

    Parameters
    ----------
    X : sparse matrix or array (n_samples, n_features), DataFrame, AnnData, or Readings
        Non-negative.
    strata : array-like (n_samples,), or str, default=None
        Label of each row, at least two different ones; or the name of a column of obs or of a DataFrame. None: those of
        Readings. Folds are drawn within strata.
    n_components : int or iterable of int, default=(5, 10)
        Numbers of components to try. ``"none"`` also tries each plus the number of strata (at most 20); ``"own"`` also
        tries the numbers of `n_own`.
    n_own : int or iterable of int, default=(1, 2)
        Numbers of components of each stratum to try in ``"low_rank"``, and, besides `n_components`, in ``"own"``.
    own_penalty : float or iterable of float, default=(0.0, 0.1)
        Strengths of the penalty to try in ``"low_rank"`` and ``"factors"``.
    rungs : sequence of str, default=None
        Rungs to compare. None: all that support the loss, the parameters of `estimator` and the way of holding out.
        ``"low_rank"`` and ``"factors"`` support no penalties, and hold out rows and columns only.
    estimator : StratifiedNMF, default=None
        Not fitted; the fits use its parameters, where their model has them, except sizes, `n_init` and `random_state`.
        None: the defaults with ``max_iter=100, tol=2e-3``, which is accurate enough for a comparison; the result's
        `estimator` then has the defaults of its class.
    beta_loss : {"frobenius", "kullback-leibler"}, default=None
        Loss of the fits and of the held-out data; sets the solver, too. None: that of `estimator`.
    method : {"auto", "entries", "rows_columns"}, default="auto"
        Which data are held out, as in `select_rank`. ``"auto"``: entries below 30 features, from which weights of
        held-out rows would be noise, and where values are missing; else rows and columns.
    n_folds : int, default=5
        At least 2.
    n_repeats : int, default=1
        Number of times that new folds are drawn.
    n_init : int, default=3
        Number of starts of each fit with components of single strata. With one start, local minima decide.
    n_jobs : int, default=None
        Number of fits at a time, as for joblib; only `seconds` depends on it.
    random_state : None, int, Generator or RandomState, default=None
        Seed of folds and starts. The results of a candidate do not depend on which others are tried.
    verbose : int, default=0
        1 shows progress on standard error.
    layer : str, default=None
        Name of a layer of the AnnData X that holds the matrix; None: its X.

    Returns
    -------
    StrataSelection
        Prints as a table; `fastnmf.plots.plot_strata_selection` plots it.

    Raises
    ------
    ValueError, TypeError
        For invalid data or options; a single stratum; too few rows for the folds; a rung that does not support the
        loss.

    Notes
    -----
    Rows within strata are folds. The weights of a held-out row come from two thirds of its columns, with the shift and
    the components of its stratum known, and the error from the remaining third. Predictions are cut off as in
    `select_rank`.

    The one-standard-error rule takes the standard error of the difference on the same splits, which is much smaller
    than that of either loss: splits are hard or easy for all models alike.

    What a rung needs beyond the next simpler one must be worth its noise. If a group has few rows, or its shift is
    small, a simpler rung predicts better, although the groups differ; whether single features differ is another
    question, see `specific_features`.

    References
    ----------
    A. B. Owen, P. O. Perry, "Bi-cross-validation of the SVD and the nonnegative matrix factorization", Annals of
    Applied Statistics 2009, doi:10.1214/08-AOAS227 (rows and columns; they also leave the columns out of the fit).
    T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2009, section 7.10 (one standard
    error; here of the paired difference).

    Examples
    --------
    >>> from fastnmf import select_strata
    >>> from fastnmf.datasets import make_stratified
    >>> planted = make_stratified((40, 40), n_features=30, n_components=2, noise=0.1, random_state=0)
    >>> found = select_strata(planted.data, planted.strata, 2, rungs=["none", "strata"], random_state=0)
    >>> found.best_1se.rung, found.best_1se.n_components
    ('strata', 2)
    """
    sizes, own_sizes = _whole_numbers("n_components", n_components), _whole_numbers("n_own", n_own)
    penalties = _penalties(own_penalty)
    check_choice("method", method, ("auto", *METHODS))
    check_integer("n_folds", n_folds, 2)
    check_integer("n_repeats", n_repeats)
    check_integer("n_init", n_init)
    check_verbose("verbose", verbose)
    base, wanted = _base(with_layer(X, layer), strata, estimator, beta_loss, n_jobs)
    if not isinstance(base.strata, np.ndarray):
        raise ValueError("strata has several factors; select_strata compares models of one: join their labels.")
    n_strata = int(base.stratum_index.max()) + 1
    if n_strata < 2:
        raise ValueError(
            f"strata has the single label {values_of(base.strata[:1])[0]!r}; select_strata compares models of several "
            "strata: pass their labels, or use select_rank."
        )
    notes: list[str] = []
    method = _method(method, base, notes)
    settings = {rung: _setting(base, rung) for rung in _supported(_checked_rungs(rungs), base, method, rungs, notes)}
    tried = [
        (rung, *each) for rung in settings for each in _candidates(rung, sizes, own_sizes, penalties, base, n_strata)
    ]
    rng, splits = generator(random_state), []
    for _ in range(n_repeats):
        held = METHODS[method](base, n_folds, rng)
        splits += [(held, fold, seed) for fold, seed in enumerate(rng.integers(1 << 32, size=n_folds))]
    jobs, is_default = [], estimator is None
    for rung, rank, own, penalty in tried:
        more = {} if rung in OF_ONE_START else {"n_init": n_init}
        more |= {"low_rank": {"n_own": own, "own_penalty": penalty}, "factors": {"own_penalty": penalty}}.get(rung, {})
        jobs += [(_hold_out, (is_default, settings[rung], rank, more, *split)) for split in splits]
    order = sorted(range(len(jobs)), key=lambda at: -jobs[at][1][2])  # the longest fits first
    results = [None] * len(jobs)
    for at, result in zip(order, base.run("select_strata", [jobs[at] for at in order], verbose), strict=True):
        results[at] = result
    measured = np.array(results).reshape(len(tried), len(splits), 3)
    table, best, chosen = _chosen(tried, measured, n_folds, base.X.shape, n_strata)
    _warn_of_weak_choice(method, best.held_out, base.X.shape[1])
    return StrataSelection(
        table=table,
        best=best,
        best_1se=chosen,
        estimator=_final(chosen, wanted, n_init),
        verdict=_verdict(table, measured[:, :, 0], best, chosen, n_folds, n_strata),
        notes=notes,
        held_out_splits=measured[:, :, 0],
        method=method,
        n_strata=n_strata,
        n_folds=n_folds,
        n_repeats=n_repeats,
        n_init=n_init,
    )


def _whole_numbers(name, given):
    """Return numbers >= 1 in ascending order, each once."""
    found = [given] if isinstance(given, numbers.Integral) else list(given) if _is_sequence(given) else []
    if not found or not all(isinstance(n, numbers.Integral) and not isinstance(n, bool) and n >= 1 for n in found):
        raise ValueError(f"{name}={shown(given)} is not valid; expected an integer >= 1, or several, such as (5, 10).")
    return sorted({int(n) for n in found})


def _penalties(given):
    """Return numbers >= 0 in ascending order, each once."""
    found = list(given) if _is_sequence(given) else [given]
    if not found:
        raise ValueError("own_penalty is empty; expected a number >= 0, or several, such as (0, 0.1).")
    for each in found:
        check_number("own_penalty", each, "a number >= 0, or several, such as (0, 0.1)")
    return sorted({float(each) for each in found})


def _is_sequence(given):
    return np.iterable(given) and not isinstance(given, (str, dict))


def _checked_rungs(given):
    """Return the rungs in their order."""
    found = RUNGS if given is None else tuple(given) if _is_sequence(given) else ()
    if not found or not all(isinstance(rung, str) and rung in RUNGS for rung in found):
        raise ValueError(f"rungs={shown(given)} is not valid; expected some of {', '.join(map(repr, RUNGS))}.")
    return [rung for rung in RUNGS if rung in found]


def _base(X, strata, estimator, beta_loss, n_jobs):
    """Return the data, strata and estimator of the fits, checked, and the estimator that the user wants in the end.

    Parameters
    ----------
    X, strata, estimator, beta_loss, n_jobs :
        As in `select_strata`.
    """
    rows = carried(X, strata=strata, exposure=None)
    strata = rows["strata"]
    if strata is None:
        raise ValueError("select_strata was given no strata; pass strata, one label per row.")
    if rows["exposure"] is not None:
        raise ValueError("X has an exposure, without which select_strata compares models; set X.exposure = None.")
    if estimator is not None and not isinstance(estimator, StratifiedNMF):
        raise TypeError(f"estimator={shown(estimator)} is not supported here; expected a StratifiedNMF, or None.")
    wanted = StratifiedNMF() if estimator is None else clone(estimator)
    if beta_loss is not None:
        check_choice("beta_loss", beta_loss, ("frobenius", "kullback-leibler"))
        wanted.set_params(beta_loss=beta_loss, solver="hals" if beta_loss == "frobenius" else "mu")
    short = SELECTING if estimator is None else {}
    estimator = clone(wanted).set_params(gauge=None, normalize=None, **short)
    options = estimator._options()
    if not (options.is_squared or options.is_kullback_leibler):
        raise ValueError(f"select_strata compares 'frobenius' and 'kullback-leibler' only, not {options.loss_given}.")
    for name in ("fixed_components", "seed_features", "penalties"):
        if getattr(estimator, name) is not None:
            raise ValueError(f"select_strata compares models without {name}; leave it out of the estimator.")
    if estimator.label_weight:
        raise ValueError("select_strata compares models without classes; set label_weight=0.")
    if not isinstance(estimator.init, str | None):
        raise ValueError("select_strata needs a start for each size; choose an init by name.")
    if estimator.n_own or estimator.own is not None or estimator.shifts is not True:
        raise ValueError("select_strata sets n_own, own and shifts itself; leave them out of the estimator.")
    return ParallelFits(X, strata, estimator, n_jobs), wanted


def _method(method, setting, notes):
    """Return the way of holding out that "auto" stands for, or the given one; note why."""
    n_columns, missing = setting.X.shape[1], setting.estimator.missing_values
    if method == "auto":
        method = "rows_columns"
        if setting.estimator._options().is_squared and (missing is not None or n_columns < FEW_COLUMNS):
            method = "entries"
            why = "values are missing" if missing is not None else f"{n_columns} features are too few to find weights"
            notes.append(f"Entries are held out because {why}.")
    return method_for(method, setting)


def _supported(rungs, base, method, given, notes):
    """Return the rungs that the fits support; raise if the user named one of the others, else note why.

    Parameters
    ----------
    rungs : list of str
    base : ParallelFits
    method : {"entries", "rows_columns"}
    given : sequence of str, or None
        The rungs that the user named.
    notes : list of str
    """
    why = None
    try:
        clone(base.estimator).set_params(n_own=1, own_penalty=0.0)._checked_options()
    except ValueError as error:
        why = str(error)
    if method == "entries":
        why = "their fits need all entries, and entries are held out"
    left = [rung for rung in rungs if rung in WITH_OWN and why is not None]
    if left and given is not None:
        raise ValueError(f"rungs={shown(given)} has {' and '.join(map(repr, left))}, which cannot be compared: {why}")
    if left:
        notes.append(f"{' and '.join(left)} are left out: {why.rstrip('.')}.")
    return [rung for rung in rungs if rung not in left]


def _setting(base, rung):
    """Return the data of the fits of one rung, with its estimator."""
    if rung in ("strata", "low_rank"):
        return base
    if rung == "factors":
        tied = clone(base.estimator).set_params(own="tied", shifts=False)
        return ParallelFits(base.X, base.strata, tied, base.n_jobs)
    if rung == "common":
        return ParallelFits(base.X, None, base.estimator, base.n_jobs)
    kind = {"none": ParallelFits, "own": SeparateFits}[rung]
    return kind(base.X, base.strata, _plain(base.estimator), base.n_jobs)


def _plain(estimator):
    """Return the NMF with the parameters of a StratifiedNMF."""
    solver = estimator.solver if estimator.solver == "mu" else "cd" if estimator.extrapolate else "hals"
    return NMF(solver=solver, **{name: getattr(estimator, name) for name in OF_NMF})


def _candidates(rung, sizes, own_sizes, penalties, base, n_strata):
    """Return the sizes to try in a rung: numbers of components, of own components, and penalties.

    Parameters
    ----------
    rung : str
    sizes, own_sizes : list of int
    penalties : list of float
    base : ParallelFits
    n_strata : int
    """
    if rung == "none":  # components can take the place of shifts
        more = [k + min(n_strata, MOST_MORE) for k in sizes]
        sizes = sorted({*sizes, *(k for k in more if k <= min(base.X.shape))})
    if rung == "own":
        sizes = sorted({*sizes, *own_sizes})
    if rung == "low_rank":
        return [(k, own, penalty) for k in sizes for own in own_sizes for penalty in penalties]
    if rung == "factors":
        return [(k, 0, penalty) for k in sizes for penalty in penalties]
    return [(k, 0, np.nan) for k in sizes]


def _hold_out(_, is_default, setting, rank, more, held, fold, seed):
    """Fit a candidate without one fold, and measure errors and time.

    Parameters
    ----------
    _ : ParallelFits
        That which runs the fits.
    is_default : bool
        Whether fits are short by our choice, of which no user has to be warned.
    setting : ParallelFits
        That of the rung.
    rank : int
    more : dict
        Further parameters of the estimator.
    held : Entries or RowsColumns
    fold, seed : int

    Returns
    -------
    has_converged : bool
    measured : tuple of three floats
        Held-out loss, training loss and seconds.
    """
    began = time.perf_counter()
    settled, errors = held.measure(setting, rank, fold, seed, **more)
    return is_default or settled, (*errors, time.perf_counter() - began)


def _chosen(tried, measured, n_folds, shape, n_strata):
    """Return the table, the best candidate, and the choice of the paired one-standard-error rule.

    Parameters
    ----------
    tried : list of tuple
        Rung, number of components, of own components, and penalty, from the simplest to the richest rung.
    measured : ndarray (n_candidates, n_splits, 3)
        Held-out loss, training loss, seconds.
    n_folds : int
    shape : tuple of two int
        Of X.
    n_strata : int
    """
    splits = measured[:, :, 0]
    mean, best = splits.mean(axis=1), int(np.argmin(splits.mean(axis=1)))
    se = splits.std(axis=1, ddof=1) / np.sqrt(n_folds)
    table = []
    for at, (rung, rank, n_own, penalty) in enumerate(tried):
        excess, excess_se = _difference(splits[at], splits[best], n_folds)
        row = StrataCandidate(rung=rung, n_components=rank, n_own=n_own, own_penalty=penalty)
        row.update(parameters=_n_parameters(row, shape, n_strata), held_out=float(mean[at]), se=float(se[at]))
        row.update(excess=excess, excess_se=excess_se)
        row.update(train=float(measured[at, :, 1].mean()), seconds=float(measured[at, :, 2].mean()))
        table.append(row)
    near = [row for row in table if row.excess <= row.excess_se]
    least = {rung: min((r for r in table if r.rung == rung), key=lambda r: r.held_out) for rung, *_ in tried}
    rung = next(rung for rung, row in least.items() if row.excess <= row.excess_se)
    return (
        table,
        table[best],
        min((row for row in near if row.rung == rung), key=lambda row: (row.parameters, row.held_out)),
    )


def _difference(losses, others, n_folds):
    """Return the mean of the differences of losses on the same splits, and its standard error."""
    difference = losses - others
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(n_folds))


def _n_parameters(row, shape, n_strata):
    """Return how many numbers a fit finds: weights, components, shifts, and what strata have of their own."""
    (n, m), k = shape, row.n_components
    n_shifts = {"common": 1, "strata": n_strata, "low_rank": n_strata}.get(row.rung, 0)
    n_components = k * (n_strata if row.rung == "own" else 1 + n_strata if row.rung == "factors" else 1)
    return (k + row.n_own) * n + m * (n_components + n_strata * row.n_own + n_shifts)


def _final(row, wanted, n_init):
    """Return the unfitted estimator of a candidate, with the other parameters of the StratifiedNMF `wanted`."""
    if row.rung in ("none", "own"):
        return _plain(wanted).set_params(n_components=row.n_components, n_init=1 if row.rung == "none" else n_init)
    if row.rung == "common" and wanted._options().is_squared and wanted.missing_values is None:
        if not (wanted.alpha_V or wanted.alpha_W or wanted.alpha_H not in (0, "same")):
            return AffineNMF(row.n_components, **{name: getattr(wanted, name) for name in OF_AFFINE})
    found = clone(wanted).set_params(n_components=row.n_components)
    if row.rung == "low_rank":
        found.set_params(n_own=row.n_own)
    if row.rung == "factors":
        found.set_params(own="tied", shifts=False)
    return found.set_params(own_penalty=row.own_penalty, n_init=n_init) if row.rung in WITH_OWN else found


def _sizes(row):
    """Return the numbers of components of a candidate in words."""
    own = f"shared and {row.n_own} own " if row.n_own else ""
    return f"{row.n_components} {own}component{'s' * (row.n_components + row.n_own > 1)}"


def _verdict(table, splits, best, chosen, n_folds, n_strata):
    """Return the sentence that says what the data ask for, and what they cannot tell.

    Parameters
    ----------
    table : list of StrataCandidate
    splits : ndarray (n_candidates, n_splits)
    best, chosen : StrataCandidate
    n_folds, n_strata : int
    """
    n_own = f"{chosen.n_own} own component{'s' * (chosen.n_own > 1)}"
    kinds = {
        "none": "An NMF without strata",
        "common": "One shift for all strata",
        "strata": f"A shift for each of the {n_strata} strata",
        "low_rank": f"A shift and {n_own} for each of the {n_strata} strata",
        "factors": f"Components that differ between the {n_strata} strata (own='tied')",
        "own": f"A separate NMF for each of the {n_strata} strata",
    }
    size = f"with {chosen.n_components} {'shared ' * (chosen.rung == 'low_rank')}component"
    size += "s" * (chosen.n_components > 1)
    if chosen is best:
        how, against = "predicts held-out data best", ""
    else:
        how = "is the simplest model within one standard error of the best prediction of held-out data"
        against = f" against {best.held_out:.4f} of {best.rung} with {_sizes(best)}"
    text = f"{kinds[chosen.rung]}, {size}, {how} (loss {chosen.held_out:.4f}{against}"
    rows: dict[str, int] = {}  # rung -> place of its best candidate
    for at, row in enumerate(table):
        if row.rung not in rows or row.held_out < table[rows[row.rung]].held_out:
            rows[row.rung] = at
    order, here = list(rows), next(at for at, row in enumerate(table) if row is chosen)
    simpler = order[: order.index(chosen.rung)]
    if simpler:
        rung = min(simpler, key=lambda name: table[rows[name]].held_out)
        more, se = _difference(splits[rows[rung]], splits[here], n_folds)
        errors = f"{more / se:.1f} standard errors" if se > 0 else "without spread"
        text += f"; {rung} loses {more:.4f} more, {errors}"
    text += ")"
    untold = []
    for rung in order[order.index(chosen.rung) + 1 :]:
        more, se = _difference(splits[rows[rung]], splits[here], n_folds)
        if abs(more) <= se and {rung, chosen.rung} != {"factors", "own"}:
            untold.append(rung)
    if untold:
        text += f"; the data do not tell it from {' or '.join(untold)}, within one standard error"
    if chosen.rung in ("factors", "own") and {"factors", "own"} <= rows.keys():
        text += "; factors with own_penalty=0 is the same model as own, so data cannot tell these two apart"
    return text + "."


def _warn_of_weak_choice(method, least, n_columns):
    """Warn where the held-out error cannot choose: it is that of predicting zero, or weights come from few columns."""
    if least >= 1:
        warn(
            f"The least held-out loss is {least:.3g}; predicting zero has 1. So no model that was tried predicts these "
            "data; try fewer components, or an estimator with a penalty (alpha_W).",
            UserWarning,
        )
    elif method == "rows_columns" and n_columns < FEW_COLUMNS:
        warn(
            f"With {n_columns} columns, method='rows_columns' finds weights from few numbers; with the squared error "
            "use method='entries'.",
            UserWarning,
        )
