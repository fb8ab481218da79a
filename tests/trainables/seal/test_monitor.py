"""The watch over training figures: averages, and the step that is blamed."""

from __future__ import annotations

import pytest
import torch

from trainables.errors import NonFiniteError
from trainables.seal.monitor import StepMonitor

CPU = torch.device("cpu")


def test_means_are_weighted_by_poses() -> None:
    monitor = StepMonitor(epoch=1, first_step=0, device=CPU)
    monitor.add({"a": torch.tensor(1.0), "b": torch.tensor(5.0)}, poses=30)
    monitor.add({"a": torch.tensor(4.0), "b": torch.tensor(5.0)}, poses=10)
    assert monitor.compute() == {"a": 1.75, "b": 5.0}
    assert monitor.last_finite == {"a": 4.0, "b": 5.0}


def run(monitor: StepMonitor, bad_step: int, value: float) -> None:
    for step in range(1, 26):
        b = torch.tensor(value if step >= bad_step else float(step))
        monitor.add({"a": torch.tensor(0.5), "b": b}, poses=4)
    monitor.compute()


@pytest.mark.parametrize("device", [CPU, torch.device("cuda")], ids=["each_step", "in_batches"])
@pytest.mark.parametrize("bad_step", [1, 2, 20, 21, 25])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_first_bad_step_is_named_however_often_it_is_checked(
    device: torch.device, bad_step: int, value: float
) -> None:
    # figures may live anywhere: the device only decides how often they are looked at
    monitor = StepMonitor(epoch=3, first_step=100, device=device)
    message = f"b became non-finite in epoch 3, step {100 + bad_step};"
    with pytest.raises(NonFiniteError, match=message) as caught:
        run(monitor, bad_step, value)
    last = {} if bad_step == 1 else {"a": 0.5, "b": bad_step - 1.0}
    assert caught.value.last_finite == last
