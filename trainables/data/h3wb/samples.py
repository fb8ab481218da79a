"""What both forms of H3WB are read into: loose poses, and where each was taken."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.dataset import FloatArray
from trainables.data.h36m.cameras import CAMERA_IDS
from trainables.errors import DataError

__all__ = ["NOWHERE", "Samples", "Take", "place_is_known", "take_of_image"]


@dataclass(frozen=True, order=True)
class Take:
    """Where samples were taken.

    Attributes:
        subject: Who moves.
        action: What is done.
        view: One of `CAMERA_IDS`; None if unknown.
    """

    subject: str
    action: str
    view: str | None


NOWHERE = Take("unknown", "unknown", None)


@dataclass(frozen=True)
class Samples:
    """All samples, in the order that the folds cut.

    Attributes:
        points_mm: Joints in the camera's frame, millimetres, (N, 133, 3).
        pixels: 2D key points, pixels, (N, 133, 2).
        takes: Where samples were taken.
        take: Index into `takes`, (N,).
        frame: Frame number in the take, (N,).
        moment: Number of the moment, from 0, never falling: the views of a moment are samples
            that stay together, in one split, (N,).
        ids: Names of the samples; None where they have none.
        knows_place: Whether the 3D says where in the camera's frame a pose is.
        notes: What was found, for people.
    """

    points_mm: FloatArray
    pixels: FloatArray
    takes: tuple[Take, ...]
    take: NDArray[np.intp]
    frame: NDArray[np.intp]
    moment: NDArray[np.intp]
    ids: tuple[str, ...] | None
    knows_place: bool
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.points_mm)


_SUBJECT = re.compile(r"(?:^|[/_])(S\d+)(?=[/_ ])")
_CAMERA = re.compile(rf"({'|'.join(CAMERA_IDS)})(?!\d)")
_FRAME = re.compile(r"[/_. ](?:[A-Za-z]+[_ ]?)?(\d{1,9})(?:\.[A-Za-z]+)?")
"""All that follows the camera; with more numbers than one it is not clear which is the frame's."""


def take_of_image(path: str) -> tuple[Take, int | None]:
    """Where and when an image was taken: `S1/Images/Directions 1.54138969/frame_0001.jpg`.

    Args:
        path: As Human3.6M's tools name images, or nearly so.

    Returns:
        The take, `NOWHERE` if the path does not name subject, action and camera; and the number
        of the frame, None if it is not clear.
    """
    path = path.replace("\\", "/")
    subject = _SUBJECT.search(path)
    camera = _CAMERA.search(path, subject.end() if subject else 0)
    if subject is None or camera is None:
        return NOWHERE, None
    between = path[subject.end() : camera.start()]
    action = re.sub(r"^(Images|Videos)(/|$)", "", between.strip("/_. ")).strip("/_. ")
    if not action:
        return NOWHERE, None
    action = re.sub(r"_(\d+)$", r" \1", action)  # its take, written as `base_action` wants it
    frame = _FRAME.fullmatch(path, camera.end())
    return Take(subject[1], action, camera[1]), None if frame is None else int(frame[1])


def place_is_known(points_mm: NDArray[Any], names: list[str], where: str) -> bool:
    """Whether poses are where the camera saw them; else they are relative to some joint.

    Args:
        points_mm: Joints in the camera's frame, (N, J, 3).
        names: Name of each pose, for messages, N.
        where: The file, for messages.

    Returns:
        True if all joints of all poses are in front of the camera, False if no pose is.

    Raises:
        DataError: Some poses are in front of the camera and others are not.
    """
    in_front: NDArray[np.bool_] = np.all(points_mm[..., 2] > 0, axis=1)
    if in_front.any() and not in_front.all():
        behind = np.flatnonzero(~in_front)
        raise DataError(
            f"{where}: {len(behind)} of {len(in_front)} poses have joints behind the camera "
            f"(z <= 0), first {names[int(behind[0])]}, the others are in front of it; expected "
            "all 3D in the camera's frame, or all of it relative to a joint"
        )
    return bool(in_front.all())
