"""Plain reference versions of what the package computes, written from the papers, importing nothing of ours.

Two kinds of functions stand here. The steps of Stratified-NMF use the paper's layout: `blocks` is a list of S
arrays or SciPy CSR matrices A(i) of shape (m_i, n), `V` is (S, n), `W` a list of (m_i, r) arrays and `H` is
(r, n). They return new arrays and never write to their arguments. The twins of the kernels use the layout of
the core instead: factors are tall (rows, k), CSR comes as indptr, indices, data.

Speed is of no concern: a reader should be able to check every line against the paper.

Notes
-----
Chapman, Yaniv, Needell 2023, "Stratified-NMF for Heterogeneous Data", arXiv:2311.10789, Algorithm 1.
Names: paper A(i), v(i), W(i), H = our `blocks[i]`, `V[i]`, `W[i]`, `H`.
"""

from itertools import combinations

import numpy as np

EPS = 1e-9


# ---------------------------------------------------------------- starts and gauges


def random_start(blocks, rank, seed):
    """Draw the paper's unscaled start: V, then W stratum by stratum, then H, from one generator.

    Parameters
    ----------
    blocks : list of (m_i, n) arrays or sparse matrices
    rank : int
    seed : int

    Returns
    -------
    V : ndarray of shape (S, n), uniform in [0, 1)
    W : list of ndarrays of shape (m_i, rank), uniform in [0, rank ** -0.5)
    H : ndarray of shape (rank, n), uniform in [0, rank ** -0.5)
    """
    rng = np.random.default_rng(seed)
    n = blocks[0].shape[1]
    V = rng.random((len(blocks), n))
    W = [rng.random((a.shape[0], rank)) / rank**0.5 for a in blocks]
    H = rng.random((rank, n)) / rank**0.5
    return V, W, H


def max_shift(V, W, H):
    """Move into V as much of W as the signs allow: v += H' c, W -= 1 c' with c the column minima of W(i).

    The model has this free gauge: the product 1 v' + W H, and so the loss, stays the same.
    """
    minima = [w.min(axis=0) for w in W]
    shifted = np.array([v + c @ H for v, c in zip(V, minima, strict=True)])
    return shifted, [w - c for w, c in zip(W, minima, strict=True)], H.copy()


# ---------------------------------------------------------------- objective, gradients, optimality


def column_sums(a):
    """Sum the rows of one block, dense or sparse; shape (n,)."""
    return np.asarray(a.sum(axis=0)).ravel()


def squared_norm(blocks):
    """Sum the squared entries of all blocks."""
    return sum(float((a.data**2).sum() if hasattr(a, "tocsr") else (a**2).sum()) for a in blocks)


def squared_loss(blocks, V, W, H, rows_at_once=200):
    """Evaluate sum_i ||A(i) - 1 v(i)' - W(i) H||_F^2 from the residual itself, some rows at a time."""
    total = 0.0
    for a, v, w in zip(blocks, V, W, strict=True):
        for low in range(0, a.shape[0], rows_at_once):
            piece = a[low : low + rows_at_once]
            piece = piece.toarray() if hasattr(piece, "tocsr") else piece
            total += float(((piece - v - w[low : low + rows_at_once] @ H) ** 2).sum())
    return total


def objective(blocks, V, W, H):
    """Evaluate F = half of `squared_loss`; the gradients below are those of F."""
    return 0.5 * squared_loss(blocks, V, W, H)


def normalized_loss(blocks, V, W, H):
    """Evaluate sqrt(squared_loss / sum_i ||A(i)||_F^2), the loss the paper plots; 0 for all-zero data."""
    norm = squared_norm(blocks)
    return (squared_loss(blocks, V, W, H) / norm) ** 0.5 if norm > 0 else 0.0


def gradient_shift(blocks, V, W, H):
    """Differentiate F by V: row i is m_i v(i) + H' W(i)'1 - A(i)'1; shape (S, n)."""
    return np.array([a.shape[0] * v + w.sum(axis=0) @ H - column_sums(a) for a, v, w in zip(blocks, V, W, strict=True)])


def gradient_left(blocks, V, W, H):
    """Differentiate F by each W(i): W(i) H H' + 1 (v(i)' H') - A(i) H'; list of (m_i, r)."""
    return [w @ (H @ H.T) + v @ H.T - a @ H.T for a, v, w in zip(blocks, V, W, strict=True)]


