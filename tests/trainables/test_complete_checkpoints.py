"""A checkpoint holds all there is: cut in two, a training of any kind ends with the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.small_trainings import (
    DATASET,
    NO_LOSS_NET,
    Fields,
    configuration,
    of_backbone,
)
from trainables.checkpoint import CheckpointStore
from trainables.trial_run import TrialRun

CPU = torch.device("cpu")
EPOCHS, CUT_AFTER = 4, 2
TIMINGS = {"samples_per_s", "epoch_s"}

KINDS: dict[str, Fields] = {
    "plain Adam, falling rate": {"lr_decay": 0.9},
    "AMSGrad": {"optimizer": "amsgrad"},
    "AdamW for both nets": {
        **{"optimizer": "adamw", "loss_optimizer": "adamw", "weight_decay": 0.01}
    },
    "random flips, gradients gathered": {"flip": "random", "accumulate": 2},
    "a baseline": NO_LOSS_NET,
    "a graph loss-net": {
        "loss_net": "graph",
        "loss_net_options": {"width": 16, "depth": 2, "heads": 4, "joint_dim": 6},
    },
    "random negatives, of which the hardest": {
        **{"objective": "nce", "negatives": "both", "hard_negatives": True}
    },
    "hypotheses as negatives": {
        **of_backbone("d3dp"),
        **{"objective": "nce", "negatives": "hypotheses", "hard_negatives": True},
    },
    "SEAL-static": {"variant": "static", "static_epochs": 1},
    "dropout of a transformer": of_backbone("mixste"),
    "the noise of a diffusion": of_backbone("d3dp"),
    "a pre-trained P-STMO": {**of_backbone("pstmo"), "pretraining.epochs": 1},
    "batch norm with momentum": of_backbone("semgcn"),
}


def start(fields: Fields, root: Path) -> TrialRun:
    torch.set_num_threads(1)
    config, store = configuration({**fields, "epochs": EPOCHS}), CheckpointStore(root)
    return TrialRun(config, DATASET, store=store, fingerprint="ab12", device=CPU)


def tensors(value: Any, where: str = "") -> dict[str, torch.Tensor]:
    """All tensors of a state, by where they stand."""
    if isinstance(value, torch.Tensor):
        return {where: value}
    if not isinstance(value, dict | list | tuple):
        return {}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {n: t for key, item in items for n, t in tensors(item, f"{where}/{key}").items()}


def trainer_state(run: TrialRun) -> dict[str, Any]:
    assert run._trainer is not None
    return run._trainer.state_dict()


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
def test_a_training_cut_in_two_ends_with_the_same_bits(fields: Fields, tmp_path: Path) -> None:
    whole = start(fields, tmp_path / "whole")
    reports = [whole.step() for _ in range(EPOCHS)]
    first = start(fields, tmp_path / "cut")
    for _ in range(CUT_AFTER):
        first.step()
    second = start(fields, tmp_path / "cut")
    told = second.step()
    continued = [second.step() for _ in range(EPOCHS - CUT_AFTER)]

    assert [e["metrics"] | dict.fromkeys(TIMINGS, 0) for e in told["history"]] + [
        r["metrics"] | dict.fromkeys(TIMINGS, 0) for r in continued
    ] == [r["metrics"] | dict.fromkeys(TIMINGS, 0) for r in reports]
    expected, found = trainer_state(whole), trainer_state(second)
    assert {k: v for k, v in found.items() if isinstance(v, int)} == {
        "format": 1,
        "seed": expected["seed"],
        "epoch": EPOCHS,
        "step": expected["step"],
    }
    wanted, got = tensors(expected), tensors(found)
    assert wanted.keys() == got.keys()
    assert any("optimizer" in name for name in wanted), "moments of the optimizers are compared"
    assert [name for name in wanted if not torch.equal(wanted[name], got[name])] == []
