"""What the checks on data sets return, and where in a sequence faults are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainables.data.dataset import SequenceInfo
from trainables.names import first_few

__all__ = ["LONG_RUN", "Check", "FrameRun", "Verdict", "find_runs", "name_runs", "sequence_name"]

Verdict: TypeAlias = Literal["ok", "note", "problem"]

LONG_RUN = 10
"""Faults in so many frames in a row are not a detector's slips."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What, in a few words.
        where: Split or subject.
        found: The figure, with its unit.
        expected: What is accepted.
        verdict: `problem` if it is not; `note` for what a person should know.
        message: The same as one sentence; empty if all is well.
    """

    name: str
    where: str
    found: str
    expected: str
    verdict: Verdict
    message: str = ""


@dataclass(frozen=True)
class FrameRun:
    """Successive poses of a sequence that share a fault.

    Attributes:
        sequence: Subject, action and view.
        first: Frame number of the first, in the sequence's source.
        last: Frame number of the last.
        length: How many poses.
    """

    sequence: str
    first: int
    last: int
    length: int

    def __str__(self) -> str:
        if self.first == self.last:
            return f"{self.sequence} frame {self.first}"
        return f"{self.sequence} frames {self.first}-{self.last}"


def sequence_name(info: SequenceInfo) -> str:
    """Subject, action and view, for messages."""
    return f"{info.subject} {info.action!r} {info.view}"


def find_runs(
    sequence: str, bad: NDArray[np.bool_], poses: NDArray[np.intp], frames: NDArray[np.int32]
) -> list[FrameRun]:
    """The runs of a sequence's poses that have a fault.

    Args:
        sequence: Its name.
        bad: Which of the poses have it, (P,).
        poses: Their places in the split, (P,), rising; a run ends where some are left out.
        frames: Their frame numbers, (P,).
    """
    at = np.flatnonzero(bad)
    if not at.size:
        return []
    parts = np.split(at, np.flatnonzero((np.diff(at) > 1) | (np.diff(poses[at]) > 1)) + 1)
    return [
        FrameRun(sequence, int(frames[part[0]]), int(frames[part[-1]]), len(part))
        for part in parts
    ]


def name_runs(runs: Sequence[FrameRun]) -> str:
    """The longest runs, and how many more there are."""
    return first_few([str(run) for run in sorted(runs, key=lambda run: -run.length)])
