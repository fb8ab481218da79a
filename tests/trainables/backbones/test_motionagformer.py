"""MotionAGFormer against the official class, plain graph convolutions, and what it must do."""

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
from trainables.backbones.motionagformer import MotionAGFormer, joint_graph, normalised
from trainables.errors import ShapeError
from trainables.skeletons import (
    H3WB_133,
    H36M_16,
    H36M_17,
    MPI_INF_3DHP_17,
    SKELETONS,
    Skeleton,
)
from trainables.windows import Window

TREE = Skeleton("tree", tuple("abcde"), (-1, 0, 1, 1, 0), (), (), ())
STREAMS = ("att_spatial", "att_temporal", "graph_spatial", "graph_temporal")


def small(**options: Any) -> MotionAGFormer:
    torch.manual_seed(0)
    sizes = {"skeleton": TREE, "frames": 6, "width": 8, "depth": 2, "heads": 2, "head_width": 16}
    return MotionAGFormer(**{**sizes, **options})


def moved(net: MotionAGFormer) -> MotionAGFormer:
    """A net away from its initialisation, where layer scales are small and gates alike."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def filled(net: MotionAGFormer) -> MotionAGFormer:
    """The check values' weights: of one dimension only gains and layer scales are 1."""
    fill(net)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.weight.fill_(1.0)
        for name, parameter in net.named_parameters():
            if "layer_scale" in name:
                parameter.fill_(1.0)
    return net


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 18_998_687),
        ({"frames": 243}, 19_007_111),
        ({"frames": 27}, 18_995_879),
        ({"depth": 16}, 11_718_627),
        ({"width": 64}, 4_817_119),
        ({"depth": 12, "width": 64, "frames": 27}, 2_241_531),
    ],
    ids=["L", "L-243", "L-27", "B", "S", "XS"],
)
@pytest.mark.parametrize(
    ("skeleton", "graph"),
    [(H36M_17, "official"), (MPI_INF_3DHP_17, "tree"), (MPI_INF_3DHP_17, "symmetrised")],
)
def test_parameter_counts_of_the_official_class(
    skeleton: Skeleton, graph: str, options: dict[str, int], expected: int
) -> None:
    with torch.device("meta"):
        arguments: dict[str, Any] = {"graph": graph, **options}
        assert count_on_meta(MotionAGFormer(skeleton=skeleton, **arguments)) == expected


