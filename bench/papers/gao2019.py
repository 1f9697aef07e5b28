"""Run the experiments of the Neural NMF paper, and set published and measured side by side.

M. Gao et al., "Neural nonnegative matrix factorization for hierarchical multilayer topic modeling".

Usage::

    python bench/papers/gao2019.py [--quick] [--trials 25] [--output papers/gao2019]

Prints Table 1 (three methods, three depths, three shares of labels; error of the last level, and accuracy) with the
published values and the bounds that no method can pass. Neural NMF stands there twice: with the loss of the paper (eq.
7) from random starts, and with our defaults. Draws Figures 1 to 4. Then the subsampled 20 newsgroups with their
super-categories, where the authors' file lies in the data home. The toy data are the authors' file, if it is there, or
else drawn anew.

Labels follow the authors' notebook: nine classes for one layer, four for two, two for three. (The text of the paper
says nine throughout, with which accuracies as in Table 1 cannot be had.) Of the partly labelled ones 40 % are known,
every class at least once. Accuracies are those on all 90 samples, the labelled ones among them; without labels in the
fit they are read off by least squares with all labels, so those rows flatter. The label weight is ours (1, relative):
the paper does not tell its own. Deep NMF is our reconstruction: the published program cannot be read.
"""

import argparse
import csv
import os
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import scipy.io
import scipy.sparse as sp

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
matplotlib.use("Agg")

from machine import describe
from matplotlib import pyplot as plt
from table import markdown

from fastnmf import HierarchicalNMF
from fastnmf.datasets.toys import make_hierarchical
from fastnmf.plots.trees import plot_layers, plot_reconstructions

DEPTHS = ((9,), (9, 4), (9, 4, 2))
SHARE_KNOWN = 0.4
METHODS = {
    "hNMF": {"method": "sequential", "init": "random"},
    "Deep NMF": {"method": "deep", "init": "random"},
    "Neural NMF, eq. 7": {"loss": "recon", "init": "random"},
    "Neural NMF, default": {},
}
# Table 1: error, and accuracy where there are labels, by supervision, depth and method; nothing for what is ours.
PUBLISHED = {
    "unsupervised": [(0.053, 0.031, 0.029), (0.399, 0.414, 0.310), (0.860, 0.838, 0.492)],
    "semi-supervised": [
        ((0.049, 0.933), (0.031, 0.947), (0.042, 1.0)),
        ((0.374, 0.926), (0.394, 0.911), (0.305, 1.0)),
        ((0.676, 0.930), (0.733, 0.930), (0.496, 0.990)),
    ],
    "supervised": [
        ((0.052, 0.960), (0.042, 0.962), (0.042, 1.0)),
        ((0.311, 0.984), (0.310, 0.984), (0.307, 1.0)),
        ((0.495, 1.0), (0.494, 1.0), (0.498, 1.0)),
    ],
}


def authors_file(name):
    """Return what a file of the authors holds, or None where it is not in the data home."""
    path = Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser() / "neural_nmf" / name
    return scipy.io.loadmat(path) if path.is_file() else None


def load_toy():
    """Return the toy data, their labels by depth, and where they are from."""
    toy = make_hierarchical(random_state=0)
    labels, found = (toy.target, toy.target4, toy.target2), authors_file("synthetic_noise.mat")
    if found is None:
        return toy.data, labels, "drawn anew"
    return np.ascontiguousarray(found["X"].T), labels, "the authors' file"


def partly(y, rng):
    """Return y with -1 where it is not to be known; of every class at least one sample is."""
    known = rng.random(len(y)) < SHARE_KNOWN
    known[[rng.choice(np.flatnonzero(y == label)) for label in np.unique(y)]] = True
    return np.where(known, y, -1)


def bounds(X, sizes):
    """Return the relative errors of the best approximations of these ranks."""
    squares = np.linalg.svd(X, compute_uv=False) ** 2
    return np.sqrt([squares[k:].sum() / squares.sum() for k in sizes])


