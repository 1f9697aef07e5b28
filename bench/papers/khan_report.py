"""The page of findings on Meta-NMF, and its tables; every number and every verdict is computed from the cells.

A mean is taken over the ranks of each seed first; a seed that lacks a rank is left out, so that a run that is not over
yet says nothing that is wrong.
"""

import numpy as np
import pandas as pd
from claims import FAILS, HOLDS, OPEN, PARTLY, Claim, verdict
from khan_cells import METHODS, RANKLESS, SETS
from written import markdown

THESIS, OURS = "thesis", "ours"
NEAR = 0.01  # two means of NMI that differ by less count as the same, also where all seeds agree
RANKS = (2, 3, 5, 10, 14, 18)
ROUNDS = {"outer": 50, "inner": 100}  # of the thesis: what it publishes stands beside runs of the same rounds only
# Means of NMI over the six ranks in the thesis, under its names.
PUBLISHED = {
    "Blobs": {
        "NMF": 0.086, "NMF-NNDSVD": 0.759, "GNMF": 0.073, "GNMF-NNDSVD": 0.804, "Meta-NMF": 0.869,
        "Meta-NMF-NNDSVD": 0.759,
    },
    "Digits": {
        "NMF": 0.570, "NMF-NNDSVD": 0.520, "GNMF": 0.541, "GNMF-NNDSVD": 0.523, "Meta-NMF": 0.595, "Meta-GNMF": 0.601,
        "Meta-GNMF-NNDSVD": 0.585, "Meta-NMF-NNDSVD": 0.519,
    },
    "COIL-20": {
        "NMF": 0.718, "NMF-NNDSVD": 0.702, "GNMF": 0.694, "GNMF-NNDSVD": 0.691, "Meta-NMF": 0.720,
        "Meta-NMF-NNDSVD": 0.701,
    },
    "Olivetti faces": {"NMF": 0.665, "NMF-NNDSVD": 0.643, "GNMF": 0.665, "GNMF-NNDSVD": 0.646, "Meta-NMF": 0.668},
    "Fashion-MNIST": {"NMF": 0.503, "NMF-NNDSVD": 0.491, "GNMF": 0.490, "GNMF-NNDSVD": 0.488, "Meta-NMF": 0.499},
}  # fmt: skip
PUBLISHED_NOISY = {
    "Blobs": {"NMF": 0.061, "NMF-NNDSVD": 0.745, "Meta-NMF-NNDSVD": 0.745},
    "Digits": {"NMF": 0.117, "NMF-NNDSVD": 0.186},
    "COIL-20": {"NMF": 0.615, "NMF-NNDSVD": 0.611},
}
PROGRAM_SECONDS = {"Meta-NMF": 9.8, "Meta-GNMF": 36.8}  # the published program, Digits, rank 10, 50 rounds, CPU
OF_THESIS = (
    "NMF", "Meta-NMF", "NMF-NNDSVD", "Meta-NMF-NNDSVD", "GNMF", "Meta-GNMF", "GNMF-NNDSVD", "Meta-GNMF-NNDSVD",
)  # fmt: skip
FAIR = (
    "NMF", "Meta-NMF", "Meta-NMF, as in the text", "NMF, same budget", "NMF, pre-trained", "NMF-NNDSVDa",
    "GNMF, same budget", "NMF, HALS", "GraphNMF", "GraphNMF, Meta", "GraphNMF, weight 100", "k-means",
)  # fmt: skip
METAS = ("Meta-NMF", "Meta-NMF, as in the text", "Meta-NMF-NNDSVD", "Meta-GNMF", "Meta-GNMF-NNDSVD")


