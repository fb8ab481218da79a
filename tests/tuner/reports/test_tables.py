from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from tuner.protocol.savings import Savings
from tuner.records import StudyHistory
from tuner.reports.run_summary import RunSummary
from tuner.reports.summary import summarise
from tuner.reports.tables import (
    comparison_rows,
    confirmation_note,
    direction_note,
    duration_text,
    headline,
    next_steps,
    place_rows,
    selection_note,
    source_text,
    stage_notes,
    stage_rows,
)
from tuner.reports.terminal import print_summary

BuildRun = Callable[..., dict[str, StudyHistory]]


def shown(summary: RunSummary, width: int = 80) -> str:
    stream = io.StringIO()
    print_summary(summary, Console(file=stream, width=width, force_terminal=False))
    return stream.getvalue()


def with_seal_mpjpe(summary: RunSummary, value: float) -> RunSummary:
    assert summary.seal is not None
    assert summary.seal.test is not None
    test = {**summary.seal.test, "mpjpe_mm": value}
    return replace(summary, seal=replace(summary.seal, test=test))


def test_comparison_has_differences_and_percent(build_run: BuildRun) -> None:
    rows = comparison_rows(summarise("demo", build_run()))
    assert [row.metric.label for row in rows] == [
        *("MPJPE", "P-MPJPE", "N-MPJPE", "MPJPE, mean of actions", "LSE", "LLE", "BSLE")
    ]
    assert rows[0].difference == pytest.approx(62.178 - 66.4)
    assert rows[0].percent == pytest.approx(100 * (62.178 - 66.4) / 66.4)
    assert rows[3].difference == pytest.approx(63.0 - 67.5)
    assert rows[6].difference == pytest.approx(0.35)


def with_pck(summary: RunSummary, baseline: float, seal: float) -> RunSummary:
    tested = [summary.baseline, summary.seal]
    parts = []
    for configuration, value in zip(tested, (baseline, seal), strict=True):
        assert configuration is not None
        assert configuration.test is not None
        figures = {**configuration.test, "pck": value, "auc": value / 2}
        parts.append(replace(configuration, test=figures))
    return replace(summary, baseline=parts[0], seal=parts[1])


@pytest.mark.parametrize(
    ("seal", "better"), [(91.8, True), (90.0, False), (90.8, None)], ids=["more", "less", "same"]
)
def test_of_pck_and_auc_more_is_better(
    build_run: BuildRun, seal: float, better: bool | None
) -> None:
    summary = with_pck(summarise("demo", build_run()), 90.8, seal)
    rows = {row.metric.key: row for row in comparison_rows(summary)}
    assert rows["pck"].better is better
    assert rows["auc"].better is better
    assert rows["pck"].difference == pytest.approx(seal - 90.8)
    assert rows["mpjpe_mm"].better is True
    assert rows["bsle"].better is False
    text = shown(summary)
    assert "lower is better; PCK and AUC: higher is better" in " ".join(text.split())
    assert "PCK (%)" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_without_pck_lower_is_better(build_run: BuildRun) -> None:
    summary = summarise("demo", build_run())
    assert direction_note(comparison_rows(summary)) == "lower is better"
    assert "PCK" not in shown(summary)


def test_a_perfect_baseline_has_no_percent(build_run: BuildRun) -> None:
    summary = summarise("demo", build_run())
    assert summary.baseline is not None
    summary = replace(summary, baseline=replace(summary.baseline, test={"lse": 0.0}))
    row = comparison_rows(summary)[0]
    assert (row.difference, row.percent) == (4.4, None)


def test_before_the_test_there_is_no_comparison(build_run: BuildRun) -> None:
    assert comparison_rows(summarise("demo", build_run(tested=False))) == []


@pytest.mark.parametrize(
    ("seal", "text"),
    [
        (60.0, "SEAL lowers MPJPE on test by 6.40 mm (-9.6 %): 66.40 to 60.00 mm."),
        (70.0, "SEAL raises MPJPE on test by 3.60 mm (+5.4 %): 66.40 to 70.00 mm."),
        (66.4, "SEAL leaves MPJPE on test where the baseline has it, at 66.40 mm."),
    ],
)
def test_the_headline_says_what_the_numbers_say(
    build_run: BuildRun, seal: float, text: str
) -> None:
    assert headline(with_seal_mpjpe(summarise("demo", build_run()), seal)) == text


def test_selection_on_test_is_labelled(build_run: BuildRun) -> None:
    summary = summarise("demo", build_run())
    assert "validation split" in selection_note(summary)
    summary = replace(summary, configuration={"select_on": "test"})
    assert "TEST split" in selection_note(summary)


def test_stage_rows_tell_tuned_from_fixed(build_run: BuildRun) -> None:
    row = stage_rows(summarise("demo", build_run()))[2]
    assert (row.tuned, row.fixed) == ("alpha 5e-3", "lr_p 1e-3, lr_l 5e-4")
    assert row.trials == "4 of 4, 2 carried over"


def test_what_pruning_saved_is_said_in_epochs_and_time(build_open_run: BuildRun) -> None:
    stage = summarise("demo", build_open_run()).stages[1]
    stage = replace(stage, pruner="asha", asynchronous=True)
    notes = stage_notes(stage)
    assert notes[0] == "Pruning (asha) saved 3 of 20 epochs, about 6 s."
    assert notes[1].startswith("Asynchronous: trials were judged at once, so timing had a say")
    nothing = replace(stage, savings=Savings(0, 0.0, 20), asynchronous=False)
    assert stage_notes(nothing) == ["Pruning (asha) stopped no trial early."]


