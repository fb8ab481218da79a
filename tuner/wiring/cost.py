"""What a run will cost, from its plan and a timing of a few steps; nothing is written."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from trainables.builders import build_backbone
from trainables.config import PretrainingConfig, TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.seal.batches import TrainingBatches
from trainables.seal.lifting import window_of
from trainables.seal.trainer import SealTrainer
from tuner.protocol.stages import Stage
from tuner.wiring.plan import Plan
from tuner.wiring.space_checks import example_params

__all__ = ["describe_plan", "smaller_training"]

TIMED_EPOCHS = 3
TIMED_STEPS = 2
ENOUGH_S = 10.0
TIMED_FRAMES = 27
TIMED_CLIPS = 2

CPU = torch.device("cpu")


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Stages, number of trainings and an estimate of the time, as JSON values.

    The number of trainings is an upper bound: stage 3 takes over what stage 2 has finished.
    The time is that of one worker on this machine; validation and pre-training are not counted.
    """
    train_poses = len(plan.dataset.splits["train"])
    timed: dict[str, float] = {}
    stages = [_stage(plan, stage, timed) for stage in plan.protocol.stages]
    return {
        "run": plan.protocol.run,
        "dataset": plan.dataset.name,
        "train_poses": train_poses,
        "stages": stages,
        "trials": sum(stage["trials"] for stage in stages),
        "seconds": sum(stage["seconds"] for stage in stages),
    }


def _stage(plan: Plan, stage: Stage, timed: dict[str, float]) -> dict[str, Any]:
    """A stage's figures; what it takes to train is kept in `timed`, by the training."""
    config = TrainingConfig.model_validate(
        {
            **stage.base,
            **example_params(plan.protocol, stage),
            **(BASELINE_RATES if stage.base["loss_net"] == "none" else ENERGY_RATES),
        }
    )
    steps_per_epoch = _steps_per_epoch(config, plan.dataset)
    trials = len(stage.space.grid_points()) if stage.sampler == "grid" else stage.trials
    key = config.model_dump_json()
    if key not in timed:
        timed[key] = _seconds_per_trial(plan, config, steps_per_epoch)
    return {
        "name": stage.name,
        "tunes": list(stage.space.names),
        "sampler": stage.sampler,
        "trials": trials,
        "epochs": config.epochs,
        "steps": steps_per_epoch * config.epochs,
        "seconds": trials * timed[key],
    }


BASELINE_RATES = {"lr_p": 1e-6}
ENERGY_RATES = {"lr_p": 1e-6, "lr_l": 1e-6, "alpha": 1e-6}


def _steps_per_epoch(config: TrainingConfig, dataset: PoseDataset) -> int:
    window = window_of(build_backbone(config, dataset.skeleton))
    batches = TrainingBatches(config, dataset, window=window, device=CPU, dtype=torch.float32)
    return batches.per_epoch


def _seconds_per_trial(plan: Plan, config: TrainingConfig, steps_per_epoch: int) -> float:
    """Time of a training, by short epochs with as little validation as there can be.

    What comes before the first epoch (SEAL-static's loss-net) takes as many steps per epoch.
    """
    data = config.data.model_copy(update={"max_eval_poses": 1})
    short = config.model_copy(
        update={
            "steps_per_epoch": TIMED_STEPS,
            "data": data,
            "pretraining": PretrainingConfig(),  # not of a trial: once, before them all
        }
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    factor = 1.0
    if device.type == "cpu":
        short, factor = smaller_training(short)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(plan.config.cpus_per_trial)))
    try:
        trainer = SealTrainer(short, plan.dataset, device=device)
        times: list[float] = []
        fewest = 2 if config.variant == "static" else 1  # its first epoch comes with more
        while len(times) < fewest or (len(times) < TIMED_EPOCHS and sum(times) < ENOUGH_S):
            started = time.perf_counter()
            trainer.run_epoch()
            times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    epoch = statistics.median(times)
    before = max(0.0, times[0] - epoch) if config.variant == "static" else 0.0
    return factor * (before + epoch * config.epochs) * steps_per_epoch / TIMED_STEPS


def smaller_training(config: TrainingConfig) -> tuple[TrainingConfig, float]:
    """Fewer and shorter clips of a net whose clips are long, and how much longer its own take.

    A processor takes minutes for one step of the full nets, and as much longer as there is more
    to lift; only the attention between frames grows faster.
    """
    frames, options = config.data.frames, config.backbone_options
    if frames <= TIMED_FRAMES or options.get("frames", frames) != frames or "strides" in options:
        return config, 1.0
    clips = min(config.batch_size, TIMED_CLIPS)
    energy = config.energy_poses or config.batch_size
    data = {"frames": TIMED_FRAMES, "clip_step": TIMED_FRAMES}
    changed = {
        "backbone_options": {**options, "frames": TIMED_FRAMES},
        "data": config.data.model_copy(update=data),
        "batch_size": clips,
        "accumulate": 1,
    }
    if config.uses_energy:
        changed["energy_poses"] = max(1, energy * clips // config.batch_size)
    factor = frames / TIMED_FRAMES * config.batch_size / clips
    return config.model_copy(update=changed), factor
