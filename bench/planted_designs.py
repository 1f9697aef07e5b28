"""Check on planted data that designs are chosen, recovered and used as they should be: the tables in docs/crossed.md.

Usage::

    python bench/planted_designs.py [--choice] [--weak] [--recovery] [--unseen] [--smooth] [--exposure] [--uneven]

Without options everything runs, in some minutes. `--choice`: which of six designs has the least error on held-out rows,
where each in turn is the planted one. `--weak`: the same for weaker additive effects under more noise. `--recovery`:
the effects of a fit against the planted ones. `--unseen`: the error of the rows of a cell that the fit has not seen.
`--smooth`: forty periods of four rows, by the smoothness of their effects. `--exposure`: counts of cells of different
depth under Kullback-Leibler, with and without an exposure. `--uneven`: the squared error, where usage differs, too.
"""

import argparse
import warnings

import numpy as np
from machine import describe
from scipy.optimize import linear_sum_assignment
from sklearn.preprocessing import normalize
from table import markdown

from fastnmf import NMF, StratifiedNMF
from fastnmf.selection.held_out import RowsColumns, restrict_columns
from fastnmf.selection.parallel_fits import ParallelFits

YEARS, REGIONS, RANK = 4, 3, 3
DESIGNS = ("none", "one", "year", "region", "additive", "cells")


def planted(truth, seed, n=240, m=40, noise=0.3, strength=1.0, usage=1.5):
    """Draw data of one design; return X, the factors (dict of labels), and the effects of years and of regions.

    Parameters
    ----------
    truth : {"none", "one", "year", "region", "additive", "cells"}
    seed, n, m : int
    noise : float
        Standard deviation; entries that become negative are set to zero.
    strength : float
        Factor of the effects of years and regions.
    usage : float
        Shape of the gamma-distributed weights. Below 1 many rows hardly use a component, which makes effects unique;
        the noise that is cut off at zero is then a shift of its own, where there is no other.
    """
    rng = np.random.default_rng(seed)
    year, region = rng.integers(0, YEARS, n), rng.integers(0, REGIONS, n)
    W, H = rng.gamma(usage, 1.0, (n, RANK)), 0.2 + rng.gamma(0.7, 1.0, (RANK, m))
    base = rng.random(m)
    of_year, of_region = strength * rng.gamma(0.5, 1.0, (YEARS, m)), strength * rng.gamma(0.5, 1.0, (REGIONS, m))
    of_cell = strength * rng.gamma(0.5, 1.0, (YEARS, REGIONS, m))
    shift = {
        "none": 0.0,
        "one": base,
        "year": base + of_year[year],
        "region": base + of_region[region],
        "additive": base + of_year[year] + of_region[region],
        "cells": base + of_cell[year, region],
    }[truth]
    X = np.maximum(W @ H + shift + noise * rng.standard_normal((n, m)), 0)
    return X, {"year": year, "region": region}, of_year, of_region


def strata_of(design, factors):
    """Return the strata that a design takes, None for no labels."""
    cell = factors["year"] * REGIONS + factors["region"]
    return {"additive": factors, "cells": cell}.get(design, factors.get(design))


def held_out(design, X, factors, folds, **options):
    """Return the mean squared error on held-out thirds of the columns of held-out rows, relative to their squares."""
    estimator = (NMF if design == "none" else StratifiedNMF)(**{"max_iter": 300, "tol": 1e-4} | options)
    setting = ParallelFits(X, strata_of(design, factors), estimator, n_jobs=1)
    errors = [folds.measure(setting, RANK, fold, seed=fold)[1][0] ** 2 for fold in range(3)]
    return float(np.mean(errors))


def folds_of(X, factors, seed):
    """Return three folds of rows within the cells, the same for all designs."""
    setting = ParallelFits(X, strata_of("cells", factors), None, n_jobs=1)
    return RowsColumns(setting, 3, np.random.default_rng(seed))


def choice(n_seeds):
    """Print the mean held-out errors of all designs for each planted one, and how often that has the least."""
    rows, n_right = [], 0
    for truth in DESIGNS:
        errors = np.empty((n_seeds, len(DESIGNS)))
        for seed in range(n_seeds):
            X, factors, *_ = planted(truth, seed)
            folds = folds_of(X, factors, seed)
            errors[seed] = [held_out(design, X, factors, folds) for design in DESIGNS]
        n_least = np.count_nonzero(errors.argmin(axis=1) == DESIGNS.index(truth))
        n_right += n_least
        rows.append([truth, *(f"{error:.5f}" for error in errors.mean(axis=0)), f"{n_least} of {n_seeds}"])
    print(markdown(["planted", *DESIGNS, "found"], rows))
    print(f"\n{n_right} of {n_seeds * len(DESIGNS)} planted designs have the least error.\n")


