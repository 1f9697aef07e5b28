"""`help` of the package and of a model is short, and begins with what a user needs first."""

import inspect
import pydoc
import re

import pytest
import sklearn

import fastnmf
from fastnmf import NMF, StratifiedNMF


@pytest.fixture(scope="module")
def page():
    return pydoc.render_doc(StratifiedNMF, renderer=pydoc.plaintext)


def test_help_of_a_model_is_about_its_own_methods(page):
    assert len(page.splitlines()) < 1250  # about 160 more with the text of scikit-learn about metadata
    assert page.count("metadata") < 20 and "set_fit_request(self, *, H=" in page
    first_screen = "\n".join(page.splitlines()[:24])
    assert "StratifiedNMF(20).fit(X, strata=labels)" in first_screen
    assert "n_components : int, default=10" in first_screen


@pytest.mark.parametrize("kind", [NMF, type("Mine", (StratifiedNMF,), {})])
def test_request_methods_keep_their_function(kind):
    method = kind.set_fit_request
    assert len(inspect.getdoc(method).splitlines()) <= 3 and "`fit`" in method.__doc__
    assert {"self", "sample_weight", "weight"} <= inspect.signature(method).parameters.keys()
    assert method.__module__.startswith("sklearn.")  # the pages leave out what comes from there
    with sklearn.config_context(enable_metadata_routing=True):
        model = kind(2)
        assert model.set_fit_request(weight=True, layer="other") is model
        requests = sklearn.base.clone(model).get_metadata_routing().fit.requests
        assert requests["weight"] is True and requests["layer"] == "other" and requests["sample_weight"] is None
        assert kind.set_fit_request(kind(2), weight=True).get_metadata_routing().fit.requests["weight"] is True
        with pytest.raises(TypeError, match="nonsense"):
            model.set_fit_request(nonsense=True)
    with pytest.raises(RuntimeError, match="enable_metadata_routing"):
        kind(2).set_fit_request(weight=True)


def test_help_of_the_package_says_which_class_for_what():
    text = fastnmf.__doc__
    assert not [name for name in fastnmf.__all__ if name != "__version__" and not re.search(rf"\b{name}\b", text)]
    named = set(re.findall(r"\b(?:[A-Z]\w*)?NMF\b|\b[a-z]+_[a-z_]+\b", text)) - {"beta_loss"}
    assert named <= set(fastnmf.__all__)
    assert text.index("StratifiedNMF(20).fit") < text.index("Other models")
    assert max(map(len, text.splitlines())) <= 80
