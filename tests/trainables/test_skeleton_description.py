"""Skeletons in files: known ones by name, a user's own described and checked."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from trainables.errors import DataError
from trainables.skeletons import H36M_17, SKELETONS, Skeleton
from trainables.skeletons.description import skeleton_from_reference, skeleton_reference


def described(**changes: Any) -> dict[str, Any]:
    """Human3.6M's skeleton under another name, as JSON gives it back."""
    fields: dict[str, Any] = json.loads(json.dumps(asdict(replace(H36M_17, name="mine"))))
    return {**fields, **changes}


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_a_known_skeleton_is_stored_by_its_name(skeleton: Skeleton) -> None:
    assert skeleton_reference(skeleton) == skeleton.name
    assert skeleton_from_reference(skeleton.name) is skeleton


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_a_skeleton_of_ones_own_comes_back_from_json_as_it_was(skeleton: Skeleton) -> None:
    own = replace(skeleton, name="mine")
    assert skeleton_from_reference(json.loads(json.dumps(skeleton_reference(own)))) == own


def test_a_known_skeleton_written_out_is_the_known_one() -> None:
    assert skeleton_from_reference(described(name="h36m_17")) == H36M_17


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"joints": ["hip"] * 17}, "joints of the same name: hip"),
        ({"parents": [-1] * 17}, "17 joints have the parent -1, expected one"),
        ({"parents": [-1, 0, 1]}, "3 parents for 17 joints"),
        ({"parents": [-1, 2, 1, *H36M_17.parents[3:]]}, "go in a circle, expected a tree"),
        ({"parents": [-1, *([40] * 16)]}, "a parent is 40, but joints end at 16"),
        ({"left": [4, 5]}, "left has 2 and right 6 joints"),
        ({"left": [4, 6, 5, 11, 12, 13]}, "the tree is not its own mirror image"),
        ({"limb_pairs": []}, "0 limb_pairs, expected 4"),
        ({"limb_pairs": H36M_17.limb_pairs * 2}, "limb_pairs: Tuple should have at most 4 items"),
        (
            {"limb_pairs": [H36M_17.limb_pairs[i] for i in (1, 0, 2, 3)]},
            "but the forearm (11, 12) starts at 11; expected, in this order, upper arm, forearm",
        ),
        (
            {"limb_pairs": [H36M_17.limb_pairs[i] for i in (0, 1, 3, 2)]},
            "but the shin (4, 5) starts at 4",
        ),
        (
            {"limb_pairs": [H36M_17.limb_pairs[i] for i in (0, 1, 0, 1)]},
            "limb_pairs holds a segment twice, expected eight different ones",
        ),
        (
            {"parts": [{"name": "a", "groups": [[[1], [0]]]}] * 101},
            "parts: Tuple should have at most 100 items",
        ),
        ({"parts": [{"name": "a", "groups": [[[17], [0]]]}]}, "parts a names joint 17, but"),
        ({"limb_pairs": [[[11, 13], [14, 15]]] * 4}, "the parent of 13 is 12"),
        ({"limb_pairs": [[[11, 12], [15, 16]]] * 4}, "no left and right of each other"),
        ({"origin": [17]}, "origin names joint 17, but joints end at 16"),
        ({"name": "h36m_17", "origin": [1, 4]}, "has the name of a known skeleton, but differs"),
        ({"name": "../mine\n"}, "name: String should match pattern"),
        ({"parents": [-1, *([True] * 16)]}, "parents.1: Input should be a valid integer"),
    ],
)
def test_a_malformed_description_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        skeleton_from_reference(described(**changes))
    assert message in str(caught.value)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DataError, match="skeleton 'mine' is unknown; known: h36m_17"):
        skeleton_from_reference("mine")
