"""What is claimed, and what the runs say: every verdict is computed from the tables of an experiment.

Each function takes the tables of one experiment (dict of DataFrames) and its parameters, and returns a list of `Claim`.
"""

from dataclasses import dataclass

import numpy as np
import published
from runs import DEFAULT, LONG, MU, SIMULTANEOUS

from fastnmf.metrics.topics import topic_overlap

HOLDS, FAILS, PARTLY, OPEN = "holds", "does not hold", "holds in part", "cannot be compared"
PAPER, RESULTS, OURS = "paper", "authors' results", "ours"
SAME_LOSS = 1e-9  # relative: two factorizations that fit alike
EVEN_BARS = 0.1  # largest less smallest bar of a variable that looks alike in all strata
SAME_BAR = 0.01  # two bars that a reader of the chart takes for one
RMS_OF_CHART = 0.005
LEAST_OVERLAP = {10: 0.80, 30: 0.83}


@dataclass
class Claim:
    """One line of the table of verdicts."""

    statement: str
    source: str
    measured: str
    verdict: str


def verdict(is_true, is_partly=False):
    """Return the word for a claim that is true, partly true or neither."""
    return HOLDS if is_true else PARTLY if is_partly else FAILS


def number(value, digits=4):
    """Format a number with the digits that matter."""
    return f"{value:.{digits}g}"


def spread(values, digits=4):
    """Format the mean of some numbers with their range."""
    return f"{number(np.mean(values), digits)} [{number(np.min(values), digits)}, {number(np.max(values), digits)}]"


def at(curves, solver, iteration, column="loss"):
    """Return the values of a solver at an iteration, one a seed."""
    found = curves[(curves.solver == solver) & (curves.iteration == iteration)]
    return found.sort_values("seed")[column].to_numpy()


def of(runs, solver, column):
    """Return a column of the runs of a solver, one a seed."""
    return runs[runs.solver == solver].sort_values("seed")[column].to_numpy()


def no_rises(tables):
    """Say whether the loss ever rose under multiplicative updates."""
    runs = tables["runs"]
    rises = {solver: int(of(runs, solver, "rises").sum()) for solver in (MU, SIMULTANEOUS)}
    return Claim(
        "The loss never rises (proved for the sequential order, in which H sees the new W)",
        PAPER,
        f"rises in all runs: sequential {rises[MU]}, simultaneous {rises[SIMULTANEOUS]}",
        verdict(rises[MU] == 0 and rises[SIMULTANEOUS] == 0, rises[MU] == 0),
    )


def distance_to_default(tables, iterations):
    """Say how far MU is from what the default solver finds."""
    runs = tables["runs"]
    ratios = of(runs, MU, "loss") / of(runs, DEFAULT, "loss")
    reaches = of(runs, DEFAULT, "reaches_mu")
    after = f"after {np.nanmedian(reaches):.0f} iterations (median)" if np.isfinite(reaches).any() else "never"
    count = int(of(runs, DEFAULT, "iterations")[0])
    return Claim(
        f"{iterations:,} multiplicative iterations end within 1 % of the loss of the default solver",
        OURS,
        f"the default solver has the loss of MU {after}; loss of MU / loss of it after {count:,}: {spread(ratios)}",
        verdict((ratios < 1.01).all(), (ratios < 1.01).any()),
    )


def range_of_loss(tables, loss_after):
    """Say whether the published loss is one that such a run ends with; `loss_after` maps iterations to it."""
    ((iteration, value),) = loss_after.items()
    runs, claim = tables["runs"], f"Loss {value:g} after {iteration:,} iterations lies in the range of such runs"
    parts, inside = [], False
    for solver in (SIMULTANEOUS, MU):
        if of(runs, solver, "iterations")[0] != iteration + 1:
            return Claim(claim, RESULTS, "run for fewer iterations", OPEN)
        losses = of(runs, solver, "loss_before_last")
        inside |= bool(losses.min() <= value <= losses.max())
        parts.append(f"{solver} {spread(losses)}, {np.sum(losses <= value)} of {len(losses)} no higher")
    return Claim(claim, RESULTS, "; ".join(parts), verdict(inside))


# ---------------------------------------------------------------- synthetic


