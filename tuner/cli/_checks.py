"""The checks of `tuner doctor`; each says what it found and, where it is bad, the cure."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tuner.cli._places import open_existing_store
from tuner.errors import ConfigurationError, RunnerError, StoreError, TrackingError
from tuner.settings import Locations, data_cache, local_file
from tuner.wiring.diagnostics import count_experiments, probe_ray, torch_devices

__all__ = ["CHECKS", "Check", "CheckResult"]

GIB = 1024**3
LITTLE_DISK_GIB = 5.0
TOO_LITTLE_DISK_GIB = 1.0
PACKAGES = ("torch", "ray", "optuna", "mlflow", "pydantic", "numpy", "matplotlib", "typer", "rich")
DISTRIBUTION = "seal-pose-tuner"

CheckState = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: What was checked.
        state: `ok`; `warn`: a run works, but; `fail`: a run cannot work.
        found: What was found, for people.
        cure: What to do; empty where nothing is wrong.
    """

    name: str
    state: CheckState
    found: str
    cure: str = ""

    def to_json(self) -> dict[str, str]:
        """The result as JSON values."""
        return asdict(self)


Check: TypeAlias = Callable[[Locations, str], CheckResult]
"""Takes where things are kept, and the Ray address."""


def check_packages(_locations: Locations, _address: str) -> CheckResult:
    """Python and packages, against what the distribution asks for."""
    faults: dict[str, str] = {}
    for requirement, installed in _requirements():
        if installed is None:
            faults[requirement] = f"{requirement} is missing"
        elif installed:
            faults[requirement] = f"{requirement} is asked for, found {installed}"
    if faults:
        cure = f"pip install {shlex.join(faults)}"
        return CheckResult("packages", "fail", "; ".join(faults.values()), cure)
    found = f"Python {platform.python_version()}; " + ", ".join(_versions())
    return CheckResult("packages", "ok", found)


def check_devices(_locations: Locations, _address: str) -> CheckResult:
    """What torch can train on."""
    devices = torch_devices()
    cores = os.cpu_count() or 1
    if devices.gpus:
        return CheckResult("devices", "ok", f"{', '.join(devices.gpus)}; {cores} CPU cores")
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return CheckResult(
            "devices",
            "warn",
            f"there is a GPU, but torch {devices.version} cannot use it",
            "install a torch build for your CUDA driver (https://pytorch.org/get-started), and "
            "look at CUDA_VISIBLE_DEVICES",
        )
    return CheckResult("devices", "ok", f"no GPU; {cores} CPU cores, enough for --preset quick")


def check_ray(_locations: Locations, address: str) -> CheckResult:
    """Start Ray here, or join the cluster, and count what it has."""
    try:
        ray = probe_ray(address)
    except (ConfigurationError, RunnerError) as error:
        where = "start Ray here" if address == "local" else f"join {address}"
        cure = (
            f"see the message; `ray status` and /tmp/ray/session_latest/logs tell more ({where})"
        )
        return CheckResult("ray", "fail", str(error), cure)
    found = f"ray {ray.version}, nodes: {ray.nodes}, {ray.cpus:g} CPUs, {ray.gpus:g} GPUs"
    return CheckResult("ray", "ok", found)


def check_study_store(locations: Locations, _address: str) -> CheckResult:
    """Read the study store; if there is none yet, see whether one could be written."""
    try:
        store = open_existing_store(locations)
        if store is not None:
            return CheckResult("study store", "ok", f"{len(store.studies())} studies")
    except (ConfigurationError, StoreError) as error:
        cure = "see the message; --storage journal:PATH needs no server"
        return CheckResult("study store", "fail", str(error), cure)
    return _creatable("study store", local_file(locations.storage) or locations.home)


def check_tracking(locations: Locations, _address: str) -> CheckResult:
    """Ask MLflow for its experiments: a server's /health says nothing of refused clients."""
    if locations.tracking_uri == "none":
        return CheckResult("tracking", "ok", "switched off: a plain log is kept")
    path = local_file(locations.tracking_uri)
    if path is not None and not path.exists():
        return _creatable("tracking", path)
    try:
        experiments = count_experiments(locations.tracking_uri)
    except TrackingError as error:
        return CheckResult(
            "tracking",
            "fail",
            str(error),
            "start the server, or correct --tracking-uri; a 403 means that the server must be "
            "given this host name by --allowed-hosts; without the option a local file is used",
        )
    return CheckResult("tracking", "ok", f"{experiments} experiments")


