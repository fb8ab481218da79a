from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[..., Any]


def test_the_bundled_data_are_described(call: Call) -> None:
    found = call("data", "inspect", "--json").json()
    assert found["dataset"] == "sample"
    assert len(found["hash"]) == 64
    assert set(found["splits"]) == {"train", "val", "test"}
    assert {"frames", "views", "subjects", "sequences"} <= set(found["splits"]["train"])
    assert found["problems"] == []


def test_the_description_for_people_names_splits_and_problems(call: Call) -> None:
    done = call("data", "inspect")
    assert done.code == 0
    assert "train" in done.out
    assert "no problems found" in done.out


def test_an_unknown_data_set_is_refused(call: Call) -> None:
    done = call("data", "inspect", "--dataset", "nosuch")
    assert (done.code, done.out) == (2, "")
    assert "--dataset 'nosuch' is unknown; known: sample, h36m" in done.err


def test_a_folder_without_the_files_is_refused(call: Call, tmp_path: Path) -> None:
    done = call("data", "inspect", "--dataset", "h36m", "--data-dir", tmp_path, "--json")
    assert (done.code, done.out) == (2, "")
    assert "data_3d_h36m.npz" in done.err
