"""P-STMO (Shan et al., ECCV 2022): per-frame encoder, temporal and strided transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from trainables.backbones._inputs import check_clips
from trainables.backbones._pstmo_parts import (
    FrameEncoder,
    StridedTransformer,
    TemporalTransformer,
)
from trainables.backbones._sliding import as_windows, middle_window
from trainables.backbones._training import TrainingOutput
from trainables.backbones._transformer import check_sizes
from trainables.errors import CheckpointError

__all__ = ["PRETRAINED_PARTS", "PSTMO", "default_strides"]

PRETRAINED_PARTS = ("encoder.", "temporal.")
"""Prefixes of the parameters and statistics that the masked pre-training hands on."""

_PUBLISHED_STRIDES = {9: (1, 3, 3), 351: (3, 9, 13)}


class PSTMO(nn.Module):
    """Many-to-one transformer, whose window shrinks to one token by strided convolutions.

    In training a second head lifts every frame from the tokens before they shrink: see
    `lift_all`. Of the release's parameters some never take part; they are kept, for checkpoints
    and sizes: the closing norms of both transformers, rows of the later position tables beyond
    the tokens that are left, and the first tap of the last convolution, which meets padding.

    Args:
        num_joints: Joints J, in and out.
        frames: Frames T of the window, odd.
        width: Channels C; the encoder has 2·C inside.
        hidden: Channels of the feed-forward layers.
        depth: Layers of the temporal transformer: 3 in P-STMO-S, 4 in P-STMO.
        heads: Attention heads, a divisor of C.
        strides: Strides of the strided layers, odd, their product being T; None for
            `default_strides`.
        dropout: Dropout rate, of every dropout.
        centred: Whether strided layers keep the middle one of the tokens that they merge. The
            release keeps the first, so that the last token descends from the window's first
            frame though its target is the middle one; its checkpoints need that.
        output_scale: Metres for 1 in the heads' output: 0.001 for MPI-INF-3DHP, whose
            millimetres the official nets give, 1 for Human3.6M.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        num_joints: int,
        frames: int = 81,
        width: int = 256,
        hidden: int = 512,
        depth: int = 3,
        heads: int = 8,
        strides: Sequence[int] | None = None,
        dropout: float = 0.1,
        centred: bool = False,
        output_scale: float = 0.001,
    ) -> None:
        super().__init__()
        self.window = middle_window(frames)
        check_sizes(width=width, hidden=hidden, depth=depth, heads=heads)
        strides = default_strides(frames) if strides is None else tuple(strides)
        if any(s < 1 or s % 2 == 0 for s in strides) or math.prod(strides) != frames:
            raise ValueError(
                f"strides must be odd and their product frames={frames}, got {list(strides)}"
            )
        self.num_joints = num_joints
        self.output_scale = output_scale
        self.encoder = FrameEncoder(2 * num_joints, width, dropout=dropout)
        self.temporal = TemporalTransformer(
            frames, width, hidden, depth=depth, heads=heads, dropout=dropout
        )
        self.strided = StridedTransformer(
            frames, width, hidden, strides=strides, heads=heads, dropout=dropout, centred=centred
        )
        self.all_norm = nn.BatchNorm1d(width)
        self.all_head = nn.Linear(width, 3 * num_joints)
        self.middle_norm = nn.BatchNorm1d(width)
        self.middle_head = nn.Linear(width, 3 * num_joints)

    def forward(self, x: Tensor) -> Tensor:
        """Lift the middle frames of clips.

        Args:
            x: Normalised screen coordinates, (B, T', J, 2), T' >= T.

        Returns:
            Root-relative joints, metres, (B, T' - T + 1, J, 3).

        Raises:
            ShapeError: If joints or coordinates do not fit, or the clips are too short.
        """
        windows = as_windows(x, self.num_joints, self.window.frames)
        return self._lift_middle(self._tokens(windows)).reshape(len(x), -1, self.num_joints, 3)

    def training_pass(self, x: Tensor, target: Tensor) -> TrainingOutput:
        """Lift all frames as well, which the authors' loss asks for; see `lift_all`.

        Of clips longer than the window, which that loss does not know, only what `forward` does.
        """
        del target
        if x.shape[1] > self.window.frames:
            return TrainingOutput(self(x))
        return TrainingOutput(*self.lift_all(x))

    def lift_all(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Lift the middle frame, and by the head that only training uses all frames as well.

        The authors' loss is the sum of both MPJPEs, with equal weights.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).

        Returns:
            Root-relative joints, metres: what `forward` gives, (B, 1, J, 3), and the auxiliary
            poses of all frames, (B, T, J, 3).

        Raises:
            ShapeError: If frames, joints or coordinates do not fit.
        """
        check_clips(x, self.num_joints, self.window.frames)
        tokens = self._tokens(x)
        every = self.all_head(self.all_norm(tokens.flatten(0, 1)))
        return self._lift_middle(tokens), self.output_scale * every.view(*x.shape[:3], 3)

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take the encoder and the temporal transformer of a masked pre-training.

        Args:
            state: State of a `MaskedPSTMO` of the same size; what is not shared is left out.

        Raises:
            CheckpointError: If what is shared is not there whole, or of another size.
        """
        own = {k: v for k, v in self.state_dict().items() if k.startswith(PRETRAINED_PARTS)}
        shared = {k: v for k, v in state.items() if k.startswith(PRETRAINED_PARTS)}
        faults = [f"unknown {name}" for name in sorted(set(shared) - set(own))]
        for name, value in own.items():
            if name not in shared:
                faults.append(f"missing {name}")
            elif shared[name].shape != value.shape:
                faults.append(f"{name}: {tuple(shared[name].shape)}, not {tuple(value.shape)}")
        if faults:
            raise CheckpointError(f"no pre-training of this P-STMO: {'; '.join(faults)}")
        self.load_state_dict(shared, strict=False)

    def _tokens(self, windows: Tensor) -> Tensor:
        """Encode windows (N, T, J, 2) to tokens (N, T, C)."""
        return self.temporal(self.encoder(windows.flatten(2)))  # type: ignore[no-any-return]

    def _lift_middle(self, tokens: Tensor) -> Tensor:
        """Shrink tokens (N, T, C) to the middle frames' poses (N, 1, J, 3)."""
        h: Tensor = self.middle_head(self.middle_norm(self.strided(tokens).squeeze(1)))
        return h.view(-1, 1, self.num_joints, 3) * self.output_scale


def default_strides(frames: int) -> tuple[int, ...]:
    """The published strides of a window; elsewhere threes first, then larger prime factors."""
    if frames in _PUBLISHED_STRIDES:
        return _PUBLISHED_STRIDES[frames]
    strides, rest, factor = [], frames, 3
    while rest > 1:
        if rest % factor:
            factor += 2
        else:
            strides.append(factor)
            rest //= factor
    return tuple(strides) or (1,)
