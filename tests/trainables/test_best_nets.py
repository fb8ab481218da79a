"""The best nets of a finished training: taken, or trained once more, and never half of it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trainables.seal.conftest import make_config, tiny_dataset
from trainables.best_nets import Restored, evaluate_checkpoint, restore_best
from trainables.checkpoint import CheckpointStore, load_checkpoint
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import CheckpointError, StorageUnreachableError
from trainables.seal.trainer import SealTrainer
from trainables.trial_run import TrialRun

__all__ = ["make_config", "tiny_dataset"]

CPU = torch.device("cpu")
FINGERPRINT = "ab12"
EPOCHS = 4
FILES = ["best.ckpt", "last.ckpt"]


class Training:
    """A training whose best nets one wants."""

    def __init__(self, config: TrainingConfig, dataset: PoseDataset, root: Path) -> None:
        self.config, self.dataset = config, dataset
        self.store = CheckpointStore(root)
        self.best = self.store.path(FINGERPRINT, "best")

    def train(self, epochs: int = EPOCHS) -> None:
        """Train in a fresh folder, and stop as a kill would."""
        shutil.rmtree(self.best.parent, ignore_errors=True)
        run = TrialRun(
            *(self.config, self.dataset), store=self.store, fingerprint=FINGERPRINT, device=CPU
        )
        for _ in range(epochs):
            run.step()

    def restore(self, elsewhere: Path | None = None) -> Restored:
        return restore_best(
            *(self.config, self.dataset),
            store=self.store,
            fingerprint=FINGERPRINT,
            device=CPU,
            elsewhere=None if elsewhere is None else str(elsewhere),
        )

    def evaluate(self) -> dict[str, float]:
        return evaluate_checkpoint(
            *(self.config, self.dataset),
            checkpoint=self.best,
            fingerprint=FINGERPRINT,
            split="test",
            device=CPU,
        )

    def files(self) -> list[str]:
        return sorted(path.name for path in self.best.parent.iterdir())


@pytest.fixture
def training(
    make_config: Callable[..., TrainingConfig], tiny_dataset: PoseDataset, tmp_path: Path
) -> Training:
    return Training(make_config(loss_net="mlp", epochs=EPOCHS), tiny_dataset, tmp_path / "own")


@pytest.fixture
def expected(training: Training, tmp_path: Path) -> dict[str, torch.Tensor]:
    """Weights of the best nets of an undisturbed training."""
    other = Training(training.config, training.dataset, tmp_path / "undisturbed")
    other.train()
    weights: dict[str, torch.Tensor] = load_checkpoint(other.best).state["pose_net"]
    return weights


def count_epochs(patch: pytest.MonkeyPatch) -> list[int]:
    """The epochs that are trained from now on."""
    run_epoch, trained = SealTrainer.run_epoch, []

    def run(trainer: SealTrainer) -> dict[str, float]:
        figures = run_epoch(trainer)
        trained.append(trainer.state_dict()["epoch"])
        return figures

    patch.setattr(SealTrainer, "run_epoch", run)
    return trained


def assert_best(training: Training, expected: dict[str, torch.Tensor]) -> None:
    found = load_checkpoint(training.best).state["pose_net"]
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_those_of_a_finished_training_are_taken_as_they_are(
    training: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    training.train()
    trained = count_epochs(monkeypatch)
    assert training.restore() == Restored(str(training.best))
    other = Training(training.config, training.dataset, tmp_path / "other")
    assert other.restore(elsewhere=training.best) == Restored(str(training.best))
    assert trained == []


@pytest.mark.parametrize("lost", ["truncated", "removed", "all removed"])
def test_lost_ones_are_trained_once_more_to_the_same_bits(
    training: Training, expected: dict[str, torch.Tensor], lost: str
) -> None:
    training.train()
    if lost == "truncated":
        training.best.write_bytes(training.best.read_bytes()[:1000])
    elif lost == "removed":
        training.best.unlink()
    else:
        training.store.forget(FINGERPRINT)
    again = training.restore()
    assert again.location == str(training.best)
    assert "best nets are lost, and were trained once more" in again.notes[0]
    assert_best(training, expected)


def test_a_repetition_that_was_cut_short_goes_on_and_is_not_taken_for_finished(
    training: Training, expected: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    training.train(epochs=2)
    with pytest.raises(CheckpointError, match="of a training that ended in epoch 2 of 4"):
        training.evaluate()
    trained = count_epochs(monkeypatch)
    (note,) = training.restore().notes
    assert "of a training that ended in epoch 2 of 4" in note
    assert trained == [3, 4]
    assert_best(training, expected)
    assert training.files() == FILES
    assert training.evaluate()["mpjpe_mm"] > 0


def test_those_that_a_pruned_trial_left_are_not_a_winners(
    training: Training, expected: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    training.train(epochs=1)
    training.store.drop_state(FINGERPRINT)
    assert training.files() == ["best.ckpt"]
    other = Training(training.config, training.dataset, tmp_path / "other")
    note = "best.ckpt is of epoch 1, and whether 4 were trained is lost"
    with pytest.raises(CheckpointError, match=note):
        training.evaluate()
    other.restore(elsewhere=training.best)
    assert_best(other, expected)
    assert note in training.restore().notes[0]
    assert_best(training, expected)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EACCES, errno.EIO])
def test_a_read_that_fails_for_now_removes_nothing(
    training: Training, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    training.train()
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.name == "best.ckpt":
            raise OSError(number, os.strerror(number), str(path))
        return read(path)

    trained = count_epochs(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        with pytest.raises(StorageUnreachableError, match=os.strerror(number)):
            training.restore()
    assert training.files() == FILES
    assert training.restore() == Restored(str(training.best))
    assert trained == []


def test_the_own_ones_are_taken_while_another_runs_are_out_of_reach(
    training: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    training.train()
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if tmp_path / "away" in path.parents:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    away = tmp_path / "away" / "ab12" / "best.ckpt"
    assert training.restore(elsewhere=away) == Restored(str(training.best))
    training.store.forget(FINGERPRINT)
    with pytest.raises(StorageUnreachableError, match="Stale file handle"):
        training.restore(elsewhere=away)


def test_those_of_another_epoch_than_the_recorded_best_are_not_taken(
    training: Training, expected: dict[str, torch.Tensor]
) -> None:
    training.train()
    found = load_checkpoint(training.best)
    other = {**found.meta, "epoch": 1, "best_value": 1.0}
    training.store.save(FINGERPRINT, "best", found.state, other)
    with pytest.raises(CheckpointError, match=r"is of epoch 1, but epoch \d was the best"):
        training.evaluate()
    assert "is of epoch 1, but epoch" in training.restore().notes[0]
    assert_best(training, expected)