def synthetic(tables, params):
    """Judge the planted data."""
    curves, iterations = tables["curves"], params["iterations"]
    early = published.SYNTHETIC["converged_by"]
    found = [range_of_loss(tables, {9999: published.SYNTHETIC["loss"][9999]})]
    if iterations > early:
        theirs = published.SYNTHETIC["loss"][early] / published.SYNTHETIC["loss"][9999]
        ours = at(curves, MU, early) / at(curves, MU, iterations)
        measured = f"loss after {early:,} / loss after {iterations:,}: ours {spread(ours)}, published {theirs:.2f}"
        found.append(Claim(f"Converges in under {early:,} iterations", PAPER, measured, verdict(ours.max() < 1.05)))
    else:
        found.append(Claim(f"Converges in under {early:,} iterations", PAPER, "run for fewer iterations", OPEN))
    return found + [
        _final_means(tables, iterations),
        _both_orders(tables),
        _identified(tables),
        distance_to_default(tables, iterations),
        no_rises(tables),
    ]


def _both_orders(tables):
    """Say whether the proof for the sequential order covers the simultaneous one."""
    steps = tables["step"].set_index("solver")
    parts = [f"{solver} {row.before:g} to {row.after:g}" for solver, row in steps.iterrows()]
    never = (steps.after <= steps.before).to_dict()
    return Claim(
        "Either order of the updates lowers the objective",
        OURS,
        "one iteration on A = ones(2, 2), v = 0, W = H = 1/2, half the squared error: " + "; ".join(parts),
        verdict(all(never.values()), any(never.values())),
    )


def _final_means(tables, iterations):
    """Say whether the published means of v are among ours."""
    theirs = published.SYNTHETIC["means"][9999]
    means = tables["means"]
    means = means[(means.solver == MU) & (means.iteration == iterations)]
    inside, parts = [], []
    for stratum, value in enumerate(theirs, start=1):
        ours = means[means.stratum == stratum]["mean"]
        inside.append(ours.min() <= value <= ours.max())
        parts.append(f"{ours.mean():.3f} [{ours.min():.3f}, {ours.max():.3f}]")
    return Claim(
        f"Final means of v: {', '.join(f'{value:g}' for value in theirs)}",
        RESULTS,
        "MU sequential " + "; ".join(parts),
        verdict(all(inside), any(inside)) if iterations > 9999 else OPEN,
    )


def gauge_ranges(tables, solver=MU):
    """Return for each stratum the truth, and the means of v in three forms of the same fits; and how alike they fit."""
    gauges = tables["gauges"]
    gauges = gauges[gauges.solver == solver]
    forms = gauges.pivot_table(index="stratum", columns="gauge", values="mean", aggfunc="mean")
    forms["truth"] = gauges.groupby("stratum")["truth"].mean()
    losses = gauges.pivot_table(index="seed", columns="gauge", values="loss", aggfunc="first")
    apart = losses.max(axis=1) / losses.min(axis=1) - 1
    return forms, float(apart.max())


def _identified(tables):
    """Say whether the loss determines the shifts."""
    forms, apart = gauge_ranges(tables)
    moved = 1 - forms["min_shift"] / forms["max_shift"]
    measured = (
        f"means of v at the same loss (relative difference below {max(apart, 1e-15):.0e}): "
        f"{', '.join(f'{value:.2f}' for value in forms['max_shift'])} with max_shift, "
        f"{', '.join(f'{value:.2f}' for value in forms['min_shift'])} with min_shift"
    )
    is_free = apart < SAME_LOSS and moved.max() > 0.05
    return Claim("The data determine the shifts, so that they recover the truth", PAPER, measured, verdict(not is_free))


# ---------------------------------------------------------------- housing


def chart_distances(tables, solver):
    """Return for every seed the root mean square distance of the bars to the published ones."""
    chart = tables["chart"]
    theirs = np.array([published.HOUSING["chart"][v] for v in published.HOUSING["chart"]])
    return np.array([
        np.sqrt(np.mean((bars_of(part) - theirs) ** 2)) for _, part in chart[chart.solver == solver].groupby("seed")
    ])  # fmt: skip


def bars_of(part):
    """Return the bars of one run, (5 variables, 3 strata), in the published order."""
    wide = part.pivot(index="variable", columns="stratum", values="bar")
    return wide.loc[list(published.HOUSING["chart"]), list(published.HOUSING["strata"])].to_numpy()


