"""`tuner data convert`: a data set, or BVH files, as one poses file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli._output import print_json
from tuner.cli._places import JsonOption
from tuner.errors import ConfigurationError

if TYPE_CHECKING:
    from tuner.wiring.data_conversion import Conversion

__all__ = ["register_convert"]

HELP = """
Write a data set, or BVH motion files, as a poses file (docs/own_data.md) for `--dataset poses`.

The 2D of BVH files is simulated: the exact projection by virtual cameras.

Examples:

    tuner data convert --dataset h36m --data-dir DIR --to mine/poses.parquet

    tuner data convert motion/*.bvh --map cmu --test '07_*' --to mine/poses.npz
"""


def register_convert(data: typer.Typer) -> None:
    """Add the command to `tuner data`."""
    data.command("convert", help=HELP)(convert)


def convert(
    to: Annotated[Path, typer.Option(help="A .npz or .parquet file.", metavar="OUT")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="BVH files.", metavar="[FILE.bvh]...")
    ] = None,
    map_: Annotated[
        str | None, typer.Option("--map", help="BVH: cmu, mixamo or a YAML file.", metavar="MAP")
    ] = None,
    val: Annotated[
        list[str] | None,
        typer.Option(help="BVH: files that validate.", metavar="PATTERN"),
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option(help="BVH: files that test.", metavar="PATTERN")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="The data set to convert.", metavar="NAME")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the data set's files.", metavar="DIR")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="How it is read: stride, keypoints, fold …", metavar="FIELD=VALUE"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    json_: JsonOption = False,
) -> None:
    """Convert data."""
    if bool(files) == (dataset is not None):
        raise ConfigurationError("give either BVH files, or --dataset NAME")
    if files:
        _refuse_idle(
            {"--data-dir": data_dir, "--set": set_}, "they belong to --dataset, not to BVH files"
        )
        done = _convert_files(files, map_, to, val or [], test or [], force=force)
    else:
        _refuse_idle(
            {"--map": map_, "--val": val, "--test": test},
            "they belong to BVH files, not to --dataset",
        )
        done = _convert_dataset(str(dataset), data_dir, to, set_ or [], force=force)
    if json_:
        print_json(done.to_json())
        return
    splits = ", ".join(f"{count:,} {name}" for name, count in done.splits.items())
    typer.echo(f"{done.poses:,} poses ({splits}) of {done.sequences:,} sequences in {done.out}")
    typer.echo(f"content hash {done.hash or '-'}")
    for note in done.notes:
        typer.echo(f"note: {note}")
    for problem in done.problems:
        typer.echo(f"problem: {problem}")


def _refuse_idle(options: dict[str, object], reason: str) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise ConfigurationError(f"{' and '.join(given)} would have no effect: {reason}")


def _convert_files(
    files: list[Path],
    map_name: str | None,
    to: Path,
    val: list[str],
    test: list[str],
    *,
    force: bool,
) -> Conversion:
    from tuner.wiring.data_conversion import convert_bvh_files

    if map_name is None:
        raise ConfigurationError(
            "--map is missing: it says which BVH joint is which; cmu, mixamo or a YAML file"
        )
    return convert_bvh_files(files, map_name, to, val=val, test=test, force=force)


def _convert_dataset(
    name: str, data_dir: Path | None, to: Path, settings: list[str], *, force: bool
) -> Conversion:
    from pydantic import ValidationError

    from trainables.config import DataConfig
    from tuner.wiring.data_conversion import convert_dataset

    fields: dict[str, Any] = {"name": name}
    for setting in settings:
        field, separator, value = setting.partition("=")
        if not separator or field in fields:
            raise ConfigurationError(f"--set {setting!r}: expected FIELD=VALUE, each field once")
        fields[field] = value
    try:
        config = DataConfig.model_validate(fields)
    except ValidationError as error:
        raise ConfigurationError.from_faults(
            [
                f"{'.'.join(map(str, fault['loc'])) or '--dataset'}: "
                f"{fault['msg'].removeprefix('Value error, ')}"
                for fault in error.errors()
            ]
        ) from error
    return convert_dataset(config, data_dir, to, force=force)
