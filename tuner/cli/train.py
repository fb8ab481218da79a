"""`tuner train`: one configuration, trained in this process."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli._output import print_json, print_metrics
from tuner.cli._training_options import (
    PLACES,
    TRAINING,
    WORKERS,
    ArtifactRootOption,
    BackboneOption,
    ConfigOption,
    DataDirOption,
    DatasetOption,
    EpochsOption,
    HomeOption,
    InputOption,
    JsonOption,
    KeypointsOption,
    ObjectiveOption,
    PresetOption,
    ResumeOption,
    SetOption,
    TrackingUriOption,
    collect_values,
    option,
    resume_mode,
)
from tuner.errors import RunInterruptedError
from tuner.settings import resolve_locations

if TYPE_CHECKING:
    from tuner.wiring.training_record import TrainingResult

__all__ = ["register"]

HELP = """
Train one configuration: a pose-net with a learned energy, or alone (--loss-net none).

Repeating a command goes on with its training; a finished one is only reported. The model is
registered in MLflow and competes for the alias `champion`, as a search's winner does.

Examples:

    tuner train --backbone videopose

    tuner train --backbone videopose --loss-net none --lr-p 2e-4 --epochs 20

    tuner train --backbone simplebaseline --dataset h36m --data-dir DIR --name my-training

    tuner evaluate my-training
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", help=HELP)(train)


def train(
    backbone: BackboneOption = None,
    dataset: DatasetOption = None,
    data_dir: DataDirOption = None,
    keypoints: KeypointsOption = None,
    loss_net: Annotated[
        str | None,
        option("--loss-net", "graph (default), mlp, or none: the pose-net alone.", TRAINING),
    ] = None,
    objective: ObjectiveOption = None,
    input_: InputOption = None,
    preset: PresetOption = None,
    epochs: EpochsOption = None,
    lr_p: Annotated[
        float | None,
        option(
            "--lr-p",
            "Learning rate of the pose-net [default: its authors'; 1e-3 for single frames and "
            "the small nets of quick].",
            TRAINING,
        ),
    ] = None,
    lr_l: Annotated[
        float | None, option("--lr-l", "Learning rate of the loss-net [default: 1e-4].", TRAINING)
    ] = None,
    alpha: Annotated[
        float | None, option("--alpha", "Weight of the energy [default: 1e-3].", TRAINING)
    ] = None,
    set_: SetOption = None,
    select_on: Annotated[
        str | None,
        option(
            "--select-on", "Split to choose on: val (default), or test as the paper.", TRAINING
        ),
    ] = None,
    seed: Annotated[int | None, option("--seed", "Seed [default: 0].", TRAINING)] = None,
    name: Annotated[
        str | None, option("--name", "Name of the training [default: from the options].", PLACES)
    ] = None,
    resume: ResumeOption = "auto",
    home: HomeOption = None,
    tracking_uri: TrackingUriOption = None,
    artifact_root: ArtifactRootOption = None,
    device: Annotated[str, option("--device", "auto (default), cpu or cuda.", WORKERS)] = "auto",
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            help="CPU threads [default: 1, as in a search]. The last bits depend on them.",
            rich_help_panel=WORKERS,
            show_default=False,
            min=1,
        ),
    ] = 1,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Collect the options and train."""
    from tuner.wiring.training_request import parse_training_request

    given: dict[str, Any] = {
        "backbone": backbone,
        "dataset": dataset,
        "data_dir": data_dir,
        "keypoints": keypoints,
        "loss_net": loss_net,
        "objective": objective,
        "input": input_,
        "preset": preset,
        "epochs": epochs,
        "lr_p": lr_p,
        "lr_l": lr_l,
        "alpha": alpha,
        "select_on": select_on,
        "seed": seed,
        "name": name,
    }
    mode = resume_mode(resume)
    request = parse_training_request(collect_values(given, set_ or [], config))
    locations = resolve_locations(
        home=home, tracking_uri=tracking_uri, artifact_root=artifact_root
    )
    from tuner.cli.progress import build_listener
    from tuner.wiring.training import run_training

    try:
        with build_listener(json_mode=json_) as listener:
            result = run_training(
                request, locations, listener, resume=mode, device=device, threads=threads
            )
    except RunInterruptedError as error:
        raise RunInterruptedError(
            error.exit_code - 128,
            f"{error}\nGo on with the same command: {shlex.join(['tuner', *sys.argv[1:]])}",
        ) from error
    if json_:
        print_json(result.to_json())
    else:
        from tuner.wiring.stores import location_options

        _print(result, location_options(locations))


def _print(result: TrainingResult, options: Sequence[str]) -> None:
    typer.echo(f"training {result.name}: {result.state}")
    on_test = result.select_on == "test"
    optimistic = " (chosen on test, optimistic)" if on_test else ""
    print_metrics(f"metric on test{optimistic}", {"value": result.test})
    chosen_by = f"test MPJPE{optimistic}" if on_test else "validation MPJPE"
    facts = {
        chosen_by: f"{result.val_mpjpe_mm:.2f} mm in epoch {result.best_epoch} of {result.epochs}",
        "training time": f"{result.seconds:.0f} s",
        "checkpoint": result.checkpoint,
        "tracking": f"{result.tracking_uri}, run {result.mlflow_run_id}",
        "model": _model(result),
        "measure it elsewhere": shlex.join(["tuner", "evaluate", result.name, *options]),
    }
    for what, found in facts.items():
        typer.echo(f"{what}: {found}")


def _model(result: TrainingResult) -> str:
    if result.model is None:
        return "not registered: there is no MLflow"
    rank = "competes for the alias champion" if result.competes else "no rival for champion"
    return f"{result.model}: {rank}"
