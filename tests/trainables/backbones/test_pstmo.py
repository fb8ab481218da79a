"""P-STMO against the official class, and what it must and must not do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.trainables.backbones.check_values import (
    assert_check_values,
    count_on_meta,
    weyl,
)
from trainables.backbones._pstmo_parts import SeparateAttention, StridedTransformer, TokenNorm
from trainables.backbones.pstmo import PSTMO, default_strides
from trainables.backbones.pstmo_masked import MaskedPSTMO
from trainables.errors import CheckpointError, ShapeError
from trainables.windows import Window

SMALL = {"num_joints": 5, "width": 16, "hidden": 24, "heads": 2}
FRAMES = 27


def small(**options: Any) -> Any:  # not a module, whose attributes are unions to mypy
    torch.manual_seed(0)
    return PSTMO(**{**SMALL, "frames": FRAMES, "output_scale": 1.0, **options})


def small_masked(**options: Any) -> Any:
    torch.manual_seed(1)
    return MaskedPSTMO(**{**SMALL, "frames": FRAMES, **options})


def fill(net: nn.Module) -> Any:
    """Set the check values' weights."""
    gains = {id(m.weight) for m in net.modules() if isinstance(m, nn.BatchNorm1d | TokenNorm)}
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim >= 2:
                parameter.copy_(0.05 * weyl(*parameter.shape))
            else:
                parameter.fill_(1.0 if id(parameter) in gains else 0.0)
    return net.eval()


@pytest.mark.parametrize(
    ("frames", "depth", "expected"),
    [(81, 3, 5_527_142), (243, 3, 6_482_278), (27, 3, 4_682_598), (243, 4, 7_009_382)],
)
def test_parameter_counts_of_the_official_class(frames: int, depth: int, expected: int) -> None:
    with torch.device("meta"):
        assert count_on_meta(PSTMO(num_joints=17, frames=frames, depth=depth)) == expected


def test_the_papers_size_is_the_default() -> None:
    with torch.device("meta"):
        net = PSTMO(num_joints=17)
    assert net.window == Window(81, "middle")
    assert count_on_meta(net.encoder) == 677_632
    assert count_on_meta(net.temporal) == 1_602_560
    assert count_on_meta(net.strided) == 3_219_712
    assert count_on_meta(net.all_norm) + count_on_meta(net.all_head) == 13_619
    assert [layer.stride for layer in net.strided.layers] == [3, 3, 3, 3]
    assert net.output_scale == 0.001


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (1, (1,)),
        (9, (1, 3, 3)),
        (27, (3, 3, 3)),
        (243, (3,) * 5),
        (351, (3, 9, 13)),
        (75, (3, 5, 5)),
    ],
)
def test_strides_by_window(frames: int, expected: tuple[int, ...]) -> None:
    assert default_strides(frames) == expected


def test_forward_values_of_the_official_class() -> None:
    net = fill(PSTMO(num_joints=17, output_scale=1.0).double())
    x = weyl(1, 81, 17, 2)
    with torch.no_grad():
        middle, every = net.lift_all(x)
        assert torch.equal(net(x), middle)
    assert middle.shape == (1, 1, 17, 3)
    assert every.shape == (1, 81, 17, 3)
    assert_check_values(
        middle,
        [0.009051, 0.197205, 0.495615, -0.084203, -0.230985, -0.351684, -0.216569, 0.057913],
        tolerance=1e-6,
    )
    assert_check_values(
        every,
        [0.000529, 0.057307, 0.080381, -0.032897, -0.054374, 0.250942, -0.030572, 0.051653],
        tolerance=1e-6,
    )


def test_token_norm_divides_by_the_unbiased_deviation() -> None:
    torch.manual_seed(0)
    norm = TokenNorm(6).double()
    h = torch.randn(3, 6, dtype=torch.float64)
    sigma = ((h - h.mean(-1, keepdim=True)).pow(2).sum(-1, keepdim=True) / 5).sqrt()
    torch.testing.assert_close(norm(h), (h - h.mean(-1, keepdim=True)) / (sigma + 1e-6))


