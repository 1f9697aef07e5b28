"""Load tables of measurements: California housing."""

from __future__ import annotations

import numpy as np

from fastnmf.datasets.contents import TableData
from fastnmf.datasets.fetch import fetch
from fastnmf.typing import File


def load_housing(*, data_home: File = None, download_if_missing: bool = True) -> TableData:
    """Load California housing, three strata by median income.

    Parameters
    ----------
    data_home : str or path, default=None
        scikit-learn's data home. None: ``$SCIKIT_LEARN_DATA``, else ``~/scikit_learn_data``.
    download_if_missing : bool, default=True
        Download the data (0.4 MB) if the data home does not have them.

    Returns
    -------
    bunch : fastnmf.Readings
        `data`, float64 of shape (2615, 6), in this order: low (MedInc < 1.5, 815 rows), medium
        (4.5 < MedInc < 5, 1492 rows), high (MedInc > 10, 308 rows); `strata`, shape (2615,); `feature_names`;
        `stratum_names`, poorest first; `DESCR`.

    Raises
    ------
    OSError
        The data are missing and cannot be downloaded.

    Notes
    -----
    As in Chapman, Yaniv, Needell 2023, DOI 10.48550/arXiv.2311.10789: latitude and
    longitude are dropped, nothing is scaled. Frobenius norm 87260.12357119468.

    Examples
    --------
    >>> from fastnmf.datasets import load_housing
    >>> load_housing().data.shape  # doctest: +SKIP
    (2615, 6)
    """
    from sklearn.datasets import fetch_california_housing

    housing = fetch(fetch_california_housing, "California housing", data_home, download_if_missing)
    table = np.asarray(housing.data, dtype=np.float64)[:, :-2]
    income = table[:, 0]
    rows = {
        "low": np.flatnonzero(income < 1.5),
        "medium": np.flatnonzero((income > 4.5) & (income < 5)),
        "high": np.flatnonzero(income > 10),
    }
    return TableData(
        data=table[np.concatenate(list(rows.values()))],
        strata=np.repeat(list(rows), [len(r) for r in rows.values()]),
        feature_names=np.asarray(housing.feature_names[:-2], dtype=object),
        stratum_names=np.asarray(list(rows)),
        DESCR="California housing; strata are low, medium and high median income.",
    )
