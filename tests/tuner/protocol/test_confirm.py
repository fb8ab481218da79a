"""Winner, baseline and runners-up are trained again with fresh seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.table_runner import TableRunner, point_of
from tests.tuner.protocol.bowl import bowl_protocol, bowl_runner, check_every_death, studies
from tests.tuner.protocol.test_greedy import ALL_ALPHA, World, grids, table
from tuner.engine import check_run
from tuner.errors import ConfigurationError, RunFailedError
from tuner.protocol.actions import ReleaseTrials
from tuner.protocol.confirm import CANDIDATES, RELEASED
from tuner.protocol.greedy import next_action
from tuner.protocol.seeds import trial_seed
from tuner.protocol.stages import Protocol, build_greedy_protocol
from tuner.records import TrialOutcome, TrialRequest, TrialSpec, TrialState
from tuner.wiring.checkpoint_keeper import RunCheckpoints

STAGE = "4-confirm"


def table_protocol(**options: Any) -> Protocol:
    return build_greedy_protocol(
        "run",
        seed=0,
        space=grids([5e-5, 1e-4], [1e-3, 5e-3], ALL_ALPHA),
        base={"loss_net": "graph", "epochs": 1},
        baseline={"loss_net": "none", "epochs": 1},
        **options,
    )


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.cached = True
    return made


def test_every_candidate_is_trained_with_the_same_fresh_seeds(world: World) -> None:
    chosen = table_protocol(confirm_seeds=3, confirm_runners_up=2)
    runner = TableRunner(table())
    world.run(chosen, runner)
    study = studies(world, chosen)[STAGE]
    listed = study.attributes[CANDIDATES]
    roles = ["baseline", "winner", "runner-up 1", "runner-up 2"]
    assert [candidate["role"] for candidate in listed] == roles
    assert listed[1]["params"] == {"lr_p": 1e-4, "lr_l": 1e-4, "alpha": 5e-3}
    trained = [request for request in runner.trained if request.stage == STAGE]
    seeds = [trial_seed(0, STAGE, repeat) for repeat in range(3)]
    assert [r.spec.seed for r in trained] == [seed for seed in seeds for _ in roles]
    keys = [candidate["configuration_key"] for candidate in listed]
    assert [r.spec.configuration_key for r in trained] == keys * 3
    assert [r.spec.base["loss_net"] for r in trained[:4]] == ["none", "graph", "graph", "graph"]
    assert all(trial.test_metrics is not None for trial in study.trials)
    assert study.result is None


def test_runners_up_are_the_next_best_configurations_of_the_last_stage(world: World) -> None:
    chosen = table_protocol(confirm_seeds=2, confirm_runners_up=2)
    world.run(chosen, TableRunner(table()))
    found = studies(world, chosen)
    last = found["3-alpha"]
    ranked = sorted((t.value or 0.0, t.number) for t in last.trials if t.value is not None)
    listed = found[STAGE].attributes[CANDIDATES]
    assert [c["trial"] for c in listed[1:]] == [number for _, number in ranked[:3]]


def test_more_seeds_only_add_trainings(world: World) -> None:
    world.run(table_protocol(), TableRunner(table()))
    two = TableRunner(table())
    world.run(table_protocol(confirm_seeds=2), two)
    assert len(two.trained) == 2 * 3
    four = TableRunner(table())
    world.run(table_protocol(confirm_seeds=4), four)
    assert len(four.trained) == 2 * 3
    at_once = World(world.folder / "other")
    at_once.cached = True
    at_once.run(table_protocol(confirm_seeds=4), TableRunner(table()))
    specs = [
        [trial.spec for trial in studies(one, table_protocol(confirm_seeds=4))[STAGE].trials]
        for one in (world, at_once)
    ]
    assert specs[0] == specs[1]


def test_nothing_is_confirmed_twice(world: World) -> None:
    chosen = table_protocol(confirm_seeds=2)
    world.run(chosen, TableRunner(table()))
    again = TableRunner(table())
    world.run(chosen, again)
    assert again.trained == []


class FailingRunner(TableRunner):
    """Trainings of the confirmation fail where a predicate says so."""

    def fails(self, spec: TrialSpec) -> bool:
        return True

    def _outcome(self, request: TrialRequest, observer: Any) -> TrialOutcome:
        if request.stage == STAGE and self.fails(request.spec):
            table, self.table = self.table, {}
            try:
                return super()._outcome(request, observer)
            finally:
                self.table = table
        return super()._outcome(request, observer)


def test_a_candidate_whose_trainings_all_failed_is_not_fatal(world: World) -> None:
    class NoBaseline(FailingRunner):
        def fails(self, spec: TrialSpec) -> bool:
            return str(spec.base["loss_net"]) == "none"

    chosen = table_protocol(confirm_seeds=2)
    world.run(chosen, NoBaseline(table()))
    trials = studies(world, chosen)[STAGE].trials
    assert [t.state for t in trials].count(TrialState.FAILED) == 2
    assert all(t.test_metrics for t in trials if t.state is TrialState.FINISHED)


def test_a_confirmation_that_failed_as_a_whole_is_tried_once_more(world: World) -> None:
    chosen = table_protocol(confirm_seeds=2)
    with pytest.raises(RunFailedError, match="no trial of stage 4-confirm finished"):
        world.run(chosen, FailingRunner(table()))
    runner = TableRunner(table())
    world.run(chosen, runner)
    assert len(runner.trained) == 6
    points = {point_of(r.spec.params) for r in runner.trained}
    assert point_of({"lr_p": 1e-4, "lr_l": 1e-4, "alpha": 5e-3}) in points


def test_a_confirmation_killed_at_any_write_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    chosen = bowl_protocol(confirm_seeds=2)

    def story(world: World, runner: TableRunner) -> None:
        world.run(chosen, runner)

    check_every_death(tmp_path, story, chosen, least=20)


def test_a_test_that_is_done_is_not_done_again(world: World) -> None:
    chosen = table_protocol(confirm_seeds=3)
    killed = TableRunner(table())
    killed.die_after_tests = 7
    with pytest.raises(KeyboardInterrupt):
        world.run(chosen, killed)
    again = TableRunner(table())
    world.run(chosen, again)
    assert (killed.tested, again.tested) == (2 + 7, 2)
    assert again.trained == []


def test_repeats_keep_no_checkpoints_once_they_are_tested(world: World) -> None:
    chosen = table_protocol(confirm_seeds=2)
    root = world.folder / "checkpoints"
    world.keeper = RunCheckpoints(root, keep="winners", store=world.store, run="run")
    runner = TableRunner(table(), checkpoint_root=root)
    world.run(chosen, runner)
    found = studies(world, chosen)
    kept = {path.name for path in root.iterdir()}
    assert {t.spec.fingerprint for t in found[STAGE].trials}.isdisjoint(kept)
    last = found["3-alpha"]
    assert last.result is not None
    winner = last.trials[last.result.winner]
    assert winner.spec.fingerprint in kept
    # killed before it was known to be done; then more seeds
    world.store.annotate("run/4-confirm", RELEASED, 0)
    assert isinstance(next_action(chosen, studies(world, chosen)), ReleaseTrials)
    chosen = table_protocol(confirm_seeds=3)
    world.run(chosen, runner)
    assert {path.name for path in root.iterdir()} == kept


@pytest.mark.parametrize(
    ("options", "option"),
    [({"confirm_seeds": 2}, "--confirm-seeds"), ({"check": 4}, "--check")],
)
def test_a_stage_with_open_trials_is_not_left_out(
    world: World, options: dict[str, Any], option: str
) -> None:
    chosen = bowl_protocol(**options)
    world.run(bowl_protocol(), bowl_runner())
    with pytest.raises(KeyboardInterrupt):
        world.run(chosen, bowl_runner(die_after=1))
    with pytest.raises(ConfigurationError, match=f"are open, and without {option} nobody ends"):
        check_run(bowl_protocol(), world.store)
    world.run(chosen, bowl_runner())
    check_run(bowl_protocol(), world.store)


def test_the_baseline_alone_can_be_the_only_other_candidate(world: World) -> None:
    chosen = bowl_protocol(confirm_seeds=2, confirm_runners_up=0)
    world.run(chosen, bowl_runner())
    listed = studies(world, chosen)[STAGE].attributes[CANDIDATES]
    assert [candidate["role"] for candidate in listed] == ["baseline", "winner"]
