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
from trainables.best_nets import evaluate_checkpoint
from trainables.checkpoint import CheckpointStore
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.ray_trainable import SealTrainable
from trainables.trial_run import TrialRun
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


def train_here(
    request: TrialRequest, config: TrainingConfig, dataset: PoseDataset, root: Path, epochs: int
) -> list[dict[str, Any]]:
    """The records of some epochs of a training in this process, on one thread like a worker."""
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
        return [run.step() for _ in range(epochs)]
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
    configs.append(make_config(loss_net="mlp", epochs=4, seed=9))
    requests = [to_request(trial, config) for trial, config in enumerate(configs)]
    content = tiny_dataset.content_hash()
    runner = make_runner(trainable=SealTrainable, dataset=tiny_dataset, max_concurrent=1)
    seen = Recorder(stops={3: 2})
    runner.run(ListFeed(requests), seen)

    completed = dict.fromkeys(range(3), OutcomeKind.COMPLETED)
    assert seen.kinds() == {**completed, 3: OutcomeKind.STOPPED_EARLY}
    assert [epoch for trial, epoch in seen.epochs if trial == 3] == [1, 2]
    for request, config in zip(requests, configs, strict=True):
        alone = train_here(request, config, tiny_dataset, tmp_path / "alone", epochs=2)
        for epoch in (1, 2):
            expected = lasting(alone[epoch - 1]["metrics"])
            assert lasting(seen.metrics[request.trial, epoch]) == expected
    # first and last on the same worker, with another training between them
    assert lasting(seen.metrics[0, 2]) == lasting(seen.metrics[2, 2])
    assert tiny_dataset.content_hash() == content


def test_trials_go_on_in_another_run_and_are_evaluated(
    make_runner: MakeRunner,
    make_config: Callable[..., TrainingConfig],
    tiny_dataset: PoseDataset,
    tmp_path: Path,
) -> None:
    """One that an earlier life left after two epochs, and one that it finished."""
    configs = [make_config(loss_net="mlp", epochs=4, seed=seed) for seed in (0, 1)]
    requests = [to_request(trial, config) for trial, config in enumerate(configs)]
    root, other_root = tmp_path / "checkpoints", tmp_path / "alone"
    expected = []
    for request, config, epochs in zip(requests, configs, (2, 4), strict=True):
        train_here(request, config, tiny_dataset, root, epochs)
        expected.append(train_here(request, config, tiny_dataset, other_root, epochs=4))
    runner = make_runner(
        trainable=SealTrainable, dataset=tiny_dataset, checkpoint_root=root, max_concurrent=1
    )
    seen = Recorder()
    runner.run(ListFeed(requests), seen)

    assert seen.kinds() == dict.fromkeys(range(2), OutcomeKind.COMPLETED)
    # every life tells all epochs, so that a driver that missed some learns of them
    assert sorted(seen.epochs) == [(trial, epoch) for trial in (0, 1) for epoch in (1, 2, 3, 4)]
    for trial, records in enumerate(expected):
        assert seen.outcomes[trial].value == records[-1]["best_value"]
        assert seen.outcomes[trial].best_epoch == records[-1]["best_epoch"]
        for epoch, record in enumerate(records, start=1):
            assert lasting(seen.metrics[trial, epoch]) == lasting(record["metrics"])

    tested: dict[int, dict[str, float]] = {}
    jobs = [(requests[0].spec, str(seen.outcomes[0].checkpoint))]
    runner.evaluate(jobs, split="test", on_metrics=tested.__setitem__)
    assert tested[0] == evaluate_checkpoint(
        configs[0],
        tiny_dataset,
        checkpoint=Path(expected[0][-1]["checkpoint"]),
        fingerprint=requests[0].spec.fingerprint,
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
