"""Starting Ray on this machine, or joining a cluster, and leaving it as it was."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray._private.ray_logging import stdout_deduplicator
from ray._private.services import find_bootstrap_address

from tuner.adapters.ray_placement import Placement, Slot, check_placement, fitting
from tuner.adapters.ray_reaper import Reaper
from tuner.errors import ConfigurationError, RunnerError

__all__ = ["RaySession", "changed_environment"]

logger = logging.getLogger(__name__)

WORKER_ENVIRONMENT = {
    # since Ray 2.55 a worker without a GPU sees all of them, unless told otherwise
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
WITHHELD_PREFIXES = ("MLFLOW_", "OPTUNA_", "TUNER_", "PGPASS")
"""Variables that workers never see: only the driver talks to databases and tracking."""

_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_REACH_TIMEOUT_S = 5.0


@contextlib.contextmanager
def changed_environment(
    changes: Mapping[str, str], *, withheld: tuple[str, ...] = ()
) -> Iterator[None]:
    """Set environment variables, and hide those with certain prefixes, for a block."""
    hidden = [name for name in os.environ if withheld and name.startswith(withheld)]
    earlier = {name: os.environ.get(name) for name in {*changes, *hidden}}
    for name in hidden:
        del os.environ[name]
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class RaySession:
    """A connection to Ray, opened on first use.

    Args:
        address: `local` starts Ray on this machine for this process alone; `auto` joins the
            cluster that RAY_ADDRESS or `ray start` names, else does as `local`; anything else
            is the HOST:PORT of a cluster.
        num_cpus: CPUs that a locally started Ray may use; None for all.
        num_gpus: GPUs likewise.
    """

    def __init__(
        self, address: str = "auto", *, num_cpus: int | None = None, num_gpus: int | None = None
    ) -> None:
        self.address = address
        self._limits = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        self._opened = False
        self._reaper: Reaper | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Start or join Ray; does nothing if this process already is connected.

        Raises:
            ConfigurationError: If the address is of a kind that cannot be used.
            RunnerError: If the cluster cannot be reached.
        """
        _refuse_ray_client(self.address)
        if ray.is_initialized():
            return
        logging.getLogger("ray").setLevel(logging.ERROR)
        if self.address == "local":
            self._start_local()
        elif self.address == "auto":
            self._join_or_start()
        else:
            self._join(self.address)
        self._opened = True

    def close(self) -> None:
        """Stop a Ray that was started here; leave a cluster that was joined."""
        if self._opened:
            self._opened = False
            ray.shutdown()
        if self._reaper is not None:
            self._reaper.dismiss()
            self._reaper = None

    @property
    def private(self) -> bool:
        """Whether this Ray was started here, for this process alone."""
        return self._reaper is not None

    def fitting(self, slot: Slot, labels: Mapping[str, str]) -> int:
        """How many trials of that size fit at the same time, on nodes with these labels."""
        return fitting(slot, labels, ray.nodes())

    def check(self, placement: Placement) -> None:
        """See that a trial of each kind fits on some node.

        Raises:
            ConfigurationError: If not; it lists the nodes.
        """
        check_placement(placement, ray.nodes())

    def has_gpus(self) -> bool:
        """Whether any node has a GPU."""
        return any(node["Resources"].get("GPU", 0.0) > 0 for node in ray.nodes() if node["Alive"])

    def _start_local(self) -> None:
        limits = {name: value for name, value in self._limits.items() if value is not None}
        self._reaper = Reaper()
        _init("local", include_dashboard=False, **limits)
        _close_to_others(Path.home() / ".ray" / "auth_token")

    def _join_or_start(self) -> None:
        """Do what `auto` promises.

        Ray's own "auto" would also join the private Ray of any other process, and would try for
        minutes to reach a cluster that has ended without removing its note.
        """
        if os.environ.get("RAY_ADDRESS") or _JOB_VARIABLE in os.environ:
            self._join(os.environ.get("RAY_ADDRESS") or "auto")
            return
        noted = find_bootstrap_address(None)
        if noted is not None:
            try:
                _check_reachable(noted)
            except RunnerError as error:
                logger.warning("%s; starting Ray on this machine instead", error)
            else:
                # not the address itself: only so does Ray use its token by default
                self._join("auto")
                return
        self._start_local()

    def _join(self, address: str) -> None:
        if address != "auto":
            _check_reachable(address)
        _init(address, runtime_env=_worker_runtime_env())


def _refuse_ray_client(address: str) -> None:
    if address.startswith("ray://"):
        raise ConfigurationError(
            f"address {address!r} is of Ray Client, which cannot host a search; give the "
            "HOST:PORT that `ray start` printed, from a machine of that cluster, or use "
            "`tuner submit`"
        )


def _init(address: str, **options: Any) -> None:
    """Call `ray.init` quietly, with what workers must not see taken out of the environment."""
    environment = {**WORKER_ENVIRONMENT, "RAY_USAGE_STATS_ENABLED": "0"}
    with changed_environment(environment, withheld=WITHHELD_PREFIXES), _kept_sigterm():
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except (OSError, RuntimeError, ValueError) as error:
            text = str(error)
            first_line = (text.strip().splitlines() or [type(error).__name__])[0]
            hint = ""
            if address not in {"local", "auto"} and "RAY_AUTH_MODE" not in os.environ:
                hint = "; if the cluster asks for a token, set RAY_AUTH_MODE=token"
            where = "this machine" if address == "local" else address
            raise RunnerError(f"cannot use Ray at {where}: {first_line}{hint}") from error
    _silence_raylet()


@contextlib.contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Undo what `ray.init` does to the handler of an application that has one."""
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and earlier not in (None, signal.SIG_DFL):
            signal.signal(signal.SIGTERM, earlier)


def _silence_raylet() -> None:
    """Keep Ray from printing raylet messages (a worker died, …) to standard output.

    `log_to_driver=False` does not cover them, and Ray's variable for it is read only once, when
    ray is imported. Standard output belongs to the command line's JSON; what a message is about
    reaches us as the trial's failure.
    """
    stdout_deduplicator.skip_re = re.compile("")


def _worker_runtime_env() -> dict[str, Any]:
    """The workers' environment on a cluster; a job's own variables must not be repeated."""
    job = json.loads(os.environ.get(_JOB_VARIABLE) or "{}")
    taken = ((job.get("runtime_env") or {}).get("env_vars")) or {}
    return {"env_vars": {name: v for name, v in WORKER_ENVIRONMENT.items() if name not in taken}}


def _check_reachable(address: str) -> None:
    """Fail within seconds where Ray would try for a minute."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        raise ConfigurationError(
            f"address {address!r} is none of auto, local and HOST:PORT (usually HOST:6379)"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_TIMEOUT_S).close()
    except OSError as error:
        raise RunnerError(
            f"nothing answers at {address} ({error}); is Ray running there (`ray start --head`), "
            "and is the port that of its GCS (6379 unless chosen otherwise)?"
        ) from error


def _close_to_others(token: Path) -> None:
    """Make the token that Ray wrote, the key to this machine's clusters, readable only to us."""
    with contextlib.suppress(OSError):
        for path, mode in ((token, 0o600), (token.parent, 0o700)):
            found = path.stat()
            if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & 0o077:
                path.chmod(mode)
