"""List all models: the purpose, the formula, the accepted data and the source of each.

The table "Which model when" of docs/models.md is printed from this list, so that every model is described in one place.
To add a model, add an `Entry` to `MODELS`, then run ``python bench/models_table.py``.
"""

from __future__ import annotations

import shutil
import textwrap
from typing import NamedTuple

from fastnmf.core.warn import warn
from fastnmf.data.sentences import shown


class Entry(NamedTuple):
    """Entry of the catalogue: a model, or a model with certain options, and its properties.

    Attributes
    ----------
    name : str
        Name of the class (or function) in `fastnmf`.
    wanted : str
        Purpose of the model; a noun phrase.
    use : tuple of str
        Lines of code that run as they are, where X is a matrix (samples x features).
    formula : str
        The model, or the objective that it minimises.
    is_sparse : bool
        Whether the model accepts sparse data and never makes them dense as a whole.
    sparse_note : str
        Remark on `is_sparse`.
    monotone : bool or None
        Whether the objective never increases from one iteration to the next; None if there is no objective.
    monotone_note : str
        Remark on `monotone`.
    source : str
        Authors and year; the docstring of the class has the full reference.
    """

    name: str
    wanted: str
    use: tuple[str, ...]
    formula: str
    is_sparse: bool = True
    sparse_note: str = ""
    monotone: bool | None = True
    monotone_note: str = ""
    source: str = ""

    @property
    def never_rises(self) -> bool | None:
        """Old name of `monotone`; it will be removed in version 0.3."""
        return self._renamed("never_rises", "monotone")

    @property
    def rises_note(self) -> str:
        """Old name of `monotone_note`; it will be removed in version 0.3."""
        return self._renamed("rises_note", "monotone_note")

    def _renamed(self, old, new):
        message = f"Entry.{old} is deprecated and will be removed in version 0.3; use Entry.{new}."
        warn(message, FutureWarning)
        return getattr(self, new)


