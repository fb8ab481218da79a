from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tuner.records import StudyHistory
from tuner.reports.render import write_report
from tuner.reports.run_summary import RunSummary
from tuner.reports.summary import DATA_NOTES, summarise

BuildRun = Callable[..., dict[str, StudyHistory]]

CURVES = (((1, 90.0), (2, 61.0)), ((1, 88.0), (2, 60.0)), ())


def test_more_of_pck_is_shown_as_better(build_run: BuildRun, tmp_path: Path) -> None:
    histories = build_run()
    summary = summarise("demo", histories)
    assert summary.baseline is not None
    assert summary.seal is not None
    for value, name in ((91.8, "better"), (89.8, "worse")):
        baseline = replace(summary.baseline, test={"mpjpe_mm": 66.0, "pck": 90.8})
        seal = replace(summary.seal, test={"mpjpe_mm": 62.0, "pck": value})
        write_report(replace(summary, baseline=baseline, seal=seal), histories, tmp_path)
        page = (tmp_path / "report.html").read_text()
        row = page.split("<tr><td>PCK (%)</td>")[1].split("</tr>")[0]
        assert re.findall(r'class="number (\w+)"', row) == [name, name]
        assert "lower is better; PCK: higher is better." in page
        assert "lower is better; PCK: higher is better." in (tmp_path / "report.md").read_text()


def test_a_finished_run_writes_every_file(build_run: BuildRun, tmp_path: Path) -> None:
    histories = build_run()
    first = histories["1-lr_p"]
    trials = tuple(replace(t, curve=c) for t, c in zip(first.trials, CURVES, strict=True))
    histories["1-lr_p"] = replace(first, trials=trials)
    summary = summarise("demo", histories)
    written = write_report(summary, histories, tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in written}
    assert names == {
        *("report.html", "report.md", "trials.csv", "summary.json", "figures/comparison.png"),
        *("figures/1-lr_p.png", "figures/2-lr_l.png", "figures/3-alpha.png"),
        *("figures/1-lr_p-curves.png", "decisions.jsonl"),
    }
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)
    pictures = [path.read_bytes() for path in written if path.suffix == ".png"]
    assert all(data.startswith(b"\x89PNG") for data in pictures)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary.to_json()


def test_a_confirmed_run_has_a_section_a_picture_and_a_table(
    build_confirmed_run: BuildRun, tmp_path: Path
) -> None:
    histories = build_confirmed_run(check_gain_mm=0.21)
    summary = summarise("demo", histories)
    written = write_report(summary, histories, tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in written}
    assert {"confirmation.csv", "figures/confirmation.png", "figures/5-check.png"} <= names
    assert "figures/4-confirm.png" not in names
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    for part in ("Confirmed: over 5 fresh seeds", "62.04 ± 0.81", "-4.27 to -3.69"):
        assert part in page
        assert part in text
    assert "Stage 4-confirm" not in page
    assert page.count("0.21 mm is inside noise: two trainings of the winner differ") == 1
    assert "5-check: 0.21 mm is inside noise" in text
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "4-confirm"]
    assert [row["seed"] for row in rows[:4]] == ["1000", "1000", "1000", "1001"]
    assert float(rows[0]["test_mpjpe_mm"]) == 66.9
    assert json.loads((tmp_path / "summary.json").read_text()) == summary.to_json()


def test_an_unfinished_confirmation_has_a_report(
    build_confirmed_run: BuildRun, tmp_path: Path
) -> None:
    histories = build_confirmed_run()
    stage = histories["4-confirm"]
    for candidates in ({"candidates": stage.attributes["candidates"]}, {}):
        histories["4-confirm"] = replace(stage, trials=(), attributes=candidates)
        write_report(summarise("demo", histories), histories, tmp_path)
        page = (tmp_path / "report.html").read_text()
        assert "no fresh seed has test figures of winner and baseline yet" in page


def test_pruning_and_caches_stand_in_the_report(build_open_run: BuildRun, tmp_path: Path) -> None:
    histories = build_open_run()
    stage = histories["2-lr_l"]
    trials = (*stage.trials[:2], replace(stage.trials[2], imported_from="other/2-lr_l#7"))
    definition = {"pruner": "asha", "asynchronous": True}
    histories["2-lr_l"] = replace(
        stage,
        spec=replace(stage.spec, definition=definition),
        trials=(*trials, stage.trials[3]),
    )
    write_report(summarise("demo", histories), histories, tmp_path)
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text()
        assert "Pruning (asha) saved 3 of 15 epochs, about 6 s." in text
        assert "timing had a say in who was stopped" in text
        assert "1 training known from other: not paid twice." in text
    assert "cached: known from other/2-lr_l#7" in (tmp_path / "report.html").read_text()


