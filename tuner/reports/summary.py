"""From the study histories of a run to its summary (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuner.protocol.greedy import PRETRAINING
from tuner.protocol.selection import best_trial
from tuner.records import StudyHistory, TrialRecord, TrialState
from tuner.reports.run_summary import (
    RunState,
    RunSummary,
    StageSummary,
    TestedConfiguration,
    TrialCounts,
    TrialRow,
)

__all__ = ["DATA_NOTES", "RUN_CONFIG", "RunSummary", "in_order", "summarise"]

RUN_CONFIG = "run_config"
"""Attribute of a run's first study: what the run was asked to do."""

DATA_NOTES = "data_notes"
"""Attribute of a run's first study: what to know of the data."""

PARAMETER_ORDER = ("lr_p", "lr_l", "alpha")
"""The order of the protocol, in which hyperparameters are shown; stores keep none."""

DEFAULT_STAGES = 3
"""Stages of the default protocol (paper A.5)."""


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
        stages_planned: Stages of the protocol; the last of them decides.
    """
    stages = tuple(_stage(name, history) for name, history in histories.items())
    tested = [_tested(stage, histories[stage.name]) for stage in stages]
    complete = len(stages) >= stages_planned
    seal = tested[-1] if complete else None
    first = next(iter(histories.values()), None)
    trained = [t for h in histories.values() for t in h.trials if t.imported_from is None]
    outcomes = [trial.outcome for trial in trained if trial.outcome is not None]
    return RunSummary(
        run=run,
        state=_state(stages, tested, complete=complete),
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
        configuration=first.attributes.get(RUN_CONFIG, {}) if first else {},
        location_options=tuple(location_options),
        data_notes=tuple(first.attributes.get(DATA_NOTES, ())) if first else (),
        pretraining=first.attributes.get(PRETRAINING) if first else None,
    )


def in_order(params: Mapping[str, float]) -> dict[str, float]:
    """Hyperparameters in the protocol's order, then any others by name."""
    known = [name for name in PARAMETER_ORDER if name in params]
    return {name: params[name] for name in [*known, *sorted(set(params) - set(known))]}


def _state(
    stages: Sequence[StageSummary],
    tested: Sequence[TestedConfiguration | None],
    *,
    complete: bool,
) -> RunState:
    if any(stage.given_up for stage in stages):
        return "failed"
    ends = (tested[0], tested[-1]) if tested else ()
    if complete and ends and all(end is not None and end.test is not None for end in ends):
        return "finished"
    return "open"


def _stage(name: str, history: StudyHistory) -> StageSummary:
    rows = tuple(_row(trial) for trial in history.trials)
    best = best_trial(history.trials)
    number = history.result.winner if history.result else (best.number if best else None)
    return StageSummary(
        name=name,
        study=history.spec.study_name,
        tunes=tuple(in_order(dict.fromkeys(history.spec.distributions, 0.0))),
        counts=_counts(history.trials),
        trials=rows,
        winner=next((row for row in rows if row.number == number), None),
        closed=history.result is not None,
        reason=history.result.reason if history.result else "",
    )


def _counts(trials: Sequence[TrialRecord]) -> TrialCounts:
    states = [trial.state for trial in trials]
    return TrialCounts(
        finished=states.count(TrialState.FINISHED),
        pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAILED),
        cached=sum(trial.imported_from is not None for trial in trials),
        running=states.count(TrialState.RUNNING),
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
    )


def _tested(stage: StageSummary, history: StudyHistory) -> TestedConfiguration | None:
    if not stage.closed or history.result is None:
        return None
    test = history.trials[history.result.winner].test_metrics
    return TestedConfiguration(
        stage=stage.name,
        params=in_order(history.result.params),
        val_mpjpe_mm=history.result.value,
        test=None if test is None else dict(test),
        checkpoint=stage.winner.checkpoint if stage.winner else None,
    )
