"""Skeletons: trees, their mirror images, and what the protocols measure on them."""

from __future__ import annotations

import pytest

from trainables.skeletons import (
    H3WB_133,
    H36M_16,
    H36M_17,
    MPI_INF_3DHP_17,
    SKELETONS,
    Skeleton,
)

ALL = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)

# Human3.6M's joints in the order of MPI-INF-3DHP's, as the field maps them
TO_3DHP = (10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6, 0, 7, 9)


def mirrored(skeleton: Skeleton) -> list[int]:
    """Each joint's counterpart; joints of the middle are their own."""
    other = list(range(skeleton.num_joints))
    for left, right in zip(skeleton.left, skeleton.right, strict=True):
        other[left], other[right] = right, left
    return other


def part_joints(name: str) -> list[int]:
    (part,) = (p for p in H3WB_133.parts if p.name == name)
    return [joint for joints, _ in part.groups for joint in joints]


def test_skeletons_are_found_by_their_names() -> None:
    assert {(s.name, s.num_joints) for s in SKELETONS.values()} == {
        *(("h36m_17", 17), ("h36m_16", 16), ("mpi_inf_3dhp_17", 17), ("h3wb_133", 133))
    }
    assert all(SKELETONS[s.name] is s for s in (H36M_17, H36M_16, MPI_INF_3DHP_17, H3WB_133))


@ALL
def test_joints_form_a_tree(skeleton: Skeleton) -> None:
    size = skeleton.num_joints
    assert len(set(skeleton.joints)) == len(skeleton.parents) == size
    assert skeleton.parents.count(-1) == 1
    assert len(skeleton.segments) == size - 1
    for joint in range(size):
        seen = set()
        while joint != skeleton.root:
            assert joint not in seen
            seen.add(joint)
            joint = skeleton.parents[joint]


@ALL
def test_left_and_right_are_the_names_sides(skeleton: Skeleton) -> None:
    sides = [*skeleton.left, *skeleton.right]
    assert len(set(sides)) == len(sides)
    for left, right in zip(skeleton.left, skeleton.right, strict=True):
        names = skeleton.joints[left], skeleton.joints[right]
        if not names[0].startswith("face_"):  # numbered, not named
            assert (names[0][:2], names[1]) == ("l_", "r_" + names[0][2:])
    middle = set(range(skeleton.num_joints)) - set(sides)
    assert not any(skeleton.joints[joint].startswith(("l_", "r_")) for joint in middle)


@ALL
def test_the_mirror_image_of_the_tree_is_the_tree(skeleton: Skeleton) -> None:
    other = mirrored(skeleton)
    assert {(other[a], other[b]) for a, b in skeleton.segments} == set(skeleton.segments)


@ALL
def test_limb_pairs_are_mirrored_arms_and_legs(skeleton: Skeleton) -> None:
    other = mirrored(skeleton)
    named = []
    for left, right in skeleton.limb_pairs:
        assert left in skeleton.segments
        assert (other[left[0]], other[left[1]]) == right
        named.append(tuple(skeleton.joints[joint] for joint in left))
    assert named == [
        *(("l_shoulder", "l_elbow"), ("l_elbow", "l_wrist")),
        *(("l_hip", "l_knee"), ("l_knee", "l_ankle")),
    ]


def test_without_the_neck_the_other_joints_hang_as_before() -> None:
    neck = H36M_17.joints.index("neck")
    kept = [joint for joint in range(17) if joint != neck]
    for child, joint in enumerate(kept):
        parent = H36M_17.parents[joint]
        if parent == neck:
            parent = H36M_17.parents[neck]
        assert H36M_16.parents[child] == (kept.index(parent) if parent >= 0 else -1)


def test_3dhp_is_human36m_s_tree_in_another_order() -> None:
    assert MPI_INF_3DHP_17.root == 14
    assert MPI_INF_3DHP_17.pck_joints == tuple(range(14))
    for joint, of_h36m in enumerate(TO_3DHP):
        parent = H36M_17.parents[of_h36m]
        expected = TO_3DHP.index(parent) if parent >= 0 else -1
        assert MPI_INF_3DHP_17.parents[joint] == expected


def test_h3wb_is_measured_from_between_the_hips_and_in_disjoint_complete_parts() -> None:
    assert [H3WB_133.joints[joint] for joint in H3WB_133.origin] == ["l_hip", "r_hip"]
    body, face, hands = (part_joints(name) for name in ("body", "face", "hands"))
    assert (len(body), len(face), len(hands)) == (23, 68, 42)
    assert sorted([*body, *face, *hands]) == part_joints("whole_body") == list(range(133))
    assert part_joints("face_nose") == face
    assert part_joints("hands_wrist") == hands


def test_h3wb_parts_are_aligned_at_hips_nose_and_each_wrist() -> None:
    origins = {
        part.name: [tuple(H3WB_133.joints[j] for j in origin) for _, origin in part.groups]
        for part in H3WB_133.parts
    }
    hips = ("l_hip", "r_hip")
    assert origins == {
        **{name: [hips] for name in ("whole_body", "body", "face", "hands")},
        "face_nose": [("nose",)],
        "hands_wrist": [("l_hand_root",), ("r_hand_root",)],
    }


@pytest.mark.parametrize(
    ("joint", "name"),
    [
        *((5, "l_shoulder"), (10, "r_wrist"), (11, "l_hip"), (16, "r_ankle"), (17, "l_big_toe")),
        *((22, "r_heel"), (23, "face_0"), (90, "face_67"), (91, "l_hand_root")),
        *((95, "l_thumb_4"), (111, "l_little_4"), (112, "r_hand_root"), (132, "r_little_4")),
    ],
)
def test_h3wb_is_in_coco_wholebody_s_order(joint: int, name: str) -> None:
    assert H3WB_133.joints[joint] == name


def test_h3wb_hangs_together_as_documented() -> None:
    parent_of = {
        name: H3WB_133.joints[parent]
        for name, parent in zip(H3WB_133.joints, H3WB_133.parents, strict=True)
        if parent >= 0
    }
    expected = {
        **{"l_shoulder": "l_ear", "r_hip": "r_shoulder", "l_heel": "l_ankle"},
        **{"face_30": "nose", "face_33": "face_30", "face_8": "face_57", "face_0": "face_1"},
        **{"r_hand_root": "r_wrist", "l_index_1": "l_hand_root", "l_index_4": "l_index_3"},
    }
    assert {name: parent_of[name] for name in expected} == expected
