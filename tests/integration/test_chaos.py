"""One run per kind of kill, at seeded moments; `benchmarks/chaos.py` does it at length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos import arena_in, play_plan
from benchmarks.chaos_audit import AUDITS, audit
from benchmarks.chaos_plan import KINDS, Kill, KillKind, RunPlan, plan_run
from benchmarks.chaos_run import Arena, Played, play

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.fault,
    pytest.mark.timeout(900),
]

SEED = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture(scope="module")
def arena(folder: Path) -> Iterator[Arena]:
    with arena_in(folder) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(arena: Arena, folder: Path) -> Played:
    return play(arena, folder / "undisturbed", "undisturbed", (), length_s=1.0)


def test_an_undisturbed_run_is_sound(undisturbed: Played) -> None:
    account = undisturbed.account
    assert audit(account, account) == {name: [] for name in AUDITS}
    assert {trial.state for trial in account.trials} == {"COMPLETE"}
    assert {run.status for run in account.shown} == {"FINISHED"}
    trained = [trial for trial in account.trials if trial.trained]
    assert undisturbed.finished_seen == len(trained) == account.table["trainings"]
    by_key = {run.key: run for run in account.shown}
    for trial in trained:
        points = by_key[f"{trial.stage}/{trial.number}"].points
        assert [step for name, step in points if name == "val_mpjpe_mm"] == [1, 2]


def first_kill(kind: KillKind) -> RunPlan:
    """One kill of a kind, at a moment that its seed says."""
    plan = plan_run(0, seed=SEED + KINDS.index(kind), kinds=(kind,))
    kill: Kill = plan.kills[0]
    return RunPlan(plan.number, plan.seed, (kill,))


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_ends_like_an_undisturbed_one(
    arena: Arena, folder: Path, undisturbed: Played, kind: KillKind
) -> None:
    _, played = play_plan(arena, folder, first_kill(kind), length_s=undisturbed.seconds)
    assert {kill.kind for kill in played.landed} == {kind}
    assert audit(undisturbed.account, played.account) == {name: [] for name in AUDITS}
    assert played.finished_seen == undisturbed.finished_seen
