"""Compare the newest stored run of the benchmarks with a stored baseline of the same machine.

Usage::

    make bench                          # stores a run: pytest bench --benchmark-autosave
    python bench/compare.py --store     # the newest run becomes the baseline of this machine
    python bench/compare.py             # exit status 1 if a kernel's median is more than 25 % slower

Runs and baseline lie in ``.benchmarks``, which git ignores: they mean nothing on another machine. Exit status 2, with
the reason, where there is nothing to compare. What is compared is ours; the rows of SciPy and BLAS that run beside it
tell how much faster or slower the machine itself was.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
from pathlib import Path


def machine_of(report):
    """Return what makes two runs comparable: processor, number of cores, system, and versions of Python and Numba."""
    info = report["machine_info"]
    cpu = info.get("cpu", {})
    packages = info.get("packages", {})
    return {
        "processor": cpu.get("brand_raw") or info.get("processor") or info.get("machine"),
        "cores": cpu.get("count"),
        "system": info.get("system"),
        "python": info.get("python_version"),
        "numba": packages.get("numba"),
    }


def medians(report, part="", *, baselines=False):
    """Map the full names of benchmarks that contain `part` to median seconds: ours, or the peers that run beside."""
    return {
        b["fullname"]: b["stats"]["median"]
        for b in report["benchmarks"]
        if part in b["fullname"] and ("baseline" in b["extra_info"]) == baselines
    }


def compared(old, new):
    """Return (name, new / old) of all names in both, the slowest first."""
    shared = ((name, new[name] / old[name]) for name in old if name in new)
    return sorted(shared, key=lambda pair: -pair[1])


def difference(old, new):
    """Say in one sentence how two machines differ, or return None."""
    for name in old:
        if old[name] != new[name]:
            return f"The baseline is of another machine: {name} {old[name]!r} there, {new[name]!r} in the newest run."
    return None


def newest_run(storage):
    """Return the path of the newest stored run, None where there is none."""
    found = sorted(storage.glob("*/*.json"), key=os.path.getmtime)
    return found[-1] if found else None


def main(argv=None):
    """Compare, or store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="store_true", help="make the newest run the baseline")
    parser.add_argument("--limit", type=float, default=1.25, help="ratio of medians that fails (default 1.25)")
    parser.add_argument("--only", default="kernels/", help="part of the names that are compared (default kernels/)")
    parser.add_argument("--storage", type=Path, default=Path(".benchmarks"))
    options = parser.parse_args(argv)

    path, stored = newest_run(options.storage), options.storage / "baseline.json"
    if path is None:
        print(f"There is no stored run in {options.storage}: run `make bench` first.")
        return 2
    if options.store:
        shutil.copyfile(path, stored)
        print(f"{path} is now the baseline, {stored}.")
        return 0
    if not stored.exists():
        print(f"There is no baseline {stored}: keep the newest run with `python bench/compare.py --store`.")
        return 2
    old, new = json.loads(stored.read_text()), json.loads(path.read_text())
    if old["datetime"] == new["datetime"]:
        print("The newest run is the baseline itself: run `make bench` again.")
        return 2
    reason = difference(machine_of(old), machine_of(new))
    if reason:
        print(f"{reason} Keep a new one with `python bench/compare.py --store`.")
        return 2

    pairs = compared(medians(old, options.only), medians(new, options.only))
    if not pairs:
        print(f"The newest run and the baseline share no benchmark of which the name contains {options.only!r}.")
        return 2
    slow = [(name, ratio) for name, ratio in pairs if ratio > options.limit]
    for name, ratio in slow:
        print(f"{name}: {ratio:.2f} times the baseline's median (limit {options.limit:.2f})")
    beside = compared(medians(old, options.only, baselines=True), medians(new, options.only, baselines=True))
    drift = f"; SciPy and BLAS {statistics.median(r for _, r in beside):.2f}" if beside else ""
    typical = statistics.median(ratio for _, ratio in pairs)
    print(f"{len(pairs)} kernels compared, {len(slow)} too slow; median ratio {typical:.2f}{drift}.")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
