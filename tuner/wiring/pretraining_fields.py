"""The fields of a pre-training, where one takes place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["with_pretraining_seed"]


def with_pretraining_seed(fields: dict[str, Any], chosen: object, *, seed: int) -> dict[str, Any]:
    """The training's fields, with the pre-training's seed, or without its fields if there is none.

    Args:
        fields: Fields of the training configuration, the user's among them.
        chosen: What the user has set of `pretraining`; all of that is kept, for better or worse.
        seed: Base seed of the search, or seed of the one training.
    """
    part = fields.get("pretraining")
    if not isinstance(part, Mapping):
        return fields
    if part.get("epochs"):
        return {**fields, "pretraining": {"seed": seed, **part}}
    own = chosen if isinstance(chosen, Mapping) else {}
    # the recipe's rate has no effect once the user has turned the pre-training off
    return {**fields, "pretraining": dict(own)}
