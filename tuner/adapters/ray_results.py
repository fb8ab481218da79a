"""What a trainable reports after each epoch, and what becomes of it (no Ray in here).

A trainable's `step` returns `epoch`, `metrics`, `history`, `finished`, `state`, `reason`,
`best_epoch`, `best_value`, `best_metrics`, `checkpoint`, `device_seconds`, `node`, and `notes` for
the user. The key is `finished` and not Tune's `done`, because Tune stops a trial that is `done`
before its scheduler has seen the result.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from tuner.errors import RunnerError
from tuner.records import OutcomeKind, TrialOutcome, TrialRequest

__all__ = [
    "Attempts",
    "Cancelled",
    "Completed",
    "End",
    "Failed",
    "FailureKind",
    "Invalid",
    "Progress",
    "Stopped",
    "failure_kind",
    "failure_reason",
    "plain_text",
    "to_outcome",
]

_NO_METRICS: Mapping[str, float] = {}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION_LINE = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning)\b")


@dataclass(frozen=True)
class Progress:
    """One report of a trainable.

    Attributes:
        epoch: Epochs completed.
        metrics: Metrics of that epoch.
        history: Epochs before it that this driver may have missed, in order.
        finished: Whether there is nothing left to train.
        state: `ok` or `invalid_metric`.
        reason: Why it is not `ok`.
        best_epoch: Epoch with the best objective so far.
        best_value: That objective.
        best_metrics: Metrics of that epoch.
        checkpoint: Where the best weights lie.
        device_seconds: Device time of the whole training, earlier drivers included.
        node: Host of the worker.
        notes: What the user has to know of what the worker found, said once.
    """

    epoch: int
    metrics: Mapping[str, float]
    history: tuple[tuple[int, Mapping[str, float]], ...] = ()
    finished: bool = False
    state: str = "ok"
    reason: str = ""
    best_epoch: int | None = None
    best_value: float | None = None
    best_metrics: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str | None = None
    device_seconds: float | None = None
    node: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def from_result(cls, flat: Mapping[str, Any]) -> Progress:
        """Read Tune's flat result, in which nested keys are joined by a slash.

        Raises:
            RunnerError: If the trainable left out its epoch.
        """
        if "epoch" not in flat:
            raise RunnerError(
                f"the trainable reported no 'epoch', only {sorted(flat)}; "
                "its step() must return what tuner.adapters.ray_results describes"
            )
        history = tuple(
            (int(entry["epoch"]), entry["metrics"]) for entry in flat.get("history") or ()
        )
        return cls(
            epoch=int(flat["epoch"]),
            metrics=_nested(flat, "metrics/"),
            history=history,
            finished=bool(flat.get("finished", False)),
            state=str(flat.get("state", "ok")),
            reason=str(flat.get("reason", "")),
            best_epoch=flat.get("best_epoch"),
            best_value=flat.get("best_value"),
            best_metrics=_nested(flat, "best_metrics/"),
            checkpoint=flat.get("checkpoint"),
            device_seconds=flat.get("device_seconds"),
            node=str(flat.get("node", "")),
            notes=tuple(str(note) for note in flat.get("notes") or ()),
        )

    def fault(self) -> str:
        """Say why this cannot count as a result; empty if it can."""
        if self.state != "ok":
            return self.reason or f"the trainable ended in state {self.state!r}"
        for epoch, metrics in (*self.history, (self.epoch, self.metrics)):
            for name, value in metrics.items():
                if not math.isfinite(value):
                    return f"{name} is {value} in epoch {epoch}"
        best = self.best_value
        if self.finished and (best is None or not math.isfinite(best)):
            return f"no finite objective after {self.epoch} epochs (best value: {best})"
        return ""


@dataclass(frozen=True)
class Completed:
    """Trained to its last epoch."""


@dataclass(frozen=True)
class Stopped:
    """Cut short because the observer said so."""


@dataclass(frozen=True)
class Invalid:
    """A figure was NaN or infinite."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """The worker raised or died, more often than is retried."""

    traceback: str


@dataclass(frozen=True)
class Cancelled:
    """The run as a whole ended before the trial did."""

    reason: str


End = Completed | Stopped | Invalid | Failed | Cancelled


@dataclass(frozen=True)
class Attempts:
    """The attempts at one trial, summed up.

    Attributes:
        count: How many there were.
        seconds: Wall time of all of them, as far as this driver saw.
        devices: Accelerators held, or CPUs where there are none.
        progress: The last report, if there was one.
    """

    count: int
    seconds: float
    devices: float
    progress: Progress | None


def to_outcome(request: TrialRequest, attempts: Attempts, end: End) -> TrialOutcome:
    """Map the end of a trial to the record that the rest of the tuner knows."""
    match end:
        case Completed():
            return _outcome(request, attempts, OutcomeKind.COMPLETED, with_value=True)
        case Stopped():
            epoch = attempts.progress.epoch if attempts.progress else 0
            reason = f"stopped after epoch {epoch}"
            kind = OutcomeKind.STOPPED_EARLY
            return _outcome(request, attempts, kind, with_value=True, reason=reason)
        case Invalid(reason):
            return _outcome(request, attempts, OutcomeKind.INVALID_METRIC, reason=reason)
        case Failed(traceback):
            reason = failure_reason(traceback)
            kind = OutcomeKind.FAILED
            return _outcome(request, attempts, kind, reason=reason, traceback=traceback)
        case Cancelled(reason):
            return _outcome(request, attempts, OutcomeKind.CANCELLED, reason=reason)
        case _:
            assert_never(end)


class FailureKind(enum.Enum):
    """Why an attempt at a trial failed; the values are for people."""

    NODE_LOST = "node lost"
    HOST_MEMORY = "out of memory"
    GPU_MEMORY = "out of GPU memory"
    WORKER_DIED = "worker died"
    STORAGE_FULL = "no space for checkpoints"
    ERROR = "error"


def failure_kind(traceback: str) -> FailureKind:
    """Sort a worker's traceback, or Ray's account of a dead worker."""
    if _raised_line(traceback):
        memory = "torch.OutOfMemoryError", "cuda.OutOfMemoryError", "CUDA out of memory"
        if any(word in _raised_line(traceback) for word in memory):
            return FailureKind.GPU_MEMORY
        if _STORAGE_FULL in _raised_line(traceback):
            return FailureKind.STORAGE_FULL
        return FailureKind.ERROR
    text = traceback.lower()
    if any(word in text for word in _HOST_MEMORY):
        return FailureKind.HOST_MEMORY
    if any(word in text for word in _NODE_LOST):
        return FailureKind.NODE_LOST
    if "actor" in text and ("died" in text or "dead" in text or "unavailable" in text):
        return FailureKind.WORKER_DIED
    return FailureKind.ERROR


def failure_reason(traceback: str) -> str:
    """Put a worker's traceback, or Ray's account of a dead worker, into one line."""
    match failure_kind(traceback):
        case FailureKind.HOST_MEMORY:
            return "the worker process was killed because the machine ran out of memory"
        case FailureKind.NODE_LOST:
            return "the worker's node was lost (it died, was taken away, or cannot be reached)"
        case FailureKind.WORKER_DIED:
            return "the worker process died (killed from outside, or crashed)"
        case FailureKind.GPU_MEMORY:
            return f"the GPU ran out of memory: {_raised_line(traceback)}"
        case FailureKind.STORAGE_FULL:
            return _raised_line(traceback).partition(f"{_STORAGE_FULL}: ")[2]
        case FailureKind.ERROR:
            lines = [line.strip() for line in traceback.splitlines() if line.strip()]
            last = lines[-1] if lines else "the worker failed without saying why"
            return _raised_line(traceback) or last
        case _ as never:
            assert_never(never)


_STORAGE_FULL = "StorageFullError"
_HOST_MEMORY = ("low on memory", "node_out_of_memory", "outofmemoryerror")
_NODE_LOST = (
    *("node has died", "node is dead", "node died", "nodediederror", "node was terminated"),
    *("node was preempted", "autoscaler_drain", "actorunschedulable"),
    "temporarily unavailable",  # what Ray says of an actor at first when its machine is gone
)


def _raised_line(traceback: str) -> str:
    """The line that names what a worker's code raised; empty if Ray tells of a dead worker."""
    lines = [line.strip() for line in traceback.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith(("The actor died", "The actor is dead", "Worker exit type")):
            return ""
        if line.startswith("ray.exceptions.") and not line.startswith("ray.exceptions.RayTask"):
            return ""
        if _EXCEPTION_LINE.match(line):
            return line
    return ""


def plain_text(text: str) -> str:
    """Remove terminal colours, which Ray puts into its tracebacks."""
    return _ANSI.sub("", text).strip()


def _nested(flat: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {
        key.removeprefix(prefix): float(value)
        for key, value in flat.items()
        if key.startswith(prefix)
    }


def _outcome(
    request: TrialRequest,
    attempts: Attempts,
    kind: OutcomeKind,
    *,
    with_value: bool = False,
    reason: str = "",
    traceback: str = "",
) -> TrialOutcome:
    progress = attempts.progress
    best = progress if progress is not None and with_value else None
    device_seconds = progress.device_seconds if progress else None
    seconds = attempts.seconds
    if device_seconds is None:
        device_seconds = seconds * attempts.devices
    else:  # an earlier driver's part of the training was not seen by this one
        seconds = max(seconds, device_seconds / attempts.devices)
    return TrialOutcome(
        trial=request.trial,
        kind=kind,
        value=best.best_value if best else None,
        epochs=progress.epoch if progress else 0,
        best_epoch=best.best_epoch if best else None,
        metrics=dict(best.best_metrics) if best else dict(_NO_METRICS),
        checkpoint=best.checkpoint if best else None,
        seconds=seconds,
        device_seconds=device_seconds,
        attempts=attempts.count,
        reason=reason,
        traceback=traceback,
        node=progress.node if progress else "",
    )
