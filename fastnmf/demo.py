"""The main job, end to end: what groups of real documents share, and what is peculiar to each."""

import sys
import time
import warnings

from fastnmf.datasets import load_docstrings, load_newsgroups
from fastnmf.models.stratified import StratifiedNMF
from fastnmf.progress import say
from fastnmf.report import write_report
from fastnmf.text import print_top, summary


def run(corpus, n_components, seed, folder):
    """Load `corpus` ("newsgroups" or "docstrings"), fit, print what was found, and write it to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    bunch, title = _load(corpus)
    n_rows, n_columns = bunch.data.shape
    print(f"{title}: {n_rows:,} documents x {n_columns:,} words, {bunch.data.nnz:,} non-zeros, ", end="")
    print(f"{len(bunch.stratum_names)} strata")
    model = StratifiedNMF(n_components=n_components, random_state=seed, verbose=1)
    with warnings.catch_warnings():  # the summary line says why the fit stopped
        warnings.simplefilter("ignore")
        model.fit(bunch.data, strata=bunch.strata)
    print(summary(model))
    print(f"The model explains {1 - model.normalized_loss_**2:.1%} of the squared norm; words of single documents are")
    print("most of the rest. What counts is which words it groups:")
    top = model.top_features(10, bunch.feature_names)
    print_top("Peculiar to each stratum: the ten strongest words of its shift", top.strata, top.strata.values())
    print_top("Shared by all: the ten strongest words of each topic", range(1, n_components + 1), top.components)
    print()
    model.save(folder / "model.npz", bunch.feature_names)
    write_report(model, folder / "report.html", X=bunch.data, feature_names=bunch.feature_names, title=title)
    written = ["report.html", "model.npz", *_draw(model, bunch, folder, title)]
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
            say(f"{error} Taking the docstrings of the installed packages instead.")
    return load_docstrings(), "Docstrings of installed packages"


def _draw(model, bunch, folder, title):
    """Write the figures, and return their names; one line and none where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed, so no figures: pip install fastnmf[plot]", file=sys.stderr)
        return []
    matplotlib.use("Agg")
    from matplotlib import pyplot

    from fastnmf.plots import plot_loss, plot_top_features

    names, topics = bunch.feature_names, [f"topic {c + 1}" for c in range(len(model.components_))]
    figures = {
        "loss.png": plot_loss(model.history_).figure,
        "strata.png": plot_top_features(
            model.shifts_, names, model.strata_, title=f"{title}: what is peculiar to each stratum"
        ),
        "topics.png": plot_top_features(
            model.components_, names, topics, title=f"{title}: what all strata share", color="#b5651d"
        ),
    }
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=110)
        pyplot.close(figure)
    return list(figures)
