from __future__ import annotations

from collections.abc import Callable

from tuner.records import StudyHistory
from tuner.reports.decisions import decisions


def test_every_stage_is_opened_and_closed_with_its_reason(
    build_run: Callable[..., dict[str, StudyHistory]],
) -> None:
    log = decisions(build_run())
    assert [(entry["decision"], entry["stage"]) for entry in log] == [
        ("open", "1-lr_p"),
        ("close", "1-lr_p"),
        ("open", "2-lr_l"),
        ("close", "2-lr_l"),
        ("open", "3-alpha"),
        ("import", "3-alpha"),
        ("close", "3-alpha"),
    ]
    assert all(entry["reason"] for entry in log)
    assert len(log[5]["trials"]) == 2


def test_an_open_run_has_no_closing_entry_for_its_last_stage(
    build_open_run: Callable[..., dict[str, StudyHistory]],
) -> None:
    histories = build_open_run()
    last = list(histories)[-1]
    assert ("close", last) not in [(e["decision"], e["stage"]) for e in decisions(histories)]
