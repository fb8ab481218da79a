"""VideoPose (VideoPose3D, Pavllo et al., CVPR 2019), by default with receptive field 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from trainables.backbones._inputs import check_input
from trainables.errors import ShapeError
from trainables.windows import SINGLE_FRAMES, Window

__all__ = ["VideoPose"]


class VideoPose(nn.Module):
    """Residual (temporal) convolutions over the flattened joints.

    With widths 1, 1, 1, the paper's single-frame setting, no layer mixes frames. Parameters
    keep the convolutional shapes and names of the official code, so that its checkpoints load.

    Args:
        num_joints: Joints J, in and out.
        widths: Filter widths, odd; their product is the receptive field.
        channels: Hidden channels C.
        dropout: Dropout rate after every hidden activation.

    Raises:
        ValueError: If there is no width, or an even one.
    """

    def __init__(
        self,
        *,
        num_joints: int,
        widths: Sequence[int] = (1, 1, 1),
        channels: int = 1024,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        if not widths or any(width < 1 or width % 2 == 0 for width in widths):
            raise ValueError(f"widths must be odd and positive, got {list(widths)}")
        self.num_joints = num_joints
        self.widths = tuple(widths)
        self.receptive_field = math.prod(self.widths)
        self.window = SINGLE_FRAMES
        if self.receptive_field > 1:
            self.window = Window(self.receptive_field, "middle")
        self.dropout = dropout
        self.expand_bn = nn.BatchNorm1d(channels)
        self.shrink = nn.Conv1d(channels, num_joints * 3, 1)
        self.expand_conv = nn.Conv1d(num_joints * 2, channels, self.widths[0], bias=False)
        self.layers_conv = nn.ModuleList()
        self.layers_bn = nn.ModuleList()
        dilation = self.widths[0]
        for width in self.widths[1:]:
            self.layers_conv.append(
                nn.Conv1d(channels, channels, width, dilation=dilation, bias=False)
            )
            self.layers_conv.append(nn.Conv1d(channels, channels, 1, bias=False))
            self.layers_bn.append(nn.BatchNorm1d(channels))
            self.layers_bn.append(nn.BatchNorm1d(channels))
            dilation *= width

    def forward(self, x: Tensor) -> Tensor:
        """Lift 2D poses.

        Args:
            x: Normalised screen coordinates, (B, T, J, 2), T >= receptive field.

        Returns:
            Root-relative joints, metres, (B, T', J, 3), T' = T - receptive field + 1.

        Raises:
            ShapeError: If joints or coordinates do not fit, or the clip is too short.
        """
        check_input(x, self.num_joints)
        batch, frames = x.shape[:2]
        if frames < self.receptive_field:
            raise ShapeError(
                f"clips of {frames} frames are shorter than the receptive field of widths "
                f"{self.widths}; set data.frames={self.receptive_field}"
            )
        if self.receptive_field == 1:
            # folded to rows: a convolution of width 1 over one frame is a slow matrix product
            out = self._lift(x.reshape(batch * frames, -1))
            return out.reshape(batch, frames, self.num_joints, 3)
        out = self._lift(x.reshape(batch, frames, -1).transpose(1, 2))  # (B, 3J, T')
        return out.transpose(1, 2).reshape(batch, -1, self.num_joints, 3)

    def _lift(self, h: Tensor) -> Tensor:
        """Map rows (N, 2J) to (N, 3J), or clips (B, 2J, T) to (B, 3J, T')."""
        h = self._activate(self.expand_bn, _convolve(self.expand_conv, h))
        for block in range(len(self.widths) - 1):
            first, second = self.layers_conv[2 * block], self.layers_conv[2 * block + 1]
            inner = self._activate(self.layers_bn[2 * block], _convolve(first, h))
            inner = self._activate(self.layers_bn[2 * block + 1], _convolve(second, inner))
            cropped = h.shape[-1] - inner.shape[-1] if h.ndim == 3 else 0
            if cropped:
                h = h[..., cropped // 2 : h.shape[-1] - cropped // 2]
            h = h + inner
        return _convolve(self.shrink, h)

    def _activate(self, norm: nn.Module, h: Tensor) -> Tensor:
        return F.dropout(F.relu(norm(h)), self.dropout, self.training)


def _convolve(conv: nn.Module, h: Tensor) -> Tensor:
    """Apply a convolution to clips, or, if its width is 1, to rows (N, C)."""
    if h.ndim == 3:
        return conv(h)  # type: ignore[no-any-return] # modules are untyped callables
    weight, bias = conv.weight, conv.bias
    return F.linear(h, weight.squeeze(-1), bias)  # type: ignore[arg-type, operator]
