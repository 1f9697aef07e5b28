"""The slides on measures of the error: divergences, what is above and below X, several measures, and the choice."""

import numpy as np
from slides_style import BLACK, BLUE, GREEN, ORANGE, PINK, RED, axes_of

from fastnmf import NMF, DistributionallyRobustNMF, select_beta
from fastnmf.core.losses.divergence_mixture import divergences

DENSITY = 1 - np.exp(-0.5)
OVER_AND_UNDER = {"squared error": (59.84, 80.12), "Itakura-Saito": (100.00, 0.33)}  # as on the slides
NOISE = {"gamma": (0, 0.5, 1, 1.5, 2), "Poisson": (0.5, 1, 1.5, 2), "normal": (0.5, 1, 1.5, 2)}


def curves(options=None):
    """Return rows of y and d(1, y) for each beta; nothing of the options matters."""
    y = np.linspace(0.05, 4, 400)
    betas = (-1.0, 0.0, 0.5, 1.0, 2.0, 3.0)
    return [{"y": v, **{f"beta={b:g}": float(divergences(1.0, v, b)) for b in betas}} for v in y]


def random_sparse(rng):
    """Draw what MATLAB's sprand(100, 100, 0.5) draws: 5000 positions, equal ones once, uniform values."""
    place = np.unique(100 * rng.integers(0, 100, 5000) + rng.integers(0, 100, 5000))
    X = np.zeros(100 * 100)
    X[place] = rng.random(len(place))
    return X.reshape(100, 100)


def over_and_under(options):
    """Return the shares of the norm of the error that are above and below X, in percent, one row a seed and measure."""
    rows = []
    for seed in range(1, options["seeds"] + 1):
        rng = np.random.default_rng(seed)
        X = random_sparse(rng)
        W, H = rng.random((100, 10)), rng.random((10, 100))
        for name, beta, floor in (("squared error", 2.0, 0.0), ("Itakura-Saito", 0.0, np.finfo(float).eps)):
            model = NMF(10, solver="mu", beta_loss=beta, init="custom", max_iter=options["updates"], tol=0)
            R = model.fit_transform((X + floor).T, W=H.T, H=W.T) @ model.components_ - X.T  # H of the slides first
            over, under = (100 * np.linalg.norm(np.maximum(side, 0)) / np.linalg.norm(R) for side in (R, -R))
            rows.append({"seed": seed, "measure": name, "density": np.mean(X > 0), "over": over, "under": under})
    return rows


def trade_off(options):
    """Return the excesses of fits of weighted sums of Itakura-Saito and Kullback-Leibler, and of the robust fit."""
    rng = np.random.default_rng(25)
    X = rng.gamma(2, 1, (30, 40)) * (rng.random((30, 3)) @ rng.random((3, 40))) + 1e-3
    W, H = rng.random((30, 3)), rng.random((3, 40))
    shared = {"betas": (0, 1), "init": "custom", "max_iter": options["iterations"], "tol": 0}
    robust = DistributionallyRobustNMF(3, **shared).fit(X.T, W=H.T, H=W.T)
    rows = []
    for share in np.linspace(0, 1, options["grid"]):
        model = DistributionallyRobustNMF(3, weights=(share, 1 - share), references=robust.references_, **shared)
        rows.append(_excess("weighted sum", share, model.fit(X.T, W=H.T, H=W.T)))
    return [*rows, _excess("distributionally robust", robust.weights_[0], robust)]


def _excess(name, share, model):
    both = dict(zip(("Itakura-Saito", "Kullback-Leibler"), model.excesses_, strict=True))
    return {"fit": name, "weight of Itakura-Saito": share, **both}


def choice(options):
    """Return the scores of each beta on data with three kinds of noise."""
    rng = np.random.default_rng(0)
    Y = rng.gamma(1, 1, (60, 3)) @ rng.gamma(1, 1, (3, 50))
    drawn = {
        "gamma": Y * rng.gamma(5, 0.2, Y.shape),
        "Poisson": rng.poisson(Y),
        "normal": np.maximum(Y + 0.1 * rng.standard_normal(Y.shape), 0),
    }
    rows = []
    for noise, betas in NOISE.items():
        found = select_beta(drawn[noise], 3, betas, n_splits=options["splits"], random_state=0)
        rows += [{"noise": noise, **row, "is best": row["beta"] == found.best} for row in found.table]
    return rows