MODELS = (
    Entry(
        "NMF",
        "parts that add up",
        ("NMF(20).fit(X)",),
        "X ~ W H",
        monotone=False,
        monotone_note='`solver="hals"`, `"mu"`: monotone',
        source="Lee, Seung 2001; Ang, Gillis 2019",
    ),
    Entry(
        "NMF",
        "parts of counts, or of data with other noise",
        ('NMF(20, solver="mu", beta_loss="kullback-leibler").fit(X)',),
        "min D_beta(X, W H)",
        sparse_note="for beta > 0",
        source="Fevotte, Idier 2011",
    ),
    Entry(
        "NMF",
        "parts of counts that vary more than Poisson counts",
        ('NMF(20, solver="mu", beta_loss="negative-binomial").fit(X)',),
        "max prod NB(x; W H, dispersion)",
        sparse_note="but visits all entries",
        source="Gouvert, Oberlin, Fevotte 2020",
    ),
    Entry(
        "NMF",
        "a fit that starts from the components of another",
        ("NMF(3, init=NMF(3).fit(X)).fit(2 * X)",),
        "X ~ W H",
        monotone=False,
        monotone_note='`solver="hals"`, `"mu"`: monotone',
    ),
    Entry(
        "MiniBatchNMF",
        "parts of more rows than fit in memory",
        ("MiniBatchNMF(20).fit_blocks(open_csr(folder).blocks(1000))",),
        "X ~ W H, a batch at a time",
        monotone=False,
        source="Mairal et al. 2010",
    ),
    Entry(
        "StratifiedNMF",
        "parts that groups of rows share, and what is specific to each group",
        ("StratifiedNMF(20).fit(X, strata=labels)",),
        "A(i) ~ 1 v(i)ᵀ + W(i) H",
        monotone=False,
        monotone_note="`extrapolate=False`: monotone",
        source="Chapman, Yaniv, Needell 2023",
    ),
    Entry(
        "MiniBatchStratifiedNMF",
        "the same, for more rows than fit in memory",
        ("MiniBatchStratifiedNMF(20).fit_blocks(blocks)",),
        "A(i) ~ 1 v(i)ᵀ + W(i) H, a batch at a time",
        monotone=False,
        source="Chapman et al. 2023; Mairal et al. 2010",
    ),
    Entry(
        "Factorization",
        "a loss, penalties or updates of your own (`fastnmf.compose`)",
        ('Factorization(20, loss="frobenius", updates={"W": "exact", "H": "hals"}).fit(X)',),
        "X ~ W H, or A(i) ~ 1 v(i)ᵀ + W(i) H",
        source="Lange 2016",
    ),
    Entry(
        "HierarchicalNMF",
        "topics of topics",
        ("HierarchicalNMF((12, 4)).fit(X)",),
        "X ~ S_l A_lᵀ ... A_0ᵀ for every level l",
        source="Gao et al. 2019",
    ),
    Entry(
        "SemiSupervisedNMF",
        "parts that separate classes, with labels for some rows",
        ("SemiSupervisedNMF(12).fit(X, labels)",),
        "X ~ W H, Y ~ W Bᵀ",
        monotone=False,
        source="Lee, Yoo, Choi 2010",
    ),
    Entry(
        "SymmetricNMF",
        "soft communities of a graph",
        ("SymmetricNMF(2, diagonal=1.0).fit(graph)",),
        "A ~ W Wᵀ",
        source="Vandaele et al. 2016",
    ),
    Entry(
        "SymmetricNMF",
        "the same for a large graph, on all cores",
        ('SymmetricNMF(2, solver="penalised").fit(A)',),
        "A ~ W Hᵀ, W near H",
        source="Kuang, Yun, Park 2015",
    ),
    Entry(
        "TriSymmetricNMF",
        "communities and their links",
        ("TriSymmetricNMF(2).fit(A)",),
        "A ~ W S Wᵀ",
        source="Ding et al. 2006",
    ),
    Entry(
        "TriSymmetricNMF",
        "topics, and how often they occur together",
        ('TriSymmetricNMF(20, affinity="cooccurrence").fit(X)',),
        "Xᵀ X ~ W S Wᵀ",
        sparse_note="holds `Xᵀ X` only where it is no larger than X",
        source="Ding et al. 2006; Arora et al. 2013",
    ),
    Entry(
        "OrthogonalNMF",
        "each row in one cluster",
        ("OrthogonalNMF(3).fit(X)",),
        "X ~ W H, W orthonormal",
        monotone_note='`"mu"`: may',
        source="Pompili et al. 2014",
    ),
    Entry(
        "SemiNMF",
        "data with negative entries",
        ("SemiNMF(3).fit(X_signed)",),
        "X ~ W H, H of any sign",
        source="Ding, Li, Jordan 2010",
    ),
    Entry(
        "ConvexNMF",
        "components that look like rows",
        ("ConvexNMF(3).fit(X)",),
        "X ~ W Cᵀ X",
        source="Ding, Li, Jordan 2010",
    ),
    Entry(
        "KernelNMF",
        "clusters of any shape",
        ('KernelNMF(3, kernel="nearest_neighbors").fit(X)',),
        'phi(X) ~ W Cᵀ phi(X); `components="free"`: C of any sign',
        is_sparse=False,
        sparse_note="all pairs of rows, 10,000 rows at most",
        source="Ding, Li, Jordan 2010",
    ),
    Entry(
        "ProjectiveNMF",
        "a PCA without signs",
        ("ProjectiveNMF(3).fit(X)",),
        "X ~ (X Hᵀ) H",
        source="Yang, Oja 2010",
    ),
    Entry(
        "TriNMF",
        "groups of rows and, separately, groups of features",
        ("TriNMF((3, 2)).fit(X)",),
        "X ~ W S H",
        monotone_note="`orthogonal=True`: may",
        source="Ding et al. 2006",
    ),
    Entry(
        "TriNMF",
        "each row in one group, each feature in one group",
        ('TriNMF((3, 2), orthogonal=True, solver="em").fit(X)',),
        "X ~ W S H, W and H orthonormal",
        source="Ding et al. 2006",
    ),
    Entry(
        "PLSA",
        "topics as probabilities",
        ("PLSA(20).fit(counts)",),
        "P(d, w) ~ sum_z P(z) P(d|z) P(w|z)",
        monotone_note="it is EM",
        source="Hofmann 1999",
    ),
    Entry(
        "SeparableNMF",
        "components that are samples, or features, themselves",
        ("SeparableNMF(6).fit(X)", "SeparableNMF(6, axis=1).fit(X)"),
        "X ~ W X[anchors]",
        monotone=None,
        monotone_note="greedy",
        source="Araujo et al. 2001; Gillis, Vavasis 2014; Gillis 2014 (snpa)",
    ),
    Entry(
        "UnderapproximationNMF",
        "parts that stay below the data",
        ("UnderapproximationNMF(6).fit(X)", "UnderapproximationNMF(6, feasible=True).fit(X)"),
        "X >= W H, nearly; `feasible`: exactly",
        monotone=None,
        monotone_note="greedy; the residual never grows",
        source="Gillis, Glineur 2010",
    ),
    Entry(
        "BinaryNMF",
        "sums of sets, in whole numbers",
        ("BinaryNMF(6).fit(X)",),
        "X ~ W H, W and H in {0, 1}",
        source="Zhang et al. 2007",
    ),
    Entry(
        "BooleanNMF",
        "unions of sets",
        ("BooleanNMF(6).fit(X)",),
        "X ~ OR (W AND H)",
        source="Miettinen et al. 2008",
    ),
    Entry(
        "IntervalNMF",
        "data known only by lower and upper bounds",
        ("IntervalNMF(6).fit(lower, upper=upper)",),
        "lower <= W H <= upper",
        sparse_note="{0} off the non-zeros",
    ),
    Entry(
        "AffineNMF",
        "a background that all rows share",
        ("AffineNMF(6).fit(X)",),
        "X ~ W H + 1 vᵀ",
        monotone=False,
        monotone_note="`extrapolate=False`: monotone",
        source="Laurberg, Hansen 2007",
    ),
    Entry(
        "DictionaryNMF",
        "mixtures of known atoms",
        ("DictionaryNMF(6, dictionary=atoms).fit(X)",),
        "X ~ W C D, D given; `signed=True`: C and D of any sign, C D >= 0",
        source="Lee, Seung 2001",
    ),
    Entry(
        "RobustNMF",
        "parts that wrong entries do not affect",
        ("RobustNMF(3).fit(X)",),
        "min sum |X - W H|",
        is_sparse=False,
        sparse_note='2^24 entries at most; `solver="mu"`: a tile at a time',
        source="Holland, Welsch 1977",
    ),
    Entry(
        "RobustNMF",
        "noise, and a few wrong entries",
        ('RobustNMF(3, loss="huber").fit(X)',),
        "min sum huber(X - W H)",
        is_sparse=False,
        sparse_note="as above",
        source="Holland, Welsch 1977",
    ),
    Entry(
        "RobustNMF",
        "parts that wrong rows do not affect",
        ('RobustNMF(3, loss="l21").fit(X)',),
        "min sum_i ||x_i - w_i H||",
        source="Kong, Ding, Huang 2011",
    ),
    Entry(
        "ChebyshevNMF",
        "a close fit of every single entry",
        ("ChebyshevNMF(3).fit(X)",),
        "min max |X - W H|",
        sparse_note="visits every entry",
        source="Gillis 2020",
    ),
    Entry(
        "DistributionallyRobustNMF",
        "a fit that is good for several losses",
        ("DistributionallyRobustNMF(3, betas=(1, 2)).fit(X)",),
        "min max_b D_b(X, W H) / e_b",
        sparse_note="beta 1 and 2; others O(n m k)",
        monotone=False,
        monotone_note="fixed `weights`: monotone",
        source="Gillis et al. 2022",
    ),
    Entry(
        "select_beta",
        "the beta that suits the noise",
        ("select_beta(X, 3, betas=(0.5, 1, 1.5, 2))",),
        "held-out quasi-likelihood, or score matching",
        sparse_note="a tile at a time",
        monotone=None,
    ),
    Entry(
        "SparseNMF",
        "components of few features",
        ("SparseNMF(3, max_features=10).fit(X)",),
        "X ~ W H, at most 10 entries a row of H",
        source="Hoyer 2004; Peharz, Pernkopf 2012",
    ),
    Entry(
        "SparseNMF",
        "samples of few components",
        ("SparseNMF(3, sparseness_H=None, max_components=2).fit(X)",),
        "X ~ W H, at most 2 entries a row of W",
        source="Peharz, Pernkopf 2012; Nadisic et al. 2020",
    ),
    Entry(
        "SmoothNMF",
        "components that are curves",
        ("SmoothNMF(3, smoothness=2.0).fit(X)",),
        "min ||X - W H||² + smoothness tr(H L Hᵀ) + ...",
        source="Chen, Cichocki, Rutkowski 2006",
    ),
    Entry(
        "SmoothNMF",
        "components with jumps",
        ('SmoothNMF(3, penalty="total_variation").fit(X)',),
        "min ||X - W H||² + smoothness (sum |h_j - h_j+1| + ...)",
        source="Rudin, Osher, Fatemi 1992",
    ),
    Entry(
        "GraphNMF",
        "clusters that follow a graph, or near neighbours",
        ("GraphNMF(3).fit(X)", "GraphNMF(3).fit(X, graph=affinity)", "GraphNMF(3).fit(X, strata=labels)"),
        "min ||X - W H||² + graph_weight tr(Wᵀ L W), rows of H of length one",
        monotone_note="`scale_invariant=False` with Kullback-Leibler: may",
        source="Cai et al. 2011",
    ),
    Entry(
        "MetaNMF",
        "components learned on many small tasks first",
        ('MetaNMF(NMF(3, solver="mu"), task_size=9).fit(X)',),
        "X ~ W H, H passed on",
        monotone=False,
        monotone_note="within a fit: as the estimator's",
        source="Khan 2025",
    ),
    Entry(
        "cluster",
        "clusters of samples, whatever the scale of W",
        ("cluster(NMF(3).fit(X), n_clusters=4)",),
        "k-means on the rows of W H, which is not formed",
        monotone=None,
    ),
    Entry(
        "ConvolutiveNMF",
        "patterns in time that last several rows",
        ("ConvolutiveNMF(3, n_lags=5).fit(X)",),
        "X[i] ~ sum_l W[i - l] C_l",
        sparse_note="beta 1 and 2",
        source="Smaragdis 2007",
    ),
    Entry(
        "BilinearNMF",
        "mixtures whose parts interact, such as light reflected between materials",
        ("BilinearNMF(3).fit(X)",),
        "X ~ W [H; products of two rows of H]",
        source="Heylen, Parente, Gader 2014",
    ),
    Entry(
        "DeepNMF",
        "topics of topics, as one chain of factors",
        ("DeepNMF((6, 3)).fit(X)",),
        "X ~ W A_1 A_0",
        source="Trigeorgis et al. 2017",
    ),
)


