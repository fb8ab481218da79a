"""Hyperparameters beyond lr_p, lr_l and α, through the whole protocol on a real study store."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from search_spaces import GreedySpace
from tests.fakes.table_runner import Point, TableRunner
from tests.tuner.protocol.test_greedy import STAGES, DyingStorage, World, protocol
from tuner.errors import DefinitionMismatchError
from tuner.protocol.stages import Protocol, SamplerKind, build_greedy_protocol
from tuner.recording import read_history
from tuner.records import StudyHistory, TrialSpec

BEST = {"lr_p": 1e-3, "length_weight": 0.1, "lr_l": 1e-4, "num_perturbations": 4, "alpha": 5e-3}


class Bowl(dict[Point, float]):
    """Lowest at `BEST`; every point has a value."""

    def get(self, key: Point, default: object = None) -> float:
        return self[key]

    def __missing__(self, key: Point) -> float:
        return 60.0 + sum(abs(math.log10(value / BEST[name])) for name, value in key)


def runner(*, die_after: int | None = None) -> TableRunner:
    made = TableRunner({}, die_after=die_after)
    made.table = Bowl()
    return made


def space(**extras: Any) -> GreedySpace:
    """Ranges with grids; K in stage 2, a constraint's weight in stage 1."""
    alpha = {"low": 1e-4, "high": 1e-2, "log": True, "grid": [1e-3, 5e-3]}
    lr_l = {"low": 1e-5, "high": 1e-3, "log": True, "grid": [1e-5, 1e-4]}
    counts = {"low": 2, "high": 8, "grid": [2, 4]}
    return GreedySpace.model_validate(
        {
            "name": "extras",
            "stages": {
                "lr_p": {"lr_p": {"grid": [1e-4, 1e-3]}, "length_weight": {"grid": [0.1, 1.0]}},
                "lr_l": {"lr_l": lr_l, "alpha": alpha, "num_perturbations": counts, **extras},
                "alpha": {"alpha": {**alpha, "grid": [5e-4, 1e-3, 5e-3]}},
            },
        }
    )


def histories(chosen: Protocol, world: World) -> list[StudyHistory]:
    found = read_history(chosen, world.store)
    return [found[stage] for stage in STAGES]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_each_stage_keeps_its_extras_for_the_later_ones() -> None:
    first, second, third = protocol(space()).stages
    assert first.keeps == ("lr_p", "length_weight")
    assert second.keeps == ("lr_l", "num_perturbations")
    assert third.keeps == ("alpha",)
    assert dict(second.fixed_from) == dict.fromkeys(first.keeps, "1-lr_p")
    assert dict(third.fixed_from) == {
        **dict.fromkeys(first.keeps, "1-lr_p"),
        **dict.fromkeys(second.keeps, "2-lr_l"),
    }


def test_a_grid_finds_the_best_of_every_axis_and_says_so(world: World) -> None:
    chosen = protocol(space())
    run = runner()
    world.run(chosen, run)
    first, second, third = histories(chosen, world)
    assert [len(study.trials) for study in (first, second, third)] == [4, 8, 3]
    assert first.result is not None
    assert first.result.params == {"lr_p": 1e-3, "length_weight": 0.1}
    assert second.result is not None
    assert "lr_l = 1e-4, num_perturbations = 4 wins" in second.result.reason
    assert third.result is not None
    assert third.result.params == BEST
    # stage 3 trains the one α that stage 2 has not, and takes over the others with K = 4
    assert [trial.imported_from for trial in third.trials].count(None) == 1
    assert len(run.trained) == 4 + 8 + 1
    assert all(trial.spec.params["num_perturbations"] == 4 for trial in third.trials)


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_whole_numbers_stay_whole_and_within_their_range(
    world: World, sampler: SamplerKind
) -> None:
    chosen = protocol(space(), sampler=sampler, trials=9, batch_size=3)
    world.run(chosen, runner())
    for study in histories(chosen, world)[1:]:
        counts = [trial.spec.params["num_perturbations"] for trial in study.trials]
        assert all(type(count) is int and 2 <= count <= 8 for count in counts)
        rates = [trial.spec.params["lr_l"] for trial in study.trials]
        assert all(type(rate) is float for rate in rates)
    if sampler != "grid":
        drawn = {t.spec.params["num_perturbations"] for t in histories(chosen, world)[1].trials}
        assert len(drawn) > 2


