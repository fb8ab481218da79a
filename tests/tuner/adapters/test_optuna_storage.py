"""Opening storages, and what happens when files and databases misbehave."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState as OptunaState

from tests.contracts.study_store import NAME, STUDY, completed, trial_spec
from tuner.adapters.optuna_records import OUTCOME, outcome_to_json
from tuner.adapters.optuna_storage import open_storage
from tuner.adapters.optuna_store import OptunaStudyStore, open_study_store
from tuner.errors import ConfigurationError, StoreError, TunerError
from tuner.records import EpochReport, OutcomeKind, TrialOutcome, TrialState


def test_folders_are_made(tmp_path: Path) -> None:
    open_storage(f"journal:{tmp_path}/a/b/studies.journal")
    open_storage(f"sqlite:///{tmp_path}/c/d/studies.db")
    assert (tmp_path / "a/b/studies.journal").exists()
    assert (tmp_path / "c/d/studies.db").exists()


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("journal:", ConfigurationError, "needs a path"),
        (
            "studies.db",
            ConfigurationError,
            r"is no known storage URL; expected journal:PATH, sqlite",
        ),
        ("nosuch://host/db", ConfigurationError, "is no known storage URL"),
        ("sqlite://host/db", StoreError, "cannot be opened"),
        ("mysql+pymysql://ann:s3cret@127.0.0.1/db", StoreError, "driver that is not.*pymysql"),
    ],
)
def test_urls_that_cannot_be_are_refused(url: str, kind: type[TunerError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        open_storage(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg2://ann:s3cret@127.0.0.1:1/tuner",
        "postgresql+psycopg2://ann@127.0.0.1:1/tuner?password=s3cret",
        "postgresql://ann:s3cret@[half/tuner",
    ],
)
def test_an_unreachable_database_is_named_without_its_password(url: str) -> None:
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
    with pytest.raises(StoreError) as caught:
        open_storage(url)
    assert "postgresql" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        open_storage(f"journal:{tmp_path}/studies")
    with pytest.raises(StoreError, match="unable to open database file"):
        open_storage(f"sqlite:///{tmp_path}/studies")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "studies.db"
    path.write_text("this is plain text, " * 100, encoding="utf-8")
    with pytest.raises(StoreError, match="file is not a database"):
        open_storage(f"sqlite:///{path}")


@pytest.mark.parametrize("content", [b"text\nmore\n", b'{"a": 1}\n', b"[1]\n", b"\xff\xfe\n{}\n"])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "studies.journal"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged, or is no Optuna journal"):
        open_storage(f"journal:{path}")
    assert path.read_bytes() == content


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal with one study and one running trial."""
    path = tmp_path / "studies.journal"
    store = open_study_store(f"journal:{path}")
    store.open_study(STUDY)
    store.ask(NAME, trial_spec())
    return path


@pytest.mark.parametrize("torn", [b'{"op_code": 4, "wor', b'{"op_code":2}', b"x" * 10_000])
def test_a_line_torn_off_by_a_kill_is_dropped(journal: Path, torn: bytes) -> None:
    before = open_study_store(f"journal:{journal}").history(NAME)
    sound = journal.read_bytes()
    journal.write_bytes(sound + torn)
    store = open_study_store(f"journal:{journal}")
    assert store.history(NAME) == before
    assert store.ask(NAME, trial_spec(seed=2)) == 1
    assert torn not in journal.read_bytes()
    again = open_study_store(f"journal:{journal}").history(NAME)
    assert again == store.history(NAME)
    assert again is not None
    assert len(again.trials) == 2


