"""A run as the tracker shows it: from its start to report, model and end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.skeletons.description import skeleton_reference
from tuner.adapters.mlflow_tracker import MlflowTracker
from tuner.errors import LeaseLostError, RunInterruptedError
from tuner.greedy_config import RESULT_FIELDS
from tuner.ports import EngineListener, RunInfo, Tracker
from tuner.protocol.generations import search_studies
from tuner.protocol.selection import best_trial
from tuner.records import MeasuredOn, StudyHistory
from tuner.reports.confirmation import BASELINE, HEADLINE_METRIC, WINNER, Confirmation
from tuner.reports.render import write_report
from tuner.reports.summary import RunSummary
from tuner.settings import Locations
from tuner.wiring.checkpoints import checkpoint_root, weights_now
from tuner.wiring.environment import describe_environment, flatten
from tuner.wiring.model_name import model_name
from tuner.wiring.plan import Plan
from tuner.wiring.stores import open_tracker
from tuner.wiring.writing import writing

__all__ = [
    "EXAMPLE_POSES",
    "FLUSH_LIMIT_S",
    "TrackedRun",
    "close_tracker",
    "closing_figures",
    "closing_verdicts",
    "deliver_spooled",
    "measured_on",
    "tracked_run",
    "write_json",
]

FLUSH_LIMIT_S: Mapping[str, float] = {
    "finished": 120.0,
    "failed": 30.0,
    "interrupted": 1.0,
    "lost": 0.0,
}
"""How long each end of a run waits for a slow tracking server; the rest stays spooled. An
interrupted run has to be gone before the cluster loses its patience ."""

EXAMPLE_POSES = 4
"""Poses that a registered model shows as its example."""


@dataclass(frozen=True)
class TrackedRun:
    """A run that is being shown.

    Attributes:
        tracker: The tracker, open as long as the context is.
        plan: What is run.
        folder: The run's folder.
        checkpoints: Where the run's checkpoints lie, a folder or a URI.
        closing: Figures that the run is shown with at its end.
        verdicts: Tags that it is shown with at its end: what the figures say.
    """

    tracker: Tracker
    plan: Plan
    folder: Path
    checkpoints: Path | str
    closing: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)

    def finish(self, summary: RunSummary, histories: Mapping[str, StudyHistory]) -> None:
        """Write the report, attach it, hand the winner over to the model registry.

        Raises:
            RunFailedError: If the report cannot be written.
        """
        folder = self.folder / "report"
        with writing(folder):
            written = write_report(summary, histories, folder)
        for path in written:
            inside = path.parent.relative_to(self.folder)
            self.tracker.log_artifact(str(path), folder=str(inside))
        self._register_winner(histories)
        self.closing.update(closing_figures(summary))
        self.verdicts.update(closing_verdicts(summary))

    def _register_winner(self, histories: Mapping[str, StudyHistory]) -> None:
        last = list(search_studies(histories).values())[-1]
        winner = best_trial(last.trials)
        if not isinstance(self.tracker, MlflowTracker) or winner is None:
            return
        if winner.outcome is None or winner.outcome.checkpoint is None:
            return
        config = self.plan.config
        self.tracker.register_model(
            model_name=model_name(config.backbone, config.dataset, self.plan.dataset.name),
            checkpoint_path=weights_now(winner.outcome.checkpoint, self.checkpoints),
            training_config=winner.spec.training_config(),
            metrics=winner.outcome.metrics,
            fingerprint=winner.spec.fingerprint,
            comparable=measured_on(winner.spec.base),
            skeleton=skeleton_reference(self.plan.dataset.skeleton),
            example_x=self.plan.dataset.splits[config.select_on].x[:EXAMPLE_POSES].tolist(),
        )


@contextmanager
def tracked_run(
    plan: Plan, locations: Locations, listener: EngineListener, *, uid: str, attempt: int
) -> Iterator[TrackedRun]:
    """Show a run from its start to its end, however it ends.

    A driver that lost the run to another one leaves the end to that one.

    Args:
        plan: What is run.
        locations: Where things are kept.
        listener: Told when tracking lags behind.
        uid: Identity of the run in the store; a run of the same name elsewhere has another.
        attempt: How many drivers have worked on the run, this one included.
    """
    folder = locations.run_folder(plan.protocol.run)
    tracker = open_tracker(locations, folder)
    tracked = TrackedRun(
        tracker, plan, folder, checkpoint_root(plan.config, locations, plan.protocol.run)
    )
    state = "failed"
    try:
        tracker.start_run(_run_info(plan, uid, attempt))
        for name, facts in _facts(plan).items():
            tracker.log_artifact(str(write_json(folder / name, facts)))
        yield tracked
        state = "finished"
    except (RunInterruptedError, KeyboardInterrupt):
        state = "interrupted"
        raise
    except LeaseLostError:
        state = "lost"
        raise
    finally:
        if state != "lost":
            tracker.end_run(state, metrics=tracked.closing, tags=tracked.verdicts)
        close_tracker(tracker, folder, listener, limit_s=FLUSH_LIMIT_S[state])


def deliver_spooled(locations: Locations, folder: Path, listener: EngineListener) -> Tracker:
    """Deliver what an earlier life could not (the tracking server was down).

    Returns:
        The tracker, closed; it still knows the tracking ids.
    """
    tracker = open_tracker(locations, folder)
    if isinstance(tracker, MlflowTracker) and tracker.pending():
        listener.on_message(f"delivering {tracker.pending()} tracking events of an earlier life")
    close_tracker(tracker, folder, listener, limit_s=FLUSH_LIMIT_S["finished"])
    return tracker


def close_tracker(
    tracker: Tracker, folder: Path, listener: EngineListener, *, limit_s: float
) -> None:
    """Deliver what is pending, and say what remains spooled in the run's folder."""
    pending = tracker.close(timeout_s=limit_s)
    if pending:
        listener.on_message(
            f"tracking is behind by {pending} events; they are spooled in {folder} and "
            "delivered when the command is repeated"
        )