def test_a_learning_sampler_takes_the_winner_of_stage_2_over(world: World) -> None:
    chosen = protocol(space(), sampler="tpe", trials=6)
    world.run(chosen, runner())
    _, second, third = histories(chosen, world)
    assert second.result is not None
    kept = {name: second.result.params[name] for name in ("lr_l", "num_perturbations")}
    assert all(kept.items() <= trial.spec.params.items() for trial in third.trials)
    reused = [trial for trial in third.trials if trial.imported_from]
    assert [trial.spec for trial in reused] == [second.trials[second.result.winner].spec]


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
@pytest.mark.parametrize("die_after", [0, 3, 4, 7, 11, 12])
def test_a_run_killed_between_trials_ends_like_an_undisturbed_one(
    tmp_path: Path, sampler: SamplerKind, die_after: int
) -> None:
    chosen = protocol(space(), sampler=sampler, trials=5, batch_size=2)
    undisturbed, killed = World(tmp_path / "a"), World(tmp_path / "b")
    whole, first, second = runner(), runner(die_after=die_after), runner()
    undisturbed.run(chosen, whole)
    assert die_after < len(whole.trained)
    with pytest.raises(KeyboardInterrupt):
        killed.run(chosen, first)
    killed.run(chosen, second)
    assert killed.outcome(chosen) == undisturbed.outcome(chosen)
    fingerprints = [r.spec.fingerprint for r in (*first.trained, *second.trained)]
    assert fingerprints == [r.spec.fingerprint for r in whole.trained]


@pytest.mark.parametrize("death", range(1, 40, 4))
def test_a_run_killed_at_a_write_ends_like_an_undisturbed_one(tmp_path: Path, death: int) -> None:
    chosen = protocol(space(), sampler="tpe", trials=3, batch_size=2)
    undisturbed, killed = World(tmp_path / "a"), World(tmp_path / "b", DyingStorage())
    undisturbed.run(chosen, runner())
    assert undisturbed.storage.writes > 40
    killed.storage.dies_at = death
    with pytest.raises(KeyboardInterrupt):
        killed.run(chosen, runner())
    killed.run(chosen, runner())
    assert killed.outcome(chosen) == undisturbed.outcome(chosen)


def test_another_range_of_an_extra_axis_is_another_search(world: World) -> None:
    world.run(protocol(space()), runner())
    wider = protocol(space(num_perturbations={"low": 2, "high": 9, "grid": [2, 4]}))
    with pytest.raises(DefinitionMismatchError, match=r"num_perturbations\.high: 8 in the store"):
        world.run(wider, runner())


def test_whether_a_whole_number_is_written_as_one_changes_no_identity() -> None:
    whole = TrialSpec({"epochs": 1}, {"num_perturbations": 3, "alpha": 1e-3}, seed=0)
    real = TrialSpec({"epochs": 1}, {"num_perturbations": 3.0, "alpha": 1e-3}, seed=0)
    assert whole.fingerprint == real.fingerprint
    assert whole.configuration_key == real.configuration_key


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_checked_points_are_the_grid_or_the_ends_of_the_ranges(sampler: SamplerKind) -> None:
    chosen = build_greedy_protocol(
        "run", seed=0, space=space(), base={}, baseline={}, sampler=sampler
    )
    points = chosen.stages[1].checked_points()
    counts = {point["num_perturbations"] for point in points}
    assert (len(points), counts) == (8, {2, 4} if sampler == "grid" else {2, 8})
