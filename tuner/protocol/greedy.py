"""The greedy protocol as a pure function: history in, next action out.

Resuming a run is calling this with the history that the study store holds: nothing else is
kept between two lives of a driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tuner.protocol.actions import (
    Action,
    AskTrials,
    CloseStage,
    EvaluateTrials,
    Finished,
    GiveUp,
    ImportTrials,
    OpenStage,
    Pretrain,
    RunTrials,
)
from tuner.protocol.check import check_action, check_spec
from tuner.protocol.confirm import confirm_action, confirm_spec
from tuner.protocol.extensions import extensions
from tuner.protocol.generations import current_studies, is_closed, next_label, same_values
from tuner.protocol.planning import planned_trials, this_round
from tuner.protocol.selection import (
    best_trial,
    close_stage,
    describe_failures,
    format_value,
    kept_values,
)
from tuner.protocol.stages import Protocol, Stage
from tuner.records import StageResult, StudyHistory, StudySpec, TrialRecord, TrialSpec, TrialState

__all__ = ["PRETRAINING", "TEST_METRICS", "History", "next_action", "study_spec"]

History = Mapping[str, StudyHistory]
"""The studies that exist, by label: the stage's name, `2-lr_l~2` for its second generation."""

PRETRAINING = "pretraining"
"""Attribute of the first study: figures of the pre-training, once it is finished; and the field
of a training configuration that asks for one."""

TEST_METRICS = "test_metrics"
"""Trial attribute: metrics of its best weights on the test split."""


def next_action(protocol: Protocol, history: History) -> Action:
    """Decide what to do next, from the whole history.

    Args:
        protocol: The stages of the run.
        history: What the study store holds for them.

    Returns:
        One action; its `reason` says why in one line. After it has been carried out, call
        again with the new history.
    """
    current = current_studies(history)
    for stage in protocol.stages:
        if stage.name not in current:
            return _open(protocol, stage, history)
        action = _within_stage(protocol, stage, current)
        if action is not None:
            return action
    untested = _untested_winners(protocol, current)
    if untested:
        return EvaluateTrials(untested, "every stage is closed: test metrics of the winners")
    further: Action | None = None
    if protocol.confirm is not None:
        further = confirm_action(protocol, current)
    if further is None and protocol.check is not None:
        further = check_action(protocol, current, history)
    return further or Finished("every stage is closed and the winners are tested")


def _untested_winners(protocol: Protocol, current: History) -> tuple[tuple[str, int], ...]:
    """Winners of the first stage, which is the baseline, and of the last, without test metrics."""
    ends = dict.fromkeys((protocol.stages[0].name, protocol.stages[-1].name))
    found = []
    for name in ends:
        study = current[name]
        assert study.result is not None  # every stage is closed
        if study.trials[study.result.winner].test_metrics is None:
            found.append((study.spec.stage, study.result.winner))
    return tuple(found)


def _within_stage(protocol: Protocol, stage: Stage, current: History) -> Action | None:
    """What is left to do of a stage that has a study; None if nothing is."""
    fixed = _fixed_values(stage, current)
    study = current[stage.name]
    label = study.spec.stage
    pretraining = _pretraining(protocol, stage, study)
    if pretraining is not None:
        return pretraining
    present = {trial.imported_from for trial in study.trials}
    missing = tuple(
        (source, trial)
        for source, trial in _carried_over(stage, fixed, current)
        if f"{source}#{trial.number}" not in present and _in_range(study, trial)
    )
    if missing:  # of a closed stage as well, since an earlier one may have been extended
        return ImportTrials(label, missing, f"{len(missing)} finished trials fit stage {label}")
    if is_closed(study):
        result = _result(stage, study)
        return None if result == study.result else CloseStage(label, result, result.reason)
    sources = [current[name].spec.study_name for name in stage.carry_over]
    planned = planned_trials(protocol, stage, study, fixed=fixed, sources=sources)
    if planned:
        return AskTrials(label, planned, f"stage {label}: {len(planned)} trials to run")
    running = tuple(t.number for t in study.trials if t.state is TrialState.RUNNING)
    if running:
        return RunTrials(label, running, f"stage {label}: {len(running)} trials open")
    return _end_of_stage(stage, study)


