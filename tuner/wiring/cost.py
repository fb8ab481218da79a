"""What a run will cost, from its plan and a timing of a few steps; nothing is written."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from trainables.config import TrainingConfig
from trainables.seal.trainer import SealTrainer
from tuner.protocol.stages import Stage
from tuner.wiring.plan import Plan
from tuner.wiring.space_checks import example_params

__all__ = ["describe_plan"]

TIMED_EPOCHS = 3
TIMED_STEPS = 2


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Stages, number of trainings and an estimate of the time, as JSON values.

    The number of trainings is an upper bound: stage 3 takes over what stage 2 has finished.
    The time is that of one worker on this machine; validation is not counted.
    """
    train_poses = len(plan.dataset.splits["train"])
    stages = [_stage(plan, stage, train_poses) for stage in plan.protocol.stages]
    return {
        "run": plan.protocol.run,
        "dataset": plan.dataset.name,
        "train_poses": train_poses,
        "stages": stages,
        "trials": sum(stage["trials"] for stage in stages),
        "seconds": sum(stage["seconds"] for stage in stages),
    }


def _stage(plan: Plan, stage: Stage, train_poses: int) -> dict[str, Any]:
    config = TrainingConfig.model_validate(
        {
            **stage.base,
            **example_params(plan.protocol, stage),
            **(BASELINE_RATES if stage.base["loss_net"] == "none" else ENERGY_RATES),
        }
    )
    steps_per_epoch = -(-train_poses // config.batch_size)
    if config.steps_per_epoch is not None:
        steps_per_epoch = min(steps_per_epoch, config.steps_per_epoch)
    steps = steps_per_epoch * config.epochs
    trials = len(stage.space.grid_points()) if stage.sampler == "grid" else stage.trials
    return {
        "name": stage.name,
        "tunes": list(stage.space.names),
        "sampler": stage.sampler,
        "trials": trials,
        "epochs": config.epochs,
        "steps": steps,
        "seconds": trials * _seconds_per_trial(plan, config, steps_per_epoch),
    }


BASELINE_RATES = {"lr_p": 1e-6}
ENERGY_RATES = {"lr_p": 1e-6, "lr_l": 1e-6, "alpha": 1e-6}


def _seconds_per_trial(plan: Plan, config: TrainingConfig, steps_per_epoch: int) -> float:
    """Time of a training, by short epochs with as little validation as there can be.

    What comes before the first epoch (SEAL-static's loss-net) takes as many steps per epoch.
    """
    data = config.data.model_copy(update={"max_eval_poses": 1})
    short = config.model_copy(update={"steps_per_epoch": TIMED_STEPS, "data": data})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(plan.config.cpus_per_trial)))
    try:
        trainer = SealTrainer(short, plan.dataset, device=device)
        times = []
        for _ in range(TIMED_EPOCHS):
            started = time.perf_counter()
            trainer.run_epoch()
            times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    epoch = statistics.median(times)
    before = max(0.0, times[0] - epoch) if config.variant == "static" else 0.0
    return (before + epoch * config.epochs) * steps_per_epoch / TIMED_STEPS
