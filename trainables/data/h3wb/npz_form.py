"""The npz form: `train_data`, subject to action to arrays, and `metadata`.

An action holds `camera_3d` (camera's frame, millimetres) or else `pose_3d` (relative to the root),
`pose_2d` (pixels) and `frame_id`; `global_3d` is not needed. Copies differ in how they keep the
four cameras apart, so three ways are read:

* camera to an object with these arrays (which is how the publisher's file is nested),
* each field an object, camera to array,
* each field one array: (T, 133, C) of a single unnamed camera, or (4, T, 133, C) of the four.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.data.arrays import check_sequence, require_mapping
from trainables.data.h3wb.samples import Samples, Take, place_is_known
from trainables.data.h36m.cameras import CAMERA_IDS
from trainables.data.npz_reader import read_npz
from trainables.errors import DataError
from trainables.names import natural_key
from trainables.skeletons import H3WB_133

__all__ = ["read_npz_form"]

JOINTS = H3WB_133.num_joints
BODY_JOINTS = 17
"""COCO's; which of them are mirrored is beyond doubt."""
FIELDS_3D = ("camera_3d", "pose_3d")
FRAMES = "frame_id"
MAX_DIGITS = 15
"""Of a frame number; floats are whole up to here."""

_Views = dict[str | None, NDArray[Any]]
"""Arrays by camera; None is the only camera, which has no name."""


class _View(NamedTuple):
    """One take: 3D and 2D of its frames."""

    take: Take
    points_mm: NDArray[Any]
    pixels: NDArray[Any]
    frames: NDArray[np.intp]
    field_3d: str


def read_npz_form(path: Path) -> Samples:
    """Read and check all samples.

    Args:
        path: The file.

    Returns:
        The samples by subject, action, frame and camera; those of one frame are a moment.

    Raises:
        DataError: The file is malformed, or what its arrays mean is not clear.
        UnsafeDataError: It asks for code to be run.
    """
    content = read_npz(path)
    if "train_data" not in content:
        raise DataError(f"{path}: found the arrays {sorted(content)}, expected 'train_data'")
    notes = list(_check_metadata(content.get("metadata"), path))
    views: list[_View] = []
    subjects = _named(content["train_data"], f"{path}: train_data", "{subject: {action: …}}")
    for subject in sorted(subjects, key=natural_key):
        where = f"{path}: {subject}"
        actions = _named(subjects[subject], where, "{action: …}")
        for action in sorted(actions, key=natural_key):
            views += _read_action(actions[action], f"{where} {action!r}", subject, action)
    if not views:
        raise DataError(f"{path}: train_data holds no poses; is the file complete?")
    if any(view.take.view is None for view in views):
        notes.append(
            "the camera of some samples is not named; their images are taken to be 1000 x 1000 "
            "pixels (Human3.6M's are 1000 wide, and 1000 or 1002 high)"
        )
    return _assembled(views, path, notes)


def _assembled(views: list[_View], path: Path, notes: list[str]) -> Samples:
    """All views as arrays, sorted so that the views of a moment are together."""
    lengths = [len(view.frames) for view in views]
    take = np.repeat(np.arange(len(views)), lengths)
    frame = np.concatenate([view.frames for view in views])
    performances = sorted({(view.take.subject, view.take.action) for view in views})
    of_view = [performances.index((view.take.subject, view.take.action)) for view in views]
    first_view = np.asarray([of_view.index(number) for number in of_view])
    order = np.lexsort((take, frame, first_view[take]))
    moments = np.stack([first_view[take][order], frame[order]])
    changes = np.any(moments[:, 1:] != moments[:, :-1], axis=0)
    points_mm = np.concatenate([view.points_mm.astype(np.float32) for view in views])[order]
    pixels = np.concatenate([view.pixels[..., :2].astype(np.float32) for view in views])[order]
    takes = tuple(view.take for view in views)
    take, frame = take[order], frame[order]
    knows_place = all(view.field_3d == FIELDS_3D[0] for view in views)
    if knows_place:
        names = [_name(takes[t], f) for t, f in zip(take, frame, strict=True)]
        knows_place = place_is_known(points_mm, names, str(path))
    return Samples(
        points_mm=points_mm,
        pixels=pixels,
        takes=takes,
        take=take,
        frame=frame,
        moment=np.concatenate([[0], np.cumsum(changes)]),
        ids=None,
        knows_place=knows_place,
        notes=tuple(notes),
    )


def _name(take: Take, frame: int) -> str:
    camera = f", camera {take.view}" if take.view else ""
    return f"{take.subject} {take.action!r}{camera}, frame {frame}"


