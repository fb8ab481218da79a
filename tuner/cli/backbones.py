"""`tuner backbones`: the pose-nets that can be tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from tuner.cli._output import output_console, print_json, print_table
from tuner.cli._places import JsonOption

if TYPE_CHECKING:
    from trainables.backbones import BackboneEntry

__all__ = ["register"]

JOINTS = 17
"""Joints of Human3.6M and MPI-INF-3DHP, the size that tables give parameter counts for."""

WIDE = 150
"""Columns from which on descriptions have room in the table; else they stand below it."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backbones", help="List the pose-nets, at the paper's sizes.")(backbones)


def backbones(json_: JsonOption = False) -> None:
    """Print the pose-nets."""
    rows = _rows()
    if json_:
        print_json(rows)
        return
    columns = ("name", "parameters", "frames in", "frames out", "pose loss")
    table = [
        (
            r["name"],
            f"{r['parameters']:,}",
            str(r["frames"]),
            str(r["frames"] if r["output"] == "all" else 1),
            r["official_pose_loss"],
        )
        for r in rows
    ]
    descriptions = [r["description"] for r in rows]
    if output_console().width >= WIDE:
        print_table(
            (*columns, "description"),
            [(*row, text) for row, text in zip(table, descriptions, strict=True)],
        )
        return
    print_table(columns, table)
    for text in descriptions:
        typer.echo(text)


def _windows(entry: BackboneEntry) -> dict[str, Any]:
    """How the net's windows lie: every how many frames one starts, and how they do at test."""
    from trainables.config import MANY_TO_MANY, TrainingConfig

    fields, default = entry.recipe.fields, TrainingConfig.model_fields["test_windows"].default
    test = fields.get("test_windows", default) if entry.name in MANY_TO_MANY else "sliding"
    return {
        "training_step": fields.get("data", {}).get("clip_step", 1),
        "test": "single frames" if entry.frames == 1 else test,
        "test_by_dataset": {
            name: own["test_windows"]
            for name, own in entry.recipe.by_dataset.items()
            if "test_windows" in own
        },
    }


def _rows() -> list[dict[str, Any]]:
    """What each net is; parameters are counted in the net as it is built, not looked up."""
    from trainables.backbones import BACKBONES
    from trainables.backbones.official.conversions import CONVERSIONS
    from trainables.config import MANY_TO_MANY
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
                "output": "all" if entry.name in MANY_TO_MANY else "middle",
                "windows": _windows(entry),
                "joints": JOINTS,
                "official_pose_loss": entry.official_pose_loss,
                "official_recipe": entry.recipe.text,
                "lr_p": entry.recipe.lr_p,
                "lr_p_by_dataset": dict(entry.recipe.lr_p_by_dataset),
                "recipe": {**entry.recipe.fields, **entry.recipe.budget},
                "recipe_by_dataset": dict(entry.recipe.by_dataset),
                "published": {
                    "options": dict(CONVERSIONS[entry.name].options),
                    "entries": list(CONVERSIONS[entry.name].entries),
                },
                "description": entry.description,
            }
        )
    return rows
