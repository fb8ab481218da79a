"""The pre-training before the first stage: decided once, resumed, and shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.table_runner import TableRunner
from tests.tuner.protocol.test_greedy import World, grids, protocol, table
from tuner.adapters.jsonl_tracker import read_events
from tuner.protocol.actions import OpenStage, Pretrain
from tuner.protocol.greedy import PRETRAINING, next_action
from tuner.protocol.stages import Protocol
from tuner.recording import read_history
from tuner.reports.render import write_report
from tuner.reports.summary import summarise

PART = {"epochs": 2, "lr": 1e-3, "seed": 7}


def with_pretraining(part: dict[str, Any]) -> Protocol:
    plain = protocol(grids([1e-4], [1e-3], [5e-3]))
    stages = tuple(
        dataclasses.replace(stage, base={**stage.base, "backbone": "pstmo", "pretraining": part})
        for stage in plain.stages
    )
    return dataclasses.replace(plain, stages=stages)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_it_comes_after_the_study_and_before_its_trials(world: World) -> None:
    chosen = with_pretraining(PART)
    first = next_action(chosen, {})
    assert isinstance(first, OpenStage)
    world.store.open_study(first.study)
    second = next_action(chosen, read_history(chosen, world.store))
    assert isinstance(second, Pretrain)
    assert (second.stage, second.epochs) == ("1-lr_p", 2)
    assert second.spec.training_config()["lr_p"] == 1e-4, "a trial that can be built"
    assert "2 epochs" in second.reason


@pytest.mark.parametrize("part", [{"epochs": 0}, {}], ids=str)
def test_without_epochs_there_is_none(world: World, part: dict[str, Any]) -> None:
    runner = TableRunner(table())
    world.run(with_pretraining(part), runner)
    assert runner.pretrained == []


def test_it_takes_place_once_and_its_figures_are_kept(world: World) -> None:
    chosen, runner = with_pretraining(PART), TableRunner(table())
    world.run(chosen, runner)
    world.run(chosen, runner)
    assert len(runner.pretrained) == 1
    history = read_history(chosen, world.store)
    assert history["1-lr_p"].attributes[PRETRAINING]["last_loss"] == 0.25
    line = "pre-training: 2 epochs, loss 0.5000 -> 0.2500, 2.0 s"
    assert world.listener.messages.count(line) == 1
    assert "pre-training: epoch 1 of 2, loss 0.5000, 1.0 s" in world.listener.messages


def test_one_that_was_cut_short_is_taken_up_again(world: World) -> None:
    chosen, runner = with_pretraining(PART), TableRunner(table())
    runner.die_in_pretraining = True
    with pytest.raises(KeyboardInterrupt):
        world.run(chosen, runner)
    assert runner.trained == []
    world.run(chosen, runner)
    assert len(runner.pretrained) == 2
    events = [
        event
        for event in read_events(world.folder / "tracking.jsonl")
        if event.get("key") == "0-pretraining/0"
    ]
    assert [event["epoch"] for event in events if event["kind"] == "epoch"] == [1, 2]
    ends = [event["tags"] for event in events if event["kind"] == "trial_ended"]
    assert [tags["tuner.state"] for tags in ends] == ["cancelled", "finished"]
    started = next(event for event in events if event["kind"] == "trial_started")
    assert started["tags"]["tuner.role"] == "pretraining"
    assert started["params"]["pretraining.epochs"] == "2"
    assert "lr_p" not in started["params"], "it depends on no rate of the trials"


def test_the_summary_and_the_report_mention_it(world: World) -> None:
    chosen = with_pretraining(PART)
    world.run(chosen, TableRunner(table()))
    history = read_history(chosen, world.store)
    summary = summarise("run", history)
    assert summary.to_json()["pretraining"]["fingerprint"] == "ab12"
    write_report(summary, history, world.folder / "report")
    for name in ("report.md", "report.html"):
        text = (world.folder / "report" / name).read_text()
        assert "every trial began with it" in text
