"""Fetch what scikit-learn's fetchers bring, and keep the matrices that were made of it."""

import contextlib
import http.client
import io
import os
import socket
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
from scipy import sparse

_CACHE_FORMAT = 1
_HOST_SECONDS = 6.0
_STALL_SECONDS = 15.0


def data_home_folder(data_home):
    """Return the folder that scikit-learn would use, without creating it."""
    home = data_home if data_home is not None else os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")
    return Path(home).expanduser().absolute()


def fetch(fetcher, what, data_home, download_if_missing, **options):
    """Call a fetcher of scikit-learn; one OSError, soon, where the data cannot be had."""
    home = data_home_folder(data_home)
    missing = f"The {what} data are not in the data home {str(home)!r}"
    advice = "set SCIKIT_LEARN_DATA to a folder that has them"
    try:
        # Of a broken file the fetchers print a report before they download it anew.
        with contextlib.redirect_stdout(io.StringIO()):
            return fetcher(data_home=str(home), download_if_missing=False, **options)
    except OSError as error:
        if not download_if_missing:
            raise OSError(f"{missing} and downloading is switched off; {advice}.") from error
    except Exception as error:
        raise OSError(f"The {what} file in {str(home)!r} cannot be read ({error}); delete it.") from error
    archive = getattr(sys.modules[fetcher.__module__], "ARCHIVE", None)
    if archive is not None and not host_answers(archive.url):
        raise OSError(f"{missing} and the download host does not answer; {advice}.")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALL_SECONDS)
    try:
        return fetcher(data_home=str(home), download_if_missing=True, n_retries=0, **options)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(f"{missing} and could not be downloaded ({error}); {advice}.") from error
    finally:
        socket.setdefaulttimeout(before)


def host_answers(url):
    """Say within a few seconds whether a download can be tried at all.

    A socket timeout does not bound the name look-up, which can hang for a minute where there is no network:
    so the question is asked in a thread that nobody waits for longer.
    """
    answered = []

    def ask():
        request = urllib.request.Request(url, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=_HOST_SECONDS - 1).close()
        except urllib.error.HTTPError:
            pass  # it refuses this page, but it is there
        except (OSError, http.client.HTTPException):
            return
        answered.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_HOST_SECONDS)
    return bool(answered)


def version_key():
    """Return what a kept matrix depends on besides its source."""
    import sklearn

    return f"format {_CACHE_FORMAT}, scikit-learn {sklearn.__version__}"


def user_cache():
    """Return the folder for what we keep outside data homes."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastnmf"


def cached(build, places, key, use_cache):
    """Return (data, strata, names) from the first good file of `places`, else build and keep them."""
    if use_cache:
        for path in places:
            # Missing, truncated, foreign, of another version: all the same, it is built anew.
            with contextlib.suppress(Exception):
                return _read_cache(path, key)
    corpus = build()
    if use_cache:
        for path in places:
            with contextlib.suppress(OSError):
                _write_cache(path, key, *corpus)
                break
    return corpus


def _read_cache(path, key):
    """Return (data, strata, names) from a file; raise anything if it is not exactly that."""
    with np.load(path, allow_pickle=False) as arrays:
        if str(arrays["key"]) != key:
            raise ValueError("another version")
        parts = arrays["data"], arrays["indices"], arrays["indptr"]
        labels, codes = arrays["labels"], arrays["codes"]
        # One block of bytes: an array of unicode would pad every word to the longest.
        names = np.array(arrays["names"].tobytes().decode().split("\n"), dtype=object)
    data = sparse.csr_array(parts, shape=(codes.size, names.size))
    data.check_format()
    return data, labels[codes], names


def _write_cache(path, key, data, strata, names):
    """Write (data, strata, names) to a file, all or nothing; OSError where that is not possible."""
    folder = path.parent
    home = folder.parent
    # Root may write to a folder marked read-only; it was marked so on purpose.
    if home.exists() and not home.stat().st_mode & 0o222:
        raise PermissionError(f"{home} is read-only")
    folder.mkdir(parents=True, exist_ok=True)
    labels, codes = np.unique(strata, return_inverse=True)
    words = np.frombuffer("\n".join(names).encode(), dtype=np.uint8)
    part = folder / f"{path.name}.{os.getpid()}.{threading.get_ident()}.part"
    try:
        with open(part, "wb") as file:
            np.savez(
                file,
                key=np.array(key),
                data=data.data,
                indices=data.indices,
                indptr=data.indptr,
                labels=labels,
                codes=codes.astype(np.int32),
                names=words,
            )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
