"""What pruning makes of a run's plan, and what is refused before anything runs."""

from __future__ import annotations

import pytest

from tests.tuner.test_plan_spaces import _tiny_data, plan, tiny_dataset
from tuner.errors import ConfigurationError

__all__ = ["_tiny_data", "tiny_dataset"]


def test_every_stage_of_the_search_is_pruned() -> None:
    found = plan(pruner="median", asynchronous=True, epochs=3).protocol
    assert [(s.pruner, s.asynchronous) for s in found.stages] == [("median", True)] * 3


def test_what_only_judges_the_search_is_not_pruned() -> None:
    found = plan(pruner="asha", epochs=3, confirm_seeds=2, check=4).protocol
    assert found.confirm is not None
    assert found.check is not None
    assert (found.confirm.pruner, found.check.pruner) == ("none", "none")


def test_judging_at_once_without_a_pruner_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--asynchronous: nothing is judged"):
        plan(asynchronous=True)


def test_a_pruner_of_trainings_of_one_epoch_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--pruner asha: a training of 1 epoch cannot be"):
        plan(pruner="asha", epochs=1)