def all_bars(tables, solver):
    """Return the bars of all runs of a solver, (seeds, 5, 3)."""
    chart = tables["chart"]
    return np.array([bars_of(part) for _, part in chart[chart.solver == solver].groupby("seed")])


def distance_to_means(tables, solver=MU):
    """Return for each variable the largest distance of a bar to that of the plain column means, over all seeds."""
    gap = np.abs(all_bars(tables, solver) - all_bars(tables, "column means")[0])
    return dict(zip(published.HOUSING["chart"], gap.max(axis=(0, 2)), strict=True))


def housing(tables, params):
    """Judge California housing."""
    bars, runs = all_bars(tables, MU), tables["runs"]
    found = [_same_norm(tables, published.HOUSING["norm"])]
    distances = {solver: chart_distances(tables, solver) for solver in (MU, SIMULTANEOUS)}
    measured = "; ".join(f"{s}: rms distance {spread(d)}" for s, d in distances.items())
    largest = max(d.max() for d in distances.values())
    found.append(Claim("The bars of Fig. 3", RESULTS, measured, verdict(largest <= RMS_OF_CHART)))
    found.append(range_of_loss(tables, published.HOUSING["loss"]))
    names = list(published.HOUSING["chart"])
    rising = [all((np.diff(run[names.index(v)]) > 0).all() for v in ("MedInc", "AveRooms")) for run in bars]
    crowded = [run[names.index("Population")].argmax() == 1 for run in bars]
    claim = "Income and rooms grow with wealth, and the medium stratum has the largest Population"
    counts = f"{sum(rising)} and {sum(crowded)} of {len(bars)} runs of MU"
    found.append(Claim(claim, PAPER, counts, verdict(all(rising) and all(crowded), any(rising) and any(crowded))))
    gaps = distance_to_means(tables)
    own = [name for name, gap in gaps.items() if gap > SAME_BAR]
    found.append(
        Claim(
            "The bars show more than the plain column means of the strata",
            OURS,
            f"{len(gaps) - len(own)} of {len(gaps)} variables: bars within {SAME_BAR} of those of the column means in "
            f"every run; {', '.join(f'{name} up to {gaps[name]:.3f} away' for name in own) or 'none further away'}",
            verdict(len(own) == len(gaps), bool(own)),
        )
    )
    found.append(distance_to_default(tables, params["iterations"]))
    best = lowest(runs)
    times = of(runs, MU, "loss").mean() / best.loss
    parts = [f"lowest loss found {number(best.loss)} ({best.solver}), 1/{times:.3g} of that of MU"]
    if (runs.solver == LONG).any():
        parts.append(f"MU itself {spread(of(runs, LONG, 'loss'))} after {int(of(runs, LONG, 'iterations')[0]):,}")
    found[-1].measured = "; ".join([found[-1].measured, *parts])
    found += [_constant_age(tables, names), _no_occupancy(tables), no_rises(tables)]
    return found


def lowest(runs):
    """Return the run of the lowest loss."""
    return runs.loc[runs.loss.idxmin()]


def _constant_age(tables, names):
    """Say whether HouseAge is alike in all strata, and stays so where the loss is lowest."""
    best, age = lowest(tables["runs"]), names.index("HouseAge")
    chart = tables["chart"]
    wide = np.ptp(all_bars(tables, MU)[:, age], axis=1)
    there = bars_of(chart[(chart.solver == best.solver) & (chart.seed == best.seed)])[age]
    measured = (
        f"largest less smallest bar: MU {spread(wide)}; at the lowest loss found {np.ptp(there):.3f}, bars "
        f"{' '.join(f'{bar:.3f}' for bar in there)}"
    )
    is_even = wide.max() < EVEN_BARS
    return Claim(
        "HouseAge is about constant over the strata",
        PAPER,
        measured,
        verdict(is_even and np.ptp(there) < EVEN_BARS, is_even),
    )


def _no_occupancy(tables):
    """Say whether the shifts of AveOccup are near zero: below a tenth of the column mean."""
    chart = tables["chart"]
    chart = chart[chart.variable == "AveOccup"]
    means = chart[chart.solver == "column means"].set_index("stratum")["shift"]
    ours = chart[chart.solver == MU]
    parts, near = [], []
    for stratum in published.HOUSING["strata"]:
        shifts = ours[ours.stratum == stratum]["shift"]
        near.append(shifts.max() < 0.1 * means[stratum])
        parts.append(
            f"{stratum} {shifts.mean():.2f} [{shifts.min():.2f}, {shifts.max():.2f}], mean {means[stratum]:.2f}"
        )
    return Claim("AveOccup is near zero in all strata", PAPER, "MU: " + "; ".join(parts), verdict(all(near), any(near)))


