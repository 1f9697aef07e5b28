"""Write arrays and plain values to one .npz file without pickles, and read them after checking the file.

A file is written completely or not at all. It is an ordinary archive of .npy arrays, which ``numpy.load`` can read, and
ends with a checksum of everything before it. Truncated, changed and foreign files are rejected by this checksum before
any of their contents is interpreted. The array ``facts`` holds all values that are not arrays, as JSON that refers to
the arrays by name.
"""

import hashlib
import json
import math
import os
import zipfile

import numpy as np
import scipy.sparse as sp

import fastnmf
from fastnmf.data.matrix import check_indices, check_pointers
from fastnmf.data.writing import as_path, replacing
from fastnmf.io.migrate import upgrade

FORMAT = 2  # version of the contents of files; `fastnmf.io.migrate` translates older ones
_DIGITS = 64
_SEAL = b"fastnmf checksum "
_BLOCK = 1 << 22
# What reading may take, whatever the file promises: memory stays below 10 times its size plus 50 MB.
_TEXT_ROOM, _TEXT_PER_BYTE = 1 << 23, 4  # bytes of compressed text: so many, and so many for each byte of the file
_OBJECT_ROOM, _OBJECT_PER_BYTE, _OBJECT_COST = 24 << 20, 6, 64  # arrays of Python objects, bytes for each object
_FACTS_ROOM, _FACTS_PER_BYTE = 3 << 19, 0.25  # bytes of JSON, which become about 20 times as many
_MOST_MEMBERS = 20_000
_ENTRY = b"PK\1\2"  # begins each entry of the list of members
_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_STORABLE = "a file without pickles holds numbers, strings, dates, and arrays, lists and dicts of these"


def write(path, kind, values):
    """Write `values` to `path`. An existing file is replaced only when the new one is complete and on disk.

    Parameters
    ----------
    path : str or path
        See `fastnmf.data.writing.replacing`.
    kind : str
        Kind of the contents, such as "model"; `read` requires the same kind.
    values : dict
        Of None, numbers, strings, arrays, sparse arrays, dtypes, NumPy's random generators, and tuples, lists and dicts
        of these. Arrays of objects must hold strings alone, or numbers alone.

    Raises
    ------
    TypeError
        A value cannot be stored; the message gives its name.
    OSError
        The file cannot be written.
    """
    arrays = {}
    facts = {"format": FORMAT, "kind": kind, "fastnmf": fastnmf.__version__}
    facts["values"] = {name: _pack(value, name, arrays) for name, value in values.items()}
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    with replacing(path) as file:
        _write_archive(file, arrays)


def _write_archive(file, arrays):
    plain = sum(array.nbytes for array in arrays.values() if array.dtype.kind != "U")
    left = _TEXT_ROOM + _TEXT_PER_BYTE * plain  # what `read` takes
    if arrays["facts"].nbytes > _FACTS_ROOM + _FACTS_PER_BYTE * plain or len(arrays) > _MOST_MEMBERS:
        raise ValueError(
            f"The parameters have {len(arrays):,} parts and {arrays['facts'].nbytes:,} bytes of plain values, too many "
            "for a file; pass long lists as arrays."
        )
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            if array.dtype.kind == "U" and array.nbytes <= left:
                # 4 bytes for each character; all strings are as long as the longest
                entry.compress_type, left = zipfile.ZIP_DEFLATED, left - array.nbytes
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        archive.comment = _SEAL + b"0" * _DIGITS
    digest, _ = _digest_of_file(file)
    file.seek(-_DIGITS, os.SEEK_END)
    file.write(digest)


def _digest_of_file(file):
    """Return the checksum of a file without its last bytes, which hold it, and how often `_ENTRY` occurs (nearly)."""
    left = file.seek(0, os.SEEK_END) - _DIGITS
    file.seek(0)
    found, n_entries = _hash(), 0
    while left > 0:
        block = file.read(min(left, _BLOCK))
        if not block:
            break
        found.update(block)
        n_entries += block.count(_ENTRY)
        left -= len(block)
    return found.hexdigest().encode(), n_entries


def _hash():
    return hashlib.sha256()  # half the time of BLAKE2 on processors with SHA instructions


