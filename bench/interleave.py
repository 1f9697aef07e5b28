"""Time contestants in turn, so that a slow moment of a shared machine hits all of them alike."""

import random
import statistics
import sys
import time


def measure(found, rounds, label="round", pause=0.25):
    """Run every contestant once a round, in an order that is shuffled anew each time (the same in every run).

    Parameters
    ----------
    found : dict, name -> function
        Each returns one sample: seconds, or a dict of seconds.
    rounds : int
    label : str
        What to call a round on standard error.
    pause : float
        Seconds before each contestant: the BLAS threads of the one before spin for a tenth of a second and more.

    Returns
    -------
    dict, name -> list of samples, one a round
    """
    samples = {name: [] for name in found}
    for turn in range(rounds):
        for name in random.Random(turn).sample(list(found), len(found)):
            time.sleep(pause)
            samples[name].append(found[name]())
        print(f"{label} {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    return samples


def fastest(*lists):
    """Return the smallest sample of every round."""
    return [min(samples) for samples in zip(*lists, strict=True)]


def ratios(theirs, mine):
    """Return how many times as long as `mine` each sample of `theirs` took, round by round."""
    return [b / a for b, a in zip(theirs, mine, strict=True)]


def spread(values, digits=1):
    """Format the median of some values with their range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ms(seconds, digits=1):
    """Format the median of some seconds in milliseconds."""
    return f"{statistics.median(seconds) * 1e3:.{digits}f}"


def per_iteration(history):
    """Return seconds per iteration of a fit's own history, its first and its last iteration left out."""
    seconds, count = history["seconds"], history["iteration"]
    return float((seconds[-2] - seconds[1]) / (count[-2] - count[1]))


def first_at_or_under(values, target):
    """Return the index of the first value that is at most `target`, None where none is."""
    return next((i for i, value in enumerate(values) if value <= target), None)
