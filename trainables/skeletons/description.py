"""Skeletons in files: known ones by their name, a user's own written out and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import chain
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from trainables.errors import DataError
from trainables.faults import describe_faults
from trainables.names import first_few
from trainables.skeletons import SKELETONS, BodyPart, Skeleton

__all__ = ["SkeletonReference", "skeleton_from_reference", "skeleton_reference"]

MAX_JOINTS = 1000
NUM_LIMB_PAIRS = 4
MAX_PARTS = 100
MAX_GROUPS = 100
"""Of one part."""

SkeletonReference: TypeAlias = "str | Mapping[str, Any]"
"""A name in `SKELETONS`, or a skeleton's fields, as JSON holds them."""

_Name = Annotated[str, StringConstraints(pattern=r"^[\w .:+/-]{1,64}$")]
_Joint = Annotated[int, Field(ge=0, lt=MAX_JOINTS, strict=True)]
_Parent = Annotated[int, Field(ge=-1, lt=MAX_JOINTS, strict=True)]
_Joints = Annotated[tuple[_Joint, ...], Field(max_length=MAX_JOINTS)]
_Segment = tuple[_Joint, _Joint]
_Pair = tuple[_Segment, _Segment]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    groups: Annotated[tuple[tuple[_Joints, _Joints], ...], Field(max_length=MAX_GROUPS)]


