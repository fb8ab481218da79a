"""The report of an evaluation: the same figures over all poses, and group by group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["EvaluationReport", "Row", "Table"]


@dataclass(frozen=True)
class Row:
    """Figures of one group of poses, or of one joint.

    Attributes:
        name: Its name.
        figures: By name; NaN for one that has no value here.
    """

    name: str
    figures: Mapping[str, float]


Table = tuple[Row, ...]


@dataclass(frozen=True)
class EvaluationReport:
    """What was measured of a net on a split.

    Attributes:
        figures: What `PoseMetrics.compute` returns.
        overall: Rows `frames` (mean over all frames), `actions` and `sequences` (unweighted
            means of the rows of `by_action` and `by_sequence`).
        by_action: One row for each base action that has scored frames, with their number
            `poses`.
        by_sequence: The same for each sequence; names can repeat.
        by_joint: Position errors of each joint, and PCK and AUC of those that they count.
        by_segment: `bsle` of each segment.
        by_limb_pair: `lse` of each pair of limbs.
    """

    figures: Mapping[str, float]
    overall: Table
    by_action: Table
    by_sequence: Table
    by_joint: Table
    by_segment: Table
    by_limb_pair: Table

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values: a table is a list of objects, NaN is null."""
        tables = {
            "overall": self.overall,
            "by_action": self.by_action,
            "by_sequence": self.by_sequence,
            "by_joint": self.by_joint,
            "by_segment": self.by_segment,
            "by_limb_pair": self.by_limb_pair,
        }
        rows = {
            name: [{"name": row.name, **_to_json(row.figures)} for row in table]
            for name, table in tables.items()
        }
        return {"figures": _to_json(self.figures), **rows}


def _to_json(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
