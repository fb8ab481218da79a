"""Values that a settings file can hold and a command line cannot."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.errors import ConfigurationError
from tuner.greedy_config import parse_greedy_config


@pytest.mark.parametrize("name", ["epochs", "trials", "seed", "cpus_per_trial"])
def test_true_is_no_number(name: str) -> None:
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(ConfigurationError, match=f"{option} = True: expected another kind"):
        parse_greedy_config({"backbone": "videopose", name: True})


@pytest.mark.parametrize("seconds", [-1.0, float("inf")])
def test_a_grace_that_makes_no_sense_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match=r"--interrupt-grace-s = .*: Input should be"):
        parse_greedy_config({"backbone": "videopose", "interrupt_grace_s": seconds})


def test_a_grace_does_not_change_the_name_of_a_run() -> None:
    plain = parse_greedy_config({"backbone": "videopose"})
    patient = parse_greedy_config({"backbone": "videopose", "interrupt_grace_s": 60})
    assert patient.interrupt_grace_s == 60.0
    assert patient.run_name == plain.run_name


@pytest.mark.parametrize(
    "root",
    ["s3://user:hunter2@bucket/x", "s3://bucket/x?secret_key=hunter2", "gs://hunter2/x", "s3://"],
)
def test_a_checkpoint_root_with_a_secret_is_refused_and_not_repeated(root: str) -> None:
    with pytest.raises(ConfigurationError, match="--checkpoint-root: expected a folder or") as hit:
        parse_greedy_config({"backbone": "videopose", "checkpoint_root": root})
    assert "hunter2" not in str(hit.value)


@pytest.mark.parametrize(
    "given", [{}, {"pruner": "asha"}, {"asynchronous": True, "pruner": "median"}, {"seed": 4}]
)
def test_a_configuration_that_was_kept_has_the_name_that_it_had(given: dict[str, Any]) -> None:
    asked = parse_greedy_config({"backbone": "videopose", **given})
    kept = parse_greedy_config(asked.model_dump(mode="json"))
    assert kept.name is None
    assert kept.run_name == asked.run_name


def test_who_stops_trials_is_part_of_the_name() -> None:
    fields: list[dict[str, Any]] = [
        *({}, {"pruner": "asha"}, {"pruner": "median"}),
        {"pruner": "asha", "asynchronous": True},
    ]
    names = {parse_greedy_config({"backbone": "videopose", **f}).run_name for f in fields}
    assert len(names) == 4