class _Description(BaseModel):
    """The fields of `Skeleton`, checked: a tree that is its own mirror image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    joints: Annotated[tuple[_Name, ...], Field(min_length=2, max_length=MAX_JOINTS)]
    parents: Annotated[tuple[_Parent, ...], Field(max_length=MAX_JOINTS)]
    left: _Joints
    right: _Joints
    limb_pairs: Annotated[tuple[_Pair, ...], Field(max_length=NUM_LIMB_PAIRS)]
    origin: _Joints = ()
    pck_joints: _Joints = ()
    parts: Annotated[tuple[_Part, ...], Field(max_length=MAX_PARTS)] = ()

    @field_validator("joints")
    @classmethod
    def _names_differ(cls, joints: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in joints if joints.count(name) > 1})
        if twice:
            raise ValueError(f"joints of the same name: {first_few(twice)}; rename one of each")
        return joints

    @model_validator(mode="after")
    def _consistent(self) -> _Description:
        self._check_tree()
        self._check_indices()
        self._check_mirror_image()
        self._check_limbs()
        return self

    def to_skeleton(self) -> Skeleton:
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        parts = tuple(BodyPart(part.name, part.groups) for part in self.parts)
        return Skeleton(**{**fields, "parts": parts})

    def _check_tree(self) -> None:
        count = len(self.joints)
        if len(self.parents) != count:
            raise ValueError(f"{len(self.parents)} parents for {count} joints; give one for each")
        if self.parents.count(-1) != 1:
            raise ValueError(
                f"{self.parents.count(-1)} joints have the parent -1, expected one, the root"
            )
        if max(self.parents) >= count:
            raise ValueError(f"a parent is {max(self.parents)}, but joints end at {count - 1}")
        for start, name in enumerate(self.joints):
            joint, steps = start, 0
            while self.parents[joint] >= 0 and steps <= count:
                joint, steps = self.parents[joint], steps + 1
            if steps > count:
                raise ValueError(f"the parents of {name!r} go in a circle, expected a tree")

    def _check_indices(self) -> None:
        groups: dict[str, Iterable[int]] = {
            "left": self.left,
            "right": self.right,
            "origin": self.origin,
            "pck_joints": self.pck_joints,
            **{
                f"parts {part.name}": chain.from_iterable(chain.from_iterable(part.groups))
                for part in self.parts
            },
            "limb_pairs": chain.from_iterable(chain.from_iterable(self.limb_pairs)),
        }
        for field, joints in groups.items():
            highest = max(joints, default=0)
            if highest >= len(self.joints):
                raise ValueError(
                    f"{field} names joint {highest}, but joints end at {len(self.joints) - 1}"
                )

    def _check_mirror_image(self) -> None:
        sides = (*self.left, *self.right)
        if len(self.left) != len(self.right) or len(set(sides)) != len(sides):
            raise ValueError(
                f"left has {len(self.left)} and right {len(self.right)} joints, expected pairs "
                "in which no joint occurs twice"
            )
        other = list(range(len(self.joints)))
        for left, right in zip(self.left, self.right, strict=True):
            other[left], other[right] = right, left
        for joint, parent in enumerate(self.parents):
            expected = -1 if parent < 0 else other[parent]
            if self.parents[other[joint]] != expected:
                raise ValueError(
                    f"the tree is not its own mirror image: {self.joints[joint]!r} and "
                    f"{self.joints[other[joint]]!r} hang on joints that are no pair"
                )

    def _check_limbs(self) -> None:
        if len(self.limb_pairs) != NUM_LIMB_PAIRS:
            raise ValueError(
                f"{len(self.limb_pairs)} limb_pairs, expected {NUM_LIMB_PAIRS}: upper arm, "
                "forearm, thigh, shin, each as ((left start, end), (right start, end))"
            )
        mirrored = dict(zip(self.left, self.right, strict=True))
        for left, right in self.limb_pairs:
            for start, end in (left, right):
                if self.parents[end] != start:
                    raise ValueError(
                        f"limb_pairs holds ({start}, {end}), but the parent of {end} is "
                        f"{self.parents[end]}; expected segments (parent, child)"
                    )
            if tuple(mirrored.get(joint) for joint in left) != right:
                raise ValueError(
                    f"limb_pairs holds {left} and {right}, which are no left and right of each "
                    "other"
                )
        self._check_limb_order()

    def _check_limb_order(self) -> None:
        """Upper arm, forearm, thigh, shin: each second segment goes on where the first ends."""
        segments = tuple(chain.from_iterable(self.limb_pairs))
        if len(set(segments)) != len(segments):
            raise ValueError("limb_pairs holds a segment twice, expected eight different ones")
        upper_arm, forearm, thigh, shin = (left for left, _ in self.limb_pairs)
        limbs = (("upper arm", upper_arm, "forearm", forearm), ("thigh", thigh, "shin", shin))
        for upper_name, upper, lower_name, lower in limbs:
            if lower[0] != upper[1]:
                raise ValueError(
                    f"limb_pairs: the {upper_name} {upper} ends at {upper[1]}, but the "
                    f"{lower_name} {lower} starts at {lower[0]}; expected, in this order, upper "
                    "arm, forearm, thigh, shin"
                )


def skeleton_reference(skeleton: Skeleton) -> SkeletonReference:
    """What files hold of a skeleton: its name if it is known here, else all its fields."""
    return skeleton.name if SKELETONS.get(skeleton.name) == skeleton else asdict(skeleton)


def skeleton_from_reference(reference: object) -> Skeleton:
    """The skeleton that a file names or describes.

    Args:
        reference: What `skeleton_reference` returned, as it came back from JSON.

    Raises:
        DataError: The name is unknown, the description is malformed, or it takes the name of a
            known skeleton for another.
    """
    if isinstance(reference, str):
        if reference not in SKELETONS:
            raise DataError(
                f"skeleton {reference[:64]!r} is unknown; known: {', '.join(SKELETONS)}; describe "
                "your own by its joints, parents, left, right and limb_pairs"
            )
        return SKELETONS[reference]
    try:
        skeleton = _Description.model_validate(reference).to_skeleton()
    except ValidationError as error:
        raise DataError(f"skeleton: {describe_faults(error)}") from error
    if SKELETONS.get(skeleton.name, skeleton) != skeleton:
        raise DataError(
            f"skeleton {skeleton.name!r} has the name of a known skeleton, but differs from it; "
            "give it another name"
        )
    return skeleton
