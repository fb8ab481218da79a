"""PoseFormerV2 against the official class, and what it must and must not do."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.trainables.backbones.check_values import (
    assert_check_values,
    assert_default_initialisation,
    assert_every_parameter_learns,
    count_on_meta,
    fill,
    synthetic,
    weyl,
)
from trainables.backbones._transformer import DropPath
from trainables.backbones.official.poseformerv2 import convert_poseformerv2
from trainables.backbones.poseformerv2 import PoseFormerV2, dct_matrix, inverse_dct_matrix
from trainables.errors import CheckpointError, ShapeError
from trainables.windows import Window

TABLES = ("Spatial_pos_embed", "Temporal_pos_embed", "Temporal_pos_embed_")


def small(**options: Any) -> PoseFormerV2:
    torch.manual_seed(0)
    sizes = {"num_joints": 5, "frames": 9, "width": 8, "depth": 3, "heads": 2}
    return PoseFormerV2(**{**sizes, **options})


def with_positions(net: PoseFormerV2) -> PoseFormerV2:
    """A net whose position tables are away from zero, where they start."""
    for table in TABLES:
        torch.nn.init.normal_(getattr(net, table))
    return net


@pytest.mark.parametrize(
    ("frames", "kept_frames", "kept_coefficients", "expected"),
    [
        (27, 3, 3, 14_355_739),
        (27, 1, 3, 14_354_649),
        (81, 9, 9, 14_362_279),
        (243, 27, 27, 14_381_899),
        (243, 3, 3, 14_355_739),
    ],
)
@pytest.mark.parametrize("split_at_half", [False, True])
def test_parameter_counts_of_the_official_class(
    frames: int, kept_frames: int, kept_coefficients: int, expected: int, split_at_half: bool
) -> None:
    with torch.device("meta"):
        net = PoseFormerV2(
            num_joints=17,
            frames=frames,
            kept_frames=kept_frames,
            kept_coefficients=kept_coefficients,
            split_at_half=split_at_half,
        )
    assert count_on_meta(net) == expected


def test_the_papers_size_is_the_default() -> None:
    with torch.device("meta"):
        net = PoseFormerV2(num_joints=17)
    assert net.window == Window(27, "middle")
    assert count_on_meta(net) == 14_355_739
    assert count_on_meta(net.blocks) == 4 * 3_559_936
    assert count_on_meta(net.Spatial_blocks) == 4 * 8_544
    assert count_on_meta(net.head) == 57_715
    assert net.Temporal_norm.eps == net.Spatial_norm.eps == 1e-6
    assert net.head[0].eps == 1e-5
    rates = [m.rate for m in net.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0, 0.1 / 3, 0.2 / 3, 0.1] * 2)


def test_forward_values_of_the_official_class() -> None:
    net = fill(PoseFormerV2(num_joints=17).double())
    with torch.no_grad():
        out = net(weyl(1, 27, 17, 2))
    expected = [0.057055, 0.882003, 0.531522, -0.462031, 1.277112, -0.853081, 0.398430, -0.996425]
    assert_check_values(out, expected, tolerance=1e-6)


@pytest.mark.parametrize("frames", [1, 3, 27])
def test_the_transform_is_the_unnormalised_dct_and_its_inverse_is_exact(frames: int) -> None:
    x = weyl(frames)
    summed = [
        2
        * sum(
            x[t].item() * math.cos(math.pi * k * (2 * t + 1) / (2 * frames)) for t in range(frames)
        )
        for k in range(frames)
    ]
    matrix = dct_matrix(frames, frames)
    assert (matrix @ x).tolist() == pytest.approx(summed, abs=1e-12)
    torch.testing.assert_close(inverse_dct_matrix(frames) @ matrix @ x, x, rtol=0, atol=1e-13)
    assert torch.equal(dct_matrix(frames, 1), matrix[:1])


def test_initialisation() -> None:
    net = small(width=64)
    assert all(getattr(net, table).eq(0).all() for table in TABLES)
    assert_default_initialisation(net)


def test_a_clip_gives_its_middle_frames_one_window_each() -> None:
    net = with_positions(small()).double().eval()
    clip = torch.randn(2, 12, 5, 2, dtype=torch.float64)
    out = net(clip)
    assert out.shape == (2, 4, 5, 3)
    for start in range(4):
        torch.testing.assert_close(out[:, start : start + 1], net(clip[:, start : start + 9]))


def test_frames_beyond_the_kept_ones_are_seen_by_their_frequencies() -> None:
    net = with_positions(small()).double().eval()
    clip = torch.randn(1, 9, 5, 2, dtype=torch.float64)
    middle = clip.clone()
    middle[:, [0, 8]] = middle[:, [8, 0]]  # outside of the kept frames 3, 4, 5
    assert not torch.allclose(net(clip), net(middle))
    # at the middle, every odd coefficient is zero: of n = 1 only the sum of the frames is seen
    sums = with_positions(small(kept_coefficients=1, kept_frames=1)).double().eval()
    torch.testing.assert_close(sums(clip), sums(middle))
    assert not torch.allclose(sums(clip), sums(clip.roll(1, dims=1)))


def test_the_split_follows_the_branches_unless_the_release_is_asked_for() -> None:
    for options in ({"kept_frames": 3, "kept_coefficients": 3}, {"kept_coefficients": 4}):
        ours, released = small(**options), small(**options, split_at_half=True)
        assert ours.state_dict().keys() == released.state_dict().keys()
        assert [b.split for b in ours.blocks] == [options["kept_coefficients"]] * 3
        assert [b.split for b in released.blocks] == [3] * 3
    released.load_state_dict(ours.state_dict())
    clip = torch.randn(1, 9, 5, 2)
    assert not torch.allclose(ours.eval()(clip), released.eval()(clip))


@pytest.mark.parametrize("options", [{}, {"kept_frames": 1, "split_at_half": True}])
def test_gradients_reach_every_parameter(options: dict[str, Any]) -> None:
    net = with_positions(small(**options)).double().train()
    for module in net.modules():
        if isinstance(module, DropPath):
            module.rate = 0.0
    net(torch.randn(4, 9, 5, 2, dtype=torch.float64)).pow(2).sum().backward()
    assert_every_parameter_learns({name: p.grad for name, p in net.named_parameters()})


def test_paths_are_dropped_in_training_only() -> None:
    net = small(drop_path=0.5)
    clip = torch.randn(2, 9, 5, 2)
    assert not torch.equal(net.train()(clip), net(clip))
    assert torch.equal(net.eval()(clip), net(clip))
    calm = small(drop_path=0.0).train()
    assert torch.equal(calm(clip), calm(clip))


def test_the_scale_of_the_output() -> None:
    clip = torch.randn(2, 9, 5, 2)
    metres, millimetres = small().eval(), small(output_scale=0.001).eval()
    torch.testing.assert_close(millimetres(clip), metres(clip) / 1000)


def test_a_small_net_learns() -> None:
    net = small().train()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    clip = torch.randn(32, 9, 5, 2)
    target = torch.cat((clip[:, 4:5], clip.mean(1, keepdim=True)[..., :1]), dim=-1)
    losses = []
    for _ in range(60):
        loss = (net(clip) - target).norm(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_the_same_seed_builds_the_same_net() -> None:
    clip = torch.randn(2, 9, 5, 2)
    assert torch.equal(small().eval()(clip), small().eval()(clip))


@pytest.mark.parametrize("shape", [(1, 8, 5, 2), (1, 9, 4, 2), (1, 9, 5, 3), (9, 5, 2)])
def test_what_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected 2D poses|shorter than the window of 9"):
        small()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 8}, "frames must be odd"),
        ({"kept_frames": 2}, "kept_frames must be odd"),
        ({"kept_frames": 11}, "kept_frames must be odd and of 1 to 9"),
        ({"kept_coefficients": 10}, "kept_coefficients must be of 1 to 9"),
        ({"kept_coefficients": 0}, "kept_coefficients must be of 1 to 9"),
        ({"heads": 3}, "heads must divide"),
        ({"drop_path": 1.0}, "drop path rate"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def official_shapes(depth: int, width: int, joints: int, f: int, n: int) -> dict[str, Any]:
    """Names and shapes of the parameters of a checkpoint of PoseFormerV2's authors."""
    token = width * joints
    linear = {
        "Joint_embedding": (width, 2),
        "Freq_embedding": (token, 2 * joints),
        "weighted_mean": (1, n, 1),
        "weighted_mean_": (1, f, 1),
        "head.1": (3 * joints, 2 * token),
    }
    norms = {"Spatial_norm": width, "Temporal_norm": token, "head.0": 2 * token}
    for i in range(depth):
        for block, c, mlps in (
            (f"Spatial_blocks.{i}", width, ("mlp",)),
            (f"blocks.{i}", token, ("mlp1", "mlp2")),
        ):
            linear |= {f"{block}.attn.qkv": (3 * c, c), f"{block}.attn.proj": (c, c)}
            for mlp in mlps:
                linear |= {f"{block}.{mlp}.fc1": (2 * c, c), f"{block}.{mlp}.fc2": (c, 2 * c)}
            norms |= {f"{block}.norm{k + 1}": c for k in range(1 + len(mlps))}
    shapes: dict[str, tuple[int, ...]] = {
        "Spatial_pos_embed": (1, joints, width),
        "Temporal_pos_embed": (1, f, token),
        "Temporal_pos_embed_": (1, n, token),
    }
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, size in norms.items():
        shapes |= {f"{name}.weight": (size,), f"{name}.bias": (size,)}
    return shapes


@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_checkpoints_load(prefix: str) -> None:
    official = synthetic(official_shapes(depth=3, width=8, joints=5, f=1, n=3))
    net = small(kept_frames=1, split_at_half=True)
    converted = convert_poseformerv2({f"{prefix}{k}": v for k, v in official.items()})
    net.load_state_dict(converted)
    for name, value in official.items():
        assert torch.equal(net.state_dict()[name], value)


def test_other_checkpoints_are_refused_with_their_differences() -> None:
    official = synthetic(official_shapes(depth=3, width=8, joints=5, f=3, n=3))
    del official["blocks.2.mlp2.fc1.weight"]
    official["nose"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"unknown: nose.*missing: blocks.2.mlp2.fc1.weight"):
        convert_poseformerv2(official)
