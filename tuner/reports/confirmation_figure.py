"""The picture of a confirmation: each seed's figure, and the differences with their intervals."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tuner.reports.confirmation import (
    BASELINE,
    HEADLINE_METRIC,
    WINNER,
    Candidate,
    Comparison,
    Confirmation,
)
from tuner.reports.figure_style import (
    BASELINE_COLOUR,
    SEAL_COLOUR,
    TEXT_COLOUR,
    WINNER_COLOUR,
    style_axes,
)

__all__ = ["confirmation_figure"]


def confirmation_figure(confirmation: Confirmation) -> Figure | None:
    """Seeds of each candidate on the left, paired differences on the right.

    Returns:
        The figure; None while no candidate has test figures.
    """
    shown = [one for one in confirmation.candidates if one.figures["test"].get(HEADLINE_METRIC)]
    if not shown:
        return None
    compared = [
        found
        for one in shown
        if (found := confirmation.comparison(one.role)) and found.difference.interval
    ]
    size = (9.0, max(2.8, 1.4 + 0.55 * len(shown)))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, 2 if compared else 1, squeeze=False)[0]
    _seeds(panels[0], shown)
    if compared:
        _differences(panels[1], compared)
    return figure


def _seeds(axes: Axes, candidates: list[Candidate]) -> None:
    values = [candidate.figures["test"][HEADLINE_METRIC] for candidate in candidates]
    for seed in dict.fromkeys(seed for figures in values for seed in figures):
        trained = [(v[seed], row) for row, v in enumerate(values) if seed in v]
        x, y = zip(*trained, strict=True)
        axes.plot(x, y, color="#d0d7de", linewidth=0.8, zorder=1)
    for row, candidate in enumerate(candidates):
        colour = _colour(candidate.role)
        figures = list(values[row].values())
        axes.scatter(figures, [row] * len(figures), color=colour, s=30, alpha=0.55, zorder=2)
        found = candidate.spreads("test")[HEADLINE_METRIC]
        if found.interval is not None:
            ends = [found.interval.low, found.interval.high]
            axes.plot(ends, [row - 0.2] * 2, color=colour, linewidth=2.0, zorder=2)
        axes.scatter([found.mean], [row - 0.2], marker="D", color=colour, s=34, zorder=3)
    _rows(axes, [candidate.role for candidate in candidates])
    axes.set_xlabel("MPJPE on test (mm): seeds, mean")


def _differences(axes: Axes, comparisons: list[Comparison]) -> None:
    for row, comparison in enumerate(comparisons):
        found = comparison.difference
        assert found.student is not None  # only what has an interval is drawn
        assert found.bootstrap is not None
        colour = {"gain": "#1a7f37", "loss": "#cf222e"}.get(found.verdict, "#57606a")
        for interval, width in ((found.student, 1.4), (found.bootstrap, 4.5)):
            ends = [interval.low, interval.high]
            axes.plot(ends, [row] * 2, color=colour, linewidth=width, solid_capstyle="butt")
        axes.scatter([found.mean], [row], color="white", edgecolor=colour, s=40, zorder=3)
        text = f"{found.mean:+.2f} mm: {found.verdict}"
        axes.annotate(
            text, (found.mean, row), (0, 9), textcoords="offset points", ha="center", fontsize=8
        )
    axes.axvline(0, color=TEXT_COLOUR, linewidth=1.0, linestyle="--", zorder=0)
    axes.margins(x=0.12)
    _rows(axes, [f"winner − {comparison.other}" for comparison in comparisons])
    axes.set_xlabel("MPJPE on test, difference (mm)")


def _rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    style_axes(axes)


def _colour(role: str) -> str:
    return {WINNER: WINNER_COLOUR, BASELINE: BASELINE_COLOUR}.get(role, SEAL_COLOUR)
