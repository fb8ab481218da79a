"""The seed of a pre-training, and how a user turns it off."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.wiring.pretraining_fields import with_pretraining_seed

RECIPE = {"epochs": 2, "lr": 1e-3}


@pytest.mark.parametrize(
    ("part", "chosen", "expected"),
    [
        pytest.param(RECIPE, None, {**RECIPE, "seed": 5}, id="the base seed"),
        pytest.param(
            {**RECIPE, "seed": 1}, {"seed": 1}, {**RECIPE, "seed": 1}, id="the user's seed"
        ),
        pytest.param(
            {**RECIPE, "epochs": 0}, {"epochs": 0}, {"epochs": 0}, id="off, and the recipe's rate"
        ),
        pytest.param(
            {"epochs": 0, "lr": 0.1},
            {"epochs": 0, "lr": 0.1},
            {"epochs": 0, "lr": 0.1},
            id="off, and a rate of the user's, which is to be refused",
        ),
    ],
)
def test_fields_of_the_part(part: Any, chosen: Any, expected: Any) -> None:
    found = with_pretraining_seed({"lr_p": 1.0, "pretraining": part}, chosen, seed=5)
    assert found == {"lr_p": 1.0, "pretraining": expected}


@pytest.mark.parametrize("fields", [{"lr_p": 1.0}, {"pretraining": 3}], ids=str)
def test_what_is_no_part_is_left_to_the_configuration(fields: dict[str, Any]) -> None:
    assert with_pretraining_seed(fields, fields.get("pretraining"), seed=5) == fields
