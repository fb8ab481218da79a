"""How many trials may run at once, kept up to date while the cluster changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from tuner.adapters.ray_placement import Slot, fitting
from tuner.adapters.ray_sharing import ClusterShare

__all__ = ["ClusterWatch"]

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
JOIN_S = 10.0


class ClusterWatch:
    """Counts again and again how many trials a cluster has room for; a thread of its own.

    Nothing of it may hold up the driver's loop, which only reads `limit`.

    Args:
        slot: What a trial holds.
        labels: Labels that a node must have.
        asked: `--max-concurrent`; None for as many as fit.
        fits: How many fit as the watch begins.
        wanted: How many trials could run now; None for no end of them.
        share: This run's place among others on the cluster; None where it has Ray to itself,
            whose size does not change either: then nothing is watched.
    """

    def __init__(
        self,
        slot: Slot,
        labels: dict[str, str],
        *,
        asked: int | None,
        fits: int,
        wanted: Callable[[], int | None],
        share: ClusterShare | None,
    ) -> None:
        self._slot = slot
        self._labels = labels
        self._asked = asked
        self._wanted = wanted
        self._share = share
        self._fits = fits
        self._limit = self._bound(fits)
        self._placeholders: list[Any] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cluster-watch", daemon=True)

    def __enter__(self) -> Self:
        if self._share is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._share is not None:
            self._thread.join(timeout=JOIN_S)

    def limit(self) -> int:
        """Trials that may run at once; 1 at least."""
        return self._limit

    def _bound(self, count: int) -> int:
        return max(1, count if self._asked is None else min(count, self._asked))

    def _watch(self) -> None:
        assert self._share is not None  # `__enter__` looked
        try:
            while not self._over.is_set():
                try:
                    self._look(self._share)
                except Exception as error:  # noqa: BLE001 - Ray may be away for a while
                    logger.debug("cannot look at the cluster: %s", error)
                self._over.wait(INTERVAL_S)
        finally:
            self._share.leave()
            self._hold_placeholders(0)

    def _look(self, share: ClusterShare) -> None:
        fits = fitting(self._slot, self._labels, ray.nodes())
        if fits != self._fits:
            logger.warning("the cluster has room for %d trials now (%d before)", fits, self._fits)
            self._fits = fits
        wanted = self._wanted()
        bound = self._bound(fits)
        could_use = bound if wanted is None else min(bound, wanted)
        granted = share.ask(could_use, fits)
        self._limit = bound if granted is None or not share.others else min(bound, granted)
        missing = 0 if self._asked is None else self._asked - fits
        self._hold_placeholders(missing if wanted is None else min(missing, wanted - fits))

    def _hold_placeholders(self, count: int) -> None:
        """Ask Ray for as much as so many more trials would hold.

        That is how an autoscaler learns of it. One that got its place is given back at once: the
        room is counted with the node that made it, and trials take it.
        """
        waiting: list[Any] = []
        for group in self._placeholders:
            if len(waiting) < count and not group.wait(timeout_seconds=0):
                waiting.append(group)
            else:
                remove_placement_group(group)
        while len(waiting) < count:
            selector = [self._labels] if self._labels else None
            bundle = {name: n for name, n in self._slot.resources.items() if n}
            waiting.append(placement_group([bundle], bundle_label_selector=selector))
        self._placeholders = waiting
