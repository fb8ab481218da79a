"""The trainer: reproducible, resumable, indifferent to what must not matter."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainables.seal.conftest import synthetic_split
from tests.trainables.small_trainings import SMALL_BACKBONES
from trainables.checkpoint import CheckpointStore
from trainables.config import BackboneName, DataConfig, TrainingConfig
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.errors import CheckpointError, DataError, NonFiniteError
from trainables.metrics import mpjpe
from trainables.seal.batches import TrainingBatches
from trainables.seal.trainer import SealTrainer

CPU = torch.device("cpu")
TIMES = {"epoch_s", "samples_per_s", "peak_memory_mb"}

MakeConfig = Callable[..., TrainingConfig]


def flatten(state: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(state, dict):
        items = state.items()
    elif isinstance(state, list | tuple):
        items = dict(enumerate(state)).items()
    else:
        return {prefix: state}
    return {k: v for key, value in items for k, v in flatten(value, f"{prefix}/{key}").items()}


def assert_same_bits(left: Any, right: Any) -> None:
    flat_left, flat_right = flatten(left), flatten(right)
    assert flat_left.keys() == flat_right.keys()
    for name, value in flat_left.items():
        other = flat_right[name]
        same = torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
        assert same, name


def figures(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name not in TIMES}


def train(config: TrainingConfig, dataset: PoseDataset, epochs: int = 2) -> SealTrainer:
    trainer = SealTrainer(config, dataset, device=CPU)
    for _ in range(epochs):
        trainer.run_epoch()
    return trainer


def with_split(dataset: PoseDataset, name: str, split: PoseSplit) -> PoseDataset:
    return dataclasses.replace(dataset, splits={**dataset.splits, name: split})


@pytest.mark.parametrize("loss_net", ["none", "graph", "mlp"])
def test_metrics_of_an_epoch(
    make_config: MakeConfig, tiny_dataset: PoseDataset, loss_net: str
) -> None:
    trainer = SealTrainer(make_config(loss_net=loss_net), tiny_dataset, device=CPU)
    metrics = trainer.run_epoch()
    expected = {"train_pose_loss", "lr_p", "alpha", "epoch_s", "samples_per_s"}
    expected |= {f"val_{n}" for n in ("mpjpe_mm", "p_mpjpe_mm", "lse", "lle", "bsle")}
    if loss_net != "none":
        expected |= {f"train_{n}" for n in ("loss_net_loss", "energy_true", "energy_pred")}
        expected |= {f"val_energy_{n}" for n in ("true", "pred", "gap")} | {"lr_l"}
    assert set(metrics) == expected
    assert all(type(value) is float for value in metrics.values())
    assert trainer.epoch == 1
    if loss_net != "none":
        gap = metrics["val_energy_pred"] - metrics["val_energy_true"]
        assert metrics["val_energy_gap"] == pytest.approx(gap)


def test_training_learns(make_config: MakeConfig, tiny_dataset: PoseDataset) -> None:
    config = make_config(
        lr_p=1e-2,
        alpha=1e-3,
        batch_size=25,
        backbone_options={"channels": 64, "dropout": 0.0},
    )
    trainer = SealTrainer(config, tiny_dataset, device=CPU)
    before_mm = trainer.evaluate("train")["mpjpe_mm"]
    history = [trainer.run_epoch() for _ in range(25)]
    assert history[-1]["train_pose_loss"] < 0.2 * history[0]["train_pose_loss"]
    assert trainer.evaluate("train")["mpjpe_mm"] < 0.6 * before_mm
    assert history[-1]["train_loss_net_loss"] < history[0]["train_loss_net_loss"]


@pytest.mark.parametrize("backbone", ["videopose", "simplebaseline"])
@pytest.mark.parametrize("loss_net", ["graph", "mlp"])
def test_same_seed_gives_the_same_bits_and_another_seed_does_not(
    make_config: MakeConfig, tiny_dataset: PoseDataset, backbone: str, loss_net: str
) -> None:
    config = make_config(backbone=backbone, loss_net=loss_net)
    first = train(config, tiny_dataset)
    torch.manual_seed(999)  # whatever a worker process did before
    torch.rand(7)
    second = train(config, tiny_dataset)
    assert_same_bits(first.state_dict(), second.state_dict())
    other = train(config.model_copy(update={"seed": 1}), tiny_dataset)
    weights = next(iter(first.pose_net.parameters()))
    assert not torch.equal(weights, next(iter(other.pose_net.parameters())))


@pytest.mark.parametrize("loss_net", ["none", "graph", "mlp"])
@pytest.mark.parametrize("subset", [{}, {"steps_per_epoch": 2, "energy_poses": 3}])
def test_a_resumed_training_continues_with_the_same_bits(
    make_config: MakeConfig,
    tiny_dataset: PoseDataset,
    tmp_path: Path,
    loss_net: str,
    subset: dict[str, int],
) -> None:
    if loss_net == "none":
        subset = {k: v for k, v in subset.items() if k != "energy_poses"}
    config = make_config(loss_net=loss_net, **subset)
    undisturbed = SealTrainer(config, tiny_dataset, device=CPU)
    expected = [figures(undisturbed.run_epoch()) for _ in range(4)]

    store = CheckpointStore(tmp_path)
    store.save("abc", "last", train(config, tiny_dataset, epochs=2).state_dict(), {"epoch": 2})
    torch.rand(3)
    resumed = SealTrainer(config, tiny_dataset, device=CPU)
    checkpoint = store.load("abc", "last")
    assert checkpoint is not None
    resumed.load_state_dict(checkpoint.state)
    assert resumed.epoch == 2
    assert [figures(resumed.run_epoch()) for _ in range(2)] == expected[2:]
    assert_same_bits(resumed.state_dict(), undisturbed.state_dict())


def test_a_state_is_a_copy_both_ways(make_config: MakeConfig, tiny_dataset: PoseDataset) -> None:
    trainer = train(make_config(), tiny_dataset, epochs=1)
    state = trainer.state_dict()
    kept = copy.deepcopy(state)
    trainer.run_epoch()
    assert_same_bits(state, kept)
    other = SealTrainer(make_config(), tiny_dataset, device=CPU)
    other.load_state_dict(state)
    other.run_epoch()
    assert_same_bits(state, kept)
    assert_same_bits(other.state_dict(), trainer.state_dict())


def test_alpha_zero_is_the_baseline_bit_for_bit_and_builds_no_loss_net(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    baseline = train(make_config(loss_net="none"), tiny_dataset)
    silent = train(make_config(loss_net="graph", alpha=0.0), tiny_dataset)
    assert silent.loss_net is None
    assert_same_bits(silent.state_dict(), baseline.state_dict())


@pytest.mark.parametrize("loss_net", ["graph", "mlp"])
@pytest.mark.parametrize("negatives_from", ["train_forward", "eval_forward"])
def test_a_loss_net_disturbs_neither_init_nor_data_order_nor_dropout(
    make_config: MakeConfig, tiny_dataset: PoseDataset, loss_net: str, negatives_from: str
) -> None:
    # an energy too small to change any gradient's bits leaves only side effects to be seen
    config = make_config(loss_net=loss_net, negatives_from=negatives_from, alpha=1e-30)
    baseline = train(make_config(loss_net="none"), tiny_dataset).state_dict()
    with_loss_net = train(config, tiny_dataset).state_dict()
    assert "loss_net" in with_loss_net
    for part in ("pose_net", "pose_optimizer"):
        assert_same_bits(with_loss_net[part], baseline[part])


def test_an_energy_that_counts_changes_the_pose_net(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    baseline = train(make_config(loss_net="none"), tiny_dataset, epochs=1)
    seal = train(make_config(alpha=0.05), tiny_dataset, epochs=1)
    pairs = zip(baseline.pose_net.parameters(), seal.pose_net.parameters(), strict=True)
    assert any(not torch.equal(left, right) for left, right in pairs)


def test_trainers_in_one_process_do_not_disturb_each_other_or_their_host(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    config = make_config()
    alone = train(config, tiny_dataset)
    first, second = (SealTrainer(config, tiny_dataset, device=CPU) for _ in range(2))
    before = torch.get_rng_state()
    for _ in range(2):
        first.run_epoch()
        second.run_epoch()
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_bits(first.state_dict(), alone.state_dict())
    assert_same_bits(second.state_dict(), alone.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shared_arrays_are_never_written(
    make_config: MakeConfig, tiny_dataset: PoseDataset, dtype: torch.dtype
) -> None:
    """Neither by training and evaluation nor by a net that writes to its input."""
    dataset = copy.deepcopy(tiny_dataset)
    before = dataset.content_hash()
    config = make_config(data=DataConfig(max_eval_poses=20), energy_poses=4)
    trainer = train(config, dataset, epochs=2)
    trainer.evaluate("test")
    assert dataset.content_hash() == before

    def overwrite(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        inputs[0].zero_()

    heedless = SealTrainer(config, dataset, device=CPU, dtype=dtype)
    heedless.pose_net.register_forward_pre_hook(overwrite)
    heedless.run_epoch()
    heedless.evaluate("test")
    assert dataset.content_hash() == before


def test_evaluate_measures_the_whole_split(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    config = make_config(data=DataConfig(max_eval_poses=5))
    trainer = train(config, tiny_dataset, epochs=1)
    metrics = trainer.evaluate("test")
    split = tiny_dataset.splits["test"]
    with torch.no_grad():
        pred = trainer.pose_net.eval()(torch.tensor(split.x).unsqueeze(1)).squeeze(1)
    errors_mm = 1000 * mpjpe(pred.double(), torch.tensor(split.y).double())
    assert metrics["poses"] == 30.0
    assert metrics["mpjpe_mm"] == pytest.approx(errors_mm.mean().item(), rel=1e-9)
    walk = torch.tensor([0, 2]).eq(torch.tensor(split.sequence)[:, None]).any(dim=1)
    by_action = (errors_mm[walk].mean() + errors_mm[~walk].mean()) / 2
    assert metrics["action_mpjpe_mm"] == pytest.approx(by_action.item(), rel=1e-9)
    assert set(metrics) == {
        *("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm"),
        *("action_mpjpe_mm", "action_p_mpjpe_mm", "sequence_mpjpe_mm"),
        *("lse", "lle", "bsle", "poses", "segments_left_out"),
    }


def test_validation_is_bounded_and_evenly_spaced(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    config = make_config(data=DataConfig(max_eval_poses=7))
    trainer = SealTrainer(config, tiny_dataset, device=CPU)
    value = trainer.run_epoch()["val_mpjpe_mm"]
    split = tiny_dataset.splits["val"]  # 21 poses: every third
    with torch.no_grad():
        pred = trainer.pose_net(torch.tensor(split.x[::3]).unsqueeze(1)).squeeze(1)
    expected = 1000 * mpjpe(pred.double(), torch.tensor(split.y[::3]).double()).mean()
    assert value == pytest.approx(expected.item(), rel=1e-9)


def spoil(split: PoseSplit, value: float) -> PoseSplit:
    y = split.y.copy()
    y[3, 5, 1] = value
    return dataclasses.replace(split, y=y)


@pytest.mark.parametrize("variant", ["dynamic", "static"])
def test_a_net_that_looks_at_neighbours_trains_with_all_negatives(
    make_config: MakeConfig, tiny_dataset: PoseDataset, variant: str
) -> None:
    """Many to one: of 9 frames in, 3 have a pose, and these alone are seen by the loss-net."""
    config = make_config(
        backbone_options={"channels": 16, "widths": [7]},
        data={"frames": 9, "max_eval_poses": 10},
        negatives="both",
        pair_weight=0.1,
        window_weight=0.1,
        window_frames=2,
        flip="double",
        eval_flip=True,
        variant=variant,
        epochs=6,
    )
    trainer = SealTrainer(config, tiny_dataset, device=CPU)
    figures = [trainer.run_epoch() for _ in range(config.epochs)]
    losses = [figure["train_pose_loss"] for figure in figures]
    assert losses[-1] < 0.8 * losses[0]
    assert {"val_energy_gap", "train_energy_pred"} <= set(figures[-1])
    assert trainer.evaluate("test")["poses"] == 30
    again = SealTrainer(config, tiny_dataset, device=CPU)
    assert again.run_epoch()["val_mpjpe_mm"] == figures[0]["val_mpjpe_mm"]


def test_a_non_finite_loss_names_step_and_last_finite_figures(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    spoilt = with_split(tiny_dataset, "train", spoil(tiny_dataset.splits["train"], np.nan))
    trainer = SealTrainer(make_config(), spoilt, device=CPU)
    batches = TrainingBatches(make_config(), spoilt, device=CPU, dtype=torch.float32)
    step = next(
        number
        for number, batch in enumerate(batches.epoch("data_order", 1), start=1)
        if batch.y.isnan().any()
    )
    with pytest.raises(NonFiniteError, match=f"epoch 1, step {step};") as caught:
        trainer.run_epoch()
    assert caught.value.what == "train_pose_loss"
    assert caught.value.step == step
    assert bool(caught.value.last_finite) == (step > 1)


def test_an_exploding_training_is_caught(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    trainer = SealTrainer(make_config(lr_p=1e30), tiny_dataset, device=CPU)
    with pytest.raises(NonFiniteError, match="became non-finite in epoch 1") as caught:
        trainer.run_epoch()
    assert all(np.isfinite(value) for value in caught.value.last_finite.values())


def test_a_non_finite_validation_metric_is_caught(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    spoilt = with_split(tiny_dataset, "val", spoil(tiny_dataset.splits["val"], np.inf))
    trainer = SealTrainer(make_config(), spoilt, device=CPU)
    with pytest.raises(NonFiniteError, match="val_mpjpe_mm became non-finite in epoch 1, step 4"):
        trainer.run_epoch()
    assert trainer.epoch == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_net": "mlp"}, "state of loss_net does not fit"),
        ({"loss_net": "none"}, "it belongs to another training"),
        ({"backbone_options": {"channels": 16}}, "state of pose_net does not fit"),
        ({"seed": 3}, "state has seed=0, expected 3"),
    ],
)
def test_a_state_of_another_configuration_is_refused(
    make_config: MakeConfig, tiny_dataset: PoseDataset, changes: dict[str, Any], message: str
) -> None:
    state = train(make_config(), tiny_dataset, epochs=1).state_dict()
    other = SealTrainer(make_config(**changes), tiny_dataset, device=CPU)
    with pytest.raises(CheckpointError, match=message):
        other.load_state_dict(state)


def test_missing_and_too_small_splits_are_named(
    make_config: MakeConfig, tiny_dataset: PoseDataset
) -> None:
    without = dataclasses.replace(tiny_dataset, splits={"train": tiny_dataset.splits["train"]})
    with pytest.raises(DataError, match="'tiny' has no poses in split 'val'; it has train"):
        SealTrainer(make_config(), without, device=CPU)
    whole = tiny_dataset.splits["train"]
    one = PoseSplit(whole.x[:1], whole.y[:1], None, whole.sequence[:1], whole.frame[:1])
    with pytest.raises(DataError, match="has 1 poses to train on; it needs 2"):
        SealTrainer(make_config(), with_split(tiny_dataset, "train", one), device=CPU)
    trainer = SealTrainer(make_config(), tiny_dataset, device=CPU)
    with pytest.raises(DataError, match="no poses in split 'holdout'"):
        trainer.evaluate("holdout")


@pytest.mark.parametrize(
    ("backbone", "frames", "lifted"),
    [
        # of 66 windows of 3 frames, 16 for every clip whose energy is seen
        ("mixste", 3, [3 * (i * 66 // 16) + frame for i in range(16) for frame in range(3)]),
        # single frames are taken one by one, as is the middle of a window
        ("pstmo", 3, [i * 198 // 16 for i in range(16)]),
        ("videopose", 1, [i * 198 // 16 for i in range(16)]),
        ("videopose", 3, [i * 198 // 16 for i in range(16)]),
    ],
)
def test_validation_energies_are_of_clips_all_over_the_split(
    make_config: MakeConfig,
    tiny_dataset: PoseDataset,
    backbone: BackboneName,
    frames: int,
    lifted: list[int],
) -> None:
    val = synthetic_split(np.random.default_rng(3), 198)  # three sequences of 66
    config = make_config(
        backbone=backbone,
        backbone_options=SMALL_BACKBONES[backbone],
        data=DataConfig(frames=frames),
        energy_poses=1,
        steps_per_epoch=1,
    )
    trainer = SealTrainer(config, with_split(tiny_dataset, "val", val), device=CPU)
    seen: list[torch.Tensor] = []

    def note(net: torch.nn.Module, inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
        if not net.training:
            seen.append(inputs[0])

    assert trainer.loss_net is not None
    trainer.loss_net.register_forward_pre_hook(note)
    trainer.run_epoch()
    assert np.array_equal(torch.cat(seen)[:, 0].numpy(), val.x[lifted])
