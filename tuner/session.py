"""One stage while its trials run: gives requests to the runner, takes what it reports."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from tuner.patient_store import is_away
from tuner.ports import (
    CheckpointKeeper,
    Decision,
    EngineListener,
    FeedState,
    Pruner,
    StudyStore,
    Tracker,
)
from tuner.protocol.actions import AskTrials
from tuner.protocol.generations import current_studies, search_studies
from tuner.protocol.greedy import next_action
from tuner.protocol.planning import this_round
from tuner.protocol.selection import best_trial
from tuner.protocol.stages import Protocol, stage_of
from tuner.recording import Recorder, read_history
from tuner.records import (
    EpochReport,
    OutcomeKind,
    TrialOutcome,
    TrialRecord,
    TrialRequest,
    TrialState,
)
from tuner.rungs import RungBook, Verdict

__all__ = ["OBJECTIVE", "StageSession"]

OBJECTIVE = "val_mpjpe_mm"
"""The figure that trials compete by: MPJPE on the selection split, millimetres."""


class StageSession:
    """Feed and observer of a runner, for the open trials of one stage.

    A trial that comes to a rung before its fellows is parked: its worker takes up another one, and
    it is given out again when all are there. It goes on then from its last checkpoint, or is
    stopped at its first report.

    Args:
        protocol: The protocol that is running.
        stage: Name of the stage.
        store: Where everything is written first.
        tracker: Where it is shown.
        listener: Who is told.
        recorder: Records further trials of the stage.
        keeper: Removes checkpoints of trials that have ended; None for nobody.
        pruner: Who stops trials that fall behind; None for nobody.
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
        pruner: Pruner | None = None,
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
        self._parked: dict[int, TrialRequest] = {}
        self._book = None if pruner is None else self._new_book(pruner)
        self._last_epoch: dict[int, int] = {}
        self._load_running()

    def next_request(self) -> TrialRequest | FeedState:
        """See `TrialFeed`."""
        # to ask a store that is away is to wait, and running trials with us
        away = bool(self._active) and is_away(self._store)
        if not self._queue and not self._parked and not away:
            self._ask_for_more()
        if not self._queue:
            unheard = self._parked or away
            waits = FeedState.WAIT_FOR_REPORT if unheard else FeedState.WAIT
            return waits if self._active else FeedState.DONE
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
        # of epochs that the driver has missed, a later one may come when the trial is parked
        request = self._parked.pop(report.trial, None) or self._active[report.trial]
        self._active[report.trial] = request
        if report.epoch > self._last_epoch.get(report.trial, 0):
            value = report.metrics[OBJECTIVE]
            self._tracker.log_epoch(stage, report)
            self._store.report(self._study_name, report, value=value)
            self._last_epoch[report.trial] = report.epoch
            if self._book is not None:
                self._book.report(report.trial, report.epoch, value)
            self._listener.on_epoch(stage, report, epochs=int(request.spec.base["epochs"]))
        return self._decide(request, report.epoch)

    def on_end(self, stage: str, outcome: TrialOutcome) -> None:
        """See `TrialObserver`; the tracker's spool first, as in `on_epoch`."""
        request = self._active.pop(outcome.trial, None)
        self._parked.pop(outcome.trial, None)
        if self._book is not None and outcome.kind is OutcomeKind.STOPPED_EARLY:
            outcome = replace(outcome, reason=self._book.reason(outcome.trial, outcome.epochs))
        tags = {"state": outcome.kind.value, "attempt": str(outcome.attempts)}
        self._tracker.end_trial(stage, outcome, tags={**tags, "node": outcome.node})
        if outcome.kind is not OutcomeKind.CANCELLED:
            self._store.tell(self._study_name, outcome)
            # a state may go only once the store knows that it is needed no more
            known = not is_away(self._store)
            if self._keeper is not None and request is not None and known:
                self._keeper.trial_ended(request.spec, outcome)
            if self._book is not None:
                self._book.end(outcome.trial)
                self._give_out_decided(self._book)
        self._listener.on_trial_ended(stage, outcome)

    def _new_book(self, pruner: Pruner) -> RungBook:
        stage = stage_of(self._protocol, self._stage)
        epochs = int(stage.base["epochs"])
        return RungBook(pruner, epochs=epochs, asynchronous=stage.asynchronous)

    def _decide(self, request: TrialRequest, epoch: int) -> Decision:
        if self._book is None:
            return Decision.CONTINUE
        verdict = self._book.verdict(request.trial, epoch)
        if verdict is Verdict.WAIT:
            del self._active[request.trial]
            self._parked[request.trial] = request
            self._listener.on_trial_parked(self._stage, request.trial)
            return Decision.PARK
        if self._book.is_rung(request.trial, epoch):
            self._give_out_decided(self._book)
        return Decision.STOP if verdict is Verdict.STOP else Decision.CONTINUE

    def _give_out_decided(self, book: RungBook) -> None:
        """Queue the parked trials whose rung is settled, whether they go on or stop."""
        for number in sorted(self._parked.keys() & set(book.released())):
            self._queue.append(self._parked.pop(number))

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
        if self._book is not None:
            self._book.take(this_round(history[self._stage]))
        for trial in trials:
            if trial.state is TrialState.RUNNING and trial.number not in self._active:
                self._last_epoch[trial.number] = trial.epochs
                self._take_up(trial)
        stage = stage_of(self._protocol, self._stage)
        carried = sum(trial.imported_from is not None for trial in trials)
        sampled = 0 if stage.sampler == "grid" else carried + stage.trials
        searched = search_studies(current_studies(history))
        best = {name: best_trial(study.trials) for name, study in searched.items()}
        self._listener.on_stage(
            self._stage,
            planned=max(len(trials), sampled),
            done=sum(trial.state.ended for trial in trials),
            message=f"{len(self._queue) + len(self._parked)} trials to run",
            best_mm={n: t.value for n, t in best.items() if t is not None and t.value is not None},
        )

    def _take_up(self, trial: TrialRecord) -> None:
        """Queue an open trial, or park it where an earlier driver had it wait."""
        request = TrialRequest(self._stage, trial.number, trial.spec)
        if self._book is not None and self._book.verdict(trial.number) is Verdict.WAIT:
            self._parked[trial.number] = request
        else:
            self._queue.append(request)
