"""Measure the peak memory of a fit on 20 newsgroups, beyond the data and a warm-up fit.

Usage::

    python bench/memory.py [--solver hals|mu|cd|paper] [--dtype float64|float32] [--data newsgroups|zipf] [--json]

A fresh process loads the data, fits a small piece of them (which loads the kernels and starts the threads),
hands freed memory back to the system, resets the kernel's high-water mark of resident memory, fits, and reads the
mark again: the difference is all that the fit took at its worst moment, NumPy's and SciPy's temporaries included.
Linux only. Where the mark cannot be reset, the peak of the whole process is compared with the peak before the
fit, which can only be lower.

A second fit is traced by `tracemalloc`, which sees every array of NumPy but not the buffers of compiled code: it
yields the arrays that are alive when the loop ends (the solver's own), and the peak of all.
"""

import argparse
import ctypes
import gc
import json
import sys
import tracemalloc
import warnings

import data
from machine import describe
from paper_loop import paper_loop
from stamps import COORDINATE_DESCENT, OURS, stamped

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
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps freed memory: a fit would reuse it unseen
    if trim is not None:
        trim(0)
    is_reset = reset_high_water_mark()
    before = status("VmRSS") if is_reset else status("VmHWM")
    run()
    return status("VmHWM") - before, is_reset


def arrays_of(run, loop):
    """Return (bytes of the arrays alive at the end of the function `loop` that `run` calls, None without; the peak)."""
    alive = []
    gc.collect()
    tracemalloc.start()
    try:
        if loop is None:
            run()
        else:
            with stamped(loop, lambda _: alive.append(tracemalloc.get_traced_memory()[0])):
                run()
        return alive[0] if alive else None, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def job(options, X, labels, start):
    """Return a function that fits X: ours, scikit-learn's coordinate descent, or the paper loop."""
    if options.solver == "paper":
        V, W, H = (f.astype(X.dtype) for f in data.paper_start(start, X.shape[1], options.rank))
        blocks = data.blocks_of(X, start)
        W = [W[low:high] for low, high in zip(start[:-1], start[1:], strict=True)]
        return lambda: paper_loop(blocks, V, W, H, options.max_iter)
    if options.solver == "cd":
        from sklearn.decomposition import NMF

        model = NMF(options.rank, init="random", max_iter=options.max_iter, tol=0, random_state=0)
        return lambda: model.fit_transform(X)
    from fastnmf import StratifiedNMF

    model = StratifiedNMF(options.rank, solver=options.solver, max_iter=options.max_iter, random_state=0)
    return lambda: model.fit(X, strata=labels)


def piece(X, labels):
    """Return every tenth row with labels and row pointers, for a warm-up."""
    return data.by_stratum(X[::10], labels[::10])


def main(argv=None):
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--solver", choices=("hals", "mu", "cd", "paper"), default="hals")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--data", choices=("newsgroups", "zipf"), help="default: newsgroups where it is at hand")
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--max-iter", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="print bytes instead of a sentence")
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore", message=".*(max_iter|Maximum number of iterations).*")
    text = data.newsgroups() if options.data != "zipf" else None
    name = "newsgroups" if text else "Zipf text"
    X, labels, start = text or data.zipf_text(18_846, 51_840, 1_280_000, 20)
    X = X.astype(options.dtype)
    job(options, *piece(X, labels))()
    taken, is_reset = peak_of(job(options, X, labels, start))
    loop = {"paper": None, "cd": COORDINATE_DESCENT}.get(options.solver, OURS)
    alive, peak = arrays_of(job(options, X, labels, start), loop)
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    if options.json:
        print(json.dumps({"taken": taken, "data": size, "is_reset": is_reset, "alive": alive, "peak": peak}))
        return 0
    print(describe())
    print(
        f"{name}, {options.dtype}, {options.solver}, rank {options.rank}: "
        f"the fit takes {taken / MIB:.1f} MiB at its peak beyond the data "
        f"({size / MIB:.1f} MiB) and a warm-up fit"
        + ("" if is_reset else " (a lower bound: the high-water mark cannot be reset here)")
        + f"; arrays at their peak {peak / MIB:.1f} MiB"
        + (f", at the end of the loop {alive / MIB:.1f} MiB" if alive is not None else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
