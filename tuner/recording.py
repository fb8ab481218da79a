"""Recording trials in the study store: asked, taken over from elsewhere, or read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tuner.cache import TrialCache
from tuner.errors import StoreError
from tuner.ports import Sampler, StudyStore, Tracker
from tuner.protocol.actions import AskTrials, ImportTrials, PlannedTrial
from tuner.protocol.extensions import within
from tuner.protocol.generations import labels
from tuner.protocol.stages import Protocol, stage_of
from tuner.records import (
    EpochReport,
    StudyHistory,
    TrialRecord,
    TrialRequest,
    TrialSpec,
    TrialState,
)

__all__ = ["Recorder", "keep_tracking_ids", "read_history"]


def read_history(protocol: Protocol, store: StudyStore) -> dict[str, StudyHistory]:
    """The run's studies that exist, by label: in order of the stages, oldest generation first.

    Raises:
        StoreError: If the store cannot be read.
    """
    found = {}
    for stage in protocol.all_stages:
        for label in labels(stage.name):
            study = store.history(protocol.study_name(label))
            if study is None:
                break
            found[label] = study
    return found


def keep_tracking_ids(protocol: Protocol, store: StudyStore, tracker: Tracker) -> None:
    """Write the tracking ids that are known by now into the studies."""
    ids = tracker.run_ids()
    for stage, study in read_history(protocol, store).items():
        for trial in study.trials:
            run_id = ids.get((stage, trial.number))
            if run_id is not None and run_id != trial.mlflow_run_id:
                store.annotate(study.spec.study_name, "mlflow_run_id", run_id, trial=trial.number)


@dataclass(frozen=True)
class Recorder:
    """Writes new trials of a protocol into the store.

    Attributes:
        protocol: The protocol that is running.
        store: Where trials are recorded.
        tracker: Where those that are taken over are shown; the others when a worker has them.
        sampler_for: Gives a stage's sampler, by name of stage.
        cache: Finished trials that need not be trained again; None to train everything.
    """

    protocol: Protocol
    store: StudyStore
    tracker: Tracker
    sampler_for: Callable[[str], Sampler]
    cache: TrialCache | None = None

    def ask(self, action: AskTrials, history: Mapping[str, StudyHistory]) -> int:
        """Record planned trials as RUNNING; those that are known, as finished copies.

        Args:
            action: What is planned.
            history: The run's studies as they stand.

        Returns:
            How many were found in the cache.

        Raises:
            StoreError: If the store failed, or another process writes to the study.
        """
        confirms = stage_of(self.protocol, action.stage) is self.protocol.confirm
        # what is repeated with another seed is not known already
        known = self.cache.known(history, any_seed=not confirms) if self.cache else None
        hits = 0
        study = history[action.stage]
        for planned in action.trials:
            spec = self._spec(planned, action.stage, study)
            # a sampler sees the trials that it proposed just before
            found = known.find(spec) if known else None
            origin = None if found is None else _origin(study, found[0])
            asked = TrialRecord(planned.number, spec, TrialState.RUNNING, imported_from=origin)
            study = replace(study, trials=(*study.trials, asked))
            if found is None or origin is None:
                number = self.store.ask(self.protocol.study_name(action.stage), spec)
            else:
                hits += 1
                number = self._take_over(action.stage, planned.number, origin, found[1])
            if number != planned.number:
                raise StoreError(
                    f"study {self.protocol.study_name(action.stage)} got trial {number} where "
                    f"{planned.number} was to come: another process writes to it; end that one, "
                    "then repeat the command"
                )
        return hits

    def carry_over(self, action: ImportTrials, history: Mapping[str, StudyHistory]) -> None:
        """Copy finished trials of earlier stages into the stage's study, and show each there."""
        first = len(history[action.stage].trials)
        for number, (source, trial) in enumerate(action.trials, start=first):
            self._take_over(action.stage, number, f"{source}#{trial.number}", trial)

    def _spec(self, planned: PlannedTrial, label: str, study: StudyHistory) -> TrialSpec:
        if planned.spec is not None:
            return planned.spec
        stage = stage_of(self.protocol, label)
        point = planned.point
        if point is None:
            seen = study if planned.window is None else within(study, planned.window)
            point = self.sampler_for(label).suggest(
                seen, number=planned.number, batch_start=planned.batch_start
            )
        return TrialSpec(base=stage.base, params={**planned.fixed, **point}, seed=planned.seed)

    def _take_over(self, stage: str, number: int, origin: str, trial: TrialRecord) -> int:
        """Tracker first, as everywhere: killed in between, it is shown once more and the same."""
        tunes = ",".join(stage_of(self.protocol, stage).space.names)
        tags = {"imported_from": origin, "tunes": tunes}
        self.tracker.start_trial(TrialRequest(stage, number, trial.spec), tags=tags)
        if trial.outcome is not None:
            outcome = replace(trial.outcome, trial=number)
            report = EpochReport(number, outcome.best_epoch or trial.epochs, outcome.metrics)
            self.tracker.log_epoch(stage, report)
            self.tracker.end_trial(stage, outcome, tags={"state": "completed"})
        return self.store.import_finished(self.protocol.study_name(stage), trial, origin)


def _origin(study: StudyHistory, source: str) -> str:
    """What a copy is recorded as a copy of.

    A study takes over the same trial once; who proposes its point again gets a copy of the copy.
    """
    copies = {trial.imported_from: trial.number for trial in study.trials}
    while source in copies:
        source = f"{study.spec.study_name}#{copies[source]}"
    return source
