"""Who is held out for nothing is said, and with nobody held out all training subjects train."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes.listener import RecordingListener
from tests.trainables.data.h36m_writer import (
    ACTIONS,
    SUBJECTS,
    make_positions,
    make_views,
    write_folder,
)
from tests.tuner.cli.small_training import FIELDS, locations_in
from trainables.config import DataConfig
from trainables.data.loading import load_dataset
from trainables.errors import DataError
from tuner.cli import main
from tuner.errors import ConfigurationError
from tuner.greedy_config import parse_greedy_config
from tuner.wiring.evaluation import DataChoice, evaluate_named
from tuner.wiring.plan import plan_greedy
from tuner.wiring.training import run_training
from tuner.wiring.training_plan import TrainingPlan, plan_training
from tuner.wiring.training_request import parse_training_request

HELD_OUT = "S8 is held out of training; the paper trains on all: data.val_subject=none"
NOBODY = {"overrides": {"data": {"val_subject": "none"}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    positions = make_positions()
    return write_folder(tmp_path_factory.mktemp("data") / "h36m", positions, make_views(positions))


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_DATA_CACHE", "off")


def asked(folder: Path, **changes: Any) -> dict[str, Any]:
    fields = {"backbone": "videopose", "dataset": "h36m", "data_dir": str(folder)}
    return {**fields, "preset": "quick", **changes}


def plan(folder: Path, **changes: Any) -> TrainingPlan:
    return plan_training(parse_training_request(asked(folder, **changes)))


def test_chosen_on_test_it_is_said_who_is_held_out_for_nothing(folder: Path) -> None:
    assert plan(folder, select_on="test").notes[0] == HELD_OUT
    assert not any("held out of training" in note for note in plan(folder).notes)
    nobody = plan(folder, select_on="test", **NOBODY)
    assert not any("held out of training" in note for note in nobody.notes)
    assert "validation: nobody; all training subjects train" in nobody.notes


def test_held_out_recordings_are_counted_in_poses(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    rows = [f"{s},{a},{s in ('S9', 'S11')}/{a}" for s in SUBJECTS for a in ACTIONS]
    (tmp_path / "sequences.csv").write_text("\n".join(["subject,action,source", *rows]))
    note = plan(tmp_path, select_on="test").notes[0]
    said = "of the training subjects' poses are held out of training; the paper trains on all"
    assert said in note
    assert 10 < int(note.split("%")[0]) < 60


def test_of_data_whose_validation_is_fixed_nothing_is_advised() -> None:
    request = parse_training_request({**FIELDS, "select_on": "test"})
    assert not any("held out of training" in note for note in plan_training(request).notes)


def test_of_how_many_hypotheses_figures_are_is_said(folder: Path) -> None:
    said = "test figures are of the mean of 3 hypotheses (iterations of the sampler: 2)"
    assert any(note.startswith(said) for note in plan(folder, backbone="d3dp").notes)
    one = {"test_hypotheses": 1, "test_iterations": 1}
    assert not any(
        "hypotheses" in note for note in plan(folder, backbone="d3dp", overrides=one).notes
    )


def test_a_search_without_validation_needs_select_on_test(folder: Path) -> None:
    message = r"val_subject='none' leaves no validation split.*--select-on test"
    with pytest.raises(ConfigurationError, match=message):
        plan_greedy(parse_greedy_config(asked(folder, **NOBODY)))
    with pytest.raises(ConfigurationError, match=message):
        plan(folder, **NOBODY)
    found = plan_greedy(parse_greedy_config(asked(folder, **NOBODY, select_on="test")))
    train = found.dataset.splits["train"]
    subjects = {found.dataset.sequences[number].subject for number in np.unique(train.sequence)}
    assert subjects == {"S1", "S5", "S8"}
    assert found.training.select_on == "test"


def test_it_trains_is_selected_and_measured_without_validation(
    folder: Path, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {**FIELDS, "dataset": "h36m", "data_dir": str(folder)}
    fields["overrides"] = {**FIELDS["overrides"], "data": {"val_subject": "none"}}
    request = parse_training_request({**fields, "select_on": "test", "name": "paper"})
    listener, places = RecordingListener(), locations_in(tmp_path)
    result = run_training(request, places, listener, device="cpu")
    assert listener.messages.count("note: validation: nobody; all training subjects train") == 1
    assert result.val_mpjpe_mm == pytest.approx(result.test["mpjpe_mm"])
    assert result.config["data"]["val_subject"] == "none"
    with pytest.raises(DataError, match="no poses in split 'val'; it has test, train"):
        evaluate_named("paper", places, DataChoice(split="val"), device="cpu")


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_the_commands_on_data_know_it(
    folder: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("tuner", "data", command, "--dataset", "h36m", "--data-dir", str(folder))
    monkeypatch.setattr("sys.argv", [*words, "--val-subject", "none"])
    with contextlib.suppress(SystemExit):  # `verify` finds the toy's motion too fast
        main()
    out = capsys.readouterr().out
    assert "validation: nobody" in out
    assert "what training needs" not in out
    assert "split 'val'" not in out


def test_nobody_validating_changes_no_pose(folder: Path) -> None:
    config = DataConfig(name="h36m")
    usual = load_dataset(config, folder)
    nobody = load_dataset(config.model_copy(update={"val_subject": "none"}), folder)
    joined = np.concatenate([usual.splits[name].y for name in ("train", "val")])
    np.testing.assert_array_equal(
        np.sort(joined.reshape(len(joined), -1), axis=0),
        np.sort(nobody.splits["train"].y.reshape(len(joined), -1), axis=0),
    )
