"""The order in which hyperparameters are shown (pure)."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["in_order"]

PARAMETER_ORDER = ("lr_p", "lr_l", "alpha")
"""The order of the protocol; stores keep none."""


def in_order(params: Mapping[str, float]) -> dict[str, float]:
    """Hyperparameters in the protocol's order, then any others by name."""
    known = [name for name in PARAMETER_ORDER if name in params]
    return {name: params[name] for name in [*known, *sorted(set(params) - set(known))]}
