"""A closed stage gets more trials; what follows from it is done again where it must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search_spaces import GreedySpace
from tests.fakes.table_runner import TableRunner
from tests.tuner.protocol.bowl import (
    BEST,
    bowl_protocol,
    bowl_runner,
    check_every_death,
    space,
    studies,
    studies_text,
)
from tests.tuner.protocol.test_greedy import World
from tuner.errors import ConfigurationError
from tuner.protocol.actions import Finished
from tuner.protocol.generations import EXTENSIONS, current_studies
from tuner.protocol.greedy import next_action
from tuner.records import StageResult, StudyHistory
from tuner.wiring.extending import ExtensionRequest, check_extension, write_extension

CHOSEN = bowl_protocol()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A finished search."""
    made = World(tmp_path)
    made.cached = True
    made.run(CHOSEN, bowl_runner())
    return made


def extend(world: World, stage: str, trials: int, factor: float | None = None) -> TableRunner:
    """`tuner runs extend` or `refine`, and what follows."""
    write_extension(world.store, ExtensionRequest("run", stage, trials, factor))
    runner = bowl_runner()
    world.run(CHOSEN, runner)
    return runner


def closed(study: StudyHistory) -> StageResult:
    assert study.result is not None
    return study.result


def params(runner: TableRunner, label: str) -> list[dict[str, Any]]:
    return [dict(r.spec.params) for r in runner.trained if r.stage == label]


def test_a_grid_stage_is_extended_by_tpe_over_its_ranges(world: World) -> None:
    before = closed(studies(world, CHOSEN)["3-alpha"])
    runner = extend(world, "alpha", 8)
    study = studies(world, CHOSEN)["3-alpha"]
    after = closed(study)
    assert len(runner.trained) == len(params(runner, "3-alpha")) == 8
    assert after.extensions == 1
    assert after.value < before.value
    assert "extended by 8 more trials: before, alpha = " in after.reason
    assert study.trials[after.winner].test_metrics is not None
    assert len({point["alpha"] for point in params(runner, "3-alpha")}) == 8


def test_a_stage_can_be_extended_again(world: World) -> None:
    extend(world, "3-alpha", 3)
    runner = extend(world, "3-alpha", 2)
    assert len(runner.trained) == 2
    study = studies(world, CHOSEN)["3-alpha"]
    assert [entry["trials"] for entry in study.attributes[EXTENSIONS]] == [3, 2]
    assert closed(study).extensions == 2


def test_resuming_does_not_extend_once_more(world: World) -> None:
    extend(world, "alpha", 3)
    again = bowl_runner()
    world.run(CHOSEN, again)
    assert again.trained == []


def test_another_value_that_is_kept_opens_the_later_stages_anew(world: World) -> None:
    old = studies(world, CHOSEN)
    runner = extend(world, "lr_p", 8)
    found = studies(world, CHOSEN)
    assert list(found) == ["1-lr_p", "2-lr_l", "2-lr_l~2", "3-alpha", "3-alpha~2"]
    kept = closed(found["1-lr_p"]).params["lr_p"]
    assert kept != closed(old["1-lr_p"]).params["lr_p"]
    assert {point["lr_p"] for point in params(runner, "2-lr_l~2")} == {kept}
    assert found["2-lr_l"] == old["2-lr_l"]
    current = current_studies(found)
    assert [study.spec.stage for study in current.values()] == ["1-lr_p", "2-lr_l~2", "3-alpha~2"]
    winner = closed(current["3-alpha"]).winner
    assert current["3-alpha"].trials[winner].test_metrics is not None


def test_the_same_value_leaves_the_later_stages_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    chosen = bowl_protocol(space=space(grid=[BEST["lr_p"]]))
    world.run(chosen, bowl_runner())
    write_extension(world.store, ExtensionRequest("run", "lr_p", 4))
    runner = bowl_runner()
    world.run(chosen, runner)
    assert [request.stage for request in runner.trained] == ["1-lr_p"] * 4
    assert "the winner stays" in closed(studies(world, chosen)["1-lr_p"]).reason


