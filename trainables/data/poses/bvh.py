"""BVH files, seen by virtual cameras, as a table of poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from trainables.data.cameras import Float64Array
from trainables.data.poses.bvh_map import BvhMap, FileFacts
from trainables.data.poses.bvh_motion import read_bvh
from trainables.data.poses.bvh_views import NEAREST_M, observe_in_ring, views_of_map
from trainables.data.poses.metadata import CameraEntry, PosesMetadata, camera_entry
from trainables.data.poses.table import Labels, PoseTable, check_table
from trainables.data.sample.scene import View
from trainables.errors import DataError
from trainables.names import first_few

__all__ = ["convert_bvh"]

DATASET_NAME = "bvh"


@dataclass(frozen=True)
class _Seen:
    """One file as one camera sees it: joints in its frame, metres, and pixels."""

    path: Path
    facts: FileFacts
    view: View
    frames: np.ndarray[Any, Any]
    fps: float
    points_m: Float64Array
    pixels: Float64Array


def convert_bvh(paths: Sequence[Path], mapping: BvhMap) -> PoseTable:
    """Turn BVH files into poses, each file a sequence, seen by the map's cameras.

    Args:
        paths: The files; their names, without the suffix, must differ.
        mapping: How their joints, units and names are to be read.

    Returns:
        A table whose 2D is the exact projection of its 3D (the notes say so).

    Raises:
        DataError: A file is malformed, does not fit the map, or cannot be seen by its cameras.
    """
    stems = [path.stem for path in paths]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise DataError(f"several files are called {first_few(twice)}; give them different names")
    if not paths:
        raise DataError("no BVH file; name at least one")
    seen = [view for path in paths for view in _see(path, mapping)]
    cameras: dict[str, CameraEntry] = {
        part.view.name: camera_entry(part.view.camera, part.view.camera.size, None)
        for part in seen
    }
    reference = mapping.skeleton
    metadata = PosesMetadata(
        format_version=1,
        name=DATASET_NAME,
        unit="m",
        skeleton=reference,
        cameras=cameras,
        notes=("simulated: cameras, and 2D as their exact projection of the 3D in BVH files",),
    )
    return check_table(metadata, MappingProxyType(_columns(seen)), "BVH files")


def _see(path: Path, mapping: BvhMap) -> list[_Seen]:
    motion = read_bvh(path)
    stride = mapping.stride_at(motion.fps, path)
    points_m = mapping.place_joints(motion, path)[::stride]
    frames = np.arange(len(motion))[::stride]
    views = views_of_map(mapping)
    if views:
        observed = [(view, *view.observe(points_m)) for view in views]
    else:
        observed = observe_in_ring(points_m, path, seed=mapping.seed)
    for view, seen_m, _ in observed:
        behind = np.flatnonzero((seen_m[..., 2] <= NEAREST_M).any(axis=1))
        if behind.size:
            raise DataError(
                f"{path}: in frame {frames[behind[0]]} a joint is behind camera {view.name!r}, or "
                "nearer than 10 cm; move the camera"
            )
    facts, fps = mapping.facts_of(path), motion.fps / stride
    return [_Seen(path, facts, view, frames, fps, m, px) for view, m, px in observed]


def _columns(seen: Sequence[_Seen]) -> dict[str, Any]:
    lengths = [len(part.frames) for part in seen]

    def text(values: Sequence[str]) -> Labels:
        return Labels.of(np.repeat(np.asarray(values, dtype=np.str_), lengths))

    return {
        "pose_2d": np.concatenate([part.pixels for part in seen]),
        "pose_3d": np.concatenate([part.points_m for part in seen]),
        "subject": text([part.facts.subject for part in seen]),
        "action": text([part.facts.action for part in seen]),
        "sequence": text([part.path.stem for part in seen]),
        "frame": np.concatenate([part.frames for part in seen]),
        "camera": text([part.view.name for part in seen]),
        "split": text([part.facts.split for part in seen]),
        "source": text([part.path.stem for part in seen]),
        "fps": np.repeat([part.fps for part in seen], lengths),
    }
