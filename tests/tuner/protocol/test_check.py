"""A joint search around the winner says whether greedy was good enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.table_runner import Point, TableRunner
from tests.tuner.protocol.bowl import (
    bowl_protocol,
    bowl_runner,
    check_every_death,
    space,
    studies,
)
from tests.tuner.protocol.test_greedy import World

STAGE = "5-check"


class Everywhere(dict[Point, float]):
    """Worse than anything that the search has seen."""

    def get(self, key: Point, default: object = None) -> float:
        return 99.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.cached = True
    return made


def test_all_are_tuned_together_within_the_window_around_the_winner(world: World) -> None:
    chosen = bowl_protocol(check=8)
    runner = bowl_runner()
    world.run(chosen, runner)
    found = studies(world, chosen)
    last = found["3-alpha"].result
    assert last is not None
    asked = [request for request in runner.trained if request.stage == STAGE]
    assert len(asked) == 8
    for request in asked:
        for name, value in last.params.items():
            assert value / 3 <= request.spec.params[name] <= value * 3
    assert len({request.spec.params["lr_p"] for request in asked}) == 8


def test_the_gain_over_greedy_is_in_the_reason_and_the_winner_stays(world: World) -> None:
    chosen = bowl_protocol(check=12)
    world.run(chosen, bowl_runner())
    found = studies(world, chosen)
    last, check = found["3-alpha"].result, found[STAGE].result
    assert last is not None
    assert check is not None
    gain = last.value - check.value
    assert gain > 0
    assert f"is {gain:.3f} mm better than the greedy winner" in check.reason
    alone = World(world.folder / "alone")
    alone.run(bowl_protocol(), bowl_runner())
    assert studies(alone, bowl_protocol())["3-alpha"].result == last


def test_without_a_gain_that_is_said(world: World) -> None:
    world.run(bowl_protocol(), bowl_runner())
    chosen = bowl_protocol(check=1)
    best = studies(world, chosen)["3-alpha"].result
    assert best is not None
    runner = TableRunner({})
    runner.table = Everywhere()
    world.run(chosen, runner)
    result = studies(world, chosen)[STAGE].result
    assert result is not None
    assert "no joint point is better than the greedy winner" in result.reason
    assert result.value == best.value


def test_what_the_search_finished_inside_the_window_is_known(world: World) -> None:
    chosen = bowl_protocol(check=2)
    world.run(chosen, bowl_runner())
    found = studies(world, chosen)
    taken = [t for t in found[STAGE].trials if t.imported_from]
    keys = [t.spec.configuration_key for t in taken]
    assert len(keys) == len(set(keys))
    last = found["3-alpha"]
    assert last.result is not None
    assert last.trials[last.result.winner].spec.configuration_key in keys
    assert all(5e-3 / 3 <= t.spec.params["alpha"] <= 15e-3 for t in taken)


def test_more_trials_only_add_to_it(world: World) -> None:
    world.run(bowl_protocol(check=3), bowl_runner())
    more = bowl_runner()
    world.run(bowl_protocol(check=8), more)
    assert len(more.trained) == 5
    at_once = World(world.folder / "other")
    at_once.run(bowl_protocol(check=8), bowl_runner())
    chosen = bowl_protocol(check=8)
    first, second = (studies(one, chosen)[STAGE] for one in (world, at_once))
    assert [t.spec for t in first.trials] == [t.spec for t in second.trials]
    assert first.result == second.result


def test_a_value_that_the_space_holds_fast_stays_fast(world: World) -> None:
    chosen = bowl_protocol(space=space(low=1e-3, high=1e-3, grid=[1e-3]), check=4)
    runner = bowl_runner()
    world.run(chosen, runner)
    asked = [request for request in runner.trained if request.stage == STAGE]
    assert {request.spec.params["lr_p"] for request in asked} == {1e-3}


def test_a_check_killed_at_any_write_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    chosen = bowl_protocol(check=3)

    def story(world: World, runner: TableRunner) -> None:
        world.run(chosen, runner)

    check_every_death(tmp_path, story, chosen, least=10)
