"""D3DP (Shan et al., ICCV 2023): diffusion over 3D clips, given the 2D clip."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from trainables.backbones._denoisers import Denoiser, KTPDenoiser, TimedNet
from trainables.backbones._inputs import check_clips
from trainables.backbones._training import TrainingOutput
from trainables.errors import ShapeError
from trainables.skeletons import Skeleton
from trainables.windows import Window

__all__ = ["D3DP", "cosine_alpha_bars", "sampling_times"]

_BOUND = 1.1  # metres; noisy and predicted poses are clamped to it
_LARGEST_BETA = 0.999
# with the authors' depths
_DENOISERS: Mapping[str, tuple[Callable[..., TimedNet], int]] = {
    "mixste": (Denoiser, 8),
    "ktpformer": (KTPDenoiser, 7),
}


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


class D3DP(nn.Module):
    """Diffusion model that predicts the pose itself, not the noise; samples in a few steps.

    Training predicts the target of a clip from its noisy version, `predict_noisy`; the loss is
    the MPJPE of that prediction. At test `hypothesise` gives hypotheses, which
    `trainables.metrics.hypotheses` selects from or averages, by noise that is the same for each
    clip and each call, so that it is a function of its input; `forward` gives a single one after
    a single iteration. Averaging with the mirror image happens in each iteration.

    Predicted roots are noise around zero; the official evaluation sets them to zero.

    KTPFormer's authors report a diffusion version, too, their net in MixSTE's place, but have not
    released it: `denoiser="ktpformer"` is a reconstruction, whose details are ours.

    Args:
        skeleton: The poses' skeleton, which says how they are mirrored.
        denoiser: The net that predicts poses from noisy ones.
        frames: Frames T of a clip, in and out.
        width: Channels C, even.
        depth: Pairs of a spatial and a temporal block; KTPFormer has one more pair, its first.
            None for the authors' 8 of MixSTE, 7 of KTPFormer.
        heads: Attention heads, a divisor of C.
        mlp_ratio: Hidden channels of the blocks' MLPs by C.
        drop_path: Stochastic depth of the last pair in training; it grows evenly from 0.
        steps: Steps of the diffusion.
        noise_seed: Seed of the noise that hypotheses come from.

    Raises:
        ValueError: If an option is out of range.
    """

    signal_shares: Tensor
    noise_shares: Tensor
    mirrored: Tensor

    def __init__(
        self,
        *,
        skeleton: Skeleton,
        denoiser: Literal["mixste", "ktpformer"] = "mixste",
        frames: int = 243,
        width: int = 512,
        depth: int | None = None,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
        steps: int = 1000,
        noise_seed: int = 0,
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be positive, got {steps}")
        if denoiser not in _DENOISERS:
            raise ValueError(f"denoiser must be of {', '.join(_DENOISERS)}, got {denoiser!r}")
        self.num_joints = skeleton.num_joints
        self.window = Window(frames, "all")
        self.steps = steps
        self.noise_seed = noise_seed
        build, authors_depth = _DENOISERS[denoiser]
        self.denoiser = build(
            skeleton=skeleton,
            frames=frames,
            width=width,
            depth=authors_depth if depth is None else depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
        )
        # kept as numbers, too, so that sampling does not wait for the device to read them
        self._bars = cosine_alpha_bars(steps)
        bars = torch.tensor(self._bars, dtype=torch.float64)
        # roots before the net's type rounds: 1 - ᾱ of early steps would be left with few digits
        self.register_buffer("signal_shares", bars.sqrt(), persistent=False)
        self.register_buffer("noise_shares", (1 - bars).sqrt(), persistent=False)
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

    def hypothesise(
        self,
        x: Tensor,
        *,
        hypotheses: int,
        iterations: int,
        flip: bool,
        generator: torch.Generator | None = None,
        max_clips: int | None = None,
    ) -> Tensor:
        """Sample hypotheses.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            hypotheses: Hypotheses H.
            iterations: Iterations K of the sampler.
            flip: Whether each iteration is averaged with that of the mirror image.
            generator: Source of fresh noise for each clip; None for noise that all clips and
                calls share.
            max_clips: The denoiser sees at most so many of the H·B clips at a time; None for B.

        Returns:
            Root-relative joints, metres, (H, B, T, J, 3).

        Raises:
            ShapeError: If frames, joints or coordinates do not fit.
            ValueError: If hypotheses, iterations or max_clips are out of range.
        """
        if hypotheses < 1:
            raise ValueError(f"there must be at least one hypothesis, got {hypotheses}")
        if max_clips is None:
            max_clips = max(1, len(x))
        _check_max_clips(max_clips)
        noise = self.draw_noise(
            1 if generator is None else len(x),
            hypotheses=hypotheses,
            iterations=iterations,
            generator=generator or torch.Generator().manual_seed(self.noise_seed),
        )
        steps = self._iterate(x, noise, flip=flip, max_clips=max_clips)
        return deque(steps, maxlen=1).pop()  # the others need no memory

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
        tables = (self.signal_shares, self.noise_shares)
        signal, spread = (table[times].to(target.dtype).view(-1, 1, 1, 1) for table in tables)
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
        weight = self.denoiser.time_expand.weight
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
        if max_clips is None:
            max_clips = noise.shape[1] * len(x)
        _check_max_clips(max_clips)
        return torch.stack(list(self._iterate(x, noise, flip=flip, max_clips=max_clips)))

    def _iterate(
        self, x: Tensor, noise: Tensor, *, flip: bool, max_clips: int
    ) -> Iterator[Tensor]:
        """The hypotheses after each iteration, (H, B, T, J, 3); arguments as for `sample`."""
        check_clips(x, self.num_joints, self.window.frames)
        batch, poses = len(x), x.shape[1:3]
        if noise.ndim != 6 or noise.shape[2] not in (1, batch):
            raise ShapeError(
                f"expected noise (K, H, {batch} or 1, {', '.join(map(str, poses))}, 3), got "
                f"{tuple(noise.shape)}"
            )
        self._check_poses(noise, (*noise.shape[:3], *poses))
        iterations, hypotheses = noise.shape[:2]
        times = sampling_times(self.steps, iterations)
        rows = x.repeat(hypotheses, 1, 1, 1)  # (H·B, T, J, 2)

        def drawn(k: int) -> Tensor:
            return noise[k].expand(-1, batch, -1, -1, -1).flatten(0, 1)  # (H·B, T, J, 3)

        current = drawn(0)
        for k, (t, s) in enumerate(times):
            start = self._predict_start(rows, current, t, max_clips=max_clips, flip=flip)
            yield start.unflatten(0, (hypotheses, batch))
            if s >= 0:
                current = self._step(current, start, drawn(k + 1), t, s)

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


def _check_max_clips(count: int) -> None:
    if count < 1:
        raise ValueError(f"max_clips must be positive, got {count}")