class Cells:
    """The rows of all cells, asked for means.

    Parameters
    ----------
    frame : DataFrame
        One row a cell.
    """

    def __init__(self, frame):
        self.frame = frame[frame.method != "affinity"]
        self.affinities = frame[frame.method == "affinity"]
        self.data = [name for name in SETS if name in set(self.frame.data)]
        self.ranks = tuple(sorted(set(self.frame["rank"]) - {0}))
        self.has_rounds_of_thesis = all((frame[name] == value).all() for name, value in ROUNDS.items())
        self._rows, self._ranks = {}, {}  # (data, sigma, method) -> seed -> rank -> row; (data, sigma) -> ranks
        for row in self.frame.to_dict("records"):
            place = row["data"], row["sigma"]
            self._rows.setdefault((*place, row["method"]), {}).setdefault(row["seed"], {})[row["rank"]] = row
            self._ranks.setdefault(place, set()).add(row["rank"])

    def published(self, data, sigma=0.0):
        """Return the published means by method, of a run with the rounds of the thesis."""
        return (PUBLISHED_NOISY if sigma else PUBLISHED).get(data, {}) if self.has_rounds_of_thesis else {}

    def ranks_of(self, data):
        """Return the ranks of a data set without noise."""
        return tuple(sorted(self._ranks.get((data, 0.0), {0}) - {0}))

    def levels(self, data):
        """Return the levels of noise of a data set, zero not among them."""
        return sorted(sigma for name, sigma in self._ranks if name == data and sigma)

    def by_seed(self, data, method, sigma=0.0, least_rank=1, column="nmi"):
        """Return the mean over the ranks of each seed that has all of them, a dict."""
        ranks = {rank for rank in self._ranks.get((data, sigma), ()) if rank >= least_rank}
        ranks = {0} if method in RANKLESS else ranks
        seeds = self._rows.get((data, sigma, method), {})
        return {
            seed: float(np.mean([rows[rank][column] for rank in ranks]))
            for seed, rows in seeds.items()
            if ranks and ranks <= set(rows)
        }

    def means(self, *arguments, **options):
        """Return the mean over the ranks, one number a seed."""
        return np.array(list(self.by_seed(*arguments, **options).values()))

    def mean(self, *arguments, **options):
        """Return the mean over ranks and seeds, NaN where there is none."""
        values = self.means(*arguments, **options)
        return float(values.mean()) if len(values) else np.nan

    def gains(self, method, others, sigma=0.0):
        """Return by how much a method is better than the best of others, by data set: one number a seed."""
        found = {}
        for data in self.data:
            own = self.by_seed(data, method, sigma)
            rest = [self.by_seed(data, other, sigma) for other in others]
            best = {seed: [r[seed] for r in rest if seed in r] for seed in own}
            differences = [own[seed] - max(values) for seed, values in best.items() if values]
            if differences:
                found[data] = np.array(differences)
        return found


def cell(values, digits=3):
    """Format a mean with half its range over the seeds."""
    if not len(values):
        return ""
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {np.ptp(values) / 2:.{digits}f}"


def signed(gains):
    """Format gains by data set, each with half its range over the seeds."""
    parts = []
    for name, values in gains.items():
        more = f" ± {np.ptp(values) / 2:.3f}" if len(values) > 1 else ""
        parts.append(f"{name} {np.mean(values):+.3f}{more}")
    return ", ".join(parts) or "not run"


def is_gain(values):
    """Say whether differences, one a seed, are a gain: more than NEAR, and more than half their range."""
    return bool(np.mean(values) > max(NEAR, np.ptp(values) / 2))


def judged(gains):
    """Return the verdict on a gain that is claimed for all data sets."""
    found = [is_gain(values) for values in gains.values()]
    return verdict(all(found), any(found)) if found else OPEN


# ---------------------------------------------------------------- tables


def tables(frame):
    """Return the tables behind the report: means by data set, noise and method, and the published ones beside ours."""
    cells, means, beside = Cells(frame), [], []
    for data in cells.data:
        for sigma in (0.0, *cells.levels(data)):
            published = cells.published(data, sigma)
            for method in METHODS:
                values = cells.means(data, method, sigma)
                if not len(values):
                    continue
                row = {"data": data, "sigma": sigma, "method": method, "seeds": len(values)}
                more = {name: cells.mean(data, method, sigma, column=name) for name in ("ari", "purity", "accuracy")}
                row |= {"nmi": values.mean(), "nmi_low": values.min(), "nmi_high": values.max()} | more
                means.append(row | {"cpu_seconds": cells.mean(data, method, sigma, column="cpu_seconds")})
                if method in published:
                    beside.append(row | {"published": published[method]})
    return {"means": pd.DataFrame(means), "published_and_measured": pd.DataFrame(beside)}


def side_by_side(cells, methods=OF_THESIS):
    """Return a table of methods by data sets, published before measured."""
    rows = []
    for method in methods:
        line = [method]
        for data in cells.data:
            theirs = cells.published(data).get(method)
            line += ["" if theirs is None else f"{theirs:.3f}", cell(cells.means(data, method))]
        rows.append(line)
    return markdown(["", *(f"{data}, {what}" for data in cells.data for what in ("thesis", "here"))], rows)


