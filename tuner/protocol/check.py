"""Whether greedy was good enough: a joint search in a window around the winner (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from tuner.protocol.actions import (
    Action,
    AskTrials,
    CloseStage,
    ImportTrials,
    OpenStage,
    RunTrials,
)
from tuner.protocol.generations import AROUND, next_label
from tuner.protocol.planning import planned_trials
from tuner.protocol.selection import best_trial, format_value
from tuner.protocol.stages import Protocol, Stage
from tuner.protocol.window import inside, narrowed, window_around
from tuner.records import StageResult, StudyHistory, StudySpec, TrialRecord, TrialState

__all__ = ["FACTOR", "check_action", "check_spec"]

FACTOR = 3.0
"""How far around the winner the joint search looks, as in `window_around`."""

Studies = Mapping[str, StudyHistory]


def check_spec(protocol: Protocol, stage: Stage, current: Studies, label: str) -> StudySpec:
    """The study of the joint search around the present winner.

    How many trials it has is no part of it: more may be asked for later.
    """
    winner = _winner(protocol, current)
    params = {name: float(winner.spec.params[name]) for name in stage.space.names}
    ranges = stage.space.distributions()
    window = window_around(ranges, params, factor=FACTOR)
    definition = {
        "seed": protocol.seed,
        "tunes": list(stage.space.names),
        "keeps": [],
        "fixed": {},
        AROUND: params,
        "space": ranges,
        "base": dict(stage.base),
        "sampler": stage.sampler,
        "batch_size": stage.batch_size,
    }
    return StudySpec(protocol.run, label, narrowed(ranges, window), definition)


def check_action(protocol: Protocol, current: Studies, history: Studies) -> Action | None:
    """What is left to do of the joint search; None if nothing is.

    Args:
        protocol: A protocol that checks, whose stages are closed.
        current: Its studies, by name of stage.
        history: All of its studies, by label.
    """
    stage = protocol.check
    assert stage is not None
    study = current.get(stage.name)
    if study is None:
        spec = check_spec(protocol, stage, current, next_label(stage.name, history))
        names = ", ".join(stage.space.names)
        reason = (
            f"check the choice: tune {names} together, {stage.trials} trials around the winner"
        )
        return OpenStage(spec.stage, spec, reason)
    label = study.spec.stage
    sources = [current[name].spec.study_name for name in stage.carry_over]
    planned = planned_trials(protocol, stage, study, fixed={}, sources=sources)
    running = tuple(t.number for t in study.trials if t.state is TrialState.RUNNING)
    missing = () if running or not planned else _missing(stage, study, current)
    if missing:
        reason = f"{len(missing)} finished trials lie around the winner"
        return ImportTrials(label, missing, reason)
    if planned:
        return AskTrials(label, planned, f"check: {len(planned)} trials to run")
    if running:
        return RunTrials(label, running, f"check: {len(running)} trials open")
    result = _result(protocol, study, current)
    return None if study.result == result else CloseStage(label, result, result.reason)


def _missing(
    stage: Stage, study: StudyHistory, current: Studies
) -> tuple[tuple[str, TrialRecord], ...]:
    """Finished trials of the search in the window that the study lacks, each training once."""
    ranges = study.spec.distributions
    window = {name: (item["low"], item["high"]) for name, item in ranges.items()}
    known = {trial.spec.configuration_key for trial in study.trials}
    found = []
    for name in stage.carry_over:
        source = current[name]
        for trial in source.trials:
            key = trial.spec.configuration_key
            if (
                trial.state is TrialState.FINISHED
                and dict(trial.spec.base) == dict(stage.base)
                and trial.spec.params.keys() == window.keys()
                and inside(window, trial.spec.params)
                and key not in known
            ):
                known.add(key)
                found.append((source.spec.study_name, trial))
    return tuple(found)


def _winner(protocol: Protocol, current: Studies) -> TrialRecord:
    last = current[protocol.stages[-1].name]
    assert last.result is not None  # every stage is closed
    return last.trials[last.result.winner]


def _result(protocol: Protocol, study: StudyHistory, current: Studies) -> StageResult:
    """The best joint point, which may be the winner itself."""
    best, winner = best_trial(study.trials), _winner(protocol, current)
    assert best is not None  # the winner was taken over
    assert best.value is not None
    assert winner.value is not None
    finished = sum(trial.state is TrialState.FINISHED for trial in study.trials)
    head = f"stage {study.spec.stage} closed: {finished} of {len(study.trials)} finished; "
    gain = winner.value - best.value
    if gain > 0:
        point = ", ".join(f"{k} = {format_value(best.spec.params[k])}" for k in _tuned(study))
        text = f"the best joint point ({point}) is {gain:.3f} mm better than the greedy winner"
        text += f" on validation ({best.value:.3f} against {winner.value:.3f} mm)"
    else:
        text = f"no joint point is better than the greedy winner ({winner.value:.3f} mm)"
    return StageResult(
        stage=study.spec.stage,
        winner=best.number,
        params=dict(best.spec.params),
        value=best.value,
        reason=head + text,
    )


def _tuned(study: StudyHistory) -> list[str]:
    return [str(name) for name in study.spec.definition["tunes"]]
