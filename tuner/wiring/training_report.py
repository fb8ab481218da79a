"""What a training says of itself: to people, and to the tracker."""

from __future__ import annotations

from typing import Any

from trainables.trial_run import OBJECTIVE
from tuner.ports import RunInfo
from tuner.records import OutcomeKind, TrialOutcome
from tuner.wiring.environment import describe_environment, flatten
from tuner.wiring.training_plan import TrainingPlan

__all__ = ["TRIAL", "ending", "epoch_line", "outcome_of", "run_info"]

TRIAL = 0
"""Number of the one trial that a training is."""


def ending(report: dict[str, Any]) -> tuple[OutcomeKind, str]:
    """How the last report of `TrialRun` ends a training, and why, if not well."""
    if report["state"] != "ok":
        return OutcomeKind.INVALID_METRIC, f"{report['reason']}; try a lower --lr-p or --alpha"
    if report["finished"]:
        return OutcomeKind.COMPLETED, ""
    return OutcomeKind.CANCELLED, "interrupted"


def outcome_of(kind: OutcomeKind, report: dict[str, Any], reason: str) -> TrialOutcome:
    """The last report of `TrialRun` as a record; empty if there was none."""
    return TrialOutcome(
        trial=TRIAL,
        kind=kind,
        value=report.get("best_value"),
        epochs=report.get("epoch", 0),
        best_epoch=report.get("best_epoch"),
        metrics=report.get("best_metrics", {}),
        checkpoint=report.get("checkpoint"),
        seconds=report.get("seconds", 0.0),
        device_seconds=report.get("device_seconds", 0.0),
        reason=reason,
        node=report.get("node", ""),
    )


def epoch_line(report: dict[str, Any], epochs: int, *, split: str) -> str:
    """One epoch in a line for people; `split` is what epochs are compared on."""
    metrics = report["metrics"]
    best = " (best)" if report["best_epoch"] == report["epoch"] else ""
    return (
        f"epoch {report['epoch']} of {epochs}: {split} MPJPE {metrics[OBJECTIVE]:.2f} mm{best}, "
        f"{metrics['epoch_s']:.1f} s"
    )


def run_info(plan: TrainingPlan, uid: str) -> RunInfo:
    """What the tracker shows of a training as a whole."""
    config, environment = plan.training, describe_environment()
    return RunInfo(
        run=plan.name,
        tags={
            "uid": uid,
            "command": "train",
            "backbone": config.backbone,
            "dataset": config.data.name,
            "loss_net": config.loss_net,
            "preset": plan.request.preset,
            "git_commit": environment["git_commit"],
            "version": environment["tuner"],
        },
        params=flatten(plan.spec.training_config()),
        dataset={
            "name": plan.dataset.name,
            "hash": config.data.content_hash,
            "description": "; ".join(plan.dataset.notes),
        },
    )
