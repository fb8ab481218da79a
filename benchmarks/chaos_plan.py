"""When each run of the chaos benchmark is hit, and by what: a function of the seed alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["KINDS", "Kill", "KillKind", "RunPlan", "plan_run"]

KillKind = Literal["driver", "worker", "node", "tracking"]
KINDS: tuple[KillKind, ...] = get_args(KillKind)
"""Driver and worker: SIGKILL. Node: removed without grace, and a fresh one added. Tracking: the
MLflow server, SIGKILLed and started again later."""

SECOND_KILL = 0.5
"""Probability of each further kill of a run."""

MOST_KILLS = 3
LONGEST_OUTAGE_S = 6.0


@dataclass(frozen=True)
class Kill:
    """One blow.

    Attributes:
        kind: What is killed.
        moment: When, as a fraction of the undisturbed run's length, counted from the first start.
        choice: Which one, if there are several: a fraction of their number.
        outage_s: How long a killed tracking server stays away, seconds.
    """

    kind: KillKind
    moment: float
    choice: float
    outage_s: float


@dataclass(frozen=True)
class RunPlan:
    """What happens to one run.

    Attributes:
        number: Number of the run, from 0.
        seed: Seed of its kills (the search itself has the same seed in all runs).
        kills: The blows, in order of their moments.
    """

    number: int
    seed: int
    kills: tuple[Kill, ...]


def plan_run(number: int, *, seed: int, kinds: Sequence[KillKind]) -> RunPlan:
    """Draw the kills of one run: one of its own kind at least, at moments uniform over the run.

    Args:
        number: Number of the run; kinds take turns by it.
        seed: Of the whole benchmark; another try of a run needs another one.
        kinds: What may be killed.

    Raises:
        ValueError: If `kinds` is empty.
    """
    if not kinds:
        raise ValueError("no kind of kill was given; choose from " + ", ".join(KINDS))
    own_seed = seed * 1_000 + number
    draw = random.Random(own_seed)
    chosen = [kinds[number % len(kinds)]]
    while len(chosen) < MOST_KILLS and draw.random() < SECOND_KILL:
        chosen.append(draw.choice(list(kinds)))
    kills = [
        Kill(kind, draw.random(), draw.random(), draw.uniform(1.0, LONGEST_OUTAGE_S))
        for kind in chosen
    ]
    return RunPlan(number, own_seed, tuple(sorted(kills, key=lambda kill: kill.moment)))
