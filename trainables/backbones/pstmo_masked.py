"""P-STMO's masked pre-training: 2D poses from some of their joints and frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.backbones._inputs import check_clips
from trainables.backbones._pstmo_parts import (
    FrameEncoder,
    PlainLayers,
    TemporalTransformer,
    TokenNorm,
)
from trainables.errors import ShapeError
from trainables.windows import Window

__all__ = ["MaskedPSTMO", "PoseMasks", "masked_pose_loss"]


@dataclass(frozen=True)
class PoseMasks:
    """What is hidden from the net in one step.

    Attributes:
        visible: Positions of the frames that are shown, in order, (V,), the same in all clips.
        hidden: Positions of the others, in order, (T - V,).
        joints: Whether a joint is replaced, in every frame, shown or not, (B, T, J).
    """

    visible: Tensor
    hidden: Tensor
    joints: Tensor


class MaskedPSTMO(nn.Module):
    """Masked auto-encoder whose encoder and temporal transformer are P-STMO's.

    The decoder is half as wide and one layer less deep. `PSTMO.load_pretrained` takes what
    they share from the state of this net.

    Args:
        num_joints: Joints J, in and out.
        frames: Frames T of a clip.
        width: Channels C, even.
        hidden: Channels of the feed-forward layers, even.
        depth: Layers of the temporal transformer.
        heads: Attention heads, a divisor of C / 2.
        dropout: Dropout rate, of every dropout.
        masked_frames: Share of the frames that are hidden: 0.7 for MPI-INF-3DHP, 0.8 for
            Human3.6M (0.6 with depth 4).
        masked_joints: Joints that are replaced in each frame: 2 for MPI-INF-3DHP; for Human3.6M
            7 with true 2D poses, 2 with detected ones (3 with depth 4).
        maskable_joints: Joints are drawn from the first so many; None for all. The release never
            draws its last one, so 16 of 17 is what it does.

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
        dropout: float = 0.1,
        masked_frames: float = 0.7,
        masked_joints: int = 2,
        maskable_joints: int | None = None,
    ) -> None:
        super().__init__()
        if width % 2 or hidden % 2 or depth < 1:
            raise ValueError(
                f"width and hidden must be even and depth positive, got {width}, {hidden}, {depth}"
            )
        if not 0 <= masked_frames < 1:
            raise ValueError(f"masked_frames must be in [0, 1), got {masked_frames}")
        self.maskable_joints = num_joints if maskable_joints is None else maskable_joints
        if not 0 <= masked_joints <= self.maskable_joints <= num_joints:
            raise ValueError(
                f"masked_joints and maskable_joints must be in order and of 0 to {num_joints}, "
                f"got {masked_joints} and {self.maskable_joints}"
            )
        self.num_joints = num_joints
        self.window = Window(frames, "all")
        self.masked_joints = masked_joints
        self.hidden_frames = int(masked_frames * frames)
        narrow = width // 2
        self.encoder = FrameEncoder(2 * num_joints, width, dropout=dropout)
        self.temporal = TemporalTransformer(
            frames, width, hidden, depth=depth, heads=heads, dropout=dropout
        )
        self.encoder_norm = TokenNorm(width)
        self.to_decoder = nn.Linear(width, narrow, bias=False)
        self.decoder = PlainLayers(
            narrow, hidden // 2, depth=depth - 1, heads=heads, dropout=dropout
        )
        self.decoder_table = nn.Parameter(torch.randn(1, frames, narrow))
        self.frame_token = nn.Parameter(torch.randn(1, 1, narrow))
        self.joint_token = nn.Parameter(torch.randn(1, 1, 2))
        self.norm = nn.BatchNorm1d(narrow)
        self.head = nn.Linear(narrow, 2 * num_joints)

    def draw_masks(
        self,
        batch: int,
        *,
        device: torch.device | None = None,
        generator: torch.Generator | None = None,
    ) -> PoseMasks:
        """Draw what is hidden in one step: frames for the whole batch, joints in each frame.

        Args:
            batch: Clips B.
            device: Where the masks lie.
            generator: Source of chance on that device; None for torch's own.
        """
        frames = self.window.frames

        def order_by_chance(*shape: int) -> Tensor:
            return torch.rand(shape, device=device, generator=generator).argsort(-1)

        positions = order_by_chance(frames)
        hidden, visible = positions[: self.hidden_frames], positions[self.hidden_frames :]
        chosen = order_by_chance(batch, frames, self.maskable_joints)[..., : self.masked_joints]
        joints = torch.zeros(batch, frames, self.num_joints, dtype=torch.bool, device=device)
        return PoseMasks(
            visible.sort().values, hidden.sort().values, joints.scatter(-1, chosen, value=True)
        )

    def forward(self, x: Tensor, masks: PoseMasks | None = None) -> Tensor:
        """Restore clips of 2D poses.

        The official net gives the visible frames first; here all are in order of time.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).
            masks: What to hide of them; None to draw it.

        Returns:
            All frames, visible and hidden, normalised screen coordinates, (B, T, J, 2).

        Raises:
            ShapeError: If frames, joints or coordinates do not fit, or the masks do not.
        """
        check_clips(x, self.num_joints, self.window.frames)
        masks = self.draw_masks(len(x), device=x.device) if masks is None else masks
        if masks.joints.shape != x.shape[:3]:
            raise ShapeError(
                f"masks of joints {tuple(masks.joints.shape)} do not fit poses {tuple(x.shape)}"
            )
        shown = torch.where(masks.joints.unsqueeze(-1), self.joint_token.to(x.dtype), x)
        h = self.temporal(self.encoder(shown.flatten(2)), masks.visible)  # (B, V, C)
        h = self.to_decoder(self.encoder_norm(h))
        hidden = self.frame_token.expand(len(x), len(masks.hidden), -1).to(h.dtype)
        order = torch.cat((masks.visible, masks.hidden))
        h = self.decoder(torch.cat((h, hidden), dim=1) + self.decoder_table[:, order])
        h = h[:, order.argsort()].flatten(0, 1)  # (B·T, C/2), in order of time
        return self.head(self.norm(h)).view(x.shape)  # type: ignore[no-any-return]


def masked_pose_loss(pred: Tensor, clean: Tensor) -> Tensor:
    """Mean distance of restored joints from the clean ones, over all frames, hidden or not.

    Args:
        pred: Restored poses, (B, T, J, 2).
        clean: Poses before masking, same shape and unit.

    Returns:
        Scalar, in the unit of the poses.

    Raises:
        ShapeError: If the shapes differ.
    """
    if pred.shape != clean.shape:
        raise ShapeError(f"pred {tuple(pred.shape)} and clean {tuple(clean.shape)} differ")
    loss: Tensor = torch.linalg.vector_norm(pred - clean, dim=-1).mean()
    return loss