def fair(cells):
    """Return a table of the methods with as much work each."""
    rows = [[method, *(cell(cells.means(data, method)) for data in cells.data)] for method in FAIR]
    return markdown(["", *cells.data], rows)


def noisy(cells):
    """Return a table for each data set with noise: methods by levels, at the ranks that were run with noise."""
    parts = []
    for data in cells.data:
        levels = cells.levels(data)
        if not levels:
            continue
        ranks = sorted(set(cells.frame[(cells.frame.data == data) & (cells.frame.sigma > 0)]["rank"]) - {0})
        rows = [
            [
                method,
                f"{cells.published(data, 1)[method]:.3f}" if method in cells.published(data, 1) else "",
                *(cell(cells.means(data, method, sigma)) for sigma in levels),
            ]
            for method in METHODS
            if any(len(cells.means(data, method, sigma)) for sigma in levels)
        ]
        header = [data, "thesis, level unknown", *(f"noise {sigma:g}" for sigma in levels)]
        over = f"ranks {', '.join(map(str, ranks))}" if len(ranks) > 1 else f"rank {ranks[0]}"
        parts += [f"{data}, {over}:", markdown(header, rows)]
    return parts


def seconds(cells):
    """Return a table of CPU seconds at rank 10, or at the largest rank that was run."""
    rank = 10 if 10 in cells.ranks else max(cells.ranks)
    part = cells.frame[(cells.frame.sigma == 0) & cells.frame["rank"].isin((rank, 0))]
    wide = part.pivot_table(index="method", columns="data", values="cpu_seconds", aggfunc="mean")
    rows = [
        [method, *("" if np.isnan(value) else f"{value:.2g}" for value in wide.loc[method].reindex(cells.data))]
        for method in METHODS
        if method in wide.index and method not in RANKLESS
    ]
    return rank, wide, markdown([f"CPU seconds, rank {rank}", *cells.data], rows)


# ---------------------------------------------------------------- claims


def claims_of(cells):
    """Return what the thesis says, and what we say, with the numbers that decide."""
    plain = ("NMF, same budget", "NMF, pre-trained")
    gain, fair_gain = cells.gains("Meta-NMF", ("NMF",)), cells.gains("Meta-NMF", plain)
    text_gain = cells.gains("Meta-NMF, as in the text", plain)
    longer, learned = cells.gains("GNMF, same budget", ("GNMF",)), cells.gains("Meta-GNMF", ("GNMF, same budget",))
    found = [
        Claim("Meta-NMF clusters better than NMF (100 iterations)", THESIS, signed(gain), judged(gain)),
        Claim(
            "That is the effect of the small tasks: Meta-NMF is better than plain NMF with as many iterations",
            THESIS,
            f"Meta-NMF less the better of same budget and pre-trained: {signed(fair_gain)}; "
            f"Algorithm 1 as in the text: {signed(text_gain)}",
            judged(fair_gain | {f"{data}, text": value for data, value in text_gain.items()}),
        ),
        Claim(
            "The same for GNMF",
            THESIS,
            f"GNMF gains from as many iterations: {signed(longer)}; Meta-GNMF adds: {signed(learned)}",
            judged(learned),
        ),
        _percent(cells),
        _blobs(cells),
        _singular(cells),
        _no_graph(cells),
        *_noise(cells),
    ]
    names = ("GraphNMF", "GraphNMF, weight 100")
    gains = {name: cells.gains(name, METAS) for name in names}
    better = {data: max((gains[n][data] for n in names if data in gains[n]), key=np.mean) for data in cells.data
              if any(data in gains[n] for n in names)}  # fmt: skip
    text = "; ".join(f"{name} less the best Meta form: {signed(gains[name])}" for name in names)
    found.append(Claim("A real graph of nearest neighbours does more than meta-learning", OURS, text, judged(better)))
    bare = cells.gains("k-means", [n for n in METHODS if n not in RANKLESS and not n.startswith("GraphNMF")])
    text = f"k-means of the samples less the best factorization without a graph: {signed(bare)}"
    found.append(Claim("Without a graph, k-means of the samples themselves clusters better", OURS, text, judged(bare)))
    return found


