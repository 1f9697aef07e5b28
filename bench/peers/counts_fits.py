"""Sections on whole fits for the Kullback-Leibler divergence: counts of words, and scikit-learn's topics example."""

import json
import tempfile
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from contest import AGAINST, KULLBACK_LEIBLER, OURS, SKLEARN, fixed, worst
from interleave import ratios, spread

KEPT = Path(tempfile.gettempdir()) / "fastnmf-bench-objectives.json"
NEAR = 1.001  # of the objective after so many plain iterations, by rank: at 50 they take minutes
ITERATIONS = {10: 2000, 20: 2000, 50: 500}
AT_MOST = {10: 1 / 4, 20: 1 / 4, 50: 1 / 2}


@cache
def articles(**options):
    """Return 20 newsgroups as scikit-learn gives them, without headers, footers and quotes; never downloaded."""
    from sklearn.datasets import fetch_20newsgroups

    return fetch_20newsgroups(remove=("headers", "footers", "quotes"), download_if_missing=False, **options).data


@cache
def word_counts():
    """Return how often each word is in each article: the matrix of `load_newsgroups` before TF-IDF, CSR float64."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer(max_df=0.95, min_df=2, stop_words="english").fit_transform(articles(subset="all"))
    return csr_array(counts, dtype=np.float64)


@cache
def topics_example():
    """Return the TF-IDF matrix of scikit-learn's example of topic extraction, 2,000 x 1,000, CSR float64."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = articles(shuffle=True, random_state=1)[:2000]
    found = TfidfVectorizer(max_df=0.95, min_df=2, max_features=1000, stop_words="english").fit_transform(texts)
    return csr_array(found)


def plain_objective(contest, rank, seed, n_iter, threads):
    """Return the objective after that many iterations from the plain start, and the iteration that is `NEAR` it.

    They are kept in a file.
    """
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    X = contest.datasets["counts"][0]
    key = f"{X.shape} {X.nnz} {X.sum():.0f}: rank {rank}, seed {seed}, {n_iter} iterations"
    if key not in kept:
        options = {"n_components": rank, "init": "features"} | KULLBACK_LEIBLER
        found = contest.ask(OURS, "counts", fixed(options, n_iter, seed), threads=threads, facts=True)
        values = found["objective"]
        near = next(i for i, value in enumerate(values) if value <= NEAR * values[-1])
        kept[key] = found["loss"], near
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    return kept[key]


def counts(setting, report):
    """Time Kullback-Leibler fits to within 0.1 % of the objective of many plain iterations."""
    report.section("counts", "Kullback-Leibler divergence, counts of words: whole fits")
    ranks, most = (10,) if setting.is_quick else (10, 20, 50), max(setting.threads)
    rows, kept = [], {}
    with setting.contest({"counts": (word_counts(), None)}) as contest:
        kinds = {"default": (OURS, {}), "plain": (OURS, {"init": "features"})}
        kinds |= {AGAINST: (AGAINST, {})} if AGAINST in contest.ours else {}
        for rank in ranks:
            n_plain, runs, reached = ITERATIONS[rank] // (10 if setting.is_quick else 1), {}, {}
            for seed in setting.seeds:
                goal, near = plain_objective(contest, rank, seed, n_plain, most)
                goal *= NEAR
                for name, (who, own) in kinds.items():
                    options = {"n_components": rank, "random_state": seed} | KULLBACK_LEIBLER | own
                    more = {"threads": most, "length": 64 if name == "default" else near + 20}
                    n, facts = contest.fewest_by_curve(who, "counts", options, goal, last=n_plain, **more)
                    reached[name, rank, seed] = {"iterations": n, "over the goal": n and facts["loss"] / goal}
                    if n:
                        runs[name, rank, seed] = (who, "counts", fixed(options, n, seed)), {"threads": most}
            samples = contest.take_turns_by_seed(runs, 2 * len(setting.seeds), f"counts, rank {rank}")
            kept[f"rank {rank}"] = {"samples": samples, "reached": reached}
            share = {}
            for name, seed in product(kinds, setting.seeds):
                facts = reached[name, rank, seed]
                if facts["iterations"] is None:
                    rows.append([name, rank, seed, f"not in {n_plain}", "", "", ""])
                    continue
                mine = samples[name, rank, seed]
                if ("default", rank, seed) in samples:
                    share[name, seed] = ratios(samples["default", rank, seed], mine)
                shares = spread(share[name, seed], 3) if (name, seed) in share else ""
                over = f"{facts['over the goal']:.6f}"
                rows.append([name, rank, seed, facts["iterations"], over, spread(mine, 2), shares])
            for name in (each for each in kinds if each != "default"):
                slowest = [max(share.get((name, seed), [np.inf])) for seed in setting.seeds]
                what = f"counts, rank {rank}, {n_plain:,} plain iterations + 0.1 %, worst seed: default / {name}"
                report.at_most(what, [max(slowest)], AT_MOST[rank], "x", 3)
    report.note(
        "18,846 articles, 51,840 words, float64, multiplicative updates. Goal: 0.1 % above the objective after "
        + ", ".join(
            f"{ITERATIONS[rank] // (10 if setting.is_quick else 1):,} iterations at rank {rank}" for rank in ranks
        )
        + f" from init='features'; objectives are computed from the factors, and kept in {KEPT.name} of the folder for "
        "temporary files. Fits are whole, with the fewest iterations whose factors are at or under the goal; one seed "
        "a round, two rounds each."
    )
    report.table(["start", "rank", "seed", "its", "objective / goal", "s", "default / this"], rows)
    report.keep(**kept)


