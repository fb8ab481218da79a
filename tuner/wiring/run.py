"""One greedy run, from a plan to its report: builds the adapters and calls the engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from trainables.ray_trainable import SealTrainable
from tuner.adapters.optuna_sampler import build_sampler
from tuner.adapters.ray_runner import RayTuneRunner
from tuner.adapters.ray_session import RaySession
from tuner.engine import Ports, open_run, run_protocol
from tuner.errors import ConfigurationError
from tuner.greedy_config import GreedyConfig
from tuner.ports import EngineListener, Sampler, StudyStore
from tuner.protocol.actions import Finished
from tuner.protocol.greedy import next_action
from tuner.records import StudyHistory
from tuner.reports.run_summary import RunSummary
from tuner.reports.summary import RUN_CONFIG
from tuner.session import keep_tracking_ids, read_history
from tuner.settings import Locations
from tuner.wiring.plan import Plan, plan_greedy
from tuner.wiring.signals import terminable
from tuner.wiring.stores import load_histories, open_store, summarise_run
from tuner.wiring.tracked import TrackedRun, deliver_spooled, tracked_run

__all__ = ["ResumeMode", "run_greedy"]

ResumeMode = Literal["auto", "never", "must"]

UID = "uid"
"""Attribute of the first study: identity of this run, for the tracker."""

REPORTED = "reported"
"""Attribute of the first study: the report is written and the tracker told of the end."""


def run_greedy(
    config: GreedyConfig,
    locations: Locations,
    listener: EngineListener,
    *,
    resume: ResumeMode = "auto",
) -> RunSummary:
    """Run the greedy protocol to its end, or go on with it.

    Raises:
        ConfigurationError: If anything that was asked for is wrong; nothing was written.
        RunFailedError: If no trial of a stage finished.
        RunInterruptedError: After SIGINT or SIGTERM.
        StoreError: If the study store failed.
    """
    locations.run_folder(config.run_name)  # refuses a bad name before anything is loaded
    plan = plan_greedy(config)
    store = open_store(locations)
    history = read_history(plan.protocol, store)
    _check_resume(plan.protocol.run, bool(history), resume)
    finished = isinstance(next_action(plan.protocol, history), Finished)
    with terminable():
        if not finished:
            _search_and_report(plan, locations, store, listener)
        elif not history[plan.protocol.stages[0].name].attributes.get(REPORTED):
            with _shown(plan, locations, store, listener):
                listener.on_message("the search had finished; its report is still to be written")
        else:
            deliver_spooled(locations, plan.protocol.run)
    return summarise_run(locations, store, plan.protocol.run)


def _check_resume(run: str, exists: bool, resume: ResumeMode) -> None:
    if resume == "never" and exists:
        raise ConfigurationError(f"--resume never: run {run!r} exists; choose another --name")
    if resume == "must" and not exists:
        raise ConfigurationError(f"--resume must: there is no run {run!r} in this storage")


def _search_and_report(
    plan: Plan,
    locations: Locations,
    store: StudyStore,
    listener: EngineListener,
) -> None:
    """Bring an unfinished run to its end. Ray comes first: without it nothing is written."""
    config = plan.config
    with RaySession(config.address) as session:
        gpus = config.gpus_per_trial
        gpus = float(session.has_gpus()) if gpus is None else gpus
        session.concurrency(cpus=config.cpus_per_trial, gpus=gpus)
        runner = RayTuneRunner(
            trainable=SealTrainable,
            dataset=plan.dataset,
            checkpoint_root=locations.checkpoints,
            scratch=locations.run_folder(plan.protocol.run) / "scratch",
            max_concurrent=config.max_concurrent,
            cpus_per_trial=config.cpus_per_trial,
            gpus_per_trial=gpus,
            max_failures=config.max_failures,
            threads=max(1, int(config.cpus_per_trial)),
        )
        with _shown(plan, locations, store, listener) as tracked:
            ports = Ports(store, runner, tracked.tracker, listener, _sampler_for(plan))
            run_protocol(plan.protocol, ports)


@contextmanager
def _shown(
    plan: Plan, locations: Locations, store: StudyStore, listener: EngineListener
) -> Iterator[TrackedRun]:
    """Show the run in the tracker; if the block ends well, report it as finished."""
    run = plan.protocol.run
    first = open_run(plan.protocol, store)
    uid = first.attributes.get(UID) or uuid.uuid4().hex
    _keep(store, first, {UID: uid, RUN_CONFIG: plan.config.model_dump(mode="json")})
    with tracked_run(plan, locations, listener, uid=uid) as tracked:
        yield tracked
        _keep_tracking_ids(plan, store, tracked)
        tracked.finish(summarise_run(locations, store, run), load_histories(store, run))
        _keep(store, first, {REPORTED: True})
    _keep_tracking_ids(plan, store, tracked)


def _keep_tracking_ids(plan: Plan, store: StudyStore, tracked: TrackedRun) -> None:
    keep_tracking_ids(plan.protocol, store, tracked.tracker)
    run_id = tracked.tracker.run_ids().get(("", None))
    if run_id is not None:
        _keep(store, open_run(plan.protocol, store), {"mlflow_run_id": run_id})


def _keep(store: StudyStore, study: StudyHistory, facts: Mapping[str, object]) -> None:
    for key, value in facts.items():
        if study.attributes.get(key) != value:
            store.annotate(study.spec.study_name, key, value)


def _sampler_for(plan: Plan) -> Callable[[str], Sampler]:
    config = plan.config

    def build(stage: str) -> Sampler:
        return build_sampler(config.sampler, seed=config.seed, stage=stage)

    return build
