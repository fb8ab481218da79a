"""Names of subjects, actions and recordings, for sorting and for messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["first_few", "natural_key"]

NAMED_IN_MESSAGES = 5


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key by which `walking 2` comes before `walking 10`."""
    parts = re.findall(r"\d+|\D+", text)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def first_few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMED_IN_MESSAGES
    return ", ".join(names[:NAMED_IN_MESSAGES]) + (f" and {more} more" if more > 0 else "")
