"""What a disturbed run must share with an undisturbed one (no I/O in here)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["AUDITS", "Account", "ShownRun", "TrialFact", "audit"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class TrialFact:
    """A trial as the study store has it in the end.

    Attributes:
        stage: Name of its stage.
        number: Its number there.
        fingerprint: Of its training.
        state: State in Optuna's own words (`COMPLETE`, `RUNNING`, …).
        trained: False if it was taken over from another trial.
        curve: (epoch, objective in millimetres) of every epoch.
        value: Objective in millimetres.
    """

    stage: str
    number: int
    fingerprint: str
    state: str
    trained: bool
    curve: tuple[tuple[int, float], ...]
    value: float | None


@dataclass(frozen=True)
class ShownRun:
    """A run as MLflow shows it.

    Attributes:
        key: Empty for the whole, `STAGE/` for a stage, `STAGE/NUMBER` for a trial.
        status: `FINISHED`, `RUNNING`, …
        points: (metric, step) of every metric point of an epoch, repeated as often as it is there.
    """

    key: str
    status: str
    points: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Account:
    """Everything that a run left behind.

    Attributes:
        trials: All trials of all stages.
        shown: All of its runs in MLflow.
        table: What the command printed, without seconds and places.
        retrained: Trainings whose finished checkpoint was written again or vanished.
        undelivered: Tracking events that were refused or are still waiting.
        left_behind: What of the run still lives in the cluster.
        own_faults: Ends of the driver that nobody had killed it for.
    """

    trials: tuple[TrialFact, ...]
    shown: tuple[ShownRun, ...]
    table: Mapping[str, Any]
    retrained: tuple[str, ...] = ()
    undelivered: int = 0
    left_behind: tuple[str, ...] = ()
    own_faults: tuple[str, ...] = ()


AUDITS = (
    *("lost", "doubled", "retrained", "unfinished", "changed", "tracking_runs", "metric_points"),
    *("undelivered", "left_behind", "own_faults", "table"),
)
"""Names of all audits, in the order in which they are reported."""


def audit(expected: Account, found: Account) -> dict[str, list[str]]:
    """Compare a disturbed run with an undisturbed one; faults by name of audit, none if sound.

    Every name of `AUDITS` is a key.
    """
    faults = {
        "lost": _lost(expected, found),
        "doubled": _doubled(expected, found),
        "retrained": [f"trained again after it had finished: {name}" for name in found.retrained],
        "unfinished": _unfinished(found),
        "changed": _changed(expected, found),
        "tracking_runs": _tracking_runs(expected, found),
        "metric_points": _metric_points(expected, found),
        "undelivered": (
            [f"{found.undelivered} tracking events undelivered"] if found.undelivered else []
        ),
        "left_behind": [f"left in the cluster: {name}" for name in found.left_behind],
        "own_faults": list(found.own_faults),
        "table": _table(expected, found),
    }
    return {name: faults[name] for name in AUDITS}


def _place(trial: TrialFact) -> str:
    return f"{trial.stage}/{trial.number}"


def _lost(expected: Account, found: Account) -> list[str]:
    missing = Counter(t.fingerprint for t in expected.trials)
    missing.subtract(t.fingerprint for t in found.trials)
    return [f"training {key[:12]} is missing" for key, count in missing.items() if count > 0]


def _doubled(expected: Account, found: Account) -> list[str]:
    numbers = Counter(_place(trial) for trial in found.trials)
    trained = Counter(trial.fingerprint for trial in found.trials if trial.trained)
    surplus = {_place(trial) for trial in found.trials} - {_place(t) for t in expected.trials}
    return [
        *(f"trial {place} is there {count} times" for place, count in _repeated(numbers)),
        *(f"training {key[:12]} is there {count} times" for key, count in _repeated(trained)),
        *(f"trial {place} is one too many" for place in sorted(surplus)),
    ]


def _unfinished(found: Account) -> list[str]:
    return [
        *(f"{_place(trial)} is RUNNING in Optuna" for trial in found.trials if _runs(trial.state)),
        *(
            f"{run.key or 'the run'} is RUNNING in MLflow"
            for run in found.shown
            if _runs(run.status)
        ),
    ]


def _runs(state: str) -> bool:
    return state in ("RUNNING", "WAITING", "SCHEDULED")


def _changed(expected: Account, found: Account) -> list[str]:
    facts = {_place(trial): trial for trial in expected.trials}
    return [
        f"{_place(trial)}: {trial} instead of {facts[_place(trial)]}"
        for trial in found.trials
        if trial != facts.get(_place(trial), trial)
    ]


def _tracking_runs(expected: Account, found: Account) -> list[str]:
    there = Counter(run.key for run in found.shown)
    wanted = {run.key: run.status for run in expected.shown}
    return [
        *(f"{key or 'the run'} is shown {count} times" for key, count in _repeated(there)),
        *(f"{key or 'the run'} is not shown" for key in sorted(wanted.keys() - there.keys())),
        *(f"{key} is shown but unknown" for key in sorted(there.keys() - wanted.keys())),
        *(
            f"{run.key or 'the run'} is shown as {run.status} instead of {wanted[run.key]}"
            for run in found.shown
            if run.status != wanted.get(run.key, run.status)
        ),
    ]


def _metric_points(expected: Account, found: Account) -> list[str]:
    wanted = {run.key: set(run.points) for run in expected.shown}
    faults = []
    for run in found.shown:
        points = Counter(run.points)
        missing = wanted.get(run.key, set()) - points.keys()
        surplus = points.keys() - wanted.get(run.key, set())
        faults += [f"{run.key}: {name} at {step} is missing" for name, step in sorted(missing)]
        faults += [f"{run.key}: {name} at {step} is surplus" for name, step in sorted(surplus)]
        faults += [f"{run.key}: {point} is there {n} times" for point, n in _repeated(points)]
    return faults


def _table(expected: Account, found: Account) -> list[str]:
    names = sorted(expected.table.keys() | found.table.keys())
    return [
        f"{name}: {found.table.get(name)} instead of {expected.table.get(name)}"
        for name in names
        if found.table.get(name) != expected.table.get(name)
    ]


def _repeated(counts: Counter[Item]) -> Iterable[tuple[Item, int]]:
    return [(key, count) for key, count in counts.items() if count > 1]