def read(path, kind):
    """Read a file that `write` wrote, and return its values as a dict.

    Parameters
    ----------
    path : str or path
    kind : str
        Kind of the contents that is expected, such as "model".

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file was not written by `write`, is damaged, is of another kind, or was written by a newer version.
    """
    path = as_path(path)
    if path.exists() and not path.is_file():  # a folder, or a pipe, on which reading would block
        raise ValueError(f"{path} is not a file; give the path of a {kind} file of fastnmf.")
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _DIGITS - len(_SEAL)))
        seal = file.read()
        if not seal.startswith(_SEAL) or len(seal) != len(_SEAL) + _DIGITS:
            raise ValueError(f"{path} is not a {kind} file of fastnmf, or its end is missing.")
        found, n_entries = _digest_of_file(file)
        if found != seal[len(_SEAL) :]:
            raise ValueError(f"{path} is damaged: its contents do not match its checksum.")
        try:
            if n_entries > 2 * _MOST_MEMBERS:  # before Python makes an object of each
                raise ValueError(f"{n_entries} members")
            return _parsed(file, size, path, kind)
        except _WrongFile as error:
            raise ValueError(str(error)) from None
        except MemoryError:
            raise
        except Exception as error:  # a file with a valid checksum that `write` did not write can raise anything
            raise not_of_fastnmf(path, kind, error) from error


def not_of_fastnmf(path, kind, error):
    """Return the ValueError for a file whose contents raised `error`, in one printable sentence."""
    said = printable(error).rstrip(".") or type(error).__name__
    said = said if len(said) <= 120 else f"{said[:117]}..."
    return ValueError(f"{path} is not a {kind} file of fastnmf, or is damaged ({said}).")


class _WrongFile(Exception):
    """Error for a file of fastnmf of another kind or of a newer format."""


class _Members:
    """The arrays of an archive; each is read once, and only if it is what `write` writes and fits into the file.

    Parameters
    ----------
    archive : zipfile.ZipFile
    size : int
        Size of the file in bytes.
    """

    def __init__(self, archive, size):
        self.archive, self.unread = archive, set(archive.namelist())
        self.size, self.text = size, _TEXT_ROOM + _TEXT_PER_BYTE * size
        self.objects, self.facts = _OBJECT_ROOM + _OBJECT_PER_BYTE * size, _FACTS_ROOM + _FACTS_PER_BYTE * size

    def __call__(self, name):
        """Return the array of this name."""
        if f"{name}.npy" not in self.unread:
            raise ValueError(f"it has no array {name}, or uses it twice")
        self.unread.remove(f"{name}.npy")
        entry = self.archive.getinfo(f"{name}.npy")
        with self.archive.open(entry) as member:
            # headers of format 1.0 are short; `write` needs no other
            if np.lib.format.read_magic(member) != (1, 0):
                raise ValueError(f"{name} has a different format")
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(member)
            count = math.prod(shape)
            is_plain = dtype.kind in "biufcSUmM" and dtype.names is None and dtype.subdtype is None
            if not is_plain or min(shape, default=0) < 0 or (dtype.itemsize == 0 and count):
                raise ValueError(f"{name} has the shape {shape} and the type {dtype}")
            if member.tell() + count * dtype.itemsize != entry.file_size:
                raise ValueError(f"{name} has a different length from what its shape {shape} says")
            self._take(name, entry, dtype.kind == "U")
            array = np.empty(count, dtype)
            content = memoryview(array.view(np.uint8)) if count else b""
            read = sum(member.readinto(content[lo : lo + _BLOCK]) for lo in range(0, len(content), _BLOCK))
            if read != len(content) or member.read(1):
                raise ValueError(f"{name} has a different length from what its shape {shape} says")
        array = array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)
        if (
            dtype.kind == "U"
            and array.size
            and array.view(np.dtype(np.uint32).newbyteorder(dtype.byteorder)).max() > 0x10FFFF
        ):
            raise ValueError(f"{name} holds numbers that are not characters")
        return array.astype(dtype.newbyteorder("="), copy=False)

    def _take(self, name, entry, is_text):
        """Count the bytes of a member; raise if there are more than the file can hold."""
        if is_text and entry.compress_type == zipfile.ZIP_DEFLATED:
            self.text -= entry.file_size
        elif entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise ValueError(f"{name} is compressed")
        else:
            self.size -= entry.file_size
        if name == "facts":
            self.facts -= entry.file_size
        if min(self.text, self.size, self.facts) < 0:
            raise ValueError(f"{name} is larger than the file can hold")

    def as_objects(self, name):
        """Return the array of this name as an array of Python objects."""
        array = self(name)
        self.objects -= array.nbytes + _OBJECT_COST * array.size
        if self.objects < 0:
            raise ValueError(f"{name} is larger than the file can hold")
        return array.astype(object)


