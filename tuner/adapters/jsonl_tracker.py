"""A tracker without a server: one JSON line per event."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.adapters.tracker_events import Event, EventTracker, facts_of
from tuner.errors import TrackingError

__all__ = ["JsonlTracker", "read_events"]

_logger = logging.getLogger(__name__)


def read_events(path: Path) -> list[dict[str, Any]]:
    """Events of a file in order; a line cut short by a crash is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    events: list[dict[str, Any]] = []
    for line in lines:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict) and "kind" in event:
            events.append(event)
    return events


class JsonlTracker(EventTracker):
    """Implements `tuner.ports.Tracker` on a file (`--tracking-uri none`).

    Ids of runs are `<run>`, `<run>/<stage>/<trial>` and `<run>/<stage>/`.

    Args:
        path: The file; it is continued if it exists.

    Raises:
        TrackingError: If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        facts: dict[str, str] = {}
        self._ids: dict[tuple[str, int | None], str] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            earlier = read_events(path)
            self._file = path.open("a", encoding="utf-8")
            if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
                self._file.write("\n")  # ends the line that a crash cut short
        except OSError as error:
            raise TrackingError(f"cannot write the tracking file {path}: {error}") from error
        for event in earlier:
            facts.update(facts_of(event))
            self._note_id(event)
        super().__init__(facts)

    def run_ids(self) -> Mapping[tuple[str, int | None], str]:
        """Tracking ids known so far: (stage, trial), (stage, None), and ("", None) the run."""
        return dict(self._ids)

    def close(self, *, timeout_s: float) -> int:
        """Close the file; nothing ever remains to be delivered."""
        del timeout_s
        self._file.close()
        return 0

    def _append(self, event: Event, facts: Mapping[str, str]) -> None:
        del facts  # follow from the events themselves
        self._note_id(event)
        try:
            self._file.write(json.dumps(event, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            _logger.warning("cannot write the tracking file: %s", error)

    def _note_id(self, event: Event) -> None:
        key = event.get("key", "")
        stage, _, trial = key.rpartition("/")
        identity = f"{event['run']}/{key}" if key else event["run"]
        self._ids[stage, int(trial) if trial else None] = identity
