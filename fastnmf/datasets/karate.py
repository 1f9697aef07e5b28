"""Load Zachary's karate club: a small graph with two known communities."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from fastnmf.datasets.contents import GraphData

# Zachary (1977), fig. 1: contacts outside the club; members numbered from 1, each pair once, under the lower number.
_FRIENDS = """
1: 2 3 4 5 6 7 8 9 11 12 13 14 18 20 22 32; 2: 3 4 8 14 18 20 22 31; 3: 4 8 9 10 14 28 29 33; 4: 8 13 14;
5: 7 11; 6: 7 11 17; 7: 17; 9: 31 33 34; 10: 34; 14: 34; 15: 33 34; 16: 33 34; 19: 33 34; 20: 34; 21: 33 34;
23: 33 34; 24: 26 28 30 33 34; 25: 26 28 32; 26: 32; 27: 30 34; 28: 34; 29: 32 34; 30: 33 34; 31: 33 34; 32: 33 34;
33: 34
"""
_WITH_THE_TEACHER = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 17, 18, 20, 22)


def load_karate_club() -> GraphData:
    """Load Zachary's karate club: 34 members, 78 friendships, and the two clubs that it split into.

    Returns
    -------
    bunch : fastnmf.Readings
        `data`, CSR of zeros and ones (34, 34), symmetric, zero on the diagonal; `target`, int (34,), 0 for those who
        stayed with the teacher, 1 for those who went with the officers; `target_names`; `feature_names`, the members'
        numbers in the source, from 1, as text; `DESCR`.

    References
    ----------
    W. W. Zachary, "An information flow model for conflict and fission in small groups", Journal of Anthropological
    Research 33, 1977, doi:10.1086/jar.33.4.3629752.

    Examples
    --------
    >>> from fastnmf.datasets import load_karate_club
    >>> club = load_karate_club()
    >>> club.data.shape, int(club.data.sum()), club.target.tolist().count(0)
    ((34, 34), 156, 17)
    """
    members, pairs = range(1, 35), []
    for line in _FRIENDS.split(";"):
        one, others = line.split(":")
        pairs += [(int(one), int(other)) for other in others.split()]
    i, j = np.array(pairs).T - 1
    half = sparse.coo_array((np.ones(len(pairs)), (i, j)), shape=(34, 34))
    return GraphData(
        data=sparse.csr_array(half + half.T),
        target=np.array([int(member not in _WITH_THE_TEACHER) for member in members]),
        target_names=np.array(["teacher", "officers"], dtype=object),
        feature_names=np.array([str(member) for member in members], dtype=object),
        DESCR="Zachary's karate club: friendships of 34 members, and the clubs that it split into.",
    )