def catalogue(name: str | None = None) -> list[Entry]:
    """Return the catalogue of models: the purpose of each, its formula, and whether it accepts sparse data.

    The command ``fastnmf models`` prints the same list.

    Parameters
    ----------
    name : str, default=None
        Name of a class or function, in upper or lower case; None for all.

    Returns
    -------
    list of Entry
        Named tuples with the fields `name`, `wanted`, `use` (lines of code), `formula`, `is_sparse`, `sparse_note`,
        `monotone`, `monotone_note`, `source`. A class has several entries if its options define different models.

    Raises
    ------
    ValueError
        The catalogue has no entry of this `name`.

    Examples
    --------
    >>> import fastnmf
    >>> [entry.name for entry in fastnmf.catalogue() if not entry.is_sparse]
    ['KernelNMF', 'RobustNMF', 'RobustNMF']
    >>> fastnmf.catalogue("PLSA")[0].formula
    'P(d, w) ~ sum_z P(z) P(d|z) P(w|z)'
    """
    if name is None:
        return list(MODELS)
    found = [entry for entry in MODELS if entry.name.lower() == str(name).lower()]
    if not found:
        known = ", ".join(dict.fromkeys(entry.name for entry in MODELS))
        raise ValueError(f"{shown(name)} is not in the catalogue; it has {known}.")
    return found