def topics(setting, report):
    """Time fits of scikit-learn's example of topic extraction: to its objective, and default beside default."""
    report.section("topics", "scikit-learn's topics example: Kullback-Leibler, 2,000 x 1,000, rank 10")
    most, own = max(setting.threads), {"n_components": 10} | KULLBACK_LEIBLER
    runs, rows, reached = {}, [], {}
    with setting.contest({"topics": (topics_example(), None)}) as contest:
        for seed in setting.seeds:
            options = own | {"random_state": seed}
            # The example allows 1,000 iterations; scikit-learn's own 200 are enough, and ours go on.
            theirs = (SKLEARN, "topics", options | {"max_iter": 1000}), {"threads": most, "facts": True}
            goal = contest.ask(*theirs[0], **theirs[1])["loss"]
            runs["default fit", SKLEARN, seed] = theirs
            for who in contest.ours:
                request = (who, "topics", options | {"max_iter": 1000}), {"threads": most, "facts": True}
                runs["default fit", who, seed] = request
                n, facts = contest.fewest_by_curve(who, "topics", options, goal, last=3000, threads=most)
                reached[who, seed] = {"iterations": n, "loss": facts and facts["loss"], "goal": goal}
                if n:
                    runs["to their objective", who, seed] = (who, "topics", fixed(options, n, seed)), {"threads": most}
        samples, facts = contest.take_turns(runs, setting.repeats, "topics"), contest.facts
    gained = {}
    for (who, seed), found in reached.items():
        if found["iterations"] is None:
            rows.append(["to their objective", who, seed, "not in 3,000", *[""] * 4])
    for task, who, seed in runs:
        gained[task, who, seed] = ratios(samples["default fit", SKLEARN, seed], samples[task, who, seed])
        found = reached[who, seed] if task != "default fit" else facts[task, who, seed]
        lower = 1 - found["loss"] / facts["default fit", SKLEARN, seed]["loss"]
        own = [found["iterations"], f"{found['loss']:.4f}", f"{lower:.3%}", spread(samples[task, who, seed], 3)]
        rows.append([task, who, seed, *own, spread(gained[task, who, seed])])
    report.note(
        f"Float64, {most} threads, max_iter=1000 as in the example, without its penalties, defaults otherwise. To "
        "their objective: the fewest iterations of our default fit whose factors are at or under that of "
        "scikit-learn's. Objectives are computed from the factors."
    )
    report.table(["", "", "seed", "its", "objective", "lower by", "s", "scikit-learn / this"], rows)
    report.keep(samples=samples, reached=reached, facts=facts)
    for task, least in (("to their objective", 10), ("default fit", 1.3)):
        found = [gained.get((task, OURS, seed), [0.0]) for seed in setting.seeds]
        report.at_least(f"topics example, {task}, worst seed: scikit-learn / ours", worst(found), least)
    ends = [[facts["default fit", who, seed]["loss"] for seed in setting.seeds] for who in (OURS, SKLEARN)]
    lower = min(1 - mine / theirs for mine, theirs in zip(*ends, strict=True))
    report.at_least("topics example, default fit, worst seed: objective lower by", [100 * lower], 0.2, "%")