def _read_action(value: object, where: str, subject: str, action: str) -> list[_View]:
    """All views of one action, checked."""
    fields = _named(value, where, "{'camera_3d': …, 'pose_2d': …}, or one such for each camera")
    cameras = [key for key in fields if key in CAMERA_IDS]
    if cameras:
        if doubled := sorted({*FIELDS_3D, "pose_2d"} & set(fields)):
            raise DataError(
                f"{where} holds cameras, and {' and '.join(doubled)} beside them; it is not clear "
                "which are meant, keep one of the two"
            )
        _require_cameras([key for key in fields if key not in ("global_3d", FRAMES)], where)
        shared = {key: fields[key] for key in (FRAMES,) if key in fields}
        parts = {
            view: shared | _named(fields[view], f"{where}, camera {view}", "{'camera_3d': …}")
            for view in CAMERA_IDS
            if view in fields
        }
        return [
            view
            for name, part in parts.items()
            for view in _read_fields(part, f"{where}, camera {name}", Take(subject, action, name))
        ]
    return _read_fields(fields, where, Take(subject, action, None))


def _read_fields(fields: Mapping[str, Any], where: str, take: Take) -> list[_View]:
    """The views in the fields of an action, or of one of its cameras, which the take names."""
    field_3d = next((name for name in FIELDS_3D if name in fields), None)
    if field_3d is None or "pose_2d" not in fields:
        raise DataError(
            f"{where} holds {', '.join(sorted(fields)) or 'nothing'}; expected pose_2d, and "
            "camera_3d (or pose_3d)"
        )
    views_3d = _by_camera(fields[field_3d], f"{where}, {field_3d}")
    views_2d = _by_camera(fields["pose_2d"], f"{where}, pose_2d")
    if set(views_3d) != set(views_2d) or (take.view and set(views_3d) != {None}):
        raise DataError(
            f"{where}: {field_3d} is of {_listed(views_3d)}, pose_2d of {_listed(views_2d)}; "
            "expected the same cameras, each once"
        )
    numbers: _Views = {}
    if FRAMES in fields:
        numbers = _by_camera(fields[FRAMES], f"{where}, {FRAMES}", _whole_numbers)
    if not set(numbers) <= {None, *views_3d}:
        raise DataError(
            f"{where}: {FRAMES} is of {_listed(numbers)}, {field_3d} of {_listed(views_3d)}; "
            "expected the same cameras, or one list for all"
        )
    return [
        _checked_view(
            Take(take.subject, take.action, take.view or view),
            (points, views_2d[view]),
            numbers.get(view, numbers.get(None)),
            where,
            field_3d,
        )
        for view, points in views_3d.items()
    ]


def _checked_view(
    take: Take,
    arrays: tuple[NDArray[Any], NDArray[Any]],
    numbers: NDArray[Any] | None,
    where: str,
    field_3d: str,
) -> _View:
    """Check the arrays of one camera against another."""
    camera = f" of camera {take.view}" if take.view and take.view not in where else ""
    points, pixels = arrays
    check_sequence(points, f"{where}: {field_3d}{camera}", (JOINTS, 3))
    check_sequence(pixels, f"{where}: pose_2d{camera}", (JOINTS, 2))
    if len(points) != len(pixels):
        raise DataError(
            f"{where}: {field_3d}{camera} has {len(points)} frames, pose_2d {len(pixels)}; "
            "expected the same number"
        )
    if numbers is None:
        frames = np.arange(len(points))
    else:
        frames = _frame_numbers(numbers, len(points), f"{where}: {FRAMES}{camera}")
    return _View(take, points, pixels, frames, field_3d)


def _frame_numbers(numbers: NDArray[Any], count: int, where: str) -> NDArray[np.intp]:
    if numbers.dtype.kind not in "iu" or numbers.shape != (count,):
        raise DataError(
            f"{where} is {numbers.dtype} {numbers.shape}, expected {count} integers, one for "
            "each frame"
        )
    if (numbers.min() < 0) or (numbers.max() > np.iinfo(np.int32).max):
        raise DataError(
            f"{where} goes from {numbers.min()} to {numbers.max()}; expected 0 or more"
        )
    frames = numbers.astype(np.intp)
    values, counts = np.unique(frames, return_counts=True)
    if counts.max() > 1:
        raise DataError(f"{where} holds {values[counts.argmax()]} twice; expected each frame once")
    return frames


def _by_camera(
    value: object, where: str, read: Callable[[object, str], NDArray[Any]] | None = None
) -> _Views:
    """A field's arrays by camera; `read` makes one of what the file holds."""
    read = read or _array
    if isinstance(value, dict):
        views = _named(value, where, "{camera: array}")
        _require_cameras(list(views), where)
        return {view: read(views[view], where) for view in CAMERA_IDS if view in views}
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], np.ndarray):
        return _four([read(part, where) for part in value], where)
    whole = read(value, where)
    if whole.ndim == 2 and whole.dtype.kind in "iu":  # frame numbers of the four
        return _four(list(whole), where)
    if whole.ndim != 4:
        return {None: whole}
    if whole.shape[:2] == (len(CAMERA_IDS),) * 2:
        raise DataError(
            f"{where} has shape {whole.shape}: four cameras of four frames, or the other way "
            "round, is not clear; name the cameras, as in {'54138969': array, …}"
        )
    return _four(list(whole), where)


