"""What a run will cost, from its plan and a timing of a few steps; nothing is written."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch

from trainables.builders import build_backbone
from trainables.config import PretrainingConfig, TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import TrainableError
from trainables.seal.batches import TrainingBatches
from trainables.seal.lifting import window_of
from trainables.seal.trainer import SealTrainer
from tuner.protocol.stages import Protocol, Stage
from tuner.wiring.plan import Plan
from tuner.wiring.space_checks import example_params

__all__ = ["describe_plan", "smaller_trainings"]

TIMED_EPOCHS = 3
TIMED_STEPS = 2
ENOUGH_S = 1.0
TIMED_FRAMES = (9, 27)
TIMED_CLIPS = 2

CPU = torch.device("cpu")


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Stages, number of trainings and an estimate of the time, as JSON values.

    The number of trainings is an upper bound: stage 3 takes over what stage 2 has finished, and
    there may be fewer runners-up to confirm than asked for.
    The time is that of one worker on this machine; validation and pre-training are not counted.
    """
    train_poses = len(plan.dataset.splits["train"])
    timed: dict[str, tuple[int, float]] = {}
    epochs = plan.training.pretraining.epochs
    stages = [_stage(plan, stage, timed) for stage in plan.protocol.stages]
    stages += _further(plan.protocol, first=stages[0], last=stages[-1])
    return {
        "run": plan.protocol.run,
        "dataset": plan.dataset.name,
        "train_poses": train_poses,
        "pretraining": {"epochs": epochs} if epochs else None,
        "stages": stages,
        "trials": sum(stage["trials"] for stage in stages),
        "seconds": sum(stage["seconds"] for stage in stages),
    }


def _stage(plan: Plan, stage: Stage, timed: dict[str, tuple[int, float]]) -> dict[str, Any]:
    """A stage's figures; steps per epoch and seconds of a training are kept in `timed`."""
    config = TrainingConfig.model_validate(
        {
            **stage.base,
            **example_params(plan.protocol, stage),
            **(BASELINE_RATES if stage.base["loss_net"] == "none" else ENERGY_RATES),
        }
    )
    trials = len(stage.space.grid_points()) if stage.sampler == "grid" else stage.trials
    key = config.model_dump_json()
    if key not in timed:
        steps = _steps_per_epoch(config, plan.dataset)
        timed[key] = (steps, _seconds_per_trial(plan, config, steps))
    steps_per_epoch, seconds = timed[key]
    return {
        "name": stage.name,
        "tunes": list(stage.space.names),
        "sampler": stage.sampler,
        "trials": trials,
        "epochs": config.epochs,
        "steps": steps_per_epoch * config.epochs,
        "seconds": trials * seconds,
    }


