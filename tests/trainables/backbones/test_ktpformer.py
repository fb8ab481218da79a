"""KTPFormer against the official class, plain graph convolutions, and what it must do."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.backbones.check_values import (
    assert_check_values,
    assert_learns_and_repeats,
    count_on_meta,
    fill,
    weyl,
)
from trainables.backbones._transformer import Attention, DropPath
from trainables.backbones.ktpformer import KTPFormer, neighbour_table
from trainables.errors import ShapeError
from trainables.skeletons import H36M_17, MPI_INF_3DHP_17, SKELETONS, Skeleton
from trainables.windows import Window

TREE = Skeleton("tree", tuple("abcde"), (-1, 0, 1, 1, 0), (), (), ())


def small(**options: Any) -> KTPFormer:
    torch.manual_seed(0)
    sizes = {"skeleton": TREE, "frames": 6, "width": 8, "depth": 2, "heads": 2}
    return KTPFormer(**{**sizes, **options})


def moved(net: KTPFormer) -> KTPFormer:
    """A net away from its initialisation, where tables are zero and Q is symmetric."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def filled(net: KTPFormer) -> KTPFormer:
    """The check values' weights; M and Q keep their initial values."""
    fill(net)
    with torch.no_grad():
        for unit in (net.kpa, net.tpa1, net.tpa2):
            unit.bn.weight.fill_(1.0)
            unit.gconv.M.fill_(1.0)
            unit.gconv.Q.fill_(1e-6)
    return net


@pytest.mark.parametrize(
    ("frames", "expected"), [(243, 35_213_430), (81, 34_859_622), (27, 34_765_014)]
)
@pytest.mark.parametrize("skeleton", [H36M_17, MPI_INF_3DHP_17])
def test_parameter_counts_of_the_official_class(
    skeleton: Skeleton, frames: int, expected: int
) -> None:
    with torch.device("meta"):
        assert count_on_meta(KTPFormer(skeleton=skeleton, frames=frames)) == expected


def test_the_papers_size_is_the_default() -> None:
    with torch.device("meta"):
        net = KTPFormer(skeleton=H36M_17)
        diffusion = KTPFormer(skeleton=H36M_17, input_channels=5)
    assert net.window == Window(243, "all")
    assert count_on_meta(net) == 35_213_430
    assert count_on_meta(net.kpa) == 12_577
    assert count_on_meta(net.tpa1) + count_on_meta(net.tpa2) == 1_418_578
    assert count_on_meta(diffusion) == 35_213_430 + 3_072
    assert [m.heads for m in net.modules() if isinstance(m, Attention)] == [8] * 16
    for first, *others in (net.spatial_blocks, net.temporal_blocks):
        block: Any = first
        assert (block.norm1.eps, block.norm2.eps) == (1e-5, 1e-6)
        rest: list[Any] = others
        assert {eps for b in rest for eps in (b.norm1.eps, b.norm2.eps)} == {1e-6}
    assert (net.spatial_norm.eps, net.temporal_norm.eps, net.head_norm.eps) == (1e-6, 1e-6, 1e-5)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (27, [0.051432, 0.391331, 0.220269, -0.068929, 0.690472, 0.227905, -0.126635, 0.831031]),
        pytest.param(
            243,
            [0.042888, 0.403051, 0.222853, -0.073127, 0.695574, 0.223822, -0.092659, 0.818989],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_forward_values_of_the_official_class(frames: int, expected: list[float]) -> None:
    net = filled(KTPFormer(skeleton=H36M_17, frames=frames))
    with torch.no_grad():
        assert_check_values(net(weyl(1, frames, 17, 2).float()), expected, tolerance=5e-6)


def test_tables_of_the_h36m_tree_and_of_frames() -> None:
    table = neighbour_table(17, H36M_17.segments)
    assert table[0].nonzero().flatten().tolist() == [0, 1, 4, 7]
    assert table[0, [0, 1, 4, 7]].tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])
    assert table[8].nonzero().flatten().tolist() == [7, 8, 9, 11, 14]
    assert table[8, [7, 8, 9, 11, 14]].tolist() == [0.25, 1, 0.25, 0.25, 0.25]
    assert table[10].nonzero().flatten().tolist() == [9, 10]
    assert table[10, [9, 10]].tolist() == [1, 1]
    frames = small(frames=4).tpa1.gconv.table
    expected = [[1, 1, 0, 0], [0.5, 1, 0.5, 0], [0, 0.5, 1, 0.5], [0, 0, 1, 1]]
    assert frames.tolist() == expected


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_the_graph_is_the_skeletons(skeleton: Skeleton) -> None:
    table = small(skeleton=skeleton).kpa.gconv.table
    linked = {(i, j) for i, j in table.nonzero().tolist() if i != j}
    assert linked == {pair for a, b in skeleton.segments for pair in ((a, b), (b, a))}
    assert table.diagonal().eq(1).all()
    torch.testing.assert_close(table.sum(dim=1), torch.full((skeleton.num_joints,), 2.0))


