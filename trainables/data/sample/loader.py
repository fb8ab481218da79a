"""The bundled data set `sample`: recorded motion, simulated bodies, places and cameras.

What is real and what is simulated is told in docs/data.md. Every draw comes from `SEED` and
the names of body, clip and take, so that the arrays are the same in every process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.config import DataConfig
from trainables.data.assembly import SplitBuilder
from trainables.data.cameras import Float64Array
from trainables.data.dataset import PoseDataset, PoseSplit, SequenceInfo
from trainables.data.sample.bodies import draw_body, joint_positions
from trainables.data.sample.clips import Motion, read_clips, resample
from trainables.data.sample.scene import VIEWS, mirror, place_in_room
from trainables.skeletons import H36M_17

__all__ = ["SPLITS", "SplitPlan", "load_sample"]

SEED = 20_240
FPS = 25.0


@dataclass(frozen=True)
class SplitPlan:
    """Who does what in a split.

    Attributes:
        bodies: Numbers of its bodies.
        clips: Names of its clips.
        takes: How often each body performs each clip, with a heading and place of its own,
            once as recorded and once mirrored per take.
    """

    bodies: tuple[int, ...]
    clips: tuple[str, ...]
    takes: int


SPLITS: Mapping[str, SplitPlan] = {
    "train": SplitPlan(
        bodies=(1, 2, 3, 4, 5),
        clips=(
            *("backflip", "cartwheel", "crawl", "dance_b", "getup_facedown", "getup_faceup"),
            *("roll", "spin", "spinkick"),
        ),
        takes=1,
    ),
    "val": SplitPlan(bodies=(6, 7), clips=("dance_a", "kick", "run"), takes=2),
    "test": SplitPlan(bodies=(8, 9), clips=("jump", "punch", "walk"), takes=2),
}
"""No clip and no body is in two splits."""


def load_sample(config: DataConfig, data_dir: Path | None) -> PoseDataset:
    """Build the bundled data set.

    Args:
        config: Its `stride` is applied.
        data_dir: Not used: the data are in the package.

    Returns:
        The data set.

    Raises:
        DataError: The bundled file is damaged.
    """
    clips, offsets_m = read_clips()
    motions = {name: resample(clip, FPS) for name, clip in clips.items()}
    sequences: list[SequenceInfo] = []
    splits: dict[str, PoseSplit] = {}
    for name, plan in SPLITS.items():
        builder = SplitBuilder(
            first_sequence=len(sequences), stride=config.stride, skeleton=H36M_17
        )
        for subject, action, clip, world_m in _performances(plan, motions, offsets_m):
            for view in VIEWS:
                info = SequenceInfo(
                    subject=subject,
                    action=action,
                    base_action=clip,
                    view=view.name,
                    source=clip,
                    fps=FPS / config.stride,
                    camera=view.camera,
                )
                builder.add(info, *view.observe(world_m))
        sequences.extend(builder.sequences)
        splits[name] = builder.build()
    note = "real: motion; simulated: bodies, mirror images, heading, place, cameras"
    return PoseDataset("sample", H36M_17, tuple(sequences), splits, (note,))


def _performances(
    plan: SplitPlan, motions: Mapping[str, Motion], offsets_m: Mapping[str, Float64Array]
) -> Iterator[tuple[str, str, str, Float64Array]]:
    """All performances of a split: subject, action, clip, world joints (T, 17, 3), metres."""
    clip_numbers = {name: number for number, name in enumerate(sorted(motions))}
    for body_number in plan.bodies:
        body = draw_body(f"body{body_number}", np.random.default_rng([SEED, body_number]))
        for clip in plan.clips:
            recorded_m = joint_positions(motions[clip], body, offsets_m)
            for variant in range(2 * plan.takes):
                take, mirrored = divmod(variant, 2)
                generator = np.random.default_rng(
                    [SEED, body_number, clip_numbers[clip], variant + 1]
                )
                joints_m = mirror(recorded_m, H36M_17) if mirrored else recorded_m
                action = (
                    clip + (" mirrored" if mirrored else "") + (f" {take + 1}" if take else "")
                )
                yield body.name, action, clip, place_in_room(joints_m, generator)
