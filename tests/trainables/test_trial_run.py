"""Checkpoints by fingerprint: a training goes on wherever an earlier life ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.seal.conftest import make_config, tiny_dataset
from trainables.best_nets import evaluate_checkpoint
from trainables.checkpoint import CheckpointStore, load_checkpoint
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import CheckpointError, TrainableError
from trainables.seal.trainer import SealTrainer
from trainables.trial_run import TrialRun, choose_device

__all__ = ["make_config", "tiny_dataset"]

CPU = torch.device("cpu")
FINGERPRINT = "ab12"
TIMINGS = {"samples_per_s", "epoch_s"}

Config = Callable[..., TrainingConfig]
Start = Callable[..., TrialRun]


@pytest.fixture
def start(tiny_dataset: PoseDataset, make_config: Config, tmp_path: Path) -> Start:
    """Begin, or go on with, a training of four epochs; each call is another life."""

    def make(folder: str = "a", *, fingerprint: str = FINGERPRINT, **fields: Any) -> TrialRun:
        return TrialRun(
            make_config(**{"loss_net": "mlp", "epochs": 4, **fields}),
            tiny_dataset,
            store=CheckpointStore(tmp_path / folder),
            fingerprint=fingerprint,
            device=CPU,
            devices=2.0,
        )

    return make


def to_the_end(run: TrialRun) -> list[dict[str, Any]]:
    reports = [run.step()]
    while not reports[-1]["finished"]:
        reports.append(run.step())
    return reports


def lasting(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics without the ones that measure time."""
    return {name: value for name, value in metrics.items() if name not in TIMINGS}


def test_an_undisturbed_training_reports_every_epoch_and_the_best(start: Start) -> None:
    reports = to_the_end(start())

    assert [report["epoch"] for report in reports] == [1, 2, 3, 4]
    assert [report["finished"] for report in reports] == [False, False, False, True]
    assert all(report["history"] == [] for report in reports)
    values = [report["metrics"]["val_mpjpe_mm"] for report in reports]
    last = reports[-1]
    assert last["best_value"] == min(values)
    assert last["best_epoch"] == values.index(min(values)) + 1
    assert last["best_metrics"] == reports[last["best_epoch"] - 1]["metrics"]
    assert last["state"] == "ok"
    assert last["device_seconds"] == 2.0 * last["seconds"]
    assert Path(last["checkpoint"]).exists()


@pytest.mark.parametrize("lost_after", [1, 2, 3])
def test_a_training_cut_in_two_equals_an_undisturbed_one(start: Start, lost_after: int) -> None:
    undisturbed = to_the_end(start("undisturbed"))
    first_life = start("cut")
    for _ in range(lost_after):
        first_life.step()
    second_life = to_the_end(start("cut"))

    # the second life first repeats where the first one stood, with all epochs before
    assert second_life[0]["epoch"] == lost_after
    history = second_life[0]["history"]
    assert [entry["epoch"] for entry in history] == list(range(1, lost_after + 1))
    seen = [lasting(entry["metrics"]) for entry in history]
    seen += [lasting(report["metrics"]) for report in second_life[1:]]
    assert seen == [lasting(report["metrics"]) for report in undisturbed]
    assert second_life[-1]["best_epoch"] == undisturbed[-1]["best_epoch"]
    assert second_life[-1]["best_value"] == undisturbed[-1]["best_value"]
    best = [load_checkpoint(Path(life[-1]["checkpoint"])) for life in (undisturbed, second_life)]
    for name, tensor in best[0].state["pose_net"].items():
        assert torch.equal(tensor, best[1].state["pose_net"][name])


def test_a_finished_training_is_reported_and_not_trained_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = to_the_end(start())[-1]

    def refuse(trainer: SealTrainer) -> dict[str, float]:
        raise AssertionError("trained again")

    monkeypatch.setattr(SealTrainer, "run_epoch", refuse)
    again = to_the_end(start())

    assert len(again) == 1
    assert again[0].pop("history")
    last.pop("history")
    assert again[0] == last


def test_a_damaged_checkpoint_costs_one_epoch_and_nothing_else(
    start: Start, tmp_path: Path
) -> None:
    undisturbed = to_the_end(start("undisturbed"))
    first_life = start("cut")
    for _ in range(3):
        first_life.step()
    damaged = CheckpointStore(tmp_path / "cut").path(FINGERPRINT, "last")
    damaged.write_bytes(damaged.read_bytes()[:-100])
    second_life = to_the_end(start("cut"))

    assert second_life[0]["epoch"] == 2
    assert lasting(second_life[-1]["metrics"]) == lasting(undisturbed[-1]["metrics"])


