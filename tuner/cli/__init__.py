"""The `tuner` command."""

from __future__ import annotations

import importlib
import sys

import typer

from tuner import __version__
from tuner.errors import TunerError

__all__ = ["app", "main"]

COMMAND_MODULES = (
    *("greedy", "train", "evaluate", "predict", "import_weights", "runs", "submit", "jobs"),
    *("backbones", "spaces", "data", "doctor", "ui"),
)
"""Modules with a `register(app)` each, in the order of `--help`."""

app = typer.Typer(
    name="tuner",
    help="Tune SEAL-pose: the greedy search lr_p → lr_l → α on Ray, with Optuna and MLflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


for _module in COMMAND_MODULES:
    importlib.import_module(f"tuner.cli.{_module}").register(app)


def main() -> None:
    """Run the command line; a user's mistake ends with one message and exit code 2."""
    try:
        app()
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except TunerError as error:
        _fail(str(error), error.exit_code)
    except Exception as error:
        # Errors of the two packages that may not know the tuner's: a user's mistake, too.
        if type(error).__module__ not in ("trainables.errors", "search_spaces.errors"):
            raise
        _fail(str(error), 2)


def _fail(message: str, code: int) -> None:
    typer.echo(f"tuner: {message}", err=True)
    sys.exit(code)
