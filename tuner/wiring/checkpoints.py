"""Where a search keeps its checkpoints, and where weights lie that it refers to."""

from __future__ import annotations

from pathlib import Path

from trainables.errors import CheckpointError
from trainables.storage import check_writable, file_exists, is_remote, open_storage
from tuner.errors import ConfigurationError
from tuner.greedy_config import GreedyConfig
from tuner.settings import Locations

__all__ = ["check_checkpoint_root", "checkpoint_root", "pretraining_root", "weights_now"]

_PRETRAININGS = "_pretrainings"  # no run can be called so


def checkpoint_root(config: GreedyConfig, locations: Locations, run: str) -> Path | str:
    """Where the checkpoints of a run lie: a folder, or a URI."""
    if config.checkpoint_root is None:
        return locations.run_folder(run) / "checkpoints"
    return _below(config.checkpoint_root, run)


def pretraining_root(config: GreedyConfig, locations: Locations) -> Path | str:
    """Where pre-trainings lie that a run's trials begin with: on all nodes, as checkpoints do."""
    if config.checkpoint_root is None:
        return locations.pretrainings
    return _below(config.checkpoint_root, _PRETRAININGS)


def check_checkpoint_root(config: GreedyConfig) -> None:
    """See that `--checkpoint-root`, if given, can be written and read back.

    Raises:
        ConfigurationError: If not; the message says what failed.
    """
    if config.checkpoint_root is None:
        return
    try:
        check_writable(config.checkpoint_root)
    except CheckpointError as error:
        raise ConfigurationError(f"--checkpoint-root {config.checkpoint_root}: {error}") from error


def weights_now(location: str, root: Path | str) -> str:
    """Where the best weights of a training lie.

    Args:
        location: Where they were written.
        root: Where the run keeps its checkpoints now: it may have moved since, or have trained
            the weights once more that another run had removed.
    """
    if file_exists(location):
        return location
    here = open_storage(root).location("/".join(location.split("/")[-2:]))
    return here if file_exists(here) else location


def _below(root: str, name: str) -> Path | str:
    return f"{root}/{name}" if is_remote(root) else Path(root) / name