def weak(n_seeds):
    """Print which design has the least error where additive effects are weak."""
    rows = []
    for strength, noise in ((0.3, 0.5), (0.15, 0.5), (0.1, 0.5), (0.05, 0.5), (0.1, 1.0)):
        found = []
        for seed in range(n_seeds):
            X, factors, *_ = planted("additive", seed, noise=noise, strength=strength)
            folds = folds_of(X, factors, seed)
            errors = {design: held_out(design, X, factors, folds) for design in DESIGNS}
            found.append(min(errors, key=errors.get))
        rows.append([f"{strength}", f"{noise}", ", ".join(found)])
    print(markdown(["effects times", "noise", "least held-out error"], rows), "\n")


def above_least(effects):
    """Return effects (levels, m) less the least level of each feature."""
    return effects - effects.min(axis=0)


def recovery(n_seeds):
    """Print how near fitted effects are to the planted ones."""
    rows = []
    for seed, usage in ((seed, usage) for usage in (0.6, 1.5) for seed in range(n_seeds)):
        X, factors, of_year, of_region = planted("additive", seed, n=600, usage=usage)
        model = StratifiedNMF(RANK, max_iter=100, tol=0, gauge="max_shift", random_state=0).fit(X, strata=factors)
        parts = (model.shifts_[1 : 1 + YEARS], of_year), (model.shifts_[1 + YEARS :], of_region)
        r = min(np.corrcoef(mine.ravel(), above_least(true).ravel())[0, 1] for mine, true in parts)
        lost = sum(np.square(mine - above_least(true)).sum() for mine, true in parts)
        lost /= sum(np.square(above_least(true)).sum() for _, true in parts)
        rows.append([f"{usage:g}, {seed}", f"{r:.3f}", f"{np.sqrt(lost):.3f}"])
    print(markdown(["usage, seed", "least correlation", "relative error"], rows), "\n")


def unseen(n_seeds):
    """Print the error of the rows of a cell that the fit has not seen, by design."""
    designs, rows = ("additive", "cells", "year", "region", "one", "none"), []
    for seed in range(n_seeds):
        X, factors, *_ = planted("additive", seed)
        is_out = (factors["year"] == 2) & (factors["region"] == 1)
        part = np.random.default_rng(seed).permutation(np.arange(X.shape[1]) % 3)
        errors = []
        for design in designs:
            errors.append(_error_of_rows(design, X, factors, is_out, part))
        rows.append([str(seed), *(f"{error:.4f}" for error in errors), f"{min(errors[1:]) / errors[0]:.1f}"])
    print(markdown(["seed", *designs, "best rival / additive"], rows), "\n")


def _error_of_rows(design, X, factors, is_out, part):
    """Return the error of held-out rows, relative to their squares: weights come from two thirds of their columns.

    Parameters
    ----------
    design : str
    X : ndarray (n, m)
    factors : dict of ndarray (n,)
    is_out : ndarray (n,) of bool
    part : ndarray (m,)
        The third of each column.
    """
    strata, lost = strata_of(design, factors), 0.0
    kept, new = (rows_of(strata, rows) for rows in (~is_out, is_out))
    options = {"max_iter": 300, "tol": 1e-4, "random_state": 0}
    if design == "none":
        model = NMF(RANK, **options).fit(X[~is_out])
    else:
        model = StratifiedNMF(RANK, unknown_strata="mean", **options).fit(X[~is_out], strata=kept)
    labels = {} if design == "none" else {"strata": new}
    for left in range(3):
        seen, scored = np.flatnonzero(part != left), np.flatnonzero(part == left)
        W = restrict_columns(model, seen).transform(X[is_out][:, seen], **labels)
        Y = model.inverse_transform(W, **labels) if design != "cells" else W @ model.components_ + mean_shift(model)
        lost += np.square(X[is_out][:, scored] - Y[:, scored]).sum()
    return lost / np.square(X[is_out]).sum()


def mean_shift(model):
    """Return the mean of the shifts over the rows of the fit, which `unknown_strata="mean"` gives new strata."""
    return model.stratum_sizes_ @ model.shifts_ / model.stratum_sizes_.sum()


def rows_of(strata, rows):
    """Return some rows of labels, of factors, or of None."""
    if isinstance(strata, dict):
        return {name: labels[rows] for name, labels in strata.items()}
    return None if strata is None else strata[rows]


def smooth(n_seeds, n_periods=40, m=40):
    """Print the held-out error, and the error of the recovered course, by the smoothness of forty periods."""
    rows, strengths = [], (0.0, 1.0, 3.0, 10.0, 30.0)
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        period = np.repeat(np.arange(n_periods), 4)
        phase, height = rng.random(m), rng.gamma(0.5, 0.5, m)
        course = height * (1 + np.sin(2 * np.pi * (np.arange(n_periods)[:, None] / n_periods + phase)))
        W, H = rng.gamma(0.6, 1.0, (len(period), RANK)), rng.gamma(0.5, 1.0, (RANK, m))
        X = np.maximum(W @ H + course[period] + 0.3 * rng.standard_normal((len(period), m)), 0)
        factors, found = {"year": period, "region": np.zeros(len(period), int)}, []
        folds = RowsColumns(ParallelFits(X, period, None, n_jobs=1), 3, np.random.default_rng(seed))
        one, true = held_out("one", X, factors, folds), course - course.mean(axis=0)
        for smoothness in strengths:
            model = StratifiedNMF(RANK, max_iter=300, tol=1e-4, smoothness=smoothness, random_state=0)
            V = model.fit(X, strata=period).shifts_
            lost = np.linalg.norm(V - V.mean(axis=0) - true) / np.linalg.norm(true)
            found.append((held_out("year", X, factors, folds, smoothness=smoothness), lost))
        errors, losses = zip(*found, strict=True)
        rows.append([f"{seed}, held out", *(f"{error:.4f}" for error in errors), f"one shift {one:.4f}"])
        share = losses[int(np.argmin(errors))] / losses[0]
        rows.append([f"{seed}, course", *(f"{lost:.2f}" for lost in losses), f"chosen / without {share:.2f}"])
    print(markdown(["seed, error", *(f"smoothness {strength:g}" for strength in strengths), ""], rows), "\n")


