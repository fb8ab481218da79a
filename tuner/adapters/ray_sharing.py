"""The board on which the runs of one cluster write what they could use."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import Any

import ray

from tuner.adapters.ray_shares import Claim, ClaimBook, fair_shares

__all__ = ["ClusterShare", "ShareBoard"]

logger = logging.getLogger(__name__)

NAME = "share-board"
NAMESPACE = "seal-pose-tuner"
REPLY_S = 5.0
LEAVE_S = 2.0
_LOOK_S = 1.0


class ShareBoard:
    """An actor without CPUs that knows which runs there are.

    It ends with the last run; were that killed, when it has been silent for long enough.
    """

    def __init__(self) -> None:
        self._book = ClaimBook(time.monotonic())
        myself = ray.get_runtime_context().current_actor
        threading.Thread(target=self._close_deserted, args=(myself,), daemon=True).start()

    def claim(self, run: str, claim: Claim) -> list[Claim]:
        """See `ClaimBook`."""
        return self._book.claim(run, claim, time.monotonic())

    def leave(self, life: str) -> None:
        """Take a run off; the last one closes the board."""
        if not self._book.leave(life, time.monotonic()):
            ray.actor.exit_actor()

    def _close_deserted(self, myself: Any) -> None:
        while not self._book.is_deserted(time.monotonic()):
            time.sleep(_LOOK_S)
        ray.kill(myself)


class ClusterShare:
    """One run's place on the board.

    Sharing is a courtesy: where the board fails, a run goes on as if it were alone.

    Args:
        run: Name of the run, the same for each driver of it.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._life = uuid.uuid4().hex
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
            answer = self._board.claim.remote(self._run, Claim(self._life, wanted, fitting))
            claims = ray.get(answer, timeout=REPLY_S)
            self.others = len(claims) - 1
            return fair_shares(claims)[self._life]
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
                # a call that was only sent may get lost as the driver ends
                ray.get(board.leave.remote(self._life), timeout=LEAVE_S)
            except ray.exceptions.RayActorError:
                return  # it closed
            except Exception as error:  # noqa: BLE001 - it will be found dead
                logger.debug("could not leave the board of runs: %s", error)


def _open_board() -> Any:
    options = {"name": NAME, "namespace": NAMESPACE, "lifetime": "detached", "num_cpus": 0}
    return ray.remote(ShareBoard).options(**options, get_if_exists=True).remote()
