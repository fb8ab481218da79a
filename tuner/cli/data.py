"""`tuner data inspect`: what is in a data set, and whether it is plausible."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tuner.cli._output import print_json, print_table
from tuner.cli._places import JsonOption
from tuner.errors import ConfigurationError
from tuner.settings import data_cache

__all__ = ["register"]

HELP = """
Read a data set, check it, and say what is in it.

Examples:

    tuner data inspect

    tuner data inspect --dataset h36m --data-dir DIR --json
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    data = typer.Typer(help="Look at data sets.", no_args_is_help=True)
    data.callback()(
        lambda: None
    )  # keeps `inspect` a command of its own, though it is the only one
    data.command("inspect", help=HELP)(inspect)
    app.add_typer(data, name="data")


def inspect(
    dataset: Annotated[str, typer.Option(help="sample (bundled) or h36m.")] = "sample",
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the data set's files.", metavar="DIR")
    ] = None,
    keypoints: Annotated[str, typer.Option(help="2D key points: gt, cpn_ft_h36m_dbb …")] = "gt",
    json_: JsonOption = False,
) -> None:
    """Print what is in a data set."""
    from typing import get_args

    from trainables.config import DataConfig, DatasetName
    from trainables.data.inspection import inspect_dataset
    from trainables.data.loading import load_dataset

    known = get_args(DatasetName)
    if dataset not in known:
        raise ConfigurationError(f"--dataset {dataset!r} is unknown; known: {', '.join(known)}")
    config = DataConfig.model_validate({"name": dataset, "keypoints": keypoints})
    found = inspect_dataset(load_dataset(config, data_dir, cache=data_cache()))
    if json_:
        print_json(found)
    else:
        _print(found)


def _print(found: Mapping[str, Any]) -> None:
    skeleton = found["skeleton"]
    typer.echo(
        f"data set {found['dataset']}: {skeleton['name']}, {len(skeleton['joints'])} joints"
    )
    typer.echo(f"content hash {found['hash']}")
    rows = [
        (name, f"{split['frames']:,}", f"{split['views']:,}", str(split["sequences"]), _who(split))
        for name, split in found["splits"].items()
    ]
    print_table(("split", "frames", "poses in all views", "sequences", "subjects"), rows)
    for title, lines in (("notes", found["notes"]), ("problems", found["problems"])):
        for line in lines:
            typer.echo(f"{title.removesuffix('s')}: {line}")
    if not found["problems"]:
        typer.echo("no problems found")


def _who(split: Mapping[str, Any]) -> str:
    return ", ".join(split["subjects"])