def gradient_right(blocks, V, W, H):
    """Differentiate F by H: (sum W'W) H + sum W(i)'1 v(i)' - sum W(i)'A(i); shape (r, n)."""
    gradient = np.zeros_like(H)
    for a, v, w in zip(blocks, V, W, strict=True):
        gradient += (w.T @ w) @ H + np.outer(w.sum(axis=0), v) - (a.T @ w).T
    return gradient


def natural_residual(blocks, V, W, H):
    """Measure how far a point is from stationary: the largest ||min(x, g / d)|| / ||x|| over the blocks.

    The blocks are V, every column of W (over all strata) and every row of H; g is the half-gradient and d the
    diagonal of the Hessian (m_i; (H H')_jj; (sum W'W)_jj). It does not change under W D, D^-1 H. A component
    whose Hessian diagonal is zero has no say (d = 0), a block that is all zero counts with its own ||min(0, g
    / d)||.
    """

    def ratio(x, g, d):
        if not np.all(d > 0):
            return 0.0
        step = np.linalg.norm(np.minimum(x, g / d))
        size = np.linalg.norm(x)
        return float(step / size) if size > 0 else float(step)

    sizes = np.array([[a.shape[0]] for a in blocks], dtype=float)
    left, left_gradient = np.vstack(W), np.vstack(gradient_left(blocks, V, W, H))
    right_gradient = gradient_right(blocks, V, W, H)
    worst = ratio(V, gradient_shift(blocks, V, W, H), sizes)
    for j in range(H.shape[0]):
        worst = max(worst, ratio(left[:, j], left_gradient[:, j], (H[j] ** 2).sum()))
        worst = max(worst, ratio(H[j], right_gradient[j], (left[:, j] ** 2).sum()))
    return worst


# ---------------------------------------------------------------- multiplicative updates (Algorithm 1)


def mu_shift(blocks, V, W, H, eps=EPS):
    """Take one multiplicative step of every v(i): v * A'1 / (m v + H' W'1 + eps)."""
    new = [
        v * column_sums(a) / (a.shape[0] * v + w.sum(axis=0) @ H + eps) for a, v, w in zip(blocks, V, W, strict=True)
    ]
    return np.array(new)


def mu_left(blocks, V, W, H, eps=EPS):
    """Take one multiplicative step of every W(i): W * A H' / (W H H' + 1 (v'H') + eps)."""
    return [w * (a @ H.T) / (w @ (H @ H.T) + v @ H.T + eps) for a, v, w in zip(blocks, V, W, strict=True)]


def mu_right(blocks, V, W, H, eps=EPS):
    """Take one multiplicative step of H: H * sum W'A / (sum W'1 v' + (sum W'W) H + eps)."""
    above, below = np.zeros_like(H), np.zeros_like(H)
    for a, v, w in zip(blocks, V, W, strict=True):
        above += (a.T @ w).T
        below += np.outer(w.sum(axis=0), v) + (w.T @ w) @ H
    return H * above / (below + eps)


def mu_iteration(blocks, V, W, H, order="sequential", n_shift_updates=2, eps=EPS):
    """Run one iteration of Algorithm 1; "simultaneous", the published program's order, shows H the old W."""
    for _ in range(n_shift_updates):
        V = mu_shift(blocks, V, W, H, eps)
    new = mu_left(blocks, V, W, H, eps)
    return V, new, mu_right(blocks, V, W if order == "simultaneous" else new, H, eps)


# ---------------------------------------------------------------- exact coordinate descent


def exact_shift(blocks, V, W, H):
    """Minimise F over V >= 0 in closed form: v(i) = max(0, (A'1 - H' W'1) / m_i); V itself is not used."""
    new = [np.maximum(0.0, (column_sums(a) - w.sum(axis=0) @ H) / a.shape[0]) for a, w in zip(blocks, W, strict=True)]
    return np.array(new)


def hals_left(blocks, V, W, H):
    """Sweep once over the columns of every W(i), each set to its exact minimiser."""
    gram_right = H @ H.T
    return [
        rows_hals(w, gram_right, a @ H.T, np.tile(v @ H.T, (len(w), 1))) for a, v, w in zip(blocks, V, W, strict=True)
    ]


