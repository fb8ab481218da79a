"""`tuner evaluate` of a net that samples hypotheses: its numbers, its notes, its refusals."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.trainables.data.poses_writer import small_columns, small_metadata, write_npz
from tests.tuner.cli.conftest import Call
from tests.tuner.cli.small_training import train_small
from tuner.wiring.training_record import TrainingResult

OVERRIDES = {
    "steps_per_epoch": 2,
    "batch_size": 4,
    "backbone_options": {"frames": 5, "width": 8, "depth": 1, "heads": 2, "steps": 50},
    "data": {"max_eval_poses": 100, "frames": 5},
    "test_hypotheses": 3,
    "test_iterations": 2,
}
ORACLES = "J-Best and P-Best look at the ground truth"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("diffusion")


@pytest.fixture(scope="module")
def trained(home: Path) -> TrainingResult:
    return train_small(home, name="small", backbone="d3dp", overrides=OVERRIDES)


def test_a_training_is_measured_with_its_own_numbers(
    call: Call, home: Path, trained: TrainingResult
) -> None:
    done = call("evaluate", "small", "--home", home, "--json")
    assert done.code == 0, done.err
    (system,) = done.json()["systems"]
    assert system["figures"] == trained.test
    assert (system["hypotheses"], system["iterations"]) == (3, 2)
    figures = system["figures"]
    assert figures["p_agg_mpjpe_mm"] == figures["mpjpe_mm"]
    assert figures["j_best_mpjpe_mm"] < figures["p_best_mpjpe_mm"] < figures["mpjpe_mm"] * 1.5
    assert figures["j_best_mpjpe_mm"] < figures["j_agg_mpjpe_mm"]
    (note,) = system["notes"]
    assert note.startswith("model: mean of 3 hypotheses after 2 iterations; ")
    assert ORACLES in note
    rows = {row["name"]: row["j_best_mpjpe_mm"] for row in system["by_action"]}
    mean = sum(rows.values()) / len(rows)
    assert figures["action_j_best_mpjpe_mm"] == pytest.approx(mean)


def test_other_numbers_give_other_figures_and_are_said(
    call: Call, home: Path, trained: TrainingResult
) -> None:
    words = ("evaluate", "small", "--home", home, "--json")
    done = call(*words, "--hypotheses", "5", "--iterations", "1")
    assert done.code == 0, done.err
    (more,) = done.json()["systems"]
    assert (more["hypotheses"], more["iterations"]) == (5, 1)
    assert "mean of 5 hypotheses after 1 iteration; " in more["notes"][0]
    assert more["figures"]["mpjpe_mm"] != trained.test["mpjpe_mm"]
    (one,) = call(*words, "--hypotheses", "1").json()["systems"]
    assert (one["hypotheses"], one["iterations"]) == (1, 2)  # what is not given stays
    assert one["notes"] == ["model: one hypothesis after 2 iterations"]
    assert not [name for name in one["figures"] if "best" in name or "agg" in name]


def test_people_get_the_choices_by_name(call: Call, home: Path, trained: TrainingResult) -> None:
    done = call("evaluate", "small", "--home", home, "--csv", "figures.csv")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "note: model: mean of 3 hypotheses after 2 iterations" in said
    for label in ("MPJPE, J-Best (mm)", "MPJPE, P-Best (mm)", "MPJPE, J-Agg (mm)"):
        assert label in done.out
    assert "j_best_mpjpe_mm" not in done.out
    assert f"{trained.test['j_best_mpjpe_mm']:.2f}" in done.out
    with Path("figures.csv").open(encoding="utf-8", newline="") as file:
        tables = {r["table"] for r in csv.DictReader(file) if r["metric"] == "j_agg_mpjpe_mm"}
    assert tables == {"figures", "overall", "by_action", "by_sequence"}


def test_more_iterations_than_steps_are_refused(
    call: Call, home: Path, trained: TrainingResult
) -> None:
    done = call("evaluate", "small", "--home", home, "--iterations", "51")
    assert done.code == 2
    assert "--iterations=51" in done.err
    assert "50 steps" in done.err


def test_a_net_with_one_prediction_takes_no_numbers(call: Call, tmp_path: Path) -> None:
    plain = train_small(tmp_path, name="plain")
    for words, said in (
        (("--hypotheses", "5"), "--hypotheses: "),
        (("--iterations", "5"), "--iterations: "),
        (("--hypotheses", "1", "--iterations", "1"), "--hypotheses and --iterations: "),
    ):
        done = call("evaluate", "plain", "--home", tmp_path, *words)
        assert (done.code, done.out) == (2, "")
        assert said in done.err
        assert "is a videopose, which gives one prediction; only d3dp samples several" in done.err
    (system,) = call("evaluate", plain.checkpoint, "--json").json()["systems"]
    assert (system["hypotheses"], system["iterations"]) == (None, None)


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_choice_by_reprojection_needs_a_calibrated_camera(
    call: Call, trained: TrainingResult, tmp_path: Path, calibrated: bool
) -> None:
    size = {"width": 1000, "height": 800}
    cameras = {} if calibrated else {"cameras": {"left": size}}
    write_npz(tmp_path, small_columns(), small_metadata(**cameras))
    words = ("--dataset", "poses", "--data-dir", tmp_path, "--json")
    done = call("evaluate", trained.checkpoint, *words)
    assert done.code == 0, done.err
    (system,) = done.json()["systems"]
    assert ("j_agg_mpjpe_mm" in system["figures"]) == calibrated
    assert "j_best_mpjpe_mm" in system["figures"]
    missing = "model: no J-Agg, which needs cameras and root positions: these data lack them"
    assert (missing in system["notes"]) != calibrated