def _same_norm(tables, norm):
    """Say whether the data are the published ones."""
    ours = float(tables["facts"]["norm"].iloc[0])
    same = abs(ours / norm - 1) < 1e-9
    return Claim(f"Frobenius norm of the data {norm:.10g}", RESULTS, f"{ours:.10g}", HOLDS if same else FAILS)


# ---------------------------------------------------------------- MNIST


def correlations(tables, solver, factor):
    """Return the correlations of a factor with the mean images of 1, 2 and 3, (seeds, 3)."""
    table = tables["correlations"]
    table = table[(table.solver == solver) & (table.factor == factor)]
    return table.pivot(index="seed", columns="digit", values="correlation")[[1, 2, 3]].to_numpy()


def mnist(tables, params):
    """Judge MNIST."""
    theirs = published.MNIST["correlation"]
    same_data = abs(float(tables["facts"]["norm"].iloc[0]) / published.MNIST["norm"] - 1) < 1e-6
    loss = range_of_loss(tables, published.MNIST["loss"])
    if not same_data:
        loss.measured += f"; on other images (subset {params['subset']!r}, norm {tables['facts']['norm'].iloc[0]:.2f})"
        loss.verdict = OPEN
    first, second = correlations(tables, MU, "v(1)"), correlations(tables, MU, "v(2)")
    found = [loss]
    measured = f"correlation with the mean 1: {spread(first[:, 0])}; published {theirs['v(1)', 1]}"
    most = first.argmax(axis=1) == 0
    found.append(
        Claim("v(1) shows the 1, which only the first stratum has", PAPER, measured, verdict(most.all(), most.any()))
    )
    measured = (
        f"correlation with the mean 3: {spread(second[:, 2])}, with the mean 1: {spread(second[:, 0])}; published "
        f"{theirs['v(2)', 3]} and {theirs['v(2)', 1]}; of v(1) with the mean 3: {spread(first[:, 2])}"
    )
    is_three, more_three = (second.argmax(axis=1) == 2).all(), (second[:, 2] > first[:, 2]).all()
    found.append(
        Claim("v(2) shows the 3, which only the second stratum has", PAPER, measured, verdict(is_three, more_three))
    )
    rank = params["rank"]
    best = np.array([correlations(tables, MU, f"h({j + 1})").argmax(axis=1) + 1 for j in range(rank)])
    twos, threes = (best == 2).sum(axis=0), (best == 3).sum(axis=0)
    measured = f"rows nearest to the mean 2: {spread(twos)} of {rank}, to the mean 3: {spread(threes)}"
    found.append(
        Claim(
            "Most rows of H show the 2, which both strata have",
            PAPER,
            measured,
            verdict((twos > rank / 2).all(), (twos > rank / 2).any()),
        )
    )
    found.append(_zeros_of_images(tables["runs"]))
    return found + [distance_to_default(tables, params["iterations"]), no_rises(tables)]


def _zeros_of_images(runs):
    """Say whether MU makes zeros of its own in v."""
    zeros, never = of(runs, MU, "zeros_in_v"), of(runs, MU, "never_lit")
    measured = (
        f"zeros in v: MU {spread(zeros)}, default solver {spread(of(runs, DEFAULT, 'zeros_in_v'))}; pixels that no "
        f"image of the stratum lights: {spread(never)}"
    )
    return Claim(
        "MU makes zeros in v beyond those that the data force", OURS, measured, verdict((zeros > never + 0.01).all())
    )


# ---------------------------------------------------------------- 20 newsgroups


def lists(words, solver, seed):
    """Return the words of each group of one run, strongest first."""
    part = words[(words.solver == solver) & (words.seed == seed)].sort_values(["group", "rank"])
    return [group["word"].astype(str).tolist() for _, group in part.groupby("group", sort=True)]


