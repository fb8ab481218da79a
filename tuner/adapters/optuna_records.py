"""Records of the tuner as attributes of Optuna's trials and studies, and back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from tuner.errors import StoreError
from tuner.records import (
    OutcomeKind,
    StudySpec,
    TrialOutcome,
    TrialRecord,
    TrialSpec,
    TrialState,
    canonical_json,
)

__all__ = [
    "IMPORTED_FROM",
    "OUTCOME",
    "RESERVED",
    "added_fields",
    "differences",
    "outcome_to_json",
    "plain_json",
    "same_result",
    "study_from_json",
    "study_to_json",
    "to_distributions",
    "to_optuna_state",
    "to_record",
    "trial_attributes",
]

FORMAT = 1
SPEC = "spec"
OUTCOME = "outcome"
IMPORTED_FROM = "imported_from"
MLFLOW_RUN_ID = "mlflow_run_id"
TEST_METRICS = "test_metrics"
FINGERPRINT = "fingerprint"
CONFIGURATION_KEY = "configuration_key"
RESERVED = frozenset(
    {SPEC, OUTCOME, IMPORTED_FROM, FINGERPRINT, CONFIGURATION_KEY, "stage", "format"}
)
"""Trial attributes that only this module writes."""

TRACEBACK_CHARACTERS = 20_000
"""The end of a traceback says the most; some databases bound an attribute at 64 KiB."""


def plain_json(value: object, *, what: str) -> Any:
    """A copy of a JSON value that shares nothing with it and reads back equal.

    Raises:
        StoreError: If it is no JSON, or holds NaN or infinity.
    """
    try:
        return json.loads(canonical_json(value))
    except (TypeError, ValueError) as error:
        raise StoreError(f"{what} cannot be kept as JSON: {error}") from error


def to_distributions(spec: StudySpec) -> dict[str, BaseDistribution]:
    """Optuna's distributions of the tuned hyperparameters."""
    return {name: _to_distribution(item) for name, item in spec.distributions.items()}


def _to_distribution(item: Mapping[str, Any]) -> BaseDistribution:
    log = bool(item["log"])
    if item.get("type") == "int":
        return IntDistribution(int(item["low"]), int(item["high"]), log=log)
    return FloatDistribution(item["low"], item["high"], log=log)


def study_to_json(spec: StudySpec) -> dict[str, Any]:
    """The study's definition as its attribute keeps it."""
    value = {"format": FORMAT, "direction": "minimize", **dataclasses.asdict(spec)}
    plain: dict[str, Any] = plain_json(value, what=f"the definition of {spec.study_name}")
    return plain


def study_from_json(value: Mapping[str, Any]) -> StudySpec:
    """Inverse of `study_to_json`."""
    return StudySpec(
        run=value["run"],
        stage=value["stage"],
        distributions=value["distributions"],
        definition=value["definition"],
    )


def differences(kept: object, given: object, *, path: str = "") -> list[str]:
    """Where two JSON values differ: one line per field, `path: kept, now given`."""
    if isinstance(kept, Mapping) and isinstance(given, Mapping):
        lines = []
        for key in sorted(kept.keys() | given.keys()):
            inner = f"{path}.{key}" if path else str(key)
            lines += differences(kept.get(key), given.get(key), path=inner)
        return lines
    return [] if kept == given else [f"{path}: {kept!r} in the store, {given!r} now"]


def added_fields(kept: object, given: object, *, path: str = "") -> list[str]:
    """Fields that only the given one of two JSON values has, by path; those of None left out."""
    if not (isinstance(kept, Mapping) and isinstance(given, Mapping)):
        return []
    fields = []
    for key in sorted(given):
        inner = f"{path}.{key}" if path else str(key)
        if key in kept:
            fields += added_fields(kept[key], given[key], path=inner)
        elif given[key] is not None:
            fields.append(inner)
    return fields


