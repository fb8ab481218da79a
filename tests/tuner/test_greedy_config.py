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


@pytest.mark.parametrize(
    "root",
    ["s3://user:hunter2@bucket/x", "s3://bucket/x?secret_key=hunter2", "gs://hunter2/x", "s3://"],
)
def test_a_checkpoint_root_with_a_secret_is_refused_and_not_repeated(root: str) -> None:
    with pytest.raises(ConfigurationError, match="--checkpoint-root: expected a folder or") as hit:
        parse_greedy_config({"backbone": "videopose", "checkpoint_root": root})
    assert "hunter2" not in str(hit.value)
