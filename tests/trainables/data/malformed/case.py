"""One malformed input, and the valid folders that all of them are made from."""

from __future__ import annotations

import copy
import functools
import io
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.trainables.data import h3wb_writer, h36m_writer, mpi_inf_3dhp_writer, poses_writer
from trainables.config import DatasetName

__all__ = ["FILE_2D", "FILE_3D", "Case", "h36m_content", "npy_bytes", "write_valid"]

FILE_3D = "data_3d_h36m.npz"
FILE_2D = "data_2d_h36m_gt.npz"
FRAMES = 12
"""Of each action; the cases' messages count on it."""


@dataclass(frozen=True)
class Case:
    """One malformed input.

    Attributes:
        name: The input, in a few words.
        message: Regular expression of what the message must say.
        spoil: Spoils the valid folder that it is given.
        dataset: Whose folder.
        unsafe: Whether it asks for code, memory or files that it must not have, which is refused
            as such.
        payload: For a malicious pickle, what makes its bytes from the path of a file that it
            creates if it is executed.
        live: Whether Python's own unpickler does execute it, which the tests prove.
        as_stranger: Whether only somebody who may not read everything can be refused.
    """

    name: str
    message: str
    spoil: Callable[[Path], object]
    dataset: DatasetName = "h36m"
    unsafe: bool = False
    payload: Callable[[Path], bytes] | None = None
    live: bool = False
    as_stranger: bool = False


@functools.cache
def _h36m() -> tuple[h36m_writer.Positions, h36m_writer.Views]:
    positions = {
        subject: {action: world[:FRAMES] for action, world in actions.items()}
        for subject, actions in h36m_writer.make_positions().items()
    }
    return positions, h36m_writer.make_views(positions)


def h36m_content() -> tuple[h36m_writer.Positions, h36m_writer.Views]:
    """Valid 3D and 2D of five subjects, to be changed."""
    return copy.deepcopy(_h36m())


@functools.cache
def _valid_files(dataset: DatasetName) -> dict[str, bytes]:
    """The files of a small valid folder."""
    folder = Path(tempfile.mkdtemp(prefix="valid-"))
    try:
        match dataset:
            case "h36m":
                h36m_writer.write_folder(folder, *h36m_content())
            case "mpi_inf_3dhp":
                training = mpi_inf_3dhp_writer.make_training()
                mpi_inf_3dhp_writer.write_npz(folder, training, None)
                mpi_inf_3dhp_writer.write_annotations(folder, mpi_inf_3dhp_writer.make_test())
                mpi_inf_3dhp_writer.write_cameras(folder)
            case "h3wb":
                bodies = h3wb_writer.make_whole_bodies(("S1", "S5"), step=3)
                h3wb_writer.write_json(folder, h3wb_writer.json_samples(bodies))
            case _:
                columns, metadata = poses_writer.small_columns(), poses_writer.small_metadata()
                poses_writer.write_npz(folder, columns, metadata)
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    finally:
        shutil.rmtree(folder)


def write_valid(dataset: DatasetName, folder: Path) -> Path:
    """Write a small valid folder, which every case spoils in one way only."""
    for name, content in _valid_files(dataset).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def npy_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """An array as an npy file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
