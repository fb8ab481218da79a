"""One life of P-STMO's masked pre-training, epoch by epoch, with checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from trainables.backbones.pstmo_masked import MaskedPSTMO, masked_pose_loss
from trainables.checkpoint import CheckpointStore
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import CheckpointError
from trainables.seal.batches import Batch, TrainingBatches, run_steps
from trainables.seal.masked_net import build_masked_net, pretraining_fingerprint
from trainables.seal.monitor import StepMonitor
from trainables.seeding import make_deterministic

__all__ = ["LOSS", "Pretrained", "PretrainingRun", "history_of"]

LOSS = "pretrain_loss"
"""Mean distance of restored joints from the true ones, normalised screen coordinates."""


@dataclass(frozen=True)
class Pretrained:
    """A pre-training as far as it went.

    Attributes:
        fingerprint: Identity of what it depends on.
        epochs: Epochs completed.
        finished: Whether those are all.
        state: The net's state, on the CPU; for `PSTMO.load_pretrained`.
        history: Figures of each epoch, from 1.
        seconds: Wall time of its epochs, over all lives.
    """

    fingerprint: str
    epochs: int
    finished: bool
    state: Mapping[str, Tensor]
    history: Mapping[int, Mapping[str, float]]
    seconds: float

    def summary(self) -> dict[str, Any]:
        """What is worth keeping of it, as JSON; losses in normalised screen coordinates."""
        losses = [figures[LOSS] for _, figures in sorted(self.history.items())]
        return {
            "fingerprint": self.fingerprint,
            "epochs": self.epochs,
            "first_loss": losses[0] if losses else None,
            "last_loss": losses[-1] if losses else None,
            "seconds": self.seconds,
        }


class PretrainingRun:
    """Trains epoch after epoch from where an earlier life ended, and saves each.

    The masked joints and frames, dropout and the order of the data are drawn from streams of
    `pretraining.seed` that no training draws from; the optimizer is the authors', Adam with
    AMSGrad and without weight decay, whatever the training's is.

    Args:
        config: What is trained afterwards.
        dataset: The data.
        store: Where epochs are saved; None saves none.
        device: Where to train.
        dtype: Floating-point type.

    Raises:
        CheckpointError: If what is saved is of another net.
        TrainableError: If options do not fit.
    """

    def __init__(
        self,
        config: TrainingConfig,
        dataset: PoseDataset,
        *,
        store: CheckpointStore | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        make_deterministic()
        self._config = config
        self._dataset = dataset
        self._fingerprint = pretraining_fingerprint(config)
        self._store = store
        self._device = device
        self._dtype = dtype
        self.epoch = 0
        self._seconds = 0.0
        self._history: dict[int, dict[str, float]] = {}
        self._net: MaskedPSTMO = build_masked_net(config, dataset.skeleton).to(device, dtype)
        # fused: one pass over the parameters
        self._optimizer = Adam(self._net.parameters(), amsgrad=True, fused=True)
        self._batches: TrainingBatches | None = None
        self._restore()

    def _restore(self) -> None:
        found = None if self._store is None else self._store.load(self._fingerprint, "last")
        if found is None:
            return
        try:
            self._net.load_state_dict(found.state["net"])
            if "optimizer" in found.state:  # left out once there is nothing left to train
                self._optimizer.load_state_dict(found.state["optimizer"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{found.location} does not fit this pre-training: {error}; remove it"
            ) from error
        self.epoch = int(found.meta["epoch"])
        self._seconds = float(found.meta["seconds"])
        self._history = history_of(found.meta)

    def train_epoch(self) -> dict[str, float]:
        """Train and save one epoch; return its figures.

        Raises:
            NonFiniteError: If the loss is NaN or infinite.
            DataError: If there are no two clips to train on.
            CheckpointError: If it cannot be saved.
        """
        started = time.perf_counter()
        epoch, part = self.epoch + 1, self._config.pretraining
        rate = part.lr * self._config.lr_decay ** (epoch - 1)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._net.train()
        monitor = StepMonitor(epoch=epoch, first_step=0, device=self._device)
        run_steps(
            self._data().epoch("pretraining_data_order", epoch),
            self._step,
            monitor,
            seed=part.seed,
            names=("pretraining", epoch),
            device=self._device,
        )
        figures = {**monitor.compute(), "lr": rate, "epoch_s": time.perf_counter() - started}
        self.epoch = epoch
        self._history[epoch] = figures
        self._seconds += figures["epoch_s"]
        self._save()
        return figures

    def _data(self) -> TrainingBatches:
        if self._batches is None:
            # the streams of the pre-training's own seed, and no cameras
            own = self._config.without_loss_net().model_copy(
                update={"seed": self._config.pretraining.seed}
            )
            self._batches = TrainingBatches(
                own,
                self._dataset,
                window=self._net.window,
                device=self._device,
                dtype=self._dtype,
            )
        return self._batches

    def _step(self, batch: Batch, stream: torch.Generator) -> dict[str, Tensor]:
        masks = self._net.draw_masks(len(batch.x), device=self._device, generator=stream)
        loss = masked_pose_loss(self._net(batch.x, masks), batch.x)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return {LOSS: loss.detach()}

    def _save(self) -> None:
        if self._store is None:
            return
        finished = self.epoch >= self._config.pretraining.epochs
        parts: dict[str, nn.Module | torch.optim.Optimizer] = {"net": self._net}
        if not finished:
            parts["optimizer"] = self._optimizer
        state = {name: part.state_dict() for name, part in parts.items()}
        meta = {
            "kind": "pretraining",
            "epoch": self.epoch,
            "seconds": self._seconds,
            "history": {str(epoch): figures for epoch, figures in self._history.items()},
        }
        self._store.save(self._fingerprint, "last", state, meta)
        if finished:
            self._store.drop_previous(self._fingerprint)

    def result(self) -> Pretrained:
        """What has been reached."""
        state = {name: value.detach().cpu() for name, value in self._net.state_dict().items()}
        return Pretrained(
            fingerprint=self._fingerprint,
            epochs=self.epoch,
            finished=self.epoch >= self._config.pretraining.epochs,
            state=state,
            history=self._history,
            seconds=self._seconds,
        )


def history_of(meta: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """Figures of each epoch, from a checkpoint's meta."""
    return {int(epoch): figures for epoch, figures in meta["history"].items()}
