"""Measure the peak memory of a fit on 20 newsgroups, beyond the data and a warm-up fit.

Usage::

    python bench/memory.py [--solver hals|mu] [--dtype float64|float32] [--data newsgroups|zipf]

A fresh process loads the data, fits a small piece of them (which loads the kernels and starts the threads),
resets the kernel's high-water mark of resident memory, fits, and reads the mark again: the difference is all
that the fit took at its worst moment, NumPy's and SciPy's temporaries included. Linux only. Where the mark
cannot be reset, the peak of the whole process is compared with the peak before the fit, which can only be
lower.
"""

import argparse
import gc
import sys
import warnings

import data
from machine import describe

MIB = 1024 * 1024


def status(field):
    """Read a memory field of this process (VmRSS, VmHWM) in bytes."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def reset_high_water_mark():
    """Set VmHWM to the present VmRSS; return whether that worked."""
    try:
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")
    except OSError:
        return False
    return status("VmHWM") - status("VmRSS") < 4 * MIB


def peak_of(run):
    """Return (bytes that `run` took beyond what was resident before it, whether the mark could be reset)."""
    gc.collect()
    is_reset = reset_high_water_mark()
    before = status("VmRSS") if is_reset else status("VmHWM")
    run()
    return status("VmHWM") - before, is_reset


def main(argv=None):
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--solver", choices=("hals", "mu"), default="hals")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--data", choices=("newsgroups", "zipf"), help="default: newsgroups where it is at hand")
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--max-iter", type=int, default=30)
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore", message=".*max_iter.*")
    from fastnmf import StratifiedNMF

    text = data.newsgroups() if options.data != "zipf" else None
    name = "newsgroups" if text else "Zipf text"
    X, labels, _ = text or data.zipf_text(18_846, 51_840, 1_280_000, 20)
    X = X.astype(options.dtype)
    model = StratifiedNMF(options.rank, solver=options.solver, max_iter=options.max_iter, random_state=0)
    piece = slice(None, None, 10)
    model.fit(X[piece], strata=labels[piece])
    taken, is_reset = peak_of(lambda: model.fit(X, strata=labels))
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    print(describe())
    print(
        f"{name}, {options.dtype}, {options.solver}, rank {options.rank}: "
        f"the fit takes {taken / MIB:.1f} MiB at its peak beyond the data "
        f"({size / MIB:.1f} MiB) and a warm-up fit"
        + ("" if is_reset else " (a lower bound: the high-water mark cannot be reset here)")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
