"""Inspect a hierarchy of topics: names, trees, normalised copies of the factors."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.init.starts import Start
from fastnmf.core.options import check_integer, check_number
from fastnmf.core.stack import unit_columns
from fastnmf.core.thresholds import tiny
from fastnmf.data.sentences import shown
from fastnmf.models.base.top_features import strongest
from fastnmf.typing import Floats, Integers, Names


class TopicTreeMixin:
    """Mixin that shows hierarchies; `fit` sets ``components_``, ``layer_weights_`` and ``S_``."""

    def top_features(self, n: int = 10, feature_names: Names | None = None, level: int = -1) -> list[list[str]]:
        """Return the names of at most n features of each topic of a level, strongest first, as a list of lists.

        Parameters
        ----------
        n : int, default=10
            Number of features.
        feature_names : array-like (n_features,), default=None
            None takes `feature_names_in_`, or else the column numbers.
        level : int, default=-1
            0 is the finest level, -1 the last.
        """
        check_is_fitted(self)
        check_integer("n", n)
        return strongest(self.components_[self._level(level)], self._feature_names(feature_names), n)

    def top_samples(self, n: int = 5, level: int = -1) -> Integers:
        """Return the numbers of the training rows that use each topic of a level most, strongest first, int (k, n)."""
        check_is_fitted(self)
        check_integer("n", n)
        return np.argsort(-self.S_[self._level(level)].T, axis=1, kind="stable")[:, :n]

    def as_start(self, level: int = -1) -> Start:
        """Return the topics of a level as a `fastnmf.Start`, for use as `init` of another estimator."""
        check_is_fitted(self)
        return Start(self.components_[self._level(level)], feature_names=getattr(self, "feature_names_in_", None))

    def display_factors(self) -> tuple[list[Floats], Floats]:
        """Return copies of the factors with topics of length one; the weights above take the scale.

        Returns
        -------
        layer_weights : list of ndarray (k_l, k_{l-1})
            Rows of length one; zero rows stay zero.
        weights : ndarray (n_samples, k_L)
            Weights on the last level with the scale of all layers: the product is that of the fitted factors.
        """
        check_is_fitted(self)
        shown, scale = [], None
        for layer in self.layer_weights_:
            layer = layer if scale is None else layer * scale
            lengths = np.linalg.norm(layer, axis=1)
            shown.append(unit_columns(layer.T).T)
            scale = lengths
        return shown, self.S_[-1] * scale

    def shares(self, level: int) -> Floats:
        """Return the shares of the topics of the level below in each topic of a level > 0; rows add up to 1.

        Parameters
        ----------
        level : int

        Returns
        -------
        ndarray (k_level, k_{level - 1})
            Shares of the normalised copies; the row of an empty topic is zero.
        """
        check_is_fitted(self)
        level = self._level(level)
        if level == 0:
            raise ValueError("level=0 has no topics below it; see top_features.")
        layer = self.display_factors()[0][level]
        total = layer.sum(axis=1, keepdims=True)
        return layer / np.where(total > 0, total, 1)

    def parents(self, level: int) -> Integers:
        """Return for each topic of a level the topic of level + 1 with the largest share of it, int (k_level,)."""
        return self.shares(self._level(level) + 1).argmax(axis=0)

    def to_dict(
        self, n: int = 8, feature_names: Names | None = None, threshold: float | None = None
    ) -> list[dict[str, Any]]:
        """Return the hierarchy as nested dicts, the last level on top.

        Parameters
        ----------
        n : int, default=8
            Features of each topic.
        feature_names : array-like (n_features,), default=None
            None takes `feature_names_in_`, or else the column numbers.
        threshold : float, default=None
            None: a tree; every topic is a child of the topic in which it has the largest share. A number from 0 to 1:
            every topic is a child of all topics in which its share is at least that; it may then appear several times,
            or not at all.

        Returns
        -------
        list of dict
            For each topic: ``level``, ``topic`` (its number), ``share`` (in the topic above; 1 on top), ``features``,
            ``children``.
        """
        check_is_fitted(self)
        if threshold is not None:
            check_number("threshold", threshold, "None or a number from 0 to 1", most=1)
        names = [self.top_features(n, feature_names, level) for level, _ in enumerate(self.components_)]
        shares = [None, *(self.shares(level) for level, _ in list(enumerate(self.components_))[1:])]

        def node(level, topic, share):
            children = []
            if level > 0:
                row, of = shares[level][topic], shares[level].argmax(axis=0)
                is_below = of == topic if threshold is None else row >= max(threshold, tiny())
                below = sorted(np.flatnonzero(is_below), key=lambda c: -row[c])
                children = [node(level - 1, int(c), float(row[c])) for c in below]
            found = {"level": level, "topic": topic, "share": share, "features": names[level][topic]}
            return found | {"children": children}

        top = len(self.components_) - 1
        return [node(top, topic, 1.0) for topic, _ in enumerate(self.components_[-1])]

    def export_text(self, n: int = 8, feature_names: Names | None = None, threshold: float | None = None) -> str:
        """Return the hierarchy as indented lines, one for each topic, with its share in the topic above.

        Parameters as in `to_dict`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import HierarchicalNMF
        >>> X = np.kron(np.eye(4), np.ones((3, 1))) + 0.5 * np.kron(np.eye(2), np.ones((6, 2)))
        >>> model = HierarchicalNMF((4, 2), random_state=0).fit(X)
        >>> lines = model.export_text(1, list("abcd")).splitlines()
        >>> len(lines), [line.startswith("  ") for line in lines].count(True)
        (6, 4)
        """
        lines = []

        def add(node, depth):
            share = f" {node['share']:4.0%}" if depth else ""
            name = f"{'  ' * depth}[{node['level']}.{node['topic']}]{share}"
            lines.append(f"{name}  {' '.join(node['features']) or '(nothing)'}")
            for child in node["children"]:
                add(child, depth + 1)

        for root in self.to_dict(n, feature_names, threshold):
            add(root, 0)
        return "\n".join(lines)

    def row_order(self, level: int = 0) -> Integers:
        """Return an order of the rows of the factor of a level that makes its block structure visible.

        A row is a feature or a topic of the level below. Rows are sorted by the topic with their largest weight, and
        within a topic by that weight; topics are sorted in the same way by the topics above them.
        """
        check_is_fitted(self)
        layers = self.display_factors()[0]
        rank = np.arange(len(layers[-1]))
        for layer in layers[: self._level(level) : -1]:
            rank = np.lexsort((-layer.max(axis=0), rank[layer.argmax(axis=0)])).argsort()
        layer = layers[self._level(level)]
        return np.lexsort((-layer.max(axis=0), rank[layer.argmax(axis=0)]))

    def _level(self, level):
        check_is_fitted(self)
        n = len(self.components_)
        if not isinstance(level, (int, np.integer)) or isinstance(level, bool) or not -n <= level < n:
            raise ValueError(
                f"level={shown(level)} is not known; expected 0 (the finest) to {n - 1}, or -1 for the last."
            )
        return int(level) % n
