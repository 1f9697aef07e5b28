"""Print the tree of topics of 20 newsgroups that docs/hierarchy.md shows, with the error of each level.

Usage: python bench/topics.py
"""

import warnings

from fastnmf import HierarchicalNMF
from fastnmf.datasets import load_newsgroups

LEVELS = (40, 20, 6)


def main():
    """Fit the three levels and print them."""
    warnings.filterwarnings("ignore", message=".*max_iter.*")  # 50 iterations show the tree
    news = load_newsgroups()
    model = HierarchicalNMF(LEVELS, max_iter=50, random_state=0).fit(news.data)
    print(model.level_errors_.round(4))
    print(model.export_text(6, news.feature_names))


if __name__ == "__main__":
    main()
