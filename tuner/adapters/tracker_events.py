"""What every tracker shares: tracker calls as JSON events, each queued at most once.

`EventTracker` turns the calls of `tuner.ports.Tracker` into events that are clean (no secrets,
no non-finite figures, permitted names) and carry the time at which they happened. It drops
what has been queued before, by facts that the subclass keeps in the same transaction as the
events: so calls repeated after a restart leave no trace.
"""

from __future__ import annotations

import abc
import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.adapters.redact import redact_text, redact_value
from tuner.errors import TrackingError
from tuner.ports import RunInfo
from tuner.records import EpochReport, OutcomeKind, TrialOutcome, TrialRequest, digest

__all__ = ["Event", "EventTracker", "facts_of", "trial_key"]

Event = dict[str, Any]

RUN_KEY = ""
"""Key of the run itself among the keys of its parts."""

_STATUS_OF_KIND = {
    OutcomeKind.COMPLETED: ("FINISHED", "finished"),
    OutcomeKind.STOPPED_EARLY: ("FINISHED", "pruned"),
    OutcomeKind.INVALID_METRIC: ("FAILED", "invalid_metric"),
    OutcomeKind.FAILED: ("FAILED", "failed"),
    OutcomeKind.CANCELLED: ("KILLED", "cancelled"),
}
_STATUS_OF_RUN = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_MAX_NAME = 250
_MAX_VALUE = 5000


def trial_key(stage: str, trial: int | None) -> str:
    """Key of a trial, or of a stage's summary (`trial` None), within its run."""
    return f"{stage}/" if trial is None else f"{stage}/{trial}"


def facts_of(event: Event) -> dict[str, str]:
    """What remains true once `event` is queued; later events are checked against it."""
    key = event.get("key", RUN_KEY)
    match event["kind"]:
        case "trial_started":
            return {f"end:{key}": "", f"open:{key}": "1"}
        case "epoch":
            return {f"epoch:{key}": str(event["epoch"])}
        case "trial_ended":
            return {f"end:{key}": _identity(event), f"open:{key}": ""}
        case "stage_ended" | "run_ended" | "model":
            return {f"end:{event['kind']}:{key}": _identity(event)}
        case "run_started":
            return {"end:run_ended:": ""}
        case _:
            return {}


def _identity(event: Event) -> str:
    return digest({name: value for name, value in event.items() if name != "time_ms"})


