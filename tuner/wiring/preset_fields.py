"""What a preset sets for a net and a data set."""

from __future__ import annotations

from typing import Any

from trainables.backbones import BACKBONES
from tuner.presets import Preset

__all__ = ["preset_training"]


def preset_training(preset: Preset, backbone: str, dataset: str) -> dict[str, Any]:
    """Fields of the training configuration.

    Args:
        preset: Where they come from; with `paper_recipe`, batch size and epochs are the paper's
            (A.2.1), which trains on H3WB in smaller batches and for longer.
        backbone: Name of the pose-net; one that does not exist is refused elsewhere.
        dataset: Name of the data set.
    """
    entry = next((entry for name, entry in BACKBONES.items() if name == backbone), None)
    if entry is None or not preset.paper_recipe:
        return dict(preset.training)
    if dataset == "h3wb":
        recipe = {"batch_size": entry.paper_batch_size_h3wb, "epochs": entry.paper_epochs_h3wb}
    else:
        recipe = {"batch_size": entry.paper_batch_size, "epochs": entry.paper_epochs}
    return {**preset.training, **recipe}
