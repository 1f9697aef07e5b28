"""Generate planted hierarchies."""

from __future__ import annotations

import numbers

import numpy as np

from fastnmf.datasets.contents import HierarchicalData
from fastnmf.typing import Seed

# The blocks of the toy data of Gao et al. (2019): heights and widths of the nine blocks, and their four and two groups.
HEIGHTS = (10, 5, 10, 12, 13, 4, 11, 8, 14)
WIDTHS = (10, 10, 5, 7, 5, 20, 10, 9, 14)
FOUR = (0, 0, 1, 1, 2, 2, 3, 3, 3)
TWO = (0, 0, 0, 0, 1, 1, 1, 1, 1)


def make_hierarchical(*, noise: float = 0.15, random_state: Seed = None) -> HierarchicalData:
    """Generate the toy data of Neural NMF: nine topics in four groups, and these in two groups.

    Samples and features are divided into nine blocks. The mean of an entry is 4 if its sample and feature are in the
    same block, 2 if their blocks are in the same of the four groups, 1 if in the same of the two groups, and 0
    otherwise. Uniform noise is added.

    Parameters
    ----------
    noise : float, default=0.15
        Upper end of the uniform noise, >= 0.
    random_state : None, int, Generator or RandomState, default=None

    Returns
    -------
    fastnmf.Readings
        ``data`` (90, 87), one row for each sample; ``target``, ``target4``, ``target2`` (90,): the block of each sample
        and its groups; ``feature_block`` (87,): the block of each feature.

    Raises
    ------
    ValueError
        `noise` is negative.

    Notes
    -----
    Source: Gao et al., "Neural nonnegative matrix factorization for hierarchical multilayer topic modeling", whose
    matrix has samples as columns; sizes as in the authors' file ``synthetic_noise.mat``.

    Examples
    --------
    >>> from fastnmf.datasets import make_hierarchical
    >>> make_hierarchical(random_state=0).data.shape
    (90, 87)
    """
    if not isinstance(noise, numbers.Real) or noise < 0:
        raise ValueError(f"noise={noise!r} is not valid; expected a number >= 0.")
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(np.iinfo(np.int32).max)
    rng, four, two = np.random.default_rng(random_state), np.array(FOUR), np.array(TWO)
    of_sample, of_feature = np.repeat(np.arange(9), WIDTHS), np.repeat(np.arange(9), HEIGHTS)
    s, f = of_sample[:, None], of_feature[None, :]
    mean = np.where(s == f, 4.0, np.where(four[s] == four[f], 2.0, np.where(two[s] == two[f], 1.0, 0.0)))
    return HierarchicalData(
        data=mean + noise * rng.random(mean.shape),
        target=of_sample,
        target4=four[of_sample],
        target2=two[of_sample],
        feature_block=of_feature,
    )