def test_no_configuration_is_trained_twice_by_a_new_generation(world: World) -> None:
    runner = extend(world, "lr_l", 6, factor=3.0)
    found = studies(world, CHOSEN)
    assert "3-alpha~2" in found
    points = [
        t.spec.configuration_key
        for s in found.values()
        for t in s.trials
        if t.imported_from is None
    ]
    assert len(points) == len(set(points))
    carried = [t for t in found["3-alpha~2"].trials if t.imported_from]
    assert carried
    assert len(params(runner, "3-alpha~2")) + len(carried) == len(found["3-alpha~2"].trials)


def test_refining_looks_into_the_window_only(world: World) -> None:
    winner = closed(studies(world, CHOSEN)["2-lr_l"]).params
    runner = extend(world, "lr_l", 6, factor=2.0)
    asked = params(runner, "2-lr_l")
    assert len(asked) == 6
    for point in asked:
        for name in ("lr_l", "alpha"):
            assert winner[name] / 2 <= point[name] <= winner[name] * 2
    entry = studies(world, CHOSEN)["2-lr_l"].attributes[EXTENSIONS][0]
    assert entry["window"]["lr_l"] == [winner["lr_l"] / 2, winner["lr_l"] * 2]


def test_a_window_ends_where_the_range_ends(world: World) -> None:
    runner = extend(world, "alpha", 5, factor=1000.0)
    assert all(1e-5 <= point["alpha"] <= 1e-2 for point in params(runner, "3-alpha"))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_sampled_stage_goes_on_with_its_sampler(tmp_path: Path, sampler: Any) -> None:
    budget = dict.fromkeys(("lr_p", "lr_l", "alpha"), 5)
    chosen = bowl_protocol(sampler=sampler, trials=budget)
    world = World(tmp_path)
    world.run(chosen, bowl_runner())
    before = len(studies(world, chosen)["3-alpha"].trials)
    write_extension(world.store, ExtensionRequest("run", "alpha", 3))
    runner = bowl_runner()
    world.run(chosen, runner)
    assert len(studies(world, chosen)["3-alpha"].trials) == before + 3


@pytest.mark.parametrize("die_after", range(6))
@pytest.mark.parametrize("factor", [None, 2.0])
def test_proposals_are_the_same_over_a_restart(
    tmp_path: Path, die_after: int, factor: float | None
) -> None:
    def extended(name: str) -> World:
        world = World(tmp_path / name)
        world.cached = True
        world.run(CHOSEN, bowl_runner())
        write_extension(world.store, ExtensionRequest("run", "lr_l", 6, factor))
        return world

    whole, killed = extended("whole"), extended("killed")
    whole.run(CHOSEN, bowl_runner())
    with pytest.raises(KeyboardInterrupt):
        killed.run(CHOSEN, bowl_runner(die_after=die_after))
    killed.run(CHOSEN, bowl_runner())
    assert studies_text(killed, CHOSEN) == studies_text(whole, CHOSEN)


@pytest.mark.parametrize(("stage", "factor"), [("lr_p", 3.0), ("alpha", None)])
def test_an_extension_killed_at_any_write_ends_like_an_undisturbed_one(
    tmp_path: Path, stage: str, factor: float | None
) -> None:
    request = ExtensionRequest("run", stage, 2, factor)

    def story(world: World, runner: TableRunner) -> None:
        if not any(EXTENSIONS in s.attributes for s in studies(world, CHOSEN).values()):
            write_extension(world.store, request)
        world.run(CHOSEN, runner)
        assert ("2-lr_l~2" in studies(world, CHOSEN)) is (stage == "lr_p")

    check_every_death(tmp_path, story, CHOSEN, least=12)


