"""Open the files that users bring: their endings, compression and encodings, and packages that may be missing."""

import errno
import gzip
import importlib
import os
import zlib
from contextlib import contextmanager

from fastnmf.data.sentences import cut, nearest, shown
from fastnmf.data.writing import as_path

_LONGEST = 200  # characters of what another package says
_ROOM = 50 << 20  # bytes that any file may take, however small it is


def input_path(path):
    """Return the `Path` of a file or folder that is there; raise FileNotFoundError, or ValueError for a pipe."""
    path = as_path(path)
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if not (path.is_file() or path.is_dir()):  # reading a pipe a second time would block
        raise ValueError(f"{path} is neither a file nor a folder; write its contents to a file, and give its path.")
    return path


def ending(path):
    """Return the ending of a path in lower case, such as ".csv", or ".csv.gz" for a compressed file."""
    *_, first, last = ("", "", *path.name.lower().split("."))
    return f".{first}.gz" if last == "gz" else f".{last}" if first or "." in path.name else ""


def package(name, extra, path):
    """Import an optional package, or a module of one, and return it.

    Raises
    ------
    ModuleNotFoundError
        It is not installed; the sentence has the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        top = name.split(".")[0]
        if error.name is None or error.name.split(".")[0] != top:
            raise
        raise ModuleNotFoundError(
            f"Reading {path} needs {top}, which is not installed: pip install fastnmf[{extra}].", name=top
        ) from None


def known_name(name, known, what):
    """Return `name` if it is one of `known`; raise ValueError that says what it may be.

    Parameters
    ----------
    name : str
    known : sequence of str
    what : str
        What the names are, for the message: "column of posts.csv".
    """
    if isinstance(name, str) and name in known:
        return name
    close = nearest(name, known)
    listed = ", ".join(map(repr, known[:8])) + (" ..." if len(known) > 8 else "")
    hint = f"did you mean {close!r}?" if close else "give one of them."
    raise ValueError(f"{shown(name)} is not a {what} (available: {listed or 'none'}); {hint}")


@contextmanager
def one_sentence(path, what, remedy="; write it again"):
    """Turn what other packages raise in the block into one sentence; our own sentences name the file, and pass.

    Parameters
    ----------
    path : path
        The file that is read.
    what : str
        What it is read as, for the message: "HDF5".
    remedy : str, default="; write it again"
        End of the sentence.

    Raises
    ------
    ValueError
        The file is damaged, in whatever way.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError, MemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if isinstance(error, (ValueError, TypeError)) and str(path) in said:
            raise
        raise ValueError(f"{path} cannot be read as {what} ({cut(said, _LONGEST)}){remedy}.") from error


def check_declared(path, n_bytes, n_stored, ratio=1):
    """Raise ValueError where a header declares more bytes than the stored ones can hold, before memory is taken.

    Parameters
    ----------
    path : path
    n_bytes : int
        What the header declares.
    n_stored : int
        Bytes of the file, or of this part of it.
    ratio : int, default=1
        How many bytes a stored one may become.
    """
    if n_bytes > _ROOM + ratio * n_stored:
        raise ValueError(
            f"{path} declares {n_bytes:,} bytes of data but holds {n_stored:,}; it is damaged: write it again."
        )


def check_n_rows(path, n_rows):
    """Raise ValueError for a number of rows that cannot be right for the size of a file: each takes memory."""
    check_declared(path, 8 * n_rows, os.path.getsize(path) if os.path.isfile(path) else 0, 1024)


@contextmanager
def open_text(path, encoding=None):
    """Yield a text file, compressed or not; errors in reading it, also in the block, become one sentence.

    Parameters
    ----------
    path : Path
    encoding : str, default=None
        UTF-8, with or without a byte order mark.

    Raises
    ------
    ValueError
        The bytes are not of this encoding, there is no such encoding, or a .gz is not compressed, or damaged.
    """
    is_compressed = path.name.lower().endswith(".gz")
    if encoding is not None and not (isinstance(encoding, str) and encoding.isprintable()):
        raise TypeError(f"encoding={shown(encoding)} is not valid; expected the name of one, such as 'latin-1'.")
    try:
        with open_binary(path) as binary:
            begin = binary.peek(2)[:2]
            if begin == b"\x1f\x8b" and not is_compressed:
                raise ValueError(f"{path} is compressed with gzip; rename it to end in .gz.")
        with (gzip.open if is_compressed else open)(path, "rt", encoding=encoding or "utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(_not_decoded(path, encoding, error, begin)) from None
    except UnicodeError as error:  # of encodings that are no code of single characters
        raise ValueError(f"{path} is not a text file in {encoding} ({error}); pass its encoding.") from None
    except LookupError as error:
        if "encoding" not in str(error):
            raise
        raise ValueError(
            f"encoding={shown(encoding)} is not an encoding that Python knows; give one such as 'latin-1'."
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        said = str(error).rstrip(".")
        raise ValueError(f"{path} ends in .gz and is not a whole gzip file ({said}); compress it again.") from None


def open_binary(path):
    """Open the bytes of a file; of one that ends in .gz, those that it expands to."""
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb")


def _not_decoded(path, encoding, error, begin):
    """Return the sentence for bytes that are not of an encoding: the first of them, its line and the remedy.

    Parameters
    ----------
    path : Path
    encoding : str or None
    error : UnicodeDecodeError
    begin : bytes
        The first two of the file.
    """
    byte, where = error.object[error.start], ""
    if encoding is None:
        with open_binary(path) as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as found:
                    byte, where = line[found.start], f" in line {number}"
                    break
    other = "'utf-16'" if begin in (b"\xff\xfe", b"\xfe\xff") else "'latin-1' or 'cp1252'"
    return (
        f"{path} is not a text file in {encoding or 'UTF-8'}: the byte 0x{byte:02x}{where} is invalid; pass its "
        f"encoding, such as encoding={other}."
    )
