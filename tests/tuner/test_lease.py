"""One driver per run: who gets a lease, who is refused, and what a driver does that lost it."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from tests.contracts.study_store import NAME, STUDY, trial_spec
from tuner import lease_holder
from tuner.adapters.database_leases import DatabaseLeases
from tuner.adapters.file_leases import FileLeases
from tuner.adapters.optuna_store import OptunaStudyStore, open_study_store
from tuner.errors import ConfigurationError, LeaseLostError, StoreError
from tuner.fenced import FencedStore
from tuner.lease import Lease, LeaseRow, LeaseTable, take_lease
from tuner.lease_holder import Holder, is_gone, is_here, lives_here, this_process
from tuner.records import TrialSpec

RUN = "demo"
ELSEWHERE = Holder("other", "far-away", 7, "another boot", "1")


@pytest.fixture(params=["journal", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    forms = {"journal": f"journal:{tmp_path}/s.journal", "sqlite": f"sqlite:///{tmp_path}/s.db"}
    return forms[request.param]


@pytest.fixture
def table(storage: str) -> LeaseTable:
    return open_table(storage)


def open_table(storage: str) -> LeaseTable:
    if storage.startswith("journal:"):
        return FileLeases(Path(storage.removeprefix("journal:") + ".leases"))
    return DatabaseLeases(storage)


def take(
    table: LeaseTable,
    holder: Holder | None = None,
    *,
    timeout_s: float = 60.0,
    renew_s: float = 0.05,
    say: Callable[[str], None] = lambda text: None,
) -> Lease:
    holder = holder or this_process()
    return take_lease(table, RUN, holder, say=say, timeout_s=timeout_s, renew_s=renew_s)


def test_a_lease_is_taken_renewed_and_given_back(table: LeaseTable) -> None:
    assert table.read(RUN) is None
    lease = take(table)
    assert lease.attempt == 1
    wait_for_beats(table, 3)
    lease.check()
    lease.release()
    row = table.read(RUN)
    assert row is not None
    assert row.holder is None
    again = take(table)
    assert again.attempt == 2
    again.release()


def test_a_second_driver_is_told_who_has_the_run(table: LeaseTable) -> None:
    lease = take(table)
    who = rf"being driven by process {os.getpid()} on .*, since 20\d\d-.* UTC; wait for it, stop"
    with pytest.raises(ConfigurationError, match=who):
        take(table)
    lease.check()
    lease.release()


def test_runs_have_leases_of_their_own(table: LeaseTable) -> None:
    lease = take(table)
    other = take_lease(table, "other", this_process(), say=lambda text: None)
    assert (lease.attempt, other.attempt) == (1, 1)
    lease.release()
    other.release()


def test_a_process_that_ended_here_holds_nobody_up(table: LeaseTable) -> None:
    """Its id may be used again: the start time tells."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = started_of(child.pid)
        dead = dataclasses.replace(this_process(), process=child.pid, started=started)
        assert is_here(dead)
        assert not is_gone(dead)
        assert table.take(RUN, dead, None) == 1
        with pytest.raises(ConfigurationError, match=f"driven by process {child.pid}"):
            take(table)
        child.kill()
    assert is_gone(dead)
    lease = take(table)
    assert lease.attempt == 2
    lease.release()
    reused = dataclasses.replace(this_process(), started="1")
    assert is_gone(reused)


def started_of(process: int) -> str:
    text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    return text.rpartition(")")[2].split()[19]


def test_a_silent_holder_elsewhere_is_waited_for_then_taken_over(table: LeaseTable) -> None:
    said: list[str] = []
    assert table.take(RUN, ELSEWHERE, None) == 1
    lease = take(table, timeout_s=0.5, say=said.append)
    assert lease.attempt == 2
    assert said == [text for text in said if "held by process 7 on far-away" in text]
    assert len(said) == 1
    assert not table.renew(RUN, ELSEWHERE, 1)
    lease.release()


def test_a_holder_elsewhere_that_shows_a_sign_of_life_is_left_alone(table: LeaseTable) -> None:
    elsewhere = Lease(table, RUN, ELSEWHERE, table.take(RUN, ELSEWHERE, None) or 0, renew_s=0.3)
    with pytest.raises(ConfigurationError, match="driven by process 7 on far-away"):
        take(table)
    elsewhere.release()


