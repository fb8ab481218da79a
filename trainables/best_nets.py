"""The best nets of a finished training: checked, or trained once more, and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from trainables.builders import build_backbone
from trainables.checkpoint import Checkpoint, CheckpointStore, load_checkpoint
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import CheckpointError, StorageUnreachableError
from trainables.seal.evaluate import report_split
from trainables.seal.lifting import final_lifting
from trainables.seal.monitor import require_finite
from trainables.seeding import make_deterministic
from trainables.trial_run import TrialRun

__all__ = ["Restored", "evaluate_checkpoint", "restore_best"]


@dataclass(frozen=True)
class Restored:
    """Where the best nets of a training lie.

    Attributes:
        location: Path or URI of the checkpoint.
        notes: What the user has to know: that they were lost, and trained once more.
    """

    location: str
    notes: tuple[str, ...] = ()


def restore_best(
    config: TrainingConfig,
    dataset: PoseDataset,
    *,
    store: CheckpointStore,
    fingerprint: str,
    device: torch.device,
    pretrainings: CheckpointStore | None = None,
    elsewhere: str | None = None,
) -> Restored:
    """Where the best nets of a finished training lie; lost ones are trained once more.

    Nets are taken only if the last checkpoint beside them says that the training has finished,
    and that they are of its best epoch. A repetition that was cut short goes on where it ended.
    On a CPU the repeated training gives the same bits.

    Args:
        config: What was trained.
        dataset: The data.
        store: Where its checkpoints lie, or will.
        fingerprint: Identity of the configuration.
        device: Where to train.
        pretrainings: Where pre-trainings lie; None for beside the checkpoints.
        elsewhere: Another place where they may lie (another run's), looked at first.

    Raises:
        StorageUnreachableError: If it cannot be known whether they are there; nothing is removed.
        TrainableError: If the training cannot be repeated.
    """
    own = store.location(fingerprint, "best")
    faults = []
    unreachable: StorageUnreachableError | None = None
    for location in dict.fromkeys(filter(None, (elsewhere, own))):
        try:
            fault = _fault_of(location, fingerprint, epochs=config.epochs)
        except StorageUnreachableError as error:
            unreachable = error
            continue
        if fault is None:
            return Restored(location)
        faults.append(fault)
    if unreachable is not None:
        raise unreachable
    if _is_finished(store, fingerprint, epochs=config.epochs):
        store.forget(fingerprint)  # there is nothing to go on from
    run = TrialRun(
        config,
        dataset,
        store=store,
        fingerprint=fingerprint,
        device=device,
        pretrainings=pretrainings,
    )
    while not (report := run.step())["finished"]:
        pass
    if report["state"] != "ok":
        raise CheckpointError(f"the best nets are lost, and so is {own}: {report['reason']}")
    return Restored(own, (f"best nets are lost, and were trained once more: {faults[-1]}",))


def evaluate_checkpoint(
    config: TrainingConfig,
    dataset: PoseDataset,
    *,
    checkpoint: Path | str,
    fingerprint: str,
    split: str,
    device: torch.device,
) -> dict[str, float]:
    """Measure the pose-net of a finished training's best nets on all poses of a split.

    Returns:
        What `SealTrainer.evaluate` returns.

    Raises:
        CheckpointError: If it is damaged, missing, of another configuration, or not what a
            finished training calls its best.
        DataError: If the data set has no such split.
        NonFiniteError: If a metric is NaN or infinite.
    """
    make_deterministic()
    found = load_checkpoint(checkpoint)
    fault = _misfit(found, fingerprint, epochs=config.epochs)
    if fault is not None:
        raise CheckpointError(fault)
    pose_net = build_backbone(config, dataset.skeleton)
    pose_net.load_state_dict(found.state["pose_net"])
    lifting = final_lifting(config)
    report = report_split(pose_net.to(device), dataset, split, lifting, device=device)
    metrics = dict(report.figures)
    named = {f"{split}_{name}": value for name, value in metrics.items()}
    epoch, step = int(found.state["epoch"]), int(found.state["step"])
    require_finite(named, epoch=epoch, step=step, last_finite={})
    return metrics


def _is_finished(store: CheckpointStore, fingerprint: str, *, epochs: int) -> bool:
    last = store.find(fingerprint, "last").checkpoint
    return last is not None and int(last.meta["epoch"]) >= epochs


def _fault_of(location: str, fingerprint: str, *, epochs: int) -> str | None:
    """Why a file does not hold the best nets of a finished training; None if it does."""
    try:
        found = load_checkpoint(location)
    except StorageUnreachableError:
        raise
    except CheckpointError as error:
        return str(error)
    return _misfit(found, fingerprint, epochs=epochs)


def _misfit(best: Checkpoint, fingerprint: str, *, epochs: int) -> str | None:
    location, meta = best.location, best.meta
    if meta["fingerprint"] != fingerprint:
        return (
            f"{location} is a checkpoint of configuration {meta['fingerprint']!r}, "
            f"expected {fingerprint!r}"
        )
    epoch = int(meta["epoch"])
    try:
        last = load_checkpoint(f"{location.rpartition('/')[0]}/last.ckpt").meta
    except StorageUnreachableError:
        raise
    except CheckpointError as error:
        if epoch >= epochs:
            return None  # no later epoch can be better
        return (
            f"{location} is of epoch {epoch}, and whether {epochs} were trained is lost: {error}"
        )
    if int(last["epoch"]) < epochs:
        return f"{location} is of a training that ended in epoch {last['epoch']} of {epochs}"
    if (last["best_epoch"], last["best_value"]) != (epoch, meta["best_value"]):
        return f"{location} is of epoch {epoch}, but epoch {last['best_epoch']} was the best"
    return None