def _percent(cells):
    """Judge the average improvement."""
    pairs = (("NMF", "Meta-NMF"), ("GNMF", "Meta-GNMF"), ("GNMF-NNDSVD", "Meta-GNMF-NNDSVD"))
    parts, all_gains = [], []
    for plain, learned in pairs:
        gains = [cells.mean(data, learned) / cells.mean(data, plain) - 1 for data in cells.data if data != "Blobs"]
        gains = [100 * value for value in gains if np.isfinite(value)]
        all_gains += gains
        if gains:
            parts.append(f"{learned} {np.mean(gains):+.1f} %")
    text = f"all data but Blobs: {', '.join(parts)}" if parts else "not run"
    word = OPEN if not parts else verdict(np.mean(all_gains) >= 5, max(all_gains) >= 5)
    return Claim("Meta-learning improves NMI by 5 to 15 % on average", THESIS, text, word)


def _blobs(cells):
    """Judge the case in which NMF fails."""
    values = {
        name: cells.mean("Blobs", name, least_rank=5) for name in ("NMF", "NMF, same budget", "NMF, HALS", "Meta-NMF")
    }
    text = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if np.isfinite(value))
    best = np.nanmax([values["NMF, same budget"], values["NMF, HALS"], -np.inf])
    word = OPEN if not np.isfinite(best) else verdict(best < 0.5)
    return Claim("Plain NMF cannot find the blobs", THESIS, f"ranks from 5: {text or 'not run'}", word)


def _singular(cells):
    """Judge NNDSVD."""
    worse, cured = cells.gains("NMF", ("NMF-NNDSVD",)), cells.gains("NMF-NNDSVDa", ("NMF-NNDSVD",))
    text = f"random start less NNDSVD: {signed(worse)}; without its zeros (NNDSVDa) it gains: {signed(cured)}"
    worse.pop("Blobs", None)  # where NNDSVD is far better, since 100 iterations from elsewhere are too few
    is_worse = any(is_gain(values) for values in worse.values())
    is_cured = any(is_gain(values) for data, values in cured.items() if data in worse)
    word = verdict(is_worse and not is_cured, is_worse) if worse else OPEN
    return Claim("NNDSVD ends in poor local minima (not just at zeros that updates cannot leave)", THESIS, text, word)


def _no_graph(cells):
    """Judge the graph of the program."""
    part = cells.affinities[cells.affinities.sigma == 0].set_index("data")
    if part.empty:
        return Claim("GNMF uses the geometry of the data", THESIS, "not run", OPEN)
    typical = {data: part.median_affinity[data] for data in cells.data if data in part.index}
    text = "; ".join(
        f"{data} {'< 1e-8' if value < 1e-8 else f'{value:.0e}'}, {100 * part.share_with_neighbours[data]:.0f} %"
        for data, value in typical.items()
    )
    return Claim(
        "GNMF uses the geometry of the data",
        THESIS,
        f"largest affinity of a sample to another one (median), and share of samples whose affinities sum up to more "
        f"than 0.1: {text}",
        verdict((part.median_affinity > 0.1).all(), (part.share_with_neighbours > 0.5).any()),
    )


def _noise(cells):
    """Judge the behaviour under noise."""
    gains, more = {}, {}
    for sigma in sorted({sigma for data in cells.data for sigma in cells.levels(data)}):
        for found, others in ((gains, ("NMF",)), (more, ("NMF, same budget", "NMF, pre-trained"))):
            of_level = cells.gains("Meta-NMF", others, sigma)
            found |= {f"{data} {sigma:g}": values for data, values in of_level.items()}
    if not gains:
        return []
    last = "Also better than plain NMF with as many iterations"
    return [
        Claim("Meta-NMF stands noise better than NMF", THESIS, f"by level: {signed(gains)}", judged(gains)),
        Claim(last, OURS, f"by level: {signed(more)}", judged(more)),
    ]


# ---------------------------------------------------------------- the page


