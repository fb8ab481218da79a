"""What a `greedy` command line needs before it can run on a cluster. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tuner.errors import ConfigurationError
from tuner.settings import RUN_NAME

__all__ = ["PlannedJob", "plan_job"]

_CLUSTER_PATHS = ("--home", "--data-dir", "--config", "--space", "--checkpoint-root")
"""Options of `greedy` that name a path, which the cluster reads, not this machine."""

_PASSWORD_IN_URL = re.compile(
    r"://[^/@\s:]*:[^@\s]+@|[?&](?:password|passwd|token|secret)=[^&\s]", re.IGNORECASE
)


@dataclass(frozen=True)
class PlannedJob:
    """What to submit.

    Attributes:
        run: Name of the run.
        arguments: Arguments of `tuner` on the cluster, the run's name among them.
        notes: What the user should know first, one line each.
    """

    run: str
    arguments: tuple[str, ...]
    notes: tuple[str, ...] = ()


def plan_job(
    arguments: Sequence[str], *, name: str | None = None, home: str | None = None
) -> PlannedJob:
    """Check a `greedy` command line, and give it a name, a home and the cluster's address.

    Args:
        arguments: What follows `--` on the command line of `submit`.
        name: `--name` of `submit`; may stand among the arguments instead.
        home: `--home` of `submit`; may stand among the arguments instead.

    Raises:
        ConfigurationError: With all that is wrong with it.
    """
    if not arguments or arguments[0] != "greedy":
        found = repr(arguments[0]) if arguments else "nothing"
        raise ConfigurationError(
            f"tuner submit runs `greedy` only; found {found} after `--`. "
            "Example: tuner submit --name my-run -- greedy --backbone videopose"
        )
    words = tuple(arguments)
    faults: list[str] = []
    for option, given in (("--name", name), ("--home", home)):
        inner = _option(words, option)
        if given is not None and inner is not None and given != inner:
            faults.append(f"{option} is {given!r} before `--` and {inner!r} after: give it once.")
        if given is not None and inner is None:
            words += (option, given)
    if _option(words, "--address") is None:
        words += ("--address", "auto")  # greedy's own default starts a Ray beside the cluster
    faults += [fault for option in _CLUSTER_PATHS if (fault := _path_fault(words, option))]
    faults += _secret_faults(words)
    run = _option(words, "--name")
    if run is not None and not RUN_NAME.fullmatch(run):
        faults.append(
            f"--name {run!r} cannot name a run: use 1 to 100 letters, digits, dots, dashes and "
            "underscores, the first a letter or digit."
        )
    if faults:
        raise ConfigurationError.from_faults(faults)
    if run is None:
        run = _default_name(words)
        words += ("--name", run)
    return PlannedJob(run, words, _notes(words))


def _option(words: Sequence[str], option: str) -> str | None:
    """The value of an option among a command's words (`--x v` or `--x=v`); the last one wins."""
    value = None
    for position, word in enumerate(words):
        if word.startswith(f"{option}="):
            value = word.partition("=")[2]
        elif word == option:
            value = words[position + 1] if position + 1 < len(words) else ""
    return value


def _path_fault(words: Sequence[str], option: str) -> str | None:
    path = _option(words, option)
    if path is None or PurePosixPath(path).is_absolute():
        return None
    if option == "--space" and not path.endswith((".yaml", ".yml")):
        return None  # the name of a preset
    if option == "--checkpoint-root" and "://" in path:
        return None
    return (
        f"{option} {path!r} is relative, but it is read on the cluster, where your present folder "
        "does not exist. Give an absolute path that every node of the cluster sees."
    )


def _secret_faults(words: Sequence[str]) -> list[str]:
    """Words that would show a password to everyone who may list the cluster's jobs."""
    faults = []
    for position, word in enumerate(words):
        if _PASSWORD_IN_URL.search(word):
            option = (word if word.startswith("--") else words[position - 1]).partition("=")[0]
            faults.append(
                f"{option}: its URL holds a password, which Ray shows to everyone who may list "
                "jobs. Set it in the environment of the cluster's head instead (TUNER_STORAGE or "
                "PGPASSFILE for the study store, MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD for MLflow)."
            )
    return faults


def _default_name(words: Sequence[str]) -> str:
    """A name that the same arguments get again, so that repeating them attaches.

    The command's own default is used where this machine can know it: without a preset it
    depends on the cluster's devices, and a settings file is read there.
    """
    if _option(words, "--preset") is not None and _option(words, "--config") is None:
        from tuner.cli.greedy import default_run_name

        return default_run_name(list(words[1:]))
    return f"run-{hashlib.sha256(json.dumps(list(words)).encode()).hexdigest()[:8]}"


def _notes(words: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if _option(words, "--home") is None:
        notes.append(
            "No --home given: unless TUNER_HOME is set on the head node, the run's files go to "
            "its local disk. With several nodes give --home on storage that all of them share."
        )
    if _option(words, "--preset") is None and _option(words, "--config") is None:
        notes.append("No --preset given: the head node chooses it by its own devices.")
    return tuple(notes)
