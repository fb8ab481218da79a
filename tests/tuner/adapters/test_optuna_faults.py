"""A driver that is killed while it writes: what it had been told is kept, is there."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from optuna.trial import TrialState as OptunaState

from tests.contracts.study_store import NAME, STUDY, trial_spec
from tuner.adapters.optuna_storage import open_storage
from tuner.adapters.optuna_store import open_study_store
from tuner.records import (
    EpochReport,
    OutcomeKind,
    StudyHistory,
    TrialOutcome,
    TrialState,
)

EPOCHS = 3
KILLS = 6
Acknowledged = tuple[str, int, int]


def value_mm(number: int, epoch: int) -> float:
    return 90.0 - number / 7 - epoch


def write(url: str, trials: int, connection: Connection) -> None:
    """Go on from the history until `trials` have ended, as a driver would."""
    store = open_study_store(url)
    store.open_study(STUDY)
    history = store.history(NAME)
    assert history is not None
    running = [trial for trial in history.trials if trial.state is TrialState.RUNNING]
    epochs = {trial.number: trial.epochs for trial in running}
    connection.send(("ready", 0, 0))
    for number in [*epochs, *range(len(history.trials), trials)]:
        if number not in epochs:
            assert store.ask(NAME, trial_spec(seed=number)) == number
            connection.send(("asked", number, 0))
        for epoch in range(epochs.get(number, 0) + 1, EPOCHS + 1):
            report = EpochReport(number, epoch, {})
            store.report(NAME, report, value=value_mm(number, epoch))
            connection.send(("reported", number, epoch))
        store.tell(NAME, final(number))
        connection.send(("told", number, EPOCHS))


def final(number: int) -> TrialOutcome:
    value = value_mm(number, EPOCHS)
    if number % 5 == 4:
        return TrialOutcome(number, OutcomeKind.FAILED, epochs=EPOCHS, reason="node lost")
    return TrialOutcome(
        number, OutcomeKind.COMPLETED, value=value, epochs=EPOCHS, best_epoch=EPOCHS
    )


@dataclass(frozen=True)
class Kill:
    """After so many acknowledged writes, and this much later."""

    writes: int
    delay_s: float


def one_life(url: str, trials: int, kill: Kill | None = None) -> list[Acknowledged]:
    """Run a writer, and perhaps kill it. Returns what it was told is kept."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=write, args=(url, trials, sender))
    process.start()
    sender.close()
    acknowledged: list[Acknowledged] = []
    try:
        assert receiver.recv() == ("ready", 0, 0)
        if kill is not None:
            acknowledged += [receiver.recv() for _ in range(kill.writes)]
            time.sleep(kill.delay_s)
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        while True:
            acknowledged.append(receiver.recv())
    except EOFError:
        pass
    finally:
        process.join(timeout=50)
    assert process.exitcode == (0 if kill is None else -signal.SIGKILL)
    return acknowledged


def check_kept(history: StudyHistory, acknowledged: list[Acknowledged]) -> None:
    """All that was acknowledged is there; no trial is there twice."""
    by_number = {trial.number: trial for trial in history.trials}
    assert [trial.number for trial in history.trials] == list(range(len(history.trials)))
    for trial in history.trials:
        assert trial.spec == trial_spec(seed=trial.number)
    for what, number, epoch in acknowledged:
        trial = by_number[number]
        assert trial.epochs >= epoch
        if what == "told":
            assert trial.outcome == final(number)
    running = [trial for trial in history.trials if trial.state is TrialState.RUNNING]
    assert len(running) <= 1


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(240)
@pytest.mark.parametrize("form", ["journal:{}/studies.journal", "sqlite:///{}/studies.db"])
def test_a_killed_writer_loses_and_doubles_nothing(tmp_path: Path, form: str) -> None:
    url = form.format(tmp_path)
    chance = random.Random(7)
    acknowledged: list[Acknowledged] = []
    trials = 0
    for _ in range(KILLS):
        kill = Kill(chance.randrange(1, 8), chance.uniform(0.0, 0.04))
        acknowledged += one_life(url, 10_000, kill)
        history = open_study_store(url).history(NAME)
        assert history is not None
        check_kept(history, acknowledged)
        trials = len(history.trials)

    total = trials + 3
    one_life(url, total)
    calm = form.format(tmp_path / "calm")
    one_life(calm, total)
    assert open_study_store(url).history(NAME) == open_study_store(calm).history(NAME)
    storage = open_storage(url)
    ended = storage.get_all_trials(storage.get_study_id_from_name(NAME))
    assert {trial.state for trial in ended} == {OptunaState.COMPLETE, OptunaState.FAIL}
