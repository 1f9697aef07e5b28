"""Altered files: a broken seal is refused; a new seal gives a refusal in one sentence or a model that works.

FASTNMF_ALTERED=2000 tries as many over ten kinds of models, and others of checkpoints and folders (``make fuzz``).
"""

import json
import os
import subprocess
import sys

import altered
import numpy as np
import pytest
from estimators import CASES

import fastnmf
from fastnmf.io import archive

SOME = ("NMF-kl", "StratifiedNMF", "MiniBatchStratifiedNMF", "HierarchicalNMF", "SemiSupervisedNMF", "KernelNMF")
SOME += ("BilinearNMF", "TriNMF", "ConvolutiveNMF", "DeepNMF")
N_CASES = max(15, int(os.environ.get("FASTNMF_ALTERED", "0")) // len(SOME))  # of each kind


def fitted(name):
    case = next(case for case in CASES if str(case) == name)
    X = case.draw()
    return case.make(max_iter=2).fit(X, **case.given(X)), X, case.given(X)


def some_of(cases, name):
    """Return `N_CASES` of the cases."""
    chosen = np.random.default_rng(sum(map(ord, name))).choice(len(cases), min(N_CASES, len(cases)), replace=False)
    return [cases[i] for i in chosen]


@pytest.mark.parametrize("name", SOME)
@pytest.mark.filterwarnings("ignore")
def test_a_resealed_file_is_refused_or_a_model_that_works(name, tmp_path):
    model, X, given = fitted(name)
    model.save(tmp_path / "model")
    cases = list(altered.alterations(tmp_path / "model"))
    chosen = some_of(cases, name)
    wrong, n_loaded = altered.tried([("nothing", *altered.opened(tmp_path / "model")), *chosen], X, given, tmp_path)
    print(f"{len(chosen)} altered files of {name}: {n_loaded - 1} loaded")
    assert wrong == [] and n_loaded >= 1  # at least the file that was not altered


@pytest.mark.parametrize("name", SOME[:3])
@pytest.mark.filterwarnings("ignore")
def test_a_broken_seal_is_refused(name, tmp_path):
    model, _, _ = fitted(name)
    model.save(tmp_path / "model")
    whole, rng = (tmp_path / "model").read_bytes(), np.random.default_rng(0)
    for _ in range(max(40, N_CASES)):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        (tmp_path / "model").write_bytes(changed)
        with pytest.raises(ValueError, match="damaged|not a model file"):
            fastnmf.load(tmp_path / "model")


# ---------------------------------------------------------------- memory

LOAD = """
import resource, sys, time, fastnmf
fastnmf.load(sys.argv[1])
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (48 << 20),) * 2)
for path in sys.argv[2:]:
    began = time.perf_counter()
    try: said = f"loaded {type(fastnmf.load(path)).__name__}"
    except ValueError as error: said = f"refused {error}"
    except BaseException as error: said = f"{type(error).__name__} {error}"
    print(said if time.perf_counter() - began < 5 else "slow", flush=True)
"""


def header(shape, kind="<f8"):
    return (
        altered.npy(np.zeros(0))[:10]
        + repr({"descr": kind, "fortran_order": False, "shape": shape}).ljust(117).encode()
        + b"\n"
    )


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs the memory of a process, as Linux tells it")
def test_no_file_takes_more_memory_than_its_size_allows(tmp_path):
    model = fastnmf.StratifiedNMF(2, random_state=0, max_iter=2).fit(np.eye(6), strata=list("ababab"))
    model.save(tmp_path / "good")
    parts, facts = altered.opened(tmp_path / "good")
    W = facts["values"]["W_"]["at"] + ".npy"
    strata = facts["values"]["strata_"]["at"] + ".npy"
    zeros, text = altered.npy(np.zeros(1 << 22)), altered.npy(np.full(1 << 18, "ab" * 16))
    empty = altered.npy(np.full(1 << 20, "", "U1"))
    objects = facts | {"values": facts["values"] | {"strata_": {"is": "objects", "at": "strata_"}}}
    many = facts | {"values": facts["values"] | {"x_": {"is": "list", "items": [{"is": "array", "at": "W_"}] * 9}}}
    lists = facts | {"values": facts["values"] | {"x_": {"is": "list", "items": [{}] * 700_000}}}
    whole = altered.npy(np.frombuffer(b'{"format": 2, "kind": "model", "values": [' + b"[]," * (1 << 22), np.uint8))
    files = {
        "zeros": (parts | {W: zeros}, facts, (W,)),
        "text": (parts | {strata: text}, facts, (strata,)),
        "objects": (parts | {strata: empty}, objects, (strata,)),
        "header": (parts | {W: header((10**12,)) + b"0" * 64}, facts, ()),
        "header of text": (parts | {strata: header((10**9,), "<U100") + b"0" * 64}, facts, (strata,)),
        "nothing, often": (parts | {W: header((10**15,), "<U0")}, facts, ()),
        "overflow": (parts | {W: header((2**32, 2**32), "<f8")}, facts, ()),
        "facts": (parts | {"facts.npy": whole}, None, ("facts.npy",)),
        "long facts": (parts, lists, ()),
        "twice": (parts, many, ()),
        "deep": (parts | {"facts.npy": altered.npy(np.frombuffer(b"[" * 10**6, np.uint8))}, None, ()),
        "members": (parts | {f"{i}.npy": b"" for i in range(41_000)}, facts, ()),
    }
    paths = [altered.sealed(tmp_path / name, *content) for name, content in files.items()]
    run = [sys.executable, "-W", "ignore", "-c", LOAD, tmp_path / "good", tmp_path / "good", *paths]
    said = subprocess.run(run, capture_output=True, text=True).stdout.splitlines()
    assert said[0] == "loaded StratifiedNMF" and len(said) == len(files) + 1
    assert [line for line in said[1:] if not line.startswith("refused")] == []


def test_what_write_writes_can_be_read(tmp_path):
    """Text that is compressed well and text that is long; few bytes for each object, and many objects."""
    values = {
        "long": np.array(["a" * 20_000, "b"] * 200),
        "many": np.array([f"gene {i}" for i in range(300_000)], dtype=object),
        "numbers": np.zeros(300_000),
        "small": np.arange(5, dtype=object),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big-endian": np.arange(3, dtype=">f8"),
        "none": np.zeros((0, 3)),
    }
    archive.write(tmp_path / "x", "test", values)
    found = archive.read(tmp_path / "x", "test")
    for name, array in values.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype.isnative
    with pytest.raises(ValueError, match="too many for a file; pass long lists as arrays"):
        archive.write(tmp_path / "x", "test", {"long": [1] * 10**6})


@pytest.mark.parametrize("bits, place", [("MT19937", ("state", "pos")), ("Philox", ("buffer_pos",))])
@pytest.mark.parametrize("value", [-1, 10**6, 2.5, None])
def test_states_of_random_numbers_point_into_their_buffers(bits, place, value, tmp_path):
    archive.write(tmp_path / "x", "test", {"seed": np.random.Generator(getattr(np.random, bits)(0))})
    parts, facts = altered.opened(tmp_path / "x")
    node = facts["values"]["seed"]["state"]
    for name in place:
        items, last = node["items"], node
        at = next(i for i, (key, _) in enumerate(items) if key == name)
        node = items[at][1]
    last["items"][at][1] = value
    with pytest.raises(ValueError, match="place outside a state of random numbers"):
        archive.read(altered.sealed(tmp_path / "y", parts, facts), "test")


def test_nothing_of_a_file_reaches_the_terminal_as_an_escape(tmp_path):
    model, X, _ = fitted("StratifiedNMF")
    model.save(tmp_path / "good")
    parts, facts = altered.opened(tmp_path / "good")
    evil = "\x1b[31mred\x07\u202e\x9b\n" * 3
    changes = {
        "kind": facts | {"kind": evil},
        "version": facts | {"format": 99, "fastnmf": evil},
        "class": facts | {"values": facts["values"] | {"class": evil}},
        "name": facts | {"values": facts["values"] | {"n_iter_": {"is": "array", "at": evil}}},
        "value": facts | {"values": facts["values"] | {"n_iter_": {"is": evil}}},
        "stopped": facts | {"values": facts["values"] | {"stopped_by_": evil}},
    }
    for name, changed in changes.items():
        with pytest.raises(ValueError) as error:
            fastnmf.load(altered.sealed(tmp_path / name, parts, changed))
        assert str(error.value).isprintable(), name


# ---------------------------------------------------------------- checkpoints

CHECKPOINTS = ("StratifiedNMF", "NMF-kl", "MiniBatchStratifiedNMF", "HierarchicalNMF", "SemiNMF", "BinaryNMF")
CHECKPOINTS += ("UnderapproximationNMF", "TriNMF", "RobustNMF", "DistributionallyRobustNMF")


def gone_on(case, X, path):
    """Return the factors of a fit that continues from a checkpoint, or None where this is refused in a sentence."""
    try:
        model = case.make(max_iter=4).fit(X, checkpoint=path, **case.given(X))
    except ValueError as error:
        said = str(error)
        assert said.isprintable() and str(path) in said and ("elete" in said or "again" in said), said
        return None
    found = {name: value for name, value in vars(model).items() if name in ("W_", "components_", "shifts_")}
    for name, value in found.items():
        for array in value if isinstance(value, list) else [value]:
            assert np.isfinite(array).all() and (array.min() >= 0 or case.kind == "SemiNMF"), name
    return found


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.filterwarnings("ignore")
def test_a_resealed_checkpoint_is_refused_or_gone_on_from(name, tmp_path):
    case = next(case for case in CASES if str(case) == name)
    X, path = case.draw(), tmp_path / "state"
    begun = case.make(max_iter=4, callback=lambda state: state.iteration >= 2)
    begun.fit(X, checkpoint=path, checkpoint_every=1e9, **case.given(X))
    good = path.read_bytes()
    whole = gone_on(case, X, path)
    assert whole is not None
    path.write_bytes(good)
    parts, facts = altered.opened(path)
    cases = list(altered.alterations(path))
    n_refused = 0
    for what, *changed in some_of(cases, name):
        altered.sealed(path, *changed)
        try:
            n_refused += gone_on(case, X, path) is None
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__} {error}") from error
    altered.sealed(path, parts, facts)
    again = gone_on(case, X, path)
    assert n_refused > 0
    for key, value in whole.items():
        np.testing.assert_equal(again[key], value)


