"""Files of fastnmf that were altered and sealed again: every value left out or exchanged, every array in many ways.

Whoever can write a file can compute its checksum; so the checksum protects from accidents only.
"""

import copy
import io
import json
import os
import resource
import signal
import time
import warnings
import zipfile
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp

from fastnmf import load
from fastnmf.io import archive
from fastnmf.report import write_report


def npy(array):
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def opened(path):
    """Return the members of a file, and its facts as JSON."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    return parts, json.loads(np.load(io.BytesIO(parts.pop("facts.npy"))).tobytes())


def sealed(path, parts, facts=None, deflated=()):
    """Write such a file, with a right checksum; return its path."""
    out = io.BytesIO()
    if facts is not None:
        parts = parts | {"facts.npy": npy(np.frombuffer(json.dumps(facts).encode(), np.uint8))}
    with zipfile.ZipFile(out, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content, zipfile.ZIP_DEFLATED if name in deflated else zipfile.ZIP_STORED)
        file.comment = archive._SEAL + b"0" * archive._DIGITS
    content = out.getvalue()[: -archive._DIGITS]
    found = archive._hash()
    found.update(content)
    with open(path, "wb") as file:
        file.write(content + found.hexdigest().encode())
    return path


def places(node, at=()):
    """Return the paths to all values below a node of the facts."""
    found = []
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if key != "is":
            found.append((*at, key))
            if isinstance(value, (dict, list)):
                found += places(value, (*at, key))
    return found


OTHER = (
    None,
    "x",
    True,
    -5,
    3,
    1000,
    1e300,
    float("nan"),
    [],
    {"is": "list", "items": []},
    {"is": "dict", "items": []},
)


def other_facts(facts):
    """Yield (what, facts) with each value left out, and exchanged for each of OTHER."""
    for place in places(facts["values"]):
        for new in ("left out", *OTHER):
            changed = copy.deepcopy(facts)
            node = changed["values"]
            for key in place[:-1]:
                node = node[key]
            if isinstance(new, str) and new == "left out":
                del node[place[-1]]
            else:
                node[place[-1]] = new
            yield f"{'/'.join(map(str, place))} {new!r}", changed


def other_arrays(array):
    """Yield (what, array) for one array."""
    yield "text", np.full(array.shape, "x")
    yield "complex", np.full(array.shape, 1j)
    yield "another size", np.zeros((2, 0))
    yield "a dimension more", array[None]
    if array.dtype.kind in "iuf":
        yield "-1 - it", ~array if array.dtype.kind == "u" else -1 - array
        yield "much larger", array + (100 if array.dtype == np.uint8 else 10**6)
    if array.dtype.kind == "f":
        yield "NaN", array * np.nan
        yield "infinity", array + np.inf
        yield "float16", array.astype(np.float16)
    if array.ndim:
        yield "short", array[: len(array) // 2]
        yield "long", np.concatenate([array, array])
        yield "empty", array[:0]
        yield (
            "first entry exchanged",
            np.concatenate([array[:1] * 0 - 7 if array.dtype.kind in "if" else array[-1:], array[1:]]),
        )
    if array.ndim == 2:
        yield "wide", np.repeat(array, 40, axis=1)
        yield "transposed", np.ascontiguousarray(array.T)


def alterations(path):
    """Yield (what, parts, facts) for each altered form of a file."""
    parts, facts = opened(path)
    for what, changed in other_facts(facts):
        yield what, parts, changed
    for name, content in parts.items():
        for what, array in other_arrays(np.load(io.BytesIO(content))):
            yield f"{name} {what}", parts | {name: npy(array)}, facts


def is_sane(found):
    """Tell whether what a method returned holds finite numbers only."""
    if isinstance(found, (list, tuple)):
        return all(map(is_sane, found))
    if sp.issparse(found):
        found = found.data
    return not isinstance(found, (np.ndarray, float)) or np.asarray(found).dtype.kind != "f" or np.isfinite(found).all()


def use(model, X, given, folder):
    """Call every method that reads a loaded model; return what is wrong, or an empty string.

    ValueError is right everywhere: a parameter may not suit the data. Any other error is not.
    """
    signed = any(name in type(model).__name__ for name in ("Semi", "Convex"))
    strata = {"strata": given["strata"]} if "strata" in given else {}
    calls = {
        "transform": lambda: model.transform(X, **strata),
        "score": lambda: model.score(X, **strata),
        "inverse_transform": lambda: model.inverse_transform(model.transform(X, **strata), **strata),
        "predict": lambda: model.predict(X),
        "top_features": lambda: model.top_features(3),
        "top_samples": lambda: model.top_samples(2),
        "as_start": lambda: model.as_start(),
        "get_feature_names_out": lambda: model.get_feature_names_out(),
        "write_report": lambda: write_report(model, f"{folder}/report.html"),
        "save": lambda: model.save(f"{folder}/again"),
        "repr": lambda: repr(model),
        "partial_fit": lambda: model.partial_fit(X, **strata),  # last: it changes the model
        "after partial_fit": lambda: model.transform(X, **strata) if hasattr(model, "partial_fit") else None,
    }
    for name, call in calls.items():
        if name not in ("write_report", "repr", "after partial_fit") and not hasattr(model, name):
            continue
        try:
            found = call()
        except ValueError:
            continue
        except Exception as error:
            return f"{name} raises {type(error).__name__} {error}"
        if name == "partial_fit":
            found = model.components_
        if not is_sane(found):
            return f"{name} returns numbers that are not finite"
        if name == "transform" and not (type(model).__name__ == "SemiNMF") and np.min(found) < 0:
            return "transform returns negative weights"
        if name in ("transform", "after partial_fit") and found is not None and len(found) != len(X) and not signed:
            return f"{name} returns {np.shape(found)}"
    return ""


@contextmanager
def no_more_memory_than(path):
    """Allow the block as much memory as a file may take: ten times its size, and 50 MB."""
    if not os.path.exists("/proc/self/statm"):
        yield
        return
    now, before = int(open("/proc/self/statm").read().split()[0]), resource.getrlimit(resource.RLIMIT_AS)
    most = now * resource.getpagesize() + 10 * os.path.getsize(path) + (50 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def tried(cases, X, given, folder):
    """Load each altered file in a process of its own, and use what loads; return (what went wrong, how many loaded)."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            warnings.simplefilter("ignore")
            with os.fdopen(write, "w") as out:
                for what, parts, facts in cases:
                    signal.alarm(20)
                    print("?", what, file=out, flush=True)
                    path = f"{folder}/altered"
                    sealed(path, parts, facts)
                    began = time.perf_counter()
                    try:
                        with no_more_memory_than(path):
                            model = load(path)
                    except ValueError as error:
                        said = str(error)
                        if "\n" in said or not said.isprintable() or len(said) > 400 or said[-1] != ".":
                            print("!", what, "no sentence:", repr(said), file=out, flush=True)
                        continue
                    except BaseException as error:
                        print(
                            "!",
                            what,
                            "load raises",
                            type(error).__name__,
                            " ".join(str(error).split()),
                            file=out,
                            flush=True,
                        )
                        continue
                    finally:
                        if time.perf_counter() - began > 5:
                            print("!", what, "load takes more than 5 seconds", file=out, flush=True)
                    print("+", what, file=out, flush=True)
                    if wrong := use(model, X, given, folder):
                        print("!", what, "loaded;", " ".join(wrong.split()), file=out, flush=True)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as lines:
        said = lines.read().splitlines()
    status = os.waitpid(pid, 0)[1]
    wrong = [line[2:] for line in said if line.startswith("! ")]
    if status:
        wrong.append(f"{said[-1][2:] if said else ''}: killed by {signal.Signals(os.WTERMSIG(status)).name}")
    return wrong, sum(line.startswith("+ ") for line in said)
