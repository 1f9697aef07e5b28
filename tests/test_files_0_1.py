"""Files that version 0.1.0 has written load, and what they hold goes on; see `files_0_1.py`.

Where the machine is the one that wrote them (`files_0_1.stamp`), all numbers are compared to the bit: old files must
not only load, a model in them must be the model that it was.
"""

import shutil
import warnings
from functools import cache

import files_0_1
import numpy as np
import pytest
from files_0_1 import CHECKPOINTS, FOLDER, SAVED

import fastnmf

# With another processor or library sums are rounded otherwise, and a few iterations make more of it: of float64 1e-16
# and of float32 1e-7, which is what the float64 objective of a float32 fit is made of, too.
TOLERANCE = {np.float32: 1e-3, np.float64: 1e-8}
MOST_BYTES = 300_000
# Under Kullback-Leibler `transform` ended after `max_iter` updates; that of intervals began at other weights; linear
# programs are solved by a kernel of ours, whose last bits are others.
EXACT_NOW = ("stratified-mu", "plsa", "interval", "chebyshev")
# Rows with weights of entries are summed by vector loops, in another order.
NEAR_NOW = ("nmf-warm", "robust", "checkpoint-cd-mask")
NEW_SINCE_0_1 = {"Factorization"}  # names of estimators that did not exist then, and therefore have no file

expected = cache(files_0_1.expected)
is_same_machine = cache(lambda: files_0_1.stamp() == expected()[2])
is_same_processor = cache(lambda: files_0_1.stamp()["features"] == expected()[2]["features"])


@pytest.fixture
def copied(tmp_path):
    """Return a function that copies a file of 0.1, because fits write to their checkpoints; the file itself stays."""
    kept = {path: path.read_bytes() for path in FOLDER.glob("*.npz")}
    yield lambda name: shutil.copy(FOLDER / f"{name}.npz", tmp_path)
    assert {path: path.read_bytes() for path in FOLDER.glob("*.npz")} == kept


def without_powers_of_two(F, axis):
    """Return F with components, along an axis, whose largest entry is from 1/2 to 1."""
    return np.ldexp(F, -np.frexp(np.abs(F).max(axis=axis, keepdims=True))[1])


def assert_as_expected(found, wanted, case):
    """Compare arrays by name, to the bit where the machine is the same, unless the case is one of `NEAR_NOW`."""
    assert found.keys() == wanted.keys()
    tolerance = TOLERANCE[np.float32 if any(array.dtype == np.float32 for array in wanted.values()) else np.float64]
    for name, array in wanted.items():
        ours = np.asarray(found[name])
        assert (ours.shape, ours.dtype) == (array.shape, array.dtype), name
        if name.endswith(("components_", "W_")):  # a fit of today balances them
            ours, array = (without_powers_of_two(F, 0 if name.endswith("W_") else 1) for F in (ours, array))
        if is_same_machine() and case not in NEAR_NOW:
            assert ours.tobytes() == array.tobytes(), name
        else:
            np.testing.assert_allclose(ours, array, rtol=0, atol=tolerance * np.abs(array).max(), err_msg=name)


def in_present_names(facts):
    """Return the facts of a model of 0.1 with its parameters under their present names."""
    if facts["class"] != "GraphNMF":
        return facts
    parameters = dict(facts["parameters"])
    parameters["scale_invariant"] = files_0_1.described(parameters.pop("anchor") != files_0_1.described(None))
    return facts | {"parameters": parameters}


def differences(wanted, found, name=""):
    """Return what of a described model is another, or missing; what a later version has added is none."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [more for key in wanted for more in differences(wanted[key], found.get(key), f"{name}.{key}")]
    return [] if wanted == found else [f"{name[1:]} was {wanted} and is {found}"]


@pytest.mark.parametrize("name", SAVED)
def test_a_model_of_0_1_is_loaded_and_goes_on(name, copied):
    facts, arrays, _ = expected()
    case, wanted = SAVED[name], dict(arrays[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fastnmf.load(copied(name))
        numbers, others = files_0_1.read(model, case)
        assert not differences(in_present_names(facts[name]), files_0_1.described(model) | others)
    if case.go_on is not None:
        numbers |= {f"on {key}": value for key, value in files_0_1.go_on(model, case).items()}
    if name in EXACT_NOW:
        numbers.pop("transform"), wanted.pop("transform")
    assert_as_expected(numbers, wanted, name)


@pytest.mark.parametrize("name", SAVED)
def test_a_model_of_0_1_is_saved_by_this_version(name, copied, tmp_path):
    """What was loaded from an old file is a whole model, and not only one that transforms."""
    model = fastnmf.load(copied(name))
    model.save(tmp_path / "again")
    assert files_0_1.described(fastnmf.load(tmp_path / "again")) == files_0_1.described(model)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_fit_goes_on_from_a_checkpoint_of_0_1(name, copied):
    """It ends with the bits of a fit that nobody stopped; seconds alone are others."""
    path, begun = copied(name), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = files_0_1.fit(CHECKPOINTS[name], path, callback=lambda at: begun.append(at.iteration))
        except ValueError as error:
            if is_same_processor() or "may come from a processor with other vector registers" not in str(error):
                raise
            pytest.skip("a checkpoint belongs to processors with vector registers of one width")
    assert begun[0] >= files_0_1.STOPPED_AT - 1  # it did not begin anew
    want = expected()[1][name]
    if name == "checkpoint-hals-weights":  # penalties count by the weights since 0.2: near, and no longer the same
        assert found["objective"][-1] == pytest.approx(want["objective"][-1], rel=0.05)
        return
    assert_as_expected(found, want, name)


def test_every_estimator_has_a_file():
    public = {name: getattr(fastnmf, name) for name in fastnmf.__all__}
    with_save = {name for name, kind in public.items() if isinstance(kind, type) and hasattr(kind, "save")}
    with_file = {facts["class"] for facts in expected()[0].values()}
    assert with_save - NEW_SINCE_0_1 == with_file and not with_file & NEW_SINCE_0_1


def test_the_files_are_those_of_the_tables_and_small():
    paths = list(FOLDER.iterdir())
    assert {path.stem for path in paths} == {*SAVED, *CHECKPOINTS, "expected"}
    assert sum(path.stat().st_size for path in paths) <= MOST_BYTES
    for path in paths:
        with np.load(path) as file:
            assert path.stem == "expected" or b'"fastnmf": "0.1.0"' in file["facts"].tobytes(), path.name


def test_a_later_version_does_not_write_them(monkeypatch):
    monkeypatch.setattr(fastnmf, "__version__", "0.2.0")
    with pytest.raises(SystemExit, match="files are of version 0.1.0, and this is 0.2.0: nothing is written"):
        files_0_1.main()
