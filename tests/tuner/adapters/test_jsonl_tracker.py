"""The contract over a plain file, and what is special about it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contracts.tracker import (
    INFO,
    STAGE,
    OpenTracker,
    RunView,
    TrackerContract,
    View,
    every_epoch_once,
    report,
    request,
    whole_run,
)
from tuner.adapters.jsonl_tracker import JsonlTracker, read_events
from tuner.errors import TrackingError


def fold(path: Path) -> View:
    """What the lines amount to."""
    view: View = {}
    for event in read_events(path):
        key = event.get("key", "")
        run = view.setdefault(
            key, RunView("RUNNING", None if key == "" else "", {}, {}, {}, Counter())
        )
        run.tags.update(event.get("tags", {}))
        for name, value in event.get("params", {}).items():
            run.params.setdefault(name, value)
        if event["kind"] == "epoch":
            run.points.update((name, event["epoch"]) for name in event["metrics"])
            if event["dropped"]:
                dropped = ", ".join(event["dropped"])
                run.tags["tuner.dropped_metrics"] = f"epoch {event['epoch']}: {dropped}"
        else:
            run.figures.update(event.get("metrics", {}))
            run.status = event.get("status", "FINISHED" if "metrics" in event else "RUNNING")
    return view


class TestJsonlTracker(TrackerContract):
    @pytest.fixture
    def open_tracker(self, tmp_path: Path) -> OpenTracker:
        return lambda: JsonlTracker(tmp_path / "run" / "tracking.jsonl")

    @pytest.fixture
    def view(self, tmp_path: Path) -> Callable[[], View]:
        return lambda: fold(tmp_path / "run" / "tracking.jsonl")

    def test_a_line_cut_short_by_a_crash_is_passed_over(
        self, open_tracker: OpenTracker, view: Callable[[], View], tmp_path: Path
    ) -> None:
        first = open_tracker()
        first.start_run(INFO)
        first.start_trial(request(), tags={})
        first.log_epoch(STAGE, report(0, 1))
        first.log_epoch(STAGE, report(0, 2))
        first.close(timeout_s=1.0)
        path = tmp_path / "run" / "tracking.jsonl"
        content = path.read_bytes()
        path.write_bytes(content[:-20])

        second = open_tracker()
        second.start_run(INFO)
        for epoch in (1, 2, 3):
            second.log_epoch(STAGE, report(0, epoch))
        second.close(timeout_s=1.0)
        assert every_epoch_once(view(), f"{STAGE}/0", 3)

    def test_every_line_is_json_with_a_time(
        self, open_tracker: OpenTracker, tmp_path: Path
    ) -> None:
        tracker = open_tracker()
        whole_run(tracker)
        tracker.close(timeout_s=1.0)
        lines = (tmp_path / "run" / "tracking.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        assert len(events) == 1 + 2 * 5 + 1 + 1
        times = [event["time_ms"] for event in events]
        assert times == sorted(times)
        assert times[0] > 1_600_000_000_000

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(TrackingError, match=r"cannot write the tracking file .*file/x\.jsonl"):
            JsonlTracker(tmp_path / "file" / "x.jsonl")
