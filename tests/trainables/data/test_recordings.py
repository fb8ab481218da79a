"""The table of recordings: what it tells, and a clear message for each thing that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trainables.data.recordings import (
    RecordingRow,
    read_recordings,
    read_recordings_by_sequence,
)
from trainables.errors import DataError

HEADER = "subject,action,source,fps\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "sequences.csv"


def test_rows_are_read_by_subject_and_action(table: Path) -> None:
    table.write_text(
        'action,frames,source,subject,fps\nwalk 1,9,a/b,S1,60\n"run, fast",9,a/ä,S5,\n',
        encoding="utf-8",
    )
    assert read_recordings(table) == {
        ("S1", "walk 1"): RecordingRow("a/b", 60.0),
        ("S5", "run, fast"): RecordingRow("a/ä", None),
    }


def test_what_spreadsheets_and_repeated_lines_add_does_no_harm(table: Path) -> None:
    table.write_text(HEADER + "S1,walk,a/b,\n" * 2, encoding="utf-8-sig", newline="\r\n")
    assert read_recordings(table) == {("S1", "walk"): RecordingRow("a/b", None)}


def test_without_a_file_or_rows_nothing_is_known(table: Path) -> None:
    assert read_recordings(table) == {}
    table.write_text(HEADER)
    assert read_recordings(table) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": found the columns [], expected subject, action, source"),
        (b"subject,source\nS1,a\n", ": found the columns ['source', 'subject'], expected"),
        (HEADER.encode() + b"S1,walk\n", " line 2: no source; fill it in"),
        (HEADER.encode() + b"S1,walk,a/b\nS5,walk,,60\n", " line 3: no source; fill it in"),
        (HEADER.encode() + b",walk,a/b,60\n", " line 2: no subject; fill it in"),
        (HEADER.encode() + b"S1,walk,a,b,60\n", " line 2: more fields than the 4 columns"),
        (HEADER.encode() + b"S1,walk,a/b,fast\n", " line 2: fps='fast', expected a positive"),
        (HEADER.encode() + b"S1,walk,a/b,nan\n", " line 2: fps='nan', expected a positive"),
        (HEADER.encode() + b"S1,walk,a/b,-50\n", " line 2: fps='-50', expected a positive"),
        (
            HEADER.encode() + b"S1,walk,a/b,50\nS1,walk,a/c,50\n",
            " line 3: S1 'walk' has another row already",
        ),
        ((HEADER + "S1,läuft,a/b,50\n").encode("latin1"), ": not UTF-8 ('utf-8' codec can't"),
        ((HEADER + "S1,walk,a/b,50\n").encode("utf-16"), ": not UTF-8 ('utf-8' codec can't"),
        (HEADER.encode() + b"S1,walk," + b"a" * 200_000, ": not a readable CSV file (field lar"),
    ],
)
def test_what_is_wrong_is_said(table: Path, content: bytes, message: str) -> None:
    table.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{table}{message}")):
        read_recordings(table)


def test_rows_are_read_by_sequence(table: Path) -> None:
    assert read_recordings_by_sequence(table) == {}
    table.write_text("sequence,action,source\nS1 Seq1,walk,a/b\nTS1,,a/c\n")
    assert read_recordings_by_sequence(table) == {
        "S1 Seq1": RecordingRow("a/b", None, "walk"),
        "TS1": RecordingRow("a/c", None, None),
    }
    table.write_text("sequence,source,fps\nS1 Seq1,a/b,25\nS1 Seq1,a/b,50\n")
    with pytest.raises(DataError, match="line 3: 'S1 Seq1' has another row already"):
        read_recordings_by_sequence(table)
    table.write_text("subject,action,source\nS1,walk,a/b\n")
    with pytest.raises(DataError, match="expected sequence, source"):
        read_recordings_by_sequence(table)
