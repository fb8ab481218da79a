"""Training of a pose-net with a learned energy: the epoch loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

import torch

from trainables.backbones.pstmo import PSTMO
from trainables.builders import build_backbone, build_loss_net, build_optimizers
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import CheckpointError, NonFiniteError
from trainables.seal.batches import Batch, TrainingBatches, run_steps
from trainables.seal.device_data import load_split
from trainables.seal.evaluate import evaluate_energies, evaluate_poses, report_split
from trainables.seal.lifting import final_lifting, validation_lifting, window_of
from trainables.seal.monitor import StepMonitor, require_finite
from trainables.seal.pretraining import pretrained_state
from trainables.seal.static import fit_loss_net
from trainables.seal.step import AlternatingStep
from trainables.seeding import make_deterministic

__all__ = ["SealTrainer"]

_STATE_FORMAT = 1
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
        pretrained: State that `pretrained_state` gave for this configuration; None pre-trains
            before the first epoch, if the configuration asks for it, and keeps nothing of it.

    Raises:
        CheckpointError: If `pretrained` is of another net.
        DataError: If a split is missing or has too few poses, or cameras are needed and unknown.
        TrainableError: If an option of a net does not fit it.
    """

    def __init__(
        self,
        config: TrainingConfig,
        dataset: PoseDataset,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        pretrained: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        make_deterministic()
        self.config = config
        self.epoch = 0
        self.step = 0
        self._dataset = dataset
        self._device = device
        self._dtype = dtype
        skeleton = dataset.skeleton
        self.pose_net = build_backbone(config, skeleton).to(device, dtype)
        window = window_of(self.pose_net)
        # single frames are validated one by one, whatever the length of the training's clips
        self._lifted_per_clip = 1 if window.frames == 1 else window.outputs(config.data.frames)
        self._train = TrainingBatches(config, dataset, window=window, device=device, dtype=dtype)
        self._val = load_split(
            dataset,
            config.select_on,
            device=device,
            dtype=dtype,
            # the neighbours of the poses to measure are needed where a net looks at them
            limit=config.data.max_eval_poses if window.frames == 1 else None,
        )
        loss_net = build_loss_net(config, skeleton)
        self.loss_net = None if loss_net is None else loss_net.to(device, dtype)
        self._optimizers = build_optimizers(config, self.pose_net, self.loss_net)
        self._update = AlternatingStep(
            config,
            skeleton=skeleton,
            pose_net=self.pose_net,
            loss_net=self.loss_net,
            optimizers=self._optimizers,
        )
        self._pretrained = pretrained
        self._take_over_pretraining()

    def run_epoch(self) -> dict[str, float]:
        """Train one epoch and validate.

        Returns:
            `train_*`: means over the epoch's poses. `val_*`: on the validation split, or on its
            `max_eval_poses` evenly spaced poses. Energies with a loss-net only. `static_*`: of
            SEAL-static's loss-net, in the first epoch, before which it is fitted. `lr_p`, `lr_l`,
            `alpha`, `samples_per_s`, `epoch_s`, and on CUDA `peak_memory_mb`.

        Raises:
            NonFiniteError: If a loss or metric is NaN or infinite; the trainer is unusable then.
        """
        started = time.perf_counter()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._pretrain_if_needed()
        beforehand = {}
        if self.epoch == 0 and self.loss_net is not None and self.config.variant == "static":
            beforehand = self._fit_static_loss_net(self.loss_net)
        training_since = time.perf_counter()
        figures, clips, last_finite = self._train_epoch(self.epoch + 1)
        trained_s = time.perf_counter() - training_since
        figures |= beforehand | self._validate()
        require_finite(figures, epoch=self.epoch + 1, step=self.step, last_finite=last_finite)
        self.epoch += 1
        self._pretrained = None  # what it was needed for is done
        figures |= {"lr_p": self._pose_rate(self.epoch), "alpha": self.config.alpha}
        if self.loss_net is not None and self.config.lr_l is not None:
            figures["lr_l"] = self.config.lr_l
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            figures["peak_memory_mb"] = peak / 2**20
        figures["samples_per_s"] = clips / trained_s
        figures["epoch_s"] = time.perf_counter() - started
        return figures

    def evaluate(self, split: str) -> dict[str, float]:
        """Measure the pose-net on all poses of a split.

        Args:
            split: `train`, `val` or `test`.

        Returns:
            Figures by name, those of `PoseMetrics.compute` with detail.

        Raises:
            DataError: If the data set has no such split.
            NonFiniteError: If a metric is NaN or infinite.
        """
        report = report_split(
            self.pose_net,
            self._dataset,
            split,
            final_lifting(self.config),
            device=self._device,
            dtype=self._dtype,
        )
        metrics = dict(report.figures)
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
        parts: dict[str, torch.nn.Module | torch.optim.Optimizer | None] = {
            "pose_net": self.pose_net,
            "pose_optimizer": self._optimizers.pose_net,
            "loss_net": self.loss_net,
            "loss_optimizer": self._optimizers.loss_net,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _pretrain_if_needed(self) -> None:
        """Pre-train for the first epoch, if asked for and not done elsewhere."""
        if self.epoch == 0 and self.config.pretraining.epochs > 0 and self._pretrained is None:
            self._pretrained = pretrained_state(
                self.config, self._dataset, store=None, device=self._device, dtype=self._dtype
            )
            self._take_over_pretraining()

    def _take_over_pretraining(self) -> None:
        if self._pretrained is not None and isinstance(self.pose_net, PSTMO):
            self.pose_net.load_pretrained(self._pretrained)

    def _fit_static_loss_net(self, loss_net: torch.nn.Module) -> dict[str, float]:
        """Train the loss-net against this training's own baseline, `static_epochs` each."""
        teacher = SealTrainer(
            self.config.without_loss_net(),
            self._dataset,
            device=self._device,
            dtype=self._dtype,
            pretrained=self._pretrained,
        )
        for epoch in range(1, self.config.static_epochs + 1):
            try:
                teacher._train_epoch(epoch)
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"{error.what} of the static loss-net's pose-net",
                    epoch=error.epoch,
                    step=error.step,
                    last_finite=error.last_finite,
                ) from error
        return fit_loss_net(
            self.config,
            pose_net=teacher.pose_net,
            loss_net=loss_net,
            batches=self._train,
            device=self._device,
        )

    def _train_epoch(self, epoch: int) -> tuple[dict[str, float], int, dict[str, float]]:
        """Run the steps of an epoch: mean figures, clips seen, figures of the last step."""
        self.pose_net.train()
        if self.loss_net is not None:
            self.loss_net.train()
        for group in self._optimizers.pose_net.param_groups:
            group["lr"] = self._pose_rate(epoch)
        monitor = StepMonitor(epoch=epoch, first_step=self.step, device=self._device)
        clips = run_steps(
            self._train.epoch("data_order", epoch),
            self._step,
            monitor,
            seed=self.config.seed,
            names=(epoch,),
            device=self._device,
        )
        return monitor.compute(), clips, monitor.last_finite

    def _pose_rate(self, epoch: int) -> float:
        """Learning rate of φ in an epoch, from 1."""
        return self.config.lr_p * self.config.lr_decay ** (epoch - 1)

    def _step(self, batch: Batch, stream: torch.Generator) -> dict[str, torch.Tensor]:
        self.step += 1
        return self._update(batch.x, batch.y, views=batch.views, stream=stream)

    def _validate(self) -> dict[str, float]:
        skeleton, lifting = self._dataset.skeleton, validation_lifting(self.config)
        limit = self.config.data.max_eval_poses
        metrics = evaluate_poses(self.pose_net, self._val, skeleton, lifting, limit=limit)
        names = ("mpjpe_mm", "p_mpjpe_mm", "lse", "lle", "bsle")
        figures = {f"val_{name}": metrics[name] for name in names}
        if self.loss_net is not None:
            thinned = self.config.energy_poses
            if thinned is not None:
                poses = thinned * self._lifted_per_clip * _ENERGY_BATCHES_IN_VALIDATION
                limit = min(limit or len(self._val), poses)
            energies = evaluate_energies(
                self.pose_net, self.loss_net, self._val, skeleton, lifting, limit=limit
            )
            figures |= {f"val_{name}": value for name, value in energies.items()}
        return figures
