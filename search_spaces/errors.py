"""Errors of the search spaces."""

from __future__ import annotations

__all__ = ["SpaceError"]


class SpaceError(ValueError):
    """A search space is unknown, unreadable or malformed; the message lists every fault."""
