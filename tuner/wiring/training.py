"""One training in this process: trained, tracked, resumed, and measured at its end."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from trainables.best_nets import restore_best
from trainables.checkpoint import CheckpointStore
from trainables.errors import NonFiniteError, TrainableError
from trainables.seal.pretraining import PretrainingWatch, pretrain
from trainables.skeletons.description import skeleton_reference
from trainables.trial_run import TrialRun
from tuner.adapters.mlflow_tracker import MlflowTracker
from tuner.adapters.ray_signals import SignalGuard
from tuner.adapters.redact import redact_url
from tuner.errors import ConfigurationError, RunFailedError, RunInterruptedError
from tuner.ports import EngineListener, Tracker
from tuner.pretraining import ShownPretraining
from tuner.records import EpochReport, OutcomeKind, TrialOutcome, TrialRequest
from tuner.settings import Locations
from tuner.wiring.environment import describe_environment
from tuner.wiring.lifter import device_named, load_lifter, measure
from tuner.wiring.lock import driver_lock
from tuner.wiring.model_name import model_name
from tuner.wiring.signals import terminable
from tuner.wiring.stores import open_tracker
from tuner.wiring.tracked import (
    EXAMPLE_POSES,
    FLUSH_LIMIT_S,
    close_tracker,
    deliver_spooled,
    measured_on,
    write_json,
)
from tuner.wiring.training_plan import TrainingPlan, plan_training, training_folder
from tuner.wiring.training_record import (
    FAILURE_FILE,
    RECORD_FILE,
    RESULT_FILE,
    TrainingRecord,
    TrainingResult,
    check_same,
    read_record,
    read_result,
)
from tuner.wiring.training_report import TRIAL, ending, epoch_line, outcome_of, run_info
from tuner.wiring.training_request import TrainingRequest

__all__ = ["CHECKPOINTS", "run_training"]

CHECKPOINTS = "checkpoints"
"""Where checkpoints lie in a training's folder, by fingerprint."""

INTERRUPTED_FLUSH_S = 5.0
"""How long an interrupted training waits for tracking: enough for a database on this machine."""

STAGE = "train"


def run_training(
    request: TrainingRequest,
    locations: Locations,
    listener: EngineListener,
    *,
    resume: Literal["auto", "never", "must"] = "auto",
    device: str = "auto",
    threads: int = 1,
) -> TrainingResult:
    """Train one configuration to its end, or go on with it; a finished one is only reported.

    Args:
        request: What to train.
        locations: Where things are kept.
        listener: Told how it proceeds.
        resume: Whether a training of the same name may, must or must not exist.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads. One, as a search's trial has: more are fast on an idle machine
            only, and the last bits of a result depend on their number.

    Raises:
        ConfigurationError: If anything that was asked for is wrong; nothing was written.
        DefinitionMismatchError: If the name is taken by another configuration.
        RunFailedError: If the training failed.
        RunInterruptedError: After SIGINT or SIGTERM, when the epoch was finished and saved.
    """
    if request.name is not None:
        training_folder(locations, request.name)  # refuses a bad name before anything is loaded
    where = device_named(device)
    torch.set_num_threads(threads)
    with terminable():
        plan = plan_training(request)
    folder = training_folder(locations, plan.name)
    _admit(plan, folder, resume)  # what is refused now leaves no folder behind
    with driver_lock(folder, plan.name):
        asked = _admit(plan, folder, resume)  # another process may have been here meanwhile
        result = read_result(folder)
        if result is not None:
            check_same(result, asked)
        if result is not None and Path(result.checkpoint).exists():
            listener.on_message(f"training {plan.name} had finished; here is its result")
            with terminable():
                deliver_spooled(locations, folder, listener)
            return result
        write_json(folder / RECORD_FILE, asked.to_json())
        return _Training(plan, asked, folder, locations, listener, where).bring_to_end()


def _admit(plan: TrainingPlan, folder: Path, resume: str) -> TrainingRecord:
    """What is to be trained, unless `--resume` or what the folder holds forbids it."""
    kept = read_record(folder)
    _check_resume(plan.name, exists=kept is not None, resume=resume)
    asked = _record(plan, uid=uuid.uuid4().hex if kept is None else kept.uid)
    if kept is not None:
        check_same(kept, asked)
    return asked


def _check_resume(name: str, *, exists: bool, resume: str) -> None:
    if resume == "never" and exists:
        raise ConfigurationError(
            f"--resume never: training {name!r} exists; choose another --name"
        )
    if resume == "must" and not exists:
        raise ConfigurationError(f"--resume must: there is no training {name!r} yet")


