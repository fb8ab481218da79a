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


def test_what_counts_errors_and_what_counts_right_joints_have_panels_of_their_own() -> None:
    rows = [ComparisonRow(metric, 90.0, 95.0, 5.0, 5.0) for metric in METRICS]
    labels = [axes.get_ylabel() for axes in comparison_figure(rows).axes]
    assert labels == ["error on test (mm)", "share correct on test (%)", "error on test (%)"]
    errors = [row for row in rows if not row.metric.higher_is_better]
    labels = [axes.get_ylabel() for axes in comparison_figure(errors).axes]
    assert labels == ["error on test (mm)", "error on test (%)"]
