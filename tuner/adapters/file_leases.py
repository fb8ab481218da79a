"""Leases as files beside the study store's journal, changed under the kernel's lock."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.adapters.optuna_storage import store_errors
from tuner.errors import StoreError
from tuner.lease import LeaseRow, lease_lost
from tuner.lease_holder import Holder

__all__ = ["FileLeases"]


@dataclass(frozen=True)
class _Kept:
    """A lease as its file holds it.

    No time of its last renewal: that would be by the clock of the machine that wrote it.
    """

    holder: Holder | None
    attempt: int
    beats: int
    since_s: float


class FileLeases:
    """`LeaseTable` in a folder: a JSON file per run.

    Args:
        folder: Where they lie; made when the first lease is taken.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, run: str) -> LeaseRow | None:
        """See `LeaseTable`."""
        with store_errors(str(self._folder)), self._locked():
            kept = self._load(run)
        return None if kept is None else _to_row(kept)

    def take(self, run: str, holder: Holder, seen: LeaseRow | None) -> int | None:
        """See `LeaseTable`."""
        with store_errors(str(self._folder)), self._locked():
            kept = self._load(run)
            mark = None if kept is None else (kept.holder, kept.attempt, kept.beats)
            if mark != (None if seen is None else (seen.holder, seen.attempt, seen.beats)):
                return None
            attempt = 1 if kept is None else kept.attempt + 1
            self._write(run, _Kept(holder, attempt, beats=0, since_s=time.time()))
            return attempt

    def renew(self, run: str, holder: Holder, attempt: int) -> bool:
        """See `LeaseTable`."""
        with store_errors(str(self._folder)), self._locked():
            kept = self._held(run, holder, attempt)
            if kept is None:
                return False
            self._write(run, replace(kept, beats=kept.beats + 1))
            return True

    def release(self, run: str, holder: Holder, attempt: int) -> None:
        """See `LeaseTable`."""
        with store_errors(str(self._folder)), self._locked():
            kept = self._held(run, holder, attempt)
            if kept is not None:
                self._write(run, replace(kept, holder=None))

    @contextmanager
    def held(self, run: str, holder: Holder, attempt: int, within: Any) -> Iterator[None]:
        """See `LeaseTable`."""
        with self._locked():
            if self._held(run, holder, attempt) is None:
                kept = self._load(run)
                raise lease_lost(run, None if kept is None else _to_row(kept))
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file closes
            yield

    def _held(self, run: str, holder: Holder, attempt: int) -> _Kept | None:
        kept = self._load(run)
        return kept if kept and kept.holder == holder and kept.attempt == attempt else None

    def _load(self, run: str) -> _Kept | None:
        path = self._folder / f"{run}.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            holder = Holder(**value["holder"]) if value["holder"] else None
            return _Kept(holder, value["attempt"], value["beats"], value["since_s"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(
                f"the lease {path} is damaged ({error}); if no driver of run {run!r} is at work "
                "anywhere, remove the file and repeat the command"
            ) from error

    def _write(self, run: str, kept: _Kept) -> None:
        part = self._folder / f"{run}.part"
        with part.open("w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(kept), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._folder / f"{run}.json")


def _to_row(kept: _Kept) -> LeaseRow:
    return LeaseRow(kept.holder, kept.attempt, kept.beats, age_s=None, since_s=kept.since_s)
