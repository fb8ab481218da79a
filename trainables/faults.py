"""What pydantic finds wrong with a value, in one line for users."""

from __future__ import annotations

from pydantic import ValidationError

from trainables.names import printable

__all__ = ["describe_faults"]

SHOWN_FAULTS = 10
SHOWN_CHARACTERS = 2000


def describe_faults(error: ValidationError) -> str:
    """The first faults, each with its field; nothing of them acts on a terminal.

    Args:
        error: Whatever it holds, the text is of bounded length.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    texts = []
    for fault in found[:SHOWN_FAULTS]:
        where = ".".join(printable(str(part)) for part in fault["loc"])
        message = printable(fault["msg"].removeprefix("Value error, "), SHOWN_CHARACTERS)
        texts.append(f"{where}: {message}" if where else message)
    more = len(found) - SHOWN_FAULTS
    return "; ".join(texts) + (f"; and {more} more faults" if more > 0 else "")
