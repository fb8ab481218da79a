"""The official JSON, read as a stream: never more than a few samples of it are in memory.

`{sample id: {"keypoints_2d": {"0": {"x", "y"}, ...}, "keypoints_3d": {"0": {"x", "y", "z"}, ...},
"image_path", ...}}`; the joints are in COCO-WholeBody's order, 3D is in millimetres.

ijson's events are followed by hand. Its ready-made objects would hide keys that occur twice, and
need memory beyond measure for a file of brackets only.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import ijson
import numpy as np
from numpy.typing import NDArray

from trainables.data.dataset import FloatArray
from trainables.data.h3wb.moments import UNKNOWN_FRAME, find_moments
from trainables.data.h3wb.samples import (
    NOWHERE,
    Samples,
    Take,
    place_is_known,
    take_of_image,
)
from trainables.data.motion_checks import limb_distances
from trainables.errors import DataError
from trainables.names import natural_key
from trainables.skeletons import H3WB_133

__all__ = ["read_json"]

JOINTS = H3WB_133.num_joints
AXES = {"keypoints_2d": ("x", "y"), "keypoints_3d": ("x", "y", "z")}
MAX_SAMPLE_BYTES = 4 << 20
"""A sample takes 15 to 40 KiB; more than this without the end of one is no sample."""
MAX_DEPTH = 8
"""Of what a sample holds beside its key points, such as a bounding box."""
LARGEST = 1e6
"""Largest coordinate, pixels or millimetres: a kilometre."""
_JOINT_NUMBERS = {str(joint): joint for joint in range(JOINTS)}
_NAMED_ID_CHARACTERS = 60

_Events = Iterator[tuple[str, Any]]


def read_json(path: Path) -> Samples:
    """Read and check all samples.

    Args:
        path: The file.

    Returns:
        The samples by moment, views of a moment together. Where `image_path` is there, it tells
        subject, action, camera and frame; else a sample's frame number is its position by
        ascending id, and its moment that of all with the same body.

    Raises:
        DataError: The file is no such JSON; names the sample and the joint.
    """
    reader = _Reader(path)
    try:
        with path.open("rb") as stream:
            reader.read(stream)
    except ijson.JSONError as error:
        reason = str(error).split("\n", 1)[0]
        raise DataError(
            f"{path}: {reader.place()}: no readable JSON ({reason}); it is truncated or damaged, "
            "copy or download it again"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {reader.place()}: cannot be read ({error})") from error
    return reader.samples()


class _BoundedStream:
    """A file that ends in an error where no sample ends for too long."""

    def __init__(self, stream: IO[bytes], place: Any) -> None:
        self._stream = stream
        self._place = place
        self.since_sample = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._stream.read(size)
        self.since_sample += len(data)
        if self.since_sample > MAX_SAMPLE_BYTES:
            raise DataError(
                f"{self._place()}: more than {MAX_SAMPLE_BYTES} bytes without the end of a "
                "sample; refused, a sample takes less than 100,000"
            )
        return data


class _Reader:
    """Follows the parser's events, and keeps what they say in arrays that grow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values = {name: array("f") for name in AXES}
        self._ids: dict[str, None] = {}
        self._takes: dict[Take, int] = {}
        self._take_of_sample = array("i")
        self._frame_of_sample = array("i")
        self._sample: str | None = None

    def place(self) -> str:
        """Where in the file the reader is, for messages."""
        if self._sample is not None:
            return f"sample {_shortened(self._sample)}"
        last = _shortened(next(reversed(self._ids))) if self._ids else None
        return f"after sample {last}" if last else "at its beginning"

    def read(self, stream: IO[bytes]) -> None:
        """Read all samples."""
        bounded = _BoundedStream(stream, lambda: f"{self._path}: {self.place()}")
        events: _Events = iter(ijson.basic_parse(bounded, use_float=True))
        event, _ = next(events)
        if event != "start_map":
            raise DataError(
                f"{self._path}: holds {_kind(event)}, expected an object of samples by their id"
            )
        for event, key in events:
            if event == "map_key":
                self._read_sample(events, key)
                bounded.since_sample = 0

    def _read_sample(self, events: _Events, sample: str) -> None:
        self._sample = sample
        if sample in self._ids:
            raise self._error("occurs twice; keep one")
        self._expect(events, "start_map", "", "an object")
        seen: set[str] = set()
        take, frame = NOWHERE, None
        for event, key in events:
            if event == "end_map":
                break
            if key in seen:
                raise self._error(f"{_shortened(key)} occurs twice; keep one")
            seen.add(key)
            if key in AXES:
                self._read_joints(events, key)
            elif key == "image_path":
                take, frame = take_of_image(str(self._expect(events, "string", key, "text")))
            else:
                self._skip(events, key)
        if missing := sorted(set(AXES) - seen):
            raise self._error(f"has no {' and no '.join(missing)}; is it the training file?")
        self._ids[sample] = None
        self._take_of_sample.append(self._takes.setdefault(take, len(self._takes)))
        self._frame_of_sample.append(UNKNOWN_FRAME if frame is None else frame)
        self._sample = None

    def _read_joints(self, events: _Events, name: str) -> None:
        """Read the joints of one sample; append their coordinates."""
        axes = AXES[name]
        self._expect(events, "start_map", name, "an object of joints")
        coordinates = np.full((JOINTS, len(axes)), np.nan)
        seen = bytearray(JOINTS)
        for event, key in events:
            if event == "end_map":
                break
            joint = _JOINT_NUMBERS.get(key)
            if joint is None or seen[joint]:
                wrong = "is none of" if joint is None else "occurs twice among"
                raise self._error(f"{name}: joint {_shortened(key)} {wrong} the joints 0 to 132")
            seen[joint] = 1
            coordinates[joint] = self._read_point(events, axes, (name, key))
        if not all(seen):
            missing = [str(joint) for joint in range(JOINTS) if not seen[joint]]
            raise self._error(
                f"{name} has {JOINTS - len(missing)} joints, expected {JOINTS}; the first "
                f"missing is {missing[0]}"
            )
        self._values[name].frombytes(coordinates.astype(np.float32).tobytes())

    def _read_point(
        self, events: _Events, axes: tuple[str, ...], joint: tuple[str, str]
    ) -> list[float]:
        """The coordinates of one joint, whatever their order; most of the time is spent here."""
        event, _ = next(events)
        if event != "start_map":
            raise self._point_error(joint, f"is {_kind(event)}, expected an object")
        point: dict[str, float] = {}
        for event, axis in events:
            if event == "end_map":
                break
            event, value = next(events)
            if event != "number" or axis in point or axis not in axes:
                raise self._axis_error(joint, axes, axis, event)
            if not -LARGEST <= value <= LARGEST:
                raise self._point_error(
                    joint, f": {axis} is {value:g}, expected a number of at most {LARGEST:g}"
                )
            point[axis] = value
        if len(point) != len(axes):
            found = ", ".join(point) or "nothing"
            raise self._point_error(joint, f"has {found}, expected {', '.join(axes)}")
        return [point[axis] for axis in axes]

    def _axis_error(
        self, joint: tuple[str, str], axes: tuple[str, ...], axis: str, event: str
    ) -> DataError:
        if axis not in axes:
            return self._point_error(joint, f": {_shortened(axis)} is none of {', '.join(axes)}")
        if event != "number":
            return self._point_error(joint, f": {axis} is {_kind(event)}, expected a number")
        return self._point_error(joint, f": {axis} occurs twice")

    def _point_error(self, joint: tuple[str, str], what: str) -> DataError:
        space = "" if what.startswith(":") else " "
        return self._error(f"{joint[0]} joint {joint[1]}{space}{what}")

    def _expect(self, events: _Events, wanted: str, name: str, expected: str) -> Any:
        """The value of the next event, which must be of this kind."""
        event, value = next(events)
        if event != wanted:
            label = f"{name} is" if name else "is"
            raise self._error(f"{label} {_kind(event)}, expected {expected}")
        return value

    def _skip(self, events: _Events, key: str) -> None:
        """Pass over a value that is not needed."""
        depth = 0
        for event, _ in events:
            depth += event.startswith("start_")
            depth -= event.startswith("end_")
            if depth > MAX_DEPTH:
                raise self._error(f"{_shortened(key)} is nested deeper than {MAX_DEPTH} levels")
            if depth == 0:
                return

    def _error(self, what: str) -> DataError:
        return DataError(f"{self._path}: {self.place()} {what}")

    def samples(self) -> Samples:
        """What was read, by moment.

        Raises:
            DataError: There are no samples, or 3D of two kinds.
        """
        if not self._ids:
            raise DataError(f"{self._path}: holds no samples; is it the training file?")
        ids = list(self._ids)
        by_id = sorted(range(len(ids)), key=lambda index: (natural_key(ids[index]), ids[index]))
        take = np.asarray(self._take_of_sample, np.intp)[by_id]
        frame = np.asarray(self._frame_of_sample, np.intp)[by_id]
        unknown = frame == UNKNOWN_FRAME
        distances_mm = limb_distances(self._values_of("keypoints_3d"), H3WB_133)[by_id]
        takes = tuple(self._takes)
        found = find_moments(takes, take, frame, distances_mm)
        order = [by_id[position] for position in found.order]
        points_mm, pixels = (
            self._ordered(name, order) for name in ("keypoints_3d", "keypoints_2d")
        )
        names = [f"sample {_shortened(ids[index])}" for index in order]
        return Samples(
            points_mm=points_mm,
            pixels=pixels,
            takes=takes,
            take=take[found.order],
            frame=np.where(unknown, np.arange(len(ids)), frame)[found.order],
            moment=found.moment,
            ids=tuple(ids[index] for index in order),
            knows_place=place_is_known(points_mm, names, str(self._path)),
            notes=self._notes(int(unknown.sum()), int(found.moment[-1]) + 1),
        )

    def _values_of(self, name: str) -> FloatArray:
        """The array behind the values, (N, 133, axes); no copy."""
        flat: NDArray[np.float32] = np.frombuffer(self._values[name], np.float32)
        return flat.reshape(-1, JOINTS, len(AXES[name]))

    def _ordered(self, name: str, order: list[int]) -> FloatArray:
        """The same, copied only if it must be sorted."""
        values = self._values_of(name)
        return values if order == sorted(order) else values[order]

    def _notes(self, unknown_frames: int, moments: int) -> tuple[str, ...]:
        notes = []
        total = len(self._ids)
        if NOWHERE in self._takes:
            unknown = self._take_of_sample.count(self._takes[NOWHERE])
            notes.append(
                f"{unknown} of {total} samples have no image_path that names subject, action and "
                "camera; their images are taken to be 1000 x 1000 pixels (Human3.6M's are 1000 "
                "wide, and 1000 or 1002 high)"
            )
        if unknown_frames:
            notes.append(
                f"{unknown_frames} of {total} samples have no image_path that names their frame; "
                "samples whose limbs lie alike within half a millimetre are taken for views of "
                f"one moment, which makes {moments} moments, each in one split only"
            )
        return tuple(notes)


def _kind(event: str) -> str:
    """What a parser's event begins, for messages."""
    kinds = {"start_map": "an object", "start_array": "a list", "null": "null"}
    return kinds.get(event, f"a {event}")


def _shortened(text: str) -> str:
    """A key in quotes, cut to a length that a message bears."""
    more = "…" if len(text) > _NAMED_ID_CHARACTERS else ""
    return repr(text[:_NAMED_ID_CHARACTERS] + more)
