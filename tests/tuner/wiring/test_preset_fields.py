"""What presets set for a net and a data set, down to the configuration that is trained."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from tests.trainables.seal.conftest import tiny_dataset
from trainables.config import BackboneName, DatasetName
from trainables.data.dataset import PoseDataset
from tuner.greedy_config import parse_greedy_config
from tuner.presets import PRESETS
from tuner.wiring import plan as planning
from tuner.wiring import training_plan
from tuner.wiring.plan import plan_greedy
from tuner.wiring.preset_fields import preset_training
from tuner.wiring.training_plan import plan_training
from tuner.wiring.training_request import parse_training_request

__all__ = ["tiny_dataset"]

PAPER = {"sample": (1024, 50), "h36m": (1024, 50), "mpi_inf_3dhp": (1024, 50), "h3wb": (64, 200)}


@pytest.fixture(autouse=True)
def _tiny_data(monkeypatch: pytest.MonkeyPatch, tiny_dataset: PoseDataset) -> None:
    """Plans are made on 50 synthetic poses, whatever the data set's name."""
    for module in (planning, training_plan):
        monkeypatch.setattr(module, "load_dataset", lambda *_, **__: tiny_dataset)


def asked(dataset: str, **values: Any) -> dict[str, Any]:
    return {"backbone": "simplebaseline", "dataset": dataset, "preset": "paper", **values}


@pytest.mark.parametrize("dataset", PAPER)
def test_the_paper_s_batch_and_epochs_reach_search_and_training(dataset: str) -> None:
    searched = plan_greedy(parse_greedy_config(asked(dataset))).training
    trained = plan_training(parse_training_request(asked(dataset))).training
    for training in (searched, trained):
        assert (training.batch_size, training.epochs) == PAPER[dataset]


def test_what_is_asked_for_comes_before_the_preset() -> None:
    fields = asked("h3wb", epochs=3, overrides={"batch_size": 16})
    searched = plan_greedy(parse_greedy_config(fields)).training
    trained = plan_training(parse_training_request(fields)).training
    for training in (searched, trained):
        assert (training.batch_size, training.epochs) == (16, 3)


@pytest.mark.parametrize("backbone", get_args(BackboneName))
def test_other_presets_are_the_same_for_all_data_sets(backbone: str) -> None:
    for name in ("quick", "standard"):
        preset = PRESETS[name]
        for dataset in get_args(DatasetName):
            assert preset_training(preset, backbone, dataset) == dict(preset.training)