def test_the_page_needs_nothing_from_elsewhere(build_run: BuildRun, tmp_path: Path) -> None:
    histories = build_run()
    write_report(summarise("demo", histories), histories, tmp_path)
    page = (tmp_path / "report.html").read_text()
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page)
    assert len(sources) == 4
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in page
    assert "<script" not in page
    for text in ("66.40", "62.18", "-4.22", "-6.4 %", "+0.35", "wins with 56.000 mm"):
        assert text in page


def test_markup_in_a_reason_is_shown_not_run(build_open_run: BuildRun, tmp_path: Path) -> None:
    histories = build_open_run()
    stage = histories["2-lr_l"]
    outcome = stage.trials[0].outcome
    assert outcome is not None
    evil = replace(outcome, reason="<script>alert(1)</script> a|b")
    trials = (replace(stage.trials[0], outcome=evil), *stage.trials[1:])
    histories["2-lr_l"] = replace(stage, trials=trials)
    write_report(summarise("demo", histories), histories, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; a|b" in page


@pytest.mark.parametrize("failed", [False, True])
def test_partial_runs_have_reports(build_open_run: BuildRun, tmp_path: Path, failed: bool) -> None:
    histories = build_open_run(failed=failed)
    summary = summarise("demo", histories)
    write_report(summary, histories, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert summary.state in page
    assert "Baseline against SEAL" not in page
    assert "tuner runs resume demo" in page


def test_a_run_without_studies_has_a_report(tmp_path: Path) -> None:
    written = write_report(summarise("demo", {}), {}, tmp_path)
    assert len(written) == 5
    assert "No stage has begun." in (tmp_path / "report.html").read_text()


def test_the_csv_lists_every_trial(build_run: BuildRun, tmp_path: Path) -> None:
    histories = build_run()
    write_report(summarise("demo", histories), histories, tmp_path)
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 + 4 + 4
    assert rows[3]["stage"] == "2-lr_l"
    assert float(rows[3]["lr_l"]) == 1e-4
    assert float(rows[3]["val_mpjpe_mm"]) == 58.097
    assert rows[0]["lr_l"] == ""
    assert rows[7]["imported_from"] == "demo/2-lr_l#2"


def test_the_report_is_the_same_when_written_again(build_run: BuildRun, tmp_path: Path) -> None:
    histories = build_run()
    summary = summarise("demo", histories)
    first = [path.read_bytes() for path in write_report(summary, histories, tmp_path / "a")]
    second = [path.read_bytes() for path in write_report(summary, histories, tmp_path / "b")]
    assert first == second


def test_an_older_report_stays_whole_when_writing_fails(
    build_run: BuildRun, tmp_path: Path
) -> None:
    histories = build_run()
    summary = summarise("demo", histories)
    write_report(summary, histories, tmp_path)
    before = (tmp_path / "report.html").read_bytes()
    (tmp_path / "report.md").unlink()
    (tmp_path / "report.md").mkdir()
    with pytest.raises(OSError, match=r"report\.md"):
        write_report(summary, histories, tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_two_tuned_values_off_a_grid_are_drawn_too(build_run: BuildRun, tmp_path: Path) -> None:
    histories = build_run(stages=2, tested=False)
    stage = histories["2-lr_l"]
    moved = tuple(
        replace(
            trial,
            spec=replace(
                trial.spec,
                params={
                    name: value * (1 + 0.1 * trial.number)
                    for name, value in trial.spec.params.items()
                },
            ),
        )
        for trial in stage.trials
    )
    histories["2-lr_l"] = replace(stage, trials=moved)
    summary: RunSummary = summarise("demo", histories)
    write_report(summary, histories, tmp_path)
    assert (tmp_path / "figures" / "2-lr_l.png").stat().st_size > 5_000


def test_what_to_know_of_the_data_stands_in_the_report(
    build_run: BuildRun, tmp_path: Path
) -> None:
    histories = build_run()
    note = "S8 is held out of training; <b>the paper</b> trains on all"
    first = histories["1-lr_p"]
    noted = replace(first, attributes={**first.attributes, DATA_NOTES: [note]})
    summary = summarise("demo", {**histories, "1-lr_p": noted})
    assert summary.to_json()["data_notes"] == [note]
    write_report(summary, histories, tmp_path)
    assert f"## About the data\n\n- {note}\n" in (tmp_path / "report.md").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "<li>S8 is held out of training; &lt;b&gt;the paper" in page
    write_report(summarise("demo", histories), histories, tmp_path)
    assert "About the data" not in (tmp_path / "report.md").read_text()
    assert "About the data" not in (tmp_path / "report.html").read_text()
