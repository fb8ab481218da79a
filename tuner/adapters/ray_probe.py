"""What a Ray has, for `tuner doctor`."""

from __future__ import annotations

from dataclasses import dataclass

import ray

from tuner.adapters.ray_session import RaySession

__all__ = ["RayFigures", "probe_ray"]


@dataclass(frozen=True)
class RayFigures:
    """Ray's version, its nodes that live, and their CPUs and GPUs together."""

    version: str
    nodes: int
    cpus: float
    gpus: float


def probe_ray(address: str) -> RayFigures:
    """Start Ray here, or join the cluster, and count what it has.

    Raises:
        ConfigurationError: If the address is of a kind that cannot be used.
        RunnerError: If the cluster cannot be reached.
    """
    with RaySession(address):
        resources = ray.cluster_resources()
        return RayFigures(
            version=str(ray.__version__),
            nodes=sum(bool(node["Alive"]) for node in ray.nodes()),
            cpus=float(resources.get("CPU", 0)),
            gpus=float(resources.get("GPU", 0)),
        )
