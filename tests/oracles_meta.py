"""Meta-NMF and its fused updates in plain NumPy and loops, samples as rows; nothing of the package is imported."""

import numpy as np


def updates(X, W, H, n_updates, eps, affinity=None, weight=0.0, is_anchored=True):
    """Move W (n, k), then H (k, m), by multiplicative updates; return them, the squared error and the penalty.

    With a symmetric affinity: Cai et al. 2011, eq. 14 and 15, where component c counts ``||h_c||²`` times if anchored.
    """
    A = np.zeros((len(X), len(X))) if affinity is None else affinity
    D = np.diag(A.sum(axis=1))
    W, H = W.astype(np.float64), H.astype(np.float64)

    def roughness(W):
        return np.array([w @ (D - A) @ w for w in W.T])

    for _ in range(n_updates):
        s = weight * (np.square(H).sum(axis=1) if is_anchored else np.ones(len(H)))
        W = W * (X @ H.T + s * (A @ W)) / (W @ (H @ H.T) + s * (D @ W) + eps)
        ridge = weight * roughness(W) if is_anchored else np.zeros(len(H))
        H = H * (W.T @ X) / (W.T @ W @ H + ridge[:, None] * H + eps)
    s = weight * (np.square(H).sum(axis=1) if is_anchored else np.ones(len(H)))
    return W, H, np.square(X - W @ H).sum(), roughness(W) @ s


def meta_nmf(X, tasks, starts, n_outer, n_inner, accumulate, eps, shared=0.0):
    """Return shared components (k, m), the target's squared errors, and each task's, epoch by epoch.

    Khan 2025, Algorithm 1, as the published program has it: W_t = 0 first (or `shared`), components at a largest entry
    of one.
    """
    own, total = list(starts), np.zeros_like(starts[0])
    errors, of_tasks = [], []
    for _ in range(n_outer):
        if not accumulate:
            total = np.zeros_like(starts[0])
        of_tasks.append([])
        for i, task in enumerate(tasks):
            H = shared + own[i]
            _, H, error, _ = updates(task, task @ H.T, H, n_inner, eps)
            own[i] = H / H.max(axis=1, keepdims=True)
            total = total + own[i]
            of_tasks[-1].append(error)
        H = shared + total / len(tasks)
        _, H, error, _ = updates(X, X @ H.T, H, n_inner, eps)
        shared = H / H.max(axis=1, keepdims=True)
        errors.append(error)
    return shared, np.array(errors), np.array(of_tasks)
