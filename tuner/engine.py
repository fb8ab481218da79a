"""The one loop that joins protocol and ports: read the history, act, repeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tuner.cache import TrialCache
from tuner.errors import ConfigurationError, RunFailedError
from tuner.ports import (
    CheckpointKeeper,
    EngineListener,
    Pruner,
    Sampler,
    StudyStore,
    Tracker,
    TrialRunner,
)
from tuner.pretraining import ShownPretraining
from tuner.protocol.actions import (
    AskTrials,
    CloseStage,
    EvaluateTrials,
    Finished,
    GiveUp,
    ImportTrials,
    KeepFact,
    OpenStage,
    Pretrain,
    ReleaseTrials,
    RunTrials,
)
from tuner.protocol.confirm import RELEASED
from tuner.protocol.generations import CHECK_STAGE, CONFIRM_STAGE, current_studies, labels
from tuner.protocol.greedy import (
    PRETRAINING,
    TEST_METRICS,
    History,
    next_action,
    study_spec,
)
from tuner.protocol.planning import RETRY_FROM
from tuner.protocol.stages import Protocol
from tuner.recording import Recorder, keep_tracking_ids, read_history
from tuner.records import StudyHistory, TrialSpec, TrialState
from tuner.session import StageSession

__all__ = ["Ports", "check_run", "open_run", "run_protocol"]

OPTIONS = {CONFIRM_STAGE: "--confirm-seeds", CHECK_STAGE: "--check"}
"""What asks for the optional stages."""


def _no_pruner(stage: str) -> None:
    """The pruner of a stage where trials always run to their ends."""


@dataclass(frozen=True)
class Ports:
    """The adapters that a run works with.

    Attributes:
        store: Where the truth is kept.
        runner: What runs trials.
        tracker: What people look at.
        listener: Who is told how the run proceeds.
        sampler_for: Gives a stage's sampler, by name of stage; only asked where the stage's
            points are not fixed in advance.
        cache: Finished trials that need not be trained again; None to train everything.
        keeper: Removes checkpoints that are needed no more; None for nobody.
        pruner_for: Gives a stage's pruner, by name of stage; None for none.
    """

    store: StudyStore
    runner: TrialRunner
    tracker: Tracker
    listener: EngineListener
    sampler_for: Callable[[str], Sampler]
    cache: TrialCache | None = None
    keeper: CheckpointKeeper | None = field(default=None, kw_only=True)
    pruner_for: Callable[[str], Pruner | None] = _no_pruner

    def recorder(self, protocol: Protocol) -> Recorder:
        """What records the trials of a protocol with these ports."""
        return Recorder(protocol, self.store, self.tracker, self.sampler_for, self.cache)


def check_run(protocol: Protocol, store: StudyStore) -> dict[str, StudyHistory]:
    """Read what exists of a run, and check that it was asked the same as now.

    Whatever a killed driver left half written in the studies is completed on the way.

    Raises:
        DefinitionMismatchError: If a stage exists with another definition.
        ConfigurationError: If an optional stage with open trials is not asked for any more.
        StoreError: If the store failed.
    """
    history = read_history(protocol, store)
    current = current_studies(history)
    for stage in protocol.all_stages:
        if stage.name in current:
            store.open_study(study_spec(protocol, stage, history))
    _check_optional(protocol, store)
    return history


def _check_optional(protocol: Protocol, store: StudyStore) -> None:
    """See that no stage with open trials is left out: nobody would ever end them."""
    asked = {stage.name for stage in protocol.all_stages}
    for name, option in OPTIONS.items():
        for label in () if name in asked else labels(name):
            study = store.history(protocol.study_name(label))
            if study is None:
                break
            count = sum(not trial.state.ended for trial in study.trials)
            if count:
                raise ConfigurationError(
                    f"run {protocol.run!r}: {count} trials of stage {label} are open, and without "
                    f"{option} nobody ends them; give {option} N as before (another N only adds "
                    "to them, or leaves the rest out), and leave it out when they have ended"
                )


def open_run(protocol: Protocol, store: StudyStore) -> StudyHistory:
    """Create the study of the first stage, if there is none, and return it.

    Raises:
        StoreError: If the store failed.
    """
    first = protocol.stages[0]
    store.open_study(study_spec(protocol, first, {}))
    return read_history(protocol, store)[first.name]


def run_protocol(protocol: Protocol, ports: Ports) -> None:
    """Run a protocol to its end, from wherever the store says it stands.

    Raises:
        DefinitionMismatchError: If the run exists and was asked something else.
        RunFailedError: If no trial of a stage finished; the message lists why.
        RunInterruptedError: After SIGINT or SIGTERM; calling again goes on.
        StoreError: If the store failed.
    """
    check_run(protocol, ports.store)
    _reopen_given_up(protocol, ports.store)
    while _carry_out_next(protocol, ports):
        pass


def _carry_out_next(protocol: Protocol, ports: Ports) -> bool:
    """Take one step; False when the run is finished."""
    history = read_history(protocol, ports.store)
    action = next_action(protocol, history)
    match action:
        case OpenStage() | KeepFact() | ImportTrials() | AskTrials():
            _record(protocol, action, history, ports)
        case Pretrain():
            _pretrain(protocol, action, ports)
        case RunTrials():
            session = StageSession(
                protocol,
                action.stage,
                store=ports.store,
                tracker=ports.tracker,
                listener=ports.listener,
                recorder=ports.recorder(protocol),
                keeper=ports.keeper,
                pruner=ports.pruner_for(action.stage),
            )
            ports.runner.run(session, session)
            keep_tracking_ids(protocol, ports.store, ports.tracker)
        case CloseStage():
            _close(protocol, action, history, ports)
        case EvaluateTrials():
            _evaluate(protocol, action, history, ports)
        case ReleaseTrials():
            _release(protocol, action, history, ports)
        case GiveUp():
            listed = "\n".join(f"  - {failure}" for failure in action.failures)
            raise RunFailedError(
                f"{action.reason}:\n{listed}\n"
                "Remove the cause, then repeat the command: the run goes on from here, and the "
                "trials of this stage are tried once more."
            )
        case Finished():
            ports.listener.on_message(action.reason)
            return False
    return True


def _reopen_given_up(protocol: Protocol, store: StudyStore) -> None:
    """Let a stage that was given up be tried once more."""
    history = read_history(protocol, store)
    action = next_action(protocol, history)
    if isinstance(action, GiveUp):
        first = len(history[action.stage].trials)
        store.annotate(protocol.study_name(action.stage), RETRY_FROM, first)


def _record(
    protocol: Protocol,
    action: OpenStage | KeepFact | ImportTrials | AskTrials,
    history: History,
    ports: Ports,
) -> None:
    """Carry out an action that writes to the study store alone."""
    match action:
        case OpenStage():
            ports.store.open_study(action.study)
            ports.listener.on_message(f"{action.stage}: {action.reason}")
        case KeepFact():
            ports.store.annotate(protocol.study_name(action.stage), action.key, action.value)
            ports.listener.on_message(action.reason)
        case ImportTrials():
            ports.recorder(protocol).carry_over(action, history)
            ports.listener.on_message(f"{action.reason}: not trained again")
        case AskTrials():
            hits = ports.recorder(protocol).ask(action, history)
            if hits:
                ports.listener.on_message(f"{hits} trials are known already: not trained again")


def _pretrain(protocol: Protocol, action: Pretrain, ports: Ports) -> None:
    ports.listener.on_message(action.reason)
    shown = ShownPretraining(action.spec, ports.tracker, ports.listener, epochs=action.epochs)
    with shown:
        figures = ports.runner.pretrain(action.spec, shown.on_epoch)
        shown.finish(figures)
    ports.store.annotate(protocol.study_name(action.stage), PRETRAINING, figures)


def _close(protocol: Protocol, action: CloseStage, history: History, ports: Ports) -> None:
    study = history[action.stage]
    states = [trial.state for trial in study.trials]
    imported = sum(trial.imported_from is not None for trial in study.trials)
    ports.tracker.end_stage(
        action.stage,
        tags={
            "study": study.spec.study_name,
            "decision": action.reason,
            "winner": str(action.result.winner),
        },
        metrics={
            "best_val_mpjpe_mm": action.result.value,
            **{f"best_{name}": value for name, value in action.result.params.items()},
            "trials_finished": states.count(TrialState.FINISHED),
            "trials_pruned": states.count(TrialState.PRUNED),
            "trials_failed": states.count(TrialState.FAILED),
            "trials_carried_over": imported,
        },
    )
    if ports.keeper is not None:  # before the result: killed in between, the stage closes again
        ports.keeper.stage_closed(study.trials, action.result.winner)
    ports.store.annotate(protocol.study_name(action.stage), "result", action.result.to_json())
    ports.listener.on_message(action.reason)


def _release(protocol: Protocol, action: ReleaseTrials, history: History, ports: Ports) -> None:
    study = history[action.stage]
    if ports.keeper is not None:  # before the fact: killed in between, it is done once more
        ports.keeper.stage_closed(study.trials[: action.count], None)
    ports.store.annotate(study.spec.study_name, RELEASED, action.count)
    ports.listener.on_message(action.reason)


def _evaluate(protocol: Protocol, action: EvaluateTrials, history: History, ports: Ports) -> None:
    ports.listener.on_message(action.reason)
    jobs = [_test_job(history[stage], number) for stage, number in action.trials]

    def keep(index: int, metrics: Mapping[str, float]) -> None:
        stage, number = action.trials[index]
        study = protocol.study_name(stage)
        ports.store.annotate(study, TEST_METRICS, _plain(metrics), trial=number)

    ports.runner.evaluate(jobs, split="test", on_metrics=keep)


def _test_job(study: StudyHistory, number: int) -> tuple[TrialSpec, str]:
    trial = study.trials[number]
    if trial.outcome is None or trial.outcome.checkpoint is None:
        raise RunFailedError(
            f"trial {number} of {study.spec.study_name} has no checkpoint to evaluate; "
            "its folder was removed, or the run was made without checkpoints"
        )
    return trial.spec, trial.outcome.checkpoint


def _plain(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}
