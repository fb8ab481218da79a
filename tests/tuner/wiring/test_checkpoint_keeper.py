"""What of a run's checkpoints stays when trials end and stages close."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from trainables.checkpoint import CheckpointStore
from tuner.adapters.optuna_store import open_study_store
from tuner.greedy_config import parse_greedy_config
from tuner.records import (
    OutcomeKind,
    StageResult,
    StudySpec,
    TrialOutcome,
    TrialRecord,
    TrialSpec,
    TrialState,
)
from tuner.settings import resolve_locations
from tuner.wiring.checkpoint_keeper import RunCheckpoints
from tuner.wiring.checkpoints import checkpoint_root, pretraining_root, weights_now

FILES = ["best.ckpt", "best.previous.ckpt", "last.ckpt", "last.previous.ckpt"]
FINISHED, PRUNED, FAILED = TrialState.FINISHED, TrialState.PRUNED, TrialState.FAILED
STAGE = StudySpec(run="demo", stage="1-lr_p", distributions={}, definition={})


def spec(number: int) -> TrialSpec:
    return TrialSpec(base={"epochs": 3}, params={}, seed=number)


def trial(number: int, state: TrialState, source: str | None = None) -> TrialRecord:
    value = 50.0 + number if state is FINISHED else None
    kinds = {FINISHED: OutcomeKind.COMPLETED, PRUNED: OutcomeKind.STOPPED_EARLY}
    outcome = TrialOutcome(number, kinds.get(state, OutcomeKind.FAILED), value=value)
    record = TrialRecord(number, spec(number), state, value=value, outcome=outcome)
    return replace(record, imported_from=source)


def write_all(store: CheckpointStore, number: int) -> None:
    for kind in ("best", "last"):
        for _ in range(2):
            store.save(spec(number).fingerprint, kind, {}, {})


def left(root: Path, number: int) -> list[str]:
    folder = root / spec(number).fingerprint
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def build(tmp_path: Path, keep: Literal["all", "winners"]) -> tuple[RunCheckpoints, Path]:
    root = tmp_path / "checkpoints"
    store = open_study_store(f"journal:{tmp_path}/studies.journal")
    store.open_study(STAGE)
    return RunCheckpoints(root, keep=keep, store=store, run="demo"), root


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        (OutcomeKind.STOPPED_EARLY, ["best.ckpt"]),
        (OutcomeKind.INVALID_METRIC, ["best.ckpt"]),
        (OutcomeKind.FAILED, FILES),
        (OutcomeKind.CANCELLED, FILES),
        (OutcomeKind.COMPLETED, FILES),
    ],
)
def test_a_trial_that_is_never_taken_up_again_needs_no_state(
    tmp_path: Path, kind: OutcomeKind, kept: list[str]
) -> None:
    keeper, root = build(tmp_path, "all")
    write_all(CheckpointStore(root), 0)
    keeper.trial_ended(spec(0), TrialOutcome(0, kind))
    assert left(root, 0) == kept


@pytest.mark.parametrize("keep", ["all", "winners"])
def test_a_closed_stage_keeps_what_is_asked_for(
    tmp_path: Path, keep: Literal["all", "winners"]
) -> None:
    keeper, root = build(tmp_path, keep)
    states = (FINISHED, FINISHED, PRUNED, FAILED)
    for number in range(len(states)):
        write_all(CheckpointStore(root), number)
    trials = [trial(number, state) for number, state in enumerate(states)]
    for _ in range(2):  # as after a kill in between
        keeper.stage_closed(trials, 1)
    others = ([], []) if keep == "winners" else (FILES, ["best.ckpt"])
    assert [left(root, number) for number in range(4)] == [others[0], FILES, others[1], others[1]]


def test_neither_copies_nor_winners_of_other_stages_lose_their_weights(tmp_path: Path) -> None:
    keeper, root = build(tmp_path, "winners")
    store = open_study_store(f"journal:{tmp_path}/studies.journal")
    number = store.ask("demo/1-lr_p", spec(0))
    store.tell(
        "demo/1-lr_p",
        TrialOutcome(number, OutcomeKind.COMPLETED, value=50.0, epochs=1, best_epoch=1),
    )
    result = StageResult("1-lr_p", number, {}, 50.0, "best")
    store.annotate("demo/1-lr_p", "result", result.to_json())
    for other in range(3):
        write_all(CheckpointStore(root), other)
    copy = trial(1, FINISHED, source="other-run/1-lr_p#4")
    # trial 0 won the first stage, and lost this one
    keeper.stage_closed([trial(0, FINISHED), copy, trial(2, FINISHED)], 2)
    assert [left(root, other) for other in range(3)] == [FILES, FILES, FILES]


def test_what_cannot_be_removed_is_logged_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, root = build(tmp_path, "all")
    (root / spec(0).fingerprint / "last.ckpt").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        keeper.trial_ended(spec(0), TrialOutcome(0, OutcomeKind.STOPPED_EARLY))
    assert "a checkpoint that is needed no more stays: cannot remove" in caplog.text


def test_where_checkpoints_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    locations = resolve_locations(home=tmp_path / "home", environment={})

    def of(root: str | None) -> tuple[Path | str, Path | str]:
        config = parse_greedy_config({"backbone": "videopose", "checkpoint_root": root})
        return checkpoint_root(config, locations, "demo"), pretraining_root(config, locations)

    home = tmp_path / "home"
    assert of(None) == (home / "runs" / "demo" / "checkpoints", home / "pretrainings")
    assert of("shared") == (tmp_path / "shared" / "demo", tmp_path / "shared" / "_pretrainings")
    assert of("s3://bucket/a/") == ("s3://bucket/a/demo", "s3://bucket/a/_pretrainings")


def test_weights_are_found_where_they_were_written_or_below_the_root(tmp_path: Path) -> None:
    before, now = tmp_path / "before" / "ab" / "best.ckpt", tmp_path / "now" / "ab" / "best.ckpt"
    assert weights_now(str(before), tmp_path / "now") == str(before)
    now.parent.mkdir(parents=True)
    now.write_bytes(b"")
    assert weights_now(str(before), tmp_path / "now") == str(now)
    before.parent.mkdir(parents=True)
    before.write_bytes(b"")
    assert weights_now(str(before), tmp_path / "now") == str(before)
