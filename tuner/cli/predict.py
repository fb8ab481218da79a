"""`tuner predict`: 2D key points in, 3D poses out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli._output import print_json
from tuner.cli._places import HomeOption, JsonOption, StorageOption, TrackingUriOption
from tuner.cli.evaluate import TARGET_HELP
from tuner.settings import resolve_locations

__all__ = ["register"]

HELP = """
Lift 2D poses to 3D: key points in, root-relative joints in metres out.

INPUT is .npy (N, J, 2), .npz with an array `keypoints`, .json (a list of poses) or .csv (a pose
a line, x and y of each joint in turn). Key points are pixels if --width and --height are given,
else normalised: x from -1 to 1 over the image's width, y by the same scale.

Examples:

    tuner predict my-training keypoints.npy --out poses.npz --width 1000 --height 1002

    tuner predict models:/sealpose-videopose-sample@champion keypoints.csv --out poses.json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict", help=HELP)(predict)


def predict(
    target: Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_HELP)],
    input_: Annotated[Path, typer.Argument(metavar="INPUT", help="File of 2D poses.")],
    out: Annotated[
        Path, typer.Option("--out", help="File of 3D poses: .npz, .npy, .json or .csv.")
    ],
    width: Annotated[int | None, typer.Option(help="Width of the images, pixels.", min=1)] = None,
    height: Annotated[
        int | None, typer.Option(help="Height of the images, pixels.", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    home: HomeOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    json_: JsonOption = False,
) -> None:
    """Lift and say where the poses are."""
    locations = resolve_locations(home=home, storage=storage, tracking_uri=tracking_uri)
    from tuner.wiring.prediction import ImageSize, predict_file

    done = predict_file(
        target, input_, out, locations, size=ImageSize(width, height), device=device
    )
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    if json_:
        print_json(done.to_json())
        return
    typer.echo(f"lifted by {done.system}: {done.checkpoint}")
    typer.echo(
        f"{done.poses} poses of {done.skeleton} in {done.out}: {len(done.joints)} joints, "
        f"unit {done.unit}, {done.frame} (x right, y down, z away from the camera)"
    )
