"""One net in a process of its own: `python -m benchmarks.one_step CASE`, CASE in JSON.

Prints memory and time of a forward pass and of a training step, in JSON. On the CPU memory is
the process's own at its highest, less what it had after the imports and a step of a tiny net,
which loads libraries; on CUDA it is what torch had allocated at the most.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from trainables.backbones import BACKBONES
from trainables.builders import build_backbone, build_loss_net, build_optimizers
from trainables.config import BackboneName, TrainingConfig
from trainables.seal.step import AlternatingStep
from trainables.skeletons import H36M_17

__all__ = ["Case"]

_MIB = 2**20
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        backbone: The net, in its paper's size.
        clips: Clips of its paper's length, or poses.
        energy: Whether a graph loss-net of the paper's size takes part.
        options: Fields of the configuration that save memory.
        device: `cpu` or `cuda`.
        threads: Threads of torch; None leaves them alone.
        repetitions: How often time is taken.
    """

    backbone: BackboneName
    clips: int
    energy: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    threads: int | None = None
    repetitions: int = 1


TINY = Case(
    backbone="mixste",
    clips=2,
    energy=True,
    options={
        "backbone_options": {"frames": 9, "width": 16, "depth": 1},
        "loss_net_options": {"width": 16, "depth": 1},
        "data": {"frames": 9},
    },
)


def main(case: Case) -> None:
    """Measure, and print a JSON object."""
    if case.threads is not None:
        torch.set_num_threads(case.threads)
    device = torch.device(case.device)
    _measure(TINY, device, before_mib=0.0)
    before_mib = 0.0 if device.type == "cuda" else _status_mib("VmRSS")
    print(json.dumps({**asdict(case), **_measure(case, device, before_mib=before_mib)}))


def _measure(case: Case, device: torch.device, *, before_mib: float) -> dict[str, Any]:
    config = _configuration(case)
    pose_net, loss_net = build_backbone(config, H36M_17), build_loss_net(config, H36M_17)
    nets = [net.to(device) for net in (pose_net, loss_net) if net is not None]
    x, y = (
        0.3 * torch.randn(case.clips, config.data.frames, H36M_17.num_joints, size).to(device)
        for size in (2, 3)
    )
    measure = _Measure(device, before_mib, case.repetitions)
    with torch.no_grad():
        pose_net.eval()
        forward = measure(lambda: pose_net(x))
    optimizers = build_optimizers(config, pose_net, loss_net)
    for optimizer in (optimizers.pose_net, optimizers.loss_net):
        if optimizer is not None:
            _prepare(optimizer)
    step = AlternatingStep(
        config,
        skeleton=H36M_17,
        pose_net=pose_net.train(),
        loss_net=loss_net,
        optimizers=optimizers,
    )
    training = measure(lambda: step(x, y))
    sizes = [parameter.numel() for net in nets for parameter in net.parameters()]
    # weight, gradient, and Adam's two moments or AMSGrad's three
    copies = 5 if config.optimizer == "amsgrad" else 4
    weights_mib = copies * 4 * sum(sizes) / _MIB
    return {
        **{f"forward_{name}": value for name, value in forward.items()},
        **{f"step_{name}": value for name, value in training.items()},
        "weights_mib": weights_mib,
        "step_mib_per_clip": (training["mib"] - weights_mib) / case.clips,
        "frames": config.data.frames,
    }


def _prepare(optimizer: Optimizer) -> None:
    """Let its moments be there, as they are in every step but the first."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class _Measure:
    """Takes time and memory of something that is done again and again."""

    def __init__(self, device: torch.device, before_mib: float, repetitions: int) -> None:
        self._device = device
        self._before_mib = before_mib
        self._repetitions = repetitions

    def __call__(self, work: Callable[[], object]) -> dict[str, float]:
        """Do it: median seconds, of the processor as well, and the highest memory in MiB."""
        cuda = self._device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            _FORGET.write_text("5", encoding="ascii")  # the highest so far
        times = [self._times(work) for _ in range(self._repetitions)]
        if cuda:
            highest_mib = torch.cuda.max_memory_allocated(self._device) / _MIB
        else:
            highest_mib = _status_mib("VmHWM")
        wall, processor = zip(*times, strict=True)
        return {
            "s": statistics.median(wall),
            "processor_s": statistics.median(processor),
            "mib": highest_mib - self._before_mib,
        }

    def _times(self, work: Callable[[], object]) -> tuple[float, float]:
        """By the clock, and of the processor, which other processes do not lengthen as much."""
        self._wait()
        started = time.perf_counter(), time.process_time()
        work()
        self._wait()
        return time.perf_counter() - started[0], time.process_time() - started[1]

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _configuration(case: Case) -> TrainingConfig:
    """The authors' recipe, as far as it belongs to a step."""
    recipe = BACKBONES[case.backbone].recipe
    energy = {"loss_net": "graph", "lr_l": 1e-4, "alpha": 5e-3, "pose_loss": "backbone"}
    alone = {"loss_net": "none", "pose_loss": "backbone"}
    return TrainingConfig(
        **{
            **recipe.fields,
            **(energy if case.energy else alone),
            **case.options,
            "backbone": case.backbone,
            "lr_p": recipe.lr_p,
        }
    )


def _status_mib(name: str) -> float:
    """A figure of this process's memory."""
    (kib,) = re.findall(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text("ascii"), re.MULTILINE)
    return int(kib) / 1024


if __name__ == "__main__":
    main(Case(**json.loads(sys.argv[1])))
