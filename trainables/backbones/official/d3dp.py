"""Checkpoints of D3DP's authors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.backbones.d3dp import cosine_alpha_bars
from trainables.backbones.official._renaming import depth_of, rename, without_module_prefix
from trainables.backbones.official.mixste import mixste_names
from trainables.errors import CheckpointError

__all__ = ["OFFICIAL_BUFFERS", "convert_d3dp", "names_in_d3dp"]

_PREFIX = "pose_estimator."
_MOST_STEPS = 10_000
_TIME_LAYERS = {"time_mlp.1": "time_expand", "time_mlp.3": "time_shrink"}

OFFICIAL_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
"""Tables of the schedule in official checkpoints; we compute them."""


def names_in_d3dp(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Our name by official name of every parameter, of a checkpoint's depth."""
    names = mixste_names(depth_of(state, f"{_PREFIX}STEblocks", f"{_PREFIX}TTEblocks"))
    for official, ours in _TIME_LAYERS.items():
        names |= {f"{official}.{kind}": f"{ours}.{kind}" for kind in ("weight", "bias")}
    return {f"{_PREFIX}{official}": f"denoiser.{ours}" for official, ours in names.items()}


def convert_d3dp(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of an official checkpoint (its entry `model_pos`) our names.

    Args:
        state: Parameters and tables under their official names, with or without the `module.`
            of `nn.DataParallel`; of any depth.

    Returns:
        A state of `D3DP`.

    Raises:
        CheckpointError: If there are unknown names or names are missing; both are listed. Or if
            it was trained with another schedule than ours.
    """
    state = without_module_prefix(state)
    converted = rename(state, names_in_d3dp(state), net="D3DP", dropped=OFFICIAL_BUFFERS)
    bars = state.get("alphas_cumprod")
    if bars is not None:
        _require_our_schedule(bars)
    return converted


def _require_our_schedule(bars: Tensor) -> None:
    if bars.ndim != 1:
        raise CheckpointError(
            f"no official checkpoint of D3DP: alphas_cumprod has shape {tuple(bars.shape)}, "
            "expected one number a step"
        )
    if len(bars) > _MOST_STEPS:
        raise CheckpointError(
            f"no official checkpoint of D3DP: alphas_cumprod has {len(bars)} steps, expected at "
            f"most {_MOST_STEPS}; published nets have 1000"
        )
    ours = torch.tensor(cosine_alpha_bars(len(bars)), dtype=torch.float64)
    if not torch.allclose(bars.cpu().double(), ours, rtol=1e-4, atol=0):
        raise CheckpointError(
            f"no official checkpoint of D3DP: its alphas_cumprod, {len(bars)} steps, are not "
            "those of the cosine schedule"
        )
