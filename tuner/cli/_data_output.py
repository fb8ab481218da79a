"""What `tuner data` prints for people: tables that fit 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from tuner.cli._output import print_table

if TYPE_CHECKING:
    from trainables.data.plausibility import Check

__all__ = ["print_checks", "print_inspection"]

LISTED_JOINTS = 20
LISTED_ACTIONS = 12
SUBJECTS_WIDTH = 24
SUBJECT_WIDTH = 24
FIGURES_WIDTH = 17
CHECK_WIDTHS = (22, 6, 20, 13, 7)
"""Of columns, in characters, so that tables fit 80 columns without a terminal, too."""
LISTED_SIZES = 4
LIMBS = ("upper arm", "forearm", "thigh", "shin")
RANGES = {
    "x_px": "2D x (px)",
    "y_px": "2D y (px)",
    "x_normalised": "2D x (normalised)",
    "y_normalised": "2D y (normalised)",
    "right_m": "3D right (m)",
    "down_m": "3D down (m)",
    "forward_m": "3D forward (m)",
    "distance_m": "from camera (m)",
}
"""Rows of the table of ranges; 3D is relative to the origin of the pose."""


def print_inspection(found: Mapping[str, Any]) -> None:
    """Print what `inspect_dataset` reports."""
    skeleton, splits = found["skeleton"], found["splits"]
    joints = skeleton["joints"]
    typer.echo(f"data set {found['dataset']}: {skeleton['name']}, {len(joints)} joints")
    typer.echo(f"content hash {found['hash']}")
    if len(joints) <= LISTED_JOINTS:
        _paragraph("joints: " + ", ".join(f"{n} {name}" for n, name in enumerate(joints)))
    print_table(
        ("split", "frames", "all views", "scored", "sequences", "subjects"),
        [
            (
                name,
                *(f"{split[key]:,}" for key in ("frames", "views", "scored", "sequences")),
                _listed(split["subjects"], SUBJECTS_WIDTH),
            )
            for name, split in splits.items()
        ],
    )
    measured = {name: split for name, split in splits.items() if "ranges" in split}
    if measured:
        _print_figures(measured)
        _print_limbs(skeleton, found["bone_lengths_mm"])
    if "figure" in found:
        typer.echo(f"skeleton sheet: {found['figure']}")
    _print_remarks(found["notes"], found["problems"])


def print_checks(
    name: str, content_hash: str, checks: Sequence[Check], notes: Sequence[str]
) -> None:
    """Print what `check_dataset` found."""
    typer.echo(f"data set {name}: every pose was checked")
    typer.echo(f"content hash {content_hash}")
    print_table(
        ("check", "where", "found", "expected", "verdict"),
        [
            [
                textwrap.fill(cell, width)
                for cell, width in zip(
                    (c.name, c.where, c.found, c.expected, c.verdict), CHECK_WIDTHS, strict=True
                )
            ]
            for c in checks
        ],
    )
    noted = [check.message for check in checks if check.verdict == "note"]
    problems = [check.message for check in checks if check.verdict == "problem"]
    _print_remarks([*notes, *noted], problems)


def _print_figures(splits: Mapping[str, Mapping[str, Any]]) -> None:
    """Ranges and cameras: a row for each quantity, a column for each split."""
    rows: list[tuple[str, ...]] = [
        (label, *(_range(split["ranges"].get(key)) for split in splits.values()))
        for key, label in RANGES.items()
        if any(key in split["ranges"] for split in splits.values())
    ]
    rows.append(("frames per second", *(_numbers(split["fps"]) for split in splits.values())))
    rows.append(("views", *(str(len(s["cameras"]["views"])) for s in splits.values())))
    rows.append(("image sizes", *(_sizes(s["cameras"]["image_sizes"]) for s in splits.values())))
    rows.append(("cameras", *(_calibrated(split["cameras"]) for split in splits.values())))
    rows.append(("2D off the 3D (px)", *(_fit(split) for split in splits.values())))
    rows.append(("knees forward", *(f"{s['knees_bend_forward']:.1%}" for s in splits.values())))
    print_table(
        ("", *splits),
        [(label, *(_folded(cell) for cell in cells)) for label, *cells in rows],
    )
    for name, split in splits.items():
        _paragraph(f"actions of {name}: {_few(split['actions'], LISTED_ACTIONS)}")


def _print_limbs(skeleton: Mapping[str, Any], lengths_mm: Mapping[str, Any]) -> None:
    """Limb lengths by subject, one figure where left and right agree to a millimetre."""
    rows = []
    for subject, bones in lengths_mm.items():
        cells = []
        for left, right in skeleton["limbs"]:
            a, b = bones[left], bones[right]
            cells.append(f"{a:.0f}" if abs(a - b) < 1.0 else f"{a:.0f} / {b:.0f}")
        rows.append((textwrap.fill(subject, SUBJECT_WIDTH), *cells))
    print_table(("limbs (mm, left / right)", *LIMBS), rows)


def _print_remarks(notes: Sequence[str], problems: Sequence[str]) -> None:
    for title, lines in (("note", notes), ("problem", problems)):
        for line in lines:
            _paragraph(f"{title}: {line}")
    if not problems:
        typer.echo("no problems found")


def _paragraph(text: str) -> None:
    """A line that a terminal breaks between words."""
    from rich.text import Text

    from tuner.cli._output import output_console

    console = output_console()
    if console.is_terminal:
        console.print(Text(text))
    else:
        typer.echo(text)


def _few(names: Sequence[str], limit: int = 8) -> str:
    more = len(names) - limit
    return (", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")) or "-"


def _listed(names: Sequence[str], width: int) -> str:
    """The names, or the first ones and how many there are: `S1, S2, … (8)`."""
    whole = ", ".join(names) or "-"
    if len(whole) <= width:
        return whole
    for count in range(len(names) - 1, 0, -1):
        short = f"{', '.join(names[:count])}, … ({len(names)})"
        if len(short) <= width:
            return short
    return f"{names[0][: width - 8]}… ({len(names)})"


def _sizes(sizes: Sequence[str]) -> str:
    """One in each line."""
    more = len(sizes) - LISTED_SIZES
    return "\n".join([*sizes[:LISTED_SIZES], *([f"and {more} more"] if more > 0 else [])]) or "-"


def _folded(cell: str) -> str:
    return "\n".join(textwrap.fill(line, FIGURES_WIDTH) for line in cell.split("\n"))


def _numbers(values: Sequence[float]) -> str:
    return _few([f"{value:g}" for value in values], 3)


def _range(ends: Sequence[float] | None) -> str:
    if ends is None:
        return "-"
    low, high = (_short(value) for value in ends)
    return f"{low} to {high}"


def _short(value: float) -> str:
    """Three significant digits or so; pixels need no decimals."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2f}"


def _calibrated(cameras: Mapping[str, Any]) -> str:
    known, count = cameras["calibrated"], cameras["of"]
    return "known" if known == count else "unknown" if not known else f"known for {known}/{count}"


def _fit(split: Mapping[str, Any]) -> str:
    fit = split.get("reprojection_px")
    return f"{fit['median']:.2f} (max {fit['max']:.2f})" if fit else "-"
