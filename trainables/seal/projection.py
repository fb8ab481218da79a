"""Camera projection on tensors, and the choice of hypotheses by it (3.6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainables.data.dataset import Camera, PoseDataset
from trainables.errors import DataError
from trainables.seal.device_data import require_split

__all__ = [
    "SplitViews",
    "Views",
    "camera_row",
    "distances_on_screen",
    "load_views",
    "project_to_screen",
    "reprojection_errors",
    "why_not_projected",
]

_NEAREST_M = 0.1
_MIRRORED_ROOT = (-1.0, 1.0, 1.0)
# of `camera_row`: the principal point cx and the tangential p1 belong to the x axis
_MIRRORED_CAMERA = (1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0)
_WIDEST_TANGENT = 1.0


class Views(NamedTuple):
    """Where poses are seen from.

    Attributes:
        root: Origin of each pose in the camera frame, metres, (..., 3).
        camera: Row of its camera, (..., 9), as `camera_row` returns it.
    """

    root: Tensor
    camera: Tensor

    def mirrored(self, flipped: Tensor) -> Views:
        """Views of a batch of which some clips are mirrored, and so are root and camera.

        Args:
            flipped: Which, (B,), bool.
        """
        chosen = flipped[:, None, None]
        root, camera = (
            torch.where(chosen, values * values.new_tensor(signs), values)
            for values, signs in ((self.root, _MIRRORED_ROOT), (self.camera, _MIRRORED_CAMERA))
        )
        return Views(root, camera)

    def first(self, count: int) -> Views:
        """Views of the first clips of a batch."""
        return Views(self.root[:count], self.camera[:count])


class SplitViews(NamedTuple):
    """Views of all poses of a split.

    Attributes:
        root: (N, 3), metres.
        camera: Rows of the cameras of all sequences of the data set, (S, 9).
    """

    root: Tensor
    camera: Tensor

    def gather(self, frames: Tensor, sequence: Tensor) -> Views:
        """Views of clips.

        Args:
            frames: Positions of their frames in the split, (B, T), int64.
            sequence: Sequence of each clip, (B,), int64.
        """
        camera = self.camera[sequence][:, None].expand(-1, frames.shape[1], -1)
        return Views(self.root[frames], camera)


def camera_row(camera: Camera) -> list[float]:
    """fx, fy, cx, cy in normalised screen coordinates, k1, k2, k3, p1, p2."""
    scale = 2.0 / camera.width
    fx, fy = (value * scale for value in camera.focal)
    cx = camera.center[0] * scale - 1.0
    cy = camera.center[1] * scale - camera.height / camera.width
    return [fx, fy, cx, cy, *camera.radial, *camera.tangential]


def project_to_screen(points: Tensor, camera: Tensor) -> Tensor:
    """Project camera-frame points to normalised screen coordinates, lens distortion included.

    Human3.6M's model, as `trainables.data.cameras.project`. Points can be anywhere: the slope
    of the ray is limited to 1 in each direction, as in VideoPose3D, and the depth from below.

    Args:
        points: Camera frame, metres, (..., J, 3).
        camera: Rows of `camera_row`, (..., 9).

    Returns:
        (..., J, 2).
    """
    depth = points[..., 2:].clamp(min=_NEAREST_M)
    flat = (points[..., :2] / depth).clamp(-_WIDEST_TANGENT, _WIDEST_TANGENT)
    focal, center, radial, tangential = camera.unsqueeze(-2).split([2, 2, 3, 2], dim=-1)
    square = flat.square().sum(dim=-1, keepdim=True)
    powers = torch.cat([square, square.square(), square**3], dim=-1)
    stretch = 1.0 + (radial * powers).sum(dim=-1, keepdim=True)
    tilt = (tangential * flat).sum(dim=-1, keepdim=True)
    screen: Tensor = (flat * (stretch + tilt) + tangential * square) * focal + center
    return screen


def reprojection_errors(hypotheses: Tensor, truth: Tensor, views: Views) -> Tensor:
    """Per-joint distances in the image between hypotheses and ground truth, MPJPE_2D's terms.

    Args:
        hypotheses: Root-relative poses, metres, (H, ..., J, 3).
        truth: Ground truth, root-relative, metres, (..., J, 3).
        views: Where the poses are seen from, (..., 3) and (..., 9).

    Returns:
        Normalised screen coordinates, (H, ..., J).
    """
    wanted = project_to_screen(truth + views.root.unsqueeze(-2), views.camera)
    return distances_on_screen(hypotheses, wanted, views)


def distances_on_screen(hypotheses: Tensor, screen: Tensor, views: Views) -> Tensor:
    """Per-joint distances between the projections of hypotheses and 2D poses.

    Args:
        hypotheses: Root-relative poses, metres, (H, ..., J, 3).
        screen: Normalised screen coordinates, (..., J, 2).
        views: Where the poses are seen from, (..., 3) and (..., 9).

    Returns:
        Normalised screen coordinates, (H, ..., J).
    """
    seen = project_to_screen(hypotheses + views.root.unsqueeze(-2), views.camera)
    errors: Tensor = torch.linalg.vector_norm(seen - screen, dim=-1)
    return errors


def why_not_projected(dataset: PoseDataset, name: str) -> str | None:
    """What the data lack to project the poses of a split; None if nothing.

    Raises:
        DataError: If the data set has no such split.
    """
    split = require_split(dataset, name)
    if split.root is None:
        return f"data set {dataset.name!r} does not know where the root is"
    for number in np.unique(split.sequence).tolist():
        info = dataset.sequences[number]
        if info.camera is None:
            return f"data set {dataset.name!r} has no camera for {info.subject} {info.action!r}"
    return None


def load_views(
    dataset: PoseDataset, name: str, *, device: torch.device, dtype: torch.dtype
) -> SplitViews:
    """Bring root positions and cameras of a split to the device.

    Raises:
        DataError: If the data set has no such split, no root positions, or a sequence of the
            split without a calibrated camera.
    """
    split = require_split(dataset, name)
    lacking = why_not_projected(dataset, name)
    if lacking is not None:
        raise DataError(
            f"{lacking}; choosing hard negatives needs to project poses: set "
            "hard_negatives=false, or use calibrated data with camera-frame positions"
        )
    cameras = (info.camera for info in dataset.sequences)
    rows = [[0.0] * 9 if camera is None else camera_row(camera) for camera in cameras]
    return SplitViews(
        root=torch.tensor(split.root).to(device, dtype),
        camera=torch.tensor(rows, dtype=torch.float64).to(device, dtype),
    )
