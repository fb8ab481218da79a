"""What is trained where nothing else is asked for: recipes of the nets, budgets of the presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.backbones import BACKBONES
from trainables.backbones.recipes import RECIPES, Recipe
from trainables.config import LOSS_NET_FIELDS, MANY_TO_MANY, TrainingConfig
from trainables.skeletons import Skeleton
from tuner.presets import Preset, PresetName

__all__ = ["default_rate", "merged", "preset_notes", "preset_training"]

Fields = Mapping[str, Any]


def preset_training(
    preset: Preset,
    backbone: str,
    dataset: str,
    chosen: Fields | None = None,
    *,
    loss_net: bool = True,
) -> dict[str, Any]:
    """Fields of the training configuration, by the net's recipe, the preset, and the user.

    The net's window and the clips that it trains on go together: whoever chooses one of
    `backbone_options.frames` and `data.frames` has chosen both, and clips that touch one another
    still do.

    Args:
        preset: How much is trained.
        backbone: Name of the pose-net; one that does not exist is refused elsewhere.
        dataset: Name of the data set.
        chosen: Fields that the user has chosen; they come before all others.
        loss_net: Whether there is one; its fields are left out otherwise.
    """
    recipe = next((recipe for name, recipe in RECIPES.items() if name == backbone), None)
    fields: dict[str, Any] = {"data": dict(preset.data)}
    if recipe is None:
        fields = merged(fields, preset.training)
    else:
        fields = merged(fields, _of_recipe(recipe, preset, backbone, dataset))
    if not loss_net:
        fields = {name: value for name, value in fields.items() if name not in LOSS_NET_FIELDS}
    return merged(_with_window(fields, chosen or {}), chosen or {})


def default_rate(preset: Preset, backbone: str, dataset: str) -> float:
    """Learning rate lr_p of a single training that asks for none: that of the net's authors."""
    recipes = (recipe for name, recipe in RECIPES.items() if name == backbone)
    rates = [recipe.rate(dataset, quick=preset.name == "quick") for recipe in recipes]
    return rates[0] if rates else _ANY_RATE


_ANY_RATE = 1e-3
"""For a net that does not exist, which is refused elsewhere."""


def preset_notes(
    preset: PresetName, training: TrainingConfig, skeleton: Skeleton
) -> tuple[str, ...]:
    """What to know of the net that a preset trains: whether it is smaller than the published.

    Args:
        preset: The preset's name.
        training: What is trained.
        skeleton: Skeleton of the data.
    """
    entry = BACKBONES[training.backbone]
    if preset != "quick" or entry.recipe.single_frame:
        return ()
    options = training.backbone_options
    count = entry.count_parameters(skeleton, **options)
    published = entry.count_parameters(skeleton)
    if count >= published:
        return ()
    frames = options.get("frames", entry.frames)
    return (
        f"preset quick: {training.backbone} of {_millions(count)} parameters at T = {frames} "
        f"instead of {_millions(published)} at T = {entry.frames}; --preset standard trains the "
        "published net",
    )


def _millions(count: int) -> str:
    return f"{count / 1e6:.2g} M" if count < 1e6 else f"{count / 1e6:.1f} M"


def _of_recipe(recipe: Recipe, preset: Preset, backbone: str, dataset: str) -> dict[str, Any]:
    own = next((own for name, own in recipe.by_dataset.items() if name == dataset), {})
    full = merged(recipe.budget, own)
    spent = preset.training
    if recipe.single_frame:
        budget = full if preset.paper_recipe else merged(full, spent)
    elif preset.name == "quick":
        budget = merged(full, merged(spent, recipe.quick))
    elif preset.paper_recipe:
        budget = full
    else:
        budget = merged(full, _shortened(recipe, spent, backbone, full))
    return merged(recipe.fields, budget)


def _shortened(recipe: Recipe, spent: Fields, backbone: str, full: Fields) -> dict[str, Any]:
    """The epochs of a preset; batches are of as many clips as the net's authors have.

    The energy terms see as many poses as of single-frame nets, but at least a whole clip.
    """
    fields: dict[str, Any] = {"epochs": spent["epochs"]}
    if "pretraining" in full:
        fields["pretraining"] = {"epochs": spent["epochs"]}
    poses = recipe.fields["data"]["frames"] if backbone in MANY_TO_MANY else 1
    clips = max(1, spent["energy_poses"] // poses)
    return fields | ({"energy_poses": clips} if clips < full["batch_size"] else {})


def _with_window(fields: dict[str, Any], chosen: Fields) -> dict[str, Any]:
    """The fields with the window that the user has chosen, if they have."""
    data, options = fields["data"], fields.get("backbone_options", {})
    if "frames" not in data:
        return fields
    asked = [part.get("frames") for part in _parts(chosen, "backbone_options", "data")]
    frames = next((frames for frames in asked if frames is not None), None)
    if frames is None:
        return fields
    step = frames if data["clip_step"] == data["frames"] else data["clip_step"]
    return {
        **fields,
        "data": {**data, "frames": frames, "clip_step": step},
        "backbone_options": {**options, "frames": frames},
    }


def _parts(fields: Fields, *names: str) -> list[Fields]:
    found = [fields.get(name) for name in names]
    return [part for part in found if isinstance(part, Mapping)]


def merged(first: Fields, second: Fields) -> dict[str, Any]:
    """The first fields, overruled by the second, parts within parts."""
    result = dict(first)
    for name, value in second.items():
        old = result.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = merged(old, value) if both else value  # type: ignore[arg-type] # mappings
    return result
