"""Well-formed files of Human3.6M whose content is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.trainables.data.h36m_writer import ACTIONS, METADATA, SUBJECTS, write_folder
from tests.trainables.data.malformed.case import Case, h36m_content

__all__ = ["CONTENTS"]

_RIGHT_32, _LEFT_32 = [1, 2, 3, 25, 26, 27], [6, 7, 8, 17, 18, 19]
_EXCHANGED_32 = np.arange(32)
_EXCHANGED_32[_RIGHT_32], _EXCHANGED_32[_LEFT_32] = _LEFT_32, _RIGHT_32

Actions = dict[str, Any]


def _all_3d(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change all 3D."""

    def spoil(folder: Path) -> None:
        positions, views = h36m_content()
        changed = {s: {a: change(w) for a, w in acts.items()} for s, acts in positions.items()}
        write_folder(folder, changed, views)

    return spoil


def _one_3d(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change the 3D of one sequence."""
    return _subjects_3d(lambda p: {**p, "S5": {**p["S5"], "jump": change(p["S5"]["jump"])}})


def _subjects_3d(change: Callable[[Actions], Any]) -> Callable[[Path], None]:
    """Change the mapping of subjects."""

    def spoil(folder: Path) -> None:
        positions, views = h36m_content()
        write_folder(folder, change(dict(positions)), views)

    return spoil


def _one_2d(change: Callable[[list[Any]], Any]) -> Callable[[Path], None]:
    """Change the list of views of one sequence."""

    def spoil(folder: Path) -> None:
        positions, views = h36m_content()
        views["S5"]["jump"] = change(views["S5"]["jump"])
        write_folder(folder, positions, views)

    return spoil


def _all_2d(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change every view."""

    def spoil(folder: Path) -> None:
        positions, views = h36m_content()
        changed = {
            s: {a: [change(v) for v in seen] for a, seen in acts.items()}
            for s, acts in views.items()
        }
        write_folder(folder, positions, changed)

    return spoil


def _as_seen(change: Callable[[list[Any]], list[Any]]) -> Callable[[Path], None]:
    """Change the list of views of every sequence."""

    def spoil(folder: Path) -> None:
        positions, views = h36m_content()
        changed = {s: {a: change(v) for a, v in acts.items()} for s, acts in views.items()}
        write_folder(folder, positions, changed)

    return spoil


def _without_2d(folder: Path) -> None:
    positions, views = h36m_content()
    del views["S11"]["punch"]
    write_folder(folder, positions, views)


def _metadata(**changes: Any) -> Callable[[Path], object]:
    metadata: Mapping[str, Any] = {**METADATA, **changes}
    return lambda folder: write_folder(folder, *h36m_content(), metadata)


def _table(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "sequences.csv").write_bytes(content)


def _put(value: float) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        changed = array.copy()
        changed[7, 3] = value
        return changed

    return change


def _sources(name: Callable[[str, str], str]) -> bytes:
    lines = [f"{s},{a},{name(s, a)}" for s in SUBJECTS for a in ACTIONS]
    return "\n".join(["subject,action,source", *lines]).encode()


def _mirrored(world: Any) -> Any:
    return world * np.asarray([-1, 1, 1], np.float32)


CONTENTS: tuple[Case, ...] = (
    Case(
        "3D of integers",
        "S5 'jump' is int32, expected floating point",
        _one_3d(lambda w: w.astype(np.int32)),
    ),
    Case(
        "3D of strings",
        "S5 'jump' is <U.*, expected floating point",
        _one_3d(lambda w: w[:2].astype(str)),
    ),
    Case(
        "3D of objects",
        "S5 'jump' is object, expected floating point",
        _one_3d(lambda w: w.astype(object)),
    ),
    Case(
        "3D as nested lists",
        "S5 'jump' is list, expected floating point",
        _one_3d(lambda w: w.tolist()),
    ),
    Case(
        "3D of complex numbers",
        "arrays of type .* are not supported",
        _one_3d(lambda w: w.astype(np.complex64)),
    ),
    Case(
        "17 joints instead of 32",
        r"has shape \(12, 17, 3\), expected .*another skeleton",
        _one_3d(lambda w: w[:, :17]),
    ),
    Case(
        "swapped axes (T, 3, J)",
        r"has shape \(12, 3, 32\)",
        _one_3d(lambda w: w.transpose(0, 2, 1)),
    ),
    Case(
        "swapped axes (J, T, 3)",
        r"has shape \(32, 12, 3\)",
        _one_3d(lambda w: w.transpose(1, 0, 2)),
    ),
    Case(
        "flattened poses (T, 96)",
        r"has shape \(12, 96\)",
        _one_3d(lambda w: w.reshape(len(w), -1)),
    ),
    Case(
        "NaN in the 3D",
        "holds NaN or infinity in 1 of 12 frames, first in frame 7",
        _one_3d(_put(np.nan)),
    ),
    Case(
        "infinity in the 3D",
        "holds NaN or infinity in 1 of 12 frames, first in frame 7",
        _one_3d(_put(np.inf)),
    ),
    Case("an action without frames", r"has shape \(0, 32, 3\)", _one_3d(lambda w: w[:0])),
    Case(
        "millimetres for metres", "the thigh measures .*millimetres", _all_3d(lambda w: w * 1000)
    ),
    Case("kilometres for metres", "the thigh measures", _all_3d(lambda w: w / 1000)),
    Case(
        "left and right exchanged",
        "left and right are exchanged",
        _all_3d(lambda w: w[:, _EXCHANGED_32]),
    ),
    Case(
        "a mirrored axis",
        "left and right are exchanged, or an axis is mirrored",
        _all_3d(_mirrored),
    ),
    Case(
        "joints in another order",
        "the thigh measures|bend backward",
        _all_3d(lambda w: w[:, ::-1]),
    ),
    Case(
        "no test subject",
        "no test subject, expected S9 or S11",
        _subjects_3d(lambda p: {s: p[s] for s in ("S1", "S5", "S8")}),
    ),
    Case(
        "one training subject",
        r"found the training subjects \['S8'\], expected two",
        _subjects_3d(lambda p: {s: p[s] for s in ("S8", "S9", "S11")}),
    ),
    Case(
        "subjects of another set",
        "share no sequence",
        _subjects_3d(lambda p: {f"X{s}": v for s, v in p.items()}),
    ),
    Case("no subjects", r"positions_3d is empty, expected \{subject", _subjects_3d(lambda _: {})),
    Case(
        "a subject that is a list",
        r"positions_3d\['S5'\] is list, expected",
        _subjects_3d(lambda p: {**p, "S5": [1]}),
    ),
    Case(
        "a subject that is a number",
        r"positions_3d\['S5'\] is int, expected",
        _subjects_3d(lambda p: {**p, "S5": 3}),
    ),
    Case(
        "subjects numbered, not named",
        "has the key 5, expected a name",
        _subjects_3d(lambda p: {5: p["S5"], **p}),
    ),
    Case(
        "actions numbered, not named",
        "has the key 1, expected a name",
        _subjects_3d(lambda p: {**p, "S5": {1: p["S5"]["jump"]}}),
    ),
    Case(
        "2D shorter than 3D",
        r"S5 'jump': 3D has 12 frames, 2D \[8, 8, 8, 8\]; expected the same number",
        _one_2d(lambda v: [u[:8] for u in v]),
    ),
    Case(
        "one view of another length",
        r"3D has 12 frames, 2D \[9, 12, 12, 12\]",
        _one_2d(lambda v: [v[0][:9], *v[1:]]),
    ),
    Case(
        "2D longer than 3D by three frames",
        r"3D has 12 frames, 2D \[15, 15, 15, 15\]",
        _one_2d(lambda v: [np.concatenate([u, u[-3:]]) for u in v]),
    ),
    Case("a sequence without 2D", r"has no 2D of S11 'punch', but .* their 3D", _without_2d),
    Case(
        "cameras in reverse order",
        r"test: the 2D lies \d+ px off the projected 3D .* expected at most 40 px",
        _as_seen(lambda v: v[::-1]),
    ),
    Case(
        "mirrored images",
        r"test: the 2D lies \d+ px off the projected 3D",
        _all_2d(lambda v: np.stack([1000 - v[..., 0], v[..., 1]], axis=-1)),
    ),
    Case(
        "images with y up",
        r"test: the 2D lies \d+ px off the projected 3D",
        _all_2d(lambda v: np.stack([v[..., 0], 1000 - v[..., 1]], axis=-1)),
    ),
    Case(
        "2D joints in another order",
        r"test: the 2D lies \d+ px off the projected 3D",
        _all_2d(lambda v: v[:, ::-1]),
    ),
    Case(
        "a camera is missing",
        "is no list of 4 arrays, one for each of the cameras",
        _one_2d(lambda v: v[:3]),
    ),
    Case(
        "2D of 16 joints",
        r"camera 54138969 has shape \(12, 16, 2\)",
        _one_2d(lambda v: [u[:, :16] for u in v]),
    ),
    Case(
        "2D of one coordinate",
        r"has shape \(12, 17, 1\)",
        _one_2d(lambda v: [u[..., :1] for u in v]),
    ),
    Case(
        "NaN in the 2D",
        "holds NaN or infinity in 1 of 12 frames",
        _one_2d(lambda v: [_put(np.nan)(v[0]), *v[1:]]),
    ),
    Case(
        "2D normalised, not in pixels",
        "2D of the median pose .*expected pixels",
        _all_2d(lambda v: v / 500 - 1),
    ),
    Case(
        "metadata of 16 joints",
        "metadata says num_joints=16, expected 17",
        _metadata(num_joints=16),
    ),
    Case(
        "metadata with left for right",
        "metadata says keypoints_symmetry=",
        _metadata(keypoints_symmetry=METADATA["keypoints_symmetry"][::-1]),
    ),
    Case(
        "metadata of another type",
        "metadata says keypoints_symmetry=None",
        _metadata(keypoints_symmetry=None),
    ),
    Case(
        "a table that is not UTF-8",
        r"sequences\.csv: not UTF-8",
        _table(b"subject,action,source\nS1,w\xff,x\n"),
    ),
    Case(
        "a table without a column",
        r"found the columns \['action', 'subject'\]",
        _table(b"subject,action\nS1,walk\n"),
    ),
    Case(
        "a table that lacks sequences",
        r"no row for 14 of 15 sequences",
        _table(b"subject,action,source\nS1,walk,a/b\n"),
    ),
    Case(
        "a table with two sources for one",
        "has another row already",
        _table(b"subject,action,source\nS1,walk,a\nS1,walk,b\n"),
    ),
    Case(
        "a table with an absurd rate",
        r"fps='-5', expected a positive number",
        _table(b"subject,action,source,fps\nS1,walk,a,-5\n"),
    ),
    Case(
        "a recording in training and test",
        "a recording may be in one split only",
        _table(_sources(lambda _, a: f"any/{a}")),
    ),
    Case(
        "all training from one recording",
        "expected two or more, one of which validates",
        _table(_sources(lambda s, _: "b" if s in ("S9", "S11") else "a")),
    ),
)
"""Cases that a person could make by mistake."""
