"""Usages that sum to one, and scores of the marker genes of each programme, as in cNMF."""

import numpy as np
import scipy.sparse as sp

from fastnmf.kernels.blas import single_threaded_blas

_CONSTANT = 1e-12  # a gene whose variance is this share of its mean square is constant up to rounding


def usage_of(W, H):
    """Return the amount of X that each programme explains in each row: W times the sums of the rows of H, float64."""
    return W.astype(np.float64) * H.sum(axis=1, dtype=np.float64)


def shares(usage):
    """Return usages whose rows sum to one; a row that uses no programme stays zero."""
    total = usage.sum(axis=1, keepdims=True)
    return usage / np.where(total > 0, total, 1)


def marker_scores(source, usage):
    """Return the coefficients of the least-squares regression of the z-scores of each gene on the usages.

    Parameters
    ----------
    source : fastnmf.tl.source.Source
    usage : ndarray (n_obs, k) of float64

    Returns
    -------
    ndarray (n_genes, k) of float64
        By how many standard deviations a gene is higher for one unit of usage, if the other usages stay the same. Zero
        for constant genes, and for programmes that are not used.

    Notes
    -----
    With Z the z-scores of all genes: ``(Uᵀ U)⁻¹ Uᵀ Z``, without intercept. Rows of counts are divided by their sums
    first; of a matrix with fractions the entries are taken as they are. Z is dense and never formed:
    ``Uᵀ Z = (Uᵀ X - Uᵀ 1 meanᵀ) / deviation``.

    References
    ----------
    D. Kotliar et al., "Identifying gene expression programs of cell-type identity and cellular activity with
    single-cell RNA-Seq", eLife 2019, doi:10.7554/eLife.43803, "Identification of marker genes".
    """
    found = _sums(source, usage, is_counts=True) or _sums(source, usage, is_counts=False)
    sums, squares, products = (part / len(usage) for part in found)
    variance = squares - sums**2
    is_varying = variance > _CONSTANT * squares
    deviation = np.sqrt(np.where(is_varying, variance, 1))
    largest = usage.max(axis=0, initial=0)
    scale = 1 / np.where(largest > 0, largest, 1)  # programmes may differ in size by more than their squares can
    U = usage * scale
    with single_threaded_blas():  # the bits would depend on the number of BLAS threads
        gram = U.T @ U / len(U)
        centred = (products * scale - np.outer(sums, U.mean(axis=0))) / deviation[:, None]
        coefficients = centred @ np.linalg.pinv(gram, hermitian=True)
    return coefficients * scale * is_varying[:, None]


def _sums(source, usage, *, is_counts):
    """Return sums and sums of squares of the genes, (n_genes,), and their products with the usages, (n_genes, k).

    Of counts each row is divided by its sum. Returns None where an entry of supposed counts is a fraction.
    """
    n_genes, lo = len(source.genes), 0
    sums, squares, products = np.zeros(n_genes), np.zeros(n_genes), np.zeros((n_genes, usage.shape[1]))
    for block in source.blocks():
        data = block.data.astype(np.float64)
        if is_counts and (data != np.floor(data)).any():
            return None
        block = sp.csr_array((data, block.indices, block.indptr), block.shape)
        if is_counts:
            total = block.sum(axis=1)
            block = sp.diags_array(1 / np.where(total > 0, total, 1)).tocsr() @ block
        sums += np.bincount(block.indices, block.data, n_genes)
        squares += np.bincount(block.indices, block.data**2, n_genes)
        products += block.T @ usage[lo : lo + block.shape[0]]
        lo += block.shape[0]
    return sums, squares, products
