"""Pictures of a run, drawn from its summary; no state is shared between figures."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullFormatter

from tuner.protocol.selection import format_value
from tuner.reports.confirmation_figure import confirmation_figure
from tuner.reports.figure_style import (
    BASELINE_COLOUR,
    SEAL_COLOUR,
    TEXT_COLOUR,
    WINNER_COLOUR,
    style_axes,
)
from tuner.reports.layout import settle_layout
from tuner.reports.run_summary import RunSummary, StageSummary, TrialRow
from tuner.reports.summary import run_of
from tuner.reports.tables import ComparisonRow, comparison_rows, params_text

__all__ = ["Curves", "figures_of", "to_png"]

Curves: TypeAlias = Mapping[str, Mapping[int, Sequence[tuple[int, float]]]]
"""Validation MPJPE in mm over epochs: stage → trial number → (epoch, value) pairs."""

CURVE_COLOURS = ("#1f6feb", "#8250df", "#1a7f37", "#57606a", "#0a7ea4", "#bf3989", "#9aa3ad")
OBJECTIVE_LABEL = "validation MPJPE (mm)"
DOTS_PER_INCH = 140
WIDTH_PER_METRIC = 1.14
MAX_LABELLED_CURVES = 8
MAX_TICKS = 12
SLICES_PER_ROW = 3


def figures_of(summary: RunSummary, curves: Curves | None = None) -> dict[str, Figure]:
    """Draw everything that the run has data for.

    Args:
        summary: The run, finished or not.
        curves: Validation curves, if they are known.

    Returns:
        Figures by file name without ending: `comparison`, `confirmation`, then per stage of
        search and check `<stage>` and `<stage>-curves`.
    """
    figures: dict[str, Figure] = {}
    rows = [row for row in comparison_rows(summary) if row.seal is not None]
    if rows:
        figures["comparison"] = comparison_figure(rows)
    confirmed = confirmation_figure(summary.confirmation) if summary.confirmation else None
    if confirmed is not None:
        figures["confirmation"] = confirmed
    for stage in summary.stages:
        if stage.kind == "confirm":
            continue
        if _finished(stage):
            figures[stage.name] = stage_figure(stage)
        known = {n: points for n, points in (curves or {}).get(stage.name, {}).items() if points}
        if known:
            figures[f"{stage.name}-curves"] = curves_figure(stage, known)
    return figures


def to_png(figure: Figure) -> bytes:
    """Render a figure; equal figures give equal bytes."""
    buffer = io.BytesIO()
    settle_layout(figure)
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def comparison_figure(rows: Sequence[ComparisonRow]) -> Figure:
    """Bars of baseline and SEAL of the charted metrics, a panel per unit and direction."""
    panels: dict[str, list[ComparisonRow]] = {}
    for row in rows:
        if row.metric.charted:
            kind = "share correct" if row.metric.higher_is_better else "error"
            panels.setdefault(f"{kind} on test ({row.metric.unit})", []).append(row)
    widths = [len(panel) for panel in panels.values()]
    size = (max(8.0, WIDTH_PER_METRIC * sum(widths)), 3.2)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(1, len(panels), width_ratios=widths)
    for column, (label, panel) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[0, column])
        _bars(axes, panel)
        axes.set_ylabel(label)
        if column == 0:
            axes.legend(frameon=False, ncols=2, loc="upper left")
    return figure


def stage_figure(stage: StageSummary) -> Figure:
    """The objective over what the stage tunes; the stage has at least one finished trial."""
    if len(stage.tunes) > 2:
        return _slices(stage)
    figure = Figure(figsize=(5.0, 3.1), layout="constrained")
    axes = figure.add_subplot()
    if len(stage.tunes) == 1:
        _line(axes, stage, stage.tunes[0])
    else:
        _plane(axes, stage, stage.tunes[0], stage.tunes[1])
    return figure


def curves_figure(
    stage: StageSummary, curves: Mapping[int, Sequence[tuple[int, float]]]
) -> Figure:
    """Validation curves of a stage's trials, the winner's on top."""
    figure = Figure(figsize=(5.0, 3.1), layout="constrained")
    axes = figure.add_subplot()
    names = {trial.number: _tuned_text(stage, trial) for trial in stage.trials}
    winner = stage.winner.number if stage.winner else None
    colours = itertools.cycle(CURVE_COLOURS)
    for number in sorted(curves, key=lambda n: (n == winner, n)):
        epochs, values = zip(*curves[number], strict=True)
        won = number == winner
        label = names.get(number, str(number))
        axes.plot(
            epochs,
            values,
            color=WINNER_COLOUR if won else next(colours),
            linewidth=2.4 if won else 1.2,
            alpha=1.0 if won else 0.7,
            marker="o",
            markersize=3,
            label=f"{label} (best)" if won else label,
        )
    style_axes(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(OBJECTIVE_LABEL)
    if len(curves) <= MAX_LABELLED_CURVES:
        axes.legend(frameon=False, fontsize=7)
    return figure


def _finished(stage: StageSummary) -> list[TrialRow]:
    return [trial for trial in stage.trials if trial.val_mpjpe_mm is not None]


def _tuned_text(stage: StageSummary, trial: TrialRow) -> str:
    return params_text({name: trial.params[name] for name in stage.tunes})


def _bars(axes: Axes, rows: Sequence[ComparisonRow]) -> None:
    positions = np.arange(len(rows))
    baseline = [row.baseline for row in rows]
    seal = [row.seal if row.seal is not None else 0.0 for row in rows]
    for shift, values, label, colour in (
        (-0.2, baseline, "baseline", BASELINE_COLOUR),
        (0.2, seal, "SEAL", SEAL_COLOUR),
    ):
        bars = axes.bar(positions + shift, values, width=0.38, label=label, color=colour)
        axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=2)
    axes.set_xticks(positions, [row.metric.label.replace(", ", ",\n") for row in rows])
    # room for the legend and the numbers on the bars
    axes.set_ylim(0, 1.25 * max([*baseline, *seal, 1e-9]))
    style_axes(axes, grid=False)


def _line(axes: Axes, stage: StageSummary, name: str) -> None:
    trials = sorted(_finished(stage), key=lambda trial: trial.params[name])
    axes.plot(*_points(trials, name), color=SEAL_COLOUR, linewidth=1.2, alpha=0.6, zorder=1)
    own = [trial for trial in trials if trial.imported_from is None]
    reused = [trial for trial in trials if trial.imported_from is not None]
    axes.scatter(*_points(own, name), color=SEAL_COLOUR, s=36, zorder=2, label="trained here")
    if reused:
        cached = any(
            run_of(t.imported_from) != run_of(stage.study) for t in reused if t.imported_from
        )
        axes.scatter(
            *_points(reused, name),
            facecolor="white",
            edgecolor=SEAL_COLOUR,
            s=36,
            zorder=2,
            label="known from other runs or stages" if cached else "reused from an earlier stage",
        )
    lost = [t.params[name] for t in stage.trials if t.state in ("failed", "pruned")]
    if lost:
        transform = axes.get_xaxis_transform()
        axes.scatter(
            lost,
            [0.03] * len(lost),
            transform=transform,
            marker="x",
            color=TEXT_COLOUR,
            label="failed or pruned",
        )
    if stage.winner is not None:
        axes.scatter(
            *_points([stage.winner], name),
            marker="*",
            s=190,
            color=WINNER_COLOUR,
            zorder=3,
            label=f"best: {params_text({name: stage.winner.params[name]})}",
        )
    style_axes(axes)
    _log_axis(axes, [trial.params[name] for trial in stage.trials], name)
    axes.set_ylabel(OBJECTIVE_LABEL)
    axes.margins(x=0.08, y=0.18)
    axes.legend(frameon=False, fontsize=8)


def _points(trials: Sequence[TrialRow], name: str) -> tuple[list[float], list[float]]:
    pairs = [(t.params[name], t.val_mpjpe_mm) for t in trials if t.val_mpjpe_mm is not None]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _log_axis(axes: Axes, values: Sequence[float], name: str) -> None:
    """Put few values on a logarithmic axis with a tick at each of them."""
    axes.set_xlabel(name)
    distinct = sorted(set(values))
    if distinct[0] <= 0:
        return
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if len(distinct) <= MAX_TICKS:
        axes.set_xticks(distinct, [format_value(value) for value in distinct])
        axes.minorticks_off()


def _plane(axes: Axes, stage: StageSummary, first: str, second: str) -> None:
    trials = _finished(stage)
    rows = sorted({trial.params[first] for trial in trials}, reverse=True)
    columns = sorted({trial.params[second] for trial in trials})
    cells = {(t.params[first], t.params[second]): t.val_mpjpe_mm for t in trials}
    if len(rows) > 1 and len(columns) > 1 and len(cells) * 2 > len(rows) * len(columns):
        _heat_map(axes, stage, (first, rows), (second, columns))
    else:
        _scatter(axes, stage, first, second)


def _heat_map(
    axes: Axes,
    stage: StageSummary,
    vertical: tuple[str, Sequence[float]],
    horizontal: tuple[str, Sequence[float]],
) -> None:
    (first, rows), (second, columns) = vertical, horizontal
    table = np.full((len(rows), len(columns)), np.nan)
    for trial in _finished(stage):
        table[rows.index(trial.params[first]), columns.index(trial.params[second])] = (
            trial.val_mpjpe_mm
        )
    # a smaller error is better: dark
    image = axes.imshow(table, cmap="Blues_r", aspect="auto")
    middle = float(np.nanmin(table) + np.nanmax(table)) / 2
    for (row, column), value in np.ndenumerate(table):
        text = "not finished" if np.isnan(value) else f"{value:.2f}"
        colour = "white" if value < middle else TEXT_COLOUR
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(columns)), [format_value(value) for value in columns])
    axes.set_yticks(range(len(rows)), [format_value(value) for value in rows])
    axes.set_xlabel(second)
    axes.set_ylabel(first)
    axes.figure.colorbar(image, ax=axes, label=OBJECTIVE_LABEL)
    if stage.winner is not None:
        corner = (
            columns.index(stage.winner.params[second]) - 0.5,
            rows.index(stage.winner.params[first]) - 0.5,
        )
        frame = Rectangle(corner, 1, 1, fill=False, edgecolor=WINNER_COLOUR, linewidth=3)
        frame.set_clip_on(False)
        axes.add_patch(frame)
        axes.set_title("best: " + _tuned_text(stage, stage.winner), fontsize=9, loc="left")


def _scatter(axes: Axes, stage: StageSummary, first: str, second: str) -> None:
    trials = _finished(stage)
    points = axes.scatter(
        [trial.params[second] for trial in trials],
        [trial.params[first] for trial in trials],
        c=_points(trials, first)[1],
        cmap="Blues_r",
        edgecolor=TEXT_COLOUR,
        linewidth=0.5,
        s=60,
    )
    if stage.winner is not None:
        axes.scatter(
            [stage.winner.params[second]],
            [stage.winner.params[first]],
            marker="*",
            s=200,
            color=WINNER_COLOUR,
        )
        axes.set_title("best: " + _tuned_text(stage, stage.winner), fontsize=9, loc="left")
    style_axes(axes)
    if min(trial.params[second] for trial in trials) > 0:
        axes.set_xscale("log")
    if min(trial.params[first] for trial in trials) > 0:
        axes.set_yscale("log")
    axes.set_xlabel(second)
    axes.set_ylabel(first)
    axes.figure.colorbar(points, ax=axes, label=OBJECTIVE_LABEL)


def _slices(stage: StageSummary) -> Figure:
    """The objective over each of several hyperparameters, a panel each."""
    rows = math.ceil(len(stage.tunes) / SLICES_PER_ROW)
    columns = min(len(stage.tunes), SLICES_PER_ROW)
    figure = Figure(figsize=(3.0 * columns, 2.7 * rows), layout="constrained")
    trials = _finished(stage)
    for index, name in enumerate(stage.tunes):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.scatter(*_points(trials, name), color=SEAL_COLOUR, s=30, alpha=0.7)
        if stage.winner is not None:
            star = _points([stage.winner], name)
            axes.scatter(*star, marker="*", s=190, color=WINNER_COLOUR, zorder=3)
        style_axes(axes)
        ends = [axis(trial.params[name] for trial in trials) for axis in (min, max)]
        _log_axis(axes, ends, name)
        if index % columns == 0:
            axes.set_ylabel(OBJECTIVE_LABEL)
    return figure
