"""Sums and counts of measures, kept on the device until somebody asks for the means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainables.metrics.measures import Values
from trainables.metrics.report import Row, Table

__all__ = ["GroupMeans", "GroupSums", "ValueSums", "counted_sums"]


def counted_sums(values: Values, valid: Tensor) -> Tensor:
    """Values and ones where they count and the pose is scored, zeros elsewhere.

    Args:
        values: Of N poses, V of each.
        valid: Whether a pose is scored, (N,), bool.

    Returns:
        (2, N, V), float64.
    """
    counted = values.counted & valid.unsqueeze(1)
    # not a product: what does not count may be NaN
    return torch.stack([torch.where(counted, values.values, 0.0), counted.double()])


class GroupSums:
    """Sums and counts by group of poses.

    Args:
        names: Names of the measures.
        groups: How many groups there are.
        device: Where the poses are.
    """

    def __init__(self, names: Sequence[str], *, groups: int, device: torch.device) -> None:
        self._names = tuple(names)
        self._sums = torch.zeros(2, len(names), groups, dtype=torch.float64, device=device)

    def add(self, sums: Tensor, group: Tensor) -> None:
        """Add poses.

        Args:
            sums: Sums and counts of each measure, (2, measures, N), float64.
            group: Index of each pose's group, (N,), int64.
        """
        self._sums.index_add_(2, group, sums)

    def fetch(self) -> GroupMeans:
        """Bring the sums to the host."""
        return GroupMeans(self._names, self._sums.cpu())


class GroupMeans:
    """Means of measures, over frames and over groups, on the host.

    Args:
        names: Names of the measures.
        sums: Sums and counts, (2, measures, groups), float64.
    """

    def __init__(self, names: tuple[str, ...], sums: Tensor) -> None:
        self._names = names
        self._sums = sums

    def count(self, name: str) -> float:
        """How many values of a measure were counted."""
        return float(self._sums[1, self._names.index(name)].sum())

    def over_frames(self) -> dict[str, float]:
        """Mean of each measure over everything; NaN of nothing."""
        total, count = self._sums.sum(dim=2)
        return self._by_name(total / count)

    def over_groups(self) -> dict[str, float]:
        """Unweighted mean over the groups that have a value; NaN where there is none."""
        seen = self._sums[1] > 0
        means = torch.where(seen, self._means(), 0.0)
        return self._by_name(means.sum(dim=1) / seen.sum(dim=1))

    def table(self, groups: Sequence[str], *, values_per_pose: int) -> Table:
        """Means by group, of the groups that have poses.

        Args:
            groups: Their names, by index.
            values_per_pose: Values that the first measure has of each pose.
        """
        means, poses = self._means(), self._sums[1, 0] / values_per_pose
        return tuple(
            Row(name, {**self._by_name(means[:, index]), "poses": float(poses[index])})
            for index, name in enumerate(groups)
            if poses[index] > 0
        )

    def _means(self) -> Tensor:
        means: Tensor = self._sums[0] / self._sums[1]
        return means

    def _by_name(self, figures: Tensor) -> dict[str, float]:
        return dict(zip(self._names, figures.tolist(), strict=True))


class ValueSums:
    """Sums and counts by joint, or by segment: by what the values of a measure belong to.

    Args:
        labels: Names of the V values of each measure, by the measure's name.
    """

    def __init__(self, labels: Mapping[str, Sequence[str]]) -> None:
        self._labels = dict(labels)
        self._sums: dict[str, Tensor] = {}

    def add(self, sums: Mapping[str, Tensor]) -> None:
        """Add values and counts by measure, (2, N, V) each; others than these may be in it."""
        for name in self._labels:
            added = sums[name].sum(dim=1)
            self._sums[name] = self._sums[name] + added if name in self._sums else added

    def table(self) -> Table:
        """One row for each label, in the order of the first measure that has it."""
        rows: dict[str, dict[str, float]] = {}
        for name, sums in self._sums.items():
            total, count = sums.cpu()
            for label, mean in zip(self._labels[name], (total / count).tolist(), strict=True):
                rows.setdefault(label, {})[name] = mean
        return tuple(Row(label, figures) for label, figures in rows.items())
