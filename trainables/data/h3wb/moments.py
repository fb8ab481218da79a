"""Which samples show one moment, so that no moment is in two splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.data.h3wb.samples import Take
from trainables.data.h36m.cameras import CAMERA_IDS
from trainables.names import natural_key

__all__ = ["UNKNOWN_FRAME", "Moments", "find_moments"]

UNKNOWN_FRAME = -1
SAME_BODY_MM = 0.5
"""Views of one moment are one body, turned, so that its distances agree up to rounding. Moments
of a person who holds so still may as well stay together."""
GRIDS = 4
"""Equal bodies that lie across a border of one grid do not in another."""


@dataclass(frozen=True)
class Moments:
    """Samples by moment.

    Attributes:
        order: Positions of all samples, views of a moment next to one another, (N,).
        moment: Number of the moment of each sample in that order, from 0, never falling, (N,).
    """

    order: NDArray[np.intp]
    moment: NDArray[np.intp]


def find_moments(
    takes: Sequence[Take],
    take: NDArray[np.intp],
    frame: NDArray[np.intp],
    distances_mm: NDArray[np.float32],
) -> Moments:
    """Put the views of a moment together.

    A moment is subject, action and frame. Samples that do not name it are put with those whose
    bodies are the same.

    Args:
        takes: Where samples were taken.
        take: Index into `takes`, (N,).
        frame: Frame numbers, (N,); `UNKNOWN_FRAME` where the image does not tell.
        distances_mm: Distances within each body, which no camera changes, millimetres, (N, D).

    Returns:
        Moments by subject, action and frame, then those that are not named, in the samples'
        order; in a moment by camera.
    """
    performances = sorted(
        {(each.subject, each.action) for each in takes}, key=lambda p: list(map(natural_key, p))
    )
    of_take = np.asarray([performances.index((each.subject, each.action)) for each in takes])
    known = frame != UNKNOWN_FRAME
    named = np.stack([of_take[take], frame])[:, known]
    different, of_known = np.unique(named, axis=1, return_inverse=True)
    moment = np.empty(len(take), np.intp)
    moment[known] = of_known.reshape(-1)
    moment[~known] = different.shape[1] + np.arange(np.count_nonzero(~known))
    if not known.all():
        moment = _joined(moment, distances_mm)
    views = [len(CAMERA_IDS) if t.view is None else CAMERA_IDS.index(t.view) for t in takes]
    order = np.lexsort((np.asarray(views)[take], moment))
    return Moments(order, moment[order])


def _joined(moment: NDArray[np.intp], distances_mm: NDArray[np.float32]) -> NDArray[np.intp]:
    """Join moments of equal bodies; numbered from 0 by the first of those joined."""
    offsets = np.random.default_rng(0).random((GRIDS, distances_mm.shape[1]))
    groups = [moment]
    for offset in offsets:
        cells = np.floor(distances_mm / SAME_BODY_MM + offset).astype(np.int64)
        groups.append(np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1))
    joined, before = moment, None
    while before is None or (joined != before).any():
        before = joined
        for group in groups:
            lowest = np.full(int(group.max()) + 1, len(moment))
            np.minimum.at(lowest, group, joined)
            joined = lowest[group]
    return np.unique(joined, return_inverse=True)[1].reshape(-1)