def _record(plan: TrainingPlan, *, uid: str) -> TrainingRecord:
    data_dir = plan.request.data_dir
    return TrainingRecord(
        name=plan.name,
        fingerprint=plan.spec.fingerprint,
        uid=uid,
        config=plan.training.model_dump(mode="json"),
        data_dir=None if data_dir is None else str(data_dir),
    )


@dataclass
class _Training:
    """One life of a training."""

    plan: TrainingPlan
    record: TrainingRecord
    folder: Path
    locations: Locations
    listener: EngineListener
    device: torch.device
    closing: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = CheckpointStore(self.folder / CHECKPOINTS)
        self.pretrainings = CheckpointStore(self.locations.pretrainings)
        self.request = TrialRequest(STAGE, TRIAL, self.plan.spec)

    @property
    def model_name(self) -> str:
        """What MLflow registers it as."""
        training = self.plan.training
        return model_name(training.backbone, training.data.name, self.plan.dataset.name)

    def bring_to_end(self) -> TrainingResult:
        (self.folder / FAILURE_FILE).unlink(missing_ok=True)  # of an earlier life
        for note in self.plan.notes:
            self.listener.on_message(f"note: {note}")
        with self._tracked() as tracker:
            outcome = self._train(tracker)
            with terminable():
                test = self._test()
                self._hand_over(tracker, outcome, test)
        result = self._result(outcome, test, tracker)
        write_json(self.folder / RESULT_FILE, result.to_json())
        return result

    @contextmanager
    def _tracked(self) -> Iterator[Tracker]:
        tracker = open_tracker(self.locations, self.folder)
        state = "failed"
        try:
            tracker.start_run(run_info(self.plan, self.record.uid))
            environment = write_json(self.folder / "environment.json", describe_environment())
            for path in (self.folder / RECORD_FILE, environment):
                tracker.log_artifact(str(path))
            yield tracker
            state = "finished"
        except (RunInterruptedError, KeyboardInterrupt):
            state = "interrupted"
            raise
        finally:
            tracker.end_run(state, metrics=self.closing, tags={})
            limit_s = INTERRUPTED_FLUSH_S if state == "interrupted" else FLUSH_LIMIT_S[state]
            close_tracker(tracker, self.folder, self.listener, limit_s=limit_s)

    def _train(self, tracker: Tracker) -> TrialOutcome:
        """Run the epochs that are left; the tracker and the listener see how it ends."""
        self.listener.on_stage(STAGE, planned=1, done=0, message=self.plan.name, best_mm={})
        tracker.start_trial(self.request, tags={"attempt": "1"})
        self.listener.on_trial_started(self.request)
        report: dict[str, Any] = {}
        kind, reason = OutcomeKind.FAILED, "the process ended"
        signal_number: int | None = None
        try:
            with SignalGuard() as guard:
                report = self._run_epochs(tracker, guard)
            kind, reason = ending(report) if report else (OutcomeKind.CANCELLED, "interrupted")
            signal_number = guard.signal_number
        except (TrainableError, torch.OutOfMemoryError) as error:
            reason = f"{type(error).__name__}: {error}"
        finally:
            outcome = outcome_of(kind, report, reason)
            tracker.end_trial(STAGE, outcome, tags={"attempt": "1", "state": kind.value})
            self.listener.on_trial_ended(STAGE, outcome)
        if kind is OutcomeKind.CANCELLED and signal_number is not None:
            epoch = f"epoch {outcome.epochs}" if report else "an epoch of the pre-training"
            raise RunInterruptedError(signal_number, f"stopped after {epoch}, which is saved")
        if kind is not OutcomeKind.COMPLETED:
            write_json(self.folder / FAILURE_FILE, {"reason": reason})
            raise RunFailedError(f"training {self.plan.name} failed: {reason}")
        return outcome

    def _run_epochs(self, tracker: Tracker, guard: SignalGuard) -> dict[str, Any]:
        """Train until the end, or until a signal; give the last report, empty if there is none."""
        if not self._pretrained(tracker, guard):
            return {}
        run = TrialRun(
            self.plan.training,
            self.plan.dataset,
            store=self.store,
            fingerprint=self.plan.spec.fingerprint,
            device=self.device,
            pretrainings=self.pretrainings,
        )
        while True:
            report = run.step()
            self._show(tracker, report)
            if report["finished"] or guard.received:
                return report

    def _pretrained(self, tracker: Tracker, guard: SignalGuard) -> bool:
        """See to it that what the training begins with is there; False if a signal came first."""
        training = self.plan.training
        epochs = training.pretraining.epochs
        if not epochs or self.store.path(self.plan.spec.fingerprint, "last").exists():
            return True  # a training that has begun needs it no more

        with ShownPretraining(self.plan.spec, tracker, self.listener, epochs=epochs) as shown:

            def on_epoch(epoch: int, figures: Mapping[str, float]) -> bool:
                shown.on_epoch(epoch, figures)
                return guard.received

            for epoch, figures in PretrainingWatch(training, self.pretrainings).new_epochs():
                shown.on_epoch(epoch, figures, earlier=True)
            try:
                result = pretrain(
                    training,
                    self.plan.dataset,
                    store=self.pretrainings,
                    device=self.device,
                    on_epoch=on_epoch,
                )
            except NonFiniteError as error:
                raise TrainableError(f"{error}; try a lower pretraining.lr") from error
            if result.finished:
                shown.finish(result.summary())
        return result.finished and not guard.received

    def _show(self, tracker: Tracker, report: dict[str, Any]) -> None:
        """Tell of an epoch, or of all those of an earlier life; the tracker drops what it has."""
        for note in report["notes"]:
            self.listener.on_message(f"note: {note}")
        if report["state"] != "ok":
            return
        for earlier in report["history"]:
            epoch = EpochReport(TRIAL, earlier["epoch"], earlier["metrics"])
            tracker.log_epoch(STAGE, epoch)
        epochs = self.plan.training.epochs
        if report["history"]:
            self.listener.on_message(f"going on after epoch {report['epoch']} of {epochs}")
            return
        now = EpochReport(TRIAL, report["epoch"], report["metrics"])
        tracker.log_epoch(STAGE, now)
        self.listener.on_epoch(STAGE, now, epochs=epochs)
        split = self.plan.training.select_on
        self.listener.on_message(epoch_line(report, epochs, split=split))

    def _test(self) -> dict[str, float]:
        restored = restore_best(
            self.plan.training,
            self.plan.dataset,
            store=self.store,
            fingerprint=self.plan.spec.fingerprint,
            device=self.device,
            pretrainings=self.pretrainings,
        )
        for note in restored.notes:
            self.listener.on_message(f"note: {note}")
        lifter = load_lifter(restored.location, device=self.device)
        report = measure(lifter, self.plan.dataset, "test")
        # a figure may be undefined on the data (no two frames in a row): JSON has no NaN
        return {name: value for name, value in report.figures.items() if math.isfinite(value)}

    def _hand_over(self, tracker: Tracker, outcome: TrialOutcome, test: dict[str, float]) -> None:
        """Give the tracker what the training resulted in: figures, weights, model."""
        best = self.store.path(self.plan.spec.fingerprint, "best")
        tracker.log_artifact(str(best), folder=CHECKPOINTS)
        measured = {n: v for n, v in outcome.metrics.items() if n.startswith("val_")}
        measured |= {f"test_{name}": value for name, value in test.items()}
        measured |= self.plan.spec.params
        self.closing |= {f"best_{name}": value for name, value in measured.items()}
        if isinstance(tracker, MlflowTracker):
            tracker.register_model(
                model_name=self.model_name,
                checkpoint_path=str(best),
                training_config=self.plan.spec.training_config(),
                metrics=outcome.metrics,
                fingerprint=self.plan.spec.fingerprint,
                comparable=measured_on(self.plan.spec.base),
                skeleton=skeleton_reference(self.plan.dataset.skeleton),
                example_x=self.plan.dataset.splits[self.plan.training.select_on]
                .x[:EXAMPLE_POSES]
                .tolist(),
            )

    def _result(
        self, outcome: TrialOutcome, test: dict[str, float], tracker: Tracker
    ) -> TrainingResult:
        assert outcome.value is not None  # a completed training has a best epoch
        assert outcome.best_epoch is not None
        registered = isinstance(tracker, MlflowTracker)
        return TrainingResult(
            name=self.plan.name,
            state="finished",
            config=self.record.config,
            fingerprint=self.record.fingerprint,
            epochs=outcome.epochs,
            best_epoch=outcome.best_epoch,
            val_mpjpe_mm=outcome.value,
            test=test,
            checkpoint=str(self.store.path(self.record.fingerprint, "best")),
            seconds=outcome.seconds,
            tracking_uri=redact_url(self.locations.tracking_uri),
            mlflow_run_id=tracker.run_ids().get(("", None)),
            select_on=self.plan.training.select_on,
            model=self.model_name if registered else None,
            competes=registered and self.plan.training.select_on == "val",
        )
