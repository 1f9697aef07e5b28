"""Kinds of `Readings` that the loaders return, with further keys."""

from __future__ import annotations

from typing import Any

from fastnmf.data.readings import Readings
from fastnmf.typing import Array, Floats, Integers


class Data(Readings):
    """Data (n_samples, n_features), sparse or dense, with a description."""

    data: Any
    feature_names: Array
    DESCR: str


class TableData(Data):
    """Rows in strata."""

    strata: Array
    stratum_names: Array


class StratifiedData(TableData):
    """Planted data with strata, and the truth."""

    W: Floats
    H: Floats
    V: Floats


class CountData(Data):
    """Simulated counts of cells, and the truth."""

    batch: Array
    strata: Array
    programs: Floats
    usage: Floats
    program_of_cell: Integers
    target: Integers
    background: Floats


class RatingData(TableData):
    """Simulated ratings, known and held out, and the truth."""

    train: Any
    test: Any
    row_names: Array
    W: Floats
    H: Floats
    V: Floats


class GraphData(Data):
    """Affinities of nodes in known communities."""

    target: Integers
    target_names: Array


class HierarchicalData(Readings):
    """Planted data whose topics form a tree."""

    data: Floats
    target: Integers
    target4: Integers
    target2: Integers
    feature_block: Integers


class ImageData(TableData):
    """Images, one per row, of known classes."""

    target: Integers
    image_shape: tuple[int, int]


class FashionData(ImageData):
    """Images of clothing."""

    target_names: Array
