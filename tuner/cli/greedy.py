"""`tuner greedy`: the whole search, or what is left of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli._training_options import (
    OUTPUT,
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
    ResumeMode,
    ResumeOption,
    SetOption,
    TrackingUriOption,
    collect_values,
    option,
    resume_mode,
)
from tuner.errors import (
    ConfigurationError,
    RunInterruptedError,
    StoreError,
    StoreUnreachableError,
)
from tuner.greedy_config import GreedyConfig, parse_greedy_config
from tuner.settings import Locations, resolve_locations

if TYPE_CHECKING:
    from tuner.ports import StudyStore
    from tuner.reports.run_summary import RunSummary

__all__ = ["default_run_name", "register", "resume_run"]

EXAMPLES = """
Search lr_p, then lr_l with α, then α alone, and compare the winner with its baseline.

Repeating a command goes on with its run: what has finished is never trained again.

Examples:

    tuner greedy --backbone videopose

    tuner greedy --backbone videopose --dataset h36m --data-dir DIR --preset standard

    tuner greedy --backbone simplebaseline --loss-net mlp --sampler tpe --space wide --trials 20

    tuner greedy --backbone videopose --pruner asha --confirm-seeds 5

    tuner greedy --backbone videopose --set training_field=value --dry-run
"""

USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]
"""Base of what Typer raises for a malformed command line; it has no public name of its own."""

SEARCH = "How it is searched"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("greedy", help=EXAMPLES)(greedy)


def greedy(
    backbone: BackboneOption = None,
    dataset: DatasetOption = None,
    data_dir: DataDirOption = None,
    keypoints: KeypointsOption = None,
    loss_net: Annotated[
        str | None, option("--loss-net", "graph (default) or mlp.", TRAINING)
    ] = None,
    objective: ObjectiveOption = None,
    input_: InputOption = None,
    preset: PresetOption = None,
    epochs: EpochsOption = None,
    set_: SetOption = None,
    sampler: Annotated[
        str | None, option("--sampler", "grid (default), random or tpe.", SEARCH)
    ] = None,
    space: Annotated[
        str | None, option("--space", "Search space: a name or a YAML file.", SEARCH)
    ] = None,
    trials: Annotated[
        int | None, option("--trials", "Trials per stage for random and tpe.", SEARCH)
    ] = None,
    pruner: Annotated[
        str | None,
        option("--pruner", "none (default), asha, median or hyperband: stop early.", SEARCH),
    ] = None,
    asynchronous: Annotated[
        bool | None,
        option("--asynchronous", "Judge trials at once: timing changes the result.", SEARCH),
    ] = None,
    confirm_seeds: Annotated[
        int | None,
        option("--confirm-seeds", "Then train winner and baseline on so many seeds.", SEARCH),
    ] = None,
    check: Annotated[
        int | None, option("--check", "Then search jointly around the winner, N trials.", SEARCH)
    ] = None,
    no_cache: Annotated[
        bool, option("--no-cache", "Train again what earlier runs finished.", SEARCH)
    ] = False,
    select_on: Annotated[
        str | None,
        option("--select-on", "Split to choose on: val (default), or test as the paper.", SEARCH),
    ] = None,
    seed: Annotated[int | None, option("--seed", "Base seed [default: 0].", SEARCH)] = None,
    name: Annotated[
        str | None, option("--name", "Name of the run [default: from the options].", PLACES)
    ] = None,
    resume: ResumeOption = "auto",
    home: HomeOption = None,
    storage: Annotated[
        str | None, option("--storage", "Study store: database URL or journal:PATH.", PLACES)
    ] = None,
    tracking_uri: TrackingUriOption = None,
    artifact_root: ArtifactRootOption = None,
    checkpoint_root: Annotated[
        str | None,
        option("--checkpoint-root", "Checkpoints: a shared folder or s3://….", PLACES),
    ] = None,
    address: Annotated[
        str | None, option("--address", "Ray: local (default), auto, or HOST:PORT.", WORKERS)
    ] = None,
    max_concurrent: Annotated[
        int | None, option("--max-concurrent", "Trials at a time [default: what fits].", WORKERS)
    ] = None,
    cpus_per_trial: Annotated[
        float | None, option("--cpus-per-trial", "CPUs per trial [default: 1].", WORKERS)
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        option("--gpus-per-trial", "GPUs per trial [default: 1 where there are any].", WORKERS),
    ] = None,
    interrupt_grace_s: Annotated[
        float | None,
        option("--interrupt-grace-s", "For running epochs, after a signal, seconds.", WORKERS),
    ] = None,
    config: ConfigOption = None,
    dry_run: Annotated[
        bool, option("--dry-run", "Print the plan and its cost; write nothing.", OUTPUT)
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Collect the options and run."""
    given = {
        "backbone": backbone,
        "dataset": dataset,
        "data_dir": data_dir,
        "keypoints": keypoints,
        "loss_net": loss_net,
        "objective": objective,
        "input": input_,
        "preset": preset,
        "epochs": epochs,
        "sampler": sampler,
        "space": space,
        "trials": trials,
        "pruner": pruner,
        "asynchronous": asynchronous,
        "confirm_seeds": confirm_seeds,
        "check": check,
        "cache": False if no_cache else None,
        "checkpoint_root": checkpoint_root,
        "select_on": select_on,
        "seed": seed,
        "name": name,
        "address": address,
        "max_concurrent": max_concurrent,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "interrupt_grace_s": interrupt_grace_s,
    }
    parsed = _parse(given, set_ or [], config)
    locations = resolve_locations(
        home=home, storage=storage, tracking_uri=tracking_uri, artifact_root=artifact_root
    )
    if dry_run:
        _print_plan(parsed, json_mode=json_)
        return
    _run(parsed, locations, resume=resume_mode(resume), json_mode=json_)


