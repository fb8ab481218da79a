"""A runner that drives the real bridge as Tune does, in a random order, with random deaths."""

from __future__ import annotations

import collections
import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuner.adapters.ray_bridge import TrialBridge
from tuner.ports import FeedState, OnMetrics, TrialFeed, TrialObserver
from tuner.records import TrialRequest, TrialSpec

Curve = Callable[[TrialSpec, int], float]


def noisy_bowl(spec: TrialSpec, epoch: int) -> float:
    """An objective in millimetres that falls, noisily, towards a level set by the parameters."""
    text = f"{sorted(spec.params.items())}/{epoch}".encode()
    noise = int.from_bytes(hashlib.sha256(text).digest()[:4], "big") / 2**32
    level = sum(abs(value) * 1e4 for value in spec.params.values())
    return 50.0 + level % 7 + 30.0 / epoch + 6.0 * noise


@dataclass
class Disk:
    """What outlives a driver: how far each training has come, and what was trained how often."""

    epochs: dict[str, int] = field(default_factory=dict)
    trained: collections.Counter[tuple[str, int]] = field(default_factory=collections.Counter)


class HandTune:
    """`TrialRunner` for a protocol over made-up curves.

    Args:
        disk: Checkpoints.
        order: Draws who reports next, and who dies.
        slots: Trials at the same time.
        curve: Objective of a training after an epoch.
        broken: Whether a training ends with an invalid metric after its second epoch.
        worker_deaths: Chance that a worker dies instead of reporting.
        driver_deaths: Chance that the driver dies instead.
    """

    def __init__(
        self,
        disk: Disk,
        order: random.Random,
        *,
        slots: int = 3,
        curve: Curve = noisy_bowl,
        broken: Callable[[TrialRequest], bool] = lambda request: False,
        worker_deaths: float = 0.0,
        driver_deaths: float = 0.0,
    ) -> None:
        self._disk = disk
        self._order = order
        self._slots = slots
        self._curve = curve
        self._broken = broken
        self._worker_deaths = worker_deaths
        self._driver_deaths = driver_deaths
        self._tickets = 0
        self.most_at_once = 0

    def run(self, feed: TrialFeed, observer: TrialObserver) -> None:
        bridge = TrialBridge(
            feed, observer, max_concurrent=self._slots, max_failures=10**6, devices=1.0
        )
        live: dict[str, _Training] = {}
        while self._fill(bridge, live):
            self._turn(bridge, live, self._order.choice(sorted(live)))
        if bridge.fault is not None:
            raise bridge.fault

    def evaluate(
        self, jobs: Sequence[tuple[TrialSpec, str]], *, split: str, on_metrics: OnMetrics
    ) -> None:
        for index, (spec, _) in enumerate(jobs):
            on_metrics(index, {"mpjpe_mm": self._curve(spec, 1)})

    def pretrain(self, spec: TrialSpec, on_epoch: object) -> dict[str, Any]:
        raise NotImplementedError("no protocol here asks for one")

    def _fill(self, bridge: TrialBridge, live: dict[str, _Training]) -> bool:
        """Start what may be started; False at the end."""
        while True:
            self._tickets += 1
            ticket = f"t{self._tickets}"
            answer = bridge.next_request(ticket)
            if answer is FeedState.DONE:
                return False
            if isinstance(answer, FeedState):
                assert live, "everything waits, and nothing runs"
                return True
            busy = [training.request.trial for training in live.values()]
            assert answer.trial not in busy, f"trial {answer.trial} runs twice at a time"
            live[ticket] = _Training(answer, self._disk, self._curve, broken=self._broken(answer))
            self.most_at_once = max(self.most_at_once, len(live))
            bridge.started(ticket)

    def _turn(self, bridge: TrialBridge, live: dict[str, _Training], ticket: str) -> None:
        if self._order.random() < self._driver_deaths:
            raise KeyboardInterrupt
        training = live[ticket]
        if self._order.random() < self._worker_deaths:
            if self._order.random() < 0.5:
                training.step()  # its checkpoint was written, its report was lost
            del live[ticket]
            bridge.failed(ticket, "ValueError: died")
        elif bridge.progressed(ticket, training.step()):
            del live[ticket]
            bridge.ended(ticket)


class _Training:
    """One life of a training, which first reports where an earlier one has come to."""

    def __init__(self, request: TrialRequest, disk: Disk, curve: Curve, *, broken: bool) -> None:
        self.request = request
        self._disk = disk
        self._curve = curve
        self._broken = broken
        self._fingerprint = request.spec.fingerprint
        self._told = self._fingerprint not in disk.epochs

    def step(self) -> dict[str, Any]:
        history = not self._told
        if self._told:
            epoch = self._disk.epochs.get(self._fingerprint, 0) + 1
            if self._broken and epoch == 3:
                return {**self._report(), "state": "invalid_metric", "reason": "loss is nan"}
            self._disk.epochs[self._fingerprint] = epoch
            self._disk.trained[self._fingerprint, epoch] += 1
        self._told = True
        return self._report(with_history=history)

    def _report(self, *, with_history: bool = False) -> dict[str, Any]:
        spec = self.request.spec
        last = self._disk.epochs[self._fingerprint]
        values = {epoch: self._curve(spec, epoch) for epoch in range(1, last + 1)}
        best = min(values, key=lambda epoch: values[epoch])
        history: list[Mapping[str, Any]] = [
            {"epoch": epoch, "metrics": {"val_mpjpe_mm": value}}
            for epoch, value in values.items()
            if with_history
        ]
        return {
            "epoch": last,
            "metrics/val_mpjpe_mm": values[last],
            "history": history,
            "finished": last >= spec.base["epochs"],
            "best_epoch": best,
            "best_value": values[best],
            "best_metrics/val_mpjpe_mm": values[best],
            "checkpoint": f"disk/{self._fingerprint}",
        }
