"""The recorded motion behind `sample`: reading the bundled key frames, resampling them in time.

Axes of the clips: x forward, y up, z to the person's right; metres. See docs/data.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data.cameras import Float64Array
from trainables.data.npz_reader import read_npz

__all__ = ["CLIPS_FILE", "JOINT_COLUMNS", "Clip", "Motion", "read_clips", "resample"]

CLIPS_FILE = Path(__file__).parent / "clips.npz"

JOINT_COLUMNS: Mapping[str, slice] = {
    "root": slice(4, 8),
    "chest": slice(8, 12),
    "neck": slice(12, 16),
    "right_hip": slice(16, 20),
    "right_knee": slice(20, 21),
    "right_ankle": slice(21, 25),
    "right_shoulder": slice(25, 29),
    "right_elbow": slice(29, 30),
    "left_hip": slice(30, 34),
    "left_knee": slice(34, 35),
    "left_ankle": slice(35, 39),
    "left_shoulder": slice(39, 43),
    "left_elbow": slice(43, 44),
}
"""Columns of a key-frame row: 0 duration, 1-3 root place, then these rotations: quaternions
(w, x, y, z), and for knees and elbows one angle about z, radians."""


@dataclass(frozen=True)
class Clip:
    """A recorded clip.

    Attributes:
        name: Its name.
        rows: Key frames, (K, 44), columns as in `JOINT_COLUMNS`.
    """

    name: str
    rows: Float64Array

    @property
    def times_s(self) -> Float64Array:
        """Time of each key frame, seconds from 0, (K,); a row's duration lasts to the next."""
        durations = self.rows[:-1, 0]
        return np.concatenate([np.zeros(1), np.cumsum(durations)])


@dataclass(frozen=True)
class Motion:
    """A clip at a constant frame rate.

    Attributes:
        root_m: Place of the root, metres, (T, 3).
        rotations: Local rotation of each joint as a unit quaternion (w, x, y, z), (T, 4).
    """

    root_m: Float64Array
    rotations: Mapping[str, Float64Array]


def read_clips(path: Path = CLIPS_FILE) -> tuple[dict[str, Clip], dict[str, Float64Array]]:
    """Read the bundled clips.

    Args:
        path: The array file written by docs/maintainer/build_sample_clips.py.

    Returns:
        Clips by name, and the bone offsets: by joint, the vector from its parent, metres, (3,).

    Raises:
        DataError: The file is missing or damaged.
    """
    arrays = read_npz(path, ("clip_names", "clip_lengths", "rows", "bone_names", "offsets_m"))
    bounds = np.cumsum(arrays["clip_lengths"])[:-1]
    parts = np.split(arrays["rows"].astype(np.float64), bounds)
    names = arrays["clip_names"].tolist()
    clips = {name: Clip(name, rows) for name, rows in zip(names, parts, strict=True)}
    offsets = arrays["offsets_m"].astype(np.float64)
    return clips, dict(zip(arrays["bone_names"].tolist(), offsets, strict=True))


def resample(clip: Clip, fps: float) -> Motion:
    """Resample a clip to a constant frame rate: slerp for rotations, linear for the rest.

    Args:
        clip: The clip.
        fps: Frames per second.

    Returns:
        The motion; its first frame is the first key frame, the last lies within the clip.
    """
    times = clip.times_s
    # a thousandth of a frame of slack, so that rounding of the durations costs no last frame
    wanted = np.arange(int(times[-1] * fps + 1e-3) + 1) / fps
    after = np.clip(np.searchsorted(times, wanted, side="right"), 1, len(times) - 1)
    before = after - 1
    span = times[after] - times[before]
    fraction = np.clip((wanted - times[before]) / np.where(span > 0, span, 1.0), 0.0, 1.0)
    root = _blend(clip.rows[:, 1:4], before, after, fraction)
    rotations = {}
    for name, columns in JOINT_COLUMNS.items():
        values = clip.rows[:, columns]
        if values.shape[1] == 1:
            rotations[name] = _about_z(_blend(values, before, after, fraction)[:, 0])
        else:
            unit = values / np.linalg.norm(values, axis=1, keepdims=True)
            rotations[name] = slerp(unit[before], unit[after], fraction)
    return Motion(root_m=root, rotations=rotations)


def slerp(start: Float64Array, end: Float64Array, fraction: Float64Array) -> Float64Array:
    """Spherical interpolation along the shorter arc.

    Args:
        start: Unit quaternions, (T, 4).
        end: Unit quaternions, (T, 4).
        fraction: 0 at the start, 1 at the end, (T,).

    Returns:
        Unit quaternions, (T, 4).
    """
    cosine = np.sum(start * end, axis=1)
    end = np.where(cosine[:, None] < 0, -end, end)
    angle = np.arccos(np.clip(np.abs(cosine), 0.0, 1.0))
    sine = np.sin(angle)
    near = sine < 1e-6  # there the arc is a chord
    safe = np.where(near, 1.0, sine)
    weight_start = np.where(near, 1.0 - fraction, np.sin((1.0 - fraction) * angle) / safe)
    weight_end = np.where(near, fraction, np.sin(fraction * angle) / safe)
    blended = weight_start[:, None] * start + weight_end[:, None] * end
    return np.asarray(blended / np.linalg.norm(blended, axis=1, keepdims=True))


def _blend(
    values: Float64Array, before: np.ndarray, after: np.ndarray, fraction: Float64Array
) -> Float64Array:
    weight = fraction[:, None]
    return np.asarray((1.0 - weight) * values[before] + weight * values[after])


def _about_z(angle: Float64Array) -> Float64Array:
    """Quaternions of rotations about z, radians, (T,) to (T, 4)."""
    zero = np.zeros_like(angle)
    return np.stack([np.cos(angle / 2), zero, zero, np.sin(angle / 2)], axis=1)
