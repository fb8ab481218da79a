"""Loss-nets E_θ: energies (B, T) of poses from 2D (B, T, J, 2) and 3D (B, T, J, 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from trainables.config import LossNetName
from trainables.loss_nets.graph import GraphLossNet
from trainables.loss_nets.mlp import MlpLossNet

__all__ = ["LOSS_NETS", "GraphLossNet", "LossNetEntry", "MlpLossNet"]


@dataclass(frozen=True)
class LossNetEntry:
    """What is known of a loss-net.

    Attributes:
        name: Its name in configurations.
        build: Its constructor; takes `skeleton`, `input` and the configuration's options.
        description: One line for people.
    """

    name: LossNetName
    build: Callable[..., nn.Module]
    description: str


LOSS_NETS: Mapping[LossNetName, LossNetEntry] = MappingProxyType(
    {
        "graph": LossNetEntry(
            name="graph",
            build=GraphLossNet,
            description="Graphormer-like: attention over the joints, biased by hop distances",
        ),
        "mlp": LossNetEntry(
            name="mlp",
            build=MlpLossNet,
            description="SimpleBaseline's shape, hidden width 2048, no batch norm, no dropout",
        ),
    }
)
"""All loss-nets by name; `none`, the baseline, has no entry."""
