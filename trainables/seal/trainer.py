"""Training of a pose-net with a learned energy: the epoch loop."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch

from trainables.builders import build_backbone, build_loss_net, build_optimizers
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import CheckpointError, DataError
from trainables.seal.device_data import load_split
from trainables.seal.evaluate import evaluate_energies, evaluate_poses
from trainables.seal.monitor import StepMonitor, require_finite
from trainables.seal.step import AlternatingStep
from trainables.seeding import derive_seed, generator, isolated_rng, make_deterministic

__all__ = ["SealTrainer"]

_STATE_FORMAT = 1
_MIN_BATCH = 2  # batch norm has no variance of one pose
# where the energy terms are thinned out (`energy_poses`), so are validation energies
_ENERGY_BATCHES_IN_VALIDATION = 16


class SealTrainer:
    """Trains a pose-net, with or without a loss-net, epoch by epoch (Algorithm 1).

    Every random stream is derived from the seed by name (initialisation of each net, data order
    and dropout of each epoch), and none from the loss-net's presence. So the epoch number is
    the whole state of all streams, a restored training continues with the same bits on the
    same number of threads, and the pose-net of a baseline sees what SEAL's sees.

    Args:
        config: What to train.
        dataset: Data with splits `train` and `val`; its arrays are never written.
        device: Where to train.
        dtype: Floating-point type of nets and data.

    Raises:
        DataError: If a split is missing or has too few poses.
        TrainableError: If an option of a net does not fit it.
    """

    def __init__(
        self,
        config: TrainingConfig,
        dataset: PoseDataset,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        make_deterministic()
        self.config = config
        self.epoch = 0
        self.step = 0
        self._dataset = dataset
        self._device = device
        self._dtype = dtype
        self._train = load_split(dataset, "train", device=device, dtype=dtype)
        if len(self._train) < _MIN_BATCH:
            raise DataError(f"split 'train' of {dataset.name!r} has one pose; it needs two")
        self._val = load_split(
            dataset,
            config.select_on,
            device=device,
            dtype=dtype,
            limit=config.data.max_eval_poses,
        )
        skeleton = dataset.skeleton
        self.pose_net = build_backbone(config, skeleton).to(device, dtype)
        loss_net = build_loss_net(config, skeleton)
        self.loss_net = None if loss_net is None else loss_net.to(device, dtype)
        self._optimizers = build_optimizers(config, self.pose_net, self.loss_net)
        self._update = AlternatingStep(
            config,
            pose_net=self.pose_net,
            loss_net=self.loss_net,
            optimizers=self._optimizers,
        )

    def run_epoch(self) -> dict[str, float]:
        """Train one epoch and validate.

        Returns:
            `train_*`: means over the epoch's poses. `val_*`: on the validation split, or on its
            `max_eval_poses` evenly spaced poses. Energies with a loss-net only. `lr_p`, `lr_l`,
            `alpha`, `samples_per_s`, `epoch_s`, and on CUDA `peak_memory_mb`.

        Raises:
            NonFiniteError: If a loss or metric is NaN or infinite; the trainer is unusable then.
        """
        started = time.perf_counter()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        figures, poses, last_finite = self._train_epoch()
        trained_s = time.perf_counter() - started
        figures |= self._validate()
        require_finite(figures, epoch=self.epoch + 1, step=self.step, last_finite=last_finite)
        self.epoch += 1
        figures |= {"lr_p": self.config.lr_p, "alpha": self.config.alpha}
        if self.loss_net is not None and self.config.lr_l is not None:
            figures["lr_l"] = self.config.lr_l
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            figures["peak_memory_mb"] = peak / 2**20
        figures["samples_per_s"] = poses / trained_s
        figures["epoch_s"] = time.perf_counter() - started
        return figures

    def evaluate(self, split: str) -> dict[str, float]:
        """Measure the pose-net on all poses of a split.

        Args:
            split: `train`, `val` or `test`.

        Returns:
            `mpjpe_mm`, `p_mpjpe_mm`, `n_mpjpe_mm`, `lse`, `lle`, `bsle`: over all frames;
            `action_mpjpe_mm`: mean over base actions; `poses`; `segments_left_out`.

        Raises:
            DataError: If the data set has no such split.
            NonFiniteError: If a metric is NaN or infinite.
        """
        data = load_split(self._dataset, split, device=self._device, dtype=self._dtype)
        metrics = evaluate_poses(self.pose_net, data, self._dataset.skeleton)
        named = {f"{split}_{name}": value for name, value in metrics.items()}
        require_finite(named, epoch=self.epoch, step=self.step, last_finite={})
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Everything that a continuation needs, as a copy that later epochs leave alone.

        Nested dicts and lists of tensors, numbers and strings only. Random streams need no more
        than the epoch and the seed (see the class).
        """
        state = {
            "format": _STATE_FORMAT,
            "seed": self.config.seed,
            "epoch": self.epoch,
            "step": self.step,
        }
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return state | copy.deepcopy(parts)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; the state is copied.

        Raises:
            CheckpointError: If the state is of another format, seed or net.
        """
        for name, expected in (("format", _STATE_FORMAT), ("seed", self.config.seed)):
            if state.get(name) != expected:
                raise CheckpointError(
                    f"state has {name}={state.get(name)!r}, expected {expected!r}; "
                    "it belongs to another training"
                )
        parts = self._parts()
        if set(state) != {"format", "seed", "epoch", "step", *parts}:
            raise CheckpointError(
                f"state holds {', '.join(sorted(state))}; expected {', '.join(sorted(parts))} "
                "beside format, seed, epoch and step: it belongs to another training"
            )
        for name, part in parts.items():
            try:
                # optimizers would otherwise adopt, and later overwrite, the caller's tensors
                part.load_state_dict(copy.deepcopy(state[name]))
            except (KeyError, RuntimeError, TypeError, ValueError) as err:
                raise CheckpointError(f"state of {name} does not fit: {err}") from err
        self.epoch, self.step = int(state["epoch"]), int(state["step"])

    def _parts(self) -> dict[str, torch.nn.Module | torch.optim.Optimizer]:
        """The nets and optimizers by their names in a state."""
        parts: dict[str, torch.nn.Module | torch.optim.Optimizer] = {
            "pose_net": self.pose_net,
            "pose_optimizer": self._optimizers.pose_net,
        }
        if self.loss_net is not None and self._optimizers.loss_net is not None:
            parts |= {"loss_net": self.loss_net, "loss_optimizer": self._optimizers.loss_net}
        return parts

    def _train_epoch(self) -> tuple[dict[str, float], int, dict[str, float]]:
        """Run the steps of an epoch: mean figures, poses seen, figures of the last step."""
        epoch, seed = self.epoch + 1, self.config.seed
        self.pose_net.train()
        if self.loss_net is not None:
            self.loss_net.train()
        monitor = StepMonitor(epoch=epoch, first_step=self.step, device=self._device)
        poses = 0
        with isolated_rng(derive_seed(seed, "dropout", epoch), self._device):
            for batch in self._batches(epoch):
                poses_of_step = self._train.gather(batch)
                monitor.add(self._update(poses_of_step.x, poses_of_step.y), poses=len(batch))
                self.step += 1
                poses += len(batch)
        return monitor.compute(), poses, monitor.last_finite

    def _batches(self, epoch: int) -> list[torch.Tensor]:
        """Indices of the poses of each step, in the epoch's random order."""
        stream = generator(self.config.seed, "data_order", epoch)
        order = torch.randperm(len(self._train), generator=stream)
        batches = list(order.split(self.config.batch_size))
        if len(batches[-1]) < _MIN_BATCH:
            batches.pop()
        return [batch.to(self._device) for batch in batches[: self.config.steps_per_epoch]]

    def _validate(self) -> dict[str, float]:
        metrics = evaluate_poses(self.pose_net, self._val, self._dataset.skeleton)
        names = ("mpjpe_mm", "p_mpjpe_mm", "lse", "lle", "bsle")
        figures = {f"val_{name}": metrics[name] for name in names}
        if self.loss_net is not None:
            thinned = self.config.energy_poses
            count = None if thinned is None else thinned * _ENERGY_BATCHES_IN_VALIDATION
            seen = self._val.evenly(count)
            energies = evaluate_energies(self.pose_net, self.loss_net, seen)
            figures |= {f"val_{name}": value for name, value in energies.items()}
        return figures