def noted(answer, note):
    """Return an answer and a note on it as one text: "yes, if X >= 0"."""
    return f"{answer}: {note}" if answer == "no" and note else ", ".join(part for part in (answer, note) if part)


def sparse_answer(entry):
    """Return in words whether a model accepts sparse data."""
    return noted("yes" if entry.is_sparse else "no", entry.sparse_note)


def monotone_answer(entry):
    """Return in words whether the objective of a model is monotone."""
    answer = {True: "monotone", False: "may increase", None: ""}[entry.monotone]
    return f"{answer} ({entry.monotone_note})" if answer and entry.monotone_note else answer or entry.monotone_note


def markdown():
    """Return the table of all models in Markdown, as shown in docs/models.md."""
    lines = ["| you want | write this | model | sparse | the objective | source |", "|" + "---|" * 6]
    for entry in MODELS:
        use = ", ".join(f"`{line}`" for line in entry.use)
        cells = (entry.wanted, use, f"`{entry.formula}`", sparse_answer(entry), monotone_answer(entry), entry.source)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def print_models(name=None):
    """Print all models with what each is for, in lines as wide as the terminal, or the details of one."""
    if name is None:
        name_width = max(len(entry.name) for entry in MODELS) + 2
        room = max(shutil.get_terminal_size((100, 0)).columns - name_width, 40)
        print(f"{'model':<{name_width}}for")
        for entry in MODELS:
            wanted = entry.wanted.replace("`", "") + ("" if entry.is_sparse else " (dense data only)")
            first, *others = textwrap.wrap(wanted, room)
            print("\n".join([f"{entry.name:<{name_width}}{first}", *(" " * name_width + line for line in others)]))
        print("\nFormula, objective, source and a line of code: fastnmf models NAME")
        return
    for entry in catalogue(name):
        print(f"{entry.name}: {entry.wanted}\n")
        facts = ("model", entry.formula), ("sparse", sparse_answer(entry)), ("objective", monotone_answer(entry))
        for key, value in (*facts, ("source", entry.source), *(("write", line) for line in entry.use)):
            if value:
                print(f"  {key:<10} {value.replace('`', '')}")
        print()
