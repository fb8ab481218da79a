"""What `tuner greedy` was asked to do, checked; `tuner.wiring` turns it into a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from tuner.errors import ConfigurationError
from tuner.protocol.stages import PrunerKind, SamplerKind
from tuner.records import digest
from tuner.training_options import TrainingOptions

__all__ = ["GreedyConfig", "TrialResources", "describe_fault", "describe_faults"]
__all__ += ["parse_greedy_config"]

BUCKET_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]+(/[^/?@:]+)*/*")
SECRET = "may_hold_a_secret"
"""Type of a fault whose value is not repeated in the message."""


class TrialResources(BaseModel):
    """What a trial holds while it trains.

    Attributes:
        cpus: CPUs, as many threads; None for `cpus_per_trial`.
        gpus: GPUs, or a fraction of one; None for `gpus_per_trial`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cpus: float | None = Field(default=None, gt=0)
    gpus: float | None = Field(default=None, ge=0)


class GreedyConfig(TrainingOptions):
    """One greedy run, as asked for. Field names are those of the command line.

    Attributes:
        loss_net: Loss-net of stages 2 and 3.
        objective: What the loss-net is trained with.
        input: How the loss-net sees 2D and 3D.
        sampler: How points are chosen.
        pruner: Who stops trials that fall behind, before their last epoch.
        asynchronous: Whether a trial is judged at once, instead of with all others that reach the
            same epoch: better use of the workers, but timing changes the result.
        space: Search space, a name or a YAML file; None for the preset's.
        trials: Trials per stage for `random` and `tpe`; None for the preset's.
        confirm_seeds: Train winner, baseline and runners-up once more with so many fresh seeds;
            None for not.
        confirm_runners_up: How many runners-up.
        check: Trials of a joint search around the winner; None for none.
        cache: Whether a training that any run of this store finished counts as done.
        checkpoint_root: Where checkpoints lie, shared by all nodes: a folder or `s3://…`; None for
            the run's folder.
        keep_checkpoints: Whose best weights stay: of all finished trials, or of the winners of
            each stage.
        store_patience_s: How long to wait for a study store that is down, seconds.
        address: Ray cluster: `local`, `auto`, or an address.
        max_concurrent: Upper bound of trials at a time; None for what fits.
        cpus_per_trial: CPUs that a trial holds; it computes with a thread for each whole one.
        gpus_per_trial: GPUs (or a fraction) that a trial holds; None for 1 where there are any.
        max_failures: Retries of a trial whose worker died.
        interrupt_grace_s: How long running epochs may still take after SIGINT or SIGTERM, seconds;
            None for 10 after SIGINT and 1 after SIGTERM.
        stage_resources: CPUs and GPUs of a trial where a stage needs others: by the stage's key
            in the search space (`lr_p`, `lr_l`, `alpha`), or `confirm`, `check`.
        node_labels: Labels that a node must have to run trials (`ray start --labels`).
    """

    loss_net: Literal["graph", "mlp"] = "graph"
    objective: Literal["margin", "nce"] = "margin"
    input: Literal["M1", "M2", "M3", "M4"] = "M3"
    sampler: SamplerKind = "grid"
    pruner: PrunerKind = "none"
    asynchronous: bool = False
    space: str | None = None
    trials: int | None = Field(default=None, ge=1)
    confirm_seeds: int | None = Field(default=None, ge=2)
    confirm_runners_up: int = Field(default=1, ge=0)
    check: int | None = Field(default=None, ge=1)
    cache: bool = True
    checkpoint_root: str | None = None
    keep_checkpoints: Literal["all", "winners"] = "all"
    store_patience_s: float = Field(default=600.0, ge=0)
    address: str = "local"
    max_concurrent: int | None = Field(default=None, ge=1)
    cpus_per_trial: float = Field(default=1.0, gt=0)
    gpus_per_trial: float | None = Field(default=None, ge=0)
    max_failures: int = Field(default=3, ge=0)
    interrupt_grace_s: float | None = Field(default=None, ge=0)
    stage_resources: dict[str, TrialResources] = Field(default_factory=dict)
    node_labels: dict[str, str] = Field(default_factory=dict)

    @field_validator("space")
    @classmethod
    def _absolute_file(cls, value: str | None) -> str | None:
        """Keep where a file is, as for `data_dir`; a name stays a name."""
        if value is None or Path(value).suffix not in (".yaml", ".yml"):
            return value
        return str(Path(value).expanduser().absolute())

    @field_validator("checkpoint_root")
    @classmethod
    def _plain_location(cls, value: str | None) -> str | None:
        """Keep where a folder is; of a URI, refuse what would put a secret into the study."""
        if value is None:
            return None
        if "://" not in value:
            return str(Path(value).expanduser().absolute())
        if not BUCKET_URI.fullmatch(value):
            raise PydanticCustomError(
                SECRET,
                "expected a folder or s3://BUCKET/PREFIX; credentials and endpoint are given by "
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL, never here",
            )
        return value.rstrip("/")

    @property
    def run_name(self) -> str:
        """The given name, or one made from everything that determines the result."""
        if self.name is not None:
            return self.name
        fields = self.model_dump(mode="json", include=RESULT_FIELDS)
        # as it was called before there were these: by value, for what is kept has every field
        unsaid = {"pruner": "none", "asynchronous": False}
        fields = {n: v for n, v in fields.items() if n not in unsaid or v != unsaid[n]}
        return f"{self.backbone}-{self.dataset}-{self.loss_net}-{self.preset}-{digest(fields)[:6]}"


RESULT_FIELDS = {
    *("backbone", "dataset", "keypoints", "loss_net", "objective", "input", "preset"),
    *("sampler", "space", "trials", "epochs", "select_on", "seed", "overrides"),
    *("pruner", "asynchronous"),
}
"""Fields that determine the result; the others say where and how fast."""


def parse_greedy_config(values: dict[str, Any]) -> GreedyConfig:
    """Check the values of a command line or settings file.

    Raises:
        ConfigurationError: If any is wrong; the message lists every fault.
    """
    try:
        return GreedyConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError.from_faults(describe_faults(error)) from error


def describe_faults(error: ValidationError, *, prefix: str = "--") -> list[str]:
    """One line per fault: option, what was found, what is expected."""
    return [describe_fault(line, prefix=prefix) for line in error.errors(include_url=False)]


def describe_fault(line: Mapping[str, Any], *, prefix: str) -> str:
    """One line of a `ValidationError` for people."""
    where = ".".join(str(part) for part in line["loc"])
    option = f"{prefix}{where.replace('_', '-') if prefix == '--' else where}"
    message = line["msg"].removeprefix("Value error, ")
    if line["type"] == "extra_forbidden":
        message = "is no known option"
    found = "" if line["type"] in ("missing", SECRET) or not where else f" = {line['input']!r}"
    return f"{option if where else 'configuration'}{found}: {message}"
