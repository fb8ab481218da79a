"""Errors of the training side."""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "DataError",
    "NonFiniteError",
    "ShapeError",
    "StorageFullError",
    "StorageUnreachableError",
    "TrainableError",
    "UnsafeDataError",
]


class TrainableError(Exception):
    """Base of every error that the training side raises on purpose."""


class ShapeError(TrainableError, ValueError):
    """Two arrays or tensors do not fit; the message gives both shapes."""


class DataError(TrainableError):
    """Data are missing, unreadable or malformed; the message names file, fault and cure."""


class UnsafeDataError(DataError):
    """A file asks for code to be run while it is read; it was refused."""


class CheckpointError(TrainableError):
    """A checkpoint is missing, damaged or of another configuration."""


class StorageFullError(CheckpointError):
    """There is no space for a checkpoint: no fault of the training that wanted to write it."""


class StorageUnreachableError(CheckpointError):
    """It cannot be known now what a storage holds: it is out of reach, or forbids the reading."""


class NonFiniteError(TrainableError):
    """A loss or metric became NaN or infinite.

    Args:
        what: Name of the figure.
        epoch: Epoch in which it happened, from 1.
        step: Step within the run, from 1.
        last_finite: Last finite figures.
    """

    def __init__(self, what: str, *, epoch: int, step: int, last_finite: dict[str, float]) -> None:
        figures = ", ".join(f"{name}={value:.6g}" for name, value in last_finite.items())
        super().__init__(
            f"{what} became non-finite in epoch {epoch}, step {step}; "
            f"last finite values: {figures or 'none'}"
        )
        self.what = what
        self.epoch = epoch
        self.step = step
        self.last_finite = last_finite
