"""From the study histories of a run to its summary (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.protocol.generations import (
    CHECK_STAGE,
    CONFIRM_STAGE,
    EXTENSIONS,
    is_closed,
    stage_name,
)
from tuner.protocol.greedy import PRETRAINING
from tuner.protocol.savings import stage_savings
from tuner.protocol.selection import best_trial
from tuner.records import StudyHistory, TrialRecord, TrialState
from tuner.reports.confirmation import Confirmation, confirm, verdict_text
from tuner.reports.joint_check import JointCheck, winner_noise_mm
from tuner.reports.parameter_order import in_order
from tuner.reports.run_summary import (
    RunState,
    RunSummary,
    StageKind,
    StageSummary,
    TestedConfiguration,
    TrialCounts,
    TrialRow,
)

__all__ = ["DATA_NOTES", "RUN_CONFIG", "RunSummary", "extensions_of", "in_order"]
__all__ += ["run_of", "stage_kind", "summarise"]

RUN_CONFIG = "run_config"
"""Attribute of a run's first study: what the run was asked to do."""

DATA_NOTES = "data_notes"
"""Attribute of a run's first study: what to know of the data."""

DEFAULT_STAGES = 3
"""Stages of the default protocol's search (paper A.5)."""

KINDS: Mapping[str, StageKind] = {CONFIRM_STAGE: "confirm", CHECK_STAGE: "check"}
"""Stages that follow the search; all others are part of it."""


def summarise(
    run: str,
    histories: Mapping[str, StudyHistory],
    *,
    storage: str = "",
    tracking_uri: str = "",
    artifacts: str = "",
    mlflow_run_id: str | None = None,
    location_options: Sequence[str] = (),
    stages_planned: int = DEFAULT_STAGES,
) -> RunSummary:
    """Condense a run.

    Everything but `seconds` and `device_seconds` is a function of what was computed, so that
    two runs of the same seed have equal summaries.

    Args:
        run: Name of the run.
        histories: The run's studies that exist, by name of stage, in order; the first is the
            baseline.
        storage: Study store, for people; without password.
        tracking_uri: Tracking store, likewise.
        artifacts: Folder of the run's report.
        mlflow_run_id: Tracking run of the whole run.
        location_options: Options that lead a command to this run's stores.
        stages_planned: Stages of the protocol's search; the last of them decides.
    """
    search = [name for name in histories if stage_kind(name) == "search"]
    tested = [_tested(histories[name]) for name in search]
    seal = tested[-1] if len(search) >= stages_planned else None
    confirmation = _confirmation(histories)
    stages = tuple(_stage(name, history, confirmation) for name, history in histories.items())
    first = next(iter(histories.values()), None)
    configuration = first.attributes.get(RUN_CONFIG, {}) if first else {}
    trained = [t for h in histories.values() for t in h.trials if t.imported_from is None]
    outcomes = [trial.outcome for trial in trained if trial.outcome is not None]
    return RunSummary(
        run=run,
        state=_state(stages, [tested[0], seal] if tested else [], confirmation, configuration),
        stages=stages,
        baseline=tested[0] if tested else None,
        seal=seal,
        trainings=len(trained),
        seconds=sum(outcome.seconds for outcome in outcomes),
        device_seconds=sum(outcome.device_seconds for outcome in outcomes),
        storage=storage,
        tracking_uri=tracking_uri,
        mlflow_run_id=mlflow_run_id,
        artifacts=artifacts,
        configuration=configuration,
        location_options=tuple(location_options),
        data_notes=tuple(first.attributes.get(DATA_NOTES, ())) if first else (),
        pretraining=first.attributes.get(PRETRAINING) if first else None,
        confirmation=confirmation,
        check=_check(histories, seal, confirmation),
    )


def stage_kind(name: str) -> StageKind:
    """What a stage is for, by its name; a later generation (`5-check~2`) is of the same kind."""
    return KINDS.get(stage_name(name), "search")


def run_of(source: str) -> str:
    """The run of `run/stage#number`, where a trial was taken from."""
    return source.rsplit("/", 1)[0]


def extensions_of(history: StudyHistory) -> tuple[Mapping[str, Any], ...]:
    """What was added to the stage after it had been closed, in order."""
    return tuple(history.attributes.get(EXTENSIONS, ()))


