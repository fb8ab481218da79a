"""Whether a joint search around the winner found more than the greedy one (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuner.protocol.selection import format_value
from tuner.reports.confirmation import HEADLINE_METRIC, WINNER, Confirmation
from tuner.reports.statistics import single_difference_bound

__all__ = ["CheckVerdict", "JointCheck", "check_text", "noise_text", "winner_noise_mm"]

CheckVerdict = Literal["nothing better", "inside noise", "beyond noise", "noise not known"]


@dataclass(frozen=True)
class JointCheck:
    """The best point of a joint search beside the greedy winner, both trained once.

    Attributes:
        trial: Number of the best joint trial.
        params: Its hyperparameters.
        val_mpjpe_mm: Its objective.
        greedy_val_mpjpe_mm: The greedy winner's.
        trials: Points that were compared.
        noise_mm: How far two single trainings of the winner's configuration differ in 95 of 100
            cases, by the spread of its fresh seeds; None without a confirmation.
    """

    trial: int
    params: Mapping[str, float]
    val_mpjpe_mm: float
    greedy_val_mpjpe_mm: float
    trials: int
    noise_mm: float | None

    @property
    def gain_mm(self) -> float:
        """How much lower the joint search's best objective is."""
        return self.greedy_val_mpjpe_mm - self.val_mpjpe_mm

    @property
    def verdict(self) -> CheckVerdict:
        """The gain against the noise."""
        if self.gain_mm <= 0:
            return "nothing better"
        if self.noise_mm is None:
            return "noise not known"
        return "inside noise" if self.gain_mm <= self.noise_mm else "beyond noise"

    def to_json(self) -> dict[str, Any]:
        """The check as JSON values."""
        return {
            "trial": self.trial,
            "params": dict(self.params),
            "val_mpjpe_mm": self.val_mpjpe_mm,
            "greedy_val_mpjpe_mm": self.greedy_val_mpjpe_mm,
            "gain_mm": self.gain_mm,
            "noise_mm": self.noise_mm,
            "trials": self.trials,
            "verdict": self.verdict,
            "text": check_text(self),
        }


def winner_noise_mm(confirmation: Confirmation | None) -> float | None:
    """How far two single trainings of the winner differ; None if too few seeds tell."""
    winner = confirmation.candidate(WINNER) if confirmation else None
    values = list(winner.figures["val"].get(HEADLINE_METRIC, {}).values()) if winner else []
    return single_difference_bound(values) if len(values) > 1 else None


def check_text(check: JointCheck) -> str:
    """What the check says, for people."""
    if check.verdict == "nothing better":
        return "Joint search: nothing better than the greedy winner on validation."
    point = ", ".join(f"{name} {format_value(value)}" for name, value in check.params.items())
    better = f"{check.gain_mm:.2f} mm better on validation"
    return f"Joint search: {point} is {better}. {noise_text(check)}"


def noise_text(check: JointCheck) -> str:
    """How much of the gain may be noise; empty without a gain."""
    gain = f"{check.gain_mm:.2f} mm"
    match check.verdict:
        case "inside noise":
            return (
                f"{gain} is inside noise: two trainings of the winner differ by up to "
                f"{check.noise_mm:.2f} mm."
            )
        case "beyond noise":
            return (
                f"{gain} is more than two trainings of the winner differ ({check.noise_mm:.2f} "
                "mm). The best of many is lucky, though: repeat it with fresh seeds."
            )
        case "noise not known":
            return "One training each: --confirm-seeds would tell how much of it is noise."
        case _:
            return ""
