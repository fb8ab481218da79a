"""Names of registered models."""

from __future__ import annotations

import pytest

from tuner.wiring.model_name import model_name


@pytest.mark.parametrize(
    ("dataset", "own", "expected"),
    [
        ("sample", "sample", "sealpose-videopose-sample"),
        ("mpi_inf_3dhp", "mpi_inf_3dhp", "sealpose-videopose-mpi_inf_3dhp"),
        ("poses", "mine", "sealpose-videopose-mine"),
        ("poses", "My Lab, 2nd take_3.", "sealpose-videopose-my-lab-2nd-take-3"),
        ("poses", "x" * 64, f"sealpose-videopose-{'x' * 40}"),
        ("poses", f"{'x' * 39} y", f"sealpose-videopose-{'x' * 39}"),
        ("poses", "...", "sealpose-videopose-poses"),
    ],
)
def test_own_data_are_named_by_themselves(dataset: str, own: str, expected: str) -> None:
    assert model_name("videopose", dataset, own) == expected
