"""Presets: how much is trained. What is trained stays the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["PRESETS", "Preset", "PresetName"]

PresetName = Literal["quick", "standard", "paper"]


@dataclass(frozen=True)
class Preset:
    """Training fields, data fields, search space and budget that a preset sets.

    Attributes:
        name: Its name.
        description: One line for people.
        training: Fields of the training configuration.
        data: Fields of its data part.
        space: Name of the search space.
        trials: Trials per stage for samplers that draw from ranges.
        paper_recipe: Whether batch size and epochs are those of the paper for net and data set.
    """

    name: PresetName
    description: str
    training: Mapping[str, Any]
    data: Mapping[str, Any]
    space: str
    trials: Mapping[str, int]
    paper_recipe: bool = False


PRESETS: Mapping[PresetName, Preset] = {
    "quick": Preset(
        name="quick",
        description="minutes on a CPU: full-width single-frame nets and small multi-frame ones, "
        "little data, few epochs, and energy terms on a random part of each batch",
        training={"batch_size": 64, "epochs": 4, "steps_per_epoch": 64, "energy_poses": 8},
        data={"max_eval_poses": 2000},
        space="quick",
        trials={"lr_p": 3, "lr_l": 4, "alpha": 3},
    ),
    "standard": Preset(
        name="standard",
        description="an afternoon on one GPU for single-frame nets: all data, the energy terms on "
        "a part of each batch; multi-frame nets in full size by their authors' recipes, shortened",
        training={"batch_size": 1024, "epochs": 20, "energy_poses": 256},
        data={},
        space="standard",
        trials={"lr_p": 8, "lr_l": 16, "alpha": 8},
    ),
    "paper": Preset(
        name="paper",
        description="the paper's budget (A.2.1): batch 1024, 50 epochs (H3WB: 64, 200), Table 8's "
        "grid; of multi-frame nets their authors' recipes",
        training={},
        data={},
        space="paper",
        trials={"lr_p": 8, "lr_l": 24, "alpha": 12},
        paper_recipe=True,
    ),
}
