"""What a poses file says of itself: unit, skeleton, cameras."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)

from trainables.data.dataset import Camera
from trainables.errors import DataError
from trainables.faults import describe_faults
from trainables.skeletons import Skeleton
from trainables.skeletons.description import skeleton_from_reference

__all__ = ["CameraEntry", "PosesMetadata", "camera_entry", "read_metadata"]

MAX_METADATA_CHARACTERS = 999_999
"""An npz file holds no longer text (`trainables.data.npz_reader`)."""
MAX_NOTES = 100
MAX_NOTE_CHARACTERS = 500
MAX_CAMERAS = 10_000


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be printed; leave them out")
    return text


def _check_number(value: object) -> object:
    """Refuse true and text, which pydantic would take for numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"expected a number, found {type(value).__name__}")
    return value


_Name = Annotated[
    str, StringConstraints(min_length=1, max_length=200), AfterValidator(_check_printable)
]
_Note = Annotated[
    str, StringConstraints(max_length=MAX_NOTE_CHARACTERS), AfterValidator(_check_printable)
]
_DatasetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$")]
_Pixels = Annotated[int, Field(ge=1, le=100_000, strict=True)]
_Number = Annotated[int | float, Field(ge=-1e9, le=1e9), BeforeValidator(_check_number)]
"""As it was written: 512 stays a whole number, and so a content hash stays what it was."""
_Positive = Annotated[int | float, Field(gt=0, le=1e9), BeforeValidator(_check_number)]
_Fps = Annotated[float, Field(ge=1, le=10_000), BeforeValidator(_check_number)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CameraEntry(_Strict):
    """A camera: the size of its images, and its calibration if that is known.

    Attributes:
        width: Image width, pixels.
        height: Image height, pixels.
        focal: Focal lengths (fx, fy), pixels; None if the calibration is unknown.
        center: Principal point (cx, cy), pixels.
        radial: Radial distortion k1, k2, k3.
        tangential: Tangential distortion p1, p2.
        view: Name of the view; None for the camera's id.
    """

    width: _Pixels
    height: _Pixels
    focal: tuple[_Positive, _Positive] | None = None
    center: tuple[_Number, _Number] | None = None
    radial: tuple[_Number, _Number, _Number] | None = None
    tangential: tuple[_Number, _Number] | None = None
    view: _Name | None = None

    def to_camera(self) -> Camera | None:
        """The calibrated camera; None if only the image's size is known."""
        if self.focal is None or self.center is None:
            return None
        return Camera(
            width=self.width,
            height=self.height,
            focal=self.focal,
            center=self.center,
            radial=self.radial or (0.0, 0.0, 0.0),
            tangential=self.tangential or (0.0, 0.0),
        )


class PosesMetadata(_Strict):
    """The metadata of a poses file; docs/own_data.md describes it for users.

    Attributes:
        format_version: Of this form.
        name: Name of the data set.
        unit: Unit of all 3D.
        skeleton: Name of a known skeleton, or the description of another.
        cameras: By the ids of the column `camera`.
        fps: Frames per second, where there is no column of this name.
        root_known: Whether 3D says where in the camera's frame a pose is.
        notes: For people.
    """

    format_version: Literal[1]
    name: _DatasetName
    unit: Literal["m", "mm"]
    skeleton: str | dict[str, Any]
    cameras: Annotated[dict[_Name, CameraEntry], Field(min_length=1, max_length=MAX_CAMERAS)]
    fps: _Fps | None = None
    root_known: Annotated[bool, Field(strict=True)] = True
    notes: Annotated[tuple[_Note, ...], Field(max_length=MAX_NOTES)] = ()

    @field_validator("cameras")
    @classmethod
    def _whole_calibrations(cls, cameras: dict[str, CameraEntry]) -> dict[str, CameraEntry]:
        for name, camera in cameras.items():
            if (camera.focal is None) != (camera.center is None):
                raise ValueError(
                    f"camera {name!r} has one of focal and center, expected both, or neither"
                )
            lens = camera.radial is not None or camera.tangential is not None
            if camera.focal is None and lens:
                raise ValueError(f"camera {name!r} has a lens distortion but no focal and center")
        return cameras

    @property
    def metres_per_unit(self) -> float:
        """Factor that turns 3D of the file into metres."""
        return 1.0 if self.unit == "m" else 0.001

    def build_skeleton(self) -> Skeleton:
        """The skeleton that is named or described; raises a DataError if it is malformed."""
        return skeleton_from_reference(self.skeleton)

    def to_json(self) -> str:
        """The text that files hold."""
        return json.dumps(self.model_dump(exclude_defaults=True) | {"unit": self.unit})


def camera_entry(camera: Camera | None, size: tuple[int, int], view: str | None) -> CameraEntry:
    """What a file says of a camera.

    Args:
        camera: Its calibration, if known.
        size: Width and height of its images, pixels.
        view: Name of the view, where it is not the camera's id.
    """
    if camera is None:
        return CameraEntry(width=int(size[0]), height=int(size[1]), view=view)
    return CameraEntry(
        width=int(camera.width),
        height=int(camera.height),
        focal=camera.focal,
        center=camera.center,
        radial=camera.radial if any(camera.radial) else None,
        tangential=camera.tangential if any(camera.tangential) else None,
        view=view,
    )


def read_metadata(text: str, where: str) -> PosesMetadata:
    """Read and check the metadata of a file.

    Args:
        text: JSON.
        where: File and place, for messages.

    Raises:
        DataError: It is no JSON, or a field is missing, unknown or wrong; names all such fields.
    """
    if len(text) > MAX_METADATA_CHARACTERS:
        raise DataError(
            f"{where}: {len(text)} characters, expected at most {MAX_METADATA_CHARACTERS}"
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no valid JSON ({error})") from error
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: a JSON {type(value).__name__}, expected an object")
    try:
        metadata = PosesMetadata.model_validate(value)
        metadata.build_skeleton()
    except ValidationError as error:
        raise DataError(f"{where}: {describe_faults(error)}") from error
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return metadata