@pytest.mark.parametrize("part", ["gram", "sums"])
@pytest.mark.filterwarnings("ignore")
def test_what_a_batch_contributed_is_a_number_or_an_array(part, tmp_path):
    case = next(case for case in CASES if str(case) == "MiniBatchStratifiedNMF")
    X, path = case.draw(), tmp_path / "state"
    case.make(callback=lambda state: True).fit(X, checkpoint=path, checkpoint_every=1e9, **case.given(X))
    parts, facts = altered.opened(path)
    kept = json.dumps(facts).replace(json.dumps({"is": "array", "at": f"state.batches.0.{part}"}), "null")
    altered.sealed(path, parts, json.loads(kept))
    assert gone_on(case, X, path) is None


# ---------------------------------------------------------------- folders of CSR


def read_all(folder):
    """Return the rows of a folder, and components learned from them; None where it is refused in a sentence."""
    try:
        X = fastnmf.open_csr(folder)
        rows = list(X.blocks(5))
        if X.shape[1] > 1000:  # a matrix of other columns, which may be many
            return rows
        model = fastnmf.MiniBatchNMF(2, random_state=0, init="random").fit_blocks(X.blocks(5))
    except ValueError as error:
        said = str(error)
        assert said.isprintable() and "\n" not in said and said[-1] == ".", said
        return None
    assert np.isfinite(model.components_).all() and model.components_.min() >= 0
    assert sum(block.shape[0] for block in rows) == X.shape[0] and model.components_.shape == (2, X.shape[1])
    return rows


