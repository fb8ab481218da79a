"""A pre-training as people and trackers see it: a trial of its own, before the others."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tuner.errors import RunInterruptedError
from tuner.ports import EngineListener, Tracker
from tuner.records import EpochReport, OutcomeKind, TrialOutcome, TrialRequest, TrialSpec

__all__ = ["STAGE", "ShownPretraining", "pretraining_line"]

STAGE = "0-pretraining"
"""Where the tracker shows it: before the stages of the protocol."""

LOSS = "pretrain_loss"
"""Distance of restored from true joints, normalised screen coordinates."""

_TRIAL = 0
_PART = "pretraining"
# what a pre-training depends on; the rest of the configuration would only mislead
_FIELDS = ("backbone", "backbone_options", "batch_size", "steps_per_epoch", "lr_decay", "flip")


class ShownPretraining:
    """Shows a pre-training while the block runs, and how it ended.

    Args:
        spec: A trial that begins with it.
        tracker: Shows its epochs, as a trial of the stage `0-pretraining`.
        listener: Gets a line for each epoch, and one at the end.
        epochs: Epochs that it has.
    """

    def __init__(
        self, spec: TrialSpec, tracker: Tracker, listener: EngineListener, *, epochs: int
    ) -> None:
        self._tracker = tracker
        self._listener = listener
        self._epochs = epochs
        self._epoch = 0
        self._loss: float | None = None
        self._seconds = 0.0
        self._finished = False
        self._trained_now = False
        self._request = TrialRequest(STAGE, _TRIAL, _shown(spec))

    def __enter__(self) -> Self:
        self._tracker.start_trial(self._request, tags={"role": _PART})
        return self

    def on_epoch(self, epoch: int, figures: Mapping[str, float], *, earlier: bool = False) -> None:
        """Show an epoch that ended now, or was there already: the tracker shows both alike."""
        self._tracker.log_epoch(STAGE, EpochReport(_TRIAL, epoch, figures))
        self._epoch, self._loss = epoch, figures[LOSS]
        self._seconds += figures["epoch_s"]
        if earlier:
            return
        self._trained_now = True
        self._listener.on_message(
            f"pre-training: epoch {epoch} of {self._epochs}, loss {self._loss:.4f}, "
            f"{figures['epoch_s']:.1f} s"
        )

    def finish(self, figures: Mapping[str, Any]) -> None:
        """Show that all epochs have been trained, with what came out of it."""
        found = self._epoch == self._epochs and not self._trained_now
        self._finished = True
        self._epoch, self._seconds = int(figures["epochs"]), float(figures["seconds"])
        self._listener.on_message(pretraining_line(figures, found=found))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ending, reason = OutcomeKind.COMPLETED, ""
        if not self._finished:
            ending, reason = OutcomeKind.FAILED, str(error or "")
            if error is None or isinstance(error, RunInterruptedError | KeyboardInterrupt):
                ending, reason = OutcomeKind.CANCELLED, "interrupted"
        outcome = TrialOutcome(
            trial=_TRIAL,
            kind=ending,
            epochs=self._epoch,
            seconds=self._seconds,
            reason=reason,
        )
        self._tracker.end_trial(STAGE, outcome, tags={"role": _PART})


def pretraining_line(figures: Mapping[str, Any], *, found: bool = False) -> str:
    """A finished pre-training in a line, from what `TrialRunner.pretrain` returned.

    Args:
        figures: What it returned.
        found: Whether it was there, so that nothing was trained.
    """
    result = (
        f"{figures['epochs']} epochs, loss {figures['first_loss']:.4f} -> "
        f"{figures['last_loss']:.4f}"
    )
    if found:
        return f"pre-training found: {result}"
    return f"pre-training: {result}, {figures['seconds']:.1f} s"


def _shown(spec: TrialSpec) -> TrialSpec:
    base = {name: spec.base[name] for name in (*_FIELDS, "data", _PART) if name in spec.base}
    return TrialSpec(base=base, params={}, seed=spec.base[_PART].get("seed", 0))
