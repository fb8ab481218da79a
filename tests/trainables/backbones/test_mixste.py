"""MixSTE against the official class, and what it must and must not do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.backbones.check_values import (
    assert_check_values,
    assert_default_initialisation,
    assert_every_parameter_learns,
    assert_learns_and_repeats,
    count_on_meta,
    fill,
    official_mixste,
    synthetic,
    weyl,
)
from trainables.backbones._transformer import Attention, DropPath
from trainables.backbones.mixste import MixSTE
from trainables.backbones.official.mixste import convert_mixste
from trainables.errors import CheckpointError, ShapeError
from trainables.windows import Window


def small(**options: Any) -> MixSTE:
    torch.manual_seed(0)
    sizes = {"num_joints": 5, "frames": 6, "width": 8, "depth": 3, "heads": 2}
    return MixSTE(**{**sizes, **options})


def with_positions(net: MixSTE) -> MixSTE:
    """A net whose position tables are away from zero, where they start."""
    torch.nn.init.normal_(net.blocks.spatial_table)
    torch.nn.init.normal_(net.blocks.temporal_table)
    return net


@pytest.mark.parametrize(
    ("frames", "expected"), [(243, 33_783_811), (81, 33_700_867), (27, 33_673_219)]
)
def test_parameter_counts_of_the_official_class(frames: int, expected: int) -> None:
    with torch.device("meta"):
        assert count_on_meta(MixSTE(num_joints=17, frames=frames)) == expected


def test_the_papers_size_is_the_default() -> None:
    with torch.device("meta"):
        net = MixSTE(num_joints=17)
    assert net.window == Window(243, "all")
    assert count_on_meta(net) == 33_783_811
    assert count_on_meta(net.blocks.spatial_blocks) == 8 * 2_102_784
    attention = [m for m in net.modules() if isinstance(m, Attention)]
    assert [m.heads for m in attention] == [8] * 16
    assert (net.blocks.spatial_norm.eps, net.blocks.temporal_norm.eps) == (1e-6, 1e-6)
    assert net.blocks.head_norm.eps == 1e-5


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (27, [0.040500, 0.284602, 0.155917, -0.110556, 0.809221, -0.203318, -0.164443, 0.777837]),
        pytest.param(
            243,
            [0.036954, 0.266027, 0.173323, -0.078917, 0.774376, -0.090485, -0.206846, 0.860129],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_forward_values_of_the_official_class(frames: int, expected: list[float]) -> None:
    net = fill(MixSTE(num_joints=17, frames=frames).double())
    with torch.no_grad():
        assert_check_values(net(weyl(1, frames, 17, 2)), expected, tolerance=1e-6)


def test_initialisation() -> None:
    net = small(width=64)
    assert net.blocks.spatial_table.eq(0).all()
    assert net.blocks.temporal_table.eq(0).all()
    assert_default_initialisation(net)


def test_drop_path_grows_with_depth_and_drops_frames_and_tracks() -> None:
    net = small(depth=8, drop_path=0.1).train()
    rates = [0.1 * i / 7 for i in range(8)]
    rows: dict[str, int] = {}
    for name, stack in (("S", net.blocks.spatial_blocks), ("T", net.blocks.temporal_blocks)):
        drops = [m for m in stack.modules() if isinstance(m, DropPath)]
        assert [m.rate for m in drops] == pytest.approx(rates)

        def remember(module: Any, inputs: tuple[Tensor], out: Tensor, name: str = name) -> None:
            rows[name] = len(inputs[0])

        drops[-1].register_forward_hook(remember)
    net(torch.randn(3, 6, 5, 2))
    assert rows == {"S": 3 * 6, "T": 3 * 5}


def test_drop_path_acts_in_training_only() -> None:
    net = small(drop_path=0.5)
    x = torch.randn(4, 6, 5, 2)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    assert sum(isinstance(m, DropPath) for m in net.modules()) == 6


def test_order_of_frames_and_joints_matters_through_the_tables_alone() -> None:
    net = small().double().eval()
    x = torch.randn(2, 6, 5, 2, dtype=torch.float64)
    frames, joints = torch.tensor([3, 0, 5, 1, 4, 2]), torch.tensor([4, 1, 0, 3, 2])
    for _ in range(2):
        out = net(x)
        by_frame, by_joint = net(x[:, frames]), net(x[:, :, joints])
        same = (
            torch.allclose(by_frame, out[:, frames]),
            torch.allclose(by_joint, out[:, :, joints]),
        )
        assert same == ((True, True) if net.blocks.temporal_table.eq(0).all() else (False, False))
        assert not torch.allclose(by_frame, out)
        with_positions(net)


def test_every_frame_sees_every_frame_and_joint() -> None:
    net = with_positions(small()).double().eval()
    x = torch.randn(1, 6, 5, 2, dtype=torch.float64)
    changed = x.clone()
    changed[0, 5, 4, 0] += 0.1
    assert (net(x) - net(changed)).abs().amin() > 1e-12


def test_clips_of_a_batch_are_independent() -> None:
    net = with_positions(small()).eval()
    x = torch.randn(3, 6, 5, 2)
    single = torch.cat([net(clip[None]) for clip in x])
    torch.testing.assert_close(net(x), single)


def test_gradients_reach_every_parameter() -> None:
    net = with_positions(small(drop_path=0.0)).double()
    net(torch.randn(2, 6, 5, 2, dtype=torch.float64)).square().sum().backward()
    assert_every_parameter_learns({name: p.grad for name, p in net.named_parameters()})


def test_small_nets_learn_and_repeat() -> None:
    assert_learns_and_repeats(
        lambda: small(width=16),
        lambda net: torch.optim.AdamW(net.parameters(), lr=3e-3),
        steps=30,
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5, 5, 2), r"clips of 6 frames.*got \(2, 5, 5, 2\); set data\.frames=6"),
        ((2, 6, 4, 2), r"\(B, T, 5, 2\), got \(2, 6, 4, 2\)"),
        ((2, 6, 5, 3), r"\(B, T, 5, 2\), got \(2, 6, 5, 3\)"),
    ],
)
def test_wrong_shapes_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        small()(torch.zeros(shape))


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="depth must be positive, got 0"):
        small(depth=0)
    with pytest.raises(ValueError, match="3 heads of width 8"):
        small(heads=3)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_checkpoints_become_ours(prefix: str) -> None:
    state = synthetic(official_mixste(depth=3, width=8, frames=6))
    net = small(num_joints=17)
    net.load_state_dict(convert_mixste({prefix + name: v for name, v in state.items()}))
    ours = net.state_dict()
    for official, name in (
        ("STEblocks.1.attn.qkv.weight", "blocks.spatial_blocks.1.attn.qkv.weight"),
        ("TTEblocks.2.mlp.fc2.bias", "blocks.temporal_blocks.2.mlp.fc2.bias"),
        ("STEblocks.0.norm1.weight", "blocks.spatial_blocks.0.norm1.weight"),
        ("Temporal_norm.bias", "blocks.temporal_norm.bias"),
        ("Temporal_pos_embed", "blocks.temporal_table"),
        ("Spatial_patch_to_embedding.weight", "embed.weight"),
        ("head.0.weight", "blocks.head_norm.weight"),
        ("head.1.weight", "blocks.head.weight"),
    ):
        assert torch.equal(ours[name], state[official])
    assert len(ours) == len(state)


def test_full_size_official_checkpoints_fit() -> None:
    with torch.device("meta"):
        net = MixSTE(num_joints=17)
        shapes = official_mixste(depth=8, width=512, frames=243)
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
    net.load_state_dict(convert_mixste(state), assign=True)


def test_what_is_unknown_or_missing_is_listed() -> None:
    state = synthetic(official_mixste(depth=2, width=8, frames=6))
    state["head.2.weight"] = state.pop("head.1.weight")
    state["STEblocks.0.extra"] = state.pop("TTEblocks.1.norm2.bias")
    message = (
        r"MixSTE: 2 unknown: STEblocks\.0\.extra, head\.2\.weight; "
        r"2 missing: TTEblocks\.1\.norm2\.bias, head\.1\.weight"
    )
    with pytest.raises(CheckpointError, match=message):
        convert_mixste(state)
    with pytest.raises(CheckpointError, match="12 missing"):
        convert_mixste({})
