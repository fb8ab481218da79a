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
from trainables.trial_run import TrialRun, evaluate_checkpoint
from tuner.records import OutcomeKind, TrialRequest, TrialSpec

__all__ = ["local_ray", "make_config", "make_runner", "tiny_dataset"]

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]

CPU = torch.device("cpu")
TIMINGS = {"samples_per_s", "epoch_s"}


def to_request(trial: int, config: TrainingConfig) -> TrialRequest:
    base = config.model_dump(mode="json", exclude={"lr_p", "lr_l", "alpha", "seed"})
    params = {"lr_p": config.lr_p, "lr_l": config.lr_l or 0.0, "alpha": config.alpha}
    return TrialRequest("2-lr_l", trial, TrialSpec(base, params, seed=config.seed))


def lasting(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name not in TIMINGS}


def undisturbed(
    request: TrialRequest, config: TrainingConfig, dataset: PoseDataset, root: Path
) -> list[dict[str, Any]]:
    """The records of all epochs of a training in this process, on one thread like a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = TrialRun(
            config,
            dataset,
            store=CheckpointStore(root),
            fingerprint=request.spec.fingerprint,
            device=CPU,
        )
        return [run.step() for _ in range(config.epochs)]
    finally:
        torch.set_num_threads(threads)


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
    for request, config in zip(requests, configs, strict=True):
        alone = undisturbed(request, config, tiny_dataset, tmp_path / "alone")
        for epoch in (1, 2):
            expected = lasting(alone[epoch - 1]["metrics"])
            assert lasting(seen.metrics[request.trial, epoch]) == expected
    # first and last on the same worker, with another training between them
    assert lasting(seen.metrics[0, 2]) == lasting(seen.metrics[2, 2])
    assert tiny_dataset.content_hash() == content


def test_a_trial_goes_on_in_another_run_and_is_evaluated(
    make_runner: MakeRunner,
    make_config: Callable[..., TrainingConfig],
    tiny_dataset: PoseDataset,
    tmp_path: Path,
) -> None:
    config = make_config(loss_net="mlp", epochs=4)
    request = to_request(0, config)
    runner = make_runner(trainable=SealTrainable, dataset=tiny_dataset)
    stopped, resumed, repeated = Recorder(stops={0: 2}), Recorder(), Recorder()
    for seen in (stopped, resumed, repeated):
        runner.run(ListFeed([request]), seen)

    expected = undisturbed(request, config, tiny_dataset, tmp_path / "alone")
    assert stopped.outcomes[0].kind is OutcomeKind.STOPPED_EARLY
    # every life tells all epochs, so that a driver that missed some learns of them
    assert stopped.epochs == [(0, 1), (0, 2)]
    for later in (resumed, repeated):
        assert later.epochs == [(0, epoch) for epoch in (1, 2, 3, 4)]
        assert later.outcomes[0].kind is OutcomeKind.COMPLETED
        assert later.outcomes[0].value == expected[-1]["best_value"]
        assert later.outcomes[0].best_epoch == expected[-1]["best_epoch"]
        for epoch, record in enumerate(expected, start=1):
            assert lasting(later.metrics[0, epoch]) == lasting(record["metrics"])

    (result,) = runner.evaluate(
        [(request.spec, str(resumed.outcomes[0].checkpoint))], split="test"
    )
    assert result == evaluate_checkpoint(
        config,
        tiny_dataset,
        checkpoint=Path(expected[-1]["checkpoint"]),
        fingerprint=request.spec.fingerprint,
        split="test",
        device=CPU,
    )


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
