"""The decision log: what was decided in each stage and why, from the studies alone (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.protocol.selection import format_value
from tuner.records import StudyHistory, TrialState

__all__ = ["decisions"]


def decisions(histories: Mapping[str, StudyHistory]) -> list[dict[str, Any]]:
    """One entry per decision, in order: stages opened, trials taken over, stages closed.

    The log is derived from the studies, so it is the same however often the run was
    interrupted.
    """
    return [entry for name, study in histories.items() for entry in _of_stage(name, study)]


def _of_stage(stage: str, study: StudyHistory) -> list[dict[str, Any]]:
    definition = study.spec.definition
    fixed = {name: float(value) for name, value in definition.get("fixed", {}).items()}
    text = ", ".join(f"{name} = {format_value(value)}" for name, value in fixed.items())
    tuned = " and ".join(definition.get("tunes", study.spec.distributions))
    entries: list[dict[str, Any]] = [
        {
            "decision": "open",
            "stage": stage,
            "fixed": fixed,
            "reason": f"tune {tuned}" + (f" with {text}" if text else ""),
        }
    ]
    carried = [trial.imported_from for trial in study.trials if trial.imported_from]
    if carried:
        reason = f"{len(carried)} finished trials of an earlier stage fit: not trained again"
        entries.append({"decision": "import", "stage": stage, "trials": carried, "reason": reason})
    lost = [trial for trial in study.trials if trial.state is TrialState.FAILED]
    entries += [
        {
            "decision": "pass over",
            "stage": stage,
            "trial": trial.number,
            "reason": trial.outcome.reason if trial.outcome else "failed",
        }
        for trial in lost
    ]
    if study.result is not None:
        entries.append({"decision": "close", **study.result.to_json()})
    return entries
