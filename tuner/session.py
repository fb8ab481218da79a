"""One stage while its trials run: gives requests to the runner, takes what it reports."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tuner.errors import StoreError
from tuner.ports import Decision, EngineListener, FeedState, Sampler, StudyStore, Tracker
from tuner.protocol.actions import AskTrials
from tuner.protocol.greedy import next_action
from tuner.protocol.selection import best_trial
from tuner.protocol.stages import Protocol, stage_of
from tuner.records import (
    EpochReport,
    OutcomeKind,
    StudyHistory,
    TrialOutcome,
    TrialRequest,
    TrialSpec,
    TrialState,
)

__all__ = ["OBJECTIVE", "StageSession", "keep_tracking_ids", "read_history"]
__all__ += ["record_trials"]

OBJECTIVE = "val_mpjpe_mm"
"""The figure that trials compete by: MPJPE on the selection split, millimetres."""


def read_history(protocol: Protocol, store: StudyStore) -> dict[str, StudyHistory]:
    """The run's studies that exist, by name of stage.

    Raises:
        StoreError: If the store cannot be read.
    """
    found = {s.name: store.history(protocol.study_name(s.name)) for s in protocol.stages}
    return {name: study for name, study in found.items() if study is not None}


def keep_tracking_ids(protocol: Protocol, store: StudyStore, tracker: Tracker) -> None:
    """Write the tracking ids that are known by now into the studies."""
    ids = tracker.run_ids()
    for stage, study in read_history(protocol, store).items():
        for trial in study.trials:
            run_id = ids.get((stage, trial.number))
            if run_id is not None and run_id != trial.mlflow_run_id:
                store.annotate(study.spec.study_name, "mlflow_run_id", run_id, trial=trial.number)


def record_trials(
    protocol: Protocol,
    action: AskTrials,
    store: StudyStore,
    sampler_for: Callable[[str], Sampler],
) -> None:
    """Record planned trials as RUNNING, asking the sampler for points that are not fixed."""
    stage = stage_of(protocol, action.stage)
    study_name = protocol.study_name(stage.name)
    for planned in action.trials:
        point = planned.point
        if point is None:
            point = sampler_for(stage.name).suggest(
                read_history(protocol, store)[stage.name],
                number=planned.number,
                batch_start=planned.batch_start,
            )
        spec = TrialSpec(base=stage.base, params={**planned.fixed, **point}, seed=planned.seed)
        number = store.ask(study_name, spec)
        if number != planned.number:
            raise StoreError(
                f"study {study_name} got trial {number} where {planned.number} was to come: "
                "another process writes to it; end that one, then repeat the command"
            )


class StageSession:
    """Feed and observer of a runner, for the open trials of one stage.

    Args:
        protocol: The protocol that is running.
        stage: Name of the stage.
        store: Where everything is written first.
        tracker: Where it is shown.
        listener: Who is told.
        sampler_for: Gives the stage's sampler.
    """

    def __init__(
        self,
        protocol: Protocol,
        stage: str,
        *,
        store: StudyStore,
        tracker: Tracker,
        listener: EngineListener,
        sampler_for: Callable[[str], Sampler],
    ) -> None:
        self._protocol = protocol
        self._stage = stage
        self._study_name = protocol.study_name(stage)
        self._store = store
        self._tracker = tracker
        self._listener = listener
        self._sampler_for = sampler_for
        self._queue: deque[TrialRequest] = deque()
        self._active: dict[int, TrialRequest] = {}
        self._last_epoch: dict[int, int] = {}
        self._load_running()

    def next_request(self) -> TrialRequest | FeedState:
        """See `TrialFeed`."""
        if not self._queue:
            self._ask_for_more()
        if not self._queue:
            return FeedState.WAIT if self._active else FeedState.DONE
        request = self._queue.popleft()
        self._active[request.trial] = request
        return request

    def on_start(self, request: TrialRequest, *, attempt: int) -> None:
        """See `TrialObserver`."""
        tags = {
            "attempt": str(attempt),
            "study": self._study_name,
            "tunes": ",".join(stage_of(self._protocol, self._stage).space.names),
        }
        self._tracker.start_trial(request, tags=tags)
        self._listener.on_trial_started(request)

    def on_epoch(self, stage: str, report: EpochReport) -> Decision:
        """See `TrialObserver`; an epoch that the store knows already is passed over.

        The tracker's spool is written before the store: killed in between, the epoch is
        reported again and the tracker, which knows its last epoch, passes over it. The other
        way round it would be missing for ever.
        """
        if report.epoch > self._last_epoch.get(report.trial, 0):
            self._tracker.log_epoch(stage, report)
            self._store.report(self._study_name, report, value=report.metrics[OBJECTIVE])
            self._last_epoch[report.trial] = report.epoch
            request = self._active[report.trial]
            self._listener.on_epoch(stage, report, epochs=int(request.spec.base["epochs"]))
        return Decision.CONTINUE

    def on_end(self, stage: str, outcome: TrialOutcome) -> None:
        """See `TrialObserver`; the tracker's spool first, as in `on_epoch`."""
        self._active.pop(outcome.trial, None)
        tags = {"state": outcome.kind.value, "attempt": str(outcome.attempts)}
        self._tracker.end_trial(stage, outcome, tags={**tags, "node": outcome.node})
        if outcome.kind is not OutcomeKind.CANCELLED:
            self._store.tell(self._study_name, outcome)
        self._listener.on_trial_ended(stage, outcome)

    def _ask_for_more(self) -> None:
        """Let the protocol plan further trials of this stage (a sampler's next batch)."""
        action = next_action(self._protocol, read_history(self._protocol, self._store))
        if isinstance(action, AskTrials) and action.stage == self._stage:
            record_trials(self._protocol, action, self._store, self._sampler_for)
            self._load_running()

    def _load_running(self) -> None:
        """Queue every trial that is RUNNING in the study and not yet given to the runner."""
        history = read_history(self._protocol, self._store)
        trials = history[self._stage].trials
        for trial in trials:
            if trial.state is TrialState.RUNNING and trial.number not in self._active:
                self._last_epoch[trial.number] = trial.epochs
                self._queue.append(TrialRequest(self._stage, trial.number, trial.spec))
        stage = stage_of(self._protocol, self._stage)
        carried = sum(trial.imported_from is not None for trial in trials)
        sampled = 0 if stage.sampler == "grid" else carried + stage.trials
        best = {name: best_trial(study.trials) for name, study in history.items()}
        self._listener.on_stage(
            self._stage,
            planned=max(len(trials), sampled),
            done=sum(trial.state.ended for trial in trials),
            message=f"{len(self._queue)} trials to run",
            best_mm={n: t.value for n, t in best.items() if t is not None and t.value is not None},
        )
