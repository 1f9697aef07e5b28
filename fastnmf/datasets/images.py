"""Load images: handwritten digits, and pieces of clothing in the same format."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Literal

import numpy as np

from fastnmf.datasets.contents import FashionData, ImageData
from fastnmf.datasets.fetch import data_home_folder, fetch
from fastnmf.typing import File

ARCHIVE = SimpleNamespace(url="https://api.openml.org")  # host that is tested before a download
_FILES = {"train": "train", "test": "t10k"}
_PLACES = {"MNIST": ("mnist", "mnist_784"), "Fashion-MNIST": ("fashion_mnist", "fashion-mnist")}  # folder, OpenML
_N_TRAIN = 60_000
_SIDE = 28
CLOTHING = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def load_mnist(
    subset: Literal["test", "train", "all"] = "test",
    *,
    strata: Sequence[Sequence[int]] | Mapping[str, Sequence[int]] | None = ((1, 2), (2, 3)),
    n_per_digit: int | None = 100,
    data_home: File = None,
    download_if_missing: bool = True,
) -> ImageData:
    """Load MNIST digits, one row for each image, in strata that have some digits in common.

    Parameters
    ----------
    subset : {"test", "train", "all"}, default="test"
        10,000 images, 60,000, or the training images followed by the test images.
    strata : sequence of sequences of int, or dict of name -> digits, default=((1, 2), (2, 3))
        Digits of each stratum. None: ten strata of one digit each.
    n_per_digit : int, default=100
        Images of each digit in each stratum: the i-th stratum (from 0) gets the images ``i * n_per_digit`` to
        ``(i + 1) * n_per_digit - 1`` of each of its digits, in the order of the file, so that no image is in two
        strata. With ``strata=None`` these are the first images of each digit. None: all images; those of a digit that
        is in several strata are divided between these in equal parts.
    data_home : str or path, default=None
        Folder whose subfolder ``mnist`` may contain the published files, ``train-images-idx3-ubyte``,
        ``train-labels-idx1-ubyte`` and the same with ``t10k``, with or without ``.gz``. None:
        ``$SCIKIT_LEARN_DATA``, else ``~/scikit_learn_data``.
    download_if_missing : bool, default=True
        If the files are missing, download ``mnist_784`` from OpenML through scikit-learn (15 MB), which stores it in
        the data home.

    Returns
    -------
    bunch : fastnmf.Readings
        `data`, float64 of shape (n_images, 784), grey values 0 to 255, sorted by stratum; `strata`, shape
        (n_images,), names such as ``"1+2"``, or digits with ``strata=None``; `target`, the digits; `image_shape`,
        (28, 28); `feature_names`; `stratum_names`, in the given order; `DESCR`.

    Raises
    ------
    ValueError
        The subset, the strata or a number is not as above, or a digit has too few images.
    OSError
        The images are missing and cannot be downloaded, or a file does not contain what its name says.

    Notes
    -----
    The default is the experiment of Chapman, Yaniv, Needell 2023, DOI 10.48550/arXiv.2311.10789, on test images;
    theirs are training images (``subset="train"``), so the losses differ.

    Examples
    --------
    >>> from fastnmf.datasets import load_mnist
    >>> load_mnist().data.shape  # doctest: +SKIP
    (400, 784)
    """
    _check_subset(subset)
    groups = _groups(strata)
    is_number = isinstance(n_per_digit, int | np.integer) and not isinstance(n_per_digit, bool)
    if n_per_digit is not None and not (is_number and n_per_digit >= 1):
        raise ValueError(f"n_per_digit must be None or an integer of at least 1; got {n_per_digit!r}.")
    images, digits = _read(subset, "MNIST", data_home_folder(data_home), download_if_missing)
    rows = _chosen(groups, digits, n_per_digit, strata is not None, subset)
    chosen = np.concatenate(rows)
    return ImageData(
        data=images[chosen].astype(np.float64),
        strata=np.repeat(np.array(list(groups)), [len(part) for part in rows]),
        target=digits[chosen].astype(np.int64),
        image_shape=(_SIDE, _SIDE),
        feature_names=pixel_names(_SIDE, _SIDE),
        stratum_names=np.array(list(groups)),
        DESCR=f"MNIST digits, subset {subset!r}; strata have these digits: {groups}.",
    )


def load_fashion_mnist(
    subset: Literal["test", "train", "all"] = "test", *, data_home: File = None, download_if_missing: bool = True
) -> FashionData:
    """Load Fashion-MNIST, small grey images of ten kinds of clothing, one row for each image.

    Parameters
    ----------
    subset : {"test", "train", "all"}, default="test"
        10,000 images, 60,000, or the training images followed by the test images, in the order of the files.
    data_home : str or path, default=None
        Folder whose subfolder ``fashion_mnist`` may contain the published files, ``train-images-idx3-ubyte``,
        ``train-labels-idx1-ubyte`` and the same with ``t10k``, with or without ``.gz``. None:
        ``$SCIKIT_LEARN_DATA``, else ``~/scikit_learn_data``.
    download_if_missing : bool, default=True
        If the files are missing, download ``Fashion-MNIST`` from OpenML through scikit-learn, which stores it in the
        data home.

    Returns
    -------
    bunch : fastnmf.Readings
        `data`, float64 of shape (n_images, 784), grey values 0 to 255; `target`, int64 of shape (n_images,), 0 to 9;
        `target_names`, the kinds of clothing; `strata`, the name of the kind of each image; `stratum_names`, the ten
        names; `image_shape`, (28, 28); `feature_names`; `DESCR`.

    Raises
    ------
    ValueError
        The subset is not as above.
    OSError
        The images are missing and cannot be downloaded, or a file does not contain what its name says.

    Notes
    -----
    H. Xiao, K. Rasul, R. Vollgraf 2017, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms, DOI 10.48550/arXiv.1708.07747.

    Examples
    --------
    >>> from fastnmf.datasets import load_fashion_mnist
    >>> load_fashion_mnist().data.shape  # doctest: +SKIP
    (10000, 784)
    """
    _check_subset(subset)
    images, kinds = _read(subset, "Fashion-MNIST", data_home_folder(data_home), download_if_missing)
    names = np.array(CLOTHING)
    return FashionData(
        data=images.astype(np.float64),
        strata=names[kinds],
        target=kinds.astype(np.int64),
        target_names=names,
        image_shape=(_SIDE, _SIDE),
        feature_names=pixel_names(_SIDE, _SIDE),
        stratum_names=names,
        DESCR=f"Fashion-MNIST, subset {subset!r}; strata are the ten kinds of clothing.",
    )


def pixel_names(height, width):
    """Return the names of the pixels of an image, row by row."""
    return np.array([f"pixel {i},{j}" for i in range(height) for j in range(width)], dtype=object)


def _check_subset(subset):
    if subset not in ("test", "train", "all"):
        raise ValueError(f"subset={subset!r} is not known; expected 'test', 'train' or 'all'.")


def _groups(strata):
    """Return a dict of stratum name -> tuple of digits."""
    if strata is None:
        return {digit: (digit,) for digit in range(10)}
    given = list(strata.items()) if isinstance(strata, Mapping) else [(None, group) for group in strata]
    found = {}
    for name, group in given:
        group = tuple(group) if np.iterable(group) and not isinstance(group, str) else ()
        if not group or len(set(group)) < len(group) or not set(group) <= set(range(10)):
            raise ValueError(
                f"strata must be groups of different digits 0 to 9, such as ((1, 2), (2, 3)), or None; got {strata!r}."
            )
        name = "+".join(map(str, group)) if name is None else name
        if name in found:
            raise ValueError(f"Two strata have the digits {name}; name them: strata={{'a': {group}, 'b': {group}}}.")
        found[name] = group
    if not found:
        raise ValueError("strata must have at least one group of digits, or be None; got none.")
    return found


def _chosen(groups, digits, n_per_digit, is_grouped, subset):
    """Return the row numbers of each stratum, sorted by digit.

    Parameters
    ----------
    groups : dict, stratum name -> tuple of int
        Digits of each stratum.
    digits : ndarray (n,) of int
        Digit of each image.
    n_per_digit : int, or None
        Images of each digit in a stratum; None: all.
    is_grouped : bool
        Whether the user gave strata; if not, each stratum takes the first images of its digit.
    subset : str
        For the message.

    Returns
    -------
    list of ndarray of int
    """
    of_digit = {d: np.flatnonzero(digits == d) for d in range(10)}
    shared = {d: [name for name, group in groups.items() if d in group] for d in range(10)}
    rows = []
    for place, (name, group) in enumerate(groups.items()):
        parts = []
        for d in group:
            if n_per_digit is None:
                parts.append(np.array_split(of_digit[d], len(shared[d]))[shared[d].index(name)])
                continue
            first = place * n_per_digit if is_grouped else 0
            part = of_digit[d][first : first + n_per_digit]
            if len(part) < n_per_digit:
                raise ValueError(
                    f"The subset {subset!r} has {len(of_digit[d])} images of digit {d}, but stratum {name} needs "
                    f"number {first} to {first + n_per_digit}; use a smaller n_per_digit or a larger subset."
                )
            parts.append(part)
        rows.append(np.concatenate(parts))
    return rows


def _read(subset, what, home, download_if_missing):
    """Read images and classes from the published files, or else from OpenML.

    Parameters
    ----------
    subset : {"test", "train", "all"}
    what : {"MNIST", "Fashion-MNIST"}
    home : Path
        Data home.
    download_if_missing : bool

    Returns
    -------
    images : ndarray (n, 784) of uint8
    classes : ndarray (n,) of uint8
    """
    folder, name = _PLACES[what]
    names = ["train", "test"] if subset == "all" else [subset]
    paths = [_paths(home / folder, _FILES[name]) for name in names]
    if all(map(all, paths)):
        read = [_read_pair(*pair) for pair in paths]
        return tuple(np.concatenate(arrays) for arrays in zip(*read, strict=True))
    bunch = fetch(_openml, what, home, download_if_missing, folder=folder, name=name)
    images, digits = np.asarray(bunch.data, dtype=np.uint8), np.asarray(bunch.target).astype(np.uint8)
    part = {"all": slice(None), "train": slice(_N_TRAIN), "test": slice(_N_TRAIN, None)}[subset]
    return images[part], digits[part]


def _paths(folder, stem):
    """Return the paths of the files of images and labels, None for a missing file."""
    found = []
    for kind in ("images-idx3", "labels-idx1"):
        both = (folder / f"{stem}-{kind}-ubyte{ending}" for ending in ("", ".gz"))
        found.append(next((path for path in both if path.is_file()), None))
    return found


def _read_pair(images, labels):
    """Return images as rows (n, 784) and their classes (n,), both uint8."""
    pixels, digits = _read_idx(images, 3), _read_idx(labels, 1)
    if pixels.shape[1:] != (_SIDE, _SIDE) or len(pixels) != len(digits) or (digits > 9).any():
        raise OSError(
            f"{images} and {labels} do not belong together: images of shape {pixels.shape}, {len(digits)} labels up to "
            f"{digits.max(initial=0)}; expected 28 x 28 and classes 0 to 9. Delete them."
        )
    return pixels.reshape(len(pixels), -1), digits


def _read_idx(path, n_axes):
    """Read a file of unsigned bytes: 0, 0, type 8, the number of axes, their lengths as big-endian int32, the bytes."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise OSError(f"{path} cannot be read ({error}); delete it.") from error
    start = 4 + 4 * n_axes
    is_whole = len(raw) >= start and raw[:4] == bytes((0, 0, 8, n_axes))
    shape = np.frombuffer(raw[4:start], dtype=">i4").astype(int) if is_whole else ()
    if not is_whole or len(raw) != start + np.prod(shape):
        raise OSError(f"{path} is not a complete IDX file of unsigned bytes with {n_axes} axes; delete it.")
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)


def _openml(data_home, download_if_missing, folder, name, n_retries=0):
    """Fetch images from OpenML, with the arguments of scikit-learn's other fetchers.

    Parameters
    ----------
    data_home : str
    download_if_missing : bool
        False: raise OSError if the data home has no file of this data set.
    folder : str
        Subfolder of the published files, for the message.
    name : str
        Name of the data set on OpenML.
    n_retries : int, default=0

    Returns
    -------
    sklearn.utils.Bunch
    """
    from sklearn.datasets import fetch_openml

    kept = data_home_folder(data_home) / "openml"
    if not download_if_missing and not any(kept.rglob(f"{name}*")):
        raise OSError(f"no files in {data_home}/{folder} and no {name} in {kept}")
    return fetch_openml(name, version=1, data_home=data_home, as_frame=False, parser="liac-arff", n_retries=n_retries)
