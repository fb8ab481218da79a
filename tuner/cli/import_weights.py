"""`tuner import-weights`: a checkpoint that a net's authors published becomes one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli._output import print_json
from tuner.cli._places import HomeOption, JsonOption
from tuner.cli._training_options import collect_values
from tuner.settings import resolve_locations

if TYPE_CHECKING:
    from tuner.wiring.weights_record import ImportedWeights

__all__ = ["register"]

HELP = """
Import a checkpoint that a net's authors published, for `tuner evaluate` and `tuner predict`.

Strict: what is unknown, missing or of another shape is listed, and then nothing is written. No
code in FILE is ever run.

Sizes (frames, width, depth, …) are read from the tensors' shapes.

Examples:

    tuner import-weights model.pt --backbone motionagformer --to magf-3dhp

    tuner import-weights best.bin --backbone mixste --keypoints cpn_ft_h36m_dbb --to mixste-cpn

    tuner import-weights a.bin --backbone pstmo --dataset h36m --set data.stride=2 --to pstmo
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import-weights", help=HELP)(import_weights)


def import_weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File that torch wrote.")],
    backbone: Annotated[str, typer.Option(help="Pose-net; `tuner backbones` lists them.")],
    to: Annotated[
        str,
        typer.Option(help="Name of the training that it becomes, or a folder (with a slash)."),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(help="sample, h36m, mpi_inf_3dhp or h3wb: its joints [default: by net]."),
    ] = None,
    keypoints: Annotated[str, typer.Option(help="2D key points that it is measured on.")] = "gt",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="FIELD=VALUE, as backbone_options.graph=official; repeatable."),
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Import and say what was done."""
    locations = resolve_locations(home=home)
    chosen = collect_values({"backbone": backbone, "preset": "paper"}, set_ or [], None)
    from tuner.wiring.weights_import import ImportRequest
    from tuner.wiring.weights_import import import_weights as imported

    request = ImportRequest(
        backbone=backbone,
        file=file,
        to=to,
        dataset=dataset,
        keypoints=keypoints,
        overrides=chosen["overrides"],
    )
    done = imported(request, locations)
    if json_:
        print_json(done.to_json())
    else:
        _print(done)


def _print(done: ImportedWeights) -> None:
    inside = "all of it" if done.entry is None else f"its entry {done.entry}"
    typer.echo(f"imported from {done.file} ({inside}), sha256 {done.sha256}")
    typer.echo(
        f"{done.backbone}: {done.parameters:,} parameters in {done.entries} entries, "
        f"{done.renamed} of them renamed; joints of {done.skeleton} ({done.dataset})"
    )
    typer.echo(f"options: {_pairs(done.options)}")
    if done.assumed:
        typer.echo(f"assumed, as published, since no shape tells: {_pairs(done.assumed)}")
    if done.dropped:
        typer.echo(f"dropped, since they are computed here: {', '.join(done.dropped)}")
    if done.left_out:
        typer.echo(f"left out of the file: {', '.join(done.left_out)}")
    for difference in done.differences:
        typer.echo(f"note: {difference}")
    typer.echo(f"checkpoint: {done.checkpoint}")
    folder = "" if done.dataset == "sample" else " --data-dir DIR"
    typer.echo(f"measure it with: tuner evaluate {done.target}{folder}")


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
