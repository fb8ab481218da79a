"""The greedy protocol as a pure function: history in, next action out.

Resuming a run is calling this with the history that the study store holds: nothing else is
kept between two lives of a driver.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from tuner.protocol.actions import (
    Action,
    AskTrials,
    CloseStage,
    EvaluateTrials,
    Finished,
    GiveUp,
    ImportTrials,
    OpenStage,
    PlannedTrial,
    Pretrain,
    RunTrials,
)
from tuner.protocol.seeds import trial_seed
from tuner.protocol.selection import close_stage, format_value
from tuner.protocol.stages import Protocol, Stage
from tuner.records import StudyHistory, StudySpec, TrialRecord, TrialSpec, TrialState

__all__ = ["PRETRAINING", "RETRY_ROUNDS", "TEST_METRICS", "History", "next_action", "study_spec"]

History = Mapping[str, StudyHistory]
"""The studies that exist, by name of stage."""

RETRY_ROUNDS = "retry_rounds"
"""Study attribute: how often failed points of an open stage may be tried anew."""

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
    for stage in protocol.stages:
        study = history.get(stage.name)
        if study is None or study.result is None:
            return _within_stage(protocol, stage, history)
    untested = _untested_winners(protocol, history)
    if untested:
        return EvaluateTrials(untested, "every stage is closed: test metrics of the winners")
    return Finished("every stage is closed and the winners are tested")


def _untested_winners(protocol: Protocol, history: History) -> tuple[tuple[str, int], ...]:
    """Winners of the first stage, which is the baseline, and of the last, without test metrics."""
    ends = dict.fromkeys((protocol.stages[0].name, protocol.stages[-1].name))
    found = []
    for name in ends:
        result = history[name].result
        assert result is not None  # every stage is closed
        if history[name].trials[result.winner].test_metrics is None:
            found.append((name, result.winner))
    return tuple(found)


def _within_stage(protocol: Protocol, stage: Stage, history: History) -> Action:
    fixed = _fixed_values(stage, history)
    study = history.get(stage.name)
    carried = _carried_over(stage, fixed, history)
    if study is None:
        return _open(protocol, stage, history)
    pretraining = _pretraining(protocol, stage, study)
    if pretraining is not None:
        return pretraining
    present = {trial.imported_from for trial in study.trials}
    missing = tuple((s, t) for s, t in carried if f"{s}#{t.number}" not in present)
    if missing:
        return ImportTrials(
            stage.name, missing, f"{len(missing)} finished trials fit stage {stage.name}"
        )
    planned = _planned(protocol, stage, fixed, study)
    if planned:
        return AskTrials(stage.name, planned, f"stage {stage.name}: {len(planned)} trials to run")
    running = tuple(t.number for t in study.trials if t.state is TrialState.RUNNING)
    if running:
        return RunTrials(stage.name, running, f"stage {stage.name}: {len(running)} trials open")
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
    if any(trial.state is TrialState.FINISHED for trial in study.trials):
        result = close_stage(stage.name, stage.keeps, study.trials)
        return CloseStage(stage.name, result, result.reason)
    failures = tuple(_failure(trial) for trial in study.trials)
    return GiveUp(stage.name, failures, f"no trial of stage {stage.name} finished")


def _failure(trial: TrialRecord) -> str:
    reason = trial.outcome.reason if trial.outcome else "no outcome recorded"
    point = " ".join(f"{k}={format_value(v)}" for k, v in trial.spec.params.items())
    return f"trial {trial.number} ({point}): {trial.state.value}, {reason}"


def _fixed_values(stage: Stage, history: History) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, source in stage.fixed_from.items():
        result = history[source].result
        assert result is not None  # stages are closed in order
        values[name] = result.params[name]
    return values


def study_spec(protocol: Protocol, stage: Stage, history: History) -> StudySpec:
    """The study of a stage whose earlier stages are closed."""
    fixed = _fixed_values(stage, history)
    distributions = stage.space.distributions()
    for name, parameter in distributions.items():
        values = [trial.spec.params[name] for _, trial in _carried_over(stage, fixed, history)]
        # Results already paid for count even where this stage's own bounds are narrower.
        parameter["low"] = min([parameter["low"], *values])
        parameter["high"] = max([parameter["high"], *values])
    return StudySpec(
        run=protocol.run,
        stage=stage.name,
        distributions=distributions,
        definition=stage.definition(fixed, seed=protocol.seed),
    )


def _open(protocol: Protocol, stage: Stage, history: History) -> OpenStage:
    fixed = _fixed_values(stage, history)
    text = ", ".join(f"{name} = {format_value(value)}" for name, value in fixed.items())
    tunes = " and ".join(stage.space.names)
    reason = f"tune {tunes}" + (f" with {text}" if text else "")
    return OpenStage(stage.name, study_spec(protocol, stage, history), reason)


def _carried_over(
    stage: Stage, fixed: Mapping[str, float], history: History
) -> list[tuple[str, TrialRecord]]:
    found: list[tuple[str, TrialRecord]] = []
    for source in stage.carry_over:
        study = history[source]
        found += [
            (study.spec.study_name, trial)
            for trial in study.trials
            if trial.state is TrialState.FINISHED
            and dict(trial.spec.base) == dict(stage.base)
            and set(trial.spec.params) == {*stage.space.names, *fixed}
            and all(_same(trial.spec.params[name], value) for name, value in fixed.items())
        ]
    return found


def _planned(
    protocol: Protocol, stage: Stage, fixed: Mapping[str, float], study: StudyHistory
) -> tuple[PlannedTrial, ...]:
    count = len(study.trials)
    points: list[Mapping[str, float] | None]
    batch_start = count
    if stage.sampler == "grid":
        points = list(_open_points(stage, study))
    else:
        missing, batch_start = _open_batch(stage, study)
        points = [None] * missing
    return tuple(
        PlannedTrial(
            number=count + index,
            point=point,
            fixed=fixed,
            batch_start=batch_start,
            seed=trial_seed(protocol.seed, stage.name, count + index),
        )
        for index, point in enumerate(points)
    )


def _open_points(stage: Stage, study: StudyHistory) -> list[dict[str, float]]:
    """Grid points that no trial covers; a failed point is covered unless it may be retried."""
    allowed_failures = 1 + int(study.attributes.get(RETRY_ROUNDS, 0))
    covered: Counter[tuple[float, ...]] = Counter()
    for trial in study.trials:
        key = tuple(trial.spec.params[name] for name in stage.space.names)
        covered[key] += 1 if trial.state is TrialState.FAILED else allowed_failures
    return [
        point
        for point in stage.space.grid_points()
        if covered[tuple(point[name] for name in stage.space.names)] < allowed_failures
    ]


def _open_batch(stage: Stage, study: StudyHistory) -> tuple[int, int]:
    """How many trials the sampler's present batch still lacks, and where the batch starts."""
    imported = sum(trial.imported_from is not None for trial in study.trials)
    own = [trial for trial in study.trials if trial.imported_from is None]
    budget = stage.trials * (1 + int(study.attributes.get(RETRY_ROUNDS, 0)))
    size = budget if stage.sampler == "random" else stage.batch_size
    start = (len(own) // size) * size if size else 0
    if any(not trial.state.ended for trial in own[:start]):
        return 0, imported + start
    wanted = min(start + size, budget)
    return max(0, wanted - len(own)), imported + start


def _same(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=1e-12, abs_tol=0.0)