def hals_right(blocks, V, W, H):
    """Sweep once over the rows of H, each set to its exact minimiser."""
    gram_sum, above, below = np.zeros((H.shape[0],) * 2), np.zeros_like(H), np.zeros_like(H)
    for a, v, w in zip(blocks, V, W, strict=True):
        gram_sum += w.T @ w
        above += (a.T @ w).T
        below += np.outer(w.sum(axis=0), v)
    return rows_hals(H.T, gram_sum, above.T, below.T).T


def losses(blocks, start, iterations, iteration=mu_iteration, **options):
    """Run an algorithm and list the normalized loss after 0, 1, ..., `iterations` iterations.

    Returns
    -------
    values : list of iterations + 1 floats
    factors : tuple (V, W, H), those of the last iteration
    """
    factors = start
    values = [normalized_loss(blocks, *factors)]
    for _ in range(iterations):
        factors = iteration(blocks, *factors, **options)
        values.append(normalized_loss(blocks, *factors))
    return values, factors


# ---------------------------------------------------------------- twins of the kernels (tall factors)


def differ_by_powers_of_two(F, G):
    """Tell whether each row of F is that of G times a power of two, to the last bit."""
    for f, g in zip(F, G, strict=True):
        power = np.frexp(f.max())[1] - np.frexp(g.max())[1]
        if not np.array_equal(f, np.ldexp(g, power)):
            return False
    return True


def csr_matmul(indptr, indices, data, F):
    """Multiply a CSR matrix (p, q) by a tall dense F (q, k), entry by entry; shape (p, k)."""
    out = np.zeros((len(indptr) - 1, F.shape[1]))
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            out[i] += float(data[p]) * F[indices[p]].astype(float)
    return out


def csr_sampled(indptr, indices, L, R):
    """Evaluate L R' only where a CSR pattern has entries; L (p, k), R (q, k); shape (nnz,)."""
    out = np.zeros(len(indices))
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            out[p] = float(L[i].astype(float) @ R[indices[p]].astype(float))
    return out


def gram(F):
    """Form F'F, one scalar product at a time; shape (k, k)."""
    F = F.astype(float)
    k = F.shape[1]
    return np.array([[sum(F[i, a] * F[i, b] for i in range(len(F))) for b in range(k)] for a in range(k)])


def group_sums(start, F):
    """Sum the rows of F (m, k) group by group, rows start[s] to start[s + 1] being group s; shape (S, k)."""
    out = np.zeros((len(start) - 1, F.shape[1]))
    for s in range(len(start) - 1):
        for i in range(start[s], start[s + 1]):
            out[s] += F[i].astype(float)
    return out


def rows_mu(F, gram, pos, neg, eps, floor=0.0):
    """Take one multiplicative step F * pos / (F gram + neg + eps), not below `floor`; (p, k), gram (k, k)."""
    return np.maximum(F * pos / (F @ gram + neg + eps), floor)


def rows_hals(F, gram, pos, neg, n_sweeps=1):
    """Sweep over the columns of F, each replaced by its exact non-negative minimiser given the others.

    The subproblem is 1/2 tr(F gram F') - <pos - neg, F>. A component whose gram[l, l] is not positive is left
    alone.
    """
    F = F.copy()
    for _ in range(n_sweeps):
        for j in range(F.shape[1]):
            if gram[j, j] > 0:
                F[:, j] = np.maximum(0.0, F[:, j] + (pos[:, j] - neg[:, j] - F @ gram[:, j]) / gram[j, j])
    return F


def rows_hals_short(F, gram, pos, neg, n_sweeps=1):
    """Sweep over each row as `rows_hals`, but leave what is zero and would not rise by itself as it is.

    Which components these are is decided once, before the first sweep.
    """
    F = F.copy()
    for i in range(len(F)):
        want = pos[i] - neg[i]
        moving = [j for j in range(F.shape[1]) if F[i, j] > 0 or want[j] > F[i] @ gram[:, j]]
        for _ in range(n_sweeps):
            for j in moving:
                if gram[j, j] > 0:
                    F[i, j] = max(0.0, F[i, j] + (want[j] - F[i] @ gram[:, j]) / gram[j, j])
    return F


def half_gradient(F, gram, pos, neg):
    """Evaluate F gram + neg - pos; shape (p, k)."""
    return F @ gram + neg - pos


