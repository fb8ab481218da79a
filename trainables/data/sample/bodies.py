"""Bodies of `sample` and their forward kinematics to the 17 joints of Human3.6M."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainables.data.cameras import Float64Array, rotation_matrix
from trainables.data.sample.clips import Motion
from trainables.skeletons import H36M_17

__all__ = ["Body", "draw_body", "joint_positions"]

# In the neck's frame, seen from the neck joint; the recorded skeleton ends there. Adult
# proportions for its stature of about 1.62 m.
NOSE_M = (0.060, 0.115, 0.0)
HEAD_TOP_M = (0.005, 0.245, 0.0)

STATURE_RANGE = (0.96, 1.14)
PROPORTION_RANGE = (0.94, 1.06)
SEGMENTS = (
    *("hip_width", "lower_trunk", "upper_trunk", "shoulder_width", "head"),
    *("upper_arm", "forearm", "thigh", "shin"),
)
# how each bone offset of the recorded skeleton scales, along (x, y, z)
_SCALED_BY = {
    "chest": ("lower_trunk",) * 3,
    "neck": ("upper_trunk",) * 3,
    "hip": ("hip_width",) * 3,
    "knee": ("thigh",) * 3,
    "ankle": ("shin",) * 3,
    "shoulder": ("shoulder_width", "upper_trunk", "shoulder_width"),
    "elbow": ("upper_arm",) * 3,
    "wrist": ("forearm",) * 3,
}


@dataclass(frozen=True)
class Body:
    """A simulated body.

    Attributes:
        name: Its label.
        scales: Factor on the recorded skeleton's length, by segment; the same left and right.
    """

    name: str
    scales: Mapping[str, float]

    def offsets(self, recorded_m: Mapping[str, Float64Array]) -> dict[str, Float64Array]:
        """This body's bone offsets, metres, by joint, from those of the recorded skeleton."""
        scaled = {}
        for bone, offset_m in recorded_m.items():
            segments = _SCALED_BY[bone.removeprefix("left_").removeprefix("right_")]
            scaled[bone] = offset_m * np.asarray([self.scales[name] for name in segments])
        return scaled


def draw_body(name: str, generator: np.random.Generator) -> Body:
    """Draw a body: a stature, and a proportion for each segment, all uniform."""
    stature = _uniform(generator, STATURE_RANGE)
    scales = {segment: stature * _uniform(generator, PROPORTION_RANGE) for segment in SEGMENTS}
    return Body(name, scales)


def _uniform(generator: np.random.Generator, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return low + (high - low) * float(generator.random())


def joint_positions(
    motion: Motion, body: Body, recorded_m: Mapping[str, Float64Array]
) -> Float64Array:
    """Forward kinematics of the recorded rotations on a body.

    The recorded skeleton gives hips, knees, ankles, shoulders, elbows and wrists as they are.
    Its root is the midpoint of the hips, its chest joint becomes H36M's spine, its neck joint
    the thorax; nose and head top are fixed to the neck's frame. The root's path is scaled with
    the length of the legs, so that feet keep to the ground.

    Args:
        motion: The motion, T frames.
        body: The body.
        recorded_m: Bone offsets of the recorded skeleton, metres, by joint.

    Returns:
        Joints in the order of `H36M_17`, axes of the clips (y up), metres, (T, 17, 3).
    """
    offsets = body.offsets(recorded_m)
    turn = {name: rotation_matrix(rotation) for name, rotation in motion.rotations.items()}
    place = {"hip": motion.root_m * _leg_scale(offsets, recorded_m)}
    chest = turn["root"] @ turn["chest"]
    neck = chest @ turn["neck"]
    head = body.scales["head"]
    place["spine"] = place["hip"] + _turned(turn["root"], offsets["chest"])
    place["thorax"] = place["spine"] + _turned(chest, offsets["neck"])
    place["neck"] = place["thorax"] + _turned(neck, np.asarray(NOSE_M) * head)
    place["head"] = place["thorax"] + _turned(neck, np.asarray(HEAD_TOP_M) * head)
    for prefix, side in (("r_", "right_"), ("l_", "left_")):
        for base, parent, bones in (
            ("hip", turn["root"], ("hip", "knee", "ankle")),
            ("spine", chest, ("shoulder", "elbow", "wrist")),
        ):
            start, orientation = place[base], parent
            for bone in bones:
                start = start + _turned(orientation, offsets[side + bone])
                place[prefix + bone] = start
                if bone != bones[-1]:
                    orientation = orientation @ turn[side + bone]
    return np.stack([place[name] for name in H36M_17.joints], axis=1)


def _leg_scale(
    offsets_m: Mapping[str, Float64Array], recorded_m: Mapping[str, Float64Array]
) -> float:
    """Length of the body's legs over that of the recorded skeleton's."""
    ours, recorded = (
        sum(float(np.linalg.norm(bones[name])) for name in ("left_knee", "left_ankle"))
        for bones in (offsets_m, recorded_m)
    )
    return ours / recorded


def _turned(rotation: Float64Array, offset_m: Float64Array) -> Float64Array:
    """A fixed offset under each frame's rotation, (T, 3, 3) and (3,) to (T, 3)."""
    return np.asarray(np.einsum("tij,j->ti", rotation, offset_m))
