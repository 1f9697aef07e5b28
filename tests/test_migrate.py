"""Old files in present names: the tables of `fastnmf.io.migrate`, and checkpoints across changed defaults."""

import numpy as np
import pytest

import fastnmf
from fastnmf import NMF
from fastnmf.core import batches
from fastnmf.io import archive, checkpoints, migrate

X = np.random.default_rng(0).random((14, 9))


def test_parameters_attributes_and_statistics_of_format_1_are_renamed():
    old = {
        "class": "GraphNMF",
        "parameters": {"anchor": None, "init": None},
        "_exponent": 3,
        "W_": np.ones(2),
        "_statistics": {"class": "Statistics", "state": {"forget": 0.5, "exponent": 1, "rank": 2}},
    }
    found = migrate.upgrade("model", 1, old)
    assert found["parameters"] == {"scale_invariant": False, "init": None}
    assert found["_log4_scale"] == 3 and "_exponent" not in found and found["W_"] is old["W_"]
    assert found["_statistics"]["state"] == {"forget_factor": 0.5, "log4_scale": 1, "rank": 2}
    assert migrate.upgrade("model", 2, old) is old


def test_models_within_models_are_renamed_too():
    inner = {"class": "GraphNMF", "parameters": {"anchor": "components"}}
    found = migrate.upgrade("model", 1, {"class": "MetaNMF", "parameters": {"estimator": inner}, "estimator_": inner})
    assert found["parameters"]["estimator"]["parameters"] == {"scale_invariant": True}
    assert found["estimator_"]["parameters"] == {"scale_invariant": True}


def test_the_state_of_a_checkpoint_of_format_1_is_translated():
    history = {"iteration": np.arange(3), "objective": np.array([3.0, 2, 1]), "seconds": np.array([0.0, 1, 2])}
    state = {"revivals": [0, 2], "at_hand": ["W"], "factors": {}, "extrapolation": None}
    state |= {"history": history | {"revived": np.array(4)}}
    found = migrate.upgrade("checkpoint", 1, {"state": state, "seed": 1})
    assert found["seed"] == 1 and found["state"]["history"].keys() == history.keys()
    assert found["state"]["losses"] == [{}, {"reseedings": 2}] and found["state"]["cached_products"] == ["W"]
    assert (found["state"]["reseeded"], found["state"]["last"], found["state"]["n_steps"]) == (4, 1.0, 2)
    assert found["state"]["runs"]["objectives"] == [] and found["state"]["seconds"] == 2.0


def test_new_names_of_the_tables_exist():
    for kind, names in migrate.PARAMETERS.items():
        known = getattr(fastnmf, kind)().get_params()
        assert {new for new, _ in names.values()} <= known.keys()
    assert set(migrate.STATISTICS.values()) <= set(batches.Statistics._state_names)


def stop_at(n):
    return lambda found: found.iteration == n


def interrupted(path, **options):
    return NMF(2, random_state=0, max_iter=9, tol=0, callback=stop_at(4), **options).fit(
        X, checkpoint=path, checkpoint_every=0
    )


def without(path, parameter):
    """Rewrite a checkpoint as a version wrote it that did not know a parameter."""
    values = archive.read(path, "checkpoint")
    values["fit"].pop(parameter)
    archive.write(path, "checkpoint", values)


def test_a_parameter_that_the_file_lacks_is_what_its_version_did(tmp_path, monkeypatch):
    path = tmp_path / "state.npz"
    interrupted(path)
    without(path, "sweeps")
    with pytest.raises(ValueError, match="another fit"):
        NMF(2, random_state=0, max_iter=9, tol=0).fit(X, checkpoint=path)
    monkeypatch.setattr(checkpoints, "ADDED_PARAMETERS", {"sweeps": (2, 2)})
    found = NMF(2, random_state=0, max_iter=9, tol=0).fit(X, checkpoint=path)
    assert (found.W_ == NMF(2, random_state=0, max_iter=9, tol=0).fit(X).W_).all()


def test_a_default_that_has_changed_takes_the_value_of_the_file(tmp_path, monkeypatch):
    path, wanted = tmp_path / "state.npz", NMF(2, random_state=0, max_iter=9, tol=0, sweeps=(1, 3)).fit(X)
    interrupted(path, sweeps=(1, 3))
    with pytest.raises(ValueError, match="sweeps was"):
        NMF(2, random_state=0, max_iter=9, tol=0).fit(X, checkpoint=path)
    monkeypatch.setattr(checkpoints, "CHANGED_DEFAULTS", {("NMF", "sweeps"): (1, 3)})
    found = NMF(2, random_state=0, max_iter=9, tol=0).fit(X, checkpoint=path)
    assert (found.W_ == wanted.W_).all() and found.sweeps == (1, 3)
    interrupted(path := tmp_path / "other.npz", sweeps=(1, 3))
    with pytest.raises(ValueError, match="sweeps was"):  # chosen by the user, and another one
        NMF(2, random_state=0, max_iter=9, tol=0, sweeps=(3, 3)).fit(X, checkpoint=path)