def test_the_papers_size_is_the_default() -> None:
    with torch.device("meta"):
        net = MotionAGFormer(skeleton=MPI_INF_3DHP_17)
    assert net.window == Window(81, "all")
    assert net.output_scale == 1.024
    layer: Any = net.layers[0]
    assert count_on_meta(layer) == 728_006
    streams = [count_on_meta(getattr(layer, name)) for name in STREAMS]
    assert streams == [198_144, 198_144, 165_538, 165_666]
    assert count_on_meta(layer.fusion) == 514
    assert [m.heads for m in net.modules() if isinstance(m, Attention)] == [8] * 52
    assert {m.qkv.bias for m in net.modules() if isinstance(m, Attention)} == {None}
    assert {m.eps for m in net.modules() if isinstance(m, nn.LayerNorm)} == {1e-5}
    assert {m.rate for m in net.modules() if isinstance(m, DropPath)} == {0.0}


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (2, [0.029182, 0.069519, 0.167267, -0.049753, 0.041521, 0.149632, 0.127769, 0.125782]),
        pytest.param(
            26,
            [0.011369, 0.061816, 0.154690, -0.079853, 0.005927, 0.088179, 0.107607, 0.073962],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_forward_values_of_the_official_class(depth: int, expected: list[float]) -> None:
    net = filled(MotionAGFormer(skeleton=H36M_17, depth=depth, graph="official", output_scale=1.0))
    with torch.no_grad():
        out = net(weyl(1, 81, 17, 2).float())
        # the most similar frame may be another with another order of summation: up to 1e-4
        assert_check_values(out, expected, tolerance=5e-5)
        net.output_scale = 1.024
        torch.testing.assert_close(net(weyl(1, 81, 17, 2).float()), 1.024 * out)


def test_the_official_graph_has_human36ms_order_and_lacks_three_directions() -> None:
    for skeleton in (H36M_17, MPI_INF_3DHP_17):
        official = joint_graph(skeleton, "official")
        assert official.sum() == 29
        assert official.diagonal().sum() == 0
        both_ways = joint_graph(skeleton, "symmetrised")
        assert both_ways.sum() == 32
        assert (both_ways - official).nonzero().tolist() == [[0, 4], [8, 11], [8, 14]]
    # of Human3.6M the symmetrised graph is the tree, of 3DHP it joins unrelated joints
    assert torch.equal(both_ways, joint_graph(H36M_17, "tree"))
    common = both_ways * joint_graph(MPI_INF_3DHP_17, "tree")
    assert common.sum() < 20


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_the_graph_is_the_skeletons(skeleton: Skeleton) -> None:
    graph = joint_graph(skeleton, "tree")
    expected = {pair for a, b in skeleton.segments for pair in ((a, b), (b, a))}
    assert {tuple(pair) for pair in graph.nonzero().tolist()} == expected
    net = small(skeleton=skeleton, depth=1)
    layer: Any = net.layers[0]
    torch.testing.assert_close(layer.graph_spatial.mixer.adjacency, normalised(graph))
    joints = skeleton.num_joints
    assert net(torch.randn(1, 6, joints, 2)).shape == (1, 6, joints, 3)


@pytest.mark.parametrize("skeleton", [H36M_16, H3WB_133])
@pytest.mark.parametrize("graph", ["official", "symmetrised"])
def test_the_official_graph_is_refused_off_its_17_joints(skeleton: Skeleton, graph: str) -> None:
    with pytest.raises(ValueError, match=f"17 joints, but {skeleton.name} has .*; use graph=tree"):
        small(skeleton=skeleton, graph=graph)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match="one of tree, official, symmetrised, got 'star'"):
        small(graph="star")
    for neighbours in (0, 7):
        with pytest.raises(ValueError, match=f"1 to 6 frames, got {neighbours}"):
            small(neighbours=neighbours)
    with pytest.raises(ValueError, match="3 heads of width 8"):
        small(heads=3)


def plain_convolution(conv: Any, h: Tensor, graph: Tensor) -> Tensor:
    """Before the norm: one row (L, C) to (L, C), node by node, by row sums on both sides."""
    degree = graph.sum(dim=1)
    rows = []
    for i in range(len(h)):
        row = conv.U(h[i])
        for j in range(len(h)):
            row = row + graph[i, j] / torch.sqrt(degree[i] * degree[j]) * conv.V(h[j])
        rows.append(row)
    return torch.stack(rows)


def plain_mixer(conv: Any, h: Tensor, graphs: list[Tensor]) -> Tensor:
    """In training: the norm's statistics are of all rows and channels, for each node."""
    mixed = torch.stack([plain_convolution(conv, *pair) for pair in zip(h, graphs, strict=True)])
    mean = mixed.mean(dim=(0, 2), keepdim=True)
    variance = mixed.var(dim=(0, 2), unbiased=False, keepdim=True)
    norm = conv.batch_norm
    scaled = (mixed - mean) / (variance + norm.eps).sqrt() * norm.weight[:, None]
    out: Tensor = (h + scaled + norm.bias[:, None]).relu()
    return out


@pytest.mark.parametrize("graph", ["tree", "official", "symmetrised"])
def test_joint_convolution_equals_a_plain_computation(graph: Any) -> None:
    net = moved(small(skeleton=MPI_INF_3DHP_17, graph=graph)).double()
    layer: Any = net.layers[0]
    conv = layer.graph_spatial.mixer
    h = torch.randn(3, 17, 8, dtype=torch.float64)
    adjacency = joint_graph(MPI_INF_3DHP_17, graph).double()
    expected = plain_mixer(conv, h, [adjacency] * 3)
    torch.testing.assert_close(conv(h), expected, rtol=1e-6, atol=1e-6)  # the table is float32


