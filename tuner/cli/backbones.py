"""`tuner backbones`: the pose-nets that can be tuned."""

from __future__ import annotations

from typing import Any

import typer

from tuner.cli._output import print_json, print_table
from tuner.cli._places import JsonOption

__all__ = ["register"]

JOINTS = 17
"""Joints of Human3.6M, the size that the paper gives parameter counts for."""


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
        ("name", "parameters", "frames", "joints", "description"),
        [
            (
                r["name"],
                f"{r['parameters']:,}",
                str(r["frames"]),
                str(r["joints"]),
                r["description"],
            )
            for r in rows
        ],
    )


def _rows() -> list[dict[str, Any]]:
    """What each net is; parameters are counted in the net as it is built, not looked up."""
    from trainables.backbones import BACKBONES

    rows = []
    for entry in BACKBONES.values():
        net = entry.build(num_joints=JOINTS)
        rows.append(
            {
                "name": entry.name,
                "parameters": sum(p.numel() for p in net.parameters() if p.requires_grad),
                "frames": entry.frames,
                "joints": JOINTS,
                "paper_batch_size": entry.paper_batch_size,
                "paper_epochs": entry.paper_epochs,
                "description": entry.description,
            }
        )
    return rows
