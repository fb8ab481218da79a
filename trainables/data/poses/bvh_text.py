"""A look over a BVH file before the library reads it: faults by line, channels made uniform.

The library (pybvh) takes three rotation channels per joint and positions at the root alone.
Exporters also write positions at every joint, or fewer rotations; such files are rewritten
here, and what the positions add is kept beside (`BvhText.shifts`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from trainables.data.cameras import Float64Array
from trainables.data.source_files import check_file
from trainables.errors import DataError

__all__ = ["BvhText", "scan_bvh"]

MAX_BYTES = 512 << 20
MAX_FRAMES = 1_000_000
MAX_VALUES = 50_000_000
"""Frames times channels: 400 MB in memory."""
MAX_JOINTS = 1_000
MAX_HIERARCHY_LINES = 20 * MAX_JOINTS
MAX_LINE_CHARACTERS = 1_000_000
AXES = "XYZ"
_BRACE = re.compile(r"([{}])")
_CHANNELS = {f"{axis}{kind}" for axis in AXES for kind in ("position", "rotation")}


@dataclass(frozen=True)
class BvhText:
    """What a BVH file holds: its hierarchy as text that the library reads, and its motion.

    Attributes:
        text: The file with its first frame alone, every joint with three rotation channels,
            positions at the root alone.
        root: Place of the root, units of the file, (T, 3).
        turns: Angles of each joint in the order of its channels, degrees, (T, N, 3).
        shifts: By index of a joint below the root with position channels: how far it stands
            from its offset in each frame, in its parent's frame, (T, 3).
    """

    text: str
    root: Float64Array
    turns: Float64Array
    shifts: dict[int, Float64Array]


@dataclass
class _Joint:
    name: str
    line: int
    offset: list[float]
    channels: list[str]


class _Scanner:
    """Walks over the lines once; every fault names its line."""

    def __init__(self, path: Path, lines: Iterable[str]) -> None:
        self._path = path
        # a brace may stand on a line of its own, or behind a name
        self._pieces = (
            (number, piece)
            for number, line in enumerate(lines, start=1)
            for piece in (_BRACE.split(line) if "{" in line or "}" in line else (line,))
        )
        self._line = 1
        self._depth = 0
        self._in_end_site = False
        self.joints: list[_Joint] = []
        self.hierarchy: list[tuple[str, int | None]] = []
        """Lines, and the joint whose channels stand there."""

    def scan_hierarchy(self) -> None:
        """Up to and with the line MOTION."""
        if self._next() != ["HIERARCHY"]:
            self._refuse("expected HIERARCHY; this is no BVH file")
        self.hierarchy.append(("HIERARCHY", None))
        for words in iter(self._next, None):
            self.hierarchy.append((" ".join(words), None))
            if len(self.hierarchy) > MAX_HIERARCHY_LINES:
                self._refuse(f"a hierarchy of more than {MAX_HIERARCHY_LINES} lines")
            if words[0] == "MOTION":
                break
            self._scan_line(words)
        if self._depth or not self.joints:
            self._refuse(f"the hierarchy ends while {self._depth} braces are open; it is damaged")
        for joint in self.joints:
            if not joint.offset:
                self._refuse(f"joint {joint.name!r} has no OFFSET", line=joint.line)

    def _scan_line(self, words: list[str]) -> None:
        match words[0]:
            case "ROOT" | "JOINT":
                self._begin_joint(words)
            case "End":
                self._in_end_site = True
            case "OFFSET":
                offset = self._numbers(words[1:], 3)
                if not self._in_end_site:
                    self._current().offset = offset
            case "CHANNELS":
                self._read_channels(words)
            case "{":
                self._depth += 1
            case "}":
                self._depth -= 1
                self._in_end_site = False
                if self._depth < 0:
                    self._refuse("a closing brace too many")
            case _:
                self._refuse(f"{words[0][:40]!r} is not part of a hierarchy")

    def scan_motion(self) -> tuple[float, Float64Array]:
        """The frame time, seconds, and the values, (T, channels)."""
        frames = self._fact("Frames:", "Frames: N")
        count = int(frames) if frames.isdigit() else 0
        if not 0 < count <= MAX_FRAMES:
            self._refuse(f"Frames: {frames}, expected a number from 1 to {MAX_FRAMES}")
        frame_time = self._numbers([self._fact("Frame Time:", "Frame Time: seconds")], 1)[0]
        if not frame_time > 0:
            self._refuse(f"Frame Time: {frame_time}, expected a positive number of seconds")
        channels = sum(len(joint.channels) for joint in self.joints)
        if count * channels > MAX_VALUES:
            self._refuse(
                f"{count} frames of {channels} channels, expected at most {MAX_VALUES} values; "
                "cut the file in parts"
            )
        values, found = np.empty((count, channels)), 0
        for words in iter(self._next, None):
            if found == count:
                self._refuse(f"more than the {count} frames that `Frames:` announces")
            values[found] = self._numbers(words, channels)
            found += 1
        if found != count:
            self._refuse(
                f"the file ends after {found} of {count} frames; it is truncated, copy or "
                "export it again"
            )
        return frame_time, values

    def _next(self) -> list[str] | None:
        """Words of the next line that is not blank; None at the end."""
        for number, piece in self._pieces:
            self._line = number
            if len(piece) > MAX_LINE_CHARACTERS:
                self._refuse(f"more than {MAX_LINE_CHARACTERS} characters; this is no BVH file")
            words = piece.split()
            if words:
                return words
        return None

    def _current(self) -> _Joint:
        if not self.joints:
            self._refuse("expected ROOT first")
        return self.joints[-1]

    def _begin_joint(self, words: list[str]) -> None:
        if (words[0] == "ROOT") != (not self.joints) or (words[0] == "JOINT" and not self._depth):
            self._refuse("expected one ROOT, first, and JOINTs inside it")
        if len(words) < 2:
            self._refuse(f"{words[0]} without a name")
        name = "_".join(words[1:])
        self.hierarchy[-1] = f"{words[0]} {name}", None
        if any(joint.name == name for joint in self.joints):
            self._refuse(f"a second joint {name!r}; the names must differ")
        if len(self.joints) == MAX_JOINTS:
            self._refuse(f"more than {MAX_JOINTS} joints")
        self.joints.append(_Joint(name, self._line, [], []))

    def _read_channels(self, words: list[str]) -> None:
        joint, names = self._current(), [word.capitalize() for word in words[2:]]
        if not words[1:] or words[1] != str(len(names)):
            found = words[1] if words[1:] else "nothing"
            self._refuse(f"CHANNELS announces {found} and names {len(names)}")
        if not set(names) <= _CHANNELS or len(set(names)) != len(names):
            self._refuse(
                f"CHANNELS {' '.join(names)}: expected different ones of X, Y, Z "
                "with position or rotation, as in Zrotation"
            )
        joint.channels = names
        self.hierarchy[-1] = "", len(self.joints) - 1

    def _fact(self, key: str, form: str) -> str:
        words = self._next()
        text = " ".join(words or ())
        if words is None or not text.startswith(key) or len(text.split()) != len(form.split()):
            found = "the end of the file" if words is None else repr(text[:60])
            self._refuse(f"found {found}, expected {form!r} after MOTION")
        return text.removeprefix(key).strip()

    def _numbers(self, words: list[str], count: int) -> list[float]:
        if len(words) != count:
            self._refuse(f"{len(words)} values, expected {count}")
        values = []
        for column, word in enumerate(words, start=1):
            try:
                value = float(word)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                self._refuse(f"value {column} is {word[:40]!r}, expected a finite number")
            values.append(value)
        return values

    def _refuse(self, fault: str, *, line: int | None = None) -> NoReturn:
        raise DataError(f"{self._path} line {line or self._line}: {fault}")


def scan_bvh(path: Path) -> BvhText:
    """Check a BVH file line by line, and bring its channels into one form.

    Args:
        path: The file.

    Returns:
        Its hierarchy for the library, its motion, and what position channels below the root add.

    Raises:
        DataError: The file cannot be read, or is malformed; names the line.
    """
    _check(path)
    try:
        with path.open(encoding="utf-8-sig") as lines:
            # a line is never read beyond its limit
            bounded = iter(lambda: lines.readline(MAX_LINE_CHARACTERS + 1), "")
            scanner = _Scanner(path, bounded)
            scanner.scan_hierarchy()
            frame_time_s, values = scanner.scan_motion()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no text in UTF-8 ({error}); this is no BVH file") from error
    return _uniform(scanner, frame_time_s, values)


def _uniform(scanner: _Scanner, frame_time_s: float, values: Float64Array) -> BvhText:
    """Three rotations for every joint, and places for the root."""
    root, turns = np.zeros((len(values), 3)), np.zeros((len(values), len(scanner.joints), 3))
    shifts: dict[int, Float64Array] = {}
    starts = np.cumsum([0, *(len(joint.channels) for joint in scanner.joints)])
    for index, joint in enumerate(scanner.joints):
        part = dict(zip(joint.channels, values[:, starts[index] :].T, strict=False))
        if not index:
            root = _place(joint, part, len(values))
        elif any(name.endswith("position") for name in joint.channels):
            shifts[index] = _place(joint, part, len(values)) - np.asarray(joint.offset)
        for axis, name in enumerate(_rotations(joint)):
            turns[:, index, axis] = part.get(name, 0.0)
    lines = list(_uniform_hierarchy(scanner))
    lines += ["Frames: 1", f"Frame Time: {frame_time_s!r}"]
    lines.append(" ".join(map(repr, [*root[0].tolist(), *turns[0].reshape(-1).tolist()])))
    return BvhText(text="\n".join(lines) + "\n", root=root, turns=turns, shifts=shifts)


def _check(path: Path) -> None:
    """Whoever names a file may name a link; where it leads to there must be a plain file."""
    try:
        target = path.resolve(strict=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except RuntimeError as error:
        raise DataError(f"{path}: cannot be read (a link in a circle)") from error
    check_file(target, target.parent)
    size = target.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"{path}: {size} bytes, expected at most {MAX_BYTES}; cut it in parts")


def _place(joint: _Joint, part: dict[str, Float64Array], frames: int) -> Float64Array:
    """Where a joint stands in its parent's frame, (T, 3): its channels, else its offset."""
    axes = zip(AXES, joint.offset, strict=True)
    return np.stack(
        [part.get(f"{axis}position", np.full(frames, rest)) for axis, rest in axes], axis=1
    )


def _rotations(joint: _Joint) -> list[str]:
    """Its rotation channels in their order, and the missing ones, which do not turn."""
    given = [name for name in joint.channels if name.endswith("rotation")]
    return [*given, *(f"{a}rotation" for a in AXES if f"{a}rotation" not in given)]


def _uniform_hierarchy(scanner: _Scanner) -> Iterator[str]:
    """The hierarchy's lines with uniform channels, also where a joint had none."""
    without = {index for index, joint in enumerate(scanner.joints) if not joint.channels}
    index = -1
    for line, has_channels in scanner.hierarchy:
        if has_channels is not None:
            yield _channels_line(scanner.joints[has_channels], root=has_channels == 0)
            continue
        yield line
        if line.startswith(("ROOT ", "JOINT ")):
            index += 1
        elif line.startswith("OFFSET") and index in without:
            without.discard(index)
            yield _channels_line(scanner.joints[index], root=index == 0)


def _channels_line(joint: _Joint, *, root: bool) -> str:
    places = [f"{axis}position" for axis in AXES] if root else []
    names = [*places, *_rotations(joint)]
    return f"CHANNELS {len(names)} {' '.join(names)}"
