"""Projection on tensors against the one on arrays, and cameras that are missing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from trainables.data.cameras import normalize_screen, project
from trainables.data.dataset import Camera, PoseDataset
from trainables.data.h36m.cameras import CAMERAS
from trainables.errors import DataError
from trainables.metrics.hypotheses import select
from trainables.seal.projection import (
    Views,
    camera_row,
    load_views,
    project_to_screen,
    reprojection_errors,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("view", CAMERAS)
def test_projection_equals_the_arrays_one_with_lens_distortion(view: str) -> None:
    camera = CAMERAS[view]
    rng = np.random.default_rng(3)
    points = rng.normal((0.2, -0.1, 4.5), 0.5, size=(20, 17, 3))
    expected = normalize_screen(project(points, camera), camera.size)
    row = torch.tensor(camera_row(camera), dtype=torch.float64)
    screen = project_to_screen(torch.tensor(points), row.expand(20, 9))
    np.testing.assert_allclose(screen.numpy(), expected, rtol=0, atol=1e-12)
    straight = dataclasses.replace(camera, radial=(0.0, 0.0, 0.0), tangential=(0.0, 0.0))
    moved = normalize_screen(project(points, straight), straight.size) - expected
    assert np.abs(moved).max() > 1e-3  # the lens does something


def test_wild_hypotheses_stay_finite() -> None:
    row = torch.tensor(camera_row(CAMERAS["54138969"]))
    points = torch.tensor([[[0.0, 0.0, -3.0], [50.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])
    screen = project_to_screen(points, row.expand(1, 9))
    assert screen.isfinite().all()
    assert screen.abs().max() < 10


def test_errors_are_distances_in_the_image_of_each_joint() -> None:
    camera = Camera(width=1000, height=800, focal=(1000.0, 1000.0), center=(500.0, 400.0))
    views = Views(torch.tensor([[0.0, 0.0, 5.0]]), torch.tensor([camera_row(camera)]))
    truth = torch.zeros(1, 2, 3)
    moved = truth.clone()
    moved[0, 1] = torch.tensor([0.3, 0.4, 0.0])  # 100 px at 5 m: 0.2 of the half width
    errors = reprojection_errors(torch.stack([truth, moved]), truth, views)
    torch.testing.assert_close(errors, torch.tensor([[[0.0, 0.0]], [[0.0, 0.2]]]))


def test_select_takes_one_of_each_pose() -> None:
    values = torch.arange(24.0).reshape(3, 2, 2, 2)
    choice = torch.tensor([[0, 2], [1, 1]])
    chosen = select(values, choice)
    for b in range(2):
        for t in range(2):
            assert torch.equal(chosen[b, t], values[choice[b, t], b, t])


def calibrated(dataset: PoseDataset, cameras: list[Camera | None]) -> PoseDataset:
    rng = np.random.default_rng(1)
    return dataclasses.replace(
        dataset,
        sequences=tuple(
            dataclasses.replace(info, camera=camera)
            for info, camera in zip(dataset.sequences, cameras, strict=True)
        ),
        splits={
            name: dataclasses.replace(
                split, root=rng.normal(size=(len(split), 3)).astype(np.float32)
            )
            for name, split in dataset.splits.items()
        },
    )


def test_views_are_those_of_the_frames_and_their_sequence(tiny_dataset: PoseDataset) -> None:
    cameras = list(CAMERAS.values())[:3]
    dataset = calibrated(tiny_dataset, list(cameras))
    split = dataset.splits["train"]
    assert split.root is not None
    views = load_views(dataset, "train", device=CPU, dtype=torch.float64)
    frames = torch.tensor([[0, 1], [48, 49]])
    sequence = torch.tensor(split.sequence[[0, 48]]).long()
    found = views.gather(frames, sequence)
    assert torch.equal(found.root, torch.tensor(split.root).double()[frames])
    for clip, number in enumerate(sequence.tolist()):
        row = torch.tensor(camera_row(cameras[number]), dtype=torch.float64)
        assert torch.equal(found.camera[clip], row.expand(2, 9))
    assert found.first(1).root.shape == (1, 2, 3)


def test_data_without_roots_or_cameras_are_refused(tiny_dataset: PoseDataset) -> None:
    with pytest.raises(DataError, match=r"does not know where the root is.*hard_negatives=false"):
        load_views(tiny_dataset, "train", device=CPU, dtype=torch.float32)
    cameras = [CAMERAS["54138969"], None, CAMERAS["54138969"]]
    with pytest.raises(DataError, match=r"has no camera for S1 'run'.*hard_negatives=false"):
        load_views(calibrated(tiny_dataset, cameras), "train", device=CPU, dtype=torch.float32)
