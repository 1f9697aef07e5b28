"""The slides on models: the karate club, tri-factors, topics, and the corners of a mixture."""

import numpy as np
import scipy.sparse as sp
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from plsa import start, words
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import shortest_path
from scipy.spatial import ConvexHull
from slides_style import BLACK, BLUE, GREEN, ORANGE, RED, axes_of

from fastnmf import NMF, PLSA, SeparableNMF, SymmetricNMF, TriSymmetricNMF
from fastnmf.datasets.karate import load_karate_club

SHARES = LinearSegmentedColormap.from_list("shares", (BLUE, "#EEEEEE", ORANGE))


def misplaced(labels, club):
    """Return the numbers, from 1, of the members who are in another club than their community."""
    same = labels == labels[0]  # member 1 is the teacher
    return ", ".join(str(i + 1) for i in np.flatnonzero(same != (club.target == 0)))


def karate(options):
    """Return objective, weights of member 9 and the members that are misplaced, one row a seed and model."""
    club, rows = load_karate_club(), []
    for seed in range(options["karate_seeds"]):
        model = SymmetricNMF(2, diagonal=1.0, random_state=seed).fit(club.data)
        rows.append(_club_row("symmetric, ones on the diagonal", seed, model, np.sort(model.W_[8]), club))
    model = SymmetricNMF(2, random_state=0).fit(club.data)
    rows.append(_club_row("symmetric, zeros on the diagonal", 0, model, np.sort(model.W_[8]), club))
    looped = sp.csr_array(club.data + sp.eye_array(34))
    for seed in range(options["karate_seeds"] + 1):
        how = {"init": "random", "random_state": seed - 1} if seed else {}
        model = TriSymmetricNMF(2, max_iter=5000, tol=1e-12, **how).fit(looped)
        name = "tri-symmetric, random start" if seed else "tri-symmetric, anchors"
        row = _club_row(name, max(seed - 1, 0), model, np.sort(model.W_[8] * np.sqrt(np.diag(model.S_))), club)
        S = np.sort(np.diag(model.S_))
        rows.append(row | {"S11": S[0], "S22": S[1], "S12": model.S_[0, 1]})
    return rows


def _club_row(name, seed, model, of_nine, club):
    found = {"model": name, "seed": seed, "objective": model.history_["objective"][-1]}
    found |= {"W(9) small": of_nine[0], "W(9) large": of_nine[1], "misplaced": misplaced(model.labels_, club)}
    return found | {"iterations": model.n_iter_, "S11": "", "S22": "", "S12": ""}


def positions(A, steps=300):
    """Return places (n, 2) in the plane, whose distances are as those on the graph: stress, from a spectral start.

    Kamada and Kawai's weights, one over the square of the distance, and de Leeuw's majorisation, which needs no step
    size. No randomness.
    """
    distances = shortest_path(A, unweighted=True, directed=False)
    n = len(distances)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * centre @ distances**2 @ centre)
    places = vectors[:, -2:] * np.sqrt(values[-2:])
    weight = np.divide(1, distances**2, out=np.zeros_like(distances), where=distances > 0)
    inverse = np.linalg.pinv(np.diag(weight.sum(axis=1)) - weight)
    for _ in range(steps):
        apart = np.linalg.norm(places[:, None] - places, axis=2)
        pull = -weight * np.divide(distances, apart, out=np.zeros_like(apart), where=apart > 0)
        np.fill_diagonal(pull, -pull.sum(axis=1))
        places = inverse @ pull @ places
    return places


def draw_karate(rows):
    """Draw the network coloured by the two memberships, and the members by their two weights."""
    club = load_karate_club()
    model = SymmetricNMF(2, diagonal=1.0, random_state=0).fit(club.data)
    W = model.W_ if model.labels_[0] == 0 else model.W_[:, ::-1]
    share = W[:, 1] / W.sum(axis=1)
    figure, (net, plane) = axes_of(2, (12, 5), width_ratios=(1.25, 1))
    places = positions(club.data)[:, ::-1]  # the longer axis to the right
    places *= -1 if places[0, 0] > places[33, 0] else 1
    for i, j in zip(*sp.triu(club.data).tocoo().coords, strict=True):
        net.plot(*places[[i, j]].T, color="#CCCCCC", linewidth=0.8, zorder=1)
    for marker, group in (("o", 0), ("s", 1)):
        who = club.target == group
        shown = {"c": share[who], "cmap": SHARES, "vmin": 0, "vmax": 1, "marker": marker, "edgecolors": BLACK}
        dots = net.scatter(*places[who].T, s=230, linewidths=0.8, zorder=2, **shown)
        plane.scatter(*W[who].T, s=50, linewidths=0.6, zorder=2, **shown)
    net.scatter(*places[8], s=450, facecolors="none", edgecolors=RED, linewidths=2, zorder=3)
    for i, place in enumerate(places):
        dark = min(share[i], 1 - share[i]) < 0.15 and share[i] < 0.5
        net.text(*place, i + 1, ha="center", va="center", fontsize=8, color="white" if dark else BLACK, zorder=4)
    net.set(xticks=(), yticks=(), aspect="equal", title="34 members and 78 friendships")
    net.spines[:].set_visible(False)
    bar = figure.colorbar(dots, ax=net, location="bottom", shrink=0.5, aspect=30, ticks=(0, 0.5, 1), pad=0.02)
    bar.ax.set_xticklabels(("community of 1", "both", "community of 34"))
    limit = 1.08 * W.max()
    plane.plot((0, 0.85 * limit), (0, 0.85 * limit), "--", color=BLACK, linewidth=0.8, zorder=1)
    for i in (0, 2, 8, 32, 33):
        text = f"9: {W[8].min():.2f}, {W[8].max():.2f}" if i == 8 else str(i + 1)
        plane.annotate(
            text, W[i], (4, 14) if i == 8 else (8, 3), textcoords="offset points", color=RED if i == 8 else BLACK
        )
    plane.scatter(*W[8], s=140, facecolors="none", edgecolors=RED, linewidths=1.6, zorder=3)
    plane.set(xlabel="weight in the community of 1", ylabel="weight in the community of 34")
    plane.set(xlim=(-0.05, limit), ylim=(-0.05, limit), aspect="equal", title="Member 9 alone is misplaced")
    marks = {"linestyle": "none", "markerfacecolor": "white", "markeredgecolor": BLACK}
    groups = (("o", "stayed with the teacher"), ("s", "went with the officers"))
    handles = [Line2D([], [], marker=marker, label=name, **marks) for marker, name in groups]
    plane.legend(handles=handles, frameon=False, loc="upper center", fontsize=9)
    return figure