def _parsed(file, size, path, kind):
    with zipfile.ZipFile(file) as archive:
        members = _Members(archive, size)
        facts = json.loads(members("facts").tobytes())
        if facts["format"] > FORMAT:
            raise _WrongFile(
                f"{path} was written by a newer fastnmf (version {_short(facts['fastnmf'])}, format "
                f"{_short(facts['format'])}; this is version {fastnmf.__version__}, format {FORMAT}); update fastnmf."
            )
        if facts["kind"] != kind:
            raise _WrongFile(
                f"{path} holds a {_short(facts['kind'])}, not a {kind}; give the path of a {kind} file of fastnmf."
            )
        values = {name: _unpack(value, members) for name, value in facts["values"].items()}
        return upgrade(kind, facts["format"], values)


def printable(value):
    """Return a value of a file as text for a message, without line breaks and characters that a terminal obeys."""
    return " ".join(str(value).split()).encode("unicode_escape").decode()


def _short(value):
    return printable(value)[:40]


def is_exported(kind):
    """Tell whether a class is one that fastnmf exports under its name."""
    return fastnmf._HOMES.get(kind.__name__) == kind.__module__


def digest(value, name="value"):
    """Return a checksum of a value that `write` can store, as a string of hexadecimal digits."""
    arrays, found = {}, _hash()
    found.update(json.dumps(_pack(value, name, arrays)).encode())
    for array in arrays.values():
        found.update(f"{array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
    return found.hexdigest()


def _pack(value, name, arrays):
    """Convert `value` to JSON types; its arrays are added to the dict `arrays`, under names that begin with `name`."""
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.generic):
        return _put("scalar", np.asarray(value), name, arrays)
    if isinstance(value, np.ndarray):
        return _pack_array(value, name, arrays)
    if sp.issparse(value):
        return _pack_sparse(value, name, arrays)
    if isinstance(value, (tuple, list)):
        items = [_pack(item, f"{name}.{place}", arrays) for place, item in enumerate(value)]
        return {"is": "tuple" if isinstance(value, tuple) else "list", "items": items}
    if isinstance(value, dict):
        items = []
        for place, (key, item) in enumerate(value.items()):
            under = f"{name}.{key if isinstance(key, str) and key.isidentifier() else place}"
            items.append([_pack(key, f"{under}.key", arrays), _pack(item, under, arrays)])
        return {"is": "dict", "items": items}
    if isinstance(value, np.dtype):
        return {"is": "dtype", "name": value.str}
    if isinstance(value, np.random.Generator):
        return {"is": "Generator", "state": _pack(value.bit_generator.state, name, arrays)}
    if isinstance(value, np.random.RandomState):
        return {"is": "RandomState", "state": _pack(value.get_state(legacy=False), name, arrays)}
    if hasattr(value, "__array__"):  # data frames and similar objects are read back as arrays
        return _pack_array(np.asarray(value), name, arrays)
    raise TypeError(f"{name} is of the type {type(value).__name__} and cannot be saved: {_STORABLE}.")


def _put(what, array, name, arrays):
    """Add an array to the dict `arrays`, and return the JSON object that refers to it.

    Parameters
    ----------
    what : {"array", "scalar", "objects"}
        How `_unpack` converts the array.
    array : ndarray
    name : str
        Name of the array; underscores are appended if it is taken.
    arrays : dict
        Changed in place.

    Returns
    -------
    dict
    """
    while name in arrays:
        name += "_"
    arrays[name] = array
    return {"is": what, "at": name}


