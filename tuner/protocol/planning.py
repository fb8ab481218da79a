"""Which trials a stage still lacks (pure)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tuner.protocol.actions import PlannedTrial
from tuner.protocol.extensions import extensions
from tuner.protocol.seeds import trial_seed
from tuner.protocol.stages import Protocol, Stage
from tuner.records import StudyHistory, TrialRecord, TrialSpec

__all__ = ["RETRY_FROM", "own_trials", "planned_specs", "planned_trials", "this_round"]

RETRY_FROM = "retry_from"
"""Study attribute: number of the first trial of the present round, where an open stage is tried
anew: all trials before it had ended, and none of them had finished."""


def planned_trials(
    protocol: Protocol,
    stage: Stage,
    study: StudyHistory,
    *,
    fixed: Mapping[str, float],
    sources: Collection[str],
) -> tuple[PlannedTrial, ...]:
    """Trials to record next; none while a sampler waits for its present batch.

    Args:
        protocol: The protocol that is running.
        stage: The stage.
        study: Its study.
        fixed: Hyperparameters fixed by earlier stages.
        sources: Names of the studies whose trials were carried over into this one.
    """
    count = len(study.trials)
    asked = extensions(study)
    own = own_trials(this_round(study), sources)
    points: list[Mapping[str, float] | None]
    batch_start, window = count, None
    if asked:
        window = asked[-1].window
        own = [trial for trial in own if trial.number >= asked[-1].first]
        missing, batch_start = _open_batch(stage, own, asked[-1].trials, count)
        points = [None] * missing
    elif stage.sampler == "grid":
        points = list(_open_points(stage, study))
    else:
        missing, batch_start = _open_batch(stage, own, stage.trials, count)
        points = [None] * missing
    return tuple(
        PlannedTrial(
            number=count + index,
            point=point,
            fixed=fixed,
            batch_start=batch_start,
            seed=trial_seed(protocol.seed, stage.name, count + index),
            window=window,
        )
        for index, point in enumerate(points)
    )


def this_round(study: StudyHistory) -> tuple[TrialRecord, ...]:
    """The trials that count for what the stage still lacks, and that compete with each other.

    Whoever fell behind in a round of which nobody finished was stopped for nothing, and whoever
    it fell behind would lead the next round as well.
    """
    return study.trials[int(study.attributes.get(RETRY_FROM, 0)) :]


def planned_specs(study: StudyHistory, specs: Sequence[TrialSpec]) -> tuple[PlannedTrial, ...]:
    """Those of some given trainings that no trial of this round covers."""
    covered = {trial.fingerprint or trial.spec.fingerprint for trial in this_round(study)}
    missing = [spec for spec in specs if spec.fingerprint not in covered]
    count = len(study.trials)
    return tuple(
        PlannedTrial(count + index, None, {}, count, spec.seed, spec=spec)
        for index, spec in enumerate(missing)
    )


def own_trials(trials: Sequence[TrialRecord], sources: Collection[str]) -> list[TrialRecord]:
    """Those that their stage asked for itself, whether they were trained or known already.

    A known one counts: what a stage proposes must not depend on what other runs have trained.
    """
    return [
        trial
        for trial in trials
        if trial.imported_from is None or trial.imported_from.rsplit("#", 1)[0] not in sources
    ]


def _open_points(stage: Stage, study: StudyHistory) -> list[dict[str, float]]:
    """Grid points that no trial of this round covers."""
    names = stage.space.names
    covered = {tuple(t.spec.params[name] for name in names) for t in this_round(study)}
    return [
        point
        for point in stage.space.grid_points()
        if tuple(point[name] for name in names) not in covered
    ]


def _open_batch(
    stage: Stage, own: Sequence[TrialRecord], budget: int, count: int
) -> tuple[int, int]:
    """How many trials the sampler's present batch still lacks, and where the batch starts."""
    size = budget if stage.sampler == "random" else stage.batch_size
    start = (len(own) // size) * size if size else 0
    batch_start = own[start].number if start < len(own) else count
    if any(not trial.state.ended for trial in own[:start]):
        return 0, batch_start
    return max(0, min(start + size, budget) - len(own)), batch_start