class EventTracker(abc.ABC):
    """Implements `tuner.ports.Tracker` on top of one method that keeps an event.

    Args:
        facts: Facts of earlier lives of this run.
    """

    def __init__(self, facts: Mapping[str, str]) -> None:
        self._facts = dict(facts)
        self._run = ""

    @abc.abstractmethod
    def _append(self, event: Event, facts: Mapping[str, str]) -> None:
        """Keep an event and its facts, together or not at all; must not block or raise."""

    def start_run(self, info: RunInfo) -> None:
        """Show the run as RUNNING; a run shown before is continued."""
        self._run = info.run
        self._emit(
            "run_started",
            tags=_clean_tags({**_source_tags(info), "role": "run", "state": "running"}),
            params=_clean_params(info.params),
            dataset={name: redact_text(value) for name, value in info.dataset.items()},
        )

    def start_trial(self, request: TrialRequest, *, tags: Mapping[str, str]) -> None:
        """Show a trial as RUNNING beneath the run, with its resolved configuration.

        Its tag `role` is `trial` unless `tags` says otherwise.
        """
        spec = request.spec
        own = {"fingerprint": spec.fingerprint, "state": "running"}
        place = {"stage": request.stage, "trial": str(request.trial)}
        self._emit(
            "trial_started",
            key=trial_key(request.stage, request.trial),
            name=_run_name(request, tags.get("tunes", "")),
            fingerprint=spec.fingerprint,
            tags=_clean_tags({"role": "trial", **tags, **own, **place}),
            params=_clean_params(_flatten(spec.training_config())),
        )

    def log_epoch(self, stage: str, report: EpochReport) -> None:
        """Show one epoch's metrics of a trial; an epoch shown before is ignored."""
        key = trial_key(stage, report.trial)
        if report.epoch <= int(self._facts.get(f"epoch:{key}", "0")):
            return
        metrics, dropped = _clean_metrics(report.metrics)
        self._emit("epoch", key=key, epoch=report.epoch, metrics=metrics, dropped=dropped)

    def end_trial(self, stage: str, outcome: TrialOutcome, *, tags: Mapping[str, str]) -> None:
        """Show the end of a trial (CANCELLED: as KILLED, until it goes on)."""
        status, state = _STATUS_OF_KIND[outcome.kind]
        found = {n: v for n, v in outcome.metrics.items() if n.startswith("val_")}
        figures = {f"best_{name}": value for name, value in found.items()}
        own = {
            "objective": outcome.value,
            "best_epoch": outcome.best_epoch,
            "epochs": outcome.epochs,
            "seconds": outcome.seconds,
            "device_seconds": outcome.device_seconds,
        }
        figures.update({name: float(value) for name, value in own.items() if value is not None})
        metrics, dropped = _clean_metrics(figures)
        facts = {"state": state, "outcome": outcome.kind.value, "attempt": str(outcome.attempts)}
        notes = {"reason": outcome.reason, "node": outcome.node}
        self._emit(
            "trial_ended",
            key=trial_key(stage, outcome.trial),
            status=status,
            step=outcome.epochs,
            metrics=metrics,
            dropped=dropped,
            traceback=redact_text(outcome.traceback),
            tags=_clean_tags({**tags, **facts, **{k: v for k, v in notes.items() if v}}),
        )

    def end_stage(
        self, stage: str, *, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> None:
        """Show a closed stage as a summary beneath the run."""
        clean, dropped = _clean_metrics(metrics)
        own = {"role": "stage", "stage": stage, "state": "finished"}
        self._emit(
            "stage_ended",
            key=trial_key(stage, None),
            name=f"{stage} summary",
            tags=_clean_tags({**tags, **own}),
            metrics=clean,
            dropped=dropped,
        )

    def log_artifact(self, path: str, *, folder: str = "") -> None:
        """Attach a file of the run's folder to the run; a later version replaces it."""
        self._emit("artifact", path=str(Path(path).absolute()), folder=folder)

    def end_run(
        self, state: str, *, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """Show the run's end: `finished`, `failed` or `interrupted`.

        Trials that are still shown as running are shown as cancelled.

        Raises:
            TrackingError: If `state` is none of the three.
        """
        if state not in _STATUS_OF_RUN:
            states = ", ".join(_STATUS_OF_RUN)
            raise TrackingError(f"a run ends as one of {states}, not as {state!r}")
        for fact, value in list(self._facts.items()):
            if fact.startswith("open:") and value:
                self._close_open_trial(fact.removeprefix("open:"))
        clean, dropped = _clean_metrics(metrics)
        self._emit(
            "run_ended",
            status=_STATUS_OF_RUN[state],
            tags=_clean_tags({**tags, "state": state}),
            metrics=clean,
            dropped=dropped,
        )

    def _close_open_trial(self, key: str) -> None:
        self._emit(
            "trial_ended",
            key=key,
            status="KILLED",
            step=0,
            metrics={},
            dropped=[],
            traceback="",
            tags=_clean_tags({"state": "cancelled", "reason": "the run ended before the trial"}),
        )

    def _emit(self, kind: str, **fields: Any) -> None:
        if not self._run:
            raise TrackingError(f"start_run must be called before anything else, not {kind}")
        event = {"kind": kind, "run": self._run, "time_ms": time.time_ns() // 1_000_000, **fields}
        facts = facts_of(event)
        ending = {name: value for name, value in facts.items() if name.startswith("end:")}
        if any(value and self._facts.get(name) == value for name, value in ending.items()):
            return
        self._append(event, facts)
        self._facts.update(facts)


def _source_tags(info: RunInfo) -> dict[str, str]:
    """The run's tags, the commit also under the name that MLflow's pages show."""
    commit = info.tags.get("git_commit", "")
    return {**info.tags, **({"mlflow.source.git.commit": commit} if commit else {})}


def _clean_metrics(metrics: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """Finite figures under permitted names, and the names of the others."""
    finite = {_clean_name(name): float(v) for name, v in metrics.items() if math.isfinite(v)}
    return finite, sorted(_clean_name(n) for n, v in metrics.items() if not math.isfinite(v))


def _clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {
        _clean_name(name if name.startswith(("tuner.", "mlflow.")) else f"tuner.{name}"): (
            _shorten(redact_value(name, str(value)))
        )
        for name, value in tags.items()
    }


def _clean_params(params: Mapping[str, str]) -> dict[str, str]:
    return {_clean_name(n): _shorten(redact_value(n, str(v))) for n, v in params.items()}


def _clean_name(name: str) -> str:
    return re.sub(r"[^\w\-. /:]", "_", name, flags=re.ASCII)[:_MAX_NAME]


def _shorten(value: str) -> str:
    end = " … (shortened)"
    return value if len(value) <= _MAX_VALUE else value[: _MAX_VALUE - len(end)] + end


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            flat.update(_flatten(item, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = repr(item) if isinstance(item, float) else str(item)
    return flat


def _run_name(request: TrialRequest, tunes: str) -> str:
    names = [name.strip() for name in tunes.split(",") if name.strip()] or request.spec.params
    shown = {n: request.spec.params[n] for n in names if n in request.spec.params}
    figures = " ".join(f"{name}={_short_number(value)}" for name, value in shown.items())
    return f"{request.stage} #{request.trial:02d} {figures}".rstrip()


def _short_number(value: float) -> str:
    if value == 0 or 0.01 <= abs(value) < 10_000:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
