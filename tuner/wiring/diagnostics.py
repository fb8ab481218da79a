"""What `tuner doctor` asks of the heavy libraries, each loaded by the check that needs it.

So that a package that is missing spoils its own check and no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.adapters.ray_probe import RayFigures

__all__ = ["TorchDevices", "count_experiments", "probe_ray", "torch_devices"]


@dataclass(frozen=True)
class TorchDevices:
    """torch's version, and the names of the GPUs that it can train on."""

    version: str
    gpus: tuple[str, ...]


def torch_devices() -> TorchDevices:
    """What torch can train on."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return TorchDevices(
        version=str(torch.__version__),
        gpus=tuple(torch.cuda.get_device_name(index) for index in range(count)),
    )


def probe_ray(address: str) -> RayFigures:
    """Start Ray here, or join the cluster, and count what it has.

    Raises:
        ConfigurationError: If the address is of a kind that cannot be used.
        RunnerError: If the cluster cannot be reached.
    """
    from tuner.adapters.ray_probe import probe_ray as probe

    return probe(address)


def count_experiments(tracking_uri: str) -> int:
    """How many experiments MLflow has.

    Raises:
        TrackingError: If it does not answer; the message holds no password.
    """
    from tuner.adapters.mlflow_probe import count_experiments as count

    return count(tracking_uri)
