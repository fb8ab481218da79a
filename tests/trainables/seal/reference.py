"""Algorithm 1 written out plainly, pose by pose, in float64: nothing is shared, nothing fused."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainables.config import TrainingConfig
from trainables.data.cameras import normalize_screen, project
from trainables.data.dataset import Camera
from trainables.skeletons import Skeleton

Energy = Callable[[Tensor, Tensor], Tensor]
"""Energies of the frames of one clip, x (1, T, J, 2) and y (1, T, J, 3) to (T,)."""


@dataclass(frozen=True)
class PlainBatch:
    """Clips of one step, float64, with what the choice of hard negatives needs."""

    x: Tensor
    y: Tensor
    root: Tensor
    cameras: tuple[Camera, ...]


class PlainAdam:
    """Adam of Kingma and Ba as in their paper, with decoupled weight decay."""

    def __init__(self, parameters: Iterable[Tensor], rate: float, decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.rate, self.decay, self.t = rate, decay, 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, loss: Tensor, largest_norm: float | None = None) -> None:
        self.t += 1
        with torch.enable_grad():
            gradients = torch.autograd.grad(loss, self.parameters)
        if largest_norm is not None:
            norm = math.sqrt(sum(float((g * g).sum()) for g in gradients))
            if norm > largest_norm:
                gradients = tuple(g * largest_norm / (norm + 1e-6) for g in gradients)
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            p.mul_(1 - self.rate * self.decay)
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            corrected = v / (1 - 0.999**self.t)
            p.sub_(self.rate * (m / (1 - 0.9**self.t)) / (corrected.sqrt() + 1e-8))


def distance(one: Tensor, other: Tensor) -> Tensor:
    """MPJPE of two poses (J, C)."""
    return torch.stack(
        [(a - b).pow(2).sum().sqrt() for a, b in zip(one, other, strict=True)]
    ).mean()


class PlainTrainer:
    """Trains φ and θ step by step.

    Args:
        config: What to train.
        skeleton: For the explicit constraints.
        pose_net: F_φ.
        loss_net: E_θ, whose parameters are updated.
        energy: How E_θ is computed; by the loss-net itself if None.
        stream: Random numbers of the negatives.
    """

    def __init__(
        self,
        config: TrainingConfig,
        skeleton: Skeleton,
        *,
        pose_net: nn.Module,
        loss_net: nn.Module,
        energy: Energy | None = None,
        stream: torch.Generator,
    ) -> None:
        assert config.lr_l is not None
        self.config, self.skeleton = config, skeleton
        self.pose_net = pose_net
        self.energy = energy or (lambda x, y: loss_net(x, y)[0])
        self.stream = stream
        decay = 0.01 if config.loss_optimizer == "adamw" else 0.0
        self.pose_adam = PlainAdam(pose_net.parameters(), config.lr_p)
        self.loss_adam = PlainAdam(loss_net.parameters(), config.lr_l, decay)

    def step(self, batch: PlainBatch) -> None:
        """One run through the loop of Algorithm 1."""
        config, x, y = self.config, batch.x, batch.y
        count = min(config.energy_poses or len(x), len(x))
        self.pose_net.train(config.negatives_from == "train_forward")
        with torch.no_grad():
            negative = self.pose_net(x)  # line 4
        before = copy.deepcopy(dict(self.pose_net.named_buffers()))
        perturbed, moved = self.perturbed(x[:count])
        ranks = self.ranks()
        losses = []
        for b in range(count):
            candidates = [p[b] for p in perturbed]
            losses.append(self.loss_net_loss(batch, b, negative[b], candidates, moved, ranks))
        self.loss_adam.step(torch.stack(losses).mean())  # lines 5, 6
        self.pose_net.train()
        pred = self.pose_net(x)  # line 7, the same φ
        energies = [self.energy(x[b : b + 1], pred[b : b + 1]).mean() for b in range(count)]
        loss = self.pose_loss(pred, y) + config.alpha * torch.stack(energies).mean()
        self.pose_adam.step(loss, config.grad_clip)
        if config.negatives_from == "train_forward":  # line 4 has updated the statistics
            for name, buffer in self.pose_net.named_buffers():
                buffer.copy_(before[name])

    @torch.no_grad()
    def perturbed(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """F_φ(x_k) for k = 1..K (Eqs. 1, 2), and how far joints moved, (K, B, T, J)."""
        config = self.config
        if not config.perturbs:
            return [], torch.empty(0)
        shape = (config.num_perturbations, *x.shape[:-1])
        area = torch.rand(shape, generator=self.stream).double()
        turn = 2 * math.pi * torch.rand(shape, generator=self.stream).double()
        reach = config.perturbation_radius * area.sqrt()
        self.pose_net.eval()
        lifted = []
        for k in range(config.num_perturbations):
            moved = x.clone()
            moved[..., 0] += reach[k] * torch.cos(turn[k])
            moved[..., 1] += reach[k] * torch.sin(turn[k])
            lifted.append(self.pose_net(moved))
        return lifted, reach

    def ranks(self) -> list[tuple[int, int]]:
        """Pairs (worse, better): neighbours, then as many at random."""
        count = self.config.num_perturbations
        if self.config.pair_weight == 0:
            return []
        pairs = [(rank + 1, rank) for rank in range(count - 1)]
        first = torch.randint(count, (count - 1,), generator=self.stream).tolist()
        ahead = torch.randint(1, count, (count - 1,), generator=self.stream).tolist()
        for one, step in zip(first, ahead, strict=True):
            other = (one + step) % count
            pairs.append((max(one, other), min(one, other)))
        return pairs

    def loss_net_loss(
        self,
        batch: PlainBatch,
        b: int,
        prediction: Tensor,
        perturbed: list[Tensor],
        moved: Tensor,
        ranks: list[tuple[int, int]],
    ) -> Tensor:
        """L_E of one clip, every energy in a pass of its own."""
        config, x, y = self.config, batch.x[b : b + 1], batch.y[b]

        def energy(pose: Tensor) -> Tensor:
            return self.energy(x, pose.unsqueeze(0))

        negatives = {
            "prediction": [prediction],
            "perturbation": perturbed,
            "both": [prediction, *perturbed],
        }[config.negatives]
        frames = []
        for t in range(len(y)):
            chosen = negatives
            if config.hard_negatives:
                errors = [self.reprojection(batch, b, t, pose[t]) for pose in negatives]
                chosen = [negatives[int(np.argmin(errors))]]
            frames.append(
                self.objective(
                    energy(y)[t],
                    [energy(pose)[t] for pose in chosen],
                    [distance(pose[t], y[t]) for pose in chosen],
                )
            )
        loss = torch.stack(frames).mean()
        if config.pair_weight > 0:
            loss = loss + config.pair_weight * self.ordering(
                [energy(pose) for pose in perturbed], perturbed, moved[:, b], ranks
            )
        if config.window_weight > 0:
            loss = loss + config.window_weight * self.windows(energy(prediction), prediction)
        return loss

    def objective(self, true: Tensor, false: list[Tensor], distances: list[Tensor]) -> Tensor:
        """Eqs. 9 and 10."""
        if self.config.objective == "nce":
            weights = [torch.exp(-value) for value in (true, *false)]
            return -torch.log(weights[0] / torch.stack(weights).sum())
        scale = self.config.margin_scale
        costs = [
            torch.clamp(scale * apart - value + true, min=0)
            for value, apart in zip(false, distances, strict=True)
        ]
        return torch.stack(costs).max()

    def ordering(
        self,
        energies: list[Tensor],
        poses: list[Tensor],
        moved: Tensor,
        ranks: list[tuple[int, int]],
    ) -> Tensor:
        """Eq. 3, mean over frames and pairs."""
        costs = []
        for t in range(len(poses[0])):
            order = sorted(range(len(poses)), key=lambda k: float(moved[k, t].mean()))
            for worse, better in ranks:
                i, j = order[worse], order[better]
                margin = self.config.pair_scale * distance(poses[i][t], poses[j][t])
                costs.append(torch.clamp(margin - energies[i][t] + energies[j][t], min=0))
        return torch.stack(costs).mean()

    def windows(self, energies: Tensor, poses: Tensor) -> Tensor:
        """Eqs. 4 and 5, mean over all pairs of neighbouring windows."""
        width, costs = self.config.window_frames, []
        starts = range(len(energies) - width + 1)
        for t in starts:
            for s in starts:
                if not 1 <= s - t <= self.config.window_shift:
                    continue
                e_t, e_s = (energies[u : u + width].sum() / width for u in (t, s))
                y_t, y_s = (poses[u : u + width].sum(dim=0) / width for u in (t, s))
                margin = self.config.pair_scale * distance(y_t, y_s)
                costs.append(torch.clamp(margin - (e_t - e_s).abs(), min=0))
        return torch.stack(costs).mean()

    def reprojection(self, batch: PlainBatch, b: int, t: int, pose: Tensor) -> float:
        """MPJPE_2D between the projections of a hypothesis and of the truth (3.6)."""
        camera, root = batch.cameras[b], batch.root[b, t].numpy()
        seen, wanted = (
            normalize_screen(project(points.numpy() + root, camera), camera.size)
            for points in (pose, batch.y[b, t])
        )
        return float(np.mean(np.linalg.norm(seen - wanted, axis=-1)))

    def pose_loss(self, pred: Tensor, y: Tensor) -> Tensor:
        """The supervised part of L_F, with the explicit constraints."""
        config, squared = self.config, (pred - y).pow(2)
        match config.pose_loss:
            case "mse":
                loss = squared.sum() / squared.numel()
            case "mse_sum":
                loss = squared.sum(dim=2).mean()
            case _:  # the net of the tests is VideoPose, whose authors train with MPJPE
                loss = squared.sum(dim=-1).sqrt().mean()
        lengths, asymmetries = [], []
        mirrored = dict(zip(self.skeleton.left, self.skeleton.right, strict=True))

        def length(pose: Tensor, start: int, end: int) -> Tensor:
            return (pose[end] - pose[start]).pow(2).sum().sqrt()

        for pose, truth in zip(pred.flatten(0, 1), y.flatten(0, 1), strict=True):
            for end, start in enumerate(self.skeleton.parents):
                if start < 0:
                    continue
                lengths.append((length(pose, start, end) - length(truth, start, end)).abs())
                if end in mirrored:
                    right = length(pose, mirrored.get(start, start), mirrored[end])
                    asymmetries.append((length(pose, start, end) - right).abs())
        return (
            loss
            + config.length_weight * torch.stack(lengths).mean()
            + config.symmetry_weight * torch.stack(asymmetries).mean()
        )
