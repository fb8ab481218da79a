"""Real trainings on a real, local Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.ray_local import MakeRunner, local_ray, make_runner
from tests.trainables.seal.conftest import make_config, tiny_dataset
from tests.tuner.adapters.ray_toys import ListFeed, Recorder
from trainables.checkpoint import CheckpointStore
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.ray_trainable import SealTrainable
from trainables.trial_run import TrialRun
from tuner.records import OutcomeKind, TrialRequest, TrialSpec

__all__ = ["local_ray", "make_config", "make_runner", "tiny_dataset"]

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]

TIMINGS = {"samples_per_s", "epoch_s"}


def to_request(trial: int, config: TrainingConfig) -> TrialRequest:
    base = config.model_dump(mode="json", exclude={"lr_p", "lr_l", "alpha", "seed"})
    params = {"lr_p": config.lr_p, "lr_l": config.lr_l or 0.0, "alpha": config.alpha}
    return TrialRequest("2-lr_l", trial, TrialSpec(base, params, seed=config.seed))


def lasting(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name not in TIMINGS}


def test_trials_on_reused_workers_equal_trainings_in_this_process(
    make_runner: MakeRunner,
    make_config: Callable[..., TrainingConfig],
    tiny_dataset: PoseDataset,
    tmp_path: Path,
) -> None:
    first = make_config(loss_net="mlp", epochs=2)
    configs = [first, make_config(loss_net="graph", epochs=2, seed=5), first]
    # equal configurations are one training: give the last one checkpoints of its own
    configs[2] = make_config(loss_net="mlp", epochs=2, margin_scale=1.0, data={"stride": 2})
    requests = [to_request(trial, config) for trial, config in enumerate(configs)]
    content = tiny_dataset.content_hash()
    runner = make_runner(trainable=SealTrainable, dataset=tiny_dataset, max_concurrent=1)
    seen = Recorder()
    runner.run(ListFeed(requests), seen)

    assert seen.kinds() == dict.fromkeys(range(3), OutcomeKind.COMPLETED)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for request, config in zip(requests, configs, strict=True):
            alone = TrialRun(
                config,
                tiny_dataset,
                store=CheckpointStore(tmp_path / "alone"),
                fingerprint=request.spec.fingerprint,
                device=torch.device("cpu"),
            )
            for epoch in (1, 2):
                expected = lasting(alone.step()["metrics"])
                assert lasting(seen.metrics[request.trial, epoch]) == expected
    finally:
        torch.set_num_threads(threads)
    # first and last on the same worker, with another training between them
    assert lasting(seen.metrics[0, 2]) == lasting(seen.metrics[2, 2])
    assert tiny_dataset.content_hash() == content


def test_a_trial_goes_on_in_another_run_and_is_evaluated(
    make_runner: MakeRunner,
    make_config: Callable[..., TrainingConfig],
    tiny_dataset: PoseDataset,
) -> None:
    request = to_request(0, make_config(loss_net="mlp", epochs=4))
    runner = make_runner(trainable=SealTrainable, dataset=tiny_dataset)
    whole, stopped, resumed, repeated = Recorder(), Recorder(stops={0: 2}), Recorder(), Recorder()
    runner.run(ListFeed([request]), stopped)
    runner.run(ListFeed([request]), resumed)
    runner.run(ListFeed([request]), repeated)
    other = make_runner(
        trainable=SealTrainable, dataset=tiny_dataset, checkpoint_root=Path(runner._scratch / "x")
    )
    other.run(ListFeed([request]), whole)

    assert stopped.outcomes[0].kind is OutcomeKind.STOPPED_EARLY
    # every life tells all epochs, so that a driver that missed some learns of them
    assert stopped.epochs == [(0, 1), (0, 2)]
    for later in (resumed, repeated, whole):
        assert later.epochs == [(0, epoch) for epoch in (1, 2, 3, 4)]
        assert later.outcomes[0].kind is OutcomeKind.COMPLETED
        assert later.outcomes[0].value == whole.outcomes[0].value
        assert later.outcomes[0].best_epoch == whole.outcomes[0].best_epoch
        for key, metrics in later.metrics.items():
            assert lasting(metrics) == lasting(whole.metrics[key])

    checkpoints = [str(recorder.outcomes[0].checkpoint) for recorder in (resumed, whole)]
    jobs = [(request.spec, checkpoint) for checkpoint in checkpoints]
    results = runner.evaluate(jobs, split="test")
    assert results[0] == results[1]
    assert results[0]["mpjpe_mm"] > 0.0


def test_a_configuration_that_cannot_be_trained_fails_with_its_reason(
    make_runner: MakeRunner,
    make_config: Callable[..., TrainingConfig],
    tiny_dataset: PoseDataset,
) -> None:
    broken: dict[str, Any] = {"backbone_options": {"no_such_option": 1}}
    requests = [to_request(0, make_config(loss_net="mlp", **broken))]
    seen = Recorder()
    runner = make_runner(trainable=SealTrainable, dataset=tiny_dataset, max_failures=0)
    runner.run(ListFeed(requests), seen)

    assert seen.outcomes[0].kind is OutcomeKind.FAILED
    assert "no_such_option" in seen.outcomes[0].reason
    assert seen.outcomes[0].attempts == 1
