"""What the trials of a run hold, checked against the Ray that is to run them."""

from __future__ import annotations

from tuner.adapters.ray_placement import Placement, Slot
from tuner.adapters.ray_session import RaySession
from tuner.errors import ConfigurationError
from tuner.greedy_config import GreedyConfig

__all__ = ["STAGE_KEYS", "placement_of"]

STAGE_KEYS = ("lr_p", "lr_l", "alpha", "confirm", "check")
"""What `stage_resources` may name."""


def placement_of(config: GreedyConfig, session: RaySession) -> Placement:
    """Open Ray; say what trials hold, of which at least one must fit.

    Raises:
        ConfigurationError: If a stage has no such name, or a trial fits on no node.
        RunnerError: If Ray cannot be reached.
    """
    unknown = sorted(set(config.stage_resources) - set(STAGE_KEYS))
    if unknown:
        raise ConfigurationError(
            f"stage_resources names {', '.join(unknown)}; expected {', '.join(STAGE_KEYS)}"
        )
    session.open()
    gpus = config.gpus_per_trial
    gpus = float(session.has_gpus()) if gpus is None else gpus
    default = Slot(config.cpus_per_trial, gpus)
    stages = {
        key: Slot(
            default.cpus if given.cpus is None else given.cpus,
            default.gpus if given.gpus is None else given.gpus,
        )
        for key, given in config.stage_resources.items()
    }
    placement = Placement(default, stages, config.node_labels)
    faults = placement.faults()
    if faults:
        raise ConfigurationError.from_faults(faults)
    session.check(placement)
    return placement
