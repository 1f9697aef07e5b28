"""Figures: NMI against rank and against noise, and the components of faces. Each function returns a figure or None."""

import numpy as np
from drawings import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SIZE, SKY, axes_of
from khan_cells import METHODS, RANKLESS, SETS, slug

GREY = "#999999"
SOLID, DASHED = "-", (0, (4, 2))
OF_THESIS = {
    "NMF": (BLUE, SOLID), "Meta-NMF": (BLUE, DASHED), "NMF-NNDSVD": (ORANGE, SOLID), "GNMF": (GREEN, SOLID),
    "Meta-NMF-NNDSVD": (ORANGE, DASHED), "Meta-GNMF": (GREEN, DASHED), "GNMF-NNDSVD": (PINK, SOLID),
    "Meta-GNMF-NNDSVD": (PINK, DASHED),
}  # fmt: skip
FAIR = {
    "NMF": (SKY, SOLID), "NMF, same budget": (BLUE, SOLID), "NMF, pre-trained": (ORANGE, SOLID),
    "Meta-NMF": (RED, DASHED), "Meta-NMF, as in the text": (PINK, DASHED), "NMF, HALS": (BLACK, SOLID),
    "GraphNMF": (GREEN, SOLID), "GraphNMF, weight 100": (GREEN, DASHED), "k-means": (GREY, SOLID),
}  # fmt: skip
FACES = [name for name in METHODS if name not in RANKLESS]


def _lines(ax, part, styles, by):
    """Draw one line a method, with the range over the seeds; what has one value only is a dot, k-means a level."""
    for name, (color, style) in styles.items():
        own = part[part.method == name]
        if own.empty:
            continue
        if name in RANKLESS and by == "rank":
            ax.axhline(own.nmi.mean(), color=color, lw=1.4)
            continue
        values = own.groupby(by).nmi.agg(["mean", "min", "max"])
        ax.fill_between(values.index, values["min"], values["max"], color=color, alpha=0.15, lw=0)
        ax.plot(values.index, values["mean"], color=color, ls=style, marker="o", ms=3, lw=1.4)


def _legend(ax, styles, names):
    """Fill an empty panel with the legend."""
    for name, (color, style) in styles.items():
        if name in names:
            ax.plot([], [], color=color, ls=style, marker="" if name in RANKLESS else "o", ms=3, label=name)
    ax.legend(frameon=False, fontsize=SIZE, loc="center left")
    ax.set_axis_off()


def _against_rank(frame, styles, title):
    part = frame[(frame.sigma == 0) & frame.method.isin(styles)]
    names = [name for name in SETS if name in set(part.data)]
    if not names:
        return None
    figure, axes = axes_of(2, 3, (10.5, 6), sharex=True)  # each its own scale: most differences are small
    for ax, name in zip(axes.flat, names, strict=False):
        _lines(ax, part[part.data == name], styles, "rank")
        ax.set_title(name, fontsize=SIZE + 1, loc="left")
        ax.tick_params(labelbottom=True)
        ax.set_xlabel("rank")
    for ax in axes.flat[len(names) : -1]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("NMI of k-means")
    axes[0, 0].set(xticks=sorted(part["rank"][part["rank"] > 0].unique()))
    _legend(axes.flat[-1], styles, set(part.method))
    figure.suptitle(title, fontsize=SIZE + 2, x=0.01, ha="left")
    return figure


def thesis(frame, folder=None):
    """Draw NMI against the rank of the methods of the thesis, no noise."""
    return _against_rank(frame, OF_THESIS, "Methods of the thesis, no noise (band: range over the seeds)")


def fair(frame, folder=None):
    """Draw NMI against the rank of Meta-NMF and of baselines with as many iterations, no noise."""
    return _against_rank(frame, FAIR, "Meta-NMF beside baselines with the same budget, no noise")


def noise(frame, folder=None):
    """Draw NMI against the level of noise, a row for each data set, a column for each rank."""
    has_noise = set(frame[frame.sigma > 0].data)
    names = [name for name in ("Digits", "COIL-20") if name in has_noise]
    styles = {name: style for name, style in FAIR.items() if name != "NMF, same budget"}
    noisy = frame[frame.data.isin(names) & (frame.sigma > 0)]
    ranks = sorted(set(noisy["rank"]) - {0})
    if not names or not ranks:
        return None
    figure, axes = axes_of(len(names), len(ranks) + 1, (3.4 * len(ranks) + 2.8, 3.1 * len(names)), sharey="row")
    for line, name in zip(axes, names, strict=True):
        for ax, rank in zip(line, ranks, strict=False):
            part = frame[(frame.data == name) & frame["rank"].isin((rank, 0))]
            _lines(ax, part, styles, "sigma")
            ax.set_title(f"{name}, rank {rank}", fontsize=SIZE + 1, loc="left")
            ax.set(xlabel="standard deviation of the noise", ylim=(0, 1))
        line[0].set_ylabel("NMI of k-means")
        line[-1].set_axis_off()
    _legend(axes[0, -1], styles, set(noisy.method))
    figure.suptitle("Noise (features are in [0, 1] before it is added)", fontsize=SIZE + 2, x=0.01, ha="left")
    return figure


def faces(frame, folder):
    """Draw the components that each method finds in faces as images."""
    found = {name: folder / "components" / f"{slug(name)}.npy" for name in FACES}
    parts = {name: np.load(path) for name, path in found.items() if path.is_file()}
    if not parts:
        return None
    n = max(len(H) for H in parts.values())
    figure, axes = axes_of(len(parts), n, (0.78 * n + 2.1, 0.82 * len(parts) + 0.4))
    for line, (name, H) in zip(axes, parts.items(), strict=True):
        for ax in line:
            ax.set_axis_off()
        for ax, row in zip(line, H[np.argsort(-np.linalg.norm(H, axis=1))], strict=False):
            ax.imshow(row.reshape(32, 32), cmap="gray", interpolation="nearest")
        line[0].text(
            -0.15, 0.5, name.replace(", ", ",\n"), transform=line[0].transAxes, ha="right", va="center", fontsize=SIZE
        )
    figure.suptitle("Olivetti faces, rank 10, seed 0: components", fontsize=SIZE + 2, x=0.01, ha="left")
    return figure


FIGURES = {"nmi_thesis": thesis, "nmi_fair": fair, "nmi_noise": noise, "face_parts": faces}
