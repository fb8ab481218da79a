"""Batches in parts: the gradient, the statistics and the random numbers of the whole batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.seal.small_pose_nets import clips, configuration, frames_of, gradients
from trainables.backbones._training import TrainingOutput
from trainables.builders import (
    Optimizers,
    build_backbone,
    build_loss_net,
    build_optimizers,
    resolve_pose_loss,
)
from trainables.config import BackboneName, TrainingConfig
from trainables.seal.pose_pass import PosePass
from trainables.seal.step import AlternatingStep
from trainables.seal.training_pass import supervised_loss, training_pass
from trainables.skeletons import H36M_17

NAMES: tuple[BackboneName, ...] = get_args(BackboneName)
CPU = torch.device("cpu")


def build(config: TrainingConfig, dtype: torch.dtype = torch.float64) -> nn.Module:
    return build_backbone(config, H36M_17).to(dtype).train()


def at_once(net: nn.Module, parts: list[tuple[Tensor, Tensor]]) -> TrainingOutput:
    """All parts in one graph, one after the other."""
    outputs = [training_pass(net, *part) for part in parts]
    auxiliary = [output.auxiliary for output in outputs if output.auxiliary is not None]
    return TrainingOutput(
        torch.cat([output.pred for output in outputs]),
        torch.cat(auxiliary) if auxiliary else None,
    )


def coupled(output: TrainingOutput) -> Tensor:
    """A loss each term of which looks at all clips."""
    loss = output.pred.square().mean() ** 2 + output.pred.std(dim=0).sum()
    return loss if output.auxiliary is None else loss * output.auxiliary.std()


def assert_same_gradients(net: nn.Module, expected: nn.Module) -> None:
    found, wanted = gradients(net), gradients(expected)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


def assert_parts_equal_one_graph(name: BackboneName, device: torch.device) -> None:
    config = configuration(name, accumulate=3)
    net = build(config).to(device)
    expected = copy.deepcopy(net)
    x, y = (values.to(device) for values in clips(8, frames_of(name)))
    part_by_part = PosePass(config, net)
    parts = part_by_part.parts(x, y)
    assert [len(part) for part, _ in parts] == [3, 3, 2]

    torch.manual_seed(1)
    output = at_once(expected, parts)
    torch.autograd.backward(coupled(output))
    drawn = torch.rand(3, device=device)

    torch.manual_seed(1)
    prediction = part_by_part.whole(x, y)
    # without a graph torch may multiply in another order
    torch.testing.assert_close(prediction.output.pred, output.pred, rtol=1e-10, atol=1e-12)
    prediction.backward(coupled(prediction.output))
    assert_same_gradients(net, expected)
    # statistics were noted once, and what is drawn next is what it was
    for buffer, other in zip(net.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, rtol=1e-10, atol=1e-12)
    assert torch.equal(torch.rand(3, device=device), drawn)


@pytest.mark.parametrize("name", NAMES)
def test_parts_give_the_gradient_of_one_graph(name: BackboneName) -> None:
    """With dropout, stochastic depth, batch norm, D3DP's noise, P-STMO's second head."""
    assert_parts_equal_one_graph(name, CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_parts_give_the_gradient_of_one_graph_on_a_gpu(name: BackboneName) -> None:
    assert_parts_equal_one_graph(name, torch.device("cuda", 0))


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_in_parts_is_taught_by_the_whole_batch(name: BackboneName) -> None:
    config = configuration(
        name, loss_net="none", accumulate=3, length_weight=0.2, symmetry_weight=0.1
    )
    net = build(config)
    expected = copy.deepcopy(net)
    x, y = clips(8, frames_of(name))

    torch.manual_seed(1)
    whole = PosePass(config, expected).whole(x, y)
    loss = supervised_loss(resolve_pose_loss(config), whole.output, y, H36M_17)
    step = alternating(config.model_copy(update={"accumulate": 1}), expected)
    total, figures = step._supervised_loss(whole.output, y)
    whole.backward(total)

    torch.manual_seed(1)
    found = alternating(config, net)(x, y)
    assert set(found) == set(figures) > {"train_pose_loss"}
    torch.testing.assert_close(found["train_pose_loss"], loss.detach(), rtol=1e-10, atol=0)
    for key, value in figures.items():
        torch.testing.assert_close(found[key], value, rtol=1e-10, atol=0)
    assert_same_gradients(net, expected)


def alternating(
    config: TrainingConfig, pose_net: nn.Module, loss_net: nn.Module | None = None
) -> AlternatingStep:
    optimizers = build_optimizers(config, pose_net, loss_net)
    return AlternatingStep(
        config,
        skeleton=H36M_17,
        pose_net=pose_net,
        loss_net=loss_net,
        optimizers=Optimizers(optimizers.pose_net, optimizers.loss_net),
    )


PLAIN_MIXSTE = {"frames": 9, "width": 16, "heads": 2, "depth": 2, "drop_path": 0.0}
GRAPH = {"width": 8, "depth": 1, "heads": 2, "joint_dim": 3}
CASES: dict[str, dict[str, Any]] = {
    "baseline": {"loss_net": "none"},
    "baseline, motionagformer's loss": {"loss_net": "none", "backbone": "motionagformer"},
    "margin": {},
    "nce": {"objective": "nce"},
    "graph loss-net": {"loss_net": "graph", "loss_net_options": GRAPH},
    "negatives in evaluation": {"negatives_from": "eval_forward"},
    "two kinds of negatives": {"negatives": "both", "pair_weight": 0.5},
    "neighbouring windows": {"window_weight": 0.5},
    "subset": {"energy_poses": 4},
    "constraints": {"length_weight": 0.2, "symmetry_weight": 0.1, "grad_clip": 0.01},
    "middle frames": {
        "backbone": "poseformerv2",
        "backbone_options": {**PLAIN_MIXSTE, "width": 8},
    },
    "single frames": {
        "backbone": "semgcn",
        "backbone_options": {"channels": 8, "stages": 1},
        "data": {"frames": 1},
    },
}


def without_batch_norm(net: nn.Module) -> nn.Module:
    """Batch norm sees the parts, not the batch."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm1d):
                setattr(module, name, nn.Identity())
    return net