def measured_on(base: Mapping[str, Any]) -> str:
    """What a validation figure was measured on; empty for one that was chosen on test.

    Args:
        base: The training configuration, with its data.
    """
    if base["select_on"] != "val":
        return ""
    data = base["data"]
    return MeasuredOn(
        dataset=data["name"],
        content_hash=data["content_hash"],
        keypoints=data["keypoints"],
        joints=data.get("joints"),
        split=base["select_on"],
        stride=data["stride"],
        max_poses=data["max_eval_poses"],
    ).to_text()


def closing_figures(summary: RunSummary) -> dict[str, float]:
    """What the run is shown with at its end.

    The winner's hyperparameters and metrics as `best_*`, the baseline's as `baseline_*`; over
    fresh seeds `confirm_*`, with the difference winner minus baseline in MPJPE on test and its
    95 % interval; and by how much a joint search was better, `check_gain_mm`.
    """
    figures: dict[str, float] = {"trainings": summary.trainings}
    for prefix, tested in (("best", summary.seal), ("baseline", summary.baseline)):
        if tested is None:
            continue
        figures |= {f"{prefix}_{name}": value for name, value in tested.params.items()}
        figures |= {f"{prefix}_test_{name}": value for name, value in (tested.test or {}).items()}
        figures[f"{prefix}_val_mpjpe_mm"] = tested.val_mpjpe_mm
    if summary.confirmation is not None:
        figures |= _confirmation_figures(summary.confirmation)
    if summary.check is not None:
        figures["check_gain_mm"] = summary.check.gain_mm
        figures["check_val_mpjpe_mm"] = summary.check.val_mpjpe_mm
    return figures


def _confirmation_figures(confirmation: Confirmation) -> dict[str, float]:
    """Mean and spread of winner and baseline over fresh seeds, and their difference."""
    figures: dict[str, float] = {"confirm_seeds": confirmation.seeds}
    for role in (WINNER, BASELINE):
        candidate = confirmation.candidate(role)
        for name, found in (candidate.spreads("test") if candidate else {}).items():
            figures[f"confirm_{role}_test_{name}_mean"] = found.mean
            if found.std is not None:
                figures[f"confirm_{role}_test_{name}_std"] = found.std
    compared = confirmation.comparison(BASELINE, HEADLINE_METRIC)
    if compared is not None:
        figures["confirm_difference_mm"] = compared.difference.mean
        if compared.difference.interval is not None:
            figures["confirm_difference_low_mm"] = compared.difference.interval.low
            figures["confirm_difference_high_mm"] = compared.difference.interval.high
    return figures


def closing_verdicts(summary: RunSummary) -> dict[str, str]:
    """What the figures over fresh seeds say, as tags."""
    compared = summary.confirmation.comparison(BASELINE) if summary.confirmation else None
    verdicts = {} if compared is None else {"confirm_verdict": compared.difference.verdict}
    return verdicts | ({"check_verdict": summary.check.verdict} if summary.check else {})


def _run_info(plan: Plan, uid: str, attempt: int) -> RunInfo:
    config = plan.config
    environment = describe_environment()
    dataset = plan.dataset
    return RunInfo(
        run=plan.protocol.run,
        tags={
            "uid": uid,
            "driver_attempt": str(attempt),
            "backbone": config.backbone,
            "dataset": config.dataset,
            "loss_net": config.loss_net,
            "preset": config.preset,
            "git_commit": environment["git_commit"],
            "version": environment["tuner"],
        },
        params=flatten(config.model_dump(mode="json", include=RESULT_FIELDS)),
        dataset={
            "name": dataset.name,
            "hash": plan.training.data.content_hash,
            "description": "; ".join(dataset.notes),
        },
    )


def _facts(plan: Plan) -> dict[str, dict[str, Any]]:
    """What a reader needs to repeat the run, by name of file."""
    return {
        "configuration.json": {
            "asked": plan.config.model_dump(mode="json"),
            "training": plan.training.model_dump(mode="json"),
            "space": plan.space.model_dump(mode="json"),
        },
        "environment.json": describe_environment(),
    }


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """Write a file as a whole or not at all.

    Raises:
        RunFailedError: If it cannot be written.
    """
    part = path.with_suffix(".part")
    with writing(path):
        part.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return part.replace(path)
