"""What a training configuration refuses, and what it says then."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from trainables.config import LOSS_NET_FIELDS, DataConfig, TrainingConfig

VALID: dict[str, Any] = {"backbone": "videopose", "lr_p": 1e-3, "lr_l": 1e-3, "alpha": 1e-3}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr_l": None}, "loss_net='graph' needs lr_l"),
        ({"loss_net": "none"}, "alpha=0.001 has no effect with loss_net='none'"),
        ({"loss_net": "none", "alpha": 0, "input": "M1"}, "input='M1' has no effect"),
        ({"objective": "nce", "margin_scale": 2}, "margin_scale=2.0 has no effect unless"),
        ({"num_perturbations": 5}, "num_perturbations=5 has no effect unless negatives"),
        ({"pair_scale": 2}, "pair_scale=2.0 has no effect unless pair_weight or window_weight"),
        ({"static_epochs": 2}, "static_epochs=2 has no effect unless variant='static'"),
        (
            {"variant": "static", "negatives_from": "eval_forward"},
            "negatives_from='eval_forward' has no effect with variant='static'",
        ),
        ({"window_frames": 4}, "window_frames=4 has no effect unless window_weight > 0"),
        ({"window_weight": 1}, r"got data\.frames=1; set data\.frames=4"),
        (
            {"pair_weight": 1, "num_perturbations": 1},
            "orders at least two perturbations, got num_perturbations=1",
        ),
        ({"hard_negatives": True}, "negatives='prediction' gives 1; set negatives='both'"),
        ({"lr_p": True}, "another kind of value than true or false"),
        ({"data": {"stride": True}}, "another kind of value than true or false"),
        ({"data": {"joints": 15}}, "Input should be 16"),
        ({"lr_p": float("inf")}, "finite number"),
    ],
)
def test_what_cannot_work_or_changes_nothing_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainingConfig(**{**VALID, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"negatives": "both", "hard_negatives": True},
        {"pair_weight": 1, "pair_scale": 2, "num_perturbations": 4, "objective": "nce"},
        {"variant": "static", "static_epochs": 2},
        {"window_weight": 1, "data": {"frames": 4}},
    ],
)
def test_fields_in_their_place_pass_and_the_baseline_is_always_the_same(
    fields: dict[str, Any],
) -> None:
    config = TrainingConfig(**{**VALID, **fields})
    plain = TrainingConfig(**{**VALID, "data": fields.get("data", {})}).without_loss_net()
    assert config.without_loss_net() == plain
    assert plain.loss_net == "none"
    assert not plain.uses_energy


def test_the_fields_of_the_loss_net_are_fields() -> None:
    assert set(LOSS_NET_FIELDS) < set(TrainingConfig.model_fields)


def test_without_validation_only_the_test_split_can_be_selected_on() -> None:
    data = DataConfig(name="h36m", val_subject="none")
    fields: dict[str, Any] = {"backbone": "videopose", "lr_p": 1e-3, "loss_net": "none"}
    message = r"data\.val_subject='none' .* but select_on='val' .* set select_on='test'"
    with pytest.raises(ValidationError, match=message):
        TrainingConfig(**fields, data=data)
    assert not TrainingConfig(**fields, data=data, select_on="test").data.validates
    assert DataConfig(name="h36m", val_subject="S8").validates
    with pytest.raises(ValidationError, match="val_subject='none' has no effect on"):
        DataConfig(name="h3wb", val_subject="none")


def test_a_batch_has_a_clip_for_each_part() -> None:
    fields: dict[str, Any] = {"backbone": "videopose", "loss_net": "none", "lr_p": 1e-3}
    fields["batch_size"] = 4
    assert TrainingConfig.model_validate({**fields, "accumulate": 4}).accumulate == 4
    with pytest.raises(ValidationError, match=r"accumulate=5 would make more parts.*batch_size=4"):
        TrainingConfig.model_validate({**fields, "accumulate": 5})


def test_one_hypothesis_is_no_choice() -> None:
    fields: dict[str, Any] = {"backbone": "d3dp", "lr_p": 1e-3, "lr_l": 1e-3, "alpha": 1e-3}
    fields |= {"negatives": "hypotheses", "hard_negatives": True}
    with pytest.raises(ValidationError, match="gives 1; set num_hypotheses to 2 or more"):
        TrainingConfig.model_validate({**fields, "num_hypotheses": 1})
