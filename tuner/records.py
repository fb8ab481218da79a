"""Frozen records that pass between protocol, engine and adapters (stdlib only)."""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

__all__ = [
    "TRAINING_VERSION",
    "EpochReport",
    "MeasuredOn",
    "OutcomeKind",
    "StageResult",
    "StudyHistory",
    "StudySpec",
    "TrialOutcome",
    "TrialRecord",
    "TrialRequest",
    "TrialSpec",
    "TrialState",
    "canonical_json",
    "digest",
    "float_token",
]

TRAINING_VERSION = 1
"""Raised whenever the trainer changes what a configuration results in; part of every
fingerprint, so that older results are not mistaken for new ones."""

Json = Any


def float_token(value: float) -> str:
    """Write a float in one canonical way: the shortest form that reads back equal."""
    return repr(float(value))


def canonical_json(value: Json) -> str:
    """Serialise to JSON with sorted keys, no spaces, and no NaN or infinity.

    Raises:
        ValueError: If `value` holds a non-finite number.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Json) -> str:
    """SHA-256 (hexadecimal) over the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _canonical_numbers(value: Json) -> Json:
    """The same value with whole numbers as ints, so that 3 and 3.0, 0.0 and -0.0 agree."""
    if isinstance(value, Mapping):
        return {name: _canonical_numbers(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class TrialSpec:
    """Everything that determines a trial's result.

    Attributes:
        base: The training configuration without hyperparameters and seed: backbone, loss-net,
            objective, data set with its content hash, epochs, batch size. JSON values only.
        params: Hyperparameters by name (`lr_p`, `lr_l`, `alpha`), tuned and fixed ones.
        seed: Seed of initialisation and data order.
    """

    base: Mapping[str, Json]
    params: Mapping[str, float]
    seed: int

    @property
    def fingerprint(self) -> str:
        """Identity of the result: equal fingerprints mean equal trainings.

        Neither where a field stands (a search that tunes it has it in `params`, one that sets
        it in `base`) nor how a whole number is written makes a difference.
        """
        return digest({**self._without_seed(), "seed": self.seed})

    @property
    def configuration_key(self) -> str:
        """Identity of the configuration: the fingerprint with the seed left out."""
        return digest(self._without_seed())

    def training_config(self) -> dict[str, Json]:
        """The flat configuration that `trainables.config.TrainingConfig` reads."""
        return {**self.base, **self.params, "seed": self.seed}

    def to_json(self) -> dict[str, Json]:
        """The record as JSON values; `from_json` is its inverse."""
        return {"base": dict(self.base), "params": dict(self.params), "seed": self.seed}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> TrialSpec:
        """Rebuild a record that `to_json` wrote."""
        return cls(base=value["base"], params=value["params"], seed=value["seed"])

    def _without_seed(self) -> dict[str, Json]:
        return {
            "training_version": TRAINING_VERSION,
            "training": _canonical_numbers({**self.base, **self.params}),
        }


@dataclass(frozen=True)
class MeasuredOn:
    """What a validation figure was measured on: whether it may be compared with another one.

    How long a training's clips are does not matter: however a net looks at a sequence, validation
    measures the same frames of it, each as a pose of its own.

    Attributes:
        dataset: Name of the data set.
        content_hash: Of the decoded arrays, after the stride.
        keypoints: Which 2D key points.
        joints: How many joints, if that is not all.
        split: The split that epochs are compared on.
        stride: Every how many-th frame is used.
        max_poses: Upper bound of the poses that an epoch is measured on; None for all.
    """

    dataset: str
    content_hash: str
    keypoints: str
    joints: int | None
    split: str
    stride: int
    max_poses: int | None

    def to_text(self) -> str:
        """The record as one line of JSON; `from_text` is its inverse."""
        return canonical_json(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> MeasuredOn:
        """Rebuild a record.

        Raises:
            ValueError: If `to_text` did not write it.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{text!r} does not say what a figure was measured on") from error

    def is_fuller_than(self, other: MeasuredOn) -> bool:
        """Whether it is the same data, with no tighter bound or stride, and one of them wider."""
        # the hash is of what the stride leaves, so it cannot tell whether two strides' data agree
        hashed = self.content_hash if self.stride == other.stride else other.content_hash
        thinned = replace(
            self, max_poses=other.max_poses, stride=other.stride, content_hash=hashed
        )
        bound, other_bound = (one.max_poses or math.inf for one in (self, other))
        no_tighter = bound >= other_bound and self.stride <= other.stride
        return thinned == other and no_tighter and self != other


class TrialState(enum.StrEnum):
    """State of a trial in the study store."""

    RUNNING = "running"
    FINISHED = "finished"
    PRUNED = "pruned"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether no further result can arrive."""
        return self is not TrialState.RUNNING


class OutcomeKind(enum.StrEnum):
    """How a trial ended, as the runner saw it."""

    COMPLETED = "completed"
    STOPPED_EARLY = "stopped_early"
    INVALID_METRIC = "invalid_metric"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """Interrupted, not ended: the trial stays RUNNING in the store and is resumed later."""


@dataclass(frozen=True)
class EpochReport:
    """One epoch of one trial.

    Attributes:
        trial: Number of the trial in its stage.
        epoch: Epochs completed, from 1.
        metrics: Finite figures by name, units as suffixes (`val_mpjpe_mm`).
    """

    trial: int
    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class TrialOutcome:
    """End of one trial.

    Attributes:
        trial: Number of the trial in its stage.
        kind: How it ended.
        value: Objective, `val_mpjpe_mm` of the best epoch; None if there is none.
        epochs: Epochs completed.
        best_epoch: Epoch of `value`.
        metrics: Metrics of the best epoch.
        checkpoint: Where the best weights lie (folder or URI); None if there are none.
        seconds: Wall time of training, over all attempts that this driver saw, or over all lives
            of the training if that is more.
        device_seconds: Wall time times the accelerators (or CPUs) held.
        attempts: How often the trial was started.
        reason: For anything but COMPLETED: why, in one line.
        traceback: The worker's traceback, if it raised.
        node: Host that ran the last attempt.
    """

    trial: int
    kind: OutcomeKind
    value: float | None = None
    epochs: int = 0
    best_epoch: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str | None = None
    seconds: float = 0.0
    device_seconds: float = 0.0
    attempts: int = 1
    reason: str = ""
    traceback: str = ""
    node: str = ""


@dataclass(frozen=True)
class TrialRequest:
    """A trial to run: its number in the stage and everything that determines it."""

    stage: str
    trial: int
    spec: TrialSpec


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the study store knows it.

    Attributes:
        number: Number in its stage's study, from 0.
        spec: What it trains.
        state: Where it stands.
        value: Objective in millimetres for a FINISHED trial, else None.
        epochs: Epochs completed (or reported so far).
        best_epoch: Epoch of `value`.
        imported_from: `study#number` of the finished trial that this one repeats (carry-over
            or cache); such a trial was not trained again.
        outcome: The runner's record of the end; None while running.
        mlflow_run_id: Tracking run that shows this trial, once known.
        curve: (epoch, objective in millimetres) of every epoch reported, in order.
        fingerprint: Of `spec`, as it was when the trial was recorded.
        configuration_key: Likewise.
        test_metrics: Metrics of its best weights on the test split, once they are computed.
    """

    number: int
    spec: TrialSpec
    state: TrialState
    value: float | None = None
    epochs: int = 0
    best_epoch: int | None = None
    imported_from: str | None = None
    outcome: TrialOutcome | None = None
    mlflow_run_id: str | None = None
    curve: tuple[tuple[int, float], ...] = ()
    fingerprint: str = ""
    configuration_key: str = ""
    test_metrics: Mapping[str, float] | None = None


@dataclass(frozen=True)
class StudySpec:
    """A stage's study: created once, then only opened when everything agrees.

    Attributes:
        run: Name of the run.
        stage: Name of the stage; the study is `<run>/<stage>`.
        distributions: Tuned hyperparameters by name, as JSON (`search_spaces.Parameter`).
        definition: The stage in full, as JSON; a mismatch on reopening is refused.
    """

    run: str
    stage: str
    distributions: Mapping[str, Mapping[str, Json]]
    definition: Mapping[str, Json]

    @property
    def study_name(self) -> str:
        """Name of the Optuna study."""
        return f"{self.run}/{self.stage}"


@dataclass(frozen=True)
class StageResult:
    """A closed stage: who won and why.

    Attributes:
        stage: Name of the stage.
        winner: Number of the winning trial.
        params: Its hyperparameters, tuned and fixed.
        value: Its objective, millimetres.
        reason: The decision in one sentence, for people.
        extensions: How many extensions of the stage it takes account of; with a further one the
            stage is open again.
    """

    stage: str
    winner: int
    params: Mapping[str, float]
    value: float
    reason: str
    extensions: int = 0

    def to_json(self) -> dict[str, Json]:
        """The record as JSON values; `from_json` is its inverse."""
        return {
            "stage": self.stage,
            "winner": self.winner,
            "params": dict(self.params),
            "value": self.value,
            "reason": self.reason,
            "extensions": self.extensions,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> StageResult:
        """Rebuild a record that `to_json` wrote."""
        return cls(**value)


@dataclass(frozen=True)
class StudyHistory:
    """One stage's study as it stands.

    Attributes:
        spec: The definition the study was created with.
        trials: All trials in order of number.
        result: The stage's result once it is closed, else None.
        attributes: Further facts kept with the study (JSON), `test` metrics among them.
    """

    spec: StudySpec
    trials: tuple[TrialRecord, ...]
    result: StageResult | None
    attributes: Mapping[str, Any]