def shift_pattern(blocks):
    """List where V can be non-zero, column by column: a word that a stratum never uses has v = 0.

    Returns
    -------
    ptr : ndarray of shape (n + 1,)
        Entries ptr[j] to ptr[j + 1] belong to column j.
    stratum : ndarray of shape (nnz_v,)
        The stratum of each entry, ascending within a column.
    sums : ndarray of shape (nnz_v,)
        The column sum A(i)'1 there.
    """
    table = np.array([column_sums(a) for a in blocks])
    ptr, stratum, sums = [0], [], []
    for j in range(table.shape[1]):
        for s in range(len(blocks)):
            if table[s, j] > 0:
                stratum.append(s)
                sums.append(table[s, j])
        ptr.append(len(stratum))
    return np.array(ptr), np.array(stratum, dtype=int), np.array(sums)


def pattern_places(ptr, stratum, columns, held_ptr, held_stratum):
    """Find where each entry (column, stratum) of a pattern, whose columns are `columns`, is in another pattern."""
    place = []
    for j in range(len(ptr) - 1):
        for p in range(ptr[j], ptr[j + 1]):
            for at in range(held_ptr[columns[j]], held_ptr[columns[j] + 1]):
                if held_stratum[at] == stratum[p]:
                    place.append(at)
    return place


def pattern_tmatmul(ptr, stratum, v, F, n_strata):
    """Multiply V (S, n), held on its pattern, by F (n, k): row s is sum_j v[s, j] F[j]; shape (S, k)."""
    out = np.zeros((n_strata, F.shape[1]))
    for j in range(len(ptr) - 1):
        for p in range(ptr[j], ptr[j + 1]):
            out[stratum[p]] += float(v[p]) * F[j].astype(float)
    return out


def pattern_sampled(ptr, stratum, sums, F):
    """Evaluate sums[s] . F[j] for the entries (s, j) of a pattern; sums (S, k), F (n, k); shape (nnz_v,)."""
    out = np.zeros(len(stratum))
    for j in range(len(ptr) - 1):
        for p in range(ptr[j], ptr[j + 1]):
            out[p] = float(sums[stratum[p]].astype(float) @ F[j].astype(float))
    return out


def nnls_by_supports(gram, right):
    """Minimise 1/2 x'Gx - b'x over x >= 0 by trying every support; gram (k, k) positive definite, right (k,).

    Costs 2^k solves, so k is small; the best feasible stationary point is the minimiser, for the problem is
    convex.
    """
    k = len(right)
    best, best_value = np.zeros(k), 0.0
    for size in range(1, k + 1):
        for support in map(list, combinations(range(k), size)):
            x = np.zeros(k)
            x[support] = np.linalg.solve(gram[np.ix_(support, support)], right[support])
            value = 0.5 * x @ gram @ x - right @ x
            if x.min() >= 0 and value < best_value:
                best, best_value = x, value
    return best


# ---------------------------------------------------------------- other divergences


def kullback_leibler(X, Y):
    """Sum x log(x / y) - x + y over all entries, with 0 log 0 = 0; X, Y dense (p, q)."""
    total = 0.0
    for x, y in zip(np.ravel(X), np.ravel(Y), strict=True):
        total += y - x + (x * np.log(x / y) if x > 0 else 0.0)
    return total


def kullback_leibler_mu(X, W, H):
    """Take one multiplicative step of W, then of H with the new W (Lee and Seung 2001); X dense, H (r, n)."""
    W = W * ((X / (W @ H)) @ H.T) / H.sum(axis=1)
    return W, H * (W.T @ (X / (W @ H))) / W.sum(axis=0)[:, None]


def squarem_step(x0, x1, x2):
    """Return the step of SQUAREM, at least 1, from factors (dicts of arrays) before and after two updates."""
    of_r = of_s = 0.0
    for name, F in x2.items():
        r, s, size = 0.0, 0.0, 0.0
        for a, b, c in zip(np.ravel(x0[name]), np.ravel(x1[name]), np.ravel(F), strict=True):
            r, s, size = r + abs(b - a), s + abs(c - 2 * b + a), size + abs(c)
        of_r, of_s = of_r + r / size, of_s + s / size
    return max(1.0, of_r / of_s)


def squarem_point(x0, x1, x2, step):
    """Extrapolate an array by SQUAREM, entry by entry; zeros of x2 stay."""
    point = np.zeros(np.shape(x2))
    for at, c in np.ndenumerate(x2):
        r, s = x1[at] - x0[at], c - 2 * x1[at] + x0[at]
        point[at] = max(x0[at] + 2 * step * r + step**2 * s, c / 10) if c > 0 else 0
    return point


