"""Turn the JSON of pytest-benchmark into a Markdown table.

Usage::

    pytest bench --benchmark-json=bench.json
    python bench/table.py bench.json

Where a group holds baselines (benchmarks that put `baseline` into their extra_info), every line of the group
also gets the ratio of each baseline's median to its own; a baseline of the same dtype is preferred.
"""

import argparse
import json
import sys
from pathlib import Path


def markdown(header, rows):
    """Format rows of strings as a Markdown table; the first column is left-aligned."""
    widths = [max(len(str(row[c])) for row in [header, *rows]) for c in range(len(header))]

    def line(cells):
        padded = [
            str(x).ljust(w) if c == 0 else str(x).rjust(w) for c, (x, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 2) if c == 0 else "-" * (w + 1) + ":" for c, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def per_iteration(benchmark):
    """Return the median in milliseconds, divided by the iterations that the benchmark says one call runs."""
    return benchmark["stats"]["median"] * 1e3 / benchmark["extra_info"].get("iterations", 1)


def tables(report):
    """Yield (title, Markdown) for each group of a report."""
    groups = {}
    for benchmark in report["benchmarks"]:
        groups.setdefault(benchmark["group"] or "all", []).append(benchmark)
    for title, members in sorted(groups.items()):
        baselines = {}
        for b in members:
            info = b["extra_info"]
            if "baseline" in info:
                baselines[info["baseline"], info.get("dtype")] = per_iteration(b)
        names = sorted({name for name, _ in baselines})
        rows = []
        for b in members:
            dtype = b["extra_info"].get("dtype")
            times = [baselines.get((name, dtype), baselines.get((name, None))) for name in names]
            ratios = ["" if t is None else f"{t / per_iteration(b):.2f}" for t in times]
            rows.append([b["name"].removeprefix("bench_"), f"{per_iteration(b):.3f}", b["stats"]["rounds"], *ratios])
        yield title, markdown(["", "median ms", "rounds", *(f"{name} / it" for name in names)], rows)


def main(argv=None):
    """Print the tables of one report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="JSON written by pytest --benchmark-json")
    report = json.loads(parser.parse_args(argv).report.read_text())
    print(report["machine_info"].get("description", ""), report["datetime"][:10], sep="; ")
    for title, table in tables(report):
        print(f"\n### {title}\n\n{table}")


if __name__ == "__main__":
    sys.exit(main())
