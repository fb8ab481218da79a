"""The checks of a sequence's array that all loaders share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import DataError

__all__ = ["check_sequence", "require_finite", "sequence_array"]


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
