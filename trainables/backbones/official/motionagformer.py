"""Checkpoints of MotionAGFormer's authors, of any size.

Build the net with `graph="official"` for them: they were trained with the release's graph.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trainables.backbones.official._renaming import depth_of, rename, without_module_prefix

__all__ = ["convert_motionagformer", "motionagformer_names", "names_in_motionagformer"]

_LINEAR = ("weight", "bias")
_NORM_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_MIXERS = {
    **dict.fromkeys(
        ("att_spatial", "att_temporal"),
        ("qkv.weight", *(f"proj.{kind}" for kind in _LINEAR)),
    ),
    **dict.fromkeys(
        ("graph_spatial", "graph_temporal"),
        (
            *(f"{layer}.{kind}" for layer in ("U", "V", "batch_norm") for kind in _LINEAR),
            *(f"batch_norm.{kind}" for kind in _NORM_STATISTICS),
        ),
    ),
}
_AROUND_MIXERS = (
    *(f"{layer}.{kind}" for layer in ("norm1", "norm2", "mlp.fc1", "mlp.fc2") for kind in _LINEAR),
    "layer_scale_1",
    "layer_scale_2",
)
# The last hidden layer is a sequence of `fc` and tanh there.
_LAYERS = {
    **{name: name for name in ("joints_embed", "norm", "head")},
    "rep_logit.fc": "rep_logit",
}


def motionagformer_names(depth: int) -> dict[str, str]:
    """Our name by official name of every parameter and statistic of so many layers."""
    names = {"pos_embed": "pos_embed"}
    for official, ours in _LAYERS.items():
        names |= {f"{official}.{kind}": f"{ours}.{kind}" for kind in _LINEAR}
    inner = [
        *(f"{mixer}.{name}" for mixer in _MIXERS for name in _AROUND_MIXERS),
        *(f"{mixer}.mixer.{name}" for mixer, of_mixer in _MIXERS.items() for name in of_mixer),
        *(f"fusion.{kind}" for kind in _LINEAR),
    ]
    return names | {
        f"layers.{i}.{name}": f"layers.{i}.{name}" for i in range(depth) for name in inner
    }


def names_in_motionagformer(state: Mapping[str, Tensor]) -> dict[str, str]:
    """`motionagformer_names` of a checkpoint's depth."""
    return motionagformer_names(depth_of(state, "layers"))


def convert_motionagformer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of an official checkpoint (its entry `model`) our names.

    Args:
        state: Parameters under their official names, with or without the `module.` of
            `nn.DataParallel`; of any depth.

    Returns:
        A state of `MotionAGFormer`.

    Raises:
        CheckpointError: If there are unknown names or names are missing; both are listed.
    """
    state = without_module_prefix(state)
    return rename(state, names_in_motionagformer(state), net="MotionAGFormer")
