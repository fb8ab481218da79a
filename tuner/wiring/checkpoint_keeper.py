"""What of a run's checkpoints stays, once trials have ended and stages are closed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from trainables.checkpoint import CheckpointStore
from trainables.errors import CheckpointError
from tuner.errors import StoreError
from tuner.greedy_config import GreedyConfig
from tuner.ports import StudyStore
from tuner.records import OutcomeKind, TrialOutcome, TrialRecord, TrialSpec, TrialState
from tuner.settings import Locations
from tuner.wiring.checkpoints import checkpoint_root

__all__ = ["RunCheckpoints", "keeper_of"]

logger = logging.getLogger(__name__)

NO_WAY_ON = (OutcomeKind.STOPPED_EARLY, OutcomeKind.INVALID_METRIC)
"""Ends after which a training never goes on. A repeat that confirms a choice and failed may: its
seed is given, so that it goes on from its last checkpoint when its stage is tried once more. The
other stages are tried once more with other seeds, by which what was no number once need not be so
again; what their failed trials left goes when the stage is closed."""


def keeper_of(config: GreedyConfig, locations: Locations, store: StudyStore) -> RunCheckpoints:
    """What keeps the checkpoints of a run."""
    root = checkpoint_root(config, locations, config.run_name)
    return RunCheckpoints(root, keep=config.keep_checkpoints, store=store, run=config.run_name)


class RunCheckpoints:
    """A `tuner.ports.CheckpointKeeper` of one run.

    It touches nothing but the run's own root: a trial that was taken over from another run refers
    to that run's checkpoint. What cannot be removed is logged, and costs space alone.

    Args:
        root: Where the run's checkpoints lie.
        keep: Whose best weights stay: of `all` finished trials, or of the stages' `winners`.
        store: The study store.
        run: Name of the run.
    """

    def __init__(
        self, root: Path | str, *, keep: Literal["all", "winners"], store: StudyStore, run: str
    ) -> None:
        self._checkpoints = CheckpointStore(root)
        self._keep = keep
        self._store = store
        self._run = run

    def trial_ended(self, spec: TrialSpec, outcome: TrialOutcome) -> None:
        """See `CheckpointKeeper`."""
        if outcome.kind in NO_WAY_ON:
            self._remove(self._checkpoints.drop_state, spec.fingerprint)

    def stage_closed(self, trials: Sequence[TrialRecord], winner: int | None) -> None:
        """See `CheckpointKeeper`."""
        own = [trial for trial in trials if trial.imported_from is None]
        finished = {t.spec.fingerprint for t in own if t.state is TrialState.FINISHED}
        ended = {t.spec.fingerprint for t in own if t.state.ended}
        for fingerprint in sorted(ended - finished):
            self._remove(self._checkpoints.drop_state, fingerprint)
        if self._keep == "all":
            return
        won = set() if winner is None else {trials[winner].spec.fingerprint}
        try:
            won |= set(self._winners())
        except StoreError as error:
            logger.warning("no checkpoint is removed, the stages' winners are unknown: %s", error)
            return
        for fingerprint in sorted(ended - won):
            self._remove(self._checkpoints.forget, fingerprint)

    def _winners(self) -> Iterator[str]:
        """Fingerprints of the trials that won a stage of the run."""
        for name in self._store.studies():
            study = self._store.history(name) if name.startswith(f"{self._run}/") else None
            if study is not None and study.result is not None:
                yield study.trials[study.result.winner].spec.fingerprint

    def _remove(self, remove: Callable[[str], None], fingerprint: str) -> None:
        try:
            remove(fingerprint)
        except CheckpointError as error:
            logger.warning("a checkpoint that is needed no more stays: %s", error)
