"""Write a file completely or not at all: the only place that replaces files of the user.

A new file is written beside its target, is brought to the disk, and then takes the target's place in one step. On Linux
it has no name until it is complete, so that a process that is killed leaves nothing behind.
"""

import errno
import hashlib
import os
import re
import secrets
import stat
from contextlib import contextmanager
from pathlib import Path

from fastnmf.data.sentences import shown

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LONGEST_NAME = 200  # bytes; the temporary file of a longer name is named after a checksum of it


@contextmanager
def replacing(path):
    """Yield a new binary file, open for reading and writing, that replaces `path` when the block ends without an error.

    Symbolic links are followed, and the permissions of an existing file are kept; those of a new one follow the umask.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    OSError
        `path` is a folder, a pipe or a device, its folder does not exist, or it cannot be written; where the disk is
        full, the error names `path`.
    """
    target = _target(path)
    before = target.stat() if target.exists() else None
    temporary = target.with_name(f".{_stem(target)}.{secrets.token_hex(4)}.tmp")
    try:
        with _new_file(temporary) as (file, name_it):
            yield file
            file.flush()
            if before is not None:
                _keep_permissions(file.fileno(), before)
            os.fsync(file.fileno())
            name_it()
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None:
            error.filename = str(target)  # of a write, which does not tell
        raise
    _sync_folder(target.parent)


def check_writable(path, inputs=()):
    """Raise if no file can be written at `path`; remove temporary files of interrupted writes to it.

    Parameters
    ----------
    path : str or path
    inputs : iterable of path or None
        Files that are read and must not be replaced.

    Raises
    ------
    OSError
        As for `replacing`.
    ValueError
        `path` is one of `inputs`.
    """
    target = _target(path)
    for given in inputs:
        if given is not None and os.path.exists(given) and os.path.exists(target) and os.path.samefile(given, target):
            raise ValueError(f"{path} is both the input and the output; give a different path for the output.")
    temporary = target.with_name(f".{_stem(target)}.{secrets.token_hex(4)}.tmp")
    try:
        with _new_file(temporary):
            pass
    finally:
        temporary.unlink(missing_ok=True)
    ours = re.compile(rf"\.{re.escape(_stem(target))}\.[0-9a-f]{{8}}\.tmp")
    for left in target.parent.iterdir():
        if ours.fullmatch(left.name):
            left.unlink(missing_ok=True)


def as_path(path):
    """Return a `Path`, or raise TypeError or ValueError; a number would be a file that the process has open."""
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"The path is {shown(path)}; expected a string or a Path.")
    if "\0" in os.fspath(path):
        raise ValueError(f"The path {shown(path)} contains a null character, which file names cannot have; remove it.")
    if not os.fspath(path):
        raise ValueError("The path is empty; give the path of a file or a folder.")
    return Path(path)


def _target(path):
    """Return the file that `path` leads to, after checking that a file may be there."""
    target = Path(os.path.realpath(as_path(path)))
    try:
        found = os.stat(target)
    except (FileNotFoundError, NotADirectoryError):
        found = None
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"{target} is a folder; give the path of a file.")
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise OSError(f"{target} is a pipe, a device or a socket, and would be replaced by a file; give another path.")
    if found is not None and not os.access(target, os.W_OK):
        raise PermissionError(f"{target} is write-protected; change its permissions, or give another path.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"The folder {target.parent} does not exist; create it, or give another path.")
    return target


def _stem(target):
    name = os.fsencode(target.name)
    return target.name if len(name) <= _LONGEST_NAME else hashlib.sha256(name).hexdigest()


@contextmanager
def _new_file(path):
    """Yield a new file, and a function that gives it the name `path`; it has that name already where it needs one."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        try:
            handle = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                raise
        else:
            with os.fdopen(handle, "wb+") as file:
                # `src_dir_fd`, which an absolute path ignores, makes Python call linkat, which alone follows this link
                yield file, lambda: os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle)
            return
    with open(path, "xb+") as file:
        yield file, lambda: None


def _keep_permissions(handle, before):
    if hasattr(os, "fchown"):
        now = os.fstat(handle)
        if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
            try:
                os.fchown(handle, before.st_uid, before.st_gid)
            except OSError:  # only the superuser may give files away
                pass
    if hasattr(os, "fchmod"):
        os.fchmod(handle, stat.S_IMODE(before.st_mode))


def _sync_folder(folder):
    """Write the entries of a folder to the disk, so that a new name survives a power failure, if the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:  # some file systems do not support this for folders
        pass
    finally:
        os.close(handle)
