"""One training with checkpoints by fingerprint: it goes on wherever an earlier life ended."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from trainables.checkpoint import Checkpoint, CheckpointStore
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import NonFiniteError, TrainableError
from trainables.seal.pretraining import pretrained_state
from trainables.seal.trainer import SealTrainer
from trainables.seeding import seed_everything
from trainables.skeletons.description import skeleton_reference

__all__ = ["OBJECTIVE", "TrialRun", "choose_device"]

OBJECTIVE = "val_mpjpe_mm"
"""Validation MPJPE in millimetres; the epoch where it is lowest is the best epoch."""


@dataclass
class _Record:
    """What is known of the epochs so far; kept as meta of the last checkpoint."""

    epoch: int = 0
    best_epoch: int | None = None
    seconds: float = 0.0
    history: dict[int, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def from_meta(cls, meta: dict[str, Any]) -> _Record:
        return cls(
            epoch=int(meta["epoch"]),
            best_epoch=meta["best_epoch"],
            seconds=float(meta["seconds"]),
            history={int(epoch): figures for epoch, figures in meta["history"].items()},
        )

    def to_meta(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "best_metrics": self.best_metrics,
            "seconds": self.seconds,
            "history": {str(epoch): figures for epoch, figures in self.history.items()},
        }

    @property
    def best_metrics(self) -> dict[str, float]:
        return {} if self.best_epoch is None else self.history[self.best_epoch]

    @property
    def best_value(self) -> float | None:
        return self.best_metrics.get(OBJECTIVE)

    def add(self, figures: dict[str, float]) -> bool:
        """Take in the next epoch; return whether it is the best so far (the first of equals)."""
        self.epoch += 1
        self.history[self.epoch] = figures
        best = self.best_value
        improved = best is None or figures[OBJECTIVE] < best
        if improved:
            self.best_epoch = self.epoch
        return improved


class TrialRun:
    """Trains a configuration epoch by epoch, and writes a checkpoint after each.

    A checkpoint of the same fingerprint is continued. The first step then reports where that
    stands, with all epochs so far, and trains nothing: the driver may have missed them, and may
    decide that it is enough. A finished training is reported without building a net.

    Args:
        config: What to train.
        dataset: The data.
        store: Where checkpoints lie.
        fingerprint: Identity of the configuration.
        device: Where to train.
        pretrainings: Where pre-trainings lie; None for beside the checkpoints.
        devices: Accelerators (or CPUs) held, for the device time.
    """

    def __init__(
        self,
        config: TrainingConfig,
        dataset: PoseDataset,
        *,
        store: CheckpointStore,
        fingerprint: str,
        device: torch.device,
        pretrainings: CheckpointStore | None = None,
        devices: float = 1.0,
    ) -> None:
        self._config = config
        self._dataset = dataset
        self._store = store
        self._pretrainings = pretrainings or store
        self._fingerprint = fingerprint
        self._device = device
        self._devices = devices
        self._trainer: SealTrainer | None = None
        found = store.find(fingerprint, "last")
        self._notes = found.notes
        self._found: Checkpoint | None = found.checkpoint
        self._record = _Record() if self._found is None else _Record.from_meta(self._found.meta)
        self._told = self._found is None
        if 0 < self._record.epoch < config.epochs:
            self._settle_best()

    def step(self) -> dict[str, Any]:
        """Train one epoch, or report the one that an earlier life reached.

        Returns:
            `epoch`, `metrics` (of that epoch), `history` (all epochs of an earlier life, once),
            `finished`, `state` (`ok`, `invalid_metric`), `reason`, `best_epoch`, `best_value`
            (millimetres), `best_metrics`, `checkpoint` (of the best epoch), `seconds` and
            `device_seconds` (of all lives), `node`, `notes` (what the user has to know of the
            checkpoints that were found; with the first report alone).

        Raises:
            TrainableError: If data, configuration or checkpoint cannot be used.
        """
        if not self._told:
            self._told = True
            return self._report(with_history=True)
        try:
            self._train_epoch()
        except NonFiniteError as error:
            return {**self._report(), "finished": True, "state": "invalid_metric"} | {
                "reason": str(error)
            }
        return self._report()

    def _settle_best(self) -> None:
        """Put back the nets of the recorded best epoch.

        A life that ended between the two files of an epoch, or whose last one was damaged, has
        left the nets of an epoch that is repeated now, and may turn out worse on a GPU.
        """
        best = self._record.best_epoch, self._record.best_value
        if not self._store.settle(
            self._fingerprint, "best", lambda meta: (meta["epoch"], meta["best_value"]) == best
        ):
            place = self._store.location(self._fingerprint, "best")
            self._notes += (
                f"{place} does not hold the nets of the best epoch, {best[0]}; unless a later "
                "epoch is better, the training is repeated when they are needed",
            )

    def _train_epoch(self) -> None:
        started = time.perf_counter()
        trainer = self._trainer or self._build_trainer()
        figures = trainer.run_epoch()
        improved = self._record.add(figures)
        state = trainer.state_dict()
        if improved:
            # before `last`, which names the best epoch: whatever it names must exist
            nets = {name: part for name, part in state.items() if "optimizer" not in name}
            self._store.save(self._fingerprint, "best", nets, self._meta())
        self._record.seconds += time.perf_counter() - started
        finished = self._record.epoch >= self._config.epochs
        # A finished training is only ever reported again: its record is kept, and its best nets.
        self._store.save(self._fingerprint, "last", {} if finished else state, self._meta())
        if finished:
            self._store.drop_previous(self._fingerprint)

    def _build_trainer(self) -> SealTrainer:
        # nothing draws from the global streams; should something, then the same in each life
        seed_everything(self._config.seed)
        pretrained = None
        if self._found is None and self._config.pretraining.epochs > 0:
            # a search has seen to it before its first trial; else it is trained, and kept, now
            pretrained = pretrained_state(
                self._config, self._dataset, store=self._pretrainings, device=self._device
            )
        trainer = SealTrainer(
            self._config, self._dataset, device=self._device, pretrained=pretrained
        )
        if self._found is not None:
            trainer.load_state_dict(self._found.state)
            self._found = None
        self._trainer = trainer
        return trainer

    def _meta(self) -> dict[str, Any]:
        return {
            **self._record.to_meta(),
            "config": self._config.model_dump(mode="json"),
            "skeleton": skeleton_reference(self._dataset.skeleton),
        }

    def _report(self, *, with_history: bool = False) -> dict[str, Any]:
        record = self._record
        epoch = record.best_epoch
        best = None if epoch is None else self._store.location(self._fingerprint, "best")
        notes, self._notes = list(self._notes), ()
        history = record.history if with_history else {}
        return {
            "epoch": record.epoch,
            "metrics": record.history.get(record.epoch, {}),
            "history": [{"epoch": e, "metrics": m} for e, m in sorted(history.items())],
            "finished": record.epoch >= self._config.epochs,
            "state": "ok",
            "reason": "",
            "best_epoch": record.best_epoch,
            "best_value": record.best_value,
            "best_metrics": record.best_metrics,
            "checkpoint": best,
            "seconds": record.seconds,
            "device_seconds": record.seconds * self._devices,
            "node": platform.node(),
            "notes": notes,
        }


def choose_device(name: str, *, has_gpu: bool) -> torch.device:
    """Turn `auto`, `cpu` or `cuda` into a device.

    Args:
        name: What the user asked for.
        has_gpu: Whether a GPU was given to this process; another's must not be touched.

    Raises:
        TrainableError: If `cuda` is asked for and there is none to use.
    """
    usable = has_gpu and torch.cuda.is_available()
    if name == "cuda" and not usable:
        raise TrainableError(
            "device 'cuda' was asked for, but no GPU was given to this trial "
            f"(assigned: {has_gpu}, CUDA available: {torch.cuda.is_available()}); "
            "set --gpus-per-trial, or use device 'auto'"
        )
    return torch.device("cuda" if usable and name != "cpu" else "cpu")
