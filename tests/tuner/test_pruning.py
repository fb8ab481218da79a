"""Whatever the order of events and whoever is killed, the same trials go on at each rung."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces import GreedySpace
from tests.fakes.hand_tune import Disk, HandTune, noisy_bowl
from tests.fakes.listener import RecordingListener
from tests.tuner.protocol.test_greedy import DyingStorage
from tuner.adapters.jsonl_tracker import JsonlTracker, read_events
from tuner.adapters.optuna_pruner import build_pruner
from tuner.adapters.optuna_sampler import build_sampler
from tuner.adapters.optuna_store import OptunaStudyStore
from tuner.engine import Ports, run_protocol
from tuner.errors import RunFailedError
from tuner.ports import Pruner, RunInfo, Sampler
from tuner.protocol.stages import Protocol, PrunerKind, SamplerKind, build_greedy_protocol
from tuner.recording import read_history
from tuner.records import TrialRequest, TrialState

EPOCHS = 9
SPACE = GreedySpace.model_validate(
    {
        "name": "dozen",
        "stages": {
            "lr_p": {"lr_p": {"grid": [n * 1e-4 for n in range(1, 8)]}},
            "lr_l": {
                "lr_l": {"grid": [1e-5, 3e-5, 9e-5]},
                "alpha": {"grid": [1e-3, 2e-3, 4e-3, 8e-3]},
            },
            "alpha": {"alpha": {"grid": [n * 1e-3 for n in range(1, 7)]}},
        },
    }
)
KINDS: tuple[PrunerKind, ...] = ("asha", "median", "hyperband")


def protocol(
    pruner: PrunerKind, *, sampler: SamplerKind = "grid", asynchronous: bool = False
) -> Protocol:
    return build_greedy_protocol(
        "run",
        seed=0,
        space=SPACE,
        base={"loss_net": "graph", "epochs": EPOCHS},
        baseline={"loss_net": "none", "epochs": EPOCHS},
        sampler=sampler,
        trials=dict.fromkeys(("lr_p", "lr_l", "alpha"), 8),
        batch_size=4,
        pruner=pruner,
        asynchronous=asynchronous,
    )


def broken(request: TrialRequest) -> bool:
    return request.trial == 2


class World:
    """What outlives a driver, and a way to start drivers on it."""

    def __init__(self, folder: Path, chosen: Protocol) -> None:
        self.storage = DyingStorage()
        self.store = OptunaStudyStore(self.storage)
        self.disk = Disk()
        self.folder = folder
        self.protocol = chosen
        self.lives = 0
        self.listener = RecordingListener()

    def run(self, seed: int, **options: Any) -> HandTune:
        options = {"broken": broken, **options}
        runner = HandTune(self.disk, random.Random(seed), **options)
        tracker = JsonlTracker(self.folder / "tracking.jsonl")
        tracker.start_run(RunInfo(run="run", tags={}, params={}, dataset={}))
        self.lives += 1
        try:
            run_protocol(
                self.protocol,
                Ports(
                    store=self.store,
                    runner=runner,
                    tracker=tracker,
                    listener=self.listener,
                    sampler_for=self._sampler,
                    pruner_for=self._pruner,
                ),
            )
        finally:
            tracker.close(timeout_s=1.0)
        return runner

    def run_through_deaths(self, seed: int, **options: Any) -> None:
        while self.lives < 12:
            try:
                self.run(seed + self.lives, **options)
                return
            except KeyboardInterrupt:
                continue
        self.run(seed, broken=options.get("broken", broken))

    def _sampler(self, stage: str) -> Sampler:
        return build_sampler("tpe", seed=self.protocol.seed, stage=stage)

    def _pruner(self, stage: str) -> Pruner | None:
        kind = next(item.pruner for item in self.protocol.stages if item.name == stage)
        return build_pruner(kind, stage=stage, epochs=EPOCHS)

    def outcome(self) -> dict[str, list[tuple[Any, ...]]]:
        return {
            stage: [
                (t.number, t.state, t.value, t.epochs, t.best_epoch, t.curve, _reason(t.outcome))
                for t in study.trials
            ]
            for stage, study in read_history(self.protocol, self.store).items()
        }


def _reason(outcome: Any) -> str:
    return "" if outcome is None else outcome.reason


REFERENCES: dict[tuple[PrunerKind, SamplerKind], World] = {}


def reference(pruner: PrunerKind, sampler: SamplerKind) -> World:
    """The search as one worker does it, one trial after another, undisturbed."""
    if (pruner, sampler) not in REFERENCES:
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder), protocol(pruner, sampler=sampler))
            world.run(0, slots=1)
        REFERENCES[pruner, sampler] = world
    return REFERENCES[pruner, sampler]


@pytest.mark.parametrize("kind", KINDS)
def test_trials_that_fall_behind_are_stopped_at_a_rung(kind: PrunerKind) -> None:
    world = reference(kind, "grid")
    pruned = 0
    for stage, study in read_history(world.protocol, world.store).items():
        pruner = build_pruner(kind, stage=stage, epochs=EPOCHS)
        assert pruner is not None
        frozen = optuna.load_study(study_name=f"run/{stage}", storage=world.storage).trials
        assert study.result is not None
        assert study.trials[study.result.winner].state is TrialState.FINISHED
        for trial in study.trials:
            if trial.state is TrialState.PRUNED:
                pruned += 1
                assert trial.epochs in pruner.rungs(pruner.bracket(trial.number))
                assert frozen[trial.number].state is optuna.trial.TrialState.PRUNED
                assert frozen[trial.number].last_step == trial.epochs
                assert f"go on ({kind})" in _reason(trial.outcome)
            elif trial.state is TrialState.FINISHED and trial.imported_from is None:
                assert trial.epochs == EPOCHS
    assert pruned >= 5
    assert set(world.disk.trained.values()) == {1}


def test_a_third_goes_on_past_each_rung_of_asha() -> None:
    trials = reference("asha", "grid").outcome()["2-lr_l"]
    lengths = sorted(epochs for _, _, _, epochs, *_ in trials)
    # all twelve come to the rung after epoch 1, and four go on; one breaks in its third epoch,
    # three come to the rung after it, and one goes on
    assert lengths == [1] * 8 + [2] + [3] * 2 + [9]
    first = next(row for row in trials if row[3] == 1)
    assert first[-1] == "stopped after epoch 1 of 9: 4 of 12 go on (asha)"


def any_order(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test for pruners, samplers, orders of events and numbers of workers."""
    drawn = given(
        kind=st.sampled_from(KINDS),
        sampler=st.sampled_from(("grid", "tpe")),
        seed=st.integers(0, 10**6),
        slots=st.integers(1, 7),
    )
    few = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    return few(drawn(test))


