"""Commands keep what they decode: where TUNER_DATA_CACHE says, or nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainables.data.h36m_writer import make_positions, make_views, write_folder
from tuner.cli.data import inspect
from tuner.greedy_config import parse_greedy_config
from tuner.wiring.plan import plan_greedy
from tuner.wiring.training_plan import plan_training
from tuner.wiring.training_request import parse_training_request

COMMANDS: dict[str, Callable[[Path], object]] = {
    "greedy": lambda folder: plan_greedy(
        parse_greedy_config({"backbone": "videopose", "dataset": "h36m", "data_dir": folder})
    ),
    "train": lambda folder: plan_training(
        parse_training_request({"backbone": "videopose", "dataset": "h36m", "data_dir": folder})
    ),
    "data inspect": lambda folder: inspect("h36m", data_dir=folder, json_=True),
}


@pytest.fixture(scope="module")
def h36m(tmp_path_factory: pytest.TempPathFactory) -> Path:
    positions = make_positions()
    return write_folder(tmp_path_factory.mktemp("h36m"), positions, make_views(positions))


@pytest.mark.parametrize("command", COMMANDS)
def test_decoded_data_are_kept(
    command: str, h36m: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_DATA_CACHE", str(tmp_path / "cache"))
    COMMANDS[command](h36m)
    assert len(list((tmp_path / "cache").glob("h36m-*.poses"))) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_off_keeps_nothing(
    command: str, h36m: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_DATA_CACHE", "off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    COMMANDS[command](h36m)
    assert not list(tmp_path.iterdir())