def _further(
    protocol: Protocol, *, first: Mapping[str, Any], last: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What follows the search: repeats of the baseline and of others, and the joint search.

    Args:
        protocol: What is run.
        first: Figures of the baseline's stage.
        last: Figures of the last stage.
    """
    found = []
    baseline_s, seal_s = (stage["seconds"] / stage["trials"] for stage in (first, last))
    common = {"epochs": last["epochs"], "steps": last["steps"]}
    if protocol.confirm is not None:
        seeds, others = protocol.confirm.trials, 1 + protocol.confirm_runners_up
        found.append(
            {
                **{"name": protocol.confirm.name, "tunes": [], "sampler": "none", **common},
                "trials": seeds * (1 + others),
                "seconds": seeds * (baseline_s + others * seal_s),
            }
        )
    if protocol.check is not None:
        stage = protocol.check
        found.append(
            {
                **{"name": stage.name, "tunes": list(stage.space.names), **common},
                "sampler": stage.sampler,
                "trials": stage.trials,
                "seconds": stage.trials * seal_s,
            }
        )
    return found


BASELINE_RATES = {"lr_p": 1e-6}
ENERGY_RATES = {"lr_p": 1e-6, "lr_l": 1e-6, "alpha": 1e-6}


def _steps_per_epoch(config: TrainingConfig, dataset: PoseDataset) -> int:
    window = window_of(build_backbone(config, dataset.skeleton))
    batches = TrainingBatches(config, dataset, window=window, device=CPU, dtype=torch.float32)
    return batches.per_epoch


def _seconds_per_trial(plan: Plan, config: TrainingConfig, steps_per_epoch: int) -> float:
    """Time of a training, by short epochs with as little validation as there can be."""
    data = config.data.model_copy(update={"max_eval_poses": 1})
    short = config.model_copy(
        update={
            "steps_per_epoch": TIMED_STEPS,
            "data": data,
            "pretraining": PretrainingConfig(),  # not of a trial: once, before them all
        }
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = [(short, 1.0)]
    if device.type == "cpu":
        sizes = [*smaller_trainings(short), *sizes]
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(plan.config.cpus_per_trial)))
    try:
        return _timed_by_the_largest(sizes, plan.dataset, device) * steps_per_epoch / TIMED_STEPS
    finally:
        torch.set_num_threads(threads)


def _timed_by_the_largest(
    sizes: Sequence[tuple[TrainingConfig, float]], dataset: PoseDataset, device: torch.device
) -> float:
    """Time of the last training by the largest of `sizes` that does not take too long.

    What does not depend on the size weighs too much in a small one.
    """
    found: tuple[float, float] | None = None
    for config, factor in sizes:
        if found is not None and found[1] / factor > ENOUGH_S:
            break
        faults = () if factor == 1.0 else (TrainableError, RuntimeError, ValueError)
        with suppress(*faults):  # an option may need longer clips
            whole, epoch = _timed(config, dataset, device)
            found = factor * whole, factor * epoch
    assert found is not None  # an error of the last one is raised
    return found[0]


def _timed(
    config: TrainingConfig, dataset: PoseDataset, device: torch.device
) -> tuple[float, float]:
    """Seconds of a training of short epochs, and of one of its epochs; without validation.

    What comes before the first epoch (SEAL-static's loss-net) takes as many steps per epoch.
    """
    trainer = SealTrainer(config, dataset, device=device)
    times: list[float] = []
    before = 0.0
    while not times or (len(times) < TIMED_EPOCHS and sum(times) < ENOUGH_S):
        started = time.perf_counter()
        figures = trainer.run_epoch()
        epoch = TIMED_STEPS * config.batch_size / figures["samples_per_s"]
        if not times and config.variant == "static":  # a little validation counts here
            before = max(0.0, time.perf_counter() - started - epoch)
        times.append(epoch)
    epoch = statistics.median(times)
    return before + epoch * config.epochs, epoch


def smaller_trainings(config: TrainingConfig) -> Iterator[tuple[TrainingConfig, float]]:
    """Fewer and shorter clips of a net whose clips are long, and how much longer its own take.

    A processor takes minutes for one step of the full nets, and as much longer as there is more
    to lift; only the attention between frames grows faster. The clips given last are as long as
    the net's own, in case that an option needs them.
    """
    frames, options = config.data.frames, config.backbone_options
    if options.get("frames", frames) != frames or frames <= min(TIMED_FRAMES):
        return
    clips = min(config.batch_size, TIMED_CLIPS)
    energy = config.energy_poses or config.batch_size
    for fewer in (*(count for count in TIMED_FRAMES if count < frames), frames):
        data = {"frames": fewer, "clip_step": fewer}
        changed = {
            "backbone_options": {**options, "frames": fewer},
            "data": config.data.model_copy(update=data),
            "batch_size": clips,
            "accumulate": 1,
            "window_weight": 0.0,  # its windows may be longer, and cost next to nothing
        }
        if config.uses_energy:
            changed["energy_poses"] = max(1, energy * clips // config.batch_size)
        yield config.model_copy(update=changed), frames / fewer * config.batch_size / clips
