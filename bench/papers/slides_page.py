"""Write the page of the slides' two tables: each row, the model, a line of code that runs, and what it gives.

Usage::

    python bench/papers/slides_page.py [--report papers/kim2021/report.md] [--output docs/papers-slides.md]

With ``--report`` the numbers that the slides print stand on the page beside ours, as `kim2021.py` has found them. The
lines of code run on the data of `known`; the measured number is `normalized_loss_`, to three digits.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from machine import describe
from written import markdown, paragraph

import fastnmf
from fastnmf.datasets import load_karate_club

PAGE = Path(__file__).resolve().parents[2] / "docs" / "papers-slides.md"
MEASURES = (
    ("squared error", "`‖X - W H‖²`", "NMF(10, random_state=0).fit(X)"),
    ("weighted squared error", "`sum p (x - y)²`", 'NMF(10, missing_values="zeros", random_state=0).fit(X)'),
    ("sum of absolute errors", "`sum abs(x - y)`", "RobustNMF(10, random_state=0).fit(X)"),
    ("largest error", "`max abs(x - y)`", "ChebyshevNMF(3, random_state=0).fit(X[:40])"),
    (
        "Kullback-Leibler",
        "`sum x log(x / y) - x + y`",
        'NMF(10, solver="mu", beta_loss="kullback-leibler", random_state=0).fit(X)',
    ),
    (
        "Itakura-Saito",
        "`sum x / y - log(x / y) - 1`",
        'NMF(10, solver="mu", beta_loss="itakura-saito", random_state=0).fit(X + 0.1)',
    ),
    ("beta divergence", "`sum d_beta(x, y)`", 'NMF(10, solver="mu", beta_loss=1.5, random_state=0).fit(X)'),
)
MODELS = (
    ("NMF", "`X ~ W H`", "NMF(10, random_state=0).fit(X)"),
    ("orthogonal NMF", "`WᵀW` diagonal", "OrthogonalNMF(10, random_state=0).fit(X)"),
    ("projective NMF", "`X ~ X Hᵀ H`", "ProjectiveNMF(10, random_state=0).fit(X)"),
    ("convex NMF", "`X ~ W Cᵀ X`", "ConvexNMF(10, random_state=0).fit(X)"),
    ("separable NMF", "rows of H are rows of X", "SeparableNMF(10, axis=0).fit(X)"),
    ("dictionary NMF", "`X ~ W C D`, D known", "DictionaryNMF(10, dictionary=X[::20], random_state=0).fit(X)"),
    ("semi-NMF", "H of any sign", "SemiNMF(10, random_state=0).fit(X - X.mean(axis=0))"),
    ("sparse NMF", "few weights a row", "SparseNMF(10, sparseness_H=None, max_components=2, random_state=0).fit(X)"),
    ("affine NMF", "`X ~ W H + 1 vᵀ`", "AffineNMF(10, random_state=0).fit(X)"),
    ("underapproximation", "`W H <= X`", "UnderapproximationNMF(10).fit(X)"),
    ("convolutive NMF", "`X[i] ~ sum_l W[i - l] C_l`", "ConvolutiveNMF(4, n_lags=3, random_state=0).fit(X)"),
    ("symmetric NMF", "`A ~ W Wᵀ`", "SymmetricNMF(2, diagonal=1.0, random_state=0).fit(club)"),
    ("tri-NMF", "`X ~ W S H`", "TriNMF((10, 6), random_state=0).fit(X)"),
    (
        "orthogonal tri-NMF",
        "the same, W and H orthogonal",
        'TriNMF((10, 10), orthogonal=True, solver="em", random_state=0).fit(X)',
    ),
    ("tri-symmetric NMF", "`A ~ W S Wᵀ`", "TriSymmetricNMF(2, random_state=0).fit(club)"),
    ("deep NMF", "`X ~ W A_1 A_0`", "DeepNMF((20, 10), random_state=0).fit(X)"),
    ("binary NMF", "W, H of 0 and 1", "BinaryNMF(10, random_state=0).fit(X > 0)"),
    ("Boolean NMF", "`X ~ OR_k (w_k AND h_k)`", "BooleanNMF(10, random_state=0).fit(X > 0)"),
    ("interval NMF", "`A <= W H <= B`", "IntervalNMF(10, random_state=0).fit(X, upper=X + 1)"),
    ("kernel NMF", "`phi(X) ~ W Cᵀ phi(X)`", "KernelNMF(10, random_state=0).fit(X)"),
    ("bilinear model", "`X ~ W [H; h_c * h_d]`", "BilinearNMF(4, random_state=0).fit(X)"),
)
MORE = (
    ("PLSA", "`P(d, w) = sum_z P(z) P(d|z) P(w|z)`", "PLSA(10, random_state=0).fit(X)"),
    (
        "distributionally robust NMF",
        "`min max_b D_b / e_b`",
        "DistributionallyRobustNMF(10, betas=(1, 2), random_state=0).fit(X)",
    ),
    ("smooth NMF", "`+ sum ‖h_j - h_j+1‖²`", "SmoothNMF(10, random_state=0).fit(X)"),
    ("graph NMF", "`+ weight tr(Wᵀ L W)`", "GraphNMF(10, random_state=0).fit(X)"),
)


def known():
    """Return what the lines of code use: 200 images of digits X, the karate club, and the models."""
    models = {name: getattr(fastnmf, name) for name in fastnmf.__all__ if name.endswith("NMF") or name == "PLSA"}
    return models | {"X": load_digits().data[:200], "club": load_karate_club().data}


def measured(code, names):
    """Run a line of code and return the error of the fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(eval(code, dict(names)).normalized_loss_)