def assert_same(modules: list[nn.Module]) -> None:
    first = modules[0].state_dict()
    for module in modules[1:]:
        state = module.state_dict()
        assert all(torch.equal(first[name], state[name]) for name in first)
        # copies, not one module that is used twice
        assert {p.data_ptr() for p in module.parameters()}.isdisjoint(
            p.data_ptr() for p in modules[0].parameters()
        )


def test_layers_start_as_copies_as_in_the_release() -> None:
    net = small(depth=3)
    assert_same(list(net.temporal.layers))
    assert_same([layer.attention for layer in net.strided.layers])
    for module in net.modules():
        if isinstance(module, SeparateAttention):
            assert_same([module.queries, module.keys, module.values, module.out])
    strided = [layer.expand.weight for layer in net.strided.layers]
    assert not torch.equal(strided[0], strided[1])
    template, other = net.temporal.layers[0].attention, net.strided.layers[0].attention
    assert not torch.equal(template.queries.weight, other.queries.weight)
    decoder = small_masked().decoder
    assert len(decoder.layers) == 2
    assert_same(list(decoder.layers))


def test_position_tables_start_normal() -> None:
    net = PSTMO(num_joints=5, frames=81, width=64, hidden=8)
    for table in (net.temporal.table, *net.strided.tables):
        assert table.std().item() == pytest.approx(1, abs=0.05)
        assert table.mean().item() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("strides", [(3, 3, 3), (1, 3, 9), (27,)])
def test_the_token_that_the_residuals_keep(centred: bool, strides: tuple[int, ...]) -> None:
    stack: Any = StridedTransformer(
        27, 4, 6, strides=strides, heads=2, dropout=0.0, centred=centred
    ).double()
    nn.init.zeros_(stack.tables[0])
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.zero_()
    h = torch.randn(2, 27, 4, dtype=torch.float64)
    assert torch.equal(stack(h), h[:, 13:14] if centred else h[:, :1])


@pytest.mark.parametrize("stride", [3, 9])
def test_the_strided_convolution_sees_the_kept_tokens_neighbours(stride: int) -> None:
    def sees(centred: bool) -> list[int]:
        torch.manual_seed(0)
        stack: Any = StridedTransformer(
            stride, 4, 64, strides=(stride,), heads=2, dropout=0.0, centred=centred
        )
        nn.init.zeros_(stack.layers[0].attention.out.weight)  # leaves the convolution alone
        h = torch.randn(1, stride, 4, requires_grad=True)
        stack(h).pow(2).sum().backward()
        assert h.grad is not None
        return h.grad.abs().sum((0, 2)).nonzero().flatten().tolist()

    middle = stride // 2
    assert sees(centred=False) == [0, 1]
    assert sees(centred=True) == [middle - 1, middle, middle + 1]


def test_a_clip_gives_its_middle_frames_one_window_each() -> None:
    net = small().double().eval()
    clip = torch.randn(2, 30, 5, 2, dtype=torch.float64)
    out = net(clip)
    assert out.shape == (2, 4, 5, 3)
    for start in range(4):
        torch.testing.assert_close(out[:, start : start + 1], net(clip[:, start : start + 27]))


def test_the_order_of_the_frames_matters() -> None:
    net = small().double().eval()
    clip = torch.randn(1, 27, 5, 2, dtype=torch.float64)
    assert not torch.allclose(net(clip), net(clip.flip(1)))


@pytest.mark.parametrize("centred", [False, True])
def test_gradients_reach_all_but_the_stated_parameters(centred: bool) -> None:
    net = small(centred=centred).double().eval()  # evaluation: biases before BN are live
    middle, every = net.lift_all(torch.randn(4, 27, 5, 2, dtype=torch.float64))
    (middle.pow(2).sum() + every.pow(2).sum()).backward()
    for name, parameter in net.named_parameters():
        if ".closing_norm." in name:
            assert parameter.grad is None
            continue
        assert parameter.grad is not None
        dead = parameter.grad.abs() < 1e-10
        if name.endswith(".keys.bias"):
            assert dead.all()
        elif name.startswith("strided.tables."):
            used = 27 // 3 ** int(name.rsplit(".", 1)[1])
            assert not dead[:, :used].all(dim=-1).any()
            assert dead[:, used:].all()
        elif name == "strided.layers.2.shrink.weight":
            assert dead[..., 0].all() != centred
            assert not dead[..., 1:].all()
        else:
            assert not dead.all(), name


