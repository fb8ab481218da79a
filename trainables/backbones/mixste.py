"""MixSTE (Zhang et al., CVPR 2022): spatial and temporal transformer blocks in turn."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.backbones._alternating import AlternatingBlocks
from trainables.backbones._inputs import check_clips
from trainables.backbones._transformer import check_sizes
from trainables.windows import Window

__all__ = ["MixSTE"]


class MixSTE(nn.Module):
    """Seq2seq transformer whose blocks mix the joints of a frame and the frames of a joint.

    Args:
        num_joints: Joints J, in and out.
        frames: Frames T of a clip, in and out.
        width: Channels C.
        depth: Pairs of a spatial and a temporal block.
        heads: Attention heads, a divisor of C.
        mlp_ratio: Hidden channels of the blocks' MLPs by C.
        drop_path: Stochastic depth of the last pair in training; it grows evenly from 0.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        num_joints: int,
        frames: int = 243,
        width: int = 512,
        depth: int = 8,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        check_sizes(frames=frames, width=width, depth=depth, heads=heads)
        self.num_joints = num_joints
        self.window = Window(frames, "all")
        self.embed = nn.Linear(2, width)
        self.blocks = AlternatingBlocks(
            num_joints=num_joints,
            frames=frames,
            width=width,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Lift clips of 2D poses.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2).

        Returns:
            Root-relative joints, metres, (B, T, J, 3).

        Raises:
            ShapeError: If frames, joints or coordinates do not fit.
        """
        check_clips(x, self.num_joints, self.window.frames)
        return self.blocks(self.embed(x))  # type: ignore[no-any-return] # modules return Any
