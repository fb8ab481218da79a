"""The checks of a sequence's array that all loaders share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import DataError

__all__ = [
    "MAX_LENGTH_DIFFERENCE",
    "check_sequence",
    "common_length",
    "require_finite",
    "require_mapping",
    "sequence_array",
]


MAX_LENGTH_DIFFERENCE = 2
"""Frames by which 2D and 3D of known copies of the data differ."""


def common_length(
    frames_3d: int,
    frames_2d: Sequence[int],
    name: str,
    notes: list[str],
    *,
    max_extra_2d: int = MAX_LENGTH_DIFFERENCE,
    files: str = "",
) -> int:
    """Frames to use of a sequence: as many as both have, if they differ by few.

    Args:
        frames_3d: Frames of the 3D.
        frames_2d: Frames of the 2D in each view.
        name: Sequence, for messages.
        notes: Takes what is trimmed.
        max_extra_2d: By so many frames the 2D may be longer; detections at times are, as they
            come from the video.
        files: The files, for the error.

    Raises:
        DataError: They differ by more, so that they may not belong together.
    """
    shortest, longest = min(frames_2d), max(frames_2d)
    shown = shortest if len(frames_2d) == 1 else list(frames_2d)
    found = f"{name}: 3D has {frames_3d} frames, 2D {shown}"
    if frames_3d - shortest > MAX_LENGTH_DIFFERENCE or longest - frames_3d > max_extra_2d:
        where = f"{files}: " if files else ""
        raise DataError(
            f"{where}{found}; expected the same number; make the files again from one copy of "
            "the data"
        )
    length = min(frames_3d, shortest)
    if shortest != longest or frames_3d != shortest:
        notes.append(f"{found}; trimmed to {length}")
    return length


def check_sequence(array: object, name: str, tail: tuple[int, int]) -> None:
    """Require floating point (T, joints, coordinates), not empty, finite.

    Args:
        array: What was read; 2D may have a third coordinate, its confidence.
        name: File and sequence, for messages.
        tail: Joints and coordinates (2 or 3).

    Raises:
        DataError: It is anything else.
    """
    require_finite(sequence_array(array, name, tail), name)


def sequence_array(array: object, name: str, tail: tuple[int, int]) -> NDArray[Any]:
    """The array without a 2D confidence, if its type and shape are right.

    Args:
        array: What was read, floating point, (T, joints, coordinates).
        name: File and sequence, for messages.
        tail: Joints and coordinates (2 or 3).

    Raises:
        DataError: It has another type or shape, or no frames.
    """
    expected = f"expected floating point numbers (frames, {tail[0]}, {tail[1]})"
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"{name} is {kind}, {expected}")
    extra = 1 if tail[1] == 2 else 0
    fits = array.ndim == 3 and array.shape[1] == tail[0]
    if not fits or not tail[1] <= array.shape[2] <= tail[1] + extra or len(array) == 0:
        raise DataError(f"{name} has shape {array.shape}, {expected}; is it another skeleton?")
    return array[..., : tail[1]]


def require_finite(
    array: NDArray[Any], name: str, *, needed: NDArray[np.bool_] | None = None
) -> None:
    """Refuse NaN and infinity.

    Args:
        array: (T, joints, coordinates).
        name: File and sequence, for messages.
        needed: Frames that matter, (T,); None for all.

    Raises:
        DataError: A frame that matters holds some; says how many and which first.
    """
    finite = np.isfinite(array).all(axis=(1, 2))
    if needed is not None:
        finite = finite | ~needed
    if not finite.all():
        raise DataError(
            f"{name} holds NaN or infinity in {np.count_nonzero(~finite)} of {len(array)} frames, "
            f"first in frame {int(np.argmin(finite))}; remove or repair those frames"
        )


def require_mapping(value: object, name: str, expected: str) -> dict[Any, Any]:
    """The value, if it is a mapping that is not empty.

    Args:
        value: What was read.
        name: File and place in it, for messages.
        expected: What belongs there, for messages.

    Raises:
        DataError: It is anything else.
    """
    if not isinstance(value, dict) or not value:
        found = "empty" if isinstance(value, dict) else type(value).__name__
        raise DataError(f"{name} is {found}, expected {expected}")
    return value
