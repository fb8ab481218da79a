"""Numbers of channels, layers and heads that are not positive are refused, by name."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from tests.trainables.small_trainings import configuration, of_backbone
from trainables.builders import build_backbone
from trainables.config import BackboneName
from trainables.errors import TrainableError
from trainables.skeletons import H36M_17

SIZES: dict[BackboneName, tuple[str, ...]] = {
    "mixste": ("frames", "width", "depth", "heads"),
    "ktpformer": ("frames", "width", "heads"),
    "motionagformer": ("frames", "width", "depth", "heads", "head_width"),
    "poseformerv2": ("width", "depth", "heads"),
    "pstmo": ("width", "hidden", "depth", "heads"),
    "d3dp": ("frames", "depth", "heads"),
}
CASES = [
    (name, option, size)
    for name, options in SIZES.items()
    for option in options
    for size in (0, -8)
]


@pytest.mark.parametrize(("name", "option", "size"), CASES)
def test_a_size_that_is_not_positive_is_refused(
    name: BackboneName, option: str, size: int
) -> None:
    fields: dict[str, Any] = of_backbone(name)
    fields["backbone_options"] = {**fields["backbone_options"], option: size}
    config = configuration(fields)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch takes zero channels, and only warns
        with pytest.raises(TrainableError, match=rf": {option} must be positive, got {size}"):
            build_backbone(config, H36M_17)


@pytest.mark.parametrize("name", ["mixste", "ktpformer", "motionagformer", "poseformerv2"])
def test_a_perceptron_without_channels_is_refused(name: BackboneName) -> None:
    fields: dict[str, Any] = of_backbone(name)
    fields["backbone_options"] = {**fields["backbone_options"], "mlp_ratio": 0.0}
    with pytest.raises(TrainableError, match="hidden must be positive, got 0"):
        build_backbone(configuration(fields), H36M_17)