def default_run_name(arguments: list[str]) -> str:
    """Name of the run that `tuner greedy ARGUMENTS` would use.

    Raises:
        ConfigurationError: If the arguments are wrong.
    """
    command = typer.main.get_command(_single_command())
    try:
        context = command.make_context("greedy", list(arguments), resilient_parsing=False)
    except USAGE_ERROR as error:
        message = getattr(error, "format_message", error.__str__)()
        raise ConfigurationError(f"tuner greedy: {message}") from error
    options = dict(context.params)
    given = {k: v for k, v in options.items() if k in GreedyConfig.model_fields}
    given["input"] = options.get("input_")
    return _parse(given, options.get("set_") or [], options.get("config")).run_name


def resume_run(
    name: str,
    locations: Locations,
    json_mode: bool,
    *,
    prepare: Callable[[StudyStore], None] | None = None,
) -> None:
    """Go on with a run from the configuration that the store keeps.

    Args:
        name: Name of the run.
        locations: Where it is kept.
        json_mode: Whether to print one JSON document.
        prepare: Changes the run in the store first, while no other driver has it.

    Raises:
        ConfigurationError: If there is no such run, or it kept no configuration.
    """
    from tuner.wiring.stores import load_run_config, open_store

    config = load_run_config(open_store(locations), name)
    _run(config, locations, resume="must", json_mode=json_mode, prepare=prepare)


def _single_command() -> typer.Typer:
    app = typer.Typer(add_completion=False)
    app.command("greedy")(greedy)
    return app


def _parse(given: dict[str, Any], assignments: list[str], file: Path | None) -> GreedyConfig:
    return parse_greedy_config(collect_values(given, assignments, file))


def _run(
    config: GreedyConfig,
    locations: Locations,
    *,
    resume: ResumeMode,
    json_mode: bool,
    prepare: Callable[[StudyStore], None] | None = None,
) -> None:
    from tuner.cli.progress import build_listener
    from tuner.wiring.run import run_greedy
    from tuner.wiring.stores import location_options

    try:
        with build_listener(json_mode=json_mode) as listener:
            summary = run_greedy(config, locations, listener, resume=resume, prepare=prepare)
    except (RunInterruptedError, StoreUnreachableError) as error:
        words = ["tuner", "runs", "resume", config.run_name, *location_options(locations)]
        advice = f"Everything finished is kept. Go on with: {shlex.join(words)}"
        if isinstance(error, StoreUnreachableError):
            raise StoreError(f"{error}\n{advice}") from error
        raise RunInterruptedError(error.exit_code - 128, f"{error}\n{advice}") from error
    _print(summary, json_mode=json_mode)


def _print(summary: RunSummary, *, json_mode: bool) -> None:
    from tuner.cli._output import print_json, print_summary

    if json_mode:
        print_json(summary.to_json())
    else:
        print_summary(summary)


def _print_plan(config: GreedyConfig, *, json_mode: bool) -> None:
    from tuner.cli._output import print_json
    from tuner.reports.tables import duration_text
    from tuner.wiring.cost import describe_plan
    from tuner.wiring.plan import plan_greedy

    planned = plan_greedy(config)
    plan = describe_plan(planned)
    for note in planned.notes:
        typer.echo(f"note: {note}", err=True)
    if json_mode:
        print_json(plan)
        return
    typer.echo(f"run {plan['run']} on {plan['dataset']} ({plan['train_poses']} training poses)")
    if plan["pretraining"]:
        epochs = plan["pretraining"]["epochs"]
        typer.echo(f"  before stage 1: pre-training, {epochs} epochs (not in the estimate)")
    for stage in plan["stages"]:
        tunes = f"tunes {', '.join(stage['tunes'])} by {stage['sampler']}"
        does = tunes if stage["tunes"] else "repeats the choices with fresh seeds"
        typer.echo(
            f"  {stage['name']}: {does}, "
            f"at most {stage['trials']} trainings of {stage['epochs']} epochs "
            f"({stage['steps']} steps) ≈ {duration_text(stage['seconds'])} of one worker"
        )
    typer.echo(
        f"in all at most {plan['trials']} trainings, about {duration_text(plan['seconds'])} "
        "of one worker by a timing of a few steps on this machine"
    )
