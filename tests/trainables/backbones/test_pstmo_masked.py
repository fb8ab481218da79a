"""P-STMO's masked pre-training: what is hidden, what comes back, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.trainables.backbones.check_values import count_on_meta
from trainables.backbones.pstmo_masked import MaskedPSTMO, PoseMasks, masked_pose_loss
from trainables.errors import ShapeError


def small(**options: Any) -> Any:  # not a module, whose attributes are unions to mypy
    torch.manual_seed(0)
    sizes = {"num_joints": 5, "frames": 9, "width": 16, "hidden": 24, "heads": 2}
    return MaskedPSTMO(**{**sizes, **options})


def test_parameter_count_of_the_official_class() -> None:
    with torch.device("meta"):
        net = MaskedPSTMO(num_joints=17)
    assert count_on_meta(net) == 2_593_828
    assert net.hidden_frames == 56


def test_masks_hide_so_many_frames_of_the_batch_and_joints_of_each_frame() -> None:
    net = MaskedPSTMO(num_joints=17, width=16, hidden=8)
    masks = net.draw_masks(3)
    assert masks.visible.shape == (25,)
    assert masks.hidden.shape == (56,)
    assert torch.equal(torch.cat((masks.visible, masks.hidden)).sort().values, torch.arange(81))
    assert masks.visible.diff().min() > 0
    assert masks.joints.shape == (3, 81, 17)
    assert masks.joints.sum(-1).eq(2).all()
    assert masks.joints.any(dim=(0, 1)).all()
    assert not torch.equal(masks.joints[0], masks.joints[1])
    assert not torch.equal(net.draw_masks(3).visible, masks.visible)


def test_the_release_never_draws_the_last_joint() -> None:
    masks = MaskedPSTMO(num_joints=17, width=16, hidden=8, maskable_joints=16).draw_masks(20)
    assert not masks.joints[..., 16].any()
    assert masks.joints.float().mean((0, 1))[:16].tolist() == pytest.approx(
        [2 / 16] * 16, abs=0.04
    )


def test_masks_follow_a_generator() -> None:
    net = small()
    first, second = (net.draw_masks(2, generator=torch.Generator().manual_seed(7)) for _ in "ab")
    assert torch.equal(first.joints, second.joints)
    assert torch.equal(first.visible, second.visible)
    torch.manual_seed(3)
    drawn = net.eval()(torch.ones(2, 9, 5, 2))
    torch.manual_seed(3)
    assert torch.equal(net(torch.ones(2, 9, 5, 2)), drawn)


def test_what_is_hidden_is_not_seen() -> None:
    net = small().double().eval()
    x = torch.randn(2, 9, 5, 2, dtype=torch.float64)
    masks = net.draw_masks(2)
    out = net(x, masks)
    assert out.shape == x.shape
    other = x.clone()
    other[masks.joints] += 1
    other[:, masks.hidden] += 1
    torch.testing.assert_close(net(other, masks), out)
    other[:, masks.visible[0]] += 1
    assert not torch.allclose(net(other, masks), out)


def test_the_joints_of_hidden_frames_count_in_the_statistics_of_the_encoder() -> None:
    x = torch.randn(4, 9, 5, 2)
    means = []
    for shift in (0.0, 1.0):
        net = small(dropout=0.0).train()
        masks = net.draw_masks(4, generator=torch.Generator().manual_seed(0))
        x[:, masks.hidden] += shift
        net(x, masks)
        means.append(net.encoder.expand_bn.running_mean.clone())
    assert not torch.allclose(means[0], means[1])


def test_frames_come_back_in_order_of_time() -> None:
    """Against the official order, visible frames first, written out plainly."""
    net = small(dropout=0.0).double().train()
    x = torch.randn(2, 9, 5, 2, dtype=torch.float64)
    masks = net.draw_masks(2)
    order = torch.cat((masks.visible, masks.hidden))
    with torch.no_grad():
        shown = x.clone()
        shown[masks.joints] = net.joint_token.flatten()
        h = net.encoder(shown.reshape(2, 9, 10)) + net.temporal.table
        h = h[:, masks.visible]
        for layer in net.temporal.layers:
            h = layer(h)
        h = net.to_decoder(net.encoder_norm(h)) + net.decoder_table[:, masks.visible]
        hidden = net.frame_token + net.decoder_table[:, masks.hidden]
        h = torch.cat((h, hidden.expand(2, -1, -1)), dim=1)
        for layer in net.decoder.layers:
            h = layer(h)
        official = net.head(net.norm(h.transpose(1, 2)).transpose(1, 2)).view(2, 9, 5, 2)
        torch.testing.assert_close(net(x, masks)[:, order], official)
    assert masked_pose_loss(official, x[:, order]).item() == pytest.approx(
        masked_pose_loss(net(x, masks), x).item()
    )


def test_gradients_reach_all_but_closing_norms_and_inert_biases() -> None:
    net = small().double().eval()
    net(torch.randn(3, 9, 5, 2, dtype=torch.float64)).pow(2).sum().backward()
    for name, parameter in net.named_parameters():
        if ".closing_norm." in name:
            assert parameter.grad is None
        else:
            assert parameter.grad is not None
            inert = name.endswith(".keys.bias")
            assert (parameter.grad.abs().max() < 1e-10) == inert, name


def test_the_loss_is_the_mean_distance_over_all_frames() -> None:
    clean = torch.zeros(2, 3, 4, 2)
    pred = clean.clone()
    pred[0, 0, 0] = torch.tensor([3.0, 4.0])
    assert masked_pose_loss(pred, clean).item() == pytest.approx(5 / 24)
    with pytest.raises(ShapeError, match="differ"):
        masked_pose_loss(pred, clean[:, :2])


def test_a_small_net_learns() -> None:
    net = small(width=32, hidden=64, dropout=0.0, masked_frames=0.5, masked_joints=1).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, amsgrad=True)
    x = torch.randn(32, 1, 5, 2).expand(-1, 9, -1, -1).contiguous()
    losses = []
    for _ in range(80):
        loss: Any = masked_pose_loss(net(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


@pytest.mark.parametrize("shape", [(1, 8, 5, 2), (1, 9, 4, 2), (9, 5, 2)])
def test_what_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        small()(torch.zeros(shape))


def test_masks_of_other_batches_are_refused() -> None:
    net = small()
    masks: PoseMasks = net.draw_masks(3)
    with pytest.raises(ShapeError, match=r"\(3, 9, 5\) do not fit"):
        net(torch.zeros(2, 9, 5, 2), masks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masked_frames": 1.0}, "masked_frames must be in"),
        ({"masked_joints": 6}, "masked_joints and maskable_joints"),
        ({"maskable_joints": 6}, "masked_joints and maskable_joints"),
        ({"width": 15}, "must be even"),
        ({"depth": 0}, "depth positive"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)
