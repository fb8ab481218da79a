"""A Ray cluster of several nodes on this machine, parts of which can be killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tuner.adapters.ray_session import changed_environment

__all__ = ["KillableCluster"]

NODES = 2
OBJECT_STORE_BYTES = 150 * 1024 * 1024
_PROC = Path("/proc")

_NO_WORK = ("IDLE", "DashboardAgent", "RuntimeEnvAgent", "ShareBoard")


class KillableCluster:
    """A head without CPUs and two nodes of one CPU; runs come and go, the cluster stays.

    What a driver that was killed leaves in it is found by `leftovers`.
    """

    def __init__(self) -> None:
        # Ray's sockets need a short path; its note of a cluster is for others' `--address auto`
        self._folder = tempfile.mkdtemp(prefix="chaos", dir="/tmp")
        self._stack = contextlib.ExitStack()
        self._cluster: Any = None

    def __enter__(self) -> Self:
        with self._stack:
            settings = {"RAY_TMPDIR": self._folder, "RAY_USAGE_STATS_ENABLED": "0"}
            self._stack.enter_context(changed_environment(settings))
            self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            from ray.cluster_utils import Cluster

            head = {"num_cpus": 0, "include_dashboard": False}
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
            self._stack.callback(self._cluster.shutdown)
            for _ in range(NODES):
                self._add_node()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def address(self) -> str:
        """HOST:PORT for `--address`."""
        return str(self._cluster.address)

    def kill_worker(self, choice: float) -> bool:
        """SIGKILL a worker process that is at work; False if there is none."""
        workers = sorted(pid for raylet in self._raylets() for pid, _ in _busy(raylet))
        if not workers:
            return False
        os.kill(workers[int(choice * len(workers))], signal.SIGKILL)
        return True

    def replace_node(self, choice: float) -> None:
        """Take a node away without grace, and add a fresh one."""
        nodes = sorted(self._cluster.worker_nodes, key=lambda node: str(node.unique_id))
        self._cluster.remove_node(nodes[int(choice * len(nodes))], allow_graceful=False)
        self._add_node()

    def leftovers(self, *, patience_s: float = 30.0) -> tuple[str, ...]:
        """What still is at work, or held, when no driver is connected and time has passed."""
        deadline = time.monotonic() + patience_s
        while (found := self._held()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def _add_node(self) -> None:
        self._cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)

    def _raylets(self) -> list[int]:
        nodes = [self._cluster.head_node, *self._cluster.worker_nodes]
        return [node.all_processes["raylet"][0].process.pid for node in nodes]

    def _held(self) -> tuple[str, ...]:
        state = self._cluster.global_state
        groups = [
            f"placement group {name} is {group['state']}"
            for name, group in state.placement_group_table().items()
            if group["state"] != "REMOVED"
        ]
        actors = [
            f"actor {name} is {actor['State']}"
            for name, actor in state.actor_table(None).items()
            if actor["State"] != "DEAD"
        ]
        workers = [title for raylet in self._raylets() for _, title in _busy(raylet)]
        free = sum(node.get("CPU", 0.0) for node in state.available_resources_per_node().values())
        held = [f"{NODES - free:g} CPUs are held"] if free != NODES else []
        return (*groups, *actors, *workers, *held)


def _busy(raylet: int) -> Iterator[tuple[int, str]]:
    """Worker processes of a node that run something, with their titles."""
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, UnicodeDecodeError):  # it ended this moment
            continue
        if parent == raylet and title.startswith("ray::") and not _at_rest(title):
            yield int(entry.name), title


def _at_rest(title: str) -> bool:
    return any(title.startswith(f"ray::{name}") for name in _NO_WORK)
