"""What may be tuned, and within which bounds: data and checks only."""

from __future__ import annotations

from search_spaces.errors import SpaceError
from search_spaces.params import FloatParameter
from search_spaces.space import (
    STAGE_PARAMETERS,
    GreedySpace,
    StageSpace,
    load_space,
    space_names,
)

__all__ = [
    "STAGE_PARAMETERS",
    "FloatParameter",
    "GreedySpace",
    "SpaceError",
    "StageSpace",
    "load_space",
    "space_names",
]
