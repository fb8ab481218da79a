"""`tuner spaces list|show`: the search spaces that come with the tuner, and one's own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from search_spaces import HYPERPARAMETERS, GreedySpace, Parameter, load_space, space_names
from tuner.cli._output import print_json, print_table
from tuner.cli._places import JsonOption

__all__ = ["register"]

SHOW_HELP = """
Show what each stage tunes, and within which bounds; a file is checked.

Examples:

    tuner spaces show videopose-paper

    tuner spaces show mine.yaml --json
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    spaces = typer.Typer(help="Look at search spaces.", no_args_is_help=True)
    spaces.command("list", help="List the bundled search spaces.")(list_spaces)
    spaces.command("show", help=SHOW_HELP)(show)
    app.add_typer(spaces, name="spaces")


def list_spaces(json_: JsonOption = False) -> None:
    """Print one line per space."""
    spaces = [load_space(name) for name in space_names()]
    if json_:
        print_json({"spaces": [_facts(space) for space in spaces]})
        return
    print_table(
        ("name", "grid trainings", "description"),
        [(space.name, _trainings(space), space.description) for space in spaces],
    )


def show(
    name: Annotated[str, typer.Argument(metavar="SPACE", help="A name, or a YAML file.")],
    json_: JsonOption = False,
) -> None:
    """Print a space."""
    space = load_space(name)
    if json_:
        print_json(_facts(space))
        return
    typer.echo(f"{space.name}: {space.description}")
    typer.echo(f"Source: {space.source or 'not given'}")
    typer.echo(f"Trainings of the grid, stage by stage: {_trainings(space)}")
    print_table(
        ("stage", "tunes", "symbol", "from", "to", "scale", "grid"),
        [
            _row(stage, tuned, parameter)
            for stage, parameters in space.stages.items()
            for tuned, parameter in parameters.parameters.items()
        ],
    )


def _facts(space: GreedySpace) -> dict[str, Any]:
    trainings = space.grid_trainings()
    fields = space.model_dump(mode="json")
    return {**fields, "grid_trainings": None if trainings is None else list(trainings)}


def _trainings(space: GreedySpace) -> str:
    trainings = space.grid_trainings()
    return "no grid" if trainings is None else " + ".join(str(count) for count in trainings)


def _row(stage: str, name: str, parameter: Parameter) -> tuple[str, ...]:
    grid = "-" if parameter.grid is None else ", ".join(f"{value:g}" for value in parameter.grid)
    ends = (f"{parameter.low:g}", f"{parameter.high:g}")
    scale = "log" if parameter.log else "linear"
    return (stage, name, HYPERPARAMETERS[name].symbol, *ends, scale, grid)
