"""A run is extended when it is through with everything else, and nothing else is refused then."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.listener import RecordingListener
from tests.tuner.protocol.bowl import bowl_protocol, bowl_runner, studies
from tests.tuner.protocol.test_greedy import World
from tuner.adapters.jsonl_tracker import JsonlTracker
from tuner.engine import Ports, run_protocol
from tuner.errors import ConfigurationError
from tuner.greedy_config import GreedyConfig, parse_greedy_config
from tuner.ports import RunInfo, Sampler, StudyStore
from tuner.protocol.generations import EXTENSIONS
from tuner.reports.summary import RUN_CONFIG
from tuner.settings import Locations, resolve_locations
from tuner.wiring.extending import ExtensionRequest, check_through, write_extension
from tuner.wiring.plan import plan_greedy
from tuner.wiring.reported import report_digest
from tuner.wiring.run import REPORTED, run_greedy
from tuner.wiring.stores import load_histories, open_store


def no_sampler(stage: str) -> Sampler:
    raise AssertionError(f"the grid of {stage} needs no sampler")


def config(**fields: Any) -> GreedyConfig:
    return parse_greedy_config(
        {"backbone": "videopose", "preset": "quick", "name": "demo", **fields}
    )


@pytest.fixture
def searched(tmp_path: Path) -> tuple[Locations, StudyStore]:
    """A finished search, without its report."""
    locations = resolve_locations(home=tmp_path / "home", environment={})
    store = open_store(locations)
    tracker = JsonlTracker(tmp_path / "tracking.jsonl")
    tracker.start_run(RunInfo(run="demo", tags={}, params={}, dataset={}))
    protocol = plan_greedy(config()).protocol
    run_protocol(protocol, Ports(store, bowl_runner(), tracker, RecordingListener(), no_sampler))
    tracker.close(timeout_s=1.0)
    store.annotate("demo/1-lr_p", RUN_CONFIG, config().model_dump(mode="json"))
    return locations, store


def extend(locations: Locations, **fields: Any) -> None:
    prepare = partial(write_extension, request=ExtensionRequest("demo", "alpha", 2))
    listener = RecordingListener()
    run_greedy(config(**fields), locations, listener, resume="must", prepare=prepare)


def is_extended(store: StudyStore) -> bool:
    study = store.history("demo/3-alpha")
    assert study is not None
    return EXTENSIONS in study.attributes


def test_what_is_refused_is_refused_before_the_stage_is_open_again(
    searched: tuple[Locations, StudyStore], tmp_path: Path
) -> None:
    locations, store = searched
    store.annotate("demo/1-lr_p", REPORTED, report_digest(load_histories(store, "demo")))
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigurationError, match=r"--checkpoint-root .*file"):
        extend(locations, checkpoint_root=str(file))
    assert not is_extended(store)


def test_a_run_whose_report_is_missing_is_not_extended(
    searched: tuple[Locations, StudyStore],
) -> None:
    locations, store = searched
    with pytest.raises(ConfigurationError, match=r"report is still .*: tuner runs resume demo"):
        extend(locations)
    assert not is_extended(store)


def test_an_extension_killed_once_its_stage_is_closed_is_not_repeated(tmp_path: Path) -> None:
    world, chosen = World(tmp_path), bowl_protocol()
    world.run(chosen, bowl_runner())
    check_through(chosen, studies(world, chosen), reported=True)
    write_extension(world.store, ExtensionRequest("run", "alpha", 8))
    killed = bowl_runner()
    killed.die_after_tests = 0
    with pytest.raises(KeyboardInterrupt):
        world.run(chosen, killed)
    with pytest.raises(ConfigurationError, match=r"test metrics .*first: tuner runs resume run"):
        check_through(chosen, studies(world, chosen), reported=True)
    world.run(chosen, bowl_runner())
    check_through(chosen, studies(world, chosen), reported=True)
