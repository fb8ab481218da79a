"""Where the joints of a BVH file are: read and posed by the library pybvh."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainables.data.cameras import Float64Array
from trainables.data.poses.bvh_text import BvhText, scan_bvh
from trainables.errors import DataError

if TYPE_CHECKING:
    from pybvh import Bvh

__all__ = ["BvhMotion", "read_bvh"]


@dataclass(frozen=True)
class BvhMotion:
    """A BVH file, decoded.

    Attributes:
        places: Place of each joint in the world, axes and units of the file, by name, (T, 3);
            the end site below a joint is `NAME End`.
        fps: Frames per second.
    """

    places: dict[str, Float64Array]
    fps: float

    def __len__(self) -> int:
        return len(next(iter(self.places.values())))


def read_bvh(path: Path) -> BvhMotion:
    """Read a BVH file: hierarchy, motion and forward kinematics.

    A joint's position channels take the place of its offset.

    Raises:
        DataError: The file cannot be read, or is malformed; names the line where it can.
    """
    try:
        import pybvh  # an extra: only who converts BVH files needs it
    except ImportError as error:
        raise DataError(
            "reading BVH files needs pybvh, which is not installed; "
            "pip install 'seal-pose-tuner[bvh]'"
        ) from error
    scanned = scan_bvh(path)
    with tempfile.TemporaryDirectory() as folder:
        uniform = Path(folder) / "uniform.bvh"
        uniform.write_text(scanned.text, encoding="utf-8")
        try:
            bvh = pybvh.read_bvh_file(uniform, world_up="+y", warn_on_world_up_disagreement=False)
        except (ValueError, IndexError) as error:
            text = str(error).replace(str(uniform), path.name)
            raise DataError(f"{path}: not a readable BVH file ({text})") from error
    # the library's own way through text takes thirty times the file's size
    bvh.root_pos, bvh.joint_angles = scanned.root, np.deg2rad(scanned.turns)
    placed = pybvh.frames_to_node_positions(bvh)
    if scanned.shifts:
        placed = placed + _moved(bvh, scanned)
    names = [f"{node.parent.name} End" if node.is_end_site() else node.name for node in bvh.nodes]
    if not np.isfinite(placed).all():
        raise DataError(f"{path}: the joints' places are beyond all bounds; the file is damaged")
    # of several end sites below one joint the first counts
    places = {name: placed[:, index] for index, name in reversed(list(enumerate(names)))}
    return BvhMotion(places, 1.0 / float(bvh.frame_time))


def _moved(bvh: Bvh, scanned: BvhText) -> Float64Array:
    """How far position channels below the root move each node, (T, N, 3).

    A shift is in the frame of the joint's parent, and moves all that hangs on the joint.
    """
    from pybvh.rotations import euler_to_rotmat

    topology = bvh.fk_topology
    turns = euler_to_rotmat(bvh.joint_angles, topology.euler_orders)
    frames, nodes = len(turns), len(topology.parent_idx)
    moved = np.zeros((frames, nodes, 3))
    world = np.zeros((frames, nodes, 3, 3))
    for node, (parent, joint) in enumerate(
        zip(topology.parent_idx, topology.joint_idx, strict=True)
    ):
        if parent < 0:
            world[:, node] = turns[:, joint]
            continue
        moved[:, node] = moved[:, parent]
        if joint >= 0:
            world[:, node] = world[:, parent] @ turns[:, joint]
            shift = scanned.shifts.get(int(joint))
            if shift is not None:
                moved[:, node] += np.einsum("tij,tj->ti", world[:, parent], shift)
    return moved
