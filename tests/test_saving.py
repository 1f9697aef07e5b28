"""Models in files: what comes back is what was saved, to the bit; what is no model of ours is refused in a sentence."""

import io
import json
import os
import pickle
import stat
import warnings
import zipfile

import altered
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError

import fastnmf
from fastnmf import NMF, HierarchicalNMF, MiniBatchNMF, MiniBatchStratifiedNMF, SemiSupervisedNMF, StratifiedNMF, load
from fastnmf.io import archive
from fastnmf.models.base.estimator import Estimator

RNG = np.random.default_rng(0)
X = sp.random_array((60, 12), density=0.5, rng=RNG, format="csr")
LABELS = np.array(["north", "south", "west"])[RNG.integers(0, 3, 60)]
KINDS = (NMF, StratifiedNMF, MiniBatchNMF, MiniBatchStratifiedNMF, SemiSupervisedNMF)
DENSE = X.toarray()
FEW = {"random_state": 0, "max_iter": 3, "n_components": 2}
FAMILY = {
    name: (FEW, (X,))
    for name in (
        "AffineNMF",
        "BilinearNMF",
        "ConvexNMF",
        "ConvolutiveNMF",
        "DistributionallyRobustNMF",
        "Factorization",
        "GraphNMF",
        "OrthogonalNMF",
        "PLSA",
        "ProjectiveNMF",
        "RobustNMF",
        "SemiNMF",
        "SeparableNMF",
        "SmoothNMF",
        "SparseNMF",
        "UnderapproximationNMF",
    )
} | {
    "BinaryNMF": (FEW, (DENSE > 0.5,)),
    "BooleanNMF": (FEW, (DENSE > 0.5,)),
    "ChebyshevNMF": (FEW, (DENSE[:8, :5],)),
    "DeepNMF": (FEW | {"n_components": (3, 2)}, (X,)),
    "DictionaryNMF": (FEW | {"dictionary": RNG.random((3, 12))}, (X,)),
    "IntervalNMF": (FEW, (DENSE, DENSE + 1)),
    "KernelNMF": (FEW, (DENSE,)),
    "MetaNMF": (
        {"estimator": NMF(2), "n_tasks": 2, "task_size": 9, "n_outer": 2, "n_inner": 3, "random_state": 0},
        (X,),
    ),
    "SymmetricNMF": (FEW, (DENSE.T @ DENSE,)),
    "TriNMF": (FEW | {"n_components": (3, 2)}, (X,)),
    "TriSymmetricNMF": (FEW, (DENSE.T @ DENSE,)),
}
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def labels_for(kind, rows=slice(None), labels=LABELS):
    return {"strata": labels[rows]} if "Stratified" in kind.__name__ else {}


def fitted(kind, data=X, labels=LABELS, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**{"n_components": 3, "random_state": 0, "max_iter": 4} | options).fit(
            data, **labels_for(kind, labels=labels)
        )


def there_and_back(model, tmp_path, **options):
    model.save(tmp_path / "model.npz", **options)
    return load(tmp_path / "model.npz")


