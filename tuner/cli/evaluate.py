"""`tuner evaluate`: how well a trained pose-net does on a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli._output import figure_text, print_json, print_metrics, print_table
from tuner.cli._places import HomeOption, JsonOption, StorageOption, TrackingUriOption
from tuner.settings import resolve_locations

if TYPE_CHECKING:
    from tuner.wiring.evaluation import Evaluation

__all__ = ["TARGET_HELP", "register"]

HELP = """
Measure a trained pose-net: a checkpoint, a training, a search's winners, or an MLflow model.

Without --dataset on the data of its training; with it on any data set of the same skeleton.

Examples:

    tuner evaluate my-training

    tuner evaluate my-search --detail --csv figures.csv

    tuner evaluate models:/sealpose-videopose-sample@champion --json

    tuner evaluate best.ckpt --dataset h36m --data-dir DIR --keypoints cpn_ft_h36m_dbb

    tuner evaluate my-d3dp --hypotheses 20 --iterations 10
"""

TARGET_HELP = (
    "A checkpoint, the name of a training or a search (also training:NAME, run:NAME), or a "
    "model: models:/NAME@champion, models:/NAME/VERSION, runs:/RUN_ID."
)


POSITION_METRICS = {
    "poses": "poses",
    "mpjpe_mm": "MPJPE (mm)",
    "p_mpjpe_mm": "P-MPJPE (mm)",
    "n_mpjpe_mm": "N-MPJPE (mm)",
    "j_best_mpjpe_mm": "J-Best (mm)",
    "j_agg_mpjpe_mm": "J-Agg (mm)",
    "pck": "PCK",
    "auc": "AUC",
}
"""Columns of the tables; what a table does not have is left out."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate", help=HELP)(evaluate)


def evaluate(
    target: Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_HELP)],
    dataset: Annotated[
        str | None,
        typer.Option(help="sample, h36m, mpi_inf_3dhp, h3wb or poses [default: the training's]."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the data set's files.", metavar="DIR")
    ] = None,
    keypoints: Annotated[
        str | None, typer.Option(help="2D key points [default: those of the training].")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    stride: Annotated[
        int | None, typer.Option(help="Measure every how many-th frame [default: all].", min=1)
    ] = None,
    hypotheses: Annotated[
        int | None,
        typer.Option(
            help="Hypotheses that D3DP samples of each pose [default: the training's].",
            min=1,
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(help="Iterations of its sampler [default: the training's].", min=1),
    ] = None,
    detail: Annotated[
        bool, typer.Option("--detail", help="Print the tables by sequence and by joint, too.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write all figures to a file.", metavar="FILE")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    home: HomeOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    json_: JsonOption = False,
) -> None:
    """Measure and print."""
    locations = resolve_locations(home=home, storage=storage, tracking_uri=tracking_uri)
    from tuner.wiring.evaluation import DataChoice, SamplingChoice, evaluate_named, to_csv
    from tuner.wiring.files import check_writable, write_whole

    if csv is not None:
        check_writable(csv, option="--csv")
    folder = None if data_dir is None else data_dir.expanduser().absolute()
    choice = DataChoice(
        dataset=dataset, data_dir=folder, keypoints=keypoints, split=split, stride=stride
    )
    sampling = SamplingChoice(hypotheses=hypotheses, iterations=iterations)
    found = evaluate_named(target, locations, choice, sampling=sampling, device=device)
    if csv is not None:
        write_whole(csv, to_csv(found))
    if json_:
        print_json(found.to_json())
    else:
        _print(found, detail=detail)


def _print(found: Evaluation, *, detail: bool) -> None:
    from trainables.config import FIELDS_OF_DATA_SETS
    from tuner.wiring.evaluation import ordinal

    data = found.systems[0].data
    has_choice = data.name in FIELDS_OF_DATA_SETS["keypoints"]
    what = [f"{data.keypoints} key points"] if has_choice else []
    if data.stride != 1:
        what.append(f"every {ordinal(data.stride)} frame")
    in_brackets = f" ({', '.join(what)})" if what else ""
    typer.echo(f"{found.named} on {found.split} of {data.name}{in_brackets}")
    for system in found.systems:
        typer.echo(f"{system.system}: {system.checkpoint}")
    for note in dict.fromkeys(note for system in found.systems for note in system.notes):
        typer.echo(f"note: {note}")
    print_metrics("metric", {s.system: s.report.figures for s in found.systems})
    names = ["action", *(["sequence", "joint"] if detail else [])]
    for system in found.systems:
        for name in names:
            title = f"{system.system}: {name}" if len(found.systems) > 1 else name
            _print_rows(title, system.report.to_json()[f"by_{name}"])


def _print_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = [name for name in POSITION_METRICS if any(name in row for row in rows)]
    print_table(
        (title, *(POSITION_METRICS[name] for name in columns)),
        [(str(row["name"]), *(figure_text(row.get(name)) for name in columns)) for row in rows],
    )
