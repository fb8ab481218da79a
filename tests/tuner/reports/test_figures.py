"""Figures hold what they should, legibly."""

from __future__ import annotations

from itertools import pairwise

from tuner.reports.figures import comparison_figure
from tuner.reports.tables import METRICS, ComparisonRow


def test_the_bars_are_those_of_charted_metrics_and_their_names_do_not_overlap() -> None:
    rows = [ComparisonRow(metric, 100.0, 95.0, -5.0, -5.0) for metric in METRICS]
    figure = comparison_figure(rows)
    figure.draw_without_rendering()
    names = []
    for axes in figure.axes:
        labels = axes.get_xticklabels()
        names += [label.get_text().replace("\n", " ") for label in labels]
        boxes = [label.get_window_extent() for label in labels]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert names == [metric.label for metric in METRICS if metric.charted]
