"""A run in one frozen value, and in the JSON shape that `--json` prints (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tuner.protocol.savings import Savings
from tuner.reports.confirmation import Confirmation
from tuner.reports.joint_check import JointCheck

__all__ = [
    "RunState",
    "RunSummary",
    "StageKind",
    "StageSummary",
    "TestedConfiguration",
    "TrialCounts",
    "TrialRow",
]

RunState = Literal["finished", "open", "failed"]
StageKind = Literal["search", "confirm", "check"]


@dataclass(frozen=True)
class TrialCounts:
    """How the trials of a stage stand.

    Attributes:
        finished: Trained to the end, here or where they were taken over from.
        pruned: Stopped early.
        failed: Ended without a usable result.
        cached: Those of the above that were taken over, and so not trained again.
        running: Not ended.
        carried_over: Those of the cached that this run had trained itself; the others were found
            in other runs of the store.
    """

    finished: int = 0
    pruned: int = 0
    failed: int = 0
    cached: int = 0
    running: int = 0
    carried_over: int = 0

    @property
    def total(self) -> int:
        """All trials of the study."""
        return self.finished + self.pruned + self.failed + self.running

    @property
    def from_other_runs(self) -> int:
        """Trials whose results another run of the store had."""
        return self.cached - self.carried_over

    @property
    def trained(self) -> int:
        """Trials that were trained in this stage."""
        return self.total - self.cached

    def to_json(self) -> dict[str, int]:
        """The counts by name."""
        return {
            "finished": self.finished,
            "pruned": self.pruned,
            "failed": self.failed,
            "cached": self.cached,
            "carried_over": self.carried_over,
            "from_other_runs": self.from_other_runs,
            "running": self.running,
            "trained": self.trained,
        }


@dataclass(frozen=True)
class TrialRow:
    """One trial, as reports show it.

    Attributes:
        number: Number in its stage.
        state: `finished`, `pruned`, `failed` or `running`.
        params: Hyperparameters, tuned and fixed.
        val_mpjpe_mm: Objective; None unless finished.
        epochs: Epochs completed.
        best_epoch: Epoch of the objective.
        imported_from: `study#number` that this trial repeats; None if it was trained.
        metrics: Metrics of the best epoch.
        reason: Why it ended without a result; empty otherwise.
        checkpoint: Where its best weights lie.
        mlflow_run_id: Its tracking run.
        attempts: How often it was started.
        seconds: Wall time of training; 0 for one that was taken over.
        seed: Seed of initialisation and data order.
        test: Metrics on the test split, where they were computed.
    """

    number: int
    state: str
    params: Mapping[str, float]
    val_mpjpe_mm: float | None
    epochs: int
    best_epoch: int | None
    imported_from: str | None
    metrics: Mapping[str, float]
    reason: str
    checkpoint: str | None
    mlflow_run_id: str | None
    attempts: int
    seconds: float
    seed: int
    test: Mapping[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {
            "number": self.number,
            "state": self.state,
            "params": dict(self.params),
            "val_mpjpe_mm": self.val_mpjpe_mm,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "imported_from": self.imported_from,
            "metrics": dict(self.metrics),
            "reason": self.reason,
            "checkpoint": self.checkpoint,
            "mlflow_run_id": self.mlflow_run_id,
            "attempts": self.attempts,
            "seconds": self.seconds,
            "seed": self.seed,
            "test": None if self.test is None else dict(self.test),
        }


@dataclass(frozen=True)
class StageSummary:
    """One stage.

    Attributes:
        name: Name of the stage, `1-lr_p`.
        study: Name of its study.
        tunes: Hyperparameters that it tunes.
        counts: How its trials stand.
        trials: All trials by number.
        winner: The winning trial; the best so far while the stage is open; None if none finished.
        closed: Whether the winner is final.
        reason: The decision in one sentence; empty while the stage is open.
        kind: `search`; `confirm`, which has no winner; or `check`, whose winner decides nothing.
        pruner: Who stops trials early; `none` for nobody.
        asynchronous: Whether timing decides who is stopped.
        savings: What that saved.
        extensions: What was added to the stage after it had been closed, as JSON values.
    """

    name: str
    study: str
    tunes: tuple[str, ...]
    counts: TrialCounts
    trials: tuple[TrialRow, ...]
    winner: TrialRow | None
    closed: bool
    reason: str
    kind: StageKind = "search"
    pruner: str = "none"
    asynchronous: bool = False
    savings: Savings = field(default_factory=Savings)
    extensions: tuple[Mapping[str, Any], ...] = ()

    @property
    def given_up(self) -> bool:
        """Whether every trial has ended and none has a result."""
        return not self.closed and 0 < self.counts.total == self.counts.failed + self.counts.pruned

    def to_json(self) -> dict[str, Any]:
        """The stage as JSON values."""
        return {
            "name": self.name,
            "study": self.study,
            "kind": self.kind,
            "tunes": list(self.tunes),
            "closed": self.closed,
            "reason": self.reason,
            "pruner": self.pruner,
            "asynchronous": self.asynchronous,
            "extensions": [dict(extension) for extension in self.extensions],
            "trials": self.counts.to_json(),
            "winner": self._winner_json(),
        }

    def _winner_json(self) -> dict[str, Any] | None:
        if self.winner is None:
            return None
        return {
            "number": self.winner.number,
            "params": dict(self.winner.params),
            "val_mpjpe_mm": self.winner.val_mpjpe_mm,
        }


@dataclass(frozen=True)
class TestedConfiguration:
    """A closed stage's winner with its test metrics.

    Attributes:
        stage: The stage that it won.
        params: Hyperparameters.
        val_mpjpe_mm: Its objective.
        test: Metrics on the test split; None until they are computed.
        checkpoint: Where its weights lie.
    """

    __test__ = False  # no test class, whatever its name looks like to pytest

    stage: str
    params: Mapping[str, float]
    val_mpjpe_mm: float
    test: Mapping[str, float] | None
    checkpoint: str | None

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return {
            "stage": self.stage,
            "params": dict(self.params),
            "val_mpjpe_mm": self.val_mpjpe_mm,
            "test": None if self.test is None else dict(self.test),
        }


@dataclass(frozen=True)
class RunSummary:
    """A run as it stands.

    Attributes:
        run: Name of the run.
        state: `finished` (all stages closed, winners tested, and what was asked for beyond that
            done), `failed` (no trial of a stage has a result) or `open`.
        stages: In order.
        baseline: Winner of the first stage, which trains the pose-net alone; None while open.
        seal: Winner of the last stage of the search; None while open.
        trainings: Trials that were trained, over all stages.
        seconds: Their wall time, added up.
        device_seconds: Wall time times devices, added up.
        storage: Study store, without password.
        tracking_uri: Tracking store or server, without password.
        mlflow_run_id: Tracking run of the run as a whole.
        artifacts: Folder of report and figures.
        configuration: What the run was asked to do, as JSON values.
        location_options: Options that lead a command to this run's stores (`--home`, …);
            empty where the defaults do.
        data_notes: What to know of the data, one line each.
        pretraining: Figures of what every trial began with; None without a pre-training.
        confirmation: Winner, baseline and runners-up over fresh seeds; None without a confirm
            stage.
        check: The best point of a joint search beside the winner; None before one has ended.
    """

    run: str
    state: RunState
    stages: tuple[StageSummary, ...]
    baseline: TestedConfiguration | None
    seal: TestedConfiguration | None
    trainings: int
    seconds: float
    device_seconds: float
    storage: str = ""
    tracking_uri: str = ""
    mlflow_run_id: str | None = None
    artifacts: str = ""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    location_options: tuple[str, ...] = ()
    data_notes: tuple[str, ...] = ()
    pretraining: Mapping[str, Any] | None = None
    confirmation: Confirmation | None = None
    check: JointCheck | None = None

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON values: what `greedy --json` and `runs show --json` print.

        `state`, `stages`, `baseline`, `seal`, `confirmation`, `check` and `trainings` are
        results, equal for two runs of equal seed; times, places and identifiers are kept out of
        them. `savings` holds what pruning saved, by name of stage.
        """
        return {
            "run": self.run,
            "state": self.state,
            "stages": [stage.to_json() for stage in self.stages],
            "baseline": None if self.baseline is None else self.baseline.to_json(),
            "seal": None if self.seal is None else self.seal.to_json(),
            "confirmation": None if self.confirmation is None else self.confirmation.to_json(),
            "check": None if self.check is None else self.check.to_json(),
            "trainings": self.trainings,
            "savings": {stage.name: asdict(stage.savings) for stage in self.stages},
            "seconds": self.seconds,
            "device_seconds": self.device_seconds,
            "storage": self.storage,
            "tracking_uri": self.tracking_uri,
            "mlflow_run_id": self.mlflow_run_id,
            "artifacts": self.artifacts,
            "checkpoints": {
                "baseline": self.baseline.checkpoint if self.baseline else None,
                "seal": self.seal.checkpoint if self.seal else None,
            },
            "trial_list": {
                stage.name: [trial.to_json() for trial in stage.trials] for stage in self.stages
            },
            "configuration": dict(self.configuration),
            "data_notes": list(self.data_notes),
            "pretraining": None if self.pretraining is None else dict(self.pretraining),
        }
