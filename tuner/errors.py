"""Errors of the tuner: one base class, each with a message a user can act on."""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "DefinitionMismatchError",
    "LeaseLostError",
    "RunFailedError",
    "RunInterruptedError",
    "RunnerError",
    "StoreError",
    "StoreUnreachableError",
    "TrackingError",
    "TunerError",
]


class TunerError(Exception):
    """Base of every error that the tuner raises on purpose.

    The command line prints the message in one piece, without a traceback, and exits with
    `exit_code`.
    """

    exit_code = 1


class ConfigurationError(TunerError):
    """What the user asked for cannot be run; nothing has been written."""

    exit_code = 2

    @classmethod
    def from_faults(cls, faults: list[str]) -> ConfigurationError:
        """Join several faults, so that one message lists them all at once."""
        if len(faults) == 1:
            return cls(faults[0])
        lines = "\n".join(f"  - {fault}" for fault in faults)
        return cls(f"{len(faults)} problems:\n{lines}")


class RunFailedError(TunerError):
    """The run cannot go on (a stage in which every trial failed, say); it is resumable."""


class StoreError(TunerError):
    """The study store could not be read or written, or holds something contradictory."""


class DefinitionMismatchError(StoreError):
    """A run of this name exists and was asked something else; nothing has been changed."""

    exit_code = 2


class StoreUnreachableError(StoreError):
    """The study store is away for now (stopped, restarting, full, locked); it may come back.

    Args:
        outage: What is away, and why, without a full stop.
        waited_s: How long it was waited for, seconds.
    """

    def __init__(self, outage: str, *, waited_s: float = 0.0) -> None:
        self.outage = outage
        waited = f", after {waited_s:g} s of waiting" if waited_s else ""
        super().__init__(
            f"{outage}{waited}; what was written before is kept: once the store is back, repeat "
            "the command"
        )


class LeaseLostError(StoreError):
    """Another driver has taken this run over; nothing more may be written by this one."""

    exit_code = 2


class RunnerError(TunerError):
    """The trial runner (Ray) broke as a whole, not a single trial."""


class TrackingError(TunerError):
    """Tracking could not be set up. A later outage never raises this."""


class RunInterruptedError(TunerError):
    """The run was stopped by SIGINT or SIGTERM and can be resumed.

    Args:
        signal_number: 2 or 15; the exit code is 128 + this.
        message: What was saved and how to go on.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
