from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys

import pytest
from optuna.storages import InMemoryStorage

from tuner.adapters.optuna_sampler import build_sampler
from tuner.adapters.optuna_store import OptunaStudyStore
from tuner.errors import ConfigurationError
from tuner.records import (
    OutcomeKind,
    StudyHistory,
    StudySpec,
    TrialOutcome,
    TrialRecord,
    TrialSpec,
    TrialState,
)

STUDY = StudySpec(
    run="demo",
    stage="2-lr_l",
    distributions={
        "lr_l": {"low": 1e-6, "high": 1e-2, "log": True, "grid": None},
        "alpha": {"low": 0.0, "high": 1.0, "log": False, "grid": None},
    },
    definition={},
)
BATCH = 3


def error_mm(params: dict[str, float]) -> float:
    """A bowl with its minimum at lr_l = 1e-4, alpha = 0.3."""
    return (math.log10(params["lr_l"]) + 4) ** 2 + 10 * (params["alpha"] - 0.3) ** 2


def record(
    number: int, params: dict[str, float], state: TrialState, value: float | None
) -> TrialRecord:
    kinds = {
        TrialState.FINISHED: OutcomeKind.COMPLETED,
        TrialState.PRUNED: OutcomeKind.STOPPED_EARLY,
        TrialState.FAILED: OutcomeKind.FAILED,
    }
    outcome = None
    if state in kinds:
        outcome = TrialOutcome(number, kinds[state], value=value, epochs=2)
    return TrialRecord(
        number=number,
        spec=TrialSpec({}, params, seed=number),
        state=state,
        value=value if state is TrialState.FINISHED else None,
        epochs=2,
        outcome=outcome,
    )


def history(*trials: TrialRecord) -> StudyHistory:
    return StudyHistory(STUDY, trials, None, {})


def search(kind: str, trials: int, *, seed: int = 0, restarts: bool = False) -> list[TrialRecord]:
    """Sequential batches; with `restarts` the sampler is built anew for every proposal."""
    sampler = build_sampler(kind, seed=seed, stage=STUDY.stage)
    done: list[TrialRecord] = []
    for number in range(trials):
        if restarts:
            sampler = build_sampler(kind, seed=seed, stage=STUDY.stage)
        start = number - number % BATCH
        params = sampler.suggest(history(*done), number=number, batch_start=start)
        done.append(record(number, params, TrialState.FINISHED, error_mm(params)))
    return done


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_proposals_lie_in_the_space_and_differ(kind: str) -> None:
    points = [trial.spec.params for trial in search(kind, 15)]
    assert all(set(point) == {"lr_l", "alpha"} for point in points)
    assert all(1e-6 <= point["lr_l"] <= 1e-2 and 0 <= point["alpha"] <= 1 for point in points)
    assert len({json.dumps(dict(point)) for point in points}) == 15


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_a_restart_changes_no_proposal(kind: str) -> None:
    assert search(kind, 15) == search(kind, 15, restarts=True)


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_another_process_proposes_the_same(kind: str) -> None:
    points = [dict(trial.spec.params) for trial in search(kind, 9)]
    code = (
        "import json; from tests.tuner.adapters.test_optuna_sampler import search;"
        f"print(json.dumps([dict(t.spec.params) for t in search({kind!r}, 9)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50
    )
    assert json.loads(done.stdout) == points


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_seed_and_stage_change_the_proposals(kind: str) -> None:
    first = build_sampler(kind, seed=0, stage="a").suggest(history(), number=0, batch_start=0)
    for seed, stage in ((1, "a"), (0, "b")):
        sampler = build_sampler(kind, seed=seed, stage=stage)
        assert sampler.suggest(history(), number=0, batch_start=0) != first


def test_results_within_the_batch_do_not_change_a_proposal() -> None:
    """Timing cannot: whether a neighbour has ended already is not looked at."""
    done = search("tpe", 12)
    sampler = build_sampler("tpe", seed=0, stage=STUDY.stage)
    ended = sampler.suggest(history(*done[:11]), number=11, batch_start=9)
    running = [
        record(trial.number, dict(trial.spec.params), TrialState.RUNNING, None)
        for trial in done[9:11]
    ]
    assert sampler.suggest(history(*done[:9], *running), number=11, batch_start=9) == ended
    assert ended == done[11].spec.params
    assert sampler.suggest(history(*done[:11]), number=11, batch_start=11) != ended


def test_trials_from_the_same_number_on_are_not_looked_at() -> None:
    done = search("tpe", 12)
    sampler = build_sampler("tpe", seed=0, stage=STUDY.stage)
    again = sampler.suggest(history(*done), number=8, batch_start=6)
    assert again == done[8].spec.params


def test_tpe_learns_from_values() -> None:
    def best(kind: str, seed: int) -> float:
        return min(trial.value or 0.0 for trial in search(kind, 30, seed=seed))

    tpe = statistics.median(best("tpe", seed) for seed in range(5))
    chance = statistics.median(best("random", seed) for seed in range(5))
    assert tpe < chance / 2


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAILED])
def test_trials_without_a_value_are_taken_in(state: TrialState) -> None:
    done = search("tpe", 9)
    last = dict(done[8].spec.params)
    sampler = build_sampler("tpe", seed=0, stage=STUDY.stage)
    for value in (None, 70.0):
        ended = record(8, last, state, value)
        point = sampler.suggest(history(*done[:8], ended), number=9, batch_start=9)
        assert set(point) == {"lr_l", "alpha"}


def test_fixed_parameters_do_not_disturb() -> None:
    """A stage's specs hold what earlier stages fixed, too."""
    store = OptunaStudyStore(InMemoryStorage())
    store.open_study(STUDY)
    sampler = build_sampler("tpe", seed=0, stage=STUDY.stage)
    for number in range(8):
        known = store.history(STUDY.study_name)
        assert known is not None
        point = sampler.suggest(known, number=number, batch_start=number)
        assert set(point) == {"lr_l", "alpha"}
        spec = TrialSpec({"epochs": 1}, {"lr_p": 1e-3, **point}, seed=number)
        assert store.ask(STUDY.study_name, spec) == number
        store.tell(
            STUDY.study_name,
            TrialOutcome(number, OutcomeKind.COMPLETED, value=error_mm(point), epochs=1),
        )


@pytest.mark.parametrize("kind", ["grid", "TPE", ""])
def test_other_kinds_are_refused(kind: str) -> None:
    with pytest.raises(ConfigurationError, match="expected random or tpe"):
        build_sampler(kind, seed=0, stage="a")
