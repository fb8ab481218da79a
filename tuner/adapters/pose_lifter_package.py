"""What a registered model is made of, taken from `trainables`: weights and code."""

from __future__ import annotations

from pathlib import Path

import trainables.checkpoint
from trainables.checkpoint import CheckpointStore, load_checkpoint
from trainables.errors import CheckpointError

__all__ = ["code_folder", "extract_weights"]


def code_folder() -> Path:
    """The package of the nets, which travels with the model so that it runs anywhere."""
    return Path(trainables.checkpoint.__file__).parent


def extract_weights(checkpoint_path: Path | str, folder: Path) -> Path:
    """Copy the pose-net's weights out of a checkpoint; loss-net and optimizers stay behind.

    Args:
        checkpoint_path: Path or URI of a checkpoint of the trainer.
        folder: Where the copy goes.

    Returns:
        Path of the copy, a checkpoint whose state is `pose_net` alone.

    Raises:
        CheckpointError: If the checkpoint is missing, damaged, or holds no pose-net.
        ConnectionError: If its store cannot be reached.
    """
    try:
        checkpoint = load_checkpoint(checkpoint_path)
    except CheckpointError as error:
        if isinstance(error.__cause__, ConnectionError):  # a store that is down comes back
            raise error.__cause__ from error
        raise
    weights = {"pose_net": checkpoint.state.get("pose_net")}
    if weights["pose_net"] is None:
        held = ", ".join(sorted(checkpoint.state))
        raise CheckpointError(f"{checkpoint_path} holds no pose_net, only {held}")
    store = CheckpointStore(folder)
    return Path(store.save(checkpoint.meta["fingerprint"], "best", weights, dict(checkpoint.meta)))
