"""Checkpoints of P-STMO's authors: of the net, and of its masked pre-training.

What they store as convolutions of width 1 are linear maps here.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trainables.backbones.official._renaming import depth_of, rename, without_module_prefix
from trainables.errors import CheckpointError

__all__ = ["convert_masked_pstmo", "convert_pstmo", "masked_pstmo_names", "names_in_pstmo"]
__all__ += ["pstmo_names"]

_LINEAR = ("weight", "bias")
_BATCH_NORM = (*_LINEAR, "running_mean", "running_var", "num_batches_tracked")
_ENCODER_LINEARS = {
    "fc_1": "expand",
    "layers.0.w1": "fc1",
    "layers.0.w2": "fc2",
    "fc_2": "shrink",
}
_ENCODER_NORMS = {
    "bn_1": "expand_bn",
    "layers.0.batch_norm1": "bn1",
    "layers.0.batch_norm2": "bn2",
}
_ATTENTION = ("queries", "keys", "values", "out")


def pstmo_names(depth: int, strided: int) -> dict[str, str]:
    """Our name by official name of every parameter and statistic.

    Args:
        depth: Layers of the temporal transformer.
        strided: Strided layers.
    """
    reduce = "Transformer_reduce.model"
    names = _shared_names(depth)
    names |= _stack_names(reduce, "strided", strided)
    for index in range(min(strided, 3)):
        names[f"{reduce}.pos_embedding_{index + 1}"] = f"strided.tables.{index}"
    return (
        names
        | _head_names("fcn", "middle_norm", "middle_head")
        | _head_names("fcn_1", "all_norm", "all_head")
    )


def masked_pstmo_names(depth: int) -> dict[str, str]:
    """Our name by official name, in the net of the masked pre-training.

    Args:
        depth: Layers of the temporal transformer; the decoder has one less.
    """
    return {
        **_shared_names(depth),
        **_stack_names("Transformer_dec.model", "decoder", depth - 1),
        **_head_names("fcn_dec", "norm", "head"),
        **_norm_names("encoder_LN", "encoder_norm"),
        "encoder_to_decoder.weight": "to_decoder.weight",
        "dec_pos_embedding": "decoder_table",
        "mask_token": "frame_token",
        "spatial_mask_token": "joint_token",
    }


def names_in_pstmo(state: Mapping[str, Tensor]) -> dict[str, str]:
    """`pstmo_names` of a checkpoint's depths."""
    return pstmo_names(
        depth_of(state, "Transformer.model.layers"),
        depth_of(state, "Transformer_reduce.model.layers"),
    )


def convert_pstmo(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of an official checkpoint our names and shapes.

    Args:
        state: Parameters under their official names, with or without the `module.` of
            `nn.DataParallel`; of any depth.

    Returns:
        A state of `PSTMO`.

    Raises:
        CheckpointError: If there are unknown names or names are missing; both are listed. Or if
            what is a linear map here is none there.
    """
    state = without_module_prefix(state)
    return _as_linear(rename(state, names_in_pstmo(state), net="P-STMO"))


def convert_masked_pstmo(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of an official pre-training's checkpoint our names and shapes.

    Args:
        state: As `convert_pstmo`.

    Returns:
        A state of `MaskedPSTMO`, which `PSTMO.load_pretrained` takes as well.

    Raises:
        CheckpointError: As `convert_pstmo`.
    """
    state = without_module_prefix(state)
    depth = depth_of(state, "Transformer.model.layers")
    return _as_linear(rename(state, masked_pstmo_names(depth), net="P-STMO's pre-training"))


def _shared_names(depth: int) -> dict[str, str]:
    """Encoder and temporal transformer: what pre-training and net have in common."""
    names = {"Transformer.pos_embedding": "temporal.table"}
    for layers, kinds in ((_ENCODER_LINEARS, _LINEAR), (_ENCODER_NORMS, _BATCH_NORM)):
        for official, ours in layers.items():
            names |= {f"encoder.{official}.{kind}": f"encoder.{ours}.{kind}" for kind in kinds}
    return names | _stack_names("Transformer.model", "temporal", depth)


def _stack_names(official: str, ours: str, depth: int) -> dict[str, str]:
    """Attention and feed-forward layers, and the closing norm, which is never called."""
    names = _norm_names(f"{official}.norm", f"{ours}.closing_norm")
    for index in range(depth):
        there, here = f"{official}.layers.{index}", f"{ours}.layers.{index}"
        linears = {
            **{f"self_attn.linears.{i}": f"attention.{name}" for i, name in enumerate(_ATTENTION)},
            "feed_forward.w_1": "expand",
            "feed_forward.w_2": "shrink",
        }
        for a, b in linears.items():
            names |= {f"{there}.{a}.{kind}": f"{here}.{b}.{kind}" for kind in _LINEAR}
        for i in range(2):
            names |= _norm_names(f"{there}.sublayer.{i}.norm", f"{here}.norm{i + 1}")
    return names


def _norm_names(official: str, ours: str) -> dict[str, str]:
    return {f"{official}.a_2": f"{ours}.weight", f"{official}.b_2": f"{ours}.bias"}


def _head_names(official: str, norm: str, head: str) -> dict[str, str]:
    names = {f"{official}.0.{kind}": f"{norm}.{kind}" for kind in _BATCH_NORM}
    return names | {f"{official}.1.{kind}": f"{head}.{kind}" for kind in _LINEAR}


def _as_linear(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the width off the kernels (out, in, 1); tables and strided convolutions keep theirs."""
    converted = {}
    for name, value in state.items():
        strided = name.startswith("strided.") and name.endswith(".shrink.weight")
        if value.ndim == 3 and name.endswith(".weight") and not strided:
            if value.shape[-1] != 1:
                raise CheckpointError(
                    f"no official checkpoint of P-STMO: {name} has shape {tuple(value.shape)}, "
                    "not that of a convolution of width 1"
                )
            value = value.squeeze(-1)
        converted[name] = value
    return converted
