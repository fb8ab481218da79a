"""The official test annotations of MPI-INF-3DHP: `TSk/annot_data.mat` (MATLAB v7.3, HDF5)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.data.hdf5_reader import read_hdf5
from trainables.data.mpi_inf_3dhp.files import TEST_SUBJECTS
from trainables.data.mpi_inf_3dhp.views import View, checked_valid, checked_view
from trainables.data.source_files import check_file
from trainables.errors import DataError
from trainables.skeletons import MPI_INF_3DHP_17

__all__ = ["annotation_paths", "read_annotations"]

FILE_NAME = "annot_data.mat"
OFFICIAL_FOLDER = "mpi_inf_3dhp_test_set"


def annotation_paths(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Where each test sequence's file may be: in the data folder, or in the official one in it."""
    return {
        subject: (folder / subject / FILE_NAME, folder / OFFICIAL_FOLDER / subject / FILE_NAME)
        for subject in TEST_SUBJECTS
    }


def read_annotations(
    folder: Path, annotation: Literal["univ_annot3", "annot3"], notes: list[str]
) -> dict[str, View]:
    """Read and check the test sequences that are there.

    Args:
        folder: The data folder.
        annotation: Which 3D: rescaled to the universal skeleton, or of true size.
        notes: Takes what was done.

    Returns:
        Sequences by name; empty without any file.

    Raises:
        DataError: A file is unreadable or malformed.
        UnsafeDataError: A file leads out of itself or of the folder, or is a zip bomb.
    """
    sequences: dict[str, View] = {}
    for subject, paths in annotation_paths(folder).items():
        path = next((path for path in paths if os.path.lexists(path)), None)
        if path is None:
            continue
        check_file(path, folder)
        arrays = read_hdf5(path, ("annot2", annotation, "valid_frame"))
        valid = checked_valid(arrays["valid_frame"], f"{path}: valid_frame")
        sequences[subject] = checked_view(
            _one_person(arrays[annotation], f"{path}: {annotation}", 3),
            _one_person(arrays["annot2"], f"{path}: annot2", 2),
            str(path),
            notes,
            valid=valid,
        )
    return sequences


def _one_person(array: NDArray[Any], name: str, coordinates: int) -> NDArray[Any]:
    """(T, 1, 17, C) to (T, 17, C); MATLAB's C x 17 x 1 x T, whose axes HDF5 reverses."""
    expected = (1, MPI_INF_3DHP_17.num_joints, coordinates)
    if array.ndim != 4 or array.shape[1:] != expected or len(array) == 0:
        raise DataError(
            f"{name} has shape {array.shape}, expected (frames, 1, 17, {coordinates}), in MATLAB "
            f"{coordinates} x 17 x 1 x frames; are axes exchanged?"
        )
    return np.ascontiguousarray(array[:, 0])
