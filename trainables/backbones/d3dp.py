"""D3DP (Shan et al., ICCV 2023): diffusion over 3D clips, given the 2D clip."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.backbones._alternating import AlternatingBlocks
from trainables.backbones._inputs import check_clips
from trainables.backbones._training import TrainingOutput
from trainables.errors import ShapeError
from trainables.skeletons import Skeleton
from trainables.windows import Window

__all__ = ["D3DP", "cosine_alpha_bars", "sampling_times"]

_BOUND = 1.1  # metres; noisy and predicted poses are clamped to it
_LARGEST_BETA = 0.999


def cosine_alpha_bars(steps: int) -> list[float]:
    """The cosine schedule: ᾱ_t for t = 0, ..., steps - 1, the share of signal in x_t's variance.

    Products of 1 - β_i, β_i = clip(1 - g(i+1)/g(i), 0, 0.999),
    g(u) = cos²((u/steps + 0.008)/1.008·π/2).
    """

    def g(u: int) -> float:
        return math.cos((u / steps + 0.008) / 1.008 * math.pi / 2) ** 2

    bars, product = [], 1.0
    for i in range(steps):
        beta = min(max(1 - g(i + 1) / g(i), 0.0), _LARGEST_BETA)
        product *= 1 - beta
        bars.append(product)
    return bars


def sampling_times(steps: int, iterations: int) -> list[tuple[int, int]]:
    """Times (t, s) of each iteration, from noise to pose; the last s is -1, the pose itself.

    Args:
        steps: Steps of the schedule.
        iterations: Iterations K of the sampler.

    Raises:
        ValueError: If there are fewer than one iteration, or more than steps.
    """
    if not 1 <= iterations <= steps:
        raise ValueError(f"iterations must be of 1 to {steps}, got {iterations}")
    # int(linspace(-1, steps - 1, K + 1)) of the official code, in whole numbers; K divides the
    # 1000 steps in all its settings, elsewhere its float32 may round one time differently
    times = [steps * k // iterations - 1 for k in range(iterations + 1)]
    times.reverse()
    return list(itertools.pairwise(times))


class Denoiser(nn.Module):
    """MixSTE on [2D; noisy 3D], told the diffusion step of each clip.

    Args:
        num_joints: Joints J.
        frames: Frames T.
        width: Channels C, even.
        depth: Pairs of a spatial and a temporal block.
        heads: Attention heads, a divisor of C.
        mlp_ratio: Hidden channels of the blocks' MLPs by C.
        drop_path: Stochastic depth of the last pair in training.

    Raises:
        ValueError: If an option is out of range.
    """

    frequencies: Tensor

    def __init__(
        self,
        *,
        num_joints: int,
        frames: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        if width < 4 or width % 2:
            raise ValueError(f"width must be even and at least 4, got {width}")
        self.embed = nn.Linear(2 + 3, width)
        self.time_expand = nn.Linear(width, 2 * width)
        self.time_shrink = nn.Linear(2 * width, width)
        self.blocks = AlternatingBlocks(
            num_joints=num_joints,
            frames=frames,
            width=width,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
        )
        half = width // 2
        frequencies = [math.exp(-i * math.log(10_000) / (half - 1)) for i in range(half)]
        self.register_buffer("frequencies", torch.tensor(frequencies), persistent=False)

    def forward(self, x: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """Predict the poses without noise.

        Args:
            x: 2D poses, (B, T, J, 2).
            noisy: Noisy 3D poses, (B, T, J, 3).
            times: Diffusion step of each clip, (B,), int64.

        Returns:
            (B, T, J, 3).
        """
        h = self.embed(torch.cat([x, noisy], dim=-1)) + self._embed_times(times)[:, None, None]
        return self.blocks(h)  # type: ignore[no-any-return] # modules return Any

    def _embed_times(self, times: Tensor) -> Tensor:
        """(B,) to (B, C)."""
        angles = times[:, None] * self.frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.time_expand.weight.dtype)
        return self.time_shrink(F.gelu(self.time_expand(waves)))  # type: ignore[no-any-return]


class D3DP(nn.Module):
    """Diffusion model that predicts the pose itself, not the noise; samples in a few steps.

    Training predicts the target of a clip from its noisy version, `predict_noisy`; the loss is
    the MPJPE of that prediction. At test `hypothesise` gives hypotheses, which
    `trainables.metrics.hypotheses` selects from or averages, by noise that is the same for each
    clip and each call, so that it is a function of its input; `forward` gives a single one after
    a single iteration. Averaging with the mirror image happens in each iteration.

    Predicted roots are noise around zero; the official evaluation sets them to zero.

    Args:
        skeleton: The poses' skeleton, which says how they are mirrored.
        frames: Frames T of a clip, in and out.
        width: Channels C, even.
        depth: Pairs of a spatial and a temporal block.
        heads: Attention heads, a divisor of C.
        mlp_ratio: Hidden channels of the blocks' MLPs by C.
        drop_path: Stochastic depth of the last pair in training; it grows evenly from 0.
        steps: Steps of the diffusion.
        noise_seed: Seed of the noise that hypotheses come from.

    Raises:
        ValueError: If an option is out of range.
    """

    alpha_bars: Tensor
    mirrored: Tensor

    def __init__(
        self,
        *,
        skeleton: Skeleton,
        frames: int = 243,
        width: int = 512,
        depth: int = 8,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
        steps: int = 1000,
        noise_seed: int = 0,
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be positive, got {steps}")
        self.num_joints = skeleton.num_joints
        self.window = Window(frames, "all")
        self.steps = steps
        self.noise_seed = noise_seed
        self.denoiser = Denoiser(
            num_joints=skeleton.num_joints,
            frames=frames,
            width=width,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
        )
        # kept as numbers, too, so that sampling does not wait for the device to read them
        self._bars = cosine_alpha_bars(steps)
        bars = torch.tensor(self._bars, dtype=torch.float64)
        self.register_buffer("alpha_bars", bars, persistent=False)
        self.register_buffer("mirrored", torch.tensor(skeleton.mirrored), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Lift clips of 2D poses: one hypothesis after one iteration.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).

        Returns:
            Root-relative joints, metres, (B, T, J, 3).

        Raises:
            ShapeError: If frames, joints or coordinates do not fit.
        """
        return self.hypothesise(x, hypotheses=1, iterations=1, flip=False)[0]

    def hypothesise(self, x: Tensor, *, hypotheses: int, iterations: int, flip: bool) -> Tensor:
        """Sample hypotheses, by noise that all clips and calls share.

        The denoiser sees as many clips at a time as there are.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            hypotheses: Hypotheses H.
            iterations: Iterations K of the sampler.
            flip: Whether each iteration is averaged with that of the mirror image.

        Returns:
            Root-relative joints, metres, (H, B, T, J, 3).

        Raises:
            ShapeError: If frames, joints or coordinates do not fit.
            ValueError: If hypotheses or iterations are out of range.
        """
        if hypotheses < 1:
            raise ValueError(f"there must be at least one hypothesis, got {hypotheses}")
        noise = self.draw_noise(
            1,
            hypotheses=hypotheses,
            iterations=iterations,
            generator=torch.Generator().manual_seed(self.noise_seed),
        )
        return self.sample(x, noise, flip=flip, max_clips=max(1, len(x)))[-1]

    def training_pass(self, x: Tensor, target: Tensor) -> TrainingOutput:
        """Predict the targets from their noisy versions; see `predict_noisy`."""
        return TrainingOutput(self.predict_noisy(x, target))

    def predict_noisy(
        self, x: Tensor, target: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Predict the target of each clip from its noisy version at a random step: training.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            target: Root-relative joints, metres, (B, T, J, 3).
            generator: Source of steps and noise; None for torch's own, on the net's device.

        Returns:
            Predicted targets, metres, (B, T, J, 3).

        Raises:
            ShapeError: If x and target do not fit.
        """
        check_clips(x, self.num_joints, self.window.frames)
        self._check_poses(target, x.shape[:-1])
        device = target.device if generator is None else generator.device
        times = torch.randint(self.steps, (len(x),), generator=generator, device=device)
        noise = torch.randn(target.shape, generator=generator, device=device, dtype=target.dtype)
        times, noise = times.to(target.device), noise.to(target.device)
        return self.denoiser(x, self.corrupt(target, times, noise), times)  # type: ignore[no-any-return]

    def corrupt(self, target: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Mix poses with noise: √ᾱ_t·y + √(1-ᾱ_t)·ε, clamped.

        Args:
            target: y, metres, (B, T, J, 3).
            times: t, (B,), int64.
            noise: ε, (B, T, J, 3).

        Returns:
            (B, T, J, 3).
        """
        bars = self.alpha_bars[times].view(-1, 1, 1, 1)
        signal, spread = bars.sqrt().to(target.dtype), (1 - bars).sqrt().to(target.dtype)
        return (signal * target + spread * noise).clamp(-_BOUND, _BOUND)

    def draw_noise(
        self,
        clips: int,
        *,
        hypotheses: int,
        iterations: int,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw all noise that `sample` needs.

        Args:
            clips: Clips B; 1 for noise that all clips share.
            hypotheses: Hypotheses H.
            iterations: Iterations K.
            generator: Source; None for torch's own. One on the CPU gives the same on any device.

        Returns:
            Standard normal, (K, H, B, T, J, 3), on the net's device, in its type.
        """
        weight = self.denoiser.embed.weight
        device = weight.device if generator is None else generator.device
        shape = (iterations, hypotheses, clips, self.window.frames, self.num_joints, 3)
        noise = torch.randn(shape, generator=generator, device=device, dtype=weight.dtype)
        return noise.to(weight.device)

    def sample(
        self, x: Tensor, noise: Tensor, *, flip: bool = True, max_clips: int | None = None
    ) -> Tensor:
        """Sample hypotheses: DDIM with η = 1, each iteration averaged with the mirror image.

        Its cost is 2·H·K denoiser passes (H·K without `flip`); call it without gradients, unless
        they are wanted.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            noise: Of `draw_noise`, (K, H, B, T, J, 3), or of 1 clip, which all share; says how
                many iterations K and hypotheses H there are.
            flip: Whether to average with the mirror image.
            max_clips: The denoiser sees at most so many of the H·B clips at a time; None for all.

        Returns:
            Root-relative joints, metres, after each iteration, (K, H, B, T, J, 3); the last
            iteration is the result.

        Raises:
            ShapeError: If x and noise do not fit.
            ValueError: If max_clips, or the iterations, are out of range.
        """
        check_clips(x, self.num_joints, self.window.frames)
        batch, poses = len(x), x.shape[1:3]
        if noise.ndim != 6 or noise.shape[2] not in (1, batch):
            raise ShapeError(
                f"expected noise (K, H, {batch} or 1, {', '.join(map(str, poses))}, 3), got "
                f"{tuple(noise.shape)}"
            )
        self._check_poses(noise, (*noise.shape[:3], *poses))
        iterations, hypotheses = noise.shape[:2]
        if max_clips is None:
            max_clips = hypotheses * batch
        elif max_clips < 1:
            raise ValueError(f"max_clips must be positive, got {max_clips}")
        noise = noise.expand(-1, -1, batch, -1, -1, -1).flatten(1, 2)  # (K, H·B, T, J, 3)
        rows = x.repeat(hypotheses, 1, 1, 1)  # (H·B, T, J, 2)
        current, results = noise[0], []
        for k, (t, s) in enumerate(sampling_times(self.steps, iterations)):
            start = self._predict_start(rows, current, t, max_clips=max_clips, flip=flip)
            results.append(start.unflatten(0, (hypotheses, batch)))
            if s >= 0:
                current = self._step(current, start, noise[k + 1], t, s)
        return torch.stack(results)

    def _predict_start(
        self, x: Tensor, current: Tensor, time: int, *, max_clips: int, flip: bool
    ) -> Tensor:
        """x̂₀ of noisy clips (N, T, J, 3), clamped."""
        noisy = current.clamp(-_BOUND, _BOUND)
        parts = []
        for x_part, part in zip(x.split(max_clips), noisy.split(max_clips), strict=True):
            times = torch.full((len(part),), time, device=part.device)
            start = self.denoiser(x_part, part, times)
            if flip:
                mirror = self.denoiser(self._mirror(x_part), self._mirror(part), times)
                start = (start + self._mirror(mirror)) / 2
            parts.append(start)
        return torch.cat(parts).to(current.dtype).clamp(-_BOUND, _BOUND)  # of autocast's type, too

    def _step(self, current: Tensor, start: Tensor, noise: Tensor, t: int, s: int) -> Tensor:
        """x_s of x_t and x̂₀."""
        bar_t, bar_s = self._bars[t], self._bars[s]
        found = (current / math.sqrt(bar_t) - start) / math.sqrt(1 / bar_t - 1)
        sigma = math.sqrt((1 - bar_t / bar_s) * (1 - bar_s) / (1 - bar_t))
        direction = math.sqrt(1 - bar_s - sigma**2)
        return math.sqrt(bar_s) * start + direction * found + sigma * noise

    def _mirror(self, points: Tensor) -> Tensor:
        """Negate x and exchange left and right joints of (..., J, 2) or (..., J, 3)."""
        exchanged = points.index_select(-2, self.mirrored)
        return torch.cat([-exchanged[..., :1], exchanged[..., 1:]], dim=-1)

    def _check_poses(self, poses: Tensor, leading: Sequence[int]) -> None:
        if poses.shape != (*leading, 3):
            raise ShapeError(f"expected shape {(*leading, 3)}, got {tuple(poses.shape)}")
