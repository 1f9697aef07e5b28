"""Definitions of the measures of topics and of stationarity, in plain loops; nothing of ours is imported."""

import math


def coherence(topic, documents, measure):
    """Return UMass (Mimno 2011, equation 1) or NPMI (mean over pairs) of a list of columns, strongest first."""
    total, n_pairs = 0.0, 0
    for later in range(1, len(topic)):
        for earlier in range(later):
            w, u = topic[later], topic[earlier]
            of_w = sum(1 for row in documents if row[w] != 0)
            of_u = sum(1 for row in documents if row[u] != 0)
            of_both = sum(1 for row in documents if row[w] != 0 and row[u] != 0)
            n_pairs += 1
            if measure == "umass":
                total += math.log((of_both + 1) / of_u)
            elif of_both == 0:
                total += -1
            elif of_both == len(documents):
                total += 1
            else:
                p = of_both / len(documents)
                total += math.log(p / (of_w * of_u / len(documents) ** 2)) / -math.log(p)
    return total if measure == "umass" else total / n_pairs


def kkt_residual(X, W, H, V, stratum):
    """Return the largest |min(x, g / d)| / |x| over the shifts, the columns of W and the rows of H; V may be None."""
    n, m, k = len(X), len(X[0]), len(H)
    residual = [[0.0] * m for _ in range(n)]
    for i in range(n):
        for j in range(m):
            shift = 0.0 if V is None else V[stratum[i]][j]
            residual[i][j] = shift + sum(W[i][l] * H[l][j] for l in range(k)) - X[i][j]
    ratios = []
    for l in range(k):
        entries = []
        d = sum(H[l][j] ** 2 for j in range(m))
        for i in range(n):
            g = sum(residual[i][j] * H[l][j] for j in range(m))
            entries.append((W[i][l], g / d if d else 0.0))
        ratios.append(_ratio(entries))
        entries = []
        d = sum(W[i][l] ** 2 for i in range(n))
        for j in range(m):
            g = sum(residual[i][j] * W[i][l] for i in range(n))
            entries.append((H[l][j], g / d if d else 0.0))
        ratios.append(_ratio(entries))
    if V is not None:
        entries = []
        for s in range(len(V)):
            rows = [i for i in range(n) if stratum[i] == s]
            for j in range(m):
                entries.append((V[s][j], sum(residual[i][j] for i in rows) / len(rows)))
        ratios.append(_ratio(entries))
    return max(ratios)


def _ratio(entries):
    distance = math.sqrt(sum(min(x, step) ** 2 for x, step in entries))
    length = math.sqrt(sum(x * x for x, _ in entries))
    return distance / length if length > 0 else (math.inf if distance > 0 else 0.0)