def test_the_tree_of_3dhp_has_the_pelvis_as_its_root() -> None:
    table = small(skeleton=MPI_INF_3DHP_17).kpa.gconv.table
    assert table[14].nonzero().flatten().tolist() == [8, 11, 14, 15]


def plain_convolution(conv: Any, h: Tensor) -> Tensor:
    """One row (L, in) to (L, out), node by node."""
    nodes = len(h)
    rows = []
    for i in range(nodes):
        row = conv.bias.clone()
        for j in range(nodes):
            forth, back = conv.table[i, j] + conv.Q[i, j], conv.table[j, i] + conv.Q[j, i]
            weight = conv.W[0] if i == j else conv.W[1]
            row = row + (forth + back) / 2 * conv.M[j] * (h[j] @ weight)
        rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize("name", ["kpa", "tpa1"])
def test_graph_convolution_equals_a_plain_computation(name: str) -> None:
    net = moved(small()).double()
    unit: Any = getattr(net, name)
    h = torch.randn(3, len(unit.gconv.table), unit.gconv.W.shape[1], dtype=torch.float64)
    expected = torch.stack([plain_convolution(unit.gconv, row) for row in h])
    torch.testing.assert_close(unit.gconv(h), expected, rtol=1e-10, atol=1e-12)
    # in training the norm's statistics are of all rows and nodes
    flat = expected.flatten(0, 1)
    centred = (flat - flat.mean(dim=0)) / (flat.var(dim=0, unbiased=False) + 1e-5).sqrt()
    activated = (centred * unit.bn.weight + unit.bn.bias).relu().view_as(expected)
    torch.testing.assert_close(unit(h), activated, rtol=1e-9, atol=1e-11)


def test_net_equals_its_stages_in_turn() -> None:
    net = moved(small(output_scale=0.5)).double().eval()
    x = torch.randn(2, 6, 5, 2, dtype=torch.float64)
    h = net.kpa(x.reshape(12, 5, 2)) + net.spatial_pos_embed
    for stage in range(3):
        h = net.spatial_norm(net.spatial_blocks[stage](h))
        h = h.reshape(2, 6, 5, 8).permute(0, 2, 1, 3).reshape(10, 6, 8)
        if stage == 0:
            h = h + net.tpa2(net.tpa1(h))
            h = h + net.temporal_pos_embed
        h = net.temporal_norm(net.temporal_blocks[stage](h))
        h = h.reshape(2, 5, 6, 8).permute(0, 2, 1, 3).reshape(12, 5, 8)
    expected = 0.5 * net.head(net.head_norm(h)).reshape(2, 6, 5, 3)
    torch.testing.assert_close(net(x), expected, rtol=1e-10, atol=1e-12)


def test_a_shift_reaches_every_token_of_its_clip_alone() -> None:
    net = moved(small(input_channels=5)).double().eval()
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    shift = torch.zeros(2, 8, dtype=torch.float64)
    torch.testing.assert_close(net.lift(x, shift), net.lift(x))
    shift[1] = torch.randn(8)
    changed = (net.lift(x, shift) - net.lift(x)).abs()
    assert changed[0].max() < 1e-12
    assert changed[1].amax(dim=-1).min() > 1e-6
    # added with the table of positions
    with torch.no_grad():
        shifted = net.lift(x[1:], shift[1:])
        net.spatial_pos_embed.add_(shift[1])
        torch.testing.assert_close(net.lift(x[1:]), shifted)


def test_initialisation() -> None:
    torch.manual_seed(0)
    net = KTPFormer(skeleton=H36M_17, frames=27, depth=1)
    assert net.spatial_pos_embed.eq(0).all()
    assert net.temporal_pos_embed.eq(0).all()
    for unit, bound in ((net.kpa, 0.0765), (net.tpa1, 0.00675), (net.tpa2, 0.00675)):
        conv = unit.gconv
        assert 0.97 * bound < conv.W.abs().max().item() <= bound * 1.0005
        assert conv.W.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.06)
        assert conv.M.eq(1).all()
        assert conv.Q.eq(torch.tensor(1e-6)).all()
        assert 0.9 / math.sqrt(512) < conv.bias.abs().max().item() <= 1 / math.sqrt(512)
    for module in net.modules():
        if isinstance(module, (nn.LayerNorm, nn.BatchNorm1d)):
            assert module.weight.eq(1).all()
            assert module.bias.eq(0).all()
        if isinstance(module, nn.Linear):
            assert module.weight.abs().max() <= 1 / math.sqrt(module.in_features)


