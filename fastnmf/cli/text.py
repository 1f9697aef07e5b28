"""Print a fit as plain text, for the command line and the demo."""

import textwrap


def harmless(text):
    """Return text of a file without line breaks and characters that a terminal obeys: escapes, changes of direction."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in str(text))


def summary(model):
    """Return one line with the iterations, time, stopping rule and loss of a fit."""
    why = {"tol": "the loss has converged", "max_iter": "max_iter reached, loss not converged"}[model.stopped_by_]
    why = why if model.tol > 0 or model.stopped_by_ == "tol" else "all iterations done"
    return (
        f"{model.n_iter_} iterations in {model.history_['seconds'][-1]:.2f} s; stopped: {why}; "
        f"normalized loss {model.normalized_loss_:.6f}"
    )


def print_top(title, labels, lists, width=100):
    """Print the strongest features of every label, strongest first.

    Parameters
    ----------
    title : str
        Heading.
    labels : sequence
        Strata, or numbers of components.
    lists : iterable of list of str
        Features of each label.
    width : int, default=100
        Longest line, in characters.
    """
    labels = [harmless(label) for label in labels]
    longest = min(max(map(len, labels)), 28)
    print(f"\n{title}")
    for label, words in zip(labels, lists, strict=True):
        lines = textwrap.wrap(
            harmless(" ".join(map(str, words))) or "(nothing)", width - longest - 4, break_on_hyphens=False
        )
        print(f"  {label[:longest]:<{longest}}  {lines[0]}")
        for line in lines[1:]:
            print(" " * (longest + 4) + line)
