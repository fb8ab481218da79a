"""What a rung costs: each trial is judged once, however many came before it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest
from optuna.trial import create_trial

from tuner.adapters.optuna_pruner import OptunaPruner, build_pruner
from tuner.records import TrialRecord, TrialSpec, TrialState
from tuner.rungs import RungBook, Verdict

EPOCHS = 9
BATCH = 4


class CountingPruner:
    """A pruner that remembers whom it was asked about."""

    def __init__(self, pruner: OptunaPruner) -> None:
        self._pruner = pruner
        self.name = pruner.name
        self.bracket = pruner.bracket
        self.rungs = pruner.rungs
        self.judged: list[tuple[int, int]] = []

    def survivors(
        self,
        bracket: int,
        rung: int,
        curves: Mapping[int, Mapping[int, float]],
        *,
        judged: Collection[int],
    ) -> frozenset[int]:
        self.judged += [(rung, number) for number in judged]
        return self._pruner.survivors(bracket, rung, curves, judged=judged)


def pruner_of(kind: str) -> CountingPruner:
    pruner = build_pruner(kind, stage="2-lr_l", epochs=EPOCHS)
    assert pruner is not None
    return CountingPruner(pruner)


def running(number: int) -> TrialRecord:
    return TrialRecord(number, TrialSpec(base={}, params={}, seed=0), TrialState.RUNNING)


def run_batch(book: RungBook, numbers: range, rungs: tuple[int, ...]) -> dict[int, str]:
    """Train a batch to its end; the reasons of those that are stopped."""
    book.take(running(number) for number in numbers)
    left, stopped = list(numbers), {}
    for epoch in range(1, EPOCHS + 1):
        for number in left:
            book.report(number, epoch, 60.0 + (number * 7919) % 101 - epoch)
        for number in list(left) if epoch in rungs else []:
            assert book.verdict(number, epoch) is not Verdict.WAIT
            if book.verdict(number, epoch) is Verdict.STOP:
                stopped[number] = book.reason(number, epoch)
                book.end(number)
                left.remove(number)
    for number in left:
        book.end(number)
    return stopped


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_each_trial_is_judged_once_at_each_rung(kind: str) -> None:
    pruner = pruner_of(kind)
    book = RungBook(pruner, epochs=EPOCHS)
    stopped: dict[int, str] = {}
    for first in range(0, 10 * BATCH, BATCH):
        stopped |= run_batch(book, range(first, first + BATCH), pruner.rungs(0))
    assert 0 < len(stopped) < 10 * BATCH
    assert len(pruner.judged) == len(set(pruner.judged))
    assert len([rung for rung, _ in pruner.judged if rung == pruner.rungs(0)[0]]) == 10 * BATCH


def test_reasons_count_all_that_came_and_all_that_went_on() -> None:
    pruner = pruner_of("asha")
    book = RungBook(pruner, epochs=EPOCHS)
    stopped: dict[int, str] = {}
    for first in (0, BATCH, 2 * BATCH):
        now = run_batch(book, range(first, first + BATCH), (1, 3))
        stopped |= now
        early = {number for number, reason in stopped.items() if "epoch 1 of" in reason}
        came = first + BATCH
        expected = f"stopped after epoch 1 of 9: {came - len(early)} of {came} go on (asha)"
        assert {reason for n, reason in now.items() if n in early} <= {expected}


def test_those_that_wait_are_released_once_when_the_last_has_come() -> None:
    pruner = pruner_of("asha")
    book = RungBook(pruner, epochs=EPOCHS)
    book.take(running(number) for number in range(6))
    for number in range(5):
        book.report(number, 1, 60.0 + number)
        assert book.verdict(number, 1) is Verdict.WAIT
        assert list(book.released()) == []
    book.end(5)
    assert sorted(book.released()) == [0, 1, 2, 3, 4]
    assert list(book.released()) == []
    assert [n for n in range(5) if book.verdict(n) is Verdict.GO_ON] == [0]


def test_a_driver_that_comes_later_counts_what_was_stopped_before() -> None:
    book = RungBook(pruner_of("asha"), epochs=EPOCHS)
    curves = [((1, 60.0 + number),) for number in range(6)]
    spec = TrialSpec(base={}, params={}, seed=0)
    states = [TrialState.RUNNING] * 3 + [TrialState.PRUNED] * 3
    book.take(
        TrialRecord(number, spec, state, epochs=1, curve=curve)
        for number, (state, curve) in enumerate(zip(states, curves, strict=True))
    )
    assert book.verdict(2) is Verdict.STOP
    assert book.reason(2, 1) == "stopped after epoch 1 of 9: 2 of 6 go on (asha)"


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_what_is_known_of_a_rung_is_not_built_again(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruner = pruner_of(kind)
    curves = {n: {e: 60.0 + n - e for e in range(1, 4)} for n in range(20)}
    first = pruner.survivors(0, 3, curves, judged=curves)
    built = []

    def counted(**facts: Any) -> Any:
        built.append(facts)
        return create_trial(**facts)

    monkeypatch.setattr("tuner.adapters.optuna_pruner.create_trial", counted)
    assert pruner.survivors(0, 3, {**curves, 20: {1: 90.0, 3: 90.0}}, judged=[20]) == frozenset()
    assert len(built) == 2  # the one that came: as it is judged, and as others will meet it
    changed = {**curves, 0: {1: 90.0, 2: 90.0, 3: 90.0}}
    assert 0 in first
    assert 0 not in pruner.survivors(0, 3, changed, judged=changed)