def test_drop_path_grows_with_depth_from_a_first_stage_without() -> None:
    net = small(depth=7).train()
    rates = [0.0, *(0.1 * i / 7 for i in range(1, 8))]
    for stack in (net.spatial_blocks, net.temporal_blocks):
        drops = [m for m in stack.modules() if isinstance(m, DropPath)]
        assert [m.rate for m in drops] == pytest.approx(rates)


def test_drop_path_drops_frames_and_tracks_in_training_only() -> None:
    net = small(drop_path=0.4).train()
    kept: dict[str, list[float]] = {"S": [], "T": []}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
            ratios = (out / inputs[0]).flatten(1)
            assert torch.allclose(ratios, ratios[:, :1].expand_as(ratios), atol=1e-4)
            kept[name] += ratios[:, 0].tolist()

        return hook

    last: Any = net.spatial_blocks[-1]
    last.drop_path.register_forward_hook(remember("S"))
    last = net.temporal_blocks[-1]
    last.drop_path.register_forward_hook(remember("T"))
    x = torch.randn(200, 6, 5, 2)
    net(x)
    for name, rows in (("S", 200 * 6), ("T", 200 * 5)):
        ratios = torch.tensor(kept[name])
        assert len(ratios) == 2 * rows  # both branches
        assert (ratios == 0).float().mean().item() == pytest.approx(0.4, abs=0.04)
        assert ratios[ratios != 0].mean().item() == pytest.approx(1 / 0.6, rel=1e-3)
    net.eval()
    assert torch.equal(net(x), net(x))


def test_order_of_frames_and_joints_matters() -> None:
    net = small().double().eval()  # even where the tables of positions are still zero
    x = torch.randn(2, 6, 5, 2, dtype=torch.float64)
    frames, joints = torch.tensor([3, 0, 5, 1, 4, 2]), torch.tensor([4, 1, 0, 3, 2])
    assert not torch.allclose(net(x[:, frames]), net(x)[:, frames])
    assert not torch.allclose(net(x[:, :, joints]), net(x)[:, :, joints])
    # the chain of frames is its own mirror image
    torch.testing.assert_close(net(x.flip(1)), net(x).flip(1))


def test_clips_of_a_batch_are_independent_outside_training() -> None:
    net = moved(small()).eval()
    x = torch.randn(3, 6, 5, 2)
    torch.testing.assert_close(net(x), torch.cat([net(clip[None]) for clip in x]))


def test_every_parameter_learns_except_biases_before_batch_norm_and_of_keys() -> None:
    net = moved(small(drop_path=0.0)).double()
    net(torch.randn(4, 6, 5, 2, dtype=torch.float64)).square().sum().backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    largest = max(g.abs().max().item() for g in gradients.values() if g is not None)
    inert = set()
    for name, gradient in gradients.items():
        assert gradient is not None, name
        if name.endswith("qkv.bias"):
            assert gradient.chunk(3)[1].abs().max() < 1e-10 * largest
        if gradient.abs().max() < 1e-10 * largest:
            inert.add(name)
        if name.endswith("gconv.Q"):
            torch.testing.assert_close(gradient, gradient.T)  # only its symmetric part counts
    assert inert == {f"{unit}.gconv.bias" for unit in ("kpa", "tpa1", "tpa2")}


def test_small_nets_learn_and_repeat() -> None:
    assert_learns_and_repeats(
        lambda: small(width=16),
        lambda net: torch.optim.AdamW(net.parameters(), lr=3e-3),
        steps=30,
    )


def test_constants_are_not_saved() -> None:
    assert not [name for name in small().state_dict() if "table" in name]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5, 5, 2), r"clips of 6 frames.*got \(2, 5, 5, 2\); set data\.frames=6"),
        ((2, 6, 4, 2), r"\(B, T, 5, 2\), got \(2, 6, 4, 2\)"),
    ],
)
def test_wrong_shapes_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        small()(torch.zeros(shape))


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="frames must be positive, got 0"):
        small(frames=0)
    with pytest.raises(ValueError, match="3 heads of width 8"):
        small(heads=3)
