"""Blocks that are computed again, and bfloat16: same bits, same places, less that is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.seal.small_pose_nets import clips, configuration, frames_of
from trainables.backbones._recompute import recomputed, repeated_blocks
from trainables.builders import build_backbone, build_loss_net, build_optimizers
from trainables.config import BackboneName, TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import ShapeError, TrainableError
from trainables.seal.pose_pass import PosePass
from trainables.seal.step import AlternatingStep
from trainables.seal.trainer import SealTrainer
from trainables.skeletons import H36M_17

NAMES: tuple[BackboneName, ...] = get_args(BackboneName)
WITH_BLOCKS = [name for name in NAMES if name != "videopose"]
CPU = torch.device("cpu")

Trained = tuple[dict[str, Tensor], list[dict[str, Tensor]], Tensor]


def train(config: TrainingConfig) -> Trained:
    """State of both nets, figures, and the next random numbers after three steps."""
    torch.manual_seed(1)
    pose_net, loss_net = build_backbone(config, H36M_17).train(), build_loss_net(config, H36M_17)
    update = AlternatingStep(
        config,
        skeleton=H36M_17,
        pose_net=pose_net,
        loss_net=loss_net,
        optimizers=build_optimizers(config, pose_net, loss_net),
    )
    frames = frames_of(config.backbone)
    figures = [update(*clips(6, frames, torch.float32, seed=seed)) for seed in range(3)]
    state = {f"pose_net.{k}": v for k, v in pose_net.state_dict().items()}
    if loss_net is not None:
        state |= {f"loss_net.{k}": v for k, v in loss_net.state_dict().items()}
    return state, figures, torch.rand(3)


def assert_same(first: Trained, second: Trained) -> None:
    for one, other in ((first[0], second[0]), *zip(first[1], second[1], strict=True)):
        assert list(one) == list(other)
        for name, value in one.items():
            assert torch.equal(value, other[name]), name
    assert torch.equal(first[2], second[2])


TOGETHER: dict[str, dict[str, Any]] = {
    "alone": {},
    "baseline": {"loss_net": "none"},
    "in parts": {"accumulate": 2},
    "in bfloat16": {"autocast": "bf16"},
    "in parts of bfloat16": {"accumulate": 2, "autocast": "bf16"},
}


@pytest.mark.parametrize("name", WITH_BLOCKS)
@pytest.mark.parametrize("together", TOGETHER)
def test_blocks_computed_again_change_no_bit(name: BackboneName, together: str) -> None:
    """With dropout, stochastic depth and batch norm; names of the state, too."""
    fields = TOGETHER[together]
    again = configuration(name, checkpoint_activations=True, **fields)
    assert_same(train(again), train(configuration(name, **fields)))


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_blocks_computed_again_keep_less(name: BackboneName) -> None:
    kept = []
    for again in (False, True):
        config = configuration(name, checkpoint_activations=again)
        net = build_backbone(config, H36M_17).train()
        x, y = clips(4, frames_of(name), torch.float32)
        sizes: dict[int, int] = {}

        def note(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        # what checkpointed blocks keep for themselves does not come by here
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output = PosePass(config, net).once(x, y)  # held, so that storages are not reused
        weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
        kept.append(sum(size for key, size in sizes.items() if key not in weights))
        assert output.pred.requires_grad
    assert kept[1] < 0.75 * kept[0]


def test_a_net_without_blocks_is_refused() -> None:
    config = configuration("videopose", checkpoint_activations=True)
    with pytest.raises(TrainableError, match=r"checkpoint_activations: VideoPose has no repeated"):
        build_backbone(config, H36M_17)
    empty = configuration(
        "simplebaseline", checkpoint_activations=True, backbone_options={"stages": 0}
    )
    with pytest.raises(TrainableError, match="SimpleBaseline has no repeated blocks"):
        build_backbone(empty, H36M_17)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(("simplebaseline", 2), ("semgcn", 2), ("mixste", 4), ("pstmo", 5)),
        *(("poseformerv2", 4), ("d3dp", 4), ("ktpformer", 4), ("motionagformer", 3)),
    ],
)
def test_every_repeated_block_is_found(name: BackboneName, count: int) -> None:
    assert len(repeated_blocks(build_backbone(configuration(name), H36M_17))) == count


def test_a_net_is_as_before_after_its_pass() -> None:
    net = build_backbone(configuration("motionagformer"), H36M_17).train()
    blocks = repeated_blocks(net)
    before = [dict(vars(block)) for block in blocks]
    with recomputed(blocks):
        assert all("forward" in vars(block) for block in blocks)
    assert [dict(vars(block)) for block in blocks] == before
    with pytest.raises(ShapeError, match="frames"):
        PosePass(configuration("motionagformer", checkpoint_activations=True), net).once(
            *clips(2, 4, torch.float32)
        )
    assert [dict(vars(block)) for block in blocks] == before


def test_without_gradients_nothing_is_computed_again() -> None:
    config = configuration("mixste", checkpoint_activations=True, accumulate=2)
    net = build_backbone(config, H36M_17).train()
    calls: list[bool] = []
    inside = net.get_submodule("blocks.spatial_blocks.0.attn")
    inside.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    prediction = PosePass(config, net).whole(*clips(4, 9, torch.float32))
    assert calls == [False, False]
    prediction.backward(prediction.output.pred.sum())
    assert calls == [False, False, True, True, True, True]  # both parts forth, and back


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_close_repeatable_and_of_the_training_pass_alone(name: BackboneName) -> None:
    plain, half = configuration(name), configuration(name, autocast="bf16")
    net = build_backbone(plain, H36M_17).train()
    x, y = clips(6, frames_of(name), torch.float32)
    outputs = []
    for config in (plain, half, half):
        torch.manual_seed(2)
        outputs.append(PosePass(config, copy.deepcopy(net)).once(x, y).pred.detach())
    exact, rounded, again = outputs
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, again)
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.1 * exact.abs().max().item())
    assert_same(train(half), train(half))


def test_losses_energies_and_evaluation_are_outside_of_bfloat16() -> None:
    config = configuration(
        "mixste", autocast="bf16", negatives="both", negatives_from="eval_forward"
    )
    pose_net, loss_net = build_backbone(config, H36M_17).train(), build_loss_net(config, H36M_17)
    assert loss_net is not None
    seen: list[tuple[str, bool, torch.dtype]] = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(net: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            mode = f"{name} in {'training' if net.training else 'evaluation'}"
            seen.append((mode, torch.is_autocast_enabled("cpu"), inputs[-1].dtype))

        return note

    pose_net.register_forward_hook(watch("pose-net"))
    loss_net.register_forward_hook(watch("loss-net"))
    AlternatingStep(
        config,
        skeleton=H36M_17,
        pose_net=pose_net,
        loss_net=loss_net,
        optimizers=build_optimizers(config, pose_net, loss_net),
    )(*clips(4, 9, torch.float32))
    assert seen == [
        ("pose-net in evaluation", False, torch.float32),
        ("pose-net in evaluation", False, torch.float32),
        ("pose-net in training", True, torch.float32),
        ("loss-net in training", False, torch.float32),
        ("loss-net in training", False, torch.float32),
    ]
    assert all(p.dtype == torch.float32 for p in pose_net.parameters())


@pytest.mark.parametrize("name", ["mixste", "motionagformer"])
def test_a_restored_training_continues_with_the_same_bits(
    name: BackboneName, tiny_dataset: PoseDataset
) -> None:
    config = configuration(
        name,
        accumulate=2,
        autocast="bf16",
        checkpoint_activations=True,
        batch_size=8,
        steps_per_epoch=2,
        epochs=2,
    )
    whole = SealTrainer(config, tiny_dataset, device=CPU)
    whole.run_epoch()
    state = copy.deepcopy(whole.state_dict())
    expected = whole.run_epoch()
    restored = SealTrainer(config, tiny_dataset, device=CPU)
    restored.load_state_dict(state)
    figures = restored.run_epoch()
    for key in ("train_pose_loss", "val_mpjpe_mm", "val_energy_pred"):
        assert figures[key] == expected[key]
    for key, value in whole.pose_net.state_dict().items():
        assert torch.equal(restored.pose_net.state_dict()[key], value)
