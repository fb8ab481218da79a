"""Driving a run: its lease, and a study store that outlives outages and stops with the lease."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tuner.adapters.database_leases import DatabaseLeases
from tuner.adapters.file_leases import FileLeases
from tuner.adapters.optuna_storage import JOURNAL_PREFIX
from tuner.adapters.optuna_store import OptunaStudyStore
from tuner.adapters.ray_signals import pending_signal
from tuner.fenced import FencedStore
from tuner.lease import Lease, LeaseTable, take_lease
from tuner.lease_holder import this_process
from tuner.patient_store import PatientStore
from tuner.ports import EngineListener, StudyStore
from tuner.settings import Locations

__all__ = ["DRIVER_ATTEMPT", "Driving", "driving", "lease_table"]

DRIVER_ATTEMPT = "driver_attempt"
"""Attribute of the first study: how many drivers have worked on the run."""


@dataclass(frozen=True)
class Driving:
    """What a run's one driver works with.

    Attributes:
        store: The study store, to be used in place of the bare one.
        lease: The run's lease.
    """

    store: StudyStore
    lease: Lease


@contextmanager
def driving(
    locations: Locations,
    run: str,
    store: StudyStore,
    listener: EngineListener,
    *,
    patience_s: float,
) -> Iterator[Driving]:
    """Be a run's one driver, wherever others are, for the length of the block.

    Args:
        locations: Where the study store is.
        run: Name of the run.
        store: The opened study store.
        listener: Told of waiting and of outages.
        patience_s: How long the study store may be away, seconds.

    Raises:
        ConfigurationError: If another driver has the run.
        LeaseLostError: In the block, before a write, if another driver took the run over.
        StoreUnreachableError: If the study store was away for too long.
    """
    table = lease_table(locations.storage)
    lease = take_lease(table, run, this_process(), say=listener.on_message)
    if isinstance(store, OptunaStudyStore):
        store.guard_writes(lease.held)
    fenced = FencedStore(store, lease)
    patient = PatientStore(
        fenced, patience_s=patience_s, say=listener.on_message, stop_signal=pending_signal
    )
    try:
        yield Driving(patient, lease)
    finally:
        lease.release()


def lease_table(storage: str) -> LeaseTable:
    """Where the leases of a study store lie: in its database, or beside its journal.

    Raises:
        StoreError: If the database cannot be used.
    """
    if storage.startswith(JOURNAL_PREFIX):
        return FileLeases(Path(f"{storage.removeprefix(JOURNAL_PREFIX)}.leases"))
    return DatabaseLeases(storage)
