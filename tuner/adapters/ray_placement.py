"""What a trial holds, where it may run, and how many fit (no Ray in here)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.errors import ConfigurationError

__all__ = ["Placement", "Slot", "check_placement", "fitting"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Slot:
    """What a trial holds while it trains.

    Attributes:
        cpus: CPUs, more than 0.
        gpus: GPUs, or a fraction of one.
    """

    cpus: float = 1.0
    gpus: float = 0.0

    @property
    def resources(self) -> dict[str, float]:
        """Ray's names. Both are given: for an actor with a GPU alone Ray would add a CPU."""
        return {"CPU": self.cpus, "GPU": self.gpus}

    @property
    def devices(self) -> float:
        """Accelerators held, or CPUs where there are none."""
        return self.gpus or self.cpus

    @property
    def threads(self) -> int:
        """Threads of a trial: one for each whole CPU, and one at least."""
        return max(1, int(self.cpus + _ROUNDING))

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"


@dataclass(frozen=True)
class Placement:
    """What the trials of each stage hold, and the nodes that may run them.

    Attributes:
        slot: Of a stage that is not named.
        stages: Slots by the stage's key: its name, or what follows the number in it.
        labels: Labels that a node must have.
    """

    slot: Slot = field(default_factory=Slot)
    stages: Mapping[str, Slot] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def of(self, stage: str) -> Slot:
        """The slot of a stage's trials; `2-lr_l` finds `2-lr_l`, else `lr_l`.

        A later generation of the stage's study, `2-lr_l~2`, finds the same.
        """
        stage = stage.partition("~")[0]
        number, dash, key = stage.partition("-")
        key = key if dash and number.isdigit() else stage
        return self.stages.get(stage) or self.stages.get(key) or self.slot

    def faults(self) -> list[str]:
        """What makes no sense, one line each."""
        found = []
        for what, slot in self.slots().items():
            if slot.cpus <= 0:
                found.append(f"{what} holds {slot.cpus:g} CPUs; give more than 0")
            if slot.gpus < 0 or (slot.gpus > 1 and not float(slot.gpus).is_integer()):
                found.append(f"{what} holds {slot.gpus:g} GPUs; give 0, a part of 1, or 1, 2, …")
        return found

    def slots(self) -> dict[str, Slot]:
        """Every slot that may be asked for, by what asks for it."""
        return {"a trial": self.slot} | {
            f"a trial of stage {key}": slot for key, slot in self.stages.items()
        }


def fitting(slot: Slot, labels: Mapping[str, str], nodes: Iterable[Mapping[str, Any]]) -> int:
    """How many trials fit at once on the nodes that live and have the labels.

    Args:
        slot: What each holds.
        labels: What a node must have.
        nodes: As `ray.nodes()` describes them: `Alive`, `Resources`, `Labels`.
    """
    return sum(_on_node(slot, node["Resources"]) for node in _usable(labels, nodes))


def check_placement(placement: Placement, nodes: Iterable[Mapping[str, Any]]) -> None:
    """See that a trial of each kind fits on some node.

    Raises:
        ConfigurationError: If not; it lists the nodes.
    """
    known = [node for node in nodes if node["Alive"]]
    faults = [
        f"{what} needs {slot} on one node{_with_labels(placement.labels)}, but the nodes of this "
        f"Ray have: {_described(known)}; lower --cpus-per-trial, --gpus-per-trial or "
        "stage_resources, change node_labels, or use another --address"
        for what, slot in placement.slots().items()
        if fitting(slot, placement.labels, known) < 1
    ]
    if faults:
        raise ConfigurationError.from_faults(faults)


def _usable(
    labels: Mapping[str, str], nodes: Iterable[Mapping[str, Any]]
) -> Iterable[Mapping[str, Any]]:
    for node in nodes:
        has = node.get("Labels") or {}
        if node["Alive"] and all(has.get(name) == value for name, value in labels.items()):
            yield node


def _on_node(slot: Slot, has: Mapping[str, float]) -> int:
    counts = [int(has.get("CPU", 0.0) / slot.cpus + _ROUNDING)]
    if slot.gpus >= 1:
        counts.append(int(has.get("GPU", 0.0) / slot.gpus + _ROUNDING))
    elif slot.gpus > 0:
        # a part of a GPU lies on one GPU: two of 0.6 need two
        counts.append(int(has.get("GPU", 0.0)) * int(1.0 / slot.gpus + _ROUNDING))
    return min(counts)


def _with_labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return " with the labels " + ", ".join(f"{k}={v}" for k, v in sorted(labels.items()))


def _described(nodes: Iterable[Mapping[str, Any]]) -> str:
    return "; ".join(_node(node) for node in nodes) or "nothing"


def _node(node: Mapping[str, Any]) -> str:
    has = node["Resources"]
    labels = {
        name: value
        for name, value in (node.get("Labels") or {}).items()
        if name != "ray.io/node-id"
    }
    text = f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs"
    shown = ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return f"{text} ({shown})" if shown else text
