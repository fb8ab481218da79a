"""Small poses files as users write them: with numpy alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.data.cameras import project
from trainables.data.dataset import Camera
from trainables.data.sample.bodies import draw_body, joint_positions
from trainables.data.sample.clips import read_clips, resample

CAMERA = Camera(1000, 800, (1100.0, 1110.0), (510.0, 395.0))
SPLITS = {"A": "train", "B": "val", "C": "test"}
FRAMES = 6


def small_columns(splits: Mapping[str, str] = SPLITS) -> dict[str, Any]:
    """Six frames of three people, each walking once before the one camera `left`."""
    clips, offsets = read_clips()
    joints = joint_positions(
        resample(clips["walk"], 10.0), draw_body("A", np.random.default_rng(1)), offsets
    )[:FRAMES]
    seen = joints * np.asarray([1.0, -1.0, -1.0]) + np.asarray([0.0, 1.0, 5.0])
    people = np.repeat(np.asarray(list(splits)), FRAMES)
    poses = np.concatenate([seen + 0.01 * number for number in range(len(splits))])
    return {
        "pose_2d": project(poses, CAMERA),
        "pose_3d": poses,
        "subject": people,
        "action": np.full(len(people), "walking"),
        "sequence": np.char.add("take of ", people),
        "frame": np.tile(np.arange(FRAMES), len(splits)),
        "camera": np.full(len(people), "left"),
        "split": np.asarray([splits[name] for name in people]),
    }


def small_metadata(**changes: Any) -> dict[str, Any]:
    """What goes with `small_columns`."""
    camera = {"width": 1000, "height": 800, "focal": CAMERA.focal, "center": CAMERA.center}
    facts = {
        "format_version": 1,
        "name": "mine",
        "unit": "m",
        "skeleton": "h36m_17",
        "cameras": {"left": camera},
        "fps": 10,
    }
    return {name: value for name, value in {**facts, **changes}.items() if value is not None}


def write_npz(folder: Path, columns: Mapping[str, Any], metadata: object) -> Path:
    """Write `poses.npz`; a text passes for metadata as it is."""
    path = folder / "poses.npz"
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    with path.open("wb") as stream:
        np.savez(stream, metadata=np.asarray(text), **columns)
    return path


def write_parquet(folder: Path, columns: Mapping[str, Any], metadata: object) -> Path:
    """Write `poses.parquet` as users of pyarrow would: lists of any length."""
    arrays = {
        name: pa.array(np.reshape(values, (len(values), -1)).tolist())
        if np.ndim(values) > 1
        else pa.array(values)
        for name, values in columns.items()
    }
    path = folder / "poses.parquet"
    facts = {"poses": json.dumps(metadata)}
    pq.write_table(pa.table(arrays).replace_schema_metadata(facts), path)
    return path
