"""Applies tracking events to MLflow in few requests; applying one again changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tuner.adapters.mlflow_runs import RunDirectory, RunMirror
from tuner.adapters.mlflow_session import connect, describe, experiment_id, is_permanent
from tuner.adapters.outbox import Outbox
from tuner.adapters.outbox_delivery import RejectedEventError
from tuner.adapters.tracker_events import RUN_KEY, Event

__all__ = ["MlflowProjection", "ModelRegistrar"]

_logger = logging.getLogger(__name__)

_MAX_METRICS = 900  # of 1000 entities in a request; params and tags share them
_MAX_PARAMS = 100

Point = tuple[str, float, int, int]  # name, value, time_ms, step
ModelRegistrar = Callable[[str, Event], None]
"""Registers a model for an event; gets the run's MLflow id."""


@dataclass
class _Buffer:
    """What is to be sent to one run: whole epochs as groups, so that none is ever split."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    groups: list[list[Point]] = field(default_factory=list)


class MlflowProjection:
    """Shows a run in MLflow: a parent run, a child per trial, a child per closed stage.

    Metrics of many epochs travel in one request. An epoch is sent at most once: it carries the
    time at which it happened (the server ignores a point that it has), and after every start and
    every failure the server is asked which epochs it has before more is sent.

    Args:
        tracking_uri: The MLflow server or database.
        experiment: Name of the experiment.
        artifact_root: Where a new experiment keeps files; None leaves it to the server.
        outbox: Where run ids are kept.
        register_model: What to do for a `model` event.
    """

    def __init__(
        self,
        *,
        tracking_uri: str,
        experiment: str,
        artifact_root: str | None,
        outbox: Outbox,
        register_model: ModelRegistrar,
    ) -> None:
        self._client = connect(tracking_uri)
        self._experiment = experiment
        self._artifact_root = artifact_root
        self._outbox = outbox
        self._register_model = register_model
        self._runs: RunDirectory | None = None
        self._buffers: dict[str, _Buffer] = {}

    def apply(self, events: Sequence[Event]) -> None:
        """Apply events in order.

        Raises:
            RejectedEventError: If MLflow refuses one for good.
        """
        try:
            if self._runs is None:
                identity = experiment_id(self._client, self._experiment, self._artifact_root)
                self._runs = RunDirectory(self._client, identity, self._outbox)
            for event in _without_replaced_artifacts(events):
                self._apply_one(event, self._runs)
            for run_id in list(self._buffers):
                self._flush(run_id)
        except Exception as error:
            # What arrived is unknown now: forget everything, and ask before sending again.
            self._runs = None
            self._buffers.clear()
            if is_permanent(error):
                raise RejectedEventError(describe(error)) from error
            raise

    def _apply_one(self, event: Event, runs: RunDirectory) -> None:
        run = runs.mirror(event.get("key", RUN_KEY), event)
        match event["kind"]:
            case "run_started" | "trial_started":
                self._start(run, event)
            case "epoch":
                self._epoch(run, event)
            case "trial_ended" | "stage_ended" | "run_ended":
                self._end(run, event, runs)
            case "artifact":
                self._artifact(run, event)
            case "model":
                self._register_model(run.run_id, event)
            case kind:
                raise RejectedEventError(f"unknown kind of event {kind!r}")

    def _start(self, run: RunMirror, event: Event) -> None:
        if run.status != "RUNNING":
            self._flush(run.run_id)
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
        buffer = self._buffer(run)
        buffer.tags.update({k: v for k, v in event["tags"].items() if run.tags.get(k) != v})
        for name, value in event["params"].items():
            if name not in run.params:
                run.params[name] = buffer.params[name] = value
        run.tags.update(event["tags"])
        self._dataset(run, event.get("dataset"))

    def _epoch(self, run: RunMirror, event: Event) -> None:
        epoch = int(event["epoch"])
        buffer = self._buffer(run)
        if event["dropped"]:
            buffer.tags["tuner.dropped_metrics"] = f"epoch {epoch}: {', '.join(event['dropped'])}"
        if epoch in run.epochs:
            return
        figures = {**event["metrics"], "epoch": float(epoch)}
        buffer.groups.append([(n, v, event["time_ms"], epoch) for n, v in figures.items()])
        run.epochs.add(epoch)

    def _end(self, run: RunMirror, event: Event, runs: RunDirectory) -> None:
        buffer = self._buffer(run)
        buffer.tags.update(event["tags"])
        run.tags.update(event["tags"])
        if event["dropped"]:
            buffer.tags["tuner.dropped_metrics"] = ", ".join(event["dropped"])
        new = {n: v for n, v in event["metrics"].items() if run.figures.get(n) != v}
        step = int(event.get("step", 0))
        buffer.groups.append([(name, v, event["time_ms"], step) for name, v in new.items()])
        run.figures.update(new)
        self._flush(run.run_id)
        if event.get("traceback"):
            self._client.log_text(run.run_id, event["traceback"], "traceback.txt")
        status = event.get("status", "FINISHED")
        if event["kind"] == "run_ended":
            self._remove_strays(runs, event)
        self._client.set_terminated(run.run_id, status=status, end_time=event["time_ms"])
        run.status = status

    def _remove_strays(self, runs: RunDirectory, event: Event) -> None:
        """Delete (restorably) doubles of our runs: a creation took effect after we gave up."""
        for stray in runs.strays(event):
            _logger.warning("deleting MLflow run %s, a double", stray)
            self._client.set_terminated(stray, status="KILLED")
            self._client.delete_run(stray)

    def _artifact(self, run: RunMirror, event: Event) -> None:
        path = Path(event["path"])
        folder = event["folder"] or None
        if path.is_dir():
            self._client.log_artifacts(run.run_id, str(path), folder)
        elif path.is_file():
            self._client.log_artifact(run.run_id, str(path), folder)
        else:
            raise RejectedEventError(f"the file {path} to attach no longer exists")

    def _dataset(self, run: RunMirror, facts: dict[str, str] | None) -> None:
        if not facts:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        name = facts.get("name", "data")
        digest = (facts.get("content_hash") or facts.get("hash") or "unknown")[:36]
        if (name, digest) in run.datasets:
            return
        known = {"name", "source", "source_type", "schema", "profile"}
        dataset = Dataset(
            *(name, digest, facts.get("source_type", "local")),
            source=facts.get("source", name),
            schema=facts.get("schema"),
            profile=facts.get("profile"),
        )
        tags = [InputTag(k, v[:500]) for k, v in facts.items() if k not in known and v]
        self._client.log_inputs(run.run_id, [DatasetInput(dataset, tags)])
        run.datasets.add((name, digest))

    def _buffer(self, run: RunMirror) -> _Buffer:
        return self._buffers.setdefault(run.run_id, _Buffer())

    def _flush(self, run_id: str) -> None:
        """Send what is buffered for a run, in as few requests as the limits allow."""
        buffer = self._buffers.pop(run_id, None)
        if buffer is None:
            return
        params, tags = iter(buffer.params.items()), iter(buffer.tags.items())
        batches = _pack(buffer.groups)
        while True:
            some_params = dict(islice(params, _MAX_PARAMS // 2))
            some_tags = dict(islice(tags, _MAX_PARAMS // 2))
            points = batches.pop(0) if batches else []
            if not (some_params or some_tags or points):
                return
            self._send(run_id, points, some_params, some_tags)

    def _send(
        self, run_id: str, points: list[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, time_ms, step) for name, value, time_ms, step in points],
            params=[Param(name, value) for name, value in params.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )


def _pack(groups: list[list[Point]]) -> list[list[Point]]:
    """Join groups into batches of at most `_MAX_METRICS`, splitting only an oversized group."""
    batches: list[list[Point]] = []
    for group in groups:
        for start in range(0, len(group), _MAX_METRICS):
            part = group[start : start + _MAX_METRICS]
            if batches and len(batches[-1]) + len(part) <= _MAX_METRICS:
                batches[-1].extend(part)
            else:
                batches.append(list(part))
    return batches


def _without_replaced_artifacts(events: Sequence[Event]) -> list[Event]:
    """Leave out uploads that a later one in the same batch replaces."""
    last = {
        (event["path"], event["folder"]): position
        for position, event in enumerate(events)
        if event["kind"] == "artifact"
    }
    return [
        event
        for position, event in enumerate(events)
        if event["kind"] != "artifact" or last[event["path"], event["folder"]] == position
    ]
