"""Meta-NMF in NumPy, as `meta.py` measures it: with every product formed once, or as the source writes it."""

import numpy as np

EPS = 1e-9


def updated(X, H, n_inner, graph, is_published):
    """Return components after n_inner multiplicative updates of W, then H, and the squared error."""
    W = X @ H.T
    W = W * (np.square(W).sum(axis=1) / (W @ (H @ H.T) * W).sum(axis=1))[:, None]  # which graphs see, and nothing else
    for _ in range(n_inner):
        before = W, H
        above, below = X @ H.T, W @ H @ H.T if is_published else W @ (H @ H.T)
        if graph is not None:
            affinity, degree = graph
            lengths = np.square(H).sum(axis=1)
            above, below = above + lengths * (affinity @ W), below + lengths * degree * W
        W = W * above / (below + EPS)
        below = W.T @ W @ H
        if graph is not None:
            rough = np.einsum("ic,ic->c", W, degree * W - affinity @ W)
            below = below + rough[:, None] * H
        H = H * (W.T @ X) / (below + EPS)
        if is_published:
            max(np.linalg.norm(now - then, 2) for now, then in zip((W, H), before, strict=True))
    return H, np.square(X - W @ H).sum()


def numpy_meta(X, rank, n_outer, n_inner, graphs, is_published, seed=0):
    """Return the target's last squared error of Meta-NMF in NumPy, drawn as `MetaNMF` draws."""
    rng = np.random.default_rng(seed)
    own = [rng.random((X.shape[1], rank)).T.astype(X.dtype) for _ in range(5)]
    rows = [rng.choice(len(X), 100, replace=False) for _ in range(5)]
    of_tasks = [None if graphs is None else graphs(X[task]) for task in rows]
    of_all, shared, total = None if graphs is None else graphs(X), 0 * own[0], 0 * own[0]
    for _ in range(n_outer):
        for i, task in enumerate(rows):
            H, _ = updated(X[task], shared + own[i], n_inner, of_tasks[i], is_published)
            own[i] = H / H.max(axis=1, keepdims=True)
            total = total + own[i]
        H, error = updated(X, shared + total / 5, n_inner, of_all, is_published)
        shared = H / H.max(axis=1, keepdims=True)
    return error
