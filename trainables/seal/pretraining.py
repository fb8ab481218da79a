"""Masked pre-training of P-STMO (Shan et al., ECCV 2022, 3.2): trained once, shared by trials."""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from trainables.backbones.pstmo_masked import MaskedPSTMO, masked_pose_loss
from trainables.checkpoint import CheckpointStore, load_checkpoint
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import CheckpointError, TrainableError
from trainables.seal.batches import Batch, TrainingBatches, run_steps
from trainables.seal.monitor import StepMonitor
from trainables.seeding import derive_seed, isolated_rng, make_deterministic
from trainables.skeletons import Skeleton

__all__ = [
    "LOSS",
    "Pretrained",
    "PretrainingWatch",
    "build_masked_net",
    "pretrain",
    "pretrained_state",
    "pretraining_fingerprint",
]

LOSS = "pretrain_loss"
"""Mean distance of restored joints from the true ones, normalised screen coordinates."""

VERSION = 1
"""Raised whenever the same settings result in another net; part of the fingerprint."""

OnEpoch = Callable[[int, Mapping[str, float]], bool]
"""Told the number and figures of a finished, saved epoch; True stops the pre-training there."""

_SHARED_OPTIONS = ("frames", "width", "hidden", "depth", "heads", "dropout")
_SHARED_FIELDS = {"batch_size", "steps_per_epoch", "lr_decay", "flip", "pretraining"}
_CPU = torch.device("cpu")


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


def pretraining_fingerprint(config: TrainingConfig) -> str:
    """Identity of the pre-training that a training begins with.

    Trainings that agree in the net's shared part, the data (their 2D), batches, flips and
    `pretraining` share it: whatever their seeds, learning rates and loss-nets.
    """
    data = config.data.model_dump(mode="json", exclude={"max_eval_poses"})
    facts = {
        "version": VERSION,
        "net": _shared_options(config),
        "data": data,
        **config.model_dump(mode="json", include=_SHARED_FIELDS),
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def build_masked_net(config: TrainingConfig, skeleton: Skeleton) -> MaskedPSTMO:
    """Build the net to be pre-trained, initialised from its own stream, on the CPU.

    Any joint may be hidden; the authors' code never hides the last one, a slip.

    Raises:
        TrainableError: If an option does not work, alone or together with P-STMO's.
    """
    options = _shared_options(config)
    part = config.pretraining
    masking: dict[str, Any] = {
        "masked_frames": part.masked_frames,
        "masked_joints": part.masked_joints,
    }
    with isolated_rng(derive_seed(part.seed, "pretraining", "init"), _CPU):
        try:
            return MaskedPSTMO(num_joints=skeleton.num_joints, **options, **masking)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TrainableError(
                f"pretraining with backbone_options {options} and {masking} does not work: "
                f"{error}; pretraining.epochs=0 leaves it out"
            ) from error


def pretrained_state(
    config: TrainingConfig,
    dataset: PoseDataset,
    *,
    store: CheckpointStore | None,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Mapping[str, Tensor]:
    """The state that the pose-net's training begins with; see `pretrain`."""
    return pretrain(config, dataset, store=store, device=device, dtype=dtype).state


def pretrain(
    config: TrainingConfig,
    dataset: PoseDataset,
    *,
    store: CheckpointStore | None,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    on_epoch: OnEpoch | None = None,
) -> Pretrained:
    """Pre-train, from wherever an earlier life ended; a finished pre-training is only read.

    On a CPU it gives the same bits each time, however often it is interrupted. Of several
    processes that ask for the same, one trains and the others wait for it; on a file system
    without locks they would all train, and write the same.

    Args:
        config: What is trained afterwards.
        dataset: The data; their training split is used, and of it the 2D only.
        store: Where it is kept; None keeps it nowhere.
        device: Where to train.
        dtype: Floating-point type.
        on_epoch: Told of each epoch that is trained now; may stop after it.

    Raises:
        TrainableError: If options do not fit.
        DataError: If there are no two clips to train on.
        NonFiniteError: If the loss is NaN or infinite.
        CheckpointError: If what is kept cannot be written.
    """
    fingerprint = pretraining_fingerprint(config)
    with _alone(store, fingerprint):
        run = _Run(config, dataset, fingerprint, store=store, device=device, dtype=dtype)
        while run.epoch < config.pretraining.epochs:
            figures = run.train_epoch()
            if on_epoch is not None and on_epoch(run.epoch, figures):
                break
        return run.result()


class PretrainingWatch:
    """Sees from the outside how far a pre-training is, by its checkpoint.

    Args:
        config: What is trained afterwards.
        store: Where it is kept.
    """

    def __init__(self, config: TrainingConfig, store: CheckpointStore) -> None:
        self._path = store.path(pretraining_fingerprint(config), "last")
        self._read_at_ns = 0
        self._epoch = 0

    def new_epochs(self) -> list[tuple[int, dict[str, float]]]:
        """Epochs that were saved since the last call, with their figures, in order."""
        # between two renames there may be no such file
        with suppress(FileNotFoundError, CheckpointError):
            written_ns = self._path.stat().st_mtime_ns
            if written_ns != self._read_at_ns:
                history = _history(load_checkpoint(self._path).meta)
                self._read_at_ns = written_ns
                new = [(n, figures) for n, figures in history.items() if n > self._epoch]
                self._epoch = max(history, default=0)
                return sorted(new)
        return []


class _Run:
    """One life of a pre-training: net, optimizer and data are made when an epoch is trained."""

    def __init__(
        self,
        config: TrainingConfig,
        dataset: PoseDataset,
        fingerprint: str,
        *,
        store: CheckpointStore | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        make_deterministic()
        self._config = config
        self._dataset = dataset
        self._fingerprint = fingerprint
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
                f"{found.path} does not fit this pre-training: {error}; remove it"
            ) from error
        self.epoch = int(found.meta["epoch"])
        self._seconds = float(found.meta["seconds"])
        self._history = _history(found.meta)

    def train_epoch(self) -> dict[str, float]:
        """Train and save one epoch."""
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
        state = {name: value.detach().cpu() for name, value in self._net.state_dict().items()}
        return Pretrained(
            fingerprint=self._fingerprint,
            epochs=self.epoch,
            finished=self.epoch >= self._config.pretraining.epochs,
            state=state,
            history=self._history,
            seconds=self._seconds,
        )


def _shared_options(config: TrainingConfig) -> dict[str, Any]:
    """Options of the net that both nets have, defaults filled in."""
    defaults = inspect.signature(MaskedPSTMO).parameters
    given = config.backbone_options
    return {name: given.get(name, defaults[name].default) for name in _SHARED_OPTIONS}


def _history(meta: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    return {int(epoch): figures for epoch, figures in meta["history"].items()}


@contextmanager
def _alone(store: CheckpointStore | None, fingerprint: str) -> Iterator[None]:
    """Keep other processes from the same pre-training; a killed one's lock is gone with it."""
    if store is None:
        yield
        return
    path: Path = store.path(fingerprint, "last").parent / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}; check the rights of the folder"
        ) from error
    with file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