def test_a_loss_that_is_not_finite_ends_the_training_with_what_is_known(start: Start) -> None:
    run = start()
    reports = [run.step()]
    trainer = run._trainer
    assert trainer is not None
    with torch.no_grad():
        next(trainer.pose_net.parameters()).fill_(float("nan"))
    reports.append(run.step())

    assert reports[1]["state"] == "invalid_metric"
    assert reports[1]["finished"]
    assert "non-finite in epoch 2" in reports[1]["reason"]
    assert reports[1]["epoch"] == 1
    assert reports[1]["best_value"] == reports[0]["best_value"]


def test_the_best_checkpoint_gives_the_trainer_s_own_figures(
    start: Start, tiny_dataset: PoseDataset, make_config: Config
) -> None:
    run = start(epochs=1)
    report = run.step()
    trainer = run._trainer
    assert trainer is not None
    options: dict[str, Any] = {"checkpoint": Path(report["checkpoint"]), "device": CPU}
    metrics = evaluate_checkpoint(
        make_config(loss_net="mlp", epochs=1),
        tiny_dataset,
        fingerprint=FINGERPRINT,
        split="test",
        **options,
    )

    assert metrics == trainer.evaluate("test")
    with pytest.raises(CheckpointError, match="of configuration 'ab12', expected 'cd34'"):
        evaluate_checkpoint(
            make_config(), tiny_dataset, fingerprint="cd34", split="test", **options
        )


def test_a_checkpoint_of_other_nets_is_refused(start: Start) -> None:
    start().step()
    run = start(backbone_options={"channels": 64})
    run.step()
    with pytest.raises(CheckpointError, match="state of pose_net does not fit"):
        run.step()


def test_cuda_is_used_only_if_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto", has_gpu=True).type == "cuda"
    assert choose_device("auto", has_gpu=False).type == "cpu"
    assert choose_device("cpu", has_gpu=True).type == "cpu"
    with pytest.raises(TrainableError, match="no GPU was given to this trial"):
        choose_device("cuda", has_gpu=False)


def test_a_finished_training_keeps_its_record_and_best_nets_alone(start: Start) -> None:
    reports = to_the_end(start("kept"))
    files = {path.name: path for path in Path(reports[-1]["checkpoint"]).parent.iterdir()}
    assert sorted(files) == ["best.ckpt", "last.ckpt"]
    assert load_checkpoint(files["last.ckpt"]).state == {}
    assert "pose_net" in load_checkpoint(files["best.ckpt"]).state


class LifeEndedError(Exception):
    """Stands for a kill."""


def scripted(patch: pytest.MonkeyPatch, *values: float) -> None:
    """Let the epochs from now on have these objectives, whatever the nets are."""
    run_epoch, left = SealTrainer.run_epoch, list(values)

    def run(trainer: SealTrainer) -> dict[str, float]:
        return {**run_epoch(trainer), "val_mpjpe_mm": left.pop(0)}

    patch.setattr(SealTrainer, "run_epoch", run)


def ends_before_last(patch: pytest.MonkeyPatch) -> None:
    save = CheckpointStore.save

    def end(store: CheckpointStore, fingerprint: str, kind: Any, *rest: Any) -> str:
        if kind == "last":
            raise LifeEndedError
        return save(store, fingerprint, kind, *rest)

    patch.setattr(CheckpointStore, "save", end)


def test_the_best_nets_are_of_the_recorded_epoch_whatever_a_repeated_epoch_gives(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        scripted(patch, 10.0, 9.0)
        first_life = start()
        path = Path(first_life.step()["checkpoint"])
        before = load_checkpoint(path).state["pose_net"]
        ends_before_last(patch)
        with pytest.raises(LifeEndedError):
            first_life.step()
        assert load_checkpoint(path).meta["epoch"] == 2
    scripted(monkeypatch, 11.0, 12.0, 13.0)  # as on a GPU, where nothing repeats exactly
    last = to_the_end(start())[-1]

    assert (last["best_epoch"], last["best_value"]) == (1, 10.0)
    kept = load_checkpoint(path)
    assert (kept.meta["epoch"], kept.meta["best_value"]) == (1, 10.0)
    assert all(torch.equal(before[n], kept.state["pose_net"][n]) for n in before)


def test_the_best_nets_go_back_with_a_damaged_last_checkpoint(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, 10.0, 9.0, 11.0, 12.0, 13.0)
    first_life = start()
    for _ in range(2):
        path = Path(first_life.step()["checkpoint"])
    path.with_name("last.ckpt").write_bytes(b"")
    last = to_the_end(start())[-1]
    assert (last["best_epoch"], load_checkpoint(path).meta["epoch"]) == (1, 1)


def test_best_nets_that_are_nowhere_are_told_when_the_training_goes_on(start: Start) -> None:
    path = Path(start().step()["checkpoint"])
    path.unlink()
    (note,) = start().step()["notes"]
    assert f"{path} does not hold the nets of the best epoch, 1; unless" in note
