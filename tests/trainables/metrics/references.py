"""Plain NumPy references, one pose at a time, written without looking at the product's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.skeletons import Skeleton

Array = NDArray[np.float64]


class Labels(NamedTuple):
    """Where poses come from."""

    action: Tensor
    sequence: Tensor
    frame: Tensor
    valid: Tensor


def random_poses(seed: int, count: int = 6) -> tuple[Array, Array]:
    """Prediction and ground truth, (count, 17, 3)."""
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(count, 17, 3))
    return target + 0.5 * rng.normal(size=target.shape), target


def to_tensor(array: Array) -> Tensor:
    return torch.tensor(array, dtype=torch.float64)


def distances(pred: Array, target: Array) -> Array:
    return np.asarray(np.sqrt(((pred - target) ** 2).sum(axis=-1)))


def kabsch_align(pred: Array, target: Array) -> Array:
    """Similarity transform by the textbook's singular value decomposition, one pose."""
    target_mean, pred_mean = target.mean(axis=0), pred.mean(axis=0)
    goal, source = target - target_mean, pred - pred_mean
    u, singular, vt = np.linalg.svd(goal.T @ source)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ flip @ vt
    scale = (singular * np.diag(flip)).sum() / (source**2).sum()
    return np.asarray(scale * source @ rotation.T + target_mean)


def p_mpjpe(pred: Array, target: Array) -> float:
    return float(distances(kabsch_align(pred, target), target).mean())


def n_align(pred: Array, target: Array) -> Array:
    scale = np.linalg.lstsq(pred.reshape(-1, 1), target.reshape(-1), rcond=None)[0]
    return np.asarray(scale * pred)


def length(pose: Array, segment: tuple[int, int]) -> float:
    return float(np.linalg.norm(pose[segment[1]] - pose[segment[0]]))


def length_errors(
    pred: Array, target: Array, segments: tuple[tuple[int, int], ...]
) -> list[float]:
    """100·|1 - ‖k̃‖/‖k‖| of the segments that have a length."""
    pairs = [(length(pred, segment), length(target, segment)) for segment in segments]
    return [100.0 * abs(1.0 - got / true) for got, true in pairs if true > 0]


def symmetry_errors(pred: Array, skeleton: Skeleton) -> list[float]:
    pairs = [(length(pred, left), length(pred, right)) for left, right in skeleton.limb_pairs]
    return [100.0 * abs(a - b) / ((a + b) / 2) for a, b in pairs]
