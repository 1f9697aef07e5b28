"""Images: handwritten digits, and pieces of clothing in the same format."""

import gzip
import zlib
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from fastnmf.fetch import data_home_folder, fetch

ARCHIVE = SimpleNamespace(url="https://api.openml.org")  # who has to answer before a download is tried
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


def load_mnist(subset="test", *, strata=((1, 2), (2, 3)), n_per_digit=100, data_home=None, download_if_missing=True):
    """Load MNIST digits, one row an image, in strata that have some digits in common.

    Parameters
    ----------
    subset : {"test", "train", "all"}, default="test"
        10,000 images, 60,000, or the training images followed by the test images.
    strata : sequence of sequences of int, or dict of name -> digits, default=((1, 2), (2, 3))
        Digits of each stratum. None: all ten digits, each a stratum of its own.
    n_per_digit : int, default=100
        Images of each digit in each stratum: the i-th stratum (from 0) gets number ``i * n_per_digit`` to
        ``(i + 1) * n_per_digit`` of each of its digits, in the order of the file, so that no image is in two strata;
        without groups, the first ones. None: all images; those of a digit that is in several strata are dealt out to
        these in equal parts.
    data_home : str or path, default=None
        Where to look, in the folder ``mnist``, for the files as published, ``train-images-idx3-ubyte``,
        ``train-labels-idx1-ubyte`` and the same with ``t10k``, with or without ``.gz``. None:
        ``$SCIKIT_LEARN_DATA``, else ``~/scikit_learn_data``.
    download_if_missing : bool, default=True
        Where the files are not there, take ``mnist_784`` from OpenML through scikit-learn (15 MB), which keeps it in
        the data home.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        `data`, float64 of shape (n_images, 784), grey values 0 to 255, stratum by stratum; `strata`, shape
        (n_images,), names such as ``"1+2"``, or digits where there are no groups; `target`, the digits; `image_shape`,
        (28, 28); `feature_names`; `stratum_names`, in the order given; `DESCR`.

    Raises
    ------
    ValueError
        For a subset, strata or a number that are not as above, or a digit that has too few images.
    OSError
        If the images are not there and cannot be had, or a file is not what its name says.

    Notes
    -----
    The default is the experiment of Chapman, Yaniv, Needell 2023, DOI 10.48550/arXiv.2311.10789, on test images;
    theirs are training images (``subset="train"``), so that losses differ.

    Examples
    --------
    >>> from fastnmf.datasets import load_mnist
    >>> load_mnist().data.shape  # doctest: +SKIP
    (400, 784)
    """
    from sklearn.utils import Bunch

    _check_subset(subset)
    groups = _groups(strata)
    is_number = isinstance(n_per_digit, int | np.integer) and not isinstance(n_per_digit, bool)
    if n_per_digit is not None and not (is_number and n_per_digit >= 1):
        raise ValueError(f"n_per_digit must be None or an integer of at least 1; got {n_per_digit!r}.")
    images, digits = _read(subset, "MNIST", data_home_folder(data_home), download_if_missing)
    rows = _chosen(groups, digits, n_per_digit, strata is not None, subset)
    chosen = np.concatenate(rows)
    return Bunch(
        data=images[chosen].astype(np.float64),
        strata=np.repeat(np.array(list(groups)), [len(part) for part in rows]),
        target=digits[chosen].astype(np.int64),
        image_shape=(_SIDE, _SIDE),
        feature_names=pixel_names(_SIDE, _SIDE),
        stratum_names=np.array(list(groups)),
        DESCR=f"MNIST digits, subset {subset!r}; strata have these digits: {groups}.",
    )


def load_fashion_mnist(subset="test", *, data_home=None, download_if_missing=True):
    """Load Fashion-MNIST, small grey images of ten kinds of clothing, one row an image.

    Parameters
    ----------
    subset : {"test", "train", "all"}, default="test"
        10,000 images, 60,000, or the training images followed by the test images, in the order of the files.
    data_home : str or path, default=None
        Where to look, in the folder ``fashion_mnist``, for the files as published, ``train-images-idx3-ubyte``,
        ``train-labels-idx1-ubyte`` and the same with ``t10k``, with or without ``.gz``. None:
        ``$SCIKIT_LEARN_DATA``, else ``~/scikit_learn_data``.
    download_if_missing : bool, default=True
        Where the files are not there, take ``Fashion-MNIST`` from OpenML through scikit-learn, which keeps it in the
        data home.

    Returns
    -------
    bunch : sklearn.utils.Bunch
        `data`, float64 of shape (n_images, 784), grey values 0 to 255; `target`, int64 of shape (n_images,), 0 to 9;
        `target_names`, what they mean; `strata`, the kind of each image by name; `stratum_names`, the ten names;
        `image_shape`, (28, 28); `feature_names`; `DESCR`.

    Raises
    ------
    ValueError
        For another subset.
    OSError
        If the images are not there and cannot be had, or a file is not what its name says.

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
    from sklearn.utils import Bunch

    _check_subset(subset)
    images, kinds = _read(subset, "Fashion-MNIST", data_home_folder(data_home), download_if_missing)
    names = np.array(CLOTHING)
    return Bunch(
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
    """Return the row numbers of each stratum, digit by digit."""
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
                    f"The subset {subset!r} has {len(of_digit[d])} images of digit {d}, and stratum {name} needs "
                    f"number {first} to {first + n_per_digit}; take a smaller n_per_digit or a larger subset."
                )
            parts.append(part)
        rows.append(np.concatenate(parts))
    return rows


def _read(subset, what, home, download_if_missing):
    """Return images (n, 784) and classes (n,), unsigned bytes, from the files, else from OpenML."""
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
    """Return the files of images and labels, None for what is not there."""
    found = []
    for kind in ("images-idx3", "labels-idx1"):
        both = (folder / f"{stem}-{kind}-ubyte{ending}" for ending in ("", ".gz"))
        found.append(next((path for path in both if path.is_file()), None))
    return found


def _read_pair(images, labels):
    """Return images as rows, and their digits."""
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
    """Fetch images as scikit-learn's other fetchers do: without a download only what is there already."""
    from sklearn.datasets import fetch_openml

    kept = data_home_folder(data_home) / "openml"
    if not download_if_missing and not any(kept.rglob(f"{name}*")):
        raise OSError(f"no files in {data_home}/{folder} and no {name} in {kept}")
    return fetch_openml(name, version=1, data_home=data_home, as_frame=False, parser="liac-arff", n_retries=n_retries)
