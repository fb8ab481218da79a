"""Multi-frame nets in SEAL training, with all that saves memory: repeatable and resumable."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.seal.small_pose_nets import configuration
from tests.trainables.small_trainings import DATASET
from trainables.backbones import BACKBONES
from trainables.config import BackboneName, TrainingConfig
from trainables.seal.trainer import SealTrainer

MULTI_FRAME = [name for name, entry in BACKBONES.items() if not entry.recipe.single_frame]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]
TIMES = ("epoch_s", "samples_per_s", "peak_memory_mb")


def thrifty(name: BackboneName) -> TrainingConfig:
    """A batch in parts, in bfloat16, with blocks computed again; the hardest of some negatives."""
    negatives: dict[str, Any] = {"negatives": "both", "num_perturbations": 2}
    if name == "d3dp":
        negatives = {"negatives": "hypotheses", "num_hypotheses": 3, "hypothesis_iterations": 2}
    return configuration(
        name,
        accumulate=2,
        autocast="bf16",
        checkpoint_activations=True,
        hard_negatives=True,
        batch_size=8,
        steps_per_epoch=2,
        energy_poses=5,
        flip="random",
        eval_flip=True,
        grad_clip=1.0,
        **negatives,
    )


def figures(trainer: SealTrainer) -> dict[str, float]:
    return {name: value for name, value in trainer.run_epoch().items() if name not in TIMES}


def tensors(state: Any, prefix: str = "") -> dict[str, Tensor]:
    """All tensors that a state holds, by their places in it."""
    if isinstance(state, Tensor):
        return {prefix: state}
    items = state.items() if isinstance(state, dict) else ()
    return {k: v for key, value in items for k, v in tensors(value, f"{prefix}/{key}").items()}


def assert_same_bits(one: SealTrainer, other: SealTrainer) -> None:
    first, second = tensors(one.state_dict()), tensors(other.state_dict())
    assert first.keys() == second.keys()
    assert {name.split("/")[1] for name in first} == {
        "pose_net",
        "pose_optimizer",
        "loss_net",
        "loss_optimizer",
    }
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MULTI_FRAME)
def test_trainings_repeat_and_go_on_with_the_same_bits(name: BackboneName, device: str) -> None:
    config, place = thrifty(name), torch.device(device)
    first = SealTrainer(config, DATASET, device=place)
    assert torch.are_deterministic_algorithms_enabled()
    begun = copy.deepcopy(first.pose_net.state_dict())
    figures_of_first = [figures(first)]
    state = first.state_dict()
    figures_of_first.append(figures(first))
    changed = [not torch.equal(v, begun[k]) for k, v in first.pose_net.state_dict().items()]
    assert sum(changed) > len(changed) / 2

    second = SealTrainer(config, DATASET, device=place)
    assert [figures(second), figures(second)] == figures_of_first
    assert_same_bits(second, first)

    resumed = SealTrainer(config, DATASET, device=place)
    torch.rand(5, device=place)  # the global streams are elsewhere by then
    resumed.load_state_dict(state)
    assert figures(resumed) == figures_of_first[1]
    assert_same_bits(resumed, first)
