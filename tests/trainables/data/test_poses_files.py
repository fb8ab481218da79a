"""Poses files that are none, or that are after more than being read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainables.data.poses_writer import (
    small_columns,
    small_metadata,
    write_npz,
    write_parquet,
)
from trainables.config import DataConfig
from trainables.data.dataset import PoseDataset
from trainables.data.loading import load_dataset
from trainables.errors import DataError, UnsafeDataError


def load(folder: Path) -> PoseDataset:
    return load_dataset(DataConfig(name="poses"), folder)


def test_metadata_that_are_too_long_are_refused_with_the_limit(tmp_path: Path) -> None:
    text = json.dumps(small_metadata(notes=["x" * 1_000_000]))
    write_npz(tmp_path, small_columns(), text)
    message = r"\[metadata.npy\]: texts of up to 10\d+ characters, expected at most 999999"
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_a_folder_with_no_file_or_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for poses.npz, found an empty folder"):
        load(tmp_path)
    write_npz(tmp_path, small_columns(), small_metadata())
    write_parquet(tmp_path, small_columns(), small_metadata())
    with pytest.raises(DataError, match=r"has both poses.npz and poses.parquet, expected one"):
        load(tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "poses.npz").symlink_to(write_npz(outside, small_columns(), small_metadata()))
    with pytest.raises(UnsafeDataError, match="is a link to"):
        load(inside)


class Bomb:
    """Leaves a trace if it is ever unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("name", ["metadata", "subject", "other"])
def test_pickled_objects_are_refused_and_nothing_is_run(tmp_path: Path, name: str) -> None:
    trace = tmp_path / "trace"
    columns = {**small_columns(), name: np.asarray([Bomb(trace)], dtype=object)}
    metadata = columns.pop("metadata", np.asarray(json.dumps(small_metadata())))
    with (tmp_path / "poses.npz").open("wb") as stream:
        np.savez(stream, metadata=metadata, **columns)
    with pytest.raises(UnsafeDataError, match=rf"\[{name}.npy\]: holds pickled objects; refused"):
        load(tmp_path)
    assert not trace.exists()


def test_harmless_objects_are_refused_too(tmp_path: Path) -> None:
    columns = {**small_columns(), "subject": np.asarray(["A"] * 18, dtype=object)}
    write_npz(tmp_path, columns, small_metadata())
    with pytest.raises(UnsafeDataError, match="expected plain arrays only: numbers, texts"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 2000, -30])
@pytest.mark.parametrize("write", [write_npz, write_parquet])
def test_a_truncated_file_is_refused(
    tmp_path: Path, write: Callable[..., Path], keep: int
) -> None:
    path = write(tmp_path, small_columns(), small_metadata())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"not a readable (npz|Parquet) file"):
        load(tmp_path)


def test_metadata_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "poses.npz").open("wb") as stream:
        np.savez(stream, metadata=np.zeros(3), **small_columns())
    with pytest.raises(DataError, match=r"\[metadata\]: found float64 \(3,\), expected one text"):
        load(tmp_path)
    with (tmp_path / "poses.npz").open("wb") as stream:
        np.savez(stream, **small_columns())
    with pytest.raises(DataError, match="expected metadata as well: a text"):
        load(tmp_path)


def test_a_list_of_absurd_length_is_refused_undecoded(tmp_path: Path) -> None:
    columns = small_columns()
    path = write_parquet(tmp_path, columns, small_metadata())
    table = pq.read_table(path)
    lengths = np.full(18, 51)
    lengths[0] = 5_000_000
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, pa.array(np.zeros(lengths.sum(), np.float32)))
    at = table.schema.get_field_index("pose_3d")
    pq.write_table(table.set_column(at, "pose_3d", lists), path, compression="zstd")
    assert path.stat().st_size < 50_000
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(DataError, match="pose_3d has 5000867 values in 18 rows, expected 51 in"):
        load(tmp_path)
    assert pa.default_memory_pool().max_memory() == before


def test_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, small_columns(), small_metadata())
    table = pq.read_table(path)
    offsets = pa.array([0, 33, *range(68, 613, 34)], pa.int32())
    lists = pa.ListArray.from_arrays(offsets, pa.array(np.zeros(612)))
    at = table.schema.get_field_index("pose_2d")
    pq.write_table(table.set_column(at, "pose_2d", lists), path)
    with pytest.raises(DataError, match="pose_2d has a list of 33 numbers, expected 34"):
        load(tmp_path)


def test_parquet_without_our_metadata_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"frame": [1]}), tmp_path / "poses.parquet")
    with pytest.raises(DataError, match=r"\[metadata 'poses'\]: missing; expected a text"):
        load(tmp_path)


def test_a_parquet_file_of_absurd_size_is_refused_by_its_footer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path, small_columns(), small_metadata())
    monkeypatch.setattr("trainables.data.poses.parquet_form.MAX_BYTES", 10_000)
    with pytest.raises(UnsafeDataError, match=r"claims to unpack to \d+ bytes \(18 rows\)"):
        load(tmp_path)