def cells_of_any_depth(seed, dispersion, n=240, m=120):
    """Simulate counts of cells whose background scales with their depth; return counts, batches, depths and means."""
    rng = np.random.default_rng(seed)

    def profiles(number, share):
        weights = rng.gamma(0.7, size=(number, m)) * (rng.random((number, m)) < share) + 1e-4
        return weights / weights.sum(axis=1, keepdims=True)

    programs, background, batch = profiles(4, 0.2), profiles(3, 0.3), rng.integers(0, 3, n)
    depth, usage = np.exp(0.5 * rng.standard_normal(n)), rng.dirichlet(np.full(4, 0.4), n)
    mean = 300 * depth[:, None] * (0.5 * background[batch] + 0.5 * usage @ programs)
    rates = mean if dispersion == 0 else mean * rng.gamma(1 / dispersion, dispersion, mean.shape)
    return rng.poisson(rates).astype(float), batch, depth, mean, programs


def exposure(n_seeds):
    """Print the error of the mean, and the cosine of the components, with a constant shift and with exposures."""
    rows = []
    for dispersion in (0.0, 1.0):
        for seed in range(n_seeds):
            X, batch, depth, mean, programs = cells_of_any_depth(seed, dispersion)
            given = {
                "none": {},
                "row sums": {"exposure": X.sum(axis=1) / X.sum(axis=1).mean()},
                "true": {"exposure": depth},
            }
            cells = []
            for more in given.values():
                options = {"solver": "mu", "beta_loss": "kullback-leibler", "max_iter": 300, "n_init": 3}
                model = StratifiedNMF(4, random_state=0, **options).fit(X, strata=batch, **more)
                fitted = model.inverse_transform(model.W_, strata=batch, **more)
                error = np.linalg.norm(fitted - mean) / np.linalg.norm(mean)
                cells += [f"{error:.3f}", f"{matched_cosine(programs, model.components_):.3f}"]
            rows.append([f"{'Poisson' if dispersion == 0 else f'dispersion {dispersion:g}'}, {seed}", *cells])
    header = [f"{what}, {name}" for name in given for what in ("error", "cosine")]
    print(markdown(["counts, seed", *header], rows), "\n")


def uneven(n_seeds, n=240, m=40):
    """Print the correlation of shifts under the squared error, where usage differs between rows as depth does."""
    rows = []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        stratum, u = rng.integers(0, 3, n), np.exp(0.6 * rng.standard_normal(n))
        V, W, H = rng.gamma(0.5, 1.0, (3, m)), rng.gamma(0.6, 1.0, (n, RANK)), rng.gamma(0.7, 1.0, (RANK, m))
        X = np.maximum(u[:, None] * (V[stratum] + W @ H) + 0.3 * rng.standard_normal((n, m)), 0)
        cells = []
        for more in ({}, {"exposure": u}, {"exposure": X.sum(axis=1) / X.sum(axis=1).mean()}):
            model = StratifiedNMF(RANK, max_iter=300, gauge="max_shift", random_state=0).fit(X, strata=stratum, **more)
            cells.append(f"{np.corrcoef(model.shifts_.ravel(), V.ravel())[0, 1]:.3f}")
        rows.append([str(seed), *cells])
    print(markdown(["seed", "none", "true", "row sums"], rows), "\n")


def matched_cosine(A, B):
    """Return the mean cosine of the rows of A with those of B, matched one to one."""
    cosines = normalize(A) @ normalize(B).T
    return float(cosines[linear_sum_assignment(-cosines)].mean())


PARTS = {
    "choice": choice,
    "weak": weak,
    "recovery": recovery,
    "unseen": unseen,
    "smooth": smooth,
    "exposure": exposure,
    "uneven": uneven,
}


def main():
    """Run the chosen parts, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in PARTS:
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(describe())
    run([name for name in PARTS if getattr(options, name)] or PARTS, options.seeds)


def run(names=PARTS, n_seeds=3):
    """Print the tables of some parts."""
    warnings.filterwarnings("ignore", message=".*max_iter.*")
    for name in names:
        print(f"\n## {name}\n", flush=True)
        PARTS[name](n_seeds)


if __name__ == "__main__":
    main()
