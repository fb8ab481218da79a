"""BVH files made by hand, and forward kinematics of our own to check the library's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation


@dataclass
class Joint:
    """A joint: name, offset, channels, children; None for channels marks an end site."""

    name: str
    offset: tuple[float, float, float]
    channels: tuple[str, ...] | None = ("Zrotation", "Xrotation", "Yrotation")
    children: list[Joint] = field(default_factory=list)


ROOT_CHANNELS = ("Xposition", "Yposition", "Zposition", "Zrotation", "Yrotation", "Xrotation")


def end(x: float, y: float, z: float) -> Joint:
    return Joint("", (x, y, z), None)


def body(prefix: str = "", unit: float = 1.0) -> Joint:
    """A person of about 1.7 m in a T-pose, y up, facing z; names as CMU's and Mixamo's."""

    def joint(name: str, x: float, y: float, z: float, *children: Joint) -> Joint:
        place = (x / unit, y / unit, z / unit)
        channels = None if name == "End" else Joint("", place).channels
        return Joint(f"{prefix}{name}", place, channels, list(children))

    def side(name: str, x: float) -> tuple[Joint, Joint]:
        toes = joint(f"{name}ToeBase", 0, -0.05, 0.12, joint("End", 0, 0, 0.05))
        foot = joint(f"{name}Foot", 0, -0.42, 0, toes)
        leg = joint(f"{name}UpLeg", 0.09 * x, -0.05, 0, joint(f"{name}Leg", 0, -0.43, 0.01, foot))
        hand = joint(f"{name}Hand", 0.25 * x, 0, 0, joint("End", 0.1 * x, 0, 0))
        arm = joint(f"{name}Arm", 0.17 * x, 0.15, 0, joint(f"{name}ForeArm", 0.28 * x, 0, 0, hand))
        return leg, arm

    left_leg, left_arm = side("Left", 1)
    right_leg, right_arm = side("Right", -1)
    head = joint("Head", 0, 0.09, 0.02, joint("End", 0, 0.18, 0))
    neck = joint("Neck", 0, 0.2, 0, joint("Neck1", 0, 0.05, 0, head))
    chest = joint("Spine1", 0, 0.13, 0, neck, left_arm, right_arm)
    root = joint("Hips", 0, 0, 0, left_leg, right_leg, joint("Spine", 0, 0.12, 0, chest))
    root.channels = ROOT_CHANNELS
    return root


def joints_of(root: Joint) -> list[Joint]:
    """All joints with channels, in the order of the file."""
    found = [] if root.channels is None else [root]
    return found + [joint for child in root.children for joint in joints_of(child)]


def hierarchy_text(joint: Joint, depth: int = 0) -> str:
    pad, inner = "\t" * depth, "\t" * (depth + 1)
    kind = "ROOT" if not depth else "JOINT"
    head = f"{kind} {joint.name}" if joint.channels is not None else "End Site"
    lines = [f"{pad}{head}", f"{pad}{{", f"{inner}OFFSET {' '.join(map(str, joint.offset))}"]
    if joint.channels:
        lines.append(f"{inner}CHANNELS {len(joint.channels)} {' '.join(joint.channels)}")
    children = [hierarchy_text(child, depth + 1) for child in joint.children]
    return "\n".join([*lines, *children, f"{pad}}}"])


def write_bvh(
    path: Path, root: Joint, values: NDArray[np.float64], frame_time: float = 1 / 120
) -> Path:
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in values)
    motion = f"MOTION\nFrames: {len(values)}\nFrame Time: {frame_time:.7f}\n{rows}\n"
    path.write_text(f"HIERARCHY\n{hierarchy_text(root)}\n{motion}", encoding="utf-8")
    return path


def moving(root: Joint, frames: int, seed: int = 0) -> NDArray[np.float64]:
    """Values for every channel: upright on the floor, every joint a little turned, knees bent."""
    draw = np.random.default_rng(seed)
    columns: list[NDArray[np.float64]] = []
    for joint in joints_of(root):
        for channel in joint.channels or ():
            axis = "XYZ".index(channel[0])
            if channel.endswith("position"):
                start = 0.95 * (axis == 1) if joint is root else joint.offset[axis]
                columns.append(start + 0.02 * np.cumsum(draw.normal(size=frames)))
            else:
                swing = 15 * np.sin(np.arange(frames) / 10 + draw.uniform(0, 6)) * draw.random()
                bent = 30.0 if channel == "Xrotation" and joint.name.endswith("Leg") else 0.0
                bent = -bent / 2 if joint.name.endswith("UpLeg") else bent
                columns.append(swing + bent)
    values: NDArray[np.float64] = np.stack(columns, axis=1)
    return values.round(6)


def own_kinematics(root: Joint, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Places by name, (T, 3), frame by frame with scipy's rotations."""
    places: dict[str, list[NDArray[np.float64]]] = {}

    def pose(joint: Joint, row: list[float], place: NDArray[np.float64], turn: Rotation) -> None:
        offset, own = np.array(joint.offset, float), Rotation.identity()
        for channel in joint.channels or ():
            value = row.pop(0)
            if channel.endswith("position"):
                offset["XYZ".index(channel[0])] = value
            else:
                own = own * Rotation.from_euler(channel[0].lower(), value, degrees=True)
        here = place + turn.apply(offset)
        places.setdefault(joint.name, []).append(here)
        for child in joint.children:
            is_end = child.channels is None
            named = Joint(f"{joint.name} End", child.offset, None) if is_end else child
            pose(named, row, here, turn * own)

    for row in values:
        pose(root, list(row), np.zeros(3), Rotation.identity())
    return {name: np.stack(rows) for name, rows in places.items()}
