"""Runs a case by the loader and by the command line, and looks at what it leaves behind."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from tests.trainables.data.malformed.case import Case, write_valid

__all__ = [
    "Ended",
    "inspect_as_stranger",
    "inspect_in_process",
    "inspect_in_subprocess",
    "listing",
    "spoiled_folder",
]

NOBODY = 65534
ROOT_FOLDER = str(Path(__file__).parents[4])
RUN = "sys.argv = ['tuner', *sys.argv[1:]]; tuner.cli.main()"
BECOME_NOBODY = (
    "import os, trainables.data.inspection, trainables.data.loading, tuner.greedy_config; "
    f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); "
)


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


def spoiled_folder(case: Case, place: Path) -> Path:
    """The case's folder, `data` in a place of its own."""
    folder = place / "data"
    folder.mkdir()
    write_valid(case.dataset, folder)
    case.spoil(folder)
    return folder


def arguments_of(case: Case, folder: Path) -> list[str]:
    """The command line that inspects the folder."""
    return ["data", "inspect", "--dataset", case.dataset, "--data-dir", str(folder)]


def inspect_in_process(case: Case, folder: Path) -> Ended:
    """`tuner data inspect`, without the cost of another process."""
    from tuner.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["tuner", *arguments_of(case, folder)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Ended(code, out.getvalue(), err.getvalue())


def inspect_in_subprocess(case: Case, folder: Path, preamble: str = "") -> Ended:
    """`tuner data inspect` as a process of its own."""
    done = subprocess.run(
        [
            *(sys.executable, "-c", f"import sys, tuner.cli; {preamble}{RUN}"),
            *arguments_of(case, folder),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": ROOT_FOLDER},
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def inspect_as_stranger(case: Case, folder: Path) -> Ended:
    """The same by somebody who may not read what is closed, which root may."""
    preamble = BECOME_NOBODY if os.geteuid() == 0 else ""
    return inspect_in_subprocess(case, folder, preamble)


def listing(*folders: Path) -> dict[str, tuple[int, int]]:
    """Everything in the folders, with sizes and times of change."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for folder in folders
        for path in _walk(folder)
    }


def _walk(folder: Path) -> Iterator[Path]:
    if folder.is_dir() and not folder.is_symlink():
        for path in sorted(folder.iterdir()):
            yield path
            yield from _walk(path)
