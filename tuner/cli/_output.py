"""What commands print: one JSON object on standard output, or tables for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from tuner.reports.run_summary import RunSummary

__all__ = ["figure_text", "output_console", "print_json", "print_metrics", "print_summary"]
__all__ += ["print_table"]

PLAIN_WIDTH = 200
"""Columns where there is no terminal to ask."""


def print_json(value: object) -> None:
    """Print one JSON document; NaN and infinity, which JSON lacks, become null."""
    typer.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def print_summary(summary: RunSummary) -> None:
    """Print a run's final table on standard output."""
    from tuner.reports import terminal

    terminal.print_summary(summary, output_console())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows beneath column names; nothing is cut where there is no terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = all(_is_number(row[index]) for row in rows)
        table.add_column(column, overflow="fold", justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    output_console().print(table)


def print_metrics(title: str, systems: Mapping[str, Mapping[str, float]]) -> None:
    """Print metrics in rows, known ones first and by their names for people.

    Args:
        title: Name of the first column.
        systems: Metrics by name of a column.
    """
    from tuner.reports.tables import METRICS

    found = dict.fromkeys(name for metrics in systems.values() for name in metrics)
    labels = {m.key: f"{m.label} ({m.unit})" for m in METRICS if m.key in found}
    rows = [
        (label, *(figure_text(metrics.get(name)) for metrics in systems.values()))
        for name, label in {**labels, **{n: n for n in found if n not in labels}}.items()
    ]
    print_table((title, *systems), rows)


def figure_text(value: float | None) -> str:
    """A figure with two decimals, whole numbers without; `-` for none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.2f}"


def output_console() -> Console:
    """A console on standard output, without colours where that is no terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").replace(".", "").isdigit()


def _finite(value: object) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
