"""What fits where, and who gets how much: plain arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.adapters.ray_placement import Placement, Slot, check_placement, fitting
from tuner.adapters.ray_shares import STALE_S, Claim, ClaimBook, fair_shares
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


@pytest.mark.parametrize(
    ("cpus", "threads"), [(0.1, 1), (1.0, 1), (1.9, 1), (0.1 * 3 * 10, 3), (4.0, 4)]
)
def test_a_trial_has_a_thread_for_each_whole_cpu(cpus: float, threads: int) -> None:
    assert Slot(cpus).threads == threads


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


def test_the_next_driver_of_a_run_takes_the_place_of_a_killed_one() -> None:
    book = ClaimBook(0.0)
    other, killed, next_life = (Claim(name, 4, 4) for name in ("other", "killed", "next"))
    book.claim("a", other, 0.0)
    assert book.claim("b", killed, 1.0) == [other, killed]
    assert book.claim("b", next_life, 2.0) == [other, next_life]


def test_two_living_runs_of_one_name_share_after_a_word_of_each() -> None:
    book = ClaimBook(0.0)
    first, second = Claim("first", 4, 4), Claim("second", 4, 4)
    book.claim("a", first, 0.0)
    assert book.claim("a", second, 0.5) == [second]
    assert sorted(c.run for c in book.claim("a", first, 1.0)) == ["first", "second"]
    assert sorted(c.run for c in book.claim("a", second, 1.5)) == ["first", "second"]


def test_who_leaves_sees_none_of_the_dead() -> None:
    book = ClaimBook(0.0)
    dead, living = Claim("dead", 1, 4), Claim("living", 1, 4)
    book.claim("a", dead, 0.0)
    assert book.claim("b", living, STALE_S - 1.0) == [dead, living]
    assert book.leave("living", STALE_S) == []


def test_a_board_that_nobody_writes_on_is_deserted() -> None:
    book = ClaimBook(100.0)
    assert not book.is_deserted(100.0 + STALE_S - 1.0)
    book.claim("a", Claim("life", 1, 1), 110.0)
    assert not book.is_deserted(100.0 + STALE_S + 1.0)
    assert book.is_deserted(110.0 + STALE_S)
