"""Trainings that any run of a store has finished are not paid for again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.table_runner import TableRunner
from tests.tuner.protocol.test_greedy import ALL_ALPHA, World, grids, protocol, table
from tuner.adapters.jsonl_tracker import JsonlTracker, read_events
from tuner.adapters.optuna_sampler import build_sampler
from tuner.cache import TrialCache
from tuner.engine import Ports, run_protocol
from tuner.ports import RunInfo, Sampler
from tuner.protocol.greedy import study_spec
from tuner.protocol.stages import Protocol
from tuner.recording import read_history
from tuner.records import TrialRecord, TrialSpec, TrialState

SPACE = grids([5e-5, 1e-4], [1e-3, 5e-3], ALL_ALPHA)
TRAININGS = 1 + 4 + 6
"""The baseline, stage 2's grid, and what stage 3 does not take over from stage 2."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def run(world: World) -> Callable[..., TableRunner]:
    def carry_out(chosen: Protocol, *, cached: bool = True) -> TableRunner:
        def sampler_for(stage: str) -> Sampler:
            return build_sampler("tpe", seed=chosen.seed, stage=stage)

        runner = TableRunner(table())
        tracker = JsonlTracker(world.folder / f"{chosen.run}.jsonl")
        tracker.start_run(RunInfo(run=chosen.run, tags={}, params={}, dataset={}))
        cache = TrialCache(world.store, chosen.run) if cached else None
        ports = Ports(world.store, runner, tracker, world.listener, sampler_for, cache)
        run_protocol(chosen, ports)
        tracker.close(timeout_s=1.0)
        return runner

    return carry_out


def named(name: str, *, seed: int = 0) -> Protocol:
    return dataclasses.replace(protocol(SPACE), run=name, seed=seed)


def trials(world: World, chosen: Protocol) -> list[TrialRecord]:
    return [
        trial for study in read_history(chosen, world.store).values() for trial in study.trials
    ]


def test_the_same_search_under_another_name_trains_nothing(
    world: World, run: Callable[..., TableRunner]
) -> None:
    assert len(run(named("first")).trained) == TRAININGS
    assert run(named("second")).trained == []
    first, second = trials(world, named("first")), trials(world, named("second"))
    assert [t.value for t in first] == [t.value for t in second]
    assert [t.spec.fingerprint for t in first] == [t.spec.fingerprint for t in second]
    for one, other in zip(first, second, strict=True):
        carried = one.imported_from and one.imported_from.replace("first/", "second/")
        assert other.imported_from in (carried, *names_of(first, "first"))


def names_of(found: list[TrialRecord], run_name: str) -> list[str]:
    stages = ("1-lr_p", "2-lr_l", "3-alpha")
    return [f"{run_name}/{stage}#{trial.number}" for trial in found for stage in stages]


def test_a_cached_trial_is_shown_with_where_it_comes_from(
    world: World, run: Callable[..., TableRunner]
) -> None:
    run(named("first"))
    run(named("second"))
    shown = read_events(world.folder / "second.jsonl")
    origins = [
        e["tags"]["tuner.imported_from"]
        for e in shown
        if "tuner.imported_from" in e.get("tags", {})
    ]
    assert "first/1-lr_p#0" in origins
    assert len(origins) == len(trials(world, named("second")))


def test_another_seed_is_another_training(run: Callable[..., TableRunner]) -> None:
    run(named("first"))
    assert len(run(named("second", seed=1)).trained) == TRAININGS


def test_without_the_cache_everything_is_trained(run: Callable[..., TableRunner]) -> None:
    run(named("first"))
    assert len(run(named("second"), cached=False).trained) == TRAININGS


def test_a_copy_names_the_training_itself_and_not_another_copy(
    world: World, run: Callable[..., TableRunner]
) -> None:
    for name in ("first", "second", "third"):
        run(named(name))
    baseline = read_history(named("third"), world.store)["1-lr_p"].trials[0]
    assert baseline.imported_from == "first/1-lr_p#0"


def test_within_a_run_a_point_proposed_again_is_not_trained_again(
    world: World, run: Callable[..., TableRunner]
) -> None:
    run(named("first"))
    history = read_history(named("first"), world.store)
    done = history["2-lr_l"].trials[2]
    assert done.state is TrialState.FINISHED
    again = dataclasses.replace(done.spec, seed=done.spec.seed + 1)
    cache = TrialCache(world.store, "first")
    found = cache.known(history, any_seed=True).find(again)
    assert found is not None
    assert found[0] == "first/2-lr_l#2"
    assert cache.known(history, any_seed=False).find(again) is None


def test_results_of_an_earlier_trainer_do_not_count(
    world: World, run: Callable[..., TableRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(named("first"))
    monkeypatch.setattr("tuner.records.TRAINING_VERSION", 2)
    assert len(run(named("second")).trained) == TRAININGS


def test_only_finished_trials_count(world: World) -> None:
    chosen = named("first")
    spec = TrialSpec(base=chosen.stages[0].base, params={"lr_p": 1e-4}, seed=7)
    world.store.open_study(study_spec(chosen, chosen.stages[0], {}))
    world.store.ask("first/1-lr_p", spec)
    cache = TrialCache(world.store, "second")
    assert cache.known({}, any_seed=False).find(spec) is None