def squarem_fit(X, W, H, n_plain, n_cycles):
    """Fit by `kullback_leibler_mu`: plain steps, then SQUAREM cycles; return the values, W, H and the failed cycles."""
    x, values, limit, failed = {"W": W, "H": H}, [kullback_leibler(X, W @ H)], 16.0, 0

    def update(x):
        W, H = kullback_leibler_mu(X, x["W"], x["H"])
        return {"W": W, "H": H}, kullback_leibler(X, W @ H)

    for _ in range(n_plain):
        x, value = update(x)
        values.append(value)
    for _ in range(n_cycles):
        x1, value_1 = update(x)
        x2, value_2 = update(x1)
        step = squarem_step(x, x1, x2)
        x, value = update({name: squarem_point(x[name], x1[name], x2[name], min(step, limit)) for name in x})
        if step >= limit:
            limit = limit * 4 if value < value_2 else max(1.0, limit / 4)
        if not value < value_2:
            x, value, failed = x2, value_2, failed + 1
        values += [value_1, value_2, value]
    return np.array(values), x["W"], x["H"], failed


# ---------------------------------------------------------------- entry weights


def weighted_loss(X, Y, O):
    """Sum O (x - y)^2 over the entries with O > 0; X, Y, O dense (p, q)."""
    return sum(o * (x - y) ** 2 for x, y, o in zip(X.ravel(), Y.ravel(), O.ravel(), strict=True) if o > 0)


def weighted_row_parts(O, X, shift, G):
    """Form for every row i: sum_j O_ij g_j g_j', sum_j O_ij x_ij g_j, sum_j O_ij shift_ij g_j; O, X, shift (p, q)."""
    gram = np.array([sum(o * np.outer(g, g) for o, g in zip(row, G, strict=True)) for row in O])
    return gram, (O * X) @ G, (O * shift) @ G


def weighted_rows_mu(F, gram, pos, neg, eps, floor=0.0):
    """Take one multiplicative step of every row with its own Gram matrix; gram (p, k, k)."""
    return np.array([rows_mu(f, a, b, c, eps, floor) for f, a, b, c in zip(F, gram, pos, neg, strict=True)])


def weighted_rows_hals(F, gram, pos, neg, n_sweeps=1):
    """Sweep over the columns of every row with its own Gram matrix; gram (p, k, k)."""
    pieces = [rows_hals(F[[i]], gram[i], pos[[i]], neg[[i]], n_sweeps)[0] for i in range(len(F))]
    return np.array(pieces)


def implicit_row_parts(rows, background, G):
    """Form for every row i: sum_j c_ij g_j g_j' and sum_j c_ij x_ij g_j, as Hu, Koren and Volinsky 2008, eq. 4, do it.

    A row is a list of (j, x_ij, c_ij); of all other j, c_ij is the background and x_ij is zero. The sum over all j with
    the weight of the background is the same for all rows, and each stored entry is a correction of it.
    """
    shared = background * sum(np.outer(g, g) for g in G)
    grams = [shared + sum((c - background) * np.outer(G[j], G[j]) for j, _, c in row) for row in rows]
    return np.array(grams), np.array([sum((c * x * G[j] for j, x, c in row), np.zeros(G.shape[1])) for row in rows])


def weighted_kullback_leibler(X, Y, O):
    """Evaluate sum_ij O_ij (x log(x / y) - x + y), entry by entry; what has weight zero is not looked at."""
    total = 0.0
    for x, y, o in zip(np.ravel(X), np.ravel(Y), np.ravel(O), strict=True):
        if o > 0:
            total += o * (y - x + (x * np.log(x / y) if x > 0 else 0.0))
    return total


def weighted_kullback_leibler_parts(X, codes, V, W, H, O):
    """Return the positive and the negative part of minus the gradient by V, W and H: a dict of pairs (pos, neg).

    V (S, n), W (m, r), H (r, n); row i has the shift V[codes[i]]. Zhang, Wang, Ford and Makedon 2006 weigh the ratios
    of Lee and Seung 2001 by O.
    """
    parts = {name: (np.zeros(F.shape), np.zeros(F.shape)) for name, F in (("V", V), ("W", W), ("H", H))}
    for i, j in zip(*np.nonzero(O), strict=True):
        ratio = X[i, j] / (V[codes[i], j] + W[i] @ H[:, j]) if X[i, j] > 0 else 0.0
        for side, weight in ((0, O[i, j] * ratio), (1, O[i, j])):
            parts["V"][side][codes[i], j] += weight
            parts["W"][side][i] += weight * H[:, j]
            parts["H"][side][:, j] += weight * W[i]
    return parts


