"""Skeletons: joints, parents, symmetric segments. Pure data, no numerical library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["H36M_17", "SKELETONS", "BodyPart", "Skeleton"]


@dataclass(frozen=True)
class BodyPart:
    """Joints that are measured together after moving pred and target to a common joint.

    Attributes:
        name: Name in metrics: `face`, `face_nose`, `hands_wrist`.
        groups: Groups of joints, each with the joints whose mean is its origin: a part may be
            aligned piece by piece, as the hands are, each at its wrist.
    """

    name: str
    groups: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


@dataclass(frozen=True)
class Skeleton:
    """A tree of joints with its left/right symmetry.

    Attributes:
        name: Name of the skeleton.
        joints: Joint names in order.
        parents: Parent index of each joint, -1 for the root.
        left: Left joints.
        right: Their right counterparts, in matching order.
        limb_pairs: Pairs of limbs for LSE: upper arm, forearm, thigh, shin, each as
            ((left start, left end), (right start, right end)).
        origin: Joints whose mean is the origin of root-relative poses; empty for the root.
        pck_joints: Joints that PCK and AUC count; empty where the protocol has no PCK.
        parts: Body parts that are measured on their own.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    limb_pairs: tuple[tuple[tuple[int, int], tuple[int, int]], ...]
    origin: tuple[int, ...] = ()
    pck_joints: tuple[int, ...] = ()
    parts: tuple[BodyPart, ...] = ()

    @property
    def num_joints(self) -> int:
        """Number of joints J."""
        return len(self.joints)

    @property
    def root(self) -> int:
        """Index of the root joint."""
        return self.parents.index(-1)

    @property
    def segments(self) -> tuple[tuple[int, int], ...]:
        """All adjacent-joint segments as (parent, child)."""
        return tuple((p, child) for child, p in enumerate(self.parents) if p >= 0)

    @property
    def limbs(self) -> tuple[tuple[int, int], ...]:
        """The eight limb segments, left and right."""
        return tuple(segment for pair in self.limb_pairs for segment in pair)


H36M_17 = Skeleton(
    name="h36m_17",
    joints=(
        *("hip", "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle"),
        *("spine", "thorax", "neck", "head"),
        *("l_shoulder", "l_elbow", "l_wrist", "r_shoulder", "r_elbow", "r_wrist"),
    ),
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    left=(4, 5, 6, 11, 12, 13),
    right=(1, 2, 3, 14, 15, 16),
    limb_pairs=(
        ((11, 12), (14, 15)),
        ((12, 13), (15, 16)),
        ((4, 5), (1, 2)),
        ((5, 6), (2, 3)),
    ),
)
"""Human3.6M with 17 joints (VideoPose3D's order)."""

SKELETONS: Mapping[str, Skeleton] = {H36M_17.name: H36M_17}