def same(a, b):
    """Tell whether two attributes are equal, of one type, and, where they are arrays, of the same bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if sp.issparse(a):
        return a.shape == b.shape and all(same(getattr(a, n), getattr(b, n)) for n in ("data", "indices", "indptr"))
    if isinstance(a, np.ndarray):
        if a.dtype == object:
            return b.dtype == object and a.tolist() == b.tolist()
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (float, int, str, bool, np.generic, np.dtype, type(None))):
        return a == b
    ours, theirs = ({name: v for name, v in vars(x).items() if name != "_tasks"} for x in (a, b))  # made when needed
    return same(ours, theirs)


@every_kind
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_of_a_model_comes_back(kind, dtype, tmp_path):
    model = fitted(kind, X.astype(dtype))
    again = there_and_back(model, tmp_path)
    assert type(again) is kind and vars(again).keys() == vars(model).keys()
    different = [name for name in vars(model) if not same(vars(model)[name], vars(again)[name])]
    assert not different
    assert np.load(tmp_path / "model.npz")["components_"].tobytes() == model.components_.tobytes()


def test_every_public_estimator_is_tried_here():
    homes = [name for name, home in fastnmf._HOMES.items() if home.startswith(("fastnmf.models.", "fastnmf.compose"))]
    found = {getattr(fastnmf, name) for name in homes}
    family = {getattr(fastnmf, name) for name in FAMILY}
    assert {kind for kind in found if isinstance(kind, type)} == {*KINDS, HierarchicalNMF, *family}
    assert all(issubclass(kind, Estimator) for kind in (*KINDS, *family))


@pytest.mark.parametrize("name", FAMILY)
def test_all_of_the_family_comes_back(name, tmp_path):
    options, arguments = FAMILY[name]
    kind = getattr(fastnmf, name)
    options = {key: value for key, value in options.items() if key in kind().get_params()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind(**options).fit(*arguments)
    again = there_and_back(model, tmp_path)
    different = [key for key, value in vars(model).items() if key.endswith("_") and not same(value, vars(again)[key])]
    assert not different
    if hasattr(model, "transform"):
        assert again.transform(arguments[0]).tobytes() == model.transform(arguments[0]).tobytes()


@pytest.mark.parametrize("is_list", [False, True])
def test_all_of_a_hierarchy_comes_back(is_list, tmp_path):
    codes = RNG.integers(0, 2, 60)
    y = [LABELS, None, codes] if is_list else LABELS
    model = HierarchicalNMF((4, 3, 2), random_state=0, max_iter=3, tol=0).fit(X, y)
    again = there_and_back(model, tmp_path)
    assert vars(again).keys() >= {name for name in vars(model) if name.endswith("_")}
    assert all(same(value, vars(again)[name]) for name, value in vars(model).items() if name.endswith("_"))
    for level in (0, 1, 2):
        assert again.transform(X, level=level).tobytes() == model.transform(X, level=level).tobytes()
    assert again.predict(X).tolist() == model.predict(X).tolist()
    if is_list:
        assert again.predict(X, level=0).tolist() == model.predict(X, level=0).tolist()


@every_kind
def test_a_loaded_model_reads_data_as_the_saved_one(kind, tmp_path):
    model = fitted(kind)
    again, labels = there_and_back(model, tmp_path), labels_for(kind)
    W = model.transform(X, **labels)
    assert again.transform(X, **labels).tobytes() == W.tobytes()
    assert again.score(X, **labels) == model.score(X, **labels)
    assert again.inverse_transform(W, **labels).tobytes() == model.inverse_transform(W, **labels).tobytes()
    assert again.top_features(3) == model.top_features(3)
    if kind is StratifiedNMF:
        assert again.predict_stratum(X).tolist() == model.predict_stratum(X).tolist()
        again.unknown_strata = model.unknown_strata = "estimate"
        east = {"strata": ["east"] * 5}
        assert again.transform(X[:5], **east).tobytes() == model.transform(X[:5], **east).tobytes()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if hasattr(kind, "partial_fit")], ids=lambda k: k.__name__)
@pytest.mark.parametrize("is_stream", [False, True], ids=["after fit", "between batches"])
def test_a_loaded_model_goes_on_with_batches(kind, is_stream, tmp_path):
    """The last batch brings a stratum of its own, and data that are too large for the scale so far."""
    forget = {"forget_factor": 0.9} if "MiniBatch" in kind.__name__ else {}
    if is_stream:
        model = kind(3, random_state=0, **forget).partial_fit(X[:30], **labels_for(kind, slice(30)))
    else:
        model = fitted(kind, **forget)
    again = there_and_back(model, tmp_path)
    later = np.where(np.arange(60) < 50, LABELS, "east")
    for part, data in ((slice(30, 45), X), (slice(45, 60), X * 1e60)):
        for one in (model, again):
            one.partial_fit(data[part], **labels_for(kind, part, later))
    assert again.components_.tobytes() == model.components_.tobytes()
    assert same(vars(model)["_statistics"], vars(again)["_statistics"]) and again.n_steps_ == model.n_steps_
    if "strata" in labels_for(kind):
        assert "east" in again.strata_ and again.shifts_.tobytes() == model.shifts_.tobytes()


@pytest.mark.parametrize("kind", [NMF, StratifiedNMF])
def test_a_loaded_model_goes_on_with_a_warm_start(kind, tmp_path):
    model = fitted(kind, warm_start=True, tol=0)
    again = there_and_back(model, tmp_path)
    for one in (model, again):
        one.fit(X, **labels_for(kind))
    assert again.components_.tobytes() == model.components_.tobytes() and again.W_.tobytes() == model.W_.tobytes()


LABEL_KINDS = {
    "text": np.array(["b", "a"]),
    "objects": np.array(["b", "Ärger"], dtype=object),
    "integers": np.array([7, -3]),
    "integer objects": np.array([7, 3], dtype=object),
    "numbers": np.array([0.5, 0.25], np.float32),
    "booleans": np.array([True, False]),
    "dates": np.array(["2024-01-01", "2023-01-01"], "datetime64[D]"),
    "durations": np.array([1, 2], "timedelta64[h]"),
}


@pytest.mark.parametrize("two", LABEL_KINDS.values(), ids=LABEL_KINDS)
def test_labels_come_back_as_they_were(two, tmp_path):
    model = fitted(StratifiedNMF, labels=two[np.arange(60) % 2])
    again = there_and_back(model, tmp_path)
    assert same(again.strata_, model.strata_) and again.strata_.dtype == two.dtype
    few = two[[1, 0, 1]]
    np.testing.assert_array_equal(again.transform(X[:3], strata=few), model.transform(X[:3], strata=few))


def test_labels_that_cannot_be_kept_are_refused_by_name(tmp_path):
    for some, types in (
        ([(1, 2), (1, 3)], "tuple"),
        ([1, 2.5], "float and int"),
        ([pd.Timestamp(0, tz="UTC")] * 2, "Timestamp"),
    ):
        labels = np.empty(60, object)
        labels[:] = [some[i % 2] for i in range(60)]
        model = fitted(StratifiedNMF, labels=labels)
        with pytest.raises(
            TypeError, match=f"Labels of strata of the type {types} cannot be saved; use strings or num"
        ):
            model.save(tmp_path / "model.npz")
    with pytest.raises(TypeError, match="strata_ holds a string that ends in a NUL"):
        fitted(StratifiedNMF, labels=np.array(["a", "b\0"], object)[np.arange(60) % 2]).save(tmp_path / "model.npz")
    with pytest.raises(TypeError, match="strata_ holds integers of more than 64 bits"):
        fitted(StratifiedNMF, labels=np.array([10**30, 1], object)[np.arange(60) % 2]).save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [NMF, StratifiedNMF])
def test_parameters_that_are_not_plain(kind, tmp_path):
    known = pd.DataFrame(np.where(np.arange(12) < 4, np.nan, 1.0)[None])
    options = {"fixed_components": known, "seed_features": {1: [2, np.int64(3)], 2: []}, "beta_loss": np.float32(2)}
    model = fitted(kind, sweeps=(2, 1, 2)[-2 - (kind is StratifiedNMF) :], **options)
    again = there_and_back(model, tmp_path)
    np.testing.assert_array_equal(again.fixed_components, known.to_numpy())
    assert same(again.seed_features, model.seed_features) and same(again.beta_loss, model.beta_loss)
    assert same(again.sweeps, model.sweeps)
    sparse = fitted(kind, fixed_components=sp.csr_matrix(np.ones((1, 12))))
    assert same(there_and_back(sparse, tmp_path).fixed_components, sparse.fixed_components)
    model.guide_weight = range(3)
    with pytest.raises(TypeError, match="parameters.guide_weight is of the type range and cannot be saved"):
        model.save(tmp_path / "model.npz")


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState], ids=lambda make: make.__name__)
def test_a_generator_is_kept_in_its_state(make, tmp_path):
    model = fitted(NMF, random_state=make(3))
    again = there_and_back(model, tmp_path)
    assert again.random_state.normal(size=5).tolist() == model.random_state.normal(size=5).tolist()


@pytest.mark.parametrize("bits", archive._BIT_GENERATORS)
def test_every_bit_generator_is_known(bits, tmp_path):
    ours = np.random.Generator(getattr(np.random, bits)(5))
    ours.normal(size=3)
    archive.write(tmp_path / "x", "test", {"rng": ours})
    theirs = archive.read(tmp_path / "x", "test")["rng"]
    assert theirs.random(3).tolist() == ours.random(3).tolist()


def test_a_callback_is_left_out_with_a_warning(tmp_path):
    model = fitted(NMF, callback=lambda state: False)
    with pytest.warns(UserWarning, match="callback is a function and is not kept"):
        model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert again.callback is None and again.components_.tobytes() == model.components_.tobytes()
    assert callable(model.callback)


def test_feature_names(tmp_path):
    words = [f"w{j}" for j in range(12)]
    frame = pd.DataFrame(X.toarray(), columns=words)
    model = fitted(NMF)
    plain = model.top_features(2)
    again = there_and_back(model, tmp_path, feature_names=words)
    assert again.feature_names_in_.tolist() == words and not hasattr(model, "feature_names_in_")
    assert again.top_features(2) == [[f"w{j}" for j in some] for some in plain]
    with warnings.catch_warnings():  # the model was fitted to data without names, and takes such
        warnings.simplefilter("error")
        W = again.transform(X)
        assert there_and_back(again, tmp_path).transform(X).tobytes() == W.tobytes()
    with pytest.raises(ValueError, match="feature names should match"):
        again.transform(frame[words[::-1]])
    assert not hasattr(again.fit(X), "feature_names_in_") and again.top_features(2)[0][0].isdigit()
    named = fitted(NMF, frame)
    assert same(there_and_back(named, tmp_path).feature_names_in_, named.feature_names_in_)
    with pytest.raises(ValueError, match="fitted with other feature names"):
        named.save(tmp_path / "model.npz", feature_names=words[::-1])
    with pytest.raises(ValueError, match="2 names for 12 features"):
        model.save(tmp_path / "model.npz", feature_names=["a", "b"])


def test_a_model_that_is_not_fitted_is_not_kept(tmp_path):
    with pytest.raises(NotFittedError, match="not fitted"):
        NMF().save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- the file


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.npz"
    fitted(StratifiedNMF, random_state=np.random.default_rng(0)).save(path, [f"w{j}" for j in range(12)])
    return path


def refused(path):
    """Tell whether load raises ValueError with one sentence or two that name the file; anything else is raised."""
    try:
        load(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 300
        return True
    return False


def test_a_file_that_is_cut_off_anywhere_is_refused(file):
    whole = file.read_bytes()
    lengths = {*range(0, len(whole), 307), *range(0, 40, 3), *range(len(whole) - 120, len(whole), 7)}
    for length in lengths:
        file.write_bytes(whole[:length])
        assert refused(file), length
    file.write_bytes(whole + b"\0")
    assert refused(file)
    file.write_bytes(whole)
    assert not refused(file)


def test_a_file_with_a_flipped_bit_is_refused(file):
    whole, rng = file.read_bytes(), np.random.default_rng(1)
    for place in {*rng.integers(0, len(whole), 60).tolist(), *range(len(whole) - 60, len(whole), 5)}:
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.integers(8)
        file.write_bytes(changed)
        assert refused(file), place


def sealed(path, arrays):
    """Write a file with a right checksum around anything."""
    return altered.sealed(path, {f"{name}.npy": content for name, content in arrays.items()})


def npy(array, **options):
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}


def test_a_file_with_a_right_checksum_and_anything_inside_is_refused(file, tmp_path):
    """The checksum is no secret: whoever writes files on purpose gets no further than a sentence."""
    good, rng = members(file), np.random.default_rng(2)
    assert not refused(sealed(tmp_path / "good", good))
    for turn in range(60):
        arrays = dict(good)
        name = list(arrays)[rng.integers(len(arrays))] if turn % 3 else "facts"
        changed = bytearray(arrays[name])
        changed[rng.integers(len(changed) if turn % 2 else min(len(changed), 128))] ^= 1 << rng.integers(8)
        arrays[name] = bytes(changed)
        if turn % 10 == 0:
            del arrays[name]
        path = sealed(tmp_path / f"{turn}", arrays)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            refused(path)  # or read, where a value is another value: whatever else is raised fails the test
    path = sealed(tmp_path / "facts", {"facts": npy(np.frombuffer(b"[" * 100_000, np.uint8))})
    assert refused(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, (BOMB,)


BOMB = "/tmp/fastnmf-no-code-of-files-is-run"


def test_no_code_in_a_file_is_run(file, tmp_path):
    good = members(file)
    pickled = npy(np.array([Bomb()]), allow_pickle=True)
    assert b"mkdir" in pickled
    for name in ("components_", "facts"):
        assert refused(sealed(tmp_path / name, good | {name: pickled}))
    facts = json.loads(np.load(io.BytesIO(good["facts"])).tobytes())
    for kind in ("Pipeline", "os.system", "plots", "warmup", "stratified_nmf", "BaseNMF", "__class__", 7):
        facts["values"]["class"] = kind
        changed = npy(np.frombuffer(json.dumps(facts).encode(), np.uint8))
        assert refused(sealed(tmp_path / f"class {kind}", good | {"facts": changed}))
    for turn, value in enumerate(({"is": "eval", "state": "1"}, {"is": "Generator", "state": {"bit_generator": "os"}})):
        facts["values"]["class"], facts["values"]["n_iter_"] = "StratifiedNMF", value
        changed = npy(np.frombuffer(json.dumps(facts).encode(), np.uint8))
        assert refused(sealed(tmp_path / f"value {turn}", good | {"facts": changed}))
    assert not os.path.exists(BOMB)


def test_files_of_others_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", components_=np.ones(3))
    sp.save_npz(tmp_path / "sparse.npz", X)
    (tmp_path / "text").write_text("components_\n" * 100)
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "pickle").write_bytes(pickle.dumps(Bomb()))
    os.mkfifo(tmp_path / "pipe")  # which a reader would wait for
    for path in tmp_path.iterdir():
        assert refused(path), path
    assert not os.path.exists(BOMB)
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        load(tmp_path / "nowhere.npz")


def test_a_file_of_a_newer_version_says_so(file, monkeypatch):
    model = load(file)
    monkeypatch.setattr(archive, "FORMAT", archive.FORMAT + 1)
    monkeypatch.setattr(fastnmf, "__version__", "9.1")
    model.save(file)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"written by a newer fastnmf \(version 9.1, format 3;.*update fastnmf"):
        load(file)


def test_a_file_is_complete_or_as_it_was(file, monkeypatch):
    model, before = fitted(NMF), file.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    for place, name in ((np.lib.format, "write_array"), (os, "fsync"), (os, "replace")):
        with monkeypatch.context() as context:
            context.setattr(place, name, fail)
            with pytest.raises(OSError, match="disk full"):
                model.save(file)
        assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]
    model.save(file)
    assert type(load(file)) is NMF and list(file.parent.iterdir()) == [file]


def test_a_file_has_the_permissions_of_the_umask_and_keeps_its_links(tmp_path):
    model, before = fitted(NMF), os.umask(0o027)
    try:
        model.save(tmp_path / "model.npz")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.npz").stat().st_mode) == 0o640
    (tmp_path / "link.npz").symlink_to(tmp_path / "model.npz")
    fitted(MiniBatchNMF).save(tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink() and type(load(tmp_path / "model.npz")) is MiniBatchNMF


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    model = fitted(NMF)
    with pytest.raises(OSError, match="folder .*nowhere does not exist"):
        model.save(tmp_path / "nowhere" / "model.npz")
    with pytest.raises(OSError, match="is a folder; give the path of a file"):
        model.save(tmp_path)


def test_the_same_model_gives_the_same_file(tmp_path):
    model = fitted(StratifiedNMF)
    for name in "ab":
        model.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
