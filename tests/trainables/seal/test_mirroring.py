"""Mirror images of poses, and of the cameras that see them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from trainables.data.dataset import Camera
from trainables.seal.mirroring import mirror, mirror_some
from trainables.seal.projection import Views, camera_row, project_to_screen
from trainables.skeletons import H36M_17, SKELETONS, Skeleton

CAMERA = Camera(
    width=1000,
    height=1002,
    focal=(1145.0, 1143.8),
    center=(512.5, 515.5),
    radial=(-0.2, 0.24, -0.003),
    tangential=(-0.004, 0.002),
)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda skeleton: skeleton.name)
def test_left_and_right_change_places(skeleton: Skeleton) -> None:
    y = torch.randn(3, 2, skeleton.num_joints, 3, generator=torch.Generator().manual_seed(0))
    mirrored = mirror(y, skeleton)
    sign = torch.tensor([-1.0, 1.0, 1.0])
    for left, right in zip(skeleton.left, skeleton.right, strict=True):
        assert torch.equal(mirrored[..., left, :], sign * y[..., right, :])
        assert torch.equal(mirrored[..., right, :], sign * y[..., left, :])
    for joint in set(range(skeleton.num_joints)) - {*skeleton.left, *skeleton.right}:
        assert torch.equal(mirrored[..., joint, :], sign * y[..., joint, :])
    assert torch.equal(mirror(mirrored, skeleton), y)


def test_skeletons_of_as_many_joints_are_not_mixed_up() -> None:
    """What is kept from an earlier call belongs to its skeleton."""
    y = torch.randn(3, 2, 17, 3, generator=torch.Generator().manual_seed(0))
    without_sides = dataclasses.replace(H36M_17, left=(), right=(), limb_pairs=())
    plain = y * torch.tensor([-1.0, 1.0, 1.0])
    assert not torch.equal(mirror(y, H36M_17), plain)
    assert torch.equal(mirror(y, without_sides), plain)
    assert torch.equal(mirror(y.double(), H36M_17), mirror(y, H36M_17).double())


def test_mirroring_in_inference_mode_leaves_training_possible() -> None:
    skeleton = dataclasses.replace(H36M_17, name="seen for the first time")
    y = torch.randn(3, 2, 17, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.inference_mode():
        mirror(y.detach(), skeleton)
    (gradient,) = torch.autograd.grad(mirror(y, skeleton).sum(), y)
    assert torch.equal(gradient, torch.tensor([-1.0, 1.0, 1.0]).expand_as(y))


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda skeleton: skeleton.name)
def test_the_tree_is_its_own_mirror_image(skeleton: Skeleton) -> None:
    """Or a mirrored pose would have other bones than the skeleton says."""
    order = skeleton.mirrored
    bones = {tuple(sorted(bone)) for bone in skeleton.segments}
    assert {tuple(sorted((order[a], order[b]))) for a, b in bones} == bones
    for left, right in skeleton.limb_pairs:
        assert (order[left[0]], order[left[1]]) == right


def test_only_those_to_be_flipped_are() -> None:
    skeleton = SKELETONS["h36m_17"]
    y = torch.randn(3, 2, 17, 3, generator=torch.Generator().manual_seed(0))
    found = mirror_some(y, torch.tensor([True, False, True]), skeleton)
    assert torch.equal(found[1], y[1])
    assert torch.equal(found[[0, 2]], mirror(y, skeleton)[[0, 2]])


def test_a_mirrored_camera_sees_the_mirror_image() -> None:
    skeleton = SKELETONS["h36m_17"]
    rng = np.random.default_rng(0)
    y = torch.tensor(rng.normal(scale=0.4, size=(2, 3, 17, 3)))
    root = torch.tensor([0.3, -0.2, 4.0], dtype=torch.float64).expand(2, 3, 3)
    camera = torch.tensor(camera_row(CAMERA), dtype=torch.float64).expand(2, 3, 9)
    views = Views(root, camera)
    seen = project_to_screen(y + root.unsqueeze(-2), camera)
    flipped = views.mirrored(torch.tensor([True, False]))
    found = project_to_screen(
        mirror_some(y, torch.tensor([True, False]), skeleton) + flipped.root.unsqueeze(-2),
        flipped.camera,
    )
    torch.testing.assert_close(found[0], mirror(seen, skeleton)[0], rtol=0, atol=1e-12)
    assert torch.equal(found[1], seen[1])
    plain = dataclasses.replace(CAMERA, tangential=(0.0, 0.0), center=(500.0, 515.5))
    row = torch.tensor(camera_row(plain), dtype=torch.float64).expand(1, 1, 9)
    again = Views(root[:1, :1], row).mirrored(torch.tensor([True]))
    assert torch.equal(again.camera, row)  # a centred lens is its own mirror image
