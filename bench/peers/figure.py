"""Draw the loss of Stratified-NMF against time from the curves of a run.

Usage::

    python bench/peers/figure.py bench/peers/results/results.json
"""

import json
import sys
from pathlib import Path

ITERATIONS = 100
COLORS = {"HALS": "tab:blue", "MU": "tab:orange", "paper": "tab:gray"}


def draw(curves, target, path, caption=""):
    """Draw curves {name: {"seconds": [...], "loss": [...]}} on a logarithmic time axis; dashed is float32."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    for name, curve in curves.items():
        is_single = "float32" in name
        color = next(c for key, c in COLORS.items() if name.startswith(key))
        points = [(t, loss) for t, loss in zip(curve["seconds"], curve["loss"], strict=True) if t > 0]
        axes.plot(
            *zip(*points, strict=True), color=color, linestyle="--" if is_single else "-", label=name, marker=".", ms=3
        )
    axes.axhline(target, color="black", linewidth=0.7)
    label = f"published program after {ITERATIONS} iterations"
    at = {"xy": (0.995, target), "xycoords": ("axes fraction", "data")}
    axes.annotate(label, **at, ha="right", va="top", fontsize=8)
    low = min(min(curve["loss"]) for curve in curves.values())
    axes.set(xscale="log", ylim=(low - 0.0004, 0.992), xlabel="seconds since the call of fit", ylabel="normalized loss")
    axes.set_title(caption, fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def from_results(content, path):
    """Draw the curves of the content of a ``results.json``; return whether there were any."""
    section = content["sections"].get("target")
    if not section or "curves" not in section:
        return False
    caption = f"{content['data']}\npaper loop: measured pace, losses of the same iterates as MU; a dot is an iteration"
    draw(section["curves"], next(iter(section["targets"].values())), path, caption)
    return True


if __name__ == "__main__":
    source = Path(sys.argv[1])
    from_results(json.loads(source.read_text()), source.with_name("loss_against_time.png"))