@pytest.mark.parametrize("neighbours", [1, 2, 4])
def test_frame_convolution_equals_a_plain_computation(neighbours: int) -> None:
    net = moved(small(neighbours=neighbours)).double()
    layer: Any = net.layers[0]
    conv = layer.graph_temporal.mixer
    h = torch.randn(3, 6, 8, dtype=torch.float64)
    graphs = []
    for row in h:
        graph = torch.zeros(6, 6, dtype=torch.float64)
        for i in range(6):
            similar = sorted(range(6), key=lambda j: -float(row[i] @ row[j]))
            graph[i, similar[:neighbours]] = 1
        graphs.append(graph)
    torch.testing.assert_close(conv(h), plain_mixer(conv, h, graphs), rtol=1e-9, atol=1e-11)


def test_frames_that_are_equally_similar_are_all_neighbours() -> None:
    layer: Any = small().layers[0]
    conv = layer.graph_temporal.mixer
    h = torch.randn(1, 1, 8).expand(1, 6, 8)
    torch.testing.assert_close(conv.adjacency_of(h), torch.full((1, 6, 6), 1 / 6))


def test_autocast_does_not_blur_the_neighbours() -> None:
    layer: Any = small().layers[0]
    conv = layer.graph_temporal.mixer
    torch.manual_seed(0)
    h = torch.ones(4, 6, 8) + 1e-4 * torch.randn(4, 6, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        blurred = conv.adjacency_of(h)
    assert torch.equal(blurred, conv.adjacency_of(h))


def test_layer_equals_its_streams_and_gate() -> None:
    net = moved(small()).double().eval()
    layer: Any = net.layers[0]
    h = torch.randn(2, 6, 5, 8, dtype=torch.float64)

    def block(stream: Any, rows: Tensor) -> Tensor:
        rows = rows + stream.layer_scale_1 * stream.mixer(stream.norm1(rows))
        hidden = torch.nn.functional.gelu(stream.mlp.fc1(stream.norm2(rows)))
        result: Tensor = rows + stream.layer_scale_2 * stream.mlp.fc2(hidden)
        return result

    outs = []
    for spatial, temporal in (STREAMS[:2], STREAMS[2:]):
        rows = block(getattr(layer, spatial), h.reshape(12, 5, 8)).reshape(2, 6, 5, 8)
        tracks = rows.transpose(1, 2).reshape(10, 6, 8)
        out = block(getattr(layer, temporal), tracks).reshape(2, 5, 6, 8)
        outs.append(out.transpose(1, 2))
    gate = layer.fusion(torch.cat(outs, dim=-1)).softmax(dim=-1)
    expected = gate[..., :1] * outs[0] + gate[..., 1:] * outs[1]
    torch.testing.assert_close(layer(h), expected, rtol=1e-10, atol=1e-12)


def test_net_equals_embedding_layers_and_head() -> None:
    net = moved(small(output_scale=3.0)).double().eval()
    x = torch.randn(2, 6, 5, 2, dtype=torch.float64)
    h = net.joints_embed(torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)) + net.pos_embed
    for layer in net.layers:
        h = layer(h)
    expected = 3 * net.head(torch.tanh(net.rep_logit(net.norm(h))))
    torch.testing.assert_close(net(x), expected, rtol=1e-10, atol=1e-12)


def test_without_confidence_the_input_has_two_channels() -> None:
    net = small(confidence=False)
    assert net.joints_embed.weight.shape == (8, 2)
    assert net(torch.randn(1, 6, 5, 2)).shape == (1, 6, 5, 3)


