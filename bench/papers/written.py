"""The report: published and measured side by side, verdicts, tables and figures, as Markdown."""

import textwrap

import claims
import numpy as np
import published
import starts
from claims import number, spread
from drawings import FIGURES
from runs import DEFAULT, MU, NNDSVD, SIMULTANEOUS

TITLES = {
    "synthetic": "Synthetic data",
    "housing": "California housing",
    "mnist": "MNIST",
    "newsgroups": "20 newsgroups",
    "starts": "Starts compared",
}


def markdown(header, rows):
    """Format rows as a Markdown table of left-aligned columns: most cells are sentences."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)


def paragraph(text):
    """Return a paragraph in lines of at most 120 characters."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def report(tables, params):
    """Return the report on all experiments that have been run.

    Parameters
    ----------
    tables : dict, experiment -> table name -> DataFrame
    params : dict
        ``machine``, ``date``, and ``experiments``: experiment -> its parameters.
    """
    verdicts = {
        name: judge(tables[name], params["experiments"][name])
        for name, judge in claims.JUDGES.items()
        if name in tables
    }
    parts = [
        "# Stratified-NMF for heterogeneous data: reproduced",
        "The four experiments of J. Chapman, Y. Yaniv, D. Needell, *Stratified-NMF for Heterogeneous Data*, 2023, "
        "arXiv:2311.10789, run with fastnmf. Every number and every verdict below comes from this run; all numbers are "
        "in the CSV files beside this report, parameters and versions in params.json.",
        f"{params['date']}; {params['machine']}",
        _runs_of(tables, params),
        "MU are the multiplicative updates of the paper from its random start (V, W, H drawn in this order by NumPy's "
        "default generator). In the sequential order (Algorithm 1) H sees the new W; in the simultaneous one, that of "
        "the authors' program, W and H both move from the old pair. The default solver is coordinate descent from its "
        "own start. Ranges in brackets are the smallest and largest over the seeds.",
        _counts(verdicts),
    ]
    for name, found in verdicts.items():
        parts += [f"## {TITLES[name]}", _table_of(found)]
        parts += MORE[name](tables[name])
        parts += [f"![{alt(draw)}]({stem}.png)" for stem, (of, draw) in FIGURES.items() if of == name]
    if "starts" in tables:
        parts += [f"## {TITLES['starts']}", STARTS, markdown(*starts.summary(tables["starts"]["runs"]))]
    return "\n\n".join(parts) + "\n"


def alt(draw):
    """Return the text of a figure for those who do not see it: the first line of its function's documentation."""
    return draw.__doc__.splitlines()[0].removeprefix("Draw ").rstrip(".")


STARTS = (
    "The default solver stops by its own rule, at most after 200 iterations; MU runs 100. `start ms` is the time of "
    "the start alone."
)


def _runs_of(tables, params):
    """Say how much has been run."""
    rows = []
    for name in tables:
        options = {k: v for k, v in params["experiments"][name].items() if k != "seconds"}
        rows.append(
            [
                TITLES[name],
                ", ".join(f"{k} {v}" for k, v in options.items()),
                f"{params['experiments'][name]['seconds']:.0f}",
            ]
        )
    return markdown(["experiment", "parameters", "seconds"], rows)


def _counts(verdicts):
    """Count the verdicts."""
    every = [claim.verdict for found in verdicts.values() for claim in found]
    words = (claims.HOLDS, claims.PARTLY, claims.FAILS, claims.OPEN)
    return f"Of {len(every)} statements: " + ", ".join(f"{every.count(word)} {word}" for word in words) + "."


def _table_of(found):
    """Return the verdicts as a table."""
    rows = [[c.statement, c.source, c.measured, f"**{c.verdict}**"] for c in found]
    return markdown(["statement", "from", "measured", "verdict"], rows)


def runs_table(tables):
    """Return losses, seconds and iterations of every kind of run."""
    rows = []
    for solver, part in tables["runs"].groupby("solver", sort=False):
        reaches = part.get("reaches_mu")
        has = reaches is not None and np.isfinite(reaches.to_numpy(dtype=float)).any()
        off = np.abs(part.loss_from_factors - part.loss).max()
        rows.append([
            solver, len(part), f"{part.iterations.iloc[0]:,}", spread(part.loss_before_last, 6), spread(part.loss, 6),
            f"{off:.0e}", f"{np.nanmedian(reaches):.0f}" if has else "", f"{part.seconds.median():.2f}",
        ])  # fmt: skip
    header = ["", "runs", "iterations", "loss before the last one", "loss", "off", "as MU after", "seconds"]
    note = (
        "`off`: largest difference to the loss computed anew from the factors. `as MU after`: iterations to the loss "
        "of MU sequential (median)."
    )
    return [markdown(header, rows), note]