def overlaps(tables):
    """Return {(solver, seed): {n: share of the first n words that the published list has too}}."""
    words, theirs = tables["words"], published.top_words()
    keys = words[["solver", "seed"]].drop_duplicates().itertuples(index=False)
    return {
        (key.solver, key.seed): {n: topic_overlap(lists(words, *key), theirs, n) for n in (3, 10, 30)} for key in keys
    }


def newsgroups(tables, params):
    """Judge 20 newsgroups."""
    facts, groups, runs = tables["facts"], tables["groups"], tables["runs"]
    shape = (int(facts["rows"].iloc[0]), int(facts["columns"].iloc[0]))
    found = [_same_norm(tables, published.NEWSGROUPS["norm"])]
    found[0].measured += f", {shape[0]:,} x {shape[1]:,}"
    low, high = groups.articles.min(), groups.articles.max()
    small = groups.loc[groups.articles.idxmin(), "group"]
    claim = "Each category has between {} and {} articles".format(*published.NEWSGROUPS["articles"])
    measured = f"{low} ({small}) to {high}; {groups['empty'].sum()} of all have no word left"
    found.append(Claim(claim, PAPER, measured, verdict((low, high) == published.NEWSGROUPS["articles"])))
    return found + [
        _sparsity(groups, runs),
        _printed_ranks(tables),
        *_overlap_claims(tables),
        _loss_of_words(runs),
        distance_to_default(tables, params["iterations"]),
        no_rises(tables),
    ]


def _sparsity(groups, runs):
    """Say where the zeros of v come from."""
    present, ours = groups.words_present.mean(), of(runs, MU, "v_non_zero")
    outside = int(runs[runs.solver == MU]["v_outside_present"].sum())
    measured = (
        f"words that occur in a stratum {present:.4f} (mean over the strata), v > 0 with MU {spread(ours)}, of these "
        f"{outside} where the word does not occur; v > 1e-4: {spread(of(runs, MU, 'v_above_1e-4'))}; default solver, "
        f"v > 0: {spread(of(runs, DEFAULT, 'v_non_zero'))}"
    )
    own = np.abs(ours - present).max() > 0.005 or outside
    return Claim("About 20 % of v is non-zero because the method keeps it sparse", PAPER, measured, verdict(bool(own)))


def printed_ranks(tables, solver=MU):
    """Return the median ranks among our shifts of what Fig. 6 prints, and of what the published list has on top."""
    ranks = tables["ranks"]
    ranks = ranks[ranks.solver == solver]
    last = ranks.published_rank.max()
    printed = ranks[ranks.published_rank > last - 3]["rank"].median()
    return float(printed), float(ranks[ranks.published_rank <= 3]["rank"].median())


def _printed_ranks(tables):
    """Say which ranks Fig. 6 shows."""
    printed, top = printed_ranks(tables)
    measured = (
        f"median rank in our runs: of the printed words {printed:g}, of the last three columns of the list {top:g}"
    )
    return Claim("Fig. 6 shows the three strongest words of each v(i)", PAPER, measured, verdict(printed <= 5))


def _overlap_claims(tables):
    """Say whether the published list, its order corrected, is what our runs find."""
    found = overlaps(tables)
    base = found["stratum means", 0]
    claims = []
    for solver in (MU, SIMULTANEOUS, DEFAULT):
        runs = [shares for (name, _), shares in found.items() if name == solver]
        mean = {n: np.mean([shares[n] for shares in runs]) for n in (3, 10, 30)}
        parts = ", ".join(f"{mean[n]:.3f} of the first {n}" for n in mean)
        enough = all(mean[n] >= least and mean[n] >= base[n] + 0.2 for n, least in LEAST_OVERLAP.items())
        claims.append(
            Claim(
                f"The list of 30 words, read from its end, is what {solver} finds",
                RESULTS,
                f"{parts} in common; stratum means alone: {base[10]:.3f} of 10, {base[30]:.3f} of 30",
                verdict(enough),
            )
        )
    return claims


def _loss_of_words(runs):
    """Give the loss, which has not been published."""
    parts = [f"{solver} {spread(of(runs, solver, 'loss'), 6)}" for solver in (MU, SIMULTANEOUS, DEFAULT)]
    count = int(of(runs, MU, "iterations")[0])
    return Claim("Loss (the stored one is all zeros)", RESULTS, "; ".join(parts) + f" after {count} iterations", OPEN)


JUDGES = {"synthetic": synthetic, "housing": housing, "mnist": mnist, "newsgroups": newsgroups}
