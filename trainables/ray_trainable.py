"""SEAL-pose training as a Ray Tune trainable; the only file here that imports ray."""

from __future__ import annotations

import gc
from typing import Any

import ray
import torch
from ray import tune

from trainables.best_nets import evaluate_checkpoint, restore_best
from trainables.checkpoint import CheckpointStore
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import NonFiniteError, TrainableError
from trainables.seal.pretraining import PretrainingWatch, pretrain
from trainables.trial_run import TrialRun, choose_device

__all__ = ["SealTrainable"]


class SealTrainable(tune.Trainable):
    """One trial: each `step` is an epoch, reported as `TrialRun.step` describes.

    The configuration holds `training` (what `TrainingConfig` reads), `fingerprint`,
    `checkpoint_root` (a folder or `s3://…`), `pretraining_root` (of pre-trainings,
    `checkpoint_root` by default), `threads` (torch's, 1 by default) and `device` (`auto`, `cpu`,
    `cuda`). The data set is given once, with `tune.with_parameters(SealTrainable, dataset=...)`,
    and mapped from Ray's object store without a copy.

    Checkpoints are our own, by fingerprint (`TrialRun`); Ray's are to be off. A worker is used
    for one trial after another: nothing of a trial is kept, and nothing is built before the
    first step, because Tune does not retry a trial that fails while its worker is reset.
    """

    def setup(self, config: dict[str, Any], dataset: PoseDataset | None = None) -> None:
        """Keep the data set, and get ready for the first trial."""
        if dataset is None:
            raise ValueError(
                "SealTrainable has no data set; use tune.with_parameters(SealTrainable, "
                "dataset=...)"
            )
        self._dataset: PoseDataset = dataset
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Forget the trial before; the next one starts as in a fresh process."""
        self._settings = new_config
        self._run: TrialRun | None = None
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch; see `TrialRun.step`."""
        if self._run is None:
            self._run = self._build()
        return self._run.step()

    def cleanup(self) -> None:
        """Let go of nets and data."""
        self._run = None

    @staticmethod
    def evaluate_checkpoint(
        config: dict[str, Any], checkpoint: str, split: str, dataset: PoseDataset
    ) -> dict[str, Any]:
        """Measure a checkpoint on a split; to be run as a Ray task.

        Args:
            config: As of a trial.
            checkpoint: Where it lies, or lay. Where there is none (any more), the run's own is
                taken; where that is lost, it is trained once more.
            split: `train`, `val` or `test`.
            dataset: The data.

        Returns:
            `metrics`, what `SealTrainer.evaluate` returns, and `notes`, what the user has to know
            of the checkpoint.

        Raises:
            TrainableError: If checkpoint or data cannot be used.
        """
        torch.set_num_threads(int(config.get("threads", 1)))
        training = TrainingConfig.model_validate(config["training"])
        fingerprint, device = config["fingerprint"], _device(config)
        restored = restore_best(
            training,
            dataset,
            store=CheckpointStore(config["checkpoint_root"]),
            pretrainings=_pretrainings(config),
            fingerprint=fingerprint,
            device=device,
            elsewhere=checkpoint,
        )
        metrics = evaluate_checkpoint(
            training,
            dataset,
            checkpoint=restored.location,
            fingerprint=fingerprint,
            split=split,
            device=device,
        )
        return {"metrics": metrics, "notes": list(restored.notes)}

    @staticmethod
    def pretrain(config: dict[str, Any], dataset: PoseDataset) -> dict[str, Any]:
        """Pre-train what a trial's pose-net begins with; to be run as a Ray task.

        Args:
            config: As of a trial.
            dataset: The data.

        Returns:
            What `Pretrained.summary` returns.

        Raises:
            TrainableError: If data or configuration cannot be used, or the loss is not finite.
        """
        torch.set_num_threads(int(config.get("threads", 1)))
        training = TrainingConfig.model_validate(config["training"])
        store, device = _pretrainings(config), _device(config)
        try:
            return pretrain(training, dataset, store=store, device=device).summary()
        except NonFiniteError as error:
            raise TrainableError(f"{error}; try a lower pretraining.lr") from error

    @staticmethod
    def watch_pretraining(config: dict[str, Any]) -> PretrainingWatch:
        """Watch that task from another process; `config` is the task's."""
        training = TrainingConfig.model_validate(config["training"])
        return PretrainingWatch(training, _pretrainings(config))

    def _build(self) -> TrialRun:
        torch.set_num_threads(int(self._settings.get("threads", 1)))
        device, held = _device(self._settings), self._devices_held()
        if device.type == "cuda" and held < 1.0:
            # the others of this GPU keep their part: Ray only counts
            torch.cuda.set_per_process_memory_fraction(held)
        return TrialRun(
            TrainingConfig.model_validate(self._settings["training"]),
            self._dataset,
            store=CheckpointStore(self._settings["checkpoint_root"]),
            pretrainings=_pretrainings(self._settings),
            fingerprint=self._settings["fingerprint"],
            device=device,
            devices=held,
        )

    def _devices_held(self) -> float:
        resources = self.trial_resources
        held = resources.required_resources if resources is not None else {}
        return float(held.get("GPU", 0.0) or held.get("CPU", 0.0) or 1.0)


def _pretrainings(settings: dict[str, Any]) -> CheckpointStore:
    return CheckpointStore(settings.get("pretraining_root", settings["checkpoint_root"]))


def _device(settings: dict[str, Any]) -> torch.device:
    assigned = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return choose_device(settings.get("device", "auto"), has_gpu=bool(assigned))
