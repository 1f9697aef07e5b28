"""Load images of twenty objects, photographed from all sides."""

from __future__ import annotations

import numpy as np

from fastnmf.datasets.contents import ImageData
from fastnmf.datasets.fetch import data_home_folder
from fastnmf.datasets.images import pixel_names
from fastnmf.typing import File

_SIDE, _OBJECTS, _VIEWS = 32, 20, 72


def load_coil20(*, data_home: File = None) -> ImageData:
    """Load COIL-20: grey images of 20 objects from 72 directions 5 degrees apart, at 32 x 32 pixels.

    The images are not downloaded: no archive keeps them under a stable address. Put one of the files named below into
    the data home.

    Parameters
    ----------
    data_home : str or path, default=None
        Folder whose subfolder ``coil20`` contains ``COIL20.mat`` (`fea`, (1440, 1024), and `gnd`, (1440, 1)), the file
        commonly used for graph-regularised NMF, or the arrays ``coil20_X_small.npy`` (1440, 1024) and ``coil20_Y.npy``
        (1440,). None: ``$SCIKIT_LEARN_DATA``, else ``~/scikit_learn_data``.

    Returns
    -------
    bunch : fastnmf.Readings
        `data`, float64 of shape (1440, 1024), grey values 0 to 255; `target`, int64 of shape (1440,), the objects 1 to
        20; `strata`, the same; `stratum_names`; `image_shape`, (32, 32); `feature_names`; `DESCR`.

    Raises
    ------
    OSError
        No file is there, or a file does not contain what its name says.

    Notes
    -----
    S. A. Nene, S. K. Nayar, H. Murase 1996, Columbia Object Image Library (COIL-20), technical report CUCS-005-96.

    Examples
    --------
    >>> from fastnmf.datasets import load_coil20
    >>> load_coil20().data.shape  # doctest: +SKIP
    (1440, 1024)
    """
    pixels, objects = _read(data_home_folder(data_home) / "coil20")
    return ImageData(
        data=pixels,
        strata=objects,
        target=objects,
        image_shape=(_SIDE, _SIDE),
        feature_names=pixel_names(_SIDE, _SIDE),
        stratum_names=np.unique(objects),
        DESCR="COIL-20, 32 x 32 pixels; strata are the objects.",
    )


def _read(folder):
    """Return pixels (1440, 1024), 0 to 255, and objects (1440,), from the first file that exists."""
    arrays = folder / "coil20_X_small.npy", folder / "coil20_Y.npy"
    whole = folder / "COIL20.mat"
    try:
        if whole.is_file():
            from scipy.io import loadmat

            found = loadmat(whole)
            pixels, objects = found["fea"], found["gnd"]
        elif all(path.is_file() for path in arrays):
            pixels, objects = (np.load(path, allow_pickle=False) for path in arrays)
        else:
            raise FileNotFoundError
    except FileNotFoundError:
        raise OSError(
            f"COIL-20 is not in {str(folder)!r}, and it cannot be downloaded; put COIL20.mat there, or "
            "coil20_X_small.npy with coil20_Y.npy, or set SCIKIT_LEARN_DATA to a folder that has one of them in coil20."
        ) from None
    except Exception as error:  # for a file that is not MATLAB's, SciPy's reader raises various exceptions
        raise OSError(f"The COIL-20 files in {str(folder)!r} cannot be read ({error}); replace them.") from error
    pixels, objects = np.asarray(pixels, dtype=np.float64), np.asarray(objects).ravel().astype(np.int64)
    if pixels.shape != (_OBJECTS * _VIEWS, _SIDE**2) or objects.shape != (len(pixels),):
        raise OSError(
            f"The COIL-20 files in {str(folder)!r} have images of shape {pixels.shape} and labels of shape "
            f"{objects.shape}; expected ({_OBJECTS * _VIEWS}, {_SIDE**2}) and ({_OBJECTS * _VIEWS},). Replace them."
        )
    return pixels * (255 if pixels.max() <= 1 else 1), objects
