"""Sections on default fits: beside scikit-learn's default fits, on large data, and on small data."""

from itertools import product

import data
import numpy as np
from contest import OURS, SKLEARN, fixed, worst
from interleave import ratios, spread

NO_WORSE = 1.0002  # of the error of scikit-learn's default fit
NEAR = 1.001  # of the converged loss


def default(setting, report):
    """Time default fits beside scikit-learn's default fits."""
    report.section("default", "Default fit beside scikit-learn's default fit")
    ranks = {setting.rank: 20} if setting.is_quick else {20: 20, 50: 20, 100: 10}
    most, rows, kept, rounds = max(setting.threads), [], {}, {}
    with setting.contest({"newsgroups": (setting.X, None)}) as contest:
        for rank, least in ranks.items():
            # The slow side is timed for one seed a round. At rank 100 it takes minutes.
            rounds[rank] = len(setting.seeds) * (1 if rank >= 100 or setting.is_quick else 2)
            runs = {}
            for who, seed in product((*contest.ours, SKLEARN), setting.seeds):
                request = (who, "newsgroups", {"n_components": rank, "random_state": seed})
                runs[who, rank, seed] = request, {"threads": most, "facts": True}
                if who != SKLEARN:
                    contest.ask(*request, threads=most)  # compiled, or loaded from the disk cache
            samples = contest.take_turns_by_seed(runs, rounds[rank], f"default, rank {rank}")
            facts = {name: contest.facts[name] for name in runs}
            gained = {}
            for who, _, seed in runs:
                mine, theirs = samples[who, rank, seed], samples[SKLEARN, rank, seed]
                gained[who, seed] = ratios(theirs, mine)
                error = facts[who, rank, seed]["loss"]
                row = [who, rank, seed, facts[who, rank, seed]["iterations"], f"{error:.6f}", spread(mine, 2)]
                rows.append([*row, spread(gained[who, seed])])
            errors = [facts[OURS, rank, seed]["loss"] / facts[SKLEARN, rank, seed]["loss"] for seed in setting.seeds]
            kept[f"rank {rank}"] = {"samples": samples, "facts": facts}
            mine = worst([gained[OURS, seed] for seed in setting.seeds])
            report.at_least(f"default fit, rank {rank}, worst seed: scikit-learn / ours", mine, least)
            report.at_most(
                f"default fit, rank {rank}, worst seed: error over scikit-learn's", [max(errors)], NO_WORSE, "", 5
            )
    report.note(
        f"Float64, {most} threads on both sides, defaults but for rank and seed, the whole call. One seed a round: "
        + ", ".join(f"{n // len(setting.seeds)} times each at rank {rank}" for rank, n in rounds.items())
        + ". Errors are computed again from the factors."
    )
    report.table(["", "rank", "seed", "its", "error", "s", "scikit-learn / this"], rows)
    report.keep(**kept)