def test_forward_leaves_the_auxiliary_head_alone() -> None:
    net = small().train()
    net(torch.randn(4, 27, 5, 2)).sum().backward()
    assert net.all_head.weight.grad is None
    assert net.all_norm.num_batches_tracked == 0


def test_dropout_is_for_training_only() -> None:
    clip = torch.randn(4, 27, 5, 2)
    net = small()
    assert not torch.equal(net.train()(clip), net(clip))
    assert torch.equal(net.eval()(clip), net(clip))
    calm = small(dropout=0.0).train()
    assert torch.equal(calm(clip), calm(clip))


def test_the_scale_of_the_output() -> None:
    clip = torch.randn(2, 27, 5, 2)
    metres, millimetres = small().eval(), small(output_scale=0.001).eval()
    for a, b in zip(metres.lift_all(clip), millimetres.lift_all(clip), strict=True):
        torch.testing.assert_close(b, a / 1000)


def test_a_small_net_learns() -> None:
    net = small(width=32, hidden=64).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, amsgrad=True)
    clip = torch.randn(16, 1, 5, 2) + 0.1 * torch.randn(16, 27, 5, 2)
    target = torch.cat((clip, clip.sum(-1, keepdim=True)), dim=-1)
    losses = []
    for _ in range(60):
        middle, every = net.lift_all(clip)
        loss = (every - target).norm(dim=-1).mean() + (middle - target[:, 13:14]).norm(
            dim=-1
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("shape", [(1, 26, 5, 2), (1, 27, 4, 2), (1, 27, 5, 3), (27, 5, 2)])
def test_what_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected 2D poses|shorter than the window of 27"):
        small()(torch.zeros(shape))


def test_the_auxiliary_head_wants_one_window() -> None:
    with pytest.raises(ShapeError, match="clips of 27 frames"):
        small().lift_all(torch.zeros(1, 28, 5, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 8}, "frames must be odd"),
        ({"strides": (3, 3)}, r"product frames=27, got \[3, 3\]"),
        ({"strides": (27, -1, -1)}, "strides must be odd"),
        ({"heads": 3}, "heads must divide"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


# Pre-trained weights


def test_pretraining_hands_on_74_entries() -> None:
    net, masked = small(), small_masked()
    with torch.no_grad():
        masked.encoder.bn1.running_mean += 0.5
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.load_pretrained(masked.state_dict())
    after, given = net.state_dict(), masked.state_dict()
    shared = [name for name in after if name in given]
    assert len(shared) == 74
    assert all(torch.equal(after[name], given[name]) for name in shared)
    assert all(torch.equal(after[n], before[n]) for n in after if n not in given)
    assert all(p.requires_grad for p in net.parameters())
    x = torch.randn(2, 27, 10)
    net.eval(), masked.eval()
    assert torch.equal(net.temporal(net.encoder(x)), masked.temporal(masked.encoder(x)))


def test_pretraining_of_another_size_is_refused() -> None:
    net = small()
    with pytest.raises(CheckpointError, match=r"temporal.table: \(1, 9, 16\), not \(1, 27, 16\)"):
        net.load_pretrained(small_masked(frames=9).state_dict())
    with pytest.raises(CheckpointError, match=r"missing temporal.layers.2.norm1.weight"):
        net.load_pretrained(small_masked(depth=2).state_dict())
    with pytest.raises(CheckpointError, match=r"unknown temporal.layers.3.norm1.weight"):
        net.load_pretrained(small_masked(depth=4).state_dict())


# Official checkpoints