def trial(X, y, sizes, supervision, options, seed):
    """Return the errors of all levels and the accuracy on all samples."""
    given = y if supervision == "supervised" else partly(y, np.random.default_rng(seed))
    model = HierarchicalNMF(sizes, random_state=seed, max_iter=1000 if "method" in options else 300, **options)
    model.fit(X, None if supervision == "unsupervised" else given)
    if supervision == "unsupervised":  # as in the paper: the classes are read off by least squares, with all labels
        S, Y = model.S_[-1], np.eye(y.max() + 1)[y]
        return model.level_errors_, float(np.mean((S @ np.linalg.lstsq(S, Y, rcond=None)[0]).argmax(axis=1) == y))
    return model.level_errors_, model.score(X, y)


def table_1(X, labels, trials):
    """Return the rows of Table 1."""
    rows = []
    for supervision, published in PUBLISHED.items():
        for depth, sizes in enumerate(DEPTHS):
            for number, (name, options) in enumerate(METHODS.items()):
                found = [trial(X, labels[depth], sizes, supervision, options, seed) for seed in range(trials)]
                errors, accuracy = np.array([e for e, _ in found]), np.array([a for _, a in found])
                paper = published[depth][number] if number < 3 else ""
                paper = " / ".join(f"{value:.3f}" for value in np.atleast_1d(paper)) if number < 3 else ""
                rows.append(
                    {
                        "labels": supervision,
                        "layers": depth + 1,
                        "method": name,
                        "paper: error / accuracy": paper,
                        "error": f"{errors[:, -1].mean():.4f} ± {errors[:, -1].std():.4f}",
                        "level 0": f"{errors[:, 0].mean():.4f}",
                        "accuracy": f"{accuracy.mean():.3f}",
                        "bound": f"{bounds(X, sizes)[-1]:.6f}",
                    }
                )
                print(" ".join(f"{value}" for value in rows[-1].values()), file=sys.stderr, flush=True)
    return rows


def newsgroups(trees):
    """Fit the authors' 200 articles of ten newsgroups in six super-categories; return lines of text."""
    found = authors_file("20News_subsampled.mat")
    if found is None:
        return ["The authors' 20News_subsampled.mat is not in the data home: left out."]
    X = sp.csr_array(found["X_subsampled"].T)
    names = np.array([str(word[0]) if np.size(word) else "" for word in found["vocab"].ravel()])
    groups, supers = found["Ysub"].argmax(axis=0), found["Ysuper"].argmax(axis=0)
    lines = [f"{X.shape[0]} articles, {X.shape[1]} words, {X.nnz} non-zeros; layers 10, 6"]
    for title, y in (("without labels", None), ("with both kinds of labels", [groups, supers])):
        model = HierarchicalNMF((10, 6), random_state=0).fit(X, y)
        text = f"{title}: errors {model.level_errors_.round(4)}"
        if y is not None:
            accuracy = [np.mean(model.predict(X, level=level) == labels) for level, labels in enumerate(y)]
            text += f", accuracy on the training articles {np.round(accuracy, 3)}"
        lines += [text, "", model.export_text(trees, names), ""]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two trials")
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--output", type=Path, default=Path("papers/gao2019"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    arguments.output.mkdir(parents=True, exist_ok=True)
    X, labels, source = load_toy()
    trials = 2 if arguments.quick else arguments.trials
    rows = table_1(X, labels, trials)
    with open(arguments.output / "table1.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(f"Toy data: {source}. {trials} trials. {describe()}\n")
    print(markdown(list(rows[0]), [list(row.values()) for row in rows]))
    for number, sizes in ((1, (9, 4)), (2, (9, 4, 2))):
        model = HierarchicalNMF(sizes, random_state=0).fit(X)
        plot_reconstructions(model, X).figure.savefig(arguments.output / f"figure{number}.png", dpi=120)
        plot_layers(model).figure.savefig(arguments.output / f"figure{number + 2}.png", dpi=120)
        plt.close("all")
    print("\n" + "\n".join(newsgroups(6)))


if __name__ == "__main__":
    main()
