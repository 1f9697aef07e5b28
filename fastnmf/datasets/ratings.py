"""Simulate ratings of items by users of several countries."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from fastnmf.datasets.contents import RatingData
from fastnmf.datasets.planted import _check, _generator, _shown
from fastnmf.typing import Seed

_AT_ONCE = 1 << 16  # ratings whose means are computed at a time


def simulate_ratings(
    n_users: int = 1500,
    n_items: int = 800,
    n_components: int = 5,
    n_strata: int = 1,
    *,
    n_ratings: int | None = None,
    test_share: float = 0.2,
    noise: float = 0.7,
    stratum_effect: float = 0.5,
    random_state: Seed = None,
) -> RatingData:
    """Simulate ratings from 1 to 5; a few are known, and some of these are held out.

    Parameters
    ----------
    n_users, n_items, n_components, n_strata : int, default=1500, 800, 5, 1
        Numbers of users, of items, of tastes, and of countries, to which users are assigned at random.
    n_ratings : int, default=None
        Number of known ratings, those that are held out among them; None: 4 % of all pairs of user and item.
    test_share : float, default=0.2
        Share of the known ratings that is held out, from 0 to 1.
    noise : float, default=0.7
        Standard deviation of the noise, before ratings are rounded.
    stratum_effect : float, default=0.5
        Mean of what a country adds to the taste for an item, as a multiple of the mean of what tastes give; nothing is
        added where there is one country.
    random_state : None, int or numpy.random.Generator, default=None
        Seed.

    Returns
    -------
    bunch : fastnmf.Readings
        `data` (also as `train`) and `test`, csr_array (n_users, n_items) of float64: what is not stored is not known;
        `strata`, text (n_users,); `feature_names` and `row_names`, those of items and users; the truth: `W`
        (n_users, n_components), `H` (n_components, n_items) and `V` (n_strata, n_items); `DESCR`.

    Raises
    ------
    ValueError
        A size is below 1, another number is negative or too large, or there are more countries than users.

    Notes
    -----
    The tastes are W H + V, W and H gamma with shapes 2 and 0.7, V gamma with shape 0.7. The mean of a rating is 1 plus
    4 times the rank of its taste among the known ones, as a share; noise is added, and the sum is rounded and clipped
    to 1 to 5. Tastes are computed for known pairs only, so that no array of all pairs is formed.

    Examples
    --------
    >>> from fastnmf.datasets import simulate_ratings
    >>> bunch = simulate_ratings(50, 40, n_strata=2, n_ratings=500, random_state=0)
    >>> bunch.data.shape, bunch.data.nnz, bunch.test.nnz, sorted(set(bunch.strata.tolist()))
    ((50, 40), 400, 100, ['country 0', 'country 1'])
    """
    sizes = {"n_users": n_users, "n_items": n_items, "n_components": n_components, "n_strata": n_strata}
    n_pairs = n_users * n_items if all(isinstance(n, (int, np.integer)) for n in (n_users, n_items)) else 0
    _check(sizes | ({} if n_ratings is None else {"n_ratings": n_ratings}), 1)
    _check({"test_share": test_share, "noise": noise, "stratum_effect": stratum_effect}, 0)
    n_ratings = max(1, round(0.04 * n_pairs)) if n_ratings is None else n_ratings
    for name, value, most in (
        ("n_ratings", n_ratings, n_pairs),
        ("test_share", test_share, 1),
        ("n_strata", n_strata, n_users),
    ):
        if value > most:
            raise ValueError(f"{name} must be at most {most}; got {_shown(value)}.")
    rng = _generator(random_state)
    W, H = rng.gamma(2, 1, (n_users, n_components)), rng.gamma(0.7, 1, (n_components, n_items))
    V = (n_strata > 1) * stratum_effect * 2 * n_components * rng.gamma(0.7, 1, (n_strata, n_items))
    codes = rng.permutation(np.append(np.arange(n_strata), rng.integers(0, n_strata, n_users - n_strata)))
    row, column = np.divmod(_places(rng, n_pairs, n_ratings), n_items)
    taste = V[codes[row], column]
    for lo in range(0, n_ratings, _AT_ONCE):
        part = slice(lo, lo + _AT_ONCE)
        taste[part] += np.einsum("ec,ce->e", W[row[part]], H[:, column[part]])
    mean = np.empty(n_ratings)
    mean[np.argsort(taste)] = 1 + 4 * np.arange(n_ratings) / n_ratings
    rating = np.clip(np.rint(mean + noise * rng.standard_normal(n_ratings)), 1, 5)
    is_test = np.zeros(n_ratings, bool)
    is_test[rng.permutation(n_ratings)[: round(test_share * n_ratings)]] = True
    train, test = (
        sparse.csr_array((rating[part], (row[part], column[part])), shape=(n_users, n_items))
        for part in (~is_test, is_test)
    )
    return RatingData(
        data=train,
        train=train,
        test=test,
        strata=np.array([f"country {s}" for s in range(n_strata)])[codes],
        stratum_names=np.array([f"country {s}" for s in range(n_strata)]),
        W=W,
        H=H,
        V=V,
        feature_names=np.array([f"item {j}" for j in range(n_items)], dtype=object),
        row_names=np.array([f"user {i}" for i in range(n_users)], dtype=object),
        DESCR="Simulated ratings from 1 to 5 of items by users of several countries; a part is held out.",
    )


def _places(rng, n_pairs, count):
    """Return `count` different integers below `n_pairs`, ascending, each set equally likely."""
    if 2 * count > n_pairs:
        is_left = np.ones(n_pairs, bool)
        is_left[_places(rng, n_pairs, n_pairs - count)] = False
        return np.flatnonzero(is_left)
    found = np.empty(0, np.int64)
    while len(found) < count:
        more = rng.integers(0, n_pairs, count - len(found) + count // 8 + 16)
        found = np.unique(np.concatenate([found, more]))
    return np.sort(rng.permutation(found)[:count])