def check_disk(locations: Locations, _address: str) -> CheckResult:
    """Room for checkpoints, and for what Ray keeps in the temporary folder."""
    folders = {_existing(locations.home), Path(tempfile.gettempdir())}
    free = {folder: shutil.disk_usage(folder).free / GIB for folder in sorted(folders)}
    found = ", ".join(f"{gib:.1f} GiB free in {folder}" for folder, gib in free.items())
    least = min(free.values())
    cure = "make room, or choose another place with --home (checkpoints) and TMPDIR (Ray)"
    if least < TOO_LITTLE_DISK_GIB:
        return CheckResult("disk", "fail", found, cure)
    if least < LITTLE_DISK_GIB:
        return CheckResult("disk", "warn", found, cure)
    return CheckResult("disk", "ok", found)


def check_sample(_locations: Locations, _address: str) -> CheckResult:
    """Read the bundled data set."""
    from trainables.config import DataConfig
    from trainables.data.loading import load_dataset
    from trainables.errors import DataError

    try:
        dataset = load_dataset(DataConfig(name="sample"))
    except DataError as error:
        return CheckResult(
            "sample data", "fail", str(error), f"pip install --force-reinstall {DISTRIBUTION}"
        )
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    return CheckResult("sample data", "ok", f"poses: {sizes}")


def check_data_cache(_locations: Locations, _address: str) -> CheckResult:
    """The folder of decoded data sets; without one a run works, and starts later."""
    from trainables.data.cache.folder import CacheFolder
    from trainables.data.cache.manifest import CacheMissError

    name, path = "data cache", data_cache()
    if path is None:
        return CheckResult(name, "ok", "off: data sets are decoded at every start")
    if not path.exists():
        above = _existing(path.parent)
        if os.access(above, os.W_OK | os.X_OK):
            return CheckResult(name, "ok", f"none yet; {path} will be made by the first run")
        found = f"{path} cannot be made: {above} is not writable"
        return CheckResult(name, "warn", found, "name another folder with TUNER_DATA_CACHE")
    try:
        CacheFolder(path).prepare()
        size = sum(file.stat().st_size for file in path.iterdir())
    except (CacheMissError, OSError) as error:
        cure = "name another folder with TUNER_DATA_CACHE, or mend this one"
        return CheckResult(name, "warn", f"{path}: {error}", cure)
    return CheckResult(name, "ok", f"{size / GIB:.2f} GiB in {path}")


CHECKS: Sequence[tuple[str, Check]] = (
    ("packages", check_packages),
    ("devices", check_devices),
    ("disk", check_disk),
    ("study store", check_study_store),
    ("tracking", check_tracking),
    ("sample data", check_sample),
    ("data cache", check_data_cache),
    ("ray", check_ray),
)


def _versions() -> Iterator[str]:
    """Name and version of each package; all are there."""
    for name in PACKAGES:
        yield f"{name} {importlib.metadata.version(name)}"


def _requirements() -> Iterator[tuple[str, str | None]]:
    """Each requirement with None if it is missing, its version if that is wrong, else ''.

    A requirement is given as pip takes it, without what it depends on.
    """
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        lines = list(PACKAGES)  # run from a source folder that is not installed
    for requirement in map(Requirement, lines):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        requirement.marker = None
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield str(requirement), None
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        yield str(requirement), "" if fits else version


def _creatable(name: str, path: Path) -> CheckResult:
    folder = _existing(path.parent)
    if os.access(folder, os.W_OK | os.X_OK):
        return CheckResult(name, "ok", f"none yet; {path} will be created by the first run")
    return CheckResult(
        name,
        "fail",
        f"{path} cannot be created: {folder} is not writable",
        "choose another folder with --home, or make this one writable",
    )


def _existing(path: Path) -> Path:
    """The nearest folder above (or at) a path that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