def _synthetic(tables):
    forms, apart = claims.gauge_ranges(tables)
    rows = [
        [f"v({i})", *(f"{forms.loc[i, c]:.3f}" for c in ("truth", "max_shift", "as fitted", "min_shift"))]
        for i in forms.index
    ]
    means = tables["means"]
    marks = [m for m in (10, 100, 1000, 2000, 5000, 9999) if len(claims.at(means, MU, m, "mean"))]
    path = []
    for m in marks:
        theirs = published.SYNTHETIC["means"].get(m)
        part = means[(means.solver == MU) & (means.iteration == m)].groupby("stratum")["mean"]
        ours = ", ".join(
            f"{a:.2f} [{b:.2f}, {c:.2f}]" for a, b, c in zip(part.mean(), part.min(), part.max(), strict=True)
        )
        path.append([f"{m:,}", ", ".join(f"{x:g}" for x in theirs) if theirs else "", ours])
    return [
        *runs_table(tables),
        "Means of v on the way:",
        markdown(["iterations", "published", "MU sequential, mean and range"], path),
        "The same fits (MU sequential) in three forms, mean over the seeds. For any c for which both stay "
        "non-negative, v + Hᵀc with W - 1cᵀ fits exactly as well: `max_shift` takes the largest such c, which is where "
        "the updates end; `min_shift` gives the components as much of v as they can take, one after the other. The "
        f"losses differ by {max(apart, 1e-15):.0e} at most (relative).",
        markdown(["", "planted", "max_shift", "as fitted", "min_shift"], rows),
    ]


def _housing(tables):
    bars = {
        name: claims.all_bars(tables, name).mean(axis=0) for name in (MU, SIMULTANEOUS, "column means", DEFAULT, NNDSVD)
    }
    rows = []
    for place, (variable, theirs) in enumerate(published.HOUSING["chart"].items()):
        cells = [" ".join(f"{x:.4f}" for x in part[place]) for part in bars.values()]
        rows.append([variable, " ".join(f"{x:.4f}" for x in theirs), *cells])
    return [
        *runs_table(tables),
        "Bars (low, medium, high income), mean over the seeds:",
        markdown(["", "published", *bars], rows),
    ]


def _mnist(tables):
    rows = []
    for solver in (MU, SIMULTANEOUS, DEFAULT):
        for factor in tables["correlations"].factor.unique():
            values = claims.correlations(tables, solver, factor).mean(axis=0)
            if factor.startswith("v"):
                rows.append([solver, factor, *(f"{value:.2f}" for value in values)])
    return [
        *runs_table(tables),
        "Correlation of the shifts with mean digits, mean over the seeds:",
        markdown(["", "", "1", "2", "3"], rows),
    ]


def _newsgroups(tables):
    words = tables["words"]
    seed = int(words[words.solver == MU].seed.min())
    ours, base = claims.lists(words, MU, seed), claims.lists(words, "stratum means", 0)
    rows = [
        [group, " ".join(printed), " ".join(theirs[:3]), " ".join(mine[:5]), " ".join(plain[:5])]
        for group, printed, theirs, mine, plain in zip(
            sorted(words.group.unique()), published.printed_words(), published.top_words(), ours, base, strict=True
        )
    ]
    shares = [
        [solver, seed, *(f"{share:.3f}" for share in found.values())]
        for (solver, seed), found in claims.overlaps(tables).items()
    ]
    rest = [[MU, "all", *claims_row(tables, MU)]]
    zeros = [
        [
            solver,
            *(
                number(claims.of(tables["runs"], solver, c).mean())
                for c in ("v_non_zero", "v_above_1e-6", "v_above_1e-4")
            ),
        ]
        for solver in (MU, SIMULTANEOUS, DEFAULT)
    ]
    return [
        *runs_table(tables),
        f"Words (MU sequential, seed {seed}; the same for every other run in newsgroups_words.csv). Fig. 6 prints the "
        "first three columns of the published list, which is in ascending order: ranks 30, 29 and 28.",
        markdown(["newsgroup", "printed in Fig. 6", "published list, corrected", "measured", "plain mean"], rows),
        "Median rank that words of the published list have among the shifts of our runs:",
        markdown(["", "seed", "printed in Fig. 6", "last three of the list"], rest),
        "Share of the first words of the published list, its order corrected, that a run has among as many:",
        markdown(["", "seed", "3", "10", "30"], shares),
        "Share of v that is above a level, mean over the seeds; the share of words that occur in a stratum is "
        f"{tables['groups'].words_present.mean():.4f}, from {tables['groups'].words_present.min():.4f} to "
        f"{tables['groups'].words_present.max():.4f}:",
        markdown(["", "0", "1e-6", "1e-4"], zeros),
    ]


def claims_row(tables, solver):
    """Return the median ranks of the printed and of the strongest published words, as text."""
    return [f"{rank:g}" for rank in claims.printed_ranks(tables, solver)]


MORE = {"synthetic": _synthetic, "housing": _housing, "mnist": _mnist, "newsgroups": _newsgroups}
