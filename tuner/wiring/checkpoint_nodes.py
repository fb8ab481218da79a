"""Whether all nodes of a cluster that may get trials use one store of checkpoints."""

from __future__ import annotations

import secrets

from trainables.storage import check_shared, is_remote, open_storage, write_fault
from tuner.adapters.ray_nodes import ask_nodes
from tuner.adapters.ray_placement import Placement
from tuner.adapters.ray_session import RaySession
from tuner.errors import ConfigurationError
from tuner.greedy_config import GreedyConfig
from tuner.settings import Locations
from tuner.wiring.checkpoints import checkpoint_root

__all__ = ["check_root_on_nodes"]


def check_root_on_nodes(
    config: GreedyConfig, locations: Locations, session: RaySession, placement: Placement
) -> None:
    """See that every node of a joined cluster that may get trials sees and writes one root.

    A Ray that this process started has this process' environment and folders, and is not asked.

    Args:
        config: What was asked for.
        locations: Where everything is kept.
        session: The connection to Ray, open.
        placement: What trials hold, and on which nodes.

    Raises:
        ConfigurationError: If not; the message names the nodes and what is wrong on each.
    """
    if session.private:
        return
    root = checkpoint_root(config, locations, config.run_name)
    root = root if isinstance(root, str) else str(root.resolve())
    storage, name = open_storage(root), f".seen-{secrets.token_hex(8)}"
    content = secrets.token_bytes(32)
    try:
        storage.write(name, content)
        try:
            faults = ask_nodes(check_shared, (root, name, content), placement)
        finally:
            storage.delete(name)
    except OSError as error:
        raise ConfigurationError(str(write_fault(storage.location(name), error))) from error
    if faults:
        cure = (
            "every node needs the variables of the store (AWS_ACCESS_KEY_ID, …) when its Ray is "
            "started"
            if is_remote(root)
            else "give --home, or --checkpoint-root, on storage that all nodes share and may "
            "write, or s3://BUCKET/PREFIX"
        )
        told = "; ".join(f"{node}: {fault}" for node, fault in sorted(faults.items()))
        raise ConfigurationError(f"checkpoints at {root} cannot be used by {told}; {cure}")
