"""Names of subjects, actions and recordings, for sorting and for messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["NAMED_IN_MESSAGES", "first_few", "natural_key", "printable"]

NAMED_IN_MESSAGES = 5
SHOWN_CHARACTERS = 200


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key by which `walking 2` comes before `walking 10`."""
    parts = re.findall(r"\d+|\D+", text)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def printable(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """A text out of a file, for messages: short, and of no effect on a terminal."""
    shown = text if len(text) <= most else f"{text[:most]}…"
    return shown if shown.isprintable() else ascii(shown)


def first_few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMED_IN_MESSAGES
    shown = ", ".join(map(printable, names[:NAMED_IN_MESSAGES]))
    return shown + (f" and {more} more" if more > 0 else "")
