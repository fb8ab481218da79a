"""Whether the winner is better on other seeds too: repeats of the choices (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.protocol.actions import (
    Action,
    AskTrials,
    EvaluateTrials,
    GiveUp,
    KeepFact,
    OpenStage,
    ReleaseTrials,
    RunTrials,
)
from tuner.protocol.generations import CONFIRM_STAGE
from tuner.protocol.planning import planned_specs, this_round
from tuner.protocol.seeds import trial_seed
from tuner.protocol.selection import describe_failures, ranked_trials
from tuner.protocol.stages import Protocol
from tuner.records import StudyHistory, StudySpec, TrialRecord, TrialSpec, TrialState

__all__ = ["CANDIDATES", "RELEASED", "Candidate", "candidates", "confirm_action", "confirm_spec"]

CANDIDATES = "candidates"
"""Attribute of the study of repeats: which configurations are compared, and in which role."""

RELEASED = "released"
"""Attribute of the study of repeats: how many trials it had when their checkpoints were last
gone through, with all of them tested."""


@dataclass(frozen=True)
class Candidate:
    """A configuration that is trained again with fresh seeds.

    Attributes:
        role: `baseline`, `winner`, `runner-up 1`, …
        stage: Label of the study that it was found in.
        trial: The trial that it was found by.
    """

    role: str
    stage: str
    trial: TrialRecord

    def repeat(self, seed: int) -> TrialSpec:
        """The same configuration with another seed."""
        return TrialSpec(base=self.trial.spec.base, params=self.trial.spec.params, seed=seed)

    def to_json(self) -> dict[str, Any]:
        """The entry in the study."""
        return {
            "role": self.role,
            "stage": self.stage,
            "trial": self.trial.number,
            "params": {name: float(value) for name, value in self.trial.spec.params.items()},
            "configuration_key": self.trial.spec.configuration_key,
        }


def candidates(protocol: Protocol, current: Mapping[str, StudyHistory]) -> tuple[Candidate, ...]:
    """What is compared: the baseline, the winner, and the best others of the last stage.

    Args:
        protocol: A protocol that confirms, whose stages are closed.
        current: Its studies, by name of stage.
    """
    baseline, last = current[protocol.stages[0].name], current[protocol.stages[-1].name]
    assert baseline.result is not None
    assert last.result is not None
    winner = last.trials[last.result.winner]
    found = [
        Candidate("baseline", baseline.spec.stage, baseline.trials[baseline.result.winner]),
        Candidate("winner", last.spec.stage, winner),
    ]
    known = {winner.spec.configuration_key}
    for trial in ranked_trials(last.trials):
        place = len(found) - 1
        if place > protocol.confirm_runners_up:
            break
        if trial.spec.configuration_key not in known:
            known.add(trial.spec.configuration_key)
            found.append(Candidate(f"runner-up {place}", last.spec.stage, trial))
    return tuple(found)


def confirm_spec(protocol: Protocol) -> StudySpec:
    """The study of repeats. How many there are is no part of it: more may be asked for later."""
    definition = {"seed": protocol.seed, "tunes": [], "keeps": [], "fixed": {}}
    return StudySpec(protocol.run, CONFIRM_STAGE, distributions={}, definition=definition)


def confirm_action(protocol: Protocol, current: Mapping[str, StudyHistory]) -> Action | None:
    """What is left to do of the repeats; None if nothing is.

    Args:
        protocol: A protocol that confirms, whose stages are closed.
        current: Its studies, by name of stage.
    """
    assert protocol.confirm is not None
    chosen = candidates(protocol, current)
    seeds = protocol.confirm.trials
    study = current.get(CONFIRM_STAGE)
    if study is None:
        roles = ", ".join(candidate.role for candidate in chosen)
        reason = f"confirm the choice: train {roles} with {seeds} fresh seeds each"
        return OpenStage(CONFIRM_STAGE, confirm_spec(protocol), reason)
    listed = [candidate.to_json() for candidate in chosen]
    if study.attributes.get(CANDIDATES) != listed:
        roles = ", ".join(f"{c.role} (trial {c.trial.number} of {c.stage})" for c in chosen)
        return KeepFact(CONFIRM_STAGE, CANDIDATES, listed, f"to be confirmed: {roles}")
    # repeat by repeat: when it is cut short, each configuration has about as many; and with the
    # same seeds, so that they can be compared in pairs
    wanted = [
        candidate.repeat(trial_seed(protocol.seed, CONFIRM_STAGE, repeat))
        for repeat in range(seeds)
        for candidate in chosen
    ]
    return _within(study, wanted)


def _within(study: StudyHistory, wanted: list[TrialSpec]) -> Action | None:
    planned = planned_specs(study, wanted)
    if planned:
        return AskTrials(CONFIRM_STAGE, planned, f"confirm: {len(planned)} trainings to run")
    running = tuple(t.number for t in study.trials if t.state is TrialState.RUNNING)
    if running:
        return RunTrials(CONFIRM_STAGE, running, f"confirm: {len(running)} trainings open")
    finished = [trial for trial in study.trials if trial.state is TrialState.FINISHED]
    if not finished:
        failures = describe_failures(this_round(study))
        return GiveUp(CONFIRM_STAGE, failures, f"no trial of stage {CONFIRM_STAGE} finished")
    untested = tuple((CONFIRM_STAGE, t.number) for t in finished if t.test_metrics is None)
    if untested:
        return EvaluateTrials(untested, f"confirm: test metrics of {len(untested)} trainings")
    count = len(study.trials)
    if study.attributes.get(RELEASED) != count:
        return ReleaseTrials(CONFIRM_STAGE, count, "confirm: every training is tested")
    return None