def after_steps(
    config: TrainingConfig, dtype: torch.dtype = torch.float64
) -> tuple[list[nn.Module], list[dict[str, Tensor]]]:
    """Both nets and all figures after four steps of seven clips."""
    pose_net = without_batch_norm(build(config, dtype))
    loss_net = build_loss_net(config, H36M_17)
    loss_net = None if loss_net is None else loss_net.to(dtype).train()
    update = alternating(config, pose_net, loss_net)
    stream = torch.Generator().manual_seed(3)
    figures = [
        update(*clips(7, config.data.frames, dtype, seed=seed), stream=stream) for seed in range(4)
    ]
    return [net for net in (pose_net, loss_net) if net is not None], figures


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("accumulate", [2, 7])
def test_steps_in_parts_are_the_steps_of_the_batch(case: str, accumulate: int) -> None:
    fields = {"backbone": "mixste", **CASES[case]}
    name: BackboneName = fields.pop("backbone")
    if name == "mixste":
        fields = {"backbone_options": PLAIN_MIXSTE, **fields}
    elif name == "motionagformer":
        options = {**PLAIN_MIXSTE, "head_width": 16}
        fields = {"backbone_options": options, **fields}
    whole, figures = after_steps(configuration(name, **fields))
    parted, parted_figures = after_steps(configuration(name, accumulate=accumulate, **fields))
    for net, other in zip(parted, whole, strict=True):
        for parameter, expected in zip(net.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(parameter, expected, rtol=1e-6, atol=1e-9)
    for found, expected_figures in zip(parted_figures, figures, strict=True):
        assert set(found) == set(expected_figures)
        for key, value in expected_figures.items():
            torch.testing.assert_close(found[key], value, rtol=1e-7, atol=1e-10, msg=key)


@pytest.mark.parametrize(
    ("name", "batch", "accumulate", "sizes"),
    [
        ("mixste", 8, 1, [8]),
        ("mixste", 8, 3, [3, 3, 2]),
        ("mixste", 2, 5, [1, 1]),
        ("ktpformer", 2, 2, [1, 1]),  # its batch norms see the frames of a clip
        ("videopose", 5, 4, [3, 2]),  # no variance of one pose
        ("videopose", 3, 3, [3]),
        ("pstmo", 4, 4, [2, 2]),
        ("poseformerv2", 4, 4, [1, 1, 1, 1]),
    ],
)
def test_parts_are_even_and_no_batch_norm_sees_a_single_row(
    name: BackboneName, batch: int, accumulate: int, sizes: list[int]
) -> None:
    config = configuration(name, accumulate=accumulate)
    net = build(config)
    parts = PosePass(config, net).parts(*clips(batch, frames_of(name)))
    assert [len(x) for x, _ in parts] == [len(y) for _, y in parts] == sizes
    for part in parts:
        training_pass(net, *part)


def watched_graphs(run: Callable[[], None]) -> int:
    """The most bytes that are kept for the backward pass at a time."""
    kept = most = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal kept, most
            self.tensor = tensor
            kept += tensor.nbytes
            most = max(most, kept)

        def __del__(self) -> None:
            nonlocal kept
            kept -= self.tensor.nbytes

    def unpack(packed: Kept) -> Tensor:
        return packed.tensor

    with torch.autograd.graph.saved_tensors_hooks(Kept, unpack):
        run()
    return most


@pytest.mark.parametrize("loss_net", ["none", "mlp"])
def test_parts_keep_less_at_a_time(loss_net: str) -> None:
    """Per clip: of eight clips in four parts, a quarter, beside what the loss itself keeps."""
    kept = []
    for accumulate in (1, 4):
        energy = {"loss_net_options": {"hidden": 2}} if loss_net == "mlp" else {}
        config = configuration(
            "mixste",
            backbone_options={**PLAIN_MIXSTE, "width": 64},
            accumulate=accumulate,
            loss_net=loss_net,
            **energy,
        )
        pose_net, net = build(config), build_loss_net(config, H36M_17)
        update = alternating(config, pose_net, None if net is None else net.double())
        x, y = clips(8, 9)
        kept.append(watched_graphs(lambda update=update, x=x, y=y: update(x, y)))  # type: ignore[misc]
    assert kept[1] < 0.4 * kept[0]
