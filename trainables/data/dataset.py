"""What every data loader returns: float32 arrays, a skeleton, splits, a content hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainables.skeletons import Skeleton
from trainables.skeletons.description import skeleton_reference

__all__ = ["Camera", "FloatArray", "IntArray", "PoseDataset", "PoseSplit", "SequenceInfo"]

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Camera:
    """A camera: intrinsics in pixels, lens distortion, pose in the world.

    Attributes:
        width: Image width, pixels.
        height: Image height, pixels.
        focal: Focal lengths (fx, fy), pixels.
        center: Principal point (cx, cy), pixels.
        radial: Radial distortion k1, k2, k3.
        tangential: Tangential distortion p1, p2.
    """

    width: int
    height: int
    focal: tuple[float, float]
    center: tuple[float, float]
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image, pixels."""
        return self.width, self.height


@dataclass(frozen=True)
class SequenceInfo:
    """One uninterrupted sequence seen by one camera.

    Attributes:
        subject: Who moves.
        action: What is done, with what tells it from the subject's other takes: `walking 1`.
        base_action: The action alone, `walking`; averages over actions pool by it.
        view: Name of the camera.
        source: The recording behind it, so that splits can keep recordings apart; None if
            unknown.
        fps: Frames per second.
        camera: Its calibration, if known.
        image_size: Width and height of its images, pixels, where the calibration is unknown.
        ordered: Whether its frames follow one another in time; of loose poses neither clips
            nor velocities can be taken.
    """

    subject: str
    action: str
    base_action: str
    view: str
    source: str | None
    fps: float
    camera: Camera | None = None
    image_size: tuple[int, int] | None = None
    ordered: bool = True

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the images, pixels; None if unknown."""
        return self.image_size if self.camera is None else self.camera.size


@dataclass(frozen=True)
class PoseSplit:
    """Frames of one split, sequence after sequence, each in order of time.

    Attributes:
        x: 2D input in normalised screen coordinates, (N, J, 2), float32.
        y: 3D target, camera frame, relative to the skeleton's origin, metres, (N, J, 3), float32.
        root: That origin's place in the camera frame, metres, (N, 3), float32; None if unknown.
        sequence: Index into `PoseDataset.sequences`, (N,), int32.
        frame: Frame number in the sequence's source, (N,), int32.
        valid: Whether a frame is scored, (N,), bool; None where all are. Frames that are not
            may still be the context of others.
    """

    x: FloatArray
    y: FloatArray
    root: FloatArray | None
    sequence: IntArray
    frame: IntArray
    valid: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])


@dataclass(frozen=True)
class PoseDataset:
    """A data set, decoded and verified.

    Attributes:
        name: Name of the data set.
        skeleton: Its skeleton; J is its number of joints.
        sequences: All sequences of all splits.
        splits: `train`, `val` and `test`.
        notes: What the loader found and did (trimmed frames, dropped sequences), for people.
    """

    name: str
    skeleton: Skeleton
    sequences: tuple[SequenceInfo, ...]
    splits: Mapping[str, PoseSplit]
    notes: tuple[str, ...] = ()

    def content_hash(self) -> str:
        """SHA-256 over names, sequences and all arrays of all splits (hexadecimal)."""
        return self._content_hash

    @cached_property
    def _content_hash(self) -> str:
        sha = hashlib.sha256()
        sha.update(f"{self.name}|{_skeleton_text(self.skeleton)}|".encode())
        sha.update(json.dumps([asdict(info) for info in self.sequences]).encode())
        for name in sorted(self.splits):
            split = self.splits[name]
            sha.update(f"{name}|{len(split)}|".encode())
            for array in (split.x, split.y, split.root, split.sequence, split.frame, split.valid):
                if array is not None:
                    sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()


def _skeleton_text(skeleton: Skeleton) -> str:
    """Its name if it is known here, else all of it: of two users' own, names may be the same."""
    reference = skeleton_reference(skeleton)
    return reference if isinstance(reference, str) else json.dumps(reference)
