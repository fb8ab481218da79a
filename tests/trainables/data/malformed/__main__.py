"""Prints the malformed inputs as Markdown: `python -m tests.trainables.data.malformed`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.trainables.data.malformed.cases import CASES
from tests.trainables.data.malformed.running import (
    inspect_as_stranger,
    inspect_in_process,
    spoiled_folder,
)

SHOWN_CHARACTERS = 240


def rows() -> list[tuple[str, str, str]]:
    """Data set, input and message of each case."""
    found: list[tuple[str, str, str]] = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as place:
            Path(place).chmod(0o755)
            os.environ["TUNER_DATA_CACHE"] = "off"  # nothing of these is worth keeping
            folder = spoiled_folder(case, Path(place))
            inspect = inspect_as_stranger if case.as_stranger else inspect_in_process
            done = inspect(case, folder)
            message = " ".join(done.err.removeprefix("tuner: ").split())
            shown = message.replace(str(folder), "DIR").replace(place, "PLACE").replace("|", "\\|")
        if len(shown) > SHOWN_CHARACTERS:
            shown = shown[:SHOWN_CHARACTERS] + " …"
        found.append((case.dataset, case.name, f"{shown} ({done.code})"))
    return found


def main() -> None:
    """Print the table."""
    lines = ["| data set | input | message (exit code) |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