def report(frame, facts, written):
    """Return the text of report.md.

    Parameters
    ----------
    frame : DataFrame
        One row a cell.
    facts : dict
        ``date``, ``machine``, ``settings``.
    written : list of str
        Names of the files beside it.
    """
    cells, settings = Cells(frame), facts["settings"]
    found = claims_of(cells)
    words = [claim.verdict for claim in found]
    counts = ", ".join(f"{word} {words.count(word)}" for word in (HOLDS, PARTLY, FAILS, OPEN) if word in words)
    seeds = frame.seed.nunique()
    parts = [
        "# Meta-NMF: what the numbers show",
        "Non-negative matrix factorization (NMF) writes samples as mixtures of a few non-negative components. A thesis "
        "(Khan 2025) learns the components on five small subsets in turn with a large one, fifty times over "
        "(*Meta-NMF*), starts NMF of other samples from them, clusters the mixtures by k-means, and compares the "
        "clusters with the known classes: normalized mutual information (NMI), 1 for the same clusters, 0 for "
        "unrelated ones. It reports that Meta-NMF finds better clusters than NMF. Here that is run again with fastnmf, "
        "beside baselines that may iterate as often. All numbers and verdicts come from this run.",
        f"{len(frame)} cells; ranks {', '.join(map(str, cells.ranks))}; {seeds} seed{'s' * (seeds > 1)}; "
        f"{settings['outer']} rounds of {settings['inner']} iterations; {settings['images']} images of Fashion-MNIST, "
        f"{settings['blobs']} blobs. {facts['date']}; {facts['machine']}",
    ]
    parts += [_short_run(cells), facts.get("missing", "")]
    rows = [[c.statement, c.source, c.measured, f"**{c.verdict}**"] for c in found]
    parts += [
        "## Findings",
        *_short(cells, settings),
        f"Differences are of mean NMI, with half their range over the seeds where there are several; what is less than "
        f"that, or less than {NEAR}, counts as none. Verdicts: {counts}.",
        markdown(["statement", "from", "measured", "verdict"], rows),
        *_advice(cells),
        "## The tables of the thesis, without noise (4.3 to 4.6)",
        "Mean NMI over the ranks; here with half the range over the seeds.",
        side_by_side(cells),
        NOTES,
        "## The same budget",
        BUDGETS.format(settings["outer"] + 1),
        fair(cells),
    ]
    parts += [f"![{text}]({stem}.png)" for stem, text in PICTURES.items() if f"{stem}.png" in written]
    noise = noisy(cells)
    if noise:
        parts += ["## With noise (tables 4.7 to 4.10)", NOISE, *noise]
        parts += ["![NMI against the level of noise](nmi_noise.png)"] * ("nmi_noise.png" in written)
    if "face_parts.png" in written:
        parts += ["## Parts of faces (figures 4.14 to 4.21)", FACES, "![Components of faces](face_parts.png)"]
    rank, wide, table = seconds(cells)
    parts += ["## Time", table, _speed(rank, wide, settings)]
    return "\n\n".join(part for part in parts if part) + "\n"


PICTURES = {
    "nmi_thesis": "NMI against the rank, methods of the thesis",
    "nmi_fair": "NMI against the rank, with the same budget",
}
NOTES = (
    "*NMF*: 100 multiplicative updates from uniform random factors. *-NNDSVD*: from singular vectors, zeros and all. "
    "*GNMF*: what the program of the thesis does under this name: updates of the Kullback-Leibler divergence with "
    "affinities exp(-d²/0.25) of all pairs of samples. *Meta-NMF-NNDSVD* is that of the text: small tasks start from "
    "NNDSVD, and what they learn is passed on. The program overwrites it, so that the thesis' numbers are those of "
    "NMF-NNDSVD. The two forms of *Meta-GNMF* have the names of the thesis and do what its "
    "program does under them: the first starts the small tasks from NNDSVD in every second round, the second never. "
    "The thesis does not tell how it clusters; its k-means is not in its repository, and levels on the faces differ. "
    "Its blobs are drawn anew: five centres in [-10, 10] to the 500, standard deviation 25, seed 0. Its clothes are a "
    "tenth of the training images, ours are test images."
)
BUDGETS = (
    "Meta-NMF iterates {} times as often as its baseline, on matrices of the same size. *Same budget*: plain NMF, as "
    "many iterations on the samples to cluster. *Pre-trained*: plain NMF of the whole learning half, one start, then "
    "100 iterations on the samples to cluster, as Meta-NMF ends. *As in the text*: disjoint small tasks of 50 samples, "
    "the mean of the present round; the program takes 100 of all, and adds up all rounds. *HALS*: coordinate descent "
    "until it stops by itself. *GraphNMF*: a graph of five nearest neighbours pulls near samples together; as it "
    "comes, under Meta-NMF, and with weight 100 for samples of length 1 (500 updates). The clusters of HALS and "
    "GraphNMF are those of W H (`fastnmf.cluster`), all others follow the protocol of the thesis: rows of W, "
    "components with a largest entry of 1. *k-means*: of the samples, no factorization."
)
NOISE = (
    "Normal noise is added to features in [0, 1], and its sign dropped. The thesis does not record its level, so its "
    "numbers stand beside several; they are means over six ranks."
)
FACES = "Strongest first; each image has its own scale."


