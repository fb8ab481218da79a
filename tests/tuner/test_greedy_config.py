"""Values that a settings file can hold and a command line cannot."""

from __future__ import annotations

import pytest

from tuner.errors import ConfigurationError
from tuner.greedy_config import parse_greedy_config


@pytest.mark.parametrize("name", ["epochs", "trials", "seed", "cpus_per_trial"])
def test_true_is_no_number(name: str) -> None:
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(ConfigurationError, match=f"{option} = True: expected another kind"):
        parse_greedy_config({"backbone": "videopose", name: True})
