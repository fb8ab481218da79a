"""A listener that remembers."""

from __future__ import annotations

from collections.abc import Mapping

from tuner.records import EpochReport, TrialOutcome, TrialRequest


class RecordingListener:
    """Keeps every message and ended trial, in order."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.ended: list[tuple[str, int]] = []
        self.parked: list[tuple[str, int]] = []

    def on_stage(
        self,
        stage: str,
        *,
        planned: int,
        done: int,
        message: str,
        best_mm: Mapping[str, float],
    ) -> None:
        self.messages.append(f"{stage} {done}/{planned} {message}")

    def on_trial_started(self, request: TrialRequest) -> None:
        pass

    def on_epoch(self, stage: str, report: EpochReport, *, epochs: int) -> None:
        pass

    def on_trial_parked(self, stage: str, trial: int) -> None:
        self.parked.append((stage, trial))

    def on_trial_ended(self, stage: str, outcome: TrialOutcome) -> None:
        self.ended.append((stage, outcome.trial))

    def on_message(self, text: str) -> None:
        self.messages.append(text)