def large(setting, report):
    """Time default fits of sixteen times the non-zeros of newsgroups to 0.1 % above their converged loss."""
    size = 1 if setting.is_quick else 16
    report.section("large", f"x{size} non-zeros: default fit to 0.1 % above its converged loss")
    shape = size * 18_846, 51_840, size * 1_280_000, 20  # documents, words, draws, strata
    X = data.zipf_text(*shape)[0].astype(np.float32)
    kinds = {"default": (OURS, {}), "plain start": (OURS, {"init": "features"}), "cd": (SKLEARN, {"init": "random"})}
    runs, reached, rows, more = {}, {}, [], {"dtype": "float32", "threads": max(setting.threads)}
    guess = {"default": 1, "plain start": 7, "cd": 10}
    with setting.contest({"large": (X, None)}) as contest:
        for seed in setting.seeds:
            own = {"n_components": setting.rank, "random_state": seed}
            end = contest.ask(OURS, "large", own, facts=True, **more)
            for name, (who, options) in kinds.items():
                goal = NEAR * end["loss"]
                n, facts = contest.fewest(who, "large", own | options, goal, first=guess[name], last=30, **more)
                guess[name] = n or guess[name]
                reached[name, seed] = {"converged": end["loss"], "iterations": n} | (
                    {"loss": facts["loss"], "passes": facts["passes"][-1] if "passes" in facts else n} if n else {}
                )
                if n:
                    runs[name, seed] = (who, "large", fixed(own | options, n, seed)), more
        fast = {name: run for name, run in runs.items() if name[0] != "cd"}
        samples = contest.take_turns(fast, setting.repeats, "large") if not setting.is_quick else {}
        # All three by turns, one seed a round, for the ratios.
        by_turns = contest.take_turns_by_seed(runs, len(setting.seeds), "large, with cd")
    for name, seed in runs:
        facts, times = reached[name, seed], samples.get((name, seed), by_turns[name, seed])
        row = [name, seed, f"{facts['converged']:.6f}", facts["iterations"], f"{facts['passes']:.2f}"]
        rows.append([*row, f"{facts['loss']:.6f}", spread(times, 2)])
    report.note(
        f"{X.shape[0]:,} x {X.shape[1]:,}, {X.nnz:,} non-zeros, float32, rank {setting.rank}, "
        f"{more['threads']} threads. Converged: the loss of the default fit, stopped by its own rule. Passes: "
        "fractions of the data that a level walks count as such (`history_`). Fits are whole; losses are computed "
        "again from their factors; cd: tol=0, random start."
    )
    report.table(["", "seed", "converged", "its", "passes", "loss", "s"], rows)
    report.keep(reached=reached, samples=samples, by_turns=by_turns)
    passes = [reached["default", seed].get("passes", np.inf) for seed in setting.seeds]
    report.at_most(f"x{size}: passes of the default fit, worst seed", [max(passes)], 2, "", 2)
    for name, least in (("plain start", 3), ("cd", 12)):
        found = by_turns if name == "cd" or not samples else samples
        gained = [
            ratios(found[name, seed], found["default", seed])
            for seed in setting.seeds
            if (name, seed) in runs and ("default", seed) in runs
        ]
        report.at_least(f"x{size}: {name} / default fit, worst seed", worst(gained), least)


def small(setting, report):
    """Time fits, transforms and updates of small data beside scikit-learn."""
    report.section("small", "Small data: 100 x 40, rank 5")
    X = np.random.default_rng(0).random((100, 40))
    calls = 20 if setting.is_quick else 100
    tasks = {
        "fit": {"calls": calls},
        "transform of one row": {"calls": 5 * calls, "do": "transform", "rows": 1},
        "partial_fit of 64 rows": {"calls": 5 * calls, "do": "partial_fit", "rows": 64, "model": "MiniBatchNMF"},
    }
    runs, rows = {}, []
    with setting.contest({"small": (X, None)}) as contest:
        for (task, more), who, dtype, seed in product(
            tasks.items(), (*contest.ours, SKLEARN), ("float64", "float32"), setting.seeds
        ):
            request = (who, "small", {"n_components": 5, "random_state": seed})
            runs[task, dtype, who, seed] = request, more | {"dtype": dtype, "threads": max(setting.threads)}
        losses = {
            name[1:]: contest.ask(*a, **k | {"calls": 1}, facts=True)
            for name, (a, k) in runs.items()
            if name[0] == "fit"
        }
        samples = contest.take_turns(runs, setting.repeats, "small")
    for task, dtype in product(tasks, ("float64", "float32")):
        gained = []
        for who, seed in product((*contest.ours, SKLEARN), setting.seeds):
            mine, theirs = samples[task, dtype, who, seed], samples[task, dtype, SKLEARN, seed]
            gained += [ratios(theirs, mine)] if who == OURS else []
            end = losses[dtype, who, seed] if task == "fit" else None
            ends = [end["iterations"], f"{end['loss']:.6f}"] if end else ["", ""]
            rows.append(
                [task, dtype, who, seed, *ends, spread([1e3 * t for t in mine], 3), spread(ratios(theirs, mine), 2)]
            )
        report.at_least(f"100 x 40, rank 5, {dtype}: {task}, worst seed", worst(gained), 2 if task == "fit" else 1)
    report.note(
        f"Uniform numbers, dense; default parameters, whole calls, validation included; a sample is the median of "
        f"{calls} fits or {5 * calls} other calls. Errors are computed again from the factors."
    )
    report.table(["", "dtype", "", "seed", "its", "error", "ms", "scikit-learn / this"], rows)
    report.keep(losses=losses, samples=samples)
