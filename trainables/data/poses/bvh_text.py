"""A look over a BVH file before the library reads it: faults by line, channels made uniform.

The library (pybvh) takes three rotation channels per joint and positions at the root alone.
Exporters also write positions at every joint, or fewer rotations; such files are rewritten
here, and what the positions add is kept beside (`BvhText.shifts`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from trainables.data.cameras import Float64Array
from trainables.errors import DataError

__all__ = ["BvhText", "scan_bvh"]

MAX_BYTES = 512 << 20
MAX_FRAMES = 1_000_000
MAX_JOINTS = 1_000
AXES = "XYZ"
_BRACE = re.compile(r"([{}])")
_CHANNELS = {f"{axis}{kind}" for axis in AXES for kind in ("position", "rotation")}


@dataclass(frozen=True)
class BvhText:
    """What a BVH file holds, as text that the library reads.

    Attributes:
        text: The file, every joint with three rotation channels, positions at the root alone.
        shifts: By index of a joint below the root with position channels: how far it stands
            from its offset in each frame, in its parent's frame, (T, 3).
    """

    text: str
    shifts: dict[int, Float64Array]


@dataclass
class _Joint:
    name: str
    line: int
    offset: list[float]
    channels: list[str]


class _Scanner:
    """Walks over the lines once; every fault names its line."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self._path = path
        # a brace may stand on a line of its own, or behind a name
        self._pieces = [
            (number, piece)
            for number, line in enumerate(lines, start=1)
            for piece in (_BRACE.split(line) if "{" in line or "}" in line else (line,))
        ]
        self._at = 0
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
        rows: list[list[float]] = []
        for words in iter(self._next, None):
            if len(rows) == count:
                self._refuse(f"more than the {count} frames that `Frames:` announces")
            rows.append(self._numbers(words, channels))
        if len(rows) != count:
            self._refuse(
                f"the file ends after {len(rows)} of {count} frames; it is truncated, copy or "
                "export it again"
            )
        return frame_time, np.asarray(rows, np.float64)

    def _next(self) -> list[str] | None:
        """Words of the next line that is not blank; None at the end."""
        while self._at < len(self._pieces):
            words = self._pieces[self._at][1].split()
            self._at += 1
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

    @property
    def _line(self) -> int:
        return self._pieces[self._at - 1][0] if self._pieces else 1


def scan_bvh(path: Path) -> BvhText:
    """Check a BVH file line by line, and bring its channels into one form.

    Args:
        path: The file.

    Returns:
        Its text for the library, and what position channels below the root add.

    Raises:
        DataError: The file cannot be read, or is malformed; names the line.
    """
    scanner = _Scanner(path, _read_lines(path))
    scanner.scan_hierarchy()
    frame_time_s, values = scanner.scan_motion()
    shifts: dict[int, Float64Array] = {}
    columns: list[Float64Array] = []
    starts = np.cumsum([0, *(len(joint.channels) for joint in scanner.joints)])
    for index, joint in enumerate(scanner.joints):
        part = dict(zip(joint.channels, values[:, starts[index] :].T, strict=False))
        place = _place(joint, part, len(values))
        if not index:
            columns.append(place)
        elif any(name.endswith("position") for name in joint.channels):
            shifts[index] = place - np.asarray(joint.offset)
        still = np.zeros(len(values))
        turns = [part.get(name, still) for name in _rotations(joint)]
        columns.append(np.stack(turns, axis=1))
    lines = list(_uniform_hierarchy(scanner))
    lines += [f"Frames: {len(values)}", f"Frame Time: {frame_time_s!r}"]
    lines += [" ".join(map(repr, row)) for row in np.concatenate(columns, axis=1).tolist()]
    return BvhText(
        text="\n".join(lines) + "\n",
        shifts=shifts,
    )


def _read_lines(path: Path) -> list[str]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size} bytes, expected at most {MAX_BYTES}; cut it in parts")
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no text in UTF-8 ({error}); this is no BVH file") from error


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