@any_order
def test_no_order_of_events_changes_who_goes_on(
    kind: PrunerKind, sampler: SamplerKind, seed: int, slots: int
) -> None:
    expected = reference(kind, sampler)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), protocol(kind, sampler=sampler))
        world.run_through_deaths(seed, slots=slots, worker_deaths=0.1)
    assert world.outcome() == expected.outcome()
    assert world.disk.trained == expected.disk.trained


@any_order
def test_no_death_of_a_driver_changes_who_goes_on(
    kind: PrunerKind, sampler: SamplerKind, seed: int, slots: int
) -> None:
    expected = reference(kind, sampler)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), protocol(kind, sampler=sampler))
        deaths = {"worker_deaths": 0.05, "driver_deaths": 0.04}
        world.run_through_deaths(seed, slots=slots, **deaths)
        events = read_events(world.folder / "tracking.jsonl")
    assert world.outcome() == expected.outcome()
    assert world.disk.trained == expected.disk.trained
    epochs = [(e["key"], e["epoch"]) for e in events if e["kind"] == "epoch"]
    assert len(epochs) == len(set(epochs))
    shown = {e["key"]: e["kind"] for e in events if e["kind"].startswith("trial_")}
    assert set(shown.values()) == {"trial_ended"}


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(KINDS),
    death=st.floats(0, 1, exclude_max=True),
    late=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_no_death_at_a_write_changes_who_goes_on(
    kind: PrunerKind, death: float, late: bool, seed: int
) -> None:
    expected = reference(kind, "grid")
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), protocol(kind))
        world.storage.dies_at = 1 + int(death * expected.storage.writes * 0.95)
        world.storage.dies_late = late
        with pytest.raises(KeyboardInterrupt):
            world.run(seed)
        world.run(seed + 1)
    assert world.outcome() == expected.outcome()
    assert world.disk.trained == expected.disk.trained