def test_damage_inside_a_journal_is_not_passed_over(journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:20] + b"\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(StoreError, match="damaged"):
        open_study_store(f"journal:{journal}")


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """The kernel refuses to write beyond, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_journal_as_it_was(journal: Path) -> None:
    store = open_study_store(f"journal:{journal}")
    before = journal.read_bytes()
    with (
        file_size_limit(len(before) + 40),
        pytest.raises(StoreError, match="File too large"),
    ):
        store.ask(NAME, trial_spec(seed=2))
    assert journal.read_bytes() == before
    assert store.ask(NAME, trial_spec(seed=2)) == 1
    history = open_study_store(f"journal:{journal}").history(NAME)
    assert history is not None
    assert len(history.trials) == 2


def test_a_removed_journal_is_not_started_anew(journal: Path) -> None:
    store = open_study_store(f"journal:{journal}")
    journal.unlink()
    with pytest.raises(StoreError, match="No such file"):
        store.ask(NAME, trial_spec(seed=2))
    assert not journal.exists()


def test_a_database_locked_by_another_process_is_named(tmp_path: Path) -> None:
    path = tmp_path / "studies.db"
    store = open_study_store(f"sqlite:///{path}?timeout=0")
    store.open_study(STUDY)
    number = store.ask(NAME, trial_spec())
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="database is locked"):
        store.report(NAME, EpochReport(number, 1, {}), value=70.0)
    other.close()
    store.report(NAME, EpochReport(number, 1, {}), value=70.0)
    history = store.history(NAME)
    assert history is not None
    assert history.trials[0].epochs == 1


def test_the_lock_file_of_a_killed_optuna_process_does_not_matter(journal: Path) -> None:
    lock = journal.parent / f"{journal.name}.lock"
    lock.symlink_to(journal)
    assert open_study_store(f"journal:{journal}").ask(NAME, trial_spec(seed=2)) == 1
    # Optuna's own lock would wait for 30 s of grace, then take it away
    assert lock.is_symlink()


def test_optunas_own_tools_read_the_journal(journal: Path) -> None:
    store = open_study_store(f"journal:{journal}")
    store.report(NAME, EpochReport(0, 1, {}), value=75.0)
    store.tell(NAME, completed(0))
    store.ask(NAME, trial_spec(seed=2))
    store.report(NAME, EpochReport(1, 1, {}), value=80.0)
    stopped = TrialOutcome(1, OutcomeKind.STOPPED_EARLY, value=80.0, epochs=1, reason="rung 1")
    store.tell(NAME, stopped)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name=NAME, storage=storage)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    first, second = study.trials
    assert (first.state, first.value) == (OptunaState.COMPLETE, 61.25)
    assert (second.state, second.value) == (OptunaState.PRUNED, 80.0)
    assert first.params == {"lr_l": 1e-4, "alpha": 0.1 * 3 / 100}
    assert first.intermediate_values == {1: 75.0}
    assert study.best_trial.number == 0


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (completed(0), OptunaState.COMPLETE),
        (TrialOutcome(0, OutcomeKind.STOPPED_EARLY, value=70.0), OptunaState.PRUNED),
        (TrialOutcome(0, OutcomeKind.INVALID_METRIC, value=70.0), OptunaState.FAIL),
    ],
)
def test_a_driver_killed_within_tell_is_repaired(
    journal: Path, outcome: TrialOutcome, state: OptunaState
) -> None:
    """The outcome is there, Optuna's state is not: the trial has ended all the same."""
    url = f"journal:{journal}"
    storage = open_storage(url)
    study = storage.get_study_id_from_name(NAME)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study, 0)
    storage.set_trial_user_attr(trial_id, OUTCOME, outcome_to_json(outcome))
    history = open_study_store(url).history(NAME)
    assert history is not None
    assert history.trials[0].outcome == outcome
    assert history.trials[0].state is not TrialState.RUNNING
    assert storage.get_trial(trial_id).state is OptunaState.RUNNING
    open_study_store(url).open_study(STUDY)
    assert storage.get_trial(trial_id).state is state
    assert open_study_store(url).history(NAME) == history


def test_a_driver_killed_within_open_study_is_repaired(tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/studies.journal"
    open_storage(url).create_new_study([optuna.study.StudyDirection.MINIMIZE], NAME)
    store = open_study_store(url)
    assert store.history(NAME) is None
    assert store.studies() == ()
    store.open_study(STUDY)
    history = store.history(NAME)
    assert history is not None
    assert history.spec == STUDY


def test_a_study_of_another_direction_is_refused(tmp_path: Path) -> None:
    """Optuna itself would go on minimising, or maximising, without a word."""
    url = f"journal:{tmp_path}/studies.journal"
    open_storage(url).create_new_study([optuna.study.StudyDirection.MAXIMIZE], NAME)
    store = open_study_store(url)
    store.open_study(STUDY)
    with pytest.raises(StoreError, match="direction: not 'minimize' in the store"):
        store.open_study(STUDY)


def test_studies_and_trials_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    storage = open_storage(f"journal:{tmp_path}/studies.journal")
    store = OptunaStudyStore(storage)
    foreign = optuna.create_study(study_name=NAME, storage=storage)
    foreign.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(StoreError, match="was made by another program"):
        store.open_study(STUDY)
    assert store.history(NAME) is None
    assert store.studies() == ()


def test_a_trial_added_by_another_program_is_named(journal: Path) -> None:
    storage = open_storage(f"journal:{journal}")
    study = optuna.load_study(study_name=NAME, storage=storage)
    study.enqueue_trial({"lr_l": 1e-4, "alpha": 0.0})
    with pytest.raises(StoreError, match="trial 1 of study demo/2-lr_l was not written"):
        OptunaStudyStore(storage).history(NAME)
