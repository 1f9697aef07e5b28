"""Types in the annotations of the public functions and classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, SupportsFloat, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.floating[Any]]
Integers: TypeAlias = NDArray[np.integer[Any]]
Bools: TypeAlias = NDArray[np.bool_]
FilePath: TypeAlias = str | os.PathLike[str]
Seed: TypeAlias = int | np.random.Generator | np.random.RandomState | None


class SupportsArray(Protocol):
    """Whatever NumPy makes an array of: arrays, data frames, series."""

    def __array__(self, *args: Any, **more: Any) -> Any: ...


class Sparse(Protocol):
    """Sparse matrix or array of SciPy, of any format."""

    @property
    def tocsr(self) -> Any: ...


class Annotated(Protocol):
    """AnnData, or what looks like it."""

    @property
    def X(self) -> Any: ...
    @property
    def obs(self) -> Any: ...
    @property
    def var_names(self) -> Any: ...


class Graph(Protocol):
    """Graph with nodes and edges, such as one of networkx."""

    @property
    def nodes(self) -> Any: ...
    @property
    def edges(self) -> Any: ...


class FittedModel(Protocol):
    """Fitted estimator with components, of this package or of scikit-learn."""

    @property
    def components_(self) -> Any: ...


class Penalty(Protocol):
    """Penalty of a user, for one factor F (k, p)."""

    def value(self, F: Any, /) -> SupportsFloat: ...
    def half_gradient(self, F: Any, /) -> Any: ...


class Step(Protocol):
    """Update of a user, for one factor F (k, p)."""

    def step(self, F: Any, view: Any, /) -> Any: ...


Penalties: TypeAlias = Mapping[str, Any]  # lists of `Penalty`, but checkers join penalties of two classes to `object`
Vector: TypeAlias = Sequence[float] | SupportsArray
Dense: TypeAlias = Sequence[Sequence[float]] | Sequence[SupportsArray] | SupportsArray
Matrix: TypeAlias = Dense | Sparse | Annotated
Labels: TypeAlias = Sequence[Any] | SupportsArray
Groups: TypeAlias = Labels | Mapping[str, Any]  # labels of rows, or of several factors by name
SparseOrDense: TypeAlias = Dense | Sparse
Names: TypeAlias = Labels | Mapping[str, Any]  # a mapping is a vocabulary: name -> column
Factor: TypeAlias = Dense | None
File: TypeAlias = FilePath | None
Ranking: TypeAlias = Literal["contrast", "weight", "lift"]
Topics: TypeAlias = SparseOrDense | Sequence[Sequence[str]]


class Bunch(dict[str, Any]):
    """scikit-learn's Bunch, for type checkers, which then know the keys that a subclass declares and no others."""