def test_initialisation() -> None:
    net = small(width=128, heads=8, depth=1)
    assert net.pos_embed.eq(0).all()
    layer: Any = net.layers[0]
    assert layer.fusion.weight.eq(0).all()
    assert layer.fusion.bias.eq(0.5).all()
    for name in STREAMS:
        stream = getattr(layer, name)
        for scale in (stream.layer_scale_1, stream.layer_scale_2):
            assert scale.unique().tolist() == pytest.approx([1e-5])
        if name.startswith("graph"):
            for linear in (stream.mixer.U, stream.mixer.V):
                assert linear.weight.std().item() == pytest.approx(0.125, rel=0.03)
                assert linear.weight.abs().max() > 0.125 * math.sqrt(3)  # normal, not uniform
                assert 0 < linear.bias.abs().max() <= 1 / math.sqrt(128)
            assert stream.mixer.batch_norm.weight.eq(1).all()
    for linear in (net.joints_embed, net.rep_logit, net.head):
        bound = 1 / math.sqrt(linear.in_features)
        assert 0.9 * bound < linear.weight.abs().max() <= bound


def test_a_layer_starts_near_the_identity() -> None:
    net = small()
    h = torch.randn(2, 6, 5, 8)
    torch.testing.assert_close(net.layers[0](h), h, rtol=0, atol=1e-3)


def test_drop_path_drops_rows_in_training_only() -> None:
    net = moved(small(drop_path=0.4, depth=1)).train()
    layer: Any = net.layers[0]
    kept: dict[str, list[float]] = {name: [] for name in STREAMS}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
            ratios = out.flatten(1).norm(dim=1) / inputs[0].flatten(1).norm(dim=1)
            kept[name].extend(ratios.tolist())

        return hook

    for name in STREAMS:
        getattr(layer, name).drop_path.register_forward_hook(remember(name))
    x = torch.randn(150, 6, 5, 2)
    net(x)
    for name, rows in zip(STREAMS, (900, 750, 900, 750), strict=True):
        ratios = torch.tensor(kept[name])
        assert len(ratios) == 2 * rows  # both branches
        assert (ratios == 0).float().mean().item() == pytest.approx(0.4, abs=0.05)
        assert ratios[ratios != 0].mean().item() == pytest.approx(1 / 0.6, rel=1e-3)
    net.eval()
    assert torch.equal(net(x), net(x))


def test_order_of_frames_matters_through_the_norms_alone() -> None:
    """There is no table of frames; a norm's gain for each frame is all that tells them apart."""
    net = small(depth=3)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "batch_norm" not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    net = net.double().eval()
    x = torch.randn(2, 6, 5, 2, dtype=torch.float64)
    frames = torch.tensor([3, 0, 5, 1, 4, 2])
    assert not torch.allclose(net(x[:, frames]), net(x))
    torch.testing.assert_close(net(x[:, frames]), net(x)[:, frames])
    moved(net)
    assert not torch.allclose(net(x[:, frames]), net(x)[:, frames])


def test_joints_and_graphs_matter() -> None:
    x = torch.randn(2, 6, 17, 2)
    joints = torch.arange(16, -1, -1)
    outs = []
    for graph in ("tree", "official", "symmetrised"):
        net = moved(small(skeleton=MPI_INF_3DHP_17, graph=graph)).eval()
        outs.append(net(x))
        assert not torch.allclose(net(x[:, :, joints]), net(x)[:, :, joints])
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(outs[one], outs[other])


def test_clips_of_a_batch_are_independent_outside_training() -> None:
    net = moved(small()).eval()
    x = torch.randn(3, 6, 5, 2)
    torch.testing.assert_close(
        net(x), torch.cat([net(clip[None]) for clip in x]), rtol=1e-4, atol=1e-5
    )


def test_every_parameter_learns() -> None:
    net = moved(small()).double()
    net(torch.randn(4, 6, 5, 2, dtype=torch.float64)).square().sum().backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    largest = max(g.abs().max().item() for g in gradients.values() if g is not None)
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert gradient.abs().max() > 1e-9 * largest, name


def test_small_nets_learn_and_repeat() -> None:
    assert_learns_and_repeats(
        lambda: small(width=16),
        lambda net: torch.optim.Adam(net.parameters(), lr=3e-3, amsgrad=True),
        steps=40,
    )


def test_graphs_are_not_saved() -> None:
    assert not [name for name in small().state_dict() if "adjacency" in name]


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
