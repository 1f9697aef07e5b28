"""Bases of the estimators as type checkers see them; at run time they are those of scikit-learn, or `object`.

scikit-learn is not annotated: a checker would take its classes for Any, and every misspelt attribute of ours for valid.
It gets classes of ours that list what scikit-learn's give, and classes that declare the parameters and fitted
attributes that many models share. As last base of a class, `object` changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fastnmf.core.init.starts import Start
from fastnmf.core.losses.choice import Divergence
from fastnmf.models.base.callbacks import Callback
from fastnmf.typing import Array, FittedModel, Floats, Integers, Seed, SupportsArray, Vector

BetaName: TypeAlias = Literal["frobenius", "kullback-leibler", "itakura-saito"]
BetaLoss: TypeAlias = BetaName | float | Divergence
CountLoss: TypeAlias = BetaLoss | Literal["negative-binomial"]
Dispersion: TypeAlias = Literal["feature", "global"] | float | Vector
Betas: TypeAlias = BetaName | float | Sequence[float | BetaName] | SupportsArray
Model: TypeAlias = Start | FittedModel
StartName: TypeAlias = Literal[
    "auto", "multilevel", "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"
]
Init: TypeAlias = StartName | Model | None

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Generic, ParamSpec, Protocol, Self, TypeVar

    from fastnmf.typing import Bunch as Bunch

    P = ParamSpec("P")
    R = TypeVar("R")
    Method = TypeVar("Method", bound=Callable[..., Any])
    Request: TypeAlias = bool | str | None

    class Fits(Protocol[P]):
        def fit(self, *args: P.args, **more: P.kwargs) -> object: ...

    class Transforms(Protocol[P]):
        def transform(self, *args: P.args, **more: P.kwargs) -> object: ...

    class LikeFit(Generic[R]):
        def __get__(self, model: Fits[P], kind: object = None) -> Callable[P, R]: ...

    class LikeTransform(Generic[R]):
        def __get__(self, model: Transforms[P], kind: object = None) -> Callable[P, R]: ...

    def like_fit(method: Callable[..., R]) -> LikeFit[R]: ...
    def like_transform(method: Callable[..., R]) -> LikeTransform[R]: ...
    def available_if(check: Callable[..., object]) -> Callable[[Method], Method]: ...
    def with_callbacks(method: Method) -> Method: ...

    class CallbackSupportMixin:
        def set_callbacks(self, *callbacks: Any) -> Self: ...

    class BaseEstimator:
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def get_metadata_routing(self) -> Any: ...
        def set_fit_request(self, **requests: Request) -> Self: ...
        def __sklearn_tags__(self) -> Any: ...
        def __sklearn_clone__(self) -> Self: ...

    class TransformerMixin:
        @like_fit
        def fit_transform(self, X: Any, y: Any = None, **given: Any) -> Floats: ...
        def set_output(self, *, transform: Literal["default", "pandas", "polars"] | None = None) -> Self: ...
        def set_transform_request(self, **requests: Request) -> Self: ...
        def set_inverse_transform_request(self, **requests: Request) -> Self: ...
        def set_partial_fit_request(self, **requests: Request) -> Self: ...
        def set_score_request(self, **requests: Request) -> Self: ...

    class ClassNamePrefixFeaturesOutMixin:
        def get_feature_names_out(self, input_features: Any = None) -> Array: ...

    class Runs:
        """Parameters and attributes of models that are fitted from one start or several."""

        n_init: int
        warm_start: bool
        max_time: float | None
        callback: Callback | None
        run_objectives_: Floats
        converged_: bool
        stopped_by_: str

    class Iterative(Runs):
        """Parameters of models that are fitted iteratively, from a start that may be random."""

        n_components: int
        max_iter: int
        tol: float
        random_state: Seed

    class WithStrata(Iterative):
        """Attributes of models with shifts of strata."""

        shifts_: Any  # an array, or a csr_array where `sparse_shifts` says so
        strata_: Array
        stratum_sizes_: Array
        row_strata_: Integers

    class StrataFeatures(Bunch):
        """Features of the shift of each stratum, by label, and of each component; `own`: of the strata's components."""

        strata: dict[Any, list[str]]
        components: list[list[str]]
        own: dict[Any, list[list[str]]]

else:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import Bunch
    from sklearn.utils.metaestimators import available_if

    try:  # scikit-learn 1.9 and later
        from sklearn.callback import CallbackSupportMixin, with_callbacks
    except ImportError:

        class CallbackSupportMixin:
            """Empty substitute for scikit-learn's class of this name; versions before 1.9 have none."""

        def with_callbacks(method):
            """Return the method unchanged: this version of scikit-learn has no callbacks."""
            return method

    Runs = Iterative = WithStrata = object
    StrataFeatures = Bunch

    def like_fit(method):
        """Mark a method whose arguments are those of `fit`."""
        return method

    like_transform = like_fit

__all__ = [
    "BaseEstimator",
    "BetaLoss",
    "Betas",
    "Bunch",
    "Callback",
    "CallbackSupportMixin",
    "ClassNamePrefixFeaturesOutMixin",
    "Init",
    "Iterative",
    "Model",
    "Runs",
    "StartName",
    "StrataFeatures",
    "TransformerMixin",
    "WithStrata",
    "available_if",
    "like_fit",
    "like_transform",
    "with_callbacks",
]
