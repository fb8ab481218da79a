"""What the protocol can ask for next: small frozen values, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.protocol.window import Window
from tuner.records import StageResult, StudySpec, TrialRecord, TrialSpec

__all__ = [
    "Action",
    "AskTrials",
    "CloseStage",
    "EvaluateTrials",
    "Finished",
    "GiveUp",
    "ImportTrials",
    "KeepFact",
    "OpenStage",
    "PlannedTrial",
    "Pretrain",
    "ReleaseTrials",
    "RunTrials",
]


@dataclass(frozen=True)
class OpenStage:
    """Create the stage's study."""

    stage: str
    study: StudySpec
    reason: str


@dataclass(frozen=True)
class Pretrain:
    """Pre-train what the pose-nets of all trials begin with.

    Attributes:
        stage: The first stage, whose study keeps the figures.
        spec: One of its trials: all that the pre-training depends on is the same in every one.
        epochs: Its epochs.
        reason: Why, in one line.
    """

    stage: str
    spec: TrialSpec
    epochs: int
    reason: str


@dataclass(frozen=True)
class ImportTrials:
    """Take finished trials over from an earlier stage, in this order."""

    stage: str
    trials: tuple[tuple[str, TrialRecord], ...]
    reason: str


@dataclass(frozen=True)
class PlannedTrial:
    """A trial to record: its number, its point (None: ask the sampler), its fixed values.

    Attributes:
        number: Number that it will get in the study.
        point: Tuned hyperparameters; None where the sampler proposes them.
        fixed: Hyperparameters fixed by earlier stages.
        batch_start: First number of the sampler's batch.
        seed: Seed of its training.
        window: Where the sampler may look; None for the whole space.
        spec: The training itself, where it is no point of the stage's space; None otherwise.
    """

    number: int
    point: Mapping[str, float] | None
    fixed: Mapping[str, float]
    batch_start: int
    seed: int
    window: Window | None = None
    spec: TrialSpec | None = None


@dataclass(frozen=True)
class AskTrials:
    """Record these trials as RUNNING."""

    stage: str
    trials: tuple[PlannedTrial, ...]
    reason: str


@dataclass(frozen=True)
class RunTrials:
    """Run the trials that are RUNNING in the study until they have ended."""

    stage: str
    numbers: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class CloseStage:
    """Write the stage's result down."""

    stage: str
    result: StageResult
    reason: str


@dataclass(frozen=True)
class KeepFact:
    """Keep a fact with the stage's study, as JSON values."""

    stage: str
    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class EvaluateTrials:
    """Compute the test metrics of these trials, each a stage and a number."""

    trials: tuple[tuple[str, int], ...]
    reason: str


@dataclass(frozen=True)
class ReleaseTrials:
    """Remove what the first so many trials of a stage without a winner kept for later."""

    stage: str
    count: int
    reason: str


@dataclass(frozen=True)
class GiveUp:
    """No trial of the stage finished: stop, resumably."""

    stage: str
    failures: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Finished:
    """Everything is done."""

    reason: str


Action = (
    OpenStage
    | Pretrain
    | ImportTrials
    | AskTrials
    | RunTrials
    | CloseStage
    | KeepFact
    | EvaluateTrials
    | ReleaseTrials
    | GiveUp
    | Finished
)
