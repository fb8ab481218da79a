"""Finding, creating and mirroring MLflow runs, so that nothing is created or sent twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tuner.adapters.mlflow_session import is_unknown_resource
from tuner.adapters.outbox import Outbox
from tuner.adapters.tracker_events import RUN_KEY, Event

__all__ = ["RunDirectory", "RunMirror"]


@dataclass
class RunMirror:
    """What the server has of one run; what is about to be sent is compared with it.

    Attributes:
        run_id: Id of the run.
        params: Its parameters, which can never change.
        tags: Its tags.
        figures: The latest value of each metric.
        epochs: Epochs whose metrics it has.
        datasets: (name, digest) of its data sets.
    """

    run_id: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    epochs: set[int] = field(default_factory=set)
    datasets: set[tuple[str, str]] = field(default_factory=set)
    status: str = "RUNNING"


class RunDirectory:
    """Knows which MLflow run belongs to which part of our run.

    Ids are kept in the outbox. A creation whose answer was lost (a crash, an outage) has left
    a run that no one knows: so before the first creation after a start or a failure, the
    server is asked once for all our runs, by their tags.

    Args:
        client: The MLflow client.
        experiment_id: Experiment of all runs.
        outbox: Where ids are kept.
    """

    def __init__(self, client: Any, experiment_id: str, outbox: Outbox) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._outbox = outbox
        self._ids = outbox.run_ids()
        self._mirrors: dict[str, RunMirror] = {}
        self._candidates: list[Any] | None = None

    def parent(self, event: Event) -> RunMirror:
        """The run of the whole, found or created."""
        return self.mirror(RUN_KEY, event)

    def mirror(self, key: str, event: Event) -> RunMirror:
        """The run of `key`, as the server has it; found or created if it is not known."""
        parent_id = None if key == RUN_KEY else self.parent(event).run_id
        run_id = self._ids.get(key)
        if run_id is not None:
            known = self._mirrors.get(run_id) or self._load(key, run_id)
            if known is not None:
                return known
        adopted = self._adopt(key, event, parent_id)
        return adopted or self._create(key, event, parent_id)

    def strays(self, event: Event) -> list[str]:
        """Doubles of our runs that lost answers left behind.

        A double comes from the same event as the known run, so that both started at the same
        millisecond; a run that merely has the same name did not.
        """
        parent_id = self.parent(event).run_id
        runs = self._search("mlflow.parentRunId", parent_id)
        runs += self._search("tuner.key", _full_key(event, RUN_KEY))
        known = set(self._ids.values())
        ours = {_identity(run) for run in runs if run.info.run_id in known}
        return sorted(
            run.info.run_id
            for run in runs
            if run.info.run_id not in known and _identity(run) in ours
        )

    def _create(self, key: str, event: Event, parent_id: str | None) -> RunMirror:
        tags = {
            "tuner.run": event["run"],
            "tuner.key": _full_key(event, key),
            **event.get("tags", {}),
        }
        if parent_id is not None:
            tags["mlflow.parentRunId"] = parent_id
        name = event.get("name") or (event["run"] if key == RUN_KEY else key.replace("/", " #"))
        run = self._client.create_run(
            self._experiment_id, start_time=event["time_ms"], tags=tags, run_name=name
        )
        mirror = RunMirror(run.info.run_id, tags=dict(run.data.tags))
        self._mirrors[mirror.run_id] = mirror
        self._remember(key, mirror.run_id)
        if key == RUN_KEY:
            self._candidates = []  # nothing can lie beneath a run that was created just now
        return mirror

    def _load(self, key: str, run_id: str) -> RunMirror | None:
        """Ask the server for a run; None (and the id forgotten) if it no longer exists."""
        try:
            run = self._client.get_run(run_id)
        except Exception as error:
            if not is_unknown_resource(error):
                raise
            self._ids.pop(key, None)
            self._outbox.forget_run_id(key)
            return None
        mirror = RunMirror(run_id, dict(run.data.params), dict(run.data.tags))
        mirror.figures = dict(run.data.metrics)
        mirror.status = run.info.status
        inputs = run.inputs.dataset_inputs if run.inputs else []
        mirror.datasets = {(item.dataset.name, item.dataset.digest) for item in inputs}
        if "epoch" in mirror.figures:
            history = self._client.get_metric_history(run_id, "epoch")
            mirror.epochs = {int(point.value) for point in history}
        self._mirrors[run_id] = mirror
        return mirror

    def _adopt(self, key: str, event: Event, parent_id: str | None) -> RunMirror | None:
        """Find a run that the server has and we do not know."""
        if parent_id is None:
            found = self._search("tuner.key", _full_key(event, RUN_KEY))
            found = [run for run in found if _fits(run, event, "tuner.uid")]
        else:
            if self._candidates is None:
                self._candidates = self._search("mlflow.parentRunId", parent_id)
            full_key = _full_key(event, key)
            found = [run for run in self._candidates if run.data.tags.get("tuner.key") == full_key]
            found = [run for run in found if _fits(run, event, "tuner.fingerprint")]
        if not found:
            return None
        self._remember(key, found[0].info.run_id)
        return self._load(key, found[0].info.run_id)

    def _search(self, tag: str, value: str) -> list[Any]:
        quoted = f"'{value}'" if "'" not in value else f'"{value}"'
        runs: list[Any] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                *([self._experiment_id], f"tags.`{tag}` = {quoted}"),
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            runs.extend(page)
            token = page.token
            if not token:
                return runs

    def _remember(self, key: str, run_id: str) -> None:
        self._outbox.remember_run_id(key, run_id)
        self._ids[key] = run_id


def _full_key(event: Event, key: str) -> str:
    return event["run"] if key == RUN_KEY else f"{event['run']}/{key}"


def _fits(run: Any, event: Event, tag: str) -> bool:
    """Whether a run is the one meant, not another of the same name.

    Two people may choose one run name (told apart by `tuner.uid`, if given), and a trial number
    may have shown another training (told apart by its fingerprint).
    """
    ours = event.get("tags", {}).get(tag)
    return ours is None or run.data.tags.get(tag) == ours


def _identity(run: Any) -> tuple[str, int]:
    return (run.data.tags.get("tuner.key", ""), run.info.start_time)