def log_likelihood(X, A, s, B):
    """Return ``sum x_dw log sum_z A_dz s_z B_zw``, from the factors alone, over the non-zeros in blocks."""
    total, X = 0.0, X.tocoo()
    for some in np.array_split(np.arange(X.nnz), max(X.nnz // 100_000, 1)):
        model = np.einsum("pz,pz->p", A[X.row[some]] * s, B.T[X.col[some]])
        total += float(X.data[some] @ np.log(model))
    return total


def topics(options):
    """Return PLSA's topics beside those of KL-NMF from one start, and both log-likelihoods; None without the corpus."""
    try:
        X, names = words()
    except SystemExit:
        return None
    X = X[np.asarray(X.sum(axis=1)).ravel() > 0]
    A, s, B = start(X, options["topics"], seed=options["topic_seed"])
    steps = {"init": "custom", "max_iter": options["steps"], "tol": 0}
    plsa = PLSA(options["topics"], **steps).fit(X, W=A, H=B, s=s)
    nmf = NMF(options["topics"], solver="mu", beta_loss="kullback-leibler", **steps)
    total = X.sum()
    W = nmf.fit_transform(X, W=A * np.sqrt(total * s), H=B * np.sqrt(total * s)[:, None])
    masses = W.sum(axis=0), nmf.components_.sum(axis=1)
    own = W / masses[0], masses[0] * masses[1] / total, nmf.components_ / masses[1][:, None]
    alike = _cosines(plsa.components_, own[2])
    mine, theirs = linear_sum_assignment(-alike)
    ours, others = plsa.top_features(10, names), nmf.top_features(10, names)
    order = np.argsort(-plsa.s_)
    partner = dict(zip(mine, theirs, strict=True))
    found = [
        {
            "P(z)": plsa.s_[z],
            "KL-NMF": own[1][partner[z]],
            "cosine": alike[z, partner[z]],
            "common": len(set(ours[z]) & set(others[partner[z]])),
            "words of PLSA": " ".join(ours[z]),
            "words of KL-NMF": " ".join(others[partner[z]]),
        }
        for z in order
    ]
    # From where PLSA ended the updates of NMF change little: what is best for one is best for the other.
    again = NMF(options["topics"], solver="mu", beta_loss="kullback-leibler", **steps | {"max_iter": 10})
    again.fit(X, W=plsa.W_ * np.sqrt(total * plsa.s_), H=plsa.components_ * np.sqrt(total * plsa.s_)[:, None])
    stayed = np.einsum("zw,zw->z", *(_unit(factor) for factor in (plsa.components_, again.components_)))
    constant = float(X.data @ np.log(X.data / total))
    divergences = plsa.reconstruction_err_**2 / 2, nmf.reconstruction_err_**2 / 2
    summary = {
        "documents": X.shape[0],
        "words": X.shape[1],
        "count": float(total),
        "PLSA": plsa.log_likelihood_,
        "PLSA, from the factors": log_likelihood(X, plsa.W_, plsa.s_, plsa.components_),
        "PLSA, from the divergence": constant - divergences[0],
        "KL-NMF, from the factors": log_likelihood(X, *own),
        "KL-NMF, from the divergence": constant - divergences[1],
        "mass of KL-NMF, over that of the data": float(own[1].sum()),
        "ten more updates of KL-NMF, from PLSA's result: log-likelihood": constant - again.reconstruction_err_**2 / 2,
        "least cosine of PLSA's topics with those": float(stayed.min()),
        "curves": (plsa.history_["log_likelihood"], constant - nmf.history_["objective"]),
    }
    return {"topics": found, "summary": summary}


def _cosines(A, B):
    """Return the cosines of all rows of A with all rows of B."""
    return _unit(A) @ _unit(B).T


def _unit(A):
    return A / np.linalg.norm(A, axis=1, keepdims=True)


def draw_topics(found):
    """Draw the log-likelihoods of both by iteration, and how alike their topics are."""
    figure, (left, right) = axes_of(2, (9.6, 3.6))
    curves, count = found["summary"]["curves"], found["summary"]["count"]
    for curve, name, line, color in zip(curves, ("PLSA (EM)", "KL-NMF"), ("-", "--"), (BLUE, ORANGE), strict=True):
        left.plot(np.arange(1, len(curve)), curve[1:] / count, line, color=color, label=name)
    left.set(xscale="log", xlabel="iteration", ylabel="log-likelihood, a word", title="One objective, two orders")
    left.xaxis.set_major_formatter("{x:.0f}")
    left.legend(frameon=False, loc="lower right")
    rows = found["topics"]
    right.barh(range(len(rows)), [row["cosine"] for row in rows], color=BLUE, height=0.7)
    right.set_yticks(range(len(rows)), [" ".join(row["words of PLSA"].split()[:3]) for row in rows], fontsize=8)
    right.set(xlim=(0, 1), xlabel="cosine with the topic of KL-NMF", title="Topics of PLSA, by P(z)")
    right.invert_yaxis()
    right.grid(axis="y", visible=False)
    return figure


def scene(noise, seed=0, n_pixels=400, n_bands=80):
    """Return pixels (n_pixels, n_bands) that are mixtures of three spectra, the spectra, and the three pure pixels."""
    rng = np.random.default_rng(seed)
    band = np.linspace(0.4, 2.5, n_bands)  # micrometres
    bumps = (
        ((0.55, 0.08, 0.3), (1.0, 0.4, 0.6)),
        ((1.7, 0.3, 0.7), (0.9, 0.2, 0.2)),
        ((2.1, 0.25, 0.5), (1.3, 0.5, 0.4)),
    )
    spectra = np.array([0.1 + sum(h * np.exp(-(((band - c) / w) ** 2)) for c, w, h in one) for one in bumps])
    shares = rng.dirichlet(np.ones(3), n_pixels)
    pure = rng.choice(n_pixels, 3, replace=False)
    shares[pure] = np.eye(3)
    X = shares @ spectra
    return np.maximum(X + noise * X.mean() * rng.standard_normal(X.shape), 0), spectra, pure


def corners(options):
    """Return how many of the pure pixels are found, by noise, over seeds, and how far the spectra found are off."""
    rows = []
    for noise in (0.0, 0.01, 0.05, 0.1, 0.2):
        right, angles = [], []
        for seed in range(options["seeds"]):
            X, spectra, pure = scene(noise, seed)
            model = SeparableNMF(3).fit(X)
            right.append(len(set(model.anchors_) & set(pure)))
            nearest = np.clip(_cosines(spectra, model.components_).max(axis=1), -1, 1)
            angles.append(np.degrees(np.arccos(nearest)).max())
        rows.append(
            {
                "noise": noise,
                "scenes": len(right),
                "all three found": sum(found == 3 for found in right),
                "pure pixels found": float(np.mean(right)),
                "largest angle, degrees": float(np.max(angles)),
            }
        )
    return rows


def draw_corners(rows):
    """Draw the pixels in the plane of their two principal directions with the corners found, and the spectra."""
    X, spectra, pure = scene(0.01)
    model = SeparableNMF(3).fit(X)
    mean = X.mean(axis=0)
    plane = np.linalg.svd(X - mean, full_matrices=False)[2][:2].T
    places, true = (X - mean) @ plane, (spectra - mean) @ plane
    figure, (left, right) = axes_of(2, (10, 4.2))
    left.scatter(*places.T, s=8, color="#999999", label="pixels")
    hull = ConvexHull(places).vertices
    left.plot(*places[np.append(hull, hull[0])].T, color=BLACK, linewidth=0.7, label="convex hull")
    left.scatter(*true.T, s=170, facecolors="none", edgecolors=RED, linewidths=1.4, label="pure spectra")
    left.scatter(*places[model.anchors_].T, s=60, marker="*", color=BLUE, zorder=3, label="anchors found")
    left.set(xlabel="first direction", ylabel="second direction", title="400 pixels, 1 % noise")
    left.set_aspect("equal", adjustable="datalim")
    left.legend(frameon=False, fontsize=8)
    band = np.linspace(0.4, 2.5, X.shape[1])
    partner = _cosines(spectra, model.components_).argmax(axis=1)
    for i, (color, name) in enumerate(zip((BLUE, ORANGE, GREEN), ("first", "second", "third"), strict=True)):
        right.plot(band, spectra[i], color=color, linewidth=1.2, label=f"{name} material")
        right.plot(band, X[model.anchors_[partner[i]]], ".", color=color, ms=3)
    right.set(
        xlabel="wavelength, micrometres", ylabel="reflectance", ylim=(0, None), title="Spectra (lines), anchors (dots)"
    )
    right.legend(frameon=False, fontsize=8)
    return figure