@pytest.mark.parametrize("ahead_s", [90.0, -3600.0])
def test_another_machines_clock_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    """A lease beside a journal on a network file system, kept by a machine whose clock is off."""
    table = FileLeases(tmp_path)
    attempt = table.take(RUN, ELSEWHERE, None)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + ahead_s)
    elsewhere = Lease(table, RUN, ELSEWHERE, attempt or 0, renew_s=0.3)
    with pytest.raises(ConfigurationError, match="driven by process 7 on far-away"):
        take(table)
    stop_beating(elsewhere)
    lease = take(table, timeout_s=0.5)
    assert lease.attempt == 2
    lease.release()


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_an_old_lease_is_watched_too(storage: str) -> None:
    """After an outage of the store all leases are old, and whoever comes first finds them so."""
    leases = DatabaseLeases(storage)
    attempt = leases.take(RUN, ELSEWHERE, None)
    grow_old(storage)
    elsewhere = Lease(leases, RUN, ELSEWHERE, attempt or 0, renew_s=0.5)
    with pytest.raises(ConfigurationError, match="driven by process 7 on far-away"):
        take(leases, renew_s=0.5)
    stop_beating(elsewhere)
    grow_old(storage)
    said: list[str] = []
    lease = take(leases, renew_s=0.1, say=said.append)  # it need not be watched for a minute
    assert lease.attempt == 2
    assert ["0.6 s" in text for text in said] == [True]
    lease.release()


def grow_old(storage: str) -> None:
    with sqlite3.connect(storage.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE tuner_leases SET beat_s = beat_s - 600")
    connection.close()


def test_a_look_that_hangs_is_no_watching(tmp_path: Path) -> None:
    """While the store is away its holder cannot renew either, so that this time does not count."""
    looks = 0

    class Slow(FileLeases):
        def read(self, run: str) -> LeaseRow | None:
            nonlocal looks
            looks += 1
            time.sleep(1.0 if looks == 2 else 0.0)
            return super().read(run)

    table = Slow(tmp_path)
    table.take(RUN, ELSEWHERE, None)
    lease = take(table, timeout_s=0.9)
    assert looks > 3
    lease.release()


def test_a_process_that_is_hidden_from_us_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`/proc` as the mount option `hidepid` shows it: nothing of other users' processes."""
    proc = tmp_path / "proc"
    (proc / "sys/kernel/random").mkdir(parents=True)
    (proc / "self/ns").mkdir(parents=True)
    (proc / "sys/kernel/random/boot_id").write_text("a boot\n", encoding="ascii")
    (proc / "self/ns/pid").symlink_to("pid:[1]")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = started_of(child.pid)
        monkeypatch.setattr(lease_holder, "_PROC", proc)
        hidden = dataclasses.replace(this_process(), process=child.pid, started=started)
        assert is_here(hidden)
        assert not is_gone(hidden)
        # it may as well be another process that got the number: it has to show that it lives
        assert not lives_here(hidden)
        child.kill()
    assert is_gone(hidden)


def test_what_has_changed_since_it_was_seen_cannot_be_taken(table: LeaseTable) -> None:
    assert table.take(RUN, ELSEWHERE, None) == 1
    assert table.take(RUN, this_process(), None) is None
    seen = table.read(RUN)
    assert table.renew(RUN, ELSEWHERE, 1)
    assert table.take(RUN, this_process(), seen) is None
    assert table.take(RUN, this_process(), table.read(RUN)) == 2


def test_of_many_at_once_one_gets_it(storage: str) -> None:
    """Eight threads, each with a connection of its own, for a new lease and for a stale one."""
    open_table(storage)
    for attempt in (1, 2, 3):
        seen = open_table(storage).read(RUN)
        start = threading.Barrier(8)
        got: list[int | None] = []

        def race(
            seen: LeaseRow | None = seen,
            start: threading.Barrier = start,
            got: list[int | None] = got,
        ) -> None:
            table = open_table(storage)
            start.wait()
            got.append(table.take(RUN, this_process(), seen))

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(n for n in got if n is not None) == [attempt]
        assert len(got) == 8


def test_a_driver_that_lost_its_lease_writes_nothing_more(table: LeaseTable) -> None:
    lease = take(table, timeout_s=0.0)  # in doubt before each write
    bare = OptunaStudyStore(InMemoryStorage())
    store = FencedStore(bare, lease)
    store.open_study(STUDY)
    seen = table.read(RUN)
    assert seen is not None
    while table.take(RUN, ELSEWHERE, seen) is None:
        seen = table.read(RUN)
    with pytest.raises(LeaseLostError, match="taken over by process 7 on far-away, since 20"):
        store.ask(NAME, trial_spec())
    with pytest.raises(LeaseLostError, match="taken over"):
        lease.check_unless_away()
    history = bare.history(NAME)
    assert history is not None
    assert history.trials == ()
    lease.release()
    row = table.read(RUN)
    assert row is not None
    assert row.holder == ELSEWHERE
    assert LeaseLostError("").exit_code == 2


def take_over(table: LeaseTable) -> None:
    """As another machine does that has waited for long enough."""
    while table.take(RUN, ELSEWHERE, table.read(RUN)) is None:
        pass


def test_an_answer_is_not_used_if_the_lease_was_lost_in_between(table: LeaseTable) -> None:
    class Paused(OptunaStudyStore):
        def ask(self, study_name: str, spec: TrialSpec) -> int:
            take_over(table)
            return super().ask(study_name, spec)

    lease = take(table, timeout_s=0.0)
    store = FencedStore(Paused(InMemoryStorage()), lease)
    store.open_study(STUDY)
    with pytest.raises(LeaseLostError, match="taken over by process 7 on far-away"):
        store.ask(NAME, trial_spec())
    lease.release()


def test_the_store_itself_refuses_a_trial_of_one_who_lost_the_lease(
    storage: str, table: LeaseTable
) -> None:
    """A driver paused between its last look at the lease and the write."""
    lease = take(table, renew_s=60.0)
    store = open_study_store(storage)
    store.guard_writes(lease.held)
    store.open_study(STUDY)
    assert store.ask(NAME, trial_spec()) == 0
    take_over(table)
    lease.check()  # no doubt yet
    with pytest.raises(LeaseLostError, match="taken over by process 7 on far-away, since 20"):
        store.ask(NAME, trial_spec(seed=2))
    history = open_study_store(storage).history(NAME)
    assert history is not None
    assert len(history.trials) == 1
    lease.release()


def test_a_lease_cannot_be_taken_while_its_holder_writes(storage: str, table: LeaseTable) -> None:
    lease = take(table, renew_s=60.0)
    store = open_study_store(storage)
    store.open_study(STUDY)
    order: list[str] = []

    def taker() -> None:
        take_over(open_table(storage))
        order.append("taken")

    thread = threading.Thread(target=taker)

    @contextmanager
    def guard(within: Any) -> Iterator[None]:
        with lease.held(within):
            thread.start()
            time.sleep(0.5)
            yield
            order.append("written")

    store.guard_writes(guard)
    assert store.ask(NAME, trial_spec()) == 0
    thread.join()
    assert order == ["written", "taken"]
    lease.release()


def test_a_damaged_lease_file_is_named(tmp_path: Path) -> None:
    table = FileLeases(tmp_path)
    take(table).release()
    (tmp_path / f"{RUN}.json").write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match=r"the lease .*demo\.json is damaged"):
        take(table)