def _four(parts: list[NDArray[Any]], where: str) -> _Views:
    """One part for each of the four cameras, in their usual order."""
    if len(parts) != len(CAMERA_IDS):
        raise DataError(
            f"{where} has {len(parts)} parts, expected one array, or one for each of the cameras "
            f"{', '.join(CAMERA_IDS)}"
        )
    return dict(zip(CAMERA_IDS, parts, strict=True))


def _array(value: object, where: str) -> NDArray[Any]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise DataError(f"{where} is {kind}, expected an array of numbers")
    return value


def _whole_numbers(value: object, where: str) -> NDArray[Any]:
    """Frame numbers as integers; copies have them as lists, as text, or as whole floats."""
    if isinstance(value, (list, tuple)) and value:
        value = _listed_numbers(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.size:
        digits = np.char.isdecimal(value) & (np.char.str_len(value) <= MAX_DIGITS)
        value = value.astype(np.int64) if digits.all() else value
    array = _array(value, where)
    if array.dtype.kind == "f" and np.all(np.abs(array) < 10.0**MAX_DIGITS):
        whole = array.astype(np.int64)
        return whole if np.array_equal(whole, array) else array
    return array


def _listed_numbers(value: Sequence[object]) -> object:
    """A list of numbers or of texts as an array; anything else as it is."""
    for kinds in ((int, float), (str,)):
        if all(type(part) in kinds for part in value):
            return np.asarray(value)
    return value


def _named(value: object, where: str, expected: str) -> dict[str, Any]:
    """An object with text for keys; numbers, as cameras may be written, become text."""
    parts = require_mapping(value, where, expected)
    named = {str(key): part for key, part in parts.items() if type(key) in (str, int)}
    if len(named) != len(parts):
        raise DataError(f"{where} has the keys {list(parts)[:5]}, expected different names")
    return named


def _require_cameras(names: list[str], where: str) -> None:
    unknown = [name for name in names if name not in CAMERA_IDS]
    if unknown:
        raise DataError(
            f"{where} names the cameras {', '.join(unknown[:5])}, expected some of "
            f"{', '.join(CAMERA_IDS)}"
        )


def _listed(views: Mapping[str | None, object]) -> str:
    return ", ".join(view or "one unnamed camera" for view in views) or "no camera"


def _check_metadata(metadata: object, path: Path) -> list[str]:
    """Compare the file's own description with the skeleton; what is odd but harmless is noted."""
    if not isinstance(metadata, dict):
        return [f"{path.name} has no metadata; COCO-WholeBody's joint order is assumed"]
    count = metadata.get("num_joints", JOINTS)
    notes = []
    if count != JOINTS:  # the arrays, each of which is checked, are what counts
        notes.append(
            f"{path.name}: metadata says num_joints={str(count)[:40]}, the arrays have {JOINTS} "
            "joints"
        )
    layout = metadata.get("layout_name", metadata.get("layout"))
    if layout is not None:
        notes.append(f"{path.name} calls its layout {str(layout)[:40]!r}")
    symmetry = metadata.get("keypoints_symmetry")
    if symmetry is not None:
        notes += _check_symmetry(symmetry, path)
    return notes


def _check_symmetry(symmetry: object, path: Path) -> list[str]:
    """The body's mirrored joints must be COCO's, those of face, hands and feet had better be."""
    sides: Any = symmetry.tolist() if isinstance(symmetry, np.ndarray) else symmetry
    fits = isinstance(sides, (list, tuple)) and len(sides) == 2
    if not fits or not all(isinstance(side, (list, tuple, np.ndarray)) for side in sides):
        raise DataError(
            f"{path}: metadata's keypoints_symmetry is {type(symmetry).__name__}, expected two "
            "lists of joints: left, right"
        )
    left, right = ([int(n) for n in side if isinstance(n, (int, np.integer))] for side in sides)
    if len(left) != len(right):
        raise DataError(
            f"{path}: metadata's keypoints_symmetry names {len(left)} left and {len(right)} right "
            "joints; expected as many"
        )
    pairs_found = zip(left, right, strict=True)
    found = {pair for pair in pairs_found if max(pair) < JOINTS}  # others are in no array
    expected = set(zip(H3WB_133.left, H3WB_133.right, strict=True))
    bodies = [{pair for pair in pairs if min(pair) < BODY_JOINTS} for pairs in (found, expected)]
    if bodies[0] != bodies[1]:
        raise DataError(
            f"{path}: metadata says that the body's mirrored joints are {sorted(bodies[0])} "
            f"(left, right), expected {sorted(bodies[1])}; is the joint order another?"
        )
    if found == expected:
        return []
    return [
        f"{path.name}: metadata's mirrored joints differ from COCO-WholeBody's, which are used"
    ]
