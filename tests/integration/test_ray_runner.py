"""Trials on a real, local Ray."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import ray

from tests.integration.ray_local import MakeRunner, local_ray, make_runner
from tests.tuner.adapters.ray_toys import ListFeed, Recorder, request
from tuner.adapters.ray_placement import Placement, Slot
from tuner.adapters.ray_session import RaySession
from tuner.errors import ConfigurationError, RunnerError
from tuner.ports import Decision, FeedState
from tuner.records import EpochReport, OutcomeKind, TrialRequest

__all__ = ["local_ray", "make_runner"]

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]


def test_every_end_of_a_trial_arrives_as_its_outcome(
    make_runner: MakeRunner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = Recorder(stops={6: 2})
    behaviours = ["raises", "raises_once", "dies_once", "nan", "invalid", "reads_dataset", "fine"]
    behaviours += ["no_gpu_memory"]
    feed = ListFeed([request(trial, name) for trial, name in enumerate(behaviours)])
    runner = make_runner(dataset={"x": np.zeros(1000)}, max_failures=1)

    runner.run(feed, seen)

    assert seen.kinds() == {
        0: OutcomeKind.FAILED,
        1: OutcomeKind.COMPLETED,
        2: OutcomeKind.COMPLETED,
        3: OutcomeKind.INVALID_METRIC,
        4: OutcomeKind.INVALID_METRIC,
        5: OutcomeKind.COMPLETED,
        6: OutcomeKind.STOPPED_EARLY,
        7: OutcomeKind.FAILED,
    }
    assert seen.ends == len(behaviours), "each trial ends once"
    attempts = {trial: outcome.attempts for trial, outcome in seen.outcomes.items()}
    assert attempts == {0: 2, 1: 2, 2: 2, 3: 1, 4: 1, 5: 1, 6: 1, 7: 2}
    assert sorted(seen.starts) == sorted(
        (t, n) for t, c in attempts.items() for n in range(1, c + 1)
    )
    assert seen.outcomes[0].reason == "ValueError: this toy always breaks"
    assert "the GPU ran out of memory: torch.OutOfMemoryError: CUDA" in seen.outcomes[7].reason
    assert "in step" in seen.outcomes[0].traceback
    # a retry goes on from the trainable's checkpoint of epoch 1
    assert [epoch for trial, epoch in seen.epochs if trial == 2] == [1, 2, 3]
    assert seen.outcomes[6].epochs == 2
    assert not list((tmp_path / "scratch").iterdir()), "Ray's experiment is disposable"
    assert capfd.readouterr().out == "", "standard output is not Ray's"


def test_a_batch_is_waited_for_and_concurrency_respected(make_runner: MakeRunner) -> None:
    seen = Recorder()
    feed = ListFeed([request(trial, epochs=1) for trial in range(6)], batch=3)
    feed.ended = lambda: seen.ends

    make_runner(max_concurrent=1).run(feed, seen)

    assert set(seen.kinds().values()) == {OutcomeKind.COMPLETED}
    assert len(seen.outcomes) == 6
    assert seen.most_at_once == 1
    # one worker served them all
    lives = {trial: metrics["life"] for (trial, _), metrics in seen.metrics.items()}
    assert lives == {trial: float(trial + 1) for trial in range(6)}


@pytest.mark.parametrize("where", ["feed", "observer"])
def test_an_error_of_the_caller_stops_the_run_and_comes_back_unchanged(
    make_runner: MakeRunner, where: str
) -> None:
    error = OSError("the disk is full")

    class BreakingFeed(ListFeed):
        def next_request(self) -> TrialRequest | FeedState:
            if where == "feed" and self.given == 1:
                raise error
            return super().next_request()

    class BreakingObserver(Recorder):
        def on_epoch(self, stage: str, report: EpochReport) -> Decision:
            super().on_epoch(stage, report)
            if where == "observer" and report.epoch == 2:
                raise error
            return Decision.CONTINUE

    seen = BreakingObserver()
    with pytest.raises(OSError, match="the disk is full") as caught:
        make_runner().run(BreakingFeed([request(n, epochs=50) for n in range(3)]), seen)

    assert caught.value is error
    assert set(seen.kinds().values()) <= {OutcomeKind.CANCELLED}
    assert set(seen.outcomes) == {trial for trial, _ in seen.starts}, "what began has an end"
    deadline = time.monotonic() + 30.0
    while ray.available_resources().get("CPU") != 2.0 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == 2.0, "no worker is left"


def test_a_trial_computes_with_the_cpus_that_its_stage_holds(make_runner: MakeRunner) -> None:
    seen = Recorder()
    placement = Placement(Slot(1.0), {"lr_p": Slot(2.0)})
    make_runner(placement=placement).run(ListFeed([request(0)]), seen)
    assert {metrics["threads"] for metrics in seen.metrics.values()} == {2.0}


def test_workers_see_no_tracking_server(make_runner: MakeRunner, tmp_path: Path) -> None:
    # the driver had MLFLOW_TRACKING_URI set when it started this Ray, see `local_ray`
    make_runner().run(ListFeed([request(0, "environment", epochs=1)]), Recorder())

    environment = (tmp_path / "checkpoints" / "environment").read_text().splitlines()
    assert "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1" in environment
    assert not [line for line in environment if line.startswith("MLFLOW_")]


def test_every_checkpoint_that_can_be_evaluated_is(
    make_runner: MakeRunner, tmp_path: Path
) -> None:
    runner = make_runner()
    seen = Recorder()
    requests = [request(trial, epochs=trial + 1) for trial in range(2)]
    runner.run(ListFeed(requests), seen)
    jobs = [(r.spec, str(seen.outcomes[r.trial].checkpoint)) for r in reversed(requests)]

    missing = str(tmp_path / "none.ckpt")
    found: dict[int, dict[str, float]] = {}
    with pytest.raises(RunnerError, match=r"evaluate the checkpoint .*none\.ckpt: .*No such file"):
        runner.evaluate(
            [(requests[0].spec, missing), *jobs], split="test", on_metrics=found.__setitem__
        )
    assert found == {
        1: {"test_epochs": 2.0, "lr_p": 1.0},
        2: {"test_epochs": 1.0, "lr_p": 0.0},
    }
    runner.evaluate([], split="test", on_metrics=found.__setitem__)
    assert len(found) == 2


def test_a_trial_that_can_never_fit_is_refused_before_anything_runs(
    make_runner: MakeRunner,
) -> None:
    feed = ListFeed([request(0)])
    with pytest.raises(ConfigurationError, match="needs 64 CPUs and 0 GPUs on one node, but"):
        make_runner(placement=Placement(Slot(64.0))).run(feed, Recorder())
    assert feed.given == 0


def test_the_session_knows_what_fits(local_ray: RaySession) -> None:
    assert local_ray.fitting(Slot(1.0), {}) == 2
    assert local_ray.fitting(Slot(1.5), {}) == 1
    assert local_ray.fitting(Slot(1.0), {"pool": "none"}) == 0
    assert not local_ray.has_gpus()


def test_the_token_that_ray_wrote_is_ours_alone(local_ray: RaySession) -> None:
    token = Path.home() / ".ray" / "auth_token"
    if not token.exists():
        pytest.skip("Ray made no token here")
    assert token.stat().st_mode & 0o077 == 0
    assert token.parent.stat().st_mode & 0o077 == 0
