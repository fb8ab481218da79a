"""Lifts the 2D poses of a file with what a user names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.errors import ConfigurationError, RunFailedError
from tuner.settings import Locations
from tuner.wiring.files import check_writable, write_whole
from tuner.wiring.lifter import device_named, load_lifter
from tuner.wiring.pose_files import check_format, normalise, notes_on_range, read_keypoints
from tuner.wiring.pose_output import UNIT, encode_poses
from tuner.wiring.targets import find_targets, model_of

__all__ = ["ImageSize", "Prediction", "predict_file"]


@dataclass(frozen=True)
class ImageSize:
    """Size of the images that key points in pixels are of; None for normalised key points.

    Attributes:
        width: Pixels.
        height: Pixels.
    """

    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Prediction:
    """What was lifted.

    Attributes:
        target: What the user named.
        system: `model`, or of a search the winner that was used.
        checkpoint: Where the weights were read.
        input: File of the 2D poses.
        out: File of the 3D poses.
        poses: How many.
        joints: Names of the joints, in order.
        skeleton: Name of the skeleton.
        unit: Unit of the 3D poses.
        frame: What they are relative to.
        notes: How the input was read, where that is not plain.
    """

    target: str
    system: str
    checkpoint: str
    input: str
    out: str
    poses: int
    joints: tuple[str, ...]
    skeleton: str
    unit: str = UNIT
    frame: str = "camera, root-relative"
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values: what `tuner predict --json` prints."""
        return asdict(self)


def predict_file(
    named: str,
    source: Path,
    out: Path,
    locations: Locations,
    *,
    size: ImageSize,
    device: str = "auto",
) -> Prediction:
    """Lift the poses of a file and write them to another, as a whole or not at all.

    Args:
        named: As `find_targets` takes it; of a search SEAL's winner is used.
        source: File of 2D poses; see `read_keypoints`.
        out: File of 3D poses; its suffix names the format.
        locations: Where trainings, searches and models are.
        size: Size of the images, for key points in pixels.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        ConfigurationError: If anything that was named is missing, malformed or does not fit.
        CheckpointError: If the checkpoint is damaged.
        RunFailedError: If the net gives NaN or infinity.
        TrackingError: If MLflow cannot be reached.
    """
    check_format(source, what="INPUT")
    suffix = check_format(out, what="--out")
    check_writable(out, option="--out")
    if out.resolve() == source.resolve():
        raise ConfigurationError(f"--out {out}: is the file that is read; name another")
    where = device_named(device)
    with find_targets(named, locations) as targets:
        target = model_of(targets)
        lifter = load_lifter(target.checkpoint, device=where)
    keypoints = read_keypoints(source, lifter.skeleton)
    x = normalise(keypoints.values, path=source, width=size.width, height=size.height)
    notes = keypoints.notes
    if size.width is None:
        notes += notes_on_range(x, path=source)
    y = lifter.lift(x)
    if not np.isfinite(y).all():
        raise RunFailedError(f"{target.checkpoint} predicts NaN or infinity; nothing was written")
    write_whole(out, encode_poses(y, lifter.skeleton, suffix))
    return Prediction(
        target=named,
        system=target.system,
        checkpoint=str(target.checkpoint),
        input=str(source),
        out=str(out),
        poses=len(y),
        joints=lifter.skeleton.joints,
        skeleton=lifter.skeleton.name,
        notes=(*target.notes, *lifter.notes, *notes),
    )
