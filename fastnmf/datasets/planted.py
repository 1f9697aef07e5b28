"""Generate data with known factors (planted data)."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from fastnmf.datasets.contents import CountData, StratifiedData
from fastnmf.typing import Seed


def make_stratified(
    sizes: Sequence[int] = (100, 100, 100, 100),
    n_features: int = 100,
    n_components: int = 5,
    *,
    noise: float = 0.0,
    density: float | None = None,
    random_state: Seed = None,
) -> StratifiedData:
    """Generate planted data of the form 1 v(i)' + W(i) H.

    Parameters
    ----------
    sizes : sequence of int, default=(100, 100, 100, 100)
        Number of rows of each stratum, each at least 1.
    n_features, n_components : int, default=100, 5
        Columns of the data and rows of H.
    noise : float, default=0.0
        Standard deviation of Gaussian noise, as a multiple of the root mean square of the entries without noise.
        Entries that become negative are set to zero.
    density : float, default=None
        None: dense data. A number in (0, 1): sparse factors, drawn so that this is the expected density of the CSR
        data; noise is then added to the non-zeros only.
    random_state : None, int or numpy.random.Generator, default=None
        Seed.

    Returns
    -------
    bunch : fastnmf.Readings
        `data`, float64 of shape (sum(sizes), n_features), C-ordered array or CSR; `strata`, integers from 0,
        sorted; `feature_names`; the truth `W` (sum(sizes), n_components), `H` (n_components, n_features) and
        `V` (len(sizes), n_features); `DESCR`.

    Raises
    ------
    ValueError
        A size is not positive, noise is negative or density is not in (0, 1).

    Notes
    -----
    Dense factors follow Chapman, Yaniv, Needell 2023, DOI 10.48550/arXiv.2311.10789: W and H uniform on
    [0, 1), v(i) uniform on [i, i + 1) with i from 0. The truth is not identifiable (free gauge).

    Examples
    --------
    >>> from fastnmf.datasets import make_stratified
    >>> bunch = make_stratified(sizes=(3, 4), n_features=5, n_components=2, random_state=0)
    >>> bunch.data.shape, bunch.V.shape
    ((7, 5), (2, 5))
    """
    sizes = np.asarray(sizes)
    if sizes.ndim != 1 or sizes.size == 0 or sizes.dtype.kind not in "iu" or sizes.min() < 1:
        raise ValueError("sizes must be a non-empty sequence of positive integers, the rows of each stratum.")
    _check({"n_features": n_features, "n_components": n_components}, 1)
    _check({"noise": noise}, 0)
    if density is not None and not (isinstance(density, numbers.Real) and 0 < density < 1):
        raise ValueError(f"density must be None or between 0 and 1, both excluded; got {_shown(density)}.")

    rng = _generator(random_state)
    strata = np.repeat(np.arange(sizes.size), sizes)
    W = rng.random((strata.size, n_components))
    H = rng.random((n_components, n_features))
    V = rng.random((sizes.size, n_features)) + np.arange(sizes.size)[:, None]
    if density is None:
        data = W @ H + V[strata]
        clean = data
    else:
        # An entry is zero if the shift and all k products are: (1 - p)(1 - q^2)^k = 1 - density.
        blank = np.sqrt(1 - density)
        share = np.sqrt(1 - blank ** (1 / n_components))
        W *= rng.random(W.shape) < share
        H *= rng.random(H.shape) < share
        V *= rng.random(V.shape) < 1 - blank
        membership = sparse.csr_array((np.ones(strata.size), (np.arange(strata.size), strata)))
        data = (sparse.csr_array(W) @ sparse.csr_array(H) + membership @ sparse.csr_array(V)).tocsr()
        data.sort_indices()
        clean = data.data
    if noise > 0 and clean.size:
        clean += noise * np.sqrt(np.mean(clean**2)) * rng.standard_normal(clean.shape)
        np.maximum(clean, 0, out=clean)
        if density is not None:
            data.eliminate_zeros()
    return StratifiedData(
        data=data,
        strata=strata,
        W=W,
        H=H,
        V=V,
        feature_names=np.array([f"feature {j}" for j in range(n_features)], dtype=object),
        stratum_names=np.arange(sizes.size),
        DESCR="Planted data of the form 1 v(i)' + W(i) H.",
    )


def simulate_counts(
    n_cells: int = 600,
    n_genes: int = 400,
    n_programs: int = 4,
    n_batches: int = 3,
    *,
    batch_effect: float = 1.0,
    dispersion: float = 0.5,
    depth: float = 150.0,
    random_state: Seed = None,
) -> CountData:
    """Simulate single-cell counts: expression programmes that all batches share, plus a background for each batch.

    Parameters
    ----------
    n_cells, n_genes, n_programs, n_batches : int, default=600, 400, 4, 3
        Numbers of cells, genes, programmes and batches. Cells are assigned to batches at random; the frequencies of the
        programmes differ between the batches.
    batch_effect : float, default=1.0
        Expected background counts of a cell, as a multiple of `depth`; 0 leaves no background.
    dispersion : float, default=0.5
        Dispersion of the negative binomial: the variance is ``mean + dispersion * mean²``; 0 is Poisson.
    depth : float, default=150.0
        Expected counts of a cell from the programmes. The depth of a cell is this times a log-normal factor, sigma 0.3.
    random_state : None, int or numpy.random.Generator, default=None
        Seed.

    Returns
    -------
    bunch : fastnmf.Readings
        `data`, CSR of float64 counts (n_cells, n_genes); `batch`, text (n_cells,), also as `strata`; the truth:
        `programs` (n_programs, n_genes), rows of sum one, each on a fifth of the genes; `usage` (n_cells, n_programs),
        expected counts of each programme; `program_of_cell`, the programme used most, also as `target`; `background`
        (n_batches, n_genes), expected counts, on 30 % of the genes in each batch; `feature_names`; `DESCR`.

    Raises
    ------
    ValueError
        A size is below 1, or another number is negative.

    Notes
    -----
    ``mean = background[batch] + usage @ programs``: background (ambient RNA) does not depend on the depth of a cell,
    so one shift for each batch is the right model. Counts are Poisson with a gamma-distributed rate.

    Examples
    --------
    >>> from fastnmf.datasets import simulate_counts
    >>> bunch = simulate_counts(n_cells=20, n_genes=30, random_state=0)
    >>> bunch.data.shape, bunch.programs.shape, sorted(set(bunch.batch.tolist()))
    ((20, 30), (4, 30), ['batch 0', 'batch 1', 'batch 2'])
    """
    sizes = {"n_cells": n_cells, "n_genes": n_genes, "n_programs": n_programs, "n_batches": n_batches}
    _check(sizes, 1)
    _check({"batch_effect": batch_effect, "dispersion": dispersion, "depth": depth}, 0)
    rng = _generator(random_state)

    def profiles(n_profiles, share):
        weights = rng.gamma(0.7, size=(n_profiles, n_genes)) * (rng.random((n_profiles, n_genes)) < share)
        weights[np.arange(n_profiles), rng.integers(0, n_genes, n_profiles)] += 0.1  # at least one gene each
        return weights / weights.sum(axis=1, keepdims=True)

    programs, background = profiles(n_programs, 0.2), batch_effect * depth * profiles(n_batches, 0.3)
    batch = rng.integers(0, n_batches, n_cells)
    diverse_rows = rng.dirichlet(np.full(n_programs, 2.0), n_batches)
    main = (rng.random(n_cells)[:, None] > np.cumsum(diverse_rows, axis=1)[batch, :-1]).sum(axis=1)
    shares = 0.3 * rng.dirichlet(np.ones(n_programs), n_cells)
    shares[np.arange(n_cells), main] += 0.7
    usage = depth * rng.lognormal(-0.045, 0.3, n_cells)[:, None] * shares
    mean = background[batch] + usage @ programs
    if dispersion > 0:
        mean = mean * rng.gamma(1 / dispersion, dispersion, mean.shape)
    labels = np.array([f"batch {b}" for b in range(n_batches)])[batch]
    return CountData(
        data=sparse.csr_array(rng.poisson(mean).astype(np.float64)),
        batch=labels,
        strata=labels,
        programs=programs,
        usage=usage,
        program_of_cell=main,
        target=main,
        background=background,
        feature_names=np.array([f"gene {j}" for j in range(n_genes)], dtype=object),
        DESCR="Simulated negative-binomial counts of cells: shared programmes over a background of each batch.",
    )


def _check(values, least):
    """Raise ValueError unless all values are numbers of at least `least`, integers if that is 1."""
    for name, value in values.items():
        if not isinstance(value, numbers.Integral if least else numbers.Real) or not least <= value < np.inf:
            raise ValueError(f"{name} must be {least} or more{', an integer' if least else ''}; got {_shown(value)}.")


def _generator(random_state):
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError):
        raise ValueError(
            f"random_state={_shown(random_state)} is not valid; expected None, an integer >= 0, or a Generator."
        ) from None


def _shown(value):  # `fastnmf.data` has it, too, but data sets know nothing of the package
    return " ".join(repr(value).split())[:100]
