"""Plot the results of fits.

matplotlib is imported inside the functions: ``pip install fastnmf[plot]``.
"""

from fastnmf.plots.choice import plot_consensus, plot_rank_selection
from fastnmf.plots.fits import plot_images, plot_loss, plot_residual, plot_shift_shares, plot_top_features, plot_usage
from fastnmf.plots.trees import plot_layers, plot_reconstructions, plot_tree

__all__ = [
    "plot_consensus",
    "plot_images",
    "plot_layers",
    "plot_loss",
    "plot_rank_selection",
    "plot_reconstructions",
    "plot_residual",
    "plot_shift_shares",
    "plot_top_features",
    "plot_tree",
    "plot_usage",
]