PAUSED = """
import dataclasses, sys, time
from tests.contracts.study_store import NAME, STUDY, trial_spec
from tests.tuner.test_lease import open_table, take
from tuner.adapters.optuna_store import open_study_store
from tuner.errors import LeaseLostError
from tuner.fenced import FencedStore
from tuner.lease_holder import this_process
url = sys.argv[1]
elsewhere = dataclasses.replace(this_process(), place="another machine")
lease = take(open_table(url), elsewhere, timeout_s=2.0, renew_s=0.3)
store = FencedStore(open_study_store(url), lease)
store.open_study(STUDY)
print("ready", flush=True)
try:
    for seed in range(100_000):
        store.ask(NAME, trial_spec(seed=seed))
        time.sleep(0.05)
except LeaseLostError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.integration
def test_a_paused_driver_that_was_taken_over_stops_before_its_next_write(storage: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PAUSED, storage],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    ) as paused:
        assert paused.stdout is not None
        assert paused.stdout.readline() == "ready\n"
        time.sleep(0.5)
        lease = pause_and_take_over(paused.pid, storage)
        before = open_study_store(storage).history(NAME)
        os.kill(paused.pid, signal.SIGCONT)
        said = paused.stdout.read()
        assert paused.wait(timeout=60) == 2
    assert f"taken over by process {os.getpid()} on" in said
    assert before is not None
    assert len(before.trials) > 0
    assert open_study_store(storage).history(NAME) == before
    lease.check()
    lease.release()


def pause_and_take_over(process: int, storage: str) -> Lease:
    """Stop a process, though not where it holds a file's lock, which would stop us, too."""
    for _ in range(20):
        os.kill(process, signal.SIGSTOP)
        probe = threading.Thread(target=touch, args=(storage,), daemon=True)
        probe.start()
        probe.join(timeout=5.0)
        if not probe.is_alive():
            break
        os.kill(process, signal.SIGCONT)
        probe.join()
    return take(open_table(storage), timeout_s=2.0)


def touch(storage: str) -> None:
    """Write where the driver writes."""
    open_study_store(storage).annotate(NAME, "probe", 1)
    open_table(storage).read(RUN)


def stop_beating(lease: Lease) -> None:
    """As a kill would: it is not renewed any more, and not given back."""
    lease._ended.set()
    lease._thread.join()


def wait_for_beats(table: LeaseTable, beats: int) -> None:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        row = table.read(RUN)
        if row is not None and row.beats >= beats:
            return
        time.sleep(0.02)
    raise AssertionError("the lease was not renewed")
