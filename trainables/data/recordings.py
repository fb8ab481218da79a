"""Reading `sequences.csv`, which names the recording behind each sequence."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainables.data.source_files import check_file
from trainables.errors import DataError

__all__ = ["RecordingRow", "read_recordings", "read_recordings_by_sequence"]

_Fields = Mapping[str | None, object]
"""A row by column: text, None where the line is too short; under None, a list of what is left."""


@dataclass(frozen=True)
class RecordingRow:
    """What `sequences.csv` tells of a sequence.

    Attributes:
        source: The recording behind it; None where there is no row.
        fps: Frames per second, if the table has that column.
        action: What is done, if the table names sequences and has that column.
    """

    source: str | None
    fps: float | None
    action: str | None = None


def read_recordings(path: Path) -> dict[tuple[str, str], RecordingRow]:
    """Read the table, if it exists.

    Args:
        path: A CSV file with the columns subject, action, source, and fps if known.

    Returns:
        Rows by subject and action; empty without the file.

    Raises:
        DataError: The file cannot be read, or a line is malformed or repeated.
    """
    rows = _read_table(path, ("subject", "action"))
    return {(subject, action): row for (subject, action), row in rows.items()}


def read_recordings_by_sequence(path: Path) -> dict[str, RecordingRow]:
    """Read the table of a data set that names its sequences, `S1 Seq1`, if it exists.

    Args:
        path: A CSV file with the columns sequence, source, and action and fps if known.

    Returns:
        Rows by sequence; empty without the file.

    Raises:
        DataError: The file cannot be read, or a line is malformed or repeated.
    """
    return {sequence: row for (sequence,), row in _read_table(path, ("sequence",)).items()}


def _read_table(path: Path, keys: tuple[str, ...]) -> dict[tuple[str, ...], RecordingRow]:
    """Rows by what stands in the key columns; empty without the file."""
    if not os.path.lexists(path):
        return {}
    check_file(path, path.parent)
    rows: dict[tuple[str, ...], RecordingRow] = {}
    try:
        for line, fields in _lines(path, (*keys, "source")):
            where = f"{path} line {line}"
            *names, source = (_text(fields, name, where) for name in (*keys, "source"))
            action = None if "action" in keys else _optional_text(fields, "action")
            row = RecordingRow(source, _frame_rate(fields.get("fps"), where), action)
            if rows.setdefault(tuple(names), row) != row:
                shown = " ".join([*names[:-1], repr(names[-1])])
                raise DataError(f"{where}: {shown} has another row already; keep one")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error}); save it as CSV in UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: not a readable CSV file ({error})") from error
    return rows


def _lines(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, _Fields]]:
    """Line numbers and rows; a byte order mark, as spreadsheets write it, is skipped."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        columns = set(reader.fieldnames or ())
        if not set(needed) <= columns:
            raise DataError(
                f"{path}: found the columns {sorted(columns)}, expected {', '.join(needed)}"
            )
        for row in reader:
            if None in row:
                raise DataError(
                    f"{path} line {reader.line_num}: more fields than the {len(columns)} columns; "
                    "put text with commas in quotes"
                )
            yield reader.line_num, row


def _text(fields: _Fields, name: str, where: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: no {name}; fill it in, or remove the line")
    return value


def _optional_text(fields: _Fields, name: str) -> str | None:
    value = fields.get(name)
    return value.strip() or None if isinstance(value, str) else None


def _frame_rate(value: object, where: str) -> float | None:
    if not value:
        return None
    try:
        fps = float(str(value))
    except ValueError:
        fps = math.nan
    if not (math.isfinite(fps) and fps > 0):
        raise DataError(f"{where}: fps={value!r}, expected a positive number")
    return fps
