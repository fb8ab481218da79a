"""The final table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tuner.pretraining import pretraining_line
from tuner.reports.confirmation import Confirmation
from tuner.reports.confirmation_tables import (
    DifferenceRow,
    candidate_rows,
    difference_rows,
    difference_text,
    interval_text,
)
from tuner.reports.joint_check import check_text
from tuner.reports.run_summary import RunSummary
from tuner.reports.tables import (
    ComparisonRow,
    comparison_rows,
    confirmation_note,
    direction_note,
    duration_text,
    headline,
    next_steps,
    params_text,
    place_rows,
    selection_note,
    stage_notes,
    stage_rows,
)

__all__ = ["print_summary", "render_summary"]

SHOWN_ABOVE = ("winner", "baseline")
"""Candidates whose hyperparameters stand below the comparison."""

STATE_STYLES = {"finished": "green", "open": "yellow", "failed": "red"}


def print_summary(summary: RunSummary, console: Console) -> None:
    """Print a run: comparison, stages, where everything is, what to do next."""
    console.print(render_summary(summary))


def render_summary(summary: RunSummary) -> RenderableType:
    """Build what `print_summary` prints; fits 80 columns."""
    title = Text.assemble(
        (f"Run {summary.run}", "bold"), "  ", (summary.state, STATE_STYLES[summary.state])
    )
    parts: list[RenderableType] = [Text(), title, Text(headline(summary)), Text()]
    comparison = comparison_rows(summary)
    if comparison:
        parts += [_comparison_table(comparison), *_configurations(summary), Text()]
    if summary.confirmation is not None and candidate_rows(summary.confirmation):
        note = Text(confirmation_note(summary), style="dim")
        parts += [*_confirmation(summary.confirmation), note, Text()]
    if summary.check is not None:
        parts += [Text(check_text(summary.check)), Text()]
    parts += [_stage_table(summary), Text()]
    parts += [_pairs("Where everything is", place_rows(summary)), Text()]
    parts += [_steps(next_steps(summary))]
    return Group(*parts)


def _comparison_table(rows: Sequence[ComparisonRow]) -> Table:
    table = _table(f"Test split: baseline against SEAL ({direction_note(rows)})")
    table.add_column("metric")
    for name in ("baseline", "SEAL", "difference", "percent"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        style = "" if row.better is None else ("green" if row.better else "red")
        table.add_row(
            f"{row.metric.label} ({row.metric.unit})",
            f"{row.baseline:.2f}",
            _number(row.seal),
            Text(_number(row.difference, sign=True), style=style),
            Text(_number(row.percent, sign=True, digits=1, unit=" %"), style=style),
        )
    return table


def _configurations(summary: RunSummary) -> list[Text]:
    lines = [Text(selection_note(summary), style="dim")]
    for label, tested in (("baseline", summary.baseline), ("SEAL", summary.seal)):
        if tested is not None:
            lines.append(Text.assemble((f"{label}: ", "bold"), params_text(tested.params)))
    return lines


def _confirmation(confirmation: Confirmation) -> list[RenderableType]:
    """How the candidates lie over their seeds, then the differences."""
    table = _table("Fresh seeds: MPJPE on test (mm)")
    table.add_column("candidate", no_wrap=True)
    for name in ("seeds", "mean", "std", "lowest", "highest"):
        table.add_column(name, justify="right")
    rows = candidate_rows(confirmation)
    for row in rows:
        found = row.headline
        figures = (found.mean, found.std, found.minimum, found.maximum) if found else (None,) * 4
        table.add_row(row.role, row.seeds, *(_number(figure) for figure in figures))
    lines = [
        Text.assemble((f"{row.role}: ", "bold"), row.params)
        for row in rows
        if row.role not in SHOWN_ABOVE
    ]
    differences = difference_rows(confirmation, brief=True)
    parts: list[RenderableType] = [table, *lines]
    return [*parts, Text(), _differences(differences)] if differences else parts


def _differences(rows: Sequence[DifferenceRow]) -> Table:
    table = _table("The same seeds in pairs: winner minus other, on test")
    table.add_column("other", no_wrap=True)
    table.add_column("metric")
    table.add_column("pairs", justify="right")
    table.add_column("mean", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in rows:
        style = {True: "green", False: "red", None: "dim"}[row.better]
        table.add_row(
            row.other,
            f"{row.metric.label} ({row.metric.unit})",
            str(row.pairs),
            difference_text(row.mean),
            interval_text(row.interval),
            Text(row.verdict, style=style),
        )
    return table


def _table(title: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
    table.title = title
    return table


def _stage_table(summary: RunSummary) -> Group:
    table = _table("Stages")
    table.add_column("stage", no_wrap=True)
    table.add_column("trials finished")
    table.add_column("best")
    table.add_column("val MPJPE", justify="right", no_wrap=True)
    rows = stage_rows(summary)
    for row in rows:
        value = "" if row.val_mpjpe_mm is None else f"{row.val_mpjpe_mm:.2f} mm"
        table.add_row(row.name, row.trials, row.tuned, value)
    decisions = [
        Padding(Text(text, style="dim"), (0, 0, 0, 2), expand=False)
        for stage, row in zip(summary.stages, rows, strict=True)
        if stage.kind != "confirm"  # the headline says it
        for text in (row.decision, *stage_notes(stage))
    ]
    effort = (
        f"{summary.trainings} trainings, {duration_text(summary.seconds)} of training time "
        f"({summary.device_seconds / 3600:.2f} device-hours)"
    )
    if summary.pretraining is not None:
        effort = f"{pretraining_line(summary.pretraining)}; every trial began with it\n{effort}"
    return Group(table, *decisions, Text(effort))


def _pairs(title: str, rows: Sequence[tuple[str, str]]) -> Group:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    # a path that is cut with dots cannot be copied
    grid.add_column(overflow="fold")
    for what, where in rows:
        grid.add_row(f"  {what}", Text(where))
    return Group(Text(title, style="bold"), grid)


def _steps(rows: Sequence[tuple[str, str]]) -> Group:
    lines: list[RenderableType] = [Text("What to do next", style="bold")]
    for command, meaning in rows:
        lines.append(Padding(Text(command, style="cyan"), (0, 0, 0, 2), expand=False))
        lines.append(Padding(Text(meaning, style="dim"), (0, 0, 0, 6), expand=False))
    return Group(*lines)


def _number(value: float | None, *, sign: bool = False, digits: int = 2, unit: str = "") -> str:
    if value is None:
        return "-"
    return f"{value:+.{digits}f}{unit}" if sign else f"{value:.{digits}f}{unit}"
