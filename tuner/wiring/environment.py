"""What a run was made with: package versions, platform, commit of the working folder."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from typing import Any

from tuner import __version__

__all__ = ["describe_environment", "flatten", "git_commit"]

PACKAGES = ("torch", "ray", "optuna", "mlflow", "numpy", "pydantic")


def describe_environment() -> dict[str, str]:
    """Versions and platform, as short strings."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "tuner": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **versions,
        "git_commit": git_commit(),
    }


def git_commit() -> str:
    """Commit of the current folder's repository, `+` for local changes; empty if none."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings to dotted names with text values; empty mappings are left out."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
