"""Call scikit-learn's fetchers, and cache the matrices that are computed from their data."""

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
    """Call a fetcher of scikit-learn; raise OSError within a bounded time if the data are unavailable.

    Parameters
    ----------
    fetcher : callable
        ``fetcher(data_home=..., download_if_missing=..., n_retries=..., **options)``.
    what : str
        Name of the data, for the messages.
    data_home : str or path, or None
        As for `data_home_folder`.
    download_if_missing : bool
    **options
        Further arguments of the fetcher.

    Returns
    -------
    sklearn.utils.Bunch

    Raises
    ------
    OSError
        The data are not in the data home and cannot be downloaded, or a file cannot be read. Waiting is limited to 6 s
        for the host to answer and 15 s for each stalled read.
    """
    home = data_home_folder(data_home)
    missing = f"The {what} data are not in the data home {str(home)!r}"
    advice = "set SCIKIT_LEARN_DATA to a folder that has them"
    try:
        # The fetchers print a report about a broken file before they download it again.
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
    """Return within 6 seconds whether a host answers, so that a download can be tried.

    A socket timeout does not limit the name look-up, which can take a minute without a network. The request therefore
    runs in a daemon thread, which is abandoned after that time.
    """
    answered = []

    def ask():
        request = urllib.request.Request(url, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=_HOST_SECONDS - 1).close()
        except urllib.error.HTTPError:
            pass  # the host rejects this request, but it answers
        except (OSError, http.client.HTTPException):
            return
        answered.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_HOST_SECONDS)
    return bool(answered)


def version_key():
    """Return the versions that a cached matrix depends on besides its source."""
    import sklearn

    return f"format {_CACHE_FORMAT}, scikit-learn {sklearn.__version__}"


def user_cache():
    """Return the cache folder of this package outside data homes."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastnmf"


def cached(build, places, key, use_cache):
    """Return (data, strata, names) from the first valid file of `places`, or else build and cache them.

    Parameters
    ----------
    build : callable
        ``build()`` returns data (csr_array (n, m)), strata (n,) and names (m,) of str.
    places : sequence of Path
        Cache files, in the order in which they are tried.
    key : str
        Must be equal in a valid file.
    use_cache : bool
        False: always build, and write no file.

    Returns
    -------
    data, strata, names
        As `build` returns them.
    """
    if use_cache:
        for path in places:
            # If the file is missing, damaged or of another version, the data are built again.
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
    """Return (data, strata, names) from a cache file; any exception means that the file is not valid."""
    with np.load(path, allow_pickle=False) as arrays:
        if str(arrays["key"]) != key:
            raise ValueError("another version")
        parts = arrays["data"], arrays["indices"], arrays["indptr"]
        labels, label_index = arrays["labels"], arrays["codes"]
        # One block of bytes: a unicode array would pad every word to the length of the longest.
        names = np.array(arrays["names"].tobytes().decode().split("\n"), dtype=object)
    data = sparse.csr_array(parts, shape=(label_index.size, names.size))
    data.check_format()
    return data, labels[label_index], names


def _write_cache(path, key, data, strata, names):
    """Write (data, strata, names) to a cache file atomically; raise OSError if that is not possible.

    Parameters
    ----------
    path : Path
    key : str
        Stored in the file; see `cached`.
    data : csr_array (n, m)
    strata : ndarray (n,)
        Label of each row.
    names : ndarray (m,) of str
        Names of the columns, without line breaks.
    """
    folder = path.parent
    home = folder.parent
    # Root could write to a folder that is marked read-only; respect the mark.
    if home.exists() and not home.stat().st_mode & 0o222:
        raise PermissionError(f"{home} is read-only")
    folder.mkdir(parents=True, exist_ok=True)
    labels, label_index = np.unique(strata, return_inverse=True)
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
                codes=label_index.astype(np.int32),
                names=words,
            )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
