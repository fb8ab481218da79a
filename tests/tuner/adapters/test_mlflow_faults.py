"""An answer is lost, or the process dies, at each single request: nothing lost or doubled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.mlflow_view import EXPERIMENT, read_view
from tests.contracts.tracker import CLOSE_S, STAGE, every_epoch_once, whole_run
from tuner.adapters import mlflow_projection
from tuner.adapters.mlflow_session import connect
from tuner.adapters.mlflow_tracker import MlflowTracker
from tuner.adapters.outbox_delivery import Delivery

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.fault]

REQUESTS = 14
"""Requests that write, of a whole run of two trials delivered in one batch."""


class LossyClient:
    """A real client of which one request fails, before or after the server carried it out."""

    def __init__(self, client: Any, *, fails_at: int, after: bool) -> None:
        self._client = client
        self._fails_at = fails_at
        self._after = after
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._client, name)
        if name.startswith(("get_", "search_")):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self.writes += 1
            fails = self.writes == self._fails_at
            if fails and not self._after:
                raise ConnectionError("request lost")
            answer = method(*args, **kwargs)
            if fails:
                raise ConnectionError("answer lost")
            return answer

        return call


@pytest.mark.parametrize("after", [False, True], ids=["request", "answer"])
@pytest.mark.parametrize("fails_at", range(1, REQUESTS + 1))
def test_one_loss_anywhere(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, after: bool
) -> None:
    lossy = LossyClient(connect(uri), fails_at=fails_at, after=after)
    run_once(uri, tmp_path, monkeypatch, lossy)
    assert lossy.writes > fails_at or not after
    shown = read_view(uri)
    assert set(shown) == {"", f"{STAGE}/0", f"{STAGE}/1", f"{STAGE}/"}
    assert {run.status for run in shown.values()} == {"FINISHED"}
    assert every_epoch_once(shown, f"{STAGE}/0", 3)
    assert every_epoch_once(shown, f"{STAGE}/1", 3)


def test_every_request_is_covered(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = LossyClient(connect(uri), fails_at=0, after=False)
    run_once(uri, tmp_path, monkeypatch, undisturbed)
    assert undisturbed.writes == REQUESTS


def run_once(uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch, client: LossyClient) -> None:
    """Everything is queued before the first delivery, so that the requests are always the same."""
    monkeypatch.setattr(mlflow_projection, "connect", lambda _uri: client)
    # how long it waits after a loss is of no matter here
    monkeypatch.setattr(Delivery, "_pause", lambda *_: None)
    tracker = MlflowTracker(
        tracking_uri=uri,
        experiment=EXPERIMENT,
        outbox_path=folder / "outbox.db",
        artifact_root=None,
        run_folder=folder,
        linger_s=30.0,
    )
    whole_run(tracker)
    assert tracker.close(timeout_s=CLOSE_S) == 0
