"""Skeletons: joints, parents, symmetric segments. Pure data, no numerical library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from trainables.skeletons import _whole_body as whole_body

__all__ = [
    "H3WB_133",
    "H36M_16",
    "H36M_17",
    "MPI_INF_3DHP_17",
    "SKELETONS",
    "BodyPart",
    "Skeleton",
]


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
    def mirrored(self) -> tuple[int, ...]:
        """For each joint the one that takes its place in a mirror image, left for right."""
        order = list(range(self.num_joints))
        for left, right in zip(self.left, self.right, strict=True):
            order[left], order[right] = right, left
        return tuple(order)

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

H36M_16 = Skeleton(
    name="h36m_16",
    joints=tuple(name for name in H36M_17.joints if name != "neck"),
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14),
    left=(4, 5, 6, 10, 11, 12),
    right=(1, 2, 3, 13, 14, 15),
    limb_pairs=(
        ((10, 11), (13, 14)),
        ((11, 12), (14, 15)),
        ((4, 5), (1, 2)),
        ((5, 6), (2, 3)),
    ),
)
"""Human3.6M without the neck, as Martinez et al. and SemGCN use it."""

MPI_INF_3DHP_17 = Skeleton(
    name="mpi_inf_3dhp_17",
    joints=(
        *("head_top", "neck", "r_shoulder", "r_elbow", "r_wrist"),
        *("l_shoulder", "l_elbow", "l_wrist"),
        *("r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle"),
        *("pelvis", "spine", "head"),
    ),
    parents=(16, 15, 1, 2, 3, 1, 5, 6, 14, 8, 9, 14, 11, 12, -1, 14, 1),
    left=(5, 6, 7, 11, 12, 13),
    right=(2, 3, 4, 8, 9, 10),
    limb_pairs=(
        ((5, 6), (2, 3)),
        ((6, 7), (3, 4)),
        ((11, 12), (8, 9)),
        ((12, 13), (9, 10)),
    ),
    pck_joints=tuple(range(14)),
)
"""MPI-INF-3DHP, the 17 relevant joints; the root is joint 14, PCK leaves out the last three."""

_HIPS = (11, 12)
_BODY_AND_FEET = tuple(range(23))

H3WB_133 = Skeleton(
    name="h3wb_133",
    joints=whole_body.JOINTS,
    parents=whole_body.PARENTS,
    left=whole_body.LEFT,
    right=whole_body.RIGHT,
    limb_pairs=(
        ((5, 7), (6, 8)),
        ((7, 9), (8, 10)),
        ((11, 13), (12, 14)),
        ((13, 15), (14, 16)),
    ),
    origin=_HIPS,
    parts=(
        BodyPart("whole_body", ((tuple(range(133)), _HIPS),)),
        BodyPart("body", ((_BODY_AND_FEET, _HIPS),)),
        BodyPart("face", ((whole_body.FACE, _HIPS),)),
        BodyPart("hands", (((*whole_body.HANDS[0], *whole_body.HANDS[1]), _HIPS),)),
        BodyPart("face_nose", ((whole_body.FACE, (0,)),)),
        BodyPart("hands_wrist", tuple((hand, hand[:1]) for hand in whole_body.HANDS)),
    ),
)
"""Human3.6M WholeBody, COCO-WholeBody's order: the pelvis is no joint, but between the hips."""

SKELETONS: Mapping[str, Skeleton] = MappingProxyType(
    {s.name: s for s in (H36M_17, H36M_16, MPI_INF_3DHP_17, H3WB_133)}
)
"""All skeletons by name."""
