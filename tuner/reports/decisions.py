"""The decision log: what was decided in each stage and why, from the studies alone (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.protocol.confirm import CANDIDATES
from tuner.protocol.selection import format_value
from tuner.records import StudyHistory, TrialState
from tuner.reports.confirmation import confirm, verdict_text
from tuner.reports.summary import extensions_of, run_of, stage_kind

__all__ = ["decisions"]


def decisions(histories: Mapping[str, StudyHistory]) -> list[dict[str, Any]]:
    """One entry per decision, in order: stages opened, trials taken over, stages closed.

    Of the stages beyond the search: who is repeated with fresh seeds, what was added to a stage
    afterwards, and what the repetition says.

    The log is derived from the studies, so it is the same however often the run was
    interrupted.
    """
    return [entry for name, study in histories.items() for entry in _of_stage(name, study)]


def _of_stage(stage: str, study: StudyHistory) -> list[dict[str, Any]]:
    extended = [_extension(stage, extension) for extension in extensions_of(study)]
    # a result knows how many extensions it takes account of; those after it reopened the stage
    known = study.result.extensions if study.result else len(extended)
    return [
        _opening(stage, study),
        *_candidates(stage, study),
        *_imports(stage, study),
        *extended[:known],
        *_losses(stage, study),
        *_ending(stage, study),
        *extended[known:],
    ]


def _opening(stage: str, study: StudyHistory) -> dict[str, Any]:
    definition = study.spec.definition
    fixed = {name: float(value) for name, value in definition.get("fixed", {}).items()}
    text = ", ".join(f"{name} = {format_value(value)}" for name, value in fixed.items())
    tuned = " and ".join(definition.get("tunes", study.spec.distributions))
    reason = f"tune {tuned}" if tuned else "train the candidates with fresh seeds"
    entry: dict[str, Any] = {
        "decision": "open",
        "stage": stage,
        "fixed": fixed,
        "reason": reason + (f" with {text}" if text else ""),
    }
    pruner = definition.get("pruner", "none")
    if pruner != "none":
        entry |= {"pruner": pruner, "asynchronous": bool(definition.get("asynchronous", False))}
    return entry


def _candidates(stage: str, study: StudyHistory) -> list[dict[str, Any]]:
    return [
        {
            "decision": "repeat",
            "stage": stage,
            "role": candidate["role"],
            "params": candidate["params"],
            "reason": f"{candidate['role']}: trial {candidate['trial']} of {candidate['stage']}",
        }
        for candidate in study.attributes.get(CANDIDATES, ())
    ]


def _losses(stage: str, study: StudyHistory) -> list[dict[str, Any]]:
    return [
        {
            "decision": "pass over",
            "stage": stage,
            "trial": trial.number,
            "reason": trial.outcome.reason if trial.outcome else "failed",
        }
        for trial in study.trials
        if trial.state is TrialState.FAILED
    ]


def _ending(stage: str, study: StudyHistory) -> list[dict[str, Any]]:
    if study.result is not None:
        return [{"decision": "close", **study.result.to_json()}]
    if stage_kind(stage) == "confirm" and (confirmation := confirm(study)).complete:
        return [{"decision": "judge", "stage": stage, "reason": verdict_text(confirmation)}]
    return []


def _imports(stage: str, study: StudyHistory) -> list[dict[str, Any]]:
    """Trials that were not trained again: this run's own, then those of others."""
    sources = [trial.imported_from for trial in study.trials if trial.imported_from]
    own = [source for source in sources if run_of(source) == study.spec.run]
    others = [source for source in sources if run_of(source) != study.spec.run]
    runs = ", ".join(sorted({run_of(source) for source in others}))
    return [
        {"decision": decision, "stage": stage, "trials": trials, "reason": reason}
        for decision, trials, reason in (
            ("import", own, f"known from earlier in this run, not trained again: {len(own)}"),
            ("cache", others, f"known from {runs}, not trained again: {len(others)}"),
        )
        if trials
    ]


def _extension(stage: str, extension: Mapping[str, Any]) -> dict[str, Any]:
    reason = f"{extension['trials']} more trials were asked for"
    return {"reason": reason, **extension, "decision": "extend", "stage": stage}
