"""Asking every node that may get trials whether it has what they need."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuner.adapters.ray_placement import Placement, fitting

__all__ = ["ask_nodes"]

logger = logging.getLogger(__name__)

_PATIENCE_S = 120.0
"""How long nodes may take: a process is started on each, and may wait for a far storage."""


def ask_nodes(
    ask: Callable[..., str | None], arguments: tuple[Any, ...], placement: Placement
) -> dict[str, str]:
    """Call a function on each node on which a trial fits, at the same time.

    A node that is lost meanwhile is passed over: what it would have said matters no more.

    Args:
        ask: Importable on the nodes; returns what is wrong there, or None.
        arguments: What it is given.
        placement: What trials hold, and on which nodes.

    Returns:
        What is wrong, by the names of the nodes; empty if nothing is.
    """
    task = ray.remote(num_cpus=0, max_retries=0)(ask)
    futures = {}
    for node in ray.nodes():
        slots = placement.slots().values()
        if any(fitting(slot, placement.labels, [node]) for slot in slots):
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            futures[_name(node)] = task.options(scheduling_strategy=strategy).remote(*arguments)
    if not futures:
        return {}
    done, _ = ray.wait(
        list(futures.values()), num_returns=len(futures), timeout=_PATIENCE_S, fetch_local=True
    )
    answers = {
        name: _answer(name, future) if future in done else f"no answer within {_PATIENCE_S:g} s"
        for name, future in futures.items()
    }
    return {name: fault for name, fault in answers.items() if fault is not None}


def _answer(name: str, future: Any) -> str | None:
    try:
        fault: str | None = ray.get(future)
    except RayTaskError as error:
        cause = error.cause
        return f"{type(cause).__name__}: {' '.join(str(cause).split())}"
    except RayError as error:
        logger.warning("%s could not be asked: %s", name, " ".join(str(error).split()))
        return None
    return fault


def _name(node: Mapping[str, Any]) -> str:
    host, name = node["NodeManagerHostname"], node.get("NodeName") or node["NodeManagerAddress"]
    return f"node {host} ({name}, {node['NodeID'][:8]})"
