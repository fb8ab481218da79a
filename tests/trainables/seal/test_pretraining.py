"""P-STMO's masked pre-training: repeatable, resumable, shared, and taken over."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.seal.conftest import make_config, tiny_dataset
from trainables.backbones.pstmo import PRETRAINED_PARTS
from trainables.builders import build_backbone
from trainables.checkpoint import CheckpointStore
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import CheckpointError, NonFiniteError, TrainableError
from trainables.seal.masked_net import build_masked_net, pretraining_fingerprint
from trainables.seal.pretraining import PretrainingWatch, pretrain, pretrained_state
from trainables.seal.pretraining_run import LOSS
from trainables.seal.trainer import SealTrainer
from trainables.skeletons import H36M_17
from trainables.trial_run import TrialRun

__all__ = ["make_config", "tiny_dataset"]

CPU = torch.device("cpu")
EPOCHS = 4
NET = {"frames": 3, "width": 16, "hidden": 16, "depth": 2, "heads": 2, "output_scale": 1.0}

State = Mapping[str, torch.Tensor]
Make = Callable[..., TrainingConfig]


@pytest.fixture
def config(make_config: Make) -> TrainingConfig:
    return small(make_config)


def small(
    make_config: Make, pretraining: Mapping[str, Any] | None = None, **fields: Any
) -> TrainingConfig:
    part = {"epochs": EPOCHS, "lr": 3e-3, **(pretraining or {})}
    given = {
        "backbone": "pstmo",
        "backbone_options": NET,
        "loss_net": "mlp",
        "data": {"frames": 3},
        "pretraining": part,
    }
    return make_config(**{**given, **fields})


def assert_same(first: State, second: State) -> None:
    assert set(first) == set(second)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def begin(config: TrainingConfig, dataset: PoseDataset) -> State:
    """What a trainer's pose-net begins its first epoch with."""
    trainer = SealTrainer(config, dataset, device=CPU)
    trainer._pretrain_if_needed()
    return trainer.pose_net.state_dict()


def test_the_loss_falls_and_each_time_alike(
    config: TrainingConfig, tiny_dataset: PoseDataset
) -> None:
    torch.manual_seed(1)
    first = pretrain(config, tiny_dataset, store=None, device=CPU)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = pretrain(config, tiny_dataset, store=None, device=CPU)
    assert torch.equal(torch.get_rng_state(), before), "nothing is drawn from the global stream"
    losses = [first.history[epoch][LOSS] for epoch in range(1, EPOCHS + 1)]
    assert losses[-1] < 0.8 * losses[0]
    assert [second.history[epoch][LOSS] for epoch in range(1, EPOCHS + 1)] == losses
    assert_same(first.state, second.state)
    assert first.finished
    assert first.summary()["first_loss"] == losses[0]
    assert first.summary()["last_loss"] == losses[-1]