def _short_run(cells):
    """Say what is shorter than in the thesis; nothing where nothing is."""
    fewer = {data: cells.ranks_of(data) for data in cells.data if cells.ranks_of(data) != RANKS}
    if not fewer and cells.has_rounds_of_thesis:
        return ""
    text = "**A short run**: published means are over the ranks 2, 3, 5, 10, 14, 18 and after 50 rounds of 100. "
    if not cells.has_rounds_of_thesis:
        text += "These are fewer rounds, so that no published number stands beside them. "
    text += "Levels cannot be compared where that is not so; methods can be compared with each other."
    ranks = "; ".join(f"{data} {', '.join(map(str, ranks)) or 'none'}" for data, ranks in fewer.items())
    return text + f" Ranks here: {ranks}." * bool(ranks)


def _short(cells, settings):
    """Say it in a few lines: mean gains over NMF of 100 iterations, Blobs apart."""
    names = {
        "Meta-NMF": "Meta-NMF",
        "NMF, same budget": "plain NMF with as many iterations",
        "NMF, pre-trained": "plain NMF from one fit of the learning half",
        "NMF, HALS": "plain NMF by coordinate descent, clustered by the distances of W H",
        "GraphNMF": "NMF with a graph of neighbours, as it comes",
        "k-means": "k-means without any factorization",
    }
    parts, blobs = [], []
    for name, words in names.items():
        gains = {data: float(np.mean(values)) for data, values in cells.gains(name, ("NMF",)).items()}
        if "Blobs" in gains:
            blobs.append(f"{words} {gains.pop('Blobs'):+.2f}")
        if gains:
            parts.append(f"{words} {np.mean(list(gains.values())):+.3f} ({len(gains)})")
    head = (
        f"Gains in NMI over NMF as in the thesis, which iterates {settings['inner']} times; mean over the data sets "
        "but Blobs (in brackets how many): "
    )
    lines = [head + "; ".join(parts) + "."] if parts else []
    return lines + [f"On Blobs, where {settings['inner']} iterations are far too few: {'; '.join(blobs)}."] * bool(
        blobs
    )


def _advice(cells):
    """Say what to use, with numbers."""

    def at(method, data):
        value = cells.mean(data, method)
        return f"{value:.3f}" if np.isfinite(value) else "not run"

    gains = cells.gains("Meta-NMF", ("NMF, pre-trained",))
    where = [data for data, values in gains.items() if is_gain(values)]
    tasks = f"The small tasks of Meta-NMF add to that on {len(where)} of {len(gains)} data sets: {signed(gains)}."
    first = [f"{data} {at('NMF, HALS', data)}, Meta-NMF {at('Meta-NMF', data)}" for data in cells.data]
    second = [
        f"{data} {at('GraphNMF', data)}, with weight 100 {at('GraphNMF, weight 100', data)}" for data in cells.data
    ]
    third = [f"{data} {at('k-means', data)}" for data in cells.data]
    return [
        "## What to use instead",
        f"- To fit: `NMF`, run until it stops. Mean NMI with HALS: {'; '.join(first)}.",
        "- To cluster from a fit: the distances of W H (`fastnmf.cluster`), not the rows of W, whose distances depend "
        "on how each component happens to be scaled.",
        f"- For clusters: `GraphNMF` as it comes: {'; '.join(second)}. The stronger the graph, the better where "
        "neighbours are of the same class. It harms where classes have few samples (faces: about five each, so that "
        "five neighbours reach into others), and where little tells the classes apart (blobs, noisy digits): lower "
        "`graph_weight` there.",
        f"- Always look at k-means of the samples first: {'; '.join(third)}.",
        "- To start from what was learned elsewhere: fit once on those samples and pass the model on, "
        "`NMF(..., init=model)`. " + tasks,
    ]


def _speed(rank, wide, settings):
    """Compare with the published program."""
    parts = []
    for method, theirs in PROGRAM_SECONDS.items():
        if rank == 10 and settings["outer"] == 50 and method in wide.index and "Digits" in wide.columns:
            ours = wide.loc[method, "Digits"]
            if np.isfinite(ours):
                parts.append(f"{method} {theirs} s there, {ours:.2g} s here")
    return "Published program, Digits, rank 10, on a machine like this one: " + "; ".join(parts) + "." if parts else ""
