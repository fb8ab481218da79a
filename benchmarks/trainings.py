"""Trainings of a benchmark in worker processes, each kept in a file once it is done."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.config import DataConfig, TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.data.loading import load_dataset
from trainables.errors import NonFiniteError
from trainables.seal.device_data import load_split
from trainables.seal.lifting import Lifting, lift_split
from trainables.seal.trainer import SealTrainer
from tuner.records import TRAINING_VERSION, digest
from tuner.settings import data_cache

__all__ = [
    "NOISE_MM",
    "Trainings",
    "arguments_parser",
    "machine",
    "mean_pose_mpjpe_mm",
    "open_trainings",
]

NOISE_MM = (5.0, 10.0, 20.0, 40.0, 80.0)
ENERGY_POSES = 2000
EVAL_POSES = 4000

_dataset: PoseDataset | None = None


def mean_pose_mpjpe_mm(config: DataConfig, data_dir: Path | None) -> float:
    """MPJPE on test of a constant, the training split's mean pose."""
    splits = load_dataset(config, data_dir, cache=data_cache()).splits
    mean = splits["train"].y.mean(axis=0, dtype=np.float64)
    distances_m = np.linalg.norm(splits["test"].y - mean, axis=-1)
    return 1000.0 * float(distances_m.mean())


class Trainings:
    """Trains configurations on Human3.6M-formatted data, and keeps what came out.

    Args:
        pool: Worker processes.
        data_dir: Folder of the data.
        work: Folder of the results.
    """

    def __init__(self, pool: ProcessPoolExecutor, data_dir: Path, work: Path) -> None:
        self._pool = pool
        self._data_dir = data_dir.resolve()
        dataset = load_dataset(DataConfig(name="h36m"), self._data_dir, cache=data_cache())
        self._data = DataConfig(
            name="h36m", content_hash=dataset.content_hash(), max_eval_poses=EVAL_POSES
        )
        self._work = work
        work.mkdir(parents=True, exist_ok=True)

    def configuration(
        self, fields: Mapping[str, Any], *, seed: int, epochs: int
    ) -> TrainingConfig:
        """What is trained: fields, those of `data` beside where the data come from."""
        data = {**self._data.model_dump(), **fields.get("data", {})}
        return TrainingConfig(**{**fields, "seed": seed, "epochs": epochs, "data": data})

    def run(self, configs: list[TrainingConfig]) -> list[dict[str, Any]]:
        """Results in order; only what is not kept is trained."""
        wanted = {self._path(config): config for config in configs}
        tasks = [
            self._pool.submit(
                _train, config.model_dump(mode="json"), str(self._data_dir), str(path)
            )
            for path, config in wanted.items()
            if not path.exists()
        ]
        for done, task in enumerate(tasks, start=1):
            print(f"{done}/{len(tasks)} {task.result()}", file=sys.stderr, flush=True)
        return [json.loads(self._path(config).read_text()) for config in configs]

    def _path(self, config: TrainingConfig) -> Path:
        fields = [config.model_dump(mode="json"), TRAINING_VERSION, torch.__version__]
        return self._work / f"{digest(fields)[:16]}.json"


@contextmanager
def open_trainings(data_dir: Path, work: Path, *, workers: int) -> Iterator[Trainings]:
    """Start the worker processes, one thread each."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start) as pool:
        yield Trainings(pool, data_dir, work)


def arguments_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all these benchmarks have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="Human3.6M-formatted files")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10, help="of 125 steps")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", type=Path, default=Path("benchmark-trainings"))
    parser.add_argument("--json", action="store_true")
    return parser


def machine(workers: int) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "workers": workers,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _start() -> None:
    torch.set_num_threads(1)


def _train(fields: dict[str, Any], data_dir: str, path: str) -> str:
    """Train one configuration in a worker process, and keep what came out."""
    global _dataset
    config = TrainingConfig(**fields)
    if _dataset is None:
        _dataset = load_dataset(config.data, Path(data_dir), cache=data_cache())
    try:
        result = _result(SealTrainer(config, _dataset, device=torch.device("cpu")), _dataset)
    except NonFiniteError as error:
        result = {"val_mpjpe_mm": math.inf, "invalid": str(error)}
    result["configuration"] = fields
    temporary = Path(path).with_suffix(".part")
    temporary.write_text(json.dumps(result))
    temporary.replace(path)
    best = result["val_mpjpe_mm"]
    return f"{config.backbone} {config.loss_net} {config.input} {config.alpha} {best:.2f} mm"


def _result(trainer: SealTrainer, dataset: PoseDataset) -> dict[str, Any]:
    """Train to the end, and measure the epoch with the lowest validation MPJPE."""
    history, best, state = [], math.inf, trainer.state_dict()
    for _ in range(trainer.config.epochs):
        figures = trainer.run_epoch()
        history.append(figures)
        if figures["val_mpjpe_mm"] < best:
            best, state = figures["val_mpjpe_mm"], trainer.state_dict()
    trainer.load_state_dict(state)
    return {
        "val_mpjpe_mm": best,
        "best_epoch": int(state["epoch"]),
        "test": trainer.evaluate("test"),
        "history": history,
        "energy": _energies(trainer, dataset),
    }


@torch.no_grad()
def _energies(trainer: SealTrainer, dataset: PoseDataset) -> dict[str, Any] | None:
    """Mean energies on test poses: truth, prediction, and truth with noise."""
    if trainer.loss_net is None:
        return None
    pose_net, loss_net = trainer.pose_net.eval(), trainer.loss_net.eval()
    lifted = lift_split(
        pose_net,
        load_split(dataset, "test", device=torch.device("cpu"), dtype=torch.float32),
        dataset.skeleton,
        Lifting(zero_root=trainer.config.zero_root),
        batch_size=ENERGY_POSES,
        limit=ENERGY_POSES,
    )
    parts = [(part.poses.x, part.poses.y, part.pred.unsqueeze(1)) for part in lifted]
    x, y, pred = (torch.cat(found) for found in zip(*parts, strict=True))
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)) / 1000.0
    noise[:, :, dataset.skeleton.root] = 0.0  # the truth is relative to the root
    energy_true, energy_pred = loss_net(x, y), loss_net(x, pred)
    noisy = {f"{mm:g}": loss_net(x, y + mm * noise).mean().item() for mm in NOISE_MM}
    return {
        "truth": energy_true.mean().item(),
        "pred": energy_pred.mean().item(),
        "ordered_percent": 100.0 * (energy_true < energy_pred).float().mean().item(),
        "noisy": noisy,
    }
