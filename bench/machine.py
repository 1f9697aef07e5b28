"""Say what a measurement ran on: no figure is worth anything without it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version


def processor():
    """Name the processor."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions():
    """Map the packages that matter to their versions."""
    found = {"python": platform.python_version()}
    for name in ("fastnmf", "numpy", "scipy", "numba", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    if found["fastnmf"] == "not installed":  # run from a checkout
        from fastnmf import __version__

        found["fastnmf"] = __version__
    return found


def blas():
    """Name the BLAS libraries in use with their thread counts, as far as threadpoolctl sees them."""
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return ", ".join(f"{pool['internal_api']} {pool['num_threads']} threads" for pool in pools) or "none found"


def busy_seconds():
    """Return CPU seconds used on this machine so far: (by everyone, by this process and its ended children)."""
    own = sum(os.times()[:4])
    try:
        with open("/proc/stat") as lines:
            user, nice, system, _, _, irq, softirq, steal = map(int, next(lines).split()[1:9])
    except (OSError, ValueError):
        return own, own
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"), own


def describe():
    """Describe machine and versions in one line."""
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    return f"{processor()}, {os.cpu_count()} cores, {platform.system()}; {packages}; BLAS: {blas()}"
