"""Render the manifests of this folder from `settings.yaml` and `templates/`.

    python deploy/render.py            write them
    python deploy/render.py --check    say which are stale, and exit 1 if any is

The rendered files are committed, so that they can be used as they are.
"""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path

import jinja2
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["Settings", "load_settings", "main", "render_all", "stale_files"]

FOLDER = Path(__file__).resolve().parent
HEADER = "# Rendered by deploy/render.py from deploy/settings.yaml: change those and render again."


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Image(_Strict):
    """Container images of the tuner and of the MLflow server."""

    repository: str
    tag: str
    mlflow_tag: str
    pull_policy: str

    @property
    def has_registry(self) -> bool:
        """Whether nodes can pull it; a bare name exists only where it was built."""
        return "/" in self.repository


class Run(_Strict):
    """The run that job manifests start."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,45}[a-z0-9])?$")
    arguments: list[str]


class Node(_Strict):
    """Resources of one node; memory in GiB."""

    cpus: int = Field(ge=1)
    memory_gib: int = Field(ge=2)

    @property
    def shm_gib(self) -> int:
        """Shared memory for Ray's object store, in GiB.

        Ray gives the store 30 % of the memory, and falls back to the disk where /dev/shm holds
        less; a shared-memory file system also counts its own use, hence a little more.
        """
        return math.ceil(self.memory_gib * 0.35)


class Workers(Node):
    """Resources of each worker, and how many there are."""

    replicas: int = Field(ge=1)
    gpus: int = Field(ge=0)


class Shared(_Strict):
    """Storage that every node sees."""

    path: str = Field(pattern=r"^/")
    size: str
    storage_class: str


class Checkpoints(_Strict):
    """What lets head and workers into the store of the checkpoints, where that is S3."""

    secret: str
    env_file: str = Field(pattern=r"^(/.*)?$")


class Kubernetes(_Strict):
    """Names within the Kubernetes cluster."""

    namespace: str
    token_secret: str
    stores_secret: str
    operator_namespace: str


class Compose(_Strict):
    """Images of the services beside the tuner."""

    postgres_image: str
    s3_image: str


class Machines(_Strict):
    """Machines for `ray up`."""

    head_ip: str
    worker_ips: list[str] = Field(min_length=1)
    ssh_user: str
    ssh_private_key: str


class Slurm(_Strict):
    """The allocation to ask Slurm for."""

    partition: str
    nodes: int = Field(ge=1)
    cpus_per_node: int = Field(ge=1)
    gpus_per_node: int = Field(ge=0)
    hours: int = Field(ge=1)


class Settings(_Strict):
    """Everything that the templates use."""

    image: Image
    ray_version: str
    run: Run
    head: Node
    workers: Workers
    shared: Shared
    checkpoints: Checkpoints
    kubernetes: Kubernetes
    compose: Compose
    machines: Machines
    slurm: Slurm

    @property
    def home(self) -> str:
        """The run's home folder on the shared storage."""
        return f"{self.shared.path}/tuner"

    @property
    def command(self) -> str:
        """The tuner's command line as a job on a cluster, quoted for a shell."""
        words = ["tuner", "greedy", *self.run.arguments, "--name", self.run.name]
        return shlex.join([*words, "--home", self.home, "--address", "auto"])


def load_settings(path: Path = FOLDER / "settings.yaml") -> Settings:
    """Read and check the settings.

    Raises:
        ValueError: If a value is missing, unknown or out of range; the message names each.
    """
    try:
        return Settings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ValueError(f"{path}: " + "; ".join(faults)) from error


def render_all(settings: Settings) -> dict[str, str]:
    """Render every template; keys are paths relative to this folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # YAML and shell, not HTML
    )
    names = environment.list_templates(extensions=["j2"])
    return {
        name.removesuffix(".j2"): environment.get_template(name).render(
            settings=settings, header=HEADER
        )
        for name in names
    }


def stale_files(settings: Settings, *, folder: Path = FOLDER) -> list[str]:
    """Rendered files that are missing or differ from what the templates give."""
    return [
        name
        for name, text in render_all(settings).items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Write the manifests, or with `--check` only compare them; return the exit status."""
    try:
        settings = load_settings()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if arguments == ["--check"]:
        stale = stale_files(settings)
        sys.stdout.writelines(f"stale: deploy/{name}\n" for name in stale)
        return 1 if stale else 0
    if arguments:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    for name, text in render_all(settings).items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"deploy/{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
