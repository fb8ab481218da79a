"""The board on which the runs of one cluster write what they could use."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

import ray

from tuner.adapters.ray_shares import Claim, fair_shares

__all__ = ["ClusterShare", "ShareBoard"]

logger = logging.getLogger(__name__)

NAME = "share-board"
NAMESPACE = "seal-pose-tuner"
STALE_S = 15.0
"""After so long without a word a run counts as dead."""

REPLY_S = 5.0


class ShareBoard:
    """An actor without CPUs that knows which runs there are."""

    def __init__(self) -> None:
        self._claims: dict[str, tuple[float, int, int]] = {}

    def claim(self, run: str, wanted: int, fitting: int) -> dict[str, tuple[int, int]]:
        """Write down what a run could use; return what all could that gave a word lately."""
        now = time.monotonic()
        self._claims[run] = (now, wanted, fitting)
        self._claims = {n: c for n, c in self._claims.items() if now - c[0] < STALE_S}
        return {name: (wants, fits) for name, (_, wants, fits) in self._claims.items()}

    def leave(self, run: str) -> None:
        """Take a run off; the last one closes the board."""
        self._claims.pop(run, None)
        if not self._claims:
            ray.actor.exit_actor()


class ClusterShare:
    """One run's place on the board.

    Sharing is a courtesy: where the board fails, a run goes on as if it were alone.
    """

    def __init__(self) -> None:
        self._run = uuid.uuid4().hex
        self._board: Any = None
        self.others = 0

    def ask(self, wanted: int, fitting: int) -> int | None:
        """Claim so many trials; return this run's share, None if nobody says.

        It waits for the board, seconds if it has to be started: not to be called where trials
        are waited for.
        """
        try:
            if self._board is None:
                self._board = _open_board()
            answer = self._board.claim.remote(self._run, wanted, fitting)
            claims = ray.get(answer, timeout=REPLY_S)
            self.others = len(claims) - 1
            return fair_shares(Claim(run, *figures) for run, figures in claims.items())[self._run]
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
            logger.debug("no word about other runs of this cluster: %s", error)
            self._board = None
            self.others = 0
            return None

    def leave(self) -> None:
        """Let the others have what this run had."""
        board, self._board = self._board, None
        if board is not None:
            try:
                board.leave.remote(self._run)
            except Exception as error:  # noqa: BLE001 - it will be found dead
                logger.debug("could not leave the board of runs: %s", error)


def _open_board() -> Any:
    options = {"name": NAME, "namespace": NAMESPACE, "lifetime": "detached", "num_cpus": 0}
    return ray.remote(ShareBoard).options(**options, get_if_exists=True).remote()