def draw_curves(rows):
    """Draw d(1, y)."""
    figure, (ax,) = axes_of(1, (5.2, 3.6))
    names = [name for name in rows[0] if name != "y"]
    for name, colour in zip(names, (PINK, RED, ORANGE, GREEN, BLUE, BLACK), strict=True):
        ax.plot([row["y"] for row in rows], [row[name] for row in rows], color=colour)
        last = next(row for row in reversed(rows) if row[name] < 2.9)
        place = (3, -3) if last["y"] == rows[-1]["y"] else (-4, 6)
        where = "left" if last["y"] == rows[-1]["y"] else "center"
        ax.annotate(
            name.replace("=", " = "), (last["y"], last[name]), place, textcoords="offset points", ha=where, color=colour
        )
    ax.set(xlabel="y", ylabel="d(1, y)", ylim=(0, 3), xlim=(0, 4))
    ax.set_title("A small beta punishes y < x, a large one y > x", pad=18)
    return figure


def draw_over_and_under(rows):
    """Draw the shares of each seed, and what the slides say."""
    figure, axes = axes_of(2, (7.2, 3.4))
    for ax, name in zip(axes, OVER_AND_UNDER, strict=True):
        for i, side in enumerate(("over", "under")):
            own = [row[side] for row in rows if row["measure"] == name]
            value = OVER_AND_UNDER[name][i]
            ax.hlines(value, i - 0.35, i + 0.35, color=ORANGE, linewidth=5, alpha=0.5, label="slides" * (i == 0))
            ax.plot(i + np.linspace(-0.2, 0.2, len(own)), own, ".", color=BLUE, label="ours, one a seed" * (i == 0))
            text = f"{np.mean(own):.2f}, slides {value:.2f}"
            ax.annotate(text, (i, value), (0, 12 if value < 50 else -18), textcoords="offset points", ha="center")
        ax.set(xticks=(0, 1), xticklabels=("above X", "below X"), ylim=(-4, 108), xlim=(-0.6, 1.6), title=name)
    axes[0].set_ylabel("% of the norm of the error")
    axes[1].legend(frameon=False, loc="center right")
    return figure


def draw_trade_off(rows):
    """Draw the excesses of weighted fits as a curve, and the robust one."""
    figure, (ax,) = axes_of(1, (5, 4.6))
    names = ("Itakura-Saito", "Kullback-Leibler")
    points = np.array([[row[name] for name in names] for row in rows])
    ax.plot(*points[:-1].T, ".-", color=BLUE)
    ax.plot(*points[-1], "*", ms=14, color=RED)
    limits = (0.995, points.max() + 0.012)
    ax.plot(limits, limits, "--", color=BLACK, linewidth=0.8)
    ax.annotate("equal excess", 2 * (0.2 + 0.8 * points.max(),), (-4, 4), textcoords="offset points", ha="right")
    ax.annotate("Kullback-Leibler only", points[0], (7, -3), textcoords="offset points")
    ax.annotate("Itakura-Saito only", points[-2], (7, -3), textcoords="offset points")
    text = f"robust: {points[-1].max():.3f} in both"
    ax.annotate(text, points[-1], (12, -4), textcoords="offset points", color=RED)
    ax.set(xlabel="Itakura-Saito / its best", ylabel="Kullback-Leibler / its best", xlim=limits, ylim=limits)
    ax.set_aspect("equal")
    return figure


def draw_choice(rows):
    """Draw the scores by beta, a panel for each kind of noise."""
    figure, axes = axes_of(3, (8.4, 3))
    for ax, noise in zip(axes, NOISE, strict=True):
        own = [row for row in rows if row["noise"] == noise]
        ax.errorbar(*([row[key] for row in own] for key in ("beta", "score", "deviation")), marker=".", color=BLUE)
        best = next(row for row in own if row["is best"])
        ax.plot(best["beta"], best["score"], "*", ms=13, color=RED)
        ax.set(xlabel="beta", title=f"{noise} noise")
    axes[0].set_ylabel("held-out score, smaller is better")
    return figure