def test_cache_hits_are_shown_with_their_source(build_run: BuildRun) -> None:
    histories = build_run()
    last = histories["3-alpha"]
    known = replace(last.trials[3], imported_from="other/3-alpha#8")
    histories["3-alpha"] = replace(last, trials=(*last.trials[:3], known))
    summary = summarise("demo", histories)
    assert stage_rows(summary)[2].trials == "4 of 4, 2 carried over, 1 cached"
    assert stage_notes(summary.stages[2]) == ["1 training known from other: not paid twice."]
    assert "1 training known from other: not paid twice." in shown(summary)
    assert source_text("demo", "other/3-alpha#8") == "cached: known from other/3-alpha#8"
    assert source_text("demo", "demo/2-lr_l#3") == "carried over from 2-lr_l#3"


def test_extensions_are_noted(build_run: BuildRun) -> None:
    stage = summarise("demo", build_run()).stages[2]
    asked = ({"trials": 8}, {"trials": 4, "reason": "refined by 4 more trials"})
    assert stage_notes(replace(stage, extensions=asked)) == [
        *("Afterwards extended by 8 more trials.", "Afterwards refined by 4 more trials."),
    ]


@pytest.mark.parametrize(
    ("gain_mm", "seeds", "parts"),
    [
        (4.0, 5, ("Confirmed: over 5 fresh seeds", "-4.27 to -3.69", "gain")),
        (0.3, 3, ("Not confirmed: over 3 fresh seeds", "-0.96 to +0.36", "noise")),
    ],
)
def test_the_confirmation_fits_eighty_columns(
    build_confirmed_run: BuildRun, gain_mm: float, seeds: int, parts: tuple[str, ...]
) -> None:
    histories = build_confirmed_run(seeds, gain_mm=gain_mm, check_gain_mm=0.21)
    summary = summarise("demo", histories)
    text = shown(summary)
    assert max(len(line) for line in text.splitlines()) <= 80
    words = " ".join(text.split())
    for part in (*parts, "runner-up 1: lr_p 1e-3, lr_l 5e-4, alpha 1e-2"):
        assert part in words
    assert "0.21 mm is inside noise: two trainings of the winner differ by up to" in words
    assert "repeat the command with --confirm-seeds" not in words


def test_fresh_seeds_chosen_on_test_are_labelled(build_confirmed_run: BuildRun) -> None:
    summary = summarise("demo", build_confirmed_run())
    assert "TEST" not in confirmation_note(summary)
    summary = replace(summary, configuration={"select_on": "test"})
    assert "chosen on TEST, so its test figures are optimistic." in " ".join(
        shown(summary).split()
    )


def test_a_run_that_is_not_confirmed_says_how_to(build_run: BuildRun) -> None:
    words = " ".join(shown(summarise("demo", build_run())).split())
    assert "repeat the command with --confirm-seeds 5 before you believe" in words


def test_a_failed_stage_gives_its_first_reason(build_open_run: BuildRun) -> None:
    row = stage_rows(summarise("demo", build_open_run(failed=True)))[1]
    assert row.state == "failed"
    assert row.decision == "stage 2-lr_l: no trial finished: out of memory"


def test_next_steps_lead_to_the_stores_of_the_run(build_open_run: BuildRun) -> None:
    summary = summarise("a b", build_open_run(), location_options=("--home", "/data/my runs"))
    assert next_steps(summary)[0][0] == "tuner runs resume 'a b' --home '/data/my runs'"


def test_a_finished_quick_run_suggests_a_longer_one(build_run: BuildRun) -> None:
    commands = [command for command, _ in next_steps(summarise("demo", build_run()))]
    assert commands == [
        "tuner ui",
        "tuner runs show demo",
        "tuner greedy --backbone videopose --dataset sample --preset standard",
    ]


def test_places_leave_out_what_is_unknown(build_run: BuildRun) -> None:
    summary = summarise("demo", build_run(), storage="journal:/data/studies.journal")
    assert place_rows(summary) == [
        ("studies", "journal:/data/studies.journal"),
        ("weights", "/data/checkpoints/1/best.pt"),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (172_799, "47 h 59 min"),
        (172_800, "2 d 00 h"),
        (100 * 3600, "4 d 04 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_the_final_table_fits_eighty_columns(build_run: BuildRun) -> None:
    path = "/home/ann/" + "x" * 120
    text = shown(summarise("demo", build_run(), artifacts=path))
    assert max(len(line) for line in text.splitlines()) <= 80
    for part in ("66.40", "62.18", "-4.22", "-6.4 %", "lr_l 5e-4, alpha 5e-3", "tuner ui"):
        assert part in text
    assert f"{path}/report/report.html" in text.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize("failed", [False, True])
def test_the_table_of_an_open_run_says_how_to_go_on(
    build_open_run: BuildRun, failed: bool
) -> None:
    text = shown(summarise("demo", build_open_run(failed=failed)))
    assert "tuner runs resume demo" in text
    assert ("failed" if failed else "open") in text.splitlines()[1]


def test_names_in_brackets_are_not_taken_for_markup(build_run: BuildRun) -> None:
    text = shown(summarise("[red]x[/red]", build_run(), storage="[bold]"))
    assert "Run [red]x[/red]" in text
    assert "[bold]" in text
