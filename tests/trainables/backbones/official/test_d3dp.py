"""Checkpoints that D3DP's authors would publish become ours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.trainables.backbones.check_values import (
    official_mixste,
    synthetic,
)
from tests.trainables.backbones.test_d3dp import small
from trainables.backbones.d3dp import D3DP, cosine_alpha_bars
from trainables.backbones.official.d3dp import OFFICIAL_BUFFERS, convert_d3dp
from trainables.errors import CheckpointError
from trainables.skeletons import MPI_INF_3DHP_17


def official_d3dp(depth: int, width: int, frames: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint of D3DP's authors."""
    shapes = official_mixste(depth, width, frames, coordinates=5) | {
        "time_mlp.1.weight": (2 * width, width),
        "time_mlp.1.bias": (2 * width,),
        "time_mlp.3.weight": (width, 2 * width),
        "time_mlp.3.bias": (width,),
    }
    return {f"pose_estimator.{name}": shape for name, shape in shapes.items()}


def with_tables(state: dict[str, Tensor]) -> dict[str, Tensor]:
    tables = {name: torch.ones(1000, dtype=torch.float64) for name in OFFICIAL_BUFFERS}
    tables["alphas_cumprod"] = torch.tensor(cosine_alpha_bars(1000), dtype=torch.float64)
    return {**tables, **state}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_checkpoints_become_ours(prefix: str) -> None:
    assert len(OFFICIAL_BUFFERS) == 12
    state = synthetic(official_d3dp(depth=2, width=8, frames=4))
    net = small().float()
    full = {prefix + name: value for name, value in with_tables(state).items()}
    net.load_state_dict(convert_d3dp(full))
    ours = net.state_dict()
    for official, name in (
        ("pose_estimator.time_mlp.1.weight", "denoiser.time_expand.weight"),
        ("pose_estimator.time_mlp.3.bias", "denoiser.time_shrink.bias"),
        ("pose_estimator.TTEblocks.1.norm1.bias", "denoiser.blocks.temporal_blocks.1.norm1.bias"),
        ("pose_estimator.Spatial_patch_to_embedding.weight", "denoiser.embed.weight"),
    ):
        assert torch.equal(ours[name], state[official])
    assert len(ours) == len(state)
    assert set(convert_d3dp(state)) == set(ours)  # tables may be left out


def test_full_size_official_checkpoints_fit() -> None:
    with torch.device("meta"):
        net = D3DP(skeleton=MPI_INF_3DHP_17)
        shapes = official_d3dp(depth=8, width=512, frames=243)
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
    net.load_state_dict(convert_d3dp(state), assign=True)


def test_what_is_unknown_or_missing_is_listed() -> None:
    state = with_tables(synthetic(official_d3dp(depth=2, width=8, frames=4)))
    state["extra"] = state.pop("pose_estimator.time_mlp.1.bias")
    message = r"D3DP: 1 unknown: extra; 1 missing: pose_estimator\.time_mlp\.1\.bias"
    with pytest.raises(CheckpointError, match=message):
        convert_d3dp(state)


def test_another_schedule_is_refused() -> None:
    state = with_tables(synthetic(official_d3dp(depth=2, width=8, frames=4)))
    state["alphas_cumprod"] = torch.linspace(1, 0, 1000, dtype=torch.float64)
    with pytest.raises(CheckpointError, match="1000 steps, are not those of the cosine schedule"):
        convert_d3dp(state)
