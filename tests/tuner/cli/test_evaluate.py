"""`tuner evaluate` in this process: what it measures, what it prints, what it refuses."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from tests.tuner.cli.conftest import Call, StoreRun
from tests.tuner.cli.small_training import FIELDS, train_small
from tests.tuner.conftest import BuildRun
from trainables.checkpoint import CheckpointStore, load_checkpoint
from trainables.config import DataConfig
from trainables.data.loading import load_dataset
from trainables.skeletons import SKELETONS
from tuner.errors import RunFailedError
from tuner.wiring.evaluation import ordinal
from tuner.wiring.training_record import TrainingResult


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def trained(home: Path) -> TrainingResult:
    return train_small(home, name="small")


@pytest.mark.parametrize("form", ["small", "training:small", "checkpoint", "folder", "training"])
def test_every_way_to_name_a_training_gives_the_figures_that_it_printed(
    call: Call, home: Path, trained: TrainingResult, form: str
) -> None:
    named = {
        "checkpoint": trained.checkpoint,
        "folder": str(Path(trained.checkpoint).parent),
        "training": str(home / "trainings" / "small"),
    }.get(form, form)
    done = call("evaluate", named, "--home", home, "--json")
    assert done.code == 0, done.err
    (system,) = done.json()["systems"]
    figures = {name: value for name, value in system["figures"].items() if value is not None}
    assert figures == trained.test
    assert (system["fingerprint"], system["dataset"]) == (trained.fingerprint, "sample")
    assert system["notes"] == []


def test_tables_agree_with_the_overall_figures(
    call: Call, home: Path, trained: TrainingResult
) -> None:
    (system,) = call("evaluate", "small", "--home", home, "--json").json()["systems"]
    by_action = system["by_action"]
    poses = sum(row["poses"] for row in by_action)
    assert poses == len(load_dataset(DataConfig()).splits["test"])
    weighted = sum(row["poses"] * row["mpjpe_mm"] for row in by_action) / poses
    assert weighted == pytest.approx(trained.test["mpjpe_mm"])
    mean = sum(row["mpjpe_mm"] for row in by_action) / len(by_action)
    assert mean == pytest.approx(trained.test["action_mpjpe_mm"])
    joints = [row["name"] for row in system["by_joint"]]
    assert joints == list(SKELETONS["h36m_17"].joints)


def test_people_get_tables(call: Call, home: Path, trained: TrainingResult) -> None:
    short = call("evaluate", "small", "--home", home)
    assert short.code == 0, short.err
    assert "small on test of sample\n" in short.out  # which has no choice of key points
    assert f"{trained.test['mpjpe_mm']:.2f}" in short.out
    assert "walk" in short.out
    assert "r_wrist" not in short.out
    detailed = call("evaluate", "small", "--home", home, "--detail")
    assert "r_wrist" in detailed.out


def test_every_figure_is_in_the_csv_file(call: Call, home: Path, trained: TrainingResult) -> None:
    done = call("evaluate", "small", "--home", home, "--csv", "figures.csv", "--json")
    assert done.code == 0, done.err
    with Path("figures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    overall = {r["metric"]: float(r["value"] or "nan") for r in rows if r["table"] == "figures"}
    assert {n: v for n, v in overall.items() if math.isfinite(v)} == trained.test
    assert {"overall", "by_action", "by_sequence", "by_joint"} <= {row["table"] for row in rows}


def test_other_splits_give_other_figures(call: Call, home: Path, trained: TrainingResult) -> None:
    figures = {trained.test["mpjpe_mm"]}
    for split in ("val", "train"):
        done = call("evaluate", "small", "--home", home, "--json", "--split", split)
        assert done.code == 0, done.err
        figures.add(done.json()["systems"][0]["figures"]["mpjpe_mm"])
    assert len(figures) == 3


def altered(trained: TrainingResult, folder: Path, **data: object) -> Path:
    """The checkpoint, as if it had been trained on other data."""
    found = load_checkpoint(Path(trained.checkpoint))
    config = {**found.meta["config"], "data": {**found.meta["config"]["data"], **data}}
    meta = {**found.meta, "config": config}
    return Path(CheckpointStore(folder).save(trained.fingerprint, "best", found.state, meta))


def test_another_data_set_of_the_same_skeleton_is_measured_and_named(
    call: Call, trained: TrainingResult, tmp_path: Path
) -> None:
    path = altered(trained, tmp_path, name="h36m", keypoints="cpn_ft_h36m_dbb", content_hash="x")
    done = call("evaluate", path, "--dataset", "sample", "--json")
    assert done.code == 0, done.err
    (system,) = done.json()["systems"]
    assert system["figures"]["mpjpe_mm"] == trained.test["mpjpe_mm"]
    assert (system["dataset"], system["keypoints"], system["trained_on"]) == (
        *("sample", "gt", "h36m"),
    )
    assert "trained on h36m, not on sample" in system["notes"][0]


def test_changed_data_are_noted(call: Call, trained: TrainingResult, tmp_path: Path) -> None:
    path = altered(trained, tmp_path, content_hash="0" * 64)
    done = call("evaluate", path)
    assert done.code == 0, done.err
    assert "note: model: the data are not those of its training" in done.out


def test_another_skeleton_is_refused_with_both_names(
    call: Call, trained: TrainingResult, tmp_path: Path
) -> None:
    found = load_checkpoint(Path(trained.checkpoint))
    meta = {**found.meta, "skeleton": "mpi_inf_3dhp_17"}
    path = CheckpointStore(tmp_path).save(trained.fingerprint, "best", found.state, meta)
    done = call("evaluate", path)
    assert done.code == 2
    assert "mpi_inf_3dhp_17 (17 joints)" in done.err
    assert "h36m_17 (17 joints)" in done.err


def test_a_home_that_was_moved_is_understood(
    call: Call, home: Path, trained: TrainingResult, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    (moved / "trainings").mkdir(parents=True)
    train_small(moved, name="small")
    path = moved / "trainings" / "small" / "result.json"
    text = path.read_text(encoding="utf-8").replace(str(moved), str(tmp_path / "before"))
    path.write_text(text, encoding="utf-8")
    done = call("evaluate", "small", "--home", moved, "--json")
    assert done.code == 0, done.err
    assert done.json()["systems"][0]["checkpoint"].startswith(str(moved))


def test_every_frame_is_measured_unless_a_stride_is_given(call: Call, tmp_path: Path) -> None:
    overrides = {**FIELDS["overrides"], "data": {"max_eval_poses": 100, "stride": 9}}
    sparse = train_small(tmp_path, name="sparse", overrides=overrides)
    words = ("evaluate", "sparse", "--home", tmp_path)
    (whole,) = call(*words, "--json").json()["systems"]
    every = load_dataset(DataConfig()).splits["test"]
    assert (whole["stride"], sum(row["poses"] for row in whole["by_action"])) == (1, len(every))
    assert whole["figures"]["mpjpe_mm"] != sparse.test["mpjpe_mm"]
    assert ["every 9th frame; these figures are of every frame" in n for n in whole["notes"]] == [
        True
    ]
    (same,) = call(*words, "--json", "--stride", "9").json()["systems"]
    assert (same["stride"], same["figures"]["mpjpe_mm"]) == (9, sparse.test["mpjpe_mm"])
    assert same["notes"] == ["model: measured on every 9th frame only"]
    people = call(*words, "--stride", "2").out
    assert "sparse on test of sample (every 2nd frame)" in people
    assert "note: model: measured on every 2nd frame only" in people


@pytest.mark.parametrize(
    ("number", "text"), [(2, "2nd"), (3, "3rd"), (5, "5th"), (11, "11th"), (21, "21st")]
)
def test_ranks(number: int, text: str) -> None:
    assert ordinal(number) == text


def test_a_choice_on_test_is_noted_on_test_alone(call: Call, tmp_path: Path) -> None:
    train_small(tmp_path, name="paper", select_on="test")
    words = ("evaluate", "paper", "--home", tmp_path, "--json", "--split")
    (test,) = call(*words, "test").json()["systems"]
    assert (test["select_on"], test["notes"]) == ("test", ["model: chosen on test, optimistic"])
    (val,) = call(*words, "val").json()["systems"]
    assert val["notes"] == []


def test_a_name_is_not_hidden_by_a_file(call: Call, home: Path, trained: TrainingResult) -> None:
    words = ("evaluate", "small", "--home", home, "--json")
    Path("small").write_bytes(b"no checkpoint")
    done = call(*words)
    assert done.code == 0, done.err
    (system,) = done.json()["systems"]
    assert system["checkpoint"] == trained.checkpoint
    assert system["notes"] == ["small is also a file or folder here; ./small names that"]
    refused = call("evaluate", "./small", "--home", home)
    assert (refused.code, "is not a checkpoint" in refused.err) == (2, True)
    Path("other").write_bytes(Path(trained.checkpoint).read_bytes())
    done = call("evaluate", "other", "--home", home, "--json")
    assert done.json()["systems"][0]["fingerprint"] == trained.fingerprint


def test_an_open_search_shows_its_baseline_and_how_to_go_on(
    call: Call, trained: TrainingResult, store_run: StoreRun, build_open_run: BuildRun
) -> None:
    home = store_run(build_open_run())
    place = home / "runs" / "demo" / "checkpoints" / "1" / "best.pt"  # of the winner, trial 1
    place.parent.mkdir(parents=True)
    place.write_bytes(Path(trained.checkpoint).read_bytes())
    done = call("evaluate", "demo", "--home", home, "--json")
    assert done.code == 0, done.err
    (system,) = done.json()["systems"]
    assert system["system"] == "baseline"
    (note,) = system["notes"]
    assert "search 'demo' is open: baseline only" in note
    assert f"`tuner runs resume demo --home {home}`" in note


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown split": (("small", "--split", "dev"), "--split 'dev' is unknown; known: train, val"),
    "unknown data set": (("small", "--dataset", "moon"), "--dataset 'moon' is unknown"),
    "unknown device": (("small", "--device", "tpu"), "--device 'tpu' is unknown"),
    "no data folder": (("small", "--dataset", "h36m", "--data-dir", "nowhere"), "nowhere"),
    "unknown key points": (("small", "--keypoints", "sonar"), "sonar"),
    "unknown name": (("smal",), "'smal' is no checkpoint, training, search or model"),
    "unknown training": (("training:smal",), "no training 'smal'"),
    "training without a name": (("training:",), "training: needs a name behind it; there are: s"),
    "search without a name": (("run:",), "run: needs a name behind it; there are: none"),
    "empty folder": (("./",), "it is a folder without best.ckpt or training.json"),
    "stride of a single frame": (("small", "--stride", "5000"), "leaves one pose of each of the"),
    "unknown search": (("run:small",), "no search 'small'"),
    "no file": (("some/where/best.ckpt",), "some/where/best.ckpt: there is no such checkpoint"),
    "model without a tracker": (
        ("models:/m@champion", "--tracking-uri", "none"),
        "--tracking-uri none keeps no models",
    ),
    "csv in no folder": (("small", "--csv", "no/where.csv"), "there is no folder no"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_measured_is_refused(
    call: Call, home: Path, trained: TrainingResult, words: tuple[str, ...], said: str
) -> None:
    done = call("evaluate", *words, "--home", home)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("tuner: ")
    assert said in done.err


def test_damaged_checkpoints_are_refused_by_name(
    call: Call, trained: TrainingResult, tmp_path: Path
) -> None:
    content = Path(trained.checkpoint).read_bytes()
    for name, damaged, said in (
        ("short.ckpt", content[:2000], "is damaged or truncated"),
        ("flipped.ckpt", content[:-1] + bytes([content[-1] ^ 1]), "is damaged or truncated"),
        ("text.ckpt", b"hello", "is not a checkpoint"),
        ("empty.ckpt", b"", "is not a checkpoint"),
    ):
        path = tmp_path / name
        path.write_bytes(damaged)
        done = call("evaluate", path)
        assert done.code == 2
        assert f"{path} {said}" in done.err


def test_the_last_checkpoint_of_a_finished_training_points_to_the_best(
    call: Call, trained: TrainingResult
) -> None:
    done = call("evaluate", Path(trained.checkpoint).with_name("last.ckpt"))
    assert done.code == 2
    assert "give the checkpoint `best.ckpt`" in done.err


def test_a_training_that_has_not_finished_is_refused(
    call: Call, home: Path, trained: TrainingResult, tmp_path: Path
) -> None:
    train_small(tmp_path, name="small")
    (tmp_path / "trainings" / "small" / "result.json").unlink()
    done = call("evaluate", "small", "--home", tmp_path)
    assert done.code == 2
    assert "training 'small' has not finished; repeat its `tuner train` command" in done.err


def test_a_training_that_failed_says_why(call: Call, tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match="non-finite"):
        train_small(tmp_path, name="wild", lr_p=1e18)
    for named in ("wild", tmp_path / "trainings" / "wild"):
        done = call("evaluate", named, "--home", tmp_path)
        assert done.code == 2
        assert "training 'wild' failed: " in done.err
        assert "non-finite in epoch 1" in done.err
