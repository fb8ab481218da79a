"""What may be tuned: names, meanings, least values, and the stages that take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["HYPERPARAMETERS", "OPTIONAL_PARAMETERS", "STAGE_PARAMETERS", "Hyperparameter"]

STAGE_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "lr_p": ("lr_p",),
    "lr_l": ("lr_l", "alpha"),
    "alpha": ("alpha",),
}
"""The default protocol's stages and what each tunes at least (paper A.5)."""

OPTIONAL_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "lr_p": ("length_weight", "symmetry_weight"),
    "lr_l": (
        *("margin_scale", "pair_weight", "pair_scale"),
        *("num_perturbations", "perturbation_radius", "window_weight"),
    ),
    "alpha": (),
}
"""What a stage may tune besides. Later stages keep the winner's values: those of the pose-net's
own terms from the stage that trains it alone, those of the loss-net from the stage of `lr_l`."""


@dataclass(frozen=True)
class Hyperparameter:
    """A field of the training configuration that a search may vary.

    Attributes:
        symbol: As the paper writes it.
        meaning: What it is, for people.
        least: Its smallest value.
        open: Whether that value itself is left out.
        whole: Whether it is a whole number.
    """

    symbol: str
    meaning: str
    least: int = 0
    open: bool = False
    whole: bool = False


HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    # Learning rates and factors: zero would train nothing and look like a result; without α the
    # loss-net would change nothing, and stage 1 has trained that baseline.
    "lr_p": Hyperparameter("η_φ", "a learning rate", open=True),
    "lr_l": Hyperparameter("η_θ", "a learning rate", open=True),
    "alpha": Hyperparameter("α", "the energy's weight", open=True),
    # A negative weight would reward implausible poses.
    "length_weight": Hyperparameter("λ_len", "the weight of the bone length constraint"),
    "symmetry_weight": Hyperparameter("λ_sym", "the weight of the symmetry constraint"),
    "margin_scale": Hyperparameter("Δ", "the factor on the margin", open=True),
    "pair_weight": Hyperparameter("λ", "the weight of the ordering of negatives"),
    "pair_scale": Hyperparameter("κ", "the factor on the distance of two negatives", open=True),
    "num_perturbations": Hyperparameter("K", "the number of negatives", least=1, whole=True),
    "perturbation_radius": Hyperparameter("R_max", "the radius of perturbation", open=True),
    "window_weight": Hyperparameter("λ", "the weight of the neighbouring-window term"),
}
"""All of them, by the name of their field."""
