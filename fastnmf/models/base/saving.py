"""Provide the method `save` of all estimators."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastnmf.io import archive
from fastnmf.io.models import model_state
from fastnmf.models.base.fitted_state import AtomicFitMixin
from fastnmf.models.base.top_features import n_features_of


class SaveMixin(AtomicFitMixin):
    """Mixin with the method `save`, for all estimators."""

    _private_state = ("_n_components", "_fitted_rows", "_names", "_statistics")

    @classmethod
    def _is_saved(cls, name):
        """Return whether an attribute of this name is saved."""
        return cls._is_fitted_name(name) or name == "_sklearn_output_config"

    def _saved_attributes(self):
        """Return the attributes that are saved, by name: scikit-learn's naming convention marks those of a fit."""
        return {name: value for name, value in vars(self).items() if self._is_saved(name)}

    def save(self, path, feature_names=None):
        """Write the fitted model to one file. `fastnmf.load` reads it without the training data.

        The file is an ``.npz`` without pickles: reading it cannot run code, and ``numpy.load(path)["components_"]``
        works, too. It holds the class, all parameters, all fitted attributes, the statistics from which `partial_fit`
        continues, and the version. An existing file is replaced only when the new one is complete and on the disk.

        Parameters
        ----------
        path : str or path
            Used unchanged; no suffix is added.
        feature_names : sequence of str (n_features,), default=None
            Names for a model that was fitted to data without names; the loaded model has them as `feature_names_in_`.

        Raises
        ------
        TypeError
            Labels of strata, or a parameter, are neither numbers nor strings nor arrays of these.
        ValueError
            The model is not fitted (NotFittedError), `feature_names` has another length, or the model has other names.
        OSError
            The file cannot be written.

        Warns
        -----
        UserWarning
            `callback` is a function and is not saved; the loaded model has ``callback=None``. Callbacks of scikit-learn
            are not saved, either.

        Notes
        -----
        If `random_state` is a generator, its present state is saved. A parameter that is a DataFrame is loaded as an
        array; a model given as `init` is loaded as the `fastnmf.Start` with its factors. Metadata requests
        (``set_fit_request``) are not saved.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> import fastnmf
        >>> X = np.outer([1.0, 2, 3], [1.0, 0, 2])
        >>> model = fastnmf.NMF(1, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.npz", feature_names=["red", "green", "blue"])
        ...     again = fastnmf.load(f"{folder}/model.npz")
        >>> bool((again.transform(X) == model.transform(X)).all()), again.top_features(2)
        (True, [['blue', 'red']])
        """
        check_is_fitted(self)
        archive.write(path, "model", model_state(self, _names_to_keep(self, feature_names)))


def _names_to_keep(model, given):
    """Return the names of the features as an object array of str, or None if there are none."""
    own = getattr(model, "feature_names_in_", None)
    if given is None:
        given = getattr(model, "_names", None) if own is None else own
        return None if given is None else np.array([str(name) for name in given], dtype=object)
    names = np.array([str(name) for name in given], dtype=object)
    if len(names) != n_features_of(model):
        raise ValueError(
            f"feature_names has {len(names)} names for {n_features_of(model)} features; give one for each."
        )
    if own is not None and names.tolist() != own.tolist():
        raise ValueError("The model was fitted with other feature names; leave feature_names out to keep those.")
    return names
