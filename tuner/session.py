"""One stage while its trials run: gives requests to the runner, takes what it reports."""

from __future__ import annotations

from collections import deque

from tuner.ports import CheckpointKeeper, Decision, EngineListener, FeedState, StudyStore, Tracker
from tuner.protocol.actions import AskTrials
from tuner.protocol.greedy import next_action
from tuner.protocol.selection import best_trial
from tuner.protocol.stages import Protocol, stage_of
from tuner.recording import Recorder, read_history
from tuner.records import (
    EpochReport,
    OutcomeKind,
    TrialOutcome,
    TrialRequest,
    TrialState,
)

__all__ = ["OBJECTIVE", "StageSession"]

OBJECTIVE = "val_mpjpe_mm"
"""The figure that trials compete by: MPJPE on the selection split, millimetres."""


class StageSession:
    """Feed and observer of a runner, for the open trials of one stage.

    Args:
        protocol: The protocol that is running.
        stage: Name of the stage.
        store: Where everything is written first.
        tracker: Where it is shown.
        listener: Who is told.
        recorder: Records further trials of the stage.
        keeper: Removes checkpoints of trials that have ended; None for nobody.
    """

    def __init__(
        self,
        protocol: Protocol,
        stage: str,
        *,
        store: StudyStore,
        tracker: Tracker,
        listener: EngineListener,
        recorder: Recorder,
        keeper: CheckpointKeeper | None = None,
    ) -> None:
        self._protocol = protocol
        self._stage = stage
        self._study_name = protocol.study_name(stage)
        self._store = store
        self._tracker = tracker
        self._listener = listener
        self._recorder = recorder
        self._keeper = keeper
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
        request = self._active.pop(outcome.trial, None)
        tags = {"state": outcome.kind.value, "attempt": str(outcome.attempts)}
        self._tracker.end_trial(stage, outcome, tags={**tags, "node": outcome.node})
        if outcome.kind is not OutcomeKind.CANCELLED:
            self._store.tell(self._study_name, outcome)
            if self._keeper is not None and request is not None:
                self._keeper.trial_ended(request.spec, outcome)
        self._listener.on_trial_ended(stage, outcome)

    def _ask_for_more(self) -> None:
        """Let the protocol plan further trials of this stage (a sampler's next batch)."""
        history = read_history(self._protocol, self._store)
        action = next_action(self._protocol, history)
        if isinstance(action, AskTrials) and action.stage == self._stage:
            self._recorder.ask(action, history)
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
