"""The parts of the chaos benchmark that decide: when to kill, and what counts as a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos_audit import AUDITS, Account, ShownRun, TrialFact, audit
from benchmarks.chaos_plan import KINDS, MOST_KILLS, plan_run
from benchmarks.chaos_reading import FinishedWatch
from trainables.checkpoint import CheckpointStore

EPOCHS = 2
POINTS = tuple((name, step) for name in ("loss", "val_mpjpe_mm") for step in (1, 2))
TABLE = {"trainings": 2, "stages": [{"name": "1-lr_p", "winner": {"val_mpjpe_mm": 50.5}}]}


def fact(stage: str, number: int, *, trained: bool = True) -> TrialFact:
    return TrialFact(
        stage=stage,
        number=number,
        fingerprint=f"{number:x}" * 64,
        state="COMPLETE",
        trained=trained,
        curve=((1, 60.0), (2, 50.5)),
        value=50.5,
    )


def account() -> Account:
    trials = (fact("1-lr_p", 0), fact("1-lr_p", 1), fact("2-lr_l", 1, trained=False))
    shown = [ShownRun(f"{t.stage}/{t.number}", "FINISHED", POINTS) for t in trials]
    shown += [ShownRun("", "FINISHED", ()), ShownRun("1-lr_p/", "FINISHED", ())]
    return Account(trials=trials, shown=tuple(shown), table=TABLE)


def first_trial(found: Account, **changes: Any) -> Account:
    return replace(found, trials=(replace(found.trials[0], **changes), *found.trials[1:]))


def first_shown(found: Account, **changes: Any) -> Account:
    return replace(found, shown=(replace(found.shown[0], **changes), *found.shown[1:]))


def without_first_trial(found: Account) -> Account:
    return replace(found, trials=found.trials[1:])


def trained_under_two_numbers(found: Account) -> Account:
    return replace(found, trials=(*found.trials, replace(found.trials[0], number=2)))


def told_twice(found: Account) -> Account:
    return replace(found, trials=(*found.trials, found.trials[0]))


def shown_twice(found: Account) -> Account:
    return replace(found, shown=(*found.shown, found.shown[0]))


def without_a_shown_run(found: Account) -> Account:
    return replace(found, shown=found.shown[1:])


SPOILED: list[tuple[str, Callable[[Account], Account], set[str]]] = [
    ("trial lost", without_first_trial, {"lost"}),
    ("trained under two numbers", trained_under_two_numbers, {"doubled"}),
    ("trial listed twice", told_twice, {"doubled"}),
    ("finished checkpoint written", lambda a: replace(a, retrained=("0" * 12,)), {"retrained"}),
    ("running in Optuna", lambda a: first_trial(a, state="RUNNING"), {"unfinished", "changed"}),
    (
        "running in MLflow",
        lambda a: first_shown(a, status="RUNNING"),
        {"unfinished", "tracking_runs"},
    ),
    ("killed in MLflow", lambda a: first_shown(a, status="KILLED"), {"tracking_runs"}),
    ("value in the last bit", lambda a: first_trial(a, value=50.500000000000007), {"changed"}),
    ("epoch lost", lambda a: first_trial(a, curve=((2, 50.5),)), {"changed"}),
    ("run shown twice", shown_twice, {"tracking_runs"}),
    ("run not shown", without_a_shown_run, {"tracking_runs"}),
    ("point twice", lambda a: first_shown(a, points=(*POINTS, POINTS[0])), {"metric_points"}),
    ("point lost", lambda a: first_shown(a, points=POINTS[1:]), {"metric_points"}),
    ("point surplus", lambda a: first_shown(a, points=(*POINTS, ("x", 1))), {"metric_points"}),
    ("event undelivered", lambda a: replace(a, undelivered=1), {"undelivered"}),
    ("actor left", lambda a: replace(a, left_behind=("actor 1",)), {"left_behind"}),
    ("driver failed", lambda a: replace(a, own_faults=("ended with 1",)), {"own_faults"}),
    ("table differs", lambda a: replace(a, table={**TABLE, "trainings": 3}), {"table"}),
]


def test_an_identical_run_is_sound() -> None:
    assert audit(account(), account()) == {name: [] for name in AUDITS}


@pytest.mark.parametrize(("spoil", "names"), [s[1:] for s in SPOILED], ids=[s[0] for s in SPOILED])
def test_spoiled_data_are_found_and_named(
    spoil: Callable[[Account], Account], names: set[str]
) -> None:
    faults = audit(account(), spoil(account()))
    assert {name for name, found in faults.items() if found} == names


def test_every_audit_can_fail() -> None:
    assert set().union(*(names for _, _, names in SPOILED)) == set(AUDITS)


def test_kills_are_a_function_of_the_seed() -> None:
    plans = [plan_run(number, seed=3, kinds=KINDS) for number in range(200)]
    assert plans == [plan_run(number, seed=3, kinds=KINDS) for number in range(200)]
    assert plans != [plan_run(number, seed=4, kinds=KINDS) for number in range(200)]
    assert len({plan.seed for plan in plans}) == 200


def test_every_kind_has_its_turn_and_moments_cover_the_run() -> None:
    plans = [plan_run(number, seed=0, kinds=KINDS) for number in range(400)]
    for number, plan in enumerate(plans):
        assert KINDS[number % len(KINDS)] in {kill.kind for kill in plan.kills}
        assert 1 <= len(plan.kills) <= MOST_KILLS
        moments = [kill.moment for kill in plan.kills]
        assert moments == sorted(moments)
    moments = [kill.moment for plan in plans for kill in plan.kills]
    tenths = {int(10 * moment) for moment in moments}
    assert tenths == set(range(10))


def test_without_kinds_there_is_nothing_to_plan() -> None:
    with pytest.raises(ValueError, match="choose from driver, worker, node, tracking"):
        plan_run(0, seed=0, kinds=())


class TestFinishedWatch:
    @pytest.fixture
    def store(self, tmp_path: Path) -> CheckpointStore:
        return CheckpointStore(tmp_path)

    @pytest.fixture
    def watch(self, tmp_path: Path) -> FinishedWatch:
        return FinishedWatch(tmp_path, epochs=EPOCHS)

    def test_epochs_on_the_way_are_no_fault(
        self, store: CheckpointStore, watch: FinishedWatch
    ) -> None:
        for epoch in (1, 1, 2):
            store.save("aa", "last", {}, {"epoch": epoch})
            watch.look()
            watch.look()
        assert (watch.finished, watch.retrained) == (1, [])

    @pytest.mark.parametrize("epoch", [1, 2])
    def test_a_finished_training_that_is_written_again_is_one(
        self, store: CheckpointStore, watch: FinishedWatch, epoch: int
    ) -> None:
        store.save("aa", "last", {}, {"epoch": EPOCHS})
        watch.look()
        store.save("aa", "last", {}, {"epoch": epoch})
        watch.look()
        assert watch.retrained == ["aa"]

    def test_one_that_vanishes_is_one(self, store: CheckpointStore, watch: FinishedWatch) -> None:
        store.save("aa", "last", {}, {"epoch": EPOCHS})
        watch.look()
        store.forget("aa")
        watch.look()
        assert (watch.finished, watch.retrained) == (0, ["aa"])
