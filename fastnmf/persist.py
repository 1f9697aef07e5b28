"""Read models that `save` wrote. Only estimators that fastnmf exports are made, by name."""

import fastnmf
from fastnmf import store
from fastnmf.models.keeping import Keeping, restored


def load(path):
    """Read a model that its method `save` wrote.

    The model transforms, predicts, scores and goes on (`partial_fit`, ``warm_start``) to the bit as the saved one
    does; the training data are not needed. The file is checked before it is interpreted, no code in it is run, and
    nothing but an estimator of fastnmf is made from it.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    estimator
        Of the class that was saved, with its parameters and fitted attributes.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is no model of fastnmf, is damaged or cut off, or was written by a newer version.

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
    values = store.read(path, "model")
    try:
        return restored(values, _class)
    except MemoryError:
        raise
    except Exception as error:  # whatever a file does that only claims to be ours
        raise ValueError(f"{path} is not a model file of fastnmf, or is damaged ({error}).") from error


def _class(name):
    """Return the estimator that fastnmf exports under this name."""
    if not fastnmf._HOMES.get(name, "").startswith("fastnmf.models."):
        raise ValueError(f"fastnmf has no estimator {name!r}")
    kind = getattr(fastnmf, name)
    if not (isinstance(kind, type) and issubclass(kind, Keeping)):
        raise ValueError(f"fastnmf has no estimator {name!r}")
    return kind
