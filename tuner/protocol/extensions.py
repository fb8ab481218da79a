"""More trials for a stage that is closed (pure).

An extension is one entry of the study attribute `extensions`, written once: from then on the stage
is open again, until its result takes account of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.protocol.generations import EXTENSIONS
from tuner.protocol.selection import best_trial, format_value
from tuner.protocol.window import Window, clipped, inside, narrowed, window_around
from tuner.records import StudyHistory

__all__ = ["Extension", "extensions", "new_extension", "within"]


@dataclass(frozen=True)
class Extension:
    """Further trials of a stage.

    Attributes:
        trials: How many.
        first: Number of the first of them; those before it ended before it was asked for.
        window: Where they may lie; None for the whole space.
        reason: What was asked for, in one line.
    """

    trials: int
    first: int
    window: Window | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The entry in the study."""
        entry: dict[str, Any] = {"trials": self.trials, "first": self.first, "reason": self.reason}
        if self.window is not None:
            entry["window"] = {name: list(ends) for name, ends in self.window.items()}
        return entry


def extensions(study: StudyHistory) -> tuple[Extension, ...]:
    """What the study was extended by, in order."""
    return tuple(_from_json(entry) for entry in study.attributes.get(EXTENSIONS, ()))


def new_extension(study: StudyHistory, *, trials: int, factor: float | None) -> Extension:
    """An extension of a study whose trials have all ended and of which one has finished.

    Args:
        study: The study.
        trials: Trials to add.
        factor: Size of the window around the present winner, as in `window_around`; None for the
            whole space.

    Raises:
        ValueError: If no trial has finished.
    """
    more = f"{trials} more trials"
    first = len(study.trials)
    if factor is None:
        return Extension(trials, first, None, f"extended by {more}")
    winner = best_trial(study.trials)
    if winner is None:
        raise ValueError(f"study {study.spec.study_name} has no finished trial to refine")
    ranges = study.spec.distributions
    window = clipped(window_around(ranges, winner.spec.params, factor=factor), ranges)
    where = ", ".join(
        f"{name} {format_value(low)} to {format_value(high)}"
        for name, (low, high) in window.items()
    )
    return Extension(trials, first, window, f"refined by {more} around the winner: {where}")


def within(study: StudyHistory, window: Window) -> StudyHistory:
    """The study as a sampler sees it that may look into a window only.

    Trials keep their numbers, by which a sampler tells what was known when.
    """
    ranges = narrowed(study.spec.distributions, window)
    return StudyHistory(
        spec=type(study.spec)(
            run=study.spec.run,
            stage=study.spec.stage,
            distributions=ranges,
            definition=study.spec.definition,
        ),
        trials=tuple(trial for trial in study.trials if inside(window, trial.spec.params)),
        result=study.result,
        attributes=study.attributes,
    )


def _from_json(entry: Mapping[str, Any]) -> Extension:
    window = entry.get("window")
    return Extension(
        trials=entry["trials"],
        first=entry["first"],
        window=None if window is None else {k: (low, high) for k, (low, high) in window.items()},
        reason=entry["reason"],
    )