@pytest.mark.parametrize("index_type", ["int32", "int64"])
@pytest.mark.filterwarnings("ignore")
def test_an_altered_folder_is_refused_or_read(index_type, tmp_path):
    X = np.random.default_rng(0).poisson(1.0, (12, 6)).astype(float)
    fastnmf.save_csr(X, tmp_path / "X")
    whole = {path.name: path.read_bytes() for path in (tmp_path / "X").iterdir()}
    arrays = {name: np.load(tmp_path / "X" / name) for name in whole}
    arrays["indices.npy"] = arrays["indices.npy"].astype(index_type)
    whole = {name: altered.npy(array) for name, array in arrays.items()}
    cases = [
        (f"{name} {what}", name, altered.npy(array))
        for name in whole
        for what, array in altered.other_arrays(arrays[name])
    ]
    rng = np.random.default_rng(0)
    for name, content in whole.items():
        cases += [(f"{name} left out", name, None), (f"{name} cut", name, content[: len(content) // 2])]
        for place in rng.integers(len(content), size=N_CASES // 2):
            changed = bytearray(content)
            changed[place] ^= 1 << rng.integers(8)
            cases.append((f"{name}, a bit of byte {place}", name, bytes(changed)))
    n_refused = 0
    for what, name, content in [("nothing", "data.npy", whole["data.npy"]), *cases]:
        for part, good in whole.items():
            (tmp_path / "X" / part).write_bytes(good)
        if content is None:
            (tmp_path / "X" / name).unlink()
        else:
            (tmp_path / "X" / name).write_bytes(content)
        try:
            n_refused += read_all(tmp_path / "X") is None
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__} {error}") from error
        assert what != "nothing" or not n_refused
    print(f"{len(cases)} altered folders: {n_refused} refused")
    assert n_refused > 10
