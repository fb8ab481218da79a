"""Build trainables/data/sample/clips.npz from the pybullet wheel (maintainers only).

The wheel (`pip download --no-deps pybullet==3.2.7`) ships 15 human motion clips of the
DeepMimic project and the humanoid whose bones they turn. Usage:

    python docs/maintainer/build_sample_clips.py pybullet-3.2.7-*.whl [OUTPUT.npz]

A folder into which the wheel was unpacked does as well. The output is plain arrays, no pickles,
and the same bytes for the same input:

- `clip_names` (15,) text, `clip_lengths` (15,) int32: key frames per clip, in order;
- `rows` (1620, 44) float32: the key frames as published (duration in seconds, root place in
  metres, rotations; columns in trainables/data/sample/clips.py);
- `bone_names` (12,) text, `offsets_m` (12, 3) float32: each joint's place in its parent's frame.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import numpy as np

MOTIONS = "pybullet_data/data/motions"
HUMANOID = "pybullet_data/humanoid/humanoid.urdf"
PREFIX = "humanoid3d_"
URDF_SCALE = 4.0
DEFAULT_OUTPUT = Path(__file__).parents[2] / "trainables" / "data" / "sample" / "clips.npz"
SKIPPED_JOINTS = ("root",)


def build(wheel: Path, output: Path) -> str:
    """Convert the clips; returns a line that says what was written."""
    source: zipfile.Path | Path = zipfile.Path(wheel) if wheel.is_file() else wheel
    texts = {
        entry.name.removeprefix(PREFIX).removesuffix(".txt"): entry.read_text()
        for entry in (source / MOTIONS).iterdir()
        if entry.name.startswith(PREFIX)
    }
    clips = {name: np.asarray(json.loads(texts[name])["Frames"]) for name in sorted(texts)}
    offsets = _bone_offsets((source / HUMANOID).read_bytes())
    rows = np.concatenate(list(clips.values()))
    np.savez_compressed(
        output,
        clip_names=np.asarray(list(clips)),
        clip_lengths=np.asarray([len(frames) for frames in clips.values()], np.int32),
        rows=rows.astype(np.float32),
        bone_names=np.asarray(list(offsets)),
        offsets_m=np.asarray(list(offsets.values()), np.float32),
    )
    seconds = sum(frames[:-1, 0].sum() for frames in clips.values())
    return (
        f"{output}: {len(clips)} clips, {len(rows)} key frames, {seconds:.1f} s, "
        f"{output.stat().st_size} bytes"
    )


def _bone_offsets(urdf: bytes) -> dict[str, list[float]]:
    """Joint origins of the humanoid, metres; its file is drawn four times too large."""
    # the published file ends in a NUL byte, which XML does not allow
    tree = ElementTree.fromstring(urdf.rstrip(b"\x00 \r\n"))
    offsets = {}
    for joint in tree.iter("joint"):
        name, origin = joint.attrib["name"], joint.find("origin")
        if origin is not None and name not in SKIPPED_JOINTS:
            offsets[name] = [float(value) / URDF_SCALE for value in origin.attrib["xyz"].split()]
    return offsets


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    print(build(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else DEFAULT_OUTPUT))