def trial_attributes(stage: str, spec: TrialSpec) -> dict[str, Any]:
    """Attributes written with a trial when it is recorded."""
    return {
        "format": FORMAT,
        "stage": stage,
        SPEC: plain_json(spec.to_json(), what="the trial's configuration"),
        FINGERPRINT: spec.fingerprint,
        CONFIGURATION_KEY: spec.configuration_key,
    }


def outcome_to_json(outcome: TrialOutcome) -> dict[str, Any]:
    """An outcome as JSON, without what is not finite and without the trial's number."""
    value = dataclasses.asdict(outcome)
    del value["trial"]
    value["kind"] = outcome.kind.value
    value["value"] = _finite(outcome.value)
    value["metrics"] = {k: float(v) for k, v in outcome.metrics.items() if math.isfinite(v)}
    value["traceback"] = outcome.traceback[-TRACEBACK_CHARACTERS:]
    plain: dict[str, Any] = plain_json(value, what=f"the outcome of trial {outcome.trial}")
    return plain


def outcome_from_json(number: int, value: Mapping[str, Any]) -> TrialOutcome:
    """Inverse of `outcome_to_json`."""
    return TrialOutcome(trial=number, **{**value, "kind": OutcomeKind(value["kind"])})


def same_result(kept: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether two outcomes say the same, whatever they cost."""
    return all(kept[key] == given[key] for key in ("kind", "value", "epochs", "best_epoch"))


def to_optuna_state(kind: OutcomeKind) -> OptunaState:
    """Optuna's state of an ended trial: what was stopped early is PRUNED, never COMPLETE."""
    match kind:
        case OutcomeKind.COMPLETED:
            return OptunaState.COMPLETE
        case OutcomeKind.STOPPED_EARLY:
            return OptunaState.PRUNED
        case OutcomeKind.INVALID_METRIC | OutcomeKind.FAILED:
            return OptunaState.FAIL
        case OutcomeKind.CANCELLED:
            return OptunaState.RUNNING


def to_record(study_name: str, trial: FrozenTrial, notes: Mapping[str, Any]) -> TrialRecord:
    """A trial as the tuner knows it.

    Args:
        study_name: For messages.
        trial: Optuna's record. An outcome counts even where the state does not show it yet,
            since the outcome is written first.
        notes: Facts that were kept for the trial after its end.

    Raises:
        StoreError: If the trial was not written by the tuner.
    """
    attributes = {**trial.user_attrs, **notes}
    kept = attributes.get(OUTCOME)
    if SPEC not in attributes or (kept is None and trial.state is not OptunaState.RUNNING):
        raise StoreError(
            f"trial {trial.number} of study {study_name} was not written, or was changed, by "
            "another program; take it out, or give the run another name"
        )
    outcome = None if kept is None else outcome_from_json(trial.number, kept)
    state = TrialState.RUNNING if outcome is None else _state_of(outcome.kind)
    reported = max(trial.intermediate_values, default=0)
    return TrialRecord(
        number=trial.number,
        spec=TrialSpec.from_json(attributes[SPEC]),
        state=state,
        value=outcome.value if outcome and state is TrialState.FINISHED else None,
        epochs=outcome.epochs if outcome else reported,
        best_epoch=outcome.best_epoch if outcome else None,
        imported_from=attributes.get(IMPORTED_FROM),
        outcome=outcome,
        mlflow_run_id=attributes.get(MLFLOW_RUN_ID),
        curve=tuple(sorted(trial.intermediate_values.items())),
        fingerprint=attributes.get(FINGERPRINT, ""),
        configuration_key=attributes.get(CONFIGURATION_KEY, ""),
        test_metrics=attributes.get(TEST_METRICS),
    )


def _state_of(kind: OutcomeKind) -> TrialState:
    match kind:
        case OutcomeKind.COMPLETED:
            return TrialState.FINISHED
        case OutcomeKind.STOPPED_EARLY:
            return TrialState.PRUNED
        case OutcomeKind.INVALID_METRIC | OutcomeKind.FAILED:
            return TrialState.FAILED
        case OutcomeKind.CANCELLED:
            return TrialState.RUNNING


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
