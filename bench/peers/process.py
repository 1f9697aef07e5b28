"""Sections on whole processes: peak memory, import, and the first fit."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from interleave import measure, ratios, spread

HERE = Path(__file__).resolve().parent
DTYPES = ("float64", "float32")
OURS, USED = "import fastnmf", "from fastnmf import StratifiedNMF"
THEIRS = "import sklearn.decomposition, numba"


def run_json(*command, **environment):
    """Run a Python file, or a statement after -c, in a fresh process; return the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def memory(setting, report):
    """Measure the peak memory of fits, each in a process of its own."""
    report.section("memory", "Peak memory of a fit")
    limits = {("mu", "float64"): 60, ("mu", "float32"): 40, ("hals", "float64"): 85, ("hals", "float32"): 55}
    rows, samples = [], {}
    for solver in ("mu", "hals", "cd", "paper"):
        for dtype in DTYPES:
            few = () if solver in ("mu", "hals") else ("--max-iter", 3)
            found = run_json(HERE.parent / "memory.py", "--solver", solver, "--dtype", dtype, *few, "--json")
            samples[solver, dtype] = found
            name = {"cd": "scikit-learn cd (plain NMF)", "paper": "paper loop"}.get(solver, f"ours, {solver}")
            alive = found["alive"]
            bound = "" if found["is_reset"] else " (lower bound)"
            rows.append([name, dtype, mb(found["data"]), mb(alive), mb(found["peak"]), mb(found["taken"]) + bound])
            if (solver, dtype) in limits:
                limit = limits[solver, dtype]
                what = f"{solver}, {dtype}"
                report.at_most(f"solver arrays with the data, {what}", [(alive + found["data"]) / 1e6], limit, "MB")
                report.at_most(f"resident peak beyond the data, {what}", [found["taken"] / 1e6], limit, "MB")
    for dtype in DTYPES if setting.against else ():
        folder = setting.against.resolve()
        found = run_json(folder / "bench" / "memory.py", "--dtype", dtype, "--json", PYTHONPATH=str(folder))
        samples["hals, against", dtype] = found
        rows.append(["against, hals", dtype, *(mb(found[name]) for name in ("data", "alive", "peak", "taken"))])
        more = [(samples["hals", dtype]["taken"] - found["taken"]) / found["data"]]
        report.at_most(f"resident peak above the other checkout's, hals, {dtype}", more, 0.25, "of the data", 2)
    report.note(
        "MB (10^6 bytes), beyond the data themselves. Arrays: what NumPy holds when the loop ends, and at its worst "
        "moment in a fit. Resident: the worst moment as the system sees it, beyond a warm-up fit (bench/memory.py)."
    )
    report.table(["", "dtype", "data", "arrays in the loop", "arrays, peak", "resident, peak"], rows)
    report.keep(samples=samples)


def mb(count):
    """Format bytes as 10^6 bytes."""
    return "" if count is None else f"{count / 1e6:.1f}"


def first_calls(setting, report):
    """Time the import and the first fit of fresh processes."""
    report.section("import", "Import and first fit of a fresh process")
    timed = "import time, json; t = time.perf_counter(); {}; print(json.dumps(time.perf_counter() - t))"
    found = {what: lambda what=what: run_json("-c", timed.format(what)) for what in (OURS, USED, THEIRS)}
    for run in found.values():
        run()
    seconds = measure(found, 7, "import: round")
    share = {what: ratios(each, seconds[THEIRS]) for what, each in seconds.items()}
    rows = [[f"`{what}`", spread(each, 2), spread(share[what], 2)] for what, each in seconds.items()]
    report.note("Seconds, medians of 7 interleaved processes (range). `import fastnmf` loads the rest on first use.")
    report.table(["", "s", "over the last"], rows)
    for what in (OURS, USED):
        report.at_most(f"{what} / {THEIRS}", share[what], 1.3, "x", 2)

    rows, samples = [], {"import": seconds}
    for dtype in ("float64", "float32"):
        run_json(HERE / "fresh.py", "--dtype", dtype)  # fills the disk cache where it is stale
        each = [
            run_json(HERE / "fresh.py", "--dtype", dtype) for _ in range(2 if setting.is_quick else setting.repeats)
        ]
        extra = [sample["first"] - sample["later"] for sample in each]
        rows.append(first_row("warm", "newsgroups, rank 20", dtype, each))
        samples["warm", dtype] = each
        report.at_most(f"first fit over a later one, warm disk cache, {dtype}", extra, 1.5, "s", 2)
    if setting.is_cold:
        for name, limit in (("newsgroups", 30), ("small", 10)):
            with tempfile.TemporaryDirectory() as empty:
                each = [run_json(HERE / "fresh.py", "--data", name, "--dtype", "float64", NUMBA_CACHE_DIR=empty)]
            text = "newsgroups, rank 20" if name == "newsgroups" else f"{each[0]['nnz']:,} non-zeros, rank 10"
            rows.append(first_row("empty", text, "float64", each))
            samples["cold", name] = each
            report.at_most(f"first fit from an empty cache, {text}", [each[0]["first"]], limit, "s")
    report.note("First fit of a process (default solver, 12 iterations) and a later one in the same process, seconds.")
    report.table(["disk cache", "data", "dtype", "first fit", "later fit", "difference"], rows)
    report.keep(samples=samples)


def first_row(cache, text, dtype, samples):
    """Return one row of the table of first fits."""
    first, later = ([sample[name] for sample in samples] for name in ("first", "later"))
    extra = [a - b for a, b in zip(first, later, strict=True)]
    return [cache, text, dtype, spread(first, 2), spread(later, 2), f"{statistics.median(extra):.2f}"]
