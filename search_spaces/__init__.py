"""What may be tuned, and within which bounds: data and checks only."""

from __future__ import annotations

from search_spaces.errors import SpaceError
from search_spaces.files import load_space, space_names
from search_spaces.hyperparameters import (
    HYPERPARAMETERS,
    OPTIONAL_PARAMETERS,
    STAGE_PARAMETERS,
    Hyperparameter,
)
from search_spaces.params import FloatParameter, IntParameter, Parameter
from search_spaces.space import GreedySpace, StageSpace
from search_spaces.yaml_text import parse_yaml

__all__ = [
    "HYPERPARAMETERS",
    "OPTIONAL_PARAMETERS",
    "STAGE_PARAMETERS",
    "FloatParameter",
    "GreedySpace",
    "Hyperparameter",
    "IntParameter",
    "Parameter",
    "SpaceError",
    "StageSpace",
    "load_space",
    "parse_yaml",
    "space_names",
]
