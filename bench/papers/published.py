"""What has been published about the experiments: the only place where such numbers are written.

J. Chapman, Y. Yaniv, D. Needell, "Stratified-NMF for Heterogeneous Data", 2023, arXiv:2311.10789 ("paper"), and the
results that its authors keep beside their program, github.com/chapman20j/Stratified-NMF ("results").

That program stores the loss before an iteration, so that its last entry belongs to one iteration less than it ran.
"""

from pathlib import Path

WORDS_FILE = Path(__file__).with_name("chapman2023_top_words.csv")

SYNTHETIC = {
    # results, synthetic/data.npz: normalized loss, and the mean of each v(i), after so many iterations
    "loss": {2000: 3.19e-3, 5000: 1.61e-3, 9999: 9.706e-4},
    "means": {
        10: (1.39, 2.37, 3.36, 4.37),
        100: (1.20, 2.23, 3.20, 4.19),
        1000: (0.69, 1.70, 2.75, 3.77),
        2000: (0.58, 1.59, 2.65, 3.70),
        5000: (0.52, 1.51, 2.57, 3.60),
        9999: (0.511, 1.467, 2.526, 3.569),
    },
    "converged_by": 2000,  # paper, section on synthetic data
}

HOUSING = {
    "loss": {99: 0.046108},  # results, california/data.npz
    "strata": ("low", "medium", "high"),
    # results, california/barchart.csv, the bars of Fig. 3: v(i)_j divided by its sum over the strata
    "chart": {
        "MedInc": (0.06694823999878977, 0.2654323089478811, 0.6676194510533291),
        "HouseAge": (0.36711171411684845, 0.3018752938480722, 0.33101299203507933),
        "AveRooms": (0.23237976243918845, 0.32292552862769697, 0.44469470893311447),
        "AveBedrms": (0.35520952261058425, 0.327576952664465, 0.31721352472495085),
        "Population": (0.207344954170519, 0.5506910597651858, 0.24196398606429506),
    },
    "norm": 87260.12357119468,  # results: Frobenius norm of the data
}

MNIST = {
    "loss": {99: 0.613114},  # results, mnist/data.npz; training images
    "norm": 47599.78800,  # results: Frobenius norm of the data, training images
    # computed from the published V and H and the class means of the test images
    "correlation": {("v(1)", 1): 0.87, ("v(2)", 3): 0.61, ("v(2)", 1): 0.82},
}

NEWSGROUPS = {
    "shape": (18846, 51840),  # results: number of words of the vocabulary
    "norm": 135.2479205015737,  # results: Frobenius norm of the data
    "articles": (799, 999),  # paper, section on newsgroups: smallest and largest group
    "non_zero": 0.20,  # paper, section on newsgroups: share of v that is not zero
}


def top_words():
    """Return the published words of each newsgroup (results, news_groups/top_words.csv), strongest first.

    The file is in ascending order: its first column has rank 30, its last rank 1.
    """
    lines = WORDS_FILE.read_text().splitlines()[1:]
    return [line.split(",")[1:][::-1] for line in lines]


def printed_words():
    """Return the three words of each newsgroup that Fig. 6 prints: the first three columns of the file."""
    return [words[-3:][::-1] for words in top_words()]
