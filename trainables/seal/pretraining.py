"""Masked pre-training of P-STMO (Shan et al., ECCV 2022, 3.2): trained once, shared by trials."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

from trainables.checkpoint import CheckpointStore, load_checkpoint
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import CheckpointError
from trainables.seal.masked_net import pretraining_fingerprint
from trainables.seal.pretraining_run import Pretrained, PretrainingRun, history_of
from trainables.storage import is_remote

__all__ = ["PretrainingWatch", "pretrain", "pretrained_state"]

OnEpoch = Callable[[int, Mapping[str, float]], bool]
"""Told the number and figures of a finished, saved epoch; True stops the pre-training there."""


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
    with _alone(store, pretraining_fingerprint(config)):
        run = PretrainingRun(config, dataset, store=store, device=device, dtype=dtype)
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
        self._store = store
        self._fingerprint = pretraining_fingerprint(config)
        self._read: Hashable | None = None
        self._epoch = 0

    def new_epochs(self) -> list[tuple[int, dict[str, float]]]:
        """Epochs that were saved since the last call, with their figures, in order."""
        # between two renames there may be no such file
        with suppress(CheckpointError):
            written = self._store.version(self._fingerprint, "last")
            if written is not None and written != self._read:
                location = self._store.location(self._fingerprint, "last")
                history = history_of(load_checkpoint(location).meta)
                self._read = written
                new = [(n, figures) for n, figures in history.items() if n > self._epoch]
                self._epoch = max(history, default=0)
                return sorted(new)
        return []


@contextmanager
def _alone(store: CheckpointStore | None, fingerprint: str) -> Iterator[None]:
    """Keep other processes from the same pre-training; a killed one's lock is gone with it."""
    if store is None or is_remote(store.location(fingerprint, "last")):  # S3 knows no locks
        yield
        return
    path = store.path(fingerprint, "last").parent / "lock"
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
