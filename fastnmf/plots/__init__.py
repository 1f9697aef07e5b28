"""Plot the results of fits.

Functions take a fitted model, or arrays, and draw on axes that they are given or on a new figure. They return the axes;
several of them are an array with the attribute `figure`. Topics have the numbers of `components_`, from 0.

matplotlib is imported inside the functions: ``pip install fastnmf[plot]``.
"""

from fastnmf.plots.choice import plot_consensus, plot_rank_selection, plot_stability, plot_strata_selection
from fastnmf.plots.curves import plot_loss, plot_residual
from fastnmf.plots.effects import plot_effects
from fastnmf.plots.features import plot_dots, plot_images, plot_top_features
from fastnmf.plots.over_time import plot_over_time
from fastnmf.plots.rows import plot_rows
from fastnmf.plots.strata import plot_difference, plot_shift_shares, plot_usage
from fastnmf.plots.topics import plot_topic_map, plot_topic_similarity
from fastnmf.plots.trees import plot_layers, plot_reconstructions, plot_tree

__all__ = [
    "plot_consensus",
    "plot_difference",
    "plot_dots",
    "plot_effects",
    "plot_images",
    "plot_layers",
    "plot_loss",
    "plot_over_time",
    "plot_rank_selection",
    "plot_reconstructions",
    "plot_residual",
    "plot_rows",
    "plot_shift_shares",
    "plot_stability",
    "plot_strata_selection",
    "plot_top_features",
    "plot_topic_map",
    "plot_topic_similarity",
    "plot_tree",
    "plot_usage",
]
