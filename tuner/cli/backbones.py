"""`tuner backbones`: the pose-nets that can be tuned."""

from __future__ import annotations

from typing import Any

import typer

from tuner.cli._output import print_json, print_table
from tuner.cli._places import JsonOption

__all__ = ["register"]

JOINTS = 17
"""Joints of Human3.6M and MPI-INF-3DHP, the size that tables give parameter counts for."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backbones", help="List the pose-nets, at the paper's sizes.")(backbones)


def backbones(json_: JsonOption = False) -> None:
    """Print the pose-nets."""
    rows = _rows()
    if json_:
        print_json(rows)
        return
    print_table(
        ("name", "parameters", "frames", "joints", "pose loss", "description"),
        [
            (
                r["name"],
                f"{r['parameters']:,}",
                str(r["frames"]),
                str(r["joints"]),
                r["official_pose_loss"],
                r["description"],
            )
            for r in rows
        ],
    )


def _rows() -> list[dict[str, Any]]:
    """What each net is; parameters are counted in the net as it is built, not looked up."""
    from trainables.backbones import BACKBONES
    from trainables.skeletons import H3WB_133, H36M_17

    rows = []
    for entry in BACKBONES.values():
        counts = {s.num_joints: entry.count_parameters(s) for s in (H36M_17, H3WB_133)}
        rows.append(
            {
                "name": entry.name,
                "parameters": counts[JOINTS],
                "parameters_by_joints": {str(joints): n for joints, n in counts.items()},
                "variants": [
                    {
                        "joints": skeleton.num_joints,
                        "options": dict(options),
                        "parameters": entry.count_parameters(skeleton, **options),
                    }
                    for skeleton, options in entry.variants
                ],
                "frames": entry.frames,
                "joints": JOINTS,
                "official_pose_loss": entry.official_pose_loss,
                "official_recipe": entry.recipe.text,
                "recipe": {**entry.recipe.fields, **entry.recipe.budget},
                "recipe_by_dataset": dict(entry.recipe.by_dataset),
                "description": entry.description,
            }
        )
    return rows
