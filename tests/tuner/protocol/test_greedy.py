"""The greedy protocol over a real study store and the paper's sweep (Table 8)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from search_spaces import GreedySpace
from tests.fakes.listener import RecordingListener
from tests.fakes.table_runner import Point, TableRunner, point_of, read_sweep
from tuner.adapters.jsonl_tracker import JsonlTracker, read_events
from tuner.adapters.optuna_sampler import build_sampler
from tuner.adapters.optuna_store import OptunaStudyStore
from tuner.cache import TrialCache
from tuner.engine import Ports, check_run, run_protocol
from tuner.errors import DefinitionMismatchError, RunFailedError, StoreError
from tuner.ports import CheckpointKeeper, RunInfo, Sampler
from tuner.protocol.actions import AskTrials, Finished, RunTrials
from tuner.protocol.greedy import next_action, study_spec
from tuner.protocol.stages import Protocol, SamplerKind, build_greedy_protocol
from tuner.recording import Recorder, read_history
from tuner.records import TrialState

SWEEP = read_sweep(Path(__file__).parents[2] / "fakes" / "table8.csv")
BASELINE_MM = 66.4
STAGES = ("1-lr_p", "2-lr_l", "3-alpha")


def table() -> dict[Point, float]:
    """The sweep, and the paper's own outcome of stage 1 (lr_p = 1e-4, baseline 66.4 mm)."""
    return {**SWEEP, point_of({"lr_p": 1e-4}): BASELINE_MM}


def grids(lr_l: list[float], early: list[float], late: list[float]) -> GreedySpace:
    return GreedySpace.model_validate(
        {
            "name": "table8",
            "stages": {
                "lr_p": {"lr_p": {"grid": [1e-4]}},
                "lr_l": {"lr_l": {"grid": lr_l}, "alpha": {"grid": early}},
                "alpha": {"alpha": {"grid": late}},
            },
        }
    )


ALL_LR_L = [1e-5, 2e-5, 3e-5, 4e-5, 5e-5, 1e-4]
ALL_ALPHA = [1e-4, 5e-4, 1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 1e-2]
# alphas of stage 2, alphas of stage 3: the whole table at once, and two coarse-to-fine ways
BUDGETS = [(ALL_ALPHA, ALL_ALPHA), ([1e-3, 5e-3], ALL_ALPHA), ([2e-3, 5e-3], ALL_ALPHA[:6])]


def protocol(
    space: GreedySpace, *, sampler: SamplerKind = "grid", trials: int = 0, batch_size: int = 4
) -> Protocol:
    return build_greedy_protocol(
        "run",
        seed=0,
        space=space,
        base={"loss_net": "graph", "epochs": 1},
        baseline={"loss_net": "none", "epochs": 1},
        sampler=sampler,
        trials=dict.fromkeys(("lr_p", "lr_l", "alpha"), trials),
        batch_size=batch_size,
    )


class World:
    """A store, and everything needed to run a protocol on it."""

    def __init__(self, folder: Path, storage: DyingStorage | None = None) -> None:
        self.storage = storage or DyingStorage()
        self.store = OptunaStudyStore(self.storage)
        self.listener = RecordingListener()
        self.folder = folder
        self.cached = False
        self.keeper: CheckpointKeeper | None = None

    def run(self, chosen: Protocol, runner: TableRunner) -> None:
        def sampler_for(stage: str) -> Sampler:
            return build_sampler("tpe", seed=chosen.seed, stage=stage)

        tracker = JsonlTracker(self.folder / "tracking.jsonl")
        tracker.start_run(RunInfo(run="run", tags={}, params={}, dataset={}))
        cache = TrialCache(self.store, chosen.run) if self.cached else None
        ports = Ports(
            self.store,
            runner,
            tracker,
            self.listener,
            sampler_for,
            cache,
            keeper=self.keeper,
        )
        try:
            run_protocol(chosen, ports)
        finally:
            tracker.close(timeout_s=1.0)

    def outcome(self, chosen: Protocol) -> list[tuple[str, int, tuple[float, ...], float | None]]:
        """Everything that a final table is made from."""
        return [
            (stage, t.number, tuple(t.spec.params.values()), t.value)
            for stage, study in read_history(chosen, self.store).items()
            for t in study.trials
        ]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(("early", "late"), BUDGETS)
def test_protocol_finds_the_papers_outcome(
    world: World, early: list[float], late: list[float]
) -> None:
    chosen = protocol(grids(ALL_LR_L, early, late))
    world.run(chosen, TableRunner(table()))
    results = [read_history(chosen, world.store)[stage].result for stage in STAGES]
    assert all(results)
    last = results[-1]
    assert last is not None
    assert last.params == {"lr_p": 1e-4, "lr_l": 1e-4, "alpha": 5e-3}
    assert last.value == pytest.approx(62.178)
    first = read_history(chosen, world.store)["1-lr_p"]
    assert first.result is not None
    assert first.trials[first.result.winner].test_metrics == {"mpjpe_mm": BASELINE_MM}


