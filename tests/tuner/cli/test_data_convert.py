"""`tuner data convert`: any data set, or BVH files, as one poses file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from tests.trainables.data.bvh_writer import body, moving, write_bvh
from trainables.config import DataConfig
from trainables.data.loading import load_dataset
from trainables.data.poses.bvh_map import load_bvh_map
from trainables.errors import DataError
from tuner.cli.data_convert import register_convert
from tuner.errors import ConfigurationError

Convert = Callable[..., Any]


@pytest.fixture
def convert() -> Convert:
    """Run `tuner data convert ARGUMENTS`; a user's mistake is raised."""
    app = typer.Typer()
    app.callback()(lambda: None)
    register_convert(app)

    def run(*arguments: object) -> Any:
        done = CliRunner().invoke(
            app, ["convert", *map(str, arguments), "--json"], catch_exceptions=True
        )
        if done.exception is not None:
            raise done.exception
        return json.loads(done.stdout)

    return run


def write_motions(folder: Path, *stems: str) -> list[Path]:
    """Files of people of true size: a unit is a metre, unlike in the bundled maps."""
    root = body(unit=0.0564444)
    paths = []
    for number, stem in enumerate(stems):
        values = moving(root, 6, seed=number)
        values[:, :3] /= 0.0564444
        paths.append(write_bvh(folder / f"{stem}.bvh", root, values))
    return paths


@pytest.mark.parametrize("name", ["poses.npz", "poses.parquet"])
def test_a_converted_data_set_has_the_same_hash(
    convert: Convert, tmp_path: Path, name: str
) -> None:
    found = convert("--dataset", "sample", "--set", "stride=20", "--to", tmp_path / name)
    dataset = load_dataset(DataConfig(stride=20))
    assert found == {
        "out": str(tmp_path / name),
        "poses": sum(map(len, dataset.splits.values())),
        "sequences": len(dataset.sequences),
        "splits": {split: len(rows) for split, rows in dataset.splits.items()},
        "hash": dataset.content_hash(),
        "notes": list(dataset.notes),
        "problems": [],
    }
    again = load_dataset(DataConfig(name="poses"), tmp_path)
    assert again.content_hash() == found["hash"]


@pytest.mark.parametrize(
    "field", ["content_hash=x", "max_eval_poses=9", "frames=3", "clip_step=2"]
)
def test_a_field_that_says_how_data_are_used_is_refused(
    convert: Convert, tmp_path: Path, field: str
) -> None:
    out = tmp_path / "a.npz"
    with pytest.raises(ConfigurationError, match=f"{field.split('=')[0]}: has no effect on what"):
        convert("--dataset", "sample", "--set", "stride=20", "--set", field, "--to", out)
    assert not out.exists()


@pytest.mark.parametrize("option", ["--test", "--val"])
def test_a_pattern_that_fits_no_file_is_refused(
    convert: Convert, tmp_path: Path, option: str
) -> None:
    files = write_motions(tmp_path, "01_01", "02_01")
    message = rf"{option} '03\*': fits none of the files \(without \.bvh\): 01_01, 02_01"
    with pytest.raises(ConfigurationError, match=message):
        convert(*files, "--map", "cmu", option, "03*", "--to", tmp_path / "a.npz")


def test_bvh_files_become_a_data_set(convert: Convert, tmp_path: Path) -> None:
    files = write_motions(tmp_path, "01_01", "02_01", "03_01")
    out = tmp_path / "poses.npz"
    found = convert(*files, "--map", "cmu", "--test", "03*", "--val", "02*", "--to", out)
    assert found["splits"] == {"train": 24, "val": 24, "test": 24}
    assert (found["poses"], found["sequences"]) == (72, 12)
    assert load_dataset(DataConfig(name="poses"), tmp_path).content_hash() == found["hash"]


def test_files_of_one_split_are_written_without_a_hash(convert: Convert, tmp_path: Path) -> None:
    files = write_motions(tmp_path, "01_01")
    found = convert(*files, "--map", "cmu", "--to", tmp_path / "poses.npz")
    assert (found["splits"], found["hash"]) == ({"train": 24}, None)
    with pytest.raises(DataError, match="the column split has train, expected rows of train and"):
        load_dataset(DataConfig(name="poses"), tmp_path)


def test_a_file_that_exists_is_replaced_only_by_force(convert: Convert, tmp_path: Path) -> None:
    out = tmp_path / "poses.npz"
    out.write_bytes(b"mine")
    arguments = ("--dataset", "sample", "--set", "stride=40", "--to", out)
    with pytest.raises(ConfigurationError, match="exists; name another file, or give --force"):
        convert(*arguments)
    assert out.read_bytes() == b"mine"
    assert convert(*arguments, "--force")["out"] == str(out)
    assert out.read_bytes() != b"mine"


def test_implausible_motion_is_refused_and_nothing_is_written(
    convert: Convert, tmp_path: Path
) -> None:
    files = write_motions(tmp_path, "a", "b", "c")
    out = tmp_path / "out" / "poses.npz"
    out.parent.mkdir()
    other = tmp_path / "other.bvh"
    other.write_text(files[0].read_text(encoding="utf-8").replace("UpLeg", "Thigh"), "utf-8")
    with pytest.raises(DataError, match=r"lacks the joints for hip \(LeftUpLeg"):
        convert(other, "--map", "cmu", "--test", "other", "--to", out)
    with pytest.raises(DataError, match="the thigh measures"):
        convert(*files, "--map", "mixamo", "--test", "c", "--to", out)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "x.npz"), "give either BVH files, or --dataset NAME"),
        (("a.bvh", "--dataset", "sample", "--to", "x.npz"), "give either BVH files, or --dataset"),
        (("a.bvh", "--to", "x.npz"), "--map is missing"),
        (("a.bvh", "--map", "cmu", "--set", "fold=1", "--to", "x.npz"), "--set would have no eff"),
        (("--dataset", "sample", "--map", "cmu", "--to", "x.npz"), "--map would have no effect"),
        (("--dataset", "sample", "--to", "x.csv"), "suffix '.csv' is unknown; known: .npz"),
        (("--dataset", "sample", "--to", "no/x.npz"), "there is no folder no; create it first"),
        (("--dataset", "nosuch", "--to", "x.npz"), "name: Input should be 'sample', 'h36m'"),
        (("--dataset", "sample", "--set", "fold=2", "--to", "x.npz"), "fold=2 has no effect on"),
        (("--dataset", "sample", "--set", "fold", "--to", "x.npz"), "expected FIELD=VALUE"),
    ],
)
def test_a_mistake_is_refused(
    convert: Convert,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        convert(*arguments)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_command_starts_without_heavy_imports() -> None:
    code = "import sys, tuner.cli.data_convert; print({'torch', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_verify_will_call_a_problem_is_said_at_once(convert: Convert, tmp_path: Path) -> None:
    """A left elbow that the map puts between both."""
    mapping = load_bvh_map("cmu").model_dump(exclude_none=True)
    mapping["joints"]["l_elbow"] = {"LeftForeArm": 1, "RightForeArm": 1}
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump(mapping), encoding="utf-8")
    files = write_motions(tmp_path, "01_01", "02_01", "03_01")
    where = ("--val", "02*", "--test", "03*", "--to", tmp_path / "a.npz")
    problems = convert(*files, "--map", path, *where)["problems"]
    assert any("l_elbow" in problem for problem in problems), problems
