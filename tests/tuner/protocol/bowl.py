"""A search whose every point has a value, so that samplers may propose what they like."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from search_spaces import GreedySpace
from tests.fakes.table_runner import Point, TableRunner
from tests.tuner.protocol.test_greedy import DyingStorage, World
from tuner.adapters.jsonl_tracker import read_events
from tuner.protocol.stages import Protocol, build_greedy_protocol
from tuner.recording import read_history
from tuner.records import StudyHistory

BEST = {"lr_p": 1e-3, "lr_l": 2e-4, "alpha": 3e-3}


class Bowl(dict[Point, float]):
    """Lowest at `BEST`, where it is 60 mm; the baseline alone is 5 mm above."""

    def get(self, key: Point, default: object = None) -> float:
        return self[key]

    def __missing__(self, key: Point) -> float:
        point = dict(key)
        value = 60.0 if "lr_l" in point else 65.0
        return value + sum(abs(math.log10(value / BEST[name])) for name, value in key)


def bowl_runner(*, die_after: int | None = None) -> TableRunner:
    runner = TableRunner({}, die_after=die_after)
    runner.table = Bowl()
    return runner


def space(**lr_p: Any) -> GreedySpace:
    """Small grids within wide ranges; `lr_p` takes other fields than its grid."""
    rates = {"low": 1e-5, "high": 1e-2, "log": True}
    return GreedySpace.model_validate(
        {
            "name": "bowl",
            "stages": {
                "lr_p": {"lr_p": {**rates, "grid": [1e-4, 3e-3], **lr_p}},
                "lr_l": {
                    "lr_l": {**rates, "grid": [1e-5, 1e-4]},
                    "alpha": {**rates, "grid": [1e-3, 1e-2]},
                },
                "alpha": {"alpha": {**rates, "grid": [1e-3, 5e-3, 1e-2]}},
            },
        }
    )


def bowl_protocol(run: str = "run", **options: Any) -> Protocol:
    """The greedy protocol over `space`; options as of `build_greedy_protocol`."""
    return build_greedy_protocol(
        run,
        seed=0,
        space=options.pop("space", space()),
        base={"loss_net": "graph", "epochs": 1},
        baseline={"loss_net": "none", "epochs": 1},
        **options,
    )


def studies(world: World, chosen: Protocol) -> dict[str, StudyHistory]:
    """All studies of the run, by label."""
    return read_history(chosen, world.store)


Story = Callable[[World, TableRunner], None]
"""What a user does with a finished run; the same again after a kill."""


def check_every_death(
    tmp_path: Path,
    story: Story,
    chosen: Protocol,
    *,
    least: int,
    first: Protocol | None = None,
) -> None:
    """Kill the driver before and after every write of a story; each ends like an undisturbed one.

    Args:
        tmp_path: Where the runs are tracked.
        story: The story; it begins with a finished search.
        chosen: The protocol whose studies are compared at the end.
        least: Writes that it takes at least.
        first: The search that is finished before the story; None for `bowl_protocol()`.
    """
    whole = World(tmp_path / "whole", DyingStorage())
    search = first or bowl_protocol()
    searched = _search(whole, search)
    story(whole, bowl_runner())
    writes = whole.storage.writes - searched
    assert writes >= least
    for death in range(1, writes + 1):
        for late in (False, True):
            killed = World(tmp_path / f"{death}{late}", DyingStorage())
            killed.storage.dies_at = _search(killed, search) + death
            killed.storage.dies_late = late
            with pytest.raises(KeyboardInterrupt):
                story(killed, bowl_runner())
            story(killed, bowl_runner())
            assert studies_text(killed, chosen) == studies_text(whole, chosen), (death, late)
            assert _running(killed) == 0, (death, late)
            shown, expected = _shown(killed), _shown(whole)
            assert shown == expected, (death, late)


def _search(world: World, search: Protocol) -> int:
    """Finish a search; how many writes that took."""
    world.cached = True
    world.run(search, bowl_runner())
    return world.storage.writes


def studies_text(world: World, chosen: Protocol) -> list[tuple[Any, ...]]:
    """All that two equal runs must share."""
    return [
        (label, t.number, t.spec.fingerprint, t.value, t.imported_from, t.test_metrics)
        for label, study in studies(world, chosen).items()
        for t in study.trials
    ] + [
        (label, study.result, study.attributes.get("extensions"), study.spec)
        for label, study in studies(world, chosen).items()
    ]


def _running(world: World) -> int:
    return sum(
        not trial.state.is_finished()
        for study in optuna.get_all_study_summaries(world.storage)
        for trial in optuna.load_study(study_name=study.study_name, storage=world.storage).trials
    )


def _shown(world: World) -> dict[str, str]:
    events = read_events(world.folder / "tracking.jsonl")
    return {e["key"]: e["kind"] for e in events if e["kind"].startswith("trial_")}