def _pretraining(protocol: Protocol, stage: Stage, study: StudyHistory) -> Pretrain | None:
    """What the first stage's trials, and those of all others, begin with, unless it is there.

    Nothing that it depends on can be tuned, so any point of the stage stands for all trials.
    """
    epochs = int((stage.base.get(PRETRAINING) or {}).get("epochs", 0))
    if not epochs or PRETRAINING in study.attributes or stage is not protocol.stages[0]:
        return None
    spec = TrialSpec(base=stage.base, params=stage.checked_points()[0], seed=protocol.seed)
    reason = f"pre-training, {epochs} epochs: every trial begins with it"
    return Pretrain(stage.name, spec, epochs, reason)


def _end_of_stage(stage: Stage, study: StudyHistory) -> Action:
    label = study.spec.stage
    if any(trial.state is TrialState.FINISHED for trial in study.trials):
        result = _result(stage, study)
        return CloseStage(label, result, result.reason)
    return GiveUp(
        label, describe_failures(this_round(study)), f"no trial of stage {label} finished"
    )


def _result(stage: Stage, study: StudyHistory) -> StageResult:
    result = close_stage(study.spec.stage, stage.keeps, study.trials)
    asked = extensions(study)
    if not asked:
        return result
    before = best_trial(study.trials[: asked[-1].first])
    assert before is not None  # a stage is extended after it was closed
    if before.number == result.winner:
        change = "the winner stays"
    else:
        values = kept_values(before.spec.params, stage.keeps)
        change = f"before, {values} won with {before.value:.3f} mm"
    reason = f"{result.reason}; {asked[-1].reason}: {change}"
    return replace(result, reason=reason, extensions=len(asked))


def _fixed_values(stage: Stage, current: History) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, source in stage.fixed_from.items():
        result = current[source].result
        assert result is not None  # stages are closed in order
        values[name] = result.params[name]
    return values


def study_spec(protocol: Protocol, stage: Stage, history: History) -> StudySpec:
    """The study of a stage whose earlier stages are closed: the one that there is, or the next.

    Args:
        protocol: The stages of the run.
        stage: One of them, or one that confirms or checks the choice.
        history: What the study store holds for the run.
    """
    current = current_studies(history)
    study = current.get(stage.name)
    label = study.spec.stage if study else next_label(stage.name, history)
    if stage is protocol.confirm:
        return confirm_spec(protocol)
    if stage is protocol.check:
        return check_spec(protocol, stage, current, label)
    fixed = _fixed_values(stage, current)
    return StudySpec(
        run=protocol.run,
        stage=label,
        # trials that were finished since do not widen a study that exists
        distributions=study.spec.distributions if study else _ranges(stage, fixed, current),
        definition=stage.definition(fixed, seed=protocol.seed),
    )


def _ranges(stage: Stage, fixed: Mapping[str, float], current: History) -> dict[str, Any]:
    distributions = stage.space.distributions()
    for name, parameter in distributions.items():
        values = [trial.spec.params[name] for _, trial in _carried_over(stage, fixed, current)]
        # Results already paid for count even where this stage's own bounds are narrower.
        parameter["low"] = min([parameter["low"], *values])
        parameter["high"] = max([parameter["high"], *values])
    return distributions


def _open(protocol: Protocol, stage: Stage, history: History) -> OpenStage:
    spec = study_spec(protocol, stage, history)
    fixed = spec.definition["fixed"]
    text = ", ".join(f"{name} = {format_value(value)}" for name, value in fixed.items())
    tunes = " and ".join(stage.space.names)
    reason = f"tune {tunes}" + (f" with {text}" if text else "")
    if spec.stage != stage.name:
        reason += "; an extended stage keeps other values than before"
    return OpenStage(spec.stage, spec, reason)


def _carried_over(
    stage: Stage, fixed: Mapping[str, float], current: History
) -> list[tuple[str, TrialRecord]]:
    found: list[tuple[str, TrialRecord]] = []
    for source in stage.carry_over:
        study = current[source]
        found += [
            (study.spec.study_name, trial)
            for trial in study.trials
            if trial.state is TrialState.FINISHED
            and dict(trial.spec.base) == dict(stage.base)
            and set(trial.spec.params) == {*stage.space.names, *fixed}
            and same_values({name: trial.spec.params[name] for name in fixed}, fixed)
        ]
    return found


def _in_range(study: StudyHistory, trial: TrialRecord) -> bool:
    return all(
        item["low"] <= trial.spec.params[name] <= item["high"]
        for name, item in study.spec.distributions.items()
    )