# ---------------------------------------------------------------- beta divergences


def beta_divergence(X, Y, beta):
    """Sum d(x, y), eq. 3 of the slides on beta divergences: beta = 2 is half the squared error; X, Y dense (p, q)."""
    total = 0.0
    for x, y in zip(np.ravel(X), np.ravel(Y), strict=True):
        if beta == 0:
            total += x / y - np.log(x / y) - 1
        elif beta == 1:
            total += y - x + (x * np.log(x / y) if x > 0 else 0.0)
        else:
            total += (x**beta + (beta - 1) * y**beta - beta * x * y ** (beta - 1)) / (beta * (beta - 1))
    return total


def shifted_model(codes, V, W, H, row_scale):
    """Form y_ij = u_i v_(g(i), j) + w_i . h_j, row by row; V (S, n), W (m, r), H (r, n), loading u (m,)."""
    return np.array([u * V[g] + w @ H for g, w, u in zip(codes, W, row_scale, strict=True)])


def beta_parts(X, codes, V, W, H, beta, row_scale):
    """Return the positive and the negative part of minus the gradient by V, W and H: a dict of pairs (pos, neg).

    As in scikit-learn, a model value below 1.2e-7 counts as that where it has a negative exponent.
    """
    Y = shifted_model(codes, V, W, H, row_scale)
    safe = np.maximum(Y, 1.1920929e-07)
    P, Q = X * (safe if beta < 2 else Y) ** (beta - 2), (safe if beta < 1 else Y) ** (beta - 1)

    def by_stratum(Z):
        out = np.zeros(V.shape)
        for g, z, u in zip(codes, Z, row_scale, strict=True):
            out[g] += u * z
        return out

    return {"V": (by_stratum(P), by_stratum(Q)), "W": (P @ H.T, Q @ H.T), "H": (W.T @ P, W.T @ Q)}


def beta_mu(X, codes, V, W, H, beta, names, row_scale=None):
    """Take one multiplicative step of the factors `names` from the same point (Fevotte and Idier 2011, eq. 4.1)."""
    row_scale = np.ones(len(X)) if row_scale is None else row_scale
    gamma = 1 / (2 - beta) if beta < 1 else 1 if beta <= 2 else 1 / (beta - 1)
    parts, factors = beta_parts(X, codes, V, W, H, beta, row_scale), {"V": V, "W": W, "H": H}
    for name in names:
        pos, neg = parts[name]
        ratio = np.divide(pos, neg, out=np.zeros(pos.shape), where=pos > 0)
        factors[name] = factors[name] * ratio**gamma
    return factors["V"], factors["W"], factors["H"]


def settled_entry(kept, beta):
    """Find the h > 0 where the sum of the slopes of functions above the divergence of batches is zero, by bisection.

    kept holds (share, old h, pos, neg) of every batch; see Fevotte and Idier 2011, table 1, for these functions.
    """

    def slope(h):
        total = 0.0
        for share, old, pos, neg in kept:
            t = h / old
            total += share * (neg * (t ** (beta - 1) if beta > 1 else 1) - pos * (t ** (beta - 2) if beta < 2 else 1))
        return total

    low, high = 1e-9, 1e9
    for _ in range(120):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return low


def learned_batches(blocks, V, H, beta, forget, weigh, parts):
    """Learn V and H from one block (X, codes) after the other; a block counts `forget` times as much after the next.

    weigh(X, codes, V, H) finds the weights of a block, parts(X, codes, V, W, H) is as `beta_parts`. Zeros stay.
    """
    kept = []
    for X, codes in blocks:
        found = parts(X, codes, V, weigh(X, codes, V, H), H)
        kept = [(share * forget, *old) for share, *old in kept] + [(1.0, {"V": V, "H": H}, found)]
        factors = {"V": V.copy(), "H": H.copy()}
        for name, F in factors.items():
            for at in zip(*np.nonzero(F), strict=True):
                of_entry = [(share, old[name][at], *(part[at] for part in p[name])) for share, old, p in kept]
                F[at] = settled_entry(of_entry, beta)
        V, H = factors["V"], factors["H"]
    return V, H
