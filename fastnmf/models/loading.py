"""Read models that `save` wrote. Only estimators that fastnmf exports are created."""

from __future__ import annotations

from typing import Any

import fastnmf
from fastnmf.core.losses.choice import Divergence
from fastnmf.io import archive
from fastnmf.io.models import model_from_state
from fastnmf.models.base.estimator import Estimator
from fastnmf.models.base.loaded_state import check_loaded
from fastnmf.typing import FilePath, Penalties


def load(
    path: FilePath, *, penalties: Penalties | None = None, loss: Divergence | None = None, updates: Any = None
) -> Any:
    """Read a model that the method `save` of an estimator wrote.

    The loaded model transforms, predicts, scores and continues fitting (`partial_fit`, ``warm_start``) with the same
    results as the saved one, to the last bit. The training data are not needed. The file is checked before it is
    interpreted; no code in it is run, and only estimators of fastnmf are created from it.

    Parameters
    ----------
    path : str or path
    penalties, loss, updates : default=None
        What the model was fitted with and its file does not hold, because you wrote it: the parameters `penalties`,
        `beta_loss` or `loss`, and `updates` of the estimator. They are needed for another fit, and by `transform` and
        `score` where the weights of rows depend on them: for a loss, and a penalty or update of W.

    Returns
    -------
    estimator
        A model of the class that was saved, with its parameters and fitted attributes.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not a model of fastnmf, is damaged or truncated, or was written by a newer version. Or `penalties`,
        `loss` or `updates` are given for a model that has no such parameter.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import fastnmf
    >>> X = np.array([[1.0, 0, 5], [2, 0, 5], [3, 1, 0], [6, 2, 0]])
    >>> model = fastnmf.StratifiedNMF(1, random_state=0).fit(X, strata=["a", "a", "b", "b"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.npz")
    ...     again = fastnmf.load(f"{folder}/model.npz")
    >>> again.strata_.tolist(), again.transform(X, strata=["a", "a", "b", "b"]).shape
    (['a', 'b'], (4, 1))
    """
    values = archive.read(path, "model")
    try:
        model = model_from_state(values, _class)
        if not isinstance(model, Estimator):
            raise ValueError("it holds no estimator")
        check_loaded(model)
    except MemoryError:
        raise
    except Exception as error:  # a file with a valid checksum that `save` did not write can raise anything
        raise archive.not_of_fastnmf(path, "model", error) from error
    known = model.get_params(deep=False)
    for name, value in (("penalties", penalties), ("loss", loss), ("updates", updates)):
        if value is None:
            continue
        parameter = model._loss_parameter if name == "loss" else name
        if parameter not in known:
            raise ValueError(f"{name} was given, and {path} holds a {type(model).__name__}, which has no {parameter}.")
        model.set_params(**{parameter: value})
    return model


def _class(name):
    """Return the estimator that fastnmf exports under this name."""
    if not fastnmf._HOMES.get(name, "").startswith(("fastnmf.models.", "fastnmf.compose")):
        raise ValueError(f"fastnmf has no estimator {name!r}")
    kind = getattr(fastnmf, name)
    if not (isinstance(kind, type) and issubclass(kind, Estimator)):
        raise ValueError(f"fastnmf has no estimator {name!r}")
    return kind
