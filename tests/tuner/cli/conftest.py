"""The command line in this process, and a study store that holds a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tuner.adapters.optuna_storage import open_storage
from tuner.adapters.optuna_store import OptunaStudyStore
from tuner.cli import main
from tuner.records import StudyHistory, TrialState


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Done]
StoreRun = Callable[[Mapping[str, StudyHistory]], Path]


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Call:
    """Run `tuner ARGUMENTS` in an empty folder, with no settings in the environment."""
    for name in ("TUNER_HOME", "TUNER_STORAGE", "MLFLOW_TRACKING_URI", "TUNER_ARTIFACT_ROOT"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["tuner", *(str(argument) for argument in arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def store_run(tmp_path: Path) -> StoreRun:
    """Write histories into the default study store of a fresh home; gives the home."""

    def write(histories: Mapping[str, StudyHistory]) -> Path:
        home = tmp_path / "home"
        store = OptunaStudyStore(open_storage(f"journal:{home}/studies.journal"))
        for history in histories.values():
            _write_study(store, history)
        return home

    return write


def _write_study(store: OptunaStudyStore, history: StudyHistory) -> None:
    name = history.spec.study_name
    store.open_study(history.spec)
    for trial in history.trials:
        if trial.imported_from is not None:
            store.import_finished(name, trial, trial.imported_from)
            continue
        assert store.ask(name, trial.spec) == trial.number
        if trial.state is not TrialState.RUNNING:
            assert trial.outcome is not None
            store.tell(name, trial.outcome)
    for trial in history.trials:
        if trial.test_metrics is not None:
            store.annotate(name, "test_metrics", dict(trial.test_metrics), trial=trial.number)
    for key, value in history.attributes.items():
        store.annotate(name, key, value)
    if history.result is not None:
        store.annotate(name, "result", history.result.to_json())
