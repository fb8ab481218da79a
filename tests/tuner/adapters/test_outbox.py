"""The durable queue, and the thread that empties it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tuner.adapters.outbox import Outbox
from tuner.adapters.outbox_delivery import Delivery, EventHandler, RejectedEventError


def wait_for(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "deep" / "outbox.db")
    yield box
    box.close()


class Destination:
    """Takes events while it is up; refuses those that say so."""

    def __init__(self) -> None:
        self.up = True
        self.attempts = 0
        self.got: list[int] = []

    def apply(self, events: Sequence[dict[str, Any]]) -> None:
        self.attempts += 1
        if not self.up:
            raise ConnectionError("http://ann:hunter2@host refused")
        if any(event.get("bad") for event in events):
            raise RejectedEventError("bad event")
        self.got.extend(event["n"] for event in events)


def deliver(outbox: Outbox, handler: EventHandler, **options: Any) -> Delivery:
    delivery = Delivery(outbox, lambda: handler, destination="somewhere", linger_s=0.0, **options)
    delivery.start()
    delivery.notify()
    return delivery


class TestOutbox:
    def test_events_come_back_in_order_and_stay_until_acknowledged(self, outbox: Outbox) -> None:
        for n in range(5):
            outbox.append({"n": n})
        first = outbox.peek(3)
        assert [event.body["n"] for event in first] == [0, 1, 2]
        assert outbox.peek(3) == first
        outbox.acknowledge(first[-1].position)
        assert [event.body["n"] for event in outbox.peek(9)] == [3, 4]
        assert outbox.pending() == 2

    def test_everything_is_there_after_reopening(self, outbox: Outbox) -> None:
        outbox.append({"n": 1}, {"epoch:a": "1", "open:a": "1"})
        outbox.append({"n": 2}, {"epoch:a": "2"})
        outbox.remember_run_id("a", "id-a")
        outbox.remember_run_id("b", "id-b")
        outbox.forget_run_id("b")
        again = Outbox(outbox.path)
        assert [event.body["n"] for event in again.peek(9)] == [1, 2]
        assert again.facts() == {"epoch:a": "2", "open:a": "1"}
        assert again.run_ids() == {"a": "id-a"}
        again.close()

    def test_a_position_is_never_used_twice(self, outbox: Outbox) -> None:
        outbox.append({"n": 1})
        (event,) = outbox.peek(1)
        outbox.acknowledge(event.position)
        outbox.append({"n": 2})
        assert outbox.peek(1)[0].position > event.position

    def test_a_rejected_event_is_kept_aside(self, outbox: Outbox) -> None:
        outbox.append({"n": 1})
        outbox.reject(outbox.peek(1)[0].position, "no such thing")
        assert outbox.pending() == 0
        assert outbox.rejected() == [({"n": 1}, "no such thing")]

    def test_a_damaged_file_is_moved_aside(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "outbox.db"
        path.write_bytes(b"this is no database" * 500)
        box = Outbox(path)
        box.append({"n": 1})
        assert box.pending() == 1
        assert (tmp_path / "outbox.db.damaged-1").read_bytes().startswith(b"this is no")
        assert "is damaged" in caplog.text
        box.close()

    def test_a_busy_disk_never_loses_an_event(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The file is held by another connection for longer than the time limit."""
        box = Outbox(tmp_path / "outbox.db", busy_timeout_s=0.05)
        other = Outbox(tmp_path / "outbox.db")
        with other._transaction():
            box.append({"n": 1}, {"fact": "1"})
            box.append({"n": 2})
        assert caplog.text.count("cannot write the tracking queue") == 1
        assert box.pending() == 2
        box.append({"n": 3})
        assert [event.body["n"] for event in other.peek(9)] == [1, 2, 3]
        assert other.facts() == {"fact": "1"}
        box.close()
        other.close()

    @pytest.mark.fault
    def test_sigkill_while_appending_tears_nothing(self, tmp_path: Path) -> None:
        """Whatever moment it hits: the facts agree with the events, and none is cut short."""
        program = (
            "import sys, itertools\n"
            "from pathlib import Path\n"
            "from tuner.adapters.outbox import Outbox\n"
            "box = Outbox(Path(sys.argv[1]))\n"
            "start = int(box.facts().get('last', '0'))\n"
            "print('ready', flush=True)\n"
            "for n in itertools.count(start + 1):\n"
            "    box.append({'n': n, 'pad': 'x' * 500}, {'last': str(n)})\n"
        )
        path = tmp_path / "outbox.db"
        for delay_s in (0.02, 0.05, 0.11):
            process = subprocess.Popen(
                [sys.executable, "-c", program, str(path)],
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(delay_s)
            process.kill()
            process.wait()
            process.stdout.close()
        box = Outbox(path)
        numbers = [event.body["n"] for event in box.peek(1_000_000)]
        assert numbers == list(range(1, int(box.facts()["last"]) + 1))
        assert len(numbers) > 3
        box.close()


class TestDelivery:
    def test_what_is_queued_arrives_in_order(self, outbox: Outbox) -> None:
        destination = Destination()
        outbox.append({"n": 0})
        delivery = deliver(outbox, destination, batch_size=3)
        for n in range(1, 20):
            outbox.append({"n": n})
            delivery.notify()
        assert delivery.close(timeout_s=10.0)
        assert destination.got == list(range(20))
        assert outbox.pending() == 0

    def test_an_outage_is_told_once_and_overcome(
        self, outbox: Outbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        destination = Destination()
        destination.up = False
        delivery = deliver(outbox, destination, longest_wait_s=0.02)
        for n in range(50):
            outbox.append({"n": n})
            delivery.notify()
        wait_for(lambda: destination.attempts >= 3)
        assert outbox.pending() == 50
        assert caplog.text.count("cannot deliver to somewhere") == 1
        assert "hunter2" not in caplog.text
        destination.up = True
        wait_for(lambda: outbox.pending() == 0)
        assert delivery.close(timeout_s=5.0)
        assert destination.got == list(range(50))
        assert caplog.text.count("is back after") == 1

    def test_closing_during_an_outage_keeps_the_events(self, outbox: Outbox) -> None:
        destination = Destination()
        destination.up = False
        outbox.append({"n": 0})
        delivery = deliver(outbox, destination)
        assert delivery.close(timeout_s=0.3)
        assert outbox.pending() == 1
        destination.up = True
        assert deliver(outbox, destination).close(timeout_s=10.0)
        assert destination.got == [0]

    def test_closing_waits_no_longer_than_asked_for_a_hanging_destination(
        self, outbox: Outbox
    ) -> None:
        release, entered = threading.Event(), threading.Event()

        class Hanging:
            def apply(self, events: Sequence[dict[str, Any]]) -> None:
                entered.set()
                release.wait(60.0)

        outbox.append({"n": 0})
        delivery = deliver(outbox, Hanging())
        assert entered.wait(10.0)
        assert not delivery.close(timeout_s=0.05)
        assert outbox.pending() == 1
        release.set()
        assert delivery.close(timeout_s=10.0)

    def test_an_event_that_is_refused_does_not_hold_up_the_others(
        self, outbox: Outbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        destination = Destination()
        for n in range(7):
            outbox.append({"n": n, "bad": n in (2, 5)})
        assert deliver(outbox, destination).close(timeout_s=10.0)
        assert destination.got == [0, 1, 3, 4, 6]
        assert [event["n"] for event, _ in outbox.rejected()] == [2, 5]
        assert caplog.text.count("refused a tracking event for good") == 2

    def test_a_handler_that_cannot_be_built_is_an_outage(self, outbox: Outbox) -> None:
        destination = Destination()
        built: list[int] = []

        def build() -> Destination:
            built.append(1)
            if len(built) < 3:
                raise ImportError("half-loaded module")
            return destination

        outbox.append({"n": 0})
        delivery = Delivery(
            outbox, build, destination="somewhere", linger_s=0.0, longest_wait_s=0.01
        )
        delivery.start()
        delivery.notify()
        wait_for(lambda: outbox.pending() == 0)
        assert delivery.close(timeout_s=10.0)
        assert (len(built), destination.got) == (3, [0])

    def test_two_processes_never_deliver_at_once(
        self, outbox: Outbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Two deliveries have two lock handles, as two processes do."""
        release, entered = threading.Event(), threading.Event()
        destination = Destination()

        class Slow:
            def apply(self, events: Sequence[dict[str, Any]]) -> None:
                entered.set()
                release.wait(60.0)

        outbox.append({"n": 0})
        first = deliver(outbox, Slow())
        assert entered.wait(10.0)
        second = deliver(outbox, destination, longest_wait_s=0.02)
        wait_for(lambda: "another process delivers" in caplog.text)
        assert destination.attempts == 0
        release.set()
        assert first.close(timeout_s=10.0)
        outbox.append({"n": 1})
        second.notify()
        assert second.close(timeout_s=10.0)
        assert destination.got == [1]
