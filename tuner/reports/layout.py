"""Where things stand in a picture, the same each time that it is drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["settle_layout"]

DECIMALS = 6
"""Of a position, in widths or heights of the picture: far below a dot."""


def settle_layout(figure: Figure) -> None:
    """Lay a figure out once, and round where its axes stand; drawing moves nothing afterwards.

    The solver of matplotlib's constrained layout keeps its terms in the order of their addresses
    in memory, so that sums differ in their last bit from one time to the next; a file would show
    that in the names of its clip paths, or in a dot at the border between two colours.
    """
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        part.bbox_relative.set_points(np.round(part.bbox_relative.get_points(), DECIMALS))
    for axes in figure.axes:
        bounds = axes.get_position(original=True).bounds
        left, bottom, width, height = (round(float(value), DECIMALS) for value in bounds)
        axes.set_position((left, bottom, width, height))
