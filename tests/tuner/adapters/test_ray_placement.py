"""What fits where, and who gets how much: plain arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.adapters.ray_placement import Placement, Slot, check_placement, fitting
from tuner.adapters.ray_shares import Claim, fair_shares
from tuner.errors import ConfigurationError


def node(cpus: float, gpus: float = 0.0, *, alive: bool = True, **labels: str) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus}, "Labels": labels}


@pytest.mark.parametrize(
    ("slot", "nodes", "count"),
    [
        (Slot(1.0), [node(2.0), node(3.0)], 5),
        (Slot(2.0), [node(3.0), node(3.0)], 2),
        (Slot(0.1), [node(1.0)], 10),
        (Slot(1.0), [node(2.0), node(4.0, alive=False)], 2),
        (Slot(1.0, 0.5), [node(8.0, 2.0)], 4),
        (Slot(1.0, 0.6), [node(8.0, 2.0)], 2),
        (Slot(1.0, 2.0), [node(8.0, 3.0)], 1),
        (Slot(4.0, 0.5), [node(8.0, 2.0)], 2),
        (Slot(1.0, 1.0), [node(8.0)], 0),
        (Slot(1.0), [], 0),
    ],
)
def test_trials_that_fit(slot: Slot, nodes: list[dict[str, Any]], count: int) -> None:
    assert fitting(slot, {}, nodes) == count


def test_only_nodes_with_the_labels_count() -> None:
    nodes = [node(2.0, pool="a"), node(3.0, pool="b"), node(5.0)]
    assert fitting(Slot(1.0), {"pool": "a"}, nodes) == 2
    assert fitting(Slot(1.0), {"pool": "a", "zone": "1"}, nodes) == 0


def test_a_stage_is_found_by_its_name_or_by_what_follows_the_number() -> None:
    stages = {"lr_p": Slot(1.0, 0.0), "3-alpha": Slot(2.0, 0.25)}
    placement = Placement(Slot(1.0, 0.5), stages)
    assert placement.of("1-lr_p") == Slot(1.0, 0.0)
    assert placement.of("3-alpha") == Slot(2.0, 0.25)
    assert placement.of("2-lr_l") == Slot(1.0, 0.5)
    assert placement.of("2-lr_l~2") == placement.of("2-lr_l")
    assert placement.of("lr_p") == Slot(1.0, 0.0)


def test_every_trial_that_fits_nowhere_is_named_with_the_nodes_there_are() -> None:
    placement = Placement(Slot(4.0), {"alpha": Slot(1.0, 0.5)})
    labelled = {**node(2.0), "Labels": {"zone": "b", "ray.io/node-id": "1f"}}
    with pytest.raises(ConfigurationError) as caught:
        check_placement(placement, [labelled])
    message = str(caught.value)
    assert "a trial needs 4 CPUs and 0 GPUs on one node, but" in message
    assert "a trial of stage alpha needs 1 CPUs and 0.5 GPUs on one node" in message
    assert "2 CPUs and 0 GPUs (zone=b)" in message
    assert "1f" not in message


@pytest.mark.parametrize(
    ("claims", "shares"),
    [
        ([("a", 8, 8)], {"a": 8}),
        ([("a", 8, 8), ("b", 8, 8)], {"a": 4, "b": 4}),
        ([("a", 8, 8), ("b", 1, 8)], {"a": 7, "b": 1}),
        # what rounding leaves goes to the first by identity
        ([("b", 3, 3), ("a", 3, 3)], {"a": 2, "b": 1}),
        # trials of b are four times as large
        ([("a", 8, 8), ("b", 2, 2)], {"a": 4, "b": 1}),
        # more runs than room: one each, Ray's queue decides
        ([("a", 2, 2), ("b", 2, 2), ("c", 2, 2)], {"a": 1, "b": 1, "c": 1}),
        ([("a", 0, 4), ("b", 4, 4)], {"a": 1, "b": 4}),
        ([("a", 5, 0), ("b", 4, 4)], {"a": 1, "b": 4}),
    ],
)
def test_shares_are_fair_in_whole_trials(
    claims: list[tuple[str, int, int]], shares: dict[str, int]
) -> None:
    assert fair_shares(Claim(*claim) for claim in claims) == shares
