from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.data.h36m_writer import make_positions, make_views, write_folder

Call = Callable[..., Any]
SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def test_the_bundled_data_are_described(call: Call) -> None:
    found = call("data", "inspect", "--json").json()
    assert found["dataset"] == "sample"
    assert len(found["hash"]) == 64
    assert set(found["splits"]) == {"train", "val", "test"}
    assert {"frames", "views", "subjects", "sequences"} <= set(found["splits"]["train"])
    assert found["problems"] == []


def test_the_description_tells_units_ranges_and_cameras(call: Call) -> None:
    test = call("data", "inspect", "--json").json()["splits"]["test"]
    assert test["actions"] == ["jump", "punch", "walk"]
    assert test["cameras"]["calibrated"] == test["cameras"]["of"] == 4 * 24
    assert test["cameras"]["image_sizes"] == ["1000x1000", "1000x1002"]
    assert test["fps"] == [25.0]
    assert test["scored"] == test["views"] == 4 * test["frames"]
    low, high = test["ranges"]["x_px"]
    assert 10 <= low < high <= 990
    low, high = test["ranges"]["distance_m"]
    assert 3 < low < high < 8


def test_the_description_for_people_names_splits_and_problems(call: Call) -> None:
    done = call("data", "inspect")
    assert done.code == 0
    assert "train" in done.out
    assert "2D x (px)" in done.out
    assert "upper arm" in done.out
    assert "no problems found" in done.out


@pytest.mark.parametrize("ending", list(SIGNATURES))
def test_the_skeleton_sheet_is_drawn(call: Call, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"sheet.{ending}"
    found = call("data", "inspect", "--figure", file, "--json").json()
    assert found["figure"] == str(file)
    assert file.read_bytes().startswith(SIGNATURES[ending])


def test_a_figure_of_another_kind_is_refused(call: Call, tmp_path: Path) -> None:
    done = call("data", "inspect", "--figure", tmp_path / "sheet.gif")
    assert (done.code, done.out) == (2, "")
    assert "expected a name that ends in .png, .svg, .pdf" in done.err


def test_an_option_of_another_data_set_is_refused(call: Call) -> None:
    done = call("data", "inspect", "--val-subject", "S1")
    assert (done.code, done.out) == (2, "")
    assert "val_subject='S1' has no effect on data set 'sample'" in done.err


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_an_unknown_data_set_is_refused(call: Call, command: str) -> None:
    done = call("data", command, "--dataset", "nosuch")
    assert (done.code, done.out) == (2, "")
    assert "--dataset 'nosuch' is unknown; known: sample, h36m" in done.err


def test_a_folder_without_the_files_is_refused(call: Call, tmp_path: Path) -> None:
    done = call("data", "inspect", "--dataset", "h36m", "--data-dir", tmp_path, "--json")
    assert (done.code, done.out) == (2, "")
    assert "data_3d_h36m.npz" in done.err


def test_verify_finds_nothing_wrong_with_the_bundled_data(call: Call) -> None:
    done = call("data", "verify")
    assert done.code == 0
    assert "no problems found" in done.out
    found = call("data", "verify", "--json").json()
    assert found["problems"] == []
    names = {check["name"] for check in found["checks"]}
    assert {"knees bend forward", "constant bones", "frozen frames", "shared poses"} <= names
    assert {check["verdict"] for check in found["checks"]} == {"ok"}


def test_verify_ends_with_1_where_a_single_pose_is_broken(call: Call, tmp_path: Path) -> None:
    positions = make_positions()
    views = make_views(positions)
    world = positions["S9"]["walk"].copy()
    world[7, 19] += np.float32(2.0)  # the left wrist, 3.5 m away in one frame
    positions["S9"]["walk"] = world
    folder = write_folder(tmp_path / "h", positions, views)
    where = ("--dataset", "h36m", "--data-dir", folder)
    done = call("data", "verify", *where, "--json")
    assert done.code == 1
    problems = "\n".join(done.json()["problems"])
    assert "test: a joint jumps in 8 of" in problems
    assert "S9 'walk'" in problems
    assert "S9: in 4 poses a bone differs" in problems
    done = call("data", "verify", *where)
    assert done.code == 1
    assert "problem: test: a joint jumps" in done.out


def test_verify_reports_what_training_would_refuse(call: Call, tmp_path: Path) -> None:
    positions = make_positions()
    views = make_views(positions)
    far = {s: {a: 1000 * w for a, w in actions.items()} for s, actions in positions.items()}
    folder = write_folder(tmp_path / "h", far, views)
    done = call("data", "verify", "--dataset", "h36m", "--data-dir", folder)
    assert done.code == 1
    assert "millimetres" in done.out
