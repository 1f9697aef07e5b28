"""Print a fit as plain text, for the command line and the demo."""

import textwrap

from fastnmf.data.sentences import cut_all

STOPPED = {
    "tol": "the loss has converged",
    "patience": "no more progress",
    "max_iter": "max_iter reached, loss not converged",
    "max_time": "max_time reached, loss not converged",
    "callback": "a callback stopped it",
}


LONGEST = 28  # characters of a label in a line


def harmless(text):
    """Return text of a file without line breaks and characters that a terminal obeys: escapes, changes of direction."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in str(text))


def summary(model):
    """Return one line with the iterations, time, stopping rule and loss of a fit, as far as the model has them."""
    why, parts = getattr(model, "stopped_by_", None), []
    seconds = getattr(model, "history_", {}).get("seconds")
    if hasattr(model, "n_iter_") and seconds is not None:
        parts.append(f"{model.n_iter_} iterations in {seconds[-1]:.2f} s")
    if why is not None:
        is_done = why == "max_iter" and getattr(model, "converged_", False)
        parts.append(f"stopped: {'all iterations done' if is_done else STOPPED[why]}")
    if hasattr(model, "normalized_loss_"):
        parts.append(f"normalized loss {model.normalized_loss_:.6f}")
    return "; ".join(parts) or f"{type(model).__name__} fitted"


def print_top(title, labels, lists, width=100):
    """Print the strongest features of every label, strongest first.

    Parameters
    ----------
    title : str
        Heading.
    labels : sequence
        Strata, numbers of components, or pairs of both.
    lists : iterable of list of str
        Features of each label.
    width : int, default=100
        Longest line, in characters.
    """
    ends = [f" {label[1]}" if isinstance(label, tuple) else "" for label in labels]
    begins = [harmless(label[0] if isinstance(label, tuple) else label) for label in labels]
    labels = [begin + end for begin, end in zip(cut_all(begins, LONGEST - max(map(len, ends))), ends, strict=True)]
    longest = max(map(len, labels))
    print(f"\n{title}")
    for label, words in zip(labels, lists, strict=True):
        lines = textwrap.wrap(
            harmless(" ".join(map(str, words))) or "(nothing)", width - longest - 4, break_on_hyphens=False
        )
        print(f"  {label:<{longest}}  {lines[0]}")
        for line in lines[1:]:
            print(" " * (longest + 4) + line)