def _pack_array(array, name, arrays):
    if array.dtype.kind in "biufcSUmM" and array.dtype.names is None:
        return _put("array", np.asarray(array), name, arrays)
    if array.dtype.kind == "T":  # NumPy's strings of variable length, which .npy files cannot hold
        return _put("array", array.astype(str), name, arrays)
    found = array.ravel().tolist() if array.dtype.kind == "O" else [array.dtype]
    kind = kind_of(found)
    if kind is None:
        raise TypeError(f"{name} holds {', '.join(types_of(found))} and cannot be saved: {_STORABLE}.")
    try:
        plain = np.array(found, dtype=kind).reshape(array.shape)
    except OverflowError:
        raise TypeError(f"{name} holds integers of more than 64 bits and cannot be saved; use text.") from None
    if plain.ravel().tolist() != found and not (kind is float and not all(map(math.isfinite, found))):
        raise TypeError(f"{name} holds a string that ends in a NUL character and cannot be saved; remove it.")
    return _put("objects", plain, name, arrays)


def kind_of(values):
    """Return the common type of all `values`: str, bool, int or float, or None if it is none of these."""
    for kind, also in ((str, ()), (bool, (np.bool_,)), (int, (np.integer,)), (float, (np.floating,))):
        if all(isinstance(value, (kind, *also)) and (kind is bool or type(value) is not bool) for value in values):
            return kind
    return None


def types_of(values):
    """Return the names of the types of `values`, sorted."""
    return sorted({type(value).__name__ for value in values})


def _pack_sparse(value, name, arrays):
    kept = value if value.format in ("csr", "csc") else value.tocsr()
    parts = {
        part: _put("array", getattr(kept, part), f"{name}.{part}", arrays) for part in ("data", "indices", "indptr")
    }
    is_array = isinstance(value, sp.sparray)
    return {"is": "sparse", "format": kept.format, "is_array": is_array, "shape": list(kept.shape), "parts": parts}


def _unpack(value, array):
    """Return the value that `_pack` converted; `array` are the `_Members`."""
    if isinstance(value, list):
        raise ValueError("a list that `write` does not write")
    if not isinstance(value, dict):
        return value
    what = value["is"]
    if what == "array":
        return array(value["at"])
    if what == "scalar":
        found = array(value["at"])
        if found.ndim:
            raise ValueError("an array in the place of a number")
        return found[()]
    if what == "objects":
        return array.as_objects(value["at"])
    if what in ("tuple", "list") and isinstance(value["items"], list):
        return {"tuple": tuple, "list": list}[what](_unpack(item, array) for item in value["items"])
    if what == "dict":
        return {_unpack(key, array): _unpack(item, array) for key, item in value["items"]}
    if what == "dtype":
        if not isinstance(value["name"], str):
            raise ValueError("a type without a name")
        return np.dtype(value["name"])
    if what == "sparse":
        kinds = {("csr", True): sp.csr_array, ("csc", True): sp.csc_array}
        kind = (kinds | {("csr", False): sp.csr_matrix, ("csc", False): sp.csc_matrix})[
            value["format"], value["is_array"]
        ]
        parts = (_unpack(value["parts"][part], array) for part in ("data", "indices", "indptr"))
        return as_checked(kind(tuple(parts), shape=tuple(value["shape"])))
    state = _unpack(value["state"], array)
    _check_places(state)
    if what == "RandomState":
        found = np.random.RandomState()  # noqa: NPY002 - the user's value had this type
        found.set_state(state)
        return found
    if what != "Generator" or state["bit_generator"] not in _BIT_GENERATORS:
        raise ValueError(f"a value of the kind {what!r}")
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)


def _check_places(state):
    """Raise if a state of random numbers points outside its buffer: NumPy does not look."""
    inner = state["state"] if isinstance(state.get("state"), dict) else {}
    for place, most in ((inner.get("pos", 0), 624), (state.get("buffer_pos", 0), 4)):
        if not isinstance(place, int) or not 0 <= place <= most:
            raise ValueError("a place outside a state of random numbers")


def as_checked(X):
    """Return a sparse matrix of a file after checking that its indices lie inside its shape."""
    check_pointers(X)
    check_indices(X)
    return X