def test_confirmation_and_check_follow_the_new_winner(world: World) -> None:
    chosen = bowl_protocol(confirm_seeds=2, confirm_runners_up=0, check=2)
    world.run(chosen, bowl_runner())
    write_extension(world.store, ExtensionRequest("run", "alpha", 8))
    runner = bowl_runner()
    world.run(chosen, runner)
    found = studies(world, chosen)
    winner = closed(found["3-alpha"])
    assert found["4-confirm"].attributes["candidates"][1]["trial"] == winner.winner
    assert len(params(runner, "4-confirm")) == 2  # those of the baseline are there
    assert current_studies(found)["5-check"].spec.stage == "5-check~2"
    assert closed(found["5-check~2"]).value <= winner.value


REFUSALS = [
    (ExtensionRequest("nosuch", "alpha", 1), "no run 'nosuch' in this storage; there are: run"),
    (ExtensionRequest("run", "beta", 1), "--stage 'beta': run 'run' has no such stage"),
    (ExtensionRequest("run", "4-confirm", 1), "it has lr_p, lr_l, alpha"),
    (ExtensionRequest("run", "alpha", 0), "--trials 0: found no number of at least 1"),
    (ExtensionRequest("run", "alpha", 1, 1.0), "--factor 1: a window needs a factor above 1"),
]


@pytest.mark.parametrize(("request_", "message"), REFUSALS, ids=[text for _, text in REFUSALS])
def test_what_cannot_be_extended_is_refused(
    world: World, request_: ExtensionRequest, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_extension(world.store, request_)


def test_a_stage_that_is_open_is_not_extended_a_second_time(world: World) -> None:
    write_extension(world.store, ExtensionRequest("run", "lr_l", 4))
    for stage in ("lr_l", "alpha"):
        with pytest.raises(ConfigurationError, match="tuner runs resume run"):
            check_extension(world.store, ExtensionRequest("run", stage, 4))


def test_nothing_is_extended_while_trials_are_open(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        world.run(CHOSEN, bowl_runner(die_after=3))
    with pytest.raises(ConfigurationError, match="is not through with stage 2-lr_l yet"):
        check_extension(world.store, ExtensionRequest("run", "lr_p", 4))


def test_a_stage_of_one_point_has_nothing_to_extend(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run(bowl_protocol(space=space(low=1e-3, high=1e-3, grid=[1e-3])), bowl_runner())
    with pytest.raises(ConfigurationError, match=r"stage 1-lr_p has one point only \(lr_p\)"):
        check_extension(world.store, ExtensionRequest("run", "lr_p", 4))


LR_L_FIXED = bowl_protocol(
    space=GreedySpace.model_validate(
        {
            "name": "one lr_l",
            "stages": {
                **space().model_dump()["stages"],
                "lr_l": {
                    "lr_l": {"low": 1e-4, "high": 1e-4, "log": True, "grid": [1e-4]},
                    "alpha": {"low": 1e-5, "high": 1e-2, "log": True, "grid": [1e-3, 1e-2]},
                },
            },
        }
    )
)


def better_in_stage_2(world: World, runner: TableRunner) -> None:
    """An extension of stage 2 that finds a better α for the lr_l that is kept already."""
    found = studies(world, LR_L_FIXED)
    if not any(EXTENSIONS in study.attributes for study in found.values()):
        write_extension(world.store, ExtensionRequest("run", "lr_l", 4))
    world.run(LR_L_FIXED, runner)


def test_what_an_earlier_stage_finds_for_the_values_that_are_kept_is_taken_over(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.run(LR_L_FIXED, bowl_runner())
    before = closed(studies(world, LR_L_FIXED)["3-alpha"])
    better_in_stage_2(world, bowl_runner())
    found = studies(world, LR_L_FIXED)
    second, last = closed(found["2-lr_l"]), closed(found["3-alpha"])
    assert "3-alpha~2" not in found
    assert second.value < before.value
    assert last.value == second.value
    winner = found["3-alpha"].trials[last.winner]
    assert winner.imported_from == f"run/2-lr_l#{second.winner}"
    assert winner.test_metrics is not None
    assert isinstance(next_action(LR_L_FIXED, found), Finished)


def test_a_closed_stage_killed_while_it_takes_over_ends_like_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    check_every_death(tmp_path, better_in_stage_2, LR_L_FIXED, least=12, first=LR_L_FIXED)
