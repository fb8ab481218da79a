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

__all__ = ["RecordingRow", "read_recordings"]

NEEDED_COLUMNS = ("subject", "action", "source")

_Fields = Mapping[str | None, object]
"""A row by column: text, None where the line is too short; under None, a list of what is left."""


@dataclass(frozen=True)
class RecordingRow:
    """What `sequences.csv` tells of a sequence.

    Attributes:
        source: The recording behind it; None where there is no row.
        fps: Frames per second, if the table has that column.
    """

    source: str | None
    fps: float | None


def read_recordings(path: Path) -> dict[tuple[str, str], RecordingRow]:
    """Read the table, if it exists.

    Args:
        path: A CSV file with the columns subject, action, source, and fps if known.

    Returns:
        Rows by subject and action; empty without the file.

    Raises:
        DataError: The file cannot be read, or a line is malformed or repeated.
    """
    if not os.path.lexists(path):
        return {}
    check_file(path, path.parent)
    rows: dict[tuple[str, str], RecordingRow] = {}
    try:
        for line, fields in _lines(path):
            where = f"{path} line {line}"
            subject, action, source = (_text(fields, name, where) for name in NEEDED_COLUMNS)
            row = RecordingRow(source, _frame_rate(fields.get("fps"), where))
            if rows.setdefault((subject, action), row) != row:
                raise DataError(f"{where}: {subject} {action!r} has another row already; keep one")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error}); save it as CSV in UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: not a readable CSV file ({error})") from error
    return rows


def _lines(path: Path) -> Iterator[tuple[int, _Fields]]:
    """Line numbers and rows; a byte order mark, as spreadsheets write it, is skipped."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        columns = set(reader.fieldnames or ())
        if not set(NEEDED_COLUMNS) <= columns:
            raise DataError(
                f"{path}: found the columns {sorted(columns)}, expected "
                f"{', '.join(NEEDED_COLUMNS)}"
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
