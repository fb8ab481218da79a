from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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


def test_repetitions_checks_caches_and_extensions_are_in_the_log(
    build_confirmed_run: Callable[..., dict[str, StudyHistory]],
) -> None:
    histories = build_confirmed_run(check_gain_mm=0.21)
    second = histories["2-lr_l"]
    known = replace(second.trials[0], imported_from="other/2-lr_l#4")
    definition = {"pruner": "asha", "asynchronous": True}
    window = {"alpha": [1e-3, 9e-3]}
    histories["2-lr_l"] = replace(
        second,
        spec=replace(second.spec, definition=definition),
        trials=(known, *second.trials[1:]),
        attributes={"extensions": [{"trials": 8, "window": window}]},
    )
    log = decisions(histories)
    of_second = [entry for entry in log if entry["stage"] == "2-lr_l"]
    assert [entry["decision"] for entry in of_second] == ["open", "cache", "close", "extend"]
    assert (of_second[0]["pruner"], of_second[0]["asynchronous"]) == ("asha", True)
    assert of_second[1]["reason"] == "known from other, not trained again: 1"
    assert (of_second[3]["trials"], of_second[3]["window"]) == (8, window)
    repeats = [entry for entry in log if entry["stage"] == "4-confirm"]
    assert [entry["decision"] for entry in repeats] == ["open", *["repeat"] * 3, "judge"]
    assert repeats[2]["role"] == "winner"
    assert repeats[-1]["reason"].startswith("Confirmed: over 5 fresh seeds")
    assert log[-1]["decision"] == "close"
    assert log[-1]["stage"] == "5-check"


def test_an_open_run_has_no_closing_entry_for_its_last_stage(
    build_open_run: Callable[..., dict[str, StudyHistory]],
) -> None:
    histories = build_open_run()
    last = list(histories)[-1]
    assert ("close", last) not in [(e["decision"], e["stage"]) for e in decisions(histories)]
