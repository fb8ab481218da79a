"""How the joints of BVH files become ours: maps in YAML, two of them bundled."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from trainables.data.cameras import Float64Array
from trainables.data.poses.bvh_motion import BvhMotion
from trainables.errors import DataError
from trainables.faults import describe_faults
from trainables.names import NAMED_IN_MESSAGES, first_few, printable
from trainables.skeletons import Skeleton
from trainables.skeletons.description import MAX_JOINTS, skeleton_from_reference

__all__ = ["BUNDLED_MAPS", "BvhMap", "FileFacts", "VirtualCamera", "load_bvh_map"]

FOLDER = Path(__file__).parent / "bvh_maps"
BUNDLED_MAPS = ("cmu", "mixamo")
MAX_MAP_BYTES = 1 << 20
FPS_TOLERANCE = 0.01

MAX_CHOICES = 16
"""Of alternatives for a joint, of joints in a mean, of prefixes."""

_Weight = Annotated[float, Field(gt=0)]
_Text = Annotated[str, StringConstraints(max_length=1000)]
_Place: TypeAlias = _Text | Annotated[dict[_Text, _Weight], Field(max_length=MAX_CHOICES)]
_Places: TypeAlias = Annotated[list[_Place], Field(max_length=MAX_CHOICES)]
_Point = tuple[float, float, float]
_Pixels = Annotated[int, Field(ge=1, le=100_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VirtualCamera(_Strict):
    """A camera in the room: z up, metres.

    Attributes:
        width: Image width, pixels.
        height: Image height, pixels.
        focal: Focal lengths (fx, fy), pixels.
        center: Principal point, pixels; None for the middle of the image.
        position_m: Its place.
        look_at_m: A point in the middle of its view.
    """

    width: _Pixels
    height: _Pixels
    focal: tuple[_Weight, _Weight]
    center: tuple[float, float] | None = None
    position_m: _Point
    look_at_m: _Point


class SplitRule(_Strict):
    """Files whose name, without the suffix, fits a pattern (`*`, `?`) are of a split."""

    files: _Text
    split: Literal["train", "val", "test"]


class FileFacts(_Strict):
    """Who does what in a file, and what it is for."""

    subject: str
    action: str
    split: str


class BvhMap(_Strict):
    """A map; docs/own_data.md describes it for users.

    Attributes:
        skeleton: Name or description of our skeleton.
        joints: For each of our joints a BVH joint, a weighted mean of several, or a list of
            such of which the first that the file has counts; `NAME End` is an end site.
        prefixes: What BVH names may begin with and ours leave out.
        up: Axis of the files that points up.
        metres_per_unit: Length of the files' unit.
        fps: Frame rate to thin to; None for all frames, or for `stride`.
        stride: Every how many-th frame is kept.
        file_name: Pattern (regular expression) with the groups `subject` and `action` that
            file names, without the suffix, fit; else both are the name itself.
        splits: First rule that fits wins; files that none fits train.
        cameras: By name; None for a ring of four.
        seed: Of the headings in the ring.
    """

    skeleton: str | dict[str, Any] = "h36m_17"
    joints: Annotated[dict[_Text, _Place | _Places], Field(max_length=MAX_JOINTS)]
    prefixes: Annotated[tuple[_Text, ...], Field(max_length=MAX_CHOICES)] = ()
    up: Literal["y", "z"] = "y"
    metres_per_unit: Annotated[float, Field(gt=0)]
    fps: Annotated[float, Field(gt=0)] | None = None
    stride: Annotated[int, Field(ge=1)] = 1
    file_name: _Text | None = None
    splits: Annotated[tuple[SplitRule, ...], Field(max_length=1000)] = ()
    cameras: Annotated[dict[str, VirtualCamera], Field(min_length=1, max_length=100)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("file_name")
    @classmethod
    def _groups(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = set(re.compile(pattern).groupindex)
            except re.error as error:
                raise ValueError(f"no regular expression: {error}") from error
            if groups != {"subject", "action"}:
                raise ValueError("expected the groups (?P<subject>...) and (?P<action>...)")
        return pattern

    @model_validator(mode="after")
    def _whole(self) -> BvhMap:
        ours = self.build_skeleton().joints
        missing = [name for name in ours if name not in self.joints]
        unknown = [name for name in self.joints if name not in ours]
        if missing or unknown:
            raise ValueError(
                f"joints: missing {first_few(missing) or 'none'}; unknown "
                f"{first_few(unknown) or 'none'}; expected those of the skeleton: "
                f"{', '.join(ours)}"
            )
        if self.fps is not None and self.stride != 1:
            raise ValueError("fps and stride both thin the frames; give one")
        return self

    def build_skeleton(self) -> Skeleton:
        """Our skeleton."""
        try:
            return skeleton_from_reference(self.skeleton)
        except DataError as error:
            raise ValueError(str(error)) from error

    def facts_of(self, path: Path) -> FileFacts:
        """Who does what in a file, by its name."""
        stem = path.stem
        found = re.fullmatch(self.file_name, stem) if self.file_name else None
        subject, action = (found["subject"], found["action"]) if found else (stem, stem)
        rules = (rule.split for rule in self.splits if fnmatchcase(stem, rule.files))
        return FileFacts(subject=subject, action=action, split=next(rules, "train"))

    def stride_at(self, fps: float, path: Path) -> int:
        """Every how many-th frame of a file is kept.

        Raises:
            DataError: The file's frame rate is no multiple of ours.
        """
        if self.fps is None:
            return self.stride
        stride = max(1, round(fps / self.fps))
        if abs(fps / stride - self.fps) > FPS_TOLERANCE * self.fps:
            raise DataError(
                f"{path}: {fps:.6g} frames per second are no multiple of {self.fps:g} "
                f"(fps in the map); use {fps / stride:.6g}, or stride"
            )
        return stride

    def place_joints(self, motion: BvhMotion, path: Path) -> Float64Array:
        """Our joints: z up, metres, (T, J, 3).

        Raises:
            DataError: The file lacks joints that the map names.
        """
        known = {self._without_prefix(name): place for name, place in motion.places.items()}
        placed: list[Float64Array] = []
        missing = []
        for name in self.build_skeleton().joints:
            wanted = self.joints[name]
            choices = wanted if isinstance(wanted, list) else [wanted]
            found = next((choice for choice in choices if set(_names(choice)) <= set(known)), None)
            if found is None:
                missing.append(f"{name} ({printable(' or '.join(map(_shown, choices)))})")
            else:
                placed.append(_mean(known, found))
        if missing:
            raise DataError(
                f"{path}: lacks the joints for {'; '.join(missing[:NAMED_IN_MESSAGES])}"
                f"{' …' if len(missing) > NAMED_IN_MESSAGES else ''}; found "
                f"{first_few(sorted(known))}; is it another map's file?"
            )
        points = np.stack(placed, axis=1) * self.metres_per_unit
        if self.up == "y":
            points = np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)
        return points

    def _without_prefix(self, name: str) -> str:
        for prefix in self.prefixes:
            if name.startswith(prefix):
                return name.removeprefix(prefix)
        return name


def _names(place: _Place) -> tuple[str, ...]:
    return (place,) if isinstance(place, str) else tuple(place)


def _shown(place: _Place) -> str:
    return " + ".join(_names(place))


def _mean(known: dict[str, Float64Array], place: _Place) -> Float64Array:
    if isinstance(place, str):
        return known[place]
    total = sum(place.values())
    parts = [known[name] * (weight / total) for name, weight in place.items()]
    return np.asarray(np.sum(parts, axis=0))


class _PlainLoader(yaml.SafeLoader):
    """Without aliases, by which a small file can stand for a huge one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if event.anchor is not None:
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases are not supported, write it out", event.start_mark
            )
        return super().compose_node(parent, index)


def load_bvh_map(name: str) -> BvhMap:
    """A bundled map by its name, or one in a YAML file.

    Raises:
        DataError: There is no such map, or it is malformed; names all faults.
    """
    path = FOLDER / f"{name}.yaml" if name in BUNDLED_MAPS else Path(name)
    if name not in BUNDLED_MAPS and path.suffix.lower() not in (".yaml", ".yml"):
        raise DataError(f"map {name!r}: expected {', '.join(BUNDLED_MAPS)}, or a file .yaml")
    try:
        if path.stat().st_size > MAX_MAP_BYTES:
            raise DataError(f"{path}: larger than {MAX_MAP_BYTES} bytes; this is no map")
        value = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)  # a SafeLoader
        return BvhMap.model_validate(value)
    except ValidationError as error:
        raise DataError(f"{path}: {describe_faults(error)}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: no valid YAML ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
