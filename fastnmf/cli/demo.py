"""Demo on real documents: find what all groups share and what is specific to each."""

import sys
import time
import warnings

from fastnmf.cli.text import print_top, summary
from fastnmf.core.progress import compile_notice, say
from fastnmf.datasets.text import load_docstrings, load_newsgroups
from fastnmf.models.stratified import StratifiedNMF
from fastnmf.report import write_report


def run(corpus, n_components, seed, folder, compile_kernels):
    """Load a corpus, fit Stratified-NMF, print the strongest words, and write a model, a report and figures.

    Parameters
    ----------
    corpus : {"newsgroups", "docstrings"}
        The docstrings replace the newsgroups if these cannot be loaded.
    n_components : int
        Shared topics.
    seed : int
        Seed of the start.
    folder : Path
        Output folder; created if it does not exist.
    compile_kernels : callable
        Called without arguments before the fit: it waits until the kernels are compiled.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bunch, title = _load(corpus)
    n_rows, n_columns = bunch.data.shape
    print(f"{title}: {n_rows:,} documents x {n_columns:,} words, {bunch.data.nnz:,} non-zeros, ", end="")
    print(f"{len(bunch.stratum_names)} strata")
    model = StratifiedNMF(n_components=n_components, random_state=seed, verbose=1)
    with compile_notice():
        compile_kernels()
    with warnings.catch_warnings():  # the summary line says why the fit stopped
        warnings.simplefilter("ignore")
        model.fit(bunch)
    print(summary(model))
    print(f"The model explains {1 - model.normalized_loss_**2:.1%} of the squared norm; words of single documents are")
    print("most of the rest. What counts is which words it groups:")
    top = model.top_features(10)
    print_top("Specific to each stratum: ten words above the others", top.strata, top.strata.values())
    print_top("Shared by all: the ten strongest words of each topic", range(n_components), top.components)
    print()
    model.save(folder / "model.npz")
    write_report(model, folder / "report.html", X=bunch, title=title, kind="text")
    written = ["report.html", "model.npz", *_draw(model, folder, title)]
    print(f"Written to {folder}/: {', '.join(written)}")
    print(f"Open {folder / 'report.html'} in a browser, or look again with: fastnmf top {folder / 'model.npz'}")


def _load(corpus):
    if corpus == "newsgroups":
        try:
            began = time.perf_counter()
            say("Loading 20 newsgroups (the first time builds the TF-IDF matrix, about 10 s) ...")
            bunch = load_newsgroups()
            say(f"Loaded in {time.perf_counter() - began:.1f} s.")
            return bunch, "20 newsgroups"
        except OSError as error:
            say(f"{error} Using the docstrings of the installed packages instead.")
    return load_docstrings(), "Docstrings of installed packages"


def _draw(model, folder, title):
    """Write the figures, and return their file names; without matplotlib print a hint and return an empty list.

    Parameters
    ----------
    model : StratifiedNMF
        Fitted, with the names of the features.
    folder : Path
    title : str
        Name of the data set, for the titles of the figures.

    Returns
    -------
    list of str
    """
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed, so no figures: pip install fastnmf[plot]", file=sys.stderr)
        return []
    matplotlib.use("Agg")
    from matplotlib import pyplot

    from fastnmf.plots import plot_loss, plot_top_features

    names, topics = model.feature_names_in_, [f"topic {c}" for c in range(len(model.components_))]
    axes = {
        "loss.png": plot_loss(model.history_),
        "strata.png": plot_top_features(model, title=f"{title}: what is specific to each stratum"),
        "topics.png": plot_top_features(
            model.components_, names, topics, title=f"{title}: what all strata share", color="#b5651d"
        ),
    }
    for name, drawn in axes.items():
        drawn.figure.savefig(folder / name, dpi=110)
        pyplot.close(drawn.figure)
    return list(axes)