@pytest.mark.parametrize("stops", [(1,), (3,), (1, 2, 3)], ids=str)
def test_an_interrupted_one_goes_on_with_the_same_bits(
    config: TrainingConfig, tiny_dataset: PoseDataset, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    store = CheckpointStore(tmp_path)
    trained: list[int] = []
    for stop in stops:

        def on_epoch(epoch: int, figures: Mapping[str, float], stop: int = stop) -> bool:
            trained.append(epoch)
            return epoch == stop

        part = pretrain(config, tiny_dataset, store=store, device=CPU, on_epoch=on_epoch)
        assert (part.epochs, part.finished) == (stop, False)
    whole = pretrain(config, tiny_dataset, store=None, device=CPU)
    resumed = pretrain(config, tiny_dataset, store=store, device=CPU)
    assert_same(whole.state, resumed.state)
    assert trained == sorted(set(trained)), "no epoch is trained twice"
    assert set(resumed.history) == set(range(1, EPOCHS + 1))


def test_a_finished_one_is_read_and_a_damaged_one_trained_again(
    config: TrainingConfig, tiny_dataset: PoseDataset, tmp_path: Path
) -> None:
    store = CheckpointStore(tmp_path)
    first = pretrain(config, tiny_dataset, store=store, device=CPU)
    told: list[int] = []

    def on_epoch(epoch: int, figures: Mapping[str, float]) -> bool:
        told.append(epoch)
        return False

    again = pretrain(config, tiny_dataset, store=store, device=CPU, on_epoch=on_epoch)
    assert told == []
    assert_same(first.state, again.state)
    store.path(first.fingerprint, "last").write_bytes(b"damaged")
    assert_same(first.state, pretrained_state(config, tiny_dataset, store=store, device=CPU))


def test_what_is_kept_for_another_net_is_refused(
    config: TrainingConfig, tiny_dataset: PoseDataset, tmp_path: Path
) -> None:
    store = CheckpointStore(tmp_path)
    meta = {"epoch": 1, "seconds": 0.0, "history": {}}
    store.save(pretraining_fingerprint(config), "last", {"net": {}}, meta)
    with pytest.raises(CheckpointError, match="does not fit this pre-training"):
        pretrain(config, tiny_dataset, store=store, device=CPU)


def test_it_is_shared_by_trials_and_by_nothing_else(make_config: Make) -> None:
    base = pretraining_fingerprint(small(make_config))
    shared: list[dict[str, Any]] = [
        {"seed": 5},
        {"lr_p": 0.1},
        {"alpha": 0.5},
        {"epochs": 9},
        {"loss_net": "none"},
        {"weight_decay": 0.1},
        {"backbone_options": {**NET, "centred": True}},
        {"data": {"frames": 3, "max_eval_poses": 7}},
    ]
    for fields in shared:
        assert pretraining_fingerprint(small(make_config, **fields)) == base, fields
    own: list[dict[str, Any]] = [
        *({"pretraining": {name: value}} for name, value in OTHER.items()),
        {"batch_size": 8},
        {"steps_per_epoch": 1},
        {"lr_decay": 0.9},
        {"flip": "double"},
        {"backbone_options": {**NET, "dropout": 0.3}},
        {"data": {"frames": 3, "content_hash": "other"}},
    ]
    prints = [pretraining_fingerprint(small(make_config, **fields)) for fields in own]
    assert len({base, *prints}) == len(own) + 1


OTHER = {"epochs": 5, "lr": 1e-2, "masked_frames": 0.4, "masked_joints": 5, "seed": 3}


@pytest.mark.parametrize("name", OTHER)
def test_every_field_changes_what_the_training_begins_with(
    make_config: Make, tiny_dataset: PoseDataset, name: str
) -> None:
    first, second = (
        begin(small(make_config, part), tiny_dataset) for part in ({}, {name: OTHER[name]})
    )
    changed = {key for key in first if not torch.equal(first[key], second[key])}
    assert changed
    assert all(key.startswith(PRETRAINED_PARTS) for key in changed)


def test_the_pose_net_takes_over_what_is_shared_and_only_that(
    config: TrainingConfig, tiny_dataset: PoseDataset
) -> None:
    state = pretrained_state(config, tiny_dataset, store=None, device=CPU)
    found = begin(config, tiny_dataset)
    fresh = build_backbone(config, H36M_17).state_dict()
    shared = {name for name in found if name.startswith(PRETRAINED_PARTS)}
    # 74 with the authors' three layers; a layer has 16 tensors
    assert len(shared) == 74 - 16
    for name, value in found.items():
        assert torch.equal(value, state[name] if name in shared else fresh[name]), name
    untouched = [name for name in shared if torch.equal(found[name], fresh[name])]
    # what never takes part (see PSTMO): the closing norm
    assert all("norm" in name for name in untouched), untouched
    assert len(untouched) <= 2


def test_given_kept_or_made_on_the_spot_it_is_the_same_training(
    config: TrainingConfig, tiny_dataset: PoseDataset, tmp_path: Path
) -> None:
    state = pretrained_state(config, tiny_dataset, store=None, device=CPU)
    given = SealTrainer(config, tiny_dataset, device=CPU, pretrained=state)
    alone = SealTrainer(config, tiny_dataset, device=CPU)
    for trainer in (given, alone):
        trainer.run_epoch()
    assert_same(given.pose_net.state_dict(), alone.pose_net.state_dict())
    store = CheckpointStore(tmp_path)
    run = TrialRun(config, tiny_dataset, store=store, fingerprint="ab12", device=CPU)
    run.step()
    found = store.load("ab12", "last")
    assert found is not None
    assert_same(found.state["pose_net"], given.pose_net.state_dict())
    kept = store.load(pretraining_fingerprint(config), "last")
    assert kept is not None, "a trial that does not find it trains and keeps it"
    assert_same(kept.state["net"], state)


def test_a_resumed_trial_needs_it_no_more(
    config: TrainingConfig, tiny_dataset: PoseDataset, tmp_path: Path
) -> None:
    store = CheckpointStore(tmp_path)

    def life() -> TrialRun:
        return TrialRun(config, tiny_dataset, store=store, fingerprint="ab12", device=CPU)

    life().step()
    store.forget(pretraining_fingerprint(config))
    resumed = life()
    resumed.step()  # reports where it stands
    assert resumed.step()["epoch"] == 2
    assert store.load(pretraining_fingerprint(config), "last") is None


def test_the_teacher_of_static_begins_with_it_too(
    make_config: Make, tiny_dataset: PoseDataset
) -> None:
    fields: dict[str, Any] = {"variant": "static", "static_epochs": 1}
    figures = [
        SealTrainer(small(make_config, part, **fields), tiny_dataset, device=CPU).run_epoch()
        for part in ({}, {"seed": 9})
    ]
    assert figures[0]["static_energy_pred"] != figures[1]["static_energy_pred"]


def test_a_loss_that_is_not_finite_ends_the_trial(
    make_config: Make, tiny_dataset: PoseDataset, tmp_path: Path
) -> None:
    config = small(make_config, {"lr": 1e30})
    with pytest.raises(NonFiniteError, match=LOSS):
        pretrain(config, tiny_dataset, store=None, device=CPU)
    store = CheckpointStore(tmp_path)
    report = TrialRun(config, tiny_dataset, store=store, fingerprint="ab12", device=CPU).step()
    assert report["state"] == "invalid_metric"
    assert LOSS in report["reason"]


def test_options_that_do_not_work_are_named(make_config: Make) -> None:
    config = small(make_config, {"masked_joints": 18})
    with pytest.raises(TrainableError, match=r"masked_joints.*pretraining\.epochs=0"):
        build_masked_net(config, H36M_17)


def test_a_watch_sees_each_epoch_once(
    config: TrainingConfig, tiny_dataset: PoseDataset, tmp_path: Path
) -> None:
    store = CheckpointStore(tmp_path)
    watch = PretrainingWatch(config, store)
    assert watch.new_epochs() == []
    seen: list[int] = []

    def on_epoch(epoch: int, figures: Mapping[str, float]) -> bool:
        if epoch != 2:  # two at a time
            seen.extend(number for number, _ in watch.new_epochs())
        return False

    result = pretrain(config, tiny_dataset, store=store, device=CPU, on_epoch=on_epoch)
    assert seen == [1, 2, 3, 4]
    assert watch.new_epochs() == []
    late = PretrainingWatch(config, store)
    assert dict(late.new_epochs()) == result.history


def _pretrain_elsewhere(config: TrainingConfig, dataset: PoseDataset, folder: Path) -> None:
    torch.set_num_threads(1)

    def on_epoch(epoch: int, figures: Mapping[str, float]) -> bool:
        with (folder / "trained").open("a") as file:
            file.write(f"{epoch}\n")
        return False

    pretrain(config, dataset, store=CheckpointStore(folder), device=CPU, on_epoch=on_epoch)


def test_of_two_processes_one_trains_and_the_other_waits(
    config: TrainingConfig, tiny_dataset: PoseDataset, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (config, tiny_dataset, tmp_path)
    workers = [context.Process(target=_pretrain_elsewhere, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        assert worker.exitcode == 0
    assert (tmp_path / "trained").read_text().split() == ["1", "2", "3", "4"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_it_goes_on_with_the_same_bits(
    config: TrainingConfig, tiny_dataset: PoseDataset, tmp_path: Path
) -> None:
    cuda = torch.device("cuda", 0)
    whole = pretrain(config, tiny_dataset, store=None, device=cuda)
    store = CheckpointStore(tmp_path)
    for stop in range(1, EPOCHS):

        def on_epoch(epoch: int, figures: Mapping[str, float], stop: int = stop) -> bool:
            return epoch == stop

        pretrain(config, tiny_dataset, store=store, device=cuda, on_epoch=on_epoch)
    assert_same(whole.state, pretrain(config, tiny_dataset, store=store, device=cuda).state)
