"""The example in the documentation of own data writes a file that loads without faults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from trainables.config import DataConfig
from trainables.data.loading import load_dataset
from trainables.data.poses.bvh_map import BvhMap
from trainables.data.poses.metadata import PosesMetadata
from trainables.data.poses.table import COLUMNS
from tuner.cli import app

TEXT = (Path(__file__).parents[3] / "docs" / "own_data.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)
    return str(found)


def test_the_example_writes_a_file_without_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TUNER_DATA_CACHE", "off")
    exec(compile(block("python"), "docs/own_data.md", "exec"), {})
    dataset = load_dataset(DataConfig(name="poses"), tmp_path)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 60,
        "val": 60,
        "test": 60,
    }
    shown = CliRunner().invoke(
        app, ["data", "verify", "--dataset", "poses", "--data-dir", str(tmp_path)]
    )
    assert (shown.exit_code, "problem:" in shown.output) == (0, False), shown.output


def test_every_column_and_every_field_is_described() -> None:
    rows = re.findall(r"^\| `(\w+)`( \(optional\))? \|", TEXT, flags=re.MULTILINE)
    described = dict(reversed(rows))  # of `fps`, a column and a field, the column counts
    for name, column in COLUMNS.items():
        assert described[name] == ("" if column.needed else " (optional)")
    assert set(described) == set(COLUMNS) | set(PosesMetadata.model_fields)


def test_every_field_of_the_example_map_is_one() -> None:
    example = yaml.safe_load(block("yaml"))
    assert set(example) <= set(BvhMap.model_fields)
    missing = set(BvhMap.model_fields) - set(example)
    assert missing == {"stride"}
