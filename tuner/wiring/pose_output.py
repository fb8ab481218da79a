"""Files of 3D poses: what is written in each format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.skeletons import Skeleton

__all__ = ["UNIT", "encode_poses"]

UNIT = "m"


def encode_poses(poses: NDArray[np.float32], skeleton: Skeleton, suffix: str) -> bytes:
    """3D poses as the content of a file; the unit stands in it, but for `.npy`.

    Args:
        poses: Root-relative joints, metres, (N, J, 3).
        skeleton: Their joints.
        suffix: `.npy`, `.npz`, `.json` or `.csv`.
    """
    return _WRITERS[suffix](poses, skeleton)


def _write_npy(poses: NDArray[np.float32], skeleton: Skeleton) -> bytes:
    del skeleton
    stream = io.BytesIO()
    np.save(stream, poses, allow_pickle=False)
    return stream.getvalue()


def _write_npz(poses: NDArray[np.float32], skeleton: Skeleton) -> bytes:
    stream = io.BytesIO()
    facts: dict[str, Any] = {"unit": np.asarray(UNIT), "skeleton": np.asarray(skeleton.name)}
    np.savez(stream, poses=poses, joints=np.asarray(skeleton.joints), **facts)
    return stream.getvalue()


def _write_json(poses: NDArray[np.float32], skeleton: Skeleton) -> bytes:
    facts = {"unit": UNIT, "skeleton": skeleton.name, "joints": list(skeleton.joints)}
    return (json.dumps({**facts, "poses": poses.tolist()}) + "\n").encode()


def _write_csv(poses: NDArray[np.float32], skeleton: Skeleton) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(f"{joint}_{axis}_{UNIT}" for joint in skeleton.joints for axis in "xyz")
    writer.writerows(poses.reshape(len(poses), -1).tolist())
    return text.getvalue().encode()


_WRITERS: Mapping[str, Callable[[NDArray[np.float32], Skeleton], bytes]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".json": _write_json,
    ".csv": _write_csv,
}
