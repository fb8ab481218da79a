"""Connects to a cluster's job server and finds the code that a job may need."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.adapters.job_access import find_token, normalise_address, open_access
from tuner.adapters.job_records import JobHandle, JobInfo
from tuner.errors import ConfigurationError

if TYPE_CHECKING:
    from tuner.adapters.jobs import RayJobClient

__all__ = [
    "PACKAGES",
    "UPLOAD_LIMIT_MIB",
    "JobHandle",
    "JobInfo",
    "RayJobClient",
    "check_upload_size",
    "open_jobs",
    "shipped_packages",
]

PACKAGES = ("tuner", "trainables", "search_spaces")
UPLOAD_LIMIT_MIB = 100
"""What Ray's job server accepts in one upload."""


def open_jobs(address: str, *, python: str = "python") -> tuple[RayJobClient, tuple[str, ...]]:
    """Connect to a job server with the token that the environment holds.

    Args:
        address: URL of the job server.
        python: Interpreter on the cluster that has the tuner installed.

    Returns:
        The client, and what the user should know about the server's security, a line each.

    Raises:
        ConfigurationError: If nothing usable answers, or the token is missing or wrong.
    """
    url = normalise_address(address)
    access = open_access(url, token=find_token(os.environ))
    from tuner.adapters.jobs import RayJobClient  # imports ray: only once something answers

    return RayJobClient(access, command=(python, "-m", "tuner")), access.warnings


def shipped_packages() -> list[Path]:
    """Folders of this installation's packages, to send along with a job.

    Raises:
        ConfigurationError: If one is missing, or larger than a job server accepts.
    """
    folders: list[Path] = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        if not places:
            raise ConfigurationError(f"--ship-code: the package {package} cannot be found here.")
        folders.append(Path(places[0]).resolve())
    for folder in folders:
        check_upload_size(folder)
    return folders


def check_upload_size(folder: Path, *, limit_mib: float = UPLOAD_LIMIT_MIB) -> None:
    """Refuse a package folder that the job server would refuse, and say why.

    Raises:
        ConfigurationError: If its files are larger than `limit_mib` together.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    size_mib = sum(path.stat().st_size for path in files) / 2**20
    if size_mib > limit_mib:
        largest = max(files, key=lambda path: path.stat().st_size)
        raise ConfigurationError(
            f"--ship-code: {folder} holds {size_mib:.0f} MiB, and a Ray job server takes at most "
            f"{limit_mib:g}. The largest file is {largest}. Move data out of the package, or "
            "install the tuner in the cluster's image and leave --ship-code out."
        )