@pytest.mark.parametrize(("early", "late"), BUDGETS)
def test_stage_3_trains_no_configuration_that_stage_2_finished(
    world: World, early: list[float], late: list[float]
) -> None:
    chosen = protocol(grids(ALL_LR_L, early, late))
    runner = TableRunner(table())
    world.run(chosen, runner)
    points = [point_of(request.spec.params) for request in runner.trained]
    assert len(points) == len(set(points))
    carried = [
        trial.spec.params["alpha"]
        for trial in read_history(chosen, world.store)["3-alpha"].trials
        if trial.imported_from
    ]
    assert sorted(carried) == sorted(early)


def test_points_missing_from_the_table_fail_and_the_stage_goes_on(world: World) -> None:
    chosen = protocol(grids([4e-5, 1e-4], [2e-3, 5e-3], [5e-3]))  # (4e-5, 2e-3) has no row
    world.run(chosen, TableRunner(table()))
    states = [t.state for t in read_history(chosen, world.store)["2-lr_l"].trials]
    assert states.count(TrialState.FAILED) == 1
    result = read_history(chosen, world.store)["2-lr_l"].result
    assert result is not None
    assert "3 of 4 finished" in result.reason


class DyingStorage(optuna.storages.InMemoryStorage):
    """A storage whose process dies at its n-th write, before or after it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.dies_at: int | None = None
        self.dies_late = False

    def _write(self, name: str, *args: Any, **options: Any) -> Any:
        self.writes += 1
        dies = self.writes == self.dies_at
        if dies and not self.dies_late:
            raise KeyboardInterrupt
        try:
            return getattr(super(), name)(*args, **options)
        finally:
            if dies:
                raise KeyboardInterrupt

    def create_new_study(self, *args: Any, **options: Any) -> Any:
        return self._write("create_new_study", *args, **options)

    def create_new_trial(self, *args: Any, **options: Any) -> Any:
        return self._write("create_new_trial", *args, **options)

    def set_study_user_attr(self, *args: Any, **options: Any) -> Any:
        return self._write("set_study_user_attr", *args, **options)

    def set_trial_user_attr(self, *args: Any, **options: Any) -> Any:
        return self._write("set_trial_user_attr", *args, **options)

    def set_trial_state_values(self, *args: Any, **options: Any) -> Any:
        return self._write("set_trial_state_values", *args, **options)

    def set_trial_intermediate_value(self, *args: Any, **options: Any) -> Any:
        return self._write("set_trial_intermediate_value", *args, **options)


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_run_killed_at_any_write_ends_like_an_undisturbed_one(
    tmp_path: Path, late: bool
) -> None:
    chosen = protocol(grids([5e-5, 1e-4], [1e-3, 5e-3], [2e-3, 5e-3]))
    undisturbed = World(tmp_path / "a", DyingStorage())
    whole = TableRunner(table())
    undisturbed.run(chosen, whole)
    assert undisturbed.storage.writes > 30
    for death in range(1, undisturbed.storage.writes + 1):
        killed = World(tmp_path / f"b{death}", DyingStorage())
        killed.storage.dies_at, killed.storage.dies_late = death, late
        with pytest.raises(KeyboardInterrupt):
            killed.run(chosen, TableRunner(table()))
        killed.run(chosen, TableRunner(table()))
        assert killed.outcome(chosen) == undisturbed.outcome(chosen), death
        states = {
            trial.state
            for study in optuna.get_all_study_summaries(killed.storage)
            for trial in optuna.load_study(
                study_name=study.study_name, storage=killed.storage
            ).trials
        }
        assert states == {optuna.trial.TrialState.COMPLETE}, death
        events = read_events(killed.folder / "tracking.jsonl")
        shown = {e["key"]: e["kind"] for e in events if e["kind"].startswith("trial_")}
        assert set(shown.values()) == {"trial_ended"}, death
        assert len(shown) == len(undisturbed.outcome(chosen)), death
        epochs = [(e["key"], e["epoch"]) for e in events if e["kind"] == "epoch"]
        assert len(epochs) == len(set(epochs)) == len(shown), death


@pytest.mark.parametrize("die_after", range(12))
def test_a_run_killed_between_trials_trains_none_twice(tmp_path: Path, die_after: int) -> None:
    chosen = protocol(grids([5e-5, 1e-4], [1e-3, 5e-3], ALL_ALPHA))
    undisturbed, killed = World(tmp_path / "a"), World(tmp_path / "b")
    whole = TableRunner(table())
    undisturbed.run(chosen, whole)
    first = TableRunner(table(), die_after=die_after)
    if die_after < len(whole.trained):
        with pytest.raises(KeyboardInterrupt):
            killed.run(chosen, first)
    second = TableRunner(table())
    killed.run(chosen, second)
    assert killed.outcome(chosen) == undisturbed.outcome(chosen)
    assert len(first.trained) + len(second.trained) == len(whole.trained)


def test_a_stage_where_everything_fails_stops_the_run_with_its_reasons(world: World) -> None:
    chosen = protocol(grids([7e-5], [1e-3], [1e-3]))
    with pytest.raises(RunFailedError, match=r"no trial of stage 2-lr_l finished") as caught:
        world.run(chosen, TableRunner(table()))
    assert "is not in the table" in str(caught.value)


def test_a_given_up_stage_is_tried_once_more_when_the_run_is_repeated(world: World) -> None:
    chosen = protocol(grids([7e-5], [1e-3], [1e-3]))
    with pytest.raises(RunFailedError, match="no trial of stage 2-lr_l finished"):
        world.run(chosen, TableRunner(table()))
    mended = {**table(), point_of({"lr_p": 1e-4, "lr_l": 7e-5, "alpha": 1e-3}): 63.0}
    runner = TableRunner(mended)
    world.run(chosen, runner)
    assert len(runner.trained) == 1
    history = read_history(chosen, world.store)
    assert isinstance(next_action(chosen, history), Finished)
    assert [t.state for t in history["2-lr_l"].trials] == [
        TrialState.FAILED,
        TrialState.FINISHED,
    ]


def test_a_run_that_is_asked_something_else_is_refused(world: World) -> None:
    world.run(protocol(grids([1e-4], [5e-3], [5e-3])), TableRunner(table()))
    changed = protocol(grids([1e-4], [5e-3, 2e-3], [5e-3]))
    with pytest.raises(DefinitionMismatchError, match=r"run/2-lr_l exists with another"):
        check_run(changed, world.store)
    other_seed = dataclasses.replace(protocol(grids([1e-4], [5e-3], [5e-3])), seed=1)
    with pytest.raises(DefinitionMismatchError, match="seed: 0 in the store, 1 now"):
        check_run(other_seed, world.store)


def test_a_run_of_an_earlier_version_is_told_apart(world: World) -> None:
    earlier = protocol(grids([1e-4], [5e-3], [5e-3]))
    world.run(earlier, TableRunner(table()))

    def now(**fields: Any) -> Protocol:
        stages = [
            dataclasses.replace(stage, base={**stage.base, **fields}) for stage in earlier.stages
        ]
        return dataclasses.replace(earlier, stages=tuple(stages))

    expected = r"begun by an earlier version, whose configurations lacked accumulate; give"
    with pytest.raises(DefinitionMismatchError, match=expected):
        check_run(now(accumulate=1, autocast=None), world.store)
    with pytest.raises(DefinitionMismatchError, match="with another definition"):
        check_run(now(accumulate=1, epochs=99), world.store)


def test_a_second_writer_is_noticed(world: World) -> None:
    chosen = protocol(grids([5e-5, 1e-4], [1e-3, 5e-3], ALL_ALPHA))
    world.store.open_study(study_spec(chosen, chosen.stages[0], {}))
    action = next_action(chosen, read_history(chosen, world.store))
    assert isinstance(action, AskTrials)
    tracker = JsonlTracker(world.folder / "tracking.jsonl")
    recorder = Recorder(chosen, world.store, tracker, _no_sampler)
    history = read_history(chosen, world.store)
    recorder.ask(action, history)
    with pytest.raises(StoreError, match="another process writes to it"):
        recorder.ask(action, history)


def _no_sampler(stage: str) -> Sampler:
    raise AssertionError(f"the grid of {stage} needs no sampler")


def test_every_stage_seeds_its_trials_from_their_numbers(world: World) -> None:
    chosen = protocol(grids(ALL_LR_L, [1e-3, 5e-3], ALL_ALPHA))
    runner = TableRunner(table())
    world.run(chosen, runner)
    seeds = [request.spec.seed for request in runner.trained]
    assert len(set(seeds)) == len(seeds)


def test_a_learning_sampler_is_asked_in_batches(world: World) -> None:
    space = GreedySpace.model_validate(
        {
            "name": "ranges",
            "stages": {
                "lr_p": {"lr_p": {"low": 1e-5, "high": 1e-3, "log": True}},
                "lr_l": {
                    "lr_l": {"low": 1e-5, "high": 1e-3, "log": True},
                    "alpha": {"low": 1e-4, "high": 1e-2, "log": True},
                },
                "alpha": {"alpha": {"low": 1e-4, "high": 1e-2, "log": True}},
            },
        }
    )
    chosen = protocol(space, sampler="tpe", trials=6, batch_size=4)
    seen: list[int] = []
    runner = _bowl_runner(lambda: seen.append(_open_count(chosen, world)))
    world.run(chosen, runner)
    history = read_history(chosen, world.store)
    assert [len(history[s].trials) for s in STAGES] == [6, 6, 7]  # stage 3: one carried over
    assert max(seen) == 4
    assert len({tuple(t.spec.params.values()) for t in history["2-lr_l"].trials}) == 6


def _open_count(chosen: Protocol, world: World) -> int:
    action = next_action(chosen, read_history(chosen, world.store))
    return len(action.numbers) if isinstance(action, RunTrials) else 0


def _bowl_runner(before_each: Callable[[], None]) -> TableRunner:
    class Bowl(dict[Point, float]):
        def get(self, key: Point, default: object = None) -> float:
            before_each()
            return self[key]

        def __missing__(self, key: Point) -> float:
            return 60.0 + sum(abs(value - 1e-4) * 1e4 for _, value in key)

    runner = TableRunner({})
    runner.table = Bowl()
    return runner
