"""One greedy run, from a plan to its report: builds the adapters and calls the engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Literal

from trainables.ray_trainable import SealTrainable
from tuner.adapters.optuna_pruner import build_pruner
from tuner.adapters.optuna_sampler import build_sampler
from tuner.adapters.ray_runner import RayTuneRunner
from tuner.adapters.ray_session import RaySession
from tuner.cache import TrialCache
from tuner.engine import Ports, check_run, open_run, run_protocol
from tuner.errors import ConfigurationError
from tuner.fenced import FencedTracker
from tuner.greedy_config import GreedyConfig
from tuner.ports import EngineListener, Pruner, Sampler, StudyStore, Tracker
from tuner.protocol.actions import Finished
from tuner.protocol.greedy import next_action
from tuner.protocol.stages import stage_of
from tuner.recording import keep_tracking_ids
from tuner.records import StudyHistory
from tuner.reports.run_summary import RunSummary
from tuner.reports.summary import DATA_NOTES, RUN_CONFIG
from tuner.settings import Locations
from tuner.wiring.checkpoint_keeper import keeper_of
from tuner.wiring.checkpoint_nodes import check_root_on_nodes
from tuner.wiring.checkpoints import check_checkpoint_root, checkpoint_root, pretraining_root
from tuner.wiring.driving import DRIVER_ATTEMPT, Driving, driving
from tuner.wiring.extending import check_through
from tuner.wiring.lock import driver_lock
from tuner.wiring.placement import placement_of
from tuner.wiring.plan import Plan, plan_greedy
from tuner.wiring.reported import report_digest
from tuner.wiring.signals import terminable
from tuner.wiring.stores import load_histories, open_store, store_exists, summarise_run
from tuner.wiring.tracked import TrackedRun, deliver_spooled, tracked_run

__all__ = ["ResumeMode", "run_greedy"]

ResumeMode = Literal["auto", "never", "must"]

UID = "uid"
"""Attribute of the first study: identity of this run, for the tracker."""

REPORTED = "reported"
"""Attribute of the first study: digest of what the last report says, kept when it was written
and the tracker was told of the end."""


def run_greedy(
    config: GreedyConfig,
    locations: Locations,
    listener: EngineListener,
    *,
    resume: ResumeMode = "auto",
    prepare: Callable[[StudyStore], None] | None = None,
) -> RunSummary:
    """Run the greedy protocol to its end, or go on with it.

    Args:
        config: What was asked for.
        locations: Where everything is kept.
        listener: Who is told how the run proceeds.
        resume: Whether a run of this name may or must exist.
        prepare: Changes a run in the store before it goes on, while no other driver has it; the
            run must be through with everything else.

    Raises:
        ConfigurationError: If anything that was asked for is wrong; nothing was written.
        RunFailedError: If no trial of a stage finished.
        RunInterruptedError: After SIGINT or SIGTERM.
        StoreError: If the study store failed, or was away for longer than its patience.
        LeaseLostError: If another driver took the run over.
    """
    folder = locations.run_folder(config.run_name)  # refuses a bad name before anything is loaded
    new = not store_exists(locations)
    if new and resume == "must":
        raise ConfigurationError(f"--resume must: there is no run {config.run_name!r} yet")
    plan = plan_greedy(config)
    with terminable(), closing(RaySession(config.address)) as session:
        if prepare is not None:
            _check_through(plan, open_store(locations))
        if new or prepare is not None:  # what is refused is refused before anything is written
            check_checkpoint_root(config)
            placement_of(config, session)
        store = open_store(locations)
        history = check_run(plan.protocol, store)
        _check_resume(plan.protocol.run, bool(history), resume)
        run, patience_s = plan.protocol.run, config.store_patience_s
        with (
            driver_lock(folder, run),
            driving(locations, run, store, listener, patience_s=patience_s) as drive,
        ):
            if prepare is not None:
                _check_through(plan, drive.store)  # another driver may have been there meanwhile
                prepare(drive.store)
            _bring_to_end(plan, locations, drive, listener, session)
            return summarise_run(locations, drive.store, run)


def _check_resume(run: str, exists: bool, resume: ResumeMode) -> None:
    if resume == "never" and exists:
        raise ConfigurationError(f"--resume never: run {run!r} exists; choose another --name")
    if resume == "must" and not exists:
        raise ConfigurationError(f"--resume must: there is no run {run!r} in this storage")


def _bring_to_end(
    plan: Plan,
    locations: Locations,
    drive: Driving,
    listener: EngineListener,
    session: RaySession,
) -> None:
    """Do whatever is left of a run: search, report, or deliver what tracking still lacks."""
    store = drive.store
    history = check_run(plan.protocol, store)
    if not isinstance(next_action(plan.protocol, history), Finished):
        check_checkpoint_root(plan.config)
        runner = _runner(plan, locations, session)
        keeper = keeper_of(plan.config, locations, store)
        with _shown(plan, locations, drive, listener) as tracked:
            cache = TrialCache(store, plan.protocol.run) if plan.config.cache else None
            ports = Ports(
                store=store,
                runner=runner,
                tracker=FencedTracker(tracked.tracker, drive.lease),
                listener=listener,
                sampler_for=_sampler_for(plan),
                cache=cache,
                keeper=keeper,
                pruner_for=_pruner_for(plan),
            )
            run_protocol(plan.protocol, ports)
    elif not _is_reported(plan, store, history):
        with _shown(plan, locations, drive, listener):
            listener.on_message("everything is done; its report is still to be written")
    else:
        folder = locations.run_folder(plan.protocol.run)
        tracker = deliver_spooled(locations, folder, listener)
        _keep_tracking_ids(plan, store, tracker)


def _check_through(plan: Plan, store: StudyStore) -> None:
    history = check_run(plan.protocol, store)
    reported = _is_reported(plan, store, history)
    check_through(plan.protocol, history, reported=reported)


def _is_reported(plan: Plan, store: StudyStore, history: Mapping[str, StudyHistory]) -> bool:
    """Whether the last report says all that the store holds."""
    first = history.get(plan.protocol.stages[0].name)
    kept = None if first is None else first.attributes.get(REPORTED)
    return kept == report_digest(load_histories(store, plan.protocol.run))


def _runner(plan: Plan, locations: Locations, session: RaySession) -> RayTuneRunner:
    config = plan.config
    folder = locations.run_folder(plan.protocol.run)
    placement = placement_of(config, session)
    check_root_on_nodes(config, locations, session, placement)
    return RayTuneRunner(
        trainable=SealTrainable,
        dataset=plan.dataset,
        checkpoint_root=checkpoint_root(config, locations, plan.protocol.run),
        pretraining_root=pretraining_root(config, locations),
        scratch=folder / "scratch",
        max_concurrent=config.max_concurrent,
        placement=placement,
        max_failures=config.max_failures,
        interrupt_grace_s=config.interrupt_grace_s,
        session=session,
    )


@contextmanager
def _shown(
    plan: Plan, locations: Locations, drive: Driving, listener: EngineListener
) -> Iterator[TrackedRun]:
    """Show the run in the tracker; if the block ends well, report it as finished."""
    run, store, attempt = plan.protocol.run, drive.store, drive.lease.attempt
    first = open_run(plan.protocol, store)
    uid = first.attributes.get(UID) or uuid.uuid4().hex
    asked = plan.config.model_dump(mode="json")
    facts = {UID: uid, RUN_CONFIG: asked, DATA_NOTES: list(plan.notes), DRIVER_ATTEMPT: attempt}
    _keep(store, first, facts)
    for note in plan.notes:
        listener.on_message(f"note: {note}")
    with tracked_run(plan, locations, listener, uid=uid, attempt=attempt) as tracked:
        yield tracked
        _keep_tracking_ids(plan, store, tracked.tracker)
        histories = load_histories(store, run)
        tracked.finish(summarise_run(locations, store, run), histories)
    # Only now is the run's end in the tracker's spool; until then the report would be repeated.
    _keep(store, first, {REPORTED: report_digest(histories)})
    _keep_tracking_ids(plan, store, tracked.tracker)


def _keep_tracking_ids(plan: Plan, store: StudyStore, tracker: Tracker) -> None:
    keep_tracking_ids(plan.protocol, store, tracker)
    run_id = tracker.run_ids().get(("", None))
    if run_id is not None:
        _keep(store, open_run(plan.protocol, store), {"mlflow_run_id": run_id})


def _keep(store: StudyStore, study: StudyHistory, facts: Mapping[str, object]) -> None:
    for key, value in facts.items():
        if study.attributes.get(key) != value:
            store.annotate(study.spec.study_name, key, value)


def _sampler_for(plan: Plan) -> Callable[[str], Sampler]:
    def build(label: str) -> Sampler:
        kind = stage_of(plan.protocol, label).sampler
        # a grid has no point beyond itself: what it is extended by, TPE proposes
        learned = "tpe" if kind == "grid" else kind
        return build_sampler(learned, seed=plan.config.seed, stage=label)

    return build


def _pruner_for(plan: Plan) -> Callable[[str], Pruner | None]:
    def build(name: str) -> Pruner | None:
        stage = stage_of(plan.protocol, name)
        return build_pruner(stage.pruner, stage=name, epochs=int(stage.base["epochs"]))

    return build
