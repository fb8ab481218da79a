from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.adapters.ray_toys import ToyTrainable
from tuner.adapters.ray_placement import Placement, Slot
from tuner.adapters.ray_runner import RayTuneRunner
from tuner.adapters.ray_session import RaySession, changed_environment
from tuner.adapters.ray_signals import SignalGuard
from tuner.errors import ConfigurationError, RunnerError


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray neither running in this process nor announced by a variable."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://host:10001", "Ray Client, which cannot host a search"),
        ("host", "none of auto, local and HOST:PORT"),
        ("host:port", "none of auto, local and HOST:PORT"),
    ],
)
def test_addresses_that_cannot_work_are_refused(address: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RaySession(address).open()


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("by_variable", [True, False])
def test_a_cluster_that_does_not_answer_is_named_at_once(
    by_variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        if by_variable:
            monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(RunnerError, match=f"nothing answers at {address}"):
            RaySession("auto" if by_variable else address).open()


def test_the_environment_is_changed_for_a_block_only() -> None:
    os.environ["MLFLOW_TEST_SECRET"] = "kept"
    try:
        with changed_environment({"RAY_TEST_SETTING": "1"}, withheld=("MLFLOW_",)):
            assert os.environ["RAY_TEST_SETTING"] == "1"
            assert "MLFLOW_TEST_SECRET" not in os.environ
        assert os.environ["MLFLOW_TEST_SECRET"] == "kept"
        assert "RAY_TEST_SETTING" not in os.environ
    finally:
        del os.environ["MLFLOW_TEST_SECRET"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_concurrent": 0}, "max_concurrent is 0; give 1 or more"),
        ({"placement": Placement(Slot(0.0))}, "a trial holds 0 CPUs; give more than 0"),
        ({"placement": Placement(Slot(1.0, 1.5))}, "a trial holds 1.5 GPUs; give 0, a part of 1"),
        ({"max_failures": -1}, "max_failures is -1; give 0 or more"),
        ({"max_failures": -2, "device": "tpu"}, "(?s)max_failures is -2.*device is 'tpu'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_together(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RayTuneRunner(
            trainable=ToyTrainable,
            dataset=None,
            checkpoint_root=tmp_path,
            scratch=tmp_path,
            **options,
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_recorded_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with SignalGuard() as guard:
        assert not guard.received
        signal.raise_signal(number)
        assert guard.signal_number == number
        assert guard.signal_name == number.name
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("number", "given_s", "grace_s"),
    [
        *((signal.SIGINT, None, 10.0), (signal.SIGTERM, None, 1.0)),
        *((signal.SIGINT, 120.0, 120.0), (signal.SIGTERM, 120.0, 120.0)),
        *((signal.SIGINT, 0.0, 0.0), (signal.SIGTERM, 0.0, 0.0)),
    ],
)
def test_running_epochs_get_the_grace_that_was_asked_for(
    number: signal.Signals, given_s: float | None, grace_s: float
) -> None:
    with SignalGuard(grace_s=given_s) as guard:
        signal.raise_signal(number)
        assert guard.grace_s == grace_s


def test_a_second_signal_reaches_the_earlier_handler_however_long_the_grace() -> None:
    with (  # noqa: PT012 - the block is the point
        pytest.raises(KeyboardInterrupt),
        SignalGuard(grace_s=600.0),
    ):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_guard_keeps_out_of_other_threads() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with SignalGuard() as guard:
            seen.append((guard.received, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
