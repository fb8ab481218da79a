"""Colours and lines that all figures share."""

from __future__ import annotations

from matplotlib.axes import Axes

__all__ = ["BASELINE_COLOUR", "SEAL_COLOUR", "TEXT_COLOUR", "WINNER_COLOUR", "style_axes"]

BASELINE_COLOUR = "#9aa3ad"
SEAL_COLOUR = "#1f6feb"
WINNER_COLOUR = "#d9480f"
TEXT_COLOUR = "#24292f"


def style_axes(axes: Axes, *, grid: bool = True) -> None:
    """Leave away what carries no information."""
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(visible=True, color="#e5e8eb", linewidth=0.8)
        axes.set_axisbelow(True)