def test_workers_take_up_other_trials_while_one_waits_at_a_rung(tmp_path: Path) -> None:
    world = World(tmp_path, protocol("asha"))
    runner = world.run(3, slots=2)
    assert runner.most_at_once == 2
    # 2 of 12 are at work when the others have come, and the last need not wait
    assert len([key for key in world.listener.parked if key[0] == "2-lr_l"]) >= 11
    assert world.outcome() == reference("asha", "grid").outcome()


def test_judged_at_once_early_comers_go_on_that_would_not_otherwise(tmp_path: Path) -> None:
    world = World(tmp_path, protocol("asha", asynchronous=True))
    world.run(0, slots=1)
    trials = world.outcome()["2-lr_l"]
    # alone at its rung, the first has nobody to fall behind
    assert (trials[0][1], trials[0][3]) == (TrialState.FINISHED, EPOCHS)
    stopped = [row for row in trials if row[1] is TrialState.PRUNED]
    assert stopped
    assert all("(asha, asynchronous)" in row[-1] for row in stopped)
    definition = read_history(world.protocol, world.store)["2-lr_l"].spec.definition
    assert (definition["pruner"], definition["asynchronous"]) == ("asha", True)


def test_a_stage_without_a_pruner_is_defined_as_before_there_was_one() -> None:
    definition = protocol("none").stages[0].definition({}, seed=0)
    assert "pruner" not in definition
    assert "asynchronous" not in definition


def breaks_in_epoch_3(request: TrialRequest) -> bool:
    """Every survivor of the first rung of `asha` ends without a result."""
    return request.stage == "2-lr_l"


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_who_was_stopped_for_a_survivor_that_failed_is_tried_once_more(
    tmp_path: Path, sampler: SamplerKind
) -> None:
    world = World(tmp_path, protocol("asha", sampler=sampler))
    budget = 12 if sampler == "grid" else 8
    for rounds in (1, 2):
        with pytest.raises(RunFailedError, match="the trials of this stage are tried once more"):
            world.run(0, broken=breaks_in_epoch_3)
        states = [row[1] for row in world.outcome()["2-lr_l"]]
        assert len(states) == budget * rounds
        assert {TrialState.PRUNED, TrialState.FAILED} == set(states)
    # judged among themselves: all are worse than whoever was there before
    world.run(0, curve=lambda spec, epoch: 100.0 + noisy_bowl(spec, epoch))
    trials = world.outcome()["2-lr_l"]
    assert len(trials) == budget * 3
    assert TrialState.FINISHED in {row[1] for row in trials[-budget:]}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 7))
def test_no_death_changes_who_goes_on_when_a_stage_is_tried_once_more(
    seed: int, slots: int
) -> None:
    outcomes = []
    for deaths in ({}, {"worker_deaths": 0.05, "driver_deaths": 0.04}):
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder), protocol("asha"))
            with pytest.raises(RunFailedError, match="no trial of stage 2-lr_l finished"):
                world.run_through_deaths(seed, slots=slots, broken=breaks_in_epoch_3, **deaths)
            world.lives = 0
            world.run_through_deaths(seed, slots=slots, **deaths)
        outcomes.append(world.outcome())
    assert outcomes[0] == outcomes[1]