def table(title, rows, values):
    """Return the table of some rows, whose model is the first word of the code."""
    lines = [
        [name, formula, f"`{code.partition('(')[0]}`", f"`{code}`", "" if np.isnan(value) else f"{value:.3f}"]
        for (name, formula, code), value in zip(rows, values, strict=True)
    ]
    return f"## {title}\n\n" + markdown(["row", "model or measure", "class", "code", "measured"], lines)


def compared(report):
    """Return the section of published and measured numbers of a report of `kim2021.py`."""
    section = report.split("## Published and measured\n\n")[1]
    return "## Published and measured\n\n" + section.split("\n\n## ")[0].strip()


def page(values, machine, more=""):
    """Return the text of the page for the numbers of all rows, in order, and one more section."""
    first, second = len(MEASURES), len(MEASURES) + len(MODELS)
    parts = [
        "# Slides on NMF: every row of their tables",
        paragraph(
            "Slides of a lecture on non-negative matrix factorisation list measures of the error and models. Here each "
            "row has its class, a line of code that runs, and what that gives. `X` are the first 200 images of digits "
            "of scikit-learn (64 features), `club` is the graph of `fastnmf.datasets.load_karate_club`. Measured is "
            "`normalized_loss_`, as the class defines it: for the squared error the norm of the residual over that of "
            "the data. `bench/papers/slides_page.py` writes this page; `bench/papers/kim2021.py` redraws the figures; "
            "what its `--quick` run found beside the numbers of the slides stands at the end."
        ),
        paragraph(f"{machine}."),
        table("Measures of the error", MEASURES, values[:first]),
        table("Models", MODELS, values[first:second]),
        table("Further models of the slides", MORE, values[second:]),
    ]
    return "\n\n".join([*parts, more] if more else parts) + "\n"


def main(argv=None):
    """Run all lines and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", type=Path, help="report.md of kim2021.py")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (default: %(default)s)")
    options, names = parser.parse_args(argv), known()
    values = []
    for row in (*MEASURES, *MODELS, *MORE):
        values.append(measured(row[2], names))
        print(f"{row[2]}: {values[-1]:.3f}", flush=True)
    more = "" if options.report is None else compared(options.report.read_text(encoding="utf-8"))
    options.output.write_text(page(values, describe(), more), encoding="utf-8")


if __name__ == "__main__":
    main()