def _state(
    stages: Sequence[StageSummary],
    ends: Sequence[TestedConfiguration | None],
    confirmation: Confirmation | None,
    configuration: Mapping[str, Any],
) -> RunState:
    if any(stage.given_up for stage in stages):
        return "failed"
    if not ends or any(end is None or end.test is None for end in ends):
        return "open"
    if not all(stage.closed for stage in stages):
        return "open"
    kinds = {stage.kind for stage in stages}
    if (confirmation.seeds if confirmation else 0) < (configuration.get("confirm_seeds") or 0):
        return "open"
    return "open" if configuration.get("check") and "check" not in kinds else "finished"


def _confirmation(histories: Mapping[str, StudyHistory]) -> Confirmation | None:
    found = [study for name, study in histories.items() if stage_kind(name) == "confirm"]
    return confirm(found[-1]) if found else None


def _check(
    histories: Mapping[str, StudyHistory],
    seal: TestedConfiguration | None,
    confirmation: Confirmation | None,
) -> JointCheck | None:
    found = [study for name, study in histories.items() if stage_kind(name) == "check"]
    if not found or seal is None or found[-1].result is None or not is_closed(found[-1]):
        return None
    result = found[-1].result
    return JointCheck(
        trial=result.winner,
        params=in_order(result.params),
        val_mpjpe_mm=result.value,
        greedy_val_mpjpe_mm=seal.val_mpjpe_mm,
        trials=sum(trial.state is TrialState.FINISHED for trial in found[-1].trials),
        noise_mm=winner_noise_mm(confirmation),
    )


def _stage(name: str, history: StudyHistory, confirmation: Confirmation | None) -> StageSummary:
    kind = stage_kind(name)
    rows = tuple(_row(trial) for trial in history.trials)
    closed, reason = is_closed(history), ""
    if kind == "confirm" and confirmation is not None:
        closed = confirmation.complete and any(row.state == "finished" for row in rows)
        reason = verdict_text(confirmation)
    elif closed and history.result is not None:
        reason = history.result.reason
    definition = history.spec.definition
    return StageSummary(
        name=name,
        study=history.spec.study_name,
        tunes=tuple(in_order(dict.fromkeys(history.spec.distributions, 0.0))),
        counts=_counts(history),
        trials=rows,
        winner=None if kind == "confirm" else _winner(history, rows),
        closed=closed,
        reason=reason,
        kind=kind,
        pruner=definition.get("pruner", "none"),
        asynchronous=bool(definition.get("asynchronous", False)),
        savings=stage_savings(history.trials, _epochs(history)),
        extensions=extensions_of(history),
    )


def _winner(history: StudyHistory, rows: Sequence[TrialRow]) -> TrialRow | None:
    if history.result is not None and is_closed(history):
        return next((row for row in rows if row.number == history.result.winner), None)
    best = best_trial(history.trials)
    return next((row for row in rows if best is not None and row.number == best.number), None)


def _epochs(history: StudyHistory) -> int:
    """Epochs of a whole training of the stage."""
    return max((int(trial.spec.base.get("epochs", 0)) for trial in history.trials), default=0)


def _counts(history: StudyHistory) -> TrialCounts:
    states = [trial.state for trial in history.trials]
    sources = [trial.imported_from for trial in history.trials if trial.imported_from]
    return TrialCounts(
        finished=states.count(TrialState.FINISHED),
        pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAILED),
        cached=len(sources),
        running=states.count(TrialState.RUNNING),
        carried_over=sum(run_of(source) == history.spec.run for source in sources),
    )


def _row(trial: TrialRecord) -> TrialRow:
    outcome = trial.outcome
    return TrialRow(
        number=trial.number,
        state=trial.state.value,
        params=in_order(trial.spec.params),
        val_mpjpe_mm=trial.value,
        epochs=trial.epochs,
        best_epoch=trial.best_epoch,
        imported_from=trial.imported_from,
        metrics=dict(outcome.metrics) if outcome else {},
        reason=outcome.reason if outcome else "",
        checkpoint=outcome.checkpoint if outcome else None,
        mlflow_run_id=trial.mlflow_run_id,
        attempts=outcome.attempts if outcome else 0,
        seconds=outcome.seconds if outcome and trial.imported_from is None else 0.0,
        seed=trial.spec.seed,
        test=trial.test_metrics,
    )


def _tested(history: StudyHistory) -> TestedConfiguration | None:
    result = history.result
    if result is None or not is_closed(history):
        return None
    winner = history.trials[result.winner]
    return TestedConfiguration(
        stage=history.spec.stage,
        params=in_order(result.params),
        val_mpjpe_mm=result.value,
        test=None if winner.test_metrics is None else dict(winner.test_metrics),
        checkpoint=winner.outcome.checkpoint if winner.outcome else None,
    )
