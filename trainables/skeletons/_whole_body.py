"""The 133 joints of COCO-WholeBody (H3WB) as plain tuples: names, parents, mirrored joints.

Order: 17 of the body, 6 of the feet, 68 of the face (iBUG's numbers), 21 of each hand. The data
name no bones, so the tree is chosen here. Its mirror image is itself, which leaves no room for
a bone between two mirrored joints (shoulder to shoulder, hip to hip):

* Body: COCO's bones without those two and without eye to eye, from the nose over eyes and ears
  to shoulders, arms, hips and legs. Toes and heel hang on the ankle.
* Face: the nose's tip hangs on the nose. Up the bridge to brows and eyes, down to the nostrils,
  lips and chin, and from the chin along the jaw; closed contours are cut where both halves meet.
* Hands: the hand's root hangs on the wrist, every finger on the root.
"""

from __future__ import annotations

import itertools

__all__ = ["FACE", "HANDS", "JOINTS", "LEFT", "PARENTS", "RIGHT"]

_PAIRED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_FOOT = ("big_toe", "small_toe", "heel")
_FINGERS = ("thumb", "index", "middle", "ring", "little")
_HAND = ("hand_root", *(f"{finger}_{bone}" for finger in _FINGERS for bone in range(1, 5)))

_FACE_START = 23
_LEFT_HAND, _RIGHT_HAND = 91, 112

JOINTS: tuple[str, ...] = (
    "nose",
    *(f"{side}_{name}" for name in _PAIRED for side in "lr"),
    *(f"{side}_{name}" for side in "lr" for name in _FOOT),
    *(f"face_{number}" for number in range(68)),
    *(f"{side}_{name}" for side in "lr" for name in _HAND),
)

FACE = tuple(range(_FACE_START, _LEFT_HAND))
"""Joints of the face."""

HANDS = tuple(tuple(range(root, root + len(_HAND))) for root in (_LEFT_HAND, _RIGHT_HAND))
"""Joints of the left and of the right hand, its root first."""

# Chains of joints, each joint hanging on the one before it.
_BODY_CHAINS = (
    *((0, 1, 3, 5, 11, 13, 15), (5, 7, 9, _LEFT_HAND)),
    *((0, 2, 4, 6, 12, 14, 16), (6, 8, 10, _RIGHT_HAND)),
    *((15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22)),
)
_FACE_CHAINS = (  # iBUG's numbers; the person's right comes first
    *((30, 29, 28, 27), (30, 33), (33, 32, 31), (33, 34, 35)),  # bridge, nostrils
    *((27, 21, 20, 19, 18, 17), (27, 22, 23, 24, 25, 26)),  # brows
    *((27, 39, 38, 37, 36), (39, 40, 41)),  # right eye: upper lid, lower lid
    *((27, 42, 43, 44, 45), (42, 47, 46)),  # left eye
    (33, 51, 62, 66, 57, 8),  # down the middle: lips, chin
    *((51, 50, 49, 48), (51, 52, 53, 54), (57, 58, 59), (57, 56, 55)),  # outer lips
    *((62, 61, 60), (62, 63, 64), (66, 67), (66, 65)),  # inner lips
    *((8, 7, 6, 5, 4, 3, 2, 1, 0), (8, 9, 10, 11, 12, 13, 14, 15, 16)),  # jaw
)
_HAND_CHAINS = tuple((0, *range(first, first + 4)) for first in range(1, 21, 4))
# Right and left in iBUG's numbers: jaw, brows, nostrils, eyes, lips.
_FACE_MIRROR = (
    *((number, 16 - number) for number in range(8)),
    *((number, 43 - number) for number in range(17, 22)),
    *((31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (58, 56), (59, 55), (60, 64), (61, 63), (67, 65)),
)


def _parents() -> tuple[int, ...]:
    chains = [
        *_BODY_CHAINS,
        (0, _FACE_START + 30),
        *(tuple(_FACE_START + number for number in chain) for chain in _FACE_CHAINS),
        *(
            tuple(root + number for number in chain)
            for root in (_LEFT_HAND, _RIGHT_HAND)
            for chain in _HAND_CHAINS
        ),
    ]
    parent_of = {child: parent for chain in chains for parent, child in itertools.pairwise(chain)}
    return tuple(parent_of.get(joint, -1) for joint in range(len(JOINTS)))


PARENTS = _parents()

LEFT: tuple[int, ...] = (
    *(1, 3, 5, 7, 9, 11, 13, 15, 17, 18, 19),
    *(_FACE_START + left for _, left in _FACE_MIRROR),
    *HANDS[0],
)
RIGHT: tuple[int, ...] = (
    *(2, 4, 6, 8, 10, 12, 14, 16, 20, 21, 22),
    *(_FACE_START + right for right, _ in _FACE_MIRROR),
    *HANDS[1],
)
"""Counterparts of `LEFT`, in matching order."""
