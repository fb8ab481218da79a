"""`tuner data`: what is in a data set, whether every pose is plausible, and conversions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli._data_output import print_checks, print_inspection
from tuner.cli._output import print_json
from tuner.cli._places import JsonOption
from tuner.cli.data_convert import register_convert
from tuner.errors import ConfigurationError
from tuner.settings import data_cache

if TYPE_CHECKING:
    from trainables.config import DataConfig

__all__ = ["register"]

INSPECT_HELP = """
Read a data set, check it, and say what is in it.

Examples:

    tuner data inspect

    tuner data inspect --dataset h36m --data-dir DIR --figure skeleton.png

    tuner data inspect --dataset mpi_inf_3dhp --data-dir DIR --val-subject S8 --json
"""

VERIFY_HELP = """
Check every pose of a data set; the exit code is 1 if there are problems.

Examples:

    tuner data verify --dataset h36m --data-dir DIR

    tuner data verify --dataset h36m --data-dir DIR --keypoints cpn_ft_h36m_dbb --json
"""

DatasetOption = Annotated[
    str,
    typer.Option(help="sample (bundled), h36m, mpi_inf_3dhp, h3wb or poses.", metavar="NAME"),
]
DataDirOption = Annotated[
    Path | None, typer.Option(help="Folder of the data set's files.", metavar="DIR")
]
KeypointsOption = Annotated[
    str | None, typer.Option(help="h36m: 2D key points, gt (default), cpn_ft_h36m_dbb …")
]
ValSubjectOption = Annotated[
    str | None,
    typer.Option(
        help="h36m, mpi_inf_3dhp, poses: subject that validates, or none: all train "
        "[default: by recordings]."
    ),
]
AnnotationOption = Annotated[
    str | None,
    typer.Option(help="mpi_inf_3dhp: 3D of its MATLAB files, univ_annot3 (default) or annot3."),
]
FoldOption = Annotated[
    int | None, typer.Option(help="h3wb: which of the five parts tests, 0 (default) to 4.")
]
FigureOption = Annotated[
    Path | None,
    typer.Option(help="Draw the skeleton sheet: a .png, .svg or .pdf file.", metavar="FILE"),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    data = typer.Typer(help="Look at data sets, check them, convert them.", no_args_is_help=True)
    data.command("inspect", help=INSPECT_HELP)(inspect)
    data.command("verify", help=VERIFY_HELP)(verify)
    register_convert(data)
    app.add_typer(data, name="data")


def inspect(
    dataset: DatasetOption = "sample",
    data_dir: DataDirOption = None,
    keypoints: KeypointsOption = None,
    val_subject: ValSubjectOption = None,
    annotation: AnnotationOption = None,
    fold: FoldOption = None,
    figure: FigureOption = None,
    json_: JsonOption = False,
) -> None:
    """Print what is in a data set."""
    config = _config(
        dataset, keypoints=keypoints, val_subject=val_subject, annotation=annotation, fold=fold
    )
    if figure is not None:
        _check_figure(figure)
    from trainables.data.inspection import inspect_dataset
    from trainables.data.loading import load_dataset

    loaded = load_dataset(config, data_dir, cache=data_cache())
    found = inspect_dataset(loaded, validates=config.validates)
    if figure is not None:
        from tuner.reports.skeleton_sheet import render_sheet
        from tuner.wiring.data_sheet import sheet_of
        from tuner.wiring.files import write_whole

        write_whole(figure, render_sheet(sheet_of(loaded), figure.suffix.lower()[1:]))
        found["figure"] = str(figure)
    if json_:
        print_json(found)
    else:
        print_inspection(found)


def verify(
    dataset: DatasetOption = "sample",
    data_dir: DataDirOption = None,
    keypoints: KeypointsOption = None,
    val_subject: ValSubjectOption = None,
    annotation: AnnotationOption = None,
    fold: FoldOption = None,
    json_: JsonOption = False,
) -> None:
    """Check every pose; read from the original files, whatever has been cached."""
    config = _config(
        dataset, keypoints=keypoints, val_subject=val_subject, annotation=annotation, fold=fold
    )
    from dataclasses import asdict

    from trainables.data.inspection import check_dataset
    from trainables.data.loading import DATASETS

    loaded = DATASETS[config.name].load(config, data_dir)
    checks = check_dataset(loaded, validates=config.validates)
    problems = [check.message for check in checks if check.verdict == "problem"]
    if json_:
        print_json(
            {
                "dataset": loaded.name,
                "hash": loaded.content_hash(),
                "checks": [asdict(check) for check in checks],
                "problems": problems,
                "notes": list(loaded.notes),
            }
        )
    else:
        print_checks(loaded.name, loaded.content_hash(), checks, loaded.notes)
    if problems:
        raise typer.Exit(1)


def _config(dataset: str, **fields: object) -> DataConfig:
    """The data configuration that the options describe.

    Raises:
        ConfigurationError: If an option is wrong, or has no effect on this data set.
    """
    from pydantic import ValidationError

    from trainables.config import DataConfig
    from trainables.data.loading import DATASETS
    from tuner.greedy_config import describe_faults

    if dataset not in DATASETS:
        raise ConfigurationError(f"--dataset {dataset!r} is unknown; known: {', '.join(DATASETS)}")
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return DataConfig.model_validate({"name": dataset, **given})
    except ValidationError as error:
        raise ConfigurationError.from_faults(describe_faults(error)) from error


def _check_figure(path: Path) -> None:
    """Refuse a figure that could not be written, before the data are read."""
    from tuner.reports.skeleton_sheet import FORMATS
    from tuner.wiring.files import check_writable

    if path.suffix.lower()[1:] not in FORMATS:
        raise ConfigurationError(
            f"--figure {path}: expected a name that ends in .{', .'.join(FORMATS)}"
        )
    check_writable(path, option="--figure")
